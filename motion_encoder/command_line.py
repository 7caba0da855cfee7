"""The command ``motion-encoder`` (also ``python -m motion_encoder``): stored models, seen, converted and exported.

    motion-encoder inspect best_epoch.bin
    motion-encoder convert best_epoch.bin my_model
    motion-encoder export my_model my_model.onnx

Errors are one line on stderr, with exit status 2. A further command is one more ``_add_…`` function.
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
    is_torch_file,
    open_published,
    save_mmpose,
    save_official,
)
from motion_encoder.io.loading import load_with_task, local_copy
from motion_encoder.io.model_spec import Description, naming, shortened
from motion_encoder.model.dstformer import SIZES, DSTformerConfig
from motion_encoder.model.motion_model import MotionModel

Target = Literal["folder", "safetensors", "official", "mmpose"]
SUFFIXES: Mapping[str, Target] = {"": "folder", ".safetensors": "safetensors", ".bin": "official", ".pth": "mmpose"}
NOT_A_SIZE = ("num_heads", "init_std")
"""Fields of the encoder's configuration that ``inspect`` does not list: one has its own line, one has no effect."""
Commands = Any
"""What ``add_subparsers`` returns; its type has no public name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command (``sys.argv`` without ``arguments``) and return the exit status."""
    parser = _Parser(prog="motion-encoder", description="See what is in a stored model, convert it, export it.")
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
    """Tells errors in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def _add_convert(commands: Commands) -> None:
    parser = commands.add_parser(
        "convert",
        help="write a model in another format",
        description="Write a model in another format, with every tensor, and its card, as they are.",
    )
    _add_input(parser)
    _add_reading(parser)
    parser.add_argument(
        "output",
        metavar="OUT",
        type=Path,
        help="without suffix a model folder, .safetensors one file of ours, .bin an official file, .pth one for MMPose",
    )
    parser.add_argument("--to", choices=get_args(Target), help="the format, whatever the suffix of OUT")
    parser.add_argument(
        "--without-module-prefix", action="store_true", help="official file for the published code without a GPU"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")
    parser.set_defaults(run=_convert)


def _add_export(commands: Commands) -> None:
    parser = commands.add_parser(
        "export",
        help="write a model for other runtimes",
        description="Write a model for other runtimes: ONNX, in float32 or int8, or a program of torch.export.",
    )
    _add_input(parser)
    _add_reading(parser)
    parser.add_argument("output", metavar="OUT", type=Path, help=".onnx or .pt2 (torch.export)")
    parser.add_argument("--int8", action="store_true", help="products in int8: smaller, faster on CPUs, less exact")
    parser.add_argument("--masked", action="store_true", help="a second input says which frames are no padding")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")
    parser.set_defaults(run=_export)


def _add_inspect(commands: Commands) -> None:
    parser = commands.add_parser(
        "inspect", help="say what a stored model is", description="Say what a stored model is, without loading it."
    )
    _add_input(parser)
    parser.set_defaults(run=_inspect)


def _add_input(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "input",
        metavar="IN",
        help="a model folder, a .safetensors file of ours, an official or MMPose file, the URL of one of these "
        "(s3://, https://, ...), or models:/NAME@ALIAS in the registry that MLFLOW_TRACKING_URI names",
    )


def _add_reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--num-heads", type=int, metavar="N", help="attention heads, which official and MMPose files do not show (8)"
    )
    parser.add_argument("--part", choices=["encoder"], help="take only the encoder of a model with a head on it")
    parser.add_argument(
        "--labels", type=Path, metavar="FILE", help="names of the classes of an official action file, one per line"
    )


def _read(chosen: argparse.Namespace) -> tuple[MotionModel, str]:
    labels = None if chosen.labels is None else tuple(chosen.labels.read_text(encoding="utf-8").splitlines())
    return load_with_task(chosen.input, part=chosen.part, num_heads=chosen.num_heads, labels=labels)


def _convert(chosen: argparse.Namespace) -> None:
    target = _target(chosen.output, chosen.to)
    if chosen.without_module_prefix and target != "official":
        raise ValueError(f"--without-module-prefix is for official files, but OUT is to be: {target}")
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


def _export(chosen: argparse.Namespace) -> None:
    output = _on_this_machine(chosen.output)
    if output.exists() and (output.is_dir() or not chosen.overwrite):
        raise ValueError(f"{output}: is there already. Say --overwrite to replace a file, or another OUT.")
    model, task = _read(chosen)
    export_model(model, output, task=task, int8=chosen.int8, masked=chosen.masked)
    _say(f"{output}: {task}, {output.stat().st_size:,} bytes, {'int8' if chosen.int8 else 'float32'}")


def _target(output: Path, to: Target | None) -> Target:
    _on_this_machine(output)
    if to is None and output.suffix not in SUFFIXES:
        raise ValueError(
            f"{output}: expected no suffix (a folder) or one of {', '.join(filter(None, SUFFIXES))}, "
            f"found {output.suffix!r}. Say the format with --to."
        )
    return to or SUFFIXES[output.suffix]


def _on_this_machine(output: Path) -> Path:
    if "://" in str(output) or str(output).startswith(("s3:/", "models:/")):
        raise ValueError(f"{output}: expected a place on this machine as OUT, found a URL")
    return output


def _check_output(output: Path, target: Target, *, overwrite: bool) -> None:
    if not output.exists():
        return
    if not overwrite:
        raise ValueError(f"{output}: is there already. Say --overwrite to replace it, or another OUT.")
    if target != "folder" and output.is_dir():
        raise ValueError(f"{output}: expected a file to replace, found a folder")
    if target == "folder" and not (output / DESCRIPTION).is_file():
        raise ValueError(f"{output}: expected a model folder to replace, found no {DESCRIPTION} in it")


def _inspect(chosen: argparse.Namespace) -> None:
    with local_copy(chosen.input) as path, naming(path):
        if path.is_dir():
            lines = _of_description(describe_folder(path), _FORMATS["folder"])
        elif is_torch_file(path):
            lines = _of_published(open_published(path))
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
        ("encoder", ", ".join(f"{name} {value}" for name, value in vars(config).items() if name not in NOT_A_SIZE)),
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
    is_part = file.holds in ("one-shot", "mesh")
    stated = file.stated is not None
    # One head fits any number of channels: what counts is whether the tensors are all there.
    stored = file.fit(part="encoder" if is_part else None, num_heads=None if stated else 1)
    model = stored.description.build()
    config = model.encoder.config
    heads = f"{config.num_heads}"
    if not stated:
        config, heads = _assume_heads(config)
    prefix = f"{file.prefix!r} before every name" if file.prefix else "no prefix"
    left = {name: tensor for name, tensor in file.tensors.items() if name.startswith("head.")} if is_part else {}
    return [
        ("format", f"{_FORMATS[file.format]}, tensors under {file.top_key!r}, {prefix}"),
        ("task", _task_of(file, stored.description.task)),
        *_of_model(model, config, heads),
        *((("not read", f"{len(left)} tensors of its head, {_count(left):,} numbers"),) if left else ()),
        *_of_card(model.card),
        *(("also there", f"{name}: {_summary(value)}") for name, value in file.others.items()),
    ]


def _assume_heads(config: DSTformerConfig) -> tuple[DSTformerConfig, str]:
    published = DSTformerConfig().num_heads
    if config.dim_feat % published:
        return config, f"not in the file, and cannot be {published} as in published models: say --num-heads N"
    return replace(config, num_heads=published), f"{published} assumed, as in published models: not in the file"


def _task_of(file: PublishedFile, task: str) -> str:
    if file.holds in ("one-shot", "mesh"):
        return f"{file.holds}, whose head this version does not have; its encoder can be had with --part encoder"
    return (
        task if file.stated is not None or task == "action" else "pose3d, or a pretrained encoder: they look the same"
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
