//! From the segments of some parts to new ones, up to and with their commit.

use std::collections::BTreeSet;
use std::path::PathBuf;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, not};
use arrow::datatypes::{Int64Type, SchemaRef};
use arrow::error::ArrowError;

use super::Watch;
use super::commit::commit;
use super::input::Merged;
use super::output::Output;
use super::seqs::{Seqs, joined};
use crate::archive::Archive;
use crate::archive::durable::remove_if_there;
use crate::archive::encoding::Effort;
use crate::archive::error::{ArchiveError, IoContext};
use crate::archive::layout::kind_dir;
use crate::archive::link::{LINK_KIND, push_links};
use crate::archive::lock::Lock;
use crate::archive::manifest::{Manifest, ManifestFile};
use crate::archive::segment::{FinishedSegment, Naming};
use crate::archive::sidecar::Sidecar;
use crate::index::LinkRow;

/// Which rows of a segment stay.
pub(in crate::archive) type Keep<'a> =
    dyn Fn(&ManifestFile, &RecordBatch) -> Result<BooleanArray, ArrowError> + 'a;

/// What is done with rows on the way: their columns derived anew.
pub(in crate::archive) trait Derive {
    /// The columns that it reads.
    fn columns(&self) -> Vec<&str>;
    fn derive(&mut self, rows: &RecordBatch) -> Result<RecordBatch, ArrowError>;
}

/// A file to be made of others, which all are of its vendor, kind and date.
pub(in crate::archive) struct Target<'a> {
    pub inputs: Vec<ManifestFile>,
    pub schema: SchemaRef,
    /// Counts files of the same vendor, kind and date, from 0.
    pub variant: usize,
    /// Only rows of these sources are this file's.
    pub sources: Option<BTreeSet<String>>,
    pub derive: Option<Box<dyn Derive + 'a>>,
    /// Further key-value metadata of the file.
    pub metadata: Vec<(&'static str, String)>,
    pub effort: Effort,
    /// Made to save room: where it is no smaller than its inputs, they stay in its place.
    pub only_if_smaller: bool,
}

pub(in crate::archive) type Targets<'a> = Vec<Target<'a>>;

/// What is to become of some parts that follow one another.
pub(in crate::archive) struct Rewrite<'a> {
    pub verb: &'a str,
    pub at_us: i64,
    pub row_group_bytes: usize,
    pub session: &'a Sidecar,
    /// In their order.
    pub manifests: Vec<Manifest>,
    pub targets: Targets<'a>,
    /// Files that stay as they are.
    pub kept: Vec<ManifestFile>,
    /// Files that go whole.
    pub dropped: Vec<ManifestFile>,
    /// None: all rows stay.
    pub keep: Option<&'a Keep<'a>>,
    /// Asked before the commit, whose end it waits for: what it answers with is held as long. An error ends it.
    pub agree: Option<&'a dyn Fn() -> Result<Option<Lock>, ArchiveError>>,
}

/// What became of them.
#[derive(Debug)]
pub(in crate::archive) struct Rewritten {
    pub manifest: Manifest,
    /// Whether any file is new, or gone.
    pub is_other: bool,
    pub removed_rows: u64,
    /// Of these, how many were in damaged files that went whole: nobody has read them.
    pub unread_rows: u64,
}

