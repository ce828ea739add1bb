//! Manifests that are lost: what is made anew of their segments, and that nothing comes back which upkeep has removed.

use std::fs;
use std::path::{Path, PathBuf};

use super::rewrite::{Template, cut_everywhere_and};
use super::support::*;
use crate::archive::*;
use crate::message::Row;

fn all(archive: &Archive) -> Vec<Row> {
    rows(archive, &ScanOptions::default())
}

/// Nothing is wrong, but for manifests that were set aside.
fn assert_whole(archive: &Archive) {
    let report = verify(archive, VerifyOptions::default()).unwrap();
    assert!(report.is_content(), "{report:?}");
    assert!(report.leftovers.iter().all(|left| left.contains("was made anew")), "{report:?}");
}

fn manifests(archive: &Archive) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(archive.layout().manifests())
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "json"));
    paths.sort();
    paths
}

/// Without when it was made, and by what, and whether compaction has been tried, which nothing else knows.
fn known(archive: &Archive) -> Vec<Manifest> {
    let mut manifests = archive.read_manifests().unwrap();
    for manifest in &mut manifests {
        (manifest.sealed_at_us, manifest.rebuilt, manifest.is_compact) = (0, false, false);
        manifest.files.sort_by(|a, b| a.path.cmp(&b.path));
        for file in &mut manifest.files {
            file.sources.sort_by(|a, b| a.name.cmp(&b.name));
        }
    }
    manifests
}

