#!/usr/bin/python3
"""awsim takes botocore's signatures and refuses every tampering with the code of its service."""
import datetime
import http.client
import os
import sys
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lab/awsim'))
from testkit import *  # noqa: E402,F403

isolate()
import xml.etree.ElementTree as ET  # noqa: E402

import botocore.auth  # noqa: E402
from botocore.awsrequest import AWSRequest  # noqa: E402
from botocore.credentials import Credentials  # noqa: E402

sim = Awsim(world())
EC2_BODY = 'Action=DescribeTrafficMirrorSessions&Version=2016-11-15&MaxResults=100&Filter.1.Name=description&Filter.1.Value.1=a%20b%2B%2F~'
STS_BODY = 'Action=GetCallerIdentity&Version=2011-06-15'
FORM = 'application/x-www-form-urlencoded; charset=utf-8'


class At(datetime.datetime):
    """The signer's clock, some seconds off."""
    off = 0

    @classmethod
    def utcnow(cls):
        return super().utcnow() + datetime.timedelta(seconds=cls.off)


botocore.auth.datetime.datetime = At


def send(method, path, body, headers, raw=()):
    c = http.client.HTTPConnection('127.0.0.1', sim.port)
    c.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for k, v in list(headers.items()) + list(raw):
        c.putheader(k, v)
    if body or method == 'POST':
        c.putheader('Content-Length', str(len(body)))
    c.endheaders(body.encode() or None)
    r = c.getresponse()
    text = r.read().decode()
    c.close()
    if r.status == 200:
        return 200, 'ok'
    root = ET.fromstring(text)
    code = [e.text for e in root.iter() if e.tag.endswith('Code')][0]
    return r.status, code


def signed(body=EC2_BODY, service='ec2', region='us-east-1', key=KEY, secret=SECRET, token=None, off=0, change=None,
           more=(), path='/', raw=()):
    At.off = off
    q = AWSRequest('POST', sim.url + path, data=body, headers={'Content-Type': FORM, **dict(more)})
    q.headers['Host'] = '127.0.0.1:%d' % sim.port
    botocore.auth.SigV4Auth(Credentials(key, secret, token), service, region).add_auth(q)
    At.off = 0
    headers = {k: (v.decode() if isinstance(v, bytes) else v) for k, v in q.headers.items()}
    sent = {'body': body, 'headers': headers, 'path': path}
    if change is not None:
        change(sent)
    return send('POST', sent['path'], sent['body'], sent['headers'], raw)


def presigned(off=0, expires=60, change=lambda u: u, **who):
    At.off = off
    q = AWSRequest('GET', sim.url + '/?' + EC2_BODY)
    q.headers['Host'] = '127.0.0.1:%d' % sim.port
    creds = Credentials(who.get('key', KEY), who.get('secret', SECRET), who.get('token'))
    botocore.auth.SigV4QueryAuth(creds, 'ec2', 'us-east-1', expires=expires).add_auth(q)
    At.off = 0
    url = change(q.url)
    return send('GET', url[len(sim.url):], '', {'Host': '127.0.0.1:%d' % sim.port})


def header(name, f):
    def change(sent):
        sent['headers'][name] = f(sent['headers'][name])
    return change


def drop(name):
    def change(sent):
        del sent['headers'][name]
    return change


def body(f):
    def change(sent):
        sent['body'] = f(sent['body'])
    return change


OK = (200, 'ok')
MISMATCH = (403, 'SignatureDoesNotMatch')
equal(signed(), OK, 'a signature by botocore is accepted')
equal(signed(STS_BODY, 'sts'), OK, 'one for STS, at the same address, too')
equal(signed(key='ASIATEMPORARYEXAMPL1', secret='temporary-secret', token='TOKEN+/=='), OK,
      'temporary credentials with their token are accepted')
equal(signed(more={'X-Amz-Extra': '  a   b  '}), OK, 'spaces in signed headers are canonical')
equal(presigned(), OK, 'a signature in the query string is accepted')
equal(presigned(key='ASIATEMPORARYEXAMPL1', secret='temporary-secret', token='TOKEN+/=='), OK,
      'with a session token too')
equal(signed(off=-240), OK, 'a clock four minutes behind is tolerated')
equal(signed(off=240), OK, 'and one four minutes ahead')

