//! From sessions and filters as they are typed to what is scanned.

use std::cell::RefCell;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use anyhow::bail;

use super::context::Context;
use super::{Outcome, Usage};
use crate::archive::{
    Archive, ArchiveError, Bound, Filter, Predicate, ScanOptions, SessionSummary, SkippedSegment, end_of,
    envelopes, scan,
};
use crate::cli::Filters;
use crate::clock::Now;
use crate::exchange::reel::{self, Unpacked};
use crate::message::{COMMON_KINDS, Row, Selection, SessionId};
use crate::player::Position;
use crate::section::nearest;
use crate::units::{Moment, format_time_s, human_count, human_duration, human_size};
use crate::vendors::VENDORS;

/// Names that are listed where nothing is selected.
const NAMED_MAX: usize = 12;

/// A gap between sessions that is told of: an hour.
const GAP_TOLD_US: u64 = 3_600_000_000;

/// What a user chose from an archive.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    /// Oldest first; all sessions where only a stretch of time was named.
    pub(super) sessions: Vec<SessionSummary>,
    pub(super) options: ScanOptions,
}

/// Resolves sessions and times; `now` is what `-2h` counts from.
pub(super) fn choose(
    archive: &Archive,
    names: &[String],
    filters: Filters,
    now: Now,
) -> anyhow::Result<Chosen> {
    let (sessions, ranges) = sessions(archive, names)?;
    let predicate =
        filters.filter.as_ref().map(|filter| bind(archive, filter, &sessions, &filters)).transpose()?;
    let options = ScanOptions {
        sessions: sessions.iter().map(|session| session.session_id).collect(),
        from: filters.from.map(|moment| bound(moment, now)),
        to: filters.to.map(|moment| bound(moment, now)),
        merged_from: None,
        merged_to: None,
        ranges,
        selection: Selection {
            vendors: filters.vendor,
            sources: filters.source,
            kinds: filters.kind,
            devices: filters.device,
            channels: filters.channel,
        },
        predicate,
        data_only: true,
        emitted_only: false,
        skipped: None,
    };
    if reversed(options.from, options.to) {
        return Err(Usage("--to is not after --from: nothing lies between them".into()).into());
    }
    Ok(Chosen { sessions, options })
}

/// Whether nothing can lie between two moments.
pub(super) fn reversed(from: Option<Bound>, to: Option<Bound>) -> bool {
    match (from, to) {
        (Some(Bound::Wall(from)), Some(Bound::Wall(to))) => from >= to,
        (Some(Bound::Elapsed(from)), Some(Bound::Elapsed(to))) => from >= to,
        _ => false,
    }
}

/// The condition, its columns and types checked against what the archive has. What it may have meant is looked for
/// in what was recorded in these sessions, of what else is selected.
fn bind(
    archive: &Archive,
    filter: &Filter,
    sessions: &[SessionSummary],
    filters: &Filters,
) -> anyhow::Result<Predicate> {
    let columns = archive.column_types()?;
    if let Ok(predicate) = filter.bind(&columns) {
        return Ok(predicate);
    }
    let mut recorded = Vec::new();
    for session in sessions {
        recorded.extend(archive.info(session.session_id)?.kinds);
    }
    let is_in = |list: &[String], name: &str| list.is_empty() || list.iter().any(|wanted| wanted == name);
    let likely = archive.column_types_of(|vendor, kind| {
        let is_recorded = recorded.iter().any(|known| known.vendor == vendor && known.kind == kind);
        is_recorded && is_in(&filters.vendor, vendor) && is_in(&filters.kind, kind)
    })?;
    filter.bind_like(&columns, &likely).map_err(|error| Usage(format!("--where, {error}")).into())
}

/// Of a session, a range of `seq`.
type Stretches = Vec<(SessionId, Range<u64>)>;

