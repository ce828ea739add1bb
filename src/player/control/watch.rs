//! Waiting for what a replay comes to.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Awaited, Control, Refused, Shown, Snapshot, State, Ticket, lock};

/// A message is waited for, until this is dropped. A loop may have wound back by the time somebody looks, so it is
/// noted down as it passes.
struct Passing<'a> {
    control: &'a Control,
    id: u64,
}

impl<'a> Passing<'a> {
    fn new(control: &'a Control, seq: u64) -> Self {
        Self { control, id: lock(&control.shown).await_seq(seq) }
    }
}

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        lock(&self.control.shown).forget(self.id);
    }
}

impl Control {
    /// Resolves when the order is carried out, refused, or cannot be carried out any more.
    pub async fn obeyed(&self, ticket: Ticket) -> Result<Snapshot, Refused> {
        let mut refused = None;
        self.watch(|shown| {
            let why = shown.refused.iter().rev().find(|(number, _)| *number == ticket.0);
            refused = why.map(|(_, why)| *why);
            refused.is_some() || shown.obeyed >= ticket.0 || shown.state == State::Done
        })
        .await;
        refused.map_or_else(|| Ok(self.snapshot()), Err)
    }

    /// Resolves when it is so, or with an error when it cannot come to it any more.
    pub async fn wait(&self, awaited: Awaited) -> Result<Snapshot, Snapshot> {
        let passing = match awaited {
            Awaited::Seq(seq) => Some(Passing::new(self, seq)),
            Awaited::State(_) => None,
        };
        let holds = |shown: &Shown| match awaited {
            Awaited::Seq(_) => passing.as_ref().is_some_and(|passing| shown.has_passed(passing.id)),
            Awaited::State(state) => shown.state == state,
        };
        let mut held = false;
        self.watch(|shown| {
            held = holds(shown);
            held || shown.state == State::Done
        })
        .await;
        if held { Ok(self.snapshot()) } else { Err(self.snapshot()) }
    }

    async fn watch(&self, mut done: impl FnMut(&Shown) -> bool) {
        /// Counts a watcher for as long as it watches.
        struct Watching<'a>(&'a AtomicUsize);
        impl Drop for Watching<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        self.watchers.fetch_add(1, Ordering::SeqCst);
        let _watching = Watching(&self.watchers);
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Listens from here on, so that no change between the look and the wait is missed.
            changed.as_mut().enable();
            if done(&lock(&self.shown)) {
                return;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::super::Order;
    use super::*;
    use crate::clock::Clock;
    use crate::message::SessionId;
    use crate::transport::fanout::Fanout;

    #[test]
    fn an_order_that_is_refused_is_not_the_end_of_the_one_before() {
        let control = Control::new(Fanout::new(Clock::System, None));
        let [step, speed] = [(); 2].map(|()| control.order(Order::Play).unwrap());
        let mut stepped = Box::pin(control.obeyed(step));
        control.refuse(speed, Refused::NoSpeed);
        assert!(control.obeyed(speed).now_or_never().is_some_and(|answer| answer.is_err()));
        assert!((&mut stepped).now_or_never().is_none());
        control.obey(step);
        assert!(stepped.now_or_never().is_some_and(|answer| answer.is_ok()));
    }

    #[test]
    fn a_message_that_passes_between_two_looks_was_there() {
        let control = Control::new(Fanout::new(Clock::System, None));
        let passes = |seq| {
            control.show(|shown| {
                shown.seq = Some((SessionId::new(0, [0; 10]), seq));
                shown.pass(seq);
            });
        };
        passes(9);
        assert!(control.wait(Awaited::Seq(9)).now_or_never().is_some());
        passes(0);
        let mut waited = Box::pin(control.wait(Awaited::Seq(5)));
        assert!((&mut waited).now_or_never().is_none(), "what passed before is not meant");
        passes(4);
        assert!((&mut waited).now_or_never().is_none());
        (5..=9).chain(0..2).for_each(passes);
        assert_eq!(waited.now_or_never().unwrap().unwrap().seq, Some(1));
        assert!(lock(&control.shown).awaited.is_empty(), "nobody waits any more");
    }
}
