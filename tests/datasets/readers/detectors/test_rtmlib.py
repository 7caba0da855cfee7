"""Keypoints and scores as rtmlib returns them, saved here in the ways in which its users do."""

import contextlib
import io
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.readers.detectors.rtmlib import READER, SOURCE
from datasets.readers.registry import READERS
from datasets.sequences import File, MotionSequence, Recording, RecordingError
from motion_encoder.skeletons import H36M17
from tests.datasets.reading import pixels

# rtmlib/visualization/skeleton/*.py, in its own names; hands and faces left out.
COCO = [
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
]  # fmt: skip
COCO25 = [*COCO[:5], "neck", *COCO[5:13], "hip", *COCO[13:]]
HALPE26 = [*COCO, "head", "neck", "hip"]
OPENPOSE = [
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye", "left_eye",
    "right_ear", "left_ear",
]  # fmt: skip
NAMES = {17: COCO, 18: OPENPOSE, 25: COCO25, 26: HALPE26, 27: OPENPOSE, 133: COCO, 134: OPENPOSE}


def people(*xs: float, joints=17, score=0.5) -> tuple[np.ndarray, np.ndarray]:
    """Keypoint k stands at (x + k, 100 + 2 k) and has the score score + k / 1000, as rtmlib returns it."""
    k = np.arange(joints)
    keypoints = [np.stack([x + k, 100 + 2 * k], axis=1) for x in xs]
    scores = [score + k / 1000 for _ in xs]
    return np.array(keypoints).reshape(-1, joints, 2), np.array(scores).reshape(-1, joints)


NOBODY = (np.zeros((0, 0, 2)), np.zeros((0, 0)))


def objects(frames) -> dict[str, np.ndarray]:
    return {
        name: np.array([frame[at] for frame in frames], dtype=object) for at, name in enumerate(("keypoints", "scores"))
    }


def listed(frames, **more) -> list[dict]:
    return [
        {"keypoints": keypoints.tolist(), "scores": scores.tolist()} | {key: values[at] for key, values in more.items()}
        for at, (keypoints, scores) in enumerate(frames)
    ]


def find(folder: Path) -> list[Recording]:
    return READER.find([File(str(path), path.stat().st_size) for path in sorted(folder.iterdir())])


def read_npz(folder: Path, **arrays) -> list[MotionSequence]:
    np.savez_compressed(folder / "pose.npz", **arrays)
    [recording] = find(folder)
    return list(READER.read(recording))


def read_json(folder: Path, document) -> list[MotionSequence]:
    (folder / "pose.json").write_text(document if isinstance(document, str) else json.dumps(document))
    [recording] = find(folder)
    return list(READER.read(recording))


@pytest.mark.parametrize("joints", NAMES)
@pytest.mark.parametrize("form", ["objects", "dense", "json"])
def test_the_number_of_keypoints_says_which_they_are(tmp_path, joints, form):
    frames = [people(10 + t, joints=joints) for t in range(2)]
    if form == "json":
        [sequence] = read_json(tmp_path, listed(frames))
    elif form == "objects":
        [sequence] = read_npz(tmp_path, **objects([*frames, NOBODY]))
    else:
        [sequence] = read_npz(
            tmp_path, keypoints=np.array([f[0] for f in frames]), scores=np.array([f[1] for f in frames])
        )
    names = NAMES[joints]
    has_hip, has_neck, has_head = joints in (25, 26), joints in (25, 26), joints == 26
    hips = ["hip"] if has_hip else ["left_hip", "right_hip"]
    necks = ["neck"] if has_neck else ["left_shoulder", "right_shoulder"]
    expected = {
        "root": hips, "neck": necks, "belly": hips + necks, "nose": ["nose"],
        "head": ["head"] if has_head else ["left_eye", "right_eye"],
    } | {
        f"{side[0]}{part}": [f"{side}_{part}"]
        for side in ("left", "right")
        for part in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
    }  # fmt: skip
    assert set(expected) == set(H36M17.joints)
    for joint, parts in expected.items():
        places = [names.index(part) for part in parts]
        k, j = np.mean(places), H36M17.index(joint)
        np.testing.assert_allclose(
            pixels(sequence)[:, j], [(10 + k, 100 + 2 * k), (11 + k, 100 + 2 * k)], rtol=1e-6, err_msg=joint
        )
        np.testing.assert_allclose(sequence.confidence_TJ[:, j], 0.5 + min(places) / 1000, rtol=1e-6)


