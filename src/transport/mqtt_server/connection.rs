//! One MQTT connection, from CONNECT to its end.
//!
//! Reading and writing are two futures of one task: a client that sends while it is being sent to
//! never brings both sides to a halt. The reader leaves its answers in a short queue that the writer
//! empties before it takes messages, so a SUBACK precedes what was subscribed to.

use std::future::{self, Future};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::v4::{
    ConnAck, Connect, ConnectReturnCode, Packet, PubAck, PubComp, PubRec, PubRel, Publish, SubAck, Subscribe,
    SubscribeReasonCode, UnsubAck, Unsubscribe,
};
use rumqttc::mqttbytes::{Error as PacketError, QoS};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{sleep, timeout};

use super::packets::PacketReader;
use super::window::Window;
use super::{FILTERS_MAX, MqttServer, publish, topic};
use crate::transport::fanout::{Item, JoinError, Member, Taken, Wish};
use crate::transport::misbehave::{Conduct, Next};
use crate::vendors::service::{Grant, MqttPolicy, Standing};

/// A client that connects and says nothing.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a closed connection is read on, so that its end does not become a reset.
const LINGER: Duration = Duration::from_secs(5);

/// One write: enough for some hundred messages, little enough that lateness is known soon.
const BATCH_BYTES: usize = 64 << 10;

/// Answers that wait to be written; a client that sends more without reading waits itself.
const ANSWERS_MAX: usize = 64;

/// Why a connection ended, where it did not by DISCONNECT or with the replay.
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
    #[error("nothing within one and a half times its keep-alive of {0} s")]
    KeepAlive(u16),
    #[error("another client took its identifier")]
    Evicted,
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

pub(super) async fn serve<S>(
    server: &MqttServer,
    stream: S,
    endpoint: &str,
    mut policy: Option<Box<dyn MqttPolicy>>,
    conduct: Option<Arc<Conduct>>,
) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Send,
{
    let (read, mut write) = tokio::io::split(stream);
    let mut packets = PacketReader::new(read);
    let connect = match timeout(CONNECT_TIMEOUT, packets.next()).await {
        Err(_) => return Err(Ended::Silent),
        Ok(Ok(Some(Packet::Connect(connect)))) => connect,
        Ok(Ok(Some(_))) => return Err(Ended::Misplaced("something before CONNECT")),
        Ok(Ok(None)) => return Ok(()),
        Ok(Err(PacketError::InvalidProtocol | PacketError::InvalidProtocolLevel(_))) => {
            answer(&mut write, ConnectReturnCode::RefusedProtocolVersion).await?;
            linger(&mut write, &mut packets).await;
            return Err(Ended::OtherLevel);
        }
        Ok(Err(error)) => return Err(error.into()),
    };
    if let Some(Err(why)) = policy.as_mut().map(|policy| policy.connect(&connect.client_id)) {
        linger(&mut write, &mut packets).await;
        return Err(Ended::Rules(why));
    }
    if conduct.as_ref().is_some_and(|conduct| conduct.refuses()) {
        answer(&mut write, ConnectReturnCode::ServiceUnavailable).await?;
        linger(&mut write, &mut packets).await;
        return Err(Ended::Misbehaviour);
    }
    let member = match admit(server, &connect, endpoint, policy.is_some()) {
        Ok(member) => member,
        Err((code, why)) => {
            answer(&mut write, code).await?;
            linger(&mut write, &mut packets).await;
            return Err(Ended::Refused(why));
        }
    };
    answer(&mut write, ConnectReturnCode::Success).await?;
    member.trace(
        "connect",
        || json!({"client_id": connect.client_id, "clean_session": connect.clean_session, "keep_alive_s": connect.keep_alive}),
    );
    let seat = server.enter(&connect.client_id);
    let (answers, to_write) = mpsc::channel(ANSWERS_MAX);
    let session = Session {
        member,
        window: Mutex::default(),
        settled: Notify::new(),
        keep_alive_s: connect.keep_alive,
        policy: policy.map(Mutex::new),
        standing: Mutex::new(Standing::Unready),
        asked: Notify::new(),
        conduct,
    };
    let rules = server.rules.subscribe();
    let ended = tokio::select! {
        biased;
        () = seat.evicted.cancelled() => Err(Ended::Evicted),
        why = session.member.dropped() => Err(Ended::Dropped(why)),
        why = session.obey(rules), if session.policy.is_some() => Err(Ended::Rules(why)),
        ended = session.read(&mut packets, answers) => ended,
        ended = session.write(&mut write, to_write) => ended,
    };
    drop(seat);
    session.member.end();
    // Who does not read is not waited for.
    if !matches!(ended, Err(Ended::Dropped(_))) {
        linger(&mut write, &mut packets).await;
    }
    ended
}

