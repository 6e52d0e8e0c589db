#!/usr/bin/python3
"""A full disk, a limit, a folder that goes away: counted, told, and over when there is room."""
import os
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from recorder import *  # noqa: E402,F403


class Feed:
    """Sends 1,000-octet frames and waits until the recorder has seen them."""

    def __init__(self, recorder, wire):
        self.recorder, self.wire, self.sent = recorder, wire, 0

    def __call__(self, count):
        self.wire.send(mirrored(self.sent + i, size=1000) for i in range(count))
        self.sent += count
        wait_until("the packets", lambda: self.recorder.status()["ledger"]["received"] >= self.sent)
        # (a chunk is at most a second old)
        wait_until("their chunk", lambda: residual(self.recorder.status()["ledger"]) == 0)
        return self.recorder.status()["ledger"]


def with_spool(size, *options):
    folder = tempfile.mkdtemp()
    spool = os.path.join(folder, "spool")
    os.mkdir(spool)
    run("mount", "-t", "tmpfs", "-o", f"size={size}", "spool", spool)
    return Recorder(folder, net.name, *options)


def check_files(recorder, sentence):
    bad = [complaint(path) for path in recorder.segments() if complaint(path)]
    got = recorder.frames()
    status = recorder.status()
    is_(sentence, not bad and not recorder.hidden() and len(got) == status["ledger"]["written"] > 0, (bad, status, len(got)))


def full_disk():
    recorder = with_spool("8m")
    ballast = os.path.join(recorder.spool, "ballast")
    with open(ballast, "wb") as file:
        file.write(bytes(7 << 20))
    recorder.arm()
    feed = Feed(recorder, net)
    while feed(300)["spool_full"] == 0 and feed.sent < 9000:
        pass
    ledger = recorder.status()["ledger"]
    is_("a full disk (ENOSPC in mid-chunk) is counted as spool_full", ledger["spool_full"] > 0 < ledger["written"], ledger)
    before = ledger["written"]
    os.unlink(ballast)
    wait_until("it to see that there is room again", lambda: feed(50)["written"] > before)
    before = recorder.status()["ledger"]["written"]
    is_("when there is room again it goes on", feed(300)["written"] == before + 300, recorder.status())
    recorder.close_capture()
    check_files(recorder, "every segment of that time is whole and holds what was counted as written")
    is_("the ledger balances", residual(recorder.host()["ledger"]) == 0)
    recorder.stop()


def limit():
    recorder = with_spool("64m", "--spool-limit", "300KiB")
    recorder.arm(rotate=100000)
    feed = Feed(recorder, net)
    while feed(200)["spool_full"] == 0 and feed.sent < 9000:
        pass
    size = sum(os.path.getsize(os.path.join(recorder.spool, capture_id(), n))
               for n in os.listdir(os.path.join(recorder.spool, capture_id())))
    is_("above --spool-limit nothing is kept any more", 300 * 1024 <= size < 600 * 1024, size)
    kept = 0
    for path in recorder.segments():
        kept += len(frames.read(path))
        os.unlink(path)
    before = recorder.status()["ledger"]["written"]
    wait_until("it to see that there is room again", lambda: feed(10)["written"] > before)
    before = recorder.status()["ledger"]["written"]
    is_("after an upload it goes on", feed(200)["written"] == before + 200, recorder.status())
    is_("the operator is told both", "spool is full" in open(recorder.log).read() and
        "has room again" in open(recorder.log).read())
    status = recorder.close_capture()
    is_("what was kept before and after is all that was counted as written",
        kept + len(recorder.frames()) == status["ledger"]["written"], status)
    recorder.stop()


def min_free():
    recorder = with_spool("8m", "--min-free", "20MiB")
    recorder.arm()
    ledger = Feed(recorder, net)(10)
    is_("below --min-free nothing is written", ledger["spool_full"] == 10 and recorder.segments() == [], ledger)
    recorder.stop()


def folder_goes_away():
    recorder = Recorder(tempfile.mkdtemp(), net.name)
    recorder.arm(rotate=50000)
    feed = Feed(recorder, net)
    feed(10)
    shutil.rmtree(os.path.join(recorder.spool, capture_id()))
    feed(100)
    wait_until("the loss to be seen", lambda: recorder.status()["ledger"]["spool_full"] >= 10)
    feed(100)
    status = recorder.close_capture()
    is_("a capture's folder that was deleted is made again, and what was in it counts as lost",
        len(recorder.frames()) == status["ledger"]["written"] >= 100 and residual(status["ledger"]) == 0, status)
    bad = [complaint(path) for path in recorder.segments() if complaint(path)]
    is_("and the segments in it are whole", not bad, bad)
    shutil.rmtree(recorder.spool)
    recorder.forget()
    recorder.arm()
    feed.sent = 0
    ledger = feed(10)
    is_("without a spool at all it still counts and still answers", ledger["spool_full"] == 10, ledger)
    is_("and ends when it is told to", recorder.stop() == 0)


inside_the_lab()
net = Wire()
for case in (full_disk, limit, min_free, folder_goes_away):
    case()
finish()
