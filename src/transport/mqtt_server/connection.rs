//! One MQTT connection, from CONNECT to its end, and what follows for its session.
//!
//! Reading ([`reader`]) and writing ([`writer`]) are two futures of one task: a client that sends while it is
//! being sent to never brings both sides to a halt. The reader leaves its answers in a short queue that the
//! writer empties before it takes messages, so a SUBACK precedes what was subscribed to.
//!
//! Where a persistent session's connection has ended, its task stays with the session until the client is
//! back or the session is over; the socket is closed by then.

mod policy;
mod reader;
mod writer;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::Error as PacketError;
use rumqttc::mqttbytes::v4::{ConnAck, Connect, ConnectAuth, ConnectReturnCode, Packet};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::MqttServer;
use super::broker::{EnterError, Key, Place};
use super::packets::PacketReader;
use super::publication::Publication;
use super::rules;
use super::session::Session;
use crate::transport::fanout::{JoinError, Taken};
use crate::transport::misbehave::Conduct;
use crate::vendors::service::{MqttPolicy, Standing};

/// A client that connects and says nothing.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a closed connection is read on, so that its end does not become a reset.
const LINGER: Duration = Duration::from_secs(5);

/// Answers that wait to be written; a client that sends more without reading waits itself.
const ANSWERS_MAX: usize = 64;

/// How long a client that has said DISCONNECT may take to read what it is still to be answered.
const ANSWERS_TIMEOUT: Duration = Duration::from_secs(1);

const DOWN: &str = "what it came for is down, as it was when this was recorded";

/// How a connection ended without a fault of anybody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parted {
    /// By DISCONNECT.
    Disconnected,
    /// The client closed without a word.
    Closed,
    /// The replay is over, and the client has everything.
    Finished,
}

