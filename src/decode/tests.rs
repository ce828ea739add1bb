//! What a declaration and a payload make of each other, from outside.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch,
    RecordBatchOptions, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::Schema;
use proptest::prelude::*;

use super::json::ELEMENTS_MAX;
use super::*;

mod builtin;
mod encrypted;
mod hostile;
mod rules;
mod state;
mod unknown;

/// One decoded message, its columns by name.
struct Message {
    batch: RecordBatch,
    device_id: Option<String>,
    event_at_us: Option<i64>,
    error: Option<String>,
}

impl Message {
    fn column(&self, name: &str) -> &ArrayRef {
        self.batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"))
    }

    fn is_null(&self, name: &str) -> bool {
        self.column(name).is_null(0)
    }

    fn double(&self, name: &str) -> Option<f64> {
        self.column(name).as_any().downcast_ref::<Float64Array>().unwrap().iter().next().unwrap()
    }

    fn int(&self, name: &str) -> Option<i64> {
        let column = self.column(name);
        if let Some(column) = column.as_any().downcast_ref::<Int32Array>() {
            return column.iter().next().unwrap().map(i64::from);
        }
        if let Some(column) = column.as_any().downcast_ref::<TimestampMicrosecondArray>() {
            return column.iter().next().unwrap();
        }
        column.as_any().downcast_ref::<Int64Array>().unwrap().iter().next().unwrap()
    }

    fn bool(&self, name: &str) -> Option<bool> {
        self.column(name).as_any().downcast_ref::<BooleanArray>().unwrap().iter().next().unwrap()
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.column(name).as_any().downcast_ref::<StringArray>().unwrap().iter().next().unwrap()
    }

    fn texts(&self, name: &str) -> Vec<Option<String>> {
        let list = self.column(name).as_list::<i32>().value(0);
        list.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
    }
}

fn decode_on(declaration: &Declaration, channel: &str, body: impl AsRef<[u8]>) -> Message {
    let mut decoder = Decoder::new(Some(declaration));
    let decoded = decoder.push(channel, body.as_ref());
    let (device_id, event_at_us) = (decoded.device_id.map(str::to_owned), decoded.event_at_us);
    let error = decoded.error.map(str::to_owned);
    // Also checks that columns have one length and the declared types.
    let schema = Arc::new(Schema::new(declaration.arrow_fields()));
    let one_row = RecordBatchOptions::new().with_row_count(Some(1));
    let batch = RecordBatch::try_new_with_options(schema, decoder.finish(), &one_row).unwrap();
    Message { batch, device_id, event_at_us, error }
}

fn decode(declaration: &Declaration, body: impl AsRef<[u8]>) -> Message {
    decode_on(declaration, "channel", body)
}

fn parse(text: &str) -> Declaration {
    Declaration::parse(text, "test.toml").unwrap()
}

/// A declaration with one field: name, and what else it needs.
fn field(lines: &str) -> Declaration {
    parse(&format!("kind = \"k\"\n[[field]]\nid = 100\nrole = \"state\"\n{lines}\n"))
}

