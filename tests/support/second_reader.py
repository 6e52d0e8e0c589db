#!/usr/bin/python3
"""A second reader of segments, written from src/segment/FORMAT.md alone: it shares nothing with the C one.

usage: second_reader.py check FILE...    a line per file; exit status 1 if one is not as FORMAT.md says
       second_reader.py frames FILE...   "time_ns interface captured original hex" of each packet, on stdout

check enters at each chunk alone, and holds index, markers and SHA-256 against a decoding of the whole file.
"""
import hashlib
import struct
import sys

import zstandard

FRAME_HEADER = bytes.fromhex("28b52ffd0050")
LAST_BLOCK = bytes.fromhex("010000")
RESET_BLOCKS = bytes.fromhex("3c00000001540003090b" "3c000000015400020907" "3c000000015400020904")
MARKER_TYPE, INDEX_TYPE = 0x80746201, 0x80746202
SECTION, INTERFACE, STATISTICS, PACKET = 0x0A0D0D0A, 1, 5, 6
PIECE = 131072
LEDGER = struct.Struct("<14Q")
MARKER = struct.Struct("<II4sHHIIqqQIIIb3s112s8s44xI")
INDEX_HEAD = struct.Struct("<II4sHHIIIIQ")
ENTRY = struct.Struct("<QQIIqqb7x32s112s")
TRAILER = struct.Struct("<4sIQ4x32sI")


class Wrong(Exception):
    pass


def need(truth, text):
    if not truth:
        raise Wrong(text)


def raw_header(size):
    return struct.pack("<I", size << 3)[:3]


