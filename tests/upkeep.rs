//! Upkeep by the real binary: what an analyst reads afterwards is what a naive reader of the payloads computes, and
//! a kill at any moment costs nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation fails the test"
)]

#[path = "upkeep/erased.rs"]
mod erased;
#[path = "upkeep/killed.rs"]
mod killed;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use support::python::{python, scripts};
use support::{copy_folder, telereel};
use telereel::archive::{Archive, seal};
use telereel::clock::{Clock, ManualClock, Now};
use telereel::decode::builtin;
use telereel::journal::{JournalOptions, Sync, start};
use telereel::message::{COMMON_KINDS, KindHeader, Message, SessionHeader, SessionId, SourceHeader};

/// 2026-01-10T23:58:00Z: sessions go on after midnight.
const START_US: i64 = 1_768_089_480_000_000;

/// A generic kind with one column, and a newer declaration of it with another, and the first of another type.
const READING: &str = "kind = \"reading\"\nmeaning = \"A reading.\"\nmatch = { path = \"t\" }\n\n[[field]]\n\
    name = \"temperature_c\"\nid = 100\ntype = \"int32\"\nunit = \"°C\"\npath = \"t\"\nrole = \"measurement\"\n\
    meaning = \"Of the air.\"\n";
const READING_NEWER: &str = "kind = \"reading\"\nmeaning = \"A reading.\"\nmatch = { path = \"t\" }\n\
    device_id = [\"sensor\"]\n\n[[field]]\nname = \"sensor\"\nid = 101\ntype = \"string\"\npath = \"id\"\n\
    role = \"identifier\"\nmeaning = \"The sensor.\"\n\n[[field]]\nname = \"humidity_percent\"\nid = 102\n\
    type = \"double\"\nunit = \"%\"\npath = \"h\"\nrole = \"measurement\"\nmeaning = \"Of the air.\"\n";

fn header(n: u8, name: &str, started_at_us: i64) -> SessionHeader {
    let common = || COMMON_KINDS.iter().map(|name| KindHeader { name: (*name).into(), declaration: None });
    let own = builtin("jointech").unwrap().iter();
    let own = own.map(|(name, text)| KindHeader { name: (*name).into(), declaration: Some((*text).into()) });
    let reading = KindHeader { name: "reading".into(), declaration: Some(READING.into()) };
    let source = |name: &str, vendor: &str, kinds: Vec<KindHeader>| SourceHeader {
        name: name.into(),
        vendor: vendor.into(),
        kinds,
        settings: serde_json::json!({}),
    };
    SessionHeader {
        session_id: SessionId::new(started_at_us, [n; 10]),
        name: name.into(),
        site: "home-12".into(),
        started_at_us,
        sources: vec![
            source("locks", "jointech", own.filter(|kind| kind.name != "other").chain(common()).collect()),
            source("rooms", "generic", std::iter::once(reading).chain(common()).collect()),
        ],
    }
}

/// The n-th message: a location, a reading, or a link event, one each 300 ms.
fn message(header: &SessionHeader, n: u64) -> Message {
    let (source, kind, channel, payload) = match n % 8 {
        3 => (
            1,
            "reading",
            "rooms/1",
            format!("{{\"t\": {}, \"h\": {}.5, \"id\": \"s{}\"}}", n % 30, n % 90, n % 4),
        ),
        6 => (0, "link", "link", format!("{{\"event\":\"connected\",\"connection\":{n}}}")),
        _ => (0, "location", "upload/K/L/location", location(n)),
    };
    let kinds = &header.sources[source].kinds;
    Message {
        source: source as u16,
        kind: kinds.iter().position(|known| known.name == kind).unwrap() as u16,
        connection: 0,
        at: Now { wall_us: header.started_at_us + n as i64 * 300_000, steady_ns: 1 + n * 300_000_000 },
        channel: channel.into(),
        mqtt: None,
        is_binary: false,
        headers: n.is_multiple_of(5).then(|| vec![("x-n".into(), n.to_string())]),
        duplicate_of: None,
        payload: payload.into(),
        clear: None,
    }
}

fn location(n: u64) -> String {
    let speed = if n.is_multiple_of(11) { "null".to_owned() } else { (n % 97).to_string() };
    format!(
        "{{\"assetId\":\"82001234{:02}\",\"longitude\":24.9{},\"latitude\":60.1{},\"speed\":{speed},\"direction\":90,\
         \"mileage\":{n},\"gpsTime\":\"2026-01-10T22:59:49Z\",\"recvTime\":\"2026-01-10T22:59:50Z\",\"locType\":1,\
         \"battery\":{}}}",
        n % 7,
        n % 10,
        n % 9,
        n % 100
    )
}

