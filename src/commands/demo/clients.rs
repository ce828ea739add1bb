//! The clients of the demo's replay: ordinary ones, over real sockets, that note what they receive.

use std::time::Duration;

use anyhow::{Result, bail};
use bytes::Bytes;
use bytestring::ByteString;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::transport::intake::{Arrival, intake};
use crate::transport::tls::{Trust, client_config};
use crate::transport::{ConnHandle, mqtt_client, websocket_client};
use crate::vendors::{CloseCause, Frame, Input, MqttDial, WebSocketDial};

/// Within the 20 to 25 s that Delicode asks for.
const HEARTBEAT: Duration = Duration::from_secs(22);

/// A message as a client saw it: the topic where it came by MQTT.
pub(super) type Received = (Option<ByteString>, Bytes);

/// Receives everything at `url` until the server closes; sends `first` once connected, and leaves out the
/// server's answer to it.
pub(super) fn websocket(url: String, first: Option<String>) -> Result<JoinHandle<Result<Vec<Received>>>> {
    let (intake, arrivals) = intake();
    let dial = WebSocketDial { url, headers: Vec::new() };
    let connection = websocket_client::spawn(dial, client_config(&Trust::System)?, 0, Clock::System, &intake);
    Ok(tokio::spawn(receive(connection, arrivals, first)))
}

/// Receives everything on all topics until the server closes.
pub(super) fn mqtt(url: String) -> Result<JoinHandle<Result<Vec<Received>>>> {
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
    Ok(tokio::spawn(receive(connection, arrivals, None)))
}

/// `first` is the registration of a client of Delicode, which from then on owes heartbeats.
async fn receive(
    connection: ConnHandle,
    mut arrivals: mpsc::Receiver<Arrival>,
    first: Option<String>,
) -> Result<Vec<Received>> {
    let mut received = Vec::new();
    let mut answers = usize::from(first.is_some());
    let registers = first.is_some();
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    let mut first = first;
    loop {
        let input = tokio::select! {
            _ = heartbeat.tick(), if registers && first.is_none() => {
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
                if let Some(first) = first.take() {
                    connection.send(Frame::Text(first.into()));
                }
            }
            Input::Frame { .. } if answers > 0 => answers -= 1,
            Input::Frame { frame: Frame::Text(text), .. } => received.push((None, text.into_bytes())),
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

/// What Delicode's clients send first.
pub(super) fn register(locations: &[i64]) -> String {
    json!({"type": "realtime_register", "token": "demo", "locations": locations}).to_string()
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
