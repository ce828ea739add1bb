//! `telereel views`: the SQL views over this archive, and what to ask them.

use anyhow::Context as _;

use super::Outcome;
use super::context::Context;
use super::output::Out;
use crate::archive::questions;
use crate::cli::Views;

pub(super) fn run(context: &Context, args: &Views) -> anyhow::Result<Outcome> {
    if args.questions {
        let mut out = Out::new();
        out.line(questions().trim_end())?;
        out.flush()?;
        return Ok(Outcome::Done);
    }
    let archive = context.archive()?;
    let path = archive.layout().views().join("duckdb.sql");
    let sql = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut out = Out::new();
    if context.json {
        out.json(&archive.view_list()?)?;
        out.flush()?;
        return Ok(Outcome::Done);
    }
    out.line(sql.trim_end())?;
    out.flush()?;
    Ok(Outcome::Done)
}
