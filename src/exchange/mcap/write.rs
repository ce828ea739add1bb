//! Writing: chunks with their indexes, and the summary by which readers seek.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::json;

use super::wire::{put_map, put_text, record};
use super::{ENVELOPES, MAGIC, SESSION, op};
use crate::archive::{Archive, ScanOptions};
use crate::envelope::Envelope;
use crate::exchange::error::{ExchangeError, IoContext};
use crate::exchange::export::{Change, RowWriter};
use crate::message::{Row, SessionId};

/// Of a chunk before it is compressed: readers hold one.
const CHUNK_BYTES: usize = 4 << 20;

/// zstd's own default: at MCAP's own tools' level.
const LEVEL: i32 = 3;

/// The number of a channel has 16 bits. Beyond this many, the rows of a source share one channel for each kind;
/// which was theirs stands in their envelopes.
const CHANNELS_MAX: usize = 60_000;

/// What makes a channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ChannelKey {
    session_id: SessionId,
    vendor: String,
    kind: String,
    source: String,
    channel: Option<String>,
    is_json: bool,
}

pub(in crate::exchange) struct McapWriter<W> {
    out: W,
    path: PathBuf,
    /// Bytes written so far.
    offset: u64,
    schemas: HashMap<(String, String), u16>,
    channels: HashMap<ChannelKey, u16>,
    /// Schema and channel records, once more for the summary.
    definitions: [Vec<u8>; 2],
    /// The records of the chunk in the making.
    chunk: Vec<u8>,
    times: Option<(u64, u64)>,
    /// Of each channel, when its messages were logged and where in the chunk they are.
    index: BTreeMap<u16, Vec<(u64, u64)>>,
    envelopes: Vec<u8>,
    summary: Summary,
}

/// What the end of the file tells of it.
#[derive(Default)]
struct Summary {
    chunks: Vec<u8>,
    attachments: Vec<u8>,
    metadata: Vec<u8>,
    counts: BTreeMap<u16, u64>,
    chunk_count: u32,
    attachment_count: u32,
    metadata_count: u32,
    times: Option<(u64, u64)>,
}

