//! `telereel stats [SESSION…]`: rates, gaps, sizes, lag and unknown fields of what is selected.

mod axis;
mod plot;
mod svg;
mod table;

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use super::context::Context;
use super::destination::outside_archives;
use super::output::print;
use super::progress::Progress;
use super::selection::{self, choose, skipped_told, unsealed};
use super::{Outcome, Usage};
use crate::archive::{self, ArchiveError, SkippedSegment, StatsOptions, stats};
use crate::cli::{By, Stats};
use crate::clock::Clock;
use crate::exchange::target::Target;
use crate::units::human_count;

/// How often rows that were read are told, at a terminal.
const TOLD_EVERY: u64 = 1 << 16;

/// What `--json` prints.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    found: &'a archive::Stats,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    skipped: &'a [SkippedSegment],
}

pub(super) fn run(context: &Context, args: Stats) -> anyhow::Result<Outcome> {
    args.plot.as_deref().map_or(Ok(()), |file| outside_archives("--plot", file))?;
    let is_relative = |moment: &crate::units::Moment| !moment.is_absolute();
    if args.sessions.is_empty() && args.filters.from.iter().chain(&args.filters.to).any(is_relative) {
        selection::check(&args.sessions, &args.filters)?;
    }
    let opened = selection::open(context, &args.sessions)?;
    let archive = &opened.archive;
    let mut chosen = choose(archive, &opened.names, args.filters, Clock::System.now())?;
    chosen.skip_damaged(args.skip_damaged);
    let wanted = StatsOptions {
        bucket: args.bucket,
        devices: (args.by == By::Device).then_some(usize::from(args.top)),
        lag_over_time: args.plot.is_some(),
    };
    let progress = Progress::spinner(context);
    let tell = |rows: u64| {
        if progress.is_shown() && rows % TOLD_EVERY < 8_192 {
            progress.say(&format!("{} messages", human_count(rows)));
        }
    };
    let found = stats(archive, &chosen.options, &wanted, &tell);
    drop(progress);
    let found = match found {
        Err(error @ ArchiveError::BucketTooShort { .. }) => {
            return Err(Usage(format!("--bucket: {error}")).into());
        }
        found => found?,
    };
    if found.messages == 0 {
        chosen.require_some(archive)?;
    }
    if let Some(path) = &args.plot {
        write(path, &plot::plot(&found))?;
    }
    let skipped = chosen.skipped();
    let told = Told { found: &found, skipped: &skipped };
    print(context.json, &told, |out| table::for_people(out, &found))?;
    if let Some(unsealed) = unsealed(archive, &chosen.sessions)? {
        context.screen.note(unsealed);
    }
    Ok(skipped_told(context, &skipped))
}

/// The file is there when it is whole.
fn write(path: &Path, svg: &str) -> anyhow::Result<()> {
    let mut target = Target::create(path)?;
    target.write_all(svg.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    target.put()?;
    Ok(())
}
