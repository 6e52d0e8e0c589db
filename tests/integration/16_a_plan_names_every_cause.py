#!/usr/bin/python3
"""Each code that pre-flight knows, provoked by its cause in awsim; `tapbox plan` and ?dry_run=1 say the same of it.

What S3 refuses is looked at with S3 (72, 81, 84); each other code that src/control has is provoked here, or this fails.
"""
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../support"), os.path.join(HERE, "../chaos")]
import host  # noqa: E402
import world  # noqa: E402
from recorder import ROOT, finish, inside_the_lab, is_, run, wait_until  # noqa: E402

OWNER, SHUT, STRANGE = "planner", "333344445555", "444455556666"
ROLE = "arn:aws:iam::%s:role/tapbox"
PEERED, ODD = "vpc-0c4a05c4a0500000a", "vpc-0c4a05c4a0500000b"
POLICY = "guard:\n  deny_tags: [crown=jewels]\nprofiles:\n  rest: {filter: all}\nrules:\n  - {name: rest, when: {}, capture: rest}\n"
TOKEN = "IQoJb3JpZ2luX2VjEXAMPLE"
EMPTY, CROWDED = "i-0c4a05c4a05e00001", "i-0c4a05c4a05e00002"


def extra(name):
    return f"eni-0c4a05c4a05e{name:05x}"


BALANCER, MANAGED, SIX, JEWEL, PEER, UNKNOWN_WAY, DENIED, DATABASE = (extra(n) for n in range(1, 9))


def describe(names, control):
    """The usual world, and in it one thing of each kind that is wrong."""
    w = world.describe(names, control, away=True)
    del w["shares"]

    def interface(key, last, **more):
        w["enis"].append({"id": key, "mac": f"02:99:01:00:09:{last:02x}", "subnet": world.THERE,
                          "private_ips": [f"10.99.{names.k + 100}.{last}"], **more})

    def vpc(key, net, routes):
        """One with an instance in it; its id's last digits are the VPC's."""
        tail, subnet = key[-6:], "subnet-" + key[4:]
        w["vpcs"].append({"id": key, "cidr": net + ".0/24"})
        w["subnets"].append({"id": subnet, "vpc": key, "cidr": net + ".0/24", "az": world.REGION + "a"})
        w["route_tables"].append({"id": "rtb-" + key[4:], "vpc": key, "main": True, "routes": routes})
        w["instances"].append({"id": "i-0c4a05c4a06" + tail, "subnet": subnet, "type": "m5.large"})
        w["security_groups"][0]["ingress"].append({"protocol": "udp", "from": 4789, "to": 4789, "cidr": net + ".0/24"})
        return {"subnet": subnet, "private_ips": [net + ".9"], "instance": "i-0c4a05c4a06" + tail, "device_index": 0}

    interface(BALANCER, 241, type="network_load_balancer")
    interface(MANAGED, 242, requester_managed=True, requester_id="amazon-elb", instance=world.instance(30), device_index=1)
    interface(DATABASE, 249, requester_managed=True, requester_id="amazon-rds")
    interface(SIX, 243, instance=world.instance(31), device_index=1)
    w["enis"][-1].update(private_ips=[], ipv6=["2001:db8:77::9"])
    interface(JEWEL, 244, instance=world.instance(32), device_index=1, tags={"crown": "jewels"})
    interface(DENIED, 247, instance=world.instance(32), device_index=2, tags={"tapbox:deny": ""})
    interface(PEER, 245, **vpc(PEERED, "10.87.1", [{"cidr": "10.99.0.0/16", "via": "pcx-0a1b2c3d4e5f60001"}]))
    interface(UNKNOWN_WAY, 246, **vpc(ODD, "10.87.2", [{"cidr": "10.99.0.0/16", "via": "eni-0a1b2c3d4e5f60002"}]))
    w["instances"] += [{"id": key, "subnet": world.THERE, "type": "m5.large"} for key in (EMPTY, CROWDED)]
    for n in range(17):
        interface(extra(100 + n), 220 + n, instance=CROWDED, device_index=n)
    w["accounts"][0]["keys"].append({"access_key": "ASIALABTAPBOX0000001", "secret_key": world.SECRET, "session_token": TOKEN})
    w["accounts"].append({"id": SHUT, "keys": [{"access_key": "AKIASHUT000000000001", "secret_key": "shut"}],
                          "roles": [{"arn": ROLE % SHUT, "external_id": "another", "trusts": [world.ACCOUNT]}]})
    return w


