#!/usr/bin/python3
"""make chaos: SIGKILL of the shipped programs at every crash point, and nothing may be left.

usage: tests/chaos/chaos.py [--runs N] [--seed N] [--jobs N] [--only RUN] [--build DIR] [--mode MODE] [--grace SECONDS]

Runs are numbered SEED*1000000 + 0, 1, 2, ...: the number is printed where one fails, and --only NUMBER repeats it.
Writes DIR/chaos/result.json, and DIR/chaos/failed/NUMBER/ for each run that failed (or was the only one).
"""
import argparse
import collections
import json
import multiprocessing
import os
import queue
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)
import host  # noqa: E402
import life  # noqa: E402
import sqs  # noqa: E402
import verdict  # noqa: E402
import world  # noqa: E402

SCRATCH = "/run/chaos"  # the lab's own /run, in memory: SIGKILL asks nothing of a disk


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=0, help="hosts side by side; default 16 for each processor: runs mostly wait")
    parser.add_argument("--only", type=int, help="one run, by its number")
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--mode", default="release")
    parser.add_argument("--grace", type=float, default=30, help="seconds after an expiry")
    parser.add_argument("--extra", type=int, default=4, help="more runs for each point that was not come by")
    return parser.parse_args()


def prepare(args, out):
    """S3 and tokens."""
    host.run("ip", "addr", "add", world.S3.split(":")[0] + "/32", "dev", "lo")
    env = {**os.environ, "LAB_ACCESS_KEY": world.KEY, "LAB_SECRET_KEY": world.SECRET}
    host.run(os.path.join(ROOT, "tests/lab/radosgw.sh"), "start", SCRATCH + "/s3", "--listen", world.S3, "--bucket",
             world.BUCKET, env=env)
    host.run("curl", "-sf", "-X", "PUT", "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD", "-H", "x-amz-bucket-object-lock-enabled: true",
             "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", f"{world.KEY}:{world.SECRET}", f"http://{world.S3}/{world.LOCKED}")
    context = {"out": out, "grace_s": args.grace, "keep": args.only is not None, "tokens_file": SCRATCH + "/tokens", "tokens": {},
               "set_clock": host.build_clock(SCRATCH)}
    for role in ("alert", "analyst"):
        context["tokens"][role] = host.run(out + "/tapbox", "token", "add", role, "--role", role, "--file",
                                           context["tokens_file"]).stdout.strip()
    return context


def work(names, points, context, seeds, results, failed):
    """A worker: one host after the other in one namespace."""
    host.end_with_us()
    host.build_wires(names)
    while True:
        seed = seeds.get()
        if seed is None:
            return
        folder = f"{SCRATCH}/{seed}"
        result = life.live(seed, points, context, names, folder)
        if context["keep"] or any(result[kind] for kind in verdict.KINDS):
            shutil.rmtree(os.path.join(failed, str(seed)), ignore_errors=True)
            shutil.copytree(folder, os.path.join(failed, str(seed)), ignore=shutil.ignore_patterns("*.sock"))
        shutil.rmtree(folder, ignore_errors=True)
        results.put(result)


class Tally:
    def __init__(self, points):
        self.points, self.covered = {f"{act}:{side}" for act, side in points}, {}
        self.count = {kind: 0 for kind in verdict.KINDS}
        self.runs = self.captures = self.sessions = self.acks = 0
        self.lag_s, self.lag_of, self.began = 0.0, 0, time.monotonic()

    def add(self, result):
        self.runs += 1
        for word in ("captures", "sessions", "acks"):
            setattr(self, word, getattr(self, word) + result[word])
        for point in result["covered"]:
            self.covered[point] = self.covered.get(point, 0) + 1
        for kind in verdict.KINDS:
            self.count[kind] += len(result[kind])
            for sentence in result[kind]:
                print(f"\rrun {result['seed']}: {kind}: {sentence}", flush=True)
        if result["lag_s"] > self.lag_s:
            self.lag_s, self.lag_of = result["lag_s"], result["seed"]

    def missing(self):
        return sorted(self.points - self.covered.keys())

    def line(self, of):
        seconds = time.monotonic() - self.began
        return (f"{self.runs}/{of} runs, {self.runs / max(seconds, 0.1):.2f} a second, "
                f"{len(self.points) - len(self.missing())}/{len(self.points)} points, {self.captures} captures, "
                f"{self.sessions} sessions, lag {self.lag_s:.1f} s, "
                + ", ".join(f"{kind} {self.count[kind]}" for kind in verdict.KINDS))

    def result(self, seed):
        return {"runs": self.runs, "crash_points_covered": len(self.points) - len(self.missing()),
                "crash_points_total": len(self.points), "leaks": self.count["leaks"],
                "duplicates": self.count["duplicates"], "stuck": self.count["stuck"],
                "lost_alerts": self.count["lost_alerts"], "other": self.count["other"],
                "seconds": round(time.monotonic() - self.began, 1), "max_teardown_lag_s": self.lag_s,
                "max_teardown_lag_run": self.lag_of, "seed": seed,
                "captures": self.captures, "sessions": self.sessions, "acknowledged": self.acks,
                "crash_points_missing": self.missing(), "kills_by_point": dict(sorted(self.covered.items()))}


