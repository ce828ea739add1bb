//! The promise itself: whatever was reported durable is there after a crash, once, in order, without
//! gaps, wherever the power went off or the disk failed.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::disk::{Fault, Operation};

/// What was accepted, by session, in order.
#[derive(Default)]
struct Accepted {
    sessions: Vec<(SessionId, Vec<(Ticket, Bytes)>)>,
}

impl Accepted {
    fn begin(&mut self, header: &SessionHeader) {
        self.sessions.push((header.session_id, Vec::new()));
    }

    fn push(&mut self, ticket: Ticket, payload: Bytes) {
        self.sessions.last_mut().unwrap().1.push((ticket, payload));
    }

    /// How many messages of each session must be there.
    fn promised(&self, up_to: Ticket) -> Vec<usize> {
        let count = |messages: &Vec<(Ticket, Bytes)>| messages.iter().filter(|(t, _)| *t <= up_to).count();
        self.sessions.iter().map(|(_, messages)| count(messages)).collect()
    }

    /// Compares with the disk: each session is a prefix of what was accepted, and not too short.
    fn check(&self, disk: &SimDisk, promised: &[usize], context: &str) {
        let mut found: BTreeMap<SessionId, Vec<Bytes>> = BTreeMap::new();
        for path in disk.list(Path::new(DIR)).unwrap() {
            let (id, part) = parse_part_file_name(&path).unwrap();
            let messages = found.entry(id).or_default();
            let mut reader = match PartReader::open(disk, &path) {
                Ok(reader) => reader,
                Err(JournalError::HeaderTorn { .. }) => continue,
                Err(error) => panic!("{context}: {error}"),
            };
            assert_eq!(reader.header().part, part, "{context}");
            assert_eq!(reader.header().first_seq, messages.len() as u64, "{context}: {path:?}");
            for record in drain(&mut reader) {
                assert_eq!(record.seq, messages.len() as u64, "{context}: {path:?}");
                messages.push(record.message.payload);
            }
            assert!(!matches!(reader.end(), PartEnd::Damaged { .. }), "{context}: {:?}", reader.end());
        }
        for ((id, accepted), promised) in self.sessions.iter().zip(promised) {
            let found = found.get(id).map_or(&[][..], Vec::as_slice);
            assert!(found.len() >= *promised, "{context}: {} found, {promised} promised", found.len());
            let expected = accepted.iter().map(|(_, payload)| payload);
            assert!(found.iter().eq(expected.take(found.len())), "{context}: not what was accepted");
        }
    }
}

