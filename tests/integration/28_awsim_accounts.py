#!/usr/bin/python3
"""Several accounts: roles to assume, objects kept apart, targets shared as Resource Access Manager does."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lab/awsim'))
from testkit import *  # noqa: E402,F403

isolate()
HOME, AWAY, THIRD = '111122223333', '444455556666', '777788889999'
WEB, CAP, FAR = 'eni-0a000000000000001', 'eni-0a000000000000002', 'eni-0c000000000000001'
SUBNET = 'subnet-0a000000000000001'
TAP, SHORT, LONG, LOCAL = ['arn:aws:iam::%s:role/%s' % (AWAY, n) for n in ('lab/tap', 'short', 'long', 'local')]
for name, ip, mac in (('far', '10.0.1.201', '09'), ('cap', '10.0.1.20', '02')):
    subprocess.run('''ip netns add {0} && ip link add fab-{0} type veth peer name eth0 netns {0} && ip link set fab-{0} up
    ip -n {0} link set eth0 address 0a:00:00:00:00:{2} && ip -n {0} address add {1}/24 dev eth0 && ip -n {0} link set eth0 up
    ip -n {0} neigh add 10.0.1.99 lladdr 0a:00:00:00:00:99 dev eth0'''.format(name, ip, mac), shell=True, check=True)
w = world()
w['accounts'][0]['keys'].append({'access_key': 'AKIANOASSUMEEXAMPLE1', 'secret_key': 'x', 'deny': ['sts:Assume*']})
w['accounts'][1]['roles'] = [
    {'arn': TAP, 'external_id': 'tapbox:7', 'trusts': [HOME], 'deny': ['ec2:DescribeTags']},
    {'arn': SHORT, 'trusts': [HOME, THIRD], 'credentials_s': 120}, {'arn': LONG, 'trusts': [HOME, AWAY], 'max_session_s': 43200},
    {'arn': LOCAL}]
w['accounts'].append({'id': THIRD, 'keys': [{'access_key': 'AKIATHIRDACCOUNT0001', 'secret_key': 'third-secret'}]})
w['instances'].append({'id': 'i-0c000000000000001', 'subnet': SUBNET, 'owner': AWAY})
w['enis'].append({'id': FAR, 'mac': '0a:00:00:00:00:09', 'subnet': SUBNET, 'private_ips': ['10.0.1.201'],
                  'instance': 'i-0c000000000000001', 'owner': AWAY, 'port': 'fab-far'})
w['enis'][1]['port'] = 'fab-cap'
sim = Awsim(w, clock=True)
sts, ec2 = sim.client('sts'), sim.client()
third = sim.client('ec2', 'AKIATHIRDACCOUNT0001', 'third-secret')


def assume(arn=TAP, client=sts, **more):
    return client.assume_role(RoleArn=arn, **{'RoleSessionName': 'tapbox-1', **more})


def keys(answer):
    c = answer['Credentials']
    return c['AccessKeyId'], c['SecretAccessKey'], c['SessionToken']


# --- AssumeRole ------------------------------------------------------------------------------------
a = assume(ExternalId='tapbox:7')
left = a['Credentials']['Expiration'].timestamp() - time.time()
check(a['Credentials']['AccessKeyId'].startswith('ASIA') and 3500 < left <= 3600, 'a role is assumed for an hour', a)
equal(a['AssumedRoleUser']['Arn'], 'arn:aws:sts::%s:assumed-role/tap/tapbox-1' % AWAY, 'under its name and that of the session')
away = sim.client('ec2', *keys(a))
who = sim.client('sts', *keys(a)).get_caller_identity()
equal((who['Account'], who['Arn'], who['UserId']), (AWAY, a['AssumedRoleUser']['Arn'], a['AssumedRoleUser']['AssumedRoleId']),
      'the keys are those of the other account')
equal(error_of(away.describe_tags), ('UnauthorizedOperation', 403), 'and may what the role may')
equal(error_of(sim.client('ec2', *keys(a)[:2]).describe_instances), ('AuthFailure', 401), 'not without the session token')
DENIED, INVALID = ('AccessDenied', 403), ('ValidationError', 400)
for sentence, wanted, arguments in (
        ('without the external id', DENIED, {}), ('with a wrong external id', DENIED, {'ExternalId': 'tapbox:8'}),
        ('a role that is not there', DENIED, {'arn': TAP + 'x'}), ('a role of one that does not trust', DENIED, {'arn': LOCAL}),
        ('a key that may not', DENIED, {'arn': LONG, 'client': sim.client('sts', 'AKIANOASSUMEEXAMPLE1', 'x')}),
        ('another account', DENIED, {'arn': LONG, 'client': sim.client('sts', 'AKIATHIRDACCOUNT0001', 'third-secret')}),
        ('less than 15 minutes', INVALID, {'arn': LONG, 'DurationSeconds': 899}),
        ('longer than the role allows', INVALID, {'arn': SHORT, 'DurationSeconds': 3601}),
        ('longer than any role allows', INVALID, {'arn': LONG, 'DurationSeconds': 43201}),
        ('longer than an hour by an assumed role', INVALID, {'arn': LONG, 'DurationSeconds': 3601, 'client': sim.client('sts', *keys(a))}),
        ('a session name with a space', INVALID, {'arn': LONG, 'RoleSessionName': 'a b'}),
        ('a policy that is none', ('MalformedPolicyDocument', 400), {'arn': LONG, 'Policy': '{'})):
    equal(error_of(assume, **arguments), wanted, 'refused: ' + sentence)
for sentence, arguments in (('twelve hours, if the role allows it', {'DurationSeconds': 43200}), ('an assumed role', {'client': sim.client('sts', *keys(a))}),
                            ('tags and a policy', {'Tags': [{'Key': 'capture', 'Value': 'c'}], 'Policy': '{}'}),
                            ('an external id that nobody asks for', {'ExternalId': 'what'})):
    equal(error_of(assume, arn=LONG, **arguments), None, 'taken: ' + sentence)
short = sim.client('ec2', *keys(assume(SHORT)))
equal(error_of(short.describe_instances), None, 'credentials that are made to be short-lived work')
sim.go_ahead(121)
equal(error_of(short.describe_instances), ('RequestExpired', 400), 'until they expire')
sim.go_ahead(0)

# --- objects of one account ------------------------------------------------------------------------
home_filter = ec2.create_traffic_mirror_filter()['TrafficMirrorFilter']['TrafficMirrorFilterId']
f = away.create_traffic_mirror_filter()['TrafficMirrorFilter']['TrafficMirrorFilterId']
away.create_traffic_mirror_filter_rule(TrafficMirrorFilterId=f, TrafficDirection='egress', RuleNumber=1, RuleAction='accept', Protocol=1,
                                       SourceCidrBlock='0.0.0.0/0', DestinationCidrBlock='0.0.0.0/0')
TAGS = [{'ResourceType': 'traffic-mirror-target', 'Tags': [{'Key': 'tapbox:owner', 'Value': 'lab'}]}]
target = ec2.create_traffic_mirror_target(NetworkInterfaceId=CAP, TagSpecifications=TAGS)['TrafficMirrorTarget']['TrafficMirrorTargetId']


def targets(client, **arguments):
    return [t['TrafficMirrorTargetId'] for t in client.describe_traffic_mirror_targets(**arguments)['TrafficMirrorTargets']]


def sessions(client):
    return [s['TrafficMirrorSessionId'] for s in client.describe_traffic_mirror_sessions()['TrafficMirrorSessions']]


def create(client=None, eni=FAR, filter=f, number=1):
    return (client or away).create_traffic_mirror_session(
        NetworkInterfaceId=eni, TrafficMirrorTargetId=target, TrafficMirrorFilterId=filter, SessionNumber=number, TagSpecifications=[
            {'ResourceType': 'traffic-mirror-session', 'Tags': [{'Key': 'tapbox:owner', 'Value': 'lab'}]}])['TrafficMirrorSession']


NO_TARGET = ('InvalidTrafficMirrorTargetId.NotFound', 400)
equal((targets(away), error_of(create), error_of(away.describe_traffic_mirror_targets, TrafficMirrorTargetIds=[target])),
      ([], NO_TARGET, NO_TARGET), 'a target of another account is not there')
equal(error_of(create, client=ec2, eni=FAR, filter=home_filter), ('InvalidNetworkInterfaceID.NotFound', 400), 'nor is its interface')

# --- shared ----------------------------------------------------------------------------------------
equal(sim.control('/shares', 'POST', {'target': target, 'with': [AWAY]}), [{'target': target, 'with': [AWAY]}], 'the target is shared')
seen = away.describe_traffic_mirror_targets()['TrafficMirrorTargets']
equal([(t['TrafficMirrorTargetId'], t['OwnerId'], t['NetworkInterfaceId'], t['Tags']) for t in seen], [(target, HOME, CAP, [])],
      'the consumer sees it, with its owner, without its tags')
equal((targets(away, Filters=[{'Name': 'owner-id', 'Values': [HOME]}]), targets(away, Filters=[{'Name': 'tag:tapbox:owner', 'Values': ['*']}]),
       targets(away, Filters=[{'Name': 'tag-key', 'Values': ['*']}]), targets(third)), ([target], [], [], []), 'through filters, too; others do not')
equal(error_of(create, filter=home_filter), ('InvalidTrafficMirrorFilterId.NotFound', 400), "the filter has to be the caller's own")
s = create()
equal(s['OwnerId'], AWAY, 'a session to it belongs to its source')
seen = ec2.describe_traffic_mirror_sessions()['TrafficMirrorSessions']
equal([(x['TrafficMirrorSessionId'], x['OwnerId'], x['Tags']) for x in seen], [(s['TrafficMirrorSessionId'], AWAY, [])],
      'the owner of the target sees it, as a foreign one')
NOT_ALLOWED = ('UnauthorizedOperation', 403)
ID = s['TrafficMirrorSessionId']
equal((error_of(ec2.delete_traffic_mirror_session, TrafficMirrorSessionId=ID),
       error_of(ec2.modify_traffic_mirror_session, TrafficMirrorSessionId=ID, SessionNumber=9),
       error_of(ec2.create_tags, Resources=[ID], Tags=[{'Key': 'a', 'Value': 'b'}]),
       error_of(away.delete_traffic_mirror_target, TrafficMirrorTargetId=target)), (NOT_ALLOWED,) * 4, 'neither may touch what the other owns')
equal(error_of(third.delete_traffic_mirror_session, TrafficMirrorSessionId=ID), ('InvalidTrafficMirrorSessionId.NotFound', 400),
      'for a third it is not there')
equal(error_of(ec2.delete_traffic_mirror_target, TrafficMirrorTargetId=target), ('TrafficMirrorTargetInUseException', 400),
      'the target is in use by it')


def copies():
    before = sim.session_counters(ID)
    subprocess.run('ip netns exec far ping -q -c 3 -i 0.01 -W 0.1 10.0.1.99', shell=True, stdout=subprocess.DEVNULL)
    end, now = time.monotonic() + 60, before
    while now['egress']['frames'] < before['egress']['frames'] + 3 and time.monotonic() < end:
        time.sleep(0.02)
        now = sim.session_counters(ID)
    return now['mirrored'] - before['mirrored'], now['undeliverable_by']['not_shared'] - before['undeliverable_by']['not_shared']


equal(copies(), (3, 0), 'it mirrors across accounts')
equal(sim.control('/shares', 'DELETE', {'target': target, 'with': [AWAY]}), [], 'the share ends')
equal((targets(away), sessions(away), copies()), ([], [ID], (0, 3)), 'the session stays, and nothing arrives')
equal(error_of(create, number=2), NO_TARGET, 'new ones are refused')
sim.control('/shares', 'POST', [{'target_owner': HOME, 'with': [AWAY, THIRD]}])
equal((targets(away), targets(third), copies()), ([target], [target], (3, 0)), 'all targets of an owner can be shared at once')
for body in ({'with': [AWAY]}, {'target': target, 'target_owner': HOME, 'with': []}, {'target_owner': '000000000000', 'with': []}, [7],
             {'target_owner': HOME, 'with': ['000000000000']}):
    equal(sim.control('/shares', 'POST', body), 400, 'refused: %s' % sim.refusal)
equal([error_of(away.delete_traffic_mirror_session, TrafficMirrorSessionId=ID),
       error_of(ec2.delete_traffic_mirror_target, TrafficMirrorTargetId=target), sessions(ec2)], [None, None, []], 'each takes down its own')
events = [(e['event'], e['kind'], e['account'], e['by']) for e in sim.control('/history')['events'] if e.get('id') in (ID, target)]
equal(events, [('create', 'target', HOME, 'arn:aws:iam::%s:user/lab' % HOME), ('create', 'session', AWAY, a['AssumedRoleUser']['Arn']),
               ('delete', 'session', AWAY, a['AssumedRoleUser']['Arn']), ('delete', 'target', HOME, 'arn:aws:iam::%s:user/lab' % HOME)],
      'the history tells who did it')
sim.stop()

w['shares'] = [{'target_owner': HOME, 'with': [THIRD]}]
sim = Awsim(w)
equal(sim.control('/shares'), [{'target_owner': HOME, 'with': [THIRD]}], 'a world may begin with shares')
sim.stop()
finish()
