//! What each vendor's sources take.

use super::*;

#[test]
fn damoov_needs_a_token_or_a_login_and_keeps_unset_what_is_unset() {
    let damoov = |keys: &str| {
        let config =
            parse(&format!("[[source]]\nname = \"f\"\nvendor = \"damoov\"\ninstance_id = \"i\"\n{keys}"));
        match config.map(|mut config| config.sources.remove(0).vendor) {
            Ok(VendorConfig::Damoov(damoov)) => damoov,
            other => panic!("{other:?}"),
        }
    };
    let plain = damoov("access_token = \"t\"");
    assert_eq!(plain.url, "wss://portal-apis.telematicssdk.com/realtime/api/v1/ws/realtime");
    assert_eq!((plain.refresh_url, plain.units, plain.date_format), (None, None, None));
    let refreshing = damoov("access_token = \"t\"\nrefresh_token = \"r\"\ndate_format = \"human\"");
    let expected = "https://user.telematicssdk.com/v1/Auth/RefreshToken";
    assert_eq!(refreshing.refresh_url.as_deref(), Some(expected));
    let logging_in = damoov("login = { email = \"e\", password = { env = \"TOKEN\" } }");
    assert_eq!(logging_in.login.unwrap().url, "https://user.telematicssdk.com/v1/Auth/Login");
    assert!(logging_in.access_token.is_none() && logging_in.refresh_url.as_deref() == Some(expected));
    // Tokens go to no other host than the one that gives them.
    let elsewhere = damoov("login = { url = \"http://h:1/a/Login\", email = \"e\", password = \"p\" }");
    assert_eq!(elsewhere.refresh_url.as_deref(), Some("http://h:1/a/RefreshToken"));

    let source = |keys: &str| format!("[[source]]\nname = \"f\"\nvendor = \"damoov\"\n{keys}");
    check(
        &source("units = \"nautical\""),
        &[
            (1, "`access_token` in source \"f\"", "a JWT, or a `login`"),
            (1, "`instance_id` in source \"f\"", "missing"),
            (4, "`units` in", "\"metric\" or \"imperial\""),
        ],
    );
    check(
        &source("access_token = \"t\"\ninstance_id = \"i\"\nrefresh_url = \"https://h/r\""),
        &[(6, "`refresh_url` in", "a `refresh_token` too, or a `login`")],
    );
    check(
        &source("instance_id = \"i\"\nlogin = { user = \"u\" }"),
        &[
            (5, "`login.email` in", "missing"),
            (5, "`login.password` in", "missing"),
            (5, "`login.user` in", "known here: url, email, password"),
        ],
    );
}

#[test]
fn pontosense_has_defaults() {
    let text = "[[source]]\nname = \"w\"\nvendor = \"pontosense\"\napi_url = \"https://a/\"\napi_key = \"k\"\n\
                secret = \"s\"\nsensors = [\"ATR_GN_P4-250120-09527\"]\n";
    let config = parse(text).unwrap();
    let VendorConfig::Pontosense(pontosense) = &config.sources[0].vendor else { panic!() };
    assert_eq!(pontosense.api_url, "https://a");
    assert_eq!(pontosense.sensors, ["ATR_GN_P4-250120-09527"]);
    assert_eq!((pontosense.tenant_id, pontosense.mqtt_url.as_ref()), (None, None));
    let seconds = [pontosense.renew_every, pontosense.token_margin, pontosense.connection_max_age];
    assert_eq!(seconds.map(|duration| duration.as_secs()), [55, 300, 3_300]);
}

#[test]
fn mistakes_in_a_pontosense_source_are_told() {
    check(
        "[[source]]\nname = \"w\"\nvendor = \"pontosense\"\napi_url = \"https://a?x\"\napi_key = \"k, l\"\n\
         secret = \"s\"\nsensors = []\nrenew_evry = \"1s\"\nrenew_every = \"60s\"\ntenant_id = 0\n",
        &[
            (4, "`api_url` in source \"w\"", "without query"),
            (5, "`api_key` in source \"w\"", "without comma"),
            (7, "`sensors` in source \"w\"", "a list of serial numbers"),
            (8, "`renew_evry` in source \"w\"", "did you mean `renew_every`?"),
            (9, "`renew_every` in source \"w\"", "below `60s`"),
            (10, "`tenant_id` in source \"w\"", "from 1"),
        ],
    );
    let with = |sensors: &str| {
        format!(
            "[[source]]\nname = \"w\"\nvendor = \"pontosense\"\napi_url = \"https://a\"\napi_key = \"k\"\n\
             secret = \"s\"\nsensors = {sensors}"
        )
    };
    check(&with("[\"a\", \"a\"]"), &[(7, "`sensors`", "\"a\" is listed twice")]);
    check(&with("[\"a/b\"]"), &[(7, "`sensors[0]`", "a serial number such as")]);
}

#[test]
fn delicode_has_defaults() {
    let config = parse(&format!("{DELICODE}token = {{ env = \"TOKEN\" }}\nlocations = [1, 2]")).unwrap();
    let VendorConfig::Delicode(delicode) = &config.sources[0].vendor else { panic!() };
    assert_eq!(delicode.url, "wss://signals.delicode.com/websocket_realtime");
    assert_eq!(delicode.token.expose(), "from-env");
    assert_eq!(delicode.locations, [1, 2]);
    assert_eq!(delicode.heartbeat, Duration::from_secs(22));
}

