use super::*;
use crate::message::KindHeader;
use crate::vendors::Credential;
use crate::vendors::testing::at_s;

fn source(name: &str, vendor: &str, locations: &[i64]) -> SourceHeader {
    let kinds = vec![KindHeader { name: "person_lost".into(), declaration: None }];
    let settings = json!({"locations": locations});
    SourceHeader { name: name.into(), vendor: vendor.into(), kinds, settings }
}

/// Two recorded shops: `a` with locations 1 and 2, `b` with 3.
fn recorded(any_credentials: bool) -> Arc<Recorded> {
    let credential = |source: &str, secret: &str| Credential {
        source: source.into(),
        vendor: "delicode".into(),
        username: None,
        secret: secret.into(),
    };
    Arc::new(Recorded {
        sources: vec![
            source("a", "delicode", &[1, 2]),
            source("b", "delicode", &[3]),
            source("c", "jointech", &[1]),
        ],
        any_credentials,
        credentials: vec![credential("a", "jwt-a"), credential("b", "jwt-b")],
        ..Recorded::default()
    })
}

fn opened(any_credentials: bool) -> DelicodeEmulator {
    let mut emulator = DelicodeEmulator::new(recorded(any_credentials));
    emulator.on(at_s(0), ClientInput::Opened { query: String::new() }, &mut Vec::new());
    emulator
}

fn give(emulator: &mut DelicodeEmulator, second: u64, input: ClientInput) -> Vec<String> {
    let mut fx = Vec::new();
    emulator.on(at_s(second), input, &mut fx);
    fx.iter()
        .filter(|effect| !matches!(effect, ServerEffect::Wrong { .. }))
        .map(|effect| match effect {
            ServerEffect::Send(text) => {
                let value: Value = serde_json::from_str(text).unwrap();
                let words = value.get("result").or(value.get("message")).and_then(Value::as_str).unwrap();
                format!("{}: {words}", value["type"].as_str().unwrap())
            }
            ServerEffect::Acknowledged { .. } | ServerEffect::Wrong { .. } => unreachable!(),
            ServerEffect::Ready { selection, format: Format::Raw } => {
                let Selection { sources, kinds, devices, .. } = selection;
                assert_eq!(kinds, &["person_position", "person_lost", "demographics", "other"]);
                assert_eq!(selection.vendors, ["delicode"]);
                format!("ready {sources:?} {devices:?}")
            }
            ServerEffect::Ready { .. } => "ready in another format".into(),
            ServerEffect::Close { code, .. } => format!("close {code}"),
        })
        .collect()
}

fn say(emulator: &mut DelicodeEmulator, second: u64, text: &str) -> Vec<String> {
    give(emulator, second, ClientInput::Text(text.into()))
}

