//! Reading on past damaged segments, and small files that are made anew.

use std::fs;
use std::sync::Arc;

use super::support::*;
use crate::archive::*;

/// Which rows of `options` are given, and which segments were left out.
fn read(archive: &Archive, options: &ScanOptions) -> (Vec<u64>, Vec<SkippedSegment>) {
    let skipped: Arc<Skipped> = Arc::default();
    let options = ScanOptions { skipped: Some(Arc::clone(&skipped)), ..options.clone() };
    let given = scan(archive, &options).unwrap().map(|row| row.unwrap().seq).collect();
    (given, skipped.segments())
}

#[test]
fn what_is_whole_is_read_past_what_is_damaged_and_what_is_missing_is_counted() {
    let dir = quick_dir();
    let (archive, header, messages) = sealed(dir.path(), 60);
    let all = ScanOptions::default();
    assert_eq!(read(&archive, &all), ((0..60).collect(), Vec::new()));
    let manifests = archive.read_manifests().unwrap();
    let file = manifests[1].files.iter().find(|file| file.kind == "location").unwrap();
    let path = dir.path().join(&file.path);
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[100] ^= 1;
    let is_of = |seq: &u64| (file.seq_min..=file.seq_max).contains(seq) && [1, 5].contains(&(seq % 6));
    let left: Vec<u64> = (0..60).filter(|seq| !is_of(seq)).collect();
    assert_eq!(60 - left.len() as u64, file.rows);
    for damage in [Some(flipped), Some(whole[..whole.len() - 9].to_vec()), None] {
        match &damage {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let error = scan(&archive, &all).unwrap().find_map(Result::err).unwrap().to_string();
        assert!(error.contains(&file.path) && error.contains("--skip-damaged"), "{error}");
        let (given, skipped) = read(&archive, &all);
        assert_eq!(given, left);
        let [one] = &skipped[..] else { panic!("{skipped:?}") };
        assert_eq!((&one.path, one.messages), (&file.path, file.rows));
        // A bound that lies in it is found among the others.
        let bounds =
            ScanOptions { from: Some(Bound::Elapsed((file.seq_min + 1) * 100_000_000)), ..all.clone() };
        assert_eq!(read(&archive, &bounds).0[0], *left.iter().find(|seq| **seq > file.seq_min).unwrap());
        let info = archive.info(header.session_id).unwrap();
        assert_eq!(info.unreadable.len(), 1, "{:?}", info.unreadable);
        let (wanted, skipped) = (StatsOptions::default(), Some(Arc::<Skipped>::default()));
        assert!(stats(&archive, &all, &wanted, &|_| ()).is_err());
        let options = ScanOptions { skipped: skipped.clone(), ..all.clone() };
        assert_eq!(stats(&archive, &options, &wanted, &|_| ()).unwrap().messages, left.len() as u64);
        assert_eq!(skipped.unwrap().segments()[0].messages, file.rows);
    }
    fs::write(&path, whole).unwrap();
    assert_same(&header, &rows(&archive, &all), &messages);
    // All of a part, where its manifest is damaged.
    fs::write(archive.layout().manifest(manifests[1].name()), "{").unwrap();
    let (given, skipped) = read(&archive, &all);
    let of_part = manifests[1].seq_start..manifests[1].seq_end;
    assert_eq!(given, (0..60).filter(|seq| !of_part.contains(seq)).collect::<Vec<_>>());
    assert_eq!(skipped.iter().map(|one| one.messages).sum::<u64>(), manifests[1].rows);
}

#[test]
fn a_sidecar_is_made_of_what_the_index_has_and_else_of_the_segments() {
    for has_index in [true, false] {
        let dir = quick_dir();
        let (archive, header, _) = sealed(dir.path(), 60);
        let id = header.session_id;
        let clip = Clip { name: "fall".into(), seq_from: 3, seq_to: 9, note: None };
        archive.add_clip(id, clip).unwrap();
        let before = archive.read_sidecar(id).unwrap().unwrap();
        fs::write(archive.layout().sidecar(id), "{").unwrap();
        if !has_index {
            fs::remove_file(archive.layout().index()).unwrap();
        }
        let report = recover(&archive).unwrap();
        assert!(report.has_loss() && report.mended.len() == 1, "{report:?}");
        let after = archive.read_sidecar(id).unwrap().unwrap();
        assert_eq!((&after.name, &after.site, after.messages), (&before.name, &before.site, before.messages));
        assert_eq!(after.started_at_us, before.started_at_us);
        let names = |sidecar: &Sidecar| {
            let mut names: Vec<_> =
                sidecar.sources.iter().map(|s| (s.name.clone(), s.vendor.clone())).collect();
            names.sort();
            names
        };
        assert_eq!(names(&after), names(&before));
        assert_eq!(after.clips, if has_index { before.clips } else { Vec::new() });
        archive.remove_session(archive.resolve("walk").unwrap().session_id).unwrap();
        assert!(
            verify(&archive, VerifyOptions::default()).unwrap().is_content(),
            "what was set aside is gone, too"
        );
    }
}

#[test]
fn an_archive_without_its_description_is_verified_all_the_same() {
    let dir = quick_dir();
    drop(sealed(dir.path(), 12));
    assert!(Archive::open_damaged(dir.path()).unwrap().1.is_none());
    fs::write(dir.path().join("archive.json"), "{").unwrap();
    let (archive, problem) = Archive::open_damaged(dir.path()).unwrap();
    let said = problem.unwrap().to_string();
    assert!(said.contains("archive.json") && said.contains("telereel recover"), "{said}");
    assert!(verify(&archive, VerifyOptions::default()).unwrap().is_content());
    assert!(matches!(Archive::open_damaged(dir.path().join("no")), Err(ArchiveError::Missing { .. })));
}
