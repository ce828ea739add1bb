//! Against a broker that follows a script, byte by byte.

use std::sync::Mutex;

use super::*;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::transport::intake::{Arrival, intake, intake_within};
use crate::transport::quota::QuotaBytes;
use crate::transport::tls::{Trust, client_config};
use crate::vendors::AckId;

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("should not take this long")
}

struct Broker {
    stream: TcpStream,
}

impl Broker {
    /// The next packet: its first byte, and what follows the length.
    async fn packet(&mut self) -> (u8, Vec<u8>) {
        soon(async {
            let first = self.stream.read_u8().await.unwrap();
            let (mut length, mut shift) = (0, 0);
            loop {
                let byte = self.stream.read_u8().await.unwrap();
                length |= usize::from(byte & 0x7F) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body).await.unwrap();
            (first, body)
        })
        .await
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    async fn publish(&mut self, flags: u8, topic: &[u8], pkid: u16, payload: &[u8]) {
        let mut body = (topic.len() as u16).to_be_bytes().to_vec();
        body.extend(topic);
        if flags & 0b0110 != 0 {
            body.extend(pkid.to_be_bytes());
        }
        body.extend(payload);
        let mut head = vec![0x30 | flags];
        let mut length = body.len();
        while length > 0x7F {
            head.push(length as u8 | 0x80);
            length >>= 7;
        }
        head.push(length as u8);
        self.send(&head).await;
        self.send(&body).await;
    }
}

fn dial_to(listener: &TcpListener) -> MqttDial {
    MqttDial {
        url: format!("mqtt://{}", listener.local_addr().unwrap()),
        client_id: "recorder".to_owned(),
        username: Some("me".to_owned()),
        password: Some("geheim".to_owned()),
        clean_session: false,
        keep_alive_s: 60,
        subscriptions: vec![("a/#".to_owned(), 1), ("b".to_owned(), 2)],
    }
}

/// A connection and the broker's side of it, up to `connack`.
async fn connect(connack: [u8; 4]) -> (ConnHandle, mpsc::Receiver<Arrival>, Broker) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (intake, arrivals) = intake();
    let tls = client_config(&Trust::Anybody).unwrap();
    let handle = spawn(dial_to(&listener), tls, 3, Clock::System, &intake);
    let mut broker = Broker { stream: soon(listener.accept()).await.unwrap().0 };
    let (first, _) = broker.packet().await;
    assert_eq!(first, 0x10, "CONNECT comes first");
    broker.send(&connack).await;
    (handle, arrivals, broker)
}

/// The same, subscribed: with the second filter refused.
async fn subscribed() -> (ConnHandle, mpsc::Receiver<Arrival>, Broker) {
    let (handle, mut arrivals, mut broker) = connect([0x20, 2, 1, 0]).await;
    let opened = next(&mut arrivals).await;
    assert!(matches!(opened, Input::Opened { conn: 3, session_present: true }), "{opened:?}");
    let (first, body) = broker.packet().await;
    assert_eq!(first, 0x82, "SUBSCRIBE, also where the session is present");
    broker.send(&[0x90, 4, body[0], body[1], 1, 0x80]).await;
    let Input::Subscribed { conn: 3, granted } = next(&mut arrivals).await else {
        panic!("a SUBACK is told");
    };
    assert_eq!(granted, [("a/#".to_owned(), Some(1)), ("b".to_owned(), None)]);
    (handle, arrivals, broker)
}

async fn next(arrivals: &mut mpsc::Receiver<Arrival>) -> Input {
    soon(arrivals.recv()).await.expect("an input").input
}

async fn next_ack(arrivals: &mut mpsc::Receiver<Arrival>) -> AckId {
    match next(arrivals).await {
        Input::Frame { frame: Frame::Publish { ack: Some(ack), .. }, .. } => ack,
        other => panic!("expected a PUBLISH to be acknowledged, found {other:?}"),
    }
}

async fn closed(arrivals: &mut mpsc::Receiver<Arrival>) -> Closed {
    match next(arrivals).await {
        Input::Closed { conn: 3, why } => why,
        other => panic!("expected the end, found {other:?}"),
    }
}

