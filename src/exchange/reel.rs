//! A reel: a small archive in one file, a tar that `tar x` and DuckDB open without Telereel.
//!
//! ```text
//! archive.json  README.md  manifests/…  sessions/…  schema/…  views/duckdb.sql  data/…
//! ```
//!
//! Sessions keep their ids, names, times, clips and marks, rows their `seq`, `elapsed_ns` and `received_at`; what a
//! filter left out is recorded in the manifests as removed by `export`. Checksums are those of the manifests. The same
//! messages give the same bytes: nothing in it says when it was made.
//!
//! To be read, a reel is unpacked to a temporary folder: only files that an archive has, by names that lead nowhere
//! else, and everything is verified before it is used: what its files claim of themselves first, since who wrote the
//! checksums wrote those as well. The folder goes when it is no longer needed; one that a killed
//! process left goes with the next.

use std::fs::{self, DirBuilder, File};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Component, Path, PathBuf};

use super::error::{ExchangeError, IoContext};
use super::export::{Change, Exported, Tell};
use super::header::session_header;
use super::tar::{pad, read_head, skip_padding, write_end, write_head};
use super::target::{Target, beside};
use crate::archive::caught::caught;
use crate::archive::{
    Archive, Clip, Intake, ScanOptions, VerifyOptions, check_claims, reindex, scan, verify,
};
use crate::message::SessionId;

/// Of a part's payloads: as a recording's parts.
pub(super) const PART_BYTES: u64 = 128 << 20;

const FOLDER_PREFIX: &str = "telereel-reel-";

/// The folders of an archive that a reel has, and what may be in them.
const FOLDERS: [(&str, &str); 5] =
    [("manifests", "json"), ("sessions", "json"), ("schema", "toml"), ("views", "sql"), ("data", "parquet")];

/// Whether a SESSION is a file of this sort.
pub fn is_reel(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "reel")
}

/// Writes the selected rows of each selected session to a reel at `to`.
pub fn write(
    archive: &Archive,
    options: &ScanOptions,
    to: &Path,
    change: &mut dyn Change,
    tell: &Tell<'_>,
) -> Result<Exported, ExchangeError> {
    let folder = Folder::make(&beside(to).with_extension("d"))?;
    let small = Archive::create_or_open(folder.path.join("reel"), &change.site(archive.site()))?;
    let sessions = match &options.sessions[..] {
        [] => archive.list()?.into_iter().map(|session| session.session_id).collect(),
        sessions => sessions.to_vec(),
    };
    let mut exported = Exported::default();
    for session_id in sessions {
        let options = ScanOptions { sessions: vec![session_id], ..options.clone() };
        take(archive, &small, &options, session_id, (&mut *change, tell), &mut exported)?;
    }
    let mut target = Target::create(to)?;
    pack(small.root(), &mut target)?;
    exported.file_bytes = Some(target.put()?);
    Ok(exported)
}

