//! Vendors whose configuration is settled and checked, but which this version cannot record yet: a
//! configuration can be written once, and each of its mistakes is found today.

use crate::section::Section;
use crate::section::values::{duration, flag, integer_in, list_of, one_of, secret, text, url};

pub(super) const VENDORS: [&str; 2] = ["damoov", "pontosense"];

/// Checks the keys of `vendor`; false if it is none of these.
pub(super) fn read(section: &Section<'_>, vendor: &str) -> bool {
    match vendor {
        "damoov" => damoov(section),
        "pontosense" => pontosense(section),
        _ => return false,
    }
    true
}

fn pontosense(section: &Section<'_>) {
    section.need("api_url", "the address of the vendor's REST interface", url(&["https", "http"]));
    section.need("api_key", "the key of the REST interface", text);
    section.need("secret", "the secret that requests are signed with", secret);
    section.need("sensors", "the serial numbers of the sensors", list_of("serial numbers", text));
    section.get("tenant_id", integer_in(1, i64::MAX));
    section.get("mqtt_url", url(&["wss", "ws"]));
    for key in ["renew_every", "token_margin", "connection_max_age"] {
        section.get(key, duration);
    }
    tls(section);
}

fn damoov(section: &Section<'_>) {
    section.get("url", url(&["wss", "ws"]));
    if !section.has("login") {
        section.need("access_token", "a JWT, or a `login`", secret);
    } else {
        section.get("access_token", secret);
    }
    section.need("instance_id", "the id of the instance, a UUID", text);
    section.get("device_token", text);
    section.get("client_id", text);
    section.get("units", one_of(&["metric", "imperial"]));
    section.get("timezone", text);
    section.get("date_format", one_of(&["unix", "iso", "localized"]));
    section.get("refresh_url", url(&["https", "http"]));
    section.get("refresh_token", secret);
    section.get("login", |item| {
        let read = item.table(|login| {
            login.get("url", url(&["https", "http"]));
            login.need("email", "the address to log in with", text);
            login.need("password", "the password to log in with", secret)
        });
        read.unwrap_or_else(|| item.expected_secret("expected { url = \"…\", email = \"…\", password = … }"))
    });
    tls(section);
}

fn tls(section: &Section<'_>) {
    section.get("tls_ca", crate::section::values::existing_file);
    section.get("tls_insecure", flag);
}
