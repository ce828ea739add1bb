//! What a broker sends, with the payloads taken out before the library sees them.
//!
//! The library keeps a packet until it is whole, and several at a time; one that is longer than it may be ends the
//! connection, and a broker that keeps the session sends it again, for ever. So each PUBLISH goes on to the library
//! with a number in place of its payload, which waits in [`Payloads`] until the library hands the number out:
//!
//! | on the wire | to the library | aside |
//! |---|---|---|
//! | a PUBLISH, once it is whole | its head, topic and packet identifier, and 8 bytes | the payload, with its share of the memory |
//! | one that is too long | the same | its length: it is read off, and acknowledged as any other |
//! | any other packet | as it is | |
//!
//! The library knows a broker alive by its answers to pings alone, which cannot overtake what is under way: on a slow line
//! it would give up in the midst of a large message, and again when that comes again. So it is told of an answer whenever
//! anything has come, or while nothing is read for want of memory ([`Pulse`]).
//!
//! What is in memory of a connection's messages, topics and payloads, is counted here to the byte: what it may have of
//! its own are [`OWN_BYTES`] in the making, [`WAITING_BYTES`](payloads::WAITING_BYTES) and one such message that wait to
//! be handed out, and [`READ_BYTES`] as they were read.

mod head;
mod payloads;
mod pulse;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};

use self::head::{Behind, Short, begun};
use self::payloads::NUMBER_BYTES;
pub(super) use self::payloads::{Payload, Payloads};
use self::pulse::{PINGRESP, Pulse};
use crate::transport::quota::{Charge, Meter, OWN_BYTES};

/// Read at a time.
const READ_BYTES: usize = 32 << 10;

/// What a head may take for good: topics are short.
const OUT_BYTES: usize = 1 << 10;

/// The longest packet that the library sees: a topic, and a number in place of a payload. A SUBACK is shorter.
pub(super) const PACKET_BYTES_MAX: usize = 65_535 + 2 + 2 + NUMBER_BYTES;

/// The stream ended before a packet did.
#[derive(Debug, thiserror::Error)]
#[error("the end of the stream within a packet")]
pub(super) struct EndedWithin;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Sieve<S> {
    stream: S,
    meter: Meter,
    payloads: Payloads,
    payload_bytes_max: usize,
    read: Box<[u8]>,
    /// Which part of `read` is not yet gone through.
    unread: std::ops::Range<usize>,
    at: At,
    /// What goes to the library before anything else, as soon as it is complete; so much of it has gone.
    out: Vec<u8>,
    passed: usize,
    pulse: Pulse,
    /// What is left of an answer to a ping that it is told of.
    answer: &'static [u8],
}

/// Where in a packet.
#[derive(Debug)]
enum At {
    Head(Short),
    /// So many bytes go on as they are.
    Rest(usize),
    /// So many bytes of a topic and a packet identifier are kept, then comes the payload.
    Topic {
        topic: usize,
        left: usize,
        payload: usize,
    },
    Payload {
        topic: usize,
        /// Read in several pieces, and counted with the topic meanwhile.
        is_metered: bool,
        gathered: Vec<u8>,
        left: usize,
    },
    TooLong {
        topic: usize,
        bytes: u64,
        left: usize,
    },
}

impl<S> Sieve<S> {
    /// `payload_bytes_max`: of one that is kept. `keep_alive`: how often the library pings.
    pub(super) fn new(
        stream: S,
        meter: Meter,
        payloads: Payloads,
        payload_bytes_max: usize,
        keep_alive: Duration,
    ) -> Self {
        Self {
            stream,
            meter,
            payloads,
            payload_bytes_max,
            read: vec![0; READ_BYTES].into(),
            unread: 0..0,
            at: At::Head(Short::default()),
            out: Vec::new(),
            passed: 0,
            pulse: Pulse::of(keep_alive),
            answer: &[],
        }
    }

    /// Whether the library has had whole packets so far, and no part of the next.
    fn is_between(&self) -> bool {
        self.passed == 0 && !matches!(self.at, At::Rest(_))
    }

    /// Passes on what there is of a head that is complete; how many bytes these were.
    fn pass_out(&mut self, buffer: &mut ReadBuf<'_>) -> usize {
        let passed = (self.out.len() - self.passed).min(buffer.remaining());
        buffer.put_slice(&self.out[self.passed..][..passed]);
        self.passed += passed;
        if self.passed == self.out.len() {
            self.passed = 0;
            self.out.clear();
            self.out.shrink_to(OUT_BYTES);
        }
        passed
    }

