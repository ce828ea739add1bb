//! The simulated disk with its files on a real folder as well, since the archive's readers open plain files; and builds
//! that are broken on purpose.
//!
//! Each change goes to the [`SimDisk`] first, which decides what becomes of it, and then, as far as it was done, to the
//! folder: what a program sees while it runs (the page cache). A power cut puts into the folder what the simulated
//! disk has kept. The index is SQLite's and never goes through a [`Disk`]; what a crash does to it is [`spoil`]ed in.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, RngExt};

use crate::disk::{Disk, DiskFile, Fault, Operation, RealDisk, SimDisk};

/// A step that a broken build leaves out, or takes too early. Done to the disk's calls, so that no switch is in the
/// program itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    JournalNotSynced,
    JournalNameNotSynced,
    SegmentsNotSynced,
    SmallFilesNotSynced,
    SegmentNamesNotSynced,
    ManifestNamesNotSynced,
    SidecarNamesNotSynced,
    /// The acknowledgement before the sync: it is done with the next operation.
    AcknowledgedBeforeSync,
    /// Steps 2 and 3 of sealing and rewriting.
    ManifestBeforeSegments,
    /// Steps 5 and 3 of sealing.
    PartRemovedBeforeManifest,
    /// A failed sync is called again, and believed.
    FailedSyncRetried,
    /// Recovery builds on names that it finds, without making sure that they are durable. It takes a kill at one
    /// operation and a cut soon after to see it: has a test of its own (`again`).
    FoundNamesNotSynced,
}

#[derive(Clone, Debug)]
pub(super) struct ShadowDisk {
    sim: SimDisk,
    root: PathBuf,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    broken: Option<Broken>,
    log: Option<Vec<String>>,
    /// Renames into `data/` that wait for a manifest, with that switch.
    held: Vec<(PathBuf, PathBuf)>,
    /// Whether this process has changed anything yet.
    changed: bool,
    /// A journal part whose sync has been claimed and not been done.
    claimed: Option<Arc<Mutex<Box<dyn DiskFile>>>>,
    /// The power goes off so many operations after the next manifest has its name.
    off_after_commit: Option<u64>,
}

impl std::fmt::Debug for dyn DiskFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DiskFile")
    }
}

impl ShadowDisk {
    pub(super) fn new(root: &Path, broken: Option<Broken>, log: bool) -> Self {
        let sim = SimDisk::new();
        sim.write_in_any_order();
        let inner = Inner { broken, log: log.then(Vec::new), ..Inner::default() };
        Self { sim, root: root.to_owned(), inner: Arc::new(Mutex::new(inner)) }
    }

    pub(super) fn sim(&self) -> &SimDisk {
        &self.sim
    }

    /// Adds a line to the log, if one is kept.
    pub(super) fn note(&self, line: impl FnOnce() -> String) {
        if let Some(log) = &mut self.lock().log {
            log.push(line());
        }
    }

    pub(super) fn log(&self) -> Vec<String> {
        self.lock().log.clone().unwrap_or_default()
    }

    /// Another process begins.
    pub(super) fn begin(&self, what: &str) {
        self.note(|| format!("=== {what}"));
        let mut inner = self.lock();
        (inner.changed, inner.off_after_commit) = (false, None);
    }

    /// Cuts the power just before the `nth` (from 1) operation after a manifest gets its name: what a commit promises
    /// is there by then, or never.
    pub(super) fn power_off_after_commit(&self, nth: u64) {
        self.lock().off_after_commit = Some(nth);
    }

    /// The power goes off, and on again: what was not synced may be gone.
    pub(super) fn crash(&self, rng: &mut StdRng) {
        let seed = rng.next_u64();
        self.note(|| format!("--- the power went off ({seed:#x})"));
        {
            let mut inner = self.lock();
            inner.held.clear();
            inner.claimed = None;
        }
        self.sim.crash(seed);
        let kept: BTreeSet<PathBuf> = self.sim.files().into_iter().collect();
        remove_others(&self.root, &kept);
        for path in &kept {
            let bytes = self.sim.read(path).unwrap();
            if fs::read(path).ok().is_none_or(|known| known != bytes) {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, bytes).unwrap();
            }
        }
        spoil(&self.root, rng);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn committed(&self) {
        let nth = self.lock().off_after_commit.take();
        nth.into_iter().for_each(|nth| self.sim.power_off_at(nth));
    }

