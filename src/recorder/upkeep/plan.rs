//! What upkeep is to do, and when. Nothing here reads a clock or a disk.
//!
//! The first time is five minutes after the start, then each day at 00:00 UTC plus [`Plan::settle_us`]: by then the
//! day's last part has been sealed. A clock that is wrong must not delete what is young: what is old is measured from
//! the newest of what had been recorded before the start, plus the time since (of the steady clock) and two days, where
//! the wall clock says that it is later than that.

use crate::archive::{PruneOptions, Terms};
use crate::clock::Now;
use crate::config::Config;
use crate::config::memory::Shares;
use crate::vendors::Source;

const MINUTE_US: i64 = 60_000_000;
const DAY_US: i64 = 24 * 60 * MINUTE_US;

/// From the start to the first time: a recorder that is started over and over does nothing else.
const FIRST_NS: u64 = 300_000_000_000;

/// Without a new day in so long a time, the wall clock has been set back.
const LONGEST_NS: u64 = 25 * 3_600_000_000_000;

/// For how long a recorder may have been off before the wall clock is doubted.
const OFF_US: i64 = 2 * DAY_US;

/// A part is sealed within this after its end.
const SEAL_US: i64 = 15 * MINUTE_US;

/// From so long a retention on, whole days go (of UTC, as the files' dates): then files go whole, and none is written
/// anew each day without a few of its hours.
const WHOLE_DAYS_US: i64 = 7 * DAY_US;

/// What the configuration asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// How long messages stay, microseconds.
    pub retain_us: Option<i64>,
    /// The same of sources that have a time of their own.
    pub retain_of: Vec<(String, i64)>,
    pub retain_max_bytes: Option<u64>,
    pub compact_daily: bool,
    /// From the end of a day to its upkeep.
    pub settle_us: i64,
    /// `min_free_disk`: beside new files, this stays free.
    pub spare_bytes: u64,
    pub row_group_bytes: usize,
}

impl Plan {
    pub fn of(config: &Config) -> Self {
        let archive = &config.archive;
        let us = |time: std::time::Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let own = |source: &Source| Some((source.name.clone(), us(source.retain?)));
        Self {
            retain_us: archive.retain.map(us),
            retain_of: config.sources.iter().filter_map(own).collect(),
            retain_max_bytes: archive.retain_max_bytes,
            compact_daily: archive.compact_daily,
            settle_us: us(archive.segment_max_age).saturating_add(SEAL_US),
            spare_bytes: archive.min_free_disk,
            row_group_bytes: Shares::of(config.limits.memory, &config.sources).upkeep,
        }
    }

    /// Whether there is nothing to do, ever.
    pub fn is_empty(&self) -> bool {
        !self.prunes_by_age() && self.retain_max_bytes.is_none() && !self.compact_daily
    }

    pub fn prunes_by_age(&self) -> bool {
        self.retain_us.is_some() || !self.retain_of.is_empty()
    }

    /// What goes for its age at this time of the calendar.
    pub fn by_age(&self, calendar_us: i64, terms: Terms) -> PruneOptions {
        let before = |retain_us: i64| match calendar_us.saturating_sub(retain_us) {
            before_us if retain_us < WHOLE_DAYS_US => before_us,
            before_us => before_us.div_euclid(DAY_US).saturating_mul(DAY_US),
        };
        PruneOptions {
            before_us: self.retain_us.map(before),
            before_of: self.retain_of.iter().map(|(name, us)| (name.clone(), before(*us))).collect(),
            terms,
            ..PruneOptions::default()
        }
    }

    pub fn by_bytes(&self, terms: Terms) -> PruneOptions {
        PruneOptions { max_bytes: self.retain_max_bytes, terms, ..PruneOptions::default() }
    }

    pub fn terms(&self, now: Now) -> Terms {
        Terms {
            at_us: Some(now.wall_us),
            spare_bytes: self.spare_bytes,
            row_group_bytes: self.row_group_bytes,
        }
    }
}

/// When upkeep is due, and what day it is for it.
#[derive(Clone, Copy, Debug)]
pub struct Calendar {
    started: Now,
    /// The newest of what had been recorded before.
    newest_us: Option<i64>,
    last: Option<Now>,
}

impl Calendar {
    pub fn new(started: Now, newest_us: Option<i64>) -> Self {
        Self { started, newest_us, last: None }
    }

    pub fn is_due(&self, now: Now, settle_us: i64) -> bool {
        let Some(last) = self.last else { return self.since_ns(self.started, now) >= FIRST_NS };
        day(now.wall_us, settle_us) > day(last.wall_us, settle_us) || self.since_ns(last, now) >= LONGEST_NS
    }

    /// It is done now.
    pub fn run(&mut self, now: Now) {
        self.last = Some(now);
    }

    /// When it is due next, by the wall clock as it is now.
    pub fn next_us(&self, now: Now, settle_us: i64) -> i64 {
        if self.last.is_none() {
            let left_ns = FIRST_NS.saturating_sub(self.since_ns(self.started, now));
            return now.wall_us.saturating_add((left_ns / 1_000) as i64);
        }
        (day(now.wall_us, settle_us) + 1).saturating_mul(DAY_US).saturating_add(settle_us)
    }

    /// The time that ages are measured from: the wall clock's, or an earlier one, where that is in doubt.
    pub fn time_us(&self, now: Now) -> i64 {
        let known_us = self.newest_us.unwrap_or(self.started.wall_us);
        let since_us = (self.since_ns(self.started, now) / 1_000) as i64;
        now.wall_us.min(known_us.saturating_add(since_us).saturating_add(OFF_US))
    }

    fn since_ns(&self, then: Now, now: Now) -> u64 {
        now.steady_ns.saturating_sub(then.steady_ns)
    }
}

/// The day that has settled last, counted from 1970.
fn day(wall_us: i64, settle_us: i64) -> i64 {
    wall_us.saturating_sub(settle_us).div_euclid(DAY_US)
}
