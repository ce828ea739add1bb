//! Clips and marks: named, found, kept through a lost index, never in each other's way.

use std::sync::Arc;

use super::support::*;
use crate::archive::{
    Archive, ArchiveError, Bound, Clip, Mark, ScanOptions, VerifyOptions, reindex, summarize, verify,
};
use crate::index::Index;

fn clip(name: &str, seqs: std::ops::Range<u64>) -> Clip {
    Clip { name: name.into(), seq_from: seqs.start, seq_to: seqs.end, note: None }
}

fn mark(elapsed_ns: u64, note: &str) -> Mark {
    Mark { elapsed_ns, at_us: START_US + (elapsed_ns / 1_000) as i64, note: note.into() }
}

#[test]
fn a_clip_is_found_by_its_name_and_survives_the_index() {
    let dir = quick_dir();
    let (archive, header, _) = sealed(&dir.path().join("a"), 60);
    let id = header.session_id;
    let seqs = archive.seqs_between(
        id,
        Some(Bound::Elapsed(1_000_000_000)),
        Some(Bound::Elapsed(2_000_000_000)),
        None,
    );
    assert_eq!(seqs.unwrap(), 10..20);
    assert_eq!(archive.seqs_between(id, Some(Bound::Elapsed(u64::MAX)), None, None).unwrap(), 60..60);
    let fall = Clip { note: Some("in room 3".into()), ..clip("fall", 10..20) };
    archive.add_clip(id, fall.clone()).unwrap();
    archive.add_clip(id, clip("early", 0..3)).unwrap();
    archive.add_mark(id, mark(5_000, "later")).unwrap();
    archive.add_mark(id, mark(4_000, "earlier")).unwrap();

    std::fs::remove_file(archive.layout().index()).unwrap();
    reindex(&archive).unwrap();
    let verified = verify(&archive, VerifyOptions::default()).unwrap();
    assert!(verified.is_content(), "{verified:?}");
    let row = Index::open_read_only(&archive.layout().index()).unwrap().session(id).unwrap().unwrap();
    let names: Vec<_> =
        row.clips.iter().map(|clip| (clip.name.as_str(), clip.seq_from, clip.seq_to)).collect();
    assert_eq!(names, [("early", 0, 3), ("fall", 10, 20)]);
    let notes: Vec<_> = row.marks.iter().map(|mark| (mark.elapsed_ns, mark.note.as_str())).collect();
    assert_eq!(notes, [(4_000, "earlier"), (5_000, "later")]);

    let (session, found) = archive.resolve_stretch("fall").unwrap();
    assert_eq!((session.session_id, found), (id, Some(fall)));
    assert_eq!(archive.resolve_stretch("walk").unwrap().1, None);
    let info = archive.info(id).unwrap();
    assert_eq!((info.clips.len(), info.marks.len()), (2, 2));
    let said = archive.resolve_stretch("fal").unwrap_err().to_string();
    assert!(said.contains("nearest: fall"), "{said}");

    archive.remove_clip("fall").unwrap();
    assert!(archive.resolve_stretch("fall").is_err());
    let said = archive.remove_clip("fall").unwrap_err().to_string();
    assert_eq!(said, "no clip `fall`; there are: early");
}

#[test]
fn a_broken_index_is_not_replaced_beside_a_recorder() {
    let dir = quick_dir();
    let (archive, header, _) = sealed(&dir.path().join("a"), 30);
    let id = header.session_id;
    let recorder = archive.lock().unwrap();
    std::fs::write(archive.layout().index(), "what the recorder has open").unwrap();
    let index = || std::fs::read(archive.layout().index()).unwrap();
    archive.add_clip(id, clip("fall", 10..20)).unwrap();
    archive.rename_session(id, "tuesday").unwrap();
    archive.add_mark(id, mark(4_000, "earlier")).unwrap();
    assert_eq!(index(), b"what the recorder has open");
    let sidecar = archive.read_sidecar(id).unwrap().unwrap();
    assert_eq!((&*sidecar.name, sidecar.clips.len(), sidecar.marks.len()), ("tuesday", 1, 1));
    drop(recorder);
    archive.add_clip(id, clip("early", 0..3)).unwrap();
    let verified = verify(&archive, VerifyOptions::default()).unwrap();
    assert!(verified.is_content(), "{verified:?}");
    let row = Index::open_read_only(&archive.layout().index()).unwrap().session(id).unwrap().unwrap();
    assert_eq!((&*row.name, row.clips.len(), row.marks.len()), ("tuesday", 2, 1));
    assert!(!archive.is_locked(), "the lock was for making the index only");
}

#[test]
fn marks_are_bounded() {
    let dir = quick_dir();
    let (archive, header, _) = sealed(&dir.path().join("a"), 12);
    let refused = (0..101).find_map(|n| archive.add_mark(header.session_id, mark(n, "x")).err());
    assert!(matches!(refused, Some(ArchiveError::TooManyMarks { most: 100, .. })), "{refused:?}");
    assert_eq!(archive.read_sidecar(header.session_id).unwrap().unwrap().marks.len(), 100);
}

#[test]
fn no_two_things_have_one_name() {
    let dir = quick_dir();
    let (archive, header, _) = sealed(&dir.path().join("a"), 12);
    let id = header.session_id;
    archive.add_clip(id, clip("fall", 1..3)).unwrap();
    for name in ["fall", "walk", "latest", "x.reel", ""] {
        let refused = archive.add_clip(id, clip(name, 1..3));
        assert!(matches!(refused, Err(ArchiveError::NameRefused { .. })), "{name}");
    }
    let mut next = crate::message::SessionHeader { name: "fall".into(), ..super::support::header(2) };
    archive.begin_session(&mut next).unwrap();
    assert_eq!(next.name, "fall-2");
}

#[test]
fn a_scan_of_stretches_gives_each_row_once() {
    let dir = quick_dir();
    let (archive, header, _) = sealed(&dir.path().join("a"), 60);
    let id = header.session_id;
    let all = rows(&archive, &ScanOptions::default());
    let ranges = vec![(id, 40..45), (id, 10..20), (id, 15..22), (id, 22..23)];
    let options = ScanOptions { ranges, ..ScanOptions::default() };
    let expected: Vec<_> =
        all.into_iter().filter(|row| (10..23).contains(&row.seq) || (40..45).contains(&row.seq)).collect();
    assert_eq!(rows(&archive, &options), expected);
    assert_eq!(summarize(&archive, &options).unwrap().messages, 18);
    let after = ScanOptions { from: Some(Bound::Seq(18)), ..options };
    assert_eq!(rows(&archive, &after).len(), 10);
}

#[test]
fn a_sidecar_is_changed_by_one_at_a_time() {
    let dir = quick_dir();
    let (archive, header, _) = sealed(&dir.path().join("a"), 6);
    let archive: Arc<Archive> = Arc::new(archive);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let archive = Arc::clone(&archive);
            scope.spawn(move || {
                for n in 0..5 {
                    archive.add_mark(header.session_id, mark(thread * 10 + n, "x")).unwrap();
                }
            });
        }
    });
    assert_eq!(archive.read_sidecar(header.session_id).unwrap().unwrap().marks.len(), 20);
}
