//! One attempt at each source, with the vendor's own collector, until it says that data would come.
//!
//! A running recorder must not notice: the client id is another, and the session a clean one, so that
//! the broker neither drops the recorder nor keeps anything for this attempt.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use rand::SeedableRng;
use rand::rngs::{StdRng, SysRng};
use serde::Serialize;
use tokio_rustls::rustls::ClientConfig;

use crate::clock::Clock;
use crate::config::Config;
use crate::recorder::redact::Redaction;
use crate::transport::intake::{Intake, intake};
use crate::transport::tls::{Trust, client_config};
use crate::transport::{ConnHandle, http_client, mqtt_client, websocket_client};
use crate::vendors::generic::config::{GenericConfig, GenericTransport};
use crate::vendors::jointech::config::JointechConfig;
use crate::vendors::{self, Conn, Effect, Input, LinkEvent, Source, VendorConfig};

/// Longer than the transports' own limits on a handshake, so that theirs, which say more, come first.
const PATIENCE: Duration = Duration::from_secs(40);

/// What came of it.
#[derive(Debug, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(super) enum Attempt {
    /// Connected, and registered or subscribed where the vendor has that.
    Connected,
    Failed {
        reason: String,
    },
    /// It is the vendor that connects.
    WaitsForPushes {
        path: String,
    },
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attempt::Connected => f.write_str("ok"),
            Attempt::Failed { reason } => write!(f, "failed: {reason}"),
            Attempt::WaitsForPushes { path } => write!(f, "waits for pushes at {path}"),
        }
    }
}

