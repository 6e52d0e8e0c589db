#!/usr/bin/python3
"""Read captures and compare them frame by frame.

usage: frames.py compare EXPECTED GOT... [--window T0 T1] [--drop-never-mirrored] [--mac MAC] [--json]
       frames.py count FILE...          packets, bytes, truncated frames, first and last time
       frames.py list FILE...           one line a frame: time, captured/original length, SHA-256 prefix

EXPECTED is what a witness saw (tcpdump at the workload), GOT the segments of one capture.  Files are
pcap or pcapng, also as .zst.  Times are Unix seconds with a fraction.

compare: every frame of GOT has to be in EXPECTED, byte for byte, as often as it is there; every frame of
EXPECTED between T0 and T1 (without a window: every frame) has to be in GOT; and the frames of one flow
have to come in the same order.  A truncated frame is equal if its bytes begin the expected frame and its
original length is the expected one's.  Exit status 1 if anything differs.
"""
import argparse
import collections
import hashlib
import json
import struct
import subprocess
import sys

PCAP_MAGICS = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}
PCAPNG_MAGIC = b"\x0a\x0d\x0d\x0a"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ETHERNET = 1

Frame = collections.namedtuple("Frame", "time_ns data length")


class BadCapture(Exception):
    """The file is not what its reader expects of a capture."""


def load(path):
    """The file's bytes, decompressed by the zstd program if need be."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:4] != ZSTD_MAGIC:
        return data
    done = subprocess.run(["zstd", "-q", "-dc", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise BadCapture(f"{path}: zstd: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def read(path):
    """All frames of a capture, in the order of the file."""
    data = load(path)
    if data[:4] in PCAP_MAGICS:
        return list(read_pcap(path, data))
    if data[:4] == PCAPNG_MAGIC:
        return list(read_pcapng(path, data))
    raise BadCapture(f"{path}: neither pcap nor pcapng")


def read_pcap(path, data):
    order, fraction_ns = PCAP_MAGICS[data[:4]]
    if struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF != ETHERNET:
        raise BadCapture(f"{path}: not Ethernet")
    header = struct.Struct(order + "IIII")
    at = 24
    while at < len(data):
        if at + 16 > len(data):
            raise BadCapture(f"{path}: cut off at {at}")
        seconds, fraction, captured, length = header.unpack_from(data, at)
        at += 16
        if at + captured > len(data):
            raise BadCapture(f"{path}: cut off at {at}")
        yield Frame(seconds * 10**9 + fraction * fraction_ns, data[at : at + captured], length)
        at += captured


def tick_ns(options, order):
    """Nanoseconds in one tick of an interface's clock, as (multiplier, divisor)."""
    at = 0
    while at + 4 <= len(options):
        code, size = struct.unpack_from(order + "HH", options, at)
        if code == 0:
            break
        if code == 9:
            value = options[at + 4]
            per_second = 2 ** (value & 0x7F) if value & 0x80 else 10**value
            return 10**9, per_second
        at += 4 + (size + 3 & ~3)
    return 10**9, 10**6


def read_pcapng(path, data):
    order, interfaces, at = "<", [], 0
    while at < len(data):
        if at + 12 > len(data):
            raise BadCapture(f"{path}: cut off at {at}")
        if data[at : at + 4] == PCAPNG_MAGIC:
            order = "<" if data[at + 8 : at + 12] == b"\x4d\x3c\x2b\x1a" else ">"
            interfaces = []
        kind, size = struct.unpack_from(order + "II", data, at)
        if size < 12 or size % 4 or at + size > len(data):
            raise BadCapture(f"{path}: block of {size} octets at {at}")
        if struct.unpack_from(order + "I", data, at + size - 4)[0] != size:
            raise BadCapture(f"{path}: the two lengths of the block at {at} differ")
        if kind == 1:
            if struct.unpack_from(order + "H", data, at + 8)[0] != ETHERNET:
                raise BadCapture(f"{path}: not Ethernet")
            interfaces.append(tick_ns(data[at + 16 : at + size - 4], order))
        elif kind == 6:
            number, high, low, captured, length = struct.unpack_from(order + "IIIII", data, at + 8)
            if number >= len(interfaces) or captured > size - 32:
                raise BadCapture(f"{path}: bad packet block at {at}")
            multiplier, divisor = interfaces[number]
            time_ns = (high << 32 | low) * multiplier // divisor
            yield Frame(time_ns, data[at + 28 : at + 28 + captured], length)
        elif kind == 3:
            raise BadCapture(f"{path}: simple packet blocks have no time")
        at += size


