//! Orders where messages do not leave when and as they were recorded: late, under faults, in outages, with other times.

use super::outages::outages;
use super::*;
use crate::player::Faults;
use crate::player::faults::Fault;

fn faulty(spec: &str) -> PlayOptions {
    PlayOptions { faults: Some(Faults::new(spec.parse().unwrap(), 1)), ..at_once() }
}

fn seqs(ran: &Ran) -> Vec<u64> {
    ran.emitted.iter().map(|(seq, _)| *seq).collect()
}

fn again(from_ms: Option<u64>, to_ms: Option<u64>, rounds: u64) -> Order {
    let at = |ms: Option<u64>| ms.map(|ms| To::Position(ms * MS));
    let rounds = Rounds::Times(NonZeroU64::new(rounds).unwrap());
    Order::Repeat(Repeat { from: at(from_ms), to: at(to_ms), rounds })
}

#[test]
fn an_order_that_is_heard_when_something_is_due_does_not_pass_it_over() {
    let rows = rows_at(&[0, 100, 200]);
    let ran = play(&rows, at_once(), &[(101, Act::Late(again(None, None, 1)))]);
    assert_eq!(in_ms(&ran.emitted), [(0, Some(0)), (1, Some(101)), (2, Some(201))]);
    let acts = [(101, Act::Late(Order::Pause)), (150, Act::Look), order(500, Order::Play)];
    let ran = play(&rows, at_once(), &acts);
    assert_eq!(ran.seen[0].1.position_ns, 100 * MS, "it stands before what was not sent");
    assert_eq!(in_ms(&ran.emitted), [(0, Some(0)), (1, Some(500)), (2, Some(600))]);
}

#[test]
fn a_stretch_that_ends_before_it_begins_is_none() {
    let rows = rows_at(&[0, 100, 200]);
    for (from, to) in [(Some(150), Some(50)), (Some(50), Some(50)), (None, Some(0))] {
        let ran = play(&rows, at_once(), &[order(20, again(from, to, 9))]);
        assert_eq!(in_ms(&ran.emitted), [(0, Some(0)), (1, Some(100)), (2, Some(200))], "{from:?} {to:?}");
    }
}

#[test]
fn a_repetition_from_where_it_stands_loses_nothing_and_sends_nothing_twice_under_faults() {
    // Three at the same moment.
    let rows = rows_at(&[0, 100, 100, 100, 200]);
    let acts =
        |steps_before| [order(5, steps(steps_before)), order(6, again(None, None, 1)), order(9, Order::Play)];
    let paused = |spec| PlayOptions { start_paused: true, ..faulty(spec) };
    assert_eq!(seqs(&play(&rows, paused("duplicate=@1"), &acts(3))), [0, 1, 1, 2, 3, 4]);
    assert_eq!(seqs(&play(&rows, paused("drop=@1"), &acts(2))), [0, 2, 3, 4]);
    // Its copy comes long after; the place is not taken back to it.
    let ran = play(&rows, faulty("duplicate=@0:150ms"), &[order(160, again(None, None, 1))]);
    assert_eq!(seqs(&ran), [0, 1, 2, 3, 0, 4]);
    // The second is late, and with it all that follows.
    let rows = rows_at(&[0, 10, 20, 30]);
    let acts = [
        (1_990, Act::Look),
        order(2_000, Order::Pause),
        (2_001, Act::Look),
        order(2_002, again(None, None, 1)),
    ];
    let ran = play(&rows, faulty("delay=@1:5s"), &[&acts[..], &[order(2_003, Order::Play)]].concat());
    assert_eq!(seqs(&ran), [0, 1, 2, 3]);
    assert_eq!(ran.seen[1].1.position_ns, 10 * MS, "before what was not sent");
}

#[test]
fn faults_go_on_by_number_where_the_replay_is_wound() {
    let rows = rows_at(&[0, 100, 200, 300, 400]);
    let ran = play(&rows, faulty("drop=@1,duplicate=@4"), &[order(150, to_ms(0))]);
    // 0, and 1 is dropped; then numbers 2 to 6.
    assert_eq!(seqs(&ran), [0, 0, 1, 2, 2, 3, 4]);
    assert_eq!(ran.played.messages, 7);
    let struck: Vec<_> = ran
        .played
        .faults
        .iter()
        .map(|report| (report.fault, report.first[0].index, report.first[0].seq))
        .collect();
    assert_eq!(struck, [(Fault::Drop, 1, Some(1)), (Fault::Duplicate, 4, Some(2))]);
    let mut expected = Sha256::default();
    for _ in 0..7 {
        crate::player::event::add_to_digest(&mut expected, "/stream", b"x");
    }
    use sha2::Digest as _;
    assert_eq!(ran.played.digest.finalize(), expected.finalize(), "what was dropped included");
}

