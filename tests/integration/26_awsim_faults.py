#!/usr/bin/python3
"""Faults by rule: each does what it says, to the requests it names and to no other."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lab/awsim'))
from testkit import *  # noqa: E402,F403

isolate()
import threading  # noqa: E402

WEB, CAP = 'eni-0a000000000000001', 'eni-0a000000000000002'
w = world()
w['imds'] = {'listen': '127.0.0.1', 'port': 8169, 'clients': {'127.0.0.1': 'i-0a000000000000002'}}
sim = Awsim(w, clock=True)
ec2 = sim.client()
THROTTLED, BROKEN = ('RequestLimitExceeded', 503), ('InternalError', 500)


def live(kind):
    return [o['id'] for o in sim.control('/objects')[kind]]


def took(call, **arguments):
    begin = time.monotonic()
    error = error_of(call, **arguments)
    return time.monotonic() - begin, error


def quick(below_s, call):
    """The same; of a machine that is busy with something else, again."""
    for _ in range(5):
        t, e = took(call)
        if t < below_s:
            break
    return t, e


def until(condition):
    end = time.monotonic() + 60
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def rule(do, action='*', **more):
    return {'action': action, 'do': do, **more}


def refused(rules, words, sentence):
    status = sim.control('/faults', 'PUT', rules)
    check(status == 400 and words in sim.refusal, sentence, (status, sim.refusal))


# --- rules: read, counted, refused -----------------------------------------------------------------
equal(sim.control('/faults'), [], 'there are no rules at first')
given = rule({'throttle': True}, 'Describe*', nth=2)
equal(sim.faults(given), [{**given, 'matched': 0, 'hits': 0}], 'a rule is taken and shown as it was given')
equal([error_of(ec2.describe_traffic_mirror_filters), error_of(ec2.describe_instances), error_of(ec2.describe_tags)],
      [None, THROTTLED, None], 'the nth request that fits is hit, and only that one')
equal(error_of(ec2.create_traffic_mirror_filter), None, 'what does not fit is left alone')
equal([(r['matched'], r['hits']) for r in sim.control('/faults')], [(3, 1)], 'both are counted')
for rules, words, sentence in (
        ({}, 'list', 'rules are a list'), ('[{', '', 'they are JSON'), ([{}], '"do"', 'a rule has to do something'),
        ([rule({})], 'nothing', 'something that is not nothing'), ([rule({'explode': 1})], 'explode', 'something that is known'),
        ([rule({'lose': 'sometimes'})], 'lose', 'a known way to lose'), ([rule({'effect': 'after'})], 'effect', 'an effect of something'),
        ([rule({'latency_ms': -1})], 'latency_ms', 'a time that is one'), ([rule({'latency_ms': [9, 1]})], 'latency_ms', 'a range in order'),
        ([rule({'throttle': True}, nth=0, to=-1)], 'count', 'counts begin at 1'), ([rule({'throttle': True}, nth=2, to=3)], 'nth', 'one way to count'),
        ([rule({'throttle': True}, probability=1.5)], 'probability', 'a probability is at most 1'),
        ([rule({'throttle': True}, service='s3')], 'service', 'a known service'), ([rule({'throttle': True}, '*', acount='1')], 'acount', 'known keys'),
        ([rule({'error': {'status': 200}})], 'status', 'an error has the status of one'),
        ([rule({'visible_after_ms': 1}, service='sts')], 'EC2', 'only EC2 is eventually consistent'),
        ([rule({'tags_after_ms': 1}, service='sts')], 'EC2', 'and has tags'),
        ([rule({'throttle': True}, service='imds', match={'a': 'b'})], 'IMDS', 'IMDS has no parameters'), ([{'': 1}], 'unknown', 'no empty key')):
    refused(rules, words, 'refused otherwise: ' + sentence)
equal([r['hits'] for r in sim.control('/faults')], [1], 'refused rules leave the old ones as they were')
equal(sim.control('/faults', 'DELETE'), [], 'all rules can be taken away')
equal(sim.control('/nonsense'), 404, 'an unknown path: 404')
check('PUT /faults' in sim.refusal, 'which says what there is', sim.refusal)

# --- which requests --------------------------------------------------------------------------------
sim.faults(rule({'throttle': True}, 'CreateTrafficMirrorFilter*', **{'from': 2, 'to': 3}))
equal([error_of(ec2.create_traffic_mirror_filter) for _ in range(4)], [None, THROTTLED, THROTTLED, None], 'from and to')
sim.faults(rule({'throttle': True}, match={'NetworkInterfaceId': CAP, 'Description': 'x'}))
equal([error_of(ec2.create_traffic_mirror_target, NetworkInterfaceId=CAP, Description=d, DryRun=True) for d in 'yx'],
      [('DryRunOperation', 412), THROTTLED], 'all parameters of a match have to be equal')
sim.faults(rule({'throttle': True}, account='444455556666'), rule({'throttle': True}, service='sts'))
equal([error_of(sim.client(key='AKIAOTHERACCOUNT0001', secret='other-secret').describe_tags), error_of(ec2.describe_tags),
       error_of(sim.client('sts').get_caller_identity)], [THROTTLED, None, ('Throttling', 400)], 'by account, and STS in its own words')


def pattern(seed):
    sim.faults(rule({'throttle': True}, 'DescribeTags', probability=0.3, seed=seed))
    return [error_of(ec2.describe_tags) is not None for _ in range(100)]


first = pattern(7)
check(15 <= sum(first) <= 45, 'a probability hits about that often', sum(first))
check(pattern(7) == first and pattern(8) != first, 'the same seed hits the same requests, another one others')

# --- what happens ----------------------------------------------------------------------------------
before = len(live('filters'))
sim.faults(rule({'error': {'status': 500, 'code': 'InternalError', 'message': 'so it goes'}}, 'CreateTrafficMirrorFilter'))
equal((error_of(ec2.create_traffic_mirror_filter, ClientToken='e'), len(live('filters')) - before), (BROKEN, 0), 'an error before the effect: nothing is made')
sim.faults(rule({'error': {}, 'effect': 'after'}, 'CreateTrafficMirrorFilter', nth=1))
equal((error_of(ec2.create_traffic_mirror_filter, ClientToken='e'), len(live('filters')) - before), (BROKEN, 1), 'after the effect: it is there')
again = ec2.create_traffic_mirror_filter(ClientToken='e')['TrafficMirrorFilter']['TrafficMirrorFilterId']
equal((len(live('filters')) - before, again), (1, live('filters')[-1]), 'the same request again finds it')
sim.faults(rule({'lose': 'before'}, 'CreateTrafficMirrorFilter', nth=1), rule({'lose': 'after'}, 'CreateTrafficMirrorFilter', nth=2))
equal((error_of(ec2.create_traffic_mirror_filter, ClientToken='l'), len(live('filters')) - before), ('lost', 1), 'lost before the effect')
equal((error_of(ec2.create_traffic_mirror_filter, ClientToken='l'), len(live('filters')) - before), ('lost', 2), 'lost after the effect')
again = ec2.create_traffic_mirror_filter(ClientToken='l')['TrafficMirrorFilter']['TrafficMirrorFilterId']
equal((len(live('filters')) - before, again), (2, live('filters')[-1]), 'the same request again finds that, too')
sim.faults(rule({'lose': 'after'}, 'DeleteTrafficMirrorFilter', nth=1))
equal([error_of(ec2.delete_traffic_mirror_filter, TrafficMirrorFilterId=again) for _ in range(2)],
      ['lost', ('InvalidTrafficMirrorFilterId.NotFound', 400)], 'a delete whose answer is lost is NotFound the second time')
sim.faults(rule({'expired_credentials': True}, nth=1), rule({'expired_credentials': True}, service='sts'))
equal([error_of(ec2.describe_tags), error_of(ec2.describe_tags), error_of(sim.client('sts').get_caller_identity)],
      [('RequestExpired', 400), None, ('ExpiredToken', 403)], 'expired credentials, in the words of each service')

# --- time ------------------------------------------------------------------------------------------
sim.faults(rule({'latency_ms': 200}, 'DescribeTags'), rule({'latency_ms': [100, 300], 'latency_after_ms': 50}, 'DescribeInstances'))
t, e = quick(0.6, ec2.describe_tags)
check(0.2 <= t < 0.6 and e is None, 'latency', (t, e))
t, e = quick(0.75, ec2.describe_instances)
check(0.15 <= t < 0.75 and e is None, 'latency from a range, before and after the effect', (t, e))
t, e = quick(0.2, ec2.describe_traffic_mirror_filters)
check(t < 0.2, 'not for other actions', t)
sim.faults(rule({'latency_ms': 150, 'lose': 'after'}, 'CreateTrafficMirrorFilter'))
n = len(live('filters'))
t, e = took(ec2.create_traffic_mirror_filter)
check(t >= 0.15 and e == 'lost' and len(live('filters')) == n + 1, 'latency and a loss together', (t, e))
sim.faults(rule({'hang_ms': 200}, 'CreateTrafficMirrorFilter', nth=1), rule({'hang_ms': 200, 'effect': 'after'}, 'CreateTrafficMirrorFilter', nth=2))
n = len(live('filters'))
t, e = took(ec2.create_traffic_mirror_filter)
check(t >= 0.2 and e == 'lost' and len(live('filters')) == n, 'a request that hangs ends without an answer and without effect', (t, e))
t, e = took(ec2.create_traffic_mirror_filter)
check(t >= 0.2 and e == 'lost' and len(live('filters')) == n + 1, 'or after the effect', (t, e))

sim.faults(rule({'latency_ms': 12000}, 'DescribeTags'))
waiting = []


def slow():
    s = socket.create_connection(('127.0.0.1', sim.port))
    s.sendall(request)
    waiting.append(s)


import botocore.auth  # noqa: E402
from botocore.awsrequest import AWSRequest  # noqa: E402
from botocore.credentials import Credentials  # noqa: E402
body = b'Action=DescribeTags&Version=2016-11-15'
q = AWSRequest('POST', sim.url + '/', data=body, headers={'Content-Type': 'application/x-www-form-urlencoded'})
botocore.auth.SigV4Auth(Credentials(KEY, SECRET), 'ec2', 'us-east-1').add_auth(q)
request = b'POST / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: %d\r\n' % (sim.port, len(body)) + \
    b''.join(b'%s: %s\r\n' % (k.encode(), v.encode()) for k, v in q.prepare().headers.items() if k.lower() not in ('host', 'content-length')) + \
    b'\r\n' + body
for _ in range(400):
    slow()
check(until(lambda: sim.control('/faults')[0]['hits'] == 400), '400 requests are asleep at once', sim.control('/faults'))
begin = time.monotonic()
t, e = took(ec2.describe_traffic_mirror_filters)
waiting[-1].setblocking(False)
try:
    early = waiting[-1].recv(1)
except BlockingIOError:
    early = None
waiting[-1].setblocking(True)
check(e is None and early is None, 'others are answered meanwhile', (t, e, early))
answers = [s.recv(200)[:12] for s in waiting]
t = time.monotonic() - begin
check(set(answers) == {b'HTTP/1.1 200'} and t < 120, 'and all 400 together take about as long as one', (t, set(answers)))
for s in waiting:
    s.close()
equal(sim.control('/requests')['CreateTrafficMirrorFilter']['errors'],
      {'RequestLimitExceeded': 2, 'InternalError': 2, '(lost)': 5}, 'requests are counted by action and error')

# --- eventual consistency --------------------------------------------------------------------------


def ids(answer, kind='Filter'):
    return [o['TrafficMirror%sId' % kind] for o in answer['TrafficMirror%ss' % kind]]


def shown(client=None, **arguments):
    return ids((client or ec2).describe_traffic_mirror_filters(**arguments))


def new_filter(**arguments):
    return ec2.create_traffic_mirror_filter(**arguments)['TrafficMirrorFilter']['TrafficMirrorFilterId']


ahead_s = 0


def after(seconds):
    """By awsim's clock."""
    global ahead_s
    ahead_s += seconds
    sim.go_ahead(ahead_s)


