//! `telereel check [--connect]`: is the configuration right, and does every source answer?

mod connect;

use std::path::Path;

use serde::Serialize;

use super::Outcome;
use super::context::Context;
use super::output::{Out, Table, print};
use crate::cli::Check;
use crate::config::Config;
use crate::disk::total_bytes;
use crate::units::human_size;
use crate::vendors::Source;
use connect::Attempt;

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    config: String,
    archive: String,
    /// What is allowed and most likely not meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    sources: Vec<SourceReport>,
}

#[derive(Serialize)]
struct SourceReport {
    name: String,
    vendor: &'static str,
    /// What is allowed and most likely not meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<Attempt>,
}

pub(super) fn run(context: &Context, args: &Check) -> anyhow::Result<Outcome> {
    let config = context.config_with_sources()?;
    let attempts = if args.connect { connect(context, &config)? } else { Vec::new() };
    let failed = attempts.iter().filter(|attempt| matches!(attempt, Attempt::Failed { .. })).count();
    let report = report(context, &config, attempts);
    for warning in &report.warnings {
        context.screen.note(format!("warning: {warning}"));
    }
    for source in &report.sources {
        for warning in &source.warnings {
            context.screen.note(format!("warning: {}: {warning}", source.name));
        }
    }
    print(context.json, &report, |out| {
        if args.connect {
            // The sources have been told one by one.
            return out.line(format!("\n{} is valid", report.config));
        }
        let mut table = Table::new(&["source", "vendor"]);
        for source in &report.sources {
            table.row([source.name.clone(), source.vendor.to_owned()]);
        }
        table.print(out)?;
        out.line(format!("\n{} is valid", report.config))
    })?;
    if failed > 0 {
        anyhow::bail!("{failed} of {} sources did not answer as they should", report.sources.len());
    }
    Ok(Outcome::Done)
}

/// Tries the sources, with a line for people as each is done.
fn connect(context: &Context, config: &Config) -> anyhow::Result<Vec<Attempt>> {
    let mut out = Out::new();
    let longest = config.sources.iter().map(|source| source.name.len()).max().unwrap_or(0);
    super::runtime()?.block_on(connect::all(config, |source, attempt| {
        if context.json {
            return Ok(());
        }
        out.line(format!("{:<longest$}  {:<8}  {attempt}", source.name, source.vendor.vendor()))?;
        out.flush()
    }))
}

fn report(context: &Context, config: &Config, attempts: Vec<Attempt>) -> Report {
    let mut attempts = attempts.into_iter();
    let mut source = |source: &Source| SourceReport {
        name: source.name.clone(),
        vendor: source.vendor.vendor(),
        warnings: source.warnings(),
        connection: attempts.next(),
    };
    Report {
        config: context.config_path().display().to_string(),
        archive: config.archive.path.display().to_string(),
        warnings: disk_warning(&config.archive.path, config.archive.min_free_disk).into_iter().collect(),
        sources: config.sources.iter().map(&mut source).collect(),
    }
}

/// A disk that is never as free as it has to be takes nothing.
fn disk_warning(archive: &Path, min_free_disk: u64) -> Option<String> {
    let total = total_bytes(archive).ok()?;
    (min_free_disk >= total).then(|| {
        format!(
            "min_free_disk is {}, and the disk of {} holds {} in all: nothing would be recorded",
            human_size(min_free_disk),
            archive.display(),
            human_size(total)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_can_never_be_free_enough_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("not/yet/there");
        assert_eq!(disk_warning(&archive, 1), None);
        assert!(disk_warning(&archive, i64::MAX as u64).unwrap().contains("nothing would be recorded"));
    }
}
