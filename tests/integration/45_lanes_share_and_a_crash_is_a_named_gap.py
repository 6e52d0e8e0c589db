#!/usr/bin/python3
"""Several lanes that share the packets; first evidence early; a capture that goes on after its recorder was killed."""
import mmap
import os
import signal
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from recorder import *  # noqa: E402,F403

COUNTERS = 7


def flow(number, size=400):
    """Mirrored frames of many flows: the outer source port is what lanes share by."""
    return ethernet(ipv4("10.77.0.1", "10.77.0.2", udp(vxlan(42, inner(number, size)), source_port=49152 + number % 97)))


def capinfos(path):
    return int(run("capinfos", "-T", "-r", "-M", "-c", path).stdout.split()[-1])


def by_lane(paths):
    lanes = {}
    for path in paths:
        lanes.setdefault(os.path.basename(path).split("-")[1], []).extend(frames.read(path))
    return lanes


def lanes_share(tap, net):
    before = tap.host()["ledger"]["received"]
    tap.arm(rotate=1 << 20)
    net.send((flow(i) for i in range(20000)), pause_s=0.00002)
    wait_until("20,000 packets", lambda: tap.host()["ledger"]["received"] >= before + 20000, 30)
    status = tap.close_capture()
    lanes = by_lane(tap.segments())
    is_("three lanes each have their share, in files of their own",
        sorted(lanes) == ["0", "1", "2"] and min(map(len, lanes.values())) > 2000,
        {lane: len(got) for lane, got in lanes.items()})
    got = tap.frames()
    is_("nothing is there twice, nothing is missing",
        sorted(f.data for f in got) == sorted(inner(i, 400) for i in range(20000)), (len(got), status))
    merged = [f.data for f in sorted(got, key=lambda f: f.time_ns)]
    is_("merged by time they are in the order of the wire", merged == [inner(i, 400) for i in range(20000)])
    is_("the ledger of the host balances over the lanes, and the capture's",
        residual(tap.host()["ledger"]) == 0 == residual(status["ledger"]) and status["ledger"]["written"] == 20000,
        (tap.host(), status))
    bad = [complaint(path) for path in tap.segments() if complaint(path)]
    is_("tshark reads every lane's segments without a complaint", not bad, bad)
    is_("their indexes are true", not untrue(tap.segments()), untrue(tap.segments()))
    tap.forget()


def budget_over_lanes(tap, net):
    for number, spent, budget in ((2, "bytes", {"max_bytes": 1000 * len(inner(0, 400))}), (21, "packets", {"max_packets": 1000}),
                                  (22, "packets", {"max_packets": 1000, "max_bytes": 1100 * len(inner(0, 400))}),
                                  (23, "bytes", {"max_packets": 1001, "max_bytes": 1000 * len(inner(0, 400))})):
        capture = capture_id(number)
        before = tap.host()["ledger"]["received"]
        tap.arm(capture=capture, **budget)
        net.send(flow(i) for i in range(3000))
        wait_until("3,000 packets", lambda: tap.host()["ledger"]["received"] >= before + 3000, 30)
        status = tap.close_capture(capture)
        is_(f"a budget of {spent} holds over all lanes together, to the packet: {sorted(budget)}",
            status["spent"] == spent and status["ledger"]["written"] == 1000 and status["ledger"]["over_budget"] == 2000 and
            residual(status["ledger"]) == 0 == residual(tap.host()["ledger"]), status)
        is_("and capinfos counts as many in its files", sum(map(capinfos, tap.segments(capture))) == 1000, tap.segments(capture))
        tap.forget(capture)


def first_evidence(tap, net):
    took = []
    while len(took) < 6 and not (took and took[-1] < 8):  # (a machine that is busy with something else gets another try)
        capture = capture_id(30 + len(took))
        tap.arm(capture=capture, rotate_s=600)
        began = time.monotonic()
        net.send([flow(1)])
        wait_until("a sealed segment", lambda: tap.segments(capture), 10)
        took.append(time.monotonic() - began)
        tap.close_capture(capture)
        tap.forget(capture)
    is_("a single packet is in a sealed segment within 8 s, though segments last 600 s", took[-1] < 8, took)


def seen_without_asking(tap, net):
    """Serve's view: the memory of counters, passed with a message."""
    tap.cookie += 1
    tap.link.send(struct.pack("<BBHI", 1, COUNTERS, 0, tap.cookie))
    answer, control, _, _ = socket.recv_fds(tap.link, 100, 4)
    is_("the recorder passes its memory of counters", answer[1] == 0x80 | COUNTERS and len(control) == 1, answer)
    size = os.fstat(control[0]).st_size
    try:
        mmap.mmap(control[0], size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        is_("it cannot be mapped for writing", False)
    except PermissionError:
        is_("it cannot be mapped for writing", True)
    memory = mmap.mmap(control[0], size, mmap.MAP_SHARED, mmap.PROT_READ)
    capture = capture_id(4).encode()
    tap.arm(capture=capture.decode())
    wait_until("the capture to be there", lambda: memory.find(capture) > 0)
    tap.close_capture(capture.decode())
    tap.forget(capture.decode())
    is_("and shows what is armed, live", memory.find(capture) < 0)
    memory.close()
    os.close(control[0])


def goes_on(tap, net):
    capture = capture_id(5)
    tap.arm(capture=capture)
    net.send(flow(i) for i in range(500))
    wait_until("500 packets", lambda: tap.status(capture)["ledger"]["written"] == 500)
    last = tap.status(capture)
    known = time.time_ns()
    tap.stop(signal.SIGKILL)
    tap.start()
    base = {"known": known, "first": last["first"], "last": last["last"], "ledger": dict(last["ledger"])}
    base["ledger"]["received"] += 7  # in memory when it was killed
    tap.arm(capture=capture, base=base)
    tap.arm(capture=capture)
    is_("the same arming again is no error, whatever was before", tap.status(capture)["state"] == "armed")
    net.send(flow(i) for i in range(500, 800))
    wait_until("800 packets", lambda: tap.status(capture)["ledger"]["written"] == 800)
    status = tap.close_capture(capture)
    tap.wait_for_repair(capture)
    ledger = status["ledger"]
    is_("a capture that is armed again goes on with its ledger; what died in memory is counted",
        ledger["received"] == 807 and ledger["written"] == 800 and ledger["queue_dropped"] == 7 and
        residual(ledger) == 0 and status["first"] == last["first"], status)
    is_("the gap has a beginning and an end", status["gap"][0] == known < status["gap"][1] < time.time_ns(), status)
    is_("every packet is there, from before and after",
        sorted(f.data for f in tap.frames(capture)) == sorted(inner(i, 400) for i in range(800)))
    comments = run("sh", "-c", f"zstd -dc {tap.segments(capture)[-1]} | head -c 2000 | strings -n 20").stdout
    is_("the files after it name it", "gap: 20" in comments, comments)
    is_("and their indexes and ledgers are true", not untrue(tap.segments(capture)), untrue(tap.segments(capture)))
    host = tap.host()["ledger"]
    is_("the host's ledger has only what this recorder counted", host["written"] == 300 and residual(host) == 0, host)
    tap.forget(capture)


inside_the_lab()
with tempfile.TemporaryDirectory() as work:
    wire = Wire()
    recorder = Recorder(work, wire.name, "--lanes", "3", "--ring", "24MiB")
    for case in (lanes_share, budget_over_lanes, first_evidence, seen_without_asking, goes_on):
        case(recorder, wire)
    is_("SIGTERM ends it with status 0", recorder.stop() == 0, open(recorder.log).read())
finish()
