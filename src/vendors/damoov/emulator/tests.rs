use super::*;
use crate::message::KindHeader;
use crate::vendors::Credential;
use crate::vendors::damoov::jwt::tests::token;
use crate::vendors::testing::at_s;

fn source(name: &str, vendor: &str, instance: &str, device: Option<&str>) -> SourceHeader {
    let kinds = vec![KindHeader { name: "device_update".into(), declaration: None }];
    let settings = json!({"instance_id": instance, "device_token": device});
    SourceHeader { name: name.into(), vendor: vendor.into(), kinds, settings }
}

fn valid() -> String {
    token(at_s(0).wall_us / 1_000_000 + 3_600)
}

fn expired() -> String {
    token(at_s(0).wall_us / 1_000_000)
}

/// Instance `i` was recorded as a whole and for one device, instance `j` as a whole.
fn recorded(any_credentials: bool) -> Arc<Recorded> {
    let credential = |source: &str, secret: String| Credential {
        source: source.into(),
        vendor: "damoov".into(),
        username: None,
        secret,
    };
    Arc::new(Recorded {
        sources: vec![
            source("all-i", "damoov", "i", None),
            source("one-i", "damoov", "i", Some("d1")),
            source("all-j", "damoov", "j", None),
            source("one-k", "damoov", "k", Some("d9")),
            source("other", "generic", "i", None),
        ],
        any_credentials,
        credentials: vec![
            credential("all-i", valid()),
            credential("one-i", valid()),
            credential("all-j", "opaque".into()),
            credential("one-k", expired()),
        ],
        ..Recorded::default()
    })
}

fn opened(any_credentials: bool) -> DamoovEmulator {
    let mut emulator = DamoovEmulator::new(recorded(any_credentials));
    emulator.on(at_s(0), ClientInput::Opened { query: String::new() }, &mut Vec::new());
    emulator
}

fn give(emulator: &mut DamoovEmulator, second: u64, input: ClientInput) -> Vec<String> {
    let mut fx = Vec::new();
    emulator.on(at_s(second), input, &mut fx);
    let line = |effect: &ServerEffect| match effect {
        ServerEffect::Send(text) => text.to_string(),
        ServerEffect::Acknowledged { .. } | ServerEffect::Wrong { .. } => unreachable!(),
        ServerEffect::Ready { selection, format: Format::Raw } => {
            assert_eq!(selection.vendors, ["damoov"]);
            assert_eq!(selection.kinds, ["device_update", "other"]);
            format!("ready {:?} {:?}", selection.sources, selection.devices)
        }
        ServerEffect::Ready { .. } => "ready in another format".into(),
        ServerEffect::Close { code, reason } => format!("close {code}: {reason}"),
    };
    fx.iter().map(line).collect()
}

fn say(emulator: &mut DamoovEmulator, second: u64, text: &str) -> Vec<String> {
    give(emulator, second, ClientInput::Text(text.into()))
}

