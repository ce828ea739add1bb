//! Vendors whose configuration is settled and checked, but which this version cannot record yet: a
//! configuration can be written once, and each of its mistakes is found today.

use crate::section::values::{flag, secret, text, url, webhook_path};
use crate::section::{Item, Section};

pub(super) const VENDORS: [&str; 1] = ["sensoro"];

/// An AES-256 key in base64 without its `=`.
const SENSORO_APP_KEY_CHARS: usize = 43;

/// Checks the keys of `vendor`; false if it is none of these.
pub(super) fn read(section: &Section<'_>, vendor: &str) -> bool {
    match vendor {
        "sensoro" => sensoro(section),
        _ => return false,
    }
    true
}

fn sensoro(section: &Section<'_>) {
    section.need("path", "the path that the vendor pushes to", webhook_path);
    section.need("app_id", "the id of the application", text);
    section.get("app_key", |item: &Item<'_>| {
        let key = secret(item)?;
        if key.expose().len() == SENSORO_APP_KEY_CHARS {
            Some(key)
        } else {
            item.wrong(format!("expected {SENSORO_APP_KEY_CHARS} characters"))
        }
    });
    section.need("app_secret", "the secret that pushes are signed with", secret);
    section.get("public_url", url(&["https", "http"]));
    section.get("verify_signature", flag);
}
