//! What of a webhook request is never stored: secrets in its query and headers.
//!
//! A source's `redact_query` and `redact_headers` name them; besides, these are always left out:
//!
//! * query parameters `token access_token refresh_token api_key apikey key secret password
//!   client_secret sig signature`, whatever their case;
//! * headers `authorization proxy-authorization cookie set-cookie x-api-key`, and the header by which
//!   the source recognises its vendor.
//!
//! And of the words that others send us about a connection (the reason of a close, say), whatever is configured of
//! the source and secret: some say back what they were told.
//!
//! A parameter keeps its name and loses its value (`token=`), so that one can see that it was there.
//! What a vendor puts into its payload stays: payloads are never touched.

use bytestring::ByteString;

use crate::message::Headers;
use crate::vendors::jointech::config::JointechConfig;
use crate::vendors::{Source, VendorConfig};

const QUERY: [&str; 11] = [
    "token",
    "access_token",
    "refresh_token",
    "api_key",
    "apikey",
    "key",
    "secret",
    "password",
    "client_secret",
    "sig",
    "signature",
];

const HEADERS: [&str; 5] = ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"];

/// What one source never stores.
#[derive(Clone, Default)]
pub struct Redaction {
    query: Vec<String>,
    headers: Vec<String>,
    /// The longest first, so that none is left half when another is part of it.
    secrets: Vec<String>,
}

// It holds the secrets themselves.
impl std::fmt::Debug for Redaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redaction")
            .field("query", &self.query)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

/// Shorter ones would be found in half of all words, and protect nothing.
const SECRET_BYTES_MIN: usize = 4;

impl Redaction {
    /// The source's own names beside those that are always left out.
    pub fn of(source: &Source) -> Self {
        let mut headers: Vec<String> = HEADERS.map(str::to_owned).into();
        headers.extend(source.redact_headers.iter().map(|name| name.to_ascii_lowercase()));
        if let VendorConfig::Jointech(JointechConfig::Webhook(webhook)) = &source.vendor {
            headers.extend(webhook.header.iter().map(|(name, _)| name.to_ascii_lowercase()));
        }
        let mut query: Vec<String> = QUERY.map(str::to_owned).into();
        query.extend(source.redact_query.iter().cloned());
        let mut secrets = source.secrets();
        // As they stand in JSON, too.
        let escaped = |secret: &String| {
            serde_json::Value::from(secret.as_str()).to_string().trim_matches('"').to_owned()
        };
        secrets.extend(secrets.iter().map(escaped).collect::<Vec<_>>());
        secrets.retain(|secret| secret.len() >= SECRET_BYTES_MIN);
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self { query, headers, secrets }
    }

    /// Words that came from outside without the source's secrets.
    pub fn words(&self, words: String) -> String {
        self.secrets.iter().fold(words, |words, secret| {
            if words.contains(secret.as_str()) { words.replace(secret.as_str(), "…") } else { words }
        })
    }

    /// `headers` without what is secret.
    pub fn headers(&self, mut headers: Headers) -> Headers {
        headers.retain(|(name, _)| !self.headers.iter().any(|secret| secret.eq_ignore_ascii_case(name)));
        headers
    }

    /// A path and query with the values of secret parameters left out; unchanged bytes otherwise.
    pub fn channel(&self, channel: ByteString) -> ByteString {
        let Some((path, query)) = channel.split_once('?') else {
            return channel;
        };
        if !query.split('&').any(|pair| self.is_secret(pair)) {
            return channel;
        }
        let pairs: Vec<&str> = query
            .split('&')
            .map(|pair| match pair.find('=') {
                Some(equals) if self.is_secret(pair) => &pair[..=equals],
                _ => pair,
            })
            .collect();
        format!("{path}?{}", pairs.join("&")).into()
    }

    fn is_secret(&self, pair: &str) -> bool {
        let name = pair.split('=').next().unwrap_or_default();
        // The name may be spelled with escapes, too; only the comparison undoes them.
        let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
        self.query.iter().any(|secret| secret.eq_ignore_ascii_case(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redaction() -> Redaction {
        Redaction {
            query: vec!["token".to_owned(), "kunde".to_owned()],
            headers: vec!["authorization".to_owned()],
            ..Redaction::default()
        }
    }

    #[test]
    fn secret_parameters_lose_their_values_and_nothing_else_changes() {
        let cases = [
            ("/a", "/a"),
            ("/a?", "/a?"),
            ("/a?x=1&token=abc&y=%20", "/a?x=1&token=&y=%20"),
            ("/a?TOKEN=abc", "/a?TOKEN="),
            ("/a?to%6ben=abc&z", "/a?to%6ben=&z"),
            ("/a?Kunde=7&Kunde=8", "/a?Kunde=&Kunde="),
            ("/a?token", "/a?token"),
            ("/a?tokens=1", "/a?tokens=1"),
        ];
        for (given, stored) in cases {
            assert_eq!(redaction().channel(given.into()), stored, "{given}");
        }
    }

    #[test]
    fn secret_headers_are_not_stored() {
        let given = vec![
            ("authorization".to_owned(), "Bearer x".to_owned()),
            ("content-type".to_owned(), "application/json".to_owned()),
        ];
        assert_eq!(redaction().headers(given), [("content-type".to_owned(), "application/json".to_owned())]);
    }

    #[test]
    fn words_from_outside_lose_what_is_configured_and_secret() {
        let redaction = Redaction {
            secrets: vec!["Bearer abcd/1".into(), "Bearer".into(), "abcd/1".into()],
            ..Redaction::default()
        };
        for (words, expected) in [
            ("closed: nothing said", "closed: nothing said"),
            ("token abcd/1 is not valid", "token … is not valid"),
            ("Bearer abcd/1, abcd/1", "…, …"),
        ] {
            assert_eq!(redaction.words(words.into()), expected);
        }
    }
}
