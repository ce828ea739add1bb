//! `--rebase-time` and `--faults`, from the recorder to the receiver of pushes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command as Process;
use std::sync::{Arc, Mutex};

use super::{folder, post, recorder, refused, run, telereel, write};

const APP_KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";

/// A user's own declaration, whose time lies in JSON in a text.
const DOOR: &str = "kind = \"opened\"\nmatch = { path = \"door\" }\n[[field]]\nname = \"opened_at\"\nid = 100\n\
                    type = \"timestamp\"\ntime = \"rfc3339\"\nrole = \"time\"\npath = \"door.at\"\n";

/// Paths and bodies.
type Bodies = Vec<(String, String)>;

/// An HTTP server that takes everything, and the bodies by path.
fn receiver() -> (String, Arc<Mutex<Bodies>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let received = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&received);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, noted) = (stream.unwrap(), Arc::clone(&noted));
            std::thread::spawn(move || {
                let mut read = BufReader::new(stream.try_clone().unwrap());
                loop {
                    let mut head = Vec::new();
                    while read.read_until(b'\n', &mut head).is_ok_and(|n| n > 2) {}
                    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
                    let Some(path) = head.split(' ').nth(1) else { return };
                    let length = head.split("content-length: ").nth(1).unwrap();
                    let mut body = vec![0; length.lines().next().unwrap().trim().parse().unwrap()];
                    read.read_exact(&mut body).unwrap();
                    noted.lock().unwrap().push((path.to_owned(), String::from_utf8(body).unwrap()));
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
                }
            });
        }
    });
    (url, received)
}

