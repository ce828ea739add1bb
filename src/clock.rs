//! Wall and steady time, handed in everywhere so that tests own them.
//!
//! Steady time is `CLOCK_BOOTTIME`: it never jumps and counts suspend, so that a replay shows the
//! same pause as the recording. It is meaningless across reboots; only differences are stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Wall clock, microseconds since the Unix epoch, UTC.
    pub wall_us: i64,
    /// Steady clock, nanoseconds since an arbitrary start (boot).
    pub steady_ns: u64,
}

/// Where the time comes from: the system's clocks, or a test's hand.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    #[default]
    System,
    Manual(Arc<ManualClock>),
}

/// A clock that is moved by hand wakes nobody: a thread that waits for it looks at it this often.
const MANUAL_LOOK: Duration = Duration::from_millis(1);

/// A clock that stands until it is moved.
#[derive(Debug, Default)]
pub struct ManualClock {
    wall_us: AtomicI64,
    steady_ns: AtomicU64,
}

impl Clock {
    /// Both clocks, read one after the other.
    pub fn now(&self) -> Now {
        match self {
            Clock::System => Now { wall_us: system_wall_us(), steady_ns: system_steady_ns() },
            Clock::Manual(clock) => Now {
                wall_us: clock.wall_us.load(Ordering::Acquire),
                steady_ns: clock.steady_ns.load(Ordering::Acquire),
            },
        }
    }

    /// How long a thread may sleep that is to see `time` pass.
    pub fn sleep_at_most(&self, time: Duration) -> Duration {
        match self {
            Clock::System => time,
            Clock::Manual(_) => time.min(MANUAL_LOOK),
        }
    }
}

impl ManualClock {
    /// A clock that shows `now`.
    pub fn at(now: Now) -> Self {
        Self { wall_us: AtomicI64::new(now.wall_us), steady_ns: AtomicU64::new(now.steady_ns) }
    }

    /// Moves both clocks on by `ns` nanoseconds.
    pub fn advance_ns(&self, ns: u64) {
        self.steady_ns.fetch_add(ns, Ordering::AcqRel);
        self.wall_us.fetch_add((ns / 1_000) as i64, Ordering::AcqRel);
    }

    /// Sets the wall clock on, or back, by so many microseconds. No time passes.
    pub fn step_wall_us(&self, us: i64) {
        self.wall_us.fetch_add(us, Ordering::AcqRel);
    }
}

fn system_wall_us() -> i64 {
    match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => micros(since),
        Err(before) => -micros(before.duration()),
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

fn system_steady_ns() -> u64 {
    let t = clock_gettime(ClockId::Boottime);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}
