"""What a run has to answer for: pure functions over what awsim, the store and the senders say.

history   the answer of awsim's GET /history after everything has ended
acks      what senders were told: {"body", "status", "decision", "capture"}
captures  rows of the store by id: {"state", "stop_reason", "deadline_utc_ns", "stopped_utc_ns", "told_deadline_utc_ns"}
alerts    rows of the store: {"body", "capture", "outcome"}
"""
import calendar
import time

NS = 1000000000
KINDS = ("leaks", "duplicates", "stuck", "lost_alerts", "other")
FINAL = {"sealed", "refused", "failed"}
LONGEST_S = 70  # after it was made nothing may expire later: the longest box here is 60 s (world.py), from the request on


def utc_ns(text):
    """2026-01-02T03:04:05Z in nanoseconds since 1970."""
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")) * NS


def lives(history):
    """What there was: a dict for each object, with from_ns, until_ns (0: it is still there), its tags at the end."""
    objects = {}
    for event in history["events"]:
        if event["event"] == "create":
            objects[event["id"]] = {"kind": event["kind"], "id": event["id"], "eni": event.get("eni", ""),
                                    "tags": event["tags"], "from_ns": event["time_ns"], "until_ns": 0, "by": ""}
        elif event.get("id") in objects:
            known = objects[event["id"]]
            known["tags"] = event["tags"]
            if event["event"] == "delete":
                known["until_ns"] = event["time_ns"]
                known["by"] = event.get("by", "")
    return list(objects.values())


def unstripped(history, stripped):
    """As if nobody had taken the tags of these away: whoever has their ids has to take them down all the same."""
    events, kept = [], {}
    for event in history["events"]:
        if event.get("id") in stripped:
            kept[event["id"]] = {**kept.get(event["id"], {}), **event["tags"]}
            event = {**event, "tags": kept[event["id"]]}
        events.append(event)
    return {**history, "events": events}


def owned(history, owner):
    return [o for o in lives(history) if o["tags"].get("tapbox:owner") == owner]


def lag_ns(thing, due_ns, end_ns, excused_ns, awake):
    """How long after it was due to go it lived while somebody could have taken it away."""
    begin = max(due_ns, excused_ns)
    end = thing["until_ns"] or end_ns
    if awake is None:
        return end - begin
    return sum(max(0, min(end, until or end) - max(begin, since)) for since, until in awake)


def leaks(history, owner, grace_s, excused_ns=0, awake=None):
    """Sentences, and the greatest lag in nanoseconds.

    `awake`: when a tapbox ran, as pairs of its start and its end (0: it still does); None: always.
    """
    found, most = [], 0
    for o in owned(history, owner):
        if "tapbox:expires" not in o["tags"]:
            if "tapbox:standing" not in o["tags"] or o["kind"] == "session":
                found.append(f"{o['kind']} {o['id']} has neither an expiry nor is it standing")
            continue
        box_s = (utc_ns(o["tags"]["tapbox:expires"]) - o["from_ns"]) / NS
        if box_s > LONGEST_S:
            found.append(f"{o['kind']} {o['id']} of {o['tags'].get('tapbox:capture')} expires {box_s:.0f} s after it was made")
        lag = lag_ns(o, utc_ns(o["tags"]["tapbox:expires"]), history["now_ns"], excused_ns, awake)
        most = max(most, lag)
        if lag > grace_s * NS:
            found.append(f"{o['kind']} {o['id']} of {o['tags'].get('tapbox:capture')} expired "
                         f"{o['tags']['tapbox:expires']} and lived {lag / NS:.1f} s longer"
                         + ("" if o["until_ns"] else "; it is still there"))
        elif not o["until_ns"] and history["now_ns"] > utc_ns(o["tags"]["tapbox:expires"]):
            found.append(f"{o['kind']} {o['id']} is expired and still there at the end")
    return found, most


def outlived(history, owner, captures, grace_s, excused_ns=0, serving=None):
    """The same by what the store says of its capture, whatever the tags say: the deadline, or an earlier end.

    `serving`: like `awake`, of the service alone: a sweeper has nothing but the tags.
    """
    found, most = [], 0
    for o in owned(history, owner):
        capture = captures.get(o["tags"].get("tapbox:capture"))
        if capture is None:
            continue
        ends = [ns for ns in (capture["deadline_utc_ns"], capture["stopped_utc_ns"]) if ns]
        if ends:
            lag = lag_ns(o, min(ends), history["now_ns"], excused_ns, serving)
            most = max(most, lag)
            if lag > grace_s * NS:
                found.append(f"{o['kind']} {o['id']} lived {lag / NS:.1f} s longer than its capture "
                             f"{o['tags']['tapbox:capture']} ({capture['stop_reason']})")
        if capture["state"] in FINAL and not o["until_ns"]:
            found.append(f"{o['kind']} {o['id']} is there, and its capture {o['tags']['tapbox:capture']} is {capture['state']}")
    return found, most


