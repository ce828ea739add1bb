//! Replay: rows in, served through endpoints that look like the vendors' own, at their recorded pace.
//!
//! The sole wiring of the replay path:
//!
//! ```text
//! rows -> reader thread [line, stages] -> stock -> scheduler thread -> fan-out -> one task per client -> sockets
//!             ^ where to begin                      ^ orders: [`Control`]
//! ```
//!
//! What is pushed to and published to are members of the same audience as clients that come, so that
//! bounds, draining, report and trace are the same for all.
//!
//! [`Endpoints::bind`] listens, so that the caller can say where; [`Endpoints::play`] plays. Rows come
//! from anything that iterates: an archive's scan, or a generator that acts as live vendors.
//!
//! Time zero of a replay is its first selected message, so that an idle lead-in is no wait; where the
//! user gave a `from`, it is that moment ([`PlayOptions::zero_ns`]). The clock starts when the clients
//! that are waited for are ready. It goes on to its end though they leave, and though none came.
//!
//! What never happens here: a payload is changed unless that was asked for, the player waits for a client at the
//! original pace, a message leaves before it is due.

pub mod control;
pub mod endpoints;
pub mod event;
pub mod faults;
mod listen;
pub mod pace;
mod past;
mod played;
mod prepare;
mod reader;
pub mod rebase;
mod report;
mod scheduler;
mod sleep;
mod stages;
mod stock;
mod targets;
#[cfg(test)]
pub(crate) mod tests;

use std::convert::Infallible;
use std::error::Error as StdError;
use std::io;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::process::setpriority_process;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub use self::control::{Control, Order};
pub use self::endpoints::{Access, BindOptions, Endpoints};
pub use self::event::Position;
pub use self::faults::Faults;
pub use self::listen::{Listen, Scheme};
pub use self::pace::Speed;
pub use self::past::{
    Cuts, Outage, Outages, OutagesWanted, RowsBefore, StateKinds, StateOptions, state_kinds,
};
use self::played::Played;
pub use self::rebase::Rebasing;
pub use self::report::{ClientReport, Quantiles, Report, SourceReport};
use self::sleep::Asleep;
use self::stages::Stages;
use self::stock::Stock;
pub use self::targets::{PublishTo, PushTarget, PushTo, drain_for, shown};
use crate::message::{Row, SessionId};
use crate::transport::dial::DialError;
use crate::transport::fanout::{Fanout, JoinError};
use crate::transport::http_server::ListenError;
use crate::transport::mqtt_publisher::PublishError;
use crate::transport::tls::TlsError;
use crate::vendors::service::MqttVendor;

/// The reason given to a client that is idle for the whole of `--drain` after the last message.
pub const NOT_DRAINED: &str =
    "not drained: nothing more was taken or acknowledged for as long as is waited at the end";

/// After `--drain`, what is left of a client is its goodbye, which takes up to five seconds.
const GOODBYE_MAX: Duration = Duration::from_secs(6);

/// How much the reader yields to whoever keeps the time, where there are fewer cores than threads.
const READER_NICE: i32 = 10;

/// What `--drain` is unless told otherwise.
pub const DEFAULT_DRAIN: Duration = Duration::from_secs(10);

/// What `--ack-timeout` is unless told otherwise.
pub const DEFAULT_ACK_TIMEOUT: Duration = Duration::from_secs(30);

/// How a replay runs.
#[derive(Clone, Debug)]
pub struct PlayOptions {
    /// The sessions that the rows come from; rows of others count from the earliest of these.
    pub sessions: Vec<SessionStart>,
    pub start: Start,
    /// Where on the time line (nanoseconds since the earliest session's start) the clock starts; none:
    /// at the first selected message.
    pub zero_ns: Option<u64>,
    /// Where on the time line the first selected message is, if that is known before it is read.
    pub first_ns: Option<u64>,
    /// Where on the time line the last selected message is, or no later than where; corrected once it is read.
    pub end_ns: Option<u64>,
    pub start_paused: bool,
    pub speed: Speed,
    pub pace: Pace,
    /// Under [`Pace::Lockstep`]: who takes longer is disconnected.
    pub ack_timeout: Duration,
    pub rounds: Rounds,
    /// Moves the times in payloads; none: they leave as recorded.
    pub rebasing: Option<Rebasing>,
    pub faults: Option<Faults>,
    /// What becomes of the recording's outages; to be reproduced, the endpoints must know as well
    /// ([`Endpoints::reproduce_outages`]).
    pub outages: Outages,
    /// What is told to clients that come late; the endpoints must know as well ([`Endpoints::keep_state`]).
    pub state: Option<StateOptions>,
    /// After the last message: how long a client may neither take nor acknowledge anything.
    pub drain: Duration,
    /// Ends the replay early: what was emitted is delivered, then clients are closed.
    pub stop: CancellationToken,
}

