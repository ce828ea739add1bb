//! Small files that are replaced whole, so that a reader sees the old or the new and a crash leaves one.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::{DeserializeOwned, Error as _};

use super::error::{ArchiveError, IoContext};
use super::layout::Layout;
use super::own_checksum::{Form, checked, with_checksum};
use crate::disk::Disk;

/// Writes `bytes` to `tmp/`, syncs, renames to `path` and syncs its folder.
pub(super) fn replace(
    layout: &Layout,
    disk: &dyn Disk,
    path: &Path,
    bytes: &[u8],
) -> Result<(), ArchiveError> {
    let folder = path.parent().unwrap_or(layout.root());
    let name = path.strip_prefix(layout.root()).unwrap_or(path).to_string_lossy().replace('/', "-");
    let tmp = layout.tmp().join(name);
    disk.create_dir_all(&layout.tmp()).doing("create", &layout.tmp())?;
    disk.create_dir_all(folder).doing("create", folder)?;
    remove_if_there(disk, &tmp)?;
    let placed = || {
        let mut file = disk.create_new(&tmp).doing("create", &tmp)?;
        file.write_all(bytes).doing("write", &tmp)?;
        file.flush().doing("write", &tmp)?;
        file.sync_data().doing("sync", &tmp)?;
        drop(file);
        disk.rename(&tmp, path).doing("rename to", path)
    };
    placed().inspect_err(|_| {
        // Of a full disk it would keep what others need, until the next recovery.
        let _ = remove_if_there(disk, &tmp);
    })?;
    disk.sync_dir(folder).doing("sync", folder)
}

/// The same with a value as indented JSON, and its checksum.
pub(super) fn replace_json<T: Serialize>(
    layout: &Layout,
    disk: &dyn Disk,
    path: &Path,
    value: &T,
) -> Result<(), ArchiveError> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|source| ArchiveError::Json { path: path.to_owned(), source })?;
    bytes.push(b'\n');
    replace(layout, disk, path, &with_checksum(Form::Json, &bytes))
}

/// Reads a JSON file as `T`, if it is what its checksum says; none if there is no such file.
pub(super) fn read_json<T: DeserializeOwned>(
    disk: &dyn Disk,
    path: &Path,
) -> Result<Option<T>, ArchiveError> {
    let bytes = match disk.read(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        bytes => bytes.doing("read", path)?,
    };
    let parsed = match checked(Form::Json, &bytes) {
        Ok(_) => serde_json::from_slice(&bytes),
        Err(what) => Err(serde_json::Error::custom(what)),
    };
    parsed.map(Some).map_err(|source| ArchiveError::Json { path: path.to_owned(), source })
}

/// The files of a folder with this extension, sorted; none if there is no such folder.
pub(super) fn files_in(
    disk: &dyn Disk,
    folder: &Path,
    extension: &str,
) -> Result<Vec<PathBuf>, ArchiveError> {
    let mut files = disk.list(folder).doing("list", folder)?;
    files.retain(|path| path.extension().is_some_and(|e| e == extension));
    Ok(files)
}

/// Whether there is such a file. Where that cannot be said it is an error: for what is not there, something is made
/// anew, or goes.
pub(super) fn is_there(disk: &dyn Disk, path: &Path) -> Result<bool, ArchiveError> {
    match disk.len(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        length => length.doing("look at", path).map(|_| true),
    }
}

/// Removes what an earlier attempt may have left.
pub(super) fn remove_if_there(disk: &dyn Disk, path: &Path) -> Result<(), ArchiveError> {
    match disk.remove_file(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        done => done.doing("remove", path),
    }
}

/// Keeps a file that cannot be read under a name of which nothing is read: `{name}.damaged`, or the next that is free.
pub(super) fn set_aside(disk: &dyn Disk, path: &Path) -> Result<PathBuf, ArchiveError> {
    let named = |nth: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(if nth < 2 { ".damaged".to_owned() } else { format!(".{nth}.damaged") });
        PathBuf::from(name)
    };
    let mut nth = 1;
    while is_there(disk, &named(nth))? {
        nth += 1;
    }
    let aside = named(nth);
    disk.rename(path, &aside).doing("rename to", &aside)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    disk.sync_dir(folder).doing("sync", folder)?;
    Ok(aside)
}

/// BLAKE3 of a whole file, in hexadecimal.
pub(super) fn checksum(path: &Path) -> std::io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(std::fs::File::open(path)?)?;
    Ok(hasher.finalize().to_string())
}
