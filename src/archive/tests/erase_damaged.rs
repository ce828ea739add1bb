//! Erasing and pruning where something is damaged: all that is whole goes as it is to go, what cannot be read is told,
//! and there is a way to be rid of it.

use std::fs;
use std::path::{Path, PathBuf};

use super::rewrite::assert_clean;
use super::support::*;
use crate::archive::*;
use crate::message::{Row, Selection};

/// The lock of all locations and alarms.
const LOCK: &str = "8200123456";

fn device(archive: &Archive) -> EraseOptions {
    let selection = Selection { devices: vec![LOCK.into()], ..Selection::default() };
    let sessions = archive.list().unwrap().iter().map(|session| session.session_id).collect();
    let scan = ScanOptions { sessions, selection, ..ScanOptions::default() };
    EraseOptions { scan, all_sessions: true, at_us: START_US }
}

/// The plan, what was done, what failed, and the proof.
fn erase(archive: &Archive, options: EraseOptions) -> (ErasePlan, Vec<Erased>, Vec<String>, Proof) {
    let plan = archive.plan_erase(options, &Watch::NONE).unwrap();
    let mut done = Vec::new();
    let failed = archive.erase(&plan, &Watch::NONE, &mut |erased| done.push(erased)).unwrap();
    archive.forget_erased().unwrap();
    let proof = archive.prove_erased(&plan, &Watch::NONE).unwrap();
    (plan, done, failed, proof)
}

fn find(archive: &Archive, words: &[&str]) -> PathBuf {
    let mut files = verify::segment_files(archive).unwrap();
    files.retain(|path| words.iter().all(|word| path.to_string_lossy().contains(word)));
    files.remove(0)
}

