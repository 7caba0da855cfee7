from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from motion_encoder.cards import ModelCard
from motion_encoder.lifting import LiftedMotion, LiftOptions, blend_weights, lift, pixels_per_metre, window_starts
from motion_encoder.skeletons import H36M17

# A person of 1.70 m as Drillis and Contini (1966) measured: a segment is stature times a published fraction.
STATURE = 1.70
THIGH, SHANK, TRUNK, UPPER_ARM, FOREARM = (STATURE * part for part in (0.245, 0.246, 0.288, 0.186, 0.146))


def standing_person() -> np.ndarray:
    """[17, 3] metres, y down, x right (the image's axes), root at 0, arms straight to the sides."""
    person = {
        "root": (0, 0, 0),
        "belly": (0, -TRUNK / 2, 0),
        "neck": (0, -TRUNK, 0),
        "nose": (0, -TRUNK - 0.15, -0.1),
        "head": (0, -TRUNK - 0.25, 0),
    }
    for side, sign in (("r", -1), ("l", 1)):
        shoulder, hip = 0.2 * sign, 0.1 * sign
        person |= {
            f"{side}shoulder": (shoulder, -TRUNK, 0),
            f"{side}elbow": (shoulder + sign * UPPER_ARM, -TRUNK, 0),
            f"{side}wrist": (shoulder + sign * (UPPER_ARM + FOREARM), -TRUNK, 0),
            f"{side}hip": (hip, 0, 0),
            f"{side}knee": (hip, THIGH, 0),
            f"{side}ankle": (hip, THIGH + SHANK, 0),
        }
    return np.array([person[joint] for joint in H36M17.joints], dtype=np.float64)


def walking_pixels(num_frames: int, *, pixels_per_metre: float = 200.0) -> np.ndarray:
    """[T, 17, 2] pixels: the standing person gliding right by 3 pixels a frame and waving smoothly."""
    time_T = np.arange(num_frames)
    pixels_TJ2 = np.repeat(standing_person()[None, :, :2] * pixels_per_metre, num_frames, axis=0)
    pixels_TJ2 += np.array([400.0, 300.0])
    pixels_TJ2[:, :, 0] += 3.0 * time_T[:, None]
    pixels_TJ2[:, H36M17.index("lwrist"), 1] += 40 * np.sin(time_T / 9)
    return pixels_TJ2.astype(np.float32)


def all_seen(num_frames: int) -> np.ndarray:
    return np.ones((num_frames, 17), np.float32)


class Slope(nn.Module):
    """Depth is 0.5 y + 0.25 |x of the joint - x of the root|: linear in the scale, so exact in any window."""

    def forward(self, x_BTJC: Tensor) -> Tensor:
        x, y = x_BTJC[..., 0], x_BTJC[..., 1]
        return torch.stack([x, y, 0.5 * y + 0.25 * (x - x[:, :, :1]).abs() + 7.0], dim=-1)


class Remembering(nn.Module):
    """Writes down what it was given; depth is the frame's number in its window, so that windows disagree strongly."""

    def __init__(self) -> None:
        super().__init__()
        self.config = type("Config", (), {"max_frames": 20})()
        self.weight = nn.Parameter(torch.zeros(1))
        self.inputs: list[Tensor] = []
        self.was_training: list[bool] = []

    def forward(self, x_BTJC: Tensor) -> Tensor:
        self.inputs.append(x_BTJC)
        self.was_training.append(self.training)
        frame_T = torch.arange(x_BTJC.shape[1], dtype=torch.float32)
        depth_BTJ = frame_T[None, :, None] * torch.arange(17)[None, None]
        return torch.cat([x_BTJC[..., :2], depth_BTJ.expand(x_BTJC.shape[:3])[..., None]], dim=-1)


@given(num_frames=st.integers(1, 400), window=st.integers(1, 60), data=st.data())
def test_windows_cover_every_frame_and_their_weights_are_positive(num_frames, window, data):
    stride = data.draw(st.integers(1, window))
    starts = window_starts(num_frames, window, stride)
    length = min(window, num_frames)
    weight_T = np.zeros(num_frames)
    for start in starts:
        assert 0 <= start <= num_frames - length
        weight_T[start : start + length] += blend_weights(length).numpy()
    assert len(set(starts)) == len(starts)
    assert (weight_T > 0).all()


