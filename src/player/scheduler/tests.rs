//! The scheduler under a clock that stands until it is moved: whole replays without a moment's wait.
//!
//! [`Model`] says what a replay under orders is to do, in the plainest way there is; all pairs of orders in all
//! situations are played and compared with it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use futures_util::FutureExt as _;
use sha2::Sha256;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::message::{Row, Selection};
use crate::player::control::{Awaited, Repeat, Snapshot, To};
use crate::player::event::Position;
use crate::player::stages::Stages;
use crate::player::tests::row;
use crate::player::{Cuts, Outage, Outages};
use crate::player::{Order, reader};
use crate::transport::fanout::{Down, Item, Member, Outlet, Strands, Taken, Wish};
use crate::transport::trace::Trace;

mod model;
mod outages;
mod shaped;
mod together;

const MS: u64 = 1_000_000;

/// When the clock of every test begins.
const BEGIN_NS: u64 = 1_000_000 * MS;

/// Lets the time pass: to the next thing that a test does, or to what is waited for.
struct Script {
    clock: Arc<ManualClock>,
    control: Arc<Control>,
    /// What happens at which time, in milliseconds since the beginning.
    acts: VecDeque<(u64, Act)>,
    /// Joins when a test says so.
    latecomer: Option<Member>,
    /// Waited for until all is read, where it matters what is in stock.
    read: Option<Arc<Stock>>,
    /// How it stood after each order.
    seen: Arc<Mutex<Vec<(u64, Snapshot)>>>,
}

#[derive(Clone, Debug)]
enum Act {
    Order(Order),
    /// Heard only now, though the sleep should have ended before.
    Late(Order),
    /// The awaited client becomes ready.
    Ready,
    /// Looks.
    Look,
}

impl Script {
    fn now_ns(&self) -> u64 {
        Clock::Manual(Arc::clone(&self.clock)).now().steady_ns
    }
}

impl Sleep for Script {
    fn sleep(&mut self, until_ns: Option<u64>) {
        while self.read.as_ref().is_some_and(|stock| stock.end_ns().is_none()) {
            thread::yield_now();
        }
        let now_ns = self.now_ns();
        let next_ns = self.acts.front().map(|(at_ms, _)| BEGIN_NS + at_ms * MS);
        let is_late = matches!(self.acts.front(), Some((_, Act::Late(_))))
            && next_ns.zip(until_ns).is_some_and(|(next_ns, until_ns)| next_ns - until_ns <= MS);
        match (until_ns, next_ns) {
            (Some(until_ns), next_ns) if !is_late && next_ns.is_none_or(|next_ns| until_ns <= next_ns) => {
                self.clock.advance_ns(until_ns.saturating_sub(now_ns));
            }
            (_, Some(next_ns)) => {
                self.clock.advance_ns(next_ns.saturating_sub(now_ns));
                let Some((at_ms, act)) = self.acts.pop_front() else { unreachable!() };
                match act {
                    Act::Order(order) | Act::Late(order) => {
                        self.control.order(order).unwrap();
                    }
                    Act::Ready => {
                        if let Some(member) = &self.latecomer {
                            member.wish(Wish::Rows(Selection::default()));
                        }
                    }
                    Act::Look => self.seen.lock().unwrap().push((at_ms, self.control.snapshot())),
                }
            }
            // Paused, or waiting for who never comes: the test is over.
            (None, None) => {
                self.control.order(Order::Stop).unwrap();
            }
            (Some(_), None) => unreachable!(),
        }
    }

    fn starve(&mut self, limit: Option<Duration>) {
        // The reader is a thread of its own; the time stands while it is waited for.
        self.control.bell().wait(limit);
    }
}

/// What was emitted: `seq`, and when it was due, in nanoseconds since the beginning.
type Emitted = Vec<(u64, Option<u64>)>;

struct Ran {
    emitted: Emitted,
    played: Played,
    seen: Vec<(u64, Snapshot)>,
}

fn play(rows: &[Row], options: PlayOptions, acts: &[(u64, Act)]) -> Ran {
    play_traced(rows, options, acts, None)
}

fn play_traced(rows: &[Row], options: PlayOptions, acts: &[(u64, Act)], trace: Option<Arc<Trace>>) -> Ran {
    play_to(rows, options, acts, trace, None)
}

