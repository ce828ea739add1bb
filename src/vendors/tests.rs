//! What must hold for every vendor, whatever arrives.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use rand::SeedableRng;
use rand_pcg::Pcg64;

use super::registry::tests::sources;
use super::testing::at_s;
use super::*;
use crate::decode;
use crate::message::{KindHeader, SourceHeader};

mod hostile;

fn fixtures(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(folder);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.is_file());
    files.sort();
    files
}

fn lines(file: &str) -> Vec<serde_json::Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(file);
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Everything in `fixtures`, as whole files and as lines.
fn corpus() -> Vec<Vec<u8>> {
    let files = ["damoov", "delicode", "jointech", "jointech/webhook", "sensoro", "generic"]
        .into_iter()
        .flat_map(fixtures);
    files
        .flat_map(|file| {
            let bytes = std::fs::read(file).unwrap();
            let lines: Vec<Vec<u8>> = bytes.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
            lines.into_iter().chain([bytes])
        })
        .collect()
}

#[test]
fn webhook_fixtures_are_named_after_their_kind() {
    let files = fixtures("jointech/webhook");
    assert!(files.len() >= 17);
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let kind = jointech::kind::of_body(&std::fs::read(&file).unwrap());
        let kind = jointech::KINDS.get(usize::from(kind)).unwrap_or(&"other");
        assert!(name.starts_with(kind), "{name} is taken for {kind}");
    }
}

#[test]
fn mqtt_fixtures_have_the_kind_of_their_topic() {
    for line in lines("jointech/mqtt.jsonl") {
        let topic = line["topic"].as_str().unwrap();
        let kind = jointech::kind::of_publish(topic, line["payload"].as_str().unwrap().as_bytes());
        let level = topic.rsplit('/').next().unwrap();
        let expected = if level == "cmd" { "command_response" } else { level };
        assert_eq!(jointech::KINDS[usize::from(kind)], expected, "{topic}");
    }
}

#[test]
fn only_the_vendors_invalid_example_does_not_decode() {
    for file in fixtures("jointech/webhook") {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let body = std::fs::read(&file).unwrap();
        let Some(kind) = jointech::KINDS.get(usize::from(jointech::kind::of_body(&body))) else { continue };
        let text = decode::declaration("jointech", kind).unwrap();
        let mut decoder = decode::Decoder::new(Some(&decode::Declaration::parse(text, kind).unwrap()));
        let decoded = decoder.push("/h", &body);
        assert_eq!(decoded.error.is_some(), name == "event_waybill_invalid", "{name}: {:?}", decoded.error);
    }
}

#[test]
fn the_documented_dialogues_are_the_emulators_own() {
    let settings = serde_json::json!({
        "locations": [1, 2],
        "instance_id": "12345678-1234-1234-1234-123456789012",
    });
    for (vendor, path, file) in [
        ("damoov", damoov::PATH, "damoov/handshake.jsonl"),
        ("damoov", damoov::PATH, "damoov/refused.jsonl"),
        ("delicode", delicode::PATH, "delicode/handshake.jsonl"),
        ("delicode", delicode::PATH, "delicode/refused.jsonl"),
    ] {
        let settings = settings.clone();
        let source = SourceHeader { name: "s".into(), vendor: vendor.into(), kinds: vec![], settings };
        let secret = "your_token_here".into();
        let credential = Credential { source: "s".into(), vendor: vendor.into(), username: None, secret };
        let recorded =
            Recorded { sources: vec![source], credentials: vec![credential], ..Recorded::default() };
        let mut emulator = emulator(path, Arc::new(recorded)).unwrap();
        let mut fx = Vec::new();
        emulator.on(at_s(0), ClientInput::Opened { query: String::new() }, &mut fx);
        let dialogue = lines(file);
        for line in dialogue.iter().filter(|line| line["from"] == "client") {
            emulator.on(at_s(1), ClientInput::Text(line["frame"].as_str().unwrap().into()), &mut fx);
        }
        let ServerEffect::Send(sent) = &fx[0] else { panic!("{fx:?}") };
        let sent: serde_json::Value = serde_json::from_str(sent).unwrap();
        let first = dialogue.iter().find(|line| line["from"] == "server").unwrap();
        let expected: serde_json::Value = serde_json::from_str(first["frame"].as_str().unwrap()).unwrap();
        assert_eq!(sent, expected, "{file}");
    }
}

/// Bytes that nobody expects, and fixtures with something wrong in one place.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let corpus = corpus();
    let damaged = (0..corpus.len(), any::<prop::sample::Index>(), any::<u8>(), 0..4_u8).prop_map(
        move |(which, place, byte, how)| {
            let mut bytes = corpus[which].clone();
            let place = if bytes.is_empty() { return vec![byte] } else { place.index(bytes.len()) };
            match how {
                0 => bytes.truncate(place),
                1 => bytes[place] = byte,
                2 => drop(bytes.remove(place)),
                _ => bytes.insert(place, byte),
            }
            bytes
        },
    );
    prop_oneof![prop::collection::vec(any::<u8>(), 0..200), damaged]
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Open(Conn, bool),
    Subscribed(Conn, Vec<Option<u8>>),
    Text(Conn, String),
    Binary(Conn, Vec<u8>),
    Publish(Conn, String, Vec<u8>),
    Close(Conn, u16),
    Push(String, Vec<u8>),
    Respond(Call, u16, Vec<u8>),
    Stop,
}

