//! An MQTT listener of a replay, with or without TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::transport::dial;
use crate::transport::misbehave::{Conduct, Misbehaviour, Wire};
use crate::transport::mqtt_server::MqttServer;
use crate::transport::places::{Heard, Place, Places};

/// As the HTTP listener's.
const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections of one MQTT listener at a time. Who has not been let in makes room for others; where all are clients,
/// further ones wait. Fewer in tests, so that one can make them all.
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
    let places = Places::at_most(CONNECTIONS_MAX);
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(share) = places.share(peer.ip()) else {
            tracing::debug!("{peer}: too many connections from this address");
            continue;
        };
        let place = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            place = share.place() => Arc::new(place),
        };
        if let Err(error) = dial::notice_the_end(&stream) {
            tracing::debug!("{peer}: the line is not watched: {error}");
        }
        let (server, acceptor, stop) = (Arc::clone(&speaking.mqtt), acceptor.clone(), stop.clone());
        let conduct = speaking.misbehaviour.as_ref().map(Misbehaviour::connection);
        tasks.spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = place.lost() => tracing::debug!("{peer}: its place was needed for another"),
                served = serve_one_mqtt(stream, acceptor, &server, conduct, &place) => if let Err(error) = served {
                    tracing::debug!("{peer}: no connection came about: {error}");
                },
            }
        });
    }
}

async fn serve_one_mqtt(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    server: &MqttServer,
    conduct: Option<Arc<Conduct>>,
    place: &Arc<Place>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match conduct {
        None => serve_mqtt_on(stream, acceptor, server, None, place).await,
        Some(conduct) => {
            let wire = Wire::new(stream, Arc::clone(&conduct));
            serve_mqtt_on(wire, acceptor, server, Some(conduct), place).await
        }
    }
}

async fn serve_mqtt_on<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    acceptor: Option<TlsAcceptor>,
    server: &MqttServer,
    conduct: Option<Arc<Conduct>>,
    place: &Arc<Place>,
) -> io::Result<()> {
    match acceptor {
        None => server.serve_under(Heard::new(stream, Arc::clone(place), true), "mqtt", None, conduct).await,
        Some(acceptor) => {
            let shaken = tokio::time::timeout(TLS_HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await;
            let stream = shaken.map_err(|_| io::ErrorKind::TimedOut)??;
            server.serve_under(Heard::new(stream, Arc::clone(place), true), "mqtts", None, conduct).await;
        }
    }
    Ok(())
}