fn play_to(
    rows: &[Row],
    options: PlayOptions,
    acts: &[(u64, Act)],
    trace: Option<Arc<Trace>>,
    outlet: Option<Arc<dyn Outlet>>,
) -> Ran {
    // Known from the beginning, as an archive's index knows it: the reader is a thread of its own.
    let options = PlayOptions { end_ns: rows.last().map(|row| row.elapsed_ns), ..options };
    let clock = Arc::new(ManualClock::at(Now { wall_us: 0, steady_ns: BEGIN_NS }));
    let fanout = Fanout::with_bounds(Clock::Manual(Arc::clone(&clock)), trace, usize::MAX, usize::MAX);
    if let Outages::Reproduce(_) = &options.outages {
        fanout.reproduce_outages(Strands::new(&[], &Selection::default()));
    }
    let control = Control::new(Arc::clone(&fanout));
    fanout.play(Arc::clone(control.bell()), false);
    let stock = Arc::new(Stock::new(Arc::clone(control.bell())));
    let listener = fanout.join_target("test", Wish::Rows(Selection::default())).unwrap();
    let read = outlet.is_some().then(|| Arc::clone(&stock));
    if let Some(outlet) = outlet {
        listener.set_outlet(outlet);
    }
    let latecomer = fanout.join("late").unwrap();
    let reading = thread::spawn({
        let (rows, stock, sessions) = (rows.to_vec(), Arc::clone(&stock), options.sessions.clone());
        let open = move |_| Ok::<_, Infallible>(rows.clone().into_iter().map(Ok::<_, Infallible>));
        let stages = Stages::of(&options);
        move || reader::read(&stock, open, &sessions, stages)
    });
    let seen = Arc::default();
    let script = Script {
        clock,
        control: Arc::clone(&control),
        acts: acts.iter().cloned().collect(),
        latecomer: Some(latecomer),
        read,
        seen: Arc::clone(&seen),
    };
    let highest = rows.iter().map(|row| row.seq).max().unwrap_or(0);
    let mut waits = Box::pin(control.wait(Awaited::Seq(highest)));
    assert!((&mut waits).now_or_never().is_none());
    let played = run(&stock, &control, &fanout, &options, script);
    reading.join().unwrap().unwrap();
    fanout.finish();
    let emitted = take_all(&listener)
        .into_iter()
        .map(|item| (item.emission.row.seq, item.emission.due_ns.map(|due_ns| due_ns - BEGIN_NS)));
    let emitted: Emitted = emitted.collect();
    let has_passed = waits.now_or_never().is_some_and(|waited| waited.is_ok());
    assert!(has_passed || emitted.iter().all(|(seq, _)| *seq != highest), "who waited for it was not told");
    let seen = seen.lock().unwrap().clone();
    Ran { emitted, played, seen }
}

fn take_all(member: &Member) -> Vec<Item> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut batch = Vec::new();
    while runtime.block_on(member.take(&mut batch, usize::MAX, usize::MAX)) == Taken::Some {}
    batch
}

fn at_once() -> PlayOptions {
    PlayOptions { start: Start::AtOnce, ..PlayOptions::default() }
}

/// Rows at these milliseconds.
fn rows_at(times_ms: &[u64]) -> Vec<Row> {
    let rows = times_ms.iter().enumerate().map(|(seq, at_ms)| row(seq as u64, at_ms * MS, "x"));
    rows.collect()
}

fn order(at_ms: u64, order: Order) -> (u64, Act) {
    (at_ms, Act::Order(order))
}

fn to_ms(ms: u64) -> Order {
    Order::Seek(To::Position(ms * MS))
}

fn steps(count: u64) -> Order {
    Order::Step(Steps::Count(NonZeroU64::new(count).unwrap()))
}

/// `seq` and milliseconds; none where it was sent by a step.
fn in_ms(emitted: &Emitted) -> Vec<(u64, Option<u64>)> {
    emitted.iter().map(|(seq, due_ns)| (*seq, due_ns.map(|due_ns| due_ns / MS))).collect()
}