/// Copies, and commits. Ended or failed before the commit, it leaves nothing behind. The caller holds the
/// archive's lock, and has recovered it.
pub(in crate::archive) fn run(
    archive: &Archive,
    mut rewrite: Rewrite<'_>,
    watch: &Watch<'_>,
) -> Result<Rewritten, ArchiveError> {
    // A part whose manifest is lost is not to pass for one that was covered.
    if let Some(pair) = rewrite.manifests.windows(2).find(|pair| pair[0].seq_end != pair[1].seq_start) {
        let path = archive.layout.manifest(pair[1].name());
        let what =
            format!("it begins at seq {}, the one before it ends at {}", pair[1].seq_start, pair[0].seq_end);
        return Err(ArchiveError::DamagedSegment { path, what });
    }
    let targets = std::mem::take(&mut rewrite.targets);
    let mut making = Making::new(archive, &rewrite, watch, false);
    let made = making.all(targets);
    let (tmp, unread_rows, stayed) = (making.tmp, making.unread_rows, making.stayed);
    let finish = |(segments, removed, links): Made| {
        let is_other = !segments.is_empty() || removed.rows() > 0;
        let manifest = manifest(&rewrite, stayed, &segments, &removed);
        let _held = rewrite.agree.map(|agree| agree()).transpose()?;
        commit(archive, &rewrite.manifests, &manifest, &segments, &links)?;
        Ok(Rewritten { manifest, is_other, removed_rows: removed.rows(), unread_rows })
    };
    made.and_then(finish).inspect_err(|_| {
        for path in &tmp {
            // If this fails too, recovery does it.
            let _ = remove_if_there(&*archive.disk, path);
        }
    })
}

/// What [`run`] would make of them, to the byte, without writing anything.
pub(in crate::archive) fn measure(
    archive: &Archive,
    mut rewrite: Rewrite<'_>,
    watch: &Watch<'_>,
) -> Result<Rewritten, ArchiveError> {
    let targets = std::mem::take(&mut rewrite.targets);
    let mut making = Making::new(archive, &rewrite, watch, true);
    let (segments, removed, _) = making.all(targets)?;
    let is_other = !segments.is_empty() || removed.rows() > 0;
    let manifest = manifest(&rewrite, making.stayed, &segments, &removed);
    Ok(Rewritten { manifest, is_other, removed_rows: removed.rows(), unread_rows: making.unread_rows })
}

/// How many rows of a file would go; `columns` are those that `keep` looks at, `seq` among them.
pub(in crate::archive) fn count_removed(
    archive: &Archive,
    file: &ManifestFile,
    columns: &[&str],
    keep: &Keep<'_>,
) -> Result<u64, ArchiveError> {
    let path = PathBuf::from(&file.path);
    let mut merged = Merged::new(archive, std::slice::from_ref(file), Some(columns));
    let mut goes = 0;
    while let Some(rows) = merged.next()? {
        let stays = keep(file, &rows)
            .map_err(|error| ArchiveError::ReadSegment { path: path.clone(), source: error.into() })?;
        goes += (rows.num_rows() - stays.true_count()) as u64;
    }
    Ok(goes)
}

type Made = (Vec<FinishedSegment>, Seqs, Vec<LinkRow>);

struct Making<'a> {
    archive: &'a Archive,
    rewrite: &'a Rewrite<'a>,
    watch: &'a Watch<'a>,
    /// Nothing is written.
    is_dry: bool,
    tmp: Vec<PathBuf>,
    done: u64,
    total: u64,
    unread_rows: u64,
    /// Inputs that stay after all.
    stayed: Vec<ManifestFile>,
}

impl<'a> Making<'a> {
    fn new(archive: &'a Archive, rewrite: &'a Rewrite<'a>, watch: &'a Watch<'a>, is_dry: bool) -> Self {
        let (tmp, stayed) = (Vec::new(), Vec::new());
        Self { archive, rewrite, watch, is_dry, tmp, done: 0, total: 0, unread_rows: 0, stayed }
    }

    fn all(&mut self, targets: Targets<'_>) -> Result<Made, ArchiveError> {
        let rewrite = self.rewrite;
        // An archive that was copied without its empty folders is whole all the same.
        let tmp = self.archive.layout.tmp();
        if !self.is_dry {
            self.archive.disk.create_dir_all(&tmp).doing("create", &tmp)?;
        }
        let dropped: u64 = rewrite.dropped.iter().map(|file| file.rows).sum();
        self.total = dropped + targets.iter().flat_map(|t| &t.inputs).map(|file| file.rows).sum::<u64>();
        let (mut segments, mut removed, mut links) = (Vec::new(), Seqs::default(), Vec::new());
        for file in &rewrite.dropped {
            if self.is_dry {
                removed.add(Seqs::of(vec![(file.seq_min..file.seq_max.saturating_add(1)).into()], file.rows));
                continue;
            }
            removed.add(match self.seqs(file) {
                Err(error) if error.is_damage() => self.seqs_unread(file, &error),
                seqs => seqs?,
            });
        }
        for target in targets {
            let (segment, gone) = self.one(target, &mut links)?;
            segments.extend(segment);
            removed.add(gone);
        }
        for file in rewrite.kept.iter().filter(|file| file.kind == LINK_KIND && !self.is_dry) {
            let known = links.len();
            let read = self.archive.read_links_of(file, rewrite.session.session_id, &mut links);
            match read {
                Err(error) if error.is_damage() => {
                    tracing::warn!("{}; its link events are left out of the index", error.describe());
                    links.truncate(known);
                }
                read => read?,
            }
        }
        Ok((segments, removed, links))
    }

