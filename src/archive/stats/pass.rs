//! The pass over the rows: each is counted in the group of its source and kind, and in that of its device.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BinaryArray, RecordBatch, StringArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};

use super::StatsOptions;
use super::buckets::step_us;
use super::group::{Counted, Group};
use super::spread::Spread;
use super::windows::{Window, windows};
use crate::archive::Archive;
use crate::archive::error::ArchiveError;
use crate::archive::scan::{ScanOptions, Stretch, each_batch, stretches};
use crate::archive::unknown::known_paths;
use crate::decode::KnownPaths;
use crate::index::SegmentRow;

/// Ids of devices that are counted of a source and kind, to know which have most messages. Of more, the later ones are
/// among the others whatever they send.
const COUNTED_MAX: usize = 1_000_000;

const COLUMNS: [&str; 8] =
    ["source", "received_at", "elapsed_ns", "event_at", "duplicate_of", "payload", "clear", "decode_error"];
const DEVICE: &str = "device_id";

/// Source, vendor, kind.
pub(super) type Key = (String, String, String);

pub(super) struct Pass<'a> {
    archive: &'a Archive,
    options: &'a ScanOptions,
    wanted: &'a StatsOptions,
    stretches: Vec<Stretch>,
    /// Of each stretch.
    pub(super) windows: Vec<Window>,
    pub(super) step_us: i64,
    pub(super) places: Vec<Place>,
    by_key: HashMap<Key, usize>,
}

/// Where the messages of a source and kind are counted.
pub(super) struct Place {
    pub key: Key,
    pub group: Group,
    pub devices: Vec<Device>,
    known: Option<Arc<KnownPaths>>,
    by_device: HashMap<Box<str>, usize>,
    nobody: Option<usize>,
    others: Option<usize>,
}

/// Where those of a device are.
pub(super) struct Device {
    /// None: messages that name no device, or those of the others.
    pub device_id: Option<String>,
    /// So many devices these are, that are not told apart.
    pub others: Option<u64>,
    pub group: Group,
}

