//! What the writer knows of the disk's free space, and when it is to look again.

use super::writer::WRITE_BYTES;

/// So many bytes at the most are written between two looks.
const DISK_CHECK_BYTES: u64 = 16 << 20;

#[derive(Default)]
pub(super) struct FreeDisk {
    pub(super) low: bool,
    pub(super) checked_ns: u64,
    pub(super) bytes_since: u64,
    /// What was free above `min_free_disk` then; none if that is not known.
    pub(super) left: Option<u64>,
}

impl FreeDisk {
    /// After so many bytes it is looked again: when half of what was left could be used up.
    pub(super) fn look_after_bytes(&self) -> u64 {
        let half = self.left.map_or(DISK_CHECK_BYTES, |left| left / 2);
        half.clamp(WRITE_BYTES as u64, DISK_CHECK_BYTES)
    }
}
