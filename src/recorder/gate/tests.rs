use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::clock::Clock;
use crate::disk::SimDisk;
use crate::journal::{self, Journal, JournalOptions};
use crate::message::{SessionHeader, SessionId};
use crate::transport::quota::QuotaBytes;
use crate::vendors::HttpReply;

fn options(min_free_disk: u64) -> (Arc<SimDisk>, JournalOptions, SessionHeader) {
    let header = SessionHeader {
        session_id: SessionId::new(1_000_000, [1; 10]),
        name: "test".to_owned(),
        site: String::new(),
        started_at_us: 1_000_000,
        sources: Vec::new(),
    };
    let options = JournalOptions {
        dir: "journal".into(),
        sync_interval: Duration::from_millis(1),
        part_max_bytes: 1 << 20,
        part_max_age: Duration::from_secs(3_600),
        queue_max_bytes: 1 << 20,
        min_free_disk,
    };
    let disk = SimDisk::new();
    disk.set_capacity(1 << 30);
    crate::disk::Disk::create_dir_all(&disk, std::path::Path::new("journal")).unwrap();
    (Arc::new(disk), options, header)
}

/// A journal that takes everything, or nothing because the disk is nearly full.
fn journal(min_free_disk: u64) -> (Journal, JournalHandle) {
    let (disk, options, header) = options(min_free_disk);
    journal::start(disk, Clock::System, options, header, 0).unwrap()
}

fn message(payload: &'static [u8], at_s: u64) -> Message {
    Message {
        source: 0,
        kind: 0,
        connection: 0,
        at: Now { wall_us: at_s as i64 * 1_000_000, steady_ns: at_s * 1_000_000_000 },
        channel: "a".into(),
        mqtt: None,
        is_binary: false,
        headers: None,
        duplicate_of: None,
        payload: Bytes::from_static(payload),
        clear: None,
    }
}

fn http(inbound: u64) -> Ack {
    let reply = HttpReply { status: 200, content_type: "text/plain", body: Bytes::new() };
    Ack::Http { inbound, reply }
}

fn mqtt(id: u64) -> Ack {
    Ack::Mqtt { conn: 0, id }
}

#[tokio::test]
async fn acknowledgements_wait_for_their_message_and_keep_their_order() {
    let (_journal, handle) = journal(0);
    let mut gate = Gate::new(handle.clone(), Quota::default());
    for id in 1..=3 {
        assert!(matches!(
            gate.admit(message(b"x", 1), Some(mqtt(id)), &mut Charge::default()).await,
            Outcome::Taken(_)
        ));
    }
    gate.settle_behind(mqtt(4));
    assert_eq!(gate.next_due(0), None);
    assert_eq!(gate.next_due(1), Some(mqtt(1)));
    assert_eq!(gate.next_due(1), None);
    let mut durable = handle.durable();
    let up_to = durable.wait_for(|durable| durable.up_to >= 3).await.unwrap().up_to;
    let due: Vec<_> = std::iter::from_fn(|| gate.next_due(up_to)).collect();
    assert_eq!(due, [mqtt(2), mqtt(3), mqtt(4)]);
    assert!(gate.is_idle());
}

#[tokio::test]
async fn acknowledgements_of_a_connection_that_is_over_are_forgotten() {
    let (_journal, handle) = journal(0);
    let mut gate = Gate::new(handle, Quota::default());
    gate.admit(message(b"x", 1), Some(mqtt(1)), &mut Charge::default()).await;
    gate.admit(message(b"y", 1), Some(http(2)), &mut Charge::default()).await;
    gate.forget(0);
    assert_eq!(gate.next_due(u64::MAX), Some(http(2)));
    assert_eq!(gate.next_due(u64::MAX), None);
}

#[tokio::test]
async fn while_the_disk_is_nearly_full_webhooks_are_told_to_come_again() {
    let (_journal, handle) = journal(u64::MAX);
    let mut gate = Gate::new(handle, Quota::default());
    let outcome = gate.admit(message(b"x", 1), Some(http(1)), &mut Charge::default()).await;
    let Outcome::Refused { ack, why: Refusal::Busy { retry_after_s } } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!((ack, retry_after_s), (http(1), DISK_RETRY_S));
    assert!(gate.is_idle());
}

#[tokio::test]
async fn while_the_disk_is_nearly_full_what_is_owed_is_held_and_not_acknowledged() {
    let (_journal, handle) = journal(u64::MAX);
    let mut gate = Gate::new(handle, Quota::default());
    for id in 0..=HELD_MAX as u64 {
        assert!(gate.is_open(), "{id}");
        assert!(matches!(
            gate.admit(message(b"x", 1), Some(mqtt(id)), &mut Charge::default()).await,
            Outcome::Taken(_)
        ));
    }
    assert!(!gate.is_open(), "reading stops");
    assert!(!gate.is_idle());
    assert_eq!(gate.next_due(u64::MAX), None);
    assert!(!gate.is_overflowing(), "nothing is lost");
}

