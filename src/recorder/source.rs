//! One source's task: it drives the collector and carries out what the collector wants.
//!
//! Everything that concerns a source happens here, one thing after the other: inputs of its
//! connections, webhook requests, its timers, acknowledgements that have become due, the end. So a
//! collector needs no lock, and no source waits for another. What it writes about itself, and how it
//! is seen from outside, is in [`link`].

mod answers;
mod link;
mod strands;

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_rustls::rustls::ClientConfig;

use self::strands::Strands;
use super::deliveries::Deliveries;
use super::gate::{Gate, Outcome};
use super::redact::Redaction;
use super::stats::{SourceStats, State};
use super::webhook::{Answer, Held, Push};
use crate::clock::Clock;
use crate::journal::{Durable, JournalHandle};
use crate::message::{Message, SourceHeader};
use crate::transport::intake::{Arrival, Intake};
use crate::transport::quota::{Charge, Quota};
use crate::transport::{ConnHandle, http_client, mqtt_client, websocket_client};
use crate::vendors::{Ack, Collector, Conn, Effect, Frame, Inbound, Input, LinkEvent, Record};

/// Inputs taken at a time; between two lots timers and acknowledgements have their turn.
const LOT: usize = 64;

/// How long a stop waits for what is owed and for connections to close.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A push without the right header or signature.
const UNAUTHORIZED: u16 = 401;

/// How often messages that are being dropped are looked after, should nothing else happen.
const OVERFLOW_LOOK: Duration = Duration::from_secs(1);

/// What the recorder tells a source.
#[derive(Debug)]
pub enum Order {
    /// A new session is to begin between two messages: the source drops `ready`, and appends nothing
    /// until `begun` says so.
    Roll {
        ready: mpsc::Sender<()>,
        begun: watch::Receiver<bool>,
    },
    Stop,
}

/// What a source's task is made of.
#[expect(missing_debug_implementations, reason = "collectors may hold credentials")]
pub struct SourceTask {
    pub index: u16,
    pub header: SourceHeader,
    pub collector: Box<dyn Collector>,
    pub rng: StdRng,
    pub clock: Clock,
    /// None for a source that never dials.
    pub tls: Option<Arc<ClientConfig>>,
    pub redaction: Redaction,
    /// By kind; see `exclude_kinds`.
    pub excluded: Vec<bool>,
    pub stall_after_ns: Option<u64>,
    pub journal: JournalHandle,
    pub quota: Quota,
    pub stats: Arc<SourceStats>,
    pub latest: Arc<super::latest::Latest>,
    pub devices: Arc<super::devices::Devices>,
}

/// The ways into a source's task.
#[derive(Debug)]
pub struct Inlets {
    pub intake: Intake,
    pub arrivals: mpsc::Receiver<Arrival>,
    pub pushes: mpsc::Receiver<Push>,
    pub orders: mpsc::Receiver<Order>,
}

impl SourceTask {
    /// Runs until it is told to stop, or the recorder is gone. If it panics, that is told at once, and the
    /// other sources go on.
    pub async fn run(self, inlets: Inlets) {
        let (stats, clock) = (Arc::clone(&self.stats), self.clock.clone());
        watch(self.run_unwatched(inlets), &stats, &clock).await;
    }

    async fn run_unwatched(self, inlets: Inlets) {
        let now = self.clock.now();
        let mut source = Source {
            gate: Gate::new(self.journal.clone(), self.quota.clone()),
            charge: Charge::default(),
            durable: self.journal.durable(),
            intake: inlets.intake,
            conns: HashMap::new(),
            answers: HashMap::new(),
            next_inbound: 0,
            first_conn: 0,
            last_conn: 0,
            started_ns: now.steady_ns,
            complaints: link::Complaints::default(),
            deliveries: Deliveries::default(),
            strands: Strands::default(),
            fx: Vec::new(),
            task: self,
        };
        source.input(Input::Start).await;
        source.attend(inlets.arrivals, inlets.pushes, inlets.orders).await;
    }
}

struct Source {
    task: SourceTask,
    gate: Gate,
    /// What the message that is being taken has of the memory.
    charge: Charge,
    durable: watch::Receiver<Durable>,
    intake: Intake,
    conns: HashMap<Conn, ConnHandle>,
    /// Pushes that are not answered, and what their bodies take.
    answers: HashMap<Inbound, (oneshot::Sender<Answer>, Held)>,
    next_inbound: Inbound,
    /// The collector's number of the connection that is 0 in this session.
    first_conn: Conn,
    /// The latest connection, for events that belong to none.
    last_conn: Conn,
    started_ns: u64,
    /// About pushes, which belong to no connection.
    complaints: link::Complaints,
    deliveries: Deliveries,
    strands: Strands,
    fx: Vec<Effect>,
}

