use super::*;
use crate::message::SessionId;
use crate::recorder::stats::{DamageStatus, JournalStatus, SealingStatus};

fn well() -> Status {
    Status {
        session_id: SessionId::new(0, [0; 10]),
        session: "s".into(),
        started_at: String::new(),
        duration_ns: 0,
        archive: "archive".into(),
        sources: vec![SourceStatus { name: "shop".into(), ..SourceStatus::default() }],
        journal: JournalStatus { queue_bytes_max: 1_000, accepting: true, ..JournalStatus::default() },
        sealing: SealingStatus::default(),
        segments: 0,
        bytes_stored: 0,
        rows_stored: 0,
        seal_error: None,
        damage: None,
        upkeep: None,
        disk_free_bytes: None,
        disk_left_days: None,
    }
}

/// A change to the status, and what is at risk then.
type Case = (&'static [&'static str], fn(&mut Status));

#[test]
fn every_risk_is_told_and_a_vendor_that_is_out_is_none() {
    let cases: [Case; 19] = [
        (&[], |_| {}),
        (&[], |s| s.damage = Some(DamageStatus { set_aside: 1, ..DamageStatus::default() })),
        (&[], |s| s.sources[0].state = State::Waiting),
        (&[], |s| s.sources[0].state = State::Stalled),
        (&["source_gave_up"], |s| s.sources[0].state = State::GaveUp),
        (&["input_dropped"], |s| s.sources[0].dropped_ago_ns = Some(RECENT_NS - 1)),
        (&[], |s| s.sources[0].dropped_ago_ns = Some(RECENT_NS)),
        (&["input_refused"], |s| s.sources[0].refused_ago_ns = Some(0)),
        (&["disk_low"], |s| s.journal.error = Some("less than min_free_disk".into())),
        (&["journal_failed"], |s| {
            s.journal.failed = true;
            s.journal.error = Some("cannot sync".into());
        }),
        (&["disk_slow"], |s| s.journal.turn_ns = TURN_NS_MAX + 1),
        (&[], |s| s.journal.lag_ns = s.journal.lag_max_ns),
        (&["disk_slow"], |s| s.journal.lag_ns = s.journal.lag_max_ns + 1),
        (&["disk_slow"], |s| s.journal.late_ago_ns = Some(LATE_TOLD_NS - 1)),
        (&[], |s| s.journal.late_ago_ns = Some(LATE_TOLD_NS)),
        (&["queue_full"], |s| s.journal.queue_bytes = 900),
        (&[], |s| s.journal.queue_bytes = 899),
        (&["sealing_fails"], |s| s.seal_error = Some("no".into())),
        (&["sealing_behind"], |s| s.sealing.unsealed_part_age_ns = Some(UNSEALED_NS_MAX + 1)),
    ];
    for (n, (expected, change)) in cases.into_iter().enumerate() {
        let mut status = well();
        change(&mut status);
        let found: Vec<&str> = risks(&status).iter().map(|risk| risk.risk).collect();
        assert_eq!(found, expected, "case {n}");
    }
}

#[test]
fn a_writer_is_alive_while_it_waits_or_gets_on() {
    let at_work = |since_ns| Progress { at_work_since_ns: since_ns, ..Progress::default() };
    assert!(is_alive(&at_work(None), u64::MAX));
    assert!(is_alive(&at_work(Some(5)), 4 + HUNG_NS));
    assert!(!is_alive(&at_work(Some(5)), 5 + HUNG_NS));
}
