//! More comes in than a recorder can take, over all transports and in small and large messages at once: its memory
//! stays within `[limits] memory`, nothing acknowledged is lost, and what is dropped is told, to the
//! message.
//!
//! That it is more does not depend on the machine: senders send as fast as they are read; the recorder has one processor,
//! on which its journal has to wait for all else; and when its queue is filled it is stopped for a moment, three times, as
//! a machine may be. From then on it drops what comes, and is busy with that. `TELEREEL_LOAD_SECONDS=180` sends for so
//! long.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation fails the test"
)]

#[path = "crash/bus.rs"]
#[allow(dead_code, reason = "of what passed, not all is looked at here")]
mod bus;
#[path = "load/message.rs"]
mod message;
#[path = "load/senders.rs"]
mod senders;
mod support;

use std::collections::HashMap;
use std::io::BufReader;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use telereel::archive::{Archive, ScanOptions, scan};

use bus::Bus;
use message::known;
use senders::{Amount, Pushed, Stream, exchange, push};
use support::process::{hold_back, memory, on_one_processor};
use support::{free_port, telereel};

const MIB: u64 = 1 << 20;

/// Of the recorder, which is built without optimization here.
const MEMORY: u64 = 128 * MIB;

/// Streams of small messages, and of messages of a mebibyte.
const SMALL_STREAMS: u64 = 6;
const LARGE_STREAMS: u64 = 8;
const SMALL_POSTERS: u64 = 4;
const LARGE_POSTERS: u64 = 6;

/// Posters' numbers, so that no stream has them.
const POSTERS_FROM: u64 = 100;