impl Source {
    async fn attend(
        &mut self,
        mut arrivals: mpsc::Receiver<Arrival>,
        mut pushes: mpsc::Receiver<Push>,
        mut orders: mpsc::Receiver<Order>,
    ) {
        // Those that were taken, and those of them that are left.
        let (mut lot, mut rest) = (Vec::with_capacity(LOT), VecDeque::with_capacity(LOT));
        loop {
            let wake = self.wake_in();
            let is_open = self.gate.is_open();
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Roll { ready, begun }) => self.roll(ready, begun).await,
                    Some(Order::Stop) => return self.stop(rest, arrivals, pushes).await,
                    // The recorder is gone: nobody reads a summary, nothing is to be waited for.
                    None => return,
                },
                Ok(()) = self.durable.changed() => self.acknowledge(),
                () = self.gate.let_in() => self.acknowledge(),
                // More was held back than there is room for, and now there is.
                () = std::future::ready(()), if is_open && !rest.is_empty() => self.take(&mut rest).await,
                taken = arrivals.recv_many(&mut lot, LOT), if is_open && rest.is_empty() => {
                    if taken == 0 {
                        return;
                    }
                    rest.extend(lot.drain(..));
                    self.take(&mut rest).await;
                }
                Some(push) = pushes.recv() => self.push(push).await,
                () = sleep(wake) => self.tick().await,
            }
        }
    }

    /// Takes what has arrived, as long as more may be read.
    async fn take(&mut self, arrivals: &mut VecDeque<Arrival>) {
        while self.gate.is_open()
            && let Some(arrival) = arrivals.pop_front()
        {
            self.arrived(arrival).await;
        }
    }

    async fn arrived(&mut self, Arrival { input, charge, too_long_bytes }: Arrival) {
        if let Some(bytes) = too_long_bytes {
            return self.too_long(input, bytes);
        }
        self.charge = charge;
        self.input(input).await;
        drop(std::mem::take(&mut self.charge));
    }

    /// Counts and tells a message that was not kept. Who waits for its acknowledgement gets it, in its turn: else it
    /// would come again and again, and nothing behind it.
    fn too_long(&mut self, input: Input, bytes: u64) {
        let Input::Frame { conn, at, frame } = input else { return };
        self.heard(conn, at);
        let is_first = !self.gate.is_overflowing();
        self.gate.drop_too_long(at, bytes);
        if let Frame::Publish { ack: Some(id), .. } = frame {
            self.gate.settle_behind(Ack::Mqtt { conn, id });
        }
        self.task.stats.lock().drop_one(bytes, at.steady_ns);
        self.tell_overflow(is_first);
        self.acknowledge();
    }

    /// How long until a timer is due.
    fn wake_in(&self) -> Option<Duration> {
        let now_ns = self.task.clock.now().steady_ns;
        let stall = self.stalls_at();
        let due = [self.task.collector.wake_at(), stall].into_iter().flatten().min();
        let wake = due.map(|due| Duration::from_nanos(due.saturating_sub(now_ns)));
        if self.gate.is_overflowing() {
            Some(wake.map_or(OVERFLOW_LOOK, |wake| wake.min(OVERFLOW_LOOK)))
        } else {
            wake
        }
    }

    async fn tick(&mut self) {
        let now = self.task.clock.now();
        if self.task.collector.wake_at().is_some_and(|at| at <= now.steady_ns) {
            self.input(Input::Tick).await;
        }
        if self.stalls_at().is_some_and(|at| at <= now.steady_ns) {
            self.stalled(now);
        }
        self.tell_overflow(false);
    }

    /// Gives an input to the collector and carries out what it wants.
    async fn input(&mut self, input: Input) {
        if let Input::Closed { conn, .. } = &input {
            // Its acknowledgements mean nothing to the next connection.
            self.conns.remove(conn);
            self.gate.forget(*conn);
        }
        let closed = if let Input::Closed { conn, .. } = &input { Some(*conn) } else { None };
        // What else is recorded, a token reply's configuration, say, ends no stream's silence.
        let came = match &input {
            Input::Frame { conn, at, .. } => Some((*conn, *at)),
            Input::Pushed { at, .. } => Some((0, *at)),
            _ => None,
        };
        let now = self.task.clock.now();
        let mut fx = std::mem::take(&mut self.fx);
        self.task.collector.on(now, &mut self.task.rng, input, &mut fx);
        for effect in fx.drain(..) {
            if let (Some((conn, at)), Effect::Record { .. }) = (came, &effect) {
                self.heard(conn, at);
            }
            self.carry_out(effect).await;
        }
        self.fx = fx;
        if let Some(conn) = closed {
            self.strands.closed(conn);
        }
    }

    async fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Record { record, ack } => self.record(record, ack).await,
            Effect::Link(event) => {
                self.link(event);
            }
            Effect::DialWebSocket { conn, dial } => {
                let Some(tls) = self.task.tls.clone() else { return };
                let clock = self.task.clock.clone();
                self.dialled(conn, websocket_client::spawn(dial, tls, conn, clock, &self.intake));
            }
            Effect::DialMqtt { conn, dial } => {
                let Some(tls) = self.task.tls.clone() else { return };
                let clock = self.task.clock.clone();
                self.dialled(conn, mqtt_client::spawn(dial, tls, conn, clock, &self.intake));
            }
            Effect::Http { call, request } => {
                let Some(tls) = self.task.tls.clone() else { return };
                http_client::spawn(call, request, tls, &self.intake);
            }
            Effect::Send { conn, frame } => {
                if let Some(handle) = self.conns.get(&conn)
                    && !handle.send(frame)
                {
                    // It reads nothing any more; its end is on the way, or is brought about.
                    handle.close();
                }
            }
            Effect::Close { conn } => {
                if let Some(handle) = self.conns.get(&conn) {
                    handle.close();
                }
            }
            Effect::Refuse { inbound, reply } => {
                if reply.status == UNAUTHORIZED {
                    self.turned_away(&reply);
                }
                self.answer(inbound, Answer::Reply(reply));
            }
            Effect::Secret(secret) => self.task.redaction.learn(&secret),
            Effect::Ready { conn } => self.ready(conn),
            Effect::GiveUp { reason } => {
                let reason = self.task.redaction.words(reason);
                tracing::error!("{}: given up: {reason}", self.task.header.name);
                let mut stats = self.task.stats.lock();
                stats.state = State::GaveUp;
                stats.gave_up = Some(reason);
            }
        }
    }

    fn dialled(&mut self, conn: Conn, handle: ConnHandle) {
        self.last_conn = conn;
        self.conns.insert(conn, handle);
    }

    async fn push(&mut self, push: Push) {
        let inbound = self.next_inbound;
        self.next_inbound += 1;
        self.answers.insert(inbound, (push.answer, push.held));
        self.input(Input::Pushed { inbound, at: push.at, request: push.request }).await;
    }

    fn answer(&mut self, inbound: Inbound, answer: Answer) {
        if let Some((waiting, _)) = self.answers.remove(&inbound) {
            // A client that is gone is not told; its message counts all the same.
            let _ = waiting.send(answer);
        }
    }

    async fn record(&mut self, record: Record, ack: Option<Ack>) {
        if self.task.excluded.get(usize::from(record.kind)).copied().unwrap_or(false) {
            // Not wanted, but taken: who waits for an acknowledgement gets it, in its turn.
            if let Some(ack) = ack {
                self.gate.settle_behind(ack);
                self.acknowledge();
            }
            return;
        }
        let at = record.at;
        let bytes = record.payload.len() as u64;
        let delivery_id = record.delivery_id.clone();
        let first = delivery_id.as_deref().and_then(|id| self.deliveries.first(id));
        let message = Message { duplicate_of: first, ..self.message(record) };
        self.task.latest.note(&message);
        self.task.devices.note(&message);
        match self.gate.admit(message, ack, &mut self.charge).await {
            Outcome::Taken(ticket) => {
                if let (Some(id), Some(ticket)) = (&delivery_id, ticket) {
                    self.deliveries.note(id, ticket);
                }
                {
                    let mut stats = self.task.stats.lock();
                    stats.messages += 1;
                    stats.bytes += bytes;
                    stats.duplicates += u64::from(first.is_some());
                    stats.last_message_us = Some(at.wall_us);
                    stats.last_message_ns = Some(at.steady_ns);
                    stats.rate.count(at.steady_ns, bytes);
                }
                if self.gate.is_overflowing() && self.gate.may_tell(at) {
                    self.tell_overflow(true);
                }
            }
            Outcome::Dropped => {
                self.task.stats.lock().drop_one(bytes, at.steady_ns);
                self.tell_overflow(false);
                // A message that is too large is acknowledged all the same, and no sync follows it.
                self.acknowledge();
            }
            Outcome::Refused { ack, why } => self.refuse(ack, why, at.steady_ns),
        }
    }

    fn message(&self, record: Record) -> Message {
        let is_topic = record.mqtt.is_some();
        Message {
            source: self.task.index,
            kind: record.kind,
            connection: record.conn.saturating_sub(self.first_conn),
            at: record.at,
            channel: if is_topic { record.channel } else { self.task.redaction.channel(record.channel) },
            mqtt: record.mqtt,
            is_binary: record.is_binary,
            headers: record.headers.map(|headers| self.task.redaction.headers(headers)),
            duplicate_of: None,
            payload: record.payload,
            clear: record.clear,
        }
    }

    /// Lets a new session begin: connections stay, their numbers start anew.
    async fn roll(&mut self, ready: mpsc::Sender<()>, mut begun: watch::Receiver<bool>) {
        self.tell_overflow(true);
        drop(ready);
        // An error is the recorder's end, or a session that could not begin: the old one goes on.
        if begun.wait_for(|begun| *begun).await.is_err() {
            return;
        }
        self.deliveries.clear();
        // Those that wait for a token, to be dialled with it, have their numbers already.
        let mut open: Vec<Conn> = self.conns.keys().copied().chain(self.strands.begun()).collect();
        if self.task.tls.is_none() {
            open.push(0); // Webhooks have one connection, and it is always open.
        }
        open.sort_unstable();
        open.dedup();
        self.first_conn = open.first().copied().unwrap_or(self.last_conn + 1);
        // Each session tells by itself that it began during an outage.
        self.still_down();
        for conn in open {
            // A connection that is still being made is no news of a stream that flows.
            let strand = self.strands.by_conn(conn);
            let event = if strand.heard_ns.is_some() { "continued" } else { "connecting" };
            let more = strand.about();
            self.link(LinkEvent { event, conn, reason: None, gap_ns: None, more });
        }
        let mut fx = Vec::new();
        self.task.collector.rolled(self.task.clock.now(), &mut fx);
        for effect in fx {
            self.carry_out(effect).await;
        }
    }

    /// Ends in order: connections are closed, what they still bring is recorded, and what is owed is
    /// acknowledged. Not the other way round: on a busy stream something is always owed.
    async fn stop(
        &mut self,
        rest: VecDeque<Arrival>,
        mut arrivals: mpsc::Receiver<Arrival>,
        mut pushes: mpsc::Receiver<Push>,
    ) {
        let mut deadline = pin!(tokio::time::sleep(STOP_TIMEOUT));
        pushes.close();
        for arrival in rest {
            self.arrived(arrival).await;
        }
        self.input(Input::Stop).await;
        loop {
            self.acknowledge();
            if self.conns.is_empty() && self.gate.is_done() && pushes.is_empty() {
                break;
            }
            tokio::select! {
                () = deadline.as_mut() => break,
                Some(arrival) = arrivals.recv() => self.arrived(arrival).await,
                Some(push) = pushes.recv() => self.push(push).await,
                () = self.gate.let_in() => {}
                Ok(()) = self.durable.changed() => {}
            }
        }
        self.tell_overflow(true);
        let now = self.task.clock.now();
        let (lost, held) = self.gate.give_up();
        let mut stats = self.task.stats.lock();
        stats.messages = stats.messages.saturating_sub(held);
        stats.dropped += lost;
        // Unacknowledged: the broker knows, and keeps it.
        stats.refused += held - lost;
        stats.gap_ns = stats.gap_ns_at(now.steady_ns);
        stats.down_since_ns = None;
        if stats.gave_up.is_none() {
            stats.state = State::Stopped;
        }
    }
}

/// Runs a source's task to its end, and says so if that is a panic. What it worked on is gone with it, but for
/// the counters, whose lock minds no panic.
async fn watch(task: impl Future<Output = ()>, stats: &SourceStats, clock: &Clock) {
    if AssertUnwindSafe(task).catch_unwind().await.is_ok() {
        return;
    }
    let reason = "a fault in Telereel ended this source; start `record` again, and report it";
    tracing::error!("{}: {reason}; the other sources go on", stats.name);
    let mut counters = stats.lock();
    counters.state = State::GaveUp;
    counters.gave_up = Some(reason.to_owned());
    counters.down_since_ns.get_or_insert(clock.now().steady_ns);
}

async fn sleep(wake: Option<Duration>) {
    match wake {
        Some(wake) => tokio::time::sleep(wake).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
