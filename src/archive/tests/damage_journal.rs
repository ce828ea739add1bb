//! What lies in the journal: cases of the table in `recover`, and what `verify` says of its parts.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use super::damage::{all, assert_content};
use super::support::*;
use crate::archive::*;
use crate::message::{Message, SessionHeader};

/// An archive whose session lies in the journal only.
pub(super) fn crashed(
    root: &std::path::Path,
    n: u64,
) -> (Archive, SessionHeader, Vec<Message>, Vec<PathBuf>) {
    let archive = Archive::create_or_open(root, "home-12").unwrap();
    let mut header = header(1);
    archive.begin_session(&mut header).unwrap();
    let messages = messages(&header, n);
    let parts = record(archive.disk(), &archive, &header, &messages, 10_000);
    (archive, header, messages, parts)
}

#[test]
fn case_a_l_a_part_without_a_manifest_is_sealed_and_its_session_ended() {
    let dir = quick_dir();
    let (archive, header, messages, parts) = crashed(dir.path(), 60);
    let waiting = verify(&archive, VerifyOptions::default()).unwrap();
    assert!(waiting.is_content() && !waiting.leftovers.is_empty(), "not sealed is no damage: {waiting:?}");
    let report = recover(&archive).unwrap();
    assert_eq!((report.parts, report.messages), (parts.len() as u64, 60));
    assert_eq!(report.sessions, [header.session_id]);
    assert!(!report.has_loss());
    assert_same(&header, &all(&archive), &messages);
    assert_content(&archive);
    let session = archive.resolve("latest").unwrap();
    assert_eq!(session.ended_at_us, Some(messages[59].at.wall_us));
    assert!(archive.layout().journal().read_dir().unwrap().next().is_none());
}

#[test]
fn case_b_k_files_of_a_cut_seal_are_removed_and_sealed_anew() {
    let dir = quick_dir();
    let (archive, header, messages, parts) = crashed(dir.path(), 60);
    let name = PartName::of(&parts[0]).unwrap();
    let stale = format!("data/vendor=delicode/kind=demographics/date=2026-11-22/{name}.parquet");
    fs::create_dir_all(dir.path().join(&stale).parent().unwrap()).unwrap();
    fs::write(dir.path().join(&stale), "half").unwrap();
    fs::write(archive.layout().tmp().join("x.parquet"), "half").unwrap();
    let report = recover(&archive).unwrap();
    assert_eq!(report.removed_files, 2);
    assert!(!dir.path().join(&stale).exists());
    assert_same(&header, &all(&archive), &messages);
    assert_content(&archive);
}

#[test]
fn case_b_whole_files_of_a_cut_seal_are_not_taken_for_those_of_a_lost_manifest() {
    let dir = quick_dir();
    let (archive, header, messages, parts) = crashed(dir.path(), 60);
    let kept = fs::read(&parts[0]).unwrap();
    seal(&archive, &parts[0]).unwrap();
    fs::write(&parts[0], kept).unwrap();
    fs::remove_file(archive.layout().manifest(PartName::of(&parts[0]).unwrap())).unwrap();
    let report = recover(&archive).unwrap();
    assert!(!report.has_loss() && report.removed_files > 0, "a crash is no damage: {report:?}");
    assert_same(&header, &all(&archive), &messages);
    assert_content(&archive);
}

#[test]
fn case_c_a_part_that_is_committed_is_only_released() {
    let dir = quick_dir();
    let (archive, header, messages, parts) = crashed(dir.path(), 60);
    let kept = fs::read(&parts[0]).unwrap();
    seal(&archive, &parts[0]).unwrap();
    let manifest = archive.layout().manifest(PartName::of(&parts[0]).unwrap());
    let before = fs::read(&manifest).unwrap();
    fs::write(&parts[0], kept).unwrap();
    fs::remove_file(archive.layout().index()).unwrap();
    recover(&archive).unwrap();
    assert_eq!(fs::read(&manifest).unwrap(), before);
    assert_same(&header, &all(&archive), &messages);
    assert_content(&archive);
}

