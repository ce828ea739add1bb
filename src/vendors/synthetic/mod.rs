//! Messages that nobody sent: what the vendors might send, from a seed.
//!
//! For the demo, tests and benchmarks. The same seed and options give the same messages, in order of
//! time and without end; whoever uses them stops at an offset or a count. Shapes and values follow the
//! vendors' documents; what these do not describe is not made up, except where an option asks for it.

mod body;
pub mod fleet;
pub mod shop;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use bytes::Bytes;
use bytestring::ByteString;

pub use fleet::{Fleet, Route};
pub use shop::Shop;

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
    pub device: ByteString,
    pub payload: Bytes,
}

/// `count` messages of about 330 bytes for benchmarks, made beforehand so that making them is not measured.
pub fn pool(seed: u64, count: usize) -> Vec<Timed> {
    let fleet = Fleet { vehicles: 50, locks: 0, expand_info: false, alarms: false, ..Fleet::default() };
    fleet.messages(seed).take(count).collect()
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
