//! One MQTT 3.1.1 connection to a vendor's broker, from CONNECT to its end.
//!
//! The protocol is `rumqttc`'s; TCP and TLS are ours ([`super::dial`]). One client lives as long as
//! one connection: its own reconnect would use a stale token again, and packet identifiers are the
//! broker's to reuse, so that an acknowledgement must never reach another connection.
//!
//! An acknowledgement is sent when the recorder says so, in its order: PUBACK for QoS 1, PUBREC for
//! QoS 2. Should a broker deliver the same packet identifier again before that, only the latest
//! delivery is acknowledged, once.

mod acks;
mod ends;
mod line;
mod pieces;
mod sieve;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use futures_util::FutureExt as _;
use rumqttc::{
    AckMode, AsyncClient, Broker, Event, EventLoop, MqttOptions, NetworkOptions, Packet, Publish, QoS,
    SubAck, SubscribeFilter, SubscribeReasonCode, Transport,
};
use tokio::io::{join, split};
use tokio::sync::Notify;
use tokio_rustls::rustls::ClientConfig;

use self::acks::{Acks, Owed};
pub(super) use self::ends::refused_words;
use self::ends::{ended, not_opened};
use self::sieve::{PACKET_BYTES_MAX, Payload, Payloads, Sieve};
use super::dial::chain;
use super::intake::{Gone, Intake};
use super::quota::{Meter, Quota};
use super::{ConnHandle, ConnTask};
use crate::clock::Clock;
use crate::vendors::{CloseCause, Closed, Conn, Frame, Input, MqttDial};

/// A SUBSCRIBE with a few hundred filters has room here; the library's own bound is 10 KiB.
const OUTGOING_BYTES_MAX: usize = 1 << 20;

/// DNS, TCP, TLS, the WebSocket upgrade, CONNECT and CONNACK together.
const CONNECT_TIMEOUT_S: u64 = 25;

/// Acknowledgements that the client has not sent yet; more of them wait in the command queue.
const REQUESTS_MAX: usize = 1_024;

/// How long a DISCONNECT may take, with what comes before it. Longer in tests, which a slow machine is not to fail.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 30 } else { 3 });

