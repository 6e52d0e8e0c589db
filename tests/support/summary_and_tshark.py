#!/usr/bin/python3
"""Compare a summary with what tshark says of the same segments.

usage: summary_and_tshark.py SUMMARY.json SEGMENT...

Compared: packets and octets, conversations over TCP, UDP and IP with packets of each direction (octets
besides, from tshark's fields), DNS names with the numbers of questions and answers, TLS server names with
how often, and io,stat for each interval.  Exit status 1 and a line for each difference.

tshark is told not to look into tunnels and link types that the summary does not follow, which FORMAT.md
of src/summary names, and to put TCP segments that come out of order in order; it counts a connection whose ports are used again as another one, which is summed up
here.
"""
import collections
import json
import re
import subprocess
import sys
import tempfile

NOT_FOLLOWED = ["teredo", "gtp", "gtpv2", "l2tp", "geneve", "nsh", "vxlan-gpe", "erspan", "cmd", "sctp"]


def tshark(files, *options):
    """tshark's output over all files, one after the other."""
    disabled = [word for name in NOT_FOLLOWED for word in ("--disable-protocol", name)]
    out = ""
    for file in files:
        done = subprocess.run(["tshark", "-n", "-r", file, "-o", "tcp.reassemble_out_of_order:TRUE", *disabled, *options], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True, errors="replace")
        out += done.stdout
    return out


def tables(text):
    """tshark's statistics by their titles: {"TCP Conversations": [line, ...]}"""
    found = collections.defaultdict(list)
    title = ""
    for line in text.splitlines():
        if line.startswith("="):
            title = ""
        elif not title and line.strip():
            title = "io,stat" if line.startswith("| IO") else line.strip()
        else:
            found[title].append(line)
    return found


def tshark_conversations(lines):
    """{(end, end) sorted: {sender: packets}}"""
    rows = collections.defaultdict(collections.Counter)
    for line in lines:
        words = line.split()
        if len(words) < 10 or words[1] != "<->":
            continue
        left, right = words[0], words[2]
        numbers = [int(word.replace(",", "")) for word in words[3:] if re.fullmatch(r"[\d,]+", word)]
        # frames and octets from right to left, then from left to right, then both
        rows[tuple(sorted((left, right)))][right] += numbers[0]
        rows[tuple(sorted((left, right)))][left] += numbers[2]
    return {key: {name: n for name, n in ways.items() if n} for key, ways in rows.items()}


def our_conversations(summary, kind, v6=None):
    rows = collections.defaultdict(collections.Counter)
    for row in summary[kind]["rows"]:
        if v6 is not None and (":" in row["a"]) != v6:
            continue
        a = f"{row['a']}:{row['a_port']}" if "a_port" in row else row["a"]
        b = f"{row['b']}:{row['b_port']}" if "b_port" in row else row["b"]
        rows[tuple(sorted((a, b)))][a] += row["packets_a_to_b"]
        rows[tuple(sorted((a, b)))][b] += row["packets_b_to_a"]
    return {key: {name: n for name, n in ways.items() if n} for key, ways in rows.items()}


FIELDS = ["frame.len", "frame.protocols", "dns.flags.response", "dns.qry.name",
          "tls.handshake.extensions_server_name", "http.host", "ipv6.src", "ipv6.dst"]
MANY = "\x01"  # between the values of one field


def tshark_fields(files):
    """A dictionary for each packet."""
    wanted = [word for field in FIELDS for word in ("-e", field)]
    text = tshark(files, "-T", "fields", "-E", "separator=/t", "-E", f"aggregator={MANY}", *wanted)
    return [dict(zip(FIELDS, line.split("\t"))) for line in text.splitlines()]


def tshark_ipv6(packets):
    """conv,ipv6 counts of a datagram in fragments only the last one; the fields have them all."""
    rows = collections.defaultdict(collections.Counter)
    for packet in packets:
        ends = list(zip(packet["ipv6.src"].split(MANY), packet["ipv6.dst"].split(MANY)))
        for source, destination in ends[:1] if "icmp" in packet["frame.protocols"] else ends:
            if source and destination:  # (of a header that is cut off it may have the source alone)
                rows[tuple(sorted((source, destination)))][source] += 1
    return {key: dict(ways) for key, ways in rows.items()}


