#!/usr/bin/python3
"""With a warm target and filter an alert is three round trips of EC2 away from its session, whatever they take.

Counted, not timed: tests/bench/arming.py prints the times.
"""
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../support"))
from recorder import ROOT, finish, inside_the_lab, is_  # noqa: E402

inside_the_lab()
out = os.environ.get("TB_OUT", os.path.join(ROOT, "build/debug"))
done = subprocess.run([os.path.join(ROOT, "tests/bench/arming.py"), "--build", os.path.dirname(out), "--mode",
                       os.path.basename(out), "--runs", "4", "--latency-ms", "150"], capture_output=True, text=True, check=False)
is_("the measurement is made", done.returncode == 0, done.stderr[-2000:])
if done.returncode == 0:
    said = json.loads(done.stdout)
    print(f"# with 150 ms to EC2: median {said['median_ms']} ms, worst {said['worst_ms']} ms (goal {said['goal_ms']})")
    is_("each alert asks EC2 four things, no more",
        said["calls"] == ["CreateTrafficMirrorSession DescribeInstances DescribeNetworkInterfaces "
                          "DescribeTrafficMirrorSessions"], said)
    is_("two of them at the same time: three round trips", said["round_trips"] == 3, said)
    is_("and the session is not there before all of them", said["best_ms"] > 3 * 150 - 75, said)
finish()
