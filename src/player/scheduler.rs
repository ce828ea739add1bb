//! The thread that keeps the time: it sleeps to shortly before a due time, spins the rest, and hands
//! the message over. It never waits for a client at the original pace.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use rustix::thread::{clock_nanosleep_absolute, set_current_timer_slack};
use rustix::time::{ClockId, Timespec};
use sha2::Sha256;
use tokio_util::sync::CancellationToken;

use super::event::{Happening, Planned};
use super::pace::PlaybackClock;
use super::prepare::Preparation;
use super::stock::{Beginning, Next, Stock};
use super::{Pace, PlayOptions, Start};
use crate::clock::Clock;
use crate::transport::fanout::{Doorbell, Emission, Fanout, Flow};

/// How long before a due time the sleep ends: a sleeping thread wakes 25 to 75 us late on an idle
/// machine. The rest is spun, so this is also what one message costs in CPU at most.
const WAKE_AHEAD_NS: u64 = 60_000;

/// The longest sleep, so that a stop is noticed.
const SLEEP_MAX_NS: u64 = 50_000_000;

/// Between the moment at which the clients are ready and the first due time: a client that
/// subscribes to several things one after the other gets all of them from the first message.
const LEAD_NS: u64 = 100_000_000;

/// What a replay came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Played {
    pub messages: u64,
    pub bytes: u64,
    /// When the clock started; none if it did not come to that.
    pub started_ns: Option<u64>,
    /// Messages that were late because they had not been read in time.
    pub reader_late: u64,
    pub digest: Sha256,
    /// Messages and bytes by name and vendor of their source.
    pub sources: BTreeMap<(Arc<str>, Arc<str>), (u64, u64)>,
}

/// Plays what `ahead` holds to `fanout` until its end, or `stop`.
pub(super) fn run(
    ahead: &Stock,
    bell: &Doorbell,
    fanout: &Fanout,
    options: &PlayOptions,
    stop: &CancellationToken,
) -> Played {
    // One nanosecond instead of the default 50 us, for this thread only. If it is refused, the
    // sleep is less exact, and the report shows it.
    let _ = set_current_timer_slack(NonZeroU64::new(1));
    let played = play(ahead, bell, fanout, options, stop);
    ahead.abandon();
    played
}

fn play(
    ahead: &Stock,
    bell: &Doorbell,
    fanout: &Fanout,
    options: &PlayOptions,
    stop: &CancellationToken,
) -> Played {
    let clock = fanout.clock();
    let mut played = Played::default();
    // Read before the clock starts: opening an archive takes longer than a message may be late.
    ahead.begin(Beginning { rounds: options.rounds, ..Beginning::start() });
    let Some((first, _)) = next(ahead, bell, stop) else { return played };
    let lead_ns = match options.start {
        Start::AtOnce => 0,
        Start::WithClients(wanted) => {
            if !fanout.wait_ready(wanted, stop) {
                return played;
            }
            LEAD_NS
        }
    };
    let start_ns = clock.now().steady_ns + lead_ns;
    played.started_ns = Some(start_ns);
    let zero_ns = options.zero_ns.unwrap_or(first.at_ns);
    let playback = PlaybackClock::new(zero_ns, start_ns, options.speed);
    if options.pace == Pace::Max && !sleep_until(clock, start_ns, stop) {
        return played;
    }
    let mut preparation = Preparation::new(options);
    let mut planned = Some((first, false));
    while let Some((row, waited)) = planned {
        let due_ns = match options.pace {
            Pace::Original => Some(playback.due_ns(row.at_ns)),
            Pace::Max | Pace::Lockstep | Pace::Step => None,
        };
        // All that can be done before the due time is.
        let Planned { at_ns, index, what, digest, .. } = row;
        let Happening::Message { row, changes } = what else {
            planned = next(ahead, bell, stop);
            continue;
        };
        let payload = preparation.payload(&row, at_ns, changes);
        let emission = Arc::new(Emission::changed(*row, payload, index, due_ns));
        emission.topic();
        if let Some(due_ns) = due_ns {
            if waited && clock.now().steady_ns > due_ns {
                played.reader_late += 1;
            }
            if !sleep_until(clock, due_ns, stop) {
                break;
            }
        }
        played.messages += 1;
        played.bytes += emission.row.payload.len() as u64;
        played.digest = digest;
        let (name, vendor) = (&emission.row.source, &emission.row.vendor);
        let (messages, bytes) = played.sources.entry((Arc::clone(name), Arc::clone(vendor))).or_default();
        *messages += 1;
        *bytes += emission.row.payload.len() as u64;
        let flow = if due_ns.is_some() { Flow::Drop } else { Flow::Wait };
        fanout.deliver(&emission, flow, stop);
        planned = next(ahead, bell, stop);
    }
    played
}

/// The next event and whether it had to be waited for; none at the end or on a stop.
fn next(ahead: &Stock, bell: &Doorbell, stop: &CancellationToken) -> Option<(Planned, bool)> {
    let mut waited = false;
    while !stop.is_cancelled() {
        match ahead.next() {
            Next::Event(planned) => return Some((planned, waited)),
            Next::NotYet => {
                waited = true;
                bell.wait(Some(Duration::from_nanos(SLEEP_MAX_NS)));
            }
            Next::End => return None,
        }
    }
    None
}

/// Returns at `due_ns` or after it, never before; false on a stop.
fn sleep_until(clock: &Clock, due_ns: u64, stop: &CancellationToken) -> bool {
    loop {
        if stop.is_cancelled() {
            return false;
        }
        let now_ns = clock.now().steady_ns;
        let Some(left_ns) = due_ns.checked_sub(now_ns).filter(|left_ns| *left_ns > 0) else { return true };
        if left_ns <= WAKE_AHEAD_NS {
            std::hint::spin_loop();
            continue;
        }
        let wake_ns = now_ns + (left_ns - WAKE_AHEAD_NS).min(SLEEP_MAX_NS);
        let wake =
            Timespec { tv_sec: (wake_ns / 1_000_000_000) as i64, tv_nsec: (wake_ns % 1_000_000_000) as i64 };
        // The clock of `Clock`. Interrupted, or refused: the loop looks at the clock again; were it
        // always refused, this would spin, on time.
        let _ = clock_nanosleep_absolute(ClockId::Boottime, &wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_sleep_ends_early() {
        let clock = Clock::System;
        let stop = CancellationToken::new();
        for ahead_ns in [0, 1, 30_000, 61_000, 500_000, 3_000_000] {
            let due_ns = clock.now().steady_ns + ahead_ns;
            assert!(sleep_until(&clock, due_ns, &stop));
            assert!(clock.now().steady_ns >= due_ns);
        }
        assert!(sleep_until(&clock, 0, &stop), "the past is due at once");
    }

    #[test]
    fn a_stop_ends_the_longest_sleep() {
        let stop = CancellationToken::new();
        stop.cancel();
        assert!(!sleep_until(&Clock::System, u64::MAX, &stop));
    }
}
