//! How small an archive is: the same messages as zstd -3 JSON lines and as an MCAP file, for the five vendors.
//!
//!     cargo bench --bench size                        50,000 messages of each vendor
//!     cargo bench --bench size -- 1000000             as many of each as you like
//!     cargo bench --bench size -- 50000 FOLDER        real data sets as well: *.jsonl.gz and *.csv.gz in folders
//!
//! Each vendor's simulated devices, 50 of them at the vendor's own pace, are recorded by journal and sealing. The JSON lines are what `telereel cat` prints of it. The MCAP file is what its own Python
//! library makes of the same messages with its defaults (chunks of 1 MiB, zstd, an index): topic, times, payload.
//! Envelope and payload are all bytes of the files but the pages of typed columns: footers and indexes count whole.
//!
//! With `COLUMNS_TOO=1` it tells what each column takes, with `DEVICES=5` there are other than 50 devices, and `KEEP=DIR`
//! leaves the archives there.
//!
//! Needs `PEERS_PYTHON` (`python3`) with pyarrow and mcap; `tests/python/sizes.py` does the counting. Real data sets
//! are sources without a declaration: they have no typed columns.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod session;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use session::simulated;
use telereel::clock::{Clock, Now};
use telereel::message::{Message, SessionHeader, SessionId, SourceHeader};
use telereel::vendors::synthetic::load::{APP_ID, Part, SENSORO_PATH, rows};

/// 2026-11-02T06:00:00Z: early enough in a day for many messages of the same day.
const START_US: i64 = 1_793_599_200_000_000;

fn main() -> Result<()> {
    let mut count = 50_000;
    let mut data = None;
    for argument in std::env::args().skip(1).filter(|argument| argument != "--bench") {
        match argument.parse() {
            Ok(number) => count = number,
            Err(_) => data = Some(PathBuf::from(argument)),
        }
    }
    let folder = match std::env::var_os("KEEP") {
        Some(keep) => PathBuf::from(keep),
        None => tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?.keep(),
    };
    let result = vendors(&folder, count).and_then(|()| data.map_or(Ok(()), |data| real(&folder, &data)));
    if std::env::var_os("KEEP").is_none() {
        std::fs::remove_dir_all(&folder)?;
    }
    result
}

fn vendors(folder: &Path, count: usize) -> Result<()> {
    let devices = std::env::var("DEVICES").map_or(Ok(50), |text| text.parse())?;
    let mut parts = Part::all();
    // The vendor's default, beside the mode in which half of the messages are encrypted.
    parts.push(Part::nodes("sensoro-plain", APP_ID.to_owned(), None, SENSORO_PATH.to_owned()));
    for part in parts {
        let part = part.with_devices(devices);
        let name = part.name.clone();
        let root = folder.join(&name);
        let header = simulated::header(&name, 1, START_US, std::slice::from_ref(&part));
        let started = Now { wall_us: START_US, steady_ns: Clock::System.now().steady_ns };
        let stream = rows(vec![part], 1, header.session_id, START_US, None).take(count);
        let messages = simulated::arrivals(&header, started, 0, stream).collect::<Result<Vec<_>>>()?;
        session::store(&root, header, started, messages.into_iter())?;
        report(&name, &root)?;
    }
    Ok(())
}

/// Every set that lies in `data`, as a generic source: what its own tool would have sent.
fn real(folder: &Path, data: &Path) -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/size/sets.py");
    let mut sets = std::fs::read_dir(data)?.collect::<std::io::Result<Vec<_>>>()?;
    sets.sort_by_key(std::fs::DirEntry::file_name);
    for set in sets.into_iter().filter(|set| set.path().is_dir()) {
        let name = set.file_name().to_string_lossy().into_owned();
        let mut reader =
            Command::new(python()).arg(&script).arg(set.path()).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(reader.stdout.take().context("no standard output")?).lines();
        let started = Now { wall_us: START_US, steady_ns: Clock::System.now().steady_ns };
        let messages = lines.map(|line| set_message(started, &line?)).collect::<Result<Vec<_>>>()?;
        ensure!(reader.wait()?.success(), "{name} could not be read");
        let root = folder.join(&name);
        session::store(&root, generic(&name), started, messages.into_iter())?;
        report(&name, &root)?;
    }
    Ok(())
}

fn generic(name: &str) -> SessionHeader {
    let source = SourceHeader {
        name: "real".to_owned(),
        vendor: "generic".to_owned(),
        kinds: Vec::new(),
        settings: json!({}),
    };
    SessionHeader {
        session_id: SessionId::new(START_US, [2; 10]),
        name: name.to_owned(),
        site: "bench".to_owned(),
        started_at_us: START_US,
        sources: vec![simulated::source(&source)],
    }
}

fn set_message(started: Now, line: &str) -> Result<Message> {
    let value: serde_json::Value = serde_json::from_str(line)?;
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let elapsed_ns = value["elapsed_ns"].as_u64().context("no elapsed_ns")?;
    let at = Now {
        wall_us: started.wall_us + (elapsed_ns / 1_000) as i64,
        steady_ns: started.steady_ns + elapsed_ns,
    };
    Ok(Message {
        source: 0,
        kind: 0,
        connection: 0,
        at,
        channel: text("channel").into(),
        mqtt: None,
        is_binary: false,
        headers: None,
        duplicate_of: None,
        payload: text("payload").into(),
        clear: None,
    })
}

fn report(name: &str, root: &Path) -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/sizes.py");
    let mut command = Command::new(python());
    command.arg(script).arg(env!("CARGO_BIN_EXE_telereel")).arg(root).arg(name);
    ensure!(command.status()?.success(), "{name} could not be measured");
    Ok(())
}

fn python() -> PathBuf {
    std::env::var_os("PEERS_PYTHON").map_or_else(|| "python3".into(), PathBuf::from)
}
