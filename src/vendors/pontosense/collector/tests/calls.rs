//! What is asked of the REST interface, and what its responses may be like.

use super::*;

#[test]
fn the_tenant_form_and_another_broker_are_used_where_configured() {
    let mut tenant = config(&["A"]);
    tenant.tenant_id = Some(7);
    tenant.mqtt_url = Some("ws://127.0.0.1:9002".into());
    tenant.renew_every = Duration::from_secs(30);
    let mut rng = Pcg64::seed_from_u64(1);
    let now = Now::default();
    let start = api::start(&tenant, now, &mut rng, "A");
    assert_eq!(start.url, "https://api/v1/tenants/7/sensors/A/actions/location/start");
    let reply = br#"{"token":"t","expireTime":"2025-02-04T12:30:00Z","host":"broker"}"#;
    let (token, data) = api::read_token(&tenant, now, reply).unwrap();
    assert!(token.url("c").starts_with("ws://127.0.0.1:9002/mqtt?token=t&clientId=c&"));
    assert_eq!(data, None);
    let documented = include_bytes!("../../../../../fixtures/pontosense/token_reply.json");
    let (token, data) = api::read_token(&config(&["A"]), now, documented).unwrap();
    assert!(token.url("c").starts_with("wss://iot.example.com/mqtt?token=eyJhbGci"));
    assert!(data.unwrap().ends_with(br#""preference":0}"#));
}

#[test]
fn the_host_of_a_token_reply_is_bare_or_with_a_port_or_a_url() {
    let url = |config: &PontosenseConfig, host: &str| {
        let body = format!(r#"{{"token":"t","expireTime":"2025-02-04T12:30:00Z","host":"{host}"}}"#);
        let (token, _) = api::read_token(config, Now::default(), body.as_bytes())?;
        Ok::<_, String>(token.url("c").split('?').next().unwrap().to_owned())
    };
    let https = config(&["A"]);
    let http = PontosenseConfig { api_url: "http://api".into(), ..config(&["A"]) };
    assert_eq!(url(&https, "broker.example").unwrap(), "wss://broker.example/mqtt");
    assert_eq!(url(&https, "broker:8443").unwrap(), "wss://broker:8443/mqtt");
    assert_eq!(url(&https, "wss://broker/x").unwrap(), "wss://broker/x");
    assert_eq!(url(&http, "ws://broker").unwrap(), "ws://broker/mqtt");
    for host in ["ws://broker", "", "http://broker", "wss://", "a b", "wss://u:p@broker"] {
        assert!(url(&https, host).is_err(), "{host}");
    }
}

/// With a clock that is wrong, or an `expireTime` that is none, tokens are renewed as the vendor documents it.
#[test]
fn wrong_clocks_and_unreadable_times_of_expiry_cost_no_token() {
    let hour_us = 3_600_000_000;
    for (ahead_us, tokens) in [(0, 5), (hour_us, 5), (20_000 * hour_us, 5), (-hour_us, 2)] {
        let mut world = World::new(config(&["A"]));
        let vendor_us = world.now.wall_us;
        world.vendor_behind_us = ahead_us;
        world.now.wall_us = vendor_us + ahead_us;
        world.give(Input::Start);
        let lines = world.until(2 * 3_600);
        assert_eq!(only(&lines, &["token"]).len(), tokens, "{ahead_us}");
        assert_eq!(only(&lines, &["ready"]).len(), 3, "{ahead_us}: handed over twice");
        assert_eq!(only(&lines, &["reconnected", "refused"]), [] as [&str; 0]);
    }
    // The clock is set while a token is held: its time is counted on the steady one.
    for step_us in [9 * hour_us, -9 * hour_us] {
        let mut world = World::started(&["A"], &[]);
        world.until(600);
        world.now.wall_us += step_us;
        assert_eq!(only(&world.until(1_499), &["token"]), [] as [&str; 0]);
        assert_eq!(only(&world.until(1_500), &["token"]), ["1500 token A"]);
    }

    let now = Now { wall_us: 1_738_708_800_000_000, steady_ns: 7 };
    for member in ["", r#","expireTime":"""#, r#","expireTime":1738710600"#, r#","expireTime":null"#] {
        let body = format!(r#"{{"token":"t","host":"broker"{member}}}"#);
        let (token, _) = api::read_token(&config(&["A"]), now, body.as_bytes()).unwrap();
        assert_eq!(token.expires_ns, 1_800 * SECOND_NS + 7, "{member}");
    }
    let body = br#"{"token":"t","host":"broker","expireTime":"2025-02-05T00:40:10+02:00"}"#;
    assert_eq!(api::read_token(&config(&["A"]), now, body).unwrap().0.expires_ns, 10 * SECOND_NS + 7);
}

#[test]
fn a_response_counts_once_and_only_to_its_own_call() {
    let mut hand = Hand::of(&source(VendorConfig::Pontosense(config(&["A"]))));
    let begun = hand.give(Input::Start);
    assert_eq!(begun, ["link connecting 0", "call 0 POST https://api/v1/iot/tokens"]);
    assert_eq!(hand.respond(1, 200, ""), [] as [&str; 0]);
    assert_eq!(hand.respond(0, 403, ""), ["link refused 0: A: no token: HTTP status 403"]);
    assert_eq!(hand.respond(0, 403, ""), [] as [&str; 0]);
}
