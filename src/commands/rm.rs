//! `telereel rm SESSION…`: sessions are removed, with all that belongs to them.

use anyhow::bail;
use serde::Serialize;

use super::Outcome;
use super::context::Context;
use super::output::print;
use super::upkeep::Upkeep;
use crate::archive::ArchiveError;
use crate::cli::Rm;
use crate::message::SessionId;
use crate::units::{human_count, human_size};

#[derive(Debug, Serialize)]
struct Report {
    dry_run: bool,
    sessions: Vec<Removed>,
}

#[derive(Debug, Serialize)]
struct Removed {
    session: String,
    session_id: SessionId,
    messages: u64,
    bytes_stored: u64,
    /// They name stretches of it, and go with it.
    clips: Vec<String>,
}

pub(super) fn run(context: &Context, args: Rm) -> anyhow::Result<Outcome> {
    let upkeep = Upkeep::begin(context, args.dry_run)?;
    let mut sessions = Vec::new();
    let (damaged, names) = unknown(&upkeep, args.sessions)?;
    let named = if names.is_empty() { Vec::new() } else { upkeep.sessions(&names)? };
    sessions.extend(damaged);
    for session in named {
        sessions.push(Removed {
            clips: upkeep.archive.clip_names(session.session_id)?,
            session: session.name,
            session_id: session.session_id,
            messages: session.messages,
            bytes_stored: session.bytes_stored,
        });
    }
    let report = Report { dry_run: args.dry_run, sessions };
    let what: Vec<String> = report.sessions.iter().map(Removed::words).collect();
    if !args.dry_run {
        upkeep.confirm(context, &format!("remove {}", what.join("; ")), args.yes)?;
    }
    for (done, session) in report.sessions.iter().enumerate().filter(|_| !args.dry_run) {
        if !upkeep.goes_on() {
            bail!("interrupted: {done} of {} sessions are removed", report.sessions.len());
        }
        upkeep.progress().say(&format!("removing {}", session.session));
        upkeep.archive.remove_session(session.session_id)?;
    }
    let outcome = upkeep.outcome;
    drop(upkeep);
    print(context.json, &report, |out| {
        for words in what {
            out.line(format!("{} {words}", if report.dry_run { "would remove" } else { "removed" }))?;
        }
        Ok(())
    })?;
    Ok(outcome)
}

/// Sessions that are called by their whole ids and of which nothing can be read: none but their files is known of them.
fn unknown(upkeep: &Upkeep, names: Vec<String>) -> anyhow::Result<(Vec<Removed>, Vec<String>)> {
    let (mut damaged, mut others) = (Vec::new(), Vec::new());
    for name in names {
        let is_unknown = matches!(upkeep.archive.resolve(&name), Err(ArchiveError::SessionNotFound { .. }));
        match name.parse::<SessionId>() {
            Ok(session_id) if is_unknown && upkeep.archive.has_files_called(session_id)? => {
                let session = format!("{name}, of which nothing can be read");
                damaged.push(Removed {
                    session,
                    session_id,
                    messages: 0,
                    bytes_stored: 0,
                    clips: Vec::new(),
                });
            }
            _ => others.push(name),
        }
    }
    Ok((damaged, others))
}

impl Removed {
    fn words(&self) -> String {
        let (messages, bytes) = (human_count(self.messages), human_size(self.bytes_stored));
        let clips = match &self.clips[..] {
            [] => String::new(),
            clips => format!(", with its clips {}", clips.join(", ")),
        };
        format!("{} ({messages} messages, {bytes}){clips}", self.session)
    }
}
