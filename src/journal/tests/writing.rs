//! When the writer writes, syncs, rotates and refuses.

use std::io::ErrorKind;

use super::*;
use crate::disk::{Fault, Operation, RealDisk};

#[test]
fn who_waits_is_synced_at_once_and_the_rest_within_the_interval() {
    let mut rig = Rig::new(options());
    let later = rig.later("a");
    rig.turn();
    assert_eq!(rig.durable(), 0);
    rig.clock.advance_ns(49_999_999);
    rig.turn();
    assert_eq!(rig.durable(), 0);
    assert_eq!(rig.writer.deadline_ns(), Some(START.steady_ns + 50_000_000));
    rig.clock.advance_ns(1);
    rig.turn();
    assert_eq!(rig.durable(), later);

    let before = rig.later("b");
    let now = rig.now("c");
    assert_eq!(now, before + 1);
    rig.turn();
    assert_eq!(rig.durable(), now);
}

#[test]
fn a_rotation_within_a_batch_leaves_the_rest_of_it_a_deadline() {
    let mut rig = Rig::new(JournalOptions { part_max_bytes: 600, ..options() });
    for _ in 0..10 {
        rig.later("0123456789");
    }
    rig.turn();
    assert!(rig.durable() > 0 && rig.durable() < 10, "a rotation has synced the parts before");
    rig.clock.advance_ns(50_000_000);
    rig.turn();
    assert_eq!(rig.durable(), 10);
}

#[test]
fn a_batch_takes_one_write_and_one_sync() {
    let mut rig = Rig::new(options());
    let before = rig.disk.operations();
    for _ in 0..100 {
        rig.now("x");
    }
    rig.turn();
    assert_eq!(rig.disk.operations() - before, 2);
}

#[test]
fn parts_rotate_by_size_and_are_whole_when_announced() {
    let mut rig = Rig::new(JournalOptions { part_max_bytes: 1_000, ..options() });
    for n in 0..40 {
        rig.later(&format!("{n:050}"));
    }
    rig.turn();
    let announced: Vec<_> = rig.closed.try_iter().collect();
    assert!(announced.len() > 3);
    rig.disk.crash(1);
    let mut next_seq = 0;
    for path in announced {
        assert!(rig.disk.len(&path).unwrap() <= 1_000);
        let mut reader = PartReader::open(&rig.disk, &path).unwrap();
        assert_eq!(reader.header().first_seq, next_seq);
        assert!(!drain(&mut reader).is_empty());
        assert_eq!(reader.end(), PartEnd::Clean);
        next_seq = reader.next_seq();
    }
}

#[test]
fn a_record_larger_than_a_part_has_one_for_itself() {
    let mut rig = Rig::new(JournalOptions { part_max_bytes: 1_000, ..options() });
    for payload in ["a".repeat(5_000), "b".repeat(5_000), "c".to_owned()] {
        rig.later(&payload);
    }
    rig.close();
    let parts: Vec<_> = rig.closed.try_iter().collect();
    assert!(parts.iter().all(|path| read(&rig.disk, path).0.len() == 1));
    assert!(parts.iter().filter_map(|path| Some(parse_part_file_name(path)?.1)).eq(0..3));
}

#[test]
fn parts_rotate_by_age_from_their_first_record_also_when_idle() {
    let mut rig = Rig::new(options());
    let hour_ns = 3_600_000_000_000;
    rig.clock.advance_ns(2 * hour_ns);
    rig.turn();
    assert!(rig.closed.try_recv().is_err(), "an empty part is not rotated");
    rig.later("a");
    rig.turn();
    rig.clock.advance_ns(hour_ns - 1);
    rig.turn();
    assert!(rig.closed.try_recv().is_err());
    assert_eq!(rig.writer.deadline_ns(), Some(START.steady_ns + 3 * hour_ns));
    rig.clock.advance_ns(1);
    rig.turn();
    assert_eq!(payloads(&read(&rig.disk, &rig.closed.try_recv().unwrap()).0), ["a"]);
    assert_eq!(rig.writer.deadline_ns(), None);
    assert_eq!(rig.parts().len(), 1, "the next part is made for its first record");
}

