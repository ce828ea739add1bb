//! To whom a request is addressed: said once, or it is not answered (RFC 9112, 3.2). Who decides by the `Host`, and a
//! proxy before it, must have read the same one.

use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};

/// Makes the `Host` what the request is addressed to: in absolute form, the authority of its target. Says what
/// is wrong where it is addressed to nobody, or to two.
pub(super) fn settle<B>(request: &mut Request<B>) -> Result<(), &'static str> {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    // With a user before it, it is no Host, and could pass for another one.
    let authority = request.uri().authority().map(|authority| match authority.as_str() {
        text if text.contains('@') => None,
        text => HeaderValue::from_str(text).ok(),
    });
    match (hosts, authority) {
        (0, _) if request.version() >= Version::HTTP_11 => Err("a request has to name a Host"),
        (0 | 1, None) => Ok(()),
        (0 | 1, Some(Some(authority))) => {
            request.headers_mut().insert(header::HOST, authority);
            Ok(())
        }
        (0 | 1, Some(None)) => Err("the target names no Host"),
        _ => Err("a request names one Host, and no other"),
    }
}

/// The answer to who did not.
pub(super) fn refused(why: &'static str) -> Response<Body> {
    (StatusCode::BAD_REQUEST, [(header::CONNECTION, "close")], why).into_response()
}
