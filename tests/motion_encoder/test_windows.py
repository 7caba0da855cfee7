"""Windows: the inverse law, the clips that have little in them, and the published normalisation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion_encoder.windows import MIN_HALF_SIDE, Windows, network_input


@pytest.mark.parametrize("ratio", ["1.0", "0.6"])
def test_equals_the_published_normalisation_but_for_its_clamp(ratio):
    with np.load(Path(__file__).parents[1] / "data" / "losses.npz", allow_pickle=False) as arrays:
        given_TJ3, expected = arrays["crop_in"], arrays[f"crop_out_{ratio}"]
    clip = torch.from_numpy(given_TJ3)[None]
    inside = Windows.around(clip, clip[..., 2], float(ratio)).normalise(clip[..., :2])
    clamped = torch.cat([inside, clip[..., 2:]], dim=-1).clamp(-1, 1)
    np.testing.assert_allclose(clamped[0].numpy(), expected, atol=1e-6)


def test_by_hand():
    """A box of 200 x 100 around (200, 150), observed; one unobserved joint far away."""
    clip = torch.tensor([[[[100.0, 100.0], [300.0, 200.0], [9999.0, -9999.0]]]])
    seen = torch.tensor([[[1.0, 0.1, 0.0]]])
    windows = Windows.around(clip, seen, margin=1.5)
    torch.testing.assert_close(windows.centre_B2, torch.tensor([[200.0, 150.0]]))
    torch.testing.assert_close(windows.half_side_B, torch.tensor([150.0]))
    torch.testing.assert_close(windows.normalise(clip)[0, 0, 0], torch.tensor([-100 / 150, -50 / 150]))


def test_depth_is_scaled_and_not_shifted():
    windows = Windows(torch.tensor([[200.0, 150.0]]), torch.tensor([50.0]))
    inside = windows.normalise(torch.tensor([[[[200.0, 150.0, 25.0]]]]))
    torch.testing.assert_close(inside, torch.tensor([[[[0.0, 0.0, 0.5]]]]))


@given(
    seed=st.integers(0, 2**31),
    size=st.floats(1, 1000),
    shift=st.floats(-1000, 1000),
    margin=st.floats(0.5, 3),
    channels=st.sampled_from([2, 3]),
)
@settings(max_examples=50, deadline=None)
def test_denormalise_inverts_normalise_and_the_window_holds_what_is_seen(seed, size, shift, margin, channels):
    generator = torch.Generator().manual_seed(seed)
    clip = shift + size * torch.rand(2, 4, 17, channels, generator=generator, dtype=torch.float64)
    seen = (torch.rand(2, 4, 17, generator=generator) > 0.3).double()
    windows = Windows.around(clip, seen, margin)
    inside = windows.normalise(clip)
    torch.testing.assert_close(windows.denormalise(inside), clip)
    reach = (inside[..., :2].abs() * seen[..., None]).amax(dim=(1, 2, 3)) * margin
    torch.testing.assert_close(reach, torch.ones(2, dtype=torch.float64))


def test_a_clip_in_which_nothing_was_observed_has_the_unit_window():
    clip = torch.full((1, 3, 17, 2), torch.nan)
    windows = Windows.around(clip, torch.zeros(1, 3, 17), margin=1.25)
    assert windows.centre_B2.tolist() == [[0, 0]]
    assert windows.half_side_B.tolist() == [1]


def test_a_clip_with_one_point_stays_finite():
    clip = torch.full((1, 3, 17, 2), 640.0)
    windows = Windows.around(clip, torch.ones(1, 3, 17), margin=1.0)
    assert windows.half_side_B.item() == pytest.approx(MIN_HALF_SIDE)
    assert windows.normalise(clip).abs().max().item() == 0


def test_margins_may_differ_by_clip():
    clip = torch.tensor([0.0, 2.0])[:, None].expand(2, 1, 2, 2).clone()
    margins = torch.tensor([1.0, 3.0])
    torch.testing.assert_close(Windows.around(clip, torch.ones(2, 1, 2), margins).half_side_B, margins)


def test_each_clip_has_its_own_window():
    clips = torch.rand(3, 4, 17, 2, generator=torch.Generator().manual_seed(0))
    seen = torch.ones(3, 4, 17)
    alone = Windows.around(clips[1:2], seen[1:2])
    torch.testing.assert_close(alone.normalise(clips[1:2])[0], Windows.around(clips, seen).normalise(clips)[1])


@pytest.mark.parametrize("garbage", [7.0, torch.nan, torch.inf])
def test_the_network_sees_zeros_where_nothing_was_observed(garbage):
    clip = torch.tensor([[[[0.5, -0.5], [garbage, garbage]]]])
    seen = network_input(clip, torch.tensor([[[0.25, 0.0]]]))
    assert seen.tolist() == [[[[0.5, -0.5, 0.25], [0.0, 0.0, 0.0]]]]
