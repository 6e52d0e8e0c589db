#!/usr/bin/python3
"""A session whose create was lost or refused: what was made is found and goes, and no teardown makes one.  And a target of
somebody else's, about which the store was killed while it noted it."""
import json
import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../support"), os.path.join(HERE, "../chaos")]
import host  # noqa: E402
import verdict  # noqa: E402
import world  # noqa: E402
from recorder import ROOT, finish, inside_the_lab, is_, run, wait_until  # noqa: E402

DENIED = {"error": {"status": 403, "code": "UnauthorizedOperation"}}
PATIENCE_S = 35
# what each create meets, and how many sessions it makes
CASES = [
    ("a create that is denied for good", [{"do": DENIED}], 0),
    ("a create that is made, unheard, and denied from then on",
     [{"nth": 1, "do": {"lose": "after"}}, {"from": 2, "do": DENIED}], 1),
    ("one that EC2 lists only seconds later",
     [{"nth": 1, "do": {"lose": "after", "visible_after_ms": 3000}}, {"from": 2, "do": DENIED}], 1),
    ("one that never arrived, and is denied from then on",
     [{"nth": 1, "do": {"lose": "before"}}, {"from": 2, "do": DENIED}], 0),
]


def is_down(service, keys):
    """None has a session to delete any more, as the store has it."""
    return all(c["state"] in verdict.FINAL or c["state"] == "sealing" for k, c in service.captures().items() if k in keys)


def scene(folder):
    out = os.environ.get("TB_OUT", os.path.join(ROOT, "build/debug"))
    names = world.Names(1)
    host.build_wires(names)
    token = run(out + "/tapbox", "token", "add", "a", "--role", "analyst", "--file", folder + "/tokens").stdout.strip()
    awsim = host.Awsim(out, names, folder)
    service = host.Service(out, names, folder, "lost", folder + "/tokens")
    try:
        service.start()
        wait_until("the service", service.ready, 30)
        enis = [world.eni(5 + n) for n in range(len(CASES))]
        awsim.faults([{"action": "CreateTrafficMirrorSession", "match": {"NetworkInterfaceId": eni}, **rule}
                      for eni, (_, rules, _) in zip(enis, CASES) for rule in rules])
        keys = [service.call("POST", "/v1/captures", json.dumps({"source": eni, "duration": "10s", "reason": "lost"}),
                             token)[1]["capture"]["id"] for eni in enis]
        ended = []
        for key in keys:
            try:
                wait_until("its end", lambda key=key: is_down(service, [key]), PATIENCE_S)
            except RuntimeError:
                pass
            ended.append(is_down(service, [key]))
        awsim.faults([])
        wait_until("the end of all, now that nothing is denied", lambda: is_down(service, keys), 60)
        for key, down, (what, _, made) in zip(keys, ended, CASES):
            is_(f"{what} comes down while it is denied", down, service.captures()[key])
            sessions = [o for o in verdict.owned(awsim.history(), "lost") if o["tags"].get("tapbox:capture") == key]
            is_(f"{what} makes {made or 'no'} session, in its time, which is gone", len(sessions) == made and all(
                o["until_ns"] and o["from_ns"] < verdict.utc_ns(o["tags"]["tapbox:expires"]) for o in sessions), sessions)
        service.end(host.signal.SIGKILL)
        awsim.change({"delete_interface": world.TARGET})
        service.start()

        def tries():
            log = open(service.log, encoding="utf-8").read().split("--- serve starts")[-1]
            return [line for line in log.splitlines() if "step 'sealing' failed" in line]

        wait_until("a try to seal", tries, 20)  # there is no S3 here
        is_("evidence is sealed also when the target is gone", all("PutObject" in line for line in tries()), tries())
    except (RuntimeError, AssertionError, OSError) as e:
        is_("the scene is played to its end", False, f"{e!r}\n" + open(service.log, encoding="utf-8").read()[-3000:])
    finally:
        service.end()
        awsim.stop()


def found_target(folder, when):
    """Killed between seeing that our interface has a target and having written that down."""
    out = os.environ.get("TB_OUT", os.path.join(ROOT, "build/debug"))
    names = world.Names(2)
    token = run(out + "/tapbox", "token", "add", "a", "--role", "analyst", "--file", folder + "/tokens").stdout.strip()
    awsim = host.Awsim(out, names, folder)
    service = host.Service(out, names, folder, "found", folder + "/tokens")
    body = json.dumps({"source": world.eni(5), "duration": "60s", "reason": "found"})
    try:
        target = host.between(host.ec2(names, "CreateTrafficMirrorTarget", NetworkInterfaceId=world.TARGET),
                              "trafficMirrorTargetId")
        service.start(when)
        wait_until("the service", service.ready, 30)
        key = service.call("POST", "/v1/captures", body, token)[1]["capture"]["id"]
        is_(f"it is killed at {when}", service.process.wait(30) == -host.signal.SIGKILL)
        service.start()
        wait_until("its end, or its beginning",
                   lambda: service.captures()[key]["state"] in ("recording", *verdict.FINAL), PATIENCE_S)
        capture = service.captures()[key]
        is_(f"killed at {when}, the capture records all the same", capture["state"] == "recording", capture)
        known = service.rows("SELECT aws_id FROM resources WHERE kind = 'target' AND state <> 'gone'")
        is_("with the target that was there", [row["aws_id"] for row in known] == [target], known)
    except (RuntimeError, AssertionError, OSError) as e:
        is_("the scene is played to its end", False, f"{e!r}\n" + open(service.log, encoding="utf-8").read()[-3000:])
    finally:
        service.end()
        awsim.stop()


inside_the_lab()
host.build_wires(world.Names(2))
for crash in ("resource_intend:before", "resource_intend:after", "resource_created:before", "resource_created:after"):
    with tempfile.TemporaryDirectory(dir="/run") as work:
        found_target(work, crash)
with tempfile.TemporaryDirectory(dir="/run") as work:
    scene(work)
finish()
