//! The replaying side: one WebSocket client of the vendor's protocol.
//!
//! What the vendor documents is done as documented. Where it is silent:
//!
//! | situation | answer |
//! |---|---|
//! | not registered within 5 s | `close_connection`, then close 1000 |
//! | nothing from the client for 30 s | `close_connection`, then close 1000 |
//! | token refused | close 1008 |
//! | locations not the token's, or malformed | error `result`; may try again until the 5 s are over |
//! | no `type` in a message | close 1008 |
//! | text that is not JSON | close 1002 |
//! | binary frame | close 1003 |
//! | unknown `type` | error `result` |
//! | heartbeat before registration | error `result` |
//! | second registration | ignored |
//!
//! The vendor's documents call the discriminator `type`, its own sample client reads `message_type`. The
//! frames that are made here have the documented one; with `?discriminator=message_type` or `both` in
//! its address a client gets the other, or both. Recorded frames have what was recorded.
//!
//! Where any credentials are accepted (on loopback), locations that nobody recorded give everything of
//! the vendor's. A client that asks for all that its source was recorded with gets all that this source
//! got, even what names no location; one that asks for less gets the rows of these locations.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{CLOSE, HEARTBEAT, KINDS, REGISTER};
use crate::clock::Now;
use crate::message::{Selection, SourceHeader};
use crate::secret::Secret;
use crate::vendors::lifecycle::SECOND_NS;
use crate::vendors::{ClientInput, Emulator, Format, Recorded, ServerEffect};

/// The vendor's: a client has 5 s to register.
const REGISTER_WITHIN_NS: u64 = 5 * SECOND_NS;

/// Ours: clients send a heartbeat every 20 to 25 s.
const SILENCE_MAX_NS: u64 = 30 * SECOND_NS;

#[derive(Debug)]
pub struct DelicodeEmulator {
    recorded: Arc<Recorded>,
    /// The names under which frames made here have their type.
    discriminator: &'static [&'static str],
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    New,
    Unregistered { until_ns: u64 },
    Registered { until_ns: u64 },
    Closed,
}

impl DelicodeEmulator {
    pub fn new(recorded: Arc<Recorded>) -> Self {
        Self { recorded, discriminator: &["type"], state: State::New }
    }

    fn text(&mut self, now: Now, text: &str, fx: &mut Vec<ServerEffect>) {
        let Ok(message) = serde_json::from_str::<Value>(text) else {
            return self.close(1002, "not JSON", fx);
        };
        let Some(kind) = message.get("type").and_then(Value::as_str) else {
            return self.close(1008, "a message without `type`", fx);
        };
        if let State::Registered { until_ns } = &mut self.state {
            *until_ns = now.steady_ns.saturating_add(SILENCE_MAX_NS);
        }
        match (kind, self.state) {
            (REGISTER, State::Registered { .. }) | (HEARTBEAT, State::Registered { .. }) => {}
            (REGISTER, _) => self.register(now, &message, fx),
            (HEARTBEAT, _) => self.reply(HEARTBEAT, "not registered", fx),
            (unknown, _) => self.reply(unknown, "unknown type", fx),
        }
    }

    fn register(&mut self, now: Now, message: &Value, fx: &mut Vec<ServerEffect>) {
        let Some(token) = message.get("token").and_then(Value::as_str) else {
            return self.refuse("token missing", fx);
        };
        let locations: Option<Vec<i64>> = message
            .get("locations")
            .and_then(Value::as_array)
            .and_then(|list| list.iter().map(Value::as_i64).collect());
        let Some(locations) = locations else {
            return self.refuse("locations must be an array of integers", fx);
        };
        let Some(sources) = self.sources(token) else {
            return self.close(1008, "token refused", fx);
        };
        let Some(selection) = select(&sources, &locations, self.recorded.any_credentials) else {
            return self.refuse("invalid locations", fx);
        };
        self.state = State::Registered { until_ns: now.steady_ns.saturating_add(SILENCE_MAX_NS) };
        self.reply(REGISTER, "success", fx);
        fx.push(ServerEffect::Ready { selection, format: Format::Raw });
    }

    /// The sources that the token opens; none if it is refused.
    fn sources(&self, token: &str) -> Option<Vec<&SourceHeader>> {
        let all = self.recorded.sources.iter().filter(|source| source.vendor == "delicode");
        if self.recorded.any_credentials {
            return Some(all.collect());
        }
        // Every one is compared, so that the time taken says nothing about which fits.
        let opened: Vec<&str> = self
            .recorded
            .credentials
            .iter()
            .filter(|c| c.vendor == "delicode" && Secret::new(&*c.secret).matches(token))
            .map(|c| c.source.as_str())
            .collect();
        (!opened.is_empty()).then(|| all.filter(|source| opened.contains(&&*source.name)).collect())
    }

