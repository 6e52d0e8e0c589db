#!/usr/bin/python3
"""EC2 shows tags late, refuses them, or does not answer: what an extension waits for, and what does not wait for it.

And what joins while EC2 does not answer about the session: it gets its traffic all the same.
"""
import json
import os
import signal
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../support"), os.path.join(HERE, "../chaos")]
import host  # noqa: E402
import verdict  # noqa: E402
import world  # noqa: E402
import recorder  # noqa: E402
from recorder import ROOT, finish, inside_the_lab, run, wait_until  # noqa: E402

NS = verdict.NS
POLICY = """profiles:
  peers: {filter: peers, duration: 10m}
rules:
  - {name: c2, when: {type: "Backdoor:EC2/*"}, capture: peers}
"""
saying = threading.Lock()


def is_(*said):
    with saying:
        recorder.is_(*said)



class Scene:
    """One service in the lab; all of this happens to it at once."""

    def __init__(self, folder):
        self.out = os.environ.get("TB_OUT", os.path.join(ROOT, "build/debug"))
        self.names = world.Names(1)
        host.build_wires(self.names)
        self.token, self.bus = (run(self.out + "/tapbox", "token", "add", role, "--role", role, "--file",
                                    folder + "/tokens").stdout.strip() for role in ("analyst", "alert"))
        self.awsim = host.Awsim(self.out, self.names, folder)
        self.traffic = host.Traffic(self.names)
        with open(folder + "/policy.yaml", "w", encoding="utf-8") as file:
            file.write(POLICY)
        self.service = host.Service(self.out, self.names, folder, "late", folder + "/tokens", max_duration="1h",
                                    policy=folder + "/policy.yaml")
        self.service.start()
        wait_until("the service", self.service.ready, 30)

    def request(self, source, duration, **more):
        body = json.dumps({"source": source, "duration": duration, "reason": "late", **more})
        status, answer = self.service.call("POST", "/v1/captures", body, self.token)
        assert status == 202, (status, answer)
        return answer["capture"]["id"]

    def record(self, source, duration, **more):
        """One that records, or did if it is a short one and the machine stood still."""
        key = self.request(source, duration, **more)
        wait_until("the capture", lambda: self.row(key)["state"] not in ("requested", "planned", "arming"), 30)
        return key

    def extend(self, key, duration):
        body = json.dumps({"duration": duration, "reason": "late"})
        return self.service.call("POST", f"/v1/captures/{key}/extend", body, self.token, timeout=60)

    def row(self, key):
        return self.service.captures()[key]

    def sources(self, key):
        return self.service.call("GET", f"/v1/captures/{key}", "", self.token)[1]["sources"]

    def sessions(self, key):
        return [o for o in verdict.owned(self.awsim.history(), "late")
                if o["kind"] == "session" and o["tags"]["tapbox:capture"] == key]

    def told(self, key):
        """Each expiry that the tags of a capture's session were given, one after the other."""
        return [e["tags"]["tapbox:expires"] for e in self.awsim.history()["events"]
                if e["event"] == "tags" and e["kind"] == "session" and e["tags"]["tapbox:capture"] == key]

    def off_s(self, key):
        """By how much the tag is later than the deadline of the store."""
        expires = verdict.utc_ns(self.sessions(key)[0]["tags"]["tapbox:expires"])
        return (expires - self.row(key)["deadline_utc_ns"]) / NS

    def failures(self, key):
        """How many steps in a row have failed."""
        return self.service.rows(f"SELECT attempt FROM captures WHERE id = '{key}'")[0]["attempt"]

    def lag_s(self, key):
        """How long after its deadline a capture's last session was there."""
        wait_until("the end of its sessions", lambda: all(o["until_ns"] for o in self.sessions(key)), 100)
        return (max(o["until_ns"] for o in self.sessions(key)) - self.row(key)["deadline_utc_ns"]) / NS


class Faults:
    """What EC2 does to one session each."""

    def __init__(self, scene):
        self.scene, self.rules, self.mu = scene, {}, threading.Lock()

    def set(self, key, do, **more):
        session = self.scene.sessions(key)[0]["id"]
        self.put(key, {"action": "CreateTags", "match": {"ResourceId.1": session}, "do": do, **more})

    def put(self, key, *rules):
        with self.mu:
            self.rules[key] = list(rules)
            self.scene.awsim.faults([rule for some in self.rules.values() for rule in some])


