import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl

ZONE = ZoneInfo("Europe/Vienna")
DAYS = [datetime(2026, 3, 28, tzinfo=ZONE), datetime(2026, 3, 29, tzinfo=ZONE)]  # one has 23 hours
UP = ("continued", "connected", "reconnected")

sessions = [json.loads(path.read_text()) for path in Path("sessions").glob("*.json")]
now = datetime.now(timezone.utc).isoformat()
times = {
    s["session_id"]: [datetime.fromisoformat(s[at] or now) for at in ("started_at", "ended_at")] for s in sessions
}
lost = []  # source, device_id, reason, from when, until when

# Not recorded: from the end of what was recorded to the next start.
for source in sorted({source["name"] for s in sessions for source in s["sources"]}):
    until = None
    for begins, ends in sorted(times[s["session_id"]] for s in sessions if source in [x["name"] for x in s["sources"]]):
        if until is not None and begins > until:
            lost.append((source, None, "not recorded", until, begins))
        until = ends if until is None else max(until, ends)

# Not connected: what the rows of kind `link` tell, for each source, or each of its sensors.
columns = ["session_id", "source", "seq", "received_at", "payload"]
links = pl.read_parquet("data/**/kind=link/**/*.parquet", columns=columns)
strands = {}
for session, source, _, at, payload in links.sort("session_id", "seq").iter_rows():
    link = json.loads(payload)
    # A refused topic ends no connection, and nothing is lost where one takes over from another.
    is_aside = link.get("flowing") or (link["event"] == "refused" and "topics" in link)
    if link["event"] in (*UP, "connecting", "disconnected", "refused") and not is_aside:
        event = (at, link["event"], link.get("planned", False))
        strands.setdefault((session, source, link.get("sn")), []).append(event)
for (session, source, sensor), events in strands.items():
    down_since = None
    for place, (at, event, planned) in enumerate(events):
        following = events[place + 1][1] if place + 1 < len(events) else None
        if event in UP:
            if down_since is not None and (event, following) != ("connected", "refused"):
                lost.append((source, sensor, "not connected", down_since, at))
                down_since = None
        elif event == "connecting" and (place > 0 or following not in (None, "connecting", "refused")):
            pass  # Only a first attempt that fails begins an outage.
        elif down_since is None and not planned:
            down_since = at
    if down_since is not None:
        lost.append((source, sensor, "not connected", down_since, times[session][1]))

parts = []
for day in DAYS:
    # In UTC, where an hour is an hour.
    first, last = (moment.astimezone(timezone.utc) for moment in (day, day + timedelta(days=1)))
    for source, sensor, reason, begins, ends in lost:
        seconds = (min(ends, last) - max(begins, first)).total_seconds()
        if seconds > 0:
            parts.append((f"{day:%Y-%m-%d}", source, sensor, reason, seconds / 60))
answer = (
    pl.DataFrame(parts, schema=["day", "source", "device_id", "reason", "minutes_lost"], orient="row")
    .group_by("day", "source", "device_id", "reason")
    .agg(pl.col("minutes_lost").sum().round(2))
    .sort("day", "source", "reason", "device_id", nulls_last=False)
)
