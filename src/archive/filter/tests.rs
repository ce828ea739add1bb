//! Conditions: what is read, what is refused and where, and which rows match.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int8Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{Field, TimeUnit};
use proptest::prelude::*;

use super::*;

fn types() -> ColumnTypes {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let list = DataType::List(Arc::new(Field::new("element", DataType::Utf8, true)));
    [
        ("vendor", DataType::Utf8),
        ("kind", DataType::Utf8),
        ("channel", DataType::Utf8),
        ("qos", DataType::Int8),
        ("seq", DataType::Int64),
        ("speed_kmh", DataType::Float64),
        ("event_at", time),
        ("retain", DataType::Boolean),
        ("payload", DataType::Binary),
        ("targets", list),
        ("alarm_code", DataType::Int32),
    ]
    .map(|(name, data_type)| (name.to_owned(), data_type))
    .into()
}

/// Five rows; a null in the last of each column, and none of a column `alarm_code`.
fn batch() -> RecordBatch {
    let time =
        TimestampMicrosecondArray::from(vec![Some(-1), Some(0), Some(1_500_000), Some(2_000_000), None]);
    let columns: [(&str, ArrayRef); 7] = [
        ("channel", Arc::new(StringArray::from(vec![Some("a"), Some("it's"), Some(""), Some("b"), None]))),
        ("qos", Arc::new(Int8Array::from(vec![Some(0), Some(1), Some(2), Some(-1), None]))),
        ("seq", Arc::new(Int64Array::from(vec![Some(0), Some(1), Some(i64::MAX), Some(i64::MIN), None]))),
        (
            "speed_kmh",
            Arc::new(Float64Array::from(vec![Some(-0.0), Some(1.5), Some(80.0), Some(f64::NAN), None])),
        ),
        ("event_at", Arc::new(time.with_timezone("UTC"))),
        (
            "retain",
            Arc::new(BooleanArray::from(vec![Some(true), Some(false), Some(true), Some(false), None])),
        ),
        (
            "payload",
            Arc::new(BinaryArray::from_opt_vec(vec![Some(b"x"), Some(b"\xFF"), Some(b""), Some(b"x"), None])),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .unwrap()
}

fn folders() -> Folders {
    Folders { vendor: "acme".into(), kind: "reading".into(), date: "2026-03-01".into() }
}

/// The rows of [`batch`] for which `text` holds; none where it was known without looking that none does.
fn rows(text: &str) -> Option<Vec<usize>> {
    let batch = batch();
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..5));
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).map(|(f, c)| (f.name().clone(), c.clone()));
    let numbered = RecordBatch::try_from_iter_with_nullable(
        columns.chain([("n".to_owned(), numbers)]).map(|(name, array)| (name, array, true)),
    );
    let numbered = numbered.unwrap();
    let predicate = text.parse::<Filter>().unwrap().bind(&types()).unwrap();
    let filter = predicate.of_segment(folders(), |name| batch.column_by_name(name).is_some())?;
    let kept = filter.apply(&numbered).unwrap();
    let kept =
        arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(kept.column_by_name("n").unwrap())
            .clone();
    Some(kept.values().iter().map(|n| *n as usize).collect())
}