fn authenticate(token: &str, instance: &str, more: &str) -> String {
    format!(r#"{{"type":"authenticate","access_token":"{token}","instance_id":"{instance}"{more}}}"#)
}

#[test]
fn the_handshake_is_the_documented_one() {
    let mut emulator = opened(true);
    let more = r#","client_id":"c","device_token":null,"units":"imperial","timezone":"America/New_York","date_format":"iso""#;
    let lines = say(&mut emulator, 1, &authenticate("t", "i", more));
    assert_eq!(lines[0], r#"{"type":"authenticated"}"#);
    let welcome: Value = serde_json::from_str(&lines[1]).unwrap();
    assert_eq!((&welcome["type"], &welcome["instance_id"]), (&json!("welcome"), &json!("i")));
    assert_eq!(welcome["server_time"], "2023-11-14T22:13:20.000Z");
    let id = uuid::Uuid::parse_str(welcome["connection_id"].as_str().unwrap()).unwrap();
    assert_eq!(id.get_version_num(), 7);
    assert_eq!(lines[2], r#"{"topic":"instance:i","type":"subscribed"}"#);
    assert_eq!(lines[3..], [r#"ready ["all-i", "one-i"] []"#]);

    let mut another = opened(true);
    let lines = say(&mut another, 2, &authenticate("t", "i", r#","device_token":"d1""#));
    assert!(!lines[1].contains(&id.to_string()));
    assert_eq!(lines[2], r#"{"topic":"device:d1","type":"subscribed"}"#);
    // A second one is none.
    assert_eq!(say(&mut another, 3, &authenticate("t", "j", "")), [""; 0]);
}

#[test]
fn a_client_gets_what_it_asks_for() {
    let (valid, expired) = (valid(), expired());
    let device = |token: &str| format!(r#","device_token":"{token}""#);
    let refused = |code: u16, words: &str| {
        vec![
            format!(r#"{{"code":{code},"message":"{words}","type":"error"}}"#),
            format!("close 1008: {words}"),
        ]
    };
    let ready = |what: &str| vec![format!("ready {what}")];
    // (any credentials, token, instance, device, what comes last)
    let cases = [
        (true, "x", "i", "", ready(r#"["all-i", "one-i"] []"#)),
        (true, "x", "i", "d1", ready(r#"["all-i", "one-i"] ["d1"]"#)),
        (true, &*expired, "j", "d5", ready(r#"["all-j"] ["d5"]"#)),
        (true, "x", "k", "d9", ready(r#"["one-k"] []"#)),
        (true, "x", "nobody's", "", ready("[] []")),
        (true, "x", "nobody's", "d9", ready(r#"["one-k"] []"#)),
        (true, "x", "nobody's", "d7", ready("[] []")),
        (true, "", "", "", ready("[] []")),
        (false, &valid, "i", "", ready(r#"["all-i", "one-i"] []"#)),
        (false, &valid, "i", "d2", ready(r#"["all-i", "one-i"] ["d2"]"#)),
        (false, "opaque", "j", "", ready(r#"["all-j"] []"#)),
        (false, "opaque", "i", "", refused(403, "access denied")),
        (false, "opaque", "nobody's", "", refused(404, "instance not found")),
        (false, "Opaque", "j", "", refused(401, "invalid token")),
        (false, &expired, "k", "", refused(401, "JWT expired")),
    ];
    for (any_credentials, token, instance, wanted, expected) in cases {
        let mut emulator = opened(any_credentials);
        let more = if wanted.is_empty() { String::new() } else { device(wanted) };
        let lines = say(&mut emulator, 1, &authenticate(token, instance, &more));
        let last = lines.len() - expected.len();
        assert_eq!(lines[last..], expected, "{any_credentials} {token} {instance} {wanted}");
        assert_eq!(last, if expected.len() == 1 { 3 } else { 0 });
    }
}

#[test]
fn whoever_does_not_authenticate_within_ten_seconds_is_refused() {
    let mut emulator = opened(true);
    assert_eq!(say(&mut emulator, 1, r#"{"type":"pong","timestamp":1}"#), [""; 0]);
    assert_eq!(give(&mut emulator, 9, ClientInput::Tick), [""; 0]);
    assert_eq!(emulator.wake_at(), Some(at_s(10).steady_ns));
    assert_eq!(
        give(&mut emulator, 10, ClientInput::Tick),
        [
            r#"{"code":408,"message":"authentication timed out","type":"error"}"#,
            "close 1008: authentication timed out"
        ]
    );
    assert_eq!(emulator.wake_at(), None);
    assert_eq!(say(&mut emulator, 11, &authenticate("t", "i", "")), [""; 0]);
}

#[test]
fn pings_come_every_thirty_seconds_and_want_pongs() {
    let mut emulator = opened(true);
    say(&mut emulator, 0, &authenticate("t", "i", ""));
    for second in (30..3_600).step_by(30) {
        assert_eq!(emulator.wake_at(), Some(at_s(second).steady_ns));
        assert_eq!(give(&mut emulator, second, ClientInput::Tick), [r#"{"type":"ping"}"#]);
        assert_eq!(say(&mut emulator, second, r#"{"type":"pong","timestamp":1640995200000}"#), [""; 0]);
    }
    for second in [3_600, 3_630] {
        assert_eq!(give(&mut emulator, second, ClientInput::Tick), [r#"{"type":"ping"}"#]);
        // Anything else does not keep a connection open.
        assert_eq!(say(&mut emulator, second, r#"{"type":"hello"}"#), [""; 0]);
    }
    assert_eq!(give(&mut emulator, 3_660, ClientInput::Tick), ["close 1001: no pong for 90 s"]);
}

#[test]
fn what_is_out_of_the_protocol_is_answered_by_the_table() {
    let not_json = r#"{"code":400,"message":"message is not valid JSON","type":"error"}"#;
    let lacking =
        r#"{"code":400,"message":"authenticate needs access_token and instance_id","type":"error"}"#;
    let text = |text: &str| ClientInput::Text(text.into());
    // Before authentication, and after.
    let cases: [(ClientInput, &[&str], &[&str]); 6] = [
        (text("nonsense"), &[not_json, "close 1008: not JSON"], &[not_json]),
        (text(""), &[not_json, "close 1008: not JSON"], &[not_json]),
        (text("[1]"), &[], &[]),
        (text(r#"{"type":"subscribe"}"#), &[], &[]),
        (
            text(r#"{"type":"authenticate","instance_id":"i"}"#),
            &[lacking, "close 1008: authenticate needs access_token and instance_id"],
            &[],
        ),
        (
            ClientInput::Binary(bytes::Bytes::from_static(b"{}")),
            &["close 1003: text frames only"],
            &["close 1003: text frames only"],
        ),
    ];
    for (i, (input, before, after)) in cases.into_iter().enumerate() {
        let again = match &input {
            ClientInput::Text(text) => ClientInput::Text(text.clone()),
            _ => ClientInput::Binary(bytes::Bytes::from_static(b"{}")),
        };
        let mut emulator = opened(true);
        assert_eq!(give(&mut emulator, 1, input), before, "case {i}");
        let mut emulator = opened(true);
        say(&mut emulator, 1, &authenticate("t", "i", ""));
        assert_eq!(give(&mut emulator, 2, again), after, "case {i}");
    }
}
