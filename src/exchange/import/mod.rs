//! Files into an archive: what is in one is found out first, then its rows are taken in.
//!
//! ```text
//! plan   every record is read: its session, source and kind, whether its numbers fit; bad ones are told
//! take   the same records again, for each session those between its first and its last: into parts, then in place
//! ```
//!
//! A session that the file names comes in under its id, or where the archive has that or it is no UUIDv7, under a new one. Rows without
//! a session make one. Where `seq` is missing it is the order in the file; where `elapsed_ns` is, what `received_at`
//! says since the first, and never less than the row before.
//!
//! [`fields`] is what one record says, [`lines`], [`table`] and [`messages`] read the formats, [`place`] gives a record
//! its place in its session.

mod fields;
mod known;
mod lines;
mod messages;
mod name;
mod place;
mod records;
mod table;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use rand::RngExt as _;
use rand::SeedableRng as _;
use rand::rngs::{StdRng, SysRng};
use serde::Serialize;

use self::fields::{Bad, Record};
use self::name::{name_session, plain_name};
use self::place::{Placer, PlannedSession};
use self::records::Records;
use super::error::{ExchangeError, IoContext as _};
use super::header::{Sources, session_header};
use super::reel::{self, PART_BYTES, Unpacked};
use super::{Format, export};
use crate::archive::caught::caught;
use crate::archive::{Archive, ArchiveError, CameFrom, Intake, ScanOptions, SessionSummary, Sidecar, scan};
use crate::decode::declaration;
use crate::message::{SessionHeader, SessionId};
use crate::printable::printable;

/// What a file does not say of its rows.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// None: by the end of the file's name.
    pub format: Option<Format>,
    /// What to call the session; none: as the file does, or as it is called.
    pub session: Option<String>,
    pub source: Option<String>,
    pub vendor: Option<String>,
    pub kind: Option<String>,
    /// Columns of a CSV file, and which fields they are.
    pub map: Vec<(String, String)>,
}

/// A part holds rows of at most this many days: each day of each kind is an open file meanwhile.
const PART_DAYS: usize = 31;

/// Sessions in a file at most: each is a pass over its rows.
const SESSIONS_MAX: usize = 10_000;

/// Bad records are described up to this many; more only count.
const DESCRIBED_MAX: usize = 20;

const DAY_US: i64 = 86_400_000_000;

/// A file that was looked through.
#[derive(Debug)]
pub struct Plan {
    path: PathBuf,
    options: ImportOptions,
    what: What,
    /// Records that cannot be taken in.
    pub bad: u64,
    /// The first of them: where, and what is wrong.
    pub described: Vec<String>,
    /// Payloads that are not the bytes that were received, since whoever wrote the file printed them anew.
    pub reprinted: u64,
    pub messages: u64,
    /// Which file it is; none where it is none that can be read again.
    pub blake3: Option<String>,
    /// Sessions of the file that are not to be taken in.
    pub leave_out: HashSet<usize>,
}

#[derive(Debug)]
enum What {
    Reel(Box<Unpacked>),
    Rows { format: Format, sessions: Vec<PlannedSession> },
}

/// A session that came in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Imported {
    pub session_id: SessionId,
    pub session: String,
    pub messages: u64,
    /// What it was called in the file, where that is another id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was: Option<SessionId>,
    /// What the file calls it, where that cannot be a session's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub called: Option<String>,
}

/// What a file is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// Payloads may be left out where they are sure to be right.
    Plan,
    Take,
}

/// How far it is: bytes of how many.
pub type Tell<'t> = dyn Fn(u64, u64) + 't;

/// Looks a file through. Only what keeps all of it from being taken in is an error here.
pub fn plan(path: &Path, options: ImportOptions, tell: &Tell<'_>) -> Result<Plan, ExchangeError> {
    // Beside it: by itself it would be a thirtieth of an import.
    std::thread::scope(|scope| {
        let sum = scope.spawn(|| checksum(path));
        let plan = of_file(path, options, tell)?;
        let blake3 = sum.join().unwrap_or_else(|_| checksum(path))?;
        Ok(Plan { blake3, ..plan })
    })
}

