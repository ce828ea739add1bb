//! Rewriting: whole at every moment, wherever it is cut; its table of cases; scans that go on meanwhile.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::support::*;
use crate::archive::rewrite::remove_session;
use crate::archive::*;
use crate::disk::{Disk, Fault, Operation, SimDisk};
use crate::message::{Message, SessionHeader, SessionId};

const MESSAGES: u64 = 60;

/// So that these are in several parts.
const PART_BYTES: u64 = 3_000;

/// A folder with an archive that is copied for each cut: sealing it again would take most of the time.
pub(super) struct Template {
    pub(super) dir: tempfile::TempDir,
    pub(super) header: SessionHeader,
    pub(super) messages: Vec<Message>,
}

impl Template {
    pub(super) fn new() -> Self {
        let template = Self::of(MESSAGES, PART_BYTES);
        let parts = fs::read_dir(template.dir.path().join("manifests")).unwrap().count();
        assert!(parts > 2, "{parts} parts");
        template
    }

    pub(super) fn of(count: u64, part_bytes: u64) -> Self {
        let dir = quick_dir();
        let archive = Archive::create_or_open(dir.path(), "home-12").unwrap();
        let mut header = header(1);
        archive.begin_session(&mut header).unwrap();
        let messages = messages(&header, count);
        for part in record(archive.disk(), &archive, &header, &messages, part_bytes) {
            seal(&archive, &part).unwrap();
        }
        archive.end_session(header.session_id, START_US + 60_000_000).unwrap();
        Self { dir, header, messages }
    }

    fn copy(&self) -> tempfile::TempDir {
        let dir = quick_dir();
        copy_folder(self.dir.path(), dir.path());
        dir
    }
}

/// Puts all files of a folder, but the index and the lock, onto a simulated disk, durably.
fn load(sim: &SimDisk, folder: &Path) {
    sim.create_dir_all(folder).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            load(sim, &path);
        } else if !path.to_string_lossy().contains("index.sqlite") && !path.ends_with("lock") {
            let mut file = sim.create_new(&path).unwrap();
            file.write_all(&fs::read(&path).unwrap()).unwrap();
            file.sync_data().unwrap();
        }
    }
    sim.sync_dir(folder).unwrap();
}

/// Puts what a simulated disk holds after a crash onto the real one, beside the index.
fn restore(sim: &SimDisk, root: &Path) {
    for folder in ["journal", "tmp", "data", "manifests", "sessions", "schema", "views"] {
        let _ = fs::remove_dir_all(root.join(folder));
    }
    let _ = fs::remove_file(root.join("segments.jsonl"));
    for path in sim.files() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, sim.read(&path).unwrap()).unwrap();
    }
}

fn all(archive: &Archive) -> Vec<crate::message::Row> {
    rows(archive, &ScanOptions::default())
}

pub(super) fn assert_clean(archive: &Archive) {
    let report = verify(archive, VerifyOptions::default()).unwrap();
    assert!(report.is_content() && report.leftovers.is_empty(), "{report:?}");
}

fn listed(archive: &Archive) -> Vec<String> {
    let text = fs::read_to_string(archive.layout().segments()).unwrap();
    let path = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(archive.root().join(line["path"].as_str().unwrap()).exists(), "{line}");
        line["path"].as_str().unwrap().to_owned()
    };
    text.lines().map(path).collect()
}

fn compact(archive: &Archive, session_id: SessionId) -> Compacted {
    archive.compact(session_id, CompactOptions::default(), &Watch::NONE).unwrap()
}

