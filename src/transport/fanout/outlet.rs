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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::slice;
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;
    use tokio::runtime::Builder;

    use super::super::tests::{emission, everything, fanout, stop};
    use super::super::{Flow, Taken, lock};
    use super::*;

    /// What the socket says to the next writes: 0 takes all, 1 leaves a rest for the task, others are busy.
    #[derive(Debug, Default)]
    struct Socket {
        says: VecDeque<u8>,
        written: Vec<u64>,
        handed: Option<Item>,
        idle: bool,
    }

    #[derive(Debug, Default)]
    struct Scripted(Mutex<Socket>);

    impl Outlet for Scripted {
        fn send(&self, item: Item) -> Sending {
            let mut socket = lock(&self.0);
            let says = socket.says.pop_front().unwrap_or(2);
            if !socket.idle || says > 1 {
                return Sending::Busy(item);
            }
            socket.written.push(item.emission.index);
            if says == 0 {
                return Sending::Flushed(item);
            }
            socket.idle = false;
            socket.handed = Some(item);
            Sending::Handed
        }
    }

    proptest! {
        /// The thread that keeps the time and the client's task take turns in any way.
        #[test]
        fn all_leaves_once_and_in_order_whoever_writes_it(
            turns in proptest::collection::vec((0..4u8, 1..4usize), 0..80),
            says in proptest::collection::vec(0..3u8, 0..40),
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
                        let left = member.client.offer(&emission(offered, "a", 0, 1), Flow::Drop, turn == 0, &stop());
                        left.iter().for_each(|item| fanout.count(&member.client, slice::from_ref(item), 0));
                        offered += 1;
                    }
                    2 if !flushing && !unwritten => {
                        if let Some(item) = lock(&outlet.0).handed.take() {
                            batch.push(item);
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
