//! The meeting point of those who append and the one thread that writes: a queue that is swapped
//! whole, and what is told back (durable, room, failure).

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::format::{MAX_BODY_BYTES, PartHeader, body_bytes, encode_file_header};
use super::progress::{DurableMark, LATE_NS, Ledger, Progress};
use super::{AppendError, Durable, JournalError, JournalOptions, Sync, Ticket};
use crate::clock::Clock;
use crate::message::{Message, SessionHeader};

/// Room for link events beside the queue, so that "the queue was full" can be recorded while it is.
/// A link event takes less than 1 KiB, and whoever sends them coalesces.
pub const RESERVE_BYTES: usize = 64 << 10;

/// So many waiting bytes wake the writer before the sync interval is over. Large enough that a busy
/// recorder makes few system calls, small enough to stay in the processor's cache.
const WAKE_BYTES: usize = 1 << 20;

/// What a waiting message takes beside its bytes: its place in the queue, which may be half empty.
const ENTRY_BYTES: usize = 2 * size_of::<Entry>();

/// Something for the writer to do, in order.
#[derive(Debug)]
pub(super) enum Entry {
    Message {
        message: Message,
        charge: Charge,
    },
    /// Start a new session whose `elapsed_ns` counts from `started_ns`.
    Roll {
        header: Box<SessionHeader>,
        started_ns: u64,
    },
}

/// What a message was charged with on acceptance, and where it is to be given back.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Charge {
    pub(super) queue: usize,
    pub(super) reserve: usize,
}

impl Charge {
    pub(super) fn add(&mut self, other: Charge) {
        self.queue += other.queue;
        self.reserve += other.reserve;
    }
}

/// Why the writer has been woken, and since when the oldest message waits.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) sync_now: bool,
    pub(super) oldest_ns: Option<u64>,
    pub(super) closing: bool,
}

#[derive(Debug)]
pub(super) struct Shared {
    clock: Clock,
    queue: Mutex<Queue>,
    work: Condvar,
    room: Notify,
    durable: watch::Sender<Durable>,
    accepting: AtomicBool,
    sync_interval_ns: u64,
    /// What the queue may take at the moment, and at the most.
    queue_bytes: AtomicUsize,
    queue_max_bytes: usize,
}

#[derive(Debug, Default)]
struct Queue {
    entries: Vec<Entry>,
    /// Accepted and not yet written, also what the writer has in its hands.
    charged: Charge,
    /// The part of it that is in `entries`.
    waiting_bytes: usize,
    last_ticket: Ticket,
    oldest_ns: Option<u64>,
    /// The writer should not wait for more: a sync is wanted, a session ends, somebody found no room.
    urgent: bool,
    sync_now: bool,
    writer_sleeps: bool,
    closing: bool,
    failed: Option<Arc<str>>,
    ledger: Ledger,
}

impl Queue {
    /// When there is a reason to write; 0 is at once. `deadline_ns` is the writer's own.
    fn due_ns(&self, deadline_ns: Option<u64>, sync_interval_ns: u64) -> Option<u64> {
        if self.urgent || self.closing || self.waiting_bytes >= WAKE_BYTES {
            return Some(0);
        }
        let write_by = self.oldest_ns.map(|oldest| oldest.saturating_add(sync_interval_ns));
        [write_by, deadline_ns].into_iter().flatten().min()
    }
}

impl Shared {
    pub(super) fn new(clock: Clock, options: &JournalOptions) -> Self {
        Self {
            clock,
            queue: Mutex::default(),
            work: Condvar::new(),
            room: Notify::new(),
            durable: watch::Sender::new(Durable::default()),
            accepting: AtomicBool::new(true),
            sync_interval_ns: saturating_ns(options.sync_interval),
            queue_bytes: AtomicUsize::new(options.queue_max_bytes),
            queue_max_bytes: options.queue_max_bytes,
        }
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.clock.now().steady_ns
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No invariant of the queue spans a panic: pushes and swaps are whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until there is a reason to write, or `deadline_ns` of the steady clock has come.
    pub(super) fn wait(&self, deadline_ns: Option<u64>) {
        let mut queue = self.lock();
        queue.ledger.at_work_since_ns = None;
        queue = self.wait_with(queue, deadline_ns);
        queue.ledger.at_work_since_ns = Some(self.now_ns());
    }

    fn wait_with<'q>(
        &'q self,
        mut queue: MutexGuard<'q, Queue>,
        deadline_ns: Option<u64>,
    ) -> MutexGuard<'q, Queue> {
        loop {
            let due_ns = queue.due_ns(deadline_ns, self.sync_interval_ns);
            let left = due_ns.map(|at| at.saturating_sub(self.now_ns()));
            queue.writer_sleeps = true;
            queue = match left {
                Some(0) => {
                    queue.writer_sleeps = false;
                    return queue;
                }
                Some(ns) => {
                    let time = self.clock.sleep_at_most(Duration::from_nanos(ns));
                    let woken = self.work.wait_timeout(queue, time);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.work.wait(queue).unwrap_or_else(PoisonError::into_inner),
            };
            queue.writer_sleeps = false;
        }
    }

