//! A kind's columns in plain words, for readers that do not know Arrow: JSON in a file's key-value metadata.
//!
//! Arrow's readers find the same on each field (`pyarrow.parquet.read_schema(FILE).field('speed_kmh').metadata`).
//! DuckDB and Spark pass over that; `parquet_kv_metadata` shows them this.

use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use serde_json::{Map, Value};

/// `{"speed_kmh": {"id": 103, "unit": "km/h", "description": "…", "role": "measurement"}, …}`, with dots for what is
/// inside lists (`targets.x_cm`).
pub(super) fn columns_json(schema: &Schema) -> String {
    let mut columns = Map::new();
    for field in schema.fields() {
        describe(field, "", &mut columns);
    }
    Value::from(columns).to_string()
}

fn describe(field: &Field, prefix: &str, columns: &mut Map<String, Value>) {
    let name = format!("{prefix}{}", field.name());
    let mut found = Map::new();
    for (key, value) in field.metadata().iter() {
        if key == PARQUET_FIELD_ID_META_KEY {
            found.insert("id".to_owned(), value.parse::<i32>().map_or(Value::Null, Value::from));
        } else {
            found.insert(key.to_owned(), Value::from(value.as_str()));
        }
    }
    columns.insert(name.clone(), Value::from(found));
    let inner = match field.data_type() {
        DataType::List(element) => element.data_type(),
        DataType::Map(entries, _) => entries.data_type(),
        _ => return,
    };
    if let DataType::Struct(members) = inner {
        members.iter().for_each(|member| describe(member, &format!("{name}."), columns));
    }
}