#[test]
fn an_hour_at_any_speed_has_no_drift() {
    // 36,000 messages, 100 ms apart; what a nanosecond's rounding each would come to is 36 us.
    let rows: Vec<Row> = (0..36_000).map(|seq| row(seq, 7 + seq * 100_000_003, "x")).collect();
    for (speed, numerator, denominator) in [("1", 1, 1), ("3", 3, 1), ("1/7", 1, 7), ("1000", 1_000, 1)] {
        let ran = play(&rows, PlayOptions { speed: speed.parse().unwrap(), ..at_once() }, &[]);
        assert_eq!(ran.emitted.len(), 36_000);
        for (seq, due_ns) in ran.emitted {
            let exact = u128::from(seq * 100_000_003) * denominator;
            assert_eq!(u128::from(due_ns.unwrap()), exact.div_ceil(numerator), "{speed}: {seq}");
        }
    }
}

#[test]
fn an_hour_of_changing_its_speed_does_not_move_it_by_a_microsecond() {
    let rows: Vec<Row> = (0..36_000).map(|seq| row(seq, seq * 100_000_000, "x")).collect();
    // Every second: a third, then three times, so that four seconds of it are ten thirds.
    let speeds = ["1/3", "3", "1"].map(|speed| Order::Speed(speed.parse().unwrap()));
    let acts: Vec<_> = (0..3_000).map(|n| order(n * 1_000, speeds[n as usize % 3].clone())).collect();
    let ran = play(&rows, at_once(), &acts);
    let (_, last) = ran.emitted[35_999];
    // 1,000 cycles of 3 s show 13/3 s each, wherever the rest of the hour falls to speed 1.
    let per_cycle = 13 * 1_000 * MS / 3;
    let cycles = 3_599_900 * MS / per_cycle;
    let rest = 3_599_900 * MS - cycles * per_cycle;
    // The rest begins with a third of a second at 1/3, then runs at 3.
    let expected = cycles * 3_000 * MS + 1_000 * MS + (rest - 1_000 * MS / 3) / 3;
    assert!(last.unwrap().abs_diff(expected) < 3_000, "{last:?} {expected}");
}

#[test]
fn a_pause_moves_what_follows_and_nothing_else() {
    let rows = rows_at(&[0, 100, 200]);
    let ran = play(&rows, at_once(), &[order(150, Order::Pause), order(1_000, Order::Play)]);
    assert_eq!(in_ms(&ran.emitted), [(0, Some(0)), (1, Some(100)), (2, Some(1_050))]);
}

#[test]
fn the_position_is_shown_while_nothing_happens() {
    let rows = rows_at(&[500, 1_500, 10_500]);
    let acts = [
        (250, Act::Look),
        order(300, Order::Speed("4".parse().unwrap())),
        (400, Act::Look),
        order(500, Order::Pause),
        (900, Act::Look),
        order(900, to_ms(20)),
        (900, Act::Look),
        order(900, Order::Seek(To::By(-50 * MS as i64))),
        (950, Act::Look),
        order(950, Order::Seek(To::By(90_000 * MS as i64))),
        (990, Act::Look),
        order(1_000, Order::Seek(To::Recorded(1_500 * MS))),
        (1_000, Act::Look),
    ];
    let ran = play(&rows, at_once(), &acts);
    let seen: Vec<_> = ran.seen.iter().map(|(_, seen)| (seen.state, seen.position_ns / MS)).collect();
    use State::{Paused, Playing};
    assert_eq!(
        seen,
        [
            (Playing, 250),
            (Playing, 700),
            (Paused, 1_100),
            (Paused, 20),
            (Paused, 0),
            (Paused, 10_000),
            (Paused, 1_000)
        ]
    );
    let last = &ran.seen[6].1;
    assert_eq!((last.duration_ns, last.seq, last.emitted), (Some(10_000 * MS), Some(1), 2));
    assert_eq!(last.speed.to_string(), "4");
}

