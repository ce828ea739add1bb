//! What is about to happen.

use std::sync::Arc;

use sha2::Sha256;

use super::{Scheduler, Sleep};
use crate::player::event::{Changes, Happening, Planned};
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
}
