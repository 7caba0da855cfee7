"""Files as Penn Action publishes them: one MATLAB file a clip, small integers and all."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from datasets.files import list_files
from datasets.readers.action.penn_action import READER, SOURCES
from datasets.sequences import MotionSequence, RecordingError
from motion_encoder.skeletons import H36M17

# Columns of the published arrays.
HEAD, LSHO, RSHO, LELB, RELB, LWRI, RWRI, LHIP, RHIP, LKNE, RKNE, LANK, RANK = range(13)
COLUMN_OF = {
    "lshoulder": LSHO, "rshoulder": RSHO, "lelbow": LELB, "relbow": RELB, "lwrist": LWRI, "rwrist": RWRI,
    "lhip": LHIP, "rhip": RHIP, "lknee": LKNE, "rknee": RKNE, "lankle": LANK, "rankle": RANK, "head": HEAD,
}  # fmt: skip
INDEX = {joint: position for position, joint in enumerate(H36M17.joints)}


def published(num_frames: int = 6, **changed) -> dict:
    generator = np.random.default_rng(num_frames)
    return {
        "action": "tennis_serve",
        "pose": "back",
        "x": generator.uniform(0, 480, (num_frames, 13)),
        "y": generator.uniform(0, 270, (num_frames, 13)),
        "visibility": np.ones((num_frames, 13), np.uint8),
        "train": np.array([[1]], np.uint8),
        "bbox": np.zeros((num_frames, 4)),
        "dimensions": np.array([[272, 481, num_frames]], np.uint16),
        "nframes": np.array([[num_frames]], np.uint8),
        **changed,
    }


def read(folder: Path, values: dict, name: str = "0042.mat") -> MotionSequence:
    savemat(folder / name, values, do_compression=True)
    [recording] = READER.find(list_files(str(folder)))
    [sequence] = READER.read(recording)
    return sequence


def test_joints_are_where_they_were_marked(tmp_path: Path):
    values = published()
    sequence = read(tmp_path, values)
    points_TJ2 = sequence.keypoints_2d_TJC
    assert points_TJ2 is not None
    marked_TN2 = np.stack([values["x"], values["y"]], axis=-1)
    for joint, column in COLUMN_OF.items():
        assert points_TJ2[:, INDEX[joint]] == pytest.approx(marked_TN2[:, column], abs=1e-3)
    hips_T2, shoulders_T2 = marked_TN2[:, [LHIP, RHIP]].mean(1), marked_TN2[:, [LSHO, RSHO]].mean(1)
    assert points_TJ2[:, INDEX["root"]] == pytest.approx(hips_T2, abs=1e-3)
    assert points_TJ2[:, INDEX["neck"]] == pytest.approx(shoulders_T2, abs=1e-3)
    assert points_TJ2[:, INDEX["belly"]] == pytest.approx((hips_T2 + shoulders_T2) / 2, abs=1e-3)
    absent = np.isin(H36M17.joints, ["nose"])
    assert (sequence.confidence_TJ == np.where(absent, 0, 1)).all()
    assert (points_TJ2[:, absent] == 0).all()
    assert (sequence.action, sequence.label) == ("tennis_serve", SOURCES[0].labels.index("tennis_serve"))
    assert sequence.repairs == ("frame rate not stated: 30 Hz assumed",)


@pytest.mark.parametrize(
    ("stored", "size"), [(np.uint16, (481, 272)), (np.uint8, (240, 200)), (np.float64, (481, 272))]
)
def test_small_integers_are_cast_before_they_are_reckoned_with(tmp_path: Path, stored: type, size: tuple[int, int]):
    dimensions = np.array([[size[1], size[0], 6]], stored)
    sequence = read(tmp_path, published(dimensions=dimensions, x=np.full((6, 13), 250, np.uint8)))
    assert sequence.image_size == size
    assert sequence.keypoints_2d_TJC is not None
    assert sequence.keypoints_2d_TJC[0, INDEX["root"], 0] == 250  # (250 + 250) / 2, not (250 + 250) % 256 / 2


def test_an_invisible_joint_takes_what_is_made_of_it_along(tmp_path: Path):
    visibility = np.ones((6, 13), np.uint8)
    visibility[3, LHIP] = 0
    sequence = read(tmp_path, published(visibility=visibility))
    gone = np.flatnonzero(sequence.confidence_TJ[3] == 0)
    assert {H36M17.joints[joint] for joint in gone} == {"lhip", "root", "belly", "nose"}
    assert sequence.keypoints_2d_TJC is not None
    assert (sequence.keypoints_2d_TJC[3, gone] == 0).all()


def test_clips_of_the_test_set_are_held_out(tmp_path: Path):
    assert read(tmp_path, published()).subject == "penn_action/0042"
    held_out = read(tmp_path, published(train=np.array([[-1]], np.int16))).subject
    assert held_out in SOURCES[0].test_subjects


def test_other_matlab_files_are_not_claimed(tmp_path: Path):
    savemat(tmp_path / "a1_s1_t1_skeleton.mat", {"d_skel": np.zeros((20, 3, 5))})
    savemat(tmp_path / "sixteen.mat", published(x=np.zeros((6, 16)), y=np.zeros((6, 16))))
    (tmp_path / "text.mat").write_text("MATLAB 5.0 or so")
    (tmp_path / "empty.mat").write_bytes(b"")
    assert READER.find(list_files(str(tmp_path))) == []


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_damaged_files_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    path = tmp_path_factory.mktemp("damaged") / "0001.mat"
    savemat(path, published(), do_compression=data.draw(st.booleans()))
    [recording] = READER.find(list_files(str(path.parent)))
    content = bytearray(path.read_bytes())
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
    try:
        for sequence in READER.read(recording):
            assert sequence.confidence_TJ.shape[1:] == (17,)
    except RecordingError:
        pass
