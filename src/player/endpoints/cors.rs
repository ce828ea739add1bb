//! Browser clients from anywhere: vendors' endpoints answer any origin, and preflights with what was
//! asked for. Nothing here depends on cookies, so no origin is trusted with anything.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Seconds for which a browser may remember a preflight; none remembers longer than two hours.
const MAX_AGE_S: HeaderValue = HeaderValue::from_static("7200");

const ANY: HeaderValue = HeaderValue::from_static("*");

/// Answers preflights, and lets any origin read the other answers.
pub(super) async fn any_origin(request: Request, next: Next) -> Response {
    let headers = request.headers();
    if request.method() == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        return preflight(headers);
    }
    let mut response = next.run(request).await;
    // An upgrade is no response that a page reads.
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
        response.headers_mut().insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, ANY);
    }
    response
}

/// Named one by one: a `*` does not cover `Authorization`.
fn preflight(asked: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let answer = response.headers_mut();
    answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    if let Some(method) = asked.get(header::ACCESS_CONTROL_REQUEST_METHOD) {
        answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, method.clone());
    }
    if let Some(names) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    // A page of the internet that talks to this machine asks for this as well.
    if asked.contains_key("access-control-request-private-network") {
        answer.insert("access-control-allow-private-network", HeaderValue::from_static("true"));
    }
    answer.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_S);
    response
}
