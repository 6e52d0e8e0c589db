"""The world of one host: awsim's description, tapbox's configuration, alerts.  Numbered, so that many stand side by side."""
import json
import os
import random
import time
import uuid

ACCOUNT = "111122223333"
REGION = "eu-central-1"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/sweeper"
AWAY = "222233334444"  # another account, with some of the sources when a run has it
AWAY_ROLE = f"arn:aws:iam::{AWAY}:role/tapbox"
KEY, SECRET = "AKIALABTAPBOX0000001", "lab/not-a-secret/only-this-lab-knows+it"
BUCKET = "tapbox-evidence"
LOCKED = "tapbox-locked"  # its versions can be kept from everybody
S3 = "10.98.0.1:7480"
SQS = "10.98.0.2:4566"  # not S3's address: that is taken away at times
VPC, GROUP = "vpc-0c4a05c4a05000001", "sg-0c4a05c4a05000001"
HERE, THERE = "subnet-0c4a05c4a05000001", "subnet-0c4a05c4a05000002"  # of the target, of the sources
FAR_VPC, FAR_SUBNET = "vpc-0c4a05c4a05000002", "subnet-0c4a05c4a05000003"
INSTANCES = 40  # of each world unless told otherwise; there is traffic on the interfaces of the first WIRED
WIRED = 2
FAR = 4095  # this one lies in another VPC
TWO = 3  # this one has two interfaces
DATABASE_ENI = "eni-0c4a05c4a05fffffe"  # of an instance of RDS, which is not seen
STOPPED_ENI = "eni-0c4a05c4a05ffffff"  # exists, but is attached to nothing


def instance(n):
    return f"i-0c4a05c4a05{n:06x}"


def eni(n, device=0):
    return f"eni-0c4a05c4a0{device}{n:06x}"


TARGET = "eni-0c4a05c4a05aaaaaa"


class Names:
    """What belongs to host number `k`."""

    def __init__(self, k):
        self.k = k
        self.netns = f"h{k}"
        self.port = f"p{k}"
        self.mac = f"02:99:{k:02x}:00:00:02"
        self.gate = f"10.99.{k}.1"  # our side of the wire: EC2 and STS
        self.address = f"10.99.{k}.2"  # the capture host's
        self.wires = [(f"s{k}w{n}", f"s{k}x{n}") for n in range(WIRED)]
        self.ec2 = f"http://{self.gate}:8480"
        self.api = f"http://{self.address}:8480"


def is_away(source):
    """Whether the source lies in the other account, of a run that has one."""
    return source in {name(n) for n in range(5, 13) for name in (instance, eni)}


