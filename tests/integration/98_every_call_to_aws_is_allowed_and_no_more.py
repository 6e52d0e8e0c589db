#!/usr/bin/python3
"""Least privilege: what each role may do is what the program calls in that role, in infra/iam and in the templates
alike; the first boot's scripts get what they call; who puts evidence can neither read nor delete it."""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))
import policies  # noqa: E402

failures = 0


def check(what, found, wanted):
    global failures
    if found == wanted:
        print(f"ok - {what}")
        return
    failures += 1
    print(f"not ok - {what}")
    for sign, more in (("too much", found - wanted), ("missing", wanted - found)):
        for one in sorted(map(str, more)):
            print(f"    {sign}: {one}")


# Each call of src/aws: the IAM actions that it takes, and the roles in which tapbox makes it.
EC2 = {
    "DescribeInstances": "control member", "DescribeInstanceTypes": "control member",
    "DescribeNetworkInterfaces": "control member", "DescribeRouteTables": "control member",
    "DescribeSecurityGroups": "control member",
    "DescribeTrafficMirrorSessions": "control member sweeper", "DescribeTrafficMirrorFilters": "control member sweeper",
    "DescribeTrafficMirrorTargets": "control member sweeper",
    "CreateTrafficMirrorTarget": "control", "DeleteTrafficMirrorTarget": "control",
    "CreateTrafficMirrorFilter": "control member", "CreateTrafficMirrorFilterRule": "control member",
    "DeleteTrafficMirrorFilterRule": "control member",
    "ModifyTrafficMirrorFilterNetworkServices": "control member",
    "DeleteTrafficMirrorFilter": "control member sweeper",
    "CreateTrafficMirrorSession": "control member", "ModifyTrafficMirrorSession": "control member",
    "DeleteTrafficMirrorSession": "control member sweeper",
    "CreateTags": "control member",
}
CALLS = {name: ({f"ec2:{name}"}, roles) for name, roles in EC2.items()} | {
    "GetMetricData": ({"cloudwatch:GetMetricData"}, "control member"),
    "PutMetricData": ({"cloudwatch:PutMetricData"}, "control"),
    "GetCallerIdentity": (set(), ""),  # needs no permission
    "AssumeRole": ({"sts:AssumeRole"}, "control sweeper"),
    "AssumeRoleWithWebIdentity": (set(), ""),  # nor does this: the token is the permission
    "PutObject": ({"s3:PutObject", "s3:PutObjectRetention", "s3:PutObjectLegalHold", "s3:PutObjectTagging",
                   "kms:GenerateDataKey"}, "writer"),
    "CreateMultipartUpload": ({"s3:PutObject", "kms:GenerateDataKey", "kms:Decrypt"}, "writer"),
    "UploadPart": ({"s3:PutObject", "kms:GenerateDataKey", "kms:Decrypt"}, "writer"),
    "CompleteMultipartUpload": ({"s3:PutObject"}, "writer"),
    "AbortMultipartUpload": ({"s3:AbortMultipartUpload"}, "writer"),
    "ListParts": ({"s3:ListMultipartUploadParts"}, "writer"),
    "ListMultipartUploads": ({"s3:ListBucketMultipartUploads"}, "writer"),
    "GetObjectLockConfiguration": ({"s3:GetBucketObjectLockConfiguration"}, "writer"),
    "HeadObject": ({"s3:GetObject", "kms:Decrypt"}, "reader"),
    "GetObject": ({"s3:GetObject", "kms:Decrypt"}, "reader"),
    "ListObjectsV2": ({"s3:ListBucket"}, "reader"),
    "HeadBucket": ({"s3:ListBucket"}, "reader"),
    "ReceiveMessage": ({"sqs:ReceiveMessage"}, "queue"),
    "DeleteMessage": ({"sqs:DeleteMessage"}, "queue"),
    "ChangeMessageVisibility": ({"sqs:ChangeMessageVisibility"}, "queue"),
}
VERB = r'"((?:Describe|Create|Delete|Modify|Get|Head|List|Put|Upload|Complete|Abort|Assume|Receive|Change|Run|Start|' \
       r'Stop|Attach|Detach|Send|Copy|Restore|Tag|Untag)[A-Z][A-Za-z0-9]+)"'
source = "".join(path.read_text() for path in (ROOT / "src/aws").glob("*.c"))
# (roots of answers, members of XML, and one action that only the table of pauses knows)
NO_CALLS = {"UploadId", "StartTime", "DeleteTags"}
calls = {name for name in re.findall(VERB, source) if not name.endswith("Result")} - NO_CALLS
check("every call of src/aws stands here with what it needs", calls, set(CALLS))

ROLES = ("control", "member", "sweeper", "writer", "reader", "queue")
for role in ROLES:
    wanted = set().union(*(actions for actions, roles in CALLS.values() if role in roles.split()))
    check(f"{role}: infra/iam allows what it calls, and no more", {g[0] for g in policies.written(role)}, wanted)

evidence = policies.template("evidence.yaml")
host = policies.template("capture-host.yaml")
sweeper = policies.template("sweeper.yaml")
member = policies.template("member-account.yaml")
IN_TEMPLATES = {
    "control": (policies.managed(host, "ControlPolicy"), policies.managed(host, "AssumeOthers")),
    "member": (policies.inline(member, "TapRole", "tap"),),
    "sweeper": (policies.inline(sweeper, "SweeperRole", "sweep"), policies.managed(sweeper, "AssumeMembers")),
    "writer": (policies.managed(evidence, "WriterPolicy"),),
    "reader": (policies.managed(evidence, "ReaderPolicy"),),
    "queue": (policies.managed(evidence, "QueuePollerPolicy"),),
}
for role in ROLES:
    check(f"{role}: the template grants the same, on the same kinds of things, under the same conditions",
          policies.grants(*IN_TEMPLATES[role]), policies.written(role))

# Scripts call the AWS CLI.  (Who attaches a volume needs its key; of AWS's own key anybody may use it so.)
CLI = {
    "ec2 describe-volumes": "ec2:DescribeVolumes",
    "ec2 attach-volume": "ec2:AttachVolume kms:CreateGrant kms:Decrypt kms:DescribeKey kms:GenerateDataKeyWithoutPlaintext "
                         "kms:ReEncryptFrom kms:ReEncryptTo",
    "ec2 describe-network-interfaces": "ec2:DescribeNetworkInterfaces",
    "ec2 attach-network-interface": "ec2:AttachNetworkInterface", "s3 cp": "s3:GetObject",
    "cloudwatch put-metric-data": "cloudwatch:PutMetricData",
    "cloudformation signal-resource": "cloudformation:SignalResource",
}
for what, resources, launch, role in (("capture host", host, "HostTemplate", "HostRole"),
                                      ("sweeper", sweeper, "SweeperTemplate", "SweeperRole")):
    script = policies.user_data(resources, launch)
    used = {action for call in re.findall(r"\baws ([a-z0-9]+ [a-z-]+)", script) for action in CLI[call].split()}
    check(f"{what}: its scripts may do what they do, and no more",
          {g[0] for g in policies.grants(policies.inline(resources, role, "boot"))}, used)

for role in ("writer", "queue", "control"):
    over = {g[0] for g in policies.written(role)} & {"s3:GetObject", "s3:ListBucket", "s3:DeleteObject",
                                                     "s3:DeleteObjectVersion", "s3:BypassGovernanceRetention"}
    check(f"{role}: neither reads nor deletes evidence", over, set())
sys.exit(failures != 0)
