//! Files to import, of any bytes.

use super::*;
use crate::exchange::ExchangeError;
use crate::exchange::csv::CsvReader;
use crate::exchange::tar;
use crate::fuzz::{Target, assert_words};

/// A few rows of each sort, and what they are in every format.
struct Rows {
    _folder: tempfile::TempDir,
    archive: Archive,
}

impl Rows {
    fn new() -> Self {
        let folder = quick_dir();
        let mut header = header(1);
        header.sources.retain(|source| source.vendor == "jointech");
        let rows: Vec<Row> = rows_to_keep(&header).into_iter().take(12).collect();
        let (archive, _) = archive_of(&folder.path().join("a"), &header, &rows);
        Self { _folder: folder, archive }
    }

    fn as_format(&self, format: Format) -> Vec<u8> {
        let mut bytes = Vec::new();
        let out = (&mut bytes, Path::new("out"));
        let options = ScanOptions::default();
        super::super::export::stream(&self.archive, &options, format, out, &mut Unchanged, &|_, _| ())
            .unwrap();
        bytes
    }
}

fn words_of(error: &ExchangeError) -> String {
    let mut words = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        words += &format!(": {cause}");
        source = cause.source();
    }
    words
}

/// Looks a file through; takes in one of thirty, and finds in the archive what was said to come.
fn imports(folder: &Path, bytes: &[u8], options: &ImportOptions) -> bool {
    let path = folder.join("in");
    std::fs::write(&path, bytes).unwrap();
    let planned = match plan(&path, options.clone(), &|_, _| ()) {
        Ok(planned) => planned,
        Err(error) => {
            assert_words(&words_of(&error), bytes.len());
            return false;
        }
    };
    assert!(planned.described.len() as u64 <= planned.bad);
    for described in &planned.described {
        assert_words(described, bytes.len());
        assert!(!described.contains(char::is_control), "it steers a terminal: {}", described.escape_debug());
    }
    if planned.messages > 0 && crc32fast::hash(bytes).is_multiple_of(30) {
        let archive = Archive::create_or_open(folder.join("a"), "").unwrap();
        match planned.take(&archive, &|_, _| ()) {
            Ok(imported) => {
                assert_eq!(imported.iter().map(|session| session.messages).sum::<u64>(), planned.messages);
                assert_clean(&archive);
                assert_eq!(all(&archive).len() as u64, planned.messages);
            }
            Err(error) => assert_words(&words_of(&error), bytes.len()),
        }
        std::fs::remove_dir_all(folder.join("a")).unwrap();
    }
    planned.bad == 0 && planned.messages > 0
}

#[test]
fn hostile_lines_are_taken_in_as_they_are_or_told() {
    let (rows, folder) = (Rows::new(), quick_dir());
    let options = ImportOptions { format: Some(Format::Jsonl), ..ImportOptions::default() };
    let words = [
        "\"received_at\":",
        "\"payload_base64\":",
        "\"payload_hex\":\"0g\"",
        "\"seq\":",
        "\"elapsed_ns\":",
        "\"session_id\":",
        "\"vendor\":\"generic\"",
        "\"kind\":\"../x\"",
        "\"source\":",
        "\"tst\":",
        "\"topic\":",
        "\"payloadlen\":",
        "\"headers\":{}",
        "2026-11-22T11:37:20.851978Z+0000",
        "+262143-12-31T23:59:59Z",
        "\"duplicate_of\":",
        "\"connection\":",
        "\"\\ud83d\"",
    ];
    let target = Target::new("jsonl").cases(600).inputs([rows.as_format(Format::Jsonl)]).words(&words);
    target.memory(64 << 20, 1_024).run(|bytes| imports(folder.path(), bytes, &options));
}