#[test]
fn what_a_fault_holds_back_when_the_replay_is_wound_or_stopped_is_emitted_as_far_as_the_digest_goes() {
    use sha2::Digest as _;
    let rows: Vec<Row> =
        [0, 10, 20, 100].iter().zip(0..).map(|(ms, n)| row(n, ms * MS, &n.to_string())).collect();
    let digest = |seqs: &[usize]| {
        let mut digest = Sha256::default();
        for seq in seqs {
            crate::player::event::add_to_digest(&mut digest, "/stream", seq.to_string().as_bytes());
        }
        digest.finalize()
    };
    let cases: [(_, &[usize], &[usize]); 4] = [
        // What follows it has left; nothing has, and what comes then has its number and its fault; nobody touches
        // it; it is stopped.
        (Some(order(30, to_ms(100))), &[0, 1, 2, 3], &[0, 2, 3]),
        (Some(order(15, to_ms(100))), &[0, 3], &[0, 3]),
        (None, &[0, 1, 2, 3], &[0, 2, 3, 1]),
        (Some(order(30, Order::Stop)), &[0, 1, 2], &[0, 2]),
    ];
    for (act, emitted, sent) in cases {
        let acts: Vec<_> = act.into_iter().collect();
        let ran = play(&rows, faulty("reorder=@1:1h"), &acts);
        assert_eq!(seqs(&ran), sent.iter().map(|seq| *seq as u64).collect::<Vec<_>>());
        assert_eq!(ran.played.messages, emitted.len() as u64, "{acts:?}");
        assert_eq!(ran.played.digest.finalize(), digest(emitted), "{acts:?}");
        assert_eq!(ran.played.sent_digest.unwrap().finalize(), digest(sent), "{acts:?}");
        let struck = ran.played.faults.iter().map(|report| (report.fault, report.first[0].index));
        assert_eq!(struck.collect::<Vec<_>>(), [(Fault::Reorder, 1)], "{acts:?}");
    }
}

#[test]
fn what_a_fault_holds_back_leaves_before_the_outage_that_it_was_received_before() {
    let rows = rows_at(&[0, 5, 100]);
    assert_eq!(outages(&rows, &[(10, 50)], faulty("delay=@1:30ms"), &[]), [(35 * MS, 1), (50 * MS, 0)]);
    // Out of the outage, to the beginning and into it again: each is said, whatever is late.
    let acts = [order(60, to_ms(0)), order(70, to_ms(20))];
    assert_eq!(
        outages(&rows, &[(10, 50)], faulty("delay=@1:30ms"), &acts),
        [(35 * MS, 1), (50 * MS, 0), (60 * MS, 0), (70 * MS, 1), (100 * MS, 0)]
    );
}

#[test]
fn at_maximal_pace_every_outage_is_said_and_over() {
    let rows = rows_at(&[0, 100, 200]);
    let max = PlayOptions { pace: Pace::Max, ..at_once() };
    assert_eq!(outages(&rows, &[(10, 50), (110, 150)], max, &[]), [(0, 1), (0, 0), (0, 1), (0, 0)]);
}

#[test]
fn a_step_to_a_message_that_a_fault_drops_ends_there() {
    let rows = rows_at(&[0, 10, 20, 30, 40]);
    let until = |seq| Order::Step(Steps::Until { session_id: rows[0].session_id, seq });
    let acts = [order(5, until(2)), (6, Act::Look), order(7, steps(1)), (8, Act::Look)];
    let ran = play(&rows, PlayOptions { start_paused: true, ..faulty("drop=@2") }, &acts);
    let seen: Vec<_> = ran.seen.iter().map(|(_, seen)| (seen.seq, seen.emitted)).collect();
    assert_eq!((seqs(&ran), seen), (vec![0, 1, 3], vec![(Some(2), 3), (Some(3), 4)]));
}

#[test]
fn what_is_left_of_a_round_does_not_take_the_next_one_back() {
    // Held until the second round has begun, which is then repeated from there: once, and not twice.
    let rows = rows_at(&[0, 10, 20, 30]);
    let options =
        PlayOptions { rounds: Rounds::Times(NonZeroU64::new(2).unwrap()), ..faulty("duplicate=@0:45ms") };
    let acts = [(47, Act::Look), order(48, to_ms(10))];
    let ran = play(&rows, options, &acts);
    assert_eq!(seqs(&ran), [0, 1, 2, 3, 0, 0, 1, 2, 3], "no third round");
    assert_eq!(ran.seen[0].1.position_ns, 7 * MS);
}
