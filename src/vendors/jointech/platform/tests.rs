use serde_json::{Value, json};

use super::*;
use crate::message::{Mqtt, SessionId, SourceHeader};
use crate::vendors::Credential;

const MINUTE_US: i64 = 60_000_000;

fn source(name: &str, vendor: &str, settings: Value) -> SourceHeader {
    SourceHeader { name: name.into(), vendor: vendor.into(), kinds: Vec::new(), settings }
}

fn credential(source: &str, vendor: &str, username: &str) -> Credential {
    let (source, vendor, secret) = (source.into(), vendor.into(), "s".into());
    Credential { source, vendor, username: Some(username.into()), secret }
}

fn recorded() -> Recorded {
    Recorded {
        sources: vec![
            source("locks", "jointech", json!({"transport": "mqtt", "access_key": "AK"})),
            source("cars", "jointech", json!({"transport": "mqtt", "access_key": "BK"})),
            source("hook", "jointech", json!({"transport": "webhook", "path": "/x"})),
        ],
        credentials: vec![
            credential("locks", "jointech", "u"),
            credential("renamed", "jointech", "r"),
            credential("plain", "generic", "g"),
            credential("locks", "jointech", "both"),
            credential("plain", "generic", "both"),
        ],
        ..Recorded::default()
    }
}

fn platform() -> Platform {
    Platform::of(&Recorded { any_credentials: true, ..recorded() }).unwrap()
}

fn row(vendor: &str, channel: &str, received_at_us: i64) -> Row {
    Row {
        vendor: vendor.into(),
        kind: "location".into(),
        site: "".into(),
        session_id: SessionId::new(0, [0; 10]),
        source: "locks".into(),
        connection: 0,
        seq: 0,
        received_at_us,
        elapsed_ns: 0,
        channel: channel.into(),
        device_id: None,
        event_at_us: None,
        mqtt: Some(Mqtt { qos: 1, retain: false, dup: false }),
        is_binary: true,
        headers: None,
        duplicate_of: None,
        payload: Default::default(),
        clear: None,
        decode_error: None,
    }
}

fn at(ms: u64) -> Now {
    Now { wall_us: ms as i64 * 1_000, steady_ns: ms * 1_000_000 }
}

fn ask(platform: &Platform, now: Now, device: &str) {
    let payload = format!("({device},1,001,BASE,2)");
    platform.published(now, None, &format!("download/AK/{device}/cmd"), payload.as_bytes());
}

/// Topic, command type and content of each.
fn said(answers: Vec<Answer>) -> Vec<(String, String, String)> {
    let read = |answer: Answer| {
        assert_eq!(answer.qos, 1);
        let payload: Value = serde_json::from_str(&answer.payload).unwrap();
        let text = |name: &str| payload[name].as_str().unwrap().to_owned();
        (answer.topic, text("commandType"), text("content"))
    };
    answers.into_iter().map(read).collect()
}

#[test]
fn there_is_one_only_where_something_from_the_broker_is_replayed() {
    let without = |sources| Platform::of(&Recorded { sources, ..Recorded::default() });
    assert!(without(vec![source("hook", "jointech", json!({"transport": "webhook"}))]).is_none());
    let other = json!({"transport": "mqtt", "access_key": "AK"});
    assert!(without(vec![source("plain", "generic", other)]).is_none());
    assert!(without(vec![]).is_none());
}

