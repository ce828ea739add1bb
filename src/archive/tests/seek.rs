//! Scans that begin in the middle: right, and without a look at what comes before.

use super::support::*;
use crate::archive::{Archive, Bound, Filter, ScanOptions, end_of, scan, seal};
use crate::message::{Message, Selection};

/// Where a scan begins that starts `ms` after the sessions did.
fn from(ms: u64) -> ScanOptions {
    let merged_from = i128::from(START_US) * 1_000 + i128::from(ms) * 1_000_000;
    ScanOptions { merged_from: Some(merged_from), ..ScanOptions::default() }
}

#[test]
fn what_lies_before_the_place_is_not_read() {
    let dir = quick_dir();
    let (archive, header, messages) = sealed(dir.path(), 240);
    let manifest = archive.catalog().unwrap().segments(header.session_id).unwrap();
    let (first, last) = (manifest.first().unwrap().part, manifest.last().unwrap().part);
    assert!(last > first + 2);
    for segment in manifest.iter().filter(|segment| segment.part == first) {
        std::fs::remove_file(dir.path().join(&segment.path)).unwrap();
    }
    assert!(scan(&archive, &ScanOptions::default()).unwrap().any(|row| row.is_err()));
    let found = rows(&archive, &from(20_000));
    let wanted: Vec<u64> = (200..messages.len() as u64).collect();
    assert_eq!(found.iter().map(|row| row.seq).collect::<Vec<_>>(), wanted);
}

#[test]
fn several_sessions_begin_at_the_same_moment() {
    let dir = quick_dir();
    let (archive, ..) = sealed(dir.path(), 60);
    add_session(&archive, 2, 60);
    let found = rows(&archive, &from(3_050));
    let wanted: Vec<u64> = (31..60).flat_map(|seq| [seq, seq]).collect();
    assert_eq!(found.iter().map(|row| row.seq).collect::<Vec<_>>(), wanted);
}

#[test]
fn any_place_in_a_segment_of_many_pages_is_found() {
    let dir = quick_dir();
    let archive = Archive::create_or_open(dir.path(), "").unwrap();
    let mut header = header(1);
    archive.begin_session(&mut header).unwrap();
    // Pages end after 20,000 rows, row groups after 131,072: one message a millisecond.
    let messages: Vec<Message> =
        (0..150_000).map(|ms| message(&header, 0, "other", ms, format!("{ms}"))).collect();
    for part in record(archive.disk(), &archive, &header, &messages, 64 << 20) {
        seal(&archive, &part).unwrap();
    }
    assert_eq!(archive.catalog().unwrap().segments(header.session_id).unwrap().len(), 2, "two days");
    let places = [0, 1, 9_999, 10_000, 29_999, 30_000, 30_001, 141_071, 141_072, 141_073, 149_999];
    for ms in places {
        let first = scan(&archive, &from(ms)).unwrap().next().unwrap().unwrap();
        assert_eq!((first.seq, &first.payload[..]), (ms, ms.to_string().as_bytes()));
    }
    assert!(scan(&archive, &from(150_000)).unwrap().next().is_none());
    assert_eq!(rows(&archive, &from(110_001)).len(), 39_999);
}

#[test]
fn the_end_is_known_whatever_is_selected() {
    let dir = quick_dir();
    let (archive, ..) = sealed(dir.path(), 240);
    add_session(&archive, 2, 60);
    let filter: Filter = "seq < 20 and kind = 'alarm'".parse().unwrap();
    let predicate = filter.bind(&archive.column_types().unwrap()).unwrap();
    let of = |selection| ScanOptions { selection, ..ScanOptions::default() };
    let to = |to| ScanOptions { to: Some(to), ..ScanOptions::default() };
    for options in [
        ScanOptions::default(),
        ScanOptions { data_only: true, ..ScanOptions::default() },
        of(Selection { kinds: vec!["alarm".into()], ..Selection::default() }),
        of(Selection { sources: vec!["shop".into()], ..Selection::default() }),
        of(Selection { channels: vec!["upload/*".into()], ..Selection::default() }),
        to(Bound::Elapsed(10_050_000_000)),
        to(Bound::Elapsed(10_000_000_000)),
        to(Bound::Wall(START_US + 5_000_000)),
        ScanOptions { predicate: Some(predicate), ..ScanOptions::default() },
    ] {
        let last = rows(&archive, &options).pop().unwrap();
        let expected = i128::from(START_US) * 1_000 + i128::from(last.elapsed_ns);
        assert_eq!(end_of(&archive, &options).unwrap(), Some(expected), "{options:?}");
    }
    let none = of(Selection { kinds: vec!["nope".into()], ..Selection::default() });
    assert_eq!(end_of(&archive, &none).unwrap(), None);
}
