//! Pushing as the vendor does: signed afresh for every attempt, re-pushed three times.

use std::time::Duration;

use super::config::SensoroConfig;
use super::signature::{ID_HEADER, NONCE_HEADER, SIGNATURE_HEADER, Signed};
use crate::clock::Now;
use crate::message::Headers;
use crate::secret::Secret;
use crate::vendors::{PushRule, Pusher};

/// "Re-pushed three times, then dropped", says the vendor's page; the times are not documented.
const RULE: PushRule = PushRule {
    timeout: Duration::from_secs(5),
    waits: &[Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(120)],
};

/// With an AppID and its secret, or, without, with the headers that were recorded.
#[derive(Debug)]
pub(in crate::vendors) struct SensoroPusher {
    app: Option<(String, Secret)>,
}

impl SensoroPusher {
    pub(in crate::vendors) fn new(config: Option<&SensoroConfig>) -> Self {
        Self { app: config.map(|config| (config.app_id.clone(), config.app_secret.clone())) }
    }
}

impl Pusher for SensoroPusher {
    fn headers(&self, now: Now, url: &str, recorded: &Headers, body: &[u8]) -> Headers {
        let mut headers = recorded.clone();
        let Some((app_id, secret)) = &self.app else { return headers };
        let nonce = (now.wall_us / 1_000).to_string();
        let signature = Signed { nonce: &nonce, method: "POST", url, body }.sign(secret);
        let fresh = [(ID_HEADER, app_id.clone()), (NONCE_HEADER, nonce), (SIGNATURE_HEADER, signature)];
        headers.retain(|(name, _)| !fresh.iter().any(|(fresh, _)| fresh.eq_ignore_ascii_case(name)));
        headers.extend(fresh.map(|(name, value)| (name.to_owned(), value)));
        headers
    }

    fn rule(&self) -> PushRule {
        RULE
    }

    fn has_credentials(&self) -> bool {
        self.app.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vendors::sensoro::tests::config;

    #[test]
    fn a_push_is_signed_for_its_url_and_moment() {
        let recorded: Headers =
            [("content-type", "application/json"), ("x-access-nonce", "1"), ("x-access-signature", "old")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        let now = Now { wall_us: 1_467_018_792_599_999, steady_ns: 0 };
        let body = include_str!("../../../fixtures/sensoro/telemetry_temperature.json").as_bytes();
        let pusher = SensoroPusher::new(Some(&config()));
        let headers = pusher.headers(now, "https://example.com/sensoro/webhooks", &recorded, body);
        let expected = [
            ("content-type", "application/json"),
            ("x-access-id", "123456"),
            ("x-access-nonce", "1467018792599"),
            ("x-access-signature", "BqEl0aJjqOr4uJgbJbyokjdE3xWUMcqo0RrNXibVq7s="),
        ];
        assert_eq!(headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(SensoroPusher::new(None).headers(now, "http://x/", &recorded, body), recorded);
    }
}
