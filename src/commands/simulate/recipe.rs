//! The lines of a configuration that record a simulation.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::player::Endpoints;
use crate::vendors::synthetic::load::{APP_KEY, APP_SECRET, Part};

/// One `[[source]]` for each part that can be recorded from where it is served.
/// Jointech's is at `broker` where it is not served.
pub(super) fn text(endpoints: &Endpoints, broker: Option<&str>, parts: &[Part]) -> String {
    let http = endpoints.http_url();
    let mqtt = endpoints.mqtt_url().or_else(|| broker.map(str::to_owned));
    let mut text = String::new();
    for part in parts {
        let Some(keys) = keys(part, http.as_deref(), mqtt.as_deref()) else { continue };
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
