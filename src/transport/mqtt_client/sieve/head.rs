//! The head of a packet of MQTT: its first byte, its length, and of a PUBLISH the length of its topic.

use std::io;

use super::payloads::NUMBER_BYTES;

const PUBLISH: u8 = 3;

/// What comes behind a head.
#[derive(Debug)]
pub(super) enum Behind {
    /// So many bytes of a packet that is no PUBLISH.
    Rest(usize),
    /// Of a PUBLISH: the topic, its packet identifier if it has one, and the payload.
    Message { topic: usize, identifier: usize, payload: usize },
}

/// A few bytes: a head is the first byte, up to four of the length, and two of a topic's.
#[derive(Debug, Default)]
pub(super) struct Short {
    bytes: [u8; NUMBER_BYTES],
    len: usize,
}

impl Short {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut short = Self::default();
        bytes.iter().for_each(|byte| short.push(*byte));
        short
    }

    pub(super) fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

/// What to pass on of a packet that begins with `head`, and what comes then; none if that takes more of it. A PUBLISH
/// goes on with a number in place of its payload.
pub(super) fn begun(head: &[u8]) -> io::Result<Option<(Short, Behind)>> {
    let Some((length_len, length)) = remaining_length(head) else {
        // More than four bytes of a length: the library says so.
        return Ok((head.len() > 4).then(|| (Short::of(head), Behind::Rest(0))));
    };
    if head[0] >> 4 != PUBLISH {
        return Ok(Some((Short::of(head), Behind::Rest(length))));
    }
    let [high, low] = *head.get(1 + length_len..).unwrap_or_default() else { return Ok(None) };
    let identifier = if head[0] & 0b0110 == 0 { 0 } else { 2 };
    let topic = usize::from(u16::from_be_bytes([high, low]));
    let Some(payload) = length.checked_sub(2 + topic + identifier) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a PUBLISH that is shorter than its topic"));
    };
    let mut out = Short::default();
    out.push(head[0]);
    let mut length = 2 + topic + identifier + NUMBER_BYTES;
    while length > 0x7F {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.push(high);
    out.push(low);
    Ok(Some((out, Behind::Message { topic, identifier, payload })))
}

/// How many bytes a packet's length takes, and the length.
fn remaining_length(head: &[u8]) -> Option<(usize, usize)> {
    let digits = head.get(1..)?;
    let last = digits.iter().take(4).position(|digit| digit & 0x80 == 0)?;
    let length =
        digits[..=last].iter().rev().fold(0, |length, digit| length << 7 | usize::from(digit & 0x7F));
    Some((last + 1, length))
}
