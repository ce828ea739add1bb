//! How a connection is ended by RFC 6455: which code says what, and the goodbye itself.

use std::error::Error as _;
use std::time::Duration;

use axum::Error as SocketError;
use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::ProtocolError;

/// How long a goodbye may take: the client may have much to read before it comes to it.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Between a goodbye after which nothing can be read and the end of the connection: what arrives meanwhile is
/// not read, so that the end is a reset, which must not overtake the goodbye.
const LINGER: Duration = Duration::from_millis(100);

/// The code and the reason with which a connection on which `error` came up is failed (RFC 6455, section 7.4.1);
/// none where there is nobody to hear it.
pub(super) fn fault(error: &SocketError) -> Option<(u16, String)> {
    let error = error.source()?.downcast_ref::<Error>()?;
    let code = match error {
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => return None,
        Error::Protocol(_) => close_code::PROTOCOL,
        Error::Utf8(_) => close_code::INVALID,
        Error::Capacity(_) => close_code::SIZE,
        _ => return None,
    };
    Some((code, error.to_string()))
}

/// Says why the connection is failed. Nothing more is read from it (section 7.1.7).
pub(super) async fn fail<S>(sink: &mut S, code: u16, reason: &str)
where
    S: Sink<Message, Error = SocketError> + Unpin,
{
    // A client that does not take it is left.
    if let Ok(Ok(())) = timeout(CLOSE_TIMEOUT, sink.send(frame(code, reason))).await {
        sleep(LINGER).await;
    }
}

/// Says goodbye and waits for the client's answer.
pub(super) async fn bye<K, S>(
    sink: &mut K,
    stream: &mut S,
    code: u16,
    reason: &str,
) -> Result<(), SocketError>
where
    K: Sink<Message, Error = SocketError> + Unpin,
    S: Stream<Item = Result<Message, SocketError>> + Unpin,
{
    sink.send(frame(code, reason)).await?;
    // What the client says meanwhile is read, or its end would become a reset.
    while let Some(message) = stream.next().await {
        message?;
    }
    Ok(())
}

/// Closes a socket that was only just opened, without a word.
pub async fn close(mut socket: WebSocket) {
    let _ = timeout(CLOSE_TIMEOUT, async {
        if socket.send(Message::Close(None)).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
    })
    .await;
}

fn frame(code: u16, reason: &str) -> Message {
    // A control frame holds 125 bytes, two of them the code.
    let reason = &reason[..reason.floor_char_boundary(123)];
    Message::Close(Some(CloseFrame { code, reason: reason.into() }))
}
