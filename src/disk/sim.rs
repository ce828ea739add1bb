//! A disk in memory that forgets, on request, what was never synced, and fails where it is told to.
//!
//! It exists so that durability can be tested exhaustively: a test counts the operations of a run
//! ([`SimDisk::operations`]), then repeats it with the power going off at each of them
//! ([`SimDisk::power_off_at`]) and looks at what [`SimDisk::crash`] leaves. The same seed leaves the same.
//!
//! What a crash does is the worst that a file system is allowed to:
//! * a file keeps its synced bytes and a random prefix of the rest, of which a tail may be zeroes or
//!   garbage (blocks that were allocated but never written);
//! * each change of a name since the folder's last sync has happened or not, independently of the
//!   others; a rename that was synced in neither folder is atomic;
//! * if asked for ([`SimDisk::write_in_any_order`]), zeroes may also stand before bytes that were kept;
//! * after a failed sync, bytes that were not durable before it never will be.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Disk, DiskFile};

/// What can be counted and made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Write,
    SyncData,
    Truncate,
    Rename,
    Remove,
    SyncDir,
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing happens but this error.
    Error(io::ErrorKind),
    /// Half of the bytes are written, and said so: legal, and easily forgotten.
    ShortWrite,
    /// Half of the bytes are written, and said so; the next write finds the disk full.
    DiskFull,
}

/// A simulated disk; clones share it. See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    files: BTreeMap<u64, Content>,
    names: BTreeMap<PathBuf, u64>,
    /// What `names` would be after a crash that keeps no pending change.
    durable_names: BTreeMap<PathBuf, u64>,
    pending: Vec<Change>,
    folders: BTreeSet<PathBuf>,
    next_file: u64,
    capacity: u64,
    operations: u64,
    power_off_at: Option<u64>,
    scripted: Vec<(Operation, u64, Fault)>,
    any_order: bool,
    /// How often each file was read from its start.
    reads: BTreeMap<PathBuf, u64>,
    /// Files opened before the last crash are dead.
    generation: u64,
}

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    synced: usize,
    sync_failed: bool,
}

impl Content {
    /// What a sync comes to. After one that failed, another may well succeed and makes nothing durable.
    fn sync(&mut self, result: io::Result<()>) -> io::Result<()> {
        self.sync_failed |= result.is_err();
        if !self.sync_failed {
            self.synced = self.bytes.len();
        }
        result
    }
}

#[derive(Clone, Debug)]
enum Change {
    Link(PathBuf, u64),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf, u64),
}

impl Default for State {
    fn default() -> Self {
        Self {
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending: Vec::new(),
            folders: BTreeSet::new(),
            next_file: 0,
            capacity: u64::MAX,
            operations: 0,
            power_off_at: None,
            scripted: Vec::new(),
            any_order: false,
            reads: BTreeMap::new(),
            generation: 0,
        }
    }
}

impl SimDisk {
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the `nth` (from 1) operation of this sort from now on fail once.
    pub fn fail(&self, operation: Operation, nth: u64, fault: Fault) {
        self.lock().scripted.push((operation, nth, fault));
    }

    /// Cuts the power just before the `nth` (from 1) operation from now on: it and all that follow
    /// fail, until [`SimDisk::crash`].
    pub fn power_off_at(&self, nth: u64) {
        let mut state = self.lock();
        state.power_off_at = Some(state.operations.saturating_add(nth));
    }

    /// Whether the power is off.
    pub fn is_off(&self) -> bool {
        let state = self.lock();
        state.power_off_at.is_some_and(|at| state.operations >= at)
    }

    /// Forgets the faults that are still to come, and the power cut.
    pub fn mend(&self) {
        let mut state = self.lock();
        state.power_off_at = None;
        state.scripted.clear();
    }

    /// From now on a crash may also take a stretch out of the middle of what was not synced, and keep what was
    /// written after it: blocks reach a disk in any order.
    pub fn write_in_any_order(&self) {
        self.lock().any_order = true;
    }

    /// Operations that change something, so far.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// All files, sorted.
    pub fn files(&self) -> Vec<PathBuf> {
        self.lock().names.keys().cloned().collect()
    }

    /// How often files in this folder have been read.
    pub fn reads_in(&self, folder: &Path) -> u64 {
        let state = self.lock();
        state.reads.iter().filter(|(path, _)| path.parent() == Some(folder)).map(|(_, reads)| reads).sum()
    }

