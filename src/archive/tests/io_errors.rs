//! An I/O error is no damage: it says nothing of what is in a file, so nothing is set aside, removed or called missing
//! for it.
//!
//! The errors are those that links give: a loop cannot be opened, and what a process has of its memory begins with a
//! stretch that cannot be read (EIO).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::damage::{all, assert_content};
use super::rewrite::Template;
use super::support::*;
use crate::archive::*;

const CANNOT_BE_READ: &str = "/proc/self/mem";

/// Another file in the place of one, until it is put back.
struct Hidden {
    path: PathBuf,
    kept: PathBuf,
}

impl Hidden {
    fn behind(path: &Path, to: &Path) -> Self {
        let kept = path.with_extension("kept");
        fs::rename(path, &kept).unwrap();
        symlink(to, path).unwrap();
        Self { path: path.to_owned(), kept }
    }

    fn put_back(self) {
        assert!(self.path.is_symlink(), "it was left where it is");
        fs::rename(self.kept, self.path).unwrap();
    }
}

#[test]
fn a_segment_that_is_not_given_while_a_manifest_is_made_anew_is_left_and_told() {
    let template = Template::new();
    let archive = Archive::open(template.dir.path()).unwrap();
    for to in [CANNOT_BE_READ, "a-loop.parquet"] {
        let lost = archive.read_manifests().unwrap().remove(1);
        let path = archive.root().join(&lost.files[0].path);
        let to = if to == CANNOT_BE_READ { PathBuf::from(to) } else { path.clone() };
        fs::remove_file(archive.layout().manifest(lost.name())).unwrap();
        let hidden = Hidden::behind(&path, &to);
        let before = verify::segment_files(&archive).unwrap();
        for _ in 0..2 {
            let report = recover(&archive).unwrap();
            assert!(report.rebuilt.is_empty() && report.set_aside.is_empty(), "{report:?}");
            let is_told = |p: &Problem| {
                let said = p.to_string();
                said.contains(&lost.files[0].path) && said.contains("could not be read")
            };
            assert!(report.has_loss() && report.problems.iter().any(is_told), "{report:?}");
            assert!(reindex(&archive).unwrap().rebuilt.is_empty());
            assert_eq!(verify::segment_files(&archive).unwrap(), before);
        }
        hidden.put_back();
        let report = recover(&archive).unwrap();
        assert_eq!((report.rebuilt.len(), report.rebuilt[0].unknown), (1, 0), "{report:?}");
        assert!(report.rebuilt[0].set_aside.is_empty());
        assert_same(&template.header, &all(&archive), &template.messages);
        assert_content(&archive);
    }
}

#[test]
fn a_segment_that_cannot_be_looked_at_is_not_called_missing() {
    let dir = quick_dir();
    let (archive, ..) = sealed(dir.path(), 60);
    let path = dir.path().join(verify::segment_files(&archive).unwrap().remove(0));
    let hidden = Hidden::behind(&path, &path);
    for options in [VerifyOptions::default(), VerifyOptions { quick: true }] {
        let error = verify(&archive, options).unwrap_err();
        assert!(error.describe().contains(path.to_str().unwrap()), "{error}");
        assert!(!error.is_damage(), "{error:?}");
    }
    let mut problems = Vec::new();
    assert!(check_segments(&archive, &mut problems, &|_, _| ()).is_err() && problems.is_empty());
    hidden.put_back();
    assert_content(&archive);
}

/// A reader of Parquet makes a text of it.
#[test]
fn what_the_disk_does_not_give_is_told_as_that_by_whoever_reads_segments() {
    let dir = quick_dir();
    for n in 0..9 {
        fs::write(dir.path().join(n.to_string()), "").unwrap();
    }
    // A folder can be opened, and has a length; no byte of it is given.
    let error = verify::rows::read_seqs(dir.path(), None).unwrap_err();
    assert!(matches!(&error, ArchiveError::Io { path, .. } if path == dir.path()), "{error:?}");
    assert!(!error.is_damage());
}

/// A cut came between the manifest and the removal of its part.
#[test]
fn segments_that_cannot_be_looked_at_are_not_removed_to_be_sealed_again() {
    let dir = quick_dir();
    let archive = Archive::create_or_open(dir.path(), "home-12").unwrap();
    let mut header = header(1);
    archive.begin_session(&mut header).unwrap();
    let messages = messages(&header, 60);
    let parts = record(archive.disk(), &archive, &header, &messages, 1 << 20);
    let kept = fs::read(&parts[0]).unwrap();
    seal(&archive, &parts[0]).unwrap();
    fs::write(&parts[0], &kept).unwrap();
    let files = verify::segment_files(&archive).unwrap();
    let path = dir.path().join(&files[0]);
    let hidden = Hidden::behind(&path, &path);
    let error = recover(&archive).unwrap_err();
    assert!(matches!(&error, ArchiveError::Io { path: of, .. } if *of == path), "{error:?}");
    assert_eq!((verify::segment_files(&archive).unwrap(), fs::read(&parts[0]).unwrap()), (files, kept));
    hidden.put_back();
    recover(&archive).unwrap();
    assert_same(&header, &all(&archive), &messages);
    assert_content(&archive);
}

#[test]
fn where_a_mark_of_a_rewrite_cannot_be_looked_at_nothing_is_made_anew() {
    let template = Template::new();
    let archive = Archive::open(template.dir.path()).unwrap();
    let lost = archive.read_manifests().unwrap().remove(1);
    let manifest = archive.layout().manifest(lost.name());
    let kept = fs::read(&manifest).unwrap();
    fs::remove_file(&manifest).unwrap();
    let mark = archive.layout().rewriting(template.header.session_id);
    symlink(&mark, &mark).unwrap();
    for failed in [recover(&archive).map(drop), reindex(&archive).map(drop)] {
        let error = failed.unwrap_err();
        assert!(matches!(&error, ArchiveError::Io { path, .. } if *path == mark), "{error:?}");
    }
    assert!(!manifest.exists());
    fs::remove_file(&mark).unwrap();
    fs::write(&manifest, kept).unwrap();
    assert_content(&archive);
}

#[test]
fn nothing_is_set_aside_over_what_cannot_be_looked_at() {
    let dir = quick_dir();
    let (archive, ..) = sealed(dir.path(), 12);
    let path = dir.path().join("file");
    let aside = |n: &str| dir.path().join(format!("file{n}.damaged"));
    fs::write(&path, "third").unwrap();
    fs::write(aside(""), "first").unwrap();
    symlink(aside(".2"), aside(".2")).unwrap();
    durable::set_aside(&**archive.disk(), &path).unwrap_err();
    assert!(path.exists() && aside(".2").is_symlink());
    fs::remove_file(aside(".2")).unwrap();
    assert_eq!(durable::set_aside(&**archive.disk(), &path).unwrap(), aside(".2"));
    assert_eq!(fs::read(aside("")).unwrap(), b"first");
}