fn of_file(path: &Path, options: ImportOptions, tell: &Tell<'_>) -> Result<Plan, ExchangeError> {
    let Some(format) = options.format.or_else(|| Format::of(path)) else {
        let what =
            "its name ends in none of .reel, .jsonl, .mcap, .csv: say which it is with --format".to_owned();
        return Err(ExchangeError::Bad { path: path.to_owned(), place: "the name".into(), what });
    };
    let mut plan = Plan {
        path: path.to_owned(),
        what: What::Rows { format, sessions: Vec::new() },
        options,
        bad: 0,
        described: Vec::new(),
        reprinted: 0,
        messages: 0,
        blake3: None,
        leave_out: HashSet::new(),
    };
    if format == Format::Reel {
        let unpacked = reel::open(path)?;
        plan.messages = unpacked.archive().list()?.iter().map(|session| session.messages).sum();
        plan.what = What::Reel(Box::new(unpacked));
        return Ok(plan);
    }
    if format == Format::Parquet {
        let what =
            "an exported Parquet file is for readers: export a reel to bring a session elsewhere".to_owned();
        return Err(ExchangeError::Bad { path: path.to_owned(), place: "the name".into(), what });
    }
    let sessions = plan.look_through(format, tell)?;
    plan.what = What::Rows { format, sessions };
    Ok(plan)
}

impl Plan {
    fn look_through(
        &mut self,
        format: Format,
        tell: &Tell<'_>,
    ) -> Result<Vec<PlannedSession>, ExchangeError> {
        let mut records = Records::open(&self.path, format, &self.options, Pass::Plan, 0)?;
        let length = std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        let mut sessions: Vec<PlannedSession> = Vec::new();
        let mut last = 0;
        let mut count = 0_u64;
        while let Some(next) = records.next()? {
            count += 1;
            if count.is_multiple_of(8_192) {
                tell(records.offset(), length);
            }
            let mut record = match next {
                Ok(record) => record,
                Err(bad) => {
                    self.note(&bad);
                    continue;
                }
            };
            if sessions.get(last).is_none_or(|session| session.id != record.session_id) {
                let known = sessions.iter().position(|session| session.id == record.session_id);
                last = known.unwrap_or(sessions.len());
                if last == sessions.len() {
                    if sessions.len() == SESSIONS_MAX {
                        let (path, most) = (self.path.clone(), SESSIONS_MAX);
                        return Err(ExchangeError::TooMany { path, most, what: "sessions" });
                    }
                    let sidecar = record.session_id.and_then(|id| records.sidecar(id));
                    sessions.push(PlannedSession::new(&record, sidecar));
                }
            }
            match sessions[last].see(&mut record, records.offset()) {
                Ok(()) => {
                    self.messages += 1;
                    self.reprinted += u64::from(record.is_reprinted);
                }
                Err(what) => self.note(&record.bad(what)),
            }
            if sessions[last].sources.len() > Sources::MOST {
                let (path, most) = (self.path.clone(), Sources::MOST);
                return Err(ExchangeError::TooMany { path, most, what: "sources" });
            }
        }
        sessions.retain(|session| session.rows > 0);
        Ok(sessions)
    }

    fn note(&mut self, bad: &Bad) {
        self.bad += 1;
        if self.described.len() < DESCRIBED_MAX {
            self.described.push(printable(&format!("{}:{bad}", self.path.display())).into_owned());
        }
    }

    /// Takes the file in; the caller holds the archive's lock. Each session comes in whole or not at all.
    pub fn take(&self, archive: &Archive, tell: &Tell<'_>) -> Result<Vec<Imported>, ExchangeError> {
        let mut imported = Vec::new();
        match &self.what {
            What::Reel(unpacked) => {
                let reel = unpacked.archive();
                let all = self.messages;
                let mut done = 0;
                for (nth, session) in reel.list()?.into_iter().enumerate() {
                    if self.leave_out.contains(&nth) {
                        continue;
                    }
                    let tell = |rows| tell(done + rows, all);
                    let taken = caught(|| self.take_session(archive, reel, (nth, &session), &tell));
                    let damaged = |what| ExchangeError::DamagedReel { path: self.path.clone(), what };
                    imported.extend(taken.map_err(damaged)??);
                    done += session.messages;
                }
            }
            What::Rows { format, sessions } => {
                for (nth, session) in sessions.iter().enumerate() {
                    if self.leave_out.contains(&nth) {
                        continue;
                    }
                    imported.push(self.take_rows(archive, *format, (nth, session), tell)?);
                }
            }
        }
        if imported.is_empty() {
            return Err(ExchangeError::Empty { path: self.path.clone() });
        }
        Ok(imported)
    }