#[test]
fn a_replay_waits_for_its_clients_unless_told_twice_to_play() {
    let rows = rows_at(&[0, 10]);
    let one = || PlayOptions { start: Start::WithClients(NonZeroUsize::MIN), ..PlayOptions::default() };
    let lead_ms = LEAD_NS / MS;
    let ran = play(&rows, one(), &[(5, Act::Look), (500, Act::Ready)]);
    assert_eq!(ran.seen[0].1.state, State::Waiting);
    assert_eq!(in_ms(&ran.emitted), [(0, Some(500 + lead_ms)), (1, Some(510 + lead_ms))]);
    // Started without them.
    let ran = play(&rows, one(), &[order(20, Order::Play)]);
    assert_eq!(in_ms(&ran.emitted), [(0, Some(20)), (1, Some(30))]);
    // Paused first, then with them.
    let paused = PlayOptions { start_paused: true, ..one() };
    let acts = [(5, Act::Look), order(20, Order::Play), (30, Act::Look), (40, Act::Ready)];
    let ran = play(&rows, paused.clone(), &acts);
    assert_eq!(
        ran.seen.iter().map(|(_, seen)| seen.state).collect::<Vec<_>>(),
        [State::Paused, State::Waiting]
    );
    assert_eq!(in_ms(&ran.emitted), [(0, Some(40 + lead_ms)), (1, Some(50 + lead_ms))]);
    // A step before they are there does nothing, then or later; from then on it does.
    let acts = [
        order(5, steps(1)),
        (6, Act::Look),
        (40, Act::Ready),
        (95, Act::Look),
        order(100, steps(1)),
        (155, Act::Look),
    ];
    let ran = play(&rows, paused.clone(), &acts);
    assert_eq!(in_ms(&ran.emitted), [(0, None)]);
    let seen: Vec<_> = ran.seen.iter().map(|(_, seen)| (seen.state, seen.emitted)).collect();
    assert_eq!(seen, [(State::Paused, 0), (State::Paused, 0), (State::Paused, 1)]);
    // They are there long since: nothing more is waited for.
    let ran = play(&rows, paused, &[(5, Act::Ready), order(200, Order::Play)]);
    assert_eq!(in_ms(&ran.emitted), [(0, Some(200 + lead_ms)), (1, Some(210 + lead_ms))]);
}

#[test]
fn a_step_sends_at_once_and_the_last_one_ends_the_replay() {
    let rows = rows_at(&[0, 1_000, 2_000, 3_000, 4_000]);
    let paused = PlayOptions { pace: Pace::Step, ..at_once() };
    let look = |at_ms| (at_ms, Act::Look);
    let acts =
        [order(5, steps(1)), look(6), order(7, steps(2)), look(8), order(9, steps(2)), look(10), look(11)];
    let ran = play(&rows, paused, &acts);
    assert_eq!(in_ms(&ran.emitted), (0..5).map(|seq| (seq, None)).collect::<Vec<_>>());
    let seen: Vec<_> = ran.seen.iter().map(|(_, seen)| (seen.emitted, seen.position_ns / MS)).collect();
    assert_eq!(seen, [(1, 0), (3, 2_000)], "nobody looks any more: it is over");
    assert!(!ran.played.stopped);
}

#[test]
fn a_step_goes_on_to_what_was_described() {
    let rows = rows_at(&[0, 10, 20, 30, 40]);
    let until = |seq| Order::Step(Steps::Until { session_id: rows[0].session_id, seq });
    let ran =
        play(&rows, at_once(), &[order(5, until(1)), (6, Act::Look), order(7, until(3)), (8, Act::Look)]);
    assert_eq!(in_ms(&ran.emitted), [(0, Some(0)), (1, None), (2, None), (3, None)]);
    assert_eq!(ran.seen.iter().map(|(_, seen)| seen.seq).collect::<Vec<_>>(), [Some(1), Some(3)]);
}

#[test]
fn winding_within_the_recording_does_not_end_it() {
    let rows = rows_at(&[0, 5_000, 10_000]);
    let forward = |at_ms, ms| order(at_ms, Order::Seek(To::Within(ms * MS as i64)));
    let look = |at_ms| (at_ms, Act::Look);
    let acts =
        [forward(100, 60_000), look(100), forward(200, 60_000), look(200), forward(300, -60_000), look(300)];
    let ran = play(&rows, at_once(), &acts);
    let seen: Vec<_> = ran.seen.iter().map(|(_, seen)| (seen.state, seen.position_ns / MS)).collect();
    // A second before the end; from there it goes on, and backwards to the beginning.
    assert_eq!(seen, [(State::Playing, 9_000), (State::Playing, 9_100), (State::Playing, 0)]);
    let paused = PlayOptions { start_paused: true, ..at_once() };
    let acts = [forward(5, 60_000), order(6, Order::Play)];
    assert_eq!(in_ms(&play(&rows, paused, &acts).emitted), [(2, Some(1_006))]);
}

