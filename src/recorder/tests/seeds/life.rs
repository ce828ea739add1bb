//! Lives of a recorder and of the verbs between them, on one archive, each ended somehow; all of it follows from one
//! number.

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
            gates: (0..SOURCES).map(|_| Gate::new(handle.clone())).collect(),
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
                let done = archive.prune(&options, &Watch::NONE, &mut |_| ());
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
    /// Acknowledgements by number: where their messages are in the model.
    owed: Vec<(u64, Option<(usize, usize)>, Bytes)>,
    tickets: u64,
    failed: bool,
}

impl Recorder {
    fn live(&mut self, world: &mut World) -> Result<Life, String> {
        let redelivered = std::mem::take(&mut world.again);
        for payload in redelivered {
            let source = world.rng.random_range(0..2);
            self.deliver(world, source, payload)?;
        }
        for _ in 0..world.rng.random_range(3..60) {
            if world.disk.sim().is_off() || self.failed {
                return Ok(Err(Over));
            }
            match world.rng.random_range(0..100) {
                0..50 => {
                    let source = world.rng.random_range(0..SOURCES);
                    let payload = payload(world);
                    self.deliver(world, source, payload)?;
                }
                50..55 => self.link(world),
                55..70 => self.turn(world)?,
                70..84 => {
                    let ms = [0, 1, 7, 60, 300, 1_000, 3_000, 10_000][world.rng.random_range(0..8)];
                    self.advance(world, ms * 1_000_000)?;
                }
                84..94 => self.seal_one(world),
                94..96 => self.roll(world)?,
                96 => self.sealer.end_sessions(false),
                97 => {
                    world.disk.sim().set_capacity(u64::MAX);
                    let used = u64::MAX - world.disk.sim().free_bytes(world.dir.path()).unwrap_or(0);
                    let room = world.rng.random_range(0..30_000);
                    world.disk.note(|| format!("room for {room} bytes more"));
                    world.disk.sim().set_capacity(used + room);
                }
                98 => world.disk.sim().set_capacity(u64::MAX),
                _ => self.let_in(world),
            }
        }
        if world.disk.sim().is_off() || self.failed || world.rng.random_range(0..3) == 0 {
            return Ok(Err(Over));
        }
        self.stop(world)
    }

    fn note(&self, world: &World, line: impl FnOnce() -> String) {
        world.disk.note(line);
    }

    fn message(&mut self, world: &mut World, source: usize, payload: Bytes) -> Message {
        let is_webhook = source == 0;
        let earlier = self.tickets > 0 && world.rng.random_range(0..10) == 0;
        Message {
            source: source as u16,
            kind: 0,
            connection: 0,
            at: world.now(),
            channel: ["/hooks/a", "up/1", "/ws"][source].into(),
            mqtt: (source == 1).then_some(Mqtt { qos: 1, retain: false, dup: false }),
            is_binary: false,
            headers: is_webhook.then(|| vec![("accept".into(), "*/*".into())]),
            duplicate_of: earlier.then(|| world.rng.random_range(1..=self.tickets)),
            payload,
            clear: None,
        }
    }

    fn accepted(&mut self, world: &mut World, message: Message) {
        self.tickets += 1;
        world.model.accept(self.session, message, self.tickets, world.now());
    }

    fn place(&self, world: &World) -> (usize, usize) {
        (self.session, world.model.sessions[self.session].entries.len() - 1)
    }

