//! The end of sealing, on a thread of its own: batches of rows into Parquet files in `tmp/`.
//!
//! Everything here happens in the order of the [`Step`]s, so the files are the same whichever stage is
//! faster. Only this one writes to the disk until all files are synced.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::errors::ParquetError;

use super::blocks::{BlockSums, Summing};
use super::durable::remove_if_there;
use super::error::{ArchiveError, IoContext};
use super::passage::Passing;
use crate::disk::{Disk, DiskFile};

/// What there is to do next. Files are known by their place among those created.
#[derive(Debug)]
pub(super) enum Step {
    Create(Box<NewFile>),
    Write {
        file: usize,
        batch: RecordBatch,
        passing: Passing,
    },
    /// No more rows: complete and sync all files. Without it, a stage before this one has failed.
    Finish,
}

/// A file to be made.
#[derive(Debug)]
pub(super) struct NewFile {
    pub tmp: PathBuf,
    /// What it will be called; for errors.
    pub path: PathBuf,
    pub schema: SchemaRef,
    pub options: ArrowWriterOptions,
}

/// A file that is complete and synced.
#[derive(Debug)]
pub(super) struct WrittenFile {
    pub bytes: u64,
    pub blake3: String,
    pub blocks: BlockSums,
}

/// Takes steps until the last one; none of the files count if they end without it. Owns the receiver,
/// so that after an error here nobody waits for room.
/// Open row groups hold `row_groups` bytes, over all open files; then the largest is written out.
pub(super) fn write_files(
    disk: &dyn Disk,
    row_groups: usize,
    steps: Receiver<Step>,
) -> Result<Vec<WrittenFile>, ArchiveError> {
    let mut files = Vec::new();
    for step in steps {
        match step {
            Step::Create(new) => files.push(SegmentFile::create(disk, *new)?),
            Step::Write { file, batch, passing } => {
                write_batch(&mut files, file, &batch, row_groups)?;
                drop((batch, passing));
            }
            Step::Finish => return files.into_iter().map(SegmentFile::finish).collect(),
        }
    }
    Ok(Vec::new())
}

fn write_batch(
    files: &mut [SegmentFile],
    at: usize,
    batch: &RecordBatch,
    row_groups: usize,
) -> Result<(), ArchiveError> {
    files[at].with_writer(|writer| writer.write(batch))?;
    if files.iter().map(SegmentFile::memory_bytes).sum::<usize>() > row_groups {
        let largest = (0..files.len()).max_by_key(|&i| files[i].memory_bytes());
        files[largest.unwrap_or(at)].with_writer(ArrowWriter::flush)?;
    }
    Ok(())
}

pub(super) struct SegmentFile {
    tmp: PathBuf,
    path: PathBuf,
    writer: ArrowWriter<HashingFile>,
}

impl SegmentFile {
    /// Starts a file, replacing what an earlier attempt may have left there.
    pub(super) fn create(disk: &dyn Disk, new: NewFile) -> Result<Self, ArchiveError> {
        // It may have been left out of a copy, or somebody has tidied up.
        let folder = new.tmp.parent().unwrap_or(Path::new("."));
        disk.create_dir_all(folder).doing("create", folder)?;
        remove_if_there(disk, &new.tmp)?;
        let inner = disk.create_new(&new.tmp).doing("create", &new.tmp)?;
        Self::onto(inner, new)
    }

    /// A file of which only its length and checksums are wanted.
    pub(super) fn nowhere(new: NewFile) -> Result<Self, ArchiveError> {
        Self::onto(Box::new(Nowhere), new)
    }

    fn onto(inner: Box<dyn DiskFile>, new: NewFile) -> Result<Self, ArchiveError> {
        let NewFile { tmp, path, schema, options } = new;
        let file = HashingFile { inner, sums: Summing::default() };
        match ArrowWriter::try_new_with_options(file, schema, options) {
            Ok(writer) => Ok(Self { tmp, path, writer }),
            Err(source) => Err(ArchiveError::WriteSegment { path, source }),
        }
    }

    /// What the writer holds of the open row group.
    fn memory_bytes(&self) -> usize {
        self.writer.memory_size()
    }

    fn with_writer(
        &mut self,
        act: impl FnOnce(&mut ArrowWriter<HashingFile>) -> Result<(), ParquetError>,
    ) -> Result<(), ArchiveError> {
        act(&mut self.writer).map_err(|source| ArchiveError::WriteSegment { path: self.path.clone(), source })
    }

    /// Writes rows of a file that is made alone: its open row group may hold `row_group_bytes`.
    pub(super) fn write(&mut self, rows: &RecordBatch, row_group_bytes: usize) -> Result<(), ArchiveError> {
        self.with_writer(|writer| writer.write(rows))?;
        if self.memory_bytes() > row_group_bytes { self.with_writer(ArrowWriter::flush) } else { Ok(()) }
    }

    pub(super) fn finish(self) -> Result<WrittenFile, ArchiveError> {
        let Self { tmp, path, mut writer } = self;
        // Its `into_inner` makes a text of what the disk says, of which nobody can tell that it is full.
        writer.finish().map_err(|source| ArchiveError::WriteSegment { path, source })?;
        let file = writer.inner_mut();
        file.inner.sync_data().doing("sync", &tmp)?;
        let bytes = file.sums.bytes();
        let (blake3, blocks) = std::mem::take(&mut file.sums).finish();
        Ok(WrittenFile { bytes, blake3, blocks })
    }
}

/// Forgets what is written to it.
struct Nowhere;

impl Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for Nowhere {
    fn sync_data(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file whose checksums are known when it is complete, without reading it again.
struct HashingFile {
    inner: Box<dyn DiskFile>,
    sums: Summing,
}

impl std::fmt::Debug for HashingFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HashingFile").field("bytes", &self.sums.bytes()).finish_non_exhaustive()
    }
}

impl Write for HashingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.sums.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
