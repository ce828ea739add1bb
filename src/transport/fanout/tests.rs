use bytes::Bytes;
use tokio::runtime::Builder;

use super::summary::SUMMARIES_MAX;
use super::*;
use crate::message::{Mqtt, Row, Selection, SessionId};

pub(in crate::transport) fn emission(
    index: u64,
    channel: &str,
    qos: u8,
    payload_bytes: usize,
) -> Arc<Emission> {
    let row = Row {
        vendor: "generic".into(),
        kind: "message".into(),
        site: "".into(),
        session_id: SessionId::new(0, [0; 10]),
        source: "src".into(),
        connection: 0,
        seq: index,
        received_at_us: 0,
        elapsed_ns: 0,
        channel: channel.into(),
        device_id: None,
        event_at_us: None,
        mqtt: Some(Mqtt { qos, retain: false, dup: false }),
        is_binary: false,
        headers: None,
        duplicate_of: None,
        payload: Bytes::from(vec![b'x'; payload_bytes]),
        clear: None,
        decode_error: None,
    };
    Arc::new(Emission::new(row, index, Some(0)))
}

pub(super) fn fanout(items_max: usize) -> Arc<Fanout> {
    Fanout::with_bounds(Clock::System, None, 1 << 20, items_max)
}

pub(super) fn everything() -> Wish {
    Wish::Rows(Selection::default())
}

pub(super) fn stop() -> CancellationToken {
    CancellationToken::new()
}

/// Takes all that is there; the indices, and what came after them.
pub(super) fn take_all(member: &Member) -> (Vec<u64>, Taken) {
    let runtime = Builder::new_current_thread().build().unwrap();
    let mut indices = Vec::new();
    loop {
        let mut batch = Vec::new();
        let taken = runtime.block_on(async {
            tokio::select! {
                biased;
                taken = member.take(&mut batch, 100, usize::MAX) => taken,
                () = std::future::ready(()) => Taken::Nothing,
            }
        });
        indices.extend(batch.iter().map(|item| item.emission.index));
        member.sent(&batch);
        if taken != Taken::Some {
            return (indices, taken);
        }
    }
}

#[test]
fn a_slow_client_is_dropped_and_the_others_get_everything() {
    let fanout = fanout(10);
    let (slow, fast) = (fanout.join("slow").unwrap(), fanout.join("fast").unwrap());
    slow.wish(everything());
    fast.wish(everything());
    let mut received = Vec::new();
    for index in 0..30 {
        fanout.deliver(&emission(index, "a", 0, 1), Flow::Drop, &stop());
        received.extend(take_all(&fast).0);
    }
    fanout.finish();
    assert_eq!(received, (0..30).collect::<Vec<_>>());
    assert_eq!(take_all(&fast).1, Taken::Finished);
    assert_eq!(take_all(&slow), (vec![], Taken::Dropped(TOO_SLOW)));
    drop((slow, fast));
    let summaries = fanout.summaries();
    let told: Vec<_> = summaries.iter().map(|s| (&*s.endpoint, s.messages, s.dropped, s.reason)).collect();
    // What it had, and the one that did not fit; what came later was not addressed to it any more.
    assert_eq!(told, [("slow", 0, 11, Some(TOO_SLOW)), ("fast", 30, 0, None)]);
}

#[test]
fn nothing_leaves_before_its_moment_however_early_it_is_delivered() {
    let fanout = fanout(10);
    let member = fanout.join("task").unwrap();
    member.wish(everything());
    let due_ns = fanout.clock().now().steady_ns + 5_000_000;
    let mut due = emission(0, "a", 0, 1);
    Arc::get_mut(&mut due).unwrap().due_ns = Some(due_ns);
    std::thread::scope(|scope| {
        scope.spawn(|| fanout.deliver_due([&due].into_iter()));
        while take_all(&member).0.is_empty() {}
        assert!(fanout.clock().now().steady_ns >= due_ns);
    });
    // Nobody is there: it is not over before its moment either.
    drop(member);
    let due_ns = fanout.clock().now().steady_ns + 1_000_000;
    Arc::get_mut(&mut due).unwrap().due_ns = Some(due_ns);
    fanout.deliver_due([&due].into_iter());
    assert!(fanout.clock().now().steady_ns >= due_ns);
}

