"""The published checkpoint formats, read and written: the official ``.bin`` and MMPose's ``.pth``.

An official file (MotionBERT's own code) is a ``torch.save`` of a dictionary. Its tensors lie under ``model_pos`` (3D
pose and pretraining: the names of ``DSTformer``) or ``model`` (tasks on top: ``backbone.*`` and ``head.*``), all with
``module.`` in front if a GPU was there when they were written. An MMPose file has them under ``state_dict``, renamed
(``published_names``). Files are known by what is in them, not by how they are called.

- official → ours → official and official → ours → MMPose → ours keep every tensor bit by bit, with its name and place.
- Every size is read off the tensors, but the number of attention heads, which they do not show: 8, as in every
  published model, or what the caller says. Dropout and the spread of first weights are not in the files either.
- A file that lacks a tensor, has one too many or one of another shape is refused, with a list. So is one whose bytes
  changed: a zip file, as torch writes since 1.6, has a checksum of every tensor. (Older files have none.)
- Nothing in a file is run: ``torch.load(weights_only=True)``, and beyond its own list only numbers of numpy.
- Half-precision files (all float16 or all bfloat16) are widened to float32, which loses nothing.
- What we write has our description (heads, labels, card) in one more entry, ``motion_encoder``, which others ignore.

One-shot and mesh files hold heads that this version has not; their encoder is read when it is asked for.
"""

import io
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from motion_encoder.cards import ModelCard
from motion_encoder.io.checkpoints import METADATA, tensors_of, write_whole
from motion_encoder.io.foreign_names import (
    NAMES,
    Format,
    Holds,
    backbone_name,
    infer_action_head,
    infer_encoder,
    mmpose_name,
    official_action_name,
    place_in_action_file,
    what_it_holds,
)
from motion_encoder.io.model_spec import Description, StoredModel, differences, naming, shortened
from motion_encoder.model.dstformer import DSTformer
from motion_encoder.model.heads import ActionModel
from motion_encoder.model.motion_model import MotionModel

Part = Literal["encoder"]

