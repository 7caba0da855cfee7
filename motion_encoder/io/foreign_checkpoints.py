"""Read and write the checkpoints of other code: the official ``.bin``, MMPose's ``.pth``, and raw weights.

An official file (of the MotionBERT code) is a ``torch.save`` of a dictionary. Its tensors are under ``model_pos`` (3D
pose and pretraining: the names of ``DSTformer``) or ``model`` (other tasks: ``backbone.*`` and ``head.*``), and all
names begin with ``module.`` if the file was written on a machine with a GPU. An MMPose file has the tensors under
``state_dict``, with other names (``foreign_names``). Files that wrap the same tensors in other ways can be read, too
(``foreign_files``): they are recognised by the names of their tensors, not by the name of the file.

- official → ours → official and official → ours → MMPose → ours keep every tensor bitwise, with its name and position.
- Every size is inferred from the tensors, except for the number of attention heads, which they do not show. The caller
  passes it; by default it is 8, as in all published models, and ``load`` logs a warning. Dropout and the standard
  deviation of the initial weights are not in the files either, but do not change what a trained model computes.
- A file with missing tensors, unknown tensors or wrong shapes is rejected, with a list of them.
- Half-precision files (all float16 or all bfloat16) are converted to float32, which is lossless.
- Files that we write contain our description (heads, labels, card) in the additional entry ``motion_encoder``, which
  other code ignores.

One-shot and mesh models have heads that this version does not support; only their encoder can be read.
"""

import io
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from motion_encoder.cards import ModelCard
from motion_encoder.io.checkpoints import METADATA, is_ours, tensors_of, write_whole
from motion_encoder.io.file_kinds import explain, is_safetensors, is_torch_file
from motion_encoder.io.foreign_files import Weights, choose_weights, read_entries
from motion_encoder.io.foreign_names import (
    NAMES,
    CheckpointKind,
    Format,
    backbone_name,
    detect_format,
    detect_kind,
    infer_action_head,
    infer_encoder,
    mmpose_name,
    official_action_name,
    place_in_action_file,
)
from motion_encoder.io.model_spec import Description, StoredModel, differences, naming, shortened
from motion_encoder.model.dstformer import DSTformer
from motion_encoder.model.heads import ActionModel
from motion_encoder.model.motion_model import MotionModel

Part = Literal["encoder"]

MODULE = "module."
"""The prefix that ``nn.DataParallel`` adds to every name."""
HALVES = (torch.float16, torch.bfloat16)


def is_published_file(path: Path) -> bool:
    """Return whether a weights file is from other code; False if this library wrote it in its own format.

    Raises:
        ValueError: the file has no weights; the message says what it is, and what to do.
    """
    if is_torch_file(path):
        return True
    if is_safetensors(path):
        return not is_ours(path)
    raise ValueError(explain(path))


