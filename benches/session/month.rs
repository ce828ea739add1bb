//! A month of simulated messages: an archive of a session a day, and the same messages as JSON lines, a file a day.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Result;
use telereel::clock::{Clock, Now};
use telereel::envelope;
use telereel::message::{Row, SessionId};
use telereel::vendors::synthetic::load::{Part, rows};

use super::{simulated, store};

pub const DAYS: u64 = 30;

/// 2026-11-01T00:00:00Z.
const START_US: i64 = 1_793_491_200_000_000;
const DAY_NS: u64 = 86_400_000_000_000;

/// Records what `part` sends in the month's first `days` under `folder/archive`, and writes it to `folder/lines/DATE.jsonl.zst`.
/// Gives how many messages there were.
pub fn make(folder: &Path, part: &Part, days: u64) -> Result<u64> {
    let lines = folder.join("lines");
    std::fs::create_dir_all(&lines)?;
    let mut stream =
        rows(vec![part.clone()], 1, SessionId::new(START_US, [0; 10]), START_US, None).peekable();
    let mut count = 0;
    for day in 0..days {
        let start_us = START_US + (day * DAY_NS / 1_000) as i64;
        let name = format!("2026-11-{:02}", day + 1);
        let header = simulated::header(&name, day as u8, start_us, std::slice::from_ref(part));
        let started = Now { wall_us: start_us, steady_ns: Clock::System.now().steady_ns };
        let mut file = Lines::create(&lines.join(format!("{name}.jsonl.zst")), header.session_id)?;
        let mut failed = None;
        let of_day = std::iter::from_fn(|| stream.next_if(|row| row.elapsed_ns < (day + 1) * DAY_NS));
        let seen = of_day.inspect(|row| {
            count += 1;
            failed = file.write(row).err().or(failed.take());
        });
        let messages = simulated::arrivals(&header, started, day * DAY_NS, seen).filter_map(Result::ok);
        store(&folder.join("archive"), header.clone(), started, messages)?;
        failed.map_or(Ok(()), Err)?;
        file.finish()?;
    }
    Ok(count)
}

struct Lines {
    file: zstd::Encoder<'static, BufWriter<File>>,
    session_id: SessionId,
    seq: u64,
}

impl Lines {
    fn create(path: &Path, session_id: SessionId) -> Result<Self> {
        let file = zstd::Encoder::new(BufWriter::new(File::create(path)?), 3)?;
        Ok(Self { file, session_id, seq: 0 })
    }

    fn write(&mut self, row: &Row) -> Result<()> {
        let row = Row { session_id: self.session_id, seq: self.seq, ..row.clone() };
        self.seq += 1;
        Ok(writeln!(self.file, "{}", envelope::to_json(&row)?)?)
    }

    fn finish(self) -> Result<()> {
        Ok(self.file.finish()?.flush()?)
    }
}