def test_weights_at_half_overlap_sum_to_one():
    weights_W = blend_weights(20)
    assert torch.allclose(weights_W[:10] + weights_W[10:], torch.ones(10, dtype=torch.float64))


@settings(deadline=None, max_examples=25)
@given(num_frames=st.integers(1, 150), window=st.integers(2, 50), flip=st.booleans())
def test_an_equivariant_model_gives_the_same_in_many_windows_as_by_hand(num_frames, window, flip):
    pixels_TJ2 = walking_pixels(num_frames)
    lifted = lift(Slope(), pixels_TJ2, all_seen(num_frames), fps=30.0, options=LiftOptions(window=window, flip=flip))
    relative = pixels_TJ2 - pixels_TJ2[:, :1]
    depth_TJ = 0.5 * relative[..., 1] + 0.25 * np.abs(relative[..., 0])
    np.testing.assert_allclose(lifted.pixels_TJC[..., :2], pixels_TJ2, atol=1e-2)
    np.testing.assert_allclose(lifted.pixels_TJC[..., 2], depth_TJ, atol=1e-2)


def test_disagreeing_windows_leave_no_seam():
    num_frames = 100
    model = Remembering()
    lifted = lift(model, walking_pixels(num_frames), all_seen(num_frames), fps=30.0, options=LiftOptions(flip=False))
    depth_T = lifted.pixels_TJC[:, 16, 2].astype(np.float64)
    jump_T = np.abs(np.diff(depth_T))
    borders = sorted({edge - 1 for start in window_starts(num_frames, 20, 10) for edge in (start, start + 20)})
    at_borders = [frame for frame in borders if 0 <= frame < num_frames - 1]
    inside = np.delete(jump_T, at_borders)
    assert len(at_borders) == 9
    assert jump_T[at_borders].max() <= inside.max()


def test_the_network_sees_each_window_in_its_own_square():
    model = Remembering()
    lift(model, walking_pixels(50), all_seen(50), fps=30.0, options=LiftOptions(flip=False, batch_size=3))
    assert [len(batch) for batch in model.inputs] == [3, 1]
    for window_TJC in torch.cat(model.inputs):
        assert window_TJC.shape == (20, 17, 3)
        assert window_TJC[..., :2].abs().amax() == pytest.approx(1.0, abs=1e-5)
        assert (window_TJC[..., 2] == 1).all()


def test_unobserved_joints_reach_the_network_as_zeros_and_unobserved_frames_are_flagged():
    confidence_TJ = all_seen(12)
    confidence_TJ[4:6] = 0
    confidence_TJ[8, 3] = 0
    pixels_TJ2 = walking_pixels(12) * (confidence_TJ > 0)[..., None]
    model = Remembering()
    lifted = lift(model, pixels_TJ2, confidence_TJ, fps=30.0, options=LiftOptions(flip=False))
    seen_by_network = model.inputs[0][0]
    assert (seen_by_network[4:6] == 0).all()
    assert (seen_by_network[8, 3] == 0).all()
    assert lifted.observed_T.tolist() == [True] * 4 + [False] * 2 + [True] * 6
    assert np.isfinite(lifted.metres_TJC).all()


def test_a_window_that_saw_nothing_gives_way_to_its_neighbours():
    confidence_TJ = all_seen(60)
    confidence_TJ[20:40] = 0
    pixels_TJ2 = walking_pixels(60) * (confidence_TJ > 0)[..., None]
    lifted = lift(Slope(), pixels_TJ2, confidence_TJ, fps=30.0, options=LiftOptions(window=20, stride=10))
    seen = lifted.observed_T
    np.testing.assert_allclose(lifted.pixels_TJC[seen, :, :2], pixels_TJ2[seen], atol=1e-2)
    assert np.isfinite(lifted.pixels_TJC).all()


