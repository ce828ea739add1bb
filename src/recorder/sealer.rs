//! The thread that turns closed journal parts into segments while the recording goes on.
//!
//! A part that cannot be sealed stays where it is and is tried again with the next one, each minute, and once more at
//! the end; the error is shown in log, status and summary until it is over, and the recording goes on. What is left at the
//! end is for `recover` or the next start, which then ends its session as well.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::stats::SealStats;
use crate::archive::{self, Archive, Lock, Sealed};
use crate::clock::Clock;
use crate::journal::parse_part_file_name;
use crate::message::SessionId;
use crate::transport::dial::chain;

/// How often a session that is to end is looked for.
const END_LOOK: Duration = Duration::from_millis(500);

/// How long after a failure a part is tried again, should no other come.
const AGAIN_NS: u64 = 60_000_000_000;

/// How many stretches of lost messages the log names: where there are more, the first tell where to look.
const RANGES_TOLD: usize = 8;

/// A session that gets no further messages.
#[derive(Clone, Copy, Debug)]
struct Ending {
    session_id: SessionId,
    ended_at_us: i64,
    /// The session after it; none if the recording ends with this one.
    next: Option<SessionId>,
}

/// What the sealing thread and the recorder share.
#[derive(Debug, Default)]
pub struct Sealing {
    clock: Clock,
    stats: Mutex<SealStats>,
    endings: Mutex<Vec<Ending>>,
    abort: AtomicBool,
}

impl Sealing {
    pub fn new(clock: Clock) -> Self {
        Self { clock, ..Self::default() }
    }

    pub fn stats(&self) -> SealStats {
        lock(&self.stats).clone()
    }

    /// Ends `session_id` once all its parts are sealed.
    pub fn end(&self, session_id: SessionId, ended_at_us: i64, next: Option<SessionId>) {
        lock(&self.endings).push(Ending { session_id, ended_at_us, next });
    }