impl<W: Write> McapWriter<W> {
    pub(in crate::exchange) fn new(
        out: W,
        path: &Path,
        archive: &Archive,
        options: &ScanOptions,
        change: &mut dyn Change,
    ) -> Result<Self, ExchangeError> {
        let mut writer = Self {
            out,
            path: path.to_owned(),
            offset: 0,
            schemas: HashMap::new(),
            channels: HashMap::new(),
            definitions: Default::default(),
            chunk: Vec::new(),
            times: None,
            index: BTreeMap::new(),
            envelopes: Vec::new(),
            summary: Summary::default(),
        };
        let mut head = MAGIC.to_vec();
        record(&mut head, op::HEADER, |out| {
            put_text(out, "");
            put_text(out, concat!("telereel ", env!("CARGO_PKG_VERSION")));
        });
        writer.put(&head)?;
        let sessions = match &options.sessions[..] {
            [] => archive.list()?.into_iter().map(|session| session.session_id).collect(),
            sessions => sessions.to_vec(),
        };
        for session_id in sessions {
            if let Some(mut sidecar) = archive.read_sidecar(session_id)? {
                change.sidecar(&mut sidecar);
                let session_id = sidecar.session_id;
                let sidecar = serde_json::to_string(&sidecar).map_err(std::io::Error::from);
                writer.session(session_id, sidecar.doing("write", path)?)?;
            }
        }
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ExchangeError> {
        self.offset += bytes.len() as u64;
        self.out.write_all(bytes).doing("write", &self.path)
    }

    fn session(&mut self, session_id: SessionId, sidecar: String) -> Result<(), ExchangeError> {
        let map = [("session_id", session_id.to_string()), ("sidecar", sidecar)];
        let mut out = Vec::new();
        record(&mut out, op::METADATA, |out| {
            put_text(out, SESSION);
            put_map(out, &map);
        });
        let (at, length) = (self.offset, out.len() as u64);
        record(&mut self.summary.metadata, op::METADATA_INDEX, |out| {
            out.extend_from_slice(&at.to_le_bytes());
            out.extend_from_slice(&length.to_le_bytes());
            put_text(out, SESSION);
        });
        self.summary.metadata_count += 1;
        self.put(&out)
    }

    /// The channel of a row, defined in this chunk where it is new.
    fn channel(&mut self, row: &Row) -> u16 {
        let mut key = ChannelKey {
            session_id: row.session_id,
            vendor: row.vendor.to_string(),
            kind: row.kind.to_string(),
            source: row.source.to_string(),
            channel: Some(row.channel.to_string()),
            is_json: is_json(&row.payload),
        };
        if let Some(known) = self.channels.get(&key) {
            return *known;
        }
        if self.channels.len() >= CHANNELS_MAX {
            key.channel = None;
            if let Some(known) = self.channels.get(&key) {
                return *known;
            }
        }
        // Zero is no schema.
        let schema = if key.is_json { self.schema(row) } else { 0 };
        let id = u16::try_from(self.channels.len()).unwrap_or(u16::MAX);
        let channel = key.channel.as_deref().unwrap_or_default();
        let slash = if channel.starts_with('/') { "" } else { "/" };
        let topic = format!("/{}/{}{slash}{channel}", key.source, key.kind);
        let mut metadata = vec![
            ("telereel.kind", key.kind.clone()),
            ("telereel.session_id", key.session_id.to_string()),
            ("telereel.site", row.site.to_string()),
            ("telereel.source", key.source.clone()),
            ("telereel.vendor", key.vendor.clone()),
        ];
        if let Some(channel) = &key.channel {
            metadata.insert(0, ("telereel.channel", channel.clone()));
        }
        let encoding = if key.is_json { "json" } else { "application/octet-stream" };
        let from = self.chunk.len();
        record(&mut self.chunk, op::CHANNEL, |out| {
            out.extend_from_slice(&id.to_le_bytes());
            out.extend_from_slice(&schema.to_le_bytes());
            put_text(out, &topic);
            put_text(out, encoding);
            put_map(out, &metadata);
        });
        self.definitions[1].extend_from_slice(&self.chunk[from..]);
        self.channels.insert(key, id);
        id
    }

    fn schema(&mut self, row: &Row) -> u16 {
        let key = (row.vendor.to_string(), row.kind.to_string());
        if let Some(known) = self.schemas.get(&key) {
            return *known;
        }
        let id = u16::try_from(self.schemas.len() + 1).unwrap_or(u16::MAX);
        let name = format!("{}.{}", key.0, key.1);
        let schema = json!({"title": name, "type": "object", "properties": {}, "additionalProperties": true});
        let from = self.chunk.len();
        record(&mut self.chunk, op::SCHEMA, |out| {
            out.extend_from_slice(&id.to_le_bytes());
            put_text(out, &name);
            put_text(out, "jsonschema");
            put_text(out, &schema.to_string());
        });
        self.definitions[0].extend_from_slice(&self.chunk[from..]);
        self.schemas.insert(key, id);
        id
    }

    /// Writes the chunk, its indexes and its envelopes.
    fn end_chunk(&mut self) -> Result<(), ExchangeError> {
        let Some((start, end)) = self.times.take() else { return Ok(()) };
        let records = std::mem::take(&mut self.chunk);
        let compressed = zstd::bulk::compress(&records, LEVEL).doing("compress", &self.path)?;
        let chunk_at = self.offset;
        let mut out = Vec::with_capacity(compressed.len() + 64);
        record(&mut out, op::CHUNK, |out| {
            out.extend_from_slice(&start.to_le_bytes());
            out.extend_from_slice(&end.to_le_bytes());
            out.extend_from_slice(&(records.len() as u64).to_le_bytes());
            out.extend_from_slice(&crc32fast::hash(&records).to_le_bytes());
            put_text(out, "zstd");
            out.extend_from_slice(&(compressed.len() as u64).to_le_bytes());
            out.extend_from_slice(&compressed);
        });
        let chunk_bytes = out.len() as u64;
        let mut offsets = Vec::new();
        for (channel, entries) in std::mem::take(&mut self.index) {
            offsets.push((channel, chunk_at + out.len() as u64));
            *self.summary.counts.entry(channel).or_default() += entries.len() as u64;
            record(&mut out, op::MESSAGE_INDEX, |out| {
                out.extend_from_slice(&channel.to_le_bytes());
                out.extend_from_slice(&((entries.len() * 16) as u32).to_le_bytes());
                for (time, at) in entries {
                    out.extend_from_slice(&time.to_le_bytes());
                    out.extend_from_slice(&at.to_le_bytes());
                }
            });
        }
        let index_bytes = out.len() as u64 - chunk_bytes;
        self.put(&out)?;
        let summary = &mut self.summary;
        record(&mut summary.chunks, op::CHUNK_INDEX, |out| {
            for number in [start, end, chunk_at, chunk_bytes] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.extend_from_slice(&((offsets.len() * 10) as u32).to_le_bytes());
            for (channel, at) in &offsets {
                out.extend_from_slice(&channel.to_le_bytes());
                out.extend_from_slice(&at.to_le_bytes());
            }
            out.extend_from_slice(&index_bytes.to_le_bytes());
            put_text(out, "zstd");
            out.extend_from_slice(&(compressed.len() as u64).to_le_bytes());
            out.extend_from_slice(&(records.len() as u64).to_le_bytes());
        });
        summary.chunk_count += 1;
        let known = summary.times.unwrap_or((start, end));
        summary.times = Some((known.0.min(start), known.1.max(end)));
        self.attach(start)
    }

    fn attach(&mut self, time: u64) -> Result<(), ExchangeError> {
        let lines = std::mem::take(&mut self.envelopes);
        let data = zstd::bulk::compress(&lines, LEVEL).doing("compress", &self.path)?;
        let media_type = "application/zstd";
        let mut out = Vec::with_capacity(data.len() + 96);
        record(&mut out, op::ATTACHMENT, |out| {
            let from = out.len();
            out.extend_from_slice(&time.to_le_bytes());
            out.extend_from_slice(&0_u64.to_le_bytes());
            put_text(out, ENVELOPES);
            put_text(out, media_type);
            out.extend_from_slice(&(data.len() as u64).to_le_bytes());
            out.extend_from_slice(&data);
            let crc = crc32fast::hash(&out[from..]);
            out.extend_from_slice(&crc.to_le_bytes());
        });
        let at = self.offset;
        record(&mut self.summary.attachments, op::ATTACHMENT_INDEX, |index| {
            for number in [at, out.len() as u64, time, 0, data.len() as u64] {
                index.extend_from_slice(&number.to_le_bytes());
            }
            put_text(index, ENVELOPES);
            put_text(index, media_type);
        });
        self.summary.attachment_count += 1;
        self.put(&out)
    }

    /// The summary: definitions, statistics and indexes, each group with its place.
    fn end(&mut self) -> Result<(), ExchangeError> {
        let mut out = Vec::new();
        // A checksum of zero is none: each chunk has its own.
        record(&mut out, op::DATA_END, |out| out.extend_from_slice(&0_u32.to_le_bytes()));
        self.put(&out)?;
        let start = self.offset;
        let [schemas, channels] = std::mem::take(&mut self.definitions);
        let summary = std::mem::take(&mut self.summary);
        let mut statistics = Vec::new();
        let (first, last) = summary.times.unwrap_or_default();
        record(&mut statistics, op::STATISTICS, |out| {
            out.extend_from_slice(&summary.counts.values().sum::<u64>().to_le_bytes());
            out.extend_from_slice(&(self.schemas.len() as u16).to_le_bytes());
            out.extend_from_slice(&(self.channels.len() as u32).to_le_bytes());
            for count in [summary.attachment_count, summary.metadata_count, summary.chunk_count] {
                out.extend_from_slice(&count.to_le_bytes());
            }
            out.extend_from_slice(&first.to_le_bytes());
            out.extend_from_slice(&last.to_le_bytes());
            out.extend_from_slice(&((summary.counts.len() * 10) as u32).to_le_bytes());
            for (channel, count) in &summary.counts {
                out.extend_from_slice(&channel.to_le_bytes());
                out.extend_from_slice(&count.to_le_bytes());
            }
        });
        let groups = [
            (op::SCHEMA, schemas),
            (op::CHANNEL, channels),
            (op::STATISTICS, statistics),
            (op::CHUNK_INDEX, summary.chunks),
            (op::ATTACHMENT_INDEX, summary.attachments),
            (op::METADATA_INDEX, summary.metadata),
        ];
        let (mut out, mut offsets) = (Vec::new(), Vec::new());
        for (op, group) in groups.iter().filter(|(_, group)| !group.is_empty()) {
            let at = start + out.len() as u64;
            record(&mut offsets, op::SUMMARY_OFFSET, |out| {
                out.push(*op);
                out.extend_from_slice(&at.to_le_bytes());
                out.extend_from_slice(&(group.len() as u64).to_le_bytes());
            });
            out.extend_from_slice(group);
        }
        let offsets_at = start + out.len() as u64;
        out.extend_from_slice(&offsets);
        // The checksum is over the summary and the footer up to itself.
        out.push(op::FOOTER);
        out.extend_from_slice(&20_u64.to_le_bytes());
        out.extend_from_slice(&start.to_le_bytes());
        out.extend_from_slice(&offsets_at.to_le_bytes());
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&MAGIC);
        self.put(&out)
    }
}

