//! What a value of the configuration may be: each reader answers with the checked value, or notes
//! what was expected and answers with none.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::Item;
use crate::secret::Secret;
use crate::units::{DURATION_EXPECTED, SIZE_EXPECTED, parse_duration, parse_size};

/// MQTT's own limit on a topic or filter, in bytes.
const TOPIC_MAX_BYTES: usize = 65_535;

/// A string that is not empty.
pub fn text(item: &Item<'_>) -> Option<String> {
    match item.as_str() {
        Some(text) if !text.trim().is_empty() => Some(text.to_owned()),
        _ => item.expected("expected a string that is not empty"),
    }
}

/// Any string.
pub fn any_text(item: &Item<'_>) -> Option<String> {
    item.as_str().map(str::to_owned).or_else(|| item.expected("expected a string"))
}

pub fn flag(item: &Item<'_>) -> Option<bool> {
    item.as_bool().or_else(|| item.expected("expected `true` or `false`"))
}

pub fn integer(item: &Item<'_>) -> Option<i64> {
    item.as_integer().or_else(|| item.expected("expected a whole number"))
}

/// A whole number between `low` and `high`, both included.
pub fn integer_in(low: i64, high: i64) -> impl Fn(&Item<'_>) -> Option<i64> {
    move |item| match item.as_integer() {
        Some(n) if (low..=high).contains(&n) => Some(n),
        _ => item.expected(&format!("expected a whole number from {low} to {high}")),
    }
}

/// QoS, as MQTT counts it.
pub fn qos(item: &Item<'_>) -> Option<u8> {
    match item.as_integer() {
        Some(0) => Some(0),
        Some(1) => Some(1),
        Some(2) => Some(2),
        _ => item.expected("expected 0, 1 or 2"),
    }
}

/// A duration that is not zero.
pub fn duration(item: &Item<'_>) -> Option<Duration> {
    let Some(text) = item.as_str() else { return item.expected(DURATION_EXPECTED) };
    match parse_duration(text) {
        Ok(Duration::ZERO) => item.expected("expected a duration longer than zero"),
        Ok(duration) => Some(duration),
        Err(expected) => item.expected(expected),
    }
}

/// A duration, or the word `never`.
pub fn duration_or_never(item: &Item<'_>) -> Option<Option<Duration>> {
    match item.as_str() {
        Some("never") => Some(None),
        Some(_) => duration(item).map(Some),
        None => item.expected(&format!("{DURATION_EXPECTED}, or `never`")),
    }
}

/// A size of at least `least` bytes, which is shown as `least_text`.
pub fn size_from(least: u64, least_text: &'static str) -> impl Fn(&Item<'_>) -> Option<u64> {
    move |item| {
        let Some(text) = item.as_str() else { return item.expected(SIZE_EXPECTED) };
        match parse_size(text) {
            Ok(bytes) if bytes >= least => Some(bytes),
            Ok(_) => item.expected(&format!("expected a size of at least `{least_text}`")),
            Err(expected) => item.expected(expected),
        }
    }
}

