"""One host: a network namespace with a wire to ours, an EC2 of its own (awsim) and the shipped programs in it."""
import ctypes
import hashlib
import hmac
import http.client
import json
import os
import signal
import socket
import sqlite3
import struct
import subprocess
import threading
import time
import urllib.parse

import world

PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)
UTC_LESS_BOOT_NS = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def end_with_us():
    """In a child: it ends when the worker that started it does."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def run(*command, **options):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True, **options)


def build_wires(names):
    """The namespace, its wire, and the wires of the sources on which there is traffic."""
    run("ip", "netns", "add", names.netns)
    batch = [f"link add {names.port} mtu 9001 type veth peer name eth0 mtu 9001 address {names.mac} netns {names.netns}",
             f"addr add {names.gate}/24 dev {names.port}", f"link set {names.port} up"]
    for ours, far in names.wires:
        batch += [f"link add {ours} mtu 9001 type veth peer name {far} mtu 9001", f"link set {ours} up",
                  f"link set {far} up"]
    run("ip", "-batch", "-", input="\n".join(batch))
    for device in [names.port] + [end for pair in names.wires for end in pair]:
        with open(f"/proc/sys/net/ipv6/conf/{device}/disable_ipv6", "w", encoding="ascii") as file:
            file.write("1")
    run("ip", "netns", "exec", names.netns, "sh", "-eu", "-c",
        "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6; ip link set lo up; ip link set eth0 up;"
        f"ip addr add {names.address}/24 dev eth0; ip route add default via {names.gate};"
        "ethtool -K eth0 tso off gso off gro off tx off rx off >/dev/null 2>&1 || true")
    for device in [names.port] + [end for pair in names.wires for end in pair]:
        subprocess.run(["ethtool", "-K", device, "tso", "off", "gso", "off", "gro", "off", "tx", "off", "rx", "off"],
                       check=False, capture_output=True)


def build_clock(folder):
    """What sets the wall clock of a program it is preloaded into (set_clock.c)."""
    library = folder + "/set_clock.so"
    run("cc", "-O1", "-shared", "-fPIC", "-o", library, os.path.join(os.path.dirname(__file__), "set_clock.c"))
    return library


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("awsim", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Awsim:
    def __init__(self, out, names, folder, description=None):
        self.folder, self.control = folder, folder + "/awsim.sock"
        with open(folder + "/world.json", "w", encoding="utf-8") as file:
            file.write(json.dumps(description or world.describe(names, self.control)))
        with open(folder + "/awsim.log", "w", encoding="utf-8") as log:
            self.process = subprocess.Popen([out + "/awsim", "--world", folder + "/world.json", "--port-file",
                                             folder + "/awsim.port"], stderr=log, stdout=log, preexec_fn=end_with_us)
        until = time.monotonic() + 60
        while not os.path.exists(folder + "/awsim.port"):
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError("awsim did not start: " + open(folder + "/awsim.log", encoding="utf-8").read()[-500:])
            time.sleep(0.01)

    def ask(self, path, method="GET", body=None):
        link = Unix(self.control)
        try:
            link.request(method, path, None if body is None else json.dumps(body))
            answer = link.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"awsim: {method} {path}: {answer.status} {text[:300]!r}")
            return json.loads(text) if text else None
        finally:
            link.close()

    def faults(self, rules):
        self.ask("/faults", "PUT", rules)

    def change(self, what):
        """False when the network was not like that any more."""
        try:
            self.ask("/world", "POST", what)
        except RuntimeError:
            return False
        return True

    def history(self):
        return self.ask("/history")

    def stop(self):
        self.process.kill()
        self.process.wait()


def ec2(names, action, **parameters):
    """A signed call of EC2, as somebody else in the account would make it; the answer's text."""
    body = urllib.parse.urlencode(sorted({"Action": action, "Version": "2016-11-15",
                                          **{k.replace("_", "."): v for k, v in parameters.items()}}.items()))
    now, host = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), names.gate + ":8480"
    scope = f"{now[:8]}/{world.REGION}/ec2/aws4_request"
    kind = "application/x-www-form-urlencoded; charset=utf-8"
    signed = "content-type;host;x-amz-date"
    request = "\n".join(["POST", "/", "", "content-type:" + kind, "host:" + host, "x-amz-date:" + now, "", signed,
                         hashlib.sha256(body.encode()).hexdigest()])
    text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = ("AWS4" + world.SECRET).encode()
    for word in [*scope.split("/"), text]:
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    link = http.client.HTTPConnection(names.gate, 8480, timeout=60)
    link.request("POST", "/", body, {"content-type": kind, "x-amz-date": now, "authorization":
                                     f"AWS4-HMAC-SHA256 Credential={world.KEY}/{scope}, SignedHeaders={signed}, "
                                     f"Signature={key.hex()}"})
    answer = link.getresponse()
    text = answer.read().decode()
    link.close()
    if answer.status != 200:
        raise RuntimeError(f"{action}: {text[:300]}")
    return text


