//! One segment being read: a small batch at a time.
//!
//! Rows own their bytes. Were they slices of the batch, one row that waits in a queue (the one of its
//! device among a thousand) would keep a whole batch in memory.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array, AsArray, BinaryArray, BooleanArray, Int8Array, Int32Array, Int64Array, MapArray, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Int8Type, Int32Type, Int64Type, TimestampMicrosecondType};
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
    RowSelector,
};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, RowGroupMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::Statistics;

use super::session::Shared;
use crate::archive::error::{ArchiveError, IoContext};
use crate::archive::filter::{Folders, Predicate, SegmentFilter};
use crate::archive::schema::envelope_fields;
use crate::index::SegmentRow;
use crate::message::{Headers, Mqtt, Row};

/// A batch holds at most this many rows, and about this many bytes of payload.
const BATCH_ROWS: u64 = 1024;
const BATCH_BYTES: u64 = 1024 * 1024;

/// The column that a scan without payloads leaves out.
const PAYLOAD: &str = "payload";

#[derive(Debug)]
pub(super) struct Cursor {
    path: PathBuf,
    vendor: Arc<str>,
    kind: Arc<str>,
    shared: Arc<Shared>,
    reader: Reader,
    batch: Batch,
    at: usize,
    /// The source of the row before: most often this row's as well.
    source: Arc<str>,
}

