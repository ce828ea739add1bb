//! What of a pushed body matters before it is decoded: its kind, its delivery, its ciphertext.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of the top level that the collector looks at; of repeated keys the last counts.
#[derive(Debug, Default)]
pub(super) struct Outer<'a> {
    kind: Option<&'a RawValue>,
    app_id: Option<&'a RawValue>,
    msg_id: Option<&'a RawValue>,
    encrypted: Option<&'a RawValue>,
}

impl<'a> Outer<'a> {
    /// Nothing of a body that is not one JSON object.
    pub(super) fn of(body: &'a [u8]) -> Self {
        let mut json = serde_json::Deserializer::from_slice(body);
        let read = json.deserialize_map(OuterVisitor).and_then(|outer| json.end().map(|()| outer));
        read.unwrap_or_default()
    }

    /// The discriminator, `type`.
    pub(super) fn kind(&self) -> Option<Cow<'a, str>> {
        text(self.kind?)
    }

    /// The ciphertext of safe mode.
    pub(super) fn encrypted(&self) -> Option<Cow<'a, str>> {
        text(self.encrypted?)
    }

    /// What is the same in a push and its re-pushes and in no other. `msgId` is a number in the vendor's
    /// table, and `''` in its sample, which proves nothing.
    pub(super) fn delivery_id(&self) -> Option<String> {
        let msg_id = spelled(self.msg_id?).filter(|id| !id.is_empty())?;
        let app_id = self.app_id.and_then(spelled).unwrap_or_default();
        Some(format!("{app_id}/{msg_id}"))
    }
}

fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<String>(value.get()).ok().map(Cow::Owned)
}

/// A text's content or a number as it is written; none for anything else.
fn spelled(value: &RawValue) -> Option<Cow<'_, str>> {
    match value.get().as_bytes().first()? {
        b'"' => text(value),
        b'-' | b'0'..=b'9' => Some(Cow::Borrowed(value.get())),
        _ => None,
    }
}

struct OuterVisitor;

impl<'de> Visitor<'de> for OuterVisitor {
    type Value = Outer<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Outer<'de>, A::Error> {
        let mut outer = Outer::default();
        while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
            let place = match key.as_str() {
                "type" => &mut outer.kind,
                "appId" => &mut outer.app_id,
                "msgId" => &mut outer.msg_id,
                "encryptData" => &mut outer.encrypted,
                _ => continue,
            };
            *place = Some(value);
        }
        Ok(outer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_told_by_app_and_message() {
        let cases = [
            (r#"{"appId":"a","msgId":1}"#, Some("a/1")),
            (r#"{"appId":"a","msgId":"1"}"#, Some("a/1")),
            (r#"{"msgId":"x\"y","appId":7}"#, Some("7/x\"y")),
            (r#"{"msgId":12345678901234567890}"#, Some("/12345678901234567890")),
            (r#"{"appId":"a","msgId":1,"msgId":2}"#, Some("a/2")),
            (r#"{"appId":"a","msgId":""}"#, None),
            (r#"{"appId":"a","msgId":null}"#, None),
            (r#"{"appId":"a","msgId":{}}"#, None),
            (r#"{"appId":"a","data":{"msgId":1}}"#, None),
            (r#"{"appId":"a","msgId":1"#, None),
            (r#"{"appId":"a","msgId":1} x"#, None),
            ("[1]", None),
            ("\u{feff}{}", None),
        ];
        for (body, expected) in cases {
            assert_eq!(Outer::of(body.as_bytes()).delivery_id().as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn type_and_ciphertext_are_texts_or_nothing() {
        let outer = Outer::of(br#"{"type":"te\u0078t","encryptData":"QUJD","data":[[[]]]}"#);
        assert_eq!((outer.kind().as_deref(), outer.encrypted().as_deref()), (Some("text"), Some("QUJD")));
        let outer = Outer::of(br#"{"type":1,"encryptData":{"a":1}}"#);
        assert_eq!((outer.kind(), outer.encrypted()), (None, None));
    }
}
