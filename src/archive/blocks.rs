//! Checksums of a segment's blocks: what a reader takes of a large file is checked without reading all of it.
//!
//! A scan that begins in the middle of a segment reads some pages of it, and must not wait for a checksum of the
//! whole, which grows with the file. So a manifest holds one for each block of [`BLOCK_BYTES`] beside that of
//! the file, and [`CheckedFile`] reads through them: it checks each block before the first byte of it is given out.
//! What no reader asks for is not looked at; `verify` looks at everything.
//!
//! Where a manifest has none (it was written by an earlier version), the whole file is checked when it is opened.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use serde::{Deserialize, Serialize};

use super::durable::checksum;
use super::error::{ArchiveError, IoContext};
use super::manifest::ManifestFile;

/// The length of a block. A reader of a row here and there checks one for each column, so they are small; each
/// costs a manifest 32 characters, 128 KiB for a segment of 1 GiB.
pub(super) const BLOCK_BYTES: u64 = 256 << 10;

/// Another version may have chosen another length. What is read at once is at least that.
const BLOCK_BYTES_MAX: u64 = 4 << 20;

/// Of each block's BLAKE3, so many bytes: enough against damage.
const SUM_BYTES: usize = 16;

/// What is read for a page's header, which says how long it is only as it is read.
const HEADER_BYTES: u64 = 512;

type Sum = [u8; SUM_BYTES];

/// The checksums of one file, as its manifest holds them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockSums {
    /// The length of a block; the last one may be shorter.
    pub bytes: u64,
    /// The first 16 bytes of each block's BLAKE3, one after the other, in hexadecimal.
    pub blake3: String,
}

impl BlockSums {
    /// None if they are no checksums of ours.
    fn sums(&self) -> Option<Vec<Sum>> {
        if !(1..=BLOCK_BYTES_MAX).contains(&self.bytes) {
            return None;
        }
        let digits = self.blake3.as_bytes().chunks(2 * SUM_BYTES);
        digits.map(|digits| blake3_prefix(std::str::from_utf8(digits).ok()?)).collect()
    }
}

fn blake3_prefix(digits: &str) -> Option<Sum> {
    let mut sum = Sum::default();
    if digits.len() != 2 * SUM_BYTES || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in sum.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
    }
    Some(sum)
}

fn sum_of(hash: &blake3::Hash) -> Sum {
    let mut sum = Sum::default();
    sum.copy_from_slice(&hash.as_bytes()[..SUM_BYTES]);
    sum
}

/// Both kinds of checksums of bytes that come one after the other.
#[derive(Debug, Default)]
pub(super) struct Summing {
    whole: blake3::Hasher,
    block: blake3::Hasher,
    blocks: String,
    bytes: u64,
}

impl Summing {
    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        self.whole.update(bytes);
        while !bytes.is_empty() {
            let room = BLOCK_BYTES - self.bytes % BLOCK_BYTES;
            let (now, rest) = bytes.split_at(bytes.len().min(room as usize));
            self.block.update(now);
            self.bytes += now.len() as u64;
            if self.bytes.is_multiple_of(BLOCK_BYTES) {
                self.end_block();
            }
            bytes = rest;
        }
    }

    fn end_block(&mut self) {
        let digits = self.block.finalize().to_hex();
        self.blocks.push_str(&digits[..2 * SUM_BYTES]);
        self.block.reset();
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// That of the whole, in hexadecimal, and those of the blocks.
    pub(super) fn finish(mut self) -> (String, BlockSums) {
        if !self.bytes.is_multiple_of(BLOCK_BYTES) {
            self.end_block();
        }
        (self.whole.finalize().to_string(), BlockSums { bytes: BLOCK_BYTES, blake3: self.blocks })
    }
}

/// Whether a file's blocks are those that `sums` tells of.
pub(super) fn are_of(sums: &BlockSums, path: &Path) -> io::Result<bool> {
    let Some(known) = sums.sums() else { return Ok(false) };
    let file = File::open(path)?;
    let mut known = known.iter();
    loop {
        let mut block = Vec::new();
        (&file).take(sums.bytes).read_to_end(&mut block)?;
        match known.next() {
            _ if block.is_empty() => return Ok(known.next().is_none()),
            Some(sum) if *sum == sum_of(&blake3::hash(&block)) => {}
            _ => return Ok(false),
        }
    }
}

/// A segment to read, of which nothing is given out that is not what its manifest tells of.
#[derive(Clone, Debug)]
pub(super) struct CheckedFile(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// None where the whole has been checked.
    blocks: Option<Blocks>,
    is_damaged: AtomicBool,
    /// Why the disk or the system did not give it; a reader makes a text of that, which says nothing to programs.
    failed: Mutex<Option<io::Error>>,
}

#[derive(Debug)]
struct Blocks {
    bytes: u64,
    /// Of each block: what it is to be, until it was found to be so.
    unchecked: Mutex<Vec<Option<Sum>>>,
}

