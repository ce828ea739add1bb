//! Anything else that speaks one of the transports, with the user's own declarations.
//!
//! A message is of the first declared kind whose rule it fits, else `message`. Refused credentials are
//! no reason to give up: what they mean is unknown here, and an unattended recorder does better to ask
//! once a minute for ever.

pub mod config;
pub mod emulator;
mod kinds;
mod websocket;

use config::{GenericConfig, GenericTransport};
use serde_json::{Value, json};

pub(super) use kinds::kinds;

use super::mqtt::{BadCredentials, KEEP_ALIVE_S, MqttCollector};
use super::settings::public_url;
use super::webhook::WebhookCollector;
use super::{Collector, MqttDial};

/// The kind of what no declaration claims.
pub const MESSAGE: &str = "message";

const ACCEPTED: &str = "{}";

/// The recording side.
pub(super) fn collector(config: &GenericConfig) -> Box<dyn Collector> {
    let kind_of = kinds::sorter(config);
    match &config.transport {
        GenericTransport::WebSocket { url, headers, send_on_open } => {
            Box::new(websocket::WebSocketCollector::new(url, headers, send_on_open, kind_of))
        }
        GenericTransport::Mqtt { url, username, password, topics, qos, client_id, clean_session } => {
            let dial = MqttDial {
                url: url.clone(),
                client_id: client_id.clone(),
                username: username.clone(),
                password: password.as_ref().map(|p| p.expose().to_owned()),
                clean_session: *clean_session,
                keep_alive_s: KEEP_ALIVE_S,
                subscriptions: topics.iter().map(|topic| (topic.clone(), *qos)).collect(),
            };
            Box::new(MqttCollector::new(dial, kind_of, BadCredentials::KeepTrying))
        }
        GenericTransport::Webhook { .. } => Box::new(WebhookCollector::new(None, ACCEPTED, kind_of)),
    }
}

/// The options without secrets: of headers the names, of what is sent on opening the number.
pub(super) fn settings(config: &GenericConfig) -> Value {
    match &config.transport {
        GenericTransport::WebSocket { url, headers, send_on_open } => json!({
            "transport": "websocket",
            "url": public_url(url),
            "headers": headers.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            "send_on_open": send_on_open.len(),
        }),
        GenericTransport::Mqtt { url, topics, qos, client_id, clean_session, .. } => json!({
            "transport": "mqtt",
            "url": public_url(url),
            "topics": topics,
            "qos": qos,
            "client_id": client_id,
            "clean_session": clean_session,
        }),
        GenericTransport::Webhook { path } => json!({"transport": "webhook", "path": path}),
    }
}
