//! What a segment of unknown origin claims of its pages, looked at before anything is allocated for it.
//!
//! A page says how long it is unpacked and how many values are in it, and readers take its word: a few hundred bytes
//! may be two gigabytes of zeros, and a long text that stands once in a dictionary may be meant by each of a hundred
//! thousand rows. Whether the file is the one that its manifest names says nothing of that where both come from
//! elsewhere. So the heads of all pages are read first, which are small, and what no writer of ours would have written
//! is refused: lengths and numbers beyond what it keeps to, other encodings, and a page index that leads to other places
//! than those that were looked at.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use parquet::basic::{Compression, Type};
use parquet::column::reader::ColumnReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::schema::types::ColumnPath;

/// A page ends with the batch of rows in which it became long enough: 4 MiB and a row, whose payload is 64 MiB at most.
const PAGE_BYTES_MAX: u64 = 128 << 20;

/// Of a column in a row group: pages that are not the last one have 256 KiB, and so many of these no segment has.
const PAGES_MAX: usize = 1 << 16;

/// A page has at most 20,000 rows, whose lists have five hundred elements each on the whole. Elements of one bit fill
/// few bytes, and so end no page.
const PAGE_VALUES_MAX: u64 = 1 << 24;

/// Elements of all lists of a row group: five hundred for each of its rows.
const ELEMENTS_MAX: u64 = 1 << 26;

/// Of what stands in dictionaries: a batch of a thousand rows that mean the same is 256 MiB then. Of longer texts each
/// row's is counted.
const REPEATED_BYTES_MAX: usize = 256 << 10;

/// What the rows of a group may mean of such a column in any case. More has been taken out of payloads, which are no
/// shorter, and who reads rows has room for those.
const MEANT_BYTES_MAX: u64 = 16 << 20;

/// A page's head holds a few numbers, and perhaps the least and the greatest value.
const HEAD_BYTES_MAX: u64 = 64 << 10;

/// Why a segment cannot be read by us.
type Claim = String;

/// Looks at all pages of the segment at `path`.
pub fn check_claims(path: &Path) -> Result<(), Claim> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    let metadata = ParquetMetaDataReader::new()
        .with_page_index_policy(PageIndexPolicy::Optional)
        .parse_and_finish(&file)
        .map_err(|error| error.to_string())?;
    for (group, of_group) in metadata.row_groups().iter().enumerate() {
        let rows = u64::try_from(of_group.num_rows()).map_err(|_| "a row group has less than no rows")?;
        for (column, chunk) in of_group.columns().iter().enumerate() {
            let pages = pages(&file, length, chunk)?;
            let values: u64 = pages.iter().filter(|page| page.is_data).map(|page| page.values).sum();
            if chunk.column_descr().max_rep_level() == 0 && values != rows {
                return Err(format!("a column claims {values} values for {rows} rows"));
            }
            if values > ELEMENTS_MAX {
                return Err(format!("a column claims {values} values; {ELEMENTS_MAX} are the most"));
            }
            check_index(&metadata, (group, column), &pages)?;
            if has_long_texts(&file, chunk, &pages)? {
                let meant = meant(&file, group, |path| path == chunk.column_path())?;
                let received = |path: &ColumnPath| ["payload", "clear"].contains(&&*path.string());
                if meant > MEANT_BYTES_MAX && meant > self::meant(&file, group, received)? {
                    return Err(format!("a column means {meant} bytes, more than was received"));
                }
            }
        }
    }
    Ok(())
}

/// A page by its head.
#[derive(Debug, Default)]
struct Page {
    at: u64,
    head_bytes: u64,
    packed_bytes: u64,
    bytes: u64,
    values: u64,
    encoding: u64,
    is_data: bool,
}

