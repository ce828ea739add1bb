//! Vendors' sides that send as fast as it is taken: WebSocket, MQTT at QoS 0, and webhooks that are pushed again until
//! they are acknowledged.

use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio_tungstenite::tungstenite::{Message, accept};

use crate::message::message;
use crate::support::read_answer;

/// How many messages, or for how long.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    pub number: u64,
    pub until: Option<Instant>,
}

impl Amount {
    fn is_left(&self, n: u64) -> bool {
        self.until.map_or(n < self.number, |until| Instant::now() < until)
    }
}

/// A sender that nobody acknowledges.
#[derive(Clone, Debug)]
pub struct Stream {
    pub id: u64,
    pub name: String,
    pub port: u16,
    pub is_mqtt: bool,
    /// All that will be; 0 until then.
    pub sent: Arc<AtomicU64>,
}

impl Stream {
    pub fn websocket(id: u64, amount: Amount, bytes: usize) -> Self {
        Self::start(id, false, move |stream, id, sent| {
            let mut socket = accept(stream).unwrap();
            let mut n = 0;
            while amount.is_left(n) {
                socket.write(Message::text(message(id, n, bytes))).unwrap();
                n += 1;
            }
            socket.flush().unwrap();
            sent.store(n, Ordering::Relaxed);
            // Until the recorder goes.
            while socket.read().is_ok() {}
        })
    }

    pub fn mqtt(id: u64, amount: Amount, bytes: usize) -> Self {
        Self::start(id, true, move |mut stream, id, sent| {
            read_packet(&mut stream).unwrap();
            stream.write_all(&[0x20, 2, 0, 0]).unwrap();
            let subscribe = read_packet(&mut stream).unwrap();
            stream.write_all(&[0x90, 3, subscribe[0], subscribe[1], 0]).unwrap();
            // Pings are answered meanwhile, between two packets.
            let (mut pings, answers) = (stream.try_clone().unwrap(), Arc::new(Mutex::new(stream)));
            let publishing = Arc::clone(&answers);
            let answering = std::thread::spawn(move || {
                while read_packet(&mut pings).is_ok() {
                    let _ = answers.lock().unwrap().write_all(&[0xD0, 0]);
                }
            });
            let mut n = 0;
            while amount.is_left(n) {
                let body = [b"\0\x01t", message(id, n, bytes).as_bytes()].concat();
                let mut packet = vec![0x30];
                let mut length = body.len();
                while length > 0x7F {
                    packet.push((length & 0x7F) as u8 | 0x80);
                    length >>= 7;
                }
                packet.push(length as u8);
                packet.extend(body);
                publishing.lock().unwrap().write_all(&packet).unwrap();
                n += 1;
            }
            sent.store(n, Ordering::Relaxed);
            // Until the recorder goes.
            answering.join().unwrap();
        })
    }

    fn start(id: u64, is_mqtt: bool, send: impl FnOnce(TcpStream, u64, &AtomicU64) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let sent = Arc::<AtomicU64>::default();
        let of_thread = Arc::clone(&sent);
        std::thread::spawn(move || {
            send(listener.accept().unwrap().0, id, &of_thread);
        });
        Self { id, name: format!("stream-{id}"), port, is_mqtt, sent }
    }

    pub fn source(&self) -> String {
        let (name, port) = (&self.name, self.port);
        let head = format!("[[source]]\nname = \"{name}\"\nvendor = \"generic\"\n");
        if self.is_mqtt {
            format!(
                "{head}transport = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{port}\"\ntopics = [\"t\"]\nqos = 0\n"
            )
        } else {
            format!("{head}transport = \"websocket\"\nurl = \"ws://127.0.0.1:{port}/\"\n")
        }
    }
}

fn read_packet(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    let (mut length, mut shift) = (0, 0);
    loop {
        stream.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 0x7F) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(body)
}

/// What became of one poster's pushes.
#[derive(Debug, Default)]
pub struct Pushed {
    pub refused: u64,
    /// How often each body was pushed, until it was acknowledged.
    pub tries: Vec<usize>,
}

/// Pushes to `/in/{id}`, each until it is answered with 200.
pub fn push(port: u16, id: u64, amount: Amount, bytes: usize) -> Pushed {
    let mut pushed = Pushed::default();
    let mut connection = None;
    let mut tries = 0;
    while amount.is_left(pushed.tries.len() as u64) {
        let body = message(id, pushed.tries.len() as u64, bytes);
        tries += 1;
        let open = connection.get_or_insert_with(|| {
            let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.set_nodelay(true).unwrap();
            BufReader::new(stream)
        });
        match exchange(open, "POST", &format!("/in/{id}"), &body) {
            Some((200, ..)) => pushed.tries.push(std::mem::take(&mut tries)),
            Some((503, ..)) => {
                pushed.refused += 1;
                connection = None;
                // As it was told to, though not as long.
                std::thread::park_timeout(Duration::from_millis(5));
            }
            None => connection = None,
            Some((status, _)) => panic!("{status}"),
        }
    }
    pushed
}

/// One request; status and body of its answer, if it came whole.
pub fn exchange(
    connection: &mut BufReader<TcpStream>,
    method: &str,
    path: &str,
    body: &str,
) -> Option<(u16, String)> {
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    let stream = connection.get_mut();
    // It may be refused before it has been read.
    match stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())) {
        Err(error) if !matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
            return None;
        }
        _ => {}
    }
    read_answer(connection)
}
