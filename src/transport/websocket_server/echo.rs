//! An echo, for suites that test a server's WebSocket (RFC 6455). Not in a release.

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use futures_util::StreamExt;

use super::close::{fail, fault};

/// Where it is served.
pub const PATH: &str = "/echo";

/// The longest message that such suites send is 16 MiB.
const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// Answers an upgrade on [`PATH`].
pub fn serve(upgrade: WebSocketUpgrade) -> Response {
    upgrade.max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX).on_upgrade(echo)
}

/// Sends back each message until the client closes.
async fn echo(mut socket: WebSocket) {
    while let Some(message) = socket.next().await {
        let sent = match message {
            // The library answers these itself.
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_)) => continue,
            Ok(message) => socket.send(message).await,
            Err(error) => {
                if let Some((code, reason)) = fault(&error) {
                    fail(&mut socket, code, &reason).await;
                }
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}
