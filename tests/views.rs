//! The views over an archive, asked by DuckDB, and the example questions, asked in every way that their page shows.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation fails the test")]

#[path = "views/documented.rs"]
mod documented;
#[path = "views/home.rs"]
mod home;
#[path = "views/recording.rs"]
mod recording;
mod support;

use std::path::Path;
use std::process::Command;

use recording::{End, Recording, Said};
use support::python::{python, scripts};

/// 2026-11-22T23:59:50Z
const START_US: i64 = 1_795_391_990_000_000;

/// An archive with a session of these link events, a second after another.
fn archive_of(root: &Path, events: Vec<(&'static str, &str, serde_json::Value)>) {
    let ended_at_us = START_US + events.len() as i64 * 1_000_000;
    let said = |(second, (source, event, more)): (i64, _)| {
        Said::link(START_US + second * 1_000_000, source, event, more)
    };
    Recording {
        site: "",
        started_at_us: START_US,
        sources: &[("shop", "generic"), ("ward", "generic")],
        messages: (0..).zip(events).map(said).collect(),
        end: End::Stopped(ended_at_us),
    }
    .write(root);
}

const OUTAGES: &str = "
import duckdb, os, sys
os.chdir(sys.argv[1])
duckdb.sql(open('views/duckdb.sql').read())
rows = duckdb.sql('''
    SELECT source, coalesce(device_id, '-'), epoch(started_at - (SELECT min(received_at) FROM generic_link))::INT,
        duration_s, planned
    FROM outages ORDER BY started_at
''').fetchall()
for row in rows:
    print(*row)
";

#[test]
fn an_outage_is_a_sensors_or_a_sources_and_a_hand_over_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let of = |source: usize, event: &'static str, more| (["shop", "ward"][source], event, more);
    let (shop, a, b) =
        (|| serde_json::json!({}), || serde_json::json!({"sn": "a"}), || serde_json::json!({"sn": "b"}));
    let over = |planned: bool| serde_json::json!({"sn": "b", "flowing": true, "planned": planned});
    archive_of(
        folder.path(),
        vec![
            of(0, "connecting", shop()),
            of(1, "connecting", a()),
            of(1, "connecting", b()),
            of(1, "refused", a()),
            of(0, "connected", shop()),
            of(1, "connected", b()),
            of(1, "subscribed", b()),
            of(1, "connecting", a()),
            of(1, "connected", a()),
            of(1, "reconnected", a()),
            // One hand-over that works, and one that does not, of which the sensor notices nothing.
            of(1, "connecting", over(true)),
            of(1, "connected", over(false)),
            of(1, "subscribed", over(false)),
            of(1, "disconnected", over(true)),
            of(1, "connecting", over(true)),
            of(1, "refused", over(false)),
            of(1, "renewed", serde_json::json!({"sn": "b", "flowing": true, "what": "token"})),
            // One sensor goes while the other flows.
            of(1, "disconnected", a()),
            of(0, "disconnected", shop()),
            of(0, "refused", serde_json::json!({"topics": ["x"]})),
            of(0, "reconnected", shop()),
            of(1, "connecting", a()),
        ],
    );
    let asked = Command::new(python()).args(["-c", OUTAGES]).arg(folder.path()).output().unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let found = String::from_utf8(asked.stdout).unwrap();
    // The source, its sensor, from second, for seconds.
    assert_eq!(found, "ward a 1 7.0 False\nward a 17 None False\nshop - 18 2.0 False\n");

    let info = support::telereel(folder.path(), &["--archive", ".", "info", "home", "--json"], 0);
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    let gaps: Vec<_> = info["gaps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|gap| (&gap["source"], &gap["device_id"], &gap["duration_ns"]))
        .collect();
    let seven = serde_json::json!(7_000_000_000_u64);
    assert_eq!((gaps.len(), gaps[0].2), (3, &seven), "{gaps:?}");
    assert_eq!(
        (gaps[1].0.as_str(), gaps[1].1.as_str(), gaps[1].2.is_null()),
        (Some("ward"), Some("a"), true)
    );
}

/// One sensor's reports: at which second, and who is how (target, state).
fn reports(of: &[(i64, &[(i64, i64)])], from_us: i64) -> Vec<Said> {
    let said = |(second, targets): &(i64, &[(i64, i64)])| {
        let target =
            |(id, state): &(i64, i64)| serde_json::json!({"id": id, "x": 1, "y": 2, "z": 3, "state": state});
        let targets: Vec<_> = targets.iter().map(target).collect();
        let payload = serde_json::json!({"method": "location.report", "params": targets}).to_string();
        Said::new(from_us + second * 1_000_000, "ward", "location", "/location/S", payload)
    };
    of.iter().map(said).collect()
}

/// What DuckDB answers, a line for each row.
fn ask(folder: &Path, sql: &str) -> String {
    const ASK: &str = "
import duckdb, os, sys
os.chdir(sys.argv[1])
db = duckdb.connect()
db.execute(open('views/duckdb.sql').read())
for row in db.execute(sys.argv[2]).fetchall():
    print(*row)
";
    let asked = Command::new(python()).args(["-c", ASK]).arg(folder).arg(sql).output().unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    String::from_utf8(asked.stdout).unwrap()
}

/// A program in `tests/python`, about an archive.
fn program(name: &str, args: &[&Path]) {
    let output = Command::new(python())
        .arg(scripts().join(name))
        .args(args)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name}:\n{out}\n{err}");
}

