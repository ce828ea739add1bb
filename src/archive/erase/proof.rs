//! The search afterwards: whether what was erased is still anywhere.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use arrow::error::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Serialize;

use super::identifier::{Identifier, UNKNOWN};
use super::rows::{Fate, mark, may_name};
use super::{ErasePlan, Progress};
use crate::archive::Archive;
use crate::archive::error::{ArchiveError, IoContext};
use crate::archive::layout::PartName;
use crate::archive::manifest::split_covered;
use crate::archive::open::README;
use crate::archive::own_checksum::{Form, with_checksum};
use crate::archive::questions::questions;
use crate::archive::rewrite::Watch;
use crate::index::Index;

/// So much of a file is looked at at a time.
const PIECE_BYTES: usize = 1024 * 1024;

/// About so many bytes of messages are.
const BATCH_BYTES: u64 = 4 * 1024 * 1024;

/// What was searched, and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// Every file of the archive was searched, not only what the filter selects.
    pub whole: bool,
    pub messages: u64,
    pub segments: u64,
    /// Other files, of which every byte was looked at.
    pub files: u64,
    /// Empty: it is nowhere, but perhaps in what could not be searched.
    pub found: Vec<Found>,
    /// What could not be searched, and why.
    pub unsearched: Vec<Found>,
}

/// Where something is left, or why it could not be looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Relative to the archive.
    pub path: String,
    pub what: String,
}

impl Archive {
    /// Searches for what was erased. The caller holds the archive's lock.
    pub fn prove_erased(&self, plan: &ErasePlan, watch: &Watch<'_>) -> Result<Proof, ArchiveError> {
        let mut proof = Proof { whole: plan.is_whole(), ..Proof::default() };
        if proof.whole {
            self.search_files(plan, watch, &mut proof)?;
        }
        // The search of the files looks for whole words; what is none is told by the column alone.
        if !proof.whole || !plan.indistinct().is_empty() {
            self.search_selection(plan, watch, &mut proof)?;
        }
        Ok(proof)
    }

    /// Reads again what the filter selects.
    fn search_selection(
        &self,
        plan: &ErasePlan,
        watch: &Watch<'_>,
        proof: &mut Proof,
    ) -> Result<(), ArchiveError> {
        let wanted = plan.wanted();
        // What cannot be read of them the plan has told.
        let (mut manifests, _) = split_covered(self.look_into_manifests(|_| true)?.manifests);
        manifests.retain(|manifest| plan.options.scan.sessions.contains(&manifest.session_id));
        let files: Vec<_> =
            manifests.iter().flat_map(|m| m.files.iter().map(|file| (m.session_id, file))).collect();
        let total = files.iter().map(|(_, file)| file.rows).sum();
        let mut progress = Progress { done: 0, total, watch };
        let counts = !proof.whole;
        for (session_id, file) in files {
            let left = match wanted.fate(session_id, file) {
                Fate::Stays => Ok((0, 0)),
                Fate::Goes => Ok((file.rows, 0)),
                Fate::Asked => self.count_erased(&wanted, session_id, file, &mut progress),
            };
            proof.segments += u64::from(counts);
            proof.messages += if counts { file.rows } else { 0 };
            let what = match left {
                Ok((0, _)) => continue,
                Ok((rows, _)) => format!("{rows} messages are selected"),
                Err(error @ ArchiveError::Interrupted) => return Err(error),
                Err(error) => {
                    proof.unsearched.push(Found { path: file.path.clone(), what: error.describe() });
                    continue;
                }
            };
            proof.found.push(Found { path: file.path.clone(), what });
        }
        Ok(())
    }

    /// Every file of the folder, whatever it is.
    fn search_files(
        &self,
        plan: &ErasePlan,
        watch: &Watch<'_>,
        proof: &mut Proof,
    ) -> Result<(), ArchiveError> {
        self.hold_derived().close_index();
        let identifiers: Vec<&Identifier> =
            plan.identifiers.iter().filter(|identifier| identifier.is_distinct()).collect();
        let mut unlisted = Vec::new();
        let files = files_below(self.root(), &mut unlisted);
        let relative =
            |path: &Path| path.strip_prefix(self.root()).unwrap_or(path).to_string_lossy().into_owned();
        let missed =
            |path: &Path, error: &ArchiveError| Found { path: relative(path), what: error.describe() };
        proof.unsearched.extend(unlisted.iter().map(|(path, error)| missed(path, error)));
        let mut progress = Progress { done: 0, total: files.len() as u64, watch };
        for path in files {
            let mut whats = Vec::new();
            if identifiers.iter().any(|one| one.is_in(relative(&path).as_bytes())) {
                whats.push("its name".to_owned());
            }
            let is_parquet = path.extension().is_some_and(|extension| extension == "parquet");
            let is_segment = PartName::of(&path).is_some() && is_parquet;
            let mut search = Search { identifiers: &identifiers, progress: &mut progress, messages: 0 };
            let looked = if self.is_of_every_archive(&path) {
                Ok(None)
            } else if is_parquet {
                search.segment(&path)
            } else {
                search.bytes(&path, 0)
            };
            (proof.segments, proof.files) =
                (proof.segments + u64::from(is_segment), proof.files + u64::from(!is_segment));
            proof.messages += search.messages;
            match looked {
                Ok(None) if is_set_aside(&path) => proof.unsearched.push(Found {
                    path: relative(&path),
                    what: "what was set aside as damaged cannot be searched: look into it, and remove it"
                        .into(),
                }),
                Ok(found) => whats.extend(found),
                Err(error @ ArchiveError::Interrupted) => return Err(error),
                // Somebody's other file, which went meanwhile.
                Err(ArchiveError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => proof.unsearched.push(missed(&path, &error)),
            }
            if path == self.layout.index() {
                let mut found = false;
                let mut look = |text: &[u8]| found |= identifiers.iter().any(|one| one.is_in(text));
                let read = Index::open_read_only(&path).and_then(|index| index.each_text(&mut look));
                proof.unsearched.extend(read.err().map(|error| missed(&path, &error.into())));
                whats.extend(found.then(|| "a row of it".to_owned()));
            }
            proof.found.extend(whats.into_iter().map(|what| Found { path: relative(&path), what }));
            progress.tell(1)?;
        }
        Ok(())
    }
}

impl Archive {
    /// Whether a file says what that of every other archive says: it is no trace, whatever its examples name.
    fn is_of_every_archive(&self, path: &Path) -> bool {
        let is = |known: PathBuf, text: &dyn Fn() -> String| {
            let file = || with_checksum(Form::Markdown, text().as_bytes());
            path == known && std::fs::read(path).is_ok_and(|bytes| bytes == file())
        };
        is(self.layout.readme(), &|| README.to_owned())
            || is(self.layout.views().join("questions.md"), &|| questions())
    }
}

struct Search<'s, 'w> {
    identifiers: &'s [&'s Identifier],
    progress: &'s mut Progress<'w>,
    messages: u64,
}

