//! One MQTT 3.1.1 connection to a vendor's broker, from CONNECT to its end.
//!
//! The protocol is `rumqttc`'s; TCP and TLS are ours ([`super::dial`]). One client lives as long as
//! one connection: its own reconnect would use a stale token again, and packet identifiers are the
//! broker's to reuse, so that an acknowledgement must never reach another connection.
//!
//! An acknowledgement is sent when the recorder says so, in its order: PUBACK for QoS 1, PUBREC for
//! QoS 2. Should a broker deliver the same packet identifier again before that, only the latest
//! delivery is acknowledged, once.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytestring::ByteString;
use rumqttc::mqttbytes::Error as MqttError;
use rumqttc::{
    AckMode, AsyncClient, Broker, ConnectReturnCode, ConnectionError, Event, EventLoop, ManualAck,
    MqttOptions, NetworkOptions, Packet, PubAck, PubRec, Publish, QoS, StateError, SubAck, SubscribeFilter,
    SubscribeReasonCode, Transport,
};
use tokio::sync::Notify;
use tokio_rustls::rustls::ClientConfig;
use tokio_tungstenite::tungstenite::Error as WebSocketError;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::http::header::{HOST, HeaderValue};
use url::Url;

use super::dial::{DialError, Target, chain, dial};
use super::intake::{Gone, Intake};
use super::quota::Meter;
use super::{Command, ConnHandle, ConnTask};
use crate::clock::Clock;
use crate::vendors::{AckId, CloseCause, Closed, Conn, Frame, Input, MqttDial};

/// A SUBSCRIBE with a few hundred filters has room here; the library's own bound is 10 KiB.
const OUTGOING_BYTES_MAX: usize = 1 << 20;

/// DNS, TCP, TLS, the WebSocket upgrade, CONNECT and CONNACK together.
const CONNECT_TIMEOUT_S: u64 = 25;

/// Acknowledgements that the client has not sent yet; more of them wait in the command queue.
const REQUESTS_MAX: usize = 1_024;

/// How long a DISCONNECT may take, with what comes before it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// MQTT's end is not answered, so that what is under way can only be waited for: until nothing has
/// come for so long, or as long as this at the most on a stream that never pauses.
const QUIET: Duration = Duration::from_millis(50);
const QUIET_TIMEOUT: Duration = Duration::from_secs(1);

/// Opens an MQTT connection in a task of its own and subscribes, also where the broker still has the
/// session (that is harmless, and a filter may be new). Its inputs go to `intake`, the last of them
/// being [`Input::Closed`].
pub fn spawn(
    dial: MqttDial,
    tls: Arc<ClientConfig>,
    conn: Conn,
    clock: Clock,
    intake: &Intake,
) -> ConnHandle {
    ConnHandle::spawn(conn, intake, |task| run(task, dial, tls, clock))
}

async fn run(mut task: ConnTask, dial: MqttDial, tls: Arc<ClientConfig>, clock: Clock) {
    let close = task.close.clone();
    let meter = task.intake.quota().meter();
    let message_bytes_max = task.intake.quota().message_bytes_max();
    let options = match options(&dial, tls, message_bytes_max, &meter) {
        Ok(options) => options,
        Err(detail) => return task.closed(CloseCause::Unreachable, detail).await,
    };
    let (client, mut events) = match AsyncClient::builder(options).capacity(REQUESTS_MAX).try_build() {
        Ok(built) => built,
        Err(error) => return task.closed(CloseCause::Unreachable, chain(&error)).await,
    };
    let mut network = NetworkOptions::new();
    network.set_connection_timeout(CONNECT_TIMEOUT_S);
    events.set_network_options(network);

    let connack = tokio::select! {
        () = close.cancelled() => return task.closed(CloseCause::ByUs, "closed before it was open").await,
        polled = events.poll() => polled,
    };
    let session_present = match connack {
        Ok(Event::Incoming(Packet::ConnAck(connack))) => connack.session_present,
        Ok(_) => return task.closed(CloseCause::Unreachable, "no CONNACK").await,
        Err(error) => {
            let why = not_opened(&error);
            return task.closed(why.cause, why.detail).await;
        }
    };
    if task.intake.deliver(Input::Opened { conn: task.conn, session_present }).await.is_err() {
        return;
    }
    if let Err(why) = subscribe(&client, &dial) {
        return task.closed(why.cause, why.detail).await;
    }
    let owed = Owed::default();
    let filters = dial.subscriptions.iter().map(|(filter, _)| filter.clone()).collect();
    let heard = Notify::new();
    let intake = task.intake.clone();
    let reader = Reader { conn: task.conn, clock, intake, meter, owed: &owed, heard: &heard, filters };
    let why = {
        let reading = reader.read(&mut events);
        tokio::pin!(reading);
        tokio::select! {
            ended = reading.as_mut() => ended,
            // Polled beside the reading, never within it: a full request queue needs the event loop to
            // be drained, and the event loop is not to wait for that.
            () = acknowledge(&client, &mut task, &owed) => Ok(broken("the client takes no more requests")),
            () = close.cancelled() => {
                let goodbye = async {
                    // The library sends a DISCONNECT before it reads what lies in the socket, and
                    // what is read meanwhile is to be acknowledged, or it will be delivered again.
                    tokio::select! {
                        _ = tokio::time::timeout(QUIET_TIMEOUT, quiet(&heard)) => {}
                        () = acknowledge(&client, &mut task, &owed) => {}
                    }
                    send_what_is_queued(&client, &mut task, &owed).await;
                    let _ = client.disconnect_with_timeout(CLOSE_TIMEOUT).await;
                    std::future::pending::<()>().await;
                };
                // What is under way still counts: it is read until DISCONNECT has been sent.
                let ended = tokio::select! {
                    ended = tokio::time::timeout(CLOSE_TIMEOUT, reading) => ended,
                    () = goodbye => Ok(Err(Gone)),
                };
                match ended {
                    Ok(Err(Gone)) => Err(Gone),
                    _ => Ok(Closed { cause: CloseCause::ByUs, detail: "closed by us".to_owned() }),
                }
            }
        }
    };
    if let Ok(why) = why {
        task.closed(why.cause, why.detail).await;
    }
}

