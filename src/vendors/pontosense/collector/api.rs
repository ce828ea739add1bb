//! The calls to the REST interface, and what their responses mean.

use bytes::Bytes;
use rand::{Rng, RngExt};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::time::Duration;
use url::Url;

use super::sensor::nanoseconds;
use crate::clock::Now;
use crate::secret::Secret;
use crate::vendors::pontosense::config::PontosenseConfig;
use crate::vendors::pontosense::signature::authorization;
use crate::vendors::pontosense::{AUTHORIZER, AUTHORIZER_ITEM, TOKENS_PATH, encode};
use crate::vendors::{HttpResponse, HttpSend};

/// For one call; a renewal does not wait for it, but calls again.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// The vendor: a token is good for half an hour.
const TOKEN_LIFE: Duration = Duration::from_secs(30 * 60);

/// Where the broker's WebSocket lies.
const MQTT_PATH: &str = "/mqtt";

/// The call that asks for a token.
pub(super) fn ask_token(config: &PontosenseConfig, now: Now, rng: &mut dyn Rng, sn: &str) -> HttpSend {
    let body = json!({"sn": sn}).to_string();
    let mut request = signed(config, now, rng, "POST", TOKENS_PATH, body.into());
    request.headers.push(("content-type", "application/json".to_owned()));
    request
}

/// The call that makes a sensor report, with the tenant where one is configured.
pub(super) fn start(config: &PontosenseConfig, now: Now, rng: &mut dyn Rng, sn: &str) -> HttpSend {
    let sensor = format!("sensors/{}/actions/location/start", encode(sn));
    let path = match config.tenant_id {
        Some(tenant) => format!("/v1/tenants/{tenant}/{sensor}"),
        None => format!("/v1/{sensor}"),
    };
    let mut request = signed(config, now, rng, "PUT", &path, Bytes::new());
    // Servers may insist on a length where a body is possible.
    request.headers.push(("content-length", "0".to_owned()));
    request
}

fn signed(
    config: &PontosenseConfig,
    now: Now,
    rng: &mut dyn Rng,
    method: &'static str,
    path: &str,
    body: Bytes,
) -> HttpSend {
    // A UUID, as the vendor advises, from the randomness that is handed in.
    let nonce = uuid::Builder::from_random_bytes(rng.random()).into_uuid().to_string();
    let unix_s = now.wall_us.div_euclid(1_000_000);
    HttpSend {
        method,
        url: format!("{}{path}", config.api_url),
        headers: vec![("authorization", authorization(&config.api_key, &config.secret, unix_s, &nonce))],
        body,
        timeout: CALL_TIMEOUT,
    }
}

/// A credential for one sensor's WebSocket.
#[derive(Clone)]
pub(super) struct Token {
    token: Secret,
    /// Scheme, host and port of the broker.
    base: Url,
    /// Steady time (ns).
    pub(super) expires_ns: u64,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("expires_ns", &self.expires_ns).finish_non_exhaustive()
    }
}

impl Token {
    pub(super) fn secret(&self) -> Secret {
        self.token.clone()
    }

    /// The WebSocket's address for a client that calls itself `client_id`.
    pub(super) fn url(&self, client_id: &str) -> String {
        let mut url = self.base.clone();
        if matches!(url.path(), "" | "/") {
            url.set_path(MQTT_PATH);
        }
        let (token, client_id) = (encode(self.token.expose()), encode(client_id));
        url.set_query(Some(&format!("token={token}&clientId={client_id}&{AUTHORIZER_ITEM}={AUTHORIZER}")));
        url.into()
    }
}

/// A token reply: the token, and the bytes of `data`.
pub(super) fn read_token(
    config: &PontosenseConfig,
    now: Now,
    body: &[u8],
) -> Result<(Token, Option<Bytes>), String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Reply<'a> {
        token: String,
        #[serde(default)]
        expire_time: Value,
        host: Option<String>,
        #[serde(borrow)]
        data: Option<&'a RawValue>,
    }
    // The error's own text may quote what it found: only its place is told.
    let reply: Reply<'_> = serde_json::from_slice(body).map_err(|error| {
        format!("unreadable token reply, at line {} column {}", error.line(), error.column())
    })?;
    let life_ns = life_ns(now, reply.expire_time.as_str());
    let base = base(config, reply.host.as_deref())?;
    let token =
        Token { token: Secret::new(reply.token), base, expires_ns: now.steady_ns.saturating_add(life_ns) };
    let data = reply.data.map(|data| Bytes::copy_from_slice(data.get().as_bytes()));
    Ok((token, data.filter(|data| &data[..] != b"null")))
}

/// How long a token that comes now is good. Where `expireTime` is no time, or is past (then somebody's clock
/// is wrong), it is what the vendor documents: the broker has the last word in any case.
fn life_ns(now: Now, expire_time: Option<&str>) -> u64 {
    let expires = expire_time.and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok());
    let life_us = expires.map(|expires| expires.timestamp_micros().saturating_sub(now.wall_us));
    let life_us = life_us.and_then(|us| u64::try_from(us).ok()).filter(|us| *us > 0);
    life_us.map_or_else(|| nanoseconds(TOKEN_LIFE), |us| us.saturating_mul(1_000))
}

/// The broker: as configured, or as the token reply says, which is a bare host, `host:port` or a URL.
fn base(config: &PontosenseConfig, host: Option<&str>) -> Result<Url, String> {
    let wrong = || "the token reply's host is not usable".to_owned();
    let text = match (&config.mqtt_url, host.map(str::trim)) {
        (Some(url), _) => url.clone(),
        (None, Some(host)) if host.contains("://") => host.to_owned(),
        (None, Some(host)) if !host.is_empty() => format!("wss://{host}"),
        (None, _) => return Err("the token reply has no host, and no mqtt_url is configured".to_owned()),
    };
    let url = Url::parse(&text).map_err(|_| wrong())?;
    let is_plain = match url.scheme() {
        "wss" => false,
        "ws" => true,
        _ => return Err(wrong()),
    };
    // A token that came encrypted does not leave in the clear, unless the user says so.
    if is_plain && config.mqtt_url.is_none() && config.api_url.starts_with("https:") {
        return Err("the token reply's host is not encrypted".to_owned());
    }
    let has_host = url.host_str().is_some_and(|host| !host.is_empty());
    if has_host && url.username().is_empty() && url.password().is_none() { Ok(url) } else { Err(wrong()) }
}

/// Why a call did not do what it was to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// None: there was no usable response.
    pub(super) status: Option<u16>,
    pub(super) detail: String,
    pub(super) retry_after_s: Option<u32>,
}

impl Failure {
    /// The sensor, or the key, was refused: asking again soon would not help.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self.status, Some(401 | 403 | 404))
    }

    /// For a link event, beside its reason.
    pub(super) fn cause(&self) -> Map<String, Value> {
        let mut more = Map::new();
        more.insert("cause".into(), json!(if self.status.is_some() { "http_status" } else { "no_response" }));
        if let Some(status) = self.status {
            more.insert("code".into(), json!(status));
        }
        more
    }
}

/// The body of a response that says yes.
pub(super) fn body(result: Result<HttpResponse, String>) -> Result<Bytes, Failure> {
    match result {
        Ok(response) if (200..300).contains(&response.status) => Ok(response.body),
        Ok(response) => Err(Failure {
            status: Some(response.status),
            detail: format!("HTTP status {}", response.status),
            retry_after_s: response.retry_after_s,
        }),
        Err(detail) => Err(Failure { status: None, detail, retry_after_s: None }),
    }
}
