//! `telereel simulate`: the vendors' sides under synthetic load.
//!
//! The endpoints, pushes and broker connections are those of a replay; only the rows are made and not
//! read, and the clock starts at once: like a vendor's, the stream goes on whether anybody listens or not.

mod recipe;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::output::{Out, Table};
use super::replay::screen::draw;
use super::replay::{state_folder, stop_on_signal};
use super::signals::Signals;
use super::{Outcome, Usage};
use crate::cli::Simulate;
use crate::clock::Clock;
use crate::config::Config;
use crate::message::{Row, SessionId};
use crate::player::endpoints::Access;
use crate::player::{
    BindOptions, Endpoints, Listen, PlayOptions, PublishTo, PushTarget, PushTo, Report, SessionStart, Start,
};
use crate::section::nearest;
use crate::transport::misbehave::Misbehaviour;
use crate::units::{human_count, human_duration, human_size};
use crate::vendors::synthetic::load::{self, Part, Way};
use crate::vendors::{Recorded, pusher};

/// The vendors that have a synthetic side.
const VENDORS: [&str; 5] = ["damoov", "delicode", "jointech", "pontosense", "sensoro"];

/// How soon the end of `--for` is noticed.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A line of `--json`.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    Ready { listen: Vec<String>, sources: Vec<Source<'a>> },
    Done(&'a Report),
}

#[derive(Serialize)]
struct Source<'a> {
    name: &'a str,
    vendor: &'a str,
}

/// What is to be run.
struct Plan {
    parts: Vec<Part>,
    listen: Vec<Listen>,
    pushes: Vec<PushTarget>,
}

pub(super) fn run(context: &Context, args: &Simulate) -> anyhow::Result<Outcome> {
    let config = context.named_config()?;
    let plan = plan(args, config.as_ref())?;
    let report = super::runtime()?.block_on(simulate(context, args, plan, config.is_none()))?;
    let mut out = Out::new();
    if context.json {
        out.json(&Event::Done(&report))?
    } else {
        for_people(&mut out, &report)?
    }
    out.flush()?;
    // Who misbehaves on purpose loses on purpose.
    Ok(if report.has_loss() && args.misbehave.is_none() { Outcome::Lossy } else { Outcome::Done })
}

/// Which sources run, and how they reach their receivers.
fn plan(args: &Simulate, config: Option<&Config>) -> Result<Plan, Usage> {
    if let Some(unknown) = args.vendor.iter().find(|vendor| !VENDORS.contains(&vendor.as_str())) {
        let near = nearest(unknown, VENDORS).map(|v| format!(", did you mean `{v}`?")).unwrap_or_default();
        return Err(Usage(format!(
            "--vendor {unknown}: no such vendor{near}; there are {}",
            VENDORS.join(", ")
        )));
    }
    let goes_out_only = args.listen.is_empty() && !(args.push.is_empty() && args.broker.is_empty());
    let all = match config {
        Some(config) => config.sources.iter().filter_map(Part::of).collect(),
        None => Part::all(),
    };
    let is_wanted = |part: &Part| {
        let is_named = args.vendor.is_empty() || args.vendor.iter().any(|vendor| vendor == part.vendor());
        let is_pushed = args.push.iter().any(|push| push.source == part.name);
        let is_published = part.way == Way::Brokered && !args.broker.is_empty();
        is_named && (!goes_out_only || is_pushed || is_published)
    };
    let pushes = args.push.iter().map(|push| target(push, &all, config)).collect::<Result<_, _>>()?;
    let parts: Vec<Part> = all.into_iter().filter(is_wanted).map(|part| scaled(part, args)).collect();
    if let Some(push) = args.push.iter().find(|push| parts.iter().all(|part| part.name != push.source)) {
        return Err(Usage(format!("--push {}: that source is left out by --vendor", push.source)));
    }
    if parts.is_empty() {
        let why = match goes_out_only {
            true => "vendors that are connected to need a --listen, too",
            false => "the configuration has none of these vendors",
        };
        return Err(Usage(format!("no source to simulate: {why}")));
    }
    let listen = match (&args.listen[..], goes_out_only) {
        (_, true) => Vec::new(),
        ([], false) => Listen::defaults(),
        (listen, false) => listen.to_vec(),
    };
    Ok(Plan { parts, listen, pushes })
}

fn scaled(mut part: Part, args: &Simulate) -> Part {
    if let Some(devices) = args.devices {
        part = part.with_devices(usize::try_from(devices).unwrap_or(usize::MAX));
    }
    if let Some(rate) = args.rate {
        part = part.with_rate(rate);
    }
    part.varied(&args.variant)
}

/// How the source of `push` is pushed: by its configuration, or with the simulator's own credentials.
fn target(push: &PushTo, parts: &[Part], config: Option<&Config>) -> Result<PushTarget, Usage> {
    let pushed: Vec<&str> =
        parts.iter().filter(|part| part.way == Way::Pushed).map(|part| part.name.as_str()).collect();
    let Some(part) = parts.iter().find(|part| part.name == push.source && part.way == Way::Pushed) else {
        let there_are = if pushed.is_empty() { "there is none".to_owned() } else { pushed.join(", ") };
        return Err(Usage(format!("--push {}: no source that is pushed; {there_are}", push.source)));
    };
    let configured = config.and_then(|config| config.sources.iter().find(|source| source.name == part.name));
    let own = part.credentials();
    let vendor = configured.map(|source| &source.vendor).or(own.as_ref());
    Ok(PushTarget { to: push.clone(), pusher: Arc::from(pusher(part.vendor(), vendor)) })
}

