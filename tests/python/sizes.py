"""How many bytes the messages of an archive take: as its files, as zstd -3 JSON lines, as MCAP (zstd).

Called as `sizes.py TELEREEL ARCHIVE NAME`; prints one JSON object, and with COLUMNS_TOO in the environment what each
column takes. Envelope and payload are all bytes of the files but the pages of typed columns.
"""
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import zstandard
from mcap.writer import CompressionType, Writer

ENVELOPE = """site session_id source connection seq received_at elapsed_ns channel device_id event_at qos retain dup
    is_binary headers duplicate_of payload clear decode_error""".split()


def segments(archive):
    return [p for p in sorted(Path(archive, "data").rglob("*.parquet")) if p.name != "schema.parquet"]


def columns(files):
    """Compressed bytes of the pages by column, and the bytes of all files."""
    taken, total = Counter(), 0
    for file in files:
        total += file.stat().st_size
        metadata = pq.ParquetFile(file).metadata
        for group in range(metadata.num_row_groups):
            for at in range(metadata.num_columns):
                column = metadata.row_group(group).column(at)
                taken[column.path_in_schema] += column.total_compressed_size
    return taken, total


def json_lines(telereel, archive):
    """What `cat` prints, compressed as one stream."""
    cat = subprocess.Popen([telereel, "--archive", archive, "cat", "latest"], stdout=subprocess.PIPE)
    compressor = zstandard.ZstdCompressor(level=3).compressobj()
    plain = packed = 0
    while block := cat.stdout.read(1 << 20):
        plain += len(block)
        packed += len(compressor.compress(block))
    packed += len(compressor.flush())
    assert cat.wait() == 0
    return plain, packed


def mcap(files):
    """The same messages, in the order of arrival, by the format's own library and its defaults."""
    rows = []
    for file in files:
        table = pq.read_table(file, columns=["seq", "received_at", "event_at", "channel", "payload"])
        rows += zip(*(table.column(name).cast("int64").to_pylist() if name.endswith("_at") else table.column(name).to_pylist()
                      for name in table.column_names))
    rows.sort()
    with tempfile.NamedTemporaryFile(suffix=".mcap") as file:
        writer = Writer(file, compression=CompressionType.ZSTD)
        writer.start()
        channels = {}
        for seq, received, event, channel, payload in rows:
            if channel not in channels:
                channels[channel] = writer.register_channel(topic=channel, message_encoding="json", schema_id=0)
            writer.add_message(channels[channel], received * 1000, payload, (event or received) * 1000, seq)
        writer.finish()
        file.flush()
        return len(rows), os.path.getsize(file.name)


def measure(telereel, archive):
    files = segments(archive)
    taken, total = columns(files)
    typed = sum(n for path, n in taken.items() if path.split(".")[0] not in ENVELOPE)
    plain, packed = json_lines(telereel, archive)
    rows, peer = mcap(files)
    return {
        "rows": rows, "files": len(files), "json_lines": plain, "json_lines_zstd": packed, "mcap_zstd": peer,
        "envelope_and_payload": total - typed, "with_typed": total,
        "to_json_lines": round((total - typed) / packed, 3), "to_mcap": round(total / peer, 3),
    }, taken, total


if __name__ == "__main__":
    found, taken, total = measure(sys.argv[1], sys.argv[2])
    print(json.dumps({"name": sys.argv[3], **found}), flush=True)
    if os.environ.get("COLUMNS_TOO"):
        for path, n in taken.most_common(40):
            print(f"    {n:>10}  {n / found['rows']:7.2f} B/row  {path}")
        rest = total - sum(taken.values())
        print(f"    {rest:>10}  {rest / found['rows']:7.2f} B/row  footers and indexes")
