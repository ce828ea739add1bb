//! Configured credentials are searched for in everything that comes out of a recording and its replay: logs at their
//! most talkative, `--json`, the status, the archive with its journal, the trace. The other ends misbehave on purpose,
//! and say back what they were told, since it is in errors that credentials get out. What a vendor puts into a payload
//! is not ours to change, so nothing is said back there.
//!
//! A new kind of source is one entry of [`cases`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation fails the test"
)]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use md5::{Digest as _, Md5};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use support::free_port;
use telereel::archive::{Archive, ScanOptions, scan};
use telereel::message::Selection;
use telereel::secret::Secret;
use telereel::vendors::sensoro::cipher::Cipher;
use telereel::vendors::sensoro::signature::Signed;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, accept_hdr, connect};

/// For anything that is waited for: far longer than it takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a misbehaving server listens for what is said to it.
const LISTENS: Duration = Duration::from_millis(200);

/// What the other end of a source speaks.
#[derive(Clone, Copy, PartialEq)]
enum Peer {
    WebSocket,
    Mqtt,
    /// A REST interface that comes before anything else.
    Http,
    /// An interface that gives tokens in this reply, and a WebSocket that they are shown to.
    Tokens(&'static str),
    /// Nobody: the source is pushed to at this path, with this header.
    Pushes(&'static str, Option<(&'static str, &'static str)>),
}

struct Case {
    name: &'static str,
    /// What stands in `[[source]]` beside the name; `{port}` is the other end's.
    config: &'static str,
    peer: Peer,
    /// Connections that are made before the recording may end: one for each way to misbehave that the source
    /// comes back from.
    connections: usize,
    secrets: &'static [&'static str],
}

const CONSOLE_TOKEN: &str = "console-t0ken+zebra";

fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "delicode",
            config: "vendor = \"delicode\"\nurl = \"ws://127.0.0.1:{port}/websocket_realtime\"\ntoken = \"jwt.delicode+tiger/9\"\nlocations = [1]",
            peer: Peer::WebSocket,
            connections: 3,
            secrets: &["jwt.delicode+tiger/9"],
        },
        Case {
            name: "jointech-mqtt",
            config: "vendor = \"jointech\"\ntransport = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{port}\"\nusername = \"u8\"\npassword = \"login-word-otter\"\naccess_key = \"0123456789ABCDEF0123456789ABCDEF\"",
            peer: Peer::Mqtt,
            connections: 3,
            secrets: &["login-word-otter"],
        },
        Case {
            name: "jointech-push",
            config: "vendor = \"jointech\"\ntransport = \"webhook\"\npath = \"/hooks/locks\"\nheader = { name = \"headerKey\", value = \"header-value+heron\" }\nredact_query = [\"sig\"]",
            peer: Peer::Pushes(
                "/hooks/locks/alarm?sig=query-badger&n=1",
                Some(("headerKey", "header-value+heron")),
            ),
            connections: 0,
            secrets: &["header-value+heron", "query-badger"],
        },
        Case {
            name: "generic-websocket",
            config: "vendor = \"generic\"\ntransport = \"websocket\"\nurl = \"ws://127.0.0.1:{port}/feed?key=url-key-ibex&url-bare-moose\"\nheaders = { authorization = \"Bearer header-otter/7\" }\nsend_on_open = [\"hello frame-raven+1\"]",
            peer: Peer::WebSocket,
            connections: 3,
            secrets: &["url-key-ibex", "url-bare-moose", "header-otter/7", "frame-raven+1"],
        },
        Case {
            name: "generic-tls",
            config: "vendor = \"generic\"\ntransport = \"websocket\"\nurl = \"wss://127.0.0.1:{port}/feed?key=tls-key-bison\"",
            peer: Peer::WebSocket,
            connections: 2,
            secrets: &["tls-key-bison"],
        },
        Case {
            name: "generic-mqtt",
            config: "vendor = \"generic\"\ntransport = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{port}\"\nusername = \"u9\"\npassword = \"mqtt-word+stork\"\ntopics = [\"#\"]",
            peer: Peer::Mqtt,
            connections: 3,
            secrets: &["mqtt-word+stork"],
        },
        Case {
            name: "generic-push",
            config: "vendor = \"generic\"\ntransport = \"webhook\"\npath = \"/hooks/any\"\nredact_query = [\"token\"]\nredact_headers = [\"X-Api-Key\"]",
            peer: Peer::Pushes("/hooks/any?a=1&token=query-puffin", Some(("x-api-key", "header-gannet"))),
            connections: 0,
            secrets: &["query-puffin", "header-gannet"],
        },
        Case {
            name: "damoov",
            config: "vendor = \"damoov\"\nurl = \"ws://127.0.0.1:{port}/realtime/api/v1/ws/realtime\"\naccess_token = \"eyJh.damoov-access-hyena.x\"\ninstance_id = \"i-1\"\nrefresh_url = \"http://127.0.0.1:{port}/refresh\"\nrefresh_token = \"damoov-refresh-okapi\"",
            peer: Peer::WebSocket,
            connections: 2,
            secrets: &["eyJh.damoov-access-hyena.x", "damoov-refresh-okapi"],
        },
        Case {
            name: "damoov-login",
            config: "vendor = \"damoov\"\nurl = \"ws://127.0.0.1:{port}/realtime/api/v1/ws/realtime\"\ninstance_id = \"i-2\"\nlogin = { url = \"http://127.0.0.1:{port}/login\", email = \"a@example.com\", password = \"damoov-login-gecko\" }",
            peer: Peer::Http,
            connections: 1,
            secrets: &["damoov-login-gecko"],
        },
        Case {
            name: "pontosense",
            config: "vendor = \"pontosense\"\napi_url = \"http://127.0.0.1:{port}\"\napi_key = \"ak\"\nsecret = \"ponto-secret-quokka\"\nsensors = [\"ATR_1\"]",
            peer: Peer::Http,
            connections: 1,
            secrets: &["ponto-secret-quokka"],
        },
        Case {
            name: "pontosense-token",
            config: "vendor = \"pontosense\"\napi_url = \"http://127.0.0.1:{port}\"\napi_key = \"ak\"\nsecret = \"ponto-secret-skunk\"\nsensors = [\"ATR_1\"]\nmqtt_url = \"ws://127.0.0.1:{port}\"",
            peer: Peer::Tokens(r#"{"token":"given/to+ponto=narwhal","data":{"zones":[]}}"#),
            connections: 4,
            secrets: &["ponto-secret-skunk", "given/to+ponto=narwhal"],
        },
        Case {
            name: "damoov-token",
            config: "vendor = \"damoov\"\nurl = \"ws://127.0.0.1:{port}/realtime/api/v1/ws/realtime\"\ninstance_id = \"i-3\"\nlogin = { url = \"http://127.0.0.1:{port}/login\", email = \"a@example.com\", password = \"damoov-login-lemur\" }",
            peer: Peer::Tokens(
                r#"{"Result":{"AccessToken":{"Token":"given.damoov-access-walrus"},"RefreshToken":"given-damoov-refresh-tapir"}}"#,
            ),
            connections: 4,
            secrets: &["damoov-login-lemur", "given.damoov-access-walrus", "given-damoov-refresh-tapir"],
        },
        Case {
            name: "sensoro",
            config: "vendor = \"sensoro\"\npath = \"/hooks/city\"\napp_id = \"123456\"\napp_key = \"sensoroAppKeyWombatxyz0123456789ABCDEFGHIJK\"\napp_secret = \"sensoro-secret-dingo\"",
            peer: Peer::Pushes("/hooks/city", None),
            connections: 0,
            secrets: &["sensoroAppKeyWombatxyz0123456789ABCDEFGHIJK", "sensoro-secret-dingo"],
        },
    ]
}

