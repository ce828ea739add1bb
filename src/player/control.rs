//! The controls of a replay: what a user orders, and what it shows.
//!
//! [`Control`] only takes orders and answers questions, from any thread; the scheduler obeys between two
//! messages, and is woken for it. An order has a [`Ticket`], so that whoever gave it can wait until it is carried out.

mod shown;
mod watch;

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub(super) use self::shown::{Shown, Tape};
pub use self::shown::{Snapshot, State};
use super::pace::Speed;
use super::past::Cuts;
use super::{Pace, PlayOptions, Rounds};
use crate::clock::Now;
use crate::message::SessionId;
use crate::transport::fanout::{Doorbell, Fanout, Totals};

/// Orders that wait to be obeyed: more is somebody who does not wait for answers.
const ORDERS_MAX: usize = 1_024;

/// What a user may order.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// Goes on; before the awaited clients are there, the replay starts with them, and where it waits for them
    /// already, without.
    Play,
    Pause,
    /// The one or the other, whichever it does not do.
    Toggle,
    Seek(To),
    Speed(Speed),
    /// To the next whole step up, or down.
    Faster,
    Slower,
    /// Refused before the awaited clients are there ([`Refused::Waiting`]).
    Step(Steps),
    /// Pauses where a step could be made, to look for what to step to; refused where a step is.
    Halt,
    /// Plays a stretch, or all, again and again.
    Repeat(Repeat),
    /// Ends the replay: what was emitted is delivered.
    Stop,
}

/// Where to wind to; beyond the ends means to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Nanoseconds since the replay's zero.
    Position(u64),
    /// From where it is.
    By(i64),
    /// The same, and not beyond a second before the last message: there it would be over before anybody sees it.
    Within(i64),
    /// Nanoseconds since the earliest session's start.
    Recorded(u64),
    /// Wall clock at the recording, microseconds since the Unix epoch.
    Wall(i64),
}

/// How far a step goes. What it passes leaves at once, whatever the pace, and no client is too slow for it.
#[derive(Clone, Debug, PartialEq)]
pub enum Steps {
    /// So many messages.
    Count(NonZeroU64),
    /// Up to and with this very message: what a search in the recording found.
    Until { session_id: SessionId, seq: u64 },
}

impl Steps {
    pub const ONE: Self = Self::Count(NonZeroU64::MIN);
}

/// What is played again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Repeat {
    /// None: from the replay's beginning.
    pub from: Option<To>,
    /// None: to its end.
    pub to: Option<To>,
    /// How often, the round that is being played counted.
    pub rounds: Rounds,
}

/// Why an order is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the replay is over")]
    Over,
    #[error("{ORDERS_MAX} orders wait already: wait for the answers")]
    TooMany,
    #[error("the replay waits for its clients: there is nobody to step for")]
    Waiting,
    #[error("at this pace no time is kept: messages leave as they are taken, at no speed")]
    NoSpeed,
}

/// The n-th order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// A place in the recording, in nanoseconds since the earliest session's start, and what is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub recorded_ns: u64,
    /// Up to this message everything was sent, if it was not wound since.
    pub after: Option<(SessionId, u64)>,
    /// Where what is played ends; none: with the recording.
    pub end_ns: Option<u64>,
    /// Where it begins again after that, if it does.
    pub again_from_ns: Option<u64>,
}

/// What can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// A message of this `seq` or a later one is the last that was emitted, or was since it is waited for.
    Seq(u64),
    State(State),
}

/// The controls of one replay.
#[derive(Debug)]
pub struct Control {
    fanout: Arc<Fanout>,
    bell: Arc<Doorbell>,
    stop: CancellationToken,
    orders: Mutex<Orders>,
    /// There are orders: looked at for each message, without a lock.
    ordered: AtomicBool,
    shown: Mutex<Shown>,
    /// By which the line that is played is shorter than the recording.
    cuts: OnceLock<Cuts>,
    /// How many wait for `changed`.
    watchers: AtomicUsize,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Orders {
    waiting: VecDeque<Order>,
    given: u64,
    over: bool,
}

impl Control {
    pub fn new(fanout: Arc<Fanout>) -> Arc<Self> {
        Arc::new(Self {
            fanout,
            bell: Arc::default(),
            stop: CancellationToken::new(),
            orders: Mutex::default(),
            ordered: AtomicBool::new(false),
            shown: Mutex::default(),
            cuts: OnceLock::new(),
            watchers: AtomicUsize::new(0),
            changed: Notify::new(),
        })
    }

