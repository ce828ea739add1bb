use super::*;
use crate::archive::seal;
use crate::archive::tests::support::{START_US, header, message, quick_dir, record};
use crate::cli::Filters;
use crate::clock::Now;
use crate::commands::selection::choose;
use crate::message::{Message, SessionHeader};
use crate::units::{Moment, parse_moment};

/// Adds a session that begins so many milliseconds after the first one did, of kinds, milliseconds since its own
/// start, and payloads.
fn add(archive: &Archive, n: u8, began_ms: i64, said: &[(&str, u64, &str)]) -> SessionHeader {
    let began_us = began_ms * 1_000;
    let mut header = SessionHeader { started_at_us: START_US + began_us, ..header(n) };
    archive.begin_session(&mut header).unwrap();
    let message = |(kind, ms, payload): &(&str, u64, &str)| {
        let mut message = message(&header, 0, kind, *ms, (*payload).to_owned());
        message.at.wall_us += began_us;
        message
    };
    let messages: Vec<Message> = said.iter().map(message).collect();
    for part in record(archive.disk(), archive, &header, &messages, 64 << 20) {
        seal(archive, &part).unwrap();
    }
    let end_us = header.started_at_us + said.last().map_or(0, |(_, ms, _)| *ms as i64 * 1_000);
    archive.end_session(header.session_id, end_us).unwrap();
    header
}

fn person(id: u64, x: f64) -> String {
    format!(
        r#"{{"type":"realtime_person_position","person_id":{id},"location_id":1,"position":{{"x":{x},"y":1}},"confidence":0.9}}"#
    )
}

/// What is known before this moment, as rows: `seq` of what sets and ends.
fn before(
    archive: &Archive,
    sources: &[SourceHeader],
    filters: Filters,
    before_ms: u64,
) -> Vec<(String, u64)> {
    let chosen =
        choose(archive, &[], Filters { from: Some(Moment::At(START_US)), ..filters }, Now::default());
    let options = state(archive, &chosen.unwrap(), sources, None, u64::MAX);
    let rows = (options.before)(before_ms * 1_000_000).unwrap().map(Result::unwrap);
    rows.map(|row| (row.kind.to_string(), row.seq)).collect()
}

#[test]
fn a_person_who_was_lost_is_not_known_whatever_is_selected() {
    let dir = quick_dir();
    let archive = Archive::create_or_open(dir.path(), "").unwrap();
    let lost = r#"{"type":"person_lost","person_id":7,"location_id":1}"#;
    let header = add(
        &archive,
        1,
        0,
        &[
            ("person_position", 0, &person(7, 1.0)),
            ("person_position", 100, &person(8, -1.0)),
            ("person_lost", 200, lost),
            ("demographics", 300, "{}"),
            ("person_position", 400, &person(9, 1.0)),
            ("person_position", 500, &person(10, 1.0)),
        ],
    );
    let rows = |kinds: &[(&str, u64)]| -> Vec<(String, u64)> {
        kinds.iter().map(|(kind, seq)| ((*kind).to_owned(), *seq)).collect()
    };
    let all =
        rows(&[("person_position", 0), ("person_position", 1), ("person_lost", 2), ("person_position", 4)]);
    assert_eq!(before(&archive, &header.sources, Filters::default(), 500), all);
    let positions = Filters { kind: vec!["person_position".to_owned()], ..Filters::default() };
    assert_eq!(before(&archive, &header.sources, positions.clone(), 500), all);
    // A condition is for what is told, and not for what ends it.
    let right = Filters { filter: Some("x_cm > 0".parse().unwrap()), ..positions };
    let told = rows(&[("person_position", 0), ("person_lost", 2), ("person_position", 4)]);
    assert_eq!(before(&archive, &header.sources, right, 500), told);
    let none = Filters { kind: vec!["demographics".to_owned()], ..Filters::default() };
    assert_eq!(before(&archive, &header.sources, none, 500), []);
}

fn told(options: &StateOptions, before_ms: u64) -> Vec<(SessionId, u64)> {
    let rows = (options.before)(before_ms * 1_000_000).unwrap().map(Result::unwrap);
    rows.map(|row| (row.session_id, row.seq)).collect()
}

fn all_of(archive: &Archive, sessions: &[&str], filters: Filters) -> Chosen {
    let sessions: Vec<String> = sessions.iter().map(|name| (*name).to_owned()).collect();
    choose(archive, &sessions, filters, Now::default()).unwrap()
}

