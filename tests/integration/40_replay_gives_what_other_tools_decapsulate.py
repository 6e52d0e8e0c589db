#!/usr/bin/python3
"""Captures of VXLAN, replayed through the recorder's pipeline, against editcap's decapsulation."""
import os
import random
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from recorder import *  # noqa: E402,F403

# file -> frames of it that are VXLAN on port 4789 and whole
SAMPLES = {
    "sv-vxlan-aws-traffic-mirror-ssh-dns-ntp.pcap": 100, "sv-vxlan-arp.pcap": 2, "td-vxlan-arp-icmp.pcap": 10,
    "sv-vxlan-nonzero-reserved-fields.pcap": 10, "td-vxlan-gso-ipv4.pcap": 1, "zk-vxlan-http.pcap": 12,
    "zk-vxlan-igmp.pcap": 3, "zk-vxlan-inner-bad-checksum.pcap": 1, "zk-vxlan-triple-nested.pcap": 1,
}


def chopped(path, folder):
    """What editcap leaves after cutting 50 octets: Ethernet, IPv4, UDP, VXLAN."""
    out = os.path.join(folder, "chopped.pcapng")
    run("editcap", "-C", "0:50", path, out)
    return [(f.time_ns, f.data) for f in frames.read(out)]


def samples(folder):
    for name, count in SAMPLES.items():
        path = os.path.join(PCAPS, name)
        result, got, segments = replay(folder, path)
        wanted = chopped(path, folder)
        is_(f"{name}: {count} frames, identical to editcap's and at the same times",
            [(f.time_ns, f.data) for f in got] == wanted and len(got) == count, result)
        is_(f"{name}: the ledger balances and tshark has no complaint",
            result["host"]["residual"] == 0 == result["ledger"]["residual"]
            and not any(complaint(s) for s in segments), result)
    # One frame of 80 kB, put together by the kernel: kept up to the longest snaplen, its length true.
    path = os.path.join(PCAPS, "td-vxlan-bigtcp-80k-frame.pcap")
    result, got, _ = replay(folder, path)
    wanted = chopped(path, folder)[0][1]
    is_("a frame above 64 KiB is cut, counted as truncated, and its length kept",
        len(got) == 1 and got[0].data == wanted[:65535] and got[0].length == len(wanted) and
        result["host"]["truncated"] == 1, result)


def every_capture(folder):
    bad = []
    total = 0
    for name in sorted(os.listdir(PCAPS)):
        if not name.endswith((".pcap", ".pcapng")):
            continue
        done = run(TAPBOX, "record", "--replay", os.path.join(PCAPS, name), "--out", folder, "--json", check=False)
        if done.returncode == 0:
            host = json.loads(done.stdout)["host"]
            total += host["received"]
            if residual(host) != 0:
                bad.append(f"{name}: {host}")
            where = os.path.join(folder, json.loads(done.stdout)["capture"])
            bad += untrue([os.path.join(where, n) for n in os.listdir(where)] if os.path.isdir(where) else [])
        elif "does not hold Ethernet frames" not in done.stderr and "cannot read" not in done.stderr:
            bad.append(f"{name}: {done.returncode} {done.stderr}")
    is_(f"no capture at hand crashes it, all {total} frames are accounted for, and every index is true", not bad and total > 1000,
        "\n".join(bad))


def our_own(folder):
    pairs = [(f"10.77.0.{1 + i % 20}", i % 7) for i in range(6000)]
    packets = [mirrored(i, source, vni, size=40 + i % 1200) for i, (source, vni) in enumerate(pairs)]
    path = os.path.join(folder, "many.pcap")
    write_pcap(path, packets)
    result, got, segments = replay(folder, path, "--rotate", "64KiB")
    is_("many senders and VNIs: every frame, in order, over several segments",
        [f.data for f in got] == [inner(i, 40 + i % 1200) for i in range(6000)] and result["sources"] == 140
        and len(segments) > 3 and result["segments"] == len(segments), result)
    is_("each of these segments is read by tshark without a complaint", not any(complaint(s) for s in segments))
    is_("and its index, keys included, is true", not untrue(segments), untrue(segments))
    result, got, _ = replay(folder, path, "--source", "10.77.0.1,0", "--source", "10.77.0.2,1")
    wanted = [inner(i, 40 + i % 1200) for i, pair in enumerate(pairs) if pair in (("10.77.0.1", 0), ("10.77.0.2", 1))]
    is_("only the named senders and VNIs enter; all others are counted",
        [f.data for f in got] == wanted and result["host"]["unknown_vni"] == 6000 - len(wanted), result)
    result, got, _ = replay(folder, path, "--filter", "udp port 9000 and greater 700", "--snaplen", "60")
    wanted = [inner(i, 40 + i % 1200) for i in range(6000)]
    wanted = [f for f in wanted if len(f) >= 700]
    is_("filter and snaplen see the inner frame",
        [(f.data, f.length) for f in got] == [(f[:60], len(f)) for f in wanted] and
        result["host"]["filtered"] == 6000 - len(wanted) and result["host"]["truncated"] == len(wanted), result)
    for words, why in (("tcp prot 1", "syntax"), ("host nowhere.invalid", "unknown host")):
        done = run(TAPBOX, "record", "--replay", path, "--out", folder, "--filter", words, check=False)
        is_(f"the filter '{words}' is refused in libpcap's words", done.returncode == 2 and why in done.stderr,
            done.stderr)


def damaged(folder):
    """Every frame with some octets of its headers changed: no crash, every one counted, copies only of what was there."""
    rng = random.Random(4789)
    packets = []
    for i in range(3000):
        packet = bytearray(mirrored(i) if i % 2 else ethernet(ipv6("2001:db8::1", "2001:db8::2", udp(vxlan(42, inner(i))))))
        for _ in range(rng.randrange(1, 5)):
            packet[rng.randrange(12, 70)] = rng.randrange(256)
        packets.append(bytes(packet[:rng.randrange(14, len(packet) + 1)]))
    path = os.path.join(folder, "damaged.pcap")
    write_pcap(path, packets)
    result, got, segments = replay(folder, path)
    octets = b"".join(packets)
    is_("damaged packets are counted, and what is written was in one of them",
        result["host"]["residual"] == 0 and result["host"]["received"] == 3000 and result["host"]["malformed"] > 100
        and all(f.data in octets for f in got) and not any(complaint(s) for s in segments), result)
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) - 5)
    done = run(TAPBOX, "record", "--replay", path, "--out", folder, check=False)
    is_("a capture file that is cut off is told", done.returncode == 1 and "truncated" in done.stderr, done.stderr)


with tempfile.TemporaryDirectory() as work:
    if os.path.isdir(PCAPS):
        samples(work)
        every_capture(work)
    else:
        print("skip - other people's captures: ../shared/data/pcaps is not there")
    our_own(work)
    damaged(work)
finish()
