//! Who may connect, by what means, and what is answered to everybody else.

use super::*;

#[tokio::test]
async fn tls_is_served_with_a_certificate_of_our_own() {
    let dir = tempfile::tempdir().unwrap();
    let options = BindOptions {
        self_signed_dir: dir.path().to_owned(),
        ..bind_options(&["https://127.0.0.1:0", "mqtts://127.0.0.1:0"])
    };
    let endpoints = Endpoints::bind(options).await.unwrap();
    let trust = crate::transport::tls::Trust::Authority(endpoints.certificate().unwrap().to_owned());
    let connector = tokio_rustls::TlsConnector::from(crate::transport::tls::client_config(&trust).unwrap());
    let name = || tokio_rustls::rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let connect = async |url: String| {
        let address = url.split_once("://").unwrap().1.to_owned();
        connector.connect(name(), TcpStream::connect(address).await.unwrap()).await.unwrap()
    };
    let url = endpoints.http_url().unwrap();
    let stream = connect(url.clone()).await;
    let (mut socket, _) =
        tokio_tungstenite::client_async(format!("{}/ws", url.replace("https", "wss")), stream).await.unwrap();
    let mut mqtts = connect(endpoints.mqtt_url().unwrap()).await;
    let mut bytes = bytes::BytesMut::new();
    Packet::Connect(Connect::new("c")).write(&mut bytes, 99).unwrap();
    Packet::Subscribe(Subscribe { pkid: 1, ..Subscribe::new("#", QoS::AtMostOnce) })
        .write(&mut bytes, 99)
        .unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut mqtts, &bytes).await.unwrap();
    let playing = tokio::spawn(endpoints.play(with_clients(2), source(numbered(1, 0))));
    assert_eq!(socket.next().await.unwrap().unwrap().into_text().unwrap(), "0");
    while let Some(Ok(_)) = socket.next().await {}
    let mut received = Vec::new();
    // The end may come without a TLS goodbye; what was sent is there.
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut mqtts, &mut received).await;
    assert!(received.ends_with(b"/_0"), "{received:?}");
    drop((mqtts, socket));
    let report = playing.await.unwrap().unwrap();
    let mut endpoints: Vec<_> = report.clients.iter().map(|client| &*client.endpoint).collect();
    endpoints.sort_unstable();
    assert_eq!(endpoints, ["/ws", "mqtts"]);
}

#[tokio::test]
async fn beyond_loopback_somebody_must_say_who_may_connect() {
    let error = Endpoints::bind(bind_options(&["http://0.0.0.0:0"])).await.unwrap_err();
    assert!(matches!(&error, PlayError::Exposed { url } if url.starts_with("http://0.0.0.0:")), "{error}");
    let required = BindOptions { access: Access::Required, ..bind_options(&["mqtt://127.0.0.1:0"]) };
    assert!(matches!(Endpoints::bind(required).await.unwrap_err(), PlayError::NoCredentials { .. }));
    let any = BindOptions { access: Access::Any, ..bind_options(&["http://0.0.0.0:0"]) };
    Endpoints::bind(any).await.unwrap();
}

#[tokio::test]
async fn the_generic_endpoint_asks_for_the_required_credentials() {
    let mut options = BindOptions { access: Access::Required, ..bind_options(&["http://127.0.0.1:0"]) };
    options.recorded.credentials = vec![Credential {
        source: "src".into(),
        vendor: "generic".into(),
        username: Some("user".into()),
        secret: "right".into(),
    }];
    let endpoints = Endpoints::bind(options).await.unwrap();
    let url = format!("{}/ws", endpoints.http_url().unwrap().replace("http", "ws"));
    let attempt = async |authorization: Option<&str>| {
        let mut request = url.as_str().into_client_request().unwrap();
        if let Some(authorization) = authorization {
            request.headers_mut().insert("authorization", authorization.parse().unwrap());
        }
        connect_async(request).await.is_ok()
    };
    for wrong in [None, Some("Bearer wrong"), Some("Basic dXNlcjp3cm9uZw=="), Some("Basic !"), Some("right")]
    {
        assert!(!attempt(wrong).await, "{wrong:?}");
    }
    for right in ["Bearer right", "Basic dXNlcjpyaWdodA=="] {
        assert!(attempt(Some(right)).await, "{right}");
    }
}

#[tokio::test]
async fn other_requests_are_told_what_there_is() {
    let endpoints = bind(&["http://127.0.0.1:0"]).await;
    let address = endpoints.http_url().unwrap().replace("http://", "");
    let get = async |path: &str| {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.unwrap();
        answer
    };
    assert!(get("/nowhere").await.starts_with("HTTP/1.1 404"));
    assert!(get("/ws").await.starts_with("HTTP/1.1 426"));
    assert!(get("/mqtt").await.contains("/mqtt is a WebSocket endpoint"));
}

#[tokio::test]
async fn a_port_in_use_is_told() {
    let first = bind(&["mqtt://127.0.0.1:0"]).await;
    let url = first.mqtt_url().unwrap();
    let error = Endpoints::bind(bind_options(&[&url])).await.unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
    assert!(error.to_string().contains("--listen mqtt://127.0.0.1:0"), "{error}");
}
