//! Segments being copied: the rows of several, merged in the order of `seq`.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use crate::archive::Archive;
use crate::archive::blocks::CheckedFile;
use crate::archive::encoding::{COLUMNS_KEY, Effort};
use crate::archive::error::ArchiveError;
use crate::archive::manifest::ManifestFile;
use crate::archive::redecode::STAMP;

/// A batch holds at most this many rows, and about this many bytes of payload.
const BATCH_ROWS: u64 = 8192;
const BATCH_BYTES: u64 = 4 * 1024 * 1024;

/// The columns of a segment, as its own file has them.
pub(in crate::archive) fn schema_of(
    archive: &Archive,
    file: &ManifestFile,
) -> Result<SchemaRef, ArchiveError> {
    let schema = open(archive, file)?.1.schema().as_ref().clone();
    // What else the file says of itself comes with its schema, and would stand in the next one twice.
    Ok(Arc::new(schema.with_metadata(HashMap::new())))
}

/// By what a segment's columns were derived, if it says so.
pub(in crate::archive) fn stamp_of(
    archive: &Archive,
    file: &ManifestFile,
) -> Result<Option<String>, ArchiveError> {
    let key = format!("telereel.{STAMP}");
    Ok(key_values(archive, file)?.into_iter().find(|(known, _)| *known == key).map(|(_, value)| value))
}

/// How a segment was written: only to stay with its columns described.
pub(in crate::archive) fn effort_of(archive: &Archive, file: &ManifestFile) -> Result<Effort, ArchiveError> {
    let is_kept = key_values(archive, file)?.iter().any(|(key, _)| key == COLUMNS_KEY);
    Ok(if is_kept { Effort::Keep } else { Effort::Seal })
}

/// What a segment says of itself.
pub(in crate::archive) fn key_values(
    archive: &Archive,
    file: &ManifestFile,
) -> Result<Vec<(String, String)>, ArchiveError> {
    let (_, builder) = open(archive, file)?;
    let pairs = builder.metadata().file_metadata().key_value_metadata().into_iter().flatten();
    Ok(pairs.filter_map(|pair| Some((pair.key.clone(), pair.value.clone()?))).collect())
}

/// Tells `each` the devices of a segment, those of rows that follow one another once.
pub(in crate::archive) fn device_ids(
    archive: &Archive,
    file: &ManifestFile,
    each: &mut dyn FnMut(&str),
) -> Result<(), ArchiveError> {
    let (file, builder) = open(archive, file)?;
    let failed = |source| file.failed(source);
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["device_id"]);
    for batch in builder.with_projection(mask).with_batch_size(65_536).build().map_err(failed)? {
        let batch = batch.map_err(|error| failed(error.into()))?;
        let Some(devices) = batch.columns().first().and_then(|column| column.as_string_opt::<i32>()) else {
            continue;
        };
        let mut last = None;
        for device in devices.iter().flatten() {
            if last != Some(device) {
                each(device);
                last = Some(device);
            }
        }
    }
    Ok(())
}

/// Rows of segments of one session, in the order of `seq`. Only those whose turn it is are open.
pub(in crate::archive) struct Merged<'a> {
    archive: &'a Archive,
    /// None: all of them.
    columns: Option<&'a [&'a str]>,
    /// The earliest first.
    unopened: VecDeque<ManifestFile>,
    open: Vec<Input>,
}

struct Input {
    file: CheckedFile,
    batches: ParquetRecordBatchReader,
    batch: RecordBatch,
    seq: Int64Array,
    at: usize,
}

impl<'a> Merged<'a> {
    pub(in crate::archive) fn new(
        archive: &'a Archive,
        files: &[ManifestFile],
        columns: Option<&'a [&'a str]>,
    ) -> Self {
        let mut unopened = files.to_vec();
        unopened.sort_by_key(|file| file.seq_min);
        Self { archive, columns, unopened: unopened.into(), open: Vec::new() }
    }

    /// The next rows, all of one segment; none at the end.
    pub(in crate::archive) fn next(&mut self) -> Result<Option<RecordBatch>, ArchiveError> {
        loop {
            let first = (0..self.open.len()).min_by_key(|&at| self.open[at].seq());
            let seq = first.map(|at| self.open[at].seq());
            if self.unopened.front().is_some_and(|file| seq.is_none_or(|seq| file.seq_min as i64 <= seq)) {
                let Some(file) = self.unopened.pop_front() else { continue };
                self.open.extend(Input::open(self.archive, &file, self.columns)?);
                continue;
            }
            let Some(at) = first else { return Ok(None) };
            let others =
                (0..self.open.len()).filter(|&other| other != at).map(|other| self.open[other].seq());
            let unopened = self.unopened.front().map(|file| file.seq_min as i64);
            let until = others.chain(unopened).min();
            let input = &mut self.open[at];
            let rows = input.take(until);
            if input.at == input.batch.num_rows() && !input.load()? {
                self.open.swap_remove(at);
            }
            return Ok(Some(rows));
        }
    }
}

impl Input {
    /// Opens a segment; none if it has no rows.
    fn open(
        archive: &Archive,
        named: &ManifestFile,
        columns: Option<&[&str]>,
    ) -> Result<Option<Self>, ArchiveError> {
        let row_bytes = (named.payload_bytes / named.rows.max(1)).max(1);
        let rows = (BATCH_BYTES / row_bytes).clamp(16, BATCH_ROWS) as usize;
        let (file, mut builder) = open(archive, named)?;
        if let Some(columns) = columns {
            let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
            builder = builder.with_projection(mask);
        }
        let batches = builder.with_batch_size(rows).build().map_err(|error| file.failed(error))?;
        let batch = RecordBatch::new_empty(arrow::record_batch::RecordBatchReader::schema(&batches));
        let seq = Int64Array::from_iter_values([]);
        let mut input = Self { file, batches, batch, seq, at: 0 };
        Ok(input.load()?.then_some(input))
    }

    fn seq(&self) -> i64 {
        self.seq.value(self.at)
    }

    /// The rows of the batch from here on whose `seq` is less than `until`; at least one.
    fn take(&mut self, until: Option<i64>) -> RecordBatch {
        let left = &self.seq.values()[self.at..];
        let rows = until.map_or(left.len(), |until| left.partition_point(|&seq| seq < until)).max(1);
        let taken = self.batch.slice(self.at, rows);
        self.at += rows;
        taken
    }

    /// The next batch that has rows; false at the end.
    fn load(&mut self) -> Result<bool, ArchiveError> {
        for batch in &mut self.batches {
            let batch = batch.map_err(|error| self.file.failed(error.into()))?;
            if batch.num_rows() == 0 {
                continue;
            }
            let seq = batch.column_by_name("seq").and_then(|column| column.as_primitive_opt::<Int64Type>());
            let seq = seq.filter(|seq| seq.null_count() == 0).cloned();
            self.seq = seq.ok_or_else(|| self.file.damaged("it has no column `seq`".to_owned()))?;
            (self.batch, self.at) = (batch, 0);
            return Ok(true);
        }
        Ok(false)
    }
}

/// Nothing is read of it that is not what its manifest tells of.
fn open(
    archive: &Archive,
    named: &ManifestFile,
) -> Result<(CheckedFile, ParquetRecordBatchReaderBuilder<CheckedFile>), ArchiveError> {
    let file = CheckedFile::open(&archive.root().join(&named.path), named)?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file.clone());
    Ok((file.clone(), builder.map_err(|error| file.failed(error))?))
}
