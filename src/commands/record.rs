//! `telereel record`: record until a signal or `--for`; then seal everything, and say what came of it. SIGHUP reads the
//! configuration anew.

use std::time::Duration;

use anyhow::bail;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::output::{Out, Table, print};
use super::progress::Progress;
use super::service::Service;
use super::signals::{Caught, Signals};
use super::{Outcome, Usage, inherited};
use crate::cli::Record;
use crate::clock::Clock;
use crate::config::{Config, is_source_name};
use crate::console;
use crate::recorder::{Inherited, Recorder, Reloaded, StartOptions, Status, Summary};
use crate::transport::dial::chain;
use crate::units::{human_count, human_duration, human_size};

/// How long a stop by SIGTERM may take: then what is not sealed stays in the journal, for the next start. A service
/// manager ends what takes longer by force, some after ten seconds.
const STOP_MAX: Duration = Duration::from_secs(9);

/// How often the line at the terminal is drawn anew.
const DRAW_EVERY: Duration = Duration::from_millis(500);

pub(super) fn run(context: &Context, args: Record) -> anyhow::Result<Outcome> {
    if let Some(name) = &args.session {
        session_name("--session", name)?;
    }
    let config = context.config_with_sources()?;
    // Before there are other threads: it changes the environment.
    let inherited = inherited::take()?;
    let (summary, failed) = super::runtime()?.block_on(record(context, &config, args, inherited))?;
    print(context.json, &summary, |out| for_people(out, &summary))?;
    if let Some(reason) = failed {
        bail!("the recording was ended: {reason}");
    }
    if let Some(reason) = &summary.seal_error {
        bail!("not everything could be sealed, it is kept in the journal for `telereel recover`: {reason}");
    }
    Ok(if summary.dropped() > 0 { Outcome::Lossy } else { Outcome::Done })
}

/// Refuses what could not be told from other ways to name a session, or from a path; `what` the user calls it.
pub(super) fn session_name(what: &str, name: &str) -> Result<(), Usage> {
    let refused = |why| Err(Usage(format!("{what} {name:?}: {why}")));
    match name {
        "latest" => refused("`latest` means the latest session: choose another name"),
        _ if name.starts_with('.') || !is_source_name(name) => {
            refused("expected 1 to 64 of A-Z a-z 0-9 _ . - and no dot at the start")
        }
        _ => Ok(()),
    }
}

/// The summary, and why the recording ended if nobody had asked it to.
async fn record(
    context: &Context,
    config: &Config,
    args: Record,
    inherited: Inherited,
) -> anyhow::Result<(Summary, Option<String>)> {
    // Caught before anything is begun: an interrupted start must seal what it has, too.
    let mut signals = Signals::catch()?;
    let options = StartOptions {
        session: args.session.clone(),
        clock: Clock::System,
        console: Some(console::status::routes),
        inherited,
        disk: None,
    };
    let mut recorder = Recorder::start(config, options).await?;
    announce(context, config, args.session.as_deref(), &recorder);
    let service = Service::start();
    service.attend(recorder.status_source());
    service.ready();
    let end = until_asked_to_stop(context, &mut recorder, &mut signals, &service, args.duration).await;
    service.stopping();
    let abort = CancellationToken::new();
    let stop = recorder.stop(abort.clone());
    tokio::pin!(stop);
    let patience = async {
        match end {
            End::Terminated => tokio::time::sleep(STOP_MAX).await,
            _ => std::future::pending().await,
        }
    };
    let summary = tokio::select! {
        summary = &mut stop => summary,
        _ = signals.end() => {
            abort.cancel();
            stop.await
        }
        () = patience => {
            abort.cancel();
            stop.await
        }
    };
    service.end();
    Ok((summary?, if let End::Failed(reason) = end { Some(reason) } else { None }))
}

fn announce(context: &Context, config: &Config, wanted: Option<&str>, recorder: &Recorder) {
    let recovered = recorder.recovered();
    if recovered.parts > 0 {
        let messages = human_count(recovered.messages);
        context
            .screen
            .note(format!("sealed {messages} messages that an earlier recording had left in the journal"));
    }
    if recovered.has_loss() {
        tracing::error!("{}; `telereel verify` tells more", recovered.loss());
    }
    let status = recorder.status();
    if let Some(wanted) = wanted.filter(|wanted| *wanted != status.session) {
        context.screen.note(format!("session `{wanted}` exists: this one is `{}`", status.session));
    }
    context.screen.note(format!("recording {} to {}", status.session, status.archive));
    if let Some(address) = recorder.webhooks_at() {
        let scheme = if config.webhooks.tls.is_some() { "https" } else { "http" };
        for path in config.sources.iter().filter_map(|source| source.vendor.webhook_path()) {
            context.screen.note(format!("webhooks at {scheme}://{address}{path}"));
        }
    }
}