#[test]
fn a_burst_goes_to_all_who_wish_for_it_or_to_nobody() {
    let fanout = fanout(4);
    let members = ["a", "b", "none", "unready"].map(|name| fanout.join(name).unwrap());
    let [all, some, none, _] = &members;
    all.wish(everything());
    let devices = Selection { channels: vec!["b".to_owned()], ..Selection::default() };
    some.wish(Wish::Rows(devices));
    none.wish(Wish::Topics(Vec::new()));
    let burst = |range: std::ops::Range<u64>| -> Vec<Arc<Emission>> {
        range.map(|index| emission(index, if index % 2 == 0 { "a" } else { "b" }, 0, 1)).collect()
    };
    assert!(fanout.deliver_burst(burst(0..3).iter()));
    assert!(!fanout.deliver_burst(burst(3..5).iter()), "there is room for one more");
    assert!(fanout.deliver_burst(burst(3..4).iter()));
    assert_eq!([all, some, none].map(|member| take_all(member).0), [vec![0, 1, 2, 3], vec![1, 3], vec![]]);
    assert_eq!(fanout.progress().0, 4);
    let too_large = [emission(4, "a", 0, 1), emission(5, "a", 0, 1 << 20)];
    assert!(!fanout.deliver_burst(too_large.iter()));
    assert!(fanout.deliver_burst(burst(4..8).iter()));
    assert_eq!(take_all(all).0, [4, 5, 6, 7]);
}

#[test]
fn what_was_taken_and_not_flushed_by_a_slow_client_counts_as_dropped() {
    let fanout = fanout(2);
    let slow = fanout.join("slow").unwrap();
    slow.wish(everything());
    let runtime = Builder::new_current_thread().build().unwrap();
    fanout.deliver(&emission(0, "a", 0, 1), Flow::Drop, &stop());
    let mut in_hand = Vec::new();
    runtime.block_on(slow.take(&mut in_hand, 1, usize::MAX));
    (1..4).for_each(|index| fanout.deliver(&emission(index, "a", 0, 1), Flow::Drop, &stop()));
    drop(slow);
    assert_eq!(fanout.summaries()[0].dropped, 4);
}

#[test]
fn a_client_that_leaves_by_itself_lost_nothing() {
    let fanout = fanout(10);
    let member = fanout.join("left").unwrap();
    member.wish(everything());
    fanout.deliver(&emission(0, "a", 0, 1), Flow::Drop, &stop());
    drop(member);
    fanout.deliver(&emission(1, "a", 0, 1), Flow::Drop, &stop());
    assert_eq!((fanout.summaries()[0].dropped, fanout.summaries()[0].reason), (0, None));
}

#[test]
fn at_the_end_only_who_does_nothing_is_dropped() {
    let fanout = fanout(10);
    let members = ["idle", "slow", "saying goodbye"].map(|name| fanout.join(name).unwrap());
    members.iter().for_each(|member| member.wish(everything()));
    (0..5).for_each(|index| fanout.deliver(&emission(index, "a", 0, 1), Flow::Drop, &stop()));
    let [idle, slow, leaving] = members;
    take_all(&leaving);
    fanout.finish();
    leaving.end();
    let runtime = Builder::new_current_thread().build().unwrap();
    let mut batch = Vec::new();
    runtime.block_on(slow.take(&mut batch, 1, usize::MAX));
    assert!(fanout.drop_idle("idle"), "the slow one moves");
    assert_eq!(take_all(&idle).1, Taken::Dropped("idle"));
    assert_ne!(take_all(&slow).1, Taken::Dropped("idle"));
    assert!(fanout.drop_idle("idle"), "it moved once more");
    assert!(!fanout.drop_idle("idle"));
    drop((idle, slow, leaving));
    let told: Vec<_> = fanout.summaries().iter().map(|s| (s.dropped, s.reason)).collect();
    assert_eq!(told[0], (5, Some("idle")));
    assert_eq!(told[2], (0, None), "a goodbye loses nothing");
}

#[test]
fn who_asks_a_receiver_again_is_not_idle() {
    let fanout = fanout(10);
    let member = fanout.join_target("push", everything()).unwrap();
    fanout.finish();
    member.repeated();
    assert!(fanout.drop_idle("idle"), "it was asked again since the end");
    assert!(!fanout.drop_idle("idle"), "and not since then");
    assert_eq!(take_all(&member).1, Taken::Dropped("idle"));
}

