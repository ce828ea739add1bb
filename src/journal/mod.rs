//! The journal: what makes an accepted message durable within milliseconds.
//!
//! An append-only log of framed records, written by one thread that groups what has been queued
//! into one write and one sync. It gives each message its `seq` and nothing else does. A part (one
//! file) that is closed never changes again; sealing turns it into segments and removes it.
//!
//! What never happens here: a payload is looked into; a byte is overwritten; a failed write or sync
//! is tried again (the kernel may have dropped the bytes, so the writer refuses all work instead). Only a
//! write that finds the disk full or read-only, which takes no byte, goes on when it can; until then nothing is accepted.
//!
//! # Format, version 1
//!
//! Published for ever: what is written here stays readable. Integers are little-endian and unsigned
//! unless said otherwise; CRC32 is the one of zlib and PNG. A part is named
//! `{session_id}-{part:06}.journal` and holds a file header, then records up to its end, without
//! padding.
//!
//! ## File header
//!
//! ```text
//! offset  bytes  field
//!      0      8  magic  89 54 52 4A 0D 0A 1A 0A ("\x89TRJ\r\n\x1a\n": shows a transfer as text)
//!      8      2  version, 1
//!     10      2  reserved, 0
//!     12      4  length n of the JSON, at most 64 MiB
//!     16      4  CRC32 of bytes 0..16, then of the JSON
//!     20      n  JSON: {"session": {…}, "part": 0, "first_seq": 0}
//! ```
//!
//! `session` is what recovery needs without the configuration: id, name, site, start, and each source
//! with its vendor, public settings, kinds and their declarations. `part` counts from 0 within the
//! session; `first_seq` is the `seq` of the first record, also where there is none yet. Readers skip
//! JSON keys that they do not know. In every future version the first 20 bytes mean the same.
//!
//! ## Record
//!
//! A head of 60 bytes, then the body.
//!
//! ```text
//! offset  bytes  field
//!      0      4  marker  F5 72 65 63 (F5 occurs in no UTF-8 text, so few payloads look like a record)
//!      4      4  head CRC32: of the 16 bytes of the session id, the part (4), then bytes 8..60
//!      8      4  length of the body, at most 64 MiB
//!     12      4  CRC32 of the body
//!     16      8  seq: the one before, plus 1
//!     24      8  received_at, signed microseconds since the Unix epoch
//!     32      8  elapsed_ns: steady nanoseconds since the session's start, never less than before
//!     40      4  connection
//!     44      2  source: index into the header's sources
//!     46      2  kind: index into that source's kinds
//!     48      2  flags: 0 binary · 1 MQTT · 2 retain · 3 dup · 4–5 QoS · 6 headers · 7 duplicate_of
//!                · 8 clear · the rest 0
//!     50      2  reserved, 0
//!     52      4  length of the channel
//!     56      4  how many records right before this one were not known to be on disk when it was
//!                written (2^32 - 1: that many or more)
//!     60         body: channel (UTF-8)
//!                | duplicate_of (8), if flagged
//!                | headers, if flagged: length of what follows (4), count (4), then per header
//!                  name length (4), name (UTF-8), value length (4), value (UTF-8)
//!                | clear, if flagged: length (4), bytes
//!                | payload: the rest
//! ```
//!
//! Why two checksums: the head's vouches for the length before anything is allocated or skipped by
//! it, so that a flipped bit in a length is seen as such; and a record whose body alone is damaged
//! still says which `seq` was lost. Why the head's starts with session and part: a record from
//! another file (a reused disk block, a journal sent as somebody's payload) is not mistaken for one
//! of this file.
//!
//! # What a reader makes of damage
//!
//! ```text
//! at the place where a record should begin            then
//! end of file                                         the part ends clean
//! a whole record, both sums right, the next seq       it is given out
//! anything else, and a whole record further on        damage: bytes and seqs between are counted lost
//! anything else, and no whole record further on       a torn tail
//! a whole record with a later seq                     damage of no bytes: the seqs between are lost
//! a whole record with an earlier seq                  not a record (no message comes twice)
//! ```
//!
//! What a crash may take had not been synced, so nobody had been promised it. Mostly that is a torn
//! tail; but blocks reach a disk in any order, so it may be a hole as well, with whole records behind
//! it. That is what the last field of the head is for: a hole is a broken promise only if a later
//! record (or a later part, since a part is synced before the next begins) says that it had been
//! synced, and a failing disk then. A file header that is torn is the same at the start of a part: it is written
//! with the part's first records and synced with them, so nothing behind it had been promised.
//!
//! # Memory
//!
//! Waiting messages are bounded by [`JournalOptions::queue_max_bytes`], which counts a message until
//! it has been written, so that the queue and the batch in the writer's hands share one bound. Link
//! events have [`RESERVE_BYTES`] besides. The write buffer is [`WRITE_BYTES`] or one message.

