//! What was counted, as it is told.

use std::collections::{BTreeMap, BTreeSet};

use super::buckets::{BUCKETS_MAX, Buckets, coarser, count};
use super::group::Group;
use super::pass::{Key, Pass};
use super::windows::{NOT_CONNECTED, Outage, Window, outages};
use super::{Gaps, GroupStats, Lag, Series, Sizes, SourceStats, Stats, StatsOptions};
use crate::archive::Archive;
use crate::archive::error::ArchiveError;
use crate::archive::scan::ScanOptions;
use crate::archive::unknown::UnknownField;

/// What groups are seen against.
struct Frame {
    step_us: i64,
    /// The first and the last bucket, by their numbers.
    buckets: (i64, i64),
    lag_over_time: bool,
    /// By name and vendor.
    recorded_us: BTreeMap<(String, String), u64>,
    outages: BTreeMap<(String, String), Vec<Outage>>,
}

/// The figures of a pass that is over.
pub(super) fn figures(
    archive: &Archive,
    options: &ScanOptions,
    wanted: &StatsOptions,
    pass: Pass<'_>,
) -> Result<Stats, ArchiveError> {
    let Pass { windows, mut step_us, mut places, .. } = pass;
    places.retain(|place| place.group.messages > 0);
    places.sort_by(|a, b| a.key.cmp(&b.key));
    let mut groups: Vec<&mut Group> = Vec::new();
    for place in &mut places {
        groups.push(&mut place.group);
        groups.extend(place.devices.iter_mut().map(|device| &mut device.group));
    }
    let buckets = fit(&mut groups, &windows, &mut step_us);
    let frame = Frame {
        step_us,
        buckets,
        lag_over_time: wanted.lag_over_time,
        recorded_us: recorded_us(&windows),
        outages: outages(archive, &windows)?,
    };
    let mut stats = Stats {
        messages: places.iter().map(|place| place.group.messages).sum(),
        bytes: places.iter().map(|place| place.group.bytes).sum(),
        recorded_us: windows.iter().map(|window| window.recorded_us).sum(),
        sessions: windows,
        bucket_us: step_us.unsigned_abs(),
        sources: Vec::new(),
        groups: Vec::new(),
        devices: None,
    };
    let mut devices = Vec::new();
    for place in &places {
        stats.groups.push(frame.of(&place.key, &place.group, None));
        for device in place.devices.iter().filter(|device| device.group.messages > 0) {
            let mut figures = frame.of(&place.key, &device.group, device.device_id.as_deref());
            figures.device_id = Some(device.device_id.clone());
            figures.others = device.others;
            devices.push(figures);
        }
    }
    // Who is not told apart comes after all who are.
    devices.sort_by_key(|device| (device.others.is_some(), std::cmp::Reverse(device.messages)));
    stats.devices = wanted.devices.map(|_| devices);
    stats.sources = frame.sources(options, &stats.groups);
    Ok(stats)
}

/// The first and the last bucket of all that is looked at, whether anything came then or not. Where the wall clock was
/// set back or ahead by years while it recorded, buckets are put together until they are few.
fn fit(groups: &mut [&mut Group], windows: &[Window], step_us: &mut i64) -> (i64, i64) {
    loop {
        let number = |us: i64| us.div_euclid(*step_us);
        let starts = windows.iter().map(|window| number(window.from_us));
        let ends = windows.iter().map(|window| number(window.to_us.saturating_sub(1).max(window.from_us)));
        let first =
            groups.iter().filter_map(|group| group.buckets.keys().next().copied()).chain(starts).min();
        let last =
            groups.iter().filter_map(|group| group.buckets.keys().next_back().copied()).chain(ends).max();
        let (Some(first), Some(last)) = (first, last) else { return (0, 0) };
        if count(first, last, 1) <= BUCKETS_MAX {
            return (first, last);
        }
        *step_us = step_us.saturating_mul(10);
        for group in &mut *groups {
            group.buckets = coarser(std::mem::take(&mut group.buckets));
        }
    }
}

fn recorded_us(windows: &[Window]) -> BTreeMap<(String, String), u64> {
    let mut recorded_us = BTreeMap::new();
    for window in windows {
        for source in &window.sources {
            *recorded_us.entry(source.clone()).or_default() += window.recorded_us;
        }
    }
    recorded_us
}

