//! What the test programs share. Each uses a part of it.
#![allow(dead_code, reason = "every test program compiles its own copy")]

pub mod mosquitto;
pub mod process;
pub mod python;

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

/// Runs a verb to its end in `folder`, expects `code`, and gives its standard output.
pub fn telereel(folder: &Path, args: &[&str], code: i32) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_telereel")).args(args).current_dir(folder).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "telereel {args:?}:\n{out}\n{err}");
    out.into_owned()
}

/// A port of the loopback interface that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// The status and body of an HTTP answer, if it came whole.
pub fn read_answer(connection: &mut BufReader<TcpStream>) -> Option<(u16, String)> {
    let (mut line, mut length, mut status) = (String::new(), 0, None);
    while line != "\r\n" {
        line.clear();
        if connection.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if status.is_none() {
            status = Some(line.split(' ').nth(1)?.parse().ok()?);
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).ok()?;
    Some((status?, String::from_utf8(body).ok()?))
}
