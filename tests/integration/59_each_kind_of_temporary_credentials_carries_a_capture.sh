#!/bin/bash
# Web identity, a role's profile, EKS Pod Identity: a whole capture with each, with credentials that live for seconds.  They
# are renewed ahead of their end; a token file that is gone, and an STS or agent that refuses, end nothing.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"

issuer=https://oidc.example/id/LAB subject=system:serviceaccount:tapbox:serve
role=arn:aws:iam::$LAB_ACCOUNT:role/tapbox
cat >"$TB_WORK/mint.py" <<'END'
"""usage: mint.py KEY SECONDS ISSUER SUBJECT: a token as a cluster signs it for a pod, with the key (made when it is not there)."""
import base64
import json
import os
import sys
import time

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

KEY, SECONDS, ISSUER, SUBJECT = sys.argv[1:]
if not os.path.exists(KEY):
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with open(KEY, "wb") as file:
        file.write(made.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    with open(KEY + ".pub", "wb") as file:
        file.write(made.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
with open(KEY, "rb") as file:
    key = serialization.load_pem_private_key(file.read(), None)


def part(octets):
    return base64.urlsafe_b64encode(octets).rstrip(b"=")


claims = {"iss": ISSUER, "sub": SUBJECT, "aud": ["sts.amazonaws.com"], "exp": int(time.time()) + int(SECONDS)}
text = part(b'{"alg":"RS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
print((text + b"." + part(key.sign(text, padding.PKCS1v15(), hashes.SHA256()))).decode())
END
cat >"$TB_WORK/peers.py" <<'END'
"""usage: peers.py FOLDER ROLE: the agent of EKS Pod Identity (port 9911); and before the S3 server, which knows no roles, one
that takes temporary keys with their token, and signs anew with the lab's (port 9912)."""
import http.client
import http.server
import json
import os
import sys
import threading
import urllib.parse

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest

FOLDER, ROLE = sys.argv[1:]
BEHIND = urllib.parse.urlsplit(os.environ["AWS_ENDPOINT_URL_S3"]).netloc
LAB = boto3.Session()
STS = LAB.client("sts", endpoint_url=os.environ["AWS_ENDPOINT_URL_STS"])
OURS = ("authorization", "x-amz-security-token", "x-amz-date", "host", "connection", "expect", "content-length")


class Peer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, headers, body):
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


class Agent(Peer):
    def do_GET(self):
        with open(FOLDER + "/pod-token", encoding="ascii") as file:
            good = self.headers["Authorization"] == file.read()
        with open(FOLDER + "/asked", "a", encoding="ascii") as file:
            file.write("good\n" if good else "bad\n")
        if not good:
            return self.answer(401, [], b'{"message": "the token is not that of the pod"}')
        c = STS.assume_role(RoleArn=ROLE, RoleSessionName="pod")["Credentials"]
        return self.answer(200, [], json.dumps({
            "AccessKeyId": c["AccessKeyId"], "SecretAccessKey": c["SecretAccessKey"], "Token": c["SessionToken"],
            "Expiration": c["Expiration"].strftime("%Y-%m-%dT%H:%M:%SZ")}).encode())


class Bucket(Peer):
    def pass_on(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "Credential=ASIA" not in self.headers.get("Authorization", "") or "X-Amz-Security-Token" not in self.headers:
            return self.answer(403, [], b"<Error><Code>InvalidAccessKeyId</Code></Error>")
        request = AWSRequest(self.command, f"http://{BEHIND}{self.path}", data=body, headers={
            name: value for name, value in self.headers.items() if name.lower() not in OURS})
        S3SigV4Auth(LAB.get_credentials(), "s3", os.environ["AWS_REGION"]).add_auth(request)
        behind = http.client.HTTPConnection(BEHIND, timeout=20)
        behind.request(self.command, self.path, body, dict(request.headers))
        answer = behind.getresponse()
        return self.answer(answer.status, answer.getheaders(), answer.read())

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = pass_on


threading.Thread(target=http.server.ThreadingHTTPServer(("127.0.0.1", 9911), Agent).serve_forever, daemon=True).start()
http.server.ThreadingHTTPServer(("127.0.0.1", 9912), Bucket).serve_forever()
END
token() { # SECONDS
    /usr/bin/python3 "$TB_WORK/mint.py" "$TB_WORK/key" "$1" "$issuer" "$subject"
}
asked_sts() { # ACTION [jq path of the count]
    lab_awsim_ask /requests | jq ".$1${2:-.ok} // 0"
}
ask_aws() { # a plan needs EC2: its result, not whether there is one, counts
    lab_call POST '/v1/captures?dry_run=1' -d "{\"source\":\"$(lab_instance workload)\",\"reason\":\"test\"}" >/dev/null
}
more() { # COUNT COMMAND...: asked for meanwhile
    local before=$1
    shift
    ask_aws
    [ "$("$@")" -gt "$before" ]
}
expired() { lab_awsim_ask /requests | jq '[.[].errors | .RequestExpired // 0, .ExpiredToken // 0] | add'; }
faults() { lab_awsim_ask /faults -X PUT -d "$1" >/dev/null; }
begin() { # NAME VARIABLE=VALUE...
    local name=$1
    shift
    # shellcheck disable=SC2163 # what it gets are assignments
    export AWS_SHARED_CREDENTIALS_FILE=/dev/null "$@"
    lab_tapbox_start || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
    capture=$(lab_record workload 5m)
    expect "$name: a capture records" lab_wait_for_state "$capture" recording 20
}
holds() { # NAME WHAT: though credentials cannot be had, and AWS takes the old ones no more
    same "$1: $2 ends nothing" recording "$(lab_state "$capture")"
    expect "$1: the service lives" lab_alive "$lab_tapbox_pid"
    faults '[]'
}
end() { # NAME
    lab_call POST "/v1/captures/$capture/stop" >/dev/null
    expect "$1: the capture is taken down, put into S3 and sealed" lab_wait_for_state "$capture" sealed 40
    same "$1: nothing is left of it" 0 "$(lab_awsim_ask /objects | jq '.sessions | length')"
    lab_tapbox_stop
}

mkdir -p "$LAB_DIR/logs"
lab_up >"$LAB_DIR/logs/lab.log" 2>&1 || give_up 'the hosts come up' "$LAB_DIR/logs/lab.log"
lab_environment
lab_s3_start || give_up 'radosgw starts' "$LAB_DIR/logs/radosgw.log"
lab_tapbox_config
lab_tokens || give_up 'tokens are made' "$LAB_DIR/logs/token.log"
token 3600 >"$TB_WORK/web-token"
lab_world | jq --arg role "$role" --arg issuer "$issuer" --arg subject "$subject" --rawfile key "$TB_WORK/key.pub" '
    .accounts[0].roles = [
        {arn: $role, credentials_s: 12, web_identity: {issuer: $issuer, subject: $subject, key: $key}},
        {arn: ($role + "-short"), credentials_s: 4}]' >"$LAB_DIR/world.json"
lab_start fabric "$LAB_DIR/logs/awsim.log" "$LAB_OUT/awsim" --world "$LAB_DIR/world.json"
lab_wait 10 lab_awsim_answers || give_up 'awsim starts' "$LAB_DIR/logs/awsim.log"
printf 'of-the-pod' >"$TB_WORK/pod-token"
: >"$TB_WORK/asked"
lab_start capture "$LAB_DIR/logs/peers.log" /usr/bin/python3 "$TB_WORK/peers.py" "$TB_WORK" "$role-short"
listening() { lab_exec capture curl -s -o /dev/null http://127.0.0.1:9912/; }
lab_wait 20 listening || give_up 'the agent listens' "$LAB_DIR/logs/peers.log"
shared=$AWS_SHARED_CREDENTIALS_FILE
export AWS_ENDPOINT_URL_S3=http://127.0.0.1:9912

# --- a token that the cluster puts into a file
begin 'web identity' "AWS_WEB_IDENTITY_TOKEN_FILE=$TB_WORK/web-token" "AWS_ROLE_ARN=$role"
before=$(asked_sts AssumeRoleWithWebIdentity)
expect 'web identity: they are renewed in the middle of it' lab_wait 20 more "$before" asked_sts AssumeRoleWithWebIdentity
same 'web identity: ahead of their end' 0 "$(expired)"
mv "$TB_WORK/web-token" "$TB_WORK/gone"
faults '[{"do": {"expired_credentials": true}}]'
ask_aws
holds 'web identity' 'a token file that is gone'
token -60 >"$TB_WORK/web-token"
faults '[{"do": {"expired_credentials": true}}]'
expect 'web identity: the file is read again, and STS calls its token too old' lab_wait 20 \
    more 0 asked_sts AssumeRoleWithWebIdentity .errors.ExpiredTokenException
holds 'web identity' 'a token that is too old'
token 3600 >"$TB_WORK/web-token.new" && mv "$TB_WORK/web-token.new" "$TB_WORK/web-token"
before=$(asked_sts AssumeRoleWithWebIdentity)
expect 'web identity: with the next token it goes on' lab_wait 20 more "$before" asked_sts AssumeRoleWithWebIdentity
end 'web identity'
unset AWS_WEB_IDENTITY_TOKEN_FILE AWS_ROLE_ARN

# --- a role that a profile names, assumed with the keys of another profile
printf '[profile tap]\nrole_arn = %s-short\nsource_profile = keys\n[profile keys]\naws_access_key_id = %s\naws_secret_access_key = %s\n' \
    "$role" "$LAB_ACCESS_KEY" "$LAB_SECRET_KEY" >"$TB_WORK/aws-config"
chmod 600 "$TB_WORK/aws-config"
begin "a profile's role" "AWS_CONFIG_FILE=$TB_WORK/aws-config" AWS_PROFILE=tap
before=$(asked_sts AssumeRole)
expect "a profile's role: they are renewed in the middle of it" lab_wait 20 more "$before" asked_sts AssumeRole
faults '[{"do": {"expired_credentials": true}}, {"service": "sts", "action": "AssumeRole", "do": {"error": {"status": 403, "code": "AccessDenied"}}}]'
expect "a profile's role: STS refuses" lab_wait 20 more 0 asked_sts AssumeRole .errors.AccessDenied
holds "a profile's role" 'which'
end "a profile's role"
unset AWS_PROFILE
export AWS_CONFIG_FILE=/dev/null

# --- the agent beside a pod
asked() { grep -c "^$1$" "$TB_WORK/asked"; }
cp "$TB_WORK/pod-token" "$TB_WORK/pod-token-here"
begin 'pod identity' AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:9911/v1/credentials \
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=$TB_WORK/pod-token-here"
before=$(asked good)
expect 'pod identity: they are renewed in the middle of it' lab_wait 20 more "$before" asked good
printf 'of-the-next-pod' >"$TB_WORK/pod-token"
faults '[{"do": {"expired_credentials": true}}]'
expect 'pod identity: the agent refuses the old token' lab_wait 20 more 0 asked bad
holds 'pod identity' 'which'
rm "$TB_WORK/pod-token-here"
faults '[{"do": {"expired_credentials": true}}]'
ask_aws
holds 'pod identity' 'a token file that is gone'
cp "$TB_WORK/pod-token" "$TB_WORK/pod-token-here"
before=$(asked good)
expect 'pod identity: the next token is read' lab_wait 20 more "$before" asked good
end 'pod identity'

# what every capture has put into S3 is there
export AWS_SHARED_CREDENTIALS_FILE=$shared
unset AWS_CONTAINER_CREDENTIALS_FULL_URI AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE
same 'all three are in the bucket, signed' 3 "$(lab_s3 ls --recursive "s3://$LAB_BUCKET" | grep -c '/manifest.sig$')"
finish
