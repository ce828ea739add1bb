//! `telereel replay SESSION…`: serve a recording as its vendors would.

mod keyboard;
mod past;
pub(super) mod report;
pub(super) mod screen;
mod search;
mod shaping;
mod targets;

use std::collections::HashMap;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::Context as _;
use bytestring::ByteString;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use self::keyboard::{Keyboard, Restore};
use super::context::Context;
use super::output::Out;
use super::selection::{self, Chosen, choose, unsealed};
use super::signals::{INTERRUPTED, Signals};
use super::{Outcome, Usage};
use crate::archive::{Archive, Bound, ScanOptions, scan};
use crate::cli::{self, Replay};
use crate::clock::Clock;
use crate::config::{Config, TlsFiles};
use crate::console::replay::api;
use crate::message::{Row, Selection, SourceHeader};
use crate::player::endpoints::Access;
use crate::player::{
    BindOptions, ClientReport, Endpoints, Listen, Outages, OutagesWanted, Pace, PlayOptions, Rebasing,
    Report, Rounds, SessionStart, Start, drain_for,
};
use crate::transport::tls::Trust;
use crate::vendors::generic::config::{GenericConfig, GenericTransport};
use crate::vendors::jointech::config::JointechConfig;
use crate::vendors::{Credential, DeviceConfig, Recorded, Source, VendorConfig};

/// A line of `--json`.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    Ready { listen: Vec<String> },
    Done(&'a Report),
}

