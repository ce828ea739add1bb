//! Vendors whose configuration is settled and checked, but which this version cannot record yet: a
//! configuration can be written once, and each of its mistakes is found today.

use crate::section::Section;
use crate::section::values::{flag, one_of, secret, text, url};

pub(super) const VENDORS: [&str; 1] = ["damoov"];

/// Checks the keys of `vendor`; false if it is none of these.
pub(super) fn read(section: &Section<'_>, vendor: &str) -> bool {
    match vendor {
        "damoov" => damoov(section),
        _ => return false,
    }
    true
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
