//! `telereel compact`: few large files in place of many small ones.

use anyhow::bail;
use serde::Serialize;

use super::Outcome;
use super::context::Context;
use super::output::{Out, print};
use super::upkeep::Upkeep;
use crate::archive::{ArchiveError, CompactOptions, Compacted, Watch};
use crate::cli::Compact;
use crate::message::{SessionId, SourceHeader};
use crate::units::{counted, human_count, human_size};
use crate::vendors;

#[derive(Debug, Default, Serialize)]
struct Report {
    dry_run: bool,
    sessions: Vec<Session>,
    /// Left as they were.
    damaged: Vec<Damaged>,
}

#[derive(Debug, Serialize)]
struct Session {
    session: String,
    session_id: SessionId,
    #[serde(flatten)]
    compacted: Compacted,
}

#[derive(Debug, Serialize)]
struct Damaged {
    session: String,
    session_id: SessionId,
    what: String,
}

pub(super) fn run(context: &Context, args: Compact) -> anyhow::Result<Outcome> {
    let sources: Vec<SourceHeader> = match context.named_config()? {
        Some(config) if args.redecode => config.sources.iter().map(vendors::source_header).collect(),
        _ => Vec::new(),
    };
    let upkeep = Upkeep::begin(context, args.dry_run)?;
    let sessions = upkeep.sessions(&args.sessions)?;
    let options = CompactOptions {
        dry_run: args.dry_run,
        redecode: args.redecode.then_some(sources.as_slice()),
        ..CompactOptions::default()
    };
    let mut report = Report { dry_run: args.dry_run, ..Report::default() };
    let mut left = 0;
    for session in sessions {
        let tell =
            |done, total| upkeep.progress().count(done, total, &format!("messages of {}", session.name));
        let watch = Watch { tell: &tell, goes_on: &|| upkeep.goes_on() };
        if !upkeep.goes_on() {
            left += 1;
            continue;
        }
        let (name, session_id) = (session.name.clone(), session.session_id);
        match upkeep.archive.compact(session_id, options, &watch) {
            Ok(compacted) => report.sessions.push(Session { session: name, session_id, compacted }),
            Err(ArchiveError::Interrupted) => left += 1,
            Err(error @ (ArchiveError::DamagedSegment { .. } | ArchiveError::ReadSegment { .. })) => {
                report.damaged.push(Damaged { session: name, session_id, what: error.to_string() });
            }
            Err(error) => return Err(error.into()),
        }
    }
    let outcome = upkeep.outcome;
    drop(upkeep);
    print(context.json, &report, |out| for_people(out, &report))?;
    if left > 0 {
        bail!("interrupted, and as before: {}", counted(left, "session"));
    }
    Ok(if report.damaged.is_empty() { outcome } else { Outcome::Lossy })
}

fn for_people(out: &mut Out, report: &Report) -> anyhow::Result<()> {
    if report.sessions.is_empty() && report.damaged.is_empty() {
        return out.line("no sessions: nothing to do");
    }
    for Session { session, compacted, .. } in &report.sessions {
        if compacted.already {
            out.line(format!("{session}: compact already"))?;
            continue;
        }
        let (messages, before) = (compacted.messages, compacted.segments_before);
        let (messages, before) = (counted(messages, "message"), counted(before, "segment"));
        let after = human_count(compacted.segments_after);
        let mut line = format!("{session}: {messages}, {before} become {after}");
        if compacted.bytes_after.is_none() {
            line.push_str(" where that takes less");
        }
        if let Some(bytes) = compacted.bytes_after {
            line.push_str(&format!(", {} become {}", human_size(compacted.bytes_before), human_size(bytes)));
        }
        if compacted.redecoded > 0 {
            line.push_str(&format!("; columns of {} derived anew", human_count(compacted.redecoded)));
        }
        out.line(line)?;
    }
    for damaged in &report.damaged {
        out.line(format!("{}: left as it is, {}", damaged.session, damaged.what))?;
    }
    if report.dry_run {
        out.line("a dry run: nothing was changed")?;
    }
    Ok(())
}
