//! Delicode Signals: people tracked in a room, over a WebSocket.
//!
//! The client registers with a token and a list of locations and then gets positions in centimetres
//! from the location's "ruler", without any time of the vendor's. Source of the protocol facts: the
//! vendor's `serverside_tracking_api.md`, revisions of 2019-02-21 and 2019-10-15, and its sample client.

pub mod collector;
pub mod config;
pub mod emulator;

use serde_json::{Value, json};

use self::config::DelicodeConfig;
use super::settings::public_url;
use super::sniff;
use crate::message::COMMON_KINDS;

/// The vendor's own kinds, in the order of their declarations.
pub const KINDS: [&str; 3] = ["person_position", "person_lost", "demographics"];

const CONTROL: u16 = KINDS.len() as u16;
const OTHER: u16 = (KINDS.len() + COMMON_KINDS.len()) as u16 - 1;

/// Where the vendor's endpoint lies, on its own host and on a replay's.
pub const PATH: &str = "/websocket_realtime";

const REGISTER: &str = "realtime_register";
const HEARTBEAT: &str = "realtime_heartbeat";
const CLOSE: &str = "close_connection";

/// What a server's frame is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Message {
    /// One of [`KINDS`], by index.
    Data(u16),
    /// The reply to `realtime_register`, with its `result`.
    Registered { result: Option<String> },
    /// The announcement of a close, with its `message`.
    Closing { words: Option<String> },
    /// A reply to a heartbeat: only failures are replied to.
    Control,
    /// Not JSON, or a type that is not documented.
    Other,
}

impl Message {
    fn kind(&self) -> u16 {
        match self {
            Message::Data(kind) => *kind,
            Message::Registered { .. } | Message::Closing { .. } | Message::Control => CONTROL,
            Message::Other => OTHER,
        }
    }
}

/// Recognises a frame. The documentation puts the type into `type`, the vendor's own sample client
/// reads `message_type`: `type` counts where it is a string, else `message_type`.
fn recognise(frame: &[u8]) -> Message {
    let (mut by_type, mut by_message_type, mut result, mut words) = (None, None, None, None);
    let is_object = sniff::each_member(frame, |name, value| match name {
        "type" => by_type = value.map(Message::of_type),
        "message_type" => by_message_type = value.map(Message::of_type),
        "message" => words = value.map(str::to_owned),
        "result" => result = value.map(str::to_owned),
        _ => {}
    });
    match by_type.or(by_message_type) {
        Some(Message::Registered { .. }) if is_object => Message::Registered { result },
        Some(Message::Closing { .. }) if is_object => Message::Closing { words },
        Some(message) if is_object => message,
        _ => Message::Other,
    }
}

impl Message {
    fn of_type(name: &str) -> Self {
        match name {
            "realtime_person_position" => Message::Data(0),
            "realtime_person_lost" => Message::Data(1),
            "realtime_demographics" => Message::Data(2),
            REGISTER => Message::Registered { result: None },
            CLOSE => Message::Closing { words: None },
            HEARTBEAT => Message::Control,
            _ => Message::Other,
        }
    }
}

/// The options without secrets.
pub(super) fn settings(config: &DelicodeConfig) -> Value {
    json!({
        "transport": "websocket",
        "url": public_url(&config.url),
        "locations": config.locations,
        "heartbeat_ms": u64::try_from(config.heartbeat.as_millis()).unwrap_or(u64::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_recognised_by_type_then_by_message_type() {
        let registered = |result: &str| Message::Registered { result: Some(result.into()) };
        let closing = |words: Option<&str>| Message::Closing { words: words.map(str::to_owned) };
        let cases = [
            (r#"{"type":"realtime_person_position","person_id":1}"#, Message::Data(0)),
            (r#"{"person_id":1,"type":"realtime_person_lost"}"#, Message::Data(1)),
            (r#"{"message_type":"realtime_demographics"}"#, Message::Data(2)),
            (r#"{"message_type":"realtime_demographics","type":"realtime_person_lost"}"#, Message::Data(1)),
            (r#"{"message_type":"realtime_person_lost","type":7}"#, Message::Data(1)),
            (r#"{"message_type":"realtime_person_lost","type":"news"}"#, Message::Other),
            (r#"{"type":"realtime_register","result":"success"}"#, registered("success")),
            (
                r#"{"result":"invalid locations","message_type":"realtime_register"}"#,
                registered("invalid locations"),
            ),
            (r#"{"type":"realtime_register"}"#, Message::Registered { result: None }),
            (r#"{"type":"realtime_heartbeat","result":"no"}"#, Message::Control),
            (r#"{"type":"close_connection","message":"bye"}"#, closing(Some("bye"))),
            (r#"{"message":7,"message_type":"close_connection"}"#, closing(None)),
            (r#"{"position":{"type":"realtime_person_lost"}}"#, Message::Other),
            (r#"{"type":"realtime_person_lost""#, Message::Other),
            (r#"["type"]"#, Message::Other),
            ("", Message::Other),
        ];
        for (frame, expected) in cases {
            assert_eq!(recognise(frame.as_bytes()), expected, "{frame}");
        }
    }
}
