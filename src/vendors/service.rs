//! Endpoints of vendors whose protocol spans REST calls and MQTT connections, and so shares state
//! between clients: [`Services`] is made once for a replay and asked by all its listeners.
//!
//! ```text
//! HTTP request -> Services::http -> reply; afterwards every MQTT connection looks at its policy again
//! upgrade to /mqtt -> Services::mqtt -> plain, refused, or under an MqttPolicy
//! ```
//!
//! Where the plain MQTT endpoint stands for a vendor's broker, [`MqttVendor`] says what that does beyond passing on
//! what is published.
//!
//! A policy decides for one connection: who may connect, what a subscription is answered with, and
//! which rows go to it on which topic at the moment ([`Standing`]). The transport carries it out.

use std::sync::Arc;

use bytestring::ByteString;
use rand::Rng;

use super::jointech::platform::Platform;
use super::pontosense::emulator::Pontosense;
use super::{HttpReply, HttpRequest, Recorded};
use crate::clock::Now;
use crate::message::{Row, Selection};

/// The longest body of a request that a service takes; they are a few dozen bytes.
pub const REQUEST_BYTES_MAX: usize = 64 << 10;

/// What vendors serve beyond one emulator per WebSocket client.
#[derive(Debug)]
pub struct Services {
    pontosense: Pontosense,
}

/// What becomes of an upgrade to MQTT over WebSocket.
#[derive(Debug)]
pub enum Admission {
    /// No vendor's: MQTT without further rules.
    Plain,
    /// Upgraded, and spoken to under these rules.
    Under(Box<dyn MqttPolicy>),
    /// Upgraded and closed at once, without a CONNACK.
    Closed(&'static str),
    /// Not upgraded.
    Refused(HttpReply),
}

/// One MQTT connection's rules.
pub trait MqttPolicy: Send + std::fmt::Debug {
    /// A CONNECT came; an error closes the connection without a CONNACK.
    fn connect(&mut self, client_id: &str) -> Result<(), &'static str>;

    /// A subscription is asked for, one of `beside` in the same SUBSCRIBE.
    fn subscribe(&mut self, filter: &str, qos: u8, beside: usize) -> Grant;

    fn unsubscribe(&mut self, filter: &str);

    /// How the connection stands now; asked again after each of the above, after each HTTP request to
    /// a service, and at [`MqttPolicy::wake_at`].
    fn standing(&mut self, now: Now) -> Standing;

    /// What could go to the client at most.
    fn reach(&self) -> Selection {
        Selection::default()
    }

    /// The steady time (ns) at which the standing changes by itself.
    fn wake_at(&self) -> Option<u64>;
}

/// The answer to one filter of a SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    Granted(u8),
    /// Return code 0x80.
    Refused,
    /// The whole SUBSCRIBE stays without an answer.
    Ignored,
    /// The connection is closed.
    Close(&'static str),
}

/// How an MQTT connection stands under its vendor's rules.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// Something is missing yet: the client is not ready to receive.
    Unready,
    /// `rows` go to the client, at most at `qos`, all on `topic`.
    Flowing { rows: Selection, topic: ByteString, qos: u8 },
    /// Once ready; nothing goes to the client until its vendor's condition is met again.
    Paused,
    /// To be closed, without any packet.
    Over(&'static str),
}

/// What a vendor's broker does beyond passing on what is published.
pub trait MqttVendor: Send + Sync + std::fmt::Debug {
    /// A row is read that will be replayed.
    fn passes(&self, row: &Row);

    /// Whether a client that is connected as `username` may have what `filter` matches; 0x80 if not.
    fn grants(&self, username: Option<&str>, filter: &str) -> bool;

    /// A client that is connected as `username` has published something, which is passed on in any case.
    fn published(&self, now: Now, username: Option<&str>, topic: &str, payload: &[u8]);

    /// What the vendor publishes in answer by now, each once.
    fn due(&self, now: Now) -> Vec<Answer>;

    /// The steady time (ns) of the next answer.
    fn wake_at(&self) -> Option<u64>;
}

/// Something that a vendor's broker publishes to all whose filters match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub topic: String,
    pub payload: String,
    pub qos: u8,
}

/// The vendor whose broker the MQTT endpoint of a replay stands for, if it is one that does more than others.
pub fn mqtt_vendor(recorded: &Recorded) -> Option<Arc<dyn MqttVendor>> {
    Some(Arc::new(Platform::of(recorded)?))
}

impl Services {
    pub fn new(recorded: Arc<Recorded>, rng: &mut dyn Rng) -> Self {
        Self { pontosense: Pontosense::new(recorded, rng) }
    }

    /// Whether requests to `path` (without query) are answered by [`Services::http`].
    pub fn serves(&self, path: &str) -> bool {
        self.pontosense.serves(path)
    }

    /// The method that `path` is asked with, for the `Allow` of a 405.
    pub fn method(&self, path: &str) -> Option<&'static str> {
        self.pontosense.method(path)
    }

    /// Answers a REST request; its path is one that is served.
    pub fn http(&self, now: Now, request: &HttpRequest) -> HttpReply {
        self.pontosense.http(now, request)
    }

    /// What becomes of an upgrade of the MQTT path with this raw query string.
    pub fn mqtt(&self, now: Now, query: &str) -> Admission {
        self.pontosense.mqtt(now, query)
    }
}