#[test]
fn where_there_is_no_time_to_keep_the_stream_waits() {
    let fanout = fanout(4);
    let member = fanout.join("max").unwrap();
    member.wish(everything());
    let deliverer = Arc::clone(&fanout);
    let thread = std::thread::spawn(move || {
        (0..1_000).for_each(|index| deliverer.deliver(&emission(index, "a", 0, 1), Flow::Wait, &stop()));
        deliverer.finish();
    });
    let runtime = Builder::new_current_thread().build().unwrap();
    let mut received = Vec::new();
    loop {
        let mut batch = Vec::new();
        let taken = runtime.block_on(member.take(&mut batch, 3, usize::MAX));
        received.extend(batch.iter().map(|item| item.emission.index));
        if taken == Taken::Finished {
            break;
        }
    }
    thread.join().unwrap();
    assert_eq!(received, (0..1_000).collect::<Vec<_>>());
}

#[test]
fn a_stop_is_heard_while_the_stream_waits() {
    let fanout = fanout(1);
    let member = fanout.join("stuck").unwrap();
    member.wish(everything());
    let (stop, deliverer) = (stop(), Arc::clone(&fanout));
    fanout.deliver(&emission(0, "a", 0, 1), Flow::Wait, &stop);
    let told = stop.clone();
    let thread = std::thread::spawn(move || deliverer.deliver(&emission(1, "a", 0, 1), Flow::Wait, &told));
    stop.cancel();
    thread.join().unwrap();
    assert_eq!(take_all(&member), (vec![0], Taken::Nothing));
}

#[test]
fn bytes_bound_a_queue_as_well_and_one_message_always_fits() {
    let fanout = fanout(100);
    let member = fanout.join("bytes").unwrap();
    member.wish(everything());
    fanout.deliver(&emission(0, "a", 0, 2 << 20), Flow::Drop, &stop());
    assert_eq!(take_all(&member), (vec![0], Taken::Nothing));
    fanout.deliver(&emission(1, "a", 0, 600 << 10), Flow::Drop, &stop());
    fanout.deliver(&emission(2, "a", 0, 600 << 10), Flow::Drop, &stop());
    assert_eq!(take_all(&member), (vec![], Taken::Dropped(TOO_SLOW)));
}

#[test]
fn overlapping_filters_deliver_once_at_the_highest_granted_qos() {
    let fanout = fanout(10);
    let member = fanout.join("mqtt").unwrap();
    member.wish(Wish::Topics(vec![("a/#".into(), 0), ("a/+".into(), 2), ("b".into(), 1)]));
    for (index, (channel, qos)) in
        [("a/x", 2), ("a/x", 1), ("a/x/y", 2), ("b", 2), ("c", 2)].iter().enumerate()
    {
        fanout.deliver(&emission(index as u64, channel, *qos, 1), Flow::Drop, &stop());
    }
    let mut batch = Vec::new();
    let runtime = Builder::new_current_thread().build().unwrap();
    runtime.block_on(member.take(&mut batch, 99, usize::MAX));
    let got: Vec<_> = batch.iter().map(|item| (item.emission.index, item.qos)).collect();
    assert_eq!(got, [(0, 2), (1, 1), (2, 0), (3, 1)]);
}

#[test]
fn nobody_joins_when_it_is_over_and_only_so_many_before() {
    let fanout = fanout(10);
    let members: Vec<_> = (0..CLIENTS_MAX).map(|_| fanout.join("x").unwrap()).collect();
    assert_eq!(fanout.join("x").unwrap_err(), JoinError::Full);
    drop(members);
    assert!(fanout.summaries().is_empty(), "none of them was ever ready");
    fanout.finish();
    assert_eq!(fanout.join("x").unwrap_err(), JoinError::Over);
}

#[test]
fn the_wait_is_for_clients_that_are_ready_at_the_same_time() {
    let fanout = fanout(10);
    let (first, second) = (fanout.join("1").unwrap(), fanout.join("2").unwrap());
    first.wish(everything());
    drop(first);
    second.wish(everything());
    assert_eq!(fanout.ready(), 1, "the first has left");
    let bell = Arc::new(Doorbell::default());
    fanout.play(Arc::clone(&bell), false);
    let third = fanout.join("3").unwrap();
    let waiting = std::thread::spawn({
        let (fanout, bell) = (Arc::clone(&fanout), Arc::clone(&bell));
        move || {
            while fanout.ready() < 2 {
                bell.wait(None);
            }
        }
    });
    third.wish(everything());
    waiting.join().unwrap();
    drop(third);
    assert!(bell.wait(None), "who leaves is told of");
    assert_eq!(fanout.ready(), 1);
}

/// What `member` has in its queue, taken and flushed.
fn flush(member: &Member) {
    take_all(member);
}