    /// The numbers of a damaged file that goes whole, as its manifest knows them: how many, and between which. Those of
    /// others that lie between are in their files.
    fn seqs_unread(&mut self, file: &ManifestFile, error: &ArchiveError) -> Seqs {
        tracing::warn!("{}; its {} messages go unread", error.describe(), file.rows);
        self.unread_rows += file.rows;
        Seqs::of(vec![(file.seq_min..file.seq_max.saturating_add(1)).into()], file.rows)
    }

    /// The numbers of a file that goes whole.
    fn seqs(&mut self, file: &ManifestFile) -> Result<Seqs, ArchiveError> {
        let mut seqs = Seqs::default();
        let mut rows = Merged::new(self.archive, std::slice::from_ref(file), Some(&["seq"]));
        while let Some(rows) = rows.next()? {
            self.tell(&rows)?;
            rows.column(0).as_primitive::<Int64Type>().values().iter().for_each(|&seq| seqs.push(seq as u64));
        }
        Ok(seqs)
    }

    fn one(
        &mut self,
        mut target: Target<'_>,
        links: &mut Vec<LinkRow>,
    ) -> Result<(Option<FinishedSegment>, Seqs), ArchiveError> {
        let (archive, session_id) = (self.archive, self.rewrite.session.session_id);
        let naming = self.naming(&target);
        let path = PathBuf::from(&naming.path);
        let failed = |e: ArrowError| ArchiveError::WriteSegment { path: path.clone(), source: e.into() };
        let tmp = archive.layout.tmp().join(format!("rewrite-{session_id}-{}.parquet", self.tmp.len()));
        self.tmp.push(tmp.clone());
        let shape = (target.effort, self.rewrite.row_group_bytes);
        let mut output = if self.is_dry {
            Output::nowhere(naming, target.schema.clone(), shape)?
        } else {
            Output::create(archive, naming, tmp, target.schema.clone(), shape)?
        };
        let mut removed = Seqs::default();
        let first = target.inputs[0].clone();
        let columns: Option<Vec<String>> =
            target.derive.as_ref().map(|derive| derive.columns().into_iter().map(str::to_owned).collect());
        let columns: Option<Vec<&str>> = columns.as_ref().map(|all| all.iter().map(String::as_str).collect());
        let mut merged = Merged::new(archive, &target.inputs, columns.as_deref());
        while let Some(mut rows) = merged.next()? {
            self.tell(&rows)?;
            if let Some(wanted) = &target.sources {
                let mine = of_sources(&rows, wanted);
                rows = filter_record_batch(&rows, &mine).map_err(failed)?;
            }
            if let Some(keep) = self.rewrite.keep
                && rows.num_rows() > 0
            {
                let stays = keep(&first, &rows).map_err(failed)?;
                let goes = filter_record_batch(&rows, &not(&stays).map_err(failed)?).map_err(failed)?;
                if let Some(seq) = goes.column_by_name("seq") {
                    seq.as_primitive::<Int64Type>().values().iter().for_each(|&seq| removed.push(seq as u64));
                }
                rows = filter_record_batch(&rows, &stays).map_err(failed)?;
            }
            if rows.num_rows() == 0 {
                continue;
            }
            if let Some(derive) = &mut target.derive {
                rows = derive.derive(&rows).map_err(failed)?;
            }
            if first.kind == LINK_KIND {
                push_links(&rows, session_id, links);
            }
            output.push(&rows)?;
        }
        let made = output.finish()?;
        let before: u64 = target.inputs.iter().map(|file| file.bytes).sum();
        if target.only_if_smaller
            && let Some(larger) = made.as_ref().filter(|made| made.file.bytes >= before)
        {
            if !self.is_dry {
                remove_if_there(&*archive.disk, &larger.tmp)?;
            }
            self.stayed.append(&mut target.inputs);
            return Ok((None, removed));
        }
        Ok((made, removed))
    }