struct Reader {
    batches: ParquetRecordBatchReader,
    filter: Option<SegmentFilter>,
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
        path: PathBuf,
        segment: &SegmentRow,
        shared: Arc<Shared>,
        from: u64,
        wanted: &Wanted,
    ) -> Result<Option<Self>, ArchiveError> {
        let failed = |source| ArchiveError::ReadSegment { path: path.clone(), source };
        let file = File::open(&path).doing("open", &path)?;
        // Where it begins inside, the index of its pages tells which of them are before that.
        let policy = if from > segment.seq_min { PageIndexPolicy::Optional } else { PageIndexPolicy::Skip };
        let options = ArrowReaderOptions::new().with_page_index_policy(policy).with_skip_arrow_metadata(true);
        let metadata = ArrowReaderMetadata::load(&file, options).map_err(failed)?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
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
        let columns =
            envelope.iter().map(|f| f.name().as_str()).filter(|&n| wanted.with_payloads || n != PAYLOAD);
        let columns = columns.chain(wanted.predicate.iter().flat_map(Predicate::columns));
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns);
        let groups = builder.metadata().row_groups();
        let rows_of = |group: &usize| usize::try_from(groups[*group].num_rows()).unwrap_or(0);
        let wanted_groups: Vec<usize> =
            (0..groups.len()).filter(|&i| !ends_before(&groups[i], from)).collect();
        let rows_left: usize = wanted_groups.iter().map(rows_of).sum();
        let passed_over =
            wanted_groups.first().map_or(0, |&first| rows_before(builder.metadata(), first, from));
        let row_bytes = (segment.payload_bytes / segment.rows.max(1)).max(1);
        let rows = (BATCH_BYTES / row_bytes).clamp(16, BATCH_ROWS) as usize;
        let mut builder = builder.with_projection(mask).with_row_groups(wanted_groups).with_batch_size(rows);
        if passed_over > 0 {
            let rest = RowSelector::select(rows_left.saturating_sub(passed_over));
            builder = builder.with_row_selection(vec![RowSelector::skip(passed_over), rest].into());
        }
        let mut reader = Reader { batches: builder.build().map_err(failed)?, filter };
        while let Some(batch) = reader.next(&path)? {
            let at = batch.seq.values().partition_point(|&seq| (seq as u64) < from);
            if at == batch.rows {
                continue;
            }
            return Ok(Some(Self {
                vendor,
                kind,
                source: shared.sources.first().cloned().unwrap_or_else(|| "".into()),
                batch,
                at,
                path,
                shared,
                reader,
            }));
        }
        Ok(None)
    }

    pub(super) fn seq(&self) -> u64 {
        self.batch.seq.value(self.at) as u64
    }

    pub(super) fn elapsed_ns(&self) -> u64 {
        self.batch.elapsed_ns.value(self.at) as u64
    }

    /// Moves to the next row; false at the end.
    pub(super) fn advance(&mut self) -> Result<bool, ArchiveError> {
        self.at += 1;
        if self.at == self.batch.rows {
            let Some(batch) = self.reader.next(&self.path)? else { return Ok(false) };
            self.batch = batch;
            self.at = 0;
        }
        Ok(true)
    }

    /// The current row.
    pub(super) fn row(&mut self) -> Result<Row, ArchiveError> {
        let (batch, at) = (&self.batch, self.at);
        let source = batch.source.value(at);
        if *self.source != *source {
            let known = self.shared.sources.iter().find(|known| ***known == *source);
            self.source = known.cloned().unwrap_or_else(|| source.into());
        }
        let payload = batch.payload.as_ref().and_then(|payload| blob(payload, at));
        let (channel, clear) = (batch.channel.value(at), blob(&batch.clear, at));
        let device_id = text(&batch.device_id, at);
        let parts = [Some(channel.as_bytes()), device_id.map(str::as_bytes), payload, clear];
        // One allocation for all of them.
        let mut bytes = BytesMut::with_capacity(parts.iter().flatten().map(|part| part.len()).sum());
        let [channel, device_id, payload, clear] = parts.map(|part| {
            bytes.extend_from_slice(part?);
            Some(bytes.split().freeze())
        });
        // They were text before.
        let owned = |bytes: Bytes| ByteString::try_from(bytes).unwrap_or_default();
        Ok(Row {
            vendor: Arc::clone(&self.vendor),
            kind: Arc::clone(&self.kind),
            site: Arc::clone(&self.shared.site),
            session_id: self.shared.session_id,
            source: Arc::clone(&self.source),
            connection: batch.connection.value(at),
            seq: self.seq(),
            received_at_us: batch.received_at.value(at),
            elapsed_ns: self.elapsed_ns(),
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

impl Reader {
    /// The next batch that has rows; none at the end.
    fn next(&mut self, path: &Path) -> Result<Option<Batch>, ArchiveError> {
        for batch in &mut self.batches {
            let failed = |source| ArchiveError::ReadSegment { path: path.to_owned(), source };
            let mut batch = batch.map_err(|e| failed(e.into()))?;
            if let Some(filter) = &self.filter {
                batch = filter.apply(&batch).map_err(|e| failed(e.into()))?;
            }
            let batch = Batch::of(&batch).ok_or_else(|| ArchiveError::DamagedSegment {
                path: path.to_owned(),
                what: "its columns are not those of the envelope".into(),
            })?;
            if batch.rows > 0 {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }
}

/// Whether all rows of a group come before `from`, by its statistics.
fn ends_before(group: &RowGroupMetaData, from: u64) -> bool {
    let seq = group.columns().iter().find(|c| c.column_path().string() == "seq");
    match seq.and_then(|column| column.statistics()) {
        Some(Statistics::Int64(values)) => values.max_opt().is_some_and(|&max| (max as u64) < from),
        _ => false,
    }
}

/// How many rows of a group lie in pages that all come before `from`; 0 where no index tells.
fn rows_before(metadata: &ParquetMetaData, group: usize, from: u64) -> usize {
    let columns = metadata.row_group(group).columns();
    let Some(seq) = columns.iter().position(|c| c.column_path().string() == "seq") else { return 0 };
    let pages = metadata.page_index_for_row_group(group);
    let (Some(ColumnIndexMetaData::INT64(index)), Some(places)) =
        (pages.column_index(seq), pages.page_locations(seq))
    else {
        return 0;
    };
    let first = index.max_values().partition_point(|&max| (max as u64) < from);
    places.get(first).and_then(|place| usize::try_from(place.first_row_index).ok()).unwrap_or(0)
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
