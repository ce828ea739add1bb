//! `telereel verify`: is everything there that the archive promises?

use super::Outcome;
use super::context::Context;
use super::output::print;
use super::progress::Progress;
use crate::archive::{VerifyOptions, verify_telling};
use crate::units::{human_count, human_size};

pub(super) fn run(context: &Context) -> anyhow::Result<Outcome> {
    let archive = context.archive()?;
    let progress = Progress::spinner(context);
    let report = verify_telling(&archive, VerifyOptions::default(), &|done, total| {
        progress.count(done, total, "segments checked");
    })?;
    drop(progress);
    print(context.json, &report, |out| {
        out.line(format!(
            "{} messages in {} segments of {} sessions, {}",
            human_count(report.messages),
            human_count(report.segments),
            human_count(report.sessions),
            human_size(report.bytes_stored)
        ))?;
        for leftover in &report.leftovers {
            out.line(format!("left over: {leftover}"))?;
        }
        for lost in &report.known_lost {
            let (range, count) = (lost.range, human_count(lost.range.messages()));
            out.line(format!(
                "known loss: {count} messages of session {}, from seq {}",
                lost.session_id, range.seq_start
            ))?;
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
