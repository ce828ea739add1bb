//! `telereel replay SESSION…`: serve a recording as its vendors would.

mod binding;
mod keyboard;
mod past;
pub(super) mod report;
pub(super) mod screen;
mod search;
mod shaping;
mod targets;

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use self::binding::bind_options;
use self::keyboard::{Keyboard, Restore};
use super::context::Context;
use super::destination::outside_archives;
use super::output::Out;
use super::selection::{self, Chosen, choose, unsealed};
use super::signals::{INTERRUPTED, Signals};
use super::{Outcome, Usage};
use crate::archive::{Archive, Bound, scan};
use crate::cli::{self, Replay};
use crate::clock::Clock;
use crate::message::Row;
use crate::player::{
    BindOptions, ClientReport, DEFAULT_ACK_TIMEOUT, Endpoints, Listen, Outages, OutagesWanted, Pace,
    PlayOptions, Rebasing, Report, Rounds, SessionStart, Start, drain_for,
};

/// A line of `--json`.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    Ready { listen: Vec<String> },
    Done(&'a report::Full<'a>),
}

pub(super) fn run(context: &Context, args: Replay) -> anyhow::Result<Outcome> {
    selection::check(&args.sessions, &args.filters)?;
    shaping::check(&args.sessions, &args.shaping)?;
    if args.tls_cert.is_some() && !args.listen.iter().any(Listen::is_tls) {
        let what = "--tls-cert and --tls-key are for --listen https://… and mqtts://…: none is given";
        return Err(Usage(what.into()).into());
    }
    check_pace(&args)?;
    for (option, file) in [("--report", &args.report), ("--trace", &args.trace)] {
        file.as_deref().map_or(Ok(()), |file| outside_archives(option, file))?;
    }
    // A reel is there for as long as this.
    let opened = selection::open(context, &args.sessions)?;
    let archive = opened.archive.clone();
    let mut chosen = choose(&archive, &opened.names, args.filters.clone(), Clock::System.now())?;
    chosen.options.emitted_only = true;
    chosen.skip_damaged(args.skip_damaged);
    let first = chosen.require_some(&archive)?;
    if let Some(unsealed) = unsealed(&archive, &chosen.sessions)? {
        context.screen.note(unsealed);
    }
    if args.pace == cli::Pace::Original
        && !matches!(args.outages, OutagesWanted::Skip(_))
        && let Some(gap) = chosen.longest_gap()
    {
        context.screen.note(gap);
    }
    let bind = bind_options(context, &archive, &chosen, &first, &args)?;
    let (sources, now) = (&bind.recorded.sources, Clock::System.now());
    let rebasing = shaping::rebasing(context, &archive, sources, &args.push, &args.shaping, now)?;
    // Opened before the replay, which may take a day, and not after it.
    let report_file = args.report.as_deref().map(report::create).transpose()?;
    let playing = play(context, archive, chosen.clone(), &first, bind, rebasing, &args);
    let (report, code) = super::runtime()?.block_on(playing)?;
    let full = report::full(&report, &chosen, &args);
    let mut out = Out::new();
    if context.json {
        out.json(&Event::Done(&full))?
    } else {
        report::for_people(&mut out, &report, &args)?
    }
    out.flush()?;
    let is_idle = |client: &&ClientReport| {
        client.messages + client.states + client.refused == 0 && client.reason.is_none() && !client.outage
    };
    for client in report.clients.iter().filter(is_idle) {
        if report.messages > 0 && !report.stopped {
            context.screen.note(format!(
                "warning: client {} ({}) received nothing: none of the messages is what it asked for, \
                 or it came after the last",
                client.id, client.endpoint
            ));
        }
    }
    for fault in report.faults.iter().filter(|fault| !fault.never_met.is_empty()) {
        context.screen.note(format!(
            "warning: --faults {}={}: never met, the replay came to {} messages",
            fault.fault,
            fault.never_met.concat(),
            report.messages
        ));
    }
    if let Some((path, file)) = report_file {
        report::write(file, &full).with_context(|| format!("cannot write the report {}", path.display()))?;
    }
    let skipped = selection::skipped_told(context, &chosen.skipped());
    Ok(match code {
        Some(0) if report.clients.is_empty() => {
            context.screen.note("error: the command of --exec ended before it was ready to receive anything");
            Outcome::Code(1)
        }
        Some(code) => Outcome::Code(code),
        None if report.has_loss() => Outcome::Lossy,
        None => skipped,
    })
}

