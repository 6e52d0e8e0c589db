#!/usr/bin/python3
"""A check that cannot fail is worth nothing: leaks, duplicates and lost alerts are planted, and have to be found."""
import os
import re
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../support"), os.path.join(HERE, "../chaos")]
import chaos  # noqa: E402
import host  # noqa: E402
import life  # noqa: E402
import verdict  # noqa: E402
import world  # noqa: E402
from recorder import ROOT, finish, inside_the_lab, is_, run, wait_until  # noqa: E402

NS = verdict.NS
OURS = {"tapbox:owner": "us", "tapbox:capture": "cap-1", "tapbox:expires": "2026-01-02T03:04:05Z"}
END = verdict.utc_ns(OURS["tapbox:expires"])


def event(what, key, at, tags, eni="eni-1", kind="session"):
    return {"event": what, "kind": kind, "id": key, "eni": eni, "time_ns": END + int(at * NS), "tags": tags, "by": "x"}


def history(*events, now=60):
    return {"now_ns": END + now * NS, "events": sorted(events, key=lambda e: e["time_ns"])}


def sentences():
    """The pure part, from made-up histories."""
    gone = history(event("create", "a", -5, OURS), event("delete", "a", 3, OURS))
    is_("what goes within the grace is no leak, and its lag is told", verdict.leaks(gone, "us", 10) == ([], 3 * NS))
    late = history(event("create", "a", -5, OURS), event("delete", "a", 11, OURS))
    is_("what goes after the grace is a leak", len(verdict.leaks(late, "us", 10)[0]) == 1)
    is_("unless EC2 could not be asked before", verdict.leaks(late, "us", 10, END + 4 * NS) == ([], 7 * NS))
    is_("or nobody ran who could", verdict.leaks(late, "us", 10, 0, [[END - 9 * NS, END + 2 * NS], [END + 9 * NS, 0]]) == ([], 4 * NS))
    is_("the time of all that ran counts", len(verdict.leaks(late, "us", 5, 0, [[END, END + 3 * NS], [END + 8 * NS, 0]])[0]) == 1)
    left = history(event("create", "a", -5, OURS))
    is_("what is still there at the end is a leak though nobody ran", len(verdict.leaks(left, "us", 10, 0, [])[0]) == 1)
    is_("what is still there is a leak", "still there" in verdict.leaks(left, "us", 10)[0][0])
    is_("also within the grace, when all is over", len(verdict.leaks(history(event("create", "a", -5, OURS), now=2), "us", 10)[0]) == 1)
    is_("a filter is like a session", len(verdict.leaks(history(event("create", "f", -5, OURS, kind="filter")), "us", 10)[0]) == 1)
    longer = dict(OURS, **{"tapbox:expires": "2026-01-02T03:04:25Z"})
    is_("a tag that was rewritten counts",
        verdict.leaks(history(event("create", "a", -5, OURS), event("tags", "a", -1, longer),
                              event("delete", "a", 21, longer)), "us", 10) == ([], NS))
    is_("ours without an expiry and not standing is a leak",
        len(verdict.leaks(history(event("create", "a", -5, {"tapbox:owner": "us"})), "us", 10)[0]) == 1)
    is_("somebody else's is no leak", verdict.leaks(history(event("create", "a", -5, dict(OURS, **{"tapbox:owner": "you"}))), "us", 10) == ([], 0))
    is_("what says that it expires later than any capture may end is a leak",
        "3600 s after it was made" in verdict.leaks(history(event("create", "a", -3600, OURS), event("delete", "a", 1, OURS)), "us", 10)[0][0])
    standing = {"tapbox:owner": "us", "tapbox:standing": "1"}
    is_("a session that calls itself standing is a leak, a target is none",
        len(verdict.leaks(history(event("create", "a", -5, standing), event("create", "t", -5, standing, kind="target")), "us", 10)[0]) == 1)
    box = {"cap-1": {"state": "sealed", "stop_reason": "deadline", "deadline_utc_ns": END, "stopped_utc_ns": END + NS,
                     "told_deadline_utc_ns": END - 3600 * NS}}
    lying = history(event("create", "a", -5, dict(OURS, **{"tapbox:expires": "2026-01-02T03:05:00Z"})),
                    event("delete", "a", 12, dict(OURS, **{"tapbox:expires": "2026-01-02T03:05:00Z"})))
    is_("a session that outlives its capture is a leak, though its tag allows it",
        verdict.leaks(lying, "us", 10) == ([], 0) and len(verdict.outlived(lying, "us", box, 10)[0]) == 1)
    is_("not when the service ran too short", verdict.outlived(lying, "us", box, 10, 0, [[END, END + 4 * NS]]) == ([], 4 * NS))
    is_("nor when EC2 could not be asked before", verdict.outlived(lying, "us", box, 10, END + 3 * NS) == ([], 9 * NS))
    stopped = {"cap-1": dict(box["cap-1"], stop_reason="operator", stopped_utc_ns=END - 30 * NS)}
    is_("so is one that goes at the deadline of a capture that was stopped long before",
        len(verdict.outlived(history(event("create", "a", -40, OURS), event("delete", "a", 0, OURS)), "us", stopped, 10)[0]) == 1)
    is_("and one that is there when its capture is over", len(verdict.outlived(
        history(event("create", "a", -40, OURS), now=-29), "us", stopped, 10)[0]) == 1)
    is_("not while its capture goes on", verdict.outlived(history(event("create", "a", -40, OURS), now=-29), "us", {
        "cap-1": dict(stopped["cap-1"], state="draining")}, 10)[0] == [])
    is_("what nobody tagged is seen, what was planted is not", len(verdict.nobodys(
        history(event("create", "a", 0, {}), event("create", "x", 0, {})), "us", ["x"])) == 1)
    is_("so is what lost its tag", len(verdict.nobodys(history(event("create", "a", 0, OURS), event("tags", "a", 1, {})), "us", [])) == 1)
    stripped = verdict.unstripped(history(event("create", "a", -5, OURS), event("tags", "a", -1, {}), event("delete", "a", 11, {})), ["a"])
    is_("what others stripped of its tags is judged by those it had", verdict.nobodys(stripped, "us", []) == []
        and len(verdict.leaks(stripped, "us", 10)[0]) == 1)
    is_("an extension that was acknowledged and is not in the store is seen",
        len(verdict.taken_back([("cap-1", "2026-01-02T02:04:15Z"), ("cap-1", "2026-01-02T02:04:05Z")], box)) == 1)
    two = [event("create", "a", -5, OURS), event("delete", "a", 1, OURS), event("create", "b", 0, OURS), event("delete", "b", 2, OURS)]
    is_("two sessions on one interface at once are seen", len(verdict.duplicates(history(*two), "us")) == 1)
    is_("not when one of them is of somebody else", verdict.duplicates(history(*two[:2], *[
        dict(e, tags=dict(OURS, **{"tapbox:owner": "you"})) for e in two[2:]]), "us") == [])
    is_("nor one after the other", verdict.duplicates(history(*two[:2], event("create", "b", 1.5, OURS)), "us") == [])
    is_("nor on two interfaces", verdict.duplicates(history(*two[:2], event("create", "b", 0, OURS, "eni-2")), "us") == [])
    is_("a foreign object that was deleted is seen", len(verdict.touched(
        history(event("create", "x", 0, {}), event("delete", "x", 1, {})), "us", ["x"])) == 1)
    early = {"cap-1": {"state": "sealed", "stop_reason": "deadline", "deadline_utc_ns": END}}
    short = history(event("create", "a", -9, OURS), event("delete", "a", -3, OURS))
    is_("a session that ended before its time is seen", len(verdict.cut_short(short, "us", early)) == 1)
    is_("not when it was stopped", verdict.cut_short(short, "us", {"cap-1": dict(early["cap-1"], stop_reason="operator")}) == [])
    is_("nor when its interface was lost", [verdict.cut_short(short, "us", {"cap-1": dict(early["cap-1"], lost=lost)}) == []
                                            for lost in ("eni-2,eni-1", "eni-2", None)] == [True, False, False])
    is_("nor when others deleted it", verdict.cut_short(
        history(event("create", "a", -9, OURS), dict(event("delete", "a", -3, OURS), by="world")), "us", early) == [])
    is_("nor within two seconds, the clocks' resolution",
        verdict.cut_short(history(event("create", "a", -9, OURS), event("delete", "a", -2, OURS)), "us", early) == [])
    is_("not when it went with its interface", verdict.touched(
        history(event("create", "x", 0, {}), dict(event("delete", "x", 1, {}), by="world")), "us", ["x"]) == [])
    ack = {"body": "one", "status": 202, "decision": "capture", "capture": "cap-1", "key": "k"}
    row = {"body": "one", "capture": "cap-1", "outcome": "created"}
    captures = {"cap-1": {"state": "sealed", "stop_reason": "deadline"}}
    is_("what is kept as acknowledged is fine", verdict.lost([ack], captures, [row]) == [])
    is_("an alert that is gone is lost", len(verdict.lost([ack], captures, [])) == 1)
    is_("so is a capture that is gone", len(verdict.lost([ack], {}, [row])) == 1)
    is_("and an alert that belongs to another capture now",
        len(verdict.lost([ack], captures, [dict(row, capture="cap-2")])) == 1)
    is_("what was refused may be forgotten", verdict.lost([dict(ack, status=503)], {}, []) == [])
    is_("one alert that began two captures is seen", len(verdict.twice([ack, dict(ack, capture="cap-2")])) == 1)
    queued = {"body": '{"detail-type": "x"}', "capture": "cap-1", "outcome": "created"}
    is_("also by the store alone, for those who are told nothing", verdict.began_twice([queued]) == [] and
        len(verdict.began_twice([queued, dict(queued, capture="cap-2")])) == 1)
    is_("a capture that is not final is stuck", verdict.stuck({"c": {"state": "draining"}, "d": {"state": "failed"}}) == ["c is 'draining'"])


