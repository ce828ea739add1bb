//! What an order does:
//!
//! * **play** goes on. Before the awaited clients are there it only says that the replay is to start
//!   with them (`waiting`); where it waits for them already, it starts without those who are missing.
//! * **pause** lets the tape stand; what clients have in their queues was sent and stays theirs.
//! * **seek** throws away what was read ahead and reads from there, before as after the start, playing
//!   or paused; it changes neither. The messages that are not before the place follow, one that lies exactly
//!   there first. What clients have in their queues stays. Behind the last message there is nothing: a replay
//!   that plays is done, or begins its next round; one that is paused stays there. What is known at the place
//!   is told at once, also where it is paused.
//! * **speed** changes the rate from this moment on; the place does not jump. Refused at a pace that keeps no time.
//! * **step** pauses, and sends so many messages at once, or up to and with one that was described; a slow
//!   client is waited for. After the last message the replay is done. Before the awaited clients are there it
//!   is refused and changes nothing: it would send, unseen, when somebody comes.
//! * **halt** pauses, where a step would not be refused.
//! * **repeat** plays a stretch, or all, again and again from where it is; outside the stretch it begins at
//!   its start. Winding to behind a stretch ends its repetition. In a stretch without a message there is nothing
//!   to repeat, and the replay is done; one that ends where it begins, or before, is none, and nothing changes.
//! * **stop** ends the replay: what was emitted is delivered.

use super::{Scheduler, Sleep, Stepping};
use crate::player::Rounds;
use crate::player::control::{Order, Refused, Repeat, Steps, Tape, Ticket, To};
use crate::player::event::Position;
use crate::player::pace::{PlaybackClock, Speed};
use crate::player::stock::{Beginning, Stretch};

