//! A file that is written beside its target and renamed when it is whole: whoever looks sees the old or the new.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::error::{ExchangeError, IoContext};

const BUFFER_BYTES: usize = 256 << 10;

/// A file in the making. Dropped before it is [put in place](Target::put), it leaves nothing.
#[derive(Debug)]
pub struct Target {
    path: PathBuf,
    tmp: PathBuf,
    file: BufWriter<File>,
    is_put: bool,
}

impl Target {
    pub fn create(path: &Path) -> Result<Self, ExchangeError> {
        let tmp = beside(path);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&tmp);
        let file = BufWriter::with_capacity(BUFFER_BYTES, file.doing("create", &tmp)?);
        Ok(Self { path: path.to_owned(), tmp, file, is_put: false })
    }

    /// Syncs, and puts it where it belongs. Returns its length.
    pub fn put(mut self) -> Result<u64, ExchangeError> {
        self.file.flush().doing("write", &self.tmp)?;
        let file = self.file.get_ref();
        file.sync_all().doing("sync", &self.tmp)?;
        let bytes = file.metadata().doing("read", &self.tmp)?.len();
        fs::rename(&self.tmp, &self.path).doing("rename to", &self.path)?;
        self.is_put = true;
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        File::open(folder).and_then(|folder| folder.sync_all()).doing("sync", folder)?;
        Ok(bytes)
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Target {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.is_put {
            let _ = fs::remove_file(&self.tmp);
        }
    }
}

/// A name in the same folder that nobody else writes to.
pub(super) fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_file_stays_until_the_new_one_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.jsonl");
        fs::write(&path, "old").unwrap();
        let mut target = Target::create(&path).unwrap();
        target.write_all(b"new").unwrap();
        drop(target);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        let mut target = Target::create(&path).unwrap();
        target.write_all(b"newer").unwrap();
        assert_eq!(target.put().unwrap(), 5);
        assert_eq!(fs::read(&path).unwrap(), b"newer");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
