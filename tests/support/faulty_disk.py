"""A folder on a disk that can be made to fail or to hang: a file system in this program (FUSE's protocol, <linux/fuse.h>)
over another folder.

    disk = FaultyDisk("/where/it/is/seen", "/where/its/files/are")
    disk.fault("eio")    # everything that reads or changes files fails with EIO
    disk.fault("eio-folders")  # only what makes changes of folders last does
    disk.fault("hang")   # ... gets no answer until disk.fault("")
    disk.fault("eio-segments"), disk.fault("hang-segments")  # only what reads segments (*.zst)
    disk.fault("eio-page")  # only what reads octets 4096 to 8191 of one sealed segment, the first that it meets
    disk.close()

`why_not()` says why this machine has none; it takes /dev/fuse and the right to mount.
"""
import ctypes
import errno
import os
import select
import signal
import struct

ROOT_NODE = 1
EXCHANGE = 2  # of renameat2
BAD_PAGE = 4096
MAX_WRITE = 128 * 1024
NO_ANSWER = {2, 36, 42}  # FORGET, INTERRUPT, BATCH_FORGET
LOOKUP, GETATTR, SETATTR, MKDIR, UNLINK, RMDIR, RENAME, OPEN, READ, WRITE, STATFS, RELEASE, FSYNC = (
    1, 3, 4, 9, 10, 11, 12, 14, 15, 16, 17, 18, 20)
FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, FSYNCDIR, CREATE, RENAME2 = 25, 26, 27, 28, 29, 30, 35, 45
FAULTY = {SETATTR, MKDIR, UNLINK, RMDIR, RENAME, READ, WRITE, FSYNC, FSYNCDIR, CREATE, RENAME2}
LIBC = ctypes.CDLL(None, use_errno=True)


def why_not():
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as problem:
        return str(problem)
    return ""


def libc(name, *arguments):
    if getattr(LIBC, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), name)


class Nodes:
    """What the kernel asks for, done in the folder below.  A method for each operation: (node, body) -> answer."""

    def __init__(self, below):
        self.paths, self.numbers = {ROOT_NODE: below}, {below: ROOT_NODE}
        self.bad_inode = None  # of the file that "eio-page" is about
        self.open_of = {}  # node -> descriptor, for files that have no name any more

    def attributes(self, node):
        path = self.paths.get(node)
        st = os.lstat(path) if path is not None else os.fstat(self.open_of[node])
        return struct.pack("<6Q10I", node, st.st_size, st.st_blocks, int(st.st_atime), int(st.st_mtime), int(st.st_ctime), 0,
                           st.st_mtime_ns % 10**9, 0, st.st_mode, st.st_nlink, st.st_uid, st.st_gid, 0, 4096, 0)

    def below(self, node, name):
        return os.path.join(self.paths[node], os.fsdecode(name.split(b"\0")[0]))

    def entry(self, path):
        os.lstat(path)
        node = self.numbers.get(path)
        if node is None:
            node = max(self.paths) + 1
            self.paths[node], self.numbers[path] = path, node
        return struct.pack("<4QII", node, 0, 0, 0, 0, 0) + self.attributes(node)

    def lost_name(self, path):
        node = self.numbers.pop(path, None)
        if node is not None:
            self.paths[node] = None

    def init(self, _node, body):
        _major, _minor, ahead, _flags = struct.unpack_from("<4I", body)
        return struct.pack("<4IHHIIHHII", 7, 31, ahead, 0, 16, 12, MAX_WRITE, 1, 0, 0, 0, 0) + bytes(24)

    def lookup(self, node, body):
        return self.entry(self.below(node, body))

    def getattr(self, node, _body):
        return struct.pack("<QII", 0, 0, 0) + self.attributes(node)

    def setattr(self, node, body):
        valid, _, _, size = struct.unpack_from("<IIQQ", body)
        where = self.paths.get(node) or self.open_of[node]
        if valid & 1:
            os.chmod(where, struct.unpack_from("<I", body, 68)[0] & 0o7777)
        if valid & 8:
            os.truncate(where, size)
        return self.getattr(node, body)

    def mkdir(self, node, body):
        path = self.below(node, body[8:])
        os.mkdir(path, struct.unpack_from("<I", body)[0] & 0o7777)
        return self.entry(path)

    def unlink(self, node, body):
        path = self.below(node, body)
        os.unlink(path)
        self.lost_name(path)
        return b""

    def rmdir(self, node, body):
        path = self.below(node, body)
        os.rmdir(path)
        self.lost_name(path)
        return b""

    def rename(self, node, body, flags=0):
        old, new = body[8:].split(b"\0")[:2]
        old, new = self.below(node, old), self.below(struct.unpack_from("<Q", body)[0], new)
        libc("renameat2", -100, os.fsencode(old), -100, os.fsencode(new), flags)
        if flags & EXCHANGE:
            one, other = self.numbers.pop(old, None), self.numbers.pop(new, None)
            for node, path in ((one, new), (other, old)):
                if node is not None:
                    self.paths[node], self.numbers[path] = path, node
            return b""
        self.lost_name(new)
        moved = self.numbers.pop(old, None)
        if moved is not None:
            self.paths[moved], self.numbers[new] = new, moved
        return b""

    def rename2(self, node, body):
        return self.rename(node, body[:8] + body[16:], struct.unpack_from("<I", body, 8)[0])

    def opened(self, node, flags, mode=0):
        fd = os.open(self.paths[node], (flags & ~(os.O_EXCL | os.O_APPEND)) | os.O_CLOEXEC, mode)
        self.open_of[node] = fd
        return struct.pack("<QII", fd, 0, 0)

    def open(self, node, body):
        return self.opened(node, struct.unpack_from("<I", body)[0] & ~os.O_CREAT)

    opendir = open

    def create(self, node, body):
        flags, mode = struct.unpack_from("<II", body)
        path = self.below(node, body[16:])
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC | (flags & os.O_EXCL), mode & 0o7777))
        entry = self.entry(path)
        return entry + self.opened(self.numbers[path], flags & ~os.O_CREAT)

    def read(self, _node, body):
        fd, at, size = struct.unpack_from("<QQI", body)
        return os.pread(fd, size, at)

    def write(self, _node, body):
        fd, at, size = struct.unpack_from("<QQI", body)
        return struct.pack("<II", os.pwrite(fd, body[40:40 + size], at), 0)

    def fsync(self, _node, body):
        os.fsync(struct.unpack_from("<Q", body)[0])
        return b""

    fsyncdir = fsync

    def flush(self, _node, _body):
        return b""

    def release(self, node, body):
        fd = struct.unpack_from("<Q", body)[0]
        os.close(fd)
        if self.open_of.get(node) == fd:
            del self.open_of[node]
        return b""

    releasedir = release

    def readdir(self, node, body):
        _fd, at, size = struct.unpack_from("<QQI", body)
        out = b""
        for i, name in enumerate([".", "..", *sorted(os.listdir(self.paths[node]))]):
            raw = os.fsencode(name)
            one = struct.pack("<QQII", 1, i + 1, len(raw), 0) + raw
            one += bytes(-len(one) % 8)
            if i >= at and len(out) + len(one) <= size:
                out += one
            elif i >= at:
                break
        return out

    def statfs(self, node, _body):
        st = os.statvfs(self.paths[node])
        return struct.pack("<5Q4I", st.f_blocks, st.f_bfree, st.f_bavail, st.f_files, st.f_ffree, st.f_bsize, 255, st.f_frsize,
                           0) + bytes(24)

    DONE_BY = {LOOKUP: lookup, GETATTR: getattr, SETATTR: setattr, MKDIR: mkdir, UNLINK: unlink, RMDIR: rmdir, RENAME: rename,
               OPEN: open, READ: read, WRITE: write, STATFS: statfs, RELEASE: release, FSYNC: fsync, FLUSH: flush, INIT: init,
               OPENDIR: opendir, READDIR: readdir, RELEASEDIR: releasedir, FSYNCDIR: fsyncdir, CREATE: create, RENAME2: rename2}


