use serde_json::Value;

use super::*;
use crate::message::{KindHeader, SessionId};
use crate::vendors::testing::at_s;

fn ask(query: &str) -> ServerEffect {
    let kinds = ["location", "alarm", "link"];
    let kinds = kinds.map(|name| KindHeader { name: name.into(), declaration: None }).to_vec();
    let source = |name: &str, vendor: &str| SourceHeader {
        name: name.into(),
        vendor: vendor.into(),
        kinds: kinds.clone(),
        settings: Value::Null,
    };
    let sources = vec![source("locks", "jointech"), source("shop", "delicode")];
    let mut emulator = GenericEmulator::new(Arc::new(Recorded { sources, ..Recorded::default() }));
    let mut fx = Vec::new();
    emulator.on(at_s(0), ClientInput::Opened { query: query.into() }, &mut fx);
    // Whatever a client says is ignored.
    emulator.on(at_s(1), ClientInput::Text("x".into()), &mut fx);
    emulator.on(at_s(2), ClientInput::Binary(Default::default()), &mut fx);
    emulator.on(at_s(3), ClientInput::Tick, &mut fx);
    assert_eq!(fx.len(), 1, "{fx:?}");
    fx.remove(0)
}

#[test]
fn filters_are_read() {
    let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let all = Selection::default();
    let cases = [
        ("", all.clone(), Format::Raw),
        ("vendor=&kind=&source=&device=&channel=&format=", all.clone(), Format::Raw),
        ("format=envelope", all.clone(), Format::Envelope),
        ("vendor", all.clone(), Format::Raw),
        (
            "kind=alarm,location&kind=link&vendor=jointech",
            Selection {
                kinds: strings(&["alarm", "location", "link"]),
                vendors: strings(&["jointech"]),
                ..all.clone()
            },
            Format::Raw,
        ),
        (
            "device=a%2Cb,c+d&channel=upload/*/alarm&source=shop&format=raw",
            Selection {
                devices: strings(&["a,b", "c d"]),
                channels: strings(&["upload/*/alarm"]),
                sources: strings(&["shop"]),
                ..all
            },
            Format::Raw,
        ),
    ];
    for (query, selection, format) in cases {
        assert_eq!(ask(query), ServerEffect::Ready { selection, format }, "{query}");
    }
}

#[test]
fn mistakes_close_with_a_reason_that_fits_a_close_frame() {
    let cases = [
        ("kinds=alarm", "unknown key `kinds`; there are: vendor, kind, source, device, channel, format"),
        ("format=xml", "format `xml`: use raw or envelope"),
        ("vendor=delicod", "no vendor `delicod` was recorded; there are: delicode, jointech"),
        ("source=shop,x", "no source `x` was recorded; there are: locks, shop"),
        ("kind=nope", "no kind `nope` was recorded; there are: alarm, link, location"),
        ("device=%FF", "the query is not UTF-8"),
    ];
    for (query, expected) in cases {
        let ServerEffect::Close { code: 1008, reason } = ask(query) else { panic!("{query} is accepted") };
        assert_eq!(reason, expected);
    }
    let many: Vec<String> = (10..60).map(|n| format!("kind-{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let reason = known("kind", &["nope".to_owned()], many).unwrap_err();
    assert!(reason.ends_with("kind-17, … (50)") && reason.len() <= 123, "whole names: {reason}");
    let ServerEffect::Close { reason, .. } = ask(&format!("{}=1", "é".repeat(500))) else { panic!() };
    assert!(reason.len() <= 123, "{}", reason.len());
}

#[test]
fn an_acknowledgement_that_means_nothing_is_told() {
    let session_id = SessionId::new(1, [7; 10]);
    let of_session = format!("{{\"ack\": 8, \"session_id\": \"{session_id}\"}}");
    for (query, text, expected) in [
        ("format=envelope", r#"{"ack": 7}"#, Ok((7, None))),
        ("format=envelope", &of_session, Ok((8, Some(session_id)))),
        ("format=envelope", r#"{"ack": 9, "session_id": "none"}"#, Err("id of a session")),
        ("format=envelope", r#"{"ack": "7"}"#, Err("whole number")),
        ("format=envelope", r#"{"ack": -1}"#, Err("whole number")),
        ("", r#"{"ack": 7}"#, Err("format=envelope")),
    ] {
        let (mut emulator, mut fx) = (GenericEmulator::new(Arc::new(Recorded::default())), Vec::new());
        emulator.on(at_s(0), ClientInput::Opened { query: query.into() }, &mut fx);
        emulator.on(at_s(1), ClientInput::Text(text.into()), &mut fx);
        emulator.on(at_s(1), ClientInput::Text(r#"{"seen": 7}"#.into()), &mut fx);
        assert_eq!(fx.len(), 2, "{fx:?}");
        match (&fx[1], expected) {
            (ServerEffect::Acknowledged { seq, session_id }, Ok(expected)) => {
                assert_eq!((*seq, *session_id), expected);
            }
            (ServerEffect::Wrong { what }, Err(words)) => assert!(what.contains(words), "{what}"),
            (effect, _) => panic!("{text}: {effect:?}"),
        }
    }
}
