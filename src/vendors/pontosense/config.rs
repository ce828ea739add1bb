//! The configuration of a `pontosense` source.

use std::time::Duration;

use crate::secret::Secret;
use crate::section::values::{duration, integer_in, list_of, secret, text, url};
use crate::section::{Item, Section};

use super::REPORTING_S;

/// A sensor reports for 60 s after a start; the vendor asks for one every 55 s.
pub const DEFAULT_RENEW_EVERY: Duration = Duration::from_secs(55);

/// The vendor: a new token 5 minutes before the old one expires.
pub const DEFAULT_TOKEN_MARGIN: Duration = Duration::from_secs(5 * 60);

/// The vendor's broker closes connections that are an hour old.
pub const DEFAULT_CONNECTION_MAX_AGE: Duration = Duration::from_secs(55 * 60);

#[derive(Clone, Debug, PartialEq)]
pub struct PontosenseConfig {
    /// Without a slash at its end.
    pub api_url: String,
    pub api_key: String,
    pub secret: Secret,
    /// Serial numbers: one token and one connection each.
    pub sensors: Vec<String>,
    /// Set: the tenant form of the start call.
    pub tenant_id: Option<i64>,
    /// Scheme, host and port of the broker; none: `wss` and what the token reply says.
    pub mqtt_url: Option<String>,
    pub renew_every: Duration,
    pub token_margin: Duration,
    pub connection_max_age: Duration,
}

/// Reads the keys of a source that are this vendor's.
pub fn read(section: &Section<'_>) -> Option<PontosenseConfig> {
    let api_url = section.need("api_url", "the address of the vendor's REST interface", api_url);
    let api_key = section.need("api_key", "the key of the REST interface", api_key);
    let secret = section.need("secret", "the secret that requests are signed with", secret);
    let sensors = section.need("sensors", "the serial numbers of the sensors", sensors);
    let tenant_id = section.get_or("tenant_id", |item| integer_in(1, i64::MAX)(item).map(Some), None);
    let mqtt_url = section.get_or("mqtt_url", |item| mqtt_url(item).map(Some), None);
    let renew_every = section.get_or("renew_every", renew_every, DEFAULT_RENEW_EVERY);
    let token_margin = section.get_or("token_margin", duration, DEFAULT_TOKEN_MARGIN);
    let connection_max_age =
        section.get_or("connection_max_age", connection_max_age, DEFAULT_CONNECTION_MAX_AGE);
    Some(PontosenseConfig {
        api_url: api_url?,
        api_key: api_key?,
        secret: secret?,
        sensors: sensors?,
        tenant_id: tenant_id?,
        mqtt_url: mqtt_url?,
        renew_every: renew_every?,
        token_margin: token_margin?,
        connection_max_age: connection_max_age?,
    })
}

fn api_url(item: &Item<'_>) -> Option<String> {
    let url = url(&["https", "http"])(item)?;
    // Paths are put behind it.
    if url.contains(['?', '#']) {
        return item.wrong("expected an address without query and fragment");
    }
    Some(url.trim_end_matches('/').to_owned())
}

/// The key is one parameter of a header.
fn api_key(item: &Item<'_>) -> Option<String> {
    let key = text(item)?;
    if key.contains(|c: char| c == ',' || c.is_whitespace() || c.is_control()) {
        return item.wrong("expected a key without comma and white space");
    }
    Some(key)
}

fn mqtt_url(item: &Item<'_>) -> Option<String> {
    let url = url(&["wss", "ws"])(item)?;
    if url.contains(['?', '#']) {
        return item.wrong("expected an address without query and fragment: the token goes there");
    }
    Some(url)
}

fn sensors(item: &Item<'_>) -> Option<Vec<String>> {
    let sensors = list_of("serial numbers", serial_number)(item)?;
    match sensors.iter().enumerate().find(|(n, sn)| sensors[..*n].contains(sn)) {
        Some((_, twice)) => item.wrong(format!("{twice:?} is listed twice")),
        None => Some(sensors),
    }
}

/// It becomes one level of a topic and of a path.
fn serial_number(item: &Item<'_>) -> Option<String> {
    let sn = text(item)?;
    if sn.len() <= 128 && sn.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.:".contains(&b)) {
        Some(sn)
    } else {
        item.expected("expected a serial number such as \"ATR_GN_P4-250120-09527\"")
    }
}

fn renew_every(item: &Item<'_>) -> Option<Duration> {
    match duration(item)? {
        every if every < Duration::from_secs(REPORTING_S) && every >= Duration::from_secs(1) => Some(every),
        _ => item.expected("expected a duration from `1s` to below `60s`: that is how long a start holds"),
    }
}

fn connection_max_age(item: &Item<'_>) -> Option<Duration> {
    match duration(item)? {
        age if age >= Duration::from_secs(60) => Some(age),
        _ => item.expected("expected a duration of at least `1m`"),
    }
}