def read_index(data):
    need(data[:6] == FRAME_HEADER, "frame header")
    need(len(data) > 59 and data[-3:] == LAST_BLOCK, "last block")
    magic, length, offset, digest, again = TRAILER.unpack(data[-59:-3])
    need(magic == b"TBIE" and length == again, "trailer")
    pieces = -(-length // PIECE)
    need(offset + length + 3 * pieces + 3 == len(data), "where the trailer says the index is")
    block, at = b"", offset
    for i in range(pieces):
        size = length - (pieces - 1) * PIECE if i == 0 else PIECE
        need(data[at : at + 3] == raw_header(size), f"header of the index's raw block {i}")
        block += data[at + 3 : at + 3 + size]
        at += 3 + size
    need(hashlib.sha256(block[:-36]).digest() == digest, "SHA-256 of the index")
    kind, total, magic, version, fields, flags, count, size, extension, place = INDEX_HEAD.unpack(block[:40])
    need((kind, total, magic, version, fields, place) == (INDEX_TYPE, length, b"TBIX", 1, 14, offset), "index head")
    need(length == 40 + count * size + extension + 56 and 0 < count <= 32768 and size >= 192, "sizes in the index")
    entries, at = [], 0
    for i in range(count):
        entry = ENTRY.unpack(block[40 + i * size :][:192])
        need(entry[0] == at, f"offset of chunk {i}")
        at += entry[1]
        entries.append(entry)
    need(at == offset, "the end of the last chunk")
    return entries, block, flags & 1 == 1


def read_keys(block):
    """Of each chunk (host keys, flow keys), either None where the file does not say; None without a KEYS part."""
    count, size, extension = struct.unpack_from("<III", block, 20)
    at = 40 + count * size
    end = at + extension
    while at < end:
        kind, length = struct.unpack_from("<4sI", block, at)
        at += 8
        need(length % 4 == 0 and at + length <= end, "a part of the extension")
        if kind == b"KEYS":
            break
        at += length
    else:
        return None
    part, chunks, at = block[at : at + length], [], 0
    for number in range(count):
        counts = struct.unpack_from("<HH", part, at)
        at += 4
        sets = []
        for n in counts:
            keys = None if n == 65535 else struct.unpack_from(f"<{n}I", part, at)
            need(keys is None or list(keys) == sorted(set(keys)), f"order of the keys of chunk {number}")
            at += 4 * len(keys or ())
            sets.append(keys)
        chunks.append(sets)
    need(at == len(part), "the end of the keys")
    return chunks


def mix(words):
    h = 0x9E3779B97F4A7C15
    for word in words:
        h = (h ^ word) * 0xFF51AFD7ED558CCD % (1 << 64)
        h ^= h >> 32
    return h & 0xFFFFFFFF


def ends_of(frame):
    """(source, source port), (destination, destination port), protocol; None when the frame has no keys."""
    at, tags = 12, 0
    while tags < 3 and frame[at : at + 2] in (b"\x81\0", b"\x88\xa8", b"\x91\0"):
        at, tags = at + 4, tags + 1
    kind, ip = frame[at : at + 2], frame[at + 2 :]
    behind, whole = b"", False
    if kind == b"\x08\0" and len(ip) >= 20 and ip[0] >> 4 == 4:
        ends = [bytes(10) + b"\xff\xff" + ip[i : i + 4] for i in (12, 16)]
        protocol, header = ip[9], 4 * (ip[0] & 15)
        whole = struct.unpack_from(">H", ip, 6)[0] & 0x3FFF == 0 and 20 <= header <= len(ip)
        behind = ip[header:]
    elif kind == b"\x86\xdd" and len(ip) >= 40 and ip[0] >> 4 == 6:
        ends, protocol, at, whole = [ip[8:24], ip[24:40]], ip[6], 40, True
        for _ in range(8):
            if protocol not in (0, 43, 44, 60):
                break
            if len(ip) < at + 8:
                whole = False
                break
            length = 8 if protocol == 44 else 8 + 8 * ip[at + 1]
            fragment = protocol == 44 and struct.unpack_from(">H", ip, at + 2)[0] & 0xFFF9
            protocol = ip[at]
            at += length
            if fragment or at > len(ip):
                whole = False
                break
        behind = ip[at:]
    else:
        return None
    ports = (0, 0)
    if whole and protocol in (6, 17, 33, 132, 136) and len(behind) >= 4:
        ports = struct.unpack_from(">HH", behind)
    return (ends[0], ports[0]), (ends[1], ports[1]), protocol


def words_of(address):
    return struct.unpack("<QQ", address)


def keys_of(frame_list):
    hosts, flows = set(), set()
    for frame in frame_list:
        ends = ends_of(frame)
        if ends:
            hosts |= {mix(words_of(end[0])) for end in ends[:2]}
            low, high = sorted(ends[:2])
            flows.add(mix(words_of(low[0]) + words_of(high[0]) + (low[1] | high[1] << 16 | ends[2] << 32,)))
    return hosts, flows


def check_keys(chunks, number, plain):
    """What the index says of a chunk against all of its packets; where it says nothing there have to be many."""
    for said, true, most in zip(chunks[number], keys_of([p[4] for p in packets_of(plain)]), (512, 1024)):
        if said is None:
            need(len(true) > most or sum(4 * len(s or ()) for c in chunks for s in c) > (256 << 10) - 4 * most,
                 f"no keys of chunk {number}, which has only {len(true)}")
        else:
            need(set(said) == true and len(said) <= most, f"keys of chunk {number}")


def read_chunk(data, number, entry):
    """One chunk alone: its marker's fields and its pcapng blocks."""
    offset, length, plain_len, packets, first, last, level, digest, ledger = entry
    octets = data[offset : offset + length]
    need(hashlib.sha256(octets).digest() == digest, f"SHA-256 of chunk {number}")
    if number == 0:
        body, marker = octets[6:-235], octets[-232:]
        need(octets[-235:-232] == raw_header(232), "raw block of the first marker")
    else:
        need(octets[:3] == raw_header(192) and octets[195:225] == RESET_BLOCKS, f"reset blocks of chunk {number}")
        need(octets[225:228] == raw_header(4), f"second raw block of marker {number}")
        body, marker = octets[232:], octets[3:195] + bytes(36) + octets[228:232]
    said = MARKER.unpack(marker)
    need(said[:5] == (MARKER_TYPE, 232, b"TBCK", 1, 14) and said[-1] == 232, f"marker {number}")
    need(said[5:10] == (number, packets, first, last, offset), f"marker {number} against the index")
    need(said[10] == len(body) and said[11] == plain_len and said[15] == ledger, f"lengths in marker {number}")
    need(said[13] == level and -5 <= level <= 19 and level != 0, f"level of chunk {number}")
    need(hashlib.sha256(marker[:176]).digest()[:8] == said[16] and said[14] == bytes(3), f"digest of marker {number}")
    frame = FRAME_HEADER[:4] + b"\x04\x50" + body + LAST_BLOCK + marker[56:60]
    plain = zstandard.ZstdDecompressor().decompress(frame, max_output_size=plain_len)
    need(len(plain) == plain_len, f"plain octets of chunk {number}")
    return marker, plain


def blocks(octets):
    at = 0
    while at < len(octets):
        kind, size = struct.unpack_from("<II", octets, at)
        need(size >= 12 and size % 4 == 0 and at + size <= len(octets), f"pcapng block at {at}")
        need(struct.unpack_from("<I", octets, at + size - 4)[0] == size, f"end of the pcapng block at {at}")
        yield kind, octets[at + 8 : at + size - 4]
        at += size


def packets_of(octets):
    for kind, body in blocks(octets):
        if kind == PACKET:
            interface, high, low, captured, original = struct.unpack_from("<IIIII", body)
            need(captured <= original and 20 + captured <= len(body), "a packet's lengths")
            yield high << 32 | low, interface, captured, original, body[20 : 20 + captured]


def check_options(body, fixed, kind):
    at = fixed
    while True:
        need(at + 4 <= len(body), f"opt_endofopt of a block of type {kind:#x}")
        code, size = struct.unpack_from("<HH", body, at)
        if code == 0:
            need(size == 0 and at + 4 == len(body), f"opt_endofopt of a block of type {kind:#x}")
            return
        at += 4 + (size + 3) // 4 * 4


def check_blocks(number, plain, interfaces):
    """The blocks of one chunk; returns how many interfaces there are after it."""
    for i, (kind, body) in enumerate(blocks(plain)):
        need((kind == SECTION) == (number == 0 and i == 0), f"section header in chunk {number}")
        if kind == SECTION:
            need(body[:16] == struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1), "section header")
            check_options(body, 16, kind)
        elif kind == INTERFACE:
            need(number == 0 and body[:4] == b"\x01\0\0\0", f"an interface in chunk {number}")
            check_options(body, 8, kind)
            interfaces += 1
        elif kind == PACKET:
            captured = struct.unpack_from("<I", body, 12)[0]
            need(struct.unpack_from("<I", body)[0] < interfaces, f"interface of a packet in chunk {number}")
            check_options(body, 20 + (captured + 3) // 4 * 4, kind)
        else:
            need(kind == STATISTICS, f"type {kind:#x} in chunk {number}")
            check_options(body, 12, kind)
    return interfaces


def check(data):
    entries, index, recovered = read_index(data)
    total, interfaces, ledger = 0, 0, None
    keys = read_keys(index)
    need(keys is not None, "the index has no keys")
    whole = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    at = 0
    for number, entry in enumerate(entries):
        marker, plain = read_chunk(data, number, entry)
        # What the whole file decompresses to is what the chunks do, each entered alone.
        for piece in (plain, marker) if number == 0 else (marker, plain):
            need(whole[at : at + len(piece)] == piece, f"chunk {number} in the whole file")
            at += len(piece)
        interfaces = check_blocks(number, plain, interfaces)
        times = [packet[0] for packet in packets_of(plain)]
        need(entry[3] == len(times), f"packets of chunk {number}: {entry[3]} in the index, {len(times)} in it")
        need(entry[4:6] == ((min(times), max(times)) if times else (0, 0)), f"times of chunk {number}")
        total += len(times)
        check_keys(keys, number, plain)
        ledger = LEDGER.unpack(entry[8])
        need(ledger[0] == sum(ledger[1:12]), f"ledger of chunk {number} does not balance")
    need(whole[at:] == index, "the index in the whole file")
    return (
        f"{len(entries)} chunks, {total} packets, {interfaces} interfaces, {len(whole)} octets"
        f"{', recovered' if recovered else ''}"
    )


def main():
    if len(sys.argv) < 3 or sys.argv[1] not in ("check", "frames"):
        sys.exit(__doc__)
    status = 0
    for path in sys.argv[2:]:
        with open(path, "rb") as file:
            data = file.read()
        try:
            if sys.argv[1] == "check":
                print(f"{path}: {check(data)}")
            else:
                for number, entry in enumerate(read_index(data)[0]):
                    for time, interface, captured, original, frame in packets_of(read_chunk(data, number, entry)[1]):
                        print(time, interface, captured, original, frame.hex())
        except (Wrong, zstandard.ZstdError, struct.error) as wrong:
            print(f"{path}: WRONG: {wrong}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
