//! What the simulated vendors send, as sessions that a recorder would have made of it.
#![allow(dead_code, reason = "no benchmark needs all of it")]

use std::collections::HashMap;

use anyhow::{Context, Result};
use telereel::clock::Now;
use telereel::decode;
use telereel::message::{COMMON_KINDS, KindHeader, Message, Row, SessionHeader, SessionId, SourceHeader};
use telereel::vendors::synthetic::load::Part;

/// How long a message is under way, at most.
const JITTER_NS: u64 = 2_000_000;

/// The header of a session with a source for each of `parts`.
pub fn header(name: &str, id: u8, started_at_us: i64, parts: &[Part]) -> SessionHeader {
    let sources = parts.iter().map(|part| source(&part.header())).collect();
    SessionHeader {
        session_id: SessionId::new(started_at_us, [id; 10]),
        name: name.to_owned(),
        site: "bench".to_owned(),
        started_at_us,
        sources,
    }
}

/// A source with the declarations that are built in.
pub fn source(of: &SourceHeader) -> SourceHeader {
    let declared = decode::builtin(&of.vendor).unwrap_or_default().iter();
    let declared = declared
        .map(|(name, text)| KindHeader { name: (*name).to_owned(), declaration: Some((*text).to_owned()) });
    let own = if of.vendor == "generic" {
        vec![KindHeader { name: "message".to_owned(), declaration: None }]
    } else {
        Vec::new()
    };
    let common = COMMON_KINDS.iter().map(|name| KindHeader { name: (*name).to_owned(), declaration: None });
    SourceHeader { kinds: own.into_iter().chain(declared).chain(common).collect(), ..of.clone() }
}

/// Rows of a stream as what arrives in the session: each a little late, as on any network, in order.
///
/// `before_ns` is where in the stream the session begins.
pub fn arrivals(
    header: &SessionHeader,
    started: Now,
    before_ns: u64,
    rows: impl Iterator<Item = Row>,
) -> impl Iterator<Item = Result<Message>> {
    let mut kinds = HashMap::new();
    for (s, source) in (0_u16..).zip(&header.sources) {
        for (k, kind) in (0_u16..).zip(&source.kinds) {
            kinds.insert((source.name.clone(), kind.name.clone()), (s, k));
        }
    }
    let mut last_ns = 0;
    rows.map(move |row| {
        let (source, kind) = *kinds
            .get(&(row.source.to_string(), row.kind.to_string()))
            .with_context(|| format!("{} {} is not declared", row.source, row.kind))?;
        let elapsed_ns = (row.elapsed_ns - before_ns + scatter(row.seq) % JITTER_NS).max(last_ns);
        last_ns = elapsed_ns;
        let at = Now {
            wall_us: started.wall_us + (elapsed_ns / 1_000) as i64,
            steady_ns: started.steady_ns + elapsed_ns,
        };
        Ok(Message {
            source,
            kind,
            connection: 0,
            at,
            channel: row.channel,
            mqtt: row.mqtt,
            is_binary: row.is_binary,
            headers: row.headers,
            duplicate_of: None,
            payload: row.payload,
            clear: None,
        })
    })
}

/// The same number for the same number, and no two alike (splitmix64).
fn scatter(n: u64) -> u64 {
    let z = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (z ^ (z >> 27)) >> 20
}
