//! A source with the files that it names read.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_rustls::rustls::ClientConfig;

use crate::recorder::RecordError;
use crate::transport::tls::{self, Trust};
use crate::vendors::Source;

/// A source and how to set it up, with its files read.
#[derive(Clone, Debug)]
pub struct Setup {
    pub(super) source: Source,
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// What `tls_ca` held.
    ca: Option<Vec<u8>>,
}

impl Setup {
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.source == other.source && self.ca == other.ca
    }
}

/// Reads the files that `sources` name. One client configuration per way of trusting: reading the system's roots takes
/// a while.
pub fn set_up(sources: &[Source]) -> Result<Vec<Setup>, RecordError> {
    let mut by_trust: HashMap<Trust, Arc<ClientConfig>> = HashMap::new();
    let mut setup = |source: &Source| {
        if source.vendor.webhook_path().is_some() {
            // It is never a client.
            return Ok(Setup { source: source.clone(), tls: None, ca: None });
        }
        let trust = match &source.tls.ca {
            _ if source.tls.insecure => Trust::Anybody,
            Some(ca) => Trust::Authority(ca.clone()),
            None => Trust::System,
        };
        let tls = match by_trust.get(&trust) {
            Some(config) => Arc::clone(config),
            None => {
                let of = || format!("source `{}`", source.name);
                let config =
                    tls::client_config(&trust).map_err(|source| RecordError::Tls { of: of(), source })?;
                by_trust.insert(trust, Arc::clone(&config));
                config
            }
        };
        // It has just been read: an error now is one of the next reload.
        let ca = source.tls.ca.as_ref().map(|path| std::fs::read(path).unwrap_or_default());
        Ok(Setup { source: source.clone(), tls: Some(tls), ca })
    };
    sources.iter().map(&mut setup).collect()
}
