//! Retention: what is older than a moment goes, or the oldest until the rest fits.
//!
//! Whole files go where they can; a file of which something stays is rewritten without the rest. Rows inside clips
//! stay. Link events and configurations stay as long as anything of their session does: they say how it was
//! recorded. A session of which nothing else is left goes whole.
//!
//! A damaged file goes with all that it held once that is old enough, as its manifest says; until then it stays, and is
//! told. So does what a manifest that cannot be read is about, until its session is over for so long that all of it is
//! old enough.

use std::collections::{HashMap, HashSet};

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use serde::Serialize;

use super::Archive;
use super::clips::Clip;
use super::error::ArchiveError;
use super::layout::PartName;
use super::link::LINK_KIND;
use super::manifest::{Manifest, ManifestFile, split_covered};
use super::redecode::STAMP;
use super::rewrite::{
    Rewrite, Target, Targets, Terms, Watch, count_removed, remove_session_if, run, schema_of, stamp_of,
};
use super::sidecar::Sidecar;
use super::verify::Problem;
use crate::message::SessionId;

/// The kind that holds what a source was configured with.
const CONFIG_KIND: &str = "config";

/// What goes.
#[derive(Clone, Debug, Default)]
pub struct PruneOptions {
    /// What was received before this, in microseconds since the Unix epoch.
    pub before_us: Option<i64>,
    /// Of these sources, what was received before another moment than that.
    pub before_of: Vec<(String, i64)>,
    /// The oldest of what is selected, until the rest takes no more bytes.
    pub max_bytes: Option<u64>,
    /// Only of these kinds; empty: of all.
    pub kinds: Vec<String>,
    /// Only of these vendors; empty: of all.
    pub vendors: Vec<String>,
    /// Only say what would be done.
    pub dry_run: bool,
    pub terms: Terms,
}

/// What went of one session, or would.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pruned {
    pub session: String,
    pub session_id: SessionId,
    /// Nothing of it is left.
    pub whole: bool,
    pub messages: u64,
    /// Of the segments; about, where rows go and it has not been done.
    pub bytes: u64,
    /// Of the messages, how many were in damaged segments that went whole: nobody has read them.
    pub unread: u64,
    /// What cannot be read: segments that are not old enough to go whole, and manifests. It stays, unless the session
    /// went whole.
    pub damaged: Vec<String>,
}

/// Who is told what became of each session.
pub type Done<'a> = dyn FnMut(&str, Result<Option<Pruned>, ArchiveError>) -> Result<(), ArchiveError> + 'a;

/// What is to become of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Stays,
    Goes,
    /// Some of its rows go.
    Divided,
}

/// One session on its way.
struct Pruning<'a> {
    options: &'a PruneOptions,
    /// Files that go for their bytes.
    oldest: &'a HashSet<String>,
    session: Sidecar,
    /// As they were read last. They are made and forgotten at any time, also while a recorder runs: before something
    /// goes they are read again, and if they are others it is thought about again.
    clips: Vec<Clip>,
    manifests: Vec<Manifest>,
    /// Manifests that cannot be read: what they are about is not known.
    damaged: Vec<String>,
    at_us: i64,
}

impl Archive {
    /// Prunes all sessions that have ended, the oldest first; tells `done` of each of which something went. The
    /// caller holds the archive's lock, and has recovered it.
    pub fn prune(
        &self,
        options: &PruneOptions,
        watch: &Watch<'_>,
        done: &mut dyn FnMut(Pruned),
    ) -> Result<(), ArchiveError> {
        self.prune_each(options, watch, &mut |_, pruned| {
            pruned?.into_iter().for_each(&mut *done);
            Ok(())
        })
    }

    /// The same, and `done` is told of each session, by its name, what became of it. With an error it goes on at the
    /// next session, unless `done` hands one back.
    pub fn prune_each(
        &self,
        options: &PruneOptions,
        watch: &Watch<'_>,
        done: &mut Done<'_>,
    ) -> Result<(), ArchiveError> {
        let mut sessions = self.read_sidecars()?;
        sessions.retain(|session| session.ended.is_some());
        sessions.sort_by_key(|session| (session.started_at_us, session.session_id));
        let oldest = self.oldest(&sessions, options)?;
        let at_us = options.terms.at_us();
        for session in sessions {
            let name = session.name.clone();
            let run = || {
                let folder = self.look_into_manifests(|path| {
                    PartName::of(path).is_some_and(|name| name.session_id == session.session_id)
                })?;
                let damaged = folder.problems.iter().map(Problem::to_string).collect();
                let (manifests, _) = split_covered(folder.manifests);
                let clips = self.clips_of(session.session_id)?;
                Pruning { options, oldest: &oldest, session, clips, manifests, damaged, at_us }
                    .run(self, watch)
            };
            match run() {
                Err(ArchiveError::Interrupted) => return Err(ArchiveError::Interrupted),
                pruned => done(&name, pruned)?,
            }
            if !(watch.goes_on)() {
                return Err(ArchiveError::Interrupted);
            }
        }
        Ok(())
    }

