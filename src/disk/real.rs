//! The operating system's disk.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{Disk, DiskFile};

/// Plain files. What is recorded is personal data, so new files and folders belong to their owner
/// alone unless the group is let in.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk {
    /// New files may be read, and new folders entered, by the group as well.
    pub group_readable: bool,
}

impl RealDisk {
    fn file_mode(self) -> u32 {
        if self.group_readable { 0o640 } else { 0o600 }
    }

    fn dir_mode(self) -> u32 {
        if self.group_readable { 0o750 } else { 0o700 }
    }
}

/// A new file with just these permissions: the umask of whoever starts the program is not asked, since what may be read
/// and by whom is configured.
pub fn create_new_with_mode(path: &Path, mode: u32) -> io::Result<File> {
    let file = OpenOptions::new().read(true).append(true).create_new(true).mode(mode).open(path)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(file)
}

/// A new file at `path` that only its owner may read, as all that may hold what was recorded; an older one is emptied.
pub fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Makes the folder `path`, and those above it, for their owner alone.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

struct RealFile(File);

impl Write for RealFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for RealFile {
    fn sync_data(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// Bytes that the file system of `path`, or of the nearest folder above it that there is, holds in all.
pub fn total_bytes(path: &Path) -> io::Result<u64> {
    let path = std::path::absolute(path)?;
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(&path);
    let stat = rustix::fs::statvfs(there)?;
    Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
}

impl Disk for RealDisk {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile(create_new_with_mode(path, self.file_mode())?)))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        if path.as_os_str().is_empty() || path.is_dir() {
            return Ok(());
        }
        let parent = path.parent().unwrap_or(Path::new(""));
        self.create_dir_all(parent)?;
        match DirBuilder::new().mode(self.dir_mode()).create(path) {
            // Somebody else was faster; their name may not be durable yet, so sync all the same.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            Err(error) => return Err(error),
            Ok(()) => fs::set_permissions(path, Permissions::from_mode(self.dir_mode()))?,
        }
        self.sync_dir(parent)
    }

    fn read(&self, path: &Path) -> io::Result<Bytes> {
        fs::read(path).map(Bytes::from)
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn io::Read + Send>> {
        Ok(Box::new(File::open(path)?))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        fs::metadata(path).map(|m| m.len())
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_data()
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(len)?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        // A relative path of one name has the empty path as its parent.
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        File::open(path)?.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                files.push(entry.path());
            }
        }
        files.sort();
        Ok(files)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_grow_by_appending_and_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let disk = RealDisk::default();
        let deep = folder.path().join("a/b");
        disk.create_dir_all(&deep).unwrap();
        let path = deep.join("x");
        let mut file = disk.create_new(&path).unwrap();
        file.write_all(b"hello ").unwrap();
        file.write_all(b"there").unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(&deep).unwrap();
        assert_eq!(disk.read(&path).unwrap(), &b"hello there"[..]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&deep).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(matches!(disk.create_new(&path), Err(e) if e.kind() == io::ErrorKind::AlreadyExists));

        disk.truncate(&path, 5).unwrap();
        disk.rename(&path, &deep.join("y")).unwrap();
        assert_eq!(disk.list(&deep).unwrap(), [deep.join("y")]);
        assert_eq!(disk.len(&deep.join("y")).unwrap(), 5);
        assert!(disk.list(&deep.join("missing")).unwrap().is_empty());
        assert!(disk.free_bytes(&deep).unwrap() > 0);
    }
}
