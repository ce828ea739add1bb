//! The recording side: one little state machine per sensor ([`sensor`]), none of which another can
//! disturb, and what they share: the numbers of connections and calls.
//!
//! ```text
//! token -> dial -> subscribe -> start -> reports …
//!            every 55 s: start again             (renew_every)
//!            5 min before it expires: new token  (token_margin)
//!            after 55 min: next connection, subscribed before this one is closed (connection_max_age)
//! ```
//!
//! | what fails | what follows |
//! |---|---|
//! | a connection | 1 s doubling to 60 s, each shortened by up to a half at random; a new client id |
//! | the upgrade, or its CONNACK | the same, with a new token |
//! | a token call: no response, 429, 5xx and others | the same, or later where `Retry-After` says so |
//! | a start call, likewise | again after 1 s, 2 s, and then 5 s and so on, up to 60 s; after 60 s without, the sensor is down |
//! | either call: 401, 403, 404 | the sensor is refused: tried anew after 1 min, doubling to 1 h |
//! | the connection that is to take over | the old one stays; tried again as above |
//!
//! The source never gives up: keys are renewed and clocks set right by people, at any time. The vendor's
//! `location/stop` is never called: others who watch the sensor would lose their stream.
//!
//! The token reply's `data` is recorded as kind `config` when a sensor's first token of a session comes
//! and when it changes; token and host are not stored. Reports carry no id: what comes twice while two
//! connections overlap is recorded as it came, told apart by `connection`.

mod api;
mod sensor;

use std::collections::HashMap;

use rand::Rng;

use self::sensor::{Sensor, Turn};
use super::config::PontosenseConfig;
use super::kind_of;
use crate::clock::Now;
use crate::vendors::{Ack, Call, Collector, Conn, Effect, Frame, Input, Record};

#[derive(Debug)]
pub struct PontosenseCollector {
    config: PontosenseConfig,
    sensors: Vec<Sensor>,
    calls: Calls,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Idle,
    Running,
    Over,
}

/// The source's numbers, and whose calls are under way.
#[derive(Debug, Default)]
struct Calls {
    next_conn: Conn,
    next_call: Call,
    under_way: HashMap<Call, (usize, What)>,
}

/// What was asked for.
#[derive(Clone, Copy, Debug)]
enum What {
    Token,
    Start { sent_ns: u64 },
}

impl Calls {
    fn next_conn(&mut self) -> Conn {
        let conn = self.next_conn;
        self.next_conn = self.next_conn.wrapping_add(1);
        conn
    }

    fn enter(&mut self, sensor: usize, what: What) -> Call {
        let call = self.next_call;
        self.next_call += 1;
        self.under_way.insert(call, (sensor, what));
        call
    }
}

impl PontosenseCollector {
    pub fn new(config: PontosenseConfig) -> Self {
        let sensors = config.sensors.iter().enumerate().map(|(index, sn)| Sensor::new(index, sn)).collect();
        Self { config, sensors, calls: Calls::default(), state: State::Idle }
    }

    /// Records what came, whatever the sensor's state.
    fn frame(&mut self, conn: Conn, at: Now, frame: Frame, fx: &mut Vec<Effect>) {
        // Nothing else comes from a broker.
        let Frame::Publish { topic, mqtt, payload, ack } = frame else { return };
        if let Some(sensor) = self.sensors.iter_mut().find(|sensor| sensor.has(conn)) {
            sensor.heard(at);
        }
        let record = Record { mqtt: Some(mqtt), ..Record::new(kind_of(&payload), conn, at, topic, payload) };
        // Subscribed at QoS 0; a broker that sends at another all the same is owed its acknowledgement.
        fx.push(Effect::Record { record, ack: ack.map(|id| Ack::Mqtt { conn, id }) });
    }

    /// The sensor that an input is about, and what it needs to answer it; none if it is nobody's any more.
    fn turn<'a>(
        &'a mut self,
        now: Now,
        rng: &'a mut dyn Rng,
        fx: &'a mut Vec<Effect>,
        which: impl Fn(&Sensor) -> bool,
    ) -> Option<(&'a mut Sensor, Turn<'a>)> {
        let sensor = self.sensors.iter_mut().find(|sensor| which(sensor))?;
        Some((sensor, Turn { config: &self.config, now, rng, calls: &mut self.calls, fx }))
    }

    fn each(
        &mut self,
        now: Now,
        rng: &mut dyn Rng,
        fx: &mut Vec<Effect>,
        act: impl Fn(&mut Sensor, &mut Turn<'_>),
    ) {
        let mut turn = Turn { config: &self.config, now, rng, calls: &mut self.calls, fx };
        self.sensors.iter_mut().for_each(|sensor| act(sensor, &mut turn));
    }
}

impl Collector for PontosenseCollector {
    fn on(&mut self, now: Now, rng: &mut dyn Rng, input: Input, fx: &mut Vec<Effect>) {
        if self.state == State::Idle && matches!(input, Input::Start) {
            self.state = State::Running;
            return self.each(now, rng, fx, Sensor::start);
        }
        // What still comes after the end is recorded all the same.
        if self.state == State::Over && !matches!(input, Input::Frame { .. }) {
            return;
        }
        match input {
            Input::Tick => self.each(now, rng, fx, Sensor::tick),
            Input::Response { call, result } => {
                let Some((index, what)) = self.calls.under_way.remove(&call) else { return };
                let Some((sensor, mut turn)) = self.turn(now, rng, fx, |sensor| sensor.is(index)) else {
                    return;
                };
                match what {
                    What::Token => sensor.token_came(&mut turn, api::body(result)),
                    What::Start { sent_ns } => sensor.start_came(&mut turn, sent_ns, api::body(result)),
                }
            }
            Input::Opened { conn, .. } => {
                if let Some((sensor, mut turn)) = self.turn(now, rng, fx, |sensor| sensor.has(conn)) {
                    sensor.opened(&mut turn, conn);
                }
            }
            Input::Subscribed { conn, granted } => {
                if let Some((sensor, mut turn)) = self.turn(now, rng, fx, |sensor| sensor.has(conn)) {
                    sensor.subscribed(&mut turn, conn, &granted);
                }
            }
            Input::Frame { conn, at, frame } => self.frame(conn, at, frame, fx),
            Input::Closed { conn, why } => {
                if let Some((sensor, mut turn)) = self.turn(now, rng, fx, |sensor| sensor.has(conn)) {
                    sensor.closed(&mut turn, conn, &why);
                }
            }
            Input::Stop => {
                self.state = State::Over;
                self.sensors.iter().for_each(|sensor| sensor.stop(fx));
            }
            // Nobody pushes.
            Input::Start | Input::Pushed { .. } => {}
        }
    }

    fn wake_at(&self) -> Option<u64> {
        if self.state != State::Running {
            return None;
        }
        self.sensors.iter().filter_map(|sensor| sensor.wake_at(&self.config)).min()
    }

    fn rolled(&mut self, now: Now, fx: &mut Vec<Effect>) {
        self.sensors.iter().for_each(|sensor| sensor.rolled(now, fx));
    }
}

#[cfg(test)]
mod tests;
