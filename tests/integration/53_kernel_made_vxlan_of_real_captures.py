#!/usr/bin/python3
"""Mirrored by the kernel: tc mirrors an interface into a VXLAN device, as a gateway of one's own would, and captures that
others made are replayed on that interface.  And a segment of more than 50 MB, read by the tools that people have."""
import os
import random
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from recorder import *  # noqa: E402,F403

LONGEST = 8900 + 14  # what the VXLAN device carries
BIG_FRAMES, BIG_BYTES = 42000, 1300


def far(*words):
    return run("ip", "netns", "exec", "far", *words)


def set_up(wire):
    """far: fromp -> from, which tc mirrors into vx, which wraps it for 10.88.0.2, the recorder's end of the wire."""
    run("ip", "netns", "add", "far")
    far("sysctl", "-q", "net.ipv6.conf.default.disable_ipv6=1", "net.ipv6.conf.all.disable_ipv6=1")
    run("ip", "link", "set", wire.peer, "netns", "far")
    run("ip", "addr", "add", "10.88.0.2/24", "dev", wire.name)
    for command in (f"addr add 10.88.0.1/24 dev {wire.peer}", f"link set {wire.peer} up",
                    f"neigh replace 10.88.0.2 lladdr 02:00:00:00:00:02 dev {wire.peer}",
                    "link add vx mtu 8900 type vxlan id 77 local 10.88.0.1 remote 10.88.0.2 dstport 4789 nolearning",
                    "link add fromp mtu 9000 type veth peer name from mtu 9000",
                    "link set vx up", "link set fromp up", "link set from up"):
        run("ip", "-n", "far", *command.split())
    far("tc", "qdisc", "add", "dev", "from", "clsact")
    far("tc", "filter", "add", "dev", "from", "ingress", "protocol", "all", "u32", "match", "u32", "0", "0",
        "action", "mirred", "egress", "mirror", "dev", "vx")


def big(path):
    rng = random.Random(53)
    write_pcap(path, (ethernet(ipv4("10.9.0.1", "10.9.0.2", udp(rng.randbytes(BIG_BYTES), port=9000)))
                      for _ in range(BIG_FRAMES)))


def longest(tap, capture):
    """Octets of its longest segment so far."""
    folder = os.path.join(tap.spool, capture)
    return max(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder))


def over_the_wire(tap, number, path, rate, size=0):
    """The frames that were replayed, again until a segment is as long (the first ones of a capture are short, for a machine
    that takes its time), and what the recorder says."""
    mine = capture_id(number)
    tap.arm(capture=mine, sources=[("10.88.0.1", 77)], rotate=1 << 30, rotate_s=3600)
    once, wanted = [frame.data for frame in frames.read(path)], []
    before = tap.host()["ledger"]["received"]
    while not wanted or (longest(tap, mine) <= size and len(wanted) < 5 * len(once)):
        wanted += once
        far("tcpreplay", "-q", "-i", "fromp", *rate, path)
        wait_until("the packets", lambda: tap.host()["ledger"]["received"] >= before + len(wanted), 30)
        wait_until("their chunk", lambda: residual(tap.status(mine)["ledger"]) == 0)
    return wanted, tap.close_capture(mine)


inside_the_lab()
with tempfile.TemporaryDirectory() as work:
    net = Wire()
    # (a busy machine is not what is looked at here: the ring holds all of it)
    tap = Recorder(work, net.name, "--ring", "256MiB", "--memory", "256MiB", "--level", "1")
    set_up(net)
    try:
        if os.path.isdir(PCAPS):
            kept = []
            for name in sorted(os.listdir(PCAPS)):
                try:
                    # what a sender can put on a wire of this MTU
                    kept += [f.data for f in frames.read(os.path.join(PCAPS, name)) if 60 <= len(f.data) <= LONGEST]
                except frames.BadCapture:
                    pass  # not Ethernet, or no capture
            path = os.path.join(work, "others.pcap")
            write_pcap(path, kept)
            wanted, status = over_the_wire(tap, 100, path, ("--pps", "3000"))
            got = [frame.data for frame in tap.frames(capture_id(100))]
            wrong = [complaint(one) for one in tap.segments(capture_id(100)) if complaint(one)]
            is_(f"the captures of others ({len(wanted)} frames) come out frame for frame", got == wanted and len(got) > 1000,
                (len(got), status))
            is_("in files that tshark reads, with true indexes", not wrong and not untrue(tap.segments(capture_id(100))), wrong)
        else:
            print("skip - the captures of others are not there")
        path = os.path.join(work, "big.pcap")
        big(path)
        wanted, status = over_the_wire(tap, 200, path, ("--pps", "12000"), 50 << 20)
        segments = tap.segments(capture_id(200))
        segment = max(segments, key=os.path.getsize)
        size = os.path.getsize(segment)
        is_(f"a segment of {size >> 20} MiB is sealed", size > 50 << 20 and status["ledger"]["written"] == len(wanted), status)
        is_("tshark reads it to its end without a word", not complaint(segment), complaint(segment))
        read = [int(run("sh", "-c", f"zstd -dcq {one} | tcpdump -nr - 2>>{work}/said | wc -l", check=False).stdout) for one in segments]
        is_("tcpdump reads it after zstd -d, every frame", sum(read) == len(wanted), f"{read}\n{open(work + '/said').read()}")
        is_("frame for frame what was sent", [frame.data for frame in tap.frames(capture_id(200))] == wanted)
        is_("every entry of its index is true", not untrue([segment]), untrue([segment]))
        host = tap.host()["ledger"]
        is_("the host's ledger balances, nothing was dropped", residual(host) == 0 == host["ring_dropped"] + host["queue_dropped"],
            host)
    finally:
        run("ip", "netns", "del", "far", check=False)
    is_("it ends when it is told to", tap.stop() == 0, open(tap.log).read())
finish()
