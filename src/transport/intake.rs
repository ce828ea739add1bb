//! From connection tasks to the task that drives their collector: bounded in number and in bytes.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

use super::quota::{Charge, Quota};
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
    /// The frame's payload was longer than it may be, so long, and is left out: it is to be counted, not recorded.
    pub too_long_bytes: Option<u64>,
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
        self.hand_over(input, Charge::default(), None).await
    }

    /// The same for a message that was counted as it was read.
    pub(super) async fn deliver_charged(&self, input: Input, charge: Charge) -> Result<(), Gone> {
        self.hand_over(input, charge, None).await
    }

    /// The same for one that was longer than it may be: `input` is without its payload, which had `bytes`.
    pub(super) async fn deliver_too_long(&self, input: Input, bytes: u64) -> Result<(), Gone> {
        self.hand_over(input, Charge::default(), Some(bytes)).await
    }

    async fn hand_over(&self, input: Input, charge: Charge, too_long_bytes: Option<u64>) -> Result<(), Gone> {
        let charge = self.quota.carry(&self.queued, bytes_of(&input), charge).await;
        self.sender.send(Arrival { input, charge, too_long_bytes }).await.map_err(|_| Gone)
    }

    pub(super) fn quota(&self) -> &Quota {
        &self.quota
    }
}

fn bytes_of(input: &Input) -> usize {
    match input {
        Input::Frame { frame: Frame::Text(text), .. } => text.len(),
        Input::Frame { frame: Frame::Binary(bytes), .. } => bytes.len(),
        Input::Frame { frame: Frame::Publish { topic, payload, .. }, .. } => topic.len() + payload.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::FutureExt;

    use super::*;
    use crate::clock::Clock;
    use crate::message::Mqtt;
    use crate::transport::quota::QuotaBytes;

    #[tokio::test]
    async fn of_a_message_that_is_left_out_its_topic_is_counted() {
        let quota = Quota::new(QuotaBytes { queued: 128 << 10, ..QuotaBytes::default() });
        let (intake, mut arrivals) = intake_within(&quota);
        let left_out = || {
            let topic = "t".repeat(60_000).into();
            let mqtt = Mqtt { qos: 1, retain: false, dup: false };
            let frame = Frame::Publish { topic, mqtt, payload: Bytes::new(), ack: None };
            Input::Frame { conn: 1, at: Clock::System.now(), frame }
        };
        assert_eq!(intake.deliver_too_long(left_out(), 1).now_or_never(), Some(Ok(())));
        let mut second = Box::pin(intake.deliver_too_long(left_out(), 2));
        assert_eq!(second.as_mut().now_or_never(), None);
        assert_eq!(arrivals.recv().await.unwrap().too_long_bytes, Some(1));
        assert_eq!(second.now_or_never(), Some(Ok(())));
    }
}
