#!/usr/bin/python3
"""A spool whose disk answers EIO, and one whose disk does not answer at all: the recorder lives, counts, says so, ends
captures in time, and goes on as soon as the disk does."""
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import faulty_disk  # noqa: E402
from recorder import *  # noqa: E402,F403

LATE = capture_id(2)


class Scene:
    """A recorder with its spool on a faulty disk."""

    def __init__(self, *options):
        folder = tempfile.mkdtemp()
        for name in ("spool", "files"):
            os.mkdir(os.path.join(folder, name))
        self.disk = faulty_disk.FaultyDisk(os.path.join(folder, "spool"), os.path.join(folder, "files"))
        self.tap = Recorder(folder, net.name, *options)
        self.sent = 0

    def send(self, count):
        net.send(mirrored(self.sent + i, size=1000) for i in range(count))
        self.sent += count

    def received(self):
        return self.tap.status()["ledger"]["received"]

    def feed(self, count):
        """Sends, and waits until each packet is somewhere."""
        self.send(count)
        wait_until("the packets", lambda: self.received() >= self.sent, 20)
        wait_until("their chunk", lambda: residual(self.tap.status()["ledger"]) == 0, 20)
        return self.tap.status()["ledger"]

    def check(self, what):
        status, host = self.tap.status(), self.tap.host()["ledger"]
        got = [frame.data for frame in self.tap.frames()]
        is_(f"{what}: every packet is in a segment once, or counted", len(set(got)) == len(got) == status["ledger"]["written"] and
            residual(status["ledger"]) == 0 == residual(host) and host["received"] == self.sent, (status, host, len(got)))
        bad = [complaint(path) for path in self.tap.segments() if complaint(path)] + untrue(self.tap.segments())
        is_(f"{what}: every segment is whole, and its index true", not bad and not self.tap.hidden(), bad)
        is_(f"{what}: the recorder ends when it is told to", self.tap.stop() == 0, open(self.tap.log).read())
        self.disk.close()


def fails():
    scene = Scene()
    scene.tap.arm(rotate=100000)
    before = scene.feed(300)
    is_("it writes", before["written"] == 300, before)
    scene.disk.fault("eio")
    during = scene.feed(300)
    is_("what comes while the disk answers EIO is counted as spool_full", during["written"] + during["spool_full"] == 600 and
        during["spool_full"] > 0, during)
    is_("and told", "Input/output error" in open(scene.tap.log).read(), open(scene.tap.log).read())
    scene.disk.fault("")
    wait_until("it to write again", lambda: scene.feed(50)["written"] > during["written"], 20)
    ledger = scene.tap.close_capture()["ledger"]
    is_("what was put down before is not lost", ledger["written"] >= 300 + 50, ledger)
    scene.check("after EIO")


def hangs():
    scene = Scene("--memory", "8MiB")
    scene.tap.arm()
    scene.tap.arm(LATE, sources=[("10.77.0.1", 43)])
    scene.disk.fault("hang")
    scene.send(11000)  # more than its memory holds; the rest waits in the ring
    wait_until("its memory to be full", lambda: scene.received() > 6000, 20)
    is_("while the disk hangs, it answers", scene.tap.status()["state"] == "armed" and scene.tap.host()["armed"] == 2)
    scene.tap.disarm()
    wait_until("what is in the ring to be seen, although the disk hangs",
               lambda: scene.tap.host()["ledger"]["received"] == scene.sent, 60)
    ledger = scene.tap.status()["ledger"]
    is_("what came before its end and found no room is counted as queue_dropped", ledger["queue_dropped"] > 0 and
        ledger["received"] == scene.sent, ledger)
    is_("it is closing, the other capture is not", [scene.tap.status(one)["state"] for one in (capture_id(), LATE)] ==
        ["closing", "armed"])
    scene.disk.fault("")
    wait_until("it to be closed when the disk answers again", lambda: scene.tap.status()["state"] == "closed", 20)
    scene.check("after a hang")


def folders_fail():
    """A segment has its sealed name already when it is told that this may not last."""
    scene = Scene()
    scene.tap.arm(rotate=100000)
    scene.feed(50)
    scene.disk.fault("eio-folders")
    scene.tap.disarm()
    wait_until("the sealed name", lambda: scene.tap.segments(), 20)
    wait_until("two tries", lambda: open(scene.tap.log).read().count("Input/output error") > 0, 20)
    time.sleep(2.5)
    scene.disk.fault("")
    wait_until("it to be closed when the folder can be synced", lambda: scene.tap.status()["state"] == "closed", 20)
    status = scene.tap.status()
    is_("what is in it is not counted as lost", status["ledger"]["written"] == 50 and status["segments"] == 1, status)
    scene.check("after a folder that could not be synced")


inside_the_lab()
why = faulty_disk.why_not()
if why:
    print(f"skip - a disk that fails: {why}")
    finish()
net = Wire()
fails()
folders_fail()
hangs()
finish()
