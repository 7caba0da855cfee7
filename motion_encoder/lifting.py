"""Lifting: convert 2D keypoints of any length to 3D motion.

A model takes a limited number of frames at once (243 in the published recipe). Longer recordings are cut into windows
that overlap by half. Each window is normalised by its own square, lifted, converted to pixels relative to the root, and
blended with weights that fall to zero at its ends, so that there are no jumps between windows. (The published code
lifts consecutive chunks of 243 frames and does not blend them.) The root keeps the position that it has in the image.

Pixels are converted to metres by the scale that gives the person the assumed height. For the pose this scale is
estimated over about a second, so that a person who comes nearer does not grow; for the movement in the image plane
there is one scale for the whole recording.

Shapes: B windows, T frames, J = 17 joints of ``h36m17``, C channels, W frames of a window, N windows.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from motion_encoder.cards import ModelCard
from motion_encoder.observation import flip
from motion_encoder.shapes import Bool, Float
from motion_encoder.skeletons import H36M17
from motion_encoder.windows import Windows, network_input

DEFAULT_WINDOW = 243
"""Number of frames in a window for a model that does not state its longest clip."""
UNSEEN_WEIGHT = 1e-6
"""Weight of a window in which nothing was observed (others: 1), so that any other window of the frame prevails."""

SEGMENTS = {
    ("rhip", "rknee"): 0.245,
    ("lhip", "lknee"): 0.245,
    ("rknee", "rankle"): 0.246,
    ("lknee", "lankle"): 0.246,
    ("root", "neck"): 0.288,
    ("rshoulder", "relbow"): 0.186,
    ("lshoulder", "lelbow"): 0.186,
    ("relbow", "rwrist"): 0.146,
    ("lelbow", "lwrist"): 0.146,
}
"""Segment lengths as fractions of the body height (Drillis and Contini, "Body segment parameters", 1966; the trunk from
hip to shoulder height).

Hips, shoulders and head are not used, because every joint set places them differently.
"""

Model = Callable[[Tensor], Tensor]
"""Maps float32 [B, T, 17, 3] of x, y (window units) and confidence to [B, T, 17, 3] of x, y, z in the same unit.

Only positions relative to the root are used; the root itself keeps its position in the image.
"""


@dataclass(frozen=True, kw_only=True)
class LiftOptions:
    """Options for lifting: windows, mirroring and scale."""

    window: int | None = None
    """Number of frames in a window. By default the length of the model's training clips or, if its card does not state
    it, the model's longest clip."""
    stride: int | None = None
    """Number of frames between the starts of two windows, at most the length of a window. By default half a window."""
    batch_size: int = 8
    """Number of windows that the model processes at once."""
    flip: bool = True
    """Also lift the mirrored keypoints and average the two results. This takes twice the time and is more accurate."""
    stature_m: float = 1.70
    """Height of the person in metres. It sets the scale of the result, which 2D keypoints do not contain."""

    def __post_init__(self) -> None:
        for name in ("window", "stride", "batch_size", "stature_m"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name}: expected a positive number, found {value}")


@dataclass(frozen=True, kw_only=True, eq=False)
class LiftedMotion:
    """One person's 3D motion."""

    pixels_TJC: Float[np.ndarray, "T 17 3"]
    """x (right) and y (down) in pixels of the image, z (away from the viewer) in pixels relative to the root."""
    metres_TJC: Float[np.ndarray, "T 17 3"]
    """x right, y up, z towards the viewer. The root starts at 0 and travels in the image plane; its z stays 0."""
    observed_T: Bool[np.ndarray, "T"]
    """Whether any joint was observed in the frame; in other frames the model inferred the pose from its neighbours."""
    fps: float

    def save_npz(self, path: str | Path) -> None:
        """Write all fields as arrays of one ``.npz`` without pickles."""
        with Path(path).open("wb") as file:  # numpy would append a suffix to a file name
            np.savez_compressed(
                file, pixels=self.pixels_TJC, metres=self.metres_TJC, observed=self.observed_T, fps=np.float64(self.fps)
            )

    @classmethod
    def load(cls, path: str | Path) -> "LiftedMotion":
        """Read a file that ``save_npz`` wrote.

        Raises:
            ValueError: the ``.npz`` has other contents.
        """
        with np.load(path, allow_pickle=False) as arrays:
            if missing := {"pixels", "metres", "observed", "fps"} - set(arrays):
                raise ValueError(f"{path}: expected a lifted motion, found no {sorted(missing)} in it")
            return cls(
                pixels_TJC=arrays["pixels"],
                metres_TJC=arrays["metres"],
                observed_T=arrays["observed"],
                fps=float(arrays["fps"]),
            )


