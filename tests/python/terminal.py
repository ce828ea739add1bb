"""A replay at a terminal: keys control it, and the terminal is set back on every way out."""
import fcntl
import http.client
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import termios
import threading
import urllib.error
import urllib.request

from common import FOLDER, TELEREEL, configure, listening, start, stop, telereel, until

_, port = configure('''
[[source]]
name = "anything"
vendor = "generic"
transport = "webhook"
path = "/hooks/any"
''')
recorder = start("record", "--json")
listening(port)
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
for n in range(5):
    connection.request("POST", "/hooks/any", str(n))
    assert connection.getresponse().read() is not None
connection.close()
stop(recorder)


class Terminal:
    """`telereel replay`, paused, in front of a terminal of its own."""

    def __init__(self, session="latest", shell=False):
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.shown = b""
        command = [TELEREEL, "replay", session, "--start-paused", "--no-wait", "--listen", "http://127.0.0.1:0"]
        self.process = subprocess.Popen(
            ["sh", "-i"] if shell else command, cwd=FOLDER, stdin=self.slave, stdout=self.slave, stderr=self.slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        threading.Thread(target=self.read, daemon=True).start()
        if shell:
            self.key(shlex.join(map(str, command)).encode() + b"\n")
        serving = until(lambda: re.search(rb"serving (http://127\.0\.0\.1:\d+)", self.shown), "the address")
        self.url = serving[1].decode() + "/api/v1/replays/1"
        until(self.gives_single_keys, "single keys")

    def gives_single_keys(self):
        return not termios.tcgetattr(self.slave)[3] & termios.ICANON

    def read(self):
        while True:
            try:
                self.shown += os.read(self.master, 4096)
            except OSError:
                return

    def key(self, keys):
        os.write(self.master, keys)

    def order(self, **action):
        request = urllib.request.Request(self.url, json.dumps(action).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def until(self, **expected):
        def look():
            with urllib.request.urlopen(self.url) as answer:
                now = json.load(answer)
            return now if all(now[k] == v for k, v in expected.items()) else None
        return until(look, f"{expected}")

    def ended(self, code):
        assert self.process.wait(60) == code, (self.process.returncode, self.shown.decode(errors="replace"))
        assert termios.tcgetattr(self.slave) == self.before, "the terminal is not as it was"


terminal = Terminal()
terminal.until(state="paused", emitted=0)
terminal.key(b".")
terminal.until(emitted=1)
terminal.key(b"s")
terminal.until(emitted=2)
# To what a search in the recording finds, from here on and not before.
assert terminal.order(action="step", until={"where": "payload = '3'"})["emitted"] == 4
try:
    terminal.order(action="step", until={"where": "payload = '1'"})
    raise AssertionError("it was found behind the place")
except urllib.error.HTTPError as refused:
    assert refused.code == 409 and "no message" in json.load(refused)["error"]
terminal.key(b"++")
terminal.until(speed="4")
terminal.key(b"-")
terminal.until(speed="2")
terminal.key(b"\x1b[D")
terminal.until(position_ns=0)
terminal.key(b"q")
terminal.ended(0)
for said in [b"space pauses", b"replayed 4 messages"]:
    until(lambda: said in terminal.shown, said)

terminal = Terminal()
terminal.key(b" ")
terminal.ended(0)

terminal = Terminal()
terminal.process.send_signal(signal.SIGTERM)
terminal.ended(0)

# A recording that is long enough to be sought in.
lines = [json.dumps({"received_at": f"2026-11-22T10:00:{2 * n:02}Z", "channel": "/x", "payload": str(n)}) for n in range(10)]
(FOLDER / "long.jsonl").write_text("\n".join(lines) + "\n")
telereel("import", "long.jsonl", "--session", "long")
terminal = Terminal("long")
terminal.key(b"\x1b[C")
terminal.until(position_ns=5_000_000_000, emitted=0)
terminal.key(b"\x1bOC")
terminal.until(position_ns=10_000_000_000)
terminal.key(b"\x1b[D")
terminal.until(position_ns=5_000_000_000, state="paused")
# What it steps to is what comes after that: the message of the sixth second.
terminal.key(b".")
terminal.until(emitted=1, position_ns=6_000_000_000)
terminal.key(b"q")
terminal.ended(0)

# Under a shell: stopped, it gives the terminal back; in the background it goes on and leaves it alone.
terminal = Terminal("long", shell=True)
terminal.key(b"\x1a")
until(lambda: b"Stopped" in terminal.shown, "the shell to say so")
assert termios.tcgetattr(terminal.slave) == terminal.before, "the terminal is not the shell's as it was"
terminal.key(b"bg\n")
assert terminal.order(action="step", count=2)["emitted"] == 2
terminal.key(b"echo an$((40 + 2))swer.\n")
until(lambda: b"an42swer." in terminal.shown, "the shell to be typed to")
assert not terminal.gives_single_keys() and terminal.until(state="paused")["emitted"] == 2, "keys are not for it"
terminal.key(b"fg\n")
until(terminal.gives_single_keys, "the terminal to be taken again")
terminal.key(b".")
terminal.until(emitted=3)
terminal.key(b"q")
until(lambda: not terminal.gives_single_keys(), "the terminal to be given back")
terminal.key(b"exit\n")
terminal.ended(0)
