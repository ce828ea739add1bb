//! Whether every `seq` of a part is there, once.

use std::fs::File;
use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::archive::manifest::{Manifest, ManifestFile, Removed, SeqRange};

/// Which seqs of a part have been seen.
pub(super) struct Seen {
    start: u64,
    end: u64,
    bits: Vec<u64>,
    pub(super) repeated: Vec<SeqRange>,
}

impl Seen {
    /// A day of more than ten thousand messages a second. What claims more has to say where they are.
    const MANY: u64 = 1 << 30;

    /// For more there is no room: each takes a bit. Nor would a day have so many.
    const MOST: u64 = 1 << 33;

    /// None of a manifest that is damaged: it claims more messages than there can be.
    pub(super) fn new(manifest: &Manifest) -> Option<Self> {
        let (start, length) = (manifest.seq_start, length(manifest));
        let bits = || vec![0; length.div_ceil(64) as usize];
        is_credible(manifest).then(|| Self { start, end: start + length, bits: bits(), repeated: Vec::new() })
    }

    fn mark(&mut self, seq: u64) {
        if seq < self.start || seq >= self.end {
            return self.repeat(seq);
        }
        let at = seq - self.start;
        let (word, bit) = ((at / 64) as usize, 1 << (at % 64));
        if self.bits[word] & bit != 0 {
            self.repeat(seq);
        }
        self.bits[word] |= bit;
    }

    pub(super) fn mark_range(&mut self, range: SeqRange) {
        (range.seq_start.max(self.start)..range.seq_end.min(self.end)).for_each(|seq| self.mark(seq));
    }

    /// Takes the numbers that are missing where rows were removed as these; says how many there were.
    pub(super) fn mark_counted(&mut self, removed: &[Removed]) -> u64 {
        let mut marked = 0;
        for range in
            removed.iter().filter(|removed| removed.rows.is_some()).flat_map(|removed| &removed.ranges)
        {
            for seq in range.seq_start.max(self.start)..range.seq_end.min(self.end) {
                let at = seq - self.start;
                let (word, bit) = ((at / 64) as usize, 1 << (at % 64));
                marked += u64::from(self.bits[word] & bit == 0);
                self.bits[word] |= bit;
            }
        }
        marked
    }

    /// Out of place counts as repeated: it belongs to another part, which has it.
    fn repeat(&mut self, seq: u64) {
        match self.repeated.last_mut() {
            Some(last) if last.seq_end == seq => last.seq_end += 1,
            _ => self.repeated.push((seq..seq + 1).into()),
        }
    }

    pub(super) fn missing(&self) -> impl Iterator<Item = SeqRange> + '_ {
        let is_there = |seq: u64| {
            let at = seq - self.start;
            self.bits[(at / 64) as usize] & (1 << (at % 64)) != 0
        };
        let mut seq = self.start;
        std::iter::from_fn(move || {
            while seq < self.end && is_there(seq) {
                seq += 1;
            }
            let from = seq;
            while seq < self.end && !is_there(seq) {
                seq += 1;
            }
            (from < seq).then(|| (from..seq).into())
        })
    }
}

/// Whether a manifest claims no more messages than there can be.
pub(super) fn is_credible(manifest: &Manifest) -> bool {
    let length = length(manifest);
    length <= Seen::MANY || (length <= Seen::MOST && known(manifest) == length)
}

/// How many messages a manifest claims.
pub(super) fn length(manifest: &Manifest) -> u64 {
    manifest.seq_end.saturating_sub(manifest.seq_start)
}

/// Of how many messages a manifest says what became of them.
pub(super) fn known(manifest: &Manifest) -> u64 {
    let rows = manifest.files.iter().map(|file| file.rows);
    let lost = manifest.lost.iter().map(|range| range.messages());
    let removed = manifest.removed.iter().map(Removed::messages);
    rows.chain(lost).chain(removed).fold(0, u64::saturating_add)
}

/// How many rows a segment has, and the least and greatest values in them.
#[derive(Debug, Default)]
pub(super) struct Extremes {
    pub(super) rows: u64,
    seq: Option<(i64, i64)>,
    elapsed_ns: Option<(i64, i64)>,
    received_us: Option<(i64, i64)>,
}

impl Extremes {
    /// What is otherwise than the manifest says, and what that says.
    pub(super) fn differs_from(&self, file: &ManifestFile) -> Option<(String, String)> {
        if self.rows == 0 {
            return None;
        }
        let seq = (file.seq_min as i64, file.seq_max as i64);
        let elapsed_ns = (file.elapsed_min_ns as i64, file.elapsed_max_ns as i64);
        let received_us = (file.received_min_us, file.received_max_us);
        let all = [
            ("seq", self.seq, seq),
            ("elapsed_ns", self.elapsed_ns, elapsed_ns),
            ("received_at", self.received_us, received_us),
        ];
        let (what, found, expected) = all.into_iter().find(|(_, found, said)| *found != Some(*said))?;
        let (least, greatest) = found.unwrap_or_default();
        Some((format!("{what} is {least} to {greatest}"), format!("{} to {}", expected.0, expected.1)))
    }

    fn add(extremes: &mut Option<(i64, i64)>, values: &[i64]) {
        let (Some(&least), Some(&greatest)) = (values.iter().min(), values.iter().max()) else { return };
        let (min, max) = extremes.unwrap_or((least, greatest));
        *extremes = Some((min.min(least), max.max(greatest)));
    }
}

/// Reads the columns `seq`, which must rise, and those of the times.
pub(super) fn read_seqs(path: &Path, mut seen: Option<&mut Seen>) -> Result<Extremes, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| e.to_string())?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["seq", "elapsed_ns", "received_at"]);
    let (mut found, mut last) = (Extremes::default(), None);
    let reader = builder.with_projection(mask).with_batch_size(65_536).build();
    for batch in reader.map_err(|e| e.to_string())? {
        let batch = batch.map_err(|e| e.to_string())?;
        let number =
            |name: &str| batch.column_by_name(name)?.as_primitive_opt::<Int64Type>().map(|c| c.values());
        let received = batch.column_by_name("received_at");
        let received = received.and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
        Extremes::add(&mut found.received_us, received.ok_or("it has no column `received_at`")?.values());
        Extremes::add(&mut found.elapsed_ns, number("elapsed_ns").ok_or("it has no column `elapsed_ns`")?);
        let seqs = number("seq").ok_or("it has no column `seq`")?;
        Extremes::add(&mut found.seq, seqs);
        for &seq in seqs.iter() {
            if last.is_some_and(|last| seq <= last) {
                return Err(format!("its rows are not in the order of seq at {seq}"));
            }
            last = Some(seq);
            if let Some(seen) = &mut seen {
                seen.mark(seq as u64);
            }
            found.rows += 1;
        }
    }
    Ok(found)
}
