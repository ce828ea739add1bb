//! Making an archive and opening one.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::durable::{files_in, read_json, replace, replace_json};
use super::error::{ArchiveError, IoContext};
use super::kept_index::Derived;
use super::layout::Layout;
use super::own_checksum::{Form, with_checksum};
use super::passage::SealingBytes;
use super::schema::FORMAT;
use super::verify::Problem;
use crate::disk::{Disk, RealDisk};

pub(super) const README: &str = include_str!("readme.md");

/// An archive on disk.
#[derive(Clone, Debug)]
pub struct Archive {
    pub(super) layout: Layout,
    pub(super) disk: Arc<dyn Disk>,
    site: String,
    pub(super) sealing: SealingBytes,
    /// Held by whichever thread of this process writes the index or `segments.jsonl`; clones share it.
    pub(super) derived: Arc<Mutex<Derived>>,
    /// Damaged declarations that the log has been told of; clones share it.
    told: Arc<Mutex<HashSet<PathBuf>>>,
}

/// `archive.json`.
#[derive(Debug, Serialize, Deserialize)]
struct ArchiveJson {
    format: u32,
    site: String,
}

impl Archive {
    /// Opens the archive at `root`, or makes one of `site` where there is none yet.
    pub fn create_or_open(root: impl AsRef<Path>, site: &str) -> Result<Self, ArchiveError> {
        Self::create_or_open_on(Arc::new(RealDisk::default()), root, site)
    }

    /// The same, writing through `disk`: one that lets the group read, or a test's.
    pub fn create_or_open_on(
        disk: Arc<dyn Disk>,
        root: impl AsRef<Path>,
        site: &str,
    ) -> Result<Self, ArchiveError> {
        let layout = Layout::new(root.as_ref());
        refuse_file(root.as_ref())?;
        refuse_links(&layout)?;
        if description(&layout, &*disk)?.is_none() {
            create(&layout, &*disk, site)?;
        }
        Self::open_on(disk, root)
    }

    /// Opens the archive at `root`.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, ArchiveError> {
        Self::open_on(Arc::new(RealDisk::default()), root)
    }

    /// The same, writing through `disk`.
    pub fn open_on(disk: Arc<dyn Disk>, root: impl AsRef<Path>) -> Result<Self, ArchiveError> {
        let layout = Layout::new(root.as_ref());
        refuse_file(root.as_ref())?;
        refuse_links(&layout)?;
        let Some(json) = description(&layout, &*disk)? else {
            return Err(ArchiveError::Missing { path: root.as_ref().to_owned() });
        };
        if json.format > FORMAT {
            let path = root.as_ref().to_owned();
            return Err(ArchiveError::NewerFormat { path, found: json.format, known: FORMAT });
        }
        Ok(Self {
            layout,
            disk,
            site: json.site,
            sealing: SealingBytes::default(),
            derived: Arc::default(),
            told: Arc::default(),
        })
    }

    /// Opens an archive to verify it, also one that has lost its `archive.json`: that is damage like any other.
    pub fn open_damaged(root: impl AsRef<Path>) -> Result<(Self, Option<Problem>), ArchiveError> {
        let what = match Self::open(&root) {
            Err(ArchiveError::LostDescription { what, .. }) => what,
            opened => return opened.map(|archive| (archive, None)),
        };
        let what = format!("{what}; `telereel recover` writes it anew");
        let problem = Problem::Unreadable { path: "archive.json".to_owned(), what };
        let (layout, disk) = (Layout::new(root.as_ref()), Arc::new(RealDisk::default()));
        let (site, sealing) = (String::new(), SealingBytes::default());
        Ok((
            Self { layout, disk, site, sealing, derived: Arc::default(), told: Arc::default() },
            Some(problem),
        ))
    }

    /// Writes `archive.json` anew where it is missing or broken and what lies beside it is an archive's; tells what was
    /// wrong with it. The site comes from the newest session.
    pub fn mend_description(
        disk: Arc<dyn Disk>,
        root: impl AsRef<Path>,
    ) -> Result<Option<Problem>, ArchiveError> {
        let layout = Layout::new(root.as_ref());
        let Err(ArchiveError::LostDescription { what, .. }) = description(&layout, &*disk) else {
            return Ok(None);
        };
        refuse_links(&layout)?;
        let archive = Self {
            layout,
            disk,
            site: String::new(),
            sealing: SealingBytes::default(),
            derived: Arc::default(),
            told: Arc::default(),
        };
        let _lock = archive.lock()?;
        let newest = archive.read_sidecars()?.into_iter().max_by_key(|sidecar| sidecar.started_at_us);
        let json =
            ArchiveJson { format: FORMAT, site: newest.map(|sidecar| sidecar.site).unwrap_or_default() };
        let Archive { layout, disk, .. } = &archive;
        replace_json(layout, &**disk, &layout.archive_json(), &json)?;
        Ok(Some(Problem::Description { what }))
    }

    /// Seals within these bounds.
    pub fn sealing_within(self, sealing: SealingBytes) -> Self {
        Self { sealing, ..self }
    }

    pub fn root(&self) -> &Path {
        self.layout.root()
    }

    /// Where everything lies.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What everything durable is written through.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// What is derived is written by one thread at a time: the sealer and upkeep beside it both come here, and what one
    /// has read must not be written over what the other has written since. Taken after the sidecars' lock, if both are.
    pub(super) fn hold_derived(&self) -> MutexGuard<'_, Derived> {
        self.derived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the log is to be told of what is damaged at `path`: once.
    pub(super) fn is_news(&self, path: &Path) -> bool {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned())
    }

    /// The site that the archive was made for; a recording's own may differ.
    pub fn site(&self) -> &str {
        &self.site
    }
}

