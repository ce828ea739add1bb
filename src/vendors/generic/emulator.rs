//! The replaying side for any WebSocket client: `/ws?vendor=&kind=&source=&device=&channel=&format=raw|envelope`.
//!
//! A filter may be repeated and may list several values, separated by commas (a comma that belongs to
//! a value is written `%2C`); one without a value does not filter. `channel` takes `*` and `?`. A key
//! that does not exist, or a vendor, source or kind that the recording does not have, closes the
//! connection with 1008 and a reason that says what there is: silence would look like a quiet recording.
//!
//! With `format=envelope` a client may acknowledge each message by a text frame `{"ack": SEQ}`, which
//! `--pace lockstep` waits for. Sessions have the same numbers, and so has each round of a loop: it is the first
//! such message that is not acknowledged, with `"session_id"` beside it the first of that session. An
//! acknowledgement of something else, or without the envelope, has no effect, and that is told. Whatever else it
//! sends is not looked at.

use std::sync::Arc;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;

use crate::clock::Now;
use crate::message::{Selection, SourceHeader};
use crate::vendors::{ClientInput, Emulator, Format, Recorded, ServerEffect};

/// Where the endpoint lies.
pub const PATH: &str = "/ws";

const POLICY_VIOLATION: u16 = 1008;

/// A close frame holds at most 125 bytes, two of which are the code.
const REASON_MAX_BYTES: usize = 123;

#[derive(Debug)]
pub struct GenericEmulator {
    recorded: Arc<Recorded>,
    format: Format,
}

#[derive(Deserialize)]
struct Ack {
    ack: Value,
    session_id: Option<Value>,
}

/// What becomes of a text frame, if it is an acknowledgement.
fn acknowledged(text: &str, format: Format) -> Option<ServerEffect> {
    let Ack { ack, session_id } = serde_json::from_str(text).ok()?;
    if format == Format::Raw {
        return Some(wrong("an acknowledgement, and without format=envelope there is none"));
    }
    let Some(seq) = ack.as_u64() else {
        return Some(wrong("an acknowledgement whose `ack` is not the `seq` of a message, a whole number"));
    };
    let session_id = match session_id {
        None => None,
        Some(id) => match serde_json::from_value(id) {
            Ok(id) => Some(id),
            Err(_) => return Some(wrong("an acknowledgement whose `session_id` is not the id of a session")),
        },
    };
    Some(ServerEffect::Acknowledged { seq, session_id })
}

fn wrong(what: &str) -> ServerEffect {
    ServerEffect::Wrong { what: what.to_owned() }
}

impl GenericEmulator {
    pub fn new(recorded: Arc<Recorded>) -> Self {
        Self { recorded, format: Format::default() }
    }
}

impl Emulator for GenericEmulator {
    fn on(&mut self, _: Now, input: ClientInput, fx: &mut Vec<ServerEffect>) {
        let query = match input {
            ClientInput::Opened { query } => query,
            ClientInput::Text(text) => return fx.extend(acknowledged(&text, self.format)),
            _ => return,
        };
        let asked = parse(&query).and_then(|asked| check(&asked.0, &self.recorded.sources).map(|()| asked));
        fx.push(match asked {
            Ok((selection, format)) => {
                self.format = format;
                ServerEffect::Ready { selection, format }
            }
            Err(reason) => ServerEffect::Close { code: POLICY_VIOLATION, reason: shortened(reason) },
        });
    }

    fn wake_at(&self) -> Option<u64> {
        None
    }
}

/// What a query asks for; none if it is not understood.
pub fn selection(query: &str) -> Option<Selection> {
    parse(query).ok().map(|(selection, _)| selection)
}

fn parse(query: &str) -> Result<(Selection, Format), String> {
    let mut selection = Selection::default();
    let mut format = Format::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, values) = pair.split_once('=').unwrap_or((pair, ""));
        let list = match &*decoded(key)? {
            "vendor" => &mut selection.vendors,
            "kind" => &mut selection.kinds,
            "source" => &mut selection.sources,
            "device" => &mut selection.devices,
            "channel" => &mut selection.channels,
            "format" => {
                format = match &*decoded(values)? {
                    "" | "raw" => Format::Raw,
                    "envelope" => Format::Envelope,
                    other => return Err(format!("format `{}`: use raw or envelope", brief(other))),
                };
                continue;
            }
            other => {
                let keys = "vendor, kind, source, device, channel, format";
                return Err(format!("unknown key `{}`; there are: {keys}", brief(other)));
            }
        };
        for value in values.split(',').filter(|value| !value.is_empty()) {
            list.push(decoded(value)?);
        }
    }
    Ok((selection, format))
}

/// Decodes as a form does: `+` is a blank.
fn decoded(text: &str) -> Result<String, String> {
    let text = text.replace('+', " ");
    let decoded = percent_decode_str(&text).decode_utf8();
    decoded.map(|text| text.into_owned()).map_err(|_| "the query is not UTF-8".to_owned())
}

fn check(selection: &Selection, sources: &[SourceHeader]) -> Result<(), String> {
    let vendors = sources.iter().map(|source| &*source.vendor);
    let names = sources.iter().map(|source| &*source.name);
    let kinds = sources.iter().flat_map(|source| source.kinds.iter().map(|kind| &*kind.name));
    known("vendor", &selection.vendors, vendors.collect())?;
    known("source", &selection.sources, names.collect())?;
    known("kind", &selection.kinds, kinds.collect())
}

fn known(what: &str, wanted: &[String], mut there_are: Vec<&str>) -> Result<(), String> {
    there_are.sort_unstable();
    there_are.dedup();
    match wanted.iter().find(|w| !there_are.contains(&w.as_str())) {
        Some(unknown) => {
            let mut reason = format!("no {what} `{}` was recorded; there are: ", brief(unknown));
            for (n, name) in there_are.iter().enumerate() {
                let (separator, rest) = (if n > 0 { ", " } else { "" }, format!(", … ({})", there_are.len()));
                let needed =
                    separator.len() + name.len() + if n + 1 < there_are.len() { rest.len() } else { 0 };
                if reason.len() + needed > REASON_MAX_BYTES {
                    reason.push_str(rest.trim_start_matches(if n > 0 { "" } else { ", " }));
                    break;
                }
                reason.extend([separator, name]);
            }
            Err(reason)
        }
        None => Ok(()),
    }
}

/// A value of the client's, short enough to leave room for what should be there.
fn brief(value: &str) -> &str {
    cut(value, 32)
}

fn shortened(reason: String) -> String {
    cut(&reason, REASON_MAX_BYTES).to_owned()
}

fn cut(text: &str, max_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(max_bytes)]
}

#[cfg(test)]
mod tests;
