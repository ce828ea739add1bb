//! RFC 6455 by its sections, byte by byte, against the echo; and what a replay's client sees.

use std::io::Read;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::routing::any;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::Clock;
use crate::transport::fanout::tests::emission;
use crate::transport::fanout::{Emission, Fanout, Flow};
use crate::transport::http_server;
use crate::vendors::{self, Recorded};

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CONTINUATION: u8 = 0x80;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

type Frame = (u8, Vec<u8>);

/// A name, what is sent, and what is answered.
type Case<'a> = (&'a str, Vec<Vec<u8>>, Vec<Frame>);

/// A client's frame: masked, its length as short as it can be said.
fn frame(head: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let (payload, mask) = (payload.as_ref(), [0x37, 0xfa, 0x21, 0x3d]);
    let mut bytes = vec![head];
    match payload.len() {
        short @ 0..=125 => bytes.push(0x80 | short as u8),
        medium @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((medium as u16).to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

fn close_frame(code: u16, reason: impl AsRef<[u8]>) -> Vec<u8> {
    frame(CLOSE, [&code.to_be_bytes()[..], reason.as_ref()].concat())
}

/// A listener with the echo and a replay's endpoint.
async fn serve_both(fanout: &Arc<Fanout>) -> (String, CancellationToken) {
    let fanout = Arc::clone(fanout);
    let replay = move |upgrade: WebSocketUpgrade| {
        let member = fanout.join("/ws").unwrap();
        let emulator = vendors::emulator("/ws", Arc::new(Recorded::default())).unwrap();
        std::future::ready(
            bounded(upgrade).on_upgrade(move |socket| serve(socket, emulator, String::new(), member, None)),
        )
    };
    let router = Router::new()
        .route(echo::PATH, any(|upgrade: WebSocketUpgrade| std::future::ready(echo::serve(upgrade))))
        .route("/ws", any(replay));
    let listener = http_server::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stop = CancellationToken::new();
    tokio::spawn(http_server::serve(listener, None, router, stop.clone()));
    (address, stop)
}

/// A connection after its handshake.
async fn connect(address: &str, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    // The key and its answer are the example of section 1.3.
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{head}");
    assert!(!head.contains("sec-websocket-extensions"), "none was offered: {head}");
    stream
}

/// The next frame of the server, which must not be masked (5.1); none at the end.
async fn read(stream: &mut TcpStream) -> Option<Frame> {
    let head = stream.read_u8().await.ok()?;
    let bytes = match stream.read_u8().await.unwrap() {
        126 => stream.read_u16().await.unwrap() as usize,
        127 => stream.read_u64().await.unwrap() as usize,
        short @ 0..=125 => short as usize,
        masked => panic!("a server's frame is masked: {masked:#x}"),
    };
    let mut payload = vec![0; bytes];
    stream.read_exact(&mut payload).await.unwrap();
    Some((head, payload))
}

/// What the echo says to `sent` until it ends the connection. A close frame's reason is left out.
async fn told(address: &str, sent: &[Vec<u8>], chop: usize) -> Vec<Frame> {
    let mut stream = connect(address, echo::PATH).await;
    for bytes in sent.concat().chunks(chop) {
        // The server may be done with a client that breaks a rule before that has said all.
        if stream.write_all(bytes).await.is_err() {
            break;
        }
    }
    let mut frames = Vec::new();
    while let Some((head, mut payload)) = read(&mut stream).await {
        if head == CLOSE {
            payload.truncate(2);
        }
        frames.push((head, payload));
    }
    frames
}

/// `sent`, whole and byte by byte, is answered with `expected`.
async fn check(cases: &[Case<'_>]) {
    let (address, stop) = serve_both(&Fanout::new(Clock::System, None)).await;
    for (name, sent, expected) in cases {
        for chop in [usize::MAX, 1] {
            assert_eq!(told(&address, sent, chop).await, *expected, "{name}, in pieces of {chop}");
        }
    }
    stop.cancel();
}

fn goodbye(code: u16) -> Frame {
    (CLOSE, code.to_be_bytes().to_vec())
}

/// A conversation that the client ends in order.
fn fine(name: &str, sent: Vec<Vec<u8>>, heard: Vec<Frame>) -> Case<'_> {
    let ended = [sent, vec![close_frame(1000, "")]].concat();
    (name, ended, [heard, vec![goodbye(1000)]].concat())
}

/// A conversation that the server ends with `code`.
fn failed(name: &str, sent: Vec<Vec<u8>>, code: u16) -> Case<'_> {
    (name, sent, vec![goodbye(code)])
}

#[tokio::test]
async fn section_4_a_handshake_of_another_version_is_told_which_is_spoken() {
    let response = upgrade_required("/ws");
    assert_eq!(response.status(), 426);
    assert_eq!(response.headers()["sec-websocket-version"], "13");
    assert_eq!(response.headers()["upgrade"], "websocket");
}

#[tokio::test]
async fn section_5_1_and_5_2_masks_reserved_bits_opcodes_and_lengths() {
    let mut cases = vec![failed("a frame that is not masked", vec![vec![TEXT, 1, b'x']], 1002)];
    for bit in [0x40, 0x20, 0x10] {
        cases.push(failed("a reserved bit", vec![frame(TEXT | bit, "x")], 1002));
        cases.push(failed("a reserved bit of a ping", vec![frame(PING | bit, "x")], 1002));
    }
    for opcode in [3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf] {
        cases.push(failed("a reserved opcode", vec![frame(0x80 | opcode, "")], 1002));
    }
    check(&cases).await;
    let (address, stop) = serve_both(&Fanout::new(Clock::System, None)).await;
    for bytes in [0, 1, 125, 126, 127, 128, 65_535, 65_536, 200_000] {
        for (head, byte) in [(TEXT, b'x'), (BINARY, 0xff)] {
            let (name, sent, expected) =
                fine("a length", vec![frame(head, vec![byte; bytes])], vec![(head, vec![byte; bytes])]);
            assert_eq!(told(&address, &sent, usize::MAX).await, expected, "{name} of {bytes}");
        }
    }
    stop.cancel();
}

#[tokio::test]
async fn section_5_4_fragments_and_what_may_come_between_them() {
    check(&[
        fine(
            "three fragments",
            vec![frame(0x01, "a"), frame(0x00, ""), frame(CONTINUATION, "b")],
            vec![(TEXT, b"ab".to_vec())],
        ),
        fine(
            "pings between fragments are answered at once",
            vec![
                frame(0x02, "a"),
                frame(PING, "1"),
                frame(0x00, "b"),
                frame(PING, "2"),
                frame(CONTINUATION, "c"),
            ],
            vec![(PONG, b"1".to_vec()), (PONG, b"2".to_vec()), (BINARY, b"abc".to_vec())],
        ),
        failed("a continuation of nothing", vec![frame(CONTINUATION, "x")], 1002),
        failed("a first part of nothing", vec![frame(0x00, "x")], 1002),
        failed("a message within a message", vec![frame(0x01, "a"), frame(TEXT, "b")], 1002),
        failed("a fragment that begins again", vec![frame(0x01, "a"), frame(0x01, "b")], 1002),
    ])
    .await;
}

#[tokio::test]
async fn section_5_5_control_frames() {
    check(&[
        fine("a ping", vec![frame(PING, "")], vec![(PONG, vec![])]),
        fine("the longest ping", vec![frame(PING, [0xfe; 125])], vec![(PONG, vec![0xfe; 125])]),
        fine(
            "a pong that nobody asked for",
            vec![frame(PONG, "x"), frame(TEXT, "y")],
            vec![(TEXT, vec![b'y'])],
        ),
        failed("a ping that is too long", vec![frame(PING, [0; 126])], 1002),
        failed("a close frame that is too long", vec![close_frame(1000, [b'x'; 124])], 1002),
        failed("a ping in fragments", vec![frame(0x09, "a"), frame(CONTINUATION, "b")], 1002),
    ])
    .await;
}

#[tokio::test]
async fn section_5_5_1_and_7_4_goodbyes() {
    let mut cases = vec![
        ("without a word", vec![frame(CLOSE, "")], vec![(CLOSE, vec![])]),
        failed("half a code", vec![frame(CLOSE, [3])], 1002),
        failed("a reason that is no UTF-8", vec![close_frame(1000, [0xce, 0xba, 0xe1])], 1007),
        failed(
            "nothing is heard after it",
            vec![close_frame(1001, "going"), frame(TEXT, "x"), frame(PING, "y")],
            1001,
        ),
    ];
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
        cases.push(failed("a code that may be said", vec![close_frame(code, "bye")], code));
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        cases.push(failed("a code that may not be said", vec![close_frame(code, "")], 1002));
    }
    check(&cases).await;
}

#[tokio::test]
async fn section_8_1_text_is_utf_8() {
    let kosme = "κόσμε";
    let mut cases = vec![
        fine("text", vec![frame(TEXT, kosme)], vec![(TEXT, kosme.into())]),
        fine(
            "a character cut by a fragment",
            vec![frame(0x01, &kosme.as_bytes()[..3]), frame(CONTINUATION, &kosme.as_bytes()[3..])],
            vec![(TEXT, kosme.into())],
        ),
        failed("a character cut at the end", vec![frame(TEXT, &kosme.as_bytes()[..3])], 1007),
        failed(
            "an error in a later fragment",
            vec![frame(0x01, kosme), frame(0x00, [0xf4, 0x90]), frame(CONTINUATION, "x")],
            1007,
        ),
    ];
    let wrong: [&[u8]; 5] =
        [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80"];
    for wrong in wrong {
        cases.push(failed("no character", vec![frame(TEXT, wrong)], 1007));
        cases.push(fine("as bytes it is fine", vec![frame(BINARY, wrong)], vec![(BINARY, wrong.to_vec())]));
    }
    check(&cases).await;
}

/// The endpoint of a replay, where the client has opened and the server has nothing to say.
async fn replay() -> (TcpStream, Arc<Fanout>, CancellationToken) {
    let fanout = Fanout::new(Clock::System, None);
    let (address, stop) = serve_both(&fanout).await;
    (connect(&address, "/ws").await, fanout, stop)
}

#[tokio::test]
async fn section_10_4_a_frame_beyond_the_bound_is_refused_before_it_has_come() {
    let (mut stream, _fanout, _stop) = replay().await;
    let announced =
        [&[BINARY, 0x80 | 127][..], &(FRAME_BYTES_MAX as u64 + 1).to_be_bytes(), &[0; 4]].concat();
    stream.write_all(&announced).await.unwrap();
    let (head, payload) = read(&mut stream).await.unwrap();
    assert_eq!((head, &payload[..2]), (CLOSE, &1009u16.to_be_bytes()[..]));
    let (mut stream, _fanout, _stop) = replay().await;
    let half = vec![0; FRAME_BYTES_MAX / 2 + 1];
    let fragments = [frame(0x02, &half), frame(CONTINUATION, &half)].concat();
    let (mut reading, mut writing) = stream.split();
    let _ = tokio::join!(writing.write_all(&fragments), async {
        let mut head = [0; 4];
        reading.read_exact(&mut head).await.unwrap();
        assert_eq!((head[0], &head[2..]), (CLOSE, &1009u16.to_be_bytes()[..]), "together they are too long");
    });
}

#[tokio::test]
async fn section_7_1_a_replays_client_is_answered_like_any() {
    for (sent, code) in
        [(close_frame(1001, "enough"), 1001), (frame(TEXT, [0xff]), 1007), (frame(0x83, ""), 1002)]
    {
        let (mut stream, fanout, _stop) = replay().await;
        stream.write_all(&sent).await.unwrap();
        let (head, payload) = read(&mut stream).await.unwrap();
        assert_eq!((head, &payload[..2]), (CLOSE, &u16::to_be_bytes(code)[..]));
        assert_eq!(read(&mut stream).await, None, "and then the connection ends");
        fanout.empty().await;
        assert_eq!(fanout.summaries()[0].reason, None);
    }
}

#[tokio::test(start_paused = true)]
async fn who_answers_no_ping_is_dropped_with_a_reason() {
    let (mut stream, fanout, _stop) = replay().await;
    let mut heard = Vec::new();
    while let Some((head, payload)) = read(&mut stream).await {
        heard.push((head, String::from_utf8_lossy(payload.get(2..).unwrap_or_default()).into_owned()));
    }
    let ping = (PING, String::new());
    assert_eq!(heard, [ping.clone(), ping.clone(), ping, (CLOSE, SILENT.to_owned())]);
    fanout.empty().await;
    assert_eq!(fanout.summaries()[0].reason, Some(SILENT));
}

#[tokio::test(start_paused = true)]
async fn who_answers_pings_stays() {
    let (mut stream, fanout, _stop) = replay().await;
    for _ in 0..10 {
        assert_eq!(read(&mut stream).await, Some((PING, vec![])));
        stream.write_all(&frame(PONG, "")).await.unwrap();
    }
    fanout.finish();
    assert_eq!(read(&mut stream).await.unwrap().0, CLOSE);
    assert!(tokio::time::Instant::now().elapsed() < Duration::from_secs(1));
}

/// The same, where the client is ready to receive.
async fn ready() -> (TcpStream, Arc<Fanout>, CancellationToken) {
    let (stream, fanout, stop) = replay().await;
    while fanout.progress().1 == 0 {
        tokio::task::yield_now().await;
    }
    (stream, fanout, stop)
}

/// A message that is alone at its time, and not late.
fn due(fanout: &Fanout, index: u64, bytes: usize) -> Arc<Emission> {
    let mut emission = emission(index, "a", 0, bytes);
    Arc::get_mut(&mut emission).unwrap().due_ns = Some(fanout.clock().now().steady_ns + 1 + index);
    emission
}

#[test]
fn what_is_due_leaves_without_the_clients_task() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (stream, fanout, stop) = runtime.block_on(ready());
    let mut stream = stream.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // Nothing runs the task meanwhile: the runtime is this thread's.
    for index in 0..3 {
        fanout.deliver(&due(&fanout, index, 5), Flow::Drop, &stop);
        let mut frame = [0; 7];
        stream.read_exact(&mut frame).unwrap();
        assert_eq!(&frame, b"\x81\x05xxxxx");
    }
    drop(stream);
    runtime.block_on(fanout.empty());
    assert_eq!(fanout.summaries()[0].messages, 3);
}

#[test]
fn what_is_due_together_is_one_write_and_leaves_not_before() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (stream, fanout, _stop) = runtime.block_on(ready());
    let mut stream = stream.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // Small, and larger than the library keeps until it is flushed.
    for bytes in [5, 150 << 10] {
        let due_ns = fanout.clock().now().steady_ns + 5_000_000;
        let mut together = [emission(0, "a", 0, bytes), emission(1, "a", 0, bytes)];
        for emission in &mut together {
            Arc::get_mut(emission).unwrap().due_ns = Some(due_ns);
        }
        std::thread::scope(|scope| {
            scope.spawn(|| fanout.deliver_due(together.iter()));
            let mut first = [0; 14];
            stream.read_exact(&mut first).unwrap();
            assert!(fanout.clock().now().steady_ns >= due_ns);
            if bytes == 5 {
                assert_eq!(&first, b"\x81\x05xxxxx\x81\x05xxxxx");
            }
        });
    }
}

#[test]
fn order_is_kept_where_the_socket_fills_up_and_empties_again() {
    const MESSAGES: usize = 2_000;
    const BYTES: usize = 4 << 10;
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (mut stream, fanout, stop) = runtime.block_on(ready());
    for half in [0..MESSAGES / 2, MESSAGES / 2..MESSAGES] {
        for index in half.clone() {
            fanout.deliver(&due(&fanout, index as u64, BYTES + index), Flow::Drop, &stop);
        }
        // Read only now, and all of it: then the next half begins with nothing under way.
        runtime.block_on(async {
            for index in half {
                assert_eq!(read(&mut stream).await.unwrap().1.len(), BYTES + index);
            }
        });
    }
    fanout.finish();
    runtime.block_on(async {
        assert_eq!(read(&mut stream).await.unwrap().0, CLOSE);
        drop(stream);
        fanout.empty().await;
    });
    assert_eq!(fanout.summaries()[0].messages, MESSAGES as u64);
}
