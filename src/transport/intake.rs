//! From connection tasks to the task that drives their collector: bounded in number and in bytes.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

use super::quota::{Charge, Meter, Quota};
use crate::vendors::{Frame, Input};

/// Inputs under way to one source: enough that a busy reader and the collector do not take turns.
const INPUTS_MAX: usize = 256;

/// The collector's end is gone: the source is stopping.
#[derive(Debug, PartialEq, Eq)]
pub struct Gone;

/// One input on its way, with its share of the bytes.
#[derive(Debug)]
pub struct Arrival {
    pub input: Input,
    pub charge: Charge,
}

/// The sending end, one per connection.
#[derive(Clone, Debug)]
pub struct Intake {
    sender: mpsc::Sender<Arrival>,
    quota: Quota,
    queued: Arc<Semaphore>,
}

/// A way from the connections of one source to its collector, with bounds of its own.
pub fn intake() -> (Intake, mpsc::Receiver<Arrival>) {
    intake_within(&Quota::default())
}

/// The same within bounds that it shares with others.
pub fn intake_within(quota: &Quota) -> (Intake, mpsc::Receiver<Arrival>) {
    let (sender, receiver) = mpsc::channel(INPUTS_MAX);
    (Intake { sender, quota: quota.clone(), queued: quota.queued_of_source() }, receiver)
}

impl Intake {
    /// Hands `input` over; waits while there is no room, which is what stops the reading.
    pub async fn deliver(&self, input: Input) -> Result<(), Gone> {
        self.hand_over(input, Charge::default()).await
    }

    /// The same for a message that was counted as it was read; see [`Meter::finished`] for `rest`.
    pub(super) async fn deliver_metered(&self, input: Input, meter: &Meter, rest: bool) -> Result<(), Gone> {
        let charge = meter.finished(bytes_of(&input), rest);
        self.hand_over(input, charge).await
    }

    async fn hand_over(&self, input: Input, charge: Charge) -> Result<(), Gone> {
        let charge = self.quota.carry(&self.queued, bytes_of(&input), charge).await;
        self.sender.send(Arrival { input, charge }).await.map_err(|_| Gone)
    }

    pub(super) fn quota(&self) -> &Quota {
        &self.quota
    }
}

fn bytes_of(input: &Input) -> usize {
    match input {
        Input::Frame { frame: Frame::Text(text), .. } => text.len(),
        Input::Frame { frame: Frame::Binary(bytes), .. } => bytes.len(),
        Input::Frame { frame: Frame::Publish { payload, .. }, .. } => payload.len(),
        _ => 0,
    }
}