class Scene:
    def __init__(self, folder):
        self.out = os.environ.get("TB_OUT", os.path.join(ROOT, "build/debug"))
        names = self.names = world.Names(1)
        host.build_wires(names)
        host.way_to_s3(names, "refused")  # what is said of the bucket is not looked at here
        self.tokens = {role: run(self.out + "/tapbox", "token", "add", role, "--role", role, "--file",
                                 folder + "/tokens").stdout.strip() for role in ("alert", "analyst")}
        self.folder = folder
        with open(folder + "/policy.yaml", "w", encoding="utf-8") as file:
            file.write(POLICY)
        self.awsim = host.Awsim(self.out, names, folder, describe(names, folder + "/awsim.sock"))
        self.service = host.Service(self.out, names, folder, OWNER, folder + "/tokens", away=True, max_concurrent=1,
                                    policy=folder + "/policy.yaml", duration="10m", max_duration="1h")
        with open(self.service.config, "a", encoding="utf-8") as file:
            file.write(f"  {SHUT}:\n    role: {ROLE % SHUT}\n    external_id: wrong\n")
        self.seen = {}  # severities, by code
        self.begin()

    def begin(self, **environment):
        self.service.end()
        self.service.env = {**world.environment(self.names, self.folder), **environment}
        self.service.start()
        wait_until("the service", self.service.ready, 30)

    def mtu(self, octets):
        """Of both ends of the capture host's wire."""
        run("ip", "link", "set", self.names.port, "mtu", octets)
        run("ip", "-n", self.names.netns, "link", "set", "eth0", "mtu", octets)

    def plan(self, request):
        """The checks by both ways; `request` is an event's text, or what is posted."""
        event = isinstance(request, str)
        path = "/v1/events?dry_run=1" if event else "/v1/captures?dry_run=1"
        status, answer = self.service.call("POST", path, request if event else json.dumps({"reason": "test", **request}),
                                           self.tokens["analyst"], timeout=30)
        assert status == 200, (status, answer)
        words = ["--event", "-"] if event else [request["source"]] + (["--account", request["account"]] if "account" in request else [])
        done = subprocess.run([self.out + "/tapbox", "plan", "--json", *words], input=request if event else None, text=True,
                              capture_output=True, check=False, env={**os.environ, "TAPBOX_URL": self.names.api,
                                                                     "TAPBOX_TOKEN": self.tokens["analyst"]})
        return answer, json.loads(done.stdout or "null"), done.returncode

    def row(self, sentence, request, wanted, infos=()):
        """`wanted`: what stands against it, and warnings; `infos`: what is told besides."""
        answer, told, status = self.plan(request)
        checks = [(c["severity"], c["code"], c["text"]) for c in answer["checks"] if not c["code"].startswith("bucket")]
        found = sorted(f"{severity} {code}" for severity, code, _ in checks if severity != "info")
        there = {code for severity, code, _ in checks if severity == "info"}
        is_(sentence, found == sorted(wanted) and there >= set(infos), checks)
        blocked = any(one.startswith("block") for one in wanted)
        is_("  and tapbox plan says the same", told is not None and answer["blocked"] == blocked and status == int(blocked) and
            [(c["severity"], c["code"]) for c in told["checks"]] == [(c["severity"], c["code"]) for c in answer["checks"]],
            (status, told))
        for severity, code, text in checks:
            self.seen.setdefault(code, set()).add(severity)
            # a cause alone is no help: what to do stands behind it
            if severity != "info" and code not in ("ec2_refuses", "source_unsupported"):
                is_(f"  {code} says what to do", re.search(r"[:;.,] +\S", text) is not None and len(text) > 30, text)

    def faulty(self, action, code, status=400):
        self.awsim.faults([{"action": action, "do": {"error": {"status": status, "code": code}}}] if action else [])


def of(n):
    return {"source": world.eni(n) if isinstance(n, int) else n}


