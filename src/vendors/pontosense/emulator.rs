//! The replaying side: the REST interface, and MQTT over WebSocket at `/mqtt?token=…`.
//!
//! | request | answer |
//! |---|---|
//! | `POST /v1/iot/tokens` with `{"sn": …}` | 200, a token for 30 min; 400 without a usable `sn` |
//! | `PUT …/location/start`, both forms of the path | 204; the sensor reports for 60 s |
//! | `PUT …/location/stop` | 204; it does not |
//! | any other method | 405 |
//!
//! Bodies of errors are `{"code":<status>,"message":<text>}`. Where credentials are required, a request
//! is signed by a configured key (401 if not, or if its timestamp is more than 300 s off, or if its
//! nonce was used within 600 s) and for a sensor of that key (403 for another's, 404 for nobody's).
//! Where any credentials are accepted, none of this is looked at.
//!
//! Tokens are always checked, since each is of this replay's own making. The token reply's `data` is
//! what was recorded from the sensor: the last before the replay's first message, else the first after
//! it; where nothing was recorded, [`DEFAULT_DATA`].
//!
//! A client that asks for a sensor that nobody recorded, where any credentials are accepted, gets the
//! reports of all the vendor's sources, on the topic that it subscribed to.

mod broker;
mod gate;
mod token;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use rand::{Rng, RngExt};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use self::broker::Connection;
use self::gate::{Nonces, Refused};
use self::token::{Claims, Mint};
use super::{AUTHORIZER, AUTHORIZER_ITEM, REPORTING_S, TOKENS_PATH, topic};
use crate::clock::Now;
use crate::message::Selection;
use crate::vendors::lifecycle::SECOND_NS;
use crate::vendors::service::Admission;
use crate::vendors::variant::Variant;
use crate::vendors::{HttpReply, HttpRequest, Recorded};

/// Used where the sensor's own was not recorded: a room of four metres by four without zones.
pub const DEFAULT_DATA: &str =
    r#"{"scanArea":{"left":200,"right":200,"height":400},"zones":[],"preference":0}"#;

/// Sensors that are remembered as started; beyond it the one started longest ago is forgotten.
const STARTS_MAX: usize = 10_000;

/// A serial number has 22 characters.
const SN_BYTES_MAX: usize = 128;

/// What the vendor leaves open, as this emulator does it.
#[derive(Clone, Copy, Debug)]
struct Rules {
    /// How far a request's timestamp may be off.
    clock_tolerance_s: u64,
    /// How long a nonce must not be used again.
    nonce_rest_s: u64,
    token_life_s: u64,
    /// How long a sensor reports after a start.
    reporting_s: u64,
    /// The age at which connections are closed.
    connection_max_age_s: u64,
    bad_token: BadToken,
    other_sensor: OtherSensor,
}

/// How a token that is none is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BadToken {
    /// 101, then a close without CONNACK.
    Close,
    /// HTTP 403.
    Forbidden,
}

/// How a subscription to anything but the token's sensor is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OtherSensor {
    Close,
    /// SUBACK 0x80.
    Refuse,
}

impl Rules {
    /// The default, with what was asked to be otherwise.
    fn varied(variants: &[Variant]) -> Self {
        let mut rules = Self::default();
        for variant in variants {
            match variant {
                Variant::PontosenseToken403 => rules.bad_token = BadToken::Forbidden,
                Variant::PontosenseSuback0x80 => rules.other_sensor = OtherSensor::Refuse,
                Variant::PontosenseAnyClock => rules.clock_tolerance_s = u64::MAX,
                Variant::PontosenseAnyNonce => rules.nonce_rest_s = 0,
                Variant::JointechRepush | Variant::SensoroFlatEvents => {}
            }
        }
        rules
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            clock_tolerance_s: 300,
            nonce_rest_s: 600,
            token_life_s: 30 * 60,
            reporting_s: REPORTING_S,
            connection_max_age_s: 60 * 60,
            bad_token: BadToken::Close,
            other_sensor: OtherSensor::Close,
        }
    }
}

/// The vendor's service: shared by all requests and connections.
#[derive(Debug)]
pub struct Pontosense {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    recorded: Arc<Recorded>,
    rules: Rules,
    mint: Mint,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By serial number: when (steady time, ns) it was started.
    starts: HashMap<String, u64>,
    nonces: Nonces,
    tokens: u64,
}

/// A request's place among those that are served.
enum Route {
    Tokens,
    Start { sn: String },
    Stop { sn: String },
}

