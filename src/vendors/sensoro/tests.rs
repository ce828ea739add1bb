use super::cipher::Cipher;
use super::*;
use crate::decode::{Declaration, Decoder};
use crate::secret::Secret;
use crate::vendors::testing::Hand;
use crate::vendors::{Effect, HttpRequest, Input};

pub(super) const APP_KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
pub(super) const APP_SECRET: &str = "YOURAPPSECRET";

/// The application of the vectors.
pub(super) fn config() -> SensoroConfig {
    SensoroConfig {
        path: "/sensoro/webhooks".into(),
        app_id: "123456".into(),
        app_key: Cipher::new(&Secret::new(APP_KEY)),
        app_secret: Secret::new(APP_SECRET),
        public_url: None,
        verify_signature: true,
        signature_max_age: None,
    }
}

#[test]
fn settings_and_what_debug_shows_hold_no_secret() {
    let shown = format!("{} {:?}", settings(&config()), config());
    assert!(shown.contains("123456") && !shown.contains(APP_KEY) && !shown.contains(APP_SECRET), "{shown}");
}

/// What each fixture becomes: its kind, and its columns in plain and in safe mode the same.
#[test]
fn fixtures_are_taken_for_what_they_are_named_after() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/sensoro");
    let source = crate::vendors::testing::source(crate::vendors::VendorConfig::Sensoro(SensoroConfig {
        verify_signature: false,
        ..config()
    }));
    let kinds = crate::vendors::source_header(&source).kinds;
    let mut seen = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let body = std::fs::read(&path).unwrap();
        let mut hand = Hand::of(&source);
        let request = HttpRequest {
            method: "POST".into(),
            path_and_query: "/sensoro/webhooks".into(),
            headers: Vec::new(),
            body: body.into(),
        };
        let at = hand.now;
        let fx = hand.effects(Input::Pushed { inbound: 1, at, request });
        let [Effect::Record { record, .. }] = &fx[..] else { panic!("{name}: {fx:?}") };
        let kind = &kinds[usize::from(record.kind)];
        assert!(name.starts_with(&kind.name), "{name} is taken for {}", kind.name);
        assert_eq!(record.clear.is_some(), name.ends_with("_safe"), "{name}");
        let declaration = Declaration::parse(kind.declaration.as_ref().unwrap(), name).unwrap();
        let mut decoder = Decoder::new(Some(&declaration));
        let decoded = decoder.push_decrypted("", &record.payload, record.clear.as_deref());
        assert_eq!(decoded.error.is_some(), name == "other_sample", "{name}: {:?}", decoded.error);
        assert_eq!(decoded.event_at_us.is_some(), kind.name != "other", "{name}");
        seen += 1;
    }
    assert!(seen >= 10);
}