mod format;
mod free_disk;
mod progress;
mod queue;
mod reader;
#[cfg(test)]
mod stepped;
mod stop;
mod writer;

#[cfg(test)]
mod tests;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::Clock;
use crate::disk::Disk;
use crate::message::{Message, SessionHeader, SessionId};

pub use format::{FILE_HEAD_BYTES, HeadersRef, MAX_BODY_BYTES, PartHeader, RecordRef};
pub use progress::{DurableMark, LATE_NS, Progress};
pub use queue::{JournalHandle, RESERVE_BYTES};
pub use reader::{Damage, PartEnd, PartReader};
#[cfg(test)]
pub use stepped::{Stepped, stepped};
pub use writer::WRITE_BYTES;

use format::encode_file_header;
use queue::Shared;
use writer::{Session, Writer};

/// Where a message stands in the order of acceptance, from 1, across sessions.
pub type Ticket = u64;

/// How soon a message must be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Somebody waits for the acknowledgement: at once, behind the sync in flight.
    Now,
    /// Within [`JournalOptions::sync_interval`].
    Later,
}

/// How far the journal has come.
#[derive(Clone, Debug, Default)]
pub struct Durable {
    /// Every message up to this ticket is on disk; 0 is none.
    pub up_to: Ticket,
    /// Why the disk takes nothing at the moment: it is full or read-only. What is accepted and beyond `up_to` waits, and
    /// nobody knows for how long.
    pub stuck: Option<Arc<str>>,
    /// Set once a write or sync has failed: nothing beyond `up_to` will ever be durable.
    pub error: Option<Arc<str>>,
}

impl Durable {
    /// What became of a ticket: on disk, lost because the journal failed, or not known yet.
    pub fn outcome(&self, ticket: Ticket) -> Option<Result<(), Arc<str>>> {
        if self.up_to >= ticket { Some(Ok(())) } else { self.error.clone().map(Err) }
    }
}

/// Where the journal is kept, and its limits.
#[derive(Clone, Debug)]
pub struct JournalOptions {
    /// `ARCHIVE/journal`.
    pub dir: PathBuf,
    /// The most that a power cut loses of input that nobody waits to see acknowledged.
    pub sync_interval: Duration,
    /// A part is closed before it would grow beyond this, unless by its only record.
    pub part_max_bytes: u64,
    /// A part is closed this long after its first record.
    pub part_max_age: Duration,
    /// Accepted messages that are not yet written, with their overhead; see the module on memory.
    pub queue_max_bytes: usize,
    /// Below it nothing is accepted; 0 never looks.
    pub min_free_disk: u64,
}

/// Why a message was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error("the journal's queue is full")]
    QueueFull(Box<Message>),
    #[error("the disk is nearly full")]
    DiskLow(Box<Message>),
    #[error("the message of {bytes} bytes is longer than the {MAX_BODY_BYTES} that the journal takes")]
    TooLarge { message: Box<Message>, bytes: usize },
    #[error("the journal has failed: {0}")]
    Poisoned(Arc<str>),
    #[error("the journal is closed")]
    Closed(Box<Message>),
}

/// What can go wrong with the journal as a whole or one of its parts.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot start the journal's thread")]
    Thread { source: io::Error },
    #[error(
        "the description of session {session} takes {bytes} bytes, more than the 64 MiB of a journal header"
    )]
    HeaderTooLarge { session: SessionId, bytes: usize },
    #[error("the description of session {session} cannot be written as JSON")]
    HeaderUnwritable { session: SessionId, source: serde_json::Error },
    /// Nothing in it can be read, and nothing that was promised was in it unless the disk failed.
    #[error("{} ends within its header, after {bytes} bytes, with no record behind it", path.display())]
    HeaderTorn { path: PathBuf, bytes: u64 },
    /// There are records, but what describes them is damaged: [`write_with_header`] makes
    /// a part of them that can be read.
    #[error("{} has a damaged header: {what}; the first record is at byte {first_record}", path.display())]
    HeaderDamaged { path: PathBuf, what: String, first_record: u64 },
    /// Its header is damaged, and it holds whole records of another part than its name says: nothing tells of which.
    #[error("{} has a damaged header: {what}; its records are those of another part than it is called", path.display())]
    NotItsOwn { path: PathBuf, what: String },
    #[error("{} has version {found} of the journal format, this program knows up to {known}", path.display())]
    NewerFormat { path: PathBuf, found: u16, known: u16 },
    #[error("the journal has failed: {reason}")]
    Poisoned { reason: Arc<str> },
}

