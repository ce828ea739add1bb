//! What decoding one message into typed columns costs, against `serde_json` building its tree of the
//! same bytes, in the same run. Columns are finished every 8192 messages, as sealing does.
//!
//!     cargo bench --bench decode                  400,000 messages of each, five times
//!     cargo bench --bench decode -- 10000         fewer, to count instructions by

// A benchmark's result is what it prints.
#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::time::Instant;

use telereel::decode::{Declaration, Decoder, declaration};

const BATCH: u32 = 8_192;

const LOCATION: &str = r#"{"assetId":"8130630001","longitude":113.921234,"latitude":22.543210,"speed":42,"direction":271,"mileage":12345,"gpsTime":"2024-03-01T08:00:10Z","recvTime":"2024-03-01T08:00:11.123Z","locType":1,"cellSignal":24,"gnssSignal":11,"cells":"460,0,9365,4433","battery":88,"voltage":"3.88","statusJson":"{\"lockRope\":0,\"lockStatus\":1,\"lockBar\":-1}"}"#;

const LOCATION_WITH_EXPAND: &str = r#"{"assetId":"8130630001","longitude":113.921234,"latitude":22.543210,"speed":42,"direction":271,"mileage":12345,"gpsTime":"2024-03-01T08:00:10Z","recvTime":"2024-03-01T08:00:11.123Z","locType":1,"cellSignal":24,"gnssSignal":11,"cells":"460,0,9365,4433","battery":88,"voltage":"3.88","statusJson":"{\"lockRope\":0,\"lockStatus\":1,\"lockBar\":-1}","expandInfo":"{\"temperature\":\"-1000.0\",\"humidity\":\"0\",\"fuels\":\"-1,-1,-1\",\"lux\":\"null\",\"pressure\":\"101325.0\",\"backBattery\":\"55,3.88,0\",\"angle\":\"0\",\"reportType\":\"0\",\"networkType\":\"4\"}","ksInfo":""}"#;

const ALARM: &str = r#"{"alarmType":40,"assetId":"8130630001","cells":"460,0,9365,4433","dateTime":"2024-03-01T08:00:00Z","describe":"","fileIndex":"1709280000","latitude":22.543210,"longitude":113.921234,"mileage":12345,"speed":0}"#;

const POSITION: &str = r#"{"type":"realtime_person_position","person_id":10342,"location_id":2,"position":{"x":-1234.5,"y":987.25},"confidence":0.93}"#;

fn main() {
    let messages = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(400_000);
    for (vendor, kind, body) in [
        ("jointech", "location", LOCATION),
        ("jointech", "location", LOCATION_WITH_EXPAND),
        ("jointech", "alarm", ALARM),
        ("delicode", "person_position", POSITION),
    ] {
        let Some(Ok(declaration)) = declaration(vendor, kind).map(|text| Declaration::parse(text, kind))
        else {
            println!("{vendor} {kind}: no declaration");
            continue;
        };
        let mut decoder = Decoder::new(Some(&declaration));
        let decode_ns = ns_per_message(messages, |n| {
            black_box(decoder.push("upload/KEY/8130630001/location", black_box(body).as_bytes()));
            if n % BATCH == 0 {
                black_box(decoder.finish());
            }
        });
        let tree_ns = ns_per_message(messages, |_| {
            drop(black_box(serde_json::from_slice::<serde_json::Value>(black_box(body).as_bytes())));
        });
        let (bytes, ratio) = (body.len(), decode_ns / tree_ns);
        println!(
            "{vendor} {kind} {bytes} B: {decode_ns:.0} ns, a bare tree {tree_ns:.0} ns, ratio {ratio:.2}"
        );
    }
}

/// The best of five runs, so that a noisy neighbour does not count.
fn ns_per_message(messages: u32, mut each: impl FnMut(u32)) -> f64 {
    let run = |each: &mut dyn FnMut(u32)| {
        let start = Instant::now();
        (1..=messages).for_each(each);
        start.elapsed().as_nanos() as f64 / f64::from(messages)
    };
    (0..5).map(|_| run(&mut each)).fold(f64::INFINITY, f64::min)
}