impl Frame {
    fn of(&self, key: &Key, group: &Group, device_id: Option<&str>) -> GroupStats {
        let (source, vendor, kind) = key;
        let of = (source.clone(), vendor.clone());
        let recorded_us = self.recorded_us.get(&of).copied().unwrap_or(0);
        let second = 1_000_000.0;
        let (first_us, last_us) = group.received_us.unwrap_or_default();
        let most = group.buckets.values().map(|bucket| bucket.messages).max().unwrap_or(0);
        // A sensor has outages of its own, and those of its source.
        let is_of = |outage: &&Outage| {
            device_id.is_none() || outage.device_id.is_none() || outage.device_id.as_deref() == device_id
        };
        let outages = self.outages.get(&of).into_iter().flatten().filter(is_of);
        let rate_hz = (recorded_us > 0).then(|| group.messages as f64 * second / recorded_us as f64);
        // A bucket may hold much time in which nobody recorded; the highest rate is never below the mean.
        let rate_max_hz = (most as f64 * second / self.step_us as f64).max(rate_hz.unwrap_or(0.0));
        GroupStats {
            source: source.clone(),
            vendor: vendor.clone(),
            kind: kind.clone(),
            device_id: None,
            others: None,
            messages: group.messages,
            bytes: group.bytes,
            first_us,
            last_us,
            rate_hz,
            rate_max_hz,
            rate: self.series(&group.buckets),
            payload_bytes: sizes(group),
            gaps: gaps(outages),
            silence_max_us: group.silence.map(|(longest_ns, _)| longest_ns / 1_000),
            silence_from_us: group.silence.map(|(_, from_us)| from_us),
            lag_us: lag(group),
            without_event_at: group.without_event_at,
            decode_errors: group.decode_errors,
            duplicates: group.duplicates,
            unknown_fields: unknown_fields(vendor, kind, group),
        }
    }

    fn series(&self, buckets: &Buckets) -> Series {
        let (first, last) = self.buckets;
        let numbers = || first..=last;
        let messages =
            numbers().map(|number| buckets.get(&number).map_or(0, |bucket| bucket.messages)).collect();
        let has_lag = self.lag_over_time && buckets.values().any(|bucket| bucket.lag.is_some());
        let lag = |per_mille| {
            let of = |number| buckets.get(&number)?.lag.as_ref()?.at_per_mille(per_mille);
            has_lag.then(|| numbers().map(of).collect())
        };
        Series {
            start_us: first.saturating_mul(self.step_us),
            step_us: self.step_us.unsigned_abs(),
            messages,
            lag_p50_us: lag(500),
            lag_p99_us: lag(990),
        }
    }

    /// Of the sources that are asked for, also those that nothing came of.
    fn sources(&self, options: &ScanOptions, groups: &[GroupStats]) -> Vec<SourceStats> {
        let is_in = |wanted: &[String], name: &String| wanted.is_empty() || wanted.contains(name);
        let selection = &options.selection;
        let mut names: BTreeSet<&(String, String)> = self.recorded_us.keys().collect();
        names.retain(|(source, vendor)| {
            is_in(&selection.sources, source) && is_in(&selection.vendors, vendor)
        });
        let figures = |of: &(String, String)| {
            let (source, vendor) = of;
            let outages = self.outages.get(of).cloned().unwrap_or_default();
            let of_source = groups.iter().filter(|group| group.source == *source && group.vendor == *vendor);
            SourceStats {
                source: source.clone(),
                vendor: vendor.clone(),
                messages: of_source.map(|group| group.messages).sum(),
                recorded_us: self.recorded_us.get(of).copied().unwrap_or(0),
                gaps: gaps(outages.iter()),
                outages,
            }
        };
        names.into_iter().map(figures).collect()
    }
}

fn gaps<'o>(outages: impl Iterator<Item = &'o Outage>) -> Gaps {
    let mut gaps = Gaps::default();
    for outage in outages.filter(|outage| outage.what == NOT_CONNECTED) {
        gaps.count += 1;
        gaps.planned += u64::from(outage.planned);
        gaps.longest_us = gaps.longest_us.max(outage.lasted_us);
        gaps.total_us += outage.lasted_us;
    }
    gaps
}

fn sizes(group: &Group) -> Sizes {
    let bytes = |value: Option<i64>| value.map_or(0, i64::unsigned_abs);
    Sizes {
        min: bytes(group.sizes.least()),
        p50: bytes(group.sizes.at_per_mille(500)),
        p99: bytes(group.sizes.at_per_mille(990)),
        max: bytes(group.sizes.greatest()),
    }
}

fn lag(group: &Group) -> Option<Lag> {
    let lag = &group.lag;
    Some(Lag {
        messages: lag.count(),
        negative: lag.negative(),
        min: lag.least()?,
        p50: lag.at_per_mille(500)?,
        p99: lag.at_per_mille(990)?,
        max: lag.greatest()?,
    })
}

fn unknown_fields(vendor: &str, kind: &str, group: &Group) -> Vec<UnknownField> {
    let field = |(path, (messages, json_type)): (&String, &(u64, &'static str))| UnknownField {
        vendor: vendor.to_owned(),
        kind: kind.to_owned(),
        path: path.clone(),
        messages: *messages,
        examined: group.examined.messages,
        json_type,
    };
    group.examined.unknown.iter().map(field).collect()
}