impl Default for PlayOptions {
    fn default() -> Self {
        Self {
            sessions: Vec::new(),
            start: Start::WithClients(NonZeroUsize::MIN),
            zero_ns: None,
            first_ns: None,
            end_ns: None,
            start_paused: false,
            speed: Speed::ORIGINAL,
            pace: Pace::Original,
            ack_timeout: DEFAULT_ACK_TIMEOUT,
            rounds: Rounds::ONCE,
            rebasing: None,
            faults: None,
            outages: Outages::default(),
            state: None,
            drain: DEFAULT_DRAIN,
            stop: CancellationToken::new(),
        }
    }
}

/// A session and when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionStart {
    pub session_id: SessionId,
    /// Wall clock, microseconds since the Unix epoch.
    pub started_at_us: i64,
}

/// When a replay starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// When so many clients are ready to receive at the same time.
    WithClients(NonZeroUsize),
    AtOnce,
}

/// Whose time a replay keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// The recording's. A client that falls behind its bounded queue is disconnected.
    #[default]
    Original,
    /// As fast as the slowest client takes it: the stream waits for a client whose queue is full, and
    /// disconnects it only if it takes nothing for half a minute.
    Max,
    /// The next message only when every client that got the last and can acknowledge has done so.
    Lockstep,
    /// Starts paused: each message by a step.
    Step,
}

/// How often the selection is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounds {
    Times(NonZeroU64),
    Forever,
}

impl Rounds {
    pub const ONCE: Self = Self::Times(NonZeroU64::MIN);

    fn includes(self, round: u64) -> bool {
        match self {
            Rounds::Times(times) => round < times.get(),
            Rounds::Forever => true,
        }
    }

    /// How many are left when the n-th, from 0, is being played, which is one of them.
    fn after(self, round: u64) -> Self {
        match self {
            Rounds::Times(times) => {
                Rounds::Times(NonZeroU64::new(times.get().saturating_sub(round)).unwrap_or(NonZeroU64::MIN))
            }
            Rounds::Forever => Rounds::Forever,
        }
    }
}