def test_the_mirrored_pass_is_mirrored_back_and_averaged():
    class Biased(nn.Module):
        """Pushes all but the root right by 0.5 and one wrist away by 2; mirrored, one is undone, the other shared."""

        def forward(self, x_BTJC: Tensor) -> Tensor:
            output = torch.cat([x_BTJC[..., :2], torch.zeros_like(x_BTJC[..., :1])], dim=-1)
            output[:, :, 1:, 0] += 0.5
            output[:, :, H36M17.index("rwrist"), 2] = 2.0
            return output

    pixels_TJ2 = walking_pixels(1)
    half_side = (pixels_TJ2.max(axis=(0, 1)) - pixels_TJ2.min(axis=(0, 1))).max() / 2
    both = lift(Biased(), pixels_TJ2, all_seen(1), fps=30.0)
    alone = lift(Biased(), pixels_TJ2, all_seen(1), fps=30.0, options=LiftOptions(flip=False))
    np.testing.assert_allclose(both.pixels_TJC[..., :2], pixels_TJ2, atol=1e-3)
    np.testing.assert_allclose(alone.pixels_TJC[:, 1:, 0], pixels_TJ2[:, 1:, 0] + 0.5 * half_side, atol=1e-3)
    depth_of = {joint: both.pixels_TJC[0, H36M17.index(joint), 2] for joint in ("rwrist", "lwrist", "head")}
    assert depth_of == pytest.approx({"rwrist": half_side, "lwrist": half_side, "head": 0.0})


def test_the_root_stays_where_it_was_seen_and_on_a_line_where_it_was_not():
    class RootRelative(nn.Module):
        """Networks learn motion relative to the root: theirs is at 0, wherever the person stands."""

        def forward(self, x_BTJC: Tensor) -> Tensor:
            relative = x_BTJC[..., :2] - x_BTJC[:, :, :1, :2]
            return torch.cat([relative, torch.zeros_like(relative[..., :1])], dim=-1)

    pixels_TJ2, confidence_TJ = walking_pixels(5), all_seen(5)
    pixels_TJ2[2, 0] = 0.0
    confidence_TJ[2, 0] = 0.0
    root_T2 = lift(RootRelative(), pixels_TJ2, confidence_TJ, fps=30.0).pixels_TJC[:, 0, :2]
    seen = [0, 1, 3, 4]
    np.testing.assert_allclose(root_T2[seen], pixels_TJ2[seen, 0], atol=1e-3)
    np.testing.assert_allclose(root_T2[2], (pixels_TJ2[1, 0] + pixels_TJ2[3, 0]) / 2, atol=1e-3)


def test_the_scale_is_that_of_the_assumed_stature():
    person_TJ3 = standing_person()[None] * 250.0
    assert pixels_per_metre(person_TJ3, 1.70, 30.0).tolist() == pytest.approx([250.0])
    assert pixels_per_metre(person_TJ3, 0.85, 30.0).tolist() == pytest.approx([500.0])


def test_who_comes_nearer_does_not_grow():
    nearer_T = np.linspace(100.0, 400.0, 301)  # pixels per metre, over ten seconds
    pixels_TJC = standing_person()[None] * nearer_T[:, None, None]
    scale_T = pixels_per_metre(pixels_TJC, 1.70, 30.0)
    np.testing.assert_allclose(scale_T[30:-30], nearer_T[30:-30], rtol=1e-6)  # medians and means of a straight line
    assert (np.abs(scale_T / nearer_T - 1) < 0.2).all()  # the ends see the inside of their second alone


def test_one_broken_frame_does_not_change_the_scale():
    pixels_TJC = np.repeat(standing_person()[None] * 250.0, 61, axis=0)
    pixels_TJC[30] *= 3
    np.testing.assert_allclose(pixels_per_metre(pixels_TJC, 1.70, 30.0), 250.0)


def test_the_scale_outlives_broken_joints_and_broken_frames():
    person_TJ3 = np.repeat(standing_person()[None] * 250.0, 9, axis=0)
    person_TJ3[:, H36M17.index("lwrist")] += 5000.0
    person_TJ3[:4] *= 3.0
    np.testing.assert_allclose(pixels_per_metre(person_TJ3, 1.70, 30.0), 250.0)


