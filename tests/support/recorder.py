"""For tests of the recorder: starts it, speaks to its socket, makes VXLAN packets, reads its segments.

The messages are written here from the description in src/recorder/wire_int.h, not with its code.
"""
import hashlib
import ipaddress
import json
import os
import socket
import struct
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)
import frames  # noqa: E402

TAPBOX = os.path.join(os.environ.get("TB_OUT", os.path.join(ROOT, "build/debug")), "tapbox")
PCAPS = os.path.join(ROOT, "../shared/data/pcaps")
FIELDS = ("received written ring_dropped fragments not_vxlan malformed unknown_vni not_armed filtered over_budget "
          "queue_dropped spool_full truncated written_bytes").split()
STATES = ["absent", "armed", "closing", "closed"]
ERRORS = ("ok einval eformat eshort etoobig enotfound eexist edenied estate eretry ethrottle etimeout eexpired efull "
          "eclosed eio enomem einternal").split()
ARM, EXTEND, DISARM, STATUS, FORGET, HOST = range(1, 7)


class Refused(Exception):
    """The recorder answered with an error; args[0] is its name."""


# --- how cases are told ---

failed = 0


def is_(sentence, good, why=""):
    global failed
    print(f"{'ok' if good else 'not ok'} - {sentence}")
    if not good:
        failed += 1
        for line in str(why).splitlines():
            print(f"#   {line}")
    sys.stdout.flush()
    return good


def finish():
    sys.exit(1 if failed else 0)


def inside_the_lab():
    """Starts this script again in namespaces of its own, unless it is there already."""
    if "LAB_INSIDE" not in os.environ:
        enter = os.path.join(ROOT, "tests/lab/enter")
        os.execv(enter, [enter, sys.executable, *sys.argv])


def run(*command, check=True, **options):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)
    if check and done.returncode != 0:
        raise RuntimeError(f"{command}: {done.returncode}: {done.stderr}")
    return done


PATIENCE_S = 60  # more than a machine needs that has nothing else to do: what it does besides is not what is tested


def wait_until(what, true, seconds=10):
    """`true` is asked the more seldom the longer it took and was waited for, for it keeps that from the processor."""
    first = time.monotonic()
    end = first + seconds + PATIENCE_S
    while True:
        began = time.monotonic()
        if true():
            return
        now = time.monotonic()
        if now > end:
            raise RuntimeError(f"waited {seconds} s, and {PATIENCE_S} more, for: {what}")
        time.sleep(min(1, 0.01 + now - began + (now - first) / 10))


# --- packets ---

def ipv4(source, destination, payload, protocol=17, options=b"", fragment=0, ttl=64, length=None):
    head = struct.pack(">BBHHHBBH4s4s", 0x40 | (20 + len(options)) // 4, 0,
                       20 + len(options) + len(payload) if length is None else length, 0, fragment, ttl, protocol, 0,
                       ipaddress.IPv4Address(source).packed, ipaddress.IPv4Address(destination).packed) + options
    total = sum(struct.unpack(f">{len(head) // 2}H", head))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    return head[:10] + struct.pack(">H", checksum) + head[12:] + payload


def ipv6(source, destination, payload, next_header=17):
    return struct.pack(">IHBB", 6 << 28, len(payload), next_header, 64) + ipaddress.IPv6Address(
        source).packed + ipaddress.IPv6Address(destination).packed + payload


def udp(payload, port=4789, source_port=65500):
    return struct.pack(">HHHH", source_port, port, 8 + len(payload), 0) + payload


def vxlan(vni, frame):
    return b"\x08\0\0\0" + struct.pack(">I", vni << 8) + frame


def ethernet(payload, kind=None, source=b"\x02\0\0\0\0\1", destination=b"\x02\0\0\0\0\2", tags=()):
    kind = kind if kind is not None else 0x0800 if payload[0] >> 4 == 4 else 0x86DD
    head = destination + source
    for protocol, tag in tags:
        head += struct.pack(">HH", protocol, tag)
    return head + struct.pack(">H", kind) + payload


