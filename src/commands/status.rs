//! `telereel status`: asks a running recorder how it is doing.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use hyper::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Outcome;
use super::context::Context;
use super::output::{Out, Table, print};
use super::recorder_api::ask;
use crate::cli::Status;
use crate::units::{counted, human_count, human_duration, human_size};

/// What is shown of the answer; there is more in it, which `--json` passes on.
#[derive(Deserialize)]
struct Answer {
    session: String,
    started_at: String,
    duration_ns: u64,
    archive: String,
    sources: Vec<SourceAnswer>,
    journal: JournalAnswer,
    bytes_stored: u64,
    segments: u64,
    seal_error: Option<String>,
    damage: Option<DamageAnswer>,
    upkeep: Option<UpkeepAnswer>,
    disk_free_bytes: Option<u64>,
    disk_left_days: Option<f64>,
}

#[derive(Deserialize)]
struct DamageAnswer {
    detail: String,
}

#[derive(Deserialize)]
struct UpkeepAnswer {
    state: String,
    waits: bool,
    last_run_at: Option<String>,
    next_run_at: Option<String>,
    pruned_messages: u64,
    pruned_bytes: u64,
    compacted_sessions: u64,
    above_max: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct JournalAnswer {
    durable: Option<DurableAnswer>,
    waiting_messages: u64,
    lag_ns: u64,
    error: Option<String>,
}

#[derive(Deserialize)]
struct DurableAnswer {
    seq: u64,
    received_at: String,
}

#[derive(Deserialize)]
struct SourceAnswer {
    name: String,
    vendor: String,
    state: String,
    messages: u64,
    /// Messages per second.
    rate: f64,
    last_message_at: Option<String>,
    silent_ns: Option<u64>,
    lag_ms: Option<i64>,
    disconnects: u64,
    gap_ns: u64,
    dropped: u64,
    refused: u64,
    last_error: Option<String>,
    gave_up: Option<String>,
}

pub(super) fn run(context: &Context, _args: &Status) -> anyhow::Result<Outcome> {
    let console = context.console()?;
    let asked = ask(&console, Method::GET, "status", Bytes::new());
    let answer = super::runtime()?.block_on(asked)?;
    if answer.status != 200 {
        bail!("what answers at {} is no recorder: it answered {}", console.listen, answer.status);
    }
    let body = answer.body;
    let not_ours = || format!("what answers at {} is no recorder of this version", console.listen);
    let document: &RawValue = serde_json::from_slice(&body).with_context(not_ours)?;
    let answer: Answer = serde_json::from_slice(&body).with_context(not_ours)?;
    print(context.json, &document, |out| for_people(out, &answer))?;
    Ok(Outcome::Done)
}

/// A vendor's clock may be ahead of ours: then the lag is below zero.
fn lag(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    format!("{sign}{}", human_duration(ms.unsigned_abs().saturating_mul(1_000_000)))
}

/// What upkeep does, has done, and met.
fn upkeep(upkeep: &UpkeepAnswer) -> String {
    let waits = if upkeep.waits { ", waits" } else { "" };
    let at =
        |text: &str, at: &Option<String>| at.as_ref().map(|at| format!("; {text} {at}")).unwrap_or_default();
    let above = upkeep.above_max.as_ref();
    let above = above.map(|above| format!("; above retain_max_bytes: {above}")).unwrap_or_default();
    let error = upkeep.error.as_ref().map(|error| format!("; {error}")).unwrap_or_default();
    format!(
        "upkeep {}{waits}: {} compacted, {} ({}) pruned{}{}{above}{error}",
        upkeep.state,
        counted(upkeep.compacted_sessions, "session"),
        counted(upkeep.pruned_messages, "message"),
        human_size(upkeep.pruned_bytes),
        at("last", &upkeep.last_run_at),
        at("next", &upkeep.next_run_at)
    )
}

/// What a power cut would not take, and what it would.
fn durable(journal: &JournalAnswer) -> String {
    let Some(DurableAnswer { seq, received_at }) = &journal.durable else {
        return "nothing is on disk yet".to_owned();
    };
    let waiting = match journal.waiting_messages {
        0 => String::new(),
        n => format!("; {} more, the oldest for {}", human_count(n), human_duration(journal.lag_ns)),
    };
    format!("durable up to seq {seq}, received {received_at}{waiting}")
}

fn for_people(out: &mut Out, answer: &Answer) -> anyhow::Result<()> {
    out.line(format!(
        "session {} is being recorded into {}\nsince the recorder was started, {} ago at {}:",
        answer.session,
        answer.archive,
        human_duration(answer.duration_ns),
        answer.started_at
    ))?;
    let mut table = Table::new(&[
        "source",
        "vendor",
        "state",
        "last message",
        ">ago",
        ">messages",
        ">per second",
        ">lag",
        ">gaps",
        ">down",
        ">dropped",
        ">refused",
        "error",
    ]);
    for source in &answer.sources {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        table.row([
            source.name.clone(),
            source.vendor.clone(),
            source.state.clone(),
            or_none(source.last_message_at.clone()),
            or_none(source.silent_ns.map(human_duration)),
            human_count(source.messages),
            format!("{:.1}", source.rate),
            or_none(source.lag_ms.map(lag)),
            source.disconnects.to_string(),
            human_duration(source.gap_ns),
            human_count(source.dropped),
            human_count(source.refused),
            source.gave_up.clone().or_else(|| source.last_error.clone()).unwrap_or_default(),
        ]);
    }
    table.print(out)?;
    let left = match answer.disk_left_days {
        Some(days) => format!(", enough for {days:.1} days at this rate"),
        None => String::new(),
    };
    let free = answer.disk_free_bytes.map_or("unknown".to_owned(), human_size);
    out.line(format!(
        "{} in {} stored; {free} of disk left{left}",
        human_size(answer.bytes_stored),
        counted(answer.segments, "segment")
    ))?;
    out.line(durable(&answer.journal))?;
    if let Some(told) = &answer.upkeep {
        out.line(upkeep(told))?;
    }
    if let Some(damage) = &answer.damage {
        out.line(format!("damage: {}; `telereel verify` tells more", damage.detail))?;
    }
    if let Some(error) = &answer.journal.error {
        out.line(format!("nothing is recorded: {error}"))?;
    }
    match &answer.seal_error {
        Some(error) => out.line(format!("sealing fails, everything is kept in the journal: {error}")),
        None => Ok(()),
    }
}