NOT_FOUND = ('InvalidTrafficMirrorFilterId.NotFound', 400)
TAG = [{'ResourceType': 'traffic-mirror-filter', 'Tags': [{'Key': 'k', 'Value': 'v'}]}]
sim.faults(rule({'visible_after_ms': 20000}, 'CreateTrafficMirrorFilter', nth=1),
           rule({'visible_after_ms': 20000, 'delete_sees': False, 'use_sees': False}, 'CreateTrafficMirrorFilter', nth=3))
f = new_filter(ClientToken='v', TagSpecifications=TAG)
equal((f in live('filters'), f in shown(), error_of(ec2.describe_traffic_mirror_filters, TrafficMirrorFilterIds=[f]),
       [t for t in ec2.describe_tags()['Tags'] if t['ResourceId'] == f]), (True, False, NOT_FOUND, []),
      'a filter that is not visible yet is there, but no describe shows it')
equal(new_filter(ClientToken='v', TagSpecifications=TAG), f, 'the same request again finds it')
r = ec2.create_traffic_mirror_filter_rule(TrafficMirrorFilterId=f, TrafficDirection='ingress', RuleNumber=1, RuleAction='accept',
                                          SourceCidrBlock='0.0.0.0/0', DestinationCidrBlock='0.0.0.0/0')