@dataclass(frozen=True, kw_only=True, eq=False)
class PublishedFile:
    """An open checkpoint of other code; its tensors are read when they are used."""

    format: Format
    kind: CheckpointKind
    weights: Weights
    others: Mapping[str, Any]
    """The other entries of the file: epoch, learning rate, ..."""
    stated: Description | None
    """Our own description, if this library wrote the file."""

    def fit(
        self, *, part: Part | None = None, num_heads: int | None = None, labels: tuple[str, ...] | None = None
    ) -> StoredModel:
        """Describe the model and rename its tensors to our names. The tensors are not copied.

        Raises:
            ValueError: tensors are missing, unknown, or have another shape or type; the model has a head that this
                version does not support, and ``part`` is not "encoder"; or an argument does not fit the file.
        """
        is_part = self.kind in ("one-shot", "mesh")
        if is_part and part != "encoder":
            self._refuse_head()
        rename = backbone_name if is_part else NAMES[self.format, self.kind]
        description = self._describe(rename, num_heads, labels)
        expected = {rename(name): tensor for name, tensor in description.build().state_dict().items()}
        found = {
            name: tensor for name, tensor in self.weights.tensors.items() if not (is_part and name.startswith("head."))
        }
        if problems := differences(expected, _widened(found)):
            raise ValueError(
                f"the tensors {self.where} are not those of {_MODELS[self.kind]}: {'; '.join(problems)}. The file may "
                "be truncated, or written by modified code. Fetch it again, or load it with the code that wrote it."
            )
        tensors = {name: found[rename(name)] for name in description.build().state_dict()}
        return StoredModel(
            description=description, tensors=tensors, is_part=is_part, assumed=self._assumed(description, num_heads)
        )

    @property
    def where(self) -> str:
        """Where in the file the weights are, for messages."""
        return f"under {self.weights.entry!r}" if self.weights.entry else "at the top level"

    def _assumed(self, description: Description, num_heads: int | None) -> tuple[str, ...]:
        if num_heads is not None or self.stated is not None:
            return ()
        return (
            f"{description.encoder['num_heads']} attention heads assumed, as in all published models, since the file "
            "does not state the number. If it is wrong, the output is wrong: pass num_heads (--num-heads N).",
        )

    def _refuse_head(self) -> None:
        head = [name for name in self.weights.tensors if name.startswith("head.")]
        raise ValueError(
            f"contains {_MODELS[self.kind]}, whose head is not supported: {len(head)} tensors would be skipped "
            f'({shortened(head)}). To read only the encoder, pass part="encoder" (--part encoder).'
        )

    def _describe(
        self, rename: Callable[[str], str], num_heads: int | None, labels: tuple[str, ...] | None
    ) -> Description:
        if self.stated is not None:
            if num_heads is not None or labels is not None:
                raise ValueError("the file states its heads and labels: leave num_heads and labels out")
            return self.stated
        tensors = self.weights.tensors
        if self.kind != "action":
            if labels is not None:
                raise ValueError(f"labels are for action models, but this is {_MODELS[self.kind]}: leave them out")
            encoder = infer_encoder(tensors, rename, num_heads)
            return Description.current("pose3d", encoder, {}, ModelCard())
        encoder = infer_encoder(tensors, lambda name: rename("encoder." + name), num_heads)
        head, num_classes = infer_action_head(tensors, published_means=self.format == "official")
        if labels is not None and len(labels) != num_classes:
            raise ValueError(f"labels: expected {num_classes}, one per class of the file, found {len(labels)}")
        labels = labels or tuple(f"class {number}" for number in range(num_classes))
        return Description.current("action", encoder, asdict(head) | {"labels": list(labels)}, ModelCard())


_MODELS: Mapping[CheckpointKind, str] = {
    "pose": "a 3D pose model or pretrained encoder",
    "action": "an action model",
    "one-shot": "a one-shot action model",
    "mesh": "a mesh model",
}


def open_published(path: Path, weights: str | None = None) -> PublishedFile:
    """Open a checkpoint of other code; its file name does not matter.

    Args:
        path: the file.
        weights: the set of weights to use if there are several, by the name that the error message lists.

    Raises:
        ValueError: the file has no DSTformer, or several; or it is damaged, or contains code.
    """
    entries = read_entries(path)
    around = next((each for each in (entries, entries.get("meta")) if isinstance(each, dict) and METADATA in each), {})
    text = around.pop(METADATA, None)
    if not isinstance(text, str | None):
        raise ValueError(f"entry {METADATA!r}: expected the text that this library writes, found {str(text)[:80]!r}")
    chosen = choose_weights(entries, weights)
    top_key = chosen.entry.partition("/")[0]
    return PublishedFile(
        format=detect_format(chosen.tensors),
        kind=detect_kind(chosen.tensors),
        weights=chosen,
        others={str(key): value for key, value in entries.items() if chosen.entry and key != top_key},
        stated=None if text is None else Description.from_json(text),
    )


