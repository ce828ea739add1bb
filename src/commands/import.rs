//! `telereel import FILE…`: files into the archive.

use std::collections::HashSet;
use std::path::Path;

use anyhow::bail;
use serde::Serialize;

use super::context::Context;
use super::output::print;
use super::progress::Progress;
use super::record::session_name;
use super::{Outcome, Usage};
use crate::cli::Import;
use crate::exchange::Format;
use crate::exchange::import::{ImportOptions, Imported, Plan, plan};
use crate::units::{counted, human_count, human_size};

/// What `--json` prints.
#[derive(Serialize)]
struct Told {
    sessions: Vec<Imported>,
    messages: u64,
    /// Records that were left out.
    bad: u64,
}

pub(super) fn run(context: &Context, args: Import) -> anyhow::Result<Outcome> {
    if let Some(name) = &args.session {
        session_name("--session", name)?;
    }
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
            "cannot be taken in: {}; so none was: mend what is bad, or leave it out with --skip-bad",
            counted(bad, "record")
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
    let mut seen = HashSet::new();
    for (file, plan) in plans.iter_mut().filter(|_| !args.again) {
        let there = plan.blake3.as_deref().map(|sum| archive.came_from(sum)).transpose()?.unwrap_or_default();
        if let Some((_, name)) = there.iter().find(|(known, _)| plan.is_split_otherwise(known)) {
            let file = file.display();
            return Err(Usage(format!(
                "{file} has come in before by other options, also as session {name}: nothing was taken in; with \
                 --again its messages are there twice"
            ))
            .into());
        }
        plan.leave_out = there.iter().map(|(known, _)| known.nth).collect();
        let is_repeated = plan.blake3.clone().is_some_and(|sum| !seen.insert(sum));
        if is_repeated || (!there.is_empty() && plan.leave_out.len() >= plan.sessions()?) {
            let (file, mut names) = (file.display(), there.into_iter().map(|(_, name)| name));
            let first =
                names.next().map_or("in this command".to_owned(), |name| format!("as session {name}"));
            return Err(Usage(format!(
                "{file} has come in before, {first}: nothing was taken in; with --again its messages are there twice"
            ))
            .into());
        }
        if !there.is_empty() {
            let left_out = counted(plan.leave_out.len() as u64, "session");
            context
                .screen
                .note(format!("{} has come in before in part: {left_out} left out", file.display()));
        }
    }
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
            let new = match was {
                None => String::new(),
                Some(was) if was.is_timed() => format!("; the archive has {was} already"),
                Some(was) => format!("; {was} in the file, which is no UUIDv7"),
            };
            let called =
                called.as_ref().map(|called| format!("; the file calls it {called:?}")).unwrap_or_default();
            let messages = counted(*messages, "message");
            out.line(format!("{messages} as session {name} ({session_id}){new}{called}"))?;
        }
        match told.bad {
            0 => Ok(()),
            bad => out.line(format!("left out: {}, see above", counted(bad, "record"))),
        }
    })?;
    Ok(if bad > 0 { Outcome::Lossy } else { Outcome::Done })
}
