//! The one thread that writes: takes the queue, encodes it into one buffer, writes, syncs, rotates.
//!
//! [`Writer::run`] only waits and takes turns; a turn ([`Writer::turn`]) neither waits nor reads a
//! clock of its own, so that tests take turns where and when they like.
//!
//! A write that finds the disk full or read-only has taken nothing of what it was given, so that it is no failure: the
//! writer syncs what was written before, since nobody knows how long it takes, keeps what it has in its hands, accepts
//! nothing, and goes on from the same byte when it can. Any other error of a write, and each of a sync, is the end.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::mem;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use super::format::{
    PartHeader, Place, RECORD_HEAD_BYTES, body_bytes, encode_file_header, encode_record, salt,
};
use super::free_disk::FreeDisk;
use super::progress::DurableMark;
use super::queue::{Charge, Entry, Shared, saturating_ns};
use super::stop::{Stop, describe, stop};
use super::{JournalError, JournalOptions, Ticket, part_file_name};
use crate::disk::{Disk, DiskFile};
use crate::message::{Message, SessionHeader};
use crate::units::human_size;

/// The write buffer is written once it holds this much: enough to make the system call's own cost
/// vanish, and little enough to be written while still in the processor's cache.
pub const WRITE_BYTES: usize = 256 << 10;

/// How often free space is looked at, in time and in bytes. In time also while nothing arrives: a
/// recorder that will refuse its next input is to say so before.
const DISK_CHECK_INTERVAL_NS: u64 = 1_000_000_000;

/// So little is waited for at the least, however near the floor is: it is passed by no more than that, and one message.
const DISK_MARGIN_BYTES: u64 = 1 << 20;

/// A batch that was larger once must not hold its memory for ever.
const KEPT_ENTRIES: usize = 8 << 10;

pub(super) struct Writer {
    disk: Arc<dyn Disk>,
    shared: Arc<Shared>,
    options: JournalOptions,
    closed: mpsc::Sender<PathBuf>,
    session: Session,
    part: Option<OpenPart>,
    batch: Vec<Entry>,
    /// Taken from the queue and not encoded yet.
    backlog: VecDeque<Entry>,
    /// When the oldest of these was accepted.
    backlog_since_ns: Option<u64>,
    /// Encoded and not written yet.
    buffer: Vec<u8>,
    /// What the messages in the buffer were charged with.
    in_buffer: Charge,
    /// A sync is wanted that waits for room on the disk.
    sync_now: bool,
    /// When the disk was found full; none while it is not.
    full_ns: Option<u64>,
    encoded: Last,
    /// What is in the buffer is not written, though the first of it may be.
    written: Last,
    /// When the oldest message that is not durable was accepted.
    oldest_unsynced_ns: Option<u64>,
    free_disk: FreeDisk,
}

/// The last message up to which something has been done.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    ticket: Ticket,
    /// The same as whoever looks on is told it.
    mark: Option<DurableMark>,
}

pub(super) struct Session {
    header: SessionHeader,
    started_ns: u64,
    next_part: u32,
    next_seq: u64,
    durable_seq: u64,
    last_elapsed_ns: u64,
    /// The ticket before that of `seq` 0.
    base_ticket: Ticket,
}

struct OpenPart {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    salt: u32,
    /// With what is still in the buffer.
    bytes: u64,
    /// Those in the file, and those of them that are sure to stay.
    written_bytes: u64,
    synced_bytes: u64,
    first_record_ns: Option<u64>,
}

impl Session {
    pub(super) fn new(header: SessionHeader, started_ns: u64, base_ticket: Ticket) -> Self {
        Self {
            header,
            started_ns,
            next_part: 0,
            next_seq: 0,
            durable_seq: 0,
            last_elapsed_ns: 0,
            base_ticket,
        }
    }

    /// The `seq` of an earlier message of this session by its ticket; none if it is of another.
    fn seq_of(&self, ticket: Ticket) -> Option<u64> {
        let seq = ticket.checked_sub(self.base_ticket)?.checked_sub(1)?;
        (seq < self.next_seq).then_some(seq)
    }
}

