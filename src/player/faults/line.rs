//! The time line with its faults: what is held back and when it leaves.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Changes, Faults};

/// What is held back at most: some seconds of a busy recording.
const HELD_MAX: usize = 8_192;
const HELD_BYTES_MAX: usize = 8 << 20;

/// What comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::player) enum Shaped<M> {
    Message(M, Changes),
    /// A message that does not leave.
    Dropped(M),
    /// Whoever is connected is disconnected; behind this message.
    Disconnect {
        index: u64,
    },
}

/// Takes messages in the order of the time line and gives what leaves, in the order in which it does.
#[derive(Debug)]
pub(in crate::player) struct Line<M> {
    faults: Faults,
    held: BinaryHeap<Reverse<Held<M>>>,
    bytes: usize,
    /// How many were held so far: the order of those that leave at the same time.
    count: u64,
    /// Nothing that comes leaves before this: what follows a delayed message waits behind it.
    behind_ns: u64,
    held_max: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Held<M> {
    at_ns: u64,
    nth: u64,
    bytes: usize,
    message: M,
    changes: Changes,
}

impl<M: Clone> Line<M> {
    pub(in crate::player) fn new(faults: Faults) -> Self {
        Self::with_bounds(faults, HELD_MAX, HELD_BYTES_MAX)
    }

    pub(super) fn with_bounds(faults: Faults, held_max: usize, bytes_max: usize) -> Self {
        Self { faults, held: BinaryHeap::new(), bytes: 0, count: 0, behind_ns: 0, held_max, bytes_max }
    }

    /// Takes the message that is the emission `index` and `seq` of its session; `bytes` is what it costs to
    /// hold it. False as soon as `out` wants no more.
    pub(in crate::player) fn message(
        &mut self,
        at_ns: u64,
        (index, seq): (u64, u64),
        bytes: usize,
        message: M,
        out: &mut impl FnMut(u64, Shaped<M>) -> bool,
    ) -> bool {
        let fate = self.faults.fate(index, seq);
        let changes = fate.changes;
        let mut at_ns = at_ns;
        if !fate.is_dropped {
            at_ns = at_ns.saturating_add(changes.delay_ns).saturating_add(changes.jitter_ns);
        }
        let at_ns = self.queue_up(at_ns);
        if !self.release(at_ns, out) {
            return false;
        }
        let is_wanted = if fate.is_dropped {
            out(at_ns, Shaped::Dropped(message))
        } else {
            self.leave(at_ns, bytes, message, changes, fate.copy_ns, out)
        };
        is_wanted && (!fate.is_followed_by_disconnect || out(at_ns, Shaped::Disconnect { index }))
    }

    /// When something that is no message and comes at `at_ns` is to pass; what leaves before it does now.
    pub(in crate::player) fn pass(
        &mut self,
        at_ns: u64,
        out: &mut impl FnMut(u64, Shaped<M>) -> bool,
    ) -> Option<u64> {
        let at_ns = self.queue_up(at_ns);
        self.release(at_ns, out).then_some(at_ns)
    }

    /// Nothing follows: what is held leaves in its time.
    pub(in crate::player) fn finish(&mut self, out: &mut impl FnMut(u64, Shaped<M>) -> bool) -> bool {
        self.release(u64::MAX, out)
    }

    fn queue_up(&mut self, at_ns: u64) -> u64 {
        self.behind_ns = self.behind_ns.max(at_ns);
        self.behind_ns
    }

    fn leave(
        &mut self,
        at_ns: u64,
        bytes: usize,
        message: M,
        changes: Changes,
        copy_ns: Option<u64>,
        out: &mut impl FnMut(u64, Shaped<M>) -> bool,
    ) -> bool {
        let leaves_ns = at_ns.saturating_add(changes.reorder_ns);
        let copy = copy_ns.map(|ns| (leaves_ns.saturating_add(ns), message.clone()));
        let is_wanted = if leaves_ns > at_ns {
            self.hold(leaves_ns, bytes, message, changes);
            true
        } else {
            out(at_ns, Shaped::Message(message, changes))
        };
        let Some((copy_at_ns, copy)) = copy.filter(|_| is_wanted) else {
            return is_wanted && self.keep_bounds(at_ns, out);
        };
        let changes = Changes { is_copy: true, ..changes };
        if copy_at_ns > at_ns {
            self.hold(copy_at_ns, bytes, copy, changes);
            return self.keep_bounds(at_ns, out);
        }
        out(at_ns, Shaped::Message(copy, changes))
    }

    fn hold(&mut self, at_ns: u64, bytes: usize, message: M, changes: Changes) {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        self.held.push(Reverse(Held { at_ns, nth: self.count, bytes, message, changes }));
    }

    /// Lets go what was to leave until now.
    fn release(&mut self, until_ns: u64, out: &mut impl FnMut(u64, Shaped<M>) -> bool) -> bool {
        while self.held.peek().is_some_and(|Reverse(held)| held.at_ns <= until_ns) {
            if !self.let_go(u64::MAX, out) {
                return false;
            }
        }
        true
    }

    /// Lets go early what is too much to hold.
    fn keep_bounds(&mut self, now_ns: u64, out: &mut impl FnMut(u64, Shaped<M>) -> bool) -> bool {
        while self.held.len() > self.held_max || (self.held.len() > 1 && self.bytes > self.bytes_max) {
            if !self.let_go(now_ns, out) {
                return false;
            }
        }
        true
    }

    /// The first of those that are held leaves in its time, or at `latest_ns` if that is earlier.
    fn let_go(&mut self, latest_ns: u64, out: &mut impl FnMut(u64, Shaped<M>) -> bool) -> bool {
        let Some(Reverse(held)) = self.held.pop() else { return true };
        self.bytes = self.bytes.saturating_sub(held.bytes);
        let early_ns = held.at_ns.saturating_sub(latest_ns);
        let reorder_ns = held.changes.reorder_ns.saturating_sub(early_ns);
        let changes = Changes { reorder_ns, ..held.changes };
        out(held.at_ns.min(latest_ns), Shaped::Message(held.message, changes))
    }
}

impl<M> Ord for Held<M> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ns, self.nth).cmp(&(other.at_ns, other.nth))
    }
}

impl<M> PartialOrd for Held<M> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<M> PartialEq for Held<M> {
    fn eq(&self, other: &Self) -> bool {
        (self.at_ns, self.nth) == (other.at_ns, other.nth)
    }
}

impl<M> Eq for Held<M> {}
