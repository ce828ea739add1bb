use super::*;
use crate::message::SessionId;

fn session(name: &str, started_at_us: i64) -> SessionRow {
    SessionRow {
        session_id: SessionId::new(started_at_us, [7; 10]),
        name: name.into(),
        site: "home".into(),
        started_at_us,
        ended_at_us: None,
        ended: None,
        sources: vec![SourceRow {
            name: "shop".into(),
            vendor: "delicode".into(),
            settings: serde_json::json!({"locations": [1, 2]}),
        }],
        clips: vec![ClipRow { name: format!("{name}-clip"), seq_from: 2, seq_to: 9 }],
        marks: vec![
            MarkRow { elapsed_ns: 5, note: "light on".into() },
            MarkRow { elapsed_ns: 5, note: "a second at once".into() },
        ],
    }
}

fn segment(session_id: SessionId, part: u32) -> SegmentRow {
    SegmentRow {
        path: format!("data/vendor=delicode/kind=link/date=2026-11-22/{session_id}-{part:06}.parquet"),
        session_id,
        part,
        vendor: "delicode".into(),
        kind: "link".into(),
        date: "2026-11-22".into(),
        rows: 2,
        seq_min: u64::from(part) * 10,
        seq_max: u64::from(part) * 10 + 1,
        elapsed_min_ns: 1,
        elapsed_max_ns: 2,
        received_min_us: -1,
        received_max_us: 2,
        bytes: 3,
        payload_bytes: 4,
        sources: vec![SegmentSourceRow {
            source: "shop".into(),
            rows: 2,
            payload_bytes: 4,
            duplicates: 0,
            decode_errors: 1,
        }],
    }
}

fn part(session_id: SessionId, part: u32) -> PartRow {
    let first = u64::from(part) * 10;
    PartRow { session_id, part, part_last: part, generation: 0, seq_start: first, seq_end: first + 10 }
}

fn link(session_id: SessionId, seq: u64) -> LinkRow {
    LinkRow {
        session_id,
        seq,
        source: "shop".into(),
        connection: 0,
        received_at_us: 5,
        elapsed_ns: 6,
        event: "reconnected".into(),
        reason: None,
        gap_ns: Some(7),
        payload: "{}".into(),
    }
}

#[test]
fn what_was_put_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.sqlite");
    let (early, late) = (session("a", 1_000_000), session("b", 2_000_000));
    let mut index = Index::open(&path).unwrap();
    index.put_session(&late).unwrap();
    index.put_session(&early).unwrap();
    index
        .put_part(&part(early.session_id, 1), &[segment(early.session_id, 1)], &[link(early.session_id, 13)])
        .unwrap();
    index.put_part(&part(early.session_id, 0), &[segment(early.session_id, 0)], &[]).unwrap();

    let reader = Index::open_read_only(&path).unwrap();
    assert_eq!(reader.sessions().unwrap(), [early.clone(), late.clone()]);
    assert_eq!(reader.session(late.session_id).unwrap(), Some(late));
    let parts = reader.segments(early.session_id).unwrap();
    assert_eq!(parts, [segment(early.session_id, 0), segment(early.session_id, 1)]);
    assert_eq!(reader.links(early.session_id).unwrap(), [link(early.session_id, 13)]);
    assert_eq!(reader.integrity().unwrap(), None);
}

#[test]
fn putting_again_replaces() {
    let mut index = Index::in_memory().unwrap();
    let mut s = session("a", 1);
    for _ in 0..2 {
        index.put_session(&s).unwrap();
        index
            .put_part(&part(s.session_id, 0), &[segment(s.session_id, 0)], &[link(s.session_id, 0)])
            .unwrap();
    }
    s.ended_at_us = Some(9);
    s.ended = Some("stopped".into());
    index.put_session(&s).unwrap();
    assert_eq!(index.sessions().unwrap(), [s.clone()]);
    assert_eq!(index.segments(s.session_id).unwrap().len(), 1);
    assert_eq!(index.links(s.session_id).unwrap().len(), 1);
}

#[test]
fn one_part_takes_the_place_of_several_with_their_links() {
    let mut index = Index::in_memory().unwrap();
    let id = session("a", 1).session_id;
    for n in 0..4 {
        index.put_part(&part(id, n), &[segment(id, n)], &[link(id, u64::from(n) * 10)]).unwrap();
    }
    let merged = PartRow { part_last: 2, generation: 1, seq_end: 30, ..part(id, 0) };
    let one = SegmentRow { path: "data/one.parquet".into(), ..segment(id, 0) };
    index.put_part(&merged, std::slice::from_ref(&one), &[link(id, 10)]).unwrap();
    assert_eq!(index.parts().unwrap(), [merged, part(id, 3)]);
    assert_eq!(index.segments(id).unwrap(), [one, segment(id, 3)]);
    let links: Vec<_> = index.links(id).unwrap().iter().map(|link| link.seq).collect();
    assert_eq!(links, [10, 30]);
    assert_eq!(index.counts().unwrap(), (0, 2));
}

