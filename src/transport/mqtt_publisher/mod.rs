//! Publishing a replay to somebody's broker, over MQTT 3.1.1.
//!
//! Each connection has a clean session. What a lost one had not seen acknowledged is published again on
//! the next, before anything new and in the order in which it had been sent: QoS 1 and 2 reach the broker
//! at least once, QoS 0 at most once. The end waits for every acknowledgement.
//!
//! Under misbehaviour the same is so of QoS 0: what a cut did not let out whole goes first over the next
//! connection.
//!
//! The first connection is made before the replay begins, so that a wrong address or password is told at
//! once; a later one is tried again until the replay's end, at growing intervals.

mod flight;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use percent_encoding::percent_decode_str;
use rumqttc::mqttbytes::Error as PacketError;
use rumqttc::mqttbytes::v4::{
    Connect, ConnectReturnCode, Disconnect, Packet, PingReq, PubAck, PubComp, PubRec, PubRel,
};
use serde_json::json;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, interval_at, sleep, timeout};
use tokio_rustls::rustls::ClientConfig;
use url::Url;

use self::flight::Flight;
use super::dial::{DialError, Target, dial};
use super::fanout::{Item, Member, Taken};
use super::misbehave::{Conduct, Duplex, Misbehaviour, Next, wired};
use super::mqtt_client::refused_words;
use super::mqtt_server::packets::PacketReader;
use super::mqtt_server::publish;
use crate::secret::Secret;

/// A broker that needs longer for CONNACK is better asked again.
const CONNACK_TIMEOUT: Duration = Duration::from_secs(10);

const KEEP_ALIVE_S: u16 = 30;
/// Before the broker takes us for dead; and so long an answer may take before we take it for dead.
const PING_EVERY: Duration = Duration::from_secs(20);

/// One write: enough for some hundred messages, little enough that lateness is known soon.
const BATCH_BYTES: usize = 64 << 10;

/// After a cut, for the broker to read what came before it and to close.
const LINGER: Duration = Duration::from_secs(1);

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Answers of ours (PUBREL) that wait to be written: there are never more than messages under way, so that
/// the reading does not wait for the writing.
const ANSWERS_MAX: usize = 2 * flight::WINDOW as usize;

/// Why there is no connection to the broker, or none any more. Holds no credential.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("no answer to CONNECT within {} s", CONNACK_TIMEOUT.as_secs())]
    Silent,
    #[error("the broker refuses {0}")]
    Refused(&'static str),
    #[error("the broker closed the connection")]
    Closed,
    #[error("the broker does not answer pings")]
    Dead,
    #[error("the broker speaks no MQTT 3.1.1")]
    Packet(#[from] PacketError),
    #[error("the connection broke")]
    Io(#[from] io::Error),
    #[error("not connected, as was asked for")]
    Misbehaviour,
}

/// A broker, and the connection to it.
#[derive(Debug)]
pub struct MqttPublisher {
    broker: Broker,
    first: Option<Link>,
    flight: Flight,
    /// Taken, and left behind by a connection that was cut on purpose.
    held: Vec<Item>,
}

struct Broker {
    /// For logs: host and port.
    name: String,
    target: Target,
    tls: Arc<ClientConfig>,
    client_id: String,
    credentials: Option<(String, Secret)>,
    misbehaviour: Option<Arc<Misbehaviour>>,
}

#[derive(Debug)]
struct Link {
    packets: PacketReader<ReadHalf<Box<dyn Duplex>>>,
    write: WriteHalf<Box<dyn Duplex>>,
    conduct: Option<Arc<Conduct>>,
}

// The client id is no secret, the password is.
impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("name", &self.name).finish_non_exhaustive()
    }
}

impl MqttPublisher {
    /// Connects. User name and password are those in `url` (`mqtt` or `mqtts`), percent-decoded.
    pub async fn connect(url: &Url, tls: Arc<ClientConfig>, client_id: String) -> Result<Self, PublishError> {
        let target = Target::of(url, &[("mqtt", 1883)], &[("mqtts", 8883)])?;
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let password = || Secret::new(decoded(url.password().unwrap_or_default()));
        let has_credentials = !url.username().is_empty() || url.password().is_some();
        let credentials = has_credentials.then(|| (decoded(url.username()), password()));
        let name = target.to_string();
        let broker = Broker { name, target, tls, client_id, credentials, misbehaviour: None };
        let first = Some(broker.connect().await?);
        Ok(Self { broker, first, flight: Flight::default(), held: Vec::new() })
    }

    /// The same with misbehaviour, from the second connection on: the first was made to see that it can be.
    pub fn misbehaving(mut self, misbehaviour: Option<Arc<Misbehaviour>>) -> Self {
        if misbehaviour.is_some() {
            self.first = None;
            self.broker.misbehaviour = misbehaviour;
        }
        self
    }

