//! The rules of declarations: what is refused, and in which words.

use super::super::*;

fn refused(text: &str, line: usize, key: &str, what: &str) {
    let error = Declaration::parse_all(text, "u.toml").expect_err(text);
    assert!(error.what.contains(what), "{error}");
    assert_eq!((error.origin.as_str(), error.line, error.key.as_str()), ("u.toml", line, key), "{error}");
}

fn field(name: &str, rest: &str) -> String {
    format!("[[field]]\nname = \"{name}\"\npath = \"p\"\nrole = \"state\"\n{rest}\n")
}

#[test]
fn errors_name_file_line_and_key() {
    refused("kind = \"k\"\nkimd = 1\n", 2, "kimd", "unknown field `kimd`");
    refused("kind = 5", 1, "kind", "string");
    refused("kind = \"Bad Kind\"", 1, "kind", "snake_case");
    let ok = "id = 100\ntype = \"int32\"";
    refused(&format!("kind = \"k\"\n{}", field("seq", ok)), 3, "seq", "column of every file");
    refused(&format!("kind = \"k\"\n{}", field("order", ok)), 3, "order", "keyword of DuckDB");
    refused(&format!("kind = \"k\"\n{}", field("tblproperties", ok)), 3, "tblproperties", "keyword of Spark");
    refused(
        &format!("kind = \"k\"\n{}", field("autoincrement", ok)),
        3,
        "autoincrement",
        "keyword of SQLite",
    );
    refused(&format!("kind = \"k\"\n{}", field("camelCase", ok)), 3, "camelCase", "snake_case");
    refused(&format!("kind = \"k\"\n{}", field("a", "id = 99\ntype = \"int32\"")), 6, "id", "from 100 on");
    refused(
        &format!("kind = \"k\"\n{}", field("a", "id = 100\ntype = \"float\"")),
        7,
        "type",
        "expected one of int32",
    );
    refused(&format!("kind = \"k\"\n{}", field("a", "id = 100\ntype = \"timestamp\"")), 3, "time", "rfc3339");
    refused(&format!("kind = \"k\"\n{}{}", field("a", ok), field("b", ok)), 9, "b", "100 is used twice");
    let roleless = "kind = \"k\"\n[[field]]\nname = \"a\"\npath = \"p\"\nid = 100\ntype = \"int32\"\n";
    refused(roleless, 3, "role", "`a` has none, expected one of identifier location");
    let again = field("a", "id = 101\ntype = \"int32\"");
    refused(&format!("kind = \"k\"\n{}{again}", field("a", ok)), 9, "a", "two columns");
    refused(
        &format!("kind = \"k\"\ndevice_id = [\"b\"]\n{}", field("a", ok)),
        2,
        "device_id",
        "no field is named `b`",
    );
    refused(
        &format!("kind = \"k\"\nevent_at = [\"a\"]\n{}", field("a", ok)),
        2,
        "event_at",
        "expected a timestamp",
    );
    refused("kind = \"k\"\ndevice_id_channel = \"a/+\"", 2, "device_id_channel", "{device_id}");
}

#[test]
fn names_and_units_go_together() {
    let double = "id = 100\ntype = \"double\"";
    refused(
        &format!("kind = \"k\"\n{}", field("speed_kmh", double)),
        3,
        "speed_kmh",
        "needs the unit `km/h`",
    );
    let unit = format!("{double}\nunit = \"km/h\"");
    refused(&format!("kind = \"k\"\n{}", field("speed", &unit)), 3, "speed", "ends in `_kmh`");
    let unknown = format!("{double}\nunit = \"furlong\"");
    refused(&format!("kind = \"k\"\n{}", field("way_furlong", &unknown)), 3, "way_furlong", "not known");
    assert!(Declaration::parse(&format!("kind = \"k\"\n{}", field("speed_kmh", &unit)), "u").is_ok());
}

#[test]
fn codes_have_names_and_tables() {
    let code = "id = 100\ntype = \"int32\"";
    refused(&format!("kind = \"k\"\n{}", field("a_code", code)), 3, "a_code", "needs `codes`");
    let missing = format!("{code}\ncodes = \"t\"\nname_id = 101");
    refused(&format!("kind = \"k\"\n{}", field("a_code", &missing)), 8, "codes", "no table [codes.t]");
    let table = "\n[codes.t]\n1 = \"one\"\n-1 = \"none\"\n";
    refused(&format!("kind = \"k\"\n{}{table}", field("a", &missing)), 3, "a", "ends in `_code`");
    let declaration =
        Declaration::parse(&format!("kind = \"k\"\n{}{table}", field("a_code", &missing)), "u").unwrap();
    let columns = declaration.arrow_fields();
    let names: Vec<_> = columns.iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["a_code", "a_name"]);
}

