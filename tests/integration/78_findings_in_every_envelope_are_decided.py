#!/usr/bin/python3
"""Findings and events, published and made here, in every envelope: what `tapbox plan` says of each, against a table that
we wrote and against an extraction of our own."""
import copy
import ipaddress
import json
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
OUT = os.environ.get("TB_OUT", os.path.join(ROOT, "build/debug"))
TABLE = os.path.join(ROOT, "tests/data/findings.tsv")
FINDINGS = os.path.join(ROOT, "../shared/data/findings")
SAMPLE = os.path.join(ROOT, "webhooks/guardduty/samples/cnc.json")
ENVELOPE_ACCOUNT = "999999999999"
failed = []


def case(name, problems):
    """One line for one case."""
    problems = list(problems)
    print(("ok - " if not problems else "not ok - ") + name)
    for problem in problems:
        print("#   " + problem)
    failed.extend(problems)


def keys(value, change):
    """The same with every key changed; what is inside strings stays."""
    if isinstance(value, dict):
        return {change(k): keys(v, change) for k, v in value.items()}
    return [keys(v, change) for v in value] if isinstance(value, list) else value


def camel(value):
    return keys(value, lambda k: k if "::" in k or "-" in k else k[:1].lower() + k[1:])


def pascal(value):
    return keys(value, lambda k: k if "::" in k or "-" in k else k[:1].upper() + k[1:])


def finding_of(event):
    """A finding in the events' casing, whatever is around it."""
    event = camel(event)
    return event["detail"] if "detail" in event and "detail-type" in event else event


def envelopes(finding):
    """The ways in which the same finding arrives."""
    event = {"version": "0", "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718", "detail-type": "GuardDuty Finding",
             "source": "aws.guardduty", "account": ENVELOPE_ACCOUNT, "time": "2026-01-02T03:15:00Z",
             "region": "xx-nowhere-1", "resources": [], "detail": finding}
    return {"bare": finding, "EventBridge": event, "AWS CLI": {"Findings": [pascal(finding)]},
            "API": {"findings": [finding]}, "PascalCase": pascal(finding),
            "EventBridge in PascalCase": {**event, "detail": pascal(finding)}}


