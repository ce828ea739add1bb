//! One WebSocket connection to a vendor, from the dial to its last frame.
//!
//! Pings are answered by the library, within the reading. Reading stops while the source has no room,
//! so that the wire's own flow control reaches the vendor.

use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncReadExt;
use tokio_rustls::rustls::ClientConfig;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode};
use tokio_tungstenite::tungstenite::{Error, Message};
use url::Url;

use super::dial::{DialError, Stream, Target, chain, dial};
use super::intake::{Gone, Intake};
use super::quota::Meter;
use super::{Command, ConnHandle, ConnTask};
use crate::clock::Clock;
use crate::vendors::{CloseCause, Closed, Conn, Frame, Input, WebSocketDial};

/// The library's default, 128 KiB for each connection, is for few of them.
const READ_BUFFER_BYTES: usize = 32 << 10;

/// Of a server's ping or pong, beside what is in it.
const CONTROL_HEAD_BYTES: usize = 2;

/// The upgrade's answer; a server that needs longer is better dialled again.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// A frame of ours is small: one that cannot be written for so long means a dead line.
const SEND_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a peer may take to answer our close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The end of a connection on which such a message comes: its rest is not read.
const TOO_LONG: &str = "a message that is longer than one may be, see [limits] memory";

/// Opens a WebSocket in a task of its own. Its inputs go to `intake`, the last of them being
/// [`Input::Closed`].
pub fn spawn(
    dial: WebSocketDial,
    tls: Arc<ClientConfig>,
    conn: Conn,
    clock: Clock,
    intake: &Intake,
) -> ConnHandle {
    ConnHandle::spawn(conn, intake, |task| run(task, dial, tls, clock))
}

async fn run(mut task: ConnTask, dial: WebSocketDial, tls: Arc<ClientConfig>, clock: Clock) {
    let close = task.close.clone();
    let meter = task.intake.quota().meter();
    let opened = tokio::select! {
        () = close.cancelled() => return task.closed(CloseCause::ByUs, "closed before it was open").await,
        opened = open(&dial, &tls, &task.intake, &meter) => opened,
    };
    let stream = match opened {
        Ok(stream) => stream,
        Err(why) => return task.closed(why.cause, why.detail).await,
    };
    if task.intake.deliver(Input::Opened { conn: task.conn, session_present: false }).await.is_err() {
        return;
    }
    let (mut sink, mut frames) = stream.split();
    let reader = Reader { conn: task.conn, clock, intake: task.intake.clone(), meter: meter.clone() };
    let why = {
        let reading = reader.read(&mut frames);
        tokio::pin!(reading);
        tokio::select! {
            ended = reading.as_mut() => ended,
            failed = write(&mut sink, &mut task) => Ok(failed),
            () = close.cancelled() => {
                write_what_is_queued(&mut sink, &mut task).await;
                say_goodbye(&mut sink, CloseCode::Normal).await;
                // What is under way still counts: it is read until the peer has closed too.
                match tokio::time::timeout(CLOSE_TIMEOUT, reading).await {
                    Ok(Err(Gone)) => Err(Gone),
                    _ => Ok(Closed { cause: CloseCause::ByUs, detail: "closed by us".to_owned() }),
                }
            }
        }
    };
    if let Ok(why) = why {
        if why.detail == TOO_LONG {
            say_goodbye(&mut sink, CloseCode::Size).await;
            if let Ok(socket) = sink.reunite(frames) {
                // An end with bytes unread would take the goodbye with it.
                let _ = tokio::time::timeout(CLOSE_TIMEOUT, read_off(socket, &meter)).await;
            }
        }
        task.closed(why.cause, why.detail).await;
    }
}

type WebSocket = WebSocketStream<Stream>;

async fn open(
    dial_to: &WebSocketDial,
    tls: &Arc<ClientConfig>,
    intake: &Intake,
    meter: &Meter,
) -> Result<WebSocket, Closed> {
    let unreachable = |detail: String| Closed { cause: CloseCause::Unreachable, detail };
    let (target, request) = request(dial_to).map_err(|e| unreachable(chain(&e)))?;
    let stream = dial(&target, tls).await.map_err(|e| unreachable(chain(&e)))?;
    let stream = stream.metered(meter.clone());
    let message_bytes_max = Some(intake.quota().message_bytes_max());
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(message_bytes_max)
        .max_frame_size(message_bytes_max);
    let shaken = tokio_tungstenite::client_async_with_config(request, stream, Some(config));
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, shaken).await {
        Ok(Ok((socket, _answer))) => Ok(socket),
        Ok(Err(Error::Http(answer))) => {
            let status = answer.status();
            let detail = format!("{target} answered the upgrade with {status}");
            Err(Closed { cause: CloseCause::HttpStatus(status.as_u16()), detail })
        }
        Ok(Err(error)) => {
            Err(unreachable(format!("the WebSocket handshake with {target} failed: {}", chain(&error))))
        }
        Err(_) => Err(unreachable(format!("{target} did not answer the upgrade in time"))),
    }
}

fn request(dial: &WebSocketDial) -> Result<(Target, Request), DialError> {
    // The library's own words about a bad URL would show the URL.
    let bad = |reason: &str| DialError::BadUrl { reason: reason.to_owned() };
    let url = Url::parse(&dial.url).map_err(|e| DialError::BadUrl { reason: e.to_string() })?;
    let target = Target::of(&url, &[("ws", 80)], &[("wss", 443)])?;
    let mut request = url.as_str().into_client_request().map_err(|_| bad("a WebSocket URL is expected"))?;
    for (name, value) in &dial.headers {
        let name = HeaderName::try_from(name.as_str()).map_err(|_| bad("a header's name is not allowed"))?;
        let mut value =
            HeaderValue::try_from(value.as_str()).map_err(|_| bad("a header's value is not allowed"))?;
        value.set_sensitive(true);
        request.headers_mut().insert(name, value);
    }
    Ok((target, request))
}

