//! A client of Pontosense's: a token, a connection with it, a start that is renewed.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use axum::http::Method;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::{Client, Protocol, receive};
use crate::clock::Clock;
use crate::transport::http_client::{HttpAnswer, HttpCall, call};
use crate::transport::intake::intake;
use crate::transport::mqtt_client;
use crate::transport::tls::{Trust, client_config};
use crate::vendors::MqttDial;

/// The vendor's: a sensor reports for 60 s after a start.
const START_EVERY: Duration = Duration::from_secs(55);

const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Token {
    token: String,
}

/// Receives a sensor's reports until the server closes. `http` is where the REST interface is.
pub(crate) async fn pontosense(http: &str, sn: &str) -> Result<Client> {
    let body = json!({"sn": sn}).to_string();
    let answer = rest(Method::POST, &format!("{http}/v1/iot/tokens"), body.into()).await?;
    ensure!(answer.status == 200, "a token was answered with {}", answer.status);
    let Token { token } =
        serde_json::from_slice(&answer.body).context("the token reply is not as documented")?;

    let client_id = format!("demo-{sn}");
    let mut url = Url::parse(&format!("{}/mqtt", http.replacen("http", "ws", 1)))?;
    url.query_pairs_mut()
        .append_pair("token", &token)
        .append_pair("clientId", &client_id)
        .append_pair("x-amz-customauthorizer-name", "third-party-auth");
    let (intake, arrivals) = intake();
    let dial = MqttDial {
        url: url.into(),
        client_id,
        username: None,
        password: None,
        clean_session: true,
        keep_alive_s: 60,
        subscriptions: vec![(format!("/location/{sn}"), 0)],
    };
    let connection = mqtt_client::spawn(dial, client_config(&Trust::System)?, 0, Clock::System, &intake);
    // The sample program starts before it has subscribed, too; the window of 60 s allows it.
    let start = format!("{http}/v1/sensors/{sn}/actions/location/start");
    let answer = rest(Method::PUT, &start, Bytes::new()).await?;
    ensure!(matches!(answer.status, 200 | 204), "a start was answered with {}", answer.status);
    Ok(tokio::spawn(async move {
        let renewing = async {
            loop {
                tokio::time::sleep(START_EVERY).await;
                if rest(Method::PUT, &start, Bytes::new()).await.is_err() {
                    // The next one comes in time, or the replay is over.
                    tracing::debug!("{start}: no answer");
                }
            }
        };
        tokio::select! {
            received = receive(connection, arrivals, Protocol::Any) => received,
            () = renewing => Ok(Vec::new()),
        }
    }))
}

async fn rest(method: Method, url: &str, body: Bytes) -> Result<HttpAnswer> {
    let request = HttpCall {
        method,
        url: Url::parse(url)?,
        headers: vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))],
        body,
        timeout: TIMEOUT,
    };
    Ok(call(request, &client_config(&Trust::System)?).await?)
}