check(r['TrafficMirrorFilterRule'], 'it can be used')
after(20)
check(f in shown(), 'after its time it is shown')
hidden = new_filter()
equal((error_of(ec2.delete_traffic_mirror_filter, TrafficMirrorFilterId=hidden),
       error_of(ec2.create_tags, Resources=[hidden], Tags=[{'Key': 'a', 'Value': 'b'}])), (NOT_FOUND, NOT_FOUND),
      'by rule, neither a delete nor anything else sees it before')
after(20)
check(hidden in shown(), 'it is shown after its time')
sim.faults(rule({'visible_after_ms': 60000}, 'CreateTrafficMirrorFilter'))
g = new_filter()
equal((g in shown(), error_of(ec2.delete_traffic_mirror_filter, TrafficMirrorFilterId=g), g in live('filters')), (False, None, False),
      'otherwise a delete sees what no describe shows')

sim.faults(rule({'gone_after_ms': 20000}, 'Delete*'))
description = ec2.describe_traffic_mirror_filters(TrafficMirrorFilterIds=[f])['TrafficMirrorFilters']
ec2.delete_traffic_mirror_filter(TrafficMirrorFilterId=f)
equal((f in live('filters'), f in shown(), error_of(ec2.delete_traffic_mirror_filter, TrafficMirrorFilterId=f)), (False, True, NOT_FOUND),
      'a deleted filter is gone, but still shown')