class Course:
    """Which runs are under way, and which comes next: those asked for, then more for each point that none came by."""

    def __init__(self, numbers, points, more_from=0, extra=0):
        self.numbers, self.points = collections.deque(numbers), points
        self.more_from, self.extra = more_from, extra
        self.tried = collections.Counter()
        self.going = {}  # number of a run -> the point that it is drawn for

    def next(self, missing):
        """Its number, None when there is nothing to do at present."""
        number = self.numbers.popleft() if self.numbers else None
        aimed = set(self.going.values())
        for k, (act, side) in enumerate(self.points):
            if number is None and f"{act}:{side}" in missing - aimed and self.tried[k] < self.extra:
                number = self.more_from + self.tried[k] * len(self.points) + (k - self.more_from) % len(self.points)
                self.tried[k] += 1
        if number is not None:
            self.going[number] = ":".join(self.points[number % len(self.points)])
        return number

    def left(self):
        return len(self.numbers) + len(self.going)


def gather(tally, seeds, results, course, jobs):
    """Hands out the runs and takes in what becomes of them."""
    shown = 0.0
    while True:
        while len(course.going) < jobs:
            number = course.next(set(tally.missing()))
            if number is None:
                break
            seeds.put(number)
        if not course.going:
            return True
        try:
            result = results.get(timeout=300)
        except queue.Empty:
            print("\nno run has ended for 300 s; under way: " + ", ".join(map(str, course.going)), flush=True)
            return False
        del course.going[result["seed"]]
        tally.add(result)
        line = tally.line(tally.runs + course.left())
        if sys.stdout.isatty():
            print("\r" + line, end="", flush=True)
        elif time.monotonic() - shown > 15 or not course.left():
            shown = time.monotonic()
            print(line, flush=True)


def main():
    args = arguments()
    if "LAB_INSIDE" not in os.environ:
        sqs.fetch(ROOT)
        enter = os.path.join(ROOT, "tests/lab/enter")
        os.execv(enter, [enter, sys.executable, *sys.argv])
    out = os.path.join(os.path.abspath(args.build), args.mode)
    folder = os.path.join(os.path.abspath(args.build), "chaos")
    failed = os.path.join(folder, "failed")
    shutil.rmtree(failed, ignore_errors=True)
    os.makedirs(failed)
    os.makedirs(SCRATCH)
    points = world.crash_points(ROOT)
    if sqs.is_there(ROOT):
        sqs.start(ROOT, SCRATCH)
    else:
        print("no run takes alerts from a queue: npm cannot install the SQS server", flush=True)
        points = [point for point in points if point[0] not in sqs.ACTS]
    jobs = min(args.jobs or 16 * len(os.sched_getaffinity(0)), 100)
    if args.only is not None:
        jobs = 1
    context = prepare(args, out)
    seeds, results = multiprocessing.Queue(), multiprocessing.Queue()
    workers = [multiprocessing.Process(target=work, args=(world.Names(k), points, context, seeds, results, failed))
               for k in range(1, jobs + 1)]
    for worker in workers:
        worker.start()
    tally = Tally(points)
    base = args.seed * 1000000
    if args.only is not None:
        course = Course([args.only], points)
    else:
        course = Course(range(base, base + args.runs), points, base + life.SURE, args.extra if args.runs >= len(points) else 0)
    good = gather(tally, seeds, results, course, jobs)
    if args.only is not None:
        print(json.dumps(life.draw(args.only, points), indent=1))
    for worker in workers:
        seeds.put(None)
        if course.going:  # hangs: not waited for
            worker.terminate()
    result = tally.result(args.seed)
    short = {key: value for key, value in result.items() if not key.startswith(("kills", "crash_points_m"))}
    print(("\n" if sys.stdout.isatty() else "") + json.dumps(short))
    if args.only is None:
        with open(os.path.join(folder, "result.json"), "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
            file.write("\n")
        if tally.missing():
            print("no run was killed at " + ", ".join(tally.missing()))
        if args.runs >= len(points) and tally.missing():
            good = False
    subprocess.run([os.path.join(ROOT, "tests/lab/radosgw.sh"), "stop", SCRATCH + "/s3"], check=False)
    sys.exit(0 if good and not any(tally.count.values()) else 1)


if __name__ == "__main__":
    main()
