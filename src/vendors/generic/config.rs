//! The configuration of a `generic` source: one of the three transports.

use super::MESSAGE;
use crate::decode::{Declaration, check_vendor};
use crate::message::COMMON_KINDS;
use crate::secret::Secret;
use crate::section::values::{
    existing_file, flag, is_header_name, list_of, one_of, qos, secret, text, topic_filter, url, webhook_path,
};
use crate::section::{Item, Section};

#[derive(Clone, Debug, PartialEq)]
pub struct GenericConfig {
    pub transport: GenericTransport,
    /// The user's declarations (file `schema`), as text; none: payload and envelope only.
    pub declarations: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
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

/// Reads the keys of a source that are this vendor's, and the names of its kinds; `client_id` is the
/// one used if none is given.
pub fn read(section: &Section<'_>, client_id: &str) -> Option<(GenericConfig, Vec<String>)> {
    let transport = section.need(
        "transport",
        "`websocket`, `mqtt` or `webhook`",
        one_of(&["websocket", "mqtt", "webhook"]),
    );
    let transport = match transport {
        Some("websocket") => websocket(section),
        Some("mqtt") => mqtt(section, client_id),
        Some(_) => section
            .need("path", "the path that is pushed to", webhook_path)
            .map(|path| GenericTransport::Webhook { path }),
        None => {
            section.ignore_rest();
            None
        }
    };
    let schema = section.get_or("schema", |item| declarations(item).map(Some), None)?;
    let (declarations, kinds) = schema.unzip();
    let kinds = kinds.unwrap_or_else(|| vec![MESSAGE.to_owned()]);
    Some((GenericConfig { transport: transport?, declarations }, kinds))
}

fn websocket(section: &Section<'_>) -> Option<GenericTransport> {
    let url = section.need("url", "the address to connect to", url(&["wss", "ws"]));
    let headers = section.get_or("headers", headers, Vec::new());
    let send_on_open = section.get_or("send_on_open", frames, Vec::new());
    Some(GenericTransport::WebSocket { url: url?, headers: headers?, send_on_open: send_on_open? })
}

fn mqtt(section: &Section<'_>, client_id: &str) -> Option<GenericTransport> {
    let url = section.need("url", "the broker's address", url(&["mqtt", "mqtts", "ws", "wss"]));
    let username = section.get_or("username", |item| text(item).map(Some), None);
    let password = section.get_or("password", |item| secret(item).map(Some), None);
    // MQTT 3.1.1, section 3.1.2.9: without a user name there must be no password.
    if section.has("password") && !section.has("username") {
        section.wrong("password", "a password needs a `username`");
    }
    let topics = section.need("topics", "the topic filters", list_of("topic filters", topic_filter));
    let qos = section.get_or("qos", qos, 1);
    let client_id = section.get_or("client_id", text, client_id);
    let clean_session = section.get_or("clean_session", flag, false);
    Some(GenericTransport::Mqtt {
        url: url?,
        username: username?,
        password: password?,
        topics: topics?,
        qos: qos?,
        client_id: client_id?,
        clean_session: clean_session?,
    })
}

/// `{ Authorization = "…" }`: any names, and secrets.
fn headers(item: &Item<'_>) -> Option<Vec<(String, Secret)>> {
    let Some(entries) = item.entries() else {
        return item.expected_secret("expected a table of headers, { Name = value }");
    };
    let mut headers = Vec::with_capacity(entries.len());
    for (name, value) in &entries {
        if !is_header_name(name) {
            value.wrong::<()>(format!("{name:?} is not the name of an HTTP header"));
        }
        let value = secret(value)?;
        headers.push(((*name).to_owned(), value));
    }
    Some(headers)
}

/// One frame or several: a frame often carries a token.
fn frames(item: &Item<'_>) -> Option<Vec<Secret>> {
    match item.elements() {
        Some(elements) => elements.iter().map(secret).collect(),
        None => secret(item).map(|frame| vec![frame]),
    }
}

/// The text of the declarations, and the names of the kinds: those declared, then the one for the rest.
fn declarations(item: &Item<'_>) -> Option<(String, Vec<String>)> {
    let path = existing_file(item)?;
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => return item.wrong(format!("cannot read {}: {error}", path.display())),
    };
    let declared = Declaration::parse_all(&text, &path.display().to_string());
    let kinds = declared.and_then(|declared| check_vendor(&declared).map(|()| declared));
    match kinds {
        Ok(declared) => {
            let mut kinds: Vec<String> = declared.iter().map(|d| d.kind().to_owned()).collect();
            if let Some(taken) = kinds.iter().find(|kind| COMMON_KINDS.contains(&kind.as_str())) {
                return item.wrong(format!("{}: every vendor has a kind `{taken}` already", path.display()));
            }
            if !kinds.iter().any(|kind| kind == MESSAGE) {
                kinds.push(MESSAGE.to_owned());
            }
            Some((text, kinds))
        }
        Err(error) => item.wrong(error.to_string()),
    }
}
