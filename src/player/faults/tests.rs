//! Faults on a line of numbered messages, one every millisecond.

use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;

type Out = Vec<(u64, Shaped<u64>)>;

fn faults(spec: &str, seed: u64) -> Faults {
    Faults::new(spec.parse().unwrap_or_else(|error| panic!("{spec}: {error}")), seed)
}

fn play(mut line: Line<u64>, messages: u64) -> Out {
    let mut out = Vec::new();
    let mut keep = |at_ns, shaped| {
        out.push((at_ns, shaped));
        true
    };
    for n in 0..messages {
        line.message(n * MS, (n, n + 100), 1, n, &mut keep);
    }
    line.finish(&mut keep);
    out
}

fn run(spec: &str, seed: u64, messages: u64) -> Out {
    play(Line::new(faults(spec, seed)), messages)
}

/// The numbers that left, in their order.
fn left(out: &Out) -> Vec<u64> {
    out.iter()
        .filter_map(|(_, shaped)| match shaped {
            Shaped::Message(n, _) => Some(*n),
            _ => None,
        })
        .collect()
}

/// Where a fault strikes among the first thousand.
fn struck(spec: &str, fault: Fault, seed: u64) -> Vec<(u64, Option<u64>)> {
    let faults = faults(spec, seed);
    let of = |index: u64| {
        let fate = faults.fate(index, index);
        let others = [
            fate.is_dropped.then_some((Fault::Drop, None)),
            fate.is_followed_by_disconnect.then_some((Fault::Disconnect, None)),
            fate.copy_ns.map(|ns| (Fault::Duplicate, Some(ns))),
            fate.changes.corrupt.map(|chance| (Fault::Corrupt, Some(chance))),
        ];
        let changed = of_changes(&fate.changes).filter(|(fault, _)| *fault != Fault::Corrupt);
        let found = changed.chain(others.into_iter().flatten()).find(|(found, _)| *found == fault);
        found.map(|(_, size)| (index, size))
    };
    (0..1_000).filter_map(of).collect()
}

#[test]
fn one_fault_shifts_no_other() {
    let all = [
        "delay=1/9:5ms",
        "jitter=1/8:9ms",
        "drop=1/7",
        "duplicate=1/6",
        "reorder=1/5:9ms",
        "corrupt=1/4",
        "disconnect=1/9",
    ];
    for (one, fault) in all.iter().zip(Fault::ALL) {
        let alone = struck(one, fault, 3);
        assert!(alone.len() > 80, "{one} struck {}", alone.len());
        assert_eq!(struck(&all.join(","), fault, 3), alone, "{one} among all the others");
        let mut backwards = all;
        backwards.reverse();
        assert_eq!(struck(&backwards.join(","), fault, 3), alone, "{one}, named elsewhere");
        assert_ne!(struck(one, fault, 4), alone, "{one} by another seed");
    }
}

#[test]
fn a_share_is_about_that_share() {
    for (spec, fault) in [("drop=1/10", Fault::Drop), ("corrupt=1/10", Fault::Corrupt)] {
        let count = struck(spec, fault, 1).len();
        assert!((70..130).contains(&count), "{spec}: {count} of 1000");
    }
    assert_eq!(struck("drop=1/1", Fault::Drop, 1).len(), 1_000);
    // A place is added to a share, and a number in the session is a place as well.
    let by_share = struck("drop=1/10", Fault::Drop, 1);
    let with_places = struck("drop=1/10@0@1@2@3@4@5@6@7@8@9", Fault::Drop, 1);
    assert!(by_share.iter().all(|place| with_places.contains(place)) && with_places.len() > by_share.len());
    assert_eq!(struck("drop=@5@seq9", Fault::Drop, 1), [(5, None), (9, None)]);
}

#[test]
fn dropped_messages_do_not_leave() {
    let out = run("drop=@1@3, delay=@1:9ms, duplicate=@1, corrupt=@1", 1, 5);
    assert_eq!(left(&out), [0, 2, 4]);
    assert_eq!(out[1], (MS, Shaped::Dropped(1)), "at its own time, and known of");
    assert_eq!(out.len(), 5);
}

