//! Members of payloads that no declaration knows.

use super::*;

fn known(declarations: &[&Declaration]) -> KnownPaths {
    let mut known = KnownPaths::default();
    for declaration in declarations {
        known.add(declaration);
    }
    known
}

fn builtin_kind(vendor: &str, kind: &str) -> KnownPaths {
    known(&[&Declaration::parse(declaration(vendor, kind).unwrap(), kind).unwrap()])
}

#[track_caller]
fn check(known: &KnownPaths, body: &str, expected: &[(&str, &str)]) {
    let found = known.unknown_in(body.as_bytes()).unwrap();
    let found: Vec<(&str, &str)> =
        found.iter().map(|(path, json_type)| (path.as_str(), *json_type)).collect();
    assert_eq!(found, expected, "{body}");
}

#[test]
fn members_are_told_with_place_and_type_and_without_value() {
    let location = builtin_kind("jointech", "location");
    check(&location, r#"{"assetId":"1","speed":3,"statusJson":"{\"lockRope\":0}","ksInfo":""}"#, &[]);
    check(
        &location,
        r#"{"assetId":"1","firmware":"7","a.b":1.5,"new":{"x":[1]},"list":[{}],"none":null,"on":true}"#,
        &[
            ("firmware", "string"),
            ("a\\.b", "number"),
            ("new", "object"),
            ("list", "array"),
            ("none", "null"),
            ("on", "boolean"),
        ],
    );
    // Through JSON in strings, in the elements of a map, once however many have it.
    check(
        &location,
        r#"{"statusJson":"{\"valve\":1}","ksInfo":{"subInfo":"{\"7\":{\"co2\":4},\"8\":{\"co2\":5,\"lux\":1}}"}}"#,
        &[("statusJson.valve", "number"), ("ksInfo.subInfo[].co2", "number")],
    );
}

#[test]
fn what_tells_the_kind_and_what_is_listed_as_known_is_known() {
    let position = builtin_kind("delicode", "person_position");
    check(
        &position,
        r#"{"type":"realtime_person_position","position":{"x":1,"y":2,"z":3}}"#,
        &[("position.z", "number")],
    );
    let with_known = parse("kind = \"k\"\nknown = [\"proto\", \"meta.version\"]");
    check(
        &known(&[&with_known]),
        r#"{"proto":{"any":1},"meta":{"version":1,"build":2}}"#,
        &[("meta.build", "number")],
    );
    let one = field("name = \"a\"\ntype = \"int32\"\npath = \"a\"");
    let two = field("name = \"b\"\ntype = \"int32\"\npath = \"b\"");
    check(&known(&[&one, &two]), r#"{"a":1,"b":2,"c":3}"#, &[("c", "number")]);
}

#[test]
fn words_and_broken_json_tell_nothing() {
    let event = builtin_kind("jointech", "event");
    check(&event, r#"{"describe":"{not JSON","card":"{\"x\":1}"}"#, &[]);
    check(&event, r#"{"describe":"{\"waybillNo\":\"1\",\"new\":1} and words"}"#, &[]);
    check(&event, r#"{"describe":"{\"waybillNo\":\"1\",\"new\":1}"}"#, &[("describe.new", "number")]);
    assert_eq!(event.unknown_in(b"{\"describe\":"), None);
    assert_eq!(event.unknown_in(b"offline"), None);
}

#[test]
fn a_hostile_sender_fills_no_list() {
    let members: Vec<String> = (0..1_000).map(|n| format!("\"{}{n}\":1", "é".repeat(300))).collect();
    let found = builtin_kind("jointech", "alarm")
        .unknown_in(format!("{{{}}}", members.join(",")).as_bytes())
        .unwrap();
    assert!(found.len() <= 64 && found.iter().all(|(path, _)| path.len() < 210));
    let deep = format!("{}1{}", "{\"statusJson\":[".repeat(50), "]}".repeat(50));
    assert!(builtin_kind("jointech", "location").unknown_in(deep.as_bytes()).is_some());
}

/// A field of the vendors' documents that has no column would be told at every session.
#[test]
fn the_documented_messages_hold_nothing_unknown() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/jointech/webhook");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let kind = ["location", "alarm", "event", "command_response", "sublock"]
            .into_iter()
            .find(|kind| name.starts_with(kind));
        let body = std::fs::read(&path).unwrap();
        // The status is made up; the invalid event cannot be read.
        let (Some(kind), false) = (kind, name == "event_waybill_invalid") else { continue };
        assert_eq!(builtin_kind("jointech", kind).unknown_in(&body), Some(vec![]), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_upsets_the_search(body in prop::collection::vec(any::<u8>(), 0..200)) {
        for (vendor, kind) in [("jointech", "location"), ("delicode", "demographics")] {
            let _ = builtin_kind(vendor, kind).unknown_in(&body);
        }
    }
}
