//! Persistent sessions: what waits for a client that is away, what is sent again, and when they end.

use rumqttc::mqttbytes::v4::ConnectAuth;

use super::*;
use crate::message::SourceHeader;
use crate::transport::fanout::{AWAY_TOO_LONG, Down, Strands, TOO_SLOW};
use crate::transport::misbehave::Misbehaviour;

fn persistent(client_id: &str) -> Connect {
    Connect { clean_session: false, ..Connect::new(client_id) }
}

async fn gone(mut client: Client) {
    client.say(Packet::Disconnect).await;
    assert_eq!(client.hear().await, None);
}

/// Waits until nobody is ready, which is so once the session is away.
async fn until_away(fanout: &Fanout) {
    while fanout.progress().1 > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_has_qos_1_or_2_waits_for_the_client_s_return() {
    let (fanout, server) = server();
    let mut client = Client::connected_with(&server, persistent("c"), false).await;
    client.subscribe("#", QoS::ExactlyOnce).await;
    gone(client).await;
    until_away(&fanout).await;
    for qos in [0, 1, 2] {
        deliver(&fanout, "t", qos, b"while away");
    }
    let mut sender = Client::connected(&server, "sender").await;
    for (qos, pkid) in [(QoS::AtMostOnce, 0), (QoS::AtLeastOnce, 1)] {
        sender.say(Packet::Publish(Publish { pkid, ..Publish::new("t", qos, "by another") })).await;
    }
    sender.expect(Packet::PubAck(PubAck::new(1))).await;

    let mut client = Client::connected_with(&server, persistent("c"), true).await;
    let mut received = Vec::new();
    for _ in 0..3 {
        let publish = client.expect_publish().await;
        received.push((publish.payload.to_vec(), publish.qos as u8, publish.dup));
    }
    received.sort();
    assert_eq!(
        received,
        [
            (b"by another".to_vec(), 1, false),
            (b"while away".to_vec(), 1, false),
            (b"while away".to_vec(), 2, false)
        ]
    );
    deliver(&fanout, "t", 0, b"again there");
    assert_eq!(client.expect_publish().await.payload, &b"again there"[..]);
}

#[tokio::test]
async fn what_was_not_acknowledged_is_sent_again_in_its_order_with_dup() {
    let (fanout, server) = server();
    let mut client = Client::connected_with(&server, persistent("c"), false).await;
    client.subscribe("#", QoS::ExactlyOnce).await;
    let mut ids = Vec::new();
    for (qos, payload) in [(1, b"a"), (2, b"b"), (2, b"c"), (1, b"d")] {
        deliver(&fanout, "t", qos, payload);
        ids.push(client.expect_publish().await.pkid);
    }
    client.say(Packet::PubRec(PubRec::new(ids[2]))).await;
    client.expect(Packet::PubRel(PubRel::new(ids[2]))).await;
    client.say(Packet::PubAck(PubAck::new(ids[3]))).await;
    client.settled().await;
    // Neither a goodbye nor an end: the successor comes while the connection is there.
    let mut successor = Client::connected_with(&server, persistent("c"), true).await;
    for (id, payload) in [(ids[0], "a"), (ids[1], "b")] {
        let publish = successor.expect_publish().await;
        assert_eq!((publish.pkid, &publish.payload[..], publish.dup), (id, payload.as_bytes(), true));
    }
    successor.expect(Packet::PubRel(PubRel::new(ids[2]))).await;
    assert_eq!(client.hear().await, None);
    for packet in [
        Packet::PubAck(PubAck::new(ids[0])),
        Packet::PubComp(PubComp::new(ids[2])),
        Packet::PubRec(PubRec::new(ids[1])),
    ] {
        successor.say(packet).await;
    }
    successor.expect(Packet::PubRel(PubRel::new(ids[1]))).await;
    fanout.finish();
    successor.say(Packet::PubComp(PubComp::new(ids[1]))).await;
    assert_eq!(successor.hear().await, None);
    drop((client, successor));
    fanout.empty().await;
    let summaries = fanout.summaries();
    assert_eq!(summaries.len(), 1, "one client, whatever its connections");
    assert_eq!((summaries[0].messages, summaries[0].repeated, summaries[0].dropped), (4, 2, 0));
}

#[tokio::test]
async fn a_publication_that_was_received_and_not_released_is_not_passed_on_twice() {
    let (_, server) = server();
    let mut watcher = Client::subscribed(&server, "w", "#", QoS::AtMostOnce).await;
    let mut client = Client::connected_with(&server, persistent("c"), false).await;
    let publish = Publish { pkid: 7, ..Publish::new("t", QoS::ExactlyOnce, "x") };
    client.say(Packet::Publish(publish.clone())).await;
    client.expect(Packet::PubRec(PubRec::new(7))).await;
    watcher.expect_publish().await;
    drop(client);
    let mut client = Client::connected_with(&server, persistent("c"), true).await;
    client.say(Packet::Publish(Publish { dup: true, ..publish })).await;
    client.expect(Packet::PubRec(PubRec::new(7))).await;
    watcher.settled().await;
}

#[tokio::test]
async fn what_a_connection_that_breaks_had_taken_is_for_the_next_one() {
    let (fanout, server) = server();
    let breaks = Misbehaviour::new("close=5".parse().unwrap(), 1).connection();
    let mut client = Client::open_under(&server, Some(breaks));
    client.say(Packet::Connect(persistent("c"))).await;
    client.expect(Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false))).await;
    client.subscribe("#", QoS::AtLeastOnce).await;
    // All in one batch, and more than the connection lives to see.
    (0..20u8).for_each(|n| deliver(&fanout, "t", 1, &[n]));
    let mut received = Vec::new();
    while let Some(Packet::Publish(publish)) = client.hear().await {
        received.push(publish.payload[0]);
        client.write.write_all(&[0x40, 2, 0, publish.pkid as u8]).await.unwrap_or_default();
    }
    assert!((1..20).contains(&received.len()), "{received:?}");
    let mut client = Client::connected_with(&server, persistent("c"), true).await;
    while received.last() != Some(&19) {
        let publish = client.expect_publish().await;
        received.push(publish.payload[0]);
        client.say(Packet::PubAck(PubAck::new(publish.pkid))).await;
    }
    received.sort_unstable();
    received.dedup();
    assert_eq!(received, (0..20).collect::<Vec<u8>>());
    fanout.finish();
    assert_eq!(client.hear().await, None);
    drop(client);
    fanout.empty().await;
    assert_eq!(fanout.summaries()[0].messages, 20, "each counts once");
}