    /// Publishes what `member` gets until nothing more will come and everything is acknowledged, or it is
    /// dropped.
    pub async fn run(mut self, member: Member) {
        let publishing = self.publish_all(&member);
        let why = tokio::select! {
            why = member.dropped() => Some(why),
            () = publishing => None,
        };
        member.end();
        if let Some(why) = why {
            member.trace("dropped", || json!({"reason": why}));
        }
    }

    async fn publish_all(&mut self, member: &Member) {
        loop {
            let link = match self.first.take() {
                Some(link) => link,
                None => self.broker.connect_again(member).await,
            };
            match self.speak(link, member).await {
                Ok(()) => return,
                Err(error) => {
                    let why = super::dial::chain(&error);
                    tracing::warn!("{}: {why}; connecting again", self.broker.name);
                    member.trace("lost", || json!({"reason": why}));
                }
            }
        }
    }

    /// One connection's time; Ok if everything was delivered.
    async fn speak(&mut self, mut link: Link, member: &Member) -> Result<(), PublishError> {
        let (answers, owed) = mpsc::channel(ANSWERS_MAX);
        let shared = Shared {
            flight: Mutex::new(std::mem::take(&mut self.flight)),
            settled: Notify::new(),
            member,
            conduct: link.conduct.clone(),
        };
        // Reading and writing beside each other: a broker that acknowledges while it is being written to
        // never brings both sides to a halt.
        let mut stock = Stock { batch: Vec::new(), held: std::mem::take(&mut self.held) };
        let spoken = tokio::select! {
            read = shared.read(&mut link.packets, answers) => read.map(|()| false),
            written = shared.write(&mut link.write, owed, &mut stock) => written.map(|()| true),
        };
        // Where the connection ended amidst a write: all but QoS 0 is in flight, and will be published again.
        if !stock.batch.is_empty() {
            member.sent(&stock.batch);
        }
        self.held = stock.held;
        if spoken.is_err() && link.conduct.is_some() {
            // Cut, and not reset: what has left arrives.
            let _ = timeout(LINGER, link.packets.discard()).await;
        }
        self.flight = shared.flight.into_inner().unwrap_or_else(PoisonError::into_inner);
        match spoken {
            Ok(true) => {
                let mut goodbye = BytesMut::new();
                Disconnect.write(&mut goodbye)?;
                // Everything is acknowledged: how the connection ends changes nothing.
                let _ = link.write.write_all(&goodbye).await;
                let _ = link.write.shutdown().await;
                Ok(())
            }
            Ok(false) => Err(PublishError::Closed),
            Err(error) => Err(error),
        }
    }
}

impl Broker {
    async fn connect(&self) -> Result<Link, PublishError> {
        let conduct = self.misbehaviour.as_ref().map(Misbehaviour::connection);
        if conduct.as_ref().is_some_and(|conduct| conduct.refuses()) {
            return Err(PublishError::Misbehaviour);
        }
        let stream = dial(&self.target, &self.tls).await?;
        let (read, mut write) = split(wired(stream, conduct.as_ref()));
        let mut packets = PacketReader::new(read);
        let mut connect = Connect::new(self.client_id.clone());
        connect.keep_alive = KEEP_ALIVE_S;
        if let Some((username, password)) = &self.credentials {
            connect.set_credentials(username.clone(), password.expose().as_bytes().to_vec());
        }
        let mut out = BytesMut::new();
        connect.write(&mut out)?;
        let shaking = async {
            write.write_all(&out).await?;
            write.flush().await?;
            Ok::<_, PublishError>(packets.next().await?)
        };
        match timeout(CONNACK_TIMEOUT, shaking).await.map_err(|_| PublishError::Silent)?? {
            Some(Packet::ConnAck(answer)) if answer.code == ConnectReturnCode::Success => {
                Ok(Link { packets, write, conduct })
            }
            Some(Packet::ConnAck(answer)) => Err(PublishError::Refused(refused_words(answer.code))),
            Some(_) => Err(PublishError::Packet(PacketError::IncorrectPacketFormat)),
            None => Err(PublishError::Closed),
        }
    }

    /// Tries until it succeeds.
    async fn connect_again(&self, member: &Member) -> Link {
        let mut wait = FIRST_WAIT;
        loop {
            match self.connect().await {
                Ok(link) => {
                    tracing::info!("{}: connected again", self.name);
                    member.trace("connected", || json!({}));
                    return link;
                }
                Err(error) => tracing::debug!("{}: {}", self.name, super::dial::chain(&error)),
            }
            sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }
}

/// What reader and writer of a connection share.
struct Shared<'a> {
    flight: Mutex<Flight>,
    /// Something was acknowledged.
    settled: Notify,
    member: &'a Member,
    conduct: Option<Arc<Conduct>>,
}

/// What the writer of a connection has in hand.
struct Stock {
    /// Being written.
    batch: Vec<Item>,
    /// To be written before anything else is taken.
    held: Vec<Item>,
}

