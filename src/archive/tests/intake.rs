//! Rows without a journal: what comes in is what went out, and a cut leaves a whole session or none.

use std::sync::Arc;

use super::cut::restore;
use super::support::*;
use crate::archive::{
    Archive, ArchiveError, Intake, RecoverReport, ScanOptions, VerifyOptions, recover, verify,
};
use crate::disk::{Disk, SimDisk};
use crate::message::{Row, SessionHeader};

/// Rows of a session that another archive recorded.
fn recorded(n: u64) -> (SessionHeader, Vec<Row>) {
    let dir = quick_dir();
    let (archive, header, _) = sealed(&dir.path().join("a"), n);
    (header, rows(&archive, &ScanOptions::default()))
}

fn take_in(archive: &Archive, header: &SessionHeader, rows: &[Row]) -> Result<String, ArchiveError> {
    let mut intake = Intake::begin(archive, header.clone(), "import")?;
    for rows in rows.chunks(20) {
        intake.part(|part| rows.iter().try_for_each(|row| part.push(row)))?;
    }
    let name = intake.header().name.clone();
    intake.commit(|_| ())?;
    Ok(name)
}

#[test]
fn rows_come_in_as_they_were_and_what_is_left_out_was_removed() {
    let (header, mut given) = recorded(60);
    given.retain(|row| row.seq % 7 > 1 && row.seq < 50);
    let dir = quick_dir();
    let archive = Archive::create_or_open(dir.path().join("b"), "").unwrap();
    assert_eq!(take_in(&archive, &header, &given).unwrap(), "walk");
    assert_eq!(rows(&archive, &ScanOptions::default()), given);
    let verified = verify(&archive, VerifyOptions::default()).unwrap();
    assert!(verified.is_content() && verified.leftovers.is_empty() && verified.known_lost.is_empty());
    let manifests = archive.read_manifests_of(header.session_id).unwrap();
    let removed: u64 =
        manifests.iter().flat_map(|m| &m.removed).flat_map(|r| &r.ranges).map(|r| r.messages()).sum();
    assert_eq!(removed + given.len() as u64, given.last().unwrap().seq + 1);
    assert!(manifests.iter().flat_map(|m| &m.removed).all(|r| r.verb == "import"));
    let links = crate::index::Index::open_read_only(&archive.layout().index()).unwrap();
    let expected = given.iter().filter(|row| &*row.kind == "link").count();
    assert_eq!(links.links(header.session_id).unwrap().len(), expected);
    let session = archive.resolve("walk").unwrap();
    assert_eq!(session.ended_at_us, given.iter().map(|row| row.received_at_us).max());
}

#[test]
fn of_a_thinned_recording_the_manifest_stays_small() {
    const EVERY: u64 = 10_000;
    let (header, given) = recorded(6);
    let thinned: Vec<Row> = (0..EVERY).map(|n| Row { seq: n * 2, ..given[1].clone() }).collect();
    let dir = quick_dir();
    let archive = Archive::create_or_open(dir.path().join("b"), "").unwrap();
    let mut intake = Intake::begin(&archive, header.clone(), "import").unwrap();
    intake.part(|part| thinned.iter().try_for_each(|row| part.push(row))).unwrap();
    intake.commit(|_| ()).unwrap();
    let manifests = archive.read_manifests_of(header.session_id).unwrap();
    let removed = &manifests[0].removed;
    assert_eq!((removed.len(), removed[0].messages()), (1, EVERY - 1));
    assert!(removed[0].ranges.len() <= 4_096, "{} ranges", removed[0].ranges.len());
    let verified = verify(&archive, VerifyOptions::default()).unwrap();
    assert!(verified.is_content(), "{verified:?}");
}

#[test]
fn what_is_not_committed_leaves_nothing() {
    let (header, given) = recorded(30);
    let dir = quick_dir();
    let archive = Archive::create_or_open(dir.path().join("b"), "").unwrap();
    let mut intake = Intake::begin(&archive, header, "import").unwrap();
    intake.part(|part| given.iter().try_for_each(|row| part.push(row))).unwrap();
    let refused = intake.part(|part| part.push(&given[3])).unwrap_err().to_string();
    assert!(refused.contains("row 3") && refused.contains("after 29"), "{refused}");
    let stranger = Row { seq: 99, source: "who".into(), ..given[0].clone() };
    let refused = intake.part(|part| part.push(&stranger)).unwrap_err().to_string();
    assert!(refused.contains("no source who of delicode"), "{refused}");
    drop(intake);
    assert_eq!(archive.list().unwrap(), []);
    assert_eq!(std::fs::read_dir(archive.layout().tmp()).unwrap().count(), 0);
}

#[test]
fn wherever_it_is_cut_the_session_is_there_whole_or_not_at_all() {
    let (mut header, given) = recorded(54);
    // Each kind is a file more, and each of those steps more at which it may be cut.
    for source in &mut header.sources {
        source
            .kinds
            .retain(|kind| given.iter().any(|row| *row.kind == *kind.name && *row.source == *source.name));
    }
    let (mut nth, mut whole, mut none) = (1, 0, 0);
    loop {
        let dir = quick_dir();
        let sim = SimDisk::new();
        let disk: Arc<dyn Disk> = Arc::new(sim.clone());
        let archive = Archive::create_or_open_on(Arc::clone(&disk), dir.path(), "home-12").unwrap();
        sim.power_off_at(nth);
        let cut = take_in(&archive, &header, &given).is_err();
        sim.crash(nth);
        restore(&sim, dir.path());

        let archive = Archive::open(dir.path()).unwrap();
        recover(&archive).unwrap();
        let found = rows(&archive, &ScanOptions::default());
        match archive.list().unwrap().len() {
            0 => none += 1,
            _ => whole += 1,
        }
        assert!(found.is_empty() || found == given, "cut at {nth}: {} rows", found.len());
        let verified = verify(&archive, VerifyOptions::default()).unwrap();
        assert!(verified.is_content() && verified.leftovers.is_empty(), "cut at {nth}: {verified:?}");
        assert_eq!(recover(&archive).unwrap(), RecoverReport::default(), "cut at {nth}: done twice");
        if !cut {
            assert_eq!(found, given);
            break;
        }
        nth += 1;
    }
    assert!(none > 60 && whole > 0, "{none} cuts left nothing, {whole} a session");
}
