//! One writer at a time: a lock on `ARCHIVE/lock` that the system releases however its holder ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;

use super::Archive;
use super::error::{ArchiveError, IoContext};
use super::time::format_us;
use crate::clock::Clock;

/// Held by whoever writes to the archive: `record`, `recover`, `reindex`. Dropping it lets others in.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Archive {
    /// Takes the archive for writing; if somebody has it, says who.
    pub fn lock(&self) -> Result<Lock, ArchiveError> {
        let path = self.layout.lock();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(self.file_mode());
        options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
        let mut file = options.open(&path).doing("open", &path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let known = file.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
                let holder = if known { holder.trim().to_owned() } else { "who, it does not say".to_owned() };
                return Err(ArchiveError::Locked { path: self.root().to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => {
                return Err(ArchiveError::Io { action: "lock", path, source });
            }
        }
        let holder =
            format!("process {} since {}", std::process::id(), format_us(Clock::System.now().wall_us));
        file.set_len(0).doing("write", &path)?;
        file.seek(SeekFrom::Start(0)).doing("write", &path)?;
        writeln!(file, "{holder}").doing("write", &path)?;
        Ok(Lock { _file: file })
    }

    /// Waits for whoever rewrites a sidecar at the moment: a recorder, or a verb beside it. Held for an instant. None
    /// where the folder is not the operating system's: of a simulated disk.
    pub(super) fn lock_sidecars(&self) -> Result<Option<Lock>, ArchiveError> {
        let path = self.layout.sessions();
        let folder = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.doing("open", &path)?,
        };
        folder.lock().doing("lock", &path)?;
        Ok(Some(Lock { _file: folder }))
    }

    /// Whether somebody, this process included, is writing to the archive.
    pub fn is_locked(&self) -> bool {
        let Ok(file) = File::open(self.layout.lock()) else { return false };
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_writer_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let archive = Archive::create_or_open(dir.path().join("a"), "").unwrap();
        assert!(!archive.is_locked());
        let lock = archive.lock().unwrap();
        assert!(archive.is_locked());
        let refused = archive.lock().unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        drop(lock);
        archive.lock().unwrap();
    }
}
