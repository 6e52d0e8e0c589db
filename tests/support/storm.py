#!/usr/bin/python3
"""A storm on a tapbox beside this, and an honest sender who is measured meanwhile.

usage: storm.py TOKEN (of role alert) FINDING-FILE PID-OF-TAPBOX
"""
import http.client
import json
import sys
import threading
import time
import uuid

import slow_senders
from slow_senders import ADDRESS, Slow, say

SECONDS = 6
RATE = 20  # honest alerts a second
GUESSERS = 3
ROOM_KIB = 96 * 1024  # 512 connections of 32 KiB and 32 MiB of bodies are allowed at once, and caches fill


def memory_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))


def post(connection, token, body):
    """Status of one call."""
    connection.request("POST", "/v1/events", body=body, headers={"X-Api-Key": token})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def guess(until, statuses):
    """Wrong tokens as fast as they go, from an address of its own."""
    while time.monotonic() < until:
        try:
            connection = http.client.HTTPConnection(*ADDRESS, timeout=60, source_address=("127.0.0.9", 0))
            for _ in range(50):
                status = post(connection, "tbx_guessed", b"x" * 2000)
                statuses[status] = statuses.get(status, 0) + 1
            connection.close()
        except (OSError, http.client.HTTPException):
            statuses["closed"] = statuses.get("closed", 0) + 1


def main():
    token, path, pid = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        finding = json.load(file)
    before_kib = most_kib = memory_kib(pid)
    until = time.monotonic() + SECONDS
    guesses = [{} for _ in range(GUESSERS)]
    slow = [Slow(200, b"POST /v1/events HTTP/1.1\r\nHost: t\r\nX-Slow: "),
            Slow(60, b"POST /v1/events HTTP/1.1\r\nHost: t\r\nContent-Length: 200000\r\nX-Api-Key: " + token.encode() + b"\r\n\r\n{")]
    threads = [one.thread for one in slow] + [threading.Thread(target=guess, args=(until, g)) for g in guesses]
    for thread in threads:
        thread.start()
    took, statuses, due = [], set(), time.monotonic()
    connection = http.client.HTTPConnection(*ADDRESS, timeout=60)
    while time.monotonic() < until:
        finding["detail"]["id"] = uuid.uuid4().hex
        began = time.monotonic()
        statuses.add(post(connection, token, json.dumps(finding)))
        took.append(time.monotonic() - began)
        most_kib = max(most_kib, memory_kib(pid))
        due = max(due + 1 / RATE, time.monotonic())  # (who was held up sends no faster afterwards: a rate is allowed, no burst)
        time.sleep(max(0, due - time.monotonic()))
    for one in slow:
        one.stop = True
    for thread in threads:
        thread.join()
    took.sort()
    say(statuses == {202}, f"{len(took)} honest alerts are all taken", statuses)
    # (what is late on a calm machine is 1 of 100; one that stands still for some seconds makes a few more late)
    say(took[len(took) * 3 // 4] <= 1, "within a second", took[-5:])
    say(took[-1] <= 30, "and none is left waiting", took[-1])
    say(most_kib - before_kib < ROOM_KIB, "memory is bounded", (before_kib, most_kib))
    refused = {status: sum(g.get(status, 0) for g in guesses) for g in guesses for status in g}
    say(refused.get(429, 0) > 0 and set(refused) <= {401, 429, "closed"}, "guessed tokens are refused, then not looked at", refused)
    print(f"#   slowest honest answer {took[-1] * 1000:.1f} ms; guesses {refused}; memory {before_kib} to {most_kib} KiB")
    sys.exit(slow_senders.failed)


if __name__ == "__main__":
    main()