/// Refuses what would do nothing at the pace that was asked for.
fn check_pace(args: &Replay) -> Result<(), Usage> {
    if args.ack_timeout.is_some() && args.pace != cli::Pace::Lockstep {
        return Err(Usage("--ack-timeout is for --pace lockstep: nobody is waited for otherwise".into()));
    }
    match args.pace {
        cli::Pace::Max | cli::Pace::Lockstep if args.speed.is_some() => Err(Usage(
            "--speed is for a pace that keeps time: with --pace max and lockstep there is none".into(),
        )),
        _ => Ok(()),
    }
}

/// The report, and the exit code of `--exec`.
async fn play(
    context: &Context,
    archive: Archive,
    chosen: Chosen,
    first: &Row,
    bind: BindOptions,
    rebasing: Option<Rebasing>,
    args: &Replay,
) -> anyhow::Result<(Report, Option<u8>)> {
    let signals = Signals::catch()?;
    let drain = args.drain.unwrap_or_else(|| drain_for(&bind.pushes));
    let sources = bind.recorded.sources.clone();
    let endpoints = Endpoints::bind(bind).await?;
    let mut options = play_options(&archive, &chosen, first, args, drain)?;
    (options.rebasing, options.faults) = (rebasing, shaping::faults(&args.shaping));
    past::apply(context, (&archive, &chosen), &sources, &endpoints, &mut options, args)?;
    endpoints.expect(&options);
    if context.json {
        let mut out = Out::new();
        out.json(&Event::Ready { listen: endpoints.urls() })?;
        out.flush()?;
    } else {
        let waits = match options.start {
            Start::AtOnce => String::new(),
            Start::WithClients(count) if count.get() == 1 => "; waiting for the first client".to_owned(),
            Start::WithClients(count) => format!("; waiting for {count} clients"),
        };
        let urls = endpoints.urls();
        let serving = (!urls.is_empty()).then(|| format!("serving {}", urls.join(" and ")));
        let pushing = args.push.iter().map(|to| format!("pushing {} to {}", to.source, to.url));
        let publishing = args.publish.iter().map(|to| format!("publishing to {}", to.public_url()));
        let what: Vec<String> = serving.into_iter().chain(pushing).chain(publishing).collect();
        context.screen.note(format!("{}{waits}", what.join(", ")));
    }
    if let Some(certificate) = endpoints.certificate() {
        context
            .screen
            .note(format!("self-signed certificate, for clients to trust: {}", certificate.display()));
    }
    let child = start_client(context, &endpoints, args)?;
    let control = endpoints.control();
    let keyboard = match context.json || !args.exec.is_empty() {
        // Standard input is the client's, where one is run.
        true => None,
        false => Some(Keyboard::listen(&control, &context.screen).context("cannot listen to the keyboard")?),
    };
    if keyboard.as_ref().is_some_and(Keyboard::is_on) {
        context.screen.note(keyboard::HELP);
    }
    let restore = keyboard.as_ref().map(Keyboard::restore);
    stop_on_signal(context, signals, options.stop.clone(), move || {
        restore.iter().for_each(Restore::now);
    });
    let stop = options.stop.clone();
    let ended = async {
        let Some(child) = child else { return Ok(None) };
        let status = child.await.context("the command of --exec cannot be waited for")??;
        // There is nobody left to play to.
        stop.cancel();
        anyhow::Ok(Some(exit_code(status)))
    };
    if let Start::WithClients(wanted) = options.start {
        tokio::spawn(screen::say_who_is_ready(
            context.screen.clone(),
            endpoints.progress(),
            wanted,
            stop.clone(),
        ));
    }
    // Both to their ends: a client whose replay fails or is over has its own goodbye to say.
    let both = async {
        tokio::join!(
            endpoints.play(options, move |position| scan(&archive, &chosen.options_at(position))),
            ended
        )
    };
    tokio::select! {
        (report, code) = both => Ok((report?, code?)),
        // The screen is the client's, where one is run.
        never = screen::draw_position(context, || control.snapshot()), if args.exec.is_empty() => match never {},
    }
}

