use super::*;

#[tokio::test]
async fn a_task_that_panics_is_told_of_at_once() {
    let stats = SourceStats::new("shop", "delicode");
    watch(async {}, &stats, &Clock::System).await;
    assert_eq!(stats.lock().state, State::Starting);
    let worked_on = Arc::new(());
    let held = Arc::clone(&worked_on);
    let task = async move {
        tokio::task::yield_now().await;
        let _held = held;
        panic!("for the test");
    };
    watch(task, &stats, &Clock::System).await;
    let counters = stats.lock();
    assert_eq!(counters.state, State::GaveUp);
    assert!(counters.gave_up.is_some() && counters.down_since_ns.is_some());
    assert_eq!(Arc::strong_count(&worked_on), 1, "what it held, connections for one, is let go");
}