impl JournalError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// The journal's owner: what ends it.
#[derive(Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<(), JournalError>>>,
    closed_parts: Option<mpsc::Receiver<PathBuf>>,
}

/// The file name of a part.
pub fn part_file_name(session: SessionId, part: u32) -> String {
    format!("{session}-{part:06}.journal")
}

/// Session and part from a file name as [`part_file_name`] makes it.
pub fn parse_part_file_name(path: &Path) -> Option<(SessionId, u32)> {
    let (session, part) = path.file_name()?.to_str()?.strip_suffix(".journal")?.rsplit_once('-')?;
    let (session, part) = (session.parse().ok()?, part.parse().ok()?);
    (path.file_name()?.to_str()? == part_file_name(session, part)).then_some((session, part))
}

/// Writes the records of the part at `from`, whose own header is damaged
/// ([`JournalError::HeaderDamaged`]), to `to` behind `header`: that of another part of its session,
/// with its own number, and with where the part before ended as `first_seq`. Synced, but not its name.
pub fn write_with_header(
    disk: &dyn Disk,
    (from, first_record): (&Path, u64),
    header: &PartHeader,
    to: &Path,
) -> Result<(), JournalError> {
    let mut head = Vec::new();
    encode_file_header(&mut head, header)?;
    let copy = || {
        let mut records = disk.open_read(from)?;
        io::copy(&mut records.by_ref().take(first_record), &mut io::sink())?;
        let mut file = disk.create_new(to)?;
        file.write_all(&head)?;
        io::copy(&mut records, &mut file)?;
        file.sync_data()
    };
    copy().map_err(JournalError::io("write anew", from))
}

/// Starts a session's journal and the thread that writes it.
///
/// The first part is made here and synced, so that a disk that cannot be written to is found out
/// before anything is accepted. `elapsed_ns` counts from `started_ns`, the steady time at which
/// `header.started_at_us` was stamped.
pub fn start(
    disk: Arc<dyn Disk>,
    clock: Clock,
    options: JournalOptions,
    header: SessionHeader,
    started_ns: u64,
) -> Result<(Journal, JournalHandle), JournalError> {
    let (handle, writer, closed_parts) = open(disk, clock, options, header, started_ns)?;
    let shared = handle.shared();
    let thread = std::thread::Builder::new()
        .name("journal".to_owned())
        .spawn(move || writer.run())
        .map_err(|source| JournalError::Thread { source })?;
    Ok((Journal { shared, thread: Some(thread), closed_parts: Some(closed_parts) }, handle))
}

/// All of a journal but its thread, so that tests can take the writer's turns themselves.
fn open(
    disk: Arc<dyn Disk>,
    clock: Clock,
    options: JournalOptions,
    header: SessionHeader,
    started_ns: u64,
) -> Result<(JournalHandle, Writer, mpsc::Receiver<PathBuf>), JournalError> {
    // Unbounded, but for one path per closed part: the parts themselves fill the disk long before.
    let (closed, closed_parts) = mpsc::channel();
    let shared = Arc::new(Shared::new(clock, &options));
    let writer =
        Writer::open(disk, Arc::clone(&shared), options, Session::new(header, started_ns, 0), closed)?;
    Ok((JournalHandle::new(shared), writer, closed_parts))
}

/// The way into a journal that accepts and never writes: what happens when it is full.
#[cfg(test)]
pub fn stuck(
    disk: Arc<dyn Disk>,
    options: JournalOptions,
    header: SessionHeader,
) -> Result<JournalHandle, JournalError> {
    open(disk, Clock::System, options, header, 0).map(|(handle, ..)| handle)
}

impl Journal {
    /// Parts as they become complete: synced, closed, never to change again. The channel ends when
    /// the journal does. There is one receiver: `None` from the second call on.
    pub fn closed_parts(&mut self) -> Option<mpsc::Receiver<PathBuf>> {
        self.closed_parts.take()
    }

    /// Refuses new messages, writes and syncs all that is queued, closes the last part and announces
    /// it, or removes it if it is empty.
    pub fn close(mut self) -> Result<(), JournalError> {
        self.stop()
    }

    fn stop(&mut self) -> Result<(), JournalError> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        self.shared.begin_close();
        match thread.join() {
            Ok(result) => result,
            Err(_) => Err(JournalError::Poisoned { reason: "its thread panicked".into() }),
        }
    }
}

/// As [`Journal::close`], for a path that has failed already and has nobody to tell.
impl Drop for Journal {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}
