//! To whom a request is addressed: said once, or it is not answered (RFC 9112, 3.2). Who decides by the `Host`, and a
//! proxy before it, must have read the same one.

use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};

/// Makes the `Host` what the request is addressed to: in absolute form, the authority of its target. Says what
/// is wrong where it is addressed to nobody, or to two.
pub(super) fn settle<B>(request: &mut Request<B>) -> Result<(), &'static str> {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    let authority = request.uri().authority().map(|authority| HeaderValue::from_str(authority.as_str()));
    match (hosts, authority) {
        (0, _) if request.version() >= Version::HTTP_11 => return Err("a request has to name a Host"),
        (0 | 1, None) => {}
        (0 | 1, Some(Ok(authority))) => drop(request.headers_mut().insert(header::HOST, authority)),
        (0 | 1, Some(Err(_))) => return Err("the target names no Host"),
        _ => return Err("a request names one Host, and no other"),
    }
    // With a user before it, it could pass for another one.
    match request.headers().get(header::HOST) {
        Some(host) if host.as_bytes().contains(&b'@') => Err("a Host names no user"),
        _ => Ok(()),
    }
}

/// The answer to who did not.
pub(super) fn refused(why: &'static str) -> Response<Body> {
    (StatusCode::BAD_REQUEST, [(header::CONNECTION, "close")], why).into_response()
}
