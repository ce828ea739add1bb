//! What readers get from the files alone: what columns mean, how they are encoded, how small they are, how fast one
//! device's day is found. Asked of PyArrow and DuckDB.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation fails the test")]

#[path = "../benches/session/mod.rs"]
mod session;
mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use session::{month, simulated};
use support::python::{python, scripts};
use telereel::clock::{Clock, Now};
use telereel::vendors::synthetic::Trips;
use telereel::vendors::synthetic::load::{APP_ID, Part, SENSORO_PATH, rows};

/// 2026-11-02T06:00:00Z.
const START_US: i64 = 1_793_599_200_000_000;

fn ask(script: &str, folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(python());
    command
        .arg(scripts().join(script))
        .args(arguments)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(folder);
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}:\n{out}\n{err}");
    out.into_owned()
}

/// Records `count` messages of ten devices.
fn recorded(root: &Path, part: Part, count: usize) {
    let part = part.with_devices(10);
    let header = simulated::header("walk", 1, START_US, std::slice::from_ref(&part));
    let started = Now { wall_us: START_US, steady_ns: Clock::System.now().steady_ns };
    let stream = rows(vec![part], 1, header.session_id, START_US, None).take(count);
    let messages: Vec<_> =
        simulated::arrivals(&header, started, 0, stream).collect::<Result<_, _>>().unwrap();
    session::store(root, header, started, messages.into_iter()).unwrap();
}

/// One of each vendor, in the vendor's usual mode.
fn vendors() -> Vec<Part> {
    let mut parts: Vec<_> =
        Part::all().into_iter().filter(|p| !matches!(&*p.name, "sensoro" | "jointech-push")).collect();
    parts.push(Part::nodes("sensoro", APP_ID.to_owned(), None, SENSORO_PATH.to_owned()));
    parts
}

#[test]
fn files_tell_what_columns_mean_and_are_encoded_for_their_use() {
    let folder = tempfile::tempdir().unwrap();
    for part in vendors() {
        recorded(folder.path(), part, 4_000);
    }
    ask("layout.py", folder.path(), &["."]);
}

/// As it was sealed, before it is written anew to stay.
#[test]
fn an_archive_is_smaller_than_json_lines_and_with_typed_columns_about_as_small_as_mcap() {
    let folder = tempfile::tempdir().unwrap();
    for part in vendors() {
        let name = part.name.clone();
        recorded(&folder.path().join(&name), part, 50_000);
        let found = ask("sizes.py", folder.path(), &[env!("CARGO_BIN_EXE_telereel"), &name, &name]);
        let found: serde_json::Value = serde_json::from_str(&found).unwrap();
        assert_eq!(found["rows"], 50_000);
        assert!(found["to_json_lines"].as_f64().unwrap() <= 1.0, "{found}");
        assert!(found["to_mcap"].as_f64().unwrap() <= 1.05, "{found}");
    }
}

/// Two million rows: a day is recorded, and the other days are its copies, which takes seconds where decoding them all
/// would take a debug build a quarter of an hour. What is measured is how DuckDB finds a day of thirty and a device in it.
#[test]
fn one_device_and_one_day_of_a_month_are_found_fifty_times_faster_than_in_json_lines() {
    let folder = tempfile::tempdir().unwrap();
    // A position each 38 s while they drive.
    let part = Part::trips("trips", Trips::default()).with_devices(30).with_rate("0.9".parse().unwrap());
    let count = month::make(folder.path(), &part, 1).unwrap();
    assert!(count * month::DAYS > 1_900_000, "{count} a day");
    let kind = folder.path().join("archive/data/vendor=damoov/kind=device_update");
    let lines = folder.path().join("lines");
    let first = zstd::decode_all(fs::File::open(lines.join("2026-11-01.jsonl.zst")).unwrap()).unwrap();
    let first = String::from_utf8(first).unwrap();
    for day in 2..=month::DAYS {
        let of_day = kind.join(format!("date=2026-11-{day:02}"));
        fs::create_dir(&of_day).unwrap();
        for file in fs::read_dir(kind.join("date=2026-11-01")).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), of_day.join(file.file_name())).unwrap();
        }
        let at = |day| format!("\"received_at\":\"2026-11-{day:02}T");
        let text = first.replace(&at(1), &at(day));
        let packed = zstd::encode_all(text.as_bytes(), 3).unwrap();
        fs::write(lines.join(format!("2026-11-{day:02}.jsonl.zst")), packed).unwrap();
    }
    ask("month.py", folder.path(), &[".", "damoov", "device_update", "50"]);
}
