//! The beginning of sealing: the records of a part into batches of the segment they belong to.
//!
//! A segment is all of a part that is of one kind and one day. Which rows are in a batch follows from
//! the records alone, so that sealing again gives the same files.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::mpsc::SyncSender;

use parquet::errors::ParquetError;

use super::Archive;
use super::columns::{BATCH_ROWS, Constants};
use super::decoding::{DecodeErrors, Sorted};
use super::error::ArchiveError;
use super::kinds::Kinds;
use super::layout::{PartName, segment_path};
use super::link::LinkOrigin;
use super::manifest::{Manifest, SeqRange};
use super::passage::Passage;
use super::redecode::{STAMP, stamp};
use super::seal::journal_error;
use super::segment::{FinishedSegment, Naming, Segment};
use super::time::{date_of_day, day_of};
use super::writers::WrittenFile;
use crate::clock::Clock;
use crate::index::LinkRow;
use crate::journal::{PartReader, RecordRef};
use crate::message::SessionHeader;

/// What a row takes in a batch beside its bytes, about.
const ROW_BYTES: usize = 128;

/// One part on its way into segments.
pub(super) struct Sorting<'a> {
    archive: &'a Archive,
    name: PartName,
    session: &'a SessionHeader,
    kinds: Kinds,
    constants: Constants,
    segments: Vec<Segment>,
    /// The open segment of a kind and day.
    open: HashMap<(usize, i64), usize>,
    /// The one that the last record went to: most often the next one's as well.
    last: Option<((usize, i64), usize)>,
    waiting_bytes: usize,
    links: Vec<LinkRow>,
    start: u64,
    next_seq: u64,
    lost: Vec<SeqRange>,
    batches: SyncSender<Sorted>,
    passage: Passage,
}

/// What a part came to, while its files are being completed.
pub(super) struct SortedPart<'a> {
    name: PartName,
    session: &'a SessionHeader,
    segments: Vec<Segment>,
    links: Vec<LinkRow>,
    seqs: Range<u64>,
    lost: Vec<SeqRange>,
}

/// What a part came to, before it is committed.
#[derive(Debug)]
pub(super) struct Finished {
    pub segments: Vec<FinishedSegment>,
    pub manifest: Manifest,
    pub links: Vec<LinkRow>,
}

impl<'a> Sorting<'a> {
    pub(super) fn new(
        archive: &'a Archive,
        name: PartName,
        session: &'a SessionHeader,
        start: u64,
        batches: SyncSender<Sorted>,
    ) -> Result<Self, ArchiveError> {
        Ok(Self {
            archive,
            name,
            session,
            kinds: Kinds::new(session)?,
            constants: Constants::new(&session.site, &session.session_id.to_string()),
            segments: Vec::new(),
            open: HashMap::new(),
            last: None,
            waiting_bytes: 0,
            links: Vec::new(),
            start,
            next_seq: start,
            lost: Vec::new(),
            batches,
            passage: Passage::new(archive.sealing.batches),
        })
    }

    /// Hands all records of the part on.
    pub(super) fn take_all(&mut self, reader: &mut PartReader, part: &Path) -> Result<(), ArchiveError> {
        while let Some(record) = reader.next().map_err(journal_error(part))? {
            self.push(&record)?;
        }
        Ok(())
    }

