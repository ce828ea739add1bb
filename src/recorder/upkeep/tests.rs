//! Upkeep by turns that the test takes, on a clock that the test moves.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::*;
use crate::archive::tests::support::{START_US, header, message, quick_dir, record};
use crate::archive::{Archive, Clip, ScanOptions, VerifyOptions, scan, seal, verify};
use crate::clock::{ManualClock, Now};
use crate::message::{Message, SessionHeader};

const MINUTE_US: i64 = 60_000_000;
const DAY_US: i64 = 1_440 * MINUTE_US;

/// When a day's part has been sealed: an hour and a quarter past midnight.
const SETTLE_US: i64 = 75 * MINUTE_US;

const POSITION: &str = r#"{"type":"realtime_person_position","person_id":7,"location_id":1,"position":{"x":-150.5,"y":320},"confidence":0.9}"#;
const LOCATION: &str = r#"{"assetId":"8200123456","longitude":24.9384,"latitude":60.1699,"speed":36}"#;

fn now(after_us: i64) -> Now {
    Now { wall_us: START_US + after_us, steady_ns: 1_000_000_000 + (after_us * 1_000) as u64 }
}

fn everything() -> Plan {
    Plan {
        compact_daily: true,
        settle_us: SETTLE_US,
        row_group_bytes: 4 << 20,
        retain_us: Some(7 * DAY_US),
        ..Plan::default()
    }
}

/// Upkeep of a recorder that was started at `now(0)`, and what it tells.
fn upkeep(archive: &Archive, plan: Plan) -> (Upkeep, Arc<Keeping>) {
    let keeping = Arc::new(Keeping::new(plan));
    let calendar = Calendar::new(now(0), archive.newest_received_us().unwrap());
    (Upkeep::new(archive.clone(), Arc::clone(&keeping), calendar), keeping)
}

/// All turns that are due; how many.
fn turns(upkeep: &mut Upkeep, now: Now) -> usize {
    (0..).take_while(|_| upkeep.turn(now, &Watch::NONE) == Turn::Done).count()
}

fn archive(dir: &tempfile::TempDir) -> Archive {
    Archive::create_or_open(dir.path().join("a"), "home-12").unwrap()
}

/// Begins a session `days` from the start, of 20 positions and 20 locations a minute apart; its journal parts.
fn begin(archive: &Archive, id: u8, days: i64) -> (SessionHeader, Vec<PathBuf>) {
    let mut header = header(id);
    // A minute on, so that all of it is of one date.
    header.started_at_us = START_US + days * DAY_US + MINUTE_US;
    archive.begin_session(&mut header).unwrap();
    let at = |n: i64| Now { wall_us: header.started_at_us + n * MINUTE_US, ..now(n * MINUTE_US) };
    let one = |n: i64| match n % 2 {
        0 => Message { at: at(n), ..message(&header, 0, "person_position", 0, POSITION) },
        _ => Message { at: at(n), ..message(&header, 1, "location", 0, LOCATION) },
    };
    let messages: Vec<Message> = (0..40).map(one).collect();
    let parts = record(archive.disk(), archive, &header, &messages, 1_500);
    assert!(parts.len() > 2, "{} parts", parts.len());
    (header, parts)
}

/// The same, sealed and ended.
fn add(archive: &Archive, id: u8, days: i64) -> SessionHeader {
    let (header, parts) = begin(archive, id, days);
    parts.iter().for_each(|part| drop(seal(archive, part).unwrap()));
    archive.end_session(header.session_id, header.started_at_us + 40 * MINUTE_US).unwrap();
    header
}

fn assert_clean(archive: &Archive) {
    let report = verify(archive, VerifyOptions::default()).unwrap();
    assert!(report.is_content(), "{report:#?}");
    let tmp = std::fs::read_dir(archive.layout().tmp()).unwrap().count();
    assert_eq!(tmp, 0, "files are left in tmp");
}

fn segments(archive: &Archive, of: &SessionHeader) -> u64 {
    archive.resolve(&of.session_id.to_string()).unwrap().segments
}

