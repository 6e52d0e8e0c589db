#!/usr/bin/python3
"""What the runbooks and the README tell people to type or to look at is there.  usage: check_runbooks.py TAPBOX [PAGE]

Commands and options of tapbox, settings, metrics, parameters of the templates, files of this tree, headings that links name.
A line for each thing that is not; exit status 1 if there is one.
"""
import re
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


def code(text):
    """The commands and words that a page marks as such: indented or fenced blocks, and `inline` ones."""
    block, fenced = "", False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or (line.startswith("    ") and line.strip()):
            block += line[:-1] + " " if line.endswith("\\") else line + "\n"
    yield from block.splitlines()
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.S))


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


def anchor(heading):
    return re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")


count = 0
for path in PAGES:
    page, text = path.name, path.read_text()
    for line in code(text):
        line = re.sub(r"\s+#\s.*", "", line)
        for found in re.finditer(r"(?:^|[;|&($]|\bsudo(?: -u \w+)?|\b\w+=\S+)\s*tapbox ((?:\S+ ?)+)", line):
            count += 1
            check_command(page, found[1].split())
        if "--template-file" in line:
            check_stack(page, line)
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
