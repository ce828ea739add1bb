//! The signature of a push, and of calls to the vendor's own API.
//!
//! ```text
//! base64(HMAC-SHA256(AppSecret, nonce | METHOD | URL | body))       nothing between the four
//! ```
//!
//! The nonce is Unix time in milliseconds; the URL is absolute, as the sender has it, with its query.
//! Source: the vendor's page "API authentication", and its sample receiver, which signs the body as
//! JavaScript prints it after parsing (see `reprint`) and not as it came.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::secret::Secret;

pub const ID_HEADER: &str = "x-access-id";
pub const NONCE_HEADER: &str = "x-access-nonce";
pub const SIGNATURE_HEADER: &str = "x-access-signature";

/// What a signature is over.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    pub nonce: &'a str,
    pub method: &'a str,
    pub url: &'a str,
    pub body: &'a [u8],
}

impl Signed<'_> {
    /// The signature, base64.
    pub fn sign(&self, app_secret: &Secret) -> String {
        STANDARD.encode(self.mac(app_secret).finalize().into_bytes())
    }

    /// Compares in a time that does not depend on where the two differ.
    pub fn is_signed_with(&self, app_secret: &Secret, signature: &[u8]) -> bool {
        self.mac(app_secret).verify_slice(signature).is_ok()
    }

    fn mac(&self, app_secret: &Secret) -> Hmac<Sha256> {
        // HMAC takes keys of any length.
        #[expect(clippy::expect_used, reason = "no length of a key is refused")]
        let mut mac = Hmac::<Sha256>::new_from_slice(app_secret.expose().as_bytes()).expect("any length");
        mac.update(self.nonce.as_bytes());
        mac.update(self.method.as_bytes());
        mac.update(self.url.as_bytes());
        mac.update(self.body);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vector_of_the_sheet() {
        let body = include_str!("../../../fixtures/sensoro/telemetry_temperature.json").as_bytes();
        let url = "https://example.com/sensoro/webhooks";
        let signed = Signed { nonce: "1467018792599", method: "POST", url, body };
        let secret = Secret::new("YOURAPPSECRET");
        let signature = signed.sign(&secret);
        assert_eq!(signature, "BqEl0aJjqOr4uJgbJbyokjdE3xWUMcqo0RrNXibVq7s=");
        let bytes = STANDARD.decode(&signature).unwrap();
        assert!(signed.is_signed_with(&secret, &bytes));
        assert!(!signed.is_signed_with(&Secret::new("another"), &bytes));
        for other in [
            Signed { nonce: "1467018792600", ..signed },
            Signed { method: "PUT", ..signed },
            Signed { url: "http://example.com/sensoro/webhooks", ..signed },
            Signed { body: &body[1..], ..signed },
        ] {
            assert!(!other.is_signed_with(&secret, &bytes), "{other:?}");
        }
        assert!(!signed.is_signed_with(&secret, &bytes[..31]), "a part of it is nothing");
    }
}
