//! One writer at a time: locks that the system releases however their holder ends.
//!
//! The lock on the archive's folder decides who writes. Nobody can remove it, and nobody takes it to look. Its holder
//! shows itself in `ARCHIVE/lock`: a new file each time, locked and written before it gets its name, so that readers,
//! who look at it by taking it for a moment, are in no starting writer's way. Where folders cannot be locked (NFS), the
//! file decides, and a writer tries for a while. Whoever rewrites a sidecar locks the folder `sessions`, or a file in it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, Instant};

use super::Archive;
use super::error::{ArchiveError, IoContext};
use super::kept_index::KeepsIndex;
use super::time::format_us;
use crate::clock::Clock;
use crate::disk::{create_new_with_mode, is_full};

/// How long a writer tries to get past readers, who hold a lock for microseconds.
const PATIENCE: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(2);

/// Held by whoever writes to the archive: `record`, `recover`, `reindex`. Dropping it lets others in.
#[derive(Debug)]
pub struct Lock {
    _keeps_index: Option<KeepsIndex>,
    _file: Option<File>,
    _folder: Option<File>,
}

impl Archive {
    /// Takes the archive for writing; if somebody has it, says who.
    pub fn lock(&self) -> Result<Lock, ArchiveError> {
        let folder = File::open(self.root()).doing("open", self.root())?;
        // Who shows that it writes is not waited for.
        let is_shown = || File::open(self.layout.lock()).is_ok_and(|shown| is_held(&shown));
        let folder = match if is_shown() { folder.try_lock() } else { try_for_a_while(&folder) } {
            Ok(()) => Some(folder),
            Err(TryLockError::WouldBlock) => return Err(self.refusal()),
            Err(TryLockError::Error(_)) => None,
        };
        let file = match &folder {
            // The file may be of a program that knows nothing of the folder's lock.
            Some(_) if is_shown() => return Err(self.refusal()),
            Some(_) => match self.show() {
                // The folder's lock is what counts. Who has it, nobody can be told then.
                Err(ArchiveError::Io { source, .. }) if is_full(&source) => self.show_without_room(),
                shown => Some(shown?),
            },
            None => Some(self.take_file()?),
        };
        Ok(Lock { _keeps_index: Some(self.keep_index_open()), _file: file, _folder: folder })
    }

    /// A new `lock`, held from the moment that it can be seen.
    fn show(&self) -> Result<File, ArchiveError> {
        let path = self.layout.lock();
        let new = path.with_extension("new");
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            removed => removed.doing("remove", &new)?,
        }
        let file = create_new_with_mode(&new, self.file_mode()).doing("create", &new)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(self.refusal()),
            Err(TryLockError::Error(source)) => {
                return Err(ArchiveError::Io { action: "lock", path: new, source });
            }
        }
        writeln!(&file, "{}", us()).doing("write", &new)?;
        std::fs::rename(&new, &path).doing("rename", &new)?;
        Ok(file)
    }

    /// The `lock` of before, held and emptied, for that takes no room; none where there is none.
    fn show_without_room(&self) -> Option<File> {
        let path = self.layout.lock();
        let _ = std::fs::remove_file(path.with_extension("new"));
        let emptied = OpenOptions::new().write(true).truncate(true).open(&path);
        let file = emptied.or_else(|_| File::open(&path)).ok()?;
        try_for_a_while(&file).is_ok().then_some(file)
    }

    /// The lock where folders cannot be locked.
    fn take_file(&self) -> Result<File, ArchiveError> {
        let path = self.layout.lock();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(self.file_mode());
        options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
        let mut file = options.open(&path).doing("open", &path)?;
        match try_for_a_while(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(self.refusal()),
            Err(TryLockError::Error(source)) => {
                return Err(ArchiveError::Io { action: "lock", path, source });
            }
        }
        file.set_len(0).doing("write", &path)?;
        file.seek(SeekFrom::Start(0)).doing("write", &path)?;
        writeln!(file, "{}", us()).doing("write", &path)?;
        Ok(file)
    }

    fn refusal(&self) -> ArchiveError {
        let mut holder = String::new();
        let read =
            File::open(self.layout.lock()).and_then(|file| file.take(1_000).read_to_string(&mut holder));
        let known = read.is_ok() && !holder.trim().is_empty();
        let holder = if known { holder.trim().to_owned() } else { "who, it does not say".to_owned() };
        ArchiveError::Locked { path: self.root().to_owned(), holder }
    }

    /// Waits for whoever rewrites a sidecar at the moment: a recorder, or a verb beside it. Held for an instant. None
    /// where the folder is not the operating system's: of a simulated disk.
    pub(super) fn lock_sidecars(&self) -> Result<Option<Lock>, ArchiveError> {
        let path = self.layout.sessions();
        match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            opened => self.lock_sidecars_by(opened.doing("open", &path)?).map(Some),
        }
    }

    fn lock_sidecars_by(&self, folder: File) -> Result<Lock, ArchiveError> {
        let lock = loop {
            match folder.lock() {
                Ok(()) => break folder,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break self.lock_sidecars_file()?,
            }
        };
        Ok(Lock { _keeps_index: None, _file: Some(lock), _folder: None })
    }

    /// The same where folders cannot be locked.
    fn lock_sidecars_file(&self) -> Result<File, ArchiveError> {
        let path = self.layout.sidecars_lock();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(self.file_mode());
        options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
        let file = options.open(&path).doing("open", &path)?;
        file.lock().doing("lock", &path)?;
        Ok(file)
    }

    /// Whether somebody, this process included, is writing to the archive.
    pub fn is_locked(&self) -> bool {
        match File::open(self.layout.lock()) {
            Ok(shown) => is_held(&shown),
            // Somebody may have removed it.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                File::open(self.root()).is_ok_and(|folder| is_held(&folder))
            }
            Err(_) => false,
        }
    }
}

