//! The vendors: how each one's stream is collected, and how it is imitated on replay.
//!
//! A vendor is one folder: its collector, its emulator and what both share. They are state machines
//! without sockets, disks or clocks: every call is given the time and the randomness, and answers
//! with effects that `recorder` and `player` carry out. So an hour of timers is a test that takes
//! milliseconds, and the same emulator serves tests, demo and replay.
//!
//! What never happens here: I/O, a look at the clock, a thread, an import of `transport`.

pub mod damoov;
pub mod delicode;
pub mod generic;
pub mod jointech;
mod lifecycle;
mod mqtt;
pub mod pontosense;
mod pusher;
mod registry;
mod sealer;
pub mod sensoro;
pub mod service;
mod settings;
mod sniff;
mod source;
pub mod synthetic;
#[cfg(test)]
pub(crate) mod testing;
mod topic;
pub mod variant;
mod webhook;

use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use rand::Rng;
use serde_json::{Map, Value};

use crate::clock::Now;
use crate::message::{Headers, Mqtt, Selection, SessionId};
use crate::secret::Secret;

pub use pusher::{PushRule, Pusher, pusher, signs, was_pushed};
pub use registry::{
    VENDORS, collector, emulator, is_emitted, kinds, reach, sensors, source_header, was_subscribed,
};
pub use sealer::Sealer;
pub use source::{Source, TlsOptions, VendorConfig};
pub use topic::replay_topic;
use variant::Variant;

/// The n-th connection of a source in this session, from 0; numbered by the collector.
pub type Conn = u32;

/// One webhook request that waits for its answer; numbered by the recorder.
pub type Inbound = u64;

/// One HTTP request to the vendor that waits for its response; numbered by the collector.
pub type Call = u64;

/// Tells the kind (index into the source's kinds) from channel and payload.
type KindOf = Box<dyn Fn(&str, &[u8]) -> u16 + Send>;

/// The recording side of a vendor.
pub trait Collector: Send {
    /// Takes one input and appends what is to be done to `fx`.
    fn on(&mut self, now: Now, rng: &mut dyn Rng, input: Input, fx: &mut Vec<Effect>);

    /// The steady time (ns) at which [`Input::Tick`] is wanted; none if there is nothing to wait for.
    fn wake_at(&self) -> Option<u64>;

    /// A new session has begun, with the connections as they are: what every session is to hold is
    /// recorded again.
    fn rolled(&mut self, _now: Now, _fx: &mut Vec<Effect>) {}
}

/// What happens to a collector.
#[derive(Debug)]
pub enum Input {
    /// The recording begins.
    Start,
    /// The time asked for by `wake_at` has come.
    Tick,
    /// A WebSocket handshake or an MQTT CONNECT succeeded.
    Opened { conn: Conn, session_present: bool },
    /// The broker's answer to the subscriptions of a connection: the granted QoS, or a refusal.
    Subscribed { conn: Conn, granted: Vec<(String, Option<u8>)> },
    /// A frame or a PUBLISH arrived at `at`.
    Frame { conn: Conn, at: Now, frame: Frame },
    /// The connection ended, or never came about.
    Closed { conn: Conn, why: Closed },
    /// What became of [`Effect::Http`]: the vendor's response, or why there is none (for people; no secret).
    Response { call: Call, result: Result<HttpResponse, String> },
    /// A webhook request arrived, whole.
    Pushed { inbound: Inbound, at: Now, request: HttpRequest },
    /// The recording ends: close what is open.
    Stop,
}

/// One unit of a stream, exact bytes. What is sent may hold a token: its Debug shows no content.
#[derive(Clone, PartialEq)]
pub enum Frame {
    Text(ByteString),
    Binary(Bytes),
    /// `ack` identifies the PUBACK or PUBREC that is owed; none for QoS 0.
    Publish {
        topic: ByteString,
        mqtt: Mqtt,
        payload: Bytes,
        ack: Option<AckId>,
    },
}

impl Frame {
    /// Its bytes, and whether they came as binary.
    fn into_payload(self) -> (Bytes, bool) {
        match self {
            Frame::Text(text) => (text.into_bytes(), false),
            Frame::Binary(bytes) => (bytes, true),
            Frame::Publish { payload, .. } => (payload, true),
        }
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Frame::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Frame::Binary(bytes) => write!(f, "Binary({} bytes)", bytes.len()),
            Frame::Publish { topic, mqtt, payload, ack } => {
                write!(f, "Publish({topic}, {mqtt:?}, {} bytes, {ack:?})", payload.len())
            }
        }
    }
}

