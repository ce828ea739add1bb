//! From a recorded row to the request that is made of it.

use axum::body::Body;
use bytes::Bytes;
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};
use url::{Position, Url};

use crate::clock::Now;
use crate::message::{Headers, Row, has_dot_segment};
use crate::vendors::Pusher;

/// What is said between two neighbours, and not by the vendor to the receiver: connection management, and
/// what a proxy in front of the recorder had added. A proxy's words about the old way would be wrong
/// about the new one, and a receiver that checks a signature goes by them.
const OF_ONE_HOP: [&str; 15] = [
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-real-ip",
];
const OF_PROXIES: &str = "x-forwarded-";

fn is_of_one_hop(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    OF_ONE_HOP.contains(&name.as_str()) || name.starts_with(OF_PROXIES)
}

/// A request that can be made any number of times.
#[derive(Debug)]
pub(super) struct Push {
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Push {
    /// Fails where the recorded path is none that can be asked for.
    pub(super) fn new(
        base: &Url,
        pusher: &dyn Pusher,
        now: Now,
        row: &Row,
        payload: &Bytes,
    ) -> Result<Self, String> {
        let origin = &base[..Position::AfterPort];
        let path = format!("{}{}", base.path().trim_end_matches('/'), row.channel);
        let unusable = || format!("the recorded path {:?} cannot be asked for", row.channel);
        // What is pushed stays below the URL that was named.
        let recorded_path = row.channel.split(['?', '#']).next().unwrap_or_default();
        if !recorded_path.starts_with('/') || has_dot_segment(recorded_path) {
            return Err(unusable());
        }
        let uri: Uri = path.parse().map_err(|_| unusable())?;
        let recorded: Headers =
            row.headers.iter().flatten().filter(|(name, _)| !is_of_one_hop(name)).cloned().collect();
        let mut headers = HeaderMap::new();
        let host = &base[Position::BeforeHost..Position::AfterPort];
        headers.insert(HOST, HeaderValue::try_from(host).map_err(|_| "the host is not allowed".to_owned())?);
        for (name, value) in pusher.headers(now, &format!("{origin}{path}"), &recorded, payload) {
            // What came as a header can leave as one; an imported row may hold anything.
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                headers.append(name, value);
            }
        }
        Ok(Self { uri, headers, body: payload.clone() })
    }

    pub(super) fn request(&self) -> Request<Body> {
        let mut request = Request::new(Body::from(self.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}
