//! What the header of a journal part says, from where else it stands: so that a part whose header is damaged loses
//! nothing.
//!
//! ```text
//! in the header                                   elsewhere
//! session's id, part                              the name of the file
//! session's name, site, start; sources, settings  the sidecar, synced before the first part is begun
//! declarations                                    `schema/`, synced before as well; by which of them a source's
//!                                                 kind is decoded, the sidecar says by checksums
//! first_seq                                       where the sealed parts before it end
//! ```

use super::Archive;
use super::error::ArchiveError;
use super::sidecar::SidecarSource;
use crate::message::{SessionHeader, SessionId, SourceHeader};

impl Archive {
    /// What the headers of the session's parts say of it. None where its sidecar is missing or damaged as well.
    pub(super) fn session_header(
        &self,
        session_id: SessionId,
    ) -> Result<Option<SessionHeader>, ArchiveError> {
        let sidecar = match self.read_sidecar(session_id) {
            Ok(Some(sidecar)) => sidecar,
            Ok(None) | Err(ArchiveError::Damaged { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let sources: Result<_, ArchiveError> =
            sidecar.sources.into_iter().map(|source| self.source_header(source)).collect();
        Ok(Some(SessionHeader {
            session_id,
            name: sidecar.name,
            site: sidecar.site,
            started_at_us: sidecar.started_at_us,
            sources: sources?,
        }))
    }

    fn source_header(&self, source: SidecarSource) -> Result<SourceHeader, ArchiveError> {
        let declared = source.declared.clone();
        let mut header = SourceHeader::from(source);
        for kind in &mut header.kinds {
            kind.declaration = match &declared {
                // An early sidecar does not say: the newest text of the kind is the best guess, and what it decodes
                // otherwise than the recorder would have can be decoded anew.
                None => self.declaration(&header.vendor, &kind.name)?,
                Some(declared) => match declared.get(&kind.name) {
                    None => None,
                    Some(hash) => {
                        let all = self.declarations(&header.vendor, &kind.name)?;
                        let text = all.iter().find(|known| declaration_hash(known.text()) == *hash);
                        text.map(|known| known.text().to_owned())
                    }
                },
            };
        }
        Ok(header)
    }
}

/// By what a sidecar refers to a declaration.
pub(super) fn declaration_hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
}