equal(ec2.describe_traffic_mirror_filters(TrafficMirrorFilterIds=[f])['TrafficMirrorFilters'], description, 'exactly as it was, by its id')
equal(shown(Filters=[{'Name': 'traffic-mirror-filter-id', 'Values': [f[:-2] + '*']}]), [f], 'and through a filter')
pages, token = [], None
while token != '':
    a = ec2.describe_traffic_mirror_filters(MaxResults=5, **({'NextToken': token} if token else {}))
    pages += ids(a)
    token = a.get('NextToken', '')
check(pages.count(f) == 1 and sorted(set(pages)) == sorted(set(live('filters') + [f])), 'once in all pages, in its old place', pages)
equal(shown(sim.client(key='AKIAOTHERACCOUNT0001', secret='other-secret')), [], 'not to another account')
after(20)
check(f not in shown() and error_of(ec2.describe_traffic_mirror_filters, TrafficMirrorFilterIds=[f]) == NOT_FOUND,
      'after its time it is not shown any more')



def tags_of(filter_id):
    """In both describes that show them."""
    described = ec2.describe_traffic_mirror_filters(TrafficMirrorFilterIds=[filter_id])['TrafficMirrorFilters'][0]['Tags']
    listed = [{'Key': t['Key'], 'Value': t['Value']} for t in ec2.describe_tags()['Tags'] if t['ResourceId'] == filter_id]
    return (sorted((t['Key'], t['Value']) for t in described), sorted((t['Key'], t['Value']) for t in listed))


def tag(filter_id, **tags):
    ec2.create_tags(Resources=[filter_id], Tags=[{'Key': k, 'Value': v} for k, v in tags.items()])


