//! How far the writer is, for whoever watches over it.

use super::Ticket;
use crate::message::SessionId;

/// The last message that a power cut cannot take any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurableMark {
    pub session_id: SessionId,
    /// The journal part that it is in.
    pub part: u32,
    pub seq: u64,
    /// Wall clock, microseconds since the Unix epoch.
    pub received_at_us: i64,
}

/// The journal at one moment. Times are of the steady clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// None before the first message.
    pub durable: Option<DurableMark>,
    /// Accepted, and not yet on disk.
    pub waiting_messages: u64,
    /// When the oldest of these was accepted.
    pub waiting_since_ns: Option<u64>,
    /// When a message became durable last that had waited for longer than [`LATE_NS`] beyond the sync interval.
    pub late_ns: Option<u64>,
    /// Since when the writer has been at its present turn; none while there is nothing to do.
    pub at_work_since_ns: Option<u64>,
    /// When the open part got its first record.
    pub part_since_ns: Option<u64>,
    /// Complete parts that were handed on to be sealed.
    pub closed_parts: u64,
}

/// A message is late that is not on disk so long after the sync interval in which it should have been.
pub const LATE_NS: u64 = 2_000_000_000;

/// What the writer notes down for [`Progress`].
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) durable: Option<DurableMark>,
    pub(super) durable_ticket: Ticket,
    /// What the writer took last ends with this ticket.
    pub(super) taken_ticket: Ticket,
    /// When the oldest message that was taken and is not durable was accepted.
    pub(super) taken_since_ns: Option<u64>,
    pub(super) late_ns: Option<u64>,
    pub(super) at_work_since_ns: Option<u64>,
    pub(super) part_since_ns: Option<u64>,
    pub(super) closed_parts: u64,
}

impl Ledger {
    /// The writer has taken all that was accepted, the oldest of it at `oldest_ns`.
    pub(super) fn taken(&mut self, last: Ticket, oldest_ns: Option<u64>) {
        self.taken_ticket = last;
        self.taken_since_ns = self.taken_since_ns.or(oldest_ns);
    }

    /// All up to `up_to` is on disk at `now_ns`, and should have been within `interval_ns`. In the middle of what was
    /// taken, the rest is taken to be as old.
    pub(super) fn durable(
        &mut self,
        up_to: Ticket,
        mark: Option<DurableMark>,
        now_ns: u64,
        interval_ns: u64,
    ) {
        let late_from = |since_ns: u64| since_ns.saturating_add(interval_ns).saturating_add(LATE_NS);
        if self.taken_since_ns.is_some_and(|since_ns| now_ns > late_from(since_ns)) {
            self.late_ns = Some(now_ns);
        }
        self.durable_ticket = up_to;
        self.durable = mark;
        if up_to >= self.taken_ticket {
            self.taken_since_ns = None;
        }
    }
}