#[test]
fn in_lockstep_everybody_has_it_who_flushed_it_or_can_acknowledge_and_did() {
    let fanout = fanout(10);
    fanout.play(Arc::default(), true);
    let members: Vec<_> = ["raw", "mqtt", "envelope"].map(|name| fanout.join(name).unwrap()).into();
    let [raw, mqtt, envelope] = &members[..] else { unreachable!() };
    raw.wish(everything());
    mqtt.wish(Wish::Topics(vec![("#".into(), 1)]));
    envelope.wish(everything());
    envelope.acknowledges();
    fanout.deliver(&emission(7, "a", 2, 1), Flow::Wait, &stop());
    let mut settled = Vec::new();
    for step in [
        &|| flush(raw) as _,
        &|| flush(mqtt),
        &|| flush(envelope),
        &|| assert!(!envelope.settled_seq(6, None)),
        &|| assert!(envelope.settled_seq(7, None) && !envelope.settled_seq(7, None), "once"),
    ] as [&dyn Fn(); 5]
    {
        step();
        settled.push(fanout.is_settled());
    }
    assert_eq!(settled, [false; 5]);
    mqtt.settled(emission(7, "a", 2, 1).id());
    assert!(fanout.is_settled());
    // At QoS 0 there is nothing to acknowledge.
    fanout.deliver(&emission(8, "a", 0, 1), Flow::Wait, &stop());
    members.iter().for_each(flush);
    assert!(!fanout.is_settled());
    fanout.drop_unsettled(NOT_ACKNOWLEDGED);
    assert!(fanout.is_settled());
    drop(members);
    let reasons: Vec<_> = fanout.summaries().into_iter().map(|summary| summary.reason).collect();
    assert_eq!(reasons, [None, None, Some(NOT_ACKNOWLEDGED)]);
}

#[test]
fn in_lockstep_no_message_is_settled_by_the_acknowledgement_of_another_with_the_same_seq() {
    let fanout = fanout(10);
    fanout.play(Arc::default(), true);
    let (mqtt, envelope) = (fanout.join("mqtt").unwrap(), fanout.join("envelope").unwrap());
    mqtt.wish(Wish::Topics(vec![("#".into(), 1)]));
    envelope.wish(everything());
    envelope.acknowledges();
    let session = |n| SessionId::new(0, [n; 10]);
    // Of two sessions, and of the second once more in a further round.
    let of = |index, n| {
        let row = Row { session_id: session(n), seq: 7, ..(*emission(index, "a", 1, 1).row).clone() };
        Arc::new(Emission::new(row, index, None))
    };
    let sent = [of(0, 1), of(1, 2), of(2, 2)];
    for emission in &sent {
        fanout.deliver(emission, Flow::Wait, &stop());
    }
    flush(&mqtt);
    flush(&envelope);
    let settled = |at: usize| mqtt.settled(sent[at].id());
    settled(1);
    settled(1);
    settled(2);
    assert_eq!([0; 3].map(|_| envelope.settled_seq(7, Some(session(2)))), [true, true, false]);
    assert!(!fanout.is_settled(), "the first session's is acknowledged by neither");
    settled(0);
    assert!(!fanout.is_settled());
    envelope.settled_seq(7, None);
    assert!(fanout.is_settled());
}

#[test]
fn summaries_are_bounded_and_nothing_is_left_out_of_them() {
    let fanout = fanout(10);
    let clients = SUMMARIES_MAX as u64 + 50;
    for index in 0..clients {
        let member = fanout.join(if index % 2 == 0 { "/ws" } else { "mqtt" }).unwrap();
        member.wish(everything());
        fanout.deliver(&emission(index, "c", 0, 1), Flow::Drop, &stop());
        assert_eq!(take_all(&member).0, [index]);
    }
    let summaries = fanout.summaries();
    assert_eq!(summaries.len(), SUMMARIES_MAX);
    for endpoint in ["/ws", "mqtt"] {
        let messages: u64 = summaries.iter().filter(|s| s.endpoint == endpoint).map(|s| s.messages).sum();
        assert_eq!(messages, clients / 2);
    }
}

#[test]
fn what_is_kept_to_be_told_again_keeps_no_memory_of_others() {
    let emission = emission(0, "channel", 0, 9);
    let retold = emission.retold();
    assert_eq!(retold.row, emission.row);
    assert_ne!(retold.payload().as_ptr(), emission.payload().as_ptr());
    assert_ne!(retold.row.channel.as_ptr(), emission.row.channel.as_ptr());
}
