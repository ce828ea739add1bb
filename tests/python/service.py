"""A recorder as a service: sockets that outlive it, readiness and watchdog, reloads and ends that lose no webhook."""
import base64
import hashlib
import http.client
import json
import os
import pty
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter

from common import FOLDER, TELEREEL, configure, listening, rows, telereel, until

EXEC = """
import os, sys
os.dup2(int(sys.argv[1]), 3, inheritable=True)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


class Manager:
    """What systemd is to a service: it holds the socket, and is told how the service is."""

    def __init__(self, port):
        self.listener = socket.create_server(("127.0.0.1", port), backlog=1024)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(FOLDER / "notify"))
        self.said = queue.Queue()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            self.said.put(self.notify.recv(4096).decode().splitlines())

    def start(self, *args, names="webhooks", **env):
        log = open(FOLDER / "record.log", "ab")
        own = self.listener.fileno()
        passed = {"LISTEN_FDS": "1", "LISTEN_FDNAMES": names, "NOTIFY_SOCKET": str(FOLDER / "notify")}
        return subprocess.Popen(
            [sys.executable, "-c", EXEC, str(own), TELEREEL, "record", "--json", *args],
            cwd=FOLDER, stdout=subprocess.PIPE, stderr=log, text=True, pass_fds=[own],
            env={**os.environ, **passed, **env},
        )

    def told(self, line):
        """Waits until the service says this; what else it says meanwhile."""
        said = []
        while True:
            said += self.said.get(timeout=60)
            if line in said:
                return said


def end(process):
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, (process.returncode, out, (FOLDER / "record.log").read_text())
    assert time.monotonic() - began < 10, "an end takes less than ten seconds"
    return json.loads(out.splitlines()[-1])


class Clients:
    """Vendors that push without end, each push once and on a connection of its own; none tries again."""

    def __init__(self, port, paths, each=2):
        self.port, self.answers, self.over = port, Counter(), threading.Event()
        self.sent, self.lock = [], threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(path, n)) for path in paths for n in range(each)]
        for thread in self.threads:
            thread.start()

    def run(self, path, n):
        count = 0
        while not self.over.is_set():
            body = f"{path} {n} {count}"
            count += 1
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
                connection.request("POST", path, body, {"Connection": "close"})
                answer = connection.getresponse().status
                connection.close()
            except OSError as error:
                answer = type(error).__name__
            with self.lock:
                self.answers[path, answer] += 1
                self.sent.append((path, body, answer))

    def reached(self, count):
        until(lambda: len(self.sent) >= count, f"{count} pushes", 60)

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join()


def source(name, path, more=""):
    return f'\n[[source]]\nname = "{name}"\nvendor = "generic"\ntransport = "webhook"\npath = "{path}"\n{more}'


def stored():
    sessions = [s["name"] for s in json.loads(telereel("list", "--json"))]
    return [row for session in sessions for row in rows(session)]


# Three recorders one after the other, while vendors push: each push is answered, and stored once.
console, port = configure(source("a", "/a") + source("b", "/b"))
manager = Manager(port)
first = manager.start(WATCHDOG_USEC="200000")
said = manager.told("READY=1")
manager.told("WATCHDOG=1")
manager.told("WATCHDOG=1")
clients = Clients(port, ["/a", "/b"])
for n in range(1, 4):
    clients.reached(100 * n)
    end(first)
    manager.told("STOPPING=1")
    # Nobody is there now; whoever comes waits.
    first = manager.start()
    manager.told("READY=1")
clients.reached(500)
clients.stop()
assert {answer for _, answer in clients.answers} == {200}, clients.answers
end(first)
found = Counter((row["channel"], row["payload"]) for row in stored())
assert found == Counter((path, body) for path, body, _ in clients.sent), "every push is stored, and once"
print(f"{len(clients.sent)} pushes over three restarts")
telereel("verify")

# A reload: one source changes its path, one goes, one comes; the others and their pushes are not touched.
settings = (FOLDER / "telereel.toml").read_text().split("\n[[source]]")[0].replace('"archive"', '"reloaded"')
write = lambda sources: (FOLDER / "telereel.toml").write_text(settings + sources)
write(source("steady", "/steady") + source("moves", "/old") + source("goes", "/goes"))
recorder = manager.start()
manager.told("READY=1")
status = lambda: json.loads(telereel("status", "--json"))
steady = Clients(port, ["/steady"])
steady.reached(100)
write(source("steady", "/steady") + source("moves", "/new") + source("comes", "/comes"))
recorder.send_signal(signal.SIGHUP)
said = manager.told("RELOADING=1")
assert any(line.startswith("MONOTONIC_USEC=") for line in said), said
manager.told("READY=1")
reached = len(steady.sent)
steady.reached(reached + 100)


def post(path, body="x"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", path, body, {"Connection": "close"})
    return connection.getresponse().status


assert [post(path) for path in ("/new", "/comes", "/old", "/goes")] == [200, 200, 404, 404]
sources = {source["name"]: source for source in status()["sources"]}
assert list(sources) == ["steady", "moves", "comes"], sources
assert all(source["state"] == "connected" for source in sources.values()), sources
# Under load, over and over, with and without a change, with changes of what is pushed to; and one that is wrong.
log = FOLDER / "record.log"
for n in range(5):
    write(source("steady", "/steady") + source("moves", f"/new{n}") + (source("comes", "/comes") if n % 2 else ""))
    recorder.send_signal(signal.SIGHUP)
    manager.told("RELOADING=1")
    manager.told("READY=1")
    assert post(f"/new{n}") == 200
write(source("steady", "/steady") + "\nnonsense = 1\n")
recorder.send_signal(signal.SIGHUP)
manager.told("RELOADING=1")
manager.told("READY=1")
assert "the configuration is not changed" in log.read_text() and "nonsense" in log.read_text()
assert post("/new4") == 200
settings = settings.replace("[webhooks]", '[webhooks]\nmax_body = "2KiB"').replace("[archive]", '[archive]\nsite = "elsewhere"')
write(source("steady", "/steady") + source("moves", "/new4"))
recorder.send_signal(signal.SIGHUP)
manager.told("RELOADING=1")
manager.told("READY=1")
assert "in force from the next start on: archive.site, webhooks.max_body" in log.read_text()
steady.stop()
assert {answer for _, answer in steady.answers} == {200}, steady.answers
summary = end(recorder)
counts = {source["name"]: source["messages"] for source in summary["sources"]}
assert counts == {"steady": len(steady.sent), "moves": 7, "comes": 1, "goes": 0}, counts
os.environ["TELEREEL_ARCHIVE"] = str(FOLDER / "reloaded")
got = Counter((row["source"], row["channel"], row["payload"]) for row in stored())
assert {key: n for key, n in got.items() if key[0] == "steady"} == {("steady", path, body): 1 for path, body, _ in steady.sent}
assert got["moves", "/new", "x"] == 1 and got["comes", "/comes", "x"] == 1 and got["moves", "/new4", "x"] == 2
telereel("verify")
print(f"{len(steady.sent)} pushes over seven reloads, {len(summary['session_ids'])} sessions")
del os.environ["TELEREEL_ARCHIVE"]

# A vendor that shakes hands and then never answers anything, one that does not even do that; and among clients
# one that sends half a request, one that sends nothing, and one that never reads: none holds up an end.
def mute(listener, shakes):
    while True:
        stream, _ = listener.accept()
        kept.append(stream)
        if shakes:
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                request += stream.recv(1)
            key = next(line.split(b": ")[1] for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
            accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
            stream.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")


kept, mutes = [], ""
for name, shakes in ("mute", True), ("deaf", False):
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=mute, args=(listener, shakes), daemon=True).start()
    mutes += f'\n[[source]]\nname = "{name}"\nvendor = "generic"\ntransport = "websocket"\nurl = "ws://127.0.0.1:{listener.getsockname()[1]}/"\n'
write(source("steady", "/steady") + mutes)
recorder = manager.start()
manager.told("READY=1")
states = lambda: [source["state"] for source in status()["sources"]][1:]
until(lambda: len(kept) >= 2 and states() == ["connected", "connecting"], "the vendors")
idle = socket.create_connection(("127.0.0.1", port))
half = socket.create_connection(("127.0.0.1", port))
half.sendall(b"POST /steady HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
slow = socket.create_connection(("127.0.0.1", console))
slow.sendall(b"GET /api/v1/status HTTP/1.1\r\n")
late = socket.create_connection(("127.0.0.1", port))
assert post("/steady") == 200
began = time.monotonic()
recorder.send_signal(signal.SIGTERM)
manager.told("STOPPING=1")
# Accepted before the end, asked after it.
late.sendall(b"POST /steady HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
answer = late.recv(1000)
assert answer.startswith(b"HTTP/1.1 200"), answer
recorder.communicate(timeout=60)
assert recorder.returncode == 0 and time.monotonic() - began < 10, (recorder.returncode, time.monotonic() - began)
print(f"an end took {time.monotonic() - began:.1f} s beside clients that hang")

write(source("steady", "/steady"))

# A socket of an unknown name is refused before anything is written, and logs are JSON lines.
(FOLDER / "record.log").unlink()
recorder = manager.start("--log-format", "json", "--archive", "none", names="telereel.socket")
recorder.communicate(timeout=60)
assert recorder.returncode == 2 and not (FOLDER / "none").exists()
lines = [json.loads(line) for line in (FOLDER / "record.log").read_text().splitlines()]
assert lines and all({"timestamp", "level", "target", "message"} <= set(line) for line in lines), lines
assert "FileDescriptorName=webhooks" in lines[-1]["message"] and lines[-1]["level"] == "ERROR"
recorder = manager.start("--archive", "none", TELEREEL_LOG_FORMAT="json")
manager.told("READY=1")
end(recorder)
lines = [json.loads(line) for line in (FOLDER / "record.log").read_text().splitlines()]
assert any("recording " in line["message"] and line["level"] == "INFO" for line in lines), lines

# At a terminal SIGHUP is the same wish, as long as the terminal is there: its end is the recorder's, in good order.
manager.listener.close()
pid, master = pty.fork()
if pid == 0:
    os.chdir(FOLDER)
    os.execv(TELEREEL, ["telereel", "--archive", "terminal", "record"])
shown = b""
while b"recording " not in shown:
    shown += os.read(master, 4096)
listening(port)
os.kill(pid, signal.SIGHUP)
while b"was read anew" not in shown:
    shown += os.read(master, 4096)
assert post("/steady") == 200
os.close(master)
_, ended = os.waitpid(pid, 0)
assert os.WIFEXITED(ended) and os.WEXITSTATUS(ended) in (0, 1), ended
report = json.loads(telereel("--archive", "terminal", "verify", "--json"))
assert report["messages"] >= 1 and report["leftovers"] == [] == report["problems"], report
