//! The life of a source's connection, which is the same for every vendor that is dialled: connect,
//! lose, wait, connect again.
//!
//! ```text
//! dial -> opened -> established -> lost -> wait -> dial …
//! ```
//!
//! `opened` is the transport's handshake; `established` is the vendor's: registered, subscribed, or
//! nothing more where there is none. What is written about it, as rows of kind `link`:
//!
//! | event | when | besides `reason` |
//! |---|---|---|
//! | `connecting` | an attempt begins | `attempt`; the recorder adds the source's options |
//! | `connected` | the transport's handshake is done | what the vendor adds |
//! | `subscribed` | the vendor has said that data will come | what the vendor adds |
//! | `reconnected` | the stream flows, and it was not the first attempt | `gap_ns`, `down_ns` |
//! | `refused` | an attempt ended before it was established | `cause`, `code` |
//! | `disconnected` | an established connection ended | `cause`, `code` |
//!
//! So each `connecting` is followed by `subscribed` (or `connected` where that is all) or `refused`,
//! and an outage is the stretch from `disconnected`, or from a first `connecting` that is refused, to the
//! next `reconnected`. A session that begins during an outage begins with a `refused` that says so.
//!
//! `gap_ns` is how long nothing was received: since the last frame of the connection that was lost, or,
//! if it had none, since its loss; since the start, if there was no connection before. A dead peer is
//! noticed late, so the last frame is the only safe bound; `down_ns` is the shorter time since the loss
//! was noticed.
//!
//! Where a vendor's credentials end while the stream flows, a second connection is made beside the first
//! and takes over: the first is closed only when the second is established, so nothing is lost between
//! them.
//!
//! A source that dials several connections at a time, one per sensor and a second one while one takes
//! over from another, writes the same events, with these members besides:
//!
//! | member | in | means |
//! |---|---|---|
//! | `sn` | every event | the sensor that it is about: each has outages of its own |
//! | `flowing: true` | any event | data of this sensor can come before and after it: it begins and ends no outage |
//! | `planned: true` | `connecting`, `disconnected` | the connection takes over, or was taken over from |
//! | `call` | `refused` | which call was refused: `token`, `start`, `refresh` or `login` |
//! | `what` | `renewed` | what was renewed: `token` or `reporting` |
//!
//! So whoever looks for outages takes events by source and `sn`, and leaves out those with `flowing`. Of
//! a hand-over all five are (`connecting connected subscribed` of the new connection, `disconnected` of
//! the old one, or the `refused` of a new one that failed), as are a `renewed`, and a `refused` of a call
//! that can be made again in time. Numbers of connections count over all sensors of the source.
//!
//! Waits start at 1 s and double to 60 s, each shortened by up to a half at random, so that many
//! recorders do not return in step. They start anew after a connection that held for
//! [`HEALTHY_AFTER_NS`]. There is no last attempt, unless the vendor's collector gives up.

use rand::{Rng, RngExt};
use serde_json::{Map, Value, json};

use super::{CloseCause, Closed, Conn, Effect, LinkEvent};
use crate::clock::Now;

pub(super) const SECOND_NS: u64 = 1_000_000_000;

const FIRST_WAIT_NS: u64 = SECOND_NS;
const LONGEST_WAIT_NS: u64 = 60 * SECOND_NS;

/// Long enough that a server which accepts and then drops does not see an attempt per second.
pub(super) const HEALTHY_AFTER_NS: u64 = 10 * SECOND_NS;

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Idle,
    Dialling(Conn),
    Opened(Conn),
    Established(Conn, u64),
    Waiting { until_ns: u64 },
    Over,
}

/// How far a connection had come when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    Nothing,
    Opened,
    Established,
}

/// The end of an established connection.
#[derive(Clone, Copy, Debug)]
struct Outage {
    lost_ns: u64,
    silent_since_ns: u64,
}

#[derive(Debug)]
pub(super) struct Lifecycle {
    state: State,
    next_conn: Conn,
    backoff: Backoff,
    started_ns: u64,
    /// When the last frame of the established connection came.
    last_heard_ns: Option<u64>,
    /// The outage that lasts; none while the stream flows, and before it ever did.
    outage: Option<Outage>,
    /// The connection that is to take over from an established one, and whether it is open.
    successor: Option<(Conn, bool)>,
}

