//! Two mishaps, one right after the other: what the first has left half done must not pass for durable.
//!
//! A fault at each operation of a seal, which is then done again by the same process, as the sealer does, and a power
//! cut; and a removal that is killed as soon as it can be seen, and a power cut within the recovery from that.

use std::io::ErrorKind;
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::disk::{Broken, ShadowDisk};
use crate::archive::tests::support::{header, message, quick_dir, record};
use crate::archive::{Archive, ScanOptions, VerifyOptions, recover, scan, seal, verify};
use crate::disk::{Disk, Fault, Operation};

#[test]
fn a_seal_that_failed_and_is_done_again_is_durable() {
    let operations =
        [Operation::Create, Operation::Write, Operation::SyncData, Operation::Rename, Operation::SyncDir];
    for operation in operations {
        let mut nth = 1;
        while is_durable_with(operation, nth) {
            nth += 1;
        }
        assert!(nth > 3, "{operation:?}: only {nth} were made to fail");
    }
}

/// Whether there was such an operation.
fn is_durable_with(operation: Operation, nth: u64) -> bool {
    let dir = quick_dir();
    let root = dir.path().join("archive");
    let disk = ShadowDisk::new(&root, None, false);
    let on: Arc<dyn Disk> = Arc::new(disk.clone());
    let archive = Archive::create_or_open_on(Arc::clone(&on), &root, "").unwrap();
    let mut header = header(1);
    archive.begin_session(&mut header).unwrap();
    let messages: Vec<_> = (0..4).map(|n| message(&header, 0, "other", n, format!("{n}"))).collect();
    let parts = record(&on, &archive, &header, &messages, 1 << 20);

    disk.sim().fail(operation, nth, Fault::Error(ErrorKind::Other));
    let failed = seal(&archive, &parts[0]).is_err();
    disk.sim().mend();
    if failed && disk.list(&archive.layout().journal()).unwrap().contains(&parts[0]) {
        seal(&archive, &parts[0]).unwrap();
    }
    for seed in 0..4 {
        disk.crash(&mut StdRng::seed_from_u64(seed));
    }

    recover(&archive).unwrap();
    let rows: Vec<_> = scan(&archive, &ScanOptions::default()).unwrap().map(Result::unwrap).collect();
    let payloads: Vec<_> = rows.iter().map(|row| row.payload.clone()).collect();
    let context = format!("{operation:?} {nth}");
    assert!(payloads.iter().eq(messages.iter().map(|message| &message.payload)), "{context}: {payloads:?}");
    let verified = verify(&archive, VerifyOptions::default()).unwrap();
    assert!(verified.is_content() && verified.leftovers.is_empty(), "{context}: {verified:?}");
    failed
}

#[test]
fn a_removal_that_recovery_finishes_cannot_be_undone() {
    assert!(removals_undone(None).is_empty(), "{:?}", removals_undone(None));
    // The test could fail.
    assert!(!removals_undone(Some(Broken::FoundNamesNotSynced)).is_empty());
}

/// What is wrong after a removal was killed before its commit was durable, and the power went off at each operation
/// of the recovery.
fn removals_undone(broken: Option<Broken>) -> Vec<String> {
    let mut wrong = Vec::new();
    for cut in 1.. {
        let dir = quick_dir();
        let root = dir.path().join("archive");
        let disk = ShadowDisk::new(&root, broken, false);
        let on: Arc<dyn Disk> = Arc::new(disk.clone());
        let archive = Archive::create_or_open_on(Arc::clone(&on), &root, "").unwrap();
        let mut header = header(1);
        archive.begin_session(&mut header).unwrap();
        let messages: Vec<_> = (0..4).map(|n| message(&header, 0, "other", n, format!("{n}"))).collect();
        for part in record(&on, &archive, &header, &messages, 1 << 20) {
            seal(&archive, &part).unwrap();
        }
        archive.end_session(header.session_id, header.started_at_us).unwrap();

        // The first operation is the rename, the second the sync of its folder.
        disk.sim().power_off_at(2);
        assert!(archive.remove_session(header.session_id).is_err());
        assert!(archive.read_sidecar(header.session_id).unwrap().is_none(), "it can be seen");
        disk.sim().mend();

        disk.begin("recovery");
        disk.sim().power_off_at(cut);
        let done = recover(&archive).is_ok();
        disk.crash(&mut StdRng::seed_from_u64(cut));
        recover(&archive).unwrap();
        let verified = verify(&archive, VerifyOptions::default()).unwrap();
        if !verified.is_content() {
            wrong.push(format!("cut at {cut}: {:?}", verified.problems));
        }
        if done {
            break;
        }
    }
    wrong
}
