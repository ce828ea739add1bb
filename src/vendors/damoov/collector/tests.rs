use bytes::Bytes;

use super::*;
use crate::secret::Secret;
use crate::vendors::VendorConfig;
use crate::vendors::damoov::config::Login;
use crate::vendors::damoov::jwt::tests::token;
use crate::vendors::testing::{Hand, at_s, source};

const URL: &str = "wss://example.com/realtime/api/v1/ws/realtime";
const REFRESH: &str = "POST https://user.example/v1/Auth/RefreshToken";
const LOGIN: &str = "POST https://user.example/v1/Auth/Login";
const AUTHENTICATED: &str = r#"{"type":"authenticated"}"#;
const WELCOME: &str = r#"{"type":"welcome","connection_id":"c","server_time":"t","instance_id":"i"}"#;
const SUBSCRIBED: &str = r#"{"type":"subscribed","topic":"instance:i"}"#;
const UPDATE: &str = r#"{"type":"device_update","device_token":"d","position":{"Latitude":1.5}}"#;
const PING: &str = r#"{"type":"ping"}"#;
const HOUR_S: u64 = 3_600;

fn config() -> DamoovConfig {
    DamoovConfig {
        url: URL.into(),
        instance_id: "i".into(),
        access_token: Some(Secret::new("jwt-0")),
        device_token: None,
        client_id: None,
        units: None,
        timezone: None,
        date_format: None,
        refresh_url: None,
        refresh_token: None,
        login: None,
    }
}

fn refreshing() -> DamoovConfig {
    DamoovConfig {
        refresh_url: Some("https://user.example/v1/Auth/RefreshToken".into()),
        refresh_token: Some(Secret::new("refresh-0")),
        ..config()
    }
}

fn logging_in() -> DamoovConfig {
    let login = Login {
        url: "https://user.example/v1/Auth/Login".into(),
        email: "me@example.com".into(),
        password: Secret::new("pass-word"),
    };
    DamoovConfig { access_token: None, login: Some(login), ..config() }
}

fn hand(config: DamoovConfig) -> Hand {
    Hand::of(&source(VendorConfig::Damoov(config)))
}

/// A started hand whose first connection is open.
fn opened(config: DamoovConfig) -> Hand {
    let mut hand = hand(config);
    hand.give(Input::Start);
    hand.open(0);
    hand
}

fn subscribed(config: DamoovConfig) -> Hand {
    let mut hand = opened(config);
    hand.text(0, SUBSCRIBED);
    hand
}

/// A token that ends `seconds` after the start of a test.
fn until(seconds: u64) -> String {
    token(at_s(0).wall_us / 1_000_000 + seconds as i64)
}

fn with_token(config: DamoovConfig, token: &str) -> DamoovConfig {
    DamoovConfig { access_token: Some(Secret::new(token)), ..config }
}

