//! The configuration of a `delicode` source.

use std::time::Duration;

use crate::secret::Secret;
use crate::section::Section;
use crate::section::values::{duration, integer, list_of, secret, url};

/// The vendor's address, used where none is configured.
pub const DEFAULT_URL: &str = "wss://signals.delicode.com/websocket_realtime";

/// The vendor asks for a heartbeat every 20 to 25 s.
pub const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(22);

#[derive(Clone, Debug, PartialEq)]
pub struct DelicodeConfig {
    pub url: String,
    pub token: Secret,
    pub locations: Vec<i64>,
    pub heartbeat: Duration,
}

/// Reads the keys of a source that are this vendor's.
pub fn read(section: &Section<'_>) -> Option<DelicodeConfig> {
    let url = section.get_or("url", url(&["wss", "ws"]), DEFAULT_URL);
    let token = section.need("token", "the JWT of the locations, from the Signals setup page", secret);
    let locations = section.need("locations", "the ids of the locations", list_of("location ids", integer));
    let heartbeat = section.get_or("heartbeat", duration, DEFAULT_HEARTBEAT);
    Some(DelicodeConfig { url: url?, token: token?, locations: locations?, heartbeat: heartbeat? })
}
