//! Damage as it is told to scripts: 3 where something was done and something is not whole, 1 where nothing could be.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::support::copy_folder;
use super::{folder, run, telereel};

/// A copy of the archive that is kept of a release.
fn archive() -> TempDir {
    let folder = folder();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/archives/0.1.0");
    copy_folder(&kept, &folder.path().join("archive"));
    folder
}

/// Exit code and all that is said.
fn said(folder: &TempDir, arguments: &[&str]) -> (i32, String) {
    let (code, stdout, stderr) = run(telereel(folder).args(arguments));
    (code, stdout + &stderr)
}

/// Some file below, by the end of its name and a word in its path.
fn find(folder: &Path, word: &str, end: &str) -> PathBuf {
    let mut folders = vec![folder.to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.display().to_string().ends_with(end)
                && path.display().to_string().contains(word)
                && !path.ends_with("schema.parquet")
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found.remove(0)
}

/// One bit in the middle.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn an_archive_that_is_whole_ends_with_0() {
    let folder = archive();
    for verb in ["verify", "recover", "reindex", "verify"] {
        assert_eq!(said(&folder, &[verb]).0, 0, "{verb}: {}", said(&folder, &[verb]).1);
    }
}

#[test]
fn damage_ends_with_3_and_is_named() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage); 3] = [
        ("a segment that is gone", |path| fs::remove_file(path).unwrap()),
        ("a segment that is cut", |path| fs::write(path, "PAR1").unwrap()),
        ("a segment with a flipped bit", flip),
    ];
    for (what, damage) in cases {
        let folder = archive();
        let path = find(&folder.path().join("archive/data"), "kind=", ".parquet");
        damage(&path);
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        for verb in ["verify", "recover", "reindex", "verify"] {
            let (code, said) = said(&folder, &[verb]);
            assert!(code == 3 && said.contains(&name), "{what}, {verb}: {code} {said}");
        }
        let json: serde_json::Value =
            serde_json::from_str(&run(telereel(&folder).args(["recover", "--json"])).1).unwrap();
        assert!(json["problems"].as_array().is_some_and(|problems| !problems.is_empty()), "{what}: {json}");
    }
}

#[test]
fn a_flipped_byte_of_link_events_ends_verify_and_reindex_with_3() {
    let folder = archive();
    let path = find(&folder.path().join("archive/data"), "kind=link", ".parquet");
    flip(&path);
    for verb in ["verify", "reindex"] {
        let (code, said) = said(&folder, &[verb]);
        assert!(
            code == 3 && said.contains(path.file_name().unwrap().to_str().unwrap()),
            "{verb}: {code} {said}"
        );
    }
}

#[test]
fn a_lost_description_is_written_anew_by_recover_alone() {
    let folder = archive();
    fs::remove_file(folder.path().join("archive/archive.json")).unwrap();
    let (code, told) = said(&folder, &["verify"]);
    assert!(code == 3 && told.contains("archive.json") && told.contains("telereel recover"), "{code} {told}");
    let (code, told) = said(&folder, &["recover"]);
    assert!(code == 3 && told.contains("archive.json"), "{code} {told}");
    for verb in ["recover", "verify"] {
        assert_eq!(said(&folder, &[verb]).0, 0, "{verb}: {}", said(&folder, &[verb]).1);
    }
}

#[test]
fn an_erasure_goes_on_past_damage_and_ends_with_3() {
    let folder = archive();
    let erase = ["erase", "--device", "ATR_GN_P4-250120-09527", "--yes"];
    let damaged =
        find(&folder.path().join("archive/data/vendor=sensoro/kind=telemetry"), "date=", ".parquet");
    let mut bytes = fs::read(&damaged).unwrap();
    bytes[20] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    for again in [false, true] {
        let (code, told) = said(&folder, &erase);
        let is_named = told.contains("vendor=sensoro/kind=telemetry") && told.contains("nothing is proved");
        assert!(code == 3 && is_named && told.contains("erased documented") != again, "{code} {told}");
    }
    let (code, told) = said(&folder, &["cat", "latest", "--vendor", "pontosense", "--kind", "location"]);
    assert!(!told.contains("ATR_GN_P4-250120-09527"), "{code} {told}");
    // What is left of it goes with a stretch of time, or with its source.
    let (code, told) = said(&folder, &["erase", "--source", "the-sensoro", "--yes"]);
    assert!(code == 3 && told.contains("5 of them in damaged segments and unread"), "{code} {told}");
    assert_eq!(said(&folder, &erase).0, 0);
    assert_eq!(said(&folder, &["verify"]).0, 0);
}

