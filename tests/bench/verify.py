#!/usr/bin/python3
"""How fast tapbox verify hashes, beside `openssl speed sha256` on the same machine in the same minute.

usage: tests/bench/verify.py [--build DIR] [--megabytes N] [--segments N] [--dir DIR]
Prints one JSON object.  Evidence of made-up packets is written to a temporary folder (in memory where /dev/shm
is: what is measured is the program, not the disk), signed with a key made for it, and verified with one thread
and with as many as there are processors; each measurement is the best of three.  "of_openssl" is octets a second of one processor against openssl's.  The segments are copies of one.  "second_pass" is what hashing
one of them once more, when it is sealed, costs against making it (level 3).
"""
import argparse
import hashlib
import json
import os
import pathlib
import resource
import shutil
import subprocess
import tempfile
import time

ID = "cap-20260102T030405Z-1a2b3c4d"
BLOCK = 262144  # as tapbox reads


def run(*command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def openssl_speed():
    """Octets a second of one processor."""
    for seconds in (2, 4, 8):
        told = run("openssl", "speed", "-seconds", str(seconds), "-bytes", str(BLOCK), "-evp", "sha256").split()[-1]
        if told not in ("infk", "nank"):  # it had no tick of CPU to divide by: the machine is busy
            return float(told.rstrip("k")) * 1000
    raise RuntimeError("openssl speed says " + told)


class Evidence:
    """A capture's folder as src/evidence/FORMAT.md describes it, with a key of its own."""

    def __init__(self, folder, segments):
        self.folder = folder / ID
        self.key = folder / "key.pem"
        self.public = folder / "key.pub"
        (self.folder / "custody").mkdir(parents=True)
        (self.folder / "alerts").mkdir()
        (self.folder / "segments").mkdir()
        run("openssl", "genpkey", "-algorithm", "ed25519", "-out", str(self.key))
        run("openssl", "pkey", "-in", str(self.key), "-pubout", "-out", str(self.public))
        der = subprocess.run(["openssl", "pkey", "-pubin", "-in", str(self.public), "-pubout", "-outform", "DER"],
                             check=True, capture_output=True).stdout
        self.fingerprint = hashlib.sha256(der[-32:]).hexdigest()
        self.lines = []
        self.prev = "0" * 64
        for name in segments:
            shutil.move(name, self.folder / "segments" / pathlib.Path(name).name)

    def sign(self, name, signature):
        run("openssl", "pkeyutl", "-sign", "-inkey", str(self.key), "-rawin", "-in", str(self.folder / name),
            "-out", str(self.folder / signature))

    def entry(self, act):
        line = canonical({"act": act, "capture": ID, "detail": {}, "from": None, "n": len(self.lines) + 1,
                          "prev": self.prev, "time": "2026-01-02T03:04:05.000000000Z", "who": "bench"})
        self.prev = hashlib.sha256(line).hexdigest()
        self.lines.append(line)
        return line + b"\n"

    def seal(self, packets):
        names = sorted(p.name for p in (self.folder / "segments").iterdir())
        sums = {}
        for name in names:
            with open(self.folder / "segments" / name, "rb") as file:
                sums[name] = hashlib.sha256(file.read()).hexdigest()
        (self.folder / "custody/0001.jsonl").write_bytes(self.entry("log_begun"))
        fields = ["received", "written", "ring_dropped", "fragments", "not_vxlan", "malformed", "unknown_vni", "not_armed",
                  "filtered", "over_budget", "queue_dropped", "spool_full", "truncated", "written_bytes"]
        ledger = {field: 0 for field in fields}
        ledger["received"] = ledger["written"] = sum(packets.values())
        manifest = {
            "format": "tapbox-manifest/1", "capture": ID,
            "chain": {"key": self.fingerprint, "sequence": 1, "previous": None},
            "custody": {"name": "custody/0001.jsonl", "entries": 1, "head": self.prev},
            "alerts": [], "ledger": ledger, "completeness": {"complete": "yes", "gaps": []},
            "segments": [{"name": f"segments/{name}", "bytes": (self.folder / "segments" / name).stat().st_size,
                          "packets": packets[name], "sha256": sums[name], "merkle_root": None} for name in names]}
        (self.folder / "manifest.json").write_bytes(canonical(manifest) + b"\n")
        self.sign("manifest.json", "manifest.sig")
        (self.folder / "custody/0002.jsonl").write_bytes(self.entry("manifest_signed"))
        self.sign("custody/0002.jsonl", "custody/0002.sig")
        order = [f"segments/{name}" for name in names] + ["custody/0001.jsonl", "manifest.json", "manifest.sig"]
        (self.folder / "SHA256SUMS").write_text("".join(
            f"{sums.get(name[9:]) or hashlib.sha256((self.folder / name).read_bytes()).hexdigest()}  {name}\n"
            for name in order))


def measure(tapbox, evidence, threads, octets):
    """The best of three: octets a second by the clock and by the processors' time."""
    best = None
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.monotonic()
        run(tapbox, "verify", str(evidence.folder), "--key", str(evidence.public), "--threads", str(threads))
        seconds = time.monotonic() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found = {"threads": threads, "seconds": round(seconds, 3), "cpu_seconds": round(cpu, 3),
                 "megabytes_per_second": round(octets / seconds / 1e6, 1),
                 "megabytes_per_cpu_second": round(octets / cpu / 1e6, 1)}
        best = found if best is None or cpu < best["cpu_seconds"] else best
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--megabytes", type=int, default=128, help="of each segment")
    parser.add_argument("--segments", type=int, default=8)
    parser.add_argument("--dir", default="/dev/shm" if os.path.isdir("/dev/shm") else None)
    options = parser.parse_args()
    build = pathlib.Path(options.build) / "release"
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        folder = pathlib.Path(folder)
        first = folder / "host-0-000001.pcapng.zst"
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        told = run(str(build / "bench/segment_maker"), str(first), str(options.megabytes), "3", "1").split()
        encode_cpu = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before.ru_utime
        made = [folder / f"host-0-{number:06}.pcapng.zst" for number in range(1, options.segments + 1)]
        for name in made[1:]:
            shutil.copyfile(first, name)
        packets = {name.name: int(told[0].split("=")[1]) for name in made}
        evidence = Evidence(folder, made)
        evidence.seal(packets)
        octets = sum(p.stat().st_size for p in (evidence.folder / "segments").iterdir())
        speed = openssl_speed()
        results = []
        for threads in sorted({1, os.cpu_count()}):
            found = measure(str(build / "tapbox"), evidence, threads, octets)
            found["of_openssl"] = round(found["megabytes_per_cpu_second"] * 1e6 / speed, 3)
            results.append(found)
        hash_cpu = octets / options.segments / speed
        print(json.dumps({"bench": "verify", "octets": octets, "segments": options.segments, "processors": os.cpu_count(),
                          "openssl_megabytes_per_second": round(speed / 1e6, 1), "verify": results,
                          "second_pass": {"compress_cpu_seconds": round(encode_cpu, 3),
                                          "hash_cpu_seconds": round(hash_cpu, 3),
                                          "share": round(hash_cpu / encode_cpu, 3)}}, indent=1))


if __name__ == "__main__":
    main()
