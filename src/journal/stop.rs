//! Why the writer does not get on: for now, or for good.

use std::io;
use std::path::Path;

use super::JournalError;
use crate::disk::is_full;

/// Why a turn does not get on.
pub(super) enum Stop {
    /// The disk is full, or read-only. What was begun is as it was before, and can be begun again.
    Full(JournalError),
    Failed(JournalError),
}

impl From<JournalError> for Stop {
    fn from(error: JournalError) -> Self {
        Self::Failed(error)
    }
}

impl From<Stop> for JournalError {
    fn from(stop: Stop) -> Self {
        let (Stop::Full(error) | Stop::Failed(error)) = stop;
        error
    }
}

/// An error of an operation that takes nothing where it finds the disk full, or read-only.
pub(super) fn stop(error: io::Error, action: &'static str, path: &Path) -> Stop {
    let is_full = is_full(&error);
    let error = JournalError::io(action, path)(error);
    if is_full { Stop::Full(error) } else { Stop::Failed(error) }
}

/// The whole chain in one line, for those who get no error value.
pub(super) fn describe(error: &JournalError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
