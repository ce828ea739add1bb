//! Jointech: locks and vehicle terminals, pushed by webhook or published on the vendor's broker.
//!
//! Both transports carry the same messages, one per request or PUBLISH. A webhook rule may send any
//! kind to any path, so the kind is told by the content. Source of the protocol facts: the vendor's
//! pages "webhook service" and "MQTT service".
//!
//! What never happens here: a command is published to a device. Telereel records; that a replay answers the commands
//! of its clients in the devices' place is in [`platform`].

mod command;
pub mod config;
pub(super) mod kind;
pub(super) mod platform;

use config::{JointechConfig, JointechMqtt};
use serde_json::{Value, json};

use super::mqtt::{BadCredentials, KEEP_ALIVE_S, MqttCollector};
use super::settings::public_url;
use super::webhook::WebhookCollector;
use super::{Collector, MqttDial};

/// The vendor's own kinds, in the order of their declarations.
pub const KINDS: [&str; 6] = ["location", "alarm", "event", "command_response", "sublock", "status"];

/// What the vendor's Java sample answers; any 2xx seems to do.
const ACCEPTED: &str = r#"{"result":200}"#;

/// The recording side. A broker that refuses the login is not asked again: the vendor's accounts are
/// locked to a rule on the platform, and trying on does not help.
pub(super) fn collector(config: &JointechConfig) -> Box<dyn Collector> {
    match config {
        JointechConfig::Webhook(hook) => {
            Box::new(WebhookCollector::new(hook.header.clone(), ACCEPTED, Box::new(kind::of_push)))
        }
        JointechConfig::Mqtt(mqtt) => {
            Box::new(MqttCollector::new(dial(mqtt), Box::new(kind::of_publish), BadCredentials::GiveUp))
        }
    }
}

fn dial(config: &JointechMqtt) -> MqttDial {
    MqttDial {
        url: config.url.clone(),
        client_id: config.client_id.clone(),
        username: Some(config.username.clone()),
        password: Some(config.password_md5.expose().to_owned()),
        clean_session: config.clean_session,
        keep_alive_s: KEEP_ALIVE_S,
        subscriptions: config.topics.iter().map(|topic| (topic.clone(), config.qos)).collect(),
    }
}

/// The options without secrets.
pub(super) fn settings(config: &JointechConfig) -> Value {
    match config {
        JointechConfig::Webhook(hook) => json!({
            "transport": "webhook",
            "path": hook.path,
            "header": hook.header.as_ref().map(|(name, _)| name),
        }),
        JointechConfig::Mqtt(mqtt) => json!({
            "transport": "mqtt",
            "url": public_url(&mqtt.url),
            "access_key": mqtt.access_key,
            "topics": mqtt.topics,
            "qos": mqtt.qos,
            "client_id": mqtt.client_id,
            "clean_session": mqtt.clean_session,
        }),
    }
}
