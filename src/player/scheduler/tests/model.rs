//! All pairs of orders in all situations, against a model that goes through the time in steps of half a millisecond.

use super::*;

/// Of the time, in which the model goes.
const TICK_NS: u64 = MS / 2;

/// Recorded ones, in quarters of a millisecond, so that half the speed goes by whole numbers.
const QUARTERS: i64 = 4;

/// The message that a step goes on to.
const ALARM: usize = 5;

/// What a replay is to do.
struct Model {
    /// When each message was recorded, in milliseconds.
    times: Vec<i64>,
    is_to_play: bool,
    is_open: bool,
    not_before_ns: u64,
    /// Of steps that are to be made.
    steps: u64,
    /// A step to the alarm is to be made.
    until_alarm: bool,
    /// Quarters of a recorded millisecond in a tick.
    rate: i64,
    /// Where it is, in quarters of a millisecond; goes on behind the end while a further round is due.
    place: i64,
    next: usize,
    /// Where the reading of this round began.
    read_from: usize,
    /// None since it was wound.
    last: Option<usize>,
    rounds: u64,
    stretch: Option<(i64, i64)>,
    emitted: Emitted,
    is_over: bool,
}

impl Model {
    /// The message after the last of this round.
    fn end(&self) -> usize {
        self.stretch.map_or(self.times.len(), |(_, to)| self.first_at(to))
    }

    fn is_stepping(&self) -> bool {
        self.steps > 0 || self.until_alarm
    }

    fn first_at(&self, ms: i64) -> usize {
        self.times.partition_point(|time| *time < ms)
    }

    /// The next message, where it lies, and whether it begins a round.
    fn upcoming(&self) -> Option<(usize, i64, bool)> {
        if self.next < self.end() {
            return Some((self.next, self.times[self.next] * QUARTERS, false));
        }
        if self.rounds < 2 {
            return None;
        }
        let first = self.stretch.map_or(0, |(from, _)| self.first_at(from));
        let read = self.end() - self.read_from.min(self.end());
        let at = match (self.stretch, read) {
            (Some((from, to)), _) => to + self.times[first] - from,
            // Nothing was left of this round.
            (None, 0) => return Some((first, self.place, true)),
            (None, 1) => self.times[self.end() - 1] + 1_000,
            (None, _) => {
                let (begin, end) = (self.times[self.read_from], self.times[self.end() - 1]);
                end + (end - begin) / (read as i64 - 1)
            }
        };
        Some((first, at * QUARTERS, true))
    }

    fn emit(&mut self, due_ns: Option<u64>) {
        let Some((message, _, is_new_round)) = self.upcoming() else { return };
        self.emitted.push((message as u64, due_ns));
        if is_new_round {
            self.rounds -= 1;
            self.read_from = message;
        }
        self.place = self.times[message] * QUARTERS;
        self.next = message + 1;
        self.last = Some(message);
    }

    fn wind(&mut self, ms: i64) {
        self.place = ms * QUARTERS;
        self.next = self.first_at(ms);
        self.read_from = self.next;
        self.last = None;
    }

    /// Where it shows to be, in quarters.
    fn shown(&self) -> i64 {
        self.place.min(self.times[self.times.len() - 1] * QUARTERS)
    }

