//! Everything that is known about one session.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use arrow::array::{AsArray, RecordBatch};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Serialize;

use super::Archive;
use super::error::{ArchiveError, IoContext};
use super::link::LINK_KIND;
use super::session::{SessionSummary, summarise};
use super::time::{rfc3339_us, rfc3339_us_option};
use super::unknown::{UnknownField, unknown_fields};
use crate::index::{LinkRow, SegmentRow, SessionRow};
use crate::message::SessionId;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SessionInfo {
    #[serde(flatten)]
    pub summary: SessionSummary,
    pub source_counts: Vec<SourceCount>,
    pub kinds: Vec<KindCount>,
    pub channels: Vec<ChannelCount>,
    pub devices: Vec<DeviceCount>,
    pub gaps: Vec<Gap>,
    /// What payloads hold that the declarations do not know, in a bounded number of messages.
    pub unknown_fields: Vec<UnknownField>,
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

/// A time in which a source was not connected.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gap {
    pub source: String,
    /// Of a source with a connection for each sensor: the sensor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    #[serde(rename = "started_at", with = "rfc3339_us")]
    pub started_at_us: i64,
    /// None: it lasted to the session's end.
    #[serde(rename = "ended_at", with = "rfc3339_us_option")]
    pub ended_at_us: Option<i64>,
    pub duration_ns: Option<u64>,
    pub reason: Option<String>,
}

