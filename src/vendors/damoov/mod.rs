//! Damoov (telematicssdk.com): phones of drivers, over a WebSocket.
//!
//! The client authenticates with a JWT; the server welcomes it, subscribes it to its instance (or to
//! one device) and sends positions while trips last, with a `ping` every 30 s that wants a `pong`. There
//! is no snapshot and no backlog: what is sent while nobody listens is lost, so a recorder opens the
//! next connection before it leaves the last. Speed and accuracy are in m/s and metres whatever `units` says.
//!
//! Source of the protocol facts: the vendor's pages "websocket live tracking", "websocket and API
//! methods" and "API authorization policies".

pub mod collector;
pub mod config;
pub mod emulator;
mod jwt;
mod tokens;

use serde::Deserialize;
use serde_json::{Value, json};

use self::config::DamoovConfig;
use super::settings::public_url;
use super::sniff;
use crate::message::COMMON_KINDS;

/// The vendor's own kinds, in the order of their declarations.
pub const KINDS: [&str; 1] = ["device_update"];

const UPDATE: u16 = 0;
const CONTROL: u16 = KINDS.len() as u16;
const OTHER: u16 = (KINDS.len() + COMMON_KINDS.len()) as u16 - 1;

/// Where the vendor's endpoint lies, on its own host and on a replay's.
pub const PATH: &str = "/realtime/api/v1/ws/realtime";

/// What a server's frame is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Message {
    Update,
    Authenticated,
    Welcome,
    Subscribed {
        topic: Option<String>,
    },
    Ping,
    /// The code is none where it is no number.
    Error {
        code: Option<i64>,
        message: String,
    },
    /// Not JSON, or a type that is not documented.
    Other,
}

impl Message {
    fn kind(&self) -> u16 {
        match self {
            Message::Update => UPDATE,
            Message::Other => OTHER,
            _ => CONTROL,
        }
    }
}

/// Recognises a frame by its `type`.
fn recognise(frame: &[u8]) -> Message {
    let (mut message, mut its_topic) = (Message::Other, None);
    let is_object = sniff::each_member(frame, |name, value| match name {
        "type" => message = value.map_or(Message::Other, of_type),
        "topic" => its_topic = value.map(str::to_owned),
        _ => {}
    });
    match message {
        _ if !is_object => Message::Other,
        Message::Subscribed { .. } => Message::Subscribed { topic: its_topic },
        Message::Error { .. } => error(frame),
        message => message,
    }
}

fn of_type(name: &str) -> Message {
    match name {
        "device_update" => Message::Update,
        "authenticated" => Message::Authenticated,
        "welcome" => Message::Welcome,
        "subscribed" => Message::Subscribed { topic: None },
        "ping" => Message::Ping,
        "error" => Message::Error { code: None, message: String::new() },
        _ => Message::Other,
    }
}

fn error(frame: &[u8]) -> Message {
    #[derive(Deserialize)]
    struct Members {
        #[serde(default)]
        code: Value,
        #[serde(default)]
        message: Value,
    }
    // A key that occurs twice, say, is no reason not to hear that there was an error.
    let Ok(Members { code, message }) = serde_json::from_slice(frame) else {
        return Message::Error { code: None, message: String::new() };
    };
    let code = code.as_i64().or_else(|| code.as_str()?.trim().parse().ok());
    Message::Error { code, message: message.as_str().unwrap_or_default().to_owned() }
}

/// The options without secrets. What is not set is not sent, and stands here as null.
pub(super) fn settings(config: &DamoovConfig) -> Value {
    json!({
        "transport": "websocket",
        "url": public_url(&config.url),
        "instance_id": config.instance_id,
        "device_token": config.device_token,
        "client_id": config.client_id,
        "units": config.units,
        "timezone": config.timezone,
        "date_format": config.date_format,
        "refresh": config.refresh_url.is_some(),
        "login": config.login.is_some(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_recognised_by_type() {
        let error = |code, message: &str| Message::Error { code, message: message.into() };
        let cases = [
            (r#"{"type":"device_update","device_token":"d"}"#, Message::Update),
            (r#"{"position":{"type":"ping"},"type":"device_update"}"#, Message::Update),
            (r#"{"type":"authenticated"}"#, Message::Authenticated),
            (r#"{"type":"welcome","connection_id":"c"}"#, Message::Welcome),
            (r#"{"topic":"t","type":"subscribed"}"#, Message::Subscribed { topic: Some("t".into()) }),
            (r#"{"type":"subscribed","topic":7}"#, Message::Subscribed { topic: None }),
            (r#"{"type":"ping","timestamp":1}"#, Message::Ping),
            (r#"{"type":"error","code":401,"message":"JWT expired"}"#, error(Some(401), "JWT expired")),
            (r#"{"type":"error","code":"503"}"#, error(Some(503), "")),
            (r#"{"type":"error","code":4.5,"message":[]}"#, error(None, "")),
            (r#"{"type":"error","code":1,"code":2}"#, error(None, "")),
            (r#"{"type":"trip_finished"}"#, Message::Other),
            (r#"{"type":7}"#, Message::Other),
            (r#"{"message_type":"ping"}"#, Message::Other),
            (r#"{"type":"ping""#, Message::Other),
            (r#"["type"]"#, Message::Other),
            ("", Message::Other),
        ];
        for (frame, expected) in cases {
            assert_eq!(recognise(frame.as_bytes()), expected, "{frame}");
        }
    }
}