async fn simulate(context: &Context, args: &Simulate, plan: Plan, own_names: bool) -> anyhow::Result<Report> {
    let signals = Signals::catch()?;
    let Plan { parts, listen, pushes } = plan;
    let pushed_to: Vec<PushTo> = pushes.iter().map(|push| push.to.clone()).collect();
    let endpoints = Endpoints::bind(BindOptions {
        listen,
        tls: None,
        self_signed_dir: state_folder()?.join("tls"),
        recorded: Recorded {
            sources: parts.iter().map(Part::header).collect(),
            device_configs: parts.iter().flat_map(Part::device_configs).collect(),
            variants: args.variant.clone(),
            ..Recorded::default()
        },
        // What is made up is nobody's secret.
        access: Access::Any,
        pushes,
        publishes: args.broker.clone(),
        trust: Default::default(),
        trace: None,
        misbehaviour: args.misbehave.clone().map(|spec| Misbehaviour::new(spec, args.seed)),
        api: None,
        clock: Clock::System,
    })
    .await?;
    let broker = args.broker.first().map(PublishTo::public_url);
    let receivers = Receivers { pushed_to, broker };
    announce(context, &endpoints, &parts, &receivers, own_names)?;

    let stop = CancellationToken::new();
    stop_on_signal(context, signals, stop.clone(), || {});
    let now = Clock::System.now();
    let session_id = SessionId::new(now.wall_us, [0; 10]);
    let options = PlayOptions {
        sessions: vec![SessionStart { session_id, started_at_us: now.wall_us }],
        start: Start::AtOnce,
        zero_ns: Some(0),
        stop: stop.clone(),
        ..PlayOptions::default()
    };
    let ends_ns = args
        .duration
        .map(|duration| now.steady_ns.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)));
    let mut rows = Some(load::rows(parts, args.seed, session_id, now.wall_us, args.duration));
    let open = move |_| {
        let rows = rows.take().into_iter().flatten().chain(Rest { ends_ns, stop: stop.clone() });
        Ok::<_, Infallible>(rows.map(Ok::<_, Infallible>))
    };
    let progress = endpoints.progress();
    tokio::select! {
        report = endpoints.play(options, open) => Ok(report?),
        never = draw(context, progress) => match never {},
    }
}

/// What follows the last message: nothing, but only once the time is over, so that clients stay connected.
struct Rest {
    ends_ns: Option<u64>,
    stop: CancellationToken,
}

impl Iterator for Rest {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        let ends_ns = self.ends_ns?;
        // On the reader's own thread, which has nothing else to do.
        while !self.stop.is_cancelled() && Clock::System.now().steady_ns < ends_ns {
            std::thread::sleep(LOOK_EVERY);
        }
        None
    }
}

/// Where messages go by themselves.
struct Receivers {
    pushed_to: Vec<PushTo>,
    broker: Option<String>,
}

fn announce(
    context: &Context,
    endpoints: &Endpoints,
    parts: &[Part],
    Receivers { pushed_to, broker }: &Receivers,
    own_names: bool,
) -> anyhow::Result<()> {
    if context.json {
        let sources = parts.iter().map(|part| Source { name: &part.name, vendor: part.vendor() }).collect();
        let mut out = Out::new();
        out.json(&Event::Ready { listen: endpoints.urls(), sources })?;
        out.flush().context("cannot say where it is served")?;
        return Ok(());
    }
    let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
    let urls = endpoints.urls();
    let at = if urls.is_empty() { String::new() } else { format!(" at {}", urls.join(" and ")) };
    context.screen.note(format!("simulating {}{at}; Ctrl-C ends it", names.join(", ")));
    if let Some(certificate) = endpoints.certificate() {
        context
            .screen
            .note(format!("self-signed certificate, for clients to trust: {}", certificate.display()));
    }
    for part in parts.iter().filter(|part| part.way == Way::Pushed) {
        match pushed_to.iter().find(|push| push.source == part.name) {
            Some(push) => {
                let base = push.url.as_str().trim_end_matches('/');
                context.screen.note(format!("{}: posts to {base}{}", part.name, part.path().unwrap_or("")));
            }
            None => context.screen.note(format!(
                "{}: a vendor that posts; to have it do so: --push {}=http://127.0.0.1:7081",
                part.name, part.name
            )),
        }
    }
    if own_names {
        context
            .screen
            .note(format!("to record this:\n\n{}", recipe::text(endpoints, broker.as_deref(), parts)));
    }
    Ok(())
}

fn for_people(out: &mut Out, report: &Report) -> anyhow::Result<()> {
    let mut table = Table::new(&["source", "vendor", ">messages", ">bytes"]);
    for source in &report.sources {
        table.row([
            source.name.clone(),
            source.vendor.clone(),
            human_count(source.messages),
            human_size(source.bytes),
        ]);
    }
    table.print(out)?;
    out.line("")?;
    if report.clients.is_empty() {
        out.line("nobody listened")?;
    } else {
        let mut table = Table::new(&[">client", "endpoint", ">messages", ">dropped", "ended"]);
        for client in &report.clients {
            table.row([
                client.id.to_string(),
                client.endpoint.clone(),
                human_count(client.messages),
                human_count(client.dropped),
                client.reason.unwrap_or("").to_owned(),
            ]);
        }
        table.print(out)?;
    }
    out.line(format!("\nsimulated for {}", human_duration(report.duration_ns)))
}