#[test]
fn jointech_hashes_the_password_and_fills_in_the_access_key() {
    let config = parse(&format!("[archive]\nsite = \"home 12\"\n{JOINTECH}password = \"123456\"")).unwrap();
    let VendorConfig::Jointech(JointechConfig::Mqtt(mqtt)) = &config.sources[0].vendor else { panic!() };
    assert_eq!(mqtt.url, "mqtt://mqtt.assetscontrols.com:1883");
    assert_eq!(mqtt.password_md5.expose(), "e10adc3949ba59abbe56e057f20f883e");
    assert_eq!(mqtt.topics, ["upload/K/#"]);
    assert_eq!((mqtt.qos, mqtt.clean_session), (1, false));
    assert_eq!(mqtt.client_id, "telereel-home-12-locks");

    let md5 = format!("{JOINTECH}password_md5 = \"E10ADC3949BA59ABBE56E057F20F883E\"");
    let config = parse(&md5).unwrap();
    let VendorConfig::Jointech(JointechConfig::Mqtt(mqtt)) = &config.sources[0].vendor else { panic!() };
    assert_eq!(mqtt.password_md5.expose(), "e10adc3949ba59abbe56e057f20f883e");
}

#[test]
fn an_access_key_of_an_unusual_form_is_warned_of_and_taken() {
    let warnings = |key: &str| {
        let text = format!("{}password = \"p\"", JOINTECH.replace("\"K\"", &format!("{key:?}")));
        parse(&text).unwrap().sources[0].warnings()
    };
    assert_eq!(warnings("0123456789ABCDEF0123456789abcdef"), [""; 0]);
    for (key, length) in
        [("K", 1), ("0123456789ABCDEF0123456789ABCDEG", 32), ("0123456789ABCDEF0123456789ABCDEF0", 33)]
    {
        let warnings = warnings(key);
        assert!(warnings.len() == 1 && warnings[0].contains("32 hex digits"), "{warnings:?}");
        assert!(warnings[0].ends_with(&format!("it has {length} characters")), "{warnings:?}");
    }
}

/// What every source takes, whatever its vendor and transport.
#[test]
fn generic_sources_have_three_transports() {
    let config = parse(&format!(
        "{GENERIC}transport = \"websocket\"\nurl = \"wss://h/stream?x=1\"\nsend_on_open = \"hello\"\n\
         headers = {{ Authorization = {{ env = \"TOKEN\" }} }}\nexclude_kinds = [\"message\"]\n\
         redact_headers = [\"X-Key\"]\nstall_after = \"30s\""
    ))
    .unwrap();
    let source = &config.sources[0];
    assert_eq!(source.stall_after, Some(Duration::from_secs(30)));
    assert_eq!(source.redact_headers, ["x-key"]);
    let VendorConfig::Generic(generic) = &source.vendor else { panic!() };
    let GenericTransport::WebSocket { headers, send_on_open, .. } = &generic.transport else { panic!() };
    assert_eq!(headers[0].0, "Authorization");
    assert_eq!(headers[0].1.expose(), "from-env");
    assert_eq!(send_on_open[0].expose(), "hello");
}

#[test]
fn sensoro_needs_an_app_and_checks_the_form_of_its_key() {
    const APP: &str = "[[source]]\nname = \"city\"\nvendor = \"sensoro\"\npath = \"/c/\"\napp_id = \"1\"\n\
                       app_secret = \"geheim\"\n";
    let config = parse(APP).unwrap();
    let VendorConfig::Sensoro(sensoro) = &config.sources[0].vendor else { panic!() };
    assert_eq!((sensoro.path.as_str(), sensoro.app_id.as_str()), ("/c", "1"));
    assert!(sensoro.app_key.is_none() && sensoro.public_url.is_none() && sensoro.verify_signature);
    assert!(sensoro.signature_max_age.is_none(), "no page of the vendor's asks for one");
    let config = parse(&format!("{APP}signature_max_age = \"5m\"")).unwrap();
    let VendorConfig::Sensoro(sensoro) = &config.sources[0].vendor else { panic!() };
    assert_eq!(sensoro.signature_max_age, Some(Duration::from_secs(300)));

    let key = |key: String| format!("{APP}app_key = \"{key}\"");
    assert!(parse(&key("A".repeat(43))).is_ok());
    check(&key("A".repeat(42)), &[(7, "`app_key` in source \"city\"", "expected 43 characters")]);
    check(&key("-".repeat(43)), &[(7, "`app_key` in source \"city\"", "expected base64")]);
    let missing = "[[source]]\nname = \"city\"\nvendor = \"sensoro\"\napp_scret = \"x\"";
    check(
        missing,
        &[
            (1, "`path` in source \"city\"", "the path that the vendor pushes to"),
            (1, "`app_id` in source \"city\"", "AppID"),
            (1, "`app_secret` in source \"city\"", "AppSecret"),
            (4, "`app_scret` in source \"city\"", "did you mean `app_secret`?"),
        ],
    );
}
