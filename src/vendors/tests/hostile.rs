//! Dialogues in which anything may come: a line is what happens to a collector, or what a client says to an emulator.

use super::*;
use crate::fuzz::{Target, assert_words};
use crate::secret::Secret;
use crate::vendors::sensoro::cipher::Cipher;

/// Credentials of the sources, and nothing that an input says.
const SECRET: &str = "s3cret";

/// All vendors and transports; SENSORO's also with signatures checked.
fn all() -> Vec<Source> {
    let mut all = sources();
    let unsigned = all.iter().find_map(|source| match &source.vendor {
        VendorConfig::Sensoro(config) => Some(config.clone()),
        _ => None,
    });
    let signed = sensoro::config::SensoroConfig {
        verify_signature: true,
        app_key: Cipher::new(&Secret::new("abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG")),
        ..unsigned.unwrap()
    };
    all.push(crate::vendors::testing::source(VendorConfig::Sensoro(signed)));
    all
}

/// What a line says: `open CONN`, `text CONN …`, `binary CONN …`, `publish CONN TOPIC …`, `subscribed CONN …`,
/// `close CONN CODE`, `push PATH NAME=VALUE;… BODY`, `respond CALL STATUS BODY`, `stop`.
fn input(line: &str, at: Now) -> Option<Input> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (number, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let conn = number.parse::<Conn>();
    let owned = |text: &str| Bytes::from(text.to_owned());
    Some(match verb {
        "open" => Input::Opened { conn: conn.ok()?, session_present: !rest.is_empty() },
        "text" => Input::Frame { conn: conn.ok()?, at, frame: Frame::Text(rest.into()) },
        "binary" => Input::Frame { conn: conn.ok()?, at, frame: Frame::Binary(owned(rest)) },
        "publish" => {
            let (topic, payload) = rest.split_once(' ').unwrap_or((rest, ""));
            let mqtt = Mqtt { qos: 1, retain: false, dup: false };
            let (topic, payload) = (topic.into(), owned(payload));
            Input::Frame {
                conn: conn.ok()?,
                at,
                frame: Frame::Publish { topic, mqtt, payload, ack: Some(1) },
            }
        }
        "subscribed" => {
            let granted = rest.split(' ').map(|topic| (topic.to_owned(), (topic.len() % 3 > 0).then_some(1)));
            Input::Subscribed { conn: conn.ok()?, granted: granted.collect() }
        }
        "close" => {
            let why = Closed { cause: cause(rest.parse().unwrap_or(0)), detail: String::new() };
            Input::Closed { conn: conn.ok()?, why }
        }
        "push" => {
            let (headers, body) = rest.split_once(' ').unwrap_or((rest, ""));
            let headers = headers.split(';').filter_map(|header| header.split_once('='));
            let request = HttpRequest {
                method: "POST".into(),
                path_and_query: number.into(),
                headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
                body: owned(body),
            };
            Input::Pushed { inbound: 1, at, request }
        }
        "respond" => {
            let (status, body) = rest.split_once(' ').unwrap_or((rest, ""));
            let retry_after_s = body.len().is_multiple_of(2).then_some(u32::MAX);
            let response = HttpResponse { status: status.parse().ok()?, retry_after_s, body: owned(body) };
            Input::Response { call: number.parse().ok()?, result: Ok(response) }
        }
        "stop" => Input::Stop,
        _ => return None,
    })
}

fn is_quiet(what: &str) {
    assert!(!what.contains(SECRET), "a secret: {what}");
}

fn collects(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let mut recorded = 0;
    for source in all() {
        let is_mqtt = source_header(&source).settings["transport"] == "mqtt";
        let mut watched = Watched {
            collector: collector(&source),
            kinds: source_header(&source).kinds,
            rng: Pcg64::seed_from_u64(7),
            now: at_s(0),
            dialled: None,
            over: false,
            publishes_nothing: is_mqtt,
            said: Vec::new(),
        };
        watched.give(Input::Start);
        for line in text.lines().take(200) {
            if let Some(seconds) = line.strip_prefix("wait ").and_then(|s| s.parse::<u64>().ok()) {
                watched.wait(seconds.min(3_600) * 1_000_000_000);
            } else if let Some(input) = input(line, watched.now) {
                recorded += watched.give(input);
            }
        }
        for said in &watched.said {
            assert_words(said, text.len());
            is_quiet(said);
        }
    }
    recorded > 0
}

