//! Where a replay is served: HTTP listeners with the WebSocket endpoints, and MQTT listeners, each
//! with or without TLS, all of them one audience.

mod cors;
mod http;
mod mqtt;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use rand::SeedableRng;
use rand::rngs::{StdRng, SysRng};
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::http::{HttpState, answer};
use self::mqtt::{Speaking, serve_mqtt};
use super::targets::Targets;
use super::{Control, Listen, PlayError, PublishTo, PushTarget};
use crate::clock::Clock;
use crate::config::TlsFiles;
use crate::message::{Selection, SourceHeader};
use crate::secret::Secret;
use crate::transport::fanout::{Fanout, Strands};
use crate::transport::http_server::{self, ListenError};
use crate::transport::misbehave::Misbehaviour;
use crate::transport::mqtt_server::{Credentials, MqttServer};
use crate::transport::tls;
use crate::transport::tls::Trust;
use crate::transport::trace::Trace;
use crate::vendors::Recorded;
use crate::vendors::service::{self, MqttVendor, Services};

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
    /// What every HTTP listener serves of the controls; none: nothing.
    pub api: Option<Api>,
    pub clock: Clock,
}

/// Makes the routes by which a replay is controlled. For each listener: whether it can be reached from other
/// machines is told.
#[derive(Clone)]
pub struct Api(Arc<dyn Fn(Arc<Control>, bool) -> Router + Send + Sync>);

impl Api {
    pub fn new(routes: impl Fn(Arc<Control>, bool) -> Router + Send + Sync + 'static) -> Self {
        Self(Arc::new(routes))
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Api")
    }
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
    pub(super) control: Arc<Control>,
    bound: Vec<Listen>,
    certificate: Option<PathBuf>,
    /// To be told of what is replayed.
    pub(super) vendor: Option<Arc<dyn MqttVendor>>,
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
            api,
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
            listeners.push((bound, listener, exposed));
        }
        let hosts: Vec<&Listen> = listeners.iter().map(|(bound, ..)| bound).collect();
        let (tls, certificate) = tls_config(&hosts, tls.as_ref(), &self_signed_dir)?;
        let trace = match trace {
            None => None,
            Some(path) => match Trace::create(&path) {
                Ok(trace) => Some((path, Arc::new(trace))),
                Err(source) => return Err(PlayError::Trace { path, source }),
            },
        };
        recorded.any_credentials = access != Access::Required;
        let fanout = Fanout::new(clock, trace.as_ref().map(|(_, trace)| Arc::clone(trace)));
        let control = Control::new(Arc::clone(&fanout));
        let targets = Targets::open(&fanout, pushes, publishes, &trust, misbehaviour.as_ref()).await?;
        let vendor = service::mqtt_vendor(&recorded);
        let mqtt = MqttServer::of_vendor(Arc::clone(&fanout), mqtt_credentials(&recorded), vendor.clone());
        let recorded = Arc::new(recorded);
        let mut rng =
            StdRng::try_from_rng(&mut SysRng).map_err(|error| PlayError::Random(error.to_string()))?;
        let services = Arc::new(Services::new(Arc::clone(&recorded), &mut rng));
        let state = HttpState { fanout: Arc::clone(&fanout), mqtt: Arc::clone(&mqtt), recorded, services };
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let mut urls = Vec::with_capacity(listeners.len());
        for (bound, listener, exposed) in listeners {
            let tls = tls.clone().filter(|_| bound.scheme.is_tls());
            if bound.scheme.is_http() {
                let router = Router::new()
                    .fallback(answer)
                    .layer(axum::middleware::from_fn(cors::any_origin))
                    .with_state(state.clone());
                // Beside the layer that lets any page ask: the controls are for their own pages.
                let router = match &api {
                    None => router,
                    Some(Api(routes)) => router.merge(routes(Arc::clone(&control), exposed)),
                };
                let conduct = misbehaviour.clone();
                tasks.spawn(http_server::serve_as(listener, tls, router, stop.clone(), conduct));
            } else {
                let speaking = Speaking { mqtt: Arc::clone(&mqtt), tls, misbehaviour: misbehaviour.clone() };
                tasks.spawn(serve_mqtt(listener, speaking, stop.clone(), tasks.clone()));
            }
            urls.push(bound);
        }
        targets.spawn(&stop, &tasks);
        if vendor.is_some() {
            let stop = stop.clone();
            tasks.spawn(async move { stop.run_until_cancelled(mqtt.answer()).await });
        }
        tasks.close();
        Ok(Self { fanout, control, bound: urls, certificate, vendor, trace, stop, tasks })
    }

    /// The URLs that are listened on, in the order asked for, with the ports that were picked.
    pub fn urls(&self) -> Vec<String> {
        self.bound.iter().map(Listen::to_string).collect()
    }

    /// The first HTTP URL, for `TELEREEL_HTTP`.
    pub fn http_url(&self) -> Option<String> {
        self.bound.iter().find(|bound| bound.scheme.is_http()).map(Listen::to_string)
    }

    /// The first MQTT URL.
    pub fn mqtt_url(&self) -> Option<String> {
        self.bound.iter().find(|bound| !bound.scheme.is_http()).map(Listen::to_string)
    }

    /// Where MQTT is spoken by any means, for `TELEREEL_MQTT`: without an MQTT listener, over WebSocket.
    pub fn any_mqtt_url(&self) -> Option<String> {
        self.mqtt_url().or_else(|| Some(format!("{}/mqtt", self.http_url()?.replacen("http", "ws", 1))))
    }

    /// The self-signed certificate, where one is used, for clients to trust.
    pub fn certificate(&self) -> Option<&Path> {
        self.certificate.as_deref()
    }

    /// The controls of the replay; they take orders before it plays, too.
    pub fn control(&self) -> Arc<Control> {
        Arc::clone(&self.control)
    }

    /// Clients that come late are told the last message of each thing.
    pub fn keep_state(&self) {
        self.fanout.keep_state();
    }

    /// Outages of `sources`, as far as they are selected, are outages for clients as well. The names of those
    /// that cannot have any, since they share the MQTT listeners.
    pub fn reproduce_outages(&self, sources: &[SourceHeader], selection: &Selection) -> Vec<String> {
        let strands = Strands::new(sources, selection);
        let sharing = strands.sharing().to_vec();
        self.fanout.reproduce_outages(strands);
        sharing
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

fn tls_config(listeners: &[&Listen], files: Option<&TlsFiles>, dir: &Path) -> Result<Tls, PlayError> {
    if !listeners.iter().any(|bound| bound.scheme.is_tls()) {
        return Ok((None, None));
    }
    if let Some(files) = files {
        return Ok((Some(tls::server_config(&files.cert, &files.key)?), None));
    }
    let hosts: Vec<String> =
        listeners.iter().map(|bound| bound.host.trim_matches(['[', ']']).to_owned()).collect();
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

#[cfg(test)]
mod tests;
