//! One start of `record` in a life: what arrives, what is written, sealed and acknowledged, in the model as well.

use super::*;
use crate::transport::quota::Charge;

impl Recorder {
    pub(super) fn live(&mut self, world: &mut World) -> Result<Life, String> {
        let redelivered = std::mem::take(&mut world.again);
        for payload in redelivered {
            let source = world.rng.random_range(0..2);
            self.deliver(world, source, payload)?;
        }
        for _ in 0..world.rng.random_range(3..60) {
            if world.disk.sim().is_off() || self.failed {
                return Ok(Err(Over));
            }
            match world.rng.random_range(0..100) {
                0..50 => {
                    let source = world.rng.random_range(0..SOURCES);
                    let payload = payload(world);
                    self.deliver(world, source, payload)?;
                }
                50..55 => self.link(world),
                55..70 => self.turn(world)?,
                70..84 => {
                    let ms = [0, 1, 7, 60, 300, 1_000, 3_000, 10_000][world.rng.random_range(0..8)];
                    self.advance(world, ms * 1_000_000)?;
                }
                84..94 => self.seal_one(world),
                94..96 => self.roll(world)?,
                96 => self.sealer.end_sessions(false),
                97 => {
                    world.disk.sim().set_capacity(u64::MAX);
                    let used = u64::MAX - world.disk.sim().free_bytes(world.dir.path()).unwrap_or(0);
                    let room = world.rng.random_range(0..30_000);
                    world.disk.note(|| format!("room for {room} bytes more"));
                    world.disk.sim().set_capacity(used + room);
                }
                98 => world.disk.sim().set_capacity(u64::MAX),
                _ => self.let_in(world),
            }
        }
        if world.disk.sim().is_off() || self.failed || world.rng.random_range(0..3) == 0 {
            return Ok(Err(Over));
        }
        self.stop(world)
    }

    fn note(&self, world: &World, line: impl FnOnce() -> String) {
        world.disk.note(line);
    }

    fn message(&mut self, world: &mut World, source: usize, payload: Bytes) -> Message {
        let is_webhook = source == 0;
        let earlier = self.tickets > 0 && world.rng.random_range(0..10) == 0;
        Message {
            source: source as u16,
            kind: 0,
            connection: 0,
            at: world.now(),
            channel: ["/hooks/a", "up/1", "/ws"][source].into(),
            mqtt: (source == 1).then_some(Mqtt { qos: 1, retain: false, dup: false }),
            is_binary: false,
            headers: is_webhook.then(|| vec![("accept".into(), "*/*".into())]),
            duplicate_of: earlier.then(|| world.rng.random_range(1..=self.tickets)),
            payload,
            clear: None,
        }
    }

    fn accepted(&mut self, world: &mut World, message: Message) {
        self.tickets += 1;
        world.model.accept(self.session, message, self.tickets, world.now());
    }

    fn place(&self, world: &World) -> (usize, usize) {
        (self.session, world.model.sessions[self.session].entries.len() - 1)
    }

    fn deliver(&mut self, world: &mut World, source: usize, payload: Bytes) -> Check {
        world.model.deliver(&payload);
        let message = self.message(world, source, payload.clone());
        let number = self.owed.len() as u64;
        let ack = match source {
            0 => {
                let reply = HttpReply { status: 200, content_type: "text/plain", body: Bytes::new() };
                Some(Ack::Http { inbound: number, reply })
            }
            1 => Some(Ack::Mqtt { conn: 0, id: number }),
            _ => None,
        };
        let owes = ack.is_some();
        let outcome =
            world.runtime.block_on(self.gates[source].admit(message.clone(), ack, &mut Charge::default()));
        self.note(world, || format!("delivered {} bytes to {source}: {outcome:?}", payload.len()));
        let mut place = None;
        match outcome {
            Outcome::Taken(Some(ticket)) => {
                self.accepted(world, message);
                ensure!(ticket == self.tickets, "ticket {ticket}, not {}", self.tickets);
                place = Some(self.place(world));
            }
            Outcome::Taken(None) => self.held.push_back((number, message)),
            Outcome::Dropped | Outcome::Refused { .. } => {}
        }
        if owes {
            self.owed.push((number, place, payload));
        }
        if self.gates[source].is_overflowing() {
            let over = place.is_some();
            if let Some(event) = self.gates[source].tell_overflow(world.now(), 0, over) {
                self.append_link(
                    world,
                    source,
                    format!("{{\"event\":\"{}\",\"connection\":0}}", event.event),
                );
            }
        }
        Ok(())
    }