#[test]
fn what_follows_waits_behind_a_delay() {
    let out = run("delay=@2:3ms", 1, 8);
    assert_eq!(left(&out), [0, 1, 2, 3, 4, 5, 6, 7]);
    let times: Vec<u64> = out.iter().map(|(at_ns, _)| at_ns / MS).collect();
    assert_eq!(times, [0, 1, 5, 5, 5, 5, 6, 7]);
    let late: Vec<u64> = out
        .iter()
        .filter_map(|(_, shaped)| match shaped {
            Shaped::Message(_, changes) => Some(changes.late.delay_ns),
            _ => None,
        })
        .collect();
    assert_eq!(late, [0, 0, 3 * MS, 0, 0, 0, 0, 0], "only the one that was struck is said to be delayed");
}

#[test]
fn jitter_keeps_the_order_and_its_size() {
    let out = run("jitter=20ms", 1, 500);
    assert_eq!(left(&out), (0..500).collect::<Vec<_>>());
    let mut sizes = Vec::new();
    for (at_ns, shaped) in out {
        let Shaped::Message(n, changes) = shaped else { panic!("{shaped:?}") };
        assert!(at_ns >= n * MS && at_ns <= n * MS + 20 * MS);
        assert_eq!(changes.delay_ns, at_ns - n * MS, "what it waited behind is told, too");
        sizes.push(changes.late.jitter_ns);
    }
    assert!(sizes.iter().any(|ns| *ns < 2 * MS) && sizes.iter().any(|ns| *ns > 18 * MS));
}

#[test]
fn a_reordered_message_leaves_within_its_window() {
    let out = run("reorder=1/10:20ms", 1, 1_000);
    let order = left(&out);
    assert_ne!(order, (0..1_000).collect::<Vec<_>>());
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..1_000).collect::<Vec<_>>(), "all of them leave");
    assert!(out.windows(2).all(|pair| pair[0].0 <= pair[1].0), "time never runs back");
    for (at_ns, shaped) in &out {
        let Shaped::Message(n, changes) = shaped else { panic!("{shaped:?}") };
        assert_eq!(*at_ns, n * MS + changes.late.reorder_ns);
        assert_eq!(changes.delay_ns, changes.late.reorder_ns);
        assert!(changes.late.reorder_ns <= 20 * MS);
    }
    // Those that were not held are in order among themselves.
    let held = struck("reorder=1/10:20ms", Fault::Reorder, 1);
    let rest: Vec<u64> = order.into_iter().filter(|n| !held.iter().any(|(index, _)| index == n)).collect();
    assert!(rest.is_sorted() && rest.len() < 950);
}

#[test]
fn duplicates_leave_directly_behind_or_later() {
    let copy = |shaped: &Shaped<u64>| matches!(shaped, Shaped::Message(_, changes) if changes.copy == 1);
    let out = run("duplicate=@1@2", 1, 4);
    assert_eq!(left(&out), [0, 1, 1, 2, 2, 3]);
    assert_eq!(
        out.iter().map(|(_, shaped)| copy(shaped)).collect::<Vec<_>>(),
        [false, false, true, false, true, false]
    );
    let out = run("duplicate=@1:2ms, corrupt=@1", 1, 6);
    assert_eq!(left(&out), [0, 1, 2, 1, 3, 4, 5]);
    let corrupted: Vec<_> = out
        .iter()
        .filter_map(|(at_ns, shaped)| match shaped {
            Shaped::Message(1, changes) => Some((*at_ns, changes.corrupt.unwrap())),
            _ => None,
        })
        .collect();
    assert_eq!((corrupted[0].0, corrupted[1].0), (MS, 3 * MS));
    assert_eq!(corrupted[0].1, corrupted[1].1, "the copy is a copy");
    // Both are held where it is reordered, one behind the other.
    let out = run("duplicate=@1, reorder=@1:5ms", 1, 9);
    let places: Vec<usize> = (0..9).filter(|at| left(&out)[*at] == 1).collect();
    assert!(places[0] > 1 && places[1] == places[0] + 1, "{places:?}");
}

#[test]
fn a_disconnect_follows_its_message_even_if_that_was_dropped() {
    for (spec, first) in [
        ("disconnect=@1", Shaped::Message(1, Changes::default())),
        ("disconnect=@1,drop=@1", Shaped::Dropped(1)),
    ] {
        let out = run(spec, 1, 3);
        assert_eq!(out[1..3], [(MS, first), (MS, Shaped::Disconnect(1))], "{spec}");
    }
}

