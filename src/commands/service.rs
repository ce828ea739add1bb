//! What a service manager is told (systemd's `sd_notify`): readiness, reloads, the watchdog's sign of life. Without one,
//! nothing.
//!
//! It is told from a thread of its own: a manager that does not listen would hold up whoever tells it.

use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::mpsc;

use crate::recorder::{StatusSource, stats::State};

/// How often the line in `systemctl status` is renewed.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// What may wait to be told: few changes of state; signs of life do not queue.
const WORDS_MAX: usize = 16;

/// How long the end waits for the last word to be said.
const END_TIMEOUT: Duration = Duration::from_secs(1);

enum Word {
    Ready,
    Reloading,
    Stopping,
    Here { is_alive: bool, line: String },
}

/// The service manager's ear, if there is one.
pub(super) struct Service(Option<(mpsc::Sender<Word>, Receiver<()>)>);

impl Service {
    pub(super) fn start() -> Self {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Self(None);
        }
        let (words, mut said) = mpsc::channel(WORDS_MAX);
        let (ended, is_over) = sync_channel(1);
        let told = std::thread::Builder::new().name("service".to_owned()).spawn(move || {
            while let Some(word) = said.blocking_recv() {
                tell(&word);
            }
            // Nobody may wait for it.
            let _ = ended.send(());
        });
        Self(told.ok().map(|_| (words, is_over)))
    }

    /// Recording has begun, or goes on after a reload.
    pub(super) fn ready(&self) {
        self.say(Word::Ready);
    }

    /// The configuration is being read anew; [`Service::ready`] ends it.
    pub(super) fn reloading(&self) {
        self.say(Word::Reloading);
    }

    pub(super) fn stopping(&self) {
        self.say(Word::Stopping);
    }

    fn say(&self, word: Word) {
        if let Some((words, _)) = &self.0 {
            // Full, it has not been listened to for long.
            let _ = words.try_send(word);
        }
    }

    /// Tells how it is, and that it lives, for as long as it is polled: the watchdog is fed by half its time, only while
    /// the journal's writer answers, and only if the runtime gets to it at all.
    pub(super) fn attend(&self, recorder: StatusSource) {
        let Some((words, _)) = &self.0 else { return };
        let words = words.downgrade();
        let watchdog = sd_notify::watchdog_enabled();
        let every = watchdog.map_or(SAY_EVERY, |within| (within / 2).min(SAY_EVERY));
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(every.max(Duration::from_millis(1)));
            loop {
                tick.tick().await;
                let Some(words) = words.upgrade() else { return };
                // What waits is newer than nothing; signs of life must not crowd out what follows.
                if words.capacity() == words.max_capacity() {
                    let is_alive = watchdog.is_some() && recorder.is_alive();
                    let _ = words.try_send(Word::Here { is_alive, line: line(&recorder) });
                }
            }
        });
    }

    /// Lets the last word be said.
    pub(super) fn end(self) {
        if let Some((words, is_over)) = self.0 {
            drop(words);
            let _ = is_over.recv_timeout(END_TIMEOUT);
        }
    }
}

/// `recording tuesday; 3 of 4 sources connected`
fn line(recorder: &StatusSource) -> String {
    let states = recorder.states();
    let connected = states.iter().filter(|state| matches!(state, State::Connected | State::Stalled)).count();
    format!("recording {}; {connected} of {} sources connected", recorder.session().name, states.len())
}

fn tell(word: &Word) {
    let told = match word {
        Word::Ready => sd_notify::notify(&[NotifyState::Ready]),
        Word::Reloading => NotifyState::monotonic_usec_now()
            .and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now])),
        Word::Stopping => {
            sd_notify::notify(&[NotifyState::Stopping, NotifyState::Status("sealing everything")])
        }
        Word::Here { is_alive: true, line } => {
            sd_notify::notify(&[NotifyState::Watchdog, NotifyState::Status(line)])
        }
        Word::Here { is_alive: false, line } => sd_notify::notify(&[NotifyState::Status(line)]),
    };
    if let Err(error) = told {
        tracing::debug!("the service manager cannot be told: {error}");
    }
}
