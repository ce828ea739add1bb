//! What is seen of a message, and that nothing else is.

use proptest::prelude::*;

use super::*;

const DECLARED: &str = r#"
kind = "k"
match = { paths = ["type", "kind"], equals = "k" }
null_together = [{ fields = ["longitude", "latitude"], value = 0 }]
[[field]]
name = "device"
id = 100
type = "string"
role = "identifier"
path = "id"
[[field]]
name = "speed_kmh"
id = 101
type = "double"
unit = "km/h"
role = "measurement"
path = "in.v"
[[field]]
name = "note"
id = 102
type = "string"
role = "text"
path = "note"
[[field]]
name = "waybill"
id = 103
type = "string"
role = "identifier"
path = "note.bill"
[[field]]
name = "cell_mcc"
id = 104
type = "int32"
role = "location"
path = "cells"
split = { separator = ",", position = 0 }
[[field]]
name = "longitude"
id = 105
type = "double"
unit = "°"
role = "location"
path = "lon"
[[field]]
name = "latitude"
id = 106
type = "double"
unit = "°"
role = "location"
path = "lat"
[[field]]
name = "tags"
id = 107
type = "list<string>"
element_id = 108
role = "identifier"
path = "tags"
[[field]]
name = "made_at"
id = 109
type = "timestamp"
time = "unix_s_or_rfc3339"
role = "time"
path = "at"
[[field]]
name = "made_at_text"
id = 110
type = "string"
role = "text"
path = "at"
[[field]]
name = "parts"
id = 111
type = "list<struct>"
element_id = 112
role = "state"
path = "parts"
[[field.member]]
name = "grade"
id = 113
type = "int32"
role = "state"
path = "n"
"#;

/// Identifiers and words are a star, places a one.
#[derive(Default)]
struct Stars {
    dropped: u32,
}

impl Mask for Stars {
    fn value(&mut self, field: &Field, _: &str, is_number: bool) -> Shown {
        match field.role {
            Role::Identifier | Role::Text if is_number => Shown::Instead("7".into()),
            Role::Identifier | Role::Text => Shown::Instead("*".into()),
            Role::Location => Shown::Instead("1".into()),
            _ => Shown::AsIs,
        }
    }

    fn key(&mut self, _: &str) -> Shown {
        Shown::Instead("#".into())
    }

    fn dropped(&mut self) {
        self.dropped += 1;
    }
}

fn conceal() -> Conceal {
    Conceal::new(&Declaration::parse(DECLARED, "test.toml").unwrap()).unwrap()
}

fn seen(body: &str) -> Option<String> {
    let seen = conceal().message(body.as_bytes(), None, &mut Stars::default())?;
    Some(String::from_utf8(seen).unwrap())
}

#[test]
fn what_is_declared_is_seen_and_the_rest_is_not() {
    let mut wrong = Vec::new();
    for (body, expected) in [
        (r#"{"id":"a"}"#, r#"{"id":"*"}"#),
        (r#"{"id": 12 , "x": 1}"#, r#"{"id": 7}"#),
        (r#"{"x":{"id":"a"},"y":[1], "id":"a","z":"s"}"#, r#"{"id":"*"}"#),
        (r#"{ "x":"secret" }"#, r#"{ }"#),
        (r#"{"x":1,"in":{"v":2.50,"who":"s"},"y":null}"#, r#"{"in":{"v":2.50}}"#),
        // What is not as declared is nothing.
        (r#"{"in":{"v":"smith"}}"#, r#"{"in":{"v":null}}"#),
        (r#"{"in":"smith","tags":"smith"}"#, r#"{"in":null,"tags":null}"#),
        (r#"{"in":["smith"],"id":{"a":"smith"}}"#, r#"{"in":null,"id":null}"#),
        (r#"{"tags":["a",5,{"b":"smith"}]}"#, r#"{"tags":["*",7,null]}"#),
        // JSON in strings, however it is escaped.
        (r#"{"note":"smith"}"#, r#"{"note":"*"}"#),
        (r#"{"note":"{\"bill\":\"b\",\"who\":\"smith\"}"}"#, r#"{"note":"{\"bill\":\"*\"}"}"#),
        (r#"{"note":"{\u0022bill\u0022:\"b\"}"}"#, r#"{"note":"{\u0022bill\u0022:\"*\"}"}"#),
        (r#"{"in":"{\"v\":\"smith\"}"}"#, r#"{"in":"{\"v\":null}"}"#),
        // Parts of a text that nobody declared.
        (r#"{"cells":"460,0,9365"}"#, r#"{"cells":"1,,"}"#),
        (r#"{"cells":1.5}"#, r#"{"cells":null}"#),
        // Together they are no place.
        (r#"{"lon":0.0,"lat":-0.0}"#, r#"{"lon":0.0,"lat":-0.0}"#),
        (r#"{"lon":0.0,"lat":60.1}"#, r#"{"lon":1,"lat":1}"#),
        // A time is no words, but words are no time.
        (r#"{"at":"2024-02-13T16:33:00Z"}"#, r#"{"at":"2024-02-13T16:33:00Z"}"#),
        (r#"{"at":"2024-02-13 16:33:00"}"#, r#"{"at":"2024-02-13 16:33:00"}"#),
        (r#"{"at":"smith"}"#, r#"{"at":"*"}"#),
        // What tells the kind.
        (r#"{"type":"k","kind":"smith"}"#, r#"{"type":"k","kind":"*"}"#),
        (r#"{"parts":[{"n":1,"who":"smith"},"smith",3]}"#, r#"{"parts":[{"n":1},null,null]}"#),
        (r#"{"parts":{"smith":{"n":1}}}"#, r##"{"parts":{"#":{"n":1}}}"##),
        (r#""smith""#, "null"),
    ] {
        if seen(body).as_deref() != Some(expected) {
            wrong.push((body, seen(body)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(seen("{\"id\":\"a\""), None);
    let mut stars = Stars::default();
    conceal().message(br#"{"x":1,"y":{"z":2},"in":5}"#, None, &mut stars);
    assert_eq!(stars.dropped, 3);
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?[1-9][0-9]{0,3}(\\.[0-9]{1,2})?",
        Just("\"smith\"".to_owned()),
        Just("\"smi\\u0074h\"".to_owned()),
        Just("\"{\\\"bill\\\":\\\"smith\\\",\\\"x\\\":\\\"smith\\\"}\"".to_owned()),
        Just("\"\"".to_owned()),
    ];
    let key = prop_oneof![
        Just("id"),
        Just("in"),
        Just("v"),
        Just("note"),
        Just("bill"),
        Just("tags"),
        Just("x"),
        Just("parts"),
        Just("n"),
        Just("cells"),
        Just("type")
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let member = (key.clone(), inner.clone()).prop_map(|(key, value)| format!("\"{key}\" : {value}"));
        prop_oneof![
            proptest::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(" ,"))),
            proptest::collection::vec(member, 0..5).prop_map(|members| format!("{{{}}}", members.join(", "))),
        ]
    })
}

proptest! {
    #[test]
    fn no_name_is_left_and_all_is_json(body in json()) {
        let seen = seen(&body).unwrap();
        let value: Option<serde_json::Value> = serde_json::from_str(&seen).ok();
        prop_assert!(value.is_some(), "{body} -> {seen}");
        let value = value.unwrap();
        prop_assert!(!value.to_string().contains("smith"), "{body} -> {seen}");
    }
}