fn register(token: &str, locations: &str) -> String {
    format!(r#"{{"type":"realtime_register","token":"{token}","locations":{locations}}}"#)
}

const SUCCESS: &str = "realtime_register: success";
const INVALID: &str = "realtime_register: invalid locations";

#[test]
fn a_client_gets_what_it_registers_for() {
    let all_of_a = r#"ready ["a"] []"#;
    let part_of_a = r#"ready ["a"] ["1"]"#;
    let everything = "ready [] []";
    let both = r#"ready ["a", "b"] []"#;
    let parts = r#"ready ["a", "b"] ["2", "3"]"#;
    // (any credentials, token, locations, answers)
    let cases: [(bool, &str, &str, &[&str]); 16] = [
        (true, "whatever", "[1,2]", &[SUCCESS, all_of_a]),
        (true, "", "[2,1,99]", &[SUCCESS, all_of_a]),
        (true, "t", "[1]", &[SUCCESS, part_of_a]),
        (true, "t", "[1,2,3]", &[SUCCESS, both]),
        (true, "t", "[2,3]", &[SUCCESS, parts]),
        (true, "t", "[77]", &[SUCCESS, everything]),
        (true, "t", "[]", &[SUCCESS, everything]),
        (true, "t", "[\"1\"]", &["realtime_register: locations must be an array of integers"]),
        (true, "t", "1", &["realtime_register: locations must be an array of integers"]),
        (false, "jwt-a", "[1,2]", &[SUCCESS, all_of_a]),
        (false, "jwt-a", "[1]", &[SUCCESS, part_of_a]),
        (false, "jwt-a", "[3]", &[INVALID]),
        (false, "jwt-a", "[1,3]", &[INVALID]),
        (false, "jwt-a", "[]", &[INVALID]),
        (false, "jwt-b", "[3]", &[SUCCESS, r#"ready ["b"] []"#]),
        (false, "jwt-A", "[1]", &["close 1008"]),
    ];
    for (any_credentials, token, locations, expected) in cases {
        let mut emulator = opened(any_credentials);
        let answers = say(&mut emulator, 1, &register(token, locations));
        assert_eq!(answers, expected, "{any_credentials} {token} {locations}");
    }
}

#[test]
fn a_client_chooses_how_the_type_is_called() {
    let opened = |query: &str| {
        let mut emulator = DelicodeEmulator::new(recorded(true));
        let mut fx = Vec::new();
        emulator.on(at_s(0), ClientInput::Opened { query: query.into() }, &mut fx);
        (emulator, fx)
    };
    let both = r#"{"message_type":"realtime_register","result":"success","type":"realtime_register"}"#;
    for (query, expected) in [
        ("", r#"{"result":"success","type":"realtime_register"}"#),
        ("x=1&discriminator=type", r#"{"result":"success","type":"realtime_register"}"#),
        ("discriminator=message_type", r#"{"message_type":"realtime_register","result":"success"}"#),
        ("discriminator=both&y", both),
    ] {
        let (mut emulator, mut fx) = opened(query);
        emulator.on(at_s(1), ClientInput::Text(register("t", "[1]").into()), &mut fx);
        assert_eq!(fx[0], ServerEffect::Send(expected.into()), "{query}");
    }
    let (mut emulator, fx) = opened("discriminator=kind");
    assert!(matches!(&fx[..], [ServerEffect::Close { code: 1008, .. }]));
    assert_eq!(say(&mut emulator, 1, &register("t", "[1]")), [""; 0]);
}

#[test]
fn an_error_leaves_time_for_another_try() {
    let mut emulator = opened(false);
    assert_eq!(say(&mut emulator, 1, &register("jwt-a", "[9]")), [INVALID]);
    assert_eq!(
        say(&mut emulator, 2, r#"{"type":"realtime_register"}"#),
        ["realtime_register: token missing"]
    );
    assert_eq!(
        say(&mut emulator, 3, r#"{"type":"realtime_heartbeat"}"#),
        ["realtime_heartbeat: not registered"]
    );
    assert_eq!(emulator.wake_at(), Some(at_s(5).steady_ns));
    assert_eq!(say(&mut emulator, 4, &register("jwt-a", "[1]"))[0], SUCCESS);
    assert_eq!(give(&mut emulator, 5, ClientInput::Tick), [""; 0]);
}

#[test]
fn whoever_does_not_register_within_five_seconds_is_closed() {
    let mut emulator = opened(true);
    assert_eq!(give(&mut emulator, 4, ClientInput::Tick), [""; 0]);
    let lines = give(&mut emulator, 5, ClientInput::Tick);
    assert_eq!(lines, ["close_connection: not registered within 5 s", "close 1000"]);
    assert_eq!(emulator.wake_at(), None);
    assert_eq!(say(&mut emulator, 6, &register("t", "[1]")), [""; 0]);
}

#[test]
fn heartbeats_are_silent_and_keep_an_hour_open() {
    let mut emulator = opened(true);
    say(&mut emulator, 0, &register("t", "[1]"));
    for second in (25..3_600).step_by(25) {
        assert_eq!(give(&mut emulator, second, ClientInput::Tick), [""; 0]);
        assert_eq!(say(&mut emulator, second, r#"{"type":"realtime_heartbeat"}"#), [""; 0]);
    }
    assert_eq!(emulator.wake_at(), Some(at_s(3_575 + 30).steady_ns));
    let lines = give(&mut emulator, 3_605, ClientInput::Tick);
    assert_eq!(lines, ["close_connection: no heartbeat for 30 s", "close 1000"]);
}

#[test]
fn what_is_out_of_the_protocol_is_answered_by_the_table() {
    let cases: [(ClientInput, &[&str]); 8] = [
        (ClientInput::Text("nonsense".into()), &["close 1002"]),
        (ClientInput::Text("".into()), &["close 1002"]),
        (ClientInput::Text("{}".into()), &["close 1008"]),
        (ClientInput::Text("[1]".into()), &["close 1008"]),
        (ClientInput::Text(r#"{"type":1}"#.into()), &["close 1008"]),
        (ClientInput::Text(r#"{"type":"x"}"#.into()), &["x: unknown type"]),
        (ClientInput::Text(register("t", "[3]").into()), &[]),
        (ClientInput::Binary(bytes::Bytes::from_static(b"{}")), &["close 1003"]),
    ];
    for (i, (input, expected)) in cases.into_iter().enumerate() {
        let mut emulator = opened(true);
        say(&mut emulator, 1, &register("t", "[1]"));
        assert_eq!(give(&mut emulator, 2, input), expected, "case {i}");
    }
}

#[test]
fn a_refused_registration_is_told_without_what_it_showed() {
    for (any_credentials, token, locations) in
        [(false, "jwt-a", "[9]"), (true, "geheim", "1"), (true, "geheim", "[\"geheim\"]")]
    {
        let (mut emulator, mut fx) = (opened(any_credentials), Vec::new());
        emulator.on(at_s(1), ClientInput::Text(register(token, locations).into()), &mut fx);
        let Some(ServerEffect::Wrong { what }) = fx.last() else { panic!("{fx:?}") };
        assert!(what.contains("refused") && !what.contains(token), "{what}");
    }
}