/// Records a session of `count` messages in parts of `part_bytes`.
fn record(archive: &Archive, header: SessionHeader, count: u64, part_bytes: u64) {
    let (session_id, ended_at_us) = (header.session_id, header.started_at_us + count as i64 * 300_000);
    for part in journal(archive, header, count, part_bytes) {
        seal(archive, &part).unwrap();
    }
    archive.end_session(session_id, ended_at_us).unwrap();
}

/// The same as a crash leaves it: all of it in the journal.
fn journal(archive: &Archive, mut header: SessionHeader, count: u64, part_bytes: u64) -> Vec<PathBuf> {
    archive.begin_session(&mut header).unwrap();
    let options = JournalOptions {
        dir: archive.layout().journal(),
        sync_interval: Duration::ZERO,
        part_max_bytes: part_bytes + serde_json::to_vec(&header).unwrap().len() as u64,
        part_max_age: Duration::from_secs(1_000_000),
        queue_max_bytes: 256 << 20,
        min_free_disk: 0,
    };
    let clock = Clock::Manual(Arc::new(ManualClock::at(Now { wall_us: header.started_at_us, steady_ns: 1 })));
    let (mut journal, handle) = start(Arc::clone(archive.disk()), clock, options, header.clone(), 1).unwrap();
    let parts = journal.closed_parts().unwrap();
    for n in 0..count {
        handle.try_append(message(&header, n), Sync::Later).unwrap();
    }
    journal.close().unwrap();
    parts.iter().collect()
}

/// A folder with an archive of one session in some twenty parts.
fn recorded(count: u64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::create_or_open(folder.path().join("archive"), "home-12").unwrap();
    record(&archive, header(1, "walk", START_US), count, count * 300 / 20);
    folder
}

