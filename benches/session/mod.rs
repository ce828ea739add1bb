//! A recording made without sockets: prepared messages through the journal into sealed Parquet.
#![allow(dead_code, reason = "no benchmark needs all of it")]

pub mod month;
pub mod simulated;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use telereel::archive::{self, Archive};
use telereel::clock::{Clock, Now};
use telereel::decode;
use telereel::journal::{self, JournalOptions, Sync};
use telereel::message::{COMMON_KINDS, KindHeader, Message, SessionHeader, SessionId, SourceHeader};
use telereel::vendors::synthetic::Timed;

/// Journal parts as large as they are by default.
pub const PART_BYTES: u64 = 128 << 20;

/// Of a journal's record, before its channel.
const RECORD_HEAD_BYTES: u64 = 60;

/// The time until all is durable, the time until all is sealed, and the bytes of Parquet.
pub fn record(root: &Path, pool: &[Timed], count: usize) -> Result<(Duration, Duration, u64)> {
    let clock = Clock::System;
    record_at(root, pool, count, PART_BYTES, |_| clock.now())
}

/// The same in journal parts of about `part_bytes`, the n-th message at a time that `at` tells.
pub fn record_at(
    root: &Path,
    pool: &[Timed],
    count: usize,
    part_bytes: u64,
    at: impl Fn(u64) -> Now,
) -> Result<(Duration, Duration, u64)> {
    let started = at(0);
    let header = header(started);
    let kinds: Vec<u16> = pool
        .iter()
        .map(|m| header.sources[0].kinds.iter().position(|k| k.name == m.kind).map(|k| k as u16))
        .collect::<Option<_>>()
        .context("the pool holds a kind that is not declared")?;
    let messages = pool.iter().zip(&kinds).cycle().take(count);
    let messages = (0..).zip(messages).map(|(n, (message, kind))| accepted(message, *kind, at(n)));
    store_in_parts(root, header, started, part_bytes, messages)
}

/// What a recorder that was killed leaves: about `bytes` in closed parts of the journal, none of them sealed. How many
/// messages that are.
pub fn unsealed(root: &Path, pool: &[Timed], bytes: u64, part_bytes: u64) -> Result<u64> {
    let started = Clock::System.now();
    let mut header = header(started);
    let kinds: Vec<u16> = pool
        .iter()
        .map(|m| header.sources[0].kinds.iter().position(|k| k.name == m.kind).map(|k| k as u16))
        .collect::<Option<_>>()
        .context("the pool holds a kind that is not declared")?;
    let archive = Archive::create_or_open(root, "")?;
    archive.begin_session(&mut header)?;
    let options = journal_options(root, part_bytes);
    let (journal, handle) =
        journal::start(archive.disk().clone(), Clock::System, options, header, started.steady_ns)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (mut count, mut left) = (0, bytes);
    runtime.block_on(async {
        for (message, kind) in pool.iter().zip(&kinds).cycle() {
            handle.append(accepted(message, *kind, Clock::System.now()), Sync::Later).await?;
            count += 1;
            let taken = RECORD_HEAD_BYTES + (message.channel.len() + message.payload.len()) as u64;
            match left.checked_sub(taken) {
                Some(rest) => left = rest,
                None => return anyhow::Ok(()),
            }
        }
        anyhow::Ok(())
    })?;
    journal.close()?;
    Ok(count)
}

/// Runs a child to its end: how long it took, and the most memory that it was seen to have.
pub fn run_to_end(command: &mut Command) -> Result<(Duration, u64)> {
    let began = Instant::now();
    let mut child = command.spawn()?;
    let mut peak_kib = 0;
    let status = loop {
        // VmHWM never falls, and is gone with the process: the last look is the nearest.
        peak_kib = peak_memory_kib(child.id()).unwrap_or(peak_kib);
        match child.try_wait()? {
            Some(status) => break status,
            None => std::thread::park_timeout(Duration::from_millis(1)),
        }
    };
    anyhow::ensure!(status.success(), "{command:?}: {status}");
    Ok((began.elapsed(), peak_kib))
}

/// Tells `see` the length of each segment of an archive.
pub fn each_segment(folder: &Path, see: &mut dyn FnMut(u64)) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => each_segment(&entry.path(), see)?,
            false if entry.path().extension().is_some_and(|e| e == "parquet") => see(entry.metadata()?.len()),
            false => {}
        }
    }
    Ok(())
}

/// Records prepared messages as they stand, in a session that began at `started`.
pub fn store(
    root: &Path,
    header: SessionHeader,
    started: Now,
    messages: impl Iterator<Item = Message>,
) -> Result<(Duration, Duration, u64)> {
    store_in_parts(root, header, started, PART_BYTES, messages)
}

fn store_in_parts(
    root: &Path,
    mut header: SessionHeader,
    started: Now,
    part_bytes: u64,
    messages: impl Iterator<Item = Message>,
) -> Result<(Duration, Duration, u64)> {
    let clock = Clock::System;
    let archive = Archive::create_or_open(root, "")?;
    let disk = archive.disk().clone();
    let session_id = header.session_id;
    archive.begin_session(&mut header)?;
    let options = journal_options(root, part_bytes);
    let began = Instant::now();
    let (mut journal, handle) = journal::start(disk, clock, options, header, started.steady_ns)?;
    let parts = journal.closed_parts().context("the journal gives its closed parts once")?;
    let sealer = std::thread::spawn(move || -> Result<u64> {
        let mut stored = 0;
        for part in parts {
            stored += archive::seal(&archive, &part)?.bytes_stored;
        }
        archive.end_session(session_id, Clock::System.now().wall_us)?;
        Ok(stored)
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        for message in messages {
            handle.append(message, Sync::Later).await?;
        }
        anyhow::Ok(())
    })?;
    journal.close()?;
    let journaled = began.elapsed();
    let stored = sealer.join().map_err(|_| anyhow::anyhow!("the sealer panicked"))??;
    Ok((journaled, began.elapsed(), stored))
}

fn journal_options(root: &Path, part_bytes: u64) -> JournalOptions {
    JournalOptions {
        dir: root.join("journal"),
        sync_interval: Duration::from_millis(50),
        part_max_bytes: part_bytes,
        part_max_age: Duration::from_secs(3_600),
        queue_max_bytes: 32 << 20,
        min_free_disk: 0,
    }
}

/// As a collector hands it over: the payload is shared, not copied.
fn accepted(message: &Timed, kind: u16, at: Now) -> Message {
    Message {
        source: 0,
        kind,
        connection: 0,
        at,
        channel: message.channel.clone(),
        mqtt: Some(telereel::message::Mqtt { qos: 0, retain: false, dup: false }),
        is_binary: false,
        headers: None,
        duplicate_of: None,
        payload: message.payload.clone(),
        clear: None,
    }
}

fn header(now: Now) -> SessionHeader {
    let declared = decode::builtin("jointech").unwrap_or_default().iter();
    let kinds = declared
        .map(|(name, text)| KindHeader { name: (*name).to_owned(), declaration: Some((*text).to_owned()) })
        .chain(COMMON_KINDS.iter().map(|name| KindHeader { name: (*name).to_owned(), declaration: None }))
        .collect();
    SessionHeader {
        session_id: SessionId::new(now.wall_us, [7; 10]),
        name: "bench".to_owned(),
        site: String::new(),
        started_at_us: now.wall_us,
        sources: vec![SourceHeader {
            name: "fleet".to_owned(),
            vendor: "jointech".to_owned(),
            kinds,
            settings: serde_json::json!({}),
        }],
    }
}

/// The most memory that a process has had (VmHWM).
pub fn peak_memory_kib(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