#[test]
fn a_roll_begins_a_session_with_its_own_seq_and_time() {
    let mut rig = Rig::new(options());
    rig.later("old 0");
    rig.later("old 1");
    rig.clock.advance_ns(1_000);
    // Begun, and stamped, a while before the journal is told.
    rig.handle.roll(session(1), START.steady_ns + 400).unwrap();
    let stamped_before = rig.later("new 0");
    rig.clock.advance_ns(500);
    let mut last = message("new 1");
    last.at.steady_ns += 1_500;
    assert_eq!(rig.handle.try_append(last, Sync::Now).unwrap(), stamped_before + 1);
    rig.turn();
    assert_eq!(rig.durable(), 4);
    rig.close();

    let parts: Vec<_> = rig.closed.try_iter().collect();
    assert_eq!(parts.len(), 2);
    assert_eq!(payloads(&read(&rig.disk, &parts[0]).0), ["old 0", "old 1"]);
    let mut reader = PartReader::open(&rig.disk, &parts[1]).unwrap();
    assert_eq!(*reader.header(), PartHeader { session: session(1), part: 0, first_seq: 0 });
    let records = drain(&mut reader);
    assert_eq!(payloads(&records), ["new 0", "new 1"]);
    assert_eq!(records.iter().map(|r| (r.seq, r.elapsed_ns)).collect::<Vec<_>>(), [(0, 0), (1, 1_100)]);
}

#[test]
fn a_session_without_messages_leaves_no_part() {
    let mut rig = Rig::new(options());
    assert_eq!(rig.parts().len(), 1);
    rig.handle.roll(session(1), START.steady_ns).unwrap();
    rig.turn();
    assert!(rig.parts().is_empty());
    rig.close();
    assert!(rig.closed.try_recv().is_err());
    rig.disk.crash(0);
    assert!(rig.parts().is_empty());
}

#[test]
fn elapsed_time_never_goes_back() {
    let mut rig = Rig::new(options());
    for steady_ns in [20, 10, 30, 0] {
        let mut message = message("");
        message.at.steady_ns = START.steady_ns + steady_ns;
        rig.handle.try_append(message, Sync::Later).unwrap();
    }
    let mut early = message("");
    early.at.steady_ns = 0;
    rig.handle.try_append(early, Sync::Later).unwrap();
    rig.close();
    let (records, _) = read(&rig.disk, &rig.closed.recv().unwrap());
    assert_eq!(records.iter().map(|r| r.elapsed_ns).collect::<Vec<_>>(), [20, 20, 30, 30, 30]);
}

#[test]
fn a_full_queue_gives_messages_back_but_takes_link_events() {
    let mut rig = Rig::new(JournalOptions { queue_max_bytes: 10_000, ..options() });
    let full = loop {
        match rig.handle.try_append(message("x".repeat(1_000)), Sync::Later) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(full, AppendError::QueueFull(message) if message.payload.len() == 1_000));
    let mut links = 0;
    while rig.handle.append_reserved(message("l".repeat(200))).is_ok() {
        links += 1;
    }
    assert!(links > 50 && links * 200 < RESERVE_BYTES, "{links} link events of 200 bytes");
    rig.turn();
    rig.later(&"x".repeat(1_000));
    rig.handle.append_reserved(message("link")).unwrap();
}

#[test]
fn a_message_larger_than_the_queue_goes_alone() {
    let mut rig = Rig::new(JournalOptions { queue_max_bytes: 1_000, ..options() });
    rig.later(&"x".repeat(5_000));
    assert!(matches!(rig.handle.try_append(message("y"), Sync::Now), Err(AppendError::QueueFull(_))));
    rig.turn();
    rig.later("y");
    rig.turn();
    let huge = message(vec![0; MAX_BODY_BYTES]);
    assert!(matches!(rig.handle.try_append(huge, Sync::Now), Err(AppendError::TooLarge { .. })));
}

#[tokio::test]
async fn append_waits_for_room() {
    let mut rig = Rig::new(JournalOptions { queue_max_bytes: 1_000, ..options() });
    rig.later(&"x".repeat(1_000));
    let handle = rig.handle.clone();
    let mut second = std::pin::pin!(handle.append(message("y"), Sync::Now));
    tokio::select! {
        biased;
        _ = &mut second => panic!("there is no room"),
        () = std::future::ready(()) => {}
    }
    rig.turn();
    assert_eq!(second.await.unwrap(), 2);
    rig.turn();
    assert_eq!(rig.durable(), 2);
}

