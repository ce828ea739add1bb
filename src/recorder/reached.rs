//! Noting down in a session's sidecar how far it has come: with the first message of each journal part that a power cut
//! cannot take any more. Should the part be gone after a crash, it is missed for that.

use tokio_util::sync::CancellationToken;

use super::start::run_blocking;
use super::status::StatusSource;

/// Until `end`. Nothing of the recording waits for it, and what it cannot write is missed by nobody but `verify`.
pub(super) async fn note(running: StatusSource, end: CancellationToken) {
    let journal = running.journal();
    let mut durable = journal.durable();
    let mut noted = None;
    loop {
        let durable_mark = journal.progress().durable;
        if let Some(mark) = durable_mark.filter(|mark| noted != Some((mark.session_id, mark.part))) {
            noted = Some((mark.session_id, mark.part));
            let archive = running.archive().clone();
            let done = run_blocking(move || archive.note_reached(mark.session_id, mark.seq + 1)).await;
            if let Ok(Err(error)) = done {
                tracing::warn!("how far the session has come could not be noted down: {error}");
            }
        }
        tokio::select! {
            biased;
            () = end.cancelled() => return,
            changed = durable.changed() => if changed.is_err() { return },
        }
    }
}
