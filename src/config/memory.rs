//! How `[limits] memory` is split: what a recorder may have in memory, whatever comes in over however many connections.
//!
//! First goes what does not depend on the input: [`PROGRAM_BYTES`] for the program itself (its code, threads, SQLite),
//! and for each source and connection to a vendor its buffers ([`SOURCE_BYTES`], [`CONNECTION_BYTES`]). The rest is split
//! in forty-eighths. Each line is a bound on its own, so that their sum is one on all of them:
//!
//! | 1/48 | for | held to it by |
//! |---|---|---|
//! | 8 | messages accepted and not yet written | the journal's queue, by the byte |
//! | 2 | the journal's write buffer | the longest message |
//! | 3 + 2 | messages in the making beyond 64 KiB each, and large ones on their way to the queue | `transport::quota`, the second for the one that goes on when the first is used up |
//! | 1.5 | smaller messages on their way to the queue | `transport::quota` |
//! | 1.5 | messages that are held back for want of room | `transport::quota` |
//! | 4.5 | bodies of webhooks under way, a quarter of it or two of the longest for each source, and always room for one of another | `recorder::webhook` |
//! | 2 | the record that is being sealed | the longest message |
//! | 1.5 | rows that wait to become a batch | sealing |
//! | 3 | batches between sealing's stages | sealing |
//! | 5 | open row groups | sealing |
//! | 3 | upkeep's open row group: it stands still while there is much to do, and keeps what it has | `recorder::upkeep` |
//! | 7 | connections to the webhooks and the console | places: [`PLACE_BYTES`] each, and no head longer than 8 KiB |
//!
//! What is left, a twelfth, is for typed columns in the making and for the allocator. The kernel's socket
//! buffers are not the program's.
//!
//! A message is at most 1/24 of it long: some seven of the largest are in memory once or twice each on the way. The least
//! that can hold is [`LEAST_BYTES`] with a few sources, for messages of 1 MiB; see [`needed`].

use crate::vendors::Source;

/// Measured: 22 MiB of an idle recorder that was built to be released, most of it the program's file, and 36 of one
/// that was built for tests.
const PROGRAM_BYTES: u64 = 40 << 20;

/// 256 small messages on their way, and what is known of it.
const SOURCE_BYTES: u64 = 320 << 10;

/// 64 KiB of a message in the making, which may be there twice while its buffer grows, and some that wait behind it; the
/// line's own buffers, 64 KiB, and TLS, 40.
const CONNECTION_BYTES: u64 = 256 << 10;

/// A connection that was accepted, with its head and its task.
const PLACE_BYTES: u64 = 16 << 10;

/// What TLS takes of it beside that, in the worst state that a client can leave it in.
pub const TLS_PLACE_BYTES: u64 = 48 << 10;

/// Below this nothing can be split.
const SPLIT_BYTES_MIN: u64 = 23 << 20;

/// The least of `[limits] memory`.
pub const LEAST_BYTES: u64 = 64 << 20;

/// What may be in memory, in bytes; see the [module](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    pub queue: usize,
    pub message: usize,
    pub large: usize,
    pub queued: usize,
    pub held: usize,
    pub bodies: usize,
    pub rows_waiting: usize,
    pub batches: usize,
    pub row_groups: usize,
    pub upkeep: usize,
    /// A number: of connections to all listeners together.
    pub places: usize,
}

impl Shares {
    pub fn of(memory: u64, sources: &[Source]) -> Self {
        // Where there is less than needed, in a test, say, the least is split.
        let split = memory.saturating_sub(fixed_bytes(sources)).max(SPLIT_BYTES_MIN / 3);
        let of = |halves: u64| usize::try_from(split / 96 * halves).unwrap_or(usize::MAX);
        Self {
            queue: of(16),
            // A journal holds 64 MiB of one, with its channel.
            message: of(4).min(63 << 20),
            large: of(6),
            queued: of(3),
            held: of(3),
            bodies: of(9),
            rows_waiting: (of(3) / 2).min(4 << 20),
            batches: of(6).min(64 << 20),
            row_groups: of(10).min(64 << 20),
            upkeep: of(6).clamp(1 << 20, 64 << 20),
            places: of(14) / PLACE_BYTES as usize,
        }
    }

    /// How many connections there may be where they may be encrypted.
    pub fn places_with_tls(&self) -> usize {
        self.places * PLACE_BYTES as usize / (PLACE_BYTES + TLS_PLACE_BYTES) as usize
    }
}

fn fixed_bytes(sources: &[Source]) -> u64 {
    let connections = sources.iter().map(|source| source.vendor.connections() as u64).sum::<u64>();
    PROGRAM_BYTES + sources.len() as u64 * SOURCE_BYTES + connections * CONNECTION_BYTES
}

/// The least memory that these sources need, in whole MiB, where a message may be `message_bytes` long.
pub fn needed(sources: &[Source], message_bytes: u64) -> u64 {
    let split = SPLIT_BYTES_MIN.max(message_bytes.saturating_mul(24));
    fixed_bytes(sources).saturating_add(split).div_ceil(1 << 20).saturating_mul(1 << 20).max(LEAST_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_less_than_the_whole_and_a_longest_message_fits_each() {
        for memory in [64, 96, 128, 256, 1_024, 16_384].map(|mib: u64| mib << 20) {
            let shares = Shares::of(memory, &[]);
            let Shares { queue, message, large, queued, held, bodies, .. } = shares;
            let Shares { rows_waiting, batches, row_groups, upkeep, places, .. } = shares;
            let incoming = queue + 3 * message + large + queued + held + bodies;
            // Rows that wait are in buffers that grow by doubling.
            let stored = 2 * rows_waiting + batches + row_groups + upkeep;
            let all = (incoming + stored + places * PLACE_BYTES as usize) as u64 + PROGRAM_BYTES;
            assert!(all < memory - memory / 40, "{memory}: {shares:?}");
            for room in [queue, bodies, large, batches] {
                assert!(message < room || message == 63 << 20, "{memory}: {shares:?}");
            }
        }
    }
}
