"""What the awsim tests share: namespaces of their own, a world, a running awsim, TAP lines."""
import copy
import http.client
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

TOP = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../..'))
AWSIM = os.path.join(os.environ.get('BUILD', 'build'), os.environ.get('MODE', 'debug'), 'awsim')
if not os.path.isabs(AWSIM):
    AWSIM = os.path.join(TOP, AWSIM)
KEY, SECRET = 'AKIAIOSFODNN7EXAMPLE', 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY'
failed = 0


def isolate():
    """Run this very script again in namespaces of its own; they end with it, and nothing leaks."""
    if os.environ.get('LAB_INSIDE') == '1':
        return
    if not os.access(AWSIM, os.X_OK):
        print('not ok - awsim is built: %s' % AWSIM)
        sys.exit(1)
    sys.stdout.flush()
    enter = os.path.join(TOP, 'tests/lab/enter')
    os.execv(enter, [enter, '/usr/bin/python3'] + sys.argv)


def scratch(name):
    """A folder of this test's own on the namespaces' /run: it goes when they go."""
    return tempfile.mkdtemp(prefix=name + '-', dir='/run')


def tcpdump():
    """tcpdump, also where a user namespace forbids it to change its groups."""
    with open('/proc/self/setgroups') as f:
        allowed = f.read().strip() == 'allow'
    return ['tcpdump'] if allowed else [os.path.join(TOP, 'tests/lab/setgroups-ok.py'), 'tcpdump']


def check(good, sentence, detail=None):
    global failed
    print('%s - %s' % ('ok' if good else 'not ok', sentence), flush=True)
    if not good:
        failed += 1
        if detail is not None:
            print('#   %s' % (detail,), flush=True)
    return good


def equal(got, wanted, sentence):
    return check(got == wanted, sentence, 'got %r, wanted %r' % (got, wanted))


def finish():
    print('# %s' % ('all passed' if failed == 0 else '%d failed' % failed))
    sys.exit(0 if failed == 0 else 1)


WORLD = {
    'region': 'us-east-1',
    'api': {'listen': '127.0.0.1', 'port': 0},
    'accounts': [
        {'id': '111122223333', 'role': 'tapbox', 'role_credentials_s': 3600,
         'keys': [{'access_key': KEY, 'secret_key': SECRET},
                  {'access_key': 'AKIAREADONLYEXAMPLE1', 'secret_key': 'read-only-secret',
                   'deny': ['ec2:Create*', 'ec2:Delete*', 'ec2:Modify*']},
                  {'access_key': 'ASIATEMPORARYEXAMPL1', 'secret_key': 'temporary-secret',
                   'session_token': 'TOKEN+/==', 'expires': '2099-01-01T00:00:00Z'},
                  {'access_key': 'ASIAEXPIREDEXAMPLE01', 'secret_key': 'expired-secret',
                   'session_token': 'OLD', 'expires': '2020-01-01T00:00:00Z'}]},
        {'id': '444455556666',
         'keys': [{'access_key': 'AKIAOTHERACCOUNT0001', 'secret_key': 'other-secret'}]}],
    'vpcs': [{'id': 'vpc-0a000000000000001', 'cidr': '10.0.0.0/16', 'ipv6_cidr': 'fd77::/56',
              'tags': {'Name': 'lab'}}],
    'subnets': [{'id': 'subnet-0a000000000000001', 'vpc': 'vpc-0a000000000000001',
                 'cidr': '10.0.1.0/24', 'ipv6_cidr': 'fd77::/64', 'az': 'us-east-1a'}],
    'route_tables': [{'id': 'rtb-0a000000000000001', 'vpc': 'vpc-0a000000000000001', 'main': True,
                      'subnets': ['subnet-0a000000000000001'],
                      'routes': [{'cidr': '0.0.0.0/0', 'via': 'igw-0a000000000000001'}]}],
    'security_groups': [
        {'id': 'sg-0a000000000000001', 'vpc': 'vpc-0a000000000000001', 'name': 'open',
         'ingress': [{'protocol': 'udp', 'from': 4789, 'cidr': '10.0.0.0/16'},
                     {'protocol': 'tcp', 'from': 22, 'to': 23, 'group': 'sg-0a000000000000001'}],
         'egress': [{'protocol': '-1', 'cidr': '0.0.0.0/0'}, {'protocol': '-1', 'cidr': '::/0'}]},
        {'id': 'sg-0a000000000000002', 'vpc': 'vpc-0a000000000000001', 'name': 'closed'}],
    'instances': [
        {'id': 'i-0a000000000000001', 'subnet': 'subnet-0a000000000000001', 'type': 'm5.large',
         'tags': {'Name': 'workload', 'role': 'web'}},
        {'id': 'i-0a000000000000002', 'subnet': 'subnet-0a000000000000001', 'type': 'm5.xlarge',
         'tags': {'Name': 'capture'}},
        {'id': 'i-0a000000000000003', 'subnet': 'subnet-0a000000000000001', 'type': 't2.micro'},
        {'id': 'i-0a000000000000004', 'subnet': 'subnet-0a000000000000001', 'type': 'm5.24xlarge'}],
    'enis': [
        {'id': 'eni-0a000000000000001', 'mac': '0a:00:00:00:00:01', 'instance': 'i-0a000000000000001',
         'subnet': 'subnet-0a000000000000001', 'private_ips': ['10.0.1.10', '10.0.1.11'],
         'ipv6': ['fd77::10'], 'public_ip': '198.51.100.7', 'groups': ['sg-0a000000000000001'],
         'tags': {'Name': 'workload'}},
        {'id': 'eni-0a000000000000002', 'mac': '0a:00:00:00:00:02', 'instance': 'i-0a000000000000002',
         'subnet': 'subnet-0a000000000000001', 'private_ips': ['10.0.1.20'],
         'groups': ['sg-0a000000000000001']},
        {'id': 'eni-0a000000000000003', 'mac': '0a:00:00:00:00:03', 'instance': 'i-0a000000000000003',
         'subnet': 'subnet-0a000000000000001', 'private_ips': ['10.0.1.30']},
        {'id': 'eni-0a000000000000004', 'mac': '0a:00:00:00:00:04', 'instance': 'i-0a000000000000004',
         'subnet': 'subnet-0a000000000000001', 'private_ips': ['10.0.1.40']},
        {'id': 'eni-0a000000000000005', 'mac': '0a:00:00:00:00:05', 'type': 'lambda',
         'requester_managed': True, 'subnet': 'subnet-0a000000000000001',
         'private_ips': ['10.0.1.50']},
        {'id': 'eni-0a000000000000006', 'mac': '0a:00:00:00:00:06',
         'subnet': 'subnet-0a000000000000001', 'private_ips': ['10.0.1.60']}],
    'load_balancers': [{'arn': 'arn:aws:elasticloadbalancing:us-east-1:111122223333:loadbalancer/net/x/1'}],
}


