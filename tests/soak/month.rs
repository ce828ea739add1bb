//! A month of a recorder, two hours at a time: for so long everybody is silent, so that connections time out, tokens end and all
//! is dialled anew; then each vendor speaks. Each time a part is sealed, sessions begin at midnight, each night old days
//! are pruned and compacted, and now and then the wall clock is set by an hour, there and back.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use telereel::archive::{Archive, format_us};
use telereel::config::Config;
use telereel::recorder::Recorder;
use telereel::recorder::stats::State;
use telereel::recorder::upkeep::Doing;

use super::peer::{Peer, Said};
use super::process::Process;
use super::time::Time;
use super::{ALONE, DAY_US, HOUR_US, assert_clean, config, folder, post, rows_of};

/// 2026-10-01T00:00:00Z: on the 25th the summer time of Europe ends.
const START_US: i64 = 1_790_812_800_000_000;
const HOUR: Duration = Duration::from_secs(3_600);

/// How many days are kept for their age.
const RETAIN_DAYS: i64 = 7;

/// The first day after which nothing may grow: by then everything has happened once.
const SETTLED: usize = 3;

/// Of so many days the least is taken.
const SOME_DAYS: usize = 4;

/// What memory may grow by: the system's allocator keeps what threads that come and go have had, a heap for each of
/// them (with `MALLOC_ARENA_MAX=2` it is flat to a MiB).
const GROWTH_BYTES_MAX: u64 = 32 << 20;

/// A connection that is just being closed, the index being read, a pool's thread that is not gone yet.
const GROWTH_OF_FEW: usize = 6;

