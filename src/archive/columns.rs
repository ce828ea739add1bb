//! Journal records into the envelope's columns, a batch at a time, without an allocation per row.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BinaryBuilder, BooleanBuilder, Int8Builder, Int32Builder, Int64Builder, MapArray,
    NullBufferBuilder, StringArray, StringBuilder, StructArray, TimestampMicrosecondBuilder,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::error::ArrowError;

use super::schema::{header_entries_field, header_entry_fields};
use crate::journal::{HeadersRef, RecordRef};

/// Rows in a batch at most.
pub(super) const BATCH_ROWS: usize = 8192;

/// The columns that are the same in every row of a session.
#[derive(Debug)]
pub(super) struct Constants {
    site: StringArray,
    session_id: StringArray,
}

impl Constants {
    pub(super) fn new(site: &str, session_id: &str) -> Self {
        Self {
            site: StringArray::from_iter_values(std::iter::repeat_n(site, BATCH_ROWS)),
            session_id: StringArray::from_iter_values(std::iter::repeat_n(session_id, BATCH_ROWS)),
        }
    }
}

/// A batch's columns, but for those that are derived from its payloads.
#[derive(Debug)]
pub(super) struct EnvelopeBatch {
    /// `site` to `elapsed_ns`.
    before: Vec<ArrayRef>,
    pub channel: StringArray,
    /// `qos` to `duplicate_of`.
    after: Vec<ArrayRef>,
    pub payload: BinaryArray,
    pub clear: BinaryArray,
    /// The position of each row's source in the session.
    pub sources: Vec<u16>,
}

impl EnvelopeBatch {
    /// All columns of the envelope, in the order of the schema.
    pub(super) fn into_columns(
        self,
        device_id: ArrayRef,
        event_at: ArrayRef,
        decode_error: ArrayRef,
    ) -> Vec<ArrayRef> {
        let Self { before, channel, after, payload, clear, sources: _ } = self;
        let mut columns = before;
        columns.extend([Arc::new(channel) as ArrayRef, device_id, event_at]);
        columns.extend(after);
        columns.extend([Arc::new(payload) as ArrayRef, Arc::new(clear), decode_error]);
        columns
    }
}

/// The rows that wait for the next batch.
#[derive(Debug)]
pub(super) struct EnvelopeColumns {
    rows: usize,
    bytes: usize,
    /// Bytes of the payloads in the last batch: most likely about as many come again.
    last_payload_bytes: usize,
    source: StringBuilder,
    connection: Int32Builder,
    seq: Int64Builder,
    received_at: TimestampMicrosecondBuilder,
    elapsed_ns: Int64Builder,
    channel: StringBuilder,
    qos: Int8Builder,
    retain: BooleanBuilder,
    dup: BooleanBuilder,
    is_binary: BooleanBuilder,
    headers: HeadersColumn,
    duplicate_of: Int64Builder,
    payload: BinaryBuilder,
    clear: BinaryBuilder,
    sources: Vec<u16>,
}

