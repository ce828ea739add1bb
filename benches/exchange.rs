//! A recording out to each kind of file and JSON lines in again, against the least that taking JSON lines in can cost:
//! reading every line as JSON once.
//!
//!     cargo bench --bench exchange                    1 GiB of JSON lines, about 2 million messages
//!     cargo bench --bench exchange -- 256             as many MiB as you like
//!
//! Input: vehicle positions as Jointech documents them, made from a seed before the clock starts, 100 a second. Files
//! and archives lie under `target/`. Import counts until the session is committed, both passes included; the memory is
//! the peak of the whole process (VmHWM) after it, before anything is exported.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod session;

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::de::IgnoredAny;
use telereel::archive::{Archive, ScanOptions};
use telereel::envelope;
use telereel::exchange::Format;
use telereel::exchange::export::{Unchanged, export};
use telereel::exchange::import::{ImportOptions, plan};
use telereel::message::{Mqtt, Row, SessionId};
use telereel::vendors::synthetic;

/// Different messages, so that neither compression nor caches see one message again and again.
const POOL: usize = 20_000;

/// 2026-03-01T00:00:00Z.
const START_US: i64 = 1_772_323_200_000_000;

fn main() -> Result<()> {
    let mib: u64 = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(1_024);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let file = folder.path().join("rows.jsonl");
    let count = write_lines(&file, mib << 20)?;
    let bytes = file.metadata()?.len();
    println!("{count} messages, {:.0} MiB of JSON lines", bytes as f64 / f64::from(1 << 20));

    let rate = |t: Duration| count as f64 / t.as_secs_f64();
    let before = read_lines(&file)?;
    let began = Instant::now();
    let archive = Archive::create_or_open(folder.path().join("archive"), "")?;
    let lock = archive.lock()?;
    plan(&file, ImportOptions::default(), &|_, _| ())?.take(&archive, &|_, _| ())?;
    let imported = began.elapsed();
    let peak = session::peak_memory_kib(std::process::id())? as f64 / 1024.0;
    let least = (before + read_lines(&file)?) / 2;
    println!("every line read as JSON once        {:>10.0} messages/s", rate(least));
    println!("imported                            {:>10.0} messages/s", rate(imported));
    println!("ratio to reading                    {:>10.3}", least.as_secs_f64() / imported.as_secs_f64());
    println!("peak memory                         {peak:>10.1} MiB");
    drop(lock);

    for (name, format) in Format::ALL {
        let to = folder.path().join(format!("out.{name}"));
        let began = Instant::now();
        let told = export(&archive, &ScanOptions::default(), format, &to, &mut Unchanged, &|_, _| ())?;
        let took = began.elapsed();
        let size = told.file_bytes.unwrap_or(0) as f64 / f64::from(1 << 20);
        println!("exported as {name:<23} {:>10.0} messages/s {size:>8.0} MiB", rate(took));
        std::fs::remove_file(to)?;
    }
    Ok(())
}

/// JSON lines of about this many bytes; how many.
fn write_lines(path: &Path, bytes: u64) -> Result<u64> {
    let pool = synthetic::pool(1, POOL);
    let mut out = BufWriter::with_capacity(1 << 20, File::create_new(path)?);
    let (mut written, mut count) = (0, 0);
    let session_id = SessionId::new(START_US, [7; 10]);
    for message in pool.iter().cycle() {
        let elapsed_us = count * 10_000;
        let row = Row {
            vendor: "jointech".into(),
            kind: message.kind.into(),
            site: "".into(),
            session_id,
            source: "fleet".into(),
            connection: 0,
            seq: count as u64,
            received_at_us: START_US + elapsed_us,
            elapsed_ns: elapsed_us as u64 * 1_000,
            channel: message.channel.clone(),
            device_id: None,
            event_at_us: None,
            mqtt: Some(Mqtt { qos: 0, retain: false, dup: false }),
            is_binary: false,
            headers: None,
            duplicate_of: None,
            payload: message.payload.clone(),
            clear: None,
            decode_error: None,
        };
        let line = envelope::to_json(&row)?;
        out.write_all(line.as_bytes())?;
        out.write_all(b"\n")?;
        written += line.len() as u64 + 1;
        count += 1;
        if written >= bytes {
            break;
        }
    }
    out.flush()?;
    Ok(count as u64)
}

fn read_lines(path: &Path) -> Result<Duration> {
    let began = Instant::now();
    let mut file = BufReader::with_capacity(256 << 10, File::open(path)?);
    let mut line = Vec::new();
    while file.read_until(b'\n', &mut line)? > 0 {
        serde_json::from_slice::<IgnoredAny>(&line)?;
        line.clear();
    }
    Ok(began.elapsed())
}
