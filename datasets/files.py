"""Files of the input, wherever they are: a local folder or any URL that fsspec knows (``s3://``, ``gs://``, ``memory://``).

Plain local paths stay plain, everything else keeps its protocol, so that a path in the store or in the quarantine
table can be pasted back into a command.
"""

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import uuid4

import fsspec
from fsspec.core import url_to_fs

from datasets.sequences import File, RecordingError


def list_files(url: str) -> list[File]:
    """Return every file under a folder, or the one file itself, sorted by path.

    Names with a leading dot are skipped, and so is what is no file: pipes, devices, links to nothing.

    Raises:
        ValueError: There is nothing at ``url``, or no file in it.
    """
    filesystem, root = url_to_fs(url)
    if not filesystem.exists(root):
        raise ValueError(f"{url}: no such file or folder. Check the path, and the access rights if it is a bucket.")
    files = _found(filesystem, root, depth=None)
    if not files:
        raise ValueError(f"{url}: no file in it (pipes, devices and hidden files aside). Name a folder of recordings.")
    return files


def files_in(folder: str) -> list[File]:
    """Return the files right in a folder, sorted by path; none where they may not be listed."""
    filesystem, root = url_to_fs(folder or "/")
    try:
        return _found(filesystem, root, depth=1)
    except OSError:
        return []


def _found(filesystem: Any, root: str, *, depth: int | None) -> list[File]:
    is_local = "file" in _protocols(filesystem)
    files = [
        File(path if is_local else filesystem.unstrip_protocol(path), int(entry["size"] or 0))
        for path, entry in filesystem.find(root, maxdepth=depth, detail=True).items()
        if not _is_hidden(path, root) and (not is_local or Path(path).is_file())
    ]
    return sorted(files, key=lambda file: file.path)


def read_bytes(path: str, *, first: int | None = None) -> bytes:
    """Return a file's content, or only its ``first`` bytes, without fetching the rest.

    Raises:
        RecordingError: The file is gone or may not be read. Other I/O errors pass through: trying again may help.
    """
    filesystem, inner = url_to_fs(path)
    try:
        return filesystem.cat_file(inner, start=None if first is None else 0, end=first)
    except (FileNotFoundError, PermissionError) as error:
        raise RecordingError(
            path, where="file", expected="a readable file", found=str(error), fix="Check path and access rights."
        ) from error


HEAD = 4096
"""Bytes of a file that readers look at to know their own."""
_HEADS = 65536
_AT_ONCE = 32
_TRANSIENT = frozenset({errno.EBUSY, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ESTALE})
"""Of an OSError. s3fs says EBUSY for "slow down"."""


@lru_cache(maxsize=_HEADS)
def head(file: File) -> bytes:
    """Return the first bytes of a file, read once however many readers ask; nothing of one that cannot be read."""
    try:
        return read_bytes(file.path, first=HEAD)
    except RecordingError:
        return b""


def read_heads(files: Sequence[File]) -> None:
    """Read the heads of files that are far away, many at a time: one after the other, each would wait its turn."""
    if files and "file" not in _protocols(url_to_fs(files[0].path)[0]):
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(head, files[:_HEADS]))


def is_transient(error: Exception) -> bool:
    """Tell whether trying again may help: the network failed, or the machine ran out of something; not the file."""
    return isinstance(error, ConnectionError | TimeoutError) or getattr(error, "errno", None) in _TRANSIENT


def write_atomically(path: str, content: bytes) -> None:
    """Write a file so that a reader sees all of it or none; object stores publish a whole object by themselves."""
    filesystem, inner = url_to_fs(path)
    if "file" not in _protocols(filesystem):
        filesystem.pipe_file(inner, content)
        return
    with write_aside(Path(inner)) as aside, aside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def write_aside(target: Path, *, mark: str | None = None) -> Iterator[Path]:
    """Yield a path to write a file or folder at, beside ``target``; renamed to it if the block ends without an error.

    The name has the target's suffix, and a leading dot. It is unique unless ``mark`` is given: then what an earlier
    process left under this mark when it was killed is removed first, and the caller sees to it that no other process
    uses the mark meanwhile. (The library ``motion_encoder``, which cannot import this package, has a way of its own.)
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{mark or uuid4().hex}.{target.name}")
    _remove(aside)
    try:
        yield aside
        aside.replace(target)
    finally:
        _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _protocols(filesystem: fsspec.AbstractFileSystem) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


def _is_hidden(path: str, root: str) -> bool:
    below = PurePosixPath(path).relative_to(root).parts if path != root else ()
    return any(part.startswith(".") for part in below)
