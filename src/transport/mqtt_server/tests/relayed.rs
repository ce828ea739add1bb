//! What clients publish to each other: the courses of QoS 2, retained messages, wills, `$` topics.

use rumqttc::mqttbytes::v4::LastWill;

use super::*;
use crate::transport::trace::Trace;

fn publication(topic: &str, qos: QoS, pkid: u16, payload: &str) -> Publish {
    Publish { pkid, ..Publish::new(topic, qos, payload) }
}

fn retained(topic: &str, qos: QoS, payload: &str) -> Packet {
    let pkid = if qos == QoS::AtMostOnce { 0 } else { 9 };
    Packet::Publish(Publish { retain: true, ..publication(topic, qos, pkid, payload) })
}

impl Client {
    /// Topic, payload, QoS and retain flag of what comes next; acknowledged at once.
    async fn receive(&mut self) -> (String, String, u8, bool) {
        let Publish { topic, payload, qos, retain, pkid, .. } = self.expect_publish().await;
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.say(Packet::PubAck(PubAck::new(pkid))).await,
            QoS::ExactlyOnce => {
                self.say(Packet::PubRec(PubRec::new(pkid))).await;
                self.expect(Packet::PubRel(PubRel::new(pkid))).await;
                self.say(Packet::PubComp(PubComp::new(pkid))).await;
            }
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (text(&topic), text(&payload), qos as u8, retain)
    }

    async fn expect_received(&mut self, topic: &str, payload: &str, qos: u8, retain: bool) {
        assert_eq!(self.receive().await, (topic.to_owned(), payload.to_owned(), qos, retain));
    }

    /// Nothing but the answer to a ping is there.
    async fn expect_nothing(&mut self) {
        self.settled().await;
    }
}

#[tokio::test]
async fn what_a_client_publishes_reaches_all_who_subscribed_and_counts_for_nothing() {
    let (fanout, server) = server();
    let mut device = Client::subscribed(&server, "device", "answers/#", QoS::AtLeastOnce).await;
    let mut app = Client::subscribed(&server, "app", "+/1", QoS::ExactlyOnce).await;
    let mut other = Client::subscribed(&server, "other", "else", QoS::ExactlyOnce).await;
    device.say(Packet::Publish(publication("answers/1", QoS::AtMostOnce, 0, "a"))).await;
    device.expect_received("answers/1", "a", 0, false).await;
    device.say(Packet::Publish(publication("answers/1", QoS::ExactlyOnce, 6, "b"))).await;
    device.expect(Packet::PubRec(PubRec::new(6))).await;
    device.expect_received("answers/1", "b", 1, false).await;
    device.say(Packet::PubRel(PubRel::new(6))).await;
    device.expect(Packet::PubComp(PubComp::new(6))).await;
    app.expect_received("answers/1", "a", 0, false).await;
    app.expect_received("answers/1", "b", 2, false).await;
    other.expect_nothing().await;
    fanout.finish();
    for client in [&mut device, &mut app, &mut other] {
        assert_eq!(client.hear().await, None);
    }
    drop((device, app, other));
    fanout.empty().await;
    assert!(fanout.summaries().iter().all(|client| client.messages == 0 && client.reason.is_none()));
}

#[tokio::test]
async fn an_answer_to_the_last_message_reaches_those_who_have_everything() {
    let (fanout, server) = server();
    let mut device = Client::subscribed(&server, "device", "commands", QoS::AtLeastOnce).await;
    let mut app = Client::subscribed(&server, "app", "answers", QoS::AtMostOnce).await;
    deliver(&fanout, "commands", 1, b"last");
    let command = device.expect_publish().await;
    fanout.finish();
    app.settled().await;
    device.say(Packet::Publish(publication("answers", QoS::AtMostOnce, 0, "done"))).await;
    device.say(Packet::PubAck(PubAck::new(command.pkid))).await;
    app.expect_received("answers", "done", 0, false).await;
    assert_eq!(app.hear().await, None);
    assert_eq!(device.hear().await, None);
    drop((app, device));
    fanout.empty().await;
    assert!(fanout.summaries().iter().all(|client| client.reason.is_none()));
}

