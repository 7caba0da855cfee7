"""Find a DSTformer in a weights file that this library did not write.

The same network is wrapped in many ways: as a raw state dict or under an entry (``model_pos``, ``model``,
``state_dict``, ``ema``, nested or not), with names that begin with ``module.`` (``nn.DataParallel``), ``_orig_mod.``
(``torch.compile``), ``model.`` (an attribute of a Lightning module) or several of these. So tensors are found by their
names, in any entry, and a common prefix is removed. Nothing is guessed: if there are several sets of weights, for
example those of training and their moving average, the caller chooses one, and unknown names are an error.

- No code in a file is run: ``torch.load(weights_only=True)``, with a few plain data types in addition to torch's own.
- A file with changed bytes is rejected: zip files, which torch has written since 1.6, have a checksum of every tensor.
  (Older files and safetensors have none.)
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
MMPose's ``meta``), and the command-line arguments that training scripts store with the weights."""
_DEPTH = 4
"""Number of nested entries that are searched."""
_OF_DSTFORMER = re.compile(
    r"(?P<prefix>(?:[^.]+\.)*?)(?:(?:backbone|encoder)\.)?(?:temp_embed$|joints_embed\.|blocks_(?:st|ts)\.\d)"
)
_ENCODERS = ("backbone.", "encoder.")
"""The attribute that contains the DSTformer in a task's network: in the official code, and in this library."""
_COUNTERS = ("n_averaged", "steps")
"""Additional tensors of a moving average (``AveragedModel`` of PyTorch and of MMEngine)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """The tensors of one DSTformer model in a file."""

    entry: str
    """The keys of the nested entries, joined by ``/``; empty for the top level of the file."""
    prefix: str
    """The prefix of every name: ``module.``, ``model.``, ... or empty."""
    tensors: Mapping[str, Tensor]
    """The tensors by their names in the file, without the prefix."""
    strays: tuple[str, ...] = ()
    """Names in the same entry that do not begin with the prefix of any network."""

    @property
    def name(self) -> str:
        """The name by which the caller chooses one of several sets: the entry and the prefix."""
        return "/".join(filter(None, (self.entry, self.prefix.rstrip(".")))) or "/"

    def check(self) -> "Weights":
        """Return these weights.

        Raises:
            ValueError: not all are plain tensors, or there are other tensors in the same entry.
        """
        if odd := [str(name) for name, value in self.tensors.items() if not _is_plain(value)]:
            raise ValueError(f"expected plain tensors, found other values: {shortened(odd)}")
        if self.strays:
            raise ValueError(
                f"expected all names or none to begin with {self.prefix!r}, found these without: "
                f"{shortened(self.strays)}. Save only the network's state dict: "
                "torch.save(network.state_dict(), 'weights.bin')."
            )
        return self


def read_entries(path: Path) -> dict[Any, Any]:
    """Return the top level of a ``torch.save`` or safetensors file. Tensors are read from the disk when they are used.

    Raises:
        ValueError: the file is damaged, contains code, or is not a dictionary.
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
    except Exception as error:  # a damaged pickle may raise any exception
        raise ValueError(_why_not_read(error)) from error
    if not isinstance(entries, dict):
        raise ValueError(f"expected a dictionary of tensors, found a {type(entries).__name__}")
    return entries


def _check_zip(path: Path) -> None:
    """Compare all checksums. torch does not, so changed bytes would be loaded as weights."""
    with zipfile.ZipFile(path) as archive:
        if packed := [entry.filename for entry in archive.infolist() if entry.compress_type != zipfile.ZIP_STORED]:
            raise zipfile.BadZipFile(f"{packed[0]} is compressed, which torch.save never does")
        if (damaged := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"{damaged} does not match its checksum")


def _why_not_read(error: Exception) -> str:
    if forbidden := re.search(r"GLOBAL (\S+)", str(error)):
        return (
            f"refers to {forbidden[1]}, which is code, not data, and is not run. If you trust its author, save only "
            "the tensors, where that code is installed: file = torch.load(FILE, weights_only=False), then "
            "torch.save(file['state_dict'], 'weights.bin') with the entry of the tensors, or, if the file is a whole "
            "network, file.state_dict()."
        )
    first_line = str(error).split("\n")[0][:200]
    return f"truncated or damaged: {type(error).__name__}: {first_line}. Fetch the file again."


def choose_weights(entries: Mapping[Any, Any], wanted: str | None) -> Weights:
    """Return the weights of the DSTformer in a file; if there are several, those with the name ``wanted``.

    Raises:
        ValueError: there are no weights, several but ``wanted`` is None, none of that name, or other tensors with them.
    """
    found = [each for entry, mapping in _mappings(entries, "", _DEPTH) for each in _split(entry, mapping)]
    if not found:
        raise ValueError(
            f"no DSTformer: expected tensors such as temp_embed and joints_embed.weight, found {_inside(entries)}"
        )
    chosen = [each for each in found if wanted in (None, each.name)]
    if len(chosen) == 1:
        return chosen[0].check()
    names = ", ".join(each.name for each in found)
    if wanted is None:
        raise ValueError(
            f"{len(found)} sets of weights: {names}. Choose one: weights={found[0].name!r} (--weights {found[0].name})."
        )
    raise ValueError(f"weights: expected one of {names}, found {wanted!r}")


def _mappings(values: Mapping[Any, Any], entry: str, depth: int) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Yield the dictionaries that contain tensors of a DSTformer, after their nested keys."""
    if any(isinstance(value, Tensor) and _OF_DSTFORMER.match(str(name)) for name, value in values.items()):
        yield entry, values
    elif depth:
        for key, value in values.items():
            if isinstance(value, Mapping):
                yield from _mappings(value, f"{entry}/{key}" if entry else str(key), depth - 1)


def _inside(entries: Mapping[Any, Any]) -> str:
    """Return the names of a file's tensors or, if it has none, of its entries."""
    tensors = [str(name) for name, value in entries.items() if isinstance(value, Tensor)]
    for value in entries.values():
        if not tensors and isinstance(value, Mapping):
            tensors = [str(name) for name, inner in value.items() if isinstance(inner, Tensor)]
    return f"the tensors {shortened(tensors)}" if tensors else f"the entries {shortened(map(str, entries)) or 'none'}"


def _split(entry: str, mapping: Mapping[Any, Any]) -> Iterator[Weights]:
    """Split a state dict by the prefix of its names, since a Lightning module may contain two networks."""
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
    """Return the prefix of each network, the longest first; a few unrelated names do not count as a network."""
    counts = Counter(match["prefix"] for name in names if (match := _OF_DSTFORMER.match(name)))
    return sorted((prefix for prefix, count in counts.items() if 2 * count >= max(counts.values())), key=len)[::-1]


def _is_plain(value: Any) -> bool:
    """Return whether a value is a dense tensor with its own bytes, not a small one expanded to a large shape."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.device.type != "cpu":
        return False
    return not value.is_quantized and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
