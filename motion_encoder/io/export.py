"""Models for other runtimes: an ONNX file, in float32 or int8, or a ``torch.export`` program.

One file serves every batch and every length up to the model's ``max_frames``:

    keypoints  float32 [clips, frames, joints, 3]           x, y in window units, confidence; action models:
                       [clips, people, frames, joints, 3]
    valid      bool    [clips, frames]                      only with ``masked``: True for frames that are not padding
    motion, representation                                  outputs of an encoder or 3D pose model: those of
                                                            ``DSTformer.forward`` and ``encode``
    logits                                                  output of an action model

Both outputs of an encoder are in one file, since its head is a thousandth of the work. The outputs agree with those of
PyTorch: ONNX in float32 to 1e-4, a program to 1e-5. A clip that is longer than ``max_frames`` is an error in every
runtime, since the temporal embedding cannot be added to it.

An int8 file has a quarter of the size and is 1.7 to 2 times as fast as float32 on a CPU with VNNI. For a trained
network (dim_feat 128, depth 3) it changed the motion by 0.5 %, and the MPJPE from 132.2 to 132.3 mm
(``benchmarks/export.py``).

Every file contains the description of ``checkpoints``: an ONNX file as the metadata entry ``motion_encoder``, a program
as the extra file ``motion_encoder``. For programs that use an ONNX file, its metadata also has separate entries:
``task``, ``skeleton``, ``max_frames``, ``precision``, and, as JSON, ``labels`` and ``licences``.

ONNX needs the packages of ``motion-encoder[export]``, which are only imported for an ONNX export; a program needs none.
"""

import ast
import copy
import importlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from motion_encoder.io.checkpoints import METADATA, write_whole
from motion_encoder.io.model_spec import Description, naming
from motion_encoder.model.motion_model import MotionModel

OPSET = 18
"""Version of the ONNX operators: torch writes this one without conversion, and runtimes have read it since 2023."""
EXAMPLE = {"clips": 2, "people": 3, "frames": 5}
"""Sizes of the example input for tracing: all different, and not 1, which would be traced as a constant."""
MAX_BYTES = 2**31 - 1
"""Largest size of an ONNX file in bytes, a limit of Protocol Buffers."""
PRODUCTS = ("MatMul", "Gemm")
EXACT = (".joints_embed", ".pre_logits.fc", ".head")
"""Layers that int8 leaves in float32: the first and the last ones. They have a hundredth of the weights, and would
cause two thirds of the error."""

_CHATTY = ("torch.onnx._internal.exporter._registration", "onnxscript.optimizer._constant_folding")


def export_model(model: MotionModel, path: str | Path, *, task: str, int8: bool = False, masked: bool = False) -> None:
    """Write the format given by the suffix of ``path``: ``.onnx`` (``export_onnx``) or ``.pt2`` (``export_program``).

    Raises:
        ValueError: the suffix is another one, ``int8`` is set for a program, or as in the two functions.
        ModuleNotFoundError: as in ``export_onnx``.
    """
    suffix = Path(path).suffix
    if suffix == ".onnx":
        export_onnx(model, path, task=task, int8=int8, masked=masked)
    elif suffix != ".pt2":
        raise ValueError(f"{path}: expected the suffix .onnx or .pt2 (torch.export), found {suffix!r}")
    elif int8:
        raise ValueError(f"{path}: int8 is only for .onnx; a .pt2 program is in float32: leave int8 out")
    else:
        export_program(model, path, task=task, masked=masked)


