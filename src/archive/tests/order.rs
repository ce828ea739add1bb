//! Scans: what was recorded comes back, in order, and only what was asked for.

use super::support::*;
use crate::archive::{Bound, ScanOptions, scan, summarize};
use crate::message::Selection;

#[test]
fn what_was_recorded_comes_back_over_parts_kinds_and_days() {
    let dir = quick_dir();
    let (archive, header, messages) = sealed(dir.path(), 240);
    let session = archive.resolve("latest").unwrap();
    assert!(session.segments > 10, "several parts and days: {session:?}");
    assert_same(&header, &rows(&archive, &ScanOptions::default()), &messages);
}

#[test]
fn decoding_fills_the_envelope() {
    let dir = quick_dir();
    let (archive, ..) = sealed(dir.path(), 6);
    let rows = rows(&archive, &ScanOptions::default());
    assert_eq!(rows[1].device_id.as_deref(), Some("8200123456"));
    assert_eq!(rows[1].event_at_us, Some(START_US - 1_000_000));
    assert_eq!(rows[1].decode_error, None);
    assert!(rows[5].decode_error.is_some(), "invalid JSON is stored, and said so");
}

#[test]
fn a_selection_gives_what_it_names() {
    let dir = quick_dir();
    let (archive, _, messages) = sealed(dir.path(), 120);
    let select = |selection| ScanOptions { selection, ..ScanOptions::default() };
    let by = |name: &str, options: &ScanOptions| {
        let found = rows(&archive, options);
        let summary = summarize(&archive, options).unwrap();
        assert_eq!(summary.messages, found.len() as u64, "{name}");
        if let Some(bytes) = summary.bytes {
            assert_eq!(bytes, found.iter().map(|r| r.payload.len() as u64).sum::<u64>(), "{name}");
        }
        found
    };
    let alarms = by("kind", &select(Selection { kinds: vec!["alarm".into()], ..Selection::default() }));
    assert!(alarms.len() == 20 && alarms.iter().all(|r| &*r.kind == "alarm"));
    let shop = by("source", &select(Selection { sources: vec!["shop".into()], ..Selection::default() }));
    assert_eq!(shop.len(), 60);
    let vendor =
        by("vendor", &select(Selection { vendors: vec!["jointech".into()], ..Selection::default() }));
    assert_eq!(vendor.len(), 60);
    let device = Selection { devices: vec!["8200123456".into()], ..Selection::default() };
    assert_eq!(by("device", &select(device)).len(), 40);
    let channel = Selection { channels: vec!["upload/*/location".into()], ..Selection::default() };
    assert_eq!(by("channel", &select(channel)).len(), 20);
    let data = by("data only", &ScanOptions { data_only: true, ..ScanOptions::default() });
    assert_eq!(data.len(), messages.len() - 20);
    let link = Selection { kinds: vec!["link".into()], ..Selection::default() };
    let asked = ScanOptions { selection: link, data_only: true, ..ScanOptions::default() };
    assert_eq!(by("link asked for", &asked).len(), 20);
}

#[test]
fn bounds_are_the_first_seq_at_or_after() {
    let dir = quick_dir();
    let (archive, ..) = sealed(dir.path(), 240);
    let seqs = |from, to| {
        let options = ScanOptions { from, to, ..ScanOptions::default() };
        let rows = rows(&archive, &options);
        assert_eq!(summarize(&archive, &options).unwrap().messages, rows.len() as u64);
        rows.first().map(|first| (first.seq, rows.last().unwrap().seq))
    };
    let elapsed = |ms: u64| Some(Bound::Elapsed(ms * 1_000_000));
    let wall = |ms: i64| Some(Bound::Wall(START_US + ms * 1_000));
    assert_eq!(seqs(elapsed(5_000), elapsed(5_100)), Some((50, 50)));
    assert_eq!(seqs(elapsed(5_001), None), Some((51, 239)));
    assert_eq!(seqs(wall(-1), wall(9_999)), Some((0, 99)));
    assert_eq!(seqs(wall(12_345), wall(12_345)), None);
    assert_eq!(seqs(Some(Bound::Seq(77)), Some(Bound::Seq(79))), Some((77, 78)));
    assert_eq!(seqs(elapsed(1_000_000), None), None);
    assert_eq!(seqs(None, elapsed(1_000_000)), Some((0, 239)));
}

