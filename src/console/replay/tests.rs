use super::*;
use crate::player::Rounds;
use crate::player::control::{Repeat, To};

fn parse(body: &str) -> Result<Action, Wrong> {
    action::parse(body.as_bytes(), 10_000_000)
}

#[test]
fn actions_are_read() {
    let s = 1_000_000_000;
    let step = |count: u64| Order::Step(Steps::Count(count.try_into().unwrap()));
    let alarm = Selection {
        kinds: vec!["alarm".into()],
        devices: vec!["1".into(), "2".into()],
        ..Selection::default()
    };
    let repeat = |from, to, rounds| Order::Repeat(Repeat { from, to, rounds });
    for (body, expected) in [
        (r#"{"action": "play"}"#, Order::Play),
        (r#"{"action": "seek", "to": "90s"}"#, Order::Seek(To::Position(90 * s))),
        (r#"{"action": "seek", "to": 7}"#, Order::Seek(To::Position(7))),
        (r#"{"action": "seek", "to": "+90s"}"#, Order::Seek(To::Recorded(90 * s))),
        (r#"{"action": "seek", "to": "1970-01-01T00:00:02Z"}"#, Order::Seek(To::Wall(2_000_000))),
        (r#"{"action": "seek", "to": "-2s"}"#, Order::Seek(To::Wall(8_000_000))),
        (r#"{"action": "seek", "by": "-5s"}"#, Order::Seek(To::By(-5 * s as i64))),
        (r#"{"action": "speed", "speed": "1/4"}"#, Order::Speed("1/4".parse().unwrap())),
        (r#"{"action": "speed", "speed": 2}"#, Order::Speed("2".parse().unwrap())),
        (r#"{"action": "step"}"#, step(1)),
        (r#"{"action": "step", "count": 12}"#, step(12)),
        (
            r#"{"action": "step", "until": {"kind": "alarm", "device": ["1", "2"]}}"#,
            Order::Step(Steps::Until(Until { selection: alarm, row: None })),
        ),
        (r#"{"action": "loop"}"#, repeat(None, None, Rounds::Forever)),
        (
            r#"{"action": "loop", "from": "1s", "to": "2s", "count": 1}"#,
            repeat(Some(To::Position(s)), Some(To::Position(2 * s)), Rounds::ONCE),
        ),
        (r#"{"action": "stop"}"#, Order::Stop),
    ] {
        assert_eq!(parse(body), Ok(Action::Order(expected)), "{body}");
    }
    let search = parse(r#"{"action": "step", "until": {"where": "speed_kmh > 80"}}"#).unwrap();
    let (condition, selection) = ("speed_kmh > 80".to_owned(), Selection::default());
    assert_eq!(search, Action::StepTo { condition, selection });
}

#[test]
fn what_is_wrong_is_told_with_what_was_expected() {
    for (body, error) in [
        ("", "EOF"),
        ("[]", "not an object"),
        ("{}", "`action` is missing"),
        (r#"{"action": 1}"#, "not a text"),
        (r#"{"action": "rewind"}"#, "no action \"rewind\""),
        (r#"{"action": "play", "to": 1}"#, "`to` says nothing to play"),
        (r#"{"action": "seek"}"#, "one of `to` and `by`"),
        (r#"{"action": "seek", "to": 1, "by": 1}"#, "one of `to` and `by`"),
        (r#"{"action": "seek", "to": -1}"#, "`to` is -1"),
        (r#"{"action": "seek", "to": "soon"}"#, "`to` is \"soon\""),
        (r#"{"action": "seek", "by": "soon"}"#, "`by` is"),
        (r#"{"action": "speed", "speed": "0"}"#, "\"0\" is not a speed"),
        (r#"{"action": "speed"}"#, "`speed` is missing"),
        (r#"{"action": "step", "count": 0}"#, "`count` is not a whole number from 1"),
        (r#"{"action": "step", "until": {}}"#, "`until` says nothing"),
        (r#"{"action": "step", "until": {"seq": 1}}"#, "`seq` says nothing"),
        (r#"{"action": "step", "until": {"kind": 1}}"#, "`kind` is neither"),
        (r#"{"action": "loop", "from": "2s", "to": "1s"}"#, "not after `from`"),
    ] {
        let wrong = parse(body).unwrap_err();
        assert!(wrong.error.contains(error) && !wrong.expected.is_empty(), "{body}: {wrong:?}");
    }
}

#[test]
fn one_thing_is_waited_for() {
    assert_eq!(awaited("seq=7"), Ok((Awaited::Seq(7), None)));
    let done = Awaited::State(Stand::Done);
    assert_eq!(awaited("timeout=2s&state=done"), Ok((done, Some(Duration::from_secs(2)))));
    for wrong in
        ["", "timeout=1s", "seq=x", "state=over", "seq=1&seq=2", "seq=1&state=done", "n=1", "seq=1&timeout=x"]
    {
        assert!(awaited(wrong).is_err(), "{wrong}");
    }
}
