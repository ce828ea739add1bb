//! The index: whether it can be read, and says what sidecars, manifests and segments say.

use super::{Problem, VerifyOptions, VerifyReport};
use crate::archive::Archive;
use crate::archive::catalog::difference;
use crate::archive::layout::PartName;
use crate::archive::manifest::Manifest;
use crate::archive::sidecar::Sidecar;
use crate::index::IndexError;

/// What it knows of parts whose manifest cannot be read is not held against it.
pub(super) fn check_index(
    archive: &Archive,
    (manifests, damaged): (&[Manifest], &[PartName]),
    sidecars: &[Sidecar],
    options: VerifyOptions,
    report: &mut VerifyReport,
) {
    let complaint = (|| {
        let index = archive.open_index()?;
        if let Some(said) = if options.quick { index.integrity()? } else { index.whole_integrity()? } {
            return Ok(Some(said));
        }
        let mut differs = difference(&index, sidecars, manifests, damaged)?;
        if differs.is_none() && !options.quick {
            differs = archive.link_difference(&index, manifests, damaged)?;
        }
        Ok::<_, IndexError>(differs.map(str::to_owned))
    })();
    match complaint {
        Ok(None) => {}
        // SQLite tells in several lines.
        Ok(Some(what)) => {
            let what = what.lines().map(str::trim).collect::<Vec<_>>().join("; ");
            report.problems.push(Problem::Index { what });
        }
        Err(IndexError::Older { .. }) => {
            let what =
                "index.sqlite is an older telereel's: it is brought up to date by the next that writes to it";
            report.leftovers.push(format!("{what}, or by `telereel reindex`"));
        }
        // An archive in which nothing was ever recorded has none.
        Err(_) if !archive.layout.index().exists() && sidecars.is_empty() => {}
        Err(error) => {
            if error.lacks_room() && archive.layout.index().exists() {
                let what = format!(
                    "index.sqlite could not be looked into, {}: make room, and verify again",
                    error.what()
                );
                return report.leftovers.push(what);
            }
            report.problems.push(Problem::Index { what: error.what() });
        }
    }
}
