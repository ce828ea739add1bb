//! Which stages a replay has, in their order: what the past asks for (outages, cut gaps), and what was asked
//! to be done to it (faults). Messages are counted between the two: an index and the digest belong to what
//! was recorded and selected.

use super::PlayOptions;
use super::event::Stage;

/// The stages of one replay.
pub(super) struct Stages {
    /// Before messages are counted.
    pub(super) past: Vec<Box<dyn Stage>>,
    /// After it.
    pub(super) shape: Vec<Box<dyn Stage>>,
}

impl Stages {
    pub(super) fn of(_options: &PlayOptions) -> Self {
        Self { past: Vec::new(), shape: Vec::new() }
    }

    pub(super) fn wind(&mut self) {
        self.past.iter_mut().chain(&mut self.shape).for_each(|stage| stage.wind());
    }
}
