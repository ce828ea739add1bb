//! How many bytes may be on their way from the wires to the journal, over all sources and connections of a recorder.
//!
//! | what | bound |
//! |---|---|
//! | a message in the making, up to [`OWN_BYTES`] of it | each connection's own |
//! | the rest of it, until the journal has it | `large`, shared; where that is used up, one at a time goes on to its end |
//! | a smaller message, on its way to its source | `queued`, shared, half of it for one source; up to [`SMALL_BYTES`] counted by number only |
//! | a message that the journal has no room for, and that will be acknowledged | `held`, shared |
//!
//! So many connections may each be in the middle of a large message, and however they take turns one of them comes to
//! its end: it needs no more than [`QuotaBytes::message`], which is kept for it. It has [`patience`] for that, without
//! the time in which nothing of it is read.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until};

/// Of a message in the making, what no share is needed for: hardly any vendor's is longer.
pub const OWN_BYTES: usize = 64 << 10;

/// Read at a time, and charged for before.
const STEP_BYTES: usize = 32 << 10;

/// Frames up to this size are bounded by their number alone.
const SMALL_BYTES: usize = 1 << 10;

/// How long somebody whom others wait for may take before anything comes, and ...
const PATIENCE: Duration = Duration::from_secs(30);

/// ... for how many bytes a second more. A limit on the whole alone cuts a slow line in each attempt, one on the pause
/// between two pieces alone lets a byte now and then keep others out for days.
const SLOWEST_BYTES_PER_S: usize = 4 << 10;

/// What a message takes on the wire beside its payload: topic, heads of packets, frames and fragments.
const AROUND_BYTES: usize = 256 << 10;

/// The bounds, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaBytes {
    /// The largest message that is taken.
    pub message: usize,
    pub large: usize,
    pub queued: usize,
    pub held: usize,
}

impl Default for QuotaBytes {
    /// For whoever receives without recording.
    fn default() -> Self {
        Self { message: 63 << 20, large: 64 << 20, queued: 8 << 20, held: 8 << 20 }
    }
}

/// See the [module](self). Clones share it.
#[derive(Clone, Debug)]
pub struct Quota {
    bytes: QuotaBytes,
    large: Arc<Semaphore>,
    last: Arc<Semaphore>,
    queued: Arc<Semaphore>,
    held: Arc<Semaphore>,
}

/// A share that is taken, until it is dropped.
#[derive(Debug, Default)]
pub struct Charge {
    bytes: Option<OwnedSemaphorePermit>,
    /// All that it needs.
    last: Option<OwnedSemaphorePermit>,
    _of_source: Option<OwnedSemaphorePermit>,
    _queued: Option<OwnedSemaphorePermit>,
}

impl Default for Quota {
    fn default() -> Self {
        Self::new(QuotaBytes::default())
    }
}

impl Quota {
    pub fn new(bytes: QuotaBytes) -> Self {
        let semaphore = |bytes: usize| Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS)));
        Self {
            bytes,
            large: semaphore(bytes.large),
            last: semaphore(1),
            queued: semaphore(bytes.queued),
            held: semaphore(bytes.held),
        }
    }

    /// The largest message that is taken.
    pub fn message_bytes_max(&self) -> usize {
        self.bytes.message
    }

    /// For a new connection.
    pub fn meter(&self) -> Meter {
        Meter { quota: self.clone(), metered: Arc::default() }
    }

    /// For the way of a whole message to its source: waits for room for what it has not been charged with. Whoever has
    /// some of that gives it back soon.
    pub(super) async fn carry(&self, of_source: &Arc<Semaphore>, bytes: usize, charge: Charge) -> Charge {
        let missing = bytes.saturating_sub(charge.bytes());
        if missing <= SMALL_BYTES || charge.last.is_some() {
            return charge;
        }
        let share = permits(missing.min(self.queued_bytes_max()));
        // They are never closed.
        let _of_source = Arc::clone(of_source).acquire_many_owned(share).await.ok();
        let _queued = Arc::clone(&self.queued).acquire_many_owned(share).await.ok();
        Charge { _of_source, _queued, ..charge }
    }

    /// What one source may have on its way, so that one that is held up leaves room for others.
    pub(super) fn queued_of_source(&self) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(self.queued_bytes_max()))
    }

    fn queued_bytes_max(&self) -> usize {
        (self.bytes.queued / 2).min(Semaphore::MAX_PERMITS)
    }

    /// Room for a message that is held back, in exchange for what it has; none if there is none.
    pub fn hold(&self, bytes: usize) -> Option<Charge> {
        let share = permits(bytes.min(self.bytes.held));
        let bytes = Arc::clone(&self.held).try_acquire_many_owned(share).ok()?;
        Some(Charge { bytes: Some(bytes), ..Charge::default() })
    }

    /// What one source may hold back, so that others can as well.
    pub fn held_bytes_max(&self) -> usize {
        self.bytes.held / 2
    }
}