#[tokio::test]
async fn a_clean_session_ends_the_one_before_and_leaves_none() {
    let (fanout, server) = server();
    let mut client = Client::connected_with(&server, persistent("c"), false).await;
    client.subscribe("#", QoS::AtLeastOnce).await;
    gone(client).await;
    let client = Client::connected(&server, "c").await;
    deliver(&fanout, "t", 1, b"not subscribed to any more");
    gone(client).await;
    let mut client = Client::connected_with(&server, persistent("c"), false).await;
    client.settled().await;
}

#[tokio::test]
async fn a_session_is_for_nobody_who_connects_under_another_name() {
    let (fanout, server) = server();
    let by = |user: &str| {
        let auth = ConnectAuth::UsernamePassword { username: user.into(), password: "x".into() };
        Connect { auth, ..persistent("c") }
    };
    let mut client = Client::connected_with(&server, by("a"), false).await;
    client.subscribe("#", QoS::AtLeastOnce).await;
    // Taken over while it is connected, and while it is away.
    let mut other = Client::connected_with(&server, by("b"), false).await;
    assert_eq!(client.hear().await, None, "[MQTT-3.1.4-2]");
    deliver(&fanout, "t", 1, b"for a alone");
    other.settled().await;
    other.subscribe("#", QoS::AtLeastOnce).await;
    gone(other).await;
    until_away(&fanout).await;
    deliver(&fanout, "t", 1, b"for b alone");
    let mut client = Client::connected_with(&server, by("a"), false).await;
    client.settled().await;
    gone(client).await;
    let mut nameless = Client::connected_with(&server, persistent("c"), false).await;
    nameless.settled().await;
}

