//! The addresses that a replay listens on, as URLs.

use std::fmt;
use std::str::FromStr;

use super::{PlayError, shown};

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
    Mqtt,
    Mqtts,
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Mqtt => "mqtt",
            Scheme::Mqtts => "mqtts",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
            Scheme::Mqtt => 1883,
            Scheme::Mqtts => 8883,
        }
    }

    pub(super) fn is_http(self) -> bool {
        matches!(self, Scheme::Http | Scheme::Https)
    }

    pub(super) fn is_tls(self) -> bool {
        matches!(self, Scheme::Https | Scheme::Mqtts)
    }
}

/// One address to listen on, from `SCHEME://HOST[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    pub(super) scheme: Scheme,
    /// A name or an address; IPv6 in brackets.
    pub(super) host: String,
    /// 0 picks one.
    pub(super) port: u16,
}

impl Listen {
    /// Whether it needs a certificate.
    pub fn is_tls(&self) -> bool {
        self.scheme.is_tls()
    }

    /// What `replay` listens on unless told otherwise.
    pub fn defaults() -> Vec<Self> {
        let loopback = |scheme, port| Self { scheme, host: "127.0.0.1".to_owned(), port };
        vec![loopback(Scheme::Http, 7070), loopback(Scheme::Mqtt, 1883)]
    }
}

impl FromStr for Listen {
    type Err = PlayError;

    fn from_str(text: &str) -> Result<Self, PlayError> {
        let wrong = |expected| PlayError::NotAListener { text: shown(text), expected };
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| wrong("expected a URL, as in http://127.0.0.1:0"))?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "mqtt" => Scheme::Mqtt,
            "mqtts" => Scheme::Mqtts,
            "ws" => return Err(wrong("WebSocket endpoints are served by an http listener")),
            "wss" => return Err(wrong("WebSocket endpoints are served by an https listener")),
            _ => return Err(wrong("expected http, https, mqtt or mqtts")),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#', '@']) {
            return Err(wrong("expected host and port only, as in http://127.0.0.1:0"));
        }
        let (host, port) = match authority.rsplit_once(':') {
            // A colon inside brackets belongs to the address.
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| wrong("expected a port between 0 and 65535"))?)
            }
            _ => (authority, scheme.default_port()),
        };
        let bracketed = host.starts_with('[') && host.ends_with(']');
        if host.is_empty() || (host.contains(':') && !bracketed) {
            return Err(wrong("expected a host; IPv6 addresses stand in brackets, as in http://[::1]:0"));
        }
        Ok(Self { scheme, host: host.to_owned(), port })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme.name(), self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_read_from_urls() {
        let bound = |text: &str| text.parse::<Listen>().unwrap().to_string();
        assert_eq!(bound("http://127.0.0.1:0"), "http://127.0.0.1:0");
        assert_eq!(bound("MQTTS://host/"), "mqtts://host:8883");
        assert_eq!(bound("https://[::1]"), "https://[::1]:443");
        assert_eq!(bound("mqtt://[::]:1"), "mqtt://[::]:1");
        for wrong in [
            "",
            "127.0.0.1:80",
            "ws://x",
            "ftp://x",
            "http://",
            "http://:1",
            "http://x:y",
            "http://x:65536",
            "http://::1",
            "http://x/ws",
            "http://u@x",
        ] {
            assert!(wrong.parse::<Listen>().is_err(), "{wrong}");
        }
        assert_eq!(
            Listen::defaults().iter().map(Listen::to_string).collect::<Vec<_>>(),
            ["http://127.0.0.1:7070", "mqtt://127.0.0.1:1883"]
        );
    }
}
