//! Reels and the segments in them, of any bytes, and some that were made to take all memory.

use bytes::Bytes;
use parquet::file::metadata::{ParquetMetaDataReader, ParquetMetaDataWriter};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::archive::Archive;
use crate::archive::tests::support::quick_dir;
use crate::exchange::export::Unchanged;
use crate::exchange::import::{ImportOptions, plan};
use crate::exchange::tests::{archive_of, assert_clean, header, rows_to_keep};
use crate::fuzz::{Target, assert_words};
use crate::message::Row;

const BLOCK_BYTES: usize = 256 << 10;

/// A small reel, and what was packed into it.
struct Reel {
    folder: TempDir,
    root: PathBuf,
    manifest: PathBuf,
    segment: PathBuf,
}

impl Reel {
    fn new() -> Self {
        let folder = quick_dir();
        let mut header = header(1);
        header.sources.retain(|source| source.vendor == "generic");
        header.sources[0].kinds.retain(|kind| kind.name == "message");
        let rows: Vec<Row> = rows_to_keep(&header).into_iter().take(10).collect();
        let (archive, _) = archive_of(&folder.path().join("a"), &header, &rows);
        let (file, root) = (folder.path().join("x.reel"), folder.path().join("root"));
        write(&archive, &ScanOptions::default(), &file, &mut Unchanged, &|_, _| ()).unwrap();
        fs::create_dir(&root).unwrap();
        unpack(&file, &root).unwrap();
        let found = |name: &str, extension: &str| {
            let mut found = Vec::new();
            collect(&root.join(name), extension, &mut found).unwrap();
            found.retain(|path| !path.ends_with("schema.parquet"));
            found.remove(0)
        };
        let (manifest, segment) = (found("manifests", "json"), found("data", "parquet"));
        Self { folder, root, manifest, segment }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("x.reel")
    }

    /// With other bytes as its segment, and a manifest that vouches for them.
    fn with_segment(&self, bytes: &[u8], change: impl FnOnce(&mut Value)) -> PathBuf {
        let before = fs::read(&self.manifest).unwrap();
        let mut manifest: Value = serde_json::from_slice(&before).unwrap();
        let blocks: String =
            bytes.chunks(BLOCK_BYTES).map(|block| blake3::hash(block).to_hex()[..32].to_owned()).collect();
        let file = &mut manifest["files"][0];
        file["bytes"] = json!(bytes.len());
        file["blake3"] = json!(blake3::hash(bytes).to_string());
        file["blocks"] = json!({"bytes": BLOCK_BYTES, "blake3": blocks});
        change(file);
        // As of an early version, which had none.
        manifest.as_object_mut().unwrap().remove("checksum");
        fs::write(&self.manifest, manifest.to_string()).unwrap();
        fs::write(&self.segment, bytes).unwrap();
        pack(&self.root, &mut File::create(self.file()).unwrap()).unwrap();
        fs::write(&self.manifest, before).unwrap();
        self.file()
    }
}

/// Opens a reel, reads all of it and takes it in. Whether it was a good one.
fn is_read_or_refused(file: &Path, size: usize) -> bool {
    let unpacked = match open(file) {
        Ok(unpacked) => unpacked,
        Err(error) => {
            let mut said = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                said += &format!(": {cause}");
                source = cause.source();
            }
            assert!(said.len() <= 4_096 + 8 * size, "{said}");
            return false;
        }
    };
    let mut rows = 0_u64;
    for row in scan(unpacked.archive(), &ScanOptions::default()).unwrap() {
        match row {
            Ok(_) => rows += 1,
            Err(error) => {
                assert_words(&error.to_string(), size);
                return false;
            }
        }
    }
    let folder = quick_dir();
    let archive = Archive::create_or_open(folder.path().join("b"), "").unwrap();
    match plan(file, ImportOptions::default(), &|_, _| ()).and_then(|plan| plan.take(&archive, &|_, _| ())) {
        Ok(imported) => {
            assert_eq!(imported.iter().map(|session| session.messages).sum::<u64>(), rows);
            assert_clean(&archive);
        }
        Err(error) => assert_words(&error.to_string(), size),
    }
    rows > 0
}

