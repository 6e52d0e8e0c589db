#!/usr/bin/python3
"""A proxy before an S3 server: it does what AWS does and the server does not, and faults by rule.

usage: s3_proxy.py LISTEN_ADDRESS:PORT SERVER_ADDRESS:PORT

As AWS: a body that is not its x-amz-checksum-sha256 is refused (BadDigest), the checksum is echoed, a completed
upload has the checksum over its parts', and If-None-Match on the completion is obeyed.

POST /-/rules with a JSON list sets the rules (those before are gone), GET gives them, with the "times" that are left; the
first that fits a request acts:
    {"method": "PUT", "match": "regex of path?query", "skip": 0, "times": 1, "do": ..., "status": 503, "code": ...}
  refuse      answer with that status and error, before the server hears of it
  lose        let the server do it, then hang up without an answer
  hang        never answer (until the client goes)
  ok_error    answer 200, spaces, and that error for a body; the server does not hear of it
  done_error  the same, but the server does it
  spaces      the server's answer, with spaces before it
  delay       "seconds" later
GET /-/log gives every request so far: method, path, status, octets of body, and sent for an answer.
GET /-/object/BUCKET/KEY gives an object, GET /-/uploads/BUCKET/PREFIX the number of uploads that are begun there
and not ended, both from the server behind.
"""
import base64
import configparser
import hashlib
import http.client
import http.server
import json
import os
import re
import sys
import threading
import time
import urllib.parse

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

lock = threading.Lock()
rules = []
log = []
HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server", "expect"}


def take_rule(method, path):
    with lock:
        for rule in rules:
            if rule.get("method", method) != method or not re.search(rule.get("match", ""), path):
                continue
            if rule.get("skip", 0) > 0:
                rule["skip"] -= 1
                continue
            if rule.get("times", 1) <= 0:
                continue
            rule["times"] = rule.get("times", 1) - 1
            return rule
    return None


def error_body(code):
    return (f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>by rule</Message>'
            f'<RequestId>proxy</RequestId></Error>').encode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a body does not wait until its head is acknowledged

    def log_message(self, *_):
        pass

    def answer(self, status, headers, body):
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Date", self.date_time_string())
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
            self.sent = len(body)

    def refuse(self, status, code):
        self.answer(status, [("Content-Type", "application/xml"), ("x-amz-request-id", "proxy")], error_body(code))
        return status

    def control(self, body):
        _, _, what, where = (self.path + "//").split("/", 3)
        where = where[:-2]
        if what == "object":
            status, content = self.server.ask("GET", "/" + where)
            self.answer(status, [], content)
            return
        if what == "uploads":
            bucket, prefix = where.split("/", 1)
            _, listed = self.server.ask("GET", "/" + bucket, query="prefix=" + urllib.parse.quote(prefix, "") + "&uploads=")
            self.answer(200, [], str(listed.count(b"<Upload>")).encode())
            return
        with lock:
            if self.path == "/-/rules" and body:
                rules[:] = json.loads(body)
            text = json.dumps(rules if self.path == "/-/rules" else log).encode()
        self.answer(200, [("Content-Type", "application/json")], text)

    def is_there(self):
        return self.server.ask("HEAD", urllib.parse.urlsplit(self.path).path, self.headers["Host"])[0] == 200

    def forward(self, body):
        connection = http.client.HTTPConnection(self.server.behind, timeout=60)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in HOP:
                connection.putheader(name, value)
        if body or self.command in ("PUT", "POST"):
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body if body else None)
        answer = connection.getresponse()
        content = answer.read()
        kept = [(n, v) for n, v in answer.getheaders() if n.lower() not in HOP]
        if self.command == "HEAD" and answer.getheader("Content-Length"):
            self.head_length = answer.getheader("Content-Length")
        connection.close()
        return answer.status, kept, content

    def serve(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.startswith("/-/"):
            self.control(body)
            return
        status = None
        self.sent = 0
        try:
            status = self.act(body)
        finally:
            with lock:
                log.append({"method": self.command, "path": self.path, "status": status, "bytes": len(body),
                            "sent": self.sent, "at": time.time()})

    def act(self, body):
        rule = take_rule(self.command, self.path) or {"do": ""}
        if rule.get("do") == "hang":
            self.connection.settimeout(120)
            while self.connection.recv(1):
                pass
            self.close_connection = True
            return None
        if rule.get("do") == "delay":
            time.sleep(rule["seconds"])
        if rule.get("do") == "refuse":
            return self.refuse(rule["status"], rule["code"])
        checksum = self.headers.get("x-amz-checksum-sha256")
        if checksum and base64.b64encode(hashlib.sha256(body).digest()).decode() != checksum:
            return self.refuse(400, "BadDigest")
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query, keep_blank_values=True)
        completes = self.command == "POST" and "uploadId" in query
        if completes and self.headers.get("If-None-Match") == "*" and self.is_there():
            return self.refuse(412, "PreconditionFailed")
        if rule.get("do") == "ok_error":
            status, headers, content = 200, [("Content-Type", "application/xml")], b" " * 50 + error_body(rule["code"])
        else:
            status, headers, content = self.forward(body)
        if rule.get("do") == "lose":
            self.close_connection = True
            self.connection.close()
            return None
        if status == 200 and checksum:
            headers.append(("x-amz-checksum-sha256", checksum))
        if status == 200 and completes and b"CompleteMultipartUploadResult" in content:
            parts = re.findall(rb"<ChecksumSHA256>([^<]*)</ChecksumSHA256>", body)
            whole = hashlib.sha256(b"".join(base64.b64decode(part) for part in parts)).digest()
            element = f"<ChecksumSHA256>{base64.b64encode(whole).decode()}-{len(parts)}</ChecksumSHA256>".encode()
            content = content.replace(b"</CompleteMultipartUploadResult>", element + b"</CompleteMultipartUploadResult>")
        if rule.get("do") == "done_error":
            content = b" " * 50 + error_body(rule["code"])
        if rule.get("do") == "spaces":
            content = b" \n" * 50 + content
        if self.command == "HEAD":
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Date", self.date_time_string())
            self.send_header("Content-Length", getattr(self, "head_length", "0"))
            self.end_headers()
            return status
        self.answer(status, headers, content)
        return status

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = serve


class Proxy(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def ask(self, method, path, host=None, query=""):
        """Asks the server behind with the lab's own key."""
        request = AWSRequest(method, f"http://{host or self.behind}{path}" + (f"?{query}" if query else ""))
        S3SigV4Auth(self.key, "s3", os.environ["AWS_REGION"]).add_auth(request)
        connection = http.client.HTTPConnection(self.behind, timeout=10)
        connection.request(method, request.url.split(host or self.behind, 1)[1],
                           headers={**dict(request.headers), "Host": host or self.behind})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, body


def main():
    address, port = sys.argv[1].rsplit(":", 1)
    proxy = Proxy((address, int(port)), Handler)
    proxy.behind = sys.argv[2]
    keys = configparser.ConfigParser()
    keys.read(os.environ["AWS_SHARED_CREDENTIALS_FILE"])
    proxy.key = Credentials(keys["default"]["aws_access_key_id"], keys["default"]["aws_secret_access_key"])
    proxy.serve_forever()


main()