def test_metres_have_y_up_z_towards_the_viewer_and_keep_the_travel_in_the_image():
    pixels_TJ2 = walking_pixels(31, pixels_per_metre=200.0)

    class Away(nn.Module):
        """The nose is further from the viewer than everything else."""

        def forward(self, x_BTJC: Tensor) -> Tensor:
            depth = torch.zeros_like(x_BTJC[..., :1])
            depth[:, :, H36M17.index("nose")] = 0.3
            return torch.cat([x_BTJC[..., :2], depth], dim=-1)

    metres = lift(Away(), pixels_TJ2, all_seen(31), fps=30.0, options=LiftOptions(stature_m=STATURE)).metres_TJC
    person = standing_person()
    np.testing.assert_allclose(metres[0, :, 0], person[:, 0], atol=1e-3)
    np.testing.assert_allclose(metres[0, 1:9, 1], -person[1:9, 1], atol=1e-3)
    np.testing.assert_allclose(metres[:, 0, 0], 3.0 * np.arange(31) / 200.0, atol=1e-3)
    assert (metres[:, 0, 2] == 0).all()
    assert (metres[:, H36M17.index("nose"), 2] < 0).all()


def test_dropout_is_off_and_the_model_comes_back_as_it_was():
    model = Remembering()
    model.train()
    lift(model, walking_pixels(3), all_seen(3), fps=30.0)
    assert model.was_training == [False, False]
    assert model.training


def test_a_saved_motion_comes_back(tmp_path: Path):
    lifted = lift(Slope(), walking_pixels(5), all_seen(5), fps=29.97)
    lifted.save_npz(tmp_path / "person")
    back = LiftedMotion.load(tmp_path / "person")
    np.testing.assert_array_equal(back.pixels_TJC, lifted.pixels_TJC)
    np.testing.assert_array_equal(back.metres_TJC, lifted.metres_TJC)
    np.testing.assert_array_equal(back.observed_T, lifted.observed_T)
    assert back.fps == 29.97


def test_something_else_is_not_taken_for_a_motion(tmp_path: Path):
    np.savez(tmp_path / "other.npz", pixels=np.zeros(3))
    with pytest.raises(ValueError, match=r"other\.npz.*'fps', 'metres', 'observed'"):
        LiftedMotion.load(tmp_path / "other.npz")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda xy, c: xy.__setitem__((3, 2), np.nan), "frame 3 is not finite"),
        (lambda xy, c: c.__setitem__((3, 2), 1.5), r"in \[0, 1\], found 1.0 to 1.5"),
        (lambda xy, c: c.fill(0), "expected at least one observed joint"),
    ],
)
def test_unusable_keypoints_are_named(spoil, message):
    keypoints, confidence = walking_pixels(5), all_seen(5)
    spoil(keypoints, confidence)
    with pytest.raises(ValueError, match=message):
        lift(Slope(), keypoints, confidence, fps=30.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (LiftOptions(window=21), "window: expected at most 20 frames.*found 21"),
        (LiftOptions(window=10, stride=11), "stride: expected at most the window of 10 frames, found 11"),
    ],
)
def test_options_that_do_not_fit_the_model_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        lift(Remembering(), walking_pixels(5), all_seen(5), fps=30.0, options=options)


@pytest.mark.parametrize(("name", "value"), [("window", 0), ("stride", -1), ("batch_size", 0), ("stature_m", 0.0)])
def test_options_are_positive(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected a positive number, found {value}"):
        replace(LiftOptions(), **{name: value})


def test_a_model_that_puts_all_joints_on_one_point_is_an_error():
    with pytest.raises(ValueError, match="a skeleton of some size"):
        lift(lambda x: torch.zeros_like(x), walking_pixels(5), all_seen(5), fps=30.0)


def test_the_window_is_as_long_as_the_clips_the_model_learned_from():
    class FromClipsOfEight(Remembering):
        card = ModelCard(clip_frames=8)

    model = FromClipsOfEight()
    lift(model, walking_pixels(20), all_seen(20), fps=30.0, options=LiftOptions(flip=False))
    assert [tuple(batch.shape) for batch in model.inputs] == [(4, 8, 17, 3)]