def _widened(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Convert half precision to float32 if all tensors have the same type; a mixture is kept, and rejected later."""
    kinds = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
    if len(kinds) != 1 or not kinds <= set(HALVES):
        return tensors
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def read_published(
    path: Path,
    *,
    part: Part | None = None,
    num_heads: int | None = None,
    labels: tuple[str, ...] | None = None,
    weights: str | None = None,
) -> StoredModel:
    """Read a checkpoint of other code; its tensors are copied into memory as float32.

    An action model gets ``published_means``, which it needs to reach its published scores, and the labels "class 0",
    ... unless they are given.

    Args:
        path: the file.
        part: "encoder" to skip the head of a one-shot or mesh model.
        num_heads: number of attention heads, if the file does not state it; 8 by default.
        labels: class names of an action model, in order, if the file does not state them.
        weights: the set of weights to use if there are several, by the name that the error message lists.

    Raises:
        ValueError: as in ``open_published`` and ``PublishedFile.fit``.
    """
    stored = open_published(path, weights).fit(part=part, num_heads=num_heads, labels=labels)
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in _widened(stored.tensors).items()}
    return replace(stored, tensors=tensors)


def save_official(
    path: str | Path, model: MotionModel, *, task: str, card: ModelCard, module_prefix: bool = True
) -> None:
    """Write a file that the official code can load like its own, or replace it.

    The published code takes the number of heads from its own configuration. Its mean over people includes those who
    were never observed, so an action model without ``published_means`` gives other results there if a person is absent.

    Args:
        path: the file to write; its folder is created if it does not exist.
        model: an encoder or 3D pose model (entry ``model_pos``), or an ``ActionModel`` (entry ``model``).
        task: name of the model's task.
        card: licences of the data, scores, and other facts.
        module_prefix: begin every name with ``module.``, as in all released files. The published code requires this
            prefix on a machine with a GPU, and names without it on a machine without one.

    Raises:
        ValueError: the task does not fit the model, the weights are not float32, or the card has facts that JSON cannot
            represent.
    """
    with naming(path):
        tensors, text = _checked_tensors(model), Description.of(model, task=task, card=card).to_json()
    prefix = MODULE if module_prefix else ""
    if isinstance(model, ActionModel):
        names = sorted(tensors, key=place_in_action_file)
        top_key = "model"
        renamed = OrderedDict((prefix + official_action_name(name), tensors[name]) for name in names)
    else:
        top_key, renamed = "model_pos", OrderedDict((prefix + name, tensor) for name, tensor in tensors.items())
    _write(Path(path), {top_key: renamed, METADATA: text})


def save_mmpose(path: str | Path, model: MotionModel, *, task: str, card: ModelCard) -> None:
    """Write a file for MMPose's ``PoseLifter`` with ``DSTFormer`` and ``MotionRegressionHead``, or replace it.

    MMPose's configuration has to state ``num_heads`` and, for a model without ``learned_fusion``, ``att_fuse=False``.
    Arguments and errors are as in ``save_official``; MMPose has no action model.
    """
    with naming(path):
        if not isinstance(model, DSTformer):
            raise ValueError(
                f"expected an encoder or 3D pose model for MMPose, found {type(model).__name__}. "
                'Write it as an official file, or write only its encoder (part="encoder", --part encoder).'
            )
        tensors, text = _checked_tensors(model), Description.of(model, task=task, card=card).to_json()
    renamed = OrderedDict((mmpose_name(name), tensor) for name, tensor in tensors.items())
    in_order = OrderedDict(sorted(renamed.items(), key=lambda item: item[0].startswith("head.")))
    _write(Path(path), {"meta": {METADATA: text}, "state_dict": in_order})


def _checked_tensors(model: MotionModel) -> dict[str, Tensor]:
    """Return copies of the tensors, since ``torch.save`` writes the whole storage behind a view."""
    return {name: tensor.clone() for name, tensor in tensors_of(model).items()}


def _write(path: Path, entries: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(entries, buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, buffer.getvalue())
