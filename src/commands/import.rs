//! `telereel import FILE…`: files into the archive.

use std::path::Path;

use anyhow::bail;
use serde::Serialize;

use super::Outcome;
use super::context::Context;
use super::output::print;
use super::progress::Progress;
use crate::cli::Import;
use crate::exchange::Format;
use crate::exchange::import::{ImportOptions, Imported, Plan, plan};
use crate::units::{human_count, human_size};

/// What `--json` prints.
#[derive(Serialize)]
struct Told {
    sessions: Vec<Imported>,
    messages: u64,
    /// Records that were left out.
    bad: u64,
}

pub(super) fn run(context: &Context, args: Import) -> anyhow::Result<Outcome> {
    let options = ImportOptions {
        format: args.format.map(Format::from),
        session: args.session,
        source: args.source,
        vendor: args.vendor,
        kind: args.kind,
        map: args.map,
    };
    let progress = Progress::spinner(context);
    let say = |what: &str, file: &Path, done: u64, all: u64| {
        if progress.is_shown() {
            let (done, all) = (human_size(done), human_size(all));
            progress.say(&format!("{what} {}: {done} of {all}", file.display()));
        }
    };
    let mut plans: Vec<(&Path, Plan)> = Vec::new();
    for file in &args.files {
        let tell = |done, all| say("looking through", file, done, all);
        plans.push((file, plan(file, options.clone(), &tell)?));
    }
    let bad: u64 = plans.iter().map(|(_, plan)| plan.bad).sum();
    for (_, plan) in &plans {
        for described in &plan.described {
            context.screen.note(described);
        }
        let more = plan.bad - plan.described.len() as u64;
        if more > 0 {
            context.screen.note(format!("… and {} more", human_count(more)));
        }
    }
    if bad > 0 && !args.skip_bad {
        bail!(
            "{} records cannot be taken in, so none was: mend them, or leave them out with --skip-bad",
            human_count(bad)
        );
    }
    for (file, plan) in &plans {
        if plan.messages == 0 {
            bail!("{} holds no message", file.display());
        }
        if plan.reprinted > 0 {
            context.screen.note(format!(
                "{} payloads of {} are JSON that mosquitto_sub printed anew (%J): the bytes that were received are \
                 in what %j prints",
                human_count(plan.reprinted),
                file.display()
            ));
        }
    }
    let archive = context.archive_to_fill()?;
    let _lock = archive.lock()?;
    let mut sessions = Vec::new();
    for (file, plan) in &plans {
        let tell = |done, all| say("taking in", file, done, all);
        sessions.extend(plan.take(&archive, &tell)?);
    }
    drop(progress);
    let messages = sessions.iter().map(|session| session.messages).sum();
    let told = Told { sessions, messages, bad };
    print(context.json, &told, |out| {
        for session in &told.sessions {
            let Imported { session_id, session: name, messages, was, called } = session;
            let new = was.map(|was| format!("; the archive has {was} already")).unwrap_or_default();
            let called =
                called.as_ref().map(|called| format!("; the file calls it {called:?}")).unwrap_or_default();
            let messages = human_count(*messages);
            out.line(format!("{messages} messages as session {name} ({session_id}){new}{called}"))?;
        }
        match told.bad {
            0 => Ok(()),
            bad => out.line(format!("left out: {} records, see above", human_count(bad))),
        }
    })?;
    Ok(if bad > 0 { Outcome::Lossy } else { Outcome::Done })
}
