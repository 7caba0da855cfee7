"""Make the input of an action model from COCO keypoints of one or two people, such as those in PYSKL's pickles.

``make_action_input`` assigns each score to its own joint, tracks people who exchange slots, and sets unobserved joints
to 0, as all networks of this library expect. ``make_published_action_input`` returns the input that the released code
computes (``lib/data/dataset_action.py``, its test items), to 1e-6, for models that were trained on it. That differs:

- The scores stay in COCO's order, while the positions are in the order of ``h36m17`` (MotionBERT issue 132).
- Where people exchange slots, their positions are exchanged back, but their scores are not.
- An absent second person has confidence 0, but the position of the image centre. An unobserved joint keeps the position
  that the file has for it. (With random weights, using zeros for the absent person changes logits by 0.04.)
- The window is around the positions whose score is not 0; because of the first two points, these are other positions.
- Points outside the window are clamped to its border. With fewer than 4 observed points, the whole sample is 0.
- Positions are scaled in the precision of the file. PYSKL's is float16, which causes errors of up to 0.0015.

Shapes: P people, T frames, K = 17 joints of COCO, J = 17 joints of ``h36m17``, C channels.
"""

import numpy as np
import torch
from torch import Tensor

from motion_encoder.shapes import Bool, Float
from motion_encoder.skeletons import COCO17_JOINTS, COCO17_TO_H36M17, H36M17
from motion_encoder.windows import Windows, network_input

PEOPLE = 2
"""Number of people in every sample; the second one may be absent."""
TEST_MARGIN = 2.0
"""Side of the window, as a multiple of the tightest one: the published value in testing (in training: 1 to 3)."""
MIN_POINTS = 4
"""If fewer points are observed, the published code sets the whole sample to 0."""

ROOT, BELLY, NECK = (H36M17.index(joint) for joint in ("root", "belly", "neck"))


def make_action_input(
    keypoints_PTK2: Float[np.ndarray, "P T K 2"],
    scores_PTK: Float[np.ndarray, "P T K"],
    *,
    clip_frames: int | None = None,
    margin: float = TEST_MARGIN,
) -> Float[Tensor, "2 T_out 17 3"]:
    """Return a sample for ``ActionModel``: x and y in window units, and confidence; all 0 for unobserved joints.

    Args:
        keypoints_PTK2: pixels of one or two people.
        scores_PTK: confidences in [0, 1]; 0 for joints that were not observed.
        clip_frames: number of frames to take, evenly spaced, as published; all frames by default.
        margin: side of the window around both people, as a multiple of the tightest one.

    Raises:
        ValueError: the arrays have other shapes.
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
    """Return the sample that the released code makes; the module's docstring lists how ``make_action_input`` differs.

    Args:
        keypoints_PTK2: pixels of one or two people, in the precision of the file.
        scores_PTK: confidences in [0, 1].
        image_size: width and height in pixels; an absent person is placed at the image centre.
        clip_frames: number of frames to take, evenly spaced.
        margin: as in ``make_action_input``.

    Raises:
        ValueError: the arrays have other shapes.
    """
    _check(keypoints_PTK2, scores_PTK)
    camera_PTK2 = keypoints_PTK2 / max(image_size) * 2 - 1
    if len(camera_PTK2) == PEOPLE:  # as published: only samples of two people become float64
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
    """Return the frames in which each of the two people is in the other one's slot.

    They exchange slots between two frames if the first slot is nearer to the second slot of the frame before than to
    the first one. Distances are over the joints that are observed in all three.
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
    """Exchange the values of the two people in the given frames."""
    return np.where(trade_T.reshape(1, -1, *[1] * (values.ndim - 2)), values[::-1], values)


def _frames(num_frames: int, clip_frames: int | None) -> np.ndarray:
    """Return the indices of the frames to take: all, or evenly spaced ones without the end point."""
    if clip_frames is None:
        return np.arange(num_frames)
    return np.arange(clip_frames) * num_frames // clip_frames


def _in_h36m17(points_PTK2: np.ndarray) -> np.ndarray:
    return np.matmul(COCO17_TO_H36M17.weights_JK, points_PTK2)


def _in_rounded_h36m17(points_PTK2: np.ndarray) -> np.ndarray:
    """Convert in the precision of the points, except for the belly, which is the middle of neck and root."""
    xy_PTJ2 = _in_h36m17(points_PTK2).astype(points_PTK2.dtype).astype(np.float64)
    xy_PTJ2[:, :, BELLY] = xy_PTJ2[:, :, [NECK, ROOT]].mean(axis=2)
    return xy_PTJ2


def _two_people(values: np.ndarray) -> Tensor:
    """Return a float32 tensor of two people; an absent second person is all 0."""
    absent = np.zeros((PEOPLE - len(values), *values.shape[1:]))
    return torch.from_numpy(np.concatenate([values, absent]).astype(np.float32))


def _window(xy_PTJ2: Tensor, confidence_PTJ: Tensor, margin: float) -> Windows:
    """Return one window around all people, repeated for each of them."""
    both = Windows.around(xy_PTJ2.flatten(0, 1)[None], confidence_PTJ.flatten(0, 1)[None], margin)
    return Windows(both.centre_B2.expand(PEOPLE, -1), both.half_side_B.expand(PEOPLE))
