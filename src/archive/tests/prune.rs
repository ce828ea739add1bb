//! Pruning beside people who name stretches: what is in a clip when it is committed stays.

use std::cell::Cell;

use super::rewrite::assert_clean;
use super::support::*;
use crate::archive::rewrite::remove_session_if;
use crate::archive::*;

fn clip(name: &str, seqs: std::ops::Range<u64>) -> Clip {
    Clip { name: name.into(), seq_from: seqs.start, seq_to: seqs.end, note: None }
}

fn everything() -> PruneOptions {
    PruneOptions { before_us: Some(i64::MAX), kinds: vec!["location".into()], ..PruneOptions::default() }
}

#[test]
fn a_clip_that_is_made_while_rows_are_copied_is_kept() {
    let dir = quick_dir();
    let (archive, header, _) = sealed(&dir.path().join("a"), 60);
    let is_made = Cell::new(false);
    let tell = |_, _| {
        if !is_made.replace(true) {
            archive.add_clip(header.session_id, clip("fall", 10..20)).unwrap();
        }
    };
    let watch = Watch { tell: &tell, goes_on: &|| true };
    let mut pruned = Vec::new();
    archive.prune(&everything(), &watch, &mut |of| pruned.push(of)).unwrap();
    assert!(is_made.get() && pruned[0].messages > 0);
    let locations: Vec<u64> = rows(&archive, &ScanOptions::default())
        .iter()
        .filter(|row| &*row.kind == "location")
        .map(|row| row.seq)
        .collect();
    assert_eq!(locations, [11, 13, 17, 19]);
    assert_clean(&archive);
}

#[test]
fn a_session_whose_removal_is_not_agreed_to_is_as_it_was() {
    let dir = quick_dir();
    let (archive, header, _) = sealed(&dir.path().join("a"), 30);
    let before = rows(&archive, &ScanOptions::default());
    assert!(!remove_session_if(&archive, header.session_id, &|| Ok(false)).unwrap());
    assert_eq!(rows(&archive, &ScanOptions::default()), before);
    assert_clean(&archive);
    assert!(remove_session_if(&archive, header.session_id, &|| Ok(true)).unwrap());
    assert_eq!(archive.list().unwrap(), []);
}

#[test]
fn a_session_in_which_a_clip_was_made_meanwhile_does_not_go_whole() {
    let dir = quick_dir();
    let (archive, _, _) = sealed(&dir.path().join("a"), 30);
    let (second, _) = add_session(&archive, 2, 30);
    let options = PruneOptions { kinds: Vec::new(), ..everything() };
    let mut pruned = Vec::new();
    // Told of the first when the second has been thought about, at the latest.
    archive
        .prune(&options, &Watch::NONE, &mut |of| {
            if pruned.is_empty() {
                archive.add_clip(second.session_id, clip("fall", 10..20)).unwrap();
            }
            pruned.push(of);
        })
        .unwrap();
    assert_eq!(pruned.iter().map(|of| of.whole).collect::<Vec<_>>(), [true, false]);
    let left = rows(&archive, &ScanOptions::default());
    assert!((10..20).all(|seq| left.iter().any(|row| row.seq == seq)), "{left:?}");
    assert_clean(&archive);
}

#[test]
fn one_damaged_manifest_keeps_no_other_session_from_making_room() {
    let dir = quick_dir();
    let (archive, header, _) = sealed(&dir.path().join("a"), 30);
    let (second, _) = add_session(&archive, 2, 30);
    let damaged = archive.read_manifests_of(header.session_id).unwrap().remove(0);
    std::fs::write(archive.layout().manifest(damaged.name()), "{").unwrap();
    let options = PruneOptions { max_bytes: Some(0), ..PruneOptions::default() };
    let mut pruned = Vec::new();
    archive
        .prune_each(&options, &Watch::NONE, &mut |_, of| {
            pruned.push(of.unwrap());
            Ok(())
        })
        .unwrap();
    assert!(pruned[0].damaged[0].contains("manifests/") && pruned[1].damaged.is_empty(), "{pruned:?}");
    assert!(pruned[1].messages > 0, "{pruned:?}");
    assert!(archive.read_manifests_of(second.session_id).unwrap().iter().all(|manifest| manifest.rows < 30));
}

#[test]
fn what_went_is_told_wherever_it_is_interrupted() {
    let mut interrupted = 0;
    for nth in 1.. {
        let dir = quick_dir();
        let (archive, header, _) = sealed(&dir.path().join("a"), 120);
        archive.add_clip(header.session_id, clip("fall", 100..110)).unwrap();
        let asked = Cell::new(0);
        let goes_on = || {
            asked.set(asked.get() + 1);
            asked.get() < nth
        };
        let mut messages = 0;
        let watch = Watch { tell: &|_, _| (), goes_on: &goes_on };
        let ended = archive.prune(&everything(), &watch, &mut |of| messages += of.messages);
        let left: u64 = archive.read_manifests_of(header.session_id).unwrap().iter().map(|of| of.rows).sum();
        assert_eq!(messages, 120 - left, "interrupted when asked for the {nth}. time");
        match ended {
            Err(ArchiveError::Interrupted) => interrupted += u64::from(messages > 0),
            ended => {
                ended.unwrap();
                break;
            }
        }
    }
    assert!(interrupted > 0);
}

