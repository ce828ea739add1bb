//! What is kept of a client that has left.

use super::lateness::Lateness;

/// Clients that have a summary of their own: a vendor that is simulated for months sees many come and go.
pub(super) const SUMMARIES_MAX: usize = 1_000;

/// What a client of a replay went through.
#[derive(Clone, Debug)]
pub struct ClientSummary {
    pub id: u64,
    pub endpoint: String,
    /// Flushed to its socket.
    pub messages: u64,
    /// Told again because it came late, or because the replay was moved: not among `messages`.
    pub states: u64,
    /// Its connection was closed because what it came for was down.
    pub cut: bool,
    pub bytes: u64,
    /// Addressed to it and not sent, because it was too slow.
    pub dropped: u64,
    /// Sent, and refused for good by a receiver that was pushed to.
    pub refused: u64,
    /// Sent once more because the receiver had not taken it.
    pub repeated: u64,
    /// Why it was disconnected before the end; none if it stayed or left by itself.
    pub reason: Option<&'static str>,
    pub lateness: Lateness,
}

/// What all clients together got.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    pub messages: u64,
    pub bytes: u64,
    pub dropped: u64,
    pub refused: u64,
    /// Clients, by us and with a reason.
    pub disconnected: u64,
    pub lateness: Lateness,
}

impl Totals {
    pub(super) fn add_summary(&mut self, summary: &ClientSummary) {
        self.messages += summary.messages;
        self.bytes += summary.bytes;
        self.dropped += summary.dropped;
        self.refused += summary.refused;
        self.disconnected += u64::from(summary.reason.is_some());
        self.lateness.add(&summary.lateness);
    }
}

/// Keeps a summary; beyond the bound it is added to the latest of its endpoint.
pub(super) fn note(summaries: &mut Vec<ClientSummary>, summary: ClientSummary) {
    let is_full = summaries.len() >= SUMMARIES_MAX;
    let like = |kept: &&mut ClientSummary| is_full && kept.endpoint == summary.endpoint;
    match summaries.iter_mut().rev().find(like) {
        None => summaries.push(summary),
        Some(kept) => {
            kept.messages += summary.messages;
            kept.states += summary.states;
            kept.cut |= summary.cut;
            kept.bytes += summary.bytes;
            kept.dropped += summary.dropped;
            kept.refused += summary.refused;
            kept.repeated += summary.repeated;
            kept.reason = summary.reason.or(kept.reason);
            kept.lateness.add(&summary.lateness);
        }
    }
}