    /// Leaves what is not sealed yet in the journal.
    pub fn abort(&self) {
        self.abort.store(true, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the thread, which keeps the archive's lock: nobody else may touch the archive for as long as
/// a part may be in its hands, even if the recorder is gone. It ends, and `done` is told, when the journal has been closed and all its parts
/// are sealed.
pub fn start(
    archive: Archive,
    lock: Arc<Lock>,
    parts: Receiver<PathBuf>,
    sealing: Arc<Sealing>,
) -> std::io::Result<oneshot::Receiver<()>> {
    let (done, is_done) = oneshot::channel();
    let mut sealer = Sealer::new(archive, sealing);
    std::thread::Builder::new().name("sealer".to_owned()).spawn(move || {
        sealer.run(&parts);
        drop(lock);
        // The recorder may not wait for it.
        let _ = done.send(());
    })?;
    Ok(is_done)
}

pub(super) struct Sealer {
    archive: Archive,
    sealing: Arc<Sealing>,
    /// Parts that are complete and not sealed, in order. More than one only while sealing fails.
    waiting: Vec<PathBuf>,
    /// The session of the latest part.
    latest: Option<SessionId>,
    /// When those that wait were tried.
    tried_ns: u64,
}

impl Sealer {
    pub(super) fn new(archive: Archive, sealing: Arc<Sealing>) -> Self {
        Self { archive, sealing, waiting: Vec::new(), latest: None, tried_ns: 0 }
    }

    fn run(&mut self, parts: &Receiver<PathBuf>) {
        loop {
            // A session's end is told behind its last part, which may be sealed by then: nothing else wakes us for it.
            match parts.recv_timeout(self.sealing.clock.sleep_at_most(END_LOOK)) {
                Ok(part) => {
                    self.seal(part);
                    self.end_sessions(false);
                }
                Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if !self.waiting.is_empty() {
            self.seal_waiting();
        }
        self.end_sessions(true);
    }

    pub(super) fn seal(&mut self, part: PathBuf) {
        self.latest = parse_part_file_name(&part).map(|(session, _)| session);
        self.waiting.push(part);
        self.seal_waiting();
    }

    /// What is to be done while no part comes.
    pub(super) fn look(&mut self) {
        let now_ns = self.sealing.clock.now().steady_ns;
        if !self.waiting.is_empty() && now_ns.saturating_sub(self.tried_ns) >= AGAIN_NS {
            self.seal_waiting();
        }
        self.end_sessions(false);
    }

    fn seal_waiting(&mut self) {
        self.tried_ns = self.sealing.clock.now().steady_ns;
        lock(&self.sealing.stats).waiting_since_ns.get_or_insert(self.tried_ns);
        let mut error = None;
        let (archive, sealing) = (&self.archive, &self.sealing);
        self.waiting.retain(|part| {
            // One of a session in which an earlier one waits is refused by `seal` itself.
            if sealing.abort.load(Ordering::Relaxed) {
                return true;
            }
            match archive::seal(archive, part) {
                Ok(sealed) => {
                    let mut stats = lock(&sealing.stats);
                    stats.segments += sealed.segments;
                    stats.bytes_stored += sealed.bytes_stored;
                    stats.messages += sealed.messages;
                    stats.parts += 1;
                    stats.last_sealed_ns = Some(sealing.clock.now().steady_ns);
                    tell_damage(part, &sealed, &mut stats);
                    false
                }
                Err(failed) => {
                    error.get_or_insert(failed);
                    true
                }
            }
        });
        match error {
            Some(error) => self.failed(&error),
            None if self.waiting.is_empty() => {
                let mut stats = lock(&self.sealing.stats);
                (stats.last_error, stats.waiting_since_ns) = (None, None);
            }
            None => {}
        }
    }

    /// Ends the sessions whose last part has been sealed: those that have a successor in the journal
    /// (a part is closed before the next is opened), and all of them `at_the_end`. A session of which
    /// a part is left is not ended here: its count of messages would be wrong.
    pub(super) fn end_sessions(&mut self, at_the_end: bool) {
        if lock(&self.sealing.endings).is_empty() {
            return;
        }
        let journal = self.archive.layout().journal();
        let left: Vec<SessionId> = match self.archive.disk().list(&journal) {
            Ok(files) => {
                files.iter().filter_map(|path| parse_part_file_name(path)).map(|(id, _)| id).collect()
            }
            Err(error) => return tracing::warn!("cannot list {}: {error}", journal.display()),
        };
        let has_begun = |id: SessionId| self.latest == Some(id) || left.contains(&id);
        let mut due = Vec::new();
        lock(&self.sealing.endings).retain(|ending| {
            let is_due =
                (at_the_end || ending.next.is_some_and(has_begun)) && !left.contains(&ending.session_id);
            if is_due {
                due.push(*ending);
            }
            !is_due
        });
        for ending in due {
            if let Err(error) = self.archive.end_session(ending.session_id, ending.ended_at_us) {
                self.failed(&error);
            }
        }
    }

    fn failed(&self, error: &archive::ArchiveError) {
        let text = chain(error);
        tracing::error!("sealing failed, the data stays in the journal: {text}");
        lock(&self.sealing.stats).last_error = Some(text);
    }
}

/// Counts and tells what a part should have held and did not, or what else was not as it had been written: the journal
/// closed it whole, so that the disk has changed it since.
fn tell_damage(part: &Path, sealed: &Sealed, stats: &mut SealStats) {
    let lost: u64 = sealed.lost.iter().map(|range| range.messages()).sum();
    stats.lost += lost;
    stats.set_aside += u64::from(sealed.set_aside.is_some());
    if let Some(kept) = &sealed.set_aside {
        tracing::error!("a session's sidecar could not be read, and is kept as {}", kept.display());
    }
    let part = part.display();
    if lost > 0 || sealed.promised_lost > 0 || sealed.torn_tail_bytes > 0 {
        stats.damaged_parts += 1;
        let ranges = sealed.lost.iter().take(RANGES_TOLD);
        let seqs = ranges.map(|range| format!("{} to {}", range.seq_start, range.seq_end.saturating_sub(1)));
        let seqs = seqs.collect::<Vec<_>>().join(", ");
        match lost {
            0 => tracing::error!(
                "the journal part {part} was damaged while recording: nothing behind its last whole message can be read"
            ),
            _ => tracing::error!(
                "lost: {lost} messages, seq {seqs}: the journal was damaged before {part} was sealed; \
                 `telereel info` tells which are missing"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
