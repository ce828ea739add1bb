//! The little of tar (POSIX ustar) that a reel needs: files with relative names, one after another.
//!
//! ```text
//! 0 name 100 · 100 mode 8 · 108 uid 8 · 116 gid 8 · 124 size 12 · 136 mtime 12 · 148 checksum 8 · 156 type 1
//! 157 link 100 · 257 "ustar\0" 6 · 263 "00" 2 · 265 user 32 · 297 group 32 · 329 dev 16 · 345 prefix 155
//! ```
//!
//! Numbers are octal; a size of 8 GiB or more is binary, as GNU tar has it. A file's bytes are padded to 512; two
//! empty blocks end it all.

use std::io::{self, Read, Write};

const BLOCK: usize = 512;

/// Whole seconds; the same in every reel, so that the same messages give the same bytes: 2000-01-01.
const MTIME_S: u64 = 946_684_800;

/// Why a name or a block is none.
fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Writes a file's header; its `size` bytes follow, and then [`pad`].
pub(super) fn write_head(out: &mut impl Write, name: &str, size: u64) -> io::Result<()> {
    let mut block = [0_u8; BLOCK];
    let (prefix, name) =
        split(name).ok_or_else(|| invalid(format!("the name {name} is too long for tar")))?;
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[345..345 + prefix.len()].copy_from_slice(prefix.as_bytes());
    octal(&mut block[100..108], 0o644);
    octal(&mut block[108..116], 0);
    octal(&mut block[116..124], 0);
    if size < 1 << 33 {
        octal(&mut block[124..136], size);
    } else {
        block[124] = 0x80;
        block[128..136].copy_from_slice(&size.to_be_bytes());
    }
    octal(&mut block[136..148], MTIME_S);
    block[156] = b'0';
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum = checksum(&block);
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.write_all(&block)
}

/// Fills up the last block of a file of `size` bytes.
pub(super) fn pad(out: &mut impl Write, size: u64) -> io::Result<()> {
    out.write_all(&[0; BLOCK][..padding(size)])
}

/// Ends the file.
pub(super) fn write_end(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK])
}

/// One entry as its header tells it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: String,
    pub size: u64,
    /// A plain file, and no folder, link or device.
    pub is_file: bool,
}

/// Reads the next header; none at the end. The caller reads the entry's bytes and its [padding](skip_padding).
pub(super) fn read_head(file: &mut impl Read) -> io::Result<Option<Entry>> {
    let mut block = [0_u8; BLOCK];
    file.read_exact(&mut block)?;
    if block.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let told = number(&block[148..156]);
    if told != Some(checksum(&block)) || &block[257..262] != b"ustar" {
        return Err(invalid("a header is not that of a tar file"));
    }
    let size = if block[124] & 0x80 != 0 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&block[128..136]);
        Some(u64::from_be_bytes(bytes)).filter(|_| block[124] == 0x80 && block[125..128] == [0; 3])
    } else {
        number(&block[124..136])
    };
    let size = size.filter(|size| *size < 1 << 62).ok_or_else(|| invalid("a size is none"))?;
    let text = |bytes: &[u8]| {
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        std::str::from_utf8(&bytes[..end]).map(str::to_owned).map_err(|_| invalid("a name is no text"))
    };
    let (mut name, prefix) = (text(&block[..100])?, text(&block[345..500])?);
    // GNU's own header has times where the prefix would be.
    if !prefix.is_empty() && &block[257..263] == b"ustar\0" {
        name = format!("{prefix}/{name}");
    }
    Ok(Some(Entry { name, size, is_file: matches!(block[156], b'0' | 0) }))
}

pub(super) fn skip_padding(file: &mut impl Read, size: u64) -> io::Result<()> {
    file.read_exact(&mut [0; BLOCK][..padding(size)])
}

fn padding(size: u64) -> usize {
    (size.wrapping_neg() % BLOCK as u64) as usize
}

fn split(name: &str) -> Option<(&str, &str)> {
    if name.len() <= 100 {
        return Some(("", name));
    }
    let at = name.match_indices('/').map(|(at, _)| at).find(|at| name.len() - at - 1 <= 100)?;
    (at <= 155).then(|| (&name[..at], &name[at + 1..]))
}

fn octal(field: &mut [u8], value: u64) {
    let digits = format!("{value:0width$o}\0", width = field.len() - 1);
    field.copy_from_slice(digits.as_bytes());
}

fn number(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    u64::from_str_radix(if text.is_empty() { "0" } else { text }, 8).ok()
}

/// The sum of a header's bytes, its own field taken as spaces.
fn checksum(block: &[u8; BLOCK]) -> u64 {
    let own = 148..156;
    block.iter().enumerate().map(|(at, byte)| if own.contains(&at) { 32 } else { u64::from(*byte) }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_read_back() {
        let long =
            format!("data/vendor=generic/kind={}/date=2026-11-22/{}.parquet", "k".repeat(60), "f".repeat(60));
        for (name, size) in
            [("archive.json", 0), (&*long, 512), ("b/big", (1 << 33) + 1), ("b/most", (1 << 33) - 1)]
        {
            let mut bytes = Vec::new();
            write_head(&mut bytes, name, size).unwrap();
            assert_eq!(bytes.len(), BLOCK);
            let entry = read_head(&mut &bytes[..]).unwrap().unwrap();
            assert_eq!(entry, Entry { name: name.to_owned(), size, is_file: true });
            bytes[0] ^= 1;
            assert!(read_head(&mut &bytes[..]).is_err(), "a changed header is noticed");
        }
        assert!(write_head(&mut Vec::new(), &"x".repeat(101), 0).is_err());
        assert_eq!(read_head(&mut &[0; BLOCK][..]).unwrap(), None);
        assert_eq!([0, 1, 511, 512, 513].map(padding), [0, 511, 1, 0, 511]);
    }
}
