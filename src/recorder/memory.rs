//! How `[limits] memory` is split.
//!
//! | share | for |
//! |---|---|
//! | 1/4 | messages accepted and not yet written: the journal's queue |
//! | 1/4 | sealing: column builders, dictionaries, compression of one row group per kind; upkeep, which stands still meanwhile, a row group of a sixteenth |
//! | 1/4 | input that is not accepted yet: 4 MiB of small and 16 MiB of large frames per source at the most, 16 MiB of webhook bodies (4 MiB per source), 8 KiB for each idle connection, of which there are as many as fit an eighth, TLS and socket buffers |
//! | 1/4 | the program itself, SQLite, the allocator's slack |
//!
//! Only the first can grow with the input's rate, and it alone is a bound that is enforced by the
//! byte; sealing works one part at a time with row groups of a fixed size, whatever the limit says.
//! The unwritten queue is small in practice: at 200,000 messages/s of 330 B a quarter of the default
//! 256 MiB is more than half a second of input.

/// What an open row group may hold that upkeep writes beside a recorder, in bytes: a sixteenth, and never so little
/// that row groups become many.
pub fn row_group_bytes(memory: u64) -> usize {
    usize::try_from(memory / 16).unwrap_or(usize::MAX).clamp(4 << 20, 64 << 20)
}

/// The journal queue's share of the recorder's memory, in bytes. A single message that is larger is
/// let in alone.
pub fn queue_bytes(memory: u64) -> usize {
    usize::try_from(memory / 4).unwrap_or(usize::MAX)
}