    fn link(&mut self, world: &mut World) {
        world.payloads += 1;
        let source = world.rng.random_range(0..SOURCES);
        let payload = format!("{{\"event\":\"connected\",\"connection\":{}}}", world.payloads);
        self.append_link(world, source, payload);
    }

    fn append_link(&mut self, world: &mut World, source: usize, payload: String) {
        let payload = Bytes::from(payload);
        world.model.deliver(&payload);
        let own = self.message(world, source, payload);
        let message = Message {
            kind: LINK,
            channel: "link".into(),
            mqtt: None,
            headers: None,
            duplicate_of: None,
            ..own
        };
        if self.handle.append_reserved(message.clone()).is_ok() {
            self.accepted(world, message);
        }
    }

    /// Lets in what was held back, if there is room.
    fn let_in(&mut self, world: &mut World) {
        while !self.held.is_empty() && self.gates[1].let_in().now_or_never().is_some() {
            if self.handle.durable().borrow().error.is_some() {
                return;
            }
            let Some((number, message)) = self.held.pop_front() else { return };
            self.note(world, || format!("let in {number}"));
            self.accepted(world, message);
            let place = self.place(world);
            if let Some(owed) = self.owed.iter_mut().find(|(own, ..)| *own == number) {
                owed.1 = Some(place);
            }
        }
    }

    fn turn(&mut self, world: &mut World) -> Check {
        self.note(world, || "turn".into());
        if let Err(error) = self.journal.turn() {
            self.failed = true;
            world.excused(&error)?;
        }
        self.after_turn(world)
    }

    fn after_turn(&mut self, world: &mut World) -> Check {
        self.closed.extend(self.journal.closed_parts());
        let (up_to, waits) = {
            let durable = self.handle.durable();
            let durable = durable.borrow();
            (durable.up_to, durable.stuck.is_some() && !self.failed)
        };
        let unsynced = world.disk.sim().unsynced_in(&self.archive.layout().journal());
        ensure!(
            !waits || unsynced == 0,
            "{unsynced} bytes are written and not synced while the disk is full"
        );
        for gate in &mut self.gates {
            while let Some(ack) = gate.next_due(up_to) {
                let (Ack::Http { inbound: number, .. } | Ack::Mqtt { id: number, .. }) = ack;
                let at = self.owed.iter().position(|(own, ..)| *own == number);
                let owed = at.map(|at| self.owed[at].1.take());
                let Some(Some((session, entry))) = owed else {
                    return Err(format!("acknowledged what was never accepted: {number}"));
                };
                world.disk.note(|| format!("acknowledged {number}: {session} {entry}"));
                world.model.sessions[session].entries[entry].promised = true;
                self.owed[at.unwrap_or(0)].2 = Bytes::new();
            }
        }
        Ok(())
    }

    /// Lets time pass; the writer wakes up when its thread would.
    fn advance(&mut self, world: &mut World, by_ns: u64) -> Check {
        let until = world.now().steady_ns + by_ns;
        self.note(world, || format!("{} ms pass", by_ns / 1_000_000));
        for _ in 0..1_000 {
            let due = self.journal.due_ns().filter(|due| *due <= until);
            let Some(due) = due.filter(|_| !self.failed && !world.disk.sim().is_off()) else {
                if !self.failed && !world.disk.sim().is_off() {
                    world.clock.advance_ns(until - world.now().steady_ns);
                }
                return Ok(());
            };
            world.clock.advance_ns(due.saturating_sub(world.now().steady_ns));
            self.turn(world)?;
        }
        Err("the writer spins".into())
    }