def describe(names, control, instances=INSTANCES, away=False):
    """awsim's world file; at most 240 instances."""
    def address(last):
        return f"10.99.{names.k + 100}.{last}"

    def interface(key, last, n, **more):
        return {"id": key, "mac": f"02:99:{names.k:02x}:00:01:{last:02x}", "subnet": THERE, "private_ips": [address(last)],
                "instance": instance(n), "device_index": 0, **more}

    enis = [interface(TARGET, 0, 0, subnet=HERE, private_ips=[names.address], mac=names.mac, port=names.port,
                      groups=[GROUP])]
    for n in range(1, instances + 1):
        enis.append(interface(eni(n), n, n, **({"port": names.wires[n - 1][0]} if n <= WIRED else {})))
    enis.append(interface(eni(TWO, 1), 250, TWO, device_index=1))
    enis.append({"id": eni(FAR), "mac": "02:99:00:00:03:01", "subnet": FAR_SUBNET, "private_ips": [f"10.88.{names.k}.9"],
                 "instance": instance(FAR), "device_index": 0})
    enis.append({"id": STOPPED_ENI, "mac": "02:99:00:00:02:01", "subnet": THERE, "private_ips": [address(251)]})
    enis.append({"id": DATABASE_ENI, "mac": "02:99:00:00:02:02", "subnet": THERE, "private_ips": [address(252)],
                 "requester_managed": True, "requester_id": "amazon-rds"})
    whole, far = "10.99.0.0/16", f"10.88.{names.k}.0/24"
    described = {
        "region": REGION, "ring": {"blocks": 16, "retire_ms": 10}, "api": {"listen": names.gate, "port": 8480}, "control": control,
        "accounts": [{"id": ACCOUNT, "roles": [{"arn": ROLE}], "keys": [{"access_key": KEY, "secret_key": SECRET}]}],
        "vpcs": [{"id": VPC, "cidr": whole}, {"id": FAR_VPC, "cidr": far}],
        "subnets": [{"id": HERE, "vpc": VPC, "cidr": f"10.99.{names.k}.0/29", "az": REGION + "a"},
                    {"id": THERE, "vpc": VPC, "cidr": address(0) + "/24", "az": REGION + "a"},
                    {"id": FAR_SUBNET, "vpc": FAR_VPC, "cidr": far, "az": REGION + "a"}],
        "route_tables": [{"id": "rtb-0c4a05c4a05000001", "vpc": VPC, "main": True,
                          "routes": [{"cidr": whole, "via": "local"}]},
                         {"id": "rtb-0c4a05c4a05000002", "vpc": FAR_VPC, "main": True,
                          "routes": [{"cidr": far, "via": "local"}]}],
        "security_groups": [{"id": GROUP, "vpc": VPC, "name": "mirror", "description": "mirrored traffic",
                             "ingress": [{"protocol": "udp", "from": 4789, "to": 4789, "cidr": whole}]}],
        "instances": [{"id": instance(n), "subnet": THERE if n else HERE, "type": "m5.large" if n else "m5.24xlarge"}
                      for n in range(instances + 1)] + [{"id": instance(FAR), "subnet": FAR_SUBNET, "type": "m5.large"}],
        "enis": enis}
    if away:
        for thing in described["instances"] + enis:
            if is_away(thing["id"]):
                thing["owner"] = AWAY
        described["accounts"].append({"id": AWAY, "keys": [{"access_key": "AKIAAWAY000000000001", "secret_key": "away"}],
                                      "roles": [{"arn": AWAY_ROLE, "trusts": [ACCOUNT]}]})
        described["shares"] = [{"target_owner": ACCOUNT, "with": [AWAY]}]
    return described


# A policy of the user's own: a finding gets its peers alone, once EC2 has told the source's tags; what joins widens that.
POLICY = """profiles:
  peers: {filter: peers, duration: 4s}
  rest: {filter: all, duration: 4s}
rules:
  - {name: quiet, when: {tag: "quiet=*"}, ignore: it is to be left alone}
  - {name: c2, when: {type: "Backdoor:EC2/*"}, capture: peers}
  - {name: rest, when: {}, capture: rest}
"""


def write_policy(folder):
    with open(folder + "/policy.yaml", "w", encoding="utf-8") as file:
        file.write(POLICY)
    return folder + "/policy.yaml"


def configuration(names, owner, state, tokens, policy="", away=False, queue="", parts=False, locked=False, **more):
    settings = {"duration": "4s", "max_duration": "1m", "max_concurrent": 30, "rotate_seconds": 1, **more}
    return f"""listen: {names.address}:8480
state_dir: {state}
tokens_file: {tokens}
owner: {owner}
log: info
rate:
  per_address: 0
  per_token: 0
target:
  eni: {TARGET}
recorder:
  interface: eth0
  ring: 1MiB
  memory: 8MiB
  level: 1
spool:
  min_free: 0
s3:
  bucket: {LOCKED if locked else BUCKET}
  path_style: true
{"  object_lock_mode: GOVERNANCE" if locked else ""}
{"  part_above: 1" if parts else ""}
cloudwatch:
  namespace: chaos
capture:
""" + "".join(f"  {key}: {value}\n" for key, value in settings.items()) + "policy:\n  cooldown: 0\n" + (
        f"  file: {policy}\n" if policy else "") + (f"accounts:\n  {AWAY}:\n    role: {AWAY_ROLE}\n" if away else "") + (
        f"sqs:\n  queue_url: {queue}\n  pollers: 1\n  visibility_seconds: 5\n" if queue else "")


