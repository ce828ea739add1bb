//! What typed columns are for: three of them, of one device and one day, asked of a month by DuckDB, and the same
//! asked of the same messages as JSON lines.
//!
//!     cargo bench --bench month                       50 million messages
//!     cargo bench --bench month -- 2000000            as many as you like, about
//!
//! Input: locks and vehicles as Jointech documents them, from a seed, through journal and sealing, a session a day. The
//! JSON lines are what `telereel cat` would print, a file a day, compressed by zstd -3: plain they would be 45 GB.
//! DuckDB is told their columns, so that it has nothing to guess, and takes the three values out of the payload. Both
//! give the same rows, or it fails. JSON lines are also asked where only the day's file is read, compressed and plain:
//! that is what somebody can reach who keeps files by days. Needs about 8 GB under `target/`, removed at the end,
//! and `PEERS_PYTHON` (`python3`) with duckdb.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod session;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use telereel::vendors::synthetic::Route;
use telereel::vendors::synthetic::load::{ACCESS_KEY, Part};

/// So many that each speaks every half a minute at 50 million a month.
const DEVICES: usize = 600;
const MONTH_S: u64 = session::month::DAYS * 86_400;

fn main() -> Result<()> {
    let count: u64 = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(50_000_000);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let rate = format!("{}.{:03}", count / MONTH_S, count % MONTH_S * 1_000 / MONTH_S);
    let fleet = Part::fleet("fleet", Route::Mqtt { access_key: ACCESS_KEY.to_owned() });
    let fleet = fleet.with_devices(DEVICES).with_rate(rate.parse().context("a rate")?);
    let began = Instant::now();
    let messages = session::month::make(folder.path(), &fleet, session::month::DAYS)?;
    println!("{messages} messages made, recorded and written in {:.0} s", began.elapsed().as_secs_f64());
    let python = std::env::var_os("PEERS_PYTHON").map_or_else(|| "python3".into(), PathBuf::from);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/month.py");
    let status =
        Command::new(python).arg(script).arg(folder.path()).args(["jointech", "location"]).status()?;
    ensure!(status.success(), "the comparison failed");
    Ok(())
}
