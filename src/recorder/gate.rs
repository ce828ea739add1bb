//! The way of a source's messages into the journal, and what happens when it is full.
//!
//! | what arrived | when the journal takes nothing |
//! |---|---|
//! | a webhook | 503 with Retry-After, also where one was taken and is not stored yet; the vendor pushes again |
//! | MQTT, QoS 1 and 2 | held back, unacknowledged; reading stops when too much is held |
//! | WebSocket, MQTT QoS 0 | reading pauses for up to a second, then the newest are dropped |
//!
//! What is dropped never gets a `seq`. It is counted, and told in a link event `overflow`, from the
//! journal's reserve, when the messages get through again and every ten seconds until then.
//!
//! Acknowledgements wait here for their ticket, in order.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Map, json};

use crate::clock::Now;
use crate::journal::{AppendError, JournalHandle, Sync, Ticket};
use crate::message::Message;
use crate::transport::quota::{Charge, Quota};
use crate::vendors::{Ack, LinkEvent};

/// How long reading pauses for room before what cannot be waited for is dropped.
const PAUSE: Duration = Duration::from_secs(1);

/// Messages that are held back before reading stops: more than any broker's usual window (mosquitto's
/// is 20), so that reading, and with it the keep-alive, hardly ever stops.
const HELD_MAX: usize = 1_000;

/// How often an overflow that lasts is told.
const TOLD_EVERY_NS: u64 = 10_000_000_000;

/// How long after an overflow could not be stored it is tried again, since it would fill the log.
const TELL_AGAIN_NS: u64 = 1_000_000_000;

/// While the disk is nearly full: how long a vendor is asked to wait. Room does not come by itself.
const DISK_RETRY_S: u32 = 30;

const TOO_LONG: &str = "longer than a message may be, see [limits] memory";

type Waiting = BoxFuture<'static, Result<Ticket, AppendError>>;

/// What became of a message.
#[derive(Debug)]
pub enum Outcome {
    /// In the journal, with its ticket, or sure to get there.
    Taken(Option<Ticket>),
    Dropped,
    /// It was not taken, and whoever pushed it is to be told: full, or too large.
    Refused {
        ack: Ack,
        why: Refusal,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Busy { retry_after_s: u32 },
    TooLarge,
}

/// One source's gate.
pub struct Gate {
    journal: JournalHandle,
    owed: VecDeque<(Ticket, Ack)>,
    held: VecDeque<Held>,
    held_bytes: usize,
    quota: Quota,
    /// There was no room for the message that was held back last.
    is_overdrawn: bool,
    /// The first of those that are held, on its way in.
    waiting: Option<(Waiting, Option<Ack>)>,
    overflow: Option<Overflow>,
    /// What was told last, until it is sure to be stored.
    told: Option<Overflow>,
    /// Not before this is one told again that could not be stored.
    tell_from_ns: u64,
}

/// A message that is held back, with its share of the memory.
struct Held {
    message: Message,
    ack: Option<Ack>,
    charge: Charge,
}

#[derive(Debug)]
struct Overflow {
    dropped: u64,
    bytes: u64,
    first: Now,
    last: Now,
    told_ns: u64,
    reason: &'static str,
}

impl Gate {
    pub fn new(journal: JournalHandle, quota: Quota) -> Self {
        Self {
            journal,
            owed: VecDeque::new(),
            held: VecDeque::new(),
            held_bytes: 0,
            quota,
            is_overdrawn: false,
            waiting: None,
            overflow: None,
            told: None,
            tell_from_ns: 0,
        }
    }

    /// Whether more may be read: not while too much is held back.
    pub fn is_open(&self) -> bool {
        !self.is_overdrawn && self.held.len() < HELD_MAX && self.held_bytes < self.quota.held_bytes_max()
    }

    /// Takes a message, or says what became of it. Waits at most [`PAUSE`]. What the message has of the memory stays in
    /// `charge`, unless it is held back.
    pub async fn admit(&mut self, message: Message, ack: Option<Ack>, charge: &mut Charge) -> Outcome {
        match ack {
            Some(ack @ Ack::Http { .. }) => self.admit_webhook(message, ack),
            // What comes behind held messages waits behind them: order is the order of arrival.
            ack if self.waiting.is_some() => {
                self.hold(message, ack, charge);
                Outcome::Taken(None)
            }
            Some(ack) => self.admit_owed(message, ack, charge),
            None => self.admit_unasked(message).await,
        }
    }

    fn admit_webhook(&mut self, message: Message, ack: Ack) -> Outcome {
        let why = match self.journal.try_append(message, Sync::Now) {
            Ok(ticket) => {
                self.owed.push_back((ticket, ack));
                return Outcome::Taken(Some(ticket));
            }
            Err(AppendError::TooLarge { .. }) => Refusal::TooLarge,
            Err(AppendError::DiskLow(_)) => Refusal::Busy { retry_after_s: DISK_RETRY_S },
            Err(_) => Refusal::Busy { retry_after_s: 1 },
        };
        Outcome::Refused { ack, why }
    }

