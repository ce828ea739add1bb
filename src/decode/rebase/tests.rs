//! What moves, by how much, and what stays.

use std::sync::LazyLock;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use proptest::prelude::*;

use super::super::{Declaration, Decoder, builtin, vendors};
use super::*;

const DAY_US: i64 = 86_400_000_000;

fn parse(text: &str) -> Declaration {
    Declaration::parse(text, "test.toml").unwrap()
}

/// A declaration with a time at `t`.
fn time(format: &str, more: &str) -> Declaration {
    parse(&format!(
        "kind = \"k\"\nevent_at = [\"made_at\"]\n[[field]]\nname = \"made_at\"\nid = 100\ntype = \"timestamp\"\n\
         time = \"{format}\"\nrole = \"time\"\npath = \"t\"\n{more}\n"
    ))
}

fn rebase(declaration: &Declaration) -> Option<Rebase> {
    Rebase::new(std::slice::from_ref(declaration))
}

fn moved(declaration: &Declaration, body: &str, shift_us: i64) -> String {
    let new = rebase(declaration).unwrap().payload(body.as_bytes(), shift_us);
    new.map_or_else(|| body.to_owned(), |new| String::from_utf8(new).unwrap())
}

fn all() -> &'static [Declaration] {
    static ALL: LazyLock<Vec<Declaration>> = LazyLock::new(|| {
        let kinds = vendors().iter().flat_map(|vendor| builtin(vendor).unwrap());
        kinds.map(|(_, text)| parse(text)).collect()
    });
    &ALL
}

#[test]
fn every_spelling_keeps_its_form() {
    let second = 1_000_000;
    let table = [
        // Whole numbers and fractions, bare and in texts.
        ("unix_s", "1640995200", second, "1640995201"),
        ("unix_s", "1640995200", 1_500_000, "1640995201"),
        ("unix_s", "1640995200", -1, "1640995199"),
        ("unix_s", "1640995200.5", 1_500_000, "1640995202.0"),
        ("unix_s", "1640995200.50", 10_000, "1640995200.51"),
        ("unix_s", "1640995200.123456789", 1, "1640995200.123457789"),
        ("unix_s", "\"1640995200\"", second, "\"1640995201\""),
        ("unix_s", "\" 0001640995200 \"", second, "\" 0001640995201 \""),
        ("unix_s", "\"+1640995200\"", second, "\"+1640995201\""),
        ("unix_s", "999999999", second, "1000000000"),
        ("unix_s", "1000000000", -second, "999999999"),
        ("unix_s", "-5", 10 * second, "5"),
        ("unix_s", "5", -10 * second, "-5"),
        ("unix_s", "0.25", -second, "-0.75"),
        ("unix_s", "-5", 500_000, "-5"),
        ("unix_s", "\".5\"", second, "\"1.5\""),
        ("unix_s", "\"5.\"", second, "\"6.\""),
        ("unix_s", "1.6409952E9", 100 * second, "1.6409953E9"),
        ("unix_s", "1.6409952E9", second, "1.640995201E9"),
        ("unix_s", "16409952e2", second, "16409952.01e2"),
        ("unix_s", "164099520000e-2", 10_000, "164099520001e-2"),
        ("unix_ms", "1467018792599", 1_000, "1467018792600"),
        ("unix_ms", "1467018792599", 1_999, "1467018792600"),
        ("unix_ms", "1467018792599.5", 500, "1467018792600.0"),
        ("unix_ms", "\"1467018792599\"", second, "\"1467018793599\""),
        // ISO and what comes close to it.
        ("rfc3339", "\"2024-02-28T23:59:59Z\"", second, "\"2024-02-29T00:00:00Z\""),
        ("rfc3339", "\"2024-02-28T23:59:59Z\"", 999_999, "\"2024-02-28T23:59:59Z\""),
        ("rfc3339", "\"2024-02-28 23:59:59.9z\"", 100_000, "\"2024-02-29 00:00:00.0z\""),
        ("rfc3339", "\"2024-02-28t23:59:59.005271+08:00\"", DAY_US, "\"2024-02-29t23:59:59.005271+08:00\""),
        ("rfc3339", "\"2024-02-28T23:59:59.1234567-05:30\"", 1, "\"2024-02-28T23:59:59.1234577-05:30\""),
        ("rfc3339", "\"2024-01-01T00:00:00+0100\"", -second, "\"2023-12-31T23:59:59+0100\""),
        ("rfc3339", "\"2024-01-01T00:00:00-03\"", -second, "\"2023-12-31T23:59:59-03\""),
        ("rfc3339", "\"2024-01-01 00:00:00\"", -second, "\"2023-12-31 23:59:59\""),
        ("rfc3339", "\"1969-12-31T23:59:59.9Z\"", -1, "\"1969-12-31T23:59:59.8Z\""),
        ("compact", "\"20240228235959\"", second, "\"20240229000000\""),
        // Whichever it is.
        ("any", "1467018792", second, "1467018793"),
        ("any", "1467018792599", second, "1467018793599"),
        ("any", "\"2016-06-27T09:13:12.599Z\"", second, "\"2016-06-27T09:13:13.599Z\""),
        ("unix_s_or_rfc3339", "1640995200", second, "1640995201"),
        ("unix_s_or_rfc3339", "\"1640995200\"", second, "\"1640995201\""),
        ("unix_s_or_rfc3339", "\"2021-12-31T19:00:00-05:00\"", DAY_US, "\"2022-01-01T19:00:00-05:00\""),
        ("unix_s_or_rfc3339", "\"2021-12-31 19:00:00\"", DAY_US, "\"2022-01-01 19:00:00\""),
    ];
    for (format, old, shift_us, new) in table {
        let (old, new) = (format!("{{ \"t\" :{old}}}"), format!("{{ \"t\" :{new}}}"));
        assert_eq!(moved(&time(format, ""), &old, shift_us), new, "{format} {old} by {shift_us}");
    }
}