#[tokio::test]
async fn an_answer_that_has_come_when_the_last_is_done_reaches_it_too() {
    let (fanout, server) = server();
    let mut device = Client::subscribed(&server, "device", "commands", QoS::AtMostOnce).await;
    let mut app = Client::subscribed(&server, "app", "#", QoS::AtLeastOnce).await;
    deliver(&fanout, "commands", 1, b"last");
    device.expect_publish().await;
    let command = app.expect_publish().await;
    fanout.finish();
    device.settled().await;
    // One after the other, and nobody has had a turn between them.
    app.say(Packet::PubAck(PubAck::new(command.pkid))).await;
    device.say(Packet::Publish(publication("answers", QoS::AtMostOnce, 0, "done"))).await;
    app.expect_received("answers", "done", 0, false).await;
    assert_eq!(app.hear().await, None);
    assert_eq!(device.hear().await, None);
}

#[tokio::test]
async fn what_a_client_says_to_the_end_of_the_replay_is_in_the_trace() {
    let dir = tempfile::tempdir().unwrap();
    let trace = Arc::new(Trace::create(&dir.path().join("trace")).unwrap());
    let fanout = Fanout::new(Clock::System, Some(Arc::clone(&trace)));
    let server = MqttServer::new(Arc::clone(&fanout), Credentials::Any);
    let mut device = Client::subscribed(&server, "device", "commands", QoS::AtMostOnce).await;
    deliver(&fanout, "commands", 0, b"last");
    fanout.finish();
    device.expect_publish().await;
    assert_eq!(device.hear().await, None);
    device.say(Packet::Publish(publication("answers", QoS::AtMostOnce, 0, "done"))).await;
    drop(device);
    fanout.empty().await;
    trace.finish().unwrap();
    let lines = std::fs::read_to_string(dir.path().join("trace")).unwrap();
    let events: Vec<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["event"].to_string())
        .collect();
    assert_eq!(events[events.len() - 2..], ["\"publish\"", "\"left\""], "{lines}");
}

#[tokio::test]
async fn who_waits_for_others_is_not_idle_and_goes_when_they_are_given_up() {
    let (fanout, server) = server();
    let mut mute = Client::subscribed(&server, "mute", "#", QoS::AtLeastOnce).await;
    let mut app = Client::subscribed(&server, "app", "answers", QoS::AtMostOnce).await;
    deliver(&fanout, "commands", 1, b"last");
    mute.expect_publish().await;
    fanout.finish();
    app.settled().await;
    assert!(!fanout.drop_idle("idle"));
    assert_eq!(app.hear().await, None);
    drop((app, mute));
    fanout.empty().await;
    let reasons: Vec<_> = fanout.summaries().iter().map(|client| client.reason).collect();
    assert_eq!(reasons, [Some("idle"), None]);
}

#[tokio::test]
async fn a_publication_at_qos_2_that_is_sent_again_is_passed_on_once_until_it_is_released() {
    let (_, server) = server();
    let mut client = Client::subscribed(&server, "c", "t", QoS::AtMostOnce).await;
    let first = publication("t", QoS::ExactlyOnce, 6, "x");
    client.say(Packet::Publish(first.clone())).await;
    client.expect(Packet::PubRec(PubRec::new(6))).await;
    client.expect_received("t", "x", 0, false).await;
    client.say(Packet::Publish(Publish { dup: true, ..first.clone() })).await;
    client.expect(Packet::PubRec(PubRec::new(6))).await;
    client.expect_nothing().await;
    for _ in 0..2 {
        client.say(Packet::PubRel(PubRel::new(6))).await;
        client.expect(Packet::PubComp(PubComp::new(6))).await;
    }
    client.say(Packet::Publish(first)).await;
    client.expect(Packet::PubRec(PubRec::new(6))).await;
    client.expect_received("t", "x", 0, false).await;
}

#[tokio::test]
async fn order_is_kept_and_overlapping_filters_deliver_once_at_the_highest_qos() {
    let (_, server) = server();
    let mut receiver = Client::subscribed(&server, "r", "t/#", QoS::AtMostOnce).await;
    receiver.subscribe("t/+", QoS::AtLeastOnce).await;
    let mut sender = Client::connected(&server, "s").await;
    for n in 0..100 {
        sender.say(Packet::Publish(publication("t/1", QoS::AtLeastOnce, n + 1, &n.to_string()))).await;
    }
    for n in 0..100 {
        receiver.expect_received("t/1", &n.to_string(), 1, false).await;
    }
    receiver.expect_nothing().await;
}

