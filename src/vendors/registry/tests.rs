use std::time::Duration;

use super::*;
use crate::secret::Secret;
use crate::vendors::damoov::config::{DamoovConfig, Login};
use crate::vendors::delicode::config::DelicodeConfig;
use crate::vendors::generic::config::{GenericConfig, GenericTransport};
use crate::vendors::jointech::config::{JointechConfig, JointechMqtt, JointechWebhook};
use crate::vendors::pontosense::config::PontosenseConfig;
use crate::vendors::sensoro::cipher::Cipher;
use crate::vendors::sensoro::config::SensoroConfig;
use crate::vendors::testing::source;
use crate::vendors::{Effect, Frame, Input};

const SECRET: &str = "s3cret";

pub(in crate::vendors) fn sources() -> Vec<Source> {
    let secret = || Secret::new(SECRET);
    let generic = |transport| VendorConfig::Generic(GenericConfig { transport, declarations: None });
    let url = || format!("wss://{SECRET}:{SECRET}@example.com/p?key={SECRET}&{SECRET}");
    [
        VendorConfig::Delicode(DelicodeConfig {
            url: url(),
            token: secret(),
            locations: vec![1, 2],
            heartbeat: Duration::from_secs(22),
        }),
        VendorConfig::Damoov(DamoovConfig {
            url: url(),
            instance_id: "I".into(),
            access_token: Some(secret()),
            device_token: None,
            client_id: Some("c".into()),
            units: None,
            timezone: None,
            date_format: None,
            refresh_url: Some(format!("https://example.com/{SECRET}")),
            refresh_token: Some(secret()),
            login: Some(Login { url: url(), email: SECRET.into(), password: secret() }),
        }),
        VendorConfig::Jointech(JointechConfig::Webhook(JointechWebhook {
            path: "/h".into(),
            header: Some(("headerkey".into(), secret())),
        })),
        VendorConfig::Jointech(JointechConfig::Mqtt(JointechMqtt {
            url: url(),
            username: SECRET.into(),
            password_md5: secret(),
            access_key: "AK".into(),
            topics: vec!["upload/AK/#".into()],
            qos: 1,
            client_id: "c".into(),
            clean_session: false,
        })),
        VendorConfig::Sensoro(SensoroConfig {
            path: "/s".into(),
            app_id: "123456".into(),
            app_key: Cipher::new(&Secret::new("A".repeat(43))),
            app_secret: secret(),
            public_url: None,
            verify_signature: false,
            signature_max_age: None,
        }),
        VendorConfig::Pontosense(PontosenseConfig {
            api_url: format!("https://{SECRET}:{SECRET}@example.com"),
            api_key: "key".into(),
            secret: secret(),
            sensors: vec!["A".into(), "B".into()],
            tenant_id: Some(1),
            mqtt_url: Some(url()),
            renew_every: Duration::from_secs(55),
            token_margin: Duration::from_secs(300),
            connection_max_age: Duration::from_secs(3_300),
        }),
        generic(GenericTransport::WebSocket {
            url: url(),
            headers: vec![("authorization".into(), secret())],
            send_on_open: vec![secret()],
        }),
        generic(GenericTransport::Mqtt {
            url: url(),
            username: Some(SECRET.into()),
            password: Some(secret()),
            topics: vec!["#".into()],
            qos: 0,
            client_id: "c".into(),
            clean_session: true,
        }),
        generic(GenericTransport::Webhook { path: "/g".into() }),
    ]
    .map(source)
    .into()
}

#[test]
fn headers_hold_kinds_in_order_and_no_secret() {
    for source in sources() {
        let header = source_header(&source);
        let names: Vec<&str> = header.kinds.iter().map(|kind| &*kind.name).collect();
        let own = kinds(&header.vendor).unwrap();
        assert_eq!(names[..own.len()], *own);
        assert_eq!(names[own.len()..], COMMON_KINDS);
        assert!(VENDORS.contains(&&*header.vendor));
        let text = serde_json::to_string(&header).unwrap();
        assert!(!text.contains(SECRET), "{text}");
    }
}

