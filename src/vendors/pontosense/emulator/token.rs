//! Tokens that carry what they are for, signed: nothing has to be remembered of those that were issued.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::vendors::pontosense::signature::hmac;
use subtle::ConstantTimeEq;

/// The longest that is looked at.
const TOKEN_BYTES_MAX: usize = 4 << 10;

/// `{"alg":"HS256","typ":"JWT"}`: the vendor's tokens look like this, and clients take them as opaque.
const HEAD: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// What a token is good for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) sn: String,
    /// The API key that it was issued to.
    pub(super) key: String,
    /// Unix seconds.
    pub(super) exp: i64,
    /// Makes each token another.
    pub(super) jti: u64,
}

/// Issues tokens and knows its own.
pub(super) struct Mint {
    key: [u8; 32],
}

impl std::fmt::Debug for Mint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mint(…)")
    }
}

impl Mint {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    pub(super) fn issue(&self, claims: &Claims) -> String {
        // Strings and integers only: serialising them does not fail.
        let claims = serde_json::to_vec(claims).unwrap_or_default();
        let signed = format!("{HEAD}.{}", URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(hmac(&self.key, signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// What `token` is good for; none if it is not of this mint, or has expired.
    pub(super) fn check(&self, token: &str, unix_s: i64) -> Option<Claims> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        if !bool::from(hmac(&self.key, signed.as_bytes())[..].ct_eq(&signature)) {
            return None;
        }
        let claims = URL_SAFE_NO_PAD.decode(signed.split_once('.')?.1).ok()?;
        let claims: Claims = serde_json::from_slice(&claims).ok()?;
        (unix_s < claims.exp).then_some(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_until_it_expires_and_only_as_it_was_issued() {
        let mint = Mint::new([7; 32]);
        let claims = Claims { sn: "a".into(), key: "k".into(), exp: 100, jti: 1 };
        let token = mint.issue(&claims);
        assert_eq!(mint.check(&token, 99), Some(claims.clone()));
        assert_eq!(mint.check(&token, 100), None);
        assert_eq!(Mint::new([8; 32]).check(&token, 99), None, "another replay's");
        let mut forged = token.clone();
        forged.replace_range(HEAD.len() + 3..HEAD.len() + 4, "_");
        for bad in ["", ".", "..", "abc", "a.b.c", &forged, &token[..token.len() - 1]] {
            assert_eq!(mint.check(bad, 0), None, "{bad}");
        }
        assert_ne!(token, mint.issue(&Claims { jti: 2, ..claims }));
    }
}
