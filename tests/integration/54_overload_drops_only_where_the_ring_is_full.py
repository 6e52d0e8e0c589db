#!/usr/bin/python3
"""A writer that gets no CPU: what it cannot take waits in the ring, and is dropped only when that is full."""
import glob
import os
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from recorder import *  # noqa: E402,F403

SIZE = 1400
BURST = 9000  # 13 MB: more than the 8 MiB of memory, less than with the ring's 32
FLOOD = 45000  # 65 MB: more than both


class Starved:
    """While this lasts, the writer thread has an idle core's rest, and the core is not idle."""

    def __init__(self, pid):
        core = max(os.sched_getaffinity(0))
        self.writer = next(int(path.split("/")[4]) for path in glob.glob(f"/proc/{pid}/task/*/comm")
                           if open(path, encoding="ascii").read() == "write0\n")
        self.before = os.sched_getaffinity(self.writer)
        self.core = core

    def __enter__(self):
        self.burner = subprocess.Popen(["taskset", "-c", str(self.core), "sh", "-c", "while :; do :; done"])
        os.sched_setaffinity(self.writer, {self.core})
        os.sched_setscheduler(self.writer, os.SCHED_IDLE, os.sched_param(0))

    def __exit__(self, *_):
        os.sched_setscheduler(self.writer, os.SCHED_OTHER, os.sched_param(0))
        os.sched_setaffinity(self.writer, self.before)
        self.burner.kill()
        self.burner.wait()


def taken(tap):
    return tap.host()["ledger"]["received"]


def waits_in_the_ring(tap, wire):
    tap.arm()
    with Starved(tap.process.pid):
        wire.send(mirrored(i, size=SIZE) for i in range(BURST))
        end, before = time.monotonic() + 5, -1
        while taken(tap) != before and time.monotonic() < end:  # until the receiver has what it has memory for
            before = taken(tap)
            time.sleep(0.2)
        is_("the receiver stopped reading before all was taken from the ring", before < BURST, before)
        tap.arm()
        is_("it still answers", tap.status()["state"] == "armed")
    wait_until("all to be taken", lambda: taken(tap) >= BURST, 20)
    ledger = tap.close_capture()["ledger"]
    is_("nothing is dropped: what the writer could not take waited in the ring",
        ledger["written"] == BURST and ledger["queue_dropped"] == 0 == tap.host()["ledger"]["ring_dropped"], tap.host())
    is_("every packet is there, in its order", [f.data for f in tap.frames()] == [inner(i, SIZE) for i in range(BURST)])
    tap.forget()


def is_dropped_when_that_is_full(tap, wire):
    before = taken(tap)
    capture = capture_id(2)
    tap.arm(capture=capture)
    with Starved(tap.process.pid):
        wire.send(mirrored(i, size=SIZE) for i in range(FLOOD))
    wait_until("all to be counted", lambda: taken(tap) >= before + FLOOD, 20)
    ledger = tap.close_capture(capture)["ledger"]
    host = tap.host()["ledger"]
    is_("with the ring full packets are dropped there, and nowhere else",
        host["ring_dropped"] > 0 == ledger["queue_dropped"] and host["queue_dropped"] == 0, host)
    is_("and all are counted", residual(host) == 0 == residual(ledger) and host["received"] == before + FLOOD, host)
    is_("what was kept is whole", len(tap.frames(capture)) == ledger["written"], ledger)


def main():
    wire = Wire("v54")
    with tempfile.TemporaryDirectory(prefix="tapbox-54-") as folder:
        tap = Recorder(folder, "v54", "--memory", "8MiB", "--ring", "32MiB")
        waits_in_the_ring(tap, wire)
        is_dropped_when_that_is_full(tap, wire)
        is_("it ends in order", tap.stop() == 0)
    finish()


inside_the_lab()
main()