#[test]
fn a_failed_write_or_sync_is_the_end() {
    let faults = [
        (Operation::Write, Fault::Error(ErrorKind::Other)),
        (Operation::SyncData, Fault::Error(ErrorKind::Other)),
    ];
    for (operation, fault) in faults {
        let disk = SimDisk::new();
        let (journal, handle) =
            start(Arc::new(disk.clone()), Clock::System, options(), session(0), 0).unwrap();
        disk.fail(operation, 1, fault);
        let ticket = handle.try_append(message("x"), Sync::Now).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut durable = handle.durable();
        let outcome = runtime.block_on(async {
            durable.wait_for(|d| d.outcome(ticket).is_some()).await.unwrap().outcome(ticket).unwrap()
        });
        let reason = outcome.unwrap_err();
        assert!(reason.contains(DIR), "{reason}");
        assert!(matches!(handle.try_append(message("x"), Sync::Later), Err(AppendError::Poisoned(_))));
        assert!(matches!(handle.append_reserved(message("x")), Err(AppendError::Poisoned(_))));
        assert!(matches!(
            runtime.block_on(handle.append(message("x"), Sync::Now)),
            Err(AppendError::Poisoned(_))
        ));
        assert!(handle.roll(session(1), START.steady_ns).is_err());
        let operations = disk.operations();
        assert!(matches!(journal.close(), Err(JournalError::Io { .. })));
        assert_eq!(disk.operations(), operations, "nothing is tried again");
    }
}

#[test]
fn a_short_write_is_finished() {
    let mut rig = Rig::new(options());
    rig.disk.fail(Operation::Write, 1, Fault::ShortWrite);
    rig.later("whole");
    rig.close();
    assert_eq!(payloads(&read(&rig.disk, &rig.closed.recv().unwrap()).0), ["whole"]);
}

#[test]
fn a_full_disk_is_waited_for_and_what_was_accepted_is_written_once() {
    waited_for(Fault::DiskFull);
}

#[test]
fn so_is_one_that_is_read_only_for_a_while() {
    waited_for(Fault::Error(ErrorKind::ReadOnlyFilesystem));
}

fn waited_for(fault: Fault) {
    for operation in [Operation::Write, Operation::Create] {
        // So that the disk is full in the middle of a part, and where one is to be made.
        for nth in 1..=8 {
            let mut rig = Rig::new(JournalOptions { part_max_bytes: 700, ..options() });
            rig.disk.fail(operation, nth, fault);
            let mut accepted = Vec::new();
            let mut refused = 0;
            for n in 0..20 {
                let payload = format!("{n:0100}");
                match rig.handle.try_append(message(payload.clone()), Sync::Now) {
                    Ok(_) => accepted.push(payload),
                    Err(AppendError::DiskLow(_)) => refused += 1,
                    Err(error) => panic!("{operation:?} {nth}: {error}"),
                }
                let before = rig.durable();
                rig.turn();
                if rig.handle.accepting() {
                    assert_eq!(rig.durable(), accepted.len() as u64);
                    continue;
                }
                assert_eq!(rig.durable(), before, "nothing is promised while the disk is full");
                assert!(rig.handle.durable().borrow().stuck.is_some(), "and those who wait are told");
                assert_eq!(rig.writer.deadline_ns(), Some(rig.clock_ns() + 1_000_000_000));
                rig.handle.append_reserved(message("link")).unwrap();
                accepted.push("link".to_owned());
                if n % 2 == 0 {
                    rig.clock.advance_ns(1_000_000_000);
                    rig.turn();
                    assert!(rig.handle.accepting(), "{operation:?} {nth}: there is room again");
                    assert!(rig.handle.durable().borrow().stuck.is_none());
                    assert_eq!(rig.durable(), accepted.len() as u64);
                }
            }
            rig.close();
            rig.disk.crash(nth);
            let found: Vec<String> = rig
                .parts()
                .iter()
                .flat_map(|path| {
                    let (records, end) = read(&rig.disk, path);
                    assert_eq!(end, PartEnd::Clean);
                    payloads(&records).into_iter().map(str::to_owned).collect::<Vec<_>>()
                })
                .collect();
            assert_eq!(found, accepted, "{operation:?} {nth}");
            assert!(refused <= 1);
        }
    }
}

