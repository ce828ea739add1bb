//! Who may ask: pages of this very listener and whoever is no page, with the token where one is needed.
//!
//! A page of another site can give its own name this machine's address, and is then, to a browser, a page of this
//! listener. So where no token keeps it out, the name by which a listener is asked must be no name that
//! somebody else could have made: an address, or `localhost`.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::secret::Secret;

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("another site's page may not ask")]
    OtherSite,
    #[error("asked by a name that is not this machine's own: without a token, ask localhost or an address")]
    OtherHost,
    #[error("the token of [console] is needed, as in `Authorization: Bearer TOKEN`")]
    NoToken,
}

impl Refusal {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Refusal::OtherSite | Refusal::OtherHost => StatusCode::FORBIDDEN,
            Refusal::NoToken => StatusCode::UNAUTHORIZED,
        }
    }

    /// With `body`, and what a client needs to know to ask again.
    pub(super) fn respond(self, body: impl IntoResponse) -> Response {
        let mut response = (self.status(), body).into_response();
        if self == Refusal::NoToken {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Whether a request with these headers may be answered; `token`: it must show this.
pub(super) fn check(token: Option<&Secret>, headers: &HeaderMap) -> Result<(), Refusal> {
    if !is_own_origin(headers) {
        return Err(Refusal::OtherSite);
    }
    let Some(token) = token else {
        return if is_own_host(headers) { Ok(()) } else { Err(Refusal::OtherHost) };
    };
    let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let is_right = sent.and_then(|sent| sent.strip_prefix("Bearer ")).is_some_and(|sent| token.matches(sent));
    if is_right { Ok(()) } else { Err(Refusal::NoToken) }
}

/// Whether the listener is asked by an address, or as `localhost`; browsers always say by which.
fn is_own_host(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    if let Some((address, port)) = host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        return address.parse::<Ipv6Addr>().is_ok() && (port.is_empty() || port.starts_with(':'));
    }
    let name = host.split_once(':').map_or(host, |(name, _)| name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || name.parse::<Ipv4Addr>().is_ok()
}

/// Whether the request comes from a page of this very listener, or from no page at all.
fn is_own_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    matches!((origin, host), (Some((_, origin)), Some(host)) if origin.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_token_is_asked_for_where_one_is_set() {
        let token = Secret::new("geheim");
        assert_eq!(check(None, &headers(&[])), Ok(()));
        assert_eq!(check(Some(&token), &headers(&[(header::AUTHORIZATION, "Bearer geheim")])), Ok(()));
        for wrong in ["Bearer x", "geheim", "Bearer geheim "] {
            let refused = check(Some(&token), &headers(&[(header::AUTHORIZATION, wrong)]));
            assert_eq!(refused, Err(Refusal::NoToken), "{wrong}");
        }
        assert_eq!(check(Some(&token), &headers(&[])), Err(Refusal::NoToken));
        assert_eq!(Refusal::NoToken.respond("").status(), StatusCode::UNAUTHORIZED);
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let host = (header::HOST, "127.0.0.1:7080");
        for own in ["http://127.0.0.1:7080", "https://127.0.0.1:7080"] {
            assert!(is_own_origin(&headers(&[host.clone(), (header::ORIGIN, own)])), "{own}");
        }
        for foreign in ["http://evil.example", "null", "http://127.0.0.1:9999"] {
            let headers = headers(&[host.clone(), (header::ORIGIN, foreign)]);
            assert_eq!(check(None, &headers), Err(Refusal::OtherSite), "{foreign}");
        }
    }

    #[test]
    fn a_name_that_another_site_gave_to_this_address_is_refused_without_a_token() {
        for own in [
            "127.0.0.1:7080",
            "127.0.0.1",
            "localhost:7080",
            "LocalHost",
            "x.localhost:1",
            "[::1]:7080",
            "[::1]",
        ] {
            assert_eq!(check(None, &headers(&[(header::HOST, own)])), Ok(()), "{own}");
        }
        let token = Secret::new("geheim");
        for (host, origin) in [
            ("evil.example:7080", "http://evil.example:7080"),
            ("localhost.evil.example", "http://localhost.evil.example"),
            ("127.0.0.1.evil.example:7080", "http://127.0.0.1.evil.example:7080"),
            ("[::1].evil.example", "http://[::1].evil.example"),
            ("", "http://"),
        ] {
            let alone = [(header::HOST, host)];
            assert_eq!(check(None, &headers(&alone)), Err(Refusal::OtherHost), "{host}");
            let mut with_origin = [(header::HOST, host), (header::ORIGIN, origin), (header::ACCEPT, "*/*")];
            assert_eq!(check(None, &headers(&with_origin)), Err(Refusal::OtherHost), "{host}");
            // Such a page has no token; whoever has one may use any name.
            with_origin[2] = (header::AUTHORIZATION, "Bearer geheim");
            assert_eq!(check(Some(&token), &headers(&with_origin)), Ok(()), "{host}");
        }
    }
}
