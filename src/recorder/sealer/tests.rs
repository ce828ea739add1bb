use super::*;
use crate::clock::Clock;
use crate::journal::{self, JournalOptions, Sync};
use crate::message::{KindHeader, Message, SessionHeader, SourceHeader};

fn header(archive: &Archive) -> SessionHeader {
    let kinds = vec![KindHeader { name: "message".to_owned(), declaration: None }];
    let settings = serde_json::Value::Null;
    let source = SourceHeader { name: "s".to_owned(), vendor: "generic".to_owned(), kinds, settings };
    let now = Clock::System.now();
    let mut header = crate::recorder::begin::new_header(Some("test"), "", vec![source], now, None).unwrap();
    archive.begin_session(&mut header).unwrap();
    header
}

/// A session of `n` messages in as many closed parts.
fn parts(archive: &Archive, header: &SessionHeader, n: usize) -> Vec<PathBuf> {
    let options = JournalOptions {
        dir: archive.layout().journal(),
        sync_interval: Duration::ZERO,
        part_max_bytes: 1,
        part_max_age: Duration::from_secs(3_600),
        queue_max_bytes: 1 << 20,
        min_free_disk: 0,
    };
    let disk = Arc::clone(archive.disk());
    let (mut journal, handle) = journal::start(disk, Clock::System, options, header.clone(), 0).unwrap();
    for _ in 0..n {
        let message = Message {
            source: 0,
            kind: 0,
            connection: 0,
            at: Clock::System.now(),
            channel: "a".into(),
            mqtt: None,
            is_binary: false,
            headers: None,
            duplicate_of: None,
            payload: "x".into(),
            clear: None,
        };
        handle.try_append(message, Sync::Now).unwrap();
    }
    let closed = journal.closed_parts().unwrap();
    journal.close().unwrap();
    closed.iter().collect()
}

fn sealer(archive: &Archive) -> Sealer {
    Sealer::new(archive.clone(), Arc::default())
}

fn is_content(archive: &Archive) -> bool {
    archive::verify(archive, archive::VerifyOptions::default()).unwrap().is_content()
}

#[test]
fn a_part_that_could_not_be_sealed_is_sealed_with_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::create_or_open(dir.path().join("a"), "").unwrap();
    let header = header(&archive);
    let parts = parts(&archive, &header, 3);
    let mut sealer = sealer(&archive);
    let in_the_way = InTheWay::put(dir.path());
    sealer.seal(parts[0].clone());
    sealer.seal(parts[1].clone());
    assert!(sealer.sealing.stats().last_error.is_some());

    in_the_way.remove();
    sealer.seal(parts[2].clone());
    let stats = sealer.sealing.stats();
    assert_eq!((stats.messages, stats.last_error), (3, None));
    sealer.sealing.end(header.session_id, header.started_at_us, None);
    sealer.end_sessions(true);
    assert_eq!(archive.resolve("test").unwrap().ended.as_deref(), Some("stopped"));
    assert!(is_content(&archive));
}

#[test]
fn what_damage_took_from_the_journal_while_recording_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::create_or_open(dir.path().join("a"), "").unwrap();
    let header = header(&archive);
    let parts = parts(&archive, &header, 4);
    let mut sealer = sealer(&archive);
    sealer.seal(parts[0].clone());
    assert_eq!((sealer.sealing.stats().lost, sealer.sealing.stats().has_damage()), (0, false));
    // Its only message: the next part tells that it is missing.
    let mut bytes = std::fs::read(&parts[1]).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&parts[1], bytes).unwrap();
    parts[1..3].iter().for_each(|part| sealer.seal(part.clone()));
    let stats = sealer.sealing.stats();
    assert_eq!((stats.messages, stats.lost, stats.set_aside), (2, 1, 0), "{stats:?}");
    assert!(stats.has_damage(), "{stats:?}");
    // A sidecar is made anew of the part.
    std::fs::write(archive.layout().sidecar(header.session_id), "{").unwrap();
    sealer.seal(parts[3].clone());
    let stats = sealer.sealing.stats();
    assert_eq!((stats.messages, stats.lost, stats.set_aside, stats.last_error), (3, 1, 1, None));
}

/// Something in the way of the folder that the first segment is to go to.
struct InTheWay {
    kind: PathBuf,
    aside: PathBuf,
}

impl InTheWay {
    fn put(dir: &std::path::Path) -> Self {
        let (kind, aside) = (dir.join("a/data/vendor=generic/kind=message"), dir.join("aside"));
        std::fs::rename(&kind, &aside).unwrap();
        std::fs::write(&kind, "").unwrap();
        Self { kind, aside }
    }

