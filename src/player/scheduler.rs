//! The thread that keeps the time: it waits until an event of the time line is due and carries it out, and
//! obeys the controls in between. It never waits for a client at the original pace.
//!
//! Two things move a replay: whether it is to play, and whether those it waits for are there or were (it is
//! open). The tape stands until both hold and something has been read, so that neither opening an
//! archive nor winding makes a message late.
//!
//! What the controls mean is told in [`orders`]. An index counts what was emitted, and the digest covers it in
//! that order, over loops and seeks.

mod burst;
mod events;
mod orders;
mod ready;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use self::ready::Ready;
use super::control::{Control, Shown, State, Steps, Tape, Ticket};
use super::pace::{PlaybackClock, Speed};
use super::past::Past;
use super::played::Played;
use super::prepare::Preparation;
use super::sleep::Sleep;
use super::stock::{Beginning, HANDFUL, Stock, Stretch};
use super::{Pace, PlayOptions, Rounds, Start};
use crate::clock::Now;
use crate::message::Row;
use crate::transport::fanout::{Fanout, NOT_ACKNOWLEDGED, StateTable};

/// Between the moment at which the clients are ready and the first due time: a client that
/// subscribes to several things one after the other gets all of them from the first message.
const LEAD_NS: u64 = 50_000_000;

/// So long a whole handful is waited for, where rows come slowly and there is no time to keep.
const HANDFUL_WAIT: Duration = Duration::from_millis(2);

/// Plays what `stock` gets to `fanout` until its end, or a stop.
pub(super) fn run(
    stock: &Stock,
    control: &Control,
    fanout: &Fanout,
    options: &PlayOptions,
    sleep: impl Sleep,
) -> Played {
    let mut scheduler = Scheduler::new(stock, control, fanout, options, sleep);
    if scheduler.thread_in() {
        while scheduler.turn() {}
    }
    scheduler.lose_held();
    stock.abandon();
    // Until clients have everything it is not done, but where it was stopped: nothing is played any more.
    if control.stopped().is_cancelled() {
        control.end()
    } else {
        control.close()
    }
    let Scheduler { mut played, preparation, speed, .. } = scheduler;
    played.stopped = control.stopped().is_cancelled();
    played.speed = speed;
    played.rebased_to_us = preparation.rebased_to_us();
    (played.sent_digest, played.faults) = preparation.into_account();
    played
}

/// A step that is being made.
struct Stepping {
    steps: Steps,
    ticket: Ticket,
}

struct Scheduler<'a, S> {
    stock: &'a Stock,
    control: &'a Control,
    fanout: &'a Fanout,
    options: &'a PlayOptions,
    sleep: S,
    preparation: Preparation,
    past: Past,
    is_to_play: bool,
    /// Those that are waited for are there, or were.
    is_open: bool,
    stepping: Option<Stepping>,
    /// The last step's end may be the replay's.
    has_stepped: bool,
    tape: Tape,
    speed: Speed,
    /// Nothing leaves before this steady time.
    not_before_ns: u64,
    next: Option<Ready>,
    /// What follows it, as far as it was taken from the stock.
    hand: VecDeque<Ready>,
    starved: bool,
    /// What the reader was told to repeat.
    rounds: Rounds,
    stretch: Option<Stretch>,
    /// The last event, or where the replay was wound to: on the time line, in the recording, and in which round.
    at_ns: u64,
    recorded_ns: u64,
    round: u64,
    /// Messages of the recording that were emitted from exactly `recorded_ns`, or that a fault dropped there.
    emitted_here: u64,
    zero_ns: u64,
    end_ns: Option<u64>,
    /// The next message's index, and the digest of all before it.
    index: u64,
    delivered_ns: u64,
    /// Messages that a fault holds back, by index.
    held: BTreeMap<u64, Box<Row>>,
    /// What was told before the clock started.
    early: Option<Box<StateTable>>,
    played: Played,
}

