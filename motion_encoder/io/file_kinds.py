"""What a file is that holds no weights, and how to get the weights instead.

People name such files for weights all the time: the sign-in page that a server sent in place of a download, the pointer
that Git LFS leaves, an archive that was not unpacked, an exported program. Each is told by its first bytes.
"""

import codecs
import re
import zipfile
from pathlib import Path

from motion_encoder.io.model_spec import shortened

TORCH_LEGACY_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
"""Of ``torch.save`` before torch 1.6: a pickle of a fixed number, then pickles, then the tensors."""
ZIP_MAGIC = b"PK\x03\x04"
_HEAD = 1024
_ARCHIVES = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!\x1a\x07": "RAR",
}
_OF_TORCH = {"data.pkl", "version", "byteorder"}
_OF_PROGRAMS = {
    "constants.pkl": "a TorchScript program, not weights. Save its weights alone: "
    "torch.save(torch.jit.load(FILE).state_dict(), 'weights.bin').",
    "archive_format": "a program of torch.export, which cannot be read back. Name the model that it was exported from.",
}
"""What files in a zip archive say that ``torch.jit.save`` or ``torch.export.save`` wrote it."""
_TAR_MAGIC, _TAR_OFFSET = b"ustar", 257
_LFS = re.compile(rb"version https://git-lfs\.github\.com/spec/.*?size (\d+)", re.DOTALL)
_TITLE = re.compile(rb"<title[^>]*>\s*(.*?)\s*</title", re.DOTALL | re.IGNORECASE)
_FETCH = "Fetch the file again."
_EXPECTED = "Expected the weights of a model: torch.save's format or safetensors."


def is_torch_file(path: Path) -> bool:
    """Return whether the file was written by ``torch.save``, whole or cut."""
    start = _head(path)
    if start.startswith(TORCH_LEGACY_MAGIC):
        return True
    return start.startswith(ZIP_MAGIC) and _names_in_zip(path) is None


def is_safetensors(path: Path) -> bool:
    """Return whether the file begins like safetensors: the length of its header in 8 bytes, then JSON."""
    return _head(path)[8:9] == b"{"


def explain(path: Path) -> str:
    """Return what a file is that is neither, and what to do."""
    start = _head(path)
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        return f"the file is empty: its download failed, or the disk was full. {_FETCH}"
    if (pointer := _LFS.match(text)) is not None:
        return (
            f"a Git LFS pointer, which stands for the {int(pointer[1]):,} bytes of the weights. "
            "Run `git lfs pull` where you cloned it, or download the file itself."
        )
    if text[:1] == b"<":
        return _explain_page(text)
    if (names := _names_in_zip(path)) is not None:
        return _explain_zip(names)
    for magic, name in _ARCHIVES.items():
        if start.startswith(magic):
            return f"packed with {name}. Unpack it, and name the file of weights in it."
    if start[_TAR_OFFSET:].startswith(_TAR_MAGIC):
        return "a tar archive. Unpack it, and name the file of weights in it."
    return f"{_explain_other(start, text)} {_EXPECTED}"


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)


def _explain_page(text: bytes) -> str:
    title = _TITLE.search(text)
    called = f" ({title[1].decode(errors='replace')[:80]!r})" if title else ""
    return (
        f"a web page{called}, not weights: the server wanted a sign-in or a click first. "
        "Download the file in a browser, and compare its size with the one that the site states."
    )


def _names_in_zip(path: Path) -> list[str] | None:
    """Return the names in a zip archive that ``torch.save`` did not write; None for one of its own, or no archive.

    One that is cut has no names any more: it is left to torch's own reader.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # noqa: BLE001 a damaged archive may raise anything; torch's reader says what is wrong with it
        return None
    members = {name.partition("/")[2] for name in names}
    return None if members & _OF_TORCH and not members & _OF_PROGRAMS.keys() else names


def _explain_zip(names: list[str]) -> str:
    for member, explanation in _OF_PROGRAMS.items():
        if any(name.partition("/")[2] == member for name in names):
            return explanation
    if names and all(name.endswith(".npy") for name in names):
        return f"a NumPy archive of {shortened(names)}, not weights. {_EXPECTED}"
    return f"a zip archive of {shortened(names) or 'nothing'}. Unpack it, and name the file of weights in it."


def _explain_other(start: bytes, text: bytes) -> str:
    if not start.strip(b"\x00"):
        return f"begins with {len(start)} zeros: the disk was full, or the download failed. {_FETCH}"
    if start.startswith(b"\x89HDF\r\n"):
        return "an HDF5 file (of Keras?)."
    if start.startswith(b"\x93NUMPY"):
        return "a NumPy array."
    if start.startswith(b"\x80"):
        return "a pickle that torch.save did not write."
    if b"pytorch" in start[:32]:
        return "an ONNX program, which cannot be read back. Name the model that it was exported from."
    if _is_text(text):
        first_line = text.splitlines()[0][:60].decode(errors="replace") if text else ""
        return f"text that begins with {first_line!r}."
    return f"content of no known kind, which begins with {start[:16].hex(' ')}."


def _is_text(start: bytes) -> bool:
    """Return whether it is printable UTF-8; its end may cut a character."""
    try:
        characters = codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character.isspace() for character in characters)