def between(text, tag):
    return text.split(f"<{tag}>")[1].split("<")[0]


def plant(names):
    """Mirror objects that are not ours, one of them of another tapbox and long expired; their ids."""
    key = between(ec2(names, "CreateTrafficMirrorFilter", Description="foreign"), "trafficMirrorFilterId")
    target = between(ec2(names, "CreateTrafficMirrorTarget", NetworkInterfaceId=world.eni(30)), "trafficMirrorTargetId")
    other = {"TagSpecification_1_ResourceType": "traffic-mirror-session", "TagSpecification_1_Tag_1_Key": "tapbox:owner",
             "TagSpecification_1_Tag_1_Value": "another", "TagSpecification_1_Tag_2_Key": "tapbox:expires",
             "TagSpecification_1_Tag_2_Value": "2026-01-01T00:00:00Z"}
    ids = [key, target]
    for source, tags in ((2, {}), (world.TWO, other)):
        ids.append(between(ec2(names, "CreateTrafficMirrorSession", NetworkInterfaceId=world.eni(source),
                               TrafficMirrorTargetId=target, TrafficMirrorFilterId=key, SessionNumber=3, **tags),
                           "trafficMirrorSessionId"))
    return ids


def way_to_s3(names, how):
    """"refused" and "silent" take S3 away from the host, "" gives it back."""
    run("ip", "-n", names.netns, "route", "flush", "exact", world.S3.split(":")[0])
    if how:
        words = {"refused": ["unreachable", world.S3.split(":")[0]], "silent": [world.S3.split(":")[0], "dev", "lo"]}[how]
        run("ip", "-n", names.netns, "route", "add", *words)


class Traffic:
    """Frames on the wires of the sources, some a second."""

    def __init__(self, names):
        self.sockets = []
        for _, far in names.wires:
            s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            s.bind((far, 0))
            self.sockets.append(s)
        self.frame = (b"\x02\x99\0\0\0\2" + b"\x02\x99\0\0\0\3" + b"\x08\x00" +
                      struct.pack(">BBHHHBBH4s4s", 0x45, 0, 128, 1, 0, 64, 17, 0, bytes((10, 99, names.k + 100, 1)),
                                  bytes((198, 51, 100, 10))) + struct.pack(">HHHH", 4000, 53000, 108, 0) + b"x" * 100)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.send, daemon=True)
        self.thread.start()

    def send(self):
        while not self.ended.wait(0.1):
            for s in self.sockets:
                s.send(self.frame)

    def stop(self):
        self.ended.set()
        self.thread.join()
        for s in self.sockets:
            s.close()