/// What DuckDB and PyArrow read, against what the payloads say; `gone` are the numbers that are to be missing.
fn analyse(folder: &Path, what: &str) -> serde_json::Value {
    let output = Command::new(python())
        .arg(scripts().join("upkeep.py"))
        .args([folder.join("archive").to_str().unwrap(), what])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn json(folder: &Path, args: &[&str]) -> serde_json::Value {
    serde_json::from_str(&telereel(folder, args, 0)).unwrap()
}

fn segments(folder: &Path) -> usize {
    fs::read_to_string(folder.join("archive/segments.jsonl")).unwrap().lines().count()
}

#[test]
fn compacted_archives_say_the_same_to_every_reader() {
    let folder = recorded(6_000);
    let (cat, before) = (telereel(folder.path(), &["cat", "walk"], 0), analyse(folder.path(), "rows"));
    let many = segments(folder.path());
    let would = telereel(folder.path(), &["compact", "--dry-run"], 0);
    assert!(would.contains("segments become") && segments(folder.path()) == many, "{would}");
    let done = json(folder.path(), &["compact", "--json"]);
    // Locations and link events of two days, readings of both.
    assert_eq!(done["sessions"][0]["segments_after"], 6, "{done}");
    assert_eq!((segments(folder.path()), many > 40), (6, true), "{many}");
    telereel(folder.path(), &["verify"], 0);
    assert_eq!(telereel(folder.path(), &["cat", "walk"], 0), cat);
    assert_eq!(analyse(folder.path(), "rows"), before);
    assert!(telereel(folder.path(), &["compact"], 0).contains("compact already"));
}

#[test]
fn columns_are_derived_anew_by_the_configuration() {
    let folder = recorded(2_000);
    fs::write(folder.path().join("reading.toml"), READING_NEWER).unwrap();
    fs::write(
        folder.path().join("telereel.toml"),
        "[archive]\npath = \"archive\"\n[[source]]\nname = \"rooms\"\nvendor = \"generic\"\n\
         transport = \"webhook\"\npath = \"/rooms\"\nschema = \"reading.toml\"\n",
    )
    .unwrap();
    let before = analyse(folder.path(), "rows");
    // By the archive's own declaration nothing is new.
    let done = json(folder.path(), &["compact", "--redecode", "--json"]);
    assert!(done["sessions"][0]["segments_after"].as_u64() < done["sessions"][0]["segments_before"].as_u64());
    assert_eq!(analyse(folder.path(), "rows"), before);
    assert!(telereel(folder.path(), &["compact", "--redecode"], 0).contains("compact already"));
    let done = json(folder.path(), &["-c", "telereel.toml", "compact", "--redecode", "--json"]);
    assert_eq!(done["sessions"][0]["redecoded"], 250, "the readings, and nothing else: {done}");
    telereel(folder.path(), &["verify"], 0);
    assert_eq!(analyse(folder.path(), "newer")["readings"], 250);
    let kept = fs::read_dir(folder.path().join("archive/schema/generic")).unwrap().count();
    assert_eq!(kept, 2, "the newer declaration, and the older under its checksum");
    assert!(
        telereel(folder.path(), &["-c", "telereel.toml", "compact", "--redecode"], 0).contains("already")
    );
}

#[test]
fn pruning_keeps_clips_and_link_events_and_says_what_went() {
    let folder = recorded(6_000);
    let archive = Archive::open(folder.path().join("archive")).unwrap();
    let hour_ago = Clock::System.now().wall_us - 3_600_000_000;
    record(&archive, header(2, "today", hour_ago), 400, 20_000);
    let session = archive.resolve("walk").unwrap();
    let sidecar = archive.layout().sidecar(session.session_id);
    let mut text: serde_json::Value = serde_json::from_slice(&fs::read(&sidecar).unwrap()).unwrap();
    text["clips"] = serde_json::json!([{"name": "fall", "seq_from": 1_000, "seq_to": 1_496}]);
    fs::write(&sidecar, serde_json::to_vec(&text).unwrap()).unwrap();

    let would = json(folder.path(), &["prune", "--older-than", "30d", "--json", "--dry-run"]);
    let done = json(folder.path(), &["prune", "--older-than", "30d", "--json"]);
    assert_eq!(would["messages"], done["messages"]);
    assert_eq!(done["messages"], (6_000 - 496) * 7 / 8, "all but the clip and the link events: {done}");
    telereel(folder.path(), &["verify"], 0);
    let left = analyse(folder.path(), "rows");
    assert_eq!(left["walk_rows"], 496 + (6_000 - 496) / 8);
    let removed: Vec<serde_json::Value> = manifests(folder.path())
        .iter()
        .flat_map(|path| {
            let manifest: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            manifest["removed"].as_array().cloned().unwrap_or_default()
        })
        .collect();
    assert!(!removed.is_empty() && removed.iter().all(|removed| removed["verb"] == "prune"), "{removed:?}");
    telereel(folder.path(), &["compact"], 0);
    telereel(folder.path(), &["verify"], 0);
    assert_eq!(analyse(folder.path(), "rows"), left);

    // By size, of one kind: the oldest go until the rest fits.
    let done = json(folder.path(), &["prune", "--max-bytes", "1KiB", "--kind", "location", "--json"]);
    assert!(done["messages"].as_u64() > Some(0), "{done}");
    telereel(folder.path(), &["verify"], 0);
    let named = telereel(folder.path(), &["rename", "today", "tuesday"], 0);
    assert_eq!(named, "today is now tuesday\n");
    telereel(folder.path(), &["rename", "tuesday", "walk"], 1);
    telereel(folder.path(), &["rename", "tuesday", "fall"], 1);
    telereel(folder.path(), &["rename", "tuesday", "latest"], 2);
    telereel(folder.path(), &["rm", "walk"], 2);
    assert!(telereel(folder.path(), &["rm", "walk", "--dry-run"], 0).contains("its clips fall"));
    telereel(folder.path(), &["rm", "walk", "--yes"], 0);
    telereel(folder.path(), &["verify"], 0);
    let sessions = json(folder.path(), &["list", "--json"]);
    assert_eq!((sessions.as_array().unwrap().len(), &sessions[0]["name"]), (1, &"tuesday".into()));
    let id = session.session_id.to_string();
    assert!(!files(&folder.path().join("archive")).iter().any(|path| path.to_string_lossy().contains(&id)));
}

fn is_new(path: &Path) -> bool {
    path.to_string_lossy().contains(".g1.")
}

fn is_committed(root: &Path) -> bool {
    manifests_in(root)
        .iter()
        .any(|path| fs::read_to_string(path).is_ok_and(|text| text.contains("\"generation\": 1")))
}

fn manifests(folder: &Path) -> Vec<PathBuf> {
    manifests_in(&folder.join("archive"))
}

fn manifests_in(root: &Path) -> Vec<PathBuf> {
    fs::read_dir(root.join("manifests")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// All files below a folder; those that go meanwhile are left out.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}
