//! `telereel verify`: is everything there that the archive promises?

use super::Outcome;
use super::context::Context;
use super::output::print;
use super::progress::Progress;
use crate::archive::{Archive, VerifyOptions, verify_telling};
use crate::units::{counted, human_size};

pub(super) fn run(context: &Context) -> anyhow::Result<Outcome> {
    let (archive, description) = Archive::open_damaged(context.archive_path()?)?;
    let progress = Progress::spinner(context);
    let mut report = verify_telling(&archive, VerifyOptions::default(), &|done, total| {
        progress.count(done, total, "segments checked");
    })?;
    drop(progress);
    report.problems.splice(0..0, description);
    print(context.json, &report, |out| {
        out.line(format!(
            "{} in {} of {}, {}",
            counted(report.messages, "message"),
            counted(report.segments, "segment"),
            counted(report.sessions, "session"),
            human_size(report.bytes_stored)
        ))?;
        for leftover in &report.leftovers {
            out.line(format!("left over: {leftover}"))?;
        }
        for note in &report.notes {
            out.line(format!("note: {note}"))?;
        }
        for lost in &report.known_lost {
            let (range, count) = (lost.range, counted(lost.range.messages(), "message"));
            out.line(format!(
                "known loss: {count} of session {}, from seq {}",
                lost.session_id, range.seq_start
            ))?;
        }
        if report.unknown > 0 {
            let count = counted(report.unknown, "message");
            out.line(format!("unknown: {count} removed or lost before a manifest was made anew"))?;
        }
        for problem in &report.problems {
            out.line(format!("damage: {problem}"))?;
        }
        if report.recording {
            out.line("a recorder is at work: what it has not sealed yet was left out")?;
        }
        match report.problems.len() {
            0 => out.line("no damage"),
            damage => out.line(format!("{damage} damaged or missing: see above")),
        }
    })?;
    Ok(if report.is_content() { Outcome::Done } else { Outcome::Lossy })
}
