//! Lives of a recorder and of the verbs between them, on one archive, each ended somehow; all of it follows from one
//! number.

mod recorder;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::Runtime;

use super::disk::{Broken, ShadowDisk, arm_fault};
use super::model::{Check, Fate, Model, Session, ensure};
use crate::archive::{
    Archive, ArchiveError, Clip, CompactOptions, Lock, PruneOptions, RecoverReport, VerifyOptions, Watch,
    recover, reindex, verify,
};
use crate::clock::{Clock, ManualClock, Now};
use crate::disk::Disk;
use crate::index::Index;
use crate::journal::{JournalHandle, JournalOptions, Stepped, stepped};
use crate::message::{KindHeader, Message, Mqtt, SessionHeader, SessionId, SourceHeader};
use crate::recorder::gate::{Gate, Outcome};
use crate::recorder::sealer::{Sealer, Sealing};
use crate::transport::quota::Quota;
use crate::vendors::{Ack, HttpReply};

/// 2026-11-22T23:59:50Z: ten seconds before a new date folder.
const START: Now = Now { wall_us: 1_795_391_990_000_000, steady_ns: 1_000_000_000 };

const READING: &str = "kind = \"reading\"\nmeaning = \"A reading.\"\n[[field]]\nname = \"height_m\"\nid = 100\n\
                       type = \"double\"\npath = \"h\"\nrole = \"measurement\"\nmeaning = \"It.\"\n";

/// Sources: webhooks, MQTT with QoS 1, and a WebSocket that waits for nothing.
const SOURCES: usize = 3;
const LINK: u16 = 1;

/// A life ended before it was asked to: by the power, or by a fault that it could not go on from.
struct Over;

type Life = Result<(), Over>;

pub(super) struct World {
    rng: StdRng,
    disk: ShadowDisk,
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
    runtime: Runtime,
    model: Model,
    payloads: u64,
    /// Sent and not acknowledged: the vendor sends them again.
    again: Vec<Bytes>,
    sync_interval: Duration,
}

/// What a failed seed leaves to be read.
pub(super) struct Violation {
    pub why: String,
    pub log: Vec<String>,
}

/// Lives through one seed.
pub(super) fn live(seed: u64, broken: Option<Broken>, log: bool) -> Result<(), Violation> {
    let dir = crate::archive::tests::support::quick_dir();
    let disk = ShadowDisk::new(&dir.path().join("archive"), broken, log);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let mut rng = StdRng::seed_from_u64(seed);
    let sync_interval = Duration::from_millis([0, 1, 50, 200][rng.random_range(0..4)]);
    let mut world = World {
        rng,
        disk: disk.clone(),
        dir,
        clock: Arc::new(ManualClock::at(START)),
        runtime,
        model: Model::default(),
        payloads: 0,
        again: Vec::new(),
        sync_interval,
    };
    let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.all()));
    let why = match lived {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(why)) => why,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            format!("panicked: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("?"))
        }
    };
    Err(Violation { why, log: disk.log() })
}

impl World {
    fn all(&mut self) -> Check {
        for life in 0..self.rng.random_range(1..4) {
            let upkeep = life > 0 && self.rng.random_range(0..5) < 2;
            self.disk.begin(if upkeep { "upkeep" } else { "record" });
            if self.rng.random_range(0..5) > 0 {
                let within = [20, 60, 150, 400][self.rng.random_range(0..4)];
                self.disk.sim().power_off_at(self.rng.random_range(1..=within));
            }
            // Where a cut does the most harm few would fall by chance: a verb has hundreds of operations.
            let nth = self.disk.sim().operations() % 10;
            if upkeep && (1..6).contains(&nth) {
                self.disk.power_off_after_commit(nth);
            }
            for _ in 0..self.rng.random_range(0..3_u32).saturating_sub(1) {
                arm_fault(self.disk.sim(), &mut self.rng);
            }
            if upkeep {
                self.upkeep()?
            } else {
                self.record()?
            }
            // A process that ends leaves what it wrote; what of it is on disk shows at the next power cut.
            let killed = self.rng.random_range(0..3) > if self.disk.sim().is_off() { 1 } else { 0 };
            if !killed {
                self.disk.crash(&mut self.rng);
            } else {
                self.disk.note(|| "--- the process ended".into());
                self.disk.sim().mend();
            }
            self.disk.sim().set_capacity(u64::MAX);
        }
        self.disk.begin("the end");
        self.at_the_end()
    }

