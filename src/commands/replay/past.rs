//! `--outages` and `--state`: what a replay makes of the recording's past.

use std::sync::Arc;

use super::super::context::Context;
use super::super::selection::Chosen;
use crate::archive::{Archive, ArchiveError, Bound, ScanOptions, SessionSummary, envelopes, scan};
use crate::cli::Replay;
use crate::message::{Selection, SourceHeader};
use crate::player::{
    Cuts, Endpoints, Outage, Outages, OutagesWanted, PlayOptions, RowsBefore, StateOptions, has_state_part,
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
    let mut kinds = has_state_part(sources);
    let selected = &chosen.options.selection.kinds;
    kinds.retain(|kind| selected.is_empty() || selected.contains(kind));
    let sessions: Vec<_> = laid(chosen)
        .filter(|(session, offset_ns)| {
            zero_ns.is_none_or(|zero_ns| offset_ns.saturating_add(session.duration_ns) >= zero_ns)
        })
        .map(|(session, offset_ns)| (session.session_id, offset_ns))
        .collect();
    let options = ScanOptions {
        from: None,
        selection: Selection { kinds, ..chosen.options.selection.clone() },
        ..chosen.options.clone()
    };
    let archive = archive.clone();
    let before = move |before_ns: u64| -> Result<RowsBefore, _> {
        let mut rows: RowsBefore = Box::new(std::iter::empty());
        // An empty list of kinds would be all of them.
        let sessions = sessions.iter().filter(|_| !options.selection.kinds.is_empty());
        for (session_id, offset_ns) in sessions.filter(|(_, offset_ns)| *offset_ns < before_ns) {
            let to = Some(Bound::Elapsed(before_ns - offset_ns));
            let options = ScanOptions { sessions: vec![*session_id], to, ..options.clone() };
            rows = Box::new(rows.chain(scan(&archive, &options)?.map(|row| row.map_err(Into::into))));
        }
        Ok(rows)
    };
    StateOptions { sources: sources.into(), before: Arc::new(before) }
}