/// One session's rows into the small archive.
fn take(
    archive: &Archive,
    small: &Archive,
    options: &ScanOptions,
    session_id: SessionId,
    (change, tell): (&mut dyn Change, &Tell<'_>),
    exported: &mut Exported,
) -> Result<(), ExchangeError> {
    let mut sidecar = archive.read_sidecar(session_id)?;
    if let Some(sidecar) = &mut sidecar {
        change.sidecar(sidecar);
    }
    let mut header = session_header(archive, session_id)?;
    change.header(&mut header);
    let rows = scan(archive, options)?;
    let mut rows = rows.filter_map(|row| row.map(|row| change.row(row)).transpose()).peekable();
    if rows.peek().is_none() {
        return Ok(());
    }
    let lost = archive.lost_of(session_id)?;
    let mut intake = Intake::begin(small, header, "export")?.with_lost(lost).dated_by_rows();
    let (mut first_seq, mut end_seq) = (None, 0);
    while rows.peek().is_some() {
        intake.part(|part| {
            while part.bytes() < PART_BYTES {
                let Some(row) = rows.next() else { break };
                let row = row?;
                first_seq.get_or_insert(row.seq);
                end_seq = row.seq + 1;
                exported.count(&row);
                part.push(&row)?;
                if exported.messages.is_multiple_of(4_096) {
                    tell(exported.messages, exported.bytes);
                }
            }
            Ok::<_, ExchangeError>(())
        })?;
    }
    intake.commit(|own| {
        let Some(sidecar) = sidecar else {
            own.pseudonymized = None;
            return;
        };
        // Of a session that goes on, the reel's is over with its last message.
        if let Some(ended) = sidecar.ended {
            own.ended = Some(ended);
            own.ended_at_us = sidecar.ended_at_us;
        }
        let is_there =
            |clip: &Clip| clip.seq_from < end_seq && first_seq.is_some_and(|first| clip.seq_to > first);
        own.clips = sidecar.clips.into_iter().filter(is_there).collect();
        own.marks = sidecar.marks;
        own.pseudonymized = sidecar.pseudonymized;
    })?;
    Ok(())
}

/// The files of the archive at `root`, in an order that says early what this is.
fn pack(root: &Path, out: &mut impl Write) -> Result<(), ExchangeError> {
    let mut names = vec!["archive.json".to_owned(), "README.md".to_owned()];
    for (folder, extension) in FOLDERS {
        let mut found = Vec::new();
        collect(&root.join(folder), extension, &mut found)?;
        found.sort();
        let relative =
            |path: PathBuf| path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        names.extend(found.into_iter().map(relative));
    }
    for name in names {
        let path = root.join(&name);
        let mut file = File::open(&path).doing("open", &path)?;
        let size = file.metadata().doing("read", &path)?.len();
        write_head(out, &name, size).doing("write", &path)?;
        let copied = io::copy(&mut file, out).doing("copy", &path)?;
        debug_assert_eq!(copied, size);
        pad(out, size).doing("write", &path)?;
    }
    write_end(out).doing("write", root)
}

fn collect(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) -> Result<(), ExchangeError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.doing("list", folder)?,
    };
    for entry in entries {
        let path = entry.doing("list", folder)?.path();
        if path.is_dir() {
            collect(&path, extension, found)?;
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    Ok(())
}

/// A reel as an archive, for as long as this value lives.
#[derive(Debug)]
pub struct Unpacked {
    archive: Archive,
    _folder: Folder,
}

impl Unpacked {
    pub fn archive(&self) -> &Archive {
        &self.archive
    }
}

/// Unpacks a reel and verifies all of it.
pub fn open(path: &Path) -> Result<Unpacked, ExchangeError> {
    let root = std::env::temp_dir();
    sweep(&root);
    let folder = Folder::unique(&root)?;
    unpack(path, &folder.path)?;
    let damaged = |what: String| ExchangeError::DamagedReel { path: path.to_owned(), what };
    let (archive, report) = caught(|| {
        let archive = Archive::open(&folder.path)?;
        check_paths(path, &folder.path)?;
        check_segments(&folder.path).map_err(damaged)?;
        // Without an index what links tell would be missing.
        reindex(&archive)?;
        let report = verify(&archive, VerifyOptions::default())?;
        Ok::<_, ExchangeError>((archive, report))
    })
    .map_err(damaged)??;
    if let Some(problem) = report.problems.first() {
        return Err(ExchangeError::DamagedReel { path: path.to_owned(), what: problem.to_string() });
    }
    if report.sessions == 0 {
        return Err(ExchangeError::NotAReel { path: path.to_owned(), what: "it has no session".into() });
    }
    Ok(Unpacked { archive, _folder: folder })
}

/// What its segments claim is what one of ours could hold.
fn check_segments(folder: &Path) -> Result<(), String> {
    let mut segments = Vec::new();
    collect(&folder.join("data"), "parquet", &mut segments).map_err(|error| error.to_string())?;
    for path in segments {
        let name = path.strip_prefix(folder).unwrap_or(&path).display();
        check_claims(&path).map_err(|what| format!("{name}: {what}"))?;
    }
    Ok(())
}

/// A manifest of a reel names files of the reel only.
fn check_paths(reel: &Path, folder: &Path) -> Result<(), ExchangeError> {
    let mut manifests = Vec::new();
    collect(&folder.join("manifests"), "json", &mut manifests)?;
    for path in manifests {
        let text = fs::read(&path).doing("read", &path)?;
        // What is no JSON is told by whoever reads it.
        let manifest: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        let named =
            manifest["files"].as_array().into_iter().flatten().filter_map(|file| file["path"].as_str());
        for name in named {
            if !name.starts_with("data/") || !is_known(name) {
                let what = format!("a manifest names {name}, which is no file of an archive");
                return Err(ExchangeError::DamagedReel { path: reel.to_owned(), what });
            }
        }
    }
    Ok(())
}

fn unpack(path: &Path, folder: &Path) -> Result<(), ExchangeError> {
    let file = File::open(path).doing("open", path)?;
    let length = file.metadata().doing("read", path)?.len();
    let mut file = BufReader::with_capacity(256 << 10, file);
    let mut offset = 0;
    let mut is_first = true;
    loop {
        let bad = |error: io::Error| {
            let (path, what) = (path.to_owned(), format!("{error} (byte {offset})"));
            if is_first {
                ExchangeError::NotAReel { path, what }
            } else {
                ExchangeError::DamagedReel { path, what }
            }
        };
        let Some(entry) = read_head(&mut file).map_err(bad)? else { return Ok(()) };
        if entry.size > length.saturating_sub(offset) {
            return Err(bad(io::Error::other(format!("{} claims more bytes than there are", entry.name))));
        }
        if is_first && entry.name != "archive.json" {
            let what = format!("it begins with {}, not with archive.json", entry.name);
            return Err(ExchangeError::NotAReel { path: path.to_owned(), what });
        }
        let mut content = (&mut file).take(entry.size);
        if entry.is_file && is_known(&entry.name) {
            let target = folder.join(&entry.name);
            let parent = target.parent().unwrap_or(folder);
            fs::create_dir_all(parent).doing("create", parent)?;
            let mut out = File::create_new(&target).doing("create", &target)?;
            io::copy(&mut content, &mut out).doing("unpack", &target)?;
        } else {
            io::copy(&mut content, &mut io::sink()).map_err(bad)?;
        }
        if content.limit() > 0 {
            return Err(bad(io::Error::other("it is cut short")));
        }
        skip_padding(&mut file, entry.size).map_err(bad)?;
        offset += 512 + entry.size.next_multiple_of(512);
        is_first = false;
    }
}

/// Whether an archive has a file of this name; all others are left where they are.
fn is_known(name: &str) -> bool {
    let path = Path::new(name);
    if !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return false;
    }
    let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    let has = |extension: &str| path.extension().is_some_and(|e| e == extension);
    match parts[..] {
        ["archive.json" | "README.md"] => true,
        ["manifests" | "sessions", _] => has("json"),
        ["schema", _, _] => has("toml"),
        ["views", _] => has("sql"),
        ["data", vendor, kind, date, _] => {
            has("parquet")
                && vendor.starts_with("vendor=")
                && kind.starts_with("kind=")
                && date.starts_with("date=")
        }
        _ => false,
    }
}