#[test]
fn every_declared_kind_of_a_vendor_brings_its_declaration() {
    for source in sources() {
        for kind in source_header(&source).kinds {
            let has_columns = !matches!(&*kind.name, "control" | "link" | "message") && !is_generic(&source);
            assert_eq!(kind.declaration.is_some(), has_columns, "{}", kind.name);
            if let Some(text) = &kind.declaration {
                assert_eq!(decode::Declaration::parse(text, "header").unwrap().kind(), kind.name);
            }
        }
    }
    for vendor in VENDORS.into_iter().filter(|vendor| *vendor != "generic") {
        let declared: Vec<&str> = decode::builtin(vendor).unwrap().iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds(vendor).unwrap(), declared);
    }
}

fn is_generic(source: &Source) -> bool {
    matches!(source.vendor, VendorConfig::Generic(_))
}

#[test]
fn an_attempt_is_told_first_and_without_secrets() {
    for source in sources() {
        let mut fx = Vec::new();
        let mut rng = <rand_pcg::Pcg64 as rand::SeedableRng>::seed_from_u64(1);
        let mut recording = collector(&source);
        recording.on(Default::default(), &mut rng, Input::Start, &mut fx);
        let Effect::Link(link) = &fx[0] else { panic!("{fx:?}") };
        assert_eq!(link.event, "connecting");
        let opened = Input::Opened { conn: 0, session_present: false };
        recording.on(Default::default(), &mut rng, opened, &mut fx);
        assert!(!format!("{fx:?}").contains(SECRET), "{fx:?}");
    }
}

#[test]
fn a_source_is_ready_once_data_can_come_and_not_before() {
    for source in sources() {
        let mut hand = crate::vendors::testing::Hand::of(&source);
        let transport = source_header(&source).settings["transport"].clone();
        let mut is_ready = |input| hand.effects(input).contains(&Effect::Ready { conn: 0 });
        let reply = match source.vendor {
            VendorConfig::Damoov(_) => r#"{"type":"subscribed","topic":"t"}"#,
            _ => r#"{"type":"realtime_register","result":"success"}"#,
        };
        let frame = Frame::Text(reply.into());
        // Where the broker has the session, the subscriptions may be new all the same.
        let ready = [
            is_ready(Input::Start),
            is_ready(Input::Opened { conn: 0, session_present: true }),
            is_ready(Input::Subscribed { conn: 0, granted: vec![("a".into(), Some(1))] }),
            is_ready(Input::Frame { conn: 0, at: Default::default(), frame }),
        ];
        let expected = match (&source.vendor, transport.as_str()) {
            (VendorConfig::Damoov(_) | VendorConfig::Delicode(_), _) => [false, false, false, true],
            // Its REST interface has not answered yet.
            (VendorConfig::Pontosense(_), _) => [false; 4],
            (_, Some("webhook")) => [true, false, false, false],
            (_, Some("mqtt")) => [false, false, true, false],
            _ => [false, true, false, false],
        };
        assert_eq!(ready, expected, "{transport}");
    }
}

#[test]
fn options_that_an_emulator_needs_are_there() {
    let settings: Vec<Value> = sources().iter().map(|source| source_header(source).settings).collect();
    assert_eq!(settings[0]["locations"], json!([1, 2]));
    assert_eq!(settings[0]["url"], "wss://example.com/p");
    assert_eq!((&settings[1]["instance_id"], &settings[1]["device_token"]), (&json!("I"), &Value::Null));
    assert_eq!(settings[2]["path"], "/h");
    assert_eq!(settings[3]["access_key"], "AK");
    assert_eq!(settings[3]["topics"], json!(["upload/AK/#"]));
    let mut source = sources().remove(0);
    source.exclude_kinds = vec!["demographics".into()];
    assert_eq!(source_header(&source).settings["exclude_kinds"], json!(["demographics"]));
}

#[test]
fn endpoints_are_found_by_path() {
    let recorded = Arc::new(Recorded::default());
    for (path, served) in
        [("/ws", true), ("/websocket_realtime", true), (damoov::PATH, true), ("/", false), ("/ws/", false)]
    {
        assert_eq!(emulator(path, recorded.clone()).is_some(), served, "{path}");
    }
}