impl EnvelopeColumns {
    pub(super) fn new() -> Self {
        Self {
            rows: 0,
            bytes: 0,
            last_payload_bytes: 0,
            source: StringBuilder::new(),
            connection: Int32Builder::new(),
            seq: Int64Builder::new(),
            received_at: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            elapsed_ns: Int64Builder::new(),
            channel: StringBuilder::new(),
            qos: Int8Builder::new(),
            retain: BooleanBuilder::new(),
            dup: BooleanBuilder::new(),
            is_binary: BooleanBuilder::new(),
            headers: HeadersColumn::new(),
            duplicate_of: Int64Builder::new(),
            payload: BinaryBuilder::new(),
            clear: BinaryBuilder::new(),
            sources: Vec::new(),
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// What the rows hold in variable length, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, source: &str, record: &RecordRef<'_>) {
        if self.rows == 0 {
            // Growing to megabytes step by step would copy each payload twice. Not before there is a row, so
            // that segments which get no more rows hold nothing.
            self.payload = BinaryBuilder::with_capacity(BATCH_ROWS, self.last_payload_bytes);
        }
        self.rows += 1;
        self.bytes += record.payload.len() + record.channel.len() + record.clear.map_or(0, <[u8]>::len);
        self.source.append_value(source);
        self.connection.append_value(i32::try_from(record.connection).unwrap_or(i32::MAX));
        self.seq.append_value(record.seq as i64);
        self.received_at.append_value(record.received_at_us);
        self.elapsed_ns.append_value(record.elapsed_ns as i64);
        self.channel.append_value(record.channel);
        self.qos.append_option(record.mqtt.map(|m| m.qos as i8));
        self.retain.append_option(record.mqtt.map(|m| m.retain));
        self.dup.append_option(record.mqtt.map(|m| m.dup));
        self.is_binary.append_value(record.is_binary);
        self.bytes += self.headers.push(record.headers);
        self.duplicate_of.append_option(record.duplicate_of.map(|seq| seq as i64));
        self.payload.append_value(record.payload);
        self.clear.append_option(record.clear);
        self.sources.push(record.source);
    }

    /// The columns of the rows since the last call.
    pub(super) fn finish(&mut self, constants: &Constants) -> Result<EnvelopeBatch, ArrowError> {
        let rows = self.rows;
        self.rows = 0;
        self.bytes = 0;
        self.last_payload_bytes = self.payload.values_slice().len();
        Ok(EnvelopeBatch {
            before: vec![
                Arc::new(constants.site.slice(0, rows)),
                Arc::new(constants.session_id.slice(0, rows)),
                Arc::new(self.source.finish()),
                Arc::new(self.connection.finish()),
                Arc::new(self.seq.finish()),
                Arc::new(self.received_at.finish().with_timezone("UTC")),
                Arc::new(self.elapsed_ns.finish()),
            ],
            channel: self.channel.finish(),
            after: vec![
                Arc::new(self.qos.finish()),
                Arc::new(self.retain.finish()),
                Arc::new(self.dup.finish()),
                Arc::new(self.is_binary.finish()),
                self.headers.finish()?,
                Arc::new(self.duplicate_of.finish()),
            ],
            payload: self.payload.finish(),
            clear: self.clear.finish(),
            sources: std::mem::take(&mut self.sources),
        })
    }
}

/// `map<string, string>`: Arrow's own builder cannot give the two inner fields their ids.
#[derive(Debug)]
struct HeadersColumn {
    offsets: Vec<i32>,
    present: NullBufferBuilder,
    keys: StringBuilder,
    values: StringBuilder,
    entries: i32,
}

impl HeadersColumn {
    fn new() -> Self {
        Self {
            offsets: vec![0],
            present: NullBufferBuilder::new(BATCH_ROWS),
            keys: StringBuilder::new(),
            values: StringBuilder::new(),
            entries: 0,
        }
    }

    /// Returns how many bytes were added.
    fn push(&mut self, headers: Option<HeadersRef<'_>>) -> usize {
        let mut bytes = 0;
        match headers {
            None => self.present.append_null(),
            Some(headers) => {
                self.present.append_non_null();
                for (key, value) in headers.iter() {
                    self.keys.append_value(key);
                    self.values.append_value(value);
                    self.entries += 1;
                    bytes += key.len() + value.len();
                }
            }
        }
        self.offsets.push(self.entries);
        bytes
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let columns: Vec<ArrayRef> = vec![Arc::new(self.keys.finish()), Arc::new(self.values.finish())];
        let length = self.entries as usize;
        let entries = StructArray::try_new_with_length(header_entry_fields(), columns, None, length)?;
        let offsets = OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(&mut self.offsets, vec![0])));
        self.entries = 0;
        let present = self.present.finish();
        Ok(Arc::new(MapArray::try_new(header_entries_field(), offsets, entries, present, false)?))
    }
}