impl Search<'_, '_> {
    /// Every value that is text or bytes, as readers see it; then what the file says of itself behind its data.
    fn segment(&mut self, path: &Path) -> Result<Option<String>, ArchiveError> {
        let failed = |source| ArchiveError::ReadSegment { path: path.to_owned(), source };
        let file = File::open(path).doing("open", path)?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(failed)?;
        let metadata = builder.metadata().clone();
        let columns: Vec<_> =
            builder.schema().fields().iter().filter(|field| may_name(field)).cloned().collect();
        let mask = ProjectionMask::columns(
            builder.parquet_schema(),
            columns.iter().map(|field| field.name().as_str()),
        );
        let bytes: u64 = metadata.row_groups().iter().map(|g| g.total_byte_size().unsigned_abs()).sum();
        let row_bytes = (bytes / metadata.file_metadata().num_rows().unsigned_abs().max(1)).max(1);
        let rows = (BATCH_BYTES / row_bytes).clamp(16, 8192) as usize;
        let batches = builder.with_projection(mask).with_batch_size(rows).build().map_err(failed)?;
        let mut named = 0;
        for batch in batches {
            let batch = batch.map_err(|error: ArrowError| failed(error.into()))?;
            self.messages += batch.num_rows() as u64;
            let mut rows = vec![false; batch.num_rows()];
            for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
                self.identifiers.iter().for_each(|one| mark(one, field, column, &mut rows));
            }
            named += rows.iter().filter(|named| **named).count();
            self.progress.tell(0)?;
        }
        if named > 0 {
            return Ok(Some(format!("{named} messages")));
        }
        let ends = metadata.row_groups().iter().flat_map(|group| group.columns()).map(|column| {
            let (start, length) = column.byte_range();
            start + length
        });
        self.bytes(path, ends.max().unwrap_or(0)).map(|found| found.map(|_| "its metadata".to_owned()))
    }

    /// Every byte from a place on.
    fn bytes(&mut self, path: &Path, from: u64) -> Result<Option<String>, ArchiveError> {
        // Between two pieces enough is looked at twice for the longest spelling, and what tells others from it.
        let longest = self.identifiers.iter().map(|one| one.bytes_max()).max().unwrap_or(0);
        let overlap = 24 * longest + 16;
        let mut file = File::open(path).doing("open", path)?;
        file.seek(SeekFrom::Start(from)).doing("read", path)?;
        let mut piece: Vec<u8> = Vec::with_capacity(PIECE_BYTES + overlap);
        loop {
            let read = (&mut file).take(PIECE_BYTES as u64).read_to_end(&mut piece).doing("read", path)?;
            let is_last = read < PIECE_BYTES;
            if !is_last {
                piece.extend_from_slice(UNKNOWN.as_bytes());
            }
            if self.identifiers.iter().any(|one| one.is_in(&piece)) {
                return Ok(Some("its bytes".to_owned()));
            }
            if is_last {
                return Ok(None);
            }
            piece.truncate(piece.len() - UNKNOWN.len());
            let seen = piece.len().saturating_sub(overlap);
            piece.splice(..seen, UNKNOWN.bytes());
            self.progress.tell(0)?;
        }
    }
}

/// All files of a folder, sorted, and the folders that cannot be listed.
fn files_below(root: &Path, unlisted: &mut Vec<(PathBuf, ArchiveError)>) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    let mut list = |folder: &Path, folders: &mut Vec<PathBuf>| {
        for entry in std::fs::read_dir(folder).doing("list", folder)? {
            let entry = entry.doing("list", folder)?;
            let is_folder = entry.file_type().doing("look at", &entry.path())?.is_dir();
            if is_folder { folders.push(entry.path()) } else { found.push(entry.path()) }
        }
        Ok(())
    };
    while let Some(folder) = folders.pop() {
        if let Err(error) = list(&folder, &mut folders) {
            unlisted.push((folder, error));
        }
    }
    found.sort();
    found
}

/// A segment that could not be read when its manifest was made anew.
fn is_set_aside(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".damaged") && name.contains(".parquet.")
}
