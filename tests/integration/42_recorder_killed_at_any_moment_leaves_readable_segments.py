#!/usr/bin/python3
"""SIGKILL at random moments, again and again: what was put down is repaired at the next start."""
import os
import random
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from recorder import *  # noqa: E402,F403

ROUNDS = 12
inside_the_lab()
rng = random.Random(42)
with tempfile.TemporaryDirectory(dir="/run") as work:  # in memory: how slow a disk is, is not looked at here
    net = Wire()
    tap = Recorder(work, net.name)
    number = 0
    uploaded = set()
    lost_late, lost_written = [], []
    reused = []
    for round_ in range(ROUNDS):
        tap.arm(rotate=rng.choice([20000, 200000, 1 << 27]))
        until = time.monotonic() + rng.uniform(0.05, 2.2)
        first = number
        times = {}
        stood_still = 0.0  # the longest time that this program was kept from running; the recorder may have been, too
        before = time.monotonic()
        while time.monotonic() < until:
            net.send(mirrored(number + i, size=600) for i in range(50))
            for i in range(50):
                times[number + i] = time.monotonic()
            number += 50
            time.sleep(0.002)
            stood_still, before = max(stood_still, time.monotonic() - before), time.monotonic()
        written = tap.status()["ledger"]["written"]
        killed = time.monotonic()
        stood_still = max(stood_still, killed - before)
        tap.stop(9)
        tap.start()
        tap.wait_for_repair()
        have = {f.data for f in tap.frames()}
        # A chunk is put down when it is a second old; give a slow machine half a second more.
        oldest = killed - 1.5 - 5 * stood_still
        lost_late += [n for n in range(first, number) if times[n] < oldest and inner(n, 600) not in have]
        counted = sum(inner(n, 600) in have for n in range(first, number))
        if counted < written:
            lost_written.append((round_, counted, written))
        now = set(tap.segments())
        bad = [complaint(path) for path in now if complaint(path)]
        if bad:
            is_(f"round {round_}: every segment is read by tshark", False, "\n".join(bad))
            break
        reused += [path for path in now if path in uploaded]
        if round_ % 3 == 2 and round_ < ROUNDS - 1:  # all of them uploaded: their names stay used
            uploaded |= now
            for path in now:
                os.unlink(path)
    else:
        is_(f"after each of {ROUNDS} kills every segment is sealed and read by tshark without a complaint", True)
    is_("what was older than a chunk's age when it was killed is there", not lost_late, lost_late[:10])
    is_("what it had counted as written is there", not lost_written, lost_written)
    is_("no segment's name is used twice, not even after it was uploaded and removed",
uploaded and not reused, reused)
    wait_until("it to say what it repaired", lambda: "segments repaired" in open(tap.log).read())
    tcpdump = "tcpdump -Z root"
    if open("/proc/self/setgroups", encoding="ascii").read().strip() == "deny":
        tcpdump = os.path.join(ROOT, "tests/lab/setgroups-ok.py") + " " + tcpdump
    summaries = run("sh", "-c", f"zstd -dc {sorted(tap.segments())[0]} | {tcpdump} -nr - | head -1", check=False)
    is_("tcpdump reads them after zstd -d", "IP 10.9.0.1" in summaries.stdout, summaries.stderr)
    tap.stop()
finish()