fn admit(
    server: &MqttServer,
    connect: &Connect,
    endpoint: &str,
    is_admitted: bool,
) -> Result<Member, (ConnectReturnCode, &'static str)> {
    if connect.client_id.is_empty() && !connect.clean_session {
        return Err((ConnectReturnCode::BadClientId, "no client identifier, and no clean session"));
    }
    if !is_admitted && !server.credentials.accept(&connect.auth) {
        return Err((ConnectReturnCode::BadUserNamePassword, "unknown user name or password"));
    }
    server.fanout.join(endpoint).map_err(|error| match error {
        JoinError::Full => (ConnectReturnCode::ServiceUnavailable, "too many clients"),
        JoinError::Over => (ConnectReturnCode::ServiceUnavailable, "the replay is over"),
    })
}

async fn answer<W: AsyncWrite + Unpin>(write: &mut W, code: ConnectReturnCode) -> Result<(), Ended> {
    let mut out = BytesMut::new();
    ConnAck::new(code, false).write(&mut out)?;
    write.write_all(&out).await?;
    Ok(write.flush().await?)
}

async fn linger<S, R>(write: &mut WriteHalf<S>, packets: &mut PacketReader<R>)
where
    S: AsyncWrite,
    R: AsyncRead + Unpin,
{
    let _ = timeout(LINGER, async {
        if write.shutdown().await.is_ok() {
            packets.discard().await;
        }
    })
    .await;
}

/// What reader and writer of a connection share.
struct Session {
    member: Member,
    window: Mutex<Window>,
    /// Something was acknowledged.
    settled: Notify,
    keep_alive_s: u16,
    policy: Option<Mutex<Box<dyn MqttPolicy>>>,
    /// What the policy said last.
    standing: Mutex<Standing>,
    /// The client asked for something: when to look at the policy again may be another time.
    asked: Notify,
    conduct: Option<Arc<Conduct>>,
}