impl Route {
    fn method(&self) -> &'static str {
        match self {
            Route::Tokens => "POST",
            Route::Start { .. } | Route::Stop { .. } => "PUT",
        }
    }
}

impl Pontosense {
    pub fn new(recorded: Arc<Recorded>, rng: &mut dyn Rng) -> Self {
        let rules = Rules::varied(&recorded.variants);
        let mint = Mint::new(rng.random());
        Self { inner: Arc::new(Inner { recorded, rules, mint, state: Mutex::default() }) }
    }

    /// Whether `path` is one of the REST interface.
    pub fn serves(&self, path: &str) -> bool {
        route(path).is_some()
    }

    /// The method that `path` is asked with, if it is one of the REST interface.
    pub fn method(&self, path: &str) -> Option<&'static str> {
        route(path).map(|route| route.method())
    }

    pub fn http(&self, now: Now, request: &HttpRequest) -> HttpReply {
        let path = request.path_and_query.split('?').next().unwrap_or_default();
        let Some(route) = route(path) else { return error(404, "nothing is served here") };
        let method = route.method();
        if request.method != method {
            return error(405, &format!("expected {method}"));
        }
        let answer = self.inner.authenticate(now, request).and_then(|api_key| match route {
            Route::Tokens => self.inner.token(now, request, &api_key),
            Route::Start { sn } => {
                self.inner.may(&api_key, &sn)?;
                self.inner.state().start(now, sn, self.inner.rules.reporting_s);
                Ok(no_content())
            }
            Route::Stop { sn } => {
                self.inner.may(&api_key, &sn)?;
                self.inner.state().starts.remove(&sn);
                Ok(no_content())
            }
        });
        answer.unwrap_or_else(|Refused(status, message)| error(status, &message))
    }

    pub fn mqtt(&self, now: Now, query: &str) -> Admission {
        let Some(token) = item(query, "token") else { return Admission::Plain };
        let authorizer = item(query, AUTHORIZER_ITEM);
        let claims = self.inner.mint.check(&token, now.wall_us / 1_000_000);
        match claims {
            Some(claims) if authorizer.is_none_or(|name| name == AUTHORIZER) => {
                let client_id = item(query, "clientId");
                Admission::Under(Box::new(Connection::new(Arc::clone(&self.inner), now, claims, client_id)))
            }
            _ if self.inner.rules.bad_token == BadToken::Forbidden => {
                Admission::Refused(error(403, "the token is not valid"))
            }
            _ => Admission::Closed("the token is not valid, or no longer"),
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // What it guards is whole at any time.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A token for one sensor.
    fn token(&self, now: Now, request: &HttpRequest, api_key: &str) -> Result<HttpReply, Refused> {
        #[derive(Deserialize)]
        struct Asked {
            sn: String,
        }
        let Asked { sn } = serde_json::from_slice(&request.body)
            .map_err(|_| Refused(400, "expected {\"sn\": \"<serial number>\"}".into()))?;
        if sn.is_empty() || sn.len() > SN_BYTES_MAX || sn.contains(['/', '+', '#', '\0']) {
            return Err(Refused(400, "expected a serial number as `sn`".into()));
        }
        self.may(api_key, &sn)?;
        let id = {
            let mut state = self.state();
            state.tokens += 1;
            state.tokens
        };
        let life_s = i64::try_from(self.rules.token_life_s).unwrap_or(i64::MAX);
        let expires_s = (now.wall_us / 1_000_000).saturating_add(life_s);
        let data = self.data(&sn);
        let data: &RawValue = serde_json::from_slice(data).unwrap_or(RawValue::NULL);
        let expires = chrono::DateTime::from_timestamp(expires_s, 0).unwrap_or_default();
        let token = self.mint.issue(&Claims { sn, key: api_key.to_owned(), exp: expires_s, jti: id });
        let host = request.header("host").unwrap_or("localhost");
        // Put together by hand, so that the recorded bytes stay as they are.
        let body = format!(
            r#"{{"token":{},"expireTime":"{}","host":{},"data":{}}}"#,
            Value::from(token),
            expires.format("%Y-%m-%dT%H:%M:%SZ"),
            Value::from(host.strip_suffix(":443").unwrap_or(host)),
            data.get(),
        );
        Ok(HttpReply { status: 200, content_type: "application/json", body: body.into() })
    }

    /// What the token reply says about the sensor.
    fn data(&self, sn: &str) -> &[u8] {
        let known = self.recorded.device_configs.iter().find(|config| {
            config.vendor == "pontosense"
                && config.device_id == sn
                && serde_json::from_slice::<&RawValue>(&config.payload).is_ok()
        });
        known.map_or(DEFAULT_DATA.as_bytes(), |config| &config.payload)
    }

    /// What a client with a token of `api_key` for `sn` gets.
    fn rows(&self, api_key: &str, sn: &str) -> Selection {
        let everything = Selection {
            vendors: vec!["pontosense".into()],
            kinds: vec!["location".into(), "other".into()],
            ..Selection::default()
        };
        let sources = self.sources_with(api_key, sn);
        if sources.is_empty() {
            return everything;
        }
        Selection { sources, channels: vec![topic(sn)], ..everything }
    }

    /// The sources that `api_key` opens and that recorded `sn`.
    fn sources_with(&self, api_key: &str, sn: &str) -> Vec<String> {
        let recorded = self.recorded.sources.iter().filter(|source| source.vendor == "pontosense");
        let sensors = |settings: &Value| -> Vec<String> {
            let list = settings.get("sensors").and_then(Value::as_array);
            list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        recorded
            .filter(|source| self.recorded.any_credentials || self.opens(api_key, &source.name))
            .filter(|source| sensors(&source.settings).iter().any(|known| known == sn))
            .map(|source| source.name.clone())
            .collect()
    }

    fn opens(&self, api_key: &str, source: &str) -> bool {
        let mut credentials = self.recorded.credentials.iter();
        credentials
            .any(|c| c.vendor == "pontosense" && c.source == source && c.username.as_deref() == Some(api_key))
    }

    /// Whether `api_key` may have `sn`.
    fn may(&self, api_key: &str, sn: &str) -> Result<(), Refused> {
        if self.recorded.any_credentials || !self.sources_with(api_key, sn).is_empty() {
            return Ok(());
        }
        let is_anothers = self.recorded.credentials.iter().any(|credential| {
            let other = credential.username.as_deref().unwrap_or_default();
            credential.vendor == "pontosense" && !self.sources_with(other, sn).is_empty()
        });
        Err(if is_anothers {
            Refused(403, "the sensor is not this key's".into())
        } else {
            Refused(404, "unknown sensor".into())
        })
    }
}

impl State {
    fn start(&mut self, now: Now, sn: String, reporting_s: u64) {
        if self.starts.len() >= STARTS_MAX && !self.starts.contains_key(&sn) {
            self.starts
                .retain(|_, since_ns| now.steady_ns < since_ns.saturating_add(reporting_s * SECOND_NS));
            let oldest = self.starts.iter().min_by_key(|(_, since_ns)| **since_ns).map(|(sn, _)| sn.clone());
            if let Some(oldest) = oldest.filter(|_| self.starts.len() >= STARTS_MAX) {
                self.starts.remove(&oldest);
            }
        }
        self.starts.insert(sn, now.steady_ns);
    }
}

/// The vendor's document names two forms of the start path, without and with a tenant.
fn route(path: &str) -> Option<Route> {
    if path == TOKENS_PATH {
        return Some(Route::Tokens);
    }
    let rest = path.strip_prefix("/v1/")?;
    let rest = match rest.strip_prefix("tenants/") {
        None => rest,
        Some(rest) => {
            let (tenant, rest) = rest.split_once('/')?;
            tenant.parse::<i64>().ok().filter(|tenant| *tenant >= 1)?;
            rest
        }
    };
    let (sn, action) = rest.strip_prefix("sensors/")?.split_once("/actions/location/")?;
    let sn = percent_decode_str(sn).decode_utf8().ok()?.into_owned();
    if sn.is_empty() || sn.len() > SN_BYTES_MAX {
        return None;
    }
    match action {
        "start" => Some(Route::Start { sn }),
        "stop" => Some(Route::Stop { sn }),
        _ => None,
    }
}

/// An item of a raw query string, decoded.
fn item(query: &str, name: &str) -> Option<String> {
    let mut items = url::form_urlencoded::parse(query.as_bytes());
    items.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn no_content() -> HttpReply {
    HttpReply { status: 204, content_type: "", body: Bytes::new() }
}

fn error(status: u16, message: &str) -> HttpReply {
    let body = json!({"code": status, "message": message}).to_string();
    HttpReply { status, content_type: "application/json", body: body.into() }
}

#[cfg(test)]
mod tests;
