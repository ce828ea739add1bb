//! What an archive's own declarations, and the built-in ones, say of a kind.

use std::collections::BTreeSet;
use std::path::Path;

use super::Archive;
use super::durable::files_in;
use super::error::{ArchiveError, IoContext};
use crate::decode::{Declaration, declaration};
use crate::message::SessionId;

impl Archive {
    /// The newest text of a kind's declaration that lies beside the data.
    pub fn declaration(&self, vendor: &str, kind: &str) -> Result<Option<String>, ArchiveError> {
        let path = self.layout().schema().join(vendor).join(format!("{kind}.toml"));
        match self.disk.read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            read => Ok(Some(String::from_utf8_lossy(&read.doing("read", &path)?).into_owned())),
        }
    }

    /// What a session has rows of: source, vendor, kind.
    pub fn kinds_of(
        &self,
        session_id: SessionId,
    ) -> Result<BTreeSet<(String, String, String)>, ArchiveError> {
        let mut kinds = BTreeSet::new();
        for segment in self.catalog()?.segments(session_id)? {
            for source in segment.sources {
                kinds.insert((source.source, segment.vendor.clone(), segment.kind.clone()));
            }
        }
        Ok(kinds)
    }

    /// The declarations of a kind: those beside the data, then the built-in one. Sources may declare a kind
    /// differently, and versions do; each declaration that differs is there.
    pub fn declarations(&self, vendor: &str, kind: &str) -> Result<Vec<Declaration>, ArchiveError> {
        let mut all: Vec<Declaration> = Vec::new();
        let mut add = |text: &str| {
            // What is no declaration any more says nothing; `verify` is for damage.
            if let Ok(declaration) = Declaration::parse(text, kind)
                && !all.iter().any(|known| known.text() == declaration.text())
            {
                all.push(declaration);
            }
        };
        let is_of_kind = |path: &Path| {
            let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            name.strip_prefix(kind).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        let folder = self.layout().schema().join(vendor);
        for path in files_in(&*self.disk, &folder, "toml")?.into_iter().filter(|path| is_of_kind(path)) {
            add(&String::from_utf8_lossy(&self.disk.read(&path).doing("read", &path)?));
        }
        declaration(vendor, kind).into_iter().for_each(add);
        Ok(all)
    }
}
