#!/usr/bin/python3
"""Every action of awsim through boto3, right and wrong; every answer against the service model."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lab/awsim'))
from testkit import *  # noqa: E402,F403

isolate()
import threading  # noqa: E402
import urllib.parse  # noqa: E402
import xml.etree.ElementTree as ET  # noqa: E402

import boto3  # noqa: E402
import botocore.auth  # noqa: E402
from botocore.awsrequest import AWSRequest  # noqa: E402
from botocore.config import Config  # noqa: E402
from botocore.credentials import Credentials  # noqa: E402
from botocore.httpsession import URLLib3Session  # noqa: E402

WEB, CAP, OLD, BIG, LAMBDA, LOOSE = ['eni-0a00000000000000%d' % n for n in range(1, 7)]
NONE = '0123456789abcdef0'
w = world()
w['limits'] = {'sessions': 6, 'targets': 5, 'filters': 8}
for n in range(12):  # more sources than a small target takes
    w['instances'].append({'id': 'i-0b%015x' % n, 'subnet': 'subnet-0a000000000000001', 'type': 'c5.large'})
    w['enis'].append({'id': 'eni-0b%015x' % n, 'mac': '0a:00:00:00:01:%02x' % n, 'subnet': 'subnet-0a000000000000001',
                      'private_ips': ['10.0.1.%d' % (100 + n)], 'instance': 'i-0b%015x' % n, 'tags': {'n': str(n)}})
w['instances'].append({'id': 'i-0c000000000000001', 'subnet': 'subnet-0a000000000000001', 'owner': '444455556666'})
w['enis'].append({'id': 'eni-0c000000000000001', 'mac': '0a:00:00:00:02:01', 'subnet': 'subnet-0a000000000000001',
                  'private_ips': ['10.0.1.201'], 'instance': 'i-0c000000000000001', 'owner': '444455556666'})
sim = Awsim(w)
model_faults = []
answers = set()


def against_model(element, shape, where):
    if shape.type_name == 'structure':
        wire = {m.serialization.get('name', n): m for n, m in shape.members.items()}
        if (element.text or '').strip() or any((c.tail or '') != '' for c in element):
            model_faults.append('%s: text between elements' % where)
        seen = set()
        for child in element:
            name = child.tag.split('}')[-1]
            if name == 'requestId' and where.count('.') == 0:
                continue
            if name == 'tagSet' and shape.name == 'TrafficMirrorFilterRule':
                continue  # newer than this model
            if name not in wire or name in seen:
                model_faults.append('%s.%s: not in the model, or twice' % (where, name))
            else:
                against_model(child, wire[name], where + '.' + name)
            seen.add(name)
    elif shape.type_name == 'list':
        for child in element:
            if child.tag.split('}')[-1] != shape.member.serialization.get('name', 'member'):
                model_faults.append('%s: a list of <%s>' % (where, child.tag))
            against_model(child, shape.member, where + '[]')
    else:
        text = element.text or ''
        good = {'integer': text.lstrip('-').isdigit(), 'long': text.lstrip('-').isdigit(),
                'boolean': text in ('true', 'false')}.get(shape.type_name, True)
        if len(element) or not good or (shape.type_name == 'string' and getattr(shape, 'enum', None) and
                                        shape.name != 'InstanceType' and text not in shape.enum):
            model_faults.append('%s: %r is no %s' % (where, text, shape.type_name))


def on_answer(response_dict=None, **_):
    op = response_dict_operation.name
    root = ET.fromstring(response_dict['body'])
    if response_dict['status_code'] == 200:
        answers.add(op)
        if root.tag != '{http://ec2.amazonaws.com/doc/2016-11-15/}%sResponse' % op or \
                root[0].tag.split('}')[-1] != 'requestId':
            model_faults.append('%s: root %s' % (op, root.tag))
        if b'\n' in response_dict['body']:
            model_faults.append('%s: a line feed in the answer' % op)
        if response_dict_operation.output_shape is not None:
            against_model(root, response_dict_operation.output_shape, op)
        elif [c.tag.split('}')[-1] for c in root] != ['requestId', 'return']:
            model_faults.append('%s: more than <return>' % op)
    else:
        names = [e.tag for e in root.iter()]
        if names != ['Response', 'Errors', 'Error', 'Code', 'Message', 'RequestID']:
            model_faults.append('%s: error envelope %s' % (op, names))


def before(model, **_):
    global response_dict_operation
    response_dict_operation = model


def client(key=KEY, secret=SECRET):
    c = boto3.session.Session(key, secret, None, 'us-east-1').client(
        'ec2', endpoint_url=sim.url, config=Config(retries={'total_max_attempts': 1}, parameter_validation=False))
    c.meta.events.register('before-call.ec2', before)
    c.meta.events.register('response-received.ec2', on_answer)
    return c


def raw(query, method='POST', content_type='application/x-www-form-urlencoded'):
    """(status, root) of a request that boto3 would not make."""
    body = query if isinstance(query, str) else urllib.parse.urlencode(query)
    q = AWSRequest(method, sim.url + ('/' if method == 'POST' else '/?' + body),
                   data=body if method == 'POST' else None,
                   headers={'Content-Type': content_type} if method == 'POST' else {})
    botocore.auth.SigV4Auth(Credentials(KEY, SECRET), 'ec2', 'us-east-1').add_auth(q)
    r = URLLib3Session().send(q.prepare())
    return r.status_code, ET.fromstring(r.content)


def raw_code(query, **more):
    status, root = raw(query, **more)
    return 'ok' if status == 200 else root.find('.//Code').text


def version(action, **more):
    return {'Action': action, 'Version': '2016-11-15', **more}


ec2 = client()
other = client('AKIAOTHERACCOUNT0001', 'other-secret')
readonly = client('AKIAREADONLYEXAMPLE1', 'read-only-secret')


def refused(call, code, sentence, status=400, **arguments):
    equal(error_of(call, **arguments), (code, status), sentence)


# --- objects: create, describe, modify, delete -------------------------------------------------
tags = [{'Key': 'tapbox:owner', 'Value': 'a <b> & "c" é'}, {'Key': 'empty', 'Value': ''}]
a = ec2.create_traffic_mirror_target(NetworkInterfaceId=CAP, Description='the first', ClientToken='t1',
                                     TagSpecifications=[{'ResourceType': 'traffic-mirror-target', 'Tags': tags}])
target = a['TrafficMirrorTarget']
equal((target['NetworkInterfaceId'], target['Type'], target['OwnerId'], target['Description'], target['Tags'],
       a['ClientToken']), (CAP, 'network-interface', '111122223333', 'the first', tags, 't1'), 'a target is made as asked for')
T = target['TrafficMirrorTargetId']
a = ec2.create_traffic_mirror_filter(Description='f', TagSpecifications=[
    {'ResourceType': 'traffic-mirror-filter', 'Tags': tags}])
F = a['TrafficMirrorFilter']['TrafficMirrorFilterId']
check(len(a['ClientToken']) == 36, 'without a ClientToken one is made up')
rule = dict(TrafficMirrorFilterId=F, TrafficDirection='ingress', RuleNumber=100, RuleAction='accept', Protocol=6,
            DestinationPortRange={'FromPort': 443, 'ToPort': 444}, SourceCidrBlock='0.0.0.0/0',
            DestinationCidrBlock='10.0.1.10/32', Description='https')
a = ec2.create_traffic_mirror_filter_rule(**rule)['TrafficMirrorFilterRule']
R = a.pop('TrafficMirrorFilterRuleId')
equal(a, rule, 'a rule is made as asked for')
session = dict(NetworkInterfaceId=WEB, TrafficMirrorTargetId=T, TrafficMirrorFilterId=F, SessionNumber=7,
               PacketLength=120, VirtualNetworkId=1001, Description='s')
tagged = dict(session, TagSpecifications=[{'ResourceType': 'traffic-mirror-session', 'Tags': tags}], ClientToken='s1')
a = ec2.create_traffic_mirror_session(**tagged)
first = a['TrafficMirrorSession']
S = first['TrafficMirrorSessionId']
equal({k: first[k] for k in session}, session, 'a session is made as asked for')
equal(ec2.describe_traffic_mirror_sessions(TrafficMirrorSessionIds=[S])['TrafficMirrorSessions'], [first],
      'and described the same')
equal(ec2.describe_traffic_mirror_targets()['TrafficMirrorTargets'], [target], 'so is the target')
f = ec2.describe_traffic_mirror_filters()['TrafficMirrorFilters'][0]
equal((len(f['IngressFilterRules']), f['EgressFilterRules'], f['NetworkServices']), (1, [], []),
      'a filter shows its rules by direction')
a = ec2.modify_traffic_mirror_filter_network_services(TrafficMirrorFilterId=F, AddNetworkServices=['amazon-dns'])
equal(a['TrafficMirrorFilter']['NetworkServices'], ['amazon-dns'], 'amazon-dns is added')
a = ec2.modify_traffic_mirror_filter_network_services(TrafficMirrorFilterId=F, RemoveNetworkServices=['amazon-dns'])
equal(a['TrafficMirrorFilter']['NetworkServices'], [], 'and removed')
a = ec2.modify_traffic_mirror_filter_rule(TrafficMirrorFilterRuleId=R, RuleNumber=5, TrafficDirection='egress',
                                          RemoveFields=['destination-port-range', 'protocol', 'description'])
a = a['TrafficMirrorFilterRule']
equal((a['RuleNumber'], a['TrafficDirection'], 'Protocol' in a, 'DestinationPortRange' in a, 'Description' in a),
      (5, 'egress', False, False, False), 'a rule is changed, and fields removed')
a = ec2.modify_traffic_mirror_session(TrafficMirrorSessionId=S, SessionNumber=3, VirtualNetworkId=5,
                                      RemoveFields=['packet-length', 'description'])['TrafficMirrorSession']
equal((a['SessionNumber'], a['VirtualNetworkId'], 'PacketLength' in a, 'Description' in a, a['Tags']),
      (3, 5, False, False, tags), 'a session is changed, fields removed, tags kept')

# --- ClientToken ---------------------------------------------------------------------------------
equal(ec2.create_traffic_mirror_session(**tagged)['TrafficMirrorSession'], first,
      'the same create with the same token gives the same session')
equal(len(ec2.describe_traffic_mirror_sessions()['TrafficMirrorSessions']), 1, 'and makes no second one')
refused(ec2.create_traffic_mirror_session, 'IdempotentParameterMismatch', 'the same token with another number is a mismatch',
        **dict(tagged, SessionNumber=8))
refused(ec2.create_traffic_mirror_session, 'IdempotentParameterMismatch', 'with another tag value too', **dict(
    tagged, TagSpecifications=[{'ResourceType': 'traffic-mirror-session', 'Tags': [{'Key': 'tapbox:owner', 'Value': 'z'}]}]))
refused(ec2.create_traffic_mirror_filter, 'InvalidClientToken', 'a token of 65 characters is refused', ClientToken='x' * 65)
race = []
threads = [threading.Thread(target=lambda: race.append(sim.client().create_traffic_mirror_filter(ClientToken='race')[
    'TrafficMirrorFilter']['TrafficMirrorFilterId'])) for _ in range(8)]
[t.start() for t in threads], [t.join() for t in threads]
equal((len(race), len(set(race))), (8, 1), 'eight at once with one token make one filter')
ec2.delete_traffic_mirror_filter(TrafficMirrorFilterId=race[0])

# --- DryRun and permissions ------------------------------------------------------------------------
refused(ec2.create_traffic_mirror_filter, 'DryRunOperation', 'DryRun says what would have succeeded', 412, DryRun=True,
        ClientToken='dry')
refused(ec2.delete_traffic_mirror_session, 'DryRunOperation', 'also for a delete', 412, DryRun=True, TrafficMirrorSessionId=S)
refused(ec2.describe_instances, 'DryRunOperation', 'also for a describe', 412, DryRun=True)
refused(readonly.create_traffic_mirror_filter, 'UnauthorizedOperation', 'a key without the permission is told so, also with DryRun', 403,
        DryRun=True)
check(ec2.create_traffic_mirror_filter(ClientToken='dry')['TrafficMirrorFilter'], 'a DryRun does not use up its token')
equal(len(readonly.describe_traffic_mirror_sessions()['TrafficMirrorSessions']), 1, 'what is not denied is allowed')

# --- limits and conflicts ------------------------------------------------------------------------------
more = dict(NetworkInterfaceId=WEB, TrafficMirrorTargetId=T, TrafficMirrorFilterId=F)
second = ec2.create_traffic_mirror_session(SessionNumber=1, **more)['TrafficMirrorSession']
third = ec2.create_traffic_mirror_session(SessionNumber=2, **more)['TrafficMirrorSession']
check(1 <= second['VirtualNetworkId'] < 2**24 and second['VirtualNetworkId'] != third['VirtualNetworkId'],
      'random VNIs are of 24 bits and differ')
try:
    ec2.create_traffic_mirror_session(SessionNumber=3, **more)
    check(False, 'a session number in use is refused')
except Exception as e:
    check('already being used' in str(e), 'a session number in use is refused', e)
refused(ec2.create_traffic_mirror_session, 'TrafficMirrorSessionsPerInterfaceLimitExceeded', 'a fourth session on an interface is refused',
        SessionNumber=4, **more)
refused(ec2.create_traffic_mirror_target, 'InterfaceInUseByTrafficMirrorSession', 'a source cannot become a target',
        NetworkInterfaceId=WEB)
refused(ec2.create_traffic_mirror_target, 'InterfaceInUseByTrafficMirrorTarget', 'a target cannot become one twice',
        NetworkInterfaceId=CAP)
for eni, why in ((LAMBDA, 'of another kind'), (LOOSE, 'that is not attached'), (OLD, 'of an unsupported type')):
    refused(ec2.create_traffic_mirror_session, 'NetworkInterfaceNotSupported', 'an interface %s is not supported' % why,
            **dict(more, NetworkInterfaceId=eni, SessionNumber=1))
refused(ec2.create_traffic_mirror_session, 'InterfaceInUseByTrafficMirrorTarget', 'a target cannot become a source',
        **dict(more, NetworkInterfaceId=CAP, SessionNumber=1))
refused(ec2.delete_traffic_mirror_filter, 'TrafficMirrorFilterInUse', 'a filter in use stays', TrafficMirrorFilterId=F)
refused(ec2.delete_traffic_mirror_target, 'TrafficMirrorTargetInUseException', 'a target in use stays', TrafficMirrorTargetId=T)
for n in range(3):
    ec2.create_traffic_mirror_session(**dict(more, NetworkInterfaceId='eni-0b%015x' % n, SessionNumber=1))
refused(ec2.create_traffic_mirror_session, 'TrafficMirrorSessionLimitExceeded', "the account's limit of sessions holds",
        **dict(more, NetworkInterfaceId='eni-0b%015x' % 3, SessionNumber=1))
for n in range(1, 10):
    ec2.create_traffic_mirror_filter_rule(**dict(rule, RuleNumber=n))
refused(ec2.create_traffic_mirror_filter_rule, 'TrafficMirrorFilterRuleLimitExceeded', 'an eleventh rule is refused',
        **dict(rule, RuleNumber=50))
refused(ec2.create_traffic_mirror_filter_rule, 'TrafficMirrorFilterRuleAlreadyExists', 'a rule number twice is refused',
        **dict(rule, RuleNumber=9))
numbers = [r['RuleNumber'] for r in ec2.describe_traffic_mirror_filters(TrafficMirrorFilterIds=[F])[
    'TrafficMirrorFilters'][0]['IngressFilterRules']]
equal(numbers, list(range(1, 10)), 'rules are shown in order')
NLB = w['load_balancers'][0]['arn']
nlb = ec2.create_traffic_mirror_target(NetworkLoadBalancerArn=NLB)['TrafficMirrorTarget']
equal((nlb['Type'], nlb['NetworkLoadBalancerArn']), ('network-load-balancer', NLB), 'a load balancer can be a target')
refused(ec2.create_traffic_mirror_target, 'NlbInUseByTrafficMirrorTargetException', 'but only once', NetworkLoadBalancerArn=NLB)
refused(ec2.create_traffic_mirror_target, 'NetworkLoadBalancerNotFoundException', 'one that is not there is not found',
        NetworkLoadBalancerArn=NLB + 'x')
a = ec2.modify_traffic_mirror_session(TrafficMirrorSessionId=S, TrafficMirrorTargetId=nlb['TrafficMirrorTargetId'],
                                      RemoveFields=['packet-length'])['TrafficMirrorSession']
equal((a['TrafficMirrorTargetId'], a['PacketLength']), (nlb['TrafficMirrorTargetId'], 8500),
      'a session moves to another target; for a load balancer 8500 is the length')

# --- what is not there, or not ours ------------------------------------------------------------------
for call, parameter, prefix, kind in (
        (ec2.delete_traffic_mirror_session, 'TrafficMirrorSessionId', 'tms-', 'InvalidTrafficMirrorSessionId'),
        (ec2.delete_traffic_mirror_filter, 'TrafficMirrorFilterId', 'tmf-', 'InvalidTrafficMirrorFilterId'),
        (ec2.delete_traffic_mirror_filter_rule, 'TrafficMirrorFilterRuleId', 'tmfr-', 'InvalidTrafficMirrorFilterRuleId'),
        (ec2.delete_traffic_mirror_target, 'TrafficMirrorTargetId', 'tmt-', 'InvalidTrafficMirrorTargetId')):
    refused(call, kind + '.NotFound', 'a %s id that is not there is not found' % prefix, **{parameter: prefix + NONE})
    refused(call, kind + '.Malformed', 'and %s with wrong digits is malformed' % prefix, **{parameter: prefix + 'XYZ'})
    refused(call, 'MissingParameter', 'a delete needs its id')
for call, parameter, value, code in (
        (ec2.describe_instances, 'InstanceIds', 'i-' + NONE, 'InvalidInstanceID.NotFound'),
        (ec2.describe_instances, 'InstanceIds', 'i-1', 'InvalidInstanceID.Malformed'),
        (ec2.describe_network_interfaces, 'NetworkInterfaceIds', 'eni-' + NONE, 'InvalidNetworkInterfaceID.NotFound'),
        (ec2.describe_network_interfaces, 'NetworkInterfaceIds', 'i-' + NONE, 'InvalidNetworkInterfaceId.Malformed'),
        (ec2.describe_subnets, 'SubnetIds', 'subnet-' + NONE, 'InvalidSubnetID.NotFound'),
        (ec2.describe_security_groups, 'GroupIds', 'sg-' + NONE, 'InvalidGroup.NotFound'),
        (ec2.describe_route_tables, 'RouteTableIds', 'rtb-' + NONE, 'InvalidRouteTableID.NotFound'),
        (ec2.describe_instance_types, 'InstanceTypes', 'm9.huge', 'InvalidInstanceType'),
        (ec2.describe_traffic_mirror_sessions, 'TrafficMirrorSessionIds', 'tms-' + NONE, 'InvalidTrafficMirrorSessionId.NotFound')):
    refused(call, code, '%s says %s' % (parameter, code), **{parameter: [value]})
refused(other.delete_traffic_mirror_session, 'InvalidTrafficMirrorSessionId.NotFound', 'another account does not see our session',
        TrafficMirrorSessionId=S)
equal(other.describe_traffic_mirror_filters()['TrafficMirrorFilters'], [], 'nor our filters')
equal([i['InstanceId'] for r in other.describe_instances()['Reservations'] for i in r['Instances']], ['i-0c000000000000001'],
      'but its own instance')
refused(ec2.create_traffic_mirror_session, 'InvalidNetworkInterfaceID.NotFound', "nor may we mirror another account's interface",
        **dict(more, NetworkInterfaceId='eni-0c000000000000001', SessionNumber=1))

# --- requests that no SDK makes ------------------------------------------------------------------------
create = version('CreateTrafficMirrorSession', NetworkInterfaceId=WEB, TrafficMirrorTargetId=T, TrafficMirrorFilterId=F,
                 SessionNumber='9')
rule_q = version('CreateTrafficMirrorFilterRule', TrafficMirrorFilterId=F, TrafficDirection='egress', RuleNumber='60',
                 RuleAction='accept', SourceCidrBlock='0.0.0.0/0', DestinationCidrBlock='0.0.0.0/0')


def without(q, *names):
    return {k: v for k, v in q.items() if k not in names}


WRONG = [
    ('an unknown parameter', {**create, 'Nonsense': '1'}, 'UnknownParameter'),
    ('a misspelt parameter', {**create, 'networkInterfaceId': WEB}, 'UnknownParameter'),
    ('a list in .member. form', version('DescribeTrafficMirrorSessions', **{'TrafficMirrorSessionId.member.1': S}), 'UnknownParameter'),
    ('a list without an index', version('DescribeTrafficMirrorSessions', TrafficMirrorSessionId=S), 'UnknownParameter'),
    ('a list index 0', version('DescribeTrafficMirrorSessions', **{'TrafficMirrorSessionId.0': S}), 'UnknownParameter'),
    ('TagSpecifications in the plural', {**create, 'TagSpecifications.1.ResourceType': 'x'}, 'UnknownParameter'),
    ('an unknown action', version('CreateTrafficMirrorSesion'), 'InvalidAction'),
    ('no action', {'Version': '2016-11-15'}, 'MissingAction'),
    ('another version', {**create, 'Version': '2014-01-01'}, 'InvalidAction'),
    ('no version', without(create, 'Version'), 'MissingParameter'),
    ('no interface', without(create, 'NetworkInterfaceId'), 'MissingParameter'),
    ('an empty interface', {**create, 'NetworkInterfaceId': ''}, 'MissingParameter'),
    ('no session number', without(create, 'SessionNumber'), 'MissingParameter'),
    ('session number 0', {**create, 'SessionNumber': '0'}, 'InvalidParameterValue'),
    ('session number 32767', {**create, 'SessionNumber': '32767'}, 'InvalidParameterValue'),
    ('session number "one"', {**create, 'SessionNumber': 'one'}, 'InvalidParameterValue'),
    ('packet length 8501', {**create, 'PacketLength': '8501'}, 'InvalidParameterValue'),
    ('packet length 0', {**create, 'PacketLength': '0'}, 'InvalidParameterValue'),
    ('a VNI of 25 bits', {**create, 'VirtualNetworkId': '16777216'}, 'InvalidParameterValue'),
    ('a malformed interface id', {**create, 'NetworkInterfaceId': 'eni-1'}, 'InvalidNetworkInterfaceId.Malformed'),
    ('DryRun=yes', {**create, 'DryRun': 'yes'}, 'InvalidParameterValue'),
    ('a removed field that is none', version('ModifyTrafficMirrorSession', TrafficMirrorSessionId=S, **{'RemoveField.1': 'vni'}),
     'InvalidParameterValue'),
    ('a token on Modify', version('ModifyTrafficMirrorSession', TrafficMirrorSessionId=S, ClientToken='x'), 'UnknownParameter'),
    ('a direction that is none', {**rule_q, 'TrafficDirection': 'in'}, 'InvalidParameterValue'),
    ('an action that is none', {**rule_q, 'RuleAction': 'ACCEPT'}, 'InvalidParameterValue'),
    ('rule number 32767', {**rule_q, 'RuleNumber': '32767'}, 'InvalidParameterValue'),
    ('protocol 256', {**rule_q, 'Protocol': '256'}, 'InvalidParameterValue'),
    ('protocol tcp', {**rule_q, 'Protocol': 'tcp'}, 'InvalidParameterValue'),
    ('a CIDR without a length', {**rule_q, 'SourceCidrBlock': '10.0.0.1'}, 'InvalidParameterValue'),
    ('a CIDR with length 33', {**rule_q, 'SourceCidrBlock': '10.0.0.0/33'}, 'InvalidParameterValue'),
    ('no source CIDR', without(rule_q, 'SourceCidrBlock'), 'MissingParameter'),
    ('mixed families', {**rule_q, 'SourceCidrBlock': '::/0'}, 'InvalidParameterValue'),
    ('ports without a protocol', {**rule_q, 'SourcePortRange.FromPort': '1', 'SourcePortRange.ToPort': '2'},
     'InvalidParameterCombination'),
    ('half a port range', {**rule_q, 'Protocol': '6', 'SourcePortRange.FromPort': '1'}, 'MissingParameter'),
    ('a port range backwards', {**rule_q, 'Protocol': '6', 'SourcePortRange.FromPort': '2', 'SourcePortRange.ToPort': '1'},
     'InvalidParameterValue'),
    ('port 65536', {**rule_q, 'Protocol': '6', 'SourcePortRange.FromPort': '2', 'SourcePortRange.ToPort': '65536'},
     'InvalidParameterValue'),
    ('a target of nothing', version('CreateTrafficMirrorTarget'), 'MissingParameter'),
    ('a target of two things', version('CreateTrafficMirrorTarget', NetworkInterfaceId=BIG, NetworkLoadBalancerArn=NLB),
     'InvalidParameterCombination'),
    ('an endpoint that is not there', version('CreateTrafficMirrorTarget', GatewayLoadBalancerEndpointId='vpce-' + NONE),
     'InvalidVpcEndpointId.NotFound'),
    ('a network service that is none', version('ModifyTrafficMirrorFilterNetworkServices', TrafficMirrorFilterId=F,
                                              **{'AddNetworkService.1': 'amazon-ntp'}), 'InvalidParameterValue'),
    ('MaxResults 4', version('DescribeTrafficMirrorSessions', MaxResults='4'), 'InvalidParameterValue'),
    ('MaxResults 1001', version('DescribeTrafficMirrorSessions', MaxResults='1001'), 'InvalidParameterValue'),
    ('MaxResults 101 for types', version('DescribeInstanceTypes', MaxResults='101'), 'InvalidParameterValue'),
    ('ids with MaxResults', version('DescribeTrafficMirrorSessions', MaxResults='5', **{'TrafficMirrorSessionId.1': S}),
     'InvalidParameterCombination'),
    ('a NextToken that is none', version('DescribeTrafficMirrorSessions', NextToken='x'), 'InvalidParameterValue'),
    ('an undocumented filter', version('DescribeTrafficMirrorSessions', **{'Filter.1.Name': 'state', 'Filter.1.Value.1': 'x'}),
     'InvalidParameterValue'),
    ('a tag filter on sessions', version('DescribeTrafficMirrorSessions', **{'Filter.1.Name': 'tag:a', 'Filter.1.Value.1': 'x'}),
     'InvalidParameterValue'),
    ('a filter without a value', version('DescribeTrafficMirrorSessions', **{'Filter.1.Name': 'description'}), 'InvalidParameterValue'),
    ('a filter without a name', version('DescribeTrafficMirrorSessions', **{'Filter.1.Value.1': 'x'}), 'InvalidParameterValue'),
    ('Filter.1.Value without an index', version('DescribeTrafficMirrorSessions', **{
        'Filter.1.Name': 'description', 'Filter.1.Value': 'x'}), 'UnknownParameter'),
    ('a parameter twice', urllib.parse.urlencode(create) + '&SessionNumber=8', 'InvalidParameterCombination'),
    ('a broken escape', urllib.parse.urlencode(create) + '&Description=%zz', 'MalformedQueryString'),
    ('octets that are not UTF-8', urllib.parse.urlencode(create) + '&Description=%ff', 'MalformedQueryString'),
    ('a control character', urllib.parse.urlencode(create) + '&Description=%01', 'MalformedQueryString'),
]
SPEC = 'TagSpecification.1.'
for what, more_q, code in (
        ('a tag specification for another type', {SPEC + 'ResourceType': 'instance', SPEC + 'Tag.1.Key': 'a'}, 'InvalidParameterValue'),
        ('one without tags', {SPEC + 'ResourceType': 'traffic-mirror-session'}, 'InvalidParameterValue'),
        ('one without a type', {SPEC + 'Tag.1.Key': 'a'}, 'InvalidParameterValue'),
        ('an aws: tag', {SPEC + 'ResourceType': 'traffic-mirror-session', SPEC + 'Tag.1.Key': 'aws:x'}, 'InvalidParameterValue'),
        ('a tag key of 129 characters', {SPEC + 'ResourceType': 'traffic-mirror-session', SPEC + 'Tag.1.Key': 'k' * 129},
         'InvalidParameterValue'),
        ('a tag value of 257 characters', {SPEC + 'ResourceType': 'traffic-mirror-session', SPEC + 'Tag.1.Key': 'k',
                                           SPEC + 'Tag.1.Value': 'v' * 257}, 'InvalidParameterValue'),
        ('a tag key twice', {SPEC + 'ResourceType': 'traffic-mirror-session', SPEC + 'Tag.1.Key': 'k', SPEC + 'Tag.2.Key': 'k'},
         'InvalidParameterValue'),
        ('51 tags', {SPEC + 'ResourceType': 'traffic-mirror-session', **{SPEC + 'Tag.%d.Key' % n: 'k%d' % n for n in range(1, 52)}},
         'TagLimitExceeded')):
    WRONG.append((what, {**create, **more_q}, code))
for what, query, code in WRONG:
    equal(raw_code(query), code, '%s: %s' % (what, code))
equal(raw_code(version('DescribeInstances'), method='GET'), 'ok', 'GET does as well as POST')
equal(raw_code(version('DescribeInstances'), content_type='application/json'), 'MalformedQueryString', 'a body that says it is JSON is refused')
status, root = raw('x=' + 'a' * (1024 * 1024))
equal((status, root.find('.//Code').text), (413, 'RequestEntityTooLarge'), 'a body over 1 MiB is refused')

# --- filter rules, newer than this model ------------------------------------------------------------
status, root = raw(version('DescribeTrafficMirrorFilterRules', TrafficMirrorFilterId=F, **{
    'Filter.1.Name': 'rule-number', 'Filter.1.Value.1': '3', 'Filter.1.Value.2': '5'}))
ns = '{http://ec2.amazonaws.com/doc/2016-11-15/}'
equal((status, sorted(e.text for e in root.iter(ns + 'ruleNumber'))), (200, ['3', '5', '5']), 'rules are described and filtered')
equal(raw_code(version('DescribeTrafficMirrorFilterRules', TrafficMirrorFilterId='tmf-' + NONE)), 'InvalidTrafficMirrorFilterId.NotFound',
      'of a filter that is there')
status, root = raw({**rule_q, 'TrafficMirrorFilterId': ec2.create_traffic_mirror_filter()['TrafficMirrorFilter'][
    'TrafficMirrorFilterId'], SPEC + 'ResourceType': 'traffic-mirror-filter-rule', SPEC + 'Tag.1.Key': 'k', SPEC + 'Tag.1.Value': 'v'})
equal((status, [e.text for e in root.iter(ns + 'key')]), (200, ['k']), 'a rule can be tagged when it is made')

# --- filters and pages --------------------------------------------------------------------------------
def enis(**filters):
    a = ec2.describe_network_interfaces(Filters=[{'Name': k.replace('_', '-'), 'Values': v} for k, v in filters.items()])
    return [e['NetworkInterfaceId'] for e in a['NetworkInterfaces']]


equal(enis(private_ip_address=['10.0.1.10', '10.0.1.20']), [WEB, CAP], 'values of one filter are alternatives')
equal(enis(private_ip_address=['10.0.1.11']), [WEB], 'a secondary address finds its interface')
equal(enis(private_ip_address=['10.0.1.10', '10.0.1.20'], mac_address=['0a:00:00:00:00:02']), [CAP], 'filters hold together')
equal(enis(private_ip_address=['10.0.1.?0'], **{'attachment.instance-id': ['i-0a*1', 'i-0a*2']}), [WEB, CAP], 'wildcards: ? and *')
equal(enis(private_ip_address=['10.0.1.\\?0']), [], 'an escaped one is itself')
equal(enis(**{'tag:Name': ['work*']}), [WEB], 'tag:<key> finds by value')
equal(len(enis(tag_key=['n'])), 12, 'tag-key finds by key')
equal(enis(**{'tag:name': ['workload']}), [], 'keys are case-sensitive')
got = [i['InstanceId'] for r in ec2.describe_instances(Filters=[
    {'Name': 'network-interface.addresses.private-ip-address', 'Values': ['10.0.1.11']}])['Reservations'] for i in r['Instances']]
equal(got, ['i-0a000000000000001'], 'an instance is found by an address of its interface')
i = ec2.describe_instances(InstanceIds=['i-0a000000000000001'])['Reservations'][0]['Instances'][0]
equal((i['State'], i['PrivateIpAddress'], i['PublicIpAddress'], i['NetworkInterfaces'][0]['NetworkInterfaceId'],
       i['NetworkInterfaces'][0]['Attachment']['DeviceIndex'], i['Tags'][0]),
      ({'Code': 16, 'Name': 'running'}, '10.0.1.10', '198.51.100.7', WEB, 0, {'Key': 'Name', 'Value': 'workload'}),
      'an instance shows its state, addresses and interfaces')


def pages(name, key, **arguments):
    out, n = [], 0
    for page in ec2.get_paginator(name).paginate(**arguments):
        out += page[key]
        n += 1
    return out, n


everything = ec2.describe_network_interfaces()['NetworkInterfaces']
equal(pages('describe_network_interfaces', 'NetworkInterfaces', PaginationConfig={'PageSize': 5}), (everything, 4),
      'pages of 5 give all 18 interfaces, in order')
token = ec2.describe_network_interfaces(MaxResults=5)['NextToken']
refused(ec2.describe_network_interfaces, 'InvalidParameterValue', 'a token is good for its own question only', NextToken=token,
        Filters=[{'Name': 'vpc-id', 'Values': ['x']}])
refused(other.describe_network_interfaces, 'InvalidParameterValue', 'and for its own account', NextToken=token)
for name, key, size in (('describe_traffic_mirror_sessions', 'TrafficMirrorSessions', 5), ('describe_tags', 'Tags', 5),
                        ('describe_instance_types', 'InstanceTypes', 7), ('describe_instances', 'Reservations', 6)):
    equal(pages(name, key, PaginationConfig={'PageSize': size})[0], getattr(ec2, name)()[key], '%s in pages is the same as at once' % name)
page = ec2.describe_traffic_mirror_sessions(MaxResults=5)
ec2.delete_traffic_mirror_session(TrafficMirrorSessionId=page['TrafficMirrorSessions'][0]['TrafficMirrorSessionId'])
rest = ec2.describe_traffic_mirror_sessions(MaxResults=5, NextToken=page['NextToken'])['TrafficMirrorSessions']
equal(len(rest), 1, 'a delete between two pages skips nothing')

# --- tags ------------------------------------------------------------------------------------------------
S2 = rest[0]['TrafficMirrorSessionId']
ec2.create_tags(Resources=[S2, WEB], Tags=[{'Key': 'tapbox:expires', 'Value': '1'}, {'Key': 'x', 'Value': ''}])
got = ec2.describe_tags(Filters=[{'Name': 'resource-type', 'Values': ['traffic-mirror-session']},
                                 {'Name': 'key', 'Values': ['tapbox:*']}])['Tags']
equal([(t['ResourceId'], t['Key'], t['Value']) for t in got if t['ResourceId'] == S2], [(S2, 'tapbox:expires', '1')],
      'CreateTags tags, DescribeTags finds by type and key')
ec2.delete_tags(Resources=[S2], Tags=[{'Key': 'tapbox:expires', 'Value': '2'}, {'Key': 'x', 'Value': ''}])
equal(ec2.describe_traffic_mirror_sessions(TrafficMirrorSessionIds=[S2])['TrafficMirrorSessions'][0]['Tags'],
      [{'Key': 'tapbox:expires', 'Value': '1'}], 'DeleteTags with a value deletes only that value')
ec2.delete_tags(Resources=[S2], Tags=[{'Key': 'tapbox:expires'}])
equal(ec2.describe_tags(Filters=[{'Name': 'resource-id', 'Values': [S2]}])['Tags'], [], 'without a value, whatever it is')
refused(ec2.create_tags, 'InvalidID', 'an id of no known kind cannot be tagged', Resources=['zzz-1'], Tags=[{'Key': 'a', 'Value': 'b'}])
refused(ec2.create_tags, 'InvalidTrafficMirrorSessionId.NotFound', 'nor one that is not there', Resources=[WEB, 'tms-' + NONE],
        Tags=[{'Key': 'late', 'Value': 'b'}])
equal(enis(**{'tag-key': ['late']}), [], 'and then none of the call is')
refused(ec2.create_tags, 'MissingParameter', 'CreateTags needs tags', Resources=[WEB])
refused(ec2.create_tags, 'InvalidParameterValue', 'aws: is reserved', Resources=[WEB], Tags=[{'Key': 'AWS:a', 'Value': 'b'}])
refused(ec2.create_tags, 'TagLimitExceeded', 'fifty tags at most', Resources=[WEB], Tags=[{'Key': 'k%d' % n, 'Value': ''} for n in range(50)])

# --- networks and types --------------------------------------------------------------------------------------
g = ec2.describe_security_groups(GroupIds=['sg-0a000000000000001'])['SecurityGroups'][0]
equal((g['IpPermissions'][0]['FromPort'], g['IpPermissions'][0]['IpRanges'], g['IpPermissions'][1]['UserIdGroupPairs'][0]['GroupId'],
       g['IpPermissionsEgress'][1]['Ipv6Ranges']),
      (4789, [{'CidrIp': '10.0.0.0/16'}], 'sg-0a000000000000001', [{'CidrIpv6': '::/0'}]), 'a security group shows its rules')
r = ec2.describe_route_tables(Filters=[{'Name': 'association.subnet-id', 'Values': ['subnet-0a000000000000001']}])['RouteTables'][0]
equal([(x.get('DestinationCidrBlock', x.get('DestinationIpv6CidrBlock')), x['GatewayId']) for x in r['Routes']],
      [('10.0.0.0/16', 'local'), ('fd77::/56', 'local'), ('0.0.0.0/0', 'igw-0a000000000000001')], 'a route table shows its routes')
equal(ec2.describe_subnets(Filters=[{'Name': 'vpc-id', 'Values': ['vpc-0a000000000000001']}])['Subnets'][0]['CidrBlock'], '10.0.1.0/24',
      'a subnet shows its block')
t = ec2.describe_instance_types(InstanceTypes=['m5.large'])['InstanceTypes'][0]
equal((t['Hypervisor'], t['VCpuInfo']['DefaultVCpus'], t['NetworkInfo']['EnaSupport']), ('nitro', 2, 'required'), 'an instance type is described')

# --- ten sources a target, a hundred for the largest -----------------------------------------------------------
sim.stop()
w['limits'] = {}
sim = Awsim(w)
ec2 = client()
small = ec2.create_traffic_mirror_target(NetworkInterfaceId=CAP)['TrafficMirrorTarget']['TrafficMirrorTargetId']
large = ec2.create_traffic_mirror_target(NetworkInterfaceId=BIG)['TrafficMirrorTarget']['TrafficMirrorTargetId']
F = ec2.create_traffic_mirror_filter()['TrafficMirrorFilter']['TrafficMirrorFilterId']


def on(n, t, number=1):
    return dict(NetworkInterfaceId='eni-0b%015x' % n, TrafficMirrorTargetId=t, TrafficMirrorFilterId=F, SessionNumber=number)


for n in range(10):
    ec2.create_traffic_mirror_session(**on(n, small))
refused(ec2.create_traffic_mirror_session, 'TrafficMirrorSourcesPerTargetLimitExceeded', 'an eleventh source is refused', **on(10, small))
check(ec2.create_traffic_mirror_session(**on(3, small, 2)), 'a second session of a source is no new source')
for n in range(12):
    ec2.create_traffic_mirror_session(**on(n, large, 3))
check(True, 'the largest size takes more than ten')
a = ec2.create_traffic_mirror_session(**on(11, large, 1))['TrafficMirrorSession']['TrafficMirrorSessionId']
refused(ec2.modify_traffic_mirror_session, 'TrafficMirrorSourcesPerTargetLimitExceeded', 'the limit holds for a change of target too',
        TrafficMirrorSessionId=a, TrafficMirrorTargetId=small)

# --- all of it -----------------------------------------------------------------------------------------------------
equal(model_faults[:5], [], 'every element of every answer is in the service model (%d actions)' % len(answers))
wanted = {o for o in ec2.meta.service_model.operation_names if 'TrafficMirror' in o and not o.startswith('Delete')}
equal(sorted(wanted - answers), [], 'every mirror action of the model was answered')
requests = sim.control('/objects')['requests']
equal(requests['CreateTrafficMirrorSession']['errors'], {'TrafficMirrorSourcesPerTargetLimitExceeded': 1}, 'requests are counted by code')
start = time.monotonic()
for _ in range(300):
    ec2.describe_traffic_mirror_sessions(TrafficMirrorSessionIds=[a])
print('# %.2f ms a describe, boto3 included' % ((time.monotonic() - start) / 300 * 1000))
sim.stop()
finish()
