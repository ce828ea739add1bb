//! What keeps others out: who may read what is written, what listens, where pushes go.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation fails the test")]

mod support;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{AUTHORIZATION, HeaderValue};
use support::telereel;
use telereel::config::Config;
use telereel::console;
use telereel::recorder::{Recorder, StartOptions};
use telereel::transport::http_client::{HttpCall, call};
use telereel::transport::tls::{Trust, client_config, self_signed};
use tokio_util::sync::CancellationToken;

/// For anything that is waited for: far longer than it takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Twenty messages that were posted to the path `/hooks/city/a`.
fn lines() -> String {
    let line = |n: u64| {
        format!(
            r#"{{"received_at":"2026-11-22T10:00:{n:02}Z","source":"city","channel":"/hooks/city/a?n={n}","headers":{{}},"payload":"{n}"}}"#
        )
    };
    (0..20).map(|n| line(n) + "\n").collect()
}

/// Runs a verb in `folder` where a new file could be read and written by everybody.
fn with_open_umask(folder: &Path, args: &[&str]) {
    let mut command = Command::new("sh");
    command.args(["-c", "umask 0; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_telereel")]).args(args);
    command.current_dir(folder).env("HOME", folder.join("home"));
    for name in ["XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "STATE_DIRECTORY"] {
        command.env_remove(name);
    }
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{args:?}:\n{out}\n{err}");
}

/// Everything in `folder` that others may read, write or enter.
fn open_to_others(folder: &Path, found: &mut Vec<String>) -> usize {
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            found.push(format!("{mode:o} {}", path.display()));
        }
        seen += 1;
        if metadata.is_dir() {
            seen += open_to_others(&path, found);
        }
    }
    seen
}

#[test]
fn nobody_else_may_read_what_is_written() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("f");
    fs::create_dir(&folder).unwrap();
    let source = outer.path().join("city.jsonl");
    fs::write(&source, lines()).unwrap();

    with_open_umask(&folder, &["init", "delicode"]);
    with_open_umask(&folder, &["import", source.to_str().unwrap()]);
    for file in ["x.reel", "x.jsonl", "x.csv", "x.mcap", "x.parquet"] {
        with_open_umask(&folder, &["export", "city", "--to", file]);
    }
    with_open_umask(&folder, &["import", "x.reel", "--session", "again"]);
    with_open_umask(&folder, &["mark", "light on", "city", "--at", "+1s"]);
    with_open_umask(&folder, &["compact"]);
    with_open_umask(&folder, &["reindex"]);
    with_open_umask(
        &folder,
        &[
            "replay",
            "city",
            "--no-wait",
            "--pace",
            "max",
            "--listen",
            "https://127.0.0.1:0",
            "--report",
            "report.json",
            "--trace",
            "trace.jsonl",
        ],
    );
    with_open_umask(&folder, &["demo", "--seconds", "1"]);

    let mut found = Vec::new();
    let seen = open_to_others(&folder, &mut found);
    assert!(found.is_empty(), "{found:#?}");
    assert!(seen > 60, "{seen} files and folders are too few");
}

/// A receiver that takes `count` requests, and gives their first lines.
fn receive(listener: TcpListener, count: usize) -> Vec<String> {
    let mut lines = Vec::new();
    while lines.len() < count {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (mut held, mut buffer) = (Vec::new(), [0; 4_096]);
        while lines.len() < count {
            let read = stream.read(&mut buffer).unwrap();
            if read == 0 {
                break;
            }
            held.extend_from_slice(&buffer[..read]);
            // A body is one or two digits.
            while let Some(end) = held.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8(held[..end].to_vec()).unwrap().to_ascii_lowercase();
                let length = head.split("content-length: ").nth(1).unwrap();
                let length: usize = length.lines().next().unwrap().parse().unwrap();
                if held.len() < end + 4 + length {
                    break;
                }
                held.drain(..end + 4 + length);
                lines.push(head.lines().next().unwrap().to_owned());
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
            }
        }
    }
    lines
}

#[test]
fn pushes_go_to_the_url_that_was_named_whatever_the_environment_says() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("city.jsonl"), lines()).unwrap();
    telereel(folder.path(), &["import", "city.jsonl"], 0);
    let (trap, listener) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let proxy = format!("http://{}", trap.local_addr().unwrap());
    let push = format!("city=http://{}/base", listener.local_addr().unwrap());
    let received = std::thread::spawn(move || receive(listener, 20));
    let mut command = Command::new(env!("CARGO_BIN_EXE_telereel"));
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env(name, &proxy);
    }
    command.env_remove("no_proxy").env_remove("NO_PROXY").current_dir(folder.path());
    let output = command.args(["replay", "city", "--pace", "max", "--push", &push]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected: Vec<String> = (0..20).map(|n| format!("post /base/hooks/city/a?n={n} http/1.1")).collect();
    assert_eq!(received.join().unwrap(), expected);
    trap.set_nonblocking(true).unwrap();
    assert_eq!(trap.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "the proxy was asked");
}