def inner(number, size=100):
    """A mirrored frame like no other, half of it random."""
    payload = struct.pack(">Q", number) + hashlib.shake_128(b"%d" % number).digest(size // 2) + b"x" * size
    return ethernet(ipv4("10.9.0.1", "10.9.0.2", udp(payload[:size], port=9000)))


def mirrored(number, source="10.77.0.1", vni=42, destination="10.77.0.2", size=100):
    return ethernet(ipv4(source, destination, udp(vxlan(vni, inner(number, size)))))


def write_pcap(path, packets):
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1))
        for i, packet in enumerate(packets):
            file.write(struct.pack("<IIII", 1700000000 + i // 1000, i % 1000 * 1000000 + i, len(packet), len(packet)) +
                       packet)


# --- the recorder ---

def capture_id(number=1):
    return f"cap-20260102T030405Z-{number:08x}"


def address(text):
    parsed = ipaddress.ip_address(text)
    return parsed.packed if parsed.version == 6 else bytes(10) + b"\xff\xff" + parsed.packed


def text(value):
    raw = value.encode()
    return struct.pack("<H", len(raw)) + raw


def boot_ns(after_s=0.0):
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) + int(after_s * 1e9)


class Recorder:
    """`tapbox record` on an interface, with its spool and socket in `folder`."""

    def __init__(self, folder, interface, *options, prefix=(), start=True):
        self.folder, self.interface, self.prefix = folder, interface, list(prefix)
        self.options = ["--min-free", "0", *options]
        self.spool, self.path = os.path.join(folder, "spool"), os.path.join(folder, "recorder.sock")
        self.log = os.path.join(folder, "recorder.log")
        self.link = self.process = None
        self.cookie = 0
        if start:
            self.start()

    def command(self):
        return [*self.prefix, TAPBOX, "record", "--interface", self.interface, "--socket", self.path, "--spool",
                self.spool, *self.options]

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command(), stderr=log, stdout=log)
        wait_until("the recorder to listen", self.connect)

    def connect(self):
        if self.process is not None and self.process.poll() is not None:
            raise RuntimeError(f"the recorder ended: {open(self.log).read()}")
        link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            link.connect(self.path)
        except OSError:
            link.close()
            return False
        self.disconnect()
        link.settimeout(PATIENCE_S)
        self.link = link
        return True

    def disconnect(self):
        if self.link is not None:
            self.link.close()
        self.link = None

    def ask(self, kind, body=b"", version=1):
        self.cookie += 1
        self.link.send(struct.pack("<BBHI", version, kind, 0, self.cookie) + body)
        answer = self.link.recv(1 << 17)
        version, back, error, cookie, size = struct.unpack_from("<BBHIH", answer)
        assert (version, back, cookie) == (1, kind | 0x80, self.cookie), answer[:10]
        if error:
            raise Refused(ERRORS[error], answer[10:10 + size].decode())
        return answer[10 + size:]

    def arm(self, capture=None, sources=(("10.77.0.1", 42),), seconds=600, snaplen=0, max_bytes=0, rotate=128 << 20,
            rotate_s=60, host="tap", bpf_text="", bpf=(), base=None, max_packets=0):
        body = text(capture or capture_id()) + text("IR-1") + text("test") + text("f-1") + text("Test:EC2/X") + text(host)
        body += struct.pack("<qIQ", boot_ns(seconds), snaplen, max_bytes)
        body += struct.pack("<Q", max_packets) if max_packets else b""
        body += struct.pack("<QI", rotate, rotate_s) + text(bpf_text)
        body += struct.pack("<I", len(sources))
        for i, (outer, vni) in enumerate(sources):
            body += address(outer) + struct.pack("<I", vni) + b"\x02\0\0\0\0\1" + text(f"eni-{i:017x}") + text("test")
        body += struct.pack("<I", len(bpf)) + b"".join(struct.pack("<HBBI", *i) for i in bpf)
        body += struct.pack("<q", base["known"] if base else 0)
        if base:
            body += struct.pack("<qq14Q", base["first"], base["last"], *(base["ledger"][name] for name in FIELDS))
        self.ask(ARM, body, 2 if max_packets else 1)

    def extend(self, seconds, capture=None):
        self.ask(EXTEND, text(capture or capture_id()) + struct.pack("<q", boot_ns(seconds)))

    def disarm(self, capture=None):
        self.ask(DISARM, text(capture or capture_id()))

    def forget(self, capture=None):
        self.ask(FORGET, text(capture or capture_id()))

    def status(self, capture=None):
        answer = self.ask(STATUS, text(capture or capture_id()))
        state, over, segments, first, last = struct.unpack_from("<BBIqq", answer)
        ledger = dict(zip(FIELDS, struct.unpack_from("<14Q", answer, 22)))
        level, changes, gap_from, gap_to = struct.unpack("<iIqq", answer[22 + 14 * 8:])
        return {"state": STATES[state], "spent": ("", "bytes", "packets")[over], "segments": segments, "first": first, "last": last,
                "ledger": ledger, "level": level, "level_changes": changes, "gap": (gap_from, gap_to)}

    def host(self):
        answer = self.ask(HOST)
        started, pid, armed = struct.unpack_from("<qII", answer)
        return {"started": started, "pid": pid, "armed": armed,
                "ledger": dict(zip(FIELDS, struct.unpack_from("<14Q", answer, 16)))}

    def close_capture(self, capture=None):
        self.disarm(capture)
        wait_until("the capture to close", lambda: self.status(capture)["state"] == "closed", 20)
        return self.status(capture)

    def stop(self, how=15):
        self.process.send_signal(how)
        status = self.process.wait(PATIENCE_S)
        self.disconnect()
        return status

    def segments(self, capture=None):
        folder = os.path.join(self.spool, capture or capture_id())
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        return [os.path.join(folder, name) for name in names if not name.startswith(".")]

    def hidden(self, capture=None):
        folder = os.path.join(self.spool, capture or capture_id())
        return [name for name in os.listdir(folder) if name.startswith(".") and name.endswith(".zst")]

    def wait_for_repair(self, capture=None):
        """What a recorder before left open is repaired while this one records already."""
        wait_until("the repair of what was left open", lambda: not self.hidden(capture), 30)

    def frames(self, capture=None):
        return [frame for path in self.segments(capture) for frame in frames.read(path)]


