#!/usr/bin/python3
"""Make the vectors in tests/data/sigv4 with botocore's signer.

usage: tests/support/make_sigv4_vectors.py FOLDER

Each case is a folder: `context` (name and value a line), `request` (request line, headers, empty
line, body) and one expected file per stage: `canonical`, `to-sign`, and `authorization` or `presigned`.
The cases named v1 to v5 were computed by a second implementation too; their signatures stand below.
"""
import datetime
import hashlib
import os
import sys
from urllib.parse import urlsplit

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

KEY = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "SESSIONTOKENEXAMPLE=="
NOW = datetime.datetime(2026, 1, 2, 3, 4, 5)
FORM = ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
EC2 = "https://ec2.us-east-1.amazonaws.com/"
BUCKET = "https://tapbox-evidence.s3.us-east-1.amazonaws.com"
DESCRIBE = (
    "Action=DescribeTrafficMirrorSessions&Version=2016-11-15&Filter.1.Name=network-interface-id"
    "&Filter.1.Value.1=eni-1&Filter.1.Value.2=eni-2&MaxResults=100"
)
SECOND_OPINION = {
    "v1-ec2-post": "1529b5798114a73a6da54ba01aaf983c4cb90bf50f37b5da89090a2478821126",
    "v2-ec2-post-with-token": "6653abb6b928a31efc34167d2e558a8fb3e10a68c5ce9c77723e73ebdf77f9d1",
    "v3-s3-put-unsigned-payload": "ecb2d8b5d8fdee66de80feb91e78b855660ff99386766a9d56f728358ad83141",
    "v4-s3-upload-part": "4c9d2747ea8a8f349e440732aa264aff227eba02e64df1ac3ce310e1c33a27ce",
    "v5-s3-presigned-get": "81d6ebb4d799f0f118ea9baa500be2b542ef483936dedd0643075b65ce82b338",
}


class Frozen(datetime.datetime):
    @classmethod
    def utcnow(cls):
        return NOW


class frozen_datetime:  # stands in for the module inside botocore.auth
    datetime = Frozen


botocore.auth.datetime = frozen_datetime


def case(name, method, url, service="s3", region="us-east-1", headers=(), body=b"", token=None, unsigned=False, expires=None):
    return locals()


CASES = [
    case("v1-ec2-post", "POST", EC2, "ec2", headers=[FORM], body=DESCRIBE.encode()),
    case("v2-ec2-post-with-token", "POST", EC2, "ec2", headers=[FORM], body=DESCRIBE.encode(), token=TOKEN),
    case("v3-s3-put-unsigned-payload", "PUT", BUCKET + "/cap/a%20b%2Bc.pcapng.zst", headers=[("If-None-Match", "*")], unsigned=True),
    case("v4-s3-upload-part", "PUT", BUCKET + "/k?partNumber=1&uploadId=abc%2F%2B%3D", body=b"hello"),
    case("v5-s3-presigned-get", "GET", BUCKET + "/cap/a%20b%2Bc.pcapng.zst", token=TOKEN, expires=900),
    case("header-white-space", "GET", BUCKET + "/k", headers=[("X-Amz-Meta-A", "  a   b \t c  "), ("x-amz-meta-empty", "")]),
    case("header-repeated", "GET", BUCKET + "/k",
         headers=[("X-Amz-Meta-B", "2"), ("x-amz-meta-a", "z"), ("X-AMZ-META-B", " 1 "), ("x-amz-meta-b", "3")]),
    case("header-name-order", "GET", BUCKET + "/k", headers=[("x-amz-b", "1"), ("x-amz-a-b", "2"), ("x-amz-a", "3")]),
    case("query-order-of-names", "GET", BUCKET + "/?prefix=a&list-type=2&Prefix=b&delimiter=%2F"),
    case("query-order-of-values", "GET", BUCKET + "/?k=b&k=a&k=B&k=10&k=9"),
    case("query-name-that-begins-another", "GET", BUCKET + "/?a-b=1&a=2&a.b=3"),
    case("query-without-value", "POST", BUCKET + "/k?uploads"),
    case("query-empty-value", "GET", BUCKET + "/?marker=&acl"),
    case("query-odd-characters", "GET", BUCKET + "/?prefix=%C3%A4%20%2B%26%3D~-_.&x=%2A%27%28%29"),
    case("key-odd-characters", "PUT", BUCKET + "/a%20b/%C3%BC%2B%26%3D%40%3A%2C%24~-_.%21%2A%27%28%29", body=b"x"),
    case("key-that-looks-like-a-path", "PUT", BUCKET + "/a//b/./c/../d", body=b"x"),
    case("key-in-path-style", "PUT", "http://127.0.0.1:7480/tapbox-evidence/captures/2026/01/02/x", body=b"x"),
    case("s3-token-and-checksum", "PUT", BUCKET + "/k", token="a/b+c==", body=b"hello",
         headers=[("x-amz-checksum-sha256", "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="), ("Content-Type", "application/zstd")]),
    case("ec2-custom-port", "POST", "http://10.77.0.5:8480/", "ec2", "eu-central-1", headers=[FORM], body=b"Action=X"),
    case("usual-port-left-out", "POST", "https://ec2.us-east-1.amazonaws.com:443/", "ec2", headers=[FORM], body=b"Action=X"),
    case("ec2-path-normalised", "POST", "https://h.example/base/./a//b/../c%20d/", "ec2", headers=[FORM], body=b"Action=X"),
    case("sts-identity", "POST", "https://sts.eu-central-1.amazonaws.com/", "sts", "eu-central-1", headers=[FORM],
         body=b"Action=GetCallerIdentity&Version=2011-06-15"),
    case("presigned-with-query", "GET", BUCKET + "/k?versionId=a%2Bb&response-content-type=text%2Fplain", expires=604800),
    case("presigned-in-path-style", "GET", "http://127.0.0.1:7480/b-1/x%20y", expires=1),
]


