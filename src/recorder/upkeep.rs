//! Upkeep while the recording goes on: what is older than its retention goes, sessions that have ended become few
//! files, and the oldest goes where all takes too many bytes.
//!
//! It is done once a day, by one thread of the lowest priority, one job at a time ([`turn`]), and by the calendar of
//! [`plan`]. It never touches the session that is being recorded. While more comes in than usual, or a part waits to be
//! sealed, it stands still ([`Pacing`]); if that lasts, it takes back what it has begun and tries again in an hour. A
//! stop does not wait for it: each job is whole or not done at all, wherever it is cut.

pub mod plan;
pub mod turn;

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::oneshot;

pub use self::plan::{Calendar, Plan};
pub use self::turn::{Turn, Upkeep};
use crate::archive::{Lock, Watch};
use crate::clock::{Clock, Now};

/// How often the calendar is looked at.
const LOOK: Duration = Duration::from_secs(60);

/// How often the load is looked at while upkeep stands still.
const LOAD_LOOK: Duration = Duration::from_millis(200);

/// For how long it stands still before it gives way altogether.
const PATIENCE_NS: u64 = 600_000_000_000;

/// When it tries again then.
const RETRY: Duration = Duration::from_secs(3_600);

/// How long a stop waits for upkeep. One file's checksum is taken in one go, and may take longer.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// What upkeep is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Doing {
    #[default]
    Idle,
    Pruning,
    Compacting,
}

/// What is known of upkeep: `upkeep` in the status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UpkeepStatus {
    pub state: Doing,
    /// It stands still, for the recording's sake.
    pub waits: bool,
    /// RFC 3339; none before the first time.
    pub last_run_at: Option<String>,
    #[serde(skip)]
    pub last_run_us: Option<i64>,
    /// RFC 3339.
    pub next_run_at: Option<String>,
    #[serde(skip)]
    pub next_run_us: Option<i64>,
    /// Since the recorder was started.
    pub pruned_messages: u64,
    pub pruned_bytes: u64,
    pub compacted_sessions: u64,
    /// Why more is kept than `retain_max_bytes` allows; none where it fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub above_max: Option<String>,
    /// Sessions that upkeep passed over, for their errors, the last time.
    pub failed_sessions: u64,
    /// The first of these errors, or another.
    pub error: Option<String>,
}

/// What upkeep and the recorder share.
#[derive(Debug, Default)]
pub struct Keeping {
    plan: Mutex<Plan>,
    status: Mutex<UpkeepStatus>,
    stopped: Mutex<bool>,
    wake: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keeping {
    pub fn new(plan: Plan) -> Self {
        Self { plan: Mutex::new(plan), ..Self::default() }
    }

    pub fn plan(&self) -> Plan {
        lock(&self.plan).clone()
    }

    /// From its next job on, upkeep goes by this one.
    pub fn replan(&self, plan: Plan) {
        *lock(&self.plan) = plan;
    }

    /// None where nothing is to be kept up.
    pub fn status(&self) -> Option<UpkeepStatus> {
        (!lock(&self.plan).is_empty()).then(|| lock(&self.status).clone())
    }

    fn note(&self, change: impl FnOnce(&mut UpkeepStatus)) {
        change(&mut lock(&self.status));
    }

    /// No further job, and the present one is taken back.
    pub fn stop(&self) {
        *lock(&self.stopped) = true;
        self.wake.notify_all();
    }

    fn is_stopped(&self) -> bool {
        *lock(&self.stopped)
    }

    /// Waits until so much time has passed since then, or it is stopped.
    fn pause(&self, clock: &Clock, since: Now, time: Duration) {
        let mut stopped = lock(&self.stopped);
        while !*stopped {
            let passed = Duration::from_nanos(clock.now().steady_ns.saturating_sub(since.steady_ns));
            let left = time.saturating_sub(passed);
            if left.is_zero() {
                return;
            }
            let woken = self.wake.wait_timeout(stopped, clock.sleep_at_most(left));
            stopped = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// How much the recording has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    Light,
    /// Input waits, or a part is being sealed.
    Heavy,
    /// The disk is nearly full: nothing is accepted.
    Full,
}

/// When upkeep goes on, and when it stands still.
pub struct Pacing<'a> {
    pub keeping: &'a Keeping,
    pub clock: &'a Clock,
    pub load: &'a dyn Fn() -> Load,
    /// Lets a moment pass.
    pub pause: &'a dyn Fn(),
}

impl Pacing<'_> {
    /// Stands still while the load is heavy. False: what has been begun is to be taken back, since the recorder stops,
    /// the load stays heavy, or a new file would take room that the journal needs. Pruning makes room, and goes on.
    pub fn goes_on(&self) -> bool {
        let since_ns = self.clock.now().steady_ns;
        let goes_on = loop {
            let load = (self.load)();
            let is_pruning = lock(&self.keeping.status).state == Doing::Pruning;
            let waited_ns = self.clock.now().steady_ns.saturating_sub(since_ns);
            match load {
                _ if self.keeping.is_stopped() => break false,
                Load::Light => break true,
                Load::Full => break is_pruning,
                Load::Heavy if waited_ns > PATIENCE_NS => break false,
                Load::Heavy => {}
            }
            self.keeping.note(|status| status.waits = true);
            (self.pause)();
        };
        self.keeping.note(|status| status.waits = false);
        goes_on
    }
}

impl fmt::Debug for Pacing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pacing")
    }
}

