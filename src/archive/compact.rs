//! Compaction: the parts of a session become one, with one file for each vendor, kind and day.
//!
//! Recording seals a part whenever it is old or large enough, so that a day is hundreds of small files of each
//! kind. Compacted, rows are in the order of `seq` in few files with whole row groups, which readers skip by.
//!
//! Files of one kind and day whose columns differ only in that some have more become one file with all of them.
//! Where a name has another type or field id, they stay apart as variants (`….2.parquet`). What would be no smaller than
//! it is stays as it is, and the manifest remembers that it was tried.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use serde::Serialize;

use super::Archive;
use super::encoding::Effort;
use super::error::{ArchiveError, IoContext};
use super::manifest::ManifestFile;
use super::redecode::STAMP;
use super::rewrite::{
    Rewrite, Rewritten, Target, Targets, Terms, Watch, effort_of, run, schema_of, stamp_of,
};
use super::sidecar::Sidecar;
use crate::message::{SessionId, SourceHeader};

/// What a column's metadata says of its values.
pub(super) const MEANING: [&str; 2] = ["unit", "codes"];

/// How to compact.
#[derive(Clone, Copy, Debug, Default)]
pub struct CompactOptions<'a> {
    /// Only say what would be done.
    pub dry_run: bool,
    /// Derive typed columns anew, those of generic sources by the declarations of these.
    pub redecode: Option<&'a [SourceHeader]>,
    pub terms: Terms,
}

/// What compaction made of one session, or would.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Compacted {
    pub messages: u64,
    pub segments_before: u64,
    pub segments_after: u64,
    pub bytes_before: u64,
    /// None where it has not been done.
    pub bytes_after: Option<u64>,
    /// Messages whose columns are derived anew.
    pub redecoded: u64,
    /// It is compact already: nothing to do.
    pub already: bool,
}

impl Archive {
    /// Merges the parts of a session. The caller holds the archive's lock, and has recovered it.
    pub fn compact(
        &self,
        session_id: SessionId,
        options: CompactOptions<'_>,
        watch: &Watch<'_>,
    ) -> Result<Compacted, ArchiveError> {
        let session = self.sidecar_or_stub(session_id)?;
        let manifests = self.read_manifests_of(session_id)?;
        let files: Vec<ManifestFile> = manifests.iter().flat_map(|manifest| manifest.files.clone()).collect();
        let (targets, header) = match options.redecode {
            Some(sources) => {
                let (targets, header) = self.redecoded(&session, &files, sources)?;
                (targets, Some(header))
            }
            None => (merged(self, &files)?, None),
        };
        let mut report = before(&files);
        report.segments_after = targets.len() as u64;
        let is_compact = matches!(&manifests[..], [one] if one.is_compact);
        let (targets, kept) = self.without_compact(targets, is_compact)?;
        let derived = targets.iter().filter(|target| target.derive.is_some() && !target.only_if_smaller);
        report.redecoded = derived.flat_map(|target| &target.inputs).map(|file| file.rows).sum();
        report.already = targets.is_empty() && manifests.len() <= 1;
        if report.already {
            report.bytes_after = Some(report.bytes_before);
        }
        if report.already || options.dry_run {
            return Ok(report);
        }
        self.require_room(&targets, options.terms.spare_bytes)?;
        if let Some(header) = &header {
            self.note_declarations(header)?;
        }
        let rewrite = Rewrite {
            verb: "compact",
            at_us: options.terms.at_us(),
            row_group_bytes: options.terms.row_group_bytes,
            session: &session,
            manifests,
            targets,
            kept,
            dropped: Vec::new(),
            keep: None,
            agree: None,
        };
        report.done(&run(self, rewrite, watch)?);
        Ok(report)
    }

    /// What is known of a session; of one whose sidecar is lost, what its id says.
    pub(super) fn sidecar_or_stub(&self, session_id: SessionId) -> Result<Sidecar, ArchiveError> {
        Ok(self.read_sidecar(session_id)?.unwrap_or_else(|| Sidecar::stub(session_id)))
    }

    /// New files come before old ones go: refuses to begin what the disk has no room for, beside what is spared.
    pub(super) fn require_room(&self, targets: &Targets<'_>, spare_bytes: u64) -> Result<(), ArchiveError> {
        let bytes: u64 = targets.iter().flat_map(|target| &target.inputs).map(|file| file.bytes).sum();
        let needed = bytes.saturating_add(spare_bytes);
        let free = self.disk.free_bytes(self.root()).doing("ask for the room beside", self.root())?;
        if free < needed {
            return Err(ArchiveError::NoRoom { path: self.root().to_owned(), needed, free });
        }
        Ok(())
    }