#[test]
fn an_answer_comes_after_a_second_in_the_order_of_the_commands() {
    let platform = platform();
    platform.passes(&row("jointech", "upload/AK/1/location", 0));
    platform.passes(&row("jointech", "upload/AK/2/77/sublock", 0));
    ask(&platform, at(500), "1");
    ask(&platform, at(700), "2");
    assert_eq!(platform.wake_at(), Some(1_500_000_000));
    assert!(platform.due(at(1_499)).is_empty());
    let clock = |device: &str| format!(r#"["{device}","8","001","BASE","2","19700101000001"]"#);
    let expected = |device: &str| (format!("upload/AK/{device}/cmd"), "BASE2".to_owned(), clock(device));
    assert_eq!(said(platform.due(at(1_500))), [expected("1")]);
    assert_eq!(platform.wake_at(), Some(1_700_000_000));
    assert_eq!(said(platform.due(at(9_000))), [expected("2")]);
    assert_eq!((platform.wake_at(), platform.due(at(9_999)).len()), (None, 0));
}

#[test]
fn a_device_is_known_when_it_was_seen_and_offline_when_it_was_silent_for_long() {
    let platform = platform();
    let status = |device: &str| {
        ask(&platform, at(0), device);
        said(platform.due(at(1_000))).pop().unwrap().2
    };
    platform.passes(&row("jointech", "upload/AK/1/location", 0));
    // Another key's, another vendor's, no device's.
    platform.passes(&row("jointech", "upload/BK/2/location", 0));
    platform.passes(&row("generic", "upload/AK/3/location", 0));
    platform.passes(&row("jointech", "upload/AK/4", 0));
    for device in ["2", "3", "4"] {
        assert_eq!(status(device), "Device has not been registered！", "{device}");
    }
    platform.passes(&row("damoov", "/ws", 20 * MINUTE_US));
    assert!(status("1").starts_with('['));
    platform.passes(&row("damoov", "/ws", 20 * MINUTE_US + 1));
    assert_eq!(status("1"), "Device not online！");
    // The replay goes round.
    platform.passes(&row("damoov", "/ws", 0));
    assert!(status("1").starts_with('['));
}

#[test]
fn only_commands_on_a_known_access_key_are_answered() {
    let platform = platform();
    for topic in
        ["download/CK/1/cmd", "download/AK/1/cmd/x", "download/AK/1", "upload/AK/1/cmd", "x/AK/1/cmd"]
    {
        platform.published(at(0), None, topic, b"(1,1,001,BASE,1)");
    }
    platform.published(at(0), None, "download/AK/1/cmd", b"\"(1,1,001,BASE,1)\"");
    assert_eq!(platform.wake_at(), None);
    platform.published(at(0), None, "download/BK/1/cmd", b"(1,1,001,BASE,1)");
    assert_eq!(said(platform.due(at(1_000)))[0].0, "upload/BK/1/cmd");
}

#[test]
fn a_user_has_the_topics_of_its_own_access_key() {
    let platform = Platform::of(&recorded()).unwrap();
    let own = [
        "upload/AK/#",
        "upload/AK/+/#",
        "upload/AK/1/location",
        "download/AK/#",
        "+/AK/+/alarm",
        "telereel/#",
        "+",
    ];
    let foreign = [
        "upload/BK/#",
        "upload/+/+/location",
        "upload/#",
        "#",
        "+/#",
        "+/+/1/cmd",
        "download/BK/1/cmd",
        "upload/",
    ];
    for filter in own {
        assert!(platform.grants(Some("u"), filter), "{filter}");
    }
    for filter in foreign {
        assert!(!platform.grants(Some("u"), filter), "{filter}");
        for anybody in [Some("g"), Some("both"), None] {
            assert!(platform.grants(anybody, filter), "{filter}");
        }
        let open = Platform::of(&Recorded { any_credentials: true, ..recorded() }).unwrap();
        assert!(open.grants(Some("u"), filter), "{filter}");
    }
    assert!(platform.grants(Some("r"), "upload/BK/#") && !platform.grants(Some("r"), "upload/CK/#"));
    platform.published(at(0), Some("u"), "download/BK/1/cmd", b"(1,1,001,BASE,1)");
    assert_eq!(platform.wake_at(), None, "nor are another's devices commanded");
    platform.published(at(0), Some("u"), "download/AK/1/cmd", b"(1,1,001,BASE,1)");
    assert!(platform.wake_at().is_some());
}

#[test]
fn what_waits_and_what_is_known_is_bounded() {
    let platform = platform();
    for n in 0..WAITING_MAX + 10 {
        ask(&platform, at(0), &n.to_string());
    }
    assert_eq!(platform.due(at(1_000)).len(), WAITING_MAX);
    for n in 0..DEVICES_MAX + 10 {
        platform.passes(&row("jointech", &format!("upload/AK/{n}/location"), 0));
    }
    assert_eq!(platform.state().devices.len(), DEVICES_MAX);
}
