//! The sources that are recorded: each a task, with a seat in the session.
//!
//! A new configuration changes the lineup while it records. A source that stays as it is keeps its task, its connections
//! and its seat: the seat's number is in every message that is under way. The others are stopped, and have given all
//! they had to the old session, before a new session begins whose header has the new sources in their seats; their paths
//! for webhooks are handed over first, so that a push finds one or the other at any time. A seat that nobody takes again
//! stays in the sessions' headers, without messages, unless it is the last.

mod exchange;
mod setup;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::setup::{Setup, set_up};
use super::redact::Redaction;
use super::roll;
use super::source::{Inlets, Order, SourceTask};
use super::start::RecordError;
use super::stats::State;
use super::status::{StatusSource, Watched};
use super::webhook::{Doors, PUSHES_MAX, Room, Route};
use crate::message::SourceHeader;
use crate::transport::intake::intake_within;
use crate::transport::quota::Quota;
use crate::vendors::{self, Source};

/// How long sources may take to end: somewhat more than they allow themselves, and what pushes under way are given
/// before.
const SOURCES_TIMEOUT: Duration = Duration::from_secs(8);

/// After a session that could not begin (a full disk, say): the old one goes on meanwhile.
const RETRY: Duration = Duration::from_secs(60);

/// What the lineup is asked for while it records.
#[derive(Debug)]
pub enum Request {
    Reload {
        sources: Vec<Source>,
        answer: oneshot::Sender<Result<Changes, RecordError>>,
    },
    #[cfg(test)]
    Roll {
        name: Option<String>,
        answer: oneshot::Sender<Result<(), RecordError>>,
    },
}

/// What a new configuration has changed, by the sources' names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub added: Vec<String>,
    pub changed: Vec<String>,
    pub removed: Vec<String>,
    pub kept: usize,
}

/// A place in the session's header, and who has it.
struct Seat {
    header: SourceHeader,
    member: Option<Member>,
}

/// A source that is recorded.
struct Member {
    setup: Setup,
    watched: Watched,
    orders: mpsc::Sender<Order>,
    route: Option<Route>,
    task: JoinHandle<()>,
}

impl Member {
    /// Whether nothing comes of it any more: its credentials were refused for good, say.
    fn is_over(&self) -> bool {
        self.task.is_finished() || self.watched.stats.lock().state == State::GaveUp
    }
}

/// A source that can be pushed to, and does not run yet.
struct Waiting {
    index: usize,
    setup: Setup,
    watched: Watched,
    orders: mpsc::Sender<Order>,
    route: Option<Route>,
    task: SourceTask,
    inlets: Inlets,
}

impl Waiting {
    fn start(self) -> (usize, Member) {
        {
            let mut counters = self.watched.stats.lock();
            (counters.state, counters.gave_up) = (State::Starting, None);
        }
        let task = tokio::spawn(self.task.run(self.inlets));
        let Self { index, setup, watched, orders, route, .. } = self;
        (index, Member { setup, watched, orders, route, task })
    }
}

/// See the [module](self).
pub struct Lineup {
    running: StatusSource,
    /// The name that the user gave; without one, each session is named after its start.
    base_name: Option<String>,
    seats: Vec<Seat>,
    doors: Doors,
    rooms: Rooms,
    rng: StdRng,
}

/// What sources have of the memory.
#[derive(Clone, Debug)]
pub struct Rooms {
    pub quota: Quota,
    /// For the bodies under way to each, in bytes.
    pub bodies_of_source: usize,
}

impl fmt::Debug for Lineup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lineup").field("seats", &self.seats.len()).finish_non_exhaustive()
    }
}

impl Lineup {
    /// Starts all sources, in the seats of the session that has begun.
    pub fn start(
        running: StatusSource,
        base_name: Option<String>,
        setups: Vec<Setup>,
        doors: Doors,
        rooms: Rooms,
        rng: StdRng,
    ) -> Self {
        let mut lineup = Self { running, base_name, seats: Vec::new(), doors, rooms, rng };
        let watched = lineup.running.watched();
        let waiting: Vec<Waiting> = setups
            .into_iter()
            .zip(watched)
            .enumerate()
            .map(|(index, (setup, watched))| {
                lineup.seats.push(Seat { header: vendors::source_header(&setup.source), member: None });
                lineup.wait(index, setup, watched)
            })
            .collect();
        lineup.open_doors(&waiting);
        lineup.seat(waiting);
        lineup
    }

