//! Where a replay is served: HTTP listeners with the WebSocket endpoints, and MQTT listeners, each
//! with or without TLS, all of them one audience.

mod cors;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::SeedableRng;
use rand::rngs::{StdRng, SysRng};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::targets::Targets;
use super::{Listen, PlayError, PublishTo, PushTarget};
use crate::clock::Clock;
use crate::config::TlsFiles;
use crate::secret::Secret;
use crate::transport::fanout::{Fanout, JoinError};
use crate::transport::http_server::{self, Life, ListenError};
use crate::transport::misbehave::{Conduct, Misbehaviour, Wire};
use crate::transport::mqtt_server::over_websocket::{SUBPROTOCOL, WebSocketBytes};
use crate::transport::mqtt_server::{Credentials, MqttServer};
use crate::transport::tls::Trust;
use crate::transport::trace::Trace;
use crate::transport::{tls, websocket_server};
use crate::vendors::service::{Admission, REQUEST_BYTES_MAX, Services};
use crate::vendors::{self, HttpReply, HttpRequest, Recorded};

/// Where MQTT over WebSocket is served.
const MQTT_PATH: &str = "/mqtt";

/// As the HTTP listener's.
const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections of one MQTT listener at a time; further ones wait in the system's backlog.
const CONNECTIONS_MAX: usize = 2_048;

/// After a failed accept (out of file descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long the body of a REST call may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a stop waits for listeners and connections that are beyond their goodbye.
const STOP_GRACE: Duration = Duration::from_secs(6);

/// What is served, where, and to whom.
#[derive(Clone, Debug, Default)]
pub struct BindOptions {
    pub listen: Vec<Listen>,
    /// For `https` and `mqtts`; none: a self-signed certificate.
    pub tls: Option<TlsFiles>,
    /// Where a self-signed certificate is made, or found again.
    pub self_signed_dir: PathBuf,
    /// The sources of the sessions, and the configured credentials. Its `any_credentials` is set here.
    pub recorded: Recorded,
    pub access: Access,
    /// What is pushed, whatever is listened on.
    pub pushes: Vec<PushTarget>,
    /// Brokers that everything is published to.
    pub publishes: Vec<PublishTo>,
    /// Whose certificates are believed when pushing and publishing.
    pub trust: Trust,
    pub trace: Option<PathBuf>,
    /// What the served sides do wrong, on purpose.
    pub misbehaviour: Option<Arc<Misbehaviour>>,
    pub clock: Clock,
}

/// Whose credentials are accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Any on loopback; refused elsewhere, before listening.
    #[default]
    LoopbackOnly,
    /// `--require-credentials`: the configured ones, on loopback too.
    Required,
    /// `--allow-any-credentials`.
    Any,
}

