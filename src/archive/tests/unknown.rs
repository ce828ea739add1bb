//! Members of payloads that `info` tells of, because nobody declared them.

use super::support::*;
use crate::archive::{Archive, UnknownField, seal};

#[test]
fn info_tells_members_that_are_not_declared() {
    let dir = quick_dir();
    let archive = Archive::create_or_open(dir.path(), "").unwrap();
    let mut header = header(1);
    archive.begin_session(&mut header).unwrap();
    let position = |extra: &str| POSITION.replace("\"person_id\"", &format!("{extra}\"person_id\""));
    let mut messages: Vec<_> = (0..300)
        .map(|n| {
            let extra = if n % 3 == 0 { "\"mood\":null," } else { "" };
            message(&header, 0, "person_position", n * 100, position(extra))
        })
        .collect();
    // Late, and with a type.
    messages.push(message(&header, 0, "person_position", 30_000, position("\"mood\":\"calm\",")));
    // What is decrypted is what has members.
    let mut encrypted = message(&header, 1, "alarm", 30_001, &b"ciphertext"[..]);
    encrypted.clear = Some(br#"{"alarmType":40,"zone":{"id":1}}"#[..].into());
    messages.push(encrypted);
    // Nothing is declared of these.
    messages.push(message(&header, 0, "other", 30_002, &br#"{"x":1}"#[..]));
    messages.push(message(&header, 0, "control", 30_003, &br#"{"x":1}"#[..]));
    messages.push(message(&header, 0, "link", 30_004, &br#"{"event":"connected"}"#[..]));
    for part in record(archive.disk(), &archive, &header, &messages, 10_000) {
        seal(&archive, &part).unwrap();
    }
    let field = |vendor: &str, kind: &str, path: &str, messages, examined, json_type| UnknownField {
        vendor: vendor.into(),
        kind: kind.into(),
        path: path.into(),
        messages,
        examined,
        json_type,
    };
    let info = archive.info(header.session_id).unwrap();
    assert_eq!(
        info.unknown_fields,
        [
            field("delicode", "person_position", "mood", 101, 301, "string"),
            field("jointech", "alarm", "zone", 1, 1, "object")
        ]
    );
    let json = serde_json::to_string(&info.unknown_fields[0]).unwrap();
    assert!(json.contains(r#""type":"string""#) && !json.contains("calm"), "{json}");
}

#[test]
fn a_long_segment_is_looked_at_from_both_ends() {
    let dir = quick_dir();
    let archive = Archive::create_or_open(dir.path(), "").unwrap();
    let mut header = header(1);
    archive.begin_session(&mut header).unwrap();
    let lost = |n: u64| {
        let extra = if n == 0 {
            ",\"first\":1"
        } else if n == 8_999 {
            ",\"last\":1"
        } else {
            ""
        };
        format!(r#"{{"type":"realtime_person_lost","person_id":1,"location_id":1{extra}}}"#)
    };
    let messages: Vec<_> = (0..9_000).map(|n| message(&header, 0, "person_lost", n, lost(n))).collect();
    for part in record(archive.disk(), &archive, &header, &messages, 64 << 20) {
        seal(&archive, &part).unwrap();
    }
    let found = archive.info(header.session_id).unwrap().unknown_fields;
    let found: Vec<_> = found.iter().map(|f| (f.path.as_str(), f.messages, f.examined)).collect();
    assert_eq!(found, [("first", 1, 4_096), ("last", 1, 4_096)]);
}
