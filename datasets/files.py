"""Input files, in a local folder or at any URL that fsspec knows (``s3://``, ``gs://``, ``memory://``).

Plain local paths stay plain and all others keep their protocol, so that a path from the store or from the quarantine
table can be pasted back into a command.

fsspec takes every ``::`` for the separator of a chained URL (``simplecache::s3://bucket/a``). Here it is a separator
only after a protocol that wraps another file system; otherwise it is part of a name, such as ``take 3::retake``.
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
from fsspec.core import split_protocol
from fsspec.core import url_to_fs as chained_url_to_fs

from datasets.sequences import File, RecordingError

WRAPPERS = frozenset(
    {"blockcache", "cached", "dir", "filecache", "libarchive", "reference", "simplecache", "tar", "zip"}
)
"""Protocols that may come before ``::``: caches, archives and parts of another file system."""


def url_to_fs(url: str) -> tuple[Any, str]:
    """Return the file system of a path or URL, and the path there."""
    first, joint, _ = url.partition("::")
    if not joint or first.partition("://")[0] in WRAPPERS:
        return chained_url_to_fs(url)
    protocol = split_protocol(url)[0] or "file"
    options = fsspec.get_filesystem_class(protocol)._get_kwargs_from_urls(url)
    filesystem = fsspec.filesystem(protocol, **options)
    return filesystem, filesystem._strip_protocol(url)


def list_files(url: str) -> list[File]:
    """Return every file under a folder, or the one file itself, sorted by path.

    Names with a leading dot are skipped, and so are pipes, devices and broken links.

    Raises:
        ValueError: ``url`` does not exist or contains no file.
    """
    filesystem, root = url_to_fs(url)
    if not filesystem.exists(root):
        raise ValueError(f"{url}: no such file or folder. Check the path, and the access rights if it is a bucket.")
    files = _found(filesystem, root, depth=None)
    if not files:
        raise ValueError(
            f"{url}: no file in it (pipes, devices and hidden files are ignored). Pass a folder of recordings."
        )
    return files


def files_in(folder: str) -> list[File]:
    """Return the files directly in a folder, sorted by path; none if the folder cannot be listed."""
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
        RecordingError: The file is missing or not readable. Other I/O errors pass through, since a retry may help.
    """
    filesystem, inner = url_to_fs(path)
    try:
        return filesystem.cat_file(inner, start=None if first is None else 0, end=first)
    except (FileNotFoundError, PermissionError) as error:
        raise RecordingError(
            path, where="file", expected="a readable file", found=str(error), fix="Check path and access rights."
        ) from error


HEAD = 4096
"""Number of bytes from which readers recognise their files."""
_HEADS = 65536
_AT_ONCE = 32
_TRANSIENT = frozenset({errno.EBUSY, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ESTALE})
"""Error numbers of an OSError after which a retry may help. s3fs uses EBUSY for "slow down"."""


@lru_cache(maxsize=_HEADS)
def head(file: File) -> bytes:
    """Return the first bytes of a file, cached for the next reader that asks; empty if the file cannot be read."""
    try:
        return read_bytes(file.path, first=HEAD)
    except RecordingError:
        return b""


def read_heads(files: Sequence[File]) -> None:
    """Read the heads of remote files in parallel, to hide the latency of each request."""
    if files and "file" not in _protocols(url_to_fs(files[0].path)[0]):
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(head, files[:_HEADS]))


def is_transient(error: Exception) -> bool:
    """Tell whether a retry may help, because the network failed or the machine ran out of a resource."""
    return isinstance(error, ConnectionError | TimeoutError) or getattr(error, "errno", None) in _TRANSIENT


def write_atomically(path: str, content: bytes) -> None:
    """Write a file so that a reader sees all of it or nothing; object stores do this by themselves."""
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
    """Yield a temporary path beside ``target`` for a file or folder; renamed to ``target`` if the block succeeds.

    The temporary name has the target's suffix and a leading dot. It is unique unless ``mark`` is given. With ``mark``,
    what a killed process left under the same mark is removed first, and the caller must ensure that no other process
    uses the mark at the same time. (The library ``motion_encoder`` cannot import this package and has its own helper.)
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
