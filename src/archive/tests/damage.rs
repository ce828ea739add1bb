//! What lies beside the journal: cases of the table in `recover`, and what `verify` says about damage.

use std::fs;
use std::path::PathBuf;

use super::support::*;
use crate::archive::*;
use crate::message::{Message, Selection, SessionHeader};

pub(super) fn assert_content(archive: &Archive) {
    let report = verify(archive, VerifyOptions::default()).unwrap();
    assert!(report.is_content() && report.leftovers.is_empty(), "{report:?}");
}

pub(super) fn all(archive: &Archive) -> Vec<crate::message::Row> {
    rows(archive, &ScanOptions::default())
}

#[test]
fn case_j_a_file_that_no_manifest_names_is_left_and_reported() {
    let dir = quick_dir();
    let (archive, ..) = sealed(dir.path(), 12);
    let stray =
        format!("data/vendor=delicode/kind=link/date=2026-11-22/{}-000009.parquet", header(9).session_id);
    fs::write(dir.path().join(&stray), "x").unwrap();
    recover(&archive).unwrap();
    let report = verify(&archive, VerifyOptions::default()).unwrap();
    assert_eq!(report.problems, [Problem::Unnamed { path: stray }]);
}

#[test]
fn case_n_an_index_that_is_behind_is_made_again() {
    // Lost while it was made again: the seal that follows must not pass a new one for the whole.
    let dir = quick_dir();
    let (archive, ..) = sealed(dir.path(), 12);
    let mut second = header(2);
    archive.begin_session(&mut second).unwrap();
    record(archive.disk(), &archive, &second, &messages(&second, 12), 10_000);
    fs::remove_file(archive.layout().index()).unwrap();
    recover(&archive).unwrap();
    assert_content(&archive);

    // The sidecar has its end, and the cut came before the index had it.
    let dir = quick_dir();
    let (archive, header, _) = sealed(dir.path(), 12);
    let index = fs::read(archive.layout().index()).unwrap();
    archive.end_session(header.session_id, header.started_at_us + 7).unwrap();
    fs::write(archive.layout().index(), index).unwrap();
    recover(&archive).unwrap();
    assert_content(&archive);
}

#[test]
fn verify_names_what_changed_went_missing_or_was_cut() {
    let dir = quick_dir();
    let (archive, ..) = sealed(dir.path(), 240);
    assert_content(&archive);
    let files = verify::segment_files(&archive).unwrap();
    let path = |i: usize| dir.path().join(&files[i]);
    let mut bytes = fs::read(path(0)).unwrap();
    bytes[100] ^= 1;
    fs::write(path(0), bytes).unwrap();
    fs::remove_file(path(1)).unwrap();
    fs::write(path(2), b"short").unwrap();
    let problems = verify(&archive, VerifyOptions::default()).unwrap().problems;
    let has = |wanted: fn(&Problem) -> bool| problems.iter().filter(|p| wanted(p)).count();
    assert_eq!(has(|p| matches!(p, Problem::Changed { .. })), 1, "{problems:?}");
    assert_eq!(has(|p| matches!(p, Problem::Missing { .. })), 1);
    assert_eq!(has(|p| matches!(p, Problem::Length { .. })), 1);
    assert_eq!(problems.len(), 3);
}

#[test]
fn verify_misses_a_part_in_the_middle_and_at_the_end() {
    for last in [false, true] {
        let dir = quick_dir();
        let (archive, header, _) = sealed(dir.path(), 120);
        let manifests = archive.read_manifests_of(header.session_id).unwrap();
        let gone = if last { manifests.last().unwrap() } else { &manifests[1] };
        fs::remove_file(archive.layout().manifest(gone.name())).unwrap();
        gone.files.iter().for_each(|f| fs::remove_file(dir.path().join(&f.path)).unwrap());
        reindex(&archive).unwrap();
        let report = verify(&archive, VerifyOptions::default()).unwrap();
        let range = SeqRange { seq_start: gone.seq_start, seq_end: gone.seq_end };
        assert_eq!(report.problems, [Problem::SeqMissing { session_id: header.session_id, range }]);
    }
}

