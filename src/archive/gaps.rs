//! When sources were not connected, by their link events: what the view `outages` says, and what a replay
//! reproduces.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Archive;
use super::error::ArchiveError;
use super::time::{rfc3339_us, rfc3339_us_option};
use crate::index::LinkRow;
use crate::message::SessionId;

/// A time in which a source was not connected.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gap {
    pub source: String,
    /// Of a source with a connection for each sensor: the sensor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    #[serde(rename = "started_at", with = "rfc3339_us")]
    pub started_at_us: i64,
    /// Since the session's start.
    #[serde(skip)]
    pub started_ns: u64,
    /// None: it lasted to the session's end.
    #[serde(rename = "ended_at", with = "rfc3339_us_option")]
    pub ended_at_us: Option<i64>,
    pub duration_ns: Option<u64>,
    /// The connection was taken over from, and not lost.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub planned: bool,
    pub reason: Option<String>,
}

impl Archive {
    /// The outages of a session's sources, in the order of their starts.
    pub fn gaps(&self, session_id: SessionId) -> Result<Vec<Gap>, ArchiveError> {
        Ok(gaps(&self.links(session_id)?))
    }
}

/// The outages of every source, in the order of their starts; the same as the view `outages`.
pub(super) fn gaps(links: &[LinkRow]) -> Vec<Gap> {
    let mut by_source: BTreeMap<(&str, Option<String>), Vec<&LinkRow>> = BTreeMap::new();
    for (link, state) in links.iter().filter_map(|link| Some((link, link.state()?))) {
        by_source.entry((&link.source, state.sn)).or_default().push(link);
    }
    let of_device = |((_, device_id), links): ((&str, Option<String>), Vec<&LinkRow>)| {
        let gaps = gaps_of_source(&links).into_iter();
        gaps.map(move |(seq, gap)| (seq, Gap { device_id: device_id.clone(), ..gap })).collect::<Vec<_>>()
    };
    let mut gaps: Vec<(u64, Gap)> = by_source.into_iter().flat_map(of_device).collect();
    gaps.sort_by_key(|(seq, _)| *seq);
    gaps.into_iter().map(|(_, gap)| gap).collect()
}

/// From a `disconnected`, or from the session's first `connecting` or `refused` where attempts fail from
/// the start, to the next `connected` or `reconnected`. A `connected` that a `refused` follows was none.
fn gaps_of_source(links: &[&LinkRow]) -> Vec<(u64, Gap)> {
    let mut gaps: Vec<(u64, Gap)> = Vec::new();
    let mut open_since_ns = None;
    for (at, link) in links.iter().enumerate() {
        let next = links.get(at + 1).map(|next| next.event.as_str());
        match link.event.as_str() {
            "connected" if next == Some("refused") => {}
            "connected" | "reconnected" | "continued" => {
                if let (Some(since_ns), Some((_, gap))) = (open_since_ns.take(), gaps.last_mut()) {
                    gap.ended_at_us = Some(link.received_at_us);
                    gap.duration_ns = Some(link.elapsed_ns.saturating_sub(since_ns));
                }
            }
            "connecting" if at > 0 || is_answered(links) => {}
            _ if open_since_ns.is_none() => {
                open_since_ns = Some(link.elapsed_ns);
                gaps.push((
                    link.seq,
                    Gap {
                        source: link.source.clone(),
                        device_id: None,
                        started_at_us: link.received_at_us,
                        started_ns: link.elapsed_ns,
                        planned: link.state().is_some_and(|state| state.planned),
                        ended_at_us: None,
                        duration_ns: None,
                        reason: link.reason.clone(),
                    },
                ));
            }
            // A `connecting` has no reason: the first `refused` has.
            _ => {
                if let Some((_, gap)) = gaps.last_mut() {
                    gap.reason = gap.reason.take().or_else(|| link.reason.clone());
                }
            }
        }
    }
    gaps
}

