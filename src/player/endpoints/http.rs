//! What an HTTP listener of a replay answers: vendors' REST calls and the WebSocket endpoints.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, to_bytes};
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::secret::Secret;
use crate::transport::fanout::{Fanout, JoinError};
use crate::transport::http_server::Life;
use crate::transport::misbehave::Conduct;
use crate::transport::mqtt_over_websocket::SUBPROTOCOL;
use crate::transport::mqtt_server::MqttServer;
use crate::transport::websocket_server;
use crate::vendors::service::{Admission, REQUEST_BYTES_MAX, Services};
use crate::vendors::{self, HttpReply, HttpRequest, Recorded};

/// Where MQTT over WebSocket is served.
const MQTT_PATH: &str = "/mqtt";

/// How long the body of a REST call may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What all HTTP listeners share.
#[derive(Clone)]
pub(super) struct HttpState {
    pub(super) fanout: Arc<Fanout>,
    pub(super) mqtt: Arc<MqttServer>,
    pub(super) recorded: Arc<Recorded>,
    pub(super) services: Arc<Services>,
}

/// Any request, and how it was answered in the trace.
pub(super) async fn answer(
    State(state): State<HttpState>,
    life: Extension<Life>,
    conduct: Option<Extension<Arc<Conduct>>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    request: Request,
) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let fanout = Arc::clone(&state.fanout);
    let response = respond(state, life, conduct, upgrade, request).await;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        // Without the query, which may hold a token.
        fanout.trace_http(method.as_str(), &path, response.status().as_u16());
    }
    response
}

/// Any request: a call of a vendor's REST interface, an upgrade to one of the WebSocket endpoints, or an
/// answer that says what there is.
async fn respond(
    state: HttpState,
    life: Extension<Life>,
    conduct: Option<Extension<Arc<Conduct>>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    request: Request,
) -> Response {
    let (Parts { method, uri, headers, .. }, body) = request.into_parts();
    let path = uri.path().to_owned();
    let conduct = conduct.map(|Extension(conduct)| conduct);
    if conduct.as_ref().is_some_and(|conduct| conduct.refuses()) {
        return (StatusCode::SERVICE_UNAVAILABLE, "refused, as was asked for\n").into_response();
    }
    if state.services.serves(&path) {
        return rest(&state, &method, &uri, &headers, body).await;
    }
    #[cfg(any(test, feature = "conformance"))]
    if path == websocket_server::echo::PATH {
        return upgrade.map(websocket_server::echo::serve).into_response();
    }
    let emulator = vendors::emulator(&path, Arc::clone(&state.recorded));
    if emulator.is_none() && path != MQTT_PATH {
        return (StatusCode::NOT_FOUND, format!("nothing is served at {path}\n")).into_response();
    }
    let Ok(upgrade) = upgrade.map(websocket_server::bounded) else {
        return websocket_server::upgrade_required(&path);
    };
    let Some(emulator) = emulator else {
        return mqtt(state, &uri, life, conduct, upgrade);
    };
    // The generic endpoint has no protocol of its own in which to ask for credentials.
    if path == vendors::generic::emulator::PATH && !is_allowed(&headers, &state.recorded) {
        let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"telereel\"")];
        return (StatusCode::UNAUTHORIZED, challenge, "credentials are required\n").into_response();
    }
    let query = uri.query().unwrap_or_default().to_owned();
    if vendors::reach(&path, &query).is_some_and(|rows| state.fanout.is_down(&rows)) {
        return down(&state.fanout);
    }
    let member = match state.fanout.join(&path) {
        Ok(member) => member,
        Err(error @ (JoinError::Full | JoinError::Over)) => {
            return (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response();
        }
    };
    upgrade.on_upgrade(move |socket| async move {
        let _hold = life.hold();
        websocket_server::serve(socket, emulator, query, member, conduct).await;
    })
}

/// Nobody is there, as nobody was there when this was recorded.
fn down(fanout: &Fanout) -> Response {
    fanout.refuse();
    (StatusCode::SERVICE_UNAVAILABLE, "down, as it was when this was recorded\n").into_response()
}

/// A call of a vendor's REST interface.
async fn rest(state: &HttpState, method: &Method, uri: &Uri, headers: &HeaderMap, body: Body) -> Response {
    let body = match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, REQUEST_BYTES_MAX)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let request = HttpRequest {
        method: method.as_str().to_owned(),
        path_and_query: uri.path_and_query().map(|path| path.as_str().to_owned()).unwrap_or_default(),
        headers: headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect(),
        body,
    };
    let answer = state.services.http(state.fanout.clock().now(), &request);
    // A connection may flow, or stop flowing, by what was asked for.
    state.mqtt.rules_changed();
    let mut response = reply(answer);
    if response.status() == StatusCode::METHOD_NOT_ALLOWED
        && let Some(method) = state.services.method(uri.path())
    {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(method));
    }
    response
}

fn reply(answer: HttpReply) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, answer.body).into_response();
    response.headers_mut().remove(header::CONTENT_TYPE);
    if !answer.content_type.is_empty() {
        let content_type = HeaderValue::from_static(answer.content_type);
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    }
    response
}

/// MQTT over WebSocket: a vendor's, by what the query says, or anybody's.
fn mqtt(
    state: HttpState,
    uri: &Uri,
    life: Extension<Life>,
    conduct: Option<Arc<Conduct>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let mut admission = state.services.mqtt(state.fanout.clock().now(), uri.query().unwrap_or_default());
    if matches!(admission, Admission::Under(_)) && conduct.as_ref().is_some_and(|c| c.refuses_token()) {
        admission = Admission::Closed("its token expired, as was asked for");
    }
    if let Admission::Refused(answer) = admission {
        return reply(answer);
    }
    if let Admission::Under(policy) = &admission
        && state.fanout.is_down(&policy.reach())
    {
        return down(&state.fanout);
    }
    upgrade.protocols([SUBPROTOCOL]).on_upgrade(move |socket| async move {
        let _hold = life.hold();
        let policy = match admission {
            Admission::Under(policy) => Some(policy),
            Admission::Closed(why) => {
                tracing::debug!("{MQTT_PATH}: closed without CONNACK: {why}");
                return websocket_server::close(socket).await;
            }
            Admission::Plain | Admission::Refused(_) => None,
        };
        state.mqtt.serve_websocket(socket, MQTT_PATH, policy, conduct).await;
    })
}

/// Whether `Authorization` holds one of the configured credentials: `Bearer` a token or password, or
/// `Basic` a user name and its password.
pub(super) fn is_allowed(headers: &HeaderMap, recorded: &Recorded) -> bool {
    if recorded.any_credentials {
        return true;
    }
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some((scheme, given)) = given.and_then(|value| value.split_once(' ')) else { return false };
    let (username, password) = match scheme.to_ascii_lowercase().as_str() {
        "bearer" => (None, given.trim().to_owned()),
        "basic" => {
            let decoded = STANDARD.decode(given.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            match decoded.as_deref().and_then(|pair| pair.split_once(':')) {
                Some((username, password)) => (Some(username.to_owned()), password.to_owned()),
                None => return false,
            }
        }
        _ => return false,
    };
    recorded.credentials.iter().any(|credential| {
        (username.is_none() || username == credential.username)
            && Secret::new(credential.secret.clone()).matches(&password)
    })
}