def lift(
    model: Model,
    keypoints_2d_TJC: Float[np.ndarray, "T 17 2"],
    confidence_TJ: Float[np.ndarray, "T 17"],
    *,
    fps: float,
    options: LiftOptions | None = None,
) -> LiftedMotion:
    """Lift the keypoints of one person (pixels, y down; confidence in [0, 1], 0 for unobserved joints).

    Raises:
        ValueError: nothing was observed, a number is not finite, or the options do not fit the model.
    """
    options = options or LiftOptions()
    _check_input(keypoints_2d_TJC, confidence_TJ)
    window, stride = _window_and_stride(model, options)
    starts = window_starts(len(confidence_TJ), window, stride)
    device = _device(model)
    keypoints_TJC = torch.as_tensor(keypoints_2d_TJC, dtype=torch.float32, device=device)
    confidence = torch.as_tensor(confidence_TJ, dtype=torch.float32, device=device)
    with torch.inference_mode(), _evaluating(model):
        batches = (
            _lift_windows(model, keypoints_TJC, confidence, starts[i : i + options.batch_size], window, options.flip)
            for i in range(0, len(starts), options.batch_size)
        )
        relative_TJC = _blend(batches, starts, len(confidence_TJ)).numpy()
    pixels_TJC = relative_TJC + _root_track(keypoints_2d_TJC, confidence_TJ)
    observed_T = np.any(confidence_TJ > 0, axis=-1)
    scale_T = pixels_per_metre(pixels_TJC, options.stature_m, fps)
    return LiftedMotion(
        pixels_TJC=pixels_TJC, metres_TJC=_to_metres(pixels_TJC, observed_T, scale_T), observed_T=observed_T, fps=fps
    )


def window_starts(num_frames: int, window: int, stride: int) -> list[int]:
    """Return the first frame of each window of a recording; the last window ends at the last frame."""
    last = max(num_frames - window, 0)
    return [*range(0, last, stride), last]


def blend_weights(window: int) -> Float[Tensor, "W"]:
    """Return a Hann window that is positive everywhere, so that a frame in only one window has a weight, too."""
    middle_of_frame_W = torch.arange(window, dtype=torch.float64) + 0.5
    return torch.sin(torch.pi * middle_of_frame_W / window) ** 2


def pixels_per_metre(pixels_TJC: Float[np.ndarray, "T 17 3"], stature_m: float, fps: float) -> Float[np.ndarray, "T"]:
    """Return, for each frame, the scale at which the skeleton has the given height.

    Every body segment gives an estimate: its length divided by the standard length. The result is the median over
    segments, smoothed by a running median and a running mean over a second.

    Raises:
        ValueError: the skeleton has no extent.
    """
    ends = np.array([[H36M17.index(joint) for joint in segment] for segment in SEGMENTS])
    standard_m = np.array(list(SEGMENTS.values())) * stature_m
    lengths_TS = np.linalg.norm(pixels_TJC[:, ends[:, 1]] - pixels_TJC[:, ends[:, 0]], axis=-1)
    half_second = round(fps / 2)
    scale_T = _running(np.nanmedian, np.median(lengths_TS / standard_m, axis=-1), half_second)
    scale_T = _running(np.nanmean, scale_T, half_second)
    if not (scale_T > 0).all() or not np.isfinite(scale_T).all():
        raise ValueError(
            f"expected a skeleton of some size from the model, found a scale of {scale_T.min()} pixels per metre"
        )
    return scale_T


def _running(statistic: Callable[..., np.ndarray], values_T: np.ndarray, reach: int) -> np.ndarray:
    """Return a statistic of each value and its neighbours up to ``reach`` away; beyond the ends are NaN."""
    padded = np.pad(values_T, reach, constant_values=np.nan)
    return statistic(np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1), axis=-1)


def _check_input(keypoints_TJC: np.ndarray, confidence_TJ: np.ndarray) -> None:
    if not np.isfinite(keypoints_TJC).all():
        frame = int(np.argwhere(~np.isfinite(keypoints_TJC))[0, 0])
        raise ValueError(
            f"keypoints: frame {frame} is not finite; for unobserved joints, set keypoints and confidence to 0"
        )
    if not ((confidence_TJ >= 0) & (confidence_TJ <= 1)).all():
        low, high = confidence_TJ.min(), confidence_TJ.max()
        raise ValueError(f"confidence: expected numbers in [0, 1], found {low} to {high}")
    if not (confidence_TJ > 0).any():
        raise ValueError("confidence: expected at least one observed joint, found 0 in all frames")


