"""The command ``motion-encoder`` (also ``python -m motion_encoder``): inspect, convert and export stored models.

    motion-encoder inspect best_epoch.bin
    motion-encoder convert best_epoch.bin my_model
    motion-encoder export my_model my_model.onnx

An error is printed as one line on stderr, with exit status 2. To add a command, add an ``_add_…`` function.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

from torch import Tensor

from motion_encoder.cards import ModelCard
from motion_encoder.io.checkpoints import DESCRIPTION, describe_file, describe_folder, save, save_file
from motion_encoder.io.export import export_model
from motion_encoder.io.foreign_checkpoints import (
    PublishedFile,
    is_published_file,
    open_published,
    save_mmpose,
    save_official,
)
from motion_encoder.io.foreign_names import Format
from motion_encoder.io.loading import load_with_task, local_copy
from motion_encoder.io.model_spec import Description, naming, shortened
from motion_encoder.model.dstformer import SIZES, DSTformerConfig
from motion_encoder.model.motion_model import MotionModel

Target = Literal["folder", "safetensors", "official", "mmpose"]
SUFFIXES: Mapping[str, Target] = {"": "folder", ".safetensors": "safetensors", ".bin": "official", ".pth": "mmpose"}
HIDDEN_FIELDS = ("num_heads", "init_std")
"""Fields of the configuration that ``inspect`` does not show under "encoder". The number of heads has a line of its
own, and the standard deviation of the initial weights has no effect after training."""
Commands = Any
"""The result of ``add_subparsers``, whose type has no public name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status; ``arguments`` default to those of ``sys.argv``."""
    parser = _Parser(prog="motion-encoder", description="Inspect, convert and export stored models.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in (_add_inspect, _add_convert, _add_export):
        add(commands)
    chosen = parser.parse_args(arguments)
    try:
        chosen.run(chosen)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        sys.stderr.write(f"{parser.prog}: error: {' '.join(str(error).split())}\n")
        return 2
    return 0


class _Parser(argparse.ArgumentParser):
    """Reports an error as one line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def _add_convert(commands: Commands) -> None:
    parser = commands.add_parser(
        "convert",
        help="write a model in another format",
        description="Write a model in another format. All tensors and the model card are kept unchanged.",
    )
    _add_input(parser)
    _add_reading(parser)
    parser.add_argument(
        "output",
        metavar="OUT",
        type=Path,
        help="the file or folder to write. The format follows from the file extension: none for a model folder, "
        ".safetensors for one file in the format of this library, .bin for the official MotionBERT code, .pth for "
        "MMPose",
    )
    parser.add_argument(
        "--to", choices=get_args(Target), help="write this format, regardless of the file extension of OUT"
    )
    parser.add_argument(
        "--without-module-prefix",
        action="store_true",
        help="write an official file for machines without a GPU. By default every name begins with 'module.', which "
        "the official code requires on machines with a GPU",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it already exists")
    parser.set_defaults(run=_convert)


def _add_export(commands: Commands) -> None:
    parser = commands.add_parser(
        "export",
        help="write a model for other runtimes (ONNX, torch.export)",
        description="Write a model for other runtimes: an ONNX file, in float32 or int8, or a torch.export program.",
    )
    _add_input(parser)
    _add_reading(parser)
    parser.add_argument(
        "output", metavar="OUT", type=Path, help="the file to write: FILE.onnx, or FILE.pt2 for torch.export"
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help="compute matrix products in int8 instead of float32 (ONNX only): a quarter of the size, about twice as "
        "fast on CPUs, slightly less accurate",
    )
    parser.add_argument(
        "--masked",
        action="store_true",
        help="add an input 'valid' that masks padding frames, for batches with clips of different lengths",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it already exists")
    parser.set_defaults(run=_export)


def _add_inspect(commands: Commands) -> None:
    parser = commands.add_parser(
        "inspect",
        help="show what a stored model contains",
        description="Show what a stored model contains: format, task, size, labels, scores and licences. The weights "
        "are not loaded.",
    )
    _add_input(parser)
    parser.set_defaults(run=_inspect)


def _add_input(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "input",
        metavar="IN",
        help="the model: a model folder, a .safetensors file of this library, an official MotionBERT or MMPose file, "
        "the URL of one of these (s3://, https://, ...), or models:/NAME@ALIAS in the registry at MLFLOW_TRACKING_URI",
    )
    parser.add_argument(
        "--weights",
        metavar="NAME",
        help="the set of weights to use. Needed only for an official, MMPose or other PyTorch file with several sets, "
        "such as a moving average; the error message then lists their names",
    )


def _add_reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--num-heads",
        type=int,
        metavar="N",
        help="number of attention heads of an official or MMPose model, whose file does not state it. By default 8, as "
        "in all published models, with a warning",
    )
    parser.add_argument(
        "--part", choices=["encoder"], help="use only the encoder of the model, without its task's head"
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="text file with the class names of an official action model, one per line. By default 'class 0', "
        "'class 1', ...",
    )


def _read(chosen: argparse.Namespace) -> tuple[MotionModel, str]:
    labels = None if chosen.labels is None else tuple(chosen.labels.read_text(encoding="utf-8").splitlines())
    return load_with_task(
        chosen.input, part=chosen.part, num_heads=chosen.num_heads, labels=labels, weights=chosen.weights
    )


def _convert(chosen: argparse.Namespace) -> None:
    target = _target(chosen.output, chosen.to)
    if chosen.without_module_prefix and target != "official":
        raise ValueError(f"--without-module-prefix is only for official files, but the format of OUT is {target}")
    _check_output(chosen.output, target, overwrite=chosen.overwrite)
    model, task = _read(chosen)
    if target == "official":
        prefix = not chosen.without_module_prefix
        save_official(chosen.output, model, task=task, card=model.card, module_prefix=prefix)
    else:
        _SAVE[target](chosen.output, model, task=task, card=model.card)
    heads = model.encoder.config.num_heads
    _say(f"{chosen.output}: {_FORMATS[target]}, {task}, {_number_of_parameters(model):,} parameters, {heads} heads")


_SAVE: Mapping[Target, Callable[..., None]] = {"folder": save, "safetensors": save_file, "mmpose": save_mmpose}
_FORMATS: Mapping[Target, str] = {
    "folder": "model folder",
    "safetensors": "one safetensors file",
    "official": "official file",
    "mmpose": "MMPose file",
}
_FILES: Mapping[Format, str] = {
    "official": _FORMATS["official"],
    "mmpose": _FORMATS["mmpose"],
    "ours": "state dict of a model of this library",
}


def _export(chosen: argparse.Namespace) -> None:
    output = _on_this_machine(chosen.output)
    if output.exists() and (output.is_dir() or not chosen.overwrite):
        raise ValueError(f"{output}: already exists. Pass --overwrite to replace a file, or another OUT.")
    model, task = _read(chosen)
    export_model(model, output, task=task, int8=chosen.int8, masked=chosen.masked)
    _say(f"{output}: {task}, {output.stat().st_size:,} bytes, {'int8' if chosen.int8 else 'float32'}")


def _target(output: Path, to: Target | None) -> Target:
    _on_this_machine(output)
    if to is None and output.suffix not in SUFFIXES:
        raise ValueError(
            f"{output}: expected no suffix (a folder) or one of {', '.join(filter(None, SUFFIXES))}, "
            f"found {output.suffix!r}. Choose the format with --to."
        )
    return to or SUFFIXES[output.suffix]


def _on_this_machine(output: Path) -> Path:
    if "://" in str(output) or str(output).startswith(("s3:/", "models:/")):
        raise ValueError(f"{output}: expected a local path as OUT, found a URL")
    return output


def _check_output(output: Path, target: Target, *, overwrite: bool) -> None:
    if not output.exists():
        return
    if not overwrite:
        raise ValueError(f"{output}: already exists. Pass --overwrite to replace it, or another OUT.")
    if target != "folder" and output.is_dir():
        raise ValueError(f"{output}: expected a file to replace, found a folder")
    if target == "folder" and not (output / DESCRIPTION).is_file():
        raise ValueError(f"{output}: expected a model folder to replace, found no {DESCRIPTION} in it")


def _inspect(chosen: argparse.Namespace) -> None:
    with local_copy(chosen.input) as path, naming(path):
        if path.is_dir():
            lines = _of_description(describe_folder(path), _FORMATS["folder"])
        elif is_published_file(path):
            lines = _of_published(open_published(path, chosen.weights))
        else:
            lines = _of_description(describe_file(path), _FORMATS["safetensors"])
    for name, value in lines:
        _say(f"{name:<12}{value}")


Lines = list[tuple[str, str]]


def _of_description(description: Description, format_name: str) -> Lines:
    model = description.build()
    config = model.encoder.config
    return [
        ("format", f"{format_name}, version {description.format_version}"),
        ("task", description.task),
        *_of_model(model, config, f"{config.num_heads}"),
        *_of_card(model.card),
    ]


def _of_model(model: MotionModel, config: DSTformerConfig, heads: str) -> Lines:
    lines = [
        ("size", _size_name(config)),
        ("parameters", f"{_number_of_parameters(model):,}"),
        ("heads", heads),
        ("encoder", ", ".join(f"{name} {value}" for name, value in vars(config).items() if name not in HIDDEN_FIELDS)),
    ]
    settings = model.head_settings()
    labels = settings.pop("labels", None)
    if settings:
        lines.append(("head", ", ".join(f"{name} {value}" for name, value in settings.items() if value is not None)))
    if labels:
        lines.append(("labels", f"{len(labels)}: {shortened(labels)}"))
    return lines


def _size_name(config: DSTformerConfig) -> str:
    same = (name for name, size in SIZES.items() if DSTformerConfig.of(size) == replace(config, init_std=size.init_std))
    return next(same, "-")


def _number_of_parameters(model: MotionModel) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _of_card(card: ModelCard) -> Lines:
    return [
        *(("licence", f"{source}: {licence}") for source, licence in card.licences.items()),
        *(("score", f"{score.protocol.key} {score.value:g}") for score in card.scores),
        *((("clip frames", f"{card.clip_frames}"),) if card.clip_frames else ()),
        *(("fact", f"{name}: {value}") for name, value in card.facts.items()),
    ]


def _of_published(file: PublishedFile) -> Lines:
    is_part = file.kind in ("one-shot", "mesh")
    stated = file.stated is not None
    # One head fits any number of channels; here it only matters whether all tensors are there.
    stored = file.fit(part="encoder" if is_part else None, num_heads=None if stated else 1)
    model = stored.description.build()
    config = model.encoder.config
    heads = f"{config.num_heads}"
    if not stated:
        config, heads = _assume_heads(config)
    weights = file.weights
    prefix = f"{weights.prefix!r} before every name" if weights.prefix else "no prefix"
    left = {name: tensor for name, tensor in weights.tensors.items() if name.startswith("head.")} if is_part else {}
    return [
        ("format", f"{_FILES[file.format]}, tensors {file.where}, {prefix}"),
        ("task", _task_of(file, stored.description.task)),
        *_of_model(model, config, heads),
        *((("not read", f"{len(left)} tensors of its head, {_count(left):,} numbers"),) if left else ()),
        *_of_card(model.card),
        *(("also there", f"{name}: {_summary(value)}") for name, value in file.others.items()),
    ]


def _assume_heads(config: DSTformerConfig) -> tuple[DSTformerConfig, str]:
    published = DSTformerConfig().num_heads
    if config.dim_feat % published:
        return (
            config,
            f"not stated in the file, and {published} (as in published models) do not fit: pass --num-heads N",
        )
    return replace(
        config, num_heads=published
    ), f"{published} assumed (as in published models), since the file does not state it"


def _task_of(file: PublishedFile, task: str) -> str:
    if file.kind in ("one-shot", "mesh"):
        return f"{file.kind}, whose head is not supported; its encoder can be read with --part encoder"
    return (
        task
        if file.stated is not None or task == "action"
        else "pose3d or pretrained encoder (their files do not differ)"
    )


def _count(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors.values())


def _summary(value: Any) -> str:
    if isinstance(value, Tensor):
        return str(value.tolist()) if value.numel() <= 4 else f"tensor {list(value.shape)}"
    if isinstance(value, Mapping):
        return f"{len(value)} entries: {', '.join(map(str, value))}"[:100]
    return str(value)[:100]


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
