//! Many subscribers at the original pace: whether all of them get all of it, in order, and how late.
//!
//!     cargo bench --bench crowd                       1,000 subscribers of 10 messages/s, 100 of 1,000 messages/s
//!     cargo bench --bench crowd -- 30                 for 30 s each instead of 10
//!
//! Each subscriber is a WebSocket of its own in this process, on one thread; messages are of 350 bytes. The lateness
//! is the replay's own, taken at the flush to each socket.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod session;
#[allow(dead_code, reason = "the plan is another benchmark's")]
#[path = "precision/stream.rs"]
mod stream;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use rustix::process::{Resource, getrlimit, setrlimit};
use stream::Part;
use telereel::clock::Clock;
use tokio::task::JoinSet;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

fn main() -> Result<()> {
    let seconds = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(10);
    // A shell gives 1,024.
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    for (subscribers, rate) in [(1_000, 10), (100, 1_000)] {
        run(subscribers, rate, seconds)?;
    }
    Ok(())
}

fn run(subscribers: usize, rate: u64, seconds: u64) -> Result<()> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let archive = folder.path().join("archive");
    let plan: Vec<(u64, Part)> =
        (0..seconds * rate).map(|n| (n * 1_000_000_000 / rate, Part::Device)).collect();
    let started = Clock::System.now();
    session::store(&archive, stream::header(started), started, stream::messages(&plan, started))?;
    // As few descriptors as a shell gives: the replay is to ask for more itself.
    let mut server = Command::new("sh")
        .args(["-c", "ulimit -S -n 1024; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_telereel")])
        .args(["replay", "latest", "--json", "--listen", "http://127.0.0.1:0", "--wait-for-clients"])
        .arg(subscribers.to_string())
        .arg("--archive")
        .arg(&archive)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(server.stdout.take().context("no standard output")?).lines();
    let ready: serde_json::Value = serde_json::from_str(&lines.next().context("no ready line")??)?;
    let url = ready["listen"][0].as_str().context("no URL")?.replacen("http", "ws", 1);
    let url = format!("{}/ws", url.trim_end_matches('/'));
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut listening = JoinSet::new();
        for _ in 0..subscribers {
            let (client, _) = connect_async(&url).await?;
            listening.spawn(subscribe(client));
        }
        while let Some(received) = listening.join_next().await {
            let received = received??;
            ensure!(received == plan.len(), "{received} of {} messages came", plan.len());
        }
        anyhow::Ok(())
    })?;
    let report: serde_json::Value = serde_json::from_str(&lines.next().context("no report")??)?;
    ensure!(server.wait()?.success(), "the replay failed");
    println!("{subscribers} subscribers of {rate} messages/s for {seconds} s: all got all, in order");
    println!("  lateness in us: {}, drift {} us", report["lateness_us"], report["drift_us"]);
    Ok(())
}

/// How many messages came, each in its place.
async fn subscribe<S>(mut client: S) -> Result<usize>
where
    S: StreamExt<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin,
{
    let mut received = 0;
    while let Some(message) = client.next().await {
        if let Message::Text(text) = message? {
            let n = stream::number(text.as_bytes()).context("not ours")?;
            ensure!(n == received, "{n} came where {received} was next");
            received += 1;
        }
    }
    Ok(received)
}
