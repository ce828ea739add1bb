//! The index of who holds the archive's lock: it stays open as long as the lock is held, so that `-wal` and `-shm` are
//! there for readers who could not make them.
//!
//! No file descriptor on `index.sqlite` but SQLite's own may be closed meanwhile: the system would take all of this
//! process's locks from the file with it, and somebody else's SQLite could take the log away.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::Archive;
use crate::disk::create_new_with_mode;
use crate::index::{Index, IndexError};

/// What is shared by those of this process who write what is derived.
#[derive(Debug, Default)]
pub(super) struct Derived {
    stays_open: bool,
    index: Option<Index>,
}

/// Held with the archive's lock.
#[derive(Debug)]
pub(super) struct KeepsIndex(Arc<Mutex<Derived>>);

impl Drop for KeepsIndex {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Derived::default();
    }
}

impl Archive {
    pub(super) fn keep_index_open(&self) -> KeepsIndex {
        self.hold_derived().stays_open = true;
        KeepsIndex(self.derived.clone())
    }

    /// Opens an index for writing, and makes it with the permissions of everything else: SQLite gives
    /// what it keeps beside it the same.
    pub(super) fn writable_index(&self, path: &Path) -> Result<Index, IndexError> {
        match create_new_with_mode(path, self.file_mode()) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(IndexError::refused(path, error)),
            _ => Index::open(path).map_err(|error| error.or_refused(path)),
        }
    }
}

impl Derived {
    /// Until it is next written to: for who replaces the file, or reads it byte by byte.
    pub(super) fn close_index(&mut self) {
        self.index = None;
    }

    pub(super) fn write_index(
        &mut self,
        archive: &Archive,
        write: impl Fn(&mut Index) -> Result<(), IndexError>,
    ) -> Result<(), IndexError> {
        // Gone, it is closed before another is made in its place.
        let (open, path) = (self.index.take().filter(Index::is_in_place), archive.layout.index());
        let written = open.map_or_else(|| archive.writable_index(&path), Ok).and_then(|mut index| {
            write(&mut index)?;
            Ok(index)
        });
        let index = written.map_err(|error| error.or_refused(&path))?;
        self.index = self.stays_open.then_some(index);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::tests::support::header;

    #[test]
    fn a_query_that_was_begun_before_keeps_nobody_from_recording_nor_does_the_indexs_removal() {
        let dir = tempfile::tempdir().unwrap();
        let archive = Archive::create_or_open(dir.path().join("a"), "").unwrap();
        archive.begin_session(&mut header(1)).unwrap();
        let endless = rusqlite::Connection::open(archive.layout().index()).unwrap();
        endless.execute_batch("BEGIN; SELECT * FROM session").unwrap();

        let lock = archive.lock().unwrap();
        let sessions = || archive.open_index().unwrap().sessions().unwrap().len();
        archive.begin_session(&mut header(2)).unwrap();
        assert_eq!(sessions(), 2);
        for end in ["", "-wal", "-shm"] {
            std::fs::remove_file(dir.path().join(format!("a/index.sqlite{end}"))).unwrap();
        }
        archive.begin_session(&mut header(3)).unwrap();
        assert_eq!(sessions(), 1, "the others are found in their sidecars");
        drop(lock);
        let names = std::fs::read_dir(archive.root()).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert!(!names.iter().any(|name| name.starts_with("index.sqlite-")), "{names:?}");
        drop(endless);
    }
}
