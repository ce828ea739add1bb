//! Writing straight from the thread that keeps the time.
//!
//! A hand-over to a client's task costs two wake-ups, 30 to 80 us on an idle machine, where the write costs ten.
//! So the first try at a client that has nothing under way is made at once; what does not go through, or comes while
//! something is under way, goes by the client's queue and task, in order.
//!
//! After a silence the code that writes is in no cache, and what comes before the write takes as long as the write.
//! So a delivery begins shortly before it is due, holds the client's queue, and waits for its [`Moment`] with all but
//! the write done.

use std::fmt::Debug;
use std::hint;

use super::queue::Queue;
use super::{Emission, Item};
use crate::clock::Clock;

/// More clients than these are served by their tasks, on all cores: each write delays those after it.
const DIRECT_CLIENTS_MAX: usize = 8;

/// What is later than this has more to write than one thread can.
const DIRECT_LATE_MAX_NS: u64 = 20_000_000;

/// Where a client's messages leave. It never waits for the client.
pub trait Outlet: Debug + Send + Sync {
    /// Writes `items`, in their order, and flushes them as one, not before the `moment` has come.
    fn send(&self, items: &mut Vec<Item>, moment: &Moment<'_>) -> Sending;
}

/// What became of messages that were to leave at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// They left.
    Flushed,
    /// Those that are not among the items any more are the client's task's, which flushes them, and says so with
    /// [`super::Member::sent`].
    Handed,
    /// The outlet has something else under way.
    Busy,
}

/// When something is to leave.
#[derive(Debug)]
pub struct Moment<'a> {
    clock: &'a Clock,
    due_ns: u64,
}

impl<'a> Moment<'a> {
    pub(super) fn of(emission: &Emission, clock: &'a Clock) -> Self {
        Self { clock, due_ns: emission.due_ns.unwrap_or(0) }
    }

    /// Spins until it has come: so long a delivery begins before, and no longer.
    pub fn wait(&self) {
        while self.clock.now().steady_ns < self.due_ns {
            hint::spin_loop();
        }
    }

    fn has_long_gone(&self) -> bool {
        self.clock.now().steady_ns > self.due_ns.saturating_add(DIRECT_LATE_MAX_NS)
    }
}

/// Whether what is due at `moment` is to be written at once to one of so many clients.
pub(super) fn is_worth_it(clients: usize, moment: &Moment<'_>) -> bool {
    clients <= DIRECT_CLIENTS_MAX && (moment.due_ns == 0 || !moment.has_long_gone())
}

