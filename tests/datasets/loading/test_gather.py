"""A gathered batch is what one gets by cutting each clip out of its sequence by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datasets.loading.cache import Cache, Segments
from datasets.loading.gather import gather
from datasets.store.manifest import Manifest
from datasets.store.parquet import Store

LENGTHS = [6, 3, 5]
HAS_3D = [True, False, True]
HAS_2D = [False, True, True]


def make_cache() -> Cache:
    """Three segments: 3D only, 2D only, both; the value of a coordinate says which frame of which array it is."""
    num_frames = np.array(LENGTHS)
    first_3d, first_2d = np.array([5, -1, 0]), np.array([-1, 0, 3])
    frames_3d = np.arange(11, dtype=np.float32)[:, None, None] + np.zeros((11, 17, 3), np.float32)
    frames_2d = np.arange(8, dtype=np.float32)[:, None, None] + np.full((8, 17, 2), 100, np.float32)
    names = np.array(["a", "b", "c"])
    segments = Segments(
        source=names,
        sequence_id=names,
        segment=np.zeros(3, np.int64),
        subject=names,
        action=names,
        label=np.array([4, -1, 0]),
        fps=np.full(3, 30.0),
        num_frames=num_frames,
        first_3d=first_3d,
        first_2d=first_2d,
        first_confidence=np.array([0, 6, 9]),
    )
    confidence = np.linspace(0.1, 1, 14, dtype=np.float32)[:, None] * np.ones((1, 17), np.float32)
    store = Store(url=str(Path("nowhere")), manifest=Manifest(fps=30.0, command="", sources={}, files=()))
    return Cache(
        store=store,
        split="train",
        segments=segments,
        keypoints_3d_RJC=frames_3d,
        keypoints_2d_RJC=frames_2d,
        confidence_RJ=confidence,
    )


CACHE = make_cache()


@st.composite
def clips(draw: st.DrawFn, clip_frames: int) -> tuple[int, int, int]:
    segment = draw(st.integers(0, 2))
    length = draw(st.integers(1, min(clip_frames, LENGTHS[segment])))
    return segment, draw(st.integers(0, LENGTHS[segment] - length)), length


@given(batch=st.lists(clips(clip_frames=4), min_size=1, max_size=8))
def test_a_batch_is_its_clips_cut_out_one_by_one(batch: list[tuple[int, int, int]]) -> None:
    segment_B, start_B, length_B = np.array(batch).T
    found = gather(CACHE, segment_B, start_B, length_B, clip_frames=4)
    for clip, (segment, start, length) in enumerate(batch):
        frames = list(range(start, start + length)) + [start + length - 1] * (4 - length)
        confidence_first = [0, 6, 9][segment]
        for step, frame in enumerate(frames):
            if HAS_3D[segment]:
                expected = torch.full((17, 3), float([5, None, 0][segment] + frame))  # pyright: ignore[reportOptionalOperand]
            else:
                expected = torch.tensor([100.0 + frame, 100.0 + frame, 0.0]).expand(17, 3)
            assert torch.equal(found.points_BTJ3[clip, step], expected)
            observed = CACHE.confidence_RJ[confidence_first + frame] if step < length else np.zeros(17, np.float32)
            np.testing.assert_array_equal(found.confidence_BTJ[clip, step].numpy(), observed)
        valid_T = torch.ones(4, dtype=torch.bool) if found.valid_BT is None else found.valid_BT[clip]
        assert valid_T.tolist() == [True] * length + [False] * (4 - length)
        assert found.has_depth_B[clip].item() is HAS_3D[segment]
        assert found.label_B[clip].item() == [4, -1, 0][segment]


def test_types_are_those_that_training_expects() -> None:
    found = gather(CACHE, np.array([0]), np.array([0]), np.array([2]), clip_frames=3).to("cpu")
    assert found.valid_BT is not None
    assert found.points_BTJ3.dtype == found.confidence_BTJ.dtype == torch.float32
    assert found.valid_BT.dtype == found.has_depth_B.dtype == torch.bool
    assert found.label_B.dtype == torch.int64


def test_a_batch_without_padding_has_no_mask() -> None:
    assert gather(CACHE, np.array([0]), np.array([0]), np.array([3]), clip_frames=3).valid_BT is None


@pytest.mark.parametrize(
    ("segment", "start", "length"), [(3, 0, 1), (-1, 0, 1), (0, 4, 3), (0, -1, 2), (0, 0, 0), (0, 0, 5)]
)
def test_a_clip_outside_its_segment_is_refused(segment: int, start: int, length: int) -> None:
    with pytest.raises(ValueError, match="clip 1: expected frames inside"):
        gather(CACHE, np.array([0, segment]), np.array([0, start]), np.array([1, length]), clip_frames=4)
