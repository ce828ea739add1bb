//! Sessions with messages of any time, as a recorder would have left them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use telereel::archive::{Archive, recover, seal};
use telereel::clock::{Clock, ManualClock, Now};
use telereel::decode;
use telereel::journal::{JournalOptions, Sync, start};
use telereel::message::{COMMON_KINDS, KindHeader, Message, SessionHeader, SessionId, SourceHeader};

/// One message: when it arrived (microseconds since 1970), of which source and kind.
pub struct Said {
    pub at_us: i64,
    pub source: &'static str,
    pub kind: &'static str,
    pub channel: String,
    pub payload: Bytes,
}

impl Said {
    pub fn new(
        at_us: i64,
        source: &'static str,
        kind: &'static str,
        channel: impl Into<String>,
        payload: impl Into<Bytes>,
    ) -> Self {
        Self { at_us, source, kind, channel: channel.into(), payload: payload.into() }
    }

    /// A link event of a source, about one of its sensors or all of it.
    pub fn link(at_us: i64, source: &'static str, event: &str, more: serde_json::Value) -> Self {
        let mut payload = more;
        payload["event"] = event.into();
        Self::new(at_us, source, "link", "link", payload.to_string())
    }
}

/// How a session ends.
pub enum End {
    /// Asked to stop, at this time.
    Stopped(i64),
    /// With the machine.
    Crashed,
}

pub struct Recording {
    pub site: &'static str,
    pub started_at_us: i64,
    /// Name and vendor.
    pub sources: &'static [(&'static str, &'static str)],
    pub messages: Vec<Said>,
    pub end: End,
}

impl Recording {
    /// Makes a session of it in the archive at `root`.
    pub fn write(mut self, root: &Path) {
        let archive = Archive::create_or_open(root, self.site).unwrap();
        let mut header = SessionHeader {
            session_id: SessionId::new(self.started_at_us, [7; 10]),
            name: "home".into(),
            site: self.site.into(),
            started_at_us: self.started_at_us,
            sources: self.sources.iter().map(|(name, vendor)| source_header(name, vendor)).collect(),
        };
        archive.begin_session(&mut header).unwrap();
        self.messages.sort_by_key(|said| said.at_us);
        let at = |us: i64| Now { wall_us: us, steady_ns: (us - self.started_at_us) as u64 * 1_000 + 1 };
        let options = JournalOptions {
            dir: archive.layout().journal(),
            sync_interval: Duration::ZERO,
            part_max_bytes: 1 << 20,
            part_max_age: Duration::from_secs(86_400),
            queue_max_bytes: 256 << 20,
            min_free_disk: 0,
        };
        let started = at(self.started_at_us);
        let clock = Clock::Manual(Arc::new(ManualClock::at(started)));
        let disk = Arc::clone(archive.disk());
        let (mut journal, handle) = start(disk, clock, options, header.clone(), started.steady_ns).unwrap();
        let parts = journal.closed_parts().unwrap();
        for said in self.messages {
            let source = header.sources.iter().position(|source| source.name == said.source).unwrap();
            let kind = header.sources[source].kinds.iter().position(|kind| kind.name == said.kind).unwrap();
            let message = Message {
                source: source as u16,
                kind: kind as u16,
                connection: 0,
                at: at(said.at_us),
                channel: said.channel.into(),
                mqtt: None,
                is_binary: false,
                headers: None,
                duplicate_of: None,
                payload: said.payload,
                clear: None,
            };
            handle.try_append(message, Sync::Later).unwrap();
        }
        journal.close().unwrap();
        for part in parts.iter() {
            seal(&archive, &part).unwrap();
        }
        match self.end {
            End::Stopped(at_us) => archive.end_session(header.session_id, at_us).unwrap(),
            End::Crashed => drop(recover(&archive).unwrap()),
        }
    }
}

fn source_header(name: &str, vendor: &str) -> SourceHeader {
    let own = decode::builtin(vendor).unwrap_or_default().iter();
    let own = own.map(|(kind, text)| KindHeader { name: (*kind).into(), declaration: Some((*text).into()) });
    let common = COMMON_KINDS.iter().map(|kind| KindHeader { name: (*kind).into(), declaration: None });
    SourceHeader {
        name: name.into(),
        vendor: vendor.into(),
        kinds: own.chain(common).collect(),
        settings: serde_json::json!({}),
    }
}