/// Why a replay cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    #[error("{text:?} is not an address to listen on: {expected}")]
    NotAListener { text: String, expected: &'static str },
    #[error("{text:?} is not where a replay can go: {expected}")]
    NotATarget { text: String, expected: &'static str },
    #[error(
        "{url} can be reached from other machines: say --require-credentials, to serve only those who have \
         the configured credentials, or --allow-any-credentials"
    )]
    Exposed { url: String },
    #[error("{url} requires credentials, and none are configured: give the configuration with -c")]
    NoCredentials { url: String },
    #[error(
        "{url} is in use by another program: choose another port, or port 0 to have one picked, as in \
         `--listen {any}`"
    )]
    InUse { url: String, any: String },
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("cannot publish to {url}")]
    Publish {
        url: String,
        #[source]
        source: PublishError,
    },
    #[error("cannot push")]
    Push(#[source] DialError),
    #[error(transparent)]
    Join(#[from] JoinError),
    #[error("cannot write the trace {}", path.display())]
    Trace {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    #[error("cannot read the recording on")]
    Rows {
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    #[error("nothing is selected: no message to replay")]
    Empty,
    #[error("the system gives no random numbers: {0}")]
    Random(String),
    #[error("the player's own thread ended unexpectedly")]
    Died,
}

impl Endpoints {
    /// Shows how the replay will begin, to whoever asks before it does.
    pub fn expect(&self, options: &PlayOptions) {
        self.control.expect(options);
    }

    /// Plays what `open` gives, which is called for each round and each time that the replay is wound, on a
    /// thread of its own, with where to begin; returns when every client has everything, or has left, or was
    /// idle for `drain`.
    pub async fn play<F, I, E>(self, options: PlayOptions, open: F) -> Result<Report, PlayError>
    where
        F: FnMut(Position) -> Result<I, E> + Send + 'static,
        I: Iterator<Item = Result<Row, E>>,
        E: StdError + Send + Sync + 'static,
    {
        let control = self.control();
        // A replay whose future is dropped leaves no thread behind that plays to nobody.
        let _stop_if_dropped = StopWhenDropped(Arc::clone(&control));
        let stopped = async {
            options.stop.cancelled().await;
            // Refused where it is over already.
            let _ = control.order(Order::Stop);
            std::future::pending::<Infallible>().await
        };
        let (mut open, vendor) = (open, self.vendor.clone());
        let open = move |position| Ok(told(open(position)?, vendor.clone()));
        let outcome = tokio::select! {
            outcome = run(&self.fanout, &control, &options, open) => outcome,
            never = stopped => match never {},
        };
        self.fanout.finish();
        if outcome.as_ref().is_ok_and(|played| played.stopped) {
            self.fanout.leave_away();
        }
        while !emptied(&self.fanout, &options, control.stopped()).await {
            if !self.fanout.drop_idle(NOT_DRAINED) {
                let _ = tokio::time::timeout(GOODBYE_MAX, self.fanout.empty()).await;
                break;
            }
        }
        let ended_ns = self.fanout.clock().now().steady_ns;
        let fanout = Arc::clone(&self.fanout);
        control.end();
        self.close().await?;
        let played = outcome?;
        if played.messages == 0 && !played.stopped {
            return Err(PlayError::Empty);
        }
        Ok(Report::new(&options, played, &fanout, ended_ns))
    }
}

/// `rows`, and `vendor` is told of them: here, on the thread that reads, and not on the one that keeps the time.
fn told<I, E>(rows: I, vendor: Option<Arc<dyn MqttVendor>>) -> impl Iterator<Item = Result<Row, E>>
where
    I: Iterator<Item = Result<Row, E>>,
{
    rows.inspect(move |row| {
        if let (Some(vendor), Ok(row)) = (&vendor, row) {
            vendor.passes(row);
        }
    })
}

struct StopWhenDropped(Arc<Control>);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        let _ = self.0.order(Order::Stop);
    }
}

/// Whether everybody left before a whole `drain` went by; of a long one no more than the usual goes by once the
/// replay is stopped.
async fn emptied(fanout: &Fanout, options: &PlayOptions, stopped: &CancellationToken) -> bool {
    let stopped = async {
        tokio::select! {
            () = options.stop.cancelled() => {}
            () = stopped.cancelled() => {}
        }
        tokio::time::sleep(options.drain.min(DEFAULT_DRAIN)).await;
    };
    tokio::select! {
        biased;
        () = fanout.empty() => true,
        () = tokio::time::sleep(options.drain) => false,
        () = stopped => false,
    }
}

/// Runs reader and scheduler to their end.
async fn run<F, I, E>(
    fanout: &Arc<Fanout>,
    control: &Arc<Control>,
    options: &PlayOptions,
    open: F,
) -> Result<Played, PlayError>
where
    F: FnMut(Position) -> Result<I, E> + Send + 'static,
    I: Iterator<Item = Result<Row, E>>,
    E: StdError + Send + Sync + 'static,
{
    let ahead = Arc::new(Stock::new(Arc::clone(control.bell())));
    fanout.play(Arc::clone(control.bell()), options.pace == Pace::Lockstep);
    control.shorten(options.outages.cuts());

    let (reader_ended, read) = oneshot::channel();
    let (sessions, stages) = (options.sessions.clone(), Stages::of(options));
    let stock = Arc::clone(&ahead);
    thread::Builder::new()
        .name("replay-reader".to_owned())
        .spawn(move || {
            // For this thread only: it has seconds in stock, and what is due is not to wait for it.
            let _ = setpriority_process(None, READER_NICE);
            reader_ended.send(reader::read(&stock, open, &sessions, stages))
        })
        .map_err(PlayError::Thread)?;

    let (scheduler_ended, played) = oneshot::channel();
    let (audience, control, options) = (Arc::clone(fanout), Arc::clone(control), options.clone());
    let stock = Arc::clone(&ahead);
    let spawned = thread::Builder::new().name("replay-clock".to_owned()).spawn(move || {
        let asleep = Asleep::new(audience.clock().clone(), Arc::clone(control.bell()));
        // Nobody waits for it any more where the replay's future was dropped.
        let _ = scheduler_ended.send(scheduler::run(&stock, &control, &audience, &options, asleep));
    });
    if let Err(error) = spawned {
        ahead.abandon();
        return Err(PlayError::Thread(error));
    }
    let played = played.await.map_err(|_| PlayError::Died)?;
    read.await.map_err(|_| PlayError::Died)??;
    Ok(played)
}
