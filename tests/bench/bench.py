#!/usr/bin/python3
"""make bench: tapbox beside what people use instead, in one run on one machine.

usage: tests/bench/bench.py [--build DIR] [--seconds N] [--rows ROW,ROW...]
rows: cpu rate offline memory evidence programs (default: all)
Prints a table of goals and what was reached; writes DIR/bench/result.json (after each row, too) and DIR/bench/result.png.
Times are no test: it fails only when something cannot be measured at all, and then goes on with what can.
"""
import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rig as rigs  # noqa: E402
from rig import recorder  # noqa: E402

# packets a second: what each peer takes on one core of an ordinary machine without loss
PROFILES = {"imix": 80000, "large": 40000, "small": 150000, "tls": 40000}
LABELS = {"imix": "IMIX", "large": "1400 mix", "small": "66 octets", "tls": "TLS-like"}
ROWS = ["cpu", "rate", "offline", "memory", "evidence", "programs"]
# Programs of this folder that print one JSON object: what they measure, with what arguments ({memory} and {disk}: folders
# that are removed afterwards), how their figures are told, and (None: no goal here) whether they are good.
PROGRAMS = {
    "arming.py": ("alert acknowledged -> mirror session, EC2 100 ms away", ["--runs", "10"],
                  lambda o: f"{o['median_ms']:.0f} ms, {o['round_trips']} round trips",
                  lambda o: (f"<= {o['goal_ms']} ms", o["median_ms"] <= o["goal_ms"])),
    "intake.py": ("p99 of acknowledging alerts, 2,000/s",
                  ["--seconds", "5", "--rates", "1000,3000,4000,6000", "--sweep-seconds", "3", "--state", "{disk}"],
                  lambda o: f"{o['p99_ms']:.1f} ms; up to {o['limit_per_s']}/s",
                  lambda o: (f"<= {o['goal_p99_ms']} ms", o["p99_ms"] <= o["goal_p99_ms"])),
    "upload.py": ("upload beside aws s3 cp", ["--segments", "4", "--dir", "{memory}"],
                  lambda o: ", ".join(f"{side} {o[side]['mb_per_s']:.0f} MB/s, {o[side]['cpu_seconds']:.1f} s of CPU"
                                      for side in o if isinstance(o[side], dict)), None),
    "fetch.py": ("fetch of one flow beside downloading everything", ["--megabytes", "1024", "--dir", "{disk}"],
                 lambda o: f"{o['share_read']:.1%} of the octets read", lambda o: ("<= 5 %", o["share_read"] <= 0.05)),
    "verify.py": ("verify beside openssl speed", ["--segments", "4", "--dir", "{memory}"],
                  lambda o: f"openssl {o['openssl_megabytes_per_second']:.0f} MB/s, " + ", ".join(
                      f"{one['threads']} threads {one['megabytes_per_second']:.0f} MB/s" for one in o["verify"]), None),
}
RATE_PROFILES = ["imix", "small"]
RATE_START, RATE_LIMIT = 200000, 3200000  # packets a second
RATE_STEPS = 4  # from the first rate that is too much on, which is one of them
RATE_SECONDS = 3  # of each run
OTHERS_MAX = 0.2  # of the machine's CPU: above, its figures say more of others than of us
MANY = 100  # captures at once
PROGRAM_MAX_S = 240  # four times what one needs on a quiet machine
ROOM = "/dev/shm"  # files are written to memory: the disk is not what is measured


def say(text):
    print(text, file=sys.stderr, flush=True)


def ratio(a, b):
    return a / b if b else None