#[test]
fn numbers_convert_without_loss_or_not_at_all() {
    let int = field("name = \"n\"\ntype = \"int32\"\npath = \"n\"");
    for (json, expected) in [
        ("7", Some(7)),
        ("-7", Some(-7)),
        ("21000.0", Some(21_000)),
        ("\"7\"", Some(7)),
        ("\" 7.0 \"", Some(7)),
        ("true", Some(1)),
        ("2.5", None),
        ("\"2.5\"", None),
        ("2147483648", None),
        ("1e300", None),
        ("18446744073709551615", None),
        ("\"seven\"", None),
        ("\"inf\"", None),
        ("[]", None),
        ("{}", None),
    ] {
        let message = decode(&int, format!("{{\"n\":{json}}}"));
        assert_eq!(message.int("n"), expected, "{json}");
        assert_eq!(message.error.is_some(), expected.is_none(), "{json}: {:?}", message.error);
    }
    let double = field("name = \"n\"\ntype = \"double\"\npath = \"n\"");
    for (json, expected) in [
        ("0.1", Some(0.1)),
        ("60.269247", Some(60.269_247)),
        ("\"3.88\"", Some(3.88)),
        ("9007199254740993", None),
        ("9007199254740992", Some(9_007_199_254_740_992.0)),
        ("\"nan\"", None),
        ("\"\"", None),
    ] {
        assert_eq!(decode(&double, format!("{{\"n\":{json}}}")).double("n"), expected, "{json}");
    }
    let negative_zero = decode(&double, r#"{"n":-0.0}"#).double("n").unwrap();
    assert!(negative_zero == 0.0 && negative_zero.is_sign_negative());
}

#[test]
fn the_error_names_field_value_and_expectation() {
    let int = field("name = \"speed_kmh\"\nunit = \"km/h\"\ntype = \"double\"\npath = \"speed\"");
    let message = decode(&int, r#"{"speed":"fast"}"#);
    assert_eq!(message.error.as_deref(), Some(r#"speed_kmh: expected a number, found "fast""#));
    let long = decode(&int, format!("{{\"speed\":\"{}\"}}", "é".repeat(2_000)));
    assert!(long.error.unwrap().len() < 150);
}

#[test]
fn null_absent_and_sentinels_are_null_without_a_word() {
    let text = "name = \"n\"\ntype = \"double\"\npath = \"n\"\nsentinels = [-1000, \"null\", \"\"]";
    for json in ["null", "-1000", "-1000.0", "\"-1000.0\"", "\"null\"", "\"\""] {
        let message = decode(&field(text), format!("{{\"n\":{json}}}"));
        assert!(message.is_null("n") && message.error.is_none(), "{json}: {:?}", message.error);
    }
    let absent = decode(&field(text), "{}");
    assert!(absent.is_null("n") && absent.error.is_none());
}

#[test]
fn the_first_path_with_a_value_wins_in_any_order_of_keys() {
    let declaration = field("name = \"n\"\ntype = \"int32\"\npaths = [\"a\", \"b\"]");
    for (body, expected) in [
        (r#"{"a":1,"b":2}"#, Some(1)),
        (r#"{"b":2,"a":1}"#, Some(1)),
        (r#"{"b":2}"#, Some(2)),
        (r#"{"b":2,"a":null}"#, Some(2)),
        (r#"{"a":null,"b":2}"#, Some(2)),
        ("{}", None),
    ] {
        assert_eq!(decode(&declaration, body).int("n"), expected, "{body}");
    }
}

#[test]
fn of_repeated_keys_the_last_counts() {
    let declaration = field("name = \"n\"\ntype = \"int32\"\npath = \"o.n\"");
    for (body, expected) in [
        (r#"{"o":{"n":1,"n":2}}"#, Some(2)),
        (r#"{"o":{"n":1},"o":{"n":2}}"#, Some(2)),
        (r#"{"o":{"n":1,"n":null}}"#, None),
        (r#"{"o":{"n":1},"o":{}}"#, None),
        (r#"{"o":{"n":1},"o":null}"#, None),
    ] {
        assert_eq!(decode(&declaration, body).int("n"), expected, "{body}");
    }
}

#[test]
fn json_in_strings_is_descended_into() {
    let declaration = field("name = \"n\"\ntype = \"int32\"\npath = \"a.b.c\"");
    let inner = serde_json::json!({"b": serde_json::json!({"c": 5}).to_string()}).to_string();
    let body = serde_json::json!({"a": inner}).to_string();
    assert_eq!(decode(&declaration, &body).int("n"), Some(5));
    assert_eq!(decode(&declaration, r#"{"a":{"b":{"c":5}}}"#).int("n"), Some(5));
    for nothing in [r#"{"a":""}"#, r#"{"a":"null"}"#, r#"{"a":null}"#, r#"{"a":{"b":" "}}"#] {
        let message = decode(&declaration, nothing);
        assert!(message.is_null("n") && message.error.is_none(), "{nothing}: {:?}", message.error);
    }
    let broken = decode(&declaration, r#"{"a":"{\"b\":{\"c\":5}"}"#);
    assert!(broken.is_null("n"));
    assert_eq!(broken.error.as_deref(), Some(r#"a: expected JSON, found "{\"b\":{\"c\":5}""#));
    assert_eq!(decode(&declaration, r#"{"a":5}"#).error.as_deref(), Some("a: expected an object, found 5"));
}

#[test]
fn the_order_of_keys_may_change_from_message_to_message() {
    let declaration = parse(
        r#"kind = "k"
        [[field]]
        name = "a"
        id = 100
        type = "int32"
        path = "a"
        role = "measurement"
        [[field]]
        name = "b"
        id = 101
        type = "int32"
        path = "in.b"
        role = "measurement"
        [[field]]
        name = "c"
        id = 102
        type = "int32"
        path = "in.c"
        role = "measurement""#,
    );
    let mut decoder = Decoder::new(Some(&declaration));
    let bodies = [
        r#"{"a":1,"in":{"b":2,"c":3}}"#,
        r#"{"in":{"c":3,"b":2},"a":1}"#,
        r#"{"x":0,"in":"{\"y\":0,\"b\":2,\"z\":0,\"c\":3}","b":0,"a":1}"#,
        r#"{"a":1,"in":{"c":3,"b":2},"c":0}"#,
    ];
    for body in bodies.iter().chain(&bodies) {
        assert_eq!(decoder.push("", body.as_bytes()).error, None, "{body}");
    }
    for (column, value) in decoder.finish().iter().zip(1..) {
        let column = column.as_any().downcast_ref::<Int32Array>().unwrap();
        assert!(column.iter().all(|found| found == Some(value)), "{column:?}");
    }
}

#[test]
fn broken_characters_count_only_where_they_are_asked_for() {
    let declaration = field("name = \"v\"\ntype = \"string\"\npath = \"v\"");
    let unasked = decode(&declaration, b"{\"w\":\"\xFF\",\"v\":\"x\"}");
    assert_eq!((unasked.error, unasked.batch.column(0).null_count()), (None, 0));
    let asked = decode(&declaration, b"{\"v\":\"\xFF\"}");
    assert!(asked.error.is_some_and(|error| error.starts_with("not JSON")));
}

#[test]
fn indices_step_into_arrays() {
    let text = "kind = \"k\"\nnull_together = [{ fields = [\"longitude\", \"latitude\"], value = 0 }]
        [[field]]\nname = \"longitude\"\nid = 100\ntype = \"double\"\nunit = \"°\"\npath = \"at.0\"\nrole = \"location\"
        [[field]]\nname = \"latitude\"\nid = 101\ntype = \"double\"\nunit = \"°\"\npath = \"at.1\"\nrole = \"location\"";
    let message = decode(&parse(text), r#"{"at":[24.85,60.27,3]}"#);
    assert_eq!((message.double("longitude"), message.double("latitude")), (Some(24.85), Some(60.27)));
    let no_fix = decode(&parse(text), r#"{"at":[0.0,-0.0]}"#);
    assert!(no_fix.is_null("longitude") && no_fix.is_null("latitude"));
    let equator = decode(&parse(text), r#"{"at":[24.85,-0.0]}"#).double("latitude").unwrap();
    assert!(equator.is_sign_negative());
    assert!(decode(&parse(text), r#"{"at":"here"}"#).error.is_some());
}

#[test]
fn times_in_every_format() {
    let us = 1_707_841_980_000_000;
    for (format, json) in [
        ("rfc3339", "\"2024-02-13T16:33:00Z\""),
        ("unix_s", "1707841980"),
        ("unix_s", "1707841980.0"),
        ("unix_ms", "1707841980000"),
        ("unix_ms", "\"1707841980000\""),
        ("compact", "\"20240213163300\""),
    ] {
        let declaration = parse(&format!(
            "kind = \"k\"\nevent_at = [\"t\"]\n[[field]]\nname = \"t\"\nid = 100\ntype = \"timestamp\"\nrole = \"time\"\ntime = \"{format}\"\npath = \"t\""
        ));
        let message = decode(&declaration, format!("{{\"t\":{json}}}"));
        assert_eq!((message.int("t"), message.event_at_us), (Some(us), Some(us)), "{format} {json}");
        let bad = decode(&declaration, r#"{"t":"soon"}"#);
        assert!(bad.is_null("t") && bad.event_at_us.is_none() && bad.error.is_some(), "{format}");
    }
}

#[test]
fn texts_are_split_by_place_or_by_key() {
    let place = field(
        "name = \"n\"\ntype = \"double\"\npath = \"s\"\nsplit = { separator = \",\", position = 1 }\nsentinels = [-1, \"0,0\"]",
    );
    for (text, expected) in [("1, 2.5 ,3", Some(2.5)), ("1,-1", None), ("0,0", None), ("1", None)] {
        let message = decode(&place, format!("{{\"s\":\"{text}\"}}"));
        assert_eq!((message.double("n"), message.error), (expected, None), "{text}");
    }
    let key = field(
        "name = \"n\"\ntype = \"double\"\npath = \"s\"\nsplit = { separator = \";\", key = \"y\", key_separator = \":\" }",
    );
    assert_eq!(decode(&key, r#"{"s":"x:1;y:-29;z:-2903"}"#).double("n"), Some(-29.0));
    assert!(decode(&key, r#"{"s":"x:1;y:up"}"#).error.is_some());
}

#[test]
fn what_is_no_json_leaves_everything_null_and_says_why() {
    let declaration = field("name = \"n\"\ntype = \"int32\"\npath = \"n\"");
    for body in [&b""[..], b"\xff\xfe", b"{\"n\":1", b"{\"n\":1}}", b"{\"n\":1,", b"plain", b"{'n':1}"] {
        let message = decode(&declaration, body);
        assert!(message.is_null("n"), "{body:?}");
        assert!(message.error.unwrap().starts_with("not JSON: "), "{body:?}");
    }
    for body in ["[]", "5", "null", "\"words\""] {
        let message = decode(&declaration, body);
        assert!(message.is_null("n") && message.error.is_some(), "{body}");
    }
    let deep = "{\"n\":".repeat(100_000);
    assert!(decode(&declaration, deep).error.is_some());
}

#[test]
fn a_failed_message_leaves_nothing_behind() {
    let declaration = field("name = \"n\"\ntype = \"string\"\npath = \"n\"");
    let mut decoder = Decoder::new(Some(&declaration));
    assert!(decoder.push("", br#"{"n":"first"}"#).error.is_none());
    assert!(decoder.push("", br#"{"n":"half"#).error.is_some());
    assert!(decoder.push("", br#"{}"#).error.is_none());
    let columns = decoder.finish();
    let values: Vec<_> = columns[0].as_string::<i32>().iter().collect();
    assert_eq!(values, [Some("first"), None, None]);
    assert_eq!(decoder.finish()[0].len(), 0);
}

#[test]
fn without_a_declaration_nothing_is_read() {
    let mut decoder = Decoder::new(None);
    assert_eq!(decoder.push("upload/K/1/location", b"\xff"), Decoded::default());
    assert!(decoder.finish().is_empty());
}

#[test]
fn lists_of_strings_and_of_structs() {
    let strings = field("name = \"parts\"\ntype = \"list<string>\"\nelement_id = 101\npath = \"parts\"");
    let message = decode(&strings, r#"{"parts":["a",1,null,"[\"x\"]"]}"#);
    assert_eq!(message.texts("parts"), [Some("a".into()), Some("1".into()), None, Some("[\"x\"]".into())]);
    assert!(decode(&strings, r#"{"parts":[]}"#).texts("parts").is_empty());
    assert!(decode(&strings, "{}").is_null("parts"));
    assert!(decode(&strings, r#"{"parts":7}"#).error.is_some());

    let structs = field(
        "name = \"targets\"\ntype = \"list<struct>\"\nelement_id = 101\npath = \"targets\"
        [[field.member]]\nname = \"target_id\"\nid = 102\ntype = \"string\"\npaths = [\"id\", \"$key\"]\nrole = \"identifier\"
        [[field.member]]\nname = \"x_cm\"\nid = 103\ntype = \"double\"\nunit = \"cm\"\npath = \"x\"\nrole = \"location\"",
    );
    for body in [
        r#"{"targets":[{"id":"a","x":1},{"x":"far","id":"b"}]}"#,
        r#"{"targets":{"a":{"x":1},"b":{"x":"far"}}}"#,
    ] {
        let message = decode(&structs, body);
        let list = message.column("targets").as_list::<i32>().value(0);
        let targets = list.as_struct();
        assert_eq!(
            targets.column(0).as_string::<i32>().iter().flatten().collect::<Vec<_>>(),
            ["a", "b"],
            "{body}"
        );
        let x = targets.column(1).as_any().downcast_ref::<Float64Array>().unwrap();
        assert_eq!(x.iter().collect::<Vec<_>>(), [Some(1.0), None]);
        assert_eq!(message.error.as_deref(), Some(r#"targets[1].x_cm: expected a number, found "far""#));
    }
    let repeated = decode(&structs, r#"{"targets":[{"id":"a"},{"id":"b"}],"targets":[{"id":"c"}]}"#);
    assert_eq!(repeated.column("targets").as_list::<i32>().value(0).len(), 1);
    assert!(decode(&structs, r#"{"targets":[5]}"#).error.is_some());

    // A few bytes each, which would take a hundred times as many.
    let many = |n| format!("[{}0]", "0,".repeat(n - 1));
    let largest = decode(&strings, format!(r#"{{"parts":{}}}"#, many(ELEMENTS_MAX)));
    assert_eq!(
        (largest.column("parts").as_list::<i32>().value(0).len(), largest.error),
        (ELEMENTS_MAX, None)
    );
    for body in [many(ELEMENTS_MAX + 2), format!("{0},\"parts\":{0}", many(ELEMENTS_MAX + 1))] {
        let cut = decode(&strings, format!(r#"{{"parts":{body}}}"#));
        assert_eq!(cut.column("parts").as_list::<i32>().value(0).len(), ELEMENTS_MAX);
        let error = cut.error.unwrap();
        assert!(error.starts_with("parts: too many elements, left out from the 65536th on"), "{error}");
    }
}

proptest! {
    #[test]
    fn whatever_json_comes_columns_are_equally_long(bodies in prop::collection::vec(json(), 1..6)) {
        columns_are_as_long_as(&bodies)?;
    }

    /// Keys may come in any order, repeated or not at all, and whatever the decoder has learnt from the
    /// messages before must not show.
    #[test]
    fn plain_and_rare_json_give_the_same(bodies in prop::collection::vec(json(), 1..8)) {
        for declaration in &*ALL {
            let mut mixed = Decoder::new(Some(declaration));
            let mut alone = Vec::new();
            let mut told = Vec::new();
            for body in &bodies {
                let mut fresh = Decoder::new(Some(declaration));
                told.push(format!("{:?}", fresh.push("upload/K/1/location", &made_rare(body))));
                alone.push(fresh.finish());
            }
            for (body, told) in bodies.iter().zip(&told) {
                prop_assert_eq!(&format!("{:?}", mixed.push("upload/K/1/location", body)), told);
            }
            for (at, column) in mixed.finish().iter().enumerate() {
                for (row, alone) in alone.iter().enumerate() {
                    prop_assert_eq!(&column.slice(row, 1), &alone[at], "{}", declaration.kind());
                }
            }
        }
    }
}

/// The same object with a member that nobody declares and only `serde_json` reads.
fn made_rare(body: &[u8]) -> Vec<u8> {
    match body.strip_suffix(b"}") {
        Some(b"{") => br#"{"\ud83d\ude00":0}"#.to_vec(),
        Some(members) => [members, br#","\ud83d\ude00":0}"#].concat(),
        None => body.to_vec(),
    }
}

static ALL: LazyLock<Vec<Declaration>> = LazyLock::new(builtin::all);

fn columns_are_as_long_as(bodies: &[Vec<u8>]) -> Result<(), TestCaseError> {
    for declaration in &*ALL {
        let mut decoder = Decoder::new(Some(declaration));
        for (n, body) in bodies.iter().enumerate() {
            match n % 3 {
                0 => decoder.push("upload/K/1/location", body),
                1 => decoder.push_decrypted("/hooks", body, None),
                _ => decoder.push_decrypted("/hooks", &bodies[n - 1], Some(body)),
            };
        }
        let schema = Arc::new(Schema::new(declaration.arrow_fields()));
        let batch = RecordBatch::try_new(schema, decoder.finish());
        let rows =
            batch.map(|batch| batch.num_rows()).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(rows, bodies.len());
    }
    Ok(())
}

/// Objects with the keys that vendors use, around values of every shape.
fn json() -> impl Strategy<Value = Vec<u8>> {
    let key = prop::sample::select(vec![
        "assetId",
        "longitude",
        "latitude",
        "gpsTime",
        "statusJson",
        "expandInfo",
        "ksInfo",
        "subInfo",
        "content",
        "describe",
        "cells",
        "battery",
        "lockRope",
        "temperature",
        "fuels",
        "alarmType",
        "eventType",
        "position",
        "x",
        "gender",
        "dateTime",
        "subGpsTimestamp",
        "type",
        "angVelocity",
        "waybillNo",
    ]);
    let scalar = prop_oneof![
        Just("null".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_filter("JSON knows no others", |n| n.is_finite()).prop_map(|n| format!("{n:?}")),
        any::<String>().prop_map(|text| serde_json::Value::from(text).to_string()),
        Just("\"2024-02-13T16:33:00Z\"".to_owned()),
        Just("\"x:1;y:2;z:3\"".to_owned()),
        Just("-1".to_owned()),
    ];
    let value = scalar.prop_recursive(4, 40, 6, move |inner| {
        let entries = prop::collection::vec((key.clone(), inner.clone()), 0..6);
        let object = entries.prop_map(|entries| {
            let entries: Vec<_> = entries.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
            format!("{{{}}}", entries.join(","))
        });
        let array = prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(",")));
        let in_string = object.clone().prop_map(|text| serde_json::Value::from(text).to_string());
        prop_oneof![object, array, in_string]
    });
    value.prop_map(String::into_bytes)
}
