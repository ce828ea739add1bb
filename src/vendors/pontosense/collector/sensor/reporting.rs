//! Keeping the sensor reporting: a call to start holds for 60 s, and is made again before that.

use bytes::Bytes;
use serde_json::json;

use super::{Live, Next, Sensor, Turn, asked_to_wait_ns, nanoseconds};
use crate::vendors::Effect;
use crate::vendors::lifecycle::SECOND_NS;
use crate::vendors::pontosense::REPORTING_S;
use crate::vendors::pontosense::collector::What;
use crate::vendors::pontosense::collector::api::{self, Failure};

/// The waits in seconds after a call to start that failed: two more fit into the five that are left of
/// the sixty. The last is for all further ones.
const START_WAITS_S: [u64; 8] = [1, 2, 5, 5, 10, 20, 40, 60];

/// A call to start that is not answered by then is made again beside it.
const START_PATIENCE_NS: u64 = 3 * SECOND_NS;

/// Of calls to start that wait for their response.
const STARTS_MAX: u32 = 4;

/// What the calls to start have come to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reporting {
    /// When the latest that succeeded was sent.
    pub(super) since_ns: Option<u64>,
    pub(super) due_ns: Option<u64>,
    pub(super) under_way: u32,
    pub(super) failures: u32,
}

impl Sensor {
    pub(super) fn call_start(&mut self, turn: &mut Turn<'_>) {
        let now_ns = turn.now.steady_ns;
        self.reporting.due_ns = Some(now_ns.saturating_add(START_PATIENCE_NS));
        if self.reporting.under_way >= STARTS_MAX {
            return;
        }
        self.reporting.under_way += 1;
        let request = api::start(turn.config, turn.now, turn.rng, &self.sn);
        let call = turn.calls.enter(self.index, What::Start { sent_ns: now_ns });
        turn.fx.push(Effect::Http { call, request });
    }

    pub(in super::super) fn start_came(
        &mut self,
        turn: &mut Turn<'_>,
        sent_ns: u64,
        result: Result<Bytes, Failure>,
    ) {
        self.reporting.under_way = self.reporting.under_way.saturating_sub(1);
        // A response to what a lost connection had asked for: the next one asks by itself.
        let Some(live) = self.live else { return };
        let failure = match result {
            Ok(_) => return self.reports(turn, live, sent_ns),
            Err(failure) => failure,
        };
        if self.reporting.since_ns.is_some_and(|since_ns| since_ns > sent_ns) {
            return; // One that was sent later has succeeded.
        }
        if failure.is_refusal() {
            return self.start_refused(turn, live, &failure);
        }
        let wait_s = START_WAITS_S.get(self.reporting.failures as usize).unwrap_or(&60);
        self.reporting.failures = self.reporting.failures.saturating_add(1);
        let wait_ns = (wait_s * SECOND_NS).max(asked_to_wait_ns(&failure));
        self.reporting.due_ns = Some(turn.now.steady_ns.saturating_add(wait_ns));
        let more = self.about_call("start", &failure);
        self.link(turn.fx, "refused", live.conn, Some(not_started(&failure)), more);
    }

    /// The sensor reports for a minute from `sent_ns` on.
    fn reports(&mut self, turn: &mut Turn<'_>, live: Live, sent_ns: u64) {
        let since_ns = self.reporting.since_ns.map_or(sent_ns, |since_ns| since_ns.max(sent_ns));
        self.reporting = Reporting {
            since_ns: Some(since_ns),
            due_ns: Some(since_ns.saturating_add(nanoseconds(turn.config.renew_every))),
            under_way: self.reporting.under_way,
            failures: 0,
        };
        let mut more = self.about();
        more.insert("what".into(), json!("reporting"));
        self.link(turn.fx, "renewed", live.conn, None, more);
        if !self.is_flowing {
            self.flow(turn, live.conn);
        }
    }

    /// The last start is a minute old, and none has succeeded since.
    pub(super) fn lapse(&mut self, turn: &mut Turn<'_>) {
        let Some(live) = self.live else { return };
        self.ebb(turn.now);
        let mut more = self.about();
        more.insert("cause".into(), json!("lapsed"));
        more.insert("call".into(), json!("start"));
        let reason = "the sensor has stopped reporting: it could not be started again in time";
        self.link(turn.fx, "refused", live.conn, Some(reason.into()), more);
    }

    /// The sensor may not be started: its connection is of no use.
    fn start_refused(&mut self, turn: &mut Turn<'_>, live: Live, failure: &Failure) {
        self.ebb(turn.now);
        self.live = None;
        self.token = None;
        self.reporting = Reporting { under_way: self.reporting.under_way, ..Reporting::default() };
        self.retire(live.conn, false, turn.fx);
        let more = self.about_call("start", failure);
        self.link(turn.fx, "refused", live.conn, Some(not_started(failure)), more);
        if let Next::Asking(conn) | Next::Dialling(conn) | Next::Opened { conn, .. } = self.next {
            let more = self.about_call("start", failure);
            self.link(turn.fx, "refused", conn, Some(not_started(failure)), more);
        }
        if let Next::Dialling(conn) | Next::Opened { conn, .. } = self.next {
            self.retire(conn, false, turn.fx);
        }
        let wait_ns = self.refused_backoff.next_ns(turn.rng);
        self.next = Next::Waiting { until_ns: turn.now.steady_ns.saturating_add(wait_ns) };
    }

    /// When the sensor's minute is over, should it not be started again.
    pub(super) fn lapses_at(&self) -> Option<u64> {
        let since_ns = self.reporting.since_ns.filter(|_| self.is_flowing && self.live.is_some())?;
        Some(since_ns.saturating_add(REPORTING_S * SECOND_NS))
    }
}

fn not_started(failure: &Failure) -> String {
    format!("not started: {}", failure.detail)
}