/// A form in which a secret would be one still.
fn forms(secret: &str) -> Vec<String> {
    let encoded = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
    let escaped = serde_json::Value::from(secret).to_string();
    let md5 = Md5::digest(secret).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    });
    let mut forms = vec![
        secret.to_owned(),
        encoded.clone(),
        encoded.to_lowercase(),
        secret.replace('+', "%2B").replace('/', "%2F"),
        escaped.trim_matches('"').to_owned(),
        md5.to_uppercase(),
        md5,
    ];
    for engine in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD] {
        forms.push(engine.encode(secret).trim_end_matches('=').to_owned());
    }
    forms
}

/// Where what comes out is searched.
struct Search {
    secrets: BTreeMap<&'static str, Vec<String>>,
    found: Vec<String>,
    searched: usize,
}

impl Search {
    fn through(&mut self, place: &str, bytes: &[u8]) {
        self.searched += bytes.len();
        for (secret, forms) in &self.secrets {
            for form in forms {
                let at = bytes.windows(form.len()).position(|window| window == form.as_bytes());
                if let Some(at) = at {
                    let around = &bytes[at.saturating_sub(160)..(at + form.len() + 40).min(bytes.len())];
                    self.found.push(format!("{secret} in {place}: …{}…", String::from_utf8_lossy(around)));
                }
            }
        }
    }

