//! What a replay came to, for a file and for people.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::num::NonZeroU64;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use crate::archive::{Bound, SkippedSegment};
use crate::cli::Replay;
use crate::commands::output::{Out, Table};
use crate::commands::selection::Chosen;
use crate::disk::create_private;
use crate::player::{ClientReport, Report, SourceReport};
use crate::units::{format_duration, format_time_us, human_count, human_duration, human_size};

/// The report, and what it is a report of.
#[derive(Serialize)]
pub(super) struct Full<'a> {
    #[serde(flatten)]
    report: &'a Report,
    /// Damaged segments, and how many of their messages were left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    skipped: Vec<SkippedSegment>,
    arguments: Arguments,
}

/// What the run was asked for, each as it is typed, so that it can be repeated.
#[derive(Serialize)]
struct Arguments {
    pace: &'static str,
    speed: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    #[serde(flatten)]
    filters: BTreeMap<&'static str, Vec<String>>,
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    condition: Option<String>,
    /// How often; 0: without end.
    #[serde(rename = "loop")]
    rounds: u64,
    outages: String,
    state: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    faults: Option<String>,
    seed: u64,
    /// That was given, or at which the clock started.
    #[serde(skip_serializing_if = "Option::is_none")]
    rebase_time: Option<String>,
}

/// As it is typed; times that count from now are said without it.
fn moment(bound: Bound) -> String {
    match bound {
        Bound::Elapsed(ns) => format!("+{}", format_duration(Duration::from_nanos(ns))),
        Bound::Wall(us) => format_time_us(us),
        Bound::Seq(seq) => seq.to_string(),
    }
}

pub(super) fn full<'a>(report: &'a Report, chosen: &Chosen, args: &Replay) -> Full<'a> {
    let filters = &args.filters;
    let lists = [
        ("source", &filters.source),
        ("vendor", &filters.vendor),
        ("kind", &filters.kind),
        ("device", &filters.device),
        ("channel", &filters.channel),
    ];
    let given = lists.into_iter().filter(|(_, list)| !list.is_empty());
    let arguments = Arguments {
        pace: report.pace,
        speed: args.speed.unwrap_or_default().to_string(),
        from: chosen.options.from.map(moment),
        to: chosen.options.to.map(moment),
        filters: given.map(|(name, list)| (name, list.clone())).collect(),
        condition: filters.filter.as_ref().map(ToString::to_string),
        rounds: args.rounds.map_or(1, |times| times.map_or(0, NonZeroU64::get)),
        outages: args.outages.to_string(),
        state: args.state,
        faults: args.shaping.faults.as_ref().map(ToString::to_string),
        seed: args.shaping.seed,
        rebase_time: report.rebased_to_us.map(format_time_us),
    };
    Full { report, skipped: chosen.skipped(), arguments }
}

pub(super) fn create(path: &Path) -> anyhow::Result<(&Path, File)> {
    let file = create_private(path).with_context(|| format!("cannot write the report {}", path.display()))?;
    Ok((path, file))
}

pub(super) fn write(mut file: File, report: &Full<'_>) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    Ok(file.write_all(text.as_bytes())?)
}

/// How it ended with a client, where there is something to say.
pub(in crate::commands) fn ended(client: &ClientReport) -> String {
    match (client.refused, client.reason) {
        (0, None) if client.outage => "outage".to_owned(),
        (0, reason) => reason.unwrap_or("").to_owned(),
        (refused, None) => format!("{} refused for good", human_count(refused)),
        (refused, Some(reason)) => format!("{} refused for good; {reason}", human_count(refused)),
    }
}

/// All that were used, one after the other.
fn speeds(report: &Report) -> String {
    match &report.speeds[..] {
        [] => String::new(),
        speeds => format!("speed {}, ", speeds.join(", then ")),
    }
}

pub(super) fn for_people(out: &mut Out, report: &Report, args: &Replay) -> anyhow::Result<()> {
    let stopped = if report.stopped { " before it was stopped" } else { "" };
    let goes_out_only = args.listen.is_empty() && args.publish.is_empty() && !args.push.is_empty();
    let is_meant =
        |source: &&SourceReport| !goes_out_only || args.push.iter().any(|push| push.source == source.name);
    let meant = report.sources.iter().filter(is_meant);
    let (messages, bytes) = meant.fold((0, 0), |(n, bytes), s| (n + s.messages, bytes + s.bytes));
    out.line(format!(
        "{} {} messages, {}, in {}{stopped} ({}pace {})",
        if goes_out_only { "pushed" } else { "replayed" },
        human_count(messages),
        human_size(bytes),
        human_duration(report.duration_ns),
        speeds(report),
        report.pace
    ))?;
    if messages < report.messages {
        let others = human_count(report.messages - messages);
        out.line(format!("{others} more are of sources that --push does not name: they went nowhere"))?;
    }
    if !report.faults.is_empty() {
        let counts =
            report.faults.iter().map(|fault| format!("{} {}", fault.fault, human_count(fault.count)));
        out.line(format!("faults: {}", counts.collect::<Vec<_>>().join(", ")))?;
    }
    if report.clients.is_empty() {
        return out.line("nobody listened");
    }
    let late = &report.lateness_us;
    let drift = match report.drift_us {
        0 => "no drift".to_owned(),
        us => {
            let how = if us > 0 { "more" } else { "less" };
            format!("the last tenth was {} us {how} late than the first", us.unsigned_abs())
        }
    };
    // Without due times nothing is late.
    let keeps_time = !report.speeds.is_empty();
    if keeps_time {
        out.line(format!(
            "lateness: p50 {} us, p99 {} us, at most {} us; {drift}",
            late.p50, late.p99, late.max
        ))?;
    }
    if let Some(outages) = report.outages {
        out.line(format!(
            "outages: {} connections closed, {} refused",
            human_count(outages.closed),
            human_count(outages.refused)
        ))?;
    }
    let mut table =
        Table::new(&[">client", "endpoint", ">messages", ">dropped", ">p50 us", ">p99 us", "ended"]);
    for client in &report.clients {
        table.row([
            client.id.to_string(),
            client.endpoint.clone(),
            human_count(client.messages),
            human_count(client.dropped),
            if keeps_time { client.lateness_us.p50.to_string() } else { String::new() },
            if keeps_time { client.lateness_us.p99.to_string() } else { String::new() },
            ended(client),
        ]);
    }
    table.print(out)
}