#[test]
fn rows_match_by_the_type_of_the_column() {
    for (text, expected) in [
        ("channel = 'a'", &[0][..]),
        ("channel = 'it''s'", &[1]),
        ("channel = ''", &[2]),
        ("channel >= 'b'", &[1, 3]),
        ("channel != 'a'", &[1, 2, 3]),
        ("channel <> 'a'", &[1, 2, 3]),
        ("qos = 1", &[1]),
        ("qos >= 0.5", &[1, 2]),
        ("qos < 0.5", &[0, 3]),
        ("qos = 0.5", &[]),
        ("qos != 0.5", &[0, 1, 2, 3]),
        ("qos = 1e0", &[1]),
        ("qos < 99999999999999999999", &[0, 1, 2, 3]),
        ("seq = 9223372036854775807", &[2]),
        ("seq > 9223372036854775806.5", &[]),
        ("seq < -9.3e18", &[]),
        ("seq <= -9223372036854775808", &[3]),
        ("speed_kmh = 0", &[0]),
        ("speed_kmh > 1", &[1, 2]),
        ("speed_kmh <= 1.5", &[0, 1]),
        ("speed_kmh != 1.5", &[0, 2, 3]),
        ("event_at < 1970-01-01T00:00:00Z", &[0]),
        ("event_at >= '1970-01-01T01:00:01.5+01:00'", &[2, 3]),
        ("event_at = 1970-01-01T00:00:01.500Z", &[2]),
        ("retain = true", &[0, 2]),
        ("retain != TRUE", &[1, 3]),
        ("payload = 'x'", &[0, 3]),
        ("payload != 'x'", &[1, 2]),
        ("kind = 'reading' and vendor < 'b'", &[0, 1, 2, 3, 4]),
    ] {
        assert_eq!(rows(text).as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn null_is_neither_true_nor_false() {
    for (text, expected) in [
        ("qos is null", &[4][..]),
        ("qos is not null", &[0, 1, 2, 3]),
        ("not qos is null", &[0, 1, 2, 3]),
        ("not (qos = 1)", &[0, 2, 3]),
        ("not qos = 1", &[0, 2, 3]),
        ("qos = 1 or qos is null", &[1, 4]),
        ("qos = 1 or channel = 'a' and retain = true", &[0, 1]),
        ("(qos = 1 or channel = 'a') and retain = true", &[0]),
        ("qos = 0 or qos = 1 or qos = 2", &[0, 1, 2]),
        ("NOT NOT qos = 1", &[1]),
        ("kind is not null and qos = 1", &[1]),
    ] {
        assert_eq!(rows(text).as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn a_column_that_the_kind_does_not_have_never_matches() {
    for text in [
        "alarm_code = 40",
        "not alarm_code = 40",
        "alarm_code is null",
        "alarm_code is not null",
        "alarm_code = 40 and qos = 1",
        "not (alarm_code = 40 or qos = 1) and alarm_code is null",
        "kind = 'other'",
        "kind != 'reading'",
        "not vendor is not null",
    ] {
        // Known before a row is read.
        assert_eq!(rows(text), None, "{text}");
    }
    assert_eq!(rows("alarm_code = 40 or qos = 1"), Some(vec![1]));
    assert_eq!(rows("not (alarm_code = 40 and qos = 1)"), Some(vec![0, 2, 3]));
    assert_eq!(rows("targets is null or qos = 1"), Some(vec![1]));
}

#[test]
fn mistakes_are_told_with_their_byte() {
    for (text, at, what) in [
        ("", 0, "expected a column"),
        ("  ", 2, "expected a column"),
        ("qos", 3, "expected `=`"),
        ("qos =", 5, "expected a value"),
        ("qos = x", 6, "single quotes, 'x'"),
        ("qos == 1", 4, "expected `=`"),
        ("qos => 1", 4, "expected `>=`"),
        ("qos = 1 && retain = true", 8, "expected `and`"),
        ("qos = 1 || retain = true", 8, "expected `or`"),
        ("!retain", 0, "expected `not`"),
        ("channel = \"a\"", 10, "single quotes"),
        ("channel = 'a", 10, "no closing quote"),
        ("channel = 'é' and channel = 'b", 29, "no closing quote"),
        ("(qos = 1", 8, "expected `)` to the `(` at byte 0"),
        ("qos = 1)", 7, "without its `(`"),
        ("qos = 1 retain = true", 8, "expected `and`, `or` or the end"),
        ("qos = null", 6, "`is null`"),
        ("qos is 1", 7, "expected `null`"),
        ("1 = qos", 0, "left of the comparison"),
        ("and qos = 1", 0, "expected a column"),
        ("qos = 1 or", 10, "expected a column"),
        ("qos = 1.2.3", 6, "neither a number nor a time"),
        ("qos = 1e999", 6, "neither a number nor a time"),
        ("event_at > 2026-03-01T14:30:00", 11, "`2026-03-01T14:30:00Z`"),
        ("qos = 1; drop table", 7, "unexpected `;`"),
        ("qos = 1 \u{202e}", 8, "unexpected"),
    ] {
        let error = text.parse::<Filter>().unwrap_err();
        assert!(error.at == at && error.what.contains(what), "{text}: {error}");
    }
    for (text, at, what) in [
        ("sped_kmh > 1", 0, "no column `sped_kmh`, did you mean `speed_kmh`?"),
        ("qos = 1 or (zzzz is null)", 12, "`telereel schema VENDOR`"),
        ("qos = 'one'", 6, "`qos` is a number"),
        ("qos = true", 6, "`qos` is a number"),
        ("channel = 1", 10, "`channel` is a text"),
        ("retain = 1", 9, "`retain` is true or false"),
        ("retain < true", 7, "compare it with"),
        ("event_at > 5", 11, "`event_at` is a time"),
        ("event_at > '2026-03-01 14:30'", 11, "`2026-03-01T14:30:00Z`"),
        ("event_at > '-2h'", 11, "expected one like"),
        ("payload < 'x'", 10, "`payload` is bytes"),
        ("targets = 'x'", 10, "several values"),
    ] {
        let error = text.parse::<Filter>().unwrap().bind(&types()).unwrap_err();
        assert!(error.at == at && error.what.contains(what), "{text}: {error}");
    }
    assert_eq!(
        "sped".parse::<Filter>().unwrap_err().to_string(),
        "at byte 4: expected `=`, `!=`, `<`, `<=`, `>`, `>=` or `is`"
    );
}

#[test]
fn depth_and_length_are_bounded() {
    let nested = |n: usize| format!("{}qos = 1{}", "(".repeat(n), ")".repeat(n));
    assert_eq!(rows(&nested(60)), Some(vec![1]));
    assert!(nested(5_000).parse::<Filter>().unwrap_err().what.contains("nested deeper"));
    assert!("not ".repeat(5_000).parse::<Filter>().unwrap_err().what.contains("nested deeper"));
    let wide = vec!["qos = 1"; 5_000].join(" or ");
    assert_eq!(rows(&wide), Some(vec![1]));
    assert!("x".repeat(70_000).parse::<Filter>().is_err());
}

/// A condition that can be written, and the same worked out row by row: true, false or null.
fn condition() -> impl Strategy<Value = (String, [Option<bool>; 5])> {
    let test = (0..3_usize, 0..6_usize, -2..3_i64).prop_map(|(column, op, value)| {
        let (name, values) = [
            ("qos", [Some(0), Some(1), Some(2), Some(-1), None]),
            ("seq", [Some(0), Some(1), Some(i64::MAX), Some(i64::MIN), None]),
            ("alarm_code", [None; 5]),
        ][column];
        let (op, holds): (&str, fn(i64, i64) -> bool) = [
            ("=", (|a, b| a == b) as fn(i64, i64) -> bool),
            ("!=", |a, b| a != b),
            ("<", |a, b| a < b),
            ("<=", |a, b| a <= b),
            (">", |a, b| a > b),
            (">=", |a, b| a >= b),
        ][op];
        (
            format!("{name} {op} {value}"),
            values.map(|known: Option<i64>| known.map(|known| holds(known, value))),
        )
    });
    let and = |a: Option<bool>, b: Option<bool>| match (a, b) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    };
    test.prop_recursive(4, 24, 2, move |inner| {
        let pair =
            (inner.clone(), inner.clone(), any::<bool>()).prop_map(move |((a, av), (b, bv), is_and)| {
                let not = |v: Option<bool>| v.map(|v| !v);
                let values = std::array::from_fn(|i| match is_and {
                    true => and(av[i], bv[i]),
                    false => not(and(not(av[i]), not(bv[i]))),
                });
                (format!("({a}) {} ({b})", if is_and { "and" } else { "OR" }), values)
            });
        let negated =
            inner.prop_map(|(a, values)| (format!("not({a})"), values.map(|v: Option<bool>| v.map(|v| !v))));
        prop_oneof![pair, negated]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn batches_give_what_rows_one_by_one_would((text, expected) in condition()) {
        let expected: Vec<usize> = (0..5).filter(|row| expected[*row] == Some(true)).collect();
        prop_assert_eq!(rows(&text).unwrap_or_default(), expected, "{}", text);
    }

    #[test]
    fn nothing_typed_upsets_the_parser(text in prop_oneof![
        ".{0,60}",
        "((qos|and|or|not|is|null|\\(|\\)|=|<|'|é|1|-|2026-01-01T00:00:00Z) ?){0,20}",
    ]) {
        match text.parse::<Filter>() {
            Ok(filter) => drop(filter.bind(&types())),
            Err(error) => prop_assert!(error.at <= text.len() && text.is_char_boundary(error.at)),
        }
    }
}

#[test]
fn hostile_conditions_are_read_or_refused_at_a_place() {
    let right = [
        "speed_kmh > 80 and not (channel = 'it''s' or vendor <> 'x')",
        "event_at >= 2026-03-01T14:30:00Z",
        "retain = true or payload = 'x' or targets is not null",
        "seq = -1 AND qos <= 1.5 OR alarm_code is null",
        "((((not not seq != 9223372036854775807))))",
    ];
    let words = [
        "speed_kmh",
        "channel",
        "targets",
        "and",
        "or",
        "not",
        "is null",
        "(",
        ")",
        "<=",
        "<>",
        "''",
        "not (",
        "1 = ",
    ];
    crate::fuzz::Target::new("where").inputs(right).words(&words).memory(1 << 20, 512).run(|bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        let bound = text.parse::<Filter>().and_then(|filter| {
            assert_eq!(filter.to_string(), text);
            filter.bind(&types())
        });
        match bound {
            Ok(predicate) => {
                let batch = batch();
                let has = |name: &str| batch.column_by_name(name).is_some();
                if let Some(filter) = predicate.of_segment(folders(), has) {
                    assert!(filter.apply(&batch).unwrap().num_rows() <= batch.num_rows());
                }
                true
            }
            Err(error) => {
                assert!(text.is_char_boundary(error.at), "{error}");
                crate::fuzz::assert_words(&error.what, text.len());
                false
            }
        }
    });
}
