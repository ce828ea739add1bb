//! Erasure: every trace of what a filter selects goes, and a search proves it.
//!
//! A filter without a device selects rows as it does everywhere. A device is looked for by name: its own rows go, and
//! all others that name it as a whole word ([`identifier`]) in any text or bytes, whatever their kind: payload and
//! what was decrypted of it, channel, headers, typed columns, and numbers whose role is `identifier`. So do link events
//! and configurations that name it; an outage is then known no more than what it was an outage of.
//!
//! It is done in this order, and doing it again changes nothing:
//!
//! 1. [`Archive::plan_erase`] reads everything that may hold such rows and changes nothing;
//! 2. [`Archive::erase`] goes through the sessions: what names it in the sidecar, then each part by
//!    [`rewrite`](mod@super::rewrite), of which a cut leaves the old or the new. The manifests say that rows were
//!    removed and which numbers these had, never what was looked for;
//! 3. the index is made again from what is left, in a new file: SQLite keeps what was deleted in free pages;
//! 4. [`Archive::prove_erased`] searches what is there.
//!
//! What cannot be read, or fails, keeps nothing else from going: it is told, and stays as it is. A damaged segment of
//! which all is to go by what its manifest says of it (a source, a stretch of time) goes unread.
//!
//! Where the whole archive is searched for a device, the proof reads every file of the folder. Limited to a time, a
//! session or by another filter, it reads again what was selected. Files elsewhere, exported or copied, are not
//! reached, nor is what the disk keeps of removed files.

mod identifier;
mod proof;
mod rows;
mod sidecars;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::compute::not;
use serde::Serialize;

use self::identifier::Identifier;
use self::rows::{Fate, Wanted};
use self::sidecars::Reach;
use super::Archive;
use super::error::ArchiveError;
use super::manifest::{Manifest, ManifestFile, split_covered};
use super::prune::alone;
use super::reindex::index_anew;
use super::rewrite::{Merged, Rewrite, Terms, Watch, device_ids, key_values, run, schema_of};
use super::scan::ScanOptions;
use super::sidecar::Sidecar;
use super::verify::Problem;
use crate::message::SessionId;
pub use proof::{Found, Proof};

/// What is erased: `scan` selects it, with its devices as identifiers; `data_only` and such do not count.
#[derive(Clone, Debug, Default)]
pub struct EraseOptions {
    pub scan: ScanOptions,
    /// No session was named: not these in particular.
    pub all_sessions: bool,
    /// When, for the manifests.
    pub at_us: i64,
}

/// What goes of one session, or went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Erased {
    pub session: String,
    pub session_id: SessionId,
    pub messages: u64,
    /// Of these, how many are not the device's own: they only name it.
    pub only_name_it: u64,
    pub kinds: BTreeMap<String, u64>,
    /// Of these, how many were in damaged segments that went whole: nobody has read them. Known when they went.
    pub unread: u64,
    /// What else of it names the device: settings, clips, marks.
    pub beside: Vec<String>,
}

/// What would be done, looked up and not done.
#[derive(Debug)]
pub struct ErasePlan {
    options: EraseOptions,
    identifiers: Vec<Identifier>,
    sessions: Vec<SessionPlan>,
    /// Segments, manifests and sidecars that cannot be read, and so stay as they are.
    pub unreadable: Vec<String>,
    /// Lines of `devices.csv`.
    pub devices_lines: u64,
    /// Devices whose names hold the identifier as a part: they stay.
    pub others: Vec<String>,
    /// Devices whose names are the identifier in another spelling: they go.
    pub alike: Vec<String>,
    /// Wanted devices that no message is of, and names of some that are spelled like them.
    pub unknown: Vec<(String, Vec<String>)>,
}

#[derive(Debug)]
struct SessionPlan {
    erased: Erased,
    parts: Vec<PartPlan>,
}

#[derive(Debug)]
struct PartPlan {
    manifest: Manifest,
    goes: Goes,
    /// Files that go whole.
    dropped: Vec<ManifestFile>,
    /// Files of which something goes.
    divided: Vec<ManifestFile>,
}

/// How many messages of a part go.
#[derive(Debug, Default)]
struct Goes {
    messages: u64,
    only_name_it: u64,
    kinds: BTreeMap<String, u64>,
}

impl Erased {
    fn nothing_of(session: &Sidecar) -> Self {
        Self {
            session: session.name.clone(),
            session_id: session.session_id,
            messages: 0,
            only_name_it: 0,
            kinds: BTreeMap::new(),
            unread: 0,
            beside: Vec::new(),
        }
    }

    fn add(&mut self, goes: &Goes) {
        self.messages += goes.messages;
        self.only_name_it += goes.only_name_it;
        for (kind, messages) in &goes.kinds {
            *self.kinds.entry(kind.clone()).or_default() += messages;
        }
    }
}

