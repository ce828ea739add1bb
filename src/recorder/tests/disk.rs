//! A disk that is full, slow or read-only for a while, under a recorder with real sockets: what each vendor is told
//! meanwhile, and that nothing else is missing afterwards than what is said to be.

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use axum::Router;
use axum::routing::get;
use bytes::Bytes;

use super::peer::Peer;
use super::*;
use crate::archive::{VerifyOptions, is_for_room, recover, verify};
use crate::clock::{Clock, ManualClock};
use crate::disk::{Disk, DiskFile, RealDisk};

const SECOND_NS: u64 = 1_000_000_000;

/// The system's disk until it is told otherwise.
#[derive(Clone, Debug, Default)]
struct Moody(Arc<Moods>);

#[derive(Debug, Default)]
struct Moods {
    real: RealDisk,
    /// Writes find it full; free space is not what shows it.
    full: AtomicBool,
    /// So they do when so many more have been made.
    full_after: Mutex<Option<u32>>,
    /// So do those of segments, while there is room for the journal.
    full_for_segments: AtomicBool,
    /// It says that nothing is free.
    nearly_full: AtomicBool,
    read_only: AtomicBool,
    broken: AtomicBool,
    /// Writes wait.
    held: Mutex<bool>,
    let_go: Condvar,
}

