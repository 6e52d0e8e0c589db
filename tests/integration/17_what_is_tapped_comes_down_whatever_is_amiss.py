#!/usr/bin/python3
"""Taps end in time, and what was lost is told, whatever else is amiss: a service that is stopping or has no API,
a clock that is wrong, an owner that is another one by now, an interface that EC2 does not mirror."""
import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../support"), os.path.join(HERE, "../chaos")]
import host  # noqa: E402
import verdict  # noqa: E402
import world  # noqa: E402
import recorder  # noqa: E402
from recorder import PATIENCE_S, ROOT, finish, inside_the_lab, run, wait_until  # noqa: E402

OWNER, HOUR_S = "amiss", 3600
saying = threading.Lock()


def is_(*said):
    with saying:
        recorder.is_(*said)


class Scene:
    def __init__(self, folder, k):
        os.mkdir(folder)
        self.folder = folder
        self.out = os.environ.get("TB_OUT", os.path.join(ROOT, "build/debug"))
        self.names = world.Names(k)
        host.build_wires(self.names)
        self.tokens = folder + "/tokens"
        self.token = run(self.out + "/tapbox", "token", "add", "a", "--role", "analyst", "--file", self.tokens).stdout.strip()
        self.awsim = host.Awsim(self.out, self.names, folder)
        self.service = host.Service(self.out, self.names, folder, OWNER, self.tokens, max_duration="1h")

    def start(self, crash=""):
        self.service.start(crash)
        wait_until("the service", self.service.ready, 30)

    def request(self, source, duration):
        body = json.dumps({"source": source, "duration": duration, "reason": "amiss"})
        status, answer = self.service.call("POST", "/v1/captures", body, self.token)
        assert status == 202, (status, answer)
        return answer["capture"]["id"]

    def record(self, source, duration="10m"):
        key = self.request(source, duration)
        wait_until("the capture", lambda: self.state(key) not in ("requested", "planned", "arming"), 30)
        return key

    def state(self, key):
        return self.service.captures()[key]["state"]

    def gaps(self, key):
        return [row["gap"] for row in self.service.rows(f"SELECT gap FROM capture_sources WHERE capture_id = '{key}'")]

    def sessions(self, key):
        return [o for o in verdict.owned(self.awsim.history(), self.service.owner)
                if o["kind"] == "session" and o["tags"].get("tapbox:capture") == key]

    def session(self, key):
        session, = self.sessions(key)
        return session

    def lag_s(self, key):
        """How long after its tag says; -1e9: it is still there."""
        session = self.session(key)
        return (session["until_ns"] - verdict.utc_ns(session["tags"]["tapbox:expires"])) / verdict.NS if session["until_ns"] else -1e9

    def log(self):
        with open(self.service.log, encoding="utf-8") as file:
            return file.read()

    def edit(self, old, new):
        with open(self.service.config, encoding="utf-8") as file:
            text = file.read()
        assert old in text, (old, text)
        with open(self.service.config, "w", encoding="utf-8") as file:
            file.write(text.replace(old, new))

    def write(self, statement):
        """Into the store, while the service is away."""
        link = sqlite3.connect(self.service.state + "/tapbox.db")
        with link:
            link.execute(statement)
        link.close()


def stops_slowly(scene):
    """Told to stop, it waits for a call of EC2 that hangs; meanwhile a deadline comes."""
    scene.start()
    key = scene.record(world.eni(5), "10s")
    scene.awsim.faults([{"action": "CreateTrafficMirrorSession", "do": {"hang_ms": 16000, "effect": "after"}}])
    scene.request(world.eni(6), "1m")
    wait_until("the call that hangs", lambda: len(scene.awsim.ask("/objects")["sessions"]) == 2, 20)
    scene.service.process.send_signal(signal.SIGTERM)
    wait_until("the end of the session", lambda: scene.session(key)["until_ns"], 40)
    is_("a service that is stopping is waited for", scene.service.process.poll() is None)
    is_("and takes down meanwhile what has to come down", scene.lag_s(key) < 10, scene.lag_s(key))
    scene.awsim.faults([])
    status = scene.service.process.wait(40 + PATIENCE_S)
    is_("it ends as it was told", status == 0, f"{status}\n{scene.log()[-1000:]}")


def goes_by_aws_clock(scene):
    """A session that somebody deleted before its time is a gap, also for a host whose clock is hours ahead."""
    scene.service.may_be_set(host.build_clock(scene.folder))
    scene.start()
    key = scene.record(world.eni(5), "10m")
    scene.service.end(signal.SIGKILL)
    host.ec2(scene.names, "DeleteTrafficMirrorSession", TrafficMirrorSessionId=scene.session(key)["id"])
    scene.write(f"UPDATE captures SET stop_asked = 1, stop_reason = 'operator', due_steady_ns = 0 WHERE id = '{key}'")
    scene.write("UPDATE resources SET created_steady_ns = created_steady_ns - 61000000000")
    scene.service.set_clock(3 * HOUR_S)
    scene.start()
    wait_until("its end", lambda: scene.state(key) in ("sealing", "sealed"), 30)
    is_("what was deleted before it expired by AWS's clock is a gap", "deleted by somebody else" in scene.gaps(key)[0], scene.gaps(key))