impl ErasePlan {
    /// What goes, by session, of which something does.
    pub fn sessions(&self) -> impl Iterator<Item = &Erased> {
        self.sessions.iter().map(|session| &session.erased)
    }

    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.devices_lines == 0
    }

    /// Devices whose names could be any number or word: only what has them as `device_id` goes.
    pub fn indistinct(&self) -> Vec<&str> {
        self.identifiers.iter().filter(|one| !one.is_distinct()).map(Identifier::as_str).collect()
    }

    /// Whether the whole archive is searched for devices, every file of it.
    pub fn is_whole(&self) -> bool {
        self.options.all_sessions
            && self.identifiers.iter().any(Identifier::is_distinct)
            && Reach::of(&self.options.scan, &self.identifiers, None) == Reach::Identifiers
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted { options: &self.options.scan, identifiers: &self.identifiers }
    }
}

impl Archive {
    /// Looks for what goes. The caller holds the archive's lock, and has recovered it, unless it only wants to know.
    pub fn plan_erase(&self, options: EraseOptions, watch: &Watch<'_>) -> Result<ErasePlan, ArchiveError> {
        let folder = self.look_into_manifests(|_| true)?;
        let (mut manifests, _) = split_covered(folder.manifests);
        let mut identifiers: Vec<Identifier> =
            options.scan.selection.devices.iter().map(|device| Identifier::new(device)).collect();
        let Devices { others, alike, unknown } = self.pass_over(&mut identifiers, &manifests)?;
        let problems = folder.problems.into_iter().chain(self.look_into_sidecars()?.1);
        let mut plan = ErasePlan {
            unreadable: problems
                .filter(|problem| options.may_reach(problem))
                .map(|p| p.to_string())
                .collect(),
            options,
            identifiers,
            sessions: Vec::new(),
            devices_lines: 0,
            others,
            alike,
            unknown,
        };
        if plan.is_whole() {
            match self.clean_devices(&plan.identifiers, true) {
                Ok(lines) => plan.devices_lines = lines,
                Err(error) => plan.unreadable.push(error.describe()),
            }
        }
        let sessions = plan.options.scan.sessions.clone();
        manifests.retain(|manifest| sessions.contains(&manifest.session_id));
        let wanted = plan.wanted();
        let files = || manifests.iter().flat_map(|m| m.files.iter().map(|file| (m.session_id, file)));
        let asked = files().filter(|(id, file)| wanted.fate(*id, file) == Fate::Asked);
        let mut progress = Progress { done: 0, total: asked.map(|(_, file)| file.rows).sum(), watch };
        for session_id in sessions {
            let of_session = manifests.iter().filter(|manifest| manifest.session_id == session_id);
            let session = self.plan_session(&plan, session_id, of_session, &mut progress)?;
            let (session, unreadable) = session;
            plan.unreadable.extend(unreadable);
            plan.sessions.extend(session);
        }
        Ok(plan)
    }

