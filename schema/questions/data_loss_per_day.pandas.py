import json
from pathlib import Path

import pandas as pd

DAYS = pd.date_range("2026-03-28", "2026-03-29", tz="Europe/Vienna")  # one has 23 hours

sessions = [json.loads(path.read_text()) for path in Path("sessions").glob("*.json")]
times = {
    s["session_id"]: [pd.to_datetime(s[at] or "now", utc=True) for at in ("started_at", "ended_at")] for s in sessions
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
links = pd.concat(pd.read_parquet(folder) for folder in sorted(Path("data").glob("vendor=*/kind=link")))
links = links.sort_values(["session_id", "seq"]).reset_index(drop=True)
told = pd.json_normalize(links.payload.map(json.loads).tolist())
events = links.join(told.reindex(columns=["event", "sn", "topics", "flowing", "planned"]))
events = events[events.event.isin(["connecting", "continued", "connected", "reconnected", "disconnected", "refused"])]
# A refused topic ends no connection, and nothing is lost where one takes over from another.
events = events[(events.flowing != True) & ~((events.event == "refused") & events.topics.notna())]
for (session, source, sensor), rows in events.groupby(["session_id", "source", "sn"], dropna=False):
    names, down_since = rows.event.tolist(), None
    for place, (at, event, planned) in enumerate(zip(rows.received_at, names, rows.planned)):
        following = names[place + 1] if place + 1 < len(names) else None
        is_refused_at_once = event == "connected" and following == "refused"
        if event in ("continued", "connected", "reconnected"):
            if down_since is not None and not is_refused_at_once:
                lost.append((source, sensor, "not connected", down_since, at))
                down_since = None
        elif event == "connecting" and (place > 0 or following not in (None, "connecting", "refused")):
            pass  # Only a first attempt that fails begins an outage.
        elif down_since is None and planned != True:
            down_since = at
    if down_since is not None:
        lost.append((source, sensor, "not connected", down_since, times[session][1]))

lost = pd.DataFrame(lost, columns=["source", "device_id", "reason", "begins", "ends"])
answer = []
for day in DAYS:
    within = lost.ends.clip(upper=day + pd.DateOffset(days=1)) - lost.begins.clip(lower=day)
    part = lost.assign(day=f"{day:%F}", minutes_lost=within.dt.total_seconds() / 60)
    answer.append(part[part.minutes_lost > 0])
keys = ["day", "source", "device_id", "reason"]
answer = pd.concat(answer).groupby(keys, dropna=False).minutes_lost.sum().round(2).reset_index()
answer = answer.sort_values(["day", "source", "reason", "device_id"], na_position="first")