#[test]
fn what_was_written_before_the_disk_was_full_is_synced_and_told() {
    for closing in [false, true] {
        for taken_bytes in [0, 70] {
            let mut rig = Rig::new(options());
            let written = rig.later("written");
            rig.turn();
            assert_eq!(rig.durable(), 0);
            rig.disk.set_capacity(u64::MAX - rig.disk.free_bytes(Path::new(DIR)).unwrap() + taken_bytes);
            rig.later("waits");
            if closing {
                rig.handle.shared().begin_close();
            }
            assert_eq!(rig.writer.turn().is_err(), closing);
            assert_eq!(rig.durable(), written, "and not what is written in part");
            assert_eq!(rig.handle.progress().durable.unwrap().seq, 0);
            if closing {
                rig.disk.crash(taken_bytes);
                assert_eq!(payloads(&read(&rig.disk, &rig.parts()[0]).0), ["written"]);
                continue;
            }
            let synced = rig.disk.operations();
            rig.clock.advance_ns(1_000_000_000);
            rig.turn();
            assert_eq!(
                rig.disk.operations(),
                synced + 1,
                "a write is tried, and nothing is there to be synced"
            );
            rig.disk.set_capacity(u64::MAX);
            rig.clock.advance_ns(1_000_000_000);
            rig.turn();
            assert_eq!(rig.durable(), 2, "what waited is late: it is synced at once");
            rig.disk.crash(taken_bytes);
            assert_eq!(payloads(&read(&rig.disk, &rig.parts()[0]).0), ["written", "waits"]);
        }
    }
}

#[test]
fn a_sync_that_fails_while_the_disk_is_full_is_the_end() {
    let mut rig = Rig::new(options());
    rig.later("written");
    rig.turn();
    rig.disk.set_capacity(0);
    rig.disk.fail(Operation::SyncData, 1, Fault::Error(ErrorKind::Other));
    rig.later("waits");
    let failed = rig.writer.turn_or_fail();
    assert!(matches!(failed, Err(JournalError::Io { action: "sync", .. })), "{failed:?}");
    assert_eq!(rig.durable(), 0);
    assert!(matches!(rig.handle.try_append(message("x"), Sync::Now), Err(AppendError::Poisoned(_))));
}

#[test]
fn a_journal_that_is_closed_while_the_disk_is_full_says_so() {
    let mut rig = Rig::new(options());
    rig.disk.set_capacity(0);
    rig.now("x");
    rig.turn();
    assert!(!rig.handle.accepting());
    rig.handle.shared().begin_close();
    assert!(matches!(rig.writer.turn(), Err(JournalError::Io { action: "write", .. })));
    assert_eq!(rig.durable(), 0);
}

#[test]
fn a_disk_that_cannot_be_written_to_is_found_out_at_the_start() {
    let disk = SimDisk::new();
    disk.fail(Operation::SyncDir, 1, Fault::Error(ErrorKind::PermissionDenied));
    let result = start(Arc::new(disk), Clock::System, options(), session(0), 0);
    assert!(
        matches!(result, Err(JournalError::Io { source, .. }) if source.kind() == ErrorKind::PermissionDenied)
    );
}

#[test]
fn nothing_is_accepted_while_the_disk_is_low() {
    let options = JournalOptions { min_free_disk: 10_000, part_max_bytes: u64::MAX, ..options() };
    let mut rig = Rig::new(options);
    rig.turn();
    assert!(rig.handle.accepting());
    assert!(rig.writer.deadline_ns().is_some(), "looks also while nothing arrives");
    rig.disk.set_capacity(9_000);
    rig.later("not looked yet");
    rig.turn();
    assert!(rig.handle.accepting(), "looked at once a second");
    rig.clock.advance_ns(1_000_000_000);
    rig.turn();
    assert!(!rig.handle.accepting());
    assert!(matches!(rig.handle.try_append(message("x"), Sync::Now), Err(AppendError::DiskLow(_))));
    rig.handle.append_reserved(message("link")).unwrap();
    assert!(rig.writer.deadline_ns().is_some(), "looks again without input");

    rig.disk.set_capacity(1 << 20);
    rig.clock.advance_ns(1_000_000_000);
    rig.turn();
    assert!(rig.handle.accepting());
    rig.later("x");

    rig.disk.set_capacity((16 << 20) + 8_000);
    rig.later("few bytes");
    rig.turn();
    rig.handle.try_append(message(vec![0; 16 << 20]), Sync::Later).unwrap();
    rig.turn();
    assert!(!rig.handle.accepting(), "looked at sooner when much has been written");
}

