//! A new segment in the making, and what its manifest will tell of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, new_null_array};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Int64Type, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;

use crate::archive::Archive;
use crate::archive::encoding::{Effort, writer_options};
use crate::archive::error::ArchiveError;
use crate::archive::manifest::{ManifestFile, ManifestSource};
use crate::archive::segment::{FinishedSegment, Naming};
use crate::archive::writers::{NewFile, SegmentFile, WrittenFile};

/// Rows are written when there are as many; runs of a row or two would cost too much each.
const WAITING_ROWS: usize = 8192;

/// Or when their payloads are as large.
const WAITING_PAYLOAD_BYTES: u64 = 4 * 1024 * 1024;

pub(super) struct Output {
    naming: Naming,
    tmp: PathBuf,
    schema: SchemaRef,
    file: SegmentFile,
    row_group_bytes: usize,
    waiting: Vec<RecordBatch>,
    waiting_rows: usize,
    /// Of the rows that were written.
    written_payload_bytes: u64,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    rows: u64,
    payload_bytes: u64,
    seq: Option<(u64, u64)>,
    elapsed_ns: Option<(u64, u64)>,
    received_us: Option<(i64, i64)>,
    sources: BTreeMap<String, ManifestSource>,
}

/// A column of a type that describes what lies within it in these words: an early version had fewer.
pub(in crate::archive) fn described_as(column: &ArrayRef, as_in: &DataType) -> Result<ArrayRef, ArrowError> {
    let differs_in_words = column.data_type() != as_in && column.data_type().equals_datatype(as_in);
    if differs_in_words { cast(column, as_in) } else { Ok(Arc::clone(column)) }
}

impl Output {
    pub(super) fn create(
        archive: &Archive,
        naming: Naming,
        tmp: PathBuf,
        schema: SchemaRef,
        (effort, row_group_bytes): (Effort, usize),
    ) -> Result<Self, ArchiveError> {
        let file = SegmentFile::create(&*archive.disk, new_file(&naming, tmp.clone(), &schema, effort))?;
        Ok(Self::of(file, naming, tmp, schema, row_group_bytes))
    }

    /// One that is only measured.
    pub(super) fn nowhere(
        naming: Naming,
        schema: SchemaRef,
        (effort, row_group_bytes): (Effort, usize),
    ) -> Result<Self, ArchiveError> {
        let file = SegmentFile::nowhere(new_file(&naming, PathBuf::new(), &schema, effort))?;
        Ok(Self::of(file, naming, PathBuf::new(), schema, row_group_bytes))
    }

    fn of(
        file: SegmentFile,
        naming: Naming,
        tmp: PathBuf,
        schema: SchemaRef,
        row_group_bytes: usize,
    ) -> Self {
        Self {
            naming,
            tmp,
            schema,
            file,
            row_group_bytes,
            waiting: Vec::new(),
            waiting_rows: 0,
            written_payload_bytes: 0,
            tally: Tally::default(),
        }
    }

