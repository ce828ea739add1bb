//! What the tests of the journal share: a session, messages, a disk and a clock in the hand.

mod crash;
mod damage;
mod hostile;
mod round_trip;
mod writing;

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;

use super::writer::Writer;
use super::*;
use crate::clock::{ManualClock, Now};
use crate::disk::SimDisk;
use crate::message::Headers;

const DIR: &str = "/archive/journal";
const START: Now = Now { wall_us: 1_700_000_000_000_000, steady_ns: 5_000_000_000 };

fn session(n: u8) -> SessionHeader {
    SessionHeader {
        session_id: SessionId::new(START.wall_us, [n; 10]),
        name: format!("session {n}"),
        site: String::new(),
        started_at_us: START.wall_us,
        sources: Vec::new(),
    }
}

fn options() -> JournalOptions {
    JournalOptions {
        dir: DIR.into(),
        sync_interval: Duration::from_millis(50),
        part_max_bytes: 1 << 20,
        part_max_age: Duration::from_secs(3_600),
        queue_max_bytes: 1 << 20,
        min_free_disk: 0,
    }
}

fn message(payload: impl Into<Bytes>) -> Message {
    Message {
        source: 0,
        kind: 1,
        connection: 2,
        at: START,
        channel: "up/42/location".into(),
        mqtt: None,
        is_binary: false,
        headers: None,
        duplicate_of: None,
        payload: payload.into(),
        clear: None,
    }
}

/// A journal without its thread: the test takes the turns.
struct Rig {
    disk: SimDisk,
    clock: Arc<ManualClock>,
    handle: JournalHandle,
    writer: Writer,
    closed: mpsc::Receiver<PathBuf>,
}

impl Rig {
    fn new(options: JournalOptions) -> Self {
        let disk = SimDisk::new();
        let clock = Arc::new(ManualClock::at(START));
        let of_writer = Clock::Manual(Arc::clone(&clock));
        let (handle, writer, closed) =
            open(Arc::new(disk.clone()), of_writer, options, session(0), START.steady_ns).unwrap();
        Self { disk, clock, handle, writer, closed }
    }

    fn later(&self, payload: &str) -> Ticket {
        self.handle.try_append(message(payload.to_owned()), Sync::Later).unwrap()
    }

    fn now(&self, payload: &str) -> Ticket {
        self.handle.try_append(message(payload.to_owned()), Sync::Now).unwrap()
    }

    fn turn(&mut self) {
        assert!(self.writer.turn().unwrap());
    }

    fn close(&mut self) {
        self.handle.shared().begin_close();
        assert!(!self.writer.turn().unwrap());
    }

    fn clock_ns(&self) -> u64 {
        Clock::Manual(Arc::clone(&self.clock)).now().steady_ns
    }

    fn durable(&self) -> Ticket {
        self.handle.durable().borrow().up_to
    }

    fn parts(&self) -> Vec<PathBuf> {
        self.disk.list(Path::new(DIR)).unwrap()
    }
}

/// A record that outlives the reader's buffer.
#[derive(Clone, Debug, PartialEq)]
struct Record {
    seq: u64,
    elapsed_ns: u64,
    message: Message,
    headers: Option<Headers>,
}

fn own(record: RecordRef<'_>) -> Record {
    let headers = record.headers.map(|h| h.to_headers());
    Record {
        seq: record.seq,
        elapsed_ns: record.elapsed_ns,
        headers: headers.clone(),
        message: Message {
            source: record.source,
            kind: record.kind,
            connection: record.connection,
            at: Now { wall_us: record.received_at_us, steady_ns: 0 },
            channel: record.channel.into(),
            mqtt: record.mqtt,
            is_binary: record.is_binary,
            headers,
            duplicate_of: record.duplicate_of,
            payload: Bytes::copy_from_slice(record.payload),
            clear: record.clear.map(Bytes::copy_from_slice),
        },
    }
}

fn drain(reader: &mut PartReader) -> Vec<Record> {
    let mut records = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        records.push(own(record));
    }
    assert!(reader.next().unwrap().is_none(), "the end is for good");
    records
}

fn read(disk: &dyn Disk, path: &Path) -> (Vec<Record>, PartEnd) {
    let mut reader = PartReader::open(disk, path).unwrap();
    let records = drain(&mut reader);
    (records, reader.end())
}

fn payloads(records: &[Record]) -> Vec<&str> {
    records.iter().map(|r| std::str::from_utf8(&r.message.payload).unwrap()).collect()
}

/// Reads bytes as if they were a part of session 0.
fn open_bytes(bytes: &[u8]) -> Result<PartReader, JournalError> {
    let path = Path::new(DIR).join(part_file_name(session(0).session_id, 0));
    PartReader::read_from(Box::new(std::io::Cursor::new(bytes.to_vec())), &path)
}
