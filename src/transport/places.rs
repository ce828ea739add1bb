//! How many connections listeners have at a time, how many of them from one address, and who goes when all places are
//! taken.
//!
//! Each costs a descriptor and the buffers of a request's head. Where no place is free, whoever comes takes that of
//! another, so that thousands of connections on which nothing happens keep nobody out:
//!
//! | first | who | why |
//! |---|---|---|
//! | 1 | has begun a request, and not ended its head within a second | nobody's head takes so long, unless on purpose |
//! | 2 | has not said a word yet | nothing is lost |
//! | 3 | was answered before, and is silent | a client finds a closed connection when it comes back, and dials |
//! | 4 | has been busy for ten seconds | its body does not come, or it does not read |
//!
//! Of each, the one that has been so for longest. Who has not been busy for so long stays, and whoever comes waits.
//! What was accepted of a request is recorded all the same.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// More clients than any recorder or replay has; fewer in tests, so that one can make them all.
pub const PLACES_MAX: usize = if cfg!(test) { 64 } else { 10_000 };

/// What part of the places one address may have. Half: whoever comes from elsewhere finds a place however many one sends,
/// and a load test from one machine, or a hall of clients behind one router, has room.
const OF_ONE_ADDRESS: usize = 2;

/// Descriptors that are not for connections: the journal, segments, the index, sockets to vendors.
const OWN_FILES: u64 = 512;

/// A few places there are always, or nobody could ask what is wrong.
const PLACES_MIN: usize = 16;

/// A request's head is there at once, and its answer is read at once.
const PROMPT_MS: u64 = 1_000;

/// Longer than the disk takes for a sync, shorter than a webhook's sender waits.
const BUSY_MS: u64 = 10_000;

/// How often is looked for somebody who goes while there is nobody yet.
const LOOK: Duration = Duration::from_millis(100);

/// The places of one listener, or of several together.
#[derive(Clone, Debug)]
pub struct Places(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    all: Arc<Semaphore>,
    of_one_address_max: usize,
    of_address: Mutex<HashMap<IpAddr, usize>>,
    seats: Mutex<HashMap<u64, Arc<Seat>>>,
    next_id: AtomicU64,
    began: Instant,
}

/// What somebody who has a place is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing was heard of it yet.
    Silent,
    /// A request has begun.
    Begun,
    /// Its last request was answered.
    Answered,
    /// A request is being worked on.
    Busy,
    /// It has come to stay.
    Settled,
}

/// One connection's standing.
#[derive(Debug)]
struct Seat {
    /// The stage, and the milliseconds since `began` at which it began.
    standing: AtomicU64,
    leave: CancellationToken,
}

impl Default for Places {
    /// As many as this process may open files for.
    fn default() -> Self {
        Self::at_most(PLACES_MAX)
    }
}

impl Places {
    /// So many, and not more than this process may open files for: the limit on memory is for what is recorded.
    pub fn at_most(number: usize) -> Self {
        Self::within(number, getrlimit(Resource::Nofile).current)
    }

    fn within(wanted: usize, open_files: Option<u64>) -> Self {
        let number = number(wanted, open_files);
        Self(Arc::new(Inside {
            all: Arc::new(Semaphore::new(number)),
            of_one_address_max: number / OF_ONE_ADDRESS,
            of_address: Mutex::default(),
            seats: Mutex::default(),
            next_id: AtomicU64::new(0),
            began: Instant::now(),
        }))
    }

    /// A share of an address's places; none if it has too many.
    pub(crate) fn share(&self, address: IpAddr) -> Option<Share> {
        let Some(address) = counted(address) else { return Some(Share { places: self.clone(), of: None }) };
        let mut taken = lock(&self.0.of_address);
        let number = taken.entry(address).or_insert(0);
        if *number >= self.0.of_one_address_max {
            return None;
        }
        *number += 1;
        Some(Share { places: self.clone(), of: Some(address) })
    }

