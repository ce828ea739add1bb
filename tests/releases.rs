//! Archives of earlier releases: `fixtures/archives/VERSION` holds one of each, of every kind, made of the documented
//! fixtures. Whatever comes later, they open, and upkeep works on them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation fails the test"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use support::python::python;
use support::{copy_folder, telereel};
use telereel::archive::{Archive, ScanOptions, scan, seal};
use telereel::clock::{Clock, ManualClock, Now};
use telereel::decode::{Declaration, declaration};
use telereel::journal::{JournalOptions, Sync, start};
use telereel::message::{COMMON_KINDS, KindHeader, Message, SessionHeader, SessionId, SourceHeader};
use telereel::vendors::kinds;

/// 2026-01-10T12:00:00Z.
const START: Now = Now { wall_us: 1_768_046_400_000_000, steady_ns: 1 };

const VENDORS: [&str; 6] = ["damoov", "delicode", "jointech", "pontosense", "sensoro", "generic"];

/// What the fixtures say: vendor, channel and payload, and the kind where nothing in the message tells.
fn fixtures() -> Vec<(&'static str, String, Option<String>, Vec<u8>)> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"));
    let mut all = Vec::new();
    for (vendor, file, channel) in [
        ("damoov", "device_update.jsonl", "/realtime/api/v1/ws/realtime"),
        ("damoov", "other.jsonl", "/realtime/api/v1/ws/realtime"),
        ("delicode", "server.jsonl", "/websocket_realtime"),
        ("delicode", "other.jsonl", "/websocket_realtime"),
        ("pontosense", "reports.jsonl", "/location/ATR_GN_P4-250120-09527"),
        ("pontosense", "other.jsonl", "/location/ATR_GN_P4-250120-09527"),
        ("generic", "frames.jsonl", "frames"),
    ] {
        for line in fs::read(root.join(vendor).join(file)).unwrap().split(|&byte| byte == b'\n') {
            let kind = if vendor == "generic" { Some("message".to_owned()) } else { None };
            if !line.is_empty() {
                all.push((vendor, channel.to_owned(), kind, line.to_vec()));
            }
        }
    }
    for (vendor, folder, channel) in
        [("jointech", "jointech/webhook", "/hooks/locks"), ("sensoro", "sensoro", "/hooks/city")]
    {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths.iter().filter(|path| path.extension().is_some_and(|e| e == "json")) {
            let stem = path.file_stem().unwrap().to_str().unwrap();
            let own = kinds(vendor).unwrap().iter().find(|kind| stem.starts_with(**kind));
            all.push((
                vendor,
                channel.to_owned(),
                own.map(|kind| (*kind).to_owned()),
                fs::read(path).unwrap(),
            ));
        }
    }
    all
}

fn source(vendor: &str) -> SourceHeader {
    let named = kinds(vendor).unwrap().iter().chain(&COMMON_KINDS);
    let kind = |name: &&str| KindHeader {
        name: (*name).to_owned(),
        declaration: declaration(vendor, name).map(str::to_owned),
    };
    SourceHeader {
        name: format!("the-{vendor}"),
        vendor: vendor.into(),
        kinds: named.map(kind).collect(),
        settings: serde_json::json!({}),
    }
}

/// The kind of a message: the one that it is said to be, the one that takes it, or `other`.
fn kind_of(source: &SourceHeader, said: Option<&str>, channel: &str, payload: &[u8]) -> u16 {
    let takes = |kind: &KindHeader| {
        let declaration = kind.declaration.as_ref().map(|text| Declaration::parse(text, &kind.name).unwrap());
        declaration.is_some_and(|declaration| declaration.matches(channel, payload))
    };
    let named = |name: &str| source.kinds.iter().position(|kind| kind.name == name);
    let found = said.and_then(named).or_else(|| source.kinds.iter().position(takes));
    found.or_else(|| named("other")).unwrap() as u16
}

/// Makes the archive of this release.
fn make(root: &Path) {
    let archive = Archive::create_or_open(root, "home-12").unwrap();
    let mut header = SessionHeader {
        session_id: SessionId::new(START.wall_us, [7; 10]),
        name: "documented".into(),
        site: "home-12".into(),
        started_at_us: START.wall_us,
        sources: VENDORS.map(source).into(),
    };
    archive.begin_session(&mut header).unwrap();
    let options = JournalOptions {
        dir: archive.layout().journal(),
        sync_interval: Duration::ZERO,
        part_max_bytes: 1 << 30,
        part_max_age: Duration::from_secs(1_000_000),
        queue_max_bytes: 64 << 20,
        min_free_disk: 0,
    };
    let clock = Clock::Manual(Arc::new(ManualClock::at(START)));
    let (mut journal, handle) =
        start(Arc::clone(archive.disk()), clock, options, header.clone(), START.steady_ns).unwrap();
    let parts = journal.closed_parts().unwrap();
    let links = (0..VENDORS.len()).map(|at| {
        let payload = format!("{{\"event\":\"connected\",\"connection\":{at}}}").into_bytes();
        (VENDORS[at], "link".to_owned(), Some("link".to_owned()), payload)
    });
    for (n, (vendor, channel, said, payload)) in (0_u64..).zip(links.chain(fixtures())) {
        let at = VENDORS.iter().position(|known| *known == vendor).unwrap();
        let message = Message {
            source: at as u16,
            kind: kind_of(&header.sources[at], said.as_deref(), &channel, &payload),
            connection: 0,
            at: Now {
                wall_us: START.wall_us + n as i64 * 1_000_000,
                steady_ns: START.steady_ns + n * 1_000_000_000,
            },
            channel: channel.into(),
            mqtt: None,
            is_binary: false,
            headers: None,
            duplicate_of: None,
            payload: payload.into(),
            clear: None,
        };
        handle.try_append(message, Sync::Later).unwrap();
    }
    journal.close().unwrap();
    for part in parts.iter() {
        seal(&archive, &part).unwrap();
    }
    archive.end_session(header.session_id, START.wall_us + 3_600_000_000).unwrap();
}

