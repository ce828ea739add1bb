//! Outages that are reproduced, and gaps that are cut.

use super::*;

/// When something went down or came back, in nanoseconds since the beginning, and how much was down then.
pub(super) fn outages(
    rows: &[Row],
    outages_ms: &[(u64, u64)],
    options: PlayOptions,
    acts: &[(u64, Act)],
) -> Vec<(u64, usize)> {
    let what = Down { source: "src".into(), device: None };
    let outage = |(from_ms, to_ms): &(u64, u64)| Outage {
        what: what.clone(),
        from_ns: from_ms * MS,
        to_ns: to_ms * MS,
    };
    let options =
        PlayOptions { outages: Outages::Reproduce(outages_ms.iter().map(outage).collect()), ..options };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace");
    let trace = Arc::new(Trace::create(&path).unwrap());
    play_traced(rows, options, acts, Some(Arc::clone(&trace)));
    trace.finish().unwrap();
    let lines = std::fs::read_to_string(path).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines
        .filter(|line| line["event"] == "outages")
        .map(|line| (line["at_ns"].as_u64().unwrap() - BEGIN_NS, line["down"].as_array().unwrap().len()))
        .collect()
}

#[test]
fn an_outage_lasts_as_long_as_it_did_in_the_replays_speed() {
    let rows = rows_at(&[0, 100]);
    let at = |speed: &str| PlayOptions { speed: speed.parse().unwrap(), ..at_once() };
    // A nanosecond after the moment of the loss.
    assert_eq!(outages(&rows, &[(10, 50)], at("1"), &[]), [(10 * MS + 1, 1), (50 * MS, 0)]);
    assert_eq!(outages(&rows, &[(10, 50)], at("2"), &[]), [(5 * MS + 1, 1), (25 * MS, 0)]);
    assert_eq!(outages(&rows, &[(10, 50)], at("1/2"), &[]), [(20 * MS + 2, 1), (100 * MS, 0)]);
    let acts = [order(30, Order::Pause), order(1_030, Order::Play)];
    assert_eq!(outages(&rows, &[(10, 50)], at("1"), &acts), [(10 * MS + 1, 1), (1_050 * MS, 0)]);
}

#[test]
fn wound_into_an_outage_and_out_of_it_what_is_down_is_said_at_once() {
    let rows = rows_at(&[0, 1_000]);
    let acts = [order(20, to_ms(500)), order(30, to_ms(50)), order(40, to_ms(950))];
    assert_eq!(
        outages(&rows, &[(100, 900)], at_once(), &acts),
        [(20 * MS, 1), (30 * MS, 0), (40 * MS, 0)],
        "what may not have been heard is said again"
    );
    // One that lasts beyond the last message ends with it.
    assert_eq!(outages(&rows, &[(100, 9_000)], at_once(), &[]), [(100 * MS + 1, 1), (1_000 * MS, 0)]);
}

#[test]
fn positions_are_those_of_what_is_played_where_gaps_are_cut() {
    let rows = rows_at(&[0, 10, 5_000, 5_010]);
    let moments = rows.iter().map(|row| Ok::<_, Infallible>(row.elapsed_ns));
    let Ok(cuts) = Cuts::new(moments, None, 20 * MS);
    let cuts = cuts.unwrap();
    let options = || PlayOptions { outages: Outages::Skip(cuts.clone()), ..at_once() };
    let due = |ran: Ran| -> Vec<(u64, u64)> {
        ran.emitted.iter().map(|(seq, due_ns)| (*seq, due_ns.unwrap() / MS)).collect()
    };
    assert_eq!(due(play(&rows, options(), &[])), [(0, 0), (1, 10), (2, 30), (3, 40)]);
    // To the third message by its place, and to the fourth by its time in the recording.
    let acts = [order(5, to_ms(30)), order(6, Order::Seek(To::Recorded(5_010 * MS)))];
    assert_eq!(due(play(&rows, options(), &acts)), [(0, 0), (2, 5), (3, 6)]);
    // In the middle of what was cut: the message that ends the gap.
    let acts = [order(5, Order::Seek(To::Recorded(2_500 * MS)))];
    assert_eq!(due(play(&rows, options(), &acts)), [(0, 0), (2, 5), (3, 15)]);
}
