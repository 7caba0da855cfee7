"""Northwestern-UCLA Multiview Action 3D in the layout that skeleton models use: one JSON object per clip.

``{"file_name": "a01_s01_e00_v01", "skeletons": T x 20 x 3, "label": 1 to 10}``: joints of a Kinect v1 in Microsoft's
order, metres, camera space, Y up. The name states action, person, repetition (episode) and view; there is no a07 and no
a10, so the label is not the action's number. The authors left out some frames without stating which, so the rate is
nominal. Clips have 1 to 201 frames.

The published protocol trains on two views and tests on the third. It leaks: 95 clips of a02 occur twice, under
different views. This project always holds out people and not views; duplicates are found by their content.

Shapes: T frames, K = 20 joints, J = 17 joints.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

import numpy as np

from datasets.files import head, read_bytes
from datasets.joints.kinect import V1_JOINTS, V1_TO_H36M17
from datasets.joints.tables import to_canonical
from datasets.sequences import File, MotionSequence, Recording, RecordingError, Source
from motion_encoder.shapes import Float

FPS = 30.0
ACTIONS = {
    1: "pick up with one hand", 2: "pick up with two hands", 3: "drop trash", 4: "walk around", 5: "sit down",
    6: "stand up", 8: "donning", 9: "doffing", 11: "throw", 12: "carry",
}  # fmt: skip
"""Names of the actions by the number in the clip's name."""
NW_UCLA = Source(
    name="nw_ucla",
    kind="action",
    licence_note="academic research; ask its makers",
    url="https://wangjiangb.github.io/my_data.html",
    labels=tuple(ACTIONS.values()),
)
SOURCES = (NW_UCLA,)
MAX_BYTES = 64 * 2**20
_CLIP = re.compile(r"a(?P<action>\d\d)_s(?P<person>\d\d)_e\d\d_(?P<view>v\d\d)", re.IGNORECASE)


class NwUclaReader:
    """Reads JSON files of one clip each."""

    name = "nw_ucla"

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim JSON objects that name a clip of the data set and contain skeletons."""
        return [
            Recording(path=file.path, reader=self.name, source=NW_UCLA, size=file.size)
            for file in files
            if looks_like_a_clip(file.path, head(file))
        ]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield the sequence of a clip."""
        joints_TK3, clip = _contents(recording.path)
        action = int(clip["action"])
        if action not in ACTIONS:
            raise _error(recording.path, "name", f"an action among {list(ACTIONS)}", f"a{action:02d}")
        positions_TJ3, confidence_TJ = to_canonical(V1_TO_H36M17, joints_TK3, np.ones(joints_TK3.shape[:2]))
        yield MotionSequence(
            source=NW_UCLA,
            sequence_id=clip.group().lower(),
            subject=f"nw_ucla/s{clip['person']}",
            action=ACTIONS[action],
            label=list(ACTIONS).index(action),
            view=clip["view"].lower(),
            fps=FPS,
            keypoints_3d_TJC=positions_TJ3,
            confidence_TJ=confidence_TJ,
            repairs=(f"frame times not stated, some frames left out by the makers: {FPS:g} Hz assumed",),
        )


READER = NwUclaReader()


def looks_like_a_clip(path: str, start: bytes) -> bool:
    """Tell whether a file begins like a clip: an object with skeletons and a name of the data set's form."""
    if re.match(rb"\s*\{", start) is None or b'"skeletons"' not in start:
        return False
    named = re.search(rb'"file_name"\s*:\s*"([^"]*)"', start)
    return _CLIP.fullmatch(named[1].decode("latin-1") if named else PurePosixPath(path).stem) is not None


def _contents(path: str) -> tuple[Float[np.ndarray, "T 20 3"], re.Match[str]]:
    content = read_bytes(path, first=MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise _error(path, "size", f"a clip of at most {MAX_BYTES:,} bytes", "more")
    try:
        clip = json.loads(content)
        joints_TK3 = np.array(clip["skeletons"], dtype=np.float64)
        name = _CLIP.fullmatch(str(clip.get("file_name", PurePosixPath(path).stem)))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise _error(path, "JSON", "an object with skeletons", f"{type(error).__name__}: {error}"[:120]) from error
    if joints_TK3.ndim != 3 or joints_TK3.shape[1:] != (len(V1_JOINTS), 3):
        raise _error(path, "skeletons", f"frames x {len(V1_JOINTS)} joints x 3", f"{joints_TK3.shape}")
    if name is None:
        raise _error(path, "file_name", "aAA_sSS_eEE_vVV", f"{clip.get('file_name')!r}"[:80])
    return joints_TK3, name


def _error(path: str, where: str, expected: str, found: str) -> RecordingError:
    return RecordingError(path, where=where, expected=expected, found=found, fix="Fetch the clip again.")
