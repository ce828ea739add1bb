//! What was recorded when: the stretches of time that are looked at, and the outages in them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::archive::Archive;
use crate::archive::error::ArchiveError;
use crate::archive::gaps::Gap;
use crate::archive::scan::{Bound, ScanOptions, Stretch, envelopes};
use crate::archive::time::rfc3339_us;
use crate::index::SessionRow;
use crate::message::SessionId;

/// A stretch of a session, from where it is looked at up to there: to its last message of any kind, or the time that
/// was asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Window {
    pub name: String,
    pub session_id: SessionId,
    #[serde(rename = "from", with = "rfc3339_us")]
    pub from_us: i64,
    #[serde(rename = "to", with = "rfc3339_us")]
    pub to_us: i64,
    /// By the steady clock.
    pub recorded_us: u64,
    #[serde(skip)]
    pub(super) from_ns: u64,
    #[serde(skip)]
    pub(super) to_ns: u64,
    /// Name and vendor.
    #[serde(skip)]
    pub(super) sources: BTreeSet<(String, String)>,
}

/// A time in which nothing could come of a source, as far as it lies in what is looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outage {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    #[serde(rename = "from", with = "rfc3339_us")]
    pub from_us: i64,
    #[serde(rename = "to", with = "rfc3339_us")]
    pub to_us: i64,
    pub lasted_us: u64,
    pub planned: bool,
    /// `not connected`, or `not recorded`: no recorder ran that had this source.
    pub what: &'static str,
    /// What the vendor or the network said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

pub(super) const NOT_CONNECTED: &str = "not connected";
const NOT_RECORDED: &str = "not recorded";

/// The window of each stretch, in their order; none where nothing of it is looked at.
pub(super) fn windows(
    archive: &Archive,
    options: &ScanOptions,
    stretches: &[Stretch],
) -> Result<Vec<Option<Window>>, ArchiveError> {
    let index = archive.catalog()?;
    let mut windows = Vec::new();
    for Stretch { session, seqs, .. } in stretches {
        let segments = index.segments(session.session_id)?;
        let end_ns = segments.iter().map(|segment| segment.elapsed_max_ns).max().unwrap_or(0);
        let (from_ns, to_ns) = if options.ranges.iter().any(|(of, _)| *of == session.session_id) {
            let at = |seq| elapsed_at(archive, options, session.session_id, seq);
            (at(seqs.start)?.unwrap_or(end_ns), at(seqs.end)?.unwrap_or(end_ns))
        } else {
            let at = |bound| moment_ns(session, bound).min(end_ns);
            (options.from.map_or(0, at), options.to.map_or(end_ns, at))
        };
        let is_seen = seqs.start < seqs.end && from_ns <= to_ns && !segments.is_empty();
        let wall = |ns: u64| session.started_at_us.saturating_add((ns / 1_000) as i64);
        windows.push(is_seen.then(|| Window {
            name: session.name.clone(),
            session_id: session.session_id,
            from_us: wall(from_ns),
            to_us: wall(to_ns),
            recorded_us: (to_ns - from_ns) / 1_000,
            from_ns,
            to_ns,
            sources: session.sources.iter().map(|s| (s.name.clone(), s.vendor.clone())).collect(),
        }));
    }
    Ok(windows)
}

/// When the first row from `seq` on came.
fn elapsed_at(
    archive: &Archive,
    options: &ScanOptions,
    session_id: SessionId,
    seq: u64,
) -> Result<Option<u64>, ArchiveError> {
    let from = ScanOptions {
        sessions: vec![session_id],
        ranges: vec![(session_id, seq..u64::MAX)],
        skipped: options.skipped.clone(),
        ..ScanOptions::default()
    };
    envelopes(archive, &from)?.next().map(|row| Ok(row?.elapsed_ns)).transpose()
}

fn moment_ns(session: &SessionRow, bound: Bound) -> u64 {
    match bound {
        Bound::Elapsed(ns) => ns,
        Bound::Wall(us) => u64::try_from(us - session.started_at_us).unwrap_or(0).saturating_mul(1_000),
        // Nobody asks for numbers.
        Bound::Seq(_) => 0,
    }
}