    /// Hands on what still waits, after the last record.
    pub(super) fn sorted(mut self) -> Result<SortedPart<'a>, ArchiveError> {
        for at in 0..self.segments.len() {
            self.hand_on(at)?;
        }
        self.send(Sorted::Finish)?;
        Ok(SortedPart {
            name: self.name,
            session: self.session,
            segments: self.segments,
            links: self.links,
            seqs: self.start..self.next_seq,
            lost: self.lost,
        })
    }

    /// The `seq` that the next record has, if nothing is missing before it.
    pub(super) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    pub(super) fn push(&mut self, record: &RecordRef<'_>) -> Result<(), ArchiveError> {
        let kind = self.kinds.of(record);
        let Some(kind) = kind.filter(|_| record.seq >= self.next_seq) else {
            // Names no source or kind of its session: not to be placed, so it stays missing and is
            // counted as lost with the next record.
            return Ok(());
        };
        if record.seq > self.next_seq {
            self.lost.push((self.next_seq..record.seq).into());
        }
        self.next_seq = record.seq + 1;
        let key = (kind, day_of(record.received_at_us));
        let at = match self.last {
            Some((last, at)) if last == key => at,
            _ => self.segment(key)?,
        };
        self.last = Some((key, at));
        let source = &self.session.sources[usize::from(record.source)].name;
        if self.kinds.all[kind].is_link {
            let link = LinkOrigin {
                session_id: self.name.session_id,
                seq: record.seq,
                source,
                connection: i32::try_from(record.connection).unwrap_or(i32::MAX),
                received_at_us: record.received_at_us,
                elapsed_ns: record.elapsed_ns,
            };
            self.links.extend(link.row(record.payload));
        }
        // A batch is within the bound, or one row: first what waits is handed on, the largest first.
        let bytes = record.payload.len() + record.clear.map_or(0, <[u8]>::len);
        while self.waiting_bytes > 0 && self.waiting_bytes + bytes > self.archive.sealing.rows_waiting {
            let largest = (0..self.segments.len()).max_by_key(|&i| self.segments[i].waiting().1);
            self.hand_on(largest.unwrap_or(at))?;
        }
        let segment = &mut self.segments[at];
        let before = segment.waiting().1;
        segment.push(source, record);
        let (rows, bytes) = segment.waiting();
        self.waiting_bytes += bytes - before;
        if rows == BATCH_ROWS { self.hand_on(at) } else { Ok(()) }
    }

    /// Hands the waiting rows of a segment on to be decoded.
    fn hand_on(&mut self, at: usize) -> Result<(), ArchiveError> {
        let (rows, bytes) = self.segments[at].waiting();
        self.waiting_bytes -= bytes;
        match self.segments[at].take_batch(&self.constants)? {
            Some(batch) => {
                let passing = self.passage.enter(bytes + rows * ROW_BYTES);
                self.send(Sorted::Rows { file: at, rows: Box::new(batch), passing })
            }
            None => Ok(()),
        }
    }

    /// Waits for room. Decoding and writing end early only on an error of their own, which then is the one that
    /// counts.
    fn send(&self, batch: Sorted) -> Result<(), ArchiveError> {
        self.batches.send(batch).map_err(|_| ArchiveError::WriteSegment {
            path: self.archive.layout.tmp(),
            source: ParquetError::General("writing ended early".to_owned()),
        })
    }

    /// The open segment of a kind and day, made where there is none.
    fn segment(&mut self, key: (usize, i64)) -> Result<usize, ArchiveError> {
        if let Some(&at) = self.open.get(&key) {
            return Ok(at);
        }
        let (kind, day) = (&self.kinds.all[key.0], key.1);
        let mut path = segment_path(&kind.vendor, &kind.name, day, self.name);
        if kind.variant > 0 {
            path = path.replace(".parquet", &format!(".{}.parquet", kind.variant + 1));
        }
        let at = self.segments.len();
        let naming = Naming {
            vendor: kind.vendor.clone(),
            kind: kind.name.clone(),
            date: date_of_day(day),
            path,
            metadata: [
                ("site", self.session.site.clone()),
                ("session_id", self.name.session_id.to_string()),
                ("session", self.session.name.clone()),
                ("part", self.name.part.to_string()),
            ]
            .into_iter()
            .chain(kind.text.as_ref().map(|text| (STAMP, stamp(text))))
            .collect(),
        };
        let tmp = self.archive.layout.tmp().join(format!("{}-{at}.parquet", self.name));
        let sources = self.session.sources.len();
        let declaration = kind.declaration.as_ref();
        let (segment, file, decoder) = Segment::new(tmp, naming, declaration, sources);
        self.send(Sorted::Create { file, decoder })?;
        self.segments.push(segment);
        self.open.insert(key, at);
        Ok(at)
    }
}

impl SortedPart<'_> {
    /// `errors` and `written` are in the order of the segments.
    pub(super) fn finish(self, errors: Vec<DecodeErrors>, written: Vec<WrittenFile>) -> Finished {
        let names: Vec<&str> = self.session.sources.iter().map(|s| s.name.as_str()).collect();
        let segments: Vec<_> = self
            .segments
            .into_iter()
            .zip(errors)
            .zip(written)
            .map(|((segment, errors), file)| segment.finish(&names, errors, file))
            .collect();
        let files: Vec<_> = segments.iter().map(|s| s.file.clone()).collect();
        let manifest = Manifest {
            session_id: self.name.session_id,
            part: self.name.part,
            part_last: None,
            generation: 0,
            is_compact: false,
            sealed_at_us: Clock::System.now().wall_us,
            telereel: env!("CARGO_PKG_VERSION").to_owned(),
            rebuilt: false,
            seq_start: self.seqs.start,
            seq_end: self.seqs.end,
            rows: files.iter().map(|f| f.rows).sum(),
            files,
            lost: self.lost,
            removed: Vec::new(),
        };
        Finished { segments, manifest, links: self.links }
    }
}
