//! `telereel rename SESSION NAME`.

use serde::Serialize;

use super::Outcome;
use super::context::Context;
use super::output::print;
use super::record::session_name;
use crate::cli::Rename;
use crate::message::SessionId;

#[derive(Debug, Serialize)]
struct Report {
    session_id: SessionId,
    before: String,
    session: String,
}

pub(super) fn run(context: &Context, args: Rename) -> anyhow::Result<Outcome> {
    session_name("NAME", &args.name)?;
    let archive = context.archive_to_write()?;
    let session = archive.resolve(&args.session)?;
    archive.rename_session(session.session_id, &args.name)?;
    let report = Report { session_id: session.session_id, before: session.name, session: args.name };
    print(context.json, &report, |out| out.line(format!("{} is now {}", report.before, report.session)))?;
    Ok(Outcome::Done)
}
