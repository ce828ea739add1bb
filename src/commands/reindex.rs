//! `telereel reindex`: make the index again from what it is derived from.

use super::Outcome;
use super::context::Context;
use super::output::print;
use crate::archive::reindex;
use crate::units::human_count;

pub(super) fn run(context: &Context) -> anyhow::Result<Outcome> {
    let archive = context.archive()?;
    let _lock = archive.lock()?;
    let report = reindex(&archive)?;
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
