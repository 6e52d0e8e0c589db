#!/usr/bin/python3
"""UDP chatter.  usage: udp.py serve PORT | udp.py talk ADDRESS PORT SIZE...

serve sends every datagram back; talk sends one of each size and waits for its echo.
"""
import socket
import sys


def serve(port):
    server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.bind(("::", port))
    while True:
        data, peer = server.recvfrom(65535)
        server.sendto(data, peer)


def talk(address, port, sizes):
    client = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(30)
    client.connect((address, port))
    for number, size in enumerate(sizes):
        # No two alike, so that a lost one cannot hide behind a doubled one.
        data = (b"%d/%d " % (number, size) * (size // 4 + 1))[:size]
        client.send(data)
        if client.recv(65535) != data:
            sys.exit(f"udp.py: {size} octets to {address} came back changed")


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    elif len(sys.argv) > 4 and sys.argv[1] == "talk":
        talk(sys.argv[2], int(sys.argv[3]), [int(size) for size in sys.argv[4:]])
    else:
        sys.exit(__doc__)
