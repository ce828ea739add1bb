//! What a client published, or left as its will, on its way to other clients.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::v4::{LastWill, Publish};

use super::publish;

/// One application message from a client. Its header is encoded once for each QoS that it leaves at.
#[derive(Debug)]
pub struct Publication {
    pub topic: String,
    pub payload: Bytes,
    pub qos: u8,
    /// As the client set it: to be kept for later subscribers.
    pub retain: bool,
    heads: [OnceLock<Option<Bytes>>; 3],
}

impl Publication {
    pub fn new(topic: String, payload: &[u8], qos: u8, retain: bool) -> Arc<Self> {
        // A copy of its own: what is kept must not keep a read buffer alive.
        let payload = Bytes::copy_from_slice(payload);
        Arc::new(Self { topic, payload, qos, retain, heads: [const { OnceLock::new() }; 3] })
    }

    /// The codec has looked at the topic: it is UTF-8.
    pub fn of(publish: &Publish) -> Arc<Self> {
        let topic = String::from_utf8_lossy(&publish.topic).into_owned();
        Self::new(topic, &publish.payload, publish.qos as u8, publish.retain)
    }

    pub fn of_will(will: LastWill) -> Arc<Self> {
        Self::new(will.topic, &will.message, will.qos as u8, will.retain)
    }

    /// What it costs to keep it, beside the book-keeping.
    pub fn bytes(&self) -> usize {
        self.topic.len() + self.payload.len() + size_of::<Self>()
    }
}

/// A publication on its way to one client.
#[derive(Clone, Debug)]
pub struct Relayed {
    pub publication: Arc<Publication>,
    /// The lower of the publisher's and the granted one.
    pub qos: u8,
    /// Sent because a subscription is new, and so with the retain flag (MQTT 3.1.1, section 3.3.1.3).
    pub is_retained: bool,
}

impl Relayed {
    fn head(&self) -> Option<Bytes> {
        let Publication { topic, payload, heads, .. } = &*self.publication;
        if self.is_retained {
            return publish::head(topic, self.qos, true, payload.len());
        }
        let encode = || publish::head(topic, self.qos, false, payload.len());
        heads.get(usize::from(self.qos)).and_then(|head| head.get_or_init(encode).clone())
    }

    /// Appends its PUBLISH to `out`; `dup` where it may have been sent before.
    pub fn write(&self, packet_id: u16, dup: bool, out: &mut BytesMut) {
        if let Some(head) = self.head() {
            publish::put(&head, self.qos, packet_id, dup, &self.publication.payload, out);
        }
    }
}