/// How many messages are left of each session's sources.
fn left(archive: &Archive) -> BTreeMap<(String, String), usize> {
    let mut left = BTreeMap::new();
    for row in scan(archive, &ScanOptions::default()).unwrap() {
        let row = row.unwrap();
        *left.entry((row.session_id.to_string(), row.source.to_string())).or_default() += 1;
    }
    left
}

fn of(header: &SessionHeader, source: &str, messages: usize) -> ((String, String), usize) {
    ((header.session_id.to_string(), source.to_owned()), messages)
}

/// The files of a session with their checksums.
fn files(folder: &Path, session: &str) -> BTreeMap<PathBuf, blake3::Hash> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut files(&path, session));
        } else if path.to_string_lossy().contains(session) {
            found.insert(path.clone(), blake3::hash(&std::fs::read(&path).unwrap()));
        }
    }
    found
}

#[test]
fn it_is_due_five_minutes_after_the_start_and_then_when_each_day_has_settled() {
    // Ten seconds before midnight.
    let mut calendar = Calendar::new(now(0), None);
    assert!(!calendar.is_due(now(5 * MINUTE_US - 1), SETTLE_US));
    assert_eq!(calendar.next_us(now(MINUTE_US), SETTLE_US), START_US + 5 * MINUTE_US);
    let first = now(5 * MINUTE_US);
    assert!(calendar.is_due(first, SETTLE_US));
    calendar.run(first);
    let settled = 10_000_000 + SETTLE_US;
    assert_eq!(calendar.next_us(first, SETTLE_US), START_US + settled);
    assert!(!calendar.is_due(now(settled - 1), SETTLE_US));
    assert!(calendar.is_due(now(settled), SETTLE_US));
    calendar.run(now(settled));
    assert!(!calendar.is_due(now(settled + DAY_US - 1), SETTLE_US));
    assert!(calendar.is_due(now(settled + DAY_US), SETTLE_US));
}

#[test]
fn a_long_retention_takes_whole_days_and_a_short_one_is_exact() {
    let before = |retain_us: i64| {
        let plan = Plan { retain_us: Some(retain_us), ..Plan::default() };
        plan.by_age(START_US, plan.terms(now(0))).before_us.unwrap()
    };
    assert_eq!(before(DAY_US), START_US - DAY_US);
    // The beginning of the day that is seven days ago.
    assert_eq!(before(7 * DAY_US), START_US + 10_000_000 - 8 * DAY_US);
}

#[test]
fn a_clock_that_is_set_back_does_not_put_it_off() {
    let mut calendar = Calendar::new(now(0), None);
    calendar.run(now(DAY_US));
    let back = |after_us: i64| Now { wall_us: START_US - 365 * DAY_US + after_us, ..now(after_us) };
    assert!(!calendar.is_due(back(2 * DAY_US), SETTLE_US));
    assert!(calendar.is_due(back(2 * DAY_US + 60 * MINUTE_US), SETTLE_US));
}

#[test]
fn what_is_over_is_compacted_once_and_what_is_recorded_is_not_touched() {
    let dir = quick_dir();
    let archive = archive(&dir);
    let yesterday = add(&archive, 1, -1);
    let (live, parts) = begin(&archive, 2, 0);
    seal(&archive, &parts[0]).unwrap();
    seal(&archive, &parts[1]).unwrap();
    let before = files(archive.root(), &live.session_id.to_string());
    let many = segments(&archive, &yesterday);
    let (mut upkeep, keeping) = upkeep(&archive, everything());

    assert_eq!(upkeep.turn(now(5 * MINUTE_US - 1), &Watch::NONE), Turn::Idle);
    assert_eq!(segments(&archive, &yesterday), many);
    assert_eq!(turns(&mut upkeep, now(5 * MINUTE_US)), 4);
    let few = segments(&archive, &yesterday);
    assert!(few < many && few == 2, "{many} became {few}");
    assert_eq!(keeping.status().unwrap().compacted_sessions, 1);
    assert_eq!(files(archive.root(), &live.session_id.to_string()), before);

    let compacted = files(archive.root(), &yesterday.session_id.to_string());
    assert_eq!(turns(&mut upkeep, now(DAY_US + 2 * SETTLE_US)), 3);
    assert_eq!(turns(&mut upkeep, now(DAY_US + 2 * SETTLE_US)), 0);
    assert_eq!(files(archive.root(), &yesterday.session_id.to_string()), compacted);
    let status = keeping.status().unwrap();
    assert_eq!((status.compacted_sessions, status.error, status.state), (1, None, Doing::Idle));
    assert_eq!(status.last_run_us, Some(START_US + DAY_US + 2 * SETTLE_US));
    for part in &parts[2..] {
        seal(&archive, part).unwrap();
    }
    archive.end_session(live.session_id, START_US + DAY_US).unwrap();
    assert_clean(&archive);
}

