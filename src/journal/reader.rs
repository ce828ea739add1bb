//! Reads a part from its start to its end, in bounded memory, past whatever damage there is.

use std::io::{self, Read};
use std::mem;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::format::{
    FILE_HEAD_BYTES, MAGIC, MARKER, MAX_HEADER_BYTES, PartHeader, RECORD_HEAD_BYTES, RecordHead, RecordRef,
    VERSION, file_header_crc, salt,
};
use super::{JournalError, parse_part_file_name};
use crate::disk::Disk;

/// Read at a time. The buffer is twice that, or one record.
const CHUNK_BYTES: usize = 256 << 10;

/// So many damaged places are described one by one; more only count.
const DESCRIBED_DAMAGES: usize = 1_000;

/// A stretch of a part that holds no readable record, with readable ones after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where in the file. Empty where records are missing without a trace.
    pub bytes: Range<u64>,
    /// The `seq` of the messages that were there.
    pub seqs: Range<u64>,
}

/// How a part ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartEnd {
    Clean,
    /// The last write was cut short by a crash: nothing that had been promised is missing, if this
    /// is the last part of its session.
    TornTail {
        offset: u64,
        bytes: u64,
    },
    /// Messages are missing that have others after them.
    Damaged {
        /// The first thousand.
        ranges: Vec<Damage>,
        lost_bytes: u64,
        lost_messages: u64,
        /// Those of the lost messages that a later record of this part proves to have been durable.
        /// If it is not the last part of its session, all of them were.
        promised_messages: u64,
        torn_tail: Option<Range<u64>>,
    },
}

/// A part being read.
pub struct PartReader {
    path: PathBuf,
    header: PartHeader,
    salt: u32,
    source: Source,
    /// Bytes of the record given out last, which the caller may still borrow.
    given_bytes: usize,
    next_seq: u64,
    done: bool,
    damages: Vec<Damage>,
    lost_bytes: u64,
    lost_messages: u64,
    /// The lost `seq`s at or beyond `durable_seq`.
    unproven: Vec<Range<u64>>,
    durable_seq: u64,
    torn_tail: Option<Range<u64>>,
}

impl std::fmt::Debug for PartReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartReader").field("path", &self.path).field("offset", &self.source.offset).finish()
    }
}

