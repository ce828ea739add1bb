//! The rows of the index as Rust values; see `schema/index/*.sql` for what the fields mean.

use crate::message::SessionId;

#[derive(Clone, Debug, PartialEq)]
pub struct SessionRow {
    pub session_id: SessionId,
    pub name: String,
    pub site: String,
    pub started_at_us: i64,
    pub ended_at_us: Option<i64>,
    pub ended: Option<String>,
    pub sources: Vec<SourceRow>,
    pub clips: Vec<ClipRow>,
    pub marks: Vec<MarkRow>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClipRow {
    pub name: String,
    pub seq_from: u64,
    pub seq_to: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkRow {
    pub elapsed_ns: u64,
    pub note: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SourceRow {
    pub name: String,
    pub vendor: String,
    pub settings: serde_json::Value,
}

/// What a manifest covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartRow {
    pub session_id: SessionId,
    pub part: u32,
    /// Inclusive.
    pub part_last: u32,
    pub generation: u32,
    pub seq_start: u64,
    /// Exclusive.
    pub seq_end: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SegmentRow {
    pub path: String,
    pub session_id: SessionId,
    pub part: u32,
    pub vendor: String,
    pub kind: String,
    pub date: String,
    pub rows: u64,
    pub seq_min: u64,
    pub seq_max: u64,
    pub elapsed_min_ns: u64,
    pub elapsed_max_ns: u64,
    pub received_min_us: i64,
    pub received_max_us: i64,
    pub bytes: u64,
    pub payload_bytes: u64,
    pub sources: Vec<SegmentSourceRow>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentSourceRow {
    pub source: String,
    pub rows: u64,
    pub payload_bytes: u64,
    pub duplicates: u64,
    pub decode_errors: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LinkRow {
    pub session_id: SessionId,
    pub seq: u64,
    pub source: String,
    pub connection: i32,
    pub received_at_us: i64,
    pub elapsed_ns: u64,
    pub event: String,
    pub reason: Option<String>,
    pub gap_ns: Option<u64>,
    pub payload: String,
}