#[test]
fn each_source_has_its_retention_and_clips_stay() {
    let dir = quick_dir();
    let archive = archive(&dir);
    let (old, mid, young) = (add(&archive, 1, -20), add(&archive, 2, -5), add(&archive, 3, -1));
    let clip = Clip { name: "fall".into(), seq_from: 4, seq_to: 8, note: None };
    archive.add_clip(old.session_id, clip).unwrap();
    let plan = Plan { retain_of: vec![("shop".to_owned(), 2 * DAY_US)], ..everything() };
    let (mut upkeep, keeping) = upkeep(&archive, plan);
    turns(&mut upkeep, now(5 * MINUTE_US));
    let expected = [
        of(&old, "shop", 2),
        of(&old, "locks", 2),
        of(&mid, "locks", 20),
        of(&young, "shop", 20),
        of(&young, "locks", 20),
    ];
    assert_eq!(left(&archive), BTreeMap::from(expected));
    let status = keeping.status().unwrap();
    assert_eq!((status.pruned_messages, status.failed_sessions), (36 + 20, 0));
    assert!(status.pruned_bytes > 0);
    assert_clean(&archive);

    // A session of which nothing is worth keeping goes whole, when the last source's time has come.
    turns(&mut upkeep, now(4 * DAY_US));
    assert!(archive.resolve(&mid.session_id.to_string()).is_err());
    assert_eq!(left(&archive).remove(&of(&young, "shop", 0).0), None);
    assert_clean(&archive);
}

#[test]
fn a_source_may_be_kept_for_longer_than_the_others() {
    let dir = quick_dir();
    let archive = archive(&dir);
    let (old, young) = (add(&archive, 1, -20), add(&archive, 2, -1));
    let plan = Plan { retain_of: vec![("locks".to_owned(), 100 * DAY_US)], ..everything() };
    turns(&mut upkeep(&archive, plan).0, now(5 * MINUTE_US));
    let expected = [of(&old, "locks", 20), of(&young, "shop", 20), of(&young, "locks", 20)];
    assert_eq!(left(&archive), BTreeMap::from(expected));
    assert_clean(&archive);
}

#[test]
fn the_oldest_goes_where_all_takes_too_much_what_is_recorded_counted() {
    let dir = quick_dir();
    let archive = archive(&dir);
    let sessions = [add(&archive, 1, -2), add(&archive, 2, -1)];
    let (live, parts) = begin(&archive, 3, 0);
    parts.iter().for_each(|part| drop(seal(&archive, part).unwrap()));
    let bytes = |of: &SessionHeader| archive.resolve(&of.session_id.to_string()).unwrap().bytes_stored;
    let enough = bytes(&sessions[1]) + bytes(&live);
    let plan = Plan { retain_max_bytes: Some(enough), ..Plan::default() };
    let (mut upkeep, keeping) = upkeep(&archive, plan);
    turns(&mut upkeep, now(5 * MINUTE_US));
    let ids: Vec<_> = archive.list().unwrap().into_iter().map(|session| session.session_id).collect();
    assert_eq!(ids, [sessions[1].session_id, live.session_id]);
    assert_eq!(keeping.status().unwrap().pruned_messages, 40);
    archive.end_session(live.session_id, START_US + DAY_US).unwrap();
    assert_clean(&archive);
}

