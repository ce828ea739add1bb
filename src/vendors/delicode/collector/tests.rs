use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::secret::Secret;
use crate::vendors::VendorConfig;
use crate::vendors::testing::{Hand, source};

const REGISTER_0: &str = r#"send 0 {"type":"realtime_register","token":"jwt","locations":[1,2]}"#;
const SUCCESS: &str = r#"{"type":"realtime_register","result":"success"}"#;
const HEARTBEAT_0: &str = r#"send 0 {"type":"realtime_heartbeat"}"#;
const POSITION: &str = r#"{"type":"realtime_person_position","person_id":1,"location_id":1}"#;

fn hand() -> Hand {
    Hand::of(&source(VendorConfig::Delicode(DelicodeConfig {
        url: "wss://example.com/websocket_realtime?x=1".into(),
        token: Secret::new("jwt"),
        locations: vec![1, 2],
        heartbeat: Duration::from_secs(22),
    })))
}

fn sorted(line: &str) -> Vec<char> {
    let mut chars: Vec<char> = line.chars().collect();
    chars.sort_unstable();
    chars
}

/// A started hand whose first connection is open.
fn opened() -> Hand {
    let mut hand = hand();
    hand.give(Input::Start);
    hand.open(0);
    hand
}

#[test]
fn it_dials_registers_and_sorts_frames() {
    let mut hand = hand();
    assert_eq!(
        hand.give(Input::Start),
        ["link connecting 0", "dial 0 wss://example.com/websocket_realtime?x=1"]
    );
    let lines = hand.open(0);
    assert_eq!(lines[0], "link connected 0");
    // Members of an object that is built here may come in any order.
    assert_eq!(sorted(&lines[1]), sorted(REGISTER_0));
    assert_eq!(lines.len(), 2);

    let cases = [
        (SUCCESS, &["record 0 control on /websocket_realtime", "link subscribed 0"][..]),
        (SUCCESS, &["record 0 control on /websocket_realtime"]),
        (POSITION, &["record 0 person_position on /websocket_realtime"]),
        (r#"{"type":"realtime_person_lost"}"#, &["record 0 person_lost on /websocket_realtime"]),
        (r#"{"message_type":"realtime_demographics"}"#, &["record 0 demographics on /websocket_realtime"]),
        (r#"{"type":"realtime_heartbeat","result":"bad"}"#, &["record 0 control on /websocket_realtime"]),
        (r#"{"type":"close_connection"}"#, &["record 0 control on /websocket_realtime"]),
        (r#"{"type":"realtime_weather"}"#, &["record 0 other on /websocket_realtime"]),
        ("no JSON", &["record 0 other on /websocket_realtime"]),
        ("", &["record 0 other on /websocket_realtime"]),
    ];
    for (frame, expected) in cases {
        assert_eq!(hand.text(0, frame), expected, "{frame}");
    }
}

#[test]
fn payloads_are_kept_byte_for_byte() {
    let mut hand = opened();
    for (frame, bytes, is_binary) in [
        (Frame::Text(" {\"x\":-0.0} \u{FF01}".into()), " {\"x\":-0.0} \u{FF01}".as_bytes(), false),
        (Frame::Binary(Bytes::from_static(b"\xFF\x00")), b"\xFF\x00", true),
        (Frame::Binary(Bytes::from_static(POSITION.as_bytes())), POSITION.as_bytes(), true),
    ] {
        let at = hand.now;
        let fx = hand.effects(Input::Frame { conn: 0, at, frame });
        let Effect::Record { record, ack: None } = &fx[0] else { panic!("{fx:?}") };
        assert_eq!((&record.payload[..], record.is_binary, record.at), (bytes, is_binary, at));
    }
}

#[test]
fn a_day_of_heartbeats_passes() {
    let mut hand = opened();
    hand.text(0, SUCCESS);
    let lines = hand.pass(24 * 3_600 * SECOND_NS);
    assert_eq!(lines.len(), 24 * 3_600 / 22);
    assert!(lines.iter().all(|line| line == HEARTBEAT_0));
}

#[test]
fn data_or_ten_seconds_of_peace_stand_for_the_reply() {
    let mut hand = opened();
    assert_eq!(
        hand.text(0, POSITION),
        ["record 0 person_position on /websocket_realtime", "link subscribed 0"]
    );
    let mut hand = opened();
    assert_eq!(hand.pass(9 * SECOND_NS), [""; 0]);
    assert_eq!(hand.pass(SECOND_NS), ["link subscribed 0"]);
    assert_eq!(hand.pass(12 * SECOND_NS), [HEARTBEAT_0]);
}

#[test]
fn a_refused_registration_is_tried_again_for_ever() {
    let mut hand = hand();
    hand.give(Input::Start);
    for conn in 0..50 {
        hand.open(conn);
        let lines = hand.text(conn, r#"{"type":"realtime_register","result":"invalid locations"}"#);
        assert_eq!(
            lines[1..],
            [
                format!("link refused {conn}: registration refused: invalid locations"),
                format!("close {conn}")
            ]
        );
        assert_eq!(hand.lose(conn, CloseCause::ByUs), [""; 0]);
        let lines = hand.pass(hand.until_tick_ns().unwrap());
        assert_eq!(lines[0], format!("link connecting {}", conn + 1));
    }
}

#[test]
fn three_refusals_of_the_token_in_a_row_are_believed() {
    use CloseCause::{Broken, ByPeer, HttpStatus, Unreachable};
    // What ends the attempts, whether after the handshake, and after how many the source is over.
    type Attempts<'a> = &'a [(CloseCause, bool)];
    let cases: [(Attempts, Option<usize>); 7] = [
        (&[(ByPeer(Some(1008)), true), (ByPeer(None), true), (ByPeer(Some(1000)), true)], Some(3)),
        (&[(HttpStatus(401), false), (ByPeer(None), true), (HttpStatus(403), false)], Some(3)),
        // Not reaching the server neither counts nor breaks the row.
        (&[(ByPeer(None), true), (Unreachable, false), (ByPeer(None), true), (ByPeer(None), true)], Some(4)),
        // A server with troubles of its own breaks it.
        (
            &[(ByPeer(None), true), (ByPeer(Some(1012)), true), (ByPeer(None), true), (ByPeer(None), true)],
            None,
        ),
        (&[(Broken, true), (Broken, true), (Broken, true), (Broken, true)], None),
        (&[(HttpStatus(502), false), (HttpStatus(502), false), (HttpStatus(502), false)], None),
        (&[(Unreachable, false), (Unreachable, false), (Unreachable, false)], None),
    ];
    for (attempts, over_after) in cases {
        let mut hand = hand();
        hand.give(Input::Start);
        let mut over = None;
        for (conn, (cause, open)) in attempts.iter().enumerate() {
            if *open {
                hand.open(conn as Conn);
            }
            let lines = hand.lose(conn as Conn, *cause);
            assert!(lines[0].starts_with(&format!("link refused {conn}")), "{lines:?}");
            if lines.iter().any(|line| line.starts_with("give up")) {
                over = Some(conn + 1);
                assert_eq!(hand.until_tick_ns(), None);
                break;
            }
            hand.pass(hand.until_tick_ns().unwrap());
        }
        assert_eq!(over, over_after, "{attempts:?}");
    }
}

#[test]
fn a_close_that_is_announced_tells_why() {
    let mut hand = opened();
    hand.text(0, SUCCESS);
    hand.text(0, r#"{"type":"close_connection","message":"server is restarting"}"#);
    assert_eq!(
        hand.lose(0, CloseCause::ByPeer(Some(1000))),
        ["link disconnected 0: close_connection: server is restarting"]
    );
    // Of a server in trouble nothing follows about the token, unless it says so, and never the token itself.
    for (words, over_after) in [("maintenance", None), ("Token jwt is not valid", Some(2))] {
        let mut hand = self::hand();
        hand.give(Input::Start);
        for conn in 0..10 {
            hand.open(conn);
            hand.text(conn, &json!({"message_type": "close_connection", "message": words}).to_string());
            let lines = hand.lose(conn, CloseCause::ByPeer(Some(1000)));
            assert_eq!(
                lines[0],
                format!("link refused {conn}: close_connection: {}", words.replace("jwt", "…"))
            );
            assert_eq!(lines.len() > 1, over_after == Some(conn), "{lines:?}");
            match hand.until_tick_ns() {
                Some(wait_ns) => drop(hand.pass(wait_ns)),
                None => {
                    assert_eq!(over_after, Some(conn), "{words}");
                    break;
                }
            }
        }
    }
}

#[test]
fn a_lost_connection_is_made_again() {
    let mut hand = opened();
    hand.text(0, SUCCESS);
    hand.pass(15 * SECOND_NS);
    assert_eq!(
        hand.lose(0, CloseCause::ByPeer(Some(1000))),
        ["link disconnected 0: closed by the peer with code 1000"]
    );
    assert_eq!(hand.pass(SECOND_NS)[0], "link connecting 1");
    hand.open(1);
    assert_eq!(hand.text(1, SUCCESS)[1..], ["link subscribed 1", "link reconnected 1 after 16 s"]);
}

#[test]
fn stop_ends_heartbeats() {
    let mut hand = opened();
    assert_eq!(hand.give(Input::Stop), ["close 0"]);
    assert_eq!(hand.until_tick_ns(), None);
    assert_eq!(hand.give(Input::Start), [""; 0]);
}
