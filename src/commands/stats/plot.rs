//! `--plot`: a picture for each source and kind, one under the other on the same axis of time. Rate over time, with
//! the source's outages shaded, and under it the median and the 99th percentile of lag.
//!
//! One file that needs nothing else: colours follow whether the reader likes light or dark, and what is drawn is also
//! said in words.

use super::axis::{Scale, human_rate, label, rate_unit, ticks, times, unit};
use super::svg::{Path, Svg, escaped};
use crate::archive::{GroupStats, Outage, Stats};
use crate::units::{format_duration, format_time_s, human_count, human_duration};

const WIDTH: f64 = 960.0;
/// Where the axes begin and end.
const LEFT: f64 = 64.0;
const RIGHT: f64 = WIDTH - 16.0;
const HEAD: f64 = 84.0;
/// Of a picture: its title, the rate, what lies between, the lag, and the axis of time below.
const TITLE: f64 = 28.0;
const RATE: f64 = 90.0;
const BETWEEN: f64 = 14.0;
const LAG: f64 = 70.0;
const BELOW: f64 = 40.0;

/// Sources and kinds that are drawn: more nobody looks at.
const PICTURES_MAX: usize = 60;

/// Outages that are drawn in a picture; what is narrower than this is drawn as wide.
const OUTAGES_MAX: usize = 1_000;
const OUTAGE_PX: f64 = 1.5;

