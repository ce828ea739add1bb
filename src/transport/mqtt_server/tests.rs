mod malformed;
mod relayed;
mod sessions;
mod vendor;

use std::sync::Mutex;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{
    ConnAck, Connect, ConnectReturnCode, Packet, PubAck, PubComp, PubRec, PubRel, Publish, SubAck, Subscribe,
    SubscribeFilter, SubscribeReasonCode, Unsubscribe,
};
use tokio::io::{AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio_util::sync::CancellationToken;

use super::packets::PacketReader;
use super::*;
use crate::clock::{Clock, Now};
use crate::message::{Mqtt, Row, Selection, SessionId};
use crate::transport::fanout::{Emission, Flow};
use crate::vendors::service::{Grant, Standing};

/// A client that says packets, on an endpoint without a network.
struct Client {
    packets: PacketReader<ReadHalf<DuplexStream>>,
    write: WriteHalf<DuplexStream>,
}

impl Client {
    fn open(server: &Arc<MqttServer>) -> Self {
        Self::open_under(server, None)
    }

    fn open_under(server: &Arc<MqttServer>, conduct: Option<Arc<Conduct>>) -> Self {
        let (ours, theirs) = duplex(1 << 16);
        let server = Arc::clone(server);
        tokio::spawn(async move { server.serve_under(theirs, "mqtt", None, conduct).await });
        let (read, write) = split(ours);
        Self { packets: PacketReader::new(read), write }
    }

    async fn connected(server: &Arc<MqttServer>, client_id: &str) -> Self {
        Self::connected_with(server, Connect::new(client_id), false).await
    }

    async fn connected_with(server: &Arc<MqttServer>, connect: Connect, is_present: bool) -> Self {
        let mut client = Self::open(server);
        client.say(Packet::Connect(connect)).await;
        client.expect(Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, is_present))).await;
        client
    }

    async fn subscribed(server: &Arc<MqttServer>, client_id: &str, filter: &str, qos: QoS) -> Self {
        let mut client = Self::connected(server, client_id).await;
        client.subscribe(filter, qos).await;
        client
    }

    async fn subscribe(&mut self, filter: &str, qos: QoS) {
        self.say(Packet::Subscribe(Subscribe { pkid: 1, ..Subscribe::new(filter, qos) })).await;
        self.expect(Packet::SubAck(SubAck::new(1, vec![SubscribeReasonCode::Success(qos)]))).await;
        self.settled().await;
    }

    /// The wish follows the SUBACK; after an answer to something later it is there.
    async fn settled(&mut self) {
        self.say(Packet::PingReq).await;
        self.expect(Packet::PingResp).await;
    }

    async fn say(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, usize::MAX).unwrap();
        self.say_bytes(&bytes).await;
    }

    async fn say_bytes(&mut self, bytes: &[u8]) {
        self.write.write_all(bytes).await.unwrap();
    }

    async fn hear(&mut self) -> Option<Packet> {
        self.packets.next().await.unwrap()
    }

    async fn expect(&mut self, packet: Packet) {
        assert_eq!(self.hear().await, Some(packet));
    }

    async fn expect_publish(&mut self) -> Publish {
        match self.hear().await {
            Some(Packet::Publish(publish)) => publish,
            other => panic!("a PUBLISH was expected, not {other:?}"),
        }
    }
}

fn server() -> (Arc<Fanout>, Arc<MqttServer>) {
    let fanout = Fanout::new(Clock::System, None);
    (Arc::clone(&fanout), MqttServer::new(fanout, Credentials::Any))
}