#[tokio::test]
async fn what_mqtt_cannot_say_is_not_kept_for_the_next_connection() {
    let (fanout, server) = server();
    let breaks = Misbehaviour::new("close=1".parse().unwrap(), 1).connection();
    let mut client = Client::open_under(&server, Some(breaks));
    client.say(Packet::Connect(persistent("c"))).await;
    client.expect(Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false))).await;
    client.subscribe("#", QoS::AtLeastOnce).await;
    for topic in ["t", "t", &"t".repeat(65_536)] {
        deliver(&fanout, topic, 1, b"x");
    }
    while client.hear().await.is_some() {}
    let mut client = Client::connected_with(&server, persistent("c"), true).await;
    for _ in 0..2 {
        let publish = client.expect_publish().await;
        client.say(Packet::PubAck(PubAck::new(publish.pkid))).await;
    }
    fanout.finish();
    assert_eq!(client.hear().await, None, "nothing is waited for that cannot come");
}

#[tokio::test]
async fn who_asks_for_topics_of_ours_comes_back_in_an_outage_that_is_not_theirs() {
    let (fanout, server) = server();
    let source = |name: &str, transport: &str| SourceHeader {
        name: name.into(),
        vendor: "generic".into(),
        kinds: Vec::new(),
        settings: serde_json::json!({"transport": transport}),
    };
    let strands = Strands::new(&[source("src", "mqtt"), source("other", "websocket")], &Selection::default());
    fanout.reproduce_outages(strands);
    let ours = Client::subscribed(&server, "ours", "telereel/#", QoS::AtMostOnce).await;
    let mut theirs = Client::subscribed(&server, "theirs", "#", QoS::AtMostOnce).await;
    fanout.set_down(&[Down { source: "src".into(), device: None }]);
    assert_eq!(theirs.hear().await, None);
    gone(ours).await;
    let _ours = Client::subscribed(&server, "ours", "telereel/#", QoS::AtMostOnce).await;
    let mut theirs = Client::open(&server);
    theirs.say(Packet::Connect(Connect::new("theirs"))).await;
    theirs.expect(Packet::ConnAck(ConnAck::new(ConnectReturnCode::ServiceUnavailable, false))).await;
}

#[tokio::test]
async fn a_client_that_is_away_for_too_long_finds_no_session_and_is_counted_as_dropped() {
    let fanout = Fanout::with_bounds(Clock::System, None, 1 << 20, 3);
    let server = MqttServer::new(Arc::clone(&fanout), Credentials::Any);
    let mut client = Client::connected_with(&server, persistent("c"), false).await;
    client.subscribe("#", QoS::AtLeastOnce).await;
    gone(client).await;
    until_away(&fanout).await;
    for n in 0..5u8 {
        deliver(&fanout, "t", 1, &[n]);
    }
    let _client = Client::connected_with(&server, persistent("c"), false).await;
    let summaries = fanout.summaries();
    assert_eq!((summaries[0].dropped, summaries[0].reason), (4, Some(AWAY_TOO_LONG)));
}

#[tokio::test]
async fn sessions_that_are_away_are_bounded_and_the_longest_away_goes_first() {
    let (_, server) = server();
    for n in 0..=broker::AWAY_MAX {
        gone(Client::connected_with(&server, persistent(&n.to_string()), false).await).await;
    }
    let last = broker::AWAY_MAX.to_string();
    let _last = Client::connected_with(&server, persistent(&last), true).await;
    let _second = Client::connected_with(&server, persistent("1"), true).await;
    let _first = Client::connected_with(&server, persistent("0"), false).await;
}