fn flip(archive: &Archive, path: &Path) {
    let path = archive.root().join(path);
    let mut bytes = fs::read(&path).unwrap();
    bytes[20] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn all(archive: &Archive) -> Vec<Row> {
    rows(archive, &ScanOptions::default())
}

fn names(row: &Row) -> bool {
    String::from_utf8_lossy(&row.payload).contains(LOCK) || row.channel.contains(LOCK)
}

#[test]
fn damaged_sidecars_and_manifests_are_told_and_all_else_is_erased() {
    let dir = quick_dir();
    let (archive, first, _) = sealed(dir.path(), 60);
    let (second, _) = add_session(&archive, 2, 200);
    let manifests = archive.read_manifests_of(second.session_id).unwrap();
    assert!(manifests.len() > 1);
    let named: Vec<&str> = manifests[0].files.iter().map(|file| &*file.path).collect();
    fs::write(archive.layout().sidecar(first.session_id), "{").unwrap();
    fs::write(archive.layout().manifest(manifests[0].name()), "{").unwrap();
    let (plan, done, failed, proof) = erase(&archive, device(&archive));
    assert_eq!((done.len(), failed.len(), plan.unreadable.len()), (2, 0, 2), "{done:?} {plan:?}");
    for of in ["manifests/", "sessions/"] {
        assert!(plan.unreadable.iter().any(|what| what.contains(of)), "{:?}", plan.unreadable);
    }
    let left = all(&archive);
    assert!(left.len() > 50 && !left.iter().any(names), "what can be read is without it");
    // What the manifest was about lies there as it was, and is searched for all that.
    let found: Vec<&str> = proof.found.iter().map(|found| &*found.path).collect();
    assert!(!found.is_empty() && found.iter().all(|path| named.contains(path)), "{proof:?}");
    assert!(done.iter().all(|erased| erased.messages > 0));
    let report = verify(&archive, VerifyOptions::default()).unwrap();
    let of_index = |problem: &&verify::Problem| matches!(problem, verify::Problem::Index { .. });
    assert_eq!(report.problems.iter().find(of_index), None, "{report:?}");
    // Gone with its session, it is proved.
    archive.remove_session(second.session_id).unwrap();
    assert_eq!(erase(&archive, device(&archive)).3.found, []);
}

#[test]
fn what_was_set_aside_is_told_to_be_unsearched() {
    let dir = quick_dir();
    let (archive, ..) = sealed(dir.path(), 60);
    let aside = find(&archive, &["kind=location"]).with_extension("parquet.2.damaged");
    fs::write(archive.root().join(&aside), "compressed").unwrap();
    let (_, _, _, proof) = erase(&archive, device(&archive));
    let unsearched: Vec<&str> = proof.unsearched.iter().map(|found| &*found.path).collect();
    assert_eq!((proof.found.len(), unsearched), (0, vec![&*aside.to_string_lossy()]));
}

#[test]
fn a_damaged_segment_goes_with_all_that_it_held_and_that_is_told() {
    for by_age in [true, false] {
        let dir = quick_dir();
        let (archive, header, messages) = sealed(dir.path(), 60);
        let damaged = find(&archive, &["kind=location"]);
        flip(&archive, &damaged);
        let (gone, unread) = if by_age {
            let options = PruneOptions {
                before_us: Some(i64::MAX),
                kinds: vec!["location".into()],
                ..PruneOptions::default()
            };
            let mut all = Vec::new();
            archive.prune(&options, &Watch::NONE, &mut |pruned| all.push(pruned)).unwrap();
            assert_eq!((all.len(), all[0].damaged.len()), (1, 0), "{all:?}");
            (all[0].messages, all[0].unread)
        } else {
            let selection = Selection { kinds: vec!["location".into()], ..Selection::default() };
            let mut options = device(&archive);
            options.scan.selection = selection;
            let (plan, done, failed, proof) = erase(&archive, options);
            assert_eq!((plan.unreadable.len(), failed.len(), proof.found.len()), (0, 0, 0), "{plan:?}");
            (done[0].messages, done[0].unread)
        };
        assert_eq!(gone, 20, "by age: {by_age}");
        assert!(unread > 0 && unread < 20, "{unread}");
        assert!(!archive.root().join(&damaged).exists());
        assert_eq!(all(&archive).len(), messages.len() - 20);
        assert_clean(&archive);
        // Among others that were removed one by one, the count is still right.
        let mut options = device(&archive);
        options.scan.sessions = vec![header.session_id];
        let alarms = all(&archive).iter().filter(|row| names(row)).count() as u64;
        assert_eq!(erase(&archive, options).1[0].messages, alarms);
        assert_clean(&archive);
    }
}

#[test]
fn a_damaged_segment_that_is_not_old_enough_stays_and_keeps_nothing_else() {
    let dir = quick_dir();
    let (archive, _, _) = sealed(dir.path(), 60);
    let damaged = find(&archive, &["kind=location"]);
    flip(&archive, &damaged);
    // In its midst.
    let options = PruneOptions { before_us: Some(START_US + 2_000_000), ..PruneOptions::default() };
    let mut pruned = Vec::new();
    archive.prune(&options, &Watch::NONE, &mut |of| pruned.push(of)).unwrap();
    assert_eq!((pruned.len(), pruned[0].damaged.len(), pruned[0].unread), (1, 1, 0), "{pruned:?}");
    assert!(pruned[0].damaged[0].contains("kind=location") && pruned[0].messages > 5, "{pruned:?}");
    assert!(archive.root().join(&damaged).exists());
    let report = verify(&archive, VerifyOptions::default()).unwrap();
    assert_eq!(report.problems.len(), 1, "{report:?}");
}

#[test]
fn what_no_manifest_can_tell_goes_when_its_session_is_over_for_so_long() {
    let dir = quick_dir();
    let (archive, header, _) = sealed(dir.path(), 60);
    let manifest = archive.read_manifests().unwrap().remove(0);
    fs::write(archive.layout().manifest(manifest.name()), "{").unwrap();
    let ended_us = archive.read_sidecar(header.session_id).unwrap().unwrap().ended_at_us.unwrap();
    for (before_us, goes) in [(ended_us, false), (ended_us + 1, true)] {
        let options = PruneOptions { before_us: Some(before_us), ..PruneOptions::default() };
        let mut pruned = Vec::new();
        archive.prune(&options, &Watch::NONE, &mut |of| pruned.push(of)).unwrap();
        assert_eq!((pruned[0].whole, pruned[0].damaged.len()), (goes, 1), "{pruned:?}");
    }
    assert_eq!(verify::segment_files(&archive).unwrap(), Vec::<PathBuf>::new());
    assert_clean(&archive);
}

#[test]
fn damaged_link_events_that_stay_keep_nothing_else_from_going() {
    let dir = quick_dir();
    let (archive, header, _) = sealed(dir.path(), 60);
    let damaged = find(&archive, &["kind=link"]);
    flip(&archive, &damaged);
    let (plan, done, failed, _) = erase(&archive, device(&archive));
    assert!(plan.unreadable.len() == 1 && plan.unreadable[0].contains("kind=link"), "{plan:?}");
    assert_eq!((failed.len(), done[0].messages), (0, 20), "{failed:?} {done:?}");
    let options = PruneOptions {
        before_us: Some(i64::MAX),
        kinds: vec!["person_position".into()],
        ..PruneOptions::default()
    };
    archive.prune(&options, &Watch::NONE, &mut |_| ()).unwrap();
    assert!(archive.root().join(damaged).exists());
    archive.remove_session(header.session_id).unwrap();
    assert_eq!(verify::segment_files(&archive).unwrap(), Vec::<PathBuf>::new());
    assert_clean(&archive);
}

#[test]
fn a_misspelled_device_is_answered_with_those_that_are_spelled_like_it() {
    let dir = quick_dir();
    let (archive, _, _) = sealed(dir.path(), 30);
    let mut options = device(&archive);
    let zeros = format!("00{LOCK}");
    options.scan.selection.devices = vec!["820012346".into(), zeros, "zz-top".into()];
    let plan = archive.plan_erase(options, &Watch::NONE).unwrap();
    assert_eq!(plan.alike, [LOCK], "told before it goes");
    let expected = [("820012346".to_owned(), vec![LOCK.to_owned()]), ("zz-top".to_owned(), Vec::new())];
    assert_eq!(plan.unknown, expected);
}
