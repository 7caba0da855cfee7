"""How a model is scored on held-out people. Every number comes with its protocol; see `motion_encoder.metrics`.

The test set is every frame of split ``test``, tails included, cut end to end into windows; each window is seen from one
random view that depends on the window alone, so every model meets the same views. The workers share the windows.

Shapes: B clips, T frames, J = 17 joints, N segments, W windows.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datasets.loading.cache import Cache
from datasets.loading.gather import Clips, gather
from motion_encoder import ActionModel, DSTformer, metrics
from motion_encoder.keyed_random import KeyedRandom
from motion_encoder.metrics import Protocol, Score
from motion_encoder.observation import TEST_VIEWS, Observation, clean_input, observe
from motion_encoder.shapes import Bool
from pipelines.training.clips import every_window
from pipelines.training.worker import Worker

EVALUATION_SEED = 20_260
BATCH = 64
MM_PER_M = 1000


@torch.inference_mode()
def pose_scores(network: DSTformer, cache: Cache, clip_frames: int, worker: Worker) -> tuple[Score, ...]:
    """Score positions: MPJPE (mm, root-relative, true scale), P-MPJPE (mm, similarity-aligned), means over frames.

    Raises:
        ValueError: the cache has no 3D motion.
    """
    network.eval()
    sums = torch.zeros(3, dtype=torch.float64, device=worker.device)
    for _, clips, observation in _seen_windows(cache, cache.segments.first_3d >= 0, clip_frames, worker):
        pred_BTJ3 = network(clean_input(observation), padding(clips)).float()
        sums += _millimetre_errors(pred_BTJ3, observation)
    count, total, aligned_total = worker.total(sums).tolist()
    if count == 0:
        raise ValueError(f"{cache.store.url}: expected 3D motion in split {cache.split} to score on, found none")
    where = _where(cache, clip_frames)
    root = Protocol(metric="mpjpe_mm", alignment="root", scale="true", **where)
    aligned = Protocol(metric="p_mpjpe_mm", alignment="procrustes", scale="fitted", **where)
    return (
        Score(protocol=root, value=total / count, higher_is_better=False),
        Score(protocol=aligned, value=aligned_total / count, higher_is_better=False),
    )


@torch.inference_mode()
def action_scores(
    network: ActionModel, cache: Cache, source: str, clip_frames: int, worker: Worker
) -> tuple[Score, ...]:
    """Score classes: top-1 over sequences of ``source``; the logits of a sequence's windows are added up.

    Raises:
        ValueError: the cache has no labelled sequence of the source.
    """
    network.eval()
    chosen_N = labelled(cache, source)
    if not chosen_N.any():
        raise ValueError(
            f"{cache.store.url}: expected labelled sequences of {source} in split {cache.split}, found none"
        )
    sequences, sequence_N = np.unique(cache.segments.sequence_id, return_inverse=True)
    label = np.full(len(sequences), -1)
    label[sequence_N[chosen_N]] = cache.segments.label[chosen_N]
    logits = torch.zeros(len(sequences), len(network.labels), device=worker.device)
    for segment_B, clips, observation in _seen_windows(cache, chosen_N, clip_frames, worker):
        window_logits = network(clean_input(observation)[:, None], padding(clips)).float()
        logits.index_add_(0, torch.from_numpy(sequence_N[segment_B]).to(worker.device), window_logits)
    predicted = worker.total(logits).argmax(dim=1).cpu()
    scored = torch.from_numpy(label >= 0)
    accuracy = metrics.accuracy(predicted[scored], torch.from_numpy(label)[scored])
    protocol = Protocol(metric="top1", **_where(cache, clip_frames, source))
    return (Score(protocol=protocol, value=accuracy, higher_is_better=True),)


def labelled(cache: Cache, source: str) -> Bool[np.ndarray, "N"]:
    """Return which segments have a label of ``source``; labels of unlike sources are not one set."""
    return (cache.segments.label >= 0) & (cache.segments.source == source)


def padding(clips: Clips) -> Bool[Tensor, "B T"] | None:
    """Return the mask of valid frames, or None where it would mask nothing: unmasked attention is faster."""
    return None if bool(clips.valid_BT.all()) else clips.valid_BT


def _seen_windows(
    cache: Cache, chosen_N: np.ndarray, clip_frames: int, worker: Worker
) -> Iterator[tuple[np.ndarray, Clips, Observation]]:
    """This worker's batches of (segments, clips, what is seen of them)."""
    segment_W, start_W, length_W = every_window(cache.segments.num_frames, chosen_N, clip_frames)
    mine = np.arange(worker.rank, len(segment_W), worker.world_size)
    for begin in range(0, len(mine), BATCH):
        window_B = mine[begin : begin + BATCH]
        clips = gather(cache, segment_W[window_B], start_W[window_B], length_W[window_B], clip_frames)
        clips = clips.to(worker.device)
        random = KeyedRandom.at(EVALUATION_SEED, 0, torch.from_numpy(window_B).to(worker.device))
        yield (
            segment_W[window_B],
            clips,
            observe(clips.points_BTJ3, clips.confidence_BTJ, clips.has_depth_B, random, TEST_VIEWS),
        )


def _millimetre_errors(pred_BTJ3: Tensor, observation: Observation) -> Tensor:
    """(frames, sum of MPJPE, sum of P-MPJPE) in mm; frames without a known root have no root-relative error."""
    known_BTJ = (observation.confidence_BTJ > 0) & (observation.confidence_BTJ[..., :1] > 0)
    to_mm_BT11 = (MM_PER_M / observation.scale_BT)[..., None, None]
    pred_mm, target_mm = (
        (points_BTJ3 - points_BTJ3[:, :, :1]) * to_mm_BT11 for points_BTJ3 in (pred_BTJ3, observation.target_BTJ3)
    )
    seen_BT = known_BTJ.any(dim=-1)
    errors = (metric(pred_mm, target_mm, known_BTJ)[seen_BT] for metric in (metrics.mpjpe, metrics.p_mpjpe))
    return torch.stack([seen_BT.sum().double(), *(error.double().sum() for error in errors)])


def _where(cache: Cache, clip_frames: int, source: str | None = None) -> dict[str, Any]:
    digest = cache.store.manifest.split_digest(cache.split)[:8]
    data = f"{source}.{digest}" if source else digest
    return {"input": "projected-2d", "clip_frames": clip_frames, "split": cache.split, "data": data}