    fn plan_session<'m>(
        &self,
        plan: &ErasePlan,
        session_id: SessionId,
        manifests: impl Iterator<Item = &'m Manifest>,
        progress: &mut Progress<'_>,
    ) -> Result<(Option<SessionPlan>, Vec<String>), ArchiveError> {
        let mut sidecar = self.sidecar_or_what_is_known(session_id)?;
        let mut unreadable = Vec::new();
        let mut erased = Erased::nothing_of(&sidecar);
        erased.beside = sidecars::clean(&mut sidecar, &plan.options.scan, &plan.identifiers);
        let mut parts = Vec::new();
        for manifest in manifests {
            let goes = Goes::default();
            let mut part =
                PartPlan { manifest: manifest.clone(), goes, dropped: Vec::new(), divided: Vec::new() };
            for file in &manifest.files {
                match self.plan_file(plan, session_id, file, &mut part.goes, progress) {
                    Ok(Fate::Stays) => {}
                    Ok(Fate::Goes) => part.dropped.push(file.clone()),
                    Ok(Fate::Asked) => part.divided.push(file.clone()),
                    Err(error @ ArchiveError::Interrupted) => return Err(error),
                    Err(error) => unreadable.push(error.describe()),
                }
            }
            erased.add(&part.goes);
            if !part.dropped.is_empty() || !part.divided.is_empty() {
                parts.push(part);
            }
        }
        let is_some = !parts.is_empty() || !erased.beside.is_empty();
        Ok((is_some.then_some(SessionPlan { erased, parts }), unreadable))
    }

    /// What becomes of a file: stays, goes, or (`Asked`) is divided.
    fn plan_file(
        &self,
        plan: &ErasePlan,
        session_id: SessionId,
        file: &ManifestFile,
        all: &mut Goes,
        progress: &mut Progress<'_>,
    ) -> Result<Fate, ArchiveError> {
        let wanted = plan.wanted();
        let (goes, only_name_it) = match wanted.fate(session_id, file) {
            Fate::Stays => return Ok(Fate::Stays),
            Fate::Goes => (file.rows, 0),
            Fate::Asked => self.count_erased(&wanted, session_id, file, progress)?,
        };
        // What the file says of itself: the name that its session had.
        let is_named = goes < file.rows
            && Reach::of(&plan.options.scan, &plan.identifiers, Some(session_id)) == Reach::Identifiers
            && key_values(self, file)?.iter().any(|(_, value)| {
                plan.identifiers.iter().any(|one| one.is_distinct() && one.is_in(value.as_bytes()))
            });
        all.messages += goes;
        all.only_name_it += only_name_it;
        if goes > 0 {
            *all.kinds.entry(file.kind.clone()).or_default() += goes;
        }
        Ok(match goes {
            goes if goes == file.rows => Fate::Goes,
            0 if !is_named => Fate::Stays,
            _ => Fate::Asked,
        })
    }

    /// How many rows of a file go, and how many of these only name a device.
    fn count_erased(
        &self,
        wanted: &Wanted<'_>,
        session_id: SessionId,
        file: &ManifestFile,
        progress: &mut Progress<'_>,
    ) -> Result<(u64, u64), ArchiveError> {
        let columns = wanted.columns(&*schema_of(self, file)?);
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        let mut rows = Merged::new(self, std::slice::from_ref(file), Some(&columns));
        let (mut goes, mut only_name_it) = (0, 0);
        while let Some(rows) = rows.next()? {
            let looked = wanted.look(session_id, file, &rows).map_err(|error| ArchiveError::ReadSegment {
                path: PathBuf::from(&file.path),
                source: error.into(),
            })?;
            goes += looked.goes.true_count() as u64;
            only_name_it += looked.only_name_it;
            progress.tell(rows.num_rows() as u64)?;
        }
        Ok((goes, only_name_it))
    }

    /// Lets the identifiers pass over the names of other things that they are a part of. Answers with those devices, and
    /// with the wanted ones that are not there.
    fn pass_over(
        &self,
        identifiers: &mut [Identifier],
        manifests: &[Manifest],
    ) -> Result<Devices, ArchiveError> {
        let mut devices = BTreeSet::new();
        if identifiers.is_empty() {
            return Ok(Devices::default());
        }
        for file in manifests.iter().flat_map(|manifest| &manifest.files) {
            // One that cannot be read is told of where it is searched.
            let _ = device_ids(self, file, &mut |device| {
                if !devices.contains(device) {
                    devices.insert(device.to_owned());
                }
            });
        }
        let is_wanted = |device: &String| identifiers.iter().any(|one| one.is(device));
        let names = |one: &Identifier, device: &String| one.is_distinct() && one.is_in(device.as_bytes());
        let holds_one = |device: &String| identifiers.iter().any(|one| names(one, device));
        let others: Vec<String> =
            devices.iter().filter(|device| !is_wanted(device) && holds_one(device)).cloned().collect();
        let is_named = |device: &String| identifiers.iter().any(|one| one.as_str() == device.as_str());
        let alike = devices.iter().filter(|device| is_wanted(device) && !is_named(device)).cloned().collect();
        let is_unknown = |one: &&Identifier| !devices.iter().any(|device| one.is(device));
        let unknown = identifiers.iter().filter(is_unknown);
        let unknown = unknown.map(|one| (one.as_str().to_owned(), nearest(one.as_str(), &devices))).collect();
        let recorded = manifests.iter().map(|manifest| manifest.session_id);
        let begun = self.read_sidecars()?.into_iter().map(|sidecar| sidecar.session_id);
        let mut sessions: Vec<String> = recorded.chain(begun).map(|id| id.to_string()).collect();
        sessions.sort();
        sessions.dedup();
        for identifier in identifiers {
            others.iter().chain(&sessions).for_each(|name| identifier.pass_over(name));
        }
        Ok(Devices { others, alike, unknown })
    }

    /// Does what was planned; `done` is told of each session, also of the one in which it was interrupted. Answers with
    /// what failed, and so is as it was.
    pub fn erase(
        &self,
        plan: &ErasePlan,
        watch: &Watch<'_>,
        done: &mut dyn FnMut(Erased),
    ) -> Result<Vec<String>, ArchiveError> {
        let mut failed = Vec::new();
        if plan.devices_lines > 0 {
            let cleaned = self.clean_devices(&plan.identifiers, false);
            failed.extend(cleaned.err().map(|error| error.describe()));
        }
        for session in &plan.sessions {
            let mut erased = Erased {
                kinds: BTreeMap::new(),
                messages: 0,
                only_name_it: 0,
                beside: Vec::new(),
                ..session.erased.clone()
            };
            let ended = self.erase_session(plan, session, watch, &mut erased, &mut failed);
            if erased.messages > 0 || !erased.beside.is_empty() {
                done(erased);
            }
            ended?;
            if !(watch.goes_on)() {
                return Err(ArchiveError::Interrupted);
            }
        }
        Ok(failed)
    }

    fn erase_session(
        &self,
        plan: &ErasePlan,
        session: &SessionPlan,
        watch: &Watch<'_>,
        erased: &mut Erased,
        failed: &mut Vec<String>,
    ) -> Result<(), ArchiveError> {
        let session_id = erased.session_id;
        match self.clean_sidecar(plan, session_id) {
            Ok(()) => erased.beside.clone_from(&session.erased.beside),
            // That it cannot be read is known.
            Err(ArchiveError::Damaged { .. }) => {}
            Err(error) => failed.push(error.describe()),
        }
        let sidecar = self.sidecar_or_what_is_known(session_id)?;
        for part in &session.parts {
            match self.erase_part(plan, &sidecar, part, watch) {
                Ok(unread) => {
                    erased.add(&part.goes);
                    erased.unread += unread;
                }
                Err(error @ ArchiveError::Interrupted) => return Err(error),
                Err(error) => failed.push(error.describe()),
            }
        }
        Ok(())
    }

    /// Marks may have been made since it was planned: the sidecar is looked at again.
    fn clean_sidecar(&self, plan: &ErasePlan, session_id: SessionId) -> Result<(), ArchiveError> {
        let _lock = self.lock_sidecars()?;
        let Some(mut sidecar) = self.read_sidecar(session_id)? else { return Ok(()) };
        let told = sidecars::clean(&mut sidecar, &plan.options.scan, &plan.identifiers);
        if told.is_empty() {
            return Ok(());
        }
        self.write_sidecar(&sidecar)?;
        self.update_index(|index| index.put_session(&sidecar.to_row()))
    }

    /// How many messages went unread.
    fn erase_part(
        &self,
        plan: &ErasePlan,
        session: &Sidecar,
        part: &PartPlan,
        watch: &Watch<'_>,
    ) -> Result<u64, ArchiveError> {
        let wanted = plan.wanted();
        let keep =
            |file: &ManifestFile, rows: &RecordBatch| not(&wanted.look(session.session_id, file, rows)?.goes);
        let stays = |file: &&ManifestFile| !part.dropped.contains(file) && !part.divided.contains(file);
        let rewrite = Rewrite {
            verb: "erase",
            at_us: plan.options.at_us,
            row_group_bytes: Terms::default().row_group_bytes,
            session,
            manifests: vec![part.manifest.clone()],
            targets: alone(self, &part.divided)?,
            kept: part.manifest.files.iter().filter(stays).cloned().collect(),
            dropped: part.dropped.clone(),
            keep: Some(&keep),
            agree: None,
        };
        self.require_room(&rewrite.targets, 0)?;
        Ok(run(self, rewrite, watch)?.unread_rows)
    }

    /// Makes the index again, in a file that never held what is gone. The caller holds the archive's lock.
    pub fn forget_erased(&self) -> Result<(), ArchiveError> {
        index_anew(self)
    }
}

