//! Manifests: `manifests/{session_id}-{part:06}.json`. Writing one commits a sealed part: what no
//! manifest names does not count.
//!
//! Upkeep puts one manifest in the place of several ([`rewrite`](mod@super::rewrite)): it keeps the name of the
//! first part and covers the parts up to `part_last`. Manifests of covered parts do not count any more, from the
//! moment at which the one that covers them is in place. All that reads manifests reads them by this rule.

use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::blocks::BlockSums;
use super::layout::{PartName, is_plain, kind_dir};
use super::time::rfc3339_us;
use crate::index::{PartRow, SegmentRow, SegmentSourceRow};
use crate::message::SessionId;

/// What one journal part was sealed into.
///
/// Every `seq` in `seq_start..seq_end` is in exactly one row of exactly one of the files, or in
/// exactly one of the ranges under `lost`, or was removed. Parts of a session follow one another without a gap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub session_id: SessionId,
    pub part: u32,
    /// The last of the parts that it covers; none where that is `part`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_last: Option<u32>,
    /// How often upkeep has written it anew.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub generation: u32,
    /// Compaction has made of its files what can be made of them: trying again would only take time.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_compact: bool,
    #[serde(rename = "sealed_at", with = "rfc3339_us")]
    pub sealed_at_us: i64,
    /// Which telereel sealed it.
    pub telereel: String,
    /// It was lost, and made anew of its segments at `sealed_at` ([`rebuild`](mod@super::rebuild)): checksums are of
    /// what was found, and of what has the verb `unknown` in `removed`, some may have been lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rebuilt: bool,
    pub seq_start: u64,
    /// Exclusive.
    pub seq_end: u64,
    pub rows: u64,
    pub files: Vec<ManifestFile>,
    /// What the journal part no longer held when it was sealed, because it was damaged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<SeqRange>,
    /// What a verb removed later.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<Removed>,
}

/// One segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Relative to the archive.
    pub path: String,
    pub vendor: String,
    pub kind: String,
    pub date: String,
    pub rows: u64,
    pub seq_min: u64,
    /// Inclusive.
    pub seq_max: u64,
    pub elapsed_min_ns: u64,
    pub elapsed_max_ns: u64,
    #[serde(rename = "received_min", with = "rfc3339_us")]
    pub received_min_us: i64,
    #[serde(rename = "received_max", with = "rfc3339_us")]
    pub received_max_us: i64,
    pub bytes: u64,
    /// Of the payloads before compression.
    pub payload_bytes: u64,
    /// Of the whole file, in hexadecimal.
    pub blake3: String,
    /// The same for parts of it, so that a reader in its middle need not read all; none in what early versions
    /// wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks: Option<BlockSums>,
    pub sources: Vec<ManifestSource>,
}

/// What one source contributed to a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestSource {
    pub name: String,
    pub rows: u64,
    pub payload_bytes: u64,
    pub duplicates: u64,
    pub decode_errors: u64,
}

/// `seq_start <= seq < seq_end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeqRange {
    pub seq_start: u64,
    pub seq_end: u64,
}

impl From<Range<u64>> for SeqRange {
    fn from(range: Range<u64>) -> Self {
        Self { seq_start: range.start, seq_end: range.end }
    }
}

impl SeqRange {
    pub fn messages(self) -> u64 {
        self.seq_end.saturating_sub(self.seq_start)
    }
}

/// Rows that were taken out on purpose: when and by which verb, never what it looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    pub verb: String,
    #[serde(rename = "at", with = "rfc3339_us")]
    pub at_us: i64,
    pub ranges: Vec<SeqRange>,
    /// Where rows that stayed lie between those that went, too many to list each: how many of the numbers in
    /// `ranges` were removed, which are those that no file has. None: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

impl Removed {
    /// How many rows were removed.
    pub fn messages(&self) -> u64 {
        let in_ranges = || self.ranges.iter().fold(0_u64, |all, range| all.saturating_add(range.messages()));
        self.rows.unwrap_or_else(in_ranges)
    }
}

/// The numbers of a session's messages end here, from wherever they come: as many can be accounted for.
pub const SEQ_END_MAX: u64 = 1 << 33;

/// Of messages and bytes there are fewer; so many of them, as often as there may be files, still fit into 63 bits.
const NUMBER_MAX: u64 = 1 << 47;
const FILES_MAX: usize = 1 << 16;

impl Manifest {
    pub fn name(&self) -> PartName {
        PartName { session_id: self.session_id, part: self.part }
    }

    /// The last part that it covers.
    pub fn last_part(&self) -> u32 {
        self.part_last.unwrap_or(self.part)
    }

    /// Whether it is about this part, perhaps among others.
    pub fn covers(&self, name: PartName) -> bool {
        self.session_id == name.session_id && (self.part..=self.last_part()).contains(&name.part)
    }

    /// What in it cannot be true, so that nothing may be done by it: it decides which files are read, and which are
    /// removed, and no file beyond its own parts' may be either.
    pub(super) fn fault(&self) -> Option<String> {
        if self.last_part() < self.part {
            return Some(format!("it covers the parts {} to {}", self.part, self.last_part()));
        }
        if !self.numbers().all(|number| number <= NUMBER_MAX) || self.files.len() > FILES_MAX {
            return Some("it counts what cannot have been".to_owned());
        }
        let strange = self.files.iter().find(|file| !self.is_own(file))?;
        Some(format!("`{}` is no place of one of its segments", strange.path.escape_debug()))
    }