fn deliver(fanout: &Fanout, topic: &str, qos: u8, payload: &[u8]) {
    let row = Row {
        vendor: "generic".into(),
        kind: "message".into(),
        site: "".into(),
        session_id: SessionId::new(0, [0; 10]),
        source: "src".into(),
        connection: 0,
        seq: 0,
        received_at_us: 0,
        elapsed_ns: 0,
        channel: topic.into(),
        device_id: None,
        event_at_us: None,
        mqtt: Some(Mqtt { qos, retain: true, dup: true }),
        is_binary: false,
        headers: None,
        duplicate_of: None,
        payload: Bytes::copy_from_slice(payload),
        clear: None,
        decode_error: None,
    };
    fanout.deliver(&Arc::new(Emission::new(row, 0, None)), Flow::Drop, &CancellationToken::new());
}

#[tokio::test]
async fn each_qos_takes_its_own_course() {
    let (fanout, server) = server();
    let mut client = Client::subscribed(&server, "c", "#", QoS::ExactlyOnce).await;
    let expected = [(0, QoS::AtMostOnce), (1, QoS::AtLeastOnce), (2, QoS::ExactlyOnce)];
    for (qos, expected) in expected {
        deliver(&fanout, "ü/x", qos, b"\xFF\x00");
        let publish = client.expect_publish().await;
        assert_eq!(publish.topic, "ü/x".as_bytes());
        assert_eq!(publish.payload, &b"\xFF\x00"[..]);
        assert_eq!((publish.qos, publish.retain, publish.dup), (expected, true, false));
        match qos {
            0 => assert_eq!(publish.pkid, 0),
            1 => client.say(Packet::PubAck(PubAck::new(publish.pkid))).await,
            _ => {
                client.say(Packet::PubRec(PubRec::new(publish.pkid))).await;
                client.expect(Packet::PubRel(PubRel::new(publish.pkid))).await;
                client.say(Packet::PubComp(PubComp::new(publish.pkid))).await;
            }
        }
    }
    fanout.finish();
    assert_eq!(client.hear().await, None, "everything is acknowledged: the socket is closed");
    drop(client);
    fanout.empty().await;
    assert_eq!(fanout.summaries()[0].messages, 3);
}

#[tokio::test]
async fn what_is_due_leaves_without_the_connections_task() {
    let (fanout, server) = server();
    let mut client = Client::subscribed(&server, "c", "#", QoS::AtLeastOnce).await;
    // Nothing runs the task meanwhile: the runtime is this thread's.
    let mut at_once = |qos| {
        deliver(&fanout, "t", qos, b"x");
        match client.hear().now_or_never() {
            Some(Some(Packet::Publish(publish))) => publish.pkid,
            other => panic!("a PUBLISH was expected, not {other:?}"),
        }
    };
    assert_eq!([0, 1, 1, 0].map(&mut at_once), [0, 1, 2, 0]);
    for id in [1, 2] {
        client.say(Packet::PubAck(PubAck::new(id))).await;
    }
    fanout.finish();
    assert_eq!(client.hear().await, None);
    fanout.empty().await;
    assert_eq!(fanout.summaries()[0].messages, 4);
}

