//! Index and list of segments: whether they can be read, and say what sidecars, manifests and segments say.

use std::path::PathBuf;

use super::behind::is_behind;
use super::{Problem, VerifyOptions, VerifyReport};
use crate::archive::Archive;
use crate::archive::catalog::difference;
use crate::archive::error::ArchiveError;
use crate::archive::layout::PartName;
use crate::archive::manifest::Manifest;
use crate::archive::sidecar::Sidecar;
use crate::index::IndexError;

/// What sidecars and manifests say. What is known of parts whose manifest cannot be read is not held against it.
type Known<'a> = (&'a [Sidecar], &'a [Manifest], &'a [PartName]);

/// What can be wrong with an index.
enum Fault {
    /// SQLite can no longer read it, or all of it.
    Broken(String),
    Differs(&'static str),
    /// Nothing is wrong with it but that it cannot be compared, for this reason.
    NotCompared(String),
}

/// `is_half_done`: of something that was cut, of which the report tells, they may know or not.
pub(super) fn check_index_and_list(
    archive: &Archive,
    (sidecars, manifests, damaged): Known<'_>,
    is_half_done: bool,
    options: VerifyOptions,
    report: &mut VerifyReport,
) -> Result<(), ArchiveError> {
    let mut fault = look_into_index(archive, (sidecars, manifests, damaged), options);
    // Who renames or clips beside us writes the sidecar first: the index is looked at again when that is done.
    if fault.is_some() {
        drop(archive.lock_sidecars());
        let (sidecars, _) = archive.look_into_sidecars()?;
        fault = look_into_index(archive, (&sidecars, manifests, damaged), options);
    }
    let behind = |name: &str| {
        format!("{name} is behind what was written last, as after a kill: run `telereel recover`")
    };
    let index = archive.layout.index();
    let log = PathBuf::from(format!("{}-wal", index.display()));
    match fault {
        None => {}
        Some(Fault::Differs(_)) if is_half_done => {}
        Some(Fault::Differs(_)) if is_behind(archive, &[index, log])? => {
            report.leftovers.push(behind("index.sqlite"));
        }
        Some(Fault::Differs(what)) => report.problems.push(Problem::Index { what: what.to_owned() }),
        Some(Fault::Broken(what)) => report.problems.push(Problem::Index { what }),
        Some(Fault::NotCompared(why)) => report.leftovers.push(why),
    }
    if !archive.segment_list_is_right(manifests, damaged) && !is_half_done {
        if is_behind(archive, &[archive.layout.segments()])? {
            report.leftovers.push(behind("segments.jsonl"));
        } else {
            report.problems.push(Problem::SegmentList);
        }
    }
    Ok(())
}

fn look_into_index(
    archive: &Archive,
    (sidecars, manifests, damaged): Known<'_>,
    options: VerifyOptions,
) -> Option<Fault> {
    let fault = (|| {
        let index = archive.open_index()?;
        if let Some(said) = if options.quick { index.integrity()? } else { index.whole_integrity()? } {
            // SQLite tells in several lines.
            return Ok(Some(Fault::Broken(said.lines().map(str::trim).collect::<Vec<_>>().join("; "))));
        }
        let mut differs = difference(&index, sidecars, manifests, damaged)?;
        if differs.is_none() && !options.quick {
            differs = archive.link_difference(&index, manifests, damaged)?;
        }
        Ok::<_, IndexError>(differs.map(Fault::Differs))
    })();
    match fault {
        Ok(fault) => fault,
        Err(IndexError::Older { .. }) => {
            let what =
                "index.sqlite is an older telereel's: it is brought up to date by the next that writes to it";
            Some(Fault::NotCompared(format!("{what}, or by `telereel reindex`")))
        }
        // An archive in which nothing was ever recorded has none.
        Err(_) if !archive.layout.index().exists() && sidecars.is_empty() => None,
        Err(error) if error.lacks_room() && archive.layout.index().exists() => {
            let what = error.what();
            Some(Fault::NotCompared(format!(
                "index.sqlite could not be looked into, {what}: make room, and verify again"
            )))
        }
        Err(error) => Some(Fault::Broken(error.what())),
    }
}
