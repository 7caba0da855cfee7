"""Result lists of videos and of photographs: what they are must not depend on the type of the images' ids."""

import json
from pathlib import Path

import numpy as np
import pytest

from datasets.files import list_files
from datasets.joints.tables import COCO17_JOINTS
from datasets.readers.discovery import find_in, find_recordings
from datasets.readers.registry import READERS
from datasets.sequences import MotionSequence
from motion_encoder.skeletons import H36M17

IDS = {
    "numbers": lambda frame: frame,
    "files": "{}.jpg".format,
    "stems": "clip2_{:05}".format,
    "every 20th": lambda frame: f"v/{20 * frame}.png",
}
NUM_IMAGES = 24


def entry(image_id, points_K2: np.ndarray, **others) -> dict:
    keypoints = np.column_stack([points_K2, np.full(len(points_K2), 0.8)]).ravel().tolist()
    return {"image_id": image_id, "category_id": 1, "keypoints": keypoints, "score": 0.9} | others


def walker(frame: int, num_joints: int = 17) -> np.ndarray:
    """Somebody 300 pixels tall who walks 4 pixels a frame to the right."""
    heights_K = np.linspace(100, 400, num_joints)
    return np.column_stack([200 + 4.0 * frame + 30 * np.sin(np.arange(num_joints)), heights_K])


def photographs(seed: int = 0, num_joints: int = 17) -> list[np.ndarray]:
    """People of any size, anywhere in images of 1280 x 720."""
    rng = np.random.default_rng(seed)
    sizes_N, corners_N2 = rng.uniform(40, 300, NUM_IMAGES), rng.uniform((0, 0), (1000, 400), (NUM_IMAGES, 2))
    places = zip(corners_N2, sizes_N, strict=True)
    return [corner_2 + size * rng.uniform(size=(num_joints, 2)) for corner_2, size in places]


def read(folder: Path, entries: list[dict], forced: str | None = None) -> tuple[str, list[MotionSequence]]:
    path = folder / "results.json"
    path.write_text(json.dumps(entries))
    [recording], unknown = find_in(str(path), {forced: READERS[forced]} if forced else READERS)
    assert unknown == []
    return recording.reader, list(READERS[recording.reader].read(recording))


@pytest.mark.parametrize("name", IDS.values(), ids=IDS.keys())
@pytest.mark.parametrize("num_joints", [17, 26])
def test_images_of_a_video_are_one_whatever_their_ids(tmp_path, name, num_joints):
    frames = range(NUM_IMAGES)
    reader, [sequence] = read(tmp_path, [entry(name(frame), walker(frame, num_joints)) for frame in frames])
    assert reader == "alphapose"
    seen_T = sequence.confidence_TJ.any(axis=1)
    assert seen_T.sum() == NUM_IMAGES
    assert sequence.keypoints_2d_TJC is not None
    nose_T2 = sequence.keypoints_2d_TJC[seen_T, H36M17.index("nose")]
    nose = COCO17_JOINTS.index("nose")
    np.testing.assert_allclose(nose_T2, [walker(frame, num_joints)[nose] for frame in frames], atol=1e-4)
    assert "frame rate not stated: 30 Hz assumed" in sequence.repairs


@pytest.mark.parametrize("name", IDS.values(), ids=IDS.keys())
@pytest.mark.parametrize("others", [{}, {"box": [], "idx": 0}], ids=["coco", "alphapose"])
def test_photographs_are_stills_although_they_are_numbered_like_a_video(tmp_path, name, others):
    people = [entry(name(n), points_K2, **others) for n, points_K2 in enumerate(photographs())]
    reader, sequences = read(tmp_path, people)
    assert reader == "coco"
    assert [sequence.num_frames for sequence in sequences] == [1] * NUM_IMAGES
    for sequence, points_K2 in zip(sequences, photographs(), strict=True):
        assert sequence.keypoints_2d_TJC is not None
        np.testing.assert_allclose(sequence.keypoints_2d_TJC[0, H36M17.index("nose")], points_K2[0], atol=1e-3)


@pytest.mark.parametrize("num_joints", [17, 26, 133])
def test_photographs_with_names_of_their_own_are_stills(tmp_path, num_joints):
    names = ["dog_12", "cat_12", "street_7", "beach_7", "p_9000", "q_3"]
    people = [entry(name, walker(0, num_joints)) for name in names]
    reader, sequences = read(tmp_path, people)
    assert (reader, len(sequences)) == ("coco", 6)
    assert [sequence.sequence_id.rpartition("#")[2] for sequence in sequences] == [
        f"{name}.{position}" for position, name in enumerate(names)
    ]


def test_people_who_are_tracked_or_have_time_stamps_are_in_a_video(tmp_path):
    """However unlike they are from image to image: a video of which little was looked at."""
    tracked = [entry(n, points_K2, idx=1 + n % 2) for n, points_K2 in enumerate(photographs())]
    assert read(tmp_path, tracked)[0] == "alphapose"
    stamped = [entry(f"2020-01-01T10_00_{n:02}.0.png", points_K2) for n, points_K2 in enumerate(photographs())]
    assert read(tmp_path, stamped)[0] == "alphapose"


@pytest.mark.parametrize(("others", "reader"), [({}, "coco"), ({"box": [], "idx": 0}, "alphapose")])
def test_of_few_images_the_look_decides(tmp_path, others, reader):
    assert read(tmp_path, [entry(frame, walker(frame), **others) for frame in range(4)])[0] == reader


@pytest.mark.parametrize(("forced", "lengths"), [("alphapose", [NUM_IMAGES]), ("coco", [1] * NUM_IMAGES)])
def test_the_user_may_know_better(tmp_path, forced, lengths):
    entries = [entry(frame, walker(frame)) for frame in range(NUM_IMAGES)]
    assert [sequence.num_frames for sequence in read(tmp_path, entries, forced)[1]] == lengths


def test_real_photographs_are_stills_and_a_real_dancer_is_in_a_video(real_data, tmp_path):
    """COCO's people as a detector would write them, renumbered one after the other."""
    annotations = json.loads((real_data / "wild2d/coco_val2017_subset/person_keypoints_val2017.json").read_text())
    people = [each for each in annotations["annotations"] if each.get("num_keypoints") and not each["iscrowd"]]
    numbers = {image: n for n, image in enumerate(sorted({each["image_id"] for each in people}))}
    entries = [entry(numbers[each["image_id"]], np.reshape(each["keypoints"], (17, 3))[:, :2]) for each in people]
    (tmp_path / "results.json").write_text(json.dumps(sorted(entries, key=lambda each: each["image_id"])))
    [photos], _ = find_recordings(list_files(str(tmp_path)))
    [dance], _ = find_recordings(list_files(str(real_data / "wild2d/alphapose_halpe26")))
    assert (photos.reader, dance.reader) == ("coco", "alphapose")
