//! What the machine takes by itself: a thread sleeps to each due time and writes to a socket.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::thread::{clock_nanosleep_absolute, set_current_timer_slack};
use rustix::time::{ClockId, Timespec};
use telereel::clock::Clock;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Message, WebSocket};

use super::figures::Seen;
use super::stream::{self, Part};

pub fn run(plan: &[(u64, Part)]) -> Result<Vec<Seen>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let plan = plan.to_vec();
    let count = plan.len();
    let writer = std::thread::spawn(move || -> Result<Vec<(u64, u64)>> {
        let clock = Clock::System;
        let socket = listener.accept()?.0;
        socket.set_nodelay(true)?;
        let mut socket = WebSocket::from_raw_socket(socket, Role::Server, None);
        let _ = set_current_timer_slack(std::num::NonZeroU64::new(1));
        let start = clock.now();
        let start_ns = start.steady_ns + 100_000_000;
        let mut times = Vec::with_capacity(count);
        for ((at_ns, _), message) in plan.iter().zip(stream::messages(&plan, start)) {
            let due_ns = start_ns + at_ns;
            sleep_until(&clock, due_ns);
            socket.send(Message::Text(message.payload.try_into()?))?;
            times.push((due_ns, clock.now().steady_ns));
        }
        socket.get_mut().flush()?;
        Ok(times)
    });
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut client = WebSocket::from_raw_socket(stream, Role::Client, None);
    let clock = Clock::System;
    let mut received = Vec::with_capacity(count);
    for _ in 0..count {
        let message = client.read()?;
        let now_ns = clock.now().steady_ns;
        received.push((stream::number(&message.into_data()).context("not ours")?, now_ns));
    }
    let times = writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    let seen = received.iter().map(|(n, received_ns)| {
        let (due_ns, sent_ns) = times[*n];
        Seen { n: *n, due_ns, sent_ns, received_ns: *received_ns }
    });
    Ok(seen.collect())
}

/// As the player does it: a sleep to shortly before, and a spin.
fn sleep_until(clock: &Clock, due_ns: u64) {
    loop {
        let now_ns = clock.now().steady_ns;
        match due_ns.checked_sub(now_ns) {
            None | Some(0) => return,
            Some(1..=60_000) => std::hint::spin_loop(),
            Some(_) => {
                let wake_ns = due_ns - 60_000;
                let wake = Timespec {
                    tv_sec: (wake_ns / 1_000_000_000) as i64,
                    tv_nsec: (wake_ns % 1_000_000_000) as i64,
                };
                let _ = clock_nanosleep_absolute(ClockId::Boottime, &wake);
            }
        }
    }
}
