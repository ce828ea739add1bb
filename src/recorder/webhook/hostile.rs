//! Requests of any bytes on one connection, from the request line to the chunks of the body.

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::fuzz::Target;

const MAX_BODY: u64 = 2_000;

/// What a connection is answered to these bytes, and how many requests came to the sources.
async fn answered(bytes: &[u8]) -> (Vec<u8>, usize) {
    let (pushes, mut waiting) = mpsc::channel::<Push>(PUSHES_MAX);
    let route = |path: &str, header| Route {
        path: path.to_owned(),
        header,
        room: Room::of(1 << 20),
        pushes: pushes.clone(),
        stats: Arc::new(SourceStats::new("hook", "generic")),
    };
    let doors = Doors::default();
    let header = Some(("headerkey".to_owned(), Secret::new("s3cret")));
    doors.exchange(vec![route("/hooks", None), route("/locked", header)]);
    drop(pushes);
    let service = TowerToHyperService::new(router(doors, MAX_BODY, Room::of(1 << 20), Clock::System));
    let (mut client, server) = tokio::io::duplex(256 << 10);
    let served = async move {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(90)).max_buf_size(16 << 10);
        let _ = http.serve_connection(TokioIo::new(server), service).await;
    };
    let source = async {
        let mut count = 0;
        while let Some(push) = waiting.recv().await {
            let (path, body) = (&push.request.path_and_query, &push.request.body);
            assert!(
                path.starts_with("/hooks") || path.starts_with("/locked"),
                "{path} is no path of a source"
            );
            assert!(body.len() as u64 <= MAX_BODY, "a body of {} bytes", body.len());
            let names = push.request.headers.iter().map(|(name, _)| name);
            assert!(names.is_sorted() && push.request.method == "POST");
            count += 1;
            let reply = HttpReply { status: 200, content_type: "application/json", body: "{}".into() };
            let _ = push.answer.send(Answer::Reply(reply));
        }
        count
    };
    let asked = async move {
        let mut answers = Vec::new();
        // Whoever is refused may find nobody there any more.
        let _ = client.write_all(bytes).await;
        let _ = client.shutdown().await;
        let _ = client.read_to_end(&mut answers).await;
        answers
    };
    let ((), answers, count) = tokio::join!(served, asked, source);
    (answers, count)
}

fn is_answered(bytes: &[u8]) -> bool {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (answers, came) = runtime.block_on(answered(bytes));
    let text = String::from_utf8_lossy(&answers);
    let mut taken = 0;
    for answer in text.split("HTTP/1.").skip(1) {
        let status = answer.split(' ').nth(1).unwrap_or_default();
        let known = [
            "100", "200", "400", "401", "404", "405", "408", "411", "413", "414", "415", "417", "431", "503",
        ];
        assert!(known.contains(&status), "{status} in {text}");
        taken += usize::from(status == "200");
    }
    assert!(answers.is_empty() || text.starts_with("HTTP/1."), "no answer of ours: {text}");
    assert!(taken <= came, "{taken} were answered, and {came} came");
    taken > 0
}

#[test]
fn hostile_requests_are_answered_or_their_connection_ends() {
    let words = [
        "POST /hooks HTTP/1.1\r\n",
        "GET ",
        "HTTP/1.0",
        "host: h\r\n",
        "content-length: 5\r\n",
        "content-length: -1\r\n",
        "transfer-encoding: chunked\r\n",
        "expect: 100-continue\r\n",
        "connection: close\r\n",
        "upgrade: websocket\r\n",
        "headerkey: s3cret\r\n",
        "5\r\nhello\r\n",
        "0\r\n\r\n",
        "ffffffffffffffff\r\n",
        "/hooks/../x",
        "%2e%2e",
        "http://h/hooks",
        "\r\n\r\n",
    ];
    let target = Target::new("webhooks").cases(1_000).words(&words).memory(4 << 20, 64);
    target.run(is_answered);
}
