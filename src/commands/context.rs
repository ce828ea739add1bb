//! What every verb starts from: which archive, which configuration, which form of output.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Usage;
use super::progress::Screen;
use crate::archive::{Archive, Problem};
use crate::cli::Global;
use crate::config::{self, Config, Console};
use crate::disk::RealDisk;

const DEFAULT_CONFIG: &str = "telereel.toml";
const DEFAULT_ARCHIVE: &str = "archive";

/// The global options, with the environment already in them.
pub(super) struct Context {
    archive: Option<PathBuf>,
    config: Option<PathBuf>,
    pub(super) json: bool,
    pub(super) screen: Screen,
}

impl Context {
    pub(super) fn new(global: Global, screen: Screen) -> Self {
        Self { archive: global.archive, config: global.config, json: global.json, screen }
    }

    /// Where the configuration is, or would be.
    pub(super) fn config_path(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(DEFAULT_CONFIG))
    }

    /// The configuration if the user named one, or one lies where it is expected.
    fn found_config(&self) -> Option<&Path> {
        let path = self.config_path();
        (self.config.is_some() || path.exists()).then_some(path)
    }

    /// The whole configuration, checked; `--archive` overrides where its archive lies.
    pub(super) fn config(&self) -> anyhow::Result<Config> {
        let path = self.found_config().ok_or_else(|| {
            Usage(format!("no configuration: ./{DEFAULT_CONFIG} is not there; `telereel init` writes one to start from, -c FILE names another"))
        })?;
        let mut config = Config::load(path)?;
        if let Some(archive) = &self.archive {
            config.archive.path.clone_from(archive);
        }
        Ok(config)
    }

    /// The configuration, where the user named one.
    pub(super) fn named_config(&self) -> anyhow::Result<Option<Config>> {
        if self.config.is_some() { self.config().map(Some) } else { Ok(None) }
    }

    /// The same where one is of use and none is needed.
    pub(super) fn config_if_any(&self) -> anyhow::Result<Option<Config>> {
        self.found_config().map(|_| self.config()).transpose()
    }

    /// The same for a verb that has nothing to do without a source.
    pub(super) fn config_with_sources(&self) -> anyhow::Result<Config> {
        let config = self.config()?;
        if config.sources.is_empty() {
            let path = self.config_path().display().to_string();
            return Err(Usage(format!("{path}: no [[source]]: there is nothing to record")).into());
        }
        Ok(config)
    }

    /// Where the archive is: flag, environment, configuration, `./archive`.
    pub(super) fn archive_path(&self) -> anyhow::Result<PathBuf> {
        match (&self.archive, self.found_config()) {
            (Some(archive), _) => Ok(archive.clone()),
            (None, Some(config)) => Ok(config::archive_path(config)?),
            (None, None) => Ok(DEFAULT_ARCHIVE.into()),
        }
    }

    /// The archive, opened.
    pub(super) fn archive(&self) -> anyhow::Result<Archive> {
        Ok(Archive::open(self.archive_path()?)?)
    }

    /// The same for a verb that writes to it: what it writes can be read by whom the configuration lets, or,
    /// where there is none, by whom the archive already does.
    pub(super) fn archive_to_write(&self) -> anyhow::Result<Archive> {
        let path = self.archive_path()?;
        let group_readable = match self.found_config() {
            Some(config) => config::group_readable(config)?,
            None => Archive::open(&path)?.is_group_readable(),
        };
        Ok(Archive::open_on(Arc::new(RealDisk { group_readable }), path)?)
    }

    /// Writes the archive's own description anew, if it is lost; tells what was wrong with it.
    pub(super) fn mend_description(&self) -> anyhow::Result<Option<Problem>> {
        let path = self.archive_path()?;
        let group_readable = match self.found_config() {
            Some(config) => config::group_readable(config)?,
            // As what lies beside it.
            None => {
                std::fs::metadata(path.join("sessions")).is_ok_and(|m| m.permissions().mode() & 0o040 != 0)
            }
        };
        Ok(Archive::mend_description(Arc::new(RealDisk { group_readable }), path)?)
    }

    /// The archive, made where there is none.
    pub(super) fn archive_to_fill(&self) -> anyhow::Result<Archive> {
        let path = self.archive_path()?;
        let group_readable = match self.found_config() {
            Some(config) => config::group_readable(config)?,
            None => Archive::open(&path).is_ok_and(|archive| archive.is_group_readable()),
        };
        Ok(Archive::create_or_open_on(Arc::new(RealDisk { group_readable }), path, "")?)
    }

    /// Where a running recorder answers.
    pub(super) fn console(&self) -> anyhow::Result<Console> {
        match self.found_config() {
            Some(path) => Ok(config::console(path)?),
            None => Ok(Console { listen: config::DEFAULT_CONSOLE_LISTEN.into(), tls: None, token: None }),
        }
    }
}