    /// All that is added up somewhere.
    fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        let of_files = self.files.iter().flat_map(|file| {
            let of_sources =
                file.sources.iter().flat_map(|s| [s.rows, s.payload_bytes, s.duplicates, s.decode_errors]);
            [file.rows, file.bytes, file.payload_bytes, file.seq_min, file.seq_max]
                .into_iter()
                .chain(of_sources)
        });
        let removed = self.removed.iter();
        let ranges = self.lost.iter().chain(removed.clone().flat_map(|removed| &removed.ranges));
        [self.rows, self.seq_start, self.seq_end]
            .into_iter()
            .chain(of_files)
            .chain(ranges.flat_map(|range| [range.seq_start, range.seq_end]))
            .chain(removed.filter_map(|removed| removed.rows))
    }

    /// Whether a file lies where segments of these parts lie.
    fn is_own(&self, file: &ManifestFile) -> bool {
        let ManifestFile { path, vendor, kind, date, .. } = file;
        let folder = format!("{}/date={date}/", kind_dir(vendor, kind));
        [vendor, kind, date].into_iter().all(|word| is_plain(word))
            && path.strip_prefix(&folder).is_some_and(|name| {
                is_plain(name)
                    && name.ends_with(".parquet")
                    && PartName::of(Path::new(name)).is_some_and(|part| self.covers(part))
            })
    }

    /// As the index has them, in its order.
    pub(super) fn to_rows(&self) -> Vec<SegmentRow> {
        let mut rows: Vec<_> = self.files.iter().map(|file| file.to_row(self.name())).collect();
        rows.sort_by(|a, b| place(a).cmp(&place(b)));
        rows
    }

    pub(super) fn to_part_row(&self) -> PartRow {
        PartRow {
            session_id: self.session_id,
            part: self.part,
            part_last: self.last_part(),
            generation: self.generation,
            seq_start: self.seq_start,
            seq_end: self.seq_end,
        }
    }
}

/// By which the index orders a session's segments.
fn place(row: &SegmentRow) -> (u32, &str, &str, &str, &str) {
    (row.part, &row.vendor, &row.kind, &row.date, &row.path)
}

fn is_false(is: &bool) -> bool {
    !is
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The manifests that count and those that others cover. A manifest that covers others has the name of the
/// first of them, and so comes before them.
pub(super) fn split_covered(mut manifests: Vec<Manifest>) -> (Vec<Manifest>, Vec<Manifest>) {
    manifests.sort_by_key(Manifest::name);
    let mut covered_to: Option<PartName> = None;
    manifests.into_iter().partition(|manifest| {
        let name = manifest.name();
        let is_covered = covered_to.is_some_and(|last| last.session_id == name.session_id && name <= last);
        if !is_covered {
            covered_to = Some(PartName { part: manifest.last_part(), ..name });
        }
        !is_covered
    })
}

impl ManifestFile {
    fn to_row(&self, name: PartName) -> SegmentRow {
        let mut row = self.to_unsorted_row(name);
        row.sources.sort_by(|a, b| a.source.cmp(&b.source));
        row
    }

    fn to_unsorted_row(&self, name: PartName) -> SegmentRow {
        SegmentRow {
            path: self.path.clone(),
            session_id: name.session_id,
            part: name.part,
            vendor: self.vendor.clone(),
            kind: self.kind.clone(),
            date: self.date.clone(),
            rows: self.rows,
            seq_min: self.seq_min,
            seq_max: self.seq_max,
            elapsed_min_ns: self.elapsed_min_ns,
            elapsed_max_ns: self.elapsed_max_ns,
            received_min_us: self.received_min_us,
            received_max_us: self.received_max_us,
            bytes: self.bytes,
            payload_bytes: self.payload_bytes,
            sources: self
                .sources
                .iter()
                .map(|s| SegmentSourceRow {
                    source: s.name.clone(),
                    rows: s.rows,
                    payload_bytes: s.payload_bytes,
                    duplicates: s.duplicates,
                    decode_errors: s.decode_errors,
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(session: u8, part: u32, part_last: Option<u32>, generation: u32) -> Manifest {
        Manifest {
            session_id: SessionId::new(0, [session; 10]),
            part,
            part_last,
            generation,
            is_compact: false,
            sealed_at_us: 0,
            telereel: String::new(),
            rebuilt: false,
            seq_start: 0,
            seq_end: 0,
            rows: 0,
            files: Vec::new(),
            lost: Vec::new(),
            removed: Vec::new(),
        }
    }

    #[test]
    fn covered_manifests_do_not_count() {
        let all = vec![
            manifest(2, 0, None, 0),
            manifest(1, 3, Some(5), 1),
            manifest(1, 6, None, 0),
            manifest(1, 0, Some(4), 2),
            manifest(1, 1, None, 0),
            manifest(2, 1, None, 0),
        ];
        let (counted, covered) = split_covered(all);
        let names = |list: &[Manifest]| {
            list.iter().map(|m| (m.session_id.as_bytes()[15], m.part)).collect::<Vec<_>>()
        };
        assert_eq!(names(&counted), [(1, 0), (1, 6), (2, 0), (2, 1)]);
        assert_eq!(names(&covered), [(1, 1), (1, 3)]);
    }

    #[test]
    fn what_was_never_rewritten_is_written_as_before() {
        let text = serde_json::to_string(&manifest(1, 7, None, 0)).unwrap();
        assert!(!text.contains("generation") && !text.contains("part_last"), "{text}");
        assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap().last_part(), 7);
    }
}
