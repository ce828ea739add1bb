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
use crate::archive::is_for_room;
use crate::cli::Record;
use crate::clock::Clock;
use crate::config::{Config, is_source_name};
use crate::console;
use crate::message::SessionId;
use crate::recorder::{Inherited, Recorder, Reloaded, StartOptions, Status, Summary};
use crate::transport::dial::chain;
use crate::units::{counted, human_count, human_duration, human_size};

/// How long a stop by SIGTERM may take: then what is not sealed stays in the journal, for the next start. A service
/// manager ends what takes longer by force, some after ten seconds.
const STOP_MAX: Duration = Duration::from_secs(9);

/// How long a start that is told to end may take for what it has begun. Sealing what an earlier recording left can take
/// minutes, and can be cut wherever it is: then the process ends, and with it that work.
const START_STOP_MAX: Duration = Duration::from_secs(3);

/// How often the line at the terminal is drawn anew.
const DRAW_EVERY: Duration = Duration::from_millis(500);

pub(super) fn run(context: &Context, args: Record) -> anyhow::Result<Outcome> {
    if let Some(name) = &args.session {
        session_name("--session", name)?;
    }
    let config = context.config_with_sources()?;
    // Before there are other threads: it changes the environment.
    let inherited = inherited::take()?;
    let runtime = super::runtime()?;
    let recorded = runtime.block_on(record(context, &config, args, inherited));
    // A start that was left alone may be at work still, at what an earlier recording left: it can be cut.
    runtime.shutdown_background();
    let Some(Recorded { summary, failed, found_damage }) = recorded? else { return Ok(Outcome::Done) };
    print(context.json, &summary, |out| for_people(out, &summary))?;
    if let Some(reason) = failed {
        bail!("the recording was ended: {reason}");
    }
    if let Some(reason) = &summary.seal_error {
        bail!("not everything could be sealed, it is kept in the journal for `telereel recover`: {reason}");
    }
    Ok(if summary.has_loss() || found_damage { Outcome::Lossy } else { Outcome::Done })
}

/// Refuses what could not be told from other ways to name a session or a clip, or from a path; `what` the user calls it.
pub(super) fn session_name(what: &str, name: &str) -> Result<(), Usage> {
    let refused = |why| Err(Usage(format!("{what} {name:?}: {why}")));
    match name {
        "latest" => refused("`latest` means the latest session: choose another name"),
        _ if name.parse::<SessionId>().is_ok() => refused("it is a session's id: choose another name"),
        _ if name.ends_with(".reel") => refused("SESSION is a file where it ends so: choose another name"),
        _ if name.starts_with('.') || !is_source_name(name) => {
            refused("expected 1 to 64 of A-Z a-z 0-9 _ . - and no dot at the start")
        }
        _ => Ok(()),
    }
}

/// What came of a recording.
struct Recorded {
    summary: Summary,
    /// Why it ended, if nobody had asked it to.
    failed: Option<String>,
    /// What an earlier recording had left was damaged.
    found_damage: bool,
}

/// None: it was ended before it could begin, and has taken nothing.
async fn record(
    context: &Context,
    config: &Config,
    args: Record,
    inherited: Inherited,
) -> anyhow::Result<Option<Recorded>> {
    // Caught before anything is begun: an interrupted start must seal what it has, too.
    let mut signals = Signals::catch()?;
    let options = StartOptions {
        session: args.session.clone(),
        clock: Clock::System,
        console: Some(console::status::routes),
        inherited,
        disk: None,
        give_up: CancellationToken::new(),
    };
    let give_up = options.give_up.clone();
    let start = Recorder::start(config, options);
    tokio::pin!(start);
    // The time counts while a start waits for room, too: it would never be over.
    let over = give_up.clone();
    let timer = args.duration.map(|time| {
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            over.cancel();
        })
    });
    let service = Service::start();
    // A signal ends the start where it waits for room or has much to seal; else what has been begun ends in good order.
    let (recorder, asked) = tokio::select! {
        recorder = &mut start => (recorder, None),
        caught = signals.end() => {
            give_up.cancel();
            service.stopping();
            let started = tokio::select! {
                recorder = &mut start => Some(recorder),
                () = tokio::time::sleep(START_STOP_MAX) => None,
                _ = signals.end() => None,
            };
            let Some(recorder) = started else {
                context.screen.note(
                    "ended before it could begin: what an earlier recording left is kept in the journal, and the next \
                     start goes on with it",
                );
                service.end();
                return Ok(None);
            };
            (recorder, Some(caught))
        }
    };
    if let Some(timer) = timer {
        timer.abort();
    }
    let is_over = asked == Some(Caught::Terminate) || asked.is_none() && give_up.is_cancelled();
    let mut recorder = match recorder {
        Err(error) if is_over && is_for_room(&error) => {
            context.screen.note("ended before it could begin: the disk is full or read-only");
            return Ok(None);
        }
        recorder => recorder?,
    };
    announce(context, config, args.session.as_deref(), &recorder);
    service.attend(recorder.status_source());
    if asked.is_none() {
        service.ready();
    }
    let found_damage = recorder.recovered().has_loss();
    let end = match asked {
        Some(caught) => ending(context, caught),
        None => until_asked_to_stop(context, &mut recorder, &mut signals, &service, args.duration).await,
    };
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
    let failed = if let End::Failed(reason) = end { Some(reason) } else { None };
    Ok(Some(Recorded { summary: summary?, failed, found_damage }))
}

fn announce(context: &Context, config: &Config, wanted: Option<&str>, recorder: &Recorder) {
    let recovered = recorder.recovered();
    if recovered.parts > 0 {
        let messages = counted(recovered.messages, "message");
        context.screen.note(format!("sealed {messages} that an earlier recording had left in the journal"));
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

fn ending(context: &Context, caught: Caught) -> End {
    context.screen.note("sealing everything; Ctrl-C again leaves the rest in the journal");
    if caught == Caught::Terminate { End::Terminated } else { End::Wanted }
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
                return ending(context, caught);
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
    format!("{}, {rate:.1}/s; {}", counted(messages, "message"), sources.join(", "))
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
        "\n{} in {}; session {}",
        human_size(summary.bytes_stored),
        counted(summary.segments, "segment"),
        sessions.join(" ")
    ))?;
    if summary.lost > 0 {
        let lost = counted(summary.lost, "message");
        out.line(format!("lost: {lost}, by damage to the journal before they were sealed"))?;
    }
    out.line(format!("recorded for {}", human_duration(summary.duration_ns)))
}
