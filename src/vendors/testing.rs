//! A hand that drives a collector or an emulator in tests: it owns the time, fires ticks when they are
//! asked for, and writes effects as lines that a table of expectations can hold.

use rand::SeedableRng;
use rand_pcg::Pcg64;

use super::*;

pub(super) const SECOND_NS: u64 = 1_000_000_000;

/// Away from zero, so that differences and absolute times cannot be confused.
const START: Now = Now { wall_us: 1_700_000_000_000_000, steady_ns: 5_000 * SECOND_NS };

pub(super) struct Hand {
    collector: Box<dyn Collector>,
    rng: Pcg64,
    pub(super) now: Now,
    kinds: Vec<String>,
}

impl Hand {
    pub(super) fn of(source: &crate::vendors::Source) -> Self {
        let kinds = source_header(source).kinds.into_iter().map(|kind| kind.name).collect();
        Self { collector: collector(source), rng: Pcg64::seed_from_u64(1), now: START, kinds }
    }

    /// Gives an input and returns the effects.
    pub(super) fn effects(&mut self, input: Input) -> Vec<Effect> {
        let mut fx = Vec::new();
        self.collector.on(self.now, &mut self.rng, input, &mut fx);
        fx
    }

    /// Gives an input and returns the effects as lines; [`Effect::Ready`] and [`Effect::Secret`] are left out.
    pub(super) fn give(&mut self, input: Input) -> Vec<String> {
        let effects = self.effects(input);
        let is_shown = |effect: &&Effect| !matches!(effect, Effect::Ready { .. } | Effect::Secret(_));
        let shown = effects.iter().filter(is_shown);
        shown.map(|effect| self.line(effect)).collect()
    }

    /// Lets `ns` pass, with every tick that is asked for meanwhile.
    pub(super) fn pass(&mut self, ns: u64) -> Vec<String> {
        let end = self.now.steady_ns + ns;
        let mut lines = Vec::new();
        while let Some(at) = self.collector.wake_at().filter(|at| *at <= end) {
            self.advance_to(at.max(self.now.steady_ns));
            lines.extend(self.give(Input::Tick));
        }
        self.advance_to(end);
        lines
    }

    /// How long until the next tick.
    pub(super) fn until_tick_ns(&self) -> Option<u64> {
        Some(self.collector.wake_at()?.saturating_sub(self.now.steady_ns))
    }

    fn advance_to(&mut self, steady_ns: u64) {
        self.now.wall_us += ((steady_ns - self.now.steady_ns) / 1_000) as i64;
        self.now.steady_ns = steady_ns;
    }

    pub(super) fn open(&mut self, conn: Conn) -> Vec<String> {
        self.give(Input::Opened { conn, session_present: false })
    }

    pub(super) fn text(&mut self, conn: Conn, text: &str) -> Vec<String> {
        self.give(Input::Frame { conn, at: self.now, frame: Frame::Text(text.into()) })
    }

    pub(super) fn lose(&mut self, conn: Conn, cause: CloseCause) -> Vec<String> {
        self.give(Input::Closed { conn, why: Closed { cause, detail: String::new() } })
    }

    pub(super) fn post(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Vec<String> {
        let request = HttpRequest {
            method: method.into(),
            path_and_query: path.into(),
            headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            body: Bytes::copy_from_slice(body.as_bytes()),
        };
        self.give(Input::Pushed { inbound: 3, at: self.now, request })
    }

    /// The vendor's response to a call: its status and its body.
    pub(super) fn respond(&mut self, call: Call, status: u16, body: &str) -> Vec<String> {
        let body = Bytes::copy_from_slice(body.as_bytes());
        self.give(Input::Response { call, result: Ok(HttpResponse { status, retry_after_s: None, body }) })
    }

    fn line(&self, effect: &Effect) -> String {
        match effect {
            Effect::DialWebSocket { conn, dial } => format!("dial {conn} {}", dial.url),
            Effect::DialMqtt { conn, dial } => format!("dial {conn} {}", dial.url),
            Effect::Http { call, request } => format!("call {call} {} {}", request.method, request.url),
            Effect::Send { conn, frame: Frame::Text(text) } => format!("send {conn} {text}"),
            Effect::Send { conn, frame } => format!("send {conn} {frame:?}"),
            Effect::Close { conn } => format!("close {conn}"),
            Effect::Record { record, ack } => {
                let kind = &self.kinds[usize::from(record.kind)];
                let ack = match ack {
                    None => String::new(),
                    Some(Ack::Mqtt { conn, id }) => format!(", ack {conn}/{id}"),
                    Some(Ack::Http { inbound, reply }) => {
                        format!(
                            ", answer {inbound} {} {}",
                            reply.status,
                            String::from_utf8_lossy(&reply.body)
                        )
                    }
                };
                format!("record {} {kind} on {}{ack}", record.conn, record.channel)
            }
            Effect::Refuse { inbound, reply } => format!("refuse {inbound} {}", reply.status),
            Effect::Link(link) => {
                let gap = link.gap_ns.map(|ns| format!(" after {} s", ns / SECOND_NS)).unwrap_or_default();
                let reason = link.reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default();
                format!("link {} {}{gap}{reason}", link.event, link.conn)
            }
            Effect::Secret(secret) => format!("secret {}", secret.expose()),
            Effect::Ready { conn } => format!("ready {conn}"),
            Effect::GiveUp { reason } => format!("give up: {reason}"),
        }
    }
}

/// A source with everything but the vendor's part left at its default.
pub(crate) fn source(vendor: crate::vendors::VendorConfig) -> crate::vendors::Source {
    crate::vendors::Source {
        name: "s".into(),
        vendor,
        tls: Default::default(),
        stall_after: None,
        exclude_kinds: Vec::new(),
        redact_query: Vec::new(),
        redact_headers: Vec::new(),
        retain: None,
    }
}

/// A moment for emulators.
pub(super) fn at_s(seconds: u64) -> Now {
    Now { wall_us: START.wall_us, steady_ns: START.steady_ns + seconds * SECOND_NS }
}
