//! Recovering takes no more memory for a longer journal.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation fails the test")]

#[path = "../benches/session/mod.rs"]
mod session;
mod support;

use std::process::{Command, Stdio};

use support::telereel;
use telereel::vendors::synthetic;

/// Much less than what it takes with one part, and the journal beside. `benches/recover.rs` measures one of 1 GiB.
const PEAK_KIB_MAX: u64 = 128 << 10;

#[test]
fn a_journal_of_64_mib_is_recovered_in_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("archive");
    let count = session::unsealed(&root, &synthetic::pool(1, 5_000), 64 << 20, 16 << 20).unwrap();
    let mut recover = Command::new(env!("CARGO_BIN_EXE_telereel"));
    recover.current_dir(folder.path()).arg("recover").stdout(Stdio::null());
    let (_, peak_kib) = session::run_to_end(&mut recover).unwrap();
    println!("{count} messages, peak memory {:.1} MiB", peak_kib as f64 / 1024.0);
    assert!(peak_kib > 0 && peak_kib < PEAK_KIB_MAX, "{peak_kib} KiB");
    let list: serde_json::Value =
        serde_json::from_str(&telereel(folder.path(), &["list", "--json"], 0)).unwrap();
    assert_eq!(list[0]["messages"], count);
}
