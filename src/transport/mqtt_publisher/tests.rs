use bytes::BytesMut;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{ConnAck, Publish};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::Clock;
use crate::message::{Mqtt, Row, SessionId};
use crate::transport::fanout::{ClientSummary, Emission, Fanout, Flow, Wish};
use crate::transport::tls::{self, Trust};

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), future).await.expect("should not take this long")
}

fn row(seq: u64, channel: &str, mqtt: Option<(u8, bool)>) -> Row {
    Row {
        vendor: "jointech".into(),
        kind: "location".into(),
        site: "".into(),
        session_id: SessionId::new(0, [0; 10]),
        source: "locks".into(),
        connection: 0,
        seq,
        received_at_us: 0,
        elapsed_ns: 0,
        channel: channel.into(),
        device_id: Some("7".into()),
        event_at_us: None,
        mqtt: mqtt.map(|(qos, retain)| Mqtt { qos, retain, dup: false }),
        is_binary: false,
        headers: None,
        duplicate_of: None,
        payload: seq.to_string().into(),
        clear: None,
        decode_error: None,
    }
}

/// The broker's end of one connection.
struct Peer {
    packets: PacketReader<ReadHalf<TcpStream>>,
    write: WriteHalf<TcpStream>,
}

impl Peer {
    async fn accept(listener: &TcpListener, code: ConnectReturnCode) -> (Self, Connect) {
        let (stream, _) = soon(listener.accept()).await.unwrap();
        let (read, write) = split(stream);
        let mut peer = Self { packets: PacketReader::new(read), write };
        let Some(Packet::Connect(connect)) = peer.next().await else { panic!("no CONNECT") };
        peer.say(Packet::ConnAck(ConnAck::new(code, false))).await;
        (peer, connect)
    }

    async fn next(&mut self) -> Option<Packet> {
        soon(self.packets.next()).await.unwrap()
    }

    async fn publish(&mut self) -> Publish {
        match self.next().await {
            Some(Packet::Publish(publish)) => publish,
            other => panic!("{other:?}"),
        }
    }

    async fn say(&mut self, packet: Packet) {
        let mut out = BytesMut::new();
        packet.write(&mut out, usize::MAX).unwrap();
        self.write.write_all(&out).await.unwrap();
    }
}

async fn listen() -> (TcpListener, Url) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("mqtt://me:p%40ss@{}", listener.local_addr().unwrap());
    (listener, Url::parse(&url).unwrap())
}

fn play(fanout: &Arc<Fanout>, rows: Vec<Row>) -> Member {
    let member = fanout.join_target("publish", Wish::Everything).unwrap();
    for (index, row) in rows.into_iter().enumerate() {
        let emission = Arc::new(Emission::new(row, index as u64, None));
        fanout.deliver(&emission, Flow::Drop, &CancellationToken::new());
    }
    fanout.finish();
    member
}

async fn connect(url: &Url) -> Result<MqttPublisher, PublishError> {
    MqttPublisher::connect(url, tls::client_config(&Trust::Anybody).unwrap(), "telereel-1".into()).await
}

async fn publishing(url: Url, rows: Vec<Row>) -> ClientSummary {
    let fanout = Fanout::new(Clock::System, None);
    let publisher = connect(&url).await.unwrap();
    let member = play(&fanout, rows);
    soon(publisher.run(member)).await;
    fanout.summaries().remove(0)
}

fn told(publish: &Publish) -> (String, u8, bool, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&publish.topic), publish.qos as u8, publish.retain, text(&publish.payload))
}

