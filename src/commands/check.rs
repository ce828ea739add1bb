//! `telereel check [--connect]`: is the configuration right, and does every source answer?

use serde::Serialize;

use super::Outcome;
use super::context::Context;
use super::output::{Table, print};
use crate::cli::Check;
use crate::config::{Config, Source};

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    config: String,
    archive: String,
    sources: Vec<SourceReport>,
}

#[derive(Serialize)]
struct SourceReport {
    name: String,
    vendor: &'static str,
}

pub(super) fn run(context: &Context, _args: &Check) -> anyhow::Result<Outcome> {
    let config: Config = context.config_with_sources()?;
    let source = |source: &Source| SourceReport { name: source.name.clone(), vendor: source.vendor.vendor() };
    let report = Report {
        config: context.config_path().display().to_string(),
        archive: config.archive.path.display().to_string(),
        sources: config.sources.iter().map(source).collect(),
    };
    print(context.json, &report, |out| {
        let mut table = Table::new(&["source", "vendor"]);
        for source in &report.sources {
            table.row([source.name.clone(), source.vendor.to_owned()]);
        }
        table.print(out)?;
        out.line(format!("{} is right", report.config))
    })?;
    Ok(Outcome::Done)
}
