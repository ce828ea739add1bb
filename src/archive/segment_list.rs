//! `segments.jsonl`: the segments that count, one JSON object a line, for readers that want a set of files which
//! belong together while upkeep replaces some. Replaced whole after each commit; derived, like the index.

use std::fmt::Write as _;

use serde::Serialize;

use super::Archive;
use super::durable::replace;
use super::error::ArchiveError;
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

    /// Whether the list says what the manifests say. Where nothing was ever sealed there is none.
    pub(super) fn segment_list_is_right(&self) -> Result<bool, ArchiveError> {
        match self.disk.read(&self.layout.segments()) {
            Ok(known) => Ok(known == self.segment_list()?.as_bytes()),
            Err(_) => Ok(self.segment_list()?.is_empty()),
        }
    }

    fn segment_list(&self) -> Result<String, ArchiveError> {
        let mut text = String::new();
        for segment in self.catalog()?.all_segments()? {
            let line = serde_json::to_string(&Line::of(&segment))
                .map_err(|source| ArchiveError::Json { path: self.layout.segments(), source })?;
            let _ = writeln!(text, "{line}");
        }
        Ok(text)
    }
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