/// However fast it comes, and however seldom the writer has its turn.
#[test]
fn a_fast_stream_does_not_pass_the_floor() {
    const MIB: u64 = 1 << 20;
    let floor = 8 * MIB;
    let options = JournalOptions {
        min_free_disk: floor,
        part_max_bytes: u64::MAX,
        queue_max_bytes: 64 << 20,
        ..options()
    };
    for capacity in [9, 20, 100] {
        let mut rig = Rig::new(options.clone());
        rig.disk.set_capacity(capacity * MIB);
        rig.clock.advance_ns(1_000_000_000);
        rig.turn();
        let mut accepted = 0_u64;
        loop {
            match rig.handle.try_append(message(vec![b'x'; 64 << 10]), Sync::Later) {
                Ok(_) => accepted += 1,
                Err(AppendError::QueueFull(_)) => rig.turn(),
                Err(AppendError::DiskLow(_)) => break,
                Err(error) => panic!("{error}"),
            }
        }
        rig.close();
        let free = rig.disk.free_bytes(Path::new(DIR)).unwrap();
        assert!(free + 2 * MIB >= floor, "{capacity} MiB: {free} are free");
        assert!(free < floor && accepted > 0, "{capacity} MiB: what is above the floor is used");
    }
}

#[test]
fn who_is_late_is_told_and_who_is_just_in_time_is_not() {
    let mut rig = Rig::new(options());
    for (waits_ns, is_late) in [(2_050_000_000, false), (2_050_000_001, true)] {
        rig.later("a");
        rig.clock.advance_ns(waits_ns);
        rig.turn();
        assert_eq!(rig.handle.progress().late_ns, is_late.then(|| rig.clock_ns()));
    }
    let late_ns = rig.handle.progress().late_ns;
    rig.clock.advance_ns(1_000_000_000);
    rig.now("b");
    rig.turn();
    assert_eq!(rig.handle.progress().late_ns, late_ns, "stands until somebody is late again");
    assert_eq!(rig.handle.lag_max_ns(), 2_050_000_000);
}

#[test]
fn closing_keeps_what_was_accepted_and_refuses_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let options = JournalOptions { dir: folder.path().join("journal"), part_max_bytes: 50_000, ..options() };
    let disk = Arc::new(RealDisk::default());
    let (mut journal, handle) = start(disk.clone(), Clock::System, options, session(0), 0).unwrap();
    let parts = journal.closed_parts().unwrap();
    assert!(journal.closed_parts().is_none());
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let handle = handle.clone();
            std::thread::spawn(move || {
                let append = |n| loop {
                    match handle.try_append(message(format!("{thread} {n}")), Sync::Later) {
                        Ok(ticket) => break ticket,
                        Err(AppendError::QueueFull(_)) => std::thread::yield_now(),
                        Err(error) => panic!("{error}"),
                    }
                };
                (0..2_000).map(append).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut tickets: Vec<_> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
    journal.close().unwrap();
    assert!(matches!(handle.try_append(message("x"), Sync::Now), Err(AppendError::Closed(_))));
    assert_eq!(handle.durable().borrow().up_to, 8_000);
    tickets.sort_unstable();
    assert!(tickets.iter().copied().eq(1..=8_000));

    let mut next = [0; 4];
    let mut seqs = 0..8_000;
    for part in parts {
        for record in read(&*disk, &part).0 {
            let text = std::str::from_utf8(&record.message.payload).unwrap();
            let (thread, n) = text.split_once(' ').unwrap();
            let next = &mut next[thread.parse::<usize>().unwrap()];
            assert_eq!(n.parse::<u32>().unwrap(), *next, "each thread's messages keep their order");
            *next += 1;
            assert_eq!(Some(record.seq), seqs.next());
        }
    }
    assert_eq!(seqs.next(), None);
}

#[test]
fn whoever_looks_on_is_told_what_is_durable_and_for_how_long_the_rest_waits() {
    let mut rig = Rig::new(options());
    assert_eq!(rig.handle.progress().durable, None);
    rig.later("a");
    rig.clock.advance_ns(7);
    rig.turn();
    let progress = rig.handle.progress();
    assert_eq!((progress.durable, progress.waiting_messages), (None, 1), "written, and not synced");
    assert_eq!(progress.waiting_since_ns, Some(START.steady_ns));
    assert_eq!(progress.part_since_ns, Some(START.steady_ns + 7));

    rig.later("b");
    rig.now("c");
    rig.turn();
    let progress = rig.handle.progress();
    let durable = progress.durable.unwrap();
    assert_eq!((durable.seq, progress.waiting_messages, progress.waiting_since_ns), (2, 0, None));
    assert_eq!(progress.closed_parts, 0);
    rig.clock.advance_ns(3_600_000_000_000);
    rig.turn();
    let progress = rig.handle.progress();
    assert_eq!((progress.part_since_ns, progress.closed_parts), (None, 1));
}