/// How long `bytes` may take to come where others wait for them.
pub fn patience(bytes: usize) -> Duration {
    PATIENCE + Duration::from_secs((bytes / SLOWEST_BYTES_PER_S) as u64)
}

fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl Charge {
    pub(super) fn bytes(&self) -> usize {
        self.bytes.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }
}

/// Counts what is read of one connection's messages.
#[derive(Clone, Debug)]
pub struct Meter {
    quota: Quota,
    metered: Arc<Mutex<Metered>>,
}

#[derive(Default)]
struct Metered {
    /// Read since the last message was whole.
    unfinished: usize,
    charge: Charge,
    waiting: Option<Pin<Box<dyn Future<Output = Charge> + Send>>>,
    /// For whoever goes on without a share.
    last_since: Option<Last>,
}

struct Last {
    began: Instant,
    /// What had been read then.
    unfinished: usize,
    timer: Pin<Box<Sleep>>,
}

impl Meter {
    fn lock(&self) -> MutexGuard<'_, Metered> {
        self.metered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message has come to its end, and is handed over with what it was charged with.
    pub(super) fn finished(&self) -> Charge {
        let mut metered = self.lock();
        metered.unfinished = 0;
        metered.last_since = None;
        std::mem::take(&mut metered.charge)
    }

    /// Waits for `held_up`, while which nothing is read: whoever sends is not to be told that it was too slow then.
    pub(super) async fn meanwhile<T>(&self, held_up: impl Future<Output = T>) -> T {
        let since = self.lock().last_since.is_some().then(Instant::now);
        let done = held_up.await;
        if let (Some(since), Some(last)) = (since, &mut self.lock().last_since) {
            last.began += since.elapsed();
        }
        done
    }

    /// How many bytes may be read now.
    pub(super) fn poll_room(&self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut metered = self.lock();
        let metered = &mut *metered;
        if metered.unfinished > self.quota.bytes.message.saturating_add(AROUND_BYTES) {
            let words = format!("a message of more than {} bytes", self.quota.bytes.message);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, words)));
        }
        if let Some(last) = &mut metered.last_since {
            // Less than then, where what was read of a ping has been taken off since.
            let until = last.began + patience(metered.unfinished.saturating_sub(last.unfinished));
            if last.timer.deadline() != until {
                last.timer.as_mut().reset(until);
            }
            if last.timer.as_mut().poll(context).is_ready() {
                let words = format!("a message came too slowly: more than {PATIENCE:?} and 1 s per 4 KiB");
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, words)));
            }
        }
        let covered = OWN_BYTES + metered.charge.bytes();
        if metered.charge.last.is_none() && metered.unfinished >= covered {
            let taken = self.poll_more(metered, context);
            let Charge { bytes, last, .. } = ready!(taken);
            match (&mut metered.charge.bytes, bytes) {
                (Some(charge), Some(more)) => charge.merge(more),
                (none, more) => *none = more.or(none.take()),
            }
            if last.is_some() {
                metered.charge.last = last;
                let began = Instant::now();
                let mut timer = Box::pin(sleep_until(began + PATIENCE));
                // For the waker; it is not due.
                let _ = timer.as_mut().poll(context);
                metered.last_since = Some(Last { began, unfinished: metered.unfinished, timer });
            }
        }
        Poll::Ready(Ok(STEP_BYTES))
    }

    fn poll_more(&self, metered: &mut Metered, context: &mut Context<'_>) -> Poll<Charge> {
        let share = permits(STEP_BYTES.min(self.quota.bytes.large));
        let waiting = metered.waiting.get_or_insert_with(|| {
            let (large, last) = (Arc::clone(&self.quota.large), Arc::clone(&self.quota.last));
            Box::pin(async move {
                tokio::select! {
                    biased;
                    bytes = large.acquire_many_owned(share) => Charge { bytes: bytes.ok(), ..Charge::default() },
                    last = last.acquire_owned() => Charge { last: last.ok(), ..Charge::default() },
                }
            })
        });
        let charge = ready!(waiting.as_mut().poll(context));
        metered.waiting = None;
        Poll::Ready(charge)
    }

    /// So many bytes were read between those of messages.
    pub(super) fn beside(&self, bytes: usize) {
        let mut metered = self.lock();
        metered.unfinished = metered.unfinished.saturating_sub(bytes);
    }

    pub(super) fn read(&self, bytes: usize) {
        self.lock().unfinished += bytes;
    }
}