#[test]
fn what_is_no_time_stays() {
    let table = [
        ("unix_s", "null", ""),
        ("unix_s", "true", ""),
        ("unix_s", "\"\"", ""),
        ("unix_s", "\"soon\"", ""),
        ("unix_s", "\"1e\"", ""),
        ("unix_s", "1e300", ""),
        ("unix_s", "{\"t\":1}", ""),
        ("unix_s", "[1]", ""),
        ("unix_s", "0", "sentinels = [0]"),
        ("unix_s", "\"0\"", "sentinels = [0]"),
        ("unix_s", "0.0", "sentinels = [0]"),
        ("rfc3339", "\"0001-01-01T00:00:00Z\"", "sentinels = [\"0001-01-01T00:00:00Z\"]"),
        ("rfc3339", "\"1970-01-01T00:00:00Z\"", "sentinels = [0]"),
        ("unix_s_or_rfc3339", "\"1970-01-01 00:00:00\"", "sentinels = [\"1970-01-01 00:00:00\"]"),
        ("rfc3339", "20240228235959", ""),
        ("rfc3339", "\"2024-02-30T00:00:00Z\"", ""),
        ("rfc3339", "\"2024-02-28T00:00:00 CET\"", ""),
        ("rfc3339", "\"9999-12-31T23:59:59Z\"", ""),
        ("compact", "20240228235959", ""),
        ("compact", "\"99991231235959\"", ""),
        // A second more, and it would be read as milliseconds.
        ("any", "99999999999", ""),
    ];
    for (format, value, more) in table {
        let body = format!("{{\"t\":{value}}}");
        assert_eq!(moved(&time(format, more), &body, 1_000_000), body, "{format} {value}");
    }
    let at = time("unix_s", "");
    for body in ["", "{\"t\":1", "{\"t\":1}x", "{'t':1}", "{\"u\":1,\"v\":{\"t\":2}}", "1", "\"x\""] {
        assert_eq!(moved(&at, body, 1_000_000), body, "{body}");
    }
    assert_eq!(moved(&at, "{\"t\":1}", 0), "{\"t\":1}");
}

