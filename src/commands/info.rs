//! `telereel info SESSION`: one session in detail.

use anyhow::bail;

use super::Outcome;
use super::context::Context;
use super::output::{Out, Table, print};
use super::selection::{open, skipped_told, unsealed};
use crate::archive::SessionInfo;
use crate::cli::Info;
use crate::units::{counted, format_time_s, format_time_us, human_count, human_duration, human_size};

/// Channels and devices that people are shown; `--json` has all.
const SHOWN_MAX: usize = 20;

pub(super) fn run(context: &Context, args: &Info) -> anyhow::Result<Outcome> {
    let opened = open(context, std::slice::from_ref(&args.session))?;
    let archive = &opened.archive;
    let [session] = &opened.names[..] else {
        let names: Vec<String> = archive.list()?.into_iter().map(|session| session.name).collect();
        let (reel, names) = (&args.session, names.join(", "));
        bail!("{reel} holds several sessions ({names}): `telereel import {reel}`, and ask for each");
    };
    let (session, _) = archive.resolve_stretch(session)?;
    let info = archive.info(session.session_id)?;
    print(context.json, &info, |out| for_people(out, &info))?;
    if let Some(unsealed) = unsealed(archive, &[session])? {
        context.screen.note(unsealed);
    }
    Ok(skipped_told(context, &info.unreadable))
}

fn for_people(out: &mut Out, info: &SessionInfo) -> anyhow::Result<()> {
    let summary = &info.summary;
    let ended = match (summary.ended_at_us, &summary.ended) {
        (Some(at), Some(how)) => format!("{} ({how})", format_time_us(at)),
        _ => "not yet".to_owned(),
    };
    out.line(format!("session   {} ({})", summary.name, summary.session_id))?;
    if !summary.site.is_empty() {
        out.line(format!("site      {}", summary.site))?;
    }
    match info.pseudonymized {
        Some(true) => out.line("names     pseudonyms: exported with --pseudonymize")?,
        Some(false) => {}
        None => out.line("names     perhaps pseudonyms: its sidecar was lost, which would tell")?,
    }
    out.line(format!("started   {}", format_time_us(summary.started_at_us)))?;
    out.line(format!("ended     {ended}"))?;
    out.line(format!("duration  {}", human_duration(summary.duration_ns)))?;
    out.line(format!(
        "messages  {}, {} as received, {} stored in {}",
        human_count(summary.messages),
        human_size(summary.bytes),
        human_size(summary.bytes_stored),
        counted(summary.segments, "segment")
    ))?;

    let mut sources =
        Table::new(&["source", "vendor", ">messages", ">bytes", ">duplicates", ">decode errors"]);
    for source in &info.source_counts {
        sources.row([
            source.name.clone(),
            source.vendor.clone(),
            human_count(source.messages),
            human_size(source.bytes),
            human_count(source.duplicates),
            human_count(source.decode_errors),
        ]);
    }
    section(out, &sources)?;

    let mut kinds = Table::new(&["vendor", "kind", ">messages", ">bytes", ">stored", "first", "last"]);
    for kind in &info.kinds {
        kinds.row([
            kind.vendor.clone(),
            kind.kind.clone(),
            human_count(kind.messages),
            human_size(kind.bytes),
            human_size(kind.bytes_stored),
            format_time_s(kind.first_received_at_us),
            format_time_s(kind.last_received_at_us),
        ]);
    }
    section(out, &kinds)?;

    let mut channels = Table::new(&["source", "channel", ">messages"]);
    for channel in info.channels.iter().take(SHOWN_MAX) {
        channels.row([channel.source.clone(), channel.channel.clone(), human_count(channel.messages)]);
    }
    section(out, &channels)?;
    more(out, info.channels.len())?;

    let mut devices = Table::new(&["source", "device", ">messages"]);
    for device in info.devices.iter().take(SHOWN_MAX) {
        devices.row([device.source.clone(), device.device_id.clone(), human_count(device.messages)]);
    }
    section(out, &devices)?;
    more(out, info.devices.len())?;

    let mut gaps = Table::new(&["source", "gap from", "to", ">duration", "reason"]);
    for gap in &info.gaps {
        gaps.row([
            gap.device_id.as_ref().map_or_else(|| gap.source.clone(), |id| format!("{} {id}", gap.source)),
            format_time_us(gap.started_at_us),
            gap.ended_at_us.map_or_else(|| "the end".to_owned(), format_time_us),
            gap.duration_ns.map(human_duration).unwrap_or_default(),
            gap.reason.clone().unwrap_or_default(),
        ]);
    }
    section(out, &gaps)?;

    let mut clips = Table::new(&["clip", ">first", ">last", "note"]);
    for clip in &info.clips {
        clips.row([
            clip.name.clone(),
            clip.seq_from.to_string(),
            clip.seq_to.saturating_sub(1).to_string(),
            clip.note.clone().unwrap_or_default(),
        ]);
    }
    section(out, &clips)?;

    let mut marks = Table::new(&["marked at", ">after", "note"]);
    for mark in &info.marks {
        marks.row([format_time_us(mark.at_us), human_duration(mark.elapsed_ns), mark.note.clone()]);
    }
    section(out, &marks)?;

    let mut unknown =
        Table::new(&["vendor", "kind", "field without a column", "type", ">seen in", ">of examined"]);
    for field in &info.unknown_fields {
        unknown.row([
            field.vendor.clone(),
            field.kind.clone(),
            field.path.clone(),
            field.json_type.to_owned(),
            human_count(field.messages),
            human_count(field.examined),
        ]);
    }
    section(out, &unknown)?;
    if !info.unknown_fields.is_empty() {
        out.line("these are in the payloads only: has the vendor's interface changed?")?;
    }
    Ok(())
}

/// A table after an empty line; nothing where it has no rows.
fn section(out: &mut Out, table: &Table) -> anyhow::Result<()> {
    if table.is_empty() {
        return Ok(());
    }
    out.line("")?;
    table.print(out)
}

fn more(out: &mut Out, count: usize) -> anyhow::Result<()> {
    match count.saturating_sub(SHOWN_MAX) {
        0 => Ok(()),
        more => out.line(format!("… and {} more: --json shows all", human_count(more as u64))),
    }
}