    /// Takes rows of any schema whose columns are among those of the file; what they lack is null.
    pub(super) fn push(&mut self, rows: &RecordBatch) -> Result<(), ArchiveError> {
        let column = |field: &arrow::datatypes::FieldRef| match rows.column_by_name(field.name()) {
            Some(known) => described_as(known, field.data_type()),
            None => Ok(new_null_array(field.data_type(), rows.num_rows())),
        };
        let columns: Result<Vec<ArrayRef>, ArrowError> = self.schema.fields().iter().map(column).collect();
        let rows = columns.and_then(|columns| RecordBatch::try_new(Arc::clone(&self.schema), columns));
        let rows = rows.map_err(|e| self.failed(e))?;
        self.tally.add(&rows).ok_or_else(|| ArchiveError::DamagedSegment {
            path: PathBuf::from(&self.naming.path),
            what: "a column of the envelope is missing or has another type".into(),
        })?;
        self.waiting_rows += rows.num_rows();
        self.waiting.push(rows);
        let waiting_bytes = self.tally.payload_bytes - self.written_payload_bytes;
        let is_enough = self.waiting_rows >= WAITING_ROWS || waiting_bytes >= WAITING_PAYLOAD_BYTES;
        if is_enough { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), ArchiveError> {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_rows = 0;
        self.written_payload_bytes = self.tally.payload_bytes;
        match &waiting[..] {
            [] => Ok(()),
            [one] => self.file.write(one, self.row_group_bytes),
            several => {
                let rows = concat_batches(&self.schema, several).map_err(|e| self.failed(e))?;
                self.file.write(&rows, self.row_group_bytes)
            }
        }
    }

    /// Completes and syncs the file; none, and no file, if it has no rows.
    pub(super) fn finish(mut self) -> Result<Option<FinishedSegment>, ArchiveError> {
        self.write()?;
        let written = self.file.finish()?;
        if self.tally.rows == 0 {
            return Ok(None);
        }
        let file = self.tally.into_file(self.naming, written);
        Ok(Some(FinishedSegment { tmp: self.tmp, file }))
    }

    fn failed(&self, source: ArrowError) -> ArchiveError {
        ArchiveError::WriteSegment { path: PathBuf::from(&self.naming.path), source: source.into() }
    }
}

fn new_file(naming: &Naming, tmp: PathBuf, schema: &SchemaRef, effort: Effort) -> NewFile {
    let options = writer_options(schema, naming.pairs(), effort);
    NewFile { tmp, path: PathBuf::from(&naming.path), schema: Arc::clone(schema), options }
}

impl Tally {
    fn add(&mut self, rows: &RecordBatch) -> Option<()> {
        let sources = rows.column_by_name("source")?.as_string_opt::<i32>()?;
        let seq = rows.column_by_name("seq")?.as_primitive_opt::<Int64Type>()?.values();
        let elapsed = rows.column_by_name("elapsed_ns")?.as_primitive_opt::<Int64Type>()?.values();
        let received = rows.column_by_name("received_at")?;
        let received = received.as_primitive_opt::<TimestampMicrosecondType>()?.values();
        let payload = rows.column_by_name("payload")?.as_binary_opt::<i32>()?;
        let duplicate_of = rows.column_by_name("duplicate_of")?;
        let decode_error = rows.column_by_name("decode_error")?;
        for at in 0..rows.num_rows() {
            let payload_bytes = payload.value(at).len() as u64;
            self.rows += 1;
            self.payload_bytes += payload_bytes;
            let source = sources.value(at);
            if !self.sources.contains_key(source) {
                let none = ManifestSource {
                    name: source.to_owned(),
                    rows: 0,
                    payload_bytes: 0,
                    duplicates: 0,
                    decode_errors: 0,
                };
                self.sources.insert(source.to_owned(), none);
            }
            let of_source = self.sources.get_mut(source)?;
            of_source.rows += 1;
            of_source.payload_bytes += payload_bytes;
            of_source.duplicates += u64::from(duplicate_of.is_valid(at));
            of_source.decode_errors += u64::from(decode_error.is_valid(at));
        }
        let (first, last) = (*seq.first()? as u64, *seq.last()? as u64);
        self.seq = Some((self.seq.map_or(first, |known| known.0), last));
        let (first, last) = (*elapsed.first()? as u64, *elapsed.last()? as u64);
        self.elapsed_ns = Some((self.elapsed_ns.map_or(first, |known| known.0), last));
        let (least, most) = (*received.iter().min()?, *received.iter().max()?);
        let known = self.received_us.unwrap_or((least, most));
        self.received_us = Some((known.0.min(least), known.1.max(most)));
        Some(())
    }

    fn into_file(self, naming: Naming, written: WrittenFile) -> ManifestFile {
        let (seq_min, seq_max) = self.seq.unwrap_or_default();
        let (elapsed_min_ns, elapsed_max_ns) = self.elapsed_ns.unwrap_or_default();
        let (received_min_us, received_max_us) = self.received_us.unwrap_or_default();
        ManifestFile {
            path: naming.path,
            vendor: naming.vendor,
            kind: naming.kind,
            date: naming.date,
            rows: self.rows,
            seq_min,
            seq_max,
            elapsed_min_ns,
            elapsed_max_ns,
            received_min_us,
            received_max_us,
            bytes: written.bytes,
            payload_bytes: self.payload_bytes,
            blake3: written.blake3,
            blocks: Some(written.blocks),
            sources: self.sources.into_values().collect(),
        }
    }
}
