//! Misbehaviour on demand: what a vendor's side does wrong, where, decided by a seed.
//!
//! A server asks once for each connection ([`Misbehaviour::connection`]) and then follows its
//! [`Conduct`]: it refuses if that says so, asks before each message what to do, and speaks through a
//! [`Wire`], which is where a connection is cut, in the middle of a packet or between two, falls silent,
//! or reads slowly. Who misbehaves differs from who does not in nothing else.
//!
//! Who connects by itself, to push or to publish, does the same with the connections that it makes, as its
//! own [`Misbehaviour::apart`]: to refuse is not to connect. A token is nothing that a broker is shown by who
//! publishes to it, so that none expires there.
//!
//! What never happens here: a message that was counted as sent is withheld, a payload is changed.

mod spec;
mod wire;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

pub use spec::{NotASpec, Spec};
pub use wire::{Duplex, Wire, wired};

/// Noise has at most so many bytes.
const NOISE_BYTES_MAX: usize = 200;

/// The misbehaviour of one server, for all its connections.
#[derive(Debug)]
pub struct Misbehaviour {
    spec: Spec,
    seed: u64,
    connections: AtomicU64,
    /// A token has expired that nobody has shown since.
    expired: AtomicBool,
}

impl Misbehaviour {
    pub fn new(spec: Spec, seed: u64) -> Arc<Self> {
        Arc::new(Self { spec, seed, connections: AtomicU64::new(0), expired: AtomicBool::new(false) })
    }

    /// The same again for the n-th that connects by itself, from 1: what others do has no influence on it.
    pub fn apart(&self, n: u64, has_tokens: bool) -> Arc<Self> {
        let expired_token = self.spec.expired_token.filter(|_| has_tokens);
        let spec = Spec { expired_token, ..self.spec.clone() };
        Self::new(spec, self.seed.wrapping_add(n.wrapping_mul(0xD134_2543_DE82_EF95)))
    }

    /// How to behave towards the next connection.
    pub fn connection(self: &Arc<Self>) -> Arc<Conduct> {
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        // One generator for each: what one client does has no influence on what another gets.
        let mut rng =
            Pcg64::seed_from_u64(self.seed.wrapping_add(number.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        let refuses = self.spec.refuse.is_some_and(|share| share.falls(&mut rng));
        let mut place = |about: Option<u64>| about.map(|n| rng.random_range(n / 2..=n + n / 2));
        let places = [
            (place(self.spec.close), Act::Cut),
            (place(self.spec.half_packet), Act::CutInside),
            (place(self.spec.stall), Act::FallSilent),
            (place(self.spec.expired_token), Act::Expire),
        ];
        // The first of them; where two fall together, the one that is named first here.
        let first = places.into_iter().filter_map(|(at, act)| Some((at?, act))).min_by_key(|(at, _)| *at);
        Arc::new(Conduct {
            server: Arc::clone(self),
            refuses,
            read_bytes_per_s: self.spec.slow_reader,
            place: Mutex::new(Place { messages: 0, first, rng }),
            wire: AtomicU8::new(FINE),
            hold_back: AtomicUsize::new(0),
        })
    }
}

/// What to do before a message is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    Send,
    /// First send this, which is nothing that anybody expects.
    Noise(Bytes),
    /// Send this message and then nothing: the wire ends in it, or before it.
    Last,
    /// Tell the client that its token has expired.
    Expire,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Cut,
    CutInside,
    FallSilent,
    Expire,
}

/// States of a wire.
const FINE: u8 = 0;
const CUT: u8 = 1;
const CUT_INSIDE: u8 = 2;
const SILENT: u8 = 3;

/// How a server behaves towards one connection.
#[derive(Debug)]
pub struct Conduct {
    server: Arc<Misbehaviour>,
    refuses: bool,
    read_bytes_per_s: Option<u32>,
    place: Mutex<Place>,
    wire: AtomicU8,
    /// Of the write that is cut, how many bytes at its end do not leave.
    hold_back: AtomicUsize,
}

#[derive(Debug)]
struct Place {
    messages: u64,
    first: Option<(u64, Act)>,
    rng: Pcg64,
}

impl Conduct {
    /// Whether this connection is refused, or not made.
    pub fn refuses(&self) -> bool {
        self.refuses
    }

    /// From now on the token of this connection is refused, the next time that one is shown.
    pub fn expire_token(&self) {
        self.server.expired.store(true, Ordering::Release);
    }

    /// Whether the token that is shown now is refused: once for each that has expired.
    pub fn refuses_token(&self) -> bool {
        self.server.expired.swap(false, Ordering::AcqRel)
    }

    /// To be asked before each message, with the size of its payload.
    pub fn before_message(&self, payload_bytes: usize) -> Next {
        let mut guard = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let place = &mut *guard;
        place.messages += 1;
        match place.first {
            Some((at, act)) if place.messages > at => {
                if act == Act::Expire {
                    return Next::Expire;
                }
                self.hold_back.store(payload_bytes / 2 + 1, Ordering::Relaxed);
                let state = match act {
                    Act::CutInside => CUT_INSIDE,
                    Act::FallSilent => SILENT,
                    Act::Cut | Act::Expire => CUT,
                };
                self.wire.store(state, Ordering::Release);
                Next::Last
            }
            _ if self.server.spec.garbage.is_some_and(|share| share.falls(&mut place.rng)) => {
                Next::Noise(noise(&mut place.rng))
            }
            _ => Next::Send,
        }
    }
}

/// Bytes that are no message of anybody's; as text in half of the cases.
fn noise(rng: &mut Pcg64) -> Bytes {
    let bytes = rng.random_range(1..=NOISE_BYTES_MAX);
    if rng.random_bool(0.5) {
        (0..bytes).map(|_| rng.random_range(b' '..=b'~')).collect()
    } else {
        // 0xFF is in no UTF-8: never taken for text.
        std::iter::once(0xFF).chain((1..bytes).map(|_| rng.random())).collect()
    }
}

#[cfg(test)]
mod tests;