    fn obey(&mut self, now_ns: u64, order: &Order, ready: bool) {
        if matches!(order, Order::Step(_)) && !self.is_open && !ready {
            return;
        }
        // A further step to whatever is described begins anew; only counts add up.
        if self.until_alarm || !matches!(order, Order::Step(Steps::Count(_))) {
            (self.steps, self.until_alarm) = (0, false);
        }
        match order {
            Order::Play if self.is_to_play && !self.is_open => {
                (self.is_open, self.not_before_ns) = (true, now_ns)
            }
            Order::Play => self.is_to_play = true,
            Order::Pause => self.is_to_play = false,
            Order::Speed(speed) => self.rate = rate(*speed),
            Order::Step(Steps::Count(count)) => {
                self.is_to_play = false;
                self.steps += count.get();
            }
            Order::Step(Steps::Until { .. }) => (self.is_to_play, self.until_alarm) = (false, true),
            Order::Seek(To::Position(ns)) => {
                let ms = (ns / MS) as i64;
                if self.stretch.is_some_and(|(_, to)| ms >= to) {
                    (self.stretch, self.rounds) = (None, 1);
                }
                self.wind(ms);
            }
            Order::Repeat(Repeat { from, to, rounds: Rounds::Times(rounds) }) => {
                let ms = |to: Option<To>| match to {
                    Some(To::Position(ns)) => Some((ns / MS) as i64),
                    _ => None,
                };
                self.stretch = ms(*from).zip(ms(*to));
                self.rounds = rounds.get();
                let (shown, last) = (self.shown(), self.last);
                match self.stretch {
                    Some((from, to)) if shown < from * QUARTERS || shown >= to * QUARTERS => self.wind(from),
                    _ => {
                        // All before it, and what lies exactly there and was sent.
                        self.next = self.times.partition_point(|time| time * QUARTERS < shown);
                        self.next +=
                            usize::from(last.is_some_and(|last| self.times[last] * QUARTERS == shown));
                        self.read_from = self.next;
                        self.place = shown;
                    }
                }
            }
            Order::Stop => self.is_over = true,
            other => unreachable!("{other:?} is not in the table"),
        }
    }

    /// One moment: everything that is due.
    fn tick(&mut self, now_ns: u64, ready: bool) {
        if !self.is_open && ready && (self.is_to_play || self.is_stepping()) {
            (self.is_open, self.not_before_ns) = (true, now_ns + LEAD_NS);
        }
        if !self.is_open {
            return;
        }
        // To see that nothing follows, the lead is not waited for.
        self.is_over |= (self.is_to_play || self.is_stepping()) && self.upcoming().is_none();
        if now_ns < self.not_before_ns {
            return;
        }
        while self.is_stepping() && !self.is_over {
            self.emit(None);
            self.until_alarm &= self.last != Some(ALARM);
            self.steps = self.steps.saturating_sub(1);
            self.is_over = self.upcoming().is_none();
        }
        while self.is_to_play && !self.is_over {
            match self.upcoming() {
                None => self.is_over = true,
                Some((_, at, _)) if at > self.place => break,
                Some(_) => self.emit(Some(now_ns)),
            }
        }
    }

    fn run(mut self, acts: &[(u64, Act)]) -> (Emitted, Vec<(State, i64)>) {
        let mut acts: VecDeque<_> = acts.iter().collect();
        let (mut ready, mut seen) = (false, Vec::new());
        for tick in 0.. {
            let now_ns = tick * TICK_NS;
            // What was due at this moment comes before what is ordered at it.
            self.tick(now_ns, ready);
            while let Some((_, act)) = acts.pop_front_if(|(at_ms, _)| at_ms * MS <= now_ns) {
                match act {
                    _ if self.is_over => {}
                    Act::Order(order) => self.obey(now_ns, order, ready),
                    Act::Late(_) => unreachable!("nothing is late here"),
                    Act::Ready => ready = true,
                    Act::Look => {
                        let state = match (self.is_to_play, self.is_open) {
                            (false, _) => State::Paused,
                            (true, false) => State::Waiting,
                            (true, true) => State::Playing,
                        };
                        seen.push((state, self.shown()));
                    }
                }
                self.tick(now_ns, ready);
            }
            let is_idle = !self.is_open || (!self.is_to_play && !self.is_stepping());
            if self.is_over || (acts.is_empty() && is_idle) {
                return (self.emitted, seen);
            }
            if self.is_open && self.is_to_play && now_ns >= self.not_before_ns {
                self.place += self.rate;
            }
        }
        unreachable!()
    }
}

fn rate(speed: Speed) -> i64 {
    match speed.to_string().as_str() {
        "1" => 2,
        "2" => 4,
        "1/2" => 1,
        other => unreachable!("{other} is not in the table"),
    }
}

fn speed(text: &str) -> Order {
    Order::Speed(text.parse().unwrap())
}