    fn clips_of(&self, session_id: SessionId) -> Result<Vec<Clip>, ArchiveError> {
        Ok(self.read_sidecar(session_id)?.map(|sidecar| sidecar.clips).unwrap_or_default())
    }

    /// The files of these sessions that have to go so that all others fit, those of what is recorded among them.
    fn oldest(&self, sessions: &[Sidecar], options: &PruneOptions) -> Result<HashSet<String>, ArchiveError> {
        let Some(max_bytes) = options.max_bytes else { return Ok(HashSet::new()) };
        let (mut bytes, mut files) = (0, Vec::new());
        // By session: how many files may go, and the bytes of those that go with the last of them.
        let mut left: HashMap<SessionId, (usize, u64)> = HashMap::new();
        // One that cannot be read is told of by its session, and keeps no other from being counted.
        for manifest in self.readable_manifests()? {
            let session = sessions.iter().find(|session| session.session_id == manifest.session_id);
            let left = left.entry(manifest.session_id).or_default();
            for file in manifest.files.into_iter().filter(|file| options.names(file)) {
                if !options.selects(&file) {
                    left.1 += file.bytes;
                    continue;
                }
                bytes += file.bytes;
                if let Some(session) = session {
                    left.0 += 1;
                    let may_go = !session.clips.iter().any(|clip| clip.holds(&file));
                    files.push((file.received_max_us, may_go, manifest.session_id, file));
                }
            }
        }
        // Of a session that has nothing else, nothing goes for its bytes: it must not push out what others have.
        bytes += left.values().filter(|(count, _)| *count > 0).map(|(_, bytes)| bytes).sum::<u64>();
        files.sort_by_key(|(last_us, ..)| *last_us);
        let mut oldest = HashSet::new();
        for (_, may_go, session_id, file) in files {
            if bytes <= max_bytes {
                break;
            }
            if may_go {
                bytes -= file.bytes;
                oldest.insert(file.path);
                let left = left.entry(session_id).or_default();
                left.0 -= 1;
                if left.0 == 0 {
                    bytes -= left.1;
                }
            }
        }
        Ok(oldest)
    }
}

impl PruneOptions {
    fn has_age(&self) -> bool {
        self.before_us.is_some() || !self.before_of.is_empty()
    }

    /// What was received of a source before this goes.
    fn before(&self, source: &str) -> i64 {
        let own = self.before_of.iter().find(|(name, _)| name == source).map(|(_, before_us)| *before_us);
        own.or(self.before_us).unwrap_or(i64::MIN)
    }

    /// The earliest and the latest such moment of some sources; of none, that of any.
    fn befores<'a>(&self, sources: impl Iterator<Item = &'a str>) -> (i64, i64) {
        let any = self.before_us.unwrap_or(i64::MIN);
        let wider = |(least, most): (i64, i64), before: i64| (least.min(before), most.max(before));
        sources
            .map(|source| self.before(source))
            .fold(None, |known: Option<(i64, i64)>, before| {
                Some(known.map_or((before, before), |known| wider(known, before)))
            })
            .unwrap_or((any, any))
    }

    fn befores_of(&self, file: &ManifestFile) -> (i64, i64) {
        self.befores(file.sources.iter().map(|source| source.name.as_str()))
    }

    /// Of the kinds and vendors that are asked for.
    fn names(&self, file: &ManifestFile) -> bool {
        let named = |names: &[String], name: &String| names.is_empty() || names.contains(name);
        named(&self.kinds, &file.kind) && named(&self.vendors, &file.vendor)
    }

    /// What may go by itself: link events and configuration go with their session.
    fn selects(&self, file: &ManifestFile) -> bool {
        let is_kept = file.kind == LINK_KIND || (file.kind == CONFIG_KIND && self.kinds.is_empty());
        !is_kept && self.names(file)
    }
}

