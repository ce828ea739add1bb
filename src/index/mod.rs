//! The index: an SQLite catalog of what an archive holds and where.
//!
//! It is derived from session sidecars, manifests and link segments, and never the truth: losing it
//! costs a `reindex`. The tables are documented where they are made, in `schema/index/*.sql`; those
//! files are the migrations, applied in order, `user_version` counts them.
//!
//! One connection writes (the recorder's sealer, or a verb that holds the archive's lock); any number
//! read at the same time (WAL). Commits are synchronous in full, since a journal part is removed on
//! the strength of one.
//!
//! What never happens here: looking into the archive's other files. Rows are handed in.

mod query;
mod rows;
#[cfg(test)]
mod tests;
mod write;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

pub use rows::{ClipRow, LinkRow, MarkRow, PartRow, SegmentRow, SegmentSourceRow, SessionRow, SourceRow};

/// The migrations, oldest first. Never edit one that was released: add another.
const MIGRATIONS: [&str; 2] =
    [include_str!("../../schema/index/001_catalog.sql"), include_str!("../../schema/index/002_parts.sql")];

/// Readers and the writer wait this long for one another before they give up; a checkpoint of a
/// large index on a slow disk takes a second or two.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

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
}

/// An open index.
#[derive(Debug)]
pub struct Index {
    connection: Connection,
}

impl Index {
    /// Opens for writing; makes the file and brings it up to date where needed.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        let open = |source| IndexError::Open { path: path.to_owned(), source };
        let mut connection = Connection::open(path).map_err(open)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(open)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(open)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(open)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(open)?;
        let found = user_version(&connection).map_err(open)?;
        if found > MIGRATIONS.len() {
            return Err(IndexError::Newer { path: path.to_owned(), found, known: MIGRATIONS.len() });
        }
        migrate(&mut connection, found..MIGRATIONS.len()).map_err(open)?;
        Ok(Self { connection })
    }

    /// Opens for reading; the file must exist and be of this version.
    ///
    /// It is opened as if for writing, where that is allowed: a connection that is not cannot remove
    /// `-wal` and `-shm` when it closes, and a copy of the folder would then not open everywhere.
    pub fn open_read_only(path: &Path) -> Result<Self, IndexError> {
        let open = |source| IndexError::Open { path: path.to_owned(), source };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(open)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(open)?;
        connection.pragma_update(None, "query_only", true).map_err(open)?;
        Self::checked(connection, path)
    }

    /// Opens for reading a file that nobody writes to, in a folder that may not be written to; makes no
    /// file beside it.
    pub fn open_immutable(path: &Path) -> Result<Self, IndexError> {
        let mut uri = String::from("file:");
        for byte in path.as_os_str().as_encoded_bytes() {
            match byte {
                b'/' | b'-' | b'_' | b'.' => uri.push(char::from(*byte)),
                byte if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
                byte => uri.push_str(&format!("%{byte:02X}")),
            }
        }
        uri.push_str("?immutable=1");
        let flags =
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let connection = Connection::open_with_flags(uri, flags)
            .map_err(|source| IndexError::Open { path: path.to_owned(), source })?;
        Self::checked(connection, path)
    }

    fn checked(connection: Connection, path: &Path) -> Result<Self, IndexError> {
        let open = |source| IndexError::Open { path: path.to_owned(), source };
        let known = MIGRATIONS.len();
        match user_version(&connection).map_err(open)? {
            found if found > known => Err(IndexError::Newer { path: path.to_owned(), found, known }),
            found if found < known => {
                let index = Self { connection };
                // To SQLite an empty file is a database, too.
                if found == 0 || index.definitions()? != Self::in_memory_of(found)?.definitions()? {
                    let damaged = ffi::Error::new(ffi::SQLITE_CORRUPT);
                    let what = format!("its tables are not those of version {found}");
                    return Err(open(rusqlite::Error::SqliteFailure(damaged, Some(what))));
                }
                Err(IndexError::Older { path: path.to_owned(), found, known })
            }
            _ => Ok(Self { connection }),
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
        Ok(Self { connection })
    }
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