fn is_held(file: &File) -> bool {
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

fn try_for_a_while(file: &File) -> Result<(), TryLockError> {
    let since = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if since.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            other => return other,
        }
    }
}

/// As whom the holder of a lock shows itself.
fn us() -> String {
    format!("process {} since {}", std::process::id(), format_us(Clock::System.now().wall_us))
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

    #[test]
    fn without_room_for_a_lock_file_the_folder_is_locked_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let archive = Archive::create_or_open(dir.path().join("a"), "").unwrap();
        assert!(archive.show_without_room().is_none(), "there has been none");
        drop(archive.lock().unwrap());
        let folder = File::open(archive.root()).unwrap();
        folder.lock().unwrap();
        let shown = archive.show_without_room();
        assert!(shown.is_some() && archive.is_locked());
        let refused = archive.lock().unwrap_err().to_string();
        assert!(refused.contains("does not say"), "nobody else is named: {refused}");
        drop((shown, folder));
        archive.lock().unwrap();
    }

    #[test]
    fn a_removed_lock_file_lets_nobody_in() {
        let dir = tempfile::tempdir().unwrap();
        let archive = Archive::create_or_open(dir.path().join("a"), "").unwrap();
        let lock = archive.lock().unwrap();
        std::fs::remove_file(archive.layout.lock()).unwrap();
        assert!(archive.is_locked());
        assert!(matches!(archive.lock(), Err(ArchiveError::Locked { .. })));
        drop(lock);
        assert!(!archive.is_locked());
        archive.lock().unwrap();
    }

    #[test]
    fn a_hundred_readers_who_look_refuse_no_writer() {
        let dir = tempfile::tempdir().unwrap();
        let archive = Archive::create_or_open(dir.path().join("a"), "").unwrap();
        drop(archive.lock().unwrap());
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..100 {
                scope.spawn(|| {
                    while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                        archive.is_locked();
                    }
                });
            }
            let taken: Vec<bool> =
                (0..50).map(|_| archive.lock().is_ok_and(|_| archive.is_locked())).collect();
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(taken.iter().all(|taken| *taken), "{taken:?}");
        });
    }

    #[test]
    fn where_folders_cannot_be_locked_a_file_locks_the_sidecars() {
        let dir = tempfile::tempdir().unwrap();
        let archive = Archive::create_or_open(dir.path().join("a"), "").unwrap();
        // What is only a place and not opened cannot be locked.
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(rustix::fs::OFlags::PATH.bits() as i32);
        let place = || options.open(archive.layout.sessions()).unwrap();
        assert!(place().lock().is_err());
        let lock = archive.lock_sidecars_by(place()).unwrap();
        let is_file_held = || is_held(&File::open(archive.layout.sidecars_lock()).unwrap());
        assert!(is_file_held());
        drop(lock);
        assert!(!is_file_held());
        archive.lock_sidecars_by(place()).unwrap();
        assert_eq!(archive.read_sidecars().unwrap(), []);
    }

    #[test]
    fn where_folders_cannot_be_locked_the_file_decides() {
        let dir = tempfile::tempdir().unwrap();
        let archive = Archive::create_or_open(dir.path().join("a"), "").unwrap();
        let file = archive.take_file().unwrap();
        assert!(archive.is_locked());
        assert!(matches!(archive.take_file(), Err(ArchiveError::Locked { .. })));
        // So is whoever knows of the folder's lock.
        assert!(matches!(archive.lock(), Err(ArchiveError::Locked { .. })));
        drop(file);
        // A reader who looks at this very moment is waited for.
        let looked = File::open(archive.layout.lock()).unwrap();
        looked.lock_shared().unwrap();
        std::thread::scope(|scope| {
            let taken = scope.spawn(|| archive.take_file());
            drop(looked);
            assert!(taken.join().unwrap().is_ok());
        });
    }
}