impl Lifecycle {
    pub(super) fn new() -> Self {
        Self {
            state: State::Idle,
            next_conn: 0,
            backoff: Backoff::default(),
            started_ns: 0,
            last_heard_ns: None,
            outage: None,
            successor: None,
        }
    }

    /// Begins; the caller dials the connection that is returned.
    pub(super) fn start(&mut self, now: Now, fx: &mut Vec<Effect>) -> Option<Conn> {
        if self.state != State::Idle {
            return None;
        }
        self.started_ns = now.steady_ns;
        Some(self.dial(fx))
    }

    /// Says which connection to dial, if its time has come.
    pub(super) fn tick(&mut self, now: Now, fx: &mut Vec<Effect>) -> Option<Conn> {
        match self.state {
            State::Waiting { until_ns } if now.steady_ns >= until_ns => Some(self.dial(fx)),
            _ => None,
        }
    }

    /// Begins a connection that is to take over from the established one; the caller dials it.
    pub(super) fn succeed(&mut self, fx: &mut Vec<Effect>) -> Option<Conn> {
        if self.successor.is_some() || !matches!(self.state, State::Established(..)) {
            return None;
        }
        let conn = self.next();
        self.successor = Some((conn, false));
        let mut more = planned();
        more.insert("attempt".into(), json!(conn));
        link(fx, "connecting", conn, None, more);
        Some(conn)
    }

    /// Data will come on the successor `conn`: closes the connection that it takes over from, and says
    /// which one that was. None if `conn` takes over from none.
    pub(super) fn take_over(
        &mut self,
        now: Now,
        conn: Conn,
        subscribed: &Map<String, Value>,
        fx: &mut Vec<Effect>,
    ) -> Option<Conn> {
        let State::Established(old, _) = self.state else { return None };
        self.successor.take_if(|successor| *successor == (conn, true))?;
        self.state = State::Established(conn, now.steady_ns);
        let mut more = flowing();
        more.extend(subscribed.clone());
        link(fx, "subscribed", conn, None, more);
        let mut more = planned();
        more.extend(cause_of(CloseCause::ByUs));
        link(fx, "disconnected", old, Some(format!("connection {conn} has taken over")), more);
        fx.push(Effect::Close { conn: old });
        Some(old)
    }

    fn next(&mut self) -> Conn {
        let conn = self.next_conn;
        self.next_conn = self.next_conn.wrapping_add(1);
        conn
    }

    fn dial(&mut self, fx: &mut Vec<Effect>) -> Conn {
        let conn = self.next();
        self.state = State::Dialling(conn);
        let mut more = Map::new();
        more.insert("attempt".into(), json!(conn));
        link(fx, "connecting", conn, None, more);
        conn
    }

    /// The transport's handshake is done. False if the connection is not ours any more.
    pub(super) fn opened(&mut self, conn: Conn, more: Map<String, Value>, fx: &mut Vec<Effect>) -> bool {
        if self.successor == Some((conn, false)) {
            self.successor = Some((conn, true));
            link(fx, "connected", conn, None, flowing().into_iter().chain(more).collect());
            return true;
        }
        if self.state != State::Dialling(conn) {
            return false;
        }
        self.state = State::Opened(conn);
        link(fx, "connected", conn, None, more);
        true
    }

    /// Data will come from now on; `subscribed` holds what is worth writing about the vendor's word for it.
    pub(super) fn established(
        &mut self,
        now: Now,
        conn: Conn,
        subscribed: Option<Map<String, Value>>,
        fx: &mut Vec<Effect>,
    ) -> bool {
        if self.state != State::Opened(conn) {
            return false;
        }
        self.state = State::Established(conn, now.steady_ns);
        if let Some(more) = subscribed {
            link(fx, "subscribed", conn, None, more);
        }
        if conn > 0 {
            let from_start = Outage { lost_ns: self.started_ns, silent_since_ns: self.started_ns };
            let outage = self.outage.unwrap_or(from_start);
            let mut more = Map::new();
            more.insert("down_ns".into(), json!(now.steady_ns.saturating_sub(outage.lost_ns)));
            fx.push(Effect::Link(LinkEvent {
                event: "reconnected",
                conn,
                reason: None,
                gap_ns: Some(now.steady_ns.saturating_sub(outage.silent_since_ns)),
                more,
            }));
        }
        self.outage = None;
        self.last_heard_ns = None;
        true
    }

