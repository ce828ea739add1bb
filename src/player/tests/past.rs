//! Outages that clients feel, gaps that are cut, and what those who come late are told.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::message::Selection;
use crate::player::control::To;
use crate::transport::fanout::Down;

const MS: u64 = 1_000_000;
/// Longer than any test may take.
const NEVER_NS: u64 = 3_000_000_000_000_000_000;

fn outage(from_ms: u64, to_ms: u64) -> Outages {
    let what = Down { source: "src".into(), device: None };
    Outages::Reproduce(vec![Outage { what, from_ns: from_ms * MS, to_ns: to_ms * MS }])
}

fn at_ms(times: &[u64]) -> Vec<Row> {
    let row = |(seq, ms): (usize, &u64)| row(seq as u64, ms * MS, &seq.to_string());
    times.iter().enumerate().map(row).collect()
}

/// All texts, and the code of the close frame: none if the connection broke without one.
async fn until_broken(mut socket: Socket) -> (Vec<String>, Option<u16>) {
    let mut frames = Vec::new();
    loop {
        match socket.next().await {
            Some(Ok(Frame::Close(close))) => return (texts(frames), close.map(|close| close.code.into())),
            Some(Ok(frame)) => frames.push(frame),
            Some(Err(_)) | None => return (texts(frames), None),
        }
    }
}

