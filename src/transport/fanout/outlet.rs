//! Writing straight from the thread that keeps the time.
//!
//! A hand-over to a client's task costs two wake-ups, 30 to 80 us on an idle machine, where the write costs ten.
//! So the first try at a client that has nothing under way is made at once; what does not go through, or comes while
//! something is under way, goes by the client's queue and task, in order.

use std::fmt::Debug;

use super::queue::Queue;
use super::{Emission, Item};
use crate::clock::Clock;

/// More clients than these are served by their tasks, on all cores: each write delays those after it.
const DIRECT_CLIENTS_MAX: usize = 8;

/// A message that is later than this is one of many: tasks write what waits for them as one.
const DIRECT_LATE_MAX_NS: u64 = 100_000;

/// Where a client's messages leave. It never waits.
pub trait Outlet: Debug + Send + Sync {
    /// Writes `item` and flushes it.
    fn send(&self, item: Item) -> Sending;
}

/// What became of a message that was to leave at once.
#[derive(Debug)]
pub enum Sending {
    /// It left.
    Flushed(Item),
    /// The client's task flushes it, and says so with [`super::Member::sent`].
    Handed,
    /// The outlet has something else under way.
    Busy(Item),
}

/// Whether `emission` is to be written at once to one of so many clients.
pub(super) fn is_worth_it(clients: usize, emission: &Emission, clock: &Clock) -> bool {
    let in_time = |due_ns: u64| clock.now().steady_ns <= due_ns.saturating_add(DIRECT_LATE_MAX_NS);
    clients <= DIRECT_CLIENTS_MAX && emission.due_ns.is_none_or(in_time)
}

/// Sends what waits in `queue`, whose lock the caller holds, so that the client's task takes nothing meanwhile.
/// None if more waits, or something is under way; then, and where the outlet is busy, all is as it was.
pub(super) fn send(outlet: &dyn Outlet, queue: &mut Queue) -> Option<Sending> {
    let sending = outlet.send(queue.take_alone()?);
    match &sending {
        Sending::Flushed(_) => queue.settle(1),
        Sending::Handed => {}
        Sending::Busy(item) => queue.put_back(item.clone()),
    }
    Some(sending)
}
