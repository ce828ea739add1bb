//! What names an identifier, and what does not.

use super::*;

fn names(identifier: &str, text: &str) -> bool {
    Identifier::new(identifier).is_in(text.as_bytes())
}

#[test]
fn it_is_named_as_a_whole_word_only() {
    for text in ["sensor-1", "a sensor-1.", "/hooks/sensor-1/x", r#"{"sn":"sensor-1"}"#, "x_sensor-1_y"] {
        assert!(names("sensor-1", text), "{text}");
    }
    for text in ["sensor-12", "xsensor-1", "sensor-1é", "ésensor-1", "sensor-", "", "sensor_1"] {
        assert!(!names("sensor-1", text), "{text}");
    }
    // The second begins within the first.
    assert!(names("aa-aa", "xaa-aa-aa") && names("ö1-x", "äh ö1-x"));
    assert!(names("8231020045", "设备8231020045离线") && names("sensor-1", "センサーsensor-1です"));
}

#[test]
fn of_a_number_only_digits_go_on_and_the_fraction_of_another_is_none() {
    for text in [
        r#"{"id":82001234}"#,
        r#"{"id":82001234.0,"#,
        r#"{"id":"0082001234"}"#,
        "id 82001234.",
        "v2.82001234",
        "1.2.82001234",
        "fleet/24.82001234/up",
        "82001234.v2",
        "82001234.5.6",
        "lock82001234",
        "82001234kg, 82001234",
        r"\u000a82001234",
        "JT%3082001234",
    ] {
        assert!(names("82001234", text), "{text}");
    }
    for text in [
        "1820012345",
        "820012345",
        "182001234",
        "10082001234",
        "24.82001234",
        r#"{"lat":-24.82001234,"#,
        "24.0082001234",
        r#"[1,24.82001234]"#,
        r#"{\"lat\":24.82001234}"#,
        "lat=24.82001234&",
        "82001234.5",
        "82001234.05,",
        "%3182001234",
        "82001234\u{661}",
    ] {
        assert!(!names("82001234", text), "{text}");
    }
    assert!(names("0082001234", r#"{"id":82001234}"#) && !names("0000001", "1"));
}

#[test]
fn capitals_and_the_separators_of_a_uuid_or_a_mac_do_not_count() {
    let uuid = "550e8400-e29b-41d4-a716-446655440000";
    for text in ["550E8400-E29B-41D4-A716-446655440000", "x/550e8400E29B41d4a716446655440000"] {
        assert!(names(uuid, text) && names(text.trim_start_matches("x/"), uuid), "{text}");
        assert!(Identifier::new(uuid).is(text.trim_start_matches("x/")));
    }
    assert!(!names(uuid, "550e8400-e29b-41d4-a716-446655440001"));
    for text in ["ac:de:48:00:11:22", "AC-DE-48-00-11-22", "acde48001122"] {
        assert!(names("AC:DE:48:00:11:22", text) && names(text, "(ACDE48001122)"), "{text}");
    }
    assert!(names("sensor-1", "Sensor-1") && names("Smith", "mr SMITH") && !names("Smith", "smithy"));
    assert!(names("ATR_GN_P4-250120-09527", "upload/atr_gn_p4-250120-09527/x"));
}

#[test]
fn escapes_are_looked_through() {
    for text in [
        r#"{"sn":"\u0073ensor\u002d1"}"#,
        r#"{"text":"{\"sn\":\"sensor-1\"}"}"#,
        r#"{"text":"{\"sn\":\"sensor\\u002d1\"}"}"#,
        r#"{"text":"\nsensor-1"}"#,
        r#"{"text":"\u000asensor-1"}"#,
        "up/sensor%2D1/x",
        "up/sensor%2d1",
        "up/sensor%252D1",
        r#"{"u":"up\/\u0073ensor%2D1"}"#,
    ] {
        assert!(names("sensor-1", text), "{text}");
    }
    assert!(!names("sensor-1", r#"{"sn":"sensor\u002d12"}"#) && !names("sensor-1", "sensor%2D12"));
    for text in ["who=Mr+Smith&x", "who=Mr+Sm%69th", "who%3DMr+Smith", r#"{"u":"who=M\u0072+Smith"}"#] {
        assert!(names("Mr Smith", text), "{text}");
    }
    assert!(
        names("a+b c", "q=a%2Bb+c") && !names("Mr Smith", "Mr+Smithson") && !names("Mr-Smith", "Mr+Smith")
    );
    assert!(names("a/b \"1\"", r#"{"sn":"a\/b \"1\""}"#) && names("wärme-1", r#"{"sn":"w\u00e4rme-1"}"#));
    assert!(names("🚗-11", r#""\ud83d\ude97-11""#));
    for broken in [r"\", r"\u", r"\u12", r"\ud83d", r"\ud83dx", "%", "%2", "\\uzzzz%zz"] {
        assert!(!names("sensor-1", broken), "{broken}");
    }
}

#[test]
fn names_of_others_are_passed_over() {
    let mut identifier = Identifier::new("sensor-1");
    for name in ["sensor-1", "Sensor-1", "sensor-1-b", "ward_sensor-1", "sensor-12"] {
        identifier.pass_over(name);
    }
    assert_eq!(identifier.others.len(), 2);
    assert!(!identifier.is_in(b"[sensor-1-b, Ward_sensor-1]"));
    assert!(identifier.is_in(b"sensor-1-bc") && identifier.is_in(b"sensor-1-b, sensor-1"));
}

#[test]
fn what_could_be_anything_is_not_looked_for() {
    let is_distinct = |text: &str| Identifier::new(text).is_distinct();
    for text in ["1", "42", "123456", "on", "s1", "a-1"] {
        assert!(!is_distinct(text), "{text}");
    }
    for text in ["ATR_GN_P4-250120-09527", "7900000", "s-01", "ward", "öst1"] {
        assert!(is_distinct(text), "{text}");
    }
}