def moved(n, where):
    """A finding about instance `n` that names an interface which is another's by now."""
    return world.finding(world.dice("moved"), n).replace(world.eni(n), world.eni(where))


def sources(scene):
    """Before there is a target, a filter or a capture."""
    row = scene.row
    row("nothing stands against a good source, and its price is told", of(20), [], ["price", "mtu", "filter_rules", "source_bandwidth"])
    row("a source that is not there", of("i-0123456789abcdef0"), ["block source_not_found"])
    row("an instance without an interface", of(EMPTY), ["block no_interface"])
    row("more interfaces than a capture holds", of(CROWDED), ["warn many_interfaces"])
    row("our own target", of(world.TARGET), ["block own_target"])
    row("an interface that is attached to nothing", of(world.STOPPED_ENI), ["block not_attached"])
    row("one of a load balancer", of(BALANCER), ["block interface_type"])
    row("one that a service of AWS manages", of(MANAGED), ["warn requester_managed"])
    row("one of a database, which belongs to no instance here", of(DATABASE), ["warn requester_managed"])
    row("one without an IPv4 address", of(SIX), ["block no_ipv4"])
    row("one that the policy's guard forbids", of(JEWEL), ["block policy_guard"])
    row("one whose owner forbids it", of(DENIED), ["block deny_tag"])
    row("a finding whose interface has moved to another instance", moved(21, 22), ["block other_instance"])
    row("one of another Region", world.finding(world.dice("far"), 21).replace(world.REGION, "us-east-1"), ["block other_region"])
    row("an account that is not configured", {**of(20), "account": STRANGE}, ["block other_account"])
    row("an account whose role is not given to us", {**of(20), "account": SHUT}, ["block role_refused"])
    row("an account that the target is not shared with", {**of(5), "account": world.AWAY}, ["block target_not_shared"])
    row("another VPC without a way to the target", of(world.FAR), ["block no_route", "block target_group"])
    row("one with a peering", of(PEER), [], ["route"])
    row("one whose way nobody knows", of(UNKNOWN_WAY), ["warn route"])
    scene.awsim.change({"instance_state": {world.instance(23): "stopped"}, "instance_type": {world.instance(24): "t2.micro"}})
    row("a stopped instance", of(23), ["warn instance_state"])
    row("a type that AWS does not list", of(24), ["warn instance_type"])
    scene.awsim.change({"instance_state": {world.instance(25): "shutting-down"}})
    row("an instance that is ending", of(25), ["block instance_gone"])
    scene.mtu(1500)
    row("a capture host with a small MTU", of(20), ["warn mtu"])
    scene.mtu(9001)


def refusals(scene):
    """EC2 does not answer as it should."""
    for sentence, action, code, wanted in (
            ("credentials that may make no filter", "CreateTrafficMirrorFilter", "UnauthorizedOperation", ["block iam_denied"]),
            ("credentials that may not look at sources", "DescribeNetworkInterfaces", "UnauthorizedOperation", ["block source_not_known"]),
            ("credentials that may not look at groups", "DescribeSecurityGroups", "UnauthorizedOperation", ["warn not_known"])):
        scene.faulty(action, code, 403)
        scene.row(sentence, of(20), wanted)
    scene.faulty(None, None)