/// The pages of a column in a row group, one behind the other.
fn pages(file: &File, length: u64, chunk: &ColumnChunkMetaData) -> Result<Vec<Page>, Claim> {
    let start = chunk.dictionary_page_offset().unwrap_or_else(|| chunk.data_page_offset());
    let place = u64::try_from(start).ok().zip(u64::try_from(chunk.compressed_size()).ok());
    let end = place.and_then(|(start, bytes)| start.checked_add(bytes)).filter(|end| *end <= length);
    let (Some((mut at, _)), Some(end)) = (place, end) else {
        return Err("a column lies outside the file".to_owned());
    };
    let mut pages = Vec::new();
    while at < end {
        let page = head(file, at, end)?.ok_or_else(|| format!("the head of a page at {at} is none"))?;
        // A dictionary comes first, and is the only one.
        if pages.len() == PAGES_MAX || !(page.is_data || pages.is_empty()) {
            return Err(format!("a column has a page at {at} that telereel does not write"));
        }
        let all = [
            ("bytes", page.bytes, PAGE_BYTES_MAX),
            ("values", page.values, PAGE_VALUES_MAX),
            ("bytes", page.packed_bytes, end - at - page.head_bytes),
        ];
        if let Some((what, claimed, most)) = all.into_iter().find(|(_, claimed, most)| claimed > most) {
            return Err(format!("a page claims {claimed} {what}; {most} are the most"));
        }
        // Plain, a dictionary's and its numbers, levels, small differences.
        if page.is_data && ![0, 2, 3, 5, 8].contains(&page.encoding) {
            return Err(format!("a page is of an encoding that telereel does not write ({})", page.encoding));
        }
        at += page.head_bytes + page.packed_bytes;
        pages.push(page);
    }
    Ok(pages)
}

/// The head of the page at `at`; none where there is none.
fn head(file: &File, at: u64, end: u64) -> Result<Option<Page>, Claim> {
    for most in [512, HEAD_BYTES_MAX] {
        let mut bytes = vec![0; most.min(end - at) as usize];
        file.read_exact_at(&mut bytes, at).map_err(|error| error.to_string())?;
        let mut thrift = Thrift(&bytes);
        if let Some(page) = thrift.page() {
            let head_bytes = (bytes.len() - thrift.0.len()) as u64;
            return Ok(Some(Page { at, head_bytes, ..page }));
        }
    }
    Ok(None)
}

/// A page index says the same of where pages are: who goes by it meets no others.
fn check_index(
    metadata: &ParquetMetaData,
    (group, column): (usize, usize),
    pages: &[Page],
) -> Result<(), Claim> {
    let index = metadata.page_index_for_row_group(group);
    let Some(places) = index.page_locations(column) else { return Ok(()) };
    let told = places.iter().map(|place| (place.offset, i64::from(place.compressed_page_size)));
    let found = pages.iter().filter(|page| page.is_data);
    let found = found.map(|page| (page.at as i64, (page.head_bytes + page.packed_bytes) as i64));
    if told.eq(found) { Ok(()) } else { Err("its page index tells of other pages than it has".to_owned()) }
}

/// Whether a text in its dictionary is so long that many rows together must not mean it.
fn has_long_texts(file: &File, chunk: &ColumnChunkMetaData, pages: &[Page]) -> Result<bool, Claim> {
    let Some(page) = pages.iter().find(|page| !page.is_data) else { return Ok(false) };
    if chunk.column_type() != Type::BYTE_ARRAY || page.bytes <= REPEATED_BYTES_MAX as u64 {
        return Ok(false);
    }
    let mut packed = vec![0; page.packed_bytes as usize];
    file.read_exact_at(&mut packed, page.at + page.head_bytes).map_err(|error| error.to_string())?;
    let values = match chunk.compression() {
        Compression::UNCOMPRESSED => packed,
        Compression::ZSTD(_) => {
            zstd::bulk::decompress(&packed, page.bytes as usize).map_err(|error| error.to_string())?
        }
        _ => return Err("it is compressed as telereel does not".to_owned()),
    };
    let (mut rest, mut longest) = (&values[..], 0);
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        rest = after.get(length..).ok_or("a dictionary is cut short")?;
        longest = longest.max(length);
    }
    Ok(longest > REPEATED_BYTES_MAX)
}

