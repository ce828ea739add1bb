//! What a session's rows are decoded by, put together again from its archive.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::archive::{Archive, ArchiveError};
use crate::decode;
use crate::message::{COMMON_KINDS, KindHeader, Row, SessionHeader, SessionId, SourceHeader};

/// A session as its recorder knew it: sources and settings from its sidecar, and each kind's declaration.
pub fn session_header(archive: &Archive, session_id: SessionId) -> Result<SessionHeader, ArchiveError> {
    let summary = archive.resolve(&session_id.to_string())?;
    let sidecar = archive.read_sidecar(session_id)?;
    let mut header = SessionHeader {
        session_id,
        name: summary.name,
        site: summary.site,
        started_at_us: summary.started_at_us,
        sources: sidecar.into_iter().flat_map(|s| s.sources).map(SourceHeader::from).collect(),
    };
    for source in &mut header.sources {
        for kind in &mut source.kinds {
            kind.declaration = declaration(archive, session_id, (&source.name, &source.vendor, &kind.name))?;
        }
    }
    // A source or a kind of which the sidecar knows nothing has rows all the same.
    let info = archive.kinds_of(session_id)?;
    for (source, vendor, kind) in info {
        add_kind(archive, &mut header, (&source, &vendor, &kind))?;
    }
    Ok(header)
}

/// What a kind's rows are decoded by: the declaration beside the data, else the built-in one.
fn declaration(
    archive: &Archive,
    session_id: SessionId,
    of: (&str, &str, &str),
) -> Result<Option<String>, ArchiveError> {
    let (_, vendor, kind) = of;
    let known = archive.declaration_of(session_id, of)?;
    Ok(known.or_else(|| decode::declaration(vendor, kind).map(str::to_owned)))
}

/// Makes sure that there is such a kind of such a source.
fn add_kind(
    archive: &Archive,
    header: &mut SessionHeader,
    (name, vendor, kind): (&str, &str, &str),
) -> Result<(), ArchiveError> {
    let sources = &mut header.sources;
    let at = sources.iter().position(|source| source.name == name && source.vendor == vendor);
    let at = at.unwrap_or(sources.len());
    if at == sources.len() {
        let (name, vendor) = (name.to_owned(), vendor.to_owned());
        sources.push(SourceHeader { name, vendor, kinds: Vec::new(), settings: Value::Null });
    }
    let kinds = &mut sources[at].kinds;
    if kinds.iter().all(|known| known.name != kind) {
        let declaration = declaration(archive, header.session_id, (name, vendor, kind))?;
        kinds.push(KindHeader { name: kind.to_owned(), declaration });
    }
    Ok(())
}

/// The sources of rows that come without a header: what they are called, of which kinds, and what their link rows
/// say of how they were set up.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources(BTreeMap<(String, String), Seen>);

#[derive(Clone, Debug, Default)]
struct Seen {
    /// In which place of the file it came first.
    order: usize,
    kinds: BTreeSet<String>,
    settings: Option<Value>,
    is_mqtt: bool,
    is_pushed: bool,
}

impl Sources {
    /// More than one session ever has; the number of a source has 16 bits.
    pub(super) const MOST: usize = 4_096;

    pub(super) fn see(&mut self, row: &Row) {
        let order = self.0.len();
        let seen = match self
            .0
            .iter_mut()
            .find(|((name, vendor), _)| **name == *row.source && **vendor == *row.vendor)
        {
            Some((_, seen)) => seen,
            None => self
                .0
                .entry((row.source.to_string(), row.vendor.to_string()))
                .or_insert_with(|| Seen { order, ..Seen::default() }),
        };
        if !seen.kinds.contains(&*row.kind) {
            seen.kinds.insert(row.kind.to_string());
        }
        seen.is_mqtt |= row.mqtt.is_some();
        seen.is_pushed |= row.headers.is_some();
        if &*row.kind == "link" && seen.settings.is_none() {
            let payload: Option<Value> = serde_json::from_slice(&row.payload).ok();
            seen.settings = payload.and_then(|mut payload| payload.get_mut("options").map(Value::take));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// With all kinds that their vendors have.
    pub(super) fn headers(&self, archive: Option<&Archive>) -> Result<Vec<SourceHeader>, ArchiveError> {
        let mut found: Vec<_> = self.0.iter().collect();
        found.sort_by_key(|(_, seen)| seen.order);
        let mut headers = Vec::new();
        for ((name, vendor), seen) in found {
            let own = decode::builtin(vendor).unwrap_or_default().iter().map(|(kind, _)| (*kind).to_owned());
            let mut kinds: Vec<String> = own.collect();
            let declared = |kind: &String| !COMMON_KINDS.contains(&kind.as_str());
            kinds.extend(seen.kinds.iter().filter(|kind| declared(kind)).cloned());
            kinds.extend(COMMON_KINDS.map(str::to_owned));
            let mut known = BTreeSet::new();
            kinds.retain(|kind| known.insert(kind.clone()));
            let settings = seen.settings.clone().unwrap_or_else(|| match (seen.is_mqtt, seen.is_pushed) {
                (true, _) => json!({"transport": "mqtt"}),
                (false, true) => json!({"transport": "webhook"}),
                (false, false) => json!({}),
            });
            let header = |kind: String| {
                let built_in = || decode::declaration(vendor, &kind).map(str::to_owned);
                let declaration = match archive {
                    Some(archive) if decode::builtin(vendor).is_none() => {
                        archive.declaration(vendor, &kind)?
                    }
                    _ => built_in(),
                };
                Ok::<_, ArchiveError>(KindHeader { name: kind.clone(), declaration })
            };
            let kinds = kinds.into_iter().map(header).collect::<Result<_, _>>()?;
            headers.push(SourceHeader { name: name.clone(), vendor: vendor.clone(), kinds, settings });
        }
        Ok(headers)
    }
}
