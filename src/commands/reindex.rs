//! `telereel reindex`: make the index again from what it is derived from.

use super::Outcome;
use super::context::Context;
use super::output::print;
use super::progress::Progress;
use crate::archive::{check_segments, reindex_telling};
use crate::units::counted;

pub(super) fn run(context: &Context) -> anyhow::Result<Outcome> {
    let archive = context.archive_to_write()?;
    let _lock = archive.lock()?;
    let progress = Progress::spinner(context);
    let mut report =
        reindex_telling(&archive, &|done, total| progress.count(done, total, "sealed parts read"))?;
    check_segments(&archive, &mut report.problems, &|done, total| {
        progress.count(done, total, "segments checked");
    })?;
    drop(progress);
    print(context.json, &report, |out| {
        for unreadable in &report.unreadable {
            out.line(format!("its link events are not in the index: {unreadable}"))?;
        }
        for rebuilt in &report.rebuilt {
            out.line(format!("damage: {rebuilt}"))?;
        }
        for problem in &report.problems {
            out.line(format!("damage: {problem}"))?;
        }
        out.line(format!(
            "indexed {}, {}, {}",
            counted(report.sessions, "session"),
            counted(report.segments, "segment"),
            counted(report.links, "link event")
        ))
    })?;
    Ok(if report.unreadable.is_empty() && report.rebuilt.is_empty() && report.problems.is_empty() {
        Outcome::Done
    } else {
        Outcome::Lossy
    })
}
