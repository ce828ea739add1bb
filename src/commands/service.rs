//! What a service manager is told (systemd's `sd_notify`): readiness, reloads, the watchdog's sign of life. Without one,
//! nothing.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::recorder::{StatusSource, stats::State};

/// How often the line in `systemctl status` is renewed.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Recording has begun, or goes on after a reload.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is being read anew; [`ready`] ends it.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!("no monotonic time: {error}"),
    }
}

pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("sealing everything")]);
}

/// Tells how it is, and that it lives, for as long as it is polled: the watchdog is fed by half its time, only while the
/// journal's writer answers, and only if the runtime gets to it at all.
pub(super) async fn attend(recorder: StatusSource) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let watchdog = sd_notify::watchdog_enabled();
    let every = watchdog.map_or(SAY_EVERY, |within| (within / 2).min(SAY_EVERY));
    let mut tick = tokio::time::interval(every.max(Duration::from_millis(1)));
    loop {
        tick.tick().await;
        if watchdog.is_some() && recorder.is_alive() {
            tell(&[NotifyState::Watchdog]);
        }
        tell(&[NotifyState::Status(&line(&recorder))]);
    }
}

/// `recording tuesday; 3 of 4 sources connected`
fn line(recorder: &StatusSource) -> String {
    let states = recorder.states();
    let connected = states.iter().filter(|state| matches!(state, State::Connected | State::Stalled)).count();
    format!("recording {}; {connected} of {} sources connected", recorder.session().name, states.len())
}

fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::debug!("the service manager cannot be told: {error}");
    }
}
