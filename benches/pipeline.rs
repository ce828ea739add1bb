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

mod session;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
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
    let (journaled, sealed, stored) = session::record(&folder.path().join("archive"), &pool, count)?;
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
    println!(
        "peak memory                         {:>10.1} MiB",
        session::peak_memory_kib(std::process::id())? as f64 / 1024.0
    );
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
