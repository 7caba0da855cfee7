"""Files as accidents and enemies leave them: bytes changed, lost or doubled, and values that nobody expects.

Packed files are damaged inside as well, since damage outside seldom comes through the check sums.
"""

import gzip
import io
import re
import struct
import warnings
import zipfile
import zlib
from random import Random

HOSTILE = (
    b"nan", b"inf", b"-inf", b"NaN", b"Infinity", b"1e308", b"-1e308", b"1e400", b"1e39", b"-1", b"0", b"1e-320",
    b"2147483648", b"4294967295", b"9223372036854775808", b"99999999999999999999", b"1" * 5000, b"1e18", b"true",
    b"null", b'""', b"[]", b"{}", b'"x"', b"[[]]", b'"\\ud800"', b"\xd9\xa3", b"1_0", b"0x10", b"--1", b'"\\u0000"',
    b"\xc2\xa0", b"1e7", b"2.5",
)  # fmt: skip
TYPES = (b"<f8", b"|O", b"<U8", b"|S4", b"<i8", b"|b1", b"<c16", b"<M8[s]", b"|V8", b"<f2", b"<U0", b">f4")
SHAPES = (b"()", b"(0,)", b"(1,)", b"(2, 3)", b"(1000000000000,)", b"(-1,)", b"(0, 1000000000000)", b"(3, 0, 3)")
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:e-?\d+)?")
_WORD = re.compile(rb'"[^"\n]{1,40}"|[A-Za-z_]{2,30}')
_MATLAB_HEADER = 128
_MATLAB_COMPRESSED = 15


def damaged(content: bytes, random: Random) -> bytes:
    """Return the content with one to six damages, inside of what is packed or outside."""
    inside = random.random() < 0.75
    if inside and content.startswith(b"PK"):
        return _repacked_zip(content, random)
    if inside and content.startswith(b"\x1f\x8b"):
        return gzip.compress(_damaged(gzip.decompress(content), random), 1)
    if inside and content.startswith(b"MATLAB 5"):
        return _repacked_matlab(content, random)
    return _damaged(content, random)


def _damaged(content: bytes, random: Random) -> bytes:
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        content = random.choice(_KINDS)(content or b" ", random)
    return content


def _repacked_zip(content: bytes, random: Random) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(packed, "w") as new, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        target = random.choice(old.namelist())
        for name in old.namelist():
            as_name = random.choice(old.namelist()) if name == target and random.random() < 0.05 else name
            new.writestr(as_name, _damaged_array(old.read(name), random) if name == target else old.read(name))
    return packed.getvalue()


def _damaged_array(content: bytes, random: Random) -> bytes:
    """Another type or shape in the header of a ``.npy``, or bytes changed anywhere."""
    if random.random() < 0.5 or content[6:8] != b"\x01\x00":
        return _damaged(content, random)
    key, values = random.choice(((rb"'descr': *'[^']*'", TYPES), (rb"'shape': *\([^)]*\)", SHAPES)))
    value = random.choice(values)
    new = key[:8] + b": " + (b"'" + value + b"'" if values is TYPES else value)
    changed = re.sub(key, new, content, count=1)
    header = struct.unpack_from("<H", content, 8)[0] + len(changed) - len(content)
    return changed[:8] + struct.pack("<H", header) + changed[10:]


def _repacked_matlab(content: bytes, random: Random) -> bytes:
    parts, at = [], _MATLAB_HEADER
    while at + 8 <= len(content):
        kind, size = struct.unpack_from("<II", content, at)
        part = content[at : at + 8 + size]
        parts.append(zlib.decompress(part[8:]) if kind == _MATLAB_COMPRESSED else part)
        at += 8 + size
    target = random.randrange(len(parts))
    parts[target] = _damaged(parts[target], random)
    return content[:_MATLAB_HEADER] + b"".join(_squeezed(each) if random.random() < 0.5 else each for each in parts)


def _squeezed(part: bytes) -> bytes:
    packed = zlib.compress(part)
    return struct.pack("<II", _MATLAB_COMPRESSED, len(packed)) + packed


def _place(content: bytes, random: Random) -> tuple[int, int]:
    """A piece of the content, half of them near the beginning, where headers are."""
    reach = min(len(content), random.choice((64, 400, 3000))) if random.random() < 0.5 else len(content)
    start = random.randrange(reach)
    return start, min(len(content), start + random.choice((1, 1, 2, 4, 8, 30, 300)))


def _flip(content: bytes, random: Random) -> bytes:
    at = _place(content, random)[0]
    return content[:at] + bytes([content[at] ^ 1 << random.randrange(8)]) + content[at + 1 :]


def _overwrite(content: bytes, random: Random) -> bytes:
    start, end = _place(content, random)
    filling = random.choice(
        (random.randbytes(end - start), *(bytes([byte]) * (end - start) for byte in b"\0\1\x7f\xff"))
    )
    return content[:start] + filling + content[end:]


def _insert(content: bytes, random: Random) -> bytes:
    start, end = _place(content, random)
    return content[:start] + random.randbytes(end - start) + content[start:]


def _delete(content: bytes, random: Random) -> bytes:
    start, end = _place(content, random)
    return content[:start] + content[end:]


def _cut(content: bytes, random: Random) -> bytes:
    return content[: random.randrange(len(content))]


def _repeat(content: bytes, random: Random) -> bytes:
    start, end = _place(content, random)
    return content[:start] + content[start:end] * random.choice((2, 3, 50)) + content[end:]


def _number(content: bytes, random: Random) -> bytes:
    found = list(_NUMBER.finditer(content, 0, random.choice((500, len(content)))))
    return _replaced(content, random.choice(found).span(), random.choice(HOSTILE)) if found else content


def _word(content: bytes, random: Random) -> bytes:
    found = list(_WORD.finditer(content))
    if not found:
        return content
    other = random.choice((random.choice(found).group(), b"", b'""', b'"\\ud800"', b"\xff", b"null", b'"a\\nb"'))
    return _replaced(content, random.choice(found).span(), other)


def _lines(content: bytes, random: Random) -> bytes:
    lines = content.split(b"\n")
    one, other = random.randrange(len(lines)), random.randrange(len(lines))
    lines[one], lines[other] = lines[other], random.choice((lines[one], lines[other], b""))
    return b"\n".join(lines)


def _branch(content: bytes, random: Random) -> bytes:
    """Something else in place of a whole list or object of JSON."""
    starts = [place.start() for place in re.finditer(rb"[\[{]", content)]
    start = random.choice(starts) if starts else 0
    depth = 0
    for end in range(start, min(len(content), start + 20_000)):
        depth += (content[end] in b"[{") - (content[end] in b"]}")
        if depth == 0:
            return _replaced(content, (start, end + 1), random.choice(HOSTILE))
    return content


def _replaced(content: bytes, span: tuple[int, int], new: bytes) -> bytes:
    return content[: span[0]] + new + content[span[1] :]


_KINDS = (
    _flip,
    _overwrite,
    _overwrite,
    _insert,
    _delete,
    _cut,
    _repeat,
    _number,
    _number,
    _number,
    _word,
    _lines,
    _branch,
)
