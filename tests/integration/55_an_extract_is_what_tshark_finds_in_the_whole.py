#!/usr/bin/python3
"""tapbox fetch with filters, from a folder of two lanes and many segments, against tshark -Y on all of it."""
import os
import random
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from recorder import *  # noqa: E402,F403

SEED = int(os.environ.get("SEED", time.time_ns() % 1000000))
V4 = [f"10.0.{i // 50}.{i % 50 + 1}" for i in range(150)]
V6 = [f"2001:db8::{i + 1:x}" for i in range(40)]


def segment_of(protocol, a, b):
    """A TCP, UDP or SCTP header with its payload; of anything else (echo, or unknown) no ports."""
    body = random.randbytes(random.choice([0, 10, 300, 1200]))
    if protocol == 6:
        return struct.pack(">HHIIBBHHH", a, b, 1, 1, 0x50, 0x10, 1000, 0, 0) + body
    if protocol == 17:
        return struct.pack(">HHHH", a, b, 8 + len(body), 0) + body
    if protocol == 132:
        return struct.pack(">HHII", a, b, 0, 0)
    if protocol in (1, 58):
        return struct.pack(">BBHHH", 8 if protocol == 1 else 128, 0, 0, 1, 1) + body
    return body


def packet(number):
    """The first packets of each hundred talk much, the others are anybody's."""
    busy = number % 100 < 60
    protocol = random.choice([6, 6, 6, 17, 17, 1, 132, 47])
    a, b = (random.choice([(443, 50000 + number % 3), (50001, 443), (53, 40000)]) if busy
            else (random.randrange(1, 65536), random.randrange(1, 65536)))
    tags = [(0x8100, 7)] if number % 17 == 0 else ()
    if number % 5 == 0:
        hosts = (V6[0], V6[1]) if busy else random.sample(V6, 2)
        protocol = 58 if protocol == 1 else protocol
        return ethernet(ipv6(*random.sample(hosts, 2), segment_of(protocol, a, b), protocol), tags=tags)
    if number % 41 == 0:
        return ethernet(b"\0\1\x08\0\6\4\0\1" + random.randbytes(20), kind=0x0806)
    if number % 37 == 0:  # the middle of a datagram; its hosts talk about nothing else
        return ethernet(ipv4("10.9.9.1", "10.9.9.2", random.randbytes(80), protocol=17, fragment=0x2010))
    pair = (V4[0], V4[1]) if busy else random.sample(V4, 2)
    return ethernet(ipv4(*random.sample(pair, 2), segment_of(protocol, a, b), protocol), tags=tags)


def make(folder):
    """The captured frames in two lanes of a folder as it lies in S3."""
    segments = os.path.join(folder, "cap/segments")
    os.makedirs(segments)
    outer = [ethernet(ipv4("10.77.0.1", "10.77.0.2", udp(vxlan(42, packet(i))))) for i in range(16000)]
    write_pcap(os.path.join(folder, "all.pcap"), outer)
    stamped = frames.load(os.path.join(folder, "all.pcap"))
    head, rest, lanes = stamped[:24], stamped[24:], [b"", b""]
    for i in range(len(outer)):
        size = 16 + struct.unpack_from("<I", rest, 8)[0]
        lanes[random.choice([0, 1]) if i % 3 else 0] += rest[:size]
        rest = rest[size:]
    for lane, records in enumerate(lanes):
        path = os.path.join(folder, f"lane{lane}.pcap")
        with open(path, "wb") as file:
            file.write(head + records)
        _, _, paths = replay(os.path.join(folder, f"spool{lane}"), path, "--rotate", "200KiB")
        for each in paths:
            os.rename(each, os.path.join(segments, os.path.basename(each).replace("replay-0-", f"replay-{lane}-")))
    names = sorted(os.listdir(segments))
    whole = os.path.join(folder, "whole.pcapng")
    run("mergecap", "-w", whole, *[os.path.join(segments, name) for name in names])
    return os.path.join(folder, "cap"), whole, len(names)


