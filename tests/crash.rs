//! The recorder is killed (`SIGKILL`) again and again, at a random count of acknowledged webhooks and while small
//! parts are being sealed all the time. After each kill: nothing acknowledged is missing, nothing is there more
//! often than it was delivered, `seq` has no gaps, `verify` is content.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation fails the test"
)]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use tokio_tungstenite::tungstenite::{Message, accept};

use support::{free_port, telereel};

const ROUNDS: u64 = 12;
const POSTERS: u64 = 4;

#[test]
fn a_killed_recorder_loses_nothing_that_it_acknowledged() {
    let seed = UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let (webhooks, console) = (free_port(), free_port());
    let stream = stream_numbers();
    std::fs::write(
        folder.path().join("telereel.toml"),
        format!(
            "[archive]\nsegment_max_bytes = \"256KiB\"\n[webhooks]\nlisten = \"127.0.0.1:{webhooks}\"\n\
             [console]\nlisten = \"127.0.0.1:{console}\"\n\
             [[source]]\nname = \"hooks\"\nvendor = \"generic\"\ntransport = \"webhook\"\npath = \"/in\"\n\
             [[source]]\nname = \"stream\"\nvendor = \"generic\"\ntransport = \"websocket\"\nurl = \"ws://127.0.0.1:{stream}/\"\n"
        ),
    )
    .unwrap();

    for round in 0..ROUNDS {
        let name = format!("round-{round}");
        let mut recorder = Command::new(env!("CARGO_BIN_EXE_telereel"))
            .args(["record", "--session", &name])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let acknowledged = post_until_killed(&mut recorder, webhooks, rng.random_range(1..1_500), &mut rng);
        recorder.wait().unwrap();

        // Every other time the next `record` does the recovery, as it does for a user.
        if round % 2 == 0 || round == ROUNDS - 1 {
            telereel(folder.path(), &["recover"], 0);
            telereel(folder.path(), &["verify"], 0);
            check_round(folder.path(), &name, &acknowledged);
        } else {
            telereel(folder.path(), &["record", "--session", "between", "--for", "1ms"], 0);
            check_round(folder.path(), &name, &acknowledged);
        }
    }
    telereel(folder.path(), &["verify"], 0);
    // What the index says comes from the files: made anew, it says the same.
    let before = telereel(folder.path(), &["list", "--json"], 0);
    telereel(folder.path(), &["reindex"], 0);
    assert_eq!(telereel(folder.path(), &["list", "--json"], 0), before);
}

/// Posts numbered bodies from several connections and kills the recorder at the `kill_at`-th answer. Gives, per
/// poster, how many bodies were acknowledged; at most one more of each was sent.
fn post_until_killed(recorder: &mut Child, port: u16, kill_at: u64, rng: &mut impl Rng) -> Vec<u64> {
    let answered = Arc::new(AtomicU64::new(0));
    let padding = "x".repeat(rng.random_range(0..2_000));
    let posters: Vec<_> = (0..POSTERS)
        .map(|poster| {
            let (answered, padding) = (answered.clone(), padding.clone());
            std::thread::spawn(move || {
                let mut connection = connect(port);
                let mut acknowledged = 0;
                while post(
                    &mut connection,
                    &format!("{{\"poster\":{poster},\"n\":{acknowledged},\"pad\":\"{padding}\"}}"),
                ) {
                    acknowledged += 1;
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                acknowledged
            })
        })
        .collect();
    let deadline = Instant::now() + Duration::from_secs(120);
    while answered.load(Ordering::Relaxed) < kill_at {
        assert!(Instant::now() < deadline, "only {answered:?} of {kill_at} answers came");
        assert!(recorder.try_wait().unwrap().is_none(), "the recorder ended by itself");
        std::thread::yield_now();
    }
    recorder.kill().unwrap();
    posters.into_iter().map(|p| p.join().unwrap()).collect()
}

fn connect(port: u16) -> BufReader<TcpStream> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => {
                stream.set_nodelay(true).unwrap();
                return BufReader::new(stream);
            }
            Err(_) => assert!(Instant::now() < deadline, "the recorder does not listen"),
        }
        std::thread::yield_now();
    }
}

/// Whether the body was answered with 200, whole.
fn post(connection: &mut BufReader<TcpStream>, body: &str) -> bool {
    let request =
        format!("POST /in/x HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    if connection.get_mut().write_all(request.as_bytes()).is_err() {
        return false;
    }
    let (mut line, mut length, mut status) = (String::new(), 0, String::new());
    loop {
        line.clear();
        match connection.read_line(&mut line) {
            Ok(n) if n > 0 => {}
            _ => return false,
        }
        if status.is_empty() {
            status = line.trim_end().to_owned();
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let whole = connection.read_exact(&mut vec![0; length]).is_ok();
    assert!(!whole || status == "HTTP/1.1 200 OK", "{status}");
    whole
}

fn check_round(folder: &Path, session: &str, acknowledged: &[u64]) {
    let mut hooks: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    let mut stream = BTreeMap::<i64, Vec<u64>>::new();
    let out =
        telereel(folder, &["cat", session, "--kind", "link", "--kind", "control", "--kind", "message"], 0);
    for (seq, line) in out.lines().enumerate() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(row["seq"], seq, "seq has a gap");
        if row["kind"] != "message" {
            continue;
        }
        let body: serde_json::Value = serde_json::from_str(row["payload"].as_str().unwrap()).unwrap();
        if row["source"] == "hooks" {
            *hooks.entry((body["poster"].as_u64().unwrap(), body["n"].as_u64().unwrap())).or_default() += 1;
        } else {
            stream.entry(row["connection"].as_i64().unwrap()).or_default().push(body.as_u64().unwrap());
        }
    }
    for (poster, &count) in acknowledged.iter().enumerate() {
        for n in 0..count {
            assert_eq!(hooks.remove(&(poster as u64, n)), Some(1), "{session}: body {n} of poster {poster}");
        }
        // The one that was on its way may have become durable before the kill.
        assert!(hooks.remove(&(poster as u64, count)).is_none_or(|times| times == 1));
    }
    assert!(hooks.is_empty(), "{session}: never sent: {hooks:?}");
    for numbers in stream.values() {
        assert!(
            numbers.iter().copied().eq(0..numbers.len() as u64),
            "{session}: the stream is not what was sent"
        );
    }
}

/// A WebSocket server that sends 0, 1, 2, … to each client until it goes away.
fn stream_numbers() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            std::thread::spawn(move || {
                let Ok(mut socket) = accept(client.unwrap()) else { return };
                for n in 0_u64.. {
                    if socket.send(Message::text(n.to_string())).is_err() {
                        return;
                    }
                    // About a thousand a second: the disk is to be busy, not the test.
                    std::thread::park_timeout(Duration::from_millis(1));
                }
            });
        }
    });
    port
}
