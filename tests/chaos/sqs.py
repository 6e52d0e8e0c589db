"""SQS for the runs: one server that somebody else wrote, a queue for each host that takes alerts from one."""
import http.client
import json
import os
import shutil
import subprocess
import time

import host
import world

PEER = "build/peers/fauxqs"
ACTS = ("ReceiveMessage", "DeleteMessage")
PROGRAM = """import { buildApp } from 'fauxqs';
const app = buildApp({ logger: false });
await app.listen({ port: %s, host: '%s' });
"""


def is_there(root):
    return os.path.isdir(os.path.join(root, PEER, "node_modules/fauxqs"))


def fetch(root):
    """From npm; in the lab there is no way out.  Without it the runs have no queue."""
    if not is_there(root) and shutil.which("npm"):
        os.makedirs(os.path.join(root, PEER), exist_ok=True)
        subprocess.run(["timeout", "120", "npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix",
                        os.path.join(root, PEER), "fauxqs@1.9.2"], check=False, capture_output=True)


def start(root, folder):
    """Runs until we end."""
    where, port = world.SQS.split(":")
    host.run("ip", "addr", "add", where + "/32", "dev", "lo")
    program = os.path.join(root, PEER, "chaos.mjs")
    with open(program, "w", encoding="utf-8") as file:
        file.write(PROGRAM % (port, where))
    with open(folder + "/sqs.log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(["node", program], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                   preexec_fn=host.end_with_us)
    until = time.monotonic() + 30
    while True:
        try:
            return ask("ListQueues", {}) and process
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                raise
            time.sleep(0.05)


def ask(action, body):
    link = http.client.HTTPConnection(world.SQS, timeout=20)
    try:
        link.request("POST", "/", json.dumps(body), {
            "Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS." + action,
            "Authorization": f"AWS4-HMAC-SHA256 Credential=x/20260101/{world.REGION}/sqs/aws4_request, SignedHeaders=host, Signature=x"})
        answer = link.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise OSError(f"SQS: {action}: {answer.status} {text[:200]!r}")
        return json.loads(text or b"{}") or {"": ""}
    finally:
        link.close()


class Queue:
    def __init__(self, name):
        self.url = ask("CreateQueue", {"QueueName": name})["QueueUrl"]

    def send(self, body):
        ask("SendMessage", {"QueueUrl": self.url, "MessageBody": body})

    def left(self):
        """Messages that wait, or that somebody has in hands."""
        said = ask("GetQueueAttributes", {"QueueUrl": self.url, "AttributeNames": ["All"]})["Attributes"]
        return int(said["ApproximateNumberOfMessages"]) + int(said["ApproximateNumberOfMessagesNotVisible"])

    def drop(self):
        ask("DeleteQueue", {"QueueUrl": self.url})