    /// A session out of a reel.
    fn take_session(
        &self,
        archive: &Archive,
        reel: &Archive,
        (nth, session): (usize, &SessionSummary),
        tell: &dyn Fn(u64),
    ) -> Result<Option<Imported>, ExchangeError> {
        let mut header = session_header(reel, session.session_id)?;
        self.check_names(&header)?;
        current(&mut header);
        let was = self.give_id(archive, &mut header)?;
        let called = name_session(archive, &mut header, self.options.session.as_deref())?;
        let options = ScanOptions { sessions: vec![session.session_id], ..ScanOptions::default() };
        let mut rows = scan(reel, &options)?.peekable();
        if rows.peek().is_none() {
            return Ok(None);
        }
        let lost = reel.lost_of(session.session_id)?;
        let mut intake = Intake::begin(archive, header, "import")?.with_lost(lost);
        let mut exported = export::Exported::default();
        while rows.peek().is_some() {
            let mut days = Days::default();
            intake.part(|part| {
                while part.bytes() < PART_BYTES {
                    let Some(Ok(row)) =
                        rows.next_if(|row| row.as_ref().is_ok_and(|row| days.has_room(row.received_at_us)))
                    else {
                        break;
                    };
                    exported.count(&row);
                    part.push(&row)?;
                    if exported.messages.is_multiple_of(8_192) {
                        tell(exported.messages);
                    }
                }
                Ok::<_, ExchangeError>(())
            })?;
            if let Some(Err(error)) = rows.next_if(Result::is_err) {
                return Err(error.into());
            }
        }
        let sidecar = reel.read_sidecar(session.session_id)?;
        self.finish(intake, (nth, sidecar), (was, called), exported.messages).map(Some)
    }

    fn take_rows(
        &self,
        archive: &Archive,
        format: Format,
        (nth, session): (usize, &PlannedSession),
        tell: &Tell<'_>,
    ) -> Result<Imported, ExchangeError> {
        let mut header = session.header(archive, &self.path, &self.options)?;
        let called = name_session(archive, &mut header, self.options.session.as_deref())?;
        let was = self.give_id(archive, &mut header)?;
        let session_id = header.session_id;
        let mut intake = Intake::begin(archive, header, "import")?;
        let mut rows = Rows {
            records: Records::open(&self.path, format, &self.options, Pass::Take, session.span.start)?,
            id: session.id,
            placer: session.placer(),
            path: self.path.clone(),
            left: session.rows,
            session_id,
            ahead: None,
        };
        let mut messages = 0_u64;
        while rows.peek()? {
            let mut days = Days::default();
            intake.part(|part| {
                while part.bytes() < PART_BYTES && rows.peek()? {
                    let Some(record) = rows.ahead.take_if(|record| days.has_room(record.row.received_at_us))
                    else {
                        break;
                    };
                    messages += 1;
                    part.push(&record.row)?;
                    if messages.is_multiple_of(8_192) {
                        let (done, all) = (rows.records.offset(), session.span.end);
                        tell(done.saturating_sub(session.span.start), all - session.span.start);
                    }
                }
                Ok::<_, ExchangeError>(())
            })?;
        }
        self.finish(intake, (nth, session.sidecar.clone()), (was, called), messages)
    }

    fn finish(
        &self,
        intake: Intake,
        (nth, sidecar): (usize, Option<Sidecar>),
        (was, called): (Option<SessionId>, Option<String>),
        messages: u64,
    ) -> Result<Imported, ExchangeError> {
        let session = intake.header().name.clone();
        let session_id = intake.commit(|own| {
            let came_from = |blake3| CameFrom { blake3, nth, messages: Some(messages) };
            own.came_from = self.blake3.clone().map(came_from);
            let Some(Sidecar { ended, ended_at_us, clips, marks, pseudonymized, .. }) = sidecar else {
                return;
            };
            if ended.is_some() {
                (own.ended, own.ended_at_us) = (ended, ended_at_us);
            }
            (own.clips, own.marks, own.pseudonymized) = (clips, marks, pseudonymized);
            for clip in &mut own.clips {
                clip.name = plain_name(&clip.name);
            }
        })?;
        Ok(Imported { session_id, session, messages, was, called })
    }

