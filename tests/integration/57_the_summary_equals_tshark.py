#!/usr/bin/python3
"""Summaries against tshark: every capture of ../shared, and random traffic made here, whole and sliced."""
import hashlib
import hmac
import json
import os
import random
import struct
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import summary_and_tshark  # noqa: E402
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # noqa: E402
from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: E402
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


class Quic:
    """A client's Initial packets (RFC 9001, 9369)."""

    SALTS = {1: "38762cf7f55934b34d179ae6a4c80cadccbb7f0a", 0x6B3343CF: "0dede3def700a6db819381be6e269dcbf9bd2ed9"}

    def __init__(self, number, version=1):
        self.id = hashlib.sha256(b"%d" % number).digest()[:8]
        self.version = version
        self.packets = 0
        word = b"quicv2 " if version != 1 else b"quic "
        secret = self.expand(hmac.digest(bytes.fromhex(self.SALTS[version]), self.id, "sha256"), b"client in", 32)
        self.key, self.iv, self.hp = (self.expand(secret, word + part, size) for part, size in ((b"key", 16), (b"iv", 12), (b"hp", 16)))

    @staticmethod
    def expand(secret, label, size):
        label = b"tls13 " + label
        return hmac.digest(secret, struct.pack(">HB", size, len(label)) + label + b"\0\1", "sha256")[:size]

    @staticmethod
    def crypto(offset, piece):
        return b"\6" + struct.pack(">HH", 0x4000 | offset, 0x4000 | len(piece)) + piece

    def initial(self, frames, *, number_size=1, token=b"", to=None, size=1162):
        """One packet; `to` is the id that a server chose."""
        to = self.id if to is None else to
        frames += bytes(max(0, size - len(frames)))
        number = self.packets.to_bytes(number_size, "big")
        head = bytes([0xC0 | (0x10 if self.version != 1 else 0) | (number_size - 1)]) + struct.pack(">I", self.version)
        head += bytes([len(to)]) + to + b"\0" + struct.pack(">H", 0x4000 | len(token)) + token
        head += struct.pack(">H", 0x4000 | (number_size + len(frames) + 16))
        nonce = (int.from_bytes(self.iv, "big") ^ self.packets).to_bytes(12, "big")
        sealed = AESGCM(self.key).encrypt(nonce, frames, head + number)
        self.packets += 1
        mask = Cipher(algorithms.AES(self.hp), modes.ECB()).encryptor().update((number + sealed)[4:20])
        number = bytes(a ^ b for a, b in zip(number, mask[1:]))
        return bytes([head[0] ^ mask[0] & 15]) + head[1:] + number + sealed


