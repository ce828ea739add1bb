//! What a replay came to, for a file and for people.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;

use crate::commands::output::{Out, Table};
use crate::player::Report;
use crate::units::{human_count, human_duration, human_size};

pub(super) fn create(path: &Path) -> anyhow::Result<(&Path, File)> {
    let file = File::create(path).with_context(|| format!("cannot write the report {}", path.display()))?;
    Ok((path, file))
}

pub(super) fn write(mut file: File, report: &Report) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    Ok(file.write_all(text.as_bytes())?)
}

pub(super) fn for_people(out: &mut Out, report: &Report) -> anyhow::Result<()> {
    let stopped = if report.stopped { " before it was stopped" } else { "" };
    out.line(format!(
        "replayed {} messages, {}, in {}{stopped} (speed {}, pace {})",
        human_count(report.messages),
        human_size(report.bytes),
        human_duration(report.duration_ns),
        report.speed,
        report.pace
    ))?;
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
    out.line(format!(
        "lateness: p50 {} us, p99 {} us, at most {} us; {drift}",
        late.p50, late.p99, late.max
    ))?;
    let mut table =
        Table::new(&[">client", "endpoint", ">messages", ">dropped", ">p50 us", ">p99 us", "ended"]);
    for client in &report.clients {
        table.row([
            client.id.to_string(),
            client.endpoint.clone(),
            human_count(client.messages),
            human_count(client.dropped),
            client.lateness_us.p50.to_string(),
            client.lateness_us.p99.to_string(),
            match (client.refused, client.reason) {
                (0, reason) => reason.unwrap_or("").to_owned(),
                (refused, None) => format!("{} refused for good", human_count(refused)),
                (refused, Some(reason)) => format!("{} refused for good; {reason}", human_count(refused)),
            },
        ]);
    }
    table.print(out)
}
