//! The way to a broker: TCP, TLS on it, WebSocket on that, and in the end a stream of bytes.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, join, split};
use tokio_rustls::rustls::ClientConfig;
use tokio_tungstenite::tungstenite::Error as WebSocketError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::header::{HOST, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_util::either::Either;
use url::Url;

use super::pieces::Pieces;
use crate::transport::dial::{DialError, Stream, Target, dial};
use crate::transport::mqtt_over_websocket::{SUBPROTOCOL, WebSocketBytes};

/// Of what is read and written at a time; the library's own are 128 KiB each.
const BUFFER_BYTES: usize = 16 << 10;

/// Why there is no such stream.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotOpened {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the upgrade was answered with {0}")]
    Http(u16),
    #[error("the WebSocket handshake failed")]
    WebSocket(#[source] WebSocketError),
}

/// Where a broker is.
#[derive(Clone)]
pub(super) struct Line {
    target: Target,
    tls: Arc<ClientConfig>,
    /// Over WebSocket: this URL.
    upgrade: Option<Url>,
}

impl Line {
    /// An error's text shows no credential.
    pub(super) fn of(url: &str, tls: Arc<ClientConfig>) -> Result<Self, String> {
        let url = Url::parse(url).map_err(|e| format!("not a usable address: {e}"))?;
        let (plain, secure) = ([("mqtt", 1883), ("tcp", 1883), ("ws", 80)], [("mqtts", 8883), ("wss", 443)]);
        let target = Target::of(&url, &plain, &secure).map_err(|e| e.to_string())?;
        let upgrade = matches!(url.scheme(), "ws" | "wss").then_some(url);
        Ok(Self { target, tls, upgrade })
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// MQTT's bytes, whatever they come over.
    pub(super) async fn connect(&self) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<>> {
        let opened = async {
            let stream = dial(&self.target, &self.tls).await?;
            match &self.upgrade {
                None => Ok(Either::Left(stream)),
                Some(url) => Ok(Either::Right(Box::new(upgrade(url, stream).await?))),
            }
        };
        opened.await.map_err(|error: NotOpened| io::Error::other(error))
    }
}

async fn upgrade(
    url: &Url,
    stream: Stream,
) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<>, NotOpened> {
    // The library's own words about a bad URL would show it.
    let unusable = |_| DialError::BadUrl { reason: "a WebSocket URL is expected".to_owned() };
    let mut request = url.as_str().into_client_request().map_err(unusable)?;
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    // The host as the user wrote it: no credentials, and a port only where there is one.
    let host = match url.port() {
        Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
        None => url.host_str().unwrap_or_default().to_owned(),
    };
    if let Ok(host) = HeaderValue::try_from(host) {
        request.headers_mut().insert(HOST, host);
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_frame_size(Some(BUFFER_BYTES))
        .max_message_size(Some(BUFFER_BYTES));
    let (read, write) = split(stream);
    let stream = join(Pieces::of(read), write);
    let shaken = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await;
    match shaken {
        Ok((socket, _answer)) => Ok(WebSocketBytes::new(socket)),
        Err(WebSocketError::Http(answer)) => Err(NotOpened::Http(answer.status().as_u16())),
        Err(error) => Err(NotOpened::WebSocket(error)),
    }
}
