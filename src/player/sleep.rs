//! How the scheduler waits: until a time, exactly, and for news.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use rustix::thread::{clock_nanosleep_absolute, set_current_timer_slack};
use rustix::time::{ClockId, Timespec};

use crate::clock::Clock;
use crate::transport::fanout::Doorbell;

/// How long before a due time the sleep ends: a sleeping thread wakes 25 to 75 us late on an idle
/// machine. The rest is spun, so this is also what one message costs in CPU at most, beside itself.
const WAKE_AHEAD_NS: u64 = 60_000;

/// How long before a due time its messages are put into their sockets' buffers: what that takes, with no code of it in
/// a cache. It is spun as well.
const ARM_AHEAD_NS: u64 = 40_000;

/// How long before a due time the bell is heard no more: what comes then is heard after it.
const DEAF_NS: u64 = 1_000_000;

/// The longest wait without a look at the clock, which may have gone on while the machine was suspended.
const WAIT_MAX_NS: u64 = 1_000_000_000;

/// Waiting, so that a test can let the time pass as it likes.
pub(super) trait Sleep {
    /// Returns when the bell rings, or at `until_ns` (steady time) or after it, and never before.
    fn sleep(&mut self, until_ns: Option<u64>);

    /// How long before a due time a message may be handed over, which waits for that time then.
    fn ahead_ns(&self) -> u64 {
        0
    }

    /// Returns when the bell rings, which it does when the stock has enough, or after `limit`.
    fn starve(&mut self, limit: Option<Duration>);
}

/// Waiting in this world.
#[derive(Debug)]
pub(super) struct Asleep {
    clock: Clock,
    bell: Arc<Doorbell>,
}

impl Asleep {
    /// For the calling thread.
    pub(super) fn new(clock: Clock, bell: Arc<Doorbell>) -> Self {
        // One nanosecond instead of the default 50 us, for this thread only. If it is refused, the
        // sleep is less exact, and the report shows it.
        let _ = set_current_timer_slack(NonZeroU64::new(1));
        Self { clock, bell }
    }
}

impl Sleep for Asleep {
    fn sleep(&mut self, until_ns: Option<u64>) {
        let Some(until_ns) = until_ns else {
            self.bell.wait(None);
            return;
        };
        loop {
            let now_ns = self.clock.now().steady_ns;
            let Some(left_ns) = until_ns.checked_sub(now_ns).filter(|left_ns| *left_ns > 0) else { return };
            if left_ns > 2 * DEAF_NS {
                let limit_ns = (left_ns - DEAF_NS).min(WAIT_MAX_NS);
                if self.bell.wait(Some(Duration::from_nanos(limit_ns))) {
                    return;
                }
            } else if left_ns > WAKE_AHEAD_NS {
                let wake_ns = until_ns - WAKE_AHEAD_NS;
                let wake = Timespec {
                    tv_sec: (wake_ns / 1_000_000_000) as i64,
                    tv_nsec: (wake_ns % 1_000_000_000) as i64,
                };
                // The clock of `Clock`. Interrupted, or refused: the loop looks at the clock again; were it
                // always refused, this would spin, on time.
                let _ = clock_nanosleep_absolute(ClockId::Boottime, &wake);
            } else {
                std::hint::spin_loop();
            }
        }
    }

    fn ahead_ns(&self) -> u64 {
        ARM_AHEAD_NS
    }

    fn starve(&mut self, limit: Option<Duration>) {
        self.bell.wait(limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_sleep_ends_early() {
        let clock = Clock::System;
        let mut asleep = Asleep::new(clock.clone(), Arc::default());
        for ahead_ns in [0, 1, 30_000, 61_000, 500_000, 3_000_000] {
            let due_ns = clock.now().steady_ns + ahead_ns;
            asleep.sleep(Some(due_ns));
            assert!(clock.now().steady_ns >= due_ns);
        }
        asleep.sleep(Some(0));
    }

    #[test]
    fn the_bell_ends_the_longest_sleep() {
        let bell = Arc::new(Doorbell::default());
        let mut asleep = Asleep::new(Clock::System, Arc::clone(&bell));
        for until_ns in [None, Some(u64::MAX)] {
            bell.ring();
            asleep.sleep(until_ns);
        }
    }
}