/// The thread's end in the recorder's hands. Dropped, it tells the thread to end.
#[derive(Debug)]
pub struct Keeper {
    keeping: Arc<Keeping>,
    ended: Option<oneshot::Receiver<()>>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.keeping.stop();
    }
}

impl Keeper {
    pub fn stop(&self) {
        self.keeping.stop();
    }

    /// Waits a moment for the thread to end. One that takes longer keeps the archive's lock until it has.
    pub async fn ended(mut self) {
        self.keeping.stop();
        if let Some(ended) = self.ended.take()
            && tokio::time::timeout(STOP_TIMEOUT, ended).await.is_err()
        {
            tracing::warn!("upkeep is still at a file; what it has begun is taken back at the next start");
        }
    }
}

/// Starts the thread. It has its share of the archive's lock: nobody else may write for as long as a job may be under
/// way, even if the recorder is gone.
pub fn start(
    mut upkeep: Upkeep,
    archive_lock: Arc<Lock>,
    clock: Clock,
    load: impl Fn() -> Load + Send + 'static,
) -> std::io::Result<Keeper> {
    let (done, ended) = oneshot::channel();
    let keeping = Arc::clone(upkeep.keeping());
    let keeper = Keeper { keeping: Arc::clone(&keeping), ended: Some(ended) };
    std::thread::Builder::new().name("upkeep".to_owned()).spawn(move || {
        // Of this thread alone. Where it is refused, upkeep still stands still while there is much to do.
        let _ = rustix::process::nice(19);
        while !keeping.is_stopped() {
            let pause = || keeping.pause(&clock, clock.now(), LOAD_LOOK);
            let pacing = Pacing { keeping: &keeping, clock: &clock, load: &load, pause: &pause };
            let goes_on = || pacing.goes_on();
            // Time that passes during the look counts, or one that is over before the pause would be waited for.
            let now = clock.now();
            match upkeep.turn(now, &Watch { tell: &|_, _| (), goes_on: &goes_on }) {
                Turn::Done => {}
                Turn::Idle => keeping.pause(&clock, now, LOOK),
                Turn::GaveWay => keeping.pause(&clock, clock.now(), RETRY),
            }
        }
        drop((upkeep, archive_lock));
        // Nobody may wait for it.
        let _ = done.send(());
    })?;
    Ok(keeper)
}

#[cfg(test)]
mod tests;
