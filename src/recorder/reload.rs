//! A new configuration while it records: sources and certificates are exchanged, upkeep goes by it; what else has changed is named, and
//! waits for the next start.

use tokio::sync::oneshot;

use super::lineup::{Changes, Request};
use super::start::{bind_webhooks, check_paths, server_tls};
use super::upkeep::Plan;
use super::{RecordError, Recorder};
use crate::config::Config;

/// What became of a new configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    pub sources: Changes,
    /// Settings that have changed and are not in force.
    pub needs_restart: Vec<&'static str>,
}

impl Recorder {
    /// Goes on with `config`. Sources that are as they were are not touched. An error has changed nothing.
    pub async fn reload(&mut self, config: &Config) -> Result<Reloaded, RecordError> {
        if config.sources.is_empty() {
            return Err(RecordError::NoSources);
        }
        let is_pushed_to = check_paths(config)?;
        let webhooks_tls = server_tls("webhooks.tls", config.webhooks.tls.as_ref())?;
        let console_tls = server_tls("console.tls", config.console.tls.as_ref())?;
        let opened = match self.webhooks_at {
            None if is_pushed_to => bind_webhooks(config, None).await?,
            _ => None,
        };
        let (answer, answered) = oneshot::channel();
        let request = Request::Reload { sources: config.sources.clone(), answer };
        self.requests.send(request).await.map_err(|_| RecordError::Ending)?;
        let sources = answered.await.map_err(|_| RecordError::Ending)??;
        self.running.keeping().replan(Plan::of(config));
        self.webhooks_tls.exchange(webhooks_tls);
        self.console_tls.exchange(console_tls);
        if let Some(bound) = opened {
            self.serve_webhooks(bound);
        }
        Ok(Reloaded { sources, needs_restart: fixed(&self.config, config) })
    }
}

/// Which settings differ that are read at a start only.
fn fixed(old: &Config, new: &Config) -> Vec<&'static str> {
    let (a, b) = (&old.archive, &new.archive);
    let differ = [
        ("archive.path", a.path != b.path),
        ("archive.site", a.site != b.site),
        ("archive.sync_interval", a.sync_interval != b.sync_interval),
        ("archive.segment_max_bytes", a.segment_max_bytes != b.segment_max_bytes),
        ("archive.segment_max_age", a.segment_max_age != b.segment_max_age),
        ("archive.session_roll", a.session_roll != b.session_roll),
        ("archive.min_free_disk", a.min_free_disk != b.min_free_disk),
        ("archive.group_readable", a.group_readable != b.group_readable),
        ("limits.memory", old.limits.memory != new.limits.memory),
        ("webhooks.listen", old.webhooks.listen != new.webhooks.listen),
        ("webhooks.max_body", old.webhooks.max_body != new.webhooks.max_body),
        ("console.listen", old.console.listen != new.console.listen),
        ("console.token", old.console.token != new.console.token),
    ];
    differ.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}