def test_people_are_linked_and_frames_without_them_are_gaps(tmp_path):
    """In frame 1 they come in the other order; frames 2 and 3 hold nobody."""
    frames = [people(10, 500), people(501, 11), NOBODY, NOBODY, people(14, 504)]
    (tmp_path / "npz").mkdir()
    (tmp_path / "json").mkdir()
    for left, right in (read_npz(tmp_path / "npz", **objects(frames)), read_json(tmp_path / "json", listed(frames))):
        np.testing.assert_allclose(pixels(left)[:, 9, 0], [10, 11, 0, 0, 14])
        np.testing.assert_allclose(pixels(right)[:, 9, 0], [500, 501, 0, 0, 504])


@pytest.mark.parametrize("padding", [0, np.nan])
def test_padding_is_nobody(tmp_path, padding):
    keypoints, scores = np.full((4, 3, 17, 2), float(padding)), np.full((4, 3, 17), float(padding))
    for t in (0, 1, 3):
        keypoints[t, :1], scores[t, :1] = people(10 + t)
    [sequence] = read_npz(tmp_path, keypoints=keypoints, scores=scores)
    np.testing.assert_allclose(pixels(sequence)[:, 9, 0], [10, 11, 0, 13])


def test_one_person_needs_no_axis_for_people(tmp_path):
    frames = [people(10 + t) for t in range(3)]
    [sequence] = read_npz(
        tmp_path, keypoints=np.concatenate([f[0] for f in frames]), scores=np.concatenate([f[1] for f in frames])
    )
    np.testing.assert_allclose(pixels(sequence)[:, 9, 0], [10, 11, 12])


def test_scores_above_one_are_one(tmp_path):
    [sequence] = read_json(tmp_path, listed([people(10, score=3.5)]))
    np.testing.assert_array_equal(sequence.confidence_TJ, 1)


@pytest.mark.parametrize("key", ["frame", "frame_id", "frame_idx", "frame_index", "frame_number"])
def test_frames_may_have_numbers(tmp_path, key):
    [sequence] = read_json(tmp_path, listed([people(10), people(13)], **{key: [7, 10]}))
    np.testing.assert_allclose(pixels(sequence)[:, 9, 0], [10, 0, 0, 13])


def test_rate_and_size_are_used_where_they_are_there(tmp_path):
    frames = [people(10), people(11)]
    (tmp_path / "npz").mkdir()
    (tmp_path / "json").mkdir()
    facts = {"fps": np.array([25.0], np.float32), "width": np.array([640]), "height": np.array([480])}
    of_npz = read_npz(tmp_path / "npz", **objects(frames), **facts)
    of_json = read_json(tmp_path / "json", {"fps": 25, "width": 640, "height": 480, "frames": listed(frames)})
    for [sequence] in (of_npz, of_json):
        assert (sequence.fps, sequence.image_size) == (25, (640, 480))
        assert not any("frame rate" in repair for repair in sequence.repairs)
    [plain] = read_json(tmp_path / "json", {"fps": None, "frames": listed(frames)})
    assert (plain.fps, plain.image_size) == (30, None)
    (tmp_path / "json" / "video.json").write_text('{"fps": 50}')
    assert read_json(tmp_path / "json", {"fps": 25, "frames": listed(frames)})[0].fps == 50


@pytest.mark.parametrize("first", [{"keypoints": [], "scores": []}, {"frame": 0, "keypoints": None, "scores": None}])
def test_the_first_frame_may_hold_nobody(tmp_path, first):
    [sequence] = read_json(tmp_path, [first, *listed([people(10)])])
    assert sequence.num_frames == 1


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (json.dumps(listed([people(0)]))[:-2], "JSON"),
        ([*listed([people(0)]), 3], "entry 1: expected keypoints and scores, found 3"),
        ([*listed([people(0)]), {"keypoints": [[[0, 0]]]}], "entry 1: expected keypoints and scores"),
        (listed([people(0)], frame=["x"]), "a whole number of the frame, found 'x'"),
        ([{"keypoints": np.ones((1, 133, 3)).tolist(), "scores": np.ones((1, 133)).tolist()}], r"\(1, 133, 3\)"),
        ([{"keypoints": np.ones((1, 17, 2)).tolist(), "scores": np.ones((1, 16)).tolist()}], r"\(1, 16\)"),
        ([{"keypoints": [[["a", 2]]], "scores": [[1]]}], "frame 0: expected arrays of numbers"),
        ([{"keypoints": [[[1, 2], [3]]], "scores": [[1, 1]]}], "frame 0: expected arrays of numbers"),
        (listed([people(0, joints=21)]), "17 or 18 or .* keypoints a person, found 21"),
        (listed([people(0, score=-1)]), "at least one person"),
    ],
)
def test_json_that_cannot_be_used_says_where_and_why(tmp_path, document, message):
    with pytest.raises(RecordingError, match=message):
        read_json(tmp_path, document)