impl Clip {
    /// Whether a file has rows before its end and after its beginning.
    fn touches(&self, file: &ManifestFile) -> bool {
        self.seq_from <= file.seq_max && file.seq_min < self.seq_to
    }

    fn holds(&self, file: &ManifestFile) -> bool {
        self.seq_from <= file.seq_min && file.seq_max < self.seq_to
    }
}

impl Pruning<'_> {
    fn run(&mut self, archive: &Archive, watch: &Watch<'_>) -> Result<Option<Pruned>, ArchiveError> {
        let mut pruned = Pruned {
            session: self.session.name.clone(),
            session_id: self.session.session_id,
            whole: false,
            messages: 0,
            bytes: 0,
            unread: 0,
            damaged: Vec::new(),
        };
        if self.goes_whole() {
            let session_id = self.session.session_id;
            let has_no_clips = || Ok(archive.clips_of(session_id)?.is_empty());
            if self.options.dry_run || remove_session_if(archive, session_id, &has_no_clips)? {
                let files = || self.manifests.iter().flat_map(|manifest| &manifest.files);
                pruned.whole = true;
                pruned.messages = files().map(|file| file.rows).sum();
                pruned.bytes = files().map(|file| file.bytes).sum();
                pruned.damaged.append(&mut self.damaged);
                return Ok(Some(pruned));
            }
            self.clips = archive.clips_of(session_id)?;
        }
        for manifest in std::mem::take(&mut self.manifests) {
            while let Err(error) = self.part(archive, &manifest, watch, &mut pruned) {
                match error {
                    ArchiveError::ClipsChanged => self.clips = archive.clips_of(self.session.session_id)?,
                    error => return Err(error),
                }
            }
        }
        pruned.damaged.append(&mut self.damaged);
        Ok((pruned.messages > 0 || !pruned.damaged.is_empty()).then_some(pruned))
    }

    fn part(
        &self,
        archive: &Archive,
        manifest: &Manifest,
        watch: &Watch<'_>,
        pruned: &mut Pruned,
    ) -> Result<(), ArchiveError> {
        let of = |fate| manifest.files.iter().filter(move |file| self.fate(file) == fate).cloned();
        let (dropped, divided): (Vec<_>, Vec<_>) = (of(Fate::Goes).collect(), of(Fate::Divided).collect());
        let keep = |file: &ManifestFile, rows: &RecordBatch| self.keep(file, rows);
        let mut really = Vec::new();
        for file in divided {
            // Its times may straddle the moment without a row of it going.
            let goes = match count_removed(archive, &file, &["seq", "received_at", "source"], &keep) {
                Err(error) if error.is_damage() => {
                    let what = error.describe();
                    // It may be thought about again, where clips have changed meanwhile.
                    if !pruned.damaged.contains(&what) {
                        pruned.damaged.push(what);
                    }
                    continue;
                }
                goes => goes?,
            };
            if goes > 0 && self.options.dry_run {
                pruned.messages += goes;
                pruned.bytes += file.bytes * goes / file.rows.max(1);
            }
            if goes > 0 {
                really.push(file);
            }
        }
        if dropped.is_empty() && really.is_empty() {
            return Ok(());
        }
        if self.options.dry_run {
            pruned.messages += dropped.iter().map(|file| file.rows).sum::<u64>();
            pruned.bytes += dropped.iter().map(|file| file.bytes).sum::<u64>();
            return Ok(());
        }
        let kept = manifest.files.iter().filter(|file| !dropped.contains(file) && !really.contains(file));
        let agree = || {
            let lock = archive.lock_sidecars()?;
            let is_same = archive.clips_of(self.session.session_id)? == self.clips;
            if is_same { Ok(lock) } else { Err(ArchiveError::ClipsChanged) }
        };
        let rewrite = Rewrite {
            verb: "prune",
            at_us: self.at_us,
            row_group_bytes: self.options.terms.row_group_bytes,
            session: &self.session,
            manifests: vec![manifest.clone()],
            targets: alone(archive, &really)?,
            kept: kept.cloned().collect(),
            dropped,
            keep: Some(&keep),
            agree: Some(&agree),
        };
        // Where nothing is copied, it makes room and needs none.
        let spare_bytes = if really.is_empty() { 0 } else { self.options.terms.spare_bytes };
        archive.require_room(&rewrite.targets, spare_bytes)?;
        let before: u64 = manifest.files.iter().map(|file| file.bytes).sum();
        let rewritten = run(archive, rewrite, watch)?;
        let after: u64 = rewritten.manifest.files.iter().map(|file| file.bytes).sum();
        pruned.messages += rewritten.removed_rows;
        pruned.unread += rewritten.unread_rows;
        pruned.bytes += before.saturating_sub(after);
        Ok(())
    }

    /// Whether nothing stays that is worth its link events.
    fn goes_whole(&self) -> bool {
        let mut files = self.manifests.iter().flat_map(|manifest| &manifest.files).peekable();
        let is_empty = files.peek().is_none();
        let is_kept = |file: &ManifestFile| file.kind == LINK_KIND || file.kind == CONFIG_KIND;
        let is_old = |file: &ManifestFile| {
            !self.options.has_age()
                || file.received_max_us < self.options.befores_of(file).0
                || self.oldest.contains(&file.path)
        };
        let is_named = |file: &ManifestFile| {
            self.options.vendors.is_empty() || self.options.vendors.contains(&file.vendor)
        };
        // By bytes alone, only with something that goes for them.
        let mut of_all = self.manifests.iter().flat_map(|manifest| &manifest.files);
        if !self.options.has_age() && !of_all.any(|file| self.oldest.contains(&file.path)) {
            return false;
        }
        let all_go = files.all(|file| {
            if is_kept(file) { is_old(file) && is_named(file) } else { self.fate(file) == Fate::Goes }
        });
        let is_over = || {
            let ended_us = self.session.ended_at_us.unwrap_or(i64::MAX);
            let sources = self.session.sources.iter().map(|source| source.name.as_str());
            self.options.has_age()
                && ended_us < self.options.befores(sources).0
                && self.options.vendors.is_empty()
        };
        let all_go = if self.damaged.is_empty() { all_go && (!is_empty || is_over()) } else { is_over() };
        self.options.kinds.is_empty() && self.clips.is_empty() && all_go
    }

    fn fate(&self, file: &ManifestFile) -> Fate {
        if !self.options.selects(file) || self.clips.iter().any(|clip| clip.holds(file)) {
            return Fate::Stays;
        }
        let (least_us, most_us) = self.options.befores_of(file);
        let goes_whole = self.oldest.contains(&file.path) || file.received_max_us < least_us;
        match (goes_whole, self.clips.iter().any(|clip| clip.touches(file))) {
            (true, false) => Fate::Goes,
            (false, _) if file.received_min_us >= most_us => Fate::Stays,
            _ => Fate::Divided,
        }
    }

    fn keep(&self, file: &ManifestFile, rows: &RecordBatch) -> Result<BooleanArray, ArrowError> {
        let missing = || ArrowError::SchemaError("no column seq or received_at".to_owned());
        let seq = rows.column_by_name("seq").and_then(|c| c.as_primitive_opt::<Int64Type>());
        let at = rows.column_by_name("received_at");
        let at = at.and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
        let (seq, at) = (seq.ok_or_else(missing)?, at.ok_or_else(missing)?);
        let all_go = self.oldest.contains(&file.path);
        let sources = rows.column_by_name("source").and_then(|c| c.as_string_opt::<i32>());
        let before = |row: usize| match sources {
            Some(sources) if !self.options.before_of.is_empty() => self.options.before(sources.value(row)),
            _ => self.options.before_us.unwrap_or(i64::MIN),
        };
        let in_clip = |seq: u64| self.clips.iter().any(|clip| clip.seqs().contains(&seq));
        let stays = |row: usize| (!all_go && at.value(row) >= before(row)) || in_clip(seq.value(row) as u64);
        Ok((0..rows.num_rows()).map(|row| Some(stays(row))).collect())
    }
}

/// Each file by itself.
pub(super) fn alone<'a>(archive: &Archive, files: &[ManifestFile]) -> Result<Targets<'a>, ArchiveError> {
    let mut targets: Targets<'a> = Vec::new();
    for file in files {
        let same = |target: &&Target<'_>| super::compact::is_together(&target.inputs[0], file);
        targets.push(Target {
            variant: targets.iter().filter(same).count(),
            inputs: vec![file.clone()],
            schema: schema_of(archive, file)?,
            sources: None,
            derive: None,
            metadata: stamp_of(archive, file)?.map(|stamp| (STAMP, stamp)).into_iter().collect(),
        });
    }
    Ok(targets)
}
