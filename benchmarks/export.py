"""Measure exported files: speed, size and errors of ONNX Runtime in float32 and int8, compared with eager PyTorch.

    python -m benchmarks.export                              # size and speed, on this machine's CPU
    python -m benchmarks.export --model DIR --store STORE    # errors of int8 for a trained pose model

With ``--write`` the table is written to README.md.

Speed: the three run in turns, and are compared in each turn. ONNX Runtime's threads would by default keep spinning
between runs and slow down the others, so spinning is switched off. Errors: scores on the held-out people of a store,
and the differences from PyTorch's outputs (root mean square of the difference, divided by that of the output, for
motion relative to the root).

Shapes: B clips, T frames, J joints, C channels.
"""

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from benchmarks.measure import Spread, in_child, interleave, machine, markdown_table, replace_section
from datasets.loading.cache import fill
from datasets.store.parquet import open_store
from motion_encoder import SIZES, DSTformer, load
from motion_encoder.io.export import export_onnx
from motion_encoder.tasks.registry import find_task
from pipelines.runtime.cli import parse
from pipelines.training.held_out import HeldOutPeople
from pipelines.training.worker import Worker

log = logging.getLogger(__name__)

MINUTES_PER_CASE = 10
README = Path(__file__).with_name("README.md")


@dataclass(frozen=True, kw_only=True)
class ExportBenchmark:
    """What to measure, and for how long."""

    sizes: tuple[Literal["motionbert", "motionbert_lite", "tiny"], ...] = ("motionbert", "motionbert_lite")
    """Sizes of the encoder to measure. Weights are random, since speed does not depend on them."""
    frames: tuple[int, ...] = (27, 243)
    """Clip lengths to measure, in frames; each batch is one clip."""
    seconds: float = 30.0
    """Seconds for each size and length, after a warm-up; at least five turns are run."""
    model: str | None = None
    """A trained 3D pose model or encoder. If given, the errors of int8 are measured instead of the speed."""
    store: str | None = None
    """Store with held-out people to score the model on. Required with --model."""
    clip_frames: int = 27
    """Number of frames in the windows that the model is scored on."""
    write: bool = False
    """Write the table to benchmarks/README.md, in place of the present one."""

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise ValueError(f"--seconds: expected a positive number, found {self.seconds}")
        if not self.frames or not all(1 <= frames <= 243 for frames in self.frames):
            raise ValueError(f"--frames: expected 1 to 243, found {list(self.frames)}")
        if (self.model is None) != (self.store is None):
            raise ValueError("--model and --store: expected both or neither")


@dataclass(frozen=True, kw_only=True)
class Speed:
    """The figures for a size and a length."""

    size: str
    frames: int
    megabytes: tuple[float, float]
    """Size of the file in float32 and in int8, in bytes."""
    milliseconds: tuple[Spread, Spread, Spread]
    """Time of PyTorch, of ONNX in float32, and of ONNX in int8, in seconds."""
    ratios: tuple[Spread, Spread, Spread]
    """Ratios of speed in the same turn: float32 / PyTorch, int8 / float32, int8 / PyTorch."""


def measure_speed(size: str, lengths: Sequence[int], seconds: float) -> list[Speed]:
    """Export one size, and measure it at each length. Call it in a fresh process."""
    model = DSTformer(SIZES[size], torch.Generator().manual_seed(0)).eval()
    with TemporaryDirectory(prefix="benchmark_export_") as folder:
        paths = _export_both(model, Path(folder), masked=False)
        return [_measure_length(model, paths, size, frames, seconds) for frames in lengths]


def _export_both(model: DSTformer, folder: Path, *, masked: bool) -> tuple[Path, Path]:
    paths = folder / "float32.onnx", folder / "int8.onnx"
    for path, int8 in zip(paths, (False, True), strict=True):
        export_onnx(model, path, task="encoder", int8=int8, masked=masked)
    return paths


def _measure_length(model: DSTformer, paths: tuple[Path, Path], size: str, frames: int, seconds: float) -> Speed:
    x_BTJC = torch.randn(1, frames, 17, 3, generator=torch.Generator().manual_seed(0))
    inputs = {"keypoints": x_BTJC.numpy()}

    def eager() -> None:
        with torch.inference_mode():
            model(x_BTJC)

    sessions = {path.stem: _session(path) for path in paths}
    steps: dict[str, Callable[[], object]] = {"eager": eager}
    steps |= {name: lambda s=session: s.run(["motion"], inputs) for name, session in sessions.items()}
    times = interleave(steps, device="cpu", seconds=seconds, at_least=5)
    pairs = (("eager", "float32"), ("float32", "int8"), ("eager", "int8"))
    ratios = [Spread.of([a / b for a, b in zip(times[one], times[other], strict=True)]) for one, other in pairs]
    spreads = [Spread.of([1e3 * each for each in times[name]]) for name in steps]
    return Speed(
        size=size,
        frames=frames,
        megabytes=(paths[0].stat().st_size / 1e6, paths[1].stat().st_size / 1e6),
        milliseconds=(spreads[0], spreads[1], spreads[2]),
        ratios=(ratios[0], ratios[1], ratios[2]),
    )


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def speed_table(found: Sequence[Speed]) -> str:
    """Return a table of the figures: medians, and the quartiles of the ratios."""
    header = (
        "model", "clips × frames", "float32 MB", "int8 MB", "PyTorch ms", "ONNX float32 ms", "ONNX int8 ms",
        "float32 / PyTorch", "int8 / float32", "int8 / PyTorch",
    )  # fmt: skip
    return markdown_table(header, [_speed_row(each) for each in found])


