//! The other end of any source that is dialled: REST, MQTT, MQTT over WebSocket and WebSocket on one port, told
//! apart by the first byte. Each connection gets the same messages, once its client has said what it wants, and again
//! whenever the test says so.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

/// Topic (MQTT only) and payload.
pub type Said = (&'static str, &'static str);

#[derive(Clone)]
pub struct Peer {
    says: &'static [Said],
    /// Whether a WebSocket's client speaks first.
    is_asked: bool,
    /// A sensor whose token is not given before this is true.
    gives: watch::Receiver<bool>,
    held: &'static str,
    orders: broadcast::Sender<Order>,
    pub acknowledged: Arc<AtomicUsize>,
    /// Connections whose client has said what it wants.
    pub open: Arc<AtomicUsize>,
    /// How often one of them was told all messages.
    pub said: Arc<AtomicUsize>,
    /// What every request is answered with.
    pub answer: Arc<Mutex<String>>,
}

/// What all open connections are to do.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    SayAgain,
    Leave,
}

/// A connection whose client has said what it wants.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Peer {
    pub fn new(says: &'static [Said], is_asked: bool) -> Self {
        let gives = watch::channel(true).1;
        let answer = r#"{"token":"t","data":{"zones":[]}}"#.to_owned();
        Self {
            says,
            is_asked,
            gives,
            held: "",
            orders: broadcast::channel(16).0,
            acknowledged: Arc::default(),
            open: Arc::default(),
            said: Arc::default(),
            answer: Arc::new(Mutex::new(answer)),
        }
    }

    /// Says all messages again to whoever listens.
    pub fn say_again(&self) {
        // An error is that nobody does.
        let _ = self.orders.send(Order::SayAgain);
    }

    /// Drops all connections without a word.
    pub fn leave(&self) {
        let _ = self.orders.send(Order::Leave);
    }

    fn opens(&self) -> Open {
        self.open.fetch_add(1, Ordering::SeqCst);
        Open(Arc::clone(&self.open))
    }

    /// The token of the sensor `held` is given once `gives` says so.
    pub fn holding(self, held: &'static str, gives: watch::Receiver<bool>) -> Self {
        Self { held, gives, ..self }
    }

    /// Serves for as long as the test's runtime lives; the port.
    pub async fn serve(self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        self.serve_on(listener);
        port
    }

    /// The same where clients may be waiting already.
    pub fn serve_on(self, listener: TcpListener) {
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(self.clone().converse(stream));
            }
        });
    }

    async fn converse(self, stream: TcpStream) {
        let mut first = [0];
        match stream.peek(&mut first).await {
            Ok(1) if first == *b"G" => self.websocket(stream).await,
            Ok(1) if first == [0x10] => self.broker(stream).await,
            _ => self.rest(stream).await,
        }
    }

    /// Gives each sensor a token, and lets it be started.
    async fn rest(mut self, mut stream: TcpStream) {
        let (mut said, mut part) = (String::new(), [0; 4 << 10]);
        // A request of ours ends with its body, or has none.
        while !(said.ends_with('}') || said.starts_with("PUT") && said.ends_with("\r\n\r\n")) {
            match stream.read(&mut part).await {
                Ok(read @ 1..) => said.push_str(&String::from_utf8_lossy(&part[..read])),
                _ => return,
            }
        }
        if !self.held.is_empty() && said.ends_with(&format!("\"{}\"}}", self.held)) {
            let _ = self.gives.wait_for(|gives| *gives).await;
        }
        let body = self.answer.lock().unwrap().clone();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let _ = stream.write_all(answer.as_bytes()).await;
    }

    async fn websocket(self, stream: TcpStream) {
        let mut is_mqtt = false;
        #[expect(clippy::result_large_err, reason = "the library's own type")]
        let agree = |request: &Request, mut response: Response| {
            if let Some(protocol) = request.headers().get("sec-websocket-protocol") {
                is_mqtt = true;
                response.headers_mut().insert("sec-websocket-protocol", protocol.clone());
            }
            Ok(response)
        };
        let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, agree).await else { return };
        let mut orders = self.orders.subscribe();
        let mut broker = Broker::new(&self);
        let mut open = None;
        loop {
            if !is_mqtt && open.is_none() && !self.is_asked {
                open = Some(self.opens());
                self.tell(&mut socket).await;
            }
            let next = tokio::select! {
                order = orders.recv() => match order {
                    Ok(Order::SayAgain) if is_mqtt => {
                        let _ = socket.send(Message::binary(broker.say())).await;
                        continue;
                    }
                    Ok(Order::SayAgain) => {
                        if open.is_some() {
                            self.tell(&mut socket).await;
                        }
                        continue;
                    }
                    _ => return,
                },
                next = socket.next() => next,
            };
            match next {
                Some(Ok(Message::Binary(bytes))) => {
                    let answer = broker.answer(&bytes);
                    let _ = socket.send(Message::binary(answer)).await;
                }
                Some(Ok(Message::Text(_))) if open.is_none() => {
                    open = Some(self.opens());
                    self.tell(&mut socket).await;
                }
                Some(Ok(_)) => {}
                _ => return,
            }
        }
    }

    async fn tell(&self, socket: &mut WebSocketStream<TcpStream>) {
        for (_, payload) in self.says {
            let _ = socket.send(Message::text(*payload)).await;
        }
        self.said.fetch_add(1, Ordering::SeqCst);
    }

    async fn broker(self, mut stream: TcpStream) {
        let mut orders = self.orders.subscribe();
        let mut broker = Broker::new(&self);
        let mut part = [0; 4 << 10];
        loop {
            let answer = tokio::select! {
                order = orders.recv() => match order {
                    Ok(Order::SayAgain) => broker.say(),
                    _ => return,
                },
                read = stream.read(&mut part) => match read {
                    Ok(read @ 1..) => broker.answer(&part[..read]),
                    _ => return,
                },
            };
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    }
}