const STYLE: &str = r#"<style>
svg { max-width: 100%; height: auto; --paper: #fff; --ink: #1c2430; --faint: #667085; --rule: #e4e7ec; --rate: #2563a8; --lag: #b4480f; --gap: #d92d20; --planned: #98a2b3; }
@media (prefers-color-scheme: dark) {
  svg { --paper: #12161c; --ink: #e8ecf2; --faint: #98a2b3; --rule: #2a313c; --rate: #6ea8e6; --lag: #f0955c; --gap: #f97066; --planned: #667085; }
}
.paper { fill: var(--paper); }
text { font: 11px system-ui, sans-serif; fill: var(--faint); }
.title { font-size: 18px; font-weight: 600; fill: var(--ink); }
.name { font-size: 13px; font-weight: 600; fill: var(--ink); }
.said { fill: var(--ink); }
.left { text-anchor: end; }
.middle { text-anchor: middle; }
.rule { stroke: var(--rule); stroke-width: 1; }
.zero { stroke: var(--faint); stroke-width: 1; }
.rate { fill: var(--rate); fill-opacity: .3; stroke: var(--rate); stroke-width: 1.2; stroke-linejoin: round; }
.p99 { fill: none; stroke: var(--lag); stroke-opacity: .55; stroke-width: 1.2; }
.p50 { fill: none; stroke: var(--lag); stroke-width: 1.8; }
.gap { fill: var(--gap); fill-opacity: .22; }
.planned, .unrecorded { fill: var(--planned); fill-opacity: .3; }
</style>"#;

/// The whole picture.
pub(super) fn plot(stats: &Stats) -> String {
    let groups = &stats.groups[..stats.groups.len().min(PICTURES_MAX)];
    let left_out = stats.groups.len() - groups.len();
    let height: f64 = HEAD + groups.iter().map(height_of).sum::<f64>() + 8.0;
    let mut svg = Svg::default();
    svg.raw(&format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" aria-labelledby="title desc">"#
    ));
    let (title, desc) = (title(stats), desc(stats, left_out));
    svg.raw(&format!(r#"<title id="title">{}</title>"#, escaped(&title)));
    svg.raw(&format!(r#"<desc id="desc">{}</desc>"#, escaped(&desc)));
    svg.raw(STYLE);
    svg.rect("paper", (0.0, 0.0), (WIDTH, height), "");
    svg.text("title", (16.0, 28.0), &title);
    svg.text("", (16.0, 47.0), &desc);
    legend(&mut svg, stats);
    let mut top = HEAD;
    for group in groups {
        picture(&mut svg, stats, group, top);
        top += height_of(group);
    }
    svg.raw("</svg>");
    svg.into_string()
}

fn height_of(group: &GroupStats) -> f64 {
    TITLE + RATE + if has_lag(group) { BETWEEN + LAG } else { 0.0 } + BELOW
}

fn has_lag(group: &GroupStats) -> bool {
    group.rate.lag_p50_us.is_some() && group.lag_us.is_some()
}

fn title(stats: &Stats) -> String {
    match &stats.sessions[..] {
        [window] => window.name.clone(),
        windows => format!("{} sessions", human_count(windows.len() as u64)),
    }
}

fn desc(stats: &Stats, left_out: usize) -> String {
    let from_us = stats.sessions.iter().map(|window| window.from_us).min().unwrap_or(0);
    let to_us = stats.sessions.iter().map(|window| window.to_us).max().unwrap_or(0);
    let more = match left_out {
        0 => String::new(),
        more => format!("; {more} more sources and kinds are not drawn"),
    };
    let bucket = format_duration(std::time::Duration::from_micros(stats.bucket_us));
    format!(
        "{} messages, {} to {}, in steps of {bucket}; times are UTC{more}",
        human_count(stats.messages),
        format_time_s(from_us),
        format_time_s(to_us)
    )
}

/// What colours mean, of those that occur.
fn legend(svg: &mut Svg, stats: &Stats) {
    let of = |class| stats.sources.iter().flat_map(|source| &source.outages).any(|o| class_of(o) == class);
    let mut at = 16.0;
    let mut entry = |class: &str, words: &str, wanted: bool| {
        if wanted {
            svg.rect(class, (at, 57.0), (14.0, 9.0), "");
            svg.text("", (at + 19.0, 65.5), words);
            at += 34.0 + 6.0 * words.chars().count() as f64;
        }
    };
    entry("rate", "messages over time", true);
    entry("gap", "not connected", of("gap"));
    entry("planned", "not connected, as planned", of("planned"));
    entry("unrecorded", "no recorder ran", of("unrecorded"));
    if stats.groups.iter().any(has_lag) {
        let (y, words) = (61.5, ["lag, median", "lag, 99th percentile"]);
        for (class, words) in ["p50", "p99"].into_iter().zip(words) {
            svg.line(class, (at, y), (at + 14.0, y));
            svg.text("", (at + 19.0, 65.5), words);
            at += 34.0 + 6.0 * words.chars().count() as f64;
        }
    }
}

fn class_of(outage: &Outage) -> &'static str {
    match (outage.what, outage.planned) {
        ("not recorded", _) => "unrecorded",
        (_, true) => "planned",
        (_, false) => "gap",
    }
}

fn picture(svg: &mut Svg, stats: &Stats, group: &GroupStats, top: f64) {
    let name = format!("{} · {}", group.source, group.kind);
    let said = said(group);
    let buckets = group.rate.messages.len() as i64;
    let to_us = group.rate.start_us.saturating_add(buckets.saturating_mul(group.rate.step_us as i64));
    let x = Scale { from: group.rate.start_us as f64, to: to_us as f64, from_px: LEFT, to_px: RIGHT };
    svg.raw(&format!(
        r#"<g role="group" data-source="{}" data-kind="{}" data-messages="{}"><title>{}</title><desc>{}</desc>"#,
        escaped(&group.source),
        escaped(&group.kind),
        group.messages,
        escaped(&name),
        escaped(&said)
    ));
    svg.text("name", (16.0, top + 14.0), &name);
    svg.text("left", (RIGHT, top + 14.0), &said);
    let rate_top = top + TITLE;
    let mut bottom = rate_top + RATE;
    let outages = outages_of(stats, group);
    shade(svg, &outages, &x, (rate_top, bottom));
    rate(svg, group, &x, (rate_top, bottom));
    if has_lag(group) {
        let lag_top = bottom + BETWEEN;
        bottom = lag_top + LAG;
        shade(svg, &outages, &x, (lag_top, bottom));
        lag(svg, group, &x, (lag_top, bottom));
    }
    for (us, text) in times(group.rate.start_us, to_us, 8) {
        let at = x.px(us as f64);
        svg.line("zero", (at, bottom), (at, bottom + 4.0));
        // The first and the last one stay on the paper.
        svg.text("middle", (at.clamp(LEFT, RIGHT - 30.0), bottom + 16.0), &text);
    }
    svg.raw("</g>");
}

/// The picture in words.
fn said(group: &GroupStats) -> String {
    let mut said = format!("{} messages", human_count(group.messages));
    if let Some(hz) = group.rate_hz {
        said.push_str(&format!(", {}, at most {}", human_rate(hz), human_rate(group.rate_max_hz)));
    }
    if let Some(lag) = group.lag_us {
        let of = |us: i64| {
            let sign = if us < 0 { "-" } else { "" };
            format!("{sign}{}", human_duration(us.unsigned_abs().saturating_mul(1_000)))
        };
        said.push_str(&format!("; lag {} (median), {} (p99)", of(lag.p50), of(lag.p99)));
    }
    if group.gaps.count > 0 {
        let gaps = if group.gaps.count == 1 { "gap" } else { "gaps" };
        said.push_str(&format!("; {} {gaps}", human_count(group.gaps.count)));
    }
    said
}

fn outages_of<'s>(stats: &'s Stats, group: &GroupStats) -> Vec<&'s Outage> {
    let of = stats.sources.iter().find(|s| s.source == group.source && s.vendor == group.vendor);
    let mut outages: Vec<&Outage> = of.map(|source| source.outages.iter().collect()).unwrap_or_default();
    // The longest are seen.
    outages.sort_by_key(|outage| std::cmp::Reverse(outage.lasted_us));
    outages.truncate(OUTAGES_MAX);
    outages
}

fn shade(svg: &mut Svg, outages: &[&Outage], x: &Scale, (top, bottom): (f64, f64)) {
    for outage in outages {
        let (from, to) = (x.inside(outage.from_us as f64), x.inside(outage.to_us as f64));
        let device = outage.device_id.iter().map(|id| format!("{id} "));
        let reason = outage.reason.iter().map(|reason| format!(": {reason}"));
        let words = [
            format!("{} from {} for ", outage.what, format_time_s(outage.from_us)),
            human_duration(outage.lasted_us.saturating_mul(1_000)),
        ];
        let title: String = device.chain(words).chain(reason).collect();
        let width = (to - from).max(OUTAGE_PX);
        svg.rect(class_of(outage), (from.min(RIGHT - width), top), (width, bottom - top), &title);
    }
}

/// Rules and numbers of an axis of values; gives its scale.
fn values(svg: &mut Svg, (from, to): (f64, f64), (top, bottom): (f64, f64), unit: &str) -> Scale {
    let ticks = ticks(from, to, if bottom - top > 80.0 { 4.0 } else { 3.0 });
    let (first, last) = (ticks[0], ticks[ticks.len() - 1]);
    let y = Scale { from: first, to: last, from_px: bottom, to_px: top };
    let step = if ticks.len() > 1 { ticks[1] - ticks[0] } else { 1.0 };
    for (n, tick) in ticks.iter().enumerate() {
        let at = y.px(*tick);
        svg.line(if *tick == 0.0 { "zero" } else { "rule" }, (LEFT, at), (RIGHT, at));
        let unit = if n + 1 == ticks.len() { unit } else { "" };
        svg.text("left", (LEFT - 6.0, at + 4.0), &format!("{}{unit}", label(*tick, step)));
    }
    y
}

fn rate(svg: &mut Svg, group: &GroupStats, x: &Scale, (top, bottom): (f64, f64)) {
    let step_us = group.rate.step_us as f64;
    let most = group.rate.messages.iter().copied().max().unwrap_or(0) as f64;
    let (unit, seconds) = rate_unit(most * 1e6 / step_us);
    let each = 1e6 / step_us * seconds;
    let y = values(svg, (0.0, most * each), (top, bottom), unit);
    let mut path = Path::default();
    let mut last = 0;
    for (n, messages) in group.rate.messages.iter().chain([&0]).enumerate() {
        let at = x.px(x.from + n as f64 * step_us);
        if *messages == last {
            continue;
        }
        let height = |messages: u64| y.px(messages as f64 * each);
        path.to(if last == 0 { 'M' } else { 'L' }, (at, height(last)));
        path.to('L', (at, height(*messages)));
        if *messages == 0 {
            path.close();
        }
        last = *messages;
    }
    svg.path("rate", &path);
}

fn lag(svg: &mut Svg, group: &GroupStats, x: &Scale, (top, bottom): (f64, f64)) {
    let (Some(p50), Some(p99)) = (&group.rate.lag_p50_us, &group.rate.lag_p99_us) else { return };
    let all = || p50.iter().chain(p99).flatten().map(|us| *us as f64);
    let (least, greatest) = (all().fold(0.0, f64::min), all().fold(0.0, f64::max));
    let (unit, unit_us) = unit(greatest.max(-least));
    let y = values(svg, (least / unit_us, greatest / unit_us), (top, bottom), &format!(" {unit}"));
    for (class, values) in [("p99", p99), ("p50", p50)] {
        let mut path = Path::default();
        let mut was_there = false;
        for (n, lag_us) in values.iter().enumerate() {
            if let Some(lag_us) = lag_us {
                let step_us = group.rate.step_us as f64;
                let at = y.px(*lag_us as f64 / unit_us);
                path.to(if was_there { 'L' } else { 'M' }, (x.px(x.from + n as f64 * step_us), at));
                path.to('L', (x.px(x.from + (n + 1) as f64 * step_us), at));
            }
            was_there = lag_us.is_some();
        }
        svg.path(class, &path);
    }
}