/// The outages of each source (name and vendor) in the windows, in the order of their starts.
pub(super) fn outages(
    archive: &Archive,
    windows: &[Window],
) -> Result<BTreeMap<(String, String), Vec<Outage>>, ArchiveError> {
    let mut found: BTreeMap<(String, String), Vec<Outage>> = BTreeMap::new();
    let index = archive.catalog()?;
    for window in windows {
        for gap in archive.gaps(window.session_id)? {
            let Some(of) = window.sources.iter().find(|(name, _)| *name == gap.source) else { continue };
            found.entry(of.clone()).or_default().extend(inside(gap, window));
        }
    }
    let from_us = windows.iter().map(|window| window.from_us).min();
    let to_us = windows.iter().map(|window| window.to_us).max();
    if let (Some(from_us), Some(to_us)) = (from_us, to_us) {
        let sources: BTreeSet<_> = windows.iter().flat_map(|window| &window.sources).collect();
        for (of, outage) in not_recorded(&index.sessions()?) {
            let (from_us, to_us) = (outage.from_us.max(from_us), outage.to_us.min(to_us));
            if from_us < to_us && sources.contains(&of) {
                let lasted_us = (to_us - from_us).unsigned_abs();
                found.entry(of).or_default().push(Outage { from_us, to_us, lasted_us, ..outage });
            }
        }
    }
    found.values_mut().for_each(|outages| outages.sort_by_key(|outage| outage.from_us));
    Ok(found)
}

/// What of a gap lies in a window.
fn inside(gap: Gap, window: &Window) -> Option<Outage> {
    let ended_ns = gap.duration_ns.map(|duration_ns| gap.started_ns.saturating_add(duration_ns));
    let from_ns = gap.started_ns.max(window.from_ns);
    let to_ns = ended_ns.unwrap_or(u64::MAX).min(window.to_ns);
    if to_ns < from_ns || (to_ns == from_ns && window.from_ns < window.to_ns && gap.started_ns < from_ns) {
        return None;
    }
    let later_us = (from_ns - gap.started_ns) / 1_000;
    let from_us = gap.started_at_us.saturating_add(later_us as i64);
    let lasted_us = (to_ns - from_ns) / 1_000;
    let to_us = from_us.saturating_add(lasted_us as i64);
    let Gap { device_id, planned, reason, .. } = gap;
    Some(Outage { device_id, from_us, to_us, lasted_us, planned, what: NOT_CONNECTED, reason })
}

/// From one session's end to the start of the next one that has the source, as the view `outages` has it.
fn not_recorded(sessions: &[SessionRow]) -> Vec<((String, String), Outage)> {
    let mut by_source: BTreeMap<(&str, &str, &str), Vec<&SessionRow>> = BTreeMap::new();
    for session in sessions {
        for source in &session.sources {
            by_source.entry((&source.name, &source.vendor, &session.site)).or_default().push(session);
        }
    }
    let mut found = Vec::new();
    for ((name, vendor, _), mut sessions) in by_source {
        sessions.sort_by_key(|session| (session.started_at_us, session.session_id));
        // Of those so far, the one that ended last: they may have run side by side.
        let mut last: Option<(i64, bool)> = None;
        for session in sessions {
            if let Some((until_us, planned)) = last
                && until_us < session.started_at_us
            {
                let outage = Outage {
                    device_id: None,
                    from_us: until_us,
                    to_us: session.started_at_us,
                    lasted_us: until_us.abs_diff(session.started_at_us),
                    planned,
                    what: NOT_RECORDED,
                    reason: None,
                };
                found.push(((name.to_owned(), vendor.to_owned()), outage));
            }
            let ended = session.ended_at_us.unwrap_or(i64::MAX);
            if last.is_none_or(|(until_us, _)| ended > until_us) {
                last = Some((ended, session.ended.as_deref() == Some("stopped")));
            }
        }
    }
    found
}