impl Shared<'_> {
    /// Reads acknowledgements; ends with the connection.
    async fn read(
        &self,
        packets: &mut PacketReader<ReadHalf<Box<dyn Duplex>>>,
        answers: mpsc::Sender<Packet>,
    ) -> Result<(), PublishError> {
        loop {
            // Pings bring an answer now and then, whatever else is silent.
            let next = timeout(2 * PING_EVERY, packets.next()).await.map_err(|_| PublishError::Dead)?;
            let Some(packet) = next? else { return Ok(()) };
            let (name, id, message) = match packet {
                Packet::PubAck(PubAck { pkid }) => ("puback", pkid, self.flight().puback(pkid)),
                Packet::PubComp(PubComp { pkid }) => ("pubcomp", pkid, self.flight().pubcomp(pkid)),
                Packet::PubRec(PubRec { pkid }) => {
                    let message = self.flight().pubrec(pkid);
                    if answers.send(Packet::PubRel(PubRel::new(pkid))).await.is_err() {
                        return Ok(());
                    }
                    ("pubrec", pkid, message)
                }
                _ => continue,
            };
            self.settled.notify_one();
            self.member.acknowledged();
            // A PUBREC is half of it.
            if let (Some(message), true) = (message, name != "pubrec") {
                self.member.settled(message);
            }
            self.member.trace(name, || json!({"packet_id": id, "seq": message.map(|message| message.seq)}));
        }
    }

    /// Writes; Ok when nothing will follow and everything is acknowledged.
    async fn write(
        &self,
        write: &mut WriteHalf<Box<dyn Duplex>>,
        mut answers: mpsc::Receiver<Packet>,
        stock: &mut Stock,
    ) -> Result<(), PublishError> {
        let mut ping = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        let mut out = BytesMut::with_capacity(BATCH_BYTES);
        self.flight().begin_again(&mut out);
        flush(write, &mut out).await?;
        let mut finished = false;
        loop {
            let mut torn = None;
            let room = self.flight().room();
            if finished && self.flight().is_settled() && answers.is_empty() {
                return Ok(());
            }
            tokio::select! {
                biased;
                _ = ping.tick() => PingReq.write(&mut out).map(drop)?,
                answer = answers.recv() => match answer {
                    None => return Err(PublishError::Closed),
                    Some(answer) => {
                        answer.write(&mut out, usize::MAX)?;
                        while let Ok(answer) = answers.try_recv() {
                            answer.write(&mut out, usize::MAX)?;
                        }
                    }
                },
                () = self.settled.notified(), if room == 0 || finished => continue,
                // One by one where a connection may be cut: what comes before the cut has left.
                taken = stock.take(self.member, if self.conduct.is_some() { 1 } else { room }), if room > 0 && !finished => match taken {
                    Taken::Some | Taken::Nothing => torn = self.encode(stock, &mut out),
                    // Nobody cuts a broker that we went to.
                    Taken::Finished | Taken::Cut => finished = true,
                    // The other half of `run` has seen it, too, and ends this one.
                    Taken::Dropped(_) => std::future::pending().await,
                },
            }
            flush(write, &mut out).await?;
            self.member.sent(&stock.batch);
            stock.batch.clear();
            if let Some(mut torn) = torn {
                flush(write, &mut torn).await?;
                return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
            }
        }
    }

    /// Encodes all of the batch, or as much of it as the conduct has left over: what will not leave whole is
    /// held for the next connection, and the packet in which this one ends is given back.
    fn encode(&self, stock: &mut Stock, out: &mut BytesMut) -> Option<BytesMut> {
        let mut flight = self.flight();
        for (n, item) in stock.batch.iter().enumerate() {
            match self.conduct.as_ref().map(|c| c.before_message(item.emission.payload().len())) {
                None | Some(Next::Send | Next::Expire) => {}
                Some(Next::Noise(noise)) => publish::write_noise(item, &noise, out),
                Some(Next::Last) => {
                    let mut torn = BytesMut::new();
                    // Never whole, and so nothing that an identifier would be kept for.
                    publish::write(item, 1, false, &mut torn);
                    stock.held.splice(..0, stock.batch.drain(n..));
                    return Some(torn);
                }
            }
            let has_id = item.qos > 0 && item.emission.publish_head(item.qos).is_some();
            // No more was taken than there is room for.
            let id = has_id.then(|| flight.open(item)).flatten();
            publish::write(item, id.unwrap_or_default(), false, out);
        }
        None
    }

    fn flight(&self) -> MutexGuard<'_, Flight> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stock {
    /// As [`Member::take`], but first what is held.
    async fn take(&mut self, member: &Member, room: usize) -> Taken {
        if self.held.is_empty() {
            return member.take(&mut self.batch, room, BATCH_BYTES).await;
        }
        let first = room.min(self.held.len());
        self.batch.extend(self.held.drain(..first));
        Taken::Some
    }
}

async fn flush(write: &mut WriteHalf<Box<dyn Duplex>>, out: &mut BytesMut) -> Result<(), PublishError> {
    if !out.is_empty() {
        write.write_all(out).await?;
        write.flush().await?;
        out.clear();
    }
    Ok(())
}
