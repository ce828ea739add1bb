//! In the making.

use super::Archive;
use super::error::ArchiveError;

impl Archive {
    pub(super) fn write_views(&self) -> Result<(), ArchiveError> {
        Ok(())
    }
}