    fn remove(self) {
        std::fs::remove_file(&self.kind).unwrap();
        std::fs::rename(&self.aside, &self.kind).unwrap();
    }
}

#[test]
fn a_part_that_could_not_be_sealed_is_tried_again_each_minute() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::create_or_open(dir.path().join("a"), "").unwrap();
    let header = header(&archive);
    let parts = parts(&archive, &header, 1);
    let clock = Arc::new(crate::clock::ManualClock::default());
    let sealing = Arc::new(Sealing::new(Clock::Manual(Arc::clone(&clock))));
    let mut sealer = Sealer::new(archive.clone(), sealing);
    let in_the_way = InTheWay::put(dir.path());
    sealer.seal(parts[0].clone());
    in_the_way.remove();
    clock.advance_ns(AGAIN_NS - 1);
    sealer.look();
    assert!(sealer.sealing.stats().last_error.is_some(), "not yet");
    clock.advance_ns(1);
    sealer.look();
    let stats = sealer.sealing.stats();
    assert_eq!((stats.messages, stats.last_error, stats.waiting_since_ns), (1, None, None));
    assert!(is_content(&archive));
}

#[test]
fn a_part_that_could_not_be_sealed_is_tried_once_more_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::create_or_open(dir.path().join("a"), "").unwrap();
    let header = header(&archive);
    let parts = parts(&archive, &header, 1);
    let mut sealer = sealer(&archive);
    let in_the_way = InTheWay::put(dir.path());
    sealer.seal(parts[0].clone());
    sealer.sealing.end(header.session_id, header.started_at_us, None);
    in_the_way.remove();
    let (journal, closed) = std::sync::mpsc::channel();
    drop(journal);
    sealer.run(&closed);
    assert_eq!(sealer.sealing.stats().messages, 1);
    assert_eq!(archive.resolve("test").unwrap().ended.as_deref(), Some("stopped"));
    assert!(is_content(&archive));
}

#[test]
fn a_reader_whose_query_takes_long_holds_up_no_sealing() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::create_or_open(dir.path().join("a"), "").unwrap();
    let header = header(&archive);
    let parts = parts(&archive, &header, 8);
    let mut sealer = sealer(&archive);
    // Held by a recorder, and with it the index's log for readers.
    let lock = archive.lock().unwrap();
    sealer.seal(parts[0].clone());
    let reader = rusqlite::Connection::open(archive.layout().index()).unwrap();
    let segments = || reader.query_row("SELECT count(*) FROM segment", [], |row| row.get(0)).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let before: i64 = segments();
    for part in &parts[1..] {
        sealer.seal(part.clone());
    }
    let stats = sealer.sealing.stats();
    assert_eq!((stats.messages, stats.last_error), (8, None));
    assert_eq!(segments(), before, "what it reads is of one moment");
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(segments(), 8 * before);
    drop((reader, lock));
    assert!(is_content(&archive));
}

#[test]
fn a_session_whose_end_is_told_behind_its_last_part_is_ended_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::create_or_open(dir.path().join("a"), "").unwrap();
    let (first, second) = (header(&archive), header(&archive));
    let of_first = parts(&archive, &first, 1);
    // The next one has begun, and its part is not complete yet.
    assert_eq!(parts(&archive, &second, 1).len(), 1);
    let mut sealer = sealer(&archive);
    let sealing = Arc::clone(&sealer.sealing);
    let (journal, closed) = std::sync::mpsc::channel();
    let running = std::thread::spawn(move || sealer.run(&closed));
    let until = |is_so: &dyn Fn() -> bool| {
        let began = std::time::Instant::now();
        while !is_so() {
            assert!(began.elapsed() < Duration::from_secs(60), "never");
            std::thread::yield_now();
        }
    };
    journal.send(of_first[0].clone()).unwrap();
    until(&|| sealing.stats().messages == 1);
    sealing.end(first.session_id, first.started_at_us, Some(second.session_id));
    until(&|| archive.resolve("test").unwrap().ended.is_some());
    drop(journal);
    running.join().unwrap();
}

#[test]
fn a_session_that_has_a_part_left_is_ended_by_recovery() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::create_or_open(dir.path().join("a"), "").unwrap();
    let header = header(&archive);
    let parts = parts(&archive, &header, 2);
    let mut sealer = sealer(&archive);
    // The second part is one that a journal which failed has not announced.
    sealer.seal(parts[0].clone());
    sealer.sealing.end(header.session_id, header.started_at_us, None);
    sealer.end_sessions(true);
    assert_eq!(archive.resolve("test").unwrap().ended, None);

    archive::recover(&archive).unwrap();
    assert_eq!(archive.resolve("test").unwrap().ended.as_deref(), Some("recovered"));
    assert!(is_content(&archive));
}