/// The columns of a batch.
struct Columns<'b> {
    source: &'b StringArray,
    device: Option<&'b StringArray>,
    received_at: &'b [i64],
    elapsed_ns: &'b [i64],
    event_at: &'b arrow::array::TimestampMicrosecondArray,
    duplicate_of: &'b dyn Array,
    decode_error: &'b dyn Array,
    payload: &'b BinaryArray,
    clear: &'b BinaryArray,
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        archive: &'a Archive,
        options: &'a ScanOptions,
        wanted: &'a StatsOptions,
    ) -> Result<Self, ArchiveError> {
        let all = stretches(archive, options)?;
        let windows = windows(archive, options, &all)?;
        let seen = all.into_iter().zip(windows).filter_map(|(stretch, window)| Some((stretch, window?)));
        let (stretches, windows): (Vec<_>, Vec<_>) = seen.unzip();
        let step_us = step_us(wanted.bucket, expected_us(options, &stretches, &windows))?;
        let (places, by_key) = (Vec::new(), HashMap::new());
        Ok(Self { archive, options, wanted, stretches, windows, step_us, places, by_key })
    }

    pub(super) fn run(mut self, tell: &dyn Fn(u64)) -> Result<Self, ArchiveError> {
        if let Some(most) = self.wanted.devices {
            self.choose_devices(most.min(StatsOptions::DEVICES_MAX))?;
        }
        let stretches = std::mem::take(&mut self.stretches);
        let (archive, options) = (self.archive, self.options);
        let mut columns = COLUMNS.to_vec();
        columns.extend(self.wanted.devices.map(|_| DEVICE));
        let mut rows = 0;
        for (n, stretch) in stretches.iter().enumerate() {
            let mut see = |segment: &SegmentRow, batch: &RecordBatch| {
                rows += batch.num_rows() as u64;
                tell(rows);
                match Columns::of(batch) {
                    Some(columns) => self.count(segment, &columns, n).map(|()| true),
                    None => Ok(false),
                }
            };
            each_batch(archive, stretch, options, &columns, &mut see)?;
        }
        Ok(self)
    }

    fn count(
        &mut self,
        segment: &SegmentRow,
        columns: &Columns<'_>,
        stretch: usize,
    ) -> Result<(), ArchiveError> {
        let by_device = self.wanted.devices.is_some();
        let mut last: Option<(&str, usize)> = None;
        for at in 0..columns.source.len() {
            let source = columns.source.value(at);
            let place = match last {
                Some((known, place)) if known == source => place,
                _ => self.place(source, &segment.vendor, &segment.kind)?,
            };
            last = Some((source, place));
            let row = columns.row(at);
            let (place, step_us) = (&mut self.places[place], self.step_us);
            if let Some(known) = &place.known {
                place.group.examine(&row, known);
            }
            place.group.count(&row, stretch, step_us);
            if by_device {
                let device = columns.device.and_then(|ids| ids.is_valid(at).then(|| ids.value(at)));
                place.device(device).group.count(&row, stretch, step_us);
            }
        }
        Ok(())
    }

    fn place(&mut self, source: &str, vendor: &str, kind: &str) -> Result<usize, ArchiveError> {
        let key = (source.to_owned(), vendor.to_owned(), kind.to_owned());
        if let Some(known) = self.by_key.get(&key) {
            return Ok(*known);
        }
        let known = match self.places.iter().find(|place| place.key.1 == vendor && place.key.2 == kind) {
            Some(place) => place.known.clone(),
            None => known_paths(self.archive, vendor, kind)?.map(Arc::new),
        };
        self.by_key.insert(key.clone(), self.places.len());
        self.places.push(Place {
            key,
            group: Group::new(Spread::FINE, self.wanted.lag_over_time),
            devices: Vec::new(),
            known,
            by_device: HashMap::new(),
            nobody: None,
            others: None,
        });
        Ok(self.places.len() - 1)
    }

    /// Counts the ids of devices, and makes groups for those that have most messages.
    fn choose_devices(&mut self, most: usize) -> Result<(), ArchiveError> {
        let mut counts: Vec<(Key, HashMap<Box<str>, u64>)> = Vec::new();
        for stretch in &self.stretches {
            let mut see = |segment: &SegmentRow, batch: &RecordBatch| {
                let text = |name| batch.column_by_name(name).and_then(|c| c.as_string_opt::<i32>());
                let (Some(sources), Some(devices)) = (text("source"), text(DEVICE)) else { return Ok(false) };
                let mut last: Option<(&str, usize)> = None;
                for (source, device) in sources.iter().zip(devices) {
                    let (Some(source), Some(device)) = (source, device) else { continue };
                    let at = match last {
                        Some((known, at)) if known == source => at,
                        _ => place_of(&mut counts, source, segment),
                    };
                    last = Some((source, at));
                    let counts = &mut counts[at].1;
                    if let Some(count) = counts.get_mut(device) {
                        *count += 1;
                    } else if counts.len() < COUNTED_MAX {
                        counts.insert(device.into(), 1);
                    }
                }
                Ok(true)
            };
            each_batch(self.archive, stretch, self.options, &["source", DEVICE], &mut see)?;
        }
        let mut ranked: Vec<(u64, &Key, &str)> = Vec::new();
        for (key, counts) in &counts {
            ranked.extend(counts.iter().map(|(device, count)| (*count, key, &**device)));
        }
        ranked.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| (a.1, a.2).cmp(&(b.1, b.2))));
        ranked.truncate(most);
        for (_, (source, vendor, kind), device) in ranked {
            let place = self.place(source, vendor, kind)?;
            let place = &mut self.places[place];
            place.by_device.insert(device.into(), place.devices.len());
            place.devices.push(Device::new(Some(device.to_owned()), None));
        }
        for ((source, vendor, kind), counts) in &counts {
            let place = self.place(source, vendor, kind)?;
            let place = &mut self.places[place];
            let others = counts.len() - place.devices.len();
            if others > 0 {
                place.others = Some(place.devices.len());
                place.devices.push(Device::new(None, Some(others as u64)));
            }
        }
        Ok(())
    }
}