#[test]
fn a_compacted_session_has_one_file_for_each_kind_and_day_and_every_row() {
    let template = Template::new();
    let archive = Archive::open(template.dir.path()).unwrap();
    let (before, links) = (archive.info(template.header.session_id).unwrap(), listed(&archive).len());
    let dry = archive
        .compact(
            template.header.session_id,
            CompactOptions { dry_run: true, ..CompactOptions::default() },
            &Watch::NONE,
        )
        .unwrap();
    assert_eq!(listed(&archive).len(), links, "a dry run changes nothing");

    let done = compact(&archive, template.header.session_id);
    assert_eq!((dry.segments_before, dry.segments_after), (done.segments_before, done.segments_after));
    assert!(done.segments_after < done.segments_before && !done.already, "{done:?}");
    assert_same(&template.header, &all(&archive), &template.messages);
    assert_clean(&archive);
    let kinds = |path: &String| path.rsplit_once('/').unwrap().0.to_owned();
    let mut folders: Vec<_> = listed(&archive).iter().map(kinds).collect();
    assert_eq!(folders.len() as u64, done.segments_after);
    folders.sort();
    folders.dedup();
    assert_eq!(folders.len() as u64, done.segments_after, "one file in each folder");
    assert_eq!(fs::read_dir(archive.layout().manifests()).unwrap().count(), 1);

    let after = archive.info(template.header.session_id).unwrap();
    assert_eq!((&after.gaps, &after.source_counts), (&before.gaps, &before.source_counts));
    assert_eq!((&after.devices, &after.channels), (&before.devices, &before.channels));
    let again = compact(&archive, template.header.session_id);
    assert!(again.already && again.segments_after == done.segments_after, "{again:?}");
    let index = fs::read(archive.layout().segments()).unwrap();
    reindex(&archive).unwrap();
    assert_eq!(fs::read(archive.layout().segments()).unwrap(), index);
    assert_clean(&archive);
}

/// Cuts `change` at each of its disk operations, recovers, and lets `check` look.
pub(super) fn cut_everywhere(
    template: &Template,
    change: &dyn Fn(&Archive) -> Result<(), ArchiveError>,
    check: &dyn Fn(&Archive, u64),
) -> u64 {
    cut_everywhere_and(template, change, &mut |root, nth| {
        let archive = Archive::open(root).unwrap();
        let verified = verify(&archive, VerifyOptions { quick: true }).unwrap();
        let damage = verified
            .problems
            .iter()
            .find(|p| !matches!(p, verify::Problem::Index { .. } | verify::Problem::SegmentList));
        assert_eq!(damage, None, "cut at {nth}: not even before recovery");
        recover(&archive).unwrap();
        assert_clean(&archive);
        check(&archive, nth);
        assert_eq!(recover(&archive).unwrap(), RecoverReport::default(), "cut at {nth}: done twice");
    })
}

/// The same without recovery: `look` at what is left.
pub(super) fn cut_everywhere_and(
    template: &Template,
    change: &dyn Fn(&Archive) -> Result<(), ArchiveError>,
    look: &mut dyn FnMut(&Path, u64),
) -> u64 {
    let mut nth = 1;
    loop {
        let dir = template.copy();
        let sim = SimDisk::new();
        load(&sim, dir.path());
        let disk: Arc<dyn Disk> = Arc::new(sim.clone());
        let archive = Archive::open_on(disk, dir.path()).unwrap();
        sim.power_off_at(nth);
        let cut = change(&archive).is_err();
        sim.crash(nth);
        restore(&sim, dir.path());
        look(dir.path(), nth);
        if !cut {
            return nth;
        }
        nth += 1;
    }
}

#[test]
fn wherever_a_compaction_is_cut_every_row_is_there_once() {
    let template = Template::new();
    let id = template.header.session_id;
    let cuts = cut_everywhere(
        &template,
        &|archive| archive.compact(id, CompactOptions::default(), &Watch::NONE).map(drop),
        &|archive, nth| {
            assert_same(&template.header, &all(archive), &template.messages);
            let links = crate::index::Index::open_read_only(&archive.layout().index()).unwrap();
            assert_eq!(links.links(id).unwrap().len() as u64, MESSAGES / 6, "cut at {nth}");
            listed(archive);
        },
    );
    assert!(cuts > 60, "only {cuts} steps were cut");
}

