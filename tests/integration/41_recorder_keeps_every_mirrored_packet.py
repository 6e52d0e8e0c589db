#!/usr/bin/python3
"""The recorder on a real interface: what is sent to it is in its segments or in a named counter."""
import os
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from recorder import *  # noqa: E402,F403

TUNNEL = ("10.77.0.1", "10.77.0.2")


def settled(recorder, received):
    """The host's ledger once so many packets have been taken from the ring."""
    wait_until(f"{received} packets", lambda: recorder.host()["ledger"]["received"] >= received, 30)
    return recorder.host()["ledger"]


def every_kind(recorder, wire):
    """Packets by where they have to end, all on the wire at once."""
    whole = udp(vxlan(42, inner(1)))
    kinds = {
        "written": [mirrored(1), ethernet(ipv4(*TUNNEL, whole, options=b"\1" * 12)),
                    ethernet(ipv4(*TUNNEL, whole), tags=((0x8100, 7),)),
                    ethernet(ipv4(*TUNNEL, whole), tags=((0x88A8, 7), (0x8100, 8))),
                    ethernet(ipv6("2001:db8::1", "2001:db8::2", udp(vxlan(43, inner(2))))),
                    ethernet(ipv6("2001:db8::1", "2001:db8::2", b"\x11\0" + bytes(6) + udp(vxlan(43, inner(3))), 60))],
        "unknown_vni": [mirrored(1, vni=44), mirrored(1, source="10.77.0.9"), mirrored(1, vni=43)],
        "fragments": [ethernet(ipv4(*TUNNEL, whole[:64], fragment=0x2000)),
                      ethernet(ipv4(*TUNNEL, whole[64:], fragment=8)),
                      ethernet(ipv6("2001:db8::1", "2001:db8::2", b"\x11\0\0\1\0\0\0\5" + whole, 44))],
        "malformed": [ethernet(ipv4(*TUNNEL, udp(b"\x08" + bytes(20)))), ethernet(ipv4(*TUNNEL, udp(bytes(40)))),
                      ethernet(ipv4(*TUNNEL, udp(b"\x0c\0\0\4" + bytes(40))))],
        None: [ethernet(ipv4(*TUNNEL, udp(b"x" * 40, port=53))), ethernet(ipv4(*TUNNEL, b"x" * 40, protocol=6)),
               ethernet(ipv4(*TUNNEL, udp(b"x" * 40, port=53)[:20], fragment=0x2000))],
    }
    recorder.arm(sources=(("10.77.0.1", 42), ("2001:db8::1", 43)))
    for packets in kinds.values():
        wire.send(packets)
    host = settled(recorder, 15)
    status = recorder.close_capture()
    host = recorder.host()["ledger"]
    counted = {kind: len(packets) for kind, packets in kinds.items() if kind}
    is_("VLAN tags, IP options, IPv6 and its extension headers are seen through; every other packet has its counter",
        all(host[kind] == count for kind, count in counted.items()) and host["received"] == 15, host)
    is_("the host's and the capture's ledgers balance", residual(host) == 0 == residual(status["ledger"]), host)
    is_("the inner frames are as they were sent",
        sorted(f.data for f in recorder.frames()) == sorted([inner(1)] * 4 + [inner(2), inner(3)]))
    recorder.forget()
    shutil.rmtree(os.path.join(recorder.spool, capture_id()))


def much(recorder, wire):
    before = recorder.host()["ledger"]["received"]
    recorder.arm(rotate=1 << 20)
    sizes = [40 + (i * 37) % 1300 for i in range(20000)]
    wire.send(mirrored(i, size=size) for i, size in enumerate(sizes))
    settled(recorder, before + 20000)
    status = recorder.close_capture()
    got = recorder.frames()
    is_("20,000 frames come out as they went in, in their order",
        [f.data for f in got] == [inner(i, size) for i, size in enumerate(sizes)], status)
    is_("their times rise, to the nanosecond", [f.time_ns for f in got] == sorted(f.time_ns for f in got) and
        any(f.time_ns % 1000 for f in got))
    bad = [complaint(path) for path in recorder.segments() if complaint(path)]
    is_(f"tshark reads each of the {status['segments']} segments without a complaint",
        not bad and len(recorder.segments()) == status["segments"] > 5, bad)
    is_("the ledger balances, nothing was dropped", residual(recorder.host()["ledger"]) == 0 and
        status["ledger"]["written"] == 20000, recorder.host())
    recorder.forget()
    shutil.rmtree(os.path.join(recorder.spool, capture_id()))


def link_comes_and_goes(recorder, wire):
    before = recorder.host()["ledger"]["received"]
    recorder.arm()
    recorder.disconnect()
    wire.send(mirrored(i) for i in range(100))
    recorder.connect()
    settled(recorder, before + 100)
    is_("it records on while serve is away, and answers a new connection", recorder.status()["ledger"]["received"] == 100)
    recorder.arm()
    is_("the same arming again is no error", recorder.status()["state"] == "armed")
    try:
        recorder.arm(snaplen=64)
        is_("another arming of the same capture is refused", False)
    except Refused as refused:
        is_("another arming of the same capture is refused", refused.args[0] == "eexist", refused)
    try:
        recorder.arm(capture=capture_id(2))
        is_("a pair belongs to one capture", False)
    except Refused as refused:
        is_("a pair belongs to one capture", refused.args[0] == "eexist", refused)
    recorder.link.send(b"\1\4\0\0")
    is_("a message that is none ends the connection, not the recorder", recorder.link.recv(100) == b"")
    recorder.connect()
    is_("an unknown capture is absent", recorder.status(capture_id(9))["state"] == "absent")
    recorder.close_capture()
    recorder.forget()
    shutil.rmtree(os.path.join(recorder.spool, capture_id()))


