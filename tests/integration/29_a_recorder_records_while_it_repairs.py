#!/usr/bin/python3
"""What a killed recorder left open is repaired beside the recording: the next one is armed and writes while the disk does
not give the old segments at all; one that cannot be read is neither cut nor removed, and holds up nothing."""
import os
import signal
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import faulty_disk  # noqa: E402
from recorder import *  # noqa: E402,F403

SEALED, BROKEN = capture_id(1), capture_id(2)


class Scene:
    def __init__(self):
        folder = tempfile.mkdtemp()
        for name in ("spool", "files"):
            os.mkdir(os.path.join(folder, name))
        self.files = os.path.join(folder, "files")
        self.disk = faulty_disk.FaultyDisk(os.path.join(folder, "spool"), self.files)
        self.tap = Recorder(folder, net.name)
        self.sent = 0

    def feed(self, count, capture):
        net.send(mirrored(self.sent + i, size=1000) for i in range(count))
        self.sent += count
        wait_until("the packets to be written", lambda: self.tap.status(capture)["ledger"]["written"] == self.sent, 20)

    def die(self, fault):
        """Killed in the middle of a segment, and its disk is not what it was."""
        last = self.tap.status()
        self.tap.stop(signal.SIGKILL)
        self.disk.fault(fault)
        self.tap.start()
        return {"known": last["last"], "first": last["first"], "last": last["last"], "ledger": last["ledger"]}

    def is_told(self, words):
        wait_until(f"'{words}' in the log", lambda: words in open(self.tap.log).read(), 30)

    def end(self):
        is_("it ends when it is told to", self.tap.stop() == 0, open(self.tap.log).read())
        self.disk.close()


def hangs():
    scene = Scene()
    scene.tap.arm()
    scene.feed(300, SEALED)
    base = scene.die("hang-segments")
    left = scene.tap.hidden()
    scene.tap.arm(base=base)
    scene.feed(200, SEALED)
    is_("it is armed and writes while what was left open cannot even be read", len(left) == 1 and left[0] in scene.tap.hidden(),
        (left, scene.tap.hidden()))
    scene.disk.fault("")
    scene.tap.close_capture()
    scene.tap.wait_for_repair()
    is_("when the disk gives it, it is repaired: every packet is there once, those of before and after",
        sorted(f.data for f in scene.tap.frames()) == sorted(inner(i, 1000) for i in range(500)), scene.tap.segments())
    bad = [complaint(path) for path in scene.tap.segments() if complaint(path)] + untrue(scene.tap.segments())
    is_("and every segment is whole, and its index true", not bad, bad)
    scene.is_told("1 segments repaired, 0 were empty or lost, 0 could not be read")
    scene.end()


def fails():
    scene = Scene()
    scene.tap.arm()
    scene.feed(300, SEALED)
    scene.die("eio-segments")
    name = scene.tap.hidden()[0]
    before = open(os.path.join(scene.files, SEALED, name), "rb").read()
    scene.tap.arm(capture=BROKEN)
    scene.sent = 0
    scene.feed(100, BROKEN)
    scene.is_told("it is left to the uploader as it is")
    is_("what cannot be read is left as it is, under its name",
        open(os.path.join(scene.files, SEALED, name[1:]), "rb").read() == before and not scene.tap.hidden(), scene.tap.hidden())
    scene.is_told("0 segments repaired, 0 were empty or lost, 1 could not be read")
    status = scene.tap.close_capture(BROKEN)
    is_("and costs no other capture a packet", status["ledger"]["written"] == 100 == len(
        [f for path in os.listdir(os.path.join(scene.files, BROKEN)) if path.endswith(".zst")
         for f in frames.read(os.path.join(scene.files, BROKEN, path))]), status)
    scene.end()


inside_the_lab()
why = faulty_disk.why_not()
if why:
    print(f"skip - a disk that fails: {why}")
    finish()
net = Wire()
hangs()
fails()
finish()
