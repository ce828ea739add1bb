//! A look at the top level of a JSON object: which of a few members are there, and what two of them say.
//! Streaming, without a tree and without allocation; the whole body is read, so that what is not JSON
//! is known to be none.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

/// Calls `member` with each member of the top-level object: its name, and its value if that is a string.
/// A name that occurs twice is reported twice. False if `body` is not one JSON object.
pub(super) fn each_member(body: &[u8], mut member: impl FnMut(&str, Option<&str>)) -> bool {
    let mut json = serde_json::Deserializer::from_slice(body);
    json.deserialize_map(Members(&mut member)).is_ok() && json.end().is_ok()
}

struct Members<'f, F>(&'f mut F);

impl<'de, F: FnMut(&str, Option<&str>)> Visitor<'de> for Members<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
            let Text(value) = map.next_value()?;
            if let Some(name) = name.get() {
                (self.0)(name, value.get());
            }
        }
        Ok(())
    }
}

/// A string, or the knowledge that it was something else.
struct Text<'de>(Is<'de>);

enum Is<'de> {
    Borrowed(&'de str),
    /// It had escapes. Rare in names and types, so the copy does not matter.
    Owned(String),
    NoString,
}

impl Is<'_> {
    fn get(&self) -> Option<&str> {
        match self {
            Is::Borrowed(text) => Some(text),
            Is::Owned(text) => Some(text),
            Is::NoString => None,
        }
    }
}

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(TextVisitor).map(Text)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Is<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Is::Borrowed(text))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Is::Owned(text.to_owned()))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Is::NoString)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Is::NoString)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Is::NoString)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Is::NoString)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Is::NoString)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Is::NoString)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Is::NoString)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(body: &[u8]) -> Option<Vec<(String, Option<String>)>> {
        let mut found = Vec::new();
        each_member(body, |name, value| found.push((name.to_owned(), value.map(str::to_owned))))
            .then_some(found)
    }

    #[test]
    fn only_the_top_level_is_seen() {
        let body =
            br#" {"a":"x","b":{"type":"no"},"c":[{"type":"no"}],"d":1.5,"e":null,"f\u0021":"\"y","a":-0.0} "#;
        let expected = [
            ("a", Some("x")),
            ("b", None),
            ("c", None),
            ("d", None),
            ("e", None),
            ("f!", Some("\"y")),
            ("a", None),
        ];
        let expected = expected.map(|(n, v)| (n.to_owned(), v.map(str::to_owned)));
        assert_eq!(members(body).unwrap(), expected);
    }

    #[test]
    fn what_is_not_one_object_is_refused() {
        let bodies: [&[u8]; 9] = [
            b"",
            b"{",
            b"[]",
            b"\"a\"",
            b"{} x",
            b"{\"a\":1,}",
            b"{\"a\":\xFF}",
            b"\xEF\xBB\xBF{}",
            b"{\"a\" 1}",
        ];
        for body in bodies {
            assert_eq!(members(body), None, "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn depth_neither_overflows_nor_hides_members() {
        let deep = format!(r#"{{"x":{}{},"type":"t"}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(members(deep.as_bytes()).unwrap().len(), 2);
    }
}
