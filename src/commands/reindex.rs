//! `telereel reindex`: make the index again from what it is derived from.

use super::Outcome;
use super::context::Context;
use super::output::print;
use super::progress::Progress;
use crate::archive::reindex_telling;
use crate::units::human_count;

pub(super) fn run(context: &Context) -> anyhow::Result<Outcome> {
    let archive = context.archive_to_write()?;
    let _lock = archive.lock()?;
    let progress = Progress::spinner(context);
    let report = reindex_telling(&archive, &|done, total| progress.count(done, total, "sealed parts read"))?;
    drop(progress);
    print(context.json, &report, |out| {
        for unreadable in &report.unreadable {
            out.line(format!("its link events are not in the index: {unreadable}"))?;
        }
        for problem in &report.problems {
            out.line(format!("damage: {problem}"))?;
        }
        out.line(format!(
            "indexed {} sessions, {} segments, {} link events",
            human_count(report.sessions),
            human_count(report.segments),
            human_count(report.links)
        ))
    })?;
    Ok(if report.unreadable.is_empty() && report.problems.is_empty() {
        Outcome::Done
    } else {
        Outcome::Lossy
    })
}
