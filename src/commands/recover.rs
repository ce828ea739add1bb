//! `telereel recover`: seal what a crash left in the journal.

use anyhow::Context as _;

use super::Outcome;
use super::context::Context;
use super::output::{Out, print};
use super::progress::Progress;
use crate::archive::{RecoverReport, check_segments, is_for_room, recover_telling};
use crate::units::{counted, human_size};

pub(super) fn run(context: &Context) -> anyhow::Result<Outcome> {
    let description = context.mend_description()?;
    let archive = context.archive_to_write()?;
    let _lock = archive.lock()?;
    let progress = Progress::spinner(context);
    let recovered =
        recover_telling(&archive, &|done, total| progress.count(done, total, "journal parts sealed"));
    let mut report = match recovered {
        Err(error) if is_for_room(&error) => {
            Err(error).context("the disk is full or read-only: nothing is lost, make room and do it again")?
        }
        recovered => recovered?,
    };
    check_segments(&archive, &mut report.problems, &|done, total| {
        progress.count(done, total, "segments checked");
    })?;
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
            "sealed {} of {} in {}",
            counted(report.messages, "message"),
            counted(report.parts, "journal part"),
            counted(report.segments, "segment")
        ))?;
    }
    if report.torn_tail_bytes > 0 {
        let bytes = human_size(report.torn_tail_bytes);
        out.line(format!("left out {bytes} of messages that were being written: nobody was promised them"))?;
    }
    for lost in &report.lost {
        let count = counted(lost.range.messages(), "message");
        out.line(format!("lost: {count} of session {} from seq {}", lost.session_id, lost.range.seq_start))?;
    }
    for path in &report.set_aside {
        out.line(format!("cannot be read, and kept as {}", path.display()))?;
    }
    for rebuilt in &report.rebuilt {
        out.line(format!("damage: {rebuilt}"))?;
    }
    for mended in &report.mended {
        out.line(format!("damage: {mended}"))?;
    }
    for problem in &report.problems {
        out.line(format!("damage: {problem}"))?;
    }
    for name in &report.taken_back {
        out.line(format!("the import of {name} had been cut: nothing is left of it, import it again"))?;
    }
    if report.removed_files > 0 {
        let files = counted(report.removed_files, "file");
        out.line(format!("removed {files} that a write had left half done, or upkeep had replaced"))?;
    }
    if !report.removed_sessions.is_empty() {
        let sessions = counted(report.removed_sessions.len() as u64, "session");
        out.line(format!("removed {sessions} whose removal had been cut"))?;
    }
    if !report.sessions.is_empty() {
        out.line(format!("given an end: {}", counted(report.sessions.len() as u64, "session")))?;
    }
    Ok(())
}
