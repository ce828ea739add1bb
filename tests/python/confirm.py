"""`rm` and `erase` at a terminal: they ask, and only a yes is one."""
import fcntl
import json
import os
import pty
import subprocess
import termios
import threading

from common import ARCHIVE, FOLDER, TELEREEL, telereel, until

lines = [{"tst": f"2026-01-01T00:00:0{n}.000000Z+0000", "topic": f"rooms/sensor-{n % 2}/t", "qos": 0, "retain": 0,
          "payloadlen": 1, "payload": str(n)} for n in range(6)]
(FOLDER / "rooms.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
telereel("import", "rooms.jsonl", "--source", "rooms")


def files():
    """What lies in the archive, but for the lock, which says who held it last."""
    return {path: path.read_bytes() for path in ARCHIVE.rglob("*") if path.is_file() and path.name != "lock"}


def asked(keys, *verb):
    """Answers with `keys`, and gives the exit code and what was shown."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [TELEREEL, *verb], cwd=FOLDER, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    os.close(slave)
    shown = bytearray()

    def read():
        while True:
            try:
                shown.extend(os.read(master, 4096))
            except OSError:
                return

    reading = threading.Thread(target=read)
    reading.start()
    until(lambda: b"Go on? [y/N]" in shown, "the question")
    os.write(master, keys)
    code = process.wait(60)
    reading.join()
    os.close(master)
    return code, bytes(shown).decode(errors="replace")


before = files()
for verb in [("rm", "latest"), ("erase", "--device", "sensor-1")]:
    for keys, said in [(b"n\n", "not confirmed"), (b"\n", "not confirmed"), (b"yup\n", "not confirmed"),
                       (b"\x04", "not confirmed"), (b"\x03", "interrupted: nothing was changed")]:
        code, shown = asked(keys, *verb)
        assert code == 1 and said in shown, (verb, keys, code, shown)
        assert files() == before, (verb, keys)

code, shown = asked(b"y\n", "erase", "--device", "sensor-1")
assert code == 0 and "3 messages" in shown and "nothing is left" in shown, (code, shown)
left = [json.loads(line)["channel"] for line in telereel("cat", "latest").splitlines()]
assert left == ["rooms/sensor-0/t"] * 3, left
telereel("verify")
code, shown = asked(b"yes\n", "rm", "latest")
assert code == 0 and "removed " in shown, (code, shown)
assert json.loads(telereel("list", "--json")) == []