impl PartReader {
    /// Opens a part and reads its header. The file may still be growing: it is read as far as it is.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Self, JournalError> {
        let file = disk.open_read(path).map_err(JournalError::io("open", path))?;
        Self::read_from(file, path)
    }

    /// Reads a part from anywhere; `path` is what it is called in errors.
    pub(super) fn read_from(file: Box<dyn Read + Send>, path: &Path) -> Result<Self, JournalError> {
        let mut source = Source { file, buffer: Vec::new(), start: 0, offset: 0 };
        let read = read_header(&mut source).map_err(JournalError::io("read", path))?;
        let header = match read {
            Ok(header) => header,
            Err(HeaderFault::Newer(found)) => {
                return Err(JournalError::NewerFormat { path: path.to_owned(), found, known: VERSION });
            }
            Err(HeaderFault::Unreadable(what)) => return Err(unreadable(source, path, what)),
        };
        Ok(Self::new(source, path, header))
    }

    fn new(source: Source, path: &Path, header: PartHeader) -> Self {
        Self {
            path: path.to_owned(),
            salt: salt(header.session.session_id, header.part),
            next_seq: header.first_seq,
            header,
            source,
            given_bytes: 0,
            done: false,
            damages: Vec::new(),
            lost_bytes: 0,
            lost_messages: 0,
            unproven: Vec::new(),
            durable_seq: 0,
            torn_tail: None,
        }
    }

    pub fn header(&self) -> &PartHeader {
        &self.header
    }

    /// All before this `seq` had been on disk when a record was written that has been read so far.
    pub fn durable_seq(&self) -> u64 {
        self.durable_seq
    }

    /// The next readable record; `None` at the end, for good.
    #[allow(clippy::should_implement_trait, reason = "an Iterator cannot lend from its own buffer")]
    pub fn next(&mut self) -> Result<Option<RecordRef<'_>>, JournalError> {
        let found = self.advance().map_err(JournalError::io("read", &self.path))?;
        let body = found
            .as_ref()
            .and_then(|head| self.source.buffered().get(RECORD_HEAD_BYTES..head.record_bytes()));
        Ok(found.zip(body).and_then(|(head, body)| head.decode(body)))
    }

    /// The `seq` after the last record that was given out: the next part's first, if none is lost.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// What has been found so far; how the part ends, once [`PartReader::next`] has said `None`.
    pub fn end(&self) -> PartEnd {
        let torn_tail = self.torn_tail.clone();
        if self.lost_messages > 0 || self.lost_bytes > 0 {
            let ranges = self.damages.clone();
            let (lost_bytes, lost_messages) = (self.lost_bytes, self.lost_messages);
            let unproven: u64 = self.unproven.iter().map(|seqs| seqs.end - seqs.start).sum();
            let promised_messages = lost_messages.saturating_sub(unproven);
            return PartEnd::Damaged { ranges, lost_bytes, lost_messages, promised_messages, torn_tail };
        }
        match torn_tail {
            Some(tail) => PartEnd::TornTail { offset: tail.start, bytes: tail.end - tail.start },
            None => PartEnd::Clean,
        }
    }

    #[cfg(test)]
    pub(super) fn buffer_bytes(&self) -> usize {
        self.source.buffer.capacity()
    }

    /// Moves to the next readable record, whose bytes are then buffered whole.
    fn advance(&mut self) -> io::Result<Option<RecordHead>> {
        self.source.consume(mem::take(&mut self.given_bytes));
        if self.done {
            return Ok(None);
        }
        let from = self.source.offset;
        let found = match self.source.look(self.salt, self.next_seq)? {
            Look::Record(head) => Some(head),
            Look::End => None,
            Look::Nothing(skip) => self.source.search(self.salt, self.next_seq, skip)?,
        };
        let at = self.source.offset;
        let Some(head) = found else {
            self.done = true;
            self.torn_tail = (at > from).then_some(from..at);
            return Ok(None);
        };
        if at > from || head.seq > self.next_seq {
            self.lost_bytes += at - from;
            self.lost_messages += head.seq - self.next_seq;
            let seqs = self.next_seq..head.seq;
            if self.unproven.len() < DESCRIBED_DAMAGES {
                self.unproven.push(seqs.clone());
            }
            if self.damages.len() < DESCRIBED_DAMAGES {
                self.damages.push(Damage { bytes: from..at, seqs });
            }
        }
        self.prove(head.durable_seq());
        self.next_seq = head.seq.saturating_add(1);
        self.given_bytes = head.record_bytes();
        Ok(Some(head))
    }

    /// All before `durable_seq` had been on disk.
    fn prove(&mut self, durable_seq: u64) {
        if durable_seq > self.durable_seq {
            self.durable_seq = durable_seq;
            self.unproven.retain_mut(|seqs| {
                seqs.start = seqs.start.max(durable_seq);
                seqs.start < seqs.end
            });
        }
    }
}

enum HeaderFault {
    Newer(u16),
    Unreadable(String),
}

fn read_header(source: &mut Source) -> io::Result<Result<PartHeader, HeaderFault>> {
    let unreadable = |what: &str| Ok(Err(HeaderFault::Unreadable(what.to_owned())));
    source.fill(FILE_HEAD_BYTES)?;
    let Some(head) = source.buffered().first_chunk::<FILE_HEAD_BYTES>().copied() else {
        return unreadable("the file is shorter than a header");
    };
    if head[..8] != MAGIC {
        return unreadable("it does not begin as a journal part does");
    }
    let [_, _, _, _, _, _, _, _, v0, v1, _, _, l0, l1, l2, l3, c0, c1, c2, c3] = head;
    let json_len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if json_len > MAX_HEADER_BYTES {
        return unreadable("its length is impossible");
    }
    let header_bytes = FILE_HEAD_BYTES + json_len;
    source.fill(header_bytes)?;
    let Some(json) = source.buffered().get(FILE_HEAD_BYTES..header_bytes) else {
        return unreadable("the file ends within it");
    };
    if file_header_crc(&head, json) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return unreadable("its checksum is wrong");
    }
    let version = u16::from_le_bytes([v0, v1]);
    if version > VERSION {
        return Ok(Err(HeaderFault::Newer(version)));
    }
    match serde_json::from_slice(json) {
        Ok(header) => {
            source.consume(header_bytes);
            Ok(Ok(header))
        }
        Err(error) => Ok(Err(HeaderFault::Unreadable(format!("its JSON is not as expected: {error}")))),
    }
}

/// Tells a header that was never completed from one that was damaged later: by whether any record
/// follows. The file's name says what its records' checksums start from; whole records that start from another are
/// those of a part that was given this name.
fn unreadable(mut source: Source, path: &Path, what: String) -> JournalError {
    let salt = parse_part_file_name(path).map(|(session, part)| salt(session, part));
    let found = source.search_any(salt);
    let path = path.to_owned();
    match found {
        Ok(Some(Whose::Own)) => JournalError::HeaderDamaged { path, what, first_record: source.offset },
        Ok(Some(Whose::Anothers)) => JournalError::NotItsOwn { path, what },
        Ok(None) => JournalError::HeaderTorn { path, bytes: source.offset },
        Err(error) => JournalError::io("read", &path)(error),
    }
}