IMDS_V4, IMDS_V6 = bytes([169, 254, 169, 254]), bytes.fromhex("fd000ec2000000000000000000000254")
NTP_V4, NTP_V6 = bytes([169, 254, 169, 123]), bytes.fromhex("fd000ec2000000000000000000000123")
RESOLVERS = {
    bytes([169, 254, 169, 253]),
    bytes.fromhex("fd000ec2000000000000000000000253"),
    bytes([10, 77, 0, 2]),  # the VPC's network address plus two
}


def addresses(frame):
    """(source, destination, protocol, ports) of an IP frame; ports only if they are in it."""
    data = frame.data
    ethertype = data[12:14]
    if ethertype == b"\x08\x00" and len(data) >= 34:
        source, destination, protocol = data[26:30], data[30:34], data[23]
        behind = 14 + (data[14] & 15) * 4
        if struct.unpack_from(">H", data, 20)[0] & 0x3FFF:
            return source, destination, protocol, b""
    elif ethertype == b"\x86\xdd" and len(data) >= 54:
        source, destination, protocol = data[22:38], data[38:54], data[20]
        behind = 54
    else:
        return None
    ports = data[behind : behind + 4] if protocol in (6, 17) else b""
    return source, destination, protocol, ports


def never_mirrored(frame):
    """What AWS does not mirror, whatever the filter says."""
    ip = addresses(frame)
    if ip is None:
        return True
    source, destination, protocol, ports = ip
    both = {source, destination}
    if both & {IMDS_V4, IMDS_V6}:
        return True
    if len(ports) < 4:
        return False
    numbers = set(struct.unpack(">HH", ports))
    if protocol == 17 and (numbers <= {67, 68} or numbers <= {546, 547}):
        return True
    if protocol == 17 and both & {NTP_V4, NTP_V6} and 123 in numbers:
        return True
    return bool(both & RESOLVERS) and 53 in numbers


def describe(frame):
    ip = addresses(frame)
    what = frame.data[:14].hex(":")
    if ip is not None:
        source, destination, protocol, ports = ip
        import ipaddress

        what = f"{ipaddress.ip_address(source)} > {ipaddress.ip_address(destination)} protocol {protocol}"
        if len(ports) == 4:
            what += " ports %d > %d" % struct.unpack(">HH", ports)
    return (
        f"{frame.time_ns / 1e9:.6f} {len(frame.data)}/{frame.length} octets, {what},"
        f" sha256 {hashlib.sha256(frame.data).hexdigest()[:12]}"
    )