/// Makes the checksums of heads right.
fn sum(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(512).filter(|block| &block[257..262] == b"ustar") {
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..156].copy_from_slice(&format!("{sum:06o}\0 ").as_bytes()[..8]);
    }
}

#[test]
fn hostile_reels_are_whole_or_refused() {
    let reel = Reel::new();
    let right = fs::read(reel.file()).unwrap();
    let words =
        ["../", "/etc/x", "data/vendor=", "seq_end", "rows", "removed", "importing", "clips", "latest"];
    let target = Target::new("reels").cases(30).inputs([right]).words(&words).mend(sum);
    target.memory(96 << 20, 1_024).run(|bytes| {
        fs::write(reel.file(), bytes).unwrap();
        is_read_or_refused(&reel.file(), bytes.len())
    });
}

/// Parquet is not ours, and what reads it may give up by a panic: that is an error like any other then.
#[test]
fn hostile_segments_are_read_or_refused() {
    let reel = Reel::new();
    let right = fs::read(&reel.segment).unwrap();
    let target = Target::new("segments").cases(60).inputs([right]).words(&[
        "PAR1",
        "\x15\x00",
        "\x2c",
        "\x4c",
        "ARROW:schema",
    ]);
    target.memory(96 << 20, 4_096).run(|bytes| {
        let file = reel.with_segment(bytes, |_| ());
        is_read_or_refused(&file, bytes.len())
    });
}

fn varint(out: &mut Vec<u8>, value: u64) {
    let mut rest = value << 1;
    while rest > 0x7F {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// A page with its head: a dictionary where `encoding` is none.
fn page(body: &[u8], bytes: u64, values: u64, encoding: Option<u64>) -> Vec<u8> {
    page_with(body, bytes, values, encoding, [&[], &[]])
}

/// The same with more members: of what is told of its kind, and behind that.
fn page_with(body: &[u8], bytes: u64, values: u64, encoding: Option<u64>, more: [&[u8]; 2]) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, head) in
        [(if encoding.is_some() { 0 } else { 2 }, 0x15), (bytes, 0x15), (body.len() as u64, 0x15)]
    {
        out.push(head);
        varint(&mut out, number);
    }
    out.extend_from_slice(if encoding.is_some() { &[0x2C, 0x15] } else { &[0x4C, 0x15] });
    varint(&mut out, values);
    out.push(0x15);
    varint(&mut out, encoding.unwrap_or(0));
    if encoding.is_some() {
        out.extend_from_slice(&[0x15, 6, 0x15, 6]);
    }
    out.extend_from_slice(&[more[0], &[0], more[1], &[0], body].concat());
    out
}

/// The segment with these pages in place of those of a column.
fn with_pages(segment: &[u8], column: &str, dictionary: Option<&[u8]>, data: &[u8]) -> Vec<u8> {
    let (mut out, at) = (segment.to_vec(), segment.len() as i64);
    out.extend_from_slice(dictionary.unwrap_or_default());
    let data_at = out.len() as i64;
    out.extend_from_slice(data);
    let bytes = out.len() as i64 - at;
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&Bytes::copy_from_slice(segment)).unwrap();
    let mut builder = metadata.into_builder();
    for group in builder.take_row_groups() {
        let mut group = group.into_builder();
        let columns = group.take_columns().into_iter().map(|chunk| {
            if chunk.column_path().string() != column {
                return chunk;
            }
            let chunk = chunk.into_builder().set_data_page_offset(data_at).set_total_compressed_size(bytes);
            let chunk = chunk.set_dictionary_page_offset(dictionary.map(|_| at));
            chunk.set_offset_index_offset(None).set_column_index_offset(None).build().unwrap()
        });
        let columns = columns.collect();
        builder = builder.add_row_group(group.set_column_metadata(columns).build().unwrap());
    }
    ParquetMetaDataWriter::new(&mut out, &builder.build()).finish().unwrap();
    out
}

