//! Manifests: `manifests/{session_id}-{part:06}.json`. Writing one commits a sealed part: what no
//! manifest names does not count.

use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Archive;
use super::blocks::BlockSums;
use super::durable::{files_in, read_json};
use super::error::ArchiveError;
use super::layout::PartName;
use super::time::rfc3339_us;
use crate::index::{SegmentRow, SegmentSourceRow};
use crate::message::SessionId;

/// What one journal part was sealed into.
///
/// Every `seq` in `seq_start..seq_end` is in exactly one row of exactly one of the files, or in
/// exactly one of the ranges under `lost`. Parts of a session follow one another without a gap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub session_id: SessionId,
    pub part: u32,
    #[serde(rename = "sealed_at", with = "rfc3339_us")]
    pub sealed_at_us: i64,
    /// Which telereel sealed it.
    pub telereel: String,
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

/// Rows that were taken out on purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    pub verb: String,
    #[serde(rename = "at", with = "rfc3339_us")]
    pub at_us: i64,
    pub ranges: Vec<SeqRange>,
}

impl Manifest {
    pub fn name(&self) -> PartName {
        PartName { session_id: self.session_id, part: self.part }
    }

    pub(super) fn to_rows(&self) -> Vec<SegmentRow> {
        self.files.iter().map(|file| file.to_row(self.name())).collect()
    }
}

impl ManifestFile {
    fn to_row(&self, name: PartName) -> SegmentRow {
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

impl Archive {
    /// All manifests, by session and part.
    pub(super) fn read_manifests(&self) -> Result<Vec<Manifest>, ArchiveError> {
        self.read_manifests_where(|_| true)
    }

    /// One session's manifests, by part.
    pub(super) fn read_manifests_of(&self, session_id: SessionId) -> Result<Vec<Manifest>, ArchiveError> {
        self.read_manifests_where(|path| PartName::of(path).is_some_and(|name| name.session_id == session_id))
    }

    pub(super) fn read_manifest(&self, name: PartName) -> Result<Option<Manifest>, ArchiveError> {
        read_json(&*self.disk, &self.layout.manifest(name))
    }

    fn read_manifests_where(&self, wanted: impl Fn(&Path) -> bool) -> Result<Vec<Manifest>, ArchiveError> {
        let mut manifests = Vec::new();
        for path in files_in(&*self.disk, &self.layout.manifests(), "json")? {
            if wanted(&path) {
                manifests.extend(read_json::<Manifest>(&*self.disk, &path)?);
            }
        }
        Ok(manifests)
    }
}
