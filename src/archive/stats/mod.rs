//! Figures of what was recorded, per source and kind, and per device: rates over time, gaps, sizes of payloads, lag,
//! unknown fields.
//!
//! One pass over the selected rows as columns, without an order among the kinds; of the payloads only their lengths,
//! and a few for unknown fields. With devices, their ids are read once before that, to know which have most messages.
//!
//! Memory is bounded: a group's values are histograms (3 digits; 2 for devices and for lag over time), its rate is
//! at most [`buckets::BUCKETS_MAX`] counts, and [`StatsOptions::DEVICES_MAX`] devices are told apart, the others summed up.
//!
//! A segment that upkeep replaces meanwhile begins the pass anew. Of a damaged one nothing is guessed: it is the error.

mod buckets;
mod figures;
mod group;
mod pass;
mod spread;
mod windows;

use std::time::Duration;

use serde::Serialize;

use super::Archive;
use super::error::ArchiveError;
use super::scan::ScanOptions;
use super::time::{rfc3339_us, rfc3339_us_option};
use super::unknown::UnknownField;
use pass::Pass;
pub use windows::{Outage, Window};

/// What is to be found out beside the figures per source and kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatsOptions {
    /// How long a bucket is; none: so long that there are about a hundred.
    pub bucket: Option<Duration>,
    /// Also figures of these many devices with the most messages, and of all others together.
    pub devices: Option<usize>,
    /// Also the lag in each bucket.
    pub lag_over_time: bool,
}

impl StatsOptions {
    /// So many devices are told apart at most.
    pub const DEVICES_MAX: usize = 1_000;
}

/// The figures of a selection.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stats {
    pub messages: u64,
    /// Of the payloads.
    pub bytes: u64,
    /// Of all windows together.
    pub recorded_us: u64,
    /// What of which sessions was looked at.
    pub sessions: Vec<Window>,
    pub bucket_us: u64,
    pub sources: Vec<SourceStats>,
    /// By source and kind.
    pub groups: Vec<GroupStats>,
    /// By source, kind and device, the ones with most messages first; of each source and kind the sum is its group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub devices: Option<Vec<GroupStats>>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SourceStats {
    pub source: String,
    pub vendor: String,
    pub messages: u64,
    /// In sessions that have the source.
    pub recorded_us: u64,
    pub gaps: Gaps,
    pub outages: Vec<Outage>,
}

/// Outages in figures: times without a connection, those without a recorder not included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Gaps {
    pub count: u64,
    /// So many of them were planned: one connection took over from another.
    pub planned: u64,
    pub longest_us: u64,
    /// Of a source with several sensors, theirs added up.
    pub total_us: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupStats {
    pub source: String,
    pub vendor: String,
    pub kind: String,
    /// Of devices: whose messages these are; null where they name none, and for the others together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<Option<String>>,
    /// So many devices these are, that are not told apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub others: Option<u64>,
    pub messages: u64,
    pub bytes: u64,
    #[serde(rename = "first_at", with = "rfc3339_us")]
    pub first_us: i64,
    #[serde(rename = "last_at", with = "rfc3339_us")]
    pub last_us: i64,
    /// Messages a second while the source was recorded.
    pub rate_hz: Option<f64>,
    /// In the bucket with the most, which may hold time in which nobody recorded; at least the mean.
    pub rate_max_hz: f64,
    pub rate: Series,
    pub payload_bytes: Sizes,
    pub gaps: Gaps,
    /// The longest time between two messages of a session.
    pub silence_max_us: Option<u64>,
    #[serde(rename = "silence_from", with = "rfc3339_us_option")]
    pub silence_from_us: Option<i64>,
    /// From the time that the vendor put into the message to its arrival; none where no message has one.
    pub lag_us: Option<Lag>,
    pub without_event_at: u64,
    pub decode_errors: u64,
    pub duplicates: u64,
    pub unknown_fields: Vec<UnknownField>,
}

/// Counts of equal stretches of time; those of all groups begin and end together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Series {
    #[serde(rename = "start", with = "rfc3339_us")]
    pub start_us: i64,
    pub step_us: u64,
    pub messages: Vec<u64>,
    /// Median and 99th percentile of the lag in each; null where no message has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_p50_us: Option<Vec<Option<i64>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_p99_us: Option<Vec<Option<i64>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sizes {
    pub min: u64,
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
}

/// Negative where the vendor's clock was ahead of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Lag {
    /// So many have a time of the vendor's.
    pub messages: u64,
    pub negative: u64,
    pub min: i64,
    pub p50: i64,
    pub p99: i64,
    pub max: i64,
}

/// The figures of what `options` select; `tell` hears how many rows have been read.
pub fn stats(
    archive: &Archive,
    options: &ScanOptions,
    wanted: &StatsOptions,
    tell: &dyn Fn(u64),
) -> Result<Stats, ArchiveError> {
    archive.while_files_change(|| {
        let pass = Pass::new(archive, options, wanted)?.run(tell)?;
        figures::figures(archive, options, wanted, pass)
    })
}