#[test]
fn a_session_goes_whatever_of_it_is_damaged() {
    let folder = archive();
    let sidecar = find(&folder.path().join("archive/sessions"), "sessions", ".json");
    let manifest = find(&folder.path().join("archive/manifests"), "manifests", ".json");
    let id = sidecar.file_stem().unwrap().to_str().unwrap().to_owned();
    fs::write(&sidecar, "{").unwrap();
    fs::write(&manifest, "{").unwrap();
    let (code, told) = said(&folder, &["rm", &id, "--yes"]);
    assert!(code == 3 && told.contains("is made anew"), "{code} {told}");
    assert!(!sidecar.exists() && !manifest.exists());
    let (code, told) = said(&folder, &["verify"]);
    assert_eq!(code, 0, "{told}");
    assert_eq!(said(&folder, &["rm", &id, "--yes"]).0, 1, "there is none any more");
}

#[test]
fn upkeep_that_finds_damage_on_its_way_ends_with_3() {
    let folder = archive();
    let prune = ["prune", "--older-than", "36500d"];
    assert_eq!(said(&folder, &prune).0, 0);
    fs::remove_file(find(&folder.path().join("archive/data"), "data", ".parquet")).unwrap();
    let (code, told) = said(&folder, &prune);
    assert!(code == 3 && told.contains("missing"), "{code} {told}");
}

#[test]
fn what_removes_refuses_names_that_nothing_has() {
    let folder = archive();
    for (arguments, hint) in [
        (["erase", "--yes", "--source", "lokcs"], "there is no source `lokcs` in the archive"),
        (["erase", "--yes", "--kind", "alram"], "did you mean `alarm`?"),
        (["prune", "--older-than=1s", "--vendor", "jointec"], "did you mean `jointech`?"),
        (["prune", "--older-than=1s", "--kind", "alram"], "did you mean `alarm`?"),
    ] {
        let (code, said) = said(&folder, &arguments);
        assert!(code == 2 && said.contains(hint), "{arguments:?}: {code}, {said}");
    }
    let (code, said) = said(&folder, &["prune", "--older-than=1s", "--kind", "link", "--dry-run"]);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn a_lost_manifest_is_made_anew_and_a_damaged_segment_is_read_past() {
    let folder = archive();
    let manifest = find(&folder.path().join("archive/manifests"), "", ".json");
    fs::remove_file(&manifest).unwrap();
    let (code, said_of_it) = said(&folder, &["verify"]);
    assert!(code == 3 && said_of_it.contains("telereel recover"), "{said_of_it}");
    let (code, said_of_it) = said(&folder, &["recover"]);
    assert!(code == 3 && said_of_it.contains("is made anew"), "{said_of_it}");
    assert_eq!(said(&folder, &["verify"]).0, 0);
    fs::remove_file(&manifest).unwrap();
    let (code, said_of_it) = said(&folder, &["reindex"]);
    assert!(code == 3 && said_of_it.contains("is made anew"), "{said_of_it}");
    assert_eq!(said(&folder, &["verify"]).0, 0);

    let segment = find(&folder.path().join("archive/data"), "kind=location", ".parquet");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[40] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let name = segment.file_name().unwrap().to_str().unwrap();
    let session = &name[..36];
    let out = folder.path().join("out.jsonl").display().to_string();
    let export = ["export", session, "--to", &out];
    for reading in [&["cat", session][..], &["stats", session], &export] {
        let (code, said_of_it) = said(&folder, reading);
        assert!(code == 1 && said_of_it.contains("--skip-damaged"), "{reading:?}: {code} {said_of_it}");
        let (code, said_of_it) = said(&folder, &[reading, &["--skip-damaged"]].concat());
        assert!(code == 3 && said_of_it.contains(name), "{reading:?}: {code} {said_of_it}");
    }
    let (code, said_of_it) = said(&folder, &[&["--json"], &export[..], &["--skip-damaged"]].concat());
    assert!(code == 3 && said_of_it.contains("\"skipped\""), "{said_of_it}");
    let (code, said_of_it) = said(&folder, &["info", session]);
    assert!(code == 3 && said_of_it.contains(name), "{said_of_it}");

    fs::write(folder.path().join("archive/archive.json"), "{").unwrap();
    let (code, said_of_it) = said(&folder, &["verify"]);
    assert!(code == 3 && said_of_it.contains("archive.json"), "{said_of_it}");
}
