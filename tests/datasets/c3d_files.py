"""Writes C3D files after "The C3D File Format User Guide" (c3d.org): three processors, real or integer points."""

import struct

import numpy as np

PROCESSORS = {"intel": 84, "dec": 85, "sgi": 86}


def write_c3d(
    points_TM3,
    labels,
    *,
    seen_TM=None,
    rate=100.0,
    units="mm",
    processor="intel",
    scale=-1.0,
    axes=None,
    subjects=(),
    first=1,
    analog=0,
    counts=("TRIAL", "FRAMES"),
    trial=None,
) -> bytes:
    """Points in the file's units; a positive ``scale`` writes integers that are so many units each.

    ``analog`` is the number of analog samples that follow the points of each frame. The number of frames stands in the
    header, and in these ``counts`` (LONG_FRAMES too); ``trial`` gives TRIAL's first and last frame where they differ.
    """
    num_frames, num_points = points_TM3.shape[:2]
    seen_TM = np.ones((num_frames, num_points), bool) if seen_TM is None else seen_TM
    last = first + num_frames - 1
    little = processor != "sgi"

    def int16(value):
        return struct.pack("<H" if little else ">H", value)

    def real(values):
        return real_bytes(np.asarray(values), processor)

    def text(words):
        width = max(map(len, words), default=0)
        return -1, (width, len(words)), "".join(word.ljust(width) for word in words).encode()

    point: dict[str, tuple[int, tuple[int, ...], bytes]]
    point = {"USED": (2, (), int16(num_points)), "SCALE": (4, (), real([scale])), "RATE": (4, (), real([rate]))}
    point["DATA_START"] = 2, (), int16(0)
    point |= {"FRAMES": (2, (), int16(min(num_frames, 65535)))} if "FRAMES" in counts else {}
    point |= {"LONG_FRAMES": (4, (), real([num_frames]))} if "LONG_FRAMES" in counts else {}
    point |= {
        f"LABELS{n + 1 if n else ''}": text(labels[255 * n : 255 * n + 255]) for n in range(-(-len(labels) // 255))
    }
    if units:
        point["UNITS"] = -1, (len(units),), units.encode()
    if axes:
        point |= {"X_SCREEN": (-1, (2,), axes[0].encode()), "Y_SCREEN": (-1, (2,), axes[1].encode())}
    field = {
        name: (2, (2,), int16(at & 0xFFFF) + int16(at >> 16))
        for name, at in zip(("ACTUAL_START_FIELD", "ACTUAL_END_FIELD"), trial or (first, last), strict=True)
    }
    groups = {"POINT": point, "ANALOG": {"USED": (2, (), int16(analog)), "RATE": (4, (), real([rate]))}}
    groups |= {"TRIAL": field} if "TRIAL" in counts else {}
    if subjects:
        groups["SUBJECTS"] = {"USED": (2, (), int16(len(subjects))), "NAMES": text(subjects)}

    def parameters(start):
        block = b""
        point["DATA_START"] = 2, (), int16(start)
        for number, (group, members) in enumerate(groups.items(), start=1):
            block += entry(group, -number, b"\0", int16)
            for name, (size, dims, data) in members.items():
                body = struct.pack("bB", size, len(dims)) + bytes(dims) + data + b"\0"
                block += entry(name, number, body, int16)
        return block + b"\0\0"

    blocks = -(-(4 + len(parameters(0))) // 512)
    start = 2 + blocks
    header = (
        b"\x02\x50" + b"".join(map(int16, (num_points, analog, min(first, 65535), min(last, 65535), 0))) + real([scale])
    )
    header += int16(start) + int16(1 if analog else 0) + real([rate])
    section = bytes([1, 0x50, blocks, PROCESSORS[processor]]) + parameters(start)
    data_TM4 = np.concatenate([points_TM3, np.where(seen_TM, 0.0, -1.0)[..., None]], axis=-1)
    if scale > 0:
        data_TM4[..., :3] = np.round(data_TM4[..., :3] / scale)
    words_TW = np.concatenate([data_TM4.reshape(num_frames, -1), np.full((num_frames, analog), 7.0)], axis=1)
    data = real(words_TW) if scale < 0 else words_TW.astype("<i2" if little else ">i2").tobytes()
    return header.ljust(512, b"\0") + section.ljust(512 * blocks, b"\0") + data + b"\0" * (-len(data) % 512)


def entry(name, number, body, int16) -> bytes:
    return struct.pack("bb", len(name), number) + name.encode() + int16(2 + len(body)) + body


def real_bytes(values, processor) -> bytes:
    if processor == "sgi":
        return values.astype(">f4").tobytes()
    if processor == "intel":
        return values.astype("<f4").tobytes()
    # A DEC real has an exponent greater by 2 than IEEE's, and its two 16-bit words exchanged.
    return (values.astype("<f4") * np.float32(4)).view("<u2").reshape(-1, 2)[:, ::-1].tobytes()
