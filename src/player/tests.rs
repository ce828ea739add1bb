//! Replays over real sockets.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{
    ConnAck, Connect, ConnectReturnCode, Packet, Publish, SubAck, Subscribe, SubscribeReasonCode,
};
use rumqttc::{AsyncClient, Event, MqttOptions};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::*;

mod access;
mod hostile;
mod lockstep;
mod past;
mod push;
mod shape;

use crate::clock::Clock;
use crate::message::{KindHeader, Mqtt, Selection, SourceHeader};
use crate::transport::fanout::{Down, Strands};
use crate::vendors::{Credential, Recorded, pusher};

pub(crate) fn row(seq: u64, elapsed_ns: u64, payload: &str) -> Row {
    Row {
        vendor: "generic".into(),
        kind: "message".into(),
        site: "".into(),
        session_id: SessionId::new(0, [0; 10]),
        source: "src".into(),
        connection: 0,
        seq,
        received_at_us: 0,
        elapsed_ns,
        channel: "/stream".into(),
        device_id: None,
        event_at_us: None,
        mqtt: None,
        is_binary: false,
        headers: None,
        duplicate_of: None,
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        clear: None,
        decode_error: None,
    }
}

/// Payloads that a careless path would bend.
fn hard_payloads() -> Vec<(Vec<u8>, bool)> {
    let mut payloads: Vec<(Vec<u8>, bool)> =
        ["{\"x\":-0.0,\"ü\":1e400}", "", " \t{\r\n} ", "{not json", "\u{0}\u{FEFF}"]
            .map(|text| (text.as_bytes().to_vec(), false))
            .into();
    payloads.push((vec![0xFF, 0xFE, 0x00], false));
    payloads.push((b"text in a binary frame".to_vec(), true));
    payloads.push(("ß".repeat(30_000).into_bytes(), false));
    payloads
}

fn hard_rows() -> Vec<Row> {
    let rows = hard_payloads().into_iter().enumerate().map(|(seq, (payload, is_binary))| Row {
        payload: payload.into(),
        is_binary,
        ..row(seq as u64, seq as u64 * 1_000_000, "")
    });
    rows.collect()
}

fn numbered(count: u64, distance_ns: u64) -> Vec<Row> {
    (0..count).map(|seq| row(seq, seq * distance_ns, &seq.to_string())).collect()
}

fn recorded() -> Recorded {
    let kinds = vec![KindHeader { name: "message".into(), declaration: None }];
    let source = SourceHeader {
        name: "src".into(),
        vendor: "generic".into(),
        kinds,
        settings: serde_json::Value::Null,
    };
    Recorded { sources: vec![source], ..Recorded::default() }
}

fn bind_options(listen: &[&str]) -> BindOptions {
    BindOptions {
        listen: listen.iter().map(|url| url.parse().unwrap()).collect(),
        tls: None,
        self_signed_dir: PathBuf::new(),
        recorded: recorded(),
        access: Access::default(),
        pushes: Vec::new(),
        publishes: Vec::new(),
        trust: Default::default(),
        trace: None,
        misbehaviour: None,
        api: None,
        clock: Clock::System,
    }
}

async fn bind(listen: &[&str]) -> Endpoints {
    Endpoints::bind(bind_options(listen)).await.unwrap()
}

fn with_clients(wanted: usize) -> PlayOptions {
    let wanted = NonZeroUsize::new(wanted).unwrap();
    PlayOptions { start: Start::WithClients(wanted), ..PlayOptions::default() }
}

type Rounded = Result<std::vec::IntoIter<Result<Row, Infallible>>, Infallible>;

