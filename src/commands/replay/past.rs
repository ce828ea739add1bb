//! `--outages` and `--state`: what a replay makes of the recording's past.

use std::collections::HashMap;
use std::iter;
use std::sync::Arc;

use super::super::Usage;
use super::super::context::Context;
use super::super::selection::Chosen;
use crate::archive::{
    Archive, ArchiveError, Scan, ScanOptions, SessionSummary, envelopes, last_rows_from, scan,
};
use crate::cli::Replay;
use crate::message::{Row, Selection, SessionId, SourceHeader};
use crate::player::{
    Cuts, Endpoints, Outage, Outages, OutagesWanted, Pace, PlayOptions, RowsBefore, StateOptions, state_kinds,
};
use crate::transport::fanout::Down;
use crate::units::human_duration;

/// Of each kind, so many of the last messages are looked at for what is known at a place, and what more is in the
/// files of these: a seek costs a second or two at most, however long the recording is.
const STATE_ROWS: u64 = 1_000_000;

/// Has `endpoints` and `options` do what was asked for; `sources` are those of the sessions.
pub(super) fn apply(
    context: &Context,
    (archive, chosen): (&Archive, &Chosen),
    sources: &[SourceHeader],
    endpoints: &Endpoints,
    options: &mut PlayOptions,
    args: &Replay,
) -> anyhow::Result<()> {
    options.outages = match args.outages {
        OutagesWanted::Silence => Outages::Silence,
        OutagesWanted::Reproduce => {
            let sharing = endpoints.reproduce_outages(sources, &chosen.options.selection);
            if !sharing.is_empty() && (endpoints.mqtt_url().is_some() || endpoints.http_url().is_some()) {
                context.screen.note(format!(
                    "warning: {} share the MQTT endpoints, which cannot be closed for one of them: their \
                     outages are silence there; one source at a time (--source) has its outages",
                    sharing.join(", ")
                ));
            }
            if options.pace != Pace::Original {
                context.screen.note(
                    "warning: only --pace original keeps outages as long as they were; at another a client that \
                     loses its connection misses what is sent while it comes back",
                );
            }
            Outages::Reproduce(recorded(archive, chosen)?)
        }
        OutagesWanted::Skip(longest) => {
            let longest_ns = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
            let cuts = cuts(archive, chosen, options.zero_ns, longest_ns)?.ok_or_else(|| {
                Usage(format!(
                    "there are millions of gaps longer than {}: cut only longer ones, as in --outages skip=2s, or \
                     let --pace max keep no time at all",
                    human_duration(longest_ns)
                ))
            })?;
            if let (count @ 1.., cut_ns) = cuts.total() {
                let gaps = if count == 1 { "one gap is" } else { &format!("{count} gaps are") };
                context.screen.note(format!("{gaps} cut, by {} in all", human_duration(cut_ns)));
            }
            options.end_ns = options.end_ns.map(|end_ns| cuts.played_ns(end_ns));
            Outages::Skip(cuts)
        }
    };
    if args.state {
        endpoints.keep_state();
        options.state = Some(state(archive, chosen, sources, options.zero_ns, STATE_ROWS));
    }
    Ok(())
}

/// Sessions, and where each begins on the line that starts with the earliest.
fn laid(chosen: &Chosen) -> impl Iterator<Item = (&SessionSummary, u64)> {
    let earliest_us = chosen.sessions.iter().map(|session| session.started_at_us).min().unwrap_or(0);
    let offset_ns =
        move |session: &SessionSummary| session.started_at_us.abs_diff(earliest_us).saturating_mul(1_000);
    chosen.sessions.iter().map(move |session| (session, offset_ns(session)))
}

/// The outages as they were recorded. One connection that takes over from another is none, and one that
/// outlasted its session ends with it: what came then is not known.
fn recorded(archive: &Archive, chosen: &Chosen) -> anyhow::Result<Vec<Outage>> {
    let mut outages = Vec::new();
    for (session, offset_ns) in laid(chosen) {
        for gap in archive.gaps(session.session_id)?.into_iter().filter(|gap| !gap.planned) {
            let end_ns = gap.duration_ns.map(|ns| gap.started_ns.saturating_add(ns));
            outages.push(Outage {
                what: Down { source: gap.source.into(), device: gap.device_id.map(Into::into) },
                from_ns: offset_ns.saturating_add(gap.started_ns),
                to_ns: offset_ns.saturating_add(end_ns.unwrap_or(session.duration_ns)),
            });
        }
    }
    Ok(outages)
}

/// Where the selection is to be shortened: needs a look at the times of all of it.
fn cuts(
    archive: &Archive,
    chosen: &Chosen,
    zero_ns: Option<u64>,
    longest_ns: u64,
) -> Result<Option<Cuts>, ArchiveError> {
    let offsets: Vec<_> = laid(chosen).map(|(session, offset_ns)| (session.session_id, offset_ns)).collect();
    let moments = envelopes(archive, &chosen.options)?.map(|row| {
        let row = row?;
        let offset_ns = offsets.iter().find(|(id, _)| *id == row.session_id).map_or(0, |(_, ns)| *ns);
        Ok(offset_ns.saturating_add(row.elapsed_ns))
    });
    Cuts::new(moments, zero_ns, longest_ns)
}

