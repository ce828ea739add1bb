use super::*;
use crate::vendors::CloseCause;
use crate::vendors::VendorConfig;
use crate::vendors::generic::config::{GenericConfig, GenericTransport};
use crate::vendors::testing::{Hand, SECOND_NS, source};

fn hand() -> Hand {
    let transport = GenericTransport::WebSocket {
        url: "ws://user:pw@example.com/feed?token=t".into(),
        headers: vec![("authorization".into(), Secret::new("Bearer x"))],
        send_on_open: vec![Secret::new("hello"), Secret::new("{\"subscribe\":1}")],
    };
    Hand::of(&source(VendorConfig::Generic(GenericConfig { transport, declarations: None })))
}

#[test]
fn it_dials_with_headers_and_sends_on_every_opening() {
    let mut hand = hand();
    let fx = hand.effects(Input::Start);
    let Effect::DialWebSocket { conn: 0, dial } = &fx[1] else { panic!("{fx:?}") };
    assert_eq!(dial.url, "ws://user:pw@example.com/feed?token=t");
    assert_eq!(dial.headers, [("authorization".to_owned(), "Bearer x".to_owned())]);
    for conn in 0..3 {
        let lines = hand.open(conn);
        let sent = [format!("send {conn} hello"), format!("send {conn} {{\"subscribe\":1}}")];
        assert_eq!(lines[0], format!("link connected {conn}"));
        assert_eq!(lines[1..3], sent);
        assert_eq!(lines.len(), if conn == 0 { 3 } else { 4 }, "{lines:?}");
        assert_eq!(hand.text(conn, "x"), [format!("record {conn} message on /feed")]);
        hand.lose(conn, CloseCause::Broken);
        hand.pass(60 * SECOND_NS);
    }
}
