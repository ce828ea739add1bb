//! Tokens that are renewed in time, each with a connection of its own that takes over.

use super::*;

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
pub(super) fn renewing(config: DamoovConfig) -> Hand {
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
