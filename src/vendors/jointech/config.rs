//! The configuration of a `jointech` source: one of its two transports.

use crate::secret::Secret;

/// The vendor's broker, used where none is configured.
pub const DEFAULT_URL: &str = "mqtt://mqtt.assetscontrols.com:1883";

#[derive(Clone, Debug)]
pub enum JointechConfig {
    Webhook(JointechWebhook),
    Mqtt(JointechMqtt),
}

#[derive(Clone, Debug)]
pub struct JointechWebhook {
    /// Requests to this path and everything below it are this source's.
    pub path: String,
    /// The fixed header of the vendor's rule: name in lower case, and its value.
    pub header: Option<(String, Secret)>,
}

#[derive(Clone, Debug)]
pub struct JointechMqtt {
    pub url: String,
    pub username: String,
    /// 32 lower-case hex digits: what goes over the wire.
    pub password_md5: Secret,
    pub access_key: String,
    /// Topic filters, `{access_key}` filled in.
    pub topics: Vec<String>,
    pub qos: u8,
    pub client_id: String,
    pub clean_session: bool,
}
