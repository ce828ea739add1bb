//! What leaves in one write.

use sha2::Digest as _;

use super::*;
use crate::transport::fanout::{Moment, Sending};

/// Takes everything at once, and remembers what came together.
#[derive(Debug, Default)]
struct Writes(Mutex<Vec<Vec<u64>>>);

impl Outlet for Writes {
    fn send(&self, items: &mut Vec<Item>, _: &Moment<'_>) -> Sending {
        self.0.lock().unwrap().push(items.iter().map(|item| item.emission.row.seq).collect());
        Sending::Flushed
    }
}

fn writes(rows: &[Row], options: PlayOptions, acts: &[(u64, Act)]) -> (Vec<Vec<u64>>, Played) {
    let outlet = Arc::new(Writes::default());
    // Not before all is read.
    let options = PlayOptions { start_paused: true, ..options };
    let acts = &[&[order(0, Order::Play)], acts].concat();
    let ran = play_to(rows, options, acts, None, Some(Arc::clone(&outlet) as Arc<dyn Outlet>));
    assert!(ran.emitted.is_empty(), "nothing went by the queue");
    let writes = outlet.0.lock().unwrap().clone();
    (writes, ran.played)
}

#[test]
fn what_is_due_at_the_same_moment_leaves_together() {
    let rows = rows_at(&[0, 0, 0, 5, 6, 6]);
    let (writes, played) = writes(&rows, at_once(), &[]);
    assert_eq!(writes, [vec![0, 1, 2], vec![3], vec![4, 5]]);
    assert_eq!(played.messages, 6);
    let one_by_one = play(&rows, PlayOptions { pace: Pace::Max, ..at_once() }, &[]);
    assert_eq!(played.digest.finalize(), one_by_one.played.digest.finalize());
}

#[test]
fn a_wait_is_told_of_each_message_that_leaves_together_in_whatever_order_of_seq() {
    // As of two sessions: the highest `seq` is not the last.
    let mut rows = rows_at(&[0, 7, 7]);
    rows[1].seq = 9;
    for pace in [Pace::Original, Pace::Max] {
        let ran = play(&rows, PlayOptions { pace, ..at_once() }, &[]);
        assert_eq!(ran.emitted.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [0, 9, 2]);
    }
}

#[test]
fn who_was_held_up_sends_all_that_is_due_by_now_and_no_more() {
    let mut rows = rows_at(&[0, 10, 10, 10, 11]);
    let micros = |us: u64| us * 1_000;
    (rows[2].elapsed_ns, rows[3].elapsed_ns) =
        (rows[1].elapsed_ns + micros(400), rows[1].elapsed_ns + micros(900));
    // Awake half a millisecond after the second was due.
    rows[1].elapsed_ns -= micros(500);
    rows.iter_mut().skip(2).for_each(|row| row.elapsed_ns -= micros(500));
    let (writes, _) = writes(&rows, at_once(), &[(10, Act::Late(Order::Play))]);
    assert_eq!(writes, [vec![0], vec![1, 2], vec![3], vec![4]]);
}

#[test]
fn more_than_a_handful_leaves_in_handfuls() {
    let rows = rows_at(&[7; 2 * HANDFUL + 3]);
    let (writes, _) = writes(&rows, at_once(), &[]);
    assert_eq!(writes.concat(), (0..2 * HANDFUL as u64 + 3).collect::<Vec<_>>());
    assert!(writes.len() <= 3, "{writes:?}");
}

#[test]
fn more_than_is_good_for_a_queue_leaves_in_parts() {
    let large = "x".repeat(super::super::burst::TOGETHER_BYTES_MAX / 2);
    let rows: Vec<Row> = (0..5).map(|seq| row(seq, 0, if seq == 0 { "x" } else { &large })).collect();
    assert_eq!(writes(&rows, at_once(), &[]).0, [vec![0, 1], vec![2, 3], vec![4]]);
}
