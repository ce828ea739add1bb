//! What an archive looks like at a moment, so that what changes while it is looked at is not called damage.

use std::io::ErrorKind;

use super::{PASSES_MAX, Problem, VerifyOptions, VerifyReport, look};
use crate::archive::Archive;
use crate::archive::error::ArchiveError;
use crate::archive::layout::PartName;
use crate::archive::sidecar::Sidecar;

/// Whatever a recorder or upkeep changes is seen in one of these.
#[derive(PartialEq)]
struct Sight {
    recording: bool,
    sidecars: Vec<Sidecar>,
    waiting: Vec<PartName>,
    generations: Vec<(PartName, u32)>,
}

impl Sight {
    fn of(archive: &Archive) -> Result<Self, ArchiveError> {
        Ok(Self {
            recording: archive.is_locked(),
            sidecars: archive.look_into_sidecars()?.0,
            waiting: archive.parts()?,
            generations: archive.generations()?,
        })
    }
}

/// Looks until the archive was the same before and after, or nothing is wrong with it; a recorder changes it for ever,
/// so of the last looks at one that never was only that counts which was wrong in both.
pub(super) fn look_steadily(
    archive: &Archive,
    options: VerifyOptions,
    tell: &dyn Fn(u64, u64),
) -> Result<VerifyReport, ArchiveError> {
    let mut before = Sight::of(archive)?;
    let mut suspected: Option<Vec<Problem>> = None;
    let mut pass = 1;
    loop {
        let looked = look(archive, options, tell, before.recording, || archive.look_into_manifests(|_| true));
        let after = Sight::of(archive)?;
        let is_steady = after == before;
        match looked {
            // Sealed, or replaced: it is found under its new name.
            Err(ArchiveError::Io { source, .. })
                if source.kind() == ErrorKind::NotFound && !is_steady && pass < PASSES_MAX => {}
            Err(error) => return Err(error),
            Ok(report) if report.problems.is_empty() || is_steady => return Ok(report),
            Ok(mut report) if pass >= PASSES_MAX => {
                report
                    .problems
                    .retain(|problem| suspected.as_ref().is_none_or(|known| known.contains(problem)));
                return Ok(report);
            }
            Ok(report) => suspected = Some(report.problems),
        }
        before = after;
        pass += 1;
    }
}