#[test]
fn what_keeps_it_above_its_bytes_is_in_the_status_until_it_fits() {
    let dir = quick_dir();
    let archive = archive(&dir);
    let old = add(&archive, 1, -2);
    archive
        .add_clip(old.session_id, Clip { name: "fall".into(), seq_from: 3, seq_to: 9, note: None })
        .unwrap();
    let plan = Plan { retain_max_bytes: Some(1024), settle_us: SETTLE_US, ..Plan::default() };
    let (mut upkeep, keeping) = upkeep(&archive, plan.clone());
    turns(&mut upkeep, now(5 * MINUTE_US));
    let above = keeping.status().unwrap().above_max.unwrap();
    assert!(above.contains(" above 1.0 KiB: ") && above.contains(" in clips"), "{above}");
    keeping.replan(Plan { retain_max_bytes: Some(1 << 20), ..plan });
    turns(&mut upkeep, now(2 * DAY_US));
    assert_eq!(keeping.status().unwrap().above_max, None);
}

#[test]
fn a_clock_that_jumps_by_a_year_deletes_nothing() {
    let dir = quick_dir();
    let archive = archive(&dir);
    add(&archive, 1, -4);
    add(&archive, 2, -1);
    let before = left(&archive);
    let (mut upkeep, keeping) = upkeep(&archive, everything());
    let jumped = |after_us: i64| Now { wall_us: START_US + 365 * DAY_US + after_us, ..now(after_us) };
    turns(&mut upkeep, jumped(5 * MINUTE_US));
    // Nor what is recorded by that clock makes it the right one.
    add(&archive, 3, 365);
    turns(&mut upkeep, jumped(DAY_US / 2));
    assert!(before.iter().all(|(session, messages)| left(&archive).get(session) == Some(messages)));
    let status = keeping.status().unwrap();
    assert_eq!(status.pruned_messages, 0);
    assert!(status.error.unwrap().contains("the clock says 2027-11-2"));
    // A retention that ends meanwhile ends all the same.
    turns(&mut upkeep, now(5 * DAY_US));
    assert_eq!(keeping.status().unwrap().pruned_messages, 40);
}

#[test]
fn a_damaged_session_is_passed_over_and_told() {
    let dir = quick_dir();
    let archive = archive(&dir);
    let (damaged, whole) = (add(&archive, 1, -2), add(&archive, 2, -1));
    let data = archive.root().join("data");
    let path = files(&data, &damaged.session_id.to_string()).into_keys().next().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let before = files(&data, &damaged.session_id.to_string());
    let (mut upkeep, keeping) = upkeep(&archive, everything());
    turns(&mut upkeep, now(5 * MINUTE_US));
    assert_eq!(segments(&archive, &whole), 2);
    assert_eq!(files(&data, &damaged.session_id.to_string()), before);
    let status = keeping.status().unwrap();
    assert_eq!((status.compacted_sessions, status.failed_sessions), (1, 1));
    assert!(status.error.unwrap().contains("cannot be compacted"));
}

#[test]
fn a_part_that_is_sealed_between_two_batches_is_in_the_list_and_the_index() {
    let dir = quick_dir();
    let archive = archive(&dir);
    let yesterday = add(&archive, 1, -1);
    let (live, parts) = begin(&archive, 2, 0);
    let left = Cell::new(&parts[..]);
    let tell = |_, _| {
        if let Some((part, rest)) = left.get().split_first() {
            seal(&archive, part).unwrap();
            left.set(rest);
        }
    };
    let (mut upkeep, _) = upkeep(&archive, everything());
    let watch = Watch { tell: &tell, goes_on: &|| true };
    while upkeep.turn(now(5 * MINUTE_US), &watch) == Turn::Done {}
    assert!(left.get().len() < parts.len());
    left.get().iter().for_each(|part| drop(seal(&archive, part).unwrap()));
    archive.end_session(live.session_id, START_US + DAY_US).unwrap();
    assert_eq!(segments(&archive, &yesterday), 2);
    assert_clean(&archive);
}

