//! Why a connection ended, or never was one, in the words of the library's errors.

use std::io::ErrorKind;

use rumqttc::mqttbytes::Error as MqttError;
use rumqttc::{ConnectReturnCode, ConnectionError, StateError};
use tokio_tungstenite::tungstenite::Error as WebSocketError;
use tokio_tungstenite::tungstenite::error::ProtocolError;

use super::line::NotOpened;
use super::sieve;
use crate::transport::dial::chain;
use crate::vendors::{CloseCause, Closed};

/// Why there was no CONNACK that accepts.
pub(super) fn not_opened(error: &ConnectionError) -> Closed {
    let (cause, detail) = match error {
        ConnectionError::ConnectionRefused(code) => refused(*code),
        ConnectionError::NetworkTimeout => (CloseCause::Unreachable, "no CONNACK in time".to_owned()),
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            (CloseCause::Unreachable, "closed by the broker in place of a CONNACK".to_owned())
        }
        // Ours, passed through the library as it is.
        ConnectionError::Io(error) => match error.get_ref().and_then(|e| e.downcast_ref::<NotOpened>()) {
            Some(NotOpened::Http(status)) => {
                (CloseCause::HttpStatus(*status), format!("the upgrade was answered with {status}"))
            }
            Some(error) => (CloseCause::Unreachable, chain(error)),
            None => (CloseCause::Unreachable, chain(error)),
        },
        error => (CloseCause::Unreachable, chain(error)),
    };
    Closed { cause, detail }
}

fn refused(code: ConnectReturnCode) -> (CloseCause, String) {
    let (words, number) = (refused_words(code), code as u8);
    (CloseCause::MqttRefused(number), format!("the broker refused {words} (CONNACK {number})"))
}

/// What a broker refuses by this code.
pub(in crate::transport) fn refused_words(code: ConnectReturnCode) -> &'static str {
    match code {
        ConnectReturnCode::Success => "nothing",
        ConnectReturnCode::RefusedProtocolVersion => "the protocol version",
        ConnectReturnCode::BadClientId => "the client id",
        ConnectReturnCode::ServiceUnavailable => "everybody at the moment",
        ConnectReturnCode::BadUserNamePassword => "the user name or password",
        ConnectReturnCode::NotAuthorized => "the authorisation",
    }
}

/// Why an open connection ended.
pub(super) fn ended(error: &ConnectionError) -> Closed {
    let (cause, detail) = match error {
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            (CloseCause::ByPeer(None), "closed by the broker".to_owned())
        }
        ConnectionError::RequestsDone => (CloseCause::ByUs, "closed by us".to_owned()),
        ConnectionError::MqttState(StateError::AwaitPingResp) => {
            (CloseCause::Broken, "the broker did not answer a ping".to_owned())
        }
        // The library calls it an error of decoding, whatever becomes of the line while a packet is awaited.
        ConnectionError::MqttState(StateError::Deserialization(MqttError::Io(error))) => line_ended(error),
        error => (CloseCause::Broken, chain(error)),
    };
    Closed { cause, detail }
}

fn line_ended(error: &std::io::Error) -> (CloseCause, String) {
    let cause = error.get_ref();
    let is_dropped = match cause.and_then(|cause| cause.downcast_ref()) {
        Some(
            WebSocketError::ConnectionClosed
            | WebSocketError::AlreadyClosed
            | WebSocketError::Protocol(ProtocolError::ResetWithoutClosingHandshake),
        ) => true,
        Some(_) => false,
        None => error.kind() == ErrorKind::UnexpectedEof,
    };
    if cause.is_some_and(|cause| cause.is::<sieve::EndedWithin>()) {
        return (CloseCause::ByPeer(None), "closed by the broker in the middle of a packet".to_owned());
    }
    if is_dropped {
        return (CloseCause::ByPeer(None), "closed by the broker".to_owned());
    }
    (CloseCause::Broken, chain(error))
}
