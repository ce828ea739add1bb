//! One HTTP request over a connection of its own: control calls are rare, and a pool would only keep
//! stale lines.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio_rustls::rustls::ClientConfig;
use url::Url;

use super::dial::{DialError, Target, chain, dial};
use super::intake::Intake;
use crate::vendors::{Call, HttpResponse, HttpSend, Input};

/// An answer longer than this is cut off with an error: control calls have small ones.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A request to be made.
#[derive(Clone, Debug)]
pub struct HttpCall {
    pub method: Method,
    pub url: Url,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
    /// For everything, from the name's look-up to the last byte of the answer.
    pub timeout: Duration,
}

/// An answer, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    pub status: u16,
    /// `Retry-After`, where it is a number of seconds.
    pub retry_after_s: Option<u32>,
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("{target} did not answer within {timeout:?}")]
    TimedOut { target: Target, timeout: Duration },
    #[error("the exchange with {target} failed")]
    Exchange {
        target: Target,
        #[source]
        source: hyper::Error,
    },
    #[error("the answer of {target} cannot be read")]
    Answer {
        target: Target,
        #[source]
        source: axum::Error,
    },
}

/// Makes one request.
pub async fn call(call: HttpCall, tls: &Arc<ClientConfig>) -> Result<HttpAnswer, HttpError> {
    let target = Target::of(&call.url, &[("http", 80)], &[("https", 443)])?;
    let timeout = call.timeout;
    match tokio::time::timeout(timeout, exchange(call, &target, tls)).await {
        Ok(answer) => answer,
        Err(_) => Err(HttpError::TimedOut { target, timeout }),
    }
}

async fn exchange(call: HttpCall, target: &Target, tls: &Arc<ClientConfig>) -> Result<HttpAnswer, HttpError> {
    let failed = |source| HttpError::Exchange { target: target.clone(), source };
    let stream = dial(target, tls).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let speaking = async {
        let answer = sender.send_request(request(call)?).await.map_err(failed)?;
        let status = answer.status().as_u16();
        let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after_s = retry_after.and_then(|seconds| seconds.trim().parse().ok());
        let body = axum::body::to_bytes(Body::new(answer.into_body()), ANSWER_BYTES_MAX)
            .await
            .map_err(|source| HttpError::Answer { target: target.clone(), source })?;
        Ok(HttpAnswer { status, retry_after_s, body })
    };
    tokio::pin!(speaking);
    tokio::select! {
        answer = speaking.as_mut() => answer,
        // The connection may end first, with the answer read already.
        _ended = connection => speaking.await,
    }
}

/// Makes a collector's request in a task of its own. What came of it goes to `intake`.
pub fn spawn(call: Call, request: HttpSend, tls: Arc<ClientConfig>, intake: &Intake) {
    let intake = intake.clone();
    tokio::spawn(async move {
        let result = send(request, &tls).await;
        // If nobody listens any more, nobody misses it.
        let _ = intake.deliver(Input::Response { call, result }).await;
    });
}

async fn send(request: HttpSend, tls: &Arc<ClientConfig>) -> Result<HttpResponse, String> {
    let HttpSend { method, url, headers, body, timeout } = request;
    let url = Url::parse(&url).map_err(|error| format!("not a usable address: {error}"))?;
    let method = Method::from_bytes(method.as_bytes()).map_err(|error| error.to_string())?;
    let headers = headers.into_iter().map(|(name, value)| {
        let mut value =
            HeaderValue::try_from(value).map_err(|_| format!("the header {name} is not allowed"))?;
        value.set_sensitive(true);
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string())?;
        Ok((name, value))
    });
    let headers = headers.collect::<Result<_, String>>()?;
    let answer = call(HttpCall { method, url, headers, body, timeout }, tls).await;
    let HttpAnswer { status, retry_after_s, body } = answer.map_err(|error| chain(&error))?;
    Ok(HttpResponse { status, retry_after_s, body })
}

fn request(call: HttpCall) -> Result<Request<Body>, HttpError> {
    let bad = |reason: &str| DialError::BadUrl { reason: reason.to_owned() };
    let path = &call.url[url::Position::BeforePath..url::Position::AfterQuery];
    let host = &call.url[url::Position::BeforeHost..url::Position::AfterPort];
    let mut request = Request::new(Body::from(call.body));
    *request.method_mut() = call.method;
    *request.uri_mut() = path.parse().map_err(|_| bad("the path is not allowed"))?;
    let host = HeaderValue::try_from(host).map_err(|_| bad("the host is not allowed"))?;
    request.headers_mut().insert(HOST, host);
    for (name, value) in call.headers {
        request.headers_mut().insert(name, value);
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::transport::tls::{Trust, client_config};

    #[tokio::test]
    async fn an_answer_without_end_is_cut_off_with_an_error() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1_024]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            let mut sent = 0_usize;
            while stream.write_all(&[b'x'; 64 << 10]).await.is_ok() {
                sent += 64 << 10;
            }
            sent
        });
        let timeout = Duration::from_secs(30);
        let request = HttpCall { method: Method::GET, url, headers: vec![], body: Bytes::new(), timeout };
        let error = call(request, &client_config(&Trust::Anybody).unwrap()).await.unwrap_err();
        assert!(matches!(error, HttpError::Answer { .. }), "{error}");
        // What the two systems hold comes on top.
        assert!(server.await.unwrap() < ANSWER_BYTES_MAX + (16 << 20));
    }
}
