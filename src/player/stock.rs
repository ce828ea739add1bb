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

/// So many events, or as many as have so many bytes, are handed to the scheduler at a time: a lock for each of them,
/// which the reader wants as well, costs more than the rest of it.
pub(super) const HANDFUL: usize = 128;
const HANDFUL_BYTES: usize = 1 << 20;

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
    /// As they are taken: whoever takes holds the lock for no longer than whoever adds one.
    handfuls: VecDeque<Handful>,
    events: usize,
    bytes: usize,
    /// Where to begin next; taken by the reader.
    beginning: Option<Beginning>,
    /// The reader has read to the end of what it was to read.
    complete: bool,
    /// The reader has failed or died: it begins no more.
    closed: bool,
    /// The scheduler is done: nothing is wanted any more.
    abandoned: bool,
    /// The scheduler found nothing, and waits for so many events, or as many as there is room for.
    starved: Option<usize>,
    /// The reader waits, for room or for a beginning.
    reader_waits: bool,
}

#[derive(Debug)]
struct Handful {
    events: Vec<Planned>,
    bytes: usize,
}

impl Handful {
    fn is_full(&self) -> bool {
        self.events.len() >= HANDFUL || self.bytes >= HANDFUL_BYTES
    }
}

impl Stock {
    pub(super) fn new(filled: Arc<Doorbell>) -> Self {
        Self { filled, ..Self::default() }
    }

    /// Throws away what there is, and has the reader begin elsewhere.
    pub(super) fn begin(&self, beginning: Beginning) {
        let mut shelf = self.lock();
        shelf.clear();
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
            shelf.events > 0 && (shelf.bytes + bytes > BYTES_MAX || shelf.events >= ITEMS_MAX)
        };
        while is_full(&shelf) && shelf.is_wanted() {
            if shelf.starved.take().is_some() {
                self.filled.ring();
            }
            shelf = self.wait(shelf);
        }
        if !shelf.is_wanted() {
            return false;
        }
        shelf.put(planned, bytes);
        let len = shelf.events;
        let is_enough = shelf.starved.take_if(|wanted| len >= *wanted).is_some();
        drop(shelf);
        if is_enough {
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

    /// Gives a handful of what there is by now to `put`. Where there is nothing, the bell rings when there are
    /// `wanted` events, or no more will come before some are taken.
    pub(super) fn take(&self, wanted: usize, mut put: impl FnMut(Planned)) {
        let mut shelf = self.lock();
        let Some(handful) = shelf.handfuls.pop_front() else {
            shelf.starved = Some(wanted);
            return;
        };
        shelf.starved = None;
        shelf.bytes -= handful.bytes;
        shelf.events -= handful.events.len();
        if shelf.reader_waits
            && shelf.bytes <= BYTES_MAX / 10 * REFILL_TENTHS
            && shelf.events <= ITEMS_MAX / 10 * REFILL_TENTHS
        {
            self.emptied.notify_one();
        }
        drop(shelf);
        handful.events.into_iter().for_each(&mut put);
    }

    /// Whether nothing is left and nothing follows.
    pub(super) fn is_at_end(&self) -> bool {
        let shelf = self.lock();
        shelf.events == 0 && shelf.complete
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
        shelf.clear();
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
    fn put(&mut self, planned: Planned, bytes: usize) {
        if self.handfuls.back().is_none_or(Handful::is_full) {
            self.handfuls.push_back(Handful { events: Vec::with_capacity(HANDFUL), bytes: 0 });
        }
        if let Some(handful) = self.handfuls.back_mut() {
            handful.events.push(planned);
            handful.bytes += bytes;
        }
        self.events += 1;
        self.bytes += bytes;
    }

    fn clear(&mut self) {
        self.handfuls = VecDeque::new();
        (self.events, self.bytes) = (0, 0);
    }

    fn is_wanted(&self) -> bool {
        !self.abandoned && self.beginning.is_none()
    }
}

/// What an event costs in memory.
pub(super) fn cost(planned: &Planned) -> usize {
    let (Happening::Message { row, .. } | Happening::Dropped { row } | Happening::Held { row }) =
        &planned.what
    else {
        return ROW_BYTES;
    };
    let headers = row.headers.iter().flatten().map(|(name, value)| name.len() + value.len() + HEADER_BYTES);
    row.payload.len()
        + row.clear.as_ref().map_or(0, bytes::Bytes::len)
        + row.channel.len()
        + headers.sum::<usize>()
        + ROW_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::player::event::Changes;
    use crate::player::tests::row;

    fn event(index: u64, payload_bytes: usize) -> Planned {
        let row = Box::new(row(index, 0, &"x".repeat(payload_bytes)));
        let what = Happening::Message { row, changes: Changes::default() };
        Planned { at_ns: 0, recorded_ns: 0, round: 0, index, what, digest: None }
    }

    fn taken(stock: &Stock, wanted: usize) -> Vec<u64> {
        let mut indices = Vec::new();
        stock.take(wanted, |planned| indices.push(planned.index));
        indices
    }

    /// Whether the bell was rung since this was asked before.
    fn has_rung(stock: &Stock) -> bool {
        stock.filled.wait(Some(std::time::Duration::ZERO))
    }

    #[test]
    fn whoever_found_nothing_is_woken_when_there_is_what_it_wanted() {
        let stock = Stock::default();
        for (wanted, rung) in [(1, [true, false, false]), (3, [false, false, true])] {
            assert!(taken(&stock, wanted).is_empty());
            assert_eq!([0, 1, 2].map(|index| (stock.push(event(index, 1)), has_rung(&stock)).1), rung);
            assert_eq!(taken(&stock, wanted), [0, 1, 2]);
        }
        // Nothing more follows.
        assert!(taken(&stock, 3).is_empty());
        assert!(stock.push(event(0, 1)) && !has_rung(&stock));
        stock.complete();
        assert!(has_rung(&stock));
    }

    #[test]
    fn whoever_wants_more_than_there_is_room_for_gets_what_there_is() {
        let stock = Stock::default();
        assert!(taken(&stock, 2).is_empty());
        std::thread::scope(|scope| {
            scope.spawn(|| (0..2).for_each(|index| assert!(stock.push(event(index, BYTES_MAX)))));
            stock.filled.wait(None);
            assert_eq!(taken(&stock, 1), [0]);
        });
        assert_eq!(taken(&stock, 1), [1]);
    }

    #[test]
    fn a_handful_is_bounded_in_number_and_bytes() {
        let stock = Stock::default();
        let bytes = [vec![1; HANDFUL], vec![1, HANDFUL_BYTES, 1]].concat();
        bytes.iter().zip(0..).for_each(|(bytes, index)| assert!(stock.push(event(index, *bytes))));
        let handfuls = std::iter::from_fn(|| Some(taken(&stock, 1).len()).filter(|taken| *taken > 0));
        assert_eq!(handfuls.collect::<Vec<_>>(), [HANDFUL, 2, 1]);
        assert_eq!(stock.lock().bytes, 0);
    }
}