/// What is known at any moment: looked up in the selected sessions that are not over when the replay begins, among at
/// least the last `rows_max` messages of each kind before it.
fn state(
    archive: &Archive,
    chosen: &Chosen,
    sources: &[SourceHeader],
    zero_ns: Option<u64>,
    rows_max: u64,
) -> StateOptions {
    let selection = &chosen.options.selection;
    let kinds = state_kinds(sources, &selection.kinds);
    let sessions: Vec<_> = laid(chosen)
        .filter(|(session, offset_ns)| {
            zero_ns.is_none_or(|zero_ns| offset_ns.saturating_add(session.duration_ns) >= zero_ns)
        })
        .map(|(session, _)| session.session_id)
        .collect();
    let of =
        |kind: &String, selection: &Selection| Selection { kinds: vec![kind.clone()], ..selection.clone() };
    // What is lost is lost, whatever else is asked of the messages that are told.
    let any = Selection { devices: Vec::new(), channels: Vec::new(), ..selection.clone() };
    let is_filtered = *selection != Selection { kinds: Vec::new(), ..any.clone() } || chosen.options.predicate.is_some()
        // What is between two clips.
        || !chosen.options.ranges.is_empty();
    let unfiltered = ScanOptions { predicate: None, ..chosen.options.clone() };

    let ending: Vec<String> = kinds.values().flatten().cloned().collect();
    let ends = (is_filtered && !ending.is_empty()).then(|| {
        let options = ScanOptions {
            selection: Selection { kinds: ending, ..any.clone() },
            ranges: Vec::new(),
            ..unfiltered.clone()
        };
        let (archive, start_ns) = (archive.clone(), chosen.place_ns(0));
        let open = move |from_ns: u64| -> Result<RowsBefore, _> {
            let merged_from = Some(start_ns + i128::from(from_ns));
            let rows = scan(&archive, &ScanOptions { merged_from, ..options.clone() })?;
            Ok(Box::new(rows.map(|row| row.map_err(Into::into))))
        };
        Arc::new(open) as Arc<_>
    });

    let wanted: Vec<(ScanOptions, Vec<ScanOptions>)> = kinds
        .iter()
        .map(|(kind, ended_by)| {
            let set = ScanOptions { selection: of(kind, selection), ..chosen.options.clone() };
            let end = |kind| ScanOptions { selection: of(kind, &any), ..unfiltered.clone() };
            (set, ended_by.iter().map(end).collect())
        })
        .collect();
    let (archive, start_ns) = (archive.clone(), chosen.place_ns(0));
    let offsets_ns: HashMap<_, _> = laid(chosen).map(|(session, ns)| (session.session_id, ns)).collect();
    let before = move |before_ns: u64| -> Result<RowsBefore, _> {
        let mut scans = Vec::new();
        // No session at all would be all of them.
        let wanted = if sessions.is_empty() { &[][..] } else { &wanted[..] };
        let merged_to = Some(start_ns + i128::from(before_ns));
        for (set, end) in wanted {
            let upto = |options: &ScanOptions| ScanOptions {
                sessions: sessions.clone(),
                from: None,
                ranges: Vec::new(),
                merged_to,
                ..options.clone()
            };
            let set = upto(set);
            let merged_from = last_rows_from(&archive, &set, rows_max)?;
            for options in iter::once(set).chain(end.iter().map(upto)) {
                scans.push(scan(&archive, &ScanOptions { merged_from, ..options })?);
            }
        }
        Ok(Box::new(merged(scans, offsets_ns.clone()).map(|row| row.map_err(Into::into))))
    };
    StateOptions { sources: sources.into(), before: Arc::new(before), ends }
}

/// Rows of several scans as sessions merge, which lie so far apart.
fn merged(
    scans: Vec<Scan>,
    offsets_ns: HashMap<SessionId, u64>,
) -> impl Iterator<Item = Result<Row, ArchiveError>> + Send {
    let mut scans: Vec<_> = scans.into_iter().map(Iterator::peekable).collect();
    iter::from_fn(move || {
        let place = |row: &Row| {
            let offset_ns = offsets_ns.get(&row.session_id).copied().unwrap_or(0);
            (offset_ns.saturating_add(row.elapsed_ns), row.session_id, row.seq)
        };
        // An error, which has no place, is first.
        let next = scans.iter_mut().enumerate();
        let next = next.filter_map(|(n, scan)| Some((scan.peek()?.as_ref().ok().map(place), n))).min();
        scans[next?.1].next()
    })
}

#[cfg(test)]
mod tests;
