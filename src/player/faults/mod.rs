//! Faults on purpose, for the client under test: delay, jitter, drop, duplicate, reorder, corrupt, disconnect.
//!
//! ```text
//! NAME[=[SHARE][@PLACE…][:SIZE]], …      delay=1/50:250ms, drop=1/1000@5, duplicate=@7:50ms, disconnect=@5000
//! ```
//!
//! A fault strikes a share of the messages (`1/50`) and named ones: `@5` is the emission number 5, counted from 0
//! as in the trace (`index`), loops counted on; `@seq5` is the message of that `seq`, in each round again. Whether
//! it strikes one by its share, and how much of it there is, is decided by a hash of the seed, the fault's
//! name and the emission's number. So which messages a fault strikes depends on nothing else: another fault
//! added, or another place to start from, changes none of its decisions.
//!
//! All of it happens on the recording's time line, before there is a speed or a client, so that order and
//! bytes are the same in every run:
//!
//! * **drop**: the message does not leave. Nothing else happens to it.
//! * **delay** (a size) and **jitter** (by chance up to a size): it leaves later. What follows waits behind it,
//!   as on a connection that stalls: the order stays.
//! * **reorder** (a window): it is held for a time by chance up to the window, and what follows leaves before it.
//! * **duplicate**: it leaves twice, the second time directly behind the first or, with a size, so much later,
//!   when others may have left in between.
//! * **corrupt**: up to four bytes of its payload are changed, at least one (see `corrupt`), after times
//!   were moved.
//! * **disconnect**: after it, whoever is connected is disconnected, and may come back. What had left by then is
//!   delivered first. Receivers that we go to (`--push`, `--publish`) are left alone.
//!
//! What is held is bounded. Where a bound is reached, what is due first leaves early; that, too, depends on
//! the stream alone.
//!
//! What never happens here: a look at the clock, a generator whose state one decision takes from another.

mod corrupt;
mod dice;
mod line;
mod spec;
mod stage;
mod tally;

use std::fmt;

use serde::Serialize;

pub(super) use self::corrupt::corrupt;
use self::dice::{Dice, below};
use self::line::{Line, Shaped};
use self::spec::Rule;
pub use self::spec::{FaultSpec, NotAFault};
pub(super) use self::stage::FaultStage;
pub(super) use self::tally::Tally;
pub use self::tally::{FaultReport, Struck};
use super::event::Changes;

/// The reason given to clients that a fault disconnects.
pub const DISCONNECTED: &str = "disconnected on purpose: a fault of --faults";

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    Delay,
    Jitter,
    Drop,
    Duplicate,
    Reorder,
    Corrupt,
    Disconnect,
}

impl Fault {
    pub(super) const ALL: [Self; 7] = [
        Self::Delay,
        Self::Jitter,
        Self::Drop,
        Self::Duplicate,
        Self::Reorder,
        Self::Corrupt,
        Self::Disconnect,
    ];

    /// As it is typed and reported. Part of what decides by chance, so it never changes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Delay => "delay",
            Self::Jitter => "jitter",
            Self::Drop => "drop",
            Self::Duplicate => "duplicate",
            Self::Reorder => "reorder",
            Self::Corrupt => "corrupt",
            Self::Disconnect => "disconnect",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The faults of one replay.
#[derive(Clone, Debug)]
pub struct Faults {
    rules: Vec<Rule>,
    dice: Dice,
}

/// What happens to one message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) is_dropped: bool,
    pub(super) is_followed_by_disconnect: bool,
    /// How long behind it its copy leaves.
    pub(super) copy_ns: Option<u64>,
    pub(super) changes: Changes,
}

impl Faults {
    pub fn new(spec: FaultSpec, seed: u64) -> Self {
        Self { rules: spec.rules, dice: Dice::new(seed) }
    }

    /// Whether messages may be held while others leave.
    pub(super) fn reorder(&self) -> bool {
        self.rules.iter().any(|rule| rule.fault == Fault::Reorder)
    }

    /// What happens to the emission number `index`, which is the message `seq` of its session.
    pub(super) fn fate(&self, index: u64, seq: u64) -> Fate {
        let mut fate = Fate::default();
        for rule in &self.rules {
            let roll = self.dice.roll(rule.fault, index);
            if !rule.strikes(roll.chance, index, seq) {
                continue;
            }
            let changes = &mut fate.changes;
            match rule.fault {
                Fault::Delay => changes.late.delay_ns = rule.size_ns,
                Fault::Jitter => changes.late.jitter_ns = below(roll.size, rule.size_ns.saturating_add(1)),
                Fault::Reorder => changes.late.reorder_ns = 1 + below(roll.size, rule.size_ns),
                Fault::Corrupt => changes.corrupt = Some(roll.size),
                Fault::Drop => fate.is_dropped = true,
                Fault::Duplicate => fate.copy_ns = Some(rule.size_ns),
                Fault::Disconnect => fate.is_followed_by_disconnect = true,
            }
        }
        fate
    }
}

/// Which faults a message leaves with, and how much of each: nanoseconds, where it is a time.
pub(super) fn of_changes(changes: &Changes) -> impl Iterator<Item = (Fault, Option<u64>)> {
    let time = |fault, ns: u64| (ns > 0).then_some((fault, Some(ns)));
    [
        time(Fault::Delay, changes.late.delay_ns),
        time(Fault::Jitter, changes.late.jitter_ns),
        time(Fault::Reorder, changes.late.reorder_ns),
        (changes.copy > 0).then_some((Fault::Duplicate, None)),
        changes.corrupt.map(|_| (Fault::Corrupt, None)),
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests;
