//! The recorder is killed (`SIGKILL`) again and again, at random moments, under webhooks, MQTT at QoS 1 and WebSocket
//! at once, while small parts are being sealed all the time: as it records, starts, recovers, or goes over to a new
//! session; and so are the verbs that work on the archive between two recordings. After each kill: nothing acknowledged
//! is missing, nothing is there more often than it was delivered, `seq` has no gaps, `verify` is content.
//!
//! `TELEREEL_KILLS=1000` kills as often, `TELEREEL_SEED=17` chooses the same moments again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation fails the test"
)]

#[path = "crash/bus.rs"]
mod bus;
#[path = "crash/load.rs"]
mod load;
mod support;
#[path = "crash/tally.rs"]
mod tally;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, UNIX_EPOCH};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use rustix::process::{Pid, Signal, kill_process};

use bus::Bus;
use load::{Poster, Posting, stream_numbers};
use support::{free_port, telereel};
use tally::Tally;

const KILLS: u64 = 25;
const POSTERS: u64 = 4;

#[test]
fn a_killed_recorder_loses_nothing_that_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let seed = asked("TELEREEL_SEED").unwrap_or_else(|| UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64);
    println!("TELEREEL_SEED={seed}");
    let mut world = World::new(folder.path(), seed);
    let wanted = asked("TELEREEL_KILLS").unwrap_or(KILLS);
    let began = Instant::now();
    for round in 0.. {
        world.round(round);
        println!("round {round}: {} kills", world.kills);
        if world.kills >= wanted {
            break;
        }
    }
    world.end();
    let World { kills, sealing, tally, bus, .. } = world;
    let again = bus.passed(|passed| passed.again);
    println!(
        "{kills} kills, {sealing} of them while parts waited to be sealed, in {:.0} s; {}; {again} deliveries of the \
         broker said that they were not the first",
        began.elapsed().as_secs_f64(),
        tally.summary()
    );
    assert!(again > 0, "the kills came at moments that do not matter");
}

fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

struct World {
    folder: PathBuf,
    rng: Pcg64Mcg,
    bus: Bus,
    posters: Vec<Poster>,
    tally: Tally,
    config: String,
    webhooks: u16,
    kills: u64,
    /// Kills that left closed parts in the journal.
    sealing: u64,
}

impl World {
    fn new(folder: &Path, seed: u64) -> Self {
        let bus = Bus::start(folder);
        let (webhooks, console, stream) = (free_port(), free_port(), stream_numbers());
        let config = format!(
            "[archive]\nsegment_max_bytes = \"256KiB\"\n[webhooks]\nlisten = \"127.0.0.1:{webhooks}\"\n\
             [console]\nlisten = \"127.0.0.1:{console}\"\n\
             [[source]]\nname = \"hooks\"\nvendor = \"generic\"\ntransport = \"webhook\"\npath = \"/in\"\n\
             [[source]]\nname = \"stream\"\nvendor = \"generic\"\ntransport = \"websocket\"\nurl = \"ws://127.0.0.1:{stream}/\"\n\
             [[source]]\nname = \"bus\"\nvendor = \"generic\"\ntransport = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{}\"\n\
             topics = [\"t/+\"]\nqos = 1\nclient_id = \"recorder\"\nclean_session = false\n",
            bus.port
        );
        std::fs::write(folder.join("telereel.toml"), &config).unwrap();
        Self {
            folder: folder.to_owned(),
            rng: Pcg64Mcg::seed_from_u64(seed),
            bus,
            posters: (0..POSTERS).map(Poster::new).collect(),
            tally: Tally::default(),
            config,
            webhooks,
            kills: 0,
            sealing: 0,
        }
    }

    fn round(&mut self, round: u64) {
        std::fs::write(self.folder.join("telereel.toml"), &self.config).unwrap();
        let recorder = self.spawn(&["record", "--session", &format!("round-{round}")]);
        self.record_until_killed(recorder, round % 5 == 3);
        let parts = std::fs::read_dir(self.folder.join("archive/journal")).unwrap().count();
        self.sealing += u64::from(parts > 1);
        match round % 5 {
            // The next `record` recovers, as it does for a user.
            0 => {
                telereel(&self.folder, &["record", "--session", "between", "--for", "1ms"], 0);
            }
            1 => {
                self.killed_soon(&["record", "--session", "started"], 300);
                telereel(&self.folder, &["recover"], 0);
            }
            2 => {
                for _ in 0..2 {
                    self.killed_soon(&["recover"], 60);
                }
                telereel(&self.folder, &["recover"], 0);
            }
            _ => {
                telereel(&self.folder, &["recover"], 0);
            }
        }
        telereel(&self.folder, &["verify"], 0);
        let sessions = self.tally.read(&self.folder);
        self.tally.check(&self.posters, &self.bus);
        if let (4, Some(latest)) = (round % 5, sessions.last()) {
            self.keep_up(latest);
        }
    }

