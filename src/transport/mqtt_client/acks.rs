//! Acknowledgements: which are owed to the broker, and how they get there.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rumqttc::{AsyncClient, ManualAck, PubAck, PubRec, Publish, QoS};
use tokio::sync::mpsc;

use crate::transport::Command;
use crate::vendors::AckId;

/// The acknowledgements that are owed, by packet identifier: the latest delivery of each.
#[derive(Default)]
pub(super) struct Owed(Mutex<OwedById>);

#[derive(Default)]
struct OwedById {
    deliveries: u64,
    latest: HashMap<u16, AckId>,
}

impl Owed {
    /// Notes a delivery. An [`AckId`] is its number, the QoS (one bit) and the packet identifier.
    pub(super) fn note(&self, publish: &Publish) -> AckId {
        let mut owed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        owed.deliveries += 1;
        let exactly_once = u64::from(publish.qos == QoS::ExactlyOnce);
        let id = owed.deliveries << 17 | exactly_once << 16 | u64::from(publish.pkid);
        owed.latest.insert(publish.pkid, id);
        id
    }

    /// What to send for `id`; nothing if a later delivery has taken its place.
    fn settle(&self, id: AckId) -> Option<ManualAck> {
        let pkid = (id & 0xFFFF) as u16;
        let mut owed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if owed.latest.get(&pkid) != Some(&id) {
            return None;
        }
        owed.latest.remove(&pkid);
        Some(if id >> 16 & 1 == 1 {
            ManualAck::PubRec(PubRec::new(pkid))
        } else {
            ManualAck::PubAck(PubAck::new(pkid))
        })
    }
}

/// The way of acknowledgements to the broker.
pub(super) struct Acks<'a> {
    client: &'a AsyncClient,
    commands: &'a mut mpsc::Receiver<Command>,
    owed: &'a Owed,
    /// Taken, and not sent where the sending was given up.
    at_hand: Option<ManualAck>,
}

impl<'a> Acks<'a> {
    pub(super) fn new(
        client: &'a AsyncClient,
        commands: &'a mut mpsc::Receiver<Command>,
        owed: &'a Owed,
    ) -> Self {
        Self { client, commands, owed, at_hand: None }
    }

    /// Sends what is to be acknowledged; returns only when the client takes none any more. Given up at any time it
    /// loses none.
    pub(super) async fn send(&mut self) {
        while self.send_at_hand().await {
            match self.commands.recv().await {
                Some(command) => self.take(&command),
                // The handle is gone, and with it this task in a moment.
                None => std::future::pending().await,
            }
        }
    }

    pub(super) async fn send_what_is_queued(&mut self) {
        while self.send_at_hand().await
            && let Ok(command) = self.commands.try_recv()
        {
            self.take(&command);
        }
    }

    fn take(&mut self, command: &Command) {
        // A recorder publishes nothing.
        if let Command::Ack(id) = command {
            self.at_hand = self.owed.settle(*id);
        }
    }

    /// False if the client takes none any more.
    async fn send_at_hand(&mut self) -> bool {
        let Some(ack) = &self.at_hand else { return true };
        let is_sent = self.client.manual_ack(ack.clone()).await.is_ok();
        self.at_hand = None;
        is_sent
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::FutureExt as _;
    use rumqttc::{Broker, MqttOptions};

    use super::*;

    #[test]
    fn what_is_given_up_is_sent_when_it_goes_on() {
        let options = MqttOptions::new("recorder", Broker::tcp("nowhere", 1883));
        let (client, events) = AsyncClient::builder(options).capacity(1).try_build().unwrap();
        let (sender, mut commands) = mpsc::channel(4);
        let owed = Owed::default();
        for pkid in [7, 8] {
            let mut publish = Publish::new("t", QoS::AtLeastOnce, Bytes::new());
            publish.pkid = pkid;
            sender.try_send(Command::Ack(owed.note(&publish))).unwrap();
        }
        let mut acks = Acks::new(&client, &mut commands, &owed);
        assert!(acks.send().now_or_never().is_none(), "there is room for one");
        assert_eq!(acks.at_hand, Some(ManualAck::PubAck(PubAck::new(8))));
        drop(events);
        assert!(acks.send().now_or_never().is_some(), "nobody takes it any more");
    }
}
