//! Reading what is posted to the console or to a replay's controls: after its sender was checked, briefly, and little of
//! it.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;

use axum::Json;
use serde_json::json;

/// An action, or a note of 4 KiB with every character escaped, is shorter.
pub(super) const BODY_BYTES_MAX: usize = 64 << 10;

/// Who asks has the body at hand.
const PATIENCE: Duration = Duration::from_secs(10);

/// The whole body, or the answer that tells why not. The connection ends with such an answer.
pub(super) async fn read(body: Body) -> Result<Bytes, Response> {
    let read = async {
        let (mut pieces, mut whole) = (body.into_data_stream(), Vec::new());
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|_| (StatusCode::BAD_REQUEST, "the body is not whole".to_owned()))?;
            if whole.len() + piece.len() > BODY_BYTES_MAX {
                let words = format!("the body is longer than {BODY_BYTES_MAX} bytes");
                return Err((StatusCode::PAYLOAD_TOO_LARGE, words));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(Bytes::from(whole))
    };
    let late = |_| Err((StatusCode::REQUEST_TIMEOUT, "the body did not come".to_owned()));
    tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(late).map_err(|(status, error)| {
        let mut response = (status, Json(json!({"error": error}))).into_response();
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn little_is_read_and_not_for_long() {
        assert_eq!(read(Body::from("{}")).await.unwrap(), "{}");
        assert_eq!(read(Body::from(vec![b' '; BODY_BYTES_MAX])).await.unwrap().len(), BODY_BYTES_MAX);
        let too_long = read(Body::from(vec![b' '; BODY_BYTES_MAX + 1])).await.unwrap_err();
        assert_eq!(too_long.status(), StatusCode::PAYLOAD_TOO_LARGE);

        let begun = tokio::time::Instant::now();
        let never = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        let late = read(never).await.unwrap_err();
        assert_eq!((late.status(), begun.elapsed()), (StatusCode::REQUEST_TIMEOUT, PATIENCE));
        assert_eq!(late.headers()[header::CONNECTION], "close");
    }
}
