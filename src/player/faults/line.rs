//! The time line with its faults: what is held back and when it leaves.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Faults;
use crate::player::event::{Changes, Late};

/// What is held back at most: some seconds of a busy recording.
const HELD_MAX: usize = 8_192;
const HELD_BYTES_MAX: usize = 8 << 20;

/// What comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shaped<M> {
    Message(M, Changes),
    /// A message that does not leave.
    Dropped(M),
    /// Whoever is connected is disconnected, directly behind this message.
    Disconnect(M),
}

/// Takes messages in the order of the time line and gives what leaves, in the order in which it does.
#[derive(Debug)]
pub(super) struct Line<M> {
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
    since_ns: u64,
    bytes: usize,
    message: M,
    changes: Changes,
}

impl<M: Clone> Line<M> {
    pub(super) fn new(faults: Faults) -> Self {
        Self::with_bounds(faults, HELD_MAX, HELD_BYTES_MAX)
    }

    pub(super) fn with_bounds(faults: Faults, held_max: usize, bytes_max: usize) -> Self {
        Self { faults, held: BinaryHeap::new(), bytes: 0, count: 0, behind_ns: 0, held_max, bytes_max }
    }

    /// Takes the message that is the emission `index` and `seq` of its session; `bytes` is what it costs to
    /// hold it. False as soon as `out` wants no more.
    pub(super) fn message(
        &mut self,
        at_ns: u64,
        (index, seq): (u64, u64),
        bytes: usize,
        message: M,
        out: &mut impl FnMut(u64, Shaped<M>) -> bool,
    ) -> bool {
        let fate = self.faults.fate(index, seq);
        let late = fate.changes.late;
        let own_ns = if fate.is_dropped { 0 } else { late.delay_ns.saturating_add(late.jitter_ns) };
        let recorded_ns = at_ns;
        let at_ns = self.queue_up(recorded_ns.saturating_add(own_ns));
        if !self.release(at_ns, out) {
            return false;
        }
        let changes = Changes { delay_ns: at_ns - recorded_ns, ..fate.changes };
        let last = fate.is_followed_by_disconnect.then(|| message.clone());
        let is_wanted = if fate.is_dropped {
            out(at_ns, Shaped::Dropped(message))
        } else {
            self.leave(at_ns, bytes, message, changes, fate.copy_ns, out)
        };
        is_wanted && last.is_none_or(|last| out(at_ns, Shaped::Disconnect(last)))
    }

    /// When something that is no message and comes at `at_ns` is to pass; what leaves before it does now.
    pub(super) fn pass(&mut self, at_ns: u64, out: &mut impl FnMut(u64, Shaped<M>) -> bool) -> Option<u64> {
        let at_ns = self.queue_up(at_ns);
        self.release(at_ns, out).then_some(at_ns)
    }

    /// Forgets what is held.
    pub(super) fn wind(&mut self) {
        (self.bytes, self.behind_ns) = (0, 0);
        self.held.clear();
    }

    /// Nothing follows: what is held leaves in its time.
    pub(super) fn finish(&mut self, out: &mut impl FnMut(u64, Shaped<M>) -> bool) -> bool {
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
        let copy = copy_ns.map(|ns| (changes.late.reorder_ns.saturating_add(ns), message.clone()));
        if !self.leave_after(at_ns, changes.late.reorder_ns, bytes, message, changes, out) {
            return false;
        }
        let Some((after_ns, copy)) = copy else { return true };
        self.leave_after(at_ns, after_ns, bytes, copy, Changes { copy: 1, ..changes }, out)
    }

    /// At once, or held for a time.
    fn leave_after(
        &mut self,
        at_ns: u64,
        after_ns: u64,
        bytes: usize,
        message: M,
        changes: Changes,
        out: &mut impl FnMut(u64, Shaped<M>) -> bool,
    ) -> bool {
        if after_ns == 0 {
            return out(at_ns, Shaped::Message(message, changes));
        }
        let until_ns = at_ns.saturating_add(after_ns);
        self.hold(Held { at_ns: until_ns, nth: 0, since_ns: at_ns, bytes, message, changes });
        self.keep_bounds(at_ns, out)
    }

    fn hold(&mut self, held: Held<M>) {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(held.bytes);
        self.held.push(Reverse(Held { nth: self.count, ..held }));
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
        let at_ns = held.at_ns.min(latest_ns);
        let late = held.changes.late;
        let held_ns = at_ns.saturating_sub(held.since_ns);
        let late = Late { reorder_ns: late.reorder_ns.min(held_ns), ..late };
        let delay_ns = held.changes.delay_ns.saturating_add(held_ns);
        out(at_ns, Shaped::Message(held.message, Changes { late, delay_ns, ..held.changes }))
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