def plan(work, event, policy):
    """What tapbox says of it; None when it cannot read it."""
    path = os.path.join(work, "event.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(event, file)
    done = subprocess.run([os.path.join(OUT, "tapbox"), "plan", "--event", path, "--offline", "--json", "--config", policy],
                          capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        return {"decision": "error", "reason": done.stderr.strip(), "sources": [], "indicators": [], "alert": {}}
    answer = json.loads(done.stdout)
    several = answer.get("alerts")
    if several:  # instances that no one capture holds: the same for each but its source
        same = {json.dumps([one["decision"], one["indicators"], one["alert"]]) for one in several}
        answer = several[0] | {"sources": [source for one in several for source in one["sources"]]}
        if len(same) > 1:
            answer["decision"] = "differing"
    return answer


def brief(answer):
    """Decision, sources and indicators as the tables write them."""
    sources = [f"{s['instance'] or ''}/{s['eni'] or ''}" for s in answer["sources"]]
    found = [f"{i['value']}:{i['port'] or ''}:{i['local_port'] or ''}:{i['protocol'] or ''}:{(i['direction'] or '')[:3]}"
             + ("" if i["on_wire"] else ":elsewhere") for i in answer["indicators"]]
    return [answer["decision"], " ".join(sources), " ".join(found)]


def compare(what, answer, expected, reason):
    """What of the answer is otherwise than the table says."""
    for name, want, got in zip(("decision", "sources", "indicators"), expected, brief(answer)):
        if want != got:
            yield f"{what}: {name} '{got}', expected '{want}' ({answer['reason']})"
    if not re.search(reason, answer["reason"]):
        yield f"{what}: no '{reason}' in the reason '{answer['reason']}'"


# --- an extraction of our own: no more than the reference says, by other means ---

def address(text):
    try:
        made = ipaddress.ip_address(text)
    except ValueError:
        return None
    made = getattr(made, "ipv4_mapped", None) or made
    return None if made.is_unspecified else made


def listed(value):
    return value if isinstance(value, list) else []


def first(*texts):
    return next((made for made in map(address, texts) if made), None)


def expected_peers(finding):
    """(peer, on the wire) of the action, as sets of texts."""
    found = set()

    def remote(details, on_wire):
        peer = first((details or {}).get("ipAddressV4") or "", (details or {}).get("ipAddressV6") or "")
        if peer:
            found.add((str(peer), on_wire))

    for name, action in ((finding.get("service") or {}).get("action") or {}).items():
        if name == "networkConnectionAction":
            remote(action.get("remoteIpDetails"), True)
        elif name == "portProbeAction":
            for probe in listed(action.get("portProbeDetails"))[:64]:
                remote(probe.get("remoteIpDetails"), True)
        elif name == "dnsRequestAction":
            found.add((action["domain"], True))
        elif isinstance(action, dict):
            remote(action.get("remoteIpDetails"), False)
            if (action.get("domainDetails") or {}).get("domain"):
                found.add((action["domainDetails"]["domain"], False))
            found.update((str(address(ip)), False) for ip in action.get("sourceIPs") or [] if address(ip))
    return found


def expected_interfaces(finding):
    """The instance and interfaces of it, all of them or the one that the traffic was seen on."""
    resource = finding.get("resource") or {}
    kind = (resource.get("resourceType") or "").lower()
    if kind.startswith(("s3", "rds", "lambda", "ebss", "ec2", "ebsr")):
        return set()
    details = resource.get("instanceDetails") or {}
    instance = details.get("instanceId") or ""
    if not re.fullmatch(r"i-[0-9a-f]{8,40}", instance):
        named = re.search(r":(i-[0-9a-f]{8,40})$", (resource.get("accessKeyDetails") or {}).get("principalId") or "")
        instance = named.group(1) if named else ""
    mine = [ni for ni in listed(details.get("networkInterfaces")) if ni.get("networkInterfaceId")]
    net = ((finding.get("service") or {}).get("action") or {}).get("networkConnectionAction") or {}
    if net.get("localNetworkInterface"):
        return {f"{instance}/{net['localNetworkInterface']}"}
    probes = listed((((finding.get("service") or {}).get("action") or {}).get("portProbeAction") or {}).get("portProbeDetails"))
    local = [one.get("localIpDetails") or {} for one in [net, *probes]]
    wanted = {address(ip or "") for one in local for ip in one.values()} - {None}
    seen = {f"{instance}/{ni['networkInterfaceId']}" for ni in mine for text in
            [ni.get("privateIpAddress"), ni.get("publicIp"), *(ni.get("ipv6Addresses") or []),
             *(one.get("privateIpAddress") for one in ni.get("privateIpAddresses") or [])] if address(text or "") in wanted}
    return seen or {f"{instance}/{ni['networkInterfaceId']}" for ni in mine} or ({instance + "/"} if instance else set())


def severity_of(finding):
    """0: unknown."""
    text = finding.get("severity")
    if isinstance(text, bool):
        return 0
    try:
        severity = float(text)
    except (TypeError, ValueError):
        return 0
    return severity if 0 <= severity <= 10 else 0


def extracted(what, finding, answer):
    """What of the answer our extraction does not find, or finds besides."""
    got = {(i["value"], i["on_wire"]) for i in answer["indicators"]}
    if got != expected_peers(finding):
        yield f"{what}: indicators {sorted(got)}, extracted {sorted(expected_peers(finding))}"
    got = {f"{s['instance'] or ''}/{s['eni'] or ''}" for s in answer["sources"]}
    if answer["decision"] != "refuse" and got != expected_interfaces(finding):
        yield f"{what}: sources {sorted(got)}, extracted {sorted(expected_interfaces(finding))}"
    if answer["decision"] == "refuse" and expected_interfaces(finding):
        yield f"{what}: refused ({answer['reason']}), extracted {sorted(expected_interfaces(finding))}"
    account = str(finding.get("accountId") or "")
    if not re.fullmatch(r"[0-9]{12}", account):
        account = ENVELOPE_ACCOUNT if "EventBridge" in what else None
    for name, want in (("account", account), ("severity", severity_of(finding)),
                       *((name, finding.get(name)) for name in ("id", "type", "region"))):
        if answer["alert"][name] != want:
            yield f"{what}: {name} '{answer['alert'][name]}', extracted '{want}'"


# --- shapes that nobody published ---

def base():
    with open(SAMPLE, encoding="utf-8") as file:
        finding = json.load(file)["detail"]
    finding["service"]["action"]["networkConnectionAction"].pop("localNetworkInterface")
    return finding


def changed(**changes):
    """The base with members set by their path (a__b__c); None takes one away."""
    finding = base()
    for path, value in changes.items():
        at = finding
        *way, last = path.split("__")
        for step in way:
            at = at.setdefault(step, {})
        if value is None:
            at.pop(last, None)
        else:
            at[last] = value
    return finding


def connection(**changes):
    return changed(**{"service__action__networkConnectionAction__" + k: v for k, v in changes.items()})


def resource(kind, instance=True, **more):
    finding = base()
    finding["resource"] = {"resourceType": kind, **({"instanceDetails": finding["resource"]["instanceDetails"]} if instance
                                                    else {}), **more}
    return finding


def without(finding, *way):
    finding = copy.deepcopy(finding)
    at = finding
    for step in way[:-1]:
        at = at[step]
    at.pop(way[-1])
    return finding


def six(interfaces):
    for ni in interfaces:
        ni.update(privateIpAddress=None, privateIpAddresses=[], ipv6Addresses=["2001:db8:0:0:0:0:0:1f"])
    return interfaces[1:]


def sequence(*resources, endpoints=()):
    finding = changed(type="AttackSequence:EKS/CompromisedCluster", severity=9.0, service__action=None, resource=None)
    finding["service"]["detection"] = {"sequence": {"uid": "seq-1", "resources": list(resources), "endpoints": list(endpoints)}}
    return finding


def member(kind, uid, **data):
    return {"uid": uid, "name": "", "resourceType": kind, "data": data}


def changed_to_null(member):
    return {**base(), member: None}


def connection_to_null(member):
    finding = base()
    finding["service"]["action"]["networkConnectionAction"][member] = None
    return finding


def sequence_of(resources):
    finding = sequence()
    finding["service"]["detection"]["sequence"]["resources"] = resources
    return finding


I, E0, E1 = "i-0a1b2c3d4e5f60718", "eni-0a1b2c3d4e5f60718", "eni-0b1c2d3e4f5061728"
BOTH, SEEN = f"{I}/{E0} {I}/{E1}", f"{I}/{E1}"
TCP = "198.51.100.23:443:49152:tcp:out"
POD = {"kubernetesWorkloadDetails": {"name": "api-7f9c", "namespace": "web", "type": "pods"}}
DETAILS = base()["resource"]["instanceDetails"]
MANY = [member("EC2_INSTANCE", f"arn:aws:ec2:eu-central-1:444455556666:instance/i-{n:017x}", ec2Instance={}) for n in range(80)]

# name, finding, decision, sources, indicators, reason
SHAPES = [
    ("a connection without an interface, by its local address", base(), "capture", SEEN, TCP, "command-and-control"),
    ("the same by an interface's id", connection(localNetworkInterface=E0), "capture", f"{I}/{E0}", TCP, ""),
    ("an interface that the instance does not list", connection(localNetworkInterface="eni-00000000000000009"), "capture",
     f"{I}/eni-00000000000000009", TCP, ""),
    ("a local address that no interface has", connection(localIpDetails={"ipAddressV4": "10.99.0.1"}), "capture", BOTH, TCP, ""),
    ("no local address", connection(localIpDetails=None), "capture", BOTH, TCP, ""),
    ("IPv6 alone", changed(resource__instanceDetails={"instanceId": I, "networkInterfaces": six(copy.deepcopy(DETAILS["networkInterfaces"]))},
                           service__action__networkConnectionAction__localIpDetails={"ipAddressV6": "2001:DB8::1F"},
                           service__action__networkConnectionAction__remoteIpDetails={"ipAddressV6": "2001:db8:bad::1"}),
     "capture", SEEN, "2001:db8:bad::1:443:49152:tcp:out", ""),
    ("IPv6 beside an IPv4 that is nobody's", connection(remoteIpDetails={"ipAddressV4": "0.0.0.0", "ipAddressV6": "2001:db8::7"}),
     "capture", SEEN, "2001:db8::7:443:49152:tcp:out", ""),
    ("a peer that is nobody", connection(remoteIpDetails={"ipAddressV4": "0.0.0.0"}), "capture", SEEN, "", ""),
    ("a protocol as a number, inbound, blocked", connection(protocol="47", connectionDirection="INBOUND", blocked=True), "capture",
     SEEN, "198.51.100.23:443:49152:47:inb", ""),
    ("nulls where objects could be", connection(localIpDetails=None, remotePortDetails=None, localPortDetails=None), "capture", BOTH,
     "198.51.100.23:::tcp:out", ""),
    ("an instance without interfaces", changed(resource__instanceDetails={"instanceId": I, "networkInterfaces": []}), "capture",
     I + "/", TCP, ""),
    ("an instance that is gone", changed(resource__instanceDetails=None), "refuse", "", TCP, "does not name"),
    ("a port probe, by its local address", changed(type="Recon:EC2/PortProbeUnprotectedPort", severity=2, service__action={
        "actionType": "PORT_PROBE", "portProbeAction": {"portProbeDetails": [
            {"localPortDetails": {"port": 22}, "localIpDetails": {"ipAddressV4": "10.20.0.15"},
             "remoteIpDetails": {"ipAddressV4": "192.0.2.10"}}]}}), "ignore", f"{I}/{E0}", "192.0.2.10::22::inb", "port was probed"),
    ("a port probe over IPv6", changed(
        type="Recon:EC2/PortProbeUnprotectedPort", severity=2, service__action={
            "actionType": "PORT_PROBE", "portProbeAction": {"portProbeDetails": [
                {"localPortDetails": {"port": 22}, "localIpDetails": {"ipAddressV6": "2001:db8::1f"},
                 "remoteIpDetails": {"ipAddressV6": "2001:db8:bad::1"}}]}},
        resource__instanceDetails={"instanceId": I, "networkInterfaces": DETAILS["networkInterfaces"][:1] + six(
            copy.deepcopy(DETAILS["networkInterfaces"]))}), "ignore", SEEN, "2001:db8:bad::1::22::inb", "port was probed"),
    ("a domain", changed(type="Trojan:EC2/DNSDataExfiltration", service__action={"actionType": "DNS_REQUEST", "dnsRequestAction": {
        "domain": "exfil.example", "protocol": "UDP", "blocked": False}}), "capture", BOTH, "exfil.example:::udp:out", ""),
    ("a runtime finding without an action", changed(type="Execution:Runtime/ReverseShell", service__action=None), "capture", BOTH, "", ""),
    ("a pod, by its node's interface", resource("EKSCluster", kubernetesDetails=POD, eksClusterDetails={"name": "c"}), "capture", SEEN,
     TCP, ""),
    ("a pod without its node", resource("EKSCluster", False, kubernetesDetails=POD), "refuse", "", TCP, "EKS cluster"),
    ("a task on EC2", resource("ECSCluster", ecsClusterDetails={"taskDetails": {"launchType": "EC2"}}), "capture", SEEN, TCP, ""),
    ("a task on Fargate", resource("ECSCluster", False, ecsClusterDetails={"taskDetails": {"launchType": "FARGATE"}}), "refuse", "",
     TCP, "Fargate"),
    ("a container on an instance", resource("Container", containerDetails={"name": "web"}), "capture", SEEN, TCP, ""),
    ("a container alone", resource("Container", False, containerDetails={"name": "web"}), "refuse", "", TCP, "container"),
    ("keys of an instance, used elsewhere", resource("AccessKey", False, accessKeyDetails={"principalId": "AROAEXAMPLE:" + I}),
     "capture", I + "/", TCP, ""),
    ("keys of a person", resource("AccessKey", False, accessKeyDetails={"principalId": "AIDAEXAMPLE"}), "refuse", "", TCP, "access key"),
    ("a Kubernetes API call", changed(resource={"resourceType": "EKSCluster"}, type="Discovery:Kubernetes/MaliciousIPCaller",
                                      service__action={"actionType": "KUBERNETES_API_CALL", "kubernetesApiCallAction": {
                                          "sourceIPs": ["203.0.113.9"], "remoteIpDetails": {"ipAddressV4": "203.0.113.9"}}}),
     "refuse", "", "203.0.113.9:::::elsewhere", "control plane"),
    ("a database login", changed(resource={"resourceType": "RDSDBInstance"}, service__action={
        "actionType": "RDS_LOGIN_ATTEMPT", "rdsLoginAttemptAction": {"remoteIpDetails": {"ipAddressV4": "203.0.113.9"}}}),
     "refuse", "", "203.0.113.9:::::elsewhere", "database"),
    *((f"a finding about {what}", resource(what), "refuse", "", TCP, why) for what, why in (
        ("S3Bucket", "S3 bucket"), ("S3Object", "S3 object"), ("Lambda", "Lambda"), ("RDSLimitlessDB", "database"),
        ("EBSSnapshot", "snapshot"), ("EC2Image", "image"), ("EBSRecoveryPoint", "backup"))),
    ("a volume of an instance", resource("EBSVolume"), "capture", SEEN, TCP, ""),
    ("a resource that does not exist yet", resource("QuantumLink", False), "refuse", "", TCP, "QuantumLink"),
    ("numbers as texts", changed(severity="8", service__count="3", service__action__networkConnectionAction__remotePortDetails={"port": "443"},
                                 service__action__networkConnectionAction__localPortDetails={"port": "49152"}), "capture", SEEN, TCP, "severity 8"),
    ("nulls for what may be unknown", changed(severity=None, title=None, description=None, service__additionalInfo=None,
                                              service__evidence=None), "capture", SEEN, TCP, ""),
    ("a severity of null", changed_to_null("severity"), "capture", SEEN, TCP, ""),
    *((f"a severity that cannot be read: {odd}", changed(severity=odd), "capture", SEEN, TCP, "") for odd in (
        11, -1, "high", "", "8 or so", True, [8], {"label": "HIGH"})),
    ("an id of null", changed_to_null("id"), "error", "", "", ""),
    ("a type in small letters", changed(type="backdoor:ec2/c&cactivity.b"), "capture", SEEN, TCP, "command-and-control"),
    ("a resource type in capitals", resource("INSTANCE"), "capture", SEEN, TCP, "command-and-control"),
    ("a direction and protocol in small letters", connection(protocol="tcp", connectionDirection="outbound"), "capture", SEEN, TCP, ""),
    ("a protocol as a number", connection(protocol=17), "capture", SEEN, "198.51.100.23:443:49152:17:out", ""),
    ("an account as a number", changed(accountId=444455556666), "capture", SEEN, TCP, ""),
    ("a protocol of null", connection_to_null("protocol"), "capture", SEEN, "198.51.100.23:443:49152::out", ""),
    ("a direction that is not known", connection(connectionDirection="UNKNOWN"), "capture", SEEN, "198.51.100.23:443:49152:tcp:unk", ""),
    ("a peer in IPv6 that is IPv4", connection(remoteIpDetails={"ipAddressV6": "::ffff:198.51.100.23"}), "capture", SEEN, TCP, ""),
    ("a peer that is no address", connection(remoteIpDetails={"ipAddressV4": "not an address"}), "capture", SEEN, "", ""),
    ("a port that is none", connection(remotePortDetails={"port": 70000}), "capture", SEEN, "198.51.100.23::49152:tcp:out", ""),
    ("the public address of the second of two interfaces", changed(
        resource__instanceDetails__networkInterfaces=[{**DETAILS["networkInterfaces"][0], "publicIp": "203.0.113.1"},
                                                      {**DETAILS["networkInterfaces"][1], "publicIp": "203.0.113.2"}],
        service__action__networkConnectionAction__localIpDetails={"ipAddressV4": "203.0.113.2"}), "capture", SEEN, TCP, ""),
    ("interfaces without an instance", changed(resource__instanceDetails={"instanceId": None, "networkInterfaces": DETAILS["networkInterfaces"]}),
     "capture", f"/{E1}", TCP, ""),
    ("interfaces that are no list", changed(resource__instanceDetails={"instanceId": I, "networkInterfaces": DETAILS["networkInterfaces"][0]}),
     "capture", I + "/", TCP, ""),
    ("an id that is no instance's", changed(resource__instanceDetails={"instanceId": "i-123", "networkInterfaces": []}), "refuse", "", TCP,
     "does not name"),
    ("a title in another script and direction", changed(title="\u202eabc \u0441\u0435\u0440\u0432\u0435\u0440 \u4e3b\u6a5f\u0007"), "capture", SEEN, TCP, ""),
    ("a task on EC2 seen by the agent", {**resource("ECSCluster", ecsClusterDetails={"name": "c", "taskDetails": {"launchType": "EC2"}}), "service": {
        "serviceName": "guardduty", "runtimeDetails": {"process": {"name": "xmrig"}}, "archived": False}}, "capture", BOTH, "", ""),
    ("a pod seen by the agent", {**resource("EKSCluster", kubernetesDetails=POD), "type": "Backdoor:Runtime/C&CActivity.B!DNS", "service": {
        "serviceName": "guardduty", "action": {"actionType": "DNS_REQUEST", "dnsRequestAction": {"domain": "c2.example", "protocol": "UDP"}},
        "runtimeDetails": {"process": {"name": "sh"}}, "archived": False}}, "capture", BOTH, "c2.example:::udp:out", ""),
    ("a Lambda function in a VPC", resource("Lambda", False, lambdaDetails={"functionName": "f", "vpcConfig": {"subnetIds": ["subnet-1"]}}),
     "refuse", "", TCP, "Lambda"),
    ("probes of two interfaces", changed(type="Recon:EC2/PortProbeUnprotectedPort", severity=2, service__action={
        "actionType": "PORT_PROBE", "portProbeAction": {"portProbeDetails": [
            {"localPortDetails": {"port": 22 + n}, "localIpDetails": {"ipAddressV4": ni["privateIpAddress"]},
             "remoteIpDetails": {"ipAddressV4": "192.0.2.10"}} for n, ni in enumerate(DETAILS["networkInterfaces"])]}}), "ignore", BOTH,
     "192.0.2.10::22::inb 192.0.2.10::23::inb", "port was probed"),
    ("probes that are no list", changed(service__action={"actionType": "PORT_PROBE", "portProbeAction": {"portProbeDetails": {"a": 1}}}),
     "capture", BOTH, "", ""),
    ("two thousand peers", changed(service__action={"actionType": "PORT_PROBE", "portProbeAction": {"portProbeDetails": [
        {"remoteIpDetails": {"ipAddressV4": f"198.18.{n // 256}.{n % 256}"}} for n in range(2000)]}}), "capture", BOTH,
     " ".join(f"198.18.0.{n}::::inb" for n in range(64)), ""),
    ("a sample said by a text", changed(service__additionalInfo={"sample": "true"}), "ignore", SEEN, TCP, "sample finding"),
    ("additional words that are no JSON", changed(service__additionalInfo={"value": "{sample", "type": "default"}), "capture", SEEN, TCP, ""),
    ("archived, said by a text", changed(service__archived="true"), "ignore", SEEN, TCP, "archived finding"),
    ("a sequence in small letters, by ARNs", sequence(
        member("ec2_instance", f"arn:aws:ec2:eu-central-1:444455556666:instance/{I}", ec2Instance={
            "ec2NetworkInterfaceUids": [f"arn:aws:ec2:eu-central-1:444455556666:network-interface/{E1}"]})), "capture", SEEN, "", ""),
    ("a sequence without resources", sequence_of(None), "refuse", "", "", "attack sequence that names no instance"),
    ("a sequence of a cluster's members", sequence(member("EKS_CLUSTER", "c", eksCluster={"ec2InstanceUids": [I, "i-0123456789abcdef0", I]})),
     "capture", I + "/ i-0123456789abcdef0/", "", ""),
    ("a sample", changed(service__additionalInfo={"sample": True}), "ignore", SEEN, TCP, "sample finding: only planned"),
    ("a sample as the API says it", changed(service__additionalInfo={"value": '{"sample":true}', "type": "default"}), "ignore", SEEN,
     TCP, "sample finding"),
    ("an archived one", changed(service__archived=True), "ignore", SEEN, TCP, "archived finding"),
    ("a sequence of an instance, its interface and a caller", sequence(
        member("EC2_NETWORK_INTERFACE", E1, ec2NetworkInterface={"vpcId": "vpc-1", "privateIpAddresses": [{"privateIpAddress": "10.0.0.1"}]}),
        member("EC2_INSTANCE", I, ec2Instance={"ec2NetworkInterfaceUids": [E1]}), member("S3_BUCKET", "b"),
        endpoints=[{"id": "a", "ip": "198.51.100.9", "port": 8443, "connection": {"direction": "OUTBOUND"}},
                   {"id": "b", "ip": "203.0.113.50"}, {"id": "c", "domain": "c2.example"}]),
     "capture", SEEN, "198.51.100.9:8443:::out 203.0.113.50:::::elsewhere c2.example::::", "attack-sequence"),
    ("a sequence about stolen keys of an instance", sequence(member("ACCESS_KEY", "AKIAEXAMPLE", accessKey={"principalId": "AROA1:" + I})),
     "capture", I + "/", "", ""),
    ("a sequence about buckets", sequence(member("S3_BUCKET", "b")), "refuse", "", "", "attack sequence that names no instance"),
    ("a sequence of sixty-four instances", sequence(*MANY[:64]), "capture", " ".join(f"i-{i:017x}/" for i in range(64)), "",
     "at i-00000000000000000$"),
    ("a sequence of eighty", sequence(*MANY), "capture", " ".join(f"i-{i:017x}/" for i in range(64)), "",
     "16 more that the alert names are not covered"),
]


def rows():
    """name, envelope, decision, sources, indicators, reason of each published file."""
    with open(TABLE, encoding="utf-8") as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                yield line.rstrip("\n").split("\t")


def published(work, policy):
    """Everything under ../shared that is GuardDuty's or EC2's, by the table."""
    table = {row[0]: row[1:] for row in rows()}
    names = {n[:-5] for n in os.listdir(FINDINGS) if n.startswith(("guardduty", "eventbridge-ec2")) and n.endswith(".json")}
    case("the table has every published file", (f"{n}: not in {'the table' if n in names else FINDINGS}" for n in names ^ set(table)))
    for name in sorted(names & set(table)):
        *expected, reason = table[name]
        with open(os.path.join(FINDINGS, name + ".json"), encoding="utf-8") as file:
            event = json.load(file)
        problems = list(compare("as published", plan(work, event, policy), expected, reason))
        if name.startswith("guardduty"):
            finding = finding_of(event)
            for envelope, body in envelopes(finding).items():
                answer = plan(work, body, policy)
                problems += compare(envelope, answer, expected, reason)
                problems += extracted(envelope, finding, answer)
        case(name, problems)


def main():
    with tempfile.TemporaryDirectory(dir=os.environ.get("TB_WORK")) as work:
        policy = os.path.join(work, "tapbox.yaml")
        with open(policy, "w", encoding="utf-8") as file:
            file.write("s3: {bucket: evidence}\n")
        for name, finding, decision, sources, indicators, reason in SHAPES:
            problems = []
            for envelope, body in envelopes(finding).items():
                answer = plan(work, body, policy)
                problems += compare(envelope, answer, [decision, sources, indicators], reason)
                if "detection" not in finding["service"] and decision != "error":
                    problems += extracted(envelope, finding, answer)
            case(name, problems)
        if os.path.isdir(FINDINGS):
            published(work, policy)
        else:
            print("skip - published findings: ../shared/data/findings is not here")
    sys.exit(1 if failed else 0)


main()
