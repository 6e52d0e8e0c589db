#!/usr/bin/python3
"""Sources in another account: session and filter are made there through its role, and everything is taken down there.

The host's instances belong to account AWAY, the mirror target to ours; both play on real wires with real packets.
"""
import http.client
import json
import os
import re
import signal
import sqlite3
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../support"), os.path.join(HERE, "../chaos")]
import host  # noqa: E402
import verdict  # noqa: E402
import world  # noqa: E402
from recorder import PATIENCE_S, ROOT, finish, inside_the_lab, is_, run, wait_until  # noqa: E402

AWAY, SHUT, STRANGE = "222233334444", "333344445555", "444455556666"
ROLE = "arn:aws:iam::%s:role/lab/tapbox"
OWNER = "roamer"
OURS = 9  # this instance is in our own account


def describe(names, control):
    """The usual world, with the sources in another account."""
    w = world.describe(names, control)
    for kind in ("instances", "enis"):
        for thing in w[kind]:
            if thing["id"] not in (world.instance(0), world.TARGET, world.instance(OURS), world.eni(OURS)):
                thing["owner"] = AWAY
    # these credentials are due for renewal as soon as they are there
    w["accounts"] += [{"id": AWAY, "keys": [{"access_key": "AKIAAWAY000000000001", "secret_key": "away"}],
                       "roles": [{"arn": ROLE % AWAY, "external_id": "ex-1", "trusts": [world.ACCOUNT],
                                  "credentials_s": 4}]},
                      {"id": SHUT, "keys": [{"access_key": "AKIASHUT000000000001", "secret_key": "shut"}],
                       "roles": [{"arn": ROLE % SHUT, "external_id": "another", "trusts": [world.ACCOUNT]}]},
                      {"id": STRANGE, "keys": [{"access_key": "AKIASTRANGE000000001", "secret_key": "strange"}]}]
    return w


class Scene:
    def __init__(self, folder):
        self.out = os.environ.get("TB_OUT", os.path.join(ROOT, "build/debug"))
        names = self.names = world.Names(1)
        host.build_wires(names)
        run("ip", "addr", "add", world.S3.split(":")[0] + "/32", "dev", "lo")
        run(os.path.join(ROOT, "tests/lab/radosgw.sh"), "start", folder + "/s3", "--listen", world.S3, "--bucket",
            world.BUCKET, env={**os.environ, "LAB_ACCESS_KEY": world.KEY, "LAB_SECRET_KEY": world.SECRET})
        self.tokens = {role: run(self.out + "/tapbox", "token", "add", role, "--role", role, "--file",
                                 folder + "/tokens").stdout.strip() for role in ("alert", "analyst")}
        self.awsim = host.Awsim(self.out, names, folder, describe(names, folder + "/awsim.sock"))
        self.service = host.Service(self.out, names, folder, OWNER, folder + "/tokens", duration="25s")
        with open(self.service.config, "a", encoding="utf-8") as file:
            file.write(f"accounts:\n  {AWAY}:\n    role: {ROLE % AWAY}\n    external_id: ex-1\n"
                       f"  {SHUT}:\n    role: {ROLE % SHUT}\n    external_id: wrong\n")
        self.traffic = host.Traffic(names)

    def post(self, path, body, role="analyst"):
        return self.service.call("POST", path, body if isinstance(body, str) else json.dumps(body), self.tokens[role])

    def start(self, account=AWAY, n=1, duration="20s"):
        status, answer = self.post("/v1/captures", {"source": world.eni(n), "duration": duration, "reason": "test",
                                                    "account": account})
        assert status == 202, (status, answer)
        return answer["capture"]["id"]

    def blocks(self, account, n=1):
        """What stands against it, by code."""
        status, plan = self.post("/v1/captures?dry_run=1", {"source": world.eni(n), "reason": "t", "account": account})
        assert status == 200, (status, plan)
        return [check["code"] for check in plan["checks"] if check["severity"] == "block"], plan

    def get(self, key):
        return self.service.call("GET", "/v1/captures/" + key, token=self.tokens["analyst"])[1]

    def wait_for(self, key, *states, patience_s=25):
        wait_until(f"{key} {states}", lambda: self.get(key)["state"] in states, patience_s)
        return self.get(key)

    def sessions(self, key):
        return [o for o in verdict.owned(self.awsim.history(), OWNER)
                if o["kind"] == "session" and o["tags"].get("tapbox:capture") == key]

    def live(self, kind, account):
        return [o for o in self.awsim.ask("/objects")[kind] if o["owner"] == account]


