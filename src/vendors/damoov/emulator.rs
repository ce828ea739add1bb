//! The replaying side: one WebSocket client of the vendor's protocol.
//!
//! `authenticate` is answered with `authenticated`, `welcome` and `subscribed`, in this order. Where the
//! vendor is silent:
//!
//! | situation | answer |
//! |---|---|
//! | not authenticated within 10 s | `error` 408, then close 1008 |
//! | text that is not JSON, `authenticate` that lacks something | `error` 400, then close 1008; once authenticated the connection stays |
//! | token unknown, or ended (`exp`) | `error` 401, then close 1008 |
//! | instance of another token's source | `error` 403, then close 1008 |
//! | unknown instance | `error` 404, then close 1008 |
//! | no `pong` for 90 s | close 1001 |
//! | binary frame | close 1003 |
//! | another type, or a second `authenticate` | ignored |
//!
//! Tokens and instances are looked at only where credentials are required. `units`, `timezone` and
//! `date_format` change nothing: recorded bytes are sent, in the form that the recorder had asked for.
//!
//! A client gets the sources that were recorded with its `instance_id`, and of these the rows of its
//! `device_token` if it names one. Where nobody recorded that instance: the sources that were recorded
//! with that `device_token` alone, else, on loopback, everything of the vendor's.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

use super::{KINDS, jwt};
use crate::clock::Now;
use crate::message::{Selection, SourceHeader};
use crate::secret::Secret;
use crate::vendors::lifecycle::SECOND_NS;
use crate::vendors::{ClientInput, Emulator, Format, Recorded, ServerEffect};

/// Ours: the vendor has a code for it and does not say when.
const AUTHENTICATE_WITHIN_NS: u64 = 10 * SECOND_NS;

/// The vendor's.
const PING_EVERY_NS: u64 = 30 * SECOND_NS;

/// Ours: two pings unanswered, and the third due.
const SILENCE_MAX_NS: u64 = 90 * SECOND_NS;

#[derive(Debug)]
pub struct DamoovEmulator {
    recorded: Arc<Recorded>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    New,
    Unauthenticated { until_ns: u64 },
    Subscribed { ping_ns: u64, until_ns: u64 },
    Closed,
}

impl DamoovEmulator {
    pub fn new(recorded: Arc<Recorded>) -> Self {
        Self { recorded, state: State::New }
    }

    fn text(&mut self, now: Now, text: &str, fx: &mut Vec<ServerEffect>) {
        let is_subscribed = matches!(self.state, State::Subscribed { .. });
        let Ok(message) = serde_json::from_str::<Value>(text) else {
            error(400, "message is not valid JSON", fx);
            if !is_subscribed {
                self.close(1008, "not JSON", fx);
            }
            return;
        };
        match (message.get("type").and_then(Value::as_str), &mut self.state) {
            (Some("authenticate"), State::Unauthenticated { .. }) => self.authenticate(now, &message, fx),
            (Some("pong"), State::Subscribed { until_ns, .. }) => {
                *until_ns = now.steady_ns.saturating_add(SILENCE_MAX_NS);
            }
            _ => {}
        }
    }

    fn authenticate(&mut self, now: Now, message: &Value, fx: &mut Vec<ServerEffect>) {
        let member = |name: &str| message.get(name).and_then(Value::as_str);
        let (Some(token), Some(instance)) = (member("access_token"), member("instance_id")) else {
            return self.refuse(400, "authenticate needs access_token and instance_id", fx);
        };
        let device = member("device_token").filter(|token| !token.is_empty());
        let selection = match self.select(now, token, instance, device) {
            Ok(selection) => selection,
            Err((code, words)) => return self.refuse(code, words, fx),
        };
        let server_time = DateTime::from_timestamp_micros(now.wall_us).unwrap_or_default();
        let topic = match device {
            Some(device) => format!("device:{device}"),
            None => format!("instance:{instance}"),
        };
        fx.push(ServerEffect::Send(json!({"type": "authenticated"}).to_string().into()));
        let welcome = json!({
            "type": "welcome",
            "connection_id": connection_id(now),
            "server_time": server_time.to_rfc3339_opts(SecondsFormat::Millis, true),
            "instance_id": instance,
        });
        fx.push(ServerEffect::Send(welcome.to_string().into()));
        fx.push(ServerEffect::Send(json!({"type": "subscribed", "topic": topic}).to_string().into()));
        fx.push(ServerEffect::Ready { selection, format: Format::Raw });
        self.state = State::Subscribed {
            ping_ns: now.steady_ns.saturating_add(PING_EVERY_NS),
            until_ns: now.steady_ns.saturating_add(SILENCE_MAX_NS),
        };
    }