/// One of a few words.
pub fn one_of(words: &'static [&'static str]) -> impl Fn(&Item<'_>) -> Option<&'static str> {
    move |item| {
        let found = item.as_str().and_then(|text| words.iter().find(|word| **word == text));
        found.copied().or_else(|| {
            let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
            item.expected(&format!("expected {}", words.join(" or ")))
        })
    }
}

/// A list that is not empty, each element read by `parse`; what it holds is called `what`.
pub fn list_of<T>(
    what: &'static str,
    parse: impl Fn(&Item<'_>) -> Option<T>,
) -> impl Fn(&Item<'_>) -> Option<Vec<T>> {
    move |item| match item.elements() {
        Some(elements) if !elements.is_empty() => each(&elements, &parse),
        Some(_) => item.wrong(format!("expected a list of {what} that is not empty: this one is")),
        None if item.as_str().is_some() => {
            item.wrong(format!("expected a list of {what}, as in [\"…\"]: it is a single string"))
        }
        None => item.expected_secret(&format!("expected a list of {what}")),
    }
}

/// A list of strings that may be empty.
pub fn names(item: &Item<'_>) -> Option<Vec<String>> {
    match item.elements() {
        Some(elements) => each(&elements, text),
        None => item.expected("expected a list of strings"),
    }
}

// Reads all before the first failure ends it: every problem is to be noted.
fn each<T>(elements: &[Item<'_>], parse: impl Fn(&Item<'_>) -> Option<T>) -> Option<Vec<T>> {
    elements.iter().map(parse).collect::<Vec<_>>().into_iter().collect()
}

/// A credential: a string, `{ env = "NAME" }` or `{ file = "path" }`.
pub fn secret(item: &Item<'_>) -> Option<Secret> {
    const EXPECTED: &str = "expected a string, { env = \"NAME\" } or { file = \"path\" }";
    if let Some(text) = item.as_str() {
        return if text.is_empty() { item.wrong("is empty: fill it in") } else { Some(Secret::new(text)) };
    }
    let read = item.table(|section| {
        let from_env = section.get("env", |name| {
            let variable = text(name)?;
            match name.env(&variable) {
                Some(value) if !value.is_empty() => Some(Secret::new(value)),
                Some(_) => name.wrong(format!("the environment variable {variable} is empty")),
                None => name.wrong(format!("the environment variable {variable} is not set")),
            }
        });
        let from_file = section.get("file", secret_file);
        match (section.has("env"), section.has("file")) {
            (true, false) => from_env,
            (false, true) => from_file,
            _ => item.wrong("expected either `env` or `file`"),
        }
    });
    read.unwrap_or_else(|| item.expected_secret(EXPECTED))
}

fn secret_file(item: &Item<'_>) -> Option<Secret> {
    let path = item.resolve(&text(item)?);
    let content = match std::fs::read_to_string(&path) {
        Ok(content) => content,
        Err(error) => return item.wrong(format!("cannot read the secret from {}: {error}", path.display())),
    };
    // Editors and `echo` end a file with a newline that is no part of the secret.
    let secret = content.strip_suffix('\n').unwrap_or(&content);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.is_empty() {
        return item.wrong(format!("the secret file {} is empty", path.display()));
    }
    Some(Secret::new(secret))
}

/// A path, relative to the file's folder.
pub fn path(item: &Item<'_>) -> Option<PathBuf> {
    text(item).map(|path| item.resolve(&path))
}

/// A path of a file that is there.
pub fn existing_file(item: &Item<'_>) -> Option<PathBuf> {
    let path = path(item)?;
    match std::fs::metadata(&path) {
        Ok(meta) if meta.is_file() => Some(path),
        Ok(_) => item.wrong(format!("{} is not a file", path.display())),
        Err(error) => item.wrong(format!("cannot read {}: {error}", path.display())),
    }
}

/// An absolute URL with one of `schemes`, a host, and no credentials in it.
pub fn url(schemes: &'static [&'static str]) -> impl Fn(&Item<'_>) -> Option<String> {
    // The value is not shown: a query may hold a token.
    move |item| {
        let schemes_text = schemes.iter().map(|s| format!("`{s}://`")).collect::<Vec<_>>().join(" or ");
        let wanted = format!("expected a URL that begins with {schemes_text}");
        let Some(text) = item.as_str() else { return item.expected_secret(&wanted) };
        let url = match Url::parse(text) {
            Ok(url) => url,
            Err(error) => return item.wrong(format!("{wanted}: {error}")),
        };
        if !schemes.contains(&url.scheme()) {
            return item.wrong(format!("{wanted}, found `{}:`", url.scheme()));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return item.wrong(format!("{wanted} and names a host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return item.wrong("credentials do not belong into the URL: give them by keys of their own");
        }
        Some(text.to_owned())
    }
}

/// An address to listen on: `host:port`.
pub fn listen(item: &Item<'_>) -> Option<String> {
    const EXPECTED: &str = "expected `host:port` such as \"127.0.0.1:7081\"";
    let Some(text) = item.as_str() else { return item.expected(EXPECTED) };
    let Some((host, port)) = text.rsplit_once(':') else { return item.expected(EXPECTED) };
    if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) || port.parse::<u16>().is_err() {
        return item.expected("expected a port from 0 to 65535 after the host");
    }
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let valid = match bracketed {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c)),
    };
    if valid { Some(text.to_owned()) } else { item.expected(EXPECTED) }
}

/// Whether a checked `host:port` is reachable from this machine only.
pub fn is_loopback(listen: &str) -> bool {
    let host = listen.rsplit_once(':').map_or(listen, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The path of a webhook, without a slash at its end.
pub fn webhook_path(item: &Item<'_>) -> Option<String> {
    const EXPECTED: &str = "expected a path that begins with `/`, such as \"/hooks/locks\"";
    match item.as_str() {
        Some("/") => Some("/".to_owned()),
        Some(path) if path.starts_with('/') && !path.contains("//") => {
            if path.contains(['?', '#']) || path.chars().any(|c| c.is_whitespace() || c.is_control()) {
                return item.expected("expected a path without query, fragment or white space");
            }
            Some(path.trim_end_matches('/').to_owned())
        }
        _ => item.expected(EXPECTED),
    }
}

/// An MQTT topic filter.
pub fn topic_filter(item: &Item<'_>) -> Option<String> {
    let filter = text(item)?;
    if filter.len() > TOPIC_MAX_BYTES || filter.contains('\0') {
        return item.wrong(format!("a topic filter has at most {TOPIC_MAX_BYTES} bytes, and no NUL"));
    }
    let levels: Vec<&str> = filter.split('/').collect();
    for (i, level) in levels.iter().enumerate() {
        if level.contains('#') && (*level != "#" || i + 1 != levels.len()) {
            return item.expected("expected `#` only as the whole last level of a topic filter");
        }
        if level.contains('+') && *level != "+" {
            return item.expected("expected `+` only as a whole level of a topic filter");
        }
    }
    Some(filter)
}

/// The name of an HTTP header, in lower case.
pub fn header_name(item: &Item<'_>) -> Option<String> {
    let name = text(item)?;
    if is_header_name(&name) {
        Some(name.to_ascii_lowercase())
    } else {
        item.expected("expected the name of an HTTP header")
    }
}

/// Whether `name` is a token in the sense of RFC 9110, section 5.6.2.
pub fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
