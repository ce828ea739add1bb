//! Who listens: a client that does nothing but take the time of each message as its read returns.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, bail};
use bytes::BytesMut;
use rumqttc::mqttbytes::v4::{Connect, Packet, Subscribe};
use rumqttc::mqttbytes::{Error as PacketError, QoS};
use telereel::clock::Clock;
use tokio_tungstenite::tungstenite::stream::MaybeTlsStream;
use tokio_tungstenite::tungstenite::{Message, connect};

use super::stream;

/// The number and the receive time of each message, in the order in which they came.
pub type Received = Vec<(usize, u64)>;

pub fn websocket(address: &str, count: usize) -> Result<Received> {
    let clock = Clock::System;
    let (mut client, _) = connect(format!("ws://{address}/ws"))?;
    if let MaybeTlsStream::Plain(stream) = client.get_ref() {
        stream.set_nodelay(true)?;
    }
    let mut received = Vec::with_capacity(count);
    loop {
        match client.read()? {
            Message::Text(text) => {
                let now_ns = clock.now().steady_ns;
                received.push((stream::number(text.as_bytes()).context("not ours")?, now_ns));
            }
            Message::Close(_) => break,
            _ => {}
        }
    }
    let _ = client.flush();
    Ok(received)
}

/// At QoS 0.
pub fn mqtt(address: &str, count: usize) -> Result<Received> {
    let clock = Clock::System;
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut out = BytesMut::new();
    // Nothing is sent from here on, also no ping.
    Connect { keep_alive: 0, ..Connect::new("precision") }.write(&mut out)?;
    Subscribe { pkid: 1, ..Subscribe::new("#", QoS::AtMostOnce) }.write(&mut out)?;
    stream.write_all(&out)?;
    let mut received = Vec::with_capacity(count);
    let mut buffer = BytesMut::with_capacity(1 << 20);
    let mut read = vec![0; 64 << 10];
    loop {
        let bytes = stream.read(&mut read)?;
        let now_ns = clock.now().steady_ns;
        if bytes == 0 {
            return Ok(received);
        }
        buffer.extend_from_slice(&read[..bytes]);
        loop {
            match Packet::read(&mut buffer, usize::MAX) {
                Ok(Packet::Publish(publish)) => {
                    received.push((stream::number(&publish.payload).context("not ours")?, now_ns));
                }
                Ok(_) => {}
                Err(PacketError::InsufficientBytes(_)) => break,
                Err(error) => bail!(error),
            }
        }
    }
}
