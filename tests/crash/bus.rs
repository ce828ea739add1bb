//! An MQTT broker that is not ours (NATS), and a tap on the wire between it and the recorder: what was delivered,
//! how often, and what was acknowledged, is known to the message, and not taken from either side's word.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::free_port;
use crate::support::python::python;

/// The publisher is at most so many messages ahead of the recorder, whose windows are smaller.
const AHEAD_MAX: u64 = 300;

const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const SUBACK: u8 = 9;

/// What passed between the broker and the recorder, over all connections. Messages are known by their number.
#[derive(Debug, Default)]
pub struct Passed {
    /// How often each was written to the recorder.
    pub delivered: HashMap<u64, u64>,
    pub acknowledged: BTreeSet<u64>,
    /// Deliveries that said of themselves that they were not the first.
    pub again: u64,
    is_subscribed: bool,
}

/// Broker, tap and publisher; dropped, they end.
pub struct Bus {
    broker: Child,
    /// Where the recorder finds the broker.
    pub port: u16,
    passed: Arc<Mutex<Passed>>,
    published: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    publisher: Option<JoinHandle<()>>,
}

impl Bus {
    pub fn start(folder: &Path) -> Self {
        let broker_port = free_port();
        let broker = broker(folder, broker_port);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let passed = Arc::<Mutex<Passed>>::default();
        let tapped = Arc::clone(&passed);
        std::thread::spawn(move || {
            for recorder in listener.incoming() {
                tap(recorder.unwrap(), TcpStream::connect(("127.0.0.1", broker_port)).unwrap(), &tapped);
            }
        });
        let (published, is_over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let of_publisher = (Arc::clone(&passed), Arc::clone(&published), Arc::clone(&is_over));
        let publisher = std::thread::spawn(move || {
            let (passed, published, is_over) = of_publisher;
            publish(broker_port, &passed, &published, &is_over);
        });
        Self { broker, port, passed, published, is_over, publisher: Some(publisher) }
    }

    pub fn passed<T>(&self, look: impl FnOnce(&Passed) -> T) -> T {
        look(&self.passed.lock().unwrap())
    }

    /// Publishes nothing more, waits until all of it is acknowledged by the recorder, and says how many that are.
    pub fn drain(&mut self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.publisher.take().unwrap().join().unwrap();
        let published = self.published.load(Ordering::Relaxed);
        let deadline = Instant::now() + Duration::from_secs(120);
        while self.passed(|passed| passed.acknowledged.len() as u64) < published {
            assert!(Instant::now() < deadline, "what the broker has does not get through");
            std::thread::park_timeout(Duration::from_millis(5));
        }
        published
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.broker.kill();
        let _ = self.broker.wait();
    }
}

/// It keeps sessions, and delivers anew, flagged, what was not acknowledged within a second.
fn broker(folder: &Path, port: u16) -> Child {
    let (config, store) = (folder.join("nats.conf"), folder.join("nats"));
    let text = format!(
        "server_name: vendor\nlisten: \"127.0.0.1:{}\"\njetstream {{ store_dir: \"{}\" }}\n\
         mqtt {{ listen: \"127.0.0.1:{port}\", ack_wait: \"1s\", max_ack_pending: 200 }}\n",
        free_port(),
        store.display()
    );
    std::fs::write(&config, text).unwrap();
    let log = std::fs::File::create(folder.join("nats.log")).unwrap();
    let mut broker = Command::new(python().with_file_name("nats-server"))
        .arg("-c")
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("requirements.txt brings nats-server");
    let deadline = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(
            broker.try_wait().unwrap().is_none() && Instant::now() < deadline,
            "the broker does not listen"
        );
        std::thread::park_timeout(Duration::from_millis(5));
    }
    broker
}