    fn spawn(&self, args: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_telereel"))
            .args(args)
            .current_dir(&self.folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Lets all senders send, and kills the recorder at a random count of answers; `rolling`, as it goes over to a new
    /// session, which a change of its sources makes it do.
    fn record_until_killed(&mut self, mut recorder: Child, rolling: bool) {
        let kill_at = self.rng.random_range(1..1_200);
        let padding = "x".repeat(self.rng.random_range(0..2_000));
        let after = Duration::from_micros(self.rng.random_range(0..30_000));
        let (posting, webhooks) = (Posting::default(), self.webhooks);
        let (posting, padding) = (&posting, &*padding);
        std::thread::scope(|scope| {
            for poster in &mut self.posters {
                scope.spawn(move || poster.post(webhooks, padding, posting));
            }
            let is_due = || posting.answered.load(Ordering::Relaxed) >= kill_at;
            let mut ended = None;
            let mut latest = (0, Instant::now());
            while !is_due() && ended.is_none() && latest.1.elapsed() < Duration::from_secs(60) {
                ended = recorder.try_wait().unwrap();
                let answered = posting.answered.load(Ordering::Relaxed);
                if answered > latest.0 {
                    latest = (answered, Instant::now());
                }
                std::thread::park_timeout(Duration::from_micros(200));
            }
            if rolling && ended.is_none() {
                let another = "[[source]]\nname = \"more\"\nvendor = \"generic\"\ntransport = \"webhook\"\npath = \"/more\"\n";
                std::fs::write(self.folder.join("telereel.toml"), format!("{}{another}", self.config))
                    .unwrap();
                kill_process(Pid::from_child(&recorder), Signal::HUP).unwrap();
                wait(&mut recorder, after);
            }
            let was_due = is_due();
            recorder.kill().unwrap();
            recorder.wait().unwrap();
            posting.is_over.store(true, Ordering::Relaxed);
            assert!(
                was_due,
                "{posting:?} of {kill_at} answers came; the recorder ended by itself: {ended:?}"
            );
        });
        self.kills += 1;
    }

    /// Kills a verb within `up_to_ms` of its start, wherever it is then. It may be done.
    fn killed_soon(&mut self, args: &[&str], up_to_ms: u64) {
        let after = Duration::from_micros(self.rng.random_range(0..up_to_ms * 1_000));
        let mut child = self.spawn(args);
        if wait(&mut child, after) {
            child.kill().unwrap();
            self.kills += 1;
        }
        child.wait().unwrap();
    }

    /// Lets a verb be killed that works on the archive, and looks whether what it did not select is as it was.
    fn keep_up(&mut self, session: &str) {
        let folder = self.folder.clone();
        let cat = || telereel(&folder, &["cat", session], 0);
        let before = cat();
        let erased = "\"channel\":\"/in/3\"";
        let choices: [&[&str]; 3] = [
            &["compact"],
            &["erase", session, "--channel", "/in/3", "--yes"],
            &["prune", "--max-bytes", "64KiB", "--kind", "message"],
        ];
        let choice = self.rng.random_range(0..choices.len());
        self.killed_soon(choices[choice], 400);
        telereel(&folder, &["recover"], 0);
        telereel(&folder, &["verify"], 0);
        if choice == 2 && !telereel(&folder, &["list", "--json"], 0).contains(session) {
            // The whole of it was selected.
            return;
        }
        let after = cat();
        let is_kept = |line: &&str| match choice {
            0 => true,
            1 => !line.contains(erased),
            _ => line.contains("\"kind\":\"link\""),
        };
        assert!(
            after.lines().filter(is_kept).eq(before.lines().filter(is_kept)),
            "{:?} took what it should not",
            choices[choice]
        );
        let mut lines = before.lines();
        assert!(
            after.lines().all(|line| lines.any(|known| known == line)),
            "{:?}: new rows",
            choices[choice]
        );
        if choice < 2 {
            telereel(&folder, choices[choice], 0);
            telereel(&folder, &["verify"], 0);
            assert!(choice == 0 && cat() == before || choice == 1 && !cat().contains(erased));
        }
    }

    /// Once more without a kill: what the broker has is delivered, all of it.
    fn end(&mut self) {
        std::fs::write(self.folder.join("telereel.toml"), &self.config).unwrap();
        let mut recorder = self.spawn(&["record", "--session", "last"]);
        let published = self.bus.drain();
        kill_process(Pid::from_child(&recorder), Signal::TERM).unwrap();
        assert_eq!(recorder.wait().unwrap().code(), Some(0));
        telereel(&self.folder, &["verify"], 0);
        self.tally.read(&self.folder);
        self.tally.check(&self.posters, &self.bus);
        assert!(self.tally.has_all_of_bus(published), "of {published} that the broker had, some are missing");
        // What the index says comes from the files: made anew, it says the same.
        let before = telereel(&self.folder, &["list", "--json"], 0);
        telereel(&self.folder, &["reindex"], 0);
        assert_eq!(telereel(&self.folder, &["list", "--json"], 0), before);
    }
}

/// Waits so long for a process, or to its end; whether it still runs.
fn wait(child: &mut Child, at_most: Duration) -> bool {
    let deadline = Instant::now() + at_most;
    while Instant::now() < deadline {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::park_timeout(Duration::from_micros(200));
    }
    child.try_wait().unwrap().is_none()
}