/// Runs the command of `--exec`, if there is one; resolves when it has ended.
fn start_client(
    context: &Context,
    endpoints: &Endpoints,
    args: &Replay,
) -> anyhow::Result<Option<oneshot::Receiver<io::Result<ExitStatus>>>> {
    let [program, rest @ ..] = &args.exec[..] else { return Ok(None) };
    let mut command = Command::new(program);
    command.args(rest);
    for (name, url) in [("TELEREEL_HTTP", endpoints.http_url()), ("TELEREEL_MQTT", endpoints.any_mqtt_url())]
    {
        match url {
            Some(url) => command.env(name, url),
            None => command.env_remove(name),
        };
    }
    if context.json {
        // Standard output is for JSON alone.
        command.stdout(io::stderr());
    }
    let mut child = command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
    let (ended, status) = oneshot::channel();
    std::thread::spawn(move || ended.send(child.wait()));
    Ok(Some(status))
}

/// As a shell reports it: 128 and the signal's number for one that was killed.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// The first signal ends the replay in order; the second does not wait for that.
pub(super) fn stop_on_signal(
    context: &Context,
    mut signals: Signals,
    stop: CancellationToken,
    before_exit: impl FnOnce() + Send + 'static,
) {
    let screen = context.screen.clone();
    tokio::spawn(async move {
        signals.next().await;
        screen.note("stopping: clients get what was sent so far; Ctrl-C again to end at once");
        stop.cancel();
        signals.next().await;
        before_exit();
        std::process::exit(INTERRUPTED);
    });
}

/// `first` is the first message that is selected.
fn play_options(
    archive: &Archive,
    chosen: &Chosen,
    first: &Row,
    args: &Replay,
    drain: Duration,
) -> anyhow::Result<PlayOptions> {
    let start = |session: &crate::archive::SessionSummary| SessionStart {
        session_id: session.session_id,
        started_at_us: session.started_at_us,
    };
    let earliest_us = chosen.sessions.first().map_or(0, |session| session.started_at_us);
    let began = chosen.sessions.iter().find(|session| session.session_id == first.session_id);
    let began_us = began.map_or(earliest_us, |session| session.started_at_us);
    Ok(PlayOptions {
        sessions: chosen.sessions.iter().map(start).collect(),
        // Where nothing is served there is nobody to wait for.
        start: if args.no_wait || (args.listen.is_empty() && !serves_by_default(args)) {
            Start::AtOnce
        } else {
            Start::WithClients(args.wait_for_clients)
        },
        zero_ns: match chosen.options.from {
            Some(Bound::Elapsed(ns)) => Some(ns),
            // A time at which nothing was recorded: nobody means to wait for the session that follows.
            Some(Bound::Wall(us)) if us < began_us => None,
            Some(Bound::Wall(us)) => Some(us.abs_diff(earliest_us).saturating_mul(1_000)),
            // What was before a clip's first message is known there.
            None if !chosen.options.ranges.is_empty() => Some(chosen.recorded_ns(first)),
            Some(Bound::Seq(_)) | None => None,
        },
        first_ns: Some(chosen.recorded_ns(first)),
        end_ns: chosen.end_ns(archive)?,
        speed: args.speed.unwrap_or_default(),
        pace: match args.pace {
            cli::Pace::Original => Pace::Original,
            cli::Pace::Max => Pace::Max,
            cli::Pace::Lockstep => Pace::Lockstep,
            cli::Pace::Step => Pace::Step,
        },
        ack_timeout: args.ack_timeout.unwrap_or(DEFAULT_ACK_TIMEOUT),
        start_paused: args.start_paused,
        rounds: match args.rounds {
            None => Rounds::ONCE,
            Some(None) => Rounds::Forever,
            Some(Some(times)) => Rounds::Times(times),
        },
        rebasing: None,
        faults: None,
        drain,
        stop: CancellationToken::new(),
        // These follow from more than the arguments.
        outages: Outages::default(),
        state: None,
    })
}

/// Nobody said where the recording is to go.
fn serves_by_default(args: &Replay) -> bool {
    args.listen.is_empty() && args.push.is_empty() && args.publish.is_empty()
}

/// Where a self-signed certificate lasts, so that clients need to be told of it only once.
pub(super) fn state_folder() -> anyhow::Result<PathBuf> {
    let from = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = from("XDG_STATE_HOME").or_else(|| from("HOME").map(|home| home.join(".local/state")));
    let state = state.unwrap_or_else(std::env::temp_dir);
    Ok(std::path::absolute(state)?.join("telereel"))
}
