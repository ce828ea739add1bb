//! What is left of a device after `erase`, as programs see it that know nothing of ours.

use std::fs;
use std::path::Path;
use std::process::Command;

use telereel::archive::{Archive, Clip, Mark};

use super::support::python::{python, scripts};
use super::support::telereel;
use super::{START_US, analyse, files, header, journal, json, recorded, segments};

/// The lock number 3, and one whose number is longer.
const LOCK: &str = "8200123403";

/// Where somebody who reads bytes, columns and tables finds a text.
fn searched(folder: &Path, text: &str) -> Vec<String> {
    let output = Command::new(python())
        .arg(scripts().join("erased.py"))
        .args([folder.join("archive").to_str().unwrap(), text])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn an_erased_device_is_nowhere_and_the_others_are_as_they_were() {
    let folder = recorded(6_000);
    let archive = Archive::open(folder.path().join("archive")).unwrap();
    let session_id = archive.resolve("walk").unwrap().session_id;
    let note = |n: u64| format!("{LOCK}{} was opened", "9".repeat(n as usize));
    for n in 0..2 {
        archive.add_mark(session_id, Mark { elapsed_ns: n, at_us: START_US, note: note(n) }).unwrap();
    }
    let clip = Clip { name: "fall".into(), seq_from: 1_000, seq_to: 2_000, note: Some(note(0)) };
    archive.add_clip(session_id, clip).unwrap();
    fs::write(folder.path().join("archive/devices.csv"), format!("id,room\n{LOCK},Hall\n1,Bath\n")).unwrap();
    // What a crash left is searched as well.
    journal(&archive, header(2, "cut", START_US + 86_400_000_000), 300, 30_000);

    let places = searched(folder.path(), LOCK);
    for place in ["devices.csv", "index.sqlite", "journal/", "sessions/", "kind=location"] {
        assert!(places.iter().any(|path| path.contains(place)), "{place}: {places:?}");
    }
    telereel(folder.path(), &["recover"], 0);
    let places = searched(folder.path(), LOCK);
    let args = ["erase", "--device", LOCK];
    telereel(folder.path(), &args, 2);
    let held = archive.lock().unwrap();
    telereel(folder.path(), &[&args[..], &["--yes"]].concat(), 1);
    drop(held);
    assert_eq!(
        searched(folder.path(), LOCK),
        places,
        "nothing is changed without a yes, or beside a recorder"
    );

    let (before, cat) = (segments(folder.path()), telereel(folder.path(), &["cat", "walk"], 0));
    let would = telereel(folder.path(), &[&args[..], &["--dry-run"]].concat(), 0);
    assert_eq!(telereel(folder.path(), &["cat", "walk"], 0), cat, "a dry run changes nothing");
    assert!(would.contains("would erase walk:") && would.contains("a dry run"), "{would}");

    let done = json(folder.path(), &[&args[..], &["--yes", "--json"]].concat());
    assert_eq!((&done["proof"]["whole"], &done["proof"]["found"]), (&true.into(), &serde_json::json!([])));
    let erased = cat.lines().filter(|line| line.contains(LOCK)).count() as u64;
    assert_eq!((&done["sessions"][0]["messages"], erased > 500), (&erased.into(), true), "{done}");
    assert_eq!(done["sessions"][1]["session"], "cut", "{done}");
    assert!(!done.to_string().contains(LOCK), "what is said of it does not name it");

    let left = searched(folder.path(), LOCK);
    let longer = |path: &String| path.starts_with("sessions/") || path == "index.sqlite";
    assert!(!left.is_empty() && left.iter().all(longer), "only the mark of a longer number: {left:?}");
    assert_eq!(searched(folder.path(), &format!("{LOCK}9")), left);
    telereel(folder.path(), &["verify"], 0);
    assert_eq!(segments(folder.path()), before, "each file by itself");
    let stays: Vec<&str> = cat.lines().filter(|line| !line.contains(LOCK)).collect();
    assert!(telereel(folder.path(), &["cat", "walk"], 0).lines().eq(stays));
    let numbers = analyse(folder.path(), "rows");
    assert_eq!(numbers["walk_rows"], 6_000 - erased);
    assert_eq!(fs::read_to_string(folder.path().join("archive/devices.csv")).unwrap(), "id,room\n1,Bath\n");
    assert_eq!(files(&folder.path().join("archive/tmp")).len(), 0);

    telereel(folder.path(), &["compact"], 0);
    telereel(folder.path(), &["verify"], 0);
    assert_eq!(analyse(folder.path(), "rows"), numbers);
    let again = telereel(folder.path(), &[&args[..], &["--yes"]].concat(), 0);
    assert!(again.contains("nothing to erase") && again.contains("nothing is left"), "{again}");

    // Left by somebody, it is found and named.
    fs::write(folder.path().join("archive/notes.txt"), format!("about {LOCK}.")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_telereel"))
        .args([&args[..], &["--yes"]].concat())
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("notes.txt: its bytes"), "{said}");
}

#[test]
fn a_room_goes_for_a_time() {
    let folder = recorded(2_000);
    // An hour, in UTC: all of it is before, but for the last minutes.
    let stretch = ["--from", "2026-01-11T00:00:00Z", "--to", "2026-01-11T00:05:00Z"];
    let args = [&["erase", "--source", "rooms", "--yes"], &stretch[..]].concat();
    let rooms = |filters: &[&str]| {
        let cat = [&["cat", "walk", "--source", "rooms"], filters].concat();
        telereel(folder.path(), &cat, 0).lines().count()
    };
    let (all, within) = (rooms(&[]), rooms(&stretch));
    assert!(within > 50 && within < all, "{within} of {all}");
    let said = telereel(folder.path(), &args, 0);
    assert!(said.contains(&format!("erased walk: {within} messages (reading {within})")), "{said}");
    assert!(said.contains("for what the filter selects: nothing is left"), "{said}");
    assert_eq!(rooms(&[]), all - within);
    telereel(folder.path(), &["verify"], 0);
    analyse(folder.path(), "rows");
    // By a condition, and in a session.
    let args = ["erase", "walk", "--where", "speed_kmh > 50", "--yes"];
    telereel(folder.path(), &args, 0);
    assert!(telereel(folder.path(), &args, 0).contains("nothing to erase"));
    // Nothing is selected any more, which is an error there.
    telereel(folder.path(), &["cat", "walk", "--where", "speed_kmh > 50"], 1);
    telereel(folder.path(), &["verify"], 0);
    let numbers = analyse(folder.path(), "rows");
    assert_eq!(numbers["readings"], all - within);
    for refused in [
        &["erase"][..],
        &["erase", "walk"],
        &["erase", "--device", "", "--yes"],
        &["erase", "--from", "+1s", "--yes"],
        &["erase", "walk", "--from", "+2s", "--to", "+1s", "--yes"],
    ] {
        telereel(folder.path(), refused, 2);
    }
}
