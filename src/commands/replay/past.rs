//! `--outages` and `--state`: what a replay makes of the recording's past.

use std::sync::Arc;

use super::super::context::Context;
use super::super::selection::Chosen;
use crate::archive::{Archive, ArchiveError, Bound, Scan, ScanOptions, SessionSummary, envelopes, scan};
use crate::cli::Replay;
use crate::message::{Row, Selection, SourceHeader};
use crate::player::{
    Cuts, Endpoints, Outage, Outages, OutagesWanted, Pace, PlayOptions, RowsBefore, StateKinds, StateOptions,
};
use crate::transport::fanout::Down;
use crate::units::human_duration;

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
            let cuts = cuts(archive, chosen, options.zero_ns, longest_ns)?;
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
        options.state = Some(state(archive, chosen, sources, options.zero_ns));
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
) -> Result<Cuts, ArchiveError> {
    let offsets: Vec<_> = laid(chosen).map(|(session, offset_ns)| (session.session_id, offset_ns)).collect();
    let moments = envelopes(archive, &chosen.options)?.map(|row| {
        let row = row?;
        let offset_ns = offsets.iter().find(|(id, _)| *id == row.session_id).map_or(0, |(_, ns)| *ns);
        Ok(offset_ns.saturating_add(row.elapsed_ns))
    });
    Cuts::new(moments, zero_ns, longest_ns)
}

/// What is known at any moment: looked up in the selected sessions that are not over when the replay begins.
fn state(archive: &Archive, chosen: &Chosen, sources: &[SourceHeader], zero_ns: Option<u64>) -> StateOptions {
    let StateKinds { set, end } = StateKinds::of(sources, &chosen.options.selection.kinds);
    let sessions: Vec<_> = laid(chosen)
        .filter(|(session, offset_ns)| {
            zero_ns.is_none_or(|zero_ns| offset_ns.saturating_add(session.duration_ns) >= zero_ns)
        })
        .map(|(session, offset_ns)| (session.session_id, offset_ns))
        .collect();
    let set = ScanOptions {
        from: None,
        selection: Selection { kinds: set, ..chosen.options.selection.clone() },
        ..chosen.options.clone()
    };
    // What is lost is lost, whatever else is asked of the messages that are told.
    let end = ScanOptions {
        selection: Selection {
            kinds: end,
            devices: Vec::new(),
            channels: Vec::new(),
            ..set.selection.clone()
        },
        predicate: None,
        ..set.clone()
    };
    let archive = archive.clone();
    let before = move |before_ns: u64| -> Result<RowsBefore, _> {
        let mut rows: RowsBefore = Box::new(std::iter::empty());
        for (session_id, offset_ns) in sessions.iter().filter(|(_, offset_ns)| *offset_ns < before_ns) {
            let open = |options: &ScanOptions| -> Result<Option<Scan>, ArchiveError> {
                // An empty list of kinds would be all of them.
                if options.selection.kinds.is_empty() {
                    return Ok(None);
                }
                let to = Some(Bound::Elapsed(before_ns - offset_ns));
                scan(&archive, &ScanOptions { sessions: vec![*session_id], to, ..options.clone() }).map(Some)
            };
            let of_session = in_order(open(&set)?.into_iter().flatten(), open(&end)?.into_iter().flatten());
            rows = Box::new(rows.chain(of_session.map(|row| row.map_err(Into::into))));
        }
        Ok(rows)
    };
    StateOptions { sources: sources.into(), before: Arc::new(before) }
}

/// Rows of one session, from two scans, in the order of the session.
fn in_order<E>(
    one: impl Iterator<Item = Result<Row, E>>,
    other: impl Iterator<Item = Result<Row, E>>,
) -> impl Iterator<Item = Result<Row, E>> {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    std::iter::from_fn(move || match (one.peek(), other.peek()) {
        (Some(Ok(first)), Some(Ok(second))) if second.seq < first.seq => other.next(),
        (Some(Ok(_)), Some(Err(_))) | (None, _) => other.next(),
        _ => one.next(),
    })
}

#[cfg(test)]
mod tests;