@pytest.mark.parametrize(
    ("keypoints", "scores", "message"),
    [
        (np.ones((2, 1, 17, 2)), np.ones((3, 1, 17)), "the same number of frames"),
        (np.array(3.0), np.array(3.0), "the same number of frames"),
        (np.zeros((2_000_000, 0)), np.zeros((2_000_000, 0)), "at most 1,000,000"),
        (np.ones((2, 1, 17, 2), complex), np.ones((2, 1, 17)), "arrays of numbers, found complex128"),
        (np.ones((2, 17)), np.ones((2, 17)), r"found \(17,\) and"),
    ],
)
def test_arrays_that_cannot_be_used_say_why(tmp_path, keypoints, scores, message):
    with pytest.raises(RecordingError, match=message):
        read_npz(tmp_path, keypoints=keypoints, scores=scores)


class Malicious:
    """Makes a folder when it is unpickled the usual way."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_nothing_in_an_archive_is_run(tmp_path):
    evil = np.array([Malicious(tmp_path / "made")], dtype=object)
    with pytest.raises(RecordingError, match="mkdir"):
        read_npz(tmp_path, keypoints=evil, scores=np.ones((1, 17)))
    assert not (tmp_path / "made").exists()


def test_other_files_are_not_claimed(tmp_path):
    k, s = people(0)
    documents = [
        [{"keypoints": k[0].tolist(), "keypoint_scores": s[0].tolist()}],  # MMPose, one image
        [{"frame_id": 0, "instances": listed([(k, s)])}],  # MMPose, a video
        [{"image_id": "1.jpg", "keypoints": k.tolist(), "scores": s.tolist()}],
        [{"frame": 0, "landmarks": [{"x": 0.1, "y": 0.2, "visibility": 1}]}],
        {"version": 1.3, "people": [{"pose_keypoints_2d": []}]},
        {"frames": [3]},
    ]
    for number, document in enumerate(documents):
        (tmp_path / f"{number}.json").write_text(json.dumps(document))
    np.savez(tmp_path / "a.npz", boxes=k, keypoints=k, metadata=s)
    np.savez(tmp_path / "b.npz", keypoints=k, scores=s, descriptors=s)
    (tmp_path / "c.npz").write_bytes(b"PK no archive")
    (tmp_path / "d.pkl").write_bytes(pickle.dumps({"keypoints": [k], "scores": [s]}))
    assert find(tmp_path) == []


def test_nobody_else_claims_these_files(tmp_path):
    frames = [people(10, joints=133), NOBODY, people(11, joints=133)]
    np.savez(tmp_path / "objects.npz", allow_pickle=True, **objects(frames), fps=np.array([25.0]))
    (tmp_path / "list.json").write_text(json.dumps(listed(frames)))
    (tmp_path / "numbered.json").write_text(
        json.dumps([{"frame_id": t} | frame for t, frame in enumerate(listed(frames))], indent=1)
    )
    (tmp_path / "object.json").write_text(json.dumps({"fps": 25, "frames": listed(frames)}))
    assert len(find(tmp_path)) == 4
    files = [File(str(path), path.stat().st_size) for path in sorted(tmp_path.iterdir())]
    assert [name for name, reader in READERS.items() if name != READER.name and reader.find(files)] == []


def archive(**arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


FRAMES = [people(10, 500), people(11), people(12, 502)]
WHOLE = {"pose.json": json.dumps(listed(FRAMES)).encode(), "pose.npz": archive(**objects(FRAMES), fps=np.array([25.0]))}


@pytest.mark.parametrize("name", WHOLE)
@given(seed=st.integers(0, 2**31), cut=st.booleans())
@settings(deadline=None, max_examples=60)
def test_damaged_bytes_give_sequences_or_a_reason(tmp_path_factory, name, seed, cut):
    content = bytearray(WHOLE[name])
    rng = np.random.default_rng(seed)
    where = int(rng.integers(len(content)))
    if cut:
        del content[where:]
    content[where : where + 1] = rng.bytes(1)
    path = tmp_path_factory.mktemp("fuzz") / name
    path.write_bytes(content)
    READER.find([File(str(path), len(content))])
    with contextlib.suppress(RecordingError):
        for sequence in READER.read(Recording(path=str(path), reader="rtmlib", source=SOURCE)):
            assert np.isfinite(pixels(sequence)).all()