fn lose(path: &Path, nth: usize) {
    if nth.is_multiple_of(2) {
        return fs::remove_file(path).unwrap();
    }
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 0x80;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_lost_manifest_is_made_anew_as_it_was() {
    let template = Template::new();
    // Each alone, the first two, all; with and without an index that knows them; as sealed and as compacted.
    for nth in 0..8 {
        for is_compact in [false, true].into_iter().take(if nth < 4 { 2 } else { 1 }) {
            let dir = quick_dir();
            copy_folder(template.dir.path(), dir.path());
            let archive = Archive::open(dir.path()).unwrap();
            if is_compact {
                archive.compact(template.header.session_id, CompactOptions::default(), &Watch::NONE).unwrap();
            }
            let (before, paths) = (known(&archive), manifests(&archive));
            let lost =
                [&paths[..1], &paths[paths.len() - 1..], &paths[..paths.len().min(2)], &paths[..]][nth / 2];
            lost.iter().for_each(|path| lose(path, nth));
            let has_index = !lost.is_empty() && nth % 4 < 2;
            if !has_index {
                fs::remove_file(archive.layout().index()).unwrap();
            }
            let found = verify(&archive, VerifyOptions::default()).unwrap();
            assert!(!found.is_content(), "{found:?}");
            assert!(found.problems.iter().any(|p| p.to_string().contains("telereel recover")), "{found:?}");
            let rebuilt = if nth.is_multiple_of(2) {
                let report = recover(&archive).unwrap();
                assert!(report.has_loss() && report.loss().contains("is made anew"), "{report:?}");
                report.rebuilt
            } else {
                let report = reindex(&archive).unwrap();
                assert_eq!(report.problems, []);
                report.rebuilt
            };
            let messages = template.messages.len() as u64;
            if lost.len() == paths.len() {
                assert_eq!(rebuilt.iter().map(|one| one.messages).sum::<u64>(), messages, "{rebuilt:?}");
            }
            assert_eq!(rebuilt[0].unknown, 0);
            assert_same(&template.header, &all(&archive), &template.messages);
            assert_whole(&archive);
            // Those of several parts that follow one another are one.
            if lost.len() == 1 {
                // Which parts were merged, the index alone knows.
                let parts = |all: Vec<Manifest>| -> Vec<Manifest> {
                    all.into_iter()
                        .map(|m| Manifest { part_last: m.part_last.filter(|_| has_index), ..m })
                        .collect()
                };
                assert_eq!(parts(known(&archive)), parts(before), "{nth} {is_compact}");
            }
            assert!(recover(&archive).unwrap() == RecoverReport::default(), "said once");
            let asides =
                fs::read_dir(archive.layout().manifests()).unwrap().count() - manifests(&archive).len();
            assert_eq!(asides, if nth.is_multiple_of(2) { 0 } else { lost.len() });
            // Upkeep goes on with it.
            archive.compact(template.header.session_id, CompactOptions::default(), &Watch::NONE).unwrap();
            assert_same(&template.header, &all(&archive), &template.messages);
            assert_whole(&archive);
        }
    }
}

#[test]
fn of_a_part_with_a_damaged_segment_the_others_are_saved_and_the_rest_is_kept() {
    let template = Template::new();
    let archive = Archive::open(template.dir.path()).unwrap();
    let lost = archive.read_manifests().unwrap().remove(1);
    let file = lost.files.iter().find(|file| file.kind == "location").unwrap();
    let path = archive.root().join(&file.path);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
    fs::remove_file(archive.layout().manifest(lost.name())).unwrap();
    let report = recover(&archive).unwrap();
    let [rebuilt] = &report.rebuilt[..] else { panic!("{report:?}") };
    let aside = PathBuf::from(format!("{}.damaged", path.display()));
    assert_eq!((rebuilt.unknown, &rebuilt.set_aside), (file.rows, &vec![aside.clone()]));
    assert_eq!(fs::read(&aside).unwrap(), &bytes[..bytes.len() - 9]);
    let report = verify(&archive, VerifyOptions::default()).unwrap();
    assert!(matches!(report.problems[..], [Problem::SetAside { .. }]), "{report:?}");
    assert_eq!(report.unknown, file.rows);
    assert_eq!(all(&archive).len() as u64, template.messages.len() as u64 - file.rows);
    recover(&archive).unwrap();
    archive.compact(template.header.session_id, CompactOptions::default(), &Watch::NONE).unwrap();
    recover(&archive).unwrap();
    assert!(aside.exists());
}

#[test]
fn a_segment_that_is_another_than_the_index_knows_is_set_aside_and_the_others_count() {
    let template = Template::new();
    let archive = Archive::open(template.dir.path()).unwrap();
    let before = archive.read_manifests().unwrap();
    let all_files = || before.iter().flat_map(|manifest| &manifest.files);
    let file = before[0].files.iter().find(|file| file.kind == "location").unwrap();
    let is_other =
        |other: &&ManifestFile| other.kind == file.kind && other.payload_bytes != file.payload_bytes;
    let (path, other) = (archive.root().join(&file.path), all_files().find(is_other).unwrap());
    fs::copy(archive.root().join(&other.path), &path).unwrap();
    fs::remove_file(archive.layout().manifest(before[0].name())).unwrap();
    let report = recover(&archive).unwrap();
    let [rebuilt] = &report.rebuilt[..] else { panic!("{report:?}") };
    let aside = PathBuf::from(format!("{}.damaged", path.display()));
    assert_eq!((rebuilt.unknown, &rebuilt.set_aside), (file.rows, &vec![aside]));
    assert_eq!(all(&archive).len() as u64, template.messages.len() as u64 - file.rows);
}

#[test]
fn a_copy_that_somebody_made_keeps_no_manifest_from_being_made_anew() {
    let template = Template::new();
    let archive = Archive::open(template.dir.path()).unwrap();
    let file = archive.root().join(verify::segment_files(&archive).unwrap().remove(0));
    let copy = file.with_extension("copy.parquet");
    fs::copy(&file, &copy).unwrap();
    manifests(&archive).iter().for_each(|path| fs::remove_file(path).unwrap());
    fs::remove_file(archive.layout().index()).unwrap();
    let report = recover(&archive).unwrap();
    assert!(!report.rebuilt.is_empty(), "{report:?}");
    assert_same(&template.header, &all(&archive), &template.messages);
    let name = copy.strip_prefix(archive.root()).unwrap().to_str().unwrap().to_owned();
    assert_eq!(
        verify(&archive, VerifyOptions::default()).unwrap().problems,
        [Problem::Unnamed { path: name }]
    );
}

#[test]
fn removed_rows_stay_removed_and_it_is_said_that_they_may_have_been_lost() {
    let template = Template::new();
    let archive = Archive::open(template.dir.path()).unwrap();
    let options =
        PruneOptions { kinds: vec!["alarm".into()], before_us: Some(i64::MAX), ..PruneOptions::default() };
    archive.prune(&options, &Watch::NONE, &mut |_| ()).unwrap();
    let before: Vec<u64> = all(&archive).iter().map(|row| row.seq).collect();
    assert!(before.len() < template.messages.len(), "the test wants some to be gone");
    manifests(&archive).iter().for_each(|path| fs::remove_file(path).unwrap());
    let report = recover(&archive).unwrap();
    let unknown: u64 = report.rebuilt.iter().map(|one| one.unknown).sum();
    assert_eq!(unknown, (template.messages.len() - before.len()) as u64, "{report:?}");
    assert_eq!(all(&archive).iter().map(|row| row.seq).collect::<Vec<_>>(), before);
    assert_whole(&archive);
    assert_eq!(verify(&archive, VerifyOptions::default()).unwrap().unknown, unknown);
}

#[test]
fn what_may_be_a_leftover_is_told_and_nothing_is_made_of_it() {
    let template = Template::new();
    let id = template.header.session_id;
    let layout = Layout::new(template.dir.path());
    let whole_sidecar = fs::read(layout.sidecar(id)).unwrap();
    type Doubt = (fn(&Archive, crate::message::SessionId), &'static str);
    let doubts: [Doubt; 4] = [
        (|archive, id| fs::write(archive.layout().rewriting(id), "{}\n").unwrap(), ".rewriting"),
        (|archive, id| fs::remove_file(archive.layout().sidecar(id)).unwrap(), "sidecar is lost"),
        (
            |archive, _| {
                fs::remove_file(archive.layout().index()).unwrap();
                let file = verify::segment_files(archive).unwrap().remove(0);
                let copy = file.with_extension("g7.parquet");
                fs::copy(archive.root().join(file), archive.root().join(copy)).unwrap();
            },
            "more than one",
        ),
        (
            |archive, _| {
                let file = verify::segment_files(archive).unwrap().remove(0);
                let copy = file.with_extension("2.parquet");
                fs::copy(archive.root().join(file), archive.root().join(copy)).unwrap();
            },
            "the index knows its parts",
        ),
    ];
    for (doubt, said) in doubts {
        for nth in 0..2 {
            let dir = quick_dir();
            copy_folder(template.dir.path(), dir.path());
            let archive = Archive::open(dir.path()).unwrap();
            manifests(&archive).iter().for_each(|path| lose(path, nth));
            doubt(&archive, id);
            let before = (verify::segment_files(&archive).unwrap(), manifests(&archive));
            let report = recover(&archive).unwrap();
            assert!(report.rebuilt.is_empty() && report.has_loss(), "{said}: {report:?}");
            assert!(report.problems.iter().any(|p| p.to_string().contains(said)), "{said}: {report:?}");
            assert_eq!((verify::segment_files(&archive).unwrap(), manifests(&archive)), before, "{said}");
            assert!(reindex(&archive).unwrap().rebuilt.is_empty(), "{said}");
        }
    }
    assert_eq!(fs::read(layout.sidecar(id)).unwrap(), whole_sidecar);
}

/// With the manifests lost after the cut, of all sessions or of one part, before anything else is done.
#[test]
fn wherever_an_erasure_is_cut_no_lost_manifest_brings_back_what_was_gone() {
    let template = Template::of(12, 1_500);
    let erase = |archive: &Archive| {
        let options = PruneOptions {
            kinds: vec!["alarm".into()],
            before_us: Some(i64::MAX),
            ..PruneOptions::default()
        };
        archive.prune(&options, &Watch::NONE, &mut |_| ()).map(drop)
    };
    let (mut saved, mut refused) = (0, 0);
    cut_everywhere_and(&template, &erase, &mut |root, nth| {
        let is_recovered = nth % 4 == 0;
        let archive = Archive::open(root).unwrap();
        if is_recovered {
            recover(&archive).unwrap();
        }
        let seqs = |archive: &Archive| all(archive).iter().map(|row| row.seq).collect::<Vec<_>>();
        let before = seqs(&archive);
        let _ = fs::remove_file(archive.layout().index());
        let paths = manifests(&archive);
        let lost = if nth.is_multiple_of(3) { &paths[..1] } else { &paths[..] };
        lost.iter().for_each(|path| lose(path, nth as usize));
        let report = recover(&archive).unwrap();
        if report.rebuilt.is_empty() {
            refused += 1;
            assert!(!is_recovered, "cut at {nth}: {report:?}");
            let told =
                |p: &Problem| matches!(p, Problem::NotRebuilt { why, .. } if why.contains(".rewriting"));
            assert!(report.problems.iter().any(told), "cut at {nth}: {report:?}");
        } else {
            saved += 1;
            assert_eq!(seqs(&archive), before, "cut at {nth}");
            assert_whole(&archive);
        }
    });
    assert!(saved > 20 && refused > 5, "{saved} {refused}");
}

/// Removed sessions, too: what a cut has left of one is never taken for one that has lost its manifests.
#[test]
fn wherever_a_removal_is_cut_no_lost_manifest_brings_the_session_back() {
    let template = Template::of(12, 1_500);
    let id = template.header.session_id;
    let mut gone = 0;
    cut_everywhere_and(&template, &|archive| archive.remove_session(id), &mut |root, nth| {
        let archive = Archive::open(root).unwrap();
        let before = all(&archive).len();
        manifests(&archive).iter().for_each(|path| lose(path, nth as usize));
        recover(&archive).unwrap();
        assert_eq!(all(&archive).len(), before, "cut at {nth}");
        gone += u64::from(before == 0);
    });
    assert!(gone > 5, "{gone}");
}

#[test]
fn a_power_cut_after_a_lost_manifest_was_made_anew_costs_nothing() {
    let template = Template::new();
    let lost = manifests(&Archive::open(template.dir.path()).unwrap());
    let dir = quick_dir();
    copy_folder(template.dir.path(), dir.path());
    // What it says is what the index knows: that one is SQLite's, and not on the simulated disk.
    lose(&dir.path().join("manifests").join(lost[lost.len() - 1].file_name().unwrap()), 1);
    let damaged = Template { dir, header: template.header.clone(), messages: template.messages.clone() };
    let cuts = cut_everywhere_and(&damaged, &|archive| recover(archive).map(drop), &mut |root, nth| {
        let archive = Archive::open(root).unwrap();
        recover(&archive).unwrap();
        assert_same(&template.header, &all(&archive), &template.messages);
        assert_whole(&archive);
        assert_eq!(recover(&archive).unwrap(), RecoverReport::default(), "cut at {nth}");
    });
    assert!(cuts > 10, "{cuts}");
}