    /// What a client gets, or the code and the words with which it is refused.
    fn select(
        &self,
        now: Now,
        token: &str,
        instance: &str,
        device: Option<&str>,
    ) -> Result<Selection, (u16, &'static str)> {
        let all = || self.recorded.sources.iter().filter(|source| source.vendor == "damoov");
        let of_instance: Vec<_> =
            all().filter(|source| setting(source, "instance_id") == Some(instance)).collect();
        if self.recorded.any_credentials {
            let of_device = || all().filter(|source| device.is_some_and(|d| is_of_device(source, d)));
            return Ok(match of_instance.is_empty() {
                false => selection(of_instance, device),
                true => selection(of_device().collect(), None),
            });
        }
        // Every one is compared, so that the time taken says nothing about which fits.
        let credentials = self.recorded.credentials.iter().filter(|c| c.vendor == "damoov");
        let opened: Vec<&str> = credentials
            .filter(|c| Secret::new(&*c.secret).matches(token))
            .map(|c| c.source.as_str())
            .collect();
        if opened.is_empty() {
            return Err((401, "invalid token"));
        }
        if jwt::expires_us(token).is_some_and(|at_us| at_us <= now.wall_us) {
            return Err((401, "JWT expired"));
        }
        if of_instance.is_empty() {
            return Err((404, "instance not found"));
        }
        let granted: Vec<_> =
            of_instance.into_iter().filter(|source| opened.contains(&&*source.name)).collect();
        if granted.is_empty() {
            return Err((403, "access denied"));
        }
        Ok(selection(granted, device))
    }

    fn tick(&mut self, now: Now, fx: &mut Vec<ServerEffect>) {
        match &mut self.state {
            State::Unauthenticated { until_ns } if now.steady_ns >= *until_ns => {
                self.refuse(408, "authentication timed out", fx);
            }
            State::Subscribed { until_ns, .. } if now.steady_ns >= *until_ns => {
                self.close(1001, "no pong for 90 s", fx);
            }
            State::Subscribed { ping_ns, .. } if now.steady_ns >= *ping_ns => {
                // From now, not from when it was due: after a suspend one ping is enough.
                *ping_ns = now.steady_ns.saturating_add(PING_EVERY_NS);
                fx.push(ServerEffect::Send(json!({"type": "ping"}).to_string().into()));
            }
            _ => {}
        }
    }

    fn refuse(&mut self, code: u16, words: &str, fx: &mut Vec<ServerEffect>) {
        error(code, words, fx);
        self.close(1008, words, fx);
    }

    fn close(&mut self, code: u16, reason: &str, fx: &mut Vec<ServerEffect>) {
        self.state = State::Closed;
        fx.push(ServerEffect::Close { code, reason: reason.to_owned() });
    }
}

fn error(code: u16, words: &str, fx: &mut Vec<ServerEffect>) {
    let error = json!({"type": "error", "code": code, "message": words});
    fx.push(ServerEffect::Send(error.to_string().into()));
}

/// Rows of `sources`, or of all of the vendor's where there are none.
fn selection(sources: Vec<&SourceHeader>, device: Option<&str>) -> Selection {
    // Frames of an unknown type were sent by the vendor too; they name no device.
    let kinds = KINDS.iter().chain(&["other"]).map(|kind| (*kind).to_owned()).collect();
    // A source that was recorded for this device alone has nothing else, named or not.
    let only_its_own = device.is_some_and(|device| sources.iter().all(|source| is_of_device(source, device)));
    Selection {
        vendors: vec!["damoov".into()],
        kinds,
        sources: sources.iter().map(|source| source.name.clone()).collect(),
        devices: device.filter(|_| !only_its_own).map(str::to_owned).into_iter().collect(),
        ..Selection::default()
    }
}

fn setting<'a>(source: &'a SourceHeader, name: &str) -> Option<&'a str> {
    source.settings.get(name).and_then(Value::as_str)
}

fn is_of_device(source: &SourceHeader, device: &str) -> bool {
    setting(source, "device_token") == Some(device)
}

/// A UUIDv7. Nothing random is handed in here: the steady clock's nanoseconds tell clients apart.
fn connection_id(now: Now) -> String {
    let mut low = [0; 10];
    low[..8].copy_from_slice(&now.steady_ns.to_be_bytes());
    let millis = u64::try_from(now.wall_us / 1_000).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &low).into_uuid().to_string()
}

impl Emulator for DamoovEmulator {
    fn on(&mut self, now: Now, input: ClientInput, fx: &mut Vec<ServerEffect>) {
        match input {
            _ if self.state == State::Closed => {}
            ClientInput::Opened { .. } => {
                let until_ns = now.steady_ns.saturating_add(AUTHENTICATE_WITHIN_NS);
                self.state = State::Unauthenticated { until_ns };
            }
            ClientInput::Text(text) => self.text(now, &text, fx),
            ClientInput::Binary(_) => self.close(1003, "text frames only", fx),
            ClientInput::Tick => self.tick(now, fx),
        }
    }

    fn wake_at(&self) -> Option<u64> {
        match self.state {
            State::Unauthenticated { until_ns } => Some(until_ns),
            State::Subscribed { ping_ns, until_ns } => Some(ping_ns.min(until_ns)),
            State::New | State::Closed => None,
        }
    }
}

#[cfg(test)]
mod tests;