/// What the library is told; an error's text shows no credential.
fn options(
    dial_to: &MqttDial,
    tls: Arc<ClientConfig>,
    message_bytes_max: usize,
    meter: &Meter,
) -> Result<MqttOptions, String> {
    let url = Url::parse(&dial_to.url).map_err(|e| format!("not a usable address: {e}"))?;
    let target =
        Target::of(&url, &[("mqtt", 1883), ("tcp", 1883), ("ws", 80)], &[("mqtts", 8883), ("wss", 443)])
            .map_err(|e| e.to_string())?;
    let mut options = if matches!(url.scheme(), "ws" | "wss") {
        over_websocket(&dial_to.client_id, &url, &target)?
    } else {
        let broker = Broker::tcp(target.host.clone(), target.port);
        let mut options = MqttOptions::new(dial_to.client_id.clone(), broker);
        options.set_transport(Transport::Tcp);
        options
    };
    // TLS, too, is made here and not in the library.
    let meter = meter.clone();
    options.set_socket_connector(move |_address, _network| {
        let (target, tls, meter) = (target.clone(), Arc::clone(&tls), meter.clone());
        async move {
            let dialled = dial(&target, &tls).await;
            dialled.map(|stream| stream.metered(meter)).map_err(std::io::Error::other)
        }
    });
    options
        .try_set_clean_session(dial_to.clean_session)
        .map_err(|_| "a session that is to last needs a client id".to_owned())?;
    options
        .set_keep_alive(dial_to.keep_alive_s)
        .set_ack_mode(AckMode::Manual)
        .set_max_packet_size(message_bytes_max, OUTGOING_BYTES_MAX);
    match (&dial_to.username, &dial_to.password) {
        (Some(user), Some(password)) => {
            options.set_credentials(user.clone(), password.clone().into_bytes());
        }
        (Some(user), None) => {
            options.set_username(user.clone());
        }
        // MQTT 3.1.1 knows no password without a user name.
        (None, Some(password)) => {
            options.set_credentials("", password.clone().into_bytes());
        }
        (None, None) => {}
    }
    Ok(options)
}

fn over_websocket(client_id: &str, url: &Url, target: &Target) -> Result<MqttOptions, String> {
    let unusable = || "not a usable address: a WebSocket URL is expected".to_owned();
    // The library is to see plain WebSocket, since the stream below it is encrypted already; a server
    // is to see the host that the user wrote.
    let authority = match url.port() {
        Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
        None => url.host_str().unwrap_or_default().to_owned(),
    };
    let host = HeaderValue::try_from(authority).map_err(|_| unusable())?;
    let mut plain = url.clone();
    plain.set_scheme("ws").map_err(|()| unusable())?;
    plain.set_port(Some(target.port)).map_err(|()| unusable())?;
    let broker = Broker::websocket(plain.as_str()).map_err(|_| unusable())?;
    let mut options = MqttOptions::new(client_id, broker);
    options.set_transport(Transport::Ws);
    options.set_request_modifier(move |mut request| {
        request.headers_mut().insert(HOST, host.clone());
        std::future::ready(request)
    });
    Ok(options)
}

