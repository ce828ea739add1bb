//! What is done where it cannot be said what a file is about: nothing that could be wrong, and nothing else is kept
//! from being saved.

use std::fs;
use std::path::PathBuf;

use super::damage_journal::crashed;
use super::support::*;
use crate::archive::*;
use crate::message::{KindHeader, Message, SessionHeader};

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
        assert_same(&header, &rows(&archive, &ScanOptions::default()), &messages);
        // With it all is as it was: nothing that it is about was removed, nor said to be lost.
        fs::write(&path, whole).unwrap();
        fs::remove_file(format!("{}.damaged", path.display())).unwrap();
        recover(&archive).unwrap();
        reindex(&archive).unwrap();
        assert_whole(&archive, &header, &messages);
    }
}

/// During the recording, by the sealing of the next part, and by that of a recovery before and after.
#[test]
fn a_part_behind_a_manifest_that_is_gone_says_nothing_of_it_and_recovery_makes_it_anew() {
    let (recovered, sealed) = ([true, false], [true, false]);
    for (is_recovered_first, nth) in recovered.into_iter().flat_map(|r| sealed.map(|last| (r, last))) {
        let dir = quick_dir();
        let (archive, header, messages, parts) = half_sealed(dir.path());
        let (last, sealed) = parts.split_last().unwrap();
        // All of them, or the one right before the part that waits.
        for part in &sealed[if nth { 0 } else { sealed.len() - 1 }..] {
            fs::remove_file(archive.layout().manifest(PartName::of(part).unwrap())).unwrap();
        }
        if !is_recovered_first {
            let sealed = seal(&archive, last).unwrap();
            assert_eq!((sealed.lost.len(), sealed.promised_lost), (0, 0), "{sealed:?}");
            let told = verify(&archive, VerifyOptions::default()).unwrap();
            assert!(!told.is_content() && told.known_lost.is_empty(), "{told:?}");
        }
        let report = recover(&archive).unwrap();
        assert!(report.lost.is_empty() && report.rebuilt.len() == 1, "{report:?}");
        assert_eq!(report.rebuilt[0].unknown, 0);
        assert_whole(&archive, &header, &messages);
    }
}

/// Then the messages are gone, and that is told by the manifest of the part behind it.
#[test]
fn a_part_behind_one_that_is_gone_with_its_messages_tells_their_loss() {
    let dir = quick_dir();
    let archive = Archive::create_or_open(dir.path(), "home-12").unwrap();
    let mut header = header(1);
    archive.begin_session(&mut header).unwrap();
    let parts = record(archive.disk(), &archive, &header, &messages(&header, 120), 10_000);
    let end = seal(&archive, &parts[0]).unwrap().messages;
    fs::remove_file(&parts[1]).unwrap();
    let sealed = seal(&archive, &parts[2]).unwrap();
    let [lost] = &sealed.lost[..] else { panic!("{sealed:?}") };
    assert_eq!((lost.seq_start, lost.messages()), (end, sealed.promised_lost));
}

/// Where it begins is not known then: what its messages' numbers are is not guessed.
#[test]
fn a_broken_header_behind_a_lost_manifest_that_is_not_made_anew_is_not_made_again() {
    let dir = quick_dir();
    let (archive, header, _, parts) = half_sealed(dir.path());
    for part in &parts[..parts.len() - 1] {
        fs::remove_file(archive.layout().manifest(PartName::of(part).unwrap())).unwrap();
    }
    fs::write(archive.layout().rewriting(header.session_id), "{}\n").unwrap();
    let last = parts.last().unwrap();
    let mut bytes = fs::read(last).unwrap();
    bytes[30] ^= 1;
    fs::write(last, bytes).unwrap();
    let report = recover(&archive).unwrap();
    let aside = PathBuf::from(format!("{}.damaged", last.display()));
    assert_eq!((report.lost.len(), &report.set_aside), (0, &vec![aside]), "{report:?}");
}

