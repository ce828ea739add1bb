//! The published format of a segment: columns, types, field ids, what they mean.
//!
//! The types are the plainest that Parquet has, and what readers derive from the file alone. The Arrow schema
//! that is embedded beside them (`ARROW:schema`) has the same types: it is there for the fields' metadata
//! (`description unit role codes`), which Parquet itself has no place for.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

/// Version of what lies in the archive: raised when an older telereel would misread it.
pub const FORMAT: u32 = 1;

/// The columns that every segment has, in order.
pub fn envelope_fields() -> Vec<Field> {
    let time = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    vec![
        field(
            1,
            "site",
            DataType::Utf8,
            false,
            "Where it was recorded: the name of the site, from the configuration.",
        ),
        field(2, "session_id", DataType::Utf8, false, "The recording (UUIDv7)."),
        field(3, "source", DataType::Utf8, false, "The configured connection."),
        field(
            4,
            "connection",
            DataType::Int32,
            false,
            "The n-th connection of the source in this recording, from 0; 0 for webhooks.",
        ),
        field(
            5,
            "seq",
            DataType::Int64,
            false,
            "Place in the recording, from 0; every number once over all its files.",
        ),
        field(6, "received_at", time(), false, "Wall clock at arrival."),
        field(
            7,
            "elapsed_ns",
            DataType::Int64,
            false,
            "Steady clock since the recording's start, never less than the row before: for intervals.",
        ),
        field(
            8,
            "channel",
            DataType::Utf8,
            false,
            "MQTT topic, webhook path and query, or WebSocket path; `link` for link rows.",
        ),
        field(9, "device_id", DataType::Utf8, true, "The vendor's id of the device, sensor or location."),
        field(10, "event_at", time(), true, "The time that the vendor put into the message."),
        field(11, "qos", DataType::Int8, true, "MQTT only: quality of service."),
        field(12, "retain", DataType::Boolean, true, "MQTT only: sent from what the broker retained."),
        field(13, "dup", DataType::Boolean, true, "MQTT only: marked as a repetition by its sender."),
        field(14, "is_binary", DataType::Boolean, false, "A binary WebSocket frame."),
        field(15, "headers", headers_type(), true, "Webhook headers, without secrets; names in lower case."),
        field(
            18,
            "duplicate_of",
            DataType::Int64,
            true,
            "The seq of the first delivery of the same message.",
        ),
        field(19, "payload", DataType::Binary, false, "The exact bytes that arrived."),
        field(20, "clear", DataType::Binary, true, "The decrypted content, where the vendor encrypts."),
        field(21, "decode_error", DataType::Utf8, true, "Why the kind's own columns are empty."),
    ]
}

/// The key and value fields of `headers`.
pub(super) fn header_entry_fields() -> Fields {
    Fields::from(vec![
        field(16, "key", DataType::Utf8, false, "Lower-case name of the header."),
        field(17, "value", DataType::Utf8, false, "Its value; repeats are joined by `, `."),
    ])
}

/// The entries' field of `headers`, named as the Parquet specification asks.
pub(super) fn header_entries_field() -> Arc<Field> {
    Arc::new(Field::new("key_value", DataType::Struct(header_entry_fields()), false))
}

fn headers_type() -> DataType {
    DataType::Map(header_entries_field(), false)
}

fn field(id: i32, name: &str, data_type: DataType, nullable: bool, description: &str) -> Field {
    let mut metadata = HashMap::from([
        (PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string()),
        ("description".to_owned(), description.to_owned()),
    ]);
    if name == "elapsed_ns" {
        metadata.insert("unit".to_owned(), "ns".to_owned());
    }
    Field::new(name, data_type, nullable).with_metadata(metadata)
}

/// The schema of a kind's segments: the envelope, then its typed columns.
pub(super) fn segment_schema(typed: &[Field]) -> SchemaRef {
    let mut fields = envelope_fields();
    fields.extend(typed.iter().cloned());
    Arc::new(Schema::new(fields))
}
