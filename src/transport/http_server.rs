//! Listening for HTTP: one accept loop for webhooks, emulated vendors and the status page.
//!
//! hyper speaks HTTP/1.1, axum routes. What is ours is what surrounds them: the TLS handshake runs in
//! the connection's own task, so that a slow client holds up nobody; every wait has a limit; and a
//! stop waits for answers under way, WebSockets included.
//!
//! A handler that upgrades its connection leaves hyper's sight. It finds a [`Life`] among the
//! request's extensions, keeps a [`Life::hold`] for as long as it runs and ends when
//! [`Life::stopped`] says so. The peer's address is there too, as [`ConnectInfo`].

mod addressed;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::StatusCode;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::dial;
use super::misbehave::{Conduct, Misbehaviour, Wire};
pub use super::places::Places;
use super::places::{Heard, Place, Share, Stage};

/// A TLS handshake on a bad line takes two or three seconds; beyond this nobody is there.
const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a request's head may take, and how long a kept-alive connection may idle (hyper counts
/// both from the end of the answer before): vendors push every minute or so over one connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(90);

/// A request's head has to fit; hyper's own 400 KiB would add up over many connections. This is the least it takes.
const BUFFER_BYTES_MAX: usize = 8 << 10;

/// How long a stop waits for answers and WebSockets under way before it drops them.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// After a failed accept (out of file descriptors, mostly): trying at once would only burn the CPU.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why an address could not be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(
        "port {port} of {address} is in use by another program: choose another, or port 0 to have one picked"
    )]
    PortInUse { address: String, port: String },
    #[error(
        "port {port} of {address} is refused: ports below 1024 need the capability CAP_NET_BIND_SERVICE \
         (setcap cap_net_bind_service=+ep on the binary, or AmbientCapabilities= in a systemd unit)"
    )]
    PortRefused { address: String, port: String },
    #[error("{address} is not an address of this machine")]
    NotOurs { address: String },
    #[error("cannot listen on {address}: expected host:port, as in 127.0.0.1:7081")]
    Unreadable { address: String },
    #[error("cannot listen on {address}")]
    Other {
        address: String,
        #[source]
        source: io::Error,
    },
}

/// Listens on `host:port`; port 0 picks one.
pub async fn bind(address: &str) -> Result<TcpListener, ListenError> {
    let owned = || address.to_owned();
    let port = match address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => port.to_owned(),
        _ => return Err(ListenError::Unreadable { address: owned() }),
    };
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::PortInUse { address: owned(), port },
        io::ErrorKind::PermissionDenied => ListenError::PortRefused { address: owned(), port },
        io::ErrorKind::AddrNotAvailable => ListenError::NotOurs { address: owned() },
        _ => ListenError::Other { address: owned(), source },
    })
}

/// What a handler of an upgraded connection needs to end in time; in every request's extensions.
#[derive(Clone, Debug)]
pub struct Life {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Life {
    /// The server's stop waits (for a while) until every hold is dropped.
    pub fn hold(&self) -> TaskTrackerToken {
        self.tasks.token()
    }

