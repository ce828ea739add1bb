//! What is ordered, as JSON:
//!
//! | action | members |
//! |---|---|
//! | `play` `pause` `toggle` `stop` | |
//! | `seek` | `to`, or `by` (from where it is): `"-5s"`, `"10s"`, or nanoseconds |
//! | `speed` | `speed`: `"2"`, `"1/4"` |
//! | `step` | `count` (default 1); or `until`: `{"kind": …}` with `vendor source kind device channel` (a text, or several in a list) and `where`, as of the command line |
//! | `loop` | `from` and `to` as of `seek`, default all; `count`, this round counted, default without end; 1 ends a loop with this round |
//!
//! `to` and `from` are `position_ns` as a number, `"90s"` for the same, `"+90s"` since the session's start, a time with
//! offset as in `"2026-03-01T14:00:00Z"`, or `"-2h"` from now.

use std::num::NonZeroU64;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::message::Selection;
use crate::player::Rounds;
use crate::player::control::{Order, Repeat, Steps, To};
use crate::units::{Moment, parse_duration, parse_moment};

const ACTIONS: &str = "play, pause, toggle, seek, speed, step, loop or stop";

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Order(Order),
    /// To what a search in the recording finds.
    StepTo {
        condition: Option<String>,
        selection: Selection,
    },
}

/// What is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub error: String,
    pub expected: String,
}

fn wrong(error: impl Into<String>, expected: impl Into<String>) -> Wrong {
    Wrong { error: error.into(), expected: expected.into() }
}

/// Why a body is no JSON, in words for who wrote it.
fn no_json(body: &[u8], error: &serde_json::Error) -> String {
    if body.trim_ascii().is_empty() {
        return "the body is empty".to_owned();
    }
    let (line, column) = (error.line(), error.column());
    match error.is_eof() {
        true => format!("the body is no JSON: it ends too early, at line {line}, column {column}"),
        false => format!("the body is no JSON, at line {line}, column {column}"),
    }
}

