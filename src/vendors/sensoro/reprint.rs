//! A JSON text as `JSON.stringify(JSON.parse(text))` prints it (ECMAScript 2024, section 25.5).
//!
//! The vendor's sample receiver checks the signature over this and not over the bytes that came. They
//! are the same where the sender, too, prints with `JSON.stringify`. What matters beyond white space:
//!
//! * of a repeated key the last value counts, at the place of the first;
//! * keys that are array indices (`"0"` to `"4294967294"`) come first, in the order of their numbers;
//! * numbers are doubles, printed as JavaScript does: `1.0` is `1`, `-0` is `0`, `1e21` is `1e+21`;
//! * text is printed as it is, but for `"`, `\` and control characters.

use std::collections::HashMap;
use std::fmt::{self, Write as _};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// The text; none if `body` is not one JSON value, or deeper than 127.
pub(super) fn reprint(body: &[u8]) -> Option<String> {
    let json: Json = serde_json::from_slice(body).ok()?;
    let mut text = String::with_capacity(body.len());
    json.print(&mut text);
    Some(text)
}

enum Json {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    fn print(&self, out: &mut String) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(true) => out.push_str("true"),
            Json::Bool(false) => out.push_str("false"),
            Json::Number(number) => print_number(*number, out),
            Json::Text(text) => print_text(text, out),
            Json::List(elements) => {
                out.push('[');
                for (n, element) in elements.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    element.print(out);
                }
                out.push(']');
            }
            Json::Object(members) => {
                out.push('{');
                for (n, (key, value)) in members.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    print_text(key, out);
                    out.push(':');
                    value.print(out);
                }
                out.push('}');
            }
        }
    }
}

/// Number::toString of ECMAScript (section 6.1.6.1.20), whose digits are the shortest that mean the
/// same double: Rust's are these, too.
fn print_number(number: f64, out: &mut String) {
    if number == 0.0 {
        return out.push('0');
    }
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    out.push_str(sign);
    // Where the decimal point is, counted from the first digit.
    let point = exponent + 1;
    let count = digits.len() as i32;
    // Writing to a String cannot fail.
    let _ = match point {
        1..=21 if count <= point => write!(out, "{digits}{}", "0".repeat((point - count) as usize)),
        1..=21 => {
            let (whole, fraction) = digits.split_at(point as usize);
            write!(out, "{whole}.{fraction}")
        }
        -5..=0 => write!(out, "0.{}{digits}", "0".repeat(-point as usize)),
        _ => {
            let (first, rest) = digits.split_at(1);
            let dot = if rest.is_empty() { "" } else { "." };
            write!(out, "{first}{dot}{rest}e{exponent:+}")
        }
    };
}

fn print_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            // Writing to a String cannot fail.
            '\0'..='\u{1f}' => drop(write!(out, "\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// The number that a key is, if it is one by which an array is indexed.
fn array_index(key: &str) -> Option<u32> {
    let is_canonical = key == "0" || (!key.starts_with('0') && key.bytes().all(|b| b.is_ascii_digit()));
    key.parse().ok().filter(|index| is_canonical && *index != u32::MAX)
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element()? {
            elements.push(element);
        }
        Ok(Json::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members: Vec<(String, Json)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        while let Some((key, value)) = map.next_entry::<String, Json>()? {
            match places.get(&key) {
                Some(place) => members[*place].1 = value,
                None => {
                    places.insert(key.clone(), members.len());
                    members.push((key, value));
                }
            }
        }
        // A stable sort: what is no index stays behind them, in its order.
        members.sort_by_key(|(key, _)| array_index(key).map_or(u64::MAX, u64::from));
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(given: &str, expected: &str) {
        assert_eq!(reprint(given.as_bytes()).as_deref(), Some(expected), "{given}");
    }

    /// Each of these was printed by Node 20.
    #[test]
    fn it_prints_as_javascript_does() {
        check(r#" { "b" : 1 , "a" : [ ] , "c" : { } } "#, r#"{"b":1,"a":[],"c":{}}"#);
        check(r#"{"a":1,"b":2,"a":3}"#, r#"{"a":3,"b":2}"#);
        check(
            r#"{"b":1,"10":2,"2":3,"02":4,"4294967295":5,"-1":6}"#,
            r#"{"2":3,"10":2,"b":1,"02":4,"4294967295":5,"-1":6}"#,
        );
        check(r#""\u00e9\/\u2028\u007f\u0001\b\ud83d\ude00""#, "\"é/\u{2028}\u{7f}\\u0001\\b😀\"");
        check("[true,false,null]", "[true,false,null]");
    }

    #[test]
    fn numbers_are_spelled_as_javascript_spells_them() {
        for (given, expected) in [
            ("1.0", "1"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("23.50", "23.5"),
            ("1467018792599", "1467018792599"),
            ("12345678901234567890", "12345678901234567000"),
            ("-9007199254740993", "-9007199254740992"),
            ("100000000000000000000", "100000000000000000000"),
            ("1e21", "1e+21"),
            ("1.5e300", "1.5e+300"),
            ("0.000001", "0.000001"),
            ("1e-7", "1e-7"),
            ("-1.25e-9", "-1.25e-9"),
            ("5e-324", "5e-324"),
            ("0.1", "0.1"),
            ("123456.789", "123456.789"),
        ] {
            check(given, expected);
        }
    }

    #[test]
    fn what_is_no_json_is_not_printed() {
        for text in ["", "{", "{a:1}", "[1,]", "{} {}", "\"\\ud800\""] {
            assert_eq!(reprint(text.as_bytes()), None, "{text}");
        }
        assert_eq!(reprint("[".repeat(100_000).as_bytes()), None, "too deep, and no crash");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = reprint(&bytes);
        }

        #[test]
        fn what_was_printed_is_printed_the_same_again(number: f64, text in ".*") {
            prop_assume!(number.is_finite());
            let first = reprint(serde_json::json!({"n": number, "t": text}).to_string().as_bytes()).unwrap();
            prop_assert_eq!(reprint(first.as_bytes()).unwrap(), first);
        }
    }
}
