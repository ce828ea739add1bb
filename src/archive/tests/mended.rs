//! What a sidecar that is made anew says, and does not say; what a user writes into the archive's README.

use std::fs;

use super::damage::{all, assert_content};
use super::support::*;
use crate::archive::*;

#[test]
fn of_a_session_with_a_lost_sidecar_it_is_not_said_that_its_names_are_no_pseudonyms() {
    let dir = quick_dir();
    let (archive, header, _) = sealed(dir.path(), 60);
    let id = header.session_id;
    let known = |archive: &Archive| {
        (
            archive.read_sidecar(id).unwrap().map(|own| own.pseudonymized),
            archive.info(id).unwrap().pseudonymized,
        )
    };
    assert_eq!(known(&archive), (Some(Some(false)), Some(false)));
    let sidecar = archive.layout().sidecar(id);
    assert!(!fs::read_to_string(&sidecar).unwrap().contains("pseudonymized"), "as in early versions");
    fs::remove_file(&sidecar).unwrap();
    assert_eq!(known(&archive), (None, None));
    for has_index in [true, false] {
        fs::remove_file(&sidecar).unwrap_or_default();
        if !has_index {
            fs::remove_file(archive.layout().index()).unwrap();
        }
        let report = recover(&archive).unwrap();
        assert!(report.loss().contains("with pseudonyms, are not known any more"), "{}", report.loss());
        assert_eq!(known(&archive), (Some(None), None));
        assert!(fs::read_to_string(&sidecar).unwrap().contains("\"pseudonymized\": null"));
        assert_content(&archive);
    }
}

#[test]
fn a_lost_sidecar_is_made_of_any_segment_that_is_whole() {
    let dir = quick_dir();
    let (archive, header, _) = sealed(dir.path(), 60);
    let first = archive.read_manifests().unwrap().remove(0).files.remove(0);
    let path = dir.path().join(&first.path);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    fs::remove_file(archive.layout().sidecar(header.session_id)).unwrap();
    fs::remove_file(archive.layout().index()).unwrap();
    recover(&archive).unwrap();
    let mended = archive.read_sidecar(header.session_id).unwrap().unwrap();
    assert_eq!((mended.name, mended.site), (header.name, header.site));
}

#[test]
fn messages_that_are_gone_with_the_sidecar_are_missed() {
    let dir = quick_dir();
    let (archive, header, _) = sealed(dir.path(), 120);
    let last = archive.read_manifests().unwrap().pop().unwrap();
    fs::remove_file(archive.layout().manifest(last.name())).unwrap();
    last.files.iter().for_each(|file| fs::remove_file(dir.path().join(&file.path)).unwrap());
    fs::remove_file(archive.layout().sidecar(header.session_id)).unwrap();
    let report = recover(&archive).unwrap();
    let range = SeqRange { seq_start: last.seq_start, seq_end: 120 };
    let missing = Problem::SeqMissing { session_id: header.session_id, range };
    assert_eq!(report.problems, std::slice::from_ref(&missing), "{report:?}");
    assert_eq!(verify(&archive, VerifyOptions::default()).unwrap().problems, [missing]);
}

#[test]
fn a_readme_with_words_of_a_users_is_neither_damage_nor_left_over() {
    let dir = quick_dir();
    let (archive, header, messages) = sealed(dir.path(), 12);
    let readme = archive.layout().readme();
    let written = fs::read_to_string(&readme).unwrap();
    let theirs = format!("{written}\nRecorded in the shop in Oulu.\n");
    fs::write(&readme, &theirs).unwrap();
    let report = verify(&archive, VerifyOptions::default()).unwrap();
    assert!(report.is_content() && report.leftovers.is_empty(), "{report:?}");
    assert!(
        matches!(&report.notes[..], [note] if note.starts_with("README.md has been changed")),
        "{report:?}"
    );
    assert_eq!(recover(&archive).unwrap(), RecoverReport::default());
    assert_eq!(fs::read_to_string(&readme).unwrap(), theirs, "it stays theirs");
    fs::remove_file(&readme).unwrap();
    assert_eq!(verify(&archive, VerifyOptions::default()).unwrap().leftovers.len(), 1);
    recover(&archive).unwrap();
    assert_eq!(fs::read_to_string(&readme).unwrap(), written);
    assert_same(&header, &all(&archive), &messages);
}