def until(boot_s):
    time.sleep(max(0.0, boot_s - boot_ns() / 1e9))


def deadlines(recorder, wire):
    for patience_s in (1, 4, 15, 60):  # a machine that stood still between two deadlines gets more time
        before = recorder.host()["ledger"]
        first_s = boot_ns(patience_s) / 1e9
        recorder.arm(seconds=patience_s)
        wire.send(mirrored(i) for i in range(10))
        settled(recorder, before["received"] + 10)
        second_s = boot_ns(2 * patience_s) / 1e9
        try:
            recorder.extend(2 * patience_s)
        except Refused:
            pass
        in_time = boot_ns() / 1e9 < first_s
        recorder.disconnect()
        until(first_s + 0.3)
        wire.send(mirrored(i) for i in range(10, 20))
        in_time = in_time and boot_ns() / 1e9 < second_s
        until(second_s + 0.6)
        wire.send(mirrored(i) for i in range(20, 25))
        recorder.connect()
        host = settled(recorder, before["received"] + 25)
        wait_until("the capture to close", lambda: recorder.status()["state"] == "closed")
        if in_time:
            is_("it stops at its (extended) deadline by itself and seals; what comes later is counted",
                [f.data for f in recorder.frames()] == [inner(i) for i in range(20)] and not recorder.hidden() and
                host["not_armed"] - before["not_armed"] == 5, host)
        recorder.forget()
        shutil.rmtree(os.path.join(recorder.spool, capture_id()))
        if in_time:
            return
    is_("this machine reached a deadline in time", False)


def many_captures(recorder, wire):
    """More captures than large chunks: none starves."""
    before = recorder.host()["ledger"]["received"]
    for i in range(100):
        recorder.arm(capture=capture_id(i), sources=[("10.77.0.1", 1000 + i)])
    for round_ in range(20):
        wire.send(mirrored(round_ * 100 + i, vni=1000 + i) for i in range(100))
    settled(recorder, before + 2000)
    good = 0
    for i in range(100):
        recorder.disarm(capture_id(i))
    for i in range(100):
        wait_until("the capture to close", lambda: recorder.status(capture_id(i))["state"] == "closed")
        good += [f.data for f in recorder.frames(capture_id(i))] == [inner(r * 100 + i) for r in range(20)]
    is_("a hundred captures at once each have their own packets", good == 100, good)
    is_("and the host's ledger still balances", residual(recorder.host()["ledger"]) == 0, recorder.host())
    for i in range(100):
        recorder.forget(capture_id(i))
    is_("forgotten captures stay in the host's ledger", residual(recorder.host()["ledger"]) == 0, recorder.host())


def kernel_made(recorder, wire):
    """VXLAN made by the kernel's own device on the other end."""
    mine = capture_id(300)
    recorder.arm(capture=mine, sources=[("10.88.0.1", 77)])
    run("ip", "netns", "add", "far")
    run("ip", "netns", "exec", "far", "sysctl", "-q", "net.ipv6.conf.default.disable_ipv6=1")
    try:
        run("ip", "link", "set", wire.peer, "netns", "far")
        for command in (f"addr add 10.88.0.1/24 dev {wire.peer}", f"link set {wire.peer} up",
                        f"neigh replace 10.88.0.2 lladdr 02:00:00:00:00:02 dev {wire.peer}",
                        "link add vx type vxlan id 77 local 10.88.0.1 remote 10.88.0.2 dstport 4789",
                        "link set vx up mtu 8900"):
            run("ip", "-n", "far", *command.split())
        source = os.path.join(recorder.folder, "source.pcap")
        wanted = [inner(i, 30 + i % 1400) for i in range(3000)]
        write_pcap(source, wanted)
        before = recorder.host()["ledger"]["received"]
        run("ip", "netns", "exec", "far", "tcpreplay", "-q", "-i", "vx", "--pps", "5000", source)
        settled(recorder, before + len(wanted))
        status = recorder.close_capture(mine)
        got = [f.data for f in recorder.frames(mine)]
        is_("frames that the kernel's VXLAN device wrapped are unwrapped whole, and nothing else is there",
            got == wanted, (len(got), status))
    finally:
        run("ip", "netns", "del", "far", check=False)


inside_the_lab()
with tempfile.TemporaryDirectory() as work:
    net = Wire()
    tap = Recorder(work, net.name)
    for case in (every_kind, much, link_comes_and_goes, deadlines, many_captures, kernel_made):
        case(tap, net)
    tap.arm(capture=capture_id(500), sources=[("10.77.0.1", 5)])
    is_("SIGTERM ends it with status 0", tap.stop() == 0, open(tap.log).read())
    is_("the last line says that nothing is unaccounted for", "unaccounted 0" in open(tap.log).read(),
        open(tap.log).read())
finish()