class Unusual(Traffic):
    """What is rare, one by one; each has a client of its own, which names it in a difference."""

    def begin(self, client, dport, v6=False):
        """A handshake; the sequence numbers that follow."""
        server = "2001:db8:2::1" if v6 else "198.51.100.20"
        ends = (client, server, 40000 + len(self.caught), dport)
        self.piece(ends, 999, b"", 2)
        self.tcp(server, client, dport, ends[2], 4999, 1000, 18)
        self.piece(ends, 1000, b"", 16)
        return ends

    def piece(self, ends, sequence, payload, flags=24):
        self.tcp(*ends, sequence, 5000, flags, payload)

    def ip(self, source, destination, protocol, payload):
        """Whole, always."""
        if ":" in source:
            head = struct.pack(">IHBB", 6 << 28, len(payload), protocol, 64)
            self.frame(0x86DD, head + packed(source) + packed(destination) + payload)
        else:
            self.frame(0x0800, ipv4(source, destination, payload, protocol=protocol))

    def records(self, text, *cuts):
        """The one TLS record `text` as several."""
        body, out, before = text[5:], b"", 0
        for cut in [*cuts, len(body)]:
            out += text[:3] + struct.pack(">H", cut - before) + body[before:cut]
            before = cut
        return out

    def named(self, name, pad=0):
        name = name if isinstance(name, bytes) else name.encode()
        extensions = struct.pack(">HH", 0xFAFA, pad) + bytes(pad)
        extensions += struct.pack(">HHHBH", 0, 5 + len(name), 3 + len(name), 0, len(name)) + name
        body = b"\3\3" + bytes(32) + b"\0" + b"\0\2\x13\1" + b"\1\0" + struct.pack(">H", len(extensions)) + extensions
        return b"\x16\3\1" + struct.pack(">H", len(body) + 4) + b"\1\0" + struct.pack(">H", len(body)) + body

    def hellos(self):
        for number, cuts in enumerate([(1,), (4,), (5, 6, 7), (60,), (40, 900, 1000)]):
            ends = self.begin(f"10.2.0.{number + 1}", 443 if number % 2 else 8443)
            self.piece(ends, 1000, self.records(self.named(f"records-{number}.example", 1200), *cuts))
        whole = self.named("pieces.example", 2000)
        for number, order in enumerate([(0, 1, 2), (1, 0, 2), (2, 1, 0), (0, 2, 1, 0), (0, 0, 1, 1, 2)]):
            ends = self.begin(f"10.2.1.{number + 1}", 443)
            for i in order:
                self.piece(ends, 1000 + 700 * i, whole[700 * i:700 * i + 700] if i < 2 else whole[1400:])
        ends = self.begin("10.2.2.1", 443)  # sent again, cut otherwise
        self.piece(ends, 1000, whole[:600])
        self.piece(ends, 1000, whole[:900])
        self.piece(ends, 1800, whole[800:])
        ends = self.begin("10.2.2.2", 443)  # octet by octet, to begin with
        for i in range(8):
            self.piece(ends, 1000 + i, whole[i:i + 1])
        self.piece(ends, 1008, whole[8:])
        ends = self.begin("2001:db8:2::9", 443, True)
        self.piece(ends, 1000, self.named("SIX.Example"))
        ends = self.begin("10.2.2.3", 443)  # the sequence numbers begin again at 0
        self.tcp(*ends, 0xFFFFFF00, 5000, 2)
        self.tcp(*ends, 0xFFFFFF01, 5000, 24, whole[:1000])
        self.tcp(*ends, 0xFFFFFF01 + 1000, 5000, 24, whole[1000:])
        ends = self.begin("10.2.2.4", 443)  # an alert before it, as some send
        self.piece(ends, 1000, b"\x15\3\3\0\2\1\0")

    def question(self, *names, flags=0x100, count=None, tail=b""):
        """A message; a name may be octets as they are on the wire."""
        body = b""
        for name in names:
            wire = name if isinstance(name, bytes) else b"".join(
                bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
            body += wire + struct.pack(">HH", 1, 1)
        return struct.pack(">HHHHHH", 7, flags, len(names) if count is None else count, 0, 0, 0) + body + tail

    def names(self):
        first = self.question("one.compressed.example", b"\3two\xc0\x10", b"\xc0\x0c")
        self.udp("10.2.3.1", "224.0.0.251", 5353, 5353, first)
        self.udp("fe80::1", "ff02::fb", 5353, 5353, self.question("_http._tcp.local", "Printer (2).local", flags=0))
        self.udp("10.2.3.2", "224.0.0.252", 50000, 5355, self.question("WPAD", flags=0))
        self.udp("10.2.3.3", "198.51.100.53", 53, 53, self.question("both.port53.example"))
        self.udp("10.2.3.4", "198.51.100.53", 50000, 53, self.question(b"\0"))
        self.udp("10.2.3.5", "198.51.100.53", 50000, 53, self.question("none.example", count=0))
        self.udp("10.2.3.6", "198.51.100.53", 50000, 53, self.question(".".join(["x" * 63] * 3 + ["y" * 61])))
        self.udp("10.2.3.7", "198.51.100.53", 50000, 53, self.question("notify.example", flags=0x2400))
        self.udp("10.2.3.8", "198.51.100.53", 50000, 53, self.question("big.example", tail=bytes(1400)))
        message = self.question("over-tcp.example", tail=bytes(3000))
        framed = struct.pack(">H", len(message)) + message
        second = self.question("behind-it.example")
        framed += struct.pack(">H", len(second)) + second
        for number, cuts in enumerate([(1400, 2800), (1, 2), (2, 14), (3, len(framed) - len(second) - 1)]):
            ends = self.begin(f"10.2.4.{number + 1}", 53)
            before = 0
            for cut in [*cuts, len(framed)]:
                self.piece(ends, 1000 + before, framed[before:cut])
                before = cut

    def headers(self):
        """IPv6 extension headers, tags, tunnels in tunnels, sizes that lie."""
        a, b = "2001:db8:3::1", "2001:db8:3::2"
        asked = self.question("extension.example")
        datagram = struct.pack(">HHHH", 50000, 53, 8 + len(asked), 0) + asked
        padded = struct.pack(">BBI", 60, 0, 0x01040000) + b"\0\0"
        routed = struct.pack(">BBBBI", 17, 0, 0, 0, 0)
        for inside, kind in [(struct.pack(">BBI", 17, 0, 0x01040000) + b"\0\0" + datagram, 0), (routed + datagram, 43),
                             (padded + struct.pack(">BBI", 43, 0, 0x01040000) + b"\0\0" + routed + datagram, 0),
                             (struct.pack(">BBHI", 17, 0, 0, 9) + datagram, 44),  # an atomic fragment
                             (struct.pack(">BBHII", 17, 4, 0, 1, 1) + bytes(12) + datagram, 51),
                             (b"", 59), (bytes(20), 50)]:
            self.ip(a, b, kind, inside)
        for tags in (1, 2, 3):
            inside = ipv4("10.2.5.%d" % tags, "10.2.5.100", struct.pack(">HHHH", 7, 7, 12, 0) + b"tags")
            self.frame(0x0800, inside, tags)
        inner = ipv4("172.16.5.1", "172.16.5.2", datagram)
        wrapped = b"\2" * 12 + b"\x08\0" + inner
        vxlan = struct.pack(">HHHH", 50000, 4789, 8 + 8 + len(wrapped), 0) + struct.pack(">II", 8 << 24, 5 << 8) + wrapped
        self.ip("10.2.6.1", "10.2.6.2", 17, vxlan)
        self.ip("2001:db8:6::1", "2001:db8:6::2", 17, vxlan)
        self.ip("10.2.6.3", "10.2.6.4", 47, struct.pack(">HHII", 0x3000, 0x0800, 99, 1) + inner)  # key, sequence
        self.ip("10.2.6.5", "10.2.6.6", 47, struct.pack(">HH", 0, 0x6558) + wrapped)
        self.ip("2001:db8:6::3", "2001:db8:6::4", 4, inner)
        self.ip("10.2.6.7", "10.2.6.8", 41, struct.pack(">IHBB", 6 << 28, len(datagram), 17, 64) + packed(a) + packed(b) + datagram)
        segment = struct.pack(">HHIIBBHHH", 443, 50000, 1, 1, 0x50, 16, 100, 0, 0)
        self.ip("10.2.8.1", "10.2.8.2", 17, struct.pack(">HHHH", 9, 9, 200, 0) + b"longer than it is")
        self.ip("10.2.8.3", "10.2.8.2", 17, struct.pack(">HHHH", 9, 9, 10, 0) + b"shorter than it is")
        self.ip("10.2.8.4", "10.2.8.2", 6, segment[:12] + b"\xf0" + segment[13:])  # a header longer than all
        self.ip("10.2.8.5", "10.2.8.2", 132, struct.pack(">HHII", 9, 9, 1, 0))

    def quic(self):
        """ClientHellos in Initial packets: in pieces, in any order, sent again, with other things around them."""
        server = "198.51.100.44"
        for number, (version, size, token, v6) in enumerate([(1, 1, b"", False), (0x6B3343CF, 2, b"", False), (1, 4, b"t" * 70, True)]):
            client = Quic(number, version)
            hello = self.named(f"quic-{number}.example")[5:]
            self.udp("2001:db8:a::1" if v6 else "10.2.10.%d" % (number + 1), "2001:db8:a::2" if v6 else server, 50000, 443 + number,
                     client.initial(client.crypto(0, hello), number_size=size, token=token))
        hello = self.named("quic-pieces.example", 1000)[5:]
        cuts = [0, 3, 50, 60, 200, 400, 401, 700, 900, 1000, len(hello)]
        pieces = [(a, hello[a:b]) for a, b in zip(cuts, cuts[1:])]
        for number in range(3):
            self.random.shuffle(pieces)
            client = Quic(10 + number)
            frames = b"".join(client.crypto(*piece) + b"\1\0\0"[:self.random.randrange(4)] for piece in pieces)
            self.udp("10.2.11.%d" % (number + 1), server, 50000, 443, client.initial(frames))
        client = Quic(20)  # with an acknowledgement before it, and a packet of 0-RTT behind
        packet = client.initial(b"\2\0\0\0\0" + client.crypto(0, self.named("quic-ack.example")[5:]), size=400)
        self.udp("10.2.12.1", server, 50000, 443, packet + b"\xd0\0\0\0\1\x08" + client.id + b"\0\x40\x20" + bytes(32))
        client = Quic(21)  # an end without a name, and what is damaged
        self.udp("10.2.12.2", server, 50000, 443, client.initial(b"\x1c\0\0\0"))
        packet = client.initial(client.crypto(0, self.named("quic-damaged.example")[5:]))
        self.udp("10.2.12.3", server, 50000, 443, packet[:-1] + bytes([packet[-1] ^ 1]))
        self.udp("10.2.12.4", server, 50000, 443, packet[:700])

    def quic_in_packets(self):
        """A ClientHello over more than one packet, which post-quantum keys make usual."""
        hello = self.named("quic-long.example", 1900)[5:]
        for number, order in enumerate([(0, 1), (0, 1, 1)]):
            client = Quic(30 + number)
            for i in order:
                self.udp("10.2.13.%d" % (number + 1), "198.51.100.44", 50000, 443, client.initial(client.crypto(1100 * i, hello[1100 * i:1100 * (i + 1)])))

    def errors(self):
        """ICMP errors that quote TCP, whole and cut: what they quote is not counted."""
        segment = struct.pack(">HHIIBBHHH", 443, 50000, 1, 1, 0x50, 16, 100, 0, 0)
        for inside in (ipv4("10.2.7.1", "10.2.7.2", segment, protocol=6), ipv4("10.2.7.1", "10.2.7.2", segment[:8], protocol=6, length=60)):
            self.frame(0x0800, ipv4("10.2.7.9", "10.2.7.1", struct.pack(">BBHI", 3, 4, 0, 1500) + inside, protocol=1))
            self.frame(0x0800, ipv4("10.2.7.8", "10.2.7.1", struct.pack(">BBHI", 11, 0, 0, 0) + inside, protocol=1))
        a, b = "2001:db8:3::1", "2001:db8:3::2"
        inside = struct.pack(">IHBB", 6 << 28, len(segment), 6, 64) + packed(a) + packed(b) + segment
        self.ip("2001:db8:7::1", a, 58, struct.pack(">BBHI", 2, 0, 0, 1280) + inside)

    def requests(self):
        for number, text in enumerate([b"POST / HTTP/1.1\r\nhOST:lower.example\r\n\r\n", b"GET /a HTTP/1.1\r\nX: 1\r\nHost: port.example:8080\r\n\r\n",
                                       b"HEAD /b HTTP/1.1\r\nHost:   spaces.example\r\n\r\n"]):
            ends = self.begin(f"10.2.9.{number + 1}", 8080 if number else 80)
            self.piece(ends, 1000, text[:9])
            self.piece(ends, 1009, text[9:])

    def make_all(self, *others):
        for one in (self.hellos, self.names, self.headers, self.requests, self.quic, self.quic_in_packets, *others):
            one()
        return self.caught


def packed(address):
    return ipaddress.ip_address(address).packed


def random_traffic(folder):
    for seed in range(int(os.environ.get("SUMMARY_SEEDS", "2"))):
        caught = Traffic(seed).make(1500)
        wrong = differences(folder, caught)
        is_(f"random traffic {seed}: {len(caught)} frames", not wrong, "\n".join(wrong[:20]))
    rare = Unusual(0)
    caught = rare.make_all(rare.errors)
    wrong = differences(folder, caught)
    is_(f"what is rare: {len(caught)} frames", not wrong, "\n".join(wrong[:40]))
    # (without errors: of one whose quote is cut off tshark's io,stat loses the frame, see FORMAT.md)
    caught = Unusual(0).make_all()
    for length in (60, 80, 200):
        wrong = [line for line in differences(folder, caught, "--snaplen", str(length))
                 if not line.startswith(("dns", "tls", "http"))]
        is_(f"the same, sliced to {length} octets", not wrong, "\n".join(wrong[:20]))
    # (a name that begins in one segment and ends in the next is lost to tshark, which reads them one by one)
    wrong = [line for line in differences(folder, Traffic(98).make(3000), "--rotate", "16KiB")
             if not line.startswith(("dns", "tls", "http"))]
    is_("over several segments", not wrong, "\n".join(wrong[:20]))
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