    /// How many bytes of the files in this folder a crash may take.
    pub fn unsynced_in(&self, folder: &Path) -> u64 {
        let state = self.lock();
        let here = state.names.iter().filter(|(path, _)| path.parent() == Some(folder));
        let files = here.filter_map(|(_, id)| state.files.get(id));
        files.map(|file| (file.bytes.len() - file.synced) as u64).sum()
    }

    /// How many bytes fit in total; unlimited at first.
    pub fn set_capacity(&self, bytes: u64) {
        self.lock().capacity = bytes;
    }

    /// Flips bits: `mask` is XORed into the byte at `offset`. False if there is no such byte.
    pub fn corrupt(&self, path: &Path, offset: u64, mask: u8) -> bool {
        let mut state = self.lock();
        let Some(id) = state.names.get(path).copied() else { return false };
        let byte = state.files.get_mut(&id).and_then(|f| f.bytes.get_mut(usize::try_from(offset).ok()?));
        byte.map(|b| *b ^= mask).is_some()
    }

    /// Loses what was not synced and brings the disk up again, without scripted faults.
    pub fn crash(&self, seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut state = self.lock();
        for change in std::mem::take(&mut state.pending) {
            if rng.random() {
                apply(&mut state.durable_names, change);
            }
        }
        state.names = state.durable_names.clone();
        let kept: BTreeSet<u64> = state.names.values().copied().collect();
        state.files.retain(|id, _| kept.contains(id));
        let any_order = state.any_order;
        for content in state.files.values_mut() {
            content.lose(&mut rng, any_order);
        }
        state.generation += 1;
        state.power_off_at = None;
        state.scripted.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn lose(&mut self, rng: &mut StdRng, any_order: bool) {
        let kept = rng.random_range(self.synced..=self.bytes.len());
        self.bytes.truncate(kept);
        let damaged = rng.random_range(self.synced..=kept);
        match rng.random_range(0..4) {
            0 => self.bytes[damaged..].fill(0),
            1 => self.bytes[damaged..].iter_mut().for_each(|b| *b = rng.random()),
            _ => {}
        }
        if any_order && rng.random_range(0..3) == 0 {
            let from = rng.random_range(self.synced..=kept);
            let to = rng.random_range(from..=kept);
            self.bytes[from..to].fill(0);
        }
        self.synced = self.bytes.len();
        self.sync_failed = false;
    }
}

impl State {
    /// Counts an operation and finds out whether it shall fail.
    fn begin(&mut self, operation: Operation) -> io::Result<Option<Fault>> {
        self.operations += 1;
        if self.power_off_at.is_some_and(|at| self.operations >= at) {
            return Err(io::Error::other("the power is off"));
        }
        let mut due = None;
        for (_, left, fault) in self.scripted.iter_mut().filter(|(o, ..)| *o == operation) {
            *left = left.saturating_sub(1);
            if *left == 0 {
                due = Some(*fault);
            }
        }
        self.scripted.retain(|(_, left, _)| *left > 0);
        Ok(due)
    }

