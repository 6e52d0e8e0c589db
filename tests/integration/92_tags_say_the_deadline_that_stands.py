#!/usr/bin/python3
"""What a sweep goes by when this host is dead: the tags say the deadline that stands, whatever kept them from it."""
import http.client
import json
import os
import signal
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../support"), os.path.join(HERE, "../chaos")]
import host  # noqa: E402
import verdict  # noqa: E402
import world  # noqa: E402
from recorder import ROOT, finish, inside_the_lab, is_, run, wait_until  # noqa: E402

PATIENCE_S = 60  # the reconciler looks every 15


class Scene:
    def __init__(self, folder):
        self.out = os.environ.get("TB_OUT", os.path.join(ROOT, "build/debug"))
        self.names = world.Names(1)
        host.build_wires(self.names)
        self.token = run(self.out + "/tapbox", "token", "add", "a", "--role", "analyst", "--file",
                         folder + "/tokens").stdout.strip()
        self.awsim = host.Awsim(self.out, self.names, folder)
        self.service = host.Service(self.out, self.names, folder, "tags", folder + "/tokens", max_duration="1h")

    def start(self, crash=""):
        self.service.start(crash)
        wait_until("the service", self.service.ready, 30)

    def request(self, n):
        body = json.dumps({"source": world.eni(n), "duration": "10m", "reason": "tags"})
        key = self.service.call("POST", "/v1/captures", body, self.token)[1]["capture"]["id"]
        wait_until("the capture", lambda: self.service.captures()[key]["state"] == "recording", 30)
        return key

    def session(self, key):
        return next(o for o in verdict.owned(self.awsim.history(), "tags")
                    if o["kind"] == "session" and o["tags"]["tapbox:capture"] == key)

    def off_s(self, key):
        """By how much the tag is later than the deadline of the store."""
        expires = verdict.utc_ns(self.session(key)["tags"]["tapbox:expires"])
        return (expires - self.service.captures()[key]["deadline_utc_ns"]) / verdict.NS

    def is_settled(self, key):
        return abs(self.off_s(key)) <= 2


def somebody_changes(scene, key, expires):
    host.ec2(scene.names, "CreateTags", ResourceId_1=scene.session(key)["id"], Tag_1_Key="tapbox:expires",
             Tag_1_Value=expires)


def crash_amid_an_extension(scene):
    """Killed when EC2 has the later expiry and the store has not; then EC2 refuses it for good."""
    scene.start("CreateTags:after#1")
    key, later, sooner = (scene.request(n) for n in (5, 6, 7))
    try:
        scene.service.call("POST", f"/v1/captures/{key}/extend", json.dumps({"duration": "20m", "reason": "tags"}), scene.token)
    except (OSError, http.client.HTTPException, ValueError):
        pass
    is_("the service was killed in the middle of the extension", scene.service.process.wait(30) == -signal.SIGKILL)
    is_("the tag says the later deadline, the store the earlier", scene.off_s(key) > 600, scene.off_s(key))
    somebody_changes(scene, later, "2040-01-01T00:00:00Z")
    somebody_changes(scene, sooner, "2020-01-01T00:00:00Z")
    scene.awsim.faults([{"action": "CreateTags", "do": {"error": {"status": 403, "code": "UnauthorizedOperation"}}}])
    scene.start()
    wait_until("the extension's withdrawal", lambda: scene.service.rows(
        f"SELECT extend_to_utc_ns AS ns FROM captures WHERE id = '{key}'")[0]["ns"] == 0, 30)
    is_("while EC2 refuses it the tag cannot be put back", scene.off_s(key) > 600, scene.off_s(key))
    scene.awsim.faults([])
    return key, later, sooner


inside_the_lab()
with tempfile.TemporaryDirectory(dir="/run") as work:
    scene = Scene(work)
    try:
        keys = crash_amid_an_extension(scene)
        wait_until("the tags", lambda: all(scene.is_settled(key) for key in keys), PATIENCE_S)
        is_("the tags say again what the store does: after a crash and a refusal, and after somebody's hand",
            all(scene.is_settled(key) for key in keys))
        is_("all of them record on", {c["state"] for c in scene.service.captures().values()} == {"recording"})
    except RuntimeError as e:
        is_("the scene is played to its end", False, f"{e!r}\n" + open(scene.service.log, encoding="utf-8").read()[-3000:])
    finally:
        scene.service.end()
        scene.awsim.stop()
finish()
