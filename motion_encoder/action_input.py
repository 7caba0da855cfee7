"""Input of an action model from COCO keypoints of one or two people, such as PYSKL's pickles hold.

``make_action_input`` puts the scores at the joints that they belong to, follows people who trade places, and sets to 0
what was not seen, as all networks of this library expect. ``make_published_action_input`` gives what the released code
computes (``lib/data/dataset_action.py``, its test items), to 1e-6, for models that were trained on that. It differs:

- The scores stay in COCO's order while the positions are in that of ``h36m17`` (MotionBERT issue 132).
- Where people trade places, their positions are exchanged and their scores are not.
- An absent second person has confidence 0, but the position of the picture's middle; an unseen joint keeps the position
  that the file has for it. (With random weights, zeros for the absent person change logits by 0.04.)
- The window is around the positions whose score is not 0, which are others because of the first two points.
- What is outside of the window is clamped to its border. With fewer than 4 seen points everything is 0.
- Positions are scaled in the precision that they come in. PYSKL's is float16, which costs up to 0.0015.

Shapes: P people, T frames, K = 17 joints of COCO, J = 17 joints of ``h36m17``, C channels.
"""

import numpy as np
import torch
from torch import Tensor

from motion_encoder.shapes import Bool, Float
from motion_encoder.skeletons import COCO17_JOINTS, COCO17_TO_H36M17, H36M17
from motion_encoder.windows import Windows, network_input

PEOPLE = 2
"""In every sample; the second may be absent."""
TEST_MARGIN = 2.0
"""Side of the window over that of the tightest one, as in published testing (1 to 3 in training)."""
MIN_POINTS = 4
"""Below that, the published code sets the whole sample to 0."""

ROOT, BELLY, NECK = (H36M17.index(joint) for joint in ("root", "belly", "neck"))


def make_action_input(
    keypoints_PTK2: Float[np.ndarray, "P T K 2"],
    scores_PTK: Float[np.ndarray, "P T K"],
    *,
    clip_frames: int | None = None,
    margin: float = TEST_MARGIN,
) -> Float[Tensor, "2 T_out 17 3"]:
    """Return a sample for ``ActionModel``: x and y in window units, and confidence; 0 where nothing was seen.

    Args:
        keypoints_PTK2: pixels of one or two people.
        scores_PTK: confidences in [0, 1]; 0 where a joint was not seen.
        clip_frames: take so many frames, evenly spaced, as published; all frames if it is left out.
        margin: side of the window, which is around both people, over that of the tightest one.

    Raises:
        ValueError: other shapes.
    """
    _check(keypoints_PTK2, scores_PTK)
    keypoints_PTK2 = np.where(scores_PTK[..., None] > 0, keypoints_PTK2, 0).astype(np.float32)
    trade_T = _trade_places(keypoints_PTK2, scores_PTK > 0)
    keypoints_PTK2, scores_PTK = _exchange(keypoints_PTK2, trade_T), _exchange(scores_PTK, trade_T)
    confidence_PTJ = np.stack([COCO17_TO_H36M17.confidence(score_TK) for score_TK in scores_PTK])
    frame_T = _frames(scores_PTK.shape[1], clip_frames)
    xy_PTJ2 = _two_people(_in_h36m17(keypoints_PTK2)[:, frame_T])
    seen_PTJ = _two_people(confidence_PTJ[:, frame_T])
    return network_input(_window(xy_PTJ2, seen_PTJ, margin).normalise(xy_PTJ2), seen_PTJ)


def make_published_action_input(
    keypoints_PTK2: Float[np.ndarray, "P T K 2"],
    scores_PTK: Float[np.ndarray, "P T K"],
    *,
    image_size: tuple[int, int],
    clip_frames: int,
    margin: float = TEST_MARGIN,
) -> Float[Tensor, "2 T_out 17 3"]:
    """Return the sample that the released code makes; see above how it differs from ``make_action_input``.

    Args:
        keypoints_PTK2: pixels of one or two people, in the type of the file.
        scores_PTK: confidences in [0, 1].
        image_size: width and height in pixels; an absent person stands in the picture's middle.
        clip_frames: take so many frames, evenly spaced.
        margin: as in ``make_action_input``.

    Raises:
        ValueError: other shapes.
    """
    _check(keypoints_PTK2, scores_PTK)
    camera_PTK2 = keypoints_PTK2 / max(image_size) * 2 - 1
    if len(camera_PTK2) == PEOPLE:  # only what passes through the exchange becomes float64
        trade_T = _trade_places(camera_PTK2, np.ones(scores_PTK.shape, dtype=bool))
        camera_PTK2 = _exchange(camera_PTK2, trade_T).astype(np.float64)
    frame_T = _frames(scores_PTK.shape[1], clip_frames)
    xy_PTJ2 = _two_people(_in_rounded_h36m17(camera_PTK2)[:, frame_T])
    score_PTK = _two_people(scores_PTK[:, frame_T])
    if int((score_PTK != 0).sum()) < MIN_POINTS:
        return torch.zeros(*score_PTK.shape, 3)
    normalised_PTJ2 = _window(xy_PTJ2, score_PTK, margin).normalise(xy_PTJ2)
    return torch.cat([normalised_PTJ2, score_PTK[..., None]], dim=-1).clamp(-1, 1)


