//! `stats`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{Filters, positive_duration};

/// What is drawn is SVG: under another name programs would take it for something else.
fn svg(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let is_svg = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("svg"));
    if is_svg { Ok(path) } else { Err("it is drawn as SVG: expected a name that ends in .svg".to_owned()) }
}

/// What there is a line for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// Each source and kind
    #[default]
    Kind,
    /// Also each device
    Device,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  telereel stats latest
  telereel stats                               the whole archive
  telereel stats --from -7d --vendor jointech --by device
  telereel stats tuesday --bucket 10m --json | jq '.groups[] | {kind, rate_hz, lag_us}'
  telereel stats tuesday --plot tuesday.svg    for a browser

Link and control messages, which `list` counts, are left out unless --kind names them. Rates are messages in the time that the source was recorded: from the session's start, or --from, to its last message
of any kind, or --to; a peak is that of one bucket. Lag is received_at minus event_at; below zero, the vendor's clock
was ahead. Gaps are times without a connection, as in the view `outages`; silence is the longest time between two
messages of a session. Percentiles are right to a thousandth, of devices to a hundredth. Unknown fields are looked for in
the first 2048 messages of each source and kind and then in ever fewer; `examined` says how many were looked at.

--json prints one document: sessions, sources (with their outages), groups (by source and kind) and, with --by device,
devices. Names end with their unit: _us, _hz, _bytes. `rate` counts the messages of equal stretches of time from `start`
on, each `step_us` long.")]
pub struct Stats {
    /// Names, ids or their beginnings, `latest`, clips, or a .reel [default: all sessions]
    #[arg(value_name = "SESSION")]
    pub sessions: Vec<String>,
    /// What there is a line for
    #[arg(long, value_enum, default_value_t)]
    pub by: By,
    /// With --by device: so many with the most messages, all others in one line
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub top: u16,
    /// How long a bucket of the rate over time is, as in 10s or 1h [default: so that there are about a hundred]
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    pub bucket: Option<Duration>,
    /// Draw rates, outages and lag over time into this file, which is replaced when the new one is whole
    #[arg(long, value_name = "FILE.svg", value_parser = svg)]
    pub plot: Option<PathBuf>,
    /// Leave out what cannot be read of damaged segments, say what is missing, and end with 3
    #[arg(long)]
    pub skip_damaged: bool,
    #[command(flatten)]
    pub filters: Filters,
}