    fn tell(&mut self, rows: &RecordBatch) -> Result<(), ArchiveError> {
        self.done += rows.num_rows() as u64;
        (self.watch.tell)(self.done, self.total);
        if (self.watch.goes_on)() { Ok(()) } else { Err(ArchiveError::Interrupted) }
    }

    fn naming(&self, target: &Target<'_>) -> Naming {
        let (rewrite, like) = (self.rewrite, &target.inputs[0]);
        let (name, session) = (rewrite.manifests[0].name(), rewrite.session);
        let variant = if target.variant == 0 { String::new() } else { format!(".{}", target.variant + 1) };
        let (folder, generation) = (kind_dir(&like.vendor, &like.kind), next_generation(&rewrite.manifests));
        let mut metadata = vec![
            ("site", session.site.clone()),
            ("session_id", session.session_id.to_string()),
            ("session", session.name.clone()),
            ("part", name.part.to_string()),
        ];
        metadata.extend(target.metadata.iter().cloned());
        Naming {
            vendor: like.vendor.clone(),
            kind: like.kind.clone(),
            date: like.date.clone(),
            path: format!("{folder}/date={}/{name}.g{generation}{variant}.parquet", like.date),
            metadata,
        }
    }
}

fn next_generation(manifests: &[Manifest]) -> u32 {
    manifests.iter().map(|manifest| manifest.generation).max().unwrap_or(0) + 1
}

fn of_sources(rows: &RecordBatch, wanted: &BTreeSet<String>) -> BooleanArray {
    let sources = rows.column_by_name("source").and_then(|column| column.as_string_opt::<i32>());
    let is_wanted =
        |at| sources.is_some_and(|sources| sources.is_valid(at) && wanted.contains(sources.value(at)));
    (0..rows.num_rows()).map(|at| Some(is_wanted(at))).collect()
}

fn manifest(
    rewrite: &Rewrite<'_>,
    stayed: Vec<ManifestFile>,
    segments: &[FinishedSegment],
    removed: &Seqs,
) -> Manifest {
    let (first, last) = (&rewrite.manifests[0], &rewrite.manifests[rewrite.manifests.len() - 1]);
    let mut files: Vec<ManifestFile> = rewrite.kept.clone();
    files.extend(stayed);
    files.extend(segments.iter().map(|segment| segment.file.clone()));
    files.sort_by(|a, b| (a.seq_min, &a.path).cmp(&(b.seq_min, &b.path)));
    let all = || rewrite.manifests.iter();
    let mut gone: Vec<_> = all().flat_map(|manifest| manifest.removed.iter().cloned()).collect();
    gone.extend(removed.clone().into_removed(rewrite.verb, rewrite.at_us));
    Manifest {
        session_id: first.session_id,
        part: first.part,
        part_last: (last.last_part() != first.part).then(|| last.last_part()),
        generation: next_generation(&rewrite.manifests),
        // Rows that go make nothing worth another try.
        is_compact: rewrite.verb == "compact" || all().all(|manifest| manifest.is_compact),
        sealed_at_us: rewrite.at_us,
        telereel: env!("CARGO_PKG_VERSION").to_owned(),
        rebuilt: all().any(|manifest| manifest.rebuilt),
        seq_start: first.seq_start,
        seq_end: last.seq_end,
        rows: files.iter().map(|file| file.rows).sum(),
        files,
        lost: all().flat_map(|manifest| manifest.lost.iter().copied()).collect(),
        removed: joined(gone),
    }
}