MODULE = "module."
"""What ``nn.DataParallel`` puts before every name."""
ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
"""Before torch 1.6: a pickle of a fixed number, then pickles, then the tensors."""
TOP_KEYS: Mapping[str, Format] = {"model_pos": "official", "model": "official", "state_dict": "mmpose"}
HALVES = (torch.float16, torch.bfloat16)
_MAKE_SCALAR, _MAKE_ARRAY = np.float64(0).__reduce__()[0], np.zeros(0).__reduce__()[0]
HARMLESS = [
    *((_MAKE_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *((_MAKE_ARRAY, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *(np.ndarray, np.dtype, np.dtypes.Float64DType, np.dtypes.Float32DType, np.dtypes.Int64DType),
    *(np.dtypes.Int32DType, np.dtypes.UInt8DType),
]
"""Numbers and arrays of numpy, under the names of numpy 1 and 2: losses and scores of the official training loop,
colours and weights of joints in MMPose's ``meta``."""


def is_torch_file(path: Path) -> bool:
    """Return whether the file begins like one of ``torch.save``."""
    with path.open("rb") as file:
        return file.read(len(LEGACY_MAGIC)).startswith((ZIP_MAGIC, LEGACY_MAGIC))


@dataclass(frozen=True, kw_only=True, eq=False)
class PublishedFile:
    """A published file, open: its tensors are read when they are used."""

    format: Format
    holds: Holds
    top_key: str
    prefix: str
    """``module.`` or nothing."""
    tensors: Mapping[str, Tensor]
    """Under the file's names, without the prefix."""
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
        is_part = self.holds in ("one-shot", "mesh")
        if is_part and part != "encoder":
            self._refuse_head()
        rename = backbone_name if is_part else NAMES[self.format, self.holds]
        description = self._describe(rename, num_heads, labels)
        expected = {rename(name): tensor for name, tensor in description.build().state_dict().items()}
        found = {name: tensor for name, tensor in self.tensors.items() if not (is_part and name.startswith("head."))}
        if problems := differences(expected, _widened(found)):
            raise ValueError(
                f"the tensors under {self.top_key!r} are not those of {_MODELS[self.holds]}: {'; '.join(problems)}. "
                "Was the file cut, or made by changed code? Fetch it again, or load it with the code that made it."
            )
        tensors = {name: found[rename(name)] for name in description.build().state_dict()}
        return StoredModel(description=description, tensors=tensors, is_part=is_part)

    def _refuse_head(self) -> None:
        head = [name for name in self.tensors if name.startswith("head.")]
        raise ValueError(
            f"holds {_MODELS[self.holds]}, whose head this motion_encoder does not have: {len(head)} tensors would be "
            f'left behind ({shortened(head)}). To read the encoder alone, say part="encoder" (--part encoder).'
        )

    def _describe(
        self, rename: Callable[[str], str], num_heads: int | None, labels: tuple[str, ...] | None
    ) -> Description:
        if self.stated is not None:
            if num_heads is not None or labels is not None:
                raise ValueError("states its heads and labels itself: leave num_heads and labels out")
            return self.stated
        if self.holds != "action":
            if labels is not None:
                raise ValueError(f"labels are for action models, but this holds {_MODELS[self.holds]}: leave them out")
            encoder = infer_encoder(self.tensors, rename, num_heads)
            return Description.current("pose3d", encoder, {}, ModelCard())
        encoder = infer_encoder(self.tensors, lambda name: rename("encoder." + name), num_heads)
        head, num_classes = infer_action_head(self.tensors)
        if labels is not None and len(labels) != num_classes:
            raise ValueError(f"labels: expected {num_classes}, one per class of the file, found {len(labels)}")
        labels = labels or tuple(f"class {number}" for number in range(num_classes))
        return Description.current("action", encoder, asdict(head) | {"labels": list(labels)}, ModelCard())


_MODELS: Mapping[Holds, str] = {
    "pose": "a 3D pose model or pretrained encoder",
    "action": "an action model",
    "one-shot": "a one-shot action model",
    "mesh": "a mesh model",
}


def open_published(path: Path) -> PublishedFile:
    """Open an official or MMPose file, whatever its name.

    Raises:
        ValueError: none of both, damaged, or with anything but data in it.
    """
    entries = _entries(path)
    top_keys = [key for key in TOP_KEYS if isinstance(entries.get(key), dict)]
    if len(top_keys) != 1:
        raise ValueError(
            f"expected the tensors of a model in one of the entries {', '.join(TOP_KEYS)}, "
            f"found the entries {shortened(map(str, entries))}. Only official and MMPose files are read."
        )
    (top_key,) = top_keys
    prefix, tensors = _without_prefix(entries[top_key])
    around = entries.get("meta") if TOP_KEYS[top_key] == "mmpose" else entries
    text = around.pop(METADATA, None) if isinstance(around, dict) else None
    if not isinstance(text, str | None):
        raise ValueError(f"entry {METADATA!r}: expected the text that this library writes, found {str(text)[:80]!r}")
    return PublishedFile(
        format=TOP_KEYS[top_key],
        holds="pose" if TOP_KEYS[top_key] == "mmpose" else what_it_holds(tensors),
        top_key=top_key,
        prefix=prefix,
        tensors=tensors,
        others={str(key): value for key, value in entries.items() if key != top_key},
        stated=Description.from_json(text) if isinstance(text, str) else None,
    )


def _entries(path: Path) -> dict[Any, Any]:
    """Return the top level. Tensors of a zip file stay on the disk until they are used."""
    with path.open("rb") as file:
        is_zip = file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
    try:
        if is_zip:
            _check_zip(path)
        with torch.serialization.safe_globals(HARMLESS):
            entries = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except Exception as error:  # a damaged pickle may raise anything
        raise ValueError(_why_not_read(error)) from error
    if not isinstance(entries, dict):
        raise ValueError(f"expected a dictionary, found a {type(entries).__name__}: neither official nor MMPose")
    return entries


def _check_zip(path: Path) -> None:
    """Compare all checksums: torch itself does not, and a changed bit would pass for a weight."""
    with zipfile.ZipFile(path) as archive:
        if packed := [entry.filename for entry in archive.infolist() if entry.compress_type != zipfile.ZIP_STORED]:
            raise zipfile.BadZipFile(f"{packed[0]} is compressed, which torch.save never does")
        if (damaged := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"{damaged} does not fit its checksum")


def _why_not_read(error: Exception) -> str:
    if forbidden := re.search(r"GLOBAL (\S+)", str(error)):
        return (
            f"asks for {forbidden[1]}, which is code, not data, and is not run. "
            "If you trust its maker, load it with the code that made it and save only the tensors."
        )
    first_line = str(error).split("\n")[0][:200]
    return f"cut or damaged: {type(error).__name__}: {first_line}. Fetch the file again."


def _without_prefix(tensors: dict[Any, Any]) -> tuple[str, dict[str, Tensor]]:
    if odd := [str(name) for name, value in tensors.items() if not isinstance(name, str) or not _is_plain(value)]:
        raise ValueError(f"expected plain tensors, found others: {shortened(odd)}")
    with_prefix = [name for name in tensors if name.startswith(MODULE)]
    if not with_prefix:
        return "", tensors
    if without := [name for name in tensors if not name.startswith(MODULE)]:
        raise ValueError(f"expected {MODULE!r} before all names or none, but it is missing here: {shortened(without)}")
    return MODULE, {name.removeprefix(MODULE): tensor for name, tensor in tensors.items()}


def _is_plain(value: Any) -> bool:
    """Whether it is a dense tensor with all its bytes, not a small one that is stretched to a large shape."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.device.type != "cpu":
        return False
    return not value.is_quantized and value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def _widened(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Half precision to float32, if all is of one kind; a mixture stays, to be refused."""
    kinds = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
    if len(kinds) != 1 or not kinds <= set(HALVES):
        return tensors
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def read_published(
    path: Path, *, part: Part | None = None, num_heads: int | None = None, labels: tuple[str, ...] | None = None
) -> StoredModel:
    """Read an official or MMPose file; its tensors in memory of their own, as float32.

    An action model gets the labels "class 0", ... unless they are given, and ``published_means``, with which it reaches
    its published scores.

    Args:
        path: the file.
        part: "encoder" to leave the head of a one-shot or mesh model behind.
        num_heads: attention heads, where the file does not state them; 8 if it is left out.
        labels: names of the classes of an action model, in order, where the file does not state them.

    Raises:
        ValueError: as ``open_published`` and ``PublishedFile.fit``.
    """
    stored = open_published(path).fit(part=part, num_heads=num_heads, labels=labels)
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
