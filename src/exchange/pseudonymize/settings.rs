//! What is ours and no vendor's: a source's settings, and the payloads of link rows.
//!
//! Of both only members that are known stay: numbers, switches and words of ours, identifiers by their pseudonyms. A
//! member that a later version adds is left out until it stands here.

use serde_json::{Map, Value};

use super::channel::{Words, is_word};
use super::names::Names;
use crate::units::{Moment, parse_moment};

/// Identifiers, and lists of them.
const NAMES: [&str; 10] = [
    "sensors",
    "locations",
    "device_token",
    "instance_id",
    "client_id",
    "access_key",
    "app_id",
    "tenant_id",
    "api_key",
    "sn",
];

/// Topics, topic filters, lists of them, and objects by them; a webhook's path, which a replay pushes to.
const TOPICS: [&str; 4] = ["topics", "topic", "granted_qos", "path"];

/// Words and numbers of ours.
const OURS: [&str; 36] = [
    "transport",
    "qos",
    "clean_session",
    "units",
    "timezone",
    "date_format",
    "refresh",
    "login",
    "safe_mode",
    "verify_signature",
    "exclude_kinds",
    "send_on_open",
    "tls_insecure",
    "event",
    "connection",
    "gap_ns",
    "attempt",
    "planned",
    "flowing",
    "cause",
    "code",
    "down_ns",
    "silent_ns",
    "dropped",
    "dropped_bytes",
    "session_present",
    "call",
    "what",
    "by",
    "heartbeat_ms",
    "renew_every_ms",
    "token_margin_ms",
    "connection_max_age_ms",
    "signature_max_age_ms",
    "stall_after_ms",
    "header",
];

/// Moments, RFC 3339.
const TIMES: [&str; 2] = ["first_at", "last_at"];

/// The payload of a link row; none if it is none of ours.
pub(super) fn link(payload: &[u8], words: &Words, names: &mut Names, shift_us: i64) -> Option<Vec<u8>> {
    let payload: Map<String, Value> = serde_json::from_slice(payload).ok()?;
    payload.get("event").filter(|event| ours("event", event).is_string())?;
    Some(shown(&Value::Object(payload), words, names, shift_us).to_string().into_bytes())
}

/// A source's settings, or a link row's members.
pub(super) fn shown(settings: &Value, words: &Words, names: &mut Names, shift_us: i64) -> Value {
    let Value::Object(members) = settings else { return Value::Null };
    let mut shown_members = Map::new();
    for (name, value) in members {
        let name = name.as_str();
        let new = if name == "options" {
            shown(value, words, names, shift_us)
        } else if NAMES.contains(&name) {
            named(value, &mut |text| names.name(text))
        } else if TOPICS.contains(&name) {
            named(value, &mut |topic| words.channel(topic, names))
        } else if TIMES.contains(&name) {
            moved(value, shift_us)
        } else if OURS.contains(&name) && !(words.hides_places && name == "timezone") {
            ours(name, value)
        } else {
            continue;
        };
        shown_members.insert(name.to_owned(), new);
    }
    Value::Object(shown_members)
}

/// The identifiers that settings name.
pub(super) fn identifiers(settings: &Value, found: &mut Vec<String>) {
    for name in NAMES {
        let Some(value) = settings.get(name) else { continue };
        // Only collected: nothing is named.
        named(value, &mut |text| {
            found.push(text.to_owned());
            String::new()
        });
    }
}

/// Texts and integers as `name` says; in lists too, and the keys of objects.
fn named(value: &Value, name: &mut dyn FnMut(&str) -> String) -> Value {
    match value {
        // A placeholder, as in `upload/{access_key}/#`, names nobody.
        Value::String(text) if text.contains('{') => Value::Null,
        Value::String(text) => name(text).into(),
        Value::Number(number) => {
            let new = name(&number.to_string());
            new.parse::<i64>().map_or(Value::Null, Value::from)
        }
        Value::Array(items) => items.iter().map(|item| named(item, name)).collect(),
        Value::Object(members) => {
            let granted = |(key, value): (&String, &Value)| {
                (name(key), if value.is_number() { value.clone() } else { Value::Null })
            };
            Value::Object(members.iter().map(granted).collect())
        }
        other => other.clone(),
    }
}

/// A value as we write it, and nothing that somebody else may have put there.
fn ours(name: &str, value: &Value) -> Value {
    let is_ours = |text: &str| {
        is_word(text) && text.bytes().all(|b| b.is_ascii_lowercase() || b"_-0123456789".contains(&b))
    };
    match value {
        Value::String(text) if !matches!(name, "timezone" | "header") && !is_ours(text) => Value::Null,
        Value::Array(items) => items.iter().map(|item| ours(name, item)).collect(),
        // None of ours has members.
        Value::Object(_) => Value::Null,
        other => other.clone(),
    }
}

fn moved(value: &Value, shift_us: i64) -> Value {
    match value.as_str().map(parse_moment) {
        Some(Ok(Moment::At(at_us))) => crate::archive::format_us(at_us.saturating_add(shift_us)).into(),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::secret::Secret;

    #[test]
    fn of_link_rows_only_what_is_known_stays() {
        let mut names = Names::new(Secret::new("k"));
        let payload = json!({"event": "refused", "connection": 3, "reason": "no such user: smith", "cause": "broken",
            "sn": "ATR_1", "planned": {"by": "smith"}, "dropped": [[{"sn": "ATR_1"}]], "first_at": "2026-03-01T00:00:00Z", "host": "10.0.0.7",
            "options": {"transport": "mqtt", "api_url": "https://ward.example.com", "sensors": ["ATR_1"],
            "locations": [12, 7], "tenant_id": null, "timezone": "Europe/Helsinki", "renew_every_ms": 55_000}});
        let words = Words::new(&payload["options"], true);
        let new = link(payload.to_string().as_bytes(), &words, &mut names, 86_400_000_000).unwrap();
        let (sn, twelve, seven) = (names.name("ATR_1"), names.integer(12), names.integer(7));
        let number = |text: &str| text.parse::<i64>().unwrap();
        let expected = json!({"event": "refused", "connection": 3, "cause": "broken", "sn": sn,
            "planned": null, "dropped": [[null]], "first_at": "2026-03-02T00:00:00.000000Z", "options": {"transport": "mqtt", "sensors": [sn],
            "locations": [number(&twelve), number(&seven)], "tenant_id": null, "renew_every_ms": 55_000}});
        assert_eq!(serde_json::from_slice::<Value>(&new).unwrap(), expected);
        assert_eq!(link(b"{\"x\": 1}", &words, &mut names, 0), None);
        let settings = json!({"path": "/hooks/8231020045"});
        let shown = shown(&settings, &Words::new(&settings, false), &mut names, 0);
        assert_eq!(shown, json!({"path": format!("/hooks/{}", names.name("8231020045"))}));
    }
}