def residual(ledger):
    return ledger["received"] - sum(ledger[name] for name in FIELDS[1:12])


def complaint(path):
    """What tshark finds wrong with a file; "" when it reads it to the end without a word."""
    done = run("tshark", "-n", "-r", path, "-T", "fields", "-e", "frame.len", check=False)
    said = [line for line in done.stderr.splitlines() if not line.startswith("Running as user")]
    return "" if done.returncode == 0 and not said else f"{path}: status {done.returncode} {said}"


def untrue(paths):
    """What the second reader finds wrong with segments: index, keys and ledgers against a full decoding."""
    paths = [path for path in paths if not os.path.basename(path).startswith(".")]
    check = os.path.join(ROOT, "tests/support/second_reader.py")
    return run(check, "check", *paths, check=False).stderr.splitlines() if paths else []


def replay(folder, capture, *options):
    """`tapbox record --replay`: its JSON and the frames it wrote."""
    out = run(TAPBOX, "record", "--replay", capture, "--out", folder, "--json", *options).stdout
    result = json.loads(out)
    where = os.path.join(folder, result["capture"])
    names = sorted(n for n in os.listdir(where) if not n.startswith(".")) if os.path.isdir(where) else []
    paths = [os.path.join(where, name) for name in names]
    return result, [frame for path in paths for frame in frames.read(path)], paths


class Wire:
    """A veth pair: `send` puts frames on one end, the recorder listens at the other, 10.77.0.2."""

    def __init__(self, name="vr", mtu=9001):
        self.name, self.peer = name, name + "p"
        run("ip", "link", "add", self.peer, "mtu", mtu, "address", "02:00:00:00:00:01", "type", "veth", "peer", "name",
            name, "mtu", mtu, "address", "02:00:00:00:00:02")
        for end in (name, self.peer):
            with open(f"/proc/sys/net/ipv6/conf/{end}/disable_ipv6", "w", encoding="ascii") as file:
                file.write("1")
            run("ethtool", "-K", end, "tso", "off", "gso", "off", "gro", "off", "tx", "off", "rx", "off", check=False)
            run("ip", "link", "set", end, "up")
        run("ip", "addr", "add", "10.77.0.2/24", "dev", name)
        run("ip", "neigh", "replace", "10.77.0.1", "lladdr", "02:00:00:00:00:01", "dev", name)
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
        self.socket.bind((self.peer, 0))

    def send(self, packets, pause_s=0.0):
        for packet in packets:
            self.socket.send(packet)
            if pause_s:
                time.sleep(pause_s)