impl fmt::Debug for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metered").field("unfinished", &self.unfinished).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn quota() -> Quota {
        Quota::new(QuotaBytes { message: 1 << 20, large: 128 << 10, queued: 64 << 10, held: 64 << 10 })
    }

    /// Reads a message up to `bytes`, as far as there is room at once.
    fn read_up_to(meter: &Meter, bytes: usize) -> usize {
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut read = 0;
        while read < bytes {
            let Poll::Ready(Ok(room)) = meter.poll_room(&mut context) else { break };
            meter.read(room);
            read += room;
        }
        read
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_that_want_more_than_there_is_one_comes_to_its_end_and_then_the_next() {
        let quota = quota();
        let meters: Vec<Meter> = (0..8).map(|_| quota.meter()).collect();
        let read: Vec<usize> = meters.iter().map(|meter| read_up_to(meter, 512 << 10)).collect();
        assert_eq!(read.iter().filter(|read| **read == 512 << 10).count(), 1, "{read:?}");
        let beyond: usize = read.iter().filter(|read| **read < 512 << 10).map(|read| read - OWN_BYTES).sum();
        assert!(beyond <= 128 << 10, "{read:?}");
        for _ in 0..8 {
            let whole = meters.iter().find(|meter| read_up_to(meter, 512 << 10) >= 512 << 10);
            drop(whole.expect("one comes to its end").finished());
        }
        drop(meters);
        assert_eq!((quota.large.available_permits(), quota.last.available_permits()), (128 << 10, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_is_held_up_leaves_room_for_the_messages_of_others() {
        let quota = quota();
        let (held_up, other) = (quota.queued_of_source(), quota.queued_of_source());
        let _first = quota.carry(&held_up, 64 << 10, Charge::default()).await;
        let mut second = Box::pin(quota.carry(&held_up, 2 << 10, Charge::default()));
        assert!(poll_fn(|context| Poll::Ready(second.as_mut().poll(context).is_pending())).await);
        let _others = quota.carry(&other, 64 << 10, Charge::default()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_in_which_nothing_is_read_is_nobodys_delay() {
        let meter = quota().meter();
        assert!(read_up_to(&meter, 300 << 10) >= 300 << 10, "it has the last place");
        let held_up = tokio::time::sleep(10 * PATIENCE);
        meter.meanwhile(held_up).await;
        tokio::time::advance(PATIENCE - Duration::from_secs(1)).await;
        assert!(poll_fn(|context| meter.poll_room(context)).await.is_ok());
        tokio::time::advance(patience(300 << 10)).await;
        let error = poll_fn(|context| meter.poll_room(context)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_stands_still_in_the_way_of_all_is_ended() {
        let quota = quota();
        let (first, second) = (quota.meter(), quota.meter());
        let read = read_up_to(&first, 300 << 10);
        assert!(read >= 300 << 10, "it has the last place");
        assert_eq!(read_up_to(&second, 300 << 10), OWN_BYTES);
        let began = Instant::now();
        // 4 KiB a second, for as long as that takes.
        for _ in 0..40 {
            tokio::time::advance(Duration::from_secs(1)).await;
            assert!(poll_fn(|context| first.poll_room(context)).await.is_ok());
            first.read(SLOWEST_BYTES_PER_S);
        }
        let error = poll_fn(|context| match first.poll_room(context) {
            Poll::Ready(Ok(_)) => Poll::Pending,
            other => other,
        });
        assert_eq!(error.await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let beyond_shares = read - OWN_BYTES - (128 << 10) + 40 * SLOWEST_BYTES_PER_S;
        assert_eq!(began.elapsed(), patience(beyond_shares));
        drop(first);
        assert!(read_up_to(&second, 300 << 10) >= 300 << 10);
        assert!(read_up_to(&second, 2 << 20) < 1 << 20, "longer than a message may be");
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_ping_within_a_message_that_was_read_in_two_pieces_the_first_is_forgotten_too() {
        let meter = quota().meter();
        let mut context = Context::from_waker(std::task::Waker::noop());
        // All shares are used up, and what was read last is half of a ping.
        assert_eq!(read_up_to(&meter, 192 << 10), 192 << 10);
        assert!(meter.poll_room(&mut context).is_ready(), "goes on without one");
        meter.read(60);
        meter.beside(120);
        for _ in 0..2 {
            assert!(matches!(meter.poll_room(&mut context), Poll::Ready(Ok(_))));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_message_has_its_time_of_its_own() {
        let meter = quota().meter();
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(read_up_to(&meter, 300 << 10) >= 300 << 10, "the last place");
        drop(meter.finished());
        tokio::time::advance(patience(1 << 20)).await;
        assert!(matches!(meter.poll_room(&mut context), Poll::Ready(Ok(_))));
    }
}
