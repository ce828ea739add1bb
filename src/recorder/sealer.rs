//! The thread that turns closed journal parts into segments while the recording goes on.
//!
//! A part that cannot be sealed stays where it is, for `recover` or the next start; the error is shown
//! in log, status and summary, and the recording goes on.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::stats::SealStats;
use crate::archive::{self, Archive, Lock};
use crate::journal::{parse_part_file_name, part_file_name};
use crate::message::SessionId;
use crate::transport::dial::chain;

/// How often a session that is to end is looked after. Only while there is one.
const END_LOOK: Duration = Duration::from_millis(500);

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
    stats: Mutex<SealStats>,
    endings: Mutex<Vec<Ending>>,
    abort: AtomicBool,
}

impl Sealing {
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
    lock: Lock,
    parts: Receiver<PathBuf>,
    sealing: Arc<Sealing>,
) -> std::io::Result<oneshot::Receiver<()>> {
    let (done, is_done) = oneshot::channel();
    let mut sealer = Sealer { archive, sealing, unsealed: HashSet::new() };
    std::thread::Builder::new().name("sealer".to_owned()).spawn(move || {
        sealer.run(&parts);
        drop(lock);
        // The recorder may not wait for it.
        let _ = done.send(());
    })?;
    Ok(is_done)
}

struct Sealer {
    archive: Archive,
    sealing: Arc<Sealing>,
    /// Sessions of which a part is left in the journal: recovery ends them.
    unsealed: HashSet<SessionId>,
}

impl Sealer {
    fn run(&mut self, parts: &Receiver<PathBuf>) {
        loop {
            let next = if lock(&self.sealing.endings).is_empty() {
                parts.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                parts.recv_timeout(END_LOOK)
            };
            match next {
                Ok(part) => self.seal(&part),
                Err(RecvTimeoutError::Timeout) => self.end_sessions(false),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.end_sessions(true);
    }

    fn seal(&mut self, part: &std::path::Path) {
        let session = parse_part_file_name(part).map(|(session, _)| session);
        if self.sealing.abort.load(Ordering::Relaxed) {
            self.unsealed.extend(session);
            return;
        }
        match archive::seal(&self.archive, part) {
            Ok(sealed) => {
                let mut stats = lock(&self.sealing.stats);
                stats.segments += sealed.segments;
                stats.bytes_stored += sealed.bytes_stored;
                stats.messages += sealed.messages;
            }
            Err(error) => {
                self.unsealed.extend(session);
                self.failed(&error);
            }
        }
    }

    /// Ends the sessions whose last part has been dealt with: those that have a successor in the
    /// journal (a part is closed before the next is opened), and all of them `at_the_end`.
    fn end_sessions(&mut self, at_the_end: bool) {
        let journal = self.archive.layout().journal();
        let has_begun = |id: SessionId| journal.join(part_file_name(id, 0)).exists();
        let mut due = Vec::new();
        lock(&self.sealing.endings).retain(|ending| {
            let is_due = at_the_end || ending.next.is_some_and(has_begun);
            if is_due {
                due.push(*ending);
            }
            !is_due
        });
        for ending in due {
            if self.unsealed.contains(&ending.session_id) {
                continue;
            }
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
