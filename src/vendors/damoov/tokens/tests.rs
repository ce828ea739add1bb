use super::*;
use crate::vendors::damoov::jwt::tests::token;
use crate::vendors::testing::at_s;

fn login() -> Option<Login> {
    Some(Login {
        url: "https://user.example/v1/Auth/Login".into(),
        email: "a\"b@example.com".into(),
        password: Secret::new("pass\"word"),
    })
}

fn tokens(access: Option<&str>, refresh: Option<&str>, login: Option<Login>) -> Tokens {
    Tokens::new(&DamoovConfig {
        url: String::new(),
        instance_id: String::new(),
        access_token: access.map(Secret::new),
        device_token: None,
        client_id: None,
        units: None,
        timezone: None,
        date_format: None,
        refresh_url: Some("https://user.example/v1/Auth/RefreshToken".into()),
        refresh_token: refresh.map(Secret::new),
        login,
    })
}

/// At `second` after the start, on both clocks.
fn at(second: u64) -> Now {
    Now { wall_us: at_s(0).wall_us + second as i64 * 1_000_000, ..at_s(second) }
}

/// A token that ends at `second`.
fn until(second: i64) -> String {
    token(at(0).wall_us / 1_000_000 + second)
}

fn reply(token: &str) -> String {
    format!(r#"{{"AccessToken":"{token}"}}"#)
}

fn sent(fx: &mut Vec<Effect>) -> (Call, HttpSend) {
    fx.retain(|effect| !matches!(effect, Effect::Secret(_)));
    match fx.remove(0) {
        Effect::Http { call, request } => (call, request),
        other => panic!("{other:?}"),
    }
}

fn answer(
    tokens: &mut Tokens,
    now: Now,
    call: Call,
    status: u16,
    body: &str,
    fx: &mut Vec<Effect>,
) -> Outcome {
    let body = Bytes::copy_from_slice(body.as_bytes());
    tokens.response(now, call, Ok(HttpResponse { status, retry_after_s: None, body }), fx)
}

#[test]
fn requests_are_the_documented_ones() {
    let mut fx = Vec::new();
    let mut refreshing = tokens(Some("old"), Some("r0"), None);
    assert_eq!(refreshing.renew(at(0), &mut fx), Wish::UnderWay);
    assert_eq!(refreshing.renew(at(0), &mut fx), Wish::UnderWay);
    assert_eq!(fx.len(), 1);
    let (_, request) = sent(&mut fx);
    assert_eq!((request.method, &*request.url), ("POST", "https://user.example/v1/Auth/RefreshToken"));
    assert_eq!(request.body, r#"{"AccessToken":"old","RefreshToken":"r0"}"#);
    assert_eq!(request.headers[0], ("content-type", "application/json".to_owned()));

    let mut logging_in = tokens(None, None, login());
    assert_eq!(logging_in.renew(at(0), &mut fx), Wish::UnderWay);
    let (_, request) = sent(&mut fx);
    assert_eq!(request.url, "https://user.example/v1/Auth/Login");
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body["LoginFields"], r#"{"email":"a\"b@example.com"}"#);
    assert_eq!(body["Password"], "pass\"word");
    assert_eq!(body.as_object().unwrap().len(), 2);
}

#[test]
fn replies_are_read_in_every_shape() {
    let cases = [
        (
            r#"{"Result":{"AccessToken":{"Token":"new","ExpiresIn":1},"RefreshToken":"r1"},"Status":200}"#,
            Some(("new", "r1")),
        ),
        (r#"{"Result":{"AccessToken":"new","RefreshToken":"r1"}}"#, Some(("new", "r1"))),
        (
            r#"{"AccessToken":{"Token":"new"},"RefreshToken":{"Token":"r1"},"Result":null}"#,
            Some(("new", "r1")),
        ),
        (r#"{"accessToken":"new","refreshToken":"r1"}"#, Some(("new", "r1"))),
        (r#"{"access_token":"new","refresh_token":"r1","expires_in":3600}"#, Some(("new", "r1"))),
        (r#"{"AccessToken":"new"}"#, Some(("new", "r0"))),
        (r#"{"AccessToken":"","RefreshToken":"r1"}"#, None),
        (r#"{"Result":{"AccessToken":{"Token":7}}}"#, None),
        (r#"["AccessToken"]"#, None),
        ("", None),
    ];
    for (body, expected) in cases {
        let mut fx = Vec::new();
        let mut tokens = tokens(Some("old"), Some("r0"), None);
        tokens.renew(at(0), &mut fx);
        let outcome = answer(&mut tokens, at(0), 0, 200, body, &mut fx);
        let Some((access, refresh)) = expected else {
            assert_eq!(outcome, Outcome::Failed { reason: "the refresh's reply holds no token".into() });
            continue;
        };
        assert_eq!(outcome, Outcome::Renewed { by: "refresh" }, "{body}");
        assert_eq!(tokens.usable(at(0)).map(|(token, n)| (token.expose(), n)), Some((access, 1)), "{body}");
        assert_eq!(tokens.refresh.unwrap().expose(), refresh, "{body}");
    }
}

#[test]
fn a_refused_refresh_leads_to_a_login_and_a_refused_login_to_the_end() {
    for (status, body) in [(401, ""), (400, "{}"), (403, "no"), (200, r#"{"Status":401,"Title":"expired"}"#)]
    {
        let mut fx = Vec::new();
        let mut tokens = tokens(Some("old"), Some("r0"), login());
        tokens.renew(at(0), &mut fx);
        let (call, _) = sent(&mut fx);
        assert_eq!(answer(&mut tokens, at(0), call, status, body, &mut fx), Outcome::Another);
        let (call, request) = sent(&mut fx);
        assert!(request.url.ends_with("/Login"));
        // What comes late means nothing.
        assert_eq!(answer(&mut tokens, at(0), call + 7, 200, "", &mut fx), Outcome::Unknown);
        let outcome = answer(&mut tokens, at(0), call, status, body, &mut fx);
        let code = if status == 200 { 401 } else { status };
        assert_eq!(outcome, Outcome::Hopeless { reason: format!("login refused with status {code}") });
        assert_eq!(tokens.renew(at(9_999), &mut fx), Wish::Impossible);
        assert!(fx.is_empty());
    }
}

#[test]
fn troubles_that_pass_are_waited_for() {
    let mut fx = Vec::new();
    let mut tokens = tokens(Some("old"), Some("r0"), login());
    let mut now_s = 0;
    for (n, expected_s) in [1, 2, 4, 8, 16, 32, 60, 60].into_iter().enumerate() {
        tokens.renew(at(now_s), &mut fx);
        let (call, request) = sent(&mut fx);
        assert!(request.url.ends_with("/RefreshToken"), "a server in trouble is no reason to log in");
        let result = match n % 4 {
            0 => Err("no route to host".to_owned()),
            n => Ok(HttpResponse {
                status: [404, 500, 503][n - 1],
                retry_after_s: None,
                body: Bytes::default(),
            }),
        };
        assert!(matches!(tokens.response(at(now_s), call, result, &mut fx), Outcome::Failed { .. }));
        let until_ns = at(now_s + expected_s).steady_ns;
        assert_eq!(
            tokens.renew(at(now_s), &mut fx),
            Wish::Later { until_ns, why: "waiting before the next refresh".into() }
        );
        now_s += expected_s;
    }
    tokens.renew(at(now_s), &mut fx);
    let (call, _) = sent(&mut fx);
    let busy = HttpResponse { status: 429, retry_after_s: Some(90), body: Bytes::default() };
    tokens.response(at(now_s), call, Ok(busy), &mut fx);
    assert_eq!(tokens.not_before(at(now_s)), at(now_s + 90).steady_ns);
}

#[test]
fn five_logins_in_any_hour_and_no_more() {
    let mut fx = Vec::new();
    let mut tokens = tokens(None, None, login());
    let mut logins: Vec<u64> = Vec::new();
    // Each login gives a token that is refused at once, for four hours.
    for second in 0..4 * 3_600 {
        let now = at(second);
        if let Wish::UnderWay = tokens.renew(now, &mut fx) {
            let (call, _) = sent(&mut fx);
            let outcome = answer(&mut tokens, now, call, 200, r#"{"AccessToken":"t"}"#, &mut fx);
            assert_eq!(outcome, Outcome::Renewed { by: "login" });
            assert!(tokens.discard(tokens.generation()));
            assert!(tokens.usable(now).is_none());
            logins.push(second);
        } else {
            assert_eq!(tokens.not_before(now), at(logins[logins.len() - 5] + 3_600).steady_ns);
        }
    }
    let expected: Vec<u64> = (0..4).flat_map(|hour| (0..5).map(move |n| hour * 3_600 + n)).collect();
    assert_eq!(logins, expected);
}

#[test]
fn a_token_is_renewed_ahead_of_its_end() {
    // (what it is good for, when it is due): five minutes before, or a tenth.
    for (ends_s, due_s) in [(7_200, 6_900), (3_600, 3_300), (600, 540), (10, 9)] {
        let mut tokens = tokens(Some(&until(ends_s)), Some("r"), None);
        tokens.start(at(0));
        let mut now_s = 0;
        while !tokens.is_due(at(now_s)) {
            let look_ns = tokens.look_at(at(now_s)).unwrap();
            let next_s = (look_ns - at(0).steady_ns) / SECOND_NS;
            assert!(next_s > now_s && next_s - now_s <= 3_600);
            now_s = next_s;
        }
        assert_eq!(now_s, due_s);
        assert!(tokens.usable(at(ends_s as u64 - 1)).is_some());
        assert!(tokens.usable(at(ends_s as u64)).is_none());
    }
}

#[test]
fn tokens_that_come_at_their_end_do_not_make_it_spin() {
    let mut fx = Vec::new();
    let mut tokens = tokens(Some(&until(2)), Some("r"), None);
    tokens.start(at(0));
    let mut calls = Vec::new();
    for second in 1..60 {
        let now = at(second);
        if tokens.look_at(now).is_some_and(|at| at <= now.steady_ns) && tokens.is_due(now) {
            tokens.renew(now, &mut fx);
            let (call, _) = sent(&mut fx);
            let body = reply(&until(second as i64 + 1));
            answer(&mut tokens, now, call, 200, &body, &mut fx);
            calls.push(second);
        }
    }
    // The first is due a fifth of a second before its end; the others would be at once.
    assert_eq!(calls, [2, 12, 22, 32, 42, 52]);
}

#[test]
fn a_token_that_cannot_be_replaced_is_shown_to_the_end_and_beyond() {
    let mut tokens = tokens(Some(&until(10)), None, None);
    tokens.start(at(0));
    assert_eq!(tokens.look_at(at(0)), None);
    assert!(tokens.usable(at(99)).is_some() && tokens.has_ended(at(99)));
    assert!(!tokens.discard(0));
    assert_eq!(tokens.renew(at(0), &mut Vec::new()), Wish::Impossible);
}

#[test]
fn a_new_token_that_seems_to_have_ended_is_used_until_it_is_refused() {
    let mut fx = Vec::new();
    let mut tokens = tokens(None, None, login());
    tokens.renew(at(100), &mut fx);
    answer(&mut tokens, at(100), 0, 200, &reply(&until(50)), &mut fx);
    assert!(tokens.usable(at(100)).is_some() && tokens.look_at(at(100)).is_none());
    // The refusal of the token before this one does not count.
    assert!(tokens.discard(0));
    assert!(tokens.usable(at(100)).is_some());
    tokens.discard(1);
    assert!(tokens.usable(at(100)).is_none());
}

#[test]
fn words_of_a_server_are_shown_without_secrets() {
    let tokens = tokens(Some("acc"), Some("ref"), login());
    assert_eq!(tokens.without_secrets("bad acc, ref, pass\"word!"), "bad …, …, …!");
    assert!(!format!("{tokens:?}").contains("acc\""));
}
