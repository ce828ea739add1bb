//! One self-contained Parquet file: the envelope as in the archive, then `vendor`, `kind` and `date`, then the typed
//! columns of all kinds that are in it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Builder, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;

use super::error::ExchangeError;
use super::export::RowWriter;
use super::typed::Typed;
use crate::archive::{RowColumns, envelope_fields};
use crate::message::Row;

/// A batch holds about this many bytes of payload at most.
const BATCH_BYTES: usize = 4 << 20;

/// As in the archive: readers skip and parallelise by row group.
const ROW_GROUP_ROWS: usize = 131_072;

/// A row group in the making holds this at most.
const ROW_GROUP_BYTES: usize = 64 << 20;

const DAY_US: i64 = 86_400_000_000;

pub(super) struct ParquetFile<W: Write + Send> {
    path: PathBuf,
    schema: SchemaRef,
    writer: ArrowWriter<W>,
    envelope: RowColumns,
    vendor: StringBuilder,
    kind: StringBuilder,
    date: Date32Builder,
    typed: Typed,
}

impl<W: Write + Send> ParquetFile<W> {
    pub(super) fn new(out: W, path: &Path, typed: Typed) -> Result<Self, ExchangeError> {
        let mut fields = envelope_fields();
        fields.push(Field::new("vendor", DataType::Utf8, false));
        fields.push(Field::new("kind", DataType::Utf8, false));
        fields.push(Field::new("date", DataType::Date32, false));
        fields.extend(typed.fields().iter().cloned());
        let schema = Arc::new(Schema::new(fields));
        let options = ArrowWriterOptions::new().with_properties(properties()).with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(out, Arc::clone(&schema), options)
            .map_err(|source| ExchangeError::Parquet { path: path.to_owned(), source })?;
        Ok(Self {
            path: path.to_owned(),
            schema,
            writer,
            envelope: RowColumns::default(),
            vendor: StringBuilder::new(),
            kind: StringBuilder::new(),
            date: Date32Builder::new(),
            typed,
        })
    }

    fn write_batch(&mut self) -> Result<(), ParquetError> {
        let mut columns = self.envelope.finish()?;
        let own: [ArrayRef; 3] =
            [Arc::new(self.vendor.finish()), Arc::new(self.kind.finish()), Arc::new(self.date.finish())];
        columns.extend(own);
        columns.extend(self.typed.finish()?);
        self.writer.write(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?)?;
        if self.writer.memory_size() > ROW_GROUP_BYTES {
            self.writer.flush()?;
        }
        Ok(())
    }
}

impl<W: Write + Send> RowWriter for ParquetFile<W> {
    fn write(&mut self, row: &Row) -> Result<(), ExchangeError> {
        self.envelope.push(row);
        self.vendor.append_value(&row.vendor);
        self.kind.append_value(&row.kind);
        self.date.append_value(i32::try_from(row.received_at_us.div_euclid(DAY_US)).unwrap_or(0));
        self.typed.push(row);
        if self.envelope.rows() == RowColumns::BATCH_ROWS || self.envelope.bytes() > BATCH_BYTES {
            let written = self.write_batch();
            return written.map_err(|source| ExchangeError::Parquet { path: self.path.clone(), source });
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), ExchangeError> {
        let path = self.path.clone();
        let failed = |source| ExchangeError::Parquet { path, source };
        self.write_batch().and_then(|()| self.writer.close().map(drop)).map_err(failed)
    }
}

fn properties() -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("telereel version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_key_value_metadata(Some(vec![KeyValue::new("telereel.export".to_owned(), "1".to_owned())]));
    for name in ["seq", "received_at", "elapsed_ns"] {
        let path = ColumnPath::from(name);
        properties = properties
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
    }
    for name in ["payload", "clear"] {
        let path = ColumnPath::from(name);
        properties = properties
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path.clone(), Encoding::PLAIN)
            .set_column_statistics_enabled(path, EnabledStatistics::None);
    }
    properties.build()
}
