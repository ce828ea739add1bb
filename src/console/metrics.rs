//! `GET /metrics` of a recorder, for Prometheus.
//!
//! Labels are bounded: sources are those of the configuration, devices the 500 of each source that were heard last
//! (see [`devices`](crate::recorder::devices)). With a token configured, it is needed here, too.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::exposition::Type::{Counter, Gauge};
use super::exposition::{Exposition, Value, of_process};
use super::guard;
use super::status::Console;
use crate::recorder::StatusSource;
use crate::recorder::health;
use crate::recorder::stats::{DamageStatus, SourceStatus, State as Stand, Status};
use crate::recorder::upkeep::{Doing, UpkeepStatus};

const DAY_NS: f64 = 86_400e9;

pub(super) async fn metrics(State(console): State<Arc<Console>>, headers: HeaderMap) -> Response {
    if let Err(refusal) = guard::check(console.token.as_ref(), &headers) {
        return refusal.respond(refusal.to_string());
    }
    match tokio::task::spawn_blocking(move || page(&console.recorder)).await {
        Ok(page) => page.respond(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn page(recorder: &StatusSource) -> Exposition {
    let status = recorder.status();
    let mut page = Exposition::default();
    of_process(&mut page);
    let started = Value::Us(recorder.started_at_us());
    page.single(Gauge, "telereel_start_time_seconds", "When the recorder was started.", started);
    let is_ready = health::risks(&status).is_empty();
    page.single(Gauge, "telereel_ready", "0 while data is at risk, as /readyz says.", is_ready);
    of_damage(&mut page, &status.damage.clone().unwrap_or_default());
    of_journal(&mut page, &status);
    of_segments(&mut page, &status, recorder.min_free_disk());
    if let Some(upkeep) = &status.upkeep {
        of_upkeep(&mut page, upkeep);
    }
    of_sources(&mut page, &status.sources);
    of_devices(&mut page, recorder);
    page
}

fn of_damage(page: &mut Exposition, damage: &DamageStatus) {
    let help = "What was found damaged, at the start and while recording: messages, or files.";
    page.family(Counter, "telereel_damage_total", help)
        .sample(&[("what", "lost_messages")], damage.lost_messages)
        .sample(&[("what", "set_aside")], damage.set_aside)
        .sample(&[("what", "made_anew")], damage.made_anew)
        .sample(&[("what", "problems")], damage.problems);
}

fn of_journal(page: &mut Exposition, status: &Status) {
    let journal = &status.journal;
    let rows = "Rows on disk, those of kind link included.";
    page.single(Counter, "telereel_durable_rows_total", rows, journal.durable_up_to);
    let lag = "Age of the oldest row that was taken and is not on disk.";
    page.single(Gauge, "telereel_durable_lag_seconds", lag, Value::Ns(journal.lag_ns));
    let waiting = "Rows that were taken and are not on disk.";
    page.single(Gauge, "telereel_durable_lag_rows", waiting, journal.waiting_messages);
    if let Some(durable) = &journal.durable {
        let help = "Arrival of the last row that is on disk.";
        let at = Value::Us(durable.received_at_us);
        page.single(Gauge, "telereel_durable_timestamp_seconds", help, at);
    }
    let queue = "Taken and not yet written.";
    page.single(Gauge, "telereel_journal_queue_bytes", queue, journal.queue_bytes);
    let limit = "What may be taken and not yet written.";
    page.single(Gauge, "telereel_journal_queue_limit_bytes", limit, journal.queue_bytes_max);
    let accepting = "0 while nothing is accepted: the disk is nearly full, or the journal has failed.";
    page.single(Gauge, "telereel_journal_accepting", accepting, journal.accepting);
    let turn = "How long the present write or sync has been taking.";
    page.single(Gauge, "telereel_journal_turn_seconds", turn, Value::Ns(journal.turn_ns));
}

fn of_segments(page: &mut Exposition, status: &Status, min_free_disk: u64) {
    let segments = "Segments that were stored.";
    page.single(Counter, "telereel_stored_segments_total", segments, status.segments);
    let bytes = "Bytes of the segments that were stored.";
    page.single(Counter, "telereel_stored_bytes_total", bytes, status.bytes_stored);
    let rows = "Rows in the segments that were stored.";
    page.single(Counter, "telereel_stored_rows_total", rows, status.rows_stored);
    let sealing = &status.sealing;
    let open = "Since the first row of the journal part that is being written; 0 while there is none.";
    let age = |ns: Option<u64>| Value::Ns(ns.unwrap_or(0));
    page.single(Gauge, "telereel_open_part_age_seconds", open, age(sealing.open_part_age_ns));
    let parts = "Journal parts that are complete and not yet segments.";
    page.single(Gauge, "telereel_unsealed_parts", parts, sealing.unsealed_parts);
    let unsealed = "Since the oldest of these was complete; 0 while there is none.";
    page.single(Gauge, "telereel_unsealed_part_age_seconds", unsealed, age(sealing.unsealed_part_age_ns));
    if let Some(ago_ns) = sealing.last_sealed_ago_ns {
        let help = "Since a journal part was last made segments.";
        page.single(Gauge, "telereel_last_seal_age_seconds", help, Value::Ns(ago_ns));
    }
    let failing = "1 while sealing fails; everything is kept in the journal.";
    page.single(Gauge, "telereel_sealing_failing", failing, status.seal_error.is_some());
    if let Some(free) = status.disk_free_bytes {
        page.single(Gauge, "telereel_disk_free_bytes", "Free where the archive is.", free);
    }
    let least = "Below so many free bytes nothing is accepted.";
    page.single(Gauge, "telereel_disk_min_free_bytes", least, min_free_disk);
    if let Some(days) = status.disk_left_days {
        let help = "How long the disk lasts at the rate of the last ten seconds.";
        let left = Value::Ns((days * DAY_NS) as u64);
        page.single(Gauge, "telereel_disk_left_seconds", help, left);
    }
}

fn of_upkeep(page: &mut Exposition, upkeep: &UpkeepStatus) {
    let works = "1 while it prunes or compacts.";
    page.single(Gauge, "telereel_upkeep_working", works, upkeep.state != Doing::Idle);
    let waits = "1 while it stands still for the recording's sake.";
    page.single(Gauge, "telereel_upkeep_waiting", waits, upkeep.waits);
    if let Some(at_us) = upkeep.last_run_us {
        let help = "When it last began.";
        page.single(Gauge, "telereel_upkeep_last_run_timestamp_seconds", help, Value::Us(at_us));
    }
    if let Some(at_us) = upkeep.next_run_us {
        let help = "When it is due next.";
        page.single(Gauge, "telereel_upkeep_next_run_timestamp_seconds", help, Value::Us(at_us));
    }
    let messages = "Messages that it has removed.";
    page.single(Counter, "telereel_upkeep_pruned_messages_total", messages, upkeep.pruned_messages);
    let bytes = "Bytes of segments that it has removed.";
    page.single(Counter, "telereel_upkeep_pruned_bytes_total", bytes, upkeep.pruned_bytes);
    let sessions = "Sessions that it has compacted.";
    page.single(Counter, "telereel_upkeep_compacted_sessions_total", sessions, upkeep.compacted_sessions);
    let failing = "1 if something was in its way the last time; the status says what.";
    page.single(Gauge, "telereel_upkeep_failing", failing, upkeep.error.is_some());
}

fn of_sources(page: &mut Exposition, sources: &[SourceStatus]) {
    let mut each = |r#type, name, help: &str, value: &dyn Fn(&SourceStatus) -> Option<Value>| {
        let family = page.family(r#type, name, help);
        for source in sources {
            if let Some(value) = value(source) {
                family.sample(&[("source", &source.name), ("vendor", &source.vendor)], value);
            }
        }
    };
    let whole = |value: u64| Some(Value::Whole(value));
    each(
        Counter,
        "telereel_received_messages_total",
        "Messages that came, those that were dropped included.",
        &|s| whole(s.messages + s.dropped),
    );
    each(Counter, "telereel_received_bytes_total", "Bytes of the payloads of these.", &|s| {
        whole(s.bytes + s.dropped_bytes)
    });
    each(
        Counter,
        "telereel_dropped_messages_total",
        "Messages that came and could not be taken: lost.",
        &|s| whole(s.dropped),
    );
    each(
        Counter,
        "telereel_refused_messages_total",
        "Messages that were turned away, and whoever sent them was told.",
        &|s| whole(s.refused),
    );
    each(
        Counter,
        "telereel_duplicate_messages_total",
        "Messages that the vendor had delivered before.",
        &|s| whole(s.duplicates),
    );
    each(
        Counter,
        "telereel_disconnects_total",
        "Connections that were lost, planned ends not counted.",
        &|s| whole(s.disconnects),
    );
    each(
        Counter,
        "telereel_gap_seconds_total",
        "Time in which nothing could come, an outage that lasts included.",
        &|s| Some(Value::Ns(s.gap_ns)),
    );
    each(
        Gauge,
        "telereel_source_down_seconds",
        "How long the present outage has been; 0 without one.",
        &|s| Some(Value::Ns(s.down_ns.unwrap_or(0))),
    );
    each(Gauge, "telereel_last_message_timestamp_seconds", "Arrival of the last message.", &|s| {
        s.last_message_at_us.map(Value::Us)
    });
    each(
        Gauge,
        "telereel_source_lag_seconds",
        "Arrival of the last message minus the vendor's own time in it.",
        &|s| s.lag_ms.map(|ms| Value::Us(ms.saturating_mul(1_000))),
    );
    let family = page.family(Gauge, "telereel_source_state", "1 for the state that a source is in.");
    for source in sources {
        for (state, name) in STATES {
            let labels = [("source", &*source.name), ("vendor", &source.vendor), ("state", name)];
            family.sample(&labels, source.state == state);
        }
    }
}

const STATES: [(Stand, &str); 7] = [
    (Stand::Starting, "starting"),
    (Stand::Connecting, "connecting"),
    (Stand::Connected, "connected"),
    (Stand::Stalled, "stalled"),
    (Stand::Waiting, "waiting"),
    (Stand::GaveUp, "gave_up"),
    (Stand::Stopped, "stopped"),
];

fn of_devices(page: &mut Exposition, recorder: &StatusSource) {
    let sources = recorder.devices();
    let help = "Arrival of a device's last message; the 500 devices of each source that were heard last.";
    let family = page.family(Gauge, "telereel_device_last_seen_timestamp_seconds", help);
    for (source, seen) in &sources {
        for (device, at_us) in &seen.last_us {
            family.sample(&[("source", source), ("device", device)], Value::Us(*at_us));
        }
    }
    let help = "How often a device was left out of the last seen, to make room for another.";
    let family = page.family(Counter, "telereel_devices_forgotten_total", help);
    for (source, seen) in &sources {
        family.sample(&[("source", source)], seen.forgotten);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_called_as_in_the_status() {
        for (state, name) in STATES {
            assert_eq!(serde_json::to_value(state).unwrap(), name);
        }
    }

    #[tokio::test]
    async fn damage_is_counted_by_what_became_of_it() {
        let mut page = Exposition::default();
        let damage = DamageStatus { lost_messages: 7, set_aside: 2, made_anew: 3, ..DamageStatus::default() };
        of_damage(&mut page, &damage);
        let body = axum::body::to_bytes(page.respond().into_body(), 1 << 20).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let sample = |what: &str, value: u64| format!("telereel_damage_total{{what=\"{what}\"}} {value}");
        assert_eq!(
            samples,
            [
                sample("lost_messages", 7),
                sample("set_aside", 2),
                sample("made_anew", 3),
                sample("problems", 0)
            ]
        );
    }
}