/// An acknowledgement that a connection owes its broker; meaningless to any other connection.
pub type AckId = u64;

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    pub cause: CloseCause,
    /// For people: the error's chain, or the close frame's code and text. Holds no secret.
    pub detail: String,
}

/// What kind of end it was, as far as a collector must tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCause {
    /// No connection could be made: DNS, TCP, TLS, time-out.
    Unreachable,
    /// HTTP status other than 101 in answer to the upgrade.
    HttpStatus(u16),
    /// MQTT CONNACK return code other than 0.
    MqttRefused(u8),
    /// The peer closed, with the WebSocket close code if it sent one.
    ByPeer(Option<u16>),
    /// The connection broke: reset, protocol error, keep-alive missed.
    Broken,
    /// We closed it.
    ByUs,
}

/// A webhook request as it arrived.
#[derive(Clone)]
pub struct HttpRequest {
    pub method: String,
    /// Path and query, as on the request line.
    pub path_and_query: String,
    /// All headers, secrets included: a collector stores only what [`HttpRequest`]'s receiver lets through.
    pub headers: Headers,
    pub body: Bytes,
}

// Headers, path and query may hold credentials: Debug shows none.
impl std::fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HttpRequest({}, {} bytes)", self.method, self.body.len())
    }
}

impl HttpRequest {
    /// The value of the header called `name` (lower case).
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// An answer to a webhook request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpReply {
    pub status: u16,
    pub content_type: &'static str,
    pub body: Bytes,
}

/// A request to a vendor's REST interface.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpSend {
    pub method: &'static str,
    pub url: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
    /// For everything, from the name's look-up to the last byte of the response.
    pub timeout: Duration,
}

// URL, headers and body may hold credentials: Debug shows none.
impl std::fmt::Debug for HttpSend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HttpSend({}, {} bytes)", self.method, self.body.len())
    }
}

/// A vendor's response, whatever its status.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpResponse {
    pub status: u16,
    /// `Retry-After` in seconds, where the vendor asked to wait.
    pub retry_after_s: Option<u32>,
    pub body: Bytes,
}

// A body may hold a token: Debug shows none.
impl std::fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HttpResponse({}, {} bytes)", self.status, self.body.len())
    }
}

/// What a collector wants done.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Open a WebSocket.
    DialWebSocket { conn: Conn, dial: WebSocketDial },
    /// Open an MQTT connection and subscribe, again after every CONNACK without a session.
    DialMqtt { conn: Conn, dial: MqttDial },
    /// Send a frame (text or binary) on a WebSocket.
    Send { conn: Conn, frame: Frame },
    /// Close a connection; `Closed` with `ByUs` follows.
    Close { conn: Conn },
    /// Make an HTTP request over a connection of its own; [`Input::Response`] follows.
    Http { call: Call, request: HttpSend },
    /// Make a message durable, then acknowledge it.
    Record { record: Record, ack: Option<Ack> },
    /// Answer a webhook request without recording it.
    Refuse { inbound: Inbound, reply: HttpReply },
    /// The vendor has given us a token: it is to appear nowhere. Comes before anything that may hold it.
    Secret(Secret),
    /// Something happened to a connection: recorded as a row of kind `link`.
    Link(LinkEvent),
    /// Data can come from now on: the connection is made, and whatever the vendor wants beyond that
    /// (a registration, a subscription) has been granted.
    Ready { conn: Conn },
    /// This source is over: the credentials were refused for good, say. Shown in the summary.
    GiveUp { reason: String },
}

/// A WebSocket connection to be made.
#[derive(Clone, PartialEq)]
pub struct WebSocketDial {
    pub url: String,
    pub headers: Vec<(String, String)>,
}

/// An MQTT 3.1.1 connection to be made, over `mqtt mqtts ws wss`.
#[derive(Clone, PartialEq)]
pub struct MqttDial {
    pub url: String,
    pub client_id: String,
    pub username: Option<String>,
    pub password: Option<String>,
    pub clean_session: bool,
    pub keep_alive_s: u16,
    /// Topic filters with the QoS asked for.
    pub subscriptions: Vec<(String, u8)>,
}

// The two dials may carry credentials (URL query, headers, password): their Debug shows none.
impl std::fmt::Debug for WebSocketDial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebSocketDial").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for MqttDial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MqttDial")
            .field("client_id", &self.client_id)
            .field("subscriptions", &self.subscriptions)
            .finish_non_exhaustive()
    }
}

/// A message to be recorded; the recorder adds the source.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Index into the vendor's kinds, then [`crate::message::COMMON_KINDS`].
    pub kind: u16,
    pub conn: Conn,
    pub at: Now,
    pub channel: ByteString,
    pub mqtt: Option<Mqtt>,
    pub is_binary: bool,
    pub headers: Option<Headers>,
    /// The vendor's id of this delivery, the same for each repetition; none where it has none.
    pub delivery_id: Option<String>,
    pub payload: Bytes,
    /// The decrypted content, where the vendor encrypts.
    pub clear: Option<Bytes>,
}