#[tokio::test]
async fn messages_arrive_exact_and_nothing_is_acknowledged_before_it_is_told() {
    let (handle, mut arrivals, mut broker) = subscribed().await;
    broker.publish(0b0001, "a/\u{e4}".as_bytes(), 0, b"\xFF-0.0").await;
    broker.publish(0b1010, b"a/1", 7, b"").await;
    broker.publish(0b0100, b"a/2", 8, b"two").await;

    let Input::Frame { conn: 3, frame: Frame::Publish { topic, mqtt, payload, ack }, .. } =
        next(&mut arrivals).await
    else {
        panic!("a PUBLISH is handed on");
    };
    let flags = crate::message::Mqtt { qos: 0, retain: true, dup: false };
    assert_eq!((&*topic, mqtt, &payload[..], ack), ("a/\u{e4}", flags, &b"\xFF-0.0"[..], None));
    let first = next_ack(&mut arrivals).await;
    let second = next_ack(&mut arrivals).await;

    // In the order in which they are told, which is not the order of arrival.
    assert!(handle.ack(second));
    assert_eq!(broker.packet().await, (0x50, vec![0, 8]), "PUBREC");
    assert!(handle.ack(first));
    assert_eq!(broker.packet().await, (0x40, vec![0, 7]), "PUBACK");
    broker.send(&[0x62, 2, 0, 8]).await;
    assert_eq!(broker.packet().await, (0x70, vec![0, 8]), "PUBCOMP");
}

#[tokio::test]
async fn a_message_delivered_twice_is_acknowledged_once_for_the_later_delivery() {
    let (handle, mut arrivals, mut broker) = subscribed().await;
    broker.publish(0b0010, b"a/1", 7, b"x").await;
    broker.publish(0b1010, b"a/1", 7, b"x").await;
    let first = next_ack(&mut arrivals).await;
    let again = next_ack(&mut arrivals).await;
    broker.publish(0b0010, b"a/1", 9, b"y").await;
    let other = next_ack(&mut arrivals).await;
    for ack in [first, other, again] {
        assert!(handle.ack(ack));
    }
    assert_eq!(broker.packet().await, (0x40, vec![0, 9]));
    assert_eq!(broker.packet().await, (0x40, vec![0, 7]));
}

#[tokio::test]
async fn a_close_sends_what_is_owed_and_says_goodbye() {
    let (handle, mut arrivals, mut broker) = subscribed().await;
    broker.publish(0b0010, b"a/1", 7, b"x").await;
    let ack = next_ack(&mut arrivals).await;
    assert!(handle.ack(ack));
    handle.close();
    assert_eq!(broker.packet().await, (0x40, vec![0, 7]));
    assert_eq!(broker.packet().await, (0xE0, vec![]), "DISCONNECT");
    assert_eq!(closed(&mut arrivals).await.cause, CloseCause::ByUs);
}

#[tokio::test]
async fn what_has_reached_the_socket_when_we_close_is_read_and_acknowledged() {
    let (handle, mut arrivals, mut broker) = subscribed().await;
    // More than the way to the source holds, so that the client is not done with it when it closes.
    for n in 0..1_000_u16 {
        broker.publish(0b0010, b"a/1", n + 1, b"x").await;
    }
    handle.close();
    for n in 0..1_000_u16 {
        let ack = next_ack(&mut arrivals).await;
        assert_eq!(ack & 0xFFFF, u64::from(n + 1));
        assert!(handle.ack(ack));
    }
    for n in 0..1_000_u16 {
        assert_eq!(broker.packet().await, (0x40, (n + 1).to_be_bytes().to_vec()));
    }
    assert_eq!(broker.packet().await, (0xE0, vec![]), "DISCONNECT");
    assert_eq!(closed(&mut arrivals).await.cause, CloseCause::ByUs);
}

#[tokio::test]
async fn a_refusal_is_told_with_its_code_and_without_the_password() {
    let (_handle, mut arrivals, _broker) = connect([0x20, 2, 0, 5]).await;
    let why = closed(&mut arrivals).await;
    assert_eq!(why.cause, CloseCause::MqttRefused(5));
    assert!(!why.detail.contains("geheim"));
}

#[tokio::test]
async fn a_topic_that_is_no_text_breaks_the_connection() {
    let (_handle, mut arrivals, mut broker) = subscribed().await;
    broker.publish(0, b"a/\xFF", 0, b"x").await;
    assert_eq!(closed(&mut arrivals).await.cause, CloseCause::Broken);
}

