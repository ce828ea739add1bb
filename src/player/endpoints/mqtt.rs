//! An MQTT listener of a replay, with or without TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::transport::misbehave::{Conduct, Misbehaviour, Wire};
use crate::transport::mqtt_server::MqttServer;

/// As the HTTP listener's.
const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections of one MQTT listener at a time; further ones wait in the system's backlog. Fewer in tests, so that one
/// can make them all.
pub(super) const CONNECTIONS_MAX: usize = if cfg!(test) { 64 } else { 2_048 };

/// After a failed accept (out of file descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How an MQTT listener speaks with those who connect.
pub(super) struct Speaking {
    pub(super) mqtt: Arc<MqttServer>,
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) misbehaviour: Option<Arc<Misbehaviour>>,
}

pub(super) async fn serve_mqtt(
    listener: TcpListener,
    speaking: Speaking,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
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

async fn serve_mqtt_on<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
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
