#!/usr/bin/python3
"""A disk that turns read-only under a running capture, as Linux does with one that fails: counted, told, and over when it
can be written to again; what was put down before is whole."""
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from recorder import *  # noqa: E402,F403

inside_the_lab()
with tempfile.TemporaryDirectory() as work:
    net = Wire()
    spool = os.path.join(work, "spool")
    os.mkdir(spool)
    run("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", spool)
    tap = Recorder(work, net.name)
    tap.arm(rotate=100000)
    sent = 0

    def feed(count):
        global sent
        net.send(mirrored(sent + i, size=1000) for i in range(count))
        sent += count
        wait_until("the packets", lambda: tap.status()["ledger"]["received"] >= sent)
        wait_until("their chunk", lambda: residual(tap.status()["ledger"]) == 0)
        return tap.status()["ledger"]

    before = feed(300)
    is_("it writes", before["written"] == 300, before)
    # (files that are open for writing forbid it, but to a force that is nobody's in a test: so all of them are sealed first)
    wait_until("its segment to be sealed", lambda: not tap.hidden(), 10)
    refused = run("mount", "-o", "remount,ro", spool, check=False)
    if refused.returncode != 0:
        print(f"skip - read-only: {refused.stderr.strip()}")
    else:
        during = feed(300)
        is_("what comes while it is read-only is counted as spool_full", during["written"] == 300 and
            during["spool_full"] == 300, during)
        is_("and told: what could not be begun, and why", any(
            "cannot begin a segment" in line and "Read-only file system" in line for line in open(tap.log)), open(tap.log).read())
        run("mount", "-o", "remount,rw", spool)
        feed(300)
        wait_until("it to write again", lambda: feed(50)["written"] > 300, 20)
        status = tap.close_capture()
        got = [frame.data for frame in tap.frames()]
        is_("when it can be written to again it goes on", status["ledger"]["written"] == len(got) > 300 and
            len(set(got)) == len(got), (status, len(got)))
        is_("the ledgers balance", residual(status["ledger"]) == 0 == residual(tap.host()["ledger"]), status)
        bad = [complaint(path) for path in tap.segments() if complaint(path)] + untrue(tap.segments())
        is_("every segment is whole, and its index true", not bad, bad)
    is_("it ends when it is told to", tap.stop() == 0, open(tap.log).read())
    run("umount", spool)
finish()
