"""IAM policies of infra/, those written out and those in CloudFormation templates, as sets of grants."""
import json
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
# What only a template can name: they narrow what the file in infra/iam says.
ONLY_IN_TEMPLATES = {"ec2:Region", "ec2:Vpc"}


class Template(yaml.SafeLoader):
    """Short tags (!Ref, !Sub ...) become text."""


def tagged(loader, _suffix, node):
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_mapping(node, deep=True)


Template.add_multi_constructor("!", tagged)


def template(name):
    return yaml.load((ROOT / "infra/cloudformation" / name).read_text(), Loader=Template)["Resources"]


def listed(value):
    return value if isinstance(value, list) else [value]


def kind(service, resource):
    """What an ARN, or what stands for it in a template, is of."""
    if resource == "*":
        return "*"
    if service == "s3":
        return "object" if "/" in resource else "bucket"
    if service == "ec2":
        return re.search(r":([a-z*-]+)/", resource).group(1)
    return {"sts": "role", "sqs": "queue", "kms": "key", "cloudformation": "stack"}[service]


def statements(document):
    """The statements; of one that a condition of the template takes in, its content."""
    for statement in document["Statement"]:
        if isinstance(statement, list):
            yield from (s for s in statement if isinstance(s, dict))
        else:
            yield statement


def grants(*documents):
    """(action, kind of resource, condition keys) of everything that is allowed."""
    out = set()
    for document in documents:
        for statement in statements(document):
            assert statement["Effect"] == "Allow"
            keys = {key for test in statement.get("Condition", {}).values() for key in test}
            for action in listed(statement["Action"]):
                service = action.split(":")[0]
                for resource in listed(statement["Resource"]):
                    out.add((action, kind(service, resource), tuple(sorted(keys - ONLY_IN_TEMPLATES))))
    return out


def written(name):
    return grants(json.loads((ROOT / "infra/iam" / f"{name}.json").read_text()))


def managed(resources, name):
    return resources[name]["Properties"]["PolicyDocument"]


def inline(resources, role, name):
    for policy in resources[role]["Properties"]["Policies"]:
        if policy["PolicyName"] == name:
            return policy["PolicyDocument"]
    raise KeyError(name)


def user_data(resources, launch_template):
    script = resources[launch_template]["Properties"]["LaunchTemplateData"]["UserData"]["Fn::Base64"]
    return script[0] if isinstance(script, list) else script
