//! One message, or several that are due together, on their way to one client.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::queue::{Offer, Queue};
use super::{
    AWAY_TOO_LONG, Client, Emission, Item, LOOK_UP, Moment, STALL_MAX, STALLED, TOO_SLOW, lock, outlet,
};

impl Client {
    /// Offers messages that are due to this client, `direct`ly if that is possible; what left so is in `written`.
    pub(super) fn offer_due<'e>(
        &self,
        messages: impl Iterator<Item = &'e Arc<Emission>>,
        direct: bool,
        moment: &Moment<'_>,
        written: &mut Vec<Item>,
    ) {
        let outlet = self.outlet.get().filter(|_| direct);
        if outlet.is_none() {
            // The client's task takes what is in the queue when it likes.
            moment.wait();
        }
        let mut queue = lock(&self.queue);
        let (mut is_wanted, mut was_empty) = (false, false);
        for emission in messages {
            match queue.offer(emission) {
                Offer::Unwanted => {}
                Offer::Queued { was_empty: was } => (is_wanted, was_empty) = (true, was_empty | was),
                Offer::Full => {
                    queue.count_dropped(1);
                    let reason = if queue.is_away() { AWAY_TOO_LONG } else { TOO_SLOW };
                    return self.drop_out(&mut queue, reason);
                }
            }
        }
        if !is_wanted {
            return;
        }
        if let Some(outlet) = outlet {
            if outlet::send(&**outlet, &mut queue, moment, written) {
                return;
            }
            moment.wait();
        }
        drop(queue);
        if was_empty {
            self.readable.notify_one();
        }
    }

    /// Offers `emission` to this client, and waits where it has no room for it.
    pub(super) fn offer(&self, emission: &Arc<Emission>, stop: &CancellationToken) {
        let mut queue = lock(&self.queue);
        let mut stalled = Duration::ZERO;
        loop {
            match queue.offer(emission) {
                Offer::Unwanted => return,
                Offer::Queued { was_empty } => {
                    drop(queue);
                    if was_empty {
                        self.readable.notify_one();
                    }
                    return;
                }
                // For the return of one that is away nobody waits.
                Offer::Full if queue.is_away() => {
                    queue.count_dropped(1);
                    return self.drop_out(&mut queue, AWAY_TOO_LONG);
                }
                Offer::Full => {
                    let (guard, waited) = match self.writable.wait_timeout(queue, LOOK_UP) {
                        Ok(answer) => answer,
                        Err(poisoned) => poisoned.into_inner(),
                    };
                    queue = guard;
                    if stop.is_cancelled() {
                        return;
                    }
                    stalled = if waited.timed_out() { stalled + LOOK_UP } else { Duration::ZERO };
                    if stalled >= STALL_MAX {
                        queue.count_dropped(1);
                        return self.drop_out(&mut queue, STALLED);
                    }
                }
            }
        }
    }

    pub(super) fn drop_out(&self, queue: &mut Queue, reason: &'static str) {
        queue.drop_all(reason);
        self.dropped.cancel();
        self.writable.notify_all();
    }
}