/// Sends what waits in `queue`, whose lock the caller holds, so that the client's task takes nothing meanwhile; what
/// left is in `sent`. False if something is under way; then all is as it was.
pub(super) fn send(
    outlet: &dyn Outlet,
    queue: &mut Queue,
    moment: &Moment<'_>,
    sent: &mut Vec<Item>,
) -> bool {
    sent.clear();
    if !queue.take_fresh(sent) {
        return false;
    }
    let sending = outlet.send(sent, moment);
    match sending {
        Sending::Flushed => queue.settle(sent.len()),
        Sending::Handed | Sending::Busy => queue.put_back(sent),
    }
    sending != Sending::Busy
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;
    use tokio::runtime::Builder;

    use super::super::tests::{emission, everything, fanout};
    use super::super::{Taken, lock};
    use super::*;

    /// What the socket says to the next writes: 0 takes all, 1 leaves a rest for the task, 2 has room for one, others
    /// are busy.
    #[derive(Debug, Default)]
    struct Socket {
        says: VecDeque<u8>,
        written: Vec<u64>,
        handed: Vec<Item>,
        idle: bool,
    }

    #[derive(Debug, Default)]
    struct Scripted(Mutex<Socket>);

    impl Outlet for Scripted {
        fn send(&self, items: &mut Vec<Item>, _: &Moment<'_>) -> Sending {
            let mut socket = lock(&self.0);
            let says = socket.says.pop_front().unwrap_or(3);
            if !socket.idle || says > 2 {
                return Sending::Busy;
            }
            let fed = if says == 2 { 1 } else { items.len() };
            socket.written.extend(items[..fed].iter().map(|item| item.emission.index));
            if says == 0 {
                return Sending::Flushed;
            }
            socket.idle = false;
            socket.handed = items.drain(..fed).collect();
            Sending::Handed
        }
    }

    proptest! {
        /// The thread that keeps the time and the client's task take turns in any way.
        #[test]
        fn all_leaves_once_and_in_order_whoever_writes_it(
            turns in proptest::collection::vec((0..4u8, 1..4usize), 0..80),
            says in proptest::collection::vec(0..4u8, 0..40),
            ends in 0..3u8,
        ) {
            let (fanout, outlet) = (fanout(1_000), Arc::new(Scripted::default()));
            let member = fanout.join("c").unwrap();
            member.wish(everything());
            member.set_outlet(Arc::clone(&outlet) as Arc<dyn Outlet>);
            *lock(&outlet.0) = Socket { says: says.into(), idle: true, ..Socket::default() };
            let runtime = Builder::new_current_thread().build().unwrap();
            let (mut offered, mut batch, mut last) = (0, Vec::new(), None);
            // The task has taken something and not written it, has written and not flushed it.
            let (mut unwritten, mut flushing) = (false, false);
            let drained = std::iter::repeat_n([(2, 9), (3, 0)], 300).flatten();
            for (n, (turn, most)) in turns.iter().copied().chain(drained).enumerate() {
                if n == turns.len() {
                    match ends {
                        0 => fanout.finish(),
                        1 => _ = lock(&member.client.queue).cut(),
                        _ => lock(&member.client.queue).leave("asked for"),
                    }
                }
                match turn {
                    0 | 1 => {
                        // The task takes what one of them leaves behind, the next time both.
                        let due: Vec<_> = (offered..).take(most).map(|index| emission(index, "a", 0, 1)).collect();
                        let clock = Clock::System;
                        let (moment, mut sent) = (Moment::of(&due[0], &clock), Vec::new());
                        member.client.offer_due(due.iter(), turn == 0, &moment, &mut sent);
                        fanout.count(&member.client, &sent, 0);
                        offered += most as u64;
                    }
                    2 if !flushing && !unwritten => {
                        let mut handed = std::mem::take(&mut lock(&outlet.0).handed);
                        if !handed.is_empty() {
                            batch.append(&mut handed);
                            flushing = true;
                            continue;
                        }
                        let taken = runtime.block_on(async {
                            tokio::select! {
                                biased;
                                taken = member.take(&mut batch, most, usize::MAX) => taken,
                                () = std::future::ready(()) => Taken::Nothing,
                            }
                        });
                        unwritten = !batch.is_empty();
                        if !matches!(taken, Taken::Some | Taken::Nothing) {
                            last = Some(taken);
                        }
                    }
                    3 if unwritten => {
                        let mut socket = lock(&outlet.0);
                        socket.written.extend(batch.iter().map(|item: &Item| item.emission.index));
                        socket.idle = false;
                        (unwritten, flushing) = (false, true);
                    }
                    3 if flushing => {
                        member.sent(&batch);
                        batch.clear();
                        flushing = false;
                        lock(&outlet.0).idle = true;
                    }
                    _ => {}
                }
            }
            let expected = [Taken::Finished, Taken::Cut, Taken::Dropped("asked for")];
            prop_assert_eq!(last, Some(expected[usize::from(ends)]));
            prop_assert!(fanout.is_settled());
            prop_assert_eq!(&lock(&outlet.0).written, &(0..offered).collect::<Vec<_>>());
            drop(member);
            let summary = &fanout.summaries()[0];
            prop_assert_eq!((summary.messages, summary.dropped), (offered, 0));
        }
    }
}
