#!/usr/bin/python3
"""What the recorder needs and does not have: one line, a status that is not 0, nothing half started."""
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from recorder import *  # noqa: E402,F403


def refused(sentence, recorder, *words, before=()):
    done = run(*before, *recorder.command(), check=False, timeout=20)
    lines = done.stderr.strip().splitlines()
    is_(sentence, done.returncode not in (0, None) and done.returncode > 0 and len(lines) == 1 and
        all(word in lines[0] for word in words) and not os.path.exists(recorder.path), (done.returncode, done.stderr))


inside_the_lab()
with tempfile.TemporaryDirectory() as work:
    net = Wire()
    one = Recorder(work, net.name, start=False)
    refused("an unknown interface is named", Recorder(work, "nosuch0", start=False), "'nosuch0'")
    run("ip", "link", "add", "tun7", "type", "veth", "peer", "name", "tun8")
    refused("an interface that is down is named", Recorder(work, "tun7", start=False), "tun7", "down")
    for port in (4789, 6081):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("0.0.0.0", port))
            refused(f"a taken UDP port {port} is named", one, str(port), "in use")
    run("ip", "link", "add", "vx0", "type", "vxlan", "id", "1", "dstport", "4789", "remote", "10.77.0.9", "dev", net.name)
    run("ip", "link", "set", "vx0", "up")
    refused("a VXLAN device of the kernel on that port is thought of", one, "4789", "VXLAN device")
    run("ip", "link", "del", "vx0")
    refused("without CAP_NET_RAW it says so", one, "CAP_NET_RAW",
            before=("setpriv", "--bounding-set=-net_raw,-net_admin", "--inh-caps=-all"))
    refused("a spool that cannot be made is named", Recorder(os.path.join(work, "no", "where"), net.name, start=False),
            "spool")
    refused("a ring of nothing that the kernel gives is refused",
            Recorder(work, net.name, "--ring", "5GiB", start=False), "ring")
    for wrong in (("--level", "20"), ("--ring", "64MB"), ("--memory", "-1"), ("--nonsense",), ("--memory", "1MiB")):
        done = run(*Recorder(work, net.name, *wrong, start=False).command(), check=False)
        is_(f"{' '.join(wrong)} is refused with status 2", done.returncode == 2 and done.stderr, done.stderr)
    one.start()
    another = Recorder(work, net.name, start=False)
    done = run(*another.command(), check=False)
    is_("a second recorder on the same spool is refused, the first goes on",
        done.returncode > 0 and "another recorder" in done.stderr and one.host()["armed"] == 0, done.stderr)
    one.stop(9)
    one.start()
    is_("the socket that a dead recorder left is no hindrance", one.host()["armed"] == 0)
    process = f"/proc/{one.process.pid}"
    status = dict(line.split(":\t", 1) for line in open(process + "/status").read().splitlines() if ":\t" in line)
    is_("it has no capability and can get none", all(int(status[c], 16) == 0 for c in ("CapEff", "CapPrm", "CapInh", "CapAmb"))
        and status["NoNewPrivs"] == "1", status)
    if os.environ.get("MODE", "debug") in ("debug", "release"):
        tasks = os.listdir(process + "/task")
        filters = {t: "Seccomp:\t2" in open(f"{process}/task/{t}/status").read() for t in tasks}
        is_("every thread has its system call filter", len(tasks) == 3 and all(filters.values()), filters)
    else:
        print("skip - the system call filter: the sanitizers need calls of their own")
    held = sorted(os.readlink(f"{process}/fd/{fd}").split(":")[0] for fd in os.listdir(process + "/fd"))
    is_("it holds the ring, sinks, its sockets, the spool, the memory of counters, and nothing else",
        [h for h in held if h not in ("socket", "anon_inode") and h not in ("/dev/null", one.log, one.spool)] == ["/memfd"],
        held)
    rss = int(status["RssAnon"].split()[0])
    is_("it idles below 20 MiB of anonymous memory", rss < 20 * 1024 or os.environ.get("MODE") in ("asan", "tsan"), rss)
    ended = one.stop(2)
    is_("SIGINT ends it as SIGTERM does", ended == 0, ended)
    one.start()
    is_("and the next one takes its place", one.host()["armed"] == 0 and one.stop() == 0)
    is_("nothing is said of an interface on which the kernel merges no datagrams", "merge" not in open(one.log).read())
    for feature in ("rx-udp-gro-forwarding", "rx-gro-list"):
        run("ethtool", "-K", net.name, feature, "on")
        one.start()
        one.stop()
        run("ethtool", "-K", net.name, feature, "off")
        lines = [line for line in open(one.log).read().splitlines() if "merge" in line]
        is_(f"{feature} is told, with how to switch it off",
            len(lines) == 1 and f"ethtool -K {net.name} {feature} off" in lines[0], lines)
        os.truncate(one.log, 0)
finish()