def _check(keypoints_PTK2: np.ndarray, scores_PTK: np.ndarray) -> None:
    people = keypoints_PTK2.shape[0]
    joints = len(COCO17_JOINTS)
    if not 1 <= people <= PEOPLE or keypoints_PTK2.shape != (*scores_PTK.shape, 2) or scores_PTK.shape[2] != joints:
        raise ValueError(
            f"action input: expected keypoints [people, frames, {joints}, 2] and scores [people, frames, {joints}] of "
            f"1 or {PEOPLE} people, found {list(keypoints_PTK2.shape)} and {list(scores_PTK.shape)}"
        )


def _trade_places(points_PTK2: np.ndarray, seen_PTK: Bool[np.ndarray, "P T K"]) -> Bool[np.ndarray, "T"]:
    """Return the frames in which the two people are in each other's slot.

    They trade slots between two frames where the first slot is nearer to where the second was, over joints that are
    seen in all three.
    """
    trade_T = np.zeros(points_PTK2.shape[1], dtype=bool)
    if len(points_PTK2) < PEOPLE:
        return trade_T
    now_TK2, was_first_TK2, was_second_TK2 = points_PTK2[0, 1:], points_PTK2[0, :-1], points_PTK2[1, :-1]
    usable_TK = seen_PTK[0, 1:] & seen_PTK[0, :-1] & seen_PTK[1, :-1]
    to_first_T, to_second_T = (
        (np.linalg.norm(now_TK2 - was_TK2, axis=-1) * usable_TK).sum(axis=-1)
        for was_TK2 in (was_first_TK2, was_second_TK2)
    )
    trade_T[1:] = np.cumsum(to_first_T > to_second_T) % 2 == 1
    return trade_T


def _exchange(values: np.ndarray, trade_T: Bool[np.ndarray, "T"]) -> np.ndarray:
    """Give each person the other's values where they trade places."""
    return np.where(trade_T.reshape(1, -1, *[1] * (values.ndim - 2)), values[::-1], values)


def _frames(num_frames: int, clip_frames: int | None) -> np.ndarray:
    """Return which frames to take: all, or evenly spaced ones, the last one not included."""
    if clip_frames is None:
        return np.arange(num_frames)
    return np.arange(clip_frames) * num_frames // clip_frames


def _in_h36m17(points_PTK2: np.ndarray) -> np.ndarray:
    return np.matmul(COCO17_TO_H36M17.weights_JK, points_PTK2)


def _in_rounded_h36m17(points_PTK2: np.ndarray) -> np.ndarray:
    """Convert in the precision of the points, but for the belly, the middle of neck and root."""
    xy_PTJ2 = _in_h36m17(points_PTK2).astype(points_PTK2.dtype).astype(np.float64)
    xy_PTJ2[:, :, BELLY] = xy_PTJ2[:, :, [NECK, ROOT]].mean(axis=2)
    return xy_PTJ2


def _two_people(values: np.ndarray) -> Tensor:
    """Return a float32 tensor of two people; an absent second one is at 0."""
    absent = np.zeros((PEOPLE - len(values), *values.shape[1:]))
    return torch.from_numpy(np.concatenate([values, absent]).astype(np.float32))


def _window(xy_PTJ2: Tensor, confidence_PTJ: Tensor, margin: float) -> Windows:
    """Return the one window around all people, for each of them."""
    both = Windows.around(xy_PTJ2.flatten(0, 1)[None], confidence_PTJ.flatten(0, 1)[None], margin)
    return Windows(both.centre_B2.expand(PEOPLE, -1), both.half_side_B.expand(PEOPLE))
