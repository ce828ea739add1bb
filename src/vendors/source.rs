//! A configured source: what every vendor's has, and the vendor's own part.

use std::path::PathBuf;
use std::time::Duration;

use super::damoov::config::DamoovConfig;
use super::delicode::config::DelicodeConfig;
use super::generic::config::{GenericConfig, GenericTransport};
use super::jointech::config::JointechConfig;
use super::pontosense::config::PontosenseConfig;

/// One configured vendor connection.
#[derive(Clone, Debug)]
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

/// How a client checks its server's certificate.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// Trusted in place of the system's roots.
    pub ca: Option<PathBuf>,
    pub insecure: bool,
}

/// What a source is set up with beyond what all have.
#[derive(Clone, Debug)]
pub enum VendorConfig {
    Damoov(DamoovConfig),
    Delicode(DelicodeConfig),
    Jointech(JointechConfig),
    Pontosense(PontosenseConfig),
    Generic(GenericConfig),
}

impl VendorConfig {
    pub fn vendor(&self) -> &'static str {
        match self {
            VendorConfig::Damoov(_) => "damoov",
            VendorConfig::Delicode(_) => "delicode",
            VendorConfig::Jointech(_) => "jointech",
            VendorConfig::Pontosense(_) => "pontosense",
            VendorConfig::Generic(_) => "generic",
        }
    }

    /// The path that this source is pushed to; none for sources that connect to a server.
    pub fn webhook_path(&self) -> Option<&str> {
        match self {
            VendorConfig::Jointech(JointechConfig::Webhook(webhook)) => Some(&webhook.path),
            VendorConfig::Generic(GenericConfig {
                transport: GenericTransport::Webhook { path }, ..
            }) => Some(path),
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