#[test]
fn hostile_dialogues_lose_no_byte_and_are_answered_in_words() {
    let webhook = fixtures("jointech/webhook").into_iter().chain(fixtures("sensoro"));
    let pushes = webhook.flat_map(|file| {
        let body = std::fs::read_to_string(file).unwrap().replace('\n', " ");
        let signed = "/s host=h;x-access-nonce=1467018792599;x-access-signature=AAAA";
        ["/h headerkey=x;host=h", signed, "/g -"].map(|head| format!("push {head} {body}\n"))
    });
    let words = [
        "open 0",
        "text 0 ",
        "publish 0 ",
        "push /s ",
        "respond 0 200 ",
        "close 0 1006",
        "wait 60",
        "stop",
        "upload/AK/7/location",
        "x-access-nonce",
        "expireTime",
        "{\"token\":",
        "eyJhbGciOiJIUzI1NiJ9.",
        "data",
        "encryptData",
        "msgId",
        "realtime_register",
        "welcome",
        "2022-01-01T00:00:00Z",
    ];
    let target = Target::new("collectors").cases(400).inputs(pushes).words(&words);
    target.memory(4 << 20, 2_048).run(collects);
}

fn converses(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let secret = "a".into();
    let credential = Credential { source: "s".into(), vendor: "delicode".into(), username: None, secret };
    let recorded = Arc::new(Recorded {
        sources: sources().iter().map(source_header).collect(),
        any_credentials: true,
        credentials: vec![credential],
        ..Recorded::default()
    });
    let mut is_ready = false;
    for path in [damoov::PATH, delicode::PATH, generic::emulator::PATH] {
        let mut emulator = emulator(path, recorded.clone()).unwrap();
        let mut fx = Vec::new();
        let mut lines = text.lines().take(200);
        let query = lines.next().unwrap_or_default().into();
        emulator.on(at_s(0), ClientInput::Opened { query }, &mut fx);
        for (second, line) in lines.enumerate() {
            // Nothing is given to an emulator that has closed its connection.
            if fx.iter().any(|effect| matches!(effect, ServerEffect::Close { .. })) {
                break;
            }
            emulator.on(at_s(second as u64), ClientInput::Text(line.into()), &mut fx);
            emulator.on(at_s(second as u64), ClientInput::Tick, &mut fx);
        }
        let closed = fx.iter().position(|effect| matches!(effect, ServerEffect::Close { .. }));
        assert!(closed.is_none_or(|at| at + 1 == fx.len()), "speaks after the close: {fx:?}");
        for effect in &fx {
            match effect {
                ServerEffect::Close { reason, .. } => {
                    assert!(reason.len() <= 123);
                    assert_words(reason, 0);
                }
                ServerEffect::Wrong { what } => assert_words(what, 0),
                ServerEffect::Send(text) => {
                    assert!(serde_json::from_str::<serde_json::Value>(text).is_ok(), "no JSON: {text}");
                    is_quiet(text);
                }
                ServerEffect::Ready { .. } => is_ready = true,
                ServerEffect::Acknowledged { .. } => {}
            }
        }
    }
    is_ready
}

#[test]
fn hostile_clients_are_answered_in_json_or_closed_with_words() {
    let words = [
        "vendor=",
        "kind=",
        "device=",
        "format=envelope",
        "%2C",
        "{\"type\":\"authenticate\"",
        "access_token",
        "instance_id",
        "realtime_register",
        "realtime_heartbeat",
        "locations",
        "{\"ack\":",
        "pong",
        "\"a\"",
    ];
    Target::new("emulators").cases(1_500).words(&words).memory(4 << 20, 2_048).run(converses);
}
