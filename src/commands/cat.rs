//! `telereel cat SESSION`: messages as JSON lines.

use std::thread::sleep;
use std::time::Duration;

use super::context::Context;
use super::output::Out;
use super::selection::{self, Chosen, choose, skipped_told, unsealed};
use super::{Outcome, Usage};
use crate::archive::{Archive, Bound, scan};
use crate::cli::Cat;
use crate::clock::Clock;
use crate::envelope;

/// How often `--follow` looks for what has been sealed: far more often than parts are.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(super) fn run(context: &Context, args: Cat) -> anyhow::Result<Outcome> {
    let names: Vec<String> = args.session.into_iter().collect();
    if args.follow && names.is_empty() {
        return Err(Usage("--follow needs a session, such as `latest`".into()).into());
    }
    selection::check(&names, &args.filters)?;
    let opened = selection::open(context, &names)?;
    let archive = opened.archive.clone();
    let mut chosen = choose(&archive, &opened.names, args.filters, Clock::System.now())?;
    chosen.skip_damaged(args.skip_damaged);
    let mut out = Out::new();
    if args.follow {
        let skipped = chosen.options.skipped.clone();
        follow(&archive, chosen, &mut out)?;
        return Ok(skipped_told(context, &skipped.map(|skipped| skipped.segments()).unwrap_or_default()));
    }
    if print(&archive, &chosen, &mut out)?.is_none() {
        chosen.require_some(&archive)?;
    }
    if let Some(unsealed) = unsealed(&archive, &chosen.sessions)? {
        context.screen.note(unsealed);
    }
    Ok(skipped_told(context, &chosen.skipped()))
}

/// Prints what is selected; the place after the last message, if there was one.
fn print(archive: &Archive, chosen: &Chosen, out: &mut Out) -> anyhow::Result<Option<u64>> {
    let mut next = None;
    for row in scan(archive, &chosen.options)? {
        let row = row?;
        next = Some(row.seq + 1);
        out.data(&envelope::to_json(&row)?)?;
    }
    out.flush()?;
    Ok(next)
}

/// Prints what is selected, then what is sealed later, until the session has ended.
fn follow(archive: &Archive, mut chosen: Chosen, out: &mut Out) -> anyhow::Result<Outcome> {
    let Some(session) = chosen.sessions.first().map(|session| session.session_id.to_string()) else {
        return Ok(Outcome::Done);
    };
    let mut seen = None;
    loop {
        // Asked before the scan: what is sealed between the two is printed in this round.
        let now = archive.resolve(&session)?;
        // Where a filter finds nothing, each scan is one of the whole session.
        if seen.replace(now.messages) != Some(now.messages)
            && let Some(next) = print(archive, &chosen, out)?
        {
            chosen.options.from = Some(Bound::Seq(next));
        }
        if now.ended_at_us.is_some() {
            return Ok(Outcome::Done);
        }
        sleep(LOOK_EVERY);
    }
}