    fn archive(&self) -> Result<Archive, ArchiveError> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        Archive::create_or_open_on(disk, self.dir.path().join("archive"), "home-12")
    }

    /// What every program that writes begins with.
    fn open(&mut self) -> Result<Result<(Archive, Lock), Over>, String> {
        let opened = self.archive().and_then(|archive| Ok((archive.lock()?, archive)));
        let (lock, archive) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.excused(&error).map(|()| Err(Over)),
        };
        match recover(&archive) {
            Ok(report) => {
                ensure!(!report.has_loss(), "recovery has lost something: {report:?}");
                self.model.settle(&archive)?;
                Ok(Ok((archive, lock)))
            }
            Err(error) => self.excused(&error).map(|()| Err(Over)),
        }
    }

    /// An error must have a cause that we have made.
    fn excused(&self, error: &dyn std::error::Error) -> Check {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        // The folder has another name each time.
        let text = text.replace(&*self.dir.path().to_string_lossy(), "");
        self.disk.note(|| format!("failed: {text}"));
        let ours = ["the power is off", "no storage space", "other error", "storage full"];
        ensure!(ours.iter().any(|own| text.contains(own)), "an error without a cause: {text}");
        Ok(())
    }

    fn header(&mut self) -> SessionHeader {
        let kind = |name: &str, declaration: Option<&str>| KindHeader {
            name: name.into(),
            declaration: declaration.map(str::to_owned),
        };
        let source = |name: &str, own: KindHeader| SourceHeader {
            name: name.into(),
            vendor: "generic".into(),
            kinds: vec![own, kind("link", None)],
            settings: serde_json::json!({}),
        };
        let now = self.now();
        SessionHeader {
            session_id: SessionId::new(now.wall_us, self.rng.random()),
            name: ["day", "night"][self.rng.random_range(0..2)].into(),
            site: "home-12".into(),
            started_at_us: now.wall_us,
            sources: vec![
                source("hooks", kind("reading", Some(READING))),
                source("locks", kind("message", None)),
                source("stream", kind("reading", Some(READING))),
            ],
        }
    }

    fn now(&self) -> Now {
        Clock::Manual(Arc::clone(&self.clock)).now()
    }

    fn begin(&mut self, archive: &Archive) -> Result<Result<SessionHeader, Over>, String> {
        let mut header = self.header();
        let begun = archive.begin_session(&mut header);
        let fate = if begun.is_ok() { Fate::Stays } else { Fate::MayBeGone };
        let started_ns = self.now().steady_ns;
        self.disk.note(|| format!("session {} {}", header.name, header.session_id));
        self.model.sessions.push(Session::new(header.clone(), started_ns, fate));
        match begun {
            Ok(()) => Ok(Ok(header)),
            Err(error) => self.excused(&error).map(|()| Err(Over)),
        }
    }

    /// The life of a recorder.
    fn record(&mut self) -> Check {
        let (archive, _lock) = match self.open()? {
            Ok(opened) => opened,
            Err(Over) => return Ok(()),
        };
        let header = match self.begin(&archive)? {
            Ok(header) => header,
            Err(Over) => return Ok(()),
        };
        let header_bytes = serde_json::to_vec(&header).unwrap_or_default().len() as u64;
        let options = JournalOptions {
            dir: archive.layout().journal(),
            sync_interval: self.sync_interval,
            part_max_bytes: header_bytes + self.rng.random_range(500..6_000),
            part_max_age: Duration::from_secs(10),
            queue_max_bytes: self.rng.random_range(1_000..30_000),
            min_free_disk: [0, 20_000][self.rng.random_range(0..2)],
        };
        let clock = Clock::Manual(Arc::clone(&self.clock));
        let started_ns = self.now().steady_ns;
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let (journal, handle) = match stepped(disk, clock, options, header, started_ns) {
            Ok(opened) => opened,
            Err(error) => return self.excused(&error),
        };
        let sealing = Arc::new(Sealing::default());
        let mut recorder = Recorder {
            sealer: Sealer::new(archive.clone(), Arc::clone(&sealing)),
            archive,
            sealing,
            gates: (0..SOURCES).map(|_| Gate::new(handle.clone(), Quota::default())).collect(),
            journal,
            handle,
            session: self.model.sessions.len() - 1,
            first_session: self.model.sessions.len() - 1,
            closed: VecDeque::new(),
            held: VecDeque::new(),
            owed: Vec::new(),
            tickets: 0,
            failed: false,
        };
        let lived = recorder.live(self)?;
        recorder.account(self, lived.is_ok())
    }

    /// The life of a verb.
    fn upkeep(&mut self) -> Check {
        let (archive, _lock) = match self.open()? {
            Ok(opened) => opened,
            Err(Over) => return Ok(()),
        };
        let present: Vec<usize> = (0..self.model.sessions.len())
            .filter(|&at| self.model.sessions[at].fate == Fate::Stays)
            .collect();
        for _ in 0..self.rng.random_range(1..4) {
            if present.is_empty() {
                break;
            }
            let at = present[self.rng.random_range(0..present.len())];
            if self.model.sessions[at].fate == Fate::Gone {
                continue;
            }
            if let Err(error) = self.verb(&archive, at)? {
                return self.excused(&error);
            }
        }
        Ok(())
    }

    fn verb(&mut self, archive: &Archive, at: usize) -> Result<Result<(), ArchiveError>, String> {
        let choice = self.rng.random_range(0..12);
        let number = self.rng.random_range(0..1_000_u64);
        let cut_us = START.wall_us + self.rng.random_range(0..(self.now().wall_us - START.wall_us).max(1));
        let session = &mut self.model.sessions[at];
        let id = session.header.session_id;
        self.disk.note(|| format!("verb {choice} on {id}"));
        Ok(match choice {
            0..5 => archive.compact(id, CompactOptions::default(), &Watch::NONE).map(drop),
            5 | 6 => {
                let options = PruneOptions { before_us: Some(cut_us), ..PruneOptions::default() };
                for session in self.model.sessions.iter_mut().filter(|s| s.fate == Fate::Stays) {
                    session.prune(cut_us, false);
                }
                let done = archive.prune(&options, &Watch::NONE, &mut |_| ()).map(drop);
                if done.is_ok() {
                    for session in self.model.sessions.iter_mut().filter(|s| s.fate == Fate::Stays) {
                        session.prune(cut_us, true);
                    }
                    self.model.settle(archive)?;
                }
                done
            }
            7 => {
                session.fate = Fate::MayBeGone;
                let done = archive.remove_session(id);
                if done.is_ok() {
                    session.fate = Fate::Gone;
                }
                done
            }
            8 | 9 => {
                let from = number % (session.entries.len() as u64 + 1);
                let clip = Clip {
                    name: format!("clip-{at}-{number}"),
                    seq_from: from,
                    seq_to: from + 5,
                    note: None,
                };
                if session.clips.iter().any(|(known, _)| known.name == clip.name) {
                    return Ok(Ok(()));
                }
                let done = archive.add_clip(id, clip.clone());
                session.clips.push((clip, done.is_ok()));
                done
            }
            10 => {
                let name = format!("name-{at}-{number}");
                let done = archive.rename_session(id, &name);
                if done.is_ok() {
                    session.names.clear();
                }
                session.names.push(name);
                done
            }
            _ => reindex(archive).map(drop),
        })
    }

    /// The disk is well from here on: everything must come right, and stay so.
    fn at_the_end(&mut self) -> Check {
        self.disk.sim().mend();
        let twice = self.rng.random();
        for _ in 0..1 + u32::from(twice) {
            if let Err(Over) = self.open()?.map(drop) {
                return Err("the last recovery failed".into());
            }
            if twice {
                // What recovery has built on must be on disk as well.
                self.disk.crash(&mut self.rng);
                self.disk.begin("and again");
            }
        }
        let said = |error: ArchiveError| format!("at the end: {error}");
        let archive = self.archive().map_err(said)?;
        if twice {
            // A power cut leaves the index behind, and perhaps files in `tmp/`.
            recover(&archive).map_err(said)?;
        }
        if self.rng.random_range(0..4) == 0 {
            let again = recover(&archive).map_err(said)?;
            ensure!(again == RecoverReport::default(), "recovered again, it says {again:?}");
        }
        let verified = verify(&archive, VerifyOptions::default()).map_err(said)?;
        ensure!(verified.is_content() && verified.leftovers.is_empty(), "verify: {verified:?}");
        for folder in [archive.layout().tmp(), archive.layout().journal()] {
            let left = archive.disk().list(&folder).map_err(|e| e.to_string())?;
            ensure!(left.is_empty(), "left behind: {left:?}");
        }
        self.model.check(&archive)?;
        if self.rng.random_range(0..4) > 0 {
            return Ok(());
        }
        let before = dump(&archive)?;
        reindex(&archive).map_err(said)?;
        ensure!(dump(&archive)? == before, "the index is not what it is when made again");
        Ok(())
    }
}