#[test]
fn wherever_a_removal_is_cut_the_session_is_there_or_gone() {
    let mut template = Template::new();
    let archive = Archive::open(template.dir.path()).unwrap();
    let (other, messages) = add_session(&archive, 2, 12);
    let id = std::mem::replace(&mut template.header, other).session_id;
    let gone = std::cell::Cell::new(0);
    cut_everywhere(&template, &|archive| remove_session(archive, id), &|archive, nth| {
        let sessions = archive.list().unwrap();
        if sessions.len() == 1 {
            gone.set(gone.get() + 1);
            assert_same(&template.header, &all(archive), &messages);
            let named = format!("{id}");
            let left = verify::segment_files(archive).unwrap();
            assert!(left.iter().all(|path| !path.to_string_lossy().contains(&named)), "cut at {nth}");
        } else {
            let options = ScanOptions { sessions: vec![id], ..ScanOptions::default() };
            assert_eq!(rows(archive, &options).len() as u64, MESSAGES, "cut at {nth}");
        }
    });
    assert!(gone.get() > 10, "only {} cuts left it gone", gone.get());
}

#[test]
fn a_scan_goes_on_while_its_files_are_replaced() {
    let template = Template::new();
    let archive = Archive::open(template.dir.path()).unwrap();
    // Planned on the old files; and then at different places of it.
    for compacted_after in [0, 1, 17, 41, 59] {
        let dir = template.copy();
        let archive_of_copy = Archive::open(dir.path()).unwrap();
        let mut scan = scan(&archive_of_copy, &ScanOptions::default()).unwrap();
        let mut found: Vec<_> = scan.by_ref().take(compacted_after).map(Result::unwrap).collect();
        compact(&archive_of_copy, template.header.session_id);
        found.extend(scan.map(Result::unwrap));
        assert_same(&template.header, &found, &template.messages);
    }
    // Damage is still damage.
    let mut scan = scan(&archive, &ScanOptions::default()).unwrap();
    for file in verify::segment_files(&archive).unwrap() {
        fs::remove_file(archive.root().join(file)).unwrap();
    }
    let error = scan.find_map(Result::err).unwrap().to_string();
    assert!(error.contains("the file is missing"), "{error}");
}

#[test]
fn damage_is_not_copied() {
    let template = Template::new();
    let archive = Archive::open(template.dir.path()).unwrap();
    let file = archive.root().join(&verify::segment_files(&archive).unwrap()[3]);
    let mut bytes = fs::read(&file).unwrap();
    bytes[100] ^= 1;
    fs::write(&file, bytes).unwrap();
    let before = listed(&archive);
    let error =
        archive.compact(template.header.session_id, CompactOptions::default(), &Watch::NONE).unwrap_err();
    assert!(matches!(error, ArchiveError::DamagedSegment { .. }), "{error}");
    assert_eq!(listed(&archive), before);
    assert_eq!(fs::read_dir(archive.layout().tmp()).unwrap().count(), 0);
}

#[test]
fn segments_of_a_commit_that_fails_go_at_once() {
    let template = Template::new();
    let (mut before, mut after) = (0, 0);
    for nth in 1.. {
        let dir = template.copy();
        let sim = SimDisk::new();
        load(&sim, dir.path());
        let archive = Archive::open_on(Arc::new(sim.clone()), dir.path()).unwrap();
        sim.fail(Operation::Rename, nth, Fault::Error(std::io::ErrorKind::Other));
        let ended = archive.compact(template.header.session_id, CompactOptions::default(), &Watch::NONE);
        let manifests = archive.read_manifests().unwrap();
        let named: Vec<_> =
            manifests.iter().flat_map(|m| &m.files).map(|f| dir.path().join(&f.path)).collect();
        let segments: Vec<_> =
            sim.files().into_iter().filter(|path| path.starts_with(archive.layout().data())).collect();
        let is_message = |path: &&std::path::PathBuf| !path.ends_with("schema.parquet");
        let unnamed = segments.iter().filter(is_message).filter(|path| !named.contains(path)).count();
        assert!(named.iter().all(|path| segments.contains(path)), "rename {nth}");
        match ended {
            Ok(_) => break,
            Err(_) if manifests.iter().all(|manifest| manifest.generation == 0) => {
                assert_eq!(unnamed, 0, "rename {nth}");
                before += 1;
            }
            Err(_) => after += 1,
        }
    }
    assert!(before > 5 && after > 0, "{before} {after}");
}