/// Why a connection ended otherwise.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("no CONNECT within {} s", CONNECT_TIMEOUT.as_secs())]
    Silent,
    #[error("it does not speak MQTT 3.1.1")]
    OtherLevel,
    #[error("refused: {0}")]
    Refused(&'static str),
    #[error("{0} where it has no place")]
    Misplaced(&'static str),
    #[error("it breaks the protocol: {0}")]
    Broken(&'static str),
    #[error("nothing within one and a half times its keep-alive of {0} s")]
    KeepAlive(u16),
    #[error("another client took its identifier")]
    Evicted,
    #[error("{DOWN}")]
    Down,
    #[error("dropped: {0}")]
    Dropped(&'static str),
    #[error("by the vendor's rules: {0}")]
    Rules(&'static str),
    #[error("misbehaviour that was asked for")]
    Misbehaviour,
    #[error("malformed packet, or the connection broke")]
    Packet(#[from] PacketError),
    #[error("the connection broke")]
    Io(#[from] std::io::Error),
}

/// What a connection is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Its end is seen only as such.
    Bare,
    /// Closed in order it ends with a close frame, which a line that is lost does not send.
    WebSocket,
}

/// What reader and writer of a connection share.
struct Connection<'a> {
    server: &'a MqttServer,
    session: &'a Session,
    /// Whose credentials were accepted, or what a client says where any are.
    username: Option<&'a str>,
    keep_alive_s: u16,
    policy: Option<Mutex<Box<dyn MqttPolicy>>>,
    /// What the policy said last.
    standing: Mutex<Standing>,
    /// The client asked for something: when to look at the policy again may be another time.
    asked: Notify,
    conduct: Option<Arc<Conduct>>,
    /// The client has said DISCONNECT.
    has_disconnected: AtomicBool,
}

pub(super) async fn serve<S>(
    server: &MqttServer,
    stream: S,
    endpoint: &str,
    policy: Option<Box<dyn MqttPolicy>>,
    conduct: Option<Arc<Conduct>>,
    line: Line,
) where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    if let Err(ended) = serve_until_end(server, stream, endpoint, policy, conduct, line).await {
        tracing::debug!("{endpoint}: an MQTT connection ended: {ended}");
    }
}

async fn serve_until_end<S>(
    server: &MqttServer,
    stream: S,
    endpoint: &str,
    mut policy: Option<Box<dyn MqttPolicy>>,
    conduct: Option<Arc<Conduct>>,
    line: Line,
) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (read, write) = tokio::io::split(stream);
    let mut packets = PacketReader::new(read);
    let connect = match first_packet(&mut packets).await {
        Ok(Some(connect)) => connect,
        Ok(None) => return Ok(()),
        Err(Ended::OtherLevel) => {
            // By the text of 3.1.1; those who speak MQTT 5 know this answer as well [MQTT-3.1.2-2].
            return refuse(write, packets, ConnectReturnCode::RefusedProtocolVersion, Ended::OtherLevel)
                .await;
        }
        Err(ended) => return Err(ended),
    };
    if let Some(Err(why)) = policy.as_mut().map(|policy| policy.connect(&connect.client_id)) {
        linger(write, packets).await;
        return Err(Ended::Rules(why));
    }
    if conduct.as_ref().is_some_and(|conduct| conduct.refuses()) {
        return refuse(write, packets, ConnectReturnCode::ServiceUnavailable, Ended::Misbehaviour).await;
    }
    let place = match enter(server, &connect, endpoint, policy.is_some()).await {
        Ok(place) => place,
        Err((Some(code), ended)) => return refuse(write, packets, code, ended).await,
        Err((None, ended)) => return Err(ended),
    };
    let connection = Connection {
        server,
        session: &place.session,
        username: username(&connect.auth),
        keep_alive_s: connect.keep_alive,
        policy: policy.map(Mutex::new),
        standing: Mutex::new(Standing::Unready),
        asked: Notify::new(),
        conduct,
        has_disconnected: AtomicBool::new(false),
    };
    place.session.wire.open(Box::new(write));
    let ended = connection.run(&place, &connect, &mut packets).await;
    let mut write = place.session.wire.close();
    if let (Ok(Parted::Finished), Some(write)) = (&ended, &mut write) {
        connection.hear_out(&mut packets, write).await;
    }
    let keeps_will =
        matches!(ended, Ok(Parted::Disconnected | Parted::Finished)) || connection.policy.is_some();
    if let Some(will) = connect.last_will.filter(|_| !keeps_will) {
        place.session.member.trace("will", || json!({"topic": will.topic, "qos": will.qos as u8}));
        server.broker.publish(&Publication::of_will(will));
    }
    drop(connection);
    let is_over = matches!(ended, Ok(Parted::Finished)) || place.session.member.is_dropped();
    // Who does not read is not waited for; who is to leave for another reason has read.
    let does_not_read = matches!(ended, Err(Ended::Dropped(_))) && place.session.member.is_dropped();
    let breaks = matches!(ended, Err(Ended::Down)) && line == Line::WebSocket;
    let goodbye = async move {
        if breaks {
            packets.discard_present();
        } else if let Some(write) = write.filter(|_| !does_not_read) {
            linger(write, packets).await;
        }
    };
    if place.session.is_persistent && !is_over {
        server.broker.go_away(&place);
        tokio::join!(goodbye, async move {
            stay(&place).await;
            server.broker.leave(&place);
        });
    } else {
        server.broker.leave(&place);
        drop(place);
        goodbye.await;
    }
    ended.map(|_| ())
}

/// The CONNECT.
async fn first_packet<R: AsyncRead + Unpin>(packets: &mut PacketReader<R>) -> Result<Option<Connect>, Ended> {
    let packet = match timeout(CONNECT_TIMEOUT, packets.first()).await {
        Err(_) => return Err(Ended::Silent),
        Ok(Ok(Some(packet))) => packet,
        Ok(Ok(None)) => return Ok(None),
        Ok(Err(PacketError::InvalidProtocol | PacketError::InvalidProtocolLevel(_))) => {
            return Err(Ended::OtherLevel);
        }
        Ok(Err(error)) => return Err(error.into()),
    };
    match (rules::broken_by(&packet), packet) {
        (Some(rule), _) => Err(Ended::Broken(rule)),
        (None, Packet::Connect(connect)) => Ok(Some(connect)),
        _ => Err(Ended::Misplaced("something before CONNECT")),
    }
}

fn username(auth: &ConnectAuth) -> Option<&str> {
    match auth {
        ConnectAuth::UsernamePassword { username, .. } => Some(username),
        _ => None,
    }
}

/// A place among the clients, or the code of the CONNACK that refuses it.
async fn enter(
    server: &MqttServer,
    connect: &Connect,
    endpoint: &str,
    is_under_rules: bool,
) -> Result<Place, (Option<ConnectReturnCode>, Ended)> {
    let refused = |code, why| Err((Some(code), Ended::Refused(why)));
    let Connect { client_id, clean_session, auth, .. } = connect;
    if client_id.is_empty() && !clean_session {
        let why = "no client identifier, and no clean session";
        return refused(ConnectReturnCode::BadClientId, why);
    }
    if !is_under_rules && !server.credentials.accept(auth) {
        // As Jointech's broker and mosquitto say it, whichever of the two is wrong.
        return refused(ConnectReturnCode::NotAuthorized, "unknown user name or password");
    }
    let key = match (client_id.is_empty(), is_under_rules) {
        (true, _) => server.broker.nameless(),
        (false, true) => Key::UnderRules(client_id.clone()),
        (false, false) => Key::Named(client_id.clone()),
    };
    // What a client came for it says by its filters, later: until they are known, it is what plain MQTT is for.
    if !is_under_rules && server.fanout.plain_mqtt_is_down() && !server.broker.asks_for_ours(&key) {
        server.fanout.refuse();
        return refused(ConnectReturnCode::ServiceUnavailable, DOWN);
    }
    match server.broker.enter(key, *clean_session, username(auth), || server.fanout.join(endpoint)).await {
        Ok(place) => Ok(place),
        Err(EnterError::Evicted) => Err((None, Ended::Evicted)),
        Err(EnterError::Join(JoinError::Full)) => {
            refused(ConnectReturnCode::ServiceUnavailable, "too many clients")
        }
        Err(EnterError::Join(JoinError::Over)) => {
            refused(ConnectReturnCode::ServiceUnavailable, "the replay is over")
        }
    }
}

impl Connection<'_> {
    /// From the CONNACK to the end.
    async fn run<S: AsyncRead>(
        &self,
        place: &Place,
        connect: &Connect,
        packets: &mut PacketReader<ReadHalf<S>>,
    ) -> Result<Parted, Ended> {
        let session = self.session;
        answer(&mut &*session.wire, ConnectReturnCode::Success, place.is_present).await?;
        session.member.trace("connect", || {
            json!({
                "client_id": connect.client_id,
                "clean_session": connect.clean_session,
                "session_present": place.is_present,
                "keep_alive_s": connect.keep_alive,
            })
        });
        if place.is_present {
            session.come_back();
        }
        let (answers, to_write) = mpsc::channel(ANSWERS_MAX);
        let rules = self.server.rules.subscribe();
        let ended = tokio::select! {
            biased;
            () = place.evicted.cancelled() => Err(Ended::Evicted),
            why = session.member.dropped() => Err(Ended::Dropped(why)),
            why = self.obey(rules), if self.policy.is_some() => Err(Ended::Rules(why)),
            ended = self.read(packets, answers) => ended,
            ended = self.write(to_write) => ended,
        };
        // However the connection ended then: a client that has said goodbye leaves no will.
        if self.has_disconnected.load(Ordering::Relaxed) { Ok(Parted::Disconnected) } else { ended }
    }
}

/// Keeps the session of a client that is away, until the client is back or the session is over.
async fn stay(place: &Place) {
    let member = &place.session.member;
    let over = async {
        // Takes nothing: resolves when nothing waits and nothing will follow.
        while member.take(&mut Vec::new(), 0, 0).await != Taken::Finished {
            if member.is_dropped() {
                return;
            }
        }
        if !place.session.state().window.is_settled() {
            // Until the player's patience is over.
            member.dropped().await;
        }
    };
    tokio::select! {
        () = place.evicted.cancelled() => {}
        _ = member.dropped() => {}
        () = over => {}
    }
}

async fn refuse<W: AsyncWrite + Unpin, R: AsyncRead + Unpin>(
    mut write: W,
    packets: PacketReader<R>,
    code: ConnectReturnCode,
    ended: Ended,
) -> Result<(), Ended> {
    answer(&mut write, code, false).await?;
    linger(write, packets).await;
    Err(ended)
}

async fn answer<W: AsyncWrite + Unpin>(
    write: &mut W,
    code: ConnectReturnCode,
    is_present: bool,
) -> Result<(), Ended> {
    let mut out = BytesMut::new();
    ConnAck::new(code, is_present).write(&mut out)?;
    write.write_all(&out).await?;
    Ok(write.flush().await?)
}

/// Closes the stream, and drops it when the client has closed it too, or does not.
async fn linger<W: AsyncWrite + Unpin, R: AsyncRead + Unpin>(mut write: W, mut packets: PacketReader<R>) {
    let _ = timeout(LINGER, async {
        if write.shutdown().await.is_ok() {
            packets.discard().await;
        }
    })
    .await;
}
