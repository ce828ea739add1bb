//! What is gone after a crash and nothing follows it: the last part of a journal, or the only one; folders that nobody
//! misses.

use std::fs;
use std::path::{Path, PathBuf};

use super::support::*;
use crate::archive::*;
use crate::message::{SessionHeader, SessionId};

/// A session whose parts lie in the journal, and whose sidecar tells how far it had come: into the last of them.
fn crashed(root: &Path) -> (Archive, SessionHeader, Vec<PathBuf>, u64) {
    let archive = Archive::create_or_open(root, "home-12").unwrap();
    let mut header = header(1);
    archive.begin_session(&mut header).unwrap();
    let messages = messages(&header, 60);
    let parts = record(archive.disk(), &archive, &header, &messages, 10_000);
    assert!(parts.len() > 1, "{parts:?}");
    archive.note_reached(header.session_id, 60).unwrap();
    (archive, header, parts, 60)
}

fn name_of(part: &Path) -> String {
    format!("journal/{}", part.file_name().unwrap().to_str().unwrap())
}

/// The last stretch that is missing.
fn missing(problems: &[Problem], of: SessionId) -> Option<(u64, u64)> {
    let range = |problem: &Problem| match problem {
        Problem::SeqMissing { session_id, range } => (*session_id == of).then_some(*range),
        _ => None,
    };
    problems.iter().rev().find_map(range).map(|range| (range.seq_start, range.seq_end))
}

fn problems(archive: &Archive) -> Vec<Problem> {
    verify(archive, VerifyOptions::default()).unwrap().problems
}

#[test]
fn the_only_journal_part_that_is_gone_is_missed() {
    let dir = quick_dir();
    let (archive, header, parts, reached) = crashed(dir.path());
    parts.iter().for_each(|part| fs::remove_file(part).unwrap());
    let found = problems(&archive);
    assert!(found.contains(&Problem::Missing { path: name_of(&parts[0]) }), "{found:?}");
    assert_eq!(missing(&found, header.session_id), Some((0, reached)));
    let report = recover(&archive).unwrap();
    assert!(report.has_loss());
    assert_eq!(missing(&report.problems, header.session_id), Some((0, reached)));
    assert_eq!(missing(&problems(&archive), header.session_id), Some((0, reached)), "it stays so");
}

#[test]
fn the_last_journal_part_that_is_gone_is_missed() {
    let dir = quick_dir();
    let (archive, header, parts, reached) = crashed(dir.path());
    let (last, others) = parts.split_last().unwrap();
    others.iter().for_each(|part| drop(seal(&archive, part).unwrap()));
    assert_eq!(problems(&archive), [], "nothing is missing yet");
    fs::remove_file(last).unwrap();
    let found = problems(&archive);
    assert!(found.contains(&Problem::Missing { path: name_of(last) }), "{found:?}");
    let (from, to) = missing(&found, header.session_id).unwrap();
    assert!(from > 0 && from < to && to == reached, "{from} to {to}");
    let report = recover(&archive).unwrap();
    assert_eq!(missing(&report.problems, header.session_id), Some((from, to)));
    assert_eq!(rows(&archive, &ScanOptions::default()).len() as u64, from, "what is whole is there");
}

#[test]
fn a_last_journal_part_that_was_cut_off_is_missed_as_far_as_it_was_on_disk() {
    for left in [0, 10, 200] {
        let dir = quick_dir();
        let (archive, header, parts, reached) = crashed(dir.path());
        fs::OpenOptions::new().write(true).open(parts.last().unwrap()).unwrap().set_len(left).unwrap();
        let (from, to) = missing(&problems(&archive), header.session_id).unwrap();
        assert!(from > 0 && to == reached, "{left}: {from} to {to}");
        let report = recover(&archive).unwrap();
        assert_eq!(missing(&report.problems, header.session_id), Some((from, to)), "{left}");
    }
}

#[test]
fn a_copy_without_journal_and_tmp_misses_nothing() {
    let dir = quick_dir();
    let (archive, ..) = crashed(dir.path());
    fs::remove_dir_all(archive.layout().journal()).unwrap();
    fs::remove_dir_all(archive.layout().tmp()).unwrap();
    assert_eq!(problems(&archive), []);
    assert!(!recover(&archive).unwrap().has_loss());
    assert_eq!(problems(&archive), []);
}

#[test]
fn a_journal_is_sealed_though_tmp_was_tidied_up() {
    let dir = quick_dir();
    let (archive, _, parts, reached) = crashed(dir.path());
    fs::remove_dir_all(archive.layout().tmp()).unwrap();
    seal(&archive, &parts[0]).unwrap();
    fs::remove_dir_all(archive.layout().tmp()).unwrap();
    assert!(!recover(&archive).unwrap().has_loss());
    assert_eq!(rows(&archive, &ScanOptions::default()).len() as u64, reached);
}
