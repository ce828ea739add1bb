//! The configuration file: TOML in, a checked [`Config`] out.

use std::path::PathBuf;
use std::time::Duration;

use crate::secret::Secret;
use crate::vendors::delicode::config::DelicodeConfig;
use crate::vendors::generic::config::GenericConfig;
use crate::vendors::jointech::config::JointechConfig;

#[derive(Clone, Debug)]
pub struct Config {
    pub archive: ArchiveConfig,
    pub limits: Limits,
    pub webhooks: Webhooks,
    pub console: Console,
    pub sources: Vec<Source>,
}

#[derive(Clone, Debug)]
pub struct ArchiveConfig {
    /// Relative paths are relative to the configuration file.
    pub path: PathBuf,
    pub site: String,
    pub sync_interval: Duration,
    pub segment_max_bytes: u64,
    pub segment_max_age: Duration,
    /// None: never.
    pub session_roll: Option<Duration>,
    pub min_free_disk: u64,
    pub retain: Option<Duration>,
    pub retain_max_bytes: Option<u64>,
    pub compact_daily: bool,
    pub group_readable: bool,
}

#[derive(Clone, Debug)]
pub struct Limits {
    pub memory: u64,
}

#[derive(Clone, Debug)]
pub struct Webhooks {
    /// `host:port`.
    pub listen: String,
    pub max_body: u64,
    pub tls: Option<TlsFiles>,
}

#[derive(Clone, Debug)]
pub struct Console {
    /// `host:port`.
    pub listen: String,
    pub tls: Option<TlsFiles>,
    pub token: Option<Secret>,
}

/// A server's certificate chain and key, PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

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

#[derive(Clone, Debug)]
pub enum VendorConfig {
    Delicode(DelicodeConfig),
    Jointech(JointechConfig),
    Generic(GenericConfig),
}
