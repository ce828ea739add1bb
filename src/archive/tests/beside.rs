//! An archive that changes between two steps of somebody who only looks.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::support::*;
use crate::archive::verify::{VerifyOptions, VerifyReport, verify};
use crate::archive::{Archive, seal};
use crate::disk::{Disk, DiskFile, RealDisk};

/// Does something before a folder is listed for the nth time.
struct Meddling {
    folder: &'static str,
    nth: Mutex<u32>,
    act: Box<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Meddling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meddling").finish_non_exhaustive()
    }
}

const REAL: RealDisk = RealDisk { group_readable: false };

impl Disk for Meddling {
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        if path.ends_with(self.folder) {
            let mut nth = self.nth.lock().unwrap();
            *nth = nth.wrapping_sub(1);
            if *nth == 0 {
                (self.act)();
            }
        }
        REAL.list(path)
    }
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        REAL.create_new(path)
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        REAL.create_dir_all(path)
    }
    fn read(&self, path: &Path) -> io::Result<Bytes> {
        REAL.read(path)
    }
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn io::Read + Send>> {
        REAL.open_read(path)
    }
    fn len(&self, path: &Path) -> io::Result<u64> {
        REAL.len(path)
    }
    fn sync_file(&self, path: &Path) -> io::Result<()> {
        REAL.sync_file(path)
    }
    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        REAL.truncate(path, len)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        REAL.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        REAL.remove_file(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        REAL.sync_dir(path)
    }
    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        REAL.free_bytes(path)
    }
}

/// What `verify` finds if `act` comes before each of the first listings of a folder, one after the other: somewhere
/// among them is the worst moment.
fn found(
    folder: &'static str,
    prepare: impl Fn(&Archive),
    act: impl Fn(&Archive) + Clone + Send + Sync + 'static,
) -> Vec<VerifyReport> {
    let meddled = |nth| {
        let dir = quick_dir();
        let (archive, ..) = sealed(dir.path(), 20);
        prepare(&archive);
        let act = act.clone();
        let disk = Meddling { folder, nth: Mutex::new(nth), act: Box::new(move || act(&archive)) };
        let looking = Archive::open_on(Arc::new(disk), dir.path()).unwrap();
        verify(&looking, VerifyOptions::default()).unwrap()
    };
    (1..=8).map(meddled).collect()
}

#[test]
fn a_recorder_that_begins_while_one_looks_is_no_damage() {
    let begins = |archive: &Archive| {
        let _lock = archive.lock().unwrap();
        archive.begin_session(&mut header(9)).unwrap();
    };
    for report in found("sessions", |_| (), begins) {
        assert_eq!(report.problems, []);
    }
}

#[test]
fn a_session_that_is_recorded_and_sealed_while_one_looks_is_no_damage() {
    for folder in ["sessions", "manifests"] {
        let records = |archive: &Archive| drop(add_session(archive, 9, 20));
        for report in found(folder, |_| (), records) {
            assert_eq!(report.problems, []);
        }
    }
}

#[test]
fn a_journal_part_that_is_sealed_while_one_looks_is_no_damage_and_no_error() {
    let waits = |archive: &Archive| {
        let mut header = header(9);
        archive.begin_session(&mut header).unwrap();
        record(archive.disk(), archive, &header, &messages(&header, 20), 1 << 20);
    };
    let seals = |archive: &Archive| {
        for part in REAL.list(&archive.layout().journal()).unwrap() {
            seal(archive, &part).unwrap();
        }
    };
    for folder in ["journal", "sessions"] {
        for report in found(folder, waits, seals) {
            assert_eq!(report.problems, []);
        }
    }
}

#[test]
fn damage_is_told_though_the_archive_changes_while_one_looks() {
    let loses = |archive: &Archive| {
        let segment = crate::archive::verify::segment_files(archive).unwrap().remove(0);
        std::fs::remove_file(archive.root().join(segment)).unwrap();
    };
    let records = |archive: &Archive| drop(add_session(archive, 9, 20));
    for report in found("sessions", loses, records) {
        assert_eq!(report.problems.len(), 1, "{report:?}");
    }
}
