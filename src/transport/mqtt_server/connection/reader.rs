//! What a client says, and what it is answered.

use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{
    Packet, PubAck, PubComp, PubRec, PubRel, Publish, SubAck, Subscribe, SubscribeReasonCode, UnsubAck,
    Unsubscribe,
};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::super::packets::PacketReader;
use super::super::publication::Publication;
use super::super::window::Window;
use super::super::{FILTERS_BYTES_MAX, FILTERS_MAX, rules};
use super::{ANSWERS_TIMEOUT, Connection, Ended, LINGER, Parted};
use crate::transport::fanout::{MessageId, Wish};
use crate::transport::trace;

/// What follows an answer.
enum Then {
    Nothing,
    /// These filters count from now on.
    Subscribe(Vec<(String, u8)>),
}

impl Connection<'_> {
    pub(super) async fn read<R: AsyncRead + Unpin>(
        &self,
        packets: &mut PacketReader<R>,
        answers: mpsc::Sender<Packet>,
    ) -> Result<Parted, Ended> {
        loop {
            let Some(packet) = self.within_keep_alive(packets.next()).await?? else {
                return Ok(Parted::Closed);
            };
            if let Some(rule) = rules::broken_by(&packet) {
                return Err(Ended::Broken(rule));
            }
            if packet == Packet::Disconnect {
                self.session.member.trace("disconnect", || json!({}));
                self.has_disconnected.store(true, Ordering::Relaxed);
                // The writer ends the connection when it has written the answers that wait.
                drop(answers);
                sleep(ANSWERS_TIMEOUT).await;
                return Ok(Parted::Disconnected);
            }
            let (answer, then) = self.answer(packet)?;
            if let Some(answer) = answer {
                if answers.send(answer).await.is_err() {
                    return Ok(Parted::Closed);
                }
                // A SUBACK precedes what was subscribed to: from here on it is the writer that writes.
                self.session.wire.set_idle(false);
            }
            if let Then::Subscribe(filters) = then {
                self.subscribed(&filters);
            }
            // Behind the answer, as a wish is, and before the client has it: what follows may be the end of
            // the connection that this one takes over from.
            self.stand().map_err(Ended::Rules)?;
            self.asked.notify_one();
        }
    }

    /// The replay is over, and the client is told so: what it still says, to the last message perhaps, is for the trace
    /// and for those who are still there. Nothing of it can be answered.
    pub(super) async fn hear_out<S: AsyncRead + AsyncWrite>(
        &self,
        packets: &mut PacketReader<ReadHalf<S>>,
        write: &mut (impl AsyncWrite + Unpin),
    ) {
        let _ = timeout(LINGER, async {
            if write.shutdown().await.is_err() {
                return;
            }
            while let Ok(Some(packet)) = packets.next().await {
                if packet == Packet::Disconnect {
                    self.session.member.trace("disconnect", || json!({}));
                } else if rules::broken_by(&packet).is_some() || self.answer(packet).is_err() {
                    return;
                }
            }
        })
        .await;
    }

    fn answer(&self, packet: Packet) -> Result<(Option<Packet>, Then), Ended> {
        let is_under_policy = self.policy.is_some();
        let answer = match packet {
            Packet::Subscribe(subscribe) => {
                self.trace_subscribe(&subscribe);
                if is_under_policy {
                    self.subscribe_under_policy(&subscribe)?
                } else {
                    let (answer, filters) = self.subscribe(subscribe);
                    return Ok((Some(answer), Then::Subscribe(filters)));
                }
            }
            Packet::Unsubscribe(Unsubscribe { pkid, topics }) => {
                self.session.member.trace("unsubscribe", || json!({"filters": topics}));
                if is_under_policy {
                    self.unsubscribe_under_policy(&topics);
                } else {
                    self.unsubscribe(&topics);
                }
                Some(Packet::UnsubAck(UnsubAck::new(pkid)))
            }
            Packet::Publish(publish) => self.published(&publish),
            Packet::PubRel(PubRel { pkid }) => {
                self.session.state().unreleased.remove(&pkid);
                Some(Packet::PubComp(PubComp::new(pkid)))
            }
            Packet::PubAck(PubAck { pkid }) => {
                self.acknowledged("puback", pkid, Window::puback);
                None
            }
            Packet::PubRec(PubRec { pkid }) => {
                self.acknowledged("pubrec", pkid, Window::pubrec);
                Some(Packet::PubRel(PubRel::new(pkid)))
            }
            Packet::PubComp(PubComp { pkid }) => {
                self.acknowledged("pubcomp", pkid, Window::pubcomp);
                None
            }
            Packet::PingReq => Some(Packet::PingResp),
            Packet::Disconnect => None,
            Packet::Connect(_) => return Err(Ended::Misplaced("a second CONNECT")),
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                return Err(Ended::Misplaced("a server's packet"));
            }
        };
        Ok((answer, Then::Nothing))
    }

    /// The answer, and the filters that were granted.
    fn subscribe(&self, subscribe: Subscribe) -> (Packet, Vec<(String, u8)>) {
        let mut granted: Vec<(String, u8)> = Vec::new();
        let state = self.session.state();
        let mut filters = state.filters.len();
        let mut bytes: usize = state.filters.iter().map(|(filter, _)| filter.len()).sum();
        let codes = subscribe.filters.into_iter().map(|asked| {
            if !self.is_granted(&asked.path) {
                return SubscribeReasonCode::Failure;
            }
            let qos = asked.qos as u8;
            match granted.iter_mut().find(|(filter, _)| *filter == asked.path) {
                Some(again) => again.1 = qos,
                None => {
                    if !state.filters.iter().any(|(filter, _)| *filter == asked.path) {
                        if filters >= FILTERS_MAX || bytes + asked.path.len() > FILTERS_BYTES_MAX {
                            return SubscribeReasonCode::Failure;
                        }
                        filters += 1;
                        bytes += asked.path.len();
                    }
                    granted.push((asked.path, qos));
                }
            }
            SubscribeReasonCode::Success(asked.qos)
        });
        let answer = Packet::SubAck(SubAck::new(subscribe.pkid, codes.collect()));
        drop(state);
        (answer, granted)
    }

    /// Behind the SUBACK.
    fn subscribed(&self, granted: &[(String, u8)]) {
        self.server.broker.subscribe(self.session, granted);
        let filters = self.session.state().filters.clone();
        // A client with nothing but refused filters is not ready for anything.
        if !filters.is_empty() {
            self.session.member.wish(Wish::Topics(filters));
        }
    }

    fn unsubscribe(&self, topics: &[String]) {
        let filters = {
            let mut state = self.session.state();
            state.filters.retain(|(filter, _)| !topics.contains(filter));
            state.filters.clone()
        };
        self.session.member.wish(Wish::Topics(filters));
    }

    fn published(&self, publish: &Publish) -> Option<Packet> {
        self.session.member.trace("publish", || {
            let topic = String::from_utf8_lossy(&publish.topic);
            trace::publication(&topic, publish.qos as u8, publish.retain, &publish.payload)
        });
        let id = publish.pkid;
        // One that is sent again is acknowledged again, and passed on only once [MQTT-4.3.3-2].
        let is_new = publish.qos != QoS::ExactlyOnce || self.session.state().unreleased.insert(id);
        if is_new && self.policy.is_none() {
            let publication = Publication::of(publish);
            self.server.broker.publish(&publication);
            self.ask_vendor(&publication);
        }
        match publish.qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce => Some(Packet::PubAck(PubAck::new(id))),
            QoS::ExactlyOnce => Some(Packet::PubRec(PubRec::new(id))),
        }
    }

    fn is_granted(&self, filter: &str) -> bool {
        self.server.vendor.as_ref().is_none_or(|vendor| vendor.grants(self.username, filter))
    }

    fn ask_vendor(&self, publication: &Publication) {
        if let Some(vendor) = &self.server.vendor {
            let now = self.session.member.clock().now();
            vendor.published(now, self.username, &publication.topic, &publication.payload);
            self.server.asked.notify_one();
        }
    }

    fn acknowledged(&self, event: &str, id: u16, settle: fn(&mut Window, u16) -> Option<MessageId>) {
        let settled = settle(&mut self.session.state().window, id);
        self.session.stirred.notify_one();
        if let Some(message) = settled {
            self.session.member.acknowledged();
            // A PUBREC is half of it.
            if event != "pubrec" {
                self.session.member.settled(message);
            }
        }
        self.session
            .member
            .trace(event, || json!({"packet_id": id, "seq": settled.map(|message| message.seq)}));
    }

    fn trace_subscribe(&self, subscribe: &Subscribe) {
        self.session.member.trace("subscribe", || {
            let filters: Vec<_> =
                subscribe.filters.iter().map(|f| json!({"filter": f.path, "qos": f.qos as u8})).collect();
            json!({"filters": filters})
        });
    }

    async fn within_keep_alive<T>(&self, read: impl Future<Output = T>) -> Result<T, Ended> {
        match self.keep_alive_s {
            0 => Ok(read.await),
            seconds => timeout(Duration::from_millis(u64::from(seconds) * 1_500), read)
                .await
                .map_err(|_| Ended::KeepAlive(seconds)),
        }
    }
}