/// `archive.json`; none where there is no archive. One that is lost from an archive is not one that never was: nothing
/// may be begun in its place.
fn description(layout: &Layout, disk: &dyn Disk) -> Result<Option<ArchiveJson>, ArchiveError> {
    let lost = |what| Err(ArchiveError::LostDescription { path: layout.root().to_owned(), what });
    match read_json::<ArchiveJson>(disk, &layout.archive_json()) {
        Err(ArchiveError::Json { source, .. }) => lost(source.to_string()),
        Ok(None) if has_recordings(layout, disk) => lost("it is missing".to_owned()),
        read => read,
    }
}

fn has_recordings(layout: &Layout, disk: &dyn Disk) -> bool {
    let has_json = |folder: &Path| files_in(disk, folder, "json").is_ok_and(|files| !files.is_empty());
    has_json(&layout.manifests()) || has_json(&layout.sessions())
}

fn refuse_file(root: &Path) -> Result<(), ArchiveError> {
    if root.is_file() { Err(ArchiveError::NotAFolder { path: root.to_owned() }) } else { Ok(()) }
}

/// Refuses an archive of which something lies elsewhere, by a symbolic link: what is written to it, and removed from
/// it, would be written and removed there. The archive's own folder may be reached by one.
fn refuse_links(layout: &Layout) -> Result<(), ArchiveError> {
    let is_link = |path: &Path| path.symlink_metadata().is_ok_and(|found| found.is_symlink());
    let refuse = |path: PathBuf| if is_link(&path) { Err(ArchiveError::Link { path }) } else { Ok(()) };
    let folders = [
        layout.journal(),
        layout.tmp(),
        layout.data(),
        layout.manifests(),
        layout.sessions(),
        layout.schema(),
        layout.views(),
    ];
    let files = [layout.archive_json(), layout.readme(), layout.lock(), layout.segments(), layout.index()];
    let beside_index = ["-wal", "-shm", "-journal"].map(|end| {
        let mut path = layout.index().into_os_string();
        path.push(end);
        PathBuf::from(path)
    });
    folders.into_iter().chain(files).chain(beside_index).try_for_each(refuse)?;
    // `vendor=V` and `kind=K`: few, and folders of the files that are written and removed.
    for vendor in names_in(&layout.data()) {
        for kind in names_in(&vendor) {
            refuse(kind)?;
        }
        refuse(vendor)?;
    }
    Ok(())
}

/// Nothing where it cannot be listed: who uses it will say so.
fn names_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// What tells people who have only the folder what it is.
pub(super) fn write_readme(layout: &Layout, disk: &dyn Disk) -> Result<(), ArchiveError> {
    replace(layout, disk, &layout.readme(), &with_checksum(Form::Markdown, README.as_bytes()))
}

fn create(layout: &Layout, disk: &dyn Disk, site: &str) -> Result<(), ArchiveError> {
    let root = layout.root();
    if is_used(root)? {
        return Err(ArchiveError::NotAnArchive { path: root.to_owned() });
    }
    for folder in [layout.journal(), layout.tmp(), layout.data(), layout.manifests(), layout.sessions()] {
        disk.create_dir_all(&folder).doing("create", &folder)?;
    }
    write_readme(layout, disk)?;
    // Last: what has an archive.json is whole.
    replace_json(layout, disk, &layout.archive_json(), &ArchiveJson { format: FORMAT, site: site.to_owned() })
}

