//! How far the writer is, for whoever watches over it.

use super::Ticket;
use crate::message::SessionId;

/// The last message that a power cut cannot take any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurableMark {
    pub session_id: SessionId,
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
    /// Since when the writer has been at its present turn; none while there is nothing to do.
    pub at_work_since_ns: Option<u64>,
    /// When the open part got its first record.
    pub part_since_ns: Option<u64>,
    /// Complete parts that were handed on to be sealed.
    pub closed_parts: u64,
}

/// What the writer notes down for [`Progress`].
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) durable: Option<DurableMark>,
    pub(super) durable_ticket: Ticket,
    /// What the writer took last ends with this ticket.
    pub(super) taken_ticket: Ticket,
    /// When the oldest message that was taken and is not durable was accepted.
    pub(super) taken_since_ns: Option<u64>,
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

    /// All up to `up_to` is on disk. In the middle of what was taken, the rest is taken to be as old.
    pub(super) fn durable(&mut self, up_to: Ticket, mark: Option<DurableMark>) {
        self.durable_ticket = up_to;
        self.durable = mark;
        if up_to >= self.taken_ticket {
            self.taken_since_ns = None;
        }
    }
}
