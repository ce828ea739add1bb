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
//! Where the whole archive is searched for a device, the proof reads every file of the folder. Limited to a time, a
//! session or by another filter, it reads again what was selected. Files elsewhere, exported or copied, are not
//! reached, nor is what the disk keeps of removed files.

mod identifier;
mod proof;
mod rows;
mod sidecars;

use std::collections::BTreeMap;
use std::path::PathBuf;

use arrow::array::RecordBatch;
use arrow::compute::not;
use serde::Serialize;

use self::identifier::Identifier;
use self::rows::{Fate, Wanted};
use self::sidecars::Reach;
use super::Archive;
use super::error::ArchiveError;
use super::manifest::{Manifest, ManifestFile};
use super::prune::alone;
use super::reindex::reindex;
use super::rewrite::{Merged, Rewrite, Terms, Watch, device_ids, key_values, run, schema_of};
use super::scan::ScanOptions;
use super::sidecar::Sidecar;
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
    /// What else of it names the device: settings, clips, marks.
    pub beside: Vec<String>,
}

/// What would be done, looked up and not done.
#[derive(Debug)]
pub struct ErasePlan {
    options: EraseOptions,
    identifiers: Vec<Identifier>,
    sessions: Vec<SessionPlan>,
    /// Segments that cannot be read, and so stay as they are.
    pub unreadable: Vec<String>,
    /// Lines of `devices.csv`.
    pub devices_lines: u64,
    /// Devices whose names hold the identifier as a part: they stay.
    pub others: Vec<String>,
}

#[derive(Debug)]
struct SessionPlan {
    erased: Erased,
    parts: Vec<PartPlan>,
}

#[derive(Debug)]
struct PartPlan {
    manifest: Manifest,
    /// Files that go whole.
    dropped: Vec<ManifestFile>,
    /// Files of which something goes.
    divided: Vec<ManifestFile>,
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
        let mut manifests = self.read_manifests()?;
        let mut identifiers: Vec<Identifier> =
            options.scan.selection.devices.iter().map(|device| Identifier::new(device)).collect();
        let others = self.pass_over(&mut identifiers, &manifests)?;
        let mut plan = ErasePlan {
            options,
            identifiers,
            sessions: Vec::new(),
            unreadable: Vec::new(),
            devices_lines: 0,
            others,
        };
        if plan.is_whole() {
            plan.devices_lines = self.clean_devices(&plan.identifiers, true)?;
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
        let mut sidecar = self.sidecar_or_stub(session_id)?;
        let mut unreadable = Vec::new();
        let mut erased = Erased {
            session: sidecar.name.clone(),
            session_id,
            messages: 0,
            only_name_it: 0,
            kinds: BTreeMap::new(),
            beside: sidecars::clean(&mut sidecar, &plan.options.scan, &plan.identifiers),
        };
        let mut parts = Vec::new();
        for manifest in manifests {
            let mut part = PartPlan { manifest: manifest.clone(), dropped: Vec::new(), divided: Vec::new() };
            for file in &manifest.files {
                match self.plan_file(plan, session_id, file, &mut erased, progress) {
                    Ok(Fate::Stays) => {}
                    Ok(Fate::Goes) => part.dropped.push(file.clone()),
                    Ok(Fate::Asked) => part.divided.push(file.clone()),
                    Err(error @ ArchiveError::Interrupted) => return Err(error),
                    Err(error) => unreadable.push(describe(&error)),
                }
            }
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
        erased: &mut Erased,
        progress: &mut Progress<'_>,
    ) -> Result<Fate, ArchiveError> {
        let wanted = plan.wanted();
        let (goes, only_name_it) = match wanted.fate(session_id, file) {
            Fate::Stays => return Ok(Fate::Stays),
            Fate::Goes => (file.rows, 0),
            Fate::Asked => self.count_erased(&wanted, session_id, file, progress)?,
        };
        erased.messages += goes;
        erased.only_name_it += only_name_it;
        if goes > 0 {
            *erased.kinds.entry(file.kind.clone()).or_default() += goes;
        }
        // What the file says of itself: the name that its session had.
        let is_named = Reach::of(&plan.options.scan, &plan.identifiers, Some(session_id))
            == Reach::Identifiers
            && key_values(self, file)?.iter().any(|(_, value)| {
                plan.identifiers.iter().any(|one| one.is_distinct() && one.is_in(value.as_bytes()))
            });
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

    /// Lets the identifiers pass over the names of other things that they are a part of; answers with those devices.
    fn pass_over(
        &self,
        identifiers: &mut [Identifier],
        manifests: &[Manifest],
    ) -> Result<Vec<String>, ArchiveError> {
        let mut others = std::collections::BTreeSet::new();
        if !identifiers.iter().any(Identifier::is_distinct) {
            return Ok(Vec::new());
        }
        for file in manifests.iter().flat_map(|manifest| &manifest.files) {
            // One that cannot be read is told of where it is searched.
            let _ = device_ids(self, file, &mut |device| {
                let names = |one: &Identifier| one.as_str() != device && one.is_in(device.as_bytes());
                let is_wanted = identifiers.iter().any(|one| one.as_str() == device);
                if !is_wanted && identifiers.iter().any(names) {
                    others.insert(device.to_owned());
                }
            });
        }
        let recorded = manifests.iter().map(|manifest| manifest.session_id);
        let begun = self.read_sidecars()?.into_iter().map(|sidecar| sidecar.session_id);
        let mut sessions: Vec<String> = recorded.chain(begun).map(|id| id.to_string()).collect();
        sessions.sort();
        sessions.dedup();
        for identifier in identifiers {
            others.iter().chain(&sessions).for_each(|name| identifier.pass_over(name));
        }
        Ok(others.into_iter().collect())
    }

    /// Does what was planned; `done` is told of each session, also of the one in which it was interrupted.
    pub fn erase(
        &self,
        plan: &ErasePlan,
        watch: &Watch<'_>,
        done: &mut dyn FnMut(Erased),
    ) -> Result<(), ArchiveError> {
        if plan.is_whole() {
            self.clean_devices(&plan.identifiers, false)?;
        }
        for session in &plan.sessions {
            let mut erased = Erased { messages: 0, ..session.erased.clone() };
            let ended = self.erase_session(plan, session, watch, &mut erased);
            if erased.messages > 0 || ended.is_ok() {
                done(erased);
            }
            ended?;
            if !(watch.goes_on)() {
                return Err(ArchiveError::Interrupted);
            }
        }
        Ok(())
    }

    fn erase_session(
        &self,
        plan: &ErasePlan,
        session: &SessionPlan,
        watch: &Watch<'_>,
        erased: &mut Erased,
    ) -> Result<(), ArchiveError> {
        let session_id = erased.session_id;
        self.clean_sidecar(plan, session_id)?;
        let sidecar = self.sidecar_or_stub(session_id)?;
        for part in &session.parts {
            erased.messages += self.erase_part(plan, &sidecar, part, watch)?;
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
        Ok(run(self, rewrite, watch)?.removed_rows)
    }

    /// Makes the index again, in a file that never held what is gone. The caller holds the archive's lock.
    pub fn forget_erased(&self) -> Result<(), ArchiveError> {
        reindex(self).map(drop)
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

/// An error with its causes.
fn describe(error: &ArchiveError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
