//! One message as it leaves: the row, when it is due, and its encodings, each made once for all clients.

use std::sync::OnceLock;

use axum::extract::ws::{Message, Utf8Bytes};
use bytes::Bytes;
use bytestring::ByteString;

use crate::envelope;
use crate::message::Row;
use crate::transport::mqtt_server::publish;
use crate::vendors::replay_topic;

/// A message on its way to all clients.
#[derive(Debug)]
pub struct Emission {
    /// As recorded.
    pub row: Row,
    /// What leaves in place of the row's payload, if anything does.
    changed: Option<Bytes>,
    /// Its place in the replay, from 0, loops counted on.
    pub index: u64,
    /// The steady time at which it is to leave; none where there is no time to keep.
    pub due_ns: Option<u64>,
    topic: OnceLock<ByteString>,
    raw: OnceLock<Message>,
    envelope: OnceLock<Message>,
    heads: [OnceLock<Option<Bytes>>; 3],
}

impl Emission {
    pub fn new(row: Row, index: u64, due_ns: Option<u64>) -> Self {
        Self::changed(row, None, index, due_ns)
    }

    /// As [`Emission::new`], with other bytes than those recorded.
    pub fn changed(row: Row, changed: Option<Bytes>, index: u64, due_ns: Option<u64>) -> Self {
        Self {
            row,
            changed,
            index,
            due_ns,
            topic: OnceLock::new(),
            raw: OnceLock::new(),
            envelope: OnceLock::new(),
            heads: [const { OnceLock::new() }; 3],
        }
    }

    /// The bytes that leave.
    pub fn payload(&self) -> &Bytes {
        self.changed.as_ref().unwrap_or(&self.row.payload)
    }

    /// The MQTT topic that it leaves on.
    pub fn topic(&self) -> &ByteString {
        self.topic.get_or_init(|| replay_topic(&self.row))
    }

    /// The payload as a WebSocket frame: text, unless it was recorded as binary or is no UTF-8.
    pub fn raw_frame(&self) -> Message {
        let frame = self.raw.get_or_init(|| {
            if self.row.is_binary {
                return Message::Binary(self.payload().clone());
            }
            match Utf8Bytes::try_from(self.payload().clone()) {
                Ok(text) => Message::Text(text),
                Err(_) => Message::Binary(self.payload().clone()),
            }
        });
        frame.clone()
    }

    /// The whole row as a text frame of JSON.
    pub fn envelope_frame(&self) -> Message {
        let frame = self.envelope.get_or_init(|| {
            // Strings and integers only: serialising them does not fail.
            Message::Text(envelope::to_json_with(&self.row, self.payload()).unwrap_or_default().into())
        });
        frame.clone()
    }

    /// Fixed and variable header of the PUBLISH at `qos`, the packet identifier left zero; none if
    /// topic or payload are longer than MQTT can say.
    pub fn publish_head(&self, qos: u8) -> Option<&Bytes> {
        let qos = qos.min(2);
        self.heads[usize::from(qos)]
            .get_or_init(|| {
                let retain = self.row.mqtt.is_some_and(|mqtt| mqtt.retain);
                publish::head(self.topic(), qos, retain, self.payload().len())
            })
            .as_ref()
    }
}