#[test]
fn at_overload_memory_stays_in_its_bounds_and_nothing_acknowledged_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let seconds = std::env::var("TELEREEL_LOAD_SECONDS").ok().map(|value| value.parse().unwrap());
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let amount = |number| Amount { number, until };
    let small = (0..SMALL_STREAMS).map(|id| match id % 2 {
        0 => Stream::websocket(id, amount(20_000), 200),
        _ => Stream::mqtt(id, amount(20_000), 200),
    });
    let large = (SMALL_STREAMS..SMALL_STREAMS + LARGE_STREAMS).map(|id| match id % 2 {
        0 => Stream::websocket(id, amount(8), MIB as usize),
        _ => Stream::mqtt(id, amount(8), MIB as usize),
    });
    let streams: Vec<Stream> = small.chain(large).collect();
    let mut bus = Bus::start(folder.path());
    let (webhooks, console) = (free_port(), free_port());
    write_config(folder.path(), (webhooks, console), &streams, bus.port);

    let began = Instant::now();
    let recorder = Recorder::start(folder.path(), console);
    let (idle, own_idle) = (recorder.rss(), recorder.own());
    on_one_processor(recorder.pid());
    hold_back(recorder.pid(), "journal");
    let is_over = AtomicBool::new(false);
    let (pushed, samples, published) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| recorder.watch(&is_over));
        scope.spawn(|| recorder.stand_still(&is_over));
        let posting: Vec<_> = (0..SMALL_POSTERS + LARGE_POSTERS)
            .map(|at| {
                let (number, bytes) = if at < SMALL_POSTERS { (200, 200) } else { (3, MIB as usize - 100) };
                scope.spawn(move || push(webhooks, POSTERS_FROM + at, amount(number), bytes))
            })
            .collect();
        let pushed: Vec<Pushed> = posting.into_iter().map(|poster| poster.join().unwrap()).collect();
        recorder.wait_for("all that was sent", |metrics| {
            streams.iter().all(|stream| {
                let sent = stream.sent.load(Ordering::Relaxed);
                sent > 0 && metrics.of_source("telereel_received_messages_total", &stream.name) == sent
            })
        });
        let published = bus.drain();
        is_over.store(true, Ordering::Relaxed);
        (pushed, watching.join().unwrap(), published)
    });
    let took = began.elapsed();

    recorder.wait_for("an empty queue, and what is over sealed", |metrics| {
        metrics.value("telereel_journal_queue_bytes") == 0 && metrics.value("telereel_unsealed_parts") == 0
    });
    let (after, own_after) = (recorder.rss(), recorder.own());
    let peak = memory(recorder.pid(), "VmHWM");
    let metrics = recorder.metrics();
    let refused: u64 = pushed.iter().map(|pushed| pushed.refused).sum();
    assert_eq!(recorder.stop(), Some(3), "it says that something was dropped");

    let stored = Stored::read(folder.path());
    let mut dropped = 0;
    for stream in &streams {
        let sent = stream.sent.load(Ordering::Relaxed);
        let told = stored.told.get(&stream.name).copied().unwrap_or(0);
        let there = stored.messages.keys().filter(|(sender, _)| *sender == stream.id).count() as u64;
        assert_eq!(there + told, sent, "{}: what is missing is not what was told", stream.name);
        assert_eq!(metrics.of_source("telereel_dropped_messages_total", &stream.name), told);
        dropped += told;
    }
    for (id, pushed) in (POSTERS_FROM..).zip(&pushed) {
        for (n, tries) in (0..).zip(&pushed.tries) {
            let times = stored.messages.get(&(id, n)).copied().unwrap_or(0);
            assert!(times > 0, "body {n} of poster {id} was acknowledged");
            assert!(times <= *tries, "body {n} of poster {id}: pushed {tries}, stored {times} times");
        }
    }
    bus.passed(|passed| {
        for n in 0..published {
            let times = stored.bus.get(&n).copied().unwrap_or(0);
            assert!(
                times > 0 && times <= passed.delivered[&n],
                "message {n} of the bus is there {times} times"
            );
        }
    });
    telereel(folder.path(), &["verify"], 0);

    let sent: u64 = streams.iter().map(|stream| stream.sent.load(Ordering::Relaxed)).sum();
    println!(
        "{sent} sent by streams, {dropped} of them dropped; {} pushed, {refused} times refused; {published} by the bus; \
         in {:.1} s; memory {} MiB idle ({} of it its own), {} at the most ({samples} samples), {} after ({} its own)",
        pushed.iter().map(|pushed| pushed.tries.len()).sum::<usize>(),
        took.as_secs_f64(),
        idle / MIB,
        own_idle / MIB,
        peak / MIB,
        after / MIB,
        own_after / MIB
    );
    assert!(dropped > 0 && refused > 0, "it was not too much");
    assert!(metrics.of_source("telereel_refused_messages_total", "hooks") > 0);
    assert!(peak <= MEMORY, "{} MiB were in memory", peak / MIB);
    assert!(
        own_after <= own_idle + MEMORY / 3,
        "{} MiB do not come back: {} before",
        own_after / MIB,
        own_idle / MIB
    );
}

fn write_config(folder: &Path, (webhooks, console): (u16, u16), streams: &[Stream], bus: u16) {
    let sources: String = streams.iter().map(Stream::source).collect();
    let config = format!(
        "[archive]\nsegment_max_bytes = \"16MiB\"\n[limits]\nmemory = \"{}MiB\"\n\
         [webhooks]\nlisten = \"127.0.0.1:{webhooks}\"\n[console]\nlisten = \"127.0.0.1:{console}\"\n\
         [[source]]\nname = \"hooks\"\nvendor = \"generic\"\ntransport = \"webhook\"\npath = \"/in\"\n\
         [[source]]\nname = \"bus\"\nvendor = \"generic\"\ntransport = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{bus}\"\n\
         topics = [\"t/+\"]\nqos = 1\nclient_id = \"recorder\"\nclean_session = false\n{sources}",
        MEMORY / MIB
    );
    std::fs::write(folder.join("telereel.toml"), config).unwrap();
}

struct Recorder {
    child: Child,
    console: u16,
}

