//! Removing on a full disk, where nothing but that makes room.

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::rewrite::assert_clean;
use super::support::*;
use crate::archive::*;
use crate::disk::{Disk, DiskFile, RealDisk};
use crate::message::SessionHeader;

/// The system's disk, with so much room as is left on it.
#[derive(Clone, Debug)]
struct Narrow {
    real: RealDisk,
    free: Arc<Mutex<u64>>,
}

impl Narrow {
    fn new() -> Self {
        Self { real: RealDisk::default(), free: Arc::new(Mutex::new(u64::MAX)) }
    }

    fn is_full(&self) {
        *self.free.lock().unwrap() = 0;
    }
}

struct NarrowFile(Box<dyn DiskFile>, Arc<Mutex<u64>>);

impl Write for NarrowFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut free = self.1.lock().unwrap();
        let room = bytes.len().min(usize::try_from(*free).unwrap_or(usize::MAX));
        if room < bytes.len() && room == 0 {
            return Err(ErrorKind::StorageFull.into());
        }
        let written = self.0.write(&bytes[..room])?;
        *free -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl DiskFile for NarrowFile {
    fn sync_data(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

impl Disk for Narrow {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(NarrowFile(self.real.create_new(path)?, Arc::clone(&self.free))))
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.real.create_dir_all(path)
    }
    fn read(&self, path: &Path) -> io::Result<Bytes> {
        self.real.read(path)
    }
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn io::Read + Send>> {
        self.real.open_read(path)
    }
    fn len(&self, path: &Path) -> io::Result<u64> {
        self.real.len(path)
    }
    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.real.sync_file(path)
    }
    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        self.real.truncate(path, len)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.real.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let len = self.real.len(path)?;
        self.real.remove_file(path)?;
        let mut free = self.free.lock().unwrap();
        *free = free.saturating_add(len);
        Ok(())
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.real.sync_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.real.list(path)
    }
    /// As where a quota counts, it does not say.
    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.real.free_bytes(path)
    }
}

fn narrow() -> (tempfile::TempDir, Narrow, Archive) {
    let (dir, disk) = (quick_dir(), Narrow::new());
    let archive =
        Archive::create_or_open_on(Arc::new(disk.clone()), dir.path().join("a"), "home-12").unwrap();
    (dir, disk, archive)
}

/// A session of `n` messages of which the first part is sealed and the others wait in the journal.
fn half_sealed(archive: &Archive, id: u8, n: u64) -> SessionHeader {
    let mut header = header(id);
    archive.begin_session(&mut header).unwrap();
    let parts = record(archive.disk(), archive, &header, &messages(&header, n), 3_000);
    assert!(parts.len() > 1);
    seal(archive, &parts[0]).unwrap();
    header
}

fn everything() -> PruneOptions {
    PruneOptions { before_us: Some(i64::MAX), ..PruneOptions::default() }
}

#[test]
fn what_is_sealed_is_pruned_though_there_is_no_room_to_seal_the_rest_and_that_is_sealed_then() {
    let (_dir, disk, archive) = narrow();
    let (sealed, _) = add_session(&archive, 1, 400);
    let waits = half_sealed(&archive, 2, 30);
    let unsealed = archive.parts().unwrap();
    disk.is_full();
    assert!(recover(&archive).is_err_and(|error| is_for_room(&error)));
    let (report, postponed) = recover_as_room_allows(&archive).unwrap();
    assert!(postponed.is_some_and(|error| is_for_room(&error)));
    assert_eq!((report.parts, report.has_loss()), (0, false));

    let mut pruned = Vec::new();
    archive.prune(&everything(), &Watch::NONE, &mut |of| pruned.push(of)).unwrap();
    assert_eq!(
        pruned.iter().map(|of| (of.session_id, of.whole)).collect::<Vec<_>>(),
        [(sealed.session_id, true)]
    );
    assert_eq!(archive.parts().unwrap(), unsealed);

    // The room that it made.
    let (report, postponed) = recover_as_room_allows(&archive).unwrap();
    assert_eq!((report.parts, postponed.is_none()), (unsealed.len() as u64, true));
    assert_same(&waits, &rows(&archive, &ScanOptions::default()), &messages(&waits, 30));
    assert_clean(&archive);
}

#[test]
fn a_session_that_waits_to_be_sealed_can_be_removed_and_does_not_come_back() {
    let (_dir, disk, archive) = narrow();
    let waits = half_sealed(&archive, 2, 30);
    archive.end_session(waits.session_id, START_US).unwrap();
    disk.is_full();
    recover_as_room_allows(&archive).unwrap();
    assert!(archive.unsealed_bytes(&[waits.session_id]).unwrap() > 0);
    // Though it is said to have ended, it is not pruned by half.
    archive.prune(&everything(), &Watch::NONE, &mut |of| panic!("{of:?}")).unwrap();
    archive.remove_session(waits.session_id).unwrap();
    assert_eq!((archive.list().unwrap(), archive.parts().unwrap()), (vec![], vec![]));
    let report = recover(&archive).unwrap();
    assert_eq!((report.parts, report.sessions), (0, vec![]));
    assert_clean(&archive);
}

#[test]
fn the_shortest_segment_that_finds_no_room_is_known_to_have_found_none() {
    let (_dir, disk, archive) = narrow();
    let mut header = header(1);
    archive.begin_session(&mut header).unwrap();
    record(archive.disk(), &archive, &header, &[message(&header, 0, "other", 0, "{}")], 10_000);
    disk.is_full();
    let (_, postponed) = recover_as_room_allows(&archive).unwrap();
    assert!(postponed.is_some());
}

#[test]
fn of_a_session_that_cannot_be_pruned_all_is_said_to_be_left() {
    let (_dir, disk, archive) = narrow();
    add_session(&archive, 1, 200);
    disk.is_full();
    let kinds = vec!["location".to_owned()];
    let manifests = archive.read_manifests().unwrap();
    assert!(manifests.len() > 1);
    let files = manifests.iter().flat_map(|manifest| &manifest.files);
    let bytes = files.filter(|file| file.kind == "location").map(|file| file.bytes).sum();
    let options = PruneOptions { max_bytes: Some(0), kinds, ..PruneOptions::default() };
    let mut failed = 0;
    let told = &mut |_: &str, pruned: Result<Pruned, ArchiveError>| {
        assert!(is_for_room(&pruned.unwrap_err()));
        failed += 1;
        Ok(())
    };
    let left = archive.prune_each(&options, &Watch::NONE, told).unwrap().unwrap();
    assert_eq!((failed, left.bytes), (1, bytes));
    assert!(left.to_string().contains("in files that could not be pruned"), "{left}");
}
