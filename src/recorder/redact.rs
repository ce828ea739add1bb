//! What of a webhook request is never stored: secrets in its query and headers.
//!
//! A source's `redact_query` and `redact_headers` name them; besides, these are always left out:
//!
//! * query parameters `token access_token refresh_token api_key apikey key secret password
//!   client_secret sig signature`, whatever their case;
//! * headers `authorization proxy-authorization cookie set-cookie x-api-key`, and the header by which
//!   the source recognises its vendor.
//!
//! And of the words that others send us about a connection (the reason of a close, say), and of a request's query and
//! headers, whatever is configured of the source and secret, and the tokens that its collector has been given since:
//! some say back what they were told. A reason has room for a part of a token only, so its beginning is cut as well.
//!
//! A parameter keeps its name and loses its value (`token=`), so that one can see that it was there.
//! What a vendor puts into its payload stays: payloads are never touched.

use std::collections::VecDeque;

use bytestring::ByteString;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::message::Headers;
use crate::printable::printable;
use crate::secret::Secret;
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

/// In the channel of Pontosense's `config`, which no request had: it says whose configuration it is, and a replay
/// answers by it. The sensor stands in every topic as well.
const SENSOR: &str = "sn";

const HEADERS: [&str; 5] = ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"];

/// What one source never stores.
#[derive(Clone, Default)]
pub struct Redaction {
    query: Vec<String>,
    headers: Vec<String>,
    secrets: Vec<String>,
    /// Given at run time, the oldest first: a connection may outlive its token by one or two.
    learnt: VecDeque<String>,
    learnt_bytes: usize,
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

/// The beginning of a longer one is cut from this length on: a reason of 123 bytes holds no whole JWT.
const BEGINNING_BYTES: usize = 12;

/// What is kept of tokens that were given at run time: several of a kilobyte for each of a hundred sensors. The
/// latest is kept in any case.
const LEARNT_BYTES_MAX: usize = 1 << 20;

/// What stays of what was cut.
const CUT: &str = "…";

/// What a query's values are encoded to, but for the unreserved characters.
const ITEM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

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
        if let VendorConfig::Pontosense(_) = &source.vendor {
            query.retain(|name| !name.eq_ignore_ascii_case(SENSOR));
        }
        let mut secrets: Vec<String> = source.secrets().iter().flat_map(|secret| forms(secret)).collect();
        secrets.sort();
        secrets.dedup();
        Self { query, headers, secrets, ..Self::default() }
    }

    /// A token that the source's collector has been given is secret from now on.
    pub fn learn(&mut self, secret: &Secret) {
        for form in forms(secret.expose()) {
            if !self.secrets.contains(&form) && !self.learnt.contains(&form) {
                self.learnt_bytes += form.len();
                self.learnt.push_back(form);
            }
        }
        while self.learnt_bytes > LEARNT_BYTES_MAX && self.learnt.len() > 1 {
            let oldest = self.learnt.pop_front().unwrap_or_default();
            self.learnt_bytes -= oldest.len();
        }
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        self.secrets.iter().chain(&self.learnt).map(String::as_str)
    }

    /// Words that came from outside without the source's secrets; the longest first, so that none is left half where
    /// another is part of it.
    pub fn words(&self, words: String) -> String {
        // In a log, an end of a line would begin another line.
        printable(&self.without_secrets(words)).into_owned()
    }

    fn without_secrets(&self, mut words: String) -> String {
        let mut secrets: Vec<&str> = self.all().filter(|secret| secret.len() <= words.len()).collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        for secret in secrets {
            if words.contains(secret) {
                words = words.replace(secret, CUT);
            }
        }
        self.without_beginnings(words)
    }

    /// Tokens of one maker begin alike: of all that fit at a place the longest is cut.
    fn without_beginnings(&self, words: String) -> String {
        let long: Vec<&str> = self.all().filter(|secret| secret.len() > BEGINNING_BYTES).collect();
        let begins_at = |words: &str| {
            let beginnings = long.iter().map(|secret| &secret[..secret.floor_char_boundary(BEGINNING_BYTES)]);
            beginnings.filter_map(|beginning| words.find(beginning)).min()
        };
        let (mut kept, mut rest) = (String::new(), words.as_str());
        while let Some(at) = begins_at(rest) {
            let (before, found) = rest.split_at(at);
            let longest = long.iter().map(|secret| in_common(found, secret)).max().unwrap_or_default();
            kept.push_str(before);
            kept.push_str(CUT);
            rest = &found[longest..];
        }
        kept + rest
    }

    /// `headers` without what is secret.
    pub fn headers(&self, mut headers: Headers) -> Headers {
        headers.retain(|(name, _)| !self.headers.iter().any(|secret| secret.eq_ignore_ascii_case(name)));
        for (_, value) in &mut headers {
            if self.all().any(|secret| value.contains(secret)) {
                *value = self.words(std::mem::take(value));
            }
        }
        headers
    }

    /// A path and query with the values of secret parameters left out; unchanged bytes otherwise.
    pub fn channel(&self, channel: ByteString) -> ByteString {
        let channel = self.without_parameters(channel);
        if !channel.contains('?') || !self.all().any(|secret| channel.contains(secret)) {
            return channel;
        }
        self.words(channel.into()).into()
    }

    fn without_parameters(&self, channel: ByteString) -> ByteString {
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

/// A secret as it stands in a text, in JSON and in a query.
fn forms(secret: &str) -> Vec<String> {
    let escaped = serde_json::Value::from(secret).to_string();
    let escaped = escaped.strip_prefix('"').and_then(|escaped| escaped.strip_suffix('"')).unwrap_or(&escaped);
    let mut forms =
        vec![secret.to_owned(), escaped.to_owned(), utf8_percent_encode(secret, ITEM).to_string()];
    forms.dedup();
    forms.retain(|form| form.len() >= SECRET_BYTES_MIN);
    forms
}

/// For how many bytes two texts are the same.
fn in_common(one: &str, other: &str) -> usize {
    let same = one.chars().zip(other.chars()).take_while(|(a, b)| a == b);
    same.map(|(char, _)| char.len_utf8()).sum()
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
            ("abcd/1\nERROR \u{1b}[2J", "…\\u{a}ERROR \\u{1b}[2J"),
        ] {
            assert_eq!(redaction.words(words.into()), expected);
        }
    }

    #[test]
    fn a_token_that_is_learnt_is_cut_in_every_form_and_so_is_its_beginning() {
        let mut redaction = Redaction { secrets: vec!["eyJhbGciOi.old".into()], ..Redaction::default() };
        let token = "eyJhbGciOi.new/\"+=";
        redaction.learn(&Secret::new(token));
        let (in_json, in_query) = (r#"eyJhbGciOi.new/\"+="#, "eyJhbGciOi.new%2F%22%2B%3D");
        for (words, expected) in [
            (format!("no: {token}, {in_json}, {in_query}"), "no: …, …, …"),
            // Cut off by whoever had no room; the other token begins in the same way.
            ("no: eyJhbGciOi.new/".into(), "no: …"),
            ("no: eyJhbGciOi.old, eyJhbGciOi.n".into(), "no: …, …"),
            ("no: eyJhbGciOi".into(), "no: eyJhbGciOi"),
            ("é eyJhbGciOi.né".into(), "é …é"),
        ] {
            assert_eq!(redaction.words(words.clone()), expected, "{words}");
        }
        // One that was configured is part of one that was given.
        redaction.secrets.push("new/".into());
        assert_eq!(redaction.words(format!("no: {token}")), "no: …");
        let channel = redaction.channel(format!("/a?x={in_query}&y=1").into());
        assert_eq!(channel, "/a?x=…&y=1");
        let headers = redaction.headers(vec![("x-said".into(), format!("Bearer {token}"))]);
        assert_eq!(headers, [("x-said".to_owned(), "Bearer …".to_owned())]);
    }

    #[test]
    fn endless_tokens_take_bounded_memory_and_the_latest_are_known() {
        let mut redaction = Redaction::default();
        let token = |n: usize| format!("{n:0>12}{}", "x".repeat(1_000));
        for n in 0..5_000 {
            redaction.learn(&Secret::new(token(n)));
            redaction.learn(&Secret::new(token(n)));
        }
        let kept: usize = redaction.learnt.iter().map(String::len).sum();
        assert_eq!(kept, redaction.learnt_bytes);
        assert!(kept <= LEARNT_BYTES_MAX, "{kept}");
        assert_eq!(redaction.words(token(4_500)), CUT);
        redaction.learn(&Secret::new("y".repeat(2 * LEARNT_BYTES_MAX)));
        assert_eq!((redaction.learnt.len(), redaction.words("yy".repeat(LEARNT_BYTES_MAX))), (1, CUT.into()));
    }

    #[test]
    fn a_sensor_s_configuration_keeps_saying_whose_it_is() {
        use std::time::Duration;

        use crate::vendors::pontosense::config::PontosenseConfig;
        let pontosense = VendorConfig::Pontosense(PontosenseConfig {
            api_url: "https://example.com".into(),
            api_key: "k".into(),
            secret: Secret::new("geheim"),
            sensors: vec!["A".into()],
            tenant_id: None,
            mqtt_url: None,
            renew_every: Duration::from_secs(55),
            token_margin: Duration::from_secs(300),
            connection_max_age: Duration::from_secs(3_300),
        });
        let redact_query = ["sn", "SN", "kunde"].map(str::to_owned).to_vec();
        let source = Source { redact_query, ..crate::vendors::testing::source(pontosense) };
        let stored = Redaction::of(&source).channel("/v1/iot/tokens?sn=A&kunde=7&token=x".into());
        assert_eq!(stored, "/v1/iot/tokens?sn=A&kunde=&token=");
    }

    #[test]
    fn every_configured_credential_is_known() {
        use crate::vendors::sensoro::cipher::Cipher;
        use crate::vendors::sensoro::config::SensoroConfig;
        let app_key = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
        let sensoro = VendorConfig::Sensoro(SensoroConfig {
            path: "/city".into(),
            app_id: "1234".into(),
            app_key: Cipher::new(&Secret::new(app_key)),
            app_secret: Secret::new("geheim"),
            public_url: None,
            verify_signature: true,
            signature_max_age: None,
        });
        let redaction = Redaction::of(&crate::vendors::testing::source(sensoro));
        assert_eq!(redaction.words(format!("1234 {app_key} geheim")), "1234 … …");
    }
}
