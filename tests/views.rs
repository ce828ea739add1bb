//! The views over an archive, asked by DuckDB: outages as link events tell of them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation fails the test")]

mod support;

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use support::python::python;
use telereel::archive::{Archive, seal};
use telereel::clock::{Clock, ManualClock, Now};
use telereel::journal::{JournalOptions, Sync, start};
use telereel::message::{COMMON_KINDS, KindHeader, Message, SessionHeader, SessionId, SourceHeader};

const START: Now = Now { wall_us: 1_795_391_990_000_000, steady_ns: 1_000_000_000 };

/// An archive with a session of these link events, a second after another: source, and payload.
fn archive_of(root: &std::path::Path, events: &[(u16, serde_json::Value)]) {
    let archive = Archive::create_or_open(root, "").unwrap();
    let kinds = COMMON_KINDS.iter().map(|name| KindHeader { name: (*name).into(), declaration: None });
    let source = |name: &str| SourceHeader {
        name: name.into(),
        vendor: "generic".into(),
        kinds: kinds.clone().collect(),
        settings: serde_json::json!({}),
    };
    let mut header = SessionHeader {
        session_id: SessionId::new(START.wall_us, [1; 10]),
        name: "walk".into(),
        site: String::new(),
        started_at_us: START.wall_us,
        sources: vec![source("shop"), source("ward")],
    };
    archive.begin_session(&mut header).unwrap();
    let link = COMMON_KINDS.iter().position(|kind| *kind == "link").unwrap() as u16;
    let options = JournalOptions {
        dir: archive.layout().journal(),
        sync_interval: Duration::ZERO,
        part_max_bytes: 1 << 20,
        part_max_age: Duration::from_secs(3_600),
        queue_max_bytes: 1 << 20,
        min_free_disk: 0,
    };
    let clock = Clock::Manual(Arc::new(ManualClock::at(START)));
    let (mut journal, handle) =
        start(Arc::clone(archive.disk()), clock, options, header.clone(), START.steady_ns).unwrap();
    let parts = journal.closed_parts().unwrap();
    for (second, (source, payload)) in (0_u64..).zip(events) {
        let at = Now {
            wall_us: START.wall_us + second as i64 * 1_000_000,
            steady_ns: START.steady_ns + second * 1_000_000_000,
        };
        let message = Message {
            source: *source,
            kind: link,
            connection: 0,
            at,
            channel: "link".into(),
            mqtt: None,
            is_binary: false,
            headers: None,
            duplicate_of: None,
            payload: payload.to_string().into(),
            clear: None,
        };
        handle.try_append(message, Sync::Later).unwrap();
    }
    journal.close().unwrap();
    for part in parts.iter() {
        seal(&archive, &part).unwrap();
    }
    archive.end_session(header.session_id, START.wall_us + events.len() as i64 * 1_000_000).unwrap();
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
    let of = |source: u16, event: &str, more: serde_json::Value| {
        let mut payload = more;
        payload["event"] = event.into();
        (source, payload)
    };
    let (shop, a, b) =
        (|| serde_json::json!({}), || serde_json::json!({"sn": "a"}), || serde_json::json!({"sn": "b"}));
    let over = |planned: bool| serde_json::json!({"sn": "b", "flowing": true, "planned": planned});
    archive_of(
        folder.path(),
        &[
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

    let info = support::telereel(folder.path(), &["--archive", ".", "info", "walk", "--json"], 0);
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
