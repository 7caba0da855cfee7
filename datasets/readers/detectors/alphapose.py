"""AlphaPose results: detections in the frames of one video, in pixels.

All layouts of result_lists.py are read. The files of ``sep-json`` beside a result have the same content. Results of
photographs are read by ``coco``, unless the user names this reader.

Traps. ``image_id`` is not zero-padded, or is a time stamp. Confidences exceed 1. The 18 joints of ``cmu`` and ``open``
are those of OpenPose, but the second is the middle of the shoulders only for a COCO model; for a Halpe model it is the
head. So it is not used, and neck and head are computed from shoulders and eyes, as for COCO.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from datasets.assembly.image_names import frame_number, is_copy, timestamp
from datasets.assembly.people import Video, claim, error, people
from datasets.assembly.video_json import companions_of, folder_of
from datasets.files import head
from datasets.readers.detectors.result_lists import CONVERSIONS, detection, entries, looks_like_results
from datasets.sequences import File, MotionSequence, Recording, Source
from motion_encoder.shapes import Float

SOURCE = Source(
    name="alphapose",
    kind="detections",
    licence_note="the video's terms",
    url="https://github.com/MVIG-SJTU/AlphaPose",
)
SOURCES = (SOURCE,)


class AlphaPoseReader:
    """Reads AlphaPose result files; each person's track is one sequence."""

    name = "alphapose"
    companions_of = staticmethod(companions_of)

    def find(self, files: Iterable[File]) -> list[Recording]:
        """Claim JSON files that begin like results."""
        files = list(files)
        copies: dict[str, list[str]] = {}
        for file in files:
            folder, _, inner = folder_of(file.path).rpartition("/")
            if inner == "sep-json":
                copies.setdefault(folder, []).append(file.path)
        return [
            replace(each, companions=(*each.companions, *sorted(copies.get(folder_of(each.path), ()))))
            for each in claim(files, _is_ours, reader=self.name, source=SOURCE)
        ]

    def read(self, recording: Recording) -> Iterator[MotionSequence]:
        """Yield one sequence per tracklet, in the order in which people appear."""
        path = recording.path
        video = partial(Video, recording=recording, conversions=CONVERSIONS)
        first = next((name for name, _ in entries(path)), None)
        if first is None or timestamp(first) is None:
            found = (detection(frame_number(name, path), entry) for name, entry in entries(path))
            yield from people(found, video())
            return
        moments = _moments(path)
        times_F = np.unique(np.array(list(moments.values())))
        found = (
            detection(int(np.searchsorted(times_F, moments[name])), entry)
            for name, entry in entries(path)
            if name in moments
        )
        timed = video(fps=_rate(times_F, path), times_F=times_F, repairs=("frame times taken from the image names",))
        yield from people(found, timed)


READER = AlphaPoseReader()


def _is_ours(file: File) -> bool:
    return file.path.lower().endswith(".json") and looks_like_results(head(file))


def _moments(path: str) -> dict[int | str, float]:
    """The time of each image in seconds, without copies of images that are also in the file."""
    names = dict.fromkeys(name for name, _ in entries(path))
    moments: dict[int | str, float] = {}
    for name in names:
        moment = timestamp(name)
        if moment is None:
            raise error(path, "image_id", "a time stamp, as in the first entry", repr(name)[:80])
        moments[name] = moment
    taken = {moment for name, moment in moments.items() if not is_copy(str(name))}
    return {name: moment for name, moment in moments.items() if not (is_copy(str(name)) and moment in taken)}


def _rate(times_F: Float[np.ndarray, "F"], path: str) -> float | None:
    """The rate from the median step between two images, to a hundredth; None for a single image."""
    if len(times_F) < 2:
        return None
    step = float(np.median(np.diff(times_F)))
    if not 1e-3 <= step <= 2.0:
        raise error(path, "image_id", "images 1 ms to 2 s apart", f"usually {step:g} s")
    return round(1 / step, 2)
