//! A row as JSON: what `cat` prints, `format=envelope` serves and JSON lines exchange.
//!
//! One object with the names of the archive's columns, `vendor` and `kind` in front, nulls left out.
//! Bytes are text where they are UTF-8 (`payload`, `clear`) and base64 where they are not
//! (`payload_base64`, `clear_base64`), so that every payload comes back exactly.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat};
use serde::{Serialize, Serializer};

use crate::message::{Row, SessionId};

/// The JSON object of `row`, on one line without a line feed.
pub fn to_json(row: &Row) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Envelope::from(row))
}

/// The same with `payload` in place of the row's own.
pub fn to_json_with(row: &Row, payload: &[u8]) -> Result<String, serde_json::Error> {
    let (payload, payload_base64) = text_or_base64(payload);
    serde_json::to_string(&Envelope { payload, payload_base64, ..Envelope::from(row) })
}

/// A row in the shape that is written; borrows all of it.
#[derive(Debug, Serialize)]
pub struct Envelope<'a> {
    vendor: &'a str,
    kind: &'a str,
    site: &'a str,
    session_id: SessionId,
    source: &'a str,
    connection: i32,
    seq: u64,
    #[serde(serialize_with = "rfc3339")]
    received_at: i64,
    elapsed_ns: u64,
    channel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "rfc3339_if_any")]
    event_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    qos: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retain: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dup: Option<bool>,
    is_binary: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<BTreeMap<&'a str, &'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate_of: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clear: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clear_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decode_error: Option<&'a str>,
}

impl<'a> From<&'a Row> for Envelope<'a> {
    fn from(row: &'a Row) -> Self {
        let (payload, payload_base64) = text_or_base64(&row.payload);
        let (clear, clear_base64) = row.clear.as_ref().map_or((None, None), |clear| text_or_base64(clear));
        Self {
            vendor: &row.vendor,
            kind: &row.kind,
            site: &row.site,
            session_id: row.session_id,
            source: &row.source,
            connection: row.connection,
            seq: row.seq,
            received_at: row.received_at_us,
            elapsed_ns: row.elapsed_ns,
            channel: &row.channel,
            device_id: row.device_id.as_deref(),
            event_at: row.event_at_us,
            qos: row.mqtt.map(|m| m.qos),
            retain: row.mqtt.map(|m| m.retain),
            dup: row.mqtt.map(|m| m.dup),
            is_binary: row.is_binary,
            headers: row
                .headers
                .as_ref()
                .map(|headers| headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()),
            duplicate_of: row.duplicate_of,
            payload,
            payload_base64,
            clear,
            clear_base64,
            decode_error: row.decode_error.as_deref(),
        }
    }
}

fn text_or_base64(bytes: &[u8]) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(STANDARD.encode(bytes))),
    }
}

/// RFC 3339 in UTC with six decimals. A time that the calendar has no year for is given as its
/// number, since a row is never a reason to fail.
fn rfc3339<S: Serializer>(micros: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    match DateTime::from_timestamp_micros(*micros) {
        Some(time) => serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Micros, true)),
        None => serializer.serialize_i64(*micros),
    }
}

fn rfc3339_if_any<S: Serializer>(micros: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    match micros {
        Some(micros) => rfc3339(micros, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::message::Mqtt;

    fn row() -> Row {
        Row {
            vendor: "jointech".into(),
            kind: "location".into(),
            site: "".into(),
            session_id: SessionId::new(0, [0; 10]),
            source: "locks".into(),
            connection: 0,
            seq: 7,
            received_at_us: 1_761_000_000_000_001,
            elapsed_ns: 12,
            channel: "upload/k/1".into(),
            device_id: None,
            event_at_us: None,
            mqtt: None,
            is_binary: false,
            headers: None,
            duplicate_of: None,
            payload: Bytes::from_static(b"{\"x\":-0.0}"),
            clear: None,
            decode_error: None,
        }
    }

    #[test]
    fn nulls_are_left_out_and_text_stays_text() {
        assert_eq!(
            to_json(&row()).unwrap(),
            "{\"vendor\":\"jointech\",\"kind\":\"location\",\"site\":\"\",\
             \"session_id\":\"00000000-0000-7000-8000-000000000000\",\"source\":\"locks\",\"connection\":0,\
             \"seq\":7,\"received_at\":\"2025-10-20T22:40:00.000001Z\",\"elapsed_ns\":12,\
             \"channel\":\"upload/k/1\",\"is_binary\":false,\"payload\":\"{\\\"x\\\":-0.0}\"}"
        );
    }

    #[test]
    fn what_is_not_utf_8_goes_as_base64() {
        let row = Row {
            payload: Bytes::from_static(&[0xFF, 0x00]),
            clear: Some(Bytes::from_static(&[0xFE])),
            headers: Some(vec![("b".into(), "2".into()), ("a".into(), "1".into())]),
            mqtt: Some(Mqtt { qos: 1, retain: true, dup: false }),
            received_at_us: i64::MAX,
            event_at_us: Some(0),
            ..row()
        };
        let json: serde_json::Value = serde_json::from_str(&to_json(&row).unwrap()).unwrap();
        assert_eq!(json["payload_base64"], "/wA=");
        assert_eq!(json["clear_base64"], "/g==");
        assert_eq!(json.get("payload"), None);
        assert_eq!(json["headers"]["a"], "1");
        assert_eq!(json["qos"], 1);
        assert_eq!(json["retain"], true);
        assert_eq!(json["event_at"], "1970-01-01T00:00:00.000000Z");
        assert_eq!(json["received_at"], i64::MAX);
    }
}
