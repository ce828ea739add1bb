//! One session on its way.

use std::collections::HashSet;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;

use super::left::Left;
use super::{CONFIG_KIND, PruneOptions, Pruned};
use crate::archive::Archive;
use crate::archive::clips::Clip;
use crate::archive::compact::is_together;
use crate::archive::error::ArchiveError;
use crate::archive::link::LINK_KIND;
use crate::archive::manifest::{Manifest, ManifestFile};
use crate::archive::redecode::STAMP;
use crate::archive::rewrite::{
    Keep, Rewrite, Rewritten, Target, Targets, Watch, count_removed, effort_of, measure, remove_session_if,
    run, schema_of, stamp_of,
};
use crate::archive::sidecar::Sidecar;

/// What is to become of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Stays,
    Goes,
    /// Some of its rows go.
    Divided,
}

/// One session on its way.
pub(super) struct Pruning<'a> {
    pub(super) options: &'a PruneOptions,
    /// Files that go for their bytes.
    pub(super) oldest: &'a HashSet<String>,
    pub(super) session: &'a Sidecar,
    /// As they were read last. They are made and forgotten at any time, also while a recorder runs: before something
    /// goes they are read again, and if they are others it is thought about again.
    pub(super) clips: Vec<Clip>,
    /// Manifests that cannot be read: what they are about is not known.
    pub(super) damaged: Vec<String>,
    pub(super) at_us: i64,
}

impl Clip {
    /// Whether a file has rows before its end and after its beginning.
    pub(super) fn touches(&self, file: &ManifestFile) -> bool {
        self.seq_from <= file.seq_max && file.seq_min < self.seq_to
    }

    fn holds(&self, file: &ManifestFile) -> bool {
        self.seq_from <= file.seq_min && file.seq_max < self.seq_to
    }
}

