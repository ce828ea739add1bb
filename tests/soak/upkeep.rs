//! Upkeep in the recorder's own thread, over an archive of days that are over, while messages come.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use telereel::archive::{Archive, SessionSummary};
use telereel::recorder::Recorder;
use telereel::recorder::upkeep::{Doing, UpkeepStatus};

use super::time::Time;
use super::{ALONE, DAY_US, HOOK, HOUR_US, MINUTE_US, assert_clean, config, folder, get, post, rows_of};

/// 2026-10-01T00:00:00Z.
const START_US: i64 = 1_790_812_800_000_000;
const DAYS: i64 = 10;
const KEPT_UP: &str =
    "segment_max_age = \"1h\"\nsession_roll = \"24h\"\nretain = \"7d\"\ncompact = \"daily\"";

/// Sessions of a day each, of four parts, that nobody has kept up: their names are `day`, `day-2`, ….
async fn prepare(folder: &Path) -> Archive {
    let time = Time::at(START_US);
    let archive = "segment_max_age = \"6h\"\nsession_roll = \"24h\"";
    let recorder = Recorder::start(&config(folder, archive, HOOK), time.options(Some("day"))).await.unwrap();
    for n in 0..DAYS * 8 {
        if n > 0 {
            time.pass(Duration::from_secs(3 * 3_600)).await;
        }
        let session = name(n / 8);
        time.until("the day's session", || recorder.status().session == session).await;
        post(&recorder, "/hook", &format!("{{\"n\":{n}}}")).await;
        time.until("what is over is sealed", || recorder.status().sealing.unsealed_parts == 0).await;
    }
    time.stop(recorder).await;
    Archive::open(folder.join("archive")).unwrap()
}

fn name(day: i64) -> String {
    if day == 0 { "day".to_owned() } else { format!("day-{}", day + 1) }
}

fn sessions(archive: &Archive) -> BTreeMap<String, SessionSummary> {
    archive.list().unwrap().into_iter().map(|session| (session.name.clone(), session)).collect()
}

fn doing(recorder: &Recorder) -> UpkeepStatus {
    recorder.status().upkeep.unwrap()
}