    /// Goes on with what was read; false if more has to be read first, or `buffer` is full. `has_passed`: some of it was
    /// put into `buffer` before.
    fn advance(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
        has_passed: bool,
    ) -> Poll<io::Result<bool>> {
        if matches!(self.at, At::Head(_) | At::Rest(_)) && !self.out.is_empty() {
            return Poll::Ready(Ok(self.pass_out(buffer) > 0));
        }
        let unread = &self.read[self.unread.clone()];
        let mut gone = 0;
        let next = match &mut self.at {
            At::Head(head) => {
                if head.is_empty() && !unread.is_empty() {
                    ready!(self.payloads.poll_room(context, has_passed));
                }
                let (mut next, len) = (None, head.as_slice().len());
                while next.is_none() && gone < unread.len() {
                    head.push(unread[gone]);
                    gone += 1;
                    next = match begun(head.as_slice()) {
                        Ok(next) => next,
                        Err(error) => {
                            // To be told again once the library has looked at what was passed on before.
                            head.truncate(len);
                            return Poll::Ready(Err(error));
                        }
                    };
                }
                next.map(|(out, behind)| {
                    self.out.extend(out.as_slice());
                    match behind {
                        Behind::Rest(left) => At::Rest(left),
                        Behind::Message { topic, identifier, payload } => {
                            At::Topic { topic, left: topic + identifier, payload }
                        }
                    }
                })
            }
            At::Rest(left) => {
                gone = pass(unread, left, buffer);
                (*left == 0).then(|| At::Head(Short::default()))
            }
            At::Topic { topic, left, payload } => {
                gone = unread.len().min(*left);
                self.out.extend(&unread[..gone]);
                *left -= gone;
                let (topic, payload) = (*topic, *payload);
                (*left == 0).then(|| {
                    if payload > self.payload_bytes_max {
                        return At::TooLong { topic, bytes: payload as u64, left: payload };
                    }
                    let is_metered = payload > unread.len() - gone;
                    if is_metered {
                        self.meter.read(topic);
                    }
                    At::Payload { topic, is_metered, gathered: Vec::new(), left: payload }
                })
            }
            At::Payload { topic, is_metered, gathered, left } => {
                gone = unread.len().min(*left);
                gather(gathered, &unread[..gone], *left);
                *left -= gone;
                if *left > 0 {
                    self.meter.read(gone);
                    None
                } else {
                    let charge = if *is_metered { self.meter.finished() } else { Charge::default() };
                    let payload = Payload::Whole(std::mem::take(gathered).into());
                    self.out.extend(self.payloads.put(*topic, payload, charge));
                    Some(At::Head(Short::default()))
                }
            }
            At::TooLong { topic, bytes, left } => {
                gone = unread.len().min(*left);
                *left -= gone;
                (*left == 0).then(|| {
                    let payload = Payload::TooLong(*bytes);
                    self.out.extend(self.payloads.put(*topic, payload, Charge::default()));
                    At::Head(Short::default())
                })
            }
        };
        self.unread.start += gone;
        let has_advanced = gone > 0 || next.is_some();
        if let Some(next) = next {
            self.at = next;
        }
        Poll::Ready(Ok(has_advanced))
    }
}

/// Passes on what there is of so many bytes that are `left`; how many these were.
fn pass(unread: &[u8], left: &mut usize, buffer: &mut ReadBuf<'_>) -> usize {
    let passed = unread.len().min(*left).min(buffer.remaining());
    buffer.put_slice(&unread[..passed]);
    *left -= passed;
    passed
}

/// Adds `piece`; with it, `left` bytes are still to come. At first there is room for little more than has come, later
/// for all that will: what nothing was written to takes no memory.
fn gather(gathered: &mut Vec<u8>, piece: &[u8], left: usize) {
    let whole = gathered.len() + left;
    let now = gathered.len() + piece.len();
    if now > gathered.capacity() {
        let wanted = if now > OWN_BYTES { whole } else { now.next_power_of_two().min(whole) };
        gathered.reserve_exact(wanted - gathered.len());
    }
    gathered.extend_from_slice(piece);
}

impl<S: AsyncRead + Unpin> AsyncRead for Sieve<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        loop {
            if this.is_between() && this.answer.is_empty() && this.pulse.is_due() {
                this.answer = &PINGRESP;
            }
            if !this.answer.is_empty() {
                let (passed, left) = this.answer.split_at(this.answer.len().min(buffer.remaining()));
                buffer.put_slice(passed);
                this.answer = left;
                return Poll::Ready(Ok(()));
            }
            let has_passed = buffer.filled().len() > before;
            let advanced = this.advance(context, buffer, has_passed);
            let has_passed = buffer.filled().len() > before;
            match advanced {
                Poll::Ready(Ok(true)) => continue,
                // What was passed on comes first.
                _ if has_passed || buffer.remaining() == 0 => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(false)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
            let is_kept = matches!(this.at, At::Payload { .. });
            let room = match is_kept.then(|| this.meter.poll_room(context)) {
                None => READ_BYTES,
                Some(Poll::Ready(room)) => room?,
                Some(Poll::Pending) => {
                    ready!(this.pulse.poll_held_up(context));
                    this.answer = &PINGRESP;
                    continue;
                }
            };
            let mut read = ReadBuf::new(&mut this.read[..room.min(READ_BYTES)]);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut read))?;
            this.unread = 0..read.filled().len();
            this.pulse.beat();
            if this.unread.is_empty() {
                let is_between = matches!(&this.at, At::Head(head) if head.is_empty());
                let end = || io::Error::new(io::ErrorKind::UnexpectedEof, EndedWithin);
                return Poll::Ready(if is_between { Ok(()) } else { Err(end()) });
            }
        }
    }
}

#[cfg(test)]
mod tests;
