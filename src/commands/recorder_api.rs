//! Asking a running recorder, at the `[console]` listener of its configuration.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use url::Url;

use crate::config::Console;
use crate::transport::http_client::{HttpAnswer, HttpCall, HttpError, call};
use crate::transport::tls::{Trust, client_config};

/// A recorder answers from memory, or after a small file: whoever needs longer is not one.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks for `/api/v1/{what}`. Answers with what came, unless nobody is there or the token is wrong.
pub(super) async fn ask(
    console: &Console,
    method: Method,
    what: &str,
    body: Bytes,
) -> anyhow::Result<HttpAnswer> {
    let scheme = if console.tls.is_some() { "https" } else { "http" };
    let url = Url::parse(&format!("{scheme}://{}/api/v1/{what}", dialable(&console.listen)))?;
    // The certificate is the one that the recorder of this configuration serves.
    let trust = console.tls.as_ref().map_or(Trust::System, |tls| Trust::Authority(tls.cert.clone()));
    let mut headers = Vec::new();
    if !body.is_empty() {
        headers.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
    }
    if let Some(token) = &console.token {
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose()))
            .context("the token of [console] cannot be sent in a header")?;
        value.set_sensitive(true);
        headers.push((AUTHORIZATION, value));
    }
    let request = HttpCall { method, url, headers, body, timeout: PATIENCE };
    let answer = match call(request, &client_config(&trust)?).await {
        Ok(answer) => answer,
        Err(error @ HttpError::Dial(_)) => {
            let what = format!(
                "no recorder is running at {}: start one with `telereel record`, or name its configuration with -c",
                console.listen
            );
            return Err(anyhow::Error::new(error).context(what));
        }
        Err(error) => return Err(error.into()),
    };
    match answer.status {
        401 | 403 => bail!("the recorder at {} does not accept the token of [console]", console.listen),
        _ => Ok(answer),
    }
}

/// Where to connect to for an address that is listened on: "all addresses" is none to dial.
fn dialable(listen: &str) -> String {
    match listen.rsplit_once(':') {
        Some(("0.0.0.0", port)) => format!("127.0.0.1:{port}"),
        Some(("[::]", port)) => format!("[::1]:{port}"),
        _ => listen.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_are_dialled_on_loopback() {
        assert_eq!(dialable("0.0.0.0:7080"), "127.0.0.1:7080");
        assert_eq!(dialable("[::]:7080"), "[::1]:7080");
        assert_eq!(dialable("192.168.1.5:7080"), "192.168.1.5:7080");
    }
}
