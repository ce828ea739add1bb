"""A replay at a terminal: keys control it, and the terminal is set back on every way out."""
import fcntl
import http.client
import json
import os
import pty
import re
import signal
import subprocess
import termios
import threading
import urllib.error
import urllib.request

from common import FOLDER, TELEREEL, configure, listening, start, stop, until

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

    def __init__(self):
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.shown = b""
        command = [TELEREEL, "replay", "latest", "--start-paused", "--no-wait", "--listen", "http://127.0.0.1:0"]
        self.process = subprocess.Popen(
            command, cwd=FOLDER, stdin=self.slave, stdout=self.slave, stderr=self.slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        threading.Thread(target=self.read, daemon=True).start()
        serving = until(lambda: re.search(rb"serving (http://127\.0\.0\.1:\d+)", self.shown), "the address")
        self.url = serving[1].decode() + "/api/v1/replays/1"
        until(lambda: not termios.tcgetattr(self.slave)[3] & termios.ICANON, "single keys")

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