async fn recording(folder: &Path, console: &str, webhooks: &str) -> Recorder {
    let text = format!(
        "[archive]\npath = \"archive\"\n[console]\nlisten = \"127.0.0.1:0\"\n{console}\n\
         [webhooks]\nlisten = \"127.0.0.1:0\"\n{webhooks}\n\
         [[source]]\nname = \"hook\"\nvendor = \"generic\"\ntransport = \"webhook\"\npath = \"/hook\"\n\
         [[source]]\nname = \"locks\"\nvendor = \"jointech\"\ntransport = \"webhook\"\npath = \"/locks\"\n\
         header = {{ name = \"headerKey\", value = \"geheim\" }}\n"
    );
    let path = folder.join("telereel.toml");
    fs::write(&path, text).unwrap();
    let options = StartOptions { console: Some(console::status::routes), ..StartOptions::default() };
    Recorder::start(&Config::load(&path).unwrap(), options).await.unwrap()
}

/// Sends `text` as it is; the answer, until the other end closes.
fn said(at: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is an end, too.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_and_console_speak_tls_end_to_end() {
    let dir = tempfile::tempdir().unwrap();
    let cert = self_signed(dir.path(), &[]).unwrap().cert;
    let tls = "tls = { cert = \"self-signed-cert.pem\", key = \"self-signed-key.pem\" }";
    let recorder = recording(dir.path(), &format!("{tls}\ntoken = \"t0ken\""), tls).await;
    let (webhooks, console) = (recorder.webhooks_at().unwrap(), recorder.console_at().unwrap());
    let trust = client_config(&Trust::Authority(cert)).unwrap();
    let ask = async |method: Method, url: String, token: Option<&str>| {
        let value = |token| HeaderValue::try_from(format!("Bearer {token}")).unwrap();
        let headers = token.map(|token| (AUTHORIZATION, value(token))).into_iter().collect();
        let body = Bytes::from_static(b"{}");
        let request = HttpCall { method, url: url.parse().unwrap(), headers, body, timeout: PATIENCE };
        call(request, &trust).await.unwrap()
    };
    let posted = ask(Method::POST, format!("https://localhost:{}/hook", webhooks.port()), None).await;
    assert_eq!(posted.status, 200);
    let status = format!("https://localhost:{}/api/v1/status", console.port());
    assert_eq!(ask(Method::GET, status.clone(), None).await.status, 401);
    assert_eq!(ask(Method::GET, status.clone(), Some("t0kem")).await.status, 401);
    let answer = ask(Method::GET, status, Some("t0ken")).await;
    let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(answer["sources"][0]["messages"], 1);
    for at in [webhooks, console] {
        let plain = said(at, "GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert!(!plain.contains("HTTP/1.1"), "{plain}");
    }
    recorder.stop(CancellationToken::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_speak_is_told_before_a_body_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = recording(dir.path(), "", "").await;
    let (webhooks, console) = (recorder.webhooks_at().unwrap(), recorder.console_at().unwrap());
    let long = "Content-Length: 500000\r\n\r\n";
    let rebound = "Host: evil.example\r\nOrigin: http://evil.example\r\n";
    for (at, head, status) in [
        // Another site's page, whose name leads to this machine by now.
        (console, format!("GET /api/v1/status HTTP/1.1\r\n{rebound}Connection: close\r\n\r\n"), 403),
        (console, format!("POST /api/v1/marks HTTP/1.1\r\n{rebound}{long}"), 403),
        (console, format!("POST /api/v1/marks HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n{long}"), 403),
        (webhooks, format!("POST /locks HTTP/1.1\r\nHost: x\r\n{long}"), 401),
        (webhooks, format!("POST /locks HTTP/1.1\r\nHost: x\r\nheaderKey: geheiM\r\n{long}"), 401),
        (webhooks, format!("POST /hook/../locks HTTP/1.1\r\nHost: x\r\n{long}"), 404),
        (webhooks, format!("POST /hook/%2e%2E/x HTTP/1.1\r\nHost: x\r\n{long}"), 404),
        (webhooks, format!("PUT /hook HTTP/1.1\r\nHost: x\r\n{long}"), 405),
        (webhooks, "POST /hook HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n".to_owned(), 413),
        (webhooks, format!("POST /hook HTTP/1.1\r\nX-Long: {}\r\n\r\n", "x".repeat(17 << 10)), 431),
    ] {
        let answer = tokio::task::spawn_blocking(move || said(at, &head)).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "expected {status}: {answer}");
    }
    assert!(recorder.status().sources[1].last_error.is_some(), "what is turned away is shown");
    recorder.stop(CancellationToken::new()).await.unwrap();
}
