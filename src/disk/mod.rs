//! The file operations that durability rests on: the real ones, and a simulated disk that loses
//! what was not synced.
//!
//! Only what must survive a crash goes through [`Disk`]: journal parts, sealed segments, manifests,
//! sidecars. Reading for queries and replay uses plain files.
//!
//! The rules a caller must keep, and which the simulated disk enforces by forgetting:
//! bytes are durable after `sync_data` of their file; a name (created, renamed or removed) is durable
//! after `sync_dir` of its folder; a rename between two folders needs both, the target's first.
//! After a failed `sync_data` the unsynced bytes of that file are lost for good: the kernel may have
//! dropped them, so that a second call which succeeds proves nothing.

mod real;
mod sim;

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

pub use real::{RealDisk, create_new_with_mode, create_private, create_private_dir, total_bytes};
pub use sim::{Fault, Operation, SimDisk};

/// Whether a write, or the making of a file, has taken nothing for want of room, or since the disk is read-only: it can be
/// tried again when somebody has mended that.
pub fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem)
}

/// A file being written, append only.
pub trait DiskFile: io::Write + Send {
    /// Makes all bytes written so far durable (fdatasync).
    fn sync_data(&mut self) -> io::Result<()>;
}

/// A disk.
pub trait Disk: Debug + Send + Sync {
    /// Creates a file that must not exist yet.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Creates a folder and its parents, durably.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// The whole content.
    fn read(&self, path: &Path) -> io::Result<Bytes>;
    /// The content from the start, piece by piece.
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn io::Read + Send>>;
    /// The length in bytes.
    fn len(&self, path: &Path) -> io::Result<u64>;
    /// Makes durable what another process has written into a file, as far as it can still be read (fsync).
    fn sync_file(&self, path: &Path) -> io::Result<()>;
    /// Cuts a file to `len` bytes and syncs it.
    fn truncate(&self, path: &Path, len: u64) -> io::Result<()>;
    /// Replaces `to` if it exists.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Makes names in this folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// The files directly in a folder, sorted; none if the folder is missing.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;
    /// Bytes still free for us on the file system that holds `path`.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
}
