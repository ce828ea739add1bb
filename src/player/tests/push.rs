//! Replays that go to receivers of pushes.

use super::*;

/// A receiver of pushes that takes all but those whose body is in `refused`, and what it was sent.
async fn receiver(refused: &'static [&'static str]) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let received = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&received);
    let answer = move |uri: axum::http::Uri, body: String| {
        let status = if refused.contains(&body.as_str()) { 500 } else { 204 };
        noted.lock().unwrap().push(format!("{uri} {body}"));
        std::future::ready(axum::http::StatusCode::from_u16(status).unwrap())
    };
    let router = axum::Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, received)
}

fn pushed(seq: u64) -> Row {
    Row { headers: Some(Vec::new()), channel: "/hook".into(), ..row(seq, seq * 1_000_000, &seq.to_string()) }
}

fn push_target(url: &str, vendor: &str) -> PushTarget {
    PushTarget { to: format!("src={url}").parse().unwrap(), pusher: Arc::from(pusher(vendor, None, &[])) }
}

#[tokio::test]
async fn what_is_pushed_to_is_of_the_audience_and_no_client_to_wait_for() {
    let (url, received) = receiver(&[]).await;
    let options =
        BindOptions { pushes: vec![push_target(&url, "generic")], ..bind_options(&["http://127.0.0.1:0"]) };
    let endpoints = Endpoints::bind(options).await.unwrap();
    let progress = endpoints.progress();
    let http = endpoints.http_url().unwrap();
    let rows = vec![pushed(0), row(1, 1_000_000, "of a socket"), pushed(2)];
    let playing = tokio::spawn(endpoints.play(with_clients(1), source(rows)));
    tokio::task::yield_now().await;
    assert_eq!(progress(), (0, 0), "a receiver is nobody who comes");
    let (frames, _) = receive_all(websocket(&http, "/ws").await).await;
    assert_eq!(texts(frames), ["0", "of a socket", "2"]);
    let report = playing.await.unwrap().unwrap();
    assert_eq!(*received.lock().unwrap(), ["/hook 0", "/hook 2"]);
    let to = &report.clients[0];
    assert_eq!((to.endpoint.as_str(), to.messages, to.refused), (format!("push src {url}/").as_str(), 2, 0));
    assert!(report.clients.len() == 2 && !report.has_loss());
}

#[tokio::test]
async fn a_push_that_is_refused_for_good_is_a_loss() {
    let (url, received) = receiver(&["1"]).await;
    let options = BindOptions { pushes: vec![push_target(&url, "jointech")], ..bind_options(&[]) };
    let endpoints = Endpoints::bind(options).await.unwrap();
    assert!(endpoints.urls().is_empty());
    let at_once = PlayOptions { start: Start::AtOnce, ..PlayOptions::default() };
    let report = endpoints.play(at_once, source((0..3).map(pushed).collect())).await.unwrap();
    assert_eq!(*received.lock().unwrap(), ["/hook 0", "/hook 1", "/hook 2"]);
    assert_eq!((report.clients[0].messages, report.clients[0].refused), (2, 1));
    assert!(report.has_loss());
}
