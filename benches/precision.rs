//! How faithful a replay at the original pace is, as its subscriber sees it.
//!
//!     cargo bench --bench precision                   20 s: devices at 10 Hz, bursts of 200 messages 50 us apart,
//!     cargo bench --bench precision -- 60             messages at the same moment, a silence; or as long as you say
//!
//! A subscriber in this process, of the WebSocket first and then of MQTT at QoS 0, takes the time of each message as its
//! read returns; the replaying process says in its trace when each was due and when it was flushed. Both clocks are
//! CLOCK_BOOTTIME of the same machine. The floor is
//! what the machine itself takes for a hand-over: a thread that sleeps to each due time and writes the same frame to
//! a socket of the same kind, read by the same subscriber, in the same run. The times of each message are left in
//! `target/tmp/precision-*.csv`.
//!
//! NATS JetStream `original` and mqtt-recorder then replay the same stream, where `PEERS_PYTHON` (`python3`) has
//! them; where not, it says so (benches/precision/peers.py).
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "precision/figures.rs"]
mod figures;
#[path = "precision/floor.rs"]
mod floor;
mod session;
#[path = "precision/stream.rs"]
mod stream;
#[path = "precision/subscriber.rs"]
mod subscriber;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use figures::Seen;
use serde_json::json;
use telereel::clock::{Clock, Now};

fn main() -> Result<()> {
    let seconds = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(20);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let plan = stream::plan(seconds);
    println!("{} messages of 350 bytes in {seconds} s", plan.len());

    let clock = Clock::System;
    let started = clock.now();
    let archive = folder.path().join("archive");
    session::store(&archive, stream::header(started), started, stream::messages(&plan, started))?;

    let show = |name: &str, seen: Vec<Seen>| {
        figures::save(
            &Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("precision-{name}.csv")),
            &plan,
            &seen,
        )?;
        figures::print(name, &plan, &seen)
    };
    show("bare-loop", floor::run(&plan)?)?;
    show("websocket", replay(folder.path(), &plan, "http", subscriber::websocket)?)?;
    show("mqtt", replay(folder.path(), &plan, "mqtt", subscriber::mqtt)?)?;
    peers(folder.path(), &plan)
}

/// Others, with the Python of the tests' environment, or the one that is named.
fn peers(folder: &Path, plan: &[(u64, stream::Part)]) -> Result<()> {
    let lines: Vec<String> = stream::messages(plan, Now::default())
        .map(|message| {
            let payload = String::from_utf8_lossy(&message.payload).into_owned();
            json!({"at_ns": message.at.steady_ns, "payload": payload}).to_string()
        })
        .collect();
    let path = folder.join("plan.jsonl");
    std::fs::write(&path, lines.join("\n"))?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = std::env::var_os("PEERS_PYTHON").map_or_else(|| "python3".into(), std::path::PathBuf::from);
    match Command::new(&python).arg(root.join("benches/precision/peers.py")).arg(&path).status() {
        Ok(status) => ensure!(status.success(), "the comparison with others failed"),
        Err(error) => println!("others are left out: {}: {error}", python.display()),
    }
    Ok(())
}

/// Replays the stream, and takes the times of what comes to a subscriber at a listener of this scheme.
fn replay(
    folder: &Path,
    plan: &[(u64, stream::Part)],
    scheme: &str,
    subscriber: fn(&str, usize) -> Result<subscriber::Received>,
) -> Result<Vec<Seen>> {
    let trace = folder.join("trace.jsonl");
    let mut server = Command::new(env!("CARGO_BIN_EXE_telereel"))
        .args(["replay", "latest", "--json", "--listen", &format!("{scheme}://127.0.0.1:0"), "--archive"])
        .arg(folder.join("archive"))
        .arg("--trace")
        .arg(&trace)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(server.stdout.take().context("no standard output")?).lines();
    let ready: serde_json::Value = serde_json::from_str(&lines.next().context("no ready line")??)?;
    let url = ready["listen"][0].as_str().context("no URL")?;
    let address = url.rsplit("//").next().context("no address")?.trim_end_matches('/');
    let received = subscriber(address, plan.len())?;
    let report: serde_json::Value = serde_json::from_str(&lines.next().context("no report")??)?;
    ensure!(server.wait()?.success(), "the replay failed");
    println!("the report says: lateness {}, drift {} us", report["lateness_us"], report["drift_us"]);
    figures::join(&received, &std::fs::read_to_string(&trace)?)
}