impl Record {
    /// A text message that came with nothing beside it.
    pub fn new(kind: u16, conn: Conn, at: Now, channel: ByteString, payload: Bytes) -> Self {
        Self {
            kind,
            conn,
            at,
            channel,
            mqtt: None,
            is_binary: false,
            headers: None,
            delivery_id: None,
            payload,
            clear: None,
        }
    }
}

/// Who waits for a message to be durable.
#[derive(Debug, PartialEq)]
pub enum Ack {
    Mqtt { conn: Conn, id: AckId },
    Http { inbound: Inbound, reply: HttpReply },
}

/// Something that happened to a connection.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkEvent {
    /// `connecting connected subscribed renewed refused stalled disconnected reconnected`.
    pub event: &'static str,
    pub conn: Conn,
    pub reason: Option<String>,
    /// How long nothing was received, for `reconnected`.
    pub gap_ns: Option<u64>,
    /// Further members of the payload, by event.
    pub more: Map<String, Value>,
}

/// The replaying side of a vendor for one WebSocket client.
pub trait Emulator: Send {
    /// Takes one input and appends what is to be done to `fx`.
    fn on(&mut self, now: Now, input: ClientInput, fx: &mut Vec<ServerEffect>);

    /// The steady time (ns) at which [`ClientInput::Tick`] is wanted.
    fn wake_at(&self) -> Option<u64>;

    /// The client's token expires now: its vendor says so in its own way.
    fn expire(&mut self, fx: &mut Vec<ServerEffect>) {
        fx.push(ServerEffect::Close { code: 1008, reason: "token expired".to_owned() });
    }
}

/// What a client of an emulator does.
#[derive(PartialEq)]
pub enum ClientInput {
    /// The handshake is done; `query` is the raw query string of the upgrade, "" if there was none.
    Opened {
        query: String,
    },
    Text(ByteString),
    Binary(Bytes),
    Tick,
}

// A client says its token here: Debug shows no content.
impl std::fmt::Debug for ClientInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ClientInput::Opened { .. } => f.write_str("Opened"),
            ClientInput::Text(text) => write!(f, "Text({} bytes)", text.len()),
            ClientInput::Binary(bytes) => write!(f, "Binary({} bytes)", bytes.len()),
            ClientInput::Tick => f.write_str("Tick"),
        }
    }
}

/// What an emulator does to its client.
#[derive(Debug, PartialEq)]
pub enum ServerEffect {
    /// A live protocol frame, not part of the recording.
    Send(ByteString),
    /// The client is ready to receive what `selection` selects; a second one replaces the first.
    Ready { selection: Selection, format: Format },
    /// The client has the message of this `seq`, of this session if it says so.
    Acknowledged { seq: u64, session_id: Option<SessionId> },
    /// The client did something that has no effect, and may not know it; in words that hold nothing of it. For the
    /// trace, and the first for the log.
    Wrong { what: String },
    /// Close with this code and reason.
    Close { code: u16, reason: String },
}

/// In which form a client gets recorded messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The payload's exact bytes; a binary frame where one was recorded.
    #[default]
    Raw,
    /// One JSON object per message: the archive's envelope, as `cat` prints it.
    Envelope,
}

/// What a replay knows about the recording and about its users' credentials: shared by all emulators.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// The sources of the sessions that are replayed.
    pub sources: Vec<crate::message::SourceHeader>,
    /// Accept any credentials: the listener is on loopback, or the user said so.
    pub any_credentials: bool,
    /// The configured credentials, where a configuration was given.
    pub credentials: Vec<Credential>,
    /// What devices said about themselves, where a vendor's protocol needs it: the best first.
    pub device_configs: Vec<DeviceConfig>,
    /// What emulators do otherwise than by default.
    pub variants: Vec<Variant>,
}

/// A device's own configuration, as its vendor sent it while it was recorded.
#[derive(Clone, Debug)]
pub struct DeviceConfig {
    pub vendor: String,
    pub device_id: String,
    /// The exact bytes.
    pub payload: Bytes,
}

/// One set of credentials that an emulator accepts, from the user's configuration.
#[derive(Clone)]
pub struct Credential {
    pub source: String,
    pub vendor: String,
    /// User name for MQTT; none where the vendor has only a token.
    pub username: Option<String>,
    /// Token, or password as sent on the wire.
    pub secret: String,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential").field("source", &self.source).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
