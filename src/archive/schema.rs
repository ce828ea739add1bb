//! The published format of a segment: columns, types, field ids, encodings.
//!
//! The Arrow schema is not embedded (`ARROW:schema`): what Parquet itself says is all there is, so that
//! every reader derives the same plain types from it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;

/// Version of what lies in the archive: raised when an older telereel would misread it.
pub const FORMAT: u32 = 1;

/// Readers skip and parallelise by row group; this many rows of 330 B are about 8 MiB compressed.
pub(super) const ROW_GROUP_ROWS: usize = 131_072;

/// Replay holds one page of each column of each open file: small pages keep a long replay small.
const PAGE_BYTES: usize = 256 * 1024;

/// Of measured values that are kept once per row group: 2,048.
const DOUBLES_DICTIONARY_BYTES: usize = 16 * 1024;

/// The position of `seq` among the columns; no nested column comes before it.
const SEQ_COLUMN: i32 = 4;

/// The columns that every segment has, in order.
pub fn envelope_fields() -> Vec<Field> {
    let time = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    vec![
        field(1, "site", DataType::Utf8, false),
        field(2, "session_id", DataType::Utf8, false),
        field(3, "source", DataType::Utf8, false),
        field(4, "connection", DataType::Int32, false),
        field(5, "seq", DataType::Int64, false),
        field(6, "received_at", time(), false),
        field(7, "elapsed_ns", DataType::Int64, false),
        field(8, "channel", DataType::Utf8, false),
        field(9, "device_id", DataType::Utf8, true),
        field(10, "event_at", time(), true),
        field(11, "qos", DataType::Int8, true),
        field(12, "retain", DataType::Boolean, true),
        field(13, "dup", DataType::Boolean, true),
        field(14, "is_binary", DataType::Boolean, false),
        field(15, "headers", headers_type(), true),
        field(18, "duplicate_of", DataType::Int64, true),
        field(19, "payload", DataType::Binary, false),
        field(20, "clear", DataType::Binary, true),
        field(21, "decode_error", DataType::Utf8, true),
    ]
}

/// The key and value fields of `headers`.
pub(super) fn header_entry_fields() -> Fields {
    Fields::from(vec![field(16, "key", DataType::Utf8, false), field(17, "value", DataType::Utf8, false)])
}

/// The entries' field of `headers`, named as the Parquet specification asks.
pub(super) fn header_entries_field() -> Arc<Field> {
    Arc::new(Field::new("key_value", DataType::Struct(header_entry_fields()), false))
}

fn headers_type() -> DataType {
    DataType::Map(header_entries_field(), false)
}

fn field(id: i32, name: &str, data_type: DataType, nullable: bool) -> Field {
    let id = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]);
    Field::new(name, data_type, nullable).with_metadata(id)
}

/// The schema of a kind's segments: the envelope, then its typed columns.
pub(super) fn segment_schema(typed: &[Field]) -> SchemaRef {
    let mut fields = envelope_fields();
    fields.extend(typed.iter().cloned());
    Arc::new(Schema::new(fields))
}

/// How a segment is written. `metadata` goes into the file's key-value pairs.
pub(super) fn writer_options(schema: &Schema, metadata: Vec<(&str, String)>) -> ArrowWriterOptions {
    let pairs = metadata.into_iter().map(|(k, v)| KeyValue::new(format!("telereel.{k}"), v)).collect();
    let sorted = SortingColumn { column_idx: SEQ_COLUMN, descending: false, nulls_first: false };
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("telereel version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_size_limit(PAGE_BYTES)
        .set_sorting_columns(Some(vec![sorted]))
        .set_key_value_metadata(Some(pairs));
    // Slowly rising numbers that are never null: a few bits each.
    for name in ["seq", "received_at", "elapsed_ns"] {
        let path = ColumnPath::from(name);
        properties = properties
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
    }
    // Each value is its own: a dictionary would only cost time, and nobody looks for a payload by its
    // smallest and largest.
    for name in ["payload", "clear"] {
        let path = ColumnPath::from(name);
        properties = properties
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path.clone(), Encoding::PLAIN)
            .set_column_statistics_enabled(path, EnabledStatistics::None);
    }
    for name in ["key", "value"] {
        let path = ColumnPath::from(vec!["headers".to_owned(), "key_value".to_owned(), name.to_owned()]);
        properties = properties.set_column_statistics_enabled(path, EnabledStatistics::None);
    }
    for field in schema.fields().iter().filter(|field| field.is_nullable()) {
        let path = ColumnPath::from(field.name().as_str());
        properties = match field.data_type() {
            // The vendor's times rise about as slowly as ours.
            DataType::Timestamp(..) => properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
            // A few hundred values at most (a speed in km/h, a charge in percent), or else hardly any twice
            // (a longitude). The limit finds out soon; the rest is then plain, which every reader has had
            // for years (byte-stream split is smaller, but Spark's fast reader refuses it).
            DataType::Float64 => properties
                .set_column_dictionary_page_size_limit(path.clone(), DOUBLES_DICTIONARY_BYTES)
                .set_column_encoding(path, Encoding::PLAIN),
            _ => properties,
        };
    }
    ArrowWriterOptions::new().with_properties(properties.build()).with_skip_arrow_metadata(true)
}