class Service:
    """`tapbox serve --with-recorder` in the host's namespace; and `tapbox sweep` from elsewhere."""

    def __init__(self, out, names, folder, owner, tokens, **settings):
        self.out, self.names, self.folder, self.owner = out, names, folder, owner
        self.config, self.state, self.log = folder + "/tapbox.yaml", folder + "/state", folder + "/tapbox.log"
        os.makedirs(self.state, exist_ok=True)
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(world.configuration(names, owner, self.state, tokens, **settings))
        self.env = world.environment(names, folder)
        self.clock = ""  # what says by how much it is set
        self.process = None
        self.mu = threading.Lock()
        self.store = None  # a connection, while the service runs
        self.killed = False  # by us: its end is no surprise

    def may_be_set(self, library):
        """Of what starts from here on the wall clock can be set."""
        self.clock = self.folder + "/clock"
        self.set_clock(0)
        self.env = {**self.env, "LD_PRELOAD": library, "SET_CLOCK": self.clock}

    def set_clock(self, by_s):
        """So far ahead of the right time, or behind it."""
        fd = os.open(self.clock, os.O_RDWR | os.O_CREAT, 0o644)
        os.pwrite(fd, struct.pack("q", int(by_s * 1e9)), 0)
        os.close(fd)

    def keep_clock(self, kept):
        """What the kernel says: that somebody keeps it, or nobody."""
        fd = os.open(self.clock, os.O_RDWR)
        os.pwrite(fd, struct.pack("q", 1 if kept else 2), 8)
        os.close(fd)

    def note(self, text):
        with open(self.log, "a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime())}.{time.time_ns() // 1000000 % 1000:03d}Z "
                      f"--- {text}\n")

    def start(self, crash=""):
        self.leave_store()
        self.note(f"serve starts, crash={crash or 'none'}")
        env = {**self.env, "TAPBOX_CRASH": crash} if crash else self.env
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self.names.netns}", "--", self.out + "/tapbox", "serve", "--config",
                 self.config, "--with-recorder"], env=env, stderr=log, stdout=log, stdin=subprocess.DEVNULL,
                preexec_fn=end_with_us)
        self.killed = False

    def recorder(self):
        """The recorder's process id, 0 when there is none."""
        try:
            pid = self.process.pid
            with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
                children = file.read().split()
            for child in children:
                with open(f"/proc/{child}/cmdline", "rb") as file:
                    if file.read().split(b"\0")[1:2] == [b"record"]:
                        return int(child)
            return 0
        except OSError:
            return 0

    def kill_recorder(self):
        pid = self.recorder()
        if pid:
            self.note(f"SIGKILL of the recorder {pid}")
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def end(self, how=signal.SIGTERM, patience_s=30):
        if self.process is None or self.process.poll() is not None:
            return
        self.note(f"{how.name} of the service")
        self.killed = True
        self.leave_store()
        self.process.send_signal(how)
        try:
            self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.note("it did not end: SIGKILL")
            self.process.kill()
            self.process.wait()

    def sweep(self, *options, crash="", patience_s=60):
        """Its exit status; -9 when a crash point killed it."""
        env = {**self.env, "TAPBOX_CRASH": crash} if crash else self.env
        self.note(f"sweep {' '.join(options)} crash={crash or 'none'}")
        with open(self.log, "ab") as log:
            process = subprocess.Popen([self.out + "/tapbox", "sweep", "--owner", self.owner, *options], env=env,
                                       stderr=log, stdout=log, stdin=subprocess.DEVNULL, preexec_fn=end_with_us)
            try:
                return process.wait(patience_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                return 99

    def call(self, method, path, body=None, token="", timeout=60, **headers):
        """(status, JSON); raises OSError or HTTPException when nobody answers."""
        link = http.client.HTTPConnection(self.names.address, 8480, timeout=timeout)
        try:
            link.request(method, path, body, {"Authorization": "Bearer " + token, "Content-Type": "application/json",
                                              **{k.replace("_", "-"): v for k, v in headers.items()}})
            answer = link.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text else None
        finally:
            link.close()

    def ready(self):
        try:
            return self.call("GET", "/readyz", timeout=10)[0] == 200
        except (OSError, http.client.HTTPException, ValueError):
            return False

    # --- what the store says ---

    def rows(self, query):
        with self.mu:
            try:
                if self.store is None:
                    self.store = sqlite3.connect(f"file:{self.state}/tapbox.db?mode=ro", uri=True, timeout=5,
                                                 check_same_thread=False)
                    self.store.row_factory = sqlite3.Row
                return [dict(row) for row in self.store.execute(query)]
            except sqlite3.OperationalError:
                return []  # killed before there was a table
            finally:
                if self.process is None or self.process.poll() is not None:
                    self.leave_store_locked()

    def leave_store(self):
        """Who opens or closes the store next is alone with it, and has to repair it or tidy it up."""
        with self.mu:
            self.leave_store_locked()

    def leave_store_locked(self):
        if self.store is not None:
            self.store.close()
            self.store = None

    def captures(self):
        """Their times by the right clock, and the deadline as it was told to people, who go by the one that was set."""
        rows = self.rows("SELECT id, state, stop_reason, deadline_utc_ns AS told_deadline_utc_ns, deadline_boot_ns AS deadline_utc_ns, "
                         "iif(stopped_steady_ns, stopped_steady_ns - (SELECT less_boot_ns FROM steady), 0) AS stopped_utc_ns, "
                         "(SELECT group_concat(eni) FROM capture_sources WHERE capture_id = id AND NOT armed AND gap <> '') AS lost "
                         "FROM captures")
        for row in rows:
            for word in ("deadline_utc_ns", "stopped_utc_ns"):
                row[word] += UTC_LESS_BOOT_NS if row[word] else 0
        return {row["id"]: row for row in rows}

    def alerts(self):
        return [{"body": bytes(row["body"]).decode(), "capture": row["capture_id"], "outcome": row["outcome"]}
                for row in self.rows("SELECT body, capture_id, outcome FROM alerts")]
