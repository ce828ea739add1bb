//! A seal, cut at each of its steps by a power failure, then recovered. What the disk forgets at the
//! cut is random, with the number of the step as the seed.

use std::path::Path;
use std::sync::Arc;

use super::support::*;
use crate::archive::{Archive, ScanOptions, VerifyOptions, recover, seal, verify};
use crate::disk::{Disk, SimDisk};

const MESSAGES: u64 = 54;

/// Puts what a simulated disk holds after a crash onto the real one, beside the index.
pub(super) fn restore(disk: &SimDisk, root: &Path) {
    for folder in ["journal", "tmp", "data", "manifests", "sessions", "schema", "views"] {
        let _ = std::fs::remove_dir_all(root.join(folder));
    }
    for path in disk.files() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, disk.read(&path).unwrap()).unwrap();
    }
}

#[test]
fn wherever_a_seal_is_cut_recovery_has_every_row_once() {
    let mut nth = 1;
    loop {
        let dir = quick_dir();
        let sim = SimDisk::new();
        let disk: Arc<dyn Disk> = Arc::new(sim.clone());
        let archive = Archive::create_or_open_on(Arc::clone(&disk), dir.path(), "home-12").unwrap();
        let mut header = header(1);
        archive.begin_session(&mut header).unwrap();
        let messages = messages(&header, MESSAGES);
        let parts = record(&disk, &archive, &header, &messages, 10_000);
        assert!(parts.len() > 1, "a part before and one after the cut");

        sim.power_off_at(nth);
        let cut = parts.iter().try_for_each(|part| seal(&archive, part).map(drop)).is_err();
        sim.crash(nth);
        restore(&sim, dir.path());

        let archive = Archive::open(dir.path()).unwrap();
        let report = recover(&archive).unwrap();
        assert!(!report.has_loss(), "cut at {nth}: {report:?}");
        assert_same(&header, &rows(&archive, &ScanOptions::default()), &messages);
        let verified = verify(&archive, VerifyOptions::default()).unwrap();
        assert!(verified.is_content(), "cut at {nth}: {verified:?}");
        assert_eq!((verified.messages, verified.leftovers.len()), (MESSAGES, 0));
        let links = crate::index::Index::open_read_only(&archive.layout().index()).unwrap();
        assert_eq!(links.links(header.session_id).unwrap().len() as u64, MESSAGES / 6);
        let session = archive.resolve("walk").unwrap();
        assert_eq!(session.ended.as_deref(), Some("recovered"));

        let again = recover(&archive).unwrap();
        assert_eq!(again, crate::archive::RecoverReport::default(), "cut at {nth}: done twice");
        if !cut {
            break;
        }
        nth += 1;
    }
    assert!(nth > 60, "only {nth} steps were cut");
}

#[test]
fn wherever_a_recovery_is_cut_the_next_one_finishes_it() {
    let mut nth = 1;
    loop {
        let dir = quick_dir();
        let sim = SimDisk::new();
        let disk: Arc<dyn Disk> = Arc::new(sim.clone());
        let archive = Archive::create_or_open_on(Arc::clone(&disk), dir.path(), "").unwrap();
        let mut header = header(1);
        archive.begin_session(&mut header).unwrap();
        let messages = messages(&header, 48);
        record(&disk, &archive, &header, &messages, 10_000);
        sim.power_off_at(nth);
        let cut = recover(&archive).is_err();
        sim.crash(nth);
        restore(&sim, dir.path());
        let archive = Archive::open(dir.path()).unwrap();
        recover(&archive).unwrap();
        assert_same(&header, &rows(&archive, &ScanOptions::default()), &messages);
        let verified = verify(&archive, VerifyOptions::default()).unwrap();
        assert!(verified.is_content() && verified.leftovers.is_empty(), "cut at {nth}: {verified:?}");
        if !cut {
            break;
        }
        nth += 1;
    }
}
