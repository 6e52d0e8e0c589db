#!/usr/bin/python3
"""Whatever is sent to awsim, it answers in its own form and lives on; the seed is printed."""
import http.client
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lab/awsim'))
from testkit import *  # noqa: E402,F403

isolate()
import xml.etree.ElementTree as ET  # noqa: E402

import botocore.auth  # noqa: E402
from botocore.awsrequest import AWSRequest  # noqa: E402
from botocore.credentials import Credentials  # noqa: E402

seed = int(os.environ.get('SEED', random.randrange(1 << 30)))
print('# SEED=%d' % seed)
rng = random.Random(seed)
sim = Awsim(world())
ec2 = sim.client()
S = [
    'Action=CreateTrafficMirrorSession&Version=2016-11-15&NetworkInterfaceId=eni-0a000000000000001&TrafficMirrorTargetId='
    'tmt-0123456789abcdef0&TrafficMirrorFilterId=tmf-0123456789abcdef0&SessionNumber=1&TagSpecification.1.ResourceType='
    'traffic-mirror-session&TagSpecification.1.Tag.1.Key=a&TagSpecification.1.Tag.1.Value=b&ClientToken=c',
    'Action=DescribeNetworkInterfaces&Version=2016-11-15&Filter.1.Name=tag%3AName&Filter.1.Value.1=*&MaxResults=5&NextToken=x',
    'Action=CreateTrafficMirrorFilterRule&Version=2016-11-15&TrafficMirrorFilterId=tmf-0123456789abcdef0&TrafficDirection='
    'ingress&RuleNumber=1&RuleAction=accept&Protocol=6&SourcePortRange.FromPort=1&SourceCidrBlock=0.0.0.0%2F0',
    'Action=CreateTags&Version=2016-11-15&ResourceId.1=eni-0a000000000000001&Tag.1.Key=%C3%A9&Tag.1.Value=v',
    'Action=DescribeInstances&Version=2016-11-15&InstanceId.1=i-0a000000000000001',
    'Action=GetCallerIdentity&Version=2011-06-15']
PIECES = ['%', '%0', '%00', '%ff', '&', '&&', '=', '==', '.', '#', '.#', '*', '?', '\\', '+', '99999999999999999999', '-1', '%C3', '<',
          'Filter.1.Value.2=', 'Filter.99999.Name=', 'a' * 3000, '&Action=X', '&Version=', '.1.1.1', '[', '\x7f', '%E2%82', '%F4%90%80%80']


def mutate(s):
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(s) + 1)
        kind = rng.randrange(4)
        if kind == 0:
            s = s[:at] + rng.choice(PIECES) + s[at:]
        elif kind == 1:
            s = s[:at] + s[at + rng.randrange(1, 9):]
        elif kind == 2:
            s = s[:at] + chr(rng.randrange(33, 127)) + s[at + 1:]
        else:
            s = s[:at] + s[rng.randrange(len(s) + 1):]
    return s


def good(status, body):
    try:
        root = ET.fromstring(body)
    except ET.ParseError:
        return False
    return status == 200 or any(e.tag.split('}')[-1] == 'Code' and e.text for e in root.iter())


c = http.client.HTTPConnection('127.0.0.1', sim.port, timeout=60)
bad = []
for n in range(1500):
    body = mutate(rng.choice(S))
    path = '/'
    if rng.random() < 0.2:  # in the query, without octets that HTTP itself does not let through
        path, body = '/?' + ''.join(ch for ch in body if 32 < ord(ch) < 127 and ch != '#'), ''
    q = AWSRequest('POST', sim.url + '/', data=body, headers={'Content-Type': 'application/x-www-form-urlencoded'})
    q.headers['Host'] = '127.0.0.1:%d' % sim.port
    botocore.auth.SigV4Auth(Credentials(KEY, SECRET), 'sts' if 'GetCaller' in body else 'ec2', 'us-east-1').add_auth(q)
    headers = dict(q.headers.items())
    if rng.random() < 0.2:
        name = rng.choice(sorted(headers))
        headers[name] = ''.join(ch for ch in mutate(headers[name]) if 31 < ord(ch) < 127)
    c.request('POST', path, body.encode('latin-1'), headers)
    r = c.getresponse()
    text = r.read()
    if not good(r.status, text) and not (r.status == 400 and not text.startswith(b'<?xml')):
        bad.append((r.status, body, text[:200]))
    if r.getheader('Connection') == 'close':
        c.close()
equal(bad[:3], [], 'fifteen hundred mangled requests are answered as the service would')
for start in (b'\0' * 100, b'GET / HTTP/9.9\r\n\r\n', b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n',
              b'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n', b'GET /' + b'a' * 100000 + b' HTTP/1.1\r\n'):
    s = socket.create_connection(('127.0.0.1', sim.port))
    s.sendall(start)
    s.close()
check(ec2.describe_instances()['Reservations'], 'it lives on after what is not HTTP')
sim.stop()

for what, change in (('an unknown key', lambda w: w['enis'][0].update(prot='x')),
                     ('an id of the wrong form', lambda w: w['enis'][0].update(id='eni-1')),
                     ('an id twice', lambda w: w['enis'][0].update(id='eni-0a000000000000002')),
                     ('a subnet that is not there', lambda w: w['enis'][0].update(subnet='subnet-0123456789abcdef0')),
                     ('a wrong MAC', lambda w: w['enis'][0].update(mac='0a:00')),
                     ('a port that is not there', lambda w: w['enis'][0].update(port='nosuch0')),
                     ('a ring without blocks', lambda w: w.update(ring={'blocks': 0})),
                     ('no account', lambda w: w.update(accounts=[])),
                     ('no API', lambda w: w.pop('api'))):
    wrong = world()
    change(wrong)
    path = scratch('world') + '/world.json'
    with open(path, 'w') as f:
        json.dump(wrong, f)
    r = subprocess.run([AWSIM, '--world', path], stderr=subprocess.PIPE, text=True, timeout=60)
    check(r.returncode == 1 and r.stderr.startswith('awsim: ') and r.stderr.count('\n') == 1,
          'a world with %s is refused in one line' % what, r.stderr)
finish()