/// What each vendor says; `{port}` is its own.
const VENDORS: [(&str, &str, &[Said], bool); 4] = [
    (
        "ward",
        "vendor = \"pontosense\"\napi_url = \"http://127.0.0.1:{port}\"\napi_key = \"k\"\nsecret = \"s\"\n\
         sensors = [\"A\"]\nmqtt_url = \"ws://127.0.0.1:{port}\"\nexclude_kinds = [\"config\"]",
        &[(
            "/location/A",
            r#"{"method":"location.report","params":[{"id":1,"x":-1.5,"y":2,"z":0.5,"state":40}]}"#,
        )],
        false,
    ),
    (
        "fleet",
        "vendor = \"damoov\"\nurl = \"ws://127.0.0.1:{port}/ws\"\ninstance_id = \"i\"\naccess_token = \"{token}\"\n\
         refresh_token = \"r\"\nrefresh_url = \"http://127.0.0.1:{port}/refresh\"\nexclude_kinds = [\"control\"]",
        &[
            ("", r#"{"type":"subscribed","topic":"t"}"#),
            (
                "",
                r#"{"type":"device_update","device_token":"d","latitude":60.1,"longitude":24.9,"speed":36}"#,
            ),
        ],
        true,
    ),
    (
        "shop",
        "vendor = \"delicode\"\nurl = \"ws://127.0.0.1:{port}/ws\"\ntoken = \"t\"\nlocations = [1]\nexclude_kinds = [\"control\"]",
        &[
            ("", r#"{"type":"realtime_register","result":"success"}"#),
            (
                "",
                r#"{"type":"realtime_person_position","person_id":7,"location_id":1,"position":{"x":-150.5,"y":320}}"#,
            ),
        ],
        true,
    ),
    (
        "locks",
        "vendor = \"jointech\"\ntransport = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{port}\"\nusername = \"u\"\n\
         password = \"p\"\naccess_key = \"0123456789ABCDEF0123456789ABCDEF\"",
        &[("upload/K/1/location", r#"{"assetId":"82","longitude":24.9384,"latitude":60.1699,"speed":36}"#)],
        false,
    ),
];
const CITY: &str =
    "vendor = \"sensoro\"\npath = \"/city\"\napp_id = \"1\"\napp_secret = \"s\"\nverify_signature = false";
const ARCHIVE: &str =
    "segment_max_age = \"1h\"\nsession_roll = \"24h\"\nretain = \"7d\"\ncompact = \"daily\"";

/// By how much the wall clock is set before an hour: twice a week forward and back, once over midnight.
fn step_us(day: i64, hour: i64) -> i64 {
    match (day % 7, hour) {
        (4, 10) | (6, 6) => HOUR_US,
        (4, 20) | (6, 0) => -HOUR_US,
        _ => 0,
    }
}

/// A token of the vendor's that is good for half an hour.
fn token(now_us: i64) -> String {
    let claims = format!(r#"{{"exp":{}}}"#, now_us / 1_000_000 + 1_800);
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
}

/// How many of these are recorded: not the answers to what a client has asked for.
fn said_of(says: &[Said]) -> usize {
    says.iter()
        .filter(|(_, payload)| !payload.contains("subscribed") && !payload.contains("register"))
        .count()
}

/// The vendors' sides, and what they have said.
struct Vendors {
    peers: Vec<Peer>,
    posted: u64,
    /// By source and date of arrival: messages.
    ledger: BTreeMap<(String, String), u64>,
    told: Vec<u64>,
}

impl Vendors {
    async fn start(folder: &Path) -> (Self, Config) {
        let (mut peers, mut sources) = (Vec::new(), format!("[[source]]\nname = \"city\"\n{CITY}\n"));
        for (name, text, says, is_asked) in VENDORS {
            let peer = Peer::new(says, is_asked);
            let port = peer.clone().serve().await.to_string();
            let text = text.replace("{port}", &port).replace("{token}", &token(START_US - HOUR_US));
            sources.push_str(&format!("[[source]]\nname = \"{name}\"\n{text}\n"));
            peers.push(peer);
        }
        let told = vec![0; 1 + peers.len()];
        (Self { peers, posted: 0, ledger: BTreeMap::new(), told }, config(folder, ARCHIVE, &sources))
    }

    /// What each source has been told so far, in the configuration's order.
    fn said(&self) -> Vec<u64> {
        let of = |peer: &Peer, says: &[Said]| (peer.said.load(Ordering::SeqCst) * said_of(says)) as u64;
        let dialled = self.peers.iter().zip(VENDORS).map(|(peer, (_, _, says, _))| of(peer, says));
        std::iter::once(self.posted).chain(dialled).collect()
    }

    fn renew(&self, now_us: i64) {
        for peer in &self.peers {
            let expires = format_us(now_us + 1_800_000_000);
            let answer = format!(
                r#"{{"token":"t","expireTime":"{expires}","data":{{}},"Result":{{"AccessToken":{{"Token":"{}"}}}}}}"#,
                token(now_us)
            );
            *peer.answer.lock().unwrap() = answer;
        }
    }

    /// Whether every source listens on one connection, and has what was said.
    fn are_heard(&self, recorder: &Recorder) -> bool {
        if self.peers.iter().any(|peer| peer.open.load(Ordering::SeqCst) != 1) {
            return false;
        }
        let status = recorder.status();
        status.sources.iter().all(|source| source.state == State::Connected)
            && status.sources.iter().map(|source| source.messages).eq(self.said())
    }

    /// Notes what has been said since the last time as of this date.
    fn note(&mut self, now_us: i64) {
        let said = self.said();
        let names = std::iter::once("city").chain(VENDORS.map(|(name, ..)| name));
        for (at, name) in names.enumerate() {
            let entry = self.ledger.entry((name.to_owned(), format_us(now_us)[..10].to_owned())).or_default();
            *entry += said[at] - self.told[at];
        }
        self.told = said;
    }
}

/// All files of a folder.
fn count_files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { count_files(&path) } else { 1 }).sum()
}

#[tokio::test(start_paused = true)]
async fn a_month_leaves_memory_descriptors_and_files_as_they_were_and_every_count_exact() {
    let _alone = ALONE.lock().await;
    let days: i64 =
        std::env::var("TELEREEL_DAYS").map_or(14, |days| days.parse().unwrap()).max(RETAIN_DAYS + 5);
    let folder = folder();
    let time = Time::at(START_US);
    let (mut vendors, mut settings) = Vendors::start(folder.path()).await;
    vendors.renew(START_US);
    let mut recorder = Recorder::start(&settings, time.options(None)).await.unwrap();
    let archive = Archive::open(folder.path().join("archive")).unwrap();
    let (mut taken, mut files) = (Vec::new(), Vec::new());
    let began_ns = time.now().steady_ns;
    for hour in (0..days * 24).step_by(2) {
        let (day, hour_of_day) = (hour / 24, hour % 24);
        time.step(step_us(day, hour_of_day));
        let left = HOUR * hour as u32 - Duration::from_nanos(time.now().steady_ns - began_ns);
        vendors.renew(time.now().wall_us + left.as_micros() as i64);
        if hour % 14 == 6 {
            vendors.peers.iter().for_each(Peer::leave);
        }
        time.pass(left).await;
        let step = Duration::from_millis(100);
        time.until_after("everybody connected", step, 20, || vendors.are_heard(&recorder)).await;
        vendors.peers.iter().for_each(Peer::say_again);
        post(&recorder, "/city", r#"{"appId":"1","type":"text","deviceSN":"C1","data":{"n":1}}"#).await;
        vendors.posted += 1;
        time.until_after("all heard", step, 20, || vendors.are_heard(&recorder)).await;
        vendors.note(time.now().wall_us);
        time.until("sealed", || recorder.status().sealing.unsealed_parts <= 1).await;
        let keeping = recorder.status_source().keeping().clone();
        let is_done = || keeping.status().is_some_and(|upkeep| upkeep.state == Doing::Idle);
        time.until_done("upkeep", is_done).await;

        if hour_of_day == 6 {
            let upkeep = keeping.status().unwrap();
            assert_eq!((upkeep.failed_sessions, &upkeep.error), (0, &None));
            let today = &format_us(time.now().wall_us)[..10];
            assert!(upkeep.last_run_at.unwrap().starts_with(today), "each day");
            time.until("sealed", || recorder.status().sealing.unsealed_parts == 0).await;
            taken.push(Process::look());
            files.push(count_files(archive.root()));
        }
        if (day, hour_of_day) == (days / 2, 8) {
            // From now on it is bytes that end sooner than days.
            let bytes: u64 = archive.list().unwrap().iter().map(|session| session.bytes_stored).sum();
            settings.archive.retain_max_bytes = Some(bytes * 6 / 10);
            recorder.reload(&settings).await.unwrap();
        }
    }
    for (day, now) in taken.iter().enumerate().skip(SETTLED + 1) {
        let then = taken[SETTLED];
        assert!(now.descriptors <= then.descriptors + GROWTH_OF_FEW, "day {day}: {now:?} from {then:?}");
        assert!(now.threads <= then.threads + GROWTH_OF_FEW, "day {day}: {now:?} from {then:?}");
    }
    // The least of some days, since a job that has just been done may not have given back all that it took.
    let least_bytes = |of: &[Process]| of.iter().map(|day| day.resident_bytes).min().unwrap();
    let then = least_bytes(&taken[SETTLED..SETTLED + SOME_DAYS]);
    let now = least_bytes(&taken[taken.len() - SOME_DAYS..]);
    assert!(now <= then + GROWTH_BYTES_MAX, "{now} bytes from {then}: {taken:?}");
    // Until the first has gone there are the more the more days there were.
    let (at_first, later) = files.split_at(RETAIN_DAYS as usize + 2);
    let kept_at_first = at_first.iter().max().unwrap();
    assert!(later.iter().all(|now| *now <= kept_at_first + kept_at_first / 10), "{files:?}");

    let view = recorder.status_source();
    let summary = time.stop(recorder).await;
    let status = view.status();
    let upkeep = status.upkeep.unwrap();
    assert_eq!((summary.dropped(), summary.session_ids.len() as i64), (0, days));
    assert!(summary.sources.iter().all(|source| source.refused + source.decode_errors == 0), "{summary:?}");
    // Of those that are dialled, each was connected anew each time, or had its connection handed over.
    assert!(summary.sources[1..].iter().any(|source| source.disconnects as i64 >= days * 3), "{summary:?}");
    assert_clean(&archive);

    let rows = rows_of(&archive, Vec::new());
    assert_eq!(status.rows_stored, rows.len() as u64 + upkeep.pruned_messages, "all is there, or was pruned");
    let mut found: BTreeMap<(String, String), u64> = BTreeMap::new();
    for row in rows.iter().filter(|row| &*row.kind != "link") {
        let date = format_us(row.received_at_us)[..10].to_owned();
        *found.entry((row.source.to_string(), date)).or_default() += 1;
    }
    let last_run_us = upkeep.last_run_us.unwrap();
    let oldest = format_us(last_run_us.div_euclid(DAY_US) * DAY_US - RETAIN_DAYS * DAY_US)[..10].to_owned();
    for ((source, date), said) in &vendors.ledger {
        let stored = found.remove(&(source.clone(), date.clone())).unwrap_or(0);
        match () {
            () if *date < oldest => assert_eq!(stored, 0, "{source} {date}"),
            // What goes for its bytes goes by files: of days that are not compact yet, in parts.
            () => assert!(stored <= *said, "{source} {date}: {stored} of {said}"),
        }
    }
    assert!(found.is_empty(), "{found:?}");
    let listed: u64 = archive.list().unwrap().iter().map(|session| session.messages).sum();
    assert_eq!(listed, rows.len() as u64);
    println!(
        "{days} days: {} messages, {} rows pruned, {:?} to {:?}, files {files:?}",
        vendors.said().iter().sum::<u64>(),
        upkeep.pruned_messages,
        taken[SETTLED],
        taken[taken.len() - 1]
    );
}
