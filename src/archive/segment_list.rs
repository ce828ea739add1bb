//! `segments.jsonl`: the segments that count, one JSON object a line, for readers that want a set of files which
//! belong together while upkeep replaces some. Replaced whole after each commit; derived, like the index.

use std::borrow::Cow;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Archive;
use super::durable::replace;
use super::error::ArchiveError;
use super::layout::PartName;
use super::manifest::Manifest;
use super::time::rfc3339_us;
use crate::index::SegmentRow;
use crate::message::SessionId;

#[derive(Serialize)]
struct Line<'a> {
    /// Relative to the archive.
    path: &'a str,
    session_id: SessionId,
    part: u32,
    vendor: &'a str,
    kind: &'a str,
    date: &'a str,
    rows: u64,
    seq_min: u64,
    seq_max: u64,
    #[serde(rename = "received_min", with = "rfc3339_us")]
    received_min_us: i64,
    #[serde(rename = "received_max", with = "rfc3339_us")]
    received_max_us: i64,
    bytes: u64,
}

impl Archive {
    /// Writes the list where it would change; none where nothing was ever sealed.
    pub(super) fn write_segment_list(&self) -> Result<(), ArchiveError> {
        let _held = self.hold_derived();
        self.write_segment_list_held()
    }

    /// The same for who holds what is derived already.
    pub(super) fn write_segment_list_held(&self) -> Result<(), ArchiveError> {
        let path = self.layout.segments();
        let (text, known) = (self.segment_list()?, self.disk.read(&path).ok());
        let is_right = known.map_or(text.is_empty(), |known| known == text.as_bytes());
        if is_right { Ok(()) } else { replace(&self.layout, &*self.disk, &path, text.as_bytes()) }
    }

    /// Whether the list says what the manifests say, in their order. Where nothing was ever sealed there is none. What
    /// it says of parts whose manifest is damaged is not held against it.
    pub(super) fn segment_list_is_right(&self, manifests: &[Manifest], damaged: &[PartName]) -> bool {
        let is_of_damaged = |line: &[u8]| {
            let path = serde_json::from_slice::<PathOf>(line).ok();
            let name = path.and_then(|line| PartName::of(Path::new(&*line.path)));
            name.is_some_and(|name| damaged.contains(&name))
        };
        let known = self.disk.read(&self.layout.segments()).unwrap_or_default();
        let known = known.split_inclusive(|byte| *byte == b'\n');
        let mut segments: Vec<SegmentRow> = manifests.iter().flat_map(Manifest::to_rows).collect();
        segments.sort_by(|a, b| place(a).cmp(&place(b)));
        let wanted: Vec<_> = segments.iter().filter_map(|segment| line_of(segment).ok()).collect();
        known
            .filter(|line| damaged.is_empty() || !is_of_damaged(line))
            .eq(wanted.iter().map(String::as_bytes))
    }

    fn segment_list(&self) -> Result<String, ArchiveError> {
        let lines = self.catalog()?.all_segments()?.into_iter().map(|segment| line_of(&segment));
        let text = lines.collect::<Result<String, _>>();
        text.map_err(|source| ArchiveError::Json { path: self.layout.segments(), source })
    }
}

#[derive(Deserialize)]
struct PathOf<'a> {
    #[serde(borrow)]
    path: Cow<'a, str>,
}

fn line_of(segment: &SegmentRow) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string(&Line::of(segment))? + "\n")
}

/// By which the index orders all segments.
fn place(row: &SegmentRow) -> (SessionId, u32, u64, &str) {
    (row.session_id, row.part, row.seq_min, &row.path)
}

impl<'a> Line<'a> {
    fn of(segment: &'a SegmentRow) -> Self {
        Self {
            path: &segment.path,
            session_id: segment.session_id,
            part: segment.part,
            vendor: &segment.vendor,
            kind: &segment.kind,
            date: &segment.date,
            rows: segment.rows,
            seq_min: segment.seq_min,
            seq_max: segment.seq_max,
            received_min_us: segment.received_min_us,
            received_max_us: segment.received_max_us,
            bytes: segment.bytes,
        }
    }
}