#[tokio::test]
async fn the_end_of_the_replay_waits_for_those_for_whom_something_waits() {
    for waits in [false, true] {
        let (fanout, server) = server();
        let mut client = Client::connected_with(&server, persistent("c"), false).await;
        client.subscribe("#", QoS::AtLeastOnce).await;
        gone(client).await;
        until_away(&fanout).await;
        if waits {
            deliver(&fanout, "t", 1, b"x");
        }
        fanout.finish();
        if waits {
            let mut client = Client::connected_with(&server, persistent("c"), true).await;
            let publish = client.expect_publish().await;
            client.say(Packet::PubAck(PubAck::new(publish.pkid))).await;
            assert_eq!(client.hear().await, None);
        }
        fanout.empty().await;
        assert_eq!(fanout.summaries()[0].reason, None);
    }
}

#[tokio::test]
async fn who_does_not_come_back_is_given_up_with_the_others_and_at_once_by_a_stop() {
    for stopped in [false, true] {
        let (fanout, server) = server();
        let mut client = Client::connected_with(&server, persistent("c"), false).await;
        client.subscribe("#", QoS::AtLeastOnce).await;
        gone(client).await;
        until_away(&fanout).await;
        deliver(&fanout, "t", 1, b"x");
        fanout.finish();
        if stopped {
            fanout.leave_away();
        } else {
            assert!(!fanout.drop_idle(TOO_SLOW));
        }
        fanout.empty().await;
        let summary = &fanout.summaries()[0];
        let expected = if stopped { (0, None) } else { (1, Some(TOO_SLOW)) };
        assert_eq!((summary.dropped, summary.reason), expected);
    }
}

#[tokio::test]
async fn a_session_outlives_a_disconnection_that_was_asked_for() {
    let (fanout, server) = server();
    let mut client = Client::connected_with(&server, persistent("c"), false).await;
    client.subscribe("#", QoS::AtLeastOnce).await;
    deliver(&fanout, "t", 1, b"before");
    fanout.disconnect("asked for");
    deliver(&fanout, "t", 1, b"at once");
    assert_eq!(client.expect_publish().await.payload, &b"before"[..]);
    assert_eq!(client.hear().await, None);
    until_away(&fanout).await;
    deliver(&fanout, "t", 1, b"while away");
    let mut client = Client::connected_with(&server, persistent("c"), true).await;
    for (payload, dup) in [("before", true), ("at once", false), ("while away", false)] {
        let publish = client.expect_publish().await;
        assert_eq!((&publish.payload[..], publish.dup), (payload.as_bytes(), dup));
        client.say(Packet::PubAck(PubAck::new(publish.pkid))).await;
    }
    fanout.finish();
    assert_eq!(client.hear().await, None);
    drop(client);
    fanout.empty().await;
    let summary = &fanout.summaries()[0];
    assert_eq!((summary.messages, summary.dropped, summary.reason), (3, 0, None));
}

#[tokio::test]
async fn a_session_outlives_an_outage_in_which_its_client_is_refused() {
    let (fanout, server) = server();
    let header = SourceHeader {
        name: "src".into(),
        vendor: "generic".into(),
        kinds: Vec::new(),
        settings: serde_json::Value::Null,
    };
    fanout.reproduce_outages(Strands::new(&[header], &Selection::default()));
    let mut client = Client::connected_with(&server, persistent("c"), false).await;
    client.subscribe("#", QoS::AtLeastOnce).await;
    deliver(&fanout, "t", 1, b"before");
    fanout.set_down(&[Down { source: "src".into(), device: None }]);
    assert_eq!(client.expect_publish().await.payload, &b"before"[..]);
    assert_eq!(client.hear().await, None);
    let mut early = Client::open(&server);
    early.say(Packet::Connect(persistent("c"))).await;
    early.expect(Packet::ConnAck(ConnAck::new(ConnectReturnCode::ServiceUnavailable, false))).await;
    assert_eq!(early.hear().await, None);
    until_away(&fanout).await;
    deliver(&fanout, "t", 1, b"at the end of it");
    fanout.set_down(&[]);
    let mut client = Client::connected_with(&server, persistent("c"), true).await;
    for (payload, dup) in [("before", true), ("at the end of it", false)] {
        let publish = client.expect_publish().await;
        assert_eq!((&publish.payload[..], publish.dup), (payload.as_bytes(), dup));
    }
}
