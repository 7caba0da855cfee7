"""Keyed draws: their bits, their purity, their statistics.

Bounds are 5 standard errors of the quantity under the true law: with fixed seeds a test passes always or never.
"""

import math
import zlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion_encoder.keyed_random import KeyedRandom

CLIPS, DRAWS = 50, 4000
N = CLIPS * DRAWS
MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


def splitmix64(state: int) -> int:
    """One output of SplitMix64 in plain integers, for the state before the increment."""
    z = (state + GOLDEN) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def finalise(z: int) -> int:
    return splitmix64((z - GOLDEN) & MASK)


def expected_uniform(seed: int, step: int, position: int, name: str, index: int) -> float:
    key = splitmix64(splitmix64(splitmix64(seed & MASK) ^ step) ^ position)
    stream = finalise(key ^ finalise(zlib.crc32(name.encode())))
    bits = splitmix64((stream + index * GOLDEN) & MASK) >> 41
    return (bits + 0.5) / 2**23


@pytest.fixture
def random() -> KeyedRandom:
    return KeyedRandom.at(3, 7, torch.arange(CLIPS))


def test_the_reference_generator_is_splitmix64():
    """The first outputs for seed 1234567, as published with the public-domain reference code."""
    state, outputs = 1234567, []
    for _ in range(3):
        outputs.append(splitmix64(state))
        state = (state + GOLDEN) & MASK
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(
    seed=st.integers(-(2**62), 2**62),
    step=st.integers(0, 2**40),
    position=st.integers(0, 2**40),
    name=st.text(max_size=12),
)
@settings(max_examples=60, deadline=None)
def test_bits_equal_plain_integer_arithmetic(seed, step, position, name):
    drawn = KeyedRandom.at(seed, step, torch.tensor([position])).uniform(name, 2, 3).double().flatten().tolist()
    assert drawn == [expected_uniform(seed, step, position, name, index) for index in range(6)]


def test_a_clip_draws_the_same_in_any_batch(random):
    whole = random.normal("x", 5, 2)
    order = torch.tensor([4, 49, 0])
    torch.testing.assert_close(KeyedRandom.at(3, 7, order).normal("x", 5, 2), whole[order], rtol=0, atol=0)


def test_a_longer_draw_begins_with_the_shorter_one(random):
    assert torch.equal(random.uniform("x", 10)[:, :4], random.uniform("x", 4))


def test_the_same_name_draws_the_same_again(random):
    random.uniform("other", 3)
    assert torch.equal(random.uniform("x", 3), random.uniform("x", 3))


def test_shapes(random):
    assert random.uniform("x").shape == (CLIPS,)
    assert random.normal("x", 2, 3).shape == (CLIPS, 2, 3)
    assert KeyedRandom.at(0, 0, torch.arange(0)).uniform("x", 4).shape == (0, 4)


@pytest.mark.parametrize(
    "other",
    [
        KeyedRandom.at(4, 7, torch.arange(CLIPS)),
        KeyedRandom.at(3, 8, torch.arange(CLIPS)),
        KeyedRandom.at(3, 7, torch.arange(CLIPS) + CLIPS),
        KeyedRandom.at(7, 3, torch.arange(CLIPS)),
    ],
    ids=["seed", "step", "position", "seed and step exchanged"],
)
def test_another_key_is_independent(random, other):
    assert_uncorrelated(random.uniform("x", DRAWS), other.uniform("x", DRAWS))


def test_another_name_is_independent(random):
    assert_uncorrelated(random.uniform("x", DRAWS), random.uniform("y", DRAWS))


def test_neighbouring_clips_and_draws_are_independent(random):
    draws = random.uniform("x", DRAWS)
    assert_uncorrelated(draws[1:], draws[:-1])
    assert_uncorrelated(draws[:, 1:], draws[:, :-1])


def assert_uncorrelated(a: torch.Tensor, b: torch.Tensor) -> None:
    """Independent samples have a correlation of 0 with standard error 1 / sqrt(n)."""
    correlation = torch.corrcoef(torch.stack([a.double().flatten(), b.double().flatten()]))[0, 1].item()
    assert abs(correlation) < 5 / math.sqrt(a.numel())


def test_uniform_statistics(random):
    draws = random.uniform("x", DRAWS).double()
    assert draws.min().item() > 0
    assert draws.max().item() < 1
    assert abs(draws.mean().item() - 1 / 2) < 5 * math.sqrt(1 / 12 / N)
    assert abs(draws.var().item() - 1 / 12) < 5 * math.sqrt(1 / 180 / N)  # variance of (u - 1/2)^2 is 1/180
    tenth = torch.histc(draws, 10, 0, 1)
    assert (tenth - N / 10).abs().max().item() < 5 * math.sqrt(N * 0.1 * 0.9)


def test_normal_statistics(random):
    draws = random.normal("x", DRAWS).double()
    assert abs(draws.mean().item()) < 5 / math.sqrt(N)
    assert abs(draws.square().mean().item() - 1) < 5 * math.sqrt(2 / N)
    assert abs(draws.pow(3).mean().item()) < 5 * math.sqrt(15 / N)  # E x^6 = 15
    assert abs(draws.pow(4).mean().item() - 3) < 5 * math.sqrt(96 / N)  # E x^8 - 9 = 96
    beyond = math.erfc(2 / math.sqrt(2))
    assert abs((draws.abs() > 2).double().mean().item() - beyond) < 5 * math.sqrt(beyond / N)


def test_between_statistics(random):
    draws = random.between("x", -3.0, 5.0, DRAWS).double()
    assert draws.min().item() >= -3
    assert draws.max().item() <= 5
    assert abs(draws.mean().item() - 1) < 5 * 8 * math.sqrt(1 / 12 / N)