/// As much of MQTT as a subscriber needs; packets may come in parts or joined.
struct Broker {
    peer: Peer,
    unread: Vec<u8>,
    /// At which QoS its subscriber is told, once there is one.
    subscriber: Option<(u8, Open)>,
}

impl Broker {
    fn new(peer: &Peer) -> Self {
        Self { peer: peer.clone(), unread: Vec::new(), subscriber: None }
    }

    fn answer(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.unread.extend_from_slice(bytes);
        let mut answer = Vec::new();
        while let Some((first, body)) = self.packet() {
            match first >> 4 {
                1 => answer.extend([0x20, 2, 0, 0]),
                8 => self.subscribed(&body, &mut answer),
                4 => drop(self.peer.acknowledged.fetch_add(1, Ordering::SeqCst)),
                12 => answer.extend([0xD0, 0]),
                _ => {}
            }
        }
        answer
    }

    fn packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = *self.unread.first()?;
        let digits = self.unread.get(1..)?.iter().position(|byte| byte & 0x80 == 0)? + 1;
        let length = self.unread[1..=digits].iter().rev().fold(0, |n, b| n << 7 | usize::from(b & 0x7F));
        let end = 1 + digits + length;
        let body = self.unread.get(1 + digits..end)?.to_vec();
        self.unread.drain(..end);
        Some((first, body))
    }

    /// Grants what is asked for, and publishes at the QoS of the first filter.
    fn subscribed(&mut self, body: &[u8], answer: &mut Vec<u8>) {
        let (mut granted, mut rest) = (Vec::new(), &body[2..]);
        while let [high, low, more @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            granted.push(more[length].min(1));
            rest = &more[length + 1..];
        }
        answer.extend([0x90, 2 + granted.len() as u8, body[0], body[1]]);
        answer.extend(&granted);
        self.subscriber = Some((granted[0], self.peer.opens()));
        answer.extend(self.say());
    }

    /// All messages as packets; nothing while nobody has subscribed.
    fn say(&self) -> Vec<u8> {
        let Some((qos, _)) = &self.subscriber else { return Vec::new() };
        let mut packets = Vec::new();
        for (n, (topic, payload)) in self.peer.says.iter().enumerate() {
            let mut packet = (topic.len() as u16).to_be_bytes().to_vec();
            packet.extend(topic.as_bytes());
            if *qos > 0 {
                packet.extend((n as u16 + 1).to_be_bytes());
            }
            packet.extend(payload.as_bytes());
            let length = packet.len();
            packets.extend([0x30 | qos << 1, length as u8 | 0x80, (length >> 7) as u8]);
            packets.extend(packet);
        }
        self.peer.said.fetch_add(1, Ordering::SeqCst);
        packets
    }
}