def export_onnx(model: MotionModel, path: str | Path, *, task: str, int8: bool = False, masked: bool = False) -> None:
    """Write an ONNX file, or replace it.

    Args:
        model: a ``DSTformer`` or a model with one inside. It is not changed; the file is in float32 and eval mode.
        path: the file to write; its folder is created if it does not exist.
        task: name of the model's task.
        int8: compute matrix products in int8, with one scale for each output channel of the weights, and one for all
            activations of a product, which is computed at run time, so no data is needed for calibration. The file has
            a quarter of the size. The scores of the model are not written into it, because they were measured in
            float32: score the int8 file before you rely on it.
        masked: add a second input ``valid``, for clips of different lengths in one batch. It is then required.

    Raises:
        ValueError: the model is of another kind, the task does not fit it, or the file cannot be written.
        ModuleNotFoundError: a package of ``motion-encoder[export]`` is not installed.
    """
    _need("onnx", "onnxscript", *(["onnxruntime"] if int8 else []))
    path = _made_ready(path)
    description = _describe(model, path, task, scored=not int8)
    proto = _onnx_of(model, masked)
    if int8:
        proto = _quantised(proto)
    _strip(proto)
    for key, value in (_facts(description) | {"precision": "int8" if int8 else "float32"}).items():
        proto.metadata_props.add(key=key, value=value)
    if proto.ByteSize() > MAX_BYTES:
        raise ValueError(f"{path}: expected at most 2 GB for an ONNX file, found {proto.ByteSize():,} bytes; use .pt2")
    with _explaining(path):
        write_whole(path, proto.SerializeToString())


def export_program(model: MotionModel, path: str | Path, *, task: str, masked: bool = False) -> None:
    """Write a ``torch.export`` program, or replace it.

    ``torch.export.load(path).module()`` takes the inputs by name and returns the outputs by name. Arguments and errors
    are as in ``export_onnx``, but no extra package is needed. Only PyTorch can read the program, preferably the version
    that wrote it.
    """
    path = _made_ready(path)
    description = _describe(model, path, task, scored=True)
    buffer = io.BytesIO()
    torch.export.save(_traced(model, masked), buffer, extra_files={METADATA: description.to_json()})
    with _explaining(path):
        write_whole(path, buffer.getvalue())


def _describe(model: MotionModel, path: Path, task: str, *, scored: bool) -> Description:
    if not isinstance(model, MotionModel):
        raise ValueError(f"{path}: expected a DSTformer or a model with one inside, found a {type(model).__name__}")
    with naming(path):
        return Description.of(model, task=task, card=model.card if scored else replace(model.card, scores=()))


def _facts(description: Description) -> dict[str, str]:
    facts = {
        METADATA: description.to_json(),
        "task": description.task,
        "skeleton": description.skeleton,
        "max_frames": str(description.encoder["max_frames"]),
        "labels": json.dumps(description.head["labels"]) if "labels" in description.head else None,
        "licences": json.dumps(description.card["licences"]),
    }
    return {key: value for key, value in facts.items() if value is not None}


class _Outputs(nn.Module):
    def __init__(self, model: MotionModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, keypoints: Tensor, valid: Tensor | None = None) -> dict[str, Tensor]:
        return self.model.outputs(keypoints, valid)


