#!/usr/bin/python3
"""SNS in a box: certificates, messages signed as SNS signs them and posted as SNS posts them, and what SNS answers when
it is asked for a certificate or to confirm a subscription.

  sns.py pki DIR                      authorities, certificates and keys, good ones and others
  sns.py serve DIR --listen ADDRESS   https on port 443 (as sns.REGION.amazonaws.com), http on port 80 (the authority's
                                      own), and deliveries on port 8080: POST JSON there, "STATUS WORD" comes back

DIR/pem/NAME.pem is handed out as /SimpleNotificationService-NAME.pem; DIR/asked has a line for each request.
"""
import argparse
import base64
import datetime
import http.client
import http.server
import ipaddress
import json
import pathlib
import ssl
import threading
import time
import urllib.parse
import uuid

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

REGION = "eu-central-1"
HOST = f"sns.{REGION}.amazonaws.com"
TOPIC = f"arn:aws:sns:{REGION}:111122223333:guardduty-alerts"
DAY = datetime.timedelta(days=1)


# --- certificates ---

def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def issue(subject, key, issuer, issuer_key, *, sans=(), ca=False, begins=-DAY, ends=2 * DAY, issuers_url=None):
    now = datetime.datetime.utcnow()
    builder = (x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer))
               .public_key(key.public_key()).serial_number(x509.random_serial_number())
               .not_valid_before(now + begins).not_valid_after(now + ends)
               .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True))
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(sans)), critical=False)
    if not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    if issuers_url:
        builder = builder.add_extension(x509.AuthorityInformationAccess([x509.AccessDescription(
            AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier(issuers_url))]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def pem(*certificates):
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)


def save_key(path, key):
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                       serialization.NoEncryption()))


def make_pki(folder):
    root, middle, leaf, stranger = (rsa.generate_private_key(65537, 2048) for _ in range(4))
    (folder / "pem").mkdir(parents=True)
    sns = [x509.DNSName("sns.amazonaws.com")]
    ours = {"issuer": "Lab Root", "issuer_key": root}
    below = {"issuer": "Lab Middle", "issuer_key": middle}
    root_cert = issue("Lab Root", root, "Lab Root", root, ca=True)
    middle_cert = issue("Lab Middle", middle, "Lab Root", root, ca=True)

    def hand_out(what, certificate, *more):
        (folder / "pem" / f"{what}.pem").write_bytes(pem(certificate, *more))

    # As SNS does it: alone, with the word where its issuer's is.
    alone = issue("sns.amazonaws.com", leaf, **below, sans=sns, issuers_url="http://crt.lab.amazontrust.com/middle.cer")
    hand_out("alone", alone)
    hand_out("whole", issue("sns.amazonaws.com", leaf, **below, sans=sns), middle_cert)
    hand_out("direct", issue("sns.amazonaws.com", leaf, **ours, sans=sns))
    hand_out("lonely", issue("sns.amazonaws.com", leaf, **below, sans=sns))
    hand_out("lured", issue("sns.amazonaws.com", leaf, **below, sans=sns, issuers_url="http://169.254.169.254/middle.cer"))
    hand_out("gone", issue("sns.amazonaws.com", leaf, **below, sans=sns,
                           issuers_url="http://crt.lab.amazontrust.com/gone.cer"))
    hand_out("expired", issue("sns.amazonaws.com", leaf, **ours, sans=sns, begins=-3 * DAY, ends=-DAY))
    hand_out("unborn", issue("sns.amazonaws.com", leaf, **ours, sans=sns, begins=DAY))
    hand_out("otherhost", issue("evil.example", leaf, **ours, sans=[x509.DNSName("evil.example")]))
    hand_out("wildcard", issue("sns.amazonaws.com", leaf, **ours, sans=[x509.DNSName("*.amazonaws.com")]))
    hand_out("otherca", issue("sns.amazonaws.com", leaf, "Other Root", stranger, sans=sns))
    hand_out("self", issue("sns.amazonaws.com", stranger, "sns.amazonaws.com", stranger, sans=sns))
    (folder / "pem" / "text.pem").write_text("-----BEGIN NOTHING-----\n")
    (folder / "middle.cer").write_bytes(middle_cert.public_bytes(serialization.Encoding.DER))
    (folder / "root.pem").write_bytes(pem(root_cert))
    hosts = [x509.DNSName(HOST), x509.DNSName("api.tapbox.example"), x509.IPAddress(ipaddress.ip_address("10.77.2.10"))]
    (folder / "host.pem").write_bytes(pem(issue(HOST, root, **ours, sans=hosts)))
    save_key(folder / "host.key", root)
    save_key(folder / "leaf.key", leaf)
    save_key(folder / "stranger.key", stranger)


# --- messages ---

SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}