def nobodys(history, owner, planted):
    """What carries no tag by which a sweep could find it: made by nobody else, so by us."""
    return [f"{o['kind']} {o['id']} is not tagged as ours" for o in lives(history)
            if o["tags"].get("tapbox:owner") != owner and o["id"] not in planted]


def duplicates(history, owner):
    """Pairs of sessions of one owner that were on one interface at the same time."""
    found = []
    sessions = [o for o in owned(history, owner) if o["kind"] == "session"]
    for i, a in enumerate(sessions):
        for b in sessions[i + 1:]:
            if (a["eni"] == b["eni"] and a["from_ns"] < (b["until_ns"] or history["now_ns"])
                    and b["from_ns"] < (a["until_ns"] or history["now_ns"])):
                found.append(f"{a['id']} and {b['id']} at once on {a['eni']} "
                             f"({a['tags'].get('tapbox:capture')}, {b['tags'].get('tapbox:capture')})")
    return found


def touched(history, owner, planted):
    """What was somebody else's, and is not as it was; what goes with its interface was not deleted by a call."""
    foreign = {o["id"]: o for o in lives(history) if o["tags"].get("tapbox:owner") != owner}
    return [f"{key} of somebody else was deleted" for key in planted
            if key not in foreign or foreign[key]["until_ns"] and foreign[key]["by"] != "world"]


def cut_short(history, owner, captures):
    """Sessions that ended before their capture's deadline although nobody asked for that.

    Expiry tags have whole seconds, and AWS's clock is known to a second: two of them are no cut.  The session of an
    interface that the capture lost goes with it.
    """
    found = []
    for o in owned(history, owner):
        capture = captures.get(o["tags"].get("tapbox:capture"))
        if (o["kind"] == "session" and o["until_ns"] and o["by"] != "world" and capture
                and o["eni"] not in (capture.get("lost") or "").split(",")):
            left = capture["deadline_utc_ns"] - o["until_ns"]
            if capture["stop_reason"] == "deadline" and left > 2 * NS:
                found.append(f"{o['id']} of {o['tags'].get('tapbox:capture')} ended {left / NS:.1f} s early")
    return found


def stuck(captures):
    return [f"{key} is '{c['state']}'" for key, c in sorted(captures.items()) if c["state"] not in FINAL]


def lost(acks, captures, alerts):
    """Acknowledged, and not known any more; or not as it was acknowledged."""
    found = []
    kept = {}
    for alert in alerts:
        kept.setdefault(alert["body"], []).append(alert)
    for ack in acks:
        if ack["status"] not in (200, 202):
            continue
        rows = kept.get(ack["body"], [])
        what = f"{ack['body'][:60]!r}... acknowledged with {ack['status']} {ack['decision']}"
        if not rows:
            found.append(f"{what}: no such alert is kept")
        elif ack["decision"] in ("capture", "joined", "duplicate") and ack["capture"]:
            if ack["capture"] not in captures:
                found.append(f"{what}: no such capture {ack['capture']}")
            elif all(row["capture"] != ack["capture"] for row in rows):
                found.append(f"{what} for {ack['capture']}: kept for {[row['capture'] for row in rows]}")
    return found


def taken_back(granted, captures):
    """Extensions that were acknowledged and are not in the store: pairs of a capture and its deadline, as answered."""
    return [f"{key} was extended to {deadline}, and ends {(utc_ns(deadline[:19] + 'Z') - captures[key]['told_deadline_utc_ns']) / NS:.0f} s before"
            for key, deadline in granted
            if key in captures and captures[key]["told_deadline_utc_ns"] < utc_ns(deadline[:19] + "Z")]


def began_twice(alerts):
    """The same, by the store, for those whom nobody answers: alerts out of a queue."""
    began = {}
    for alert in alerts:
        if alert["outcome"] == "created" and '"detail-type"' in alert["body"]:
            began.setdefault(alert["body"], set()).add(alert["capture"])
    return [f"{body[:60]!r}... began {sorted(c)}" for body, c in began.items() if len(c) > 1]


def twice(acks):
    """The same alert (one body with one key) that began more than one capture."""
    began = {}
    for ack in acks:
        if ack["decision"] == "capture" and ack["key"]:
            began.setdefault(ack["key"], set()).add(ack["capture"])
    return [f"{key} began {sorted(c)}" for key, c in began.items() if len(c) > 1]