#[test]
fn sealing_and_upkeep_do_not_write_over_each_other() {
    let dir = quick_dir();
    let archive = archive(&dir);
    for id in 1..6 {
        add(&archive, id, -i64::from(id));
    }
    let (live, parts) = begin(&archive, 9, 0);
    let (mut upkeep, keeping) = upkeep(&archive, everything());
    std::thread::scope(|scope| {
        let sealing = scope.spawn(|| parts.iter().for_each(|part| drop(seal(&archive, part).unwrap())));
        turns(&mut upkeep, now(5 * MINUTE_US));
        sealing.join().unwrap();
    });
    archive.end_session(live.session_id, START_US + DAY_US).unwrap();
    assert_eq!(keeping.status().unwrap().compacted_sessions, 5);
    assert_clean(&archive);
}

#[test]
fn what_is_taken_back_leaves_nothing_and_is_done_later() {
    let dir = quick_dir();
    let archive = archive(&dir);
    let yesterday = add(&archive, 1, -1);
    let before = files(archive.root(), &yesterday.session_id.to_string());
    let (mut upkeep, keeping) = upkeep(&archive, everything());
    let is_compacting = Cell::new(false);
    let watch = Watch { tell: &|_, _| is_compacting.set(true), goes_on: &|| !is_compacting.get() };
    let last = (0..10).map(|_| upkeep.turn(now(5 * MINUTE_US), &watch)).find(|turn| *turn != Turn::Done);
    assert_eq!(last, Some(Turn::GaveWay));
    let status = keeping.status().unwrap();
    assert_eq!((status.state, status.waits), (Doing::Compacting, true));
    assert!(is_compacting.get());
    assert_eq!(files(archive.root(), &yesterday.session_id.to_string()), before);
    assert_clean(&archive);
    assert!(turns(&mut upkeep, now(65 * MINUTE_US)) > 0);
    assert_eq!(segments(&archive, &yesterday), 2);
}

#[test]
fn it_stands_still_while_the_load_is_heavy_and_gives_way_if_it_stays_so() {
    let manual = Arc::new(ManualClock::at(now(0)));
    let (clock, keeping) = (Clock::Manual(Arc::clone(&manual)), Keeping::new(everything()));
    let (load, waited) = (Cell::new(Load::Light), Cell::new(0));
    let goes_on = |until: u64| {
        waited.set(0);
        let pause = || {
            assert!(keeping.status().unwrap().waits);
            waited.set(waited.get() + 1);
            manual.advance_ns(60_000_000_000);
            if waited.get() == until {
                load.set(Load::Light);
            }
        };
        Pacing { keeping: &keeping, clock: &clock, load: &|| load.get(), pause: &pause }.goes_on()
    };
    assert!(goes_on(0) && waited.get() == 0);
    load.set(Load::Heavy);
    assert!(goes_on(5) && waited.get() == 5);
    load.set(Load::Heavy);
    assert!(!goes_on(50));
    assert_eq!(waited.get(), 11);
    assert!(!keeping.status().unwrap().waits);

    // On a full disk only what makes room goes on.
    load.set(Load::Full);
    assert!(!goes_on(0));
    keeping.note(|status| status.state = Doing::Pruning);
    assert!(goes_on(0));
    keeping.stop();
    assert!(!goes_on(0));
}

#[test]
fn nothing_is_told_of_upkeep_that_nobody_asked_for() {
    let dir = quick_dir();
    let archive = archive(&dir);
    add(&archive, 1, -100);
    let young = add(&archive, 2, -1);
    let (mut upkeep, keeping) = upkeep(&archive, Plan { settle_us: SETTLE_US, ..Plan::default() });
    assert_eq!(turns(&mut upkeep, now(DAY_US)), 0);
    assert_eq!(keeping.status(), None);
    // A new configuration is gone by at once.
    keeping.replan(everything());
    assert_eq!(turns(&mut upkeep, now(DAY_US)), 4);
    let ids: Vec<_> = archive.list().unwrap().into_iter().map(|session| session.session_id).collect();
    assert_eq!(ids, [young.session_id]);
}
