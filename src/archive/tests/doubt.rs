//! What is done where it cannot be said what a file is about: nothing that could be wrong, and nothing else is kept
//! from being saved.

use std::fs;
use std::path::PathBuf;

use super::support::*;
use crate::archive::*;
use crate::message::{Message, SessionHeader};

/// A session whose last part is in the journal, the others sealed.
fn half_sealed(root: &std::path::Path) -> (Archive, SessionHeader, Vec<Message>, Vec<PathBuf>) {
    let archive = Archive::create_or_open(root, "home-12").unwrap();
    let mut header = header(1);
    archive.begin_session(&mut header).unwrap();
    let messages = messages(&header, 120);
    let parts = record(archive.disk(), &archive, &header, &messages, 10_000);
    assert!(parts.len() > 2, "{parts:?}");
    parts[..parts.len() - 1].iter().for_each(|part| drop(seal(&archive, part).unwrap()));
    (archive, header, messages, parts)
}

fn assert_whole(archive: &Archive, header: &SessionHeader, messages: &[Message]) {
    let report = verify(archive, VerifyOptions::default()).unwrap();
    assert!(report.is_content() && report.leftovers.is_empty() && report.known_lost.is_empty(), "{report:?}");
    assert_same(header, &rows(archive, &ScanOptions::default()), messages);
}

#[test]
fn a_part_behind_a_manifest_that_cannot_be_read_is_sealed_and_nothing_claimed_of_the_other() {
    for nth in [0, 1] {
        let dir = quick_dir();
        let (archive, header, messages, parts) = half_sealed(dir.path());
        // The one right before the part that waits, and one with another behind it.
        let name = PartName::of(&parts[if nth == 0 { parts.len() - 2 } else { 0 }]).unwrap();
        let path = archive.layout().manifest(name);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let report = recover(&archive).unwrap();
        assert_eq!((report.parts, report.lost.len(), report.promised_lost), (1, 0, 0), "{report:?}");
        assert!(report.has_loss() && report.loss().contains(&format!("{name}")), "{}", report.loss());
        assert_eq!(recover(&archive).unwrap().removed_files, 0);
        // With it all is there again: nothing that it is about was removed, nor said to be lost.
        fs::write(&path, whole).unwrap();
        recover(&archive).unwrap();
        reindex(&archive).unwrap();
        assert_whole(&archive, &header, &messages);
    }
}

#[test]
fn what_a_rewrite_left_stays_while_a_manifest_of_its_session_cannot_be_read() {
    let dir = quick_dir();
    let (archive, header, messages) = sealed(dir.path(), 120);
    let before = archive.read_manifests_of(header.session_id).unwrap();
    let old: Vec<_> =
        before.iter().flat_map(|manifest| &manifest.files).map(|file| file.path.clone()).collect();
    let kept: Vec<_> = old.iter().map(|path| fs::read(dir.path().join(path)).unwrap()).collect();
    archive.compact(header.session_id, CompactOptions::default(), &Watch::NONE).unwrap();
    // As a cut leaves them.
    for (path, bytes) in old.iter().zip(kept).filter(|(path, _)| !dir.path().join(path).exists()) {
        fs::write(dir.path().join(path), bytes).unwrap();
    }
    let left = verify::segment_files(&archive).unwrap();
    let path = archive.layout().manifest(PartName { session_id: header.session_id, part: 0 });
    let whole = fs::read(&path).unwrap();
    fs::write(&path, b"{").unwrap();
    assert_eq!(recover(&archive).unwrap().removed_files, 0);
    assert_eq!(verify::segment_files(&archive).unwrap(), left);
    fs::write(&path, whole).unwrap();
    assert!(recover(&archive).unwrap().removed_files > 0);
    assert_whole(&archive, &header, &messages);
}

#[test]
fn a_sidecar_that_cannot_be_read_is_made_anew_from_a_part() {
    let dir = quick_dir();
    let (archive, header, messages, _) = half_sealed(dir.path());
    let sidecar = archive.layout().sidecar(header.session_id);
    fs::write(&sidecar, b"{\"session_id\":").unwrap();
    let report = recover(&archive).unwrap();
    let aside = PathBuf::from(format!("{}.damaged", sidecar.display()));
    assert_eq!(report.set_aside, std::slice::from_ref(&aside));
    assert_eq!(fs::read(&aside).unwrap(), b"{\"session_id\":");
    assert_eq!(archive.resolve("walk").unwrap().ended.as_deref(), Some("recovered"));
    let told = verify(&archive, VerifyOptions::default()).unwrap();
    assert!(matches!(told.problems[..], [Problem::SetAside { .. }]), "{told:?}");
    fs::remove_file(aside).unwrap();
    assert_whole(&archive, &header, &messages);
}

#[test]
fn a_part_that_was_renamed_gets_its_name_again() {
    for name in ["-000009.journal", "-moved.journal"] {
        let dir = quick_dir();
        let (archive, header, messages, parts) = half_sealed(dir.path());
        let strange = archive.layout().journal().join(format!("{}{name}", header.session_id));
        fs::rename(parts.last().unwrap(), &strange).unwrap();
        let told = verify(&archive, VerifyOptions::default()).unwrap().problems;
        assert!(matches!(told[..], [Problem::Unreadable { .. }]), "{told:?}");
        assert!(seal(&archive, &strange).is_err(), "it would be another's");
        assert!(!recover(&archive).unwrap().has_loss());
        assert_whole(&archive, &header, &messages);
    }
}

