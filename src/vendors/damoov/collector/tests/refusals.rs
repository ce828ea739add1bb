//! What a server refuses, and what is believed of it.

use super::*;

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
