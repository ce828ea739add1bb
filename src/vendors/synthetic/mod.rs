//! Messages that nobody sent: what the vendors might send, from a seed.
//!
//! For the demo, tests and benchmarks. The same seed and options give the same messages, in order of
//! time and without end; whoever uses them stops at an offset or a count. Shapes and values follow the
//! vendors' documents; what these do not describe is not made up, except where an option asks for it.

mod body;
pub mod fleet;
pub mod load;
pub mod nodes;
pub mod rooms;
pub mod shop;
pub mod trips;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;

pub use fleet::{Fleet, Route};
pub use nodes::Nodes;
pub use rooms::Rooms;
pub use shop::Shop;
pub use trips::Trips;

use crate::message::{Mqtt, Row, SessionId};

/// A message and when it is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timed {
    /// Since the start of the stream; never less than that of the message before.
    pub offset_ns: u64,
    pub vendor: &'static str,
    /// The kind that a recording gives it.
    pub kind: &'static str,
    /// MQTT topic, webhook path or WebSocket path.
    pub channel: ByteString,
    /// None where the vendor names none.
    pub device: Option<ByteString>,
    pub mqtt: Option<Mqtt>,
    pub payload: Bytes,
}

impl Timed {
    /// The message as a row of a recording that began at `started_at_us` and in which `source` received it
    /// when it was due.
    pub fn into_row(self, source: &Arc<str>, session_id: SessionId, seq: u64, started_at_us: i64) -> Row {
        Row {
            vendor: self.vendor.into(),
            kind: self.kind.into(),
            site: "".into(),
            session_id,
            source: Arc::clone(source),
            connection: 0,
            seq,
            received_at_us: started_at_us.saturating_add((self.offset_ns / 1_000) as i64),
            elapsed_ns: self.offset_ns,
            channel: self.channel,
            device_id: self.device,
            event_at_us: None,
            mqtt: self.mqtt,
            is_binary: false,
            headers: None,
            duplicate_of: None,
            payload: self.payload,
            clear: None,
            decode_error: None,
        }
    }
}

/// `count` messages of about 330 bytes for benchmarks, made beforehand so that making them is not measured.
pub fn pool(seed: u64, count: usize) -> Vec<Timed> {
    let fleet = Fleet { vehicles: 50, locks: 0, expand_info: false, alarms: false, ..Fleet::default() };
    fleet.messages(seed).take(count).collect()
}

/// Of an actor that does something every `every`; never zero.
fn period_ns(every: Duration) -> u64 {
    u64::try_from(every.as_nanos()).unwrap_or(u64::MAX / 2).clamp(1, u64::MAX / 2)
}

/// Who acts next. Ties go to the lower number, so that the order depends on nothing else.
#[derive(Debug, Default)]
struct Agenda(BinaryHeap<Reverse<(u64, usize)>>);

impl Agenda {
    fn at(&mut self, time_ns: u64, actor: usize) {
        self.0.push(Reverse((time_ns, actor)));
    }

    fn next(&mut self) -> Option<(u64, usize)> {
        self.0.pop().map(|Reverse(next)| next)
    }
}

#[cfg(test)]
mod tests;
