#!/usr/bin/python3
"""One moment out of a large capture in S3: tapbox fetch beside "download everything, then filter".

usage: tests/bench/fetch.py [--build DIR] [--megabytes 2048] [--segments 16] [--dir DIR]
In the lab, with radosgw; prints one JSON object; octets are those that the S3 server's own log says it sent.
Both ways end with the same packets, or it fails.
"""
import argparse
import hashlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from recorder import ROOT, inside_the_lab  # noqa: E402

LISTEN = "127.0.0.1:7680"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIABENCHFETCH000001", "AWS_SECRET_ACCESS_KEY": "only-for-this-measurement"}
ENVIRONMENT = {**{k: v for k, v in os.environ.items() if not k.startswith("AWS_")}, **KEYS, "AWS_REGION": "eu-central-1",
               "AWS_DEFAULT_REGION": "eu-central-1", "AWS_ENDPOINT_URL_S3": f"http://{LISTEN}", "LAB_ACCESS_KEY":
               KEYS["AWS_ACCESS_KEY_ID"], "LAB_SECRET_KEY": KEYS["AWS_SECRET_ACCESS_KEY"]}


def run(*command):
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{command[0]}: status {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout


def cpu_s():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Server:
    """radosgw, and what it says it sent."""

    def __init__(self, folder):
        self.folder = os.path.join(folder, "radosgw")
        run(f"{ROOT}/tests/lab/radosgw.sh", "start", self.folder, "--listen", LISTEN, "--bucket", "bench")

    def log(self):
        with open(f"{self.folder}/log/client.rgw.lab.log", encoding="utf-8", errors="replace") as file:
            return re.findall(r'"GET [^"]*" 20[06] (\d+) ', file.read())

    def measure(self, way):
        before, began, cpu = len(self.log()), time.monotonic(), cpu_s()
        way()
        seconds, cpu = time.monotonic() - began, cpu_s() - cpu
        time.sleep(1)  # its log is a moment behind
        sent = self.log()[before:]
        return {"seconds": round(seconds, 2), "cpu_s": round(cpu, 2), "requests": len(sent), "bytes": sum(map(int, sent))}

    def stop(self):
        run(f"{ROOT}/tests/lab/radosgw.sh", "stop", self.folder)


def packets(path):
    """Digest and number of a file's packets, whoever wrote it."""
    fields = run("tshark", "-n", "-r", path, "-T", "fields", "-e", "frame.time_epoch", "-e", "frame.len").splitlines()
    return len(fields), hashlib.sha256("\n".join(sorted(fields)).encode()).hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=f"{ROOT}/build")
    parser.add_argument("--megabytes", type=int, default=2048)
    parser.add_argument("--segments", type=int, default=16)
    parser.add_argument("--dir", help="where there is room for three times as much (a temporary folder)")
    options = parser.parse_args()
    inside_the_lab()
    programs = f"{options.build}/release"
    folder = tempfile.mkdtemp(prefix="tapbox-bench-", dir=options.dir)
    server = None
    try:
        server = Server(folder)
        local = f"{folder}/whole/segments"
        os.makedirs(local)
        for i in range(options.segments):
            path = f"{local}/made-{i % 4}-{i // 4 + 1:06d}.pcapng.zst"
            run(f"{programs}/bench/segment_maker", path, str(options.megabytes // options.segments), "1", str(i + 1))
            run("/usr/bin/aws", "--endpoint-url", f"http://{LISTEN}", "s3", "mv", "--only-show-errors", path,
                f"s3://bench/whole/segments/{os.path.basename(path)}")
        # A hundredth of the time that a segment lasts.
        first = "s3://bench/whole/segments/made-0-000001.pcapng.zst"
        run("/usr/bin/aws", "--endpoint-url", f"http://{LISTEN}", "s3", "cp", "--only-show-errors", first, f"{folder}/one.zst")
        times = run("tshark", "-n", "-r", f"{folder}/one.zst", "-T", "fields", "-e", "frame.time_epoch").split()
        begin, length = float(times[0]), float(times[-1]) - float(times[0])
        # (whole microseconds, so that both ways mean the same)
        since, until = (round((begin + length * part) * 10**6) for part in (0.5, 0.51))

        def stamp(microseconds):
            whole, part = divmod(microseconds, 10**6)
            return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{part:06d}Z"

        def epoch(microseconds):
            return "%d.%06d" % divmod(microseconds, 10**6)

        did = {}

        def with_tapbox():
            did.update(json.loads(run(f"{programs}/tapbox", "fetch", "s3://bench/whole", "--since", stamp(since), "--until",
                                      stamp(until), "-o", f"{folder}/tapbox.pcapng", "--json")))

        def with_everything():
            run("/usr/bin/aws", "--endpoint-url", f"http://{LISTEN}", "s3", "cp", "--recursive", "--only-show-errors",
                "s3://bench/whole", f"{folder}/all")
            for name in sorted(os.listdir(f"{folder}/all/segments")):
                run("tshark", "-n", "-r", f"{folder}/all/segments/{name}", "-Y",
                    f"frame.time_epoch >= {epoch(since)} && frame.time_epoch < {epoch(until)}", "-w", f"{folder}/part-{name}.pcapng")
            run("sh", "-c", f"mergecap -w {folder}/everything.pcapng {folder}/part-*.pcapng")

        tapbox, everything = server.measure(with_tapbox), server.measure(with_everything)
        same = packets(f"{folder}/tapbox.pcapng") == packets(f"{folder}/everything.pcapng")
        print(json.dumps({"bench": "fetch", "capture_bytes": did["bytes"], "segments": did["segments"], "packets": did["packets"],
                          "same_packets": same, "tapbox": tapbox, "download_and_filter": everything,
                          "share_read": round(tapbox["bytes"] / did["bytes"], 4)}))
        sys.exit(0 if same and did["packets"] > 0 else 1)
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


main()