#[test]
fn nothing_but_the_digits_changes() {
    let at = time("rfc3339", "");
    let old = " {\"x\":-0.0,\t\"t\" : \"2024\\u002d02-28T10\\u003A00:00Z\" ,\"\\u0074\":\"2024-02-28T10:00:00Z\",\n\"y\":\"\\/\"} ";
    let new = " {\"x\":-0.0,\t\"t\" : \"2024\\u002d02-28T10\\u003A00:01Z\" ,\"\\u0074\":\"2024-02-28T10:00:01Z\",\n\"y\":\"\\/\"} ";
    assert_eq!(moved(&at, old, 1_000_000), new, "of a key that is repeated, each");
    let broken = b"{\"x\":\"\xFF\",\"t\":\"2024-02-28T10:00:00Z\"}";
    let new = rebase(&at).unwrap().payload(broken, 1_000_000).unwrap();
    assert_eq!(new, b"{\"x\":\"\xFF\",\"t\":\"2024-02-28T10:00:01Z\"}");
}

#[test]
fn times_are_found_wherever_they_are_declared() {
    let declaration = parse(
        r#"
        kind = "k"
        [[field]]
        name = "first_at"
        id = 100
        type = "timestamp"
        time = "unix_s"
        role = "time"
        paths = ["a.b", "list.1", "pair"]
        split = { separator = ";", key = "at", key_separator = "=" }
        [[field]]
        name = "things"
        id = 101
        element_id = 102
        type = "list<struct>"
        role = "state"
        path = "things"
        [[field.member]]
        name = "seen_at"
        id = 103
        type = "timestamp"
        time = "unix_ms"
        role = "time"
        path = "$key"
        [[field.member]]
        name = "left_at"
        id = 104
        type = "timestamp"
        time = "rfc3339"
        role = "time"
        path = "deep.left"
        [[field.member]]
        name = "weight"
        id = 105
        type = "double"
        role = "measurement"
        path = "weight"
        "#,
    );
    for (old, new) in [
        (r#"{"a":{"b":"x=9;at= 99 ;y"}}"#, r#"{"a":{"b":"x=9;at= 100 ;y"}}"#),
        (r#"{"list":["at=7","at=7"]}"#, r#"{"list":["at=7","at=8"]}"#),
        (r#"{"pair":"at=1","a":"at=1"}"#, r#"{"pair":"at=2","a":"at=1"}"#),
        // JSON in a string in a string, whose escapes stay.
        (r#"{"a":"{\"b\":\"at=\\u0031\",\"c\":\"\\/\"}"}"#, r#"{"a":"{\"b\":\"at=2\",\"c\":\"\\/\"}"}"#),
        (r#""{\"pair\":\"at=5\"}""#, r#""{\"pair\":\"at=6\"}""#),
        // Lists as maps, as arrays, in strings.
        (
            r#"{"things":{"1000":{"deep":{"left":"2024-01-01T00:00:00Z"},"weight":1000},"x":{}}}"#,
            r#"{"things":{"2000":{"deep":{"left":"2024-01-01T00:00:01Z"},"weight":1000},"x":{}}}"#,
        ),
        (
            r#"{"things":"[{\"deep\":\"{\\\"left\\\":\\\"2024-01-01T00:00:00Z\\\"}\"},{\"weight\":5}]"}"#,
            r#"{"things":"[{\"deep\":\"{\\\"left\\\":\\\"2024-01-01T00:00:01Z\\\"}\"},{\"weight\":5}]"}"#,
        ),
    ] {
        assert_eq!(moved(&declaration, old, 1_000_000), new);
    }
}

#[test]
fn kinds_without_times_have_nothing_to_move() {
    let with_times: Vec<_> = all()
        .iter()
        .filter(|declaration| rebase(declaration).is_some())
        .map(|declaration| declaration.kind().to_owned())
        .collect();
    let expected =
        ["device_update", "location", "alarm", "event", "command_response", "sublock", "telemetry", "event"];
    assert_eq!(with_times, expected);
}

#[test]
fn what_is_encrypted_is_moved_in_clear() {
    let more = "[[field]]\nname = \"inner_at\"\nid = 101\ntype = \"timestamp\"\ntime = \"unix_s\"\n\
                role = \"time\"\npath = \"data.at\"\n";
    let declaration = time("unix_s", more);
    let text = declaration
        .text()
        .replace("kind = \"k\"", "kind = \"k\"\nencrypted = { member = \"sealed\", clear = \"data\" }");
    let mut rebase = rebase(&parse(&text)).unwrap();
    assert!(rebase.is_in_clear());
    let (payload, clear) = (br#"{"t":5,"sealed":"old", "data":0}"#, br#"{"at":7,"t":5}"#);
    let new = rebase.payload(payload, 1_000_000).unwrap();
    assert_eq!(new, br#"{"t":6,"sealed":"old", "data":0}"#);
    assert_eq!(rebase.clear(clear, 1_000_000).unwrap(), br#"{"at":8,"t":5}"#);
    let sealed = rebase.with_sealed(&new, "NEW+/=").unwrap();
    assert_eq!(sealed, br#"{"t":6,"sealed":"NEW+/=", "data":0}"#);
    assert_eq!(rebase.event_at_us(&sealed, Some(clear)), Some(6_000_000));
    for without in [&br#"{"t":5}"#[..], br#"{"sealed":5}"#, br#"["sealed"]"#, b"{"] {
        assert_eq!(rebase.with_sealed(without, "NEW"), None);
    }
    // The vendor's own: its times lie outside of what it encrypts, and so its ciphertext stays.
    for (_, text) in builtin("sensoro").unwrap() {
        assert!(!Rebase::new(&[parse(text)]).unwrap().is_in_clear());
    }
}

/// Two versions of a declaration: what either of them says is a time is moved, and once.
#[test]
fn several_declarations_of_a_kind_move_together() {
    let other = "[[field]]\nname = \"sent_at\"\nid = 101\ntype = \"timestamp\"\ntime = \"unix_ms\"\n\
                 role = \"time\"\npath = \"s\"\n";
    let declarations = [time("unix_s", ""), time("unix_s", other)];
    let new = Rebase::new(&declarations).unwrap().payload(br#"{"t":5,"s":7}"#, 1_000_000);
    assert_eq!(new.unwrap(), br#"{"t":6,"s":1007}"#);
}

/// All fixtures by all declarations: what is not of a kind has no times, as a rule, and must not break.
fn bodies() -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension().and_then(|extension| extension.to_str()) {
                None if path.is_dir() => folders.push(path),
                Some("json") => found.push(std::fs::read(path).unwrap()),
                Some("jsonl") => {
                    let text = std::fs::read(path).unwrap();
                    found.extend(text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec));
                }
                _ => {}
            }
        }
    }
    // Those of a broker lie in files as `{"topic": …, "payload": "…"}`.
    let payload = |line: &Vec<u8>| {
        let line: serde_json::Value = serde_json::from_slice(line).ok()?;
        Some(line.get("payload")?.as_str()?.as_bytes().to_vec())
    };
    let inner: Vec<_> = found.iter().filter_map(payload).collect();
    found.extend(inner);
    found
}

/// Asserts that all times of `new` are those of `old` plus `shift_us`, rounded down to `step_us`, and that all else
/// is the same. How many there are.
fn assert_moved(old: &ArrayRef, new: &ArrayRef, shift_us: i64, step_us: i64) -> usize {
    match old.data_type() {
        DataType::Timestamp(_, _) => {
            let (old, new) = (
                old.as_primitive::<TimestampMicrosecondType>(),
                new.as_primitive::<TimestampMicrosecondType>(),
            );
            assert_eq!(old.nulls(), new.nulls());
            let pairs = old.iter().flatten().zip(new.iter().flatten());
            pairs
                .map(|(old, new)| {
                    let early_us = old + shift_us - new;
                    assert!((0..step_us).contains(&early_us), "{old} became {new}, {early_us} early");
                })
                .count()
        }
        DataType::List(_) => {
            let (old, new) = (old.as_list::<i32>(), new.as_list::<i32>());
            assert_eq!(old.offsets(), new.offsets());
            assert_moved(old.values(), new.values(), shift_us, step_us)
        }
        DataType::Struct(_) => {
            let (old, new) = (old.as_struct(), new.as_struct());
            let columns = old.columns().iter().zip(new.columns());
            columns.map(|(old, new)| assert_moved(old, new, shift_us, step_us)).sum()
        }
        _ => {
            assert_eq!(old, new);
            0
        }
    }
}

/// Moves `body` by `shift_us`, decodes both and compares; how many times there are.
fn check(declaration: &Declaration, body: &[u8], shift_us: i64) -> usize {
    let Some(mut rebase) = rebase(declaration) else { return 0 };
    assert_eq!(rebase.payload(body, 0), None);
    let new = rebase.payload(body, shift_us).unwrap_or_else(|| body.to_vec());
    let mut decoder = Decoder::new(Some(declaration));
    let (old_at, old_error) = {
        let decoded = decoder.push("c", body);
        (decoded.event_at_us, decoded.error.map(str::to_owned))
    };
    let old_columns = decoder.finish();
    let (new_at, new_error) = {
        let decoded = decoder.push("c", &new);
        (decoded.event_at_us, decoded.error.map(str::to_owned))
    };
    let new_columns = decoder.finish();
    assert_eq!((old_at.is_some(), old_error), (new_at.is_some(), new_error));
    assert_eq!(rebase.event_at_us(&new, None), new_at);
    // Nothing in the fixtures is coarser than a second.
    let step_us = if shift_us % 1_000_000 == 0 { 1 } else { 1_000_000 };
    let mut times = 0;
    for (field, (old, new)) in declaration.arrow_fields().iter().zip(old_columns.iter().zip(&new_columns)) {
        // The same text as it came, beside the time that is read from it.
        if field.name() != "position_at_text" {
            times += assert_moved(old, new, shift_us, step_us);
        }
    }
    if shift_us % 1_000_000 == 0 {
        let back = rebase.payload(&new, -shift_us).unwrap_or_else(|| new.clone());
        assert_eq!(back, body, "there and back");
    }
    times
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn fixtures_decode_to_their_times_plus_the_shift(
        shift_us in prop_oneof![
            -10 * 365 * DAY_US..10 * 365 * DAY_US,
            (-300_000_000..300_000_000_i64).prop_map(|seconds| seconds * 1_000_000),
        ],
    ) {
        let of_body = |body: &Vec<u8>| all().iter().map(|kind| check(kind, body, shift_us)).sum::<usize>();
        let times: usize = bodies().iter().map(of_body).sum();
        prop_assert!(times > 60, "{times}");
    }
}

proptest! {
    #[test]
    fn no_json_panics_and_none_is_broken(
        text in r#"(\{|\}|\[|\]|"t":|:|,|"|\\u00|\\|[0-9.eE+-]{1,12}|2024-02-28T10:00:00(\.[0-9]{0,9})?Z?){1,12}"#,
        shift_us: i64,
        format in prop_oneof![Just("any"), Just("unix_ms"), Just("unix_s_or_rfc3339")],
    ) {
        let declaration = time(format, "");
        for body in [text.clone(), format!("{{\"t\":{text}}}"), format!("{{\"t\":\"{text}\"}}")] {
            if let Some(new) = rebase(&declaration).unwrap().payload(body.as_bytes(), shift_us) {
                prop_assert!(is_json(&new), "{body}");
            }
        }
    }

    #[test]
    fn any_number_moves_by_the_shift(
        whole in 0..99_999_999_999_u64,
        fraction in "(\\.[0-9]{1,9})?",
        exponent in prop_oneof![Just(""), Just("e0"), Just("E+0"), Just("e-1")],
        quoted: bool,
        shift_s in -100_000_000_i64..100_000_000,
    ) {
        let number = format!("{whole}{fraction}{exponent}");
        let body = if quoted { format!("{{\"t\":\"{number}\"}}") } else { format!("{{\"t\":{number}}}") };
        let declaration = time("unix_s", "");
        let mut rebase = rebase(&declaration).unwrap();
        let old_us = rebase.event_at_us(body.as_bytes(), None).unwrap();
        let new = moved(&declaration, &body, shift_s * 1_000_000);
        let new_us = rebase.event_at_us(new.as_bytes(), None).unwrap();
        // A double of eleven digits before its point is exact to a few microseconds.
        prop_assert!((new_us - old_us - shift_s * 1_000_000).abs() <= 16, "{body} {new}");
        prop_assert_eq!(moved(&declaration, &new, -shift_s * 1_000_000), body);
    }
}