    fn is(&self, broken: Broken) -> bool {
        self.lock().broken == Some(broken)
    }

    fn named(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().into_owned()
    }

    fn told<T>(&self, what: &str, path: &Path, result: io::Result<T>) -> io::Result<T> {
        self.note(|| {
            let end = result.as_ref().err().map_or(String::new(), |error| format!(": {error}"));
            format!("{} {what} {}{end}", self.sim.operations(), self.named(path))
        });
        result
    }

    /// What had been claimed to be done is done now.
    fn catch_up(&self) {
        let claimed = self.lock().claimed.take();
        if let Some(file) = claimed {
            let _ = file.lock().unwrap().sync_data();
        }
    }

    fn rename_now(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.lock().changed = true;
        let done = self.sim.rename(from, to);
        self.told("rename to", to, shadowed(done, || fs::rename(from, to)))
    }

    fn sync_dir_now(&self, path: &Path) -> io::Result<()> {
        let done = self.sim.sync_dir(path);
        self.told("sync the folder", path, done)
    }

    fn remove_now(&self, path: &Path) -> io::Result<()> {
        self.lock().changed = true;
        let done = self.sim.remove_file(path);
        self.told("remove", path, shadowed(done, || fs::remove_file(path)))
    }
}

/// Does the same to the folder; also to what the simulated disk does not know, which is the index.
fn shadowed(done: io::Result<()>, same: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => same(),
    }
}

fn is_index(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("index.sqlite"))
}

fn remove_others(folder: &Path, kept: &BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            remove_others(&path, kept);
        } else if !kept.contains(&path) && !is_index(&path) {
            fs::remove_file(&path).unwrap();
        }
    }
}

/// The index after a power cut: as it was, of an earlier time, gone, without its log, cut, or with a hole.
fn spoil(root: &Path, rng: &mut StdRng) {
    let (index, old) = (root.join("index.sqlite"), root.with_extension("index-before"));
    let with = |suffix: &str| root.join(format!("index.sqlite{suffix}"));
    match rng.random_range(0..10) {
        0 => {
            let _ = fs::remove_file(&index);
        }
        1 | 2 if old.exists() => {
            fs::copy(&old, &index).unwrap();
            let _ = fs::remove_file(with("-wal"));
        }
        3 => {
            let _ = fs::remove_file(with("-wal"));
        }
        4 => {
            if let Ok(file) = OpenOptions::new().write(true).open(&index) {
                let len = file.metadata().unwrap().len();
                file.set_len(rng.random_range(0..=len)).unwrap();
            }
        }
        5 => {
            if let Ok(mut bytes) = fs::read(&index)
                && bytes.len() > 4096
            {
                let page = rng.random_range(0..bytes.len() / 4096) * 4096;
                bytes[page..page + 4096].fill(0);
                fs::write(&index, bytes).unwrap();
            }
        }
        _ => {}
    }
    let _ = fs::remove_file(with("-shm"));
    if index.exists() {
        fs::copy(&index, &old).unwrap();
    }
}

struct ShadowFile {
    disk: ShadowDisk,
    path: PathBuf,
    inner: Arc<Mutex<Box<dyn DiskFile>>>,
    real: File,
}

impl ShadowFile {
    fn is_part(&self) -> bool {
        self.path.extension().is_some_and(|e| e == "journal")
    }

    fn skips_sync(&self) -> bool {
        let in_tmp = self.path.starts_with(self.disk.root.join("tmp"));
        let name = self.path.to_string_lossy();
        let is_segment = name.ends_with(".parquet") && !name.ends_with("schema.parquet");
        match self.disk.lock().broken {
            Some(Broken::JournalNotSynced) => self.is_part(),
            Some(Broken::SegmentsNotSynced) => in_tmp && is_segment,
            Some(Broken::SmallFilesNotSynced) => in_tmp && !is_segment,
            _ => false,
        }
    }
}

impl Write for ShadowFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.catch_up();
        let before = self.disk.sim.len(&self.path).unwrap_or(0);
        let result = self.inner.lock().unwrap().write(bytes);
        let after = self.disk.sim.len(&self.path).unwrap_or(before);
        self.real.write_all(&bytes[..(after - before) as usize])?;
        self.disk.told("write", &self.path, result)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for ShadowFile {
    fn sync_data(&mut self) -> io::Result<()> {
        self.disk.catch_up();
        if self.skips_sync() {
            return Ok(());
        }
        if self.is_part() && self.disk.is(Broken::AcknowledgedBeforeSync) {
            self.disk.lock().claimed = Some(Arc::clone(&self.inner));
            return Ok(());
        }
        let mut done = self.inner.lock().unwrap().sync_data();
        if done.is_err() && self.disk.is(Broken::FailedSyncRetried) {
            done = self.inner.lock().unwrap().sync_data();
        }
        self.disk.told("sync", &self.path, done)
    }
}

