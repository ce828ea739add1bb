//! A connection takes over from another, and what may come between.

use super::*;

#[test]
fn a_hand_over_that_fails_leaves_the_old_connection() {
    let mut world = World::started(&["A"], &[]);
    world.until(3_299);
    world.answers =
        vec![("dial", Answer::Close(CloseCause::MqttRefused(3))), ("dial", Answer::SubscriptionRefused)];
    let lines = world.until(3_320);
    assert_eq!(only(&lines, &["reconnected"]), [] as [&str; 0]);
    let refused = only(&lines, &["refused"]);
    assert_eq!(refused.len(), 2, "{lines:#?}");
    assert!(refused.iter().all(|line| line.contains("flowing")), "{refused:?}");
    let closed = only(&lines, &["close", "disconnected"]);
    assert!(closed[0].ends_with("close 2") && closed[1].ends_with("close 0"), "{closed:?}");
    assert!(closed[2].contains("disconnected 0 planned flowing"), "{closed:?}");
    assert_eq!(only(&lines, &["start"]), ["3300 start A"]);
}

#[test]
fn hand_overs_that_fail_now_and_then_wait_no_longer_each_time() {
    let mut world = World::started(&["A"], &[]);
    for n in 1..=20 {
        world.until(n * 3_300 - 10);
        world.answers = vec![("dial", Answer::Close(CloseCause::MqttRefused(3)))];
        let lines = world.until(n * 3_300 + 10 * n);
        assert_eq!(only(&lines, &["refused"]).len(), 1, "{n}: {lines:?}");
        let at = |begin: &str| only(&lines, &[begin])[0].split(' ').next().unwrap().parse::<f64>().unwrap();
        assert!(at("disconnected") - at("refused") <= 1.0, "{n}: {lines:?}");
    }
}

#[test]
fn a_start_that_is_refused_during_a_hand_over_ends_both_connections_and_tells_so() {
    // While the next one is being made, and while it waits for its token.
    let margin = Duration::from_secs(1_799);
    for (answer, closed, token_margin) in
        [(("dial", Answer::Silence), 2, DEFAULT_TOKEN_MARGIN), (("token", Answer::Silence), 1, margin)]
    {
        let mut world = World::new(PontosenseConfig { token_margin, ..config(&["A"]) });
        world.give(Input::Start);
        world.until(3_299);
        world.answers = vec![answer, ("start", Answer::Status(403))];
        let lines = world.until(3_301);
        assert_eq!(only(&lines, &["connecting"]), ["3300 connecting 1 planned flowing"]);
        assert_eq!(only(&lines, &["close"]).len(), closed);
        let refused = "start (A: not started: HTTP status 403)";
        assert_eq!(
            only(&lines, &["refused", "disconnected", "ready"]),
            [format!("3300 refused 0 {refused}"), format!("3300 refused 1 {refused}")]
        );
    }
}

#[test]
fn a_connection_lost_in_the_middle_of_a_hand_over_is_replaced_by_the_new_one() {
    let mut world = World::started(&["A"], &[]);
    world.until(3_299);
    world.answers = vec![("dial", Answer::Silence)];
    world.until(3_301);
    world.cut(0);
    world.give(Input::Opened { conn: 1, session_present: false });
    world.give(Input::Subscribed { conn: 1, granted: vec![("t".into(), Some(0))] });
    assert_eq!(
        only(&world.lines, &["disconnected", "subscribed", "start", "reconnected", "ready"]),
        [
            "3301 disconnected 0 (A: cut)",
            "3301 subscribed 1",
            "3301 start A",
            "3301 reconnected 1 after 0",
            "3301 ready 1"
        ]
    );
}

#[test]
fn a_lost_connection_does_not_wait_for_what_its_successor_was_told_to_wait() {
    let mut world = World::started(&["A"], &[]);
    world.until(3_299);
    world.answers = vec![("dial", Answer::Close(CloseCause::MqttRefused(5))), ("token", Answer::Status(401))];
    let refused = only(&world.until(3_305), &["refused"]);
    assert!(refused[1].ends_with("refused 2 flowing token (A: no token: HTTP status 401)"), "{refused:?}");
    world.cut(0);
    assert_eq!(only(&world.until(3_310), &["ready"]).len(), 1);
}
