#!/usr/bin/python3
"""What the runbooks and the README tell people to type or to look at is there.  usage: check_runbooks.py TAPBOX [PAGE]

Commands and options of tapbox and of the AWS CLI, targets of make, settings, metrics, parameters of the templates, files of
this tree, headings that links name.  Each block says by its fence what it is: `sh` is run by a test, which names its page
(run_blocks); `console` is not, and says why behind that word (what of an account it needs).
A line for each thing that is not so; exit status 1 if there is one.
"""
import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import policies
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = [Path(page).resolve() for page in sys.argv[2:]] or [ROOT / "README.md", *sorted((ROOT / "runbooks").glob("*.md"))]
NO_SETTINGS = {"capture.id"}  # a member of an answer
tapbox = sys.argv[1]
wrong = []


def told(*arguments):
    return subprocess.run([tapbox, *arguments], capture_output=True, text=True, check=True).stdout


COMMANDS = re.findall(r"^  ([a-z-]+)  ", told("--help").split("Commands:")[1].split("\n\n")[0], re.M)
OPTIONS = {name: set(re.findall(r"--[a-z][a-z0-9-]+", told(name, "--help"))) for name in COMMANDS}


def settings(node, path=""):
    """The keys of the default configuration, commented out or not."""
    group = ""
    for line in node.splitlines():
        if match := re.match(r"#?([a-z_0-9]+):", line):
            group = match[1]
            yield group
        elif match := re.match(r"  #?([a-z_0-9]+):", line):
            yield f"{group}.{match[1]}"


SETTINGS = set(settings(told("check-config", "--defaults")))
GROUPS = {key.split(".")[0] for key in SETTINGS if "." in key}
METRICS = set(re.findall(r"tapbox_[a-z0-9_]+", "".join(p.read_text() for p in (ROOT / "src/http").glob("*.c"))))


FENCE = re.compile(r"^( *)```([a-z]*) ?([^\n]*)\n(.*?)^ *```$", re.M | re.S)


def whole(line):
    """Whether each quotation mark has its second."""
    try:
        return bool(shlex.split(line, comments=True)) or True
    except ValueError:
        return False


def code(text):
    """The commands and words that a page marks as such: fenced blocks, command by command, and `inline` ones."""
    for _, kind, _, block in FENCE.findall(text):
        command = ""
        for line in block.replace("\\\n", " ").splitlines():
            command += line
            if not re.match(r"\s*aws ", command) or whole(command):  # (others hold whole documents)
                yield kind, command
                command = ""
    for words in re.findall(r"`([^`\n]+)`", FENCE.sub("", text)):
        yield "inline", words


RUN = re.findall(r"run_blocks (?:\S*/)?(README\.md|runbooks/[a-z-]+\.md)(?: '([^']*)')?",
                 "".join(p.read_text() for p in (ROOT / "tests/integration").glob("*.sh")))


def check_blocks(page, path, text):
    """Each block is of a kind, and what is to be run is run."""
    name, heading = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else page, ""
    for part in re.split(r"(?m)^(?=#+ )", FENCE.sub(lambda m: m[0].replace("\n#", "\n #"), text)):
        heading = re.match(r"#+ (.*)|", part)[1] or ""
        for _, kind, why, block in FENCE.findall(part):
            first = block.split("\n")[0].strip()
            if kind not in ("sh", "console", "yaml", "json", "text"):
                wrong.append(f"{page}: what kind of block begins with {first}")
            if kind == "sh" and (name, "") not in RUN and (name, heading) not in RUN:
                wrong.append(f"{page}: no test runs the block that begins with {first}")
            if kind == "console" and not why:
                wrong.append(f"{page}: why does no test run the block that begins with {first}")
        for line in FENCE.sub("", part).splitlines():
            if re.match(r" {4,}\S", line):
                wrong.append(f"{page}: a block without a fence: {line.strip()}")


def aws_cli():
    """Debian's AWS CLI; nobody answers where it asks."""
    sys.path.append("/usr/lib/python3/dist-packages")
    os.environ.update(AWS_EC2_METADATA_DISABLED="true", AWS_CONFIG_FILE="/dev/null", AWS_DEFAULT_REGION="eu-central-1",
                      AWS_MAX_ATTEMPTS="1")
    import awscli.clidriver
    return awscli.clidriver.create_clidriver  # (one for each command: it remembers the last)


AWS = aws_cli()
NEWER = {("sqs", "start-message-move-task")}  # than Debian 12's


