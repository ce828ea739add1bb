//! The stages of a seal when the last of them fails: the others stop, and the cause is told.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use super::support::*;
use crate::archive::{Archive, seal};
use crate::disk::{Disk, Fault, Operation, SimDisk};

/// Rows for far more batches than may wait between two stages.
const MESSAGES: u64 = 48;
const PAYLOAD_BYTES: usize = 1 << 20;

fn part_of_many_batches(sim: &SimDisk, root: &std::path::Path) -> (Archive, PathBuf) {
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    let archive = Archive::create_or_open_on(Arc::clone(&disk), root, "").unwrap();
    let mut header = header(1);
    archive.begin_session(&mut header).unwrap();
    let payload = bytes::Bytes::from(vec![7; PAYLOAD_BYTES]);
    let messages: Vec<_> = (0..MESSAGES).map(|n| message(&header, 0, "other", n, payload.clone())).collect();
    let mut parts = record(&disk, &archive, &header, &messages, u64::MAX / 2);
    assert_eq!(parts.len(), 1);
    (archive, parts.remove(0))
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[test]
fn a_writer_that_fails_early_stops_the_reader_and_tells_why() {
    for (operation, nth) in [(Operation::Create, 1), (Operation::Write, 1), (Operation::SyncData, 1)] {
        let dir = quick_dir();
        let sim = SimDisk::new();
        let (archive, part) = part_of_many_batches(&sim, dir.path());
        seal_schema_files(&archive, &part);
        sim.fail(operation, nth, Fault::Error(ErrorKind::QuotaExceeded));
        let error = seal(&archive, &part).unwrap_err();
        let text = causes(&error);
        assert!(text.contains("quota"), "{operation:?}: {text}");
        assert!(!text.contains("ended early"), "{operation:?}: {text}");
        assert!(sim.files().contains(&part), "the part stays");

        let sealed = seal(&archive, &part).unwrap();
        assert_eq!((sealed.messages, sealed.segments), (MESSAGES, 1));
        assert!(!sim.files().contains(&part));
    }
}

/// So that the next file that sealing creates is a segment.
fn seal_schema_files(archive: &Archive, part: &std::path::Path) {
    let reader = crate::journal::PartReader::open(&**archive.disk(), part).unwrap();
    crate::archive::segment::write_schema_files(archive, &reader.header().session).unwrap();
}