fn source(rows: Vec<Row>) -> impl FnMut(Position) -> Rounded {
    move |_| Ok(rows.iter().cloned().map(Ok).collect::<Vec<_>>().into_iter())
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn websocket(http_url: &str, path: &str) -> Socket {
    connect_async(format!("{}{path}", http_url.replace("http", "ws"))).await.unwrap().0
}

/// All data frames, and the code of the close frame.
async fn receive_all(mut socket: Socket) -> (Vec<Frame>, u16) {
    let mut frames = Vec::new();
    loop {
        match socket.next().await.unwrap().unwrap() {
            Frame::Close(close) => return (frames, close.unwrap().code.into()),
            frame @ (Frame::Text(_) | Frame::Binary(_)) => frames.push(frame),
            _ => {}
        }
    }
}

fn texts(frames: Vec<Frame>) -> Vec<String> {
    frames.into_iter().map(|frame| frame.into_text().unwrap().to_string()).collect()
}

#[tokio::test]
async fn a_websocket_client_gets_the_recorded_bytes() {
    let endpoints = bind(&["http://127.0.0.1:0"]).await;
    let url = endpoints.http_url().unwrap();
    let raw = tokio::spawn(receive_all(websocket(&url, "/ws").await));
    let envelopes = tokio::spawn(receive_all(websocket(&url, "/ws?format=envelope").await));
    let report = endpoints.play(with_clients(2), source(hard_rows())).await.unwrap();

    let (frames, code) = raw.await.unwrap();
    assert_eq!(code, 1000);
    let payloads = hard_payloads();
    assert_eq!(frames.len(), payloads.len());
    let mut expected_digest = Sha256::new();
    for (frame, (payload, is_binary)) in frames.into_iter().zip(&payloads) {
        assert_eq!(frame.is_text(), !is_binary && std::str::from_utf8(payload).is_ok());
        assert_eq!(frame.into_data(), payload);
        expected_digest.update(7u32.to_be_bytes());
        expected_digest.update("/stream");
        expected_digest.update((payload.len() as u32).to_be_bytes());
        expected_digest.update(payload);
    }
    let (frames, _) = envelopes.await.unwrap();
    let rows = hard_rows();
    let expected: Vec<String> = rows.iter().map(|row| crate::envelope::to_json(row).unwrap()).collect();
    assert_eq!(texts(frames), expected);

    let hex: String = expected_digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((&report.digest, &report.sent_digest), (&hex, &hex));
    assert_eq!(report.messages, 8);
    assert_eq!(report.bytes, payloads.iter().map(|(payload, _)| payload.len() as u64).sum::<u64>());
    let told: Vec<_> = report.clients.iter().map(|c| (&*c.endpoint, c.messages, c.dropped)).collect();
    assert_eq!(told, [("/ws", 8, 0), ("/ws", 8, 0)]);
    assert!(report.duration_ns >= 7_000_000 && !report.has_loss());
}

#[tokio::test]
async fn no_message_is_early_and_due_times_follow_the_speed() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let options = BindOptions { trace: Some(trace.clone()), ..bind_options(&["http://127.0.0.1:0"]) };
    let endpoints = Endpoints::bind(options).await.unwrap();
    let client = tokio::spawn(receive_all(websocket(&endpoints.http_url().unwrap(), "/ws").await));
    let options = PlayOptions { speed: "2".parse().unwrap(), ..with_clients(1) };
    let report = endpoints.play(options, source(numbered(20, 10_000_000))).await.unwrap();
    client.await.unwrap();

    let lines: Vec<serde_json::Value> = std::fs::read_to_string(trace)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let times: Vec<(u64, u64)> = lines
        .iter()
        .filter(|line| line["event"] == "sent")
        .map(|line| (line["due_ns"].as_u64().unwrap(), line["sent_ns"].as_u64().unwrap()))
        .collect();
    assert_eq!(times.len(), 20);
    for (n, (due_ns, sent_ns)) in times.iter().enumerate() {
        assert!(sent_ns >= due_ns, "message {n} left {} ns early", due_ns - sent_ns);
        assert_eq!(due_ns - times[0].0, n as u64 * 5_000_000);
    }
    assert_eq!(report.speed, "2");
    let latest_us = times.iter().map(|(due_ns, sent_ns)| (sent_ns - due_ns).div_ceil(1_000)).max().unwrap();
    // Three digits are kept.
    assert!(report.lateness_us.max.abs_diff(latest_us) <= latest_us / 500, "{report:?} {latest_us}");
}

