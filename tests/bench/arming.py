#!/usr/bin/python3
"""From the acknowledged alert to the mirror session, with EC2 100 ms away and a warm target and filter.

usage: tests/bench/arming.py [--build DIR] [--mode release] [--runs 20] [--latency-ms 100]

In the lab: awsim, which answers no call sooner than that, and `tapbox serve --with-recorder`.  Findings about one instance
after the other; each is timed from its acknowledgement (202) to the moment at which EC2 made the session, and its calls of EC2
are read from awsim's log.  A round trip is a call that did not overlap the one before it.  Prints one JSON object.
"""
import argparse
import json
import os
import re
import signal
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../support"), os.path.join(HERE, "../chaos")]
import host  # noqa: E402
import verdict  # noqa: E402
import world  # noqa: E402
from recorder import ROOT, inside_the_lab, run, wait_until  # noqa: E402

ROUND_TRIPS, MARGIN_MS = 3, 50  # the goal
CALL = re.compile(r"(\S+)T(\S+)\.(\d{3})Z ec2 (\S+) \d+ \S+ \S+ \S+ (\d+)us")
# What the reconciler asks besides, every 15 s, and once more for sessions: a run that it falls into is not counted.
RECONCILER = {"DescribeTrafficMirrorTargets", "DescribeTrafficMirrorFilters"}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--mode", default="release")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--latency-ms", type=int, default=100)
    return parser.parse_args()


def calls_between(log, from_ns, until_ns):
    """(began, ended, action) of EC2's calls that began in that time, in order."""
    found = []
    with open(log, encoding="utf-8") as file:
        for day, clock, ms, action, took_us in CALL.findall(file.read()):
            ended_ns = verdict.utc_ns(f"{day}T{clock}Z") + int(ms) * 1000000
            began_ns = ended_ns - int(took_us) * 1000
            if from_ns <= began_ns + 2000000 and began_ns <= until_ns:
                found.append((began_ns, ended_ns, action))
    return sorted(found)


def round_trips(calls):
    """How many of them had to wait for one before."""
    count, ended_ns = 0, 0
    for began_ns, until_ns, _ in calls:
        if began_ns >= ended_ns - 2000000:  # the log has milliseconds
            count += 1
            ended_ns = until_ns
    return count


class Scene:
    def __init__(self, args, out, folder):
        self.names = world.Names(1)
        self.latency_ms = args.latency_ms
        host.build_wires(self.names)
        self.rng = world.dice("arming")
        self.token = run(out + "/tapbox", "token", "add", "a", "--role", "alert", "--file", folder + "/tokens").stdout.strip()
        self.awsim = host.Awsim(out, self.names, folder, world.describe(self.names, folder + "/awsim.sock", args.runs * 2 + 2))
        self.service = host.Service(out, self.names, folder, "bench", folder + "/tokens", duration="10m", max_duration="1h",
                                    max_concurrent=args.runs * 2 + 2)
        self.service.start()
        wait_until("the service", self.service.ready, 30)

    def post(self, n):
        """The capture of a finding, when it was sent and when acknowledged."""
        sent_ns = time.time_ns()
        status, answer = self.service.call("POST", "/v1/events", world.finding(self.rng, n), self.token)
        assert status == 202, answer
        return answer["capture"]["id"], sent_ns, time.time_ns()

    def session(self, key):
        return next((o for o in verdict.owned(self.awsim.history(), "bench")
                     if o["kind"] == "session" and o["tags"]["tapbox:capture"] == key), None)

    def warm_up(self):
        key, _, _ = self.post(1)
        wait_until("the first capture", lambda: self.service.captures()[key]["state"] == "recording", 30)
        self.awsim.faults([{"action": "*", "do": {"latency_ms": self.latency_ms}}])

    def once(self, n):
        """One alert: milliseconds to its session, its calls of EC2; None when the reconciler was at work."""
        key, sent_ns, accepted_ns = self.post(n)
        wait_until("the session", lambda: self.session(key), 30)
        made_ns = self.session(key)["from_ns"]
        wait_until("the capture", lambda: self.service.captures()[key]["state"] == "recording", 30)
        calls = calls_between(self.awsim.folder + "/awsim.log", sent_ns, made_ns)
        actions = [action for _, _, action in calls]
        if RECONCILER & set(actions) or len(actions) > len(set(actions)):
            return None
        return {"ms": (made_ns - accepted_ns) / 1e6, "calls": sorted(action for _, _, action in calls),
                "round_trips": round_trips(calls)}


def main():
    args = arguments()
    inside_the_lab()
    out = os.path.join(os.path.abspath(args.build), args.mode)
    with tempfile.TemporaryDirectory(dir="/run") as folder:
        scene = Scene(args, out, folder)
        try:
            scene.warm_up()
            done = []
            for n in range(2, args.runs * 2 + 2):
                one = scene.once(n)
                done += [one] if one else []
                if len(done) == args.runs:
                    break
        finally:
            scene.service.end(signal.SIGKILL)
            scene.awsim.stop()
    took = sorted(one["ms"] for one in done)
    print(json.dumps({"latency_ms": args.latency_ms, "goal_ms": ROUND_TRIPS * args.latency_ms + MARGIN_MS, "runs": len(took),
                      "median_ms": round(took[len(took) // 2], 1), "best_ms": round(took[0], 1), "worst_ms": round(took[-1], 1),
                      "round_trips": max(one["round_trips"] for one in done),
                      "calls": sorted({" ".join(one["calls"]) for one in done})}))


if __name__ == "__main__":
    main()
