//! What a start after a crash costs: `telereel recover` on a journal that nobody has sealed, in a process of its own.
//!
//!     cargo bench --bench recover                     a journal of 1 GiB, about 2.7 million messages
//!     cargo bench --bench recover -- 4096             as many MiB as you like
//!
//! Input: vehicle positions as Jointech documents them, made from a seed before the clock starts, in parts of 128 MiB as
//! they are by default. The archive lies under `target/`, on the disk that the build uses, and the journal has just been
//! written, so that most of it is still in the system's memory. The time is that of the whole process, the memory its
//! peak (VmHWM), looked at each millisecond. The bare loop reads the same journal, checksums it and nothing else.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod session;

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Result;
use telereel::vendors::synthetic;

/// Different messages, so that neither compression nor caches see one message again and again.
const POOL: usize = 20_000;

fn main() -> Result<()> {
    let mib: u64 = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(1 << 10);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let root = folder.path().join("archive");
    let count = session::unsealed(&root, &synthetic::pool(1, POOL), mib << 20, session::PART_BYTES)?;
    println!("a journal of {mib} MiB, {count} messages");

    let (bare, bytes) = bare(&root.join("journal"))?;
    let mut recover = Command::new(env!("CARGO_BIN_EXE_telereel"));
    recover.arg("--archive").arg(&root).args(["recover", "--json"]).stdout(Stdio::null());
    let (took, peak_kib) = session::run_to_end(&mut recover)?;
    let mut stored = 0;
    session::each_segment(&root.join("data"), &mut |bytes| stored += bytes)?;

    println!("read and checksummed only           {:>10.2} s", bare.as_secs_f64());
    println!("recovered                           {:>10.2} s", took.as_secs_f64());
    println!("messages a second                   {:>10.0}", count as f64 / took.as_secs_f64());
    println!("Parquet bytes per journal byte      {:>10.3}", stored as f64 / bytes as f64);
    println!("peak memory                         {:>10.1} MiB", peak_kib as f64 / 1024.0);
    Ok(())
}

/// Reads and checksums all files of a folder.
fn bare(journal: &Path) -> Result<(Duration, u64)> {
    let began = Instant::now();
    let (mut buffer, mut total) = (vec![0; 1 << 20], 0);
    for part in std::fs::read_dir(journal)? {
        let (mut file, mut sum) = (File::open(part?.path())?, crc32fast::Hasher::new());
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            sum.update(&buffer[..read]);
            total += read as u64;
        }
        std::hint::black_box(sum.finalize());
    }
    Ok((began.elapsed(), total))
}