def what_stands_against_it(scene):
    is_("an account that is not configured is refused, with its code", scene.blocks(STRANGE)[0] == ["other_account"],
        scene.blocks(STRANGE))
    codes, plan = scene.blocks(SHUT)
    is_("a role that is not given to us, too", "role_refused" in codes, plan)
    codes, plan = scene.blocks(AWAY)
    is_("and a target that is not shared", codes == ["target_not_shared"], plan)
    wanted = ((STRANGE, "refused", "other_account"), (SHUT, "refused", "role_refused"), (AWAY, "failed", "target_not_shared"))
    for account, state, code in wanted:
        end = scene.wait_for(scene.start(account), "refused", "failed")
        is_(f"a capture there ends as {state}, {code}", (end["state"], end["error"]["code"]) == (state, code), end["error"])
    is_("no session was made for any of them", scene.awsim.ask("/objects")["sessions"] == [])


def from_alert_to_sealed(scene):
    """A finding of the other account; our target is shared with it now."""
    scene.awsim.ask("/shares", "POST", {"target_owner": world.ACCOUNT, "with": [AWAY]})
    codes, plan = scene.blocks(AWAY)
    is_("with the target shared nothing stands against it", codes == [] and not plan["blocked"], plan)
    finding = world.finding(world.dice("away"), 1).replace(world.ACCOUNT, AWAY)
    status, answer = scene.post("/v1/events", finding, "alert")
    is_("a finding of the other account is accepted", status == 202, answer)
    key = answer["capture"]["id"]
    scene.wait_for(key, "recording")
    session, = scene.sessions(key)
    made = next(e for e in scene.awsim.history()["events"] if e["event"] == "create" and e["id"] == session["id"])
    is_("its session is made in the account of the source, by its role",
        made["account"] == AWAY and re.search(r"assumed-role/tapbox/tapbox-" + OWNER, made["by"]), made)
    is_("with our target and a filter of that account", made["target"] == scene.live("targets", world.ACCOUNT)[0]["id"] and
        made["filter"] in [f["id"] for f in scene.live("filters", AWAY)], made)
    before = session["tags"]["tapbox:expires"]
    status, answer = scene.post(f"/v1/captures/{key}/extend", {"duration": "2s"})
    after = scene.sessions(key)[0]["tags"]["tapbox:expires"]
    is_("an extension is confirmed there", status == 200 and after > before, (status, answer, before, after))
    foreign = scene.service.call("GET", "/v1/foreign-sessions", token=scene.tokens["analyst"])[1]
    is_("nothing of it is foreign to us, and what could not be looked at is named", foreign["sessions"] == [] and
        [(u["account"], "cannot assume" in u["why"]) for u in foreign["unseen_accounts"]] == [(SHUT, True)], foreign)
    scene.service.end(signal.SIGKILL)
    scene.service.start()
    wait_until("the service", scene.service.ready, 30)
    end = scene.wait_for(key, "sealed", "failed", patience_s=30)
    is_("killed on the way, it is sealed at its deadline", (end["state"], end["stop_reason"]) == ("sealed", "deadline"), end)
    is_("with the packets of the other account's interface", end["ledger"]["written"] > 20, end["ledger"])
    session, = scene.sessions(key)
    lag_s = (session["until_ns"] - verdict.utc_ns(session["tags"]["tapbox:expires"])) / verdict.NS
    is_("and its session was taken down in time", session["until_ns"] and lag_s < 40, session)


def rogue(scene):
    """Somebody in that account mirrors to a target of their own: we see it, and leave it."""
    def ask(action, **parameters):
        key, secret = world.KEY, world.SECRET
        world.KEY, world.SECRET = "AKIAAWAY000000000001", "away"
        try:
            return host.ec2(scene.names, action, **parameters)
        finally:
            world.KEY, world.SECRET = key, secret
    there = host.between(ask("CreateTrafficMirrorTarget", NetworkInterfaceId=world.eni(30)), "trafficMirrorTargetId")
    filter_id = host.between(ask("CreateTrafficMirrorFilter"), "trafficMirrorFilterId")
    session = host.between(ask("CreateTrafficMirrorSession", NetworkInterfaceId=world.eni(2), TrafficMirrorTargetId=there,
                               TrafficMirrorFilterId=filter_id, SessionNumber=1), "trafficMirrorSessionId")
    foreign = scene.service.call("GET", "/v1/foreign-sessions", token=scene.tokens["analyst"])[1]["sessions"]
    is_("a rogue mirror in the other account is listed", [s["id"] for s in foreign] == [session], foreign)
    return session


