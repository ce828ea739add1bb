//! What names an identifier beside the messages: in sessions' sidecars, and in the user's `devices.csv`.

use serde_json::Value;

use super::identifier::Identifier;
use crate::archive::Archive;
use crate::archive::durable::replace;
use crate::archive::error::{ArchiveError, IoContext};
use crate::archive::scan::{Bound, ScanOptions};
use crate::archive::sidecar::Sidecar;
use crate::message::SessionId;

/// What stands where an identifier stood, in texts that are of use without it.
const ERASED: &str = "erased";

/// The user's, in the archive's folder.
const DEVICES: &str = "devices.csv";

/// How much of what is beside the messages is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// All that names the identifiers.
    Identifiers,
    /// The sources that are selected, with all that is known of them.
    Sources,
    /// Notes that name the identifiers, in a stretch of time.
    Stretch,
    Nothing,
}

impl Reach {
    /// `session_id`: none asks for no session in particular.
    pub(super) fn of(
        options: &ScanOptions,
        identifiers: &[Identifier],
        session_id: Option<SessionId>,
    ) -> Self {
        let selection = &options.selection;
        let is_stretch = options.from.is_some()
            || options.to.is_some()
            || options.ranges.iter().any(|(of, _)| Some(*of) == session_id);
        let of_rows =
            !selection.kinds.is_empty() || !selection.channels.is_empty() || options.predicate.is_some();
        let of_sources = !selection.sources.is_empty() || !selection.vendors.is_empty();
        match (of_rows, identifiers.is_empty(), of_sources, is_stretch) {
            (false, false, false, false) => Self::Identifiers,
            (false, false, false, true) => Self::Stretch,
            (false, true, true, false) => Self::Sources,
            _ => Self::Nothing,
        }
    }
}

/// Takes out of a sidecar what is to go. Says of what it was, for people; nothing where nothing goes.
pub(super) fn clean(sidecar: &mut Sidecar, options: &ScanOptions, identifiers: &[Identifier]) -> Vec<String> {
    let reach = Reach::of(options, identifiers, Some(sidecar.session_id));
    let names = |text: &str| {
        identifiers.iter().any(|identifier| identifier.is_distinct() && identifier.is_in(text.as_bytes()))
    };
    let mut told = Vec::new();
    let sources = sidecar.sources.len();
    match reach {
        Reach::Nothing | Reach::Stretch => {}
        Reach::Sources => {
            let is_of = |names: &[String], name: &String| names.is_empty() || names.contains(name);
            let selection = &options.selection;
            sidecar.sources.retain(|source| {
                !(is_of(&selection.sources, &source.name) && is_of(&selection.vendors, &source.vendor))
            });
        }
        Reach::Identifiers => {
            sidecar.sources.retain(|source| !names(&source.name));
            let mut changed = false;
            for source in &mut sidecar.sources {
                changed |= clean_value(&mut source.settings, identifiers);
            }
            if changed {
                told.push("settings".to_owned());
            }
            if names(&sidecar.name) {
                sidecar.name = sidecar.session_id.to_string();
                told.push("its name".to_owned());
            }
            let clips = sidecar.clips.len();
            sidecar.clips.retain(|clip| !names(&clip.name));
            let noted = sidecar.clips.iter_mut().filter(|clip| clip.note.as_deref().is_some_and(names));
            let noted = noted.map(|clip| clip.note = None).count();
            tell(&mut told, clips - sidecar.clips.len(), "clip");
            tell(&mut told, noted, "note of a clip");
        }
    }
    tell(&mut told, sources - sidecar.sources.len(), "source");
    if matches!(reach, Reach::Identifiers | Reach::Stretch) {
        let is_within = |elapsed_ns: u64, at_us: i64| {
            let is_before = |bound: Bound| match bound {
                Bound::Wall(us) => at_us < us,
                Bound::Elapsed(ns) => elapsed_ns < ns,
                // A mark has no number.
                Bound::Seq(_) => false,
            };
            !options.from.is_some_and(is_before) && options.to.is_none_or(is_before)
        };
        let marks = sidecar.marks.len();
        sidecar.marks.retain(|mark| !(names(&mark.note) && is_within(mark.elapsed_ns, mark.at_us)));
        tell(&mut told, marks - sidecar.marks.len(), "mark");
    }
    told
}

