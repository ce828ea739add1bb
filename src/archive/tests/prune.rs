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
            pruned.extend(of.unwrap());
            Ok(())
        })
        .unwrap();
    assert!(pruned[0].damaged[0].contains("manifests/") && pruned[1].damaged.is_empty(), "{pruned:?}");
    assert!(pruned[1].messages > 0, "{pruned:?}");
    assert!(archive.read_manifests_of(second.session_id).unwrap().iter().all(|manifest| manifest.rows < 30));
}