/// The sessions that names mean, and of those that are meant by clips alone, which stretches.
fn sessions(archive: &Archive, names: &[String]) -> anyhow::Result<(Vec<SessionSummary>, Stretches)> {
    let mut sessions = if names.is_empty() { archive.list()? } else { Vec::new() };
    let (mut whole, mut ranges) = (Vec::new(), Vec::new());
    for name in names {
        let (mut session, clip) = archive.resolve_stretch(name)?;
        match clip {
            None => whole.push(session.session_id),
            Some(clip) => {
                let last = ScanOptions {
                    sessions: vec![session.session_id],
                    ranges: vec![(session.session_id, clip.seq_to.saturating_sub(1)..clip.seq_to)],
                    // Who scans it says what is damaged.
                    skipped: Some(Arc::default()),
                    ..ScanOptions::default()
                };
                // What is left of the session when the clip is over is nobody's business.
                if let Some(last) = envelopes(archive, &last)?.next() {
                    session.duration_ns = last?.elapsed_ns;
                }
                ranges.push((session.session_id, clip.seqs()));
            }
        }
        sessions.push(session);
    }
    ranges.retain(|(session_id, _)| !whole.contains(session_id));
    sessions.sort_by_key(|s| (s.started_at_us, s.session_id, std::cmp::Reverse(s.duration_ns)));
    sessions.dedup_by_key(|session| session.session_id);
    Ok((sessions, ranges))
}

/// An archive that sessions are chosen from, and what they are called in it.
pub(super) struct Opened {
    pub(super) archive: Archive,
    pub(super) names: Vec<String>,
    /// Unpacked for as long as it is used.
    _reel: Option<Unpacked>,
}

/// Opens the archive; or where a reel is named, that. No reel is beside anything else: it is an archive of its own.
pub(super) fn open(context: &Context, names: &[String]) -> anyhow::Result<Opened> {
    let Some(name) = names.iter().find(|name| reel::is_reel(name)) else {
        return Ok(Opened { archive: context.archive()?, names: names.to_vec(), _reel: None });
    };
    if names.len() > 1 {
        let what =
            format!("{name} is an archive of its own: take it alone, or `telereel import {name}` first");
        return Err(Usage(what).into());
    }
    let unpacked = reel::open(Path::new(name))?;
    let archive = unpacked.archive().clone();
    let names = archive.list()?.iter().map(|session| session.session_id.to_string()).collect();
    Ok(Opened { archive, names, _reel: Some(unpacked) })
}

/// Tells what was left out, and with what that ends.
pub(super) fn skipped_told(context: &Context, skipped: &[SkippedSegment]) -> Outcome {
    for SkippedSegment { path, messages, what } in skipped {
        let count = human_count(*messages);
        context.screen.note(format!("damage: {count} messages of {path} are left out: {what}"));
    }
    if skipped.is_empty() { Outcome::Done } else { Outcome::Lossy }
}

/// Refuses what names neither a session nor, by its times alone, a stretch of the archive; needs no
/// archive for it.
pub(super) fn check(names: &[String], filters: &Filters) -> Result<(), Usage> {
    if !names.is_empty() {
        return Ok(());
    }
    let mut moments = filters.from.iter().chain(&filters.to);
    if moments.clone().next().is_none() {
        return Err(Usage(
            "which session? Give a name, an id or `latest` (see `telereel list`), or --from and --to".into(),
        ));
    }
    if moments.any(|moment| !moment.is_absolute()) {
        return Err(Usage("a time as in `+90s` counts from a session's start: which session?".into()));
    }
    Ok(())
}

/// Refuses names that nothing can have: what is removed by a misspelled one would pass for removed.
pub(super) fn require_known(
    archive: &Archive,
    vendors: &[String],
    sources: &[String],
    kinds: &[String],
) -> anyhow::Result<()> {
    let known_vendors: Vec<String> = VENDORS.iter().map(|vendor| (*vendor).to_owned()).collect();
    let known_sources: Vec<String> =
        archive.list()?.into_iter().flat_map(|session| session.sources).collect();
    let known_kinds = RefCell::new(COMMON_KINDS.map(str::to_owned).to_vec());
    archive.column_types_of(|_, kind| {
        known_kinds.borrow_mut().push(kind.to_owned());
        false
    })?;
    for (what, wanted, known) in [
        ("vendor", vendors, known_vendors),
        ("source", sources, known_sources),
        ("kind", kinds, known_kinds.into_inner()),
    ] {
        if let Some(wanted) = wanted.iter().find(|wanted| !known.contains(wanted)) {
            let near = nearest(wanted, known.iter().map(String::as_str));
            let near = near.map(|near| format!(": did you mean `{near}`?")).unwrap_or_default();
            return Err(Usage(format!("there is no {what} `{wanted}` in the archive{near}")).into());
        }
    }
    Ok(())
}

