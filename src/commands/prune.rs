//! `telereel prune`: what is older than the retention goes.

use anyhow::bail;
use serde::Serialize;

use super::Outcome;
use super::context::Context;
use super::output::{Out, print};
use super::selection::require_known;
use super::upkeep::Upkeep;
use crate::archive::{ArchiveError, Left, PruneOptions, Pruned, Watch};
use crate::cli::Prune;
use crate::clock::Clock;
use crate::units::{counted, human_count, human_size};

#[derive(Debug, Serialize)]
struct Report {
    dry_run: bool,
    messages: u64,
    bytes: u64,
    sessions: Vec<Pruned>,
    /// With --max-bytes, what is left, and where.
    #[serde(skip_serializing_if = "Option::is_none")]
    left: Option<Left>,
    /// Sessions that could not be pruned, and why.
    failed: Vec<String>,
}

pub(super) fn run(context: &Context, args: Prune) -> anyhow::Result<Outcome> {
    let upkeep = Upkeep::begin_to_remove(context, args.dry_run)?;
    require_known(&upkeep.archive, &args.vendor, &[], &args.kind)?;
    let now_us = Clock::System.now().wall_us;
    let before = |age: std::time::Duration| now_us.saturating_sub(age.as_micros() as i64);
    let options = PruneOptions {
        before_us: args.older_than.map(before),
        max_bytes: args.max_bytes,
        kinds: args.kind,
        vendors: args.vendor,
        dry_run: args.dry_run,
        ..PruneOptions::default()
    };
    let tell = |done, total| upkeep.progress().count(done, total, "messages of a part");
    let watch = Watch { tell: &tell, goes_on: &|| upkeep.goes_on() };
    let (mut sessions, mut failed) = (Vec::new(), Vec::new());
    let mut ended = upkeep.archive.prune_each(&options, &watch, &mut |name, pruned| {
        match pruned {
            Ok(pruned) => sessions.push(pruned),
            Err(error) => failed.push(format!("{name}: {:#}", anyhow::Error::from(error))),
        }
        Ok(())
    });
    let report = Report {
        dry_run: args.dry_run,
        messages: sessions.iter().map(|pruned| pruned.messages).sum(),
        bytes: sessions.iter().map(|pruned| pruned.bytes).sum(),
        sessions,
        left: ended.as_mut().ok().and_then(Option::take),
        failed,
    };
    let outcome = upkeep.outcome;
    drop(upkeep);
    print(context.json, &report, |out| for_people(out, &report))?;
    match ended {
        Err(ArchiveError::Interrupted) => {
            bail!("interrupted: what is said above is done, the rest is as it was")
        }
        ended => drop(ended?),
    }
    if !report.failed.is_empty() {
        bail!("these could not be pruned\n{}", report.failed.join("\n"));
    }
    let is_damaged = report.sessions.iter().any(|pruned| pruned.unread > 0 || !pruned.damaged.is_empty());
    Ok(if is_damaged { Outcome::Lossy } else { outcome })
}

fn for_people(out: &mut Out, report: &Report) -> anyhow::Result<()> {
    for pruned in &report.sessions {
        let (messages, bytes) = (counted(pruned.messages, "message"), human_size(pruned.bytes));
        let whole = if pruned.whole { ", the whole session" } else { "" };
        out.line(format!("{}: {messages}, {bytes}{whole}", pruned.session))?;
        if pruned.unread > 0 {
            let unread = human_count(pruned.unread);
            out.line(format!("  {unread} of them were in damaged segments, and went unread"))?;
        }
        for what in &pruned.damaged {
            let what_of_it = if pruned.whole { "gone with it" } else { "kept" };
            out.line(format!("  damaged, and {what_of_it}: {what}"))?;
        }
    }
    let (messages, bytes) = (counted(report.messages, "message"), human_size(report.bytes));
    out.line(format!("{messages}, {bytes} in all"))?;
    if let Some(left) = report.left.filter(Left::is_above) {
        out.line(left)?;
    }
    if report.dry_run {
        out.line("a dry run: nothing was changed")?;
    }
    Ok(())
}