    /// All files below a folder, but for the configuration, which has them rightly.
    fn through_files(&mut self, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.through_files(&path);
            } else if path.file_name().is_some_and(|name| name != "telereel.toml") {
                self.through(&path.display().to_string(), &std::fs::read(&path).unwrap());
            }
        }
    }
}

#[test]
fn configured_credentials_are_in_nothing_that_comes_out() {
    let folder = tempfile::tempdir().unwrap();
    let (webhooks, console) = (free_port(), free_port());
    let cases = cases();
    let mut config = format!(
        "[webhooks]\nlisten = \"127.0.0.1:{webhooks}\"\n[console]\nlisten = \"127.0.0.1:{console}\"\ntoken = \"{CONSOLE_TOKEN}\"\n"
    );
    let mut peers = Vec::new();
    for case in &cases {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let text = case.config.replace("{port}", &port);
        writeln!(config, "[[source]]\nname = \"{}\"\n{text}", case.name).unwrap();
        if !matches!(case.peer, Peer::Pushes(..)) {
            peers.push((case, misbehave(listener, case.peer)));
        }
    }
    std::fs::write(folder.path().join("telereel.toml"), config).unwrap();
    let secrets = cases.iter().flat_map(|case| case.secrets).chain([&CONSOLE_TOKEN]);
    let mut search = Search {
        secrets: secrets.map(|secret| (*secret, forms(secret))).collect(),
        found: vec![],
        searched: 0,
    };

    let mut recorder = spawn(folder.path(), &["-vv", "record", "--session", "s", "--json"], "record");
    wait_until_listening(folder.path(), webhooks, &mut recorder);
    for case in &cases {
        if let Peer::Pushes(path, header) = case.peer {
            let wrong = header.map(|(name, value)| (name, format!("{value}?")));
            let wrong = wrong.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>();
            push(webhooks, path, &wrong, ALARM);
            push(webhooks, path, header.as_slice(), ALARM);
        }
    }
    push_signed(webhooks);
    for (case, connections) in &peers {
        for n in 0..case.connections {
            connections
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|_| panic!("{} was dialled {n} times", case.name));
        }
    }
    run(folder.path(), &["-vv", "status", "--json"], &mut search);
    run(folder.path(), &["-vv", "status"], &mut search);
    // As it is before it is sealed.
    search.through_files(&folder.path().join("archive/journal"));
    let stopped = Command::new("kill").args(["-TERM", &recorder.0.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    assert!(recorder.0.wait().unwrap().code().is_some_and(|code| code == 0 || code == 3));

    run(folder.path(), &["-vv", "check", "--json"], &mut search);
    run(folder.path(), &["-vv", "check", "--connect", "--json"], &mut search);
    run(folder.path(), &["-vv", "info", "s", "--json"], &mut search);
    run(folder.path(), &["-vv", "info", "s"], &mut search);
    replay(folder.path(), &mut search);
    through_rows(&folder.path().join("archive"), &mut search);
    search.through_files(folder.path());
    assert!(search.found.is_empty(), "{}", search.found.join("\n\n"));
    assert!(search.searched > 100_000, "little was searched: {}", search.searched);
}

/// Plays it with the configuration's credentials, to clients that show right and wrong ones.
fn replay(folder: &Path, search: &mut Search) {
    let args = [
        "-vv",
        "-c",
        "telereel.toml",
        "replay",
        "s",
        "--require-credentials",
        "--listen",
        "http://127.0.0.1:0",
    ];
    let more = ["--pace", "max", "--kind", "link", "--kind", "message", "--wait-for-clients", "2", "--json"];
    let files = ["--trace", "trace.jsonl", "--report", "report.json"];
    let child = Command::new(env!("CARGO_BIN_EXE_telereel"))
        .args(args)
        .args(more)
        .args(files)
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(File::create(folder.join("replay.err")).unwrap())
        .spawn()
        .unwrap();
    let mut child = Running(child);
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let ready: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    let url = ready["listen"][0].as_str().unwrap().replace("http://", "ws://");
    let register =
        |token: &str| format!(r#"{{"type":"realtime_register","token":"{token}","locations":[1]}}"#);
    let mut clients = Vec::new();
    for token in ["jwt.delicode+tiger/9", "wrong", "jwt.delicode+tiger/9"] {
        let (mut socket, _) =
            connect(format!("{url}/websocket_realtime?token=jwt.delicode%2Btiger/9")).unwrap();
        socket.send(Message::text(register(token))).unwrap();
        if token == "wrong" {
            // What no protocol foresees.
            let _ = socket.send(Message::text("garbage"));
        }
        clients.push(socket);
    }
    for mut socket in clients {
        std::thread::spawn(move || while socket.read().is_ok() {});
    }
    for line in lines {
        search.through("replay --json", line.unwrap().as_bytes());
    }
    child.0.wait().unwrap();
}

/// Every row with all its columns, and what the files say about themselves.
fn through_rows(root: &Path, search: &mut Search) {
    let archive = Archive::open(root).unwrap();
    let kinds: Vec<String> = archive
        .info(archive.resolve("s").unwrap().session_id)
        .unwrap()
        .kinds
        .into_iter()
        .map(|kind| kind.kind)
        .collect();
    assert!(kinds.iter().any(|kind| kind == "link"));
    let selection = Selection { kinds, ..Selection::default() };
    for row in scan(&archive, &ScanOptions { selection, ..ScanOptions::default() }).unwrap() {
        search.through("a row", format!("{:?}", row.unwrap()).as_bytes());
    }
    let mut folders = vec![root.join("data")];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(
                File::open(&path).unwrap(),
            );
            let reader = reader.unwrap();
            search.through(&path.display().to_string(), format!("{:?}", reader.metadata()).as_bytes());
            for batch in reader.build().unwrap() {
                search.through(&path.display().to_string(), format!("{:?}", batch.unwrap()).as_bytes());
            }
        }
    }
}