pub(super) fn bound(moment: Moment, now: Now) -> Bound {
    match moment {
        Moment::At(us) => Bound::Wall(us),
        Moment::AfterStart(duration) => Bound::Elapsed(duration.as_nanos() as u64),
        Moment::BeforeNow(duration) => Bound::Wall(now.wall_us - duration.as_micros() as i64),
    }
}

/// What of these sessions cannot be seen yet, and what makes it seen; none if there is nothing.
pub(super) fn unsealed(archive: &Archive, sessions: &[SessionSummary]) -> anyhow::Result<Option<String>> {
    let ids: Vec<_> = sessions.iter().map(|session| session.session_id).collect();
    let bytes = match archive.unsealed_bytes(&ids)? {
        0 => return Ok(None),
        bytes => human_size(bytes),
    };
    let names: Vec<&str> = sessions
        .iter()
        .filter(|session| archive.unsealed_bytes(&[session.session_id]).is_ok_and(|bytes| bytes > 0))
        .map(|session| session.name.as_str())
        .collect();
    let what_then = if archive.is_locked() {
        "a recorder is at work, they are sealed within segment_max_age or when it stops"
    } else {
        "no recorder is at work: `telereel recover` seals them"
    };
    Ok(Some(format!("{bytes} of {} are still in the journal and not shown: {what_then}", names.join(", "))))
}

impl Chosen {
    /// Leaves out what is damaged, if that is asked for.
    pub(super) fn skip_damaged(&mut self, skip: bool) {
        self.options.skipped = skip.then(Arc::default);
    }

    /// Of what was left out; see [`skipped_told`].
    pub(super) fn skipped(&self) -> Vec<SkippedSegment> {
        self.options.skipped.as_ref().map(|skipped| skipped.segments()).unwrap_or_default()
    }

    /// The first message; if there is none, the error says what there is. For before anything is done.
    pub(super) fn require_some(&self, archive: &Archive) -> anyhow::Result<Row> {
        match scan(archive, &self.options)?.next() {
            Some(first) => Ok(first?),
            None => bail!(self.what_there_is(archive)?),
        }
    }

    /// What is scanned from there on.
    pub(super) fn options_at(&self, position: Position) -> ScanOptions {
        let merged_from = match position {
            Position::Start => None,
            Position::At(ns) => Some(self.place_ns(ns)),
        };
        ScanOptions { merged_from, ..self.options.clone() }
    }

    /// What is so long after the earliest session's start, in nanoseconds since the Unix epoch.
    pub(super) fn place_ns(&self, ns: u64) -> i128 {
        i128::from(self.started_at_us()) * 1_000 + i128::from(ns)
    }

    /// Where the last message is, in nanoseconds since the earliest session's start. Where --where holds for none
    /// of the last hundred thousand, it is no later than this.
    pub(super) fn end_ns(&self, archive: &Archive) -> Result<Option<u64>, ArchiveError> {
        let start_ns = self.place_ns(0);
        let end_ns = end_of(archive, &self.options)?.and_then(|ns| u64::try_from(ns - start_ns).ok());
        Ok(end_ns)
    }

    /// Where a row lies, in nanoseconds since the earliest session's start.
    pub(super) fn recorded_ns(&self, row: &Row) -> u64 {
        let session = self.sessions.iter().find(|session| session.session_id == row.session_id);
        let started_at_us = session.map_or(self.started_at_us(), |session| session.started_at_us);
        let offset_us = started_at_us.abs_diff(self.started_at_us());
        offset_us.saturating_mul(1_000).saturating_add(row.elapsed_ns)
    }