def tshark_names(packets, field, *, response=None):
    names = collections.Counter()
    for packet in packets:
        # a packet that an error message quotes was counted when it passed
        if response is not None and ("icmp" in packet["frame.protocols"] or
                                     packet["dns.flags.response"].split(MANY)[0] != response):
            continue
        for name in packet[field].split(MANY):
            if name:
                names["." if name == "<Root>" else name.lower()] += 1
    return dict(names)


def our_names(summary, kind, member):
    return {row["name"].lower(): row[member] for row in summary[kind]["rows"] if row[member]}


def tshark_timeline(files, seconds):
    """{interval: (packets, octets)}, counted from the first packet of the first file"""
    with tempfile.NamedTemporaryFile(suffix=".pcapng") as joined:
        subprocess.run(["mergecap", "-a", "-w", joined.name, *files], check=True, stderr=subprocess.DEVNULL)
        lines = tables(tshark([joined.name], "-q", "-z", f"io,stat,{seconds}"))["io,stat"]
    bins = {}
    for line in lines:
        found = re.match(r"^\|\s*(\d+)[.\d]*\s*<>\s*(?:[\d.]+|Dur)\s*\|\s*(\d+)\s*\|\s*(\d+)\s*\|", line)
        if found:
            start, packets, octets = (int(word) for word in found.groups())
            if packets:
                bins[start // seconds] = (packets, octets)
    return bins


def our_timeline(summary):
    timeline = summary["timeline"]
    rows = zip(timeline["packets"], timeline["bytes"])
    return {i: row for i, row in enumerate(rows) if row[0]}


class Comparison:
    def __init__(self):
        self.differences = []

    def equal(self, what, ours, theirs):
        if ours == theirs:
            return
        if isinstance(ours, dict):
            for key in sorted(set(ours) | set(theirs), key=str):
                if ours.get(key) != theirs.get(key):
                    self.differences.append(f"{what}: {key}: ours {ours.get(key)}, tshark {theirs.get(key)}")
        else:
            self.differences.append(f"{what}: ours {ours}, tshark {theirs}")


def compare(summary, files):
    """A line for each difference."""
    said = Comparison()
    seconds = summary["timeline"]["interval_seconds"]
    statistics = [f"conv,{kind}" for kind in ("tcp", "udp", "ip")]
    said_by = tables(tshark(files, "-q", *[word for one in statistics for word in ("-z", one)]))
    packets = tshark_fields(files)
    said.equal("packets", summary["packets"], len(packets))
    said.equal("bytes", summary["bytes"], sum(int(packet["frame.len"]) for packet in packets))
    for title, kind, v6 in (("TCP", "tcp", None), ("UDP", "udp", None), ("IPv4", "ip", False)):
        said.equal(f"{title} conversations", our_conversations(summary, kind, v6),
                   tshark_conversations(said_by[f"{title} Conversations"]))
    said.equal("IPv6 conversations", our_conversations(summary, "ip", True), tshark_ipv6(packets))
    said.equal("dns questions", our_names(summary, "dns", "queries"),
               tshark_names(packets, "dns.qry.name", response="0"))
    said.equal("dns answers", our_names(summary, "dns", "responses"),
               tshark_names(packets, "dns.qry.name", response="1"))
    said.equal("tls server names", our_names(summary, "tls", "times"),
               tshark_names(packets, "tls.handshake.extensions_server_name"))
    said.equal("http hosts", our_names(summary, "http", "times"), tshark_names(packets, "http.host"))
    if summary["first"] != summary["last"]:  # of one moment it prints nothing
        said.equal("io,stat", our_timeline(summary), tshark_timeline(files, seconds))
    return said.differences


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        summary = json.load(file)
    lines = compare(summary, sys.argv[2:])
    for line in lines:
        print(line)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
