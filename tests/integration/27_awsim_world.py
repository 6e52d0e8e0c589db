#!/usr/bin/python3
"""The network changes while awsim runs: interfaces and instances come, move, stop and go."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lab/awsim'))
from testkit import *  # noqa: E402,F403

isolate()
WEB, CAP, OLD, BIG, LAMBDA, LOOSE = ['eni-0a00000000000000%d' % n for n in range(1, 7)]
I_WEB, I_CAP = 'i-0a000000000000001', 'i-0a000000000000002'
SUBNET = 'subnet-0a000000000000001'
for name, ip, mac in (('web', '10.0.1.10', '01'), ('cap', '10.0.1.20', '02'), ('new', '10.0.1.210', '77')):
    subprocess.run('''ip netns add {0} && ip link add fab-{0} type veth peer name eth0 netns {0}
    ip link show fabric >/dev/null 2>&1 || {{ ip link add fabric type bridge && ip link set fabric up; }}
    ip link set fab-{0} master fabric up && ip -n {0} link set eth0 address 0a:00:00:00:00:{2}
    ip -n {0} address add {1}/24 dev eth0 && ip -n {0} link set eth0 up'''.format(name, ip, mac), shell=True, check=True)

w = world()
w['enis'][0]['port'], w['enis'][1]['port'] = 'fab-web', 'fab-cap'
w['generate'] = {'instances': 20, 'prefix': '0c', 'subnet': SUBNET, 'type': 'c5.large', 'interfaces': 2, 'tags': {'made': 'so'}}
sim = Awsim(w)
ec2 = sim.client()


def change(*changes):
    return sim.control('/world', 'POST', list(changes))


def refused(words, sentence, *changes):
    status = change(*changes)
    check(status == 400 and words in sim.refusal, sentence, (status, sim.refusal))


def enis(*ids, **filters):
    names = [{'Name': k.replace('_', '-'), 'Values': [v]} for k, v in filters.items()]
    return ec2.describe_network_interfaces(NetworkInterfaceIds=list(ids), Filters=names)['NetworkInterfaces']


def instance(id):
    return ec2.describe_instances(InstanceIds=[id])['Reservations'][0]['Instances'][0]


def live():
    return [s['id'] for s in sim.control('/objects')['sessions']]


def mirrored(session, wanted, host='web', to='10.0.1.99'):
    """How many more copies there are of three frames that pass (a neighbour that never answers: no replies), and of how many
    there is none; once it is `wanted`."""
    before = sim.session_counters(session)
    subprocess.run('ip -n {0} neigh replace {1} lladdr 0a:00:00:00:00:99 dev eth0; ip netns exec {0} ping -q -c 3 -i 0.01 -W 0.1 {1}'
                   .format(host, to), shell=True, stdout=subprocess.DEVNULL)
    end = time.monotonic() + (0.5 if wanted == (0, 0) else 60)
    while True:
        after = sim.session_counters(session)
        got = (after['mirrored'] - before['mirrored'],
               sum(after['undeliverable_by'].values()) - sum(before['undeliverable_by'].values()))
        if time.monotonic() > end or (got == wanted != (0, 0)):
            return got
        time.sleep(0.02)


target = ec2.create_traffic_mirror_target(NetworkInterfaceId=CAP)['TrafficMirrorTarget']['TrafficMirrorTargetId']
f = ec2.create_traffic_mirror_filter()['TrafficMirrorFilter']['TrafficMirrorFilterId']
ec2.create_traffic_mirror_filter_rule(TrafficMirrorFilterId=f, TrafficDirection='egress', RuleNumber=1, RuleAction='accept', Protocol=1,
                                      SourceCidrBlock='0.0.0.0/0', DestinationCidrBlock='0.0.0.0/0')


def session(eni=WEB, number=1):
    return ec2.create_traffic_mirror_session(NetworkInterfaceId=eni, TrafficMirrorTargetId=target, TrafficMirrorFilterId=f,
                                             SessionNumber=number)['TrafficMirrorSession']['TrafficMirrorSessionId']


# --- many at once ----------------------------------------------------------------------------------
made = ec2.describe_instances(Filters=[{'Name': 'tag:made', 'Values': ['so']}])['Reservations']
equal((len(made), made[3]['Instances'][0]['InstanceId'], [e['NetworkInterfaceId'] for e in made[3]['Instances'][0]['NetworkInterfaces']]),
      (20, 'i-0c' + '3'.rjust(15, '0'), ['eni-0c' + '6'.rjust(15, '0'), 'eni-0c' + '7'.rjust(15, '0')]),
      'a world generates instances with ids that can be told')
addresses = [e['PrivateIpAddress'] for e in enis()]
check(len(addresses) == len(set(addresses)) == 46, 'each interface has an address of its own', len(addresses))
begin = time.monotonic()
vpc = {'vpcs': [{'id': 'vpc-0d000000000000001', 'cidr': '10.8.0.0/16'}],
       'subnets': [{'id': 'subnet-0d000000000000001', 'vpc': 'vpc-0d000000000000001', 'cidr': '10.8.0.0/18'}],
       'generate': [{'instances': 1000, 'prefix': '0d', 'subnet': 'subnet-0d000000000000001'}]}
added = change({'add': vpc})
check(len(added['instances']) == len(added['enis']) == 1000 and time.monotonic() - begin < 60, 'a thousand more come at once',
      time.monotonic() - begin)
s = session(added['enis'][999])
equal(ec2.describe_network_interfaces(NetworkInterfaceIds=[added['enis'][999]])['NetworkInterfaces'][0]['Attachment']['InstanceId'],
      added['instances'][999], 'they can be seen and mirrored')
total = len(sim.control('/objects')['sessions'])
for words, sentence, what in (
        ('no more addresses', 'a subnet that is too small', {'generate': {'instances': 300, 'prefix': '0e', 'subnet': SUBNET}}),
        ('twice', 'an id that is there', {'generate': {'instances': 30, 'prefix': '0c', 'first': 15, 'subnet': SUBNET}}),
        ('nosuch0', 'a port that is not there', {'enis': [{'id': 'eni-0f000000000000001', 'mac': '0a:00:00:00:00:78', 'subnet': SUBNET,
                                                          'private_ips': ['10.0.1.211'], 'port': 'nosuch0', 'instance': I_WEB}]}),
        ('no subnet', 'a wrong reference', {'instances': [{'id': 'i-0f000000000000001', 'subnet': 'subnet-0d000000000000009'}]}),
        ('unknown key', 'a misspelt key', {'interfaces': []})):
    before = [len(enis()), len(ec2.describe_instances()['Reservations']), instance(I_WEB)]
    refused(words, 'refused: ' + sentence, {'add': what})
    equal([len(enis()), len(ec2.describe_instances()['Reservations']), instance(I_WEB)], before, 'and nothing of it stays')

# --- interfaces come, move and go ------------------------------------------------------------------
s = session()
equal(mirrored(s, (3, 0)), (3, 0), 'a session mirrors')
equal(change({'detach': WEB}), {}, 'its interface is detached')
equal((enis(WEB)[0]['Status'], 'Attachment' in enis(WEB)[0], instance(I_WEB)['NetworkInterfaces'], s in live()), ('available', False, [], True),
      'which shows; the session stays')
equal(mirrored(s, (0, 0)), (0, 0), 'and mirrors nothing')
equal(error_of(session, eni=WEB, number=2), ('NetworkInterfaceNotSupported', 400), 'a new one is refused')
refused('not attached', 'it cannot be detached twice', {'detach': WEB})
change({'attach': {'eni': WEB, 'instance': I_WEB}})
equal((instance(I_WEB)['NetworkInterfaces'][0]['NetworkInterfaceId'], mirrored(s, (3, 0))), (WEB, (3, 0)), 'attached again it mirrors again')
refused('attached', 'it cannot be attached twice', {'attach': {'eni': WEB, 'instance': I_WEB}})
change({'instance_state': {I_WEB: 'stopped'}})
equal((instance(I_WEB)['State'], mirrored(s, (0, 0)), s in live()), ({'Code': 80, 'Name': 'stopped'}, (0, 0), True), 'a stopped instance sends nothing')
change({'instance_state': {I_WEB: 'running'}}, {'instance_type': {I_WEB: 't2.micro'}})
equal((instance(I_WEB)['InstanceType'], mirrored(s, (0, 0))), ('t2.micro', (0, 0)), 'nor does one whose new type cannot be mirrored')
change({'instance_type': {I_WEB: 'm5.large'}, 'instance_state': {I_CAP: 'stopped'}})
equal(mirrored(s, (0, 3)), (0, 3), "a stopped target gets nothing")
change({'instance_state': {I_CAP: 'running'}})
equal(mirrored(s, (3, 0)), (3, 0), 'until it runs again')
other = session(number=2)
change({'delete_session': other})
equal((other in live(), error_of(ec2.delete_traffic_mirror_session, TrafficMirrorSessionId=other), mirrored(s, (3, 0))),
      (False, ('InvalidTrafficMirrorSessionId.NotFound', 400), (3, 0)), 'somebody deletes a session')
change({'delete_interface': WEB})
equal((error_of(ec2.describe_network_interfaces, NetworkInterfaceIds=[WEB]), s in live(), instance(I_WEB)['NetworkInterfaces']),
      (('InvalidNetworkInterfaceID.NotFound', 400), False, []), 'an interface is deleted, and its sessions with it')
last = [e for e in sim.control('/history')['events'] if e.get('id') in (s, other)]
equal([(e['event'], e['by']) for e in last if e['event'] == 'delete'], [('delete', 'world')] * 2, 'the history knows that it was the world')
check(sim.session_counters(s)['deleted_ns'] > 0, 'and the counters when')
change({'add': {'enis': [{'id': 'eni-0f000000000000001', 'mac': '0a:00:00:00:00:77', 'subnet': SUBNET, 'private_ips': ['10.0.1.210'],
                          'instance': I_WEB, 'port': 'fab-new'}]}})
s = session('eni-0f000000000000001')
equal(mirrored(s, (3, 0), 'new'), (3, 0), 'a new one with a port mirrors')
change({'delete_interface': CAP})
equal((ec2.describe_traffic_mirror_targets()['TrafficMirrorTargets'][0]['NetworkInterfaceId'], mirrored(s, (0, 3), 'new')), (CAP, (0, 3)),
      'a target whose interface is deleted stays and gets nothing')
equal([error_of(ec2.delete_traffic_mirror_session, TrafficMirrorSessionId=s) for s in live()] +
      [error_of(ec2.delete_traffic_mirror_target, TrafficMirrorTargetId=target)], [None] * 3, 'it can be taken down')

# --- terminated ------------------------------------------------------------------------------------
target = ec2.create_traffic_mirror_target(NetworkInterfaceId=BIG)['TrafficMirrorTarget']['TrafficMirrorTargetId']
first, second = [e['NetworkInterfaceId'] for e in made[3]['Instances'][0]['NetworkInterfaces']]
a, b = session(first), session(second)
change({'instance_state': {made[3]['Instances'][0]['InstanceId']: 'terminated'}})
gone = instance(made[3]['Instances'][0]['InstanceId'])
equal((gone['State']['Name'], gone['NetworkInterfaces']), ('terminated', []), 'a terminated instance is still shown, without interfaces')
equal((error_of(ec2.describe_network_interfaces, NetworkInterfaceIds=[first]), enis(second)[0]['Status'], live()), (('InvalidNetworkInterfaceID.NotFound', 400), 'available', [b]),
      'the first interface went with it and took its session along; the second is free and keeps its own')
refused('terminated', 'it does not come back', {'instance_state': {gone['InstanceId']: 'running'}})
refused('no state', 'there are no other states', {'instance_state': {I_WEB: 'asleep'}})
refused('no instance', 'what is not there cannot change', {'instance_state': {'i-0f0000000000000ff': 'stopped'}})
refused('unknown key', 'other changes are not known', {'explode': WEB})
sim.stop()
finish()
