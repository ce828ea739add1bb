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
use crate::units::{counted, human_size};

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
    /// In the journal, for want of room to seal it: of how many messages nobody has counted.
    #[serde(skip_serializing_if = "is_zero")]
    unsealed_bytes: u64,
    /// They name stretches of it, and go with it.
    clips: Vec<String>,
    /// What of it could not be read any more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    damaged: Vec<String>,
}

pub(super) fn run(context: &Context, args: Rm) -> anyhow::Result<Outcome> {
    let upkeep = Upkeep::begin_to_remove(context, args.dry_run)?;
    let mut sessions = Vec::new();
    let (damaged, names) = unknown(&upkeep, args.sessions)?;
    let named = if names.is_empty() { Vec::new() } else { upkeep.sessions(&names)? };
    sessions.extend(damaged);
    for session in named {
        sessions.push(Removed {
            clips: upkeep.archive.clip_names(session.session_id)?,
            damaged: upkeep.archive.damage_of(session.session_id)?,
            session: session.name,
            session_id: session.session_id,
            messages: session.messages,
            bytes_stored: session.bytes_stored,
            unsealed_bytes: upkeep.archive.unsealed_bytes(&[session.session_id])?,
        });
    }
    let report = Report { dry_run: args.dry_run, sessions };
    let what: Vec<String> = report.sessions.iter().map(Removed::words).collect();
    if !args.dry_run {
        upkeep.confirm(context, &format!("remove {}", what.join("; ")), args.yes)?;
    }
    for (done, session) in report.sessions.iter().enumerate().filter(|_| !args.dry_run) {
        if !upkeep.goes_on() {
            bail!("interrupted: removed {done} of {}", counted(report.sessions.len() as u64, "session"));
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
        for what in report.sessions.iter().flat_map(|session| &session.damaged) {
            out.line(format!("  damaged, and gone with it: {what}"))?;
        }
        Ok(())
    })?;
    let is_damaged = report.sessions.iter().any(|session| !session.damaged.is_empty());
    Ok(if is_damaged { Outcome::Lossy } else { outcome })
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
                    unsealed_bytes: upkeep.archive.unsealed_bytes(&[session_id])?,
                    clips: Vec::new(),
                    damaged: upkeep.archive.damage_of(session_id)?,
                });
            }
            _ => others.push(name),
        }
    }
    Ok((damaged, others))
}

impl Removed {
    fn words(&self) -> String {
        let (messages, bytes) = (counted(self.messages, "message"), human_size(self.bytes_stored));
        let clips = match &self.clips[..] {
            [] => String::new(),
            clips => format!(", with its clips {}", clips.join(", ")),
        };
        let unsealed = match self.unsealed_bytes {
            0 => String::new(),
            bytes => format!(", and {} that are not sealed", human_size(bytes)),
        };
        format!("{} ({messages}, {bytes}{unsealed}){clips}", self.session)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}