fn reply(token: &str) -> String {
    format!(r#"{{"Result":{{"AccessToken":{{"Token":"{token}"}}}},"Status":200}}"#)
}

fn authenticate(conn: Conn, token: &str) -> String {
    format!(r#"send {conn} {{"type":"authenticate","access_token":"{token}","instance_id":"i"}}"#)
}

fn error(code: i64, words: &str) -> String {
    json!({"type": "error", "code": code, "message": words}).to_string()
}

fn record(conn: Conn, kind: &str) -> String {
    format!("record {conn} {kind} on /realtime/api/v1/ws/realtime")
}

#[test]
fn it_says_who_it_is_and_what_it_wants() {
    let mut plain = hand(config());
    assert_eq!(plain.give(Input::Start), ["link connecting 0".to_owned(), format!("dial 0 {URL}")]);
    assert_eq!(plain.open(0), ["link connected 0".to_owned(), authenticate(0, "jwt-0")]);
    let mut whole = opened(DamoovConfig {
        device_token: Some("d".into()),
        client_id: Some("me \"too\"".into()),
        units: Some("imperial".into()),
        timezone: Some("America/New_York".into()),
        date_format: Some("iso".into()),
        ..config()
    });
    whole.lose(0, CloseCause::Broken);
    whole.pass(SECOND_NS);
    assert_eq!(
        whole.open(1)[1],
        r#"send 1 {"type":"authenticate","access_token":"jwt-0","instance_id":"i","client_id":"me \"too\"","device_token":"d","units":"imperial","timezone":"America/New_York","date_format":"iso"}"#
    );
}

#[test]
fn the_answers_may_come_in_any_order() {
    let control = || record(0, "control");
    let answers = [AUTHENTICATED, WELCOME, SUBSCRIBED];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut hand = opened(config());
        for which in order {
            let lines = hand.text(0, answers[which]);
            let more = (which == 2).then(|| "link subscribed 0".to_owned());
            assert_eq!(lines, [control()].into_iter().chain(more).collect::<Vec<_>>());
        }
        assert_eq!(hand.text(0, UPDATE), [record(0, "device_update")]);
        assert_eq!(hand.text(0, SUBSCRIBED), [control()]);
    }
}

#[test]
fn data_or_ten_seconds_of_peace_stand_for_the_subscription() {
    let mut hand = opened(config());
    assert_eq!(hand.text(0, UPDATE), [record(0, "device_update"), "link subscribed 0".into()]);
    let mut hand = opened(config());
    hand.text(0, AUTHENTICATED);
    assert_eq!(hand.pass(9 * SECOND_NS), [""; 0]);
    hand.text(0, WELCOME);
    assert_eq!(hand.pass(SECOND_NS), ["link subscribed 0"]);
    // Without any answer there is nothing to consent to.
    let mut hand = opened(config());
    assert_eq!(hand.pass(29 * SECOND_NS), [""; 0]);
    assert_eq!(
        hand.pass(SECOND_NS)[..2],
        ["link refused 0: no answer to authenticate within 30 s", "close 0"]
    );
}

#[test]
fn frames_are_sorted_and_kept_byte_for_byte() {
    let mut hand = subscribed(config());
    for (frame, kind) in [
        (UPDATE, "device_update"),
        (r#"{"type":"trip_finished"}"#, "other"),
        (r#"{"type":"device_update""#, "other"),
        ("no JSON", "other"),
        ("", "other"),
        (WELCOME, "control"),
    ] {
        assert_eq!(hand.text(0, frame), [record(0, kind)], "{frame}");
    }
    for (frame, bytes, is_binary) in [
        (
            Frame::Text(" {\"Latitude\":-0.0} \u{FF01}".into()),
            " {\"Latitude\":-0.0} \u{FF01}".as_bytes(),
            false,
        ),
        (Frame::Binary(Bytes::from_static(b"\xFF\x00")), b"\xFF\x00", true),
    ] {
        let at = hand.now;
        let fx = hand.effects(Input::Frame { conn: 0, at, frame });
        let Effect::Record { record, ack: None } = &fx[0] else { panic!("{fx:?}") };
        assert_eq!((&record.payload[..], record.is_binary, record.at), (bytes, is_binary, at));
    }
}

#[test]
fn every_ping_has_its_pong() {
    let mut hand = opened(config());
    hand.now.wall_us = 1_640_995_200_123_456;
    let pong = r#"send 0 {"type":"pong","timestamp":1640995200123}"#;
    // Before the subscription as well, and whatever else a ping may hold.
    assert_eq!(hand.text(0, PING), [record(0, "control"), pong.into()]);
    hand.text(0, SUBSCRIBED);
    assert_eq!(hand.text(0, r#"{"timestamp":1,"type":"ping"}"#)[1], pong);
    // Not on a connection that is none any more.
    assert_eq!(hand.text(7, PING), [record(7, "control")]);
}

#[test]
fn silence_is_noticed_and_pings_are_none() {
    let mut hand = subscribed(config());
    for _ in 0..100 {
        assert_eq!(hand.pass(74 * SECOND_NS), [""; 0]);
        hand.text(0, PING);
    }
    assert_eq!(hand.pass(74 * SECOND_NS), [""; 0]);
    assert_eq!(hand.pass(SECOND_NS)[..2], ["link disconnected 0: no ping and no data for 75 s", "close 0"]);
    assert_eq!(hand.lose(0, CloseCause::ByUs), [""; 0]);
    hand.pass(SECOND_NS);
    hand.open(1);
    assert_eq!(hand.text(1, SUBSCRIBED)[1..], ["link subscribed 1", "link reconnected 1 after 76 s"]);
}

/// What an error code leads to: before the subscription, and after it.
#[test]
fn each_error_code_has_its_reaction() {
    let again =
        |what: &str, code: i64| vec![format!("link {what} 0: error {code}: words"), "close 0".to_owned()];
    let over = |what: &str, code: i64| {
        vec![
            format!("link {what} 0: error {code}: words"),
            format!("give up: error {code}: words"),
            "close 0".to_owned(),
        ]
    };
    let renewed = |what: &str| {
        vec![format!("link {what} 0: error 401: words"), format!("call 0 {REFRESH}"), "close 0".to_owned()]
    };
    let reported = |code: i64| vec![format!("link refused 0: error {code}: words")];
    let cases = [
        (400, again("refused", 400), reported(400)),
        (401, renewed("refused"), renewed("disconnected")),
        (403, over("refused", 403), over("disconnected", 403)),
        (404, over("refused", 404), over("disconnected", 404)),
        (408, again("refused", 408), again("disconnected", 408)),
        (500, again("refused", 500), again("disconnected", 500)),
        (503, again("refused", 503), again("disconnected", 503)),
        (429, again("refused", 429), reported(429)),
    ];
    for (code, before, after) in cases {
        let mut hand = opened(refreshing());
        assert_eq!(hand.text(0, &error(code, "words"))[1..], before, "{code}");
        let mut hand = subscribed(refreshing());
        let lines = hand.text(0, &error(code, "words"));
        assert_eq!(lines[0], record(0, "control"));
        assert_eq!(lines[1..], after, "{code}");
        if matches!(code, 403 | 404) {
            assert_eq!(hand.until_tick_ns(), None);
        } else if after.contains(&"close 0".to_owned()) {
            // The server's own close says nothing new.
            assert_eq!(hand.lose(0, CloseCause::ByPeer(Some(1008))), [""; 0]);
            let lines = hand.pass(SECOND_NS);
            assert_eq!(lines[0], "link connecting 1", "{code}");
            // Another token is waited for; nothing else is.
            assert_eq!(lines.len(), if code == 401 { 1 } else { 2 }, "{code}");
        }
    }
}

#[test]
fn a_token_that_has_ended_is_refreshed_and_shown_on_the_next_connection() {
    let mut hand = subscribed(refreshing());
    let lines = hand.text(0, &error(401, "JWT expired"));
    assert_eq!(
        lines[1..],
        [
            "link disconnected 0: error 401: JWT expired".to_owned(),
            format!("call 0 {REFRESH}"),
            "close 0".into()
        ]
    );
    hand.lose(0, CloseCause::ByPeer(Some(1008)));
    // Here the answer comes before the next attempt is due, there after it.
    assert_eq!(hand.respond(0, 200, &reply("jwt-1")), [""; 0]);
    assert_eq!(hand.pass(SECOND_NS), ["link connecting 1".to_owned(), format!("dial 1 {URL}")]);
    assert_eq!(hand.open(1)[1], authenticate(1, "jwt-1"));
    hand.text(1, SUBSCRIBED);
    hand.text(1, &error(401, "JWT expired"));
    assert_eq!(hand.pass(60 * SECOND_NS), ["link connecting 2"]);
    assert_eq!(hand.respond(1, 200, &reply("jwt-2")), ["link renewed 2".to_owned(), format!("dial 2 {URL}")]);
    assert_eq!(hand.open(2)[1], authenticate(2, "jwt-2"));
}

#[test]
fn without_a_way_to_another_token_its_end_is_the_end() {
    // It says itself that it has ended.
    let mut hand = subscribed(with_token(config(), &until(60)));
    hand.pass(60 * SECOND_NS);
    let lines = hand.text(0, &error(401, "JWT expired"));
    assert_eq!(lines[1], "link disconnected 0: error 401: JWT expired");
    assert!(
        lines[2]
            .starts_with("give up: the access token was refused (error 401: JWT expired); configure a fresh"),
        "{lines:?}"
    );
    assert_eq!(hand.until_tick_ns(), None);

    // It does not: it is believed the third time, and the waits are long.
    let mut hand = subscribed(config());
    for conn in 0..3 {
        let lines = hand.text(conn, &error(401, "no"));
        assert_eq!(lines.iter().any(|line| line.starts_with("give up")), conn == 2, "{lines:?}");
        if conn < 2 {
            assert!(hand.until_tick_ns().unwrap() >= 30 * SECOND_NS);
            hand.pass(60 * SECOND_NS);
            hand.open(conn + 1);
        }
    }
    assert_eq!(hand.until_tick_ns(), None);
}

#[test]
fn fresh_tokens_that_are_refused_are_asked_for_once_a_minute_and_never_given_up() {
    let mut hand = opened(refreshing());
    for conn in 0..20 {
        // However the refusal comes.
        let lines = match conn % 2 {
            0 => hand.text(conn, &error(401, "no")),
            _ => hand.lose(conn, CloseCause::ByPeer(Some(1008))),
        };
        assert!(!lines.iter().any(|line| line.starts_with("give up")), "{lines:?}");
        assert_eq!(hand.until_tick_ns().unwrap() >= 30 * SECOND_NS, conn >= 2);
        hand.respond(Call::from(conn), 200, &reply("another"));
        hand.pass(60 * SECOND_NS);
        assert_eq!(hand.open(conn + 1)[1], authenticate(conn + 1, "another"));
    }
    // One that is accepted in between breaks the row.
    let mut hand = opened(refreshing());
    for conn in 0..9 {
        hand.text(conn, AUTHENTICATED);
        let lines = hand.text(conn, &error(401, "no"));
        assert!(!lines.iter().any(|line| line.starts_with("give up")), "{lines:?}");
        hand.respond(Call::from(conn), 200, &reply("another"));
        hand.pass(60 * SECOND_NS);
        hand.open(conn + 1);
    }
}

/// The token is shown only after the upgrade: its refusal, by a proxy say, ends nothing and costs no token.
#[test]
fn an_upgrade_that_is_refused_is_tried_again_with_the_same_token() {
    for config in [config(), refreshing(), with_token(config(), &until(1))] {
        let mut hand = hand(config);
        hand.give(Input::Start);
        hand.pass(2 * SECOND_NS);
        for conn in 0..20 {
            let lines = hand.lose(conn, CloseCause::HttpStatus([401, 403][conn as usize % 2]));
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(lines[0].starts_with(&format!("link refused {conn}: ")), "{lines:?}");
            assert_eq!(hand.pass(60 * SECOND_NS).len(), 2, "connecting, and the dial");
        }
        assert!(hand.open(20)[1].starts_with("send 20"));
    }
}

/// The exact calls of a day with tokens that are good for an hour.
#[test]
fn a_day_of_tokens_without_a_gap() {
    let mut hand = subscribed(with_token(refreshing(), &until(HOUR_S)));
    let mut calls = Vec::new();
    let mut second = 0;
    for minute in 0..24 * 60_u64 {
        let conn = calls.len() as Conn;
        for line in hand.pass(60 * SECOND_NS) {
            assert_eq!(line, format!("call {conn} {REFRESH}"), "in minute {minute}");
            second = (hand.now.steady_ns - at_s(0).steady_ns) / SECOND_NS;
            calls.push(second);
        }
        if calls.len() as Conn == conn {
            hand.text(conn, PING);
            continue;
        }
        let token = until(second + HOUR_S);
        let old = conn;
        let new = conn + 1;
        assert_eq!(
            hand.respond(Call::from(old), 200, &reply(&token)),
            [format!("link renewed {old}"), format!("link connecting {new}"), format!("dial {new} {URL}")]
        );
        assert_eq!(hand.open(new), [format!("link connected {new}"), authenticate(new, &token)]);
        // Both deliver, and both are answered, until the new one is subscribed.
        assert_eq!(hand.text(old, UPDATE), [record(old, "device_update")]);
        assert_eq!(hand.text(old, PING).len(), 2);
        assert_eq!(hand.text(new, AUTHENTICATED), [record(new, "control")]);
        assert_eq!(
            hand.text(new, SUBSCRIBED),
            [
                record(new, "control"),
                format!("link subscribed {new}"),
                format!("link disconnected {old}: connection {new} has taken over"),
                format!("close {old}"),
            ]
        );
        // What was on its way is kept; the end is ours.
        assert_eq!(hand.text(old, UPDATE), [record(old, "device_update")]);
        assert_eq!(hand.lose(old, CloseCause::ByUs), [""; 0]);
    }
    let expected: Vec<u64> = (1..).map(|n| n * 55 * 60).take_while(|at| *at <= 24 * HOUR_S).collect();
    assert_eq!(calls, expected);
}

#[test]
fn rows_of_a_renewal_say_that_the_stream_flows() {
    let mut hand = subscribed(with_token(refreshing(), &until(HOUR_S)));
    let mut events = Vec::new();
    let mut note = |fx: Vec<Effect>| {
        for effect in fx {
            if let Effect::Link(link) = effect {
                let says = |member: &str| link.more.get(member) == Some(&json!(true));
                events.push((link.event, link.conn, says("flowing"), says("planned")));
            }
        }
    };
    while hand.pass(60 * SECOND_NS).is_empty() {
        hand.text(0, PING);
    }
    let body = reply(&until(9 * HOUR_S)).into();
    note(hand.effects(Input::Response {
        call: 0,
        result: Ok(HttpResponse { status: 200, retry_after_s: None, body }),
    }));
    note(hand.effects(Input::Opened { conn: 1, session_present: false }));
    let at = hand.now;
    note(hand.effects(Input::Frame { conn: 1, at, frame: Frame::Text(UPDATE.into()) }));
    let why = Closed { cause: CloseCause::Broken, detail: String::new() };
    note(hand.effects(Input::Closed { conn: 1, why }));
    assert_eq!(
        events,
        [
            ("renewed", 0, true, false),
            ("connecting", 1, true, true),
            ("connected", 1, true, false),
            ("subscribed", 1, true, false),
            ("disconnected", 0, true, true),
            ("disconnected", 1, false, false),
        ]
    );
}

/// A hand whose token has just been renewed, with connection 1 being made beside 0.
fn renewing(config: DamoovConfig) -> Hand {
    let mut hand = subscribed(with_token(config, &until(HOUR_S)));
    while hand.pass(60 * SECOND_NS).is_empty() {
        hand.text(0, PING);
    }
    hand.respond(0, 200, &reply(&until(99 * HOUR_S)));
    hand
}

#[test]
fn a_successor_that_fails_is_tried_again_while_the_old_connection_lasts() {
    for how in 0..4 {
        let mut hand = renewing(refreshing());
        let refused = match how {
            0 => hand.lose(1, CloseCause::Unreachable)[0].clone(),
            1 => {
                hand.open(1);
                hand.lose(1, CloseCause::Broken)[0].clone()
            }
            2 => {
                hand.open(1);
                hand.text(1, &error(401, "no"))[1].clone()
            }
            _ => {
                hand.open(1);
                hand.text(0, PING);
                hand.pass(30 * SECOND_NS)[0].clone()
            }
        };
        assert!(refused.starts_with("link refused 1: "), "{refused}");
        hand.text(0, PING);
        assert_eq!(
            hand.pass(60 * SECOND_NS),
            ["link connecting 2".to_owned(), format!("dial 2 {URL}")],
            "{how}"
        );
        hand.open(2);
        assert_eq!(hand.text(2, SUBSCRIBED).last().unwrap(), "close 0");
    }
    // Rights that are refused beside it are not asked for again until the old connection ends.
    let mut hand = renewing(refreshing());
    hand.open(1);
    assert_eq!(hand.text(1, &error(403, "no"))[1..], ["link refused 1: error 403: no", "close 1"]);
    for _ in 0..60 {
        hand.text(0, PING);
        assert_eq!(hand.pass(60 * SECOND_NS), [""; 0]);
    }
}

#[test]
fn a_successor_becomes_the_next_attempt_when_the_old_connection_ends() {
    for is_open in [false, true] {
        let mut hand = renewing(refreshing());
        if is_open {
            hand.open(1);
        }
        // By then the old token has been refused; the new one is none the worse for it.
        let lines = hand.text(0, &error(401, "JWT expired"));
        assert_eq!(lines[1..], ["link disconnected 0: error 401: JWT expired", "close 0"]);
        hand.lose(0, CloseCause::ByPeer(Some(1008)));
        if !is_open {
            assert_eq!(hand.open(1)[1], authenticate(1, &until(99 * HOUR_S)));
        }
        assert_eq!(hand.pass(2 * SECOND_NS), [""; 0]);
        let lines = hand.text(1, SUBSCRIBED);
        assert_eq!(lines[1], "link subscribed 1");
        assert!(lines[2].starts_with("link reconnected 1 after "), "{lines:?}");
    }
}

#[test]
fn a_refresh_that_fails_beside_the_stream_is_told_and_tried_again() {
    let mut hand = subscribed(with_token(refreshing(), &until(HOUR_S)));
    while hand.pass(60 * SECOND_NS).is_empty() {
        hand.text(0, PING);
    }
    assert_eq!(hand.respond(0, 503, ""), ["link refused 0: refresh answered with status 503"]);
    assert_eq!(hand.pass(SECOND_NS), [format!("call 1 {REFRESH}")]);
    // Refused for good: as long as the token lasts, and then it is over.
    hand.text(0, PING);
    assert_eq!(hand.respond(1, 401, ""), ["link refused 0: refresh refused with status 401"]);
    for _ in 0..5 {
        assert_eq!(hand.pass(60 * SECOND_NS), [""; 0]);
        hand.text(0, PING);
    }
    let lines = hand.text(0, &error(401, "JWT expired"));
    assert_eq!(
        lines[2],
        "give up: the access token was refused (error 401: JWT expired); refresh refused with status 401: configure fresh credentials"
    );
}

#[test]
fn a_login_comes_before_the_first_connection() {
    let mut hand = hand(logging_in());
    assert_eq!(hand.give(Input::Start), ["link connecting 0".to_owned(), format!("call 0 {LOGIN}")]);
    assert_eq!(hand.until_tick_ns(), None);
    assert_eq!(hand.respond(0, 200, &reply("jwt-9")), ["link renewed 0".to_owned(), format!("dial 0 {URL}")]);
    assert_eq!(hand.open(0)[1], authenticate(0, "jwt-9"));

    let mut hand = self::hand(logging_in());
    hand.give(Input::Start);
    assert_eq!(hand.respond(0, 500, ""), ["link refused 0: login answered with status 500"]);
    assert_eq!(hand.pass(SECOND_NS), ["link connecting 1".to_owned(), format!("call 1 {LOGIN}")]);
    let lines = hand.respond(1, 401, "");
    assert_eq!(lines[0], "link refused 1: login refused with status 401");
    assert!(lines[1].starts_with("give up: no access token can be had; login refused"), "{lines:?}");
    assert_eq!(hand.until_tick_ns(), None);
}

#[test]
fn a_server_that_refuses_all_night_sees_five_logins_an_hour() {
    let mut hand = hand(logging_in());
    hand.give(Input::Start);
    let (mut logins, mut conn): (Vec<u64>, Conn) = (vec![0], 0);
    while logins.len() < 12 {
        let call = logins.len() as Call - 1;
        hand.respond(call, 200, &reply("jwt"));
        hand.open(conn);
        // Accepted, then thrown out: it is never believed for good.
        hand.text(conn, AUTHENTICATED);
        hand.text(conn, &error(401, "no"));
        hand.lose(conn, CloseCause::ByPeer(Some(1008)));
        if hand.until_tick_ns().is_some_and(|ns| ns > 120 * SECOND_NS) {
            // Nothing happens until a login is allowed.
            let wait = hand.until_tick_ns().unwrap();
            assert_eq!(hand.pass(wait - 1), [""; 0]);
        }
        let lines = hand.pass(61 * SECOND_NS);
        assert!(lines[0].starts_with("link connecting"), "{lines:?}");
        logins.push((hand.now.steady_ns - at_s(0).steady_ns) / SECOND_NS);
        conn += 1;
    }
    for six in logins.windows(6) {
        // The login follows the loss at once, the time is taken after the wait: a minute at most.
        assert!(six[5] - six[0] + 61 >= HOUR_S, "{logins:?}");
    }
}

#[test]
fn words_of_the_server_hold_no_token() {
    let mut hand = subscribed(config());
    let lines = hand.text(0, &error(503, "token jwt-0 is too much"));
    assert_eq!(lines[1], "link disconnected 0: error 503: token … is too much");
    let mut hand = subscribed(config());
    let lines = hand.text(0, &error(408, &"é".repeat(500)));
    assert_eq!(lines[1].len(), "link disconnected 0: error 408: ".len() + 200);
}

#[test]
fn every_token_that_is_given_is_told_before_it_is_shown() {
    let mut hand = hand(refreshing());
    hand.give(Input::Start);
    hand.open(0);
    hand.text(0, &error(401, "JWT expired"));
    hand.pass(2 * SECOND_NS);
    let body = r#"{"Result":{"AccessToken":{"Token":"jwt-1"},"RefreshToken":"refresh-1"}}"#;
    let result = Ok(HttpResponse { status: 200, retry_after_s: None, body: body.into() });
    let fx = hand.effects(Input::Response { call: 0, result });
    let secrets = ["jwt-1", "refresh-1"].map(|secret| Effect::Secret(Secret::new(secret)));
    assert_eq!(fx[..2], secrets);
    assert!(fx.len() > 2, "and then it is used");
}

#[test]
fn stop_closes_everything() {
    let mut hand = renewing(refreshing());
    hand.open(1);
    assert_eq!(hand.give(Input::Stop), ["close 0", "close 1"]);
    assert_eq!(hand.until_tick_ns(), None);
    assert_eq!(hand.give(Input::Start), [""; 0]);
    assert_eq!(hand.respond(1, 200, &reply("late")), [""; 0]);

    // What a refused refresh leads to otherwise, the login, or the word that all is over, it does not any more.
    for config in [DamoovConfig { login: logging_in().login, ..refreshing() }, refreshing()] {
        let mut hand = subscribed(config);
        assert_eq!(hand.text(0, &error(401, "JWT expired"))[2], format!("call 0 {REFRESH}"));
        hand.give(Input::Stop);
        assert_eq!(hand.respond(0, 401, ""), [""; 0]);
    }
}