#[test]
fn a_part_whose_segments_are_not_whole_is_sealed_again() {
    let dir = quick_dir();
    let (archive, header, messages, parts) = half_sealed(dir.path());
    let last = parts.last().unwrap();
    let kept = fs::read(last).unwrap();
    seal(&archive, last).unwrap();
    fs::write(last, kept).unwrap();
    let manifest = archive.read_manifest(PartName::of(last).unwrap()).unwrap().unwrap();
    let path = dir.path().join(&manifest.files[0].path);
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(!recover(&archive).unwrap().has_loss());
    assert_whole(&archive, &header, &messages);
}

#[test]
fn a_manifest_that_names_other_places_is_none() {
    let dir = quick_dir();
    let (archive, header, _) = sealed(&dir.path().join("a"), 120);
    let first = archive.read_manifests_of(header.session_id).unwrap().remove(0);
    let (file, name) = (&first.files[0], first.name());
    let stranger = dir.path().join(format!("{name}.parquet"));
    fs::write(&stranger, "precious").unwrap();
    let base = file.path.rsplit_once('/').unwrap().1;
    let other = file.path.replace(&format!("{name}"), &format!("{}-000099", header.session_id));
    for (path, vendor, date) in [
        (format!("../{name}.parquet"), "..", "x"),
        (stranger.display().to_string(), "a", "b"),
        (format!("data/vendor=../../../kind={}/date=x/{base}", file.kind), "../../..", "x"),
        (format!("data/vendor=v/kind={}/date=../../../../{base}", file.kind), "v", "../../../.."),
        (format!("{}/../{base}", file.path.rsplit_once('/').unwrap().0), &*file.vendor, &*file.date),
        (other, &*file.vendor, &*file.date),
    ] {
        let mut manifest = first.clone();
        manifest.generation = 1;
        manifest.part_last = Some(50);
        manifest.files[0].path = path.clone();
        (manifest.files[0].vendor, manifest.files[0].date) = (vendor.into(), date.into());
        if path.contains("000099") {
            manifest.part_last = None;
        }
        fs::write(archive.layout().manifest(name), serde_json::to_vec(&manifest).unwrap()).unwrap();
        let told = verify(&archive, VerifyOptions::default()).unwrap().problems;
        assert!(told.iter().any(|problem| problem.to_string().contains("is no place")), "{path}: {told:?}");
        let segments = verify::segment_files(&archive).unwrap();
        let report = recover(&archive).unwrap();
        assert!(report.has_loss() && report.removed_files == 0, "{path}: {report:?}");
        assert_eq!(verify::segment_files(&archive).unwrap(), segments);
        let refused =
            archive.compact(header.session_id, CompactOptions::default(), &Watch::NONE).unwrap_err();
        assert!(matches!(refused, ArchiveError::Damaged { .. }), "{path}: {refused}");
        assert!(stranger.exists());
    }
}

#[test]
fn names_that_are_no_folders_are_refused() {
    let dir = quick_dir();
    let archive = Archive::create_or_open(dir.path().join("a"), "").unwrap();
    for name in ["..", "../../x", "a/b", "", "a\\b", "a\nb"] {
        let mut header = header(1);
        header.sources[1].vendor = name.into();
        assert!(
            matches!(archive.begin_session(&mut header), Err(ArchiveError::NameRefused { .. })),
            "{name:?}"
        );
        let mut header = super::support::header(2);
        header.sources[1].kinds[0].name = name.into();
        assert!(
            matches!(archive.begin_session(&mut header), Err(ArchiveError::NameRefused { .. })),
            "{name:?}"
        );
    }
    assert!(archive.list().unwrap().is_empty());
}

#[test]
fn a_manifest_that_says_other_extremes_than_its_rows_is_told() {
    let dir = quick_dir();
    let (archive, ..) = sealed(dir.path(), 60);
    let first = archive.read_manifests().unwrap().remove(0);
    let path = archive.layout().manifest(first.name());
    let changes: [fn(&mut ManifestFile); 6] = [
        |file| file.seq_min += 1,
        |file| file.seq_max -= 1,
        |file| file.elapsed_min_ns += 1,
        |file| file.elapsed_max_ns -= 1,
        |file| file.received_min_us += 1,
        |file| file.received_max_us -= 1,
    ];
    for change in changes {
        let mut manifest = first.clone();
        let file = manifest.files.iter_mut().find(|file| file.rows > 2).unwrap();
        change(file);
        let of = file.path.clone();
        fs::write(&path, serde_json::to_vec(&manifest).unwrap()).unwrap();
        let told = verify(&archive, VerifyOptions::default()).unwrap().problems;
        let is_told = |problem: &Problem| matches!(problem, Problem::Extremes { path, .. } if *path == of);
        assert!(told.iter().any(is_told), "{told:?}");
    }
}

#[test]
fn no_flipped_byte_of_a_zero_row_file_panics_or_keeps_a_session_from_beginning() {
    let dir = quick_dir();
    let (archive, ..) = sealed(dir.path(), 6);
    let path = dir.path().join(layout::schema_path("jointech", "alarm"));
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= [0x01, 0x80, 0x10][at % 3];
        fs::write(&path, bytes).unwrap();
        assert!(archive.schema_file_columns("jointech", "alarm").is_err(), "byte {at}");
    }
    fs::write(&path, b"PAR1PAR1").unwrap();
    archive.begin_session(&mut header(2)).unwrap();
    assert_eq!(fs::read(&path).unwrap(), whole, "the session's declarations tell its columns");
    fs::write(&path, b"PAR1PAR1").unwrap();
    recover(&archive).unwrap();
    assert_eq!(fs::read(&path).unwrap(), whole);
}
