//! The record path from an accepted message to a durable journal and sealed Parquet, against the least that any
//! recorder must do: append the same bytes, checksum them, fdatasync.
//!
//!     cargo bench --bench pipeline                    3 million messages of about 330 bytes
//!     cargo bench --bench pipeline -- 10000000        as many as you like
//!
//! Input: vehicle positions as Jointech documents them, made from a seed before the clock starts. Journal and
//! archive lie under `target/`, on the disk that the build uses. The rate counts until the last segment is committed;
//! the memory is the peak of the whole process (VmHWM), the prepared messages (about 10 MB) included. The bare loop
//! runs before and after, and the ratio is to their mean, since machines are noisy.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use telereel::archive::{self, Archive};
use telereel::clock::{Clock, Now};
use telereel::decode;
use telereel::journal::{self, JournalOptions, Sync};
use telereel::message::{COMMON_KINDS, KindHeader, Message, SessionHeader, SessionId, SourceHeader};
use telereel::vendors::synthetic::{self, Timed};

/// Different messages, so that neither compression nor caches see one message again and again.
const POOL: usize = 20_000;
/// Messages per write of the bare loop: what a busy journal groups.
const BATCH: usize = 1_000;
/// A sync per so many bytes in the bare loop: what arrives in a sync interval of 50 ms at 200,000 messages/s.
const SYNC_BYTES: usize = 3_300_000;

fn main() -> Result<()> {
    let count = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(3_000_000);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let pool = synthetic::pool(1, POOL);
    let bytes = pool.iter().map(|m| m.payload.len()).sum::<usize>() / POOL;
    println!("{count} messages of {bytes} bytes on average");

    let before = bare(&folder.path().join("before"), &pool, count)?;
    let (journaled, sealed, stored) = pipeline(&folder.path().join("archive"), &pool, count)?;
    let after = bare(&folder.path().join("after"), &pool, count)?;

    let bare = (before + after) / 2;
    let rate = |t: Duration| count as f64 / t.as_secs_f64();
    println!("bare append + checksum + fdatasync  {:>10.0} messages/s", rate(bare));
    println!("durable in the journal              {:>10.0} messages/s", rate(journaled));
    println!("sealed in Parquet                   {:>10.0} messages/s", rate(sealed));
    println!(
        "ratio to the bare loop              {:>10.3} (journal alone {:.3})",
        bare.as_secs_f64() / sealed.as_secs_f64(),
        bare.as_secs_f64() / journaled.as_secs_f64()
    );
    println!("Parquet bytes per payload byte      {:>10.3}", stored as f64 / (bytes * count) as f64);
    println!("peak memory                         {:>10.1} MiB", peak_memory_kib()? as f64 / 1024.0);
    Ok(())
}

/// Appends payloads with a length and a CRC, in batches, and syncs now and then.
fn bare(path: &Path, pool: &[Timed], count: usize) -> Result<Duration> {
    let began = Instant::now();
    let mut file = File::create_new(path)?;
    let (mut buffer, mut unsynced) = (Vec::new(), 0);
    for (n, message) in pool.iter().cycle().take(count).enumerate() {
        buffer.extend_from_slice(&(message.payload.len() as u32).to_le_bytes());
        buffer.extend_from_slice(&crc32fast::hash(&message.payload).to_le_bytes());
        buffer.extend_from_slice(&message.payload);
        if n % BATCH == BATCH - 1 || n == count - 1 {
            file.write_all(&buffer)?;
            unsynced += buffer.len();
            buffer.clear();
            if unsynced >= SYNC_BYTES {
                file.sync_data()?;
                unsynced = 0;
            }
        }
    }
    file.sync_data()?;
    let took = began.elapsed();
    std::fs::remove_file(path)?;
    Ok(took)
}

/// The time until all is durable, the time until all is sealed, and the bytes of Parquet.
fn pipeline(root: &Path, pool: &[Timed], count: usize) -> Result<(Duration, Duration, u64)> {
    let clock = Clock::System;
    let archive = Archive::create_or_open(root, "")?;
    let disk = archive.disk().clone();
    let started = clock.now();
    let mut header = header(started);
    archive.begin_session(&mut header)?;
    let kinds: Vec<u16> = pool
        .iter()
        .map(|m| header.sources[0].kinds.iter().position(|k| k.name == m.kind).map(|k| k as u16))
        .collect::<Option<_>>()
        .context("the pool holds a kind that is not declared")?;
    let options = JournalOptions {
        dir: root.join("journal"),
        sync_interval: Duration::from_millis(50),
        part_max_bytes: 128 << 20,
        part_max_age: Duration::from_secs(3_600),
        queue_max_bytes: 32 << 20,
        min_free_disk: 0,
    };
    let began = Instant::now();
    let (mut journal, handle) = journal::start(disk, clock.clone(), options, header, started.steady_ns)?;
    let parts = journal.closed_parts().context("the journal gives its closed parts once")?;
    let sealer = std::thread::spawn(move || -> Result<u64> {
        let mut stored = 0;
        for part in parts {
            stored += archive::seal(&archive, &part)?.bytes_stored;
        }
        Ok(stored)
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        for (message, kind) in pool.iter().zip(&kinds).cycle().take(count) {
            handle.append(accepted(message, *kind, clock.now()), Sync::Later).await?;
        }
        anyhow::Ok(())
    })?;
    journal.close()?;
    let journaled = began.elapsed();
    let stored = sealer.join().map_err(|_| anyhow::anyhow!("the sealer panicked"))??;
    Ok((journaled, began.elapsed(), stored))
}

/// As a collector hands it over: the payload is shared, not copied.
fn accepted(message: &Timed, kind: u16, at: Now) -> Message {
    Message {
        source: 0,
        kind,
        connection: 0,
        at,
        channel: message.channel.clone(),
        mqtt: Some(telereel::message::Mqtt { qos: 0, retain: false, dup: false }),
        is_binary: false,
        headers: None,
        duplicate_of: None,
        payload: message.payload.clone(),
        clear: None,
    }
}

fn header(now: Now) -> SessionHeader {
    let declared = decode::builtin("jointech").unwrap_or_default().iter();
    let kinds = declared
        .map(|(name, text)| KindHeader { name: (*name).to_owned(), declaration: Some((*text).to_owned()) })
        .chain(COMMON_KINDS.iter().map(|name| KindHeader { name: (*name).to_owned(), declaration: None }))
        .collect();
    SessionHeader {
        session_id: SessionId::new(now.wall_us, [7; 10]),
        name: "bench".to_owned(),
        site: String::new(),
        started_at_us: now.wall_us,
        sources: vec![SourceHeader {
            name: "fleet".to_owned(),
            vendor: "jointech".to_owned(),
            kinds,
            settings: serde_json::json!({}),
        }],
    }
}

fn peak_memory_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