/// Tries until it is let in; with how often it was not.
async fn come_back(http_url: &str, path: &str) -> (Socket, u32) {
    let mut refused = 0;
    loop {
        match connect_async(format!("{}{path}", http_url.replace("http", "ws"))).await {
            Ok((socket, _)) => return (socket, refused),
            Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => {
                assert_eq!(answer.status(), 503);
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_client_loses_its_connection_is_refused_and_comes_back() {
    let endpoints = bind(&["http://127.0.0.1:0"]).await;
    assert!(endpoints.reproduce_outages(&recorded().sources, &Selection::default()).is_empty());
    let url = endpoints.http_url().unwrap();
    let client = tokio::spawn(async move {
        let before = until_broken(websocket(&url, "/ws").await).await;
        let (socket, refused) = come_back(&url, "/ws?source=src").await;
        (before, refused, until_broken(socket).await)
    });
    let options = PlayOptions { outages: outage(30, 400), ..with_clients(1) };
    let report = endpoints.play(options, source(at_ms(&[0, 20, 30, 500]))).await.unwrap();
    let (before, refused, after) = client.await.unwrap();
    // What was received in the moment of the loss is sent.
    let received = ["0", "1", "2"].map(str::to_owned).to_vec();
    assert_eq!(before, (received, None), "as a network breaks: no close frame");
    assert!(refused > 0);
    assert_eq!(after, (vec!["3".to_owned()], Some(1000)));
    let count = report.outages.unwrap();
    assert_eq!((count.closed, count.refused), (1, u64::from(refused)));
    assert!(!report.has_loss() && report.clients[0].outage && !report.clients[1].outage, "{report:?}");
}

async fn mqtt_client(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut bytes = bytes::BytesMut::new();
    Packet::Connect(Connect::new("c")).write(&mut bytes, 99).unwrap();
    stream.write_all(&bytes).await.unwrap();
    stream
}

async fn subscribe(stream: &mut TcpStream) {
    let mut bytes = bytes::BytesMut::new();
    let subscribe = Subscribe { pkid: 1, ..Subscribe::new("#", QoS::AtMostOnce) };
    Packet::Subscribe(subscribe).write(&mut bytes, 99).unwrap();
    stream.write_all(&bytes).await.unwrap();
}

async fn read_to_end(stream: &mut TcpStream) -> Vec<Packet> {
    let mut bytes = bytes::BytesMut::new();
    while stream.read_buf(&mut bytes).await.unwrap() > 0 {}
    std::iter::from_fn(|| Packet::read(&mut bytes, 1 << 20).ok()).collect()
}

fn payload(packet: &Packet) -> Option<&[u8]> {
    match packet {
        Packet::Publish(publish) => Some(&publish.payload),
        _ => None,
    }
}

fn payloads(packets: &[Packet]) -> Vec<&[u8]> {
    packets.iter().filter_map(payload).collect()
}

#[tokio::test]
async fn an_mqtt_client_is_refused_by_connack_until_the_source_is_back() {
    let endpoints = bind(&["mqtt://127.0.0.1:0"]).await;
    endpoints.reproduce_outages(&recorded().sources, &Selection::default());
    let address = endpoints.mqtt_url().unwrap().replace("mqtt://", "");
    let client = tokio::spawn(async move {
        let mut stream = mqtt_client(&address).await;
        subscribe(&mut stream).await;
        let before = read_to_end(&mut stream).await;
        let mut refused = 0;
        loop {
            let mut stream = mqtt_client(&address).await;
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).await.unwrap();
            match answer {
                [0x20, 2, 0, 3] => refused += 1,
                [0x20, 2, 0, 0] => {
                    subscribe(&mut stream).await;
                    return (before, refused, read_to_end(&mut stream).await);
                }
                other => panic!("{other:?}"),
            }
        }
    });
    let options = PlayOptions { outages: outage(10, 300), ..with_clients(1) };
    let report = endpoints.play(options, source(at_ms(&[0, 500]))).await.unwrap();
    let (before, refused, after) = client.await.unwrap();
    assert_eq!(payloads(&before), [b"0"]);
    assert!(!before.contains(&Packet::Disconnect) && refused > 0);
    assert_eq!(payloads(&after), [b"1"]);
    assert!(!report.has_loss());
}

#[tokio::test]
async fn wound_into_an_outage_it_is_felt_at_once_and_wound_out_it_is_over() {
    let endpoints = bind(&["http://127.0.0.1:0"]).await;
    endpoints.reproduce_outages(&recorded().sources, &Selection::default());
    let (url, control) = (endpoints.http_url().unwrap(), endpoints.control());
    let socket = websocket(&url, "/ws").await;
    let options = PlayOptions {
        outages: outage(10_000, 3_000_000),
        start_paused: true,
        start: Start::AtOnce,
        ..PlayOptions::default()
    };
    let rows = at_ms(&[0, 3_500_000]);
    let playing = tokio::spawn(endpoints.play(options, source(rows)));
    for order in [Order::Seek(To::Recorded(100_000 * MS)), Order::Play] {
        control.obeyed(control.order(order).unwrap()).await.unwrap();
    }
    assert_eq!(until_broken(socket).await, (vec![], None));
    let refused = connect_async(format!("{}/ws", url.replace("http", "ws"))).await;
    assert!(matches!(refused, Err(tokio_tungstenite::tungstenite::Error::Http(_))));
    control.obeyed(control.order(Order::Pause).unwrap()).await.unwrap();
    control.obeyed(control.order(Order::Seek(To::Recorded(3_499_000 * MS))).unwrap()).await.unwrap();
    control.obeyed(control.order(Order::Play).unwrap()).await.unwrap();
    let (socket, _) = come_back(&url, "/ws").await;
    assert_eq!(until_broken(socket).await, (vec!["1".to_owned()], Some(1000)));
    playing.await.unwrap().unwrap();
}

#[tokio::test]
async fn at_the_end_nothing_is_refused_and_a_round_begins_without_the_last_ones_outage() {
    let endpoints = bind(&["http://127.0.0.1:0"]).await;
    endpoints.reproduce_outages(&recorded().sources, &Selection::default());
    let url = endpoints.http_url().unwrap();
    let client = tokio::spawn(async move {
        let first = until_broken(websocket(&url, "/ws").await).await;
        (first, until_broken(come_back(&url, "/ws").await.0).await)
    });
    let rounds = Rounds::Times(NonZeroU64::new(2).unwrap());
    // It outlasts the recording; another source's message is what comes last.
    let options = PlayOptions { outages: outage(10, 10_000), rounds, ..with_clients(1) };
    let mut rows = at_ms(&[0, 300]);
    rows[1].source = "other".into();
    let report = endpoints.play(options, source(rows)).await.unwrap();
    let (first, second) = client.await.unwrap();
    assert_eq!(first, (vec!["0".to_owned()], None));
    assert_eq!(second.0, ["0"], "the second round, until its own outage: {second:?}");
    assert_eq!(report.messages, 4);
}

#[tokio::test]
async fn gaps_are_cut_to_the_stated_length() {
    let hour_ns = 3_600_000 * MS;
    let rows = at_ms(&[0, 3, 3_600_003, 7_200_003]);
    let moments = rows.iter().map(|row| Ok::<_, Infallible>(row.elapsed_ns));
    let Ok(cuts) = Cuts::new(moments, None, 5 * MS);
    let cuts = cuts.unwrap();
    assert_eq!(cuts.total(), (2, 2 * (hour_ns - 5 * MS)));
    let endpoints = bind(&["http://127.0.0.1:0"]).await;
    let control = endpoints.control();
    let client = tokio::spawn(receive_all(websocket(&endpoints.http_url().unwrap(), "/ws").await));
    let options = PlayOptions { outages: Outages::Skip(cuts), ..with_clients(1) };
    let report = endpoints.play(options, source(rows)).await.unwrap();
    assert_eq!(texts(client.await.unwrap().0), ["0", "1", "2", "3"]);
    assert!(report.duration_ns < hour_ns && report.duration_ns >= 13 * MS, "{}", report.duration_ns);
    let shown = control.snapshot();
    assert_eq!((shown.position_ns, shown.duration_ns), (13 * MS, Some(13 * MS)), "of what is played");
}

/// A source whose messages are each device's state.
fn devices() -> SourceHeader {
    let text = "kind = \"message\"\nstate_key = [\"device_id\"]\n";
    let kinds = vec![KindHeader { name: "message".into(), declaration: Some(text.into()) }];
    SourceHeader { kinds, ..recorded().sources.remove(0) }
}

fn of_device(seq: u64, at_ns: u64, device: &str) -> Row {
    Row { device_id: Some(device.to_owned().into()), ..row(seq, at_ns, &seq.to_string()) }
}

fn with_state(rows: &[Row]) -> StateOptions {
    let rows = rows.to_vec();
    let before = move |before_ns| {
        let before: Vec<Row> = rows.iter().filter(|row| row.elapsed_ns < before_ns).cloned().collect();
        Ok(Box::new(before.into_iter().map(Ok)) as RowsBefore)
    };
    StateOptions { sources: [devices()].into(), before: Arc::new(before), ends: None }
}

#[tokio::test]
async fn who_comes_late_is_told_the_last_of_each_device_marked_and_not_counted() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let options = BindOptions {
        trace: Some(trace.clone()),
        ..bind_options(&["http://127.0.0.1:0", "mqtt://127.0.0.1:0"])
    };
    let endpoints = Endpoints::bind(options).await.unwrap();
    endpoints.keep_state();
    let url = endpoints.http_url().unwrap();
    let address = endpoints.mqtt_url().unwrap().replace("mqtt://", "");
    let rows =
        vec![of_device(0, 0, "a"), of_device(1, 0, "b"), of_device(2, MS, "a"), of_device(3, NEVER_NS, "a")];
    let options = PlayOptions { state: Some(with_state(&rows)), ..with_clients(1) };
    let stop = options.stop.clone();
    let mut early = websocket(&url, "/ws").await;
    let playing = tokio::spawn(endpoints.play(options, source(rows)));
    for seq in ["0", "1", "2"] {
        assert_eq!(early.next().await.unwrap().unwrap().into_text().unwrap(), seq);
    }
    let mut late = websocket(&url, "/ws?format=envelope").await;
    for seq in [1, 2] {
        let told = late.next().await.unwrap().unwrap();
        let told: Value = serde_json::from_str(told.to_text().unwrap()).unwrap();
        assert_eq!((told["seq"].as_u64(), &told["replayed_state"]), (Some(seq), &Value::Bool(true)));
    }
    let mut subscriber = mqtt_client(&address).await;
    subscribe(&mut subscriber).await;
    let mut got = bytes::BytesMut::new();
    while got.iter().filter(|byte| **byte == 0x31).count() < 2 {
        assert!(subscriber.read_buf(&mut got).await.unwrap() > 0, "retained: 0x31, and nothing live yet");
    }
    stop.cancel();
    drop((late, subscriber));
    assert_eq!(receive_all(early).await, (vec![], 1000));
    let report = playing.await.unwrap().unwrap();
    let told: Vec<_> = report.clients.iter().map(|c| (c.messages, c.states)).collect();
    assert_eq!((report.messages, &told[..]), (3, &[(3, 0), (0, 2), (0, 2)][..]));
    let expected = Sha256::digest(
        b"\0\0\0\x07/stream\0\0\0\x010\0\0\0\x07/stream\0\0\0\x011\0\0\0\x07/stream\0\0\0\x012",
    );
    let hex: String = expected.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((&report.digest, &report.sent_digest), (&hex, &hex));
    let lines = std::fs::read_to_string(trace).unwrap();
    assert_eq!(lines.lines().filter(|line| line.contains(r#""event":"state""#)).count(), 4);
    assert_eq!(lines.lines().filter(|line| line.contains(r#""event":"sent""#)).count(), 3);
}

#[tokio::test]
async fn a_replay_that_begins_in_the_middle_or_is_wound_tells_what_is_known_there() {
    let endpoints = bind(&["http://127.0.0.1:0"]).await;
    endpoints.keep_state();
    let (url, control) = (endpoints.http_url().unwrap(), endpoints.control());
    let all =
        [of_device(0, 0, "a"), of_device(1, MS, "b"), of_device(2, 2 * MS, "a"), of_device(3, 9 * MS, "c")];
    let client = tokio::spawn(receive_all(websocket(&url, "/ws").await));
    let options = PlayOptions {
        state: Some(with_state(&all)),
        zero_ns: Some(2 * MS),
        pace: Pace::Step,
        ..with_clients(1)
    };
    let playing = tokio::spawn(endpoints.play(options, source(all[2..].to_vec())));
    for order in [
        Order::Step(crate::player::control::Steps::Count(NonZeroU64::MIN)),
        Order::Seek(To::Recorded(5 * MS)),
        Order::Step(crate::player::control::Steps::Count(NonZeroU64::MIN)),
    ] {
        control.obeyed(control.order(order).unwrap()).await.unwrap();
    }
    let report = playing.await.unwrap().unwrap();
    // At its start; then live; then where it was wound to, and live.
    assert_eq!(texts(client.await.unwrap().0), ["0", "1", "2", "1", "2", "3"]);
    assert_eq!((report.messages, report.clients[0].messages, report.clients[0].states), (2, 2, 4));
}

/// The next text that comes.
async fn next_text(socket: &mut Socket) -> String {
    socket.next().await.unwrap().unwrap().into_text().unwrap().to_string()
}

#[tokio::test]
async fn a_seek_tells_what_is_known_at_once_also_while_paused_and_once_to_who_joins() {
    let endpoints = bind(&["http://127.0.0.1:0"]).await;
    endpoints.keep_state();
    let (url, control) = (endpoints.http_url().unwrap(), endpoints.control());
    // An age between two: what comes without an order to play is told, not played.
    let all: Vec<Row> = [(0, "a"), (1, "b"), (2, "a"), (3, "c")]
        .iter()
        .map(|(seq, device)| of_device(*seq, seq * (NEVER_NS / 4), device))
        .collect();
    let options = PlayOptions { state: Some(with_state(&all)), ..with_clients(1) };
    let mut early = websocket(&url, "/ws").await;
    let playing = tokio::spawn(endpoints.play(options, source(all)));
    let order = async |order| control.obeyed(control.order(order).unwrap()).await.unwrap();
    assert_eq!(next_text(&mut early).await, "0");
    order(Order::Pause).await;
    order(Order::Seek(To::Recorded(NEVER_NS / 4 + 1))).await;
    assert_eq!((next_text(&mut early).await, next_text(&mut early).await), ("0".into(), "1".into()));
    let mut late = websocket(&url, "/ws").await;
    assert_eq!((next_text(&mut late).await, next_text(&mut late).await), ("0".into(), "1".into()));
    // Behind the last message there is nothing to come, and all to be known.
    order(Order::Seek(To::Recorded(NEVER_NS))).await;
    for socket in [&mut early, &mut late] {
        assert_eq!(
            [next_text(socket).await, next_text(socket).await, next_text(socket).await],
            ["1", "2", "3"]
        );
    }
    let now = order(Order::Seek(To::Recorded(3 * (NEVER_NS / 4)))).await;
    assert_eq!((now.state, now.emitted), (crate::player::control::State::Paused, 1));
    order(Order::Play).await;
    let rest = [receive_all(early).await, receive_all(late).await];
    assert_eq!(rest.map(|(frames, _)| texts(frames)), [["1", "2", "3"], ["1", "2", "3"]]);
    let report = playing.await.unwrap().unwrap();
    let told: Vec<_> = report.clients.iter().map(|c| (c.messages, c.states)).collect();
    assert_eq!((report.messages, told), (2, vec![(2, 7), (1, 7)]));
}

#[tokio::test]
async fn paused_before_its_start_it_tells_too_and_a_stretch_begun_where_it_is_tells_nothing() {
    let endpoints = bind(&["http://127.0.0.1:0"]).await;
    endpoints.keep_state();
    let (url, control) = (endpoints.http_url().unwrap(), endpoints.control());
    let all = [of_device(0, 0, "a"), of_device(1, 5 * MS, "b"), of_device(2, 9 * MS, "a")];
    let options = PlayOptions { state: Some(with_state(&all)), start_paused: true, ..with_clients(1) };
    let mut client = websocket(&url, "/ws").await;
    let playing = tokio::spawn(endpoints.play(options, source(all.to_vec())));
    let order = async |order| control.obeyed(control.order(order).unwrap()).await.unwrap();
    order(Order::Seek(To::Recorded(5 * MS))).await;
    assert_eq!(next_text(&mut client).await, "0");
    order(Order::Step(crate::player::control::Steps::ONE)).await;
    let (from, to) = (Some(To::Recorded(0)), None);
    order(Order::Repeat(crate::player::control::Repeat { from, to, rounds: Rounds::ONCE })).await;
    let mut late = websocket(&url, "/ws").await;
    assert_eq!((next_text(&mut late).await, next_text(&mut late).await), ("0".into(), "1".into()));
    order(Order::Play).await;
    assert_eq!(texts(receive_all(client).await.0), ["1", "2"]);
    assert_eq!(texts(receive_all(late).await.0), ["2"]);
    playing.await.unwrap().unwrap();
}

/// Messages of devices at these milliseconds, which they also say.
fn timed(at_ms: &[(u64, &str)]) -> Vec<Row> {
    let timed = |(seq, (ms, device)): (usize, &(u64, &str))| Row {
        received_at_us: *ms as i64 * 1_000,
        payload: format!("{{\"t\":{ms}}}").into(),
        ..of_device(seq as u64, ms * MS, device)
    };
    at_ms.iter().enumerate().map(timed).collect()
}

/// What a client was told, in milliseconds since `T`.
async fn times(options: PlayOptions, rows: Vec<Row>, orders: &[Order]) -> Vec<i64> {
    const T_MS: i64 = 1_700_000_000_000;
    let endpoints = bind(&["http://127.0.0.1:0"]).await;
    endpoints.keep_state();
    let (url, control) = (endpoints.http_url().unwrap(), endpoints.control());
    let client = tokio::spawn(receive_all(websocket(&url, "/ws").await));
    let options = PlayOptions { rebasing: super::shape::rebasing(T_MS * 1_000), ..options };
    let playing = tokio::spawn(endpoints.play(options, source(rows)));
    // A step that nobody is there for ends with the next order.
    while control.snapshot().clients == 0 {
        tokio::task::yield_now().await;
    }
    for order in orders {
        control.obeyed(control.order(order.clone()).unwrap()).await.unwrap();
    }
    playing.await.unwrap().unwrap();
    let said = |text: &String| serde_json::from_str::<Value>(text).unwrap()["t"].as_i64().unwrap() - T_MS;
    texts(client.await.unwrap().0).iter().map(said).collect()
}

#[tokio::test]
async fn moved_times_run_on_over_rounds_and_seeks_and_what_is_known_is_as_old_as_it_was() {
    let max = || PlayOptions { pace: Pace::Max, ..with_clients(1) };
    let rounds = Rounds::Times(NonZeroU64::new(2).unwrap());
    let told = times(PlayOptions { rounds, ..max() }, timed(&[(5_000, "a"), (6_000, "a")]), &[]).await;
    assert_eq!(told, [0, 1_000, 2_000, 3_000]);
    // An hour on without having played anything: what is told of then was said before the clock's start.
    let rows = timed(&[(0, "a"), (600_000, "b"), (3_600_000, "c"), (3_601_000, "a")]);
    let wound = [Order::Seek(To::Recorded(3_600_000 * MS)), Order::Play];
    let state = || Some(with_state(&rows));
    let paused = PlayOptions { state: state(), start_paused: true, ..max() };
    let told = times(paused, rows.clone(), &wound).await;
    assert_eq!(told, [-3_600_000, -3_000_000, 0, 1_000]);
    // In the middle of the time line: as far behind what comes as it was recorded.
    let later = PlayOptions { state: state(), pace: Pace::Step, ..with_clients(1) };
    let one = Order::Step(crate::player::control::Steps::ONE);
    let orders = [one.clone(), one.clone(), Order::Seek(To::Recorded(3_600_000 * MS)), one.clone(), one];
    let told = times(later, rows.clone(), &orders).await;
    assert_eq!(told, [0, 600_000, -3_000_000, -2_400_000, 600_000, 601_000]);
}
