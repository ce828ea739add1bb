//! What a JSON Web Token says about its own end. It is read and not verified: that is its issuer's part,
//! and nothing but a timer hangs on it here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// The `exp` of a token, in microseconds since the Unix epoch; none if it says nothing, or is no JWT.
pub(super) fn expires_us(token: &str) -> Option<i64> {
    #[derive(Deserialize)]
    struct Claims {
        exp: Option<f64>,
    }
    let payload = token.split('.').nth(1)?;
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let seconds = serde_json::from_slice::<Claims>(&payload).ok()?.exp?;
    // Beyond the year 9999 nothing needs a timer.
    (0.0..253_402_300_800.0).contains(&seconds).then_some((seconds * 1e6) as i64)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A token that ends at `seconds` since the epoch.
    pub(in crate::vendors::damoov) fn token(seconds: i64) -> String {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let header = encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        format!("{header}.{}.c2lnbmF0dXJl", encode(&format!(r#"{{"sub":"é","exp":{seconds}}}"#)))
    }

    #[test]
    fn the_end_is_read_where_there_is_one() {
        let with = |claims: &str| format!("x.{}.y", URL_SAFE_NO_PAD.encode(claims));
        // The example of RFC 7519, section 3.1.
        let rfc = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let cases = [
            (rfc.to_owned(), Some(1_300_819_380_000_000)),
            (token(1_640_995_200), Some(1_640_995_200_000_000)),
            (with(r#"{"exp":1.5}"#), Some(1_500_000)),
            (with(r#"{"exp":-1}"#), None),
            (with(r#"{"exp":1e300}"#), None),
            (with(r#"{"exp":"soon"}"#), None),
            (with(r#"{}"#), None),
            (with("no JSON"), None),
            ("x.!!!.y".to_owned(), None),
            ("opaque".to_owned(), None),
            (String::new(), None),
        ];
        for (token, expected) in cases {
            assert_eq!(expires_us(&token), expected, "{token}");
        }
    }
}
