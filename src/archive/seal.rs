//! Sealing: one closed journal part into segments, in the order that the [module](super) gives.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Archive;
use super::columns::{BATCH_ROWS, Constants};
use super::durable::{remove_if_there, replace_json};
use super::error::{ArchiveError, IoContext};
use super::layout::{PartName, segment_path};
use super::link::LinkOrigin;
use super::manifest::{Manifest, SeqRange};
use super::segment::{FinishedSegment, Naming, Segment, parse_declaration, write_schema_files};
use super::sidecar::Sidecar;
use super::time::{date_of_day, day_of};
use crate::clock::Clock;
use crate::decode::Declaration;
use crate::index::LinkRow;
use crate::journal::{JournalError, PartEnd, PartReader, RecordRef, parse_part_file_name};
use crate::message::SessionHeader;

/// Rows wait for their batch in at most this many bytes, over all open segments.
const WAITING_BYTES: usize = 8 * 1024 * 1024;

/// Open row groups hold at most this, over all open segments; then the largest is written out.
const ROW_GROUPS_BYTES: usize = 32 * 1024 * 1024;

/// What sealing a part came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sealed {
    pub messages: u64,
    pub segments: u64,
    pub bytes_stored: u64,
    /// Bytes at the part's end that are no whole record: a write that a crash cut short, of which
    /// nobody had been promised anything.
    pub torn_tail_bytes: u64,
    /// What the part should hold and does not, because it is damaged.
    pub lost: Vec<SeqRange>,
    /// How many of these had been synced, and so perhaps acknowledged: these are a loss. The others were
    /// cut off by the same crash as a torn tail.
    pub promised_lost: u64,
    /// It had been sealed already and only had to be put into the index and removed.
    pub again: bool,
}

/// Seals the journal part at `part`, and removes it. Doing it again after a cut, at whatever step,
/// leads to the same files.
pub fn seal(archive: &Archive, part: &Path) -> Result<Sealed, ArchiveError> {
    let unnamed =
        || ArchiveError::DamagedPart { path: part.to_owned(), what: "it is not named as a part".into() };
    let name = PartName::of(part).ok_or_else(unnamed)?;
    if let Some(manifest) = archive.read_manifest(name)?
        && archive.has_files_of(&manifest)
    {
        return release_again(archive, part, &manifest);
    }
    if let Some(earlier) =
        archive.parts()?.into_iter().find(|p| p.session_id == name.session_id && p.part < name.part)
    {
        let earlier = archive.layout.part(earlier);
        return Err(ArchiveError::EarlierPart { path: part.to_owned(), earlier });
    }
    let mut reader = PartReader::open(&*archive.disk, part).map_err(journal_error(part))?;
    let header = reader.header().clone();
    write_schema_files(archive, &header.session)?;
    let start = archive.seq_end_before(name)?.min(header.first_seq);
    let mut work = Work::new(archive, name, &header.session, start)?;
    while let Some(record) = reader.next().map_err(journal_error(part))? {
        work.push(&record)?;
    }
    // What lies between the parts had been synced when the later one was begun.
    let between = header.first_seq - start;
    let (torn_tail_bytes, promised) = match reader.end() {
        PartEnd::Clean => (0, 0),
        PartEnd::TornTail { bytes, .. } => (bytes, 0),
        PartEnd::Damaged { torn_tail, promised_messages, .. } => {
            (torn_tail.map_or(0, |tail| tail.end - tail.start), promised_messages)
        }
    };
    let finished = work.finish()?;
    let sealed = Sealed { torn_tail_bytes, promised_lost: between + promised, ..finished.summary() };
    if finished.manifest.seq_end == start {
        // Nothing was ever in it: nothing to commit.
        remove_part(archive, part)?;
        return Ok(sealed);
    }
    commit(archive, &finished)?;
    release(archive, part, &header.session, &finished.manifest, &finished.links)?;
    Ok(sealed)
}

