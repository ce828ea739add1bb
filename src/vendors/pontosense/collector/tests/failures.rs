//! What fails, and what follows from it: one sensor by itself.

use super::*;

#[test]
fn a_renewal_that_fails_is_made_again_before_the_minute_is_over() {
    let failures = [Answer::Status(500), Answer::NoResponse];
    let mut world = World::started(&["A"], &[]);
    world.answers = failures.into_iter().map(|answer| ("start", answer)).collect();
    let lines = world.until(120);
    assert_eq!(
        only(&lines[9..], &["start", "refused", "renewed", "reconnected"]),
        [
            "55 start A",
            "55 refused 0 flowing start (A: not started: HTTP status 500)",
            "56 start A",
            "56 refused 0 flowing start (A: not started: no route)",
            "58 start A",
            "58 renewed 0 flowing reporting",
            "113 start A",
            "113 renewed 0 flowing reporting",
        ]
    );
}

#[test]
fn a_renewal_that_is_not_answered_is_made_again_beside_it() {
    let mut world = World::started(&["A"], &[]);
    world.answers = vec![("start", Answer::Silence)];
    let lines = world.until(100);
    assert_eq!(
        only(&lines[9..], &["start", "re"]),
        ["55 start A", "58 start A", "58 renewed 0 flowing reporting"]
    );
}

#[test]
fn a_sensor_that_cannot_be_started_in_time_is_down_until_it_can() {
    let mut world = World::started(&["A"], &[]);
    world.until(50);
    world.report(0, "A");
    world.answers = vec![("start", Answer::Status(503)); 4];
    let lines = world.until(80);
    assert_eq!(
        only(&lines, &["start", "refused", "reconnected", "ready"]),
        [
            "55 start A",
            "55 refused 0 flowing start (A: not started: HTTP status 503)",
            "56 start A",
            "56 refused 0 flowing start (A: not started: HTTP status 503)",
            "58 start A",
            "58 refused 0 flowing start (A: not started: HTTP status 503)",
            "60 refused 0 start (A: the sensor has stopped reporting: it could not be started again in time)",
            "63 start A",
            "63 refused 0 start (A: not started: HTTP status 503)",
            "68 start A",
            "68 reconnected 0 after 18",
            "68 ready 0",
        ]
    );
}

#[test]
fn failing_token_calls_are_made_again_later_each_time_and_as_late_as_asked_for() {
    let answers = [
        ("token", Answer::Status(500)),
        ("token", Answer::NoResponse),
        ("token", Answer::RetryAfter(100)),
        ("token", Answer::Data("[")),
    ];
    let mut world = World::started(&["A"], &answers);
    let lines = world.until(300);
    let told = only(&lines, &["refused", "reconnected", "ready"]);
    let waits: Vec<f64> = only(&lines, &["token"])
        .windows(2)
        .map(|pair| {
            let at = |line: &String| line.split(' ').next().unwrap().parse::<f64>().unwrap();
            at(&pair[1]) - at(&pair[0])
        })
        .collect();
    assert_eq!(waits.len(), 4);
    assert!((0.5..=1.0).contains(&waits[0]) && (1.0..=2.0).contains(&waits[1]), "{waits:?}");
    assert!((99.9..=100.1).contains(&waits[2]) && (4.0..=8.0).contains(&waits[3]), "{waits:?}");
    assert_eq!(told.len(), 6, "{told:#?}");
    assert_eq!(told[0], "0 refused 0 token (A: no token: HTTP status 500)");
    assert!(
        told[3].contains("refused 3 token (A: no token: unreadable token reply, at line 1"),
        "{}",
        told[3]
    );
    assert!(told[4].contains("reconnected 4 after"));
}

#[test]
fn a_refused_sensor_is_tried_rarely_and_disturbs_no_other() {
    for status in [401, 403, 404] {
        let mut world = World::started(&["A", "B"], &vec![("token A", Answer::Status(status)); 9]);
        let lines = world.until(3 * 3_600);
        let asked = only(&lines, &["token A"]).len();
        assert!((7..=10).contains(&asked), "{asked} times");
        assert_eq!(only(&lines, &["start A"]), [] as [&str; 0]);
        assert_eq!(only(&lines, &["start B"]).len(), 3 * 3_600 / 55 + 1);
        let refused = world.events.iter().find(|event| event.event == "refused").unwrap();
        assert_eq!(refused.more["sn"], "A");
        assert_eq!((&refused.more["code"], &refused.more["cause"]), (&status.into(), &"http_status".into()));
    }
}

#[test]
fn a_start_that_is_refused_closes_the_sensor_s_connection_and_comes_back() {
    let mut world = World::started(&["A"], &[("start", Answer::Status(403))]);
    let lines = world.until(70);
    assert_eq!(
        only(&lines, &["refused", "close", "disconnected"]),
        ["0 close 0", "0 refused 0 start (A: not started: HTTP status 403)"]
    );
    assert_eq!(only(&lines, &["token"]).len(), 2, "with a new token");
    assert_eq!(only(&lines, &["ready"]).len(), 1);
}

#[test]
fn a_lost_connection_is_made_again_with_the_token_while_that_is_good() {
    let mut world = World::started(&["A"], &[]);
    world.until(100);
    world.report(0, "A");
    world.until(130);
    world.cut(0);
    let lines = world.until(140);
    let told = only(&lines, &["token", "disconnected", "connecting", "start", "reconnected", "ready"]);
    assert_eq!(told[0], "130 disconnected 0 (A: cut)");
    assert!(told[1].ends_with("connecting 1") && told[2].ends_with("start A"), "{told:?}");
    assert!(told[3].contains("reconnected 1 after 30.") || told[3].contains("reconnected 1 after 31"));
    assert_eq!(told.len(), 5, "{told:?}");
    // In its last five minutes a token is not used again.
    world.answers = vec![("token", Answer::RetryAfter(600))];
    world.until(26 * 60);
    world.cut(1);
    assert_eq!(only(&world.until(26 * 60 + 5), &["token"]).len(), 1);
}

#[test]
fn a_connection_that_is_not_accepted_costs_the_token() {
    let causes = [
        CloseCause::MqttRefused(5),
        CloseCause::MqttRefused(7),
        CloseCause::HttpStatus(403),
        CloseCause::Unreachable,
        CloseCause::ByPeer(None),
    ];
    for cause in causes {
        let mut world = World::started(&["A"], &[("dial", Answer::Close(cause))]);
        let lines = world.until(10);
        assert_eq!(only(&lines, &["token"]).len(), 2, "{cause:?}");
        assert_eq!(only(&lines, &["reconnected", "ready"]).len(), 2, "{cause:?}");
    }
    let mut world = World::started(&["A"], &[("dial", Answer::Close(CloseCause::HttpStatus(503)))]);
    assert_eq!(only(&world.until(10), &["token"]).len(), 1);
}

#[test]
fn a_subscription_that_is_refused_or_not_answered_is_tried_again() {
    for (answer, expected) in [
        (Answer::SubscriptionRefused, "0 refused 0 (A: the subscription was refused)"),
        (Answer::NoSuback, "20 refused 0 (A: the subscription was not answered)"),
    ] {
        let mut world = World::started(&["A"], &[("dial", answer)]);
        let lines = world.until(30);
        assert_eq!(only(&lines, &["refused", "disconnected"]), [expected]);
        assert_eq!(only(&lines, &["close"]).len(), 1);
        assert_eq!(only(&lines, &["ready"]).len(), 1);
    }
}