    /// A new id where the archive has this one, or it does not tell when the session began: the archive's ids do.
    /// Answers with the old one then.
    fn give_id(
        &self,
        archive: &Archive,
        header: &mut SessionHeader,
    ) -> Result<Option<SessionId>, ExchangeError> {
        let was = header.session_id;
        let is_there = archive.has_session(was)?;
        let is_none = was == no_id();
        if !is_there && !is_none && was.is_timed() {
            return Ok(None);
        }
        header.session_id = new_id(header.started_at_us)?;
        Ok((!is_none).then_some(was))
    }

    /// Names out of a reel's sidecars become names of folders.
    fn check_names(&self, header: &SessionHeader) -> Result<(), ExchangeError> {
        let damaged = |what| ExchangeError::DamagedReel { path: self.path.clone(), what };
        for source in &header.sources {
            fields::check_names(&source.name, &source.vendor, "message").map_err(damaged)?;
            for kind in &source.kinds {
                fields::check_names(&source.name, &source.vendor, &kind.name).map_err(damaged)?;
            }
        }
        Ok(())
    }
}

/// The built-in declarations as they are now: what an older telereel put into a reel would take columns from the
/// archive that newer ones have.
fn current(header: &mut SessionHeader) {
    for source in &mut header.sources {
        for kind in &mut source.kinds {
            if let Some(text) = declaration(&source.vendor, &kind.name) {
                kind.declaration = Some(text.to_owned());
            }
        }
    }
}

/// Which bytes a file holds; none of a pipe, which gives them once.
fn checksum(path: &Path) -> Result<Option<String>, ExchangeError> {
    if !path.is_file() {
        return Ok(None);
    }
    let mut hasher = blake3::Hasher::new();
    File::open(path).and_then(|file| hasher.update_reader(file).map(drop)).doing("read", path)?;
    Ok(Some(hasher.finalize().to_hex().to_string()))
}

/// Stands for a session that has none yet.
fn no_id() -> SessionId {
    SessionId::new(0, [0; 10])
}

fn new_id(started_at_us: i64) -> Result<SessionId, ExchangeError> {
    let mut rng = StdRng::try_from_rng(&mut SysRng).map_err(|error| ArchiveError::Io {
        action: "take random numbers from",
        path: PathBuf::from("the system"),
        source: std::io::Error::other(error.to_string()),
    })?;
    Ok(SessionId::new(started_at_us, rng.random()))
}

/// The days that a part's rows are of.
#[derive(Default)]
struct Days(HashSet<i64>);

impl Days {
    /// Whether a row of this time may go into the part; it does then.
    fn has_room(&mut self, received_at_us: i64) -> bool {
        let day = received_at_us.div_euclid(DAY_US);
        if self.0.len() == PART_DAYS && !self.0.contains(&day) {
            return false;
        }
        self.0.insert(day);
        true
    }
}

/// The rows of one session of a file, as they were planned.
struct Rows {
    path: PathBuf,
    records: Records,
    id: Option<SessionId>,
    placer: Placer,
    /// How many there are still.
    left: u64,
    session_id: SessionId,
    ahead: Option<Record>,
}

impl Rows {
    /// Whether there is one more, which then is `ahead`.
    fn peek(&mut self) -> Result<bool, ExchangeError> {
        while self.ahead.is_none() {
            // Behind the last one nothing is of this session.
            if self.left == 0 {
                return Ok(false);
            }
            match self.records.next()? {
                None => return Err(ExchangeError::Changed { path: self.path.clone() }),
                // They have been told.
                Some(Err(_)) => {}
                Some(Ok(mut record)) => {
                    if record.session_id == self.id && self.placer.place(&mut record).is_ok() {
                        record.row.session_id = self.session_id;
                        self.left -= 1;
                        self.ahead = Some(record);
                    }
                }
            }
        }
        Ok(true)
    }
}