def tshark_finds(whole, display, folder):
    out = os.path.join(folder, "tshark.pcapng")
    run("tshark", "-n", "-r", whole, "-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE", "-Y", display, "-w", out)
    return [(f.time_ns, f.data, f.length) for f in frames.read(out)]


def at(seconds):
    whole, part = divmod(seconds, 1)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{int(part * 10**9):09d}Z"


def flow(a, p, b, q, version="ip"):
    """The display filter of a conversation over any transport."""
    def way(s, sp, d, dp):
        ports = " || ".join(f"({t}.srcport == {sp} && {t}.dstport == {dp})" for t in ("tcp", "udp", "sctp"))
        return f"({version}.src == {s} && {version}.dst == {d} && ({ports}))"
    return f"({way(a, p, b, q)} || {way(b, q, a, p)})"


def filters():
    def host(a):
        return f"{'ipv6' if ':' in a else 'ip'}.addr == {a}"

    def port(p):
        return f"(tcp.port == {p} || udp.port == {p} || sctp.port == {p})"
    base = 1700000000
    yield ["--all"], "frame"
    for a in [V4[0], V4[77], V6[1], V6[30], "10.9.9.1", "192.0.2.1"]:
        yield ["--host", a], host(a)
    yield ["--host", V4[5], "--host", V6[7]], f"{host(V4[5])} || {host(V6[7])}"
    yield ["--port", "53"], port(53)
    yield ["--port", "443", "--proto", "udp"], "udp.port == 443"
    yield ["--proto", "tcp"], "tcp"
    yield ["--proto", "udp"], "ip.proto == 17 || ipv6.nxt == 17"
    yield ["--proto", "icmp", "--proto", "icmp6"], "icmp || icmpv6"
    yield ["--proto", "47"], "ip.proto == 47 || ipv6.nxt == 47"
    yield ["--flow", f"{V4[0]}:443-{V4[1]}:50001"], flow(V4[0], 443, V4[1], 50001)
    yield ["--flow", f"{V4[1]}:50001-{V4[0]}:443", "--proto", "tcp"], flow(V4[0], 443, V4[1], 50001) + " && tcp"
    yield ["--flow", f"[{V6[0]}]:443-[{V6[1]}]:50000"], flow(V6[0], 443, V6[1], 50000, "ipv6")
    yield ["--flow", f"{V4[0]}:1-{V4[1]}:2"], flow(V4[0], 1, V4[1], 2)
    yield ["--since", at(base + 5), "--until", at(base + 6.5)], f"frame.time_epoch >= {base + 5} && frame.time_epoch < {base + 6.5}"
    yield ["--since", at(base + 15), "--host", V4[0]], f"frame.time_epoch >= {base + 15} && {host(V4[0])}"
    yield ["--until", at(base)], "frame.number == 0"
    for _ in range(2):
        a, begin = random.choice(V4), base + random.randrange(0, 16)
        yield (["--host", a, "--since", at(begin), "--until", at(begin + 4), "--proto", "tcp"],
               f"{host(a)} && frame.time_epoch >= {begin} && frame.time_epoch < {begin + 4} && tcp")


def fetch(*arguments, check=True):
    return run(TAPBOX, "fetch", *arguments, "--json", check=check)


def equal_to_tshark(folder, capture, whole):
    out = os.path.join(folder, "extract.pcapng")
    found = 0
    for arguments, display in filters():
        did = json.loads(fetch(capture, *arguments, "-o", out).stdout)
        wanted = tshark_finds(whole, display, folder)
        got = [(f.time_ns, f.data, f.length) for f in frames.read(out)]
        found += len(got)
        is_(f"{' '.join(arguments)}: the {len(wanted)} packets that tshark finds, in order of time",
            sorted(got) == sorted(wanted) and [t for t, *_ in got] == sorted(t for t, *_ in got) and did["packets"] == len(got),
            (len(got), len(wanted), display, did))
        if complaint(out):
            is_(f"tshark has no complaint ({arguments})", False, complaint(out))
    is_("some packets were found", found > 16000)


