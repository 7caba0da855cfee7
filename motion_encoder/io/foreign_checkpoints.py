"""Published models in files of others, read and written: the official ``.bin``, MMPose's ``.pth``, and raw weights.

An official file (MotionBERT's own code) is a ``torch.save`` of a dictionary. Its tensors are under ``model_pos`` (3D
pose and pretraining: the names of ``DSTformer``) or ``model`` (tasks on top: ``backbone.*`` and ``head.*``), all with
``module.`` in front if a GPU was there when they were written. An MMPose file has them under ``state_dict``, renamed
(``foreign_names``). Read are these and every other wrapping of the same tensors (``foreign_files``); they are known by
their names, not by the name of the file.

- official → ours → official and official → ours → MMPose → ours keep every tensor bit by bit, with its name and place.
- Every size is read off the tensors, except for the number of attention heads, which they do not show. The caller says
  it, or 8 are assumed, as in all published models, and ``load`` logs a warning. Dropout and the spread of the first
  weights are not in the files either; they do not change what a trained model computes.
- A file that lacks a tensor, has one too many or one of another shape is refused, with a list.
- Half-precision files (all float16 or all bfloat16) are widened to float32, which loses nothing.
- What we write has our description (heads, labels, card) in one more entry, ``motion_encoder``, which others ignore.

Of one-shot and mesh models, whose heads this version does not have, the encoder is read when it is asked for.
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
"""What ``nn.DataParallel`` puts before every name."""
HALVES = (torch.float16, torch.bfloat16)


def is_published_file(path: Path) -> bool:
    """Return whether a file of weights is one of others; False: it is one of ours.

    Raises:
        ValueError: it holds no weights; the message says what it is, and what to do.
    """
    if is_torch_file(path):
        return True
    if is_safetensors(path):
        return not is_ours(path)
    raise ValueError(explain(path))


@dataclass(frozen=True, kw_only=True, eq=False)
class PublishedFile:
    """A file of others, open: its tensors are read when they are used."""

    format: Format
    kind: CheckpointKind
    weights: Weights
    others: Mapping[str, Any]
    """The other entries: epoch, learning rate, ..."""
    stated: Description | None
    """What we wrote into it; none in files of others."""

    def fit(
        self, *, part: Part | None = None, num_heads: int | None = None, labels: tuple[str, ...] | None = None
    ) -> StoredModel:
        """Describe the model, and give its tensors our names; they are still those of the file.

        Raises:
            ValueError: tensors are missing, too many or of another shape or type; the model has a head that this
                version has not, and its encoder was not asked for; or an argument does not fit the file.
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
                f"the tensors {self.where} are not those of {_MODELS[self.kind]}: {'; '.join(problems)}. "
                "Was the file cut, or made by changed code? Fetch it again, or load it with the code that made it."
            )
        tensors = {name: found[rename(name)] for name in description.build().state_dict()}
        return StoredModel(
            description=description, tensors=tensors, is_part=is_part, assumed=self._assumed(description, num_heads)
        )

    @property
    def where(self) -> str:
        """Where in the file the weights are, in words."""
        return f"under {self.weights.entry!r}" if self.weights.entry else "at the top level"

    def _assumed(self, description: Description, num_heads: int | None) -> tuple[str, ...]:
        if num_heads is not None or self.stated is not None:
            return ()
        return (
            f"{description.encoder['num_heads']} attention heads assumed, as in all published models: the file does "
            "not state them. If the model has another number, its output is wrong: say num_heads (--num-heads N).",
        )

    def _refuse_head(self) -> None:
        head = [name for name in self.weights.tensors if name.startswith("head.")]
        raise ValueError(
            f"holds {_MODELS[self.kind]}, whose head this motion_encoder does not have: {len(head)} tensors would be "
            f'left behind ({shortened(head)}). To read the encoder alone, say part="encoder" (--part encoder).'
        )

    def _describe(
        self, rename: Callable[[str], str], num_heads: int | None, labels: tuple[str, ...] | None
    ) -> Description:
        if self.stated is not None:
            if num_heads is not None or labels is not None:
                raise ValueError("states its heads and labels itself: leave num_heads and labels out")
            return self.stated
        tensors = self.weights.tensors
        if self.kind != "action":
            if labels is not None:
                raise ValueError(f"labels are for action models, but this holds {_MODELS[self.kind]}: leave them out")
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
    """Open a file of others, whatever its name.

    Args:
        path: the file.
        weights: which of several sets of weights in it, by the name that an error gives it.

    Raises:
        ValueError: there is no DSTformer in it, or several; or it is damaged, or has anything but data in it.
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
    """Half precision to float32, if all is of one kind; a mixture stays, to be refused."""
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
    """Read a file of others; its tensors in memory of their own, as float32.

    An action model gets the labels "class 0", ... unless they are given, and ``published_means``, with which it reaches
    its published scores.

    Args:
        path: the file.
        part: "encoder" to leave the head of a one-shot or mesh model behind.
        num_heads: attention heads, where the file does not state them; 8 if it is left out.
        labels: names of the classes of an action model, in order, where the file does not state them.
        weights: which of several sets of weights in it, by the name that an error gives it.

    Raises:
        ValueError: as ``open_published`` and ``PublishedFile.fit``.
    """
    stored = open_published(path, weights).fit(part=part, num_heads=num_heads, labels=labels)
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in _widened(stored.tensors).items()}
    return replace(stored, tensors=tensors)


def save_official(
    path: str | Path, model: MotionModel, *, task: str, card: ModelCard, module_prefix: bool = True
) -> None:
    """Write a file that the official code loads as it loads its own, or replace it.

    The published code takes the number of heads from its own configuration, and its mean over people counts those who
    were never observed: an action model without ``published_means`` answers otherwise there where someone is missing.

    Args:
        path: where to; its folder is made if it is not there.
        model: an encoder or 3D pose model (entry ``model_pos``), or an ``ActionModel`` (entry ``model``).
        task: what the model is for.
        card: licences of the data, scores, and what else is known.
        module_prefix: write ``module.`` before every name, as all released files have it; the published code asks for
            it on a machine with a GPU, and for its absence on one without.

    Raises:
        ValueError: a task that does not fit the model, weights that are not float32, or a card with facts that JSON
            cannot hold.
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

    Its configuration has to state ``num_heads`` and, without ``learned_fusion``, ``att_fuse=False``. Arguments and
    errors as in ``save_official``; MMPose has no action model.
    """
    with naming(path):
        if not isinstance(model, DSTformer):
            raise ValueError(
                f"MMPose has no such model as {type(model).__name__}: expected an encoder or 3D pose model. "
                'Write it as an official file, or its encoder alone (part="encoder", --part encoder).'
            )
        tensors, text = _checked_tensors(model), Description.of(model, task=task, card=card).to_json()
    renamed = OrderedDict((mmpose_name(name), tensor) for name, tensor in tensors.items())
    in_order = OrderedDict(sorted(renamed.items(), key=lambda item: item[0].startswith("head.")))
    _write(Path(path), {"meta": {METADATA: text}, "state_dict": in_order})


def _checked_tensors(model: MotionModel) -> dict[str, Tensor]:
    """Return copies: a view would be written with all that it is a view of."""
    return {name: tensor.clone() for name, tensor in tensors_of(model).items()}


def _write(path: Path, entries: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(entries, buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, buffer.getvalue())
