use super::*;
use crate::vendors::generic::config::{GenericConfig, GenericTransport};
use crate::vendors::jointech::config::{JointechConfig, JointechWebhook};
use crate::vendors::testing::{Hand, source};
use crate::vendors::{Source, VendorConfig};

fn jointech(header: Option<(String, Secret)>) -> Source {
    let hook = JointechWebhook { path: "/hooks/locks".into(), header };
    source(VendorConfig::Jointech(JointechConfig::Webhook(hook)))
}

#[test]
fn a_request_is_recorded_and_answered_or_refused() {
    type Headers<'a> = &'a [(&'a str, &'a str)];
    let secret = Some(("headerkey".to_owned(), Secret::new("s3cret")));
    let right: Headers = &[("content-type", "x"), ("headerkey", "s3cret")];
    let cases: [(&str, Headers, &str); 5] = [
        ("/hooks/locks", right, "record 0 alarm on /hooks/locks, answer 3 200 {\"result\":200}"),
        ("/hooks/locks/a?b=c", right, "record 0 alarm on /hooks/locks/a?b=c, answer 3 200 {\"result\":200}"),
        ("/hooks/locks", &[], "refuse 3 401"),
        ("/hooks/locks", &[("headerkey", "s3creT")], "refuse 3 401"),
        ("/hooks/locks", &[("headerkey", "")], "refuse 3 401"),
    ];
    let mut hand = Hand::of(&jointech(secret));
    assert_eq!(hand.give(Input::Start), ["link connecting 0", "link connected 0: listening"]);
    for (path, headers, expected) in cases {
        assert_eq!(hand.post("POST", path, headers, r#"{"alarmType":1}"#), [expected], "{path}");
    }
}

#[test]
fn headers_are_passed_on_without_the_configured_one() {
    let mut hand = Hand::of(&jointech(Some(("headerkey".to_owned(), Secret::new("s3cret")))));
    let request = HttpRequest {
        method: "POST".into(),
        path_and_query: "/hooks/locks".into(),
        headers: vec![("headerkey".into(), "s3cret".into()), ("user-agent".into(), "Java".into())],
        body: Bytes::from_static(b"\xFF not JSON"),
    };
    let at = hand.now;
    let fx = hand.effects(Input::Pushed { inbound: 1, at, request });
    let Effect::Record { record, .. } = &fx[0] else { panic!("{fx:?}") };
    assert_eq!(record.headers.as_deref(), Some(&[("user-agent".to_owned(), "Java".to_owned())][..]));
    assert_eq!(&record.payload[..], b"\xFF not JSON");
}

#[test]
fn a_generic_hook_takes_anything_and_answers_with_an_empty_object() {
    let transport = GenericTransport::Webhook { path: "/in".into() };
    let mut hand = Hand::of(&source(VendorConfig::Generic(GenericConfig { transport, declarations: None })));
    for body in ["", "text", "{}"] {
        assert_eq!(hand.post("POST", "/in/x", &[], body), ["record 0 message on /in/x, answer 3 200 {}"]);
    }
}