#[test]
fn the_digest_is_of_what_was_emitted_in_order() {
    let mut rows = rows_at(&[0, 100, 200]);
    for (row, payload) in rows.iter_mut().zip(["a", "b", "c"]) {
        row.payload = payload.into();
    }
    let ran = play(&rows, at_once(), &[order(150, to_ms(0))]);
    assert_eq!(ran.emitted.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [0, 1, 0, 1, 2]);
    let mut expected = Sha256::default();
    for payload in ["a", "b", "a", "b", "c"] {
        crate::player::event::add_to_digest(&mut expected, "/stream", payload.as_bytes());
    }
    use sha2::Digest as _;
    assert_eq!(ran.played.digest.finalize(), expected.finalize());
    assert_eq!(ran.played.messages, 5);
}

#[test]
fn at_the_clients_pace_orders_and_the_account_are_as_exact_as_one_by_one() {
    let mut rows: Vec<Row> = (0..1_000).map(|seq| row(seq, seq * MS, &seq.to_string())).collect();
    rows.iter_mut().skip(500).for_each(|row| row.source = "other".into());
    let twice = Rounds::Times(NonZeroU64::new(2).unwrap());
    let paused = |pace| PlayOptions { pace, rounds: twice, start_paused: true, ..at_once() };
    // Within what was read ahead: a stop, a way back, and a look at each.
    let acts = [
        order(5, steps(70)),
        (6, Act::Look),
        order(7, steps(1)),
        (8, Act::Look),
        order(9, to_ms(10)),
        order(10, steps(2)),
        (11, Act::Look),
        order(12, Order::Play),
    ];
    let [hasty, original] = [Pace::Max, Pace::Original].map(|pace| play(&rows, paused(pace), &acts));
    let seen = |ran: &Ran| -> Vec<_> { ran.seen.iter().map(|(_, seen)| (seen.seq, seen.emitted)).collect() };
    assert_eq!(seen(&hasty), [(Some(69), 70), (Some(70), 71), (Some(11), 73)]);
    assert_eq!(seen(&hasty), seen(&original));
    let expected: Vec<u64> = (0..71).chain(10..1_000).chain(0..1_000).collect();
    let seqs = |ran: &Ran| -> Vec<u64> { ran.emitted.iter().map(|(seq, _)| *seq).collect() };
    assert_eq!(seqs(&hasty), expected);
    assert_eq!(seqs(&original), expected);
    assert!(hasty.emitted.iter().all(|(_, due_ns)| due_ns.is_none()));
    use sha2::Digest as _;
    let account = |ran: Ran| {
        let Played { messages, bytes, digest, sources, .. } = ran.played;
        (messages, bytes, digest.finalize(), sources.into_counts())
    };
    assert_eq!(account(hasty), account(original));
}

#[test]
fn a_repetition_that_begins_where_it_stands_sends_nothing_twice() {
    // Three at the same moment, one of them sent.
    let rows = rows_at(&[0, 100, 100, 100, 200]);
    let all = Repeat { from: None, to: None, rounds: Rounds::Times(NonZeroU64::new(2).unwrap()) };
    let acts = [order(5, steps(2)), order(6, Order::Repeat(all)), order(10, Order::Play)];
    let ran = play(&rows, PlayOptions { start_paused: true, ..at_once() }, &acts);
    let seqs: Vec<u64> = ran.emitted.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(seqs, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]);
}

#[test]
fn opening_at_a_place_is_what_the_reader_asks_for() {
    let rows = rows_at(&[0, 100, 200]);
    let asked = Arc::new(Mutex::new(Vec::new()));
    let stock = Arc::new(Stock::default());
    stock.begin(Beginning { position: Position::At(150 * MS), ..Beginning::start() });
    let open = {
        let (asked, stock) = (Arc::clone(&asked), Arc::clone(&stock));
        move |position| {
            asked.lock().unwrap().push(position);
            stock.abandon();
            Ok::<_, Infallible>(rows.clone().into_iter().map(Ok::<_, Infallible>))
        }
    };
    reader::read(&stock, open, &[], Stages::of(&PlayOptions::default())).unwrap();
    assert_eq!(*asked.lock().unwrap(), [Position::At(150 * MS)]);
}
