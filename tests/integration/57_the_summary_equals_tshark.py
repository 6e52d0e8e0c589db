#!/usr/bin/python3
"""Summaries against tshark: every capture of ../shared, and random traffic made here, whole and sliced."""
import json
import os
import random
import struct
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import summary_and_tshark  # noqa: E402
from recorder import *  # noqa: E402,F403

OUT = os.environ.get("TB_OUT", os.path.join(ROOT, "build/debug"))
SPEED = os.path.join(OUT, "bench/summary_speed")
FRAME_MAX = 65000  # what fits into one UDP datagram of VXLAN
# tshark stops at an IPv4 option that it finds malformed; the summary counts the packet.
TSHARK_GIVES_UP = {"sv-tcp-malformed-ipv4.pcap"}


def wrap(folder, caught):
    """A pcap of the frames inside VXLAN."""
    path = os.path.join(folder, "wrapped.pcap")
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 1 << 18, 1))
        for frame in caught:
            vxlan = struct.pack(">BBHI", 8, 0, 0, 42 << 8) + frame.data
            udp = struct.pack(">HHHH", 40000, 4789, 8 + len(vxlan), 0) + vxlan
            outer = b"\2" * 12 + b"\x08\0" + ipv4("10.77.0.1", "10.77.0.2", udp)
            file.write(struct.pack("<IIII", *divmod(frame.time_ns, 10**9), len(outer), len(outer)) + outer)
    return path


def differences(folder, caught, *options):
    """What the summary of these frames has otherwise than tshark."""
    out = tempfile.mkdtemp(dir=folder)
    done = run(TAPBOX, "record", "--replay", wrap(folder, caught), "--out", out, "--json", "--log", "error", *options)
    where = os.path.join(out, json.loads(done.stdout)["capture"])
    segments = [os.path.join(where, name) for name in sorted(os.listdir(where)) if name[0] != "."]
    return summary_and_tshark.compare(json.loads(run(SPEED, *segments).stdout), segments)


def shared(folder):
    """All captures one after the other, each a hundred seconds behind the one before."""
    if not os.path.isdir(PCAPS):
        print("ok - the captures of ../shared # SKIP they are not here")
        return
    caught = []
    start_ns = 1_700_000_000 * 10**9
    for name in sorted(os.listdir(PCAPS)):
        if not name.endswith((".pcap", ".pcapng")) or name in TSHARK_GIVES_UP:
            continue
        try:
            one = [f for f in frames.read(os.path.join(PCAPS, name)) if len(f.data) <= FRAME_MAX]
        except frames.BadCapture:
            continue  # not Ethernet
        base_ns = min((f.time_ns for f in one), default=0)
        one = [f._replace(time_ns=start_ns + min(f.time_ns - base_ns, 99 * 10**9)) for f in one]
        caught += sorted(one, key=lambda f: f.time_ns)
        start_ns += 100 * 10**9 + 250_000_000
    wrong = differences(folder, caught)
    is_(f"the captures of ../shared: {len(caught)} frames", not wrong and len(caught) > 4000, "\n".join(wrong))


# --- traffic of our own ---

