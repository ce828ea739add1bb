//! `telereel recover`: seal what a crash left in the journal.

use super::Outcome;
use super::context::Context;
use super::output::{Out, print};
use super::progress::Progress;
use crate::archive::{RecoverReport, recover_telling};
use crate::units::{human_count, human_size};

pub(super) fn run(context: &Context) -> anyhow::Result<Outcome> {
    let description = context.mend_description()?;
    let archive = context.archive_to_write()?;
    let _lock = archive.lock()?;
    let progress = Progress::spinner(context);
    let mut report =
        recover_telling(&archive, &|done, total| progress.count(done, total, "journal parts sealed"))?;
    drop(progress);
    report.problems.splice(0..0, description);
    print(context.json, &report, |out| for_people(out, &report))?;
    Ok(if report.has_loss() { Outcome::Lossy } else { Outcome::Done })
}

fn for_people(out: &mut Out, report: &RecoverReport) -> anyhow::Result<()> {
    if *report == RecoverReport::default() {
        return out.line("nothing to recover");
    }
    if report.parts > 0 {
        out.line(format!(
            "sealed {} messages of {} journal parts in {} segments",
            human_count(report.messages),
            human_count(report.parts),
            human_count(report.segments)
        ))?;
    }
    if report.torn_tail_bytes > 0 {
        let bytes = human_size(report.torn_tail_bytes);
        out.line(format!("left out {bytes} of messages that were being written: nobody was promised them"))?;
    }
    for lost in &report.lost {
        let count = human_count(lost.range.messages());
        out.line(format!(
            "lost: {count} messages of session {} from seq {}",
            lost.session_id, lost.range.seq_start
        ))?;
    }
    for path in &report.set_aside {
        out.line(format!("cannot be read, and kept as {}", path.display()))?;
    }
    for problem in &report.problems {
        out.line(format!("damage: {problem}"))?;
    }
    for name in &report.taken_back {
        out.line(format!("the import of {name} had been cut: nothing is left of it, import it again"))?;
    }
    if !report.sessions.is_empty() {
        out.line(format!("{} sessions have their end now", report.sessions.len()))?;
    }
    Ok(())
}
