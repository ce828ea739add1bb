//! Which stages a replay has, in their order: what the past asks for (outages, cut gaps), and what was asked
//! to be done to it (faults). Messages are counted between the two: an index and the digest belong to what
//! was recorded and selected.

use super::PlayOptions;
use super::event::Stage;
use super::faults::FaultStage;
use super::past::{Cuts, OutageStage, Outages, StateStage};
use super::reader::offsets_ns;

/// The stages of one replay.
pub(super) struct Stages {
    /// Before messages are counted.
    pub(super) past: Vec<Box<dyn Stage>>,
    /// After it.
    pub(super) shape: Vec<Box<dyn Stage>>,
    /// By which the line is shorter than the recording: wherever else `recorded_ns` is spoken of, it is a place
    /// on this line.
    pub(super) cuts: Cuts,
}

impl Stages {
    pub(super) fn of(options: &PlayOptions) -> Self {
        let mut past: Vec<Box<dyn Stage>> = Vec::new();
        if let Outages::Reproduce(outages) = &options.outages {
            past.push(Box::new(OutageStage::new(outages, options.zero_ns)));
        }
        if let Some(state) = &options.state {
            past.push(Box::new(StateStage::new(
                state,
                offsets_ns(&options.sessions),
                options.outages.cuts(),
                options.zero_ns,
            )));
        }
        let faults = options.faults.clone().map(FaultStage::new);
        let shape = faults.into_iter().map(|stage| Box::new(stage) as Box<dyn Stage>).collect();
        Self { past, shape, cuts: options.outages.cuts() }
    }

    pub(super) fn wind(&mut self) {
        self.past.iter_mut().chain(&mut self.shape).for_each(|stage| stage.wind());
    }
}