/// Random work on a journal until something fails or `steps` are done. True if it was closed well.
fn work(rig: &mut Rig, rng: &mut StdRng, accepted: &mut Accepted, next_session: &mut u8, steps: u32) -> bool {
    for _ in 0..steps {
        match rng.random_range(0..100) {
            0..60 => {
                let payload = Bytes::from(vec![rng.random(); rng.random_range(0..400)]);
                let message = Message { payload: payload.clone(), ..message("") };
                let result = match rng.random_range(0..10) {
                    0..5 => rig.handle.try_append(message, Sync::Later),
                    5..8 => rig.handle.try_append(message, Sync::Now),
                    _ => rig.handle.append_reserved(message),
                };
                match result {
                    Ok(ticket) => accepted.push(ticket, payload),
                    Err(AppendError::QueueFull(_) | AppendError::DiskLow(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            60..63 => {
                let header = session(*next_session);
                *next_session += 1;
                rig.handle.roll(header.clone(), START.steady_ns).unwrap();
                accepted.begin(&header);
            }
            63..75 => rig.clock.advance_ns(rng.random_range(0..100_000_000)),
            75 => rig.clock.advance_ns(3_600_000_000_000),
            _ => match rig.writer.turn() {
                Ok(running) => assert!(running),
                Err(_) => return false,
            },
        }
    }
    rig.handle.shared().begin_close();
    rig.writer.turn().is_ok()
}

fn random_options(rng: &mut StdRng) -> JournalOptions {
    let part_max_bytes = rng.random_range(300..8_000);
    let queue_max_bytes = rng.random_range(500..20_000);
    JournalOptions { part_max_bytes, queue_max_bytes, ..options() }
}

/// Some generations of a recorder on one disk, each ended by a crash at a random place.
fn live_and_crash(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let disk = SimDisk::new();
    let mut accepted = Accepted::default();
    let mut promised = Vec::new();
    let mut next_session = 0;
    for generation in 0..4 {
        let context = format!("seed {seed}, generation {generation}");
        match rng.random_range(0..4) {
            0 => disk.power_off_at(rng.random_range(1..80)),
            1 => disk.fail(Operation::Write, rng.random_range(1..30), Fault::DiskFull),
            2 => disk.fail(Operation::SyncData, rng.random_range(1..30), Fault::Error(ErrorKind::Other)),
            _ => {}
        }
        let clock = Arc::new(ManualClock::at(START));
        let header = session(next_session);
        next_session += 1;
        accepted.begin(&header);
        let before = accepted.sessions.len() - 1;
        let of_writer = Clock::Manual(Arc::clone(&clock));
        let mut up_to = 0;
        let opened =
            open(Arc::new(disk.clone()), of_writer, random_options(&mut rng), header, START.steady_ns);
        if let Ok((handle, writer, closed)) = opened {
            let mut rig = Rig { disk: disk.clone(), clock, handle, writer, closed };
            let steps = rng.random_range(1..300);
            let closed_well = work(&mut rig, &mut rng, &mut accepted, &mut next_session, steps);
            up_to = rig.durable();
            let last = accepted.sessions[before..]
                .iter()
                .flat_map(|(_, m)| m)
                .last()
                .map_or(0, |(ticket, _)| *ticket);
            assert!(!closed_well || up_to >= last, "{context}: closed, but not all is durable");
        }
        // Tickets begin anew with each generation, so what earlier ones were promised is kept as counted.
        promised.extend(accepted.promised(up_to).drain(before..));
        disk.crash(rng.random());
        accepted.check(&disk, &promised, &context);
    }
}

#[test]
fn what_was_reported_durable_survives_random_crashes() {
    for seed in 0..400 {
        live_and_crash(seed);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(100))]

    #[test]
    fn what_was_reported_durable_survives_any_crash(seed: u64) {
        live_and_crash(seed);
    }
}

/// The same work each time: two sessions, rotation, both kinds of sync, close.
fn script(disk: &SimDisk, accepted: &mut Accepted) -> Ticket {
    let clock = Clock::Manual(Arc::new(ManualClock::at(START)));
    let options = JournalOptions { part_max_bytes: 700, ..options() };
    accepted.begin(&session(0));
    let Ok((handle, mut writer, _closed)) =
        open(Arc::new(disk.clone()), clock, options, session(0), START.steady_ns)
    else {
        return 0;
    };
    let durable = handle.durable();
    for n in 0..12 {
        let payload = Bytes::from(vec![n; 150]);
        let sync = if n % 3 == 0 { Sync::Now } else { Sync::Later };
        accepted.push(handle.try_append(message(payload.clone()), sync).unwrap(), payload);
        if n == 6 {
            handle.roll(session(1), START.steady_ns).unwrap();
            accepted.begin(&session(1));
        }
        if n % 2 == 1 && writer.turn().is_err() {
            return durable.borrow().up_to;
        }
    }
    handle.shared().begin_close();
    let closed = writer.turn();
    let up_to = durable.borrow().up_to;
    assert!(closed.is_err() || up_to == 12);
    up_to
}

#[test]
fn what_was_reported_durable_survives_a_power_cut_at_each_operation() {
    let whole = SimDisk::new();
    assert_eq!(script(&whole, &mut Accepted::default()), 12);
    let operations = whole.operations();
    assert!(operations > 20);
    for nth in 1..=operations + 1 {
        for seed in 0..40 {
            let disk = SimDisk::new();
            disk.power_off_at(nth);
            let mut accepted = Accepted::default();
            let up_to = script(&disk, &mut accepted);
            disk.crash(seed);
            accepted.check(&disk, &accepted.promised(up_to), &format!("power off at {nth}, seed {seed}"));
        }
    }
}

/// With the thread itself, and several who append: here the order of things is not repeatable.
#[test]
fn what_the_thread_reported_durable_survives() {
    for seed in 0..20 {
        let disk = SimDisk::new();
        let options = JournalOptions { part_max_bytes: 5_000, sync_interval: Duration::ZERO, ..options() };
        let (journal, handle) = start(Arc::new(disk.clone()), Clock::System, options, session(0), 0).unwrap();
        disk.power_off_at(5 + seed * 3);
        let appenders: Vec<_> = (0..3u8)
            .map(|who| {
                let handle = handle.clone();
                std::thread::spawn(move || {
                    let append = |n: u16| {
                        let payload = Bytes::from(format!("{who} {n}"));
                        let sync = if n.is_multiple_of(5) { Sync::Now } else { Sync::Later };
                        handle.try_append(message(payload.clone()), sync).ok().map(|ticket| (ticket, payload))
                    };
                    (0..2_000).map_while(append).collect::<Vec<_>>()
                })
            })
            .collect();
        let mut messages: Vec<_> = appenders.into_iter().flat_map(|a| a.join().unwrap()).collect();
        messages.sort();
        let mut accepted = Accepted::default();
        accepted.begin(&session(0));
        accepted.sessions[0].1 = messages;
        let _ = journal.close();
        let up_to = handle.durable().borrow().up_to;
        disk.crash(seed);
        accepted.check(
            &disk,
            &accepted.promised(up_to),
            &format!("power off at {}, seed {seed}", 5 + seed * 3),
        );
    }
}
