#!/usr/bin/python3
"""Power loss: what was not synced is gone.

The recorder runs under strace.  From its writes and syncs follows what a disk is sure to hold at any moment: of each
file the octets that were written before the last fsync or fdatasync that had returned, and a new name only if its
folder was synced behind the rename (if it was not, both names are tried).  Spools are made of just that, and a
recorder starts on each.
"""
import glob
import os
import random
import re
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from recorder import *  # noqa: E402,F403

LOSSES = 6
LATE_S = 3.0  # a chunk is put down within a second and synced within another
CALL = re.compile(r"^(\d+\.\d+) (\w+)\((.*)\) += (\d+).*<(\d+\.\d+)>$")


def calls(log):
    """(begin, end, name, arguments, result) of every call that succeeded."""
    for path in glob.glob(log + ".*"):
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                found = CALL.match(line)
                if found:
                    begin, name, arguments, result, took = found.groups()
                    yield float(begin), float(begin) + float(took), name, arguments, int(result)


def base(path):
    return os.path.basename(path).lstrip(".")


class Disk:
    """What was asked of the disk, and when it was sure."""

    def __init__(self, log, folder):
        self.writes, self.syncs, self.renames, self.folder_syncs, self.made = {}, {}, {}, [], {}
        ends = {}
        for begin, end, name, arguments, result in sorted(calls(log), key=lambda call: call[1]):
            path = re.match(r"\d+<([^>]*)>", arguments)
            path = path.group(1) if path else ""
            if name == "renameat2":
                names = re.findall(r'"([^"]*)"', arguments)
                self.renames[base(names[1])] = (begin, end)
            elif name == "fsync" and path == folder:
                self.folder_syncs.append((begin, end))
            elif not path.startswith(folder + "/") or not path.endswith(".zst"):
                continue
            elif name in ("write", "pwrite64", "writev", "pwritev"):
                at = int(arguments.rsplit(", ", 1)[1]) if name == "pwrite64" else ends.get(base(path), 0)
                ends[base(path)] = max(ends.get(base(path), 0), at + result)
                self.writes.setdefault(base(path), []).append((end, at + result))
                self.made.setdefault(base(path), begin)
            elif name in ("fsync", "fdatasync"):
                self.syncs.setdefault(base(path), []).append((begin, end))

    def sure(self, name, when):
        """Octets of a file that survive a loss of power at `when`."""
        best = 0
        for begin, end in self.syncs.get(name, []):
            if end <= when:
                best = max([best, *(to for written, to in self.writes[name] if written <= begin)])
        return best

    def image(self, source, target, when, kind):
        """The spool as it would be found; returns how many renames could have gone either way."""
        os.makedirs(target)
        open_ended = 0
        for name, made in self.made.items():
            if made > when:
                continue
            renamed = self.renames.get(name)
            sealed = renamed is not None and any(begin >= renamed[1] and end <= when for begin, end in self.folder_syncs)
            if renamed is not None and renamed[0] <= when and not sealed:
                open_ended += 1
                sealed = kind == "new names"
            with open(os.path.join(source, name), "rb") as whole, open(os.path.join(target, ("" if sealed else ".") + name),
                                                                       "wb") as part:
                part.write(whole.read(self.sure(name, when)))
        return open_ended


def record(work, net):
    """Some seconds of traffic under strace: when each frame was sent, the calls, what is there in the end."""
    log = os.path.join(work, "strace")
    tap = Recorder(work, net.name, prefix=["strace", "-ff", "-y", "-ttt", "-T", "-s", "0", "-o", log, "-e",
                                           "trace=write,pwrite64,writev,pwritev,fsync,fdatasync,renameat2"])
    tap.arm(rotate=50000)
    sent, stood_still, before = {}, 0.0, time.time()
    until = time.time() + 7
    while time.time() < until or len(sent) < 400:
        net.send(mirrored(len(sent), size=600) for _ in range(1))
        sent[inner(len(sent), 600)] = time.time()
        time.sleep(0.01)
        stood_still, before = max(stood_still, time.time() - before), time.time()
    os.kill(tap.host()["pid"], 15)
    tap.process.wait(60)
    tap.disconnect()
    return tap, sent, stood_still, Disk(log, os.path.join(tap.spool, capture_id()))


inside_the_lab()
rng = random.Random(49)
with tempfile.TemporaryDirectory(dir="/run") as work:  # in memory: how slow a disk is, is not looked at here
    net = Wire()
    tap, sent, stood_still, disk = record(work, net)
    patience_s = LATE_S + 5 * stood_still  # (the longest time that this program was kept from running)
    source = os.path.join(tap.spool, capture_id())
    is_("strace saw what was written and synced", len(disk.made) >= 3 and len(disk.renames) >= 3 and
        all(disk.syncs.get(name) for name in disk.made), (disk.made, disk.renames))
    first, last = min(sent.values()), max(sent.values())
    # at random, and between a rename and the sync of its folder
    moments = [rng.uniform(first + 1, last) for _ in range(LOSSES - 2)]
    moments += [end + 1e-6 for _, end in list(disk.renames.values())[:2]]
    late, wrong, bad, either = [], [], [], 0
    for i, when in enumerate(moments):
        for kind in ("old names", "new names"):
            folder = os.path.join(work, f"loss-{i}-{kind[:3]}")
            spool = os.path.join(folder, "spool")
            either += disk.image(source, os.path.join(spool, capture_id()), when, kind)
            after = Recorder(folder, net.name)
            after.wait_for_repair()
            got = [frame.data for frame in after.frames()]
            bad += [complaint(path) for path in after.segments() if complaint(path)] + untrue(after.segments())
            wrong += [1 for data in got if data not in sent] + ([f"{len(got)} frames"] if len(set(got)) != len(got) else [])
            late += [round(when - at, 2) for data, at in sent.items() if when - at > patience_s and data not in set(got)]
            after.stop()
            shutil.rmtree(folder)
    is_(f"after {2 * LOSSES} losses of power every segment is whole, sealed and true", not bad, bad[:5])
    is_("nothing is in them that was not sent, or twice", not wrong, wrong[:5])
    is_(f"what was sent {LATE_S:.0f} s before is there", not late, late[:10])
    is_("among them were renames that had not reached the disk", either > 0, either)
finish()
