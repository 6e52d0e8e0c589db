#!/usr/bin/python3
"""What others do to an interface, its instance, our session or our target ends the capture, with that as its reason.

Nobody tells the service: it finds out when it compares what should be mirrored with what EC2 says, twice in a row.
"""
import json
import os
import signal
import sqlite3
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../support"), os.path.join(HERE, "../chaos")]
import host  # noqa: E402
import verdict  # noqa: E402
import world  # noqa: E402
import recorder  # noqa: E402
from recorder import ROOT, finish, inside_the_lab, run, wait_until  # noqa: E402

OWNER = "goes"
ROUNDS_S = 60  # the first look is 5 s after the start, the next 15 s after that


saying = threading.Lock()


def is_(*said):
    with saying:
        recorder.is_(*said)


class Scene:
    def __init__(self, folder, k):
        os.mkdir(folder)
        self.out = os.environ.get("TB_OUT", os.path.join(ROOT, "build/debug"))
        self.names = world.Names(k)
        host.build_wires(self.names)
        self.token = run(self.out + "/tapbox", "token", "add", "a", "--role", "analyst", "--file",
                         folder + "/tokens").stdout.strip()
        self.awsim = host.Awsim(self.out, self.names, folder)
        self.service = host.Service(self.out, self.names, folder, OWNER, folder + "/tokens", max_duration="1h")

    def start(self):
        self.service.start()
        wait_until("the service", self.service.ready, 30)

    def record(self, source):
        body = json.dumps({"source": source, "duration": "10m", "reason": "goes"})
        status, answer = self.service.call("POST", "/v1/captures", body, self.token)
        assert status == 202, (status, answer)
        key = answer["capture"]["id"]
        wait_until("the capture", lambda: self.row(key)["state"] == "recording", 30)
        return key

    def row(self, key):
        return self.service.rows(f"SELECT state, stop_reason, error_text FROM captures WHERE id = '{key}'")[0]

    def sessions(self, key):
        return [o for o in verdict.owned(self.awsim.history(), OWNER)
                if o["kind"] == "session" and o["tags"]["tapbox:capture"] == key]

    def age(self):
        """The objects are a minute older: EC2 is believed not to know what is younger."""
        link = sqlite3.connect(self.service.state + "/tapbox.db")
        with link:
            link.execute("UPDATE resources SET created_steady_ns = created_steady_ns - 61000000000")
        link.close()


def go(scene, cases, killed):
    """While the service is away, if it is `killed`; cases: (what happens, source, the change, words of the reason)."""
    scene.start()
    keys = {what: scene.record(source) for what, source, _, _ in cases}
    stays = scene.record(world.eni(12)) if cases is SOURCES else ""
    if killed:
        scene.service.end(signal.SIGKILL)
        scene.age()
    for what, _, change, _ in cases:
        if change == "delete_session":
            change = {"delete_session": scene.sessions(keys[what])[0]["id"]}
        assert scene.awsim.change(change), change
    if killed:
        scene.service.start()  # without a target it is not ready for anything new
    wait_until("their end", lambda: all(scene.row(key)["stop_reason"] != "none" for key in keys.values()), ROUNDS_S)
    for what, _, _, words in cases:
        row = scene.row(keys[what])
        away = " while the service is away" if killed else ""
        is_(f"{what}{away}: the capture ends, and says why", row["stop_reason"] == "source_gone" and words in row["error_text"], row)
    wait_until("the end of their sessions", lambda: all(o["until_ns"] for key in keys.values() for o in scene.sessions(key)), 20)
    if stays:
        is_("another capture goes on", scene.row(stays)["state"] == "recording", scene.row(stays))


def come_back(scene, lost, killed):
    """Of two interfaces one is lost, and the capture goes on: who asks for that one again gets a capture of its own."""
    scene.start()
    key = scene.record(world.instance(world.TWO))
    scene.service.end(signal.SIGKILL)
    scene.age()
    gone, = [s["id"] for s in scene.sessions(key) if s["eni"] == lost]
    assert scene.awsim.change({"delete_session": gone})
    scene.service.start()
    wait_until("the loss", lambda: scene.service.rows(
        f"SELECT 1 FROM capture_sources WHERE capture_id = '{key}' AND eni = '{lost}' AND gap <> ''"), ROUNDS_S)
    again = scene.record(lost)
    is_("an interface that a capture has lost is captured anew", again != key and len(scene.sessions(again)) == 1, (key, again))
    is_("and the other one goes on", scene.row(key)["state"] == "recording" and
        [s["eni"] != lost for s in scene.sessions(key) if not s["until_ns"]] == [True], scene.sessions(key))


SOURCES = [
    ("an interface is detached", world.eni(5), {"detach": world.eni(5)}, "detached"),
    ("an interface is deleted", world.eni(6), {"delete_interface": world.eni(6)}, "deleted"),
    ("an instance is stopped", world.instance(7), {"instance_state": {world.instance(7): "stopped"}}, "stopped"),
    ("an instance is terminated", world.instance(8), {"instance_state": {world.instance(8): "terminated"}}, ""),
    ("an instance is changed to a type that is not mirrored", world.eni(9),
     {"instance_type": {world.instance(9): "t2.micro"}}, "t2.micro"),
    ("our session is deleted by somebody else", world.eni(10), "delete_session", "deleted by somebody else")]
TARGETS = [[("the target's interface is deleted", world.eni(5), {"delete_interface": world.TARGET}, "target")],
           [("the target's interface is detached", world.eni(5), {"detach": world.TARGET}, "target")]]


def play(work, k, what, cases, killed):
    scene = Scene(f"{work}/{k}", k)
    try:
        what(scene, cases, killed)
    except Exception as e:  # nobody else would hear of it from a thread
        is_("the scene is played to its end", False, f"{e!r}\n" + open(scene.service.log, encoding="utf-8").read()[-3000:])
    finally:
        scene.service.end(signal.SIGKILL)
        scene.awsim.stop()


inside_the_lab()
with tempfile.TemporaryDirectory(dir="/run") as work:
    parts = [(go, SOURCES, True)] + [(go, target, killed) for target in TARGETS for killed in (False, True)]
    parts.append((come_back, world.eni(world.TWO, 1), True))
    plays = [threading.Thread(target=play, args=(work, k, *part)) for k, part in enumerate(parts, 1)]
    for one in plays:
        one.start()
    for one in plays:
        one.join()
finish()