#[tokio::test]
async fn each_message_goes_out_as_it_came_and_the_end_waits_for_every_acknowledgement() {
    let (listener, url) = listen().await;
    let rows = vec![
        row(0, "up/1", Some((0, true))),
        row(1, "up/1", Some((1, false))),
        row(2, "up/2", Some((2, false))),
        row(3, "/websocket", None),
    ];
    let running = tokio::spawn(publishing(url, rows));
    let (mut peer, connect) = Peer::accept(&listener, ConnectReturnCode::Success).await;
    assert!(connect.clean_session && connect.client_id == "telereel-1");
    let mut expected = Connect::new("telereel-1");
    expected.set_credentials("me", b"p@ss".to_vec());
    assert_eq!(connect.auth, expected.auth);

    let mut seen = Vec::new();
    let mut ids = Vec::new();
    for _ in 0..4 {
        let publish = peer.publish().await;
        seen.push(told(&publish));
        ids.push(publish.pkid);
    }
    let expected = [
        ("up/1", 0, true, "0"),
        ("up/1", 1, false, "1"),
        ("up/2", 2, false, "2"),
        ("telereel/jointech/locks/location/7", 1, false, "3"),
    ];
    assert_eq!(seen, expected.map(|(topic, qos, retain, text)| (topic.into(), qos, retain, text.into())));
    // In any order, and what nobody waits for changes nothing.
    peer.say(Packet::PubAck(PubAck::new(ids[3]))).await;
    peer.say(Packet::PubAck(PubAck::new(ids[2]))).await;
    peer.say(Packet::PubAck(PubAck::new(999))).await;
    peer.say(Packet::PubRec(PubRec::new(ids[2]))).await;
    assert_eq!(peer.next().await, Some(Packet::PubRel(PubRel::new(ids[2]))));
    peer.say(Packet::PubComp(PubComp::new(ids[2]))).await;
    assert!(!running.is_finished(), "one acknowledgement is missing");
    peer.say(Packet::PubAck(PubAck::new(ids[1]))).await;
    assert_eq!(peer.next().await, Some(Packet::Disconnect));
    let summary = soon(running).await.unwrap();
    assert_eq!((summary.messages, summary.dropped, summary.reason), (4, 0, None));
}

#[tokio::test]
async fn what_a_lost_connection_had_not_acknowledged_is_published_again_first() {
    let (listener, url) = listen().await;
    let rows = (0..5).map(|seq| row(seq, "t", Some(((seq % 3) as u8, false)))).collect();
    let running = tokio::spawn(publishing(url, rows));
    let (mut peer, _) = Peer::accept(&listener, ConnectReturnCode::Success).await;
    let mut ids = Vec::new();
    for seq in 0..5 {
        let publish = peer.publish().await;
        assert_eq!(told(&publish), ("t".into(), (seq % 3) as u8, false, seq.to_string()));
        ids.push(publish.pkid);
    }
    peer.say(Packet::PubAck(PubAck::new(ids[1]))).await;
    peer.say(Packet::PubRec(PubRec::new(ids[2]))).await;
    assert_eq!(peer.next().await, Some(Packet::PubRel(PubRel::new(ids[2]))));
    drop(peer);

    let (mut peer, _) = Peer::accept(&listener, ConnectReturnCode::Success).await;
    let again = [peer.publish().await, peer.publish().await];
    assert_eq!(
        again.each_ref().map(|publish| (told(publish).3, publish.qos, publish.dup)),
        [("2".to_owned(), QoS::ExactlyOnce, true), ("4".to_owned(), QoS::AtLeastOnce, true)]
    );
    peer.say(Packet::PubAck(PubAck::new(again[1].pkid))).await;
    peer.say(Packet::PubRec(PubRec::new(again[0].pkid))).await;
    assert_eq!(peer.next().await, Some(Packet::PubRel(PubRel::new(again[0].pkid))));
    peer.say(Packet::PubComp(PubComp::new(again[0].pkid))).await;
    assert_eq!(peer.next().await, Some(Packet::Disconnect));
    let summary = soon(running).await.unwrap();
    assert_eq!((summary.messages, summary.dropped), (5, 0), "each is counted once");
}

#[tokio::test]
async fn only_so_many_are_under_way_at_a_time() {
    let (listener, url) = listen().await;
    let window = u64::from(flight::WINDOW);
    let rows = (0..window + 1).map(|seq| row(seq, "t", Some((1, false)))).collect();
    let running = tokio::spawn(publishing(url, rows));
    let (mut peer, _) = Peer::accept(&listener, ConnectReturnCode::Success).await;
    let mut ids = Vec::new();
    for _ in 0..window {
        ids.push(peer.publish().await.pkid);
    }
    peer.say(Packet::PubAck(PubAck::new(ids[0]))).await;
    let last = peer.publish().await;
    assert_eq!((told(&last).3, last.pkid), (window.to_string(), ids[0]));
    for id in &ids {
        peer.say(Packet::PubAck(PubAck::new(*id))).await;
    }
    assert_eq!(peer.next().await, Some(Packet::Disconnect));
    assert_eq!(soon(running).await.unwrap().messages, window + 1);
}