impl<'a, S: Sleep> Scheduler<'a, S> {
    fn new(
        stock: &'a Stock,
        control: &'a Control,
        fanout: &'a Fanout,
        options: &'a PlayOptions,
        sleep: S,
    ) -> Self {
        Self {
            stock,
            control,
            fanout,
            options,
            sleep,
            preparation: Preparation::new(options),
            past: Past::new(options),
            is_to_play: !options.start_paused && options.pace != Pace::Step,
            is_open: false,
            stepping: None,
            has_stepped: false,
            tape: Tape::Held { at_ns: 0 },
            speed: options.speed,
            not_before_ns: 0,
            next: None,
            hand: VecDeque::new(),
            starved: false,
            rounds: options.rounds,
            stretch: None,
            at_ns: 0,
            recorded_ns: 0,
            round: 0,
            emitted_here: 0,
            zero_ns: 0,
            end_ns: options.end_ns,
            index: 0,
            delivered_ns: 0,
            held: BTreeMap::new(),
            early: None,
            played: Played::default(),
        }
    }

    /// Has the first event read, before anybody is waited for: opening an archive takes longer than a
    /// message may be late. False if there is none.
    fn thread_in(&mut self) -> bool {
        self.stock.begin(Beginning { rounds: self.rounds, ..Beginning::start() });
        self.control.expect(self.options);
        while !self.fetch() {
            if self.control.stopped().is_cancelled() || self.is_at_end() {
                return false;
            }
            self.starve();
        }
        let first_ns = self.next.as_ref().map_or(0, |first| first.recorded_ns);
        self.zero_ns = self.options.zero_ns.unwrap_or(first_ns);
        (self.at_ns, self.recorded_ns) = (self.zero_ns, self.zero_ns);
        self.tape = Tape::Held { at_ns: self.zero_ns };
        self.starved = false;
        let (zero_ns, speed) = (self.zero_ns, self.speed);
        self.control.show(|shown| (shown.zero_ns, shown.speed) = (zero_ns, speed));
        self.show();
        true
    }

    /// One look at all there is to do; false when the replay is over.
    fn turn(&mut self) -> bool {
        while let Some((ticket, order)) = self.control.next_order() {
            self.obey(ticket, order);
        }
        if self.control.stopped().is_cancelled() {
            return false;
        }
        if let end_ns @ Some(_) = self.stock.end_ns()
            && end_ns != self.end_ns
        {
            self.end_ns = end_ns;
            self.show();
        }
        if !self.is_to_play && self.stepping.is_none() {
            return self.rest();
        }
        if !self.is_open && !self.opens() {
            self.sleep.sleep(None);
            return true;
        }
        if !self.fetch() {
            if self.is_at_end() {
                return false;
            }
            self.starved = true;
            self.starve();
            return true;
        }
        self.next = self.next.take().map(|next| self.prepare(next));
        let due_ns = if self.stepping.is_some() { None } else { self.due_ns() };
        let wait_ns = due_ns.unwrap_or(0).max(self.not_before_ns);
        let now_ns = self.now().steady_ns;
        if now_ns < wait_ns {
            self.sleep.sleep(Some(wait_ns));
            return true;
        }
        if self.options.pace == Pace::Lockstep && !self.is_settled(now_ns) {
            return true;
        }
        if !self.is_hasty() || !self.burst(now_ns) {
            self.happen(due_ns, now_ns);
        }
        true
    }

    /// Paused: tells what is known here, and waits for news; false if the last message was the last step's.
    fn rest(&mut self) -> bool {
        if (self.has_stepped || self.past.is_awaited()) && !self.fetch() {
            match self.is_at_end() {
                true if self.has_stepped => return false,
                true => self.sleep.sleep(None),
                false => self.starve(),
            }
        } else if self.past.is_awaited() && self.next.as_ref().is_some_and(Ready::is_state) {
            self.tell_early();
        } else {
            self.sleep.sleep(None);
        }
        true
    }

    /// Whether those that are waited for are there by now.
    fn opens(&mut self) -> bool {
        if self.is_awaiting() {
            return false;
        }
        self.open(if self.options.start == Start::AtOnce { 0 } else { LEAD_NS });
        true
    }

    /// Whether some of those that are waited for are not there, and were not before.
    fn is_awaiting(&self) -> bool {
        match self.options.start {
            _ if self.is_open => false,
            Start::AtOnce => false,
            Start::WithClients(wanted) => self.fanout.ready() < wanted.get(),
        }
    }

    fn open(&mut self, lead_ns: u64) {
        self.is_open = true;
        let now = self.now();
        self.not_before_ns = now.steady_ns + lead_ns;
        self.played.started_ns = Some(self.not_before_ns);
        let wall_us = now.wall_us + (lead_ns / 1_000) as i64;
        self.preparation.started(Now { wall_us, steady_ns: self.not_before_ns }, self.zero_ns);
        self.retell();
        self.show();
    }