#[tokio::test]
async fn order_is_kept_where_the_stream_fills_up_and_empties_again() {
    let (fanout, server) = server();
    let mut client = Client::subscribed(&server, "c", "#", QoS::AtMostOnce).await;
    for round in 0..3u32 {
        let payload = |n: u32| [&(round * 100 + n).to_be_bytes()[..], &[b'x'; 4 << 10]].concat();
        for n in 0..100 {
            deliver(&fanout, "t", 0, &payload(n));
            if n % 10 == round {
                // An answer comes between two packets, wherever the one before has stopped.
                client.say(Packet::PingReq).await;
            }
        }
        let mut pings = 0;
        for n in 0..100 {
            let publish = loop {
                match client.hear().await {
                    Some(Packet::PingResp) => pings += 1,
                    Some(Packet::Publish(publish)) => break publish,
                    other => panic!("a PUBLISH was expected, not {other:?}"),
                }
            };
            assert!(publish.payload == payload(n), "{round}: {n}");
        }
        while pings < 10 {
            client.expect(Packet::PingResp).await;
            pings += 1;
        }
    }
    fanout.finish();
    assert_eq!(client.hear().await, None);
    fanout.empty().await;
    assert_eq!(fanout.summaries()[0].messages, 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_suback_precedes_what_is_due_meanwhile() {
    let (fanout, server) = server();
    let over = CancellationToken::new();
    let playing = std::thread::spawn({
        let (fanout, over) = (Arc::clone(&fanout), over.clone());
        move || {
            while !over.is_cancelled() {
                deliver(&fanout, "t", 0, b"x");
            }
        }
    });
    for n in 0..50 {
        let mut client = Client::connected(&server, &n.to_string()).await;
        client.say(Packet::Subscribe(Subscribe { pkid: 1, ..Subscribe::new("#", QoS::AtMostOnce) })).await;
        client
            .expect(Packet::SubAck(SubAck::new(1, vec![SubscribeReasonCode::Success(QoS::AtMostOnce)])))
            .await;
        client.expect_publish().await;
    }
    over.cancel();
    playing.join().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_window_holds_whoever_fills_it() {
    const MESSAGES: u32 = 20 * window::WINDOW as u32;
    let (fanout, server) = server();
    let mut client = Client::subscribed(&server, "c", "#", QoS::AtLeastOnce).await;
    let playing = std::thread::spawn({
        let fanout = Arc::clone(&fanout);
        move || (0..MESSAGES).for_each(|n| deliver(&fanout, "t", 1, &n.to_be_bytes()))
    });
    // Both writers fill it again and again, each while the other looks at it.
    for n in 0..MESSAGES {
        let publish = client.expect_publish().await;
        assert_eq!(publish.payload, n.to_be_bytes()[..]);
        assert_ne!(publish.pkid, 0);
        client.say(Packet::PubAck(PubAck::new(publish.pkid))).await;
    }
    playing.join().unwrap();
}

#[tokio::test]
async fn the_end_waits_for_what_is_not_acknowledged() {
    let (fanout, server) = server();
    let mut client = Client::subscribed(&server, "c", "#", QoS::AtLeastOnce).await;
    deliver(&fanout, "t", 1, b"");
    let publish = client.expect_publish().await;
    fanout.finish();
    client.settled().await;
    client.say(Packet::PubAck(PubAck::new(publish.pkid))).await;
    assert_eq!(client.hear().await, None);
}

#[tokio::test]
async fn what_was_asked_before_a_goodbye_is_answered() {
    let (_, server) = server();
    let mut client = Client::connected(&server, "c").await;
    let mut bytes = BytesMut::new();
    let subscribe = Subscribe { pkid: 1, ..Subscribe::new("other", QoS::AtMostOnce) };
    let publish = Publish { pkid: 2, ..Publish::new("t", QoS::AtLeastOnce, "x") };
    for packet in [Packet::Subscribe(subscribe), Packet::Publish(publish), Packet::Disconnect] {
        packet.write(&mut bytes, usize::MAX).unwrap();
    }
    client.say_bytes(&bytes).await;
    let granted = vec![SubscribeReasonCode::Success(QoS::AtMostOnce)];
    client.expect(Packet::SubAck(SubAck::new(1, granted))).await;
    client.expect(Packet::PubAck(PubAck::new(2))).await;
    assert_eq!(client.hear().await, None);
}

#[tokio::test]
async fn more_than_the_window_holds_waits_for_acknowledgements() {
    let (fanout, server) = server();
    let mut client = Client::subscribed(&server, "c", "#", QoS::AtLeastOnce).await;
    let messages = usize::from(window::WINDOW) + 10;
    (0..messages).for_each(|_| deliver(&fanout, "t", 1, b""));
    let mut ids = Vec::new();
    for _ in 0..window::WINDOW {
        ids.push(client.expect_publish().await.pkid);
    }
    client.settled().await;
    for id in ids.drain(..10) {
        client.say(Packet::PubAck(PubAck::new(id))).await;
        client.expect_publish().await;
    }
}

#[tokio::test]
async fn subscriptions_are_granted_refused_and_ended_one_by_one() {
    let (fanout, server) = server();
    let mut client = Client::connected(&server, "c").await;
    // A malformed filter is another matter: see `malformed`.
    let too_many = (0..FILTERS_MAX - 1).map(|n| format!("f/{n}"));
    let filters = ["a/+", "$SYS/#"].map(str::to_owned).into_iter().chain(too_many);
    let filters = filters.map(|filter| SubscribeFilter::new(filter, QoS::AtLeastOnce)).collect();
    client.say(Packet::Subscribe(Subscribe { pkid: 7, filters })).await;
    let mut codes = vec![SubscribeReasonCode::Success(QoS::AtLeastOnce); FILTERS_MAX];
    codes.push(SubscribeReasonCode::Failure);
    client.expect(Packet::SubAck(SubAck::new(7, codes))).await;
    let unsubscribe = |topic: &str| Packet::Unsubscribe(Unsubscribe { pkid: 8, topics: vec![topic.into()] });
    client.say(unsubscribe("a/+")).await;
    assert!(matches!(client.hear().await, Some(Packet::UnsubAck(ack)) if ack.pkid == 8));
    deliver(&fanout, "a/b", 0, b"1");
    deliver(&fanout, "$SYS/x", 0, b"2");
    assert_eq!(client.expect_publish().await.payload, &b"2"[..]);
}

#[tokio::test]
async fn who_lacks_the_credentials_is_refused() {
    let fanout = Fanout::new(Clock::System, None);
    let pairs = vec![("user".to_owned(), Secret::new("right"))];
    let server = MqttServer::new(fanout, Credentials::OneOf(pairs));
    let connect = |username: &str, password: &'static [u8]| Connect {
        auth: ConnectAuth::UsernamePassword { username: username.into(), password: password.into() },
        ..Connect::new("c")
    };
    let wrong =
        [connect("user", b"wrong"), connect("other", b"right"), connect("user", b"\xFF"), Connect::new("c")];
    for connect in wrong {
        let mut client = Client::open(&server);
        client.say(Packet::Connect(connect)).await;
        client.expect(Packet::ConnAck(ConnAck::new(ConnectReturnCode::NotAuthorized, false))).await;
        assert_eq!(client.hear().await, None);
    }
    let mut client = Client::open(&server);
    client.say(Packet::Connect(connect("user", b"right"))).await;
    client.expect(Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false))).await;
}