#[test]
fn the_same_name_means_the_same_everywhere() {
    let kind = |kind: &str, rest: &str| {
        Declaration::parse(&format!("kind = \"{kind}\"\n{}", field("fill", rest)), &format!("{kind}.toml"))
            .unwrap()
    };
    let one = kind("one", "id = 100\ntype = \"int32\"");
    assert!(check_vendor(&[one.clone(), kind("two", "id = 107\ntype = \"int32\"")]).is_ok());
    let error = check_vendor(&[one.clone(), kind("two", "id = 100\ntype = \"double\"")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "two.toml, line 3, fill: is double here and int32 in one (one.toml, line 3)"
    );
    let table = "id = 100\ntype = \"int32\"\ncodes = \"t\"\n[codes.t]\n1 = \"one\"";
    assert!(check_vendor(&[one, kind("two", table)]).unwrap_err().what.contains("other codes"));
}

#[test]
fn a_state_is_ended_by_a_kind_that_has_its_key() {
    let fields = field("person", "id = 100\ntype = \"int64\"");
    let kind = |name: &str, keys: &str| {
        Declaration::parse(&format!("kind = \"{name}\"\n{keys}\n{fields}"), &format!("{name}.toml")).unwrap()
    };
    let keys = "state_key = [\"person\", \"device_id\"]\nstate_ended_by = \"lost\"";
    let seen = kind("seen", keys);
    assert!(check_vendor(&[seen.clone(), kind("lost", "")]).is_ok());
    let error = check_vendor(&[seen.clone(), kind("gone", "")]).unwrap_err();
    assert_eq!(error.to_string(), "seen.toml, line 3, state_ended_by: no other kind is named `lost`");
    let error = check_vendor(&[seen.clone(), kind("lost", "state_key = [\"person\"]")]).unwrap_err();
    assert!(error.what.contains("has a state of its own"), "{error}");
    let without = Declaration::parse("kind = \"lost\"", "lost.toml").unwrap();
    let error = check_vendor(&[seen, without]).unwrap_err();
    assert!(error.what.contains("has no field `person`"), "{error}");
    refused(
        &format!("kind = \"k\"\nstate_ended_by = \"x\"\n{fields}"),
        2,
        "state_ended_by",
        "no state to end",
    );
}

#[test]
fn paths_must_not_contradict_each_other() {
    let list = field("a", "id = 100\ntype = \"list<string>\"\nelement_id = 101");
    let inside = "[[field]]\nname = \"b\"\npath = \"p.x\"\nrole = \"state\"\nid = 102\ntype = \"int32\"\n";
    refused(&format!("kind = \"k\"\n{list}{inside}"), 10, "b", "cannot be a list");
}

#[test]
fn a_file_of_several_kinds_gives_declarations_that_stand_alone() {
    let text = r#"
        [[kind]]
        name = "vp"
        match = { path = "VP" }
        device_id = ["vehicle"]
        [[kind.field]]
        name = "vehicle"
        id = 100
        type = "int64"
        path = "VP.veh"
        role = "identifier"
        [[kind.field]]
        name = "speed_mps"
        id = 101
        type = "double"
        unit = "m/s"
        path = "VP.spd"
        role = "measurement"
        sentinels = [-1, "none"]
        split = { separator = ",", position = 0 }

        [[kind]]
        name = "stop"
        match = { path = "event.type", equals = "stop", channel = "/hfp/*" }
    "#;
    let declarations = Declaration::parse_all(text, "hfp.toml").unwrap();
    let kinds: Vec<_> = declarations.iter().map(Declaration::kind).collect();
    assert_eq!(kinds, ["vp", "stop"]);
    let alone = Declaration::parse(declarations[0].text(), "header").unwrap();
    assert_eq!(alone.arrow_fields(), declarations[0].arrow_fields());
    let mut decoder = Decoder::new(Some(&alone));
    assert_eq!(decoder.push("", br#"{"VP":{"veh":1029,"spd":0.5}}"#).device_id, Some("1029"));

    let [vp, stop] = &declarations[..] else { panic!("two kinds") };
    assert!(vp.matches("any", br#"{"VP":{}}"#));
    assert!(!vp.matches("any", br#"{"VP":null}"#));
    assert!(!vp.matches("any", br#"{"VP":{}"#));
    assert!(stop.matches("/hfp/x", br#"{"event":"{\"type\":\"stop\"}"}"#));
    assert!(!stop.matches("/other", br#"{"event":{"type":"stop"}}"#));
    assert!(!stop.matches("/hfp/x", br#"{"event":{"type":"stop"},"event":{"type":"go"}}"#));
    refused(&text.replace("\"stop\"\n", "\"vp\"\n"), 23, "kind", "declared twice");
}

#[test]
fn the_first_match_path_with_a_value_decides() {
    let text = "kind = \"k\"\nmatch = { paths = [\"type\", \"message_type\"], equals = \"a\" }";
    let declaration = Declaration::parse(text, "u").unwrap();
    assert!(declaration.matches("", br#"{"message_type":"a"}"#));
    assert!(!declaration.matches("", br#"{"type":"b","message_type":"a"}"#));
    assert!(declaration.matches("", br#"{"type":null,"message_type":"a"}"#));
}
