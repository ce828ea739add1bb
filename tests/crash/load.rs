//! The load beside the bus: webhooks from vendors that push again what was not acknowledged, and WebSocket streams of
//! numbers.

use std::collections::HashMap;
use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio_tungstenite::tungstenite::{Message, accept};

use crate::support::read_answer;

/// One vendor's side: bodies numbered from 0, each pushed until it is answered with 200.
#[derive(Debug, Default)]
pub struct Poster {
    id: u64,
    /// All below are acknowledged.
    pub acknowledged: u64,
    /// How often those were pushed that were not acknowledged the first time.
    pub tries: HashMap<u64, u64>,
}

/// What the posters and whoever kills the recorder share.
#[derive(Debug, Default)]
pub struct Posting {
    /// Bodies answered with 200 since it began.
    pub answered: AtomicU64,
    pub is_over: AtomicBool,
}

impl Poster {
    pub fn new(id: u64) -> Self {
        Self { id, ..Self::default() }
    }

    /// How often a body was delivered at the most.
    pub fn delivered(&self, n: u64) -> u64 {
        self.tries.get(&n).copied().unwrap_or(u64::from(n < self.acknowledged))
    }

    /// Pushes until the recorder is gone.
    pub fn post(&mut self, port: u16, padding: &str, posting: &Posting) {
        let Some(mut connection) = connect(port, posting) else { return };
        // What it was about to push when the last recorder was killed counts as pushed.
        while !posting.is_over.load(Ordering::Relaxed) {
            let n = self.acknowledged;
            let tries = self.tries.get(&n).map_or(1, |tries| tries + 1);
            let (id, path) = (self.id, format!("/in/{}", self.id));
            match post(
                &mut connection,
                &path,
                &format!("{{\"poster\":{id},\"n\":{n},\"pad\":\"{padding}\"}}"),
            ) {
                Some(200) => {
                    if tries > 1 {
                        self.tries.insert(n, tries);
                    }
                    self.acknowledged += 1;
                    posting.answered.fetch_add(1, Ordering::Relaxed);
                }
                answer => {
                    self.tries.insert(n, tries);
                    // Told to come again, it does so at once.
                    if answer != Some(503) {
                        assert_eq!(answer, None);
                        return;
                    }
                }
            }
        }
    }
}

fn connect(port: u16, posting: &Posting) -> Option<BufReader<TcpStream>> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !posting.is_over.load(Ordering::Relaxed) {
        if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) {
            stream.set_nodelay(true).unwrap();
            return Some(BufReader::new(stream));
        }
        assert!(Instant::now() < deadline, "the recorder does not listen");
        std::thread::park_timeout(Duration::from_millis(1));
    }
    None
}

/// The status of an answer that came whole.
fn post(connection: &mut BufReader<TcpStream>, path: &str, body: &str) -> Option<u16> {
    let request =
        format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    connection.get_mut().write_all(request.as_bytes()).ok()?;
    read_answer(connection).map(|(status, _)| status)
}

/// A WebSocket server that sends `[connection, 0]`, `[connection, 1]`, … to each client until it goes away.
pub fn stream_numbers() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicU64::new(0));
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let connection = connections.fetch_add(1, Ordering::Relaxed);
            std::thread::spawn(move || {
                let Ok(mut socket) = accept(client.unwrap()) else { return };
                for n in 0_u64.. {
                    if socket.send(Message::text(format!("[{connection},{n}]"))).is_err() {
                        return;
                    }
                    // About a thousand a second: the disk is to be busy, not the test.
                    std::thread::park_timeout(Duration::from_millis(1));
                }
            });
        }
    });
    port
}
