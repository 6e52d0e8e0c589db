#!/usr/bin/python3
"""IMDSv2 as curl and botocore see it; the credentials it hands out work, and only while they last."""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lab/awsim'))
from testkit import *  # noqa: E402,F403

isolate()
import boto3  # noqa: E402
from botocore.config import Config  # noqa: E402

# the service stands in a namespace of its own and knows callers by their addresses
subprocess.run('''set -e
ip netns add cloud
ip link add capture type veth peer name cloud netns cloud
ip address add 10.0.1.20/24 dev capture
ip address add 10.0.1.77/24 dev capture
ip link set capture up
ip -n cloud link set lo up
ip -n cloud link set cloud up
ip -n cloud address add 10.0.1.1/24 dev cloud
ip route add 169.254.169.254/32 via 10.0.1.1 src 10.0.1.20''', shell=True, check=True)
w = world()
w['accounts'][0]['role_credentials_s'] = 120
w['imds'] = {'listen': '169.254.169.254', 'port': 80, 'netns': '/run/netns/cloud'}
w['api'] = {'listen': '10.0.1.1', 'port': 0, 'netns': '/run/netns/cloud'}
sim = Awsim(w, clock=True)
sim.url = 'http://10.0.1.1:%d' % sim.port
# the address comes after awsim: the socket waits for it
subprocess.run(['ip', '-n', 'cloud', 'address', 'add', '169.254.169.254/32', 'dev', 'lo'], check=True)
HERE = 'http://169.254.169.254/latest/'


def curl(path, *more, whole=False):
    """(status, body)"""
    r = subprocess.run(['curl', '-s', '--max-time', '60', '-w', '\n%{http_code}'] + list(more) +
                       [path if whole else HERE + path], stdout=subprocess.PIPE, text=True)
    body, status = r.stdout.rsplit('\n', 1)
    return int(status), body


TTL = ['-X', 'PUT', '-H', 'X-aws-ec2-metadata-token-ttl-seconds: 600']
status, token = curl('api/token', *TTL)
check(status == 200 and len(token) == 56, 'a token is given for a PUT with its time to live', (status, token))
WITH = ['-H', 'X-aws-ec2-metadata-token: ' + token]


def get(path):
    return curl(path, *WITH)


equal(curl('api/token', '-X', 'PUT')[0], 400, 'a PUT without a time to live: 400')
equal(curl('api/token', '-X', 'PUT', '-H', 'X-aws-ec2-metadata-token-ttl-seconds: 21601')[0], 400, 'one beyond six hours: 400')
equal(curl('http://169.254.169.254/2021-01-03/api/token', *TTL, whole=True)[0], 403, 'a PUT to a versioned path: 403')
equal(curl('api/token', *TTL, '-H', 'X-Forwarded-For: 10.0.0.9')[0], 403, 'a PUT through a proxy: 403')
equal(curl('meta-data/instance-id')[0], 401, 'a GET without a token: 401 (there is no version 1)')
equal(curl('meta-data/instance-id', '-H', 'X-aws-ec2-metadata-token: x' + token[1:])[0], 401, 'one with a wrong token: 401')
equal(get('meta-data/instance-id'), (200, 'i-0a000000000000002'), 'the caller is known by its address')
equal(curl('meta-data/instance-id', '--interface', '10.0.1.77', *WITH)[0], 404, 'an address of no instance gets nothing')
equal(get('meta-data/mac'), (200, '0a:00:00:00:00:02'), 'mac')
equal(get('meta-data/network/interfaces/macs/'), (200, '0a:00:00:00:00:02/'), 'macs')
M = 'meta-data/network/interfaces/macs/0a:00:00:00:00:02/'
equal([get(M + k)[1] for k in ('interface-id', 'local-ipv4s', 'subnet-id', 'vpc-id', 'device-number', 'owner-id', 'security-group-ids')],
      ['eni-0a000000000000002', '10.0.1.20', 'subnet-0a000000000000001', 'vpc-0a000000000000001', '0', '111122223333',
       'sg-0a000000000000001'], 'what is known of an interface')
equal(get('meta-data/placement/region'), (200, 'us-east-1'), 'region')
equal(get('meta-data/placement/availability-zone'), (200, 'us-east-1a'), 'availability zone')
equal(get('meta-data/nonsense')[0], 404, 'what is not there: 404')
status, text = get('dynamic/instance-identity/document')
d = json.loads(text)
equal((status, d['accountId'], d['region'], d['instanceId'], d['instanceType'], d['privateIp'], d['availabilityZone']),
      (200, '111122223333', 'us-east-1', 'i-0a000000000000002', 'm5.xlarge', '10.0.1.20', 'us-east-1a'),
      'the instance identity document')
equal(get('meta-data/iam/security-credentials/'), (200, 'tapbox'), 'the name of the role')
status, text = get('meta-data/iam/security-credentials/tapbox')
c = json.loads(text)
check(status == 200 and c['Code'] == 'Success' and c['Type'] == 'AWS-HMAC' and c['AccessKeyId'].startswith('ASIA'),
      'credentials of the role', c)
equal(get('meta-data/iam/security-credentials/other')[0], 404, 'of no other role')


def who(key, secret, token):
    return sim.client('sts', key, secret, token).get_caller_identity()['Arn']


equal(who(c['AccessKeyId'], c['SecretAccessKey'], c['Token']), 'arn:aws:sts::111122223333:assumed-role/tapbox/i-0a000000000000002',
      'they work on the API, as the role')
old = sim.client('ec2', c['AccessKeyId'], c['SecretAccessKey'], c['Token'])
check(old.describe_instances()['Reservations'], 'and for EC2')
equal(error_of(sim.client('ec2', c['AccessKeyId'], c['SecretAccessKey']).describe_instances), ('AuthFailure', 401),
      'not without their token')

os.environ['HOME'] = sim.dir
from botocore.utils import InstanceMetadataFetcher  # noqa: E402
got = InstanceMetadataFetcher(timeout=60, num_attempts=1).retrieve_iam_role_credentials()
equal(got.get('role_name'), 'tapbox', "botocore's fetcher reads them")
for name in ('AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN', 'AWS_PROFILE'):
    os.environ.pop(name, None)
ec2 = boto3.session.Session(region_name='us-east-1').client('ec2', endpoint_url=sim.url)
equal(len(ec2.describe_network_interfaces()['NetworkInterfaces']), 6, 'boto3 finds and uses them by itself')

sim.go_ahead(121)
equal(error_of(old.describe_instances), ('RequestExpired', 400), 'after their expiration they are refused')
equal(error_of(sim.client('sts', c['AccessKeyId'], c['SecretAccessKey'], c['Token']).get_caller_identity), ('ExpiredToken', 403),
      'by STS in its own words')
n = json.loads(get('meta-data/iam/security-credentials/tapbox')[1])
check(n['AccessKeyId'] != c['AccessKeyId'] and who(n['AccessKeyId'], n['SecretAccessKey'], n['Token']),
      'the service has handed out new ones by then')
sim.stop()
finish()