impl CheckedFile {
    /// Opens the segment at `path`, which its part's manifest names so.
    pub(super) fn open(path: &Path, named: &ManifestFile) -> Result<Self, ArchiveError> {
        let damaged = |what: &str| ArchiveError::DamagedSegment { path: path.to_owned(), what: what.into() };
        let file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(damaged("the file is missing")),
            file => file.doing("open", path)?,
        };
        let bytes = file.metadata().doing("look at", path)?.len();
        if bytes != named.bytes {
            return Err(damaged("its length is not that of its manifest"));
        }
        let blocks = match &named.blocks {
            Some(sums) => {
                let known = sums.sums().filter(|known| bytes.div_ceil(sums.bytes) == known.len() as u64);
                let known =
                    known.ok_or_else(|| damaged("its manifest's checksums are not those of a file"))?;
                let unchecked = Mutex::new(known.into_iter().map(Some).collect());
                Some(Blocks { bytes: sums.bytes, unchecked })
            }
            None if checksum(path).doing("read", path)? == named.blake3 => None,
            None => return Err(damaged(NOT_OF_MANIFEST)),
        };
        Ok(Self::new(path, file, bytes, blocks))
    }

    /// Opens a segment that is to be read as it is: all of it has been checked, or there is nothing to check it by.
    pub(super) fn open_unchecked(path: &Path) -> Result<Self, ArchiveError> {
        let file = File::open(path).doing("open", path)?;
        let bytes = file.metadata().doing("look at", path)?.len();
        Ok(Self::new(path, file, bytes, None))
    }

    fn new(path: &Path, file: File, bytes: u64, blocks: Option<Blocks>) -> Self {
        let (is_damaged, failed) = (AtomicBool::new(false), Mutex::default());
        Self(Arc::new(Inner { path: path.to_owned(), file, bytes, blocks, is_damaged, failed }))
    }

    pub(super) fn damaged(&self, what: String) -> ArchiveError {
        ArchiveError::DamagedSegment { path: self.0.path.clone(), what }
    }

    /// Why reading failed: damage, if any was found, what the system said, else what the reader says.
    pub(super) fn failed(&self, source: ParquetError) -> ArchiveError {
        let failed = self.0.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(source) = failed {
            return ArchiveError::Io { action: "read", path: self.0.path.clone(), source };
        }
        match self.0.is_damaged.load(Ordering::Relaxed) {
            true => self.damaged(NOT_OF_MANIFEST.to_owned()),
            false => ArchiveError::ReadSegment { path: self.0.path.clone(), source },
        }
    }
}

const NOT_OF_MANIFEST: &str = "its checksum is not that of its manifest";

impl Inner {
    fn read(&self, start: u64, length: u64) -> io::Result<Bytes> {
        let end = start.checked_add(length).filter(|end| *end <= self.bytes);
        let end = end.ok_or(ErrorKind::UnexpectedEof)?;
        let Some(blocks) = &self.blocks else { return self.read_as_it_is(start, end) };
        let (first, last) = (start / blocks.bytes, end.div_ceil(blocks.bytes));
        let mut unchecked = blocks.unchecked.lock().unwrap_or_else(PoisonError::into_inner);
        let of_range = &mut unchecked[first as usize..last as usize];
        if of_range.iter().all(Option::is_none) {
            drop(unchecked);
            return self.read_as_it_is(start, end);
        }
        let from = first * blocks.bytes;
        let read = self.read_as_it_is(from, (last * blocks.bytes).min(self.bytes))?;
        for (sum, block) in of_range.iter_mut().zip(read.chunks(blocks.bytes as usize)) {
            if sum.is_some_and(|sum| sum != sum_of(&blake3::hash(block))) {
                self.is_damaged.store(true, Ordering::Relaxed);
                return Err(io::Error::new(ErrorKind::InvalidData, NOT_OF_MANIFEST));
            }
            *sum = None;
        }
        // A copy: what is kept of a page is not to keep its blocks.
        Ok(Bytes::copy_from_slice(&read[(start - from) as usize..(end - from) as usize]))
    }

    fn read_as_it_is(&self, start: u64, end: u64) -> io::Result<Bytes> {
        let mut bytes = vec![0; (end - start) as usize];
        self.file.read_exact_at(&mut bytes, start).map_err(|error| {
            let kind = error.kind();
            // Shorter than it says: that is damage.
            if kind != ErrorKind::UnexpectedEof {
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
            io::Error::from(kind)
        })?;
        Ok(bytes.into())
    }
}

impl Length for CheckedFile {
    fn len(&self) -> u64 {
        self.0.bytes
    }
}

impl ChunkReader for CheckedFile {
    type T = CheckedRead;

