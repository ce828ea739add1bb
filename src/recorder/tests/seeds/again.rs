//! Two mishaps, one right after the other: what the first has left half done must not pass for durable.
//!
//! A fault at each operation of a seal, which is then done again by the same process, as the sealer does, and a power
//! cut; and a removal that is killed, and a power cut within the recovery from that, or after it.

use std::fs::File;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::disk::{Broken, ShadowDisk};
use crate::archive::tests::support::{at, header, message, quick_dir, record};
use crate::archive::{
    Archive, ArchiveError, Clip, CompactOptions, PruneOptions, ScanOptions, VerifyOptions, Watch, recover,
    scan, seal, verify,
};
use crate::disk::{Disk, Fault, Operation};
use crate::message::{SessionHeader, SessionId};

/// An archive on such a disk, and a session that has begun in it.
fn begun(broken: Option<Broken>) -> (tempfile::TempDir, ShadowDisk, Archive, SessionHeader) {
    let dir = quick_dir();
    let root = dir.path().join("archive");
    let disk = ShadowDisk::new(&root, broken, false);
    let archive = Archive::create_or_open_on(Arc::new(disk.clone()), &root, "").unwrap();
    let mut header = header(1);
    archive.begin_session(&mut header).unwrap();
    (dir, disk, archive, header)
}

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
    let (_dir, disk, archive, header) = begun(None);
    let messages: Vec<_> = (0..4).map(|n| message(&header, 0, "other", n, format!("{n}"))).collect();
    let parts = record(archive.disk(), &archive, &header, &messages, 1 << 20);

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
fn a_part_that_its_writer_never_synced_is_sealed_whole_or_not_at_all() {
    let mut cut = 1;
    while !is_whole_after(cut) {
        cut += 1;
    }
    assert!(cut > 10, "the power went off at {cut} operations only");
}

/// Checks what is left where a process was killed before it synced its part, and the power went off at the operation
/// `cut` of the recovery from that; whether there are fewer operations.
fn is_whole_after(cut: u64) -> bool {
    let mut is_recovered = false;
    for seed in 0..4 {
        let (_dir, disk, archive, header) = begun(Some(Broken::JournalNotSynced));
        let of = |(n, kind): (u64, &str)| message(&header, 0, kind, n, format!("{n}"));
        let messages: Vec<_> = (0..).zip(["other", "link", "other", "link"]).map(of).collect();
        assert_eq!(record(archive.disk(), &archive, &header, &messages, 1 << 20).len(), 1);

        disk.begin("recovery");
        disk.sim().power_off_at(cut);
        is_recovered = recover(&archive).is_ok();
        disk.crash(&mut StdRng::seed_from_u64(seed));
        recover(&archive).unwrap();
        let verified = verify(&archive, VerifyOptions::default()).unwrap();
        assert!(verified.is_content(), "cut at {cut}, seed {seed}: {:?}", verified.problems);
        assert!(!is_recovered || verified.messages == 4, "cut at {cut}, seed {seed}: {verified:?}");
    }
    is_recovered
}

type Verb = fn(&Archive, SessionId) -> Result<(), ArchiveError>;

/// Nothing is damaged by a kill, and `verify` need not wait for recovery to know it: index and list may be behind.
#[test]
fn verify_tells_of_no_damage_after_a_kill_at_any_operation() {
    let seal_next: Verb = |archive, _| {
        let parts = archive.disk().list(&archive.layout().journal()).unwrap();
        seal(archive, &parts[0]).map(drop)
    };
    let everything = PruneOptions { before_us: Some(at(2).wall_us), ..PruneOptions::default() };
    let verbs: [(&str, Verb); 7] = [
        ("seal", seal_next),
        ("compact", |archive, id| archive.compact(id, CompactOptions::default(), &Watch::NONE).map(drop)),
        ("rename", |archive, id| archive.rename_session(id, "other").map(drop)),
        ("clip", |archive, id| {
            archive.add_clip(id, Clip { name: "c".into(), seq_from: 0, seq_to: 1, note: None })
        }),
        ("remove", |archive, id| archive.remove_session(id)),
        ("end", |archive, id| archive.end_session(id, at(9).wall_us)),
        ("begin", |archive, _| archive.begin_session(&mut header(2))),
    ];
    for (name, verb) in verbs {
        let killed = (1..).take_while(|&nth| is_killed_without_damage(name, nth, verb)).count();
        assert!(killed >= 2, "{name} was killed {killed} times");
    }
    let prune = |archive: &Archive, _| archive.prune(&everything, &Watch::NONE, &mut |_| ()).map(drop);
    assert!((1..).take_while(|&nth| is_killed_without_damage("prune", nth, prune)).count() > 5);
}

