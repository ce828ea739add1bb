//! Clients whose connection is gone and whose session is not: what they are offered waits for their return.

use super::{Fanout, Member, lock};

/// The reason given to a client that was away for so long that its queue ran over.
pub const AWAY_TOO_LONG: &str = "away too long: its queue ran over";

impl Fanout {
    /// Clients that are away have left, whatever waits for them: nobody has time for their return.
    pub fn leave_away(&self) {
        for client in lock(&self.room).members.iter() {
            let mut queue = lock(&client.queue);
            if queue.is_away() {
                queue.end();
                client.dropped.cancel();
            }
        }
    }
}

impl Member {
    /// The client's session outlives its connections: what comes while one of them ends waits for the next.
    pub fn persists(&self) {
        lock(&self.client.queue).persists();
    }

    /// The client's connection is gone and its session is not: it is not ready, nobody waits for its
    /// acknowledgements, and what has QoS 1 or 2 waits for its return.
    pub fn go_away(&self) {
        lock(&self.client.queue).go_away();
        self.fanout.ring();
    }

    /// The client is back. Of what it took before, `unsent` messages are still to be flushed; the others have
    /// been, or were lost with the connection.
    pub fn come_back(&self, unsent: usize) {
        self.fanout.past.come_back(&self.client, unsent);
        self.fanout.ring();
    }

    /// Drops the client, for a reason that the fan-out cannot see.
    pub fn drop_out(&self, reason: &'static str) {
        self.client.drop_out(&mut lock(&self.client.queue), reason);
    }

    pub fn is_dropped(&self) -> bool {
        self.client.dropped.is_cancelled()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::runtime::Builder;
    use tokio_util::sync::CancellationToken;

    use super::super::tests::{emission, fanout, take_all};
    use super::super::{Flow, STALL_MAX, Taken, Wish};
    use super::*;

    #[test]
    fn who_is_away_is_not_ready_gets_no_qos_0_later_and_does_not_make_us_late() {
        let fanout = fanout(10);
        let stop = CancellationToken::new();
        let member = fanout.join("c").unwrap();
        member.wish(Wish::Topics(vec![("#".to_owned(), 2)]));
        assert_eq!(fanout.ready(), 1);
        member.go_away();
        assert_eq!(fanout.ready(), 0);
        // Due at the beginning of time, and so as late as can be.
        for (index, qos) in [(0, 0), (1, 1), (2, 2)] {
            fanout.deliver(&emission(index, "t", qos, 1), Flow::Drop, &stop);
        }
        assert!(fanout.is_settled(), "nobody waits for who is not there");
        member.come_back(0);
        assert_eq!(fanout.ready(), 1);
        assert!(!fanout.is_settled());
        assert_eq!(take_all(&member), (vec![1, 2], Taken::Nothing));
        fanout.deliver(&emission(3, "t", 0, 1), Flow::Drop, &stop);
        assert_eq!(take_all(&member).0, [3]);
        drop(member);
        let summary = &fanout.summaries()[0];
        assert_eq!((summary.messages, summary.lateness.count()), (3, 1));
    }

    #[test]
    fn what_was_lost_on_the_way_is_not_waited_for() {
        let fanout = fanout(10);
        let member = fanout.join("c").unwrap();
        member.wish(Wish::Topics(vec![("#".to_owned(), 1)]));
        for (index, qos) in [(0, 0), (1, 1)] {
            fanout.deliver(&emission(index, "t", qos, 1), Flow::Drop, &CancellationToken::new());
        }
        let mut batch = Vec::new();
        let taken = Builder::new_current_thread().build().unwrap().block_on(member.take(&mut batch, 9, 999));
        assert_eq!(taken, Taken::Some);
        member.go_away();
        member.come_back(1);
        assert!(!fanout.is_settled());
        member.sent(&batch[1..]);
        assert!(fanout.is_settled());
    }

    #[test]
    fn a_queue_that_runs_over_meanwhile_is_the_end_with_a_reason_of_its_own() {
        // Also where there is no time to keep: it may never come back.
        for flow in [Flow::Drop, Flow::Wait] {
            let fanout = fanout(1);
            let member = fanout.join("c").unwrap();
            member.wish(Wish::Topics(vec![("#".to_owned(), 1)]));
            member.go_away();
            let began = Instant::now();
            for index in 0..2 {
                fanout.deliver(&emission(index, "t", 1, 1), flow, &CancellationToken::new());
            }
            assert!(began.elapsed() < STALL_MAX / 2, "nobody waited");
            assert!(member.is_dropped());
            assert_eq!(take_all(&member).1, Taken::Dropped(AWAY_TOO_LONG));
            drop(member);
            assert_eq!(fanout.summaries()[0].dropped, 2);
        }
    }
}