#[test]
fn what_a_rewrite_left_stays_while_a_manifest_of_its_session_cannot_be_read() {
    let dir = quick_dir();
    let (archive, header, messages) = sealed(dir.path(), 120);
    let before = archive.read_manifests_of(header.session_id).unwrap();
    let old: Vec<_> =
        before.iter().flat_map(|manifest| &manifest.files).map(|file| file.path.clone()).collect();
    let kept: Vec<_> = old.iter().map(|path| fs::read(dir.path().join(path)).unwrap()).collect();
    let covered = archive.layout().manifest(before[1].name());
    let kept_manifest = fs::read(&covered).unwrap();
    archive.compact(header.session_id, CompactOptions::default(), &Watch::NONE).unwrap();
    // As a cut leaves them.
    fs::write(&covered, &kept_manifest).unwrap();
    for (path, bytes) in old.iter().zip(kept).filter(|(path, _)| !dir.path().join(path).exists()) {
        fs::write(dir.path().join(path), bytes).unwrap();
    }
    let left = verify::segment_files(&archive).unwrap();
    // The one that counts, and one that it covers.
    for path in [archive.layout().manifest(before[0].name()), covered] {
        let whole = fs::read(&path).unwrap();
        fs::write(&path, b"{").unwrap();
        assert_eq!(recover(&archive).unwrap().removed_files, 0, "{path:?}");
        assert_eq!(verify::segment_files(&archive).unwrap(), left, "{path:?}");
        fs::write(&path, whole).unwrap();
    }
    assert!(recover(&archive).unwrap().removed_files > 0);
    assert_whole(&archive, &header, &messages);
}

/// A cut came before the part was removed, and then the disk.
#[test]
fn a_part_whose_own_manifest_cannot_be_read_waits_and_those_behind_it() {
    let dir = quick_dir();
    let (archive, header, messages, parts) = crashed(dir.path(), 240);
    let kept = fs::read(&parts[0]).unwrap();
    seal(&archive, &parts[0]).unwrap();
    fs::write(&parts[0], kept).unwrap();
    let path = archive.layout().manifest(PartName::of(&parts[0]).unwrap());
    fs::write(&path, b"{").unwrap();
    let segments = verify::segment_files(&archive).unwrap();
    let report = recover(&archive).unwrap();
    assert!(report.has_loss() && report.parts == 0 && report.rebuilt.is_empty(), "{report:?}");
    assert!(parts.iter().all(|part| part.exists()), "all wait");
    assert_eq!(verify::segment_files(&archive).unwrap(), segments);
    fs::remove_file(path).unwrap();
    recover(&archive).unwrap();
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

/// What no reader of JSON would see.
#[test]
fn a_manifest_in_which_a_number_became_another_is_none() {
    let dir = quick_dir();
    let (archive, header, messages) = sealed(dir.path(), 60);
    let path = archive.layout().manifest(archive.read_manifests().unwrap()[0].name());
    let text = fs::read_to_string(&path).unwrap();
    let changed = text.replacen("\"decode_errors\": 0", "\"decode_errors\": 7", 1);
    assert_ne!(changed, text);
    fs::write(&path, changed).unwrap();
    let told = verify(&archive, VerifyOptions::default()).unwrap().problems;
    let name = path.strip_prefix(dir.path()).unwrap().to_str().unwrap();
    let is_it = |p: &Problem| matches!(p, Problem::Unreadable { path, .. } if path == name);
    assert!(told.iter().any(is_it), "{told:?}");
    assert_eq!(recover(&archive).unwrap().rebuilt.len(), 1);
    assert_same(&header, &rows(&archive, &ScanOptions::default()), &messages);
}

#[test]
fn a_manifest_that_names_other_places_is_none() {
    let dir = quick_dir();
    let (archive, header, messages) = sealed(&dir.path().join("a"), 120);
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
        assert_eq!(report.rebuilt.len(), 1, "{path}: {report:?}");
        assert_same(&header, &rows(&archive, &ScanOptions::default()), &messages);
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

#[test]
fn a_zero_row_file_of_a_kind_without_declaration_is_made_anew() {
    let dir = quick_dir();
    let (archive, ..) = sealed(dir.path(), 60);
    let mut other = header(2);
    other.sources[0].kinds.push(KindHeader { name: "message".into(), declaration: None });
    archive.begin_session(&mut other).unwrap();
    archive.end_session(other.session_id, START_US).unwrap();
    let path = dir.path().join(layout::schema_path(&other.sources[0].vendor, "message"));
    let whole = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(!recover(&archive).unwrap().has_loss());
    assert_eq!(fs::read(&path).unwrap(), whole);
    // Its folder as well: the sidecar knows of it.
    fs::remove_dir_all(path.parent().unwrap().parent().unwrap()).unwrap();
    recover(&archive).unwrap();
    assert_eq!(fs::read(&path).unwrap(), whole);
    assert!(verify(&archive, VerifyOptions::default()).unwrap().is_content());

    // Columns that only the segments tell of any more.
    let path = dir.path().join(layout::schema_path("jointech", "alarm"));
    let names = || {
        let columns = archive.schema_file_columns("jointech", "alarm").unwrap();
        columns.iter().map(|field| field.name().clone()).collect::<Vec<_>>()
    };
    let before = names();
    fs::remove_file(&path).unwrap();
    fs::remove_dir_all(dir.path().join("schema")).unwrap();
    archive.mend_schema_files().unwrap();
    assert_eq!(names(), before);
}
