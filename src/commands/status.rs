//! `telereel status`: asks a running recorder how it is doing.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use hyper::Method;
use hyper::header::{AUTHORIZATION, HeaderValue};
use serde::Deserialize;
use serde_json::value::RawValue;
use url::Url;

use super::Outcome;
use super::context::Context;
use super::output::{Out, Table, print};
use crate::cli::Status;
use crate::config::Console;
use crate::transport::http_client::{HttpCall, HttpError, call};
use crate::transport::tls::{Trust, client_config};
use crate::units::{human_count, human_duration, human_size};

/// A recorder answers from memory: whoever needs longer is not one.
const PATIENCE: Duration = Duration::from_secs(5);

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
    disk_free_bytes: Option<u64>,
    disk_left_days: Option<f64>,
}

#[derive(Deserialize)]
struct JournalAnswer {
    error: Option<String>,
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
    let body = super::runtime()?.block_on(ask(&console))?;
    let not_ours = || format!("what answers at {} is no recorder of this version", console.listen);
    let document: &RawValue = serde_json::from_slice(&body).with_context(not_ours)?;
    let answer: Answer = serde_json::from_slice(&body).with_context(not_ours)?;
    print(context.json, &document, |out| for_people(out, &answer))?;
    Ok(Outcome::Done)
}

async fn ask(console: &Console) -> anyhow::Result<Bytes> {
    let scheme = if console.tls.is_some() { "https" } else { "http" };
    let url = Url::parse(&format!("{scheme}://{}/api/v1/status", dialable(&console.listen)))?;
    // The certificate is the one that the recorder of this configuration serves.
    let trust = console.tls.as_ref().map_or(Trust::System, |tls| Trust::Authority(tls.cert.clone()));
    let mut headers = Vec::new();
    if let Some(token) = &console.token {
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose()))
            .context("the token of [console] cannot be sent in a header")?;
        value.set_sensitive(true);
        headers.push((AUTHORIZATION, value));
    }
    let request = HttpCall { method: Method::GET, url, headers, body: Bytes::new(), timeout: PATIENCE };
    let answer = match call(request, &client_config(&trust)?).await {
        Ok(answer) => answer,
        Err(error @ HttpError::Dial(_)) => {
            let what = format!(
                "no recorder is running at {}: start one with `telereel record`, or name its configuration with -c",
                console.listen
            );
            return Err(anyhow::Error::new(error).context(what));
        }
        Err(error) => return Err(error.into()),
    };
    match answer.status {
        200 => Ok(answer.body),
        401 | 403 => bail!("the recorder at {} does not accept the token of [console]", console.listen),
        status => bail!("what answers at {} is no recorder: it answered {status}", console.listen),
    }
}

/// Where to connect to for an address that is listened on: "all addresses" is none to dial.
fn dialable(listen: &str) -> String {
    match listen.rsplit_once(':') {
        Some(("0.0.0.0", port)) => format!("127.0.0.1:{port}"),
        Some(("[::]", port)) => format!("[::1]:{port}"),
        _ => listen.to_owned(),
    }
}

/// A vendor's clock may be ahead of ours: then the lag is below zero.
fn lag(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    format!("{sign}{}", human_duration(ms.unsigned_abs().saturating_mul(1_000_000)))
}

fn for_people(out: &mut Out, answer: &Answer) -> anyhow::Result<()> {
    out.line(format!(
        "session {} since {} ({}), archive {}",
        answer.session,
        answer.started_at,
        human_duration(answer.duration_ns),
        answer.archive
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
        "{} in {} segments stored; {free} of disk left{left}",
        human_size(answer.bytes_stored),
        human_count(answer.segments)
    ))?;
    if let Some(error) = &answer.journal.error {
        out.line(format!("nothing is recorded: {error}"))?;
    }
    match &answer.seal_error {
        Some(error) => out.line(format!("sealing fails, everything is kept in the journal: {error}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_are_dialled_on_loopback() {
        assert_eq!(dialable("0.0.0.0:7080"), "127.0.0.1:7080");
        assert_eq!(dialable("[::]:7080"), "[::1]:7080");
        assert_eq!(dialable("192.168.1.5:7080"), "192.168.1.5:7080");
    }
}