/// The files of a session, with what is in them.
fn files(folder: &Path, session: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut files(&path, session));
        } else if path.to_string_lossy().contains(session) {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// Lets messages come until the upkeep that began at or after `since` is done; how many came.
async fn messages_meanwhile(recorder: &Recorder, time: &Time, since: &str) -> u64 {
    let mut messages = 0;
    let began = Instant::now();
    loop {
        let upkeep = doing(recorder);
        if upkeep.last_run_at.as_deref() >= Some(since) && upkeep.state == Doing::Idle {
            return messages;
        }
        post(recorder, "/hook", "{\"live\":true}").await;
        time.pass(Duration::from_millis(10)).await;
        // Upkeep's thread has the lowest priority: it needs a core that nobody wants.
        std::thread::park_timeout(Duration::from_millis(5));
        messages += 1;
        assert!(began.elapsed() < Duration::from_secs(300), "{upkeep:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn upkeep_beside_a_recording_prunes_compacts_tells_and_disturbs_nothing() {
    let _alone = ALONE.lock().await;
    let folder = folder();
    let archive = prepare(folder.path()).await;
    let before = sessions(&archive);
    assert!(before.values().all(|session| session.segments >= 4), "{before:?}");
    // One old segment has changed since.
    let damaged = before[&name(7)].session_id.to_string();
    let segment = files(&archive.root().join("data"), &damaged).into_keys().next().unwrap();
    let whole = fs::read(&segment).unwrap();
    let mut bytes = whole.clone();
    bytes[40] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let of_damaged = files(archive.root(), &damaged);

    let time = Time::at(START_US + DAYS * DAY_US);
    let mut settings = config(folder.path(), KEPT_UP, HOOK);
    let mut recorder = Recorder::start(&settings, time.options(Some("live"))).await.unwrap();
    assert_eq!(doing(&recorder).last_run_at, None);
    time.pass(Duration::from_secs(301)).await;
    let mut live = messages_meanwhile(&recorder, &time, "2026-10-11").await;
    assert!(live > 0);

    let upkeep = doing(&recorder);
    let pruned: u64 = (0..3).map(|day| before[&name(day)].messages).sum();
    assert_eq!((upkeep.pruned_messages, upkeep.compacted_sessions, upkeep.failed_sessions), (pruned, 6, 1));
    assert!(upkeep.error.unwrap().contains(&name(7)));
    assert_eq!(upkeep.next_run_at.as_deref(), Some("2026-10-11T01:15:00.000000Z"));
    let metrics = get(&recorder, "/metrics").await;
    for line in [
        "telereel_upkeep_compacted_sessions_total 6".to_owned(),
        format!("telereel_upkeep_pruned_messages_total {pruned}"),
        "telereel_upkeep_failing 1".to_owned(),
        "telereel_upkeep_working 0".to_owned(),
    ] {
        assert!(metrics.lines().any(|known| known == line), "{line} in\n{metrics}");
    }
    let after = sessions(&archive);
    let names: Vec<String> = (3..DAYS).map(name).chain(["live".to_owned()]).collect();
    assert!(after.keys().all(|name| names.contains(name)) && after.len() == names.len(), "{after:?}");
    for day in (3..DAYS).filter(|day| *day != 7) {
        assert_eq!(after[&name(day)].messages, before[&name(day)].messages);
        assert!(after[&name(day)].segments <= 2, "{:?}", after[&name(day)]);
    }
    assert_eq!(files(archive.root(), &damaged), of_damaged, "as they were");

    // Each day once more, and what the day has brought. Not in between.
    let first = doing(&recorder).last_run_at.unwrap();
    time.pass(Duration::from_secs(1_800)).await;
    live += messages_meanwhile(&recorder, &time, &first).await;
    assert_eq!(doing(&recorder).last_run_at.as_deref(), Some(&*first));
    time.pass(Duration::from_secs(3_600)).await;
    live += messages_meanwhile(&recorder, &time, "2026-10-11T01:15").await;
    assert_eq!((doing(&recorder).failed_sessions, doing(&recorder).compacted_sessions), (1, 6));
    let midnight_us = START_US + (DAYS + 1) * DAY_US;
    // A session lasts a day from when its first timers were set, five minutes after its start here.
    time.pass_to(midnight_us + 8 * MINUTE_US).await;
    time.until("the next session", || recorder.status().session == "live-2").await;
    fs::write(&segment, whole).unwrap();
    // A sealer that was done before it was told of the session's end looks again with the next part, and by time alone
    // that one comes an hour later: before the day's upkeep, which is to find both this session and the new plan.
    post(&recorder, "/hook", "{\"live\":true}").await;
    live += 1;
    time.pass_to(midnight_us + 70 * MINUTE_US).await;
    time.until("the session before it over", || sessions(&archive)["live"].ended.is_some()).await;
    // From now on there is room for this one and for two of the old days.
    let bytes = |name: &str| sessions(&archive)[name].bytes_stored;
    let room = bytes("live") + bytes(&name(8)) + bytes(&name(9));
    settings.archive.retain_max_bytes = Some(room);
    recorder.reload(&settings).await.unwrap();
    assert_eq!(doing(&recorder).next_run_at.as_deref(), Some("2026-10-12T01:15:00.000000Z"));
    time.pass_to(midnight_us + 76 * MINUTE_US).await;
    live += messages_meanwhile(&recorder, &time, "2026-10-12T01:15").await;
    assert_eq!((doing(&recorder).failed_sessions, doing(&recorder).error), (0, None));
    let left = sessions(&archive);
    let over = left.values().filter(|session| session.ended.is_some());
    assert!(over.map(|session| session.bytes_stored).sum::<u64>() <= room, "{left:?}");
    assert!(left.contains_key("live") && !left.contains_key(&name(4)), "the oldest go first: {left:?}");

    let summary = time.stop(recorder).await;
    let source = &summary.sources[0];
    assert_eq!((source.messages, source.refused, source.disconnects, source.gap_ns), (live, 0, 0, 0));
    assert_eq!(summary.dropped(), 0);
    let rows = rows_of(&archive, summary.session_ids.clone());
    assert_eq!(rows.iter().filter(|row| &*row.kind == "message").count() as u64, live);
    assert_clean(&archive);
}

#[tokio::test(start_paused = true)]
async fn a_stop_in_the_midst_of_upkeep_waits_for_nothing_and_leaves_all_whole() {
    let _alone = ALONE.lock().await;
    let folder = folder();
    let archive = prepare(folder.path()).await;
    let before = sessions(&archive);
    let settings = config(folder.path(), KEPT_UP.replace("7d", "70d").as_str(), HOOK);
    let start = async |time: &Time| {
        let recorder = Recorder::start(&settings, time.options(Some("live"))).await.unwrap();
        time.pass(Duration::from_secs(301)).await;
        recorder
    };
    let time = Time::at(START_US + DAYS * DAY_US);
    let recorder = start(&time).await;
    time.until_done("upkeep at work", || doing(&recorder).state == Doing::Compacting).await;
    let began = Instant::now();
    time.stop(recorder).await;
    assert!(began.elapsed() < Duration::from_secs(10));
    // Its thread may be at a file for a moment.
    time.until("the archive is free", || !archive.is_locked()).await;
    assert_clean(&archive);
    let halfway = sessions(&archive);
    let is_left = |(name, of): (&String, &SessionSummary)| halfway[name].segments == of.segments;
    assert!(before.iter().filter(|of| is_left(*of)).count() > 1, "it was in the midst of it");

    let time = Time::at(START_US + DAYS * DAY_US + HOUR_US);
    let recorder = start(&time).await;
    messages_meanwhile(&recorder, &time, "2026-10-11T01:05").await;
    time.stop(recorder).await;
    assert_clean(&archive);
    let after = sessions(&archive);
    for (name, of) in &before {
        assert_eq!(after[name].messages, of.messages);
        assert!(after[name].segments <= 2);
    }
}
