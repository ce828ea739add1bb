//! From connection tasks to the task that drives their collector: bounded in number and in bytes.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::vendors::{Frame, Input};

/// Inputs under way to one source: enough that a busy reader and the collector do not take turns.
const INPUTS_MAX: usize = 256;

/// Frames up to this size are bounded by their number alone: 256 of them are 4 MiB.
const SMALL_BYTES: usize = 16 << 10;

/// Larger frames share this many bytes; one that is larger still takes them all and goes alone.
const LARGE_BYTES_MAX: usize = 16 << 20;

/// The collector's end is gone: the source is stopping.
#[derive(Debug, PartialEq, Eq)]
pub struct Gone;

/// One input on its way; holds its share of the bytes until it is dropped.
#[derive(Debug)]
pub struct Arrival {
    pub input: Input,
    _room: Option<OwnedSemaphorePermit>,
}

/// The sending end, one per connection.
#[derive(Clone, Debug)]
pub struct Intake {
    sender: mpsc::Sender<Arrival>,
    large: Arc<Semaphore>,
}

/// A way from the connections of one source to its collector.
pub fn intake() -> (Intake, mpsc::Receiver<Arrival>) {
    let (sender, receiver) = mpsc::channel(INPUTS_MAX);
    (Intake { sender, large: Arc::new(Semaphore::new(LARGE_BYTES_MAX)) }, receiver)
}

impl Intake {
    /// Hands `input` over; waits while there is no room, which is what stops the reading.
    pub async fn deliver(&self, input: Input) -> Result<(), Gone> {
        let bytes = match &input {
            Input::Frame { frame: Frame::Text(text), .. } => text.len(),
            Input::Frame { frame: Frame::Binary(bytes), .. } => bytes.len(),
            Input::Frame { frame: Frame::Publish { payload, .. }, .. } => payload.len(),
            _ => 0,
        };
        let room = if bytes > SMALL_BYTES {
            let share = bytes.min(LARGE_BYTES_MAX) as u32;
            Some(Arc::clone(&self.large).acquire_many_owned(share).await.map_err(|_| Gone)?)
        } else {
            None
        };
        self.sender.send(Arrival { input, _room: room }).await.map_err(|_| Gone)
    }
}