/// MQTT's end is not answered, so that what is under way can only be waited for: until nothing has
/// come for so long, or as long as this at the most on a stream that never pauses.
const QUIET: Duration = Duration::from_millis(50);
const QUIET_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 30 } else { 1 });

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
    let (payloads, meter) = (Payloads::default(), task.intake.quota().meter());
    let options = match options(&dial, tls, task.intake.quota(), &payloads, &meter) {
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
    let (owed, heard) = (Owed::default(), Heard::default());
    let filters = dial.subscriptions.iter().map(|(filter, _)| filter.clone()).collect();
    let intake = task.intake.clone();
    let (conn, owed, heard) = (task.conn, &owed, &heard);
    let mut acks = Acks::new(&client, &mut task.commands, owed);
    let reader = Reader { conn, clock, intake, payloads, meter, owed, heard, filters };
    let why = {
        let reading = reader.read(&mut events);
        tokio::pin!(reading);
        tokio::select! {
            ended = reading.as_mut() => ended,
            // Polled beside the reading, never within it: a full request queue needs the event loop to
            // be drained, and the event loop is not to wait for that.
            () = acks.send() => Ok(broken("the client takes no more requests")),
            () = close.cancelled() => {
                let goodbye = async {
                    // The library sends a DISCONNECT before it reads what lies in the socket, and
                    // what is read meanwhile is to be acknowledged, or it will be delivered again.
                    tokio::select! {
                        _ = tokio::time::timeout(QUIET_TIMEOUT, quiet(heard)) => {}
                        () = acks.send() => {}
                    }
                    acks.send_what_is_queued().await;
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
    quota: &Quota,
    payloads: &Payloads,
    meter: &Meter,
) -> Result<MqttOptions, String> {
    let line = line::Line::of(&dial_to.url, tls)?;
    let broker = Broker::tcp(line.target().host.clone(), line.target().port);
    let mut options = MqttOptions::new(dial_to.client_id.clone(), broker);
    options.set_transport(Transport::Tcp);
    // TLS and WebSocket, too, are made here and not in the library.
    let (payloads, meter, bytes_max) = (payloads.clone(), meter.clone(), quota.message_bytes_max());
    let keep_alive = Duration::from_secs(dial_to.keep_alive_s.into());
    options.set_socket_connector(move |_address, _network| {
        let (line, payloads, meter) = (line.clone(), payloads.clone(), meter.clone());
        async move {
            let stream = line.connect().await?;
            let (read, write) = split(stream);
            Ok(join(Sieve::new(read, meter, payloads, bytes_max, keep_alive), write))
        }
    });
    options
        .try_set_clean_session(dial_to.clean_session)
        .map_err(|_| "a session that is to last needs a client id".to_owned())?;
    options
        .set_keep_alive(dial_to.keep_alive_s)
        .set_ack_mode(AckMode::Manual)
        .set_max_packet_size(PACKET_BYTES_MAX, OUTGOING_BYTES_MAX);
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

struct Reader<'a> {
    conn: Conn,
    clock: Clock,
    intake: Intake,
    payloads: Payloads,
    meter: Meter,
    owed: &'a Owed,
    heard: &'a Heard,
    filters: Vec<String>,
}

impl Reader<'_> {
    /// Hands on what the broker sends until the connection ends.
    async fn read(&self, events: &mut EventLoop) -> Result<Closed, Gone> {
        loop {
            match events.poll().await {
                Ok(event) => {
                    if let Some(why) = self.hand_over(event).await? {
                        return Ok(why);
                    }
                }
                Err(error) => {
                    // The library reads in batches, and an error at the end of one overtakes the packets before it.
                    while let Some(event) = events.state.events.pop_front() {
                        if let Some(why) = self.hand_over(event).await? {
                            return Ok(why);
                        }
                    }
                    return Ok(ended(&error));
                }
            }
        }
    }

    /// Passes one event on; answers with why the connection must end, if it must. Nothing is read until there is room.
    async fn hand_over(&self, event: Event) -> Result<Option<Closed>, Gone> {
        self.heard.is_held_up.store(true, Ordering::Relaxed);
        let passed_on = self.meter.meanwhile(self.pass_on(event)).await;
        self.heard.is_held_up.store(false, Ordering::Relaxed);
        passed_on
    }

    async fn pass_on(&self, event: Event) -> Result<Option<Closed>, Gone> {
        let at = self.clock.now();
        self.heard.event.notify_one();
        match event {
            Event::Incoming(Packet::Publish(mut publish)) => {
                let Some((payload, charge)) = self.payloads.take(&publish.payload) else {
                    return Ok(Some(broken("a message without its payload")));
                };
                let too_long_bytes = match payload {
                    Payload::Whole(payload) => {
                        publish.payload = payload;
                        None
                    }
                    Payload::TooLong(bytes) => {
                        publish.payload = Bytes::new();
                        Some(bytes)
                    }
                };
                let Some(frame) = self.frame(publish) else {
                    return Ok(Some(broken("a topic that is not UTF-8")));
                };
                let input = Input::Frame { conn: self.conn, at, frame };
                match too_long_bytes {
                    Some(bytes) => self.intake.deliver_too_long(input, bytes).await?,
                    None => self.intake.deliver_charged(input, charge).await?,
                }
            }
            Event::Incoming(Packet::SubAck(answer)) => {
                let granted = self.granted(&answer);
                self.intake.deliver(Input::Subscribed { conn: self.conn, granted }).await?;
            }
            Event::Incoming(_) | Event::Outgoing(_) => {}
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

/// What the reading tells of itself.
#[derive(Default)]
struct Heard {
    /// Of each event.
    event: Notify,
    /// It waits for room, and hears nothing meanwhile.
    is_held_up: AtomicBool,
}

/// Resolves when nothing has been heard for a while.
async fn quiet(heard: &Heard) {
    loop {
        let is_silent = tokio::time::timeout(QUIET, heard.event.notified()).await.is_err();
        if is_silent && !heard.is_held_up.load(Ordering::Relaxed) {
            // Who had no time itself has heard nothing. After this the reading has had its turn.
            tokio::task::yield_now().await;
            if heard.event.notified().now_or_never().is_none() {
                return;
            }
        }
    }
}

fn broken(detail: &str) -> Closed {
    Closed { cause: CloseCause::Broken, detail: detail.to_owned() }
}

#[cfg(test)]
mod tests;