#[test]
fn what_is_held_is_bounded_and_none_is_lost() {
    let spec = "reorder=1/1:1h, duplicate=1/2:1h";
    let bounded = |held_max, bytes_max| {
        let line = Line::with_bounds(faults(spec, 1), held_max, bytes_max);
        let out = play(line, 300);
        let copies = struck(spec, Fault::Duplicate, 1).iter().filter(|(n, _)| *n < 300).count();
        assert_eq!(left(&out).len(), 300 + copies);
        assert!(out.windows(2).all(|pair| pair[0].0 <= pair[1].0), "time never runs back");
        out
    };
    let by_count = bounded(4, usize::MAX);
    assert!(by_count[..290].iter().all(|(at_ns, _)| *at_ns < 300 * MS), "they left early");
    assert_eq!(bounded(usize::MAX, 4), by_count, "by bytes as by number, each of them costing one");
    assert_eq!(bounded(4, usize::MAX), by_count, "and the same each time");
}

#[test]
fn other_things_pass_in_their_place() {
    let mut line = Line::new(faults("delay=@0:5ms, reorder=@1:1ms", 1));
    let mut out = Vec::new();
    let mut keep = |at_ns, shaped: Shaped<u64>| {
        out.push((at_ns, left(&vec![(at_ns, shaped)])));
        true
    };
    line.message(0, (0, 0), 1, 0, &mut keep);
    line.message(MS, (1, 1), 1, 1, &mut keep);
    assert_eq!(line.pass(2 * MS, &mut keep), Some(5 * MS), "behind what is delayed");
    assert_eq!(line.pass(9 * MS, &mut keep), Some(9 * MS));
    assert_eq!(out.iter().map(|(_, n)| n[0]).collect::<Vec<_>>(), [0, 1], "what was held has left by then");
}

#[test]
fn the_report_counts_all_and_names_the_first() {
    let mut tally = Tally::default();
    for index in 0..99 {
        tally.note(Fault::Drop, Struck { index, seq: Some(index + 1), ns: None });
    }
    tally.note(Fault::Delay, Struck { index: 3, seq: Some(4), ns: Some(5) });
    let reports = tally.into_reports();
    assert_eq!(
        reports.iter().map(|r| (r.fault, r.count, r.first.len())).collect::<Vec<_>>(),
        [(Fault::Delay, 1, 1), (Fault::Drop, 99, 10)]
    );
    let json = serde_json::to_value(&reports[0]).unwrap();
    assert_eq!(
        json,
        serde_json::json!({"fault": "delay", "count": 1, "first": [{"index": 3, "seq": 4, "ns": 5}]})
    );
}

#[test]
fn places_that_never_came_are_named() {
    let spec = "drop=@1@5@seq9, corrupt=@0@seq3, jitter, delay=1/2@7".parse().unwrap();
    let mut tally = Tally::new(Some(&Faults::new(spec, 1)));
    (0..5).for_each(|index| tally.pass(index, index));
    tally.note(Fault::Drop, Struck { index: 1, seq: Some(1), ns: None });
    let told: Vec<_> = tally.into_reports().into_iter().map(|r| (r.fault, r.count, r.never_met)).collect();
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(told, [(Fault::Delay, 0, names(&["@7"])), (Fault::Drop, 1, names(&["@5", "@seq9"]))]);
}

proptest! {
    /// Whatever is asked for: time never runs back, and what does not leave was dropped.
    #[test]
    fn order_and_number_hold(seed: u64, window_ms in 1..50_u64, messages in 0..200_u64) {
        let spec = format!("drop=1/5, duplicate=1/4:{window_ms}ms, reorder=1/3:{window_ms}ms, jitter={window_ms}ms, delay=1/9:{window_ms}ms, disconnect=1/9");
        let out = run(&spec, seed, messages);
        prop_assert!(out.windows(2).all(|pair| pair[0].0 <= pair[1].0));
        let mut first: Vec<u64> = out
            .iter()
            .filter_map(|(_, shaped)| match shaped {
                Shaped::Message(n, changes) if changes.copy == 0 => Some(*n),
                Shaped::Dropped(n) => Some(*n),
                _ => None,
            })
            .collect();
        first.sort_unstable();
        prop_assert_eq!(first, (0..messages).collect::<Vec<_>>());
        prop_assert_eq!(run(&spec, seed, messages), out, "the same again");
    }
}