/// Hands packets on in both directions, and notes what they are before it does.
fn tap(recorder: TcpStream, broker: TcpStream, passed: &Arc<Mutex<Passed>>) {
    for stream in [&recorder, &broker] {
        stream.set_nodelay(true).unwrap();
    }
    // Which message a packet id stands for on this connection.
    let ids = Arc::<Mutex<HashMap<u16, u64>>>::default();
    let down = (broker.try_clone().unwrap(), recorder.try_clone().unwrap());
    let (noted, of_down) = (Arc::clone(passed), Arc::clone(&ids));
    std::thread::spawn(move || {
        hand_on(down, |first, body| match first >> 4 {
            PUBLISH => {
                let (id, n) = published_number(first, body);
                of_down.lock().unwrap().insert(id, n);
                let mut passed = noted.lock().unwrap();
                *passed.delivered.entry(n).or_default() += 1;
                passed.again += u64::from(first & 0b1000 != 0);
            }
            SUBACK => noted.lock().unwrap().is_subscribed = true,
            _ => {}
        });
    });
    let noted = Arc::clone(passed);
    std::thread::spawn(move || {
        hand_on((recorder, broker), |first, body| {
            if first >> 4 == PUBACK {
                let id = u16::from_be_bytes([body[0], body[1]]);
                let n = ids.lock().unwrap()[&id];
                noted.lock().unwrap().acknowledged.insert(n);
            }
        });
    });
}

fn hand_on((mut from, mut to): (TcpStream, TcpStream), mut note: impl FnMut(u8, &[u8])) {
    while let Ok((first, body)) = read_packet(&mut from) {
        note(first, &body);
        if to.write_all(&packet(first, &body)).is_err() {
            break;
        }
    }
    // The other direction ends as well.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// Packet id and number of a message that is published at QoS 1.
fn published_number(first: u8, body: &[u8]) -> (u16, u64) {
    assert_eq!(first >> 1 & 0b11, 1, "QoS 1");
    let (length, rest) = body.split_at(2);
    let rest = &rest[usize::from(u16::from_be_bytes([length[0], length[1]]))..];
    let (id, payload) = rest.split_at(2);
    let payload: serde_json::Value = serde_json::from_slice(payload).unwrap();
    (u16::from_be_bytes([id[0], id[1]]), payload["bus"].as_u64().unwrap())
}

fn read_packet(from: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut byte = [0];
    from.read_exact(&mut byte)?;
    let first = byte[0];
    let (mut length, mut shift) = (0, 0);
    loop {
        from.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 0x7F) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok((first, body))
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let (mut packet, mut length) = (vec![first], body.len());
    loop {
        let more = if length > 0x7F { 0x80 } else { 0 };
        packet.push((length & 0x7F) as u8 | more);
        length >>= 7;
        if more == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

/// Publishes `{"bus":0}`, `{"bus":1}`, …, each once the broker has the one before.
fn publish(port: u16, passed: &Mutex<Passed>, published: &AtomicU64, is_over: &AtomicBool) {
    let mut broker = TcpStream::connect(("127.0.0.1", port)).unwrap();
    broker.set_nodelay(true).unwrap();
    broker.write_all(&packet(0x10, b"\0\x04MQTT\x04\x02\0\0\0\x06vendor")).unwrap();
    assert_eq!(read_packet(&mut broker).unwrap().0 >> 4, CONNACK);
    let mut n = 0_u64;
    while !is_over.load(Ordering::Relaxed) {
        let is_wanted = {
            let passed = passed.lock().unwrap();
            // Before anybody has subscribed the broker keeps nothing.
            passed.is_subscribed && n < passed.acknowledged.len() as u64 + AHEAD_MAX
        };
        if !is_wanted {
            std::thread::park_timeout(Duration::from_millis(1));
            continue;
        }
        let mut body = b"\0\x03t/1\0\x01".to_vec();
        body.extend_from_slice(format!("{{\"bus\":{n}}}").as_bytes());
        let is_sent = broker.write_all(&packet(0x32, &body)).is_ok();
        match read_packet(&mut broker) {
            Ok((first, _)) if is_sent => assert_eq!(first >> 4, PUBACK),
            // The test has failed elsewhere, and the broker is gone.
            _ => return,
        }
        n += 1;
        published.store(n, Ordering::Relaxed);
        // About a thousand a second, in bursts: the recorder is to be busy, not the test.
        if n.is_multiple_of(10) {
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
}