/// How many bytes the rows of a group mean in these columns, each row's counted. Read row by row: values are borrowed
/// from their pages, of which one is there at a time.
fn meant(file: &File, group: usize, wanted: impl Fn(&ColumnPath) -> bool) -> Result<u64, Claim> {
    let said = |error: ParquetError| error.to_string();
    let file = file.try_clone().map_err(|error| error.to_string())?;
    let reader = SerializedFileReader::new(file).map_err(said)?;
    let group = reader.get_row_group(group).map_err(said)?;
    let mut bytes = 0_u64;
    for (column, chunk) in group.metadata().columns().iter().enumerate() {
        if !wanted(chunk.column_path()) {
            continue;
        }
        let ColumnReader::ByteArrayColumnReader(mut values) =
            group.get_column_reader(column).map_err(said)?
        else {
            continue;
        };
        let (mut row, mut nulls, mut lists) = (Vec::new(), Vec::new(), Vec::new());
        while values.read_records(1, Some(&mut nulls), Some(&mut lists), &mut row).map_err(said)?.0 > 0 {
            bytes += row.drain(..).map(|value| value.len() as u64).sum::<u64>();
            nulls.clear();
            lists.clear();
        }
    }
    Ok(bytes)
}

/// Thrift's compact protocol, as far as heads of pages use it. What comes twice, or is not known, is no head of ours:
/// another reader might take it otherwise.
struct Thrift<'a>(&'a [u8]);

impl Thrift<'_> {
    fn page(&mut self) -> Option<Page> {
        let (mut page, mut sort, mut told) = (Page::default(), None, None);
        self.members(|thrift, id, kind| {
            match (id, kind) {
                (1, I32) => sort = Some(thrift.number()?),
                (2, I32) => page.bytes = thrift.number()?,
                (3, I32) => page.packed_bytes = thrift.number()?,
                (4, I32) => drop(thrift.varint()?),
                (5 | 7, STRUCT) if told.is_none() => {
                    told = Some(id);
                    thrift.members(|thrift, inner, kind| {
                        match (inner, kind) {
                            (1, I32) => page.values = thrift.number()?,
                            (2, I32) => page.encoding = thrift.number()?,
                            (_, I32) => drop(thrift.varint()?),
                            (_, TRUE | FALSE) => {}
                            (_, STRUCT) => thrift.members(|thrift, _, kind| thrift.skip(kind))?,
                            _ => return None,
                        }
                        Some(())
                    })?;
                }
                _ => return None,
            }
            Some(())
        })?;
        // Of the first version only, as segments are written, and each with the member that is its own.
        let is_known = [(0, 5), (2, 7)].contains(&(sort?, told?));
        page.is_data = sort == Some(0);
        is_known.then_some(page)
    }

    /// The members of a struct, in the order of their ids.
    fn members(&mut self, mut each: impl FnMut(&mut Self, i64, u8) -> Option<()>) -> Option<()> {
        let mut last = 0;
        loop {
            let head = *self.0.split_off_first()?;
            let (step, kind) = (i64::from(head >> 4), head & 15);
            if head == 0 {
                return Some(());
            }
            let id = if step == 0 { unzigzag(self.varint()?) } else { last + step };
            // Other readers keep 16 bits of it.
            if id <= last || id > i64::from(i16::MAX) {
                return None;
            }
            last = id;
            each(self, id, kind)?;
        }
    }

    fn skip(&mut self, kind: u8) -> Option<()> {
        match kind {
            TRUE | FALSE => Some(()),
            I32 | I64 => self.varint().map(drop),
            BINARY => {
                let length = usize::try_from(self.varint()?).ok()?;
                self.0.split_off(..length).map(drop)
            }
            _ => None,
        }
    }

    /// One that is not below zero.
    fn number(&mut self) -> Option<u64> {
        u64::try_from(unzigzag(self.varint()?)).ok()
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.0.split_off_first()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

const TRUE: u8 = 1;
const FALSE: u8 = 2;
const I32: u8 = 5;
const I64: u8 = 6;
const BINARY: u8 = 8;
const STRUCT: u8 = 12;

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
