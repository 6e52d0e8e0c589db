#!/usr/bin/python3
"""The host's wall clock is set, forward and back, while captures run: nothing ends early, late, or is waited for in vain.

The shipped program runs; set_clock.c is preloaded and moves its CLOCK_REALTIME alone.  EC2 has the right time, refuses what is
signed with a wrong one, and is what is measured by.
"""
import http.client
import json
import os
import signal
import sqlite3
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../support"), os.path.join(HERE, "../chaos")]
import host  # noqa: E402
import verdict  # noqa: E402
import world  # noqa: E402
from recorder import ROOT, finish, inside_the_lab, is_, run, wait_until  # noqa: E402

NS, OWNER, HOUR_S = verdict.NS, "clock", 3600
POLICY = """profiles:
  peers: {filter: peers, duration: 5m}
rules:
  - {name: c2, when: {type: "Backdoor:EC2/*"}, capture: peers}
"""
REFUSED = {"action": "DeleteTrafficMirrorSession", "do": {"error": {"status": 503, "code": "Unavailable"}}}


class Scene:
    def __init__(self, folder):
        out = os.environ.get("TB_OUT", os.path.join(ROOT, "build/debug"))
        self.names = world.Names(1)
        host.build_wires(self.names)
        self.token, self.bus = (run(out + "/tapbox", "token", "add", role, "--role", role, "--file", folder + "/tokens").stdout.strip()
                                for role in ("analyst", "alert"))
        with open(folder + "/policy.yaml", "w", encoding="utf-8") as file:
            file.write(POLICY)
        self.awsim = host.Awsim(out, self.names, folder)
        self.service = host.Service(out, self.names, folder, OWNER, folder + "/tokens", max_duration="1h",
                                    policy=folder + "/policy.yaml")
        self.service.may_be_set(host.build_clock(folder))
        self.service.keep_clock(True)
        self.start()

    def start(self):
        self.service.start()
        wait_until("the service", self.service.ready, 30)

    def post(self, path, **body):
        status, answer = self.service.call("POST", "/v1/captures" + path, json.dumps({"reason": "clock", **body}), self.token,
                                           timeout=30)
        assert status in (200, 202), (status, answer)
        return answer["capture"]["id"]

    def record(self, n, duration):
        key = self.post("", source=world.eni(n), duration=duration)
        wait_until("the capture", lambda: self.row(key)["state"] not in ("requested", "planned", "arming"), 30)
        return key

    def row(self, key):
        return self.service.captures()[key]

    def owned(self, kind, key):
        return [o for o in verdict.owned(self.awsim.history(), OWNER)
                if o["kind"] == kind and o["tags"].get("tapbox:capture") == key]

    def session(self, key):
        session, = self.owned("session", key)
        return session

    def unkept(self):
        """What CloudWatch was told of the clock, point by point."""
        return [e["value"] for e in self.awsim.history()["events"] if e.get("metric") == "ClockUnsynchronised"]

    def of_another_boot(self, key):
        link = sqlite3.connect(self.service.state + "/tapbox.db")
        with link:
            link.execute("UPDATE captures SET deadline_boot_id = 'another', deadline_boot_ns = 7 WHERE id = ?", (key,))
        link.close()

    def is_of_this_boot(self, key):
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as boot_id:
            this = boot_id.read().strip()
        return this in [row["deadline_boot_id"] for row in self.service.rows("SELECT id, deadline_boot_id FROM captures")
                        if row["id"] == key]

    def tag_is_right(self, key):
        expires = verdict.utc_ns(self.session(key)["tags"]["tapbox:expires"])
        return abs(expires - self.row(key)["deadline_utc_ns"]) <= 20 * NS  # (the clock is wrong by hours)

    def ends_in_time(self, what, key, after_ns=0):
        wait_until(what, lambda: self.session(key)["until_ns"], 90)
        row = self.row(key)
        lag_s = (self.session(key)["until_ns"] - max(after_ns, row["deadline_utc_ns"])) / NS
        print(f"# {what}: taken down {lag_s:.2f} s after it was due")
        is_(what, -0.1 <= lag_s <= 40, lag_s)
        wait_until("its draining", lambda: self.row(key)["state"] == "sealing", 30)
        is_("by its deadline", self.row(key)["stop_reason"] == "deadline", self.row(key))