def is_hit(fault, kind, operation, path):
    """Whether this request meets the fault, if it is of that kind ("eio", "hang")."""
    if fault == f"{kind}-segments":
        return operation == READ and (path or "").endswith(".zst")
    return (fault == kind and operation in FAULTY) or (fault == f"{kind}-folders" and operation == FSYNCDIR)


def meets_bad_page(nodes, node, operation, body):
    path = nodes.paths.get(node) or ""
    if operation != READ or not path.endswith(".zst") or os.path.basename(path).startswith("."):
        return False
    _fd, at, size = struct.unpack_from("<QQI", body)
    if at >= 2 * BAD_PAGE or at + size <= BAD_PAGE or os.stat(path).st_size <= BAD_PAGE:
        return False
    nodes.bad_inode = nodes.bad_inode or os.stat(path).st_ino
    return os.stat(path).st_ino == nodes.bad_inode


def serve(kernel, orders, below):
    """Until the file system is gone or nobody gives orders any more."""
    nodes, fault, waiting = Nodes(below), "", []
    while True:
        ready, _, _ = select.select([kernel, orders], [], [])
        if orders in ready:
            order = os.read(orders, 16).decode()
            if not order:
                return
            fault = order.strip()
            again, waiting = waiting, []
        else:
            again = []
            try:
                again.append(os.read(kernel, MAX_WRITE + (1 << 16)))
            except OSError as problem:
                if problem.errno == errno.ENODEV:
                    return
        for request in again:
            _, operation, unique, node = struct.unpack_from("<IIQQ", request)
            if operation in NO_ANSWER:
                continue
            if is_hit(fault, "hang", operation, nodes.paths.get(node)):
                waiting.append(request)
                continue
            error, answer = 0, b""
            try:
                if is_hit(fault, "eio", operation, nodes.paths.get(node)) or (
                        fault == "eio-page" and meets_bad_page(nodes, node, operation, request[40:])):
                    raise OSError(errno.EIO, "as ordered")
                if operation not in Nodes.DONE_BY:
                    raise OSError(errno.ENOSYS, "unknown")
                answer = Nodes.DONE_BY[operation](nodes, node, request[40:])
            except OSError as problem:
                error = -problem.errno
            try:
                os.write(kernel, struct.pack("<IiQ", 16 + len(answer), error, unique) + answer)
            except OSError as problem:
                if problem.errno != errno.ENOENT:  # (who asked has been killed)
                    raise


class FaultyDisk:
    def __init__(self, seen, below):
        kernel = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        libc("mount", b"faulty", os.fsencode(seen), b"fuse", 0,
             b"fd=%d,rootmode=40000,user_id=%d,group_id=%d,allow_other" % (kernel, os.getuid(), os.getgid()))
        self.seen = seen
        taken, self.orders = os.pipe()
        self.server = os.fork()
        if self.server == 0:
            status = 1
            try:
                os.close(self.orders)
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                serve(kernel, taken, below)
                status = 0
            finally:
                os._exit(status)
        os.close(kernel)
        os.close(taken)

    def fault(self, kind):
        os.write(self.orders, f"{kind:15}\n".encode())

    def close(self):
        self.fault("")
        libc("umount2", os.fsencode(self.seen), 2)  # MNT_DETACH
        os.close(self.orders)
        os.waitpid(self.server, 0)