/// Why a recording is to end.
#[derive(Debug)]
enum End {
    /// By somebody at a terminal, or after the time that was asked for.
    Wanted,
    /// By SIGTERM, whose sender may not wait for long.
    Terminated,
    /// By itself.
    Failed(String),
}

async fn until_asked_to_stop(
    context: &Context,
    recorder: &mut Recorder,
    signals: &mut Signals,
    service: &Service,
    duration: Option<Duration>,
) -> End {
    let progress = Progress::spinner(context);
    let mut draw = tokio::time::interval(DRAW_EVERY);
    let over = async {
        match duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over);
    loop {
        tokio::select! {
            caught = signals.next() => {
                let caught = match caught {
                    // Also while the configuration is read, a stop is a stop.
                    Caught::Hangup if !signals.lost_terminal() => tokio::select! {
                        () = reload(context, recorder, service) => continue,
                        caught = signals.end() => caught,
                    },
                    caught => caught,
                };
                drop(progress);
                context.screen.note("sealing everything; Ctrl-C again leaves the rest in the journal");
                return if caught == Caught::Terminate { End::Terminated } else { End::Wanted };
            }
            () = &mut over => return End::Wanted,
            reason = recorder.failed() => return End::Failed(reason),
            _ = draw.tick(), if progress.is_shown() => progress.say(&line(&recorder.status())),
        }
    }
}

/// Reads the configuration anew and goes on with it; with the old one, if there is anything wrong with the new.
async fn reload(context: &Context, recorder: &mut Recorder, service: &Service) {
    service.reloading();
    match context.config_with_sources() {
        Ok(config) => match recorder.reload(&config).await {
            Ok(reloaded) => say(&reloaded),
            Err(error) => tracing::error!("the configuration is not changed: {}", chain(&error)),
        },
        Err(error) => tracing::error!("the configuration is not changed: {error:#}"),
    }
    service.ready();
}

fn say(Reloaded { sources, needs_restart }: &Reloaded) {
    let mut parts = vec![format!("{} sources go on as they were", sources.kept)];
    for (what, names) in
        [("changed", &sources.changed), ("added", &sources.added), ("removed", &sources.removed)]
    {
        if !names.is_empty() {
            parts.push(format!("{what}: {}", names.join(", ")));
        }
    }
    tracing::info!("the configuration was read anew; {}", parts.join("; "));
    if !needs_restart.is_empty() {
        tracing::warn!("changed, and in force from the next start on: {}", needs_restart.join(", "));
    }
}

/// `12 345 messages, 87.5/s; shop connected, locks waiting`
fn line(status: &Status) -> String {
    let messages = status.sources.iter().map(|source| source.messages).sum();
    let rate: f64 = status.sources.iter().map(|source| source.rate).sum();
    let state = |state| serde_json::to_value(state).ok().and_then(|s| Some(s.as_str()?.to_owned()));
    let sources: Vec<String> = status
        .sources
        .iter()
        .map(|source| format!("{} {}", source.name, state(source.state).unwrap_or_default()))
        .collect();
    format!("{} messages, {rate:.1}/s; {}", human_count(messages), sources.join(", "))
}

fn for_people(out: &mut Out, summary: &Summary) -> anyhow::Result<()> {
    let mut table = Table::new(&[
        "source",
        "vendor",
        ">messages",
        ">bytes",
        ">decode errors",
        ">disconnects",
        ">gap",
        ">dropped",
        ">refused",
        "error",
    ]);
    for source in &summary.sources {
        table.row([
            source.name.clone(),
            source.vendor.clone(),
            human_count(source.messages),
            human_size(source.bytes),
            human_count(source.decode_errors),
            source.disconnects.to_string(),
            human_duration(source.gap_ns),
            human_count(source.dropped),
            human_count(source.refused),
            source.gave_up.clone().or_else(|| source.last_error.clone()).unwrap_or_default(),
        ]);
    }
    table.print(out)?;
    let sessions: Vec<String> = summary.session_ids.iter().map(ToString::to_string).collect();
    out.line(format!(
        "\n{} in {} segments; session {}",
        human_size(summary.bytes_stored),
        human_count(summary.segments),
        sessions.join(" ")
    ))?;
    out.line(format!("recorded for {}", human_duration(summary.duration_ns)))
}