/// Steps 2 and 3: into place, then the manifest.
fn commit(archive: &Archive, finished: &Finished) -> Result<(), ArchiveError> {
    let disk = &*archive.disk;
    let mut folders: Vec<PathBuf> = Vec::new();
    for FinishedSegment { tmp, file } in &finished.segments {
        let target = archive.root().join(&file.path);
        let folder = target.parent().unwrap_or(archive.root()).to_owned();
        disk.create_dir_all(&folder).doing("create", &folder)?;
        disk.rename(tmp, &target).doing("rename to", &target)?;
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    for folder in &folders {
        disk.sync_dir(folder).doing("sync", folder)?;
    }
    let manifest = &finished.manifest;
    replace_json(&archive.layout, disk, &archive.layout.manifest(manifest.name()), manifest)
}

/// Steps 4 and 5: the index rows, then the part goes.
fn release(
    archive: &Archive,
    part: &Path,
    session: &SessionHeader,
    manifest: &Manifest,
    links: &[LinkRow],
) -> Result<(), ArchiveError> {
    let sidecar = match archive.read_sidecar(manifest.session_id)? {
        Some(sidecar) => sidecar,
        None => {
            let sidecar = Sidecar::of(session);
            archive.write_sidecar(&sidecar)?;
            sidecar
        }
    };
    archive.update_index(|index| {
        index.put_session(&sidecar.to_row())?;
        index.put_part(manifest.session_id, manifest.part, &manifest.to_rows(), links)
    })?;
    remove_part(archive, part)
}

/// The part was committed, and the cut came after: only steps 4 and 5 are left.
fn release_again(archive: &Archive, part: &Path, manifest: &Manifest) -> Result<Sealed, ArchiveError> {
    let reader = PartReader::open(&*archive.disk, part).map_err(journal_error(part))?;
    let links = archive.read_links(manifest)?;
    release(archive, part, &reader.header().session.clone(), manifest, &links)?;
    Ok(Sealed {
        messages: manifest.rows,
        segments: manifest.files.len() as u64,
        bytes_stored: manifest.files.iter().map(|f| f.bytes).sum(),
        lost: manifest.lost.clone(),
        again: true,
        ..Sealed::default()
    })
}

fn remove_part(archive: &Archive, part: &Path) -> Result<(), ArchiveError> {
    remove_if_there(&*archive.disk, part)?;
    let journal = archive.layout.journal();
    archive.disk.sync_dir(&journal).doing("sync", &journal)
}

pub(super) fn journal_error(path: &Path) -> impl Fn(JournalError) -> ArchiveError {
    |source| ArchiveError::Journal { path: path.to_owned(), source: source.into() }
}

impl Archive {
    /// Whether all files of a manifest are in place, by their lengths.
    pub(super) fn has_files_of(&self, manifest: &Manifest) -> bool {
        let is_there =
            |path: &str, bytes| std::fs::metadata(self.root().join(path)).is_ok_and(|m| m.len() == bytes);
        manifest.files.iter().all(|file| is_there(&file.path, file.bytes))
    }

    /// Where the sealed parts before `name` end: the first `seq` that they do not account for.
    fn seq_end_before(&self, name: PartName) -> Result<u64, ArchiveError> {
        let before = self.read_manifests_of(name.session_id)?.into_iter().filter(|m| m.part < name.part);
        Ok(before.map(|m| m.seq_end).max().unwrap_or(0))
    }

    /// The journal parts that are not sealed yet, in order.
    pub(super) fn parts(&self) -> Result<Vec<PartName>, ArchiveError> {
        let journal = self.layout.journal();
        let files = self.disk.list(&journal).doing("list", &journal)?;
        let mut parts: Vec<_> = files.iter().filter_map(|path| parse_part_file_name(path)).collect();
        parts.sort();
        Ok(parts.into_iter().map(|(session_id, part)| PartName { session_id, part }).collect())
    }
}

/// One part on its way into segments.
struct Work<'a> {
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
}

/// What a part came to, before it is committed.
struct Finished {
    segments: Vec<FinishedSegment>,
    manifest: Manifest,
    links: Vec<LinkRow>,
}