fn subscribe(client: &AsyncClient, dial: &MqttDial) -> Result<(), Closed> {
    if dial.subscriptions.is_empty() {
        return Ok(());
    }
    let filters = dial.subscriptions.iter().map(|(path, qos)| SubscribeFilter {
        path: path.clone(),
        qos: match qos {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        },
    });
    client.try_subscribe_many(filters).map_err(|_| broken("a topic filter is not allowed by MQTT"))
}

/// The acknowledgements that are owed, by packet identifier: the latest delivery of each.
#[derive(Default)]
struct Owed(Mutex<OwedById>);

#[derive(Default)]
struct OwedById {
    deliveries: u64,
    latest: HashMap<u16, AckId>,
}

impl Owed {
    /// Notes a delivery. An [`AckId`] is its number, the QoS (one bit) and the packet identifier.
    fn note(&self, publish: &Publish) -> AckId {
        let mut owed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        owed.deliveries += 1;
        let exactly_once = u64::from(publish.qos == QoS::ExactlyOnce);
        let id = owed.deliveries << 17 | exactly_once << 16 | u64::from(publish.pkid);
        owed.latest.insert(publish.pkid, id);
        id
    }

    /// What to send for `id`; nothing if a later delivery has taken its place.
    fn settle(&self, id: AckId) -> Option<ManualAck> {
        let pkid = (id & 0xFFFF) as u16;
        let mut owed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if owed.latest.get(&pkid) != Some(&id) {
            return None;
        }
        owed.latest.remove(&pkid);
        Some(if id >> 16 & 1 == 1 {
            ManualAck::PubRec(PubRec::new(pkid))
        } else {
            ManualAck::PubAck(PubAck::new(pkid))
        })
    }
}

struct Reader<'a> {
    conn: Conn,
    clock: Clock,
    intake: Intake,
    meter: Meter,
    owed: &'a Owed,
    /// Notified of each event.
    heard: &'a Notify,
    filters: Vec<String>,
}

impl Reader<'_> {
    /// Hands on what the broker sends until the connection ends.
    async fn read(&self, events: &mut EventLoop) -> Result<Closed, Gone> {
        loop {
            match events.poll().await {
                Ok(event) => {
                    let rest = !events.state.events.is_empty();
                    if let Some(why) = self.hand_over(event, rest).await? {
                        return Ok(why);
                    }
                }
                Err(error) => {
                    // The library reads in batches, and an error at the end of one overtakes the packets before it.
                    while let Some(event) = events.state.events.pop_front() {
                        if let Some(why) = self.hand_over(event, true).await? {
                            return Ok(why);
                        }
                    }
                    return Ok(ended(&error));
                }
            }
        }
    }

    /// Passes one event on; answers with why the connection must end, if it must.
    /// `rest`: others have been read with it.
    async fn hand_over(&self, event: Event, rest: bool) -> Result<Option<Closed>, Gone> {
        let at = self.clock.now();
        self.heard.notify_one();
        match event {
            Event::Incoming(Packet::Publish(publish)) => {
                let Some(frame) = self.frame(publish) else {
                    return Ok(Some(broken("a topic that is not UTF-8")));
                };
                let input = Input::Frame { conn: self.conn, at, frame };
                self.intake.deliver_metered(input, &self.meter, rest).await?;
            }
            Event::Incoming(Packet::SubAck(answer)) => {
                let granted = self.granted(&answer);
                self.intake.deliver(Input::Subscribed { conn: self.conn, granted }).await?;
            }
            Event::Incoming(_) => drop(self.meter.finished(0, rest)),
            Event::Outgoing(_) => {}
        }
        Ok(None)
    }

    fn frame(&self, publish: Publish) -> Option<Frame> {
        let ack = (publish.qos != QoS::AtMostOnce).then(|| self.owed.note(&publish));
        Some(Frame::Publish {
            topic: ByteString::try_from(publish.topic).ok()?,
            mqtt: crate::message::Mqtt { qos: publish.qos as u8, retain: publish.retain, dup: publish.dup },
            payload: publish.payload,
            ack,
        })
    }

    fn granted(&self, answer: &SubAck) -> Vec<(String, Option<u8>)> {
        let codes = answer.return_codes.iter().map(|code| match code {
            SubscribeReasonCode::Success(qos) => Some(*qos as u8),
            SubscribeReasonCode::Failure => None,
        });
        self.filters.iter().cloned().zip(codes).collect()
    }
}

