//! What is published for ever: every column's name, type and field id, nested ones and the envelope too.

use std::collections::BTreeSet;

use arrow::datatypes::{DataType, Field, TimeUnit};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use crate::archive::schema::envelope_fields;
use crate::decode::{Declaration, builtin, vendors};

/// One line a column, `WHOSE id path type`; lists and maps before what is in them.
fn lines() -> Vec<String> {
    let mut lines = Vec::new();
    for field in envelope_fields() {
        column(&mut lines, "envelope", "", &field);
    }
    for vendor in vendors() {
        for (kind, text) in builtin(vendor).unwrap() {
            for field in Declaration::parse(text, kind).unwrap().arrow_fields() {
                column(&mut lines, &format!("{vendor}/{kind}"), "", &field);
            }
        }
    }
    lines
}

fn column(lines: &mut Vec<String>, whose: &str, prefix: &str, field: &Field) {
    let path = format!("{prefix}{}", field.name());
    let id = field.metadata().get(PARQUET_FIELD_ID_META_KEY).map_or("-", String::as_str);
    let required = if field.is_nullable() { "" } else { " required" };
    lines.push(format!("{whose} {id} {path} {}{required}", name(field.data_type())));
    let inner: Vec<&Field> = match field.data_type() {
        DataType::List(element) | DataType::Map(element, _) => vec![element],
        DataType::Struct(members) => members.iter().map(|member| &**member).collect(),
        _ => Vec::new(),
    };
    inner.into_iter().for_each(|inner| column(lines, whose, &format!("{path}."), inner));
}

fn name(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Utf8 => "string",
        DataType::Binary => "binary",
        DataType::Boolean => "bool",
        DataType::Int8 => "int8",
        DataType::Int32 => "int32",
        DataType::Int64 => "int64",
        DataType::Float64 => "double",
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if **zone == *"UTC" => "timestamp(us,UTC)",
        DataType::List(_) => "list",
        DataType::Map(..) => "map",
        DataType::Struct(_) => "struct",
        _ => "?",
    }
}

/// Fails when one of them changes or goes. A new column is added to the file; one that is given up stays there as
/// `retired WHOSE ID NAME`, so that its id is never used again.
#[test]
fn published_columns_stay_as_they_are() {
    let text = include_str!("../../../schema/vendors/published_columns.txt");
    let (retired, published): (Vec<&str>, Vec<&str>) =
        text.lines().filter(|line| !line.starts_with('#')).partition(|line| line.starts_with("retired "));
    let lines = lines();
    for (line, expected) in lines.iter().zip(&published) {
        assert_eq!(line, expected);
    }
    assert_eq!(lines.len(), published.len(), "{:#?}", lines.get(published.len()..));
    let mut ids = BTreeSet::new();
    let known = retired.iter().filter_map(|line| line.strip_prefix("retired "));
    for line in published.into_iter().chain(known) {
        let whose_id: Vec<&str> = line.split(' ').take(2).collect();
        assert!(whose_id[1] == "-" || ids.insert(whose_id), "the id is used twice: {line}");
    }
}