    /// Gives an order.
    pub fn order(&self, order: Order) -> Result<Ticket, Refused> {
        let mut orders = lock(&self.orders);
        if orders.over {
            let is_done = lock(&self.shown).state == State::Done;
            if order != Order::Stop || is_done {
                return Err(Refused::Over);
            }
            // The last message has left: it is only not waited for any longer than after a stop.
            drop(orders);
            self.stop.cancel();
            self.show(|shown| shown.state = State::Done);
            return Ok(Ticket(0));
        }
        if order == Order::Stop {
            self.stop.cancel();
        } else if orders.waiting.len() >= ORDERS_MAX {
            return Err(Refused::TooMany);
        }
        orders.waiting.push_back(order);
        orders.given += 1;
        self.ordered.store(true, Ordering::Release);
        let ticket = Ticket(orders.given);
        drop(orders);
        self.bell.ring();
        Ok(ticket)
    }

    /// How it stands at this moment.
    pub fn snapshot(&self) -> Snapshot {
        let (_, clients) = self.fanout.progress();
        lock(&self.shown).snapshot(self.now().steady_ns, clients)
    }

    /// What all clients got so far.
    pub fn totals(&self) -> Totals {
        self.fanout.totals()
    }

    /// Where in the recording it is.
    pub fn place(&self) -> Place {
        let shown = lock(&self.shown);
        let recorded_ns = |played_ns| self.cuts.get().map_or(played_ns, |cuts| cuts.recorded_ns(played_ns));
        Place {
            recorded_ns: recorded_ns(shown.recorded_ns(self.now().steady_ns)),
            after: shown.seq.filter(|_| shown.is_last),
            end_ns: shown.round_end_ns.map(recorded_ns),
            again_from_ns: shown.again_from_ns.map(recorded_ns),
        }
    }

    /// Shows what is known before anything is read.
    pub(super) fn expect(&self, options: &PlayOptions) {
        let PlayOptions { zero_ns, first_ns, end_ns, speed, start_paused, pace, .. } = *options;
        self.show(|shown| {
            shown.speed = speed;
            if start_paused || pace == Pace::Step {
                shown.state = State::Paused;
            }
            if let Some(zero_ns) = zero_ns.or(first_ns) {
                (shown.zero_ns, shown.recorded_ns, shown.at_ns) = (zero_ns, zero_ns, zero_ns);
                (shown.tape, shown.end_ns) = (Tape::Held { at_ns: zero_ns }, end_ns);
            }
        });
    }

    /// The replay plays a shortened recording.
    pub(super) fn shorten(&self, cuts: Cuts) {
        let _ = self.cuts.set(cuts);
    }

    pub fn now(&self) -> Now {
        self.fanout.clock().now()
    }

    /// How many wait for something at this moment.
    #[cfg(test)]
    pub(crate) fn watching(&self) -> usize {
        self.watchers.load(Ordering::SeqCst)
    }

    pub(super) fn bell(&self) -> &Arc<Doorbell> {
        &self.bell
    }

    /// Cancelled by [`Order::Stop`], so that nothing is waited for any more.
    pub(super) fn stopped(&self) -> &CancellationToken {
        &self.stop
    }

    /// The next order, with its ticket.
    pub(super) fn next_order(&self) -> Option<(Ticket, Order)> {
        if !self.ordered.load(Ordering::Acquire) {
            return None;
        }
        let mut orders = lock(&self.orders);
        let order = orders.waiting.pop_front();
        self.ordered.store(!orders.waiting.is_empty(), Ordering::Release);
        let ticket = Ticket(orders.given - orders.waiting.len() as u64);
        order.map(|order| (ticket, order))
    }

    /// All orders up to this one are carried out.
    pub(super) fn obey(&self, ticket: Ticket) {
        self.show(|shown| shown.obeyed = shown.obeyed.max(ticket.0));
    }

    /// This order is not carried out.
    pub(super) fn refuse(&self, ticket: Ticket, why: Refused) {
        self.show(|shown| {
            // Whoever gave an order and has not asked for so long does not want to know.
            if shown.refused.len() >= ORDERS_MAX {
                shown.refused.pop_front();
            }
            shown.refused.push_back((ticket.0, why));
        });
    }

    /// Changes what is shown, and tells those who wait for it.
    pub(super) fn show(&self, change: impl FnOnce(&mut Shown)) {
        {
            let mut shown = lock(&self.shown);
            change(&mut shown);
        }
        if self.watchers.load(Ordering::SeqCst) > 0 {
            self.changed.notify_waiters();
        }
    }

    /// Takes no order any more.
    pub(super) fn close(&self) {
        let mut orders = lock(&self.orders);
        orders.over = true;
        orders.waiting.clear();
    }

    /// Shows that it is over.
    pub(super) fn end(&self) {
        self.close();
        self.show(|shown| shown.state = State::Done);
    }
}

/// A panic elsewhere must not take the replay with it: what these locks guard is whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