/// Bytes of all segments.
fn stored(archive: &Archive) -> u64 {
    archive.read_manifests().unwrap().iter().flat_map(|manifest| &manifest.files).map(|file| file.bytes).sum()
}

#[test]
fn a_dry_run_says_to_the_byte_what_goes_and_what_is_left() {
    let dir = quick_dir();
    let (archive, first, _) = sealed(&dir.path().join("a"), 120);
    add_session(&archive, 2, 40);
    archive.add_clip(first.session_id, clip("fall", 30..37)).unwrap();
    let all = stored(&archive);
    let of = |before_us, max_bytes, kinds: &[&str]| PruneOptions {
        before_us,
        max_bytes,
        kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
        ..PruneOptions::default()
    };
    let middle = Some(START_US + 5_000_000);
    for options in [
        of(middle, None, &[]),
        of(middle, None, &["location"]),
        of(None, Some(all / 2), &[]),
        of(None, Some(0), &[]),
        of(middle, Some(all / 3), &[]),
        of(middle, Some(0), &[]),
        of(None, Some(0), &["alarm"]),
    ] {
        let copy = quick_dir();
        copy_folder(archive.root(), copy.path());
        let archive = Archive::open(copy.path()).unwrap();
        let run = |dry_run| {
            let (options, mut told) = (PruneOptions { dry_run, ..options.clone() }, Vec::new());
            let left = archive.prune(&options, &Watch::NONE, &mut |pruned| told.push(pruned)).unwrap();
            (told, left)
        };
        let would = run(true);
        assert_eq!(stored(&archive), all, "a dry run changes nothing");
        assert_eq!(std::fs::read_dir(archive.layout().tmp()).unwrap().count(), 0);
        let done = run(false);
        assert_eq!(would, done, "{options:?}");
        assert!(!done.0.is_empty(), "{options:?}");
        let freed: u64 = done.0.iter().map(|pruned| pruned.bytes).sum();
        assert_eq!(all - stored(&archive), freed, "{options:?}");
        if let (Some(left), true) = (done.1, options.kinds.is_empty()) {
            assert_eq!(left.bytes, stored(&archive), "{left:?}");
            // All that may go has gone, or it is enough.
            assert!(!left.is_above() || left.bytes == left.in_clips + left.links, "{options:?}: {left:?}");
        }
        assert_clean(&archive);
    }
}

#[test]
fn age_and_bytes_together_leave_no_more_than_bytes_alone() {
    let dir = quick_dir();
    let (archive, _, _) = sealed(&dir.path().join("a"), 120);
    add_session(&archive, 2, 40);
    // Younger than that: link events of a session of which all else goes.
    let before_us = Some(START_US + 1_000_000);
    let options = PruneOptions { before_us, max_bytes: Some(0), ..PruneOptions::default() };
    let left = archive.prune(&options, &Watch::NONE, &mut |_| ()).unwrap().unwrap();
    assert_eq!((left.bytes, left.is_above(), stored(&archive)), (0, false, 0));
    assert_eq!(archive.list().unwrap(), []);
    assert_clean(&archive);
}

#[test]
fn what_keeps_more_than_was_asked_for_is_told() {
    let dir = quick_dir();
    let (archive, first, _) = sealed(&dir.path().join("a"), 60);
    archive.add_clip(first.session_id, clip("fall", 10..20)).unwrap();
    let mut live = header(2);
    archive.begin_session(&mut live).unwrap();
    for part in record(archive.disk(), &archive, &live, &messages(&live, 20), 10_000) {
        seal(&archive, &part).unwrap();
    }
    let options = PruneOptions { max_bytes: Some(1024), ..PruneOptions::default() };
    let left = archive.prune(&options, &Watch::NONE, &mut |_| ()).unwrap().unwrap();
    assert!(left.is_above() && left.in_clips > 0 && left.recording > 0 && left.links > 0, "{left:?}");
    assert_eq!(left.bytes, left.in_clips + left.recording + left.links);
    let said = left.to_string();
    assert!(said.contains(" above 1.0 KiB: ") && said.contains(" in clips, "), "{said}");
    assert!(said.contains(" in sessions that have not ended, "), "{said}");
    // With nothing in its way, it fits, and says nothing.
    let options = PruneOptions { max_bytes: Some(left.bytes), ..PruneOptions::default() };
    assert!(!archive.prune(&options, &Watch::NONE, &mut |_| ()).unwrap().unwrap().is_above());
}