    /// Resolves when the server is stopping: say goodbye and drop the hold.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }
}

/// A listener's certificate and key; none: no TLS. Can be exchanged: a connection has those of its beginning.
#[derive(Clone, Debug, Default)]
pub struct ServerTls(Arc<RwLock<Option<Arc<ServerConfig>>>>);

impl ServerTls {
    pub fn exchange(&self, config: Option<Arc<ServerConfig>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    fn acceptor(&self) -> Option<TlsAcceptor> {
        let config = self.0.read().unwrap_or_else(PoisonError::into_inner);
        config.clone().map(TlsAcceptor::from)
    }
}

impl From<Option<Arc<ServerConfig>>> for ServerTls {
    fn from(config: Option<Arc<ServerConfig>>) -> Self {
        Self(Arc::new(RwLock::new(config)))
    }
}

/// Serves `router` until `stop` is cancelled and what is under way has ended, or a grace of five
/// seconds is over.
pub async fn serve(
    listener: TcpListener,
    tls: impl Into<ServerTls>,
    router: Router,
    stop: CancellationToken,
) {
    serve_as(listener, tls, router, stop, None).await;
}

/// As [`serve`], for a recorder: within `places`, and whoever does not read its answer is given up.
pub async fn serve_within(
    listener: TcpListener,
    tls: ServerTls,
    router: Router,
    stop: CancellationToken,
    places: Places,
) {
    serve_until(listener, tls, router, stop, Manner { places, is_strict: true, ..Manner::default() }).await;
}

/// As [`serve_within`], for clients that do not try again: a connection that was accepted before the stop and has not
/// sent its request yet may still send it, within the grace.
pub async fn serve_patiently(
    listener: TcpListener,
    tls: ServerTls,
    router: Router,
    stop: CancellationToken,
    places: Places,
) {
    let manner = Manner { is_patient: true, is_strict: true, places, misbehaviour: None };
    serve_until(listener, tls, router, stop, manner).await;
}

/// How connections are treated.
#[derive(Default)]
struct Manner {
    places: Places,
    is_patient: bool,
    /// What is not read ends the connection: there are no slow subscribers.
    is_strict: bool,
    misbehaviour: Option<Arc<Misbehaviour>>,
}

/// As [`serve`]; with misbehaviour, each request finds its connection's [`Conduct`] among its extensions.
pub async fn serve_as(
    listener: TcpListener,
    tls: impl Into<ServerTls>,
    router: Router,
    stop: CancellationToken,
    misbehaviour: Option<Arc<Misbehaviour>>,
) {
    serve_until(listener, tls.into(), router, stop, Manner { misbehaviour, ..Manner::default() }).await;
}

async fn serve_until(
    listener: TcpListener,
    tls: ServerTls,
    router: Router,
    stop: CancellationToken,
    Manner { places, is_patient, is_strict, misbehaviour }: Manner,
) {
    let tasks = TaskTracker::new();
    let life = Life { stop: stop.clone(), tasks: tasks.clone() };
    let abort = CancellationToken::new();
    loop {
        let (stream, peer) = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let Some(share) = places.share(peer.ip()) else {
            tracing::debug!("{peer}: too many connections from this address");
            continue;
        };
        let Some(place) = seat(share, &stop).await.map(Arc::new) else { break };
        if let Err(error) = dial::notice_the_end(&stream)
            .and_then(|()| if is_strict { dial::expect_to_be_read(&stream) } else { Ok(()) })
        {
            tracing::debug!("{peer}: the line is not watched: {error}");
        }
        let conduct = misbehaviour.as_ref().map(Misbehaviour::connection);
        let (router, life) = (router.clone(), life.clone());
        let of = Arc::clone(&place);
        let connection = Connection { peer, router, life, conduct, is_patient, place: of };
        let acceptor = tls.acceptor();
        let abort = abort.clone();
        tasks.spawn(async move {
            tokio::select! {
                biased;
                () = abort.cancelled() => {}
                () = connection.run(stream, acceptor) => {}
                () = place.lost() => tracing::debug!("{peer}: its place was needed for another"),
            }
        });
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(STOP_GRACE, tasks.wait()).await.is_err() {
        tracing::debug!("{} connections were still open and are dropped", tasks.len());
        abort.cancel();
    }
}

/// A place for a connection that was accepted, or none if there is none before the stop. A free one it has even then:
/// a stop between accepting and here would drop a request that its sender may not send again.
async fn seat(share: Share, stop: &CancellationToken) -> Option<Place> {
    tokio::select! {
        biased;
        place = share.place() => Some(place),
        () = stop.cancelled() => None,
    }
}

struct Connection {
    peer: SocketAddr,
    router: Router,
    life: Life,
    conduct: Option<Arc<Conduct>>,
    is_patient: bool,
    place: Arc<Place>,
}

impl Connection {
    async fn run(self, stream: TcpStream, acceptor: Option<TlsAcceptor>) {
        // Answers are small and awaited: Nagle's algorithm would hold them back for 40 ms.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("{}: TCP_NODELAY was refused: {error}", self.peer);
        }
        match self.conduct.clone() {
            None => self.run_on(stream, acceptor).await,
            Some(conduct) => self.run_on(Wire::new(stream, conduct), acceptor).await,
        }
    }

    async fn run_on<S>(self, stream: S, acceptor: Option<TlsAcceptor>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(acceptor) = acceptor else {
            return self.speak(stream).await;
        };
        let stop = self.life.stop.clone();
        let given_up = async {
            stop.cancelled().await;
            if self.is_patient {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = given_up => {}
            shaken = tokio::time::timeout(TLS_HANDSHAKE_TIMEOUT, acceptor.accept(stream)) => match shaken {
                Ok(Ok(stream)) => self.speak(stream).await,
                Ok(Err(error)) => tracing::debug!("{}: the TLS handshake failed: {error}", self.peer),
                Err(_) => tracing::debug!("{}: the TLS handshake took too long", self.peer),
            },
        }
    }

    async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S) {
        let Self { peer, router, life, conduct, is_patient, place } = self;
        let stream = Heard::new(stream, Arc::clone(&place), false);
        let stop = life.stop.clone();
        let asked = CancellationToken::new();
        if !is_patient {
            asked.cancel();
        }
        let first = asked.clone();
        let router = TowerToHyperService::new(router);
        let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
            first.cancel();
            request.extensions_mut().insert(ConnectInfo(peer));
            request.extensions_mut().insert(life.clone());
            if let Some(conduct) = &conduct {
                request.extensions_mut().insert(Arc::clone(conduct));
            }
            place.set(Stage::Busy);
            let answering = addressed::settle(&mut request).map(|()| router.call(request));
            let place = Arc::clone(&place);
            async move {
                let answer = match answering {
                    Ok(answering) => answering.await,
                    Err(why) => Ok(addressed::refused(why)),
                };
                let is_upgraded =
                    answer.as_ref().is_ok_and(|a| a.status() == StatusCode::SWITCHING_PROTOCOLS);
                place.set(if is_upgraded { Stage::Settled } else { Stage::Answered });
                answer
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(BUFFER_BYTES_MAX)
            // A client that sends its request and closes has still sent it: the handler is not dropped.
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            // Before its first request hyper would close it unread.
            ((), ()) = async { (stop.cancelled().await, asked.cancelled().await) } => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!("{peer}: the connection ended: {error}");
        }
    }
}

#[cfg(test)]
mod tests;
