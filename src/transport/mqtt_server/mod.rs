//! An MQTT 3.1.1 endpoint that publishes a replay, and what its clients publish to each other.
//!
//! One server for TCP, TLS and WebSocket: it takes any byte stream. Clients subscribe as with a
//! broker, and get each message at the lower of its recorded and their granted QoS, once however
//! many of their filters match.
//!
//! ```text
//! fan-out --(what is replayed)--> Member \
//!    |                                    Session -> connection::writer -> socket
//!    +--(at once, where nothing is under way)------> wire -------------------^
//! socket -> connection::reader -> Broker / (what clients publish, retained messages, wills)
//! ```
//!
//! What is replayed keeps its own topic, QoS and retain flag as recorded, and is not retained by this server
//! (see [`retained`]). What clients publish goes to all whose filters match, the publisher among them, and
//! has no part in the replay's report and digest. The two come in no particular order to each other.
//!
//! A persistent session (CleanSession 0) stays in the audience while its client is away: what has QoS 1 or 2
//! waits in the bounded queues that a connected client has, what has QoS 0 does not. Where a queue runs over,
//! the session is over, so that the client sees by session present 0 that it missed something; the report
//! counts it as a client that was dropped. A client that is away is not ready: nobody starts for its sake. At
//! the end it may come back for what waits for it as long as `--drain`; a replay that is stopped does not wait.
//!
//! A connection may be under a vendor's [`MqttPolicy`]: it says who connects, what is subscribed to, and
//! when which messages flow on which topic; the packets are the same. Such a connection has no persistent
//! session and no will, and what its client publishes is acknowledged and goes nowhere.
//!
//! It may stand for a vendor's broker, [`MqttVendor`], which then has a say in who may subscribe to what, and answers
//! what clients publish to its devices.
//!
//! Deliberate limits:
//!
//! * MQTT 5 and 3.1 are answered with return code 1, which clients of both know [MQTT-3.1.2-2].
//! * A connection has at most [`FILTERS_MAX`] filters with 1 MiB (further ones get 0x80), [`window::WINDOW`] messages
//!   without acknowledgement, and packets of [`packets::PACKET_BYTES_MAX`]; sessions that are away, retained
//!   messages and what waits for a client are bounded in [`broker`], [`retained`] and [`inbox`].
//! * A client whose queue runs over, or that takes nothing for half a minute, is dropped; a publication at
//!   QoS 0 for which there is no room is not.
//! * At the end connections are closed when all clients have, and have acknowledged, what was replayed; what was
//!   published before the last of these acknowledgements reaches its receivers, what is published then may not.
//! * Sessions and retained messages end with the replay; the wills of those whom its end disconnects are not
//!   published.
//! * Nobody but a vendor refuses a topic, and `$` topics are topics like others but for wildcards [MQTT-4.7.2-1].

mod broker;
mod connection;
mod inbox;
pub(super) mod packets;
mod publication;
pub mod publish;
mod retained;
mod rules;
mod session;
pub mod topic;
mod window;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::WebSocket;
use rumqttc::mqttbytes::v4::ConnectAuth;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use self::broker::Broker;
use self::connection::Line;
use self::publication::Publication;
use crate::secret::Secret;
use crate::transport::fanout::Fanout;
use crate::transport::misbehave::Conduct;
use crate::transport::mqtt_over_websocket::WebSocketBytes;
use crate::vendors::service::{Answer, MqttPolicy, MqttVendor};

/// Filters of one connection: each is looked at for each message.
pub const FILTERS_MAX: usize = 256;

/// All of them together: a topic may have 64 KiB.
const FILTERS_BYTES_MAX: usize = 1 << 20;

/// Who may connect.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// Whatever a client says, or nothing.
    Any,
    /// One of these pairs of user name and password.
    OneOf(Vec<(String, Secret)>),
}

impl Credentials {
    fn accept(&self, auth: &ConnectAuth) -> bool {
        let pairs = match self {
            Credentials::Any => return true,
            Credentials::OneOf(pairs) => pairs,
        };
        let ConnectAuth::UsernamePassword { username, password } = auth else { return false };
        let Ok(password) = std::str::from_utf8(password) else { return false };
        pairs.iter().any(|(name, secret)| name == username && secret.matches(password))
    }
}

/// The endpoint: shared by all its connections.
#[derive(Debug)]
pub struct MqttServer {
    fanout: Arc<Fanout>,
    credentials: Credentials,
    broker: Broker,
    /// Whose broker this endpoint stands for, if it does more than others.
    vendor: Option<Arc<dyn MqttVendor>>,
    /// A client has published something that the vendor may answer.
    asked: Notify,
    /// Counts the changes of what policies look at.
    rules: watch::Sender<u64>,
}

impl MqttServer {
    pub fn new(fanout: Arc<Fanout>, credentials: Credentials) -> Arc<Self> {
        Self::of_vendor(fanout, credentials, None)
    }

    /// The same in the place of a vendor's broker; its answers are published by [`MqttServer::answer`].
    pub fn of_vendor(
        fanout: Arc<Fanout>,
        credentials: Credentials,
        vendor: Option<Arc<dyn MqttVendor>>,
    ) -> Arc<Self> {
        let (broker, asked, rules) = (Broker::default(), Notify::new(), watch::Sender::new(0));
        Arc::new(Self { fanout, credentials, broker, vendor, asked, rules })
    }

    /// Speaks MQTT on `stream` until the client leaves, is evicted or dropped, or the replay is over; then, where
    /// its session persists, stays with that until another connection takes it or it is over.
    /// `endpoint` is the name in the report.
    pub async fn serve<S>(&self, stream: S, endpoint: &str)
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        self.serve_under(stream, endpoint, None, None).await;
    }

    /// As [`MqttServer::serve`], where a vendor's rules take the place of credentials and filters, and with
    /// misbehaviour.
    pub async fn serve_under<S>(
        &self,
        stream: S,
        endpoint: &str,
        policy: Option<Box<dyn MqttPolicy>>,
        conduct: Option<Arc<Conduct>>,
    ) where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        connection::serve(self, stream, endpoint, policy, conduct, Line::Bare).await;
    }

    /// The same over a WebSocket.
    pub async fn serve_websocket(
        &self,
        socket: WebSocket,
        endpoint: &str,
        policy: Option<Box<dyn MqttPolicy>>,
        conduct: Option<Arc<Conduct>>,
    ) {
        let stream = WebSocketBytes::new(socket);
        connection::serve(self, stream, endpoint, policy, conduct, Line::WebSocket).await;
    }

    /// Publishes what the vendor answers, when it is due; without a vendor there is nothing to be done.
    pub async fn answer(&self) {
        let Some(vendor) = &self.vendor else { return };
        loop {
            let now = self.fanout.clock().now();
            for Answer { topic, payload, qos } in vendor.due(now) {
                self.broker.publish(&Publication::new(topic, payload.as_bytes(), qos, false));
            }
            let wake =
                vendor.wake_at().map(|at_ns| Duration::from_nanos(at_ns.saturating_sub(now.steady_ns)));
            tokio::select! {
                () = self.asked.notified() => {}
                () = sleep(wake.unwrap_or_default()), if wake.is_some() => {}
            }
        }
    }

    /// Every connection under a policy is to look at it again.
    pub fn rules_changed(&self) {
        self.rules.send_modify(|changes| *changes = changes.wrapping_add(1));
    }
}