def course():
    """Which runs are made: all that were asked for, and more where a point was not come by."""
    points = [("a", "before"), ("a", "after"), ("b", "before")]
    asked = chaos.Course([6, 7], points, more_from=100, extra=2)
    is_("the runs that were asked for come first", [asked.next({"b:before"}), asked.next({"b:before"})] == [6, 7])
    is_("then one more for a point that nobody came by", asked.next({"b:before"}) == 101 and points[101 % 3] == ("b", "before"))
    is_("but no second one while it is under way", asked.next({"b:before"}) is None)
    del asked.going[101]
    is_("and another when it did not get there", asked.next({"b:before"}) == 104)
    del asked.going[104]
    is_("and not without end", asked.next({"b:before"}) is None)
    is_("a point whose run is under way waits for that", asked.next({"a:before", "a:after"}) is None and asked.left() == 2)
    del asked.going[6]
    is_("a point that was come by gets none", asked.next(set()) is None and asked.next({"a:before"}) == 102)


def for_real(work):
    """Planted in a real awsim and a real store, seen by the same code that judges the runs."""
    out = os.environ.get("TB_OUT", os.path.join(ROOT, "build/debug"))
    names = world.Names(1)
    host.build_wires(names)
    run("ip", "addr", "add", world.S3.split(":")[0] + "/32", "dev", "lo")
    tokens = {"alert": "", "analyst": run(out + "/tapbox", "token", "add", "a", "--role", "analyst", "--file", work + "/tokens").stdout.strip()}
    context = {"out": out, "grace_s": 1, "tokens": tokens, "tokens_file": work + "/tokens"}
    plan = life.draw(1, [("intake", "before")])
    one = life.Life(dict(plan, rules=[], actions=[]), context, names, work + "/run")
    os.makedirs(one.folder)
    one.awsim = host.Awsim(out, names, one.folder)
    one.service = host.Service(out, names, one.folder, one.owner, context["tokens_file"])
    one.awake = [[0, 0]]  # somebody ran all the time
    try:
        tags = {}
        for i, (key, value) in enumerate({**OURS, "tapbox:owner": one.owner}.items(), 1):
            tags[f"TagSpecification_1_Tag_{i}_Key"], tags[f"TagSpecification_1_Tag_{i}_Value"] = key, value
        tags["TagSpecification_1_ResourceType"] = "traffic-mirror-session"
        planted = host.plant(names)
        for number in (7, 8):
            host.ec2(names, "CreateTrafficMirrorSession", NetworkInterfaceId=world.eni(5), TrafficMirrorTargetId=planted[1],
                     TrafficMirrorFilterId=planted[0], SessionNumber=number, **tags)
        one.service.start()
        wait_until("the service", one.service.ready, 20)
        one.deliver(0, "POST", "/v1/captures", '{"source":"i-0123456789abcdef0","reason":"x"}', "k")
        wait_until("its end", lambda: not one.open(), 20)
        one.service.end()
        is_("the acknowledged request is known", len(one.acks) == 1 and one.judge(planted, False)["lost_alerts"] == [], one.acks)
        one.acks.append(dict(one.acks[0], body="never sent"))
        host.ec2(names, "CreateTrafficMirrorSession", NetworkInterfaceId=world.eni(6), TrafficMirrorTargetId=planted[1],
                 TrafficMirrorFilterId=planted[0], SessionNumber=9)
        host.ec2(names, "DeleteTrafficMirrorSession", TrafficMirrorSessionId=planted[2])
        seen = one.judge(planted, False)
        is_("sessions planted in EC2 are seen as leaks, one that has no tags too", len(seen["leaks"]) == 3 and seen["lag_s"] > 1000, seen)
        is_("and as duplicates", len(seen["duplicates"]) == 1, seen)
        is_("an acknowledgement that nobody kept is seen", len(seen["lost_alerts"]) == 1, seen)
        is_("a foreign session that was deleted is seen", len(seen["other"]) == 1, seen)
        one.service.sweep()
        is_("a sweep takes the leaks away", one.still_there() == [], one.still_there())
    finally:
        one.over.set()
        one.service.end(host.signal.SIGKILL)
        one.awsim.stop()


