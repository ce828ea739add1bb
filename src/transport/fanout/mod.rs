//! Fan-out: one stream of messages to any number of clients, none of which can slow another.
//!
//! Each client has a bounded queue of its own. The player hands a message to all whose wish it
//! meets ([`Fanout::deliver`]); each client's task takes what waits for it ([`Member::take`]), sends it
//! and says when it was flushed ([`Member::sent`]), which is where lateness is measured. A client
//! whose queue is full is dropped with a reason under [`Flow::Drop`]; under [`Flow::Wait`], where there
//! is no time to keep, the stream waits for it, unless it is away.
//!
//! A client may give an [`Outlet`]: what is due when nothing waits for it leaves through that, at once. A delivery
//! may begin before its [`Moment`], so that nothing but the write is left to be done then.
//!
//! What never happens here: a payload is copied, the player waits for a client at the original pace, a message leaves
//! before it is due.

mod away;
mod bell;
mod emission;
mod lateness;
mod member;
mod offer;
mod outlet;
mod past;
mod queue;
mod state;
mod strands;
mod summary;
#[cfg(test)]
pub(super) mod tests;

use std::slice;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use self::away::AWAY_TOO_LONG;
pub use self::bell::Doorbell;
pub use self::emission::{Changed, Emission, MessageId};
use self::lateness::Drift;
pub use self::lateness::Lateness;
pub use self::member::Member;
pub use self::outlet::{Moment, Outlet, Sending};
pub use self::past::OutageCount;
use self::past::Past;
pub use self::queue::{Item, Taken, Wish};
use self::queue::{Offer, Queue};
pub use self::state::{StateChange, StateKey, StateTable};
pub use self::strands::{Down, Strands};
pub use self::summary::{ClientSummary, Totals};
use crate::clock::Clock;
use crate::transport::trace::Trace;

/// Clients at a time: a bound, far above what a replay is asked for.
const CLIENTS_MAX: usize = 4_096;

/// What waits for one client at most: some seconds of a busy recording.
const QUEUE_BYTES_MAX: usize = 16 << 20;
const QUEUE_ITEMS_MAX: usize = 100_000;

/// Under [`Flow::Wait`], a client that takes nothing for this long is not slow but gone.
const STALL_MAX: Duration = Duration::from_secs(30);

/// How late a waiting thread may notice a stop.
const LOOK_UP: Duration = Duration::from_millis(50);

/// What happens at a client's bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The client is disconnected: time does not wait.
    Drop,
    /// The stream waits for the client.
    Wait,
}

/// Why a client cannot join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    #[error("there are as many clients as are served at a time")]
    Full,
    #[error("the replay is over")]
    Over,
}

/// The clients of one replay.
#[derive(Debug)]
pub struct Fanout {
    clock: Clock,
    trace: Option<Arc<Trace>>,
    queue_bytes_max: usize,
    queue_items_max: usize,
    room: Mutex<Room>,
    /// Rung when somebody became ready or left, and in lockstep when somebody has what was sent.
    bell: OnceLock<Arc<Doorbell>>,
    /// Who can acknowledge is waited for.
    lockstep: AtomicBool,
    left: Notify,
    drift: Mutex<Drift>,
    emitted: AtomicU64,
    past: Past,
    /// What a delivery has written; kept, so that the next one allocates nothing.
    written: Mutex<Vec<Item>>,
}

#[derive(Debug, Default)]
struct Room {
    /// Replaced, not changed, so that a delivery works on what it found without holding the lock.
    members: Arc<Vec<Arc<Client>>>,
    next_id: u64,
    over: bool,
    summaries: Vec<ClientSummary>,
}

/// One client as both sides see it.
#[derive(Debug)]
struct Client {
    id: u64,
    endpoint: String,
    /// We went to it, it did not come to us: nobody waits for it to be ready.
    is_target: bool,
    queue: Mutex<Queue>,
    /// There is something to take, or nothing will follow.
    readable: Notify,
    /// Something was taken; waited for under [`Flow::Wait`].
    writable: Condvar,
    dropped: CancellationToken,
    /// Where messages leave without the client's task, if it allows that.
    outlet: OnceLock<Arc<dyn Outlet>>,
    sent: Mutex<Sent>,
}

#[derive(Debug, Default)]
struct Sent {
    messages: u64,
    states: u64,
    bytes: u64,
    refused: u64,
    repeated: u64,
    lateness: Lateness,
}

impl Fanout {
    pub fn new(clock: Clock, trace: Option<Arc<Trace>>) -> Arc<Self> {
        Self::with_bounds(clock, trace, QUEUE_BYTES_MAX, QUEUE_ITEMS_MAX)
    }