class Bench:
    def __init__(self, build, seconds):
        self.out, self.seconds = os.path.join(build, "release"), seconds
        self.folder = tempfile.mkdtemp(prefix="tapbox-bench-", dir=ROOM if os.path.isdir(ROOM) else None)
        self.disk = os.path.join(build, "bench")
        self.rig = None
        self.others = 0  # the most that others took of the CPU
        self.table, self.failed = [], False
        self.result = {"machine": machine(), "seconds": seconds, "table": self.table}

    def row(self, figure, reached, goal="", good=None):
        self.table.append({"figure": figure, "reached": reached, "goal": goal, "good": good})
        mark = "" if good is None else "  reached" if good else "  MISSED"
        say(f"  {figure}: {reached}{f' (goal {goal})' if goal else ''}{mark}")

    def attempt(self, figure, measure, *arguments):
        """What it gives; None when it cannot be measured: that loses no other figure."""
        try:
            return measure(*arguments)
        except Exception as problem:  # pylint: disable=broad-exception-caught
            self.failed = True
            self.row(figure, f"not measured: {type(problem).__name__}: {problem}")
            return None

    def save(self):
        with open(os.path.join(self.disk, "result.json"), "w", encoding="utf-8") as file:
            json.dump(self.result, file, indent=1)

    def live(self, system, profile, rate, seconds, vnis=1):
        """One run: what was sent, what was recorded, what it cost."""
        folder = tempfile.mkdtemp(dir=self.folder)
        try:
            if system is not None:
                system.begin(folder)
            meter = rigs.Meter(system.pids() if system is not None else ())
            self.rig.generator_s = 0.0
            packets, octets, took = self.rig.send(profile, rate, seconds, vnis=vnis)
            got = system.end(packets) if system is not None else {}
            used = meter.stop()
            used["processes_s"] += got.get("hash_s", 0)  # (by this process)
            return {"sent": packets, "octets": octets, "rate": packets / took, "took": took,
                    "generator_s": self.rig.generator_s, **got, **used}
        except BaseException:
            self.rig.clear_away(system)
            raise
        finally:
            shutil.rmtree(folder)

    # --- CPU of each packet ---

    def cpu(self):
        self.result["cpu"] = {}
        for profile in PROFILES:
            self.attempt(f"CPU a packet, {LABELS[profile]}", self.cpu_of, profile)

    def cpu_of(self, profile):
        rate, found = PROFILES[profile], {}
        say(f"CPU of each packet, {LABELS[profile]}, {rate} packets/s")
        if not self.rig.drop_behind_tap(True):
            raise RuntimeError("nft refuses the drop rule")
        alone = [self.live(None, profile, rate, self.seconds) for _ in range(2)]
        self.rig.drop_behind_tap(False)
        base = {key: min(ratio(run[key], run["sent"]) for run in alone) for key in ("machine_s", "processes_s")}
        systems = [rigs.Tapbox(self.rig), rigs.Tapbox(self.rig, drop_rule=True)] + [p(self.rig) for p in rigs.PEERS]
        self.result["cpu"][profile] = found
        for system in systems:
            run = self.attempt(f"CPU a packet, {LABELS[profile]}, {system.name}", self.cpu_of_system, system, profile, rate, base)
            if run is not None:
                found[system.name] = run
                say(f"  {system.name:24} {run['processes_ns']:7.0f} ns ({run['own_ns']:.0f} in its own name), "
                    f"{run['machine_ns']:7.0f} by the whole machine ({run['others']:.0%} others), ratio {run['ratio']:.3f}, "
                    f"lost {run['lost']}")
        self.judge_cpu(profile, found)

    def cpu_of_system(self, system, profile, rate, base):
        # (the row with a goal twice: what else the machine does can only add to a figure)
        tries = [self.live(system, profile, rate, self.seconds) for _ in range(2 if profile == "imix" else 1)]
        run = min(tries, key=lambda one: one["processes_s"])
        run["machine_s"] = min(one["machine_s"] for one in tries)
        run["machine_ns"] = 1e9 * (ratio(run["machine_s"], run["sent"]) - base["machine_s"])
        run["processes_ns"] = 1e9 * (ratio(run["processes_s"], run["sent"]) - base["processes_s"])
        # of that, without what the kernel does in the sender's name: unwrapping, taps, sockets
        run["own_ns"] = 1e9 * ratio(run["processes_s"] - run["generator_s"], run["sent"])
        run["others"] = max(0.0, 1 - ratio(run["processes_s"], run["machine_s"]))
        run["lost"] = max(0, run["sent"] - run["packets"])
        run["ratio"] = ratio(run["octets"] * (1 - run["lost"] / run["sent"]), run["bytes"])
        return run

    def judge_cpu(self, profile, runs):
        """Side by side; the goal is for IMIX.  Where others keep the machine busy, the whole machine tells nothing."""
        peers = {peer.name: runs[peer.name] for peer in rigs.PEERS if peer.name in runs}
        judged = profile == "imix"
        if "tapbox" not in runs or not peers:
            return  # (why, was told)
        for key, how in (("machine_ns", "whole machine"), ("processes_ns", "processes and kernel"),
                         ("own_ns", "processes alone")):
            best = min(peers.values(), key=lambda run: run[key])
            for name in [name for name in runs if name not in peers]:
                others = max(run["others"] for run in runs.values())
                figure = f"CPU a packet, {LABELS[profile]}, {name}, {how}"
                if key == "machine_ns" and others > OTHERS_MAX:
                    self.row(figure, f"not measured: others took {others:.0%} of the CPU", "<= 0.5" if judged else "")
                    continue
                share = ratio(runs[name][key], best[key])
                self.row(figure, f"{runs[name][key]:.0f} ns, {share:.2f} x best peer", "<= 0.5" if judged else "",
                         share <= 0.5 if judged else None)
        size = max(run["ratio"] for run in peers.values())
        share = ratio(runs["tapbox"]["ratio"], size)
        self.row(f"compression, {LABELS[profile]}", f"{runs['tapbox']['ratio']:.3f}, best peer {size:.3f}", ">= 0.99 x",
                 share >= 0.99)

    # --- the highest rate without loss ---

    def holds(self, make, profile, rate):
        """Whether everything was kept, at what rate, and whether its core had the time for all of it: some compress or hash
        when the run is over.  (A loss counts when it happens twice: others' work makes losses, too.)"""
        for _ in range(2):
            run = self.live(make(self.rig), profile, rate, min(self.seconds, RATE_SECONDS))
            self.others = max(self.others, 1 - ratio(run["processes_s"], run["machine_s"]))
            lost = run["sent"] - run["packets"]
            busy = ratio(run["processes_s"] - run["generator_s"], run["took"])
            say(f"  {make.name:24} {run['rate']:8.0f} packets/s: {'lost %d' % lost if lost > 0 else 'kept'}, "
                f"{busy:.0%} of its core")
            if lost <= 0 or busy > 1:
                break
        return lost <= 0, busy <= 1, run["rate"]

    def highest(self, make, profile):
        """The highest rate that is kept for good, whether no higher one could be made, and the highest that is kept for the
        time of a run, if it is seen on the way."""
        good, bad, rate, steps, seen = 0, None, RATE_START, 0, 0
        while steps < RATE_STEPS and rate <= RATE_LIMIT:
            kept, in_time, real = self.holds(make, profile, rate)
            seen = max(seen, real if kept else 0)
            if kept and in_time and real < 0.9 * rate:
                return {"packets_s": real, "generator_is_the_limit": True, "for_a_run_packets_s": seen}
            good, bad = (real, bad) if kept and in_time else (good, min(rate, real))
            rate, steps = (rate * 2, 0) if bad is None else ((good + bad) / 2, steps + 1)
        return {"packets_s": good, "generator_is_the_limit": bad is None, "for_a_run_packets_s": seen}

    def rate(self):
        self.result["rate"] = {}
        for profile in RATE_PROFILES:
            self.attempt(f"highest rate without loss, {LABELS[profile]}", self.rate_of, profile)

    def rate_of(self, profile):
        say(f"the highest rate without loss, {LABELS[profile]}, one core")
        runs = self.result["rate"][profile] = {}
        self.others = 0
        for make in (rigs.Tapbox, *rigs.PEERS):
            one = self.attempt(f"highest rate without loss, {LABELS[profile]}, {make.name}", self.highest, make, profile)
            if one is not None:
                runs[make.name] = one
        if "tapbox" in runs and len(runs) > 1:
            self.judge_rate(profile, runs)

    def judge_rate(self, profile, runs):
        figure, goal = f"highest rate without loss, {LABELS[profile]}", ">= 1.5 x best peer" if profile == "imix" else ""
        best = max((runs[name] for name in runs if name != "tapbox"), key=lambda one: one["packets_s"])
        mine = runs["tapbox"]
        if self.others > OTHERS_MAX:
            self.row(figure, f"not measured: others took {self.others:.0%} of the CPU", goal)
        elif best["generator_is_the_limit"]:
            self.row(figure, f"not measured: the generator sends {best['packets_s']:.0f} packets/s at the most here, which a "
                     "peer keeps", goal)
        else:
            share = ratio(mine["packets_s"], best["packets_s"])
            good = True if share >= 1.5 else None if mine["generator_is_the_limit"] else False
            self.row(figure, f"{'>= ' if mine['generator_is_the_limit'] else ''}{mine['packets_s']:.0f} packets/s, {share:.2f} "
                     "x best peer", goal, good if goal else None)

    # --- the pipeline alone ---

    def replayed(self, capture):
        """One replay on one core: CPU seconds, with the SHA-256 of its files (by OpenSSL, as serve takes it)."""
        out = os.path.join(self.folder, "replayed")
        shutil.rmtree(out, ignore_errors=True)
        meter = rigs.Meter()
        done = recorder.run(*rigs.pinned(rigs.RECORDER_CORE, recorder.TAPBOX, "record", "--replay", capture, "--out", out,
                                         "--level", "1", "--source", f"10.77.0.1,{rigs.VNI}", "--json"))
        cpu_s = meter.stop()["processes_s"]
        capture_id = json.loads(done.stdout)["capture"]
        files = [os.path.join(out, capture_id, name) for name in sorted(os.listdir(os.path.join(out, capture_id)))
                 if not name.startswith(".")]
        return cpu_s + rigs.hash_files(files), files

    def offline(self):
        found = self.result["offline"] = {}
        say("the pipeline over a file, one core")
        for profile, packets in (("large", 200000), ("small", 2000000)):
            capture = os.path.join(self.folder, "offline.pcap")
            recorder.run(self.rig.generator, "pcap", capture, profile, packets)
            plain = os.path.join(self.folder, "offline.pcapng")
            runs = [self.replayed(capture) for _ in range(5)]
            cpu_s, files = min(cpu_s for cpu_s, _ in runs), runs[-1][1]
            with open(plain, "wb") as file:
                for path in files:
                    subprocess.run(["zstd", "-q", "-dc", path], stdout=file, check=True)
            octets = os.path.getsize(plain)
            zstd_s = zstd_in_memory_s(self.out, plain)
            found[profile] = {"packets": packets, "plain": octets, "cpu_s": cpu_s, "packets_s": packets / cpu_s,
                              "MB_s": octets / cpu_s / 1e6, "zstd_MB_s": octets / zstd_s / 1e6,
                              "share": zstd_s / cpu_s, "bytes": sum(os.path.getsize(path) for path in files)}
            shutil.rmtree(os.path.join(self.folder, "replayed"))
            os.unlink(capture)
            os.unlink(plain)
        large, small = found["large"], found["small"]
        self.row("offline, 1400 mix", f"{large['MB_s']:.0f} MB/s, {large['share']:.2f} x zstd -b1 ({large['zstd_MB_s']:.0f})",
                 ">= 0.75", large["share"] >= 0.75)
        self.row("offline, 66 octets", f"{small['packets_s'] / 1e6:.2f} M packets/s", ">= 1.5 M",
                 small["packets_s"] >= 1.5e6)

    # --- memory ---

    def memory(self):
        found = self.result["memory"] = {}
        say(f"memory: idle, and {MANY} captures under load")
        folder = tempfile.mkdtemp(dir=self.folder)
        tap = recorder.Recorder(folder, rigs.INTERFACE, "--ring", f"{rigs.RING_MIB}MiB", "--level", "1")
        try:
            found["idle"] = anonymous_bytes(tap.process.pid)
            for i in range(MANY):
                tap.arm(capture=recorder.capture_id(i), sources=[("10.77.0.1", rigs.VNI + i)], rotate_s=60)
            sending = subprocess.Popen(self.rig.sending("imix", 100000, max(4, self.seconds), vnis=MANY),
                                       stdout=subprocess.DEVNULL)
            found["busy"] = 0
            while sending.poll() is None:
                found["busy"] = max(found["busy"], anonymous_bytes(tap.process.pid))
                time.sleep(0.2)
            found["host"] = tap.host()["ledger"]
        finally:
            tap.stop()
            shutil.rmtree(folder)
        found["ring"] = rigs.RING_MIB << 20
        mib = {key: found[key] / (1 << 20) for key in ("idle", "busy")}
        self.row("anonymous memory, idle", f"{mib['idle']:.1f} MiB", "<= 20 MiB", mib["idle"] <= 20)
        self.row(f"anonymous memory, {MANY} captures under load", f"{mib['busy']:.1f} MiB (and a ring of {rigs.RING_MIB})",
                 "<= 128 MiB", mib["busy"] <= 128)

    # --- what other programs here measure ---

    def evidence(self):
        """(the lab: awsim, radosgw, serve)"""
        say("first evidence in S3 after the first packet")
        found = self.result["evidence"] = one_object(self.out, "first_evidence.sh")
        self.row("first evidence in S3 after the first packet", f"{found['seconds']:.1f} s", "<= 10 s", found["seconds"] <= 10)

    def programs(self):
        self.result["programs"] = {}
        for program, (what, *how) in PROGRAMS.items():
            self.attempt(what, self.program, program, what, *how)

    def program(self, program, what, arguments, told, judged):
        say(what)
        with tempfile.TemporaryDirectory(dir=self.folder) as memory, tempfile.TemporaryDirectory(dir=self.disk) as disk:
            one = self.result["programs"][program] = one_object(self.out, program, "--build", os.path.dirname(self.out), *(
                argument.format(memory=memory, disk=disk) for argument in arguments))
        goal, good = judged(one) if judged else ("", None)
        self.row(what, told(one), goal, good)