impl Session {
    async fn read<R: AsyncRead + Unpin>(
        &self,
        packets: &mut PacketReader<R>,
        answers: mpsc::Sender<Packet>,
    ) -> Result<(), Ended> {
        let mut filters: Vec<(String, u8)> = Vec::new();
        loop {
            let Some(packet) = self.within_keep_alive(packets.next()).await?? else { return Ok(()) };
            let (answer, wish) = match packet {
                Packet::Subscribe(subscribe) if self.policy.is_some() => {
                    (self.subscribe_under_policy(subscribe)?, None)
                }
                Packet::Unsubscribe(Unsubscribe { pkid, topics }) if self.policy.is_some() => {
                    self.unsubscribe_under_policy(&topics);
                    (Some(Packet::UnsubAck(UnsubAck::new(pkid))), None)
                }
                Packet::Subscribe(subscribe) => {
                    let answer = self.subscribe(&mut filters, subscribe);
                    // A client with nothing but refused filters is not ready for anything.
                    let wish = (!filters.is_empty()).then(|| Wish::Topics(filters.clone()));
                    (Some(answer), wish)
                }
                Packet::Unsubscribe(Unsubscribe { pkid, topics }) => {
                    self.member.trace("unsubscribe", || json!({"filters": topics}));
                    filters.retain(|(filter, _)| !topics.contains(filter));
                    self.member.wish(Wish::Topics(filters.clone()));
                    (Some(Packet::UnsubAck(UnsubAck::new(pkid))), None)
                }
                Packet::Publish(publish) => (self.published(&publish), None),
                Packet::PubRel(PubRel { pkid }) => (Some(Packet::PubComp(PubComp::new(pkid))), None),
                Packet::PubAck(PubAck { pkid }) => {
                    self.acknowledged("puback", pkid, Window::puback);
                    (None, None)
                }
                Packet::PubRec(PubRec { pkid }) => {
                    self.acknowledged("pubrec", pkid, Window::pubrec);
                    (Some(Packet::PubRel(PubRel::new(pkid))), None)
                }
                Packet::PubComp(PubComp { pkid }) => {
                    self.acknowledged("pubcomp", pkid, Window::pubcomp);
                    (None, None)
                }
                Packet::PingReq => (Some(Packet::PingResp), None),
                Packet::Disconnect => return Ok(()),
                Packet::Connect(_) => return Err(Ended::Misplaced("a second CONNECT")),
                Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                    return Err(Ended::Misplaced("a server's packet"));
                }
            };
            if let Some(answer) = answer
                && answers.send(answer).await.is_err()
            {
                return Ok(());
            }
            if let Some(wish) = wish {
                self.member.wish(wish);
            }
            // Behind the answer, as a wish is, and before the client has it: what follows may be the end of
            // the connection that this one takes over from.
            self.stand().map_err(Ended::Rules)?;
            self.asked.notify_one();
        }
    }

    /// Does what the policy says from moment to moment; returns with the reason to close.
    async fn obey(&self, mut rules: watch::Receiver<u64>) -> &'static str {
        loop {
            rules.mark_unchanged();
            let wake_ns = match self.stand() {
                Ok(wake_ns) => wake_ns,
                Err(why) => return why,
            };
            let now_ns = self.member.clock().now().steady_ns;
            let wake = wake_ns.map(|at_ns| Duration::from_nanos(at_ns.saturating_sub(now_ns)));
            tokio::select! {
                () = self.asked.notified() => {}
                changed = rules.changed() => if changed.is_err() {
                    // The server is gone, and with it this connection in a moment.
                    return future::pending().await;
                },
                () = sleep(wake.unwrap_or_default()), if wake.is_some() => {}
            }
        }
    }

    /// Takes the policy's word for what flows now; answers with when to ask again, or why to close.
    fn stand(&self) -> Result<Option<u64>, &'static str> {
        let Some(mut policy) = self.policy() else { return Ok(None) };
        let standing = policy.standing(self.member.clock().now());
        let wake_ns = policy.wake_at();
        let mut before = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if standing != *before {
            match standing.clone() {
                Standing::Over(why) => return Err(why),
                Standing::Unready => {}
                Standing::Paused => self.member.wish(Wish::Topics(Vec::new())),
                Standing::Flowing { rows, topic, qos } => {
                    self.member.wish(Wish::OnTopic { rows, topic, qos });
                }
            }
            *before = standing;
        }
        Ok(wake_ns)
    }

    fn policy(&self) -> Option<MutexGuard<'_, Box<dyn MqttPolicy>>> {
        self.policy.as_ref().map(|policy| policy.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn subscribe_under_policy(&self, subscribe: Subscribe) -> Result<Option<Packet>, Ended> {
        self.trace_subscribe(&subscribe);
        let Some(mut policy) = self.policy() else { return Ok(None) };
        let beside = subscribe.filters.len();
        let mut codes = Vec::with_capacity(beside);
        let mut is_answered = true;
        for asked in &subscribe.filters {
            match policy.subscribe(&asked.path, asked.qos as u8, beside) {
                Grant::Granted(0) => codes.push(SubscribeReasonCode::Success(QoS::AtMostOnce)),
                Grant::Granted(_) => codes.push(SubscribeReasonCode::Success(QoS::AtLeastOnce)),
                Grant::Refused => codes.push(SubscribeReasonCode::Failure),
                Grant::Ignored => is_answered = false,
                Grant::Close(why) => return Err(Ended::Rules(why)),
            }
        }
        Ok(is_answered.then(|| Packet::SubAck(SubAck::new(subscribe.pkid, codes))))
    }

    fn unsubscribe_under_policy(&self, topics: &[String]) {
        self.member.trace("unsubscribe", || json!({"filters": topics}));
        if let Some(mut policy) = self.policy() {
            topics.iter().for_each(|topic| policy.unsubscribe(topic));
        }
    }

    fn trace_subscribe(&self, subscribe: &Subscribe) {
        self.member.trace("subscribe", || {
            let filters: Vec<_> =
                subscribe.filters.iter().map(|f| json!({"filter": f.path, "qos": f.qos as u8})).collect();
            json!({"filters": filters})
        });
    }

    async fn write<S: AsyncWrite>(
        &self,
        write: &mut WriteHalf<S>,
        mut answers: mpsc::Receiver<Packet>,
    ) -> Result<(), Ended> {
        let mut out = BytesMut::with_capacity(BATCH_BYTES);
        let mut batch: Vec<Item> = Vec::new();
        let mut finished = false;
        let mut is_last = false;
        loop {
            let room = self.window().room();
            if finished && self.window().is_settled() && answers.is_empty() {
                return Ok(());
            }
            tokio::select! {
                biased;
                answer = answers.recv() => match answer {
                    None => return Ok(()),
                    Some(answer) => {
                        answer.write(&mut out, usize::MAX)?;
                        while let Ok(answer) = answers.try_recv() {
                            answer.write(&mut out, usize::MAX)?;
                        }
                    }
                },
                () = self.settled.notified(), if room == 0 || finished => continue,
                taken = self.member.take(&mut batch, room, BATCH_BYTES), if room > 0 && !finished => match taken {
                    Taken::Some | Taken::Nothing => is_last = self.encode(&mut batch, &mut out),
                    Taken::Finished => finished = true,
                    Taken::Dropped(why) => return Err(Ended::Dropped(why)),
                },
            }
            if !out.is_empty() {
                write.write_all(&out).await?;
                write.flush().await?;
                out.clear();
            }
            self.member.sent(&batch);
            batch.clear();
            if is_last {
                return Err(Ended::Misbehaviour);
            }
        }
    }

    /// Encodes all of `batch`, or as much of it as the server's conduct has left over; true if nothing is to
    /// follow.
    fn encode(&self, batch: &mut Vec<Item>, out: &mut BytesMut) -> bool {
        let mut window = self.window();
        let mut encoded = 0;
        let mut is_last = false;
        for item in batch.iter() {
            match self.conduct.as_ref().map(|c| c.before_message(item.emission.payload().len())) {
                None | Some(Next::Send) => {}
                Some(Next::Noise(noise)) => publish::write_noise(item, &noise, out),
                Some(Next::Last) => is_last = true,
                Some(Next::Expire) => {
                    self.expire_token();
                    is_last = true;
                    break;
                }
            }
            let has_id = item.qos > 0 && item.publish_head().is_some();
            // No more was taken than the window has room for.
            let id = has_id.then(|| window.open(item.qos, item.emission.row.seq)).flatten();
            publish::write(item, id.unwrap_or_default(), out);
            if is_last {
                break;
            }
            encoded += 1;
        }
        // What is not sent whole is not counted as sent.
        batch.truncate(encoded);
        is_last
    }

    /// Only vendors with rules of their own have tokens.
    fn expire_token(&self) {
        if let Some(conduct) = self.conduct.as_ref().filter(|_| self.policy.is_some()) {
            conduct.expire_token();
        }
    }

    fn subscribe(&self, filters: &mut Vec<(String, u8)>, subscribe: Subscribe) -> Packet {
        self.trace_subscribe(&subscribe);
        let codes = subscribe.filters.into_iter().map(|asked| {
            if !topic::is_filter(&asked.path) {
                return SubscribeReasonCode::Failure;
            }
            match filters.iter().position(|(filter, _)| *filter == asked.path) {
                Some(known) => filters[known].1 = asked.qos as u8,
                None if filters.len() < FILTERS_MAX => filters.push((asked.path, asked.qos as u8)),
                None => return SubscribeReasonCode::Failure,
            }
            SubscribeReasonCode::Success(asked.qos)
        });
        Packet::SubAck(SubAck::new(subscribe.pkid, codes.collect()))
    }

    fn published(&self, publish: &Publish) -> Option<Packet> {
        self.member.trace("publish", || {
            json!({
                "topic": String::from_utf8_lossy(&publish.topic),
                "qos": publish.qos as u8,
                "bytes": publish.payload.len(),
            })
        });
        match publish.qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce => Some(Packet::PubAck(PubAck::new(publish.pkid))),
            QoS::ExactlyOnce => Some(Packet::PubRec(PubRec::new(publish.pkid))),
        }
    }

    fn acknowledged(&self, event: &str, id: u16, settle: fn(&mut Window, u16) -> Option<u64>) {
        let seq = settle(&mut self.window(), id);
        self.settled.notify_one();
        self.member.acknowledged();
        // A PUBREC is half of it.
        if let (Some(seq), true) = (seq, event != "pubrec") {
            self.member.settled(seq);
        }
        self.member.trace(event, || json!({"packet_id": id, "seq": seq}));
    }

    async fn within_keep_alive<T>(&self, read: impl Future<Output = T>) -> Result<T, Ended> {
        match self.keep_alive_s {
            0 => Ok(read.await),
            seconds => timeout(Duration::from_millis(u64::from(seconds) * 1_500), read)
                .await
                .map_err(|_| Ended::KeepAlive(seconds)),
        }
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