    fn deliver(&mut self, world: &mut World, source: usize, payload: Bytes) -> Check {
        world.model.deliver(&payload);
        let message = self.message(world, source, payload.clone());
        let number = self.owed.len() as u64;
        let ack = match source {
            0 => {
                let reply = HttpReply { status: 200, content_type: "text/plain", body: Bytes::new() };
                Some(Ack::Http { inbound: number, reply })
            }
            1 => Some(Ack::Mqtt { conn: 0, id: number }),
            _ => None,
        };
        let owes = ack.is_some();
        let outcome = world.runtime.block_on(self.gates[source].admit(message.clone(), ack));
        self.note(world, || format!("delivered {} bytes to {source}: {outcome:?}", payload.len()));
        let mut place = None;
        match outcome {
            Outcome::Taken(Some(ticket)) => {
                self.accepted(world, message);
                ensure!(ticket == self.tickets, "ticket {ticket}, not {}", self.tickets);
                place = Some(self.place(world));
            }
            Outcome::Taken(None) => self.held.push_back((number, message)),
            Outcome::Dropped | Outcome::Refused { .. } => {}
        }
        if owes {
            self.owed.push((number, place, payload));
        }
        if self.gates[source].is_overflowing() {
            let over = place.is_some();
            if let Some(event) = self.gates[source].tell_overflow(world.now(), 0, over) {
                self.append_link(
                    world,
                    source,
                    format!("{{\"event\":\"{}\",\"connection\":0}}", event.event),
                );
            }
        }
        Ok(())
    }

    fn link(&mut self, world: &mut World) {
        world.payloads += 1;
        let source = world.rng.random_range(0..SOURCES);
        let payload = format!("{{\"event\":\"connected\",\"connection\":{}}}", world.payloads);
        self.append_link(world, source, payload);
    }

    fn append_link(&mut self, world: &mut World, source: usize, payload: String) {
        let payload = Bytes::from(payload);
        world.model.deliver(&payload);
        let own = self.message(world, source, payload);
        let message = Message {
            kind: LINK,
            channel: "link".into(),
            mqtt: None,
            headers: None,
            duplicate_of: None,
            ..own
        };
        if self.handle.append_reserved(message.clone()).is_ok() {
            self.accepted(world, message);
        }
    }

    /// Lets in what was held back, if there is room.
    fn let_in(&mut self, world: &mut World) {
        while !self.held.is_empty() && self.gates[1].let_in().now_or_never().is_some() {
            if self.handle.durable().borrow().error.is_some() {
                return;
            }
            let Some((number, message)) = self.held.pop_front() else { return };
            self.note(world, || format!("let in {number}"));
            self.accepted(world, message);
            let place = self.place(world);
            if let Some(owed) = self.owed.iter_mut().find(|(own, ..)| *own == number) {
                owed.1 = Some(place);
            }
        }
    }

    fn turn(&mut self, world: &mut World) -> Check {
        self.note(world, || "turn".into());
        if let Err(error) = self.journal.turn() {
            self.failed = true;
            world.excused(&error)?;
        }
        self.after_turn(world)
    }

    fn after_turn(&mut self, world: &mut World) -> Check {
        self.closed.extend(self.journal.closed_parts());
        let up_to = self.handle.durable().borrow().up_to;
        for gate in &mut self.gates {
            while let Some(ack) = gate.next_due(up_to) {
                let (Ack::Http { inbound: number, .. } | Ack::Mqtt { id: number, .. }) = ack;
                let at = self.owed.iter().position(|(own, ..)| *own == number);
                let owed = at.map(|at| self.owed[at].1.take());
                let Some(Some((session, entry))) = owed else {
                    return Err(format!("acknowledged what was never accepted: {number}"));
                };
                world.disk.note(|| format!("acknowledged {number}: {session} {entry}"));
                world.model.sessions[session].entries[entry].promised = true;
                self.owed[at.unwrap_or(0)].2 = Bytes::new();
            }
        }
        Ok(())
    }

    /// Lets time pass; the writer wakes up when its thread would.
    fn advance(&mut self, world: &mut World, by_ns: u64) -> Check {
        let until = world.now().steady_ns + by_ns;
        self.note(world, || format!("{} ms pass", by_ns / 1_000_000));
        for _ in 0..1_000 {
            let due = self.journal.due_ns().filter(|due| *due <= until);
            let Some(due) = due.filter(|_| !self.failed && !world.disk.sim().is_off()) else {
                if !self.failed && !world.disk.sim().is_off() {
                    world.clock.advance_ns(until - world.now().steady_ns);
                }
                return Ok(());
            };
            world.clock.advance_ns(due.saturating_sub(world.now().steady_ns));
            self.turn(world)?;
        }
        Err("the writer spins".into())
    }

