//! What a recorder is told that runs as a service.

use clap::ValueEnum;

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// A file for `/etc/systemd/system`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Unit {
    /// `telereel.service`
    Service,
    /// `telereel.socket`
    Socket,
}