/// Whether somebody keeps other things in `root`. What a cut creation leaves does not count.
fn is_used(root: &Path) -> Result<bool, ArchiveError> {
    const OURS: [&str; 6] = ["journal", "tmp", "data", "manifests", "sessions", "README.md"];
    let entries = match std::fs::read_dir(root) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        entries => entries.doing("look into", root)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.doing("look into", root)?.file_name());
    }
    let only_readme = names.len() == 1 && names[0] == "README.md";
    Ok(only_readme || names.iter().any(|name| !OURS.iter().any(|ours| name == ours)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_made_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a/b");
        assert!(matches!(Archive::open(&root), Err(ArchiveError::Missing { .. })));
        Archive::create_or_open(&root, "home-12").unwrap();
        let again = Archive::create_or_open(&root, "elsewhere").unwrap();
        assert_eq!(again.site(), "home-12");
        assert_eq!(Archive::open(&root).unwrap().site(), "home-12");
        assert!(std::fs::read_to_string(root.join("README.md")).unwrap().contains("read_parquet"));
    }

    #[test]
    fn an_archive_of_which_something_lies_elsewhere_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = dir.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        std::fs::write(elsewhere.join("thesis.tex"), "mine").unwrap();
        let file = elsewhere.join("thesis.tex");
        let folders = ["journal", "tmp", "data", "manifests", "sessions", "schema", "views"];
        let deep = ["data/vendor=v", "data/vendor=v/kind=k"];
        let files =
            ["archive.json", "README.md", "lock", "segments.jsonl", "index.sqlite", "index.sqlite-wal"];
        let linked = |name: &str, to: &Path| {
            let root = dir.path().join(name.replace('/', "-"));
            Archive::create_or_open(&root, "").unwrap();
            let at = root.join(name);
            let _ = std::fs::remove_dir(&at);
            let _ = std::fs::remove_file(&at);
            std::fs::create_dir_all(at.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(to, &at).unwrap();
            for refused in [Archive::open(&root), Archive::create_or_open(&root, "")] {
                let Err(ArchiveError::Link { path }) = refused else { panic!("{name}: {refused:?}") };
                assert_eq!(path, at);
            }
        };
        folders.iter().chain(&deep).for_each(|name| linked(name, &elsewhere));
        files.iter().for_each(|name| linked(name, &file));
        assert_eq!(std::fs::read(&file).unwrap(), b"mine");

        // The archive itself may be reached by a link.
        Archive::create_or_open(dir.path().join("whole"), "").unwrap();
        std::os::unix::fs::symlink(dir.path().join("whole"), dir.path().join("link")).unwrap();
        Archive::open(dir.path().join("link")).unwrap().lock().unwrap();
    }

    #[test]
    fn a_folder_in_use_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("thesis.tex"), "").unwrap();
        let refused = Archive::create_or_open(dir.path(), "").unwrap_err();
        assert!(matches!(refused, ArchiveError::NotAnArchive { .. }));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let file = dir.path().join("thesis.tex");
        for refused in [Archive::open(&file), Archive::create_or_open(&file, "")] {
            assert!(matches!(refused, Err(ArchiveError::NotAFolder { .. })));
        }
    }

    #[test]
    fn a_lost_description_is_written_anew_and_never_begun_over() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a");
        let archive = Archive::create_or_open(&root, "elsewhere").unwrap();
        archive.begin_session(&mut crate::archive::tests::support::header(1)).unwrap();
        let disk = || -> Arc<dyn Disk> { Arc::new(RealDisk::default()) };
        assert_eq!(Archive::mend_description(disk(), &root).unwrap(), None);
        for broken in [None, Some("{\"format\": 1, \"si")] {
            std::fs::remove_file(root.join("archive.json")).unwrap();
            if let Some(text) = broken {
                std::fs::write(root.join("archive.json"), text).unwrap();
            }
            for refused in [Archive::open(&root), Archive::create_or_open(&root, "")] {
                let said = refused.unwrap_err().to_string();
                assert!(said.contains("archive.json") && said.contains("telereel recover"), "{said}");
            }
            let told = Archive::mend_description(disk(), &root).unwrap();
            assert!(matches!(told, Some(Problem::Description { .. })), "{told:?}");
            assert_eq!(Archive::open(&root).unwrap().site(), "home-12", "the session's");
        }
    }

    #[test]
    fn a_creation_that_was_cut_is_completed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("journal")).unwrap();
        Archive::create_or_open(dir.path(), "").unwrap();
    }

    #[test]
    fn a_newer_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a");
        Archive::create_or_open(&root, "").unwrap();
        std::fs::write(root.join("archive.json"), r#"{"format": 2, "site": ""}"#).unwrap();
        let refused = Archive::create_or_open(&root, "").unwrap_err();
        assert!(matches!(refused, ArchiveError::NewerFormat { found: 2, known: 1, .. }), "{refused}");
    }
}