    /// Tells somebody to leave. Those who were told before are on their way.
    fn make_room(&self) {
        let now_ms = self.0.now_ms();
        let seats = lock(&self.0.seats);
        let rank = |seat: &Arc<Seat>| {
            let (stage, since_ms) = seat.standing();
            let is_prompt = now_ms.saturating_sub(since_ms) < PROMPT_MS;
            let rank = match stage {
                Stage::Begun if !is_prompt => 1,
                Stage::Silent => 2,
                Stage::Answered if !is_prompt => 3,
                Stage::Begun | Stage::Answered => 4,
                Stage::Busy if now_ms.saturating_sub(since_ms) >= BUSY_MS => 5,
                Stage::Busy | Stage::Settled => return None,
            };
            Some((rank, since_ms))
        };
        let waiting = seats.iter().filter(|(_, seat)| !seat.leave.is_cancelled());
        let first =
            waiting.filter_map(|(id, seat)| Some((rank(seat)?, *id, seat))).min_by_key(|s| (s.0, s.1));
        if let Some((_, _, seat)) = first {
            seat.leave.cancel();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number(wanted: usize, open_files: Option<u64>) -> usize {
    let by_files = open_files.map_or(u64::MAX, |files| files.saturating_sub(OWN_FILES) / 2);
    wanted.min(usize::try_from(by_files).unwrap_or(usize::MAX)).clamp(PLACES_MIN, PLACES_MAX)
}

impl Inside {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// What [`Seat::standing`] reads.
    fn standing(&self, stage: Stage) -> u64 {
        self.now_ms() << 3 | stage as u64
    }
}

/// A connection's count among those of its address.
#[derive(Debug)]
pub(crate) struct Share {
    places: Places,
    of: Option<IpAddr>,
}

impl Share {
    /// A place, once one is free or made free.
    pub(crate) async fn place(self) -> Place {
        let inside = Arc::clone(&self.places.0);
        let permit = loop {
            if let Ok(permit) = Arc::clone(&inside.all).try_acquire_owned() {
                break Some(permit);
            }
            self.places.make_room();
            if let Ok(permit) = timeout(LOOK, Arc::clone(&inside.all).acquire_owned()).await {
                // It is never closed.
                break permit.ok();
            }
        };
        let id = inside.next_id.fetch_add(1, Ordering::Relaxed);
        // Before others see it: it would have been silent since the first of all came.
        let standing = AtomicU64::new(inside.standing(Stage::Silent));
        let seat = Arc::new(Seat { standing, leave: CancellationToken::new() });
        lock(&inside.seats).insert(id, Arc::clone(&seat));
        Place { id, seat, _permit: permit, share: self }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some(address) = self.of else { return };
        let mut taken = lock(&self.places.0.of_address);
        if let Entry::Occupied(mut number) = taken.entry(address) {
            *number.get_mut() -= 1;
            if *number.get() == 0 {
                number.remove();
            }
        }
    }
}

impl Seat {
    fn standing(&self) -> (Stage, u64) {
        let standing = self.standing.load(Ordering::Relaxed);
        let stage = match standing & 7 {
            0 => Stage::Silent,
            1 => Stage::Begun,
            2 => Stage::Answered,
            3 => Stage::Busy,
            _ => Stage::Settled,
        };
        (stage, standing >> 3)
    }
}

/// One place; free again once it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    id: u64,
    seat: Arc<Seat>,
    _permit: Option<OwnedSemaphorePermit>,
    share: Share,
}

impl Place {
    pub(crate) fn set(&self, stage: Stage) {
        self.seat.standing.store(self.share.places.0.standing(stage), Ordering::Relaxed);
    }

    /// Resolves when somebody else is to have it.
    pub(crate) async fn lost(&self) {
        self.seat.leave.cancelled().await;
    }

    fn heard(&self) {
        if matches!(self.seat.standing().0, Stage::Silent | Stage::Answered) {
            self.set(Stage::Begun);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.share.places.0.seats).remove(&self.id);
    }
}

/// A connection's bytes, which tell what it is at.
#[derive(Debug)]
pub(crate) struct Heard<S> {
    stream: S,
    place: Arc<Place>,
    /// Whoever is answered has come to stay.
    settles: bool,
}

impl<S> Heard<S> {
    pub(crate) fn new(stream: S, place: Arc<Place>, settles: bool) -> Self {
        Self { stream, place, settles }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.place.heard();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if std::mem::take(&mut self.settles) {
            self.place.set(Stage::Settled);
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// By what its connections are counted: of IPv6 the network, since whoever has one address there has all of it. None
/// for this machine, where proxies are and whoever could do worse.
fn counted(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        address if address.is_loopback() => None,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Some(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
        }
        address => Some(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_by_descriptors_and_memory() {
        assert_eq!(number(usize::MAX, None), PLACES_MAX);
        assert_eq!(number(usize::MAX, Some(512 + 2 * 20)), 20);
        assert_eq!(number(30, Some(1 << 20)), 30);
        assert_eq!(number(0, Some(0)), PLACES_MIN);
    }

    #[tokio::test]
    async fn nobody_has_more_than_a_share() {
        let places = Places::within(usize::MAX, None);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut held = Vec::new();
        for (first, full, free) in [
            ("192.0.2.1", ["192.0.2.1", "::ffff:192.0.2.1"], "192.0.2.2"),
            ("2001:db8::1", ["2001:db8::1", "2001:db8::2"], "2001:db8:0:1::1"),
        ] {
            for _ in 0..PLACES_MAX / 2 {
                held.push(places.share(address(first)).unwrap().place().await);
            }
            for full in full {
                assert!(places.share(address(full)).is_none(), "{full}");
            }
            assert!(places.share(address(free)).is_some(), "{free}");
            held.clear();
        }
        for _ in 0..PLACES_MAX {
            held.push(places.share(address("127.0.0.1")).unwrap().place().await);
        }
        assert!(places.share(address("::1")).is_some());
        drop(held);
        assert!(places.share(address("192.0.2.1")).is_some());
        assert!(lock(&places.0.of_address).is_empty() && lock(&places.0.seats).is_empty());
        assert_eq!(places.0.all.available_permits(), PLACES_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_goes_before_who_was_answered_and_who_works_stays() {
        let places = Places::within(PLACES_MIN, None);
        let here = "127.0.0.1".parse::<IpAddr>().unwrap();
        let mut taken = Vec::new();
        for _ in 0..PLACES_MIN {
            taken.push(places.share(here).unwrap().place().await);
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        for (at, place) in taken.iter().enumerate() {
            place.set([Stage::Busy, Stage::Answered, Stage::Begun, Stage::Silent][at % 4]);
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        tokio::time::advance(Duration::from_millis(PROMPT_MS)).await;
        let mut gone = Vec::new();
        for _ in 0..PLACES_MIN * 3 / 4 {
            places.make_room();
            let next = |at: &usize| !gone.contains(at) && taken[*at].seat.leave.is_cancelled();
            gone.extend((0..PLACES_MIN).find(next));
        }
        assert_eq!(gone, [2, 6, 10, 14, 3, 7, 11, 15, 1, 5, 9, 13]);
        let told = || (0..PLACES_MIN).filter(|at| taken[*at].seat.leave.is_cancelled()).count();
        places.make_room();
        assert_eq!(told(), gone.len(), "who works has its time");
        tokio::time::advance(Duration::from_millis(BUSY_MS)).await;
        places.make_room();
        assert_eq!(told(), gone.len() + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_just_come_is_silent_since_then() {
        let places = Places::within(PLACES_MIN, None);
        tokio::time::advance(Duration::from_secs(7)).await;
        let place = places.share("127.0.0.1".parse().unwrap()).unwrap().place().await;
        assert_eq!(place.seat.standing(), (Stage::Silent, 7_000));
    }
}
