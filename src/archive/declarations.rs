//! What an archive's own declarations, and the built-in ones, say of a kind.

use std::path::Path;

use super::Archive;
use super::durable::files_in;
use super::error::{ArchiveError, IoContext};
use crate::decode::{Declaration, declaration};

impl Archive {
    /// The text of the newest declaration of a kind beside the data.
    pub(super) fn newest_declaration(
        &self,
        vendor: &str,
        kind: &str,
    ) -> Result<Option<String>, ArchiveError> {
        let path = self.layout().schema().join(vendor).join(format!("{kind}.toml"));
        match self.disk.read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            read => Ok(Some(String::from_utf8_lossy(&read.doing("read", &path)?).into_owned())),
        }
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
