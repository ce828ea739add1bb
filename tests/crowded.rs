//! Thousands of connections that are only in the way, to everything that listens: idle ones, heads and bodies that
//! trickle, requests whose answers nobody reads, an MQTT CONNECT that never comes, subscribers that never read. Whoever
//! comes with something to do is served meanwhile; memory and descriptors stay within their bounds, and come back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation fails the test"
)]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process, setrlimit};
use telereel::config::memory::Shares;
use telereel::transport::tls::{Trust, client_config, self_signed};
use tokio_rustls::rustls::{ClientConnection, StreamOwned};
use tokio_tungstenite::tungstenite::{Message, client};

use support::process::{memory, open_files};
use support::{free_port, telereel};

const MIB: u64 = 1 << 20;
const CROWD: usize = 3_000;

/// Of a recorder with a crowd at its doors.
const MEMORY: u64 = 128 * MIB;

/// Whoever has something to do is answered within this, on whatever machine; a crowd without end would be for ever.
const SERVED: Duration = Duration::from_secs(20);

/// Whoever never reads is given up within this: when 16 MiB wait, of two megabytes a second.
const GIVEN_UP: Duration = Duration::from_secs(120);

/// One test at a time has all the descriptors.
static ALONE: Mutex<()> = Mutex::new(());

/// As many as the crowd needs here.
fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let enough = limit.current.is_none_or(|files| files > 2 * CROWD as u64);
    assert!(enough, "{limit:?}: this test needs {} descriptors", 2 * CROWD);
}

/// Connections that say so much, and then trickle or nothing.
struct Crowd(Vec<TcpStream>);

impl Crowd {
    fn gather(port: u16, number: usize, words: &[u8]) -> Self {
        let one = |_| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.set_nonblocking(true).unwrap();
            // One that was turned away already hears that here.
            let _ = stream.write(words);
            stream
        };
        Self((0..number).map(one).collect())
    }

    /// Another byte of each.
    fn trickle(&mut self) {
        for stream in &mut self.0 {
            let _ = stream.write(b"x");
        }
    }

    /// How many are still connected.
    fn left(&mut self) -> usize {
        let is_open = |stream: &mut TcpStream| {
            let mut ignored = [0; 4_096];
            loop {
                match stream.read(&mut ignored) {
                    Ok(0) => return false,
                    Ok(_) => {}
                    Err(error) => return error.kind() == ErrorKind::WouldBlock,
                }
            }
        };
        self.0.iter_mut().map(is_open).filter(|is_open| *is_open).count()
    }
}

struct Program(Child);

impl Program {
    fn start(folder: &Path, args: &[&str], ports: &[u16]) -> Self {
        let log = std::fs::File::create(folder.join("program.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_telereel"))
            .args(args)
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let program = Self(child);
        for port in ports {
            within("listening", Duration::from_secs(60), || TcpStream::connect(("127.0.0.1", *port)).is_ok());
        }
        program
    }

    fn open_files(&self) -> usize {
        open_files(self.0.id())
    }

    fn end(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.0), Signal::INT).unwrap();
        self.0.wait().unwrap().code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

fn within(what: &str, time: Duration, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + time;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within {time:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// A connection of somebody who waits no longer than is fair.
fn honest(port: u16) -> TcpStream {
    let stream = TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), SERVED).unwrap();
    stream.set_read_timeout(Some(SERVED)).unwrap();
    stream.set_write_timeout(Some(SERVED)).unwrap();
    stream
}

fn ask(port: u16, request: &str) -> String {
    let mut stream = honest(port);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer in time");
    answer
}

