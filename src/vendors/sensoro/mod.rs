//! SENSORO: wireless sensors, pushed by webhook, in plain or encrypted.
//!
//! One URL per application takes all kinds. Its developer may switch safe mode on and off at any time,
//! so both are taken at once. Sources of the protocol facts: the vendor's pages "webhook" and "API
//! authentication", and its sample receiver `IoT-Developer-Demo`.
//!
//! What safe mode encrypts is the member `data`; it arrives as `encryptData` in its place. The body is
//! the payload as it came, and the content of `encryptData` is kept beside it. Whatever cannot be
//! opened is stored all the same, and a row of kind `link`, event `warning`, says why, once an hour.

mod body;
pub mod cipher;
pub(super) mod collector;
pub mod config;
pub(super) mod pusher;
mod reprint;
pub mod signature;

use serde_json::{Value, json};

use self::config::SensoroConfig;
use super::settings::public_url;

/// The vendor's own kinds, in the order of their declarations.
pub const KINDS: [&str; 2] = ["telemetry", "event"];

const TELEMETRY: u16 = 0;
const EVENT: u16 = 1;
/// Behind the vendor's own come `control` and `link`.
const OTHER: u16 = 4;

/// The options without secrets.
pub(super) fn settings(config: &SensoroConfig) -> Value {
    json!({
        "transport": "webhook",
        "path": config.path,
        "app_id": config.app_id,
        "safe_mode": config.app_key.is_some(),
        "public_url": config.public_url.as_deref().map(public_url),
        "verify_signature": config.verify_signature,
        "signature_max_age_ms": config.signature_max_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
    })
}

#[cfg(test)]
mod tests;
