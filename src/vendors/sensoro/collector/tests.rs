use proptest::prelude::*;

use super::*;
use crate::secret::Secret;
use crate::vendors::sensoro::tests::{APP_SECRET, config};
use crate::vendors::testing::{Hand, source};
use crate::vendors::{Source, VendorConfig};

const PATH: &str = "/sensoro/webhooks";
const NONCE: &str = "1467018792599";
const PLAIN: &str = include_str!("../../../../fixtures/sensoro/telemetry_temperature.json");
const CLEAR: &str = r#"{"battery":85,"interval":60,"temperature":23.5}"#;
const SIGNATURE: &str = "BqEl0aJjqOr4uJgbJbyokjdE3xWUMcqo0RrNXibVq7s=";

fn safe() -> String {
    let sealed = config().app_key.unwrap().seal([7; 16], CLEAR.as_bytes(), "123456");
    PLAIN.replace(&format!(r#""data":{CLEAR}"#), &format!(r#""encryptData":"{sealed}""#))
}

fn hand(config: SensoroConfig) -> Hand {
    Hand::of(&of(config))
}

fn of(config: SensoroConfig) -> Source {
    source(VendorConfig::Sensoro(config))
}

fn signature(url: &str, body: &str) -> String {
    let signed = Signed { nonce: NONCE, method: "POST", url, body: body.as_bytes() };
    signed.sign(&Secret::new(APP_SECRET))
}

fn unsigned() -> SensoroConfig {
    SensoroConfig { verify_signature: false, ..config() }
}

fn taken_as(kind: &str) -> Vec<String> {
    vec![format!(r#"record 0 {kind} on {PATH}, answer 3 200 {{"message":"success","messages":"success"}}"#)]
}

/// The one record that a push of `body` gives, unsigned.
fn record(config: SensoroConfig, body: &str) -> Record {
    let mut hand = hand(config);
    let request = HttpRequest {
        method: "POST".into(),
        path_and_query: PATH.into(),
        headers: Vec::new(),
        body: Bytes::copy_from_slice(body.as_bytes()),
    };
    let at = hand.now;
    let mut fx = hand.effects(Input::Pushed { inbound: 1, at, request });
    match fx.pop() {
        Some(Effect::Record { record, .. }) => record,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_signed_push_is_taken_and_any_other_is_not() {
    let right = [
        ("host", "example.com"),
        ("x-forwarded-proto", "https"),
        ("x-access-nonce", NONCE),
        ("x-access-signature", SIGNATURE),
    ];
    let but = |name: &str, value: &'static str| -> Vec<(&'static str, &'static str)> {
        right.iter().map(|(n, v)| if *n == name { (*n, value) } else { (*n, *v) }).collect()
    };
    let mut hand = hand(config());
    assert_eq!(hand.give(Input::Start), ["link connecting 0", "link connected 0: listening"]);
    assert_eq!(hand.post("POST", PATH, &right, PLAIN), taken_as("telemetry"));
    for headers in [
        but("x-access-nonce", "1467018792600"),
        but("x-access-signature", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        but("x-access-signature", "no base64"),
        but("x-access-signature", ""),
        but("host", "example.org"),
        but("x-forwarded-proto", "http"),
        right[..2].to_vec(),
        right[2..].to_vec(),
    ] {
        assert_eq!(hand.post("POST", PATH, &headers, PLAIN), ["refuse 3 401"], "{headers:?}");
    }
    assert_eq!(hand.post("POST", PATH, &right, &PLAIN.replace("85", "86")), ["refuse 3 401"]);
    assert_eq!(hand.post("POST", &format!("{PATH}?a=1"), &right, PLAIN), ["refuse 3 401"]);
    assert_eq!(hand.post("PUT", PATH, &right, PLAIN), ["refuse 3 401"]);
}

#[test]
fn a_signature_may_have_to_be_fresh() {
    const MAX: Duration = Duration::from_secs(300);
    for (max, apart_ms, is_taken) in [
        (None, 3_600_000_000, true),
        (Some(MAX), 0, true),
        (Some(MAX), 300_000, true),
        (Some(MAX), 300_001, false),
        (Some(MAX), -300_000, true),
        (Some(MAX), -300_001, false),
    ] {
        let mut hand = hand(SensoroConfig { signature_max_age: max, ..config() });
        hand.now.wall_us = (NONCE.parse::<i64>().unwrap() + apart_ms) * 1_000;
        let headers = [("host", "example.com"), ("x-access-nonce", NONCE), ("x-access-signature", SIGNATURE)];
        let expected = if is_taken { taken_as("telemetry") } else { vec!["refuse 3 401".to_owned()] };
        assert_eq!(hand.post("POST", PATH, &headers, PLAIN), expected, "{max:?} {apart_ms}");
    }
    for nonce in ["", "soon", "9223372036854775808"] {
        assert!(!is_fresh(nonce, Duration::MAX, Now::default()), "{nonce}");
    }
}

#[test]
fn the_body_may_be_signed_as_javascript_prints_it() {
    let spaced = PLAIN.replace(':', ": ").replace("23.5", "23.50").replace("sn\"", "\\u0073n\"");
    let headers = [("host", "example.com"), ("x-access-nonce", NONCE), ("x-access-signature", SIGNATURE)];
    assert_eq!(hand(config()).post("POST", PATH, &headers, &spaced), taken_as("telemetry"));
    let empty = signature("https://example.com/sensoro/webhooks", "{}");
    let headers = [("host", "example.com"), ("x-access-nonce", NONCE), ("x-access-signature", &empty)];
    assert_eq!(hand(config()).post("POST", PATH, &headers, ""), taken_as("other"));
}

#[test]
fn behind_a_proxy_the_signed_url_is_the_one_that_the_vendor_knows() {
    type Case<'a> = (Option<&'a str>, &'a [(&'a str, &'a str)], &'a str, &'a str);
    let cases: [Case<'_>; 10] = [
        (None, &[("host", "in:7081")], "/sensoro/webhooks", "http://in:7081/sensoro/webhooks"),
        (
            None,
            &[("host", "in:7081")],
            "/sensoro/webhooks/a?b=%20c",
            "https://in:7081/sensoro/webhooks/a?b=%20c",
        ),
        (
            None,
            &[("host", "in"), ("x-forwarded-host", "out.example, in"), ("x-forwarded-proto", "HTTPS, http")],
            "/sensoro/webhooks",
            "https://out.example/sensoro/webhooks",
        ),
        (
            None,
            &[("host", "out"), ("x-forwarded-host", "odd")],
            "/sensoro/webhooks",
            "https://out/sensoro/webhooks",
        ),
        (Some("https://out.example"), &[], "/sensoro/webhooks?x", "https://out.example/sensoro/webhooks?x"),
        (Some("https://out.example/"), &[], "/sensoro/webhooks", "https://out.example/sensoro/webhooks"),
        (Some("https://out.example/in"), &[], "/sensoro/webhooks", "https://out.example/in"),
        (Some("https://out.example/in/"), &[], "/sensoro/webhooks/a?b", "https://out.example/in/a?b"),
        (Some("https://out.example/in?b=c"), &[], "/sensoro/webhooks?b=c", "https://out.example/in?b=c"),
        (
            Some("https://out.example/sensoro/webhooks"),
            &[],
            "/sensoro/webhooks/a",
            "https://out.example/sensoro/webhooks/a",
        ),
    ];
    for (public_url, headers, path, url) in cases {
        let config = SensoroConfig { public_url: public_url.map(str::to_owned), ..config() };
        let signature = signature(url, PLAIN);
        let mut headers = headers.to_vec();
        headers.extend([("x-access-nonce", NONCE), ("x-access-signature", &signature)]);
        let lines = hand(config).post("POST", path, &headers, PLAIN);
        assert!(lines[0].starts_with("record"), "{url}: {lines:?}");
    }
    let other = SensoroConfig { public_url: Some("https://out.example".into()), ..config() };
    let headers = [("host", "example.com"), ("x-access-nonce", NONCE), ("x-access-signature", SIGNATURE)];
    assert_eq!(hand(other).post("POST", PATH, &headers, PLAIN), ["refuse 3 401"]);
}

#[test]
fn kinds_are_told_by_type_whatever_else_is_missing() {
    for (body, kind) in [
        (r#"{"type":"text"}"#, "telemetry"),
        (r#"{"appId":"1","type":"event","msgId":1,"resultCode":0,"taskId":123}"#, "event"),
        (r#"{"type":"alarm"}"#, "other"),
        (r#"{"type":7}"#, "other"),
        (r#"{"sn":"1"}"#, "other"),
        ("[]", "other"),
        ("not JSON", "other"),
        ("", "other"),
    ] {
        assert_eq!(hand(unsigned()).post("POST", PATH, &[], body), taken_as(kind), "{body}");
    }
}

#[test]
fn both_modes_are_taken_at_once_and_the_payload_is_what_came() {
    let plain = record(unsigned(), PLAIN);
    assert_eq!(
        (&plain.payload[..], plain.clear, plain.delivery_id.as_deref()),
        (PLAIN.as_bytes(), None, Some("123456/1"))
    );
    let safe = safe();
    let sealed = record(unsigned(), &safe);
    assert_eq!((&sealed.payload[..], sealed.clear.as_deref()), (safe.as_bytes(), Some(CLEAR.as_bytes())));
    assert_eq!((sealed.kind, sealed.delivery_id), (plain.kind, plain.delivery_id));
}

#[test]
fn what_cannot_be_opened_is_stored_and_told_once_an_hour() {
    let keyless = SensoroConfig { app_key: None, ..unsigned() };
    let other_key = SensoroConfig {
        app_key: super::super::cipher::Cipher::new(&Secret::new("A".repeat(43))),
        ..unsigned()
    };
    let other_app = SensoroConfig { app_id: "7".into(), ..unsigned() };
    for (config, warning, opens) in [
        (keyless, "no app_key is configured", false),
        (other_key, "cannot be opened: no message is in it", false),
        (other_app, "another AppID than app_id", true),
    ] {
        assert_eq!(record(config.clone(), &safe()).clear.is_some(), opens);
        let mut hand = hand(config);
        let first = hand.post("POST", PATH, &[], &safe());
        assert!(first[0].starts_with("link warning 0") && first[0].contains(warning), "{first:?}");
        assert_eq!(first[1..], taken_as("telemetry"));
        assert_eq!(hand.post("POST", PATH, &[], &safe()), taken_as("telemetry"));
        assert_eq!(hand.post("POST", PATH, &[], PLAIN), taken_as("telemetry"));
        hand.pass(WARN_EVERY_NS);
        assert_eq!(hand.post("POST", PATH, &[], &safe())[0], first[0]);
    }
}

proptest! {
    #[test]
    fn no_request_panics(
        path in "/sensoro/webhooks.*|.*",
        method in "POST|.*",
        names in prop::collection::vec("x-access-nonce|x-access-signature|host|x-forwarded-host|x-forwarded-proto|.*", 0..6),
        values in prop::collection::vec(".*|[A-Za-z0-9+/]{43}=", 6),
        body in prop::collection::vec(any::<u8>(), 0..200),
        verify_signature: bool,
        public_url in prop::option::of("https://.*"),
    ) {
        let mut hand = hand(SensoroConfig { verify_signature, public_url, ..config() });
        let request = HttpRequest {
            method,
            path_and_query: path,
            headers: names.into_iter().zip(values).collect(),
            body: body.into(),
        };
        let at = hand.now;
        let fx = hand.effects(Input::Pushed { inbound: 1, at, request });
        prop_assert!(matches!(fx.last(), Some(Effect::Record { .. } | Effect::Refuse { .. })), "always answered");
    }

    #[test]
    fn no_ciphertext_panics(sealed in ".*|[A-Za-z0-9+/]{22,172}") {
        let body = serde_json::json!({"type": "text", "encryptData": sealed}).to_string();
        prop_assert_eq!(record(unsigned(), &body).payload, body.into_bytes());
    }
}