CASES = [
    ('another body', dict(change=body(lambda b: b.replace('100', '101'))), MISMATCH),
    ('a body with one octet more', dict(change=body(lambda b: b + '&')), MISMATCH),
    ('another content type', dict(change=header('Content-Type', lambda v: v.upper())), MISMATCH),
    ('another host', dict(change=header('Host', lambda v: 'example.com')), MISMATCH),
    ('a signature that differs in its last digit',
     dict(change=header('Authorization', lambda v: v[:-1] + ('0' if v[-1] != '0' else '1'))), MISMATCH),
    ('the wrong secret', dict(secret='not-the-secret'), MISMATCH),
    ('an x-amz header that is not signed', dict(raw=[('X-Amz-Late', '1')]), MISMATCH),
    ('a signed header repeated', dict(raw=[('Content-Type', FORM)]), MISMATCH),
    ('another date within the scope',
     dict(change=header('X-Amz-Date', lambda v: v[:-2] + '%dZ' % ((int(v[-2]) + 1) % 10))), MISMATCH),
    ('another path', dict(change=lambda s: s.update(path='//')), (404, 'InvalidAction')),
    ('a query that was not signed', dict(change=lambda s: s.update(path='/?DryRun=true')), MISMATCH),
    ('another region', dict(region='eu-west-1'), (401, 'AuthFailure')),
    ('another service', dict(service='s3'), (401, 'AuthFailure')),
    ('a scope of another day',
     dict(change=header('Authorization', lambda v: v.replace('/20', '/19', 1))), MISMATCH),
    ('an unknown key', dict(key='AKIANOSUCHKEY0000001'), (401, 'AuthFailure')),
    ('temporary credentials without their token', dict(key='ASIATEMPORARYEXAMPL1', secret='temporary-secret'),
     (401, 'AuthFailure')),
    ('with another token', dict(key='ASIATEMPORARYEXAMPL1', secret='temporary-secret', token='X'), (401, 'AuthFailure')),
    ('a token where none belongs', dict(token='X'), (401, 'AuthFailure')),
    ('expired credentials', dict(key='ASIAEXPIREDEXAMPLE01', secret='expired-secret', token='OLD'),
     (400, 'RequestExpired')),
    ('a clock six minutes behind', dict(off=-360), (400, 'RequestExpired')),
    ('a clock six minutes ahead', dict(off=360), (400, 'RequestExpired')),
    ('no signature at all', dict(change=drop('Authorization')), (403, 'MissingAuthenticationToken')),
    ('a missing date', dict(change=drop('X-Amz-Date')), (400, 'IncompleteSignature')),
    ('half an Authorization header', dict(change=header('Authorization', lambda v: v[:60])), (400, 'IncompleteSignature')),
    ('an older algorithm', dict(change=header('Authorization', lambda v: v.replace('AWS4', 'AWS3'))),
     (400, 'IncompleteSignature')),
    ('host outside the signed headers',
     dict(change=header('Authorization', lambda v: v.replace(';host', ''))), MISMATCH),
    ('the date outside the signed headers',
     dict(change=header('Authorization', lambda v: v.replace(';x-amz-date', ''))), MISMATCH),
]
for what, arguments, wanted in CASES:
    equal(signed(**arguments), wanted, 'EC2 refuses %s: %d %s' % (what, wanted[0], wanted[1]))

STS = [
    ('the wrong secret', dict(secret='no'), MISMATCH),
    ('an unknown key', dict(key='AKIANOSUCHKEY0000001'), (403, 'InvalidClientTokenId')),
    ('another token', dict(key='ASIATEMPORARYEXAMPL1', secret='temporary-secret', token='X'), (403, 'InvalidClientTokenId')),
    ('expired credentials', dict(key='ASIAEXPIREDEXAMPLE01', secret='expired-secret', token='OLD'), (403, 'ExpiredToken')),
    ('a clock six minutes behind', dict(off=-360), MISMATCH),
    ('another region', dict(region='eu-west-1'), MISMATCH)]
for what, arguments, wanted in STS:
    equal(signed(STS_BODY, 'sts', **arguments), wanted, 'STS refuses %s: %d %s' % (what, wanted[0], wanted[1]))
equal(signed(STS_BODY, 'ec2')[1], 'InvalidAction', 'an STS action signed for EC2 is no action')
equal(signed(EC2_BODY, 'sts')[1], 'InvalidAction', 'an EC2 action signed for STS neither')

equal(presigned(change=lambda u: u.replace('MaxResults=100', 'MaxResults=101')), MISMATCH,
      'a presigned request with another parameter is refused')
equal(presigned(off=-120, expires=60), (400, 'RequestExpired'), 'one whose time is over too')
equal(presigned(change=lambda u: u.replace('&X-Amz-Date=', '&X-Amz-Nodate=')), (400, 'IncompleteSignature'),
      'one without a date too')
equal(presigned(secret='no'), MISMATCH, 'one by another secret too')
sim.stop()
finish()
