//! The lines of a configuration that record a simulation.

use std::fmt::Write as _;

use serde_json::{Value, json};
use url::{Host, Url};

use crate::config::DEFAULT_WEBHOOKS_LISTEN;
use crate::player::{Endpoints, PushTo};
use crate::vendors::synthetic::load::{APP_KEY, APP_SECRET, Part};

/// One `[[source]]` for each part that can be recorded from where it is served, and where to listen if
/// `pushes` go elsewhere than to a recorder's usual address. Jointech's is at `broker` where it is not served.
pub(super) fn text(endpoints: &Endpoints, broker: Option<&str>, pushes: &[PushTo], parts: &[Part]) -> String {
    let http = endpoints.http_url();
    let mqtt = endpoints.mqtt_url().or_else(|| broker.map(str::to_owned));
    // A recorder has one such listener: that of the first.
    let mut text = pushes.first().and_then(|push| listener(&push.url)).unwrap_or_default();
    for part in parts {
        let Some(mut keys) = keys(part, http.as_deref(), mqtt.as_deref()) else { continue };
        let push = pushes.iter().find(|push| push.source == part.name);
        if let (Some(push), Some(path)) = (push, part.path()) {
            let below = push.url.path().trim_end_matches('/');
            let received = keys.iter_mut().filter(|(key, _)| *key == "path");
            received.for_each(|(_, value)| *value = json!(format!("{below}{path}")));
        }
        let _ = writeln!(text, "[[source]]\nname = {}\nvendor = {}", json!(part.name), json!(part.vendor()));
        for (key, value) in keys {
            // JSON's strings, integers and lists of them are TOML's.
            let _ = writeln!(text, "{key} = {}", value.to_string().replace(',', ", "));
        }
        let is_tls = |url: &Option<String>| url.as_ref().is_some_and(|url| url.contains("s://"));
        if part.path().is_none()
            && let Some(certificate) = endpoints.certificate()
            && (is_tls(&http) || is_tls(&mqtt))
        {
            let _ = writeln!(text, "tls_ca = {}", json!(certificate.display().to_string()));
        }
        text.push('\n');
    }
    text
}

/// `[webhooks]` of a recorder that receives what is pushed to `url`; none where it is the usual one.
fn listener(url: &Url) -> Option<String> {
    let port = url.port_or_known_default()?;
    let is_here = match url.host()? {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    };
    let is_tls = url.scheme() == "https";
    let address = format!("{}:{port}", if is_here { "127.0.0.1" } else { "0.0.0.0" });
    if address == DEFAULT_WEBHOOKS_LISTEN && !is_tls {
        return None;
    }
    let tls = if is_tls { "tls = { cert = \"cert.pem\", key = \"key.pem\" }\n" } else { "" };
    Some(format!("[webhooks]\nlisten = {}\n{tls}\n", json!(address)))
}

/// What a source of this part is set up with; none where nobody serves it.
fn keys(part: &Part, http: Option<&str>, mqtt: Option<&str>) -> Option<Vec<(&'static str, Value)>> {
    let settings = part.header().settings;
    let setting = |key: &str| settings.get(key).cloned().unwrap_or_default();
    let ws = |path: &str| http.map(|http| json!(format!("{}{path}", http.replacen("http", "ws", 1))));
    let any = || json!("any");
    Some(match (part.vendor(), part.path()) {
        ("delicode", _) => {
            vec![("url", ws("/websocket_realtime")?), ("token", any()), ("locations", setting("locations"))]
        }
        ("damoov", _) => vec![
            ("url", ws("/realtime/api/v1/ws/realtime")?),
            ("access_token", any()),
            ("instance_id", setting("instance_id")),
        ],
        ("pontosense", _) => vec![
            ("api_url", json!(http?)),
            ("mqtt_url", ws("")?),
            ("api_key", any()),
            ("secret", any()),
            ("sensors", setting("sensors")),
        ],
        ("sensoro", _) => vec![
            ("path", setting("path")),
            ("app_id", setting("app_id")),
            ("app_key", json!(APP_KEY)),
            ("app_secret", json!(APP_SECRET)),
        ],
        (_, Some(path)) => vec![("transport", json!("webhook")), ("path", json!(path))],
        (_, None) => vec![
            ("transport", json!("mqtt")),
            ("url", json!(mqtt?)),
            ("username", any()),
            ("password", any()),
            ("access_key", setting("access_key")),
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorder_listens_where_pushes_go() {
        for (url, expected) in [
            ("http://127.0.0.1:7081", None),
            ("http://localhost:7081/base", None),
            ("http://127.0.0.1:9000", Some("[webhooks]\nlisten = \"127.0.0.1:9000\"\n\n")),
            ("http://recorder:7081", Some("[webhooks]\nlisten = \"0.0.0.0:7081\"\n\n")),
            (
                "https://recorder",
                Some(
                    "[webhooks]\nlisten = \"0.0.0.0:443\"\ntls = { cert = \"cert.pem\", key = \"key.pem\" }\n\n",
                ),
            ),
        ] {
            assert_eq!(listener(&Url::parse(url).unwrap()).as_deref(), expected, "{url}");
        }
    }
}