#[tokio::test]
async fn the_longest_topic_arrives_and_a_packet_that_is_none_breaks_the_connection() {
    let (_handle, mut arrivals, mut broker) = subscribed().await;
    let topic = "t".repeat(65_535);
    let length = topic.len() + 2;
    broker.send(&[0x30, length as u8 | 0x80, (length >> 7) as u8 | 0x80, (length >> 14) as u8]).await;
    broker.send(&[&[0xFF, 0xFF], topic.as_bytes()].concat()).await;
    let Input::Frame { frame: Frame::Publish { topic: came, .. }, .. } = next(&mut arrivals).await else {
        panic!("a message arrives");
    };
    assert_eq!(came, topic);
    broker.send(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF]).await;
    assert_eq!(closed(&mut arrivals).await.cause, CloseCause::Broken);
    for wire in [&[0x30, 3, 0, 2, b'a'][..], &[0x90, 0xFF, 0xFF, 0xFF, 0x7F]] {
        let (_handle, mut arrivals, mut broker) = subscribed().await;
        broker.send(wire).await;
        assert_eq!(closed(&mut arrivals).await.cause, CloseCause::Broken, "{wire:?}");
    }
}

#[tokio::test]
async fn a_message_that_is_too_long_is_counted_and_acknowledged_and_the_next_one_comes() {
    let quota = Quota::new(QuotaBytes { message: 1 << 20, ..QuotaBytes::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (intake, mut arrivals) = intake_within(&quota);
    let handle =
        spawn(dial_to(&listener), client_config(&Trust::Anybody).unwrap(), 3, Clock::System, &intake);
    let mut broker = Broker { stream: soon(listener.accept()).await.unwrap().0 };
    broker.packet().await;
    broker.send(&[0x20, 2, 1, 0]).await;
    assert!(matches!(next(&mut arrivals).await, Input::Opened { .. }));
    broker.packet().await;
    let long = vec![b'x'; (1 << 20) + 1];
    for (qos, answer) in [(0, None), (1, Some(0x40)), (2, Some(0x50))] {
        broker.publish(qos << 1, b"a/1", 7, &long).await;
        let arrival = soon(arrivals.recv()).await.unwrap();
        assert_eq!(arrival.too_long_bytes, Some(long.len() as u64), "QoS {qos}");
        let Input::Frame { frame: Frame::Publish { topic, payload, ack, .. }, .. } = arrival.input else {
            panic!("its head is told");
        };
        assert_eq!((&*topic, payload.len()), ("a/1", 0));
        if let Some(answer) = answer {
            assert!(handle.ack(ack.unwrap()));
            assert_eq!(broker.packet().await, (answer, vec![0, 7]));
        }
        // As long as a message may be.
        broker.publish(0b0010, b"a/2", 8, &long[1..]).await;
        let arrival = soon(arrivals.recv()).await.unwrap();
        let Input::Frame { frame: Frame::Publish { payload, .. }, .. } = arrival.input else {
            panic!("the next one comes");
        };
        assert_eq!((payload.len(), arrival.too_long_bytes), (1 << 20, None));
    }
    broker.send(&[0x62, 2, 0, 7]).await;
    assert_eq!(broker.packet().await, (0x70, vec![0, 7]), "PUBCOMP");
}

/// The library reads in batches: of what lies ready it takes no more than may wait, be it topics.
#[tokio::test]
async fn a_broker_that_sends_the_longest_topics_fills_no_memory() {
    const MESSAGES: usize = 100;
    let (ours, mut broker) = tokio::io::duplex(8 << 20);
    broker.write_all(&[0x20, 2, 0, 0]).await.unwrap();
    for n in 0..MESSAGES {
        // 65,535 bytes of a topic, and one of payload.
        broker.write_all(&[0x30, 0x82, 0x80, 0x04, 0xFF, 0xFF]).await.unwrap();
        broker.write_all(&[b't'; 65_535]).await.unwrap();
        broker.write_u8(n as u8).await.unwrap();
    }
    let (ours, payloads, quota) = (Mutex::new(Some(ours)), Payloads::default(), Quota::default());
    let mut options = MqttOptions::new("recorder", rumqttc::Broker::tcp("nowhere", 1883));
    let given = payloads.clone();
    options.set_transport(Transport::Tcp).set_max_packet_size(PACKET_BYTES_MAX, OUTGOING_BYTES_MAX);
    options.set_socket_connector(move |_, _| {
        let (read, write) = split(ours.lock().unwrap().take().unwrap());
        let sieve = Sieve::new(read, quota.meter(), given.clone(), quota.message_bytes_max(), Duration::ZERO);
        async { Ok(join(sieve, write)) }
    });
    let (_client, mut events) = AsyncClient::builder(options).capacity(10).try_build().unwrap();
    let mut came = 0;
    while came < MESSAGES {
        let event = soon(events.poll()).await.unwrap();
        let is_publish = |event: &Event| matches!(event, Event::Incoming(Packet::Publish(_)));
        assert!(events.state.events.iter().filter(|event| is_publish(event)).count() <= 1);
        if let Event::Incoming(Packet::Publish(publish)) = event {
            assert_eq!(publish.topic.len(), 65_535);
            let (payload, _) = payloads.take(&publish.payload).unwrap();
            assert_eq!(payload, Payload::Whole(vec![came as u8].into()));
            came += 1;
        }
    }
}

/// MQTT over WebSocket, in frames of any length and kind.
#[tokio::test]
async fn a_message_that_is_too_long_for_a_frame_of_websocket_is_passed_over_too() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
    use tokio_tungstenite::tungstenite::protocol::frame::Frame as WsFrame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

    let quota = Quota::new(QuotaBytes { message: 1 << 20, ..QuotaBytes::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (intake, mut arrivals) = intake_within(&quota);
    let url = format!("ws://{}/mqtt", listener.local_addr().unwrap());
    let dial = MqttDial { url, ..dial_to(&listener) };
    let handle = spawn(dial, client_config(&Trust::Anybody).unwrap(), 3, Clock::System, &intake);
    let stream = soon(listener.accept()).await.unwrap().0;
    #[expect(clippy::result_large_err, reason = "the library's type")]
    let accept = |request: &Request, mut response: Response| {
        response
            .headers_mut()
            .insert("sec-websocket-protocol", request.headers()["sec-websocket-protocol"].clone());
        Ok(response)
    };
    let mut socket = soon(tokio_tungstenite::accept_hdr_async(stream, accept)).await.unwrap();
    let say = |bytes: &[u8]| Message::Binary(bytes.to_vec().into());
    assert_eq!(soon(socket.next()).await.unwrap().unwrap().into_data()[0], 0x10);
    socket.send(say(&[0x20, 2, 1, 0])).await.unwrap();
    assert!(matches!(next(&mut arrivals).await, Input::Opened { .. }));
    assert_eq!(soon(socket.next()).await.unwrap().unwrap().into_data()[0], 0x82);

    // 2 MiB and more in one frame, with the beginning of the next.
    let mut wire = vec![0x32, 0x87, 0x80, 0x80, 1, 0, 3, b'a', b'/', b'1', 0, 7];
    wire.extend(vec![b'x'; 2 << 20]);
    wire.extend([0x32, 6, 0, 1]);
    socket.send(Message::Ping(b"?"[..].into())).await.unwrap();
    socket.send(say(&wire)).await.unwrap();
    let arrival = soon(arrivals.recv()).await.unwrap();
    assert_eq!(arrival.too_long_bytes, Some(2 << 20));
    let Input::Frame { frame: Frame::Publish { ack: Some(ack), .. }, .. } = arrival.input else {
        panic!("its head is told");
    };
    assert!(handle.ack(ack));
    // The rest in fragments, one of them empty.
    let fragment = |bytes: &'static [u8], code, is_last| {
        Message::Frame(WsFrame::message(bytes, OpCode::Data(code), is_last))
    };
    socket.send(fragment(b"b", Data::Binary, false)).await.unwrap();
    socket.send(fragment(b"", Data::Continue, false)).await.unwrap();
    socket.send(fragment(b"\x00\x08!", Data::Continue, true)).await.unwrap();
    let Input::Frame { frame: Frame::Publish { topic, payload, .. }, .. } = next(&mut arrivals).await else {
        panic!("the next one comes");
    };
    assert_eq!((&*topic, &payload[..]), ("b", &b"!"[..]));
    let mut answers = Vec::new();
    while answers.len() < 2 {
        answers.push(soon(socket.next()).await.unwrap().unwrap());
    }
    assert_eq!(answers, [Message::Pong(b"?"[..].into()), say(&[0x40, 2, 0, 7])]);
}

#[tokio::test(start_paused = true)]
async fn a_broker_is_not_too_slow_while_its_source_takes_nothing() {
    const MINUTES: Duration = Duration::from_secs(600);
    let quota = Quota::new(QuotaBytes { message: 1 << 20, large: 1, ..QuotaBytes::default() });
    let (intake, mut arrivals) = intake_within(&quota);
    let meter = quota.meter();
    let read_more = || std::future::poll_fn(|context| meter.poll_room(context));
    for _ in 0..4 {
        meter.read(read_more().await.unwrap());
    }
    let reader = Reader {
        conn: 3,
        clock: Clock::System,
        intake: intake.clone(),
        payloads: Payloads::default(),
        meter: meter.clone(),
        owed: &Owed::default(),
        heard: &Heard::default(),
        filters: Vec::new(),
    };
    let full = async { while intake.deliver(Input::Start).await.is_ok() {} };
    assert!(tokio::time::timeout(Duration::from_millis(1), full).await.is_err(), "the source takes nothing");
    let taken = async {
        tokio::time::sleep(MINUTES).await;
        arrivals.recv().await
    };
    let event = Event::Incoming(Packet::SubAck(SubAck { pkid: 1, return_codes: Vec::new() }));
    let (handed_over, _) = tokio::join!(reader.hand_over(event), taken);
    assert_eq!(handed_over, Ok(None));
    assert!(read_more().await.is_ok(), "it has sent what it could");
    tokio::time::advance(MINUTES).await;
    assert!(read_more().await.is_err(), "now it is the one that is waited for");
}

#[tokio::test]
async fn a_broker_that_goes_away_is_told() {
    for (sent, detail) in [
        (&b""[..], "closed by the broker"),
        (&[0x30, 10, 0, 1, b'a'], "closed by the broker in the middle of a packet"),
    ] {
        let (_handle, mut arrivals, mut broker) = subscribed().await;
        broker.send(sent).await;
        drop(broker);
        let why = closed(&mut arrivals).await;
        assert_eq!((why.cause, &*why.detail), (CloseCause::ByPeer(None), detail));
    }
}

#[tokio::test]
async fn what_came_right_before_the_end_is_not_lost() {
    let (_handle, mut arrivals, mut broker) = subscribed().await;
    // Many packets and the end in one segment, so that the client finds them in one batch.
    let mut wire = Vec::new();
    for n in 0..50_u8 {
        wire.extend([0x30, 4, 0, 1, b'b', n]);
    }
    broker.send(&wire).await;
    drop(broker);
    for n in 0..50_u8 {
        match next(&mut arrivals).await {
            Input::Frame { frame: Frame::Publish { payload, .. }, .. } => assert_eq!(payload[..], [n]),
            other => panic!("message {n} is missing, there came {other:?}"),
        }
    }
    closed(&mut arrivals).await;
}

/// MQTT over WebSocket: a frame may hold a part of a packet, or several (MQTT 3.1.1, section 6).
#[tokio::test]
async fn packets_are_found_whatever_frames_they_come_in() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (intake, mut arrivals) = intake();
    let tls = client_config(&Trust::Anybody).unwrap();
    let dial = MqttDial {
        url: format!("ws://{}/mqtt?token=a%2Fb", listener.local_addr().unwrap()),
        username: None,
        password: None,
        clean_session: true,
        subscriptions: vec![("/location/A".to_owned(), 0)],
        ..dial_to(&listener)
    };
    let _handle = spawn(dial, tls, 3, Clock::System, &intake);
    let stream = soon(listener.accept()).await.unwrap().0;
    let mut asked = None;
    #[expect(clippy::result_large_err, reason = "the library's type")]
    let accept = |request: &Request, mut response: Response| {
        let protocol = request.headers()["sec-websocket-protocol"].clone();
        asked = Some((request.uri().to_string(), protocol.clone()));
        response.headers_mut().insert("sec-websocket-protocol", protocol);
        Ok(response)
    };
    let mut socket = soon(tokio_tungstenite::accept_hdr_async(stream, accept)).await.unwrap();
    let (uri, protocol) = asked.unwrap();
    assert_eq!(
        (&*uri, protocol),
        ("/mqtt?token=a%2Fb", tokio_tungstenite::tungstenite::http::HeaderValue::from_static("mqtt"))
    );

    // CONNECT and SUBSCRIBE may come as they like, too.
    async fn hear(socket: &mut tokio_tungstenite::WebSocketStream<TcpStream>) -> u8 {
        soon(socket.next()).await.unwrap().unwrap().into_data()[0]
    }
    assert_eq!(hear(&mut socket).await, 0x10);
    let say = |bytes: &[u8]| Message::Binary(bytes.to_vec().into());
    socket.send(say(&[0x20, 2])).await.unwrap();
    socket.send(say(&[0, 0])).await.unwrap();
    assert!(matches!(next(&mut arrivals).await, Input::Opened { conn: 3, .. }));
    assert_eq!(hear(&mut socket).await, 0x82);
    let mut stream = vec![0x90, 3, 0, 1, 0];
    for n in 0..20u8 {
        let topic = b"/location/A";
        let payload = vec![b'x'; usize::from(n) * 5];
        stream.extend([0x30, (2 + topic.len() + payload.len()) as u8, 0, topic.len() as u8]);
        stream.extend(topic);
        stream.extend(payload);
    }
    // In pieces of seven bytes, then what is left in one.
    let (in_pieces, joined) = stream.split_at(400);
    for piece in in_pieces.chunks(7) {
        socket.send(say(piece)).await.unwrap();
    }
    socket.send(say(joined)).await.unwrap();
    assert!(matches!(next(&mut arrivals).await, Input::Subscribed { .. }));
    for n in 0..20 {
        let Input::Frame { frame: Frame::Publish { payload, .. }, .. } = next(&mut arrivals).await else {
            panic!("a message was expected")
        };
        assert_eq!(payload.len(), n * 5);
    }

    // And a line that drops without the closing handshake is the broker's end, too.
    drop(socket);
    let why = closed(&mut arrivals).await;
    assert_eq!((why.cause, &*why.detail), (CloseCause::ByPeer(None), "closed by the broker"));
}

/// A message may take longer than any keep-alive, and the answer to a ping cannot overtake it.
#[tokio::test(start_paused = true)]
async fn a_slow_line_is_not_cut_in_the_midst_of_a_large_message() {
    let (handle, mut arrivals, mut broker) = subscribed().await;
    let payload = vec![7; 300_000];
    let wire = [&[0x30, 0xE3, 0xA7, 0x12, 0, 1, b'b'], &*payload].concat();
    let sent = tokio::spawn(async move {
        for piece in wire.chunks(10_000) {
            broker.send(piece).await;
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
        broker
    });
    let an_hour = Duration::from_secs(3_600);
    let came = tokio::time::timeout(an_hour, arrivals.recv()).await.unwrap().unwrap().input;
    let Input::Frame { frame: Frame::Publish { payload: whole, .. }, .. } = came else {
        panic!("the line is cut: {came:?}");
    };
    assert!(whole == payload);
    let broker = sent.await.unwrap();
    let end = tokio::time::timeout(an_hour, arrivals.recv()).await.unwrap().unwrap().input;
    let Input::Closed { why, .. } = end else { panic!("nobody is there any more: {end:?}") };
    assert_eq!(why.detail, "the broker did not answer a ping");
    drop((handle, broker));
}

/// What it has sent by then is not acknowledged, and would be missed by nobody.
#[tokio::test(start_paused = true)]
async fn who_is_held_up_when_we_close_has_what_it_sent_heard() {
    const MESSAGES: usize = 1_000;
    let (handle, mut arrivals, mut broker) = subscribed().await;
    for _ in 0..MESSAGES {
        broker.publish(0, b"a/1", 0, b"hi").await;
    }
    while arrivals.len() < arrivals.max_capacity() {
        tokio::task::yield_now().await;
    }
    handle.close();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut came = 0;
    loop {
        match next(&mut arrivals).await {
            Input::Frame { .. } => came += 1,
            Input::Closed { why, .. } => break assert_eq!(why.cause, CloseCause::ByUs),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(came, MESSAGES);
}