    fn admit_owed(&mut self, message: Message, ack: Ack, charge: &mut Charge) -> Outcome {
        match self.journal.try_append(message, Sync::Now) {
            Ok(ticket) => {
                self.owed.push_back((ticket, ack));
                Outcome::Taken(Some(ticket))
            }
            Err(AppendError::QueueFull(message) | AppendError::DiskLow(message)) => {
                self.hold(*message, Some(ack), charge);
                Outcome::Taken(None)
            }
            Err(AppendError::TooLarge { message, .. }) => {
                // It would come again and again: it is acknowledged like the one before it.
                self.dropped(&message, TOO_LONG);
                self.settle_behind(ack);
                Outcome::Dropped
            }
            // No acknowledgement ever: the broker keeps it.
            Err(AppendError::Poisoned(_) | AppendError::Closed(_)) => Outcome::Dropped,
        }
    }

    async fn admit_unasked(&mut self, message: Message) -> Outcome {
        let full = match self.journal.try_append(message, Sync::Later) {
            Ok(ticket) => return Outcome::Taken(Some(ticket)),
            Err(full) => full,
        };
        match full {
            AppendError::QueueFull(message) if self.overflow.is_none() => {
                // A clone shares the payload's bytes; the original is lost if the wait is given up.
                let wait = self.journal.append((*message).clone(), Sync::Later);
                match tokio::time::timeout(PAUSE, wait).await {
                    Ok(Ok(ticket)) => return Outcome::Taken(Some(ticket)),
                    _ => self.dropped(&message, "the queue is full"),
                }
            }
            AppendError::QueueFull(message) => self.dropped(&message, "the queue is full"),
            AppendError::DiskLow(message) => self.dropped(&message, "the disk is nearly full"),
            AppendError::TooLarge { message, .. } => self.dropped(&message, TOO_LONG),
            AppendError::Closed(message) => self.dropped(&message, "the journal is closed"),
            AppendError::Poisoned(_) => {}
        }
        Outcome::Dropped
    }

    fn hold(&mut self, message: Message, ack: Option<Ack>, charge: &mut Charge) {
        self.held_bytes += bytes_of(&message);
        let charge = self.quota.hold(bytes_of(&message)).unwrap_or_else(|| {
            // It keeps what it came with, and is the last one for now.
            self.is_overdrawn = true;
            std::mem::take(charge)
        });
        self.held.push_back(Held { message, ack, charge });
        self.offer();
    }

    /// Sends the first of the held messages on its way.
    fn offer(&mut self) {
        if self.waiting.is_some() {
            return;
        }
        if let Some(Held { message, ack, charge }) = self.held.pop_front() {
            self.held_bytes -= bytes_of(&message);
            self.is_overdrawn &= !self.held.is_empty();
            let journal = self.journal.clone();
            let sync = if ack.is_some() { Sync::Now } else { Sync::Later };
            let entering = async move {
                let entered = journal.append(message, sync).await;
                drop(charge);
                entered
            };
            self.waiting = Some((Box::pin(entering), ack));
        }
    }

    /// Resolves when a held message has got in; never if none is held. Safe to drop and call again.
    pub async fn let_in(&mut self) {
        let Some((waiting, _)) = &mut self.waiting else {
            return std::future::pending().await;
        };
        let entered = waiting.await;
        let ack = self.waiting.take().and_then(|(_, ack)| ack);
        // An error here is the end of the journal: no acknowledgement, the broker keeps the message.
        if let (Ok(ticket), Some(ack)) = (entered, ack) {
            self.owed.push_back((ticket, ack));
        }
        self.offer();
    }

    /// Acknowledges `ack` together with what is owed already, without a message of its own.
    pub fn settle_behind(&mut self, ack: Ack) {
        let ticket = self.owed.back().map_or(0, |(ticket, _)| *ticket);
        self.owed.push_back((ticket, ack));
    }

    /// The next acknowledgement whose message is durable.
    pub fn next_due(&mut self, durable_up_to: Ticket) -> Option<Ack> {
        let (ticket, _) = self.owed.front()?;
        if *ticket > durable_up_to {
            return None;
        }
        self.owed.pop_front().map(|(_, ack)| ack)
    }

    /// Takes out the webhooks whose messages wait for a disk that takes nothing: their senders are not to wait with it.
    /// The messages stay, and are stored when there is room; that they are sent again costs a duplicate.
    pub fn give_back(&mut self) -> impl Iterator<Item = (Ack, Refusal)> + use<> {
        let is_webhook = |(_, ack): &(Ticket, Ack)| matches!(ack, Ack::Http { .. });
        let (webhooks, others): (VecDeque<_>, _) =
            std::mem::take(&mut self.owed).into_iter().partition(is_webhook);
        self.owed = others;
        let why = Refusal::Busy { retry_after_s: DISK_RETRY_S };
        webhooks.into_iter().map(move |(_, ack)| (ack, why))
    }