/// Whether the first attempt led to a connection: no outage, however long it took.
fn is_answered(links: &[&LinkRow]) -> bool {
    let after: Vec<&str> = links.iter().skip(1).take(2).map(|link| link.event.as_str()).collect();
    !matches!(after[..], ["connected", "refused"] | ["refused" | "connecting", ..] | [])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The outages that a source's events make, each a second after the other: from second, to second.
    fn outages(events: &[&str]) -> Vec<(i64, Option<i64>)> {
        let row = |(at, event): (usize, &&str)| LinkRow {
            session_id: SessionId::new(0, [0; 10]),
            seq: at as u64,
            source: "s".into(),
            connection: 0,
            received_at_us: at as i64,
            elapsed_ns: at as u64,
            event: event.trim_end_matches('*').to_owned(),
            reason: None,
            gap_ns: None,
            payload: if event.ends_with('*') { r#"{"topics":["a"]}"# } else { "{}" }.into(),
        };
        let links: Vec<LinkRow> = events.iter().enumerate().map(row).collect();
        gaps(&links).into_iter().map(|gap| (gap.started_at_us, gap.ended_at_us)).collect()
    }

    #[test]
    fn sensors_have_outages_of_their_own_and_a_hand_over_is_none() {
        // Event, sensor, and whether data can come all the while.
        let events = [
            ("connecting", "a", false),
            ("connecting", "b", false),
            ("connected", "a", false),
            ("connected", "b", false),
            ("disconnected", "a", false),
            ("connecting", "b", true),
            ("connected", "b", true),
            ("disconnected", "b", true),
            ("connecting", "a", false),
            ("reconnected", "a", false),
            ("refused", "b", true),
            ("disconnected", "b", false),
        ];
        let row = |(at, (event, sn, flowing)): (usize, &(&str, &str, bool))| LinkRow {
            session_id: SessionId::new(0, [0; 10]),
            seq: at as u64,
            source: "ward".into(),
            connection: at as i32,
            received_at_us: at as i64,
            elapsed_ns: at as u64,
            event: (*event).into(),
            reason: None,
            gap_ns: None,
            payload: serde_json::json!({"event": event, "sn": sn, "flowing": flowing}).to_string(),
        };
        let links: Vec<LinkRow> = events.iter().enumerate().map(row).collect();
        let gaps = gaps(&links).into_iter();
        let gaps: Vec<_> = gaps.map(|g| (g.device_id.unwrap(), g.started_at_us, g.ended_at_us)).collect();
        assert_eq!(gaps, [("a".to_owned(), 4, Some(9)), ("b".to_owned(), 11, None)]);
    }

    #[test]
    fn a_planned_end_is_told_from_a_loss() {
        let row = |(at, (event, planned)): (usize, &(&str, bool))| LinkRow {
            session_id: SessionId::new(0, [0; 10]),
            seq: at as u64,
            source: "ward".into(),
            connection: 0,
            received_at_us: 0,
            elapsed_ns: at as u64,
            event: (*event).into(),
            reason: None,
            gap_ns: None,
            payload: serde_json::json!({"event": event, "planned": planned}).to_string(),
        };
        let events =
            [("connected", false), ("disconnected", true), ("connected", false), ("disconnected", false)];
        let links: Vec<LinkRow> = events.iter().enumerate().map(row).collect();
        let gaps: Vec<_> = gaps(&links).into_iter().map(|gap| (gap.started_ns, gap.planned)).collect();
        assert_eq!(gaps, [(1, true), (3, false)]);
    }

    #[test]
    fn an_outage_is_seen_wherever_in_the_session_it_lies() {
        let (up, down, no, dial) = ("connected", "disconnected", "refused", "connecting");
        assert_eq!(outages(&[dial, up, "subscribed"]), []);
        assert_eq!(outages(&[dial, up, down, dial, up, "reconnected"]), [(2, Some(4))]);
        assert_eq!(outages(&[dial, no, dial, no, dial, up, "reconnected"]), [(0, Some(5))]);
        assert_eq!(outages(&[dial, no, dial]), [(0, None)]);
        assert_eq!(outages(&[dial]), [(0, None)]);
        // The vendor refuses once the transport is connected.
        assert_eq!(outages(&[dial, up, no, dial, up, no]), [(0, None)]);
        assert_eq!(outages(&[dial, up, down, dial, up, no, dial, up, "subscribed"]), [(2, Some(7))]);
        // A session that begins during an outage, or while all is well.
        assert_eq!(outages(&[no, dial, up, "reconnected"]), [(0, Some(2))]);
        assert_eq!(outages(&["continued", dial, down]), [(2, None)]);
        // A topic is refused, not the connection.
        assert_eq!(outages(&[dial, up, "refused*"]), []);
    }
}