    /// Begins a new session `every` so often, and does what is asked for, until `end` says so.
    pub async fn run(
        mut self,
        every: Option<Duration>,
        mut requests: mpsc::Receiver<Request>,
        end: CancellationToken,
    ) -> Self {
        let mut due = every.map(|every| Instant::now() + every);
        loop {
            let rolls = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = end.cancelled() => return self,
                Some(request) = requests.recv() => match request {
                    Request::Reload { sources, answer } => {
                        let session = self.running.session().session_id;
                        // Who asked may be gone; what was done is in the log.
                        let _ = answer.send(self.reload(&sources).await);
                        if self.running.session().session_id != session {
                            due = every.map(|every| Instant::now() + every);
                        }
                    }
                    #[cfg(test)]
                    Request::Roll { name, answer } => {
                        let _ = answer.send(self.roll(name.as_deref()).await);
                    }
                },
                () = rolls => {
                    let name = self.base_name.clone();
                    let wait = match self.roll(name.as_deref()).await {
                        Ok(()) => every,
                        Err(error) => {
                            let error = crate::transport::dial::chain(&error);
                            tracing::error!("a new session cannot begin, the old one goes on: {error}");
                            every.map(|every| RETRY.min(every))
                        }
                    };
                    due = wait.map(|wait| Instant::now() + wait);
                }
            }
        }
    }

    /// Begins a new session now, with the same sources.
    async fn roll(&mut self, name: Option<&str>) -> Result<(), RecordError> {
        let headers = self.running.session().sources;
        let begun = roll::begin(name, &self.running, headers).await?;
        roll::cross(&self.running, self.orders(), begun).await
    }

    fn orders(&self) -> Vec<mpsc::Sender<Order>> {
        let members = self.seats.iter().filter_map(|seat| seat.member.as_ref());
        members.map(|member| member.orders.clone()).collect()
    }

    fn seat(&mut self, waiting: Vec<Waiting>) {
        for (index, member) in waiting.into_iter().map(Waiting::start) {
            self.seats[index].member = Some(member);
        }
    }

    /// Lets pushes in to those that are seated and those that wait, and to nobody else.
    fn open_doors(&self, waiting: &[Waiting]) {
        let seated = self.seats.iter().filter_map(|seat| seat.member.as_ref()?.route.clone());
        self.doors.exchange(seated.chain(waiting.iter().filter_map(|one| one.route.clone())).collect());
    }

    /// Makes a source's task, which does not run yet.
    fn wait(&mut self, index: usize, setup: Setup, watched: Watched) -> Waiting {
        let (orders, ordered) = mpsc::channel(1);
        let (pushes, pushed) = mpsc::channel(PUSHES_MAX);
        let (intake, arrivals) = intake_within(&self.rooms.quota);
        let route = setup.source.vendor.webhook_path().map(|path| Route {
            path: path.to_owned(),
            header: setup.source.vendor.webhook_header().cloned(),
            room: Room::of(self.rooms.bodies_of_source),
            pushes,
            stats: Arc::clone(&watched.stats),
        });
        let header = self.seats[index].header.clone();
        let source = &setup.source;
        let stall_after_ns = source.stall_after.map(|d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX));
        let task = SourceTask {
            index: u16::try_from(index).unwrap_or(u16::MAX),
            collector: vendors::collector(source),
            rng: StdRng::from_rng(&mut self.rng),
            clock: self.running.clock().clone(),
            tls: setup.tls.clone(),
            redaction: Redaction::of(source),
            excluded: header.kinds.iter().map(|kind| source.exclude_kinds.contains(&kind.name)).collect(),
            stall_after_ns,
            journal: self.running.journal().clone(),
            quota: self.rooms.quota.clone(),
            stats: Arc::clone(&watched.stats),
            latest: Arc::clone(&watched.latest),
            devices: Arc::clone(&watched.devices),
            header,
        };
        let inlets = Inlets { intake, arrivals, pushes: pushed, orders: ordered };
        Waiting { index, setup, watched, orders, route, task, inlets }
    }

    /// Ends all sources: those that are pushed to when `pushed` resolves, the others at once.
    pub async fn end(self, pushed: impl Future<Output = ()>) {
        let members = self.seats.into_iter().filter_map(|seat| seat.member);
        let (doors, lines): (Vec<Member>, Vec<Member>) = members.partition(|member| member.route.is_some());
        let doors = async {
            pushed.await;
            end(doors).await;
        };
        tokio::join!(doors, end(lines));
    }
}

/// Ends sources in good order: what their connections still bring is recorded, and what is owed acknowledged.
async fn end(mut members: Vec<Member>) {
    for member in &members {
        // A source that is over needs no order.
        let _ = member.orders.send(Order::Stop).await;
    }
    let ended = async {
        for member in &mut members {
            if let Err(error) = (&mut member.task).await {
                tracing::error!("a source ended in disorder: {error}");
            }
        }
    };
    if tokio::time::timeout(SOURCES_TIMEOUT, ended).await.is_err() {
        tracing::warn!("some sources did not end in time");
        members.iter().for_each(|member| member.task.abort());
        for member in members {
            if !member.task.is_finished() {
                // An error is that it was aborted.
                let _ = member.task.await;
            }
        }
    }
}
