//! The configuration of a `delicode` source.

use std::time::Duration;

use crate::secret::Secret;

/// The vendor's address, used where none is configured.
pub const DEFAULT_URL: &str = "wss://signals.delicode.com/websocket_realtime";

/// The vendor asks for a heartbeat every 20 to 25 s.
pub const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(22);

#[derive(Clone, Debug)]
pub struct DelicodeConfig {
    pub url: String,
    pub token: Secret,
    pub locations: Vec<i64>,
    pub heartbeat: Duration,
}
