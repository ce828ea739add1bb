//! Small files of an archive, of any text: what is in them is told, or taken as it is, and leads nowhere else.

use super::support::*;
use crate::archive::*;
use crate::fuzz::{Target, assert_words};

const WORDS: [&str; 18] = [
    "../",
    "/etc/x",
    "data/vendor=",
    ".parquet",
    "seq_start",
    "seq_end",
    "rows",
    "lost",
    "removed",
    "blocks",
    "importing",
    "clips",
    "marks",
    "sources",
    "settings",
    "2026-11-22T23:59:59.999999Z",
    "+262143-01-01T00:00:00Z",
    "latest",
];

/// What is said of an archive in which one small file is hostile. Whether nothing was wrong with it.
fn is_told(archive: &Archive, bytes: &[u8]) -> bool {
    let report = match verify(archive, VerifyOptions { quick: true }) {
        Ok(report) => report,
        Err(error) => {
            assert_words(&error.to_string(), bytes.len());
            return false;
        }
    };
    for problem in &report.problems {
        assert_words(&problem.to_string(), bytes.len());
    }
    if let Err(error) = archive.list() {
        assert_words(&error.to_string(), bytes.len());
    }
    for session in archive.list().unwrap_or_default() {
        if let Err(error) = archive.lost_of(session.session_id) {
            assert_words(&error.to_string(), bytes.len());
        }
    }
    report.is_content()
}

/// A sealed session, of which one file is `path`; and what is in that.
fn sealed_with(
    path: impl FnOnce(&Archive) -> std::path::PathBuf,
) -> (tempfile::TempDir, Archive, std::path::PathBuf, Vec<u8>) {
    let folder = quick_dir();
    let (archive, _, _) = sealed(folder.path(), 24);
    let path = path(&archive);
    let bytes = std::fs::read(&path).unwrap();
    (folder, archive, path, bytes)
}

#[test]
fn hostile_manifests_are_told_or_true() {
    let (_folder, archive, path, right) =
        sealed_with(|archive| archive.layout().manifest(archive.read_manifests().unwrap()[0].name()));
    Target::new("manifests").cases(100).inputs([right]).words(&WORDS).memory(16 << 20, 256).run(|bytes| {
        std::fs::write(&path, bytes).unwrap();
        is_told(&archive, bytes)
    });
}

#[test]
fn hostile_sidecars_are_told_or_true() {
    let (_folder, archive, path, right) =
        sealed_with(|archive| archive.layout().sidecar(archive.read_sidecars().unwrap()[0].session_id));
    Target::new("sidecars").cases(100).inputs([right]).words(&WORDS).memory(16 << 20, 256).run(|bytes| {
        std::fs::write(&path, bytes).unwrap();
        is_told(&archive, bytes)
    });
}

#[test]
fn hostile_descriptions_are_told_or_true() {
    let (folder, _, path, right) = sealed_with(|archive| archive.layout().archive_json());
    Target::new("archive_json").cases(1_000).inputs([right]).words(&["format", "site"]).run(|bytes| {
        std::fs::write(&path, bytes).unwrap();
        match Archive::open(folder.path()) {
            Ok(archive) => archive.site().len() <= bytes.len(),
            Err(error) => {
                assert_words(&error.to_string(), bytes.len());
                false
            }
        }
    });
}