#[tokio::test]
async fn a_newcomer_takes_the_place_of_its_namesake_but_not_of_the_nameless() {
    let (fanout, server) = server();
    let mut nameless = Client::subscribed(&server, "", "#", QoS::AtMostOnce).await;
    let mut first = Client::subscribed(&server, "same", "#", QoS::AtMostOnce).await;
    let mut second = Client::subscribed(&server, "same", "#", QoS::AtMostOnce).await;
    let mut other_nameless = Client::subscribed(&server, "", "#", QoS::AtMostOnce).await;
    assert_eq!(first.hear().await, None);
    drop(first);
    deliver(&fanout, "t", 0, b"x");
    nameless.expect_publish().await;
    second.expect_publish().await;
    other_nameless.expect_publish().await;
    // The evicted one's end must not have emptied its successor's seat.
    let _third = Client::subscribed(&server, "same", "#", QoS::AtMostOnce).await;
    assert_eq!(second.hear().await, None);
}

/// Rules that a test changes.
#[derive(Debug)]
struct Rules(Arc<Mutex<Standing>>);

impl MqttPolicy for Rules {
    fn connect(&mut self, _client_id: &str) -> Result<(), &'static str> {
        Ok(())
    }

    fn subscribe(&mut self, _filter: &str, qos: u8, _beside: usize) -> Grant {
        *self.0.lock().unwrap() = flowing();
        Grant::Granted(qos)
    }

    fn unsubscribe(&mut self, _filter: &str) {}

    fn standing(&mut self, _now: Now) -> Standing {
        self.0.lock().unwrap().clone()
    }

    fn wake_at(&self) -> Option<u64> {
        None
    }
}

