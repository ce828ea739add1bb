//! What goes for its bytes.

use std::collections::{HashMap, HashSet};

use super::session::Pruning;
use super::{Left, PruneOptions};
use crate::archive::Archive;
use crate::archive::error::ArchiveError;
use crate::archive::manifest::{Manifest, ManifestFile};
use crate::archive::rewrite::Watch;
use crate::archive::sidecar::Sidecar;
use crate::message::SessionId;

/// A file that may go.
struct Candidate<'a> {
    session: &'a Sidecar,
    manifest: &'a Manifest,
    file: &'a ManifestFile,
    /// When what is too old has gone.
    bytes: u64,
}

impl Archive {
    /// The files of these sessions that have to go, beside what is too old, so that all others fit, those of what is
    /// recorded among them; and what these are.
    pub(super) fn oldest(
        &self,
        sessions: &[Sidecar],
        options: &PruneOptions,
        watch: &Watch<'_>,
    ) -> Result<(HashSet<String>, Left), ArchiveError> {
        let Some(max_bytes) = options.max_bytes else { return Ok(Default::default()) };
        // One that cannot be read is told of by its session, and keeps no other from being counted.
        let manifests = self.readable_manifests()?;
        let files = manifests.iter().flat_map(|manifest| &manifest.files);
        let (all, none) = (files.map(|file| file.path.clone()).collect(), HashSet::new());
        let after = |of: &Candidate<'_>, oldest: &HashSet<String>| {
            let (session, at_us) = (of.session, options.terms.at_us());
            let clips = session.clips.clone();
            Pruning { options, oldest, session, clips, damaged: Vec::new(), at_us }.bytes_after(
                self,
                of.manifest,
                of.file,
                watch,
            )
        };
        let (mut bytes, mut candidates, mut recording) = (0, Vec::new(), 0);
        // By session: how many files may go, and the bytes of those that go with the last of them.
        let mut left: HashMap<SessionId, (usize, u64)> = HashMap::new();
        for manifest in &manifests {
            let session = sessions.iter().find(|session| session.session_id == manifest.session_id);
            let left = left.entry(manifest.session_id).or_default();
            for file in manifest.files.iter().filter(|file| options.names(file)) {
                if !options.selects(file) {
                    left.1 += file.bytes;
                    continue;
                }
                let Some(session) = session else {
                    recording += file.bytes;
                    continue;
                };
                let mut candidate = Candidate { session, manifest, file, bytes: file.bytes };
                candidate.bytes = after(&candidate, &none)?;
                if candidate.bytes > 0 {
                    bytes += candidate.bytes;
                    left.0 += 1;
                    candidates.push(candidate);
                }
            }
        }
        // Of a session that has nothing else, nothing goes for its bytes: it must not push out what others have.
        bytes +=
            recording + left.values().filter(|(count, _)| *count > 0).map(|(_, links)| links).sum::<u64>();
        candidates.sort_by_key(|candidate| candidate.file.received_max_us);
        let mut oldest = HashSet::new();
        for candidate in candidates {
            if bytes <= max_bytes {
                break;
            }
            let after = after(&candidate, &all)?;
            if after < candidate.bytes {
                bytes -= candidate.bytes - after;
                oldest.insert(candidate.file.path.clone());
            }
            let left = left.entry(candidate.session.session_id).or_default();
            if after == 0 {
                left.0 -= 1;
            }
            if after == 0 && left.0 == 0 {
                bytes -= left.1;
            }
        }
        Ok((oldest, Left { max_bytes, bytes: recording, recording, ..Left::default() }))
    }
}