#[test]
fn hostile_tables_are_taken_in_as_they_are_or_told() {
    let (rows, folder) = (Rows::new(), quick_dir());
    let ours = ImportOptions { format: Some(Format::Csv), ..ImportOptions::default() };
    let map = [("time", "received_at"), ("dev", "channel")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    let mapped = ImportOptions { map: map.into(), ..ours.clone() };
    let words = [
        "received_at",
        "payload",
        "payload_base64",
        "headers",
        "seq",
        "\"\"",
        "\",\"",
        ",,,,",
        "\r\n\r\n",
        "time",
        "dev",
    ];
    let target = Target::new("csv").cases(600).inputs([rows.as_format(Format::Csv)]).words(&words);
    target.memory(64 << 20, 1_024).run(|bytes| {
        let mut reader = CsvReader::new(bytes, 0, 1);
        let mut read = 0;
        while let Some(record) = reader.next().unwrap() {
            match record {
                Ok(cells) => read += cells.iter().flatten().map(Vec::len).sum::<usize>(),
                Err(what) => assert_words(&what, 0),
            }
        }
        assert_eq!(reader.offset, bytes.len() as u64);
        assert!(read <= bytes.len());
        let options = if bytes.starts_with(b"time") { &mapped } else { &ours };
        imports(folder.path(), bytes, options)
    });
}

/// Chunks without compression, as others write them: a blind edit of packed bytes only ever finds that they are.
fn plain_mcap() -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let record = |op: u8, body: &[u8]| [&[op][..], &(body.len() as u64).to_le_bytes(), body].concat();
    let meta = [text("telereel.vendor"), text("generic")].concat();
    let map = [&(meta.len() as u32).to_le_bytes()[..], &meta].concat();
    let channel = record(4, &[vec![1, 0, 0, 0], text("a/b"), text("json"), map].concat());
    let message = |at: u64| {
        let head = [&[1, 0][..], &[0; 4], &at.to_le_bytes(), &at.to_le_bytes()].concat();
        record(5, &[&head[..], b"{\"x\":1}"].concat())
    };
    let records = [channel, message(1_700_000_000_000_000_000), message(1_700_000_000_000_000_001)].concat();
    let size = (records.len() as u64).to_le_bytes();
    let chunk = [&[0; 16][..], &size, &[0; 4], &text(""), &size, &records].concat();
    let session = [text("telereel.session"), 0_u32.to_le_bytes().to_vec()].concat();
    let magic = b"\x89MCAP0\r\n".to_vec();
    let end = record(15, &[0; 4]);
    [
        magic.clone(),
        record(1, &[text(""), text("us")].concat()),
        record(6, &chunk),
        record(12, &session),
        end,
        magic,
    ]
    .concat()
}

#[test]
fn hostile_mcap_files_are_taken_in_as_they_are_or_told() {
    let (rows, folder) = (Rows::new(), quick_dir());
    let options = ImportOptions { format: Some(Format::Mcap), ..ImportOptions::default() };
    let target = Target::new("mcap").cases(600).inputs([rows.as_format(Format::Mcap), plain_mcap()]);
    let words = [
        "\x01",
        "\x04",
        "\x05",
        "\x06",
        "\x09",
        "\x0c",
        "\x0f",
        "zstd",
        "lz4",
        "telereel.session",
        "sidecar",
    ];
    // A chunk of what is packed may be a hundred times as much.
    target.words(&words).memory(96 << 20, 4_096).run(|bytes| imports(folder.path(), bytes, &options));
}

/// Makes the checksums of heads right.
fn sum(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(512).filter(|block| &block[257..262] == b"ustar") {
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes().get(..8).unwrap());
    }
}

#[test]
fn hostile_tar_heads_are_read_or_refused_in_words() {
    let mut right = Vec::new();
    for (name, size) in [("archive.json", 3_u64), (&*format!("data/{}/x.parquet", "k".repeat(120)), 700)] {
        tar::write_head(&mut right, name, size).unwrap();
        right.resize(right.len() + size as usize, b'x');
        tar::pad(&mut right, size).unwrap();
    }
    tar::write_end(&mut right).unwrap();
    let words = ["../", "/etc/x", "ustar\0", "ustar  ", "777777777777", "-1", "5", "\u{80}"];
    Target::new("tar").inputs([right]).words(&words).mend(sum).run(|bytes| {
        let mut rest = bytes;
        loop {
            match tar::read_head(&mut rest) {
                Ok(None) => return true,
                Ok(Some(entry)) => {
                    assert!(entry.size < 1 << 62 && entry.name.len() <= 256);
                    let Some(after) = usize::try_from(entry.size).ok().and_then(|size| rest.get(size..))
                    else {
                        return false;
                    };
                    rest = after;
                    if tar::skip_padding(&mut rest, entry.size).is_err() {
                        return false;
                    }
                }
                Err(error) => {
                    assert_words(&error.to_string(), 0);
                    return false;
                }
            }
        }
    });
}