/// A folder of one's own, which goes with this value. Held by a lock, so that others know that it is in use.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    _lock: Option<File>,
}

impl Folder {
    fn make(path: &Path) -> Result<Self, ExchangeError> {
        // People may be in it: for this user alone.
        DirBuilder::new().mode(0o700).create(path).doing("create", path)?;
        let lock = File::open(path).ok().filter(|folder| folder.try_lock().is_ok());
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    fn unique(root: &Path) -> Result<Self, ExchangeError> {
        let mut n = 0_u32;
        loop {
            let path = root.join(format!("{FOLDER_PREFIX}{}-{n}", std::process::id()));
            match Self::make(&path) {
                Err(ExchangeError::Io { source, .. })
                    if source.kind() == io::ErrorKind::AlreadyExists && n < 10_000 =>
                {
                    n += 1;
                }
                made => return made,
            }
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes what processes have left that were killed.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(FOLDER_PREFIX)?.split('-').next());
        let is_left = owner.is_some_and(|process| !Path::new("/proc").join(process).exists());
        if is_left && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            // In another container the process may live all the same: whoever uses a folder holds its lock.
            let lock = File::open(entry.path());
            if lock.is_ok_and(|folder| folder.try_lock().is_ok()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

#[cfg(test)]
mod hostile;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_names_of_an_archive_are_unpacked() {
        for known in [
            "archive.json",
            "sessions/x.json",
            "schema/jointech/alarm.toml",
            "data/vendor=v/kind=k/date=2026-01-01/a.parquet",
        ] {
            assert!(is_known(known), "{known}");
        }
        for other in [
            "/archive.json",
            "../archive.json",
            "sessions/../../x.json",
            "data/vendor=v/kind=k/../../../x.parquet",
            "data/a.parquet",
            "lock",
            "index.sqlite",
            "./archive.json",
        ] {
            assert!(!is_known(other), "{other}");
        }
    }
}
