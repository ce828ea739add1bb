mod refusals;
mod renewal;

use bytes::Bytes;

use self::renewal::renewing;
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