/// Vendor, kind, channel and payload of every row.
fn rows(root: &Path) -> Vec<(String, String, String, Vec<u8>)> {
    let archive = Archive::open(root).unwrap();
    let rows = scan(&archive, &ScanOptions::default()).unwrap().map(Result::unwrap);
    rows.map(|row| {
        (row.vendor.to_string(), row.kind.to_string(), row.channel.to_string(), row.payload.to_vec())
    })
    .collect()
}

const OPEN: &str = "
import duckdb, os, sys
os.chdir(sys.argv[1])
duckdb.sql(open('views/duckdb.sql').read())
ALL = \"read_parquet('data/**/*.parquet', hive_partitioning = true, union_by_name = true)\"
print(*duckdb.sql(f'SELECT count(*), count(DISTINCT seq), count(DISTINCT (vendor, kind)) FROM {ALL}').fetchall()[0])
for view in ['positions', 'alarms', 'outages', 'devices']:
    duckdb.sql(f'CREATE TABLE all_{view} AS SELECT * FROM {view}')
assert duckdb.sql('SELECT count(*) FROM positions').fetchall()[0][0] > 10
";

fn open_in_duckdb(root: &Path) -> String {
    let asked = Command::new(python()).args(["-c", OPEN]).arg(root).output().unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    String::from_utf8(asked.stdout).unwrap()
}

#[test]
fn the_archives_of_all_releases_open_and_can_be_kept_up() {
    let releases = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/archives"));
    let mut seen = 0;
    for release in fs::read_dir(releases).unwrap().map(|entry| entry.unwrap().path()) {
        seen += 1;
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("archive");
        copy_folder(&release, &root);
        let documented: Vec<_> = fixtures().into_iter().map(|(.., payload)| payload).collect();
        let recorded = rows(&root);
        let payloads: Vec<_> =
            recorded.iter().filter(|row| row.1 != "link").map(|row| row.3.clone()).collect();
        assert_eq!(payloads, documented, "{}: the exact bytes", release.display());
        telereel(folder.path(), &["verify"], 0);
        let said = open_in_duckdb(&root);
        let (count, rows_text) = (recorded.len(), recorded.len().to_string());
        assert!(said.starts_with(&format!("{rows_text} {rows_text} ")), "{count} rows: {said}");
        for verb in [&["reindex"][..], &["compact"], &["compact", "--redecode"], &["recover"]] {
            telereel(folder.path(), verb, 0);
            telereel(folder.path(), &["verify"], 0);
            assert_eq!(rows(&root), recorded, "{}: after {verb:?}", release.display());
        }
        assert_eq!(open_in_duckdb(&root), said);
    }
    assert!(seen > 0);
}

/// With `TELEREEL_KEEP_ARCHIVE=DIR` it makes the archive of this release there, to be kept in `fixtures/archives`.
#[test]
fn this_release_makes_the_archive_that_is_kept_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("archive");
    make(&root);
    if let Some(kept) = std::env::var_os("TELEREEL_KEEP_ARCHIVE") {
        copy_folder(&root, Path::new(&kept));
    }
    let of_release =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/archives").join(env!("CARGO_PKG_VERSION"));
    // To read an archive makes files beside its index.
    let kept = folder.path().join("kept");
    copy_folder(&of_release, &kept);
    assert_eq!(rows(&root), rows(&kept));
    let kinds = |root: &Path| {
        let mut kinds: Vec<_> = rows(root).into_iter().map(|row| (row.0, row.1)).collect();
        kinds.sort();
        kinds.dedup();
        kinds
    };
    let declared = VENDORS[..5].iter().flat_map(|vendor| kinds_of(vendor)).count();
    assert!(
        kinds(&root).iter().filter(|(_, kind)| kind != "link" && kind != "other").count() >= declared - 1
    );
}

/// All but what only a token reply brings.
fn kinds_of(vendor: &str) -> impl Iterator<Item = &'static str> {
    kinds(vendor).unwrap().iter().copied().filter(|kind| *kind != "config")
}