/// How far the looking has come.
struct Progress<'a> {
    done: u64,
    total: u64,
    watch: &'a Watch<'a>,
}

impl Progress<'_> {
    fn tell(&mut self, more: u64) -> Result<(), ArchiveError> {
        self.done += more;
        (self.watch.tell)(self.done, self.total);
        if (self.watch.goes_on)() { Ok(()) } else { Err(ArchiveError::Interrupted) }
    }
}

/// What there is of devices beside those that were asked for by name; see [`ErasePlan`].
#[derive(Default)]
struct Devices {
    others: Vec<String>,
    alike: Vec<String>,
    unknown: Vec<(String, Vec<String>)>,
}

/// So many names that are spelled alike are told.
const NEAREST: usize = 3;

/// Below this they are not alike.
const ALIKE: f64 = 0.75;

fn nearest(wanted: &str, devices: &BTreeSet<String>) -> Vec<String> {
    let wanted = wanted.to_lowercase();
    let alike = |device: &String| strsim::jaro_winkler(&wanted, &device.to_lowercase());
    let mut near: Vec<(f64, &String)> = devices.iter().map(|device| (alike(device), device)).collect();
    near.retain(|(alike, _)| *alike >= ALIKE);
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.into_iter().take(NEAREST).map(|(_, device)| device.clone()).collect()
}

impl EraseOptions {
    /// Whether something that cannot be read may be about one of the sessions.
    fn may_reach(&self, problem: &Problem) -> bool {
        let Problem::Unreadable { path, .. } = problem else { return true };
        let name = Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        self.all_sessions || self.scan.sessions.iter().any(|id| name.starts_with(&id.to_string()))
    }
}
