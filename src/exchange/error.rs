//! Why a file could not be written or taken in.

use std::io;
use std::path::{Path, PathBuf};

use crate::archive::ArchiveError;

/// The one error type of this stage; causes are chained, not repeated.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("cannot {action} {path}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot write {path}")]
    Parquet { path: PathBuf, source: ::parquet::errors::ParquetError },
    #[error("{path} is no reel: {what}")]
    NotAReel { path: PathBuf, what: String },
    #[error("the reel {path} is damaged: {what}")]
    DamagedReel { path: PathBuf, what: String },
    #[error("{path}, {place}: {what}")]
    Bad { path: PathBuf, place: String, what: String },
    #[error("{path} has more than {most} {what}")]
    TooMany { path: PathBuf, most: usize, what: &'static str },
    #[error("{path} holds no message")]
    Empty { path: PathBuf },
    #[error("{path} has changed while it was read; nothing of the session in it was taken in")]
    Changed { path: PathBuf },
}

/// Adds what was attempted, and on which file, to an I/O error.
pub(super) trait IoContext<T> {
    fn doing(self, action: &'static str, path: &Path) -> Result<T, ExchangeError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn doing(self, action: &'static str, path: &Path) -> Result<T, ExchangeError> {
        self.map_err(|source| ExchangeError::Io { action, path: path.to_owned(), source })
    }
}