fn times(count: u64) -> Rounds {
    Rounds::Times(NonZeroU64::new(count).unwrap())
}

/// What can be ordered.
fn orders() -> Vec<Order> {
    let at = |ms| Some(To::Position(ms * MS));
    vec![
        Order::Play,
        Order::Pause,
        // Back to the beginning, to a message, between two, into the last gap, behind the end.
        to_ms(0),
        to_ms(40),
        to_ms(110),
        to_ms(150),
        to_ms(5_000),
        speed("2"),
        speed("1/2"),
        steps(1),
        steps(3),
        Order::Step(Steps::Until { session_id: row(0, 0, "").session_id, seq: ALARM as u64 }),
        Order::Repeat(Repeat { from: None, to: None, rounds: times(2) }),
        Order::Repeat(Repeat { from: at(30), to: at(90), rounds: times(3) }),
        Order::Repeat(Repeat { from: at(100), to: at(150), rounds: times(2) }),
        Order::Stop,
    ]
}

#[test]
fn all_pairs_of_orders_do_in_all_situations_what_the_model_does() {
    let times_ms: Vec<u64> = (0..9).map(|n| n * 20).collect();
    let rows = rows_at(&times_ms);
    let client = Start::WithClients(NonZeroUsize::MIN);
    let situations = [
        ("playing", at_once(), vec![]),
        ("waiting", PlayOptions { start: client, ..at_once() }, vec![(100, Act::Ready)]),
        ("waiting for who never comes", PlayOptions { start: client, ..at_once() }, vec![]),
        ("paused", PlayOptions { start_paused: true, ..at_once() }, vec![order(200, Order::Play)]),
        (
            "paused, waiting",
            PlayOptions { start_paused: true, start: client, ..at_once() },
            vec![(40, Act::Ready), order(200, Order::Play)],
        ),
        ("a loop", PlayOptions { rounds: times(3), ..at_once() }, vec![]),
        ("in steps", PlayOptions { pace: Pace::Step, ..at_once() }, vec![order(104, steps(2))]),
    ];
    let mut played = 0;
    for (situation, options, besides) in &situations {
        for first in orders() {
            for second in orders() {
                // Between two messages, one after the other, and in the gap between two rounds.
                for (first_ms, second_ms) in [(44, 68), (52, 52), (168, 172)] {
                    let mut acts = besides.clone();
                    let look = |at_ms| (at_ms, Act::Look);
                    acts.extend([order(first_ms, first.clone()), look(first_ms), look(first_ms + 3)]);
                    acts.extend([order(second_ms, second.clone()), look(second_ms), look(second_ms + 10)]);
                    acts.sort_by_key(|(at_ms, _)| *at_ms);
                    let Rounds::Times(rounds) = options.rounds else { unreachable!() };
                    let model = Model {
                        times: times_ms.iter().map(|ms| *ms as i64).collect(),
                        is_to_play: !options.start_paused && options.pace == Pace::Original,
                        is_open: options.start == Start::AtOnce,
                        not_before_ns: 0,
                        steps: 0,
                        until_alarm: false,
                        rate: rate(options.speed),
                        place: 0,
                        next: 0,
                        read_from: 0,
                        last: None,
                        rounds: rounds.get(),
                        stretch: None,
                        emitted: Vec::new(),
                        is_over: false,
                    };
                    let (emitted, seen) = model.run(&acts);
                    let ran = play(&rows, options.clone(), &acts);
                    let what = format!("{situation}: {acts:?}");
                    assert_eq!(ran.emitted, emitted, "{what}");
                    let shown = ran
                        .seen
                        .iter()
                        .map(|(_, shown)| (shown.state, (shown.position_ns / (MS / QUARTERS as u64)) as i64));
                    assert_eq!(shown.collect::<Vec<_>>(), seen, "{what}");
                    assert_eq!(ran.played.messages, emitted.len() as u64, "{what}");
                    played += 1;
                }
            }
        }
    }
    assert_eq!(played, situations.len() * orders().len().pow(2) * 3);
}