#[tokio::test]
async fn a_broker_that_refuses_or_is_not_there_is_told_at_once() {
    let (listener, url) = listen().await;
    let refusing = Peer::accept(&listener, ConnectReturnCode::BadUserNamePassword);
    let (connected, _) = tokio::join!(soon(connect(&url)), refusing);
    let error = connected.unwrap_err();
    assert_eq!(error.to_string(), "the broker refuses the user name or password");
    drop(listener);
    let error = crate::transport::dial::chain(&soon(connect(&url)).await.unwrap_err());
    assert!(
        error.contains("cannot be reached") && !error.contains("p@ss") && !error.contains("p%40ss"),
        "{error}"
    );
}

/// What a broker gets of 30 messages at QoS 0 and 1 from one who misbehaves, and over how many connections. It
/// reads on to the end of each, and never what is no packet.
async fn misbehaves(spec: &str) -> (Vec<String>, usize) {
    let (listener, url) = listen().await;
    let fanout = Fanout::new(Clock::System, None);
    let checked = tokio::spawn(async move {
        let (_, first) = Peer::accept(&listener, ConnectReturnCode::Success).await;
        assert!(first.clean_session);
        listener
    });
    let publisher = soon(connect(&url)).await.unwrap();
    let listener = checked.await.unwrap();
    let publisher = publisher.misbehaving(Some(Misbehaviour::new(spec.parse().unwrap(), 1).apart(1, false)));
    let rows = (0..30).map(|seq| row(seq, "t", Some(((seq % 2) as u8, false)))).collect();
    let member = play(&fanout, rows);
    let running = tokio::spawn(publisher.run(member));
    let mut got = Vec::new();
    let mut connections = 0;
    'connections: loop {
        let (mut peer, _) = Peer::accept(&listener, ConnectReturnCode::Success).await;
        connections += 1;
        while let Some(packet) = peer.next().await {
            match packet {
                Packet::Publish(publish) => {
                    got.push(String::from_utf8_lossy(&publish.payload).into_owned());
                    if publish.qos == QoS::AtLeastOnce {
                        peer.say(Packet::PubAck(PubAck::new(publish.pkid))).await;
                    }
                }
                Packet::Disconnect => break 'connections,
                other => panic!("{other:?}"),
            }
        }
    }
    soon(running).await.unwrap();
    let summary = fanout.summaries().remove(0);
    assert_eq!((summary.messages, summary.dropped), (30, 0), "{spec}");
    (got, connections)
}

#[tokio::test]
async fn who_misbehaves_publishes_everything_all_the_same() {
    let all: Vec<String> = (0..30).map(|seq: u64| seq.to_string()).collect();
    for spec in ["close=5", "half-packet=5", "close=5,half-packet=8,expired-token=1"] {
        let (mut got, connections) = misbehaves(spec).await;
        assert!((4..=16).contains(&connections), "{spec}: {connections} connections");
        // A PUBACK that a cut overtakes brings its message once more.
        got.sort_unstable_by_key(|text| text.parse::<u64>().unwrap());
        got.dedup();
        assert_eq!(got, all, "{spec}");
    }
    let (got, connections) = misbehaves("garbage=1/2").await;
    assert_eq!(connections, 1);
    assert!(got.len() > 35, "no noise in {got:?}");
    let own: Vec<String> = got.into_iter().filter(|text| all.contains(text)).collect();
    assert_eq!(own, all);
}

#[tokio::test]
async fn to_refuse_is_to_make_no_connection() {
    let (listener, url) = listen().await;
    let (publisher, _) =
        tokio::join!(soon(connect(&url)), Peer::accept(&listener, ConnectReturnCode::Success));
    let refusing = Misbehaviour::new("refuse=1/1".parse().unwrap(), 1);
    let publisher = publisher.unwrap().misbehaving(Some(refusing));
    // With nobody there another error would come.
    drop(listener);
    assert!(matches!(soon(publisher.broker.connect()).await, Err(PublishError::Misbehaviour)));
}