def is_of_another_owner(scene):
    """Killed while EC2 made a session, and started again with another owner in the configuration."""
    scene.start("CreateTrafficMirrorSession:after#1")
    try:
        key = scene.request(world.eni(5), "10m")
    except (OSError, http.client.HTTPException, ValueError):
        pass
    is_("the service was killed when EC2 had made it", scene.service.process.wait(30 + PATIENCE_S) == -signal.SIGKILL)
    key, = scene.service.captures()
    scene.edit(f"owner: {OWNER}", "owner: somebody")
    scene.write(f"UPDATE captures SET stop_asked = 1, stop_reason = 'operator', due_steady_ns = 0 WHERE id = '{key}'")
    scene.start()
    wait_until("its end", lambda: scene.state(key) in ("sealing", "sealed", "failed"), 60)
    is_("what the former owner had made is taken down", scene.session(key)["until_ns"], scene.session(key))


def has_no_api(scene):
    """Started again, and each time there is something else for which its API cannot be opened."""
    def starts(what):
        before = len(scene.log())
        scene.service.end(signal.SIGKILL)
        scene.service.start()
        wait_until(what, lambda: "going on without the API" in scene.log()[before:] or scene.service.process.poll() is not None, 30)
        line = [s for s in scene.log()[before:].splitlines() if "going on without the API" in s]
        is_(f"with {what} it goes on, and says so in one line", len(line) == 1 and what in line[0], scene.log()[before:])

    notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notified.bind(scene.folder + "/notify")
    notified.setblocking(False)
    scene.service.env = {**scene.service.env, "NOTIFY_SOCKET": scene.folder + "/notify"}
    scene.edit("max_concurrent: 30", "max_concurrent: 1")
    scene.start()
    is_("ready is told when it is", notified.recv(4096) == b"READY=1")
    key = scene.record(world.eni(5), "40s")
    waits = scene.request(world.eni(6), "1m")
    with open(scene.tokens, encoding="utf-8") as file:
        tokens = file.read()
    with open(scene.tokens, "a", encoding="utf-8") as file:
        file.write("no token\n")
    starts("tokens")
    with open(scene.tokens, "w", encoding="utf-8") as file:
        file.write(tokens)
    tls = "tls:\n  certificate: /no/such.pem\n  key: /no/such.key\n"
    scene.edit("owner:", tls + "owner:")
    starts("such.pem")
    scene.edit(tls, "")
    key_file = "evidence:\n  key_file: /no/such-evidence.key\n"
    scene.edit("owner:", key_file + "owner:")
    starts("such-evidence.key")
    scene.edit(key_file, "")
    with subprocess.Popen(["nsenter", f"--net=/run/netns/{scene.names.netns}", "--", "/usr/bin/python3", "-c",
                           "import socket, sys\ns = socket.create_server((sys.argv[1], 8480))\nprint(flush=True)\nsys.stdin.read()",
                           scene.names.address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        holder.stdout.readline()
        starts("8480 is in use")
        is_("it ends when all is down, with a status that says it was not well", scene.service.process.wait(60 + PATIENCE_S) == 1)
        is_("at its deadline, not before", -1 < scene.lag_s(key) < 10, scene.lag_s(key))
        is_("and its last words say why", "port 8480 is in use" in scene.log().split("tapbox serve: ")[-1], scene.log()[-500:])
        scene.service.start()
        is_("with nothing to take down it ends at once", scene.service.process.wait(30 + PATIENCE_S) == 1)
        is_("and says nothing else", scene.log().count("going on without the API") == 4)
        is_("what waited was not begun", scene.state(waits) == "requested", scene.state(waits))
        holder.stdin.close()
    told = []
    try:
        while True:
            told.append(notified.recv(4096))
    except BlockingIOError:
        pass
    is_("nobody is told that it is ready", told and all(word.startswith(b"STATUS=No API") for word in told), told)
    scene.start()
    wait_until("what waited", lambda: scene.state(waits) == "recording", 30)


def has_no_configuration(scene):
    """Started again with a configuration, or a policy, that cannot be read: what is tapped it cannot take down, but name."""
    def names(what, was, now, keys):
        scene.edit(was, now)
        before = len(scene.log())
        scene.service.start()
        is_(f"with {what} it ends", scene.service.process.wait(30) != 0)
        said = scene.log()[before:]
        for session in [scene.session(key) for key in keys]:
            line = [s for s in said.splitlines() if session["id"] in s]
            is_(f"with {what} it says what is tapped, until when, and how to end that", len(line) == 1 and said.count("2 in all.") == 1
                and "aws ec2 delete-traffic-mirror-session" in line[0] and session["tags"]["tapbox:expires"] in line[0]
                and session["eni"] in line[0] and scene.service.state in said, said)
        scene.edit(now, was)

    scene.service.env = {**scene.service.env, "STATE_DIRECTORY": scene.service.state + ":/elsewhere"}
    scene.start()
    keys = [scene.record(world.eni(5)), scene.record(world.eni(6))]
    scene.service.end(signal.SIGKILL)
    names("an unknown key", "owner:", "ownr:", keys)
    names("a policy that is not there", "cooldown: 0\n", "cooldown: 0\n  file: /no/such-policy.yaml\n", keys)
    scene.start()
    for key in keys:
        scene.service.call("POST", f"/v1/captures/{key}/stop", json.dumps({"reason": "amiss"}), scene.token)
    wait_until("their end", lambda: all(scene.session(key)["until_ns"] for key in keys), 30)
    scene.service.end(signal.SIGTERM)
    before = len(scene.log())
    scene.edit("owner:", "ownr:")
    scene.service.start()
    scene.service.process.wait(30)
    is_("of nothing it says nothing", "recorded as live" not in scene.log()[before:] and "ownr" in scene.log()[before:], scene.log()[before:])


def has_one_that_is_not_mirrored(scene):
    """Of an instance's two interfaces EC2 mirrors one, and of the other it says for long, or for ever, that it cannot."""
    def sources(key):
        return scene.service.call("GET", f"/v1/captures/{key}", None, scene.token)[1]["sources"]

    fault = {"action": "CreateTrafficMirrorSession", "match": {"NetworkInterfaceId": world.eni(world.TWO, 1)}, "do": {"error": {}}}
    scene.start()
    scene.awsim.faults([fault])
    key = scene.record(world.instance(world.TWO), "10m")
    first, second = sources(key)
    is_("a capture records what is mirrored", first["armed"] and first["gap"] is None and not second["armed"], (first, second))
    is_("and says why the other is not", "no session could be made so far: InternalError" in (second["gap"] or ""), second)
    wait_until("more tries", lambda: scene.log().count("interfaces are not mirrored yet") >= 3, 60)
    is_("which is tried again while it records", scene.state(key) == "recording" and len(scene.sessions(key)) == 1)
    scene.awsim.faults([])
    wait_until("the other's session", lambda: sources(key)[1]["armed"], 60)
    first, second = sources(key)
    is_("until it is mirrored, too", len(scene.sessions(key)) == 2 and first["armed"] and first["gap"] is None, (first, second))
    is_("and since when is told, with the reason", "mirrored only since 20" in second["gap"] and "InternalError" in second["gap"], second)
    status, answer = scene.service.call("POST", f"/v1/captures/{key}/extend", json.dumps({"duration": "20m", "reason": "amiss"}), scene.token)
    told = {s["tags"]["tapbox:expires"] for s in scene.sessions(key)}
    is_("an extension is for both", status == 200 and len(told) == 1, (status, answer, told))
    status, answer = scene.service.call("POST", f"/v1/captures/{key}/stop", json.dumps({"reason": "amiss"}), scene.token)
    wait_until("the end of both sessions", lambda: all(s["until_ns"] for s in scene.sessions(key)), 30)
    scene.awsim.faults([fault])
    wait_until("its end", lambda: scene.state(key) == "sealing", 30)
    key = scene.record(world.instance(world.TWO), "12s")
    wait_until("the end of the session", lambda: scene.session(key)["until_ns"], 60)
    is_("one that is never mirrored keeps no other beyond the deadline", -1 < scene.lag_s(key) < 10, scene.lag_s(key))
    wait_until("its end", lambda: scene.state(key) == "sealing", 60)
    is_("its reason stays", "InternalError" in (sources(key)[1]["gap"] or ""), sources(key))


def play(what, folder, k):
    scene = None
    try:
        scene = Scene(folder, k)
        what(scene)
    except Exception as e:  # nobody else would hear of it from a thread
        is_(f"{what.__name__} is played to its end", False, f"{e!r}\n" + (scene.log()[-3000:] if scene else ""))
    finally:
        if scene is not None:
            scene.service.end(signal.SIGKILL)
            scene.awsim.stop()


inside_the_lab()
SCENES = [stops_slowly, goes_by_aws_clock, is_of_another_owner, has_no_api, has_no_configuration, has_one_that_is_not_mirrored]
with tempfile.TemporaryDirectory(dir="/run") as work:
    plays = [threading.Thread(target=play, args=(what, f"{work}/{k}", k)) for k, what in enumerate(SCENES, 1)]
    for one in plays:
        one.start()
    for one in plays:
        one.join()
finish()
