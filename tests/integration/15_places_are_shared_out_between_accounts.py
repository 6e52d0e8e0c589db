#!/usr/bin/python3
"""Places in total and of each account: who waits is seen, begins in the order of severity, and can be stopped.

Three captures at once, two of an account; two accounts.  An account that is full keeps none of the other's waiting.
"""
import http.client
import json
import os
import signal
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../support"), os.path.join(HERE, "../chaos")]
import host  # noqa: E402
import verdict  # noqa: E402
import world  # noqa: E402
from recorder import ROOT, finish, inside_the_lab, is_, run, wait_until  # noqa: E402

OWNER, TOTAL, OF_ACCOUNT = "places", 3, 2


class Scene:
    def __init__(self, folder):
        self.out = os.environ.get("TB_OUT", os.path.join(ROOT, "build/debug"))
        self.names = world.Names(1)
        host.build_wires(self.names)
        self.tokens = {role: run(self.out + "/tapbox", "token", "add", role, "--role", role, "--file",
                                 folder + "/tokens").stdout.strip() for role in ("alert", "analyst")}
        self.awsim = host.Awsim(self.out, self.names, folder, world.describe(self.names, folder + "/awsim.sock", away=True))
        self.service = host.Service(self.out, self.names, folder, OWNER, folder + "/tokens", away=True, duration="10m",
                                    max_duration="1h", max_concurrent=TOTAL, max_per_account=OF_ACCOUNT)
        self.service.start()
        wait_until("the service", self.service.ready, 30)

    def find(self, n, severity):
        """A finding about an instance of whatever account it is in; its capture."""
        account = world.AWAY if world.is_away(world.instance(n)) else world.ACCOUNT
        status, answer = self.service.call("POST", "/v1/events", world.finding(world.dice(n), n, severity, account),
                                           self.tokens["alert"])
        assert status == 202 and answer["decision"] == "capture", (status, answer)
        return answer["capture"]["id"]

    def cli(self, *words):
        return run(self.out + "/tapbox", *words, env={**os.environ, "TAPBOX_URL": self.names.api,
                                                      "TAPBOX_TOKEN": self.tokens["analyst"]}).stdout

    def states(self):
        """What an analyst sees: the state of each capture, or its place in the queue."""
        listed = json.loads(self.cli("list", "--json"))["captures"]
        return {c["id"]: c["queue_position"] or c["state"] for c in listed}

    def becomes(self, sentence, keys, wanted):
        seen = {}

        def is_so():
            seen.update(self.states())
            return [seen[key] for key in keys] == wanted
        try:
            wait_until(sentence, is_so, 40)
        except RuntimeError:
            pass
        is_(sentence, is_so(), [seen[key] for key in keys])

    def most_at_once(self):
        """Sessions in total, and of each account."""
        made = {e["id"]: e["account"] for e in self.awsim.history()["events"] if e["event"] == "create"}
        steps = sorted(step for o in verdict.owned(self.awsim.history(), OWNER) if o["kind"] == "session"
                       for step in [(o["from_ns"], 1, made[o["id"]])] + [(o["until_ns"], -1, made[o["id"]])] * bool(o["until_ns"]))
        now, most = {}, {}
        for _, by, account in steps:
            for whose in ("all", account):
                now[whose] = now.get(whose, 0) + by
                most[whose] = max(most.get(whose, 0), now[whose])
        return most


def play(scene):
    ours = [scene.find(n, 5) for n in (1, 2)]
    scene.becomes("two of our account begin", ours, ["recording"] * 2)
    checks = json.loads(scene.cli("plan", "--json", world.eni(4)))["checks"]
    is_("a plan says that the next one would wait", [c["severity"] for c in checks if c["code"] == "no_place" and
                                                     "capture.max_per_account" in c["text"]] == ["warn"], checks)
    mild, severe = scene.find(3, 2), scene.find(4, 8.9)
    scene.becomes("the third and fourth wait, the more severe in front", [severe, mild], [1, 2])
    away = scene.find(5, 4)
    scene.becomes("what waits for a place of our account keeps no other account waiting", [away, severe, mild],
                  ["recording", 1, 2])
    late = scene.find(6, 7)
    scene.becomes("with all places taken the next of that account waits in the same queue", [severe, late, mild], [1, 2, 3])
    told = scene.cli("list")
    is_("the table says who waits", all(any(key in line and "queue" in line for line in told.splitlines())
                                        for key in (severe, late, mild)), told)
    scene.cli("stop", ours[0])
    scene.becomes("the most severe gets the place that becomes free", [severe, late, mild], ["recording", 1, 2])
    scene.cli("stop", mild)
    scene.becomes("who waits can be stopped, and leaves the queue", [late], [1])
    wait_until("the end of what was stopped", lambda: scene.states()[mild] not in (1, 2, "requested"), 30)
    scene.cli("stop", ours[1])
    scene.becomes("then the next one begins", [severe, late, away], ["recording"] * 3)
    is_("what was stopped while it waited was never tapped", not [
        o for o in verdict.owned(scene.awsim.history(), OWNER) if o["tags"].get("tapbox:capture") == mild])
    is_("there were never more sessions than places", scene.most_at_once() == {
        "all": TOTAL, world.ACCOUNT: OF_ACCOUNT, world.AWAY: OF_ACCOUNT}, scene.most_at_once())


inside_the_lab()
with tempfile.TemporaryDirectory(dir="/run") as work:
    scene = Scene(work)
    try:
        play(scene)
    except (RuntimeError, AssertionError, OSError, KeyError, ValueError, http.client.HTTPException) as e:
        is_("the scene is played to its end", False, f"{e!r}\n" + open(scene.service.log, encoding="utf-8").read()[-3000:])
    finally:
        scene.service.end(signal.SIGKILL)
        scene.awsim.stop()
finish()
