//! A connection under a vendor's rules ([`MqttPolicy`]): the policy decides, this carries it out.

use std::future;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, SubAck, Subscribe, SubscribeReasonCode};
use tokio::sync::watch;
use tokio::time::sleep;

use super::{Connection, Ended};
use crate::transport::fanout::Wish;
use crate::vendors::service::{Grant, MqttPolicy, Standing};

impl Connection<'_> {
    /// Does what the policy says from moment to moment; returns with the reason to close.
    pub(super) async fn obey(&self, mut rules: watch::Receiver<u64>) -> &'static str {
        loop {
            rules.mark_unchanged();
            let wake_ns = match self.stand() {
                Ok(wake_ns) => wake_ns,
                Err(why) => return why,
            };
            let now_ns = self.session.member.clock().now().steady_ns;
            let wake = wake_ns.map(|at_ns| Duration::from_nanos(at_ns.saturating_sub(now_ns)));
            tokio::select! {
                () = self.asked.notified() => {}
                changed = rules.changed() => if changed.is_err() {
                    // The server is gone, and with it this connection in a moment.
                    return future::pending().await;
                },
                () = sleep(wake.unwrap_or_default()), if wake.is_some() => {}
            }
        }
    }

    /// Takes the policy's word for what flows now; answers with when to ask again, or why to close.
    pub(super) fn stand(&self) -> Result<Option<u64>, &'static str> {
        let Some(mut policy) = self.policy() else { return Ok(None) };
        let standing = policy.standing(self.session.member.clock().now());
        let wake_ns = policy.wake_at();
        let mut before = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if standing != *before {
            match standing.clone() {
                Standing::Over(why) => return Err(why),
                Standing::Unready => {}
                Standing::Paused => self.session.member.wish(Wish::Topics(Vec::new())),
                Standing::Flowing { rows, topic, qos } => {
                    self.session.member.wish(Wish::OnTopic { rows, topic, qos });
                }
            }
            *before = standing;
        }
        Ok(wake_ns)
    }

    pub(super) fn subscribe_under_policy(&self, subscribe: &Subscribe) -> Result<Option<Packet>, Ended> {
        let Some(mut policy) = self.policy() else { return Ok(None) };
        let beside = subscribe.filters.len();
        let mut codes = Vec::with_capacity(beside);
        let mut is_answered = true;
        for asked in &subscribe.filters {
            match policy.subscribe(&asked.path, asked.qos as u8, beside) {
                Grant::Granted(0) => codes.push(SubscribeReasonCode::Success(QoS::AtMostOnce)),
                Grant::Granted(_) => codes.push(SubscribeReasonCode::Success(QoS::AtLeastOnce)),
                Grant::Refused => codes.push(SubscribeReasonCode::Failure),
                Grant::Ignored => is_answered = false,
                Grant::Close(why) => return Err(Ended::Rules(why)),
            }
        }
        Ok(is_answered.then(|| Packet::SubAck(SubAck::new(subscribe.pkid, codes))))
    }

    pub(super) fn unsubscribe_under_policy(&self, topics: &[String]) {
        if let Some(mut policy) = self.policy() {
            topics.iter().for_each(|topic| policy.unsubscribe(topic));
        }
    }

    fn policy(&self) -> Option<MutexGuard<'_, Box<dyn MqttPolicy>>> {
        self.policy.as_ref().map(|policy| policy.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