def crash_points():
    """What the list promises: a point at each call of AWS and at each commit of the store."""
    acts = {act for act, _ in world.crash_points(ROOT)}
    words = {"aws": set(), "store": set()}
    patterns = {"aws": r'"((?:Describe|Create|Delete|Modify|Get|Assume|Abort|Complete|List|Upload|Put|Head|Receive)[A-Z][A-Za-z]+)"',
                "store": r'store_lock\(store, "([a-z_]+)"\)'}
    for where, pattern in patterns.items():
        for name in os.listdir(f"{ROOT}/src/{where}"):
            if name.endswith(".c"):
                text = open(f"{ROOT}/src/{where}/{name}", encoding="utf-8").read()
                words[where].update(re.findall(pattern, text))
    # named, and not called by service or sweeper in these runs: tags go with what they are on, objects are read by
    # those who look at evidence, there is no SNS and no web identity; and elements of answers and requests
    uncalled = {"HeadBucket", "DeleteTags", "GetObject", "AssumeRoleWithWebIdentity", "subscription_put", "subscription_drop",
                "GetCallerIdentityResult", "CompleteMultipartUploadResult", "ListPartsResult", "ListMultipartUploadsResult",
                "ListBucketResult", "UploadId"}
    is_("every call of AWS and every commit of the store is a crash point",
        (words["aws"] | words["store"]) - uncalled == acts, (words["aws"] | words["store"]) - uncalled ^ acts)


inside_the_lab()
crash_points()
sentences()
course()
with tempfile.TemporaryDirectory() as folder:
    for_real(folder)
finish()
