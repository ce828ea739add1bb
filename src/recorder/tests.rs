//! The whole path over real local sockets: what a vendor sends is what the archive holds.

use std::net::TcpListener as StdListener;
use std::path::Path;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as WsMessage;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::archive::{Archive, ScanOptions, scan};
use crate::config::{ArchiveConfig, Config, Console, Limits, Webhooks};
use crate::secret::Secret;
use crate::vendors::generic::config::{GenericConfig, GenericTransport};
use crate::vendors::sensoro::config::SensoroConfig;
use crate::vendors::{Source, TlsOptions, VendorConfig};

mod damage;
mod disk;
mod numbers;
mod options;
#[allow(dead_code, reason = "the tests of a month need more of it")]
mod peer;
mod reload;
mod seeds;
mod too_long;

/// Guards a test that would otherwise hang for ever.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("should not take this long")
}

fn source(name: &str, transport: GenericTransport) -> Source {
    Source {
        name: name.to_owned(),
        vendor: VendorConfig::Generic(GenericConfig { transport, declarations: None }),
        tls: TlsOptions::default(),
        stall_after: None,
        exclude_kinds: Vec::new(),
        redact_query: Vec::new(),
        redact_headers: Vec::new(),
        retain: None,
    }
}

fn websocket(name: &str, url: String) -> Source {
    source(name, GenericTransport::WebSocket { url, headers: Vec::new(), send_on_open: Vec::new() })
}

fn webhook(name: &str, path: &str) -> Source {
    source(name, GenericTransport::Webhook { path: path.to_owned() })
}

fn config(root: &Path, sources: Vec<Source>) -> Config {
    Config {
        archive: ArchiveConfig {
            path: root.to_owned(),
            site: "test".to_owned(),
            sync_interval: Duration::from_millis(50),
            segment_max_bytes: 1 << 20,
            segment_max_age: Duration::from_secs(3_600),
            session_roll: None,
            min_free_disk: 0,
            retain: None,
            retain_max_bytes: None,
            compact_daily: false,
            group_readable: false,
        },
        limits: Limits { memory: 64 << 20 },
        webhooks: Webhooks { listen: "127.0.0.1:0".to_owned(), max_body: 1_000, tls: None },
        console: Console { listen: "127.0.0.1:0".to_owned(), tls: None, token: None },
        sources,
    }
}

async fn start(config: &Config) -> Recorder {
    Recorder::start(config, StartOptions::default()).await.unwrap()
}

async fn stop(recorder: Recorder) -> Summary {
    soon(recorder.stop(CancellationToken::new())).await.unwrap()
}