impl<'a> Work<'a> {
    fn new(
        archive: &'a Archive,
        name: PartName,
        session: &'a SessionHeader,
        start: u64,
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
        })
    }

    fn push(&mut self, record: &RecordRef<'_>) -> Result<(), ArchiveError> {
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
        let segment = &mut self.segments[at];
        let before = segment.waiting().1;
        segment.push(source, record);
        let (rows, bytes) = segment.waiting();
        self.waiting_bytes += bytes - before;
        if rows == BATCH_ROWS {
            self.write_batch(at)?;
        } else if self.waiting_bytes > WAITING_BYTES {
            let largest = (0..self.segments.len()).max_by_key(|&i| self.segments[i].waiting().1);
            self.write_batch(largest.unwrap_or(at))?;
        }
        Ok(())
    }

    fn write_batch(&mut self, at: usize) -> Result<(), ArchiveError> {
        self.waiting_bytes -= self.segments[at].waiting().1;
        self.segments[at].write_batch(&self.constants)?;
        if self.segments.iter().map(Segment::memory_bytes).sum::<usize>() > ROW_GROUPS_BYTES {
            let largest = (0..self.segments.len()).max_by_key(|&i| self.segments[i].memory_bytes());
            self.segments[largest.unwrap_or(at)].flush()?;
        }
        Ok(())
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
            metadata: vec![
                ("site", self.session.site.clone()),
                ("session_id", self.name.session_id.to_string()),
                ("session", self.session.name.clone()),
                ("part", self.name.part.to_string()),
            ],
        };
        let tmp = self.archive.layout.tmp().join(format!("{}-{at}.parquet", self.name));
        let sources = self.session.sources.len();
        let declaration = kind.declaration.as_ref();
        self.segments.push(Segment::create(&*self.archive.disk, tmp, naming, declaration, sources)?);
        self.open.insert(key, at);
        Ok(at)
    }

    fn finish(self) -> Result<Finished, ArchiveError> {
        let names: Vec<&str> = self.session.sources.iter().map(|s| s.name.as_str()).collect();
        let mut segments = Vec::with_capacity(self.segments.len());
        for segment in self.segments {
            segments.push(segment.finish(&self.constants, &names)?);
        }
        let files: Vec<_> = segments.iter().map(|s| s.file.clone()).collect();
        let manifest = Manifest {
            session_id: self.name.session_id,
            part: self.name.part,
            sealed_at_us: Clock::System.now().wall_us,
            telereel: env!("CARGO_PKG_VERSION").to_owned(),
            seq_start: self.start,
            seq_end: self.next_seq,
            rows: files.iter().map(|f| f.rows).sum(),
            files,
            lost: self.lost,
            removed: Vec::new(),
        };
        Ok(Finished { segments, manifest, links: self.links })
    }
}

impl Finished {
    fn summary(&self) -> Sealed {
        Sealed {
            messages: self.manifest.rows,
            segments: self.segments.len() as u64,
            bytes_stored: self.manifest.files.iter().map(|f| f.bytes).sum(),
            lost: self.manifest.lost.clone(),
            ..Sealed::default()
        }
    }
}

/// The kinds of a session, each with its declaration.
struct Kinds {
    all: Vec<Kind>,
    /// `[source][kind]` of a record to a position in `all`.
    routes: Vec<Vec<usize>>,
}

struct Kind {
    vendor: String,
    name: String,
    text: Option<String>,
    declaration: Option<Declaration>,
    /// Counts declarations of the same kind that differ between sources: each has its own segment.
    variant: usize,
    is_link: bool,
}

impl Kinds {
    fn new(session: &SessionHeader) -> Result<Self, ArchiveError> {
        let mut all: Vec<Kind> = Vec::new();
        let mut routes = Vec::with_capacity(session.sources.len());
        for source in &session.sources {
            let mut route = Vec::with_capacity(source.kinds.len());
            for kind in &source.kinds {
                let same = |k: &&Kind| k.vendor == source.vendor && k.name == kind.name;
                let known = all.iter().position(|k| same(&k) && k.text == kind.declaration);
                route.push(known.unwrap_or(all.len()));
                if known.is_none() {
                    all.push(Kind {
                        variant: all.iter().filter(same).count(),
                        declaration: parse_declaration(&source.vendor, kind)?,
                        vendor: source.vendor.clone(),
                        name: kind.name.clone(),
                        text: kind.declaration.clone(),
                        is_link: kind.name == "link",
                    });
                }
            }
            routes.push(route);
        }
        Ok(Self { all, routes })
    }

    fn of(&self, record: &RecordRef<'_>) -> Option<usize> {
        self.routes.get(usize::from(record.source))?.get(usize::from(record.kind)).copied()
    }
}