impl Place {
    fn device(&mut self, id: Option<&str>) -> &mut Device {
        let known = match id {
            Some(id) => self.by_device.get(id).copied().or(self.others),
            None => self.nobody,
        };
        let at = known.unwrap_or_else(|| {
            // Whoever was not there when devices were counted: rows that came in between the two looks.
            let others = id.map(|_| 1);
            let slot = if id.is_some() { &mut self.others } else { &mut self.nobody };
            *slot = Some(self.devices.len());
            self.devices.push(Device::new(None, others));
            self.devices.len() - 1
        });
        &mut self.devices[at]
    }
}

impl Device {
    fn new(device_id: Option<String>, others: Option<u64>) -> Self {
        Self { device_id, others, group: Group::new(Spread::COARSE, false) }
    }
}

impl<'b> Columns<'b> {
    fn of(batch: &'b RecordBatch) -> Option<Self> {
        let text = |name: &str| batch.column_by_name(name)?.as_string_opt::<i32>();
        let time = |name: &str| batch.column_by_name(name)?.as_primitive_opt::<TimestampMicrosecondType>();
        let blobs = |name: &str| batch.column_by_name(name)?.as_binary_opt::<i32>();
        Some(Self {
            source: text("source")?,
            device: text(DEVICE),
            received_at: time("received_at")?.values(),
            elapsed_ns: batch.column_by_name("elapsed_ns")?.as_primitive_opt::<Int64Type>()?.values(),
            event_at: time("event_at")?,
            duplicate_of: batch.column_by_name("duplicate_of")?,
            decode_error: batch.column_by_name("decode_error")?,
            payload: blobs("payload")?,
            clear: blobs("clear")?,
        })
    }

    fn row(&self, at: usize) -> Counted<'b> {
        Counted {
            payload: self.payload.value(at),
            clear: self.clear.is_valid(at).then(|| self.clear.value(at)),
            received_us: self.received_at[at],
            elapsed_ns: self.elapsed_ns[at] as u64,
            event_us: self.event_at.is_valid(at).then(|| self.event_at.value(at)),
            is_duplicate: self.duplicate_of.is_valid(at),
            has_error: self.decode_error.is_valid(at),
        }
    }
}

/// Where the devices of a source and kind are counted.
fn place_of(counts: &mut Vec<(Key, HashMap<Box<str>, u64>)>, source: &str, segment: &SegmentRow) -> usize {
    let is_it = |key: &Key| key.0 == source && key.1 == segment.vendor && key.2 == segment.kind;
    if let Some(at) = counts.iter().position(|(key, _)| is_it(key)) {
        return at;
    }
    let key = (source.to_owned(), segment.vendor.clone(), segment.kind.clone());
    counts.push((key, HashMap::new()));
    counts.len() - 1
}

/// What time is looked at, about: for the length of a bucket.
fn expected_us(options: &ScanOptions, stretches: &[Stretch], windows: &[Window]) -> (i64, i64) {
    let mut times: Vec<(i64, i64)> = windows.iter().map(|window| (window.from_us, window.to_us)).collect();
    if options.from.is_none() && options.to.is_none() && options.ranges.is_empty() {
        // Where the wall clock was set while it recorded, rows lie outside of that.
        let segments = stretches.iter().flat_map(|stretch| &stretch.segments);
        times.extend(segments.map(|segment| (segment.received_min_us, segment.received_max_us)));
    }
    let from_us = times.iter().map(|(from_us, _)| *from_us).min();
    let to_us = times.iter().map(|(_, to_us)| *to_us).max();
    from_us.zip(to_us).unwrap_or((0, 0))
}