#[test]
fn sessions_merge_by_the_time_of_arrival() {
    let dir = quick_dir();
    let (archive, first, _) = sealed(dir.path(), 30);
    let (second, _) = add_session(&archive, 2, 30);
    assert_eq!(second.name, "walk-2");
    let rows = rows(&archive, &ScanOptions::default());
    let order: Vec<_> = rows.iter().map(|r| (r.seq, r.session_id)).collect();
    let expected: Vec<_> = (0..30).flat_map(|n| [(n, first.session_id), (n, second.session_id)]).collect();
    assert_eq!(order, expected);
}

#[test]
fn a_scan_ends_at_a_damaged_segment_with_an_error_that_names_it() {
    let dir = quick_dir();
    let (archive, ..) = sealed(dir.path(), 12);
    let path = crate::archive::verify::segment_files(&archive).unwrap().remove(0);
    std::fs::write(dir.path().join(&path), b"PAR1 not really").unwrap();
    let mut scan = scan(&archive, &ScanOptions::default()).unwrap();
    let error = scan.find_map(Result::err).unwrap().to_string();
    assert!(error.contains(&*path.to_string_lossy()), "{error}");
    assert!(scan.next().is_none());
}

#[test]
fn a_condition_selects_rows_by_envelope_and_typed_columns() {
    let dir = quick_dir();
    let (archive, _, messages) = sealed(dir.path(), 240);
    let types = archive.column_types().unwrap();
    let by = |condition: &str, more: ScanOptions| {
        let filter: crate::archive::Filter = condition.parse().unwrap();
        let options = ScanOptions { predicate: Some(filter.bind(&types).unwrap()), ..more };
        let found = rows(&archive, &options);
        assert_eq!(summarize(&archive, &options).unwrap().messages, found.len() as u64, "{condition}");
        assert!(found.iter().all(|row| row.payload == messages[row.seq as usize].payload), "{condition}");
        found.into_iter().map(|row| row.seq).collect::<Vec<_>>()
    };
    let all = |wanted: &dyn Fn(u64) -> bool| (0..240).filter(|seq| wanted(*seq)).collect::<Vec<u64>>();
    let any = ScanOptions::default;
    // Location on i % 6 == 1 (with a speed of 36) and 5 (broken JSON), alarms on 2 (with a speed of 0).
    assert_eq!(by("speed_kmh > 30", any()), all(&|n| n % 6 == 1));
    assert_eq!(by("speed_kmh <= 36 and not speed_kmh = 0", any()), all(&|n| n % 6 == 1));
    assert_eq!(by("speed_kmh is null", any()), all(&|n| n % 6 == 5));
    assert_eq!(
        by("alarm_name = 'Lock rope cut' or person_id = 7", any()),
        all(&|n| n % 6 == 2 || n % 6 == 0)
    );
    assert_eq!(by("decode_error is not null", any()), all(&|n| n % 6 == 5));
    assert_eq!(by("seq >= 100 and seq < 110 and qos = 1", any()), [103, 109]);
    assert_eq!(
        by("received_at >= 2026-11-23T00:00:00Z and kind = 'link'", any()),
        all(&|n| n >= 100 && n % 6 == 3)
    );
    assert_eq!(by("date = '2026-11-22'", any()), all(&|n| n < 100));
    assert!(by("payload = 'nowhere'", any()).is_empty());
    let stretch = ScanOptions { from: Some(Bound::Seq(50)), to: Some(Bound::Seq(60)), ..any() };
    assert_eq!(by("alarm_code = 40", stretch), [50, 56]);
}