/// Listeners that are open, with nobody served yet beyond their handshakes.
#[derive(Debug)]
pub struct Endpoints {
    pub(super) fanout: Arc<Fanout>,
    bound: Vec<Listen>,
    certificate: Option<PathBuf>,
    trace: Option<(PathBuf, Arc<Trace>)>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Endpoints {
    /// Listens on all addresses, or on none.
    pub async fn bind(options: BindOptions) -> Result<Self, PlayError> {
        let BindOptions {
            listen,
            tls,
            self_signed_dir,
            mut recorded,
            access,
            trace,
            misbehaviour,
            clock,
            pushes,
            publishes,
            trust,
        } = options;
        let mut listeners = Vec::with_capacity(listen.len());
        for wanted in listen {
            let listener = match http_server::bind(&format!("{}:{}", wanted.host, wanted.port)).await {
                Err(ListenError::PortInUse { .. }) => {
                    let any = Listen { port: 0, ..wanted.clone() }.to_string();
                    return Err(PlayError::InUse { url: wanted.to_string(), any });
                }
                listener => listener?,
            };
            let port = listener.local_addr().map(|address| address.port()).unwrap_or(wanted.port);
            let exposed = !listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
            let bound = Listen { port, ..wanted };
            if exposed && access == Access::LoopbackOnly {
                return Err(PlayError::Exposed { url: bound.to_string() });
            }
            if access == Access::Required && recorded.credentials.is_empty() {
                return Err(PlayError::NoCredentials { url: bound.to_string() });
            }
            listeners.push((bound, listener));
        }
        let (tls, certificate) = tls_config(&listeners, tls.as_ref(), &self_signed_dir)?;
        let trace = match trace {
            None => None,
            Some(path) => match Trace::create(&path) {
                Ok(trace) => Some((path, Arc::new(trace))),
                Err(source) => return Err(PlayError::Trace { path, source }),
            },
        };
        recorded.any_credentials = access != Access::Required;
        let fanout = Fanout::new(clock, trace.as_ref().map(|(_, trace)| Arc::clone(trace)));
        let targets = Targets::open(&fanout, pushes, publishes, &trust, misbehaviour.as_ref()).await?;
        let mqtt = MqttServer::new(Arc::clone(&fanout), mqtt_credentials(&recorded));
        let recorded = Arc::new(recorded);
        let mut rng =
            StdRng::try_from_rng(&mut SysRng).map_err(|error| PlayError::Random(error.to_string()))?;
        let services = Arc::new(Services::new(Arc::clone(&recorded), &mut rng));
        let state = HttpState { fanout: Arc::clone(&fanout), mqtt: Arc::clone(&mqtt), recorded, services };
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let mut urls = Vec::with_capacity(listeners.len());
        for (bound, listener) in listeners {
            let tls = tls.clone().filter(|_| bound.scheme.is_tls());
            if bound.scheme.is_http() {
                let router = Router::new()
                    .fallback(answer)
                    .layer(axum::middleware::from_fn(cors::any_origin))
                    .with_state(state.clone());
                let conduct = misbehaviour.clone();
                tasks.spawn(http_server::serve_as(listener, tls, router, stop.clone(), conduct));
            } else {
                let speaking = Speaking { mqtt: Arc::clone(&mqtt), tls, misbehaviour: misbehaviour.clone() };
                tasks.spawn(serve_mqtt(listener, speaking, stop.clone(), tasks.clone()));
            }
            urls.push(bound);
        }
        targets.spawn(&stop, &tasks);
        tasks.close();
        Ok(Self { fanout, bound: urls, certificate, trace, stop, tasks })
    }

    /// The URLs that are listened on, in the order asked for, with the ports that were picked.
    pub fn urls(&self) -> Vec<String> {
        self.bound.iter().map(Listen::to_string).collect()
    }

    /// The first HTTP URL, for `TELEREEL_HTTP`.
    pub fn http_url(&self) -> Option<String> {
        self.bound.iter().find(|bound| bound.scheme.is_http()).map(Listen::to_string)
    }

    /// The first MQTT URL, for `TELEREEL_MQTT`.
    pub fn mqtt_url(&self) -> Option<String> {
        self.bound.iter().find(|bound| !bound.scheme.is_http()).map(Listen::to_string)
    }

    /// The self-signed certificate, where one is used, for clients to trust.
    pub fn certificate(&self) -> Option<&Path> {
        self.certificate.as_deref()
    }

    /// To look on while it plays: messages emitted so far, and clients that are ready.
    pub fn progress(&self) -> impl Fn() -> (u64, usize) + use<> {
        let fanout = Arc::clone(&self.fanout);
        move || fanout.progress()
    }

    /// Stops listening and writes the trace out.
    pub(super) async fn close(self) -> Result<(), PlayError> {
        self.stop.cancel();
        let _ = tokio::time::timeout(STOP_GRACE, self.tasks.wait()).await;
        match &self.trace {
            None => Ok(()),
            Some((path, trace)) => {
                trace.finish().map_err(|source| PlayError::Trace { path: path.clone(), source })
            }
        }
    }
}

impl Drop for Endpoints {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

type Tls = (Option<Arc<ServerConfig>>, Option<PathBuf>);

fn tls_config(
    listeners: &[(Listen, TcpListener)],
    files: Option<&TlsFiles>,
    dir: &Path,
) -> Result<Tls, PlayError> {
    if !listeners.iter().any(|(bound, _)| bound.scheme.is_tls()) {
        return Ok((None, None));
    }
    if let Some(files) = files {
        return Ok((Some(tls::server_config(&files.cert, &files.key)?), None));
    }
    let hosts: Vec<String> =
        listeners.iter().map(|(bound, _)| bound.host.trim_matches(['[', ']']).to_owned()).collect();
    let made = tls::self_signed(dir, &hosts)?;
    Ok((Some(made.config), Some(made.cert)))
}

fn mqtt_credentials(recorded: &Recorded) -> Credentials {
    if recorded.any_credentials {
        return Credentials::Any;
    }
    let pairs = recorded.credentials.iter().filter_map(|credential| {
        credential.username.clone().map(|username| (username, Secret::new(credential.secret.clone())))
    });
    Credentials::OneOf(pairs.collect())
}

/// What all HTTP listeners share.
#[derive(Clone)]
struct HttpState {
    fanout: Arc<Fanout>,
    mqtt: Arc<MqttServer>,
    recorded: Arc<Recorded>,
    services: Arc<Services>,
}

/// Any request: a call of a vendor's REST interface, an upgrade to one of the WebSocket endpoints, or an
/// answer that says what there is.
async fn answer(
    State(state): State<HttpState>,
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
    let member = match state.fanout.join(&path) {
        Ok(member) => member,
        Err(error @ (JoinError::Full | JoinError::Over)) => {
            return (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response();
        }
    };
    let query = uri.query().unwrap_or_default().to_owned();
    upgrade.on_upgrade(move |socket| async move {
        let _hold = life.hold();
        websocket_server::serve(socket, emulator, query, member, conduct).await;
    })
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
    reply(answer)
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
        state.mqtt.serve_under(WebSocketBytes::new(socket), MQTT_PATH, policy, conduct).await;
    })
}

/// Whether `Authorization` holds one of the configured credentials: `Bearer` a token or password, or
/// `Basic` a user name and its password.
fn is_allowed(headers: &HeaderMap, recorded: &Recorded) -> bool {
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

/// How an MQTT listener speaks with those who connect.
struct Speaking {
    mqtt: Arc<MqttServer>,
    tls: Option<Arc<ServerConfig>>,
    misbehaviour: Option<Arc<Misbehaviour>>,
}

async fn serve_mqtt(listener: TcpListener, speaking: Speaking, stop: CancellationToken, tasks: TaskTracker) {
    let acceptor = speaking.tls.map(TlsAcceptor::from);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, peer, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (server, acceptor, stop) = (Arc::clone(&speaking.mqtt), acceptor.clone(), stop.clone());
        let conduct = speaking.misbehaviour.as_ref().map(Misbehaviour::connection);
        tasks.spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                served = serve_one_mqtt(stream, acceptor, &server, conduct) => if let Err(error) = served {
                    tracing::debug!("{peer}: no connection came about: {error}");
                },
            }
            drop(place);
        });
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

async fn serve_one_mqtt(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    server: &MqttServer,
    conduct: Option<Arc<Conduct>>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match conduct {
        None => serve_mqtt_on(stream, acceptor, server, None).await,
        Some(conduct) => {
            let wire = Wire::new(stream, Arc::clone(&conduct));
            serve_mqtt_on(wire, acceptor, server, Some(conduct)).await
        }
    }
}

async fn serve_mqtt_on<S: AsyncRead + AsyncWrite + Unpin + Send>(
    stream: S,
    acceptor: Option<TlsAcceptor>,
    server: &MqttServer,
    conduct: Option<Arc<Conduct>>,
) -> io::Result<()> {
    match acceptor {
        None => server.serve_under(stream, "mqtt", None, conduct).await,
        Some(acceptor) => {
            let shaken = tokio::time::timeout(TLS_HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await;
            let stream = shaken.map_err(|_| io::ErrorKind::TimedOut)??;
            server.serve_under(stream, "mqtts", None, conduct).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
