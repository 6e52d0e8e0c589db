#!/usr/bin/python3
"""How fast alerts are acknowledged: an open-loop storm of findings against the shipped service.

usage: tests/bench/intake.py [--build DIR] [--mode release] [--rate 2000] [--seconds 10] [--rates 500,1000,...] [--state DIR]

In the lab: awsim, and `tapbox serve --with-recorder` with its store on a real disk.  Findings are posted at fixed times over
connections that are kept open, and each is waited for from its time on until it is acknowledged, which is when it is durably
committed.  Of ten, seven are new findings about instances that are being captured (they join), one is a new finding of low
severity (kept, and ignored), and two were delivered before.  Prints one JSON object: the latencies at the rate, those of a
sweep over other rates, and the highest of these at which 99 of 100 take no more than 20 ms.

What a figure has to be judged by stands beside it: `steal_percent`, what the host took of the processors' time in the run, and
`flush_p99_ms`, of flushing 4 KiB alone on the same disk, before the run and after it.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../support"), os.path.join(HERE, "../chaos")]
import host  # noqa: E402
import world  # noqa: E402
from recorder import ROOT, inside_the_lab, run, wait_until  # noqa: E402

GOAL_MS = 20
CAPTURED = 8  # instances
FLUSHES = 400


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--mode", default="release")
    parser.add_argument("--rate", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rates", default="1000,3000,4000,6000,8000", help="of the sweep, which ends after two that are too much; '': none")
    parser.add_argument("--sweep-seconds", type=float, default=3)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--state", help="folder on the disk to be measured (default: in DIR)")
    return parser.parse_args()


def cpu_seconds(pid):
    """Of a process and its threads, in user and kernel."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine_ticks():
    """Of all processors: in all, and taken by the host."""
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
    return sum(ticks), ticks[7]


def flush_p99_ms(folder):
    """Of what a commit cannot do without."""
    took = []
    with open(folder + "/flushed", "wb", buffering=0) as file:
        for _ in range(FLUSHES):
            file.write(b"x" * 4096)
            began = time.monotonic()
            os.fdatasync(file.fileno())
            took.append(time.monotonic() - began)
    return round(sorted(took)[FLUSHES * 99 // 100] * 1000, 2)


def write_bodies(path, count, rng):
    """The storm, a finding a line."""
    sent = []
    with open(path, "w", encoding="utf-8") as file:
        for n in range(count):
            kind = n % 10
            if kind < 8 or not sent:
                body = world.finding(rng, 1 + rng.randrange(CAPTURED), severity=2 if kind == 7 else 8)
                sent.append(body)
            else:
                body = sent[rng.randrange(len(sent))]
            file.write(body + "\n")


class Storm:
    def __init__(self, args, out, folder):
        self.args, self.out, self.folder = args, out, folder
        self.names = world.Names(1)
        host.build_wires(self.names)
        self.token = run(out + "/tapbox", "token", "add", "a", "--role", "alert", "--file", folder + "/tokens").stdout.strip()
        self.rng = world.dice("storm")

    def at(self, rate, seconds):
        """One rate against a service of its own: what intake_load says."""
        folder = f"{self.folder}/{rate}"
        os.makedirs(folder)
        awsim = host.Awsim(self.out, self.names, folder)
        service = host.Service(self.out, self.names, folder, "bench", self.folder + "/tokens", duration="10m",
                               max_duration="1h")
        try:
            write_bodies(folder + "/bodies", max(int(rate * seconds), 1000), self.rng)
            service.start()
            wait_until("the service", service.ready, 30)
            for n in range(CAPTURED):
                service.call("POST", "/v1/events", world.finding(self.rng, 1 + n), self.token)
            wait_until("the captures", lambda: [c["state"] for c in service.captures().values()] == ["recording"] * CAPTURED, 30)
            flush_before = flush_p99_ms(folder)
            before, ticks = cpu_seconds(service.process.pid), machine_ticks()
            done = subprocess.run([self.out + "/bench/intake_load", "--address", self.names.address, "--port", "8480", "--token",
                                   self.token, "--rate", str(rate), "--connections", str(self.args.connections),
                                   folder + "/bodies"], capture_output=True, text=True, check=False)
            if done.returncode not in (0, 1):
                raise RuntimeError(done.stderr)
            result = json.loads(done.stdout)
            in_all, stolen = (now - then for now, then in zip(machine_ticks(), ticks))
            return {**result, "service_cpu_us": round((cpu_seconds(service.process.pid) - before) * 1e6 / result["requests"]),
                    "steal_percent": round(100 * stolen / max(in_all, 1), 1), "flush_p99_ms": [flush_before, flush_p99_ms(folder)]}
        finally:
            service.end(host.signal.SIGKILL)
            awsim.stop()
            shutil.rmtree(folder, ignore_errors=True)


def is_kept_up(result):
    return result["p99_ms"] <= GOAL_MS and result["2xx"] == result["requests"]


def main():
    args = arguments()
    inside_the_lab()
    out = os.path.join(os.path.abspath(args.build), args.mode)
    state = args.state or os.path.join(os.path.abspath(args.build), "bench")
    os.makedirs(state, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=state, prefix="intake-") as folder:
        storm = Storm(args, out, folder)
        first = storm.at(args.rate, args.seconds)
        sweep = []
        for rate in args.rates.split(","):
            if rate and (len(sweep) < 2 or any(is_kept_up(one) for one in sweep[-2:])):
                sweep.append(storm.at(int(rate), args.sweep_seconds))
    kept_up = [r["rate"] for r in [first, *sweep] if is_kept_up(r)]
    print(json.dumps({"goal_p99_ms": GOAL_MS, **first, "limit_per_s": max(kept_up, default=0), "sweep": sweep}))


if __name__ == "__main__":
    main()
