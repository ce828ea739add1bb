//! How much is on its way through the stages of sealing: batches are few where messages are large.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// What sealing may have in memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealingBytes {
    /// Rows that wait for their batch, over all open segments; a longer row waits alone.
    pub rows_waiting: usize,
    /// Batches from their sorting to their being written; a larger one goes alone.
    pub batches: usize,
    /// Open row groups over all open files.
    pub row_groups: usize,
}

impl Default for SealingBytes {
    /// Beside what a command needs otherwise, well below 256 MiB.
    fn default() -> Self {
        Self { rows_waiting: 4 << 20, batches: 40 << 20, row_groups: 32 << 20 }
    }
}

/// The way through the stages.
#[derive(Debug)]
pub(super) struct Passage(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    bytes_max: usize,
    bytes: Mutex<usize>,
    left: Condvar,
}

/// A batch that is under way, until it is dropped.
#[derive(Debug)]
pub(super) struct Passing {
    inside: Arc<Inside>,
    bytes: usize,
}

impl Passage {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Inside { bytes_max, bytes: Mutex::default(), left: Condvar::new() }))
    }

    /// Waits until there is room. Those who are inside do not wait for anybody, and leave.
    pub(super) fn enter(&self, bytes: usize) -> Passing {
        let is_full = |inside: &mut usize| *inside > 0 && *inside + bytes > self.0.bytes_max;
        let mut inside = match self.0.left.wait_while(self.0.lock(), is_full) {
            Ok(inside) => inside,
            Err(poisoned) => poisoned.into_inner(),
        };
        *inside += bytes;
        drop(inside);
        Passing { inside: Arc::clone(&self.0), bytes }
    }
}

impl Inside {
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        *self.inside.lock() -= self.bytes;
        self.inside.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_finds_no_room_waits_for_those_inside_and_the_largest_goes_alone() {
        let passage = Passage::new(100);
        let (first, second) = (passage.enter(60), passage.enter(40));
        std::thread::scope(|scope| {
            let third = scope.spawn(|| passage.enter(1_000));
            drop(first);
            assert!(!third.is_finished(), "the second is inside");
            drop(second);
            drop(third.join().unwrap());
        });
        assert_eq!(*passage.0.lock(), 0);
    }
}
