//! A wall clock that is set while it records, in the night in which the summer time of Europe ends: over midnight, there
//! and back, right before a new session, and within the last. Beside it a twin whose clock nobody touches.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use telereel::archive::{Archive, Bound, ScanOptions, format_us, scan};
use telereel::message::Row;
use telereel::recorder::Recorder;

use super::time::Time;
use super::{ALONE, HOOK, HOUR_US, assert_clean, config, folder, manifests, post, rows_of};

/// 2026-10-24T22:30:00Z. At 01:00 the clocks of Vienna go from three back to two.
const START_US: i64 = 1_792_881_000_000_000;
const EVERY_US: i64 = 600_000_000;
/// Before which message the wall clock is set, and by how much: the sessions begin at 0, 18 and 36.
const STEPS: [(i64, i64); 6] =
    [(3, HOUR_US), (7, -HOUR_US), (18, -HOUR_US), (25, HOUR_US), (36, HOUR_US), (38, -3 * HOUR_US)];
const MESSAGES: i64 = 42;
const PART_NS: u64 = 55 * 60 * 1_000_000_000;
const SESSIONS: [&str; 3] = ["walk", "walk-2", "walk-3"];

/// What the wall says at the n-th message.
fn wall_us(n: i64, steps: &[(i64, i64)]) -> i64 {
    let set: i64 = steps.iter().filter(|(before, _)| *before <= n).map(|(_, us)| us).sum();
    START_US + n * EVERY_US + set
}

async fn record(folder: &Path, steps: &[(i64, i64)]) {
    let archive = "session_roll = \"3h\"\nsegment_max_age = \"55m\"";
    let time = Time::at(START_US);
    let recorder = Recorder::start(&config(folder, archive, HOOK), time.options(Some("walk"))).await.unwrap();
    for n in 0..MESSAGES {
        steps.iter().filter(|(before, _)| *before == n).for_each(|(_, us)| time.step(*us));
        if n > 0 {
            // What waits for nobody is on the disk within the sync interval, wherever the wall clock is.
            time.pass(Duration::from_millis(50)).await;
            time.until("all durable", || recorder.status().journal.waiting_messages == 0).await;
            time.pass(Duration::from_micros(EVERY_US as u64) - Duration::from_millis(50)).await;
            // And parts end by their age.
            let age_ns = || recorder.status().sealing.open_part_age_ns;
            time.until("a part's end", || age_ns().is_none_or(|age_ns| age_ns < PART_NS)).await;
        }
        let session = SESSIONS[(n * EVERY_US / (3 * HOUR_US)) as usize];
        time.until("the session", || recorder.status().session == session).await;
        post(&recorder, "/hook", &format!("{{\"n\":{n}}}")).await;
        assert_eq!(time.now().wall_us, wall_us(n, steps));
    }
    let summary = time.stop(recorder).await;
    assert_eq!((summary.sources[0].messages, summary.dropped()), (MESSAGES as u64, 0));

    // Somebody sets the clock back by a day, and begins anew.
    let time = Time::at(START_US - 24 * HOUR_US);
    let recorder =
        Recorder::start(&config(folder, archive, HOOK), time.options(Some("again"))).await.unwrap();
    let opened = Archive::open(folder.join("archive")).unwrap();
    assert_eq!(opened.resolve("latest").unwrap().name, "again");
    time.stop(recorder).await;
    assert_eq!(opened.resolve("latest").unwrap().name, "again");
    opened.remove_session(opened.resolve("again").unwrap().session_id).unwrap();
}

/// What of a recording no wall clock may change, by session.
fn essence(archive: &Archive) -> Vec<(usize, u64, String, u64, Vec<u8>)> {
    let mut found = Vec::new();
    for (at, name) in SESSIONS.iter().enumerate() {
        for row in of(archive, name) {
            found.push((at, row.seq, row.kind.to_string(), row.elapsed_ns, row.payload.to_vec()));
        }
    }
    found
}

fn of(archive: &Archive, name: &str) -> Vec<Row> {
    rows_of(archive, vec![archive.resolve(name).unwrap().session_id])
}

/// Where each part begins and ends, by session.
fn parts(archive: &Archive) -> Vec<(u32, u64, u64)> {
    manifests(archive).iter().map(|manifest| (manifest.part, manifest.seq_start, manifest.seq_end)).collect()
}

