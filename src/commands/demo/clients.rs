//! The clients of the demo's replay: ordinary ones, over real sockets, that note what they receive.

mod ponto;
mod receiver;

use std::time::Duration;

use anyhow::{Result, bail};
use bytes::Bytes;
use bytestring::ByteString;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub(super) use self::ponto::pontosense;
pub(super) use self::receiver::Receiver;
use crate::clock::Clock;
use crate::transport::intake::{Arrival, intake};
use crate::transport::tls::{Trust, client_config};
use crate::transport::{ConnHandle, mqtt_client, websocket_client};
use crate::vendors::synthetic::trips::INSTANCE_ID;
use crate::vendors::{CloseCause, Frame, Input, MqttDial, WebSocketDial};

/// Within the 20 to 25 s that Delicode asks for.
const HEARTBEAT: Duration = Duration::from_secs(22);

/// A message as a client saw it: the topic or path where it came by MQTT or webhook.
pub(super) type Received = (Option<ByteString>, Bytes);

/// A client that runs until its server closes.
pub(super) type Client = JoinHandle<Result<Vec<Received>>>;

/// What a client of a WebSocket endpoint says, beside listening.
#[derive(Clone, Debug)]
pub(super) enum Protocol {
    /// Nothing.
    Any,
    /// Registers, then sends heartbeats.
    Delicode { locations: Vec<i64> },
    /// Authenticates, then answers pings.
    Damoov,
}

impl Protocol {
    /// What is said first.
    fn hello(&self) -> Option<String> {
        let hello = match self {
            Protocol::Any => return None,
            Protocol::Delicode { locations } => {
                json!({"type": "realtime_register", "token": "demo", "locations": locations})
            }
            Protocol::Damoov => {
                json!({"type": "authenticate", "access_token": "demo", "instance_id": INSTANCE_ID})
            }
        };
        Some(hello.to_string())
    }

    /// Whether a frame is of the protocol itself and no message, and what to say to it.
    fn answer(&self, text: &str) -> (bool, Option<String>) {
        #[derive(Deserialize)]
        struct Typed<'a> {
            #[serde(rename = "type")]
            kind: &'a str,
        }
        let Ok(Typed { kind }) = serde_json::from_str(text) else { return (false, None) };
        match (self, kind) {
            (Protocol::Delicode { .. }, "realtime_register") => (true, None),
            (Protocol::Damoov, "authenticated" | "welcome" | "subscribed") => (true, None),
            (Protocol::Damoov, "ping") => {
                let timestamp = Clock::System.now().wall_us / 1_000;
                (true, Some(json!({"type": "pong", "timestamp": timestamp}).to_string()))
            }
            _ => (false, None),
        }
    }
}

/// Receives everything at `url` until the server closes.
pub(super) fn websocket(url: String, protocol: Protocol) -> Result<Client> {
    let (intake, arrivals) = intake();
    let dial = WebSocketDial { url, headers: Vec::new() };
    let connection = websocket_client::spawn(dial, client_config(&Trust::System)?, 0, Clock::System, &intake);
    Ok(tokio::spawn(receive(connection, arrivals, protocol)))
}

/// Receives everything on all topics until the server closes.
pub(super) fn mqtt(url: String) -> Result<Client> {
    let (intake, arrivals) = intake();
    let dial = MqttDial {
        url,
        client_id: "demo".to_owned(),
        username: None,
        password: None,
        clean_session: true,
        keep_alive_s: 30,
        subscriptions: vec![("#".to_owned(), 1)],
    };
    let connection = mqtt_client::spawn(dial, client_config(&Trust::System)?, 0, Clock::System, &intake);
    Ok(tokio::spawn(receive(connection, arrivals, Protocol::Any)))
}

async fn receive(
    connection: ConnHandle,
    mut arrivals: mpsc::Receiver<Arrival>,
    protocol: Protocol,
) -> Result<Vec<Received>> {
    let mut received = Vec::new();
    let mut heartbeat = tokio::time::interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
    loop {
        let input = tokio::select! {
            _ = heartbeat.tick(), if matches!(protocol, Protocol::Delicode { .. }) => {
                connection.send(Frame::Text(ByteString::from_static(r#"{"type":"realtime_heartbeat"}"#)));
                continue;
            }
            arrival = arrivals.recv() => match arrival {
                Some(Arrival { input, .. }) => input,
                None => break,
            },
        };
        match input {
            Input::Opened { .. } => {
                if let Some(hello) = protocol.hello() {
                    connection.send(Frame::Text(hello.into()));
                }
            }
            Input::Frame { frame: Frame::Text(text), .. } => {
                let (is_of_protocol, answer) = protocol.answer(&text);
                if let Some(answer) = answer {
                    connection.send(Frame::Text(answer.into()));
                }
                if !is_of_protocol {
                    received.push((None, text.into_bytes()));
                }
            }
            Input::Frame { frame: Frame::Binary(bytes), .. } => received.push((None, bytes)),
            Input::Frame { frame: Frame::Publish { topic, payload, ack, .. }, .. } => {
                received.push((Some(topic), payload));
                if let Some(id) = ack {
                    connection.ack(id);
                }
            }
            Input::Closed { why, .. } => match why.cause {
                // MQTT has no goodbye from the server: the end of a replay is the end of the connection.
                CloseCause::ByPeer(_) | CloseCause::Broken => break,
                _ => bail!("a client of the replay was refused: {}", why.detail),
            },
            _ => {}
        }
    }
    Ok(received)
}

/// How many of `expected` are missing, and how many came that are not expected, order included.
pub(super) fn compare(expected: &[Received], received: &[Received]) -> Comparison {
    let same = expected.iter().zip(received).take_while(|(e, r)| e == r).count();
    Comparison { expected: expected.len(), received: received.len(), same }
}

/// How far two lists of messages agree, byte for byte and in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) expected: usize,
    pub(super) received: usize,
    /// From the start.
    pub(super) same: usize,
}