struct Reader {
    conn: Conn,
    clock: Clock,
    intake: Intake,
    meter: Meter,
}

impl Reader {
    /// Hands on every message until the connection ends.
    async fn read(&self, frames: &mut SplitStream<WebSocket>) -> Result<Closed, Gone> {
        let mut goodbye: Option<Option<CloseFrame>> = None;
        loop {
            let next = match goodbye {
                None => frames.next().await,
                // The server is to close the line; one that does not is not waited for.
                Some(_) => tokio::time::timeout(CLOSE_TIMEOUT, frames.next()).await.unwrap_or(None),
            };
            let at = self.clock.now();
            let frame = match next {
                Some(Ok(Message::Text(text))) => match ByteString::try_from(bytes::Bytes::from(text)) {
                    Ok(text) => Frame::Text(text),
                    // The library has checked it already.
                    Err(_) => return Ok(broken("a text message that is not UTF-8")),
                },
                Some(Ok(Message::Binary(bytes))) => Frame::Binary(bytes),
                Some(Ok(Message::Close(frame))) => {
                    // Read on: that is what sends the answer, and only then is the line free.
                    goodbye = Some(frame);
                    continue;
                }
                Some(Ok(Message::Ping(bytes) | Message::Pong(bytes))) => {
                    self.meter.beside(CONTROL_HEAD_BYTES + bytes.len());
                    continue;
                }
                Some(Ok(Message::Frame(_))) => continue,
                Some(Err(Error::Capacity(CapacityError::MessageTooLong { size, .. })))
                    if goodbye.is_none() =>
                {
                    let input =
                        Input::Frame { conn: self.conn, at, frame: Frame::Binary(bytes::Bytes::new()) };
                    self.intake.deliver_too_long(input, size as u64).await?;
                    return Ok(broken(TOO_LONG));
                }
                Some(Err(error)) if goodbye.is_none() => return Ok(ended(&error)),
                Some(Err(_)) | None => return Ok(by_peer(goodbye.flatten())),
            };
            let input = Input::Frame { conn: self.conn, at, frame };
            // What is read with it of the next ones is less than a connection has room for.
            self.intake.deliver_charged(input, self.meter.finished()).await?;
        }
    }
}

/// Carries out commands; returns only when a frame cannot be sent.
async fn write(sink: &mut SplitSink<WebSocket, Message>, task: &mut ConnTask) -> Closed {
    while let Some(command) = task.commands.recv().await {
        if let Err(why) = send(sink, command).await {
            return why;
        }
    }
    // The handle is gone, and with it this task in a moment.
    std::future::pending().await
}

async fn send(sink: &mut SplitSink<WebSocket, Message>, command: Command) -> Result<(), Closed> {
    let message = match command {
        Command::Send(Frame::Text(text)) => match text.into_bytes().try_into() {
            Ok(text) => Message::Text(text),
            Err(_) => return Err(broken("a text frame that is not UTF-8")),
        },
        Command::Send(Frame::Binary(bytes)) => Message::Binary(bytes),
        // A WebSocket has neither topics nor acknowledgements.
        Command::Send(Frame::Publish { .. }) | Command::Ack(_) => return Ok(()),
    };
    match tokio::time::timeout(SEND_TIMEOUT, sink.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(ended(&error)),
        Err(_) => Err(broken("nothing could be sent for a while")),
    }
}

async fn write_what_is_queued(sink: &mut SplitSink<WebSocket, Message>, task: &mut ConnTask) {
    while let Ok(command) = task.commands.try_recv() {
        if send(sink, command).await.is_err() {
            return;
        }
    }
}

async fn say_goodbye(sink: &mut SplitSink<WebSocket, Message>, code: CloseCode) {
    let frame = CloseFrame { code, reason: "".into() };
    // A peer that is gone cannot be told; the reading finds out.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, sink.send(Message::Close(Some(frame)))).await;
}

/// Reads what still comes, and keeps none of it.
async fn read_off(mut socket: WebSocket, meter: &Meter) {
    let mut piece = vec![0; READ_BUFFER_BYTES];
    while matches!(socket.get_mut().read(&mut piece).await, Ok(1..)) {
        drop(meter.finished());
    }
}

fn broken(detail: &str) -> Closed {
    Closed { cause: CloseCause::Broken, detail: detail.to_owned() }
}

fn by_peer(frame: Option<CloseFrame>) -> Closed {
    let detail = match &frame {
        Some(frame) if frame.reason.is_empty() => format!("closed by the peer with code {}", frame.code),
        Some(frame) => format!("closed by the peer with code {}: {}", frame.code, frame.reason),
        None => "closed by the peer".to_owned(),
    };
    Closed { cause: CloseCause::ByPeer(frame.map(|f| f.code.into())), detail }
}

fn ended(error: &Error) -> Closed {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => by_peer(None),
        // Some servers just drop the line; TLS calls that an error of its own.
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => by_peer(None),
        Error::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => by_peer(None),
        error => Closed { cause: CloseCause::Broken, detail: chain(error) },
    }
}

#[cfg(test)]
mod tests;