    /// Something was received. To be called after [`Lifecycle::established`] where a frame does both.
    pub(super) fn heard(&mut self, at: Now) {
        self.last_heard_ns = Some(at.steady_ns);
    }

    /// A connection ended by itself. None if it was not ours any more; else how far it had come. The
    /// next attempt is set.
    pub(super) fn closed(
        &mut self,
        now: Now,
        rng: &mut dyn Rng,
        conn: Conn,
        why: &Closed,
        fx: &mut Vec<Effect>,
    ) -> Option<Reached> {
        if let Some((_, is_open)) = self.successor.take_if(|(successor, _)| *successor == conn) {
            let more = flowing().into_iter().chain(cause_of(why.cause)).collect();
            link(fx, "refused", conn, Some(reason_of(why)), more);
            return Some(if is_open { Reached::Opened } else { Reached::Nothing });
        }
        let reached = self.reached(conn)?;
        let event = if reached == Reached::Established { "disconnected" } else { "refused" };
        link(fx, event, conn, Some(reason_of(why)), cause_of(why.cause));
        self.wait(now, rng);
        if let Some((successor, is_open)) = self.successor.take() {
            // It is the next attempt, begun early.
            self.state = if is_open { State::Opened(successor) } else { State::Dialling(successor) };
        }
        Some(reached)
    }

    /// The vendor refused us on an open connection: close it, and try again later.
    pub(super) fn refused(
        &mut self,
        now: Now,
        rng: &mut dyn Rng,
        conn: Conn,
        reason: String,
        fx: &mut Vec<Effect>,
    ) {
        if self.reached(conn).is_none() {
            return;
        }
        let mut more = Map::new();
        more.insert("cause".into(), json!("refused_by_vendor"));
        link(fx, "refused", conn, Some(reason), more);
        fx.push(Effect::Close { conn });
        self.wait(now, rng);
    }

    /// Puts the next attempt off by the longest wait: for refusals that only a person can end.
    pub(super) fn wait_longest(&mut self, now: Now, rng: &mut dyn Rng) {
        self.backoff = Backoff::new(LONGEST_WAIT_NS, LONGEST_WAIT_NS);
        self.wait(now, rng);
    }

    /// Ends for good: no further attempt, and what is open is closed.
    pub(super) fn stop(&mut self, fx: &mut Vec<Effect>) {
        if let State::Dialling(conn) | State::Opened(conn) | State::Established(conn, _) = self.state {
            fx.push(Effect::Close { conn });
        }
        if let Some((conn, _)) = self.successor.take() {
            fx.push(Effect::Close { conn });
        }
        self.state = State::Over;
    }

    /// Ends for good, and says why.
    pub(super) fn give_up(&mut self, reason: String, fx: &mut Vec<Effect>) {
        self.stop(fx);
        fx.push(Effect::GiveUp { reason });
    }

    /// When `tick` is wanted.
    pub(super) fn wake_at(&self) -> Option<u64> {
        match self.state {
            State::Waiting { until_ns } => Some(until_ns),
            _ => None,
        }
    }

    pub(super) fn is_opened(&self, conn: Conn) -> bool {
        self.state == State::Opened(conn)
    }

    /// Whether `conn` is being made beside an established connection.
    pub(super) fn is_successor(&self, conn: Conn) -> bool {
        self.successor.is_some_and(|(successor, _)| successor == conn)
    }