class Traffic:
    """Random conversations: IPv4 and IPv6, tags, tunnels, fragments, names in pieces, things sent again."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.caught = []
        self.now_ns = 1_700_000_000_123_456_789

    def hosts(self):
        if self.random.random() < 0.5:
            return "10.1.0.%d" % self.random.randrange(1, 9), "198.51.100.%d" % self.random.randrange(1, 9)
        return "2001:db8::%x" % self.random.randrange(1, 9), "2001:db8:1::%x" % self.random.randrange(1, 9)

    def frame(self, ether_type, payload, tags=0):
        self.now_ns += int(self.random.expovariate(1) * 3e7)
        for tag in range(tags):
            payload = struct.pack(">HH", 7 + tag, ether_type) + payload
            ether_type = 0x8100 if tag == 0 else 0x88A8
        data = b"\2\0\0\0\0\1\2\0\0\0\0\2" + struct.pack(">H", ether_type) + payload
        data += bytes(max(0, 60 - len(data)))  # the padding of the link
        self.caught.append(frames.Frame(self.now_ns, data, len(data)))

    def ip(self, source, destination, protocol, payload):
        """One datagram, in one frame or in fragments."""
        cut = self.random.choice([0, 0, 0, 0, 8, 64, 512])
        pieces = [payload[i:i + cut] for i in range(0, len(payload), cut)] if cut else [payload]
        if len(pieces) > 20:
            pieces = [payload]
        number = self.random.randrange(1, 1 << 16)
        made = []
        for i, piece in enumerate(pieces):
            more = i + 1 < len(pieces)
            where = i * cut // 8
            if ":" in source:
                if len(pieces) > 1:
                    piece = struct.pack(">BBHI", protocol, 0, where << 3 | more, number) + piece
                inside = struct.pack(">IHBB", 6 << 28, len(piece), 44 if len(pieces) > 1 else protocol, 64)
                made.append((0x86DD, inside + packed(source) + packed(destination) + piece))
            else:
                head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(piece), number, more << 13 | where, 64, protocol, 0)
                made.append((0x0800, head + packed(source) + packed(destination) + piece))
        if self.random.random() < 0.3:
            self.random.shuffle(made)
        if self.random.random() < 0.1 and len(made) > 1:
            made.pop()
        tags = self.random.choice([0, 0, 0, 1, 2])
        for one in made:
            self.frame(*one, tags)

    def name(self):
        return self.random.choice(["www", "a.b", "xn--bcher-kva", "_ldap._tcp"]) + ".n%d.example" % self.random.randrange(20)

    def dns(self, response):
        labels = b"".join(bytes([len(label)]) + label.encode() for label in self.name().split("."))
        head = struct.pack(">HHHHHH", 7, 0x8180 if response else 0x100, 1, response, 0, 0)
        answer = struct.pack(">HHHIH4s", 0xC00C, 1, 1, 60, 4, b"\x0a\0\0\7") if response else b""
        return head + labels + struct.pack(">BHH", 0, 1, 1) + answer

    def udp(self, source, destination, sport, dport, payload):
        self.ip(source, destination, 17, struct.pack(">HHHH", sport, dport, 8 + len(payload), 0) + payload)

    def ask(self):
        client, server = self.hosts()
        port = self.random.randrange(20000, 60000)
        self.udp(client, server, port, 53, self.dns(0))
        if self.random.random() < 0.8:
            self.udp(server, client, 53, port, self.dns(1))

    def hello(self):
        name = self.name().encode()
        pad = bytes(self.random.choice([0, 0, 1200, 2600]))
        extensions = struct.pack(">HH", 0xFAFA, len(pad)) + pad
        if self.random.random() < 0.9:
            extensions += struct.pack(">HHHBH", 0, 5 + len(name), 3 + len(name), 0, len(name)) + name
        body = b"\3\3" + self.random.randbytes(32) + b"\0" + b"\0\2\x13\1" + b"\1\0"
        body += struct.pack(">H", len(extensions)) + extensions
        return b"\x16\3\1" + struct.pack(">H", len(body) + 4) + b"\1\0" + struct.pack(">H", len(body)) + body

    def tcp(self, source, destination, sport, dport, sequence, ack, flags, payload=b""):
        head = struct.pack(">HHIIBBHHH", sport, dport, sequence & 0xFFFFFFFF, ack & 0xFFFFFFFF, 0x50, flags, 65535, 0, 0)
        made = (source, destination, 6, head + payload)
        self.ip(*made)

    def connection(self):
        client, server = self.hosts()
        kind = self.random.choice(["tls", "dns", "http", "other"])
        dport = {"tls": 443, "dns": 53, "http": 80, "other": 9999}[kind]
        sport = self.random.randrange(1024, 60000)
        mine, theirs = self.random.randrange(1 << 32), self.random.randrange(1 << 32)
        self.tcp(client, server, sport, dport, mine, 0, 2)
        self.tcp(server, client, dport, sport, theirs, mine + 1, 18)
        mine += 1
        theirs += 1
        self.tcp(client, server, sport, dport, mine, theirs, 16)
        if kind == "tls":
            text = self.hello()
        elif kind == "dns":
            messages = [self.dns(0) for _ in range(self.random.randrange(1, 4))]
            text = b"".join(struct.pack(">H", len(m)) + m for m in messages)
        elif kind == "http":
            text = b"GET /x HTTP/1.1\r\nAccept: */*\r\nHost: " + self.name().encode() + b"\r\n\r\n"
        else:
            text = self.random.randbytes(self.random.randrange(1, 4000))
            text = bytes([0x80 | text[0]]) + text[1:]
        size = self.random.choice([1400, 600, 300])
        for at in range(0, len(text), size):
            part = text[at:at + size]
            self.tcp(client, server, sport, dport, mine + at, theirs, 24, part)
            if self.random.random() < 0.1:
                self.tcp(client, server, sport, dport, mine + at, theirs, 24, part)
        self.tcp(server, client, dport, sport, theirs, mine + len(text), 16)
        self.tcp(client, server, sport, dport, mine + len(text), theirs, 17)

    def other(self):
        a, b = "10.1.0.1", "10.1.0.2"
        inside = struct.pack(">HHHH", 5000, 6000, 12, 0) + b"tunn"
        inner = ipv4("172.16.0.1", "172.16.0.2", inside)
        self.frame(0x0806, struct.pack(">HHBBH", 1, 0x800, 6, 4, 1) + bytes(20))
        self.ip(a, b, 4, inner)
        self.frame(0x0800, ipv4(a, b, struct.pack(">HH", 0, 0x800) + inner, protocol=47))
        self.udp(a, b, 40000, 4789, struct.pack(">II", 8 << 24, 99 << 8) + b"\2" * 12 + b"\x08\0" + inner)
        # an error that quotes a packet: what it quotes is not counted again
        self.frame(0x0800, ipv4(a, b, struct.pack(">BBHI", 3, 3, 0, 0) + ipv4(b, a, inside), protocol=1))

    def make(self, count):
        while len(self.caught) < count:
            self.random.choice([self.ask, self.connection, self.ask, self.connection, self.other])()
        return self.caught


def packed(address):
    return ipaddress.ip_address(address).packed


def random_traffic(folder):
    for seed in range(int(os.environ.get("SUMMARY_SEEDS", "2"))):
        caught = Traffic(seed).make(1500)
        wrong = differences(folder, caught)
        is_(f"random traffic {seed}: {len(caught)} frames", not wrong, "\n".join(wrong[:20]))
    # the payload is gone, the numbers of conversations are not
    wrong = [line for line in differences(folder, Traffic(99).make(1000), "--snaplen", "96")
             if not line.startswith(("dns", "tls", "http"))]
    is_("sliced to 96 octets", not wrong, "\n".join(wrong[:20]))


def main():
    run("make", "-s", "-C", ROOT, f"MODE={os.path.basename(OUT)}", f"BUILD={os.path.dirname(os.path.abspath(OUT))}",
        os.path.join(os.path.abspath(OUT), "bench/summary_speed"))
    with tempfile.TemporaryDirectory() as folder:
        shared(folder)
        random_traffic(folder)
    finish()


main()
