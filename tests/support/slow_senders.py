#!/usr/bin/python3
"""Senders that trickle, flood or talk nonsense, and whether others are served meanwhile.

usage: slow_senders.py TOKEN (of an analyst), beside a tapbox on 127.0.0.1:8480
"""
import http.client
import random
import socket
import sys
import threading
import time

ADDRESS = ("127.0.0.1", 8480)
SLOW = 200  # connections whose headers trickle
LIMIT_S = 30  # for a whole request
failed = 0


def say(ok, case, detail=""):
    global failed
    print(("ok - " if ok else "not ok - ") + case)
    if not ok:
        failed = 1
        print("#   " + str(detail).replace("\n", "\n#   "))


def ask(path="/v1/captures", token=None, method="GET", body=None):
    """Status and seconds of one call over a connection of its own."""
    began = time.monotonic()
    connection = http.client.HTTPConnection(*ADDRESS, timeout=60)
    headers = {"X-Api-Key": token} if token else {}
    connection.request(method, path, body=body, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, time.monotonic() - began


class Slow:
    """Connections that send an octet now and then, and are counted when the other side ends them."""

    def __init__(self, count, first):
        self.began = time.monotonic()
        self.open = []
        self.ended = []
        self.first = first
        self.count = count
        self.stop = False
        self.all_there = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        for _ in range(self.count):
            began = time.monotonic()
            connection = socket.create_connection(ADDRESS, timeout=60)
            connection.setblocking(False)
            connection.send(self.first)
            self.open.append((connection, began))
        self.all_there.set()
        while self.open and not self.stop:
            for entry in list(self.open):
                try:
                    entry[0].send(b"a")
                    if entry[0].recv(1) == b"":
                        raise ConnectionResetError
                except BlockingIOError:
                    continue
                except OSError:
                    self.open.remove(entry)
                    self.ended.append(time.monotonic() - entry[1])
                    entry[0].close()
            time.sleep(0.25)


def trickling(token):
    before = [ask(token=token) for _ in range(20)]
    slow = Slow(SLOW, b"GET /healthz HTTP/1.1\r\nHost: t\r\nX-Slow: ")
    slow.thread.start()
    slow.all_there.wait(60)
    beside, late = [], []
    until = max(slow.began + 10, time.monotonic() + 3)
    # (a machine that is busy with something else gets more time; who waits for slow connections does so as long as they are)
    while time.monotonic() < until or (len(late) * 4 > len(beside) and time.monotonic() < slow.began + LIMIT_S - 5):
        beside.append(ask(token=token))
        late += [beside[-1]] if beside[-1][1] >= 1 else []
        time.sleep(0.1)
    say(all(status == 200 for status, _ in beside), f"{len(beside)} calls beside {SLOW} slow connections are answered", beside)
    say(len(late) * 4 <= len(beside), "within a second", late)
    worst = max(seconds for _, seconds in beside)
    print(f"#   slowest call: alone {max(s for _, s in before) * 1000:.1f} ms, beside them {worst * 1000:.1f} ms")
    slow.thread.join(2 * LIMIT_S)
    slow.stop = True
    say(not slow.open, f"none of them is left after {LIMIT_S} s", len(slow.open))
    say(slow.ended and min(slow.ended) > LIMIT_S - 2 and max(slow.ended) < 2 * LIMIT_S,
        "though octets kept arriving", (min(slow.ended, default=0), max(slow.ended, default=0)))


def flooding(token):
    """Many more than there are places, as fast as they can be opened."""
    flood = [Slow(500, b"POST /v1/events HTTP/1.1\r\nHost: t\r\nContent-Le") for _ in range(2)]
    for slow in flood:
        slow.thread.start()
    answers = []
    until, patience = time.monotonic() + 5, time.monotonic() + 60
    while time.monotonic() < until or (sum(len(slow.ended) for slow in flood) < 400 and time.monotonic() < patience):
        answers.append(ask(token=token))
    for slow in flood:
        slow.stop = True
        slow.thread.join()
        for connection, _ in slow.open:
            connection.close()
    say(all(status == 200 for status, _ in answers), f"{len(answers)} calls beside 1000 connections are answered")
    late = [seconds for _, seconds in answers if seconds >= 2]
    say(len(late) * 4 <= len(answers), "within two seconds", late)
    say(sum(len(slow.ended) for slow in flood) >= 400, "because the idlest made room", [len(s.ended) for s in flood])


def nonsense():
    chance = random.Random(63)
    words = [b"GET ", b"POST ", b"/v1/events", b" HTTP/1.1\r\n", b"Host: t\r\n", b"\r\n", b"Content-Length: ", b"99999999999999999999",
             b"Transfer-Encoding: chunked\r\n", b"\x00", b"\xff\xfe", b" ", b":", b"Expect: 100-continue\r\n", b"ffffffffffffffff\r\n", b"%00", b"?" * 300]
    for _ in range(400):
        text = b"".join(chance.choice(words) for _ in range(chance.randrange(1, 12)))
        with socket.create_connection(ADDRESS, timeout=60) as connection:
            connection.settimeout(2)
            try:
                connection.sendall(text)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
            except (TimeoutError, ConnectionError):
                pass
    say(ask("/healthz")[0] == 200, "after 400 requests that are none it answers")


def deep(token):
    for text in (b"[" * 500000, b'{"a":' * 150000, b"[" * 65 + b"]" * 65):
        status, _ = ask("/v1/captures", token, "POST", text)
        if status != 400:
            say(False, "JSON that nests too deep is 400", status)
            return
    say(True, "JSON that nests too deep is 400")


def main():
    token = sys.argv[1]
    trickling(token)
    flooding(token)
    nonsense()
    deep(token)
    sys.exit(failed)


if __name__ == "__main__":
    main()
