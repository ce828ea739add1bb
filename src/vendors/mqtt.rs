//! Collecting from an MQTT broker, whosever it is: subscribe, take, acknowledge once durable.

use rand::Rng;
use serde_json::{Map, Value, json};

use super::lifecycle::{Lifecycle, link};
use super::{Ack, CloseCause, Closed, Collector, Conn, Effect, Frame, Input, KindOf, MqttDial, Record};
use crate::clock::Now;

/// What the broker's word that the credentials are wrong (CONNACK 4 or 5) means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadCredentials {
    /// It is final.
    GiveUp,
    /// Somebody may mend it on the broker's side: keep trying, at the longest wait.
    KeepTrying,
}

/// Seconds: what the vendors' samples use, and short enough for every NAT.
pub(super) const KEEP_ALIVE_S: u16 = 60;

pub(super) struct MqttCollector {
    dial: MqttDial,
    kind_of: KindOf,
    bad_credentials: BadCredentials,
    life: Lifecycle,
}

impl MqttCollector {
    pub(super) fn new(dial: MqttDial, kind_of: KindOf, bad_credentials: BadCredentials) -> Self {
        Self { dial, kind_of, bad_credentials, life: Lifecycle::new() }
    }

    fn dial(&self, conn: Option<Conn>, fx: &mut Vec<Effect>) {
        if let Some(conn) = conn {
            fx.push(Effect::DialMqtt { conn, dial: self.dial.clone() });
        }
    }

    fn opened(&mut self, now: Now, conn: Conn, session_present: bool, fx: &mut Vec<Effect>) {
        let mut more = Map::new();
        more.insert("session_present".into(), json!(session_present));
        if self.life.opened(conn, more, fx) && session_present {
            // The broker still has the subscriptions: data may come from here on.
            self.life.established(now, conn, None, fx);
        }
    }

    fn subscribed(
        &mut self,
        now: Now,
        rng: &mut dyn Rng,
        conn: Conn,
        granted: Vec<(String, Option<u8>)>,
        fx: &mut Vec<Effect>,
    ) {
        if !self.life.is_current(conn) {
            return;
        }
        let refused: Vec<&str> = granted.iter().filter(|g| g.1.is_none()).map(|g| g.0.as_str()).collect();
        let reason = format!("subscription refused: {}", refused.join(", "));
        if !refused.is_empty() && refused.len() == granted.len() {
            // Nothing would ever come on this connection.
            self.life.refused(now, rng, conn, reason, fx);
            return;
        }
        if !refused.is_empty() {
            let mut more = Map::new();
            more.insert("topics".into(), json!(refused));
            link(fx, "refused", conn, Some(reason), more);
        }
        let topics: Map<String, Value> =
            granted.iter().filter_map(|(topic, qos)| qos.map(|q| (topic.clone(), json!(q)))).collect();
        let mut more = Map::new();
        more.insert("granted_qos".into(), Value::Object(topics));
        if self.life.is_opened(conn) {
            self.life.established(now, conn, Some(more), fx);
        } else {
            link(fx, "subscribed", conn, None, more);
        }
        fx.push(Effect::Ready { conn });
    }

    fn frame(&mut self, conn: Conn, at: Now, frame: Frame, fx: &mut Vec<Effect>) {
        // Nothing else comes from a broker.
        let Frame::Publish { topic, mqtt, payload, ack } = frame else { return };
        self.life.heard(at);
        let record = Record {
            mqtt: Some(mqtt),
            ..Record::new((self.kind_of)(&topic, &payload), conn, at, topic, payload)
        };
        fx.push(Effect::Record { record, ack: ack.map(|id| Ack::Mqtt { conn, id }) });
    }

    fn closed(&mut self, now: Now, rng: &mut dyn Rng, conn: Conn, why: &Closed, fx: &mut Vec<Effect>) {
        if self.life.closed(now, rng, conn, why, fx).is_none() {
            return;
        }
        if let CloseCause::MqttRefused(4 | 5) = why.cause {
            match self.bad_credentials {
                BadCredentials::GiveUp => {
                    self.life.give_up("the broker does not accept user name and password".into(), fx);
                }
                BadCredentials::KeepTrying => self.life.wait_longest(now, rng),
            }
        }
    }
}

impl Collector for MqttCollector {
    fn on(&mut self, now: Now, rng: &mut dyn Rng, input: Input, fx: &mut Vec<Effect>) {
        match input {
            Input::Start => {
                let conn = self.life.start(now, fx);
                self.dial(conn, fx);
            }
            Input::Tick => {
                let conn = self.life.tick(now, fx);
                self.dial(conn, fx);
            }
            Input::Opened { conn, session_present } => self.opened(now, conn, session_present, fx),
            Input::Subscribed { conn, granted } => self.subscribed(now, rng, conn, granted, fx),
            Input::Frame { conn, at, frame } => self.frame(conn, at, frame, fx),
            Input::Closed { conn, why } => self.closed(now, rng, conn, &why, fx),
            Input::Stop => self.life.stop(fx),
            Input::Pushed { .. } | Input::Response { .. } => {}
        }
    }

    fn wake_at(&self) -> Option<u64> {
        self.life.wake_at()
    }
}

#[cfg(test)]
mod tests;