#[test]
fn verify_counts_every_seq() {
    let dir = quick_dir();
    let (archive, header, _) = sealed(dir.path(), 12);
    let mut manifest = archive.read_manifests().unwrap().remove(0);
    manifest.seq_end += 2;
    let path = archive.layout().manifest(manifest.name());
    fs::write(path, serde_json::to_vec(&manifest).unwrap()).unwrap();
    let report = verify(&archive, VerifyOptions::default()).unwrap();
    let missing = Problem::SeqMissing { session_id: header.session_id, range: (12..14).into() };
    assert!(report.problems.contains(&missing), "{report:?}");
}

#[test]
fn a_manifest_that_claims_more_than_there_is_is_the_one_damage_that_is_told() {
    let dir = quick_dir();
    let (archive, header, _) = sealed(dir.path(), 120);
    let manifests = archive.read_manifests_of(header.session_id).unwrap();
    assert!(manifests.len() > 2);
    let found_with = |seq_end: u64, rows: u64| {
        let mut manifest = manifests[0].clone();
        manifest.seq_end = seq_end;
        manifest.files[0].rows = rows;
        let path = archive.layout().manifest(manifest.name());
        fs::write(path, serde_json::to_vec(&manifest).unwrap()).unwrap();
        verify(&archive, VerifyOptions::default()).unwrap().problems
    };
    let problems = found_with(1 << 40, manifests[0].files[0].rows);
    let claims: Vec<_> = problems.iter().filter(|p| matches!(p, Problem::Claims { .. })).collect();
    let [Problem::Claims { path, claimed, .. }] = claims[..] else { panic!("{problems:?}") };
    assert!(path.ends_with("-000000.json") && *claimed == 1 << 40, "{path} {claimed}");
    let is_counted = |p: &Problem| matches!(p, Problem::SeqRepeated { .. } | Problem::SeqMissing { .. });
    assert!(!problems.iter().any(is_counted), "{problems:?}");
    // More than numbers go: it is taken for none.
    let problems = found_with(u64::MAX, u64::MAX);
    let is_named =
        |p: &Problem| matches!(p, Problem::Unreadable { path, .. } if path.ends_with("-000000.json"));
    assert!(problems.iter().any(is_named), "{problems:?}");
}

#[test]
fn a_lost_or_broken_index_is_read_around_and_made_again() {
    let dir = quick_dir();
    let (archive, header, messages) = sealed(dir.path(), 60);
    let listed = archive.list().unwrap();
    let index = archive.layout().index();
    for broken in [None, Some(&b"not a database at all, but long enough"[..])] {
        let _ = fs::remove_file(&index);
        if let Some(bytes) = broken {
            fs::write(&index, bytes).unwrap();
        }
        assert_eq!(archive.list().unwrap(), listed);
        assert_same(&header, &all(&archive), &messages);
        let report = verify(&archive, VerifyOptions::default()).unwrap();
        assert!(matches!(report.problems[..], [Problem::Index { .. }]), "{report:?}");
        let report = reindex(&archive).unwrap();
        assert_eq!((report.sessions, report.links), (1, 10));
        assert_content(&archive);
    }
    fs::write(&index, b"not a database at all, but long enough").unwrap();
    add_session(&archive, 2, 6);
    assert_eq!(archive.list().unwrap().len(), 2);
    assert_content(&archive);
}