#[tokio::test]
async fn of_what_is_held_topics_are_counted_too() {
    let (_journal, handle) = journal(u64::MAX);
    let quota = Quota::new(QuotaBytes { held: 400_000, ..QuotaBytes::default() });
    let mut gate = Gate::new(handle, quota.clone());
    let long = || Message { channel: "t".repeat(60_000).into(), ..message(b"1234", 1) };
    // The first is on its way in; of half of the room, four more.
    for id in 0..5 {
        assert!(gate.is_open(), "{id}");
        gate.admit(long(), Some(mqtt(id)), &mut Charge::default()).await;
    }
    assert!(!gate.is_open(), "reading stops");
    assert!(quota.hold(400_000 - 5 * 60_004).is_some() && quota.hold(400_001 - 5 * 60_004).is_none());
    // What has got in gives its share back, and the next one follows.
    gate.give_up();
    assert!(quota.hold(400_000).is_some());
}

#[tokio::test]
async fn what_is_dropped_is_counted_and_told_from_time_to_time_and_at_the_end() {
    let (_journal, handle) = journal(u64::MAX);
    let mut gate = Gate::new(handle, Quota::default());
    for second in 1..=3 {
        assert!(matches!(
            gate.admit(message(b"12345", second), None, &mut Charge::default()).await,
            Outcome::Dropped
        ));
    }
    let at = |second: u64| message(b"", second).at;
    assert_eq!(gate.tell_overflow(at(4), 7, false), None, "not yet");
    let told = gate.tell_overflow(at(11), 7, false).unwrap();
    assert_eq!(
        (told.event, told.conn, told.reason.as_deref()),
        ("overflow", 7, Some("the disk is nearly full"))
    );
    assert_eq!(told.more["dropped"], 3);
    assert_eq!(told.more["dropped_bytes"], 15);
    assert_eq!(told.more["first_at"], "1970-01-01T00:00:01.000000Z");
    assert_eq!(told.more["last_at"], "1970-01-01T00:00:03.000000Z");

    gate.admit(message(b"6", 12), None, &mut Charge::default()).await;
    let told = gate.tell_overflow(at(13), 7, true).unwrap();
    assert_eq!(told.more["dropped"], 1);
    assert!(!gate.is_overflowing());
    assert_eq!(gate.tell_overflow(at(99), 7, true), None);
}

#[tokio::test]
async fn what_could_not_be_stored_is_told_with_what_follows() {
    let (_journal, handle) = journal(u64::MAX);
    let mut gate = Gate::new(handle, Quota::default());
    let at = |second: u64| message(b"", second).at;
    for second in 1..=2 {
        gate.admit(message(b"12345", second), None, &mut Charge::default()).await;
    }
    assert_eq!(gate.tell_overflow(at(11), 7, false).unwrap().more["dropped"], 2);
    gate.untold(at(11));
    assert!(!gate.may_tell(at(11)) && gate.may_tell(at(12)));
    gate.admit(message(b"6", 13), None, &mut Charge::default()).await;
    assert_eq!(gate.tell_overflow(at(20), 7, false), None, "ten seconds later, as always");
    assert_eq!(gate.tell_overflow(at(20), 7, true).unwrap().more["dropped"], 3);
    gate.untold(at(20));
    let told = gate.tell_overflow(at(21), 7, true).unwrap();
    assert_eq!((&told.more["dropped"], &told.more["dropped_bytes"]), (&3.into(), &11.into()));
    assert_eq!(told.more["first_at"], "1970-01-01T00:00:01.000000Z");
    assert_eq!(told.more["last_at"], "1970-01-01T00:00:13.000000Z");
    assert!(!gate.is_overflowing());
}

#[tokio::test]
async fn what_is_held_at_the_end_is_lost_if_nobody_delivers_it_again() {
    let (_journal, handle) = journal(u64::MAX);
    let mut gate = Gate::new(handle, Quota::default());
    for ack in [Some(mqtt(1)), None, Some(mqtt(2)), None] {
        assert!(matches!(gate.admit(message(b"x", 1), ack, &mut Charge::default()).await, Outcome::Taken(_)));
    }
    assert!(!gate.is_idle() && gate.is_done(), "nobody is making room now");
    assert_eq!(gate.give_up(), (2, 4));
    assert!(gate.is_idle());
}

#[tokio::test(start_paused = true)]
async fn reading_pauses_once_for_a_second_before_anything_is_dropped() {
    let (disk, options, header) = options(0);
    let handle = journal::stuck(disk, JournalOptions { queue_max_bytes: 1, ..options }, header).unwrap();
    let mut gate = Gate::new(handle, Quota::default());
    let began = tokio::time::Instant::now();
    assert!(matches!(
        gate.admit(message(b"let in alone", 1), None, &mut Charge::default()).await,
        Outcome::Taken(_)
    ));
    for _ in 0..3 {
        assert!(matches!(gate.admit(message(b"x", 1), None, &mut Charge::default()).await, Outcome::Dropped));
        // Timers of tokio are told in whole milliseconds.
        assert_eq!(began.elapsed().as_millis() / 10 * 10, PAUSE.as_millis());
    }
    assert_eq!(gate.tell_overflow(message(b"", 1).at, 0, true).unwrap().more["dropped"], 3);
    // Who waits for an acknowledgement loses nothing, and a webhook is told at once.
    assert!(matches!(
        gate.admit(message(b"y", 1), Some(http(1)), &mut Charge::default()).await,
        Outcome::Refused { .. }
    ));
    assert!(matches!(
        gate.admit(message(b"y", 1), Some(mqtt(2)), &mut Charge::default()).await,
        Outcome::Taken(_)
    ));
    assert!(!gate.is_overflowing() && !gate.is_idle());
}
