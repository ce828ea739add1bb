//! An export without the names of who and what is in it.
//!
//! The roles of the declarations say what becomes of a value, wherever it stands in a payload:
//!
//! ```text
//! identifier, credential   a pseudonym (names): the same for the same, everywhere, under the same key
//! text                     the same, whole: people write names into it; or numbers and keys in it (`keep_text`)
//! time                     moved, where a shift is wanted; left out where its spelling cannot say it then
//! location                 turned, where that is wanted (place); cells, addresses and the like are then pseudonyms
//! health, state,           as they are
//! measurement
//! none                     left out: nobody knows what it is (crate::decode::Conceal)
//! ```
//!
//! What a message says in encrypted form is exported in clear, in the form that the vendor uses without encryption:
//! ciphertext cannot be edited, and whoever has the vendor's key could read it.
//!
//! Channels follow ([`channel`]), link rows and settings hold only what is known of them ([`settings`]), headers only
//! what says how the body is written. Columns are derived from the new payloads. Rows of which none of that can be
//! said are left out and counted: kinds without a declared field (`control`, `other`), bodies that are no JSON,
//! ciphertext that was not opened.
//!
//! Sessions get new ids (theirs hold the time) and names, clips and marks lose their words, the site is a pseudonym.
//! Sources keep the names that they were configured under, unless that is an identifier of theirs: replay pushes by
//! these names. Order, numbers (`seq`), intervals and payload sizes stay, up to the lengths of names: who knows when
//! somebody was where can still find him. A pseudonym is not anonymity.

mod channel;
mod mask;
mod names;
mod place;
mod settings;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use serde_json::Value;

use self::channel::Words;
use self::mask::{Shade, is_on_earth};
use self::names::{Names, base32};
pub use self::place::Turn;
use super::export::Change;
use super::header::session_header;
use crate::archive::{Archive, ArchiveError, ScanOptions, Sidecar};
use crate::decode::{Conceal, Declaration, Decoder};
use crate::message::{Row, SessionHeader, SessionId};
use crate::secret::Secret;

const WEEK_US: i64 = 7 * 86_400_000_000;

/// A shift that a key gives is of so many weeks at most: ten years.
const WEEKS_MAX: u64 = 520;

/// Headers that say how a body is written, and nothing of who wrote it.
const HEADERS: [&str; 3] = ["accept", "content-encoding", "content-type"];

/// Decoded columns are given back after so many rows: nobody needs them here.
const DECODED_ROWS_MAX: u32 = 1_024;

/// By what somebody or something may be told from another.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub key: Secret,
    pub time: Option<TimeShift>,
    pub place: Option<PlaceShift>,
    /// Words that people wrote stay.
    pub keep_text: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeShift {
    /// Microseconds.
    By(i64),
    /// Whole weeks back, as the key says: weekdays and times of day stay.
    OfKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceShift {
    By(Turn),
    OfKey,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Told {
    /// Values that pseudonyms stand for now, in payloads.
    pub replaced: u64,
    /// Values in payloads that no declaration names, or that are not what it says.
    pub dropped_values: u64,
    /// Of these, times that cannot be written as they are spelled, once they are moved.
    pub dropped_times: u64,
    /// Messages by vendor and kind.
    pub left_out: BTreeMap<String, u64>,
}

/// Replaces what identifies, row by row.
pub struct Pseudonymize {
    names: Names,
    shift_us: i64,
    turn: Option<Turn>,
    keep_text: bool,
    sessions: HashMap<SessionId, Session>,
    told: Told,
}

impl std::fmt::Debug for Pseudonymize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pseudonymize").field("told", &self.told).finish_non_exhaustive()
    }
}

struct Session {
    id: SessionId,
    name: String,
    sources: HashMap<String, Source>,
}

struct Source {
    name: String,
    vendor: String,
    words: Words,
    kinds: HashMap<String, Kind>,
}

/// How rows of a kind are read, changed and read again.
struct Kind {
    conceal: Conceal,
    decoder: Decoder,
    decoded: u32,
    /// It says where on earth something is.
    is_on_earth: bool,
}

impl Pseudonymize {
    /// For what `options` select.
    pub fn new(archive: &Archive, options: &ScanOptions, wanted: Wanted) -> Result<Self, ArchiveError> {
        let names = Names::new(wanted.key);
        let shift_us = match wanted.time {
            None => 0,
            Some(TimeShift::By(shift_us)) => shift_us,
            Some(TimeShift::OfKey) => {
                let mut word = [0; 8];
                word.copy_from_slice(&names.bytes("time", b"")[..8]);
                -WEEK_US * i64::try_from(1 + u64::from_be_bytes(word) % WEEKS_MAX).unwrap_or(1)
            }
        };
        let turn = wanted.place.map(|place| match place {
            PlaceShift::By(turn) => turn,
            PlaceShift::OfKey => Turn::of(names.bytes("place", b"")),
        });
        let keep_text = wanted.keep_text;
        let (sessions, told) = (HashMap::new(), Told::default());
        let mut own = Self { names, shift_us, turn, keep_text, sessions, told };
        let ids = match &options.sessions[..] {
            [] => archive.list()?.into_iter().map(|session| session.session_id).collect(),
            ids => ids.to_vec(),
        };
        for id in ids {
            let session = own.session(&session_header(archive, id)?);
            own.sessions.insert(id, session);
        }
        Ok(own)
    }

    pub fn told(&self) -> &Told {
        &self.told
    }

    /// Whether places are where they were.
    pub fn keeps_places(&self) -> bool {
        self.turn.is_none()
    }

