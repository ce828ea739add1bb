//! A recorder for a month, and under a wall clock that is set: with real sockets, threads and files, and a time that the
//! test moves on.
//!
//! Two weeks of the month are a run; `TELEREEL_DAYS=30` makes it whole.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation fails the test"
)]

#[path = "soak/clock.rs"]
mod clock;
#[path = "soak/month.rs"]
mod month;
#[allow(dead_code, reason = "made for other tests, too")]
#[path = "../src/recorder/tests/peer.rs"]
mod peer;
#[path = "soak/process.rs"]
mod process;
mod support;
#[path = "soak/time.rs"]
mod time;
#[path = "soak/upkeep.rs"]
mod upkeep;

use std::path::Path;

use telereel::archive::{Archive, Manifest, ScanOptions, VerifyOptions, scan, verify};
use telereel::config::Config;
use telereel::message::{Row, SessionId};
use telereel::recorder::Recorder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Each test has the process for itself: what it takes of memory, descriptors and threads is looked at.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

const MINUTE_US: i64 = 60_000_000;
const HOUR_US: i64 = 60 * MINUTE_US;
const DAY_US: i64 = 24 * HOUR_US;

/// A source that is pushed to, and decodes nothing.
const HOOK: &str =
    "[[source]]\nname = \"hook\"\nvendor = \"generic\"\ntransport = \"webhook\"\npath = \"/hook\"\n";

/// In memory where the machine has such a place: what is tested waits for no disk.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A configuration; `archive` and `sources` are as a user would write them.
fn config(root: &Path, archive: &str, sources: &str) -> Config {
    let text = format!(
        "[archive]\npath = \"archive\"\nmin_free_disk = \"1MiB\"\n{archive}\n[webhooks]\nlisten = \"127.0.0.1:0\"\n\
         [console]\nlisten = \"127.0.0.1:0\"\n{sources}"
    );
    Config::parse(&root.join("telereel.toml"), &text, &|_| None).unwrap_or_else(|error| panic!("{error}"))
}

/// A push that is answered once it is durable.
async fn post(recorder: &Recorder, path: &str, body: &str) {
    let mut stream = TcpStream::connect(recorder.webhooks_at().unwrap()).await.unwrap();
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// What the console answers.
async fn get(recorder: &Recorder, path: &str) -> String {
    let at = recorder.console_at().unwrap();
    let mut stream = TcpStream::connect(at).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer
}

fn rows_of(archive: &Archive, sessions: Vec<SessionId>) -> Vec<Row> {
    let options = ScanOptions { sessions, ..ScanOptions::default() };
    scan(archive, &options).unwrap().collect::<Result<_, _>>().unwrap()
}

fn manifests(archive: &Archive) -> Vec<Manifest> {
    let mut manifests: Vec<Manifest> = std::fs::read_dir(archive.layout().manifests())
        .unwrap()
        .map(|entry| serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap())
        .collect();
    manifests.sort_by_key(|manifest: &Manifest| (manifest.session_id, manifest.part));
    manifests
}

fn assert_clean(archive: &Archive) {
    let report = verify(archive, VerifyOptions::default()).unwrap();
    assert!(report.is_content() && report.leftovers.is_empty(), "{report:#?}");
    for folder in [archive.layout().tmp(), archive.layout().journal()] {
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
    }
}
