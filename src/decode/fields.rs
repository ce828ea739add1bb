//! The Arrow fields of a kind, with what a reader of the files should know about them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field as ArrowField, TimeUnit};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use super::declaration::{Field, FieldType};

/// The columns of `fields`: one each, two where codes have names.
pub(super) fn arrow_fields(fields: &[Field]) -> Vec<ArrowField> {
    fields
        .iter()
        .flat_map(|field| {
            let metadata = metadata(field);
            let column = ArrowField::new(&field.name, data_type(field), true).with_metadata(metadata);
            let name = field.codes.as_ref().and_then(|codes| codes.name_column.as_ref()).map(|(name, id)| {
                let meaning = format!("The name of {}, null where the code is not known.", field.name);
                let mut metadata = identified(*id);
                metadata.insert("role".to_owned(), field.role.name().to_owned());
                metadata.insert("description".to_owned(), meaning);
                ArrowField::new(name, DataType::Utf8, true).with_metadata(metadata)
            });
            [Some(column), name].into_iter().flatten()
        })
        .collect()
}

fn identified(id: i32) -> HashMap<String, String> {
    HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())])
}

fn metadata(field: &Field) -> HashMap<String, String> {
    let mut metadata = identified(field.id);
    metadata.insert("role".to_owned(), field.role.name().to_owned());
    metadata.insert("description".to_owned(), field.meaning.clone());
    if let Some(unit) = &field.unit {
        metadata.insert("unit".to_owned(), unit.clone());
    }
    // Long tables have their names in a column beside the code; switches have only this.
    if let Some(codes) = field.codes.as_ref().filter(|codes| codes.name_column.is_none()) {
        let labels: Vec<_> =
            codes.table.labels.iter().map(|(code, label)| format!("{code} {label}")).collect();
        metadata.insert("codes".to_owned(), labels.join(", "));
    }
    metadata
}

pub(super) fn data_type(field: &Field) -> DataType {
    match &field.data_type {
        FieldType::Int32 => DataType::Int32,
        FieldType::Int64 => DataType::Int64,
        FieldType::Double => DataType::Float64,
        FieldType::Bool => DataType::Boolean,
        FieldType::String => DataType::Utf8,
        FieldType::Timestamp(_) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        FieldType::Strings { element_id } => DataType::List(element(DataType::Utf8, *element_id)),
        FieldType::Structs { element_id, members } => {
            DataType::List(element(DataType::Struct(arrow_fields(members).into()), *element_id))
        }
    }
}

/// `element` is the name that Parquet's own rules give the items of a list.
fn element(data_type: DataType, id: i32) -> Arc<ArrowField> {
    Arc::new(ArrowField::new("element", data_type, true).with_metadata(identified(id)))
}
