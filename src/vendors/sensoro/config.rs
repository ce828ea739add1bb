//! The configuration of a `sensoro` source.

use std::time::Duration;

use super::cipher::{APP_KEY_CHARS, Cipher};
use crate::secret::Secret;
use crate::section::values::{duration, flag, secret, text, url, webhook_path};
use crate::section::{Item, Section};

#[derive(Clone, Debug, PartialEq)]
pub struct SensoroConfig {
    /// Requests to this path and everything below it are this source's.
    pub path: String,
    pub app_id: String,
    /// For safe mode; none: what is encrypted stays so.
    pub app_key: Option<Cipher>,
    pub app_secret: Secret,
    /// What the vendor posts to, where a proxy hides that: with the path, or, if the proxy leaves that alone,
    /// without. Its query is that of the request.
    pub public_url: Option<String>,
    pub verify_signature: bool,
    /// How far from now the time that was signed may lie, either way; none: any time will do.
    pub signature_max_age: Option<Duration>,
}

/// Reads the keys of a source that are this vendor's.
pub fn read(section: &Section<'_>) -> Option<SensoroConfig> {
    let path = section.need("path", "the path that the vendor pushes to", webhook_path);
    let app_id = section.need("app_id", "the id of the application (AppID)", text);
    let app_key = section.get_or("app_key", |item| app_key(item).map(Some), None);
    let app_secret = section.need("app_secret", "the secret that pushes are signed with (AppSecret)", secret);
    let public_url = section.get_or("public_url", |item| url(&["https", "http"])(item).map(Some), None);
    let verify_signature = section.get_or("verify_signature", flag, true);
    let signature_max_age = section.get_or("signature_max_age", |item| duration(item).map(Some), None);
    Some(SensoroConfig {
        path: path?,
        app_id: app_id?,
        app_key: app_key?,
        app_secret: app_secret?,
        public_url: public_url?,
        verify_signature: verify_signature?,
        signature_max_age: signature_max_age?,
    })
}

fn app_key(item: &Item<'_>) -> Option<Cipher> {
    let key = secret(item)?;
    match Cipher::new(&key) {
        Some(cipher) => Some(cipher),
        None if key.expose().len() == APP_KEY_CHARS => {
            item.wrong("expected base64: letters, digits, `+` and `/`")
        }
        None => item.wrong(format!("expected {APP_KEY_CHARS} characters")),
    }
}