def zstd_in_memory_s(out, path):
    """CPU seconds of zstd level 1 over a whole file in memory, as zstd -b1 does; the best of several."""
    done = recorder.run(*rigs.pinned(rigs.RECORDER_CORE, os.path.join(out, "bench/zstd_alone"), path, 5))
    return float(done.stdout.split()[0])


def anonymous_bytes(pid):
    """Private memory that is no file's: rings, which the kernel owns, are not in it."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        for line in file:
            if line.startswith("Anonymous:"):
                return int(line.split()[1]) * 1024
    return 0


def one_object(out, program, *arguments):
    """The JSON object that a program of this folder prints."""
    environment = {**os.environ, "TB_OUT": out, "MODE": "release"}
    del environment["LAB_INSIDE"]  # it makes a lab of its own
    done = subprocess.run([os.path.join(rigs.HERE, program), *arguments], stdout=subprocess.PIPE, env=environment,
                          timeout=PROGRAM_MAX_S, check=True, text=True)
    return json.loads(done.stdout)


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine())
    return {"cpu": model, "cores": os.cpu_count(), "kernel": platform.release(), "load": os.getloadavg()[0],
            "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def print_table(table):
    widths = [max(len(row[key]) for row in table) for key in ("figure", "goal", "reached")]
    print(f"\n{'figure':{widths[0]}}  {'goal':{widths[1]}}  reached")
    for row in table:
        mark = {None: " ", True: "+", False: "-"}[row["good"]]
        print(f"{row['figure']:{widths[0]}}  {row['goal']:{widths[1]}}  {mark} {row['reached']}")


def plot(result, folder):
    """CPU of each packet and the highest rates, by profile and system: result.png by gnuplot; whether there is one."""
    panels, colours = [], []  # (a system has the same in both)
    for row, key, scale, label in (("cpu", "processes_ns", 1, "ns of CPU a packet, generator subtracted"),
                                   ("rate", "packets_s", 1000, "thousand packets/s without loss, one core")):
        profiles = {name: runs for name, runs in result.get(row, {}).items() if runs}
        if not profiles:
            continue
        systems = list(dict.fromkeys(system for runs in profiles.values() for system in runs))
        colours += [system for system in systems if system not in colours]
        data = os.path.join(folder, f"{row}.dat")
        with open(data, "w", encoding="utf-8") as file:
            for profile, runs in profiles.items():
                file.write(" ".join([f'"{LABELS[profile]}"'] + [
                    f"{runs[name][key] / scale:.0f}" if name in runs else "-" for name in systems]) + "\n")
        panels.append(f'set ylabel "{label}"; plot ' + ", ".join(
            f'"{data}" using {i + 2}{":xtic(1)" if i == 0 else ""} title "{name}" linetype {colours.index(name) + 1}'
            for i, name in enumerate(systems)))
    if not panels:
        return False
    script = (f'set terminal pngcairo size {800 * len(panels)},560; set output "{folder}/result.png"; '
              'set style data histogram; set style fill solid 0.8; set datafile missing "-"; set yrange [0:*]; set grid y; '
              f'set key outside bottom center horizontal; set multiplot layout 1,{len(panels)} '
              f'title "{result["machine"]["cpu"]}"; ' + "; ".join(panels))
    subprocess.run(["gnuplot", "-e", script], check=True)
    return True


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n")[0], description=__doc__.split("\n")[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--seconds", type=float, default=5, help="of each run with traffic (5)")
    parser.add_argument("--rows", default=",".join(ROWS), help="some of: " + " ".join(ROWS))
    options = parser.parse_args()
    rows = options.rows.replace(",", " ").split()
    if set(rows) - set(ROWS):
        parser.error(f"no row {sorted(set(rows) - set(ROWS))}: there are {' '.join(ROWS)}")
    recorder.inside_the_lab()
    bench = Bench(os.path.abspath(options.build), options.seconds)
    folder = bench.disk
    os.makedirs(folder, exist_ok=True)
    if len(rigs.CORES) < 2:
        say("there is one core only: generator and recorders take turns on it, and rates mean little")
    try:
        bench.rig = rigs.Rig(bench.out, bench.folder)
        for row in rows:
            bench.attempt(row, getattr(bench, row))
            bench.save()
    finally:
        shutil.rmtree(bench.folder, ignore_errors=True)
        bench.save()
    drawn = bench.attempt("result.png", plot, bench.result, folder)
    print_table(bench.table)
    print(f"\n{folder}/result.json" + (f", {folder}/result.png" if drawn else ""))
    return 1 if bench.failed else 0


if __name__ == "__main__":
    sys.exit(main())