    fn seal_one(&mut self, world: &mut World) {
        if let Some(part) = self.closed.pop_front() {
            self.note(world, || format!("seal {:?}", part.file_name()));
            self.sealer.seal(part);
        }
    }

    fn roll(&mut self, world: &mut World) -> Check {
        if !self.held.is_empty() {
            return Ok(());
        }
        let Ok(header) = world.begin(&self.archive)? else {
            // The old session goes on.
            return Ok(());
        };
        let started_ns = world.now().steady_ns;
        let old = world.model.sessions[self.session].header.session_id;
        if self.handle.roll(header.clone(), started_ns).is_err() {
            self.failed = true;
            return Ok(());
        }
        self.sealing.end(old, world.now().wall_us, Some(header.session_id));
        self.session = world.model.sessions.len() - 1;
        Ok(())
    }

    /// As the recorder's own stop.
    fn stop(&mut self, world: &mut World) -> Result<Life, String> {
        self.note(world, || "stop".into());
        let session = world.model.sessions[self.session].header.session_id;
        self.sealing.end(session, world.now().wall_us, None);
        let closed = self.journal.close();
        self.failed |= closed.is_err();
        if let Err(error) = closed {
            world.excused(&error)?;
        }
        self.after_turn(world)?;
        while !self.closed.is_empty() {
            self.seal_one(world);
        }
        self.sealer.end_sessions(true);
        Ok(if self.failed { Err(Over) } else { Ok(()) })
    }

    /// What this life has promised.
    fn account(&mut self, world: &mut World, stopped: bool) -> Check {
        let up_to = self.handle.durable().borrow().up_to;
        ensure!(
            !stopped || up_to == self.tickets,
            "stopped, and only {up_to} of {} are durable",
            self.tickets
        );
        let now_ns = world.now().steady_ns;
        let interval_ns = world.sync_interval.as_nanos() as u64;
        for session in &mut world.model.sessions[self.first_session..] {
            for entry in &mut session.entries {
                let durable = entry.ticket <= up_to;
                ensure!(!entry.promised || durable, "acknowledged before it was durable: {entry:?}");
                // While the disk is full, nothing can be durable.
                let late = entry.accepted_ns + interval_ns < now_ns && self.handle.accepting();
                ensure!(durable || !late, "not durable within the sync interval: {entry:?} at {now_ns}");
                entry.promised = durable;
            }
        }
        // Who was not answered sends again.
        world.again = self.owed.drain(..).map(|(.., payload)| payload).filter(|p| !p.is_empty()).collect();
        world.disk.note(|| format!("durable up to {up_to} of {}", self.tickets));
        Ok(())
    }
}

/// A payload that there was not before; now and then larger than what a checksum of a segment covers.
fn payload(world: &mut World) -> Bytes {
    world.payloads += 1;
    let n = world.payloads;
    let padding = match world.rng.random_range(0..200) {
        0 => 300_000,
        1..8 => world.rng.random_range(1_000..9_000),
        _ => world.rng.random_range(0..300),
    };
    match world.rng.random_range(0..8) {
        // One byte, of which there are many.
        0 => Bytes::from(vec![world.rng.random_range(b'0'..=b'9')]),
        // Nothing that zstd could make small, and nothing that can be decoded.
        1 => {
            Bytes::from((0..padding).map(|_| world.rng.random()).chain(n.to_le_bytes()).collect::<Vec<u8>>())
        }
        _ => Bytes::from(format!("{{\"h\":{n},\"pad\":\"{}\"}}", "x".repeat(padding))),
    }
}
