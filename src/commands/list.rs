//! `telereel list`: the sessions of the archive.

use super::Outcome;
use super::context::Context;
use super::output::{Table, print};
use super::selection::unsealed;
use crate::clock::Clock;
use crate::units::{format_time_s, human_count, human_duration, human_size};

pub(super) fn run(context: &Context) -> anyhow::Result<Outcome> {
    let archive = context.archive()?;
    let sessions = archive.list()?;
    let recording = archive.is_locked();
    print(context.json, &sessions, |out| {
        if sessions.is_empty() {
            return out.line(format!(
                "no sessions in {} yet: `telereel record` makes one",
                archive.root().display()
            ));
        }
        let mut table = Table::new(&[
            "session",
            "started",
            ">duration",
            ">messages",
            ">stored",
            "sources",
            "state",
            "id",
        ]);
        for session in &sessions {
            let state = match &session.ended {
                Some(ended) => ended.as_str(),
                None if recording => "recording",
                None => "unfinished",
            };
            // Of a session that goes on only what is sealed is known; its length is seen at the clock.
            let duration_ns = match session.ended {
                None if recording => {
                    let us = Clock::System.now().wall_us.saturating_sub(session.started_at_us);
                    u64::try_from(us).unwrap_or(0).saturating_mul(1_000).max(session.duration_ns)
                }
                _ => session.duration_ns,
            };
            table.row([
                session.name.clone(),
                format_time_s(session.started_at_us),
                human_duration(duration_ns),
                human_count(session.messages),
                human_size(session.bytes_stored),
                session.sources.join(" "),
                state.to_owned(),
                session.session_id.to_string(),
            ]);
        }
        table.print(out)
    })?;
    if let Some(unsealed) = unsealed(&archive, &sessions)? {
        context.screen.note(unsealed);
    }
    Ok(Outcome::Done)
}