def _window_and_stride(model: Model, options: LiftOptions) -> tuple[int, int]:
    longest = getattr(getattr(model, "config", None), "max_frames", None)
    window = options.window or _clip_frames_of_training(model) or longest or DEFAULT_WINDOW
    if longest is not None and window > longest:
        raise ValueError(f"window: expected at most {longest} frames, the longest clip of this model, found {window}")
    stride = options.stride or max(window // 2, 1)
    if stride > window:
        raise ValueError(f"stride: expected at most the window of {window} frames, found {stride}")
    return window, stride


def _clip_frames_of_training(model: Model) -> int | None:
    """Return the length of the training clips from the model's card; later temporal positions were never trained."""
    card = getattr(model, "card", None)
    return card.clip_frames if isinstance(card, ModelCard) else None


def _device(model: Model) -> torch.device:
    parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return torch.device("cpu") if parameter is None else parameter.device


@contextmanager
def _evaluating(model: Model) -> Iterator[None]:
    """Switch the model to eval mode and back."""
    if not isinstance(model, nn.Module) or not model.training:
        yield
        return
    model.eval()
    try:
        yield
    finally:
        model.train()


def _lift_windows(
    model: Model, keypoints_TJC: Tensor, confidence_TJ: Tensor, starts: list[int], window: int, mirrored_too: bool
) -> tuple[Tensor, Tensor]:
    """Return positions relative to the root [B, W, J, 3] in pixels, and whether anything was observed [B]."""
    keypoints_BTJC = torch.stack([keypoints_TJC[start : start + window] for start in starts])
    confidence_BTJ = torch.stack([confidence_TJ[start : start + window] for start in starts])
    seen_B = (confidence_BTJ > 0).any(dim=2).any(dim=1)
    windows = _squares(keypoints_BTJC, confidence_BTJ, Windows.around(keypoints_TJC[None], confidence_TJ[None]))
    input_BTJC = network_input(windows.normalise(keypoints_BTJC), confidence_BTJ)
    output_BTJC = model(input_BTJC)
    if mirrored_too:
        output_BTJC = (output_BTJC + flip(model(flip(input_BTJC)))) / 2
    relative_BTJC = output_BTJC - output_BTJC[:, :, :1]
    return relative_BTJC * windows.half_side_B[:, None, None, None], seen_B


def _squares(keypoints_BTJC: Tensor, confidence_BTJ: Tensor, whole: Windows) -> Windows:
    """Return the square of each window; a window without observations gets the square of the whole recording."""
    own = Windows.around(keypoints_BTJC, confidence_BTJ)
    seen_B = (confidence_BTJ > 0).any(dim=2).any(dim=1)
    return Windows(
        torch.where(seen_B[:, None], own.centre_B2, whole.centre_B2),
        torch.where(seen_B, own.half_side_B, whole.half_side_B),
    )


def _blend(batches: Iterator[tuple[Tensor, Tensor]], starts: list[int], num_frames: int) -> Float[Tensor, "T 17 3"]:
    """Return the weighted mean of the windows, in float64 because weights at the ends are small."""
    total_TJC = torch.zeros(num_frames, len(H36M17.joints), 3, dtype=torch.float64)
    weight_T = torch.zeros(num_frames, dtype=torch.float64)
    lifted = (pair for moved_BTJC, seen_B in batches for pair in zip(moved_BTJC.cpu(), seen_B.tolist(), strict=True))
    for start, (relative_WJC, seen) in zip(starts, lifted, strict=True):
        weights_W = blend_weights(len(relative_WJC)) * (1.0 if seen else UNSEEN_WEIGHT)
        span = slice(start, start + len(relative_WJC))
        total_TJC[span] += weights_W[:, None, None] * relative_WJC
        weight_T[span] += weights_W
    return (total_TJC / weight_T[:, None, None]).float()


def _root_track(keypoints_TJC: np.ndarray, confidence_TJ: np.ndarray) -> Float[np.ndarray, "T 1 3"]:
    """Return the root's position in the image, interpolated where it was not observed.

    Networks only learn motion relative to the root, so this position comes from the keypoints.
    """
    seen_T = confidence_TJ[:, 0] > 0
    track_T13 = np.zeros((len(seen_T), 1, 3), np.float32)
    if seen_T.any():
        frames = np.arange(len(seen_T))
        for axis in range(2):
            track_T13[:, 0, axis] = np.interp(frames, frames[seen_T], keypoints_TJC[seen_T, 0, axis])
    return track_T13


def _to_metres(pixels_TJC: np.ndarray, observed_T: np.ndarray, scale_T: np.ndarray) -> np.ndarray:
    """Convert to metres with y up and z towards the viewer; the root of the first observed frame is at 0."""
    root_T1C = pixels_TJC[:, :1]
    body_TJC = (pixels_TJC - root_T1C) / scale_T[:, None, None]
    travel_T1C = (root_T1C - root_T1C[int(observed_T.argmax())]) / np.median(scale_T[observed_T])
    return ((body_TJC + travel_T1C) * np.array([1.0, -1.0, -1.0])).astype(np.float32)
