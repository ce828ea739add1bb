//! The `Authorization` header of the REST interface: HMAC-SHA256 over timestamp and nonce.
//!
//! Nothing else is signed: no method, no path, no body (vendor's page "Real-time location").

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::secret::Secret;

/// The name of the scheme, compared without regard to case.
const SCHEME: &str = "HMAC-SHA256";

/// The HMAC-SHA256 of `message`, in lower-case hex.
pub(super) fn hex_hmac(key: &[u8], message: &[u8]) -> String {
    hmac(key, message).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The HMAC-SHA256 of `message`.
pub(super) fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// The header's value for one request.
pub(super) fn authorization(api_key: &str, secret: &Secret, unix_s: i64, nonce: &str) -> String {
    let signature = hex_hmac(secret.expose().as_bytes(), format!("{unix_s}.{nonce}").as_bytes());
    format!("{SCHEME} ApiKey={api_key}, Timestamp={unix_s}, Nonce={nonce}, Signature={signature}")
}

/// What such a header says: parameters in any order, spaces after commas optional.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Authorization<'a> {
    pub(super) api_key: &'a str,
    /// As written: it is signed in this spelling.
    pub(super) timestamp: &'a str,
    pub(super) nonce: &'a str,
    pub(super) signature: &'a str,
}

impl<'a> Authorization<'a> {
    pub(super) fn parse(header: &'a str) -> Option<Self> {
        let (scheme, parameters) = header.trim().split_once(char::is_whitespace)?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return None;
        }
        let find = |wanted: &str| {
            parameters.split(',').find_map(|pair| {
                let (name, value) = pair.trim().split_once('=')?;
                (name.eq_ignore_ascii_case(wanted) && !value.is_empty()).then_some(value)
            })
        };
        Some(Self {
            api_key: find("ApiKey")?,
            timestamp: find("Timestamp")?,
            nonce: find("Nonce")?,
            signature: find("Signature")?,
        })
    }

    pub(super) fn is_signed_with(&self, secret: &str) -> bool {
        let expected = hex_hmac(secret.as_bytes(), format!("{}.{}", self.timestamp, self.nonce).as_bytes());
        Secret::new(expected).matches(&self.signature.to_ascii_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "550e8400-e29b-41d4-a716-446655440000";
    const SIGNATURE: &str = "885153077677f83bcb6ee04c087f5ca97158179e4537669e0397e78c3af917ed";

    #[test]
    fn a_request_is_signed_as_the_vendor_says() {
        let header = authorization("key", &Secret::new("your_secret"), 1_738_708_800, NONCE);
        let expected =
            format!("HMAC-SHA256 ApiKey=key, Timestamp=1738708800, Nonce={NONCE}, Signature={SIGNATURE}");
        assert_eq!(header, expected);
        assert!(Authorization::parse(&header).unwrap().is_signed_with("your_secret"));
    }

    #[test]
    fn a_header_is_read_in_any_order_and_spacing() {
        let upper = SIGNATURE.to_ascii_uppercase();
        let header =
            format!("hmac-sha256   Signature={upper},Nonce={NONCE}, timestamp=1738708800 ,ApiKey=a=b");
        let read = Authorization::parse(&header).unwrap();
        assert_eq!((read.api_key, read.timestamp, read.nonce), ("a=b", "1738708800", NONCE));
        assert!(read.is_signed_with("your_secret"));
        assert!(!read.is_signed_with("another"));
        for header in ["", "HMAC-SHA256", "HMAC-SHA256 ApiKey=a, Timestamp=1, Nonce=2", "Bearer ApiKey=a"] {
            assert_eq!(Authorization::parse(header), None, "{header}");
        }
    }
}