    /// The start of the earliest session, in microseconds since the Unix epoch.
    fn started_at_us(&self) -> i64 {
        self.sessions.first().map_or(0, |session| session.started_at_us)
    }

    /// A word about the longest stretch between two sessions, where it is one that nobody wants to sit through
    /// unawares: a replay keeps it.
    pub(super) fn longest_gap(&self) -> Option<String> {
        let sessions = self.sessions.iter().map(|session| {
            let end_us = session.started_at_us.saturating_add((session.duration_ns / 1_000) as i64);
            (session.name.as_str(), session.started_at_us, end_us)
        });
        let (gap_us, before, after) = longest_gap(sessions, self.options.from, self.options.to)?;
        let gap = human_duration(gap_us.saturating_mul(1_000));
        Some(format!(
            "nothing was recorded for {gap} between {before} and {after}: the replay waits as long, in its speed; \
             --pace max does not, and one session at a time has no such gap"
        ))
    }

    /// For a selection that is empty: what could have been selected.
    fn what_there_is(&self, archive: &Archive) -> anyhow::Result<String> {
        let (mut sources, mut kinds, mut devices) = (Vec::new(), Vec::new(), Vec::new());
        let (mut vendors, mut names) = (Vec::new(), Vec::new());
        for session in &self.sessions {
            let info = archive.info(session.session_id)?;
            names.extend(info.source_counts.iter().map(|source| source.name.clone()));
            vendors.extend(info.source_counts.iter().map(|source| source.vendor.clone()));
            sources.extend(info.source_counts.iter().map(|s| format!("{} ({})", s.name, s.vendor)));
            kinds.extend(info.kinds.iter().map(|kind| kind.kind.clone()));
            devices.extend(info.devices.iter().map(|device| device.device_id.clone()));
        }
        let start = self.sessions.iter().map(|s| s.started_at_us).min();
        let end = self.sessions.iter().map(|s| s.started_at_us + (s.duration_ns / 1_000) as i64).max();
        let (Some(start), Some(end)) = (start, end) else {
            return Ok("nothing is selected: the archive holds no session yet".into());
        };
        let selection = &self.options.selection;
        let mut text = "nothing is selected".to_owned();
        for (what, wanted, there) in [
            ("source", &selection.sources, &names),
            ("vendor", &selection.vendors, &vendors),
            ("kind", &selection.kinds, &kinds),
            ("device", &selection.devices, &devices),
        ] {
            for wanted in wanted.iter().filter(|wanted| !there.contains(wanted)) {
                let near = nearest(wanted, there.iter().map(String::as_str))
                    .map(|near| format!(", did you mean `{near}`?"))
                    .unwrap_or_default();
                text.push_str(&format!("; no {what} `{wanted}`{near}"));
                if let Some(hint) = several(what, wanted, there) {
                    text.push_str(&hint);
                }
            }
        }
        for channel in &selection.channels {
            if let Some(glob) = glob_of(channel) {
                text.push_str(&format!(
                    "; --channel `{channel}` is matched by `*` and `?`, not as an MQTT filter: did you mean `{glob}`?"
                ));
            }
        }
        if self.options.predicate.is_some() {
            text.push_str("; --where holds for no message of what else is selected");
        }
        if let Some(unsealed) = unsealed(archive, &self.sessions)? {
            text.push_str(&format!("; {unsealed}"));
        }
        text.push_str(&format!("\nthere is:\ntime     {} to {}", format_time_s(start), format_time_s(end)));
        for (what, names) in [("sources", sources), ("kinds", kinds), ("devices", devices)] {
            text.push_str(&format!("\n{what:<8} {}", listed(names)));
        }
        Ok(text)
    }
}

/// For a list where one name is expected.
fn several(what: &str, wanted: &str, there: &[String]) -> Option<String> {
    let names: Vec<&str> = wanted.split(',').map(str::trim).collect();
    let is_list = names.len() > 1 && names.iter().any(|name| there.iter().any(|known| known == name));
    is_list.then(|| {
        let flags: Vec<String> = names.iter().map(|name| format!("--{what} {name}")).collect();
        format!(" (each by itself: {})", flags.join(" "))
    })
}