#[tokio::test]
async fn the_last_retained_publication_is_sent_to_subscriptions_that_are_new() {
    let (_, server) = server();
    let mut sender = Client::subscribed(&server, "s", "#", QoS::AtMostOnce).await;
    for (topic, payload) in [("a/1", "old"), ("a/1", "new"), ("$a/1", "hidden")] {
        sender.say(retained(topic, QoS::AtMostOnce, payload)).await;
    }
    sender.expect_received("a/1", "old", 0, false).await;
    sender.expect_received("a/1", "new", 0, false).await;
    sender.say(retained("a/2", QoS::ExactlyOnce, "two")).await;
    sender.expect(Packet::PubRec(PubRec::new(9))).await;
    sender.expect_received("a/2", "two", 0, false).await;

    let mut late = Client::connected(&server, "late").await;
    let subscribe = Packet::Subscribe(Subscribe { pkid: 1, ..Subscribe::new("#", QoS::AtLeastOnce) });
    let suback = SubAck::new(1, vec![SubscribeReasonCode::Success(QoS::AtLeastOnce)]);
    for _ in 0..2 {
        // With each SUBSCRIBE, the same filter or not [MQTT-3.8.4-3].
        late.say(subscribe.clone()).await;
        late.expect(Packet::SubAck(suback.clone())).await;
        late.expect_received("a/1", "new", 0, true).await;
        late.expect_received("a/2", "two", 1, true).await;
    }
    // An empty one is delivered as any, and kept is then nothing [MQTT-3.3.1-10], [MQTT-3.3.1-11].
    sender.say(retained("a/2", QoS::AtMostOnce, "")).await;
    late.expect_received("a/2", "", 0, false).await;
    late.say(subscribe).await;
    late.expect(Packet::SubAck(suback)).await;
    late.expect_received("a/1", "new", 0, true).await;
    late.expect_nothing().await;
}

#[tokio::test]
async fn what_is_replayed_is_not_retained_for_later_subscriptions() {
    let (fanout, server) = server();
    let mut early = Client::subscribed(&server, "early", "#", QoS::AtMostOnce).await;
    deliver(&fanout, "t", 0, b"recorded with retain");
    early.expect_received("t", "recorded with retain", 0, true).await;
    Client::subscribed(&server, "late", "#", QoS::AtMostOnce).await.expect_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn a_will_is_published_unless_the_client_says_goodbye() {
    let (_, server) = server();
    let mut heir = Client::subscribed(&server, "heir", "will/+", QoS::ExactlyOnce).await;
    let with_will = |client_id: &str, retain| Connect {
        last_will: Some(LastWill::new(format!("will/{client_id}"), "gone", QoS::ExactlyOnce, retain)),
        ..Connect::new(client_id)
    };
    let mut polite = Client::connected_with(&server, with_will("polite", false), false).await;
    polite.say(Packet::Disconnect).await;
    assert_eq!(polite.hear().await, None);
    heir.expect_nothing().await;

    let closing = Client::connected_with(&server, with_will("closing", false), false).await;
    drop(closing);
    heir.expect_received("will/closing", "gone", 2, false).await;

    let mut rude = Client::connected_with(&server, with_will("rude", false), false).await;
    rude.say(Packet::PingResp).await;
    heir.expect_received("will/rude", "gone", 2, false).await;

    let _first = Client::connected_with(&server, with_will("double", false), false).await;
    let mut second = Client::connected_with(&server, with_will("double", true), false).await;
    heir.expect_received("will/double", "gone", 2, false).await;
    second.say(Packet::Disconnect).await;

    // The client's keep-alive of ten seconds runs out; meanwhile the heir keeps its own.
    let connected = tokio::time::Instant::now();
    let _silent = Client::connected_with(&server, with_will("silent", true), false).await;
    tokio::time::advance(std::time::Duration::from_secs(9)).await;
    heir.settled().await;
    heir.expect_received("will/silent", "gone", 2, false).await;
    assert_eq!(connected.elapsed().as_secs(), 15);
    let mut late = Client::connected(&server, "late").await;
    late.say(Packet::Subscribe(Subscribe { pkid: 1, ..Subscribe::new("will/#", QoS::AtMostOnce) })).await;
    late.hear().await;
    late.expect_received("will/silent", "gone", 0, true).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_and_never_reads_is_dropped() {
    let (fanout, server) = server();
    let mut mute = Client::subscribed(&server, "mute", "t", QoS::AtMostOnce).await;
    let flood = Packet::Publish(publication("t", QoS::AtMostOnce, 0, &"x".repeat(1 << 16)));
    for _ in 0..4 {
        mute.say(flood.clone()).await;
    }
    let began = tokio::time::Instant::now();
    while fanout.summaries().is_empty() {
        // It goes on saying that it is there.
        if mute.write.write_all(&[0xC0, 0]).await.is_err() {
            break;
        }
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
    }
    fanout.empty().await;
    assert_eq!(fanout.summaries()[0].reason, Some(crate::transport::fanout::STALLED));
    assert!((30..60).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}
