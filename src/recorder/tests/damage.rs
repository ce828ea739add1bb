//! What was found damaged, as it is told while the recorder runs; and how far each part has come, so that one is missed
//! that is gone.

use std::fs;
use std::sync::Arc;

use super::*;
use crate::clock::{Clock, ManualClock};

/// A part is closed for its age.
const HOUR_NS: u64 = 3_601_000_000_000;

async fn by_hand(config: &Config) -> (Recorder, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    let options = StartOptions { clock: Clock::Manual(Arc::clone(&clock)), ..StartOptions::default() };
    (Recorder::start(config, options).await.unwrap(), clock)
}

#[tokio::test(flavor = "multi_thread")]
async fn how_far_each_part_of_each_session_has_come_stands_in_its_sidecar() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), vec![webhook("hook", "/")]);
    let (recorder, clock) = by_hand(&config).await;
    let archive = Archive::open(&config.archive.path).unwrap();
    for _ in 0..2 {
        let mut before = 0;
        for _ in 0..2 {
            assert!(post(&recorder, "POST /", b"kept").await.contains(" 200 "));
            let session = archive.resolve("latest").unwrap().session_id;
            let reached = || archive.read_sidecar(session).unwrap().unwrap().reached;
            until(&recorder, "it noted down", |_| reached() > before).await;
            before = reached();
            let sealed = recorder.status().segments;
            clock.advance_ns(HOUR_NS);
            until(&recorder, "the part sealed", |status| status.segments > sealed).await;
        }
        recorder.roll(None).await.unwrap();
    }
    stop(recorder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_that_is_found_while_recording_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), vec![webhook("hook", "/")]);
    let (recorder, clock) = by_hand(&config).await;
    for body in [&b"before"[..], b"changed", b"behind"] {
        assert!(post(&recorder, "POST /", body).await.contains(" 200 "));
    }
    let part = fs::read_dir(dir.path().join("journal")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&part).unwrap();
    let at = bytes.windows(7).position(|found| found == b"changed").unwrap();
    bytes[at] ^= 1;
    // The recorder has the file open: it is changed where it is.
    fs::write(&part, bytes).unwrap();
    clock.advance_ns(HOUR_NS);
    let status = until(&recorder, "damage", |status| status.damage.is_some()).await;
    let damage = status.damage.unwrap();
    assert_eq!((damage.lost_messages, damage.set_aside, damage.problems), (1, 0, 1), "{damage:?}");
    let summary = stop(recorder).await;
    assert!(summary.has_loss() && summary.lost == 1, "{summary:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_that_a_start_found_is_told_and_no_reason_not_to_be_ready() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), vec![webhook("shop", "/hooks/shop")]);
    let recorder = start(&config).await;
    assert_eq!(recorder.status().damage, None);
    soon(recorder.stop(CancellationToken::new())).await.unwrap();
    let stray = dir.path().join("journal/backup.journal");
    fs::write(&stray, "what was this?").unwrap();
    fs::write(dir.path().join("manifests/copy.json"), "{}").unwrap();

    let recorder = start(&config).await;
    let damage = recorder.status().damage.unwrap();
    assert_eq!((damage.lost_messages, damage.set_aside, damage.made_anew), (0, 1, 0), "{damage:?}");
    assert!(damage.problems == 1 && damage.detail.contains("backup.journal.damaged"), "{damage:?}");
    assert!(damage.detail.contains("manifests/copy.json"), "{damage:?}");
    assert_eq!(recorder.running.risks(), []);
    soon(recorder.stop(CancellationToken::new())).await.unwrap();
    assert!(!stray.exists() && dir.path().join("journal/backup.journal.damaged").exists());
}