class Comparison:
    """EXPECTED against GOT; the result is in its fields."""

    def __init__(self, expected, got, window=None, own_mac=None):
        self.expected, self.got = expected, got
        low, high = window if window else (None, None)
        self.required = [low is None or low <= f.time_ns <= high for f in expected]
        self.truncated = sum(len(f.data) < f.length for f in got)
        self.extra, self.disorder = [], []
        self.own_mac = own_mac
        matched = self.match()
        self.equal = len(matched)
        taken = {index for _, index in matched}
        unseen = [i for i in range(len(expected)) if i not in taken]
        self.missing = [expected[i] for i in unseen if self.required[i]]
        self.outside = len(unseen) - len(self.missing)
        self.check_order(matched)

    def match(self):
        """Pairs of (index in GOT, index in EXPECTED), by content alone."""
        by_content = collections.defaultdict(list)
        for index, frame in enumerate(self.expected):
            by_content[frame.data, frame.length].append(index)
        demand = collections.defaultdict(list)
        cut = []
        for index, frame in enumerate(self.got):
            if len(frame.data) < frame.length and (frame.data, frame.length) not in by_content:
                cut.append(index)
            else:
                demand[frame.data, frame.length].append(index)
        self.unique = {indices[0] for indices in by_content.values() if len(indices) == 1}
        pairs, taken = [], set()
        for content, wanted in demand.items():
            offered = self.choose(by_content.get(content, []), len(wanted))
            pairs.extend(zip(wanted, offered))
            taken.update(offered)
            self.extra.extend(self.got[i] for i in wanted[len(offered) :])
        if cut:
            pairs.extend(self.match_cut(cut, taken))
        return pairs

    def choose(self, offered, count):
        """`count` of equal frames: those that have to be there first."""
        if count >= len(offered):
            return offered
        offered = sorted(offered, key=lambda i: not self.required[i])[:count]
        return sorted(offered)

    def match_cut(self, cut, taken):
        """Truncated frames: by the octets they have and the length they had."""
        sizes = {(len(self.got[i].data), self.got[i].length) for i in cut}
        by_prefix = collections.defaultdict(collections.deque)
        for index, frame in enumerate(self.expected):
            if index in taken:
                continue
            for captured, length in sizes:
                if frame.length == length and len(frame.data) >= captured:
                    by_prefix[frame.data[:captured], length].append(index)
        for index in cut:
            frame = self.got[index]
            candidates = by_prefix[frame.data, frame.length]
            if candidates:
                yield index, candidates.popleft()
            else:
                self.extra.append(frame)

    def check_order(self, matched):
        """Per flow and direction, frames that occur once come in the expected order."""
        last = {}
        for got_index, index in sorted(matched, key=lambda p: (self.got[p[0]].time_ns, p[0])):
            if index not in self.unique:
                continue
            flow = addresses(self.expected[index]) or self.expected[index].data[:14]
            if last.get(flow, -1) > index:
                self.disorder.append(self.got[got_index])
            last[flow] = max(index, last.get(flow, -1))

    def same(self):
        return not (self.missing or self.extra or self.disorder)

    def directions(self):
        """How many equal frames left and reached the interface with `own_mac`."""
        out = sum(f.data[6:12] == self.own_mac for f in self.got)
        return out, len(self.got) - out

    def report(self):
        answer = {
            "expected": sum(self.required),
            "got": len(self.got),
            "equal": self.equal,
            "missing": len(self.missing),
            "extra": len(self.extra),
            "out_of_order": len(self.disorder),
            "truncated": self.truncated,
            "unrequired": self.outside,
        }
        if self.own_mac:
            answer["egress"], answer["ingress"] = self.directions()
        return answer


def seconds(text):
    whole, _, fraction = text.partition(".")
    return int(whole) * 10**9 + int((fraction + "0" * 9)[:9])


def run_compare(options):
    expected = read(options.expected)
    got = [frame for path in options.got for frame in read(path)]
    got.sort(key=lambda f: f.time_ns)
    if options.drop_never_mirrored:
        expected = [f for f in expected if not never_mirrored(f)]
    window = [seconds(t) for t in options.window] if options.window else None
    mac = bytes.fromhex(options.mac.replace(":", "")) if options.mac else None
    result = Comparison(expected, got, window, mac)
    if options.json:
        print(json.dumps(result.report()))
    else:
        print(" ".join(f"{name}={value}" for name, value in result.report().items()))
    for name, frames in ("missing", result.missing), ("extra", result.extra), ("out of order", result.disorder):
        for frame in sorted(frames)[:5]:
            print(f"  {name}: {describe(frame)}", file=sys.stderr)
    return 0 if result.same() else 1


def run_count(options):
    for path in options.files:
        frames = read(path)
        times = [f.time_ns for f in frames] or [0]
        print(json.dumps({
            "file": path,
            "packets": len(frames),
            "bytes": sum(f.length for f in frames),
            "captured_bytes": sum(len(f.data) for f in frames),
            "truncated": sum(len(f.data) < f.length for f in frames),
            "first": min(times) / 1e9,
            "last": max(times) / 1e9,
        }))
    return 0


def run_list(options):
    for path in options.files:
        for frame in read(path):
            print(describe(frame))
    return 0


def main():
    parser = argparse.ArgumentParser(description="Read captures and compare them frame by frame.")
    commands = parser.add_subparsers(dest="command", required=True)
    compare = commands.add_parser("compare")
    compare.add_argument("expected")
    compare.add_argument("got", nargs="+")
    compare.add_argument("--window", nargs=2, metavar=("T0", "T1"))
    compare.add_argument("--drop-never-mirrored", action="store_true")
    compare.add_argument("--mac", help="the mirrored interface's, to count both directions")
    compare.add_argument("--json", action="store_true")
    compare.set_defaults(run=run_compare)
    for name, run in ("count", run_count), ("list", run_list):
        command = commands.add_parser(name)
        command.add_argument("files", nargs="+")
        command.set_defaults(run=run)
    options = parser.parse_args()
    try:
        return options.run(options)
    except (BadCapture, OSError) as error:
        print(f"frames.py: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
