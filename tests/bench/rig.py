"""What is measured against what: the wire, the traffic, tapbox and its peers, and the CPU that each takes.

Everything runs in the namespaces of tests/lab/enter.  The traffic comes in at `v0`; the generator has the first core, with
what the kernel does to receive (taps, VXLAN device, sockets), every recorder the last one with all that belongs to it
(compression, hashing).
"""
import glob
import hashlib
import mmap
import os
import resource
import signal
import struct
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../support"))
import recorder  # noqa: E402

CORES = sorted(os.sched_getaffinity(0))
GENERATOR_CORE, RECORDER_CORE = CORES[0], CORES[-1]
RING_MIB = 64  # kernel memory for packets that wait to be read, the same for all
INTERFACE, PEER = "v0", "v0p"
VNI = 42
TICKS = os.sysconf("SC_CLK_TCK")
DROP_RULE = """table netdev bench {
    chain ingress {
        type filter hook ingress device %s priority 0
        udp dport 4789 drop
    }
}
"""


def pinned(core, *command):
    return ["taskset", "-c", str(core), *(str(c) for c in command)]


# --- CPU ---

def machine_cpu_s():
    """Seconds in which the machine's cores were busy, whoever kept them so."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _idle, _wait, irq, softirq = (int(n) for n in file.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / TICKS


def children_cpu_s():
    """Seconds of every process that was started here and has ended: generator, recorder, compressor."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def used_so_far_s(pids):
    """What processes that run have used up to now: their start is not on the bill."""
    used = 0
    for pid in pids:
        for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
            with open(path, encoding="ascii") as file:
                used += int(file.read().split()[0])
    return used / 1e9


def hash_files(paths):
    """The SHA-256 of each, as serve takes it before it uploads (OpenSSL, into a buffer of whole pages): on the recorder's
    core; seconds of CPU."""
    cores, block = os.sched_getaffinity(0), mmap.mmap(-1, 256 * 1024)
    os.sched_setaffinity(0, {RECORDER_CORE})
    try:
        began = time.thread_time()
        for path in paths:
            digest = hashlib.sha256()
            with open(path, "rb", buffering=0) as file:
                while octets := file.readinto(block):
                    digest.update(memoryview(block)[:octets])
        return time.thread_time() - began
    finally:
        os.sched_setaffinity(0, cores)


class Meter:
    """Between its start and `stop`, both figures; `pids` run already, and end before the stop."""

    def __init__(self, pids=()):
        self.machine, self.began = machine_cpu_s(), time.monotonic()
        self.processes = children_cpu_s() + used_so_far_s(pids)

    def stop(self):
        return {"machine_s": machine_cpu_s() - self.machine, "processes_s": children_cpu_s() - self.processes,
                "seconds": time.monotonic() - self.began}


# --- wire and traffic ---