impl Pruning<'_> {
    /// What stays is added to `left`, also where it ends with an error: what went before that is told all the same.
    pub(super) fn run(
        &mut self,
        archive: &Archive,
        manifests: &[Manifest],
        watch: &Watch<'_>,
        left: &mut Left,
    ) -> (Option<Pruned>, Result<(), ArchiveError>) {
        let mut pruned = Pruned {
            session: self.session.name.clone(),
            session_id: self.session.session_id,
            whole: false,
            messages: 0,
            bytes: 0,
            unread: 0,
            damaged: Vec::new(),
        };
        let files = || manifests.iter().flat_map(|manifest| &manifest.files);
        let mut ended = Ok(());
        if self.goes_whole(manifests) {
            match self.whole(archive, &mut pruned) {
                Ok(true) => {
                    pruned.whole = true;
                    pruned.messages = files().map(|file| file.rows).sum();
                    pruned.bytes = files().map(|file| file.bytes).sum();
                    return (Some(pruned), Ok(()));
                }
                Ok(false) => {}
                Err(error) => ended = Err(error),
            }
        }
        let mut stays = Vec::new();
        for manifest in manifests {
            // With the first error it is over, and what comes after it stays as well.
            let rewritten = match ended {
                Ok(()) => self.part_by_clips(archive, manifest, watch, &mut pruned),
                Err(_) => Ok(None),
            };
            match rewritten {
                Ok(Some(rewritten)) => stays.extend(rewritten.manifest.files),
                kept => {
                    ended = ended.and(kept.map(drop));
                    stays.extend(manifest.files.iter().cloned());
                }
            }
        }
        left.add(self.options, &self.clips, &stays);
        pruned.bytes = files()
            .map(|file| file.bytes)
            .sum::<u64>()
            .saturating_sub(stays.iter().map(|file| file.bytes).sum());
        pruned.damaged.append(&mut self.damaged);
        ((pruned.messages > 0 || !pruned.damaged.is_empty()).then_some(pruned), ended)
    }

    /// Removes all of it, if still nothing of it is in a clip.
    fn whole(&mut self, archive: &Archive, pruned: &mut Pruned) -> Result<bool, ArchiveError> {
        let session_id = self.session.session_id;
        let damaged = archive.damage_of(session_id)?;
        let has_no_clips = || Ok(archive.clips_of(session_id)?.is_empty());
        if self.options.dry_run || remove_session_if(archive, session_id, &has_no_clips)? {
            pruned.damaged = damaged;
            return Ok(true);
        }
        self.clips = archive.clips_of(session_id)?;
        Ok(false)
    }

    /// As [`Self::part`], and again where clips were made or forgotten meanwhile.
    fn part_by_clips(
        &mut self,
        archive: &Archive,
        manifest: &Manifest,
        watch: &Watch<'_>,
        pruned: &mut Pruned,
    ) -> Result<Option<Rewritten>, ArchiveError> {
        loop {
            match self.part(archive, manifest, watch, pruned) {
                Err(ArchiveError::ClipsChanged) => self.clips = archive.clips_of(self.session.session_id)?,
                done => return done,
            }
        }
    }

    /// None: all of it stays.
    fn part(
        &self,
        archive: &Archive,
        manifest: &Manifest,
        watch: &Watch<'_>,
        pruned: &mut Pruned,
    ) -> Result<Option<Rewritten>, ArchiveError> {
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
            if goes > 0 {
                really.push(file);
            }
        }
        if dropped.is_empty() && really.is_empty() {
            return Ok(None);
        }
        let kept = manifest.files.iter().filter(|file| !dropped.contains(file) && !really.contains(file));
        let agree = || {
            let lock = archive.lock_sidecars()?;
            let is_same = archive.clips_of(self.session.session_id)? == self.clips;
            if is_same { Ok(lock) } else { Err(ArchiveError::ClipsChanged) }
        };
        let targets = alone(archive, &really)?;
        let rewrite = Rewrite {
            kept: kept.cloned().collect(),
            dropped,
            agree: Some(&agree),
            ..self.rewrite(manifest, targets, &keep)
        };
        let rewritten = if self.options.dry_run {
            measure(archive, rewrite, watch)?
        } else {
            // Where nothing is copied, it makes room and needs none.
            let spare_bytes = if really.is_empty() { 0 } else { self.options.terms.spare_bytes };
            archive.require_room(&rewrite.targets, spare_bytes)?;
            run(archive, rewrite, watch)?
        };
        pruned.messages += rewritten.removed_rows;
        pruned.unread += rewritten.unread_rows;
        Ok(Some(rewritten))
    }

    /// How large one of its files will be. One that cannot be read stays as it is.
    pub(super) fn bytes_after(
        &self,
        archive: &Archive,
        manifest: &Manifest,
        file: &ManifestFile,
        watch: &Watch<'_>,
    ) -> Result<u64, ArchiveError> {
        match self.fate(file) {
            Fate::Stays => return Ok(file.bytes),
            Fate::Goes => return Ok(0),
            Fate::Divided => {}
        }
        let keep = |file: &ManifestFile, rows: &RecordBatch| self.keep(file, rows);
        let measured = alone(archive, std::slice::from_ref(file))
            .and_then(|targets| measure(archive, self.rewrite(manifest, targets, &keep), watch));
        match measured {
            Ok(measured) if measured.removed_rows > 0 => {
                Ok(measured.manifest.files.iter().map(|file| file.bytes).sum())
            }
            Ok(_) => Ok(file.bytes),
            Err(error) if error.is_damage() => Ok(file.bytes),
            Err(error) => Err(error),
        }
    }

    /// Of a part, `targets` alone.
    fn rewrite<'a>(&'a self, manifest: &Manifest, targets: Targets<'a>, keep: &'a Keep<'a>) -> Rewrite<'a> {
        Rewrite {
            verb: "prune",
            at_us: self.at_us,
            row_group_bytes: self.options.terms.row_group_bytes,
            session: self.session,
            manifests: vec![manifest.clone()],
            targets,
            kept: Vec::new(),
            dropped: Vec::new(),
            keep: Some(keep),
            agree: None,
        }
    }

    /// Whether nothing stays that is worth its link events.
    fn goes_whole(&self, manifests: &[Manifest]) -> bool {
        let mut files = manifests.iter().flat_map(|manifest| &manifest.files).peekable();
        let is_empty = files.peek().is_none();
        let is_kept = |file: &ManifestFile| file.kind == LINK_KIND || file.kind == CONFIG_KIND;
        // Where something goes for its bytes, what says how it was recorded is not to be what is left of it.
        let mut of_all = manifests.iter().flat_map(|manifest| &manifest.files);
        let by_bytes = of_all.any(|file| self.oldest.contains(&file.path));
        let is_old = |file: &ManifestFile| by_bytes || file.received_max_us < self.options.befores_of(file).0;
        let is_named = |file: &ManifestFile| {
            self.options.vendors.is_empty() || self.options.vendors.contains(&file.vendor)
        };
        if !self.options.has_age() && !by_bytes {
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
pub(in crate::archive) fn alone<'a>(
    archive: &Archive,
    files: &[ManifestFile],
) -> Result<Targets<'a>, ArchiveError> {
    let mut targets: Targets<'a> = Vec::new();
    for file in files {
        let same = |target: &&Target<'_>| is_together(&target.inputs[0], file);
        targets.push(Target {
            variant: targets.iter().filter(same).count(),
            inputs: vec![file.clone()],
            schema: schema_of(archive, file)?,
            sources: None,
            derive: None,
            metadata: stamp_of(archive, file)?.map(|stamp| (STAMP, stamp)).into_iter().collect(),
            // What was not written to stay grows by what describes its columns: fewer rows are not to take more room.
            effort: effort_of(archive, file)?,
            only_if_smaller: false,
        });
    }
    Ok(targets)
}