def _speed_row(found: Speed) -> tuple[str, ...]:
    return (
        found.size,
        f"1 × {found.frames}",
        *(f"{each:.1f}" for each in found.megabytes),
        *(f"{each.median:.0f}" for each in found.milliseconds),
        *(f"{each.median:.2f} ({each.low:.2f}–{each.high:.2f})" for each in found.ratios),
    )


class _Exported(nn.Module):
    """An exported encoder that is scored instead of the model, and compared with it."""

    def __init__(self, path: Path, model: DSTformer) -> None:
        super().__init__()
        self.session, self.model = _session(path), model
        self.sums = {"motion": np.zeros(2), "representation": np.zeros(2)}

    def forward(self, x_BTJC: Tensor, valid_BT: Tensor | None = None) -> Tensor:
        valid_BT = torch.ones(x_BTJC.shape[:2], dtype=torch.bool) if valid_BT is None else valid_BT
        outputs = self.session.run(None, {"keypoints": x_BTJC.numpy(), "valid": valid_BT.numpy()})
        motion_BTJC, rep_BTJC = (torch.from_numpy(np.asarray(output)) for output in outputs)
        expected_BTJC = self.model.encode(x_BTJC, valid_BT)
        self._add("representation", rep_BTJC[valid_BT], expected_BTJC[valid_BT])
        expected_BTJC = self.model.head(expected_BTJC)
        self._add("motion", _about_root(motion_BTJC)[valid_BT], _about_root(expected_BTJC)[valid_BT])
        return motion_BTJC

    def _add(self, name: str, found: Tensor, expected: Tensor) -> None:
        self.sums[name] += [(found - expected).square().sum().item(), expected.square().sum().item()]

    def error(self, name: str) -> float:
        """Return the root mean square of the differences, divided by that of the output."""
        difference, output = self.sums[name]
        return float(np.sqrt(difference / output))


def _about_root(x_BTJC: Tensor) -> Tensor:
    return x_BTJC - x_BTJC[:, :, :1]


def measure_cost(where: str, store: str, clip_frames: int) -> str:
    """Return a table of the scores of a trained model, in PyTorch and exported.

    Raises:
        ValueError: there is no pose model or encoder at ``where``, or the store has no held-out 3D motion.
    """
    model = load(where)
    if not isinstance(model, DSTformer):
        raise ValueError(f"{where}: expected an encoder or 3D pose model, found a {type(model).__name__}")
    with TemporaryDirectory(prefix="benchmark_export_") as scratch:
        folder = Path(scratch)
        cache = fill(open_store(store), "test", folder / "cache")
        networks: dict[str, nn.Module] = {"PyTorch": model}
        paths = _export_both(model, folder, masked=True)
        networks |= {f"ONNX {path.stem}": _Exported(path, model) for path in paths}
        rows, keys = [], ()
        for name, network in networks.items():
            scores = find_task("pose3d").score(network, HeldOutPeople.of(cache, Worker()), clip_frames)
            keys = tuple(f"`{score.protocol.key}`" for score in scores)
            of_outputs = ("motion", "representation")
            errors = [f"{network.error(each):.1e}" if isinstance(network, _Exported) else "–" for each in of_outputs]
            rows.append((name, *(f"{score.value:.2f}" for score in scores), *errors))
    parameters = sum(each.numel() for each in model.parameters())
    table = markdown_table(("runtime", *keys, "error of motion", "error of representation"), rows)
    return f"A trained network of {parameters:,} parameters on held-out people, mm:\n\n{table}"


def run(config: ExportBenchmark) -> str:
    """Measure and return the tables."""
    if config.model is not None and config.store is not None:
        return measure_cost(config.model, config.store, config.clip_frames)
    found = []
    for size in config.sizes:
        found += in_child(measure_speed, size, config.frames, config.seconds, seconds=60 * MINUTES_PER_CASE)
    return f"{machine('cpu')}; onnxruntime {onnxruntime.__version__}\n\n{speed_table(found)}"


def main(arguments: Sequence[str]) -> int:
    """Measure and print; return the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        config = parse(ExportBenchmark, __doc__ or "", arguments)
        text = run(config)
        sys.stdout.write(f"{text}\n")
        if config.write:
            replace_section(README, "export: cost" if config.model else "export: speed", text)
    except ValueError as error:
        log.error("error: %s", error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
