#!/usr/bin/python3
"""Changes evidence at random, one thing at a time, and asks tapbox verify which.

usage: tests/support/change_evidence.py TAPBOX FOLDER CHANGES SEED VERIFY'S ARGUMENTS...
The keys beside it are changed too, but neither deleted nor renamed: they vouch for nothing.
Prints each change that was not named, and how many there were of each kind; status 1 if there was one.  Each processor
has its share, on a copy; a change depends on SEED and its number alone.
"""
import collections
import concurrent.futures
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile

UNIT = re.compile(r"^(.*/)?((?:cap|log)-[^/]+)/(.+)$")


class Evidence:
    def __init__(self, tapbox, folder, arguments):
        self.tapbox, self.folder, self.arguments = tapbox, folder, arguments
        self.files = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
        self.captures = sorted({UNIT.match(n).group(0)[:-len("/manifest.json")] for n in self.files if n.endswith("/manifest.json")})

    def put(self, name, content):
        path = self.folder / name
        if content is None:
            path.unlink(missing_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def found(self, changed):
        """What verify says with `changed` (name: content or None) in place of what was there."""
        for name, content in changed.items():
            self.put(name, content)
        run = subprocess.run([self.tapbox, "verify", str(self.folder), "--threads", "1", "--whole", "--json", *self.arguments],
                             capture_output=True, text=True)
        for name in changed:
            self.put(name, self.files.get(name))
        if run.returncode not in (0, 7):
            return {f"status {run.returncode}: {run.stderr}"}
        report = json.loads(run.stdout)
        named = set()
        for finding in report["findings"]:
            named.add((finding["capture"], finding["file"]))
        for gap in report["missing"]:
            named.add(("missing", gap["key"]))
        if run.returncode == 0 and named:
            named.add("but status 0")
        return named


def unit(name):
    """(capture or log, file in it); of a key (None, its name)."""
    match = UNIT.match(name)
    return (match.group(2), match.group(3)) if match else (None, name)


def name_of_any_but_keys(evidence, rnd):
    return rnd.choice([name for name in evidence.files if unit(name)[0]])


def lines(content):
    return content.splitlines(keepends=True)


def flip(evidence, rnd):
    name = rnd.choice(list(evidence.files))
    content = bytearray(evidence.files[name])
    at = rnd.randrange(len(content) * 8)
    content[at // 8] ^= 1 << at % 8
    return {name: bytes(content)}, {unit(name)}


def cut(evidence, rnd):
    name = rnd.choice(list(evidence.files))
    return {name: evidence.files[name][:rnd.randrange(len(evidence.files[name]))]}, {unit(name)}


def lengthen(evidence, rnd):
    name = rnd.choice(list(evidence.files))
    return {name: evidence.files[name] + rnd.choice([b"\n", b"\0", b"x" * 100])}, {unit(name)}


def delete(evidence, rnd):
    name = name_of_any_but_keys(evidence, rnd)
    return {name: None}, {unit(name)}


def rename(evidence, rnd):
    name = name_of_any_but_keys(evidence, rnd)
    other = name[:-1] + chr(ord(name[-1]) ^ 1)
    return {name: None, other: evidence.files[name]}, {unit(name), unit(other)}


def add(evidence, rnd):
    name = f"{rnd.choice(evidence.captures)}/{rnd.choice(['', 'segments/', 'alerts/', 'custody/'])}added"
    return {name: b"added"}, {unit(name)}


def same_files(evidence, rnd):
    """A file that two captures have, with different content."""
    while True:
        one, two = rnd.sample(evidence.captures, 2)
        file = rnd.choice([n for n in evidence.files if n.startswith(one + "/")])[len(one):]
        if two + file in evidence.files and evidence.files[one + file] != evidence.files[two + file]:
            return one + file, two + file


def swap(evidence, rnd):
    one, two = same_files(evidence, rnd)
    return {one: evidence.files[two], two: evidence.files[one]}, {unit(one), unit(two)}


def swap_captures(evidence, rnd):
    """The folders change their names."""
    one, two = rnd.sample(evidence.captures, 2)
    changed = {}
    for here, there in ((one, two), (two, one)):
        for name in evidence.files:
            if name.startswith(here + "/"):
                changed.setdefault(name, None)
                changed[there + name[len(here):]] = evidence.files[name]
    return changed, {(unit(two + "/x")[0], ""), (unit(one + "/x")[0], "")}


def replay(evidence, rnd):
    """An older manifest with its signature."""
    one, two = rnd.sample(evidence.captures, 2)
    changed = {f"{one}/{name}": evidence.files[f"{two}/{name}"] for name in ("manifest.json", "manifest.sig")}
    return changed, {(unit(one + "/x")[0], "")}


def change_log(evidence, rnd):
    """Lines of a custody log cut off, taken out, doubled or exchanged."""
    while True:
        name = rnd.choice([n for n in evidence.files if n.endswith(".jsonl")])
        entries = lines(evidence.files[name])
        at = rnd.randrange(len(entries))
        kind = rnd.randrange(4)
        if kind == 0:
            entries = entries[:at]
        elif kind == 1:
            del entries[at]
        elif kind == 2:
            entries.insert(at, entries[at])
        elif len(entries) > 1:
            entries[at], entries[at - 1] = entries[at - 1], entries[at]
        content = b"".join(entries)
        if content != evidence.files[name]:
            return {name: content}, {unit(name)}


def remove_capture(evidence, rnd):
    gone = rnd.choice(evidence.captures)
    key = json.loads(evidence.files[gone + "/manifest.json"])["chain"]["key"]
    return {name: None for name in evidence.files if name.startswith(gone + "/")}, {("missing", key)}


WAYS = [flip] * 12 + [cut] * 3 + [lengthen, delete, rename, add, swap, swap_captures, replay, change_log, change_log, remove_capture]


def named(expected, found):
    """Each of the files; a capture as a whole by any finding of it.

    Of a custody object and its signature nobody without the key can tell which was changed: the object is named.
    Without its manifest nothing of a capture's folder can be said to be too much.
    """
    def is_named(one):
        unit_name, file = one
        if file == "":
            return any(isinstance(f, tuple) and f[0] == unit_name for f in found)
        return one in found or (unit_name, re.sub(r"(\d{4})\.sig$", r"\1.jsonl", file)) in found or (
            file == "manifest.jsoo" and (unit_name, "manifest.json") in found)

    return all(is_named(one) for one in expected)


def work(job, jobs, tapbox, folder, count, seed, arguments):
    """Every jobs-th change, on a copy; what was done of each kind, and a line for each that was not named."""
    with tempfile.TemporaryDirectory() as temporary:
        copy = pathlib.Path(temporary) / "evidence"
        shutil.copytree(folder, copy)
        evidence = Evidence(tapbox, copy, arguments)
        done, missed = collections.Counter(), []
        for number in range(job, count, jobs):
            way = WAYS[number % len(WAYS)]
            changed, expected = way(evidence, random.Random(f"{seed}/{number}"))
            found = evidence.found(changed)
            done[way.__name__] += 1
            if not named(expected, found):
                missed.append(f"{number}, {way.__name__}: {sorted(changed)} should give {sorted(map(str, expected))}, "
                              f"gave {sorted(map(str, found))}")
        if evidence.found({}):
            missed.append(f"put back, it does not hold: {evidence.found({})}")
        return done, missed, len(evidence.files)


def main():
    tapbox, folder, count, seed, *arguments = sys.argv[1:]
    jobs = os.cpu_count() or 1
    done, missed, files = collections.Counter(), [], 0
    with concurrent.futures.ProcessPoolExecutor(jobs) as pool:
        for result in [pool.submit(work, job, jobs, tapbox, folder, int(count), seed, arguments) for job in range(jobs)]:
            ways, lines_of_it, files = result.result()
            done += ways
            missed += lines_of_it
    print("\n".join([*missed, ", ".join(f"{count} {way}" for way, count in done.items()) + f" over {files} files: {len(missed)} not named"]))
    sys.exit(len(missed) > 0)


if __name__ == "__main__":
    main()
