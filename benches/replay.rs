//! A long session replayed as fast as a client takes it: the memory of the replaying process, and its rate.
//!
//!     cargo bench --bench replay                    10 million messages of about 350 bytes
//!     cargo bench --bench replay -- 1000000
//!
//! The session is recorded first, in this process; `telereel replay --pace max` serves it to one WebSocket client
//! here, and its peak memory (VmHWM) is read when the last message has come. The bare figure is a read of all of
//! the archive's files in the same run.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod session;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use telereel::vendors::synthetic;
use tokio_tungstenite::tungstenite::{Message, connect};

/// As fast as the client takes it, a message is due when it leaves; the pool bounds this process, not the other.
const POOL: usize = 20_000;

fn main() -> Result<()> {
    let count = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(10_000_000);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let archive = folder.path().join("archive");
    let (_, _, stored) = session::record(&archive, &synthetic::pool(1, POOL), count)?;
    println!("{count} messages, {:.1} MiB of Parquet", stored as f64 / 1_048_576.0);

    let bare = read_all(&archive.join("data"))?;
    let mut server = Command::new(env!("CARGO_BIN_EXE_telereel"))
        .args(["replay", "latest", "--pace", "max", "--json", "--listen", "http://127.0.0.1:0", "--archive"])
        .arg(&archive)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(server.stdout.take().context("no standard output")?).lines();
    let ready: serde_json::Value = serde_json::from_str(&lines.next().context("no ready line")??)?;
    let url = ready["listen"][0].as_str().context("no URL")?.replacen("http", "ws", 1);
    let (mut client, _) = connect(format!("{}/ws", url.trim_end_matches('/')))?;
    let (began, mut received, mut peak) = (Instant::now(), 0, 0);
    loop {
        match client.read()? {
            Message::Text(_) | Message::Binary(_) => received += 1,
            Message::Close(_) => break,
            _ => {}
        }
        if received % 100_000 == 0 || received == count {
            peak = session::peak_memory_kib(server.id())?;
        }
    }
    let took = began.elapsed();
    // The answer to the server's close frame: without it the server waits for a while.
    let _ = client.flush();
    drop(client);
    ensure!(server.wait()?.success(), "the replay failed");
    ensure!(received == count, "{received} of {count} messages came");
    println!("replayed                            {:>10.0} messages/s", count as f64 / took.as_secs_f64());
    println!("ratio to reading the bare files     {:>10.4}", bare.as_secs_f64() / took.as_secs_f64());
    println!("peak memory of the replay           {:>10.1} MiB", peak as f64 / 1024.0);
    Ok(())
}

/// Reads every file below `folder` once.
fn read_all(folder: &Path) -> Result<Duration> {
    let began = Instant::now();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                std::hint::black_box(std::fs::read(path)?);
            }
        }
    }
    Ok(began.elapsed())
}