fn tell(told: &mut Vec<String>, count: usize, what: &str) {
    match (count, what.split_once(' ')) {
        (0, _) => {}
        (1, _) => told.push(format!("a {what}")),
        (count, None) => told.push(format!("{count} {what}s")),
        (count, Some((what, of))) => told.push(format!("{count} {what}s {of}")),
    }
}

/// Settings: a list loses what *is* the identifier, a text keeps what else it says.
fn clean_value(value: &mut Value, identifiers: &[Identifier]) -> bool {
    let distinct = || identifiers.iter().filter(|identifier| identifier.is_distinct());
    match value {
        Value::Array(all) => {
            let before = all.len();
            all.retain(|one| !distinct().any(|identifier| is_it(one, identifier)));
            // Each of them, not only up to the first that changes.
            let changed =
                all.iter_mut().filter_map(|one| clean_value(one, identifiers).then_some(())).count();
            changed > 0 || all.len() < before
        }
        Value::Object(members) => {
            let before = members.len();
            members.retain(|key, _| !distinct().any(|identifier| identifier.is_in(key.as_bytes())));
            let values = members.values_mut();
            let changed = values.filter_map(|one| clean_value(one, identifiers).then_some(())).count();
            changed > 0 || members.len() < before
        }
        Value::String(text) => {
            let before = text.clone();
            for identifier in distinct() {
                if identifier.is_in(text.as_bytes()) {
                    *text = without(text, identifier);
                }
            }
            *text != before
        }
        Value::Number(_) if distinct().any(|identifier| is_it(value, identifier)) => {
            *value = Value::Null;
            true
        }
        _ => false,
    }
}

fn is_it(value: &Value, identifier: &Identifier) -> bool {
    match value {
        Value::String(text) => identifier.is(text),
        Value::Number(number) => number.as_i64().is_some_and(|number| identifier.is_number(number)),
        _ => false,
    }
}

fn without(text: &str, identifier: &Identifier) -> String {
    let mut places: Vec<_> = identifier.places(text.as_bytes()).collect();
    places.sort_by_key(|place| place.start);
    let (mut left, mut from) = (String::new(), 0);
    for place in places {
        // One that begins within the last is gone with it.
        if let Some(between) = text.get(from..place.start) {
            left.push_str(between);
            left.push_str(ERASED);
            from = place.end;
        }
    }
    left.push_str(text.get(from..).unwrap_or_default());
    // Spelled with escapes, it is not cut out but covered.
    if identifier.is_in(left.as_bytes()) { ERASED.to_owned() } else { left }
}

impl Archive {
    /// A session's sidecar, or what is known without: damage to it must not keep what names somebody.
    pub(super) fn sidecar_or_what_is_known(&self, session_id: SessionId) -> Result<Sidecar, ArchiveError> {
        match self.sidecar_or_stub(session_id) {
            Err(ArchiveError::Damaged { .. }) => {
                Ok(Sidecar { site: self.site().to_owned(), ..Sidecar::stub(session_id) })
            }
            sidecar => sidecar,
        }
    }

    /// How many lines of the user's `devices.csv` name an identifier; unless it is only asked, they go.
    pub(super) fn clean_devices(
        &self,
        identifiers: &[Identifier],
        only_asked: bool,
    ) -> Result<u64, ArchiveError> {
        let path = self.root().join(DEVICES);
        let text = match self.disk.read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            read => read.doing("read", &path)?,
        };
        let names = |line: &[u8]| identifiers.iter().any(|one| one.is_distinct() && one.is_in(line));
        let (gone, kept): (Vec<&[u8]>, Vec<&[u8]>) =
            text.split_inclusive(|byte| *byte == b'\n').partition(|line| names(line));
        if !gone.is_empty() && !only_asked {
            replace(&self.layout, &*self.disk, &path, &kept.concat())?;
        }
        Ok(gone.len() as u64)
    }
}