impl Writer {
    /// Makes the folder and the first part, both durable.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        shared: Arc<Shared>,
        options: JournalOptions,
        session: Session,
        closed: mpsc::Sender<PathBuf>,
    ) -> Result<Self, JournalError> {
        let now_ns = shared.now_ns();
        disk.create_dir_all(&options.dir).map_err(JournalError::io("create", &options.dir))?;
        let mut writer = Self {
            disk,
            shared,
            options,
            closed,
            session,
            part: None,
            batch: Vec::new(),
            backlog: VecDeque::new(),
            backlog_since_ns: None,
            buffer: Vec::new(),
            in_buffer: Charge::default(),
            sync_now: false,
            full_ns: None,
            encoded: Last::default(),
            written: Last::default(),
            oldest_unsynced_ns: None,
            free_disk: FreeDisk::default(),
        };
        writer.open_part()?;
        writer.write()?;
        writer.sync()?;
        writer.check_free_disk(now_ns, true);
        Ok(writer)
    }

    /// Writes until the journal is closed or something fails.
    pub(super) fn run(mut self) -> Result<(), JournalError> {
        let mut fuse = Fuse { shared: Arc::clone(&self.shared), lit: true };
        let result = loop {
            self.shared.wait(self.deadline_ns());
            match self.turn_or_fail() {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if result.is_ok() {
            self.shared.rest();
        }
        fuse.lit = false;
        result
    }

    /// Takes a turn; if it fails, so has the journal, and for good.
    pub(super) fn turn_or_fail(&mut self) -> Result<bool, JournalError> {
        self.turn().inspect_err(|error| self.shared.fail(describe(error).into()))
    }

    /// Writes what is queued and does what is due. False when the journal has been closed.
    pub(super) fn turn(&mut self) -> Result<bool, JournalError> {
        let taken = self.shared.take(&mut self.batch);
        self.backlog.extend(self.batch.drain(..));
        self.batch.shrink_to(KEPT_ENTRIES);
        let now_ns = self.shared.now_ns();
        self.sync_now |= taken.sync_now;
        self.backlog_since_ns = self.backlog_since_ns.or(taken.oldest_ns);
        let is_due = |full_ns: u64| now_ns.saturating_sub(full_ns) >= DISK_CHECK_INTERVAL_NS;
        if self.full_ns.is_none_or(is_due) || taken.closing {
            match self.work(now_ns, taken.closing) {
                Ok(()) => self.has_room(),
                Err(Stop::Full(error)) => {
                    if self.part.as_ref().is_some_and(|part| part.synced_bytes < part.written_bytes) {
                        self.sync()?;
                    }
                    if taken.closing {
                        return Err(error);
                    }
                    self.is_full(&error, now_ns);
                }
                Err(Stop::Failed(error)) => return Err(error),
            }
        }
        if taken.closing {
            return Ok(false);
        }
        self.check_free_disk(now_ns, false);
        Ok(true)
    }

    fn work(&mut self, now_ns: u64, closing: bool) -> Result<(), Stop> {
        self.write_backlog(now_ns)?;
        let interval_ns = saturating_ns(self.options.sync_interval);
        let is_due = self.oldest_unsynced_ns.is_some_and(|at| at.saturating_add(interval_ns) <= now_ns);
        if mem::take(&mut self.sync_now) || is_due {
            self.sync()?;
        }
        if closing || self.part_ends_ns().is_some_and(|at| at <= now_ns) {
            self.close_part()?;
        }
        Ok(())
    }

    fn is_full(&mut self, error: &JournalError, now_ns: u64) {
        if self.full_ns.replace(now_ns).is_none() {
            tracing::warn!("{}: nothing is accepted until that can be done", describe(error));
        }
        self.tell_accepting();
        // Each time: what was accepted at the very moment is not to wait either.
        self.shared.stuck(Some(describe(error).into()));
    }

    fn has_room(&mut self) {
        if self.full_ns.take().is_some() {
            tracing::info!("the disk can be written to: input is accepted again");
            self.shared.stuck(None);
            self.tell_accepting();
        }
    }

    fn tell_accepting(&self) {
        self.shared.set_accepting(!self.free_disk.low && self.full_ns.is_none());
    }

    /// When the next turn is due even if nothing arrives.
    pub(super) fn deadline_ns(&self) -> Option<u64> {
        if let Some(full_ns) = self.full_ns {
            return Some(full_ns.saturating_add(DISK_CHECK_INTERVAL_NS));
        }
        let interval_ns = saturating_ns(self.options.sync_interval);
        let sync = self.oldest_unsynced_ns.map(|at| at.saturating_add(interval_ns));
        let looks = self.options.min_free_disk > 0;
        let look = looks.then(|| self.free_disk.checked_ns.saturating_add(DISK_CHECK_INTERVAL_NS));
        [sync, self.part_ends_ns(), look].into_iter().flatten().min()
    }

    fn part_ends_ns(&self) -> Option<u64> {
        let first_record_ns = self.part.as_ref()?.first_record_ns?;
        Some(first_record_ns.saturating_add(saturating_ns(self.options.part_max_age)))
    }

    fn write_backlog(&mut self, now_ns: u64) -> Result<(), Stop> {
        let oldest_ns = self.backlog_since_ns.unwrap_or(now_ns);
        // What a full disk had left.
        self.write()?;
        while let Some(entry) = self.backlog.pop_front() {
            if let Err(stop) = self.take_entry(&entry, oldest_ns, now_ns) {
                self.backlog.push_front(entry);
                return Err(stop);
            }
            if self.buffer.len() >= WRITE_BYTES {
                self.write()?;
                self.check_free_disk(now_ns, false);
            }
        }
        self.backlog.shrink_to(KEPT_ENTRIES);
        self.backlog_since_ns = None;
        self.write()
    }

    fn take_entry(&mut self, entry: &Entry, oldest_ns: u64, now_ns: u64) -> Result<(), Stop> {
        match entry {
            Entry::Message { message, charge } => {
                self.put(message, now_ns)?;
                // Here and not once per batch, since a rotation within it syncs what was before.
                self.oldest_unsynced_ns.get_or_insert(oldest_ns);
                self.in_buffer.add(*charge);
            }
            Entry::Roll { header, started_ns } => {
                self.close_part()?;
                self.session = Session::new((**header).clone(), *started_ns, self.encoded.ticket);
            }
        }
        Ok(())
    }

    /// Gives a message its place and encodes it.
    fn put(&mut self, message: &Message, now_ns: u64) -> Result<(), Stop> {
        let record_bytes = (RECORD_HEAD_BYTES + body_bytes(message)) as u64;
        let is_full = |part: &OpenPart| {
            part.first_record_ns.is_some() && part.bytes + record_bytes > self.options.part_max_bytes
        };
        if self.part.as_ref().is_some_and(is_full) {
            self.close_part()?;
        }
        if self.part.is_none() {
            self.open_part()?;
        }
        let Some(part) = &mut self.part else { return Ok(()) };
        let session = &mut self.session;
        let elapsed_ns = message.at.steady_ns.saturating_sub(session.started_ns).max(session.last_elapsed_ns);
        let (seq, durable_seq) = (session.next_seq, session.durable_seq);
        let duplicate_of = message.duplicate_of.and_then(|ticket| session.seq_of(ticket));
        let place = Place { salt: part.salt, seq, durable_seq, elapsed_ns, duplicate_of };
        encode_record(&mut self.buffer, place, message);
        part.bytes += record_bytes;
        if part.first_record_ns.is_none() {
            part.first_record_ns = Some(now_ns);
            self.shared.part_begun(now_ns);
        }
        session.next_seq += 1;
        session.last_elapsed_ns = elapsed_ns;
        self.free_disk.bytes_since += record_bytes;
        let session_id = self.session.header.session_id;
        // The part that is open is the one before the next.
        let part = self.session.next_part.saturating_sub(1);
        let mark = Some(DurableMark { session_id, part, seq, received_at_us: message.at.wall_us });
        self.encoded = Last { ticket: self.encoded.ticket + 1, mark };
        Ok(())
    }

    /// Creates the session's next part and buffers its header.
    fn open_part(&mut self) -> Result<(), Stop> {
        let session = &mut self.session;
        let header = PartHeader {
            session: session.header.clone(),
            part: session.next_part,
            first_seq: session.next_seq,
        };
        let id = session.header.session_id;
        let path = self.options.dir.join(part_file_name(id, header.part));
        let before = self.buffer.len();
        encode_file_header(&mut self.buffer, &header)?;
        let bytes = (self.buffer.len() - before) as u64;
        let file = match self.disk.create_new(&path) {
            Ok(file) => file,
            Err(error) => {
                self.buffer.truncate(before);
                return Err(stop(error, "create", &path));
            }
        };
        // The name first: a durable record in a file without a name is no record.
        self.disk.sync_dir(&self.options.dir).map_err(JournalError::io("sync the folder of", &path))?;
        session.next_part += 1;
        let salt = salt(id, header.part);
        let (written_bytes, synced_bytes, first_record_ns) = (0, 0, None);
        self.part = Some(OpenPart { path, file, salt, bytes, written_bytes, synced_bytes, first_record_ns });
        Ok(())
    }

    /// Writes the buffer, which gives back the room of its messages.
    fn write(&mut self) -> Result<(), Stop> {
        let Some(part) = &mut self.part else { return Ok(()) };
        if self.full_ns.is_some() {
            // A file that is not as long as was said has taken what it refused: nothing may follow that.
            let found = self.disk.len(&part.path).map_err(JournalError::io("look at", &part.path))?;
            if found != part.written_bytes {
                let what = format!("{found} bytes long, where {} were written", part.written_bytes);
                return Err(JournalError::io("go on with", &part.path)(io::Error::other(what)).into());
            }
        }
        let mut written = 0;
        let done = loop {
            let rest = &self.buffer[written..];
            if rest.is_empty() {
                break Ok(());
            }
            match part.file.write(rest) {
                Ok(0) => break Err(ErrorKind::WriteZero.into()),
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        part.written_bytes += written as u64;
        self.buffer.drain(..written);
        done.map_err(|error| stop(error, "write", &part.path))?;
        self.buffer.shrink_to(2 * WRITE_BYTES);
        self.written = self.encoded;
        self.shared.release(mem::take(&mut self.in_buffer));
        Ok(())
    }

    /// Makes all that has been written durable, and says so.
    fn sync(&mut self) -> Result<(), JournalError> {
        if let Some(part) = &mut self.part {
            part.file.sync_data().map_err(JournalError::io("sync", &part.path))?;
            part.synced_bytes = part.written_bytes;
        }
        let Last { ticket, mark } = self.written;
        let mark_of_session = mark.filter(|mark| mark.session_id == self.session.header.session_id);
        self.session.durable_seq = mark_of_session.map_or(0, |mark| mark.seq + 1);
        if self.buffer.is_empty() {
            self.oldest_unsynced_ns = None;
        }
        self.shared.publish(ticket, mark);
        Ok(())
    }

    /// Completes the part and announces it; removes it if it is empty.
    fn close_part(&mut self) -> Result<(), Stop> {
        self.write()?;
        let is_empty = self.part.as_ref().is_some_and(|part| part.first_record_ns.is_none());
        if !is_empty {
            self.sync()?;
        }
        let Some(OpenPart { path, file, .. }) = self.part.take() else { return Ok(()) };
        drop(file);
        if is_empty {
            self.disk.remove_file(&path).map_err(JournalError::io("remove the empty", &path))?;
            self.disk.sync_dir(&self.options.dir).map_err(JournalError::io("sync the folder of", &path))?;
        } else {
            self.shared.part_closed();
            // Nobody may be listening any more; recovery finds the part all the same.
            let _ = self.closed.send(path);
        }
        Ok(())
    }

    fn check_free_disk(&mut self, now_ns: u64, first: bool) {
        let state = &mut self.free_disk;
        let due = first
            || now_ns.saturating_sub(state.checked_ns) >= DISK_CHECK_INTERVAL_NS
            || state.bytes_since >= state.look_after_bytes();
        if self.options.min_free_disk == 0 || !due {
            return;
        }
        (state.checked_ns, state.bytes_since) = (now_ns, 0);
        match self.disk.free_bytes(&self.options.dir) {
            Ok(free) => {
                let left = free.saturating_sub(self.options.min_free_disk);
                state.left = Some(left);
                self.shared.limit_queue((left / 2).max(DISK_MARGIN_BYTES));
                let was_low = std::mem::replace(&mut state.low, free < self.options.min_free_disk);
                let (free, least) = (human_size(free), human_size(self.options.min_free_disk));
                match (was_low, state.low) {
                    (false, true) => tracing::warn!(
                        "only {free} of disk are free, less than min_free_disk ({least}): nothing is \
                         accepted until there is room"
                    ),
                    (true, false) => tracing::info!("{free} of disk are free: input is accepted again"),
                    _ => {}
                }
                self.tell_accepting();
            }
            // Not knowing is no reason to stop; a disk that is really full fails the next write.
            Err(error) => tracing::warn!(%error, "cannot find out how much disk is free"),
        }
    }
}

/// Fails the journal if its thread ends by a panic, so that nobody waits for ever.
struct Fuse {
    shared: Arc<Shared>,
    lit: bool,
}

impl Drop for Fuse {
    fn drop(&mut self) {
        if self.lit {
            self.shared.fail("its thread panicked".into());
        }
    }
}
