//! A journal without its thread, for tests of everything around it: they take the writer's turns, and know when the
//! thread would have taken them.

use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use super::queue::Shared;
use super::writer::Writer;
use super::{JournalError, JournalHandle, JournalOptions, open};
use crate::clock::Clock;
use crate::disk::Disk;
use crate::message::SessionHeader;

/// What [`Journal`](super::Journal) is to a thread, this is to a test.
pub struct Stepped {
    writer: Writer,
    shared: Arc<Shared>,
    closed: mpsc::Receiver<PathBuf>,
}

impl std::fmt::Debug for Stepped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stepped")
    }
}

/// As [`start`](super::start), without the thread.
pub fn stepped(
    disk: Arc<dyn Disk>,
    clock: Clock,
    options: JournalOptions,
    header: SessionHeader,
    started_ns: u64,
) -> Result<(Stepped, JournalHandle), JournalError> {
    let (handle, writer, closed) = open(disk, clock, options, header, started_ns)?;
    Ok((Stepped { writer, shared: handle.shared(), closed }, handle))
}

impl Stepped {
    /// When the thread would wake up for a turn; 0 is at once.
    pub fn due_ns(&self) -> Option<u64> {
        self.shared.due_ns(self.writer.deadline_ns())
    }

    /// One turn of the thread. After an error there is no other.
    pub fn turn(&mut self) -> Result<(), JournalError> {
        self.writer.turn_or_fail().map(drop)
    }

    /// As [`Journal::close`](super::Journal::close).
    pub fn close(&mut self) -> Result<(), JournalError> {
        self.shared.begin_close();
        while self.writer.turn_or_fail()? {}
        Ok(())
    }

    /// The parts that have become complete since it was asked last.
    pub fn closed_parts(&self) -> Vec<PathBuf> {
        self.closed.try_iter().collect()
    }
}