/// Resolves when nothing has been heard for a while.
async fn quiet(heard: &Notify) {
    while tokio::time::timeout(QUIET, heard.notified()).await.is_ok() {}
}

/// Carries out acknowledgements; returns only when the client takes none any more.
async fn acknowledge(client: &AsyncClient, task: &mut ConnTask, owed: &Owed) {
    while let Some(command) = task.commands.recv().await {
        if !carry_out(client, command, owed).await {
            return;
        }
    }
    // The handle is gone, and with it this task in a moment.
    std::future::pending().await
}

async fn send_what_is_queued(client: &AsyncClient, task: &mut ConnTask, owed: &Owed) {
    while let Ok(command) = task.commands.try_recv() {
        if !carry_out(client, command, owed).await {
            return;
        }
    }
}

async fn carry_out(client: &AsyncClient, command: Command, owed: &Owed) -> bool {
    let Command::Ack(id) = command else {
        return true; // A recorder publishes nothing.
    };
    match owed.settle(id) {
        Some(ack) => client.manual_ack(ack).await.is_ok(),
        None => true,
    }
}

fn broken(detail: &str) -> Closed {
    Closed { cause: CloseCause::Broken, detail: detail.to_owned() }
}

/// Why there was no CONNACK that accepts.
fn not_opened(error: &ConnectionError) -> Closed {
    let (cause, detail) = match error {
        ConnectionError::ConnectionRefused(code) => refused(*code),
        ConnectionError::Websocket(WebSocketError::Http(answer)) => {
            let status = answer.status();
            (CloseCause::HttpStatus(status.as_u16()), format!("the upgrade was answered with {status}"))
        }
        ConnectionError::NetworkTimeout => (CloseCause::Unreachable, "no CONNACK in time".to_owned()),
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            (CloseCause::Unreachable, "closed by the broker in place of a CONNACK".to_owned())
        }
        // Ours, passed through the library as it is.
        ConnectionError::Io(error) => match error.get_ref().and_then(|e| e.downcast_ref::<DialError>()) {
            Some(error) => (CloseCause::Unreachable, chain(error)),
            None => (CloseCause::Unreachable, chain(error)),
        },
        error => (CloseCause::Unreachable, chain(error)),
    };
    Closed { cause, detail }
}

fn refused(code: ConnectReturnCode) -> (CloseCause, String) {
    let words = match code {
        ConnectReturnCode::Success => "nothing",
        ConnectReturnCode::RefusedProtocolVersion => "the protocol version",
        ConnectReturnCode::BadClientId => "the client id",
        ConnectReturnCode::ServiceUnavailable => "everybody at the moment",
        ConnectReturnCode::BadUserNamePassword => "the user name or password",
        ConnectReturnCode::NotAuthorized => "the authorisation",
    };
    let number = code as u8;
    (CloseCause::MqttRefused(number), format!("the broker refused {words} (CONNACK {number})"))
}

/// Why an open connection ended.
fn ended(error: &ConnectionError) -> Closed {
    let (cause, detail) = match error {
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            (CloseCause::ByPeer(None), "closed by the broker".to_owned())
        }
        ConnectionError::RequestsDone => (CloseCause::ByUs, "closed by us".to_owned()),
        ConnectionError::MqttState(StateError::AwaitPingResp) => {
            (CloseCause::Broken, "the broker did not answer a ping".to_owned())
        }
        // The library calls it an error of decoding, whatever becomes of the line while a packet is awaited.
        ConnectionError::MqttState(StateError::Deserialization(MqttError::Io(error))) => line_ended(error),
        error => (CloseCause::Broken, chain(error)),
    };
    Closed { cause, detail }
}

fn line_ended(error: &std::io::Error) -> (CloseCause, String) {
    let cause = error.get_ref();
    let is_dropped = match cause.and_then(|cause| cause.downcast_ref()) {
        Some(
            WebSocketError::ConnectionClosed
            | WebSocketError::AlreadyClosed
            | WebSocketError::Protocol(ProtocolError::ResetWithoutClosingHandshake),
        ) => true,
        Some(_) => false,
        None => error.kind() == ErrorKind::UnexpectedEof,
    };
    if is_dropped {
        return (CloseCause::ByPeer(None), "closed by the broker".to_owned());
    }
    // What the framing of `tokio-util` says of an end within a packet, with no kind to tell it by.
    if cause.is_some_and(|cause| cause.to_string() == "bytes remaining on stream") {
        return (CloseCause::ByPeer(None), "closed by the broker in the middle of a packet".to_owned());
    }
    (CloseCause::Broken, chain(error))
}

#[cfg(test)]
mod tests;
