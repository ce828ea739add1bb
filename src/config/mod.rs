//! The configuration file: TOML in, a checked [`Config`] out.
//!
//! All of it is checked before anything is touched, and every mistake is named with file, line and
//! key (see [`crate::section`]). What belongs to one vendor is read in that vendor's folder.

pub mod memory;
mod read;
pub use read::is_source_name;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::secret::Secret;
use crate::section::{Env, File, Problem, Section};
use crate::vendors::Source;

/// The vendors that this version has, in the order of the alphabet.
pub const VENDORS: [&str; 6] = ["damoov", "delicode", "generic", "jointech", "pontosense", "sensoro"];

/// Where webhooks arrive if the configuration does not say: this machine only.
pub const DEFAULT_WEBHOOKS_LISTEN: &str = "127.0.0.1:7081";

/// Where a recorder answers `status` if the configuration does not say.
pub const DEFAULT_CONSOLE_LISTEN: &str = "127.0.0.1:7080";

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

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration {}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{}", Lines(problems))]
    Invalid { problems: Vec<Problem> },
}

struct Lines<'a>(&'a [Problem]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl Config {
    /// Reads and checks the file at `path`; secrets come from it, the environment or files it names.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(path, &read_file(path)?, &|name| std::env::var(name).ok())
    }

    /// Checks `text` as if it had been read from `path`.
    pub fn parse(path: &Path, text: &str, env: Env<'_>) -> Result<Self, ConfigError> {
        File::new(path, text, env).read(read::config).map_err(|problems| ConfigError::Invalid { problems })
    }
}

/// Where the archive lies according to the file at `path`, of which nothing else is checked: who
/// looks into an archive needs no vendor's secrets.
pub fn archive_path(path: &Path) -> Result<PathBuf, ConfigError> {
    part(path, |root| root.header("archive", read::archive_path))
}

/// Whether the group may read the archive of the file at `path`; nothing else of it is checked.
pub fn group_readable(path: &Path) -> Result<bool, ConfigError> {
    part(path, |root| root.header("archive", read::group_readable))
}

/// Where the recorder of the file at `path` receives webhooks; nothing else of it is checked.
pub fn webhooks_listen(path: &Path) -> Result<String, ConfigError> {
    part(path, |root| root.header("webhooks", read::webhooks)).map(|webhooks| webhooks.listen)
}

/// Where the recorder of the file at `path` answers `status`; nothing else of it is checked.
pub fn console(path: &Path) -> Result<Console, ConfigError> {
    part(path, |root| root.header("console", read::console))
}

fn part<T>(path: &Path, read: impl FnOnce(&Section<'_>) -> Option<T>) -> Result<T, ConfigError> {
    let text = read_file(path)?;
    let read = |root: &Section<'_>| {
        let value = read(root);
        root.ignore_rest();
        value
    };
    File::new(path, &text, &|name| std::env::var(name).ok())
        .read(read)
        .map_err(|problems| ConfigError::Invalid { problems })
}

fn read_file(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.into(), source })
}

#[cfg(test)]
mod tests;
