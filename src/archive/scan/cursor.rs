//! One segment being read: a small batch at a time.
//!
//! A few rows share their memory, and no more. Were they slices of the batch, one row that waits in a queue (the
//! one of its device among a thousand) would keep a whole batch.

use std::sync::Arc;

use arrow::array::{
    Array, AsArray, BinaryArray, BooleanArray, Int8Array, Int32Array, Int64Array, MapArray, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Int8Type, Int32Type, Int64Type, TimestampMicrosecondType};
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::pages::Rest;
use super::session::Shared;
use crate::archive::blocks::CheckedFile;
use crate::archive::caught::caught;
use crate::archive::error::ArchiveError;
use crate::archive::filter::{Folders, Predicate, SegmentFilter};
use crate::archive::schema::envelope_fields;
use crate::index::SegmentRow;
use crate::message::{Headers, Mqtt, Row};

/// A batch holds at most this many rows, and about this many bytes of payload.
const BATCH_ROWS: u64 = 1024;
const BATCH_BYTES: u64 = 1024 * 1024;

/// Rows whose bytes are together about so many share one allocation.
const SHARED_BYTES: usize = 4 * 1024;

/// So many rows share the names of where they come from: whoever drops a row counts on them, on another core than
/// this one, where the next row is made.
const SHARED_ROWS: usize = 64;

/// The column that a scan without payloads leaves out.
const PAYLOAD: &str = "payload";

/// Columns that are the same for a session.
const OF_SESSION: [&str; 2] = ["site", "session_id"];

#[derive(Debug)]
pub(super) struct Cursor {
    shared: Arc<Shared>,
    segment: SegmentRow,
    reader: Reader,
    batch: Batch,
    at: usize,
    names: Names,
    /// Room for the bytes of the next rows.
    bytes: BytesMut,
}

/// Where a row comes from.
#[derive(Debug)]
struct Names {
    vendor: Arc<str>,
    kind: Arc<str>,
    site: Arc<str>,
    /// Those that were met; `last` is that of the row before, and most often the next one's as well.
    sources: Vec<Arc<str>>,
    last: usize,
    rows: usize,
}

struct Reader {
    file: CheckedFile,
    batches: ParquetRecordBatchReader,
    filter: Option<SegmentFilter>,
    /// That were read.
    rows: u64,
}

/// What a scan wants of every segment.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub predicate: Option<Predicate>,
    pub with_payloads: bool,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

/// The envelope's columns of one batch.
#[derive(Debug)]
struct Batch {
    rows: usize,
    source: StringArray,
    connection: Int32Array,
    seq: Int64Array,
    received_at: TimestampMicrosecondArray,
    elapsed_ns: Int64Array,
    channel: StringArray,
    device_id: StringArray,
    event_at: TimestampMicrosecondArray,
    qos: Int8Array,
    retain: BooleanArray,
    dup: BooleanArray,
    is_binary: BooleanArray,
    headers: MapArray,
    duplicate_of: Int64Array,
    payload: Option<BinaryArray>,
    clear: BinaryArray,
    decode_error: StringArray,
}

