//! The stock between reader and scheduler: bounded, and thrown away when the replay is wound.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use sha2::Sha256;

use super::Rounds;
use super::event::{Happening, Planned, Position};
use crate::message::Row;
use crate::transport::fanout::Doorbell;

/// The stock: some seconds of a busy recording. A message of any size fits an empty one.
const BYTES_MAX: usize = 16 << 20;
const ITEMS_MAX: usize = 32_768;

/// The reader is woken when this part of the stock is left, in tenths, and not for each event: a wake-up costs
/// more than a row. The rest lasts longer than a disk takes.
const REFILL_TENTHS: usize = 9;

/// What a row costs in memory beside its bytes, with what an allocator needs for each of them.
const ROW_BYTES: usize = size_of::<Planned>() + size_of::<Row>() + 128;

/// The same of a header: two strings.
const HEADER_BYTES: usize = 80;

/// A stretch of the recording that is played again and again, in nanoseconds since the earliest session's
/// start: the first is of it, the last is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) from_ns: u64,
    /// None: to the end of the selection.
    pub(super) to_ns: Option<u64>,
}

/// From where the reader is to read: the beginning of a generation.
#[derive(Clone, Debug)]
pub(super) struct Beginning {
    pub(super) position: Position,
    /// Where on the time line the first event lies, if it is exactly at `position`; none: it lies there as
    /// it does in the recording.
    pub(super) at_ns: Option<u64>,
    /// So many of the first rows are passed over if they lie exactly at `position`.
    pub(super) skip: u64,
    /// The index of the next message, and the digest of all before it.
    pub(super) index: u64,
    pub(super) digest: Sha256,
    /// How often it is to be played from here on, this round counted.
    pub(super) rounds: Rounds,
    /// What is repeated, if not all.
    pub(super) stretch: Option<Stretch>,
}

impl Beginning {
    /// All that is selected, once.
    pub(super) fn start() -> Self {
        Self {
            position: Position::Start,
            at_ns: None,
            skip: 0,
            index: 0,
            digest: Sha256::default(),
            rounds: Rounds::ONCE,
            stretch: None,
        }
    }
}

/// Between reader and scheduler.
#[derive(Debug, Default)]
pub(super) struct Stock {
    shelf: Mutex<Shelf>,
    /// For the reader: there is room, or another beginning, or an end.
    emptied: Condvar,
    /// For the scheduler: there is something at last.
    filled: Arc<Doorbell>,
    /// Where in the recording the last row of the selection is, once the reader has come to it.
    end_ns: OnceLock<u64>,
}

#[derive(Debug, Default)]
struct Shelf {
    events: VecDeque<Planned>,
    bytes: usize,
    /// Where to begin next; taken by the reader.
    beginning: Option<Beginning>,
    /// The reader has read to the end of what it was to read.
    complete: bool,
    /// The reader has failed or died: it begins no more.
    closed: bool,
    /// The scheduler is done: nothing is wanted any more.
    abandoned: bool,
    /// The scheduler found nothing and waits.
    starved: bool,
    /// The reader waits, for room or for a beginning.
    reader_waits: bool,
}

/// What the scheduler found.
#[derive(Debug)]
pub(super) enum Next {
    Event(Planned),
    /// Nothing by now; the bell rings when there is, or when it is the end.
    Nothing,
}

impl Stock {
    pub(super) fn new(filled: Arc<Doorbell>) -> Self {
        Self { filled, ..Self::default() }
    }

    /// Throws away what there is, and has the reader begin elsewhere.
    pub(super) fn begin(&self, beginning: Beginning) {
        let mut shelf = self.lock();
        shelf.events = VecDeque::new();
        shelf.bytes = 0;
        shelf.complete = shelf.closed;
        shelf.beginning = Some(beginning);
        self.emptied.notify_all();
    }

    /// For the reader: waits for the next beginning; none when nothing is wanted any more.
    pub(super) fn beginning(&self) -> Option<Beginning> {
        let mut shelf = self.lock();
        loop {
            if shelf.abandoned {
                return None;
            }
            if let Some(beginning) = shelf.beginning.take() {
                return Some(beginning);
            }
            shelf = self.wait(shelf);
        }
    }

    /// Adds an event, waiting for room; false if it is not wanted any more.
    pub(super) fn push(&self, planned: Planned) -> bool {
        let bytes = cost(&planned);
        let mut shelf = self.lock();
        let is_full = |shelf: &Shelf| {
            !shelf.events.is_empty() && (shelf.bytes + bytes > BYTES_MAX || shelf.events.len() >= ITEMS_MAX)
        };
        while is_full(&shelf) && shelf.is_wanted() {
            shelf = self.wait(shelf);
        }
        if !shelf.is_wanted() {
            return false;
        }
        shelf.bytes += bytes;
        shelf.events.push_back(planned);
        let was_starved = std::mem::take(&mut shelf.starved);
        drop(shelf);
        if was_starved {
            self.filled.ring();
        }
        true
    }

    /// Nothing follows what was pushed; not so if the reader is to begin elsewhere by now.
    pub(super) fn complete(&self) {
        let mut shelf = self.lock();
        if shelf.beginning.is_none() {
            shelf.complete = true;
        }
        drop(shelf);
        self.filled.ring();
    }

    /// The reader is gone: nothing follows, whatever is asked.
    pub(super) fn close(&self) {
        let mut shelf = self.lock();
        (shelf.complete, shelf.closed) = (true, true);
        drop(shelf);
        self.filled.ring();
    }

    /// The next event, if there is one by now.
    pub(super) fn next(&self) -> Next {
        let mut shelf = self.lock();
        let Some(planned) = shelf.events.pop_front() else {
            shelf.starved = true;
            return Next::Nothing;
        };
        shelf.bytes -= cost(&planned);
        if shelf.reader_waits
            && shelf.bytes <= BYTES_MAX / 10 * REFILL_TENTHS
            && shelf.events.len() <= ITEMS_MAX / 10 * REFILL_TENTHS
        {
            self.emptied.notify_one();
        }
        Next::Event(planned)
    }

    /// Whether nothing is left and nothing follows.
    pub(super) fn is_at_end(&self) -> bool {
        let shelf = self.lock();
        shelf.events.is_empty() && shelf.complete
    }

    /// The reader has come to the last row of the selection.
    pub(super) fn ends_at(&self, recorded_ns: u64) {
        if self.end_ns.set(recorded_ns).is_ok() {
            self.filled.ring();
        }
    }

    pub(super) fn end_ns(&self) -> Option<u64> {
        self.end_ns.get().copied()
    }

    pub(super) fn abandon(&self) {
        let mut shelf = self.lock();
        shelf.abandoned = true;
        shelf.events = VecDeque::new();
        self.emptied.notify_all();
    }

    fn wait<'s>(&'s self, mut shelf: MutexGuard<'s, Shelf>) -> MutexGuard<'s, Shelf> {
        shelf.reader_waits = true;
        shelf = self.emptied.wait(shelf).unwrap_or_else(PoisonError::into_inner);
        shelf.reader_waits = false;
        shelf
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn is_wanted(&self) -> bool {
        !self.abandoned && self.beginning.is_none()
    }
}

fn cost(planned: &Planned) -> usize {
    let (Happening::Message { row, .. } | Happening::Dropped { row }) = &planned.what else {
        return ROW_BYTES;
    };
    let headers = row.headers.iter().flatten().map(|(name, value)| name.len() + value.len() + HEADER_BYTES);
    row.payload.len()
        + row.clear.as_ref().map_or(0, bytes::Bytes::len)
        + row.channel.len()
        + headers.sum::<usize>()
        + ROW_BYTES
}
