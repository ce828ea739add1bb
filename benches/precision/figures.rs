//! From times to figures.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::stream::Part;

/// One message on its way; all times on one clock.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub n: usize,
    pub due_ns: u64,
    pub sent_ns: u64,
    pub received_ns: u64,
}

#[derive(Deserialize)]
struct Line {
    event: String,
    seq: Option<usize>,
    due_ns: Option<u64>,
    sent_ns: Option<u64>,
}

/// Ties what came to what the trace says of it.
pub fn join(received: &[(usize, u64)], trace: &str) -> Result<Vec<Seen>> {
    let mut sent = HashMap::new();
    for line in trace.lines() {
        let line: Line = serde_json::from_str(line)?;
        if line.event == "sent" {
            let seq = line.seq.context("no seq")?;
            sent.insert(seq, (line.due_ns.context("no due time")?, line.sent_ns.context("no time")?));
        }
    }
    let seen = |(n, received_ns): &(usize, u64)| {
        let (due_ns, sent_ns) = *sent.get(n).with_context(|| format!("{n} is not in the trace"))?;
        Ok(Seen { n: *n, due_ns, sent_ns, received_ns: *received_ns })
    };
    received.iter().map(seen).collect()
}

/// Leaves the times of each message in a file, to be looked into.
pub fn save(path: &Path, plan: &[(u64, Part)], seen: &[Seen]) -> Result<()> {
    let mut text = String::from("n,part,due_ns,sent_ns,received_ns\n");
    for Seen { n, due_ns, sent_ns, received_ns } in seen {
        let part = plan.get(*n).context("not ours")?.1;
        writeln!(text, "{n},{part:?},{due_ns},{sent_ns},{received_ns}")?;
    }
    Ok(std::fs::write(path, text)?)
}

/// Prints the figures; an error if a message is missing, or came out of order or early.
pub fn print(name: &str, plan: &[(u64, Part)], seen: &[Seen]) -> Result<()> {
    let order: Vec<usize> = seen.iter().map(|seen| seen.n).collect();
    ensure!(
        order.iter().copied().eq(0..plan.len()),
        "{name}: {} of {} came, in order",
        order.len(),
        plan.len()
    );
    ensure!(seen.iter().all(|seen| seen.received_ns >= seen.due_ns), "{name}: a message came early");
    println!("{name:<12}{:>10}{:>8}{:>8}{:>8}{:>8}  us late", "", "p50", "p90", "p99", "max");
    let late = |seen: &Seen| seen.received_ns - seen.due_ns;
    row("all", seen.iter().map(late));
    for part in [Part::Device, Part::Burst, Part::AtOnce] {
        row(&format!("{part:?}"), seen.iter().filter(|seen| plan[seen.n].1 == part).map(late));
    }
    row("to the flush", seen.iter().map(|seen| seen.sent_ns.saturating_sub(seen.due_ns)));
    // The shape of a burst: by how much the distance to the message before is wrong.
    let burst = seen.windows(2).filter(|pair| pair.iter().all(|seen| plan[seen.n].1 == Part::Burst));
    row(
        "burst shape",
        burst.map(|pair| {
            (pair[1].received_ns - pair[0].received_ns).abs_diff(pair[1].due_ns - pair[0].due_ns)
        }),
    );
    let tenth = (seen.len() / 10).max(1);
    let first = median(seen[..tenth].iter().map(late));
    let last = median(seen[seen.len() - tenth..].iter().map(late));
    println!(
        "{:<22}{:>8.1} us (median of the last tenth against the first)\n",
        "  drift",
        (last as f64 - first as f64) / 1e3
    );
    Ok(())
}

fn row(name: &str, values: impl Iterator<Item = u64>) {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    if values.is_empty() {
        return;
    }
    let at =
        |per_mille: usize| values[(values.len() * per_mille).div_ceil(1_000).max(1) - 1] as f64 / 1_000.0;
    println!("  {name:<20}{:>8.1}{:>8.1}{:>8.1}{:>8.1}", at(500), at(900), at(990), at(1_000));
}

fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values[values.len() / 2]
}