    fn seal_one(&mut self, world: &mut World) {
        if let Some(part) = self.closed.pop_front() {
            self.note(world, || format!("seal {:?}", part.file_name()));
            self.sealer.seal(part);
        }
    }

    fn roll(&mut self, world: &mut World) -> Check {
        if !self.held.is_empty() {
            return Ok(());
        }
        let Ok(header) = world.begin(&self.archive)? else {
            // The old session goes on.
            return Ok(());
        };
        let started_ns = world.now().steady_ns;
        let old = world.model.sessions[self.session].header.session_id;
        if self.handle.roll(header.clone(), started_ns).is_err() {
            self.failed = true;
            return Ok(());
        }
        self.sealing.end(old, world.now().wall_us, Some(header.session_id));
        self.session = world.model.sessions.len() - 1;
        Ok(())
    }

    /// As the recorder's own stop.
    fn stop(&mut self, world: &mut World) -> Result<Life, String> {
        self.note(world, || "stop".into());
        let session = world.model.sessions[self.session].header.session_id;
        self.sealing.end(session, world.now().wall_us, None);
        let closed = self.journal.close();
        self.failed |= closed.is_err();
        if let Err(error) = closed {
            world.excused(&error)?;
        }
        self.after_turn(world)?;
        while !self.closed.is_empty() {
            self.seal_one(world);
        }
        self.sealer.end_sessions(true);
        Ok(if self.failed { Err(Over) } else { Ok(()) })
    }

    /// What this life has promised.
    pub(super) fn account(&mut self, world: &mut World, stopped: bool) -> Check {
        let up_to = self.handle.durable().borrow().up_to;
        ensure!(
            !stopped || up_to == self.tickets,
            "stopped, and only {up_to} of {} are durable",
            self.tickets
        );
        let now_ns = world.now().steady_ns;
        let interval_ns = world.sync_interval.as_nanos() as u64;
        for session in &mut world.model.sessions[self.first_session..] {
            for entry in &mut session.entries {
                let durable = entry.ticket <= up_to;
                ensure!(!entry.promised || durable, "acknowledged before it was durable: {entry:?}");
                // While the disk is full, what is not written cannot be durable; what is, is synced before it is waited for.
                let late = entry.accepted_ns + interval_ns < now_ns && self.handle.accepting();
                ensure!(durable || !late, "not durable within the sync interval: {entry:?} at {now_ns}");
                entry.promised = durable;
            }
        }
        // Who was not answered sends again.
        world.again = self.owed.drain(..).map(|(.., payload)| payload).filter(|p| !p.is_empty()).collect();
        world.disk.note(|| format!("durable up to {up_to} of {}", self.tickets));
        Ok(())
    }
}

/// A payload that there was not before; now and then larger than what a checksum of a segment covers.
fn payload(world: &mut World) -> Bytes {
    world.payloads += 1;
    let n = world.payloads;
    let padding = match world.rng.random_range(0..200) {
        0 => 300_000,
        1..8 => world.rng.random_range(1_000..9_000),
        _ => world.rng.random_range(0..300),
    };
    match world.rng.random_range(0..8) {
        // One byte, of which there are many.
        0 => Bytes::from(vec![world.rng.random_range(b'0'..=b'9')]),
        // Nothing that zstd could make small, and nothing that can be decoded.
        1 => {
            Bytes::from((0..padding).map(|_| world.rng.random()).chain(n.to_le_bytes()).collect::<Vec<u8>>())
        }
        _ => Bytes::from(format!("{{\"h\":{n},\"pad\":\"{}\"}}", "x".repeat(padding))),
    }
}