    fn get_read(&self, start: u64) -> Result<CheckedRead, ParquetError> {
        Ok(CheckedRead { file: self.clone(), at: start, ahead: Bytes::new() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        Ok(self.0.read(start, length as u64)?)
    }
}

/// A segment from one place on.
#[derive(Debug)]
pub(super) struct CheckedRead {
    file: CheckedFile,
    at: u64,
    ahead: Bytes,
}

impl Read for CheckedRead {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.ahead.is_empty() {
            let length = HEADER_BYTES.max(into.len() as u64).min(self.file.len().saturating_sub(self.at));
            self.ahead = self.file.0.read(self.at, length)?;
            self.at += length;
        }
        let taken = self.ahead.split_to(into.len().min(self.ahead.len()));
        into[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three blocks and a bit, in a file.
    fn file(folder: &Path) -> (PathBuf, Vec<u8>, BlockSums) {
        let bytes: Vec<u8> = (0..3 * BLOCK_BYTES + 1_000).map(|n| (n / 7) as u8 ^ (n >> 11) as u8).collect();
        let mut summing = Summing::default();
        bytes.chunks(100_003).for_each(|bytes| summing.update(bytes));
        assert_eq!(summing.bytes(), bytes.len() as u64);
        let (whole, sums) = summing.finish();
        assert_eq!(whole, blake3::hash(&bytes).to_string());
        let path = folder.join("segment");
        std::fs::write(&path, &bytes).unwrap();
        (path, bytes, sums)
    }

    fn named(bytes: &[u8], blocks: Option<BlockSums>) -> ManifestFile {
        ManifestFile {
            path: "segment".into(),
            vendor: "".into(),
            kind: "".into(),
            date: "".into(),
            rows: 0,
            seq_min: 0,
            seq_max: 0,
            elapsed_min_ns: 0,
            elapsed_max_ns: 0,
            received_min_us: 0,
            received_max_us: 0,
            bytes: bytes.len() as u64,
            payload_bytes: 0,
            blake3: blake3::hash(bytes).to_string(),
            blocks,
            sources: Vec::new(),
        }
    }

    #[test]
    fn any_range_of_a_whole_file_is_given() {
        let dir = tempfile::tempdir().unwrap();
        let (path, bytes, sums) = file(dir.path());
        assert_eq!(sums.blake3.len(), 4 * 2 * SUM_BYTES);
        for blocks in [Some(sums), None] {
            let file = CheckedFile::open(&path, &named(&bytes, blocks)).unwrap();
            assert_eq!(Length::len(&file), bytes.len() as u64);
            let block = BLOCK_BYTES as usize;
            for range in [0..1, block - 1..block + 1, 5..bytes.len(), bytes.len() - 8..bytes.len(), 9..9] {
                let found = file.get_bytes(range.start as u64, range.len()).unwrap();
                assert_eq!(found, bytes[range.clone()]);
                let mut found = vec![0; range.len()];
                file.get_read(range.start as u64).unwrap().read_exact(&mut found).unwrap();
                assert_eq!(found, bytes[range]);
            }
            assert!(file.get_bytes(bytes.len() as u64 - 8, 9).is_err());
            assert!(file.get_bytes(u64::MAX, 9).is_err());
        }
    }

    #[test]
    fn of_a_changed_block_nothing_is_given() {
        let dir = tempfile::tempdir().unwrap();
        let (path, bytes, sums) = file(dir.path());
        for at in [0, BLOCK_BYTES - 1, BLOCK_BYTES, 3 * BLOCK_BYTES, bytes.len() as u64 - 1] {
            let mut changed = bytes.clone();
            changed[at as usize] ^= 1;
            std::fs::write(&path, &changed).unwrap();
            assert!(!are_of(&sums, &path).unwrap());
            let opened = CheckedFile::open(&path, &named(&bytes, None));
            assert!(matches!(opened, Err(ArchiveError::DamagedSegment { .. })), "{opened:?}");
            let file = CheckedFile::open(&path, &named(&bytes, Some(sums.clone()))).unwrap();
            for block in 0..4 {
                let is_whole = at / BLOCK_BYTES != block;
                // Any place of it, and again.
                for place in [block * BLOCK_BYTES, block * BLOCK_BYTES + 999] {
                    assert_eq!(file.get_bytes(place, 1).is_ok(), is_whole, "{at} {place}");
                }
            }
            assert!(file.get_bytes(0, bytes.len()).is_err());
            let error = file.failed(ParquetError::General(String::new()));
            assert!(matches!(error, ArchiveError::DamagedSegment { .. }));
        }
    }

    #[test]
    fn another_length_and_other_sums_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (path, bytes, sums) = file(dir.path());
        assert!(are_of(&sums, &path).unwrap());
        let is_refused = |named: &ManifestFile| {
            matches!(CheckedFile::open(&path, named), Err(ArchiveError::DamagedSegment { .. }))
        };
        assert!(is_refused(&named(&bytes[1..], Some(sums.clone()))));
        for digits in
            [&sums.blake3[1..], &sums.blake3[32..], "", &sums.blake3.replace(&sums.blake3[..1], "x")]
        {
            let sums = BlockSums { blake3: digits.to_owned(), ..sums.clone() };
            assert!(is_refused(&named(&bytes, Some(sums.clone()))), "{digits}");
            assert!(!are_of(&sums, &path).unwrap());
        }
        for length in [0, BLOCK_BYTES_MAX + 1, u64::MAX] {
            let sums = BlockSums { bytes: length, ..sums.clone() };
            assert!(is_refused(&named(&bytes, Some(sums.clone()))), "{length}");
            assert!(!are_of(&sums, &path).unwrap());
        }
    }
}