impl Moods {
    fn take_room(&self) -> io::Result<()> {
        match &mut *self.full_after.lock().unwrap() {
            Some(0) => Err(ErrorKind::StorageFull.into()),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Moody {
    /// Whether a change of `path` may be made, once it is its turn.
    fn may(&self, path: &Path) -> io::Result<()> {
        let moods = &self.0;
        drop(moods.let_go.wait_while(moods.held.lock().unwrap(), |held| *held).unwrap());
        let is = |mood: &AtomicBool| mood.load(Ordering::SeqCst);
        // The archive's own folder, not that of the system around it.
        let is_segment = path.parent().is_some_and(|folder| folder.ends_with("archive/tmp"));
        match () {
            () if is(&moods.broken) => Err(io::Error::from_raw_os_error(5)),
            () if is(&moods.read_only) => Err(ErrorKind::ReadOnlyFilesystem.into()),
            () if is(&moods.full) || is_segment && is(&moods.full_for_segments) => {
                Err(ErrorKind::StorageFull.into())
            }
            () => Ok(()),
        }
    }

    fn hold(&self, held: bool) {
        *self.0.held.lock().unwrap() = held;
        self.0.let_go.notify_all();
    }
}

struct MoodyFile {
    disk: Moody,
    path: PathBuf,
    file: Box<dyn DiskFile>,
}

impl Write for MoodyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.may(&self.path)?;
        self.disk.0.take_room()?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl DiskFile for MoodyFile {
    fn sync_data(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

impl Disk for Moody {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.may(path)?;
        self.0.take_room()?;
        let file = self.0.real.create_new(path)?;
        Ok(Box::new(MoodyFile { disk: self.clone(), path: path.to_owned(), file }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.real.create_dir_all(path)
    }

    fn read(&self, path: &Path) -> io::Result<Bytes> {
        self.0.real.read(path)
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn io::Read + Send>> {
        self.0.real.open_read(path)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.0.real.len(path)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.0.real.sync_file(path)
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        self.0.real.truncate(path, len)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.may(to)?;
        self.0.real.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.real.remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.real.sync_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.0.real.list(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let is_low = self.0.nearly_full.load(Ordering::SeqCst);
        if is_low { Ok(0) } else { self.0.real.free_bytes(path) }
    }
}

/// A recorder of all three transports on such a disk, and a clock that is moved by hand.
struct Rig {
    _dir: tempfile::TempDir,
    config: Config,
    disk: Moody,
    clock: Arc<ManualClock>,
    recorder: Recorder,
    /// Of the WebSocket.
    socket: WebSocketStream<TcpStream>,
    /// The source dials, and nobody has answered yet.
    broker: TcpListener,
}

const HOOK: usize = 0;
const LIVE: usize = 1;
const BUS: usize = 2;

impl Rig {
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let vendor = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let broker = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bus = GenericTransport::Mqtt {
            url: format!("mqtt://{}", broker.local_addr().unwrap()),
            username: None,
            password: None,
            topics: vec!["#".to_owned()],
            qos: 1,
            client_id: "recorder".to_owned(),
            clean_session: false,
        };
        let live = websocket("live", format!("ws://{}/", vendor.local_addr().unwrap()));
        let sources = vec![webhook("hook", "/"), live, source("bus", bus)];
        let mut config = config(&dir.path().join("archive"), sources);
        change(&mut config);
        let (disk, clock) = (Moody::default(), Arc::new(ManualClock::at(Default::default())));
        let options = StartOptions {
            clock: Clock::Manual(Arc::clone(&clock)),
            disk: Some(Arc::new(disk.clone())),
            ..StartOptions::default()
        };
        let recorder = Recorder::start(&config, options).await.unwrap();
        let socket = accept(&vendor).await;
        Self { _dir: dir, config, disk, clock, recorder, socket, broker }
    }

    /// Lets a frame come, and waits until it has been taken or dropped.
    async fn says(&mut self, text: &str) {
        let counted = |status: &Status| status.sources[LIVE].messages + status.sources[LIVE].dropped;
        let before = counted(&self.recorder.status());
        self.socket.send(WsMessage::text(text)).await.unwrap();
        until(&self.recorder, text, |status| counted(status) == before + 1).await;
    }

    async fn pushed(&self, body: &str) -> String {
        let answer = post(&self.recorder, "POST /", body.as_bytes()).await;
        answer.split(' ').nth(1).unwrap().to_owned()
    }

    async fn stop(mut self) -> (Summary, Config, tempfile::TempDir) {
        let drained = async { while let Some(Ok(_)) = self.socket.next().await {} };
        let (summary, ()) = tokio::join!(stop(self.recorder), drained);
        (summary, self.config, self._dir)
    }
}

fn is_content(config: &Config) -> bool {
    let archive = Archive::open(&config.archive.path).unwrap();
    verify(&archive, VerifyOptions::default()).unwrap().is_content()
}

/// All payloads, sorted; long ones by their first bytes.
fn payloads(config: &Config) -> Vec<String> {
    let rows = stored(&config.archive.path, "message");
    let mut found: Vec<_> = rows
        .iter()
        .map(|(_, payload)| String::from_utf8_lossy(&payload[..payload.len().min(20)]).into_owned())
        .collect();
    found.sort();
    found
}

/// What the link events say was dropped, each.
fn overflows(config: &Config) -> Vec<u64> {
    let events = links(&config.archive.path).into_iter().filter(|event| event["event"] == "overflow");
    events.map(|event| event["dropped"].as_u64().unwrap()).collect()
}

const SAYS: &[(&str, &str)] = &[("a", "bus 1"), ("b", "bus 2"), ("a", "bus 3")];

/// Full, by what writes or by what the free space says, and room again: with the recorder that it was.
async fn full_for_a_while(full: fn(&Moods) -> &AtomicBool, by_writes: bool) {
    let mut rig = Rig::start(|config| config.archive.min_free_disk = 1).await;
    assert_eq!(rig.pushed("hook 1").await, "200");
    rig.says("live 1").await;
    let moods = Arc::clone(&rig.disk.0);
    let full = full(&moods);
    full.store(true, Ordering::SeqCst);
    if by_writes {
        // It is taken, and what shows it: it waits in the writer's hands.
        rig.says("live 2").await;
        // So is what shows it to the writer, and its sender need not wait for room.
        let answer = post(&rig.recorder, "POST /", b"hook in flight").await;
        assert!(answer.contains(" 503 ") && answer.contains("retry-after: 30"), "{answer}");
    }
    rig.clock.advance_ns(SECOND_NS);
    until(&rig.recorder, "a full disk", |status| !status.journal.accepting).await;

    assert_eq!(rig.pushed("hook refused").await, "503");
    let peer = Peer::new(SAYS, false);
    peer.clone().serve_on(rig.broker);
    let recorder = &rig.recorder;
    until(recorder, "held messages", |status| status.sources[BUS].messages == 3).await;
    rig.broker = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for _ in 0..7 {
        rig.says("live dropped").await;
    }
    assert_eq!(rig.recorder.status().sources[LIVE].dropped, 7);
    assert_eq!(peer.acknowledged.load(Ordering::SeqCst), 0, "what is held is not acknowledged");

    full.store(false, Ordering::SeqCst);
    rig.clock.advance_ns(SECOND_NS);
    until(&rig.recorder, "room", |status| status.journal.accepting).await;
    until(&rig.recorder, "acknowledgements", |_| peer.acknowledged.load(Ordering::SeqCst) == 3).await;
    assert_eq!(rig.pushed("hook 2").await, "200");
    rig.says("live 3").await;
    let (summary, config, _dir) = rig.stop().await;
    let refused = 1 + u64::from(by_writes);
    assert_eq!(
        (summary.dropped(), summary.sources[HOOK].refused, summary.sources[BUS].refused),
        (7, refused, 0)
    );
    assert_eq!(overflows(&config), [7]);
    let mut expected =
        vec!["bus 1", "bus 2", "bus 3", "hook 1", "hook 2", "hook in flight", "live 1", "live 2", "live 3"];
    expected.retain(|text| by_writes || !["live 2", "hook in flight"].contains(text));
    assert_eq!(payloads(&config), expected);
    assert!(is_content(&config));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_for_a_while_costs_only_what_is_said_to_be_dropped() {
    full_for_a_while(|moods| &moods.full, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_does_one_that_is_read_only_for_a_while() {
    full_for_a_while(|moods| &moods.read_only, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_does_one_whose_free_space_says_so() {
    full_for_a_while(|moods| &moods.nearly_full, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_slow_disk_costs_is_told_to_the_message_though_even_the_reserve_was_full() {
    const FRAME_BYTES: usize = 64 << 10;
    let mut rig = Rig::start(|config| config.limits.memory = 8 << 20).await;
    let frame = |n: usize| format!("{n:06}{}", "x".repeat(FRAME_BYTES));
    rig.says("before").await;
    rig.disk.hold(true);
    let (mut sent, mut told) = (0, 0);
    // The first that is dropped has been waited with for a second.
    while rig.recorder.status().sources[LIVE].dropped == 0 {
        rig.says(&frame(sent)).await;
        sent += 1;
    }
    // Each of these is told after ten seconds: more than the journal's reserve holds.
    for _ in 0..400 {
        rig.clock.advance_ns(10 * SECOND_NS);
        rig.says(&frame(sent)).await;
        (sent, told) = (sent + 1, told + 1);
    }
    let dropped = rig.recorder.status().sources[LIVE].dropped;
    assert!(dropped > 400 && dropped < sent as u64);

    rig.disk.hold(false);
    rig.clock.advance_ns(10 * SECOND_NS);
    until(&rig.recorder, "room", |status| status.journal.queue_bytes == 0).await;
    rig.says("after").await;
    let (summary, config, _dir) = rig.stop().await;
    let overflows = overflows(&config);
    assert!(overflows.len() > 1 && overflows.len() < told, "{} were told", overflows.len());
    assert_eq!(overflows.iter().sum::<u64>(), dropped);
    assert_eq!(summary.dropped(), dropped);
    let stored = payloads(&config);
    assert_eq!(stored.len() as u64, sent as u64 - dropped + 2);
    assert!(stored.contains(&"before".to_owned()) && stored.contains(&"after".to_owned()));
    assert!(is_content(&config));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_ends_the_recording_and_takes_nothing_that_was_acknowledged() {
    let mut rig = Rig::start(|_| {}).await;
    assert_eq!(rig.pushed("acknowledged").await, "200");
    rig.disk.0.broken.store(true, Ordering::SeqCst);
    rig.says("lost").await;
    let answer = post(&rig.recorder, "POST /", b"lost, and told so").await;
    assert!(answer.contains(" 503 ") && answer.contains("retry-after: 30"), "at once: {answer}");
    let why = soon(rig.recorder.failed()).await;
    assert!(why.contains("os error 5"), "{why}");
    assert_eq!(rig.pushed("refused").await, "503");
    let peer = Peer::new(SAYS, false);
    peer.clone().serve_on(rig.broker);
    let drained = async { while let Some(Ok(_)) = rig.socket.next().await {} };
    let (stopped, ()) = tokio::join!(soon(rig.recorder.stop(CancellationToken::new())), drained);
    assert!(matches!(stopped, Err(RecordError::Journal { .. })), "{stopped:?}");
    assert_eq!(peer.acknowledged.load(Ordering::SeqCst), 0);

    rig.disk.0.broken.store(false, Ordering::SeqCst);
    let archive = Archive::open(&rig.config.archive.path).unwrap();
    let _lock = archive.lock().unwrap();
    assert!(!recover(&archive).unwrap().has_loss());
    assert_eq!(payloads(&rig.config), ["acknowledged"]);
    assert!(is_content(&rig.config));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_found_no_room_to_be_sealed_is_sealed_a_minute_after_there_is() {
    let rig = Rig::start(|_| {}).await;
    assert_eq!(rig.pushed("one").await, "200");
    rig.disk.0.full_for_segments.store(true, Ordering::SeqCst);
    // The part is closed for its age.
    rig.clock.advance_ns(3_601 * SECOND_NS);
    let status = until(&rig.recorder, "an error", |status| status.seal_error.is_some()).await;
    assert_eq!((status.segments, status.journal.accepting), (0, true));
    rig.disk.0.full_for_segments.store(false, Ordering::SeqCst);
    rig.clock.advance_ns(60 * SECOND_NS);
    let is_sealed = |status: &Status| status.segments > 0 && status.seal_error.is_none();
    until(&rig.recorder, "the part sealed", is_sealed).await;
    let (_, config, _dir) = rig.stop().await;
    assert_eq!(payloads(&config), ["one"]);
    assert!(is_content(&config));
}

/// Asks a listener that the test holds as well.
async fn ask(listener: &std::net::TcpListener, request: &str) -> String {
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let request = format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorder_that_finds_the_disk_full_or_read_only_says_so_and_begins_when_there_is_room() {
    let moods: [fn(&Moods) -> &AtomicBool; 2] = [|moods| &moods.full, |moods| &moods.read_only];
    for mood in moods {
        let dir = tempfile::tempdir().unwrap();
        let config = config(&dir.path().join("archive"), vec![webhook("hook", "/")]);
        let listen = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (hooks, console) = (listen(), listen());
        let disk = Moody::default();
        mood(&disk.0).store(true, Ordering::SeqCst);
        let options = |give_up: &CancellationToken| StartOptions {
            disk: Some(Arc::new(disk.clone())),
            console: Some(|_, _| Router::new().route("/readyz", get(|| async {}))),
            inherited: Inherited {
                webhooks: Some(hooks.try_clone().unwrap()),
                console: Some(console.try_clone().unwrap()),
            },
            give_up: give_up.clone(),
            ..StartOptions::default()
        };
        let given_up = CancellationToken::new();
        given_up.cancel();
        let refused = soon(Recorder::start(&config, options(&given_up))).await.unwrap_err();
        assert!(is_for_room(&refused), "{refused}");

        let never = CancellationToken::new();
        let asked = async {
            let answer = ask(&hooks, "POST /").await;
            assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 30"), "{answer}");
            let answer = ask(&console, "GET /readyz").await;
            assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("disk_low"), "{answer}");
            assert!(ask(&console, "GET /livez").await.starts_with("HTTP/1.1 200"));
            mood(&disk.0).store(false, Ordering::SeqCst);
        };
        let (recorder, ()) =
            soon(async { tokio::join!(Recorder::start(&config, options(&never)), asked) }).await;
        let recorder = recorder.unwrap();
        assert!(post(&recorder, "POST /", b"taken").await.contains(" 200 "));
        assert!(ask(&console, "GET /readyz").await.starts_with("HTTP/1.1 200"));
        stop(recorder).await;
        assert_eq!(payloads(&config), ["taken"]);
        assert!(is_content(&config));
        assert_eq!(Archive::open(&config.archive.path).unwrap().list().unwrap().len(), 1, "no other session");
    }
}

/// The names of the files in a folder.
fn names_in(folder: PathBuf) -> Vec<String> {
    let files = std::fs::read_dir(folder).unwrap();
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_start_that_finds_no_room_however_far_it_comes_and_however_often_nothing_is_left() {
    let give_up = CancellationToken::new();
    give_up.cancel();
    let mut without_journal = 0;
    for room in 0.. {
        let dir = crate::archive::tests::support::quick_dir();
        let config = config(&dir.path().join("archive"), vec![webhook("hook", "/")]);
        let archive = Archive::create_or_open(&config.archive.path, "").unwrap();
        let disk = Moody::default();
        let start = async || {
            let disk: Arc<dyn Disk> = Arc::new(disk.clone());
            let options =
                StartOptions { disk: Some(disk), give_up: give_up.clone(), ..StartOptions::default() };
            soon(Recorder::start(&config, options)).await
        };
        let sessions = || names_in(archive.layout().sessions());
        let mut fails = 0;
        for _ in 0..3 {
            *disk.0.full_after.lock().unwrap() = Some(room);
            let Err(error) = start().await.map(drop) else { break };
            fails += 1;
            assert!(is_for_room(&error), "{error}");
            without_journal += u32::from(matches!(error, RecordError::Journal { .. }));
            // What is half removed does not count, and goes when there is room.
            let left = sessions();
            assert!(
                left.len() <= 1 && left.iter().all(|name| name.ends_with(".removed")),
                "{room}: {left:?}"
            );
            assert_eq!(names_in(archive.layout().journal()), [""; 0], "{room}");
            assert_eq!(archive.list().unwrap(), [], "{room}");
        }
        if fails == 0 {
            break;
        }
        *disk.0.full_after.lock().unwrap() = None;
        if fails == 3 {
            let summary = stop(start().await.unwrap()).await;
            assert_eq!(sessions(), [format!("{}.json", summary.session_ids[0])]);
            assert!(is_content(&config));
        }
    }
    assert!(without_journal > 0);
}