    /// Whether an acknowledgement is owed, or a message on its way in.
    pub fn is_idle(&self) -> bool {
        self.owed.is_empty() && self.waiting.is_none() && self.held.is_empty()
    }

    /// Whether nothing more is to be waited for at the end: all is settled, or what is held back waits
    /// for room on the disk, which nobody is making now.
    pub fn is_done(&self) -> bool {
        self.is_idle() || (self.owed.is_empty() && !self.journal.accepting())
    }

    /// Gives up what is still held back: how many of it nobody will deliver again, and how many in all.
    /// For the end only.
    pub fn give_up(&mut self) -> (u64, u64) {
        let first = self.waiting.take().map(|(_, ack)| ack);
        let held = first.into_iter().chain(self.held.drain(..).map(|held| held.ack));
        held.fold((0, 0), |(lost, all), ack| (lost + u64::from(ack.is_none()), all + 1))
    }

    /// Forgets what is owed to a connection that is over.
    pub fn forget(&mut self, over: u32) {
        self.owed.retain(|(_, ack)| !matches!(ack, Ack::Mqtt { conn, .. } if *conn == over));
    }

    /// Counts a message that was not even read.
    pub fn drop_too_long(&mut self, at: Now, bytes: u64) {
        self.count_dropped(at, bytes, TOO_LONG);
    }

    /// Counts a message that could not be taken.
    fn dropped(&mut self, message: &Message, reason: &'static str) {
        self.count_dropped(message.at, message.payload.len() as u64, reason);
    }

    fn count_dropped(&mut self, at: Now, bytes: u64, reason: &'static str) {
        let first = Overflow { dropped: 0, bytes: 0, first: at, last: at, told_ns: at.steady_ns, reason };
        let overflow = self.overflow.get_or_insert(first);
        overflow.dropped += 1;
        overflow.bytes += bytes;
        overflow.last = at;
        overflow.reason = reason;
    }

    /// The link event that is due about messages dropped: when they get through again (`over`), or
    /// from time to time.
    pub fn tell_overflow(&mut self, now: Now, conn: u32, over: bool) -> Option<LinkEvent> {
        let overflow = self.overflow.as_mut()?;
        let due = over || now.steady_ns.saturating_sub(overflow.told_ns) >= TOLD_EVERY_NS;
        if !due || overflow.dropped == 0 {
            if over {
                self.overflow = None;
            }
            return None;
        }
        let mut more = Map::new();
        more.insert("dropped".to_owned(), json!(overflow.dropped));
        more.insert("dropped_bytes".to_owned(), json!(overflow.bytes));
        more.insert("first_at".to_owned(), json!(super::rfc3339(overflow.first.wall_us)));
        more.insert("last_at".to_owned(), json!(super::rfc3339(overflow.last.wall_us)));
        let reason = Some(overflow.reason.to_owned());
        let rest = Overflow {
            dropped: 0,
            bytes: 0,
            first: now,
            last: now,
            told_ns: now.steady_ns,
            reason: overflow.reason,
        };
        self.told = self.overflow.take();
        self.overflow = (!over).then_some(rest);
        Some(LinkEvent { event: "overflow", conn, reason, gap_ns: None, more })
    }

    /// Takes back what was told last: it could not be stored, and is to be told with what follows.
    pub fn untold(&mut self, now: Now) {
        let Some(mut untold) = self.told.take() else { return };
        if let Some(since) = self.overflow.take() {
            untold.dropped += since.dropped;
            untold.bytes += since.bytes;
            if since.dropped > 0 {
                untold.last = since.last;
            }
        }
        untold.told_ns = now.steady_ns;
        self.overflow = Some(untold);
        self.tell_from_ns = now.steady_ns.saturating_add(TELL_AGAIN_NS);
    }

    /// Whether the end of an overflow is to be told at once: not if it was just tried in vain.
    pub fn may_tell(&self, now: Now) -> bool {
        now.steady_ns >= self.tell_from_ns
    }

    /// Whether messages are being dropped.
    pub fn is_overflowing(&self) -> bool {
        self.overflow.is_some()
    }
}

/// What a message that is held back takes of the memory: a topic may be longer than what it is about.
fn bytes_of(message: &Message) -> usize {
    message.channel.len() + message.payload.len() + message.clear.as_ref().map_or(0, |clear| clear.len())
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate")
            .field("owed", &self.owed.len())
            .field("held", &self.held.len())
            .field("overflow", &self.overflow)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
