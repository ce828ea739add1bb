//! The figures for people: tables that fit into a terminal.

use std::io::{IsTerminal, stdout};
use std::time::Duration;

use super::axis::human_rate;
use crate::archive::{GroupStats, Lag, Stats};
use crate::commands::output::{Out, Table};
use crate::units::{format_duration, format_time_s, human_count, human_duration, human_size};

/// Where standard output is no terminal.
const WIDTH: usize = 100;

/// Bars of a trend: more tell no more.
const TREND_MAX: usize = 40;
const TREND_MIN: usize = 8;

/// A line of bars, the lowest for the fewest messages.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

pub(super) fn for_people(out: &mut Out, stats: &Stats) -> anyhow::Result<()> {
    let width = width();
    for line in summary(stats) {
        out.line(line)?;
    }
    let groups = stats.devices.as_deref().unwrap_or(&stats.groups);
    // Those that are not told apart come last, one for each source and kind: more than one line for all says nothing.
    let told = groups.partition_point(|group| group.others.is_none());
    let (groups, others) = groups.split_at(if groups.len() - told > 1 { told } else { groups.len() });
    // What room is left beside names that are whole is for pictures.
    let taken = rates(groups, others, usize::MAX, 0).width() + 2;
    let room = width.unwrap_or(0).saturating_sub(taken).min(TREND_MAX);
    let trend = if room < TREND_MIN { 0 } else { room };
    let width = width.unwrap_or(usize::MAX);
    section(out, &fitted(width, |name_max| rates(groups, others, name_max, trend)))?;
    section(out, &fitted(width, |name_max| sizes(groups, others, name_max)))?;
    section(out, &fitted(width, |name_max| lags(groups, name_max)))?;
    section(out, &fitted(width, |name_max| gaps(stats, name_max)))?;
    section(out, &fitted(width, |name_max| unknown(stats, name_max)))?;
    Ok(())
}

/// The width of the terminal, if it is one.
fn width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stdout()).ok().filter(|_| stdout().is_terminal())?;
    // A terminal that does not know its width says 0.
    Some(if size.ws_col == 0 { WIDTH } else { usize::from(size.ws_col) })
}

/// The table with its names as long as there is room for them.
fn fitted(width: usize, table: impl Fn(usize) -> Table) -> Table {
    let shorter = [32, 24, 16, 12].into_iter().map(&table);
    std::iter::once(table(usize::MAX)).chain(shorter).find(|t| t.width() <= width).unwrap_or_else(|| table(8))
}

/// After an empty line; nothing where it has no rows.
fn section(out: &mut Out, table: &Table) -> anyhow::Result<()> {
    if table.is_empty() {
        return Ok(());
    }
    out.line("")?;
    table.print(out)
}

fn summary(stats: &Stats) -> Vec<String> {
    let names: Vec<String> = stats.sessions.iter().map(|window| plain(&window.name, 64)).collect();
    let sessions = match &names[..] {
        [name] => name.clone(),
        [first, .., last] => format!("{} of them, {first} to {last}", human_count(names.len() as u64)),
        [] => "none".to_owned(),
    };
    let from_us = stats.sessions.iter().map(|window| window.from_us).min().unwrap_or(0);
    let to_us = stats.sessions.iter().map(|window| window.to_us).max().unwrap_or(0);
    let has_others = stats.groups.iter().any(|group| matches!(&*group.kind, "link" | "control"));
    let others = if has_others { "" } else { "; link and control messages are not counted" };
    vec![
        format!("session   {sessions}"),
        format!(
            "time      {} to {}, of which {} were recorded",
            format_time_s(from_us),
            format_time_s(to_us),
            human_us(stats.recorded_us)
        ),
        format!("messages  {}, {} as received{others}", human_count(stats.messages), human_size(stats.bytes)),
        format!("peaks     in {}", format_duration(Duration::from_micros(stats.bucket_us))),
    ]
}

/// Whose line it is: source, kind and, where it is one of devices, which.
fn names(group: &GroupStats, name_max: usize) -> Vec<String> {
    let mut names = vec![plain(&group.source, name_max), plain(&group.kind, name_max)];
    if let Some(device) = &group.device_id {
        names.push(match (device, group.others) {
            (Some(device), _) => plain(device, name_max),
            (None, Some(others)) => format!("{} others", human_count(others)),
            (None, None) => "-".to_owned(),
        });
    }
    names
}

