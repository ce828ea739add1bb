//! A long session replayed as fast as a client takes it: the memory of the replaying process, and its rate.
//!
//!     cargo bench --bench replay                    10 million messages of about 350 bytes
//!     cargo bench --bench replay -- 1000000
//!     cargo bench --bench replay -- first           how long the first message takes, of 10 million
//!     cargo bench --bench replay -- first whole     the same in one part, and so in as large a segment as can be
//!     cargo bench --bench replay -- first 1000000 /tmp/kept    the archive is made there, or used, and kept
//!
//! The session is recorded first, in this process; `telereel replay --pace max` serves it to one WebSocket client
//! here, and its peak memory (VmHWM) is read when the last message has come. The bare loop is a thread that sends the
//! same frames through the same library to the same client, from memory, in the same run: it calls `send` for each,
//! which writes and flushes. The ratio is to that. Beside it stands what the library reaches where nothing is
//! flushed but a full buffer (128 KiB): the most that batching could come to, with neither archive nor clock.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "replay/first.rs"]
mod first;
mod session;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use telereel::vendors::synthetic::{self, Timed};
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, connect};

/// As fast as the client takes it, a message is due when it leaves; the pool bounds this process, not the other.
const POOL: usize = 20_000;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let count = arguments.iter().find_map(|a| a.parse().ok()).unwrap_or(10_000_000);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let kept = arguments.iter().find(|a| a.contains('/')).map(PathBuf::from);
    let archive = kept.unwrap_or_else(|| folder.path().join("archive"));
    if arguments.iter().any(|a| a == "first") {
        let is_whole = arguments.iter().any(|a| a == "whole");
        first::record(&archive, count, if is_whole { u64::MAX } else { session::PART_BYTES })?;
        return first::run(&archive, count);
    }
    let pool = synthetic::pool(1, POOL);
    let (_, _, stored) = session::record(&archive, &pool, count)?;
    println!("{count} messages, {:.1} MiB of Parquet", stored as f64 / 1_048_576.0);

    let before = bare(&pool, count, WebSocket::send)?;
    let mut server = Command::new(env!("CARGO_BIN_EXE_telereel"))
        .args(["replay", "latest", "--pace", "max", "--json", "--listen", "http://127.0.0.1:0", "--archive"])
        .arg(&archive)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(server.stdout.take().context("no standard output")?).lines();
    let line: serde_json::Value = serde_json::from_str(&lines.next().context("no ready line")??)?;
    let url = line["listen"][0].as_str().context("no URL")?.replacen("http", "ws", 1);
    let (mut client, _) = connect(format!("{}/ws", url.trim_end_matches('/')))?;
    let mut peak = 0;
    let ready = Instant::now();
    let (received, began, took) = receive(&mut client, count, || {
        peak = session::peak_memory_kib(server.id())?;
        Ok(())
    })?;
    drop(client);
    ensure!(server.wait()?.success(), "the replay failed");
    ensure!(received == count, "{received} of {count} messages came");
    let after = bare(&pool, count, WebSocket::send)?;
    let unflushed = bare(&pool, count, WebSocket::write)?;
    let rate = |took: Duration| count as f64 / took.as_secs_f64();
    println!(
        "bare loop                           {:>10.0} messages/s, then {:.0}",
        rate(before),
        rate(after)
    );
    println!("bare loop, without flushing         {:>10.0} messages/s", rate(unflushed));
    println!("replayed                            {:>10.0} messages/s", rate(took));
    println!("ratio to the bare loop              {:>10.3}", rate(took) / rate((before + after) / 2));
    println!("first message after its client      {:>10} ms", (began - ready).as_millis());
    println!("peak memory of the replay           {:>10.1} MiB", peak as f64 / 1024.0);
    Ok(())
}

/// Reads until the server closes; how many messages came, when the first, and the time from there to the last.
fn receive<S: Read + Write>(
    client: &mut WebSocket<S>,
    count: usize,
    mut now_and_then: impl FnMut() -> Result<()>,
) -> Result<(usize, Instant, Duration)> {
    let (mut received, mut began, mut ended) = (0, Instant::now(), Instant::now());
    loop {
        match client.read()? {
            Message::Text(_) | Message::Binary(_) => {
                received += 1;
                if received == 1 {
                    began = Instant::now();
                }
                if received == count {
                    ended = Instant::now();
                }
            }
            Message::Close(_) => break,
            _ => {}
        }
        if received % 100_000 == 0 || received == count {
            now_and_then()?;
        }
    }
    // The answer to the server's close frame: without it the server waits for a while.
    let _ = client.flush();
    Ok((received, began, ended - began))
}

type Put = fn(&mut WebSocket<TcpStream>, Message) -> Result<(), Error>;

/// The same frames from memory, over the same kind of socket, each by `put`.
fn bare(pool: &[Timed], count: usize, put: Put) -> Result<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let frames = pool.iter().map(|m| Ok(Message::Text(m.payload.clone().try_into()?)));
    let frames: Vec<Message> = frames.collect::<Result<_>>()?;
    let server = std::thread::spawn(move || -> Result<()> {
        let stream = listener.accept()?.0;
        stream.set_nodelay(true)?;
        let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
        for frame in frames.iter().cycle().take(count) {
            put(&mut socket, frame.clone())?;
        }
        socket.close(None)?;
        while !matches!(socket.read(), Err(Error::ConnectionClosed | Error::AlreadyClosed)) {}
        Ok(())
    });
    let mut client = WebSocket::from_raw_socket(TcpStream::connect(address)?, Role::Client, None);
    let (received, _, took) = receive(&mut client, count, || Ok(()))?;
    drop(client);
    ensure!(received == count, "{received} of {count} messages came");
    server.join().map_err(|_| anyhow::anyhow!("the bare loop panicked"))??;
    Ok(took)
}
