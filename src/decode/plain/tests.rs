//! Whatever is taken, is taken as `serde_json` takes it; and what devices send is taken.

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use super::*;

fn plain(text: &str) -> Option<Value> {
    let mut json = Plain::new(text, "left over".to_owned());
    let value = Value::deserialize(&mut json).ok()?;
    json.end().ok()?;
    Some(value)
}

/// Printed, since two values of zero with different signs are equal.
fn thorough(text: &str) -> Option<String> {
    serde_json::from_str::<Value>(text).ok().map(|value| value.to_string())
}

#[test]
fn what_devices_send() {
    for text in [
        r#"{"assetId":"8130630001","longitude":113.921234,"speed":42,"status":"{\"acc\":1}"}"#,
        "{ \"a\" : [ 1 , -2, 3.50, -0.0, 1e3, 1.5E-7, 12345678901234567.25 ],\r\n\t\"b\": null }",
        r#"[true, false, "", "\u4e2d\u6587 \" \\ \/ \b\f\n\r\t", "中文，中文，中文"]"#,
        "999999999999999999",
        "0",
        r#"{"a":1,"a":2}"#,
        "[]",
        "{}",
    ] {
        assert_eq!(plain(text).map(|value| value.to_string()), thorough(text), "{text}");
        assert!(plain(text).is_some(), "{text}");
    }
}

#[test]
fn what_is_no_json() {
    for text in [
        "",
        " ",
        "{",
        "{}}",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{,"a":1}"#,
        r#"{"a":1 "b":2}"#,
        r#"{a:1}"#,
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1}",
        "01",
        "-",
        "-01",
        "1.",
        ".5",
        "+1",
        "1e",
        "1e+",
        "1.e5",
        "1e999",
        "tru",
        "nul",
        "NaN",
        "\"",
        "\"\\",
        "\"a",
        "\"tab\there\"",
        r#""\x""#,
        r#""\u12""#,
        r#""\u+123""#,
        r#""\ud83d""#,
    ] {
        assert_eq!(thorough(text), None, "{text}");
        assert_eq!(plain(text), None, "{text}");
    }
}

/// Right, but for `serde_json` to read.
#[test]
fn what_is_rare_is_refused() {
    for text in [r#""\ud83d\ude00""#, "-0", "1234567890123456789", "1e-400", &"[".repeat(100)] {
        assert_eq!(plain(text), None, "{text}");
    }
}

proptest! {
    #[test]
    fn numbers_are_the_same(text in "-?[0-9]{1,20}(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?") {
        if let Some(value) = plain(&text) {
            prop_assert_eq!(Some(value.to_string()), thorough(&text));
        }
    }

    #[test]
    fn decimals_of_devices_are_taken(whole in -180_i64..=180, fraction in 0_u32..10_000_000) {
        let text = format!("{whole}.{fraction:07}");
        prop_assert_eq!(plain(&text).map(|value| value.to_string()), thorough(&text));
    }

    #[test]
    fn strings_are_the_same(text in any::<String>(), quotes in any::<bool>()) {
        let json = if quotes { Value::from(text).to_string() } else { format!("\"{text}\"") };
        if let Some(value) = plain(&json) {
            prop_assert_eq!(Some(value.to_string()), thorough(&json));
        } else {
            prop_assert!(!quotes);
        }
    }

    /// Text like JSON, most of it broken.
    #[test]
    fn nothing_else_is_taken(text in "([\\[\\]{}:,\"\\\\ \n0-9.eE+-]|null|true|\"a\"|\\\\u[0-9a-f]{4}|é|\u{1}){0,12}") {
        if let Some(value) = plain(&text) {
            prop_assert_eq!(Some(value.to_string()), thorough(&text));
        }
    }

    /// Whatever `serde_json` prints, with one character changed.
    #[test]
    fn damaged_json(value in json(), at in any::<prop::sample::Index>(), new in "[\\[\\]{}:,\"\\\\ 0-9.ae-]") {
        let whole = value.to_string();
        prop_assert_eq!(plain(&whole).map(|value| value.to_string()), Some(whole.clone()));
        let (start, old) = whole.char_indices().nth(at.index(whole.chars().count())).unwrap_or((0, ' '));
        let text = format!("{}{new}{}", &whole[..start], &whole[start + old.len_utf8()..]);
        if let Some(value) = plain(&text) {
            prop_assert_eq!(Some(value.to_string()), thorough(&text));
        }
    }
}

fn json() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-1_000_000_i64..1_000_000).prop_map(Value::from),
        (-1_000_000_i64..1_000_000).prop_map(|n| Value::from(n as f64 / 1e4)),
        any::<String>().prop_map(Value::from),
        "[ -~]{0,20}".prop_map(Value::from),
    ];
    scalar.prop_recursive(4, 30, 5, |inner| {
        let object = prop::collection::vec(("[a-c\"\\\\é]{0,9}", inner.clone()), 0..5)
            .prop_map(|members| members.into_iter().collect::<Value>());
        prop_oneof![object, prop::collection::vec(inner, 0..4).prop_map(Value::from)]
    })
}