#[test]
fn times_are_moved_and_faults_made_on_request() {
    let folder = folder();
    let config = format!(
        "[webhooks]\nlisten = \"127.0.0.1:0\"\n[console]\nlisten = \"127.0.0.1:0\"\n\
         [[source]]\nname = \"door\"\nvendor = \"generic\"\ntransport = \"webhook\"\npath = \"/in\"\nschema = \"door.toml\"\n\
         [[source]]\nname = \"sensoro\"\nvendor = \"sensoro\"\npath = \"/hooks/city\"\napp_id = \"123456\"\n\
         app_key = \"{APP_KEY}\"\napp_secret = \"simulated-app-secret\"\n"
    );
    write(&folder, "telereel.toml", &config);
    write(&folder, "door.toml", DOOR);
    write(&folder, "none.toml", "");
    let (mut recorder, _said, url) = recorder(&folder, "s");
    let address = url.split('/').next().unwrap();
    let opened = r#"{"door": "{\"at\":\"2024-02-28T23:59:59.5+01:00\",\"n\":-0.0}"}"#;
    assert!(post(address, "/in", opened).starts_with("HTTP/1.1 200"));
    let push = format!("sensoro=http://{address}");
    let simulate = ["simulate", "--vendor", "sensoro", "--push", &push, "--rate", "20", "--for", "2s"];
    let (code, _, stderr) = run(telereel(&folder).args(simulate));
    assert_eq!(code, 0, "{stderr}");
    assert!(Process::new("kill").args(["-TERM", &recorder.id().to_string()]).status().unwrap().success());
    let mut summary = String::new();
    recorder.stdout.take().unwrap().read_to_string(&mut summary).unwrap();
    assert_eq!(recorder.wait().unwrap().code(), Some(0));
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    let count = summary["sources"][1]["messages"].as_u64().unwrap();
    assert!(count > 10, "{summary}");

    let (url, received) = receiver();
    let (door, city) = (format!("door={url}"), format!("sensoro={url}"));
    let pushed = ["replay", "s", "--pace", "max", "--json", "--push", &door, "--push", &city];
    let replay = |more: &[&str]| {
        let (code, stdout, stderr) = run(telereel(&folder).args(pushed).args(more));
        assert_eq!(code, 0, "{more:?}: {stderr}");
        let report: serde_json::Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
        let mut bodies = std::mem::take(&mut *received.lock().unwrap());
        // Each receiver gets its own in order; the door's first.
        bodies.sort_by_key(|(path, _)| path != "/in");
        (report, bodies)
    };
    let (plain, as_recorded) = replay(&[]);
    assert_eq!((plain["messages"].as_u64(), &plain["faults"]), (Some(count + 1), &serde_json::json!([])));
    assert_eq!(plain["digest"], plain["sent_digest"]);
    assert_eq!(as_recorded[0], ("/in".to_owned(), opened.to_owned()));

    // The first message is the door's: it is received at T, and so its time is moved by that minus its receipt.
    let to = ["--rebase-time=2030-01-01T00:00:00Z"];
    let (moved, bodies) = replay(&to);
    let (again, same) = replay(&to);
    assert_eq!(bodies, same, "a fixed T gives the same bytes");
    assert_eq!((&moved["digest"], &moved["sent_digest"]), (&plain["digest"], &again["sent_digest"]));
    assert_ne!(moved["sent_digest"], moved["digest"]);
    let [head, tail] = [r#"{"door": "{\"at\":\""#, r#"+01:00\",\"n\":-0.0}"}"#];
    let time = bodies[0].1.strip_prefix(head).and_then(|rest| rest.strip_suffix(tail)).unwrap();
    assert_eq!(time.len(), "2024-02-28T23:59:59.5".len());
    assert_ne!(bodies[0].1, opened);
    let mut sealed = 0;
    for ((_, old), (path, new)) in as_recorded.iter().zip(&bodies).skip(1) {
        let [old, new]: [serde_json::Value; 2] = [old, new].map(|text| serde_json::from_str(text).unwrap());
        assert_eq!(path, "/hooks/city");
        // The simulated vendor was as fast as its messages are old: made within the replay's two seconds.
        let made_ms = new["createdTime"].as_i64().unwrap() - 1_893_456_000_000;
        assert!((-1_000..30_000).contains(&made_ms), "{made_ms}");
        assert_eq!(old["encryptData"], new["encryptData"]);
        sealed += u32::from(new["encryptData"].is_string());
    }
    assert!(sealed > 0 && sealed < bodies.len() as u32 - 1, "both modes");

    // Their signatures cover the times: without the credentials, it is said at the start.
    let without =
        ["-c", "none.toml", "--archive", "archive", "replay", "s", "--push", &city, "--rebase-time"];
    refused(telereel(&folder).args(without), 2, &["`sensoro`", "app_key", "app_secret", "-c FILE"]);

    let (faulty, struck) = replay(&["--faults", "drop=@0,duplicate=@1,corrupt=@2", "--seed", "7"]);
    let told: Vec<_> = faulty["faults"].as_array().unwrap().iter().map(|fault| &fault["fault"]).collect();
    assert_eq!(told, ["drop", "duplicate", "corrupt"]);
    assert_eq!(
        faulty["faults"][0]["first"],
        serde_json::json!([{"index": 0, "seq": faulty["faults"][0]["first"][0]["seq"]}])
    );
    assert_eq!((&struck[0], &struck[1]), (&as_recorded[1], &as_recorded[1]));
    assert_ne!(struck[2], as_recorded[2]);
    assert_eq!(struck[3..], as_recorded[3..]);
    assert_eq!(faulty["digest"], plain["digest"]);

    // What a run was, its report says: with that it is run again, to the byte.
    let (run, as_run) =
        replay(&["--rebase-time", "--where", "seq < 9", "--to", "+60.5s", "--kind", "opened"]);
    let arguments = &run["arguments"];
    let told = ["where", "to", "seed", "pace"].map(|name| arguments[name].to_string());
    assert_eq!(told, [r#""seq < 9""#, r#""+60500ms""#, "1", r#""max""#]);
    assert_eq!(
        (&arguments["kind"], &arguments["from"]),
        (&serde_json::json!(["opened"]), &serde_json::Value::Null)
    );
    let rebase = format!("--rebase-time={}", arguments["rebase_time"].as_str().unwrap());
    let (again, as_again) = replay(&[&rebase, "--where", "seq < 9", "--to", "+60500ms", "--kind", "opened"]);
    assert_eq!((&run["sent_digest"], as_run), (&again["sent_digest"], as_again));
    assert_eq!(faulty["arguments"]["faults"], "drop=@0,duplicate=@1,corrupt=@2");
    assert_eq!(faulty["arguments"]["seed"], 7);

    for (args, what) in [
        (["--faults", "dorp=1/2"], "no fault `dorp`"),
        (["--rebase-time=+90s", "--no-wait"], "expected a time such as"),
        (["--rebase-time=foo", "--no-wait"], "such as `2026-03-01T14:30:00Z` or `-2h`"),
        (["--rebase-time", "2030-01-01T00:00:00Z"], "--rebase-time=2030-01-01T00:00:00Z"),
        (["--seed", "7"], "--faults"),
    ] {
        refused(telereel(&folder).args(["replay", "s"]).args(args), 2, &[what]);
    }
}