/// Killed where the test fails before its end.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

fn spawn(folder: &Path, args: &[&str], name: &str) -> Running {
    let file = |end: &str| File::create(folder.join(format!("{name}.{end}"))).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_telereel"));
    command.args(args).current_dir(folder).stdout(file("out")).stderr(file("err"));
    Running(command.spawn().unwrap())
}

fn run(folder: &Path, args: &[&str], search: &mut Search) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_telereel")).args(args).current_dir(folder).output().unwrap();
    assert_ne!(output.status.code(), Some(2), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    search.through(&format!("{args:?}, stdout"), &output.stdout);
    search.through(&format!("{args:?}, stderr"), &output.stderr);
}

fn wait_until_listening(folder: &Path, port: u16, recorder: &mut Running) {
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let is_running = recorder.0.try_wait().unwrap().is_none();
        assert!(is_running, "{}", std::fs::read_to_string(folder.join("record.err")).unwrap());
        std::thread::yield_now();
    }
}

const ALARM: &str = r#"{"alarmType":1,"assetId":"1"}"#;

/// Posts `body`; what the answer begins with.
fn push(port: u16, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    write!(stream, "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    answer
}

/// Posts as SENSORO does what can be decrypted and what cannot.
fn push_signed(port: u16) {
    let app_secret = Secret::new("sensoro-secret-dingo");
    let cipher = Cipher::new(&Secret::new("sensoroAppKeyWombatxyz0123456789ABCDEFGHIJK")).unwrap();
    for sealed in [cipher.seal([0; 16], br#"{"battery":85}"#, "123456"), "QUJD".to_owned()] {
        let body = format!(r#"{{"type":"text","sn":"1","encryptData":"{sealed}"}}"#);
        let url = "https://x/hooks/city";
        let signed = Signed { nonce: "1", method: "POST", url, body: body.as_bytes() };
        let headers = [("x-access-nonce", "1"), ("x-access-signature", &*signed.sign(&app_secret))];
        let answer = push(port, "/hooks/city", &headers, &body);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

/// Serves as badly as it can, each connection in another way; the channel tells of each that is done with.
fn misbehave(listener: TcpListener, peer: Peer) -> Receiver<()> {
    let (done, told) = channel();
    std::thread::spawn(move || {
        for (n, stream) in listener.incoming().enumerate() {
            let (stream, done) = (stream.unwrap(), done.clone());
            std::thread::spawn(move || serve(stream, peer, n, &done));
        }
    });
    told
}

fn serve(mut stream: TcpStream, peer: Peer, n: usize, done: &Sender<()>) {
    stream.set_read_timeout(Some(LISTENS)).unwrap();
    match (peer, n % 3) {
        (Peer::Tokens(reply), _) => give_or_take(stream, reply),
        // Words back, and a status that refuses.
        (Peer::WebSocket | Peer::Http, 0) => {
            let said = listen(&mut stream);
            let line = said.lines().next().unwrap_or_default();
            let length = said.len();
            let _ = write!(
                stream,
                "HTTP/1.1 403 {line}\r\nx-why: {line}\r\ncontent-length: {length}\r\n\r\n{said}"
            );
        }
        (Peer::WebSocket, 1) => close_with_words(stream),
        (Peer::Http, 1) => {
            let said = listen(&mut stream);
            let length = said.len();
            let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{said}");
        }
        // No MQTT at all, and in it what was said.
        (Peer::Mqtt, 0) => {
            let said = listen(&mut stream);
            let _ = stream.write_all(&[b"\xF0\x7F".to_vec(), said.into_bytes()].concat());
        }
        // Taken in, told something, and dropped.
        (Peer::Mqtt, 1) => {
            let _ = stream.write_all(b"\x20\x02\0\0");
            listen(&mut stream);
            let _ = stream.write_all(b"\x90\x03\0\x01\x01\x30\x05\0\x01tyo");
        }
        (Peer::Mqtt, _) => {
            let _ = stream.write_all(b"\x20\x02\0\x05");
            listen(&mut stream);
        }
        _ => drop(listen(&mut stream)),
    }
    let _ = done.send(());
}

/// Gives a token to whoever asks for one, and sends off whoever shows it.
fn give_or_take(mut stream: TcpStream, reply: &str) {
    let mut first = [0];
    if stream.peek(&mut first).is_ok() && first == *b"G" {
        return close_with_words(stream);
    }
    listen(&mut stream);
    let length = reply.len();
    let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{reply}");
}

fn listen(stream: &mut TcpStream) -> String {
    let mut said = vec![0; 16 << 10];
    let read = stream.read(&mut said).unwrap_or(0);
    String::from_utf8_lossy(&said[..read]).into_owned()
}

/// Takes a client in, and sends it off with a reason that holds what it said: its request's line, an authorization
/// that it showed, or its first frame.
fn close_with_words(stream: TcpStream) {
    let mut said = String::new();
    #[expect(clippy::result_large_err, reason = "the library's own type")]
    let note = |request: &Request, mut response: Response| {
        if let Some(protocol) = request.headers().get("sec-websocket-protocol") {
            response.headers_mut().insert("sec-websocket-protocol", protocol.clone());
        }
        let shown = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        said = shown.map_or_else(|| request.uri().to_string(), str::to_owned);
        Ok(response)
    };
    let Ok(mut socket) = accept_hdr(stream, note) else { return };
    if let Ok(Message::Text(frame)) = socket.read() {
        said = if said.contains("Bearer") { format!("{said} {frame}") } else { frame.to_string() };
    }
    said.truncate(said.floor_char_boundary(120));
    let _ = socket.close(Some(CloseFrame { code: CloseCode::Policy, reason: said.into() }));
    while socket.read().is_ok() {}
}

#[test]
fn the_search_finds_what_there_is_to_find() {
    let mut search = Search { secrets: BTreeMap::from([("a+b", forms("a+b"))]), found: vec![], searched: 0 };
    search.through("x", b"nothing");
    assert!(search.found.is_empty());
    for form in ["a+b", "a%2Bb", "YSti", "16a7b7b6acf4b5ac2de0e3b1f5c9d0a1"] {
        let before = search.found.len();
        search.through("x", format!("..{form}..").as_bytes());
        assert_eq!(search.found.len() > before, form.len() < 20, "{form}");
    }
}