def make_message(wish, keys):
    """A signed message; `wish` says what is unlike SNS in it."""
    topic, kind = wish.get("topic", TOPIC), wish.get("type", "Notification")
    region = topic.split(":")[3]
    when = datetime.datetime.utcnow() - datetime.timedelta(seconds=wish.get("age", 0))
    url = f"https://sns.{region}.amazonaws.com"
    message = {
        "Type": kind,
        "MessageId": str(uuid.uuid4()),
        "TopicArn": topic,
        "Message": wish.get("message", "words for people"),
        "Timestamp": when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond // 1000:03d}Z",
        "SignatureVersion": wish.get("version", "1"),
        "SigningCertURL": wish.get("cert_url", f"{url}/SimpleNotificationService-{wish.get('cert', 'alone')}.pem"),
    }
    if "subject" in wish:
        message["Subject"] = wish["subject"]
    if kind == "Notification":
        message["UnsubscribeURL"] = f"{url}/?Action=Unsubscribe&SubscriptionArn={topic}:{uuid.uuid4()}"
    else:
        message["Token"] = wish.get("token", uuid.uuid4().hex * 4)
        message["SubscribeURL"] = wish.get("subscribe_url", f"{url}/?Action=ConfirmSubscription&TopicArn={topic}"
                                                            f"&Token={message['Token']}")
    text = "".join(f"{key}\n{message[key]}\n" for key in SIGNED[kind] if key in message)
    digest = hashes.SHA256() if wish.get("digest", message["SignatureVersion"]) == "2" else hashes.SHA1()
    signature = keys[wish.get("key", "leaf")].sign(text.encode(), padding.PKCS1v15(), digest)
    message["Signature"] = base64.b64encode(signature).decode()
    message.update(wish.get("alter", {}))
    for key in wish.get("drop", []):
        del message[key]
    return message


def post(folder, wish, message):
    headers = {
        "x-amz-sns-message-type": message["Type"] if isinstance(message["Type"], str) else "Notification",
        "x-amz-sns-message-id": message.get("MessageId", ""),
        "x-amz-sns-topic-arn": message.get("TopicArn", ""),
        "Content-Type": "text/plain; charset=UTF-8",
        "User-Agent": "Amazon Simple Notification Service Agent",
    }
    body = json.dumps(message, indent=2)
    if wish.get("raw"):
        headers["x-amz-sns-rawdelivery"] = "true"
        body = message["Message"]
    headers.update(wish.get("headers", {}))
    to = urllib.parse.urlsplit(wish["to"])
    connection = http.client.HTTPSConnection(to.hostname, to.port, timeout=60,
                                             context=ssl.create_default_context(cafile=folder / "root.pem"))
    connection.request("POST", to.path, body.encode(), headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    said = json.loads(text)
    word = said.get("reason") if answer.status >= 400 else said.get("decision")
    challenge = answer.headers.get("WWW-Authenticate", "")
    return f"{answer.status} {word or challenge or said.get('detail', '')}"


# --- servers ---

class Quiet(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body, headers=()):
        self.send_response(status)
        for key, value in headers:
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def servers(folder, listen):
    keys = {key: serialization.load_pem_private_key((folder / f"{key}.key").read_bytes(), None)
            for key in ("leaf", "stranger")}
    asked = (folder / "asked").open("a", buffering=1)
    last = {}

    class Certificates(Quiet):
        def do_GET(self):
            asked.write(f"{self.path}\n")
            what = self.path[len("/SimpleNotificationService-"):-len(".pem")]
            path = folder / "pem" / f"{what}.pem"
            if self.path.startswith("/?Action=ConfirmSubscription&"):
                failing = folder / "confirm-fails"  # as often as it has octets
                if failing.exists() and failing.stat().st_size > 0:
                    failing.write_bytes(failing.read_bytes()[1:])
                    self.answer(503, b"")
                else:
                    self.answer(200, b"<ConfirmSubscriptionResponse/>")
            elif what == "moved":
                self.answer(301, b"", [("Location", f"https://{HOST}/SimpleNotificationService-whole.pem")])
            elif what == "huge":
                self.answer(200, b"x" * (1 << 20))
            elif what == "slow":
                time.sleep(8)
                self.answer(200, (folder / "pem" / "whole.pem").read_bytes())
            elif what.startswith("renamed"):
                self.answer(200, (folder / "pem" / "whole.pem").read_bytes())
            elif path.exists():
                self.answer(200, path.read_bytes())
            else:
                self.answer(404, b"")

    class Authority(Quiet):
        def do_GET(self):
            asked.write(f"authority{self.path}\n")
            path = folder / self.path[1:]
            found = self.path == "/middle.cer"
            self.answer(200 if found else 404, path.read_bytes() if found else b"")

    class Deliveries(Quiet):
        def do_POST(self):
            wish = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            message = last["message"] if wish.get("again") else make_message(wish, keys)
            last["message"] = message
            if wish.get("only"):  # for who delivers it by another way
                self.answer(200, json.dumps(message).encode())
                return
            try:
                said = post(folder, wish, message)
            except OSError as error:
                said = f"000 {error}"
            self.answer(200, f"{said}\n".encode())

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "host.pem", folder / "host.key")
    made = []
    for port, handler in ((443, Certificates), (80, Authority), (8080, Deliveries)):
        server = http.server.ThreadingHTTPServer((listen, port), handler)
        if port == 443:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        made.append(server)
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pki", "serve"))
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--listen", default="127.0.0.1")
    arguments = parser.parse_args()
    if arguments.what == "pki":
        make_pki(arguments.folder)
        return
    threads = [threading.Thread(target=one.serve_forever) for one in servers(arguments.folder, arguments.listen)]
    for thread in threads:
        thread.start()


if __name__ == "__main__":
    main()
