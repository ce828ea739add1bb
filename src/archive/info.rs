//! Everything that is known about one session.

use std::collections::BTreeMap;

use arrow::array::{AsArray, RecordBatch};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Serialize;

use super::Archive;
use super::blocks::CheckedFile;
use super::clips::{Clip, Mark};
use super::error::ArchiveError;
use super::gaps::Gap;
use super::link::LINK_KIND;
use super::scan::{Segments, Skipped, SkippedSegment};
use super::session::{SessionSummary, summarise};
use super::sidecar::is_no;
use super::time::rfc3339_us;
use super::unknown::{UnknownField, unknown_fields};
use crate::index::{SegmentRow, SessionRow};
use crate::message::SessionId;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SessionInfo {
    #[serde(flatten)]
    pub summary: SessionSummary,
    /// Names in it stand for others. None (`null`) where that is not known: its sidecar was lost.
    #[serde(skip_serializing_if = "is_no")]
    pub pseudonymized: Option<bool>,
    pub source_counts: Vec<SourceCount>,
    pub kinds: Vec<KindCount>,
    pub channels: Vec<ChannelCount>,
    pub devices: Vec<DeviceCount>,
    pub gaps: Vec<Gap>,
    pub clips: Vec<Clip>,
    pub marks: Vec<Mark>,
    /// What payloads hold that the declarations do not know, in a bounded number of messages.
    pub unknown_fields: Vec<UnknownField>,
    /// Damaged segments: channels, devices and fields that only they have are not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<SkippedSegment>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SourceCount {
    pub name: String,
    pub vendor: String,
    /// The effective options, without secrets.
    pub settings: serde_json::Value,
    pub messages: u64,
    pub bytes: u64,
    pub duplicates: u64,
    pub decode_errors: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KindCount {
    pub vendor: String,
    pub kind: String,
    pub messages: u64,
    pub bytes: u64,
    pub bytes_stored: u64,
    #[serde(rename = "first_received_at", with = "rfc3339_us")]
    pub first_received_at_us: i64,
    #[serde(rename = "last_received_at", with = "rfc3339_us")]
    pub last_received_at_us: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChannelCount {
    pub source: String,
    pub channel: String,
    pub messages: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceCount {
    pub source: String,
    pub device_id: String,
    pub messages: u64,
}

impl Archive {
    /// One session in detail. Channels and devices are counted by reading their columns: about a
    /// second for ten million messages.
    pub fn info(&self, session_id: SessionId) -> Result<SessionInfo, ArchiveError> {
        self.while_files_change(|| self.look_into(session_id))
    }

    fn look_into(&self, session_id: SessionId) -> Result<SessionInfo, ArchiveError> {
        let index = self.catalog()?;
        let Some(session) = index.session(session_id)? else {
            return Err(ArchiveError::SessionNotFound {
                wanted: session_id.to_string(),
                nearest: Vec::new(),
            });
        };
        let segments = index.segments(session_id)?;
        let skipped = Skipped::default();
        let (channels, devices) = count_channels(self, &segments, &skipped)?;
        // Of one that is damaged `verify` tells: what stands beside the messages is not known.
        let sidecar =
            self.read_sidecar(session_id).or_else(|e| if e.is_damage() { Ok(None) } else { Err(e) })?;
        let pseudonymized = sidecar.as_ref().and_then(|sidecar| sidecar.pseudonymized);
        let (clips, marks) = sidecar.map(|sidecar| (sidecar.clips, sidecar.marks)).unwrap_or_default();
        Ok(SessionInfo {
            clips,
            marks,
            source_counts: source_counts(&session, &segments),
            kinds: kind_counts(&segments),
            channels,
            devices,
            unknown_fields: unknown_fields(self, &segments, &skipped)?,
            gaps: self.gaps(session_id).or_else(|e| if e.is_damage() { Ok(Vec::new()) } else { Err(e) })?,
            pseudonymized,
            unreadable: skipped.segments(),
            summary: summarise(&index, session)?,
        })
    }
}

fn source_counts(session: &SessionRow, segments: &[SegmentRow]) -> Vec<SourceCount> {
    let count = |source: &crate::index::SourceRow| {
        let of = || segments.iter().flat_map(|s| &s.sources).filter(|s| s.source == source.name);
        SourceCount {
            name: source.name.clone(),
            vendor: source.vendor.clone(),
            settings: source.settings.clone(),
            messages: of().map(|s| s.rows).sum(),
            bytes: of().map(|s| s.payload_bytes).sum(),
            duplicates: of().map(|s| s.duplicates).sum(),
            decode_errors: of().map(|s| s.decode_errors).sum(),
        }
    };
    session.sources.iter().map(count).collect()
}

fn kind_counts(segments: &[SegmentRow]) -> Vec<KindCount> {
    let mut kinds: BTreeMap<(&str, &str), KindCount> = BTreeMap::new();
    for segment in segments {
        let kind = kinds.entry((&segment.vendor, &segment.kind)).or_insert_with(|| KindCount {
            vendor: segment.vendor.clone(),
            kind: segment.kind.clone(),
            messages: 0,
            bytes: 0,
            bytes_stored: 0,
            first_received_at_us: segment.received_min_us,
            last_received_at_us: segment.received_max_us,
        });
        kind.messages += segment.rows;
        kind.bytes += segment.payload_bytes;
        kind.bytes_stored += segment.bytes;
        kind.first_received_at_us = kind.first_received_at_us.min(segment.received_min_us);
        kind.last_received_at_us = kind.last_received_at_us.max(segment.received_max_us);
    }
    kinds.into_values().collect()
}

/// Counts by source, then by name.
type Counts = BTreeMap<String, BTreeMap<String, u64>>;

fn count_channels(
    archive: &Archive,
    segments: &[SegmentRow],
    skipped: &Skipped,
) -> Result<(Vec<ChannelCount>, Vec<DeviceCount>), ArchiveError> {
    let (mut channels, mut devices) = (Counts::new(), Counts::new());
    let mut files = Segments::new(archive);
    for segment in segments.iter().filter(|segment| segment.kind != LINK_KIND) {
        let counted = files.open(segment).and_then(|file| count_in(&file, &mut channels, &mut devices));
        counted.or_else(|error| Skipped::add(Some(skipped), segment, 0, error))?;
    }
    let channels =
        flat(channels).map(|(source, channel, messages)| ChannelCount { source, channel, messages });
    let devices =
        flat(devices).map(|(source, device_id, messages)| DeviceCount { source, device_id, messages });
    Ok((channels.collect(), devices.collect()))
}

fn flat(counts: Counts) -> impl Iterator<Item = (String, String, u64)> {
    counts
        .into_iter()
        .flat_map(|(source, names)| names.into_iter().map(move |(name, n)| (source.clone(), name, n)))
}

fn count_in(file: &CheckedFile, channels: &mut Counts, devices: &mut Counts) -> Result<(), ArchiveError> {
    let failed = |source| file.failed(source);
    let builder = ParquetRecordBatchReaderBuilder::try_new(file.clone()).map_err(failed)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["source", "channel", "device_id"]);
    for batch in builder.with_projection(mask).with_batch_size(16_384).build().map_err(failed)? {
        let batch = batch.map_err(|e| failed(e.into()))?;
        count_column(&batch, "channel", channels);
        count_column(&batch, "device_id", devices);
    }
    Ok(())
}

fn count_column(batch: &RecordBatch, column: &str, counts: &mut Counts) {
    let text = |name| batch.column_by_name(name).and_then(|c| c.as_string_opt::<i32>());
    let (Some(sources), Some(names)) = (text("source"), text(column)) else { return };
    for (source, name) in sources.iter().zip(names) {
        let (Some(source), Some(name)) = (source, name) else { continue };
        let known = counts.get_mut(source).and_then(|names| names.get_mut(name));
        match known {
            Some(count) => *count += 1,
            None => *counts.entry(source.to_owned()).or_default().entry(name.to_owned()).or_default() += 1,
        }
    }
}
