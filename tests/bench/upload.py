#!/usr/bin/python3
"""Upload: tapbox's uploader and `aws s3 cp`, the same segments, the same S3, one after the other, each first in turn.

usage: tests/bench/upload.py [--build DIR] [--megabytes N] [--segments N] [--threads N] [--rounds N] [--dir DIR]

S3 is the lab's radosgw on loopback, in memory, so this is what the clients cost, not a network.  tapbox's time has its
look at each segment in it (index, SHA-256); the CLI's (default settings) the start of its interpreter.  Prints one
JSON object: bytes, and for each side the best of the rounds in seconds, CPU seconds, and MB/s.
"""
import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LISTEN = "127.0.0.1:7480"
KEY, SECRET = "AKIABENCHTAPBOX00001", "bench/not-a-secret"


def cpu():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def timed(command, env):
    """Wall seconds by the clock or, if the program prints them, its own; CPU seconds."""
    before, begun = cpu(), os.times().elapsed
    done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
    wall = os.times().elapsed - begun
    return (float(done.stdout) if done.stdout.strip() else wall), cpu() - before


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--megabytes", type=int, default=128, help="of each segment")
    parser.add_argument("--segments", type=int, default=8)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--dir", default="/dev/shm", help="for segments and S3, twice as large as those")
    options = parser.parse_args()
    programs = [os.path.join(options.build, "release/bench", name) for name in ("upload_driver", "segment_maker")]
    subprocess.run(["make", "-s", "-C", ROOT, "MODE=release", f"BUILD={options.build}", *programs], check=True,
                   stdout=sys.stderr)
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    env.update(AWS_ENDPOINT_URL_S3=f"http://{LISTEN}", AWS_REGION="us-east-1", AWS_DEFAULT_REGION="us-east-1",
               AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=SECRET, AWS_CONFIG_FILE="/dev/null",
               AWS_SHARED_CREDENTIALS_FILE="/dev/null", AWS_EC2_METADATA_DISABLED="true", LAB_ACCESS_KEY=KEY,
               LAB_SECRET_KEY=SECRET)
    radosgw = os.path.join(ROOT, "tests/lab/radosgw.sh")
    with tempfile.TemporaryDirectory(dir=options.dir) as work:
        server = os.path.join(work, "s3")
        segments = os.path.join(work, "segments")
        os.mkdir(segments)
        for i in range(options.segments):
            subprocess.run([programs[1], os.path.join(segments, f"{i}.zst"), str(options.megabytes), "1", str(i)],
                           check=True, stdout=subprocess.DEVNULL)
        files = sorted(os.path.join(segments, name) for name in os.listdir(segments))
        best = {}
        for number in range(options.rounds):
            for side in ("tapbox", "aws_cli") if number % 2 == 0 else ("aws_cli", "tapbox"):
                subprocess.run([radosgw, "start", server, "--listen", LISTEN, "--bucket", "bench"], env=env, check=True,
                               stdout=subprocess.DEVNULL)
                state = os.path.join(work, "state")
                shutil.rmtree(state, ignore_errors=True)
                if side == "tapbox":
                    command = [programs[0], state, "bench", str(options.threads), *files]
                else:
                    command = ["/usr/bin/aws", "--endpoint-url", f"http://{LISTEN}", "s3", "cp", "--recursive",
                               "--only-show-errors", segments, "s3://bench/cli"]
                got = timed(command, env)
                best[side] = min(best.get(side, got), got)
                subprocess.run([radosgw, "stop", server], env=env, check=True)
        size = sum(os.path.getsize(file) for file in files)
    print(json.dumps({"bytes": size, "segments": options.segments, "threads": options.threads, **{
        side: {"seconds": round(wall, 3), "cpu_seconds": round(used, 3), "mb_per_s": round(size / wall / 1e6, 1)}
        for side, (wall, used) in best.items()}}))


if __name__ == "__main__":
    if "LAB_INSIDE" not in os.environ:
        ENTER = os.path.join(ROOT, "tests/lab/enter")
        os.execv(ENTER, [ENTER, sys.executable, *sys.argv])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    main()
