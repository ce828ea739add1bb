use std::convert::Infallible;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::super::body::BODY_BYTES_MAX;
use super::*;
use crate::player::control::{Repeat, To};
use crate::player::tests::row;
use crate::player::{Access, BindOptions, Endpoints, Pace, PlayOptions, Rounds, Start};

fn parse(body: &str) -> Result<Action, Wrong> {
    action::parse(body.as_bytes(), 10_000_000)
}

#[test]
fn actions_are_read() {
    let s = 1_000_000_000;
    let step = |count: u64| Order::Step(Steps::Count(count.try_into().unwrap()));
    let alarm = Selection {
        kinds: vec!["alarm".into()],
        devices: vec!["1".into(), "2".into()],
        ..Selection::default()
    };
    let repeat = |from, to, rounds| Order::Repeat(Repeat { from, to, rounds });
    for (body, expected) in [
        (r#"{"action": "play"}"#, Order::Play),
        (r#"{"action": "seek", "to": "90s"}"#, Order::Seek(To::Position(90 * s))),
        (r#"{"action": "seek", "to": 7}"#, Order::Seek(To::Position(7))),
        (r#"{"action": "seek", "to": "+90s"}"#, Order::Seek(To::Recorded(90 * s))),
        (r#"{"action": "seek", "to": "1970-01-01T00:00:02Z"}"#, Order::Seek(To::Wall(2_000_000))),
        (r#"{"action": "seek", "to": "-2s"}"#, Order::Seek(To::Wall(8_000_000))),
        (r#"{"action": "seek", "by": "-5s"}"#, Order::Seek(To::By(-5 * s as i64))),
        (r#"{"action": "speed", "speed": "1/4"}"#, Order::Speed("1/4".parse().unwrap())),
        (r#"{"action": "speed", "speed": 2}"#, Order::Speed("2".parse().unwrap())),
        (r#"{"action": "step"}"#, step(1)),
        (r#"{"action": "step", "count": 12}"#, step(12)),
        (r#"{"action": "loop"}"#, repeat(None, None, Rounds::Forever)),
        (
            r#"{"action": "loop", "from": "1s", "to": "2s", "count": 1}"#,
            repeat(Some(To::Position(s)), Some(To::Position(2 * s)), Rounds::ONCE),
        ),
        (r#"{"action": "stop"}"#, Order::Stop),
    ] {
        assert_eq!(parse(body), Ok(Action::Order(expected)), "{body}");
    }
    for (body, condition, selection) in [
        (r#"{"action": "step", "until": {"kind": "alarm", "device": ["1", "2"]}}"#, None, alarm),
        (
            r#"{"action": "step", "until": {"where": "speed_kmh > 80"}}"#,
            Some("speed_kmh > 80".to_owned()),
            Selection::default(),
        ),
    ] {
        assert_eq!(parse(body), Ok(Action::StepTo { condition, selection }), "{body}");
    }
}

#[test]
fn what_is_wrong_is_told_with_what_was_expected() {
    for (body, error) in [
        ("", "the body is empty"),
        ("{", "it ends too early, at line 1, column 1"),
        ("action=play", "no JSON, at line 1, column 1"),
        ("[]", "not an object"),
        ("{}", "`action` is missing"),
        (r#"{"action": 1}"#, "not a text"),
        (r#"{"action": "rewind"}"#, "no action \"rewind\""),
        (r#"{"action": "play", "to": 1}"#, "`to` says nothing to play"),
        (r#"{"action": "seek"}"#, "one of `to` and `by`"),
        (r#"{"action": "seek", "to": 1, "by": 1}"#, "one of `to` and `by`"),
        (r#"{"action": "seek", "to": -1}"#, "`to` is -1"),
        (r#"{"action": "seek", "to": "soon"}"#, "`to` is \"soon\""),
        (r#"{"action": "seek", "by": "soon"}"#, "`by` is"),
        (r#"{"action": "speed", "speed": "0"}"#, "\"0\" is out of bounds"),
        (r#"{"action": "speed", "speed": "fast"}"#, "\"fast\" is not a speed"),
        (r#"{"action": "speed"}"#, "`speed` is missing"),
        (r#"{"action": "step", "count": 0}"#, "`count` is not a whole number from 1"),
        (r#"{"action": "step", "until": {}}"#, "`until` says nothing"),
        (r#"{"action": "step", "until": {"seq": 1}}"#, "`seq` says nothing"),
        (r#"{"action": "step", "until": {"kind": 1}}"#, "`kind` is neither"),
        (r#"{"action": "loop", "from": "2s", "to": "1s"}"#, "not after `from`"),
        (r#"{"action": "loop", "from": "+2s", "to": "+2s"}"#, "not after `from`"),
        (r#"{"action": "loop", "from": "-1s", "to": "-2s"}"#, "not after `from`"),
        (r#"{"action": "loop", "to": 0}"#, "not after `from`"),
    ] {
        let wrong = parse(body).unwrap_err();
        assert!(wrong.error.contains(error) && !wrong.expected.is_empty(), "{body}: {wrong:?}");
    }
}

#[test]
fn one_thing_is_waited_for() {
    assert_eq!(awaited("seq=7"), Ok((Awaited::Seq(7), None)));
    let done = Awaited::State(Stand::Done);
    assert_eq!(awaited("timeout=2s&state=done"), Ok((done, Some(Duration::from_secs(2)))));
    for wrong in
        ["", "timeout=1s", "seq=x", "state=over", "seq=1&seq=2", "seq=1&state=done", "n=1", "seq=1&timeout=x"]
    {
        assert!(awaited(wrong).is_err(), "{wrong}");
    }
}

/// A replay of five messages, a second apart, that waits to be told to play; the address, and its end.
async fn paused(token: Option<&str>, listen: &str) -> (String, Arc<Control>, JoinHandle<u64>) {
    paused_with(token, listen, Arc::new(|_| Ok(None))).await
}

async fn paused_with(
    token: Option<&str>,
    listen: &str,
    find: Arc<Find>,
) -> (String, Arc<Control>, JoinHandle<u64>) {
    let options = PlayOptions {
        start: Start::AtOnce,
        start_paused: true,
        first_ns: Some(0),
        end_ns: Some(4_000_000_000),
        ..PlayOptions::default()
    };
    replay(token, listen, find, options).await
}

async fn replay(
    token: Option<&str>,
    listen: &str,
    find: Arc<Find>,
    play: PlayOptions,
) -> (String, Arc<Control>, JoinHandle<u64>) {
    let options = BindOptions {
        listen: vec![listen.parse().unwrap()],
        access: Access::Any,
        api: Some(api(token.map(Secret::new), find)),
        ..BindOptions::default()
    };
    let endpoints = Endpoints::bind(options).await.unwrap();
    let (url, control) = (endpoints.http_url().unwrap(), endpoints.control());
    let port = url.rsplit_once(':').unwrap().1.to_owned();
    let open = |_| {
        let rows = (0..5).map(|seq| Ok::<_, Infallible>(row(seq, seq * 1_000_000_000, "x")));
        Ok::<_, Infallible>(rows)
    };
    let played = tokio::spawn(async move { endpoints.play(play, open).await.unwrap().messages });
    (format!("127.0.0.1:{port}"), control, played)
}

/// Head and body of the answer to a request.
async fn ask(authority: &str, request: &str, headers: &str, body: &str) -> (String, serde_json::Value) {
    let mut stream = TcpStream::connect(authority).await.unwrap();
    let length = body.len();
    let text = format!(
        "{request} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), serde_json::from_str(body).unwrap_or_default())
}

const REPLAY: &str = "/api/v1/replays/1";

#[tokio::test]
async fn a_replay_is_controlled_over_http() {
    let (at, control, played) = paused(None, "http://127.0.0.1:0").await;
    let get = async |path: &str| ask(&at, &format!("GET {REPLAY}{path}"), "", "").await;
    let post = async |body: &str| ask(&at, &format!("POST {REPLAY}"), "", body).await;

    let (head, now) = get("/wait?state=paused").await;
    assert!(head.starts_with("http/1.1 200") && !head.contains("access-control"), "{head}");
    assert_eq!((&now["state"], &now["emitted"], &now["seq"]), (&json!("paused"), &json!(0), &json!(null)));
    // The wait stands before what it waits for.
    let waiting = tokio::spawn({
        let at = at.clone();
        async move { ask(&at, &format!("GET {REPLAY}/wait?seq=1&timeout=1h"), "", "").await }
    });
    let (_, now) = post(r#"{"action": "step", "count": 2}"#).await;
    assert_eq!((&now["state"], &now["emitted"], &now["seq"]), (&json!("paused"), &json!(2), &json!(1)));
    assert_eq!(waiting.await.unwrap().1["seq"], 1);
    let (_, now) = post(r#"{"action": "seek", "to": "3s"}"#).await;
    assert_eq!(
        (&now["position_ns"], &now["duration_ns"]),
        (&json!(3_000_000_000u64), &json!(4_000_000_000u64))
    );
    let (_, now) = post(r#"{"action": "speed", "speed": "1000"}"#).await;
    assert_eq!(now["speed"], "1000");
    let (head, wrong) = post(r#"{"action": "seek", "to": "soon"}"#).await;
    assert!(head.starts_with("http/1.1 400") && wrong["expected"].is_string(), "{head} {wrong}");
    let (head, now) = get("/wait?seq=99&timeout=0s").await;
    assert!(head.starts_with("http/1.1 408") && now["replay"]["state"] == "paused", "{head} {now}");
    let waits = ["state=done", "seq=99"].map(|query| {
        let (at, query) = (at.clone(), query.to_owned());
        tokio::spawn(async move { ask(&at, &format!("GET {REPLAY}/wait?{query}"), "", "").await })
    });
    // They stand there before the replay can be over.
    while control.watching() < 2 {
        tokio::task::yield_now().await;
    }
    post(r#"{"action": "play"}"#).await;
    for (wait, status) in waits.into_iter().zip(["200", "409"]) {
        let (head, _) = wait.await.unwrap();
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
    }
    assert_eq!(played.await.unwrap(), 4, "0, 1, 3, 4");
    assert_eq!(control.order(Order::Play), Err(Refused::Over));
}

#[tokio::test]
async fn a_step_to_what_does_not_come_sends_nothing() {
    let session_id = row(3, 0, "x").session_id;
    let find = move |search: &Search| Ok(search.selection.kinds.is_empty().then_some((session_id, 3)));
    let (at, _, played) = paused_with(None, "http://127.0.0.1:0", Arc::new(find)).await;
    let post = async |body: &str| ask(&at, &format!("POST {REPLAY}"), "", body).await;
    let (head, wrong) = post(r#"{"action": "step", "until": {"kind": "alarn"}}"#).await;
    assert!(head.starts_with("http/1.1 409") && wrong["error"].is_string(), "{head} {wrong}");
    let (_, now) = ask(&at, &format!("GET {REPLAY}"), "", "").await;
    assert_eq!((&now["state"], &now["emitted"]), (&json!("paused"), &json!(0)));
    let (_, now) = post(r#"{"action": "step", "until": {"source": "any"}}"#).await;
    assert_eq!((&now["state"], &now["seq"]), (&json!("paused"), &json!(3)));
    let (_, now) = post(r#"{"action": "stop"}"#).await;
    assert_eq!(now["state"], "done", "nothing is played any more, whatever is still on its way");
    assert_eq!(played.await.unwrap(), 4);
}

#[tokio::test]
async fn what_lies_behind_is_found_in_the_next_round_and_not_beyond_its_end() {
    let session_id = row(0, 0, "x").session_id;
    let looked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let find = {
        let looked = Arc::clone(&looked);
        move |search: &Search| {
            looked.lock().unwrap().push((search.from_ns / 1_000_000_000, search.to_ns));
            // Messages 1 and 4 are meant.
            let mut seqs = [1, 4].into_iter();
            let seq = seqs.find(|seq| {
                let at_ns = seq * 1_000_000_000;
                at_ns >= search.from_ns
                    && search.to_ns.is_none_or(|to_ns| at_ns < to_ns)
                    && search.after.is_none_or(|(_, after)| *seq > after)
            });
            Ok(seq.map(|seq| (session_id, seq)))
        }
    };
    let (at, _, played) = paused_with(None, "http://127.0.0.1:0", Arc::new(find)).await;
    let post = async |body: &str| ask(&at, &format!("POST {REPLAY}"), "", body).await;
    post(r#"{"action": "loop", "from": "1s", "to": "3s"}"#).await;
    post(r#"{"action": "step", "count": 2}"#).await;
    let (head, now) = post(r#"{"action": "step", "until": {"kind": "x"}}"#).await;
    assert!(head.starts_with("http/1.1 200"), "{head} {now}");
    // 1 and 2 by count, and then 1 of the next round.
    assert_eq!((&now["seq"], &now["emitted"]), (&json!(1), &json!(3)));
    assert_eq!(*looked.lock().unwrap(), [(2, Some(3_000_000_000)), (1, Some(2_000_000_001))]);
    post(r#"{"action": "stop"}"#).await;
    assert_eq!(played.await.unwrap(), 3);
}

#[tokio::test]
async fn a_step_before_the_clients_are_there_is_refused_and_changes_nothing() {
    let session_id = row(3, 0, "x").session_id;
    let find = Arc::new(move |_: &Search| Ok(Some((session_id, 3))));
    for start_paused in [true, false] {
        let options = PlayOptions { start_paused, ..PlayOptions::default() };
        let (at, _, played) = replay(None, "http://127.0.0.1:0", find.clone(), options).await;
        let post = async |body: &str| ask(&at, &format!("POST {REPLAY}"), "", body).await;
        for step in [r#"{"action": "step"}"#, r#"{"action": "step", "until": {"source": "src"}}"#] {
            let (head, wrong) = post(step).await;
            assert!(head.starts_with("http/1.1 409"), "{head} {wrong}");
            assert!(wrong["error"].as_str().unwrap().contains("waits for its clients"), "{wrong}");
        }
        let (_, now) = ask(&at, &format!("GET {REPLAY}"), "", "").await;
        // A refused step pauses nothing.
        let state = if start_paused { "paused" } else { "waiting" };
        assert_eq!((&now["state"], &now["emitted"]), (&json!(state), &json!(0)));
        post(r#"{"action": "stop"}"#).await;
        assert_eq!(played.await.unwrap(), 0);
    }
}

#[tokio::test]
async fn where_no_time_is_kept_there_is_no_speed() {
    for pace in [Pace::Max, Pace::Lockstep] {
        let options =
            PlayOptions { start_paused: true, start: Start::AtOnce, pace, ..PlayOptions::default() };
        let (at, _, played) = replay(None, "http://127.0.0.1:0", Arc::new(|_| Ok(None)), options).await;
        let post = async |body: &str| ask(&at, &format!("POST {REPLAY}"), "", body).await;
        let (head, wrong) = post(r#"{"action": "speed", "speed": "2"}"#).await;
        assert!(head.starts_with("http/1.1 409"), "{head}");
        assert!(wrong["error"].as_str().unwrap().contains("no time is kept"), "{wrong}");
        post(r#"{"action": "stop"}"#).await;
        assert_eq!(played.await.unwrap(), 0);
    }
}

#[tokio::test]
async fn what_there_is_not_and_who_may_not_is_told() {
    let (at, _, played) = paused(None, "http://127.0.0.1:0").await;
    for (request, headers, status) in [
        ("GET /api/v1/replays/2", "", "404"),
        ("GET /api/v1/replay", "", "404"),
        ("POST /api/v1/replays", "", "405"),
        ("GET /api/v1/replays", "Origin: null\r\n", "403"),
        ("DELETE /api/v1/replays/1", "", "405"),
        ("POST /api/v1/replays/1/wait", "", "405"),
        ("GET /api/v1/replays/1/wait", "", "400"),
        ("GET /api/v1/replays/1", "Origin: http://evil.example\r\n", "403"),
        ("POST /api/v1/replays/1", "Origin: null\r\n", "403"),
    ] {
        let (head, body) = ask(&at, request, headers, "").await;
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{request}: {head}");
        assert!(body["error"].is_string() && !head.contains("access-control"), "{request}: {head} {body}");
        assert_eq!(head.contains("\r\nallow: get, head"), status == "405", "{request}: {head}");
    }
    // Another site's page, whose name leads to this machine by now.
    let mut rebound = TcpStream::connect(&at).await.unwrap();
    let request = "POST /api/v1/replays/1 HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\n\
                   Connection: close\r\nContent-Length: 18\r\n\r\n{\"action\": \"stop\"}";
    rebound.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    rebound.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let own = format!("Origin: http://{at}\r\n");
    let (head, _) = ask(&at, &format!("GET {REPLAY}/wait?state=paused"), &own, "").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let (head, list) = ask(&at, "GET /api/v1/replays", &own, "").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(
        (list.as_array().unwrap().len(), &list[0]["id"], &list[0]["state"]),
        (1, &json!("1"), &json!("paused"))
    );
    assert!(ask(&at, "GET /api/v1/replays/1", &own, "").await.0.starts_with("http/1.1 200"));
    // A vendor's path goes on as it was.
    assert!(ask(&at, "GET /nowhere", "", "").await.0.starts_with("http/1.1 404"));
    ask(&at, "POST /api/v1/replays/1", "", r#"{"action": "stop"}"#).await;
    assert_eq!(played.await.unwrap(), 0);
}

#[tokio::test]
async fn who_may_not_ask_is_told_before_a_body_comes() {
    let (at, _, played) = paused(None, "http://127.0.0.1:0").await;
    for (host, length, status) in [("evil.example", 10, "403"), (&at, BODY_BYTES_MAX + 1, "413")] {
        let mut stream = TcpStream::connect(&at).await.unwrap();
        let head = format!("POST {REPLAY} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        if status == "413" {
            stream.write_all(&vec![b' '; length]).await.unwrap();
        }
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, format!("HTTP/1.1 {status}").as_bytes());
    }
    played.abort();
}

#[tokio::test]
async fn no_more_wait_than_there_is_room_for() {
    let (at, _, played) = paused(None, "http://127.0.0.1:0").await;
    let mut waiting: FuturesUnordered<_> = (0..=WAITERS_MAX)
        .map(|_| async { ask(&at, &format!("GET {REPLAY}/wait?state=done"), "", "").await.0 })
        .collect();
    let refused = waiting.next().await.unwrap();
    assert!(refused.starts_with("http/1.1 429"), "{refused}");
    let stop = ask(&at, "POST /api/v1/replays/1", "", r#"{"action": "stop"}"#);
    let (others, _) = tokio::join!(waiting.collect::<Vec<_>>(), stop);
    assert_eq!(others.len(), WAITERS_MAX);
    assert!(others.iter().all(|head| head.starts_with("http/1.1 200")), "{others:?}");
    assert_eq!(played.await.unwrap(), 0);
}

#[tokio::test]
async fn beyond_loopback_the_token_is_needed() {
    for (token, headers, status) in [
        (None, "", "403"),
        (Some("geheim"), "", "401"),
        (Some("geheim"), "Authorization: Bearer geheim\r\n", "200"),
    ] {
        let (at, _, played) = paused(token, "http://0.0.0.0:0").await;
        let (head, _) = ask(&at, "POST /api/v1/replays/1", headers, r#"{"action": "stop"}"#).await;
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{token:?}: {head}");
        played.abort();
    }
}

#[test]
fn hostile_actions_are_read_or_refused_in_words() {
    let right = [
        r#"{"action": "seek", "to": "90s"}"#,
        r#"{"action": "seek", "by": -5000000000}"#,
        r#"{"action": "seek", "to": "2026-03-01T14:00:00Z"}"#,
        r#"{"action": "speed", "speed": "1/4"}"#,
        r#"{"action": "step", "count": 12}"#,
        r#"{"action": "step", "until": {"kind": ["alarm"], "vendor": "jointech", "where": "speed_kmh > 80"}}"#,
        r#"{"action": "loop", "from": "+1s", "to": "-2h", "count": 3}"#,
        r#"{"action": "toggle"}"#,
    ];
    let words = ["action", "play", "step", "until", "loop", "1/4", "-2h", "+90s", "0.5x", "9999999999/0"];
    crate::fuzz::Target::new("actions").inputs(right).words(&words).run(|body| {
        let read = action::parse(body, 1_700_000_000_000_000);
        match &read {
            Ok(Action::StepTo { condition: None, selection }) => assert_ne!(*selection, Selection::default()),
            Ok(_) => {}
            Err(wrong) => {
                crate::fuzz::assert_words(&wrong.error, body.len());
                crate::fuzz::assert_words(&wrong.expected, 0);
            }
        }
        read.is_ok()
    });
}
