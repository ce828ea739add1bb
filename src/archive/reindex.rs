//! Making the index again from sidecars, manifests and link segments.

use std::path::Path;

use super::Archive;
use super::at_hand::AtHand;
use super::durable::remove_if_there;
use super::error::{ArchiveError, IoContext, is_for_room};
use super::kept_index::Derived;
use super::rebuild::{Rebuilding, Rebuilt, rebuild_manifests};
use super::sidecar::session_rows;
use super::verify::{Problem, survey};
use crate::index::{Index, IndexError};
use serde::Serialize;

/// What an index was made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReindexReport {
    pub sessions: u64,
    pub segments: u64,
    pub links: u64,
    /// Segments that could not be read for their link events; `verify` tells more.
    pub unreadable: Vec<String>,
    /// Manifests that were lost, and were made anew of their segments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rebuilt: Vec<Rebuilt>,
    /// What is missing or cannot be read, as far as that can be seen without looking into segments; `verify` does.
    pub problems: Vec<Problem>,
}

/// Makes the index again, in place of the one there is. The caller holds the archive's lock.
pub fn reindex(archive: &Archive) -> Result<ReindexReport, ArchiveError> {
    reindex_telling(archive, &|_, _| ())
}

/// The same, and `tell` is told how many sealed parts of how many are done.
pub fn reindex_telling(archive: &Archive, tell: &dyn Fn(u64, u64)) -> Result<ReindexReport, ArchiveError> {
    let (folder, at_hand) = (archive.look_into_manifests(|_| true)?, AtHand::of(archive)?);
    let Rebuilding { rebuilt, refused } = rebuild_manifests(archive, &folder, &at_hand)?;
    let mut report = make_again(archive, &mut archive.hold_derived(), tell)?;
    report.rebuilt = rebuilt;
    report.problems.extend(refused);
    Ok(report)
}

/// The index alone.
pub(super) fn index_anew(archive: &Archive) -> Result<(), ArchiveError> {
    make_again(archive, &mut archive.hold_derived(), &|_, _| ()).map(drop)
}

/// For who holds what is derived already.
fn make_again(
    archive: &Archive,
    held: &mut Derived,
    tell: &dyn Fn(u64, u64),
) -> Result<ReindexReport, ArchiveError> {
    held.close_index();
    let (layout, disk) = (&archive.layout, &*archive.disk);
    let tmp = layout.tmp().join("index.sqlite");
    disk.create_dir_all(&layout.tmp()).doing("create", &layout.tmp())?;
    remove_database(archive, &tmp)?;
    let mut report = ReindexReport::default();
    let mut index = archive.writable_index(&tmp)?;
    let refused = |error: IndexError| error.or_refused(&tmp);
    let folder = archive.look_into_manifests(|_| true)?;
    let manifests = folder.counted_telling();
    for session in session_rows(&archive.read_sidecars()?, &manifests) {
        index.put_session(&session).map_err(refused)?;
        report.sessions += 1;
    }
    let total = manifests.len() as u64;
    for (done, manifest) in (0_u64..).zip(&manifests) {
        tell(done, total);
        let links = match archive.read_links(manifest) {
            Err(error) if error.is_damage() => {
                report.unreadable.push(error.to_string());
                Vec::new()
            }
            links => links?,
        };
        index.put_part(&manifest.to_part_row(), &manifest.to_rows(), &links).map_err(refused)?;
        report.segments += manifest.files.len() as u64;
        report.links += links.len() as u64;
    }
    // Closing folds the write-ahead log into the file.
    drop(index);
    // The old log goes before the new file comes: it must not be taken for the new file's.
    remove_database(archive, &layout.index())?;
    disk.rename(&tmp, &layout.index()).doing("rename to", &layout.index())?;
    disk.sync_dir(layout.root()).doing("sync", layout.root())?;
    archive.write_segment_list_held()?;
    report.problems = survey(archive, folder)?;
    Ok(report)
}

fn remove_database(archive: &Archive, path: &Path) -> Result<(), ArchiveError> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        remove_if_there(&*archive.disk, name.as_ref())?;
    }
    Ok(())
}

impl Archive {
    /// Writes to the index for who does not hold the archive's lock: of what is beside a recorder, which writes to the index all
    /// the time, none may be made in its place. What is not in it then stands in the sidecar, and comes into it when
    /// the recorder next finds it broken, or with the next `record`, `recover` or `reindex`.
    pub(super) fn update_index_unlocked(
        &self,
        write: impl Fn(&mut Index) -> Result<(), IndexError>,
    ) -> Result<(), ArchiveError> {
        let attempt = self.hold_derived().write_index(self, &write);
        match attempt {
            Err(error @ IndexError::Newer { .. }) => return Err(error.into()),
            Err(error) => tracing::debug!(%error, "the index cannot be written to"),
            Ok(()) => return Ok(()),
        }
        match self.lock() {
            Ok(_lock) => self.update_index(write),
            Err(ArchiveError::Locked { .. }) => {
                tracing::warn!(
                    "it is kept beside the data, and not in the index: that is broken or busy, and a recorder is at \
                     work; when it has ended, `telereel reindex` makes it again"
                );
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Writes to the index; makes it again if it is broken, since everything in it is written down
    /// elsewhere by the time it comes here. The caller holds the archive's lock.
    pub(super) fn update_index(
        &self,
        write: impl Fn(&mut Index) -> Result<(), IndexError>,
    ) -> Result<(), ArchiveError> {
        let mut held = self.hold_derived();
        match held.write_index(self, &write) {
            Err(IndexError::Newer { path, found, known }) => {
                Err(IndexError::Newer { path, found, known }.into())
            }
            Err(error) => {
                tracing::warn!(%error, "making the index again");
                match make_again(self, &mut held, &|_, _| ()) {
                    // Nor may it be replaced: the file is what is to be mended, not the step that failed.
                    Err(again) if matches!(error, IndexError::Refused { .. }) && !is_for_room(&again) => {
                        return Err(error.into());
                    }
                    made => made?,
                };
                Ok(held.write_index(self, &write)?)
            }
            Ok(()) => Ok(()),
        }
    }
}