/// What an MQTT filter is as a glob, if it is one.
fn glob_of(channel: &str) -> Option<String> {
    let levels: Vec<&str> = channel.split('/').collect();
    let is_filter = levels.iter().any(|level| matches!(*level, "#" | "+"));
    is_filter.then(|| levels.iter().map(|level| level.replace(['#', '+'], "*")).collect::<Vec<_>>().join("/"))
}

/// The longest gap of at least [`GAP_TOLD_US`] between sessions (name, start, end), the earliest first, as far as
/// they lie between the bounds: its length in microseconds, and the sessions before and after it.
fn longest_gap<'s>(
    sessions: impl Iterator<Item = (&'s str, i64, i64)>,
    from: Option<Bound>,
    to: Option<Bound>,
) -> Option<(u64, &'s str, &'s str)> {
    let wall = |bound| match bound {
        Some(Bound::Wall(us)) => Some(us),
        _ => None,
    };
    let (from_us, to_us) = (wall(from).unwrap_or(i64::MIN), wall(to).unwrap_or(i64::MAX));
    let mut last: Option<(&str, i64)> = None;
    let mut longest: Option<(u64, &str, &str)> = None;
    for (name, start_us, end_us) in sessions.filter(|(_, start, end)| *end >= from_us && *start < to_us) {
        if let Some((before, until_us)) = last
            && let Ok(gap_us) = u64::try_from(start_us.saturating_sub(until_us))
            && gap_us >= longest.map_or(GAP_TOLD_US, |(known, ..)| known)
        {
            longest = Some((gap_us, before, name));
        }
        if last.is_none_or(|(_, until_us)| end_us > until_us) {
            last = Some((name, end_us));
        }
    }
    longest
}

fn listed(mut names: Vec<String>) -> String {
    names.sort();
    names.dedup();
    match names.len() {
        0 => "none".to_owned(),
        count if count > NAMED_MAX => {
            names.truncate(NAMED_MAX);
            format!("{}, … ({count})", names.join(", "))
        }
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_tools_lists_and_wildcards_are_recognized() {
        let there = ["alarm".to_owned(), "location".to_owned()];
        assert_eq!(
            several("kind", "alarm,location", &there).as_deref(),
            Some(" (each by itself: --kind alarm --kind location)")
        );
        assert_eq!((several("kind", "alarms", &there), several("kind", "a,b", &there)), (None, None));
        for (filter, glob) in
            [("upload/#", Some("upload/*")), ("a/+/b", Some("a/*/b")), ("a/*", None), ("a#", None)]
        {
            assert_eq!(glob_of(filter).as_deref(), glob, "{filter}");
        }
    }

    #[test]
    fn only_a_gap_of_an_hour_or_more_within_the_bounds_is_told() {
        const HOUR: i64 = 3_600_000_000;
        let sessions = [
            ("a", 0, HOUR),
            ("b", HOUR / 2, HOUR / 2 + 1),
            ("c", 3 * HOUR, 4 * HOUR),
            ("d", 9 * HOUR, 10 * HOUR),
        ];
        let gap = |from: Option<i64>, to: Option<i64>| {
            longest_gap(sessions.into_iter(), from.map(Bound::Wall), to.map(Bound::Wall))
        };
        assert_eq!(gap(None, None), Some((5 * HOUR as u64, "c", "d")));
        assert_eq!(gap(None, Some(8 * HOUR)), Some((2 * HOUR as u64, "a", "c")));
        assert_eq!(gap(Some(2 * HOUR), Some(8 * HOUR)), None);
        assert_eq!(gap(Some(11 * HOUR), None), None);
        let close = [("a", 0, HOUR), ("b", HOUR + 59 * 60_000_000, 3 * HOUR)];
        assert_eq!(longest_gap(close.into_iter(), None, None), None);
        assert_eq!(longest_gap(close.into_iter().take(1), None, None), None);
    }
}