def with_target(scene):
    """With target and filter in place, and a capture that runs."""
    status, answer = scene.service.call("POST", "/v1/captures", json.dumps({**of(20), "reason": "test"}), scene.tokens["analyst"])
    assert status == 202, (status, answer)
    key = answer["capture"]["id"]

    def state():
        return scene.service.call("GET", "/v1/captures/" + key, token=scene.tokens["analyst"])[1]["state"]
    wait_until("the capture", lambda: state() == "recording", 30)
    scene.row("what is captured already is joined", of(20), [], ["joins", "target_capacity"])
    scene.row("with all places taken it would wait", of(26), ["warn no_place"])
    scene.service.call("POST", f"/v1/captures/{key}/stop", token=scene.tokens["analyst"])
    wait_until("its end", lambda: state() not in ("recording", "draining"), 30)

    def ours(kind):
        return next(o["id"] for o in scene.awsim.ask("/objects")[kind] if o["tags"].get("tapbox:owner") == OWNER)

    target, our_filter = ours("targets"), ours("filters")
    theirs = host.between(host.ec2(scene.names, "CreateTrafficMirrorFilter"), "trafficMirrorFilterId")

    def foreign(n, number):
        host.ec2(scene.names, "CreateTrafficMirrorSession", NetworkInterfaceId=world.eni(n), TrafficMirrorTargetId=target,
                 TrafficMirrorFilterId=theirs, SessionNumber=number)
    foreign(27, 5)
    scene.row("a session of others", of(27), ["warn foreign_sessions"])
    foreign(27, 32766)
    scene.row("no number left behind theirs", of(27), ["block session_number"])
    foreign(27, 6)
    scene.row("as many sessions as AWS allows", of(27), ["block ec2_refuses", "block sessions_full"])
    scene.row("EC2's own word on a type", of(24), ["block source_unsupported", "warn instance_type"])
    host.ec2(scene.names, "CreateTrafficMirrorTarget", NetworkInterfaceId=world.eni(28))
    scene.row("a target of somebody else", of(28), ["block is_target"])
    scene.awsim.change({"instance_type": {world.instance(0): "m5.large"}})
    for n in (*range(13, 20), 33, 34):
        foreign(n, 1)
    scene.row("a target that has all the sources it can", of(29), ["block target_full"])
    scene.awsim.change({"instance_type": {world.instance(0): "m5.24xlarge"}})
    scene.faulty("DeleteTrafficMirrorFilterRule", "UnauthorizedOperation", 403)  # else the reconciler takes it out
    rule = host.between(host.ec2(
        scene.names, "CreateTrafficMirrorFilterRule", TrafficMirrorFilterId=our_filter, TrafficDirection="ingress", RuleNumber=7,
        RuleAction="reject", SourceCidrBlock="10.0.0.0/8", DestinationCidrBlock="0.0.0.0/0"), "trafficMirrorFilterRuleId")
    scene.row("rules that somebody has added to our filter", of(26), ["warn filter_rules"])
    scene.faulty("", "")
    wait_until("the reconciler", lambda: rule not in host.ec2(scene.names, "DescribeTrafficMirrorFilters"), 60)


def credentials(scene):
    """They last for less than the capture, or nobody knows for how long."""
    short = {"AWS_ACCESS_KEY_ID": "ASIALABTAPBOX0000001", "AWS_SESSION_TOKEN": TOKEN}
    scene.begin(**short)
    scene.row("temporary credentials, nobody says until when", of(26), ["warn credentials"])
    scene.begin(**short, AWS_CREDENTIAL_EXPIRATION=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 300)))
    scene.row("temporary credentials that end before the capture does", of(26), ["block credentials"])


def known_codes():
    """Those that the source has; what S3 refuses is looked at with S3 (72, 81, 84)."""
    codes = set()
    for name in ("preflight.c", "preflight_path.c", "preflight_whole.c", "preflight_types.c"):
        with open(os.path.join(ROOT, "src/control", name), encoding="utf-8") as file:
            text = file.read()
        codes |= set(re.findall(r'\bblock\(\s*out, "(\w+)"', text))
        for call in re.findall(r"preflight_say\(\s*out,(.*?)(?:TB_CHECK_\w+, |hops\[i\]\.severity, )", text, re.DOTALL):
            codes |= set(re.findall(r'[(?:, ]\s*"([a-z]+_?[a-z0-9_]*)"', call))
    return {code for code in codes if not code.startswith("bucket")}


def play(scene):
    sources(scene)
    refusals(scene)
    with_target(scene)
    credentials(scene)
    known = known_codes()
    is_("many codes are known", len(known) > 30, sorted(known))
    is_("and each was provoked here", known == set(scene.seen), sorted(known ^ set(scene.seen)))


inside_the_lab()
with tempfile.TemporaryDirectory(dir="/run") as work:
    scene = Scene(work)
    try:
        play(scene)
    except (RuntimeError, AssertionError, OSError, KeyError, ValueError, StopIteration, http.client.HTTPException) as e:
        is_("the scene is played to its end", False, f"{e!r}\n" + open(scene.service.log, encoding="utf-8").read()[-3000:])
    finally:
        scene.service.end(signal.SIGKILL)
        scene.awsim.stop()
finish()
