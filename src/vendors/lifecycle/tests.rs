use rand::SeedableRng;
use rand_pcg::Pcg64;

use super::*;

static UNREACHABLE: Closed = Closed { cause: CloseCause::Unreachable, detail: String::new() };
static BROKEN: Closed = Closed { cause: CloseCause::Broken, detail: String::new() };

struct Life {
    life: Lifecycle,
    rng: Pcg64,
    now: Now,
    fx: Vec<Effect>,
}

impl Life {
    fn started(seed: u64) -> Self {
        let mut this = Self {
            life: Lifecycle::new(),
            rng: Pcg64::seed_from_u64(seed),
            now: Now { wall_us: 0, steady_ns: 1_000 * SECOND_NS },
            fx: Vec::new(),
        };
        assert_eq!(this.life.start(this.now, &mut this.fx), Some(0));
        this
    }

    fn lose(&mut self, conn: Conn, why: &Closed) -> Option<Reached> {
        self.life.closed(self.now, &mut self.rng, conn, why, &mut self.fx)
    }

    /// Waits as long as it takes until the next attempt; gives the wait and the connection.
    fn next_attempt(&mut self) -> (u64, Conn) {
        let at = self.life.wake_at().unwrap();
        let waited = at - self.now.steady_ns;
        self.now.steady_ns = at - 1;
        assert_eq!(self.life.tick(self.now, &mut self.fx), None, "too early");
        self.now.steady_ns = at;
        (waited, self.life.tick(self.now, &mut self.fx).unwrap())
    }

    fn establish(&mut self, conn: Conn) {
        assert!(self.life.opened(conn, Map::new(), &mut self.fx));
        assert!(self.life.established(self.now, conn, None, &mut self.fx));
    }

    fn events(&mut self) -> Vec<(&'static str, Conn)> {
        self.fx
            .drain(..)
            .filter_map(|effect| match effect {
                Effect::Link(link) => Some((link.event, link.conn)),
                _ => None,
            })
            .collect()
    }
}

#[test]
fn waits_double_to_a_minute_and_vary() {
    let waits = |seed| {
        let mut life = Life::started(seed);
        let mut waits = Vec::new();
        for conn in 0..2_000 {
            assert_eq!(life.lose(conn, &UNREACHABLE), Some(Reached::Nothing));
            let (wait, next) = life.next_attempt();
            assert_eq!(next, conn + 1);
            waits.push(wait);
        }
        waits
    };
    let first = waits(1);
    for (i, wait) in first.iter().enumerate() {
        let longest = SECOND_NS * 60.min(1 << i.min(6));
        assert!((longest / 2..=longest).contains(wait), "wait {i} is {wait} ns");
    }
    assert_ne!(first, waits(2), "two recorders would return in step");
}

#[test]
fn only_a_connection_that_held_starts_the_waits_anew() {
    for (held_s, anew) in [(1, false), (9, false), (10, true), (3_600, true)] {
        let mut life = Life::started(1);
        for conn in 0..6 {
            life.lose(conn, &UNREACHABLE);
            life.next_attempt();
        }
        life.establish(6);
        life.now.steady_ns += held_s * SECOND_NS;
        assert_eq!(life.lose(6, &BROKEN), Some(Reached::Established));
        let (wait, _) = life.next_attempt();
        assert_eq!(wait <= SECOND_NS, anew, "held for {held_s} s, waited {wait} ns");
    }
}

#[test]
fn events_tell_an_attempt_from_an_outage() {
    let mut life = Life::started(1);
    life.establish(0);
    life.lose(0, &BROKEN);
    let (_, conn) = life.next_attempt();
    life.lose(conn, &UNREACHABLE);
    let (_, conn) = life.next_attempt();
    life.establish(conn);
    let expected = [
        ("connecting", 0),
        ("connected", 0),
        ("disconnected", 0),
        ("connecting", 1),
        ("refused", 1),
        ("connecting", 2),
        ("connected", 2),
        ("reconnected", 2),
    ];
    assert_eq!(life.events(), expected);
}

#[test]
fn a_gap_runs_from_the_last_frame_or_from_the_loss_or_from_the_start() {
    // Seconds into the connection at which a frame came, seconds that it held (none: it never was), and
    // the silence before the loss.
    let cases = [(Some(20), Some(50), 30), (None, Some(50), 0), (None, None, 0)];
    for (frame_s, held_s, silent_s) in cases {
        let mut life = Life::started(1);
        let begun = life.now.steady_ns;
        if let Some(held_s) = held_s {
            life.establish(0);
            if let Some(frame_s) = frame_s {
                life.life.heard(Now { wall_us: 0, steady_ns: begun + frame_s * SECOND_NS });
            }
            life.now.steady_ns += held_s * SECOND_NS;
        }
        life.lose(0, if held_s.is_some() { &BROKEN } else { &UNREACHABLE });
        let (wait, conn) = life.next_attempt();
        life.fx.clear();
        life.establish(conn);
        let Some(Effect::Link(link)) = life.fx.last() else { panic!("no event") };
        assert_eq!(link.event, "reconnected");
        assert_eq!(link.gap_ns, Some(wait + silent_s * SECOND_NS));
        assert_eq!(link.more["down_ns"], json!(wait));
    }
}

#[test]
fn what_a_former_connection_says_is_not_listened_to() {
    let mut life = Life::started(1);
    life.establish(0);
    life.lose(0, &BROKEN);
    let (_, conn) = life.next_attempt();
    life.fx.clear();
    assert_eq!(life.lose(0, &BROKEN), None);
    assert!(!life.life.opened(0, Map::new(), &mut life.fx));
    assert!(!life.life.established(life.now, 0, None, &mut life.fx));
    assert_eq!(life.fx, []);
    life.establish(conn);
}

#[test]
fn stopping_closes_what_is_open_and_asks_for_nothing_more() {
    let mut life = Life::started(1);
    life.establish(0);
    life.fx.clear();
    life.life.stop(&mut life.fx);
    assert_eq!(life.fx, [Effect::Close { conn: 0 }]);
    assert_eq!(life.lose(0, &BROKEN), None);
    assert_eq!(life.life.wake_at(), None);

    let mut life = Life::started(1);
    life.lose(0, &UNREACHABLE);
    life.fx.clear();
    life.life.stop(&mut life.fx);
    assert_eq!(life.fx, []);
    assert_eq!(life.life.wake_at(), None);
}
