//! The index: an SQLite catalog of what an archive holds and where.
//!
//! It is derived from session sidecars, manifests and link segments, and never the truth: losing it
//! costs a `reindex`. The tables are documented where they are made, in `schema/index/*.sql`; those
//! files are the migrations, applied in order, `user_version` counts them.
//!
//! One connection writes (the recorder's sealer, or a verb that holds the archive's lock); any number
//! read at the same time. Commits are synchronous in full, since a journal part is removed on
//! the strength of one.
//!
//! Whoever may read the file can, with any SQLite client, and is never in the writer's way. While it is written to it
//! is in WAL mode: readers and writer do not wait for one another, and who may not write finds `-wal` and `-shm`
//! there. When the writer closes, the file goes back to a rollback journal: of one in WAL mode alone nothing can be
//! read where no file may be made beside it. A writer that was killed leaves `-wal` and `-shm`, which can be read, too.
//!
//! What never happens here: looking into the archive's other files. Rows are handed in.

mod query;
mod rows;
#[cfg(test)]
mod tests;
mod write;

use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};
use rustix::fs::{Access, AtFlags, CWD, accessat};

pub use rows::{ClipRow, LinkRow, MarkRow, PartRow, SegmentRow, SegmentSourceRow, SessionRow, SourceRow};

/// The migrations, oldest first. Never edit one that was released: add another.
const MIGRATIONS: [&str; 2] =
    [include_str!("../../schema/index/001_catalog.sql"), include_str!("../../schema/index/002_parts.sql")];

/// Readers and the writer wait this long for one another before they give up; a checkpoint of a
/// large index on a slow disk takes a second or two.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// A writer waits this long for who has been reading since before there was one. Then the index is made again, in a
/// file of its own: nobody who forgot to close a query keeps a recorder from its work.
const TAKING_OVER_TIMEOUT: Duration = Duration::from_secs(1);

/// Why the index could not be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error("cannot open the index {path}; `telereel reindex` makes it again")]
    Open { path: PathBuf, source: rusqlite::Error },
    #[error(
        "the index {path} is of version {found}, this telereel knows up to {known}: use the newer telereel, \
         or make the index again with `telereel reindex`"
    )]
    Newer { path: PathBuf, found: usize, known: usize },
    #[error("the index {path} is of version {found}, older than {known}; `telereel reindex` makes it again")]
    Older { path: PathBuf, found: usize, known: usize },
    #[error("cannot {action} the index; `telereel reindex` makes it again")]
    Query { action: &'static str, source: rusqlite::Error },
    #[error("the index {path} cannot be written to{}", whose.as_deref().unwrap_or_default())]
    Refused { path: PathBuf, whose: Option<String>, source: io::Error },
}

impl IndexError {
    /// What is wrong, its cause included, without what to do about it.
    pub fn what(&self) -> String {
        match self {
            Self::Open { source, .. } => format!("it cannot be opened ({source})"),
            Self::Newer { found, known, .. } => {
                format!("it is of version {found}, this telereel knows up to {known}")
            }
            Self::Older { found, known, .. } => format!("it is of version {found}, older than {known}"),
            Self::Query { action, source } => format!("cannot {action} it ({source})"),
            Self::Refused { source, .. } => format!("it cannot be written to ({source})"),
        }
    }

    /// Whether it is not the index that is at fault: SQLite could not make or write a file of its own.
    pub fn lacks_room(&self) -> bool {
        let (Self::Open { source, .. } | Self::Query { source, .. }) = self else { return false };
        let rusqlite::Error::SqliteFailure(error, _) = source else { return false };
        match error.code {
            ErrorCode::DiskFull | ErrorCode::CannotOpen | ErrorCode::ReadOnly => true,
            ErrorCode::SystemIoFailure => matches!(
                error.extended_code,
                ffi::SQLITE_IOERR_WRITE
                    | ffi::SQLITE_IOERR_SHMOPEN
                    | ffi::SQLITE_IOERR_SHMSIZE
                    | ffi::SQLITE_IOERR_SHMMAP
            ),
            _ => false,
        }
    }

    /// Of an index that is to be written at `path`: in the system's words where it is the system that refuses. SQLite has
    /// the same few for a file system that is read-only, which passes, and for a file of somebody else's, which does not.
    pub fn or_refused(self, path: &Path) -> Self {
        let folder = path.parent().unwrap_or(Path::new("."));
        let is_there = |path: &&Path| path.symlink_metadata().is_ok();
        let may_write = |path: &Path| accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS);
        let refusal = [path, folder].iter().copied().filter(is_there).find_map(|path| may_write(path).err());
        match refusal {
            Some(refusal) if self.lacks_room() => Self::refused(path, refusal.into()),
            _ => self,
        }
    }

    /// `source` is what the system says.
    pub fn refused(path: &Path, source: io::Error) -> Self {
        let ours = rustix::process::geteuid().as_raw();
        let owner = std::fs::metadata(path).ok().map(|found| found.uid());
        let is_denied = source.kind() == io::ErrorKind::PermissionDenied;
        let whose = owner.filter(|_| is_denied).map(|owner| whose(path, owner, ours));
        Self::Refused { path: path.to_owned(), whose, source }
    }
}

