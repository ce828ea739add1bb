//! What is counted while a replay runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::Sha256;

use super::faults::FaultReport;
use super::pace::Speed;
use crate::message::Row;

/// What a replay came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Played {
    pub messages: u64,
    pub bytes: u64,
    /// When the clock started; none if it did not come to that.
    pub started_ns: Option<u64>,
    /// Messages that were late because they had not been read in time.
    pub reader_late: u64,
    /// The speed at the end.
    pub speed: Speed,
    /// Ended before its end.
    pub stopped: bool,
    pub digest: Sha256,
    /// The same over what left, where it can differ.
    pub sent_digest: Option<Sha256>,
    pub faults: Vec<FaultReport>,
    /// To what times in payloads were moved.
    pub rebased_to_us: Option<i64>,
    /// That messages left at, each once for as long as it was kept.
    pub speeds: Vec<Speed>,
    pub sources: Sources,
}

/// Messages and bytes by name and vendor of their source.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources {
    counts: Vec<SourceCount>,
    /// That of the message before: most often the next one's as well.
    last: usize,
}

#[derive(Clone, Debug)]
struct SourceCount {
    name: Arc<str>,
    vendor: Arc<str>,
    messages: u64,
    bytes: u64,
}

impl Sources {
    fn count(&mut self, row: &Row, bytes: u64) {
        let is_of = |count: &SourceCount| {
            let is_same = |a: &Arc<str>, b: &Arc<str>| Arc::ptr_eq(a, b) || a == b;
            is_same(&count.name, &row.source) && is_same(&count.vendor, &row.vendor)
        };
        if !self.counts.get(self.last).is_some_and(is_of) {
            self.last = self.counts.iter().position(is_of).unwrap_or_else(|| {
                let (name, vendor) = (Arc::clone(&row.source), Arc::clone(&row.vendor));
                self.counts.push(SourceCount { name, vendor, messages: 0, bytes: 0 });
                self.counts.len() - 1
            });
        }
        if let Some(count) = self.counts.get_mut(self.last) {
            count.messages += 1;
            count.bytes += bytes;
        }
    }

    /// In the order of their names.
    pub(super) fn into_counts(self) -> BTreeMap<(Arc<str>, Arc<str>), (u64, u64)> {
        let counts = self.counts.into_iter();
        counts.map(|count| ((count.name, count.vendor), (count.messages, count.bytes))).collect()
    }
}

/// Changes of speed that are told: more is somebody who plays with it.
const SPEEDS_MAX: usize = 100;

impl Played {
    /// A message has left at this speed.
    pub(super) fn at_speed(&mut self, speed: Speed) {
        if self.speeds.last() != Some(&speed) && self.speeds.len() < SPEEDS_MAX {
            self.speeds.push(speed);
        }
    }

    /// A message was emitted, as far as the recording goes: it left, or a fault took it.
    pub(super) fn count(&mut self, row: &Row) {
        let row_bytes = row.payload.len() as u64;
        self.messages += 1;
        self.bytes += row_bytes;
        self.sources.count(row, row_bytes);
    }
}
