#!/usr/bin/python3
"""Between a program and STS: passes every call on as it came, and notes the keys that AssumeRole gave.

usage: sts_recorder.py PORT UPSTREAM_URL FILE    FILE gets "ACCESS_KEY SECRET_KEY" of the last of them

So that another server, which knows users and not roles, can be told of these keys.
"""
import http.client
import http.server
import os
import re
import sys
import urllib.parse

UPSTREAM = urllib.parse.urlsplit(sys.argv[2])


class PassOn(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):  # pylint: disable=invalid-name
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        upstream = http.client.HTTPConnection(UPSTREAM.hostname, UPSTREAM.port, timeout=60)
        upstream.putrequest("POST", self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            upstream.putheader(name, value)  # Host too: it is signed
        upstream.endheaders(body)
        answer = upstream.getresponse()
        text = answer.read()
        found = re.search(rb"<AccessKeyId>(.*?)</AccessKeyId>.*?<SecretAccessKey>(.*?)</SecretAccessKey>", text, re.S)
        if found:
            with open(sys.argv[3] + ".new", "wb") as file:
                file.write(found[1] + b" " + found[2] + b"\n")
            os.rename(sys.argv[3] + ".new", sys.argv[3])
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers.get("Content-Type", "text/xml"))
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), PassOn).serve_forever()
