//! When the data is at risk: what `/readyz` says, and the watchdog.
//!
//! A vendor that cannot be reached puts nothing at risk that the recorder could save, and is no reason; it is seen in
//! the source's state. A source that has given up is one: it needs somebody. Damage that the start found is none: it is
//! over, nothing that comes now is at risk for it, and whoever sends only to a recorder that is ready would be turned
//! away for ever. `status` and `/metrics` tell of it.

use serde::Serialize;

use super::stats::{SourceStatus, State, Status};
use crate::journal::Progress;
use crate::units::human_duration;

const SECOND_NS: u64 = 1_000_000_000;

/// A write and its sync take milliseconds; on a busy disk, a second.
const TURN_NS_MAX: u64 = 5 * SECOND_NS;

/// For how long it is told that a message was late: a disk that is slow at each sync is not well between two of them.
const LATE_TOLD_NS: u64 = 10 * SECOND_NS;

/// One that lasts so long does not come back by itself: a service manager may start the recorder anew, and what was
/// acknowledged is on the disk.
const HUNG_NS: u64 = 30 * SECOND_NS;

/// A part is sealed within seconds of its end.
const UNSEALED_NS_MAX: u64 = 300 * SECOND_NS;

/// For how long what was dropped or turned away is told: several scrapes or probes, at their usual intervals.
const RECENT_NS: u64 = 60 * SECOND_NS;

/// The journal's queue is full to so many hundredths.
const QUEUE_PERCENT_MAX: u64 = 90;

/// Why data is lost now, or soon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Risk {
    /// One word for programs.
    pub risk: &'static str,
    /// A sentence for people; may name sources.
    pub detail: String,
}

/// Whether the journal's writer answers: it waits for work, or has not been at its present turn for ever.
pub fn is_alive(progress: &Progress, now_ns: u64) -> bool {
    progress.at_work_since_ns.is_none_or(|since_ns| now_ns.saturating_sub(since_ns) < HUNG_NS)
}

/// Everything that puts data at risk; empty while all is well.
pub fn risks(status: &Status) -> Vec<Risk> {
    let mut risks = Vec::new();
    let mut add = |risk, detail: String| risks.push(Risk { risk, detail });
    let journal = &status.journal;
    if journal.failed {
        add("journal_failed", journal.error.clone().unwrap_or_default());
    } else if let Some(error) = journal.error.clone() {
        add("disk_low", error);
    }
    if journal.turn_ns > TURN_NS_MAX {
        let lasts = human_duration(journal.turn_ns);
        add("disk_slow", format!("the journal's writer has been waiting for the disk for {lasts}"));
    } else if journal.lag_ns > journal.lag_max_ns {
        let (lag, max) = (human_duration(journal.lag_ns), human_duration(journal.lag_max_ns));
        let detail =
            format!("a message has been waiting for {lag} to get to the disk, {max} at the most is well");
        add("disk_slow", detail);
    } else if journal.late_ago_ns.is_some_and(|ago_ns| ago_ns < LATE_TOLD_NS) {
        let (ago, max) =
            (human_duration(journal.late_ago_ns.unwrap_or(0)), human_duration(journal.lag_max_ns));
        add("disk_slow", format!("{ago} ago a message had to wait for longer than {max} to get to the disk"));
    }
    if journal.queue_bytes_max > 0 && journal.queue_bytes * 100 / journal.queue_bytes_max >= QUEUE_PERCENT_MAX
    {
        add("queue_full", "more comes than the disk takes: the journal's queue is nearly full".to_owned());
    }
    if let Some(error) = &status.seal_error {
        add("sealing_fails", format!("everything is kept in the journal: {error}"));
    }
    if let Some(age_ns) = status.sealing.unsealed_part_age_ns.filter(|age_ns| *age_ns > UNSEALED_NS_MAX) {
        let (parts, age) = (status.sealing.unsealed_parts, human_duration(age_ns));
        add("sealing_behind", format!("{parts} complete parts are not sealed, the oldest for {age}"));
    }
    status.sources.iter().for_each(|source| of_source(source, &mut add));
    risks
}

fn of_source(source: &SourceStatus, add: &mut impl FnMut(&'static str, String)) {
    let name = &source.name;
    let is_recent = |ago_ns: Option<u64>| ago_ns.is_some_and(|ago_ns| ago_ns < RECENT_NS);
    if is_recent(source.dropped_ago_ns) {
        let dropped = source.dropped;
        add(
            "input_dropped",
            format!("{name}: input was dropped within the last minute, {dropped} messages in all"),
        );
    }
    if is_recent(source.refused_ago_ns) {
        let refused = source.refused;
        add(
            "input_refused",
            format!("{name}: input was turned away within the last minute, {refused} messages in all"),
        );
    }
    if source.state == State::GaveUp {
        add("source_gave_up", format!("{name}: {}", source.gave_up.clone().unwrap_or_default()));
    }
}

#[cfg(test)]
mod tests;