#[test]
fn a_reel_that_claims_all_memory_is_refused_and_takes_little() {
    let reel = Reel::new();
    let right = fs::read(&reel.segment).unwrap();
    let zeros = zstd::stream::encode_all(io::repeat(0).take(256 << 20), 1).unwrap();
    let small = zstd::bulk::compress(&[0; 64], 1).unwrap();
    let text = [&(2_u32 << 20).to_le_bytes()[..], &vec![b'x'; 2 << 20]].concat();
    let dictionary = page(&zstd::bulk::compress(&text, 1).unwrap(), text.len() as u64, 1, None);
    let made = |column: &str, page: Vec<u8>| with_pages(&right, column, None, &page);
    // Ten rows that mean the first text of the dictionary, in numbers of one bit.
    let meant = page(&zstd::bulk::compress(&[1, 10 << 1, 0], 1).unwrap(), 3, 10, Some(8));
    // Heads that two readers understand in two ways, and what is skipped by one of them.
    let hidden = |id: u64, then: &[u8]| {
        let mut more = vec![0x05];
        varint(&mut more, id);
        varint(&mut more, i32::MAX as u64);
        more.extend_from_slice(then);
        made("channel", page_with(&small, 64, 10, Some(0), [&more, &[]]))
    };
    let other_kind = page_with(&small, 64, i32::MAX as u64, Some(0), [&[], &[0x3C, 0x15, 10 << 1, 0]]);
    let index = [0x15, 2, 0x15, 0, 0x15, 0, 0x3C, 0, 0];
    let behind_index = [&index[..], &dictionary].concat();
    let another = page(&small, 64, 1, None);
    let all = [
        (hidden(65_537, &[]), "the head of a page"),
        (hidden((1 << 63) - 1, &[0x15, 0]), "the head of a page"),
        (made("channel", other_kind), "the head of a page"),
        (with_pages(&right, "channel", Some(&behind_index), &meant), "the head of a page"),
        (with_pages(&right, "channel", Some(&another), &[&dictionary[..], &meant].concat()), "has a page at"),
        (made("channel", page(&[], 0, 0, Some(0)).repeat((1 << 16) + 1)), "has a page at"),
        (made("payload", page(&small, i32::MAX as u64, 10, Some(0))), "a page claims 2147483647 bytes"),
        (made("payload", page(&zeros, 256 << 20, 10, Some(0))), "a page claims 268435456 bytes"),
        (made("payload", page(&small, 64, i32::MAX as u64, Some(0))), "a page claims 2147483647 values"),
        (made("payload", page(&small, 64, 11, Some(0))), "a column claims 11 values for 10 rows"),
        (made("channel", page(&small, 64, 10, Some(7))), "an encoding that telereel does not write"),
        (
            with_pages(&right, "channel", Some(&dictionary), &meant),
            "a column means 20971520 bytes, more than was received",
        ),
    ];
    for (bytes, said) in &all {
        let file = reel.with_segment(bytes, |_| ());
        let mut refused = String::new();
        let counted = allocation_counter::measure(|| refused = open(&file).unwrap_err().to_string());
        assert!(refused.contains("is damaged") && refused.contains(said), "{refused}");
        assert!(counted.bytes_max < 8 << 20, "{refused}: {} bytes", counted.bytes_max);
    }
    // Blocks as long as the file, so that all of it is read at once.
    let file = reel.with_segment(&right, |file| {
        file["blocks"] = json!({"bytes": 1_u64 << 40, "blake3": blake3::hash(&right).to_hex()[..32]});
    });
    let refused = open(&file).unwrap_err().to_string();
    assert!(refused.contains("its blocks are not those"), "{refused}");
    open(&reel.with_segment(&right, |_| ())).unwrap();
}