    /// Files stay as they are if nothing is to be derived and they have been compacted: all of them together, or those
    /// that were written to stay and have nothing to be merged with. Others stay if it would save nothing, which is only
    /// known when it is done: a small file of many columns takes less as it was recorded than with what describes it.
    fn without_compact<'a>(
        &self,
        targets: Targets<'a>,
        is_compact: bool,
    ) -> Result<(Targets<'a>, Vec<ManifestFile>), ArchiveError> {
        let (mut rest, mut kept) = (Targets::new(), Vec::new());
        for mut target in targets {
            target.only_if_smaller = self.is_derived(&target)?;
            let is_made = match &target.inputs[..] {
                [alone] => effort_of(self, alone)? == Effort::Keep,
                _ => false,
            };
            if target.only_if_smaller && (is_compact || is_made) {
                kept.extend(target.inputs);
            } else {
                rest.push(target);
            }
        }
        Ok((rest, kept))
    }
}

impl Compacted {
    pub(super) fn done(&mut self, rewritten: &Rewritten) {
        self.segments_after = rewritten.manifest.files.len() as u64;
        self.already = !rewritten.is_other;
        self.bytes_after = Some(rewritten.manifest.files.iter().map(|file| file.bytes).sum());
    }
}

pub(super) fn before(files: &[ManifestFile]) -> Compacted {
    Compacted {
        messages: files.iter().map(|file| file.rows).sum(),
        segments_before: files.len() as u64,
        bytes_before: files.iter().map(|file| file.bytes).sum(),
        ..Compacted::default()
    }
}

/// One file for each vendor, kind, day, and set of columns that go together.
pub(super) fn merged<'a>(archive: &Archive, files: &[ManifestFile]) -> Result<Targets<'a>, ArchiveError> {
    let mut targets: Targets<'a> = Vec::new();
    for file in files {
        let schema = schema_of(archive, file)?;
        let same = |target: &Target<'_>| is_together(&target.inputs[0], file);
        let joined = targets.iter().enumerate().filter(|(_, target)| same(target));
        let joined = joined.filter_map(|(at, target)| Some((at, unified(&target.schema, &schema)?))).next();
        match joined {
            Some((at, schema)) => {
                let target = &mut targets[at];
                target.schema = schema;
                target.inputs.push(file.clone());
                let stamp = stamp_of(archive, file)?;
                target.metadata.retain(|(_, known)| stamp.as_ref() == Some(known));
            }
            None => targets.push(Target {
                variant: targets.iter().filter(|target| same(target)).count(),
                inputs: vec![file.clone()],
                schema,
                sources: None,
                derive: None,
                metadata: stamp_of(archive, file)?.map(|stamp| (STAMP, stamp)).into_iter().collect(),
                effort: Effort::Keep,
                only_if_smaller: false,
            }),
        }
    }
    Ok(targets)
}

pub(super) fn is_together(a: &ManifestFile, b: &ManifestFile) -> bool {
    (&a.vendor, &a.kind, &a.date) == (&b.vendor, &b.kind, &b.date)
}

/// The columns of both; none if they disagree about one.
fn unified(a: &SchemaRef, b: &SchemaRef) -> Option<SchemaRef> {
    let mut fields: Vec<Arc<Field>> = a.fields().iter().cloned().collect();
    for field in b.fields() {
        match a.field_with_name(field.name()) {
            Ok(known) if is_same(known, field) => {}
            Ok(_) => return None,
            Err(_) => fields.push(Arc::clone(field)),
        }
    }
    let ids: Vec<_> = fields.iter().filter_map(|field| id_of(field)).collect();
    let is_unique = (0..ids.len()).all(|at| !ids[..at].contains(&ids[at]));
    if fields.len() == a.fields().len() {
        return Some(Arc::clone(a));
    }
    is_unique.then(|| Arc::new(Schema::new(fields)))
}

fn is_same(a: &Field, b: &Field) -> bool {
    // Descriptions may get better; of what a value means both say the same, where both say it.
    let agrees = |key| a.metadata().get(key).zip(b.metadata().get(key)).is_none_or(|(a, b)| a == b);
    a.data_type() == b.data_type()
        && a.is_nullable() == b.is_nullable()
        && id_of(a) == id_of(b)
        && MEANING.into_iter().all(agrees)
}

fn id_of(field: &Field) -> Option<&String> {
    field.metadata().get(PARQUET_FIELD_ID_META_KEY)
}
