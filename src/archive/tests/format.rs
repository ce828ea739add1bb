//! The published format, read back with the Parquet library alone.

use std::fs::File;

use parquet::arrow::parquet_to_arrow_schema;
use parquet::basic::{Encoding, LogicalType, TimeUnit, Type as PhysicalType};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::Type;

use super::support::*;
use crate::archive::verify;

/// id, name, required, physical type, logical type; as INTERFACE gives them.
fn describe(field: &Type) -> (i32, String, bool, Option<PhysicalType>, Option<LogicalType>) {
    let info = field.get_basic_info();
    let physical = field.is_primitive().then(|| field.get_physical_type());
    let logical = info.logical_type_ref().cloned();
    let required = info.repetition() == parquet::basic::Repetition::REQUIRED;
    (info.id(), info.name().to_owned(), required, physical, logical)
}

#[test]
fn the_envelope_is_as_published() {
    let dir = quick_dir();
    let (archive, ..) = sealed(dir.path(), 60);
    let files = verify::segment_files(&archive).unwrap();
    assert!(files.len() > 5);
    let time = || Some(LogicalType::timestamp(true, TimeUnit::MICROS));
    let text = || Some(LogicalType::String);
    let (bytes, int32, int64) = (PhysicalType::BYTE_ARRAY, PhysicalType::INT32, PhysicalType::INT64);
    let expected = [
        (1, "site", true, Some(bytes), text()),
        (2, "session_id", true, Some(bytes), text()),
        (3, "source", true, Some(bytes), text()),
        (4, "connection", true, Some(int32), None),
        (5, "seq", true, Some(int64), None),
        (6, "received_at", true, Some(int64), time()),
        (7, "elapsed_ns", true, Some(int64), None),
        (8, "channel", true, Some(bytes), text()),
        (9, "device_id", false, Some(bytes), text()),
        (10, "event_at", false, Some(int64), time()),
        (11, "qos", false, Some(int32), Some(LogicalType::integer(8, true))),
        (12, "retain", false, Some(PhysicalType::BOOLEAN), None),
        (13, "dup", false, Some(PhysicalType::BOOLEAN), None),
        (14, "is_binary", true, Some(PhysicalType::BOOLEAN), None),
        (15, "headers", false, None, Some(LogicalType::Map)),
        (18, "duplicate_of", false, Some(int64), None),
        (19, "payload", true, Some(bytes), None),
        (20, "clear", false, Some(bytes), None),
        (21, "decode_error", false, Some(bytes), text()),
    ];
    for path in files {
        let reader = SerializedFileReader::new(File::open(dir.path().join(&path)).unwrap()).unwrap();
        let metadata = reader.metadata().file_metadata().clone();
        let fields = metadata.schema_descr().root_schema().get_fields().to_vec();
        for (field, (id, name, required, physical, logical)) in fields.iter().zip(expected.clone()) {
            assert_eq!(describe(field), (id, name.to_owned(), required, physical, logical), "{path:?}");
        }
        assert!(fields[19..].iter().all(|f| f.get_basic_info().id() >= 100), "{path:?}");
        let entries = &fields[14].get_fields()[0];
        let inner: Vec<_> = entries.get_fields().iter().map(|f| (describe(f).0, describe(f).1)).collect();
        assert_eq!(
            (entries.name(), inner),
            ("key_value", vec![(16, "key".to_owned()), (17, "value".to_owned())])
        );

        let pairs = metadata.key_value_metadata().unwrap();
        let pair = |key: &str| pairs.iter().find(|p| p.key == key).and_then(|p| p.value.clone()).unwrap();
        assert_eq!(pair("telereel.format"), "1");
        assert!(path.to_string_lossy().contains(&format!(
            "vendor={}/kind={}/date={}/",
            pair("telereel.vendor"),
            pair("telereel.kind"),
            pair("telereel.date")
        )));
        // The types that readers derive without it, or else they would disagree on them.
        let plain = parquet_to_arrow_schema(metadata.schema_descr(), None).unwrap();
        let embedded = parquet_to_arrow_schema(metadata.schema_descr(), Some(pairs)).unwrap();
        for (plain, embedded) in plain.fields().iter().zip(embedded.fields()) {
            assert!(plain.data_type().equals_datatype(embedded.data_type()), "{plain:?} {embedded:?}");
            assert!(!embedded.metadata()["description"].is_empty(), "{embedded:?}");
        }

        let group = reader.metadata().row_group(0);
        let sorting = group.sorting_columns().unwrap();
        assert_eq!(group.column(sorting[0].column_idx as usize).column_path().string(), "seq");
        for column in group.columns() {
            let name = column.column_path().string();
            let encodings: Vec<Encoding> = column.encodings().collect();
            let dictionary = column.dictionary_page_offset().is_some();
            match name.as_str() {
                "seq" | "received_at" | "elapsed_ns" | "event_at" => {
                    assert!(encodings.contains(&Encoding::DELTA_BINARY_PACKED) && !dictionary, "{name}");
                }
                "payload" | "clear" => {
                    assert!(encodings.contains(&Encoding::PLAIN) && !dictionary, "{name}: {encodings:?}");
                }
                "site" | "session_id" | "source" | "channel" => assert!(dictionary, "{name}"),
                _ => {}
            }
            let is_bulk = matches!(name.as_str(), "payload" | "clear") || name.starts_with("headers.");
            assert_eq!(column.statistics().is_none(), is_bulk, "{name}");
            assert!(column.offset_index_offset().is_some(), "{name} has no page index");
            assert_eq!(column.bloom_filter_offset().is_some(), name == "device_id", "{name}");
        }
    }
}

#[test]
fn every_kind_has_a_file_without_rows_that_shows_its_columns() {
    let dir = quick_dir();
    let (_, header, _) = sealed(dir.path(), 6);
    for source in &header.sources {
        for kind in &source.kinds {
            let folder = format!("data/vendor={}/kind={}/date=1970-01-01", source.vendor, kind.name);
            let file = File::open(dir.path().join(folder).join("schema.parquet")).unwrap();
            let reader = SerializedFileReader::new(file).unwrap();
            assert_eq!(reader.metadata().file_metadata().num_rows(), 0);
            let columns = reader.metadata().file_metadata().schema_descr().root_schema().get_fields().len();
            assert_eq!(columns > 19, kind.declaration.is_some(), "{}", kind.name);
        }
    }
}
