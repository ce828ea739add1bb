//! The configuration of a `generic` source: one of the three transports.

use crate::secret::Secret;

#[derive(Clone, Debug)]
pub struct GenericConfig {
    pub transport: GenericTransport,
    /// The user's declarations (file `schema`), as text; none: payload and envelope only.
    pub declarations: Option<String>,
}

#[derive(Clone, Debug)]
pub enum GenericTransport {
    WebSocket {
        url: String,
        headers: Vec<(String, Secret)>,
        /// Text frames that are sent after every handshake.
        send_on_open: Vec<Secret>,
    },
    Mqtt {
        url: String,
        username: Option<String>,
        password: Option<Secret>,
        topics: Vec<String>,
        qos: u8,
        client_id: String,
        clean_session: bool,
    },
    Webhook {
        /// Requests to this path and everything below it are this source's.
        path: String,
    },
}