def environment(names, state):
    """For the programs that are to take awsim for AWS, and must never find the real one."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("AWS_") and key != "TAPBOX_CRASH"}
    env.update(AWS_REGION=REGION, AWS_ENDPOINT_URL=names.ec2, AWS_ENDPOINT_URL_S3=f"http://{S3}", AWS_ENDPOINT_URL_SQS=f"http://{SQS}",
               AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=SECRET, AWS_CONFIG_FILE="/dev/null",
               AWS_SHARED_CREDENTIALS_FILE="/dev/null", AWS_EC2_METADATA_DISABLED="true", HOME=state)
    return env


def finding(rng, n, severity=8, account=ACCOUNT):
    """A GuardDuty finding about instance `n` and one of some peers, as EventBridge delivers it."""
    now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    key = "%032x" % rng.getrandbits(128)
    detail = {
        "schemaVersion": "2.0", "accountId": account, "region": REGION, "partition": "aws", "id": key,
        "arn": f"arn:aws:guardduty:{REGION}:{account}:detector/a1b2c3d4e5f60718293a4b5c6d7e8f90/finding/{key}",
        "type": "Backdoor:EC2/C&CActivity.B", "severity": severity, "createdAt": now + ".011Z",
        "updatedAt": now + ".246Z", "title": f"Command and control server contacted by {instance(n)}.",
        "description": "A known command and control server was contacted.",
        "resource": {"resourceType": "Instance", "instanceDetails": {
            "instanceId": instance(n), "instanceType": "m5.large",
            "networkInterfaces": [{"networkInterfaceId": eni(n), "ipv6Addresses": [], "subnetId": THERE, "vpcId": VPC,
                                   "privateIpAddress": "10.99.0.1"}]}},
        "service": {"serviceName": "guardduty", "detectorId": "a1b2c3d4e5f60718293a4b5c6d7e8f90", "archived": False,
                    "count": 1, "resourceRole": "ACTOR", "eventFirstSeen": now + ".000Z",
                    "eventLastSeen": now + ".000Z", "additionalInfo": {"type": "default"},
                    "action": {"actionType": "NETWORK_CONNECTION", "networkConnectionAction": {
                        "connectionDirection": "OUTBOUND", "protocol": "TCP", "blocked": False,
                        "localNetworkInterface": eni(n), "localIpDetails": {"ipAddressV4": "10.99.0.1"},
                        "localPortDetails": {"port": 40022}, "remotePortDetails": {"port": 443},
                        "remoteIpDetails": {"ipAddressV4": f"198.51.100.{rng.choice([10, 10, 11, 12])}"}}}}}
    return json.dumps({"version": "0", "id": str(uuid.UUID(int=rng.getrandbits(128))),
                       "detail-type": "GuardDuty Finding", "source": "aws.guardduty", "account": account,
                       "time": now + "Z", "region": REGION, "resources": [], "detail": detail})


def news(rng, n):
    """Instance `n` has stopped, as EventBridge tells it; whether it has is EC2's to say."""
    return json.dumps({"version": "0", "id": str(uuid.UUID(int=rng.getrandbits(128))),
                       "detail-type": "EC2 Instance State-change Notification", "source": "aws.ec2", "account": ACCOUNT,
                       "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "region": REGION,
                       "resources": [f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/{instance(n)}"],
                       "detail": {"instance-id": instance(n), "state": "stopped"}})


# --- what goes wrong in EC2 ---

CHANGES = ["CreateTrafficMirrorSession", "CreateTrafficMirrorTarget", "CreateTrafficMirrorFilter",
           "CreateTrafficMirrorFilterRule", "DeleteTrafficMirrorSession", "CreateTags",
           "ModifyTrafficMirrorFilterNetworkServices", "ModifyTrafficMirrorSession"]
LOOKS = ["DescribeInstances", "DescribeNetworkInterfaces", "DescribeTrafficMirrorSessions",
         "DescribeTrafficMirrorFilters", "DescribeTrafficMirrorTargets"]


def faults(rng):
    """What goes wrong together: rules for awsim."""
    if rng.random() < 0.1:
        # made, and nobody told; and then it is not allowed to ask again
        change, n = rng.choice(CHANGES[:1] * 3 + CHANGES), rng.randint(1, 3)
        return [{"action": change, "nth": n, "do": rng.choice([{"lose": "after"}, {"error": {}, "effect": "after"}])},
                {"action": change, "from": n + 1, "to": n + rng.randint(1, 4),
                 "do": {"error": {"status": 403, "code": "UnauthorizedOperation"}}}]
    return [fault(rng)]


def fault(rng):
    """One rule."""
    kind = rng.choice(["latency", "throttle", "error", "error after", "lost", "lost before", "hang", "late", "gone late",
                       "expired", "sts", "sometimes", "storm"])
    change = rng.choice(CHANGES[:1] * 4 + CHANGES[4:5] * 3 + CHANGES)
    look = rng.choice(LOOKS)
    some = {"nth": rng.randint(1, 3)}
    error = rng.choice([{"status": 500, "code": "InternalError"}, {"status": 503, "code": "Unavailable"},
                        {"status": 503, "code": "InsufficientInstanceCapacity"}])
    if kind == "latency":
        return {"action": rng.choice(["*", change, look]), "do": {"latency_ms": [10, rng.randint(20, 900)]}}
    if kind == "throttle":
        return {"action": rng.choice(["*", change, look]), "from": 1, "to": rng.randint(1, 4), "do": {"throttle": True}}
    if kind == "error":
        return {"action": rng.choice([change, look]), **some, "do": {"error": error}}
    if kind == "error after":
        return {"action": change, **some, "do": {"error": error, "effect": "after"}}
    if kind == "lost":
        return {"action": change, **some, "do": {"lose": "after"}}
    if kind == "lost before":
        return {"action": rng.choice([change, look]), **some, "do": {"lose": "before"}}
    if kind == "hang":
        return {"action": change, **some, "do": {"hang_ms": rng.randint(500, 4000),
                                                 "effect": rng.choice(["before", "after"])}}
    if kind == "late":
        return {"action": "Create*", "do": {"visible_after_ms": rng.randint(200, 3000),
                                            "delete_sees": rng.random() < 0.7, "use_sees": rng.random() < 0.7}}
    if kind == "gone late":
        return {"action": "Delete*", "do": {"gone_after_ms": rng.randint(200, 3000)}}
    if kind == "expired":
        return {"action": rng.choice(["*", change, look]), "from": some["nth"],
                "to": some["nth"] + rng.choice([0, 1, 2, 3, 1000000]), "do": {"expired_credentials": True}}
    if kind == "sts":
        return {"service": "sts", "from": 1, "to": rng.randint(1, 3),
                "do": rng.choice([{"throttle": True}, {"expired_credentials": True}, {"lose": "after"}])}
    if kind == "storm":
        return {"action": rng.choice(["*", "*", change]), "probability": rng.choice([0.7, 0.9, 1.0]),
                "seed": rng.randint(1, 1 << 30), "do": {"throttle": True}}
    return {"action": "*", "probability": rng.choice([0.1, 0.2, 0.3]), "seed": rng.randint(1, 1 << 30),
            "do": rng.choice([{"throttle": True}, {"error": error}, {"lose": "before"}, {"lose": "after"},
                              {"error": error, "effect": "after"}])}


def deed(rng):
    """What others do while tapbox captures: to its sources, to its objects, to S3."""
    n = rng.choice([1, 1, 2, rng.randint(3, 12)])
    return rng.choice([
        {"what": "change", "change": {"detach": eni(n)}},
        {"what": "change", "change": {"delete_interface": eni(n)}},
        {"what": "change", "change": {"instance_state": {instance(n): rng.choice(["stopped", "terminated"])}}},
        {"what": "change", "change": {"instance_type": {instance(n): "t2.micro"}}},
        {"what": "change", "change": {"delete_interface": TARGET}},
        {"what": "delete", "kind": "session"}, {"what": "delete", "kind": "session"},
        {"what": "delete", "kind": "filter"}, {"what": "delete", "kind": "target"},
        {"what": "rules"}, {"what": "session"}, {"what": "tags"}, {"what": "tags"},
        {"what": "s3", "how": "refused", "for_s": rng.uniform(0.5, 5)},
        {"what": "s3", "how": "silent", "for_s": rng.uniform(0.5, 5)}])


def crash_points(root):
    """The list in the code: (act, side).

    No run has SNS: 65_sns_posts_alerts_that_prove_themselves.sh kills there.  A message is given back only when it cannot be
    committed.
    """
    text = open(os.path.join(root, "src/base/crash.c"), encoding="utf-8").read()
    table = text[text.index("acts[] = {"):]
    acts = [line.strip().strip('",') for line in table[:table.index("};")].splitlines() if line.strip().startswith('"')]
    return [(act, side) for act in acts if not act.startswith(("subscription_", "ChangeMessage")) for side in ("before", "after")]


def dice(*words):
    return random.Random("/".join(str(word) for word in words))