/// A replay's report, by a machine whose own clock knows summer time.
fn replay(folder: &Path, args: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_telereel"))
        .args(["replay", "--json", "--no-wait", "--listen", "http://127.0.0.1:0", "--pace", "max"])
        .args(args)
        .env("TZ", "Europe/Vienna")
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let last = output.stdout.trim_ascii().rsplit(|byte| *byte == b'\n').next().unwrap();
    serde_json::from_slice(last).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_set_bends_neither_order_nor_replay_and_rows_lie_where_it_said() {
    let _alone = ALONE.lock().await;
    let (stepped, untouched) = (folder(), folder());
    record(stepped.path(), &STEPS).await;
    record(untouched.path(), &[]).await;
    let archive = Archive::open(stepped.path().join("archive")).unwrap();
    let twin = Archive::open(untouched.path().join("archive")).unwrap();
    assert_clean(&archive);
    assert_eq!(essence(&archive), essence(&twin));
    assert_eq!(parts(&archive), parts(&twin), "a part is closed and sealed by its age");
    assert_eq!(
        archive.resolve("latest").unwrap().name,
        "walk-3",
        "though it ended, by the wall, before walk-2"
    );

    let mut n = 0;
    for (at, name) in SESSIONS.iter().enumerate() {
        let rows = of(&archive, name);
        assert!(
            rows.windows(2).all(|two| two[0].elapsed_ns <= two[1].elapsed_ns && two[0].seq + 1 == two[1].seq)
        );
        for row in rows.iter().filter(|row| &*row.kind == "message") {
            assert_eq!(row.payload, format!("{{\"n\":{n}}}"));
            assert_eq!(row.received_at_us, wall_us(n, &STEPS), "{name} {n}");
            assert_eq!(row.elapsed_ns, ((n - 18 * at as i64) * EVERY_US * 1_000) as u64);
            n += 1;
        }
        bounds_are_sound(&archive, &rows);
    }
    assert_eq!(n, MESSAGES);
    let mut dates = BTreeMap::new();
    for file in manifests(&archive).into_iter().flat_map(|manifest| manifest.files) {
        assert!(file.path.contains(&format!("/date={}/", file.date)), "{}", file.path);
        for us in [file.received_min_us, file.received_max_us] {
            assert_eq!(format_us(us)[..10], file.date, "{}", file.path);
        }
        *dates.entry((file.kind, file.date)).or_insert(0) += file.rows;
    }
    for date in ["2026-10-24", "2026-10-25"] {
        let said = (0..MESSAGES).filter(|n| format_us(wall_us(*n, &STEPS))[..10] == *date).count() as u64;
        assert_eq!(dates[&("message".to_owned(), date.to_owned())], said);
    }

    for name in SESSIONS {
        let (one, other) = (replay(stepped.path(), &[name]), replay(untouched.path(), &[name]));
        assert_eq!((&one["digest"], &one["messages"]), (&other["digest"], &other["messages"]), "{name}");
        let duration_ns = |archive: &Archive| archive.resolve(name).unwrap().duration_ns;
        assert_eq!(duration_ns(&archive), duration_ns(&twin), "{name}");
    }
    // From midnight on: the first time that it was, and all that came then, though the clock was set back.
    let report = replay(stepped.path(), &["walk", "--from", "2026-10-25T00:00:00Z"]);
    assert_eq!(report["messages"], 15);
    let report = replay(stepped.path(), &["walk", "--to", "2026-10-25T00:00:00Z"]);
    assert_eq!(report["messages"], 3);
}

/// From a moment of the wall on means from the first message on that came then or later, to one up to that.
fn bounds_are_sound(archive: &Archive, rows: &[Row]) {
    let first = |us: i64| rows.iter().position(|row| row.received_at_us >= us).unwrap_or(rows.len());
    for minutes in (-30..480).step_by(25) {
        let (from, to) = (START_US + minutes * 60_000_000, START_US + (minutes + 90) * 60_000_000);
        let options = ScanOptions {
            sessions: vec![rows[0].session_id],
            from: Some(Bound::Wall(from)),
            to: Some(Bound::Wall(to)),
            ..ScanOptions::default()
        };
        let seqs: Vec<u64> = scan(archive, &options).unwrap().map(|row| row.unwrap().seq).collect();
        let expected: Vec<u64> = (first(from)..first(to)).map(|at| rows[at].seq).collect();
        assert_eq!(seqs, expected, "from minute {minutes}");
    }
}
