//! `stats` against the Parquet files: every figure is computed again by a naive reader (DuckDB and plain Python).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation fails the test")]

#[path = "views/documented.rs"]
mod documented;
#[path = "views/recording.rs"]
mod recording;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use documented::START_US;
use recording::{End, Recording, Said};
use serde_json::{Value, json};
use support::python::{python, scripts};
use support::telereel;

const YEAR_US: i64 = 365 * 86_400_000_000;

/// A sensor whose name is made to break out of whatever it is put into.
const SENSOR: &str = "<b>&\"'\u{1}\u{1b}[2J";

/// The documented messages of five vendors with outages among them; and six years before them once more, when their
/// own times were in the future.
fn archive(root: &Path) {
    for (shift_us, names) in [(-6 * YEAR_US, "early"), (0, "late")] {
        let mut of = documented::recording();
        let at = |second: i64| START_US + second * 1_000_000;
        for (second, source, event, more) in [
            (0, "locks", "connecting", json!({})),
            (1, "locks", "connected", json!({})),
            (13, "locks", "disconnected", json!({"reason": "<&> \u{2}gone"})),
            (17, "locks", "reconnected", json!({})),
            (25, "locks", "disconnected", json!({"planned": true})),
            (26, "locks", "connected", json!({})),
            (30, "ward", "connected", json!({"sn": SENSOR})),
            (33, "ward", "disconnected", json!({"sn": SENSOR})),
        ] {
            of.messages.push(Said::link(at(second), source, event, more));
        }
        // Not JSON, and long.
        of.messages.push(Said::new(at(40), "locks", "location", "x", "{".repeat(5_000)));
        of.messages.iter_mut().for_each(|said| said.at_us += shift_us);
        Recording {
            started_at_us: START_US + shift_us,
            end: if shift_us < 0 { End::Crashed } else { End::Stopped(START_US + 600_000_000) },
            ..of
        }
        .write(root);
        telereel(root, &["--archive", ".", "rename", "latest", names], 0);
    }
}

fn stats(root: &Path, args: &[&str]) -> Value {
    let args: Vec<&str> = ["--archive", ".", "stats", "--json"].iter().chain(args).copied().collect();
    serde_json::from_str(&telereel(root, &args, 0)).unwrap()
}

fn sum(groups: &Value, of: &str) -> u64 {
    groups.as_array().unwrap().iter().map(|group| group[of].as_u64().unwrap()).sum()
}

#[test]
fn the_figures_are_those_of_the_files() {
    let folder = tempfile::tempdir().unwrap();
    archive(folder.path());
    telereel(
        folder.path(),
        &["--archive", ".", "clip", "late", "middle", "--from", "+10s", "--to", "+30s"],
        0,
    );
    let output = Command::new(python())
        .arg(scripts().join("stats.py"))
        .args([env!("CARGO_BIN_EXE_telereel"), "."])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(folder.path())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
}

#[test]
fn what_is_in_groups_is_the_whole_and_devices_are_their_groups() {
    let folder = tempfile::tempdir().unwrap();
    archive(folder.path());
    let mut all = None;
    for top in ["1000", "3", "1"] {
        let found = stats(folder.path(), &["--by", "device", "--top", top]);
        for of in ["messages", "bytes"] {
            assert_eq!(sum(&found["groups"], of), found[of].as_u64().unwrap());
            assert_eq!(sum(&found["devices"], of), found[of].as_u64().unwrap());
        }
        let devices = found["devices"].as_array().unwrap();
        let named = devices.iter().filter(|device| !device["device_id"].is_null()).count();
        let told: u64 = devices.iter().filter_map(|device| device["others"].as_u64()).sum();
        assert!(named <= top.parse().unwrap(), "{named} of {top}");
        let all = *all.get_or_insert(named as u64);
        assert_eq!((named as u64 + told, told > 0, all > 10), (all, top != "1000", true), "{top}");
        for group in found["groups"].as_array().unwrap() {
            let of_group =
                |device: &&Value| device["source"] == group["source"] && device["kind"] == group["kind"];
            for of in ["messages", "bytes", "without_event_at", "decode_errors", "duplicates"] {
                let sum: u64 =
                    devices.iter().filter(of_group).map(|device| device[of].as_u64().unwrap()).sum();
                assert_eq!(sum, group[of].as_u64().unwrap(), "{of} of {group}");
            }
        }
    }
}

