use super::*;
use crate::clock::Clock;
use crate::journal::{self, JournalOptions, Sync};
use crate::message::{KindHeader, Message, SessionHeader, SourceHeader};

fn header(archive: &Archive) -> SessionHeader {
    let kinds = vec![KindHeader { name: "message".to_owned(), declaration: None }];
    let settings = serde_json::Value::Null;
    let source = SourceHeader { name: "s".to_owned(), vendor: "generic".to_owned(), kinds, settings };
    let now = Clock::System.now();
    let mut header = crate::recorder::start::new_header(Some("test"), "", vec![source], now).unwrap();
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
    // In the way of the folder that the first segment is to go to.
    let kind = dir.path().join("a/data/vendor=generic/kind=message");
    let aside = dir.path().join("aside");
    std::fs::rename(&kind, &aside).unwrap();
    std::fs::write(&kind, "").unwrap();
    sealer.seal(parts[0].clone());
    sealer.seal(parts[1].clone());
    assert!(sealer.sealing.stats().last_error.is_some());

    std::fs::remove_file(&kind).unwrap();
    std::fs::rename(&aside, &kind).unwrap();
    sealer.seal(parts[2].clone());
    let stats = sealer.sealing.stats();
    assert_eq!((stats.messages, stats.last_error), (3, None));
    sealer.sealing.end(header.session_id, header.started_at_us, None);
    sealer.end_sessions(true);
    assert_eq!(archive.resolve("test").unwrap().ended.as_deref(), Some("stopped"));
    assert!(is_content(&archive));
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
