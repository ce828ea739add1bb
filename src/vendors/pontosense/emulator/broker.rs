//! One connection to the broker, as AWS IoT Core treats it.
//!
//! | situation | answer |
//! |---|---|
//! | the CONNECT's client id is not the query's, or longer than 128 bytes | close without CONNACK |
//! | a subscription to anything but `/location/{sn}` of the token | close (or SUBACK 0x80, by [`super::Rules`]) |
//! | more than 8 filters in a SUBSCRIBE | close |
//! | a subscription at QoS 2 | no SUBACK |
//! | subscribed, and the sensor was started within 60 s | reports |
//! | the start is older, or the sensor was stopped | none, until it is started again |
//! | one hour old | close without any packet |
//!
//! The token's own expiry ends no connection.

use std::sync::Arc;

use bytestring::ByteString;

use super::{Claims, Inner, OtherSensor, topic};
use crate::clock::Now;
use crate::message::Selection;
use crate::vendors::lifecycle::SECOND_NS;
use crate::vendors::service::{Grant, MqttPolicy, Standing};

/// AWS's limits.
const CLIENT_ID_BYTES_MAX: usize = 128;
const FILTERS_MAX: usize = 8;

#[derive(Debug)]
pub(super) struct Connection {
    inner: Arc<Inner>,
    opened_ns: u64,
    claims: Claims,
    topic: ByteString,
    /// As the query says it.
    client_id: Option<String>,
    /// The QoS of the subscription.
    subscribed: Option<u8>,
    was_ready: bool,
    /// When the standing changes by itself.
    wake_ns: Option<u64>,
}

impl Connection {
    pub(super) fn new(inner: Arc<Inner>, now: Now, claims: Claims, client_id: Option<String>) -> Self {
        Self {
            inner,
            opened_ns: now.steady_ns,
            topic: topic(&claims.sn).into(),
            claims,
            client_id,
            subscribed: None,
            was_ready: false,
            wake_ns: None,
        }
    }
}

impl MqttPolicy for Connection {
    fn connect(&mut self, client_id: &str) -> Result<(), &'static str> {
        if client_id.len() > CLIENT_ID_BYTES_MAX {
            return Err("the client id is longer than 128 bytes");
        }
        match &self.client_id {
            Some(of_query) if of_query != client_id => Err("another client id than in the query"),
            _ => Ok(()),
        }
    }

    fn subscribe(&mut self, filter: &str, qos: u8, beside: usize) -> Grant {
        if beside > FILTERS_MAX {
            return Grant::Close("more than 8 filters in a SUBSCRIBE");
        }
        if filter != &*self.topic {
            return match self.inner.rules.other_sensor {
                OtherSensor::Close => Grant::Close("a subscription beyond the token's sensor"),
                OtherSensor::Refuse => Grant::Refused,
            };
        }
        if qos > 1 {
            return Grant::Ignored;
        }
        self.subscribed = Some(qos);
        Grant::Granted(qos)
    }

    fn unsubscribe(&mut self, filter: &str) {
        if filter == &*self.topic {
            self.subscribed = None;
        }
    }

    fn standing(&mut self, now: Now) -> Standing {
        let rules = &self.inner.rules;
        let end_ns = self.opened_ns.saturating_add(rules.connection_max_age_s.saturating_mul(SECOND_NS));
        self.wake_ns = Some(end_ns);
        if now.steady_ns >= end_ns {
            return Standing::Over("it is an hour old (CUSTOMAUTH_TTL_EXPIRATION)");
        }
        let started_ns = self.inner.state().starts.get(&self.claims.sn).copied();
        let lapses_ns = started_ns.map(|ns| ns.saturating_add(rules.reporting_s.saturating_mul(SECOND_NS)));
        let lapses_ns = lapses_ns.filter(|lapses_ns| now.steady_ns < *lapses_ns);
        match (self.subscribed, lapses_ns) {
            (Some(qos), Some(lapses_ns)) => {
                self.was_ready = true;
                self.wake_ns = Some(end_ns.min(lapses_ns));
                let rows = self.inner.rows(&self.claims.key, &self.claims.sn);
                Standing::Flowing { rows, topic: self.topic.clone(), qos }
            }
            _ if self.was_ready => Standing::Paused,
            _ => Standing::Unready,
        }
    }

    fn reach(&self) -> Selection {
        self.inner.rows(&self.claims.key, &self.claims.sn)
    }

    fn wake_at(&self) -> Option<u64> {
        self.wake_ns
    }
}