fn post(port: u16, n: usize) {
    let body = format!("[{n}]");
    let length = body.len();
    let request = format!(
        "POST /in HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let answer = ask(port, &request);
    assert!(answer.starts_with("HTTP/1.1 200"), "post {n}: {answer}");
}

fn look(port: u16) {
    let answer = ask(port, "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn a_crowd_at_the_doors_of_a_recorder_keeps_nobody_out_and_costs_no_more_than_its_places() {
    let _alone = ALONE.lock();
    raise_open_files();
    let folder = tempfile::tempdir().unwrap();
    let (webhooks, console) = (free_port(), free_port());
    let config = format!(
        "[limits]\nmemory = \"{}MiB\"\n[webhooks]\nlisten = \"127.0.0.1:{webhooks}\"\n\
         [console]\nlisten = \"127.0.0.1:{console}\"\n\
         [[source]]\nname = \"hooks\"\nvendor = \"generic\"\ntransport = \"webhook\"\npath = \"/in\"\n",
        MEMORY / MIB
    );
    std::fs::write(folder.path().join("telereel.toml"), config).unwrap();
    let recorder = Program::start(folder.path(), &["record"], &[webhooks, console]);
    post(webhooks, 0);
    look(console);
    let places = Shares::of(MEMORY, &[]).places;
    let before = recorder.open_files();
    let mut posted = 1;
    let mut slowest = Duration::ZERO;
    let mut serve = |recorder: &Program| {
        let began = Instant::now();
        post(webhooks, posted);
        posted += 1;
        slowest = slowest.max(began.elapsed());
        look(console);
        let open = recorder.open_files();
        assert!(open <= before + places + 8, "{open} descriptors");
    };

    const HEAD: &[u8] = b"POST /in HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
    let long_head = [HEAD, &[b'y'; 7_000]].concat();
    let body = b"POST /in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n[";
    let unread = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(400);
    let mut crowd = Vec::new();
    for (port, number, words) in [
        (webhooks, CROWD / 2, &b""[..]),
        (webhooks, CROWD / 10, &long_head),
        (console, CROWD / 10, HEAD),
        (webhooks, CROWD / 10, body),
        (webhooks, CROWD / 10, &unread),
        (console, CROWD / 10, &unread),
    ] {
        crowd.push(Crowd::gather(port, number, words));
        crowd.iter_mut().for_each(Crowd::trickle);
        for _ in 0..5 {
            serve(&recorder);
        }
    }
    let mut left = crowd.iter_mut().map(Crowd::left).sum::<usize>();
    assert!(left <= places, "{left} are connected");
    left = left.min(recorder.open_files());
    let peak = memory(recorder.0.id(), "VmHWM");
    assert!(peak <= MEMORY, "{} MiB were in memory", peak / MIB);

    drop(crowd);
    within("the crowd's descriptors given back", Duration::from_secs(60), || {
        recorder.open_files() <= before + 8
    });
    println!(
        "{left} of {} were connected at last, of {places} places; {posted} posted, the slowest in {} ms; {} MiB",
        8 * CROWD / 10 + CROWD / 5,
        slowest.as_millis(),
        peak / MIB
    );
    assert_eq!(recorder.end(), Some(0));
    let stored = telereel(folder.path(), &["cat", "latest", "--kind", "message"], 0);
    assert_eq!(stored.lines().count(), posted);
}

/// The first record of a handshake, of 16 KiB, and half a request after a whole one.
#[test]
fn a_crowd_at_encrypted_doors_keeps_nobody_out_and_costs_no_more_than_its_places() {
    let _alone = ALONE.lock();
    raise_open_files();
    let folder = tempfile::tempdir().unwrap();
    let webhooks = free_port();
    self_signed(folder.path(), &["localhost".to_owned()]).unwrap();
    let config = format!(
        "[limits]\nmemory = \"{}MiB\"\n[webhooks]\nlisten = \"127.0.0.1:{webhooks}\"\n\
         tls = {{ cert = \"self-signed-cert.pem\", key = \"self-signed-key.pem\" }}\n\
         [[source]]\nname = \"hooks\"\nvendor = \"generic\"\ntransport = \"webhook\"\npath = \"/in\"\n",
        MEMORY / MIB
    );
    std::fs::write(folder.path().join("telereel.toml"), config).unwrap();
    let recorder = Program::start(folder.path(), &["record"], &[webhooks]);
    let trust = client_config(&Trust::Anybody).unwrap();
    let encrypted = || {
        let tls = ClientConnection::new(Arc::clone(&trust), "localhost".try_into().unwrap()).unwrap();
        StreamOwned::new(tls, honest(webhooks))
    };
    let serve = || {
        let mut stream = encrypted();
        let request = "POST /in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}";
        stream.write_all(request.as_bytes()).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 200");
    };
    serve();
    let before = recorder.open_files();
    let places = Shares::of(MEMORY, &[]).places_with_tls();
    let hello = [&[0x16, 3, 1, 0x40, 0, 1, 0, 0x3F, 0xFC, 3, 3][..], &[0; 16_000]].concat();
    let crowd = Crowd::gather(webhooks, CROWD / 2, &hello);
    serve();
    let begun: Vec<_> = (0..CROWD / 20)
        .map(|_| {
            let mut stream = encrypted();
            stream.write_all(b"POST /in HTTP/1.1\r\nHost: local").unwrap();
            stream
        })
        .collect();
    serve();
    let open = recorder.open_files();
    assert!(open <= before + places + 8, "{open} descriptors, {places} places");
    let peak = memory(recorder.0.id(), "VmHWM");
    println!("{open} descriptors, {places} places, {} MiB", peak / MIB);
    assert!(peak <= MEMORY, "{} MiB were in memory", peak / MIB);
    drop((crowd, begun));
    assert_eq!(recorder.end(), Some(0));
}

#[test]
fn a_crowd_at_a_replay_and_subscribers_that_never_read_keep_nobody_from_being_served() {
    let _alone = ALONE.lock();
    raise_open_files();
    let folder = tempfile::tempdir().unwrap();
    write_session(folder.path());
    let (http, mqtt) = (free_port(), free_port());
    let (http_url, mqtt_url) = (format!("http://127.0.0.1:{http}"), format!("mqtt://127.0.0.1:{mqtt}"));
    let args = ["replay", "latest", "--no-wait", "--loop", "--listen", &http_url, "--listen", &mqtt_url];
    let replay = Program::start(folder.path(), &args, &[http, mqtt]);
    let before = replay.open_files();

    // CONNECT's first byte, and the second of a length that does not end.
    let crowd: Vec<Crowd> = [
        (mqtt, CROWD / 2, &b""[..]),
        (mqtt, CROWD / 2, &b"\x10\xff"[..]),
        (http, CROWD / 4, &b""[..]),
        (http, CROWD / 4, &b"GET /ws HTTP/1.1\r\nHost: "[..]),
    ]
    .map(|(port, number, words)| Crowd::gather(port, number, words))
    .into();
    let unread: Vec<_> = (0..20).map(|_| subscribe_by_websocket(http)).collect();
    let unread_mqtt: Vec<_> = (0..20).map(|_| subscribe_by_mqtt(mqtt)).collect();

    let mut reader = subscribe_by_websocket(http);
    let mut of_mqtt = subscribe_by_mqtt(mqtt);
    let mut received = 0;
    let began = Instant::now();
    while received < 100 {
        if let Message::Text(_) = reader.read().unwrap() {
            received += 1;
        }
    }
    // About a message.
    let mut bytes = vec![0; 4_000];
    of_mqtt.read_exact(&mut bytes).unwrap();
    let took = began.elapsed();
    assert!(took < SERVED, "{took:?} for a hundred messages");

    drop((crowd, unread_mqtt));
    let (is_over, began) = (AtomicBool::new(false), Instant::now());
    std::thread::scope(|scope| {
        // Whoever reads is served on until the others are given up; where they are not, the reading ends all the same.
        let goes_on = || !is_over.load(Ordering::Relaxed) && began.elapsed() < GIVEN_UP + SERVED;
        let reading = scope.spawn(move || {
            while goes_on() {
                reader.read().unwrap();
            }
        });
        let reading_of_mqtt = scope.spawn(move || {
            while goes_on() {
                of_mqtt.read_exact(&mut bytes).unwrap();
            }
        });
        within("those that never read given up", GIVEN_UP, || {
            let is_so = replay.open_files() <= before + 12;
            let is_done = is_so || reading.is_finished() || reading_of_mqtt.is_finished();
            is_over.store(is_done, Ordering::Relaxed);
            is_done
        });
    });
    let peak = memory(replay.0.id(), "VmHWM");
    println!("{received} messages in {took:?}; {} MiB", peak / MIB);
    drop(unread);
    assert!(peak <= 256 * MIB, "{} MiB were in memory", peak / MIB);
}

/// Two megabytes a second, for four seconds: who stands still for a moment has not missed what a queue holds.
fn write_session(folder: &Path) {
    let mut lines = String::new();
    let padding = "x".repeat(4_000);
    for n in 0..2_000 {
        let at = format!("2026-01-01T00:00:{:02}.{:03}Z", n / 500, n % 500 * 2);
        lines.push_str(&format!(
            "{{\"vendor\":\"generic\",\"kind\":\"message\",\"source\":\"s\",\"channel\":\"t\",\"received_at\":\"{at}\",\
             \"qos\":0,\"retain\":false,\"dup\":false,\"payload\":\"{n} {padding}\"}}\n"
        ));
    }
    std::fs::write(folder.join("session.jsonl"), lines).unwrap();
    telereel(folder, &["import", "session.jsonl"], 0);
}

fn subscribe_by_websocket(port: u16) -> tokio_tungstenite::tungstenite::WebSocket<TcpStream> {
    client(format!("ws://127.0.0.1:{port}/ws"), honest(port)).unwrap().0
}

fn subscribe_by_mqtt(port: u16) -> TcpStream {
    let mut stream = honest(port);
    stream.write_all(b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0").unwrap();
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).unwrap();
    assert_eq!(connack, [0x20, 2, 0, 0]);
    stream.write_all(b"\x82\x06\0\x01\0\x01#\0").unwrap();
    let mut suback = [0; 5];
    stream.read_exact(&mut suback).unwrap();
    assert_eq!(suback, [0x90, 3, 0, 1, 0]);
    stream
}
