#!/usr/bin/python3
"""Run a program for which setgroups(2) succeeds without doing anything.  usage: setgroups-ok.py PROGRAM ARG...

Debian's tcpdump insists on changing its groups when it runs as root, also to root (-Z root).  In a user
namespace made by an ordinary user that call is forbidden, and tcpdump gives up.
"""
import ctypes
import os
import platform
import struct
import sys

SETGROUPS = {"x86_64": 116, "aarch64": 159}
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
RETURN_ERRNO, RETURN_ALLOW = 0x00050000, 0x7FFF0000
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06


def main():
    number = SETGROUPS[platform.machine()]
    program = [
        (LOAD_WORD, 0, 0, 0),  # the number of the system call
        (JUMP_IF_EQUAL, 0, 1, number),
        (RETURN, 0, 0, RETURN_ERRNO | 0),  # no call, and no error
        (RETURN, 0, 0, RETURN_ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]

    libc = ctypes.CDLL(None, use_errno=True)
    wanted = Program(len(program), ctypes.addressof(code))
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(wanted), 0, 0) != 0:
        sys.exit(f"setgroups-ok.py: {os.strerror(ctypes.get_errno())}")
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