impl<S: Sleep> Scheduler<'_, S> {
    pub(super) fn obey(&mut self, ticket: Ticket, order: Order) {
        if self.keeps_no_time() && matches!(order, Order::Speed(_) | Order::Faster | Order::Slower) {
            return self.control.refuse(ticket, Refused::NoSpeed);
        }
        // Whatever comes after a step ends it, but for a further step.
        let stepping = self.stepping.take();
        self.has_stepped = false;
        // What is due by now and was not sent is not passed over: see `shown_at_ns`.
        self.fetch();
        match order {
            Order::Play => self.play(),
            Order::Pause => self.pause(),
            Order::Toggle if self.is_to_play => self.pause(),
            Order::Toggle => self.play(),
            Order::Speed(speed) => self.change_speed(speed),
            Order::Faster => self.change_speed(self.speed.faster()),
            Order::Slower => self.change_speed(self.speed.slower()),
            // As far as it goes already.
            Order::Seek(to @ To::Within(0..)) if self.place(to) <= self.shown_recorded_ns() => {}
            Order::Seek(to) => {
                let place_ns = self.place(to);
                if self.stretch.and_then(|stretch| stretch.to_ns).is_some_and(|to_ns| place_ns >= to_ns) {
                    (self.stretch, self.rounds) = (None, Rounds::ONCE);
                }
                self.unsettle(false);
                self.wind(place_ns, 0);
            }
            Order::Repeat(repeat) => self.repeat(repeat),
            Order::Step(_) | Order::Halt if !self.is_open && !self.opens() => {
                return self.control.refuse(ticket, Refused::Waiting);
            }
            Order::Halt => self.pause(),
            Order::Step(steps) => {
                self.pause();
                let steps = match (stepping.map(|stepping| stepping.steps), steps) {
                    (Some(Steps::Count(left)), Steps::Count(more)) => {
                        Steps::Count(left.saturating_add(more.get()))
                    }
                    (_, steps) => steps,
                };
                self.stepping = Some(Stepping { steps, ticket });
                return self.show();
            }
            Order::Stop => {}
        }
        self.show();
        self.control.obey(ticket);
    }

    fn play(&mut self) {
        let was_to_play = std::mem::replace(&mut self.is_to_play, true);
        if was_to_play && !self.is_open {
            self.open(0);
        }
    }

    fn pause(&mut self) {
        self.is_to_play = false;
        self.tape = Tape::Held { at_ns: self.shown_at_ns() };
    }

    fn change_speed(&mut self, speed: Speed) {
        self.speed = speed;
        if let Tape::Running(clock) = self.tape {
            self.tape = Tape::Running(clock.at_speed(self.now().steady_ns, speed));
        }
    }

    /// Where the time line stands, or has come to: no further than to the next event, which may be due by now.
    fn shown_at_ns(&self) -> u64 {
        let at_ns = self.tape.at_ns(self.now().steady_ns);
        self.next.as_ref().map_or(at_ns, |next| at_ns.min(next.at_ns)).max(self.at_ns)
    }

    /// Where in the recording the replay has come to.
    fn shown_recorded_ns(&self) -> u64 {
        self.shown().recorded_ns(self.now().steady_ns)
    }

    /// Where in the recording `to` is; never before the replay's zero.
    fn place(&self, to: To) -> u64 {
        let place_ns = match to {
            To::Position(ns) => self.zero_ns.saturating_add(ns),
            To::By(ns) => self.shown_recorded_ns().saturating_add_signed(ns),
            To::Within(ns) => {
                let here_ns = self.shown_recorded_ns();
                let second_ns = PlaybackClock::new(0, 0, self.speed).recorded_ns(1_000_000_000);
                let last_ns = self.end_ns.map_or(u64::MAX, |end_ns| end_ns.saturating_sub(second_ns));
                here_ns.saturating_add_signed(ns).min(last_ns.max(here_ns))
            }
            To::Recorded(ns) => self.options.outages.played_ns(ns),
            To::Wall(us) => {
                let start_us = self.options.sessions.iter().map(|session| session.started_at_us).min();
                let ns = u64::try_from(us.saturating_sub(start_us.unwrap_or(0)))
                    .unwrap_or(0)
                    .saturating_mul(1_000);
                self.options.outages.played_ns(ns)
            }
        };
        place_ns.max(self.zero_ns)
    }

    /// Has the reader begin at `recorded_ns`, but for the first `skip` messages of exactly that time.
    fn wind(&mut self, recorded_ns: u64, skip: u64) {
        let at_ns = self.shown_at_ns();
        self.lose_held();
        let rounds = self.rounds.after(self.round);
        (self.rounds, self.round) = (rounds, 0);
        (self.at_ns, self.recorded_ns, self.emitted_here) = (at_ns, recorded_ns, skip);
        self.tape = Tape::Held { at_ns };
        self.next = None;
        self.hand.clear();
        self.starved = false;
        // Passed over, those of this moment that were sent still are.
        self.control.show(|shown| shown.is_last &= skip > 0);
        self.stock.begin(Beginning {
            position: Position::At(recorded_ns),
            at_ns: Some(at_ns),
            skip,
            index: self.index,
            digest: self.played.digest.clone(),
            rounds,
            stretch: self.stretch,
        });
    }

    /// What is known is said anew, unless the replay stays where it is; until then nobody is told of another place.
    fn unsettle(&mut self, stays: bool) {
        if self.past.wound(stays) {
            self.fanout.forget_state();
        }
    }

    fn repeat(&mut self, Repeat { from, to, rounds }: Repeat) {
        let from_ns = from.map(|from| self.place(from));
        let to_ns = to.map(|to| self.place(to));
        if to_ns.is_some_and(|to_ns| to_ns <= from_ns.unwrap_or(self.zero_ns)) {
            return;
        }
        let here_ns = self.shown_recorded_ns();
        let is_within =
            from_ns.is_none_or(|from_ns| here_ns >= from_ns) && to_ns.is_none_or(|to_ns| here_ns < to_ns);
        self.stretch = (from.is_some() || to.is_some())
            .then(|| Stretch { from_ns: from_ns.unwrap_or(self.zero_ns), to_ns });
        (self.rounds, self.round) = (rounds, 0);
        self.unsettle(is_within);
        match from_ns {
            _ if is_within && here_ns == self.recorded_ns => self.wind(here_ns, self.emitted_here),
            _ if is_within => self.wind(here_ns, 0),
            from_ns => self.wind(from_ns.unwrap_or(self.zero_ns), 0),
        }
    }
}