/// What a vendor's REST interface may say.
fn reply() -> impl Strategy<Value = Vec<u8>> {
    let token = r#"\{"Result":\{"AccessToken":\{"Token":"[a-zA-Z0-9._]{0,40}"\},"RefreshToken":"r"\}\}"#;
    prop_oneof![token.prop_map(String::into_bytes), hostile()]
}

fn step() -> impl Strategy<Value = Step> {
    let text = hostile().prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let topic = prop_oneof!["[a-z/é\0]{0,12}", Just("upload/A/1/cmd".to_owned())];
    let path = prop_oneof![".{0,12}", "/[hg](/[a-z?=]{0,6})?"];
    prop_oneof![
        4 => (0..200_000_000_000_u64).prop_map(Step::Wait),
        4 => (0..4_u32, any::<bool>()).prop_map(|(conn, present)| Step::Open(conn, present)),
        2 => (0..4_u32, prop::collection::vec(prop::option::of(0..3_u8), 0..3))
            .prop_map(|(conn, granted)| Step::Subscribed(conn, granted)),
        4 => (0..4_u32, text).prop_map(|(conn, text)| Step::Text(conn, text)),
        4 => (0..4_u32, hostile()).prop_map(|(conn, bytes)| Step::Binary(conn, bytes)),
        4 => (0..4_u32, topic, hostile()).prop_map(|(conn, topic, bytes)| Step::Publish(conn, topic, bytes)),
        3 => (0..4_u32, any::<u16>()).prop_map(|(conn, cause)| Step::Close(conn, cause)),
        4 => (path, hostile()).prop_map(|(path, bytes)| Step::Push(path, bytes)),
        2 => (0..3_u64, 190..600_u16, reply()).prop_map(|(call, status, body)| Step::Respond(call, status, body)),
        1 => Just(Step::Stop),
    ]
}

fn cause(n: u16) -> CloseCause {
    match n % 7 {
        0 => CloseCause::Unreachable,
        1 => CloseCause::HttpStatus(n),
        2 => CloseCause::MqttRefused((n % 256) as u8),
        3 => CloseCause::ByPeer(None),
        4 => CloseCause::ByPeer(Some(n)),
        5 => CloseCause::Broken,
        _ => CloseCause::ByUs,
    }
}

/// A collector at work, and what must be true of it after every input.
struct Watched {
    collector: Box<dyn Collector>,
    kinds: Vec<KindHeader>,
    rng: Pcg64,
    now: Now,
    dialled: Option<Conn>,
    over: bool,
    /// Telereel publishes nothing to a broker: it never sends a device a command.
    publishes_nothing: bool,
    /// What it said, for people.
    said: Vec<String>,
}

impl Watched {
    /// Gives an input; returns how many records came of it.
    fn give(&mut self, input: Input) -> usize {
        let mut fx = Vec::new();
        let (payload, stops) = match &input {
            Input::Frame { frame: Frame::Text(text), .. } => (Some(text.as_bytes().to_vec()), false),
            Input::Frame { frame: Frame::Binary(payload) | Frame::Publish { payload, .. }, .. } => {
                (Some(payload.to_vec()), false)
            }
            Input::Pushed { request, .. } => (Some(request.body.to_vec()), false),
            input => (None, matches!(input, Input::Stop)),
        };
        self.collector.on(self.now, &mut self.rng, input, &mut fx);
        let mut records = 0;
        for effect in fx {
            match effect {
                Effect::DialWebSocket { conn, .. } | Effect::DialMqtt { conn, .. } => {
                    assert!(!self.over, "dials after the end");
                    assert_eq!(conn, self.dialled.map_or(0, |last| last + 1));
                    self.dialled = Some(conn);
                }
                Effect::Record { record, .. } => {
                    records += 1;
                    assert!(usize::from(record.kind) < self.kinds.len());
                    assert_eq!(Some(&record.payload[..]), payload.as_deref(), "the bytes were changed");
                }
                Effect::GiveUp { reason } => {
                    self.said.push(reason);
                    self.over = true;
                }
                Effect::Link(link) => self.said.extend(link.reason),
                Effect::Refuse { reply, .. } => {
                    self.said.push(String::from_utf8_lossy(&reply.body).into_owned());
                }
                Effect::Send { .. } => assert!(!self.publishes_nothing, "publishes"),
                _ => {}
            }
        }
        self.over |= stops;
        assert!(!self.over || self.collector.wake_at().is_none(), "wants a tick after the end");
        records
    }