/// Whose the records of a part are.
enum Whose {
    Own,
    Anothers,
}

enum Look {
    Record(RecordHead),
    /// Nothing that can be used; if the head is right, this many bytes belong to it all the same.
    Nothing(usize),
    End,
}

/// A file with a window of it in memory.
struct Source {
    file: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    /// Where the window begins in `buffer`.
    start: usize,
    /// Where it begins in the file.
    offset: u64,
}

impl Source {
    fn buffered(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    fn consume(&mut self, bytes: usize) {
        let bytes = bytes.min(self.buffered().len());
        self.start += bytes;
        self.offset += bytes as u64;
    }

    /// Buffers `want` bytes or what there is until the end of the file. The buffer grows with what
    /// is really read, never by what a length only claims.
    fn fill(&mut self, want: usize) -> io::Result<()> {
        if self.buffered().len() >= want {
            return Ok(());
        }
        self.buffer.drain(..mem::take(&mut self.start));
        self.buffer.shrink_to(2 * CHUNK_BYTES);
        while self.buffer.len() < want {
            // Straight into the vector's spare room: nothing is set to zero before it is read.
            if (&mut self.file).take(CHUNK_BYTES as u64).read_to_end(&mut self.buffer)? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// What is at the window's start.
    fn look(&mut self, salt: u32, next_seq: u64) -> io::Result<Look> {
        self.fill(RECORD_HEAD_BYTES)?;
        if self.buffered().is_empty() {
            return Ok(Look::End);
        }
        let head = self.buffered().get(..RECORD_HEAD_BYTES).and_then(|bytes| RecordHead::parse(salt, bytes));
        let Some(head) = head else { return Ok(Look::Nothing(1)) };
        self.fill(head.record_bytes())?;
        let Some(body) = self.buffered().get(RECORD_HEAD_BYTES..head.record_bytes()) else {
            return Ok(Look::Nothing(1));
        };
        if head.seq >= next_seq && head.vouches_for(body) && head.decode(body).is_some() {
            return Ok(Look::Record(head));
        }
        Ok(Look::Nothing(head.record_bytes()))
    }

    /// Skips some bytes, then looks for the next record, to the end of the file if there is none.
    fn search(&mut self, salt: u32, next_seq: u64, skip: usize) -> io::Result<Option<RecordHead>> {
        self.consume(skip);
        loop {
            self.fill(RECORD_HEAD_BYTES)?;
            let window = self.buffered();
            let to_marker = window.iter().position(|byte| *byte == MARKER[0]);
            self.consume(to_marker.unwrap_or(window.len()));
            match self.look(salt, next_seq)? {
                Look::Record(head) => return Ok(Some(head)),
                Look::End => return Ok(None),
                Look::Nothing(skip) => self.consume(skip),
            }
        }
    }

    /// Moves to the first record of the part that `salt` stands for; to the end if there is none, and says whether
    /// there were whole ones of another.
    fn search_any(&mut self, salt: Option<u32>) -> io::Result<Option<Whose>> {
        let mut found = None;
        loop {
            self.fill(RECORD_HEAD_BYTES)?;
            let window = self.buffered();
            let to_marker = window.iter().position(|byte| *byte == MARKER[0]);
            self.consume(to_marker.unwrap_or(window.len()));
            let look = match salt {
                Some(salt) => self.look(salt, 0)?,
                None if self.buffered().is_empty() => Look::End,
                None => Look::Nothing(1),
            };
            match look {
                Look::Record(_) => return Ok(Some(Whose::Own)),
                Look::End => return Ok(found),
                Look::Nothing(skip) => {
                    if found.is_none() && self.is_anothers()? {
                        found = Some(Whose::Anothers);
                    }
                    self.consume(skip);
                }
            }
        }
    }

    /// Whether a whole record of any file is at the window's start.
    fn is_anothers(&mut self) -> io::Result<bool> {
        let Some(head) = self.buffered().get(..RECORD_HEAD_BYTES).and_then(RecordHead::of_any_file) else {
            return Ok(false);
        };
        self.fill(head.record_bytes())?;
        let body = self.buffered().get(RECORD_HEAD_BYTES..head.record_bytes());
        Ok(body.is_some_and(|body| head.vouches_for(body) && head.decode(body).is_some()))
    }
}
