//! Link events on their way into the index: from records while sealing, from segments afterwards.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;

use super::Archive;
use super::blocks::CheckedFile;
use super::error::ArchiveError;
use super::manifest::{Manifest, ManifestFile};
use crate::index::LinkRow;
use crate::message::SessionId;

/// The kind whose rows are link events.
pub(super) const LINK_KIND: &str = "link";

/// What the envelope says about a link event.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkOrigin<'a> {
    pub session_id: SessionId,
    pub seq: u64,
    pub source: &'a str,
    pub connection: i32,
    pub received_at_us: i64,
    pub elapsed_ns: u64,
}

/// The members of the payload that have columns of their own.
#[derive(Deserialize)]
struct LinkPayload {
    event: String,
    reason: Option<String>,
    gap_ns: Option<u64>,
}

impl LinkOrigin<'_> {
    /// The index row, if the payload is one of ours.
    pub(super) fn row(self, payload: &[u8]) -> Option<LinkRow> {
        let text = std::str::from_utf8(payload).ok()?;
        let parsed: LinkPayload = serde_json::from_str(text).ok()?;
        Some(LinkRow {
            session_id: self.session_id,
            seq: self.seq,
            source: self.source.to_owned(),
            connection: self.connection,
            received_at_us: self.received_at_us,
            elapsed_ns: self.elapsed_ns,
            event: parsed.event,
            reason: parsed.reason,
            gap_ns: parsed.gap_ns,
            payload: text.to_owned(),
        })
    }
}

/// What outages are made of.
#[derive(Debug, Default, Deserialize)]
pub(super) struct LinkState {
    topics: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    flowing: bool,
    /// One connection takes over from another.
    #[serde(default)]
    pub planned: bool,
    /// Of a source with a connection for each sensor: the sensor. Each has outages of its own.
    pub sn: Option<String>,
}

impl LinkRow {
    /// What it tells of the connection's state; none if it is about something else, or changes nothing.
    pub(super) fn state(&self) -> Option<LinkState> {
        let is_of_state = ["connecting", "continued", "connected", "reconnected", "disconnected", "refused"]
            .contains(&self.event.as_str());
        if !is_of_state {
            return None;
        }
        let state: LinkState = serde_json::from_str(&self.payload).unwrap_or_default();
        // A topic may be refused on a connection that goes on; and where one connection takes over from
        // another, data can come all the while.
        let changes_nothing = state.flowing || (self.event == "refused" && state.topics.is_some());
        (!changes_nothing).then_some(state)
    }
}

impl Archive {
    /// A session's link events: those of the index, or, where an index was made on the spot, of the segments.
    pub(super) fn links(&self, session_id: SessionId) -> Result<Vec<LinkRow>, ArchiveError> {
        let index = self.catalog()?;
        let known = index.links(session_id)?;
        if !known.is_empty() || !index.segments(session_id)?.iter().any(|s| s.kind == LINK_KIND) {
            return Ok(known);
        }
        let mut links = Vec::new();
        for manifest in self.read_manifests_of(session_id)? {
            links.extend(self.read_links(&manifest)?);
        }
        Ok(links)
    }

    /// The link events in a sealed part's segments.
    pub(super) fn read_links(&self, manifest: &Manifest) -> Result<Vec<LinkRow>, ArchiveError> {
        let mut links = Vec::new();
        for file in manifest.files.iter().filter(|file| file.kind == LINK_KIND) {
            self.read_links_of(file, manifest.session_id, &mut links)?;
        }
        links.sort_by_key(|link| link.seq);
        Ok(links)
    }

    /// The link events in a segment of link events.
    pub(super) fn read_links_of(
        &self,
        file: &ManifestFile,
        session_id: SessionId,
        links: &mut Vec<LinkRow>,
    ) -> Result<(), ArchiveError> {
        // They go into the index, which has no checksums: damage must not.
        read_links(&CheckedFile::open(&self.root().join(&file.path), file)?, session_id, links)
    }
}

const COLUMNS: [&str; 6] = ["source", "connection", "seq", "received_at", "elapsed_ns", "payload"];

fn read_links(
    file: &CheckedFile,
    session_id: SessionId,
    links: &mut Vec<LinkRow>,
) -> Result<(), ArchiveError> {
    let failed = |source| file.failed(source);
    let builder = ParquetRecordBatchReaderBuilder::try_new(file.clone()).map_err(failed)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), COLUMNS);
    for batch in builder.with_projection(mask).build().map_err(failed)? {
        let batch = batch.map_err(|e| failed(e.into()))?;
        let complete = push_links(&batch, session_id, links);
        complete.ok_or_else(|| {
            file.damaged("a column of the envelope is missing or has another type".to_owned())
        })?;
    }
    Ok(())
}

pub(super) fn push_links(batch: &RecordBatch, session_id: SessionId, links: &mut Vec<LinkRow>) -> Option<()> {
    let source = batch.column_by_name("source")?.as_string_opt::<i32>()?;
    let connection = batch.column_by_name("connection")?.as_primitive_opt::<Int32Type>()?;
    let seq = batch.column_by_name("seq")?.as_primitive_opt::<Int64Type>()?;
    let received_at = batch.column_by_name("received_at")?.as_primitive_opt::<TimestampMicrosecondType>()?;
    let elapsed_ns = batch.column_by_name("elapsed_ns")?.as_primitive_opt::<Int64Type>()?;
    let payload = batch.column_by_name("payload")?.as_binary_opt::<i32>()?;
    for row in 0..batch.num_rows() {
        let origin = LinkOrigin {
            session_id,
            seq: seq.value(row) as u64,
            source: source.value(row),
            connection: connection.value(row),
            received_at_us: received_at.value(row),
            elapsed_ns: elapsed_ns.value(row) as u64,
        };
        links.extend(origin.row(payload.value(row)));
    }
    Some(())
}
