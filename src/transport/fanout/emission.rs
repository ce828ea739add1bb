//! One message as it leaves: the row, when it is due, and its encodings, each made once for all clients.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::ws::{Message, Utf8Bytes};
use bytes::Bytes;
use bytestring::ByteString;

use super::StateChange;
use crate::envelope;
use crate::message::{Row, SessionId};
use crate::transport::mqtt_server::publish;
use crate::vendors::replay_topic;

/// The end of the envelope of a message that is told again.
const RETOLD_MEMBER: &str = r#","replayed_state":true}"#;

/// A message on its way to all clients.
#[derive(Debug)]
pub struct Emission {
    /// As recorded. Boxed, as it was read: it is large, and moved from hand to hand.
    pub row: Box<Row>,
    /// What leaves in place of what is in the row, if anything does. Nearly always nothing, hence the box.
    changed: Option<Box<Changed>>,
    /// Its place in the replay, from 0, loops counted on.
    pub index: u64,
    /// The steady time at which it is to leave; none where there is no time to keep.
    pub due_ns: Option<u64>,
    /// What it does to what is known of a thing; none where that is not remembered.
    pub state: Option<StateChange>,
    /// The n-th message, from 1, that was handed out since states are kept; 0 where they are not. Faults let
    /// `index` run back, not this.
    serial: AtomicU64,
    /// It is told again, to a client that came late.
    is_retold: bool,
    topic: OnceLock<ByteString>,
    raw: OnceLock<Message>,
    envelope: OnceLock<Message>,
    heads: [OnceLock<Option<Bytes>>; 3],
}

/// Which message it is of those that were handed out. A `seq` alone is not enough: sessions have the same ones, and so
/// has each round of a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageId {
    pub index: u64,
    pub session_id: SessionId,
    pub seq: u64,
}

/// What of a message is not as recorded when it leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    pub payload: Bytes,
    pub clear: Option<Bytes>,
    /// Microseconds since the Unix epoch, as are those of the row.
    pub received_at_us: i64,
    pub event_at_us: Option<i64>,
}

impl Changed {
    /// Nothing is changed yet.
    pub fn of(row: &Row) -> Self {
        Self {
            payload: row.payload.clone(),
            clear: row.clear.clone(),
            received_at_us: row.received_at_us,
            event_at_us: row.event_at_us,
        }
    }

    /// The row as a client is to see it.
    fn into_row(self, row: &Row) -> Row {
        let Self { payload, clear, received_at_us, event_at_us } = self;
        Row { payload, clear, received_at_us, event_at_us, ..row.clone() }
    }
}

impl Emission {
    pub fn new(row: impl Into<Box<Row>>, index: u64, due_ns: Option<u64>) -> Self {
        Self::changed(row, None, index, due_ns)
    }

    /// As [`Emission::new`], with other bytes than those recorded.
    pub fn changed(
        row: impl Into<Box<Row>>,
        changed: Option<Changed>,
        index: u64,
        due_ns: Option<u64>,
    ) -> Self {
        Self {
            row: row.into(),
            changed: changed.map(Box::new),
            index,
            due_ns,
            state: None,
            serial: AtomicU64::new(0),
            is_retold: false,
            topic: OnceLock::new(),
            raw: OnceLock::new(),
            envelope: OnceLock::new(),
            heads: [const { OnceLock::new() }; 3],
        }
    }

    /// The same message as it is told to a client that comes late, whenever that is: marked where the protocol can.
    pub fn retold(&self) -> Self {
        Self {
            is_retold: true,
            ..Self::changed(self.row.detached(), self.changed.as_deref().cloned(), self.index, None)
        }
    }

    pub fn id(&self) -> MessageId {
        MessageId { index: self.index, session_id: self.row.session_id, seq: self.row.seq }
    }

    pub(super) fn serial(&self) -> u64 {
        self.serial.load(Ordering::Relaxed)
    }

    pub(super) fn number(&self, serial: u64) {
        self.serial.store(serial, Ordering::Relaxed);
    }

    pub fn is_retold(&self) -> bool {
        self.is_retold
    }

    /// The bytes that leave.
    pub fn payload(&self) -> &Bytes {
        self.changed.as_ref().map_or(&self.row.payload, |changed| &changed.payload)
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
            let json = match self.changed.clone() {
                None => envelope::to_json(&self.row),
                Some(changed) => envelope::to_json(&changed.into_row(&self.row)),
            };
            let mut json = json.unwrap_or_default();
            if self.is_retold && json.pop().is_some() {
                json.push_str(RETOLD_MEMBER);
            }
            Message::Text(json.into())
        });
        frame.clone()
    }

    /// Fixed and variable header of the PUBLISH at `qos`, the packet identifier left zero; none if
    /// topic or payload are longer than MQTT can say.
    pub fn publish_head(&self, qos: u8) -> Option<&Bytes> {
        let qos = qos.min(2);
        self.heads[usize::from(qos)]
            .get_or_init(|| {
                let retain = self.is_retold || self.row.mqtt.is_some_and(|mqtt| mqtt.retain);
                publish::head(self.topic(), qos, retain, self.payload().len())
            })
            .as_ref()
    }
}