/// Waits until the recorder's status is as wanted. There is no event to wait for from outside.
async fn until(recorder: &Recorder, what: &str, mut is_so: impl FnMut(&Status) -> bool) -> Status {
    let looked = async {
        loop {
            let status = recorder.status();
            if is_so(&status) {
                return status;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), looked).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// The messages of a source's kind in an archive, in order: channel and payload.
fn stored(root: &Path, kind: &str) -> Vec<(String, Vec<u8>)> {
    let archive = Archive::open(root).unwrap();
    let sessions: Vec<_> = archive.list().unwrap().iter().map(|session| session.session_id).collect();
    let mut rows = Vec::new();
    let selection = crate::message::Selection { kinds: vec![kind.to_owned()], ..Default::default() };
    let options = ScanOptions { sessions, selection, ..ScanOptions::default() };
    for row in scan(&archive, &options).unwrap() {
        let row = row.unwrap();
        rows.push((row.channel.to_string(), row.payload.to_vec()));
    }
    rows
}

fn links(root: &Path) -> Vec<serde_json::Value> {
    stored(root, "link").iter().map(|(_, payload)| serde_json::from_slice(payload).unwrap()).collect()
}

async fn accept(listener: &TcpListener) -> WebSocketStream<TcpStream> {
    let (stream, _) = soon(listener.accept()).await.unwrap();
    tokio_tungstenite::accept_async(stream).await.unwrap()
}

async fn post(recorder: &Recorder, request: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(recorder.webhooks_at().unwrap()).await.unwrap();
    let head = format!(
        "{request} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nAuthorization: Basic geheim\r\n\
         X-Tag: a\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_is_recorded_byte_for_byte_across_an_outage() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("archive");
    let vendor = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/live?token=geheim", vendor.local_addr().unwrap());
    let recorder = start(&config(&root, vec![websocket("live", url)])).await;

    let first = ["{\"x\": -0.0}", "", "not json \u{1F980}"];
    let mut socket = accept(&vendor).await;
    for text in first {
        socket.send(WsMessage::text(text)).await.unwrap();
    }
    drop(socket);
    let mut socket = accept(&vendor).await;
    socket.send(WsMessage::binary(vec![0xFF; 60_000])).await.unwrap();
    until(&recorder, "four messages", |status| status.sources[0].messages == 4).await;
    // What is sent while the connection closes counts as well.
    let late = async {
        assert!(matches!(socket.next().await, Some(Ok(WsMessage::Close(_)))));
    };
    let (summary, ()) = tokio::join!(stop(recorder), late);

    let messages = stored(&root, "message");
    let payloads: Vec<&[u8]> = messages.iter().map(|(_, payload)| payload.as_slice()).collect();
    let expected: Vec<&[u8]> =
        first.iter().map(|text| text.as_bytes()).chain([[0xFF; 60_000].as_slice()]).collect();
    assert_eq!(payloads, expected);
    assert!(messages.iter().all(|(channel, _)| channel == "/live"));
    assert_eq!((summary.sources[0].messages, summary.sources[0].disconnects), (4, 1));
    assert!(summary.sources[0].gap_ns > 0 && summary.dropped() == 0 && summary.segments > 0);

    let events = links(&root);
    let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names[..3], ["connecting", "connected", "disconnected"]);
    assert!(events[0]["options"].is_object());
    assert!(!events.iter().any(|event| event.to_string().contains("geheim")), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_answered_once_it_is_durable_and_wrong_ones_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("archive");
    let config = config(&root, vec![webhook("outer", "/hooks"), webhook("inner", "/hooks/inner")]);
    let recorder = start(&config).await;

    let answer = post(&recorder, "POST /hooks/inner/a?token=geheim&x=1", b"{}").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(post(&recorder, "POST /hooks/innermost", b"outer").await.starts_with("HTTP/1.1 200"));
    assert!(recorder.status().journal.durable_up_to >= 2);
    let refused = [
        ("POST /elsewhere", &b""[..], "404"),
        ("GET /hooks", b"", "405"),
        ("POST /hooks", &[b' '; 1_001], "413"),
    ];
    for (request, body, status) in refused {
        let answer = post(&recorder, request, body).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
    }
    let summary = stop(recorder).await;
    assert_eq!(summary.sources.iter().map(|s| (s.messages, s.refused)).collect::<Vec<_>>(), [(1, 1), (1, 0)]);

    let mut messages = stored(&root, "message");
    messages.sort();
    let expected = [("/hooks/inner/a?token=&x=1", &b"{}"[..]), ("/hooks/innermost", b"outer")];
    assert_eq!(messages, expected.map(|(channel, payload)| (channel.to_owned(), payload.to_vec())));
}

fn sensoro(verify_signature: bool) -> Source {
    let vendor = VendorConfig::Sensoro(SensoroConfig {
        path: "/city".to_owned(),
        app_id: "1".to_owned(),
        app_key: None,
        app_secret: Secret::new("geheim"),
        public_url: None,
        verify_signature,
        signature_max_age: None,
    });
    Source { vendor, ..webhook("city", "/city") }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_pushed_again_names_its_first_delivery() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("archive");
    let recorder = start(&config(&root, vec![sensoro(false), webhook("hook", "/hook")])).await;
    let first = br#"{"appId":"1","type":"text","msgId":7}"#;
    let other = br#"{"appId":"1","type":"event","msgId":8}"#;
    for body in [&first[..], other, first, b"{}", b"{}", first] {
        assert!(post(&recorder, "POST /city", body).await.starts_with("HTTP/1.1 200"));
        // Another source's message has the same id, and its own.
        assert!(post(&recorder, "POST /hook", first).await.starts_with("HTTP/1.1 200"));
    }
    assert_eq!(stop(recorder).await.sources.iter().map(|s| s.duplicates).collect::<Vec<_>>(), [2, 0]);

    let archive = Archive::open(&root).unwrap();
    let options = ScanOptions {
        sessions: archive.list().unwrap().iter().map(|session| session.session_id).collect(),
        data_only: true,
        ..ScanOptions::default()
    };
    let rows: Vec<_> = scan(&archive, &options).unwrap().map(Result::unwrap).collect();
    let of_city: Vec<_> = rows.iter().filter(|row| &*row.source == "city").collect();
    let seq = of_city[0].seq;
    let marks: Vec<_> = of_city.iter().map(|row| row.duplicate_of).collect();
    assert_eq!(marks, [None, None, Some(seq), None, None, Some(seq)]);
    assert!(rows.iter().all(|row| &*row.source == "city" || row.duplicate_of.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_without_a_signature_is_answered_with_401_and_shown_in_the_status() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("archive");
    let recorder = start(&config(&root, vec![sensoro(true)])).await;
    assert!(post(&recorder, "POST /city", b"{}").await.starts_with("HTTP/1.1 401"));
    let error = recorder.status().sources[0].last_error.clone().unwrap();
    assert!(error.contains("X-ACCESS-SIGNATURE") && !error.contains("geheim"), "{error}");
    assert_eq!(stop(recorder).await.sources[0].messages, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_recorded_though_its_sender_does_not_wait() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("archive");
    let recorder = start(&config(&root, vec![webhook("hook", "/")])).await;
    let mut stream = TcpStream::connect(recorder.webhooks_at().unwrap()).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\ngone").await.unwrap();
    drop(stream);
    until(&recorder, "a message", |status| status.sources[0].messages == 1).await;
    stop(recorder).await;
    assert_eq!(stored(&root, "message"), [("/".to_owned(), b"gone".to_vec())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_do_not_come_keep_nobody_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&dir.path().join("archive"), vec![webhook("hook", "/")]);
    config.webhooks.max_body = 1 << 20;
    let recorder = start(&config).await;
    let length = format!("Content-Length: {}", 1 << 20);
    let mut slow = Vec::new();
    for announced in [&*length, "Transfer-Encoding: chunked"].repeat(20) {
        let mut stream = TcpStream::connect(recorder.webhooks_at().unwrap()).await.unwrap();
        let head = format!("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n{announced}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // Asked for by whoever begins to read the body.
        let mut go_on = [0; 25];
        soon(stream.read_exact(&mut go_on)).await.unwrap();
        assert!(go_on.starts_with(b"HTTP/1.1 100"));
        slow.push(stream);
    }
    assert!(post(&recorder, "POST /", &vec![b'x'; 1 << 20]).await.starts_with("HTTP/1.1 200"));
    drop(slow);
    stop(recorder).await;
}

/// The least memory that is allowed, and as long bodies as that allows.
#[tokio::test(flavor = "multi_thread")]
async fn the_bodies_of_one_source_keep_no_other_s_out() {
    const LONGEST: usize = 1 << 20;
    let dir = tempfile::tempdir().unwrap();
    let sources = vec![webhook("greedy", "/greedy"), webhook("other", "/other")];
    let mut config = config(&dir.path().join("archive"), sources);
    config.webhooks.max_body = LONGEST as u64;
    config.limits.memory = crate::config::memory::LEAST_BYTES;
    let recorder = start(&config).await;
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(recorder.webhooks_at().unwrap()).await.unwrap();
        let head = format!("POST /greedy HTTP/1.1\r\nHost: x\r\nContent-Length: {LONGEST}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // All but the last byte, as far as it is read: what is refused is not.
        let _ = stream.write_all(&vec![b'x'; LONGEST - 1]).await;
        slow.push(stream);
    }
    until(&recorder, "the greedy one has all it may have", |status| status.sources[0].refused > 0).await;
    for _ in 0..3 {
        let answer = post(&recorder, "POST /other", &vec![b'x'; LONGEST]).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    drop(slow);
    stop(recorder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_finds_the_disk_nearly_full_is_refused_and_no_loss() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&dir.path().join("archive"), vec![webhook("hook", "/")]);
    config.archive.min_free_disk = i64::MAX as u64;
    let recorder = start(&config).await;
    assert!(post(&recorder, "POST /", b"later").await.starts_with("HTTP/1.1 503"));
    let journal = recorder.status().journal;
    assert!(!journal.accepting && journal.error.unwrap().contains("min_free_disk"));
    assert_eq!(recorder.status().sources[0].refused, 1);
    let summary = stop(recorder).await;
    assert_eq!((summary.sources[0].refused, summary.dropped(), summary.sources[0].messages), (1, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_recorder_is_told_of_the_first_and_not_of_its_port() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&dir.path().join("archive"), vec![webhook("hook", "/")]);
    let recorder = start(&config).await;
    config.webhooks.listen = recorder.webhooks_at().unwrap().to_string();
    let error = Recorder::start(&config, StartOptions::default()).await.unwrap_err();
    assert!(matches!(error, RecordError::Archive(crate::archive::ArchiveError::Locked { .. })), "{error}");
    stop(recorder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("archive");
    let taken = StdListener::bind("127.0.0.1:0").unwrap();
    let mut config = config(&root, vec![webhook("hook", "/")]);
    config.webhooks.listen = taken.local_addr().unwrap().to_string();
    let error = Recorder::start(&config, StartOptions::default()).await.unwrap_err();
    assert!(matches!(error, RecordError::ListenWebhooks { .. }), "{error}");
    assert!(!root.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_the_console_that_is_in_use_is_told_as_the_console_s() {
    let dir = tempfile::tempdir().unwrap();
    let taken = StdListener::bind("127.0.0.1:0").unwrap();
    let mut config = config(&dir.path().join("archive"), vec![webhook("hook", "/")]);
    config.console.listen = taken.local_addr().unwrap().to_string();
    let console: Option<start::ConsoleRoutes> = Some(|_, _| axum::Router::new());
    let options = StartOptions { console, ..StartOptions::default() };
    let error = Recorder::start(&config, options).await.unwrap_err();
    assert!(error.to_string().contains("console.listen"), "{error}");
    assert!(!error.to_string().contains("webhooks"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_beyond_loopback_needs_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("archive");
    let mut config = config(&root, vec![webhook("hook", "/")]);
    config.console.listen = "0.0.0.0:0".to_owned();
    let console: Option<start::ConsoleRoutes> = Some(|_, _| axum::Router::new());
    let options = StartOptions { console, ..StartOptions::default() };
    let error = Recorder::start(&config, options).await.unwrap_err();
    assert!(matches!(error, RecordError::TokenNeeded { .. }), "{error}");
    assert!(!root.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_session_begins_while_connections_stay_open() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("archive");
    let vendor = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", vendor.local_addr().unwrap());
    let recorder = start(&config(&root, vec![websocket("live", url)])).await;
    let mut socket = accept(&vendor).await;
    socket.send(WsMessage::text("before")).await.unwrap();
    until(&recorder, "the first message", |status| status.sources[0].messages == 1).await;

    recorder.roll(Some("second")).await.unwrap();
    socket.send(WsMessage::text("after")).await.unwrap();
    until(&recorder, "the second message", |status| status.sources[0].messages == 2).await;
    let drained = async { while let Some(Ok(_)) = socket.next().await {} };
    let (summary, ()) = tokio::join!(stop(recorder), drained);

    assert_eq!(summary.session_ids.len(), 2);
    let archive = Archive::open(&root).unwrap();
    let sessions = archive.list().unwrap();
    assert_eq!(sessions[1].name, "second");
    assert!(sessions.iter().all(|session| session.ended.as_deref() == Some("stopped")), "{sessions:?}");
    let options = ScanOptions { sessions: vec![sessions[1].session_id], ..ScanOptions::default() };
    let rows: Vec<_> = scan(&archive, &options)
        .unwrap()
        .map(|row| row.unwrap())
        .map(|row| (row.seq, row.connection, row.kind.to_string()))
        .collect();
    assert_eq!(rows, [(0, 0, "link".to_owned()), (1, 0, "message".to_owned())]);
    assert_eq!(links(&root).iter().filter(|event| event["event"] == "continued").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_numbered_from_0_in_a_session_that_began_without_one() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("archive");
    let vendor = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", vendor.local_addr().unwrap());
    let recorder = start(&config(&root, vec![websocket("live", url)])).await;
    drop(accept(&vendor).await);
    until(&recorder, "an outage", |status| status.sources[0].state == stats::State::Waiting).await;
    recorder.roll(Some("second")).await.unwrap();
    let mut socket = accept(&vendor).await;
    until(&recorder, "a connection", |status| status.sources[0].state == stats::State::Connected).await;
    let drained = async { while let Some(Ok(_)) = socket.next().await {} };
    tokio::join!(stop(recorder), drained);

    let archive = Archive::open(&root).unwrap();
    let session_id = archive.resolve("second").unwrap().session_id;
    let options = ScanOptions {
        sessions: vec![session_id],
        selection: crate::message::Selection { kinds: vec!["link".to_owned()], ..Default::default() },
        ..ScanOptions::default()
    };
    let rows: Vec<_> = scan(&archive, &options).unwrap().map(|row| row.unwrap()).collect();
    assert!(!rows.is_empty() && rows.iter().all(|row| row.connection == 0), "{rows:?}");
    let first: serde_json::Value = serde_json::from_slice(&rows[0].payload).unwrap();
    assert_eq!((&first["event"], &first["cause"]), (&"refused".into(), &"continued".into()));
    assert!(first["options"].is_object());
    // Each session by itself tells of the outage.
    for session in archive.list().unwrap() {
        let gaps = archive.info(session.session_id).unwrap().gaps;
        let is_last = session.session_id == session_id;
        assert_eq!((gaps.len(), gaps[0].ended_at_us.is_some()), (1, is_last), "{gaps:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silence_is_told_once_and_only_while_data_could_come() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("archive");
    let vendor = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", vendor.local_addr().unwrap());
    let mut source = websocket("live", url);
    source.stall_after = Some(Duration::from_secs(60));
    let manual = std::sync::Arc::new(crate::clock::ManualClock::at(Default::default()));
    let clock = crate::clock::Clock::Manual(std::sync::Arc::clone(&manual));
    let options = StartOptions { clock, ..StartOptions::default() };
    let recorder = Recorder::start(&config(&root, vec![source]), options).await.unwrap();
    let is = |wanted| move |status: &Status| status.sources[0].state == wanted;

    // Not connected yet: this silence is the connection's.
    manual.advance_ns(600_000_000_000);
    let mut socket = accept(&vendor).await;
    until(&recorder, "a connection", is(stats::State::Connected)).await;
    for text in ["one", "two"] {
        manual.advance_ns(30_000_000_000);
        socket.send(WsMessage::text(text)).await.unwrap();
        let messages = if text == "one" { 1 } else { 2 };
        until(&recorder, text, |status| status.sources[0].messages == messages).await;
        manual.advance_ns(61_000_000_000);
        for _ in 0..3 {
            // Wakes the task, whose timer does not know of a clock that is moved by hand.
            recorder.roll(None).await.unwrap();
        }
        until(&recorder, "a silence", is(stats::State::Stalled)).await;
    }
    let drained = async { while let Some(Ok(_)) = socket.next().await {} };
    tokio::join!(stop(recorder), drained);
    let stalled: Vec<_> = links(&root).into_iter().filter(|event| event["event"] == "stalled").collect();
    assert_eq!(stalled.len(), 2, "{stalled:?}");
    assert_eq!(stalled[0]["silent_ns"], 61_000_000_000_u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn excluded_kinds_are_answered_and_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("archive");
    let mut source = webhook("hook", "/");
    source.exclude_kinds = vec!["message".to_owned()];
    let recorder = start(&config(&root, vec![source])).await;
    assert!(post(&recorder, "POST /", b"unwanted").await.starts_with("HTTP/1.1 200"));
    let summary = stop(recorder).await;
    assert_eq!((summary.sources[0].messages, summary.dropped()), (0, 0));
    assert_eq!(stored(&root, "message"), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_leaves_the_data_in_the_journal_for_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("archive");
    let config = config(&root, vec![webhook("hook", "/")]);
    let recorder = start(&config).await;
    assert!(post(&recorder, "POST /", b"kept").await.starts_with("HTTP/1.1 200"));
    let abort = CancellationToken::new();
    abort.cancel();
    assert!(matches!(soon(recorder.stop(abort)).await, Err(RecordError::Aborted)));

    // The sealing thread keeps the lock until it has seen that it is to stop.
    let recorder = soon(async {
        loop {
            match Recorder::start(&config, StartOptions::default()).await {
                Ok(recorder) => return recorder,
                Err(RecordError::Archive(crate::archive::ArchiveError::Locked { .. })) => {}
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await;
    assert!(recorder.recovered().messages >= 1);
    stop(recorder).await;
    assert_eq!(stored(&root, "message"), [("/".to_owned(), b"kept".to_vec())]);
}