    fn session(&mut self, header: &SessionHeader) -> Session {
        let bytes = self.names.bytes("session", header.session_id.as_bytes());
        let mut random = [0; 10];
        random.copy_from_slice(&bytes[..10]);
        let id = SessionId::new(header.started_at_us.saturating_add(self.shift_us), random);
        let name = format!("session-{}", base32(&bytes[10..], 8));
        let mut sources = HashMap::new();
        for source in &header.sources {
            let mut words = Words::new(&source.settings, self.turn.is_some());
            let mut kinds = HashMap::new();
            for kind in &source.kinds {
                let text = kind.declaration.as_deref();
                let declaration = text.and_then(|text| Declaration::parse(text, &kind.name).ok());
                let Some(declaration) = declaration else { continue };
                words.declared(&declaration);
                if let Some(known) = Kind::new(&declaration) {
                    kinds.insert(kind.name.clone(), known);
                }
            }
            let name = self.source_name(&source.name, &source.settings);
            let vendor = source.vendor.clone();
            sources.insert(source.name.clone(), Source { name, vendor, words, kinds });
        }
        Session { id, name, sources }
    }

    /// The configured name, unless it is a configured identifier.
    fn source_name(&mut self, name: &str, settings: &Value) -> String {
        let mut ids = Vec::new();
        settings::identifiers(settings, &mut ids);
        if ids.iter().any(|id| name == id || (id.len() > 3 && name.contains(id.as_str()))) {
            return self.names.name(name);
        }
        name.to_owned()
    }

    fn changed(&mut self, row: &Row) -> Option<Row> {
        let session = self.sessions.get_mut(&row.session_id)?;
        let source = session.sources.get_mut(&*row.source).filter(|source| *source.vendor == *row.vendor)?;
        let new = Row {
            site: site(&mut self.names, &row.site).into(),
            session_id: session.id,
            source: source.name.as_str().into(),
            received_at_us: row.received_at_us.checked_add(self.shift_us)?,
            channel: source.words.channel(&row.channel, &mut self.names).into(),
            device_id: None,
            event_at_us: None,
            headers: row.headers.as_ref().map(|headers| {
                let is_known = |(name, _): &&(String, String)| HEADERS.contains(&name.as_str());
                headers.iter().filter(is_known).cloned().collect()
            }),
            clear: None,
            decode_error: None,
            ..row.clone()
        };
        if &*row.kind == "link" {
            let payload = settings::link(&row.payload, &source.words, &mut self.names, self.shift_us)?;
            return Some(Row { payload: payload.into(), ..new });
        }
        let kind = source.kinds.get_mut(&*row.kind)?;
        let mut shade = Shade {
            names: &mut self.names,
            told: &mut self.told,
            shift_us: self.shift_us,
            turn: self.turn,
            keep_text: self.keep_text,
            is_on_earth: kind.is_on_earth,
        };
        let payload = kind.conceal.message(&row.payload, row.clear.as_deref(), &mut shade)?;
        let decoded = kind.decoder.push(&new.channel, &payload);
        let row = match decoded.error {
            Some(_) => None,
            None => Some(Row {
                device_id: decoded.device_id.map(Into::into),
                event_at_us: decoded.event_at_us,
                payload: payload.into(),
                ..new
            }),
        };
        kind.decoded += 1;
        if kind.decoded == DECODED_ROWS_MAX {
            kind.decoded = 0;
            kind.decoder.finish();
        }
        row
    }
}

impl Kind {
    fn new(declaration: &Declaration) -> Option<Self> {
        Some(Self {
            conceal: Conceal::new(declaration)?,
            decoder: Decoder::new(Some(declaration)),
            decoded: 0,
            is_on_earth: declaration.fields().iter().any(is_on_earth),
        })
    }
}

fn site(names: &mut Names, site: &str) -> String {
    names.name(site)
}

impl Change for Pseudonymize {
    fn row(&mut self, row: Row) -> Option<Row> {
        let new = self.changed(&row);
        if new.is_none() {
            *self.told.left_out.entry(format!("{} {}", row.vendor, row.kind)).or_default() += 1;
        }
        new
    }

    fn site(&mut self, old: &str) -> String {
        site(&mut self.names, old)
    }

    fn header(&mut self, header: &mut SessionHeader) {
        let Some(session) = self.sessions.get(&header.session_id) else { return };
        header.session_id = session.id;
        header.name.clone_from(&session.name);
        header.site = site(&mut self.names, &header.site);
        header.started_at_us = header.started_at_us.saturating_add(self.shift_us);
        for source in &mut header.sources {
            let Some(known) = session.sources.get(&source.name) else { continue };
            source.name.clone_from(&known.name);
            source.settings = settings::shown(&source.settings, &known.words, &mut self.names, self.shift_us);
        }
    }

    fn sidecar(&mut self, sidecar: &mut Sidecar) {
        let Some(session) = self.sessions.get(&sidecar.session_id) else { return };
        sidecar.session_id = session.id;
        sidecar.name.clone_from(&session.name);
        sidecar.site = site(&mut self.names, &sidecar.site);
        sidecar.started_at_us = sidecar.started_at_us.saturating_add(self.shift_us);
        sidecar.ended_at_us = sidecar.ended_at_us.map(|at_us| at_us.saturating_add(self.shift_us));
        sidecar.pseudonymized = Some(true);
        for source in &mut sidecar.sources {
            let Some(known) = session.sources.get(&source.name) else { continue };
            source.name.clone_from(&known.name);
            source.settings = settings::shown(&source.settings, &known.words, &mut self.names, self.shift_us);
        }
        for clip in &mut sidecar.clips {
            clip.name = format!("clip-{}", base32(&self.names.bytes("clip", clip.name.as_bytes()), 8));
            clip.note = None;
        }
        for (n, mark) in (1..).zip(&mut sidecar.marks) {
            mark.note = format!("mark {n}");
            mark.at_us = mark.at_us.saturating_add(self.shift_us);
        }
    }
}