impl Cursor {
    /// Opens a segment at its first wanted row whose `seq` is at least `from`; none if there is no such row.
    pub(super) fn open(
        file: CheckedFile,
        segment: &SegmentRow,
        shared: Arc<Shared>,
        from: u64,
        wanted: &Wanted,
    ) -> Result<Option<Self>, ArchiveError> {
        let failed = |source| file.failed(source);
        let is_before = |seq: i64| (seq as u64) < from;
        let rest = Rest::of(&file, "seq", &is_before, from > segment.seq_min).map_err(failed)?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file.clone(), rest.metadata);
        let vendor: Arc<str> = segment.vendor.as_str().into();
        let kind: Arc<str> = segment.kind.as_str().into();
        let mut filter = None;
        if let Some(predicate) = &wanted.predicate {
            let folders = Folders { vendor: vendor.clone(), kind: kind.clone(), date: segment.date.clone() };
            filter = predicate.of_segment(folders, |name| builder.schema().index_of(name).is_ok());
            if filter.is_none() {
                return Ok(None);
            }
        }
        let envelope = envelope_fields();
        let columns = envelope.iter().map(|f| f.name().as_str()).filter(|n| !OF_SESSION.contains(n));
        let columns = columns.filter(|&n| wanted.with_payloads || n != PAYLOAD);
        let columns = columns.chain(wanted.predicate.iter().flat_map(Predicate::columns));
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns);
        let row_bytes = (segment.payload_bytes / segment.rows.max(1)).max(1);
        let rows = (BATCH_BYTES / row_bytes).clamp(16, BATCH_ROWS) as usize;
        let mut builder = builder.with_projection(mask).with_row_groups(rest.groups).with_batch_size(rows);
        if let Some(selected) = rest.rows {
            builder = builder.with_row_selection(selected);
        }
        let mut reader = Reader { batches: builder.build().map_err(failed)?, filter, file, rows: 0 };
        while let Some(batch) = reader.next()? {
            let at = batch.seq.values().partition_point(|&seq| (seq as u64) < from);
            if at == batch.rows {
                continue;
            }
            let site = Arc::clone(&shared.site);
            let names = Names { vendor, kind, site, sources: Vec::new(), last: 0, rows: 0 };
            let segment = segment.clone();
            return Ok(Some(Self { shared, segment, reader, batch, at, names, bytes: BytesMut::new() }));
        }
        Ok(None)
    }

    pub(super) fn seq(&self) -> u64 {
        self.batch.seq.value(self.at) as u64
    }

    pub(super) fn elapsed_ns(&self) -> u64 {
        self.batch.elapsed_ns.value(self.at) as u64
    }

    pub(super) fn segment(&self) -> &SegmentRow {
        &self.segment
    }

    /// How many of its rows were read, wanted or not.
    pub(super) fn rows_read(&self) -> u64 {
        self.reader.rows
    }

    /// Moves to the next row; false at the end.
    pub(super) fn advance(&mut self) -> Result<bool, ArchiveError> {
        self.at += 1;
        if self.at == self.batch.rows {
            let Some(batch) = self.reader.next()? else { return Ok(false) };
            self.batch = batch;
            self.at = 0;
        }
        Ok(true)
    }

    /// The current row.
    pub(super) fn row(&mut self) -> Result<Row, ArchiveError> {
        let (batch, at) = (&self.batch, self.at);
        self.names.meet(batch.source.value(at));
        let names = &self.names;
        let payload = batch.payload.as_ref().and_then(|payload| blob(payload, at));
        let (channel, clear) = (batch.channel.value(at), blob(&batch.clear, at));
        let device_id = text(&batch.device_id, at);
        let parts = [Some(channel.as_bytes()), device_id.map(str::as_bytes), payload, clear];
        let length = parts.iter().flatten().map(|part| part.len()).sum();
        if self.bytes.capacity() < length {
            self.bytes = BytesMut::with_capacity(SHARED_BYTES.max(length));
        }
        let [channel, device_id, payload, clear] = parts.map(|part| {
            self.bytes.extend_from_slice(part?);
            Some(self.bytes.split().freeze())
        });
        // They were text before.
        let owned = |bytes: Bytes| ByteString::try_from(bytes).unwrap_or_default();
        Ok(Row {
            vendor: Arc::clone(&names.vendor),
            kind: Arc::clone(&names.kind),
            site: Arc::clone(&names.site),
            session_id: self.shared.session_id,
            source: Arc::clone(&names.sources[names.last]),
            connection: batch.connection.value(at),
            seq: batch.seq.value(at) as u64,
            received_at_us: batch.received_at.value(at),
            elapsed_ns: batch.elapsed_ns.value(at) as u64,
            channel: channel.map(owned).unwrap_or_default(),
            device_id: device_id.map(owned),
            event_at_us: batch.event_at.is_valid(at).then(|| batch.event_at.value(at)),
            mqtt: batch.qos.is_valid(at).then(|| Mqtt {
                qos: batch.qos.value(at) as u8,
                retain: batch.retain.is_valid(at) && batch.retain.value(at),
                dup: batch.dup.is_valid(at) && batch.dup.value(at),
            }),
            is_binary: batch.is_binary.value(at),
            headers: batch.headers.is_valid(at).then(|| headers(&batch.headers, at)).flatten(),
            duplicate_of: batch.duplicate_of.is_valid(at).then(|| batch.duplicate_of.value(at) as u64),
            payload: payload.unwrap_or_default(),
            clear,
            decode_error: text(&batch.decode_error, at).map(ByteString::from),
        })
    }
}

impl Names {
    /// Gets ready for the next row, which is of `source`.
    fn meet(&mut self, source: &str) {
        if self.rows == SHARED_ROWS {
            let again = |name: &Arc<str>| Arc::from(&**name);
            (self.vendor, self.kind) = (again(&self.vendor), again(&self.kind));
            (self.site, self.rows) = (again(&self.site), 0);
            self.sources.clear();
        }
        self.rows += 1;
        if self.sources.get(self.last).is_none_or(|last| **last != *source) {
            let met = self.sources.iter().position(|met| **met == *source);
            self.last = met.unwrap_or_else(|| {
                self.sources.push(source.into());
                self.sources.len() - 1
            });
        }
    }
}