impl Archive {
    /// One session in detail. Channels and devices are counted by reading their columns: about a
    /// second for ten million messages.
    pub fn info(&self, session_id: SessionId) -> Result<SessionInfo, ArchiveError> {
        let index = self.catalog()?;
        let Some(session) = index.session(session_id)? else {
            return Err(ArchiveError::SessionNotFound {
                wanted: session_id.to_string(),
                nearest: Vec::new(),
            });
        };
        let segments = index.segments(session_id)?;
        let (channels, devices) = count_channels(self, &segments)?;
        Ok(SessionInfo {
            source_counts: source_counts(&session, &segments),
            kinds: kind_counts(&segments),
            channels,
            devices,
            unknown_fields: unknown_fields(self, &segments)?,
            gaps: gaps(&index.links(session_id)?),
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

/// The outages of every source, in the order of their starts; the same as the view `outages`.
fn gaps(links: &[LinkRow]) -> Vec<Gap> {
    let mut by_source: BTreeMap<(&str, Option<String>), Vec<&LinkRow>> = BTreeMap::new();
    for (link, state) in links.iter().filter_map(|link| Some((link, link.state()?))) {
        by_source.entry((&link.source, state.sn)).or_default().push(link);
    }
    let of_device = |((_, device_id), links): ((&str, Option<String>), Vec<&LinkRow>)| {
        let gaps = gaps_of_source(&links).into_iter();
        gaps.map(move |(seq, gap)| (seq, Gap { device_id: device_id.clone(), ..gap })).collect::<Vec<_>>()
    };
    let mut gaps: Vec<(u64, Gap)> = by_source.into_iter().flat_map(of_device).collect();
    gaps.sort_by_key(|(seq, _)| *seq);
    gaps.into_iter().map(|(_, gap)| gap).collect()
}

/// From a `disconnected`, or from the session's first `connecting` or `refused` where attempts fail from
/// the start, to the next `connected` or `reconnected`. A `connected` that a `refused` follows was none.
fn gaps_of_source(links: &[&LinkRow]) -> Vec<(u64, Gap)> {
    let mut gaps: Vec<(u64, Gap)> = Vec::new();
    let mut open_since_ns = None;
    for (at, link) in links.iter().enumerate() {
        let next = links.get(at + 1).map(|next| next.event.as_str());
        match link.event.as_str() {
            "connected" if next == Some("refused") => {}
            "connected" | "reconnected" | "continued" => {
                if let (Some(since_ns), Some((_, gap))) = (open_since_ns.take(), gaps.last_mut()) {
                    gap.ended_at_us = Some(link.received_at_us);
                    gap.duration_ns = Some(link.elapsed_ns.saturating_sub(since_ns));
                }
            }
            "connecting" if at > 0 || is_answered(links) => {}
            _ if open_since_ns.is_none() => {
                open_since_ns = Some(link.elapsed_ns);
                gaps.push((
                    link.seq,
                    Gap {
                        source: link.source.clone(),
                        device_id: None,
                        started_at_us: link.received_at_us,
                        ended_at_us: None,
                        duration_ns: None,
                        reason: link.reason.clone(),
                    },
                ));
            }
            // A `connecting` has no reason: the first `refused` has.
            _ => {
                if let Some((_, gap)) = gaps.last_mut() {
                    gap.reason = gap.reason.take().or_else(|| link.reason.clone());
                }
            }
        }
    }
    gaps
}

/// Whether the first attempt led to a connection: no outage, however long it took.
fn is_answered(links: &[&LinkRow]) -> bool {
    let after: Vec<&str> = links.iter().skip(1).take(2).map(|link| link.event.as_str()).collect();
    !matches!(after[..], ["connected", "refused"] | ["refused" | "connecting", ..] | [])
}

/// Counts by source, then by name.
type Counts = BTreeMap<String, BTreeMap<String, u64>>;

fn count_channels(
    archive: &Archive,
    segments: &[SegmentRow],
) -> Result<(Vec<ChannelCount>, Vec<DeviceCount>), ArchiveError> {
    let (mut channels, mut devices) = (Counts::new(), Counts::new());
    for segment in segments.iter().filter(|segment| segment.kind != LINK_KIND) {
        let path = archive.root().join(&segment.path);
        count_in(&path, &mut channels, &mut devices)?;
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

fn count_in(path: &Path, channels: &mut Counts, devices: &mut Counts) -> Result<(), ArchiveError> {
    let failed = |source| ArchiveError::ReadSegment { path: path.to_owned(), source };
    let file = File::open(path).doing("open", path)?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(failed)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The outages that a source's events make, each a second after the other: from second, to second.
    fn outages(events: &[&str]) -> Vec<(i64, Option<i64>)> {
        let row = |(at, event): (usize, &&str)| LinkRow {
            session_id: SessionId::new(0, [0; 10]),
            seq: at as u64,
            source: "s".into(),
            connection: 0,
            received_at_us: at as i64,
            elapsed_ns: at as u64,
            event: event.trim_end_matches('*').to_owned(),
            reason: None,
            gap_ns: None,
            payload: if event.ends_with('*') { r#"{"topics":["a"]}"# } else { "{}" }.into(),
        };
        let links: Vec<LinkRow> = events.iter().enumerate().map(row).collect();
        gaps(&links).into_iter().map(|gap| (gap.started_at_us, gap.ended_at_us)).collect()
    }

    #[test]
    fn sensors_have_outages_of_their_own_and_a_hand_over_is_none() {
        // Event, sensor, and whether data can come all the while.
        let events = [
            ("connecting", "a", false),
            ("connecting", "b", false),
            ("connected", "a", false),
            ("connected", "b", false),
            ("disconnected", "a", false),
            ("connecting", "b", true),
            ("connected", "b", true),
            ("disconnected", "b", true),
            ("connecting", "a", false),
            ("reconnected", "a", false),
            ("refused", "b", true),
            ("disconnected", "b", false),
        ];
        let row = |(at, (event, sn, flowing)): (usize, &(&str, &str, bool))| LinkRow {
            session_id: SessionId::new(0, [0; 10]),
            seq: at as u64,
            source: "ward".into(),
            connection: at as i32,
            received_at_us: at as i64,
            elapsed_ns: at as u64,
            event: (*event).into(),
            reason: None,
            gap_ns: None,
            payload: serde_json::json!({"event": event, "sn": sn, "flowing": flowing}).to_string(),
        };
        let links: Vec<LinkRow> = events.iter().enumerate().map(row).collect();
        let gaps = gaps(&links).into_iter();
        let gaps: Vec<_> = gaps.map(|g| (g.device_id.unwrap(), g.started_at_us, g.ended_at_us)).collect();
        assert_eq!(gaps, [("a".to_owned(), 4, Some(9)), ("b".to_owned(), 11, None)]);
    }

    #[test]
    fn an_outage_is_seen_wherever_in_the_session_it_lies() {
        let (up, down, no, dial) = ("connected", "disconnected", "refused", "connecting");
        assert_eq!(outages(&[dial, up, "subscribed"]), []);
        assert_eq!(outages(&[dial, up, down, dial, up, "reconnected"]), [(2, Some(4))]);
        assert_eq!(outages(&[dial, no, dial, no, dial, up, "reconnected"]), [(0, Some(5))]);
        assert_eq!(outages(&[dial, no, dial]), [(0, None)]);
        assert_eq!(outages(&[dial]), [(0, None)]);
        // The vendor refuses once the transport is connected.
        assert_eq!(outages(&[dial, up, no, dial, up, no]), [(0, None)]);
        assert_eq!(outages(&[dial, up, down, dial, up, no, dial, up, "subscribed"]), [(2, Some(7))]);
        // A session that begins during an outage, or while all is well.
        assert_eq!(outages(&[no, dial, up, "reconnected"]), [(0, Some(2))]);
        assert_eq!(outages(&["continued", dial, down]), [(2, None)]);
        // A topic is refused, not the connection.
        assert_eq!(outages(&[dial, up, "refused*"]), []);
    }
}