def reads_little(capture, out):
    did = json.loads(fetch(capture, "--host", V4[0], "--since", at(1700000003), "--until", at(1700000004), "-o", out).stdout)
    is_("a second of it reads a few chunks", did["chunks_read"] < did["chunks"] / 3 and did["segments_read"] < did["segments"], did)
    did = json.loads(fetch(capture, "--host", "192.0.2.1", "-o", out).stdout)
    is_("a host that is not there, only indexes",
        did["packets"] == 0 and did["chunks_read"] == 0 and not frames.read(out) and not complaint(out), did)


def other_outputs(folder, capture):
    arguments = ["--host", V4[0], "--proto", "udp"]
    ng, old = os.path.join(folder, "x.pcapng"), os.path.join(folder, "x.pcap")
    fetch(capture, *arguments, "-o", ng)
    fetch(capture, *arguments, "--format", "pcap", "-o", old)
    is_("--format pcap holds the same, to the microsecond",
        [(f.time_ns // 1000, f.data, f.length) for f in frames.read(ng)] ==
        [(f.time_ns // 1000, f.data, f.length) for f in frames.read(old)] and open(old, "rb").read(4) == b"\xd4\xc3\xb2\xa1")
    piped = subprocess.run([TAPBOX, "fetch", capture, *arguments, "-o", "-"], capture_output=True, check=True).stdout
    is_("-o - gives the same octets", piped == open(ng, "rb").read())
    is_("the file says what it is an extract of", b"extract: --host 10.0.0.1 --proto udp" in piped[:400], piped[:400])
    is_("no half file stays", sorted(n for n in os.listdir(folder) if "part" in n) == [])


def refusals(folder, capture):
    for arguments, status, says in [
            ([os.path.join(folder, "nowhere"), "--all", "-o", "x"], 3, "nowhere"),
            ([capture, "--host", "example.com", "-o", "x"], 2, "not an IP address"),
            ([capture, "--flow", "10.0.0.1:1", "-o", "x"], 2, "not a flow"),
            ([capture, "--flow", "2001:db8::1:1-2001:db8::2:2", "-o", "x"], 2, "not a flow"),
            ([capture, "--port", "70000", "-o", "x"], 2, "not a port"),
            ([capture, "--proto", "carrier-pigeon", "-o", "x"], 2, "not a protocol"),
            ([capture, "--since", "yesterday", "-o", "x"], 2, "not a time"),
            ([capture, "--all"], 2, "where to"), ([capture, "-o", "-"], 2, "--all")]:
        done = fetch(*arguments, check=False)
        is_(f"{' '.join(arguments[1:])}: one clear line", done.returncode == status and says in done.stderr,
            (done.returncode, done.stderr))
    segments = os.path.join(capture, "segments")
    victim = os.path.join(segments, sorted(os.listdir(segments))[2])
    octets = bytearray(open(victim, "rb").read())
    octets[len(octets) // 2] ^= 4
    open(victim, "wb").write(octets)
    done = fetch(capture, "--all", "-o", os.path.join(folder, "x"), check=False)
    is_("a chunk that was changed is told, with the segment's name, status 9, and the rest is there",
        done.returncode == 9 and json.loads(done.stdout)["missing"][0]["segment"].endswith(os.path.basename(victim))
        and os.path.exists(os.path.join(folder, "x")), (done.returncode, done.stdout, done.stderr))


def main():
    random.seed(SEED)
    print(f"# SEED={SEED}")
    with tempfile.TemporaryDirectory() as folder:
        capture, whole, count = make(folder)
        is_("there are two lanes of several segments", count >= 6, count)
        equal_to_tshark(folder, capture, whole)
        reads_little(capture, os.path.join(folder, "little.pcapng"))
        other_outputs(folder, capture)
        refusals(folder, capture)
    finish()


main()
