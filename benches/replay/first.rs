//! How long a client waits for its first message: when it is there, and when the replay is wound.
//!
//! The recording has a message each millisecond, and the original pace is kept, so that the message at a place is
//! due when the place is reached. A wait after winding counts from before the request is written.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use telereel::clock::{Clock, Now};
use telereel::vendors::synthetic;
use tokio_tungstenite::tungstenite::stream::MaybeTlsStream;
use tokio_tungstenite::tungstenite::{Message, WebSocket, connect};

use crate::{POOL, session};

const STEP_NS: u64 = 1_000_000;

/// So often the replay is begun.
const STARTS: usize = 9;

/// To these hundredths of the recording it is wound: the middle from both sides, and far and near places.
const PLACES: [usize; 16] = [50, 5, 50, 95, 50, 49, 51, 50, 0, 75, 25, 50, 10, 90, 33, 50];

/// So many messages are read between two windings.
const BETWEEN: usize = 150;

type Client = WebSocket<MaybeTlsStream<TcpStream>>;

/// Records `count` messages in `archive`, unless they are there, in journal parts of about `part_bytes`.
pub fn record(archive: &Path, count: usize, part_bytes: u64) -> Result<()> {
    if archive.exists() {
        return Ok(());
    }
    let now = Clock::System.now();
    let pool = synthetic::pool(1, POOL);
    let began_us = now.wall_us - (count as u64 * STEP_NS / 1_000) as i64;
    let at = |n: u64| Now {
        wall_us: began_us + (n * STEP_NS / 1_000) as i64,
        steady_ns: now.steady_ns + n * STEP_NS,
    };
    session::record_at(archive, &pool, count, part_bytes, at)?;
    Ok(())
}

pub fn run(archive: &Path, count: usize) -> Result<()> {
    let mut files = 0;
    let mut longest = 0;
    session::each_segment(archive, &mut |bytes| {
        files += 1;
        longest = longest.max(bytes);
    })?;
    println!("{count} messages, one each millisecond; {files} segments of at most {} KiB", longest >> 10);
    let (mut opened, mut first) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let began = Instant::now();
        let mut replay = Replay::start(archive)?;
        opened.push(began.elapsed());
        let mut client = replay.client()?;
        let ready = Instant::now();
        seq(&client.read()?)?;
        first.push(ready.elapsed());
    }
    show("listening after the start", opened);
    show("first message after its client", first);

    let mut replay = Replay::start(archive)?;
    let mut client = replay.client()?;
    let (mut middle, mut elsewhere) = (Vec::new(), Vec::new());
    for hundredth in PLACES {
        for _ in 0..BETWEEN {
            client.read()?;
        }
        let target = count / 100 * hundredth;
        let began = Instant::now();
        let answer = replay.wind_to(target as u64 * STEP_NS)?;
        while seq(&client.read()?)?.checked_sub(target).is_none_or(|behind| behind >= 1_000) {}
        let took = began.elapsed();
        drop(answer);
        if hundredth == 50 { &mut middle } else { &mut elsewhere }.push(took);
    }
    show("first message after winding to the middle", middle);
    show("first message after winding elsewhere", elsewhere);
    Ok(())
}

fn show(what: &str, mut all: Vec<Duration>) {
    all.sort();
    let ms = |took: Option<&Duration>| took.map_or(0.0, |took| took.as_secs_f64() * 1e3);
    println!(
        "{what:<42} p50 {:>7.1} ms, max {:>7.1} ms ({} times)",
        ms(all.get(all.len() / 2)),
        ms(all.last()),
        all.len()
    );
}

/// The number of a message in the recording.
fn seq(message: &Message) -> Result<usize> {
    let text = message.to_text()?;
    let (_, rest) = text.split_once("\"seq\":").context("not an envelope")?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Ok(rest[..end].parse()?)
}

/// A replaying process, killed when dropped.
struct Replay {
    process: Child,
    address: String,
}

impl Replay {
    fn start(archive: &Path) -> Result<Self> {
        let mut process = Command::new(env!("CARGO_BIN_EXE_telereel"))
            .args(["replay", "latest", "--json", "--listen", "http://127.0.0.1:0", "--archive"])
            .arg(archive)
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().context("no standard output")?;
        let mut replay = Self { process, address: String::new() };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let line: serde_json::Value = serde_json::from_str(&line)?;
        let url = line["listen"][0].as_str().context("no URL")?;
        replay.address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        Ok(replay)
    }

    fn client(&mut self) -> Result<Client> {
        Ok(connect(format!("ws://{}/ws?format=envelope", self.address))?.0)
    }

    /// Asks to be wound; the answer is not waited for, and read when the connection is dropped.
    fn wind_to(&self, ns: u64) -> Result<Answer> {
        let mut stream = TcpStream::connect(&self.address)?;
        let body = format!(r#"{{"action":"seek","to":{ns}}}"#);
        write!(
            stream,
            "POST /api/v1/replays/1 HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.address,
            body.len()
        )?;
        Ok(Answer(stream))
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Answer(TcpStream);

impl Drop for Answer {
    fn drop(&mut self) {
        let mut text = String::new();
        let _ = self.0.read_to_string(&mut text);
        if !text.starts_with("HTTP/1.1 200") {
            println!("the replay was not wound: {text}");
        }
    }
}