/// Tries all sources at once; the results in their order. Each is told as soon as it is known, since
/// the slowest may take long.
pub(super) async fn all(
    config: &Config,
    mut tell: impl FnMut(&Source, &Attempt) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Attempt>> {
    let mut attempts = FuturesUnordered::new();
    for (index, source) in config.sources.iter().enumerate() {
        let trust = match (&source.tls.ca, source.tls.insecure) {
            (_, true) => Trust::Anybody,
            (Some(ca), false) => Trust::Authority(ca.clone()),
            (None, false) => Trust::System,
        };
        let attempt = one(apart(source), client_config(&trust)?, StdRng::try_from_rng(&mut SysRng)?);
        attempts.push(async move { (index, attempt.await) });
    }
    let mut ended = Vec::new();
    while let Some((index, attempt)) = attempts.next().await {
        tell(&config.sources[index], &attempt)?;
        ended.push((index, attempt));
    }
    ended.sort_by_key(|(index, _)| *index);
    Ok(ended.into_iter().map(|(_, attempt)| attempt).collect())
}

/// The source under another client id, with a clean session.
fn apart(source: &Source) -> Source {
    let mut source = source.clone();
    let unique = std::process::id();
    match &mut source.vendor {
        VendorConfig::Jointech(JointechConfig::Mqtt(mqtt)) => {
            mqtt.client_id = format!("{}-check-{unique}", mqtt.client_id);
            mqtt.clean_session = true;
        }
        VendorConfig::Generic(GenericConfig {
            transport: GenericTransport::Mqtt { client_id, clean_session, .. },
            ..
        }) => {
            *client_id = format!("{client_id}-check-{unique}");
            *clean_session = true;
        }
        _ => {}
    }
    source
}

async fn one(source: Source, tls: Arc<ClientConfig>, mut rng: StdRng) -> Attempt {
    if let Some(path) = source.vendor.webhook_path() {
        return Attempt::WaitsForPushes { path: path.to_owned() };
    }
    let clock = Clock::System;
    let mut collector = vendors::collector(&source);
    let (intake, mut arrivals) = intake();
    let mut lines = Lines { handles: HashMap::new(), tls, clock: clock.clone(), intake };
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut input = Input::Start;
    let mut outcomes = Outcomes::of(&source);
    let mut redaction = Redaction::of(&source);
    let attempt = loop {
        if let Input::Closed { conn, .. } = &input {
            lines.handles.remove(conn);
        }
        let mut effects = Vec::new();
        collector.on(clock.now(), &mut rng, input, &mut effects);
        for effect in effects {
            if let Effect::Secret(secret) = &effect {
                redaction.learn(secret);
            }
            if let Some((conn, attempt)) = lines.carry_out(effect, &mut outcomes) {
                outcomes.note(conn, attempt);
            }
        }
        if let Some(attempt) = outcomes.all_told() {
            break attempt;
        }
        // What the collector's timers would do comes after a failure, which is an answer already.
        match tokio::time::timeout_at(deadline, arrivals.recv()).await {
            Ok(Some(arrival)) => input = arrival.input,
            Ok(None) | Err(_) => {
                break outcomes.overdue();
            }
        }
    };
    lines.close(&mut arrivals).await;
    match attempt {
        // Some say back what they were told.
        Attempt::Failed { reason } => Attempt::Failed { reason: redaction.words(reason) },
        attempt => attempt,
    }
}

/// What came of the streams of a source: one, or one per sensor.
struct Outcomes {
    /// By the `sn` of link events; "" where there is one stream only.
    told: BTreeMap<String, Option<Attempt>>,
    conns: HashMap<Conn, String>,
    gave_up: Option<String>,
}

impl Outcomes {
    fn of(source: &Source) -> Self {
        let streams = match &source.vendor {
            VendorConfig::Pontosense(pontosense) => pontosense.sensors.clone(),
            _ => vec![String::new()],
        };
        let told = streams.into_iter().map(|stream| (stream, None)).collect();
        Self { told, conns: HashMap::new(), gave_up: None }
    }

    fn begin(&mut self, link: &LinkEvent) {
        let sn = link.more.get("sn").and_then(|sn| sn.as_str()).unwrap_or_default();
        self.conns.insert(link.conn, sn.to_owned());
    }

    /// The first word about a stream counts.
    fn note(&mut self, conn: Conn, attempt: Attempt) {
        let stream = self.conns.get(&conn).map(String::as_str).unwrap_or_default();
        if let Some(told) = self.told.get_mut(stream) {
            told.get_or_insert(attempt);
        }
    }

    /// The attempt as a whole, once every stream has come to something.
    fn all_told(&self) -> Option<Attempt> {
        if let Some(reason) = &self.gave_up {
            return Some(Attempt::Failed { reason: reason.clone() });
        }
        let told: Vec<&Attempt> = self.told.values().map(Option::as_ref).collect::<Option<_>>()?;
        let failures: Vec<&str> = told
            .into_iter()
            .filter_map(|attempt| match attempt {
                Attempt::Failed { reason } => Some(reason.as_str()),
                _ => None,
            })
            .collect();
        if failures.is_empty() {
            return Some(Attempt::Connected);
        }
        Some(Attempt::Failed { reason: failures.join("; ") })
    }

    /// For when there is no time left: those that said nothing have failed.
    fn overdue(mut self) -> Attempt {
        for (stream, told) in &mut self.told {
            let whose = if stream.is_empty() { String::new() } else { format!("{stream}: ") };
            let reason = format!("{whose}no answer within {} s", PATIENCE.as_secs());
            told.get_or_insert(Attempt::Failed { reason });
        }
        self.all_told().unwrap_or(Attempt::Connected)
    }
}

/// The connections of one attempt.
struct Lines {
    handles: HashMap<Conn, ConnHandle>,
    tls: Arc<ClientConfig>,
    clock: Clock,
    intake: Intake,
}

impl Lines {
    /// Does what the collector wants done, and says so if that tells how the attempt went.
    fn carry_out(&mut self, effect: Effect, outcomes: &mut Outcomes) -> Option<(Conn, Attempt)> {
        match effect {
            Effect::DialWebSocket { conn, dial } => {
                let tls = Arc::clone(&self.tls);
                let handle = websocket_client::spawn(dial, tls, conn, self.clock.clone(), &self.intake);
                self.handles.insert(conn, handle);
            }
            Effect::DialMqtt { conn, dial } => {
                let tls = Arc::clone(&self.tls);
                let handle = mqtt_client::spawn(dial, tls, conn, self.clock.clone(), &self.intake);
                self.handles.insert(conn, handle);
            }
            Effect::Http { call, request } => {
                http_client::spawn(call, request, Arc::clone(&self.tls), &self.intake);
            }
            Effect::Send { conn, frame } => {
                if let Some(handle) = self.handles.get(&conn) {
                    handle.send(frame);
                }
            }
            Effect::Close { conn } => {
                if let Some(handle) = self.handles.get(&conn) {
                    handle.close();
                }
            }
            Effect::Ready { conn } => return Some((conn, Attempt::Connected)),
            Effect::GiveUp { reason } => {
                outcomes.gave_up = Some(reason);
            }
            Effect::Link(link) => match link.event {
                "connecting" => outcomes.begin(&link),
                "refused" | "disconnected" => {
                    let reason = link.reason.unwrap_or_else(|| link.event.to_owned());
                    return Some((link.conn, Attempt::Failed { reason }));
                }
                _ => {}
            },
            // A message that came meanwhile is the recorder's to keep; unacknowledged, it is sent again.
            Effect::Record { .. } | Effect::Refuse { .. } | Effect::Secret(_) => {}
        }
        None
    }

    /// Takes leave of the servers, so that no log of theirs shows a broken line.
    async fn close(self, arrivals: &mut tokio::sync::mpsc::Receiver<crate::transport::intake::Arrival>) {
        const PATIENCE: Duration = Duration::from_secs(3);
        for handle in self.handles.values() {
            handle.close();
        }
        let mut open = self.handles.len();
        let closing = async {
            while open > 0 {
                match arrivals.recv().await.map(|arrival| arrival.input) {
                    Some(Input::Closed { .. }) => open -= 1,
                    Some(_) => {}
                    None => break,
                }
            }
        };
        let _ = tokio::time::timeout(PATIENCE, closing).await;
    }
}