impl Recorder {
    fn start(folder: &Path, console: u16) -> Self {
        let log = std::fs::File::create(folder.join("recorder.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_telereel"))
            .args(["record", "--session", "load"])
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let recorder = Self { child, console };
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", console)).is_err() {
            assert!(Instant::now() < deadline, "the recorder does not listen");
            std::thread::park_timeout(Duration::from_millis(2));
        }
        // It is answered once everything runs.
        recorder.metrics();
        recorder
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn rss(&self) -> u64 {
        memory(self.pid(), "VmRSS")
    }

    /// Without what is of files.
    fn own(&self) -> u64 {
        memory(self.pid(), "RssAnon")
    }

    /// Looks at its memory until it is over; how often it has looked.
    fn watch(&self, is_over: &AtomicBool) -> u64 {
        let mut samples = 0;
        while !is_over.load(Ordering::Relaxed) {
            let rss = self.rss();
            assert!(rss <= MEMORY, "{} MiB are in memory", rss / MIB);
            samples += 1;
            std::thread::park_timeout(Duration::from_millis(10));
        }
        samples
    }

    /// Stops it for longer than a source waits for room, when there is hardly any.
    fn stand_still(&self, is_over: &AtomicBool) {
        let mut times = 0;
        while times < 3 && !is_over.load(Ordering::Relaxed) {
            let metrics = self.metrics();
            let of_queue = |what: &str| metrics.value(&format!("telereel_journal_queue_{what}"));
            if of_queue("bytes") > of_queue("limit_bytes") * 3 / 4 {
                kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
                std::thread::park_timeout(Duration::from_millis(1_200));
                kill_process(Pid::from_child(&self.child), Signal::CONT).unwrap();
                times += 1;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn metrics(&self) -> Metrics {
        let stream = TcpStream::connect(("127.0.0.1", self.console)).unwrap();
        let (status, text) = exchange(&mut BufReader::new(stream), "GET", "/metrics", "").unwrap();
        assert_eq!(status, 200);
        Metrics(text)
    }

    fn wait_for(&self, what: &str, is_there: impl Fn(&Metrics) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let metrics = self.metrics();
            if is_there(&metrics) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{what} does not come: {} MiB\n{}",
                self.rss() / MIB,
                metrics.0
            );
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    fn stop(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}

struct Metrics(String);

impl Metrics {
    fn value(&self, name: &str) -> u64 {
        self.find(|line| line.split(' ').next() == Some(name))
    }

    fn of_source(&self, name: &str, source: &str) -> u64 {
        let label = format!("source=\"{source}\"");
        self.find(|line| line.starts_with(name) && line.contains(&label))
    }

    fn find(&self, is_it: impl Fn(&str) -> bool) -> u64 {
        let line = self.0.lines().find(|line| is_it(line)).unwrap_or_else(|| panic!("{}", self.0));
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64
    }
}

/// What is in the archive: each message as often as it is there, and what link rows tell of those that are not.
#[derive(Default)]
struct Stored {
    messages: HashMap<(u64, u64), usize>,
    bus: HashMap<u64, u64>,
    told: HashMap<String, u64>,
}

impl Stored {
    fn read(folder: &Path) -> Self {
        let archive = Archive::open(folder.join("archive")).unwrap();
        let mut stored = Self::default();
        for row in scan(&archive, &ScanOptions::default()).unwrap() {
            let row = row.unwrap();
            match (&*row.kind, &*row.source) {
                ("message", "bus") => {
                    let body: Value = serde_json::from_slice(&row.payload).unwrap();
                    *stored.bus.entry(body["bus"].as_u64().unwrap()).or_default() += 1;
                }
                ("message", _) => *stored.messages.entry(known(&row.payload)).or_default() += 1,
                ("link", source) => {
                    let event: Value = serde_json::from_slice(&row.payload).unwrap();
                    if event["event"] == "overflow" {
                        *stored.told.entry(source.to_owned()).or_default() +=
                            event["dropped"].as_u64().unwrap();
                    }
                }
                _ => {}
            }
        }
        stored
    }
}