#[test]
fn what_a_damaged_segment_holds_is_not_given_out() {
    let dir = quick_dir();
    let (archive, _, _) = sealed(dir.path(), 12);
    let file =
        verify::segment_files(&archive).unwrap().into_iter().find(|f| has_kind(f, "location")).unwrap();
    let path = dir.path().join(&file);
    let whole = fs::read(&path).unwrap();
    // Any byte: most of a page's can change without the reader's noticing.
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, bytes).unwrap();
        let found: Result<Vec<_>, _> = scan(&archive, &ScanOptions::default()).unwrap().collect();
        let error = found.unwrap_err();
        assert!(
            matches!(&error, ArchiveError::DamagedSegment { path: named, .. } if *named == path),
            "{error}"
        );
    }
    let others = Selection { kinds: vec!["alarm".into()], ..Selection::default() };
    assert_eq!(rows(&archive, &ScanOptions { selection: others, ..ScanOptions::default() }).len(), 2);
}

fn has_kind(file: &std::path::Path, kind: &str) -> bool {
    file.to_string_lossy().contains(&format!("kind={kind}/"))
}

#[test]
fn a_session_whose_sidecar_is_lost_is_found_by_its_id() {
    let dir = quick_dir();
    let (archive, mut header, messages) = sealed(dir.path(), 60);
    let before = archive.resolve("walk").unwrap();
    let sidecar = archive.layout().sidecar(header.session_id);
    fs::write(&sidecar, "{").unwrap();
    add_session(&archive, 2, 6);
    assert_eq!(archive.list().unwrap().len(), 2, "a new session begins beside a damaged sidecar");
    reindex(&archive).unwrap();
    assert_eq!(archive.list().unwrap().len(), 2);
    fs::remove_file(sidecar).unwrap();
    reindex(&archive).unwrap();
    let found = archive.resolve(&header.session_id.to_string()).unwrap();
    assert_eq!((found.started_at_us, found.messages), (before.started_at_us, before.messages));
    assert_eq!(found.sources.len(), 2);
    // The site stood in the sidecar.
    header.site.clear();
    let options = ScanOptions { sessions: vec![header.session_id], ..ScanOptions::default() };
    assert_same(&header, &rows(&archive, &options), &messages);
    let report = verify(&archive, VerifyOptions::default()).unwrap();
    assert!(matches!(report.problems[..], [Problem::NoSidecar { .. }]), "{report:?}");
}

#[test]
fn rows_before_a_damaged_segment_are_given_and_reindex_names_a_missing_one() {
    let dir = quick_dir();
    let (archive, header, messages) = sealed(dir.path(), 60);
    let manifests = archive.read_manifests().unwrap();
    let file = manifests.iter().flat_map(|m| &m.files).max_by_key(|file| file.seq_min).unwrap().clone();
    assert!(file.seq_min > 10, "the test wants rows before it: {}", file.seq_min);
    fs::remove_file(dir.path().join(&file.path)).unwrap();

    let mut scanned = scan(&archive, &ScanOptions::default()).unwrap();
    let given: Vec<_> = scanned.by_ref().map_while(Result::ok).collect();
    assert_same(&header, &given, &messages[..file.seq_min as usize]);
    let mut scanned = scan(&archive, &ScanOptions::default()).unwrap();
    let error = scanned.find_map(Result::err).unwrap().to_string();
    assert!(error.contains(&file.path) && error.contains("missing") && error.contains("verify"), "{error}");

    let report = reindex(&archive).unwrap();
    assert_eq!(report.problems, [Problem::Missing { path: file.path }]);
}

#[test]
fn what_is_written_beside_the_disk_is_as_private_as_the_rest() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = quick_dir();
    for group_readable in [false, true] {
        let root = dir.path().join(group_readable.to_string());
        let disk = std::sync::Arc::new(crate::disk::RealDisk { group_readable });
        let archive = Archive::create_or_open_on(disk, &root, "").unwrap();
        archive.begin_session(&mut header(1)).unwrap();
        drop(archive.lock().unwrap());
        reindex(&archive).unwrap();
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let expected = if group_readable { 0o640 } else { 0o600 };
        assert_eq!((mode(archive.layout().index()), mode(archive.layout().lock())), (expected, expected));
    }
}