sim.faults()
f = new_filter(TagSpecifications=TAG)
sim.faults(rule({'tags_after_ms': 20000}, 'CreateTags'))
mark = sim.control('/history')['last']
tag(f, k='later', new='n')
equal(tags_of(f), ([('k', 'v')],) * 2, 'what CreateTags changes is not shown yet, nor is what it adds')
equal(sim.control('/history?since=%d' % mark)['events'][-1]['tags'], {'k': 'later', 'new': 'n'}, 'although it is so')
equal([t['Key'] for t in ec2.describe_tags(Filters=[{'Name': 'tag:k', 'Values': ['later']}])['Tags']], [], 'filters do not find it either')
after(10)
tag(f, k='later')
after(10)
check(tags_of(f) == ([('k', 'later'), ('new', 'n')],) * 2, 'after its time it is shown; the same again does not put that off', tags_of(f))
tag(f, k='v')
tag(f, k='w')
equal(tags_of(f)[0], [('k', 'later'), ('new', 'n')], 'of two changes none is shown at first')
after(20)
check(tags_of(f)[0] == [('k', 'w'), ('new', 'n')], 'and then the last one', tags_of(f))

sim.faults(rule({'changed_after_ms': 20000}, '*Rule'))
before = ec2.describe_traffic_mirror_filters(TrafficMirrorFilterIds=[f])['TrafficMirrorFilters']
for number in (7, 8):
    ec2.create_traffic_mirror_filter_rule(TrafficMirrorFilterId=f, TrafficDirection='ingress', RuleNumber=number, RuleAction='accept',
                                          SourceCidrBlock='0.0.0.0/0', DestinationCidrBlock='0.0.0.0/0')
equal(ec2.describe_traffic_mirror_filters(TrafficMirrorFilterIds=[f])['TrafficMirrorFilters'], before, 'a filter is shown without its new rules')
equal(shown().count(f), 1, 'once')
after(20)
equal([r['RuleNumber'] for r in ec2.describe_traffic_mirror_filters(TrafficMirrorFilterIds=[f])['TrafficMirrorFilters'][0]['IngressFilterRules']],
      [7, 8], 'after its time with all of them')

target = ec2.create_traffic_mirror_target(NetworkInterfaceId=CAP)['TrafficMirrorTarget']['TrafficMirrorTargetId']


def new_session(number=1, **tags):
    return ec2.create_traffic_mirror_session(
        NetworkInterfaceId=WEB, TrafficMirrorTargetId=target, TrafficMirrorFilterId=hidden, SessionNumber=number, ClientToken='s%d' % number,
        TagSpecifications=[{'ResourceType': 'traffic-mirror-session', 'Tags': [
            {'Key': 'tapbox:' + k, 'Value': v} for k, v in tags.items()]}])['TrafficMirrorSession']['TrafficMirrorSessionId']


past = time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(time.time() - 100))
later = time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(time.time() + 100))
sim.faults(rule({'visible_after_ms': 20000}, 'CreateTrafficMirrorSession'), rule({'gone_after_ms': 20000}, 'DeleteTrafficMirrorSession'))
s = new_session(owner='a', expires=past)
sessions = ec2.describe_traffic_mirror_sessions
equal(ids(sessions(), 'Session'), [], 'so it is with sessions')
after(20)
check(ids(sessions(), 'Session') == [s], 'which appear')
sim.faults(rule({'changed_after_ms': 20000}, 'ModifyTrafficMirrorSession'), rule({'gone_after_ms': 20000}, 'DeleteTrafficMirrorSession'))
ec2.modify_traffic_mirror_session(TrafficMirrorSessionId=s, SessionNumber=9)
equal([x['SessionNumber'] for x in sessions()['TrafficMirrorSessions']], [1], 'one that was changed is shown as it was')
after(20)
equal([x['SessionNumber'] for x in sessions()['TrafficMirrorSessions']], [9], 'and then as it is')
ec2.modify_traffic_mirror_session(TrafficMirrorSessionId=s, SessionNumber=10)
ec2.delete_traffic_mirror_session(TrafficMirrorSessionId=s)
equal(ids(sessions(Filters=[{'Name': 'network-interface-id', 'Values': [WEB]}]), 'Session'), [s], 'and linger')
ec2.delete_traffic_mirror_target(TrafficMirrorTargetId=target)
after(20)
check(ids(sessions(), 'Session') == [], 'also when their target goes first')

# --- history ---------------------------------------------------------------------------------------
import history  # noqa: E402

