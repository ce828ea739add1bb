//! Who may call the REST interface: the signature, the clock, and nonces that must not come twice.

use std::collections::{HashMap, VecDeque};

use super::Inner;
use crate::clock::Now;
use crate::vendors::HttpRequest;
use crate::vendors::lifecycle::SECOND_NS;
use crate::vendors::pontosense::signature::{Authorization, hmac};

/// Nonces that are remembered; beyond it the oldest is forgotten before its time.
const NONCES_MAX: usize = 100_000;

/// Status and message of a refusal.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) u16, pub(super) String);

impl Inner {
    /// The API key that the request was made with, whatever it is where any credentials are accepted.
    pub(super) fn authenticate(&self, now: Now, request: &HttpRequest) -> Result<String, Refused> {
        let given = request.header("authorization");
        let given = given.and_then(Authorization::parse);
        if self.recorded.any_credentials {
            return Ok(given.map(|given| given.api_key.to_owned()).unwrap_or_default());
        }
        let refused = |message: &str| Refused(401, message.to_owned());
        let given = given.ok_or_else(|| refused("expected an Authorization of the scheme HMAC-SHA256"))?;
        let mut of_key = self.recorded.credentials.iter().filter(|credential| {
            credential.vendor == "pontosense" && credential.username.as_deref() == Some(given.api_key)
        });
        if !of_key.any(|credential| given.is_signed_with(&credential.secret)) {
            return Err(refused("unknown key, or a wrong signature"));
        }
        let is_fresh = given
            .timestamp
            .parse::<i64>()
            .is_ok_and(|unix_s| unix_s.abs_diff(now.wall_us / 1_000_000) <= self.rules.clock_tolerance_s);
        if !is_fresh {
            return Err(refused("the timestamp is too far from the current time"));
        }
        if !self.state().nonces.is_new(now, given.api_key, given.nonce, self.rules.nonce_rest_s) {
            return Err(refused("the nonce was used before"));
        }
        Ok(given.api_key.to_owned())
    }
}

/// The nonces of late, as hashes of key and nonce.
#[derive(Debug, Default)]
pub(super) struct Nonces {
    seen: HashMap<[u8; 32], u64>,
    /// Oldest first.
    order: VecDeque<([u8; 32], u64)>,
}

impl Nonces {
    fn is_new(&mut self, now: Now, api_key: &str, nonce: &str, rest_s: u64) -> bool {
        let rest_ns = rest_s.saturating_mul(SECOND_NS);
        while let Some((oldest, seen_ns)) = self.order.front()
            && (now.steady_ns.saturating_sub(*seen_ns) >= rest_ns || self.order.len() >= NONCES_MAX)
        {
            self.seen.remove(oldest);
            self.order.pop_front();
        }
        let key = hmac(api_key.as_bytes(), nonce.as_bytes());
        if self.seen.contains_key(&key) {
            return false;
        }
        self.seen.insert(key, now.steady_ns);
        self.order.push_back((key, now.steady_ns));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_are_remembered_for_their_time_and_in_bounded_number() {
        let at = |s: u64| Now { wall_us: 0, steady_ns: s * SECOND_NS };
        let mut nonces = Nonces::default();
        assert!(nonces.is_new(at(0), "k", "n", 600));
        assert!(!nonces.is_new(at(599), "k", "n", 600));
        assert!(nonces.is_new(at(599), "other", "n", 600));
        assert!(nonces.is_new(at(600), "k", "n", 600));
        for n in 0..NONCES_MAX {
            assert!(nonces.is_new(at(601), "k", &n.to_string(), 600));
        }
        assert_eq!((nonces.seen.len(), nonces.order.len()), (NONCES_MAX, NONCES_MAX));
    }
}