impl Disk for ShadowDisk {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.catch_up();
        let inner = self.told("create", path, self.sim.create_new(path))?;
        let real = OpenOptions::new().append(true).create_new(true).open(path)?;
        let inner = Arc::new(Mutex::new(inner));
        Ok(Box::new(ShadowFile { disk: self.clone(), path: path.to_owned(), inner, real }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.catch_up();
        self.sim.create_dir_all(path)?;
        fs::create_dir_all(path)
    }

    fn read(&self, path: &Path) -> io::Result<Bytes> {
        RealDisk::default().read(path)
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        RealDisk::default().open_read(path)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        RealDisk::default().len(path)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.catch_up();
        let done = self.sim.sync_file(path);
        self.told("sync", path, done)
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        self.catch_up();
        let done = self.sim.truncate(path, len);
        self.told("truncate", path, done)?;
        RealDisk::default().truncate(path, len)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.catch_up();
        let in_folder = |name: &str| to.starts_with(self.root.join(name));
        let broken = self.lock().broken;
        match broken {
            Some(Broken::ManifestBeforeSegments) if in_folder("data") && !to.ends_with("schema.parquet") => {
                self.lock().held.push((from.to_owned(), to.to_owned()));
                Ok(())
            }
            Some(Broken::ManifestBeforeSegments) if in_folder("manifests") => {
                self.rename_now(from, to)?;
                self.committed();
                self.sync_dir_now(to.parent().unwrap())?;
                let held = std::mem::take(&mut self.lock().held);
                // Those of a seal that failed before have been made anew.
                for (from, to) in held.into_iter().filter(|(from, _)| from.exists()) {
                    self.rename_now(&from, &to)?;
                    self.sync_dir_now(to.parent().unwrap())?;
                }
                Ok(())
            }
            Some(Broken::PartRemovedBeforeManifest) if in_folder("manifests") => {
                let stem = to.file_stem().unwrap().to_string_lossy().into_owned();
                let part = self.root.join(format!("journal/{stem}.journal"));
                if part.exists() {
                    self.remove_now(&part)?;
                    self.sync_dir_now(part.parent().unwrap())?;
                }
                self.rename_now(from, to)
            }
            _ if in_folder("manifests") => {
                self.rename_now(from, to)?;
                self.committed();
                Ok(())
            }
            _ => self.rename_now(from, to),
        }
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.catch_up();
        self.remove_now(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.catch_up();
        let (broken, changed) = {
            let inner = self.lock();
            (inner.broken, inner.changed)
        };
        let skipped = match broken {
            Some(Broken::FoundNamesNotSynced) => !changed,
            Some(Broken::JournalNameNotSynced) => path.ends_with("journal"),
            Some(Broken::ManifestNamesNotSynced) => path.ends_with("manifests"),
            Some(Broken::SidecarNamesNotSynced) => path.ends_with("sessions"),
            Some(Broken::SegmentNamesNotSynced) => path.starts_with(self.root.join("data")),
            _ => false,
        };
        if skipped { Ok(()) } else { self.sync_dir_now(path) }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        RealDisk::default().list(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.sim.free_bytes(path)
    }
}

/// Lets something fail soon, once.
pub(super) fn arm_fault(sim: &SimDisk, rng: &mut StdRng) {
    let (operation, fault) = match rng.random_range(0..9) {
        0 => (Operation::Write, Fault::ShortWrite),
        1 => (Operation::Write, Fault::DiskFull),
        2 => (Operation::Write, Fault::Error(ErrorKind::Other)),
        3 | 4 => (Operation::SyncData, Fault::Error(ErrorKind::Other)),
        5 => (Operation::SyncDir, Fault::Error(ErrorKind::Other)),
        6 => (Operation::Rename, Fault::Error(ErrorKind::Other)),
        7 => (Operation::Create, Fault::Error(ErrorKind::StorageFull)),
        _ => (Operation::Remove, Fault::Error(ErrorKind::Other)),
    };
    sim.fail(operation, rng.random_range(1..60), fault);
}