#[test]
fn a_fall_is_told_when_it_begins_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let ward: &[(&str, &str)] = &[("ward", "pontosense")];
    // START_US is ten seconds before midnight of UTC; the session goes on in another at second 20.
    let first = reports(
        &[
            (0, &[(1, 40), (2, 100)]), // at first sight
            (1, &[(1, 99), (2, 100)]),
            (2, &[(1, 99)]),
            (3, &[(1, 100), (3, 40)]), // another state: told again
            (4, &[]),
            (5, &[(1, 100), (2, 100)]), // unseen for a moment
            (9, &[(1, 100)]),
            (11, &[(1, 100)]), // over midnight
            (19, &[(1, 100)]),
        ],
        START_US,
    );
    let second = reports(
        &[
            (21, &[(1, 100)]), // over the sessions
            (22, &[(1, 40)]),
            (23, &[(1, 99)]),
            (83, &[(1, 99)]),
            (144, &[(1, 99)]), // unseen for longer than a minute
        ],
        START_US,
    );
    let end_us = |second: i64| START_US + second * 1_000_000;
    for (started_at_us, messages, end) in [
        (START_US - 1_000_000, first, End::Stopped(end_us(20))),
        (end_us(20), second, End::Stopped(end_us(200))),
    ] {
        Recording { site: "", started_at_us, sources: ward, messages, end }.write(folder.path());
    }
    let seconds = format!("CAST((epoch_us(raised_at) - {START_US}) / 1000000 AS INTEGER)");
    let falls = |of: &str| {
        ask(
            folder.path(),
            &format!("SELECT {seconds}, target_id, alarm_code, alarm_name FROM alarms {of} ORDER BY ALL"),
        )
    };
    let (before, after) = (
        "0 2 100 fall\n1 1 99 suspected fall\n3 1 100 fall\n",
        "23 1 99 suspected fall\n144 1 99 suspected fall\n",
    );
    assert_eq!(falls(""), format!("{before}{after}"));
    // Each day by itself tells the same.
    assert_eq!(falls("WHERE \"date\" = DATE '2026-11-22'"), before);
    assert_eq!(falls("WHERE \"date\" = DATE '2026-11-23'"), after);
    // The second session began when the first had ended.
    assert_eq!(ask(folder.path(), "SELECT * FROM outages"), "");
}

#[test]
fn where_no_recorder_ran_is_an_outage_of_its_own_sort() {
    let folder = tempfile::tempdir().unwrap();
    let at = |second: i64| START_US + second * 1_000_000;
    let both: &[(&str, &str)] = &[("shop", "generic"), ("ward", "generic")];
    let session = |from: i64, sources, last: i64, end| Recording {
        site: "home-12",
        started_at_us: at(from),
        sources,
        messages: vec![
            Said::link(at(from), "shop", "connecting", serde_json::json!({})),
            Said::link(at(from), "shop", "connected", serde_json::json!({})),
            Said::new(at(last), "shop", "other", "/x", "{}"),
        ],
        end,
    };
    session(0, both, 5, End::Stopped(at(10))).write(folder.path());
    // Crashes after its last message; has one of the two sources.
    session(60, &both[..1], 77, End::Crashed).write(folder.path());
    session(100, both, 105, End::Stopped(at(110))).write(folder.path());
    let outages = ask(
        folder.path(),
        &format!(
            "SELECT source, CAST((epoch_us(started_at) - {START_US}) / 1000000 AS INTEGER), duration_s, planned, reason
             FROM outages ORDER BY ALL"
        ),
    );
    assert_eq!(
        outages,
        "shop 10 50.0 True not recorded\nshop 77 23.0 False not recorded\nward 10 90.0 True not recorded\n"
    );
}

#[test]
fn the_views_say_what_documented_payloads_do() {
    let folder = tempfile::tempdir().unwrap();
    documented::recording().write(folder.path());
    program("questions_views.py", &[folder.path()]);
}

#[test]
fn the_example_questions_are_answered_as_the_payloads_do() {
    let folder = tempfile::tempdir().unwrap();
    for recording in home::recordings() {
        recording.write(folder.path());
    }
    let questions = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/questions");
    program("questions.py", &[folder.path(), &questions]);
}