pub(super) fn run(context: &Context, args: Replay) -> anyhow::Result<Outcome> {
    selection::check(&args.sessions, &args.filters)?;
    if args.tls_cert.is_some() && !args.listen.iter().any(Listen::is_tls) {
        let what = "--tls-cert and --tls-key are for --listen https://… and mqtts://…: none is given";
        return Err(Usage(what.into()).into());
    }
    // A reel is there for as long as this.
    let opened = selection::open(context, &args.sessions)?;
    let archive = opened.archive.clone();
    let mut chosen = choose(&archive, &opened.names, args.filters.clone(), Clock::System.now())?;
    chosen.options.emitted_only = true;
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
    let (report, code) =
        super::runtime()?.block_on(play(context, archive, chosen, &first, bind, rebasing, &args))?;
    let mut out = Out::new();
    if context.json {
        out.json(&Event::Done(&report))?
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
    if let Some((path, file)) = report_file {
        report::write(file, &report)
            .with_context(|| format!("cannot write the report {}", path.display()))?;
    }
    Ok(match code {
        Some(0) if report.clients.is_empty() => Outcome::Code(1),
        Some(code) => Outcome::Code(code),
        None if report.has_loss() => Outcome::Lossy,
        None => Outcome::Done,
    })
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
    let mut options = play_options(&chosen, first, args, drain);
    (options.rebasing, options.faults) = (rebasing, shaping::faults(&args.shaping));
    past::apply(context, (&archive, &chosen), &sources, &endpoints, &mut options, args)?;
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
        false => Some(Keyboard::listen(&control).context("cannot listen to the keyboard")?),
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
    for (name, url) in [("TELEREEL_HTTP", endpoints.http_url()), ("TELEREEL_MQTT", endpoints.mqtt_url())] {
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
fn play_options(chosen: &Chosen, first: &Row, args: &Replay, drain: Duration) -> PlayOptions {
    let start = |session: &crate::archive::SessionSummary| SessionStart {
        session_id: session.session_id,
        started_at_us: session.started_at_us,
    };
    let earliest_us = chosen.sessions.first().map_or(0, |session| session.started_at_us);
    let began = chosen.sessions.iter().find(|session| session.session_id == first.session_id);
    let began_us = began.map_or(earliest_us, |session| session.started_at_us);
    PlayOptions {
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
            Some(Bound::Seq(_)) | None => None,
        },
        end_ns: chosen.end_ns(),
        speed: args.speed,
        pace: match args.pace {
            cli::Pace::Original => Pace::Original,
            cli::Pace::Max => Pace::Max,
            cli::Pace::Lockstep => Pace::Lockstep,
            cli::Pace::Step => Pace::Step,
        },
        ack_timeout: args.ack_timeout,
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
    }
}

fn bind_options(
    context: &Context,
    archive: &Archive,
    chosen: &Chosen,
    first: &Row,
    args: &Replay,
) -> anyhow::Result<BindOptions> {
    let access = match (args.require_credentials, args.allow_any_credentials) {
        (true, _) => Access::Required,
        (false, true) => Access::Any,
        (false, false) => Access::LoopbackOnly,
    };
    let credentials = if args.require_credentials { credentials(&context.config()?) } else { Vec::new() };
    // Asked for beyond loopback alone, where one of these is needed in any case.
    let token = match access {
        Access::LoopbackOnly => None,
        Access::Required | Access::Any => context.console()?.token,
    };
    let sources = recorded_sources(archive, chosen)?;
    Ok(BindOptions {
        listen: if serves_by_default(args) { Listen::defaults() } else { args.listen.clone() },
        tls: args.tls_cert.clone().zip(args.tls_key.clone()).map(|(cert, key)| TlsFiles { cert, key }),
        self_signed_dir: state_folder()?.join("tls"),
        access,
        pushes: targets::pushes(context, &sources, &args.push, &args.variant)?,
        publishes: args.publish.clone(),
        trust: match &args.tls_ca {
            _ if args.tls_insecure => Trust::Anybody,
            Some(ca) => Trust::Authority(ca.clone()),
            None => Trust::System,
        },
        recorded: Recorded {
            sources,
            any_credentials: false,
            credentials,
            device_configs: device_configs(archive, chosen, first)?,
            variants: args.variant.clone(),
        },
        trace: args.trace.clone(),
        misbehaviour: None,
        api: Some(api(token, search::find(archive, chosen, args))),
        clock: Clock::System,
    })
}

/// Nobody said where the recording is to go.
fn serves_by_default(args: &Replay) -> bool {
    args.listen.is_empty() && args.push.is_empty() && args.publish.is_empty()
}

/// The sources of the sessions that are replayed, as the recorder had set them up.
fn recorded_sources(archive: &Archive, chosen: &Chosen) -> anyhow::Result<Vec<SourceHeader>> {
    let mut sources: Vec<SourceHeader> = Vec::new();
    for session in &chosen.sessions {
        let sidecar = archive.read_sidecar(session.session_id)?;
        for source in sidecar.into_iter().flat_map(|sidecar| sidecar.sources) {
            let header = SourceHeader::from(source);
            if !sources.contains(&header) {
                sources.push(header);
            }
        }
    }
    Ok(sources)
}

/// What a token reply is to say about each sensor: the last that was recorded before the replay's first
/// message, else the first after it.
fn device_configs(archive: &Archive, chosen: &Chosen, first: &Row) -> anyhow::Result<Vec<DeviceConfig>> {
    let selection = Selection {
        vendors: vec!["pontosense".to_owned()],
        kinds: vec!["config".to_owned()],
        ..Selection::default()
    };
    let everywhere =
        ScanOptions { sessions: chosen.options.sessions.clone(), selection, ..Default::default() };
    let mut latest: HashMap<ByteString, Row> = HashMap::new();
    for row in scan(archive, &everywhere)? {
        let row = row?;
        let Some(device_id) = row.device_id.clone() else { continue };
        if row.received_at_us <= first.received_at_us || !latest.contains_key(&device_id) {
            latest.insert(device_id, row);
        }
    }
    let config = |(device_id, row): (ByteString, Row)| DeviceConfig {
        vendor: row.vendor.to_string(),
        device_id: device_id.to_string(),
        payload: row.payload,
    };
    Ok(latest.into_iter().map(config).collect())
}

/// What clients must show, where credentials are required: what the recorder itself showed.
fn credentials(config: &Config) -> Vec<Credential> {
    let credential = |source: &Source| {
        let (username, secret) = match &source.vendor {
            VendorConfig::Damoov(damoov) => (None, damoov.access_token.as_ref()?),
            VendorConfig::Delicode(delicode) => (None, &delicode.token),
            VendorConfig::Jointech(JointechConfig::Mqtt(mqtt)) => {
                (Some(mqtt.username.clone()), &mqtt.password_md5)
            }
            VendorConfig::Pontosense(pontosense) => (Some(pontosense.api_key.clone()), &pontosense.secret),
            VendorConfig::Generic(GenericConfig {
                transport: GenericTransport::Mqtt { username: Some(username), password: Some(password), .. },
                ..
            }) => (Some(username.clone()), password),
            _ => return None,
        };
        Some(Credential {
            source: source.name.clone(),
            vendor: source.vendor.vendor().to_owned(),
            username,
            secret: secret.expose().to_owned(),
        })
    };
    config.sources.iter().filter_map(credential).collect()
}

/// Where a self-signed certificate lasts, so that clients need to be told of it only once.
pub(super) fn state_folder() -> anyhow::Result<PathBuf> {
    let from = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = from("XDG_STATE_HOME").or_else(|| from("HOME").map(|home| home.join(".local/state")));
    let state = state.unwrap_or_else(std::env::temp_dir);
    Ok(std::path::absolute(state)?.join("telereel"))
}