    fn wait(&mut self, ns: u64) {
        let end = self.now.steady_ns + ns;
        while let Some(at) = self.collector.wake_at().filter(|at| *at <= end) {
            self.now.steady_ns = self.now.steady_ns.max(at);
            self.give(Input::Tick);
            assert!(self.collector.wake_at().is_none_or(|at| at > self.now.steady_ns), "ticks without end");
        }
        self.now.steady_ns = end;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn nothing_that_arrives_stops_a_collector_or_loses_a_byte(
        steps in prop::collection::vec(step(), 0..40),
        seed in any::<u64>(),
    ) {
        for source in sources() {
            let is_websocket = source_header(&source).settings["transport"] == "websocket";
            let is_mqtt = source_header(&source).settings["transport"] == "mqtt";
            let mut watched = Watched {
                collector: collector(&source),
                kinds: source_header(&source).kinds,
                rng: Pcg64::seed_from_u64(seed),
                now: at_s(0),
                dialled: None,
                over: false,
                publishes_nothing: is_mqtt,
                said: Vec::new(),
            };
            watched.give(Input::Start);
            for step in steps.clone() {
                let at = watched.now;
                let is_mqtt_frame = matches!(step, Step::Publish(..));
                let input = match step {
                    Step::Wait(ns) => { watched.wait(ns); continue }
                    Step::Open(conn, session_present) => Input::Opened { conn, session_present },
                    Step::Subscribed(conn, granted) => {
                        let granted = granted.into_iter().map(|qos| ("t".to_owned(), qos)).collect();
                        Input::Subscribed { conn, granted }
                    }
                    Step::Text(conn, text) => Input::Frame { conn, at, frame: Frame::Text(text.into()) },
                    Step::Binary(conn, bytes) => Input::Frame { conn, at, frame: Frame::Binary(bytes.into()) },
                    Step::Publish(conn, topic, bytes) => {
                        let mqtt = Mqtt { qos: 1, retain: false, dup: false };
                        let frame =
                            Frame::Publish { topic: topic.into(), mqtt, payload: bytes.into(), ack: Some(1) };
                        Input::Frame { conn, at, frame }
                    }
                    Step::Close(conn, n) => {
                        Input::Closed { conn, why: Closed { cause: cause(n), detail: String::new() } }
                    }
                    Step::Push(path_and_query, bytes) => {
                        let request = HttpRequest {
                            method: "POST".into(),
                            path_and_query,
                            headers: vec![],
                            body: bytes.into(),
                        };
                        Input::Pushed { inbound: 1, at, request }
                    }
                    Step::Respond(call, status, body) => {
                        let body = body.into();
                        Input::Response { call, result: Ok(HttpResponse { status, retry_after_s: None, body }) }
                    }
                    Step::Stop => Input::Stop,
                };
                // No transport brings frames of a connection that was never asked for.
                let is_frame = matches!(input, Input::Frame { conn, .. } if Some(conn) <= watched.dialled);
                let records = watched.give(input);
                if is_frame && (is_mqtt && is_mqtt_frame || is_websocket && !is_mqtt_frame) {
                    prop_assert_eq!(records, 1);
                }
            }
        }
    }

    #[test]
    fn nothing_that_a_client_sends_upsets_an_emulator(
        query in prop_oneof![".{0,40}", "((vendor|kind|device|format)=[a-z,%+]{0,8}&?){0,4}"],
        messages in prop::collection::vec(prop_oneof![
            hostile().prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
            r#"\{"type":"realtime_(register|heartbeat)","token":"[ab]","locations":\[[0-9,-]{0,30}\]\}"#,
            r#"\{"type":"(authenticate|pong)","access_token":"[ab]","instance_id":"[Ij]"\}"#,
        ], 0..20),
        any_credentials in any::<bool>(),
    ) {
        let secret = "a".into();
        let credential = Credential { source: "s".into(), vendor: "delicode".into(), username: None, secret };
        let recorded = Arc::new(Recorded {
            sources: sources().iter().map(source_header).collect(),
            any_credentials,
            credentials: vec![credential],
            ..Recorded::default()
        });
        for path in [damoov::PATH, delicode::PATH, generic::emulator::PATH] {
            let mut emulator = emulator(path, recorded.clone()).unwrap();
            let mut fx = Vec::new();
            emulator.on(at_s(0), ClientInput::Opened { query: query.clone() }, &mut fx);
            for (second, message) in messages.iter().enumerate() {
                emulator.on(at_s(second as u64), ClientInput::Text(message.as_str().into()), &mut fx);
                emulator.on(at_s(second as u64), ClientInput::Tick, &mut fx);
            }
            let closed = fx.iter().position(|effect| matches!(effect, ServerEffect::Close { .. }));
            prop_assert!(closed.is_none_or(|at| at + 1 == fx.len()), "speaks after the close: {fx:?}");
            for effect in &fx {
                if let ServerEffect::Close { reason, .. } = effect {
                    prop_assert!(reason.len() <= 123);
                }
            }
        }
    }
}