    /// Whether the next attempt is being waited for.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting { .. })
    }

    /// Whether it was stopped, or has given up.
    pub(super) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// The connection that data comes on.
    pub(super) fn established_conn(&self) -> Option<Conn> {
        match self.state {
            State::Established(conn, _) => Some(conn),
            _ => None,
        }
    }

    /// Whether `conn` is the connection of the moment, however far it has come.
    pub(super) fn is_current(&self, conn: Conn) -> bool {
        self.reached(conn).is_some()
    }

    fn reached(&self, conn: Conn) -> Option<Reached> {
        match self.state {
            State::Dialling(c) if c == conn => Some(Reached::Nothing),
            State::Opened(c) if c == conn => Some(Reached::Opened),
            State::Established(c, _) if c == conn => Some(Reached::Established),
            _ => None,
        }
    }

    fn wait(&mut self, now: Now, rng: &mut dyn Rng) {
        if let State::Established(_, since_ns) = self.state {
            let lost_ns = now.steady_ns;
            self.outage = Some(Outage { lost_ns, silent_since_ns: self.last_heard_ns.unwrap_or(lost_ns) });
            if now.steady_ns.saturating_sub(since_ns) >= HEALTHY_AFTER_NS {
                self.backoff = Backoff::default();
            }
        }
        self.state = State::Waiting { until_ns: now.steady_ns.saturating_add(self.backoff.next_ns(rng)) };
    }
}

/// Waits that double.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    next_ns: u64,
    longest_ns: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(FIRST_WAIT_NS, LONGEST_WAIT_NS)
    }
}

impl Backoff {
    pub(super) fn new(first_ns: u64, longest_ns: u64) -> Self {
        Self { next_ns: first_ns, longest_ns }
    }

    /// The next wait, shortened by up to a half at random.
    pub(super) fn next_ns(&mut self, rng: &mut dyn Rng) -> u64 {
        let wait_ns = rng.random_range(self.next_ns / 2..=self.next_ns);
        self.next_ns = (self.next_ns * 2).min(self.longest_ns);
        wait_ns
    }
}

/// Appends a row of kind `link`.
pub(super) fn link(
    fx: &mut Vec<Effect>,
    event: &'static str,
    conn: Conn,
    reason: Option<String>,
    more: Map<String, Value>,
) {
    fx.push(Effect::Link(LinkEvent { event, conn, reason, gap_ns: None, more }));
}

/// Tells of something that failed while the stream flows on `conn`.
pub(super) fn flows_on(conn: Conn, reason: String, more: Map<String, Value>, fx: &mut Vec<Effect>) {
    link(fx, "refused", conn, Some(reason), flowing().into_iter().chain(more).collect());
}

fn planned() -> Map<String, Value> {
    Map::from_iter(["flowing", "planned"].map(|name| (name.to_owned(), json!(true))))
}

/// What a row says that neither begins nor ends an outage.
pub(super) fn flowing() -> Map<String, Value> {
    Map::from_iter([("flowing".to_owned(), json!(true))])
}

/// The transport's words, or ours where it has none.
pub(super) fn reason_of(why: &Closed) -> String {
    if !why.detail.is_empty() {
        return why.detail.clone();
    }
    match why.cause {
        CloseCause::Unreachable => "unreachable".to_owned(),
        CloseCause::HttpStatus(status) => format!("the upgrade was answered with HTTP status {status}"),
        CloseCause::MqttRefused(code) => format!("refused by the broker: {}", connack(code)),
        CloseCause::ByPeer(Some(code)) => format!("closed by the peer with code {code}"),
        CloseCause::ByPeer(None) => "closed by the peer".to_owned(),
        CloseCause::Broken => "the connection broke".to_owned(),
        CloseCause::ByUs => "closed by us".to_owned(),
    }
}

/// The CONNACK return codes of MQTT 3.1.1, section 3.2.2.3.
fn connack(code: u8) -> String {
    match code {
        1 => "unacceptable protocol version".into(),
        2 => "client id rejected".into(),
        3 => "server unavailable".into(),
        4 => "bad user name or password".into(),
        5 => "not authorized".into(),
        _ => format!("return code {code}"),
    }
}

/// The members of an event that say what kind of end it was.
pub(super) fn cause_of(cause: CloseCause) -> Map<String, Value> {
    let (name, code) = match cause {
        CloseCause::Unreachable => ("unreachable", None),
        CloseCause::HttpStatus(status) => ("http_status", Some(status)),
        CloseCause::MqttRefused(code) => ("mqtt_refused", Some(u16::from(code))),
        CloseCause::ByPeer(code) => ("by_peer", code),
        CloseCause::Broken => ("broken", None),
        CloseCause::ByUs => ("by_us", None),
    };
    let mut more = Map::new();
    more.insert("cause".into(), json!(name));
    if let Some(code) = code {
        more.insert("code".into(), json!(code));
    }
    more
}

#[cfg(test)]
mod tests;