#[test]
fn a_reel_and_a_clip_have_the_figures_of_what_they_are_of() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    archive(root);
    telereel(root, &["--archive", ".", "clip", "late", "part", "--from", "+10s", "--to", "+30s"], 0);
    let elsewhere = tempfile::tempdir().unwrap();
    let reel = elsewhere.path().join("late.reel");
    let reel = reel.to_str().unwrap();
    telereel(root, &["--archive", ".", "export", "late", "--to", reel], 0);
    let mut of_reel = stats(root, &[reel]);
    let of_session = stats(root, &["late"]);
    // Here, this recording had no declaration of what else Pontosense sends, and a reel has.
    let declared = |found: &Value| {
        let groups = found["groups"].as_array().unwrap().iter();
        groups.filter(|group| group["kind"] != "other").cloned().collect::<Vec<_>>()
    };
    assert_eq!(declared(&of_reel), declared(&of_session));
    assert_eq!(of_reel["sources"], of_session["sources"]);
    assert_eq!(of_reel["sessions"].take(), of_session["sessions"]);
    let of_clip = stats(root, &["part"]);
    let by_time = stats(root, &["late", "--from", "+10s", "--to", "+30s"]);
    assert_eq!((&of_clip["messages"], &of_clip["recorded_us"]), (&by_time["messages"], &json!(20_000_000)));
    assert!(of_clip["messages"].as_u64().unwrap() > 10);
    for (clip, by_time) in
        of_clip["groups"].as_array().unwrap().iter().zip(by_time["groups"].as_array().unwrap())
    {
        for of in ["source", "kind", "messages", "bytes", "payload_bytes", "lag_us", "silence_max_us", "rate"]
        {
            assert_eq!(clip[of], by_time[of]);
        }
    }
}

#[test]
fn an_empty_selection_says_what_there_is_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    archive(folder.path());
    let refused = |args: &[&str], code: i32| {
        let output = Command::new(env!("CARGO_BIN_EXE_telereel"))
            .args(["--archive", ".", "stats"])
            .args(args)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(code), true), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let told = refused(&["late", "--plot", "views/x.svg"], 2);
    assert!(told.contains("--plot views/x.svg is within the archive"), "{told}");
    let elsewhere = tempfile::tempdir().unwrap();
    let plot = elsewhere.path().join("x.svg");
    let told = refused(&["late", "--kind", "alarms", "--plot", plot.to_str().unwrap()], 1);
    assert!(told.contains("did you mean `alarm`") && told.contains("there is:"), "{told}");
    assert!(!plot.exists());
    let told = refused(&["early", "late", "--bucket", "1s"], 2);
    assert!(told.contains("2000") && told.contains("d`"), "{told}");
    let told = refused(&["--from", "+10s"], 2);
    assert!(told.contains("which session"), "{told}");
}

/// Some segment of a kind.
fn segment(folder: &Path) -> PathBuf {
    let dates = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let date = dates.filter(|date| !date.ends_with("date=1970-01-01")).max().unwrap();
    fs::read_dir(date).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn of_a_damaged_segment_nothing_is_guessed() {
    let folder = tempfile::tempdir().unwrap();
    archive(folder.path());
    let path = segment(&folder.path().join("data/vendor=jointech/kind=alarm"));
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, bytes).unwrap();
    let args = ["--archive", ".", "stats", "late"];
    assert_eq!(telereel(folder.path(), &args, 1), "");
    telereel(folder.path(), &["--archive", ".", "stats", "late", "--kind", "location"], 0);
}

#[test]
fn people_read_tables() {
    let folder = tempfile::tempdir().unwrap();
    archive(folder.path());
    let told = telereel(folder.path(), &["--archive", ".", "stats", "late"], 0);
    let columns = "source  kind              messages      rate    peak  silence";
    assert!(told.lines().any(|line| line == columns), "{told}");
    // It is no terminal: no colours, no pictures.
    assert!(
        told.lines().all(|line| line.is_ascii() || line.contains('µ')) && !told.contains('\u{1b}'),
        "{told}"
    );
    let told =
        telereel(folder.path(), &["--archive", ".", "stats", "late", "--by", "device", "--top", "2"], 0);
    // In the table of rates and in that of sizes.
    assert_eq!(told.lines().filter(|line| line.contains(" others ")).count(), 2, "{told}");
    telereel(folder.path(), &["--archive", ".", "stats", "late", "--plot", "x.png"], 2);
    assert!(!folder.path().join("x.png").exists());
}
