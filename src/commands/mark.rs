//! `telereel mark NOTE`: a note at a moment, in what is being recorded or in a session.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use hyper::Method;
use serde::{Deserialize, Serialize};

use super::context::Context;
use super::output::print;
use super::recorder_api::ask;
use super::{Outcome, Usage};
use crate::archive;
use crate::cli::Mark;
use crate::clock::Clock;
use crate::console::marks::check_note;
use crate::units::{Moment, format_time_us, human_duration};

/// What `--json` prints, and what the recorder answers.
#[derive(Serialize, Deserialize)]
struct Told {
    session_id: String,
    session: String,
    elapsed_ns: u64,
    at: String,
    note: String,
}

pub(super) fn run(context: &Context, args: Mark) -> anyhow::Result<Outcome> {
    check_note(&args.note).map_err(Usage)?;
    let now_us = Clock::System.now().wall_us;
    let wall = |moment| match moment {
        Moment::At(us) => Some(us),
        Moment::BeforeNow(ago) => Some(now_us - ago.as_micros() as i64),
        Moment::AfterStart(_) => None,
    };
    let told = match &args.session {
        Some(session) => of_session(context, session, args.note, |started_us| match args.at {
            Some(Moment::AfterStart(after)) => started_us + after.as_micros() as i64,
            at => at.and_then(wall).unwrap_or(now_us),
        })?,
        None => {
            let at = args.at.map(|at| wall(at).map(format_time_us)).map(|at| {
                at.ok_or_else(|| {
                    Usage("a time as in `+90s` counts from a session's start: which session?".into())
                })
            });
            of_recorder(context, &args.note, at.transpose()?)?
        }
    };
    print(context.json, &told, |out| {
        let after = human_duration(told.elapsed_ns);
        out.line(format!("marked {} at {} ({after} after its start)", told.session, told.at))
    })?;
    Ok(Outcome::Done)
}

/// Writes it into the session itself; `at` is asked when, after the session's start.
fn of_session(
    context: &Context,
    session: &str,
    note: String,
    at: impl FnOnce(i64) -> i64,
) -> anyhow::Result<Told> {
    let archive = context.archive_to_write()?;
    let session = archive.resolve(session)?;
    let at_us = at(session.started_at_us);
    let Ok(elapsed_us) = u64::try_from(at_us - session.started_at_us) else {
        let start = format_time_us(session.started_at_us);
        return Err(Usage(format!("{} began at {start}, after that time", session.name)).into());
    };
    if let Some(end_us) = session.ended_at_us.filter(|end_us| at_us > *end_us) {
        let end = format_time_us(end_us);
        return Err(Usage(format!("{} ended at {end}, before that time", session.name)).into());
    }
    let mark = archive::Mark { elapsed_ns: elapsed_us.saturating_mul(1_000), at_us, note };
    archive.add_mark(session.session_id, mark.clone())?;
    Ok(Told {
        session_id: session.session_id.to_string(),
        session: session.name,
        elapsed_ns: mark.elapsed_ns,
        at: format_time_us(at_us),
        note: mark.note,
    })
}

/// Has the recorder write it into what it records.
fn of_recorder(context: &Context, note: &str, at: Option<String>) -> anyhow::Result<Told> {
    let console = context.console()?;
    let mut body = serde_json::json!({ "note": note });
    if let Some(at) = at {
        body["at"] = at.into();
    }
    let asked = ask(&console, Method::POST, "marks", Bytes::from(body.to_string()));
    let answer = super::runtime()?.block_on(asked)?;
    let not_ours = || format!("what answers at {} is no recorder of this version", console.listen);
    if answer.status != 201 {
        let said: serde_json::Value = serde_json::from_slice(&answer.body).with_context(not_ours)?;
        bail!(
            "the recorder answered {}: {}",
            answer.status,
            said["error"].as_str().unwrap_or("nothing more")
        );
    }
    serde_json::from_slice(&answer.body).with_context(not_ours)
}