#[test]
fn of_sessions_beside_each_other_the_later_word_counts_whichever_said_it() {
    let dir = quick_dir();
    let archive = Archive::create_or_open(dir.path(), "").unwrap();
    let seen = |ms| ("person_position", ms, r#"{"person_id":7,"location_id":1}"#);
    let first = add(&archive, 1, 0, &[seen(0), seen(3_000), ("person_lost", 5_000, "{}")]);
    let second = add(&archive, 2, 1_000, &[seen(0), ("person_lost", 1_000, "{}"), seen(3_000)]);
    let chosen = choose(
        &archive,
        &[],
        Filters { from: Some(Moment::At(START_US)), ..Filters::default() },
        Now::default(),
    );
    let options = state(&archive, &chosen.unwrap(), &first.sources, None, u64::MAX);
    let (a, b) = (first.session_id, second.session_id);
    assert_eq!(told(&options, 9_000), [(a, 0), (b, 0), (b, 1), (a, 1), (b, 2), (a, 2)]);
    assert_eq!(told(&options, 2_000), [(a, 0), (b, 0)]);
    assert_eq!(told(&options, 1_000), [(a, 0)], "exclusive, and the second has not begun");
}

#[test]
fn what_ends_a_state_is_heard_from_a_place_on_where_the_selection_may_leave_it_out() {
    let dir = quick_dir();
    let archive = Archive::create_or_open(dir.path(), "").unwrap();
    let said = |kind, ms| (kind, ms, "{}");
    let rows = [said("person_position", 0), said("person_lost", 100), said("person_lost", 200)];
    let header = add(&archive, 1, 0, &rows);
    let heard = |filters: Filters, from_ms: u64| -> Option<Vec<u64>> {
        let options = state(&archive, &all_of(&archive, &["latest"], filters), &header.sources, None, 9);
        let rows = options.ends?(from_ms * 1_000_000).unwrap();
        Some(rows.map(|row| row.unwrap().seq).collect())
    };
    assert_eq!(heard(Filters::default(), 0), None, "all of it is played");
    let positions = Filters { kind: vec!["person_position".to_owned()], ..Filters::default() };
    assert_eq!(heard(positions.clone(), 0), Some(vec![1, 2]));
    assert_eq!(heard(positions, 101), Some(vec![2]));
    let one = Filters { device: vec!["nobody".to_owned()], ..Filters::default() };
    assert_eq!(heard(one, 0), Some(vec![1, 2]));
    let none = Filters { kind: vec!["demographics".to_owned()], ..Filters::default() };
    assert_eq!(heard(none, 0), None);
}

#[test]
fn however_long_a_recording_is_only_its_last_messages_before_a_place_are_read() {
    let dir = quick_dir();
    let archive = Archive::create_or_open(dir.path(), "").unwrap();
    let mut header = SessionHeader { started_at_us: START_US, ..header(1) };
    archive.begin_session(&mut header).unwrap();
    // One of ten is of another kind, and said seldom.
    let kind = |n: u64| if n.is_multiple_of(10) { "demographics" } else { "person_position" };
    let messages: Vec<Message> =
        (0..20_000).map(|n| message(&header, 0, kind(n), n, person(n % 7, 1.0))).collect();
    for part in record(archive.disk(), &archive, &header, &messages, 100_000) {
        seal(&archive, &part).unwrap();
    }
    archive.end_session(header.session_id, START_US + 20_000_000).unwrap();
    let parts = std::fs::read_dir(archive.layout().manifests()).unwrap().count() as u64;
    let (rows_max, a_file) = (1_000, 20_000 / parts + 1);
    assert!(a_file < 1_000, "many files: {a_file} rows in each");
    let options =
        state(&archive, &all_of(&archive, &["latest"], Filters::default()), &header.sources, None, rows_max);
    for place in [0, 900, 10_000, 20_000] {
        let seqs: Vec<u64> = told(&options, place).into_iter().map(|(_, seq)| seq).collect();
        let all: Vec<u64> = (0..place).filter(|n| n % 10 != 0).collect();
        assert!(all.ends_with(&seqs), "the last before {place}");
        let read = seqs.len() as u64;
        assert!(read >= rows_max.min(all.len() as u64) && read <= rows_max + 2 * a_file, "{place}: {read}");
    }
}

#[test]
fn whatever_was_recorded_between_two_times_comes_in_the_order_of_the_wall_clock() {
    let dir = quick_dir();
    let archive = Archive::create_or_open(dir.path(), "").unwrap();
    let every =
        |from: u64, to: u64| (from..to).map(|n| ("demographics", n * 1_000, "{}")).collect::<Vec<_>>();
    // Half a second beside each other for two seconds; a third one is over before.
    let first = add(&archive, 1, 0, &every(0, 5)).session_id;
    let second = add(&archive, 2, 2_500, &every(0, 5)).session_id;
    add(&archive, 3, -60_000, &every(0, 5));
    let at = |seconds: i64| Some(Moment::At(START_US + seconds * 1_000_000));
    let chosen =
        choose(&archive, &[], Filters { from: at(2), to: at(6), ..Filters::default() }, Now::default())
            .unwrap();
    let rows = |options: &ScanOptions| -> Vec<_> {
        scan(&archive, options)
            .unwrap()
            .map(|row| row.map(|row| (row.session_id, row.seq)).unwrap())
            .collect()
    };
    let merged = [(first, 2), (second, 0), (first, 3), (second, 1), (first, 4), (second, 2), (second, 3)];
    assert_eq!(rows(&chosen.options), merged);
    // Wound to a place: from there on, and the end stays where it was.
    let minute_ns = 60_000_000_000;
    let from = |ms: u64| chosen.options_at(crate::player::Position::At(minute_ns + ms * 1_000_000));
    assert_eq!(rows(&from(3_500)), merged[3..]);
    assert_eq!(rows(&from(3_501)), merged[4..]);
    assert_eq!(rows(&from(0)), merged, "never before --from");
    assert_eq!(rows(&from(6_000)), []);
    let offsets: Vec<u64> = laid(&chosen).map(|(_, offset_ns)| offset_ns / 1_000_000).collect();
    assert_eq!(offsets, [0, 60_000, 62_500]);
    // Cut, the gaps are those of the merged stream, from the time that was asked for.
    let zero_ns = minute_ns + 2_000_000_000;
    let cuts = cuts(&archive, &chosen, Some(zero_ns), 100_000_000).unwrap().unwrap();
    assert_eq!(cuts.total(), (6, 5 * 400_000_000 + 900_000_000));
    assert_eq!(cuts.played_ns(zero_ns), zero_ns);
    let asked = parse_moment("2026-11-22T23:59:52Z").unwrap();
    assert_eq!(asked, at(2).unwrap(), "as a user types it");
}