#[tokio::test]
async fn an_mqtt_client_gets_recorded_topics_and_qos_and_others_a_topic_of_ours() {
    let endpoints = bind(&["mqtt://127.0.0.1:0"]).await;
    let url = endpoints.mqtt_url().unwrap();
    let port: u16 = url.rsplit_once(':').unwrap().1.parse().unwrap();
    let mut options = MqttOptions::new("client", ("127.0.0.1", port));
    options.set_max_packet_size(1 << 20, 1 << 20);
    let (client, mut events) = AsyncClient::builder(options).capacity(10).build();
    client.subscribe("#", QoS::AtLeastOnce).await.unwrap();
    client.subscribe("/up/+", QoS::ExactlyOnce).await.unwrap();
    let received = tokio::spawn(async move {
        let mut received = Vec::new();
        while let Ok(event) = events.poll().await {
            if let Event::Incoming(Packet::Publish(publish)) = event {
                received.push(publish);
            }
        }
        received
    });
    let mqtt = |qos, retain| Some(Mqtt { qos, retain, dup: false });
    let mut rows = numbered(4, 0);
    (rows[0].channel, rows[0].mqtt) = ("/up/ü".into(), mqtt(2, true));
    (rows[1].channel, rows[1].mqtt) = ("other".into(), mqtt(2, false));
    (rows[2].channel, rows[2].mqtt) = ("/up/a".into(), mqtt(0, false));
    rows[3].device_id = Some("a/1".into());
    let report = endpoints.play(with_clients(1), source(rows)).await.unwrap();
    drop(client);

    let received = received.await.unwrap();
    let told: Vec<_> = received
        .iter()
        .map(|p: &Publish| (std::str::from_utf8(&p.topic).unwrap(), p.qos, p.retain, &p.payload[..]))
        .collect();
    assert_eq!(
        told,
        [
            ("/up/ü", QoS::ExactlyOnce, true, &b"0"[..]),
            ("other", QoS::AtLeastOnce, false, b"1"),
            ("/up/a", QoS::AtMostOnce, false, b"2"),
            ("telereel/generic/src/message/a%2F1", QoS::AtMostOnce, false, b"3"),
        ]
    );
    let client = &report.clients[0];
    assert_eq!((&*client.endpoint, client.messages, client.reason), ("mqtt", 4, None));
}

#[tokio::test]
async fn mqtt_over_websocket_may_split_and_join_packets() {
    let endpoints = bind(&["http://127.0.0.1:0"]).await;
    let url = format!("{}/mqtt", endpoints.http_url().unwrap().replace("http", "ws"));
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "mqttv3.1, mqtt".parse().unwrap());
    let (mut socket, response) = connect_async(request).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "mqtt");
    let playing = tokio::spawn(endpoints.play(with_clients(1), source(numbered(2, 0))));

    let mut bytes = bytes::BytesMut::new();
    Packet::Connect(Connect::new("c")).write(&mut bytes, 99).unwrap();
    Packet::Subscribe(Subscribe { pkid: 1, ..Subscribe::new("#", QoS::AtMostOnce) })
        .write(&mut bytes, 99)
        .unwrap();
    let bytes = bytes.freeze();
    for part in [0..1, 1..bytes.len() - 3, bytes.len() - 3..bytes.len()] {
        socket.send(Frame::Binary(bytes.slice(part))).await.unwrap();
    }
    let (frames, code) = receive_all(socket).await;
    let mut stream = bytes::BytesMut::new();
    frames.into_iter().for_each(|frame| stream.extend_from_slice(&frame.into_data()));
    let packets: Vec<Packet> = std::iter::from_fn(|| Packet::read(&mut stream, 99).ok()).collect();
    assert_eq!(packets[0], Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false)));
    assert_eq!(
        packets[1],
        Packet::SubAck(SubAck::new(1, vec![SubscribeReasonCode::Success(QoS::AtMostOnce)]))
    );
    assert!(matches!(&packets[3], Packet::Publish(publish) if publish.payload == "1"));
    assert_eq!((packets.len(), code), (4, 1000));
    assert_eq!(playing.await.unwrap().unwrap().clients[0].endpoint, "/mqtt");
}

#[tokio::test]
async fn mqtt_over_websocket_ends_in_an_outage_without_a_goodbye() {
    let endpoints = bind(&["http://127.0.0.1:0"]).await;
    let fanout = Arc::clone(&endpoints.fanout);
    let header = SourceHeader {
        name: "src".into(),
        vendor: "generic".into(),
        kinds: Vec::new(),
        settings: serde_json::Value::Null,
    };
    fanout.reproduce_outages(Strands::new(&[header], &Selection::default()));
    let mut socket = websocket(&endpoints.http_url().unwrap(), "/mqtt").await;
    let mut bytes = bytes::BytesMut::new();
    Packet::Connect(Connect::new("c")).write(&mut bytes, 99).unwrap();
    Packet::Subscribe(Subscribe { pkid: 1, ..Subscribe::new("#", QoS::AtMostOnce) })
        .write(&mut bytes, 99)
        .unwrap();
    socket.send(Frame::Binary(bytes.freeze())).await.unwrap();
    while fanout.ready() == 0 {
        tokio::task::yield_now().await;
    }
    fanout.set_down(&[Down { source: "src".into(), device: None }]);
    while let Some(Ok(frame)) = socket.next().await {
        assert!(!frame.is_close(), "{frame:?}");
    }
}

