//! State keys: what a message is about, and what has no state.

use super::builtin::{all, built_in};
use super::*;

fn reader(vendor: &str, kind: &str) -> StateKeyReader {
    let declaration = built_in(vendor, kind);
    StateKeyReader::new(&declaration, declaration.state_key()).unwrap()
}

fn key(reader: &mut StateKeyReader, device_id: Option<&str>, payload: &str) -> Option<Vec<u8>> {
    let mut key = Vec::new();
    reader.read(device_id, payload.as_bytes(), None, &mut key).then_some(key)
}

#[test]
fn what_has_a_state_and_what_must_never_be_said_again() {
    let all = all();
    let has_state: Vec<&str> =
        all.iter().filter(|d| !d.state_key().is_empty()).map(Declaration::kind).collect();
    // Positions, measurements and set-ups; no alarm, event, answer or guess about a person.
    assert_eq!(
        has_state,
        [
            "device_update",
            "person_position",
            "location",
            "sublock",
            "status",
            "location",
            "config",
            "telemetry"
        ]
    );
    for declaration in all.iter().filter(|d| !d.state_key().is_empty()) {
        assert!(StateKeyReader::new(declaration, declaration.state_key()).is_some());
    }
}

#[test]
fn a_person_is_found_again_by_the_message_that_ends_the_track() {
    let position = built_in("delicode", "person_position");
    assert_eq!(position.state_ended_by(), Some("person_lost"));
    let mut at = reader("delicode", "person_position");
    let mut lost = StateKeyReader::new(&built_in("delicode", "person_lost"), position.state_key()).unwrap();
    let here = key(&mut at, Some("1"), r#"{"type":"p","person_id":7,"location_id":1,"position":{"x":1}}"#);
    let moved = key(&mut at, None, r#"{"location_id":1,"position":{"x":2.5},"person_id":7}"#);
    let gone = key(&mut lost, Some("1"), r#"{"type":"l","person_id":7,"location_id":1}"#);
    assert!(here.is_some() && here == moved && here == gone);
    for other in [r#"{"person_id":1,"location_id":7}"#, r#"{"person_id":71,"location_id":1}"#] {
        assert_ne!(key(&mut at, None, other), here, "{other}");
    }
    for unknown in [r#"{"person_id":7}"#, r#"{"person_id":null,"location_id":1}"#, "no JSON", "[]"] {
        assert_eq!(key(&mut at, Some("1"), unknown), None, "{unknown}");
    }
}

#[test]
fn a_device_is_its_envelopes_and_its_payload_is_not_looked_at() {
    let mut location = reader("jointech", "location");
    assert_eq!(key(&mut location, Some("a"), "{}"), key(&mut location, Some("a"), "not JSON"));
    assert_ne!(key(&mut location, Some("a"), "{}"), key(&mut location, Some("b"), "{}"));
    assert_eq!(key(&mut location, None, "{}"), None, "nobody's position is nobody's state");
    let mut sublock = reader("jointech", "sublock");
    let of = |sublock: &mut StateKeyReader, host: &str, id: &str| {
        key(sublock, Some(host), &format!(r#"{{"subAssetID":"{id}"}}"#))
    };
    assert_ne!(of(&mut sublock, "1", "2"), of(&mut sublock, "1", "3"));
    // Where one text ends is part of the key.
    assert_ne!(of(&mut sublock, "1", "2t3"), of(&mut sublock, "1t2", "3"));
}

#[test]
fn a_key_that_is_not_declared_is_none() {
    let location = built_in("jointech", "location");
    assert!(StateKeyReader::new(&location, &[]).is_none());
    assert!(StateKeyReader::new(&location, &["no_such_column".to_owned()]).is_none());
}
