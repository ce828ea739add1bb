//! Time that the test moves: the recorder's clock and the runtime's timers together.
//!
//! Sockets, disks and threads take the time that they take, of which neither clock knows.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use telereel::clock::{Clock, ManualClock, Now};
use telereel::recorder::StartOptions;
use tokio_util::sync::CancellationToken;

/// How long a test may wait for something, by no clock that it moves.
const LIMIT: Duration = Duration::from_secs(300);

/// What threads are to do is looked at this often, after so many looks at what tasks are: the cores are theirs meanwhile.
const LOOK: Duration = Duration::from_millis(1);
const LOOKS: u32 = 100;

pub struct Time {
    clock: Arc<ManualClock>,
    /// Dropped, it lets the runtime end.
    _stands: mpsc::Sender<()>,
}

impl Time {
    /// Time that stands. Needs a runtime whose own is paused, which lets it pass by itself whenever there is nothing else
    /// to do, unless a thread of its own is at work: so there is one.
    pub fn at(wall_us: i64) -> Self {
        let (stands, ended) = mpsc::channel::<()>();
        drop(tokio::task::spawn_blocking(move || ended.recv().is_err()));
        Self { clock: Arc::new(ManualClock::at(Now { wall_us, steady_ns: 5_000_000_000 })), _stands: stands }
    }

    pub fn now(&self) -> Now {
        Clock::Manual(Arc::clone(&self.clock)).now()
    }

    /// To start a recorder by this time.
    pub fn options(&self, session: Option<&str>) -> StartOptions {
        StartOptions {
            session: session.map(str::to_owned),
            clock: Clock::Manual(Arc::clone(&self.clock)),
            console: Some(telereel::console::routes),
            ..StartOptions::default()
        }
    }

    pub async fn pass(&self, time: Duration) {
        self.clock.advance_ns(u64::try_from(time.as_nanos()).unwrap());
        tokio::time::advance(time).await;
    }

    /// Lets time pass until the wall clock shows so much, which it does not yet.
    pub async fn pass_to(&self, wall_us: i64) {
        let left_us = u64::try_from(wall_us - self.now().wall_us).unwrap();
        self.pass(Duration::from_micros(left_us)).await;
    }

    /// Somebody sets the wall clock.
    pub fn step(&self, us: i64) {
        self.clock.step_wall_us(us);
    }

    /// Waits for threads while no time passes.
    pub async fn until(&self, what: &str, is_so: impl FnMut() -> bool) {
        self.until_after(what, Duration::ZERO, LOOKS, is_so).await;
    }

    /// Waits for threads that wait for a clock themselves.
    pub async fn until_done(&self, what: &str, is_so: impl FnMut() -> bool) {
        self.until_after(what, Duration::from_millis(10), LOOKS, is_so).await;
    }

    /// Waits for tasks, while so much time passes at every few looks.
    pub async fn until_after(&self, what: &str, step: Duration, looks: u32, mut is_so: impl FnMut() -> bool) {
        let began = Instant::now();
        loop {
            for _ in 0..looks {
                if is_so() {
                    return;
                }
                tokio::task::yield_now().await;
            }
            if looks == LOOKS {
                std::thread::park_timeout(LOOK);
            }
            if !step.is_zero() {
                self.pass(step).await;
            }
            assert!(began.elapsed() < LIMIT, "never: {what}");
        }
    }

    /// Ends a recording. Connections have their time to close.
    pub async fn stop(&self, recorder: telereel::recorder::Recorder) -> telereel::recorder::Summary {
        let mut stopped = std::pin::pin!(recorder.stop(CancellationToken::new()));
        let mut looks = 0;
        loop {
            tokio::select! {
                biased;
                summary = stopped.as_mut() => return summary.unwrap(),
                () = tokio::task::yield_now() => {}
            }
            looks += 1;
            if looks % LOOKS == 0 {
                std::thread::park_timeout(LOOK);
                self.pass(Duration::from_millis(10)).await;
            }
        }
    }
}