    /// As [`State::begin`], for operations that succeed or fail as a whole.
    fn begin_whole(&mut self, operation: Operation) -> io::Result<()> {
        match self.begin(operation)? {
            None => Ok(()),
            Some(Fault::Error(kind)) => Err(kind.into()),
            Some(Fault::ShortWrite | Fault::DiskFull) => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn id(&self, path: &Path) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn content(&mut self, id: u64) -> io::Result<&mut Content> {
        self.files.get_mut(&id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.names, change.clone());
        self.pending.push(change);
    }

    fn require_folder(&self, of: &Path) -> io::Result<()> {
        let parent = of.parent().unwrap_or(Path::new(""));
        let exists = parent.as_os_str().is_empty() || self.folders.contains(parent);
        if exists { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn used(&self) -> u64 {
        self.files.values().map(|f| f.bytes.len() as u64).sum()
    }
}

fn apply(names: &mut BTreeMap<PathBuf, u64>, change: Change) {
    match change {
        Change::Link(path, id) => {
            names.insert(path, id);
        }
        Change::Unlink(path) => {
            names.remove(&path);
        }
        Change::Rename(from, to, id) => {
            names.remove(&from);
            names.insert(to, id);
        }
    }
}

struct SimFile {
    disk: SimDisk,
    id: u64,
    generation: u64,
}

impl SimFile {
    fn lock(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.lock();
        if state.generation == self.generation {
            Ok(state)
        } else {
            Err(io::Error::other("opened before the crash"))
        }
    }
}

impl Write for SimFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.lock()?;
        let fault = state.begin(Operation::Write)?;
        let free = state.capacity.saturating_sub(state.used());
        let room = usize::try_from(free).unwrap_or(usize::MAX).min(bytes.len());
        let (written, error) = match fault {
            Some(Fault::Error(kind)) => (0, Some(kind)),
            _ if room == 0 && !bytes.is_empty() => (0, Some(io::ErrorKind::StorageFull)),
            Some(Fault::ShortWrite) => (room.min(bytes.len().div_ceil(2)), None),
            Some(Fault::DiskFull) if bytes.len() > 1 => {
                let full = Fault::Error(io::ErrorKind::StorageFull);
                state.scripted.push((Operation::Write, 1, full));
                (room.min(bytes.len() / 2), None)
            }
            Some(Fault::DiskFull) => (0, Some(io::ErrorKind::StorageFull)),
            None => (room, None),
        };
        state.content(self.id)?.bytes.extend_from_slice(&bytes[..written]);
        error.map_or(Ok(written), |kind| Err(kind.into()))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for SimFile {
    fn sync_data(&mut self) -> io::Result<()> {
        let mut state = self.lock()?;
        let result = state.begin_whole(Operation::SyncData);
        state.content(self.id)?.sync(result)
    }
}

impl Disk for SimDisk {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.lock();
        state.begin_whole(Operation::Create)?;
        state.require_folder(path)?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = state.next_file;
        state.next_file += 1;
        state.files.insert(id, Content::default());
        state.change(Change::Link(path.to_owned(), id));
        let generation = state.generation;
        drop(state);
        Ok(Box::new(SimFile { disk: self.clone(), id, generation }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.begin_whole(Operation::Create)?;
        state.folders.extend(path.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn read(&self, path: &Path) -> io::Result<Bytes> {
        let mut state = self.lock();
        let id = state.id(path)?;
        *state.reads.entry(path.to_owned()).or_default() += 1;
        state.content(id).map(|c| Bytes::copy_from_slice(&c.bytes))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(io::Cursor::new(self.read(path)?)))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        let mut state = self.lock();
        let id = state.id(path)?;
        state.content(id).map(|c| c.bytes.len() as u64)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let result = state.begin_whole(Operation::SyncData);
        let id = state.id(path)?;
        state.content(id)?.sync(result)
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let mut state = self.lock();
        state.begin_whole(Operation::Truncate)?;
        let id = state.id(path)?;
        let content = state.content(id)?;
        content.bytes.resize(usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?, 0);
        content.synced = content.bytes.len();
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.begin_whole(Operation::Rename)?;
        state.require_folder(to)?;
        let id = state.id(from)?;
        state.change(Change::Rename(from.to_owned(), to.to_owned(), id));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.begin_whole(Operation::Remove)?;
        state.id(path)?;
        state.change(Change::Unlink(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.begin_whole(Operation::SyncDir)?;
        let here = |p: &Path| p.parent() == Some(path);
        for change in std::mem::take(&mut state.pending) {
            match change {
                Change::Link(ref at, _) | Change::Unlink(ref at) if here(at) => {
                    apply(&mut state.durable_names, change);
                }
                Change::Rename(ref from, ref to, _) if here(from) && here(to) => {
                    apply(&mut state.durable_names, change);
                }
                // Half of a rename: the other half stays open, which is why the target's folder goes first.
                Change::Rename(from, to, id) if here(&to) => {
                    apply(&mut state.durable_names, Change::Link(to, id));
                    state.pending.push(Change::Unlink(from));
                }
                Change::Rename(from, to, id) if here(&from) => {
                    apply(&mut state.durable_names, Change::Unlink(from));
                    state.pending.push(Change::Link(to, id));
                }
                elsewhere => state.pending.push(elsewhere),
            }
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.lock().names.keys().filter(|p| p.parent() == Some(path)).cloned().collect())
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        let state = self.lock();
        Ok(state.capacity.saturating_sub(state.used()))
    }
}

#[cfg(test)]
mod tests;