impl Reader {
    /// The next batch that has rows; none at the end.
    fn next(&mut self) -> Result<Option<Batch>, ArchiveError> {
        loop {
            let failed = |source| self.file.failed(source);
            // Of a reel, whoever made the file has made its checksums as well.
            let read = caught(|| self.batches.next()).map_err(|what| self.file.damaged(what))?;
            let Some(batch) = read else { return Ok(None) };
            let mut batch = batch.map_err(|e| failed(e.into()))?;
            self.rows += batch.num_rows() as u64;
            if let Some(filter) = &self.filter {
                batch = filter.apply(&batch).map_err(|e| failed(e.into()))?;
            }
            let batch = Batch::of(&batch)
                .ok_or_else(|| self.file.damaged("its columns are not those of the envelope".to_owned()))?;
            if batch.rows > 0 {
                return Ok(Some(batch));
            }
        }
    }
}

fn text(column: &StringArray, at: usize) -> Option<&str> {
    column.is_valid(at).then(|| column.value(at))
}

fn blob(column: &BinaryArray, at: usize) -> Option<&[u8]> {
    column.is_valid(at).then(|| column.value(at))
}

fn headers(column: &MapArray, at: usize) -> Option<Headers> {
    let entries = column.value(at);
    let keys = entries.columns().first()?.as_string_opt::<i32>()?;
    let values = entries.columns().get(1)?.as_string_opt::<i32>()?;
    Some(keys.iter().zip(values).filter_map(|(k, v)| Some((k?.to_owned(), v?.to_owned()))).collect())
}

impl Batch {
    fn of(batch: &RecordBatch) -> Option<Self> {
        let column = |name: &str| batch.column_by_name(name);
        let text = |name: &str| column(name)?.as_string_opt::<i32>().cloned();
        let number = |name: &str| column(name)?.as_primitive_opt::<Int64Type>().cloned();
        let time = |name: &str| column(name)?.as_primitive_opt::<TimestampMicrosecondType>().cloned();
        let flag = |name: &str| column(name)?.as_boolean_opt().cloned();
        let blobs = |name: &str| column(name)?.as_binary_opt::<i32>().cloned();
        Some(Self {
            rows: batch.num_rows(),
            source: text("source")?,
            connection: column("connection")?.as_primitive_opt::<Int32Type>()?.clone(),
            seq: number("seq")?,
            received_at: time("received_at")?,
            elapsed_ns: number("elapsed_ns")?,
            channel: text("channel")?,
            device_id: text("device_id")?,
            event_at: time("event_at")?,
            qos: column("qos")?.as_primitive_opt::<Int8Type>()?.clone(),
            retain: flag("retain")?,
            dup: flag("dup")?,
            is_binary: flag("is_binary")?,
            headers: column("headers")?.as_map_opt()?.clone(),
            duplicate_of: number("duplicate_of")?,
            payload: match column(PAYLOAD) {
                Some(_) => Some(blobs(PAYLOAD)?),
                None => None,
            },
            clear: blobs("clear")?,
            decode_error: text("decode_error")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shared_by_some_rows_and_not_by_all() {
        let [vendor, kind, site] = ["v", "k", "s"].map(Arc::from);
        let mut names = Names { vendor, kind, site, sources: Vec::new(), last: 0, rows: 0 };
        let met: Vec<(Arc<str>, Arc<str>)> = (0..3 * SHARED_ROWS)
            .map(|n| {
                let source = ["a", "b", "b"][n % 3];
                names.meet(source);
                assert_eq!([&*names.vendor, &*names.kind, &*names.site], ["v", "k", "s"]);
                assert_eq!(*names.sources[names.last], *source);
                (Arc::clone(&names.vendor), Arc::clone(&names.sources[names.last]))
            })
            .collect();
        let are_shared =
            |a: usize, b: usize| [Arc::ptr_eq(&met[a].0, &met[b].0), Arc::ptr_eq(&met[a].1, &met[b].1)];
        assert_eq!(are_shared(0, 3), [true, true]);
        assert_eq!(are_shared(0, 1), [true, false]);
        assert_eq!(are_shared(0, 3 * SHARED_ROWS - 3), [false, false]);
    }
}
