//! Payloads on their way around the library: each waits here until the library hands out the number that went through it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::transport::quota::Charge;

/// Once so much waits to be handed out, the next packet is not begun.
pub(super) const WAITING_BYTES: usize = 32 << 10;

/// What a message that waits takes beside its payload and topic.
pub(super) const ENTRY_BYTES: usize = 64;

pub(super) const NUMBER_BYTES: usize = 8;

/// What a PUBLISH carried.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Payload {
    Whole(Bytes),
    /// Longer than a message may be; how long.
    TooLong(u64),
}

/// The payloads that were taken out and not yet handed out.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Payloads(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) messages: VecDeque<Message>,
    /// Theirs, also of the topics, which the library has meanwhile.
    pub(super) bytes: usize,
    /// Nothing was handed out since so much waited that nothing more was read.
    pub(super) is_full: bool,
    next: u64,
}

#[derive(Debug)]
pub(super) struct Message {
    number: u64,
    pub(super) payload: Payload,
    charge: Charge,
    bytes: usize,
}

impl Payloads {
    pub(super) fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was taken out in place of `number`, with its share; none if that is no number of ours.
    pub(in super::super) fn take(&self, number: &[u8]) -> Option<(Payload, Charge)> {
        let number = u64::from_be_bytes(number.try_into().ok()?);
        let mut waiting = self.lock();
        waiting.is_full = false;
        // Those before it were repetitions that the library kept to itself.
        while let Some(message) = waiting.messages.pop_front() {
            waiting.bytes -= message.bytes;
            if message.number == number {
                return Some((message.payload, message.charge));
            }
        }
        None
    }

    /// The number that goes on in place of `payload`, whose topic has `topic` bytes.
    pub(super) fn put(&self, topic: usize, payload: Payload, charge: Charge) -> [u8; NUMBER_BYTES] {
        let own = if let Payload::Whole(bytes) = &payload { bytes.len() } else { 0 };
        let bytes = ENTRY_BYTES + topic + own;
        let mut waiting = self.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.bytes += bytes;
        waiting.messages.push_back(Message { number, payload, charge, bytes });
        number.to_be_bytes()
    }

    /// Whether another packet may be begun. `has_more`: the library is given more now, which it looks at first.
    pub(super) fn poll_room(&self, context: &mut Context<'_>, has_more: bool) -> Poll<()> {
        let mut waiting = self.lock();
        if waiting.bytes < WAITING_BYTES {
            return Poll::Ready(());
        }
        if has_more {
            return Poll::Pending;
        }
        // What the library has it hands out before it reads again. What is left then it keeps to itself.
        if std::mem::replace(&mut waiting.is_full, true) {
            let next = waiting.next;
            *waiting = Waiting { next, ..Waiting::default() };
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