/// A session of which one segment has several blocks of checksums: its payloads do not compress.
fn sealed_large(root: &std::path::Path) -> (Archive, SessionHeader, Vec<Message>, ManifestFile) {
    let archive = Archive::create_or_open(root, "home-12").unwrap();
    let mut header = header(1);
    archive.begin_session(&mut header).unwrap();
    let mut state = 7u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    // Within a day.
    let payloads = (0..2_000u64).map(|ms| (ms, (0..1_024).map(|_| noise()).collect::<Vec<u8>>()));
    let messages: Vec<_> = payloads.map(|(ms, noise)| message(&header, 0, "other", ms, noise)).collect();
    for part in record(archive.disk(), &archive, &header, &messages, 64 << 20) {
        seal(&archive, &part).unwrap();
    }
    archive.end_session(header.session_id, START_US + 2_000_000).unwrap();
    let file = archive.read_manifests().unwrap()[0].files[0].clone();
    assert!(file.rows == 2_000 && file.bytes > 2_000_000, "{file:?}");
    (archive, header, messages, file)
}

#[test]
fn of_a_large_segment_nothing_is_given_that_is_damaged() {
    let dir = quick_dir();
    let (archive, header, messages, file) = sealed_large(dir.path());
    let path = dir.path().join(&file.path);
    let whole = fs::read(&path).unwrap();
    let mut given_before = Vec::new();
    for at in (0..whole.len()).step_by(whole.len() / 23) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, &bytes).unwrap();
        let mut scanned = scan(&archive, &ScanOptions::default()).unwrap();
        let given: Vec<_> = scanned.by_ref().map_while(Result::ok).collect();
        assert_same(&header, &given, &messages[..given.len()]);
        assert!(given.len() < messages.len(), "a byte at {at} was changed");
        let error = scan(&archive, &ScanOptions::default()).unwrap().find_map(Result::err).unwrap();
        assert!(
            matches!(&error, ArchiveError::DamagedSegment { path: named, .. } if *named == path),
            "{error}"
        );
        given_before.push(given.len());
        let report = verify(&archive, VerifyOptions::default()).unwrap();
        assert!(matches!(report.problems[..], [Problem::Changed { .. }]), "{report:?}");
    }
    // What is read before the damage is given, to the last row: 1,024 of a KiB are read at once.
    assert!(given_before[0] == 0 && given_before.contains(&1_024), "{given_before:?}");
    assert!(given_before.iter().all(|given| [0, 1_024].contains(given)), "{given_before:?}");
}

#[test]
fn a_manifest_of_an_early_version_has_its_segments_checked_whole() {
    let dir = quick_dir();
    let (archive, header, messages, file) = sealed_large(dir.path());
    let mut manifest = archive.read_manifests().unwrap().remove(0);
    assert!(manifest.files[0].blocks.take().is_some());
    let json = serde_json::to_string(&manifest).unwrap();
    assert!(!json.contains("blocks"), "{json}");
    fs::write(archive.layout().manifest(manifest.name()), json).unwrap();
    assert_same(&header, &all(&archive), &messages);
    assert_content(&archive);
    let path = dir.path().join(&file.path);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 20_000;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(scan(&archive, &ScanOptions::default()).unwrap().next().unwrap().is_err());
}

#[test]
fn checksums_of_blocks_that_are_not_the_files_are_told() {
    let dir = quick_dir();
    let (archive, ..) = sealed_large(dir.path());
    let mut manifest = archive.read_manifests().unwrap().remove(0);
    let sums = manifest.files[0].blocks.as_mut().unwrap();
    sums.blake3 = sums.blake3.chars().rev().collect();
    let path = archive.layout().manifest(manifest.name());
    fs::write(path, serde_json::to_vec(&manifest).unwrap()).unwrap();
    let report = verify(&archive, VerifyOptions::default()).unwrap();
    assert!(matches!(report.problems[..], [Problem::Unreadable { .. }]), "{report:?}");
    assert!(scan(&archive, &ScanOptions::default()).unwrap().next().unwrap().is_err());
}