def world():
    return copy.deepcopy(WORLD)


class Awsim:
    def __init__(self, description, clock=False):
        """With a `clock` of its own, which `go_ahead` sets: so nobody waits for what takes time there, or comes too late."""
        self.dir = scratch('awsim')
        env = dict(os.environ)
        if clock:
            self.clock, library = self.dir + '/clock', self.dir + '/set_clock.so'
            subprocess.run(['cc', '-O1', '-shared', '-fPIC', '-o', library, TOP + '/tests/chaos/set_clock.c'], check=True)
            self.go_ahead(0)
            env.update(LD_PRELOAD=library, SET_CLOCK=self.clock,
                       ASAN_OPTIONS=env.get('ASAN_OPTIONS', '') + ':verify_asan_link_order=0')
        description['control'] = self.dir + '/control'
        with open(self.dir + '/world.json', 'w') as f:
            json.dump(description, f)
        self.log = open(self.dir + '/log', 'w')
        self.process = subprocess.Popen([AWSIM, '--world', self.dir + '/world.json', '--port-file',
                                         self.dir + '/port'], stderr=self.log, env=env)
        deadline = time.monotonic() + 60
        while not os.path.exists(self.dir + '/port'):
            if self.process.poll() is not None or time.monotonic() > deadline:
                print(open(self.dir + '/log').read())
                raise SystemExit('awsim did not start')
            time.sleep(0.02)
        self.port = int(open(self.dir + '/port').read())
        self.url = 'http://127.0.0.1:%d' % self.port

    def go_ahead(self, seconds):
        """Its clock is so far ahead of ours from now on.  (A signature is good for five minutes.)"""
        fd = os.open(self.clock, os.O_RDWR | os.O_CREAT, 0o644)
        os.pwrite(fd, struct.pack('q', seconds * 10**9), 0)
        os.close(fd)

    def client(self, service='ec2', key=KEY, secret=SECRET, token=None, region='us-east-1'):
        import boto3
        from botocore.config import Config
        return boto3.session.Session(key, secret, token, region).client(
            service, endpoint_url=self.url, config=Config(retries={'total_max_attempts': 1}, parameter_validation=False))

    def control(self, path, method='GET', body=None):
        c = http.client.HTTPConnection('x')
        c.sock = socket.socket(socket.AF_UNIX)
        c.sock.connect(self.dir + '/control')
        c.request(method, path, body if body is None or isinstance(body, str) else json.dumps(body))
        answer = c.getresponse()
        text = answer.read()
        c.close()
        self.refusal = None if answer.status == 200 else text.decode().strip()
        return json.loads(text) if answer.status == 200 else answer.status

    def faults(self, *rules):
        """These rules and no others from now on; they stand in the answer."""
        return self.control('/faults', 'PUT', list(rules))

    def session_counters(self, session):
        for c in self.control('/counters')['sessions']:
            if c['session'] == session:
                return c
        return None

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        self.log.close()
        text = open(self.dir + '/log').read()
        if status != 0 or 'ERROR' in text or 'runtime error' in text:
            print('# ' + text[-3000:].replace('\n', '\n# '))
        check(status == 0 and 'Sanitizer' not in text, 'awsim ends cleanly on SIGTERM', status)
        shutil.rmtree(self.dir)


def error_of(call, **arguments):
    """(code, status) of the error that a boto3 call ends in, 'lost' without an answer; None when all is well."""
    import botocore.exceptions
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as e:
        return e.response['Error']['Code'], e.response['ResponseMetadata']['HTTPStatusCode']
    except botocore.exceptions.HTTPClientError:
        return 'lost'
    return None
