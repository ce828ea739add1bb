//! When the library is told that its broker is alive.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// The answer to a ping.
pub(super) const PINGRESP: [u8; 2] = [0xD0, 0];

/// Of the interval at which it is pinged, this part: an answer is there before the next ping.
const OF_KEEP_ALIVE: u32 = 3;

/// Says when an answer is due: some time after the last one, once there was a sign of life.
#[derive(Debug)]
pub(super) struct Pulse {
    every: Duration,
    next: Instant,
    has_beaten: bool,
    /// While we hold the broker up: to look at the time.
    watch: Option<Pin<Box<Sleep>>>,
}

impl Pulse {
    pub(super) fn of(keep_alive: Duration) -> Self {
        let every = keep_alive / OF_KEEP_ALIVE;
        Self { every, next: Instant::now() + every, has_beaten: false, watch: None }
    }

    /// Something has come.
    pub(super) fn beat(&mut self) {
        self.has_beaten = true;
        self.watch = None;
    }

    /// Whether an answer is due, which then counts as given.
    pub(super) fn is_due(&mut self) -> bool {
        if !self.has_beaten || self.every.is_zero() {
            return false;
        }
        let is_due = Instant::now() >= self.next;
        if is_due {
            self.give();
        }
        is_due
    }

    fn give(&mut self) {
        (self.next, self.has_beaten, self.watch) = (Instant::now() + self.every, false, None);
    }

    /// Nothing is read, and that is our doing: waits until an answer is due all the same, which then counts as given.
    pub(super) fn poll_held_up(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.every.is_zero() {
            return Poll::Pending;
        }
        let next = self.next;
        ready!(self.watch.get_or_insert_with(|| Box::pin(sleep_until(next))).as_mut().poll(context));
        self.give();
        Poll::Ready(())
    }
}