impl<W: Write> RowWriter for McapWriter<W> {
    fn write(&mut self, row: &Row) -> Result<(), ExchangeError> {
        let channel = self.channel(row);
        let nanos = |us: i64| u64::try_from(us).unwrap_or(0).saturating_mul(1_000);
        let logged = nanos(row.received_at_us);
        let published = row.event_at_us.map_or(logged, nanos);
        self.index.entry(channel).or_default().push((logged, self.chunk.len() as u64));
        record(&mut self.chunk, op::MESSAGE, |out| {
            out.extend_from_slice(&channel.to_le_bytes());
            out.extend_from_slice(&(row.seq as u32).to_le_bytes());
            out.extend_from_slice(&logged.to_le_bytes());
            out.extend_from_slice(&published.to_le_bytes());
            out.extend_from_slice(&row.payload);
        });
        let (start, end) = self.times.unwrap_or((logged, logged));
        self.times = Some((start.min(logged), end.max(logged)));
        let bare = Row { payload: Bytes::new(), ..row.clone() };
        serde_json::to_writer(&mut self.envelopes, &Envelope::from(&bare))
            .map_err(std::io::Error::from)
            .doing("write", &self.path)?;
        self.envelopes.push(b'\n');
        if self.chunk.len() >= CHUNK_BYTES { self.end_chunk() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> Result<(), ExchangeError> {
        self.end_chunk()?;
        self.end()?;
        self.out.flush().doing("write", &self.path)
    }
}

/// Whether a tool that reads JSON objects may be shown this: at a glance, since a payload is not parsed for it.
fn is_json(payload: &[u8]) -> bool {
    payload.trim_ascii().starts_with(b"{")
        && payload.trim_ascii().ends_with(b"}")
        && std::str::from_utf8(payload).is_ok()
}