def tags_that_are_shown_late(scene, faults):
    key = scene.record(world.eni(5), "10m")
    before_ns = scene.row(key)["deadline_utc_ns"]
    faults.set(key, {"tags_after_ms": 2500})
    status, answer = scene.extend(key, "20m")
    is_("an extension whose tags EC2 shows after some seconds is granted", status == 200, (status, answer))
    is_("the store has it", scene.row(key)["deadline_utc_ns"] - before_ns == 20 * 60 * NS, scene.row(key))
    is_("the tags were told once, and not taken back meanwhile", len(scene.told(key)) == 1, scene.told(key))
    is_("they say what the store does", abs(scene.off_s(key)) <= 2, scene.off_s(key))


def tags_that_are_not_shown(scene, faults):
    key = scene.record(world.eni(7), "10m")
    before = scene.row(key)["deadline_utc_ns"]
    faults.set(key, {"tags_after_ms": 600000})
    status, answer = scene.extend(key, "20m")
    is_("one whose tags EC2 does not show is not", status == 503, (status, answer))
    is_("the deadline stands", scene.row(key)["deadline_utc_ns"] == before, scene.row(key))
    wait_until("the tags", lambda: len(scene.told(key)) >= 2, 10)
    is_("and the tags are told so again, soon", abs(scene.off_s(key)) <= 2, scene.told(key))


def budget(scene, faults):
    """An extension that EC2 does not take now, asked for by a request that joined: nobody withdraws it."""
    key = scene.record(world.eni(1), "10m", max_bytes=10000)
    faults.set(key, {"throttle": True})
    scene.request(world.eni(1), "20m")
    wait_until("the end of the budget", lambda: scene.row(key)["stop_reason"] == "budget", 60)
    is_("a budget that is used up ends a capture whose extension EC2 throttles", True)


def packet_budget(scene, faults):
    key = scene.request(world.eni(2), "10m", max_packets=7)
    wait_until("the end of the budget", lambda: scene.row(key)["stop_reason"] != "none", 60)
    is_("the last packet of a budget ends a capture, for a reason of its own", scene.row(key)["stop_reason"] == "packet_budget",
        scene.row(key))
    wait_until("the last packets", lambda: scene.row(key)["state"] not in ("recording", "draining"), 60)
    capture = scene.service.call("GET", f"/v1/captures/{key}", "", scene.token)[1]
    is_("so many are written, not one more, and the rest is counted",
        (capture["stop_reason"], capture["request"]["max_packets"], capture["ledger"]["written"], capture["ledger"]["residual"]) ==
        ("packet_budget", 7, 7, 0), capture)


def deadline_amid_an_extension(scene, faults):
    key = scene.record(world.eni(6), "10s")
    faults.set(key, {"hang_ms": 60000})
    threading.Thread(target=scene.extend, args=(key, "20m"), daemon=True).start()
    lag = scene.lag_s(key)
    is_(f"an extension that hangs does not keep the session longer ({lag:.2f} s)", -1 <= lag <= 30, lag)


def deadline_amid_the_arming(scene, faults):
    """One of two sessions is there; EC2 does not answer about the other one."""
    faults.put("arming", {"action": "CreateTrafficMirrorSession", "match": {"NetworkInterfaceId": world.eni(world.TWO, 1)},
                          "do": {"hang_ms": 60000}})
    key = scene.request(world.instance(world.TWO), "10s")
    wait_until("one of two sessions", lambda: scene.sessions(key))
    lag = scene.lag_s(key)
    is_(f"nor does a session that is being made keep the one that is there ({lag:.2f} s)", -1 <= lag <= 30, lag)


def one_of_two_is_still_being_taken_down(scene, faults):
    """EC2 refuses to delete the session that an earlier capture has on one of two interfaces."""
    deadline_amid_the_arming(scene, faults)
    faults.put("arming")
    former = scene.record(world.eni(world.TWO), "10m")
    faults.put("stuck", {"action": "DeleteTrafficMirrorSession", "do": {"throttle": True},
                         "match": {"TrafficMirrorSessionId": scene.sessions(former)[0]["id"]}})
    scene.service.call("POST", f"/v1/captures/{former}/stop", '{"reason": "late"}', scene.token)
    wait_until("the end of the former", lambda: scene.row(former)["state"] == "draining", 30)
    key = scene.request(world.instance(world.TWO), "10m")
    try:
        wait_until("a session", lambda: scene.sessions(key), 20)
    except RuntimeError:
        pass
    is_("the other interface is tapped meanwhile", len(scene.sessions(key)) == 1, scene.sessions(key))
    faults.put("stuck")
    wait_until("both", lambda: sum(s["armed"] for s in scene.sources(key)) == 2, 60)
    is_("and then both", scene.row(key)["state"] == "recording", scene.row(key))