#[tokio::test]
async fn mqtt_in_text_frames_is_closed() {
    let endpoints = bind(&["http://127.0.0.1:0"]).await;
    let mut socket = websocket(&endpoints.http_url().unwrap(), "/mqtt").await;
    // [MQTT-6.0.0-1]
    socket.send(Frame::text("\u{10}\r\0\u{4}MQTT\u{4}\u{2}\0<\0\u{1}c")).await.unwrap();
    while let Some(Ok(frame)) = socket.next().await {
        assert!(frame.is_close(), "{frame:?}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped_and_the_others_get_everything() {
    let endpoints = bind(&["http://127.0.0.1:0"]).await;
    let fanout = Arc::clone(&endpoints.fanout);
    let url = endpoints.http_url().unwrap();
    let slow = websocket(&url, "/ws").await;
    let fast = tokio::spawn(receive_all(websocket(&url, "/ws?kind=message").await));
    // An endless recording, a message each millisecond, until the slow client is gone. Every other one has 60 KB and
    // is for that alone: however seldom the fast one has its turn on a busy machine, its queue does not run over.
    let payload = Bytes::from(vec![b'x'; 60_000]);
    let open = move |_| {
        let payload = payload.clone();
        Ok::<_, Infallible>((0..).map(move |seq| {
            let row = row(seq, seq * 1_000_000, "");
            Ok::<_, Infallible>(match seq % 2 {
                0 => row,
                _ => Row { kind: "bulk".into(), payload: payload.clone(), ..row },
            })
        }))
    };
    let options = with_clients(2);
    let stop = options.stop.clone();
    let playing = tokio::spawn(endpoints.play(options, open));
    while fanout.summaries().is_empty() {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    let report = playing.await.unwrap().unwrap();
    drop(slow);
    let (frames, code) = fast.await.unwrap();
    let for_fast = report.messages.div_ceil(2);
    assert_eq!((frames.len() as u64, code), (for_fast, 1000));
    let [slow, fast] = &report.clients[..] else { panic!("{report:?}") };
    assert!(slow.dropped > 0 && slow.reason.is_some(), "{slow:?}");
    assert_eq!((fast.messages, fast.dropped, fast.reason), (for_fast, 0, None));
    assert!(report.has_loss() && report.stopped);
}

#[tokio::test(start_paused = true)]
async fn once_it_is_stopped_a_long_drain_is_no_longer_than_usual() {
    let fanout = crate::transport::fanout::Fanout::new(Clock::System, None);
    let member = fanout.join("x").unwrap();
    let options = PlayOptions { drain: Duration::from_secs(125), ..PlayOptions::default() };
    let by_control = CancellationToken::new();
    let waited = async || {
        let began = tokio::time::Instant::now();
        (emptied(&fanout, &options, &by_control).await, began.elapsed())
    };
    assert_eq!(waited().await, (false, options.drain));
    by_control.cancel();
    assert_eq!(waited().await, (false, DEFAULT_DRAIN));
    options.stop.cancel();
    assert_eq!(waited().await, (false, DEFAULT_DRAIN));
    drop(member);
    assert_eq!(waited().await, (true, Duration::ZERO));
}

#[tokio::test]
async fn an_acknowledgement_that_never_comes_ends_with_the_drain() {
    let endpoints = bind(&["mqtt://127.0.0.1:0"]).await;
    let address = endpoints.mqtt_url().unwrap().replace("mqtt://", "");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut bytes = bytes::BytesMut::new();
    Packet::Connect(Connect::new("c")).write(&mut bytes, 99).unwrap();
    Packet::Subscribe(Subscribe { pkid: 1, ..Subscribe::new("#", QoS::AtLeastOnce) })
        .write(&mut bytes, 99)
        .unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, &bytes).await.unwrap();
    let mut rows = numbered(1, 0);
    rows[0].mqtt = Some(Mqtt { qos: 1, retain: false, dup: false });
    let options = PlayOptions { drain: Duration::from_millis(50), ..with_clients(1) };
    let report = endpoints.play(options, source(rows)).await.unwrap();
    assert_eq!(report.clients[0].messages, 1);
    assert!(report.clients[0].reason.unwrap().starts_with("not drained"));
}

#[tokio::test]
async fn a_replay_goes_on_without_its_clients_and_starts_without_any() {
    let endpoints = bind(&["http://127.0.0.1:0"]).await;
    let mut socket = websocket(&endpoints.http_url().unwrap(), "/ws").await;
    let leaver = tokio::spawn(async move {
        socket.next().await.unwrap().unwrap();
        socket.close(None).await.unwrap();
    });
    let report = endpoints.play(with_clients(1), source(numbered(50, 1_000_000))).await.unwrap();
    leaver.await.unwrap();
    assert_eq!(report.messages, 50);
    assert_eq!((report.clients[0].dropped, report.clients[0].reason), (0, None));

    let endpoints = bind(&["http://127.0.0.1:0"]).await;
    let options = PlayOptions { start: Start::AtOnce, ..PlayOptions::default() };
    let report = endpoints.play(options, source(numbered(3, 0))).await.unwrap();
    assert_eq!((report.messages, report.clients.len()), (3, 0));
}

#[tokio::test]
async fn a_replay_that_is_stopped_reports_what_was_emitted() {
    let endpoints = bind(&["http://127.0.0.1:0"]).await;
    let mut socket = websocket(&endpoints.http_url().unwrap(), "/ws").await;
    let options = with_clients(1);
    let stop = options.stop.clone();
    // The third is due in a century.
    let mut rows = numbered(3, 0);
    rows[2].elapsed_ns = 3_000_000_000_000_000_000;
    let playing = tokio::spawn(endpoints.play(options, source(rows)));
    socket.next().await.unwrap().unwrap();
    socket.next().await.unwrap().unwrap();
    stop.cancel();
    assert_eq!(receive_all(socket).await, (vec![], 1000));
    let report = playing.await.unwrap().unwrap();
    let expected = Sha256::digest(b"\0\0\0\x07/stream\0\0\0\x010\0\0\0\x07/stream\0\0\0\x011");
    let hex: String = expected.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((report.messages, report.digest, report.stopped), (2, hex, true));
}

#[tokio::test]
async fn at_full_pace_loops_are_played_whole_and_nobody_is_too_slow() {
    let endpoints = bind(&["http://127.0.0.1:0"]).await;
    let client = tokio::spawn(receive_all(websocket(&endpoints.http_url().unwrap(), "/ws").await));
    let rounds = Rounds::Times(NonZeroU64::new(3).unwrap());
    let options = PlayOptions { pace: Pace::Max, rounds, ..with_clients(1) };
    let rows = numbered(20_000, 1_000_000_000);
    let report = endpoints.play(options, source(rows)).await.unwrap();
    let received = texts(client.await.unwrap().0);
    let expected: Vec<String> = (0..60_000).map(|n| (n % 20_000).to_string()).collect();
    assert!(received == expected, "{} messages", received.len());
    assert_eq!((report.messages, report.clients[0].messages), (60_000, 60_000));
    assert_eq!(report.lateness_us.max, 0, "without due times nothing is late");
}

#[tokio::test]
async fn an_error_while_reading_ends_the_replay_after_what_came_before() {
    let endpoints = bind(&["http://127.0.0.1:0"]).await;
    let client = tokio::spawn(receive_all(websocket(&endpoints.http_url().unwrap(), "/ws").await));
    let open = |_| {
        let rows = vec![Ok(row(0, 0, "whole")), Err(io::Error::other("segment 7 is damaged"))];
        Ok::<_, io::Error>(rows.into_iter())
    };
    let error = endpoints.play(with_clients(1), open).await.unwrap_err();
    assert_eq!(error.source().unwrap().to_string(), "segment 7 is damaged");
    assert_eq!(texts(client.await.unwrap().0), ["whole"]);
}

#[tokio::test]
async fn an_empty_selection_is_an_error() {
    let endpoints = bind(&["http://127.0.0.1:0"]).await;
    let error = endpoints.play(with_clients(1), source(vec![])).await.unwrap_err();
    assert!(matches!(error, PlayError::Empty));
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_told_before_anything_is_served() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let publishes = vec![format!("mqtt://me:geheim@{nobody}").parse().unwrap()];
    let options = BindOptions { publishes, ..bind_options(&["http://127.0.0.1:0"]) };
    let error = Endpoints::bind(options).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot publish to mqtt://{nobody}"));
    assert!(!crate::transport::dial::chain(&error).contains("geheim"));
}
