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
//! its end: it needs no more than [`QuotaBytes::message`], which is kept for it. It has [`LAST_TIMEOUT`] for that.

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

/// How long whoever goes on without a share may take: meanwhile no other large message does.
const LAST_TIMEOUT: Duration = Duration::from_secs(30);

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

fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl Charge {
    fn bytes(&self) -> usize {
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
    /// Nothing was handed over since so much had been read that nothing more was.
    is_full: bool,
    /// Until when the message has to be whole, for whoever goes on without a share.
    until: Option<Pin<Box<Sleep>>>,
}

impl Meter {
    fn lock(&self) -> MutexGuard<'_, Metered> {
        self.metered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message of `bytes` has been handed over; `rest` says whether there may be others behind it that have been read
    /// with it. What it was charged with.
    pub(super) fn finished(&self, bytes: usize, rest: bool) -> Charge {
        let mut metered = self.lock();
        metered.is_full = false;
        if !rest {
            metered.unfinished = 0;
            metered.until = None;
            return std::mem::take(&mut metered.charge);
        }
        metered.unfinished = metered.unfinished.saturating_sub(bytes);
        if metered.unfinished <= OWN_BYTES {
            // What is behind it needs no share: a line that is silent from now on keeps none from others.
            metered.until = None;
            return std::mem::take(&mut metered.charge);
        }
        let share = bytes.min(metered.charge.bytes());
        let part = metered.charge.bytes.as_mut().and_then(|charge| charge.split(share));
        Charge { bytes: part, ..Charge::default() }
    }

    /// How many bytes may be read now.
    pub(super) fn poll_room(&self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut metered = self.lock();
        let metered = &mut *metered;
        if metered.unfinished > self.quota.bytes.message.saturating_add(AROUND_BYTES) {
            // Several messages, perhaps, that a library reads in one go: what it has it will hand over now.
            if !std::mem::replace(&mut metered.is_full, true) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let words = format!("a message of more than {} bytes", self.quota.bytes.message);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, words)));
        }
        if let Some(until) = &mut metered.until
            && until.as_mut().poll(context).is_ready()
        {
            let words = format!("a message stood still for {} s", LAST_TIMEOUT.as_secs());
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, words)));
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
                let mut until = Box::pin(sleep_until(Instant::now() + LAST_TIMEOUT));
                // For the waker; it is not due.
                let _ = until.as_mut().poll(context);
                metered.until = Some(until);
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
            drop(whole.expect("one comes to its end").finished(512 << 10, false));
        }
        drop(meters);
        assert_eq!((quota.large.available_permits(), quota.last.available_permits()), (128 << 10, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_behind_a_large_message_keeps_no_share_of_it() {
        let quota = quota();
        let meter = quota.meter();
        assert_eq!(read_up_to(&meter, 512 << 10), 512 << 10);
        assert_eq!(quota.last.available_permits(), 0);
        drop(meter.finished(500 << 10, true));
        assert_eq!((quota.large.available_permits(), quota.last.available_permits()), (128 << 10, 1));
        tokio::time::advance(2 * LAST_TIMEOUT).await;
        assert_eq!(read_up_to(&meter, STEP_BYTES), STEP_BYTES, "nobody waits for it");
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
    async fn whoever_stands_still_in_the_way_of_all_is_ended() {
        let quota = quota();
        let (first, second) = (quota.meter(), quota.meter());
        assert!(read_up_to(&first, 300 << 10) >= 300 << 10, "it has the last place");
        assert_eq!(read_up_to(&second, 300 << 10), OWN_BYTES);
        let began = Instant::now();
        let error = poll_fn(|context| match first.poll_room(context) {
            Poll::Ready(Ok(_)) => Poll::Pending,
            other => other,
        });
        assert_eq!(error.await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), LAST_TIMEOUT);
        drop(first);
        assert!(read_up_to(&second, 300 << 10) >= 300 << 10);
        assert!(read_up_to(&second, 2 << 20) < 1 << 20, "longer than a message may be");
    }

    #[tokio::test]
    async fn of_messages_that_are_read_together_no_more_is_read_than_one_may_have() {
        let meter = quota().meter();
        for _ in 0..20 {
            let read = read_up_to(&meter, 8 << 20);
            assert!(read <= (1 << 20) + AROUND_BYTES + STEP_BYTES, "{read}");
            drop(meter.finished(100 << 10, true));
        }
        let mut context = Context::from_waker(std::task::Waker::noop());
        while let Poll::Ready(Ok(room)) = meter.poll_room(&mut context) {
            meter.read(room);
        }
        assert!(matches!(meter.poll_room(&mut context), Poll::Ready(Err(_))), "none comes to its end");
    }

    #[tokio::test]
    async fn what_is_read_with_others_gives_back_its_own_share() {
        let quota = quota();
        let meter = quota.meter();
        let read = read_up_to(&meter, 128 << 10);
        let first = meter.finished(16 << 10, true);
        assert_eq!((first.bytes(), quota.large.available_permits()), (16 << 10, (192 << 10) - read));
        let rest = meter.finished(1 << 10, false);
        assert_eq!(rest.bytes(), (128 << 10) - ((192 << 10) - read) - (16 << 10));
        drop((first, rest));
        assert_eq!(quota.large.available_permits(), 128 << 10);
    }
}
