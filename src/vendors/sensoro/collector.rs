//! Taking what the vendor pushes: check the signature, open what is encrypted, answer once durable.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rand::Rng;
use serde_json::Map;

use super::body::Outer;
use super::cipher::CipherError;
use super::config::SensoroConfig;
use super::reprint::reprint;
use super::signature::{NONCE_HEADER, SIGNATURE_HEADER, Signed};
use super::{EVENT, OTHER, TELEMETRY};
use crate::clock::Now;
use crate::vendors::lifecycle::{SECOND_NS, link};
use crate::vendors::webhook::{listening, plain, taken};
use crate::vendors::{Ack, Collector, Effect, HttpRequest, Inbound, Input, Record};

/// The vendor's page says `messages`, its sample receiver `message`; the status is what counts.
const ACCEPTED: &str = r#"{"message":"success","messages":"success"}"#;

/// How often the same thing is warned of.
const WARN_EVERY_NS: u64 = 3_600 * SECOND_NS;

pub(in crate::vendors) struct SensoroCollector {
    config: SensoroConfig,
    /// When it was last warned, by [`Warning`].
    warned_ns: [Option<u64>; 3],
}

/// What a person should look into, though every message is stored.
#[derive(Clone, Copy)]
enum Warning {
    NoKey,
    Sealed(CipherError),
    OtherApp,
}

impl SensoroCollector {
    pub(in crate::vendors) fn new(config: SensoroConfig) -> Self {
        Self { config, warned_ns: [None; 3] }
    }

    fn pushed(&mut self, inbound: Inbound, at: Now, request: HttpRequest, fx: &mut Vec<Effect>) {
        if self.config.verify_signature
            && let Err(why) = self.check(&request, at)
        {
            return fx.push(Effect::Refuse { inbound, reply: plain(401, why) });
        }
        let outer = Outer::of(&request.body);
        let clear = outer.encrypted().and_then(|sealed| self.open(&sealed, at, fx));
        let record = Record {
            kind: match outer.kind().as_deref() {
                Some("text") => TELEMETRY,
                Some("event") => EVENT,
                _ => OTHER,
            },
            conn: 0,
            at,
            channel: request.path_and_query.into(),
            mqtt: None,
            is_binary: false,
            headers: Some(request.headers),
            delivery_id: outer.delivery_id(),
            clear,
            payload: request.body,
        };
        fx.push(Effect::Record { record, ack: Some(Ack::Http { inbound, reply: taken(ACCEPTED) }) });
    }

    /// Whether a request is signed with our AppSecret; if not, why, in words for the one who sent it.
    fn check(&self, request: &HttpRequest, at: Now) -> Result<(), &'static str> {
        let (Some(nonce), Some(signature)) = (request.header(NONCE_HEADER), request.header(SIGNATURE_HEADER))
        else {
            return Err("X-ACCESS-NONCE and X-ACCESS-SIGNATURE are required");
        };
        let Ok(signature) = STANDARD.decode(signature.trim()) else {
            return Err("X-ACCESS-SIGNATURE is not base64");
        };
        let urls = self.urls(request);
        let signed_over = |body: &[u8]| {
            urls.iter().any(|url| {
                let signed = Signed { nonce, method: &request.method, url, body };
                signed.is_signed_with(&self.config.app_secret, &signature)
            })
        };
        let is_signed = signed_over(&request.body)
            || reprinted(&request.body).is_some_and(|body| signed_over(body.as_bytes()));
        if !is_signed {
            return Err(
                "X-ACCESS-SIGNATURE does not match: another AppSecret, or another URL than public_url says",
            );
        }
        match self.config.signature_max_age {
            Some(max) if !is_fresh(nonce, max, at) => {
                Err("X-ACCESS-NONCE is too far from this clock's time (signature_max_age)")
            }
            _ => Ok(()),
        }
    }

    /// The URLs that the vendor may have signed, the likeliest first. None of them lets in anything that
    /// was not signed with our secret.
    fn urls(&self, request: &HttpRequest) -> Vec<String> {
        let path = &request.path_and_query;
        if let Some(public) = &self.config.public_url {
            let public = public.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
            let below = path.strip_prefix(self.config.path.trim_end_matches('/')).unwrap_or_default();
            // With the path that the vendor posts to, or without; where a proxy changes it, the former.
            let origin = public
                .find("://")
                .and_then(|at| public[at + 3..].find('/').map(|end| &public[..at + 3 + end]));
            let mut urls = vec![format!("{public}{below}"), format!("{public}{path}")];
            urls.extend(origin.map(|origin| format!("{origin}{path}")));
            return urls;
        }
        let first = |name| request.header(name).and_then(|value| value.split(',').next()).map(str::trim);
        let protos = first("x-forwarded-proto").map_or(vec!["https", "http"], |proto| vec![proto]);
        let hosts = [first("x-forwarded-host"), request.header("host")];
        let urls = hosts.into_iter().flatten().flat_map(|host| {
            protos.iter().map(move |proto| format!("{}://{host}{path}", proto.to_ascii_lowercase()))
        });
        urls.collect()
    }

    fn open(&mut self, sealed: &str, at: Now, fx: &mut Vec<Effect>) -> Option<Bytes> {
        let opened = match &self.config.app_key {
            None => Err(Warning::NoKey),
            Some(cipher) => cipher.open(sealed).map_err(Warning::Sealed),
        };
        match opened {
            Ok(opened) => {
                if opened.app_id != self.config.app_id.as_bytes() {
                    self.warn(Warning::OtherApp, at, fx);
                }
                Some(opened.message.into())
            }
            Err(warning) => {
                self.warn(warning, at, fx);
                None
            }
        }
    }

    /// Says so in a row of kind `link`, once an hour.
    fn warn(&mut self, warning: Warning, at: Now, fx: &mut Vec<Effect>) {
        let (place, words) = match warning {
            Warning::NoKey => {
                (0, "encryptData came, and no app_key is configured: stored as it is".to_owned())
            }
            Warning::Sealed(why) => (1, format!("encryptData cannot be opened: {why}; stored as it is")),
            Warning::OtherApp => (2, "encryptData names another AppID than app_id".to_owned()),
        };
        let warned_ns = &mut self.warned_ns[place];
        if warned_ns.is_none_or(|ns| at.steady_ns.saturating_sub(ns) >= WARN_EVERY_NS) {
            *warned_ns = Some(at.steady_ns);
            link(fx, "warning", 0, Some(words), Map::new());
        }
    }
}

/// Whether `nonce`, Unix time in milliseconds, is within `max` of our clock, either way.
fn is_fresh(nonce: &str, max: Duration, at: Now) -> bool {
    let apart_ms =
        nonce.trim().parse::<i64>().map(|nonce_ms| nonce_ms.abs_diff(at.wall_us.div_euclid(1_000)));
    apart_ms.is_ok_and(|apart_ms| u128::from(apart_ms) <= max.as_millis())
}

/// The body as the vendor's sample receiver checks it; its parser takes an absent body for `{}`.
fn reprinted(body: &[u8]) -> Option<String> {
    if body.is_empty() { Some("{}".to_owned()) } else { reprint(body) }
}

impl Collector for SensoroCollector {
    fn on(&mut self, _: Now, _: &mut dyn Rng, input: Input, fx: &mut Vec<Effect>) {
        match input {
            Input::Start => listening(fx),
            Input::Pushed { inbound, at, request } => self.pushed(inbound, at, request, fx),
            _ => {}
        }
    }

    fn wake_at(&self) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests;