fn flowing() -> Standing {
    Standing::Flowing { rows: Selection::default(), topic: "/its/own".into(), qos: 0 }
}

#[tokio::test(start_paused = true)]
async fn a_connection_under_rules_gets_what_they_let_flow_from_its_suback_on() {
    let (fanout, server) = server();
    let standing = Arc::new(Mutex::new(Standing::Unready));
    let (ours, theirs) = duplex(1 << 16);
    let (policy, serving) = (Box::new(Rules(Arc::clone(&standing))), Arc::clone(&server));
    tokio::spawn(async move { serving.serve_under(theirs, "/mqtt", Some(policy), None).await });
    let (read, write) = split(ours);
    let mut client = Client { packets: PacketReader::new(read), write };
    client.say(Packet::Connect(Connect::new("c"))).await;
    client.expect(Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false))).await;
    deliver(&fanout, "t", 0, b"before");
    client.say(Packet::Subscribe(Subscribe { pkid: 1, ..Subscribe::new("/its/own", QoS::AtMostOnce) })).await;
    let granted = vec![SubscribeReasonCode::Success(QoS::AtMostOnce)];
    let its_fanout = Arc::clone(&fanout);
    // A task of its own has its turn as soon as the SUBACK is there, before the server has another.
    let at_once = tokio::spawn(async move {
        client.expect(Packet::SubAck(SubAck::new(1, granted))).await;
        // The client closes its other connection now: there must be no moment without one.
        deliver(&its_fanout, "t", 0, b"at once");
        let got = client.expect_publish().await;
        (client, got)
    });
    let within = std::time::Duration::from_secs(10);
    let (mut client, got) = tokio::time::timeout(within, at_once).await.expect("it comes").unwrap();
    assert_eq!((&got.topic[..], &got.payload[..]), (&b"/its/own"[..], &b"at once"[..]));
    for (next, payload, comes) in [
        (Standing::Paused, "paused", false),
        (flowing(), "again", true),
        (Standing::Paused, "again paused", false),
    ] {
        *standing.lock().unwrap() = next;
        server.rules_changed();
        client.settled().await;
        deliver(&fanout, "t", 0, payload.as_bytes());
        if comes {
            assert_eq!(client.expect_publish().await.payload, payload);
        }
        client.settled().await;
    }
    *standing.lock().unwrap() = Standing::Over("its hour is over");
    server.rules_changed();
    assert_eq!(client.hear().await, None);
}

#[tokio::test]
async fn a_persistent_session_needs_a_name() {
    let (_, server) = server();
    let mut client = Client::open(&server);
    client.say_bytes(&[0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 0, 0, 60, 0, 0]).await;
    client.expect(Packet::ConnAck(ConnAck::new(ConnectReturnCode::BadClientId, false))).await;
    assert_eq!(client.hear().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_closed_after_one_and_a_half_times_its_keep_alive() {
    let (_, server) = server();
    let mut client = Client::open(&server);
    client.say(Packet::Connect(Connect { keep_alive: 10, ..Connect::new("c") })).await;
    client.expect(Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false))).await;
    let connected = tokio::time::Instant::now();
    assert_eq!(client.hear().await, None);
    assert_eq!(connected.elapsed().as_secs(), 15);
    let mut mute = Client::open(&server);
    assert_eq!(mute.hear().await, None, "and one that never says CONNECT, after ten seconds");
}

#[tokio::test]
async fn packets_out_of_place_end_the_connection() {
    let (_, server) = server();
    let mut early = Client::open(&server);
    early.say(Packet::PingReq).await;
    assert_eq!(early.hear().await, None);
    let misplaced = [Packet::Connect(Connect::new("c")), Packet::PingResp];
    for packet in misplaced {
        let mut client = Client::connected(&server, "c").await;
        client.say(packet).await;
        assert_eq!(client.hear().await, None);
    }
}