#[test]
fn an_interrupted_compaction_has_changed_nothing() {
    let template = Template::new();
    let archive = Archive::open(template.dir.path()).unwrap();
    let left = std::cell::Cell::new(10);
    let goes_on = || left.replace(left.get().max(1) - 1) > 1;
    let watch = Watch { tell: &|_, _| (), goes_on: &goes_on };
    let error = archive.compact(template.header.session_id, CompactOptions::default(), &watch).unwrap_err();
    assert!(matches!(error, ArchiveError::Interrupted), "{error}");
    assert_eq!(fs::read_dir(archive.layout().tmp()).unwrap().count(), 0);
    assert_same(&template.header, &all(&archive), &template.messages);
    assert_clean(&archive);
}

#[test]
fn case_b_e_f_only_files_that_explain_themselves_are_removed() {
    let template = Template::new();
    let archive = Archive::open(template.dir.path()).unwrap();
    let old = verify::segment_files(&archive).unwrap();
    let kept: Vec<_> = old.iter().map(|path| fs::read(archive.root().join(path)).unwrap()).collect();
    let name = PartName { session_id: template.header.session_id, part: 1 };
    let unused =
        archive.root().join(format!("data/vendor=jointech/kind=alarm/date=2026-11-22/{name}.g1.parquet"));
    fs::write(&unused, "made and not committed").unwrap();
    let report = recover(&archive).unwrap();
    assert_eq!((report.removed_files, unused.exists()), (1, false));

    compact(&archive, template.header.session_id);
    for (path, bytes) in old.iter().zip(kept) {
        fs::write(archive.root().join(path), bytes).unwrap();
    }
    let strange = PartName { part: 999, ..name };
    let strange =
        archive.root().join(format!("data/vendor=jointech/kind=alarm/date=2026-11-22/{strange}.parquet"));
    fs::write(&strange, "nobody knows").unwrap();
    let report = recover(&archive).unwrap();
    assert_eq!((report.removed_files, strange.exists()), (old.len() as u64, true));
    let verified = verify(&archive, VerifyOptions::default()).unwrap();
    assert!(matches!(verified.problems[..], [verify::Problem::Unnamed { .. }]), "{verified:?}");
    assert_same(&template.header, &all(&archive), &template.messages);
}

#[test]
fn what_may_be_all_that_is_left_is_not_removed() {
    let template = Template::new();
    let archive = Archive::open(template.dir.path()).unwrap();
    let old = verify::segment_files(&archive).unwrap();
    let kept: Vec<_> = old.iter().map(|path| fs::read(archive.root().join(path)).unwrap()).collect();
    compact(&archive, template.header.session_id);
    // A copy of the folder that has the manifest of today and the segments of yesterday.
    for path in verify::segment_files(&archive).unwrap() {
        fs::remove_file(archive.root().join(path)).unwrap();
    }
    for (path, bytes) in old.iter().zip(kept) {
        fs::write(archive.root().join(path), bytes).unwrap();
    }
    assert_eq!(recover(&archive).unwrap().removed_files, 0);
    assert_eq!(verify::segment_files(&archive).unwrap(), old);
}

#[test]
fn a_part_whose_manifest_is_lost_is_neither_passed_over_nor_merged_over() {
    let template = Template::new();
    let archive = Archive::open(template.dir.path()).unwrap();
    let lost = archive.read_manifests().unwrap().remove(1);
    fs::remove_file(archive.layout().manifest(lost.name())).unwrap();
    let mut scanned = scan(&archive, &ScanOptions::default()).unwrap();
    let given: Vec<_> = scanned.by_ref().map_while(Result::ok).collect();
    assert_same(&template.header, &given, &template.messages[..lost.seq_start as usize]);
    let error = scan(&archive, &ScanOptions::default()).unwrap().find_map(Result::err).unwrap().to_string();
    assert!(error.contains("no manifest names it"), "{error}");

    let before = verify::segment_files(&archive).unwrap();
    let error = archive.compact(template.header.session_id, CompactOptions::default(), &Watch::NONE);
    let error = error.unwrap_err().to_string();
    let gap = format!("begins at seq {}, the one before it ends at {}", lost.seq_end, lost.seq_start);
    assert!(error.contains(&gap), "{error}");
    assert_eq!(verify::segment_files(&archive).unwrap(), before);
}