    /// Makes `next` ready; false if there is nothing by now.
    fn fetch(&mut self) -> bool {
        if self.next.is_some() {
            return true;
        }
        if self.hand.is_empty() {
            // At a pace that keeps no time it is not worth waking up for less.
            let wanted = if self.is_hasty() { HANDFUL } else { 1 };
            let hand = &mut self.hand;
            self.stock.take(wanted, |planned| hand.push_back(Ready::from(planned)));
            if self.is_open && self.is_hasty() {
                self.prepare_hand();
            }
        }
        let Some(ready) = self.hand.pop_front() else { return false };
        self.next = Some(Ready { waited: std::mem::take(&mut self.starved), ..ready });
        true
    }

    /// Waits for the reader; where a handful is waited for, not long for less.
    fn starve(&mut self) {
        let limit = self.is_hasty().then_some(HANDFUL_WAIT);
        self.sleep.starve(limit);
    }

    fn is_at_end(&self) -> bool {
        self.next.is_none() && self.hand.is_empty() && self.stock.is_at_end()
    }

    /// When `next` is due, where there is a time to keep. Lets the tape run, if it stands.
    fn due_ns(&mut self) -> Option<u64> {
        if self.keeps_no_time() {
            return None;
        }
        let at_ns = self.next.as_ref().map(|next| next.at_ns)?;
        match self.tape {
            Tape::Running(clock) => Some(clock.due_ns(at_ns)),
            Tape::Held { at_ns: held_ns } => {
                let start_ns = self.now().steady_ns.max(self.not_before_ns);
                let clock = PlaybackClock::new(held_ns, start_ns, self.speed);
                self.tape = Tape::Running(clock);
                // What was not read when the tape stood made nothing late.
                if let Some(next) = &mut self.next {
                    next.waited = false;
                }
                self.show();
                Some(clock.due_ns(at_ns))
            }
        }
    }

    /// Whether everybody has what was sent; waits for news if not, and gives up those who take too long.
    fn is_settled(&mut self, now_ns: u64) -> bool {
        if self.fanout.is_settled() {
            return true;
        }
        let limit_ns = u64::try_from(self.options.ack_timeout.as_nanos()).unwrap_or(u64::MAX);
        let until_ns = self.delivered_ns.saturating_add(limit_ns);
        if now_ns >= until_ns {
            self.fanout.drop_unsettled(NOT_ACKNOWLEDGED);
            return true;
        }
        self.sleep.sleep(Some(until_ns));
        false
    }

    fn keeps_no_time(&self) -> bool {
        matches!(self.options.pace, Pace::Max | Pace::Lockstep)
    }

    fn now(&self) -> Now {
        self.fanout.clock().now()
    }

    /// Whether it lies in the recording where this round has yet to come.
    fn is_ahead(&self, next: &Ready) -> bool {
        next.round == self.round && next.recorded_ns >= self.recorded_ns
    }

    fn shown(&self) -> Shown {
        Shown {
            state: match (self.is_to_play, self.is_open) {
                _ if self.control.stopped().is_cancelled() => State::Done,
                (false, _) => State::Paused,
                (true, false) => State::Waiting,
                (true, true) => State::Playing,
            },
            tape: self.tape,
            speed: self.speed,
            at_ns: self.at_ns,
            recorded_ns: self.recorded_ns,
            end_ns: self.end_ns,
            next_ns: self.next.as_ref().filter(|next| self.is_ahead(next)).map(|next| next.recorded_ns),
            round_end_ns: self.stretch.and_then(|stretch| stretch.to_ns),
            again_from_ns: self
                .rounds
                .includes(self.round + 1)
                .then(|| self.stretch.map_or(0, |stretch| stretch.from_ns)),
            ..Shown::default()
        }
    }

    fn show(&self) {
        let now = self.shown();
        self.control.show(|shown| {
            let Shown { zero_ns, seq, is_last, emitted, obeyed, refused, awaited, .. } =
                std::mem::take(shown);
            *shown = Shown { zero_ns, seq, is_last, emitted, obeyed, refused, awaited, ..now };
        });
    }
}

#[cfg(test)]
mod tests;
