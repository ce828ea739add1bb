//! How often manifests are read: a session that never rolls has thousands.

use std::sync::Arc;

use super::support::*;
use crate::archive::*;
use crate::disk::{Disk, SimDisk};

#[test]
fn a_seal_reads_as_many_manifests_late_in_a_session_as_early_and_a_start_each_once() {
    let (dir, sim) = (quick_dir(), SimDisk::new());
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    let archive = Archive::create_or_open_on(Arc::clone(&disk), dir.path(), "").unwrap();
    let mut header = header(1);
    archive.begin_session(&mut header).unwrap();
    let parts = record(&disk, &archive, &header, &messages(&header, 120), 2_000);
    let reads = || sim.reads_in(&archive.layout().manifests());
    let (mut before, mut per_seal) = (0, Vec::new());
    for part in &parts {
        seal(&archive, part).unwrap();
        per_seal.push(reads() - before);
        before = reads();
    }
    assert!(parts.len() > 10 && per_seal[1..].iter().all(|reads| *reads == per_seal[1]), "{per_seal:?}");
    assert!(per_seal[1] <= 2, "{per_seal:?}");

    archive.end_session(header.session_id, START_US + 60_000_000).unwrap();
    let before = reads();
    recover(&archive).unwrap();
    assert_eq!(reads() - before, parts.len() as u64);
}