#[test]
fn case_d_a_committed_part_whose_file_is_gone_is_sealed_again() {
    let dir = quick_dir();
    let (archive, header, messages, parts) = crashed(dir.path(), 60);
    let kept = fs::read(&parts[0]).unwrap();
    seal(&archive, &parts[0]).unwrap();
    fs::write(&parts[0], kept).unwrap();
    let file = verify::segment_files(&archive).unwrap().remove(0);
    fs::remove_file(dir.path().join(file)).unwrap();
    recover(&archive).unwrap();
    assert_same(&header, &all(&archive), &messages);
    assert_content(&archive);
}

#[test]
fn case_e_a_torn_tail_is_dropped_and_is_no_loss() {
    let dir = quick_dir();
    let (archive, header, messages, parts) = crashed(dir.path(), 60);
    let last = parts.last().unwrap();
    let whole = fs::read(last).unwrap();
    fs::write(last, &whole[..whole.len() - 5]).unwrap();
    let report = recover(&archive).unwrap();
    assert!(report.torn_tail_bytes > 0 && !report.has_loss(), "{report:?}");
    assert_same(&header, &all(&archive), &messages[..59]);
    assert_content(&archive);
}

#[test]
fn case_f_damage_in_the_middle_costs_what_it_hit_and_is_written_down() {
    let dir = quick_dir();
    let (archive, _, _, parts) = crashed(dir.path(), 60);
    let mut bytes = fs::read(&parts[0]).unwrap();
    let at = bytes.windows(14).position(|w| w == br#""alarmType":40"#).unwrap();
    bytes[at] ^= 1;
    fs::write(&parts[0], bytes).unwrap();
    let report = recover(&archive).unwrap();
    assert_eq!(report.lost.iter().map(|l| l.range).collect::<Vec<_>>(), [SeqRange::from(2..3)]);
    let seqs: Vec<u64> = all(&archive).iter().map(|r| r.seq).collect();
    assert_eq!(seqs, (0..60).filter(|&seq| seq != 2).collect::<Vec<_>>());
    let verified = verify(&archive, VerifyOptions::default()).unwrap();
    assert!(verified.is_content(), "{verified:?}");
    assert_eq!(verified.known_lost, report.lost);
    assert!(!recover(&archive).unwrap().has_loss(), "said once");
}

#[test]
fn case_f_a_part_cut_short_before_another_is_a_loss() {
    let dir = quick_dir();
    let (archive, ..) = crashed(dir.path(), 60);
    let parts = archive.layout().journal();
    let mut parts: Vec<_> = parts.read_dir().unwrap().map(|e| e.unwrap().path()).collect();
    parts.sort();
    let whole = fs::read(&parts[0]).unwrap();
    fs::write(&parts[0], &whole[..whole.len() - 5]).unwrap();
    let report = recover(&archive).unwrap();
    assert!(report.has_loss() && report.lost_messages() == 1, "{report:?}");
    assert_content(&archive);
}

#[test]
fn case_g_a_torn_header_is_removed() {
    let dir = quick_dir();
    let (archive, header, messages, parts) = crashed(dir.path(), 60);
    let name = PartName { session_id: header.session_id, part: parts.len() as u32 };
    fs::write(archive.layout().part(name), b"\x89TRJ").unwrap();
    assert!(!recover(&archive).unwrap().has_loss());
    assert_same(&header, &all(&archive), &messages);
    assert_content(&archive);
}

fn break_header(part: &std::path::Path) {
    let mut bytes = fs::read(part).unwrap();
    bytes[40] ^= 1;
    fs::write(part, bytes).unwrap();
}

fn mended(archive: &Archive, report: &RecoverReport) -> Vec<PathBuf> {
    report.mended.iter().map(|mended| archive.root().join(&mended.path)).collect()
}

#[test]
fn case_h_a_broken_header_is_made_again_from_another_part() {
    for nth in [0, 1] {
        let dir = quick_dir();
        let (archive, header, messages, parts) = crashed(dir.path(), 60);
        assert!(parts.len() > nth);
        break_header(&parts[nth]);
        let report = recover(&archive).unwrap();
        assert_eq!((mended(&archive, &report), report.lost_messages()), (parts[nth..=nth].to_vec(), 0));
        assert!(report.has_loss() && report.loss().contains("in its header"), "it is told: {report:?}");
        assert_same(&header, &all(&archive), &messages);
        assert_content(&archive);
        assert_eq!(recover(&archive).unwrap(), RecoverReport::default());
    }
}

#[test]
fn case_h_headers_that_are_all_broken_are_made_again_from_the_sidecar() {
    let dir = quick_dir();
    let (archive, header, messages, parts) = crashed(dir.path(), 60);
    let whole: Vec<_> = parts.iter().map(|part| fs::read(part).unwrap()).collect();
    parts.iter().for_each(|part| break_header(part));
    let report = recover(&archive).unwrap();
    assert_eq!((report.parts, report.messages), (parts.len() as u64, 60));
    assert_eq!(mended(&archive, &report), parts);
    assert_same(&header, &all(&archive), &messages);
    assert_content(&archive);
    assert!(parts.len() > 1 && whole.iter().all(|bytes| bytes.len() > 10_000), "with declarations in them");
}

/// Each byte of a head, so of a part that is the only one of its session.
#[test]
fn case_h_no_byte_of_a_header_costs_a_message() {
    let dir = quick_dir();
    let archive = Archive::create_or_open(dir.path(), "home-12").unwrap();
    let mut header = header(1);
    for source in &mut header.sources {
        source.kinds.iter_mut().for_each(|kind| kind.declaration = None);
    }
    archive.begin_session(&mut header).unwrap();
    let messages = messages(&header, 6);
    let parts = record(archive.disk(), &archive, &header, &messages, 1 << 20);
    let [part] = parts.as_slice() else { panic!("one part: {parts:?}") };
    let whole = fs::read(part).unwrap();
    let head_bytes = 20 + u32::from_le_bytes(whole[12..16].try_into().unwrap()) as usize;
    for at in 0..head_bytes {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(part, bytes).unwrap();
        let (name, mut report) = (PartName::of(part).unwrap(), RecoverReport::default());
        assert!(recover::is_readable(&archive, name, &HashMap::new(), &mut report).unwrap(), "byte {at}");
        assert!(fs::read(part).unwrap() == whole, "byte {at}: the part is what it was");
    }
    assert!(!recover(&archive).unwrap().has_loss());
    assert_same(&header, &all(&archive), &messages);
}

#[test]
fn a_sidecar_knows_by_which_declaration_each_source_is_decoded() {
    let dir = quick_dir();
    let archive = Archive::create_or_open(dir.path(), "home-12").unwrap();
    let mut header = header(1);
    let mut other = header.sources[1].clone();
    other.name = "other".into();
    other.kinds[0].declaration.as_mut().unwrap().push_str("# as of the new firmware\n");
    other.kinds[1].declaration = None;
    header.sources.push(other);
    archive.begin_session(&mut header).unwrap();
    assert_eq!(archive.session_header(header.session_id).unwrap(), Some(header.clone()));

    // One of an early version does not say: the newest it is.
    let path = archive.layout().sidecar(header.session_id);
    archive
        .edit_sidecar_locked(header.session_id, |sidecar| {
            sidecar.sources.iter_mut().for_each(|source| source.declared = None);
            Ok(())
        })
        .unwrap();
    let early = archive.session_header(header.session_id).unwrap().unwrap();
    let newest = &header.sources[2].kinds[0].declaration;
    assert!(early.sources[1..].iter().all(|source| source.kinds[0].declaration == *newest));
    fs::remove_file(path).unwrap();
    assert_eq!(archive.session_header(header.session_id).unwrap(), None);
}

#[test]
fn case_h_a_part_that_cannot_be_read_is_kept_and_said() {
    let dir = quick_dir();
    let (archive, _, _, parts) = crashed(dir.path(), 60);
    parts.iter().for_each(|part| break_header(part));
    // What else says what was in the headers is damaged as well.
    let header = archive.read_sidecars().unwrap().remove(0).session_id;
    fs::remove_file(archive.layout().sidecar(header)).unwrap();
    let report = recover(&archive).unwrap();
    assert!(report.has_loss() && report.set_aside.len() == parts.len(), "{report:?}");
    assert!(report.set_aside.iter().all(|path| path.exists()));
    let verified = verify(&archive, VerifyOptions::default()).unwrap();
    let is_told = |problem: &Problem| matches!(problem, Problem::SetAside { .. });
    assert!(verified.problems.len() == parts.len() && verified.problems.iter().all(is_told), "{verified:?}");
}

#[test]
fn case_m_a_missing_sidecar_comes_from_the_part() {
    let dir = quick_dir();
    let (archive, header, messages, _) = crashed(dir.path(), 30);
    fs::remove_file(archive.layout().sidecar(header.session_id)).unwrap();
    recover(&archive).unwrap();
    assert_same(&header, &all(&archive), &messages);
    assert_content(&archive);
}

#[test]
fn a_journal_part_that_is_gone_is_missed_by_verify() {
    for nth in [0, 1] {
        let dir = quick_dir();
        let (archive, header, _, parts) = crashed(dir.path(), 240);
        let report = verify(&archive, VerifyOptions::default()).unwrap();
        assert!(report.is_content(), "{report:?}");
        assert!(parts.len() > nth + 1);
        fs::remove_file(&parts[nth]).unwrap();
        let report = verify(&archive, VerifyOptions::default()).unwrap();
        let gone = parts[nth].strip_prefix(dir.path()).unwrap().display().to_string();
        let [Problem::Missing { path }, Problem::SeqMissing { session_id, range }] = &report.problems[..]
        else {
            panic!("{report:?}");
        };
        assert_eq!((path, *session_id), (&gone, header.session_id));
        let lost = recover(&archive).unwrap().lost;
        assert_eq!(lost.iter().map(|lost| lost.range).collect::<Vec<_>>(), [*range]);
    }
}

#[test]
fn case_p_a_broken_part_under_another_name_is_kept_and_said() {
    for name in ["taken", "free", "of another session", "sealed", "none"] {
        let dir = quick_dir();
        let (archive, header, messages, parts) = crashed(dir.path(), 120);
        assert!(parts.len() > 2, "{parts:?}");
        let mut bytes = fs::read(&parts[1]).unwrap();
        bytes[40] ^= 1;
        let layout = archive.layout();
        let session_id = header.session_id;
        let other = header_of_sealed(&archive);
        let path = match name {
            "taken" => parts[0].clone(),
            "free" => layout.part(PartName { session_id, part: 9 }),
            "of another session" => layout.part(PartName { session_id: other, part: 70 }),
            "sealed" => layout.part(PartName { session_id: other, part: 0 }),
            _ => layout.journal().join("backup.journal"),
        };
        fs::write(&path, &bytes).unwrap();
        let gone = if name == "taken" { parts[1..].to_vec() } else { parts.clone() };
        let file = path.file_name().unwrap().to_str().unwrap();
        let found = verify(&archive, VerifyOptions::default()).unwrap();
        assert!(found.problems.iter().any(|p| p.to_string().contains(file)), "{name}: {found:?}");

        let report = recover(&archive).unwrap();
        let aside = PathBuf::from(format!("{}.damaged", path.display()));
        assert_eq!(report.set_aside, std::slice::from_ref(&aside), "{name}: {report:?}");
        assert!(report.has_loss() && fs::read(&aside).unwrap() == bytes, "{name}");
        assert!(gone.iter().all(|part| !part.exists()), "{name}: the others are sealed");
        let options = ScanOptions { sessions: vec![session_id], ..ScanOptions::default() };
        let given = rows(&archive, &options);
        if name == "taken" {
            assert!(!given.is_empty() && given.len() + report.lost_messages() as usize == messages.len());
        } else {
            assert_same(&header, &given, &messages);
        }
        let left = verify(&archive, VerifyOptions::default()).unwrap().problems;
        assert!(matches!(&left[..], [Problem::SetAside { path }] if path.contains(file)), "{name}: {left:?}");
        assert_eq!(recover(&archive).unwrap().set_aside, [] as [PathBuf; 0], "{name}: said once");
    }
}

/// A session that is sealed, beside the one that is not.
fn header_of_sealed(archive: &Archive) -> crate::message::SessionId {
    add_session(archive, 7, 12).0.session_id
}