    /// As [`Fanout::new`], with other bounds on each client's queue.
    pub fn with_bounds(
        clock: Clock,
        trace: Option<Arc<Trace>>,
        queue_bytes_max: usize,
        queue_items_max: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            clock,
            trace,
            queue_bytes_max,
            queue_items_max,
            room: Mutex::default(),
            bell: OnceLock::new(),
            lockstep: AtomicBool::new(false),
            left: Notify::new(),
            drift: Mutex::default(),
            emitted: AtomicU64::new(0),
            past: Past::default(),
            written: Mutex::default(),
        })
    }

    /// Adds a client that wishes for nothing yet.
    pub fn join(self: &Arc<Self>, endpoint: &str) -> Result<Member, JoinError> {
        self.add(endpoint, false)
    }

    /// Adds a receiver that we go to: it is no client whose coming a replay waits for.
    pub fn join_target(self: &Arc<Self>, endpoint: &str, wish: Wish) -> Result<Member, JoinError> {
        let member = self.add(endpoint, true)?;
        member.wish(wish);
        Ok(member)
    }

    fn add(self: &Arc<Self>, endpoint: &str, is_target: bool) -> Result<Member, JoinError> {
        let mut room = lock(&self.room);
        if room.over {
            return Err(JoinError::Over);
        }
        if room.members.len() >= CLIENTS_MAX {
            return Err(JoinError::Full);
        }
        room.next_id += 1;
        let client = Arc::new(Client {
            id: room.next_id,
            endpoint: endpoint.to_owned(),
            is_target,
            queue: Mutex::new(Queue::new(self.queue_bytes_max, self.queue_items_max)),
            readable: Notify::new(),
            writable: Condvar::new(),
            dropped: CancellationToken::new(),
            outlet: OnceLock::new(),
            sent: Mutex::default(),
        });
        let mut members = Vec::clone(&room.members);
        members.push(Arc::clone(&client));
        room.members = Arc::new(members);
        Ok(Member { fanout: Arc::clone(self), client })
    }

    /// From here on `bell` is rung for the one who plays; `lockstep`: also for what clients have got, and
    /// acknowledgements are kept account of.
    pub fn play(&self, bell: Arc<Doorbell>, lockstep: bool) {
        self.lockstep.store(lockstep, Ordering::Release);
        let _ = self.bell.set(bell);
    }

    /// How many clients are ready to receive.
    pub fn ready(&self) -> usize {
        let members = Arc::clone(&lock(&self.room).members);
        members.iter().filter(|client| !client.is_target && lock(&client.queue).is_ready()).count()
    }

    /// Whether everybody has what was sent: flushed, and acknowledged by those who can.
    pub fn is_settled(&self) -> bool {
        let members = Arc::clone(&lock(&self.room).members);
        members.iter().all(|client| lock(&client.queue).is_settled())
    }

    /// Disconnects those who do not have what was sent.
    pub fn drop_unsettled(&self, reason: &'static str) {
        let members = Arc::clone(&lock(&self.room).members);
        for client in members.iter() {
            let mut queue = lock(&client.queue);
            if !queue.is_settled() {
                client.drop_out(&mut queue, reason);
            }
        }
    }

    fn ring(&self) {
        if let Some(bell) = self.bell.get() {
            bell.ring();
        }
    }

    fn ring_in_lockstep(&self) {
        if self.lockstep.load(Ordering::Acquire) {
            self.ring();
        }
    }

    /// Hands `emission` to every client that wishes for it.
    pub fn deliver(&self, emission: &Arc<Emission>, flow: Flow, stop: &CancellationToken) {
        if flow == Flow::Drop {
            return self.deliver_due(slice::from_ref(emission).iter());
        }
        self.past.note(emission);
        let members = Arc::clone(&lock(&self.room).members);
        members.iter().for_each(|client| client.offer(emission, stop));
        self.emitted.fetch_add(1, Ordering::Relaxed);
    }

    /// Hands messages that are due by the time of the last of them to every client that wishes for them, under
    /// [`Flow::Drop`], each client's in one write. This may begin before that time; nothing leaves before.
    pub fn deliver_due<'e>(&self, messages: impl DoubleEndedIterator<Item = &'e Arc<Emission>> + Clone) {
        let Some(last) = messages.clone().next_back() else { return };
        let moment = Moment::of(last, &self.clock);
        if self.past.is_kept() {
            // Whoever comes from now on is told of them.
            moment.wait();
        }
        messages.clone().for_each(|emission| self.past.note(emission));
        let members = Arc::clone(&lock(&self.room).members);
        let mut written = lock(&self.written);
        for client in members.iter() {
            let direct = outlet::is_worth_it(members.len(), &moment);
            client.offer_due(messages.clone(), direct, &moment, &mut written);
            if !written.is_empty() {
                self.count(client, &written, self.clock.now().steady_ns);
                written.clear();
            }
        }
        // Where nobody is.
        moment.wait();
        self.emitted.fetch_add(messages.count() as u64, Ordering::Relaxed);
    }

    /// Hands messages that keep no time to every client that wishes for them, each client's under one lock; false,
    /// and nothing was handed out, if a client may have no room for all of them.
    pub fn deliver_burst<'e>(&self, messages: impl Iterator<Item = &'e Arc<Emission>> + Clone) -> bool {
        let (count, bytes) = messages
            .clone()
            .fold((0, 0), |(count, bytes), emission| (count + 1, bytes + queue::cost(emission)));
        let members = Arc::clone(&lock(&self.room).members);
        // Nobody else takes the room away meanwhile.
        if !members.iter().all(|client| lock(&client.queue).has_room(count, bytes)) {
            return false;
        }
        messages.clone().for_each(|emission| self.past.note(emission));
        for client in members.iter() {
            let mut queue = lock(&client.queue);
            let was_empty = messages.clone().fold(false, |was_empty, emission| {
                was_empty | (queue.offer(emission) == Offer::Queued { was_empty: true })
            });
            drop(queue);
            if was_empty {
                client.readable.notify_one();
            }
        }
        self.emitted.fetch_add(count as u64, Ordering::Relaxed);
        true
    }

    /// Notes that `batch` was flushed to `client`.
    fn count(&self, client: &Client, batch: &[Item], now_ns: u64) {
        let mut sent = lock(&client.sent);
        let mut drift = lock(&self.drift);
        for item in batch {
            let emission = &item.emission;
            if emission.is_retold() {
                sent.states += 1;
                continue;
            }
            sent.messages += 1;
            sent.bytes += emission.payload().len() as u64;
            if let Some(due_ns) = emission.due_ns.filter(|_| !item.is_held) {
                let late_us = now_ns.saturating_sub(due_ns).div_ceil(1_000);
                sent.lateness.record(late_us);
                drift.record(emission.index, late_us);
            }
        }
        drop((sent, drift));
        if let Some(trace) = &self.trace {
            let publishes = lock(&client.queue).publishes();
            for item in batch {
                let topic =
                    publishes.then(|| &**item.topic.as_ref().unwrap_or_else(|| item.emission.topic()));
                trace.sent(client.id, &item.emission, topic, now_ns);
            }
        }
    }

    /// How many messages were handed out so far, and how many clients are ready for more.
    pub fn progress(&self) -> (u64, usize) {
        (self.emitted.load(Ordering::Relaxed), self.ready())
    }

    /// Nothing will follow: clients send what waits for them and close.
    pub fn finish(&self) {
        let mut room = lock(&self.room);
        room.over = true;
        for client in room.members.iter() {
            lock(&client.queue).finish();
            client.readable.notify_one();
        }
    }

    /// Resolves when every client has left.
    pub async fn empty(&self) {
        loop {
            let left = self.left.notified();
            if lock(&self.room).members.is_empty() {
                return;
            }
            left.await;
        }
    }

    /// Disconnects those who have neither taken nor acknowledged anything since this was called before;
    /// true if there are others, who have. For use after [`Fanout::finish`].
    pub fn drop_idle(&self, reason: &'static str) -> bool {
        let mut others = false;
        for client in lock(&self.room).members.iter() {
            let mut queue = lock(&client.queue);
            if queue.has_advanced() {
                others = true;
            } else if !queue.is_over() {
                client.drop_out(&mut queue, reason);
            }
        }
        others
    }

    /// Disconnects whoever has come, for `reason`, when it has got what was delivered to it so far; those that we
    /// went to stay. They may join again at once.
    pub fn disconnect(&self, reason: &'static str) {
        for client in lock(&self.room).members.iter().filter(|client| !client.is_target) {
            lock(&client.queue).leave(reason);
            client.readable.notify_one();
        }
    }

    /// Notes in the trace, if there is one, what a fault did to the stream.
    pub fn note_fault(&self, fault: &str, struck: &impl Serialize) {
        if let Some(trace) = &self.trace {
            trace.fault(fault, struck, self.clock.now().steady_ns);
        }
    }

    /// The clients that were ready at some time and have left, in the order in which they came.
    pub fn summaries(&self) -> Vec<ClientSummary> {
        let mut summaries = lock(&self.room).summaries.clone();
        summaries.sort_by_key(|summary| summary.id);
        summaries
    }

    /// What all clients got so far, those that have left included.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        let members = {
            let room = lock(&self.room);
            room.summaries.iter().for_each(|summary| totals.add_summary(summary));
            Arc::clone(&room.members)
        };
        for client in members.iter() {
            totals.dropped += lock(&client.queue).dropped();
            let sent = lock(&client.sent);
            totals.messages += sent.messages;
            totals.bytes += sent.bytes;
            totals.refused += sent.refused;
            totals.lateness.add(&sent.lateness);
        }
        totals
    }

    /// Median lateness of the last tenth minus that of the first, in us: what a wrong clock would let grow.
    pub fn drift_us(&self) -> i64 {
        lock(&self.drift).us()
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }
}

/// The reason given to a client whose queue ran over.
pub const TOO_SLOW: &str = "too slow: its queue ran over";
/// The reason given to a client that took nothing for half a minute.
pub const STALLED: &str = "stalled: it took nothing for 30 s";

/// The reason given to a client that did not acknowledge in time.
pub const NOT_ACKNOWLEDGED: &str = "not acknowledged within --ack-timeout";

/// A panic elsewhere must not take the replay with it: what these locks guard is whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
