//! What every source's configuration may say, tried on every vendor and transport: `exclude_kinds`, `stall_after`,
//! `redact_query`, `redact_headers`.
//!
//! Where something is dialled, nothing comes with a query or headers: a channel is a topic or a bare path, and the
//! latter two have nothing to leave out. That nothing of the kind is stored is asserted instead.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::json;

use super::peer::{Peer, Said};
use super::*;
use crate::clock::{Clock, ManualClock};
use crate::message::Selection;

struct Case {
    /// What stands in `[[source]]`; `{port}` is the other end's.
    config: &'static str,
    unwanted: &'static str,
    /// The kind of the last message.
    wanted: &'static str,
    /// What is to be stored, of all kinds.
    messages: u64,
    comes: Comes,
}

/// How its messages come: the last is wanted, the one before it is not.
enum Comes {
    /// Over a connection that we make; whether we speak first there.
    Said(&'static [Said], bool),
    /// To these paths.
    Pushed([Said; 2]),
}

const READINGS: &str = r#"
kind = "reading"
match = { path = "type", equals = "reading" }
[[field]]
name = "amount"
id = 100
type = "double"
path = "value"
role = "measurement"
"#;

fn cases() -> Vec<Case> {
    use Comes::{Pushed, Said};
    let mut cases = vec![
        Case {
            config: "vendor = \"pontosense\"\napi_url = \"http://127.0.0.1:{port}\"\napi_key = \"k\"\nsecret = \"geheim\"\nsensors = [\"A\"]\nmqtt_url = \"ws://127.0.0.1:{port}\"",
            unwanted: "location",
            wanted: "other",
            messages: 2, // Its configuration, too.
            comes: Said(
                &[
                    ("/location/A", r#"{"method":"location.report","params":[]}"#),
                    ("/location/A", r#"{"method":"lwt.report"}"#),
                ],
                false,
            ),
        },
        Case {
            config: "vendor = \"damoov\"\nurl = \"ws://127.0.0.1:{port}/ws?kunde=7\"\ninstance_id = \"i\"\naccess_token = \"geheim\"",
            unwanted: "control",
            wanted: "device_update",
            messages: 1,
            comes: Said(
                &[
                    ("", r#"{"type":"subscribed","topic":"t"}"#),
                    ("", r#"{"type":"device_update","device_token":"d"}"#),
                ],
                true,
            ),
        },
        Case {
            config: "vendor = \"delicode\"\nurl = \"ws://127.0.0.1:{port}/ws?kunde=7\"\ntoken = \"geheim\"\nlocations = [1]",
            unwanted: "demographics",
            wanted: "person_lost",
            messages: 2,
            comes: Said(
                &[
                    ("", r#"{"type":"realtime_register","result":"success"}"#),
                    (
                        "",
                        r#"{"type":"realtime_demographics","person_id":42,"location_id":1,"gender":2,"age":34}"#,
                    ),
                    ("", r#"{"type":"realtime_person_lost","person_id":42,"location_id":1}"#),
                ],
                true,
            ),
        },
        Case {
            config: "vendor = \"jointech\"\ntransport = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{port}\"\nusername = \"u\"\npassword = \"geheim\"\naccess_key = \"0123456789ABCDEF0123456789ABCDEF\"",
            unwanted: "alarm",
            wanted: "event",
            messages: 1,
            comes: Said(
                &[
                    ("upload/K/1/alarm", r#"{"alarmType":45,"assetId":"1"}"#),
                    ("upload/K/1/event", r#"{"eventType":1,"assetId":"1"}"#),
                ],
                false,
            ),
        },
        Case {
            config: "vendor = \"jointech\"\ntransport = \"webhook\"\npath = \"/hook\"",
            unwanted: "alarm",
            wanted: "event",
            messages: 1,
            comes: Pushed([
                ("/hook/alarm", r#"{"alarmType":45,"assetId":"1"}"#),
                ("/hook/event", r#"{"eventType":1,"assetId":"1"}"#),
            ]),
        },
        Case {
            config: "vendor = \"sensoro\"\npath = \"/hook\"\napp_id = \"1\"\napp_secret = \"geheim\"\nverify_signature = false",
            unwanted: "event",
            wanted: "telemetry",
            messages: 1,
            comes: Pushed([
                ("/hook", r#"{"appId":"1","type":"event"}"#),
                ("/hook", r#"{"appId":"1","type":"text"}"#),
            ]),
        },
    ];
    let (unwanted, wanted, messages) = ("reading", "message", 1);
    const READING: &str = r#"{"type":"reading","value":1}"#;
    const OTHER: &str = r#"{"type":"else"}"#;
    let says = &[("a", READING), ("a", OTHER)];
    cases.extend([
        Case {
            config: "vendor = \"generic\"\nschema = \"readings.toml\"\ntransport = \"websocket\"\nurl = \"ws://127.0.0.1:{port}/ws?kunde=7\"",
            comes: Said(says, false),
            unwanted,
            wanted,
            messages,
        },
        Case {
            config: "vendor = \"generic\"\nschema = \"readings.toml\"\ntransport = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{port}\"\ntopics = [\"#\"]\nqos = 1",
            comes: Said(says, false),
            unwanted,
            wanted,
            messages,
        },
        Case {
            config: "vendor = \"generic\"\nschema = \"readings.toml\"\ntransport = \"webhook\"\npath = \"/hook\"",
            comes: Pushed([("/hook", READING), ("/hook", OTHER)]),
            unwanted,
            wanted,
            messages,
        },
    ]);
    cases
}

const OPTIONS: &str = r#"
exclude_kinds = ["UNWANTED"]
stall_after = "30s"
redact_query = ["kunde"]
redact_headers = ["X-Tag"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn every_source_s_options_work_for_every_vendor_and_transport() {
    for case in cases() {
        tried(&case).await;
    }
}

async fn tried(case: &Case) {
    let what = case.config;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("readings.toml"), READINGS).unwrap();
    let (peer, port) = match &case.comes {
        Comes::Said(says, is_asked) => {
            let peer = Peer::new(says, *is_asked);
            (Some(peer.clone()), peer.serve().await)
        }
        Comes::Pushed(_) => (None, 0),
    };
    let text = format!(
        "[archive]\nmin_free_disk = \"1MiB\"\n[webhooks]\nlisten = \"127.0.0.1:0\"\n[[source]]\nname = \"s\"\n{}\n{}",
        case.config.replace("{port}", &port.to_string()),
        OPTIONS.replace("UNWANTED", case.unwanted),
    );
    let config = Config::parse(&dir.path().join("telereel.toml"), &text, &|_| None);
    let config = config.unwrap_or_else(|error| panic!("{what}: {error}"));
    let manual = Arc::new(ManualClock::at(Default::default()));
    let options = StartOptions { clock: Clock::Manual(Arc::clone(&manual)), ..StartOptions::default() };
    let recorder = Recorder::start(&config, options).await.unwrap();
    if let Comes::Pushed(pushes) = &case.comes {
        for (path, body) in pushes {
            let answer = post(&recorder, &format!("POST {path}?n=1&kunde=7"), body.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{what}: {answer}");
        }
    }
    until(&recorder, what, |status| {
        let source = &status.sources[0];
        source.messages == case.messages && source.state == stats::State::Connected
    })
    .await;
    if let Some(peer) = peer.filter(|_| what.contains("\"mqtt\"")) {
        until(&recorder, what, |_| peer.acknowledged.load(Ordering::SeqCst) == 2).await;
    }
    // A new session is no message, though it is told again what there is to know. It wakes the task, whose timer does
    // not know of a clock that is moved by hand.
    for part_ns in [20_000_000_000, 11_000_000_000] {
        manual.advance_ns(part_ns);
        recorder.roll(None).await.unwrap();
    }
    until(&recorder, what, |status| status.sources[0].state == stats::State::Stalled).await;
    stop(recorder).await;

    let root = &config.archive.path;
    let first = links(root).into_iter().find(|event| event["event"] == "connecting").unwrap();
    let effective = ["exclude_kinds", "stall_after_ms", "redact_query", "redact_headers"]
        .map(|option| first["options"][option].clone());
    let given = [json!([case.unwanted]), json!(30_000), json!(["kunde"]), json!(["x-tag"])];
    assert_eq!(effective, given, "{what}");
    let stalled = links(root).iter().filter(|event| event["event"] == "stalled").count();
    assert_eq!(
        (stored(root, case.unwanted).len(), stored(root, case.wanted).len(), stalled),
        (0, 1, 1),
        "{what}"
    );
    let archive = Archive::open(root).unwrap();
    let sessions = archive.list().unwrap().iter().map(|session| session.session_id).collect();
    let selection = Selection { kinds: vec![case.wanted.to_owned()], ..Selection::default() };
    let options = ScanOptions { sessions, selection, ..ScanOptions::default() };
    let row = scan(&archive, &options).unwrap().next().unwrap().unwrap();
    if let Comes::Pushed([_, (path, _)]) = &case.comes {
        assert_eq!(row.channel, format!("{path}?n=1&kunde="), "{what}");
        let headers: Vec<String> = row.headers.unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(headers, ["connection", "content-length", "host"], "{what}");
    } else {
        assert!(!row.channel.contains('?') && row.headers.is_none(), "{what}: {}", row.channel);
    }
}
