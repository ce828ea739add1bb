//! Why something about an archive failed.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::is_full;
use crate::index::IndexError;
use crate::message::SessionId;

/// The one error type of this stage; causes are chained, not repeated.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("there is no archive at {path}: `telereel record` makes one; name another with --archive")]
    Missing { path: PathBuf },
    #[error(
        "{path} is a symbolic link: nothing of an archive may lie elsewhere; move what it leads to in its place, or \
         move or mount the whole archive"
    )]
    Link { path: PathBuf },
    #[error("{session} has {most} marks already, which are the most that a session may have")]
    TooManyMarks { session: String, most: usize },
    #[error("{path} is a file: an archive is a folder")]
    NotAFolder { path: PathBuf },
    #[error(
        "{path} is a folder with other files in it, not an archive (no archive.json): name an empty or a new one"
    )]
    NotAnArchive { path: PathBuf },
    #[error(
        "the archive {path} has format {found}, this telereel knows up to {known}: use the newer telereel that wrote it"
    )]
    NewerFormat { path: PathBuf, found: u32, known: u32 },
    #[error("another telereel is at work on the archive {path} ({holder})")]
    Locked { path: PathBuf, holder: String },
    #[error("cannot {action} {path}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{path} does not hold what it should")]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("{path} is damaged: {what}; `telereel recover` mends what can be, `telereel verify` tells more")]
    Damaged { path: PathBuf, what: String },
    #[error("the archive {path} has lost its archive.json ({what}): `telereel recover` writes it anew")]
    LostDescription { path: PathBuf, what: String },
    #[error("cannot write the segment {path}")]
    WriteSegment { path: PathBuf, source: parquet::errors::ParquetError },
    #[error(
        "the segment {path} is damaged or not one of ours; `telereel verify` tells more, --skip-damaged reads the others"
    )]
    ReadSegment { path: PathBuf, source: parquet::errors::ParquetError },
    #[error(
        "the segment {path} is damaged: {what}; `telereel verify` tells more, --skip-damaged reads the others"
    )]
    DamagedSegment { path: PathBuf, what: String },
    #[error("cannot read the journal part {path}")]
    Journal { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("the journal part {path} is damaged: {what}")]
    DamagedPart { path: PathBuf, what: String },
    #[error("the journal part {path} has to wait until {earlier} is sealed, which comes before it")]
    EarlierPart { path: PathBuf, earlier: PathBuf },
    #[error("row {seq} cannot go into session {session}: {what}")]
    RowRefused { session: String, seq: u64, what: String },
    #[error("the declaration of {vendor} {kind} cannot be used")]
    Declaration { vendor: String, kind: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("the manifests of {path} change faster than they can be read")]
    Unsteady { path: PathBuf },
    #[error(
        "the disk of {path} has no room: it takes {needed} bytes for the new files until the old ones go, {free} are free"
    )]
    NoRoom { path: PathBuf, needed: u64, free: u64 },
    #[error("there is a session or a clip `{name}` already: choose another name")]
    NameTaken { name: String },
    #[error("session {session_id} has lost its sidecar and goes by its id")]
    NoSidecar { session_id: SessionId },
    #[error(
        "session `{name}` has not ended: rename it when it has (after a crash, `telereel recover` ends it)"
    )]
    NotEnded { name: String },
    #[error("these would be {buckets} buckets, and {max} is the most: `{fits}` is long enough")]
    BucketTooShort { buckets: u64, max: u64, fits: String },
    #[error("a clip was made or forgotten meanwhile: try again")]
    ClipsChanged,
    #[error("interrupted")]
    Interrupted,
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("no session `{wanted}`{}", nearest_text(.nearest))]
    SessionNotFound { wanted: String, nearest: Vec<String> },
    #[error("no clip `{wanted}`{}", if .clips.is_empty() { ": there is none yet".to_owned() } else { format!("; there are: {}", .clips.join(", ")) })]
    ClipNotFound { wanted: String, clips: Vec<String> },
    #[error("`{name}` cannot be the name: {why}")]
    NameRefused { name: String, why: String },
    #[error("`{wanted}` is the beginning of several session ids: {}", .matches.join(", "))]
    SessionAmbiguous { wanted: String, matches: Vec<String> },
}

impl ArchiveError {
    /// Whether it tells of a file that is not as it was written, or cannot be read any more: trying again is of no use.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::ReadSegment { .. } | Self::DamagedSegment { .. } => true,
            Self::Io { source, .. } => is_of_file(source),
            _ => false,
        }
    }

    /// What is wrong with a file that has been named already.
    pub(super) fn what(&self) -> String {
        match self {
            Self::Damaged { what, .. } | Self::DamagedSegment { what, .. } => what.clone(),
            Self::ReadSegment { source, .. } => source.to_string(),
            Self::Io { source, .. } => source.to_string(),
            _ => self.describe(),
        }
    }

    /// With its causes, in one line.
    pub(super) fn describe(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        text
    }
}

/// Whether an I/O error says something of the file, and will say so again: that it is gone, or that the disk cannot give
/// it. Every other (no rights, no descriptors, no memory) is of who asked.
pub(super) fn is_of_file(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

/// Whether something has failed for want of room, or since the file system is read-only.
pub fn is_for_room(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let is_full_for_index = |error: &rusqlite::Error| {
            matches!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DiskFull))
        };
        if error.downcast_ref::<io::Error>().is_some_and(is_full)
            || error.downcast_ref::<rusqlite::Error>().is_some_and(is_full_for_index)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

fn nearest_text(nearest: &[String]) -> String {
    match nearest {
        [] => ": the archive has none yet".to_owned(),
        names => format!("; nearest: {}", names.join(", ")),
    }
}

/// Adds what was attempted, and on which file, to an I/O error.
pub(super) trait IoContext<T> {
    fn doing(self, action: &'static str, path: &Path) -> Result<T, ArchiveError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn doing(self, action: &'static str, path: &Path) -> Result<T, ArchiveError> {
        self.map_err(|source| ArchiveError::Io { action, path: path.to_owned(), source })
    }
}