    /// When the writer is to take its next turn, as it stands; 0 is at once.
    #[cfg(test)]
    pub(super) fn due_ns(&self, deadline_ns: Option<u64>) -> Option<u64> {
        self.lock().due_ns(deadline_ns, self.sync_interval_ns)
    }

    /// Swaps the queue with an empty batch.
    pub(super) fn take(&self, batch: &mut Vec<Entry>) -> Taken {
        let mut queue = self.lock();
        mem::swap(&mut queue.entries, batch);
        queue.waiting_bytes = 0;
        queue.urgent = false;
        let (last_ticket, oldest_ns) = (queue.last_ticket, queue.oldest_ns.take());
        queue.ledger.taken(last_ticket, oldest_ns);
        Taken { sync_now: mem::take(&mut queue.sync_now), oldest_ns, closing: queue.closing }
    }

    /// Gives back the room of messages that have been written.
    pub(super) fn release(&self, charge: Charge) {
        let mut queue = self.lock();
        queue.charged.queue = queue.charged.queue.saturating_sub(charge.queue);
        queue.charged.reserve = queue.charged.reserve.saturating_sub(charge.reserve);
        drop(queue);
        self.room.notify_waiters();
    }

    /// Everything up to `up_to`, which is the message of `mark`, is on disk.
    pub(super) fn publish(&self, up_to: Ticket, mark: Option<DurableMark>) {
        let now_ns = self.now_ns();
        self.lock().ledger.durable(up_to, mark, now_ns, self.sync_interval_ns);
        self.durable.send_if_modified(|durable| {
            let moved = durable.up_to < up_to;
            durable.up_to = durable.up_to.max(up_to);
            moved
        });
    }

    /// The queue takes no more than this until it is told otherwise: what is accepted must have its place on the disk.
    pub(super) fn limit_queue(&self, bytes: u64) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).min(self.queue_max_bytes);
        if self.queue_bytes.swap(bytes, Ordering::Relaxed) < bytes {
            self.room.notify_waiters();
        }
    }

    /// What has been accepted waits for room on the disk, and why; none: it does not any more.
    pub(super) fn stuck(&self, why: Option<Arc<str>>) {
        self.durable.send_modify(|durable| durable.stuck = why);
    }

    pub(super) fn set_accepting(&self, accepting: bool) {
        if self.accepting.swap(accepting, Ordering::Relaxed) != accepting && accepting {
            self.room.notify_waiters();
        }
    }

    /// The writer is over, in good order: nobody is to wait for a sign of life.
    pub(super) fn rest(&self) {
        self.lock().ledger.at_work_since_ns = None;
    }

    /// A part has its first record.
    pub(super) fn part_begun(&self, now_ns: u64) {
        self.lock().ledger.part_since_ns = Some(now_ns);
    }

    /// The part is complete.
    pub(super) fn part_closed(&self) {
        let mut queue = self.lock();
        queue.ledger.part_since_ns = None;
        queue.ledger.closed_parts += 1;
    }

    pub(super) fn progress(&self) -> Progress {
        let queue = self.lock();
        let ledger = &queue.ledger;
        Progress {
            durable: ledger.durable,
            waiting_messages: queue.last_ticket - ledger.durable_ticket,
            waiting_since_ns: ledger.taken_since_ns.or(queue.oldest_ns),
            late_ns: ledger.late_ns,
            at_work_since_ns: ledger.at_work_since_ns,
            part_since_ns: ledger.part_since_ns,
            closed_parts: ledger.closed_parts,
        }
    }

    /// Refuses everything from now on, and tells those who wait.
    pub(super) fn fail(&self, reason: Arc<str>) {
        let mut queue = self.lock();
        queue.failed.get_or_insert_with(|| Arc::clone(&reason));
        let lost = mem::take(&mut queue.entries);
        queue.charged = Charge::default();
        drop(queue);
        drop(lost);
        self.durable.send_modify(|durable| durable.error = Some(reason));
        self.room.notify_waiters();
    }

    pub(super) fn begin_close(&self) {
        self.lock().closing = true;
        self.work.notify_all();
        self.room.notify_waiters();
    }

    /// Accepts a message if there is room in the queue, or else in the reserve if it may go there.
    fn append(&self, message: Message, sync: Sync, from_reserve: bool) -> Result<Ticket, AppendError> {
        let body = body_bytes(&message);
        if body > MAX_BODY_BYTES {
            return Err(AppendError::TooLarge { message: Box::new(message), bytes: body });
        }
        if !from_reserve && !self.accepting() {
            return Err(AppendError::DiskLow(Box::new(message)));
        }
        let bytes = body + ENTRY_BYTES;
        let mut queue = self.lock();
        if let Some(reason) = &queue.failed {
            return Err(AppendError::Poisoned(Arc::clone(reason)));
        }
        if queue.closing {
            return Err(AppendError::Closed(Box::new(message)));
        }
        let charge = if queue.charged.queue == 0
            || queue.charged.queue + bytes <= self.queue_bytes.load(Ordering::Relaxed)
        {
            // What is larger than the whole queue is let in alone; it would wait for ever otherwise.
            Charge { queue: bytes, reserve: 0 }
        } else if from_reserve && queue.charged.reserve + bytes <= RESERVE_BYTES {
            Charge { queue: 0, reserve: bytes }
        } else {
            queue.urgent = true;
            self.wake(queue);
            return Err(AppendError::QueueFull(Box::new(message)));
        };
        let was_idle = queue.oldest_ns.is_none();
        if was_idle {
            queue.oldest_ns = Some(self.now_ns());
        }
        queue.charged.add(charge);
        queue.waiting_bytes += bytes;
        queue.last_ticket += 1;
        let ticket = queue.last_ticket;
        queue.entries.push(Entry::Message { message, charge });
        if sync == Sync::Now {
            queue.sync_now = true;
            queue.urgent = true;
        }
        if was_idle || queue.urgent || queue.waiting_bytes >= WAKE_BYTES {
            self.wake(queue);
        }
        Ok(ticket)
    }

    /// Wakes the writer if it sleeps; a system call only then.
    fn wake(&self, mut queue: MutexGuard<'_, Queue>) {
        let sleeps = mem::replace(&mut queue.writer_sleeps, false);
        drop(queue);
        if sleeps {
            self.work.notify_one();
        }
    }

    fn accepting(&self) -> bool {
        self.accepting.load(Ordering::Relaxed)
    }
}