def _traced(model: MotionModel, masked: bool) -> ExportedProgram:
    model = copy.deepcopy(model).cpu().float().eval()
    config = model.encoder.config
    dimensions = {"keypoints": model.dimensions} | ({"valid": ("clips", "frames")} if masked else {})
    sizes = EXAMPLE | {"frames": min(EXAMPLE["frames"], config.max_frames)}
    shapes = {name: [sizes[dimension] for dimension in of_input] for name, of_input in dimensions.items()}
    inputs = {"keypoints": torch.zeros(*shapes["keypoints"], config.num_joints, config.in_channels)}
    if masked:
        inputs["valid"] = torch.ones(*shapes["valid"], dtype=torch.bool)
    free: dict[str, Any] = {name: Dim(name, min=1) for name in ("clips", "people")}
    if config.max_frames > 1:  # with max_frames = 1 the number of frames is a constant
        free["frames"] = Dim("frames", min=1, max=config.max_frames)
    dynamic = {
        name: {axis: free[dimension] for axis, dimension in enumerate(of_input) if dimension in free}
        for name, of_input in dimensions.items()
    }
    with torch.no_grad():
        program = torch.export.export(_Outputs(model), (), inputs, dynamic_shapes=dynamic, strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # contains paths of this machine
    return program


def _onnx_of(model: MotionModel, masked: bool) -> Any:
    """Return the model as a ``ModelProto``."""
    program = _traced(model, masked)
    with _quiet():
        exported = torch.onnx.export(
            program,
            (),
            dynamo=True,
            opset_version=OPSET,
            input_names=["keypoints", "valid"][: 1 + masked],
            output_names=list(model.output_names),
            verbose=False,
        )
    assert exported is not None  # torch only returns None if it writes a file itself
    proto = exported.model_proto
    _name_dimensions(proto.graph, model.dimensions)
    return proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide messages of the exporters about their internals."""
    root, chatty = logging.getLogger(), [logging.getLogger(name) for name in _CHATTY]
    levels = [logger.level for logger in chatty]
    placeholder = logging.NullHandler()  # without any handler, logging.info would install one that shows everything
    with warnings.catch_warnings():
        # torch 2.13 deprecates a class that it still uses itself
        warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
        try:
            root.addHandler(placeholder)
            root.addFilter(_is_not_of_onnxruntime)
            for logger in chatty:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(chatty, levels, strict=True):
                logger.setLevel(level)
            root.removeFilter(_is_not_of_onnxruntime)
            root.removeHandler(placeholder)


def _is_not_of_onnxruntime(record: logging.LogRecord) -> bool:
    """Return whether a record is not from onnxruntime, whose quantiser logs to the root logger."""
    return record.levelno >= logging.ERROR or "onnxruntime" not in Path(record.pathname).parts


def _name_dimensions(graph: Any, names: tuple[str, ...]) -> None:
    """Rename the leading dimensions, for which torch made up names."""
    found = [size.dim_param for size in graph.input[0].type.tensor_type.shape.dim]
    named = {old: new for old, new in zip(found, names, strict=False) if old}
    for value in (*graph.input, *graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = named[size.dim_param]
    del graph.value_info[:]  # shapes of intermediate values, which use the old names


def _quantised(proto: Any) -> Any:
    """Return the model with its large products in int8.

    Weights have 7 bits, because processors without VNNI add two products in 16 bits, where 8 bits could overflow.
    """
    onnx, quantization = (importlib.import_module(name) for name in ("onnx", "onnxruntime.quantization"))
    exact = [node.name for node in proto.graph.node if node.op_type in PRODUCTS and _layer_of(node).endswith(EXACT)]
    assert exact, "torch no longer records the layer of a node"
    with _quiet(), TemporaryDirectory(prefix="motion_encoder_") as scratch:
        quantization.quantize_dynamic(
            proto,
            Path(scratch) / "int8.onnx",
            op_types_to_quantize=list(PRODUCTS),
            per_channel=True,
            reduce_range=True,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=exact,
            extra_options={"MatMulConstBOnly": True},  # products of two activations (in attention) stay in float32
        )
        return onnx.load(Path(scratch) / "int8.onnx")


def _layer_of(node: Any) -> str:
    """Return the name of the module that a node comes from: the last but one of the scopes that torch records."""
    notes = {note.key: note.value for note in node.metadata_props}
    scopes = ast.literal_eval(notes.get("pkg.torch.onnx.name_scopes", "[]"))
    return scopes[-2] if len(scopes) > 1 else ""


def _strip(proto: Any) -> None:
    """Remove the metadata that torch records for each node."""
    graph = proto.graph
    for part in (proto, graph, *graph.input, *graph.output, *graph.initializer, *graph.node):
        del part.metadata_props[:]
        part.doc_string = ""


def _need(*packages: str) -> None:
    for package in packages:
        try:
            importlib.import_module(package)
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"ONNX needs {error.name}: pip install 'motion-encoder[export]'") from error


def _made_ready(path: str | Path) -> Path:
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path}: expected the name of a file to write, found a folder")
    with _explaining(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def _explaining(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ValueError(f"{path}: cannot be written: {error.strerror}") from error
