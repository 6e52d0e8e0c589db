#!/usr/bin/python3
"""frames.py judges everything else, so it is judged first: each kind of difference has to be found."""
import os
import struct
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FRAMES = os.path.join(ROOT, "tests/support/frames.py")
failed = False


def udp(number, size=60, ports=(1000, 2000)):
    payload = struct.pack(">I", number) + bytes(size)
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 28 + len(payload), number & 0xFFFF, 0, 64, 17, 0,
                     bytes([10, 77, 1, 10]), bytes([198, 51, 100, 10]))
    return bytes(12) + b"\x08\x00" + ip + struct.pack(">HHHH", *ports, 8 + len(payload), 0) + payload


def pcap(path, frames):
    """frames: (seconds, octets[, original length])"""
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1))
        for seconds, data, *length in frames:
            file.write(struct.pack("<IIII", seconds, 0, len(data), *(length or [len(data)])) + data)


def pcapng(path, frames, order="<"):
    def block(kind, body):
        size = 12 + len(body)
        return struct.pack(order + "II", kind, size) + body + struct.pack(order + "I", size)

    with open(path, "wb") as file:
        file.write(block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1)))
        file.write(block(1, struct.pack(order + "HHIHHB3xHH", 1, 0, 0, 9, 1, 9, 0, 0)))
        file.write(block(0x80000ABC, b"a block of local use is skipped."))
        for seconds, data, *length in frames:
            time = seconds * 10**9
            head = struct.pack(order + "IIIII", 0, time >> 32, time & 0xFFFFFFFF, len(data), *(length or [len(data)]))
            file.write(block(6, head + data + bytes(-len(data) % 4)))


def case(name, expected, got, status, *options, writer=pcapng):
    global failed
    with tempfile.TemporaryDirectory() as folder:
        first, second = os.path.join(folder, "expected.pcap"), os.path.join(folder, "got.pcapng")
        pcap(first, expected)
        writer(second, got)
        if "zstd" in options:
            subprocess.run(["zstd", "-q", "--rm", second], check=True)
            second += ".zst"
        done = subprocess.run([FRAMES, "compare", first, second, *[o for o in options if o != "zstd"]],
                              capture_output=True, text=True)
        if done.returncode == status:
            print(f"ok - {name}")
        else:
            failed = True
            print(f"not ok - {name}\n#   status {done.returncode}: {done.stdout} {done.stderr}")


plain = [(100 + i, udp(i)) for i in range(10)]
case("equal captures are equal", plain, plain, 0)
case("also compressed", plain, plain, 0, "zstd")
case("also as pcap", plain, plain, 0, writer=pcap)
case("also in the other byte order", plain, plain, 0, writer=lambda p, f: pcapng(p, f, ">"))
case("times may differ", plain, [(t + 3, d) for t, d in plain], 0)
case("a missing frame is found", plain, plain[:4] + plain[5:], 1)
case("an extra frame is found", plain, plain + [(200, udp(99))], 1)
case("a doubled frame is found", plain, plain + plain[-1:], 1)
case("one of two equal frames missing is found", plain + plain[-1:], plain, 1)
case("a changed octet is found", plain, plain[:4] + [(104, udp(4)[:-1] + b"x")] + plain[5:], 1)
case("two frames of a flow in the wrong order are found", plain, [plain[1], (101, plain[0][1]), *plain[2:]], 1)
other = [(100 + i, udp(i, ports=(1, 2))) for i in range(5)]
case("flows may overtake each other", other + plain, [(50, d) for _, d in plain] + other, 0)
case("a truncated frame is compared by what is there", plain, [(t, d[:50], len(d)) for t, d in plain], 0)
case("a truncated frame of another length is found", plain, [(t, d[:50], len(d) + 1) for t, d in plain], 1)
case("a truncated frame with another octet is found", plain, [(t, d[:49] + b"x", len(d)) for t, d in plain], 1)
case("outside the window a frame may be missing", plain, plain[2:8], 0, "--window", "102", "107.5")
case("inside the window it may not", plain, plain[3:8], 1, "--window", "102", "107.5")
case("a frame that was never there is extra in any window", plain, plain + [(300, udp(77))], 1, "--window", "100", "109")
arp = bytes(12) + b"\x08\x06" + bytes(28)
imds = udp(5)[:30] + bytes([169, 254, 169, 254]) + udp(5)[34:]
case("what AWS never mirrors is left out", plain + [(150, arp), (151, imds)], plain, 0, "--drop-never-mirrored")
case("and only if asked", plain + [(150, arp)], plain, 1)
case("and never in what was captured", plain, plain + [(151, imds)], 1, "--drop-never-mirrored")
case("a file that ends early is an error", plain, plain, 2, writer=lambda p, f: (
    pcapng(p, f), os.truncate(p, os.path.getsize(p) - 5)))
sys.exit(failed)