/// Whose file it is that may not be written to, and what to do.
fn whose(path: &Path, owner: u32, ours: u32) -> String {
    let path = path.display();
    if owner == ours {
        format!(
            ": see the permissions of the file and of the folder, both are to be writable for user {ours}"
        )
    } else {
        format!(
            ": it belongs to user {owner}, and this is user {ours}; give it away with `chown {ours} {path}`, or \
             remove it, it is made again"
        )
    }
}

/// An open index.
#[derive(Debug)]
pub struct Index {
    connection: Connection,
    /// Of one that writes: which file it was at which path when it was opened.
    written: Option<(PathBuf, FileId)>,
}

type FileId = Option<(u64, u64)>;

impl Index {
    /// Opens for writing; makes the file and brings it up to date where needed.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        let open = |source| IndexError::Open { path: path.to_owned(), source };
        let mut connection = Connection::open(path).map_err(open)?;
        connection.busy_timeout(TAKING_OVER_TIMEOUT).map_err(open)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(open)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(open)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(open)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(open)?;
        let found = user_version(&connection).map_err(open)?;
        if found > MIGRATIONS.len() {
            return Err(IndexError::Newer { path: path.to_owned(), found, known: MIGRATIONS.len() });
        }
        migrate(&mut connection, found..MIGRATIONS.len()).map_err(open)?;
        let index = Self { connection, written: Some((path.to_owned(), file_id(path))) };
        index.let_all_read().map_err(open)?;
        Ok(index)
    }

    /// Opens for reading; the file must exist and be of this version. What a killed writer left beside it stays, also
    /// for those who can read only.
    pub fn open_read_only(path: &Path) -> Result<Self, IndexError> {
        let open = |source| IndexError::Open { path: path.to_owned(), source };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(open)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(open)?;
        Self::checked(connection, path)
    }

    fn checked(connection: Connection, path: &Path) -> Result<Self, IndexError> {
        let open = |source| IndexError::Open { path: path.to_owned(), source };
        let known = MIGRATIONS.len();
        match user_version(&connection).map_err(open)? {
            found if found > known => Err(IndexError::Newer { path: path.to_owned(), found, known }),
            found if found < known => {
                let index = Self { connection, written: None };
                // To SQLite an empty file is a database, too.
                if found == 0 || index.definitions()? != Self::in_memory_of(found)?.definitions()? {
                    let damaged = ffi::Error::new(ffi::SQLITE_CORRUPT);
                    let what = format!("its tables are not those of version {found}");
                    return Err(open(rusqlite::Error::SqliteFailure(damaged, Some(what))));
                }
                Err(IndexError::Older { path: path.to_owned(), found, known })
            }
            _ => Ok(Self { connection, written: None }),
        }
    }

    /// An index that lives as long as this value: for reading an archive whose own is unusable.
    pub fn in_memory() -> Result<Self, IndexError> {
        Self::in_memory_of(MIGRATIONS.len())
    }

    fn in_memory_of(version: usize) -> Result<Self, IndexError> {
        let open = |source| IndexError::Open { path: PathBuf::from(":memory:"), source };
        let mut connection = Connection::open_in_memory().map_err(open)?;
        migrate(&mut connection, 0..version).map_err(open)?;
        Ok(Self { connection, written: None })
    }
}

impl Index {
    /// Whether what is written still comes into the file at the path: anybody may have removed it, and somebody else
    /// made it again. The log is known by its name alone; another's must not be taken for one's own.
    pub fn is_in_place(&self) -> bool {
        self.written.as_ref().is_some_and(|(path, id)| id.is_some() && *id == file_id(path))
    }

    /// Reads once, after what was written. In the log a reader holds on to a mark in `-shm`; who may not write there
    /// needs one that somebody else has made.
    fn let_all_read(&self) -> rusqlite::Result<()> {
        user_version(&self.connection).map(drop)
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        if self.is_in_place() {
            // While others are at it, it stays as it is, for who writes next.
            let _ = self.connection.busy_timeout(Duration::ZERO);
            let _ = self.connection.pragma_update(None, "journal_mode", "DELETE");
        }
    }
}

fn file_id(path: &Path) -> FileId {
    std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

fn user_version(connection: &Connection) -> rusqlite::Result<usize> {
    connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).map(|v| v.max(0) as usize)
}

fn migrate(connection: &mut Connection, versions: Range<usize>) -> rusqlite::Result<()> {
    for (version, sql) in MIGRATIONS.iter().enumerate().take(versions.end).skip(versions.start) {
        let step = connection.transaction()?;
        step.execute_batch(sql)?;
        step.pragma_update(None, "user_version", version as i64 + 1)?;
        step.commit()?;
    }
    Ok(())
}