def signer(c, credentials):
    class Unsigned(botocore.auth.S3SigV4Auth):
        def payload(self, request):
            return "UNSIGNED-PAYLOAD"

    if c["expires"]:
        return botocore.auth.S3SigV4QueryAuth(credentials, c["service"], c["region"], expires=c["expires"])
    if c["service"] != "s3":
        return botocore.auth.SigV4Auth(credentials, c["service"], c["region"])
    return (Unsigned if c["unsigned"] else botocore.auth.S3SigV4Auth)(credentials, c["service"], c["region"])


def make(folder, c):
    auth = signer(c, Credentials(KEY, SECRET, c["token"]))
    request = AWSRequest(method=c["method"], url=c["url"], data=c["body"])
    for name, value in c["headers"]:
        request.headers.add_header(name, value)
    stages = {}
    keep = auth.string_to_sign

    def string_to_sign(request, canonical):
        stages["canonical"] = canonical
        stages["to-sign"] = keep(request, canonical)
        return stages["to-sign"]

    auth.string_to_sign = string_to_sign
    auth.add_auth(request)
    if c["expires"]:
        stages["presigned"] = request.url
        signature = request.url.rsplit("=", 1)[1]
    else:
        stages["authorization"] = request.headers["Authorization"]
        signature = stages["authorization"].rsplit("=", 1)[1]
    if SECOND_OPINION.get(c["name"], signature) != signature:
        sys.exit(f"{c['name']}: {signature}")

    url = urlsplit(c["url"])
    host = url.netloc[: -len(":443")] if url.scheme == "https" and url.port == 443 else url.netloc
    lines = [f"{c['method']} {url.path}{'?' + url.query if url.query else ''}", f"Host: {host}"]
    for name, value in c["headers"]:
        lines.append(f"{name}: {value}")
    if not c["expires"]:
        lines.append(f"X-Amz-Date: {NOW:%Y%m%dT%H%M%SZ}")
        if c["token"]:
            lines.append(f"X-Amz-Security-Token: {c['token']}")
        if c["service"] == "s3":
            lines.append("X-Amz-Content-SHA256: " + ("UNSIGNED-PAYLOAD" if c["unsigned"] else hashlib.sha256(c["body"]).hexdigest()))
    context = [f"access_key {KEY}", f"secret_key {SECRET}", f"region {c['region']}", f"service {c['service']}", "time 2026-01-02T03:04:05Z"]
    if c["token"]:
        context.append(f"token {c['token']}")
    if c["expires"]:
        context.append(f"expires {c['expires']}")
    files = {"request": "\n".join(lines).encode() + b"\n\n" + c["body"], "context": "\n".join(context).encode() + b"\n"}
    files.update({stage: text.encode() for stage, text in stages.items()})
    os.makedirs(os.path.join(folder, c["name"]), exist_ok=True)
    for name, content in files.items():
        with open(os.path.join(folder, c["name"], name), "wb") as out:
            out.write(content)


for each in CASES:
    make(sys.argv[1], each)
print(f"{len(CASES)} cases")
