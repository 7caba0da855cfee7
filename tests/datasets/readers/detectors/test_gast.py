"""GAST-Net's JSON: COCO joints of one clip, frames from 1."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.joints.tables import COCO17_JOINTS
from datasets.readers.detectors.gast import READER, SOURCE
from datasets.sequences import File, MotionSequence, Recording, RecordingError
from motion_encoder.skeletons import H36M17


def skeleton(x: float, joints=17, nested=True) -> dict:
    """Keypoint k stands at (x + k, 100 + 2 k) and has the score 0.5 + k / 1000."""
    scores = [0.5 + k / 1000 for k in range(joints)]
    return {
        "pose": [[x + k, 100 + 2 * k] for k in range(joints)],
        "score": [[score] for score in scores] if nested else scores,
        "bbox": [x, 100, x + 40, 180],
    }


def text_of(frames: dict[int, list[dict]], label="baseball") -> str:
    data = [{"frame_index": frame, "skeleton": members} for frame, members in frames.items()]
    return json.dumps({"label": label, "label_index": 0, "data": data})


def read(folder: Path, text: str) -> list[MotionSequence]:
    path = folder / "clip.json"
    path.write_text(text)
    [recording] = READER.find([File(str(path), path.stat().st_size)])
    return list(READER.read(recording))


def pixels(sequence: MotionSequence) -> np.ndarray:
    assert sequence.keypoints_2d_TJC is not None
    return sequence.keypoints_2d_TJC


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("joints", [17, 133])
def test_joints_and_scores_go_together(tmp_path, joints, nested):
    [sequence] = read(tmp_path, text_of({1: [skeleton(10, joints, nested)], 2: [skeleton(12, joints, nested)]}))
    for joint in ("nose", "rwrist", "lknee"):
        k, j = COCO17_JOINTS.index(joint), H36M17.index(joint)
        np.testing.assert_allclose(pixels(sequence)[:, j], [(10 + k, 100 + 2 * k), (12 + k, 100 + 2 * k)])
        np.testing.assert_allclose(sequence.confidence_TJ[:, j], 0.5 + k / 1000)
    np.testing.assert_allclose(sequence.confidence_TJ[:, 0], 0.5 + COCO17_JOINTS.index("lhip") / 1000)
    assert (sequence.action, sequence.label) == ("baseball", None)


def test_missing_frames_are_gaps_and_people_are_linked(tmp_path):
    frames = {t: [skeleton(10 + t), skeleton(500)][:: 1 - 2 * (t % 2)] for t in (2, 3, 6)}
    left, right = read(tmp_path, text_of(dict(sorted((frames | {4: []}).items()))))
    np.testing.assert_allclose(pixels(left)[:, 9, 0], [12, 13, 0, 0, 16])
    np.testing.assert_allclose(pixels(right)[:, 9, 0], [500, 500, 0, 0, 500])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (text_of({1: [skeleton(0)]})[:-9], "JSON"),
        (text_of({1: [{"pose": []}]}), "frame 1: expected pose and score"),
        (text_of({1: [skeleton(0) | {"score": [0.5]}]}), "frame 1: keypoints: expected K points of x, y and K scores"),
        (text_of({1: [skeleton(0, joints=16)]}), "17 or 133 keypoints"),
        (text_of({1: []}), "at least one person"),
        (
            text_of({2: [skeleton(0)], 1: []}),
            "frame times: expected finite, increasing times, found 1 after 2, in frame 1",
        ),
        ('{"label":"a","label_index":0,"data":[{"frame_index":"x","skeleton":[]}]}', "data, entry 0"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(tmp_path, text, message):
    with pytest.raises(RecordingError, match=message):
        read(tmp_path, text)


def test_other_json_is_not_claimed(tmp_path):
    for number, text in enumerate(
        ['{"label": 3}', '{"data": []}', "[]", "", '{"label":"a","label_index":1,"data":[3]}']
    ):
        (tmp_path / f"{number}.json").write_text(text)
    assert READER.find([File(str(path), 0) for path in sorted(tmp_path.iterdir())]) == []


@given(st.integers(0, 2**31))
@settings(deadline=None, max_examples=40)
def test_damaged_bytes_give_sequences_or_a_reason(tmp_path_factory, seed):
    content = bytearray(text_of({t: [skeleton(t)] for t in range(4)}).encode())
    rng = np.random.default_rng(seed)
    content[int(rng.integers(len(content)))] = int(rng.integers(256))
    path = tmp_path_factory.mktemp("fuzz") / "clip.json"
    path.write_bytes(content)
    with contextlib.suppress(RecordingError):
        for sequence in READER.read(Recording(path=str(path), reader="gast", source=SOURCE)):
            assert np.isfinite(pixels(sequence)).all()


def test_real_clips_of_two_models_agree(real_data):
    """The same player, found by a body model and by a whole-body model: joints within a few pixels."""
    folder = real_data / "wild2d" / "hrnet_baseball"
    recordings = READER.find([File(str(path), 0) for path in sorted(folder.glob("*.json"))])
    [body], [whole] = (list(READER.read(recording)) for recording in recordings)
    assert (body.num_frames, whole.num_frames) == (277, 277)
    distance_TJ = np.linalg.norm(pixels(body) - pixels(whole), axis=-1)
    assert np.median(distance_TJ) < 5
    assert (body.confidence_TJ > 0).all()
