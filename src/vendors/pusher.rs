//! The replaying side of a webhook vendor: which headers a push has, and what happens when it fails.
//!
//! A pusher makes requests; `transport` carries them out. It is asked for every attempt, because a
//! vendor that signs does so afresh each time.

use std::time::Duration;

use super::VendorConfig;
use super::jointech::config::JointechConfig;
use super::sensoro::pusher::SensoroPusher;
use super::variant::Variant;
use crate::clock::Now;
use crate::message::{Headers, SourceHeader};
use crate::secret::Secret;

/// How a vendor pushes.
pub trait Pusher: Send + Sync + std::fmt::Debug {
    /// The headers of one attempt to post `body` to `url` (absolute, as the receiver sees it), made from
    /// those that were recorded.
    fn headers(&self, now: Now, url: &str, recorded: &Headers, body: &[u8]) -> Headers;

    fn rule(&self) -> PushRule;

    /// Whether its headers hold any, so that they can be too old.
    fn has_credentials(&self) -> bool {
        false
    }
}

/// When a push has failed, and what happens then. Any 2xx is success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PushRule {
    /// For one attempt, from the connection to the last byte of the answer.
    pub timeout: Duration,
    /// How long after the n-th failure it is pushed again; after the last of them it is dropped.
    pub waits: &'static [Duration],
}

impl PushRule {
    /// How long nothing may happen though the receiver is still to be asked again.
    pub fn longest_silence(&self) -> Duration {
        self.waits.iter().max().copied().unwrap_or_default() + self.timeout
    }
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Pushed with its headers as recorded, but for one that the source's configuration may set.
#[derive(Debug)]
struct Recorded {
    header: Option<(String, Secret)>,
    rule: PushRule,
}

impl Pusher for Recorded {
    fn headers(&self, _: Now, _: &str, recorded: &Headers, _: &[u8]) -> Headers {
        let mut headers = recorded.clone();
        if let Some((name, value)) = &self.header {
            headers.retain(|(recorded, _)| !recorded.eq_ignore_ascii_case(name));
            headers.push((name.clone(), value.expose().to_owned()));
        }
        headers
    }

    fn rule(&self) -> PushRule {
        self.rule
    }

    fn has_credentials(&self) -> bool {
        self.header.is_some()
    }
}

/// Not documented whether it pushes again: the choice here is that it does not.
const JOINTECH: PushRule = PushRule { timeout: s(10), waits: &[] };
const JOINTECH_REPUSH: PushRule = PushRule { timeout: s(10), waits: &[s(5), s(30), s(120)] };

/// Nobody's rule, and what most senders do.
const GENERIC: PushRule = PushRule { timeout: s(10), waits: &[s(1), s(5), s(30)] };

/// How `vendor` pushes; `config` is the configured source, whose header or signature the pushes get.
/// Without one they have the headers that were recorded.
pub fn pusher(vendor: &str, config: Option<&VendorConfig>, variants: &[Variant]) -> Box<dyn Pusher> {
    let jointech = match variants.contains(&Variant::JointechRepush) {
        true => JOINTECH_REPUSH,
        false => JOINTECH,
    };
    match (vendor, config) {
        ("sensoro", Some(VendorConfig::Sensoro(config))) => Box::new(SensoroPusher::new(Some(config))),
        ("sensoro", _) => Box::new(SensoroPusher::new(None)),
        ("jointech", Some(VendorConfig::Jointech(JointechConfig::Webhook(hook)))) => {
            Box::new(Recorded { header: hook.header.clone(), rule: jointech })
        }
        ("jointech", _) => Box::new(Recorded { header: None, rule: jointech }),
        _ => Box::new(Recorded { header: None, rule: GENERIC }),
    }
}

/// Whether the vendor signs what it pushes, body included.
pub fn signs(vendor: &str) -> bool {
    vendor == "sensoro"
}

/// Whether a source was pushed to us, by its recorded settings; none if they do not say.
pub fn was_pushed(source: &SourceHeader) -> Option<bool> {
    Some(source.settings.get("transport")?.as_str()? == "webhook")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vendors::jointech::config::JointechWebhook;

    #[test]
    fn a_configured_header_takes_the_place_of_a_recorded_one() {
        let header = Some(("headerkey".to_owned(), Secret::new("s3cret")));
        let hook = JointechWebhook { path: "/h".into(), header };
        let config = VendorConfig::Jointech(JointechConfig::Webhook(hook));
        let recorded: Headers =
            [("HeaderKey", "old"), ("x-tag", "a")].map(|(n, v)| (n.to_owned(), v.to_owned())).into();
        let sent = |pusher: Box<dyn Pusher>| pusher.headers(Now::default(), "http://x/", &recorded, b"");
        let expected = [("x-tag", "a"), ("headerkey", "s3cret")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        let configured = pusher("jointech", Some(&config), &[]);
        assert!(!format!("{configured:?}").contains("s3cret"));
        assert_eq!(sent(configured), expected);
        for vendor in ["jointech", "sensoro", "generic", "another"] {
            assert_eq!(sent(pusher(vendor, None, &[])), recorded, "{vendor}");
        }
    }

    #[test]
    fn vendors_push_again_by_their_own_rule() {
        let waits = |vendor, variants: &[Variant]| {
            pusher(vendor, None, variants).rule().waits.iter().map(Duration::as_secs).collect::<Vec<_>>()
        };
        assert_eq!(
            (waits("sensoro", &[]), waits("jointech", &[]), waits("generic", &[])),
            (vec![5, 30, 120], vec![], vec![1, 5, 30])
        );
        let again = [Variant::JointechRepush];
        assert_eq!((waits("jointech", &again), waits("generic", &again)), (vec![5, 30, 120], vec![1, 5, 30]));
    }
}