/// All that the index says.
fn dump(archive: &Archive) -> Result<String, String> {
    let index = Index::open_read_only(&archive.layout().index());
    let Ok(index) = index else { return Ok("none".into()) };
    let all = || {
        let sessions = index.sessions()?;
        let links = sessions.iter().map(|s| index.links(s.session_id)).collect::<Result<Vec<_>, _>>()?;
        Ok::<_, crate::index::IndexError>(format!(
            "{sessions:?}{:?}{:?}{links:?}",
            index.all_segments()?,
            index.parts()?
        ))
    };
    all().map_err(|e| e.to_string())
}

/// An acknowledgement by its number, where its message is in the model (session and entry), and the message.
type Owed = (u64, Option<(usize, usize)>, Bytes);

/// A recorder between its sockets and its disk: gates, journal, sealer, in their order, without their threads.
struct Recorder {
    archive: Archive,
    journal: Stepped,
    handle: JournalHandle,
    sealer: Sealer,
    sealing: Arc<Sealing>,
    gates: Vec<Gate>,
    /// The current session, in the model.
    session: usize,
    first_session: usize,
    /// Parts that the sealer has not taken yet.
    closed: VecDeque<PathBuf>,
    /// What the MQTT gate holds back.
    held: VecDeque<(u64, Message)>,
    /// Acknowledgements.
    owed: Vec<Owed>,
    tickets: u64,
    failed: bool,
}
