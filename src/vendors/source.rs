//! A configured source: what every vendor's has, and the vendor's own part.

use std::path::PathBuf;
use std::time::Duration;

use super::damoov::config::DamoovConfig;
use super::delicode::config::DelicodeConfig;
use super::generic::config::{GenericConfig, GenericTransport};
use super::jointech::config::JointechConfig;
use super::pontosense::config::PontosenseConfig;
use super::sensoro::cipher::Cipher;
use super::sensoro::config::SensoroConfig;
use crate::secret::Secret;

/// One configured vendor connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    pub name: String,
    pub vendor: VendorConfig,
    pub tls: TlsOptions,
    pub stall_after: Option<Duration>,
    pub exclude_kinds: Vec<String>,
    /// Names of query parameters that are never stored.
    pub redact_query: Vec<String>,
    /// Names of headers (lower case) that are never stored.
    pub redact_headers: Vec<String>,
    pub retain: Option<Duration>,
}

impl Source {
    /// Everything that is configured of this source and secret, as it may be said back by whoever was told it:
    /// credentials, the words of texts that hold one, the values of a URL's query.
    pub fn secrets(&self) -> Vec<String> {
        let (secrets, urls): (Vec<&Secret>, Vec<&str>) = match &self.vendor {
            VendorConfig::Delicode(config) => (vec![&config.token], vec![&config.url]),
            VendorConfig::Damoov(config) => {
                let password = config.login.as_ref().map(|login| &login.password);
                let tokens = config.access_token.iter().chain(&config.refresh_token).chain(password);
                let urls = config.refresh_url.iter().chain(config.login.as_ref().map(|login| &login.url));
                (tokens.collect(), urls.chain([&config.url]).map(String::as_str).collect())
            }
            VendorConfig::Pontosense(config) => {
                (vec![&config.secret], config.mqtt_url.as_deref().into_iter().collect())
            }
            VendorConfig::Sensoro(config) => {
                let app_key = config.app_key.as_ref().map(Cipher::app_key);
                ([&config.app_secret].into_iter().chain(app_key).collect(), vec![])
            }
            VendorConfig::Jointech(JointechConfig::Webhook(config)) => {
                (config.header.iter().map(|(_, value)| value).collect(), vec![])
            }
            VendorConfig::Jointech(JointechConfig::Mqtt(config)) => {
                (vec![&config.password_md5], vec![&config.url])
            }
            VendorConfig::Generic(GenericConfig { transport, .. }) => match transport {
                GenericTransport::WebSocket { url, headers, send_on_open } => {
                    (headers.iter().map(|(_, value)| value).chain(send_on_open).collect(), vec![url])
                }
                GenericTransport::Mqtt { url, password, .. } => (password.iter().collect(), vec![url]),
                GenericTransport::Webhook { .. } => (vec![], vec![]),
            },
        };
        let texts = secrets
            .iter()
            .flat_map(|secret| std::iter::once(secret.expose()).chain(secret.expose().split_whitespace()));
        let queries = urls.iter().filter_map(|url| url.split_once('?'));
        let values = queries.flat_map(|(_, query)| {
            query.split('&').map(|pair| pair.split_once('=').map_or(pair, |(_, value)| value))
        });
        texts.chain(values).map(str::to_owned).collect()
    }

    /// What is allowed and most likely not meant; each is told at every start.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.tls.insecure {
            warnings.push(
                "tls_insecure is set: whoever answers is believed, and can read the credentials".to_owned(),
            );
        }
        if let VendorConfig::Jointech(config) = &self.vendor {
            warnings.extend(config.warning());
        }
        warnings
    }
}

/// How a client checks its server's certificate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TlsOptions {
    /// Trusted in place of the system's roots.
    pub ca: Option<PathBuf>,
    pub insecure: bool,
}

/// What a source is set up with beyond what all have.
#[derive(Clone, Debug, PartialEq)]
pub enum VendorConfig {
    Damoov(DamoovConfig),
    Delicode(DelicodeConfig),
    Jointech(JointechConfig),
    Pontosense(PontosenseConfig),
    Sensoro(SensoroConfig),
    Generic(GenericConfig),
}

impl VendorConfig {
    pub fn vendor(&self) -> &'static str {
        match self {
            VendorConfig::Damoov(_) => "damoov",
            VendorConfig::Delicode(_) => "delicode",
            VendorConfig::Jointech(_) => "jointech",
            VendorConfig::Pontosense(_) => "pontosense",
            VendorConfig::Sensoro(_) => "sensoro",
            VendorConfig::Generic(_) => "generic",
        }
    }

    /// Connections to the vendor at a time, but for the moment in which one takes over from another.
    pub fn connections(&self) -> usize {
        match self {
            VendorConfig::Pontosense(pontosense) => pontosense.sensors.len(),
            _ => usize::from(self.webhook_path().is_none()),
        }
    }

    /// The path that this source is pushed to; none for sources that connect to a server.
    pub fn webhook_path(&self) -> Option<&str> {
        match self {
            VendorConfig::Jointech(JointechConfig::Webhook(webhook)) => Some(&webhook.path),
            VendorConfig::Sensoro(sensoro) => Some(&sensoro.path),
            VendorConfig::Generic(GenericConfig {
                transport: GenericTransport::Webhook { path }, ..
            }) => Some(path),
            _ => None,
        }
    }

    /// A header (lower-case name) that every request to it must have.
    pub fn webhook_header(&self) -> Option<&(String, Secret)> {
        match self {
            VendorConfig::Jointech(JointechConfig::Webhook(webhook)) => webhook.header.as_ref(),
            _ => None,
        }
    }

    /// The broker and the client id that it knows this source by.
    pub fn mqtt_client(&self) -> Option<(&str, &str)> {
        match self {
            VendorConfig::Jointech(JointechConfig::Mqtt(mqtt)) => Some((&mqtt.url, &mqtt.client_id)),
            VendorConfig::Generic(GenericConfig {
                transport: GenericTransport::Mqtt { url, client_id, .. },
                ..
            }) => Some((url, client_id)),
            _ => None,
        }
    }
}