/// A table whose first columns are names.
fn table_of(groups: &[GroupStats], columns: &[&'static str]) -> Table {
    let mut header = vec!["source", "kind"];
    if groups.iter().any(|group| group.device_id.is_some()) {
        header.push("device");
    }
    header.extend(columns);
    Table::new(&header)
}

/// The names of a line for all others.
fn others_names(others: &[GroupStats]) -> Vec<String> {
    let count = others.iter().filter_map(|group| group.others).sum();
    vec!["all".to_owned(), "all".to_owned(), format!("{} others", human_count(count))]
}

fn rates(groups: &[GroupStats], others: &[GroupStats], name_max: usize, trend: usize) -> Table {
    let mut columns = vec![">messages", ">rate", ">peak", ">silence"];
    if trend > 0 {
        columns.push("over time");
    }
    let mut table = table_of(groups, &columns);
    for group in groups {
        let mut cells = names(group, name_max);
        cells.extend([
            human_count(group.messages),
            group.rate_hz.map(human_rate).unwrap_or_default(),
            human_rate(group.rate_max_hz),
            group.silence_max_us.map(human_length).unwrap_or_default(),
        ]);
        if trend > 0 {
            cells.push(bars(&group.rate.messages, trend));
        }
        table.row(cells);
    }
    if !others.is_empty() {
        let mut cells = others_names(others);
        cells.push(human_count(others.iter().map(|group| group.messages).sum()));
        cells.push(human_rate(others.iter().filter_map(|group| group.rate_hz).sum()));
        cells.extend([String::new(), String::new()]);
        if trend > 0 {
            cells.push(String::new());
        }
        table.row(cells);
    }
    table
}

fn sizes(groups: &[GroupStats], others: &[GroupStats], name_max: usize) -> Table {
    let columns = [">bytes", ">p50 B", ">p99 B", ">max B", ">errors", ">duplicates"];
    let mut table = table_of(groups, &columns);
    for group in groups {
        let mut cells = names(group, name_max);
        let sizes = &group.payload_bytes;
        cells.push(human_size(group.bytes));
        let counts = [sizes.p50, sizes.p99, sizes.max, group.decode_errors, group.duplicates];
        cells.extend(counts.map(human_count));
        table.row(cells);
    }
    if !others.is_empty() {
        let sum = |of: fn(&GroupStats) -> u64| others.iter().map(of).sum::<u64>();
        let longest = others.iter().map(|group| group.payload_bytes.max).max().unwrap_or(0);
        let mut cells = others_names(others);
        cells.extend([human_size(sum(|group| group.bytes)), String::new(), String::new()]);
        let counts = [longest, sum(|group| group.decode_errors), sum(|group| group.duplicates)];
        cells.extend(counts.map(human_count));
        table.row(cells);
    }
    table
}

fn lags(groups: &[GroupStats], name_max: usize) -> Table {
    let columns = [">lag min", ">p50", ">p99", ">max", ">timed", ">below 0", ">untimed"];
    let mut table = table_of(groups, &columns);
    for group in groups {
        let Some(lag) = group.lag_us else { continue };
        let mut cells = names(group, name_max);
        let Lag { messages, negative, min, p50, p99, max } = lag;
        cells.extend([min, p50, p99, max].map(human_lag));
        cells.extend([messages, negative, group.without_event_at].map(human_count));
        table.row(cells);
    }
    table
}

fn gaps(stats: &Stats, name_max: usize) -> Table {
    let mut table =
        Table::new(&["source", ">recorded", ">gaps", ">planned", ">longest", ">in all", ">without recorder"]);
    for source in &stats.sources {
        let gaps = &source.gaps;
        let of_recorder = source.outages.iter().filter(|outage| outage.what == "not recorded");
        let of_recorder: u64 = of_recorder.map(|outage| outage.lasted_us).sum();
        let if_any = |any: bool, us: u64| if any { human_length(us) } else { "-".to_owned() };
        table.row([
            plain(&source.source, name_max),
            human_us(source.recorded_us),
            human_count(gaps.count),
            human_count(gaps.planned),
            if_any(gaps.count > 0, gaps.longest_us),
            if_any(gaps.count > 0, gaps.total_us),
            if_any(of_recorder > 0, of_recorder),
        ]);
    }
    table
}

fn unknown(stats: &Stats, name_max: usize) -> Table {
    let mut table =
        Table::new(&["source", "kind", "field without a column", "type", ">seen in", ">of examined"]);
    for group in &stats.groups {
        for field in &group.unknown_fields {
            table.row([
                plain(&group.source, name_max),
                plain(&group.kind, name_max),
                plain(&field.path, name_max.saturating_mul(2)),
                field.json_type.to_owned(),
                human_count(field.messages),
                human_count(field.examined),
            ]);
        }
    }
    table
}

/// A name from outside, without what would move the cursor, and no longer than `max`.
fn plain(name: &str, max: usize) -> String {
    let shown = |c: char| if c.is_control() { '\u{FFFD}' } else { c };
    if name.chars().count() <= max {
        return name.chars().map(shown).collect();
    }
    name.chars().take(max - 1).map(shown).chain(['…']).collect()
}

fn human_us(us: u64) -> String {
    human_duration(us.saturating_mul(1_000))
}

/// The same with more digits where it is short.
fn human_length(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..10_000 => format!("{}.{:02} ms", us / 1_000, us / 10 % 100),
        _ => human_us(us),
    }
}

fn human_lag(us: i64) -> String {
    let sign = if us < 0 { "-" } else { "" };
    format!("{sign}{}", human_length(us.unsigned_abs()))
}

/// So many bars at most, as high as there are messages in their time; a space where there are none.
fn bars(messages: &[u64], most: usize) -> String {
    let each = messages.len().div_ceil(most).max(1);
    let sums: Vec<u64> = messages.chunks(each).map(|chunk| chunk.iter().sum()).collect();
    let highest = sums.iter().copied().max().unwrap_or(0).max(1);
    let bar = |sum: &u64| match sum {
        0 => ' ',
        sum => BARS[((sum * BARS.len() as u64 - 1) / highest).min(7) as usize],
    };
    sums.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_high_as_there_are_messages() {
        assert_eq!(bars(&[0, 1, 4, 8], 10), " ▁▄█");
        assert_eq!(bars(&[1, 1, 4, 4, 0, 0], 3), "▂█ ");
        assert_eq!(bars(&[], 3), "");
        assert_eq!(bars(&[0, 0], 3), "  ");
    }

    #[test]
    fn lags_are_read_in_their_own_unit() {
        let lags = [0, 999, -1_234, 12_345, -61_000_000, i64::MIN].map(human_lag);
        assert_eq!(lags[..5], ["0 µs", "999 µs", "-1.23 ms", "12 ms", "-1 min 1 s"]);
    }

    #[test]
    fn names_cannot_move_the_cursor() {
        assert_eq!(plain("\u{1b}[2Jx\n", 9), "\u{FFFD}[2Jx\u{FFFD}");
        assert_eq!(plain("ATR_GN_P4-250120", 8), "ATR_GN_…");
    }
}