/// Whether a verb has that many operations.
fn is_killed_without_damage(
    name: &str,
    nth: u64,
    verb: impl Fn(&Archive, SessionId) -> Result<(), ArchiveError>,
) -> bool {
    let (_dir, disk, archive, header) = begun(None);
    let messages: Vec<_> = (0..4).map(|n| message(&header, 0, "other", n, format!("{n}"))).collect();
    let parts = record(archive.disk(), &archive, &header, &messages, 1);
    seal(&archive, &parts[0]).unwrap();
    seal(&archive, &parts[1]).unwrap();
    if name != "seal" {
        parts[2..].iter().for_each(|part| drop(seal(&archive, part).unwrap()));
    }
    if !["seal", "end"].contains(&name) {
        archive.end_session(header.session_id, at(4).wall_us).unwrap();
    }
    // Some time before.
    for derived in [archive.layout().index(), archive.layout().segments()] {
        let file = File::options().append(true).open(&derived).unwrap();
        file.set_modified(file.metadata().unwrap().modified().unwrap() - Duration::from_secs(1)).unwrap();
    }

    disk.sim().power_off_at(nth);
    let is_killed = verb(&archive, header.session_id).is_err();
    disk.sim().mend();
    let verified = verify(&archive, VerifyOptions::default()).unwrap();
    assert!(verified.is_content(), "{name} killed at {nth}: {:?}", verified.problems);
    recover(&archive).unwrap();
    let verified = verify(&archive, VerifyOptions::default()).unwrap();
    assert!(verified.is_content() && verified.leftovers.is_empty(), "{name} killed at {nth}: {verified:?}");
    is_killed
}

#[test]
fn a_removal_that_recovery_finishes_cannot_be_undone() {
    assert_eq!(removals_undone(None).collect::<Vec<_>>(), Vec::<String>::new());
    // The test could fail.
    assert!(removals_undone(Some(Broken::FoundNamesNotSynced)).next().is_some());
}

/// The simulated disk's folders are there for good as soon as they are made: on a real one a kill may come before
/// the sync of the folder around.
#[test]
fn folders_that_recovery_finds_have_durable_names() {
    let dir = quick_dir();
    let root = dir.path().join("archive");
    let disk = ShadowDisk::new(&root, None, true);
    let archive = Archive::create_or_open_on(Arc::new(disk.clone()), &root, "").unwrap();
    archive.begin_session(&mut header(1)).unwrap();
    disk.begin("recovery");
    recover(&archive).unwrap();
    let log = disk.log();
    let recovery = log.iter().skip_while(|line| !line.starts_with("===")).collect::<Vec<_>>();
    for folder in ["data", "data/vendor=delicode", "data/vendor=delicode/kind=other"] {
        let synced = format!("sync the folder {folder}");
        assert!(recovery.iter().any(|line| line.ends_with(&synced)), "{folder}: {recovery:?}");
    }
}

/// What is wrong after a removal was killed as soon as it could be seen, and the power went off at each operation of
/// the recovery, or it was killed at any operation, and the power went off behind the recovery.
fn removals_undone(broken: Option<Broken>) -> impl Iterator<Item = String> {
    // The first operation is the rename, the second the sync of its folder.
    let at_each = (1..).map_while(move |cut| removal_undone(broken, 2, cut));
    let behind = (2..).map_while(move |killed| removal_undone(broken, killed, u64::MAX));
    at_each.chain(behind).flatten()
}

/// What is wrong when a removal is killed at its operation `killed` and the power goes off at the operation `cut` of the
/// recovery from it, or behind its last; none if there are no such operations.
fn removal_undone(broken: Option<Broken>, killed: u64, cut: u64) -> Option<Option<String>> {
    let (_dir, disk, archive, header) = begun(broken);
    let of = |(n, kind): (u64, &str)| message(&header, 0, kind, n, format!("{n}"));
    let messages: Vec<_> = (0..).zip(["other", "link", "other", "link"]).map(of).collect();
    for part in record(archive.disk(), &archive, &header, &messages, 1 << 20) {
        seal(&archive, &part).unwrap();
    }
    archive.end_session(header.session_id, header.started_at_us).unwrap();

    disk.sim().power_off_at(killed);
    let is_removed = archive.remove_session(header.session_id).is_ok();
    assert!(is_removed || archive.read_sidecar(header.session_id).unwrap().is_none(), "it can be seen");
    disk.sim().mend();

    disk.begin("recovery");
    disk.sim().power_off_at(cut);
    let is_recovered = recover(&archive).is_ok();
    disk.crash(&mut StdRng::seed_from_u64(killed ^ cut));
    recover(&archive).unwrap();
    let verified = verify(&archive, VerifyOptions::default()).unwrap();
    let wrong = (!verified.is_content())
        .then(|| format!("killed at {killed}, cut at {cut}: {:?}", verified.problems));
    let is_last = if cut == u64::MAX { is_removed } else { is_recovered };
    (!is_last).then_some(wrong)
}