#[test]
fn case_c_d_covered_manifests_and_an_old_index_change_no_answer() {
    let template = Template::new();
    let archive = Archive::open(template.dir.path()).unwrap();
    let manifests: Vec<_> =
        fs::read_dir(archive.layout().manifests()).unwrap().map(|e| e.unwrap().path()).collect();
    let kept: Vec<_> = manifests.iter().map(|path| fs::read(path).unwrap()).collect();
    let index = fs::read(archive.layout().index()).unwrap();
    let list = fs::read(archive.layout().segments()).unwrap();
    compact(&archive, template.header.session_id);
    let first = manifests.iter().find(|path| PartName::of(path).unwrap().part == 0).unwrap();
    let merged = fs::read(first).unwrap();
    for (path, bytes) in manifests.iter().zip(kept) {
        fs::write(path, bytes).unwrap();
    }
    fs::write(first, merged).unwrap();
    fs::write(archive.layout().index(), index).unwrap();
    fs::write(archive.layout().segments(), list).unwrap();

    assert_same(&template.header, &all(&archive), &template.messages);
    let verified = verify(&archive, VerifyOptions::default()).unwrap();
    assert_eq!(verified.leftovers.len(), manifests.len() - 1, "{verified:?}");
    recover(&archive).unwrap();
    assert_clean(&archive);
    assert_same(&template.header, &all(&archive), &template.messages);
}

#[test]
fn columns_that_are_added_are_unified_and_others_stay_apart() {
    let dir = quick_dir();
    let archive = Archive::create_or_open(dir.path(), "home-12").unwrap();
    let field = |name: &str, id: u32, data_type: &str| {
        format!(
            "[[field]]\nname = \"{name}\"\nid = {id}\ntype = \"{data_type}\"\npath = \"{name}\"\n\
             role = \"measurement\"\nmeaning = \"It.\"\n"
        )
    };
    let kind = |fields: String| crate::message::KindHeader {
        name: "reading".into(),
        declaration: Some(format!("kind = \"reading\"\nmeaning = \"A reading.\"\n{fields}")),
    };
    let source = |name: &str, fields: String| crate::message::SourceHeader {
        name: name.into(),
        vendor: "generic".into(),
        kinds: vec![kind(fields)],
        settings: serde_json::json!({}),
    };
    let coded = |name: &str| {
        let codes = format!("codes = \"level\"\n[codes.level]\n1 = \"{name}\"\n");
        field("trend", 102, "int32") + &codes
    };
    let mut header = SessionHeader {
        sources: vec![
            source("one", field("height_m", 100, "double")),
            source("more", field("height_m", 100, "double") + &field("count", 101, "int64")),
            source("other", field("height_m", 100, "int32")),
            source("up", coded("rising")),
            source("down", coded("falling")),
        ],
        ..header(1)
    };
    archive.begin_session(&mut header).unwrap();
    let payload = |n: u64| format!("{{\"height_m\": {n}, \"count\": {n}}}");
    let messages: Vec<_> =
        (0..150).map(|n| message(&header, (n % 5) as u16, "reading", n * 10, payload(n))).collect();
    for part in record(archive.disk(), &archive, &header, &messages, 4_000) {
        seal(&archive, &part).unwrap();
    }
    archive.end_session(header.session_id, START_US + 1_000_000).unwrap();
    let done = compact(&archive, header.session_id);
    assert!(done.segments_before > 3, "{done:?}");
    let files = listed(&archive);
    assert_eq!(files.len(), 2, "{files:?}");
    let options = ScanOptions::default();
    let read = rows(&archive, &options);
    assert!(read.iter().zip(&messages).all(|(row, message)| row.payload == message.payload));
    assert_eq!(read.iter().map(|row| row.seq).collect::<Vec<_>>(), (0..150).collect::<Vec<_>>());
    let rows_of = |path: &str| {
        let manifest = fs::read_to_string(
            archive.layout().manifest(PartName { session_id: header.session_id, part: 0 }),
        );
        let manifest: Manifest = serde_json::from_str(&manifest.unwrap()).unwrap();
        manifest.files.iter().find(|file| file.path == path).unwrap().rows
    };
    assert_eq!(files.iter().map(|path| rows_of(path)).max(), Some(90), "one, more and up in one file");
    assert_clean(&archive);
}