def joined_amid_the_arming(scene, faults):
    """A session for the peers of a finding was made, unheard; before that is known somebody asks for everything."""
    faults.put("unheard", {"action": "CreateTrafficMirrorSession", "match": {"NetworkInterfaceId": world.eni(8)},
                           "do": {"lose": "after", "visible_after_ms": 600000}})
    key = scene.service.call("POST", "/v1/events", world.finding(world.dice("joined"), 8), scene.bus)[1]["capture"]["id"]
    wait_until("a step that gave up", lambda: scene.sessions(key) and scene.failures(key) > 0, 60)
    is_("what asks for everything joins the capture that arms", scene.request(world.eni(8), "10m") == key, key)
    faults.put("unheard")
    wait_until("the capture", lambda: scene.row(key)["state"] == "recording", 60)

    def lets_through():
        objects = scene.awsim.ask("/objects")
        used = {s["filter"] for s in objects["sessions"] if s["tags"].get("tapbox:capture") == key}
        return [f["tags"].get("tapbox:standing") for f in objects["filters"] if f["id"] in used]
    try:
        wait_until("the wider filter", lambda: lets_through() == ["all"], 20)
    except RuntimeError:
        pass
    is_("and its session lets everything through", lets_through() == ["all"], scene.awsim.ask("/objects")["sessions"])


def answered_by_somebody_else(scene, faults):
    """A proxy on the way refuses some calls by itself, without a word of EC2 in its answer."""
    faults.put("proxy", {"action": "CreateTrafficMirrorSession", "match": {"NetworkInterfaceId": world.eni(10)}, "to": 2,
                         "do": {"error": {"status": 403, "code": ""}}})
    key = scene.request(world.eni(10), "10m")
    wait_until("its fate", lambda: scene.row(key)["state"] in ("recording", "draining", "failed"), 60)
    is_("what is not EC2's answer fails no capture", scene.row(key)["state"] == "recording", scene.row(key))


def a_database_is_captured(scene, _):
    """Its interface belongs to no instance that is seen, and is no lost one for that."""
    key = scene.record(world.DATABASE_ENI, "10m")
    looked = scene.awsim.ask("/requests")["DescribeTrafficMirrorSessions"]["total"]
    wait_until("looks at all that is captured",
               lambda: scene.awsim.ask("/requests")["DescribeTrafficMirrorSessions"]["total"] > looked + 20, 60)
    is_("a database's interface is captured, and goes on being", scene.row(key)["state"] == "recording", scene.row(key))


def one_of_two_sources_is_gone(scene, faults):
    """And its session with it: that keeps the capture of the other one from nothing."""
    scene.awsim.change({"attach": {"eni": world.STOPPED_ENI, "instance": world.instance(9)}})
    key = scene.record(world.instance(9), "10m")
    before_ns = scene.row(key)["deadline_utc_ns"]
    scene.awsim.change({"delete_interface": world.STOPPED_ENI})
    scene.service.call("POST", "/v1/events", world.news(world.dice("gone"), 9), scene.bus)
    wait_until("the loss", lambda: sum(s["armed"] for s in scene.sources(key)) == 1, 60)
    status, answer = scene.extend(key, "20m")
    is_("a capture that has lost one of its sources is extended", status == 200, (status, answer))
    is_("by what was asked for", scene.row(key)["deadline_utc_ns"] - before_ns == 20 * 60 * NS, scene.row(key))


def play(act, scene, faults):
    try:
        act(scene, faults)
    except Exception as e:  # nobody else would hear of it from a thread
        is_(f"{act.__name__} is played to its end", False, repr(e))


inside_the_lab()
with tempfile.TemporaryDirectory(dir="/run") as work:
    scene = Scene(work)
    faults = Faults(scene)
    acts = [threading.Thread(target=play, args=(act, scene, faults)) for act in (
        one_of_two_sources_is_gone, a_database_is_captured, tags_that_are_shown_late, tags_that_are_not_shown, budget, packet_budget, joined_amid_the_arming,
        answered_by_somebody_else, deadline_amid_an_extension, one_of_two_is_still_being_taken_down)]
    for act in acts:
        act.start()
    for act in acts:
        act.join()
    scene.service.end(signal.SIGKILL)  # (calls of it still hang)
    scene.traffic.stop()
    scene.awsim.stop()
finish()
