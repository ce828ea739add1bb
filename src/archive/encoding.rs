//! How a segment is written: encodings, compression, pages, and what helps readers to read little of it.
//!
//! Rows are in `seq` order, and so in order of time: a row group, and a page in it, is a stretch of time. The page
//! index and the groups' statistics on `received_at` and `seq` leave a query for an hour that hour, the Bloom filter
//! on `device_id` leaves one for a device the groups in which it spoke. Encodings are those that readers have had for
//! years; in particular no byte-stream split, which is smaller for coordinates by little and which Spark's fast
//! reader refuses.

use arrow::datatypes::{DataType, Schema};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{
    EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion,
};
use parquet::schema::types::ColumnPath;

use super::described::columns_json;

/// Readers skip and parallelise by row group; this many rows of 330 B are about 8 MiB compressed. At 50 million
/// rows a month two of them hold an hour.
const ROW_GROUP_ROWS: usize = 131_072;

/// Replay holds one page of each column of each open file: small pages keep a long replay small.
const PAGE_BYTES: usize = 256 * 1024;

/// Of payloads that are written to stay: what compression sees at once. Beyond this little is gained.
const LASTING_PAYLOAD_PAGE_BYTES: usize = 1024 * 1024;

/// Of measured values that are kept once per row group: 4,096, so that angles in tenths of a degree are among them.
const DOUBLES_DICTIONARY_BYTES: usize = 32 * 1024;

/// One in a hundred row groups is read in vain for a device that is not in it.
const BLOOM_FALSE_POSITIVES: f64 = 0.01;

/// The position of `seq` among the columns; no nested column comes before it.
const SEQ_COLUMN: i32 = 4;

/// Under which a file that is written to stay describes its columns.
pub(super) const COLUMNS_KEY: &str = "telereel.columns";

/// How much time there is to write a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effort {
    /// While recording: the sealer has to keep up with what comes in. zstd level 1.
    Seal,
    /// For years, and later: an exported file, what upkeep rewrites. zstd level 9, which takes about six times as long
    /// for payloads (some 50 MB/s on one core) and is read as fast; and the columns described in plain words. Level 19
    /// is 8 to 13 % smaller for the five vendors, and was seen to write 1,800 of Jointech's messages a second: 50 million would be hours.
    Keep,
}

impl Effort {
    fn zstd_level(self) -> ZstdLevel {
        let level = match self {
            Effort::Seal => 1,
            Effort::Keep => 9,
        };
        ZstdLevel::try_new(level).unwrap_or_default()
    }

    fn payload_page_bytes(self) -> usize {
        match self {
            Effort::Seal => PAGE_BYTES,
            Effort::Keep => LASTING_PAYLOAD_PAGE_BYTES,
        }
    }
}

/// How a segment is written. `metadata` goes into the file's key-value pairs.
pub(super) fn writer_options(
    schema: &Schema,
    metadata: Vec<(&str, String)>,
    effort: Effort,
) -> ArrowWriterOptions {
    let mut pairs: Vec<_> =
        metadata.into_iter().map(|(k, v)| KeyValue::new(format!("telereel.{k}"), v)).collect();
    if effort == Effort::Keep {
        pairs.push(KeyValue::new(COLUMNS_KEY.to_owned(), columns_json(schema)));
    }
    let sorted = SortingColumn { column_idx: SEQ_COLUMN, descending: false, nulls_first: false };
    let properties = WriterProperties::builder()
        .set_created_by(concat!("telereel version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(Compression::ZSTD(effort.zstd_level()))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_size_limit(PAGE_BYTES)
        .set_sorting_columns(Some(vec![sorted]))
        .set_key_value_metadata(Some(pairs));
    let properties = typed_columns(envelope_columns(properties, effort), schema);
    ArrowWriterOptions::new().with_properties(properties.build())
}

fn envelope_columns(mut properties: WriterPropertiesBuilder, effort: Effort) -> WriterPropertiesBuilder {
    // Slowly rising numbers that are never null: a few bits each.
    for name in ["seq", "received_at", "elapsed_ns"] {
        properties = delta(properties, name);
    }
    // Each value is its own: a dictionary would only cost time, and nobody looks for a payload by its
    // smallest and largest.
    for name in ["payload", "clear"] {
        let path = ColumnPath::from(name);
        properties = properties
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path.clone(), Encoding::PLAIN)
            .set_column_data_page_size_limit(path.clone(), effort.payload_page_bytes())
            .set_column_statistics_enabled(path, EnabledStatistics::None);
    }
    for name in ["key", "value"] {
        let path = ColumnPath::from(vec!["headers".to_owned(), "key_value".to_owned(), name.to_owned()]);
        properties = properties.set_column_statistics_enabled(path, EnabledStatistics::None);
    }
    // Devices' ids are rarely in any order, so that the smallest and the largest of a group exclude nobody. The
    // filter is made for as many devices as a group has rows, and folded to those that there are.
    let device = ColumnPath::from("device_id");
    properties
        .set_column_bloom_filter_enabled(device.clone(), true)
        .set_column_bloom_filter_fpp(device, BLOOM_FALSE_POSITIVES)
        .set_bloom_filter_for_dictionary_encoded_chunks(true)
}

fn typed_columns(mut properties: WriterPropertiesBuilder, schema: &Schema) -> WriterPropertiesBuilder {
    for field in schema.fields().iter().filter(|field| field.is_nullable()) {
        properties = match field.data_type() {
            // The vendor's times rise about as slowly as ours.
            DataType::Timestamp(..) => delta(properties, field.name()),
            // A few hundred values (a speed in km/h, a charge in percent) or thousands, or else hardly any twice
            // (a longitude). The limit finds out soon; the rest is then plain.
            DataType::Float64 => {
                let path = ColumnPath::from(field.name().as_str());
                properties
                    .set_column_dictionary_page_size_limit(path.clone(), DOUBLES_DICTIONARY_BYTES)
                    .set_column_encoding(path, Encoding::PLAIN)
            }
            _ => properties,
        };
    }
    properties
}

fn delta(properties: WriterPropertiesBuilder, name: &str) -> WriterPropertiesBuilder {
    let path = ColumnPath::from(name);
    properties
        .set_column_dictionary_enabled(path.clone(), false)
        .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED)
}
