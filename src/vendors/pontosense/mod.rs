//! Pontosense ("Silver Shield", PontoCare): where people are in a room, from radar sensors.
//!
//! Three protocols together: a REST interface with signed requests gives a token per sensor; with it,
//! MQTT over a WebSocket on AWS IoT Core gives reports on `/location/{sn}`; and a sensor reports only
//! for 60 s after each REST call that starts it. Source of the protocol facts: the vendor's page
//! "Real-time location" with its sample program; what it leaves open follows AWS's developer guide.

pub mod collector;
pub mod config;
pub mod emulator;
mod signature;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use self::config::PontosenseConfig;
use super::settings::public_url;
use super::sniff;
use crate::message::COMMON_KINDS;

/// The vendor's own kinds, in the order of their declarations.
pub const KINDS: [&str; 2] = ["location", "config"];

const LOCATION: u16 = 0;
const CONFIG: u16 = 1;
const OTHER: u16 = (KINDS.len() + COMMON_KINDS.len()) as u16 - 1;

/// Where a token is asked for.
const TOKENS_PATH: &str = "/v1/iot/tokens";

/// The item of the WebSocket's query that names AWS's authorizer, and its fixed value.
const AUTHORIZER_ITEM: &str = "x-amz-customauthorizer-name";
const AUTHORIZER: &str = "third-party-auth";

/// How long a sensor reports after a start.
const REPORTING_S: u64 = 60;

/// All but the unreserved characters, as the vendor's program encodes (`quote(token, safe='')`).
const ITEM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn encode(text: &str) -> String {
    utf8_percent_encode(text, ITEM).to_string()
}

/// The topic of a sensor's reports; the slash at its beginning is the vendor's.
pub(super) fn topic(sn: &str) -> String {
    format!("/location/{sn}")
}

/// The kind of what came on a topic.
fn kind_of(payload: &[u8]) -> u16 {
    let mut is_report = false;
    let is_object = sniff::each_member(payload, |name, value| {
        if name == "method" {
            is_report = value == Some("location.report");
        }
    });
    if is_object && is_report { LOCATION } else { OTHER }
}

/// The options without secrets.
pub(super) fn settings(config: &PontosenseConfig) -> Value {
    let ms = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    json!({
        "transport": "mqtt",
        "api_url": public_url(&config.api_url),
        "api_key": config.api_key,
        "sensors": config.sensors,
        "tenant_id": config.tenant_id,
        "mqtt_url": config.mqtt_url.as_deref().map(public_url),
        "renew_every_ms": ms(config.renew_every),
        "token_margin_ms": ms(config.token_margin),
        "connection_max_age_ms": ms(config.connection_max_age),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_recognised_by_their_method() {
        let cases = [
            (r#"{"method":"location.report","params":[{"id":1}]}"#, LOCATION),
            (r#"{"params":[],"method":"location.report"}"#, LOCATION),
            (r#"{"method":"location.report"}"#, LOCATION),
            (r#"{"method":"event.report","params":[]}"#, OTHER),
            (r#"{"method":7}"#, OTHER),
            (r#"{"params":{"method":"location.report"}}"#, OTHER),
            (r#"{"method":"location.report""#, OTHER),
            ("", OTHER),
        ];
        for (payload, expected) in cases {
            assert_eq!(kind_of(payload.as_bytes()), expected, "{payload}");
        }
    }

    #[test]
    fn the_documented_messages_are_recognised() {
        let reports = include_str!("../../../fixtures/pontosense/reports.jsonl");
        assert!(
            reports.lines().count() > 5 && reports.lines().all(|line| kind_of(line.as_bytes()) == LOCATION)
        );
        let other = include_str!("../../../fixtures/pontosense/other.jsonl");
        assert!(other.lines().all(|line| kind_of(line.as_bytes()) == OTHER));
    }

    #[test]
    fn a_token_is_encoded_completely() {
        assert_eq!(encode("a/b+c=d~e.f_g-h%"), "a%2Fb%2Bc%3Dd~e.f_g-h%25");
    }
}