def check_aws(page, command, inline):
    """The AWS CLI holds a command to AWS's description of it before it asks anybody.  (`s3` has none; tests run it.)"""
    command = re.sub(r"file://\S+", "x", command.replace("…", "x"))
    try:
        words = shlex.split(re.split(r" (?:\||&&|>) |\)$", command)[0], comments=True)[1:]
    except ValueError as error:
        wrong.append(f"{page}: {error}: {command}")
        return
    if len(words) < 2 or words[0] == "s3" or tuple(words[:2]) in NEWER:
        return
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            AWS().main([*words, "--no-sign-request", "--endpoint-url", "http://127.0.0.1:1"])
        except SystemExit:
            pass
    why = re.sub(r"\s+", " ", said.getvalue()).strip()
    if "Could not connect" in why or inline and "arguments are required" in why:  # an inline one may leave out what is clear
        return
    wrong.append(f"{page}: aws {' '.join(words[:2])}: {why[-200:]}")


TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))


def check_command(page, words):
    command, *rest = words
    if not re.fullmatch("[a-z-]+", command):
        return  # prose: `tapbox ...`, `tapbox` (1.6)
    if command not in COMMANDS:
        wrong.append(f"{page}: there is no command tapbox {command}")
        return
    for word in rest:
        if word in ("|", "&&", ";", ">", "#", "and"):
            return
        option = re.match(r"--[a-z][a-z0-9-]*", word)
        if option and option[0] not in OPTIONS[command] | {"--help", "--version"}:
            wrong.append(f"{page}: tapbox {command} has no {option[0]}")


def check_stack(page, line):
    """A template gets every parameter that it needs, and none that it does not know."""
    name = re.search(r"infra/cloudformation/(\S+)", line)[1]
    parameters = yaml.load((ROOT / "infra/cloudformation" / name).read_text(), Loader=policies.Template)["Parameters"]
    given = set(re.findall(r"\b([A-Z][A-Za-z]+)=", line))
    for key in given - set(parameters):
        wrong.append(f"{page}: {name} has no parameter {key}")
    for key in {k for k, p in parameters.items() if "Default" not in p} - given:
        wrong.append(f"{page}: {name} needs {key}")


def check_retries(page, line):
    """SNS refuses a delivery policy that would try for more than an hour."""
    for policy in re.findall(r'"healthyRetryPolicy":(\{[^}]*\})', line):
        policy = json.loads(policy)
        if policy["numRetries"] * policy["maxDelayTarget"] > 3600:
            wrong.append(f"{page}: SNS would try for more than an hour: {policy}")


def anchor(heading):
    return re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")


count = 0
for path in PAGES:
    page, text = path.name, path.read_text()
    check_blocks(page, path, text)
    for kind, line in code(text):
        line = re.sub(r"\s+#\s.*", "", line)
        if kind in ("sh", "console", "inline"):
            for found in re.finditer(r"(?:^|[|&(] ?)\s*aws (?!--)[a-z].*", line):
                check_aws(page, found[0].lstrip("|&( "), kind == "inline")
            if (found := re.match(r"make(?: ([a-z-]+))?(?: [A-Z_]+=\S+)*$", line)) and (found[1] or "all") not in TARGETS:
                wrong.append(f"{page}: there is no make {found[1]}")
        for found in re.finditer(r"(?:^|[;|&($]|\bsudo(?: -u \w+)?|\b\w+=\S+)\s*tapbox ((?:\S+ ?)+)", line):
            count += 1
            check_command(page, found[1].split())
        if "--template-file" in line:
            check_stack(page, line)
        check_retries(page, line)
        for word in re.findall(r"(?<![\w./-])([a-z0-9]+\.[a-z_0-9]+)(?![\w./(-])", line):
            if word.split(".")[0] in GROUPS and word not in SETTINGS | NO_SETTINGS and not word.endswith(".yaml") \
                    and page != "changes.md":  # which names former ones
                wrong.append(f"{page}: there is no setting {word}")
        for metric in re.findall(r"\btapbox_[a-z][a-z_]+[a-z]\b", line):
            if metric not in METRICS and metric.removesuffix("_total") not in METRICS:
                wrong.append(f"{page}: there is no metric {metric}")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match("[a-z]+:", target):
            continue
        name, _, heading = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if not file.exists():
            wrong.append(f"{page}: there is no {target}")
        elif heading and heading not in {anchor(h) for h in re.findall(r"^#+ (.*)$", file.read_text(), re.M)}:
            wrong.append(f"{page}: there is no heading {target}")
print("\n".join(sorted(set(wrong))))
if len(sys.argv) == 2 and count < 100:
    sys.exit(f"only {count} commands found: what is code here?")
sys.exit(1 if wrong else 0)
