"""Files of weights that this library did not write: what is in them, and where in them a DSTformer is.

The same network comes in many wrappings: as a raw state dict or under an entry (``model_pos``, ``model``,
``state_dict``, ``ema``, nested or not), with ``module.`` (``nn.DataParallel``), ``_orig_mod.`` (``torch.compile``),
``model.`` (a Lightning module's attribute) or several of these before every name. So tensors are found by their names,
wherever they are, and what stands before all names is cut off. Nothing is guessed: of several sets of weights, such as
those of training and their moving average, the caller says which, and names that do not fit are an error.

- Nothing in a file is run: ``torch.load(weights_only=True)``, with a list of plain data types beyond torch's own.
- A file whose bytes changed is refused: a zip file, as torch writes since 1.6, has a checksum of every tensor. (Older
  files and safetensors have none.)
"""

import argparse
import pathlib
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from motion_encoder.io.file_kinds import ZIP_MAGIC, is_safetensors
from motion_encoder.io.model_spec import shortened

_MAKE_SCALAR, _MAKE_ARRAY = np.float64(0).__reduce__()[0], np.zeros(0).__reduce__()[0]
SAFE_GLOBALS = [
    *((_MAKE_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *((_MAKE_ARRAY, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *(np.ndarray, np.dtype, np.dtypes.Float64DType, np.dtypes.Float32DType, np.dtypes.Int64DType),
    *(np.dtypes.Int32DType, np.dtypes.UInt8DType),
    *(argparse.Namespace, pathlib.PosixPath),
]
"""Numbers and arrays of numpy, under the names of numpy 1 and 2 (losses of the official training loop, colours in
MMPose's ``meta``), and the arguments that training scripts keep beside the weights."""
_DEPTH = 4
"""So deep are entries searched."""
_OF_DSTFORMER = re.compile(
    r"(?P<prefix>(?:[^.]+\.)*?)(?:(?:backbone|encoder)\.)?(?:temp_embed$|joints_embed\.|blocks_(?:st|ts)\.\d)"
)
_ENCODERS = ("backbone.", "encoder.")
"""What a task's network calls the DSTformer in it: in the official code, in this library."""
_COUNTERS = ("n_averaged", "steps")
"""Tensors that a moving average has beside the weights (PyTorch's ``AveragedModel``, MMEngine's)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """The tensors of one DSTformer model in a file."""

    entry: str
    """Keys that lead to them, with ``/`` in between; empty if they are the top level."""
    prefix: str
    """What stands before every name: ``module.``, ``model.``, ... or nothing."""
    tensors: Mapping[str, Tensor]
    """Under the names of the file, without the prefix."""
    strays: tuple[str, ...] = ()
    """Names in the same dictionary that do not have the prefix of any network in it."""

    @property
    def name(self) -> str:
        """How the caller names them where there are several: the entry and the prefix."""
        return "/".join(filter(None, (self.entry, self.prefix.rstrip(".")))) or "/"

    def check(self) -> "Weights":
        """Return these weights.

        Raises:
            ValueError: not all are plain tensors, or there are others beside them.
        """
        if odd := [str(name) for name, value in self.tensors.items() if not _is_plain(value)]:
            raise ValueError(f"expected plain tensors, found others: {shortened(odd)}")
        if self.strays:
            raise ValueError(
                f"expected {self.prefix!r} before all names or none, but it is missing here: {shortened(self.strays)}. "
                "Save the state dict of the network alone: torch.save(network.state_dict(), 'weights.bin')."
            )
        return self


def read_entries(path: Path) -> dict[Any, Any]:
    """Return the top level of a file of ``torch.save`` or safetensors. Tensors stay on the disk until they are used.

    Raises:
        ValueError: the file is damaged, holds code, or is no dictionary.
    """
    with path.open("rb") as file:
        is_zip = file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
    try:
        if is_safetensors(path):
            return dict(safetensors.torch.load_file(path))
        if is_zip:
            _check_zip(path)
        with torch.serialization.safe_globals(SAFE_GLOBALS):
            entries = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except Exception as error:  # a damaged pickle may raise anything
        raise ValueError(_why_not_read(error)) from error
    if not isinstance(entries, dict):
        raise ValueError(f"expected a dictionary of tensors, found a {type(entries).__name__}")
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
            f"asks for {forbidden[1]}, which is code, not data, and is not run. If you trust its maker, save the "
            "tensors alone, where that code is installed: file = torch.load(FILE, weights_only=False), then "
            "torch.save(file['state_dict'], 'weights.bin') with the entry that holds them, or, if the file is a whole "
            "network, file.state_dict()."
        )
    first_line = str(error).split("\n")[0][:200]
    return f"cut or damaged: {type(error).__name__}: {first_line}. Fetch the file again."


def choose_weights(entries: Mapping[Any, Any], wanted: str | None) -> Weights:
    """Return the weights of a DSTformer in a file, of several those that are called ``wanted``.

    Raises:
        ValueError: there are none, several and none is named, none of that name, or beside them are other tensors.
    """
    found = [each for entry, mapping in _mappings(entries, "", _DEPTH) for each in _split(entry, mapping)]
    if not found:
        raise ValueError(
            f"holds no DSTformer: expected tensors such as temp_embed and joints_embed.weight, found {_inside(entries)}"
        )
    chosen = [each for each in found if wanted in (None, each.name)]
    if len(chosen) == 1:
        return chosen[0].check()
    names = ", ".join(each.name for each in found)
    if wanted is None:
        raise ValueError(
            f"holds {len(found)} sets of weights: {names}. Say which: weights={found[0].name!r} "
            f"(--weights {found[0].name})."
        )
    raise ValueError(f"weights: expected one of {names}, found {wanted!r}")


def _mappings(values: Mapping[Any, Any], entry: str, depth: int) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Yield the dictionaries that hold tensors with names of a DSTformer, and the keys that lead there."""
    if any(isinstance(value, Tensor) and _OF_DSTFORMER.match(str(name)) for name, value in values.items()):
        yield entry, values
    elif depth:
        for key, value in values.items():
            if isinstance(value, Mapping):
                yield from _mappings(value, f"{entry}/{key}" if entry else str(key), depth - 1)


def _inside(entries: Mapping[Any, Any]) -> str:
    """Name what is in a file: its tensors, or its entries."""
    tensors = [str(name) for name, value in entries.items() if isinstance(value, Tensor)]
    for value in entries.values():
        if not tensors and isinstance(value, Mapping):
            tensors = [str(name) for name, inner in value.items() if isinstance(inner, Tensor)]
    return f"the tensors {shortened(tensors)}" if tensors else f"the entries {shortened(map(str, entries)) or 'none'}"


def _split(entry: str, mapping: Mapping[Any, Any]) -> Iterator[Weights]:
    """Part a state dict by what stands before the names: a Lightning module may hold two networks."""
    named = {str(name): value for name, value in mapping.items()}
    prefixes = _prefixes(named)
    owner = {name: next((each for each in prefixes if name.startswith(each)), None) for name in named}
    strays = tuple(name for name in named if owner[name] is None and name not in _COUNTERS)
    for prefix in prefixes:
        tensors = {name.removeprefix(prefix): value for name, value in named.items() if owner[name] == prefix}
        for part in _ENCODERS:
            if part + "head.weight" in tensors and all(name.startswith(part) for name in tensors):
                prefix += part
                tensors = {name.removeprefix(part): value for name, value in tensors.items()}
        yield Weights(entry=entry, prefix=prefix, tensors=tensors, strays=strays)


def _prefixes(names: Mapping[str, Any]) -> list[str]:
    """Return what stands before the names of each network, the longest first; a few stray names are no network."""
    counts = Counter(match["prefix"] for name in names if (match := _OF_DSTFORMER.match(name)))
    return sorted((prefix for prefix, count in counts.items() if 2 * count >= max(counts.values())), key=len)[::-1]


def _is_plain(value: Any) -> bool:
    """Return whether it is a dense tensor with all its bytes, not a small one that is stretched to a large shape."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.device.type != "cpu":
        return False
    return not value.is_quantized and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
