//! What is seen of a replay at a terminal while it runs.

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::commands::context::Context;
use crate::commands::progress::{Progress, Screen};
use crate::player::control::{Snapshot, State};
use crate::units::{human_count, human_duration};

/// How often the line at the terminal is drawn anew.
const DRAW_EVERY: Duration = Duration::from_millis(500);

/// How often it looks who is ready.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Says how many clients are ready, whenever that changes, until the replay starts.
pub(super) async fn say_who_is_ready(
    screen: Screen,
    progress: impl Fn() -> (u64, usize),
    wanted: NonZeroUsize,
    stop: CancellationToken,
) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    let mut said = 0;
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let (messages, ready) = progress();
        if messages > 0 || ready >= wanted.get() {
            return;
        }
        if ready != said {
            screen.note(format!("waiting: {ready} of {wanted} clients ready"));
            said = ready;
        }
    }
}

/// Draws how far it is, where there is a terminal.
pub(in crate::commands) async fn draw(context: &Context, progress: impl Fn() -> (u64, usize)) -> Infallible {
    let line = Progress::spinner(context);
    let mut tick = tokio::time::interval(DRAW_EVERY);
    loop {
        tick.tick().await;
        if !line.is_shown() {
            std::future::pending::<()>().await;
        }
        let (messages, clients) = progress();
        line.say(&format!("{} messages; {clients} listening", human_count(messages)));
    }
}

/// As [`draw`], with where the replay is.
pub(super) async fn draw_position(context: &Context, look: impl Fn() -> Snapshot) -> Infallible {
    let line = Progress::spinner(context);
    let mut tick = tokio::time::interval(DRAW_EVERY);
    loop {
        tick.tick().await;
        if !line.is_shown() {
            std::future::pending::<()>().await;
        }
        line.say(&position(&look()));
    }
}

fn position(now: &Snapshot) -> String {
    let state = match now.state {
        State::Waiting => "waiting",
        State::Playing => "playing",
        State::Paused => "paused",
        State::Done => "done",
    };
    let duration = now.duration_ns.map(|ns| format!(" of {}", human_duration(ns))).unwrap_or_default();
    format!(
        "{state} at {}{duration}, speed {}; {} messages; {} listening",
        human_duration(now.position_ns),
        now.speed,
        human_count(now.emitted),
        now.clients
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_where_it_is() {
        let now = Snapshot {
            state: State::Paused,
            position_ns: 61_000_000_000,
            duration_ns: Some(90_500_000_000),
            seq: Some(7),
            session_id: None,
            speed: "1/4".parse().unwrap(),
            emitted: 12_345,
            clients: 2,
        };
        let said = "paused at 1 min 1 s of 1 min 30 s, speed 1/4; 12 345 messages; 2 listening";
        assert_eq!(position(&now), said);
    }
}
