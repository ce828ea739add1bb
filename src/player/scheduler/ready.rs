//! What is about to happen.

use std::sync::Arc;

use sha2::Sha256;

use super::{Scheduler, Sleep};
use crate::player::event::{Changes, Happening, Planned};
use crate::player::stock::HANDFUL;
use crate::transport::fanout::Emission;

/// An event that is ready to happen.
pub(super) struct Ready {
    pub(super) at_ns: u64,
    pub(super) recorded_ns: u64,
    pub(super) round: u64,
    pub(super) index: u64,
    pub(super) digest: Option<Box<Sha256>>,
    pub(super) what: What,
    /// The reader had not kept up.
    pub(super) waited: bool,
}

impl From<Planned> for Ready {
    fn from(planned: Planned) -> Self {
        let Planned { at_ns, recorded_ns, round, index, what, digest } = planned;
        Self { at_ns, recorded_ns, round, index, digest, what: What::Planned(what), waited: false }
    }
}

impl Ready {
    /// Whether it says what is known.
    pub(super) fn is_state(&self) -> bool {
        matches!(self.what, What::Planned(Happening::State { .. }))
    }
}

pub(super) enum What {
    /// As it was read: bytes may depend on when the replay starts.
    Planned(Happening),
    /// Ready to leave.
    Message(Arc<Emission>, Changes),
}

/// The message that it is, if it is one, and ready to leave.
pub(super) fn message(ready: &Ready) -> Option<&Arc<Emission>> {
    match &ready.what {
        What::Message(emission, _) => Some(emission),
        What::Planned(_) => None,
    }
}

impl<S: Sleep> Scheduler<'_, S> {
    /// Does all for an event that can be done before it is due.
    pub(super) fn prepare(&mut self, mut ready: Ready) -> Ready {
        ready.what = match ready.what {
            What::Planned(Happening::Message { row, changes }) => {
                let payload = self.preparation.payload(&row, i128::from(ready.at_ns), changes);
                let emission = self.past.emission(row, payload, ready.index);
                if !self.is_hasty() {
                    emission.topic();
                }
                What::Message(Arc::new(emission), changes)
            }
            what => what,
        };
        ready
    }

    /// The same for `next`, and for what in hand is due with it.
    pub(super) fn prepare_next(&mut self) {
        let Some(next) = self.next.take() else { return };
        let at_ns = next.at_ns;
        self.next = Some(self.prepare(next));
        // What is due with it may be behind the handful.
        let keeps_time = !self.keeps_no_time() && self.stepping.is_none();
        if keeps_time && self.hand.len() < HANDFUL && self.hand.back().is_none_or(|last| last.at_ns == at_ns)
        {
            let hand = &mut self.hand;
            self.stock.take(1, |planned| hand.push_back(Ready::from(planned)));
        }
        self.prepare_hand(|ready| ready.at_ns == at_ns);
    }

    /// The same for what is in hand, as far as it `is_due`.
    pub(super) fn prepare_hand(&mut self, is_due: impl Fn(&Ready) -> bool) {
        let count = self.hand.iter().take_while(|ready| is_due(ready)).count();
        for n in 0..count {
            if self.hand.get(n).is_none_or(|ready| message(ready).is_some()) {
                continue;
            }
            // The other end is only where it is while it is prepared.
            if let Some(ready) = self.hand.swap_remove_back(n) {
                let ready = self.prepare(ready);
                self.hand.push_back(ready);
                let last = self.hand.len() - 1;
                self.hand.swap(n, last);
            }
        }
    }
}