/// Reads an action; `now_us` is what `-2h` counts from.
pub fn parse(body: &[u8], now_us: i64) -> Result<Action, Wrong> {
    let example = r#"an object, as in {"action": "seek", "to": "90s"}"#;
    let value: Value = serde_json::from_slice(body).map_err(|error| wrong(no_json(body, &error), example))?;
    let Value::Object(mut members) = value else { return Err(wrong("not an object", example)) };
    let action = match members.remove("action") {
        Some(Value::String(action)) => action,
        Some(_) => return Err(wrong("`action` is not a text", ACTIONS)),
        None => return Err(wrong("`action` is missing", ACTIONS)),
    };
    let known: &[&str] = match action.as_str() {
        "play" | "pause" | "toggle" | "stop" => &[],
        "seek" => &["to", "by"],
        "speed" => &["speed"],
        "step" => &["count", "until"],
        "loop" => &["from", "to", "count"],
        _ => return Err(wrong(format!("there is no action {action:?}"), ACTIONS)),
    };
    if let Some(unknown) = members.keys().find(|key| !known.contains(&key.as_str())) {
        let expected = if known.is_empty() { "nothing else".to_owned() } else { known.join(", ") };
        return Err(wrong(format!("`{unknown}` says nothing to {action}"), expected));
    }
    let order = match action.as_str() {
        "play" => Order::Play,
        "pause" => Order::Pause,
        "toggle" => Order::Toggle,
        "stop" => Order::Stop,
        "seek" => Order::Seek(match (members.get("to"), members.get("by")) {
            (Some(to), None) => place("to", to, now_us)?,
            (None, Some(by)) => distance(by)?,
            _ => return Err(wrong("seek needs one of `to` and `by`", r#""to": "90s", or "by": "-5s""#)),
        }),
        "speed" => {
            let expected = r#"a ratio of whole numbers as text, as in "2" or "1/4""#;
            let speed = match members.get("speed") {
                Some(Value::String(speed)) => speed.clone(),
                Some(Value::Number(speed)) => speed.to_string(),
                _ => return Err(wrong("`speed` is missing", expected)),
            };
            Order::Speed(speed.parse().map_err(|error| wrong(format!("{error}"), expected))?)
        }
        "step" => return step(&members),
        _ => Order::Repeat(Repeat {
            from: members.get("from").map(|from| place("from", from, now_us)).transpose()?,
            to: members.get("to").map(|to| place("to", to, now_us)).transpose()?,
            rounds: count(&members)?.map_or(Rounds::Forever, Rounds::Times),
        }),
    };
    if let Order::Repeat(Repeat { from, to: Some(to), .. }) = &order
        && is_reversed(from.unwrap_or(To::Position(0)), *to)
    {
        return Err(wrong("`to` is not after `from`: nothing lies between them", "a later `to`"));
    }
    Ok(Action::Order(order))
}

/// Whether nothing lies between the two, as far as that can be told from what they are.
fn is_reversed(from: To, to: To) -> bool {
    match (from, to) {
        (To::Position(from), To::Position(to)) | (To::Recorded(from), To::Recorded(to)) => from >= to,
        (To::Wall(from), To::Wall(to)) => from >= to,
        _ => false,
    }
}

fn step(members: &Map<String, Value>) -> Result<Action, Wrong> {
    let count = count(members)?;
    let Some(until) = members.get("until") else {
        let count = count.unwrap_or(NonZeroU64::MIN);
        return Ok(Action::Order(Order::Step(Steps::Count(count))));
    };
    let example = r#"an object, as in {"kind": "alarm"} or {"where": "speed_kmh > 80"}"#;
    let Value::Object(until) = until else { return Err(wrong("`until` is not an object", example)) };
    if count.is_some() {
        return Err(wrong("`count` and `until` exclude one another", "one of them"));
    }
    if until.is_empty() {
        return Err(wrong("`until` says nothing", example));
    }
    let mut selection = Selection::default();
    let mut condition = None;
    for (key, value) in until {
        let list = match key.as_str() {
            "vendor" => &mut selection.vendors,
            "source" => &mut selection.sources,
            "kind" => &mut selection.kinds,
            "device" => &mut selection.devices,
            "channel" => &mut selection.channels,
            "where" => {
                let text = value.as_str().ok_or_else(|| wrong("`where` is not a text", example))?;
                condition = Some(text.to_owned());
                continue;
            }
            _ => {
                return Err(wrong(
                    format!("`{key}` says nothing to until"),
                    "vendor, source, kind, device, channel, where",
                ));
            }
        };
        let texts = match value {
            Value::Array(values) => values.iter().map(Value::as_str).collect(),
            value => value.as_str().map(|text| vec![text]),
        };
        let texts: Vec<&str> =
            texts.ok_or_else(|| wrong(format!("`{key}` is neither a text nor a list of texts"), example))?;
        list.extend(texts.into_iter().map(str::to_owned));
    }
    Ok(Action::StepTo { condition, selection })
}

fn count(members: &Map<String, Value>) -> Result<Option<NonZeroU64>, Wrong> {
    let Some(count) = members.get("count") else { return Ok(None) };
    let count = count.as_u64().and_then(NonZeroU64::new);
    count.map(Some).ok_or_else(|| wrong("`count` is not a whole number from 1", "1, 2, 3, …"))
}

fn place(key: &str, value: &Value, now_us: i64) -> Result<To, Wrong> {
    let expected = r#"position_ns as a number, "90s", "+90s" since the session's start, or a time as in "2026-03-01T14:00:00Z""#;
    let text = match value {
        Value::Number(ns) => {
            let ns = ns.as_u64().ok_or_else(|| wrong(format!("`{key}` is {ns}"), expected))?;
            return Ok(To::Position(ns));
        }
        Value::String(text) => text,
        _ => return Err(wrong(format!("`{key}` is neither a number nor a text"), expected)),
    };
    if let Ok(duration) = parse_duration(text) {
        return Ok(To::Position(nanos(duration)));
    }
    match parse_moment(text) {
        Ok(Moment::At(us)) => Ok(To::Wall(us)),
        Ok(Moment::AfterStart(duration)) => Ok(To::Recorded(nanos(duration))),
        Ok(Moment::BeforeNow(duration)) => Ok(To::Wall(
            now_us.saturating_sub_unsigned(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)),
        )),
        Err(error) => Err(wrong(format!("`{key}` is {text:?}: {error}"), expected)),
    }
}

fn distance(value: &Value) -> Result<To, Wrong> {
    let expected = r#""-5s", "10s", or nanoseconds as a number"#;
    let by = match value {
        Value::Number(ns) => ns.as_i64(),
        Value::String(text) => {
            let (sign, length) = match text.strip_prefix('-') {
                Some(length) => (-1, length),
                None => (1, text.strip_prefix('+').unwrap_or(text)),
            };
            parse_duration(length)
                .ok()
                .map(|length| sign * i64::try_from(length.as_nanos()).unwrap_or(i64::MAX))
        }
        _ => None,
    };
    by.map(To::By).ok_or_else(|| wrong(format!("`by` is {value}"), expected))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