def killed_for_good(scene, rogue_session):
    """The host dies right after a session was made there: a sweep from elsewhere is left."""
    scene.service.end(signal.SIGKILL)
    scene.service.start(crash="CreateTrafficMirrorSession:after#1")
    wait_until("the service", scene.service.ready, 30)
    key = scene.start(n=5, duration="10s")
    scene.service.process.wait(60 + PATIENCE_S)
    session, = scene.sessions(key)
    is_("killed after the create, before the answer was written down, the session is there", not session["until_ns"], session)
    wait_until("its expiry", lambda: time.time_ns() > verdict.utc_ns(session["tags"]["tapbox:expires"]) + verdict.NS, 20)
    scene.service.sweep()
    is_("a sweep of our own account cannot reach it", not scene.sessions(key)[0]["until_ns"])
    status = scene.service.sweep("--role", ROLE % AWAY, "--external-id", "ex-1")
    is_("a sweep through the role takes it down", status == 0 and scene.sessions(key)[0]["until_ns"], status)
    is_("and leaves the rogue one, which is not ours", [s["id"] for s in scene.live("sessions", AWAY)] == [rogue_session])
    scene.service.start()
    wait_until("the service", scene.service.ready, 30)
    end = scene.wait_for(key, "sealed", "failed", patience_s=40)
    is_("the next start finds it gone and ends the capture", end["state"] in ("sealed", "failed"), end)
    is_("no interface had two sessions of ours", verdict.duplicates(scene.awsim.history(), OWNER) == [])


def with_the_wrong_credentials(scene):
    """While a capture runs, the service is started with those of another account: there nobody knows the session."""
    key = scene.start(world.ACCOUNT, OURS, "20s")
    scene.wait_for(key, "recording")
    scene.service.end(signal.SIGKILL)
    link = sqlite3.connect(scene.service.state + "/tapbox.db")
    with link:  # so old that EC2 is believed when it does not know it
        link.execute("UPDATE resources SET created_steady_ns = created_steady_ns - 61000000000")
    link.close()
    right = scene.service.env
    scene.service.env = {**right, "AWS_ACCESS_KEY_ID": "AKIASTRANGE000000001", "AWS_SECRET_ACCESS_KEY": "strange"}
    scene.service.start()

    def row():
        return scene.service.rows("SELECT c.state, c.attempt, c.error_text, r.state AS session FROM captures AS c JOIN resources "
                                  f"AS r ON r.capture_id = c.id AND r.kind = 'session' WHERE c.id = '{key}'")[0]
    wait_until("a teardown", lambda: row()["state"] not in ("recording", "draining") or
               (row()["state"] == "draining" and row()["attempt"] > 1), 40)
    is_("a session of another account than ours now is not taken for gone", row()["session"] != "gone", row())
    is_("the capture says why it cannot be deleted", f"{world.ACCOUNT}/{world.REGION}" in row()["error_text"], row())
    scene.service.end(signal.SIGKILL)
    scene.service.env = right
    scene.service.start()
    wait_until("the service", scene.service.ready, 30)
    end = scene.wait_for(key, "sealed", "failed", patience_s=40)
    is_("with the right ones it goes, and the capture is sealed", end["state"] == "sealed" and scene.sessions(key)[0]["until_ns"],
        end)


inside_the_lab()
with tempfile.TemporaryDirectory(dir="/run") as work:
    scene = Scene(work)
    try:
        scene.service.start()
        wait_until("the service", scene.service.ready, 30)
        what_stands_against_it(scene)
        from_alert_to_sealed(scene)
        with_the_wrong_credentials(scene)
        killed_for_good(scene, rogue(scene))
    except (RuntimeError, AssertionError, OSError, ValueError, http.client.HTTPException) as e:
        is_("the scene is played to its end", False, f"{e!r}\n" + open(scene.service.log, encoding="utf-8").read()[-3000:])
    finally:
        scene.traffic.stop()
        scene.service.end()
        scene.awsim.stop()
finish()
