//! The configuration of a `jointech` source: one of its two transports.

use md5::{Digest, Md5};

use crate::secret::Secret;
use crate::section::values::{
    flag, header_name, list_of, one_of, qos, secret, text, topic_filter, url, webhook_path,
};
use crate::section::{Item, Section};

/// The vendor's broker, used where none is configured.
pub const DEFAULT_URL: &str = "mqtt://mqtt.assetscontrols.com:1883";

/// Everything that the platform sends for one access key.
const DEFAULT_TOPIC: &str = "upload/{access_key}/#";

#[derive(Clone, Debug, PartialEq)]
pub enum JointechConfig {
    Webhook(JointechWebhook),
    Mqtt(JointechMqtt),
}

#[derive(Clone, Debug, PartialEq)]
pub struct JointechWebhook {
    /// Requests to this path and everything below it are this source's.
    pub path: String,
    /// The fixed header of the vendor's rule: name in lower case, and its value.
    pub header: Option<(String, Secret)>,
}

#[derive(Clone, Debug, PartialEq)]
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

impl JointechConfig {
    /// All keys that the platform has shown are 32 hex digits; nobody has promised that all are.
    pub(in crate::vendors) fn warning(&self) -> Option<String> {
        let JointechConfig::Mqtt(JointechMqtt { access_key, .. }) = self else { return None };
        let is_usual = access_key.len() == 32 && access_key.bytes().all(|b| b.is_ascii_hexdigit());
        // Not the key itself: somebody may have put the password there.
        let what = || {
            format!(
                "access_key is not 32 hex digits, as the platform's keys are: it has {} characters",
                access_key.chars().count()
            )
        };
        (!is_usual).then(what)
    }
}

/// Reads the keys of a source that are this vendor's; `client_id` is the one used if none is given.
pub fn read(section: &Section<'_>, client_id: &str) -> Option<JointechConfig> {
    let transport = section.need("transport", "`mqtt` or `webhook`", one_of(&["mqtt", "webhook"]));
    match transport {
        Some("mqtt") => mqtt(section, client_id).map(JointechConfig::Mqtt),
        Some(_) => webhook(section).map(JointechConfig::Webhook),
        None => {
            section.ignore_rest();
            None
        }
    }
}

fn webhook(section: &Section<'_>) -> Option<JointechWebhook> {
    let path = section.need("path", "the path that the vendor pushes to", webhook_path);
    let header = section.get_or("header", |item| fixed_header(item).map(Some), None);
    Some(JointechWebhook { path: path?, header: header? })
}

fn fixed_header(item: &Item<'_>) -> Option<(String, Secret)> {
    let read = item.table(|section| {
        let name = section.need("name", "the header's name, as in the vendor's rule", header_name);
        let value = section.need("value", "the header's value, as in the vendor's rule", secret);
        Some((name?, value?))
    });
    read.unwrap_or_else(|| item.expected_secret("expected { name = \"headerKey\", value = … }"))
}

fn mqtt(section: &Section<'_>, client_id: &str) -> Option<JointechMqtt> {
    let url = section.get_or("url", url(&["mqtt", "mqtts", "ws", "wss"]), DEFAULT_URL);
    let username = section.need("username", "the login name", text);
    let password_md5 = password(section);
    let access_key =
        section.need("access_key", "the access key that the vendor's platform shows", access_key);
    let topics = section.get_or("topics", list_of("topic filters", topic_filter), [DEFAULT_TOPIC.to_owned()]);
    let qos = section.get_or("qos", qos, 1);
    let client_id = section.get_or("client_id", text, client_id);
    let clean_session = section.get_or("clean_session", flag, false);
    let access_key = access_key?;
    let topics = topics?.iter().map(|topic| topic.replace("{access_key}", &access_key)).collect();
    Some(JointechMqtt {
        url: url?,
        username: username?,
        password_md5: password_md5?,
        access_key,
        topics,
        qos: qos?,
        client_id: client_id?,
        clean_session: clean_session?,
    })
}

/// What goes over the wire is the MD5 of the login password in lower-case hex (vendor's page "MQTT").
fn password(section: &Section<'_>) -> Option<Secret> {
    match (section.has("password"), section.has("password_md5")) {
        (_, false) => {
            let password = section.need("password", "the login password, or its `password_md5`", secret)?;
            Some(Secret::new(hex(&Md5::digest(password.expose()))))
        }
        (false, true) => section.get("password_md5", |item| {
            let md5 = secret(item)?;
            let digits = md5.expose();
            if digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                Some(Secret::new(digits.to_ascii_lowercase()))
            } else {
                item.wrong("expected the MD5 of the login password: 32 hex digits")
            }
        }),
        (true, true) => {
            section.get("password", secret);
            section.get("password_md5", secret);
            section.wrong("password_md5", "expected either `password` or `password_md5`");
            None
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn access_key(item: &Item<'_>) -> Option<String> {
    let key = text(item)?;
    // It becomes one level of the topics.
    if key.contains(['/', '+', '#']) { item.wrong("expected no `/`, `+` or `#`") } else { Some(key) }
}