    fn time_out(&mut self, now: Now, fx: &mut Vec<ServerEffect>) {
        let message = match self.state {
            State::Unregistered { until_ns } if now.steady_ns >= until_ns => "not registered within 5 s",
            State::Registered { until_ns } if now.steady_ns >= until_ns => "no heartbeat for 30 s",
            _ => return,
        };
        self.send(CLOSE, "message", message, fx);
        self.close(1000, message, fx);
    }

    fn refuse(&self, result: &str, fx: &mut Vec<ServerEffect>) {
        self.reply(REGISTER, result, fx);
        fx.push(ServerEffect::Wrong { what: format!("its registration is refused: {result}") });
    }

    fn reply(&self, kind: &str, result: &str, fx: &mut Vec<ServerEffect>) {
        self.send(kind, "result", result, fx);
    }

    fn send(&self, kind: &str, member: &str, words: &str, fx: &mut Vec<ServerEffect>) {
        let mut frame = Map::new();
        frame.extend(self.discriminator.iter().map(|name| ((*name).to_owned(), json!(kind))));
        frame.insert(member.to_owned(), json!(words));
        fx.push(ServerEffect::Send(Value::Object(frame).to_string().into()));
    }

    fn opened(&mut self, now: Now, query: &str, fx: &mut Vec<ServerEffect>) {
        let wanted = query.split('&').find_map(|pair| pair.strip_prefix("discriminator="));
        self.discriminator = match wanted {
            None | Some("type") => &["type"],
            Some("message_type") => &["message_type"],
            Some("both") => &["type", "message_type"],
            Some(_) => return self.close(1008, "discriminator: use type, message_type or both", fx),
        };
        self.state = State::Unregistered { until_ns: now.steady_ns.saturating_add(REGISTER_WITHIN_NS) };
    }

    fn close(&mut self, code: u16, reason: &str, fx: &mut Vec<ServerEffect>) {
        self.state = State::Closed;
        fx.push(ServerEffect::Close { code, reason: reason.to_owned() });
    }
}

/// What a client gets that asked for `locations` of `sources`; none if it asked for what is not theirs.
fn select(sources: &[&SourceHeader], locations: &[i64], lenient: bool) -> Option<Selection> {
    // Frames of an unknown type were sent by the vendor too.
    let kinds = KINDS.iter().chain(&["other"]).map(|kind| (*kind).to_owned()).collect();
    let everything = Selection { vendors: vec!["delicode".into()], kinds, ..Selection::default() };

    let known =
        |location: &i64| sources.iter().any(|source| recorded_locations(source).any(|l| l == *location));
    let any_known = locations.iter().any(known);
    if !lenient && (locations.is_empty() || !locations.iter().all(known)) {
        return None;
    }
    if !any_known {
        return Some(everything);
    }
    let asked: Vec<_> = sources
        .iter()
        .filter(|source| recorded_locations(source).any(|location| locations.contains(&location)))
        .collect();
    let all_of_them =
        asked.iter().all(|source| recorded_locations(source).all(|location| locations.contains(&location)));
    let sources = asked.iter().map(|source| source.name.clone()).collect();
    let devices = if all_of_them { Vec::new() } else { locations.iter().map(i64::to_string).collect() };
    Some(Selection { sources, devices, ..everything })
}

/// The locations that the recorder had asked for.
fn recorded_locations(source: &SourceHeader) -> impl Iterator<Item = i64> {
    let list = source.settings.get("locations").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_i64)
}

impl Emulator for DelicodeEmulator {
    fn on(&mut self, now: Now, input: ClientInput, fx: &mut Vec<ServerEffect>) {
        match input {
            _ if self.state == State::Closed => {}
            ClientInput::Opened { query } => self.opened(now, &query, fx),
            ClientInput::Text(text) => self.text(now, &text, fx),
            ClientInput::Binary(_) => self.close(1003, "text frames only", fx),
            ClientInput::Tick => self.time_out(now, fx),
        }
    }

    fn wake_at(&self) -> Option<u64> {
        match self.state {
            State::Unregistered { until_ns } | State::Registered { until_ns } => Some(until_ns),
            State::New | State::Closed => None,
        }
    }
}

#[cfg(test)]
mod tests;
