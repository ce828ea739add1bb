//! Fields to bytes and back: little-endian numbers, and lengths of 32 bits before texts, bytes and maps.

use std::collections::BTreeMap;

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn put_map(out: &mut Vec<u8>, map: &[(&str, String)]) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    for (key, value) in map {
        put_text(out, key);
        put_text(out, value);
    }
    let bytes = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&bytes.to_le_bytes());
}

/// Appends a record: what it is, how long, and what `fill` writes.
pub(super) fn record(out: &mut Vec<u8>, op: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.push(op);
    out.extend_from_slice(&[0; 8]);
    fill(out);
    let bytes = (out.len() - at - 9) as u64;
    out[at + 1..at + 9].copy_from_slice(&bytes.to_le_bytes());
}

pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    rest.split_off(..N)?.try_into().ok()
}

pub(super) fn take_u16(rest: &mut &[u8]) -> Option<u16> {
    take(rest).map(u16::from_le_bytes)
}

pub(super) fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    take(rest).map(u32::from_le_bytes)
}

pub(super) fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(u64::from_le_bytes)
}

/// So many bytes as the 32 bits before them say.
pub(super) fn take_bytes<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let len = usize::try_from(take_u32(rest)?).ok()?;
    rest.split_off(..len)
}

pub(super) fn take_text<'b>(rest: &mut &'b [u8]) -> Option<&'b str> {
    std::str::from_utf8(take_bytes(rest)?).ok()
}

pub(super) fn take_map(rest: &mut &[u8]) -> Option<BTreeMap<String, String>> {
    let mut entries = take_bytes(rest)?;
    let mut map = BTreeMap::new();
    while !entries.is_empty() {
        let key = take_text(&mut entries)?.to_owned();
        map.insert(key, take_text(&mut entries)?.to_owned());
    }
    Some(map)
}
