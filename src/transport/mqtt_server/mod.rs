//! An MQTT 3.1.1 endpoint that publishes a replay and nothing else.
//!
//! One server for TCP, TLS and WebSocket: it takes any byte stream. Clients subscribe as with a
//! broker, and get each message at the lower of its recorded and their granted QoS, once however
//! many of their filters match. What a client publishes is acknowledged and goes nowhere.
//!
//! A connection may be under a vendor's [`MqttPolicy`]: it says who connects, what is subscribed to, and
//! when which messages flow on which topic; the packets are the same.
//!
//! Deliberate limits: no session outlives its connection (session present is always 0), no message
//! is retained or sent twice, wills are read and forgotten, a connection has at most
//! [`FILTERS_MAX`] filters and [`window::WINDOW`] messages without acknowledgement.

mod connection;
pub mod over_websocket;
pub(super) mod packets;
pub mod publish;
pub mod topic;
mod window;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rumqttc::mqttbytes::v4::ConnectAuth;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::secret::Secret;
use crate::transport::fanout::Fanout;
use crate::transport::misbehave::Conduct;
use crate::vendors::service::MqttPolicy;

/// Filters of one connection: each is looked at for each message.
pub const FILTERS_MAX: usize = 256;

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
    /// By client identifier: a newcomer with the same one takes the place.
    connected: Mutex<HashMap<String, CancellationToken>>,
    /// Counts the changes of what policies look at.
    rules: watch::Sender<u64>,
}

impl MqttServer {
    pub fn new(fanout: Arc<Fanout>, credentials: Credentials) -> Arc<Self> {
        let rules = watch::Sender::new(0);
        Arc::new(Self { fanout, credentials, connected: Mutex::default(), rules })
    }

    /// Speaks MQTT on `stream` until the client leaves, is evicted or dropped, or the replay is over.
    /// `endpoint` is the name in the report.
    pub async fn serve<S>(&self, stream: S, endpoint: &str)
    where
        S: AsyncRead + AsyncWrite + Send,
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
        S: AsyncRead + AsyncWrite + Send,
    {
        if let Err(ended) = connection::serve(self, stream, endpoint, policy, conduct).await {
            tracing::debug!("{endpoint}: an MQTT connection ended: {ended}");
        }
    }

    /// Every connection under a policy is to look at it again.
    pub fn rules_changed(&self) {
        self.rules.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// Enters a client; whoever has the same identifier is evicted. None for a client without one.
    fn enter(&self, client_id: &str) -> Seat<'_> {
        let token = CancellationToken::new();
        if !client_id.is_empty() {
            let mut connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(before) = connected.insert(client_id.to_owned(), token.clone()) {
                before.cancel();
            }
        }
        Seat { server: self, client_id: client_id.to_owned(), evicted: token }
    }
}

/// A client's place among the connected; given up when dropped.
struct Seat<'a> {
    server: &'a MqttServer,
    client_id: String,
    evicted: CancellationToken,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if self.client_id.is_empty() {
            return;
        }
        // Looked at under the lock that evictions are made under: an evicted client's place is its successor's.
        let mut connected = self.server.connected.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.evicted.is_cancelled() {
            connected.remove(&self.client_id);
        }
    }
}