/// What everybody who records holds: a way into the journal. Clones share it.
#[derive(Clone, Debug)]
pub struct JournalHandle {
    shared: Arc<Shared>,
}

impl JournalHandle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Accepts a message, or says at once why not and gives it back.
    ///
    /// A payload that is a slice of a larger buffer keeps that buffer alive and is charged for its
    /// own bytes only: copy small messages out of large read buffers.
    pub fn try_append(&self, message: Message, sync: Sync) -> Result<Ticket, AppendError> {
        self.shared.append(message, sync, false)
    }

    /// As [`JournalHandle::try_append`], but waits for room in the queue and on the disk. Dropping
    /// the future drops the message; it has no ticket then.
    pub async fn append(&self, message: Message, sync: Sync) -> Result<Ticket, AppendError> {
        let mut message = message;
        loop {
            // Made before looking: it is woken by all room made from here on, even before it is awaited.
            let room = self.shared.room.notified();
            message = match self.shared.append(message, sync, false) {
                Err(AppendError::QueueFull(refused) | AppendError::DiskLow(refused)) => *refused,
                other => return other,
            };
            room.await;
        }
    }

    /// Accepts a link event even when the queue is full or the disk is low: [`RESERVE_BYTES`] are
    /// kept for them. Only when these are used up as well it is [`AppendError::QueueFull`].
    pub fn append_reserved(&self, message: Message) -> Result<Ticket, AppendError> {
        self.shared.append(message, Sync::Later, true)
    }

    /// How far the journal has come. `wait_for(|d| d.outcome(ticket).is_some())` waits for a ticket.
    pub fn durable(&self) -> watch::Receiver<Durable> {
        self.shared.durable.subscribe()
    }

    /// Ends the session: closes its part, and lets the next accepted message begin the session
    /// `header`, whose id must be new, with `seq` 0. `elapsed_ns` counts from `started_ns`, the
    /// steady time at which `header.started_at_us` was stamped.
    pub fn roll(&self, header: SessionHeader, started_ns: u64) -> Result<(), JournalError> {
        // Found out here that it cannot be written, it is an error of this call; later, of the journal.
        let first = PartHeader { session: header, part: 0, first_seq: 0 };
        encode_file_header(&mut Vec::new(), &first)?;
        let header = first.session;
        let mut queue = self.shared.lock();
        if let Some(reason) = &queue.failed {
            return Err(JournalError::Poisoned { reason: Arc::clone(reason) });
        }
        queue.entries.push(Entry::Roll { header: Box::new(header), started_ns });
        queue.urgent = true;
        self.shared.wake(queue);
        Ok(())
    }

    /// False while the disk has less free than `min_free_disk`.
    pub fn accepting(&self) -> bool {
        self.shared.accepting()
    }

    /// For how long a message is not yet late that is not on disk.
    pub fn lag_max_ns(&self) -> u64 {
        self.shared.sync_interval_ns.saturating_add(LATE_NS)
    }

    /// How far the writer is.
    pub fn progress(&self) -> Progress {
        self.shared.progress()
    }

    /// Accepted and not yet written, as counted against `queue_max_bytes`.
    pub fn queued_bytes(&self) -> usize {
        self.shared.lock().charged.queue
    }
}

pub(super) fn saturating_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