def play(scene):
    wait_until("the first point in CloudWatch", scene.unkept, 30)
    is_("while somebody keeps the clock CloudWatch is told so", scene.unkept() == ["0"], scene.unkept())
    scene.service.keep_clock(False)
    late = scene.record(7, "10m")
    longer, killed, rebooted = (scene.record(n, duration) for n, duration in ((2, "30s"), (3, "35s"), (5, "40s")))
    # a retry that waits, when the clock is set back by less than a minute: the pause must not become longer by that
    scene.awsim.faults([REFUSED])
    stuck = scene.record(1, "6s")
    wait_until("a delete that fails", lambda: scene.awsim.ask("/requests").get("DeleteTrafficMirrorSession", {}).get("errors"), 30)
    scene.service.set_clock(-50)
    scene.awsim.faults([])
    lifted_ns = scene.awsim.history()["now_ns"]
    # forward by a day: the tags that an extension writes are of AWS's time, and it is longer by what was asked for
    scene.service.set_clock(24 * HOUR_S)
    before_ns = scene.row(longer)["deadline_utc_ns"]
    scene.post(f"/{longer}/extend", duration="2s")
    is_("an extension moves the deadline by what was asked for", scene.row(longer)["deadline_utc_ns"] - before_ns == 2 * NS,
        scene.row(longer))
    is_("and its tags say it by AWS's time", scene.tag_is_right(longer), scene.session(longer))
    made = scene.record(4, "6s")
    is_("so do the tags of what is begun then", scene.tag_is_right(made), scene.session(made))
    scene.ends_in_time("a capture whose teardown failed when the clock was set back ends in time", stuck, lifted_ns)
    # the service is away, the clock is not what it was, and a new process knows nothing of it; one capture is of another boot
    scene.service.end(signal.SIGKILL)
    scene.service.set_clock(-2 * HOUR_S)
    was_ns = scene.row(rebooted)["deadline_utc_ns"]
    scene.of_another_boot(rebooted)
    scene.awsim.faults([{"action": "DescribeTrafficMirrorSessions", "do": {"hang_ms": 3000}}])
    scene.start()
    early = scene.service.call("POST", "/v1/events", world.finding(world.dice("early"), 6), scene.bus)[1]["capture"]["id"]
    wait_until("its filter", lambda: scene.owned("filter", early), 30)
    off_s = (verdict.utc_ns(scene.owned("filter", early)[0]["tags"]["tapbox:expires"]) - scene.awsim.history()["now_ns"]) / NS
    is_("what is made before sessions were ever listed expires by AWS's time", abs(off_s - 300) <= 60, off_s)
    scene.awsim.faults([])
    wait_until("a point after that", lambda: "1" in scene.unkept(), 90)
    scene.post(f"/{early}/stop")
    wait_until("AWS's time", lambda: scene.is_of_this_boot(rebooted), 20)
    off_s = (scene.row(rebooted)["deadline_utc_ns"] - was_ns) / NS
    is_("a deadline of another boot is where AWS's clock has it", abs(off_s) <= 20, off_s)
    # again, and what comes first is an extension
    scene.service.end(signal.SIGKILL)
    scene.service.set_clock(3 * HOUR_S)
    scene.start()
    scene.post(f"/{late}/extend", duration="2s")
    is_("an extension before sessions were ever listed is told by AWS's time", scene.tag_is_right(late), scene.session(late))
    scene.post(f"/{late}/stop")
    scene.ends_in_time("one that was begun a day ahead ends in time", made)
    scene.ends_in_time("one that was extended a day ahead ends in time", longer)
    scene.ends_in_time("one that a killed service left ends in time", killed)
    scene.ends_in_time("one of another boot ends in time", rebooted)
    left = [o for o in verdict.owned(scene.awsim.history(), OWNER) if not o["until_ns"] and "tapbox:expires" in o["tags"]]
    is_("nothing with an expiry is left", left == [], left)


inside_the_lab()
with tempfile.TemporaryDirectory(dir="/run") as work:
    scene = Scene(work)
    try:
        play(scene)
    except (RuntimeError, AssertionError, OSError, http.client.HTTPException) as e:
        is_("the scene is played to its end", False, f"{e!r}\n" + open(scene.service.log, encoding="utf-8").read()[-3000:])
    finally:
        scene.service.end(signal.SIGKILL)
        scene.awsim.stop()
finish()
