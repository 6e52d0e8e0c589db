#!/usr/bin/python3
"""Who may include whom: STYLE's layers, as a table.  usage: layers.py [ROOT]; exit status 1 and a line per breach.

Modules take from each other only public headers (include/tapbox), and only those of the modules named
beside them here; a private header stays in its folder; an outside library has one folder; SQL is in the
store; the lab's awsim shares nothing with tapbox.
"""
import pathlib
import re
import sys

# A module and what it may include, from the bottom up: nothing may name a module further down.
MODULES = {
    "base": [],
    "model": ["base"],
    "net": ["base"],
    "priv": ["base"],
    "webhooks": ["base", "model"],
    "policy": ["base", "model", "webhooks"],
    "config": ["base", "model", "webhooks", "policy"],  # the file holds the policy
    "store": ["base", "model"],
    "segment": ["base", "model"],
    "aws": ["base", "net"],
    "place": ["base", "net", "aws"],  # a local folder, or a prefix in a bucket
    "evidence": ["base", "model", "store", "segment", "place"],
    "retrieve": ["base", "model", "segment", "place", "evidence"],
    "recorder": ["base", "model", "segment", "priv"],
    "summary": ["base", "model", "priv", "store", "segment", "recorder"],  # the recorder's spool
    "upload": ["base", "model", "store", "segment", "aws", "evidence", "recorder"],  # the recorder's spool
    "sns": ["base", "net", "webhooks", "store"],
    "intake": ["base", "model", "store", "webhooks", "policy", "aws", "sns"],
    "control": ["base", "model", "config", "policy", "store", "aws", "recorder", "evidence", "upload"],
    "http": ["base", "model", "config", "policy", "store", "webhooks", "sns", "intake", "segment", "recorder", "summary", "upload", "control"],
    "cli": None,  # everything
}

# Public headers; one that is not here is an error.
HEADERS = {
    "base": "attr build cert cipher crash err bytes limits clock log digest pubkey secret io json thread ids",
    "model": "alert filter request capture",
    "net": "http_client",
    "priv": "compartment sandbox",
    "webhooks": "webhook webhook_fields senders sns_message",
    "policy": "policy",
    "config": "config policy_file",
    "store": "store",
    "segment": "segment pcapng pcapng_merge",
    "aws": "aws aws_credentials aws_sigv4 aws_ec2 aws_s3 aws_cloudwatch aws_sqs",
    "place": "place",
    "evidence": "evidence verify",
    "retrieve": "retrieve proof",
    "recorder": "recorder vxlan spool spool_follow source",
    "summary": "summary summary_live",
    "upload": "upload",
    "sns": "sns",
    "intake": "intake queue",
    "control": "control preflight",
    "http": "http_server",
}
OWNER = {name: module for module, names in HEADERS.items() for name in names.split()}

LIBRARIES = {
    "curl/": "net",
    "microhttpd.h": "http",
    "gnutls/": "http",  # libmicrohttpd's own TLS
    "pcap": "recorder",
    "zstd": "segment",
    "sqlite3": "store",
    "yaml.h": "config",
    "expat": "aws",
    "jansson": "base",
    "openssl/": "base",
    "seccomp.h": "priv",
    "systemd/": "cli",
}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)
STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
SQL = re.compile(r"\b(SELECT\s.*\sFROM\s|INSERT\s+(OR\s+\w+\s+)?INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s|CREATE\s+TABLE\s)")

breaches = []


def breach(path, line, text):
    breaches.append(f"{path}:{line}: {text}")


def check_table():
    seen = set()
    for module, allowed in MODULES.items():
        for other in allowed or []:
            if other not in seen:
                sys.exit(f"layers.py: {module} names {other}, which is not below it")
        seen.add(module)


def without_comments(text):
    return COMMENT.sub(lambda match: "\n" * match.group().count("\n"), text)


def check_file(root, path, module):
    """One file of tapbox; `module` is whose it is."""
    text = without_comments(path.read_text(errors="replace"))
    name = path.relative_to(root)
    for match in INCLUDE.finditer(text):
        line = text.count("\n", 0, match.start(2)) + 1
        quoted, target = match.group(1) == '"', match.group(2)
        if quoted:
            if "/" in target or not (path.parent / target).exists():
                breach(name, line, f'"{target}" is not in this folder; other modules are reached by <tapbox/...>')
        elif target.startswith("tapbox/"):
            header = target[len("tapbox/") : -len(".h")]
            owner = OWNER.get(header)
            if owner is None:
                breach(name, line, f"{target}: give it a module in tests/lint/layers.py")
            elif owner != module and MODULES[module] is not None and owner not in MODULES[module]:
                breach(name, line, f"{module} may not include {target}, which belongs to {owner}")
        else:
            for prefix, home in LIBRARIES.items():
                if target.startswith(prefix) and module != home:
                    breach(name, line, f"<{target}> belongs into {home}, this is {module}")
    if module != "store":
        # Adjacent literals are one string.
        joined = re.sub(r'"\s*"', lambda m: "\x00" * len(m.group()), text)
        for match in STRING.finditer(joined):
            if SQL.search(match.group().replace("\x00", " ")):
                breach(name, text.count("\n", 0, match.start()) + 1, "SQL belongs into the store")


def check_awsim(root, path):
    text = without_comments(path.read_text(errors="replace"))
    for match in INCLUDE.finditer(text):
        target = match.group(2)
        if target.startswith("tapbox/") or "src/" in target or target.startswith("../"):
            breach(path.relative_to(root), text.count("\n", 0, match.start(2)) + 1,
                   f"awsim shares nothing with tapbox, not {target} either")


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    check_table()
    files = 0
    for path in sorted((root / "include/tapbox").glob("*.h")):
        files += 1
        module = OWNER.get(path.stem)
        if module is None:
            breach(path.relative_to(root), 1, "give it a module in tests/lint/layers.py")
        else:
            check_file(root, path, module)
    for path in sorted([*root.glob("src/**/*.[ch]"), *root.glob("webhooks/**/*.[ch]")]):
        files += 1
        parts = path.relative_to(root).parts
        module = parts[1] if parts[0] == "src" else "webhooks"
        if module not in MODULES:
            breach(path.relative_to(root), 1, f"no module '{module}' in tests/lint/layers.py")
        else:
            check_file(root, path, module)
    for path in sorted(root.glob("tests/lab/awsim/**/*.[ch]")):
        files += 1
        check_awsim(root, path)
    for line in breaches:
        print(line)
    if files == 0:
        sys.exit("layers.py: found no source file")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