sim.stop()
sim = Awsim(w)
ec2 = sim.client()
hidden = new_filter()
target = ec2.create_traffic_mirror_target(NetworkInterfaceId=CAP)['TrafficMirrorTarget']['TrafficMirrorTargetId']
s = new_session(owner='a', expires=past)
ec2.delete_traffic_mirror_session(TrafficMirrorSessionId=s)
ec2.delete_traffic_mirror_target(TrafficMirrorTargetId=target)
mark = sim.control('/history')['last']
target = ec2.create_traffic_mirror_target(NetworkInterfaceId=CAP)['TrafficMirrorTarget']['TrafficMirrorTargetId']
a = new_session(2, owner='a', expires=past)
ec2.create_tags(Resources=[a], Tags=[{'Key': 'tapbox:expires', 'Value': later}])
ec2.delete_traffic_mirror_session(TrafficMirrorSessionId=a)
b = new_session(3, owner='a', expires=past)
c = new_session(4, owner='b')
h = sim.control('/history?since=%d' % mark)
equal([(e['event'], e['kind'], e['id']) for e in h['events']],
      [('create', 'target', target), ('create', 'session', a), ('tags', 'session', a), ('delete', 'session', a), ('create', 'session', b),
       ('create', 'session', c)], 'the history tells what came and went')
e = h['events'][1]
equal((e['account'], e['eni'], e['target'], e['filter'], e['client_token'], e['tags'], e['by']),
      ('111122223333', WEB, target, hidden, 's2', {'tapbox:owner': 'a', 'tapbox:expires': past}, 'arn:aws:iam::111122223333:user/lab'),
      'and of a session what a checker needs')
check(all(x['n'] == y['n'] - 1 and x['time_ns'] <= y['time_ns'] for x, y in zip(h['events'], h['events'][1:])), 'in order')
equal(sim.control('/history?until=3'), 400, 'it goes on from a number, and nothing else')
whole = sim.control('/history')
equal([o['id'] for o in history.leaks(whole, 60)], [s, b], 'it tells leaks: not what was extended in time')
equal(history.duplicates(whole), [], 'one after the other is no duplicate, nor are two owners')
d = new_session(5, owner='a')
equal([(x['id'], y['id']) for x, y in history.duplicates(sim.control('/history'))], [(b, d)], 'two at once are')

# --- IMDS ------------------------------------------------------------------------------------------


def imds(path, method='GET', **headers):
    c = http.client.HTTPConnection('127.0.0.1', 8169, timeout=60)
    c.request(method, '/latest/' + path, headers={'X-aws-ec2-metadata-' + k.replace('_', '-'): v for k, v in headers.items()})
    try:
        r = c.getresponse()
        return r.status, r.read().decode()
    except (ConnectionError, http.client.HTTPException):
        return 'lost', None
    finally:
        c.close()


ROLE = 'meta-data/iam/security-credentials/tapbox'
token = imds('api/token', 'PUT', token_ttl_seconds='60')[1]
sim.faults(rule({'error': {'status': 503}}, 'api/token', service='imds', nth=1), rule({'lose': 'before'}, ROLE, service='imds', nth=1),
           rule({'expired_credentials': True}, ROLE, service='imds', nth=2))
equal([imds('api/token', 'PUT', token_ttl_seconds='60')[0] for _ in range(2)], [503, 200], 'IMDS: an error for a token')
equal(imds(ROLE, token=token)[0], 'lost', 'a lost answer')
c = json.loads(imds(ROLE, token=token)[1])
check(c['Expiration'] <= time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()), 'credentials that have expired already', c)
equal(error_of(sim.client('ec2', c['AccessKeyId'], c['SecretAccessKey'], c['Token']).describe_tags), ('RequestExpired', 400), 'which the API refuses')
c = json.loads(imds(ROLE, token=token)[1])
equal(error_of(sim.client('ec2', c['AccessKeyId'], c['SecretAccessKey'], c['Token']).describe_tags), None, 'and good ones next time')

sim.faults(rule({'hang_ms': 600000}))
stuck = threading.Thread(target=error_of, args=(ec2.describe_tags,), daemon=True)
stuck.start()
time.sleep(0.3)
begin = time.monotonic()
sim.stop()
check(time.monotonic() - begin < 60, 'requests that hang do not keep awsim from ending')
finish()