#[test]
fn an_older_index_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.sqlite");
    let id = session("a", 1).session_id;
    let old = Connection::open(&path).unwrap();
    old.execute_batch(MIGRATIONS[0]).unwrap();
    let sql = "INSERT INTO segment VALUES ('p', ?1, 3, 'v', 'k', 'd', 2, 30, 34, 0, 0, 0, 0, 0, 0)";
    old.execute(sql, [id.to_string()]).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    drop(old);
    assert!(matches!(Index::open_read_only(&path), Err(IndexError::Older { found: 1, .. })));
    let index = Index::open(&path).unwrap();
    assert_eq!(index.parts().unwrap(), [PartRow { seq_end: 35, ..part(id, 3) }]);
}

#[test]
fn a_removed_session_leaves_no_row() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.sqlite");
    let (gone, stays) = (session("a", 1_000_000), session("b", 2_000_000));
    let mut index = Index::open(&path).unwrap();
    for s in [&gone, &stays] {
        index.put_session(s).unwrap();
        index
            .put_part(&part(s.session_id, 0), &[segment(s.session_id, 0)], &[link(s.session_id, 0)])
            .unwrap();
    }
    index.remove_session(gone.session_id).unwrap();
    assert_eq!(index.sessions().unwrap(), std::slice::from_ref(&stays));
    assert_eq!(index.links(gone.session_id).unwrap(), []);
    assert_eq!(index.segments(gone.session_id).unwrap(), []);
    assert_eq!(index.segments(stays.session_id).unwrap().len(), 1);
}

#[test]
fn a_reader_sees_commits_while_the_writer_stays_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.sqlite");
    let mut writer = Index::open(&path).unwrap();
    let reader = Index::open_read_only(&path).unwrap();
    assert_eq!(reader.sessions().unwrap(), []);
    writer.put_session(&session("a", 1)).unwrap();
    assert_eq!(reader.sessions().unwrap().len(), 1);
}

#[test]
fn a_reader_who_never_ends_is_in_no_writers_way() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.sqlite");
    let endless = || {
        let reader = Connection::open(&path).unwrap();
        reader.execute_batch("BEGIN; SELECT * FROM session").unwrap();
        reader
    };
    let mut writer = Index::open(&path).unwrap();
    writer.put_session(&session("a", 1_000_000)).unwrap();
    let beside = endless();
    writer.put_session(&session("b", 2_000_000)).unwrap();
    drop(writer);
    // What is still read stays as it is, for the next writer; at rest it is in nobody's log.
    Index::open(&path).unwrap().put_session(&session("c", 3_000_000)).unwrap();
    drop(beside);
    drop(Index::open(&path).unwrap());
    let mode: String =
        Connection::open(&path).unwrap().pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!(mode, "delete");
    let before = endless();
    assert!(matches!(Index::open(&path), Err(IndexError::Open { .. })), "to be made again elsewhere");
    drop(before);
    assert_eq!(Index::open(&path).unwrap().sessions().unwrap().len(), 3);
}

#[test]
fn nobody_leaves_files_beside_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("50% #1?.sqlite");
    Index::open(&path).unwrap().put_session(&session("a", 1)).unwrap();
    let files = || std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(files(), 1);
    Index::open_read_only(&path).unwrap().sessions().unwrap();
    assert_eq!(files(), 1);
    let mut reader = Index::open_read_only(&path).unwrap();
    assert!(reader.put_session(&session("b", 2)).is_err(), "reading only");
}

#[test]
fn a_newer_index_is_refused_and_a_broken_one_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.sqlite");
    Index::open(&path).unwrap().connection.pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(Index::open(&path), Err(IndexError::Newer { found: 99, .. })));
    assert!(matches!(Index::open_read_only(&path), Err(IndexError::Newer { .. })));

    let broken = dir.path().join("broken.sqlite");
    std::fs::write(&broken, b"not a database, but long enough to look at").unwrap();
    assert!(matches!(Index::open_read_only(&broken), Err(IndexError::Open { .. })));
    let missing = Index::open_read_only(&dir.path().join("missing.sqlite")).unwrap_err();
    assert!(missing.to_string().contains("telereel reindex"), "{missing}");
}

#[test]
fn whose_file_it_is_that_may_not_be_written_to_is_said() {
    let path = Path::new("archive/index.sqlite");
    let theirs = whose(path, 0, 1000);
    assert!(
        theirs.contains("belongs to user 0") && theirs.contains("`chown 1000 archive/index.sqlite`"),
        "{theirs}"
    );
    assert!(whose(path, 1000, 1000).contains("see the permissions"));
    let dir = tempfile::tempdir().unwrap();
    let is_told = |kind: io::ErrorKind| match IndexError::refused(dir.path(), kind.into()) {
        IndexError::Refused { whose, .. } => whose.is_some(),
        _ => false,
    };
    assert!(is_told(io::ErrorKind::PermissionDenied) && !is_told(io::ErrorKind::ReadOnlyFilesystem));
}