class Rig:
    """The veth pair, the programs, and a folder in memory for what they write."""

    def __init__(self, out, folder):
        self.out, self.folder = out, folder
        recorder.TAPBOX = os.path.join(out, "tapbox")
        self.generator = os.path.join(out, "bench/generator")
        self.wire = recorder.Wire(INTERFACE)
        self.has_drop_rule = False
        # The generator reaches far higher rates as a driver than as a sender, where the kernel lets it.
        self.way, self.generator_s = ["receive", INTERFACE], 0.0
        if recorder.run(*self.sending("small", 1000, 0.01), check=False).returncode != 0:
            self.way = ["send", PEER]

    def sending(self, profile, rate, seconds, seed=1, vnis=1):
        """The command."""
        return pinned(GENERATOR_CORE, self.generator, *self.way, profile, rate, seconds, seed, vnis)

    def send(self, *what, **how):
        """Sends and waits: packets, octets of inner frames, seconds.  Its CPU is added to `generator_s`."""
        before = children_cpu_s()
        packets, octets, took = recorder.run(*self.sending(*what, **how)).stdout.split()
        self.generator_s += children_cpu_s() - before
        return int(packets), int(octets), float(took)

    def drop_behind_tap(self, on):
        """A rule that drops mirrored packets once every tap has seen them; false when nft refuses."""
        if on == self.has_drop_rule:
            return True
        command = DROP_RULE % INTERFACE if on else "delete table netdev bench"
        done = subprocess.run(["nft", "-f", "-"], input=command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            self.has_drop_rule = on
        return done.returncode == 0


    def clear_away(self, system):
        """After a run that failed: nothing of it is in the way of the next."""
        for name in ("recorder", "dump", "zstd"):
            process = getattr(system, name, None)
            process = getattr(process, "process", process)
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        kernel_vxlan(False)
        self.drop_behind_tap(False)


def kernel_vxlan(on):
    """The device that unwraps for those who cannot."""
    if on:
        recorder.run("ip", "link", "add", "vx0", "type", "vxlan", "id", VNI, "dstport", 4789, "local", "10.77.0.2",
                     "nolearning", "dev", INTERFACE)
        with open("/proc/sys/net/ipv6/conf/vx0/disable_ipv6", "w", encoding="ascii") as file:
            file.write("1")
        recorder.run("ip", "link", "set", "vx0", "up")
    else:
        recorder.run("ip", "link", "del", "vx0", check=False)


def end(process, how=signal.SIGINT, seconds=30):
    """Signals and waits; kills what does not end."""
    process.send_signal(how)
    try:
        return process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()


def wait_for_text(path, text, seconds=10):
    def said():
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()

    try:
        recorder.wait_until(f"'{text}'", lambda: text in said(), seconds)
    except RuntimeError as problem:
        raise RuntimeError(f"{problem}; it said: {said().strip() or 'nothing'}") from problem


def sizes(pattern):
    return sum(os.path.getsize(path) for path in glob.glob(pattern))


# --- the recorders ---

class Tapbox:
    """The shipped program, sandboxed, armed as serve does it; index, chunk digests and file SHA-256 included."""
    name = "tapbox"

    def __init__(self, rig, drop_rule=False):
        self.rig, self.drop_rule = rig, drop_rule
        if drop_rule:
            self.name = "tapbox, drop rule"

    def begin(self, folder):
        if self.drop_rule and not self.rig.drop_behind_tap(True):
            raise RuntimeError("nft refuses the rule")
        self.recorder = recorder.Recorder(folder, INTERFACE, "--level", "1", "--ring", f"{RING_MIB}MiB",
                                          prefix=pinned(RECORDER_CORE))
        self.recorder.arm(sources=[("10.77.0.1", VNI)], rotate_s=600)

    def pids(self):
        return [self.recorder.process.pid]

    def end(self, sent):
        tap = self.recorder
        recorder.wait_until("the last packets", lambda: tap.host()["ledger"]["received"] >= sent, 10)
        status = tap.close_capture()
        host = tap.host()["ledger"]
        hash_s = hash_files(tap.segments())
        octets = sum(os.path.getsize(path) for path in tap.segments())
        tap.stop()
        if self.drop_rule:
            self.rig.drop_behind_tap(False)
        return {"packets": status["ledger"]["written"], "bytes": octets, "hash_s": hash_s, "level": status["level"],
                "level_changes": status["level_changes"], "residual": recorder.residual(host)}


class Tcpdump:
    """Kernel VXLAN device, tcpdump -w - | zstd -1; times to the nanosecond, as the others keep them."""
    name = "tcpdump | zstd -1"

    def __init__(self, rig):
        self.rig = rig

    def begin(self, folder):
        kernel_vxlan(True)
        self.file = os.path.join(folder, "t.pcap.zst")
        self.log = os.path.join(folder, "t.log")
        with open(self.log, "wb") as log:
            self.dump = subprocess.Popen(pinned(RECORDER_CORE, "tcpdump", "-n", "-i", "vx0", "-B", RING_MIB * 1024, "-Z",
                                                "root", "--nano", "-w", "-"), stdout=subprocess.PIPE, stderr=log)
            self.zstd = subprocess.Popen(pinned(RECORDER_CORE, "zstd", "-q", "-1", "-T1", "-f", "-o", self.file),
                                         stdin=self.dump.stdout)
        self.dump.stdout.close()
        wait_for_text(self.log, "listening on")

    def pids(self):
        return [self.dump.pid, self.zstd.pid]

    def end(self, _sent):
        time.sleep(1)  # what is in its ring
        end(self.dump)
        self.zstd.wait()
        kernel_vxlan(False)
        said = open(self.log, encoding="utf-8").read()
        packets = int(said.split(" packets captured")[0].split()[-1])
        return {"packets": packets, "bytes": os.path.getsize(self.file)}


class Dumpcap:
    """Kernel VXLAN device, dumpcap to a file, then zstd -1."""
    name = "dumpcap, then zstd -1"

    def __init__(self, rig):
        self.rig = rig

    def begin(self, folder):
        kernel_vxlan(True)
        self.file, self.log = os.path.join(folder, "d.pcapng"), os.path.join(folder, "d.log")
        with open(self.log, "wb") as log:
            self.dump = subprocess.Popen(pinned(RECORDER_CORE, "dumpcap", "-q", "-i", "vx0", "-B", RING_MIB, "-w",
                                                self.file), stderr=log, stdout=log)
        wait_for_text(self.log, "File:")

    def pids(self):
        return [self.dump.pid]

    def end(self, _sent):
        time.sleep(1)
        end(self.dump)
        kernel_vxlan(False)
        recorder.run(*pinned(RECORDER_CORE, "zstd", "-q", "-1", "-T1", "-f", self.file))
        said = open(self.log, encoding="utf-8").read()
        packets = int(said.split("received/dropped on interface")[1].split(":")[1].split("/")[0])
        return {"packets": packets, "bytes": os.path.getsize(self.file + ".zst")}


class Stenotype:
    """Kernel VXLAN device, stenotype (AF_PACKET blocks straight to files, with its index), then zstd -1."""
    name = "stenotype, then zstd -1"

    def __init__(self, rig):
        self.rig = rig

    def begin(self, folder):
        kernel_vxlan(True)
        self.folder, self.log = folder, os.path.join(folder, "s.log")
        for name in ("PKT0", "IDX0"):
            os.mkdir(os.path.join(folder, name))
        with open(self.log, "wb") as log:
            self.dump = subprocess.Popen(
                pinned(RECORDER_CORE, "stenotype", "-v", "--iface=vx0", f"--dir={folder}", "--threads=1",
                       f"--blocks={RING_MIB}", "--aiops=32", "--seccomp=none", "--no_watchdogs", "--uid=root",
                       "--gid=root", "--blockage_sec=1", "--fileage_sec=600", "--filesize_mb=4000"), stderr=log, stdout=log)
        wait_for_text(self.log, "Opening packet file")

    def pids(self):
        return [self.dump.pid]

    def end(self, _sent):
        time.sleep(2.5)  # what is in its block
        self.dump.send_signal(signal.SIGINT)
        # It looks at the signal when a packet comes.
        for _ in range(20):
            if self.dump.poll() is not None:
                break
            self.rig.send("small", 1000, 0.3, seed=9)
        end(self.dump, signal.SIGKILL)
        kernel_vxlan(False)
        packets = 0
        for path in sorted(glob.glob(os.path.join(self.folder, "PKT0", "*")) +
                           glob.glob(os.path.join(self.folder, "PKT0", ".[0-9]*"))):
            with open(path, "rb") as file:
                for at in range(0, os.path.getsize(path), 1 << 20):
                    file.seek(at)
                    packets += struct.unpack("<I", file.read(16)[12:])[0]  # num_pkts of a TPACKET_V3 block
            recorder.run(*pinned(RECORDER_CORE, "zstd", "-q", "-1", "-T1", "-f", path, "-o", path + ".zst"))
        # (its index is not counted: the packets alone)
        return {"packets": packets, "bytes": sizes(os.path.join(self.folder, "PKT0", "*.zst")) +
                sizes(os.path.join(self.folder, "PKT0", ".*.zst"))}


PEERS = (Tcpdump, Dumpcap, Stenotype)
